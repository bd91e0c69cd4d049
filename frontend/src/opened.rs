//! A bundle that the reader opened from this machine: a zip that `whence report` wrote, or its folder. Its files are read where
//! they lie, in parts where parts are asked for; nothing is copied and nothing leaves the machine.
//!
//! Its folder has an address of our own, `opened:NUMBER/data/`, which [`crate::fetch`] reads here instead of over the network. Workers
//! ask the page for it by name, once, through a channel of the browser: what they get are handles, not bytes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, BroadcastChannel, MessageEvent, Response, ResponseInit};
use whence_shared::archive::{self, Entry, LOCAL_HEADER_BYTES, TAIL_BYTES};
use whence_shared::bundle::{self, BundleView, DATA};
use whence_shared::json;

use crate::fetch::sleep;

/// Beginning of the addresses of what was opened.
const SCHEME: &str = "opened:";
/// The channel between the page and its workers.
const CHANNEL: &str = "whence-opened";
/// How long a worker waits for the page, in milliseconds.
const PATIENCE_MS: f64 = 10_000.0;
/// Files named in a complaint.
const N_NAMED: usize = 3;

/// Why what was chosen cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The file system or the browser refuses.
    #[error("{name} cannot be read ({reason}). Choose it again")]
    Unreadable {
        /// What was chosen.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file that is no zip archive, or a broken one.
    #[error("{name} cannot be opened: {reason}. Copy it again, or make it again with `whence report --out {name}`")]
    Archive {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: archive::ArchiveError,
    },
    /// Something else.
    #[error(
        "{name} is no bundle: there is no manifest.json beside a data folder with study.json in it. `whence report --study \
         STUDY_FOLDER --out site.zip` makes one"
    )]
    NoBundle {
        /// What was chosen.
        name: String,
    },
    /// A manifest that is of another version.
    #[error(
        "{name}: manifest.json is of format {got:?}, written by Whence {whence}: expected {:?}. Open it with the app in it: \
             unpack it and serve it with any web server",
        bundle::FORMAT
    )]
    Format {
        /// What was chosen.
        name: String,
        /// Its format.
        got: String,
        /// What wrote it.
        whence: String,
    },
    /// A manifest that cannot be read.
    #[error("{name}: manifest.json cannot be read ({reason}). Make the bundle again with `whence report`")]
    Manifest {
        /// What was chosen.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Files of the manifest that are not there, or not whole.
    #[error("{name} is incomplete: {missing}. Copy it again, or make it again with `whence report`")]
    Incomplete {
        /// What was chosen.
        name: String,
        /// Which files.
        missing: String,
    },
}

/// A file of what was opened.
#[derive(Debug, Clone)]
enum Place {
    /// As it is.
    File(Blob),
    /// In the archive.
    Packed(Entry),
}

/// What was opened.
#[derive(Debug)]
pub struct Opened {
    /// As the reader knows it.
    pub name: String,
    /// What tells it from what others opened.
    number: String,
    archive: Option<Blob>,
    files: HashMap<String, Place>,
    /// The last file that was inflated: parts of it are asked for one after the other.
    inflated: RefCell<Option<(String, Blob)>>,
}

/// The channel on which workers ask, and what answers.
type Serving = (BroadcastChannel, Closure<dyn Fn(MessageEvent)>);

thread_local! {
    static OPENED: RefCell<Option<Rc<Opened>>> = const { RefCell::new(None) };
    static SERVED: RefCell<Option<Serving>> = const { RefCell::new(None) };
}

/// Whether a folder is part of what was opened.
pub fn is_opened(folder: &str) -> bool {
    folder.starts_with(SCHEME)
}

/// What is open in this page or worker.
pub fn current() -> Option<Rc<Opened>> {
    OPENED.with_borrow(Clone::clone)
}

/// The folder that the study is read from, where something is open.
pub fn data_folder() -> Option<String> {
    current().map(|opened| format!("{SCHEME}{}/{DATA}", opened.number))
}

/// Opens a zip archive.
///
/// # Errors
///
/// [`OpenError`].
pub async fn zip(name: &str, file: Blob) -> Result<Opened, OpenError> {
    let unreadable = |reason: JsValue| OpenError::Unreadable { name: name.to_owned(), reason: words(&reason) };
    let broken = |reason| OpenError::Archive { name: name.to_owned(), reason };
    let n_bytes = file.size();
    let part = async |range: Range<f64>| bytes_of(&slice(&file, range)?).await;
    let tail = part((n_bytes - TAIL_BYTES as f64).max(0.0)..n_bytes).await.map_err(unreadable)?;
    let directory = archive::directory(&tail, n_bytes as u64).map_err(broken)?;
    let bytes = part(directory.start as f64..(directory.start + directory.n_bytes) as f64).await.map_err(unreadable)?;
    let entries = archive::entries(&bytes, directory, n_bytes as u64).map_err(broken)?;
    let files = entries.into_iter().map(|entry| (entry.path.clone(), Place::Packed(entry))).collect();
    checked(Opened::new(name, Some(file), files)).await
}

/// Opens a folder, given its files and their paths in it.
///
/// # Errors
///
/// [`OpenError`].
pub async fn folder(name: &str, files: Vec<(String, Blob)>) -> Result<Opened, OpenError> {
    let files = files.into_iter().map(|(path, file)| (path, Place::File(file))).collect();
    checked(Opened::new(name, None, files)).await
}

/// Reads the study from it from now on, here and in workers.
pub fn set_current(opened: Opened) {
    let opened = Rc::new(opened);
    OPENED.set(Some(opened.clone()));
    let Ok(channel) = BroadcastChannel::new(CHANNEL) else { return };
    let answers = channel.clone();
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        let message = Array::from(&event.data());
        if message.get(0) == "want" && message.get(1) == opened.number.as_str() {
            // Plain data and handles of files can be handed over.
            let _ = answers.post_message(&opened.to_message());
        }
    });
    channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    if let Some((before, _)) = SERVED.replace(Some((channel, on_message))) {
        before.close();
    }
}

/// What the page has open under this folder's address: in a worker, asked for once.
async fn of_folder(folder: &str) -> Option<(Rc<Opened>, &str)> {
    let (number, folder) = folder.strip_prefix(SCHEME)?.split_once('/')?;
    if let Some(opened) = current().filter(|opened| opened.number == number) {
        return Some((opened, folder));
    }
    let channel = BroadcastChannel::new(CHANNEL).ok()?;
    let mut on_message = None;
    let answer = Promise::new(&mut |resolve: Function, _| {
        let number = number.to_owned();
        let handler = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
            let message = Array::from(&event.data());
            if message.get(0) == "have" && message.get(1) == number.as_str() {
                let _ = resolve.call1(&JsValue::NULL, &message);
            }
        });
        channel.set_onmessage(Some(handler.as_ref().unchecked_ref()));
        on_message = Some(handler);
    });
    channel.post_message(&Array::of2(&"want".into(), &number.into())).ok()?;
    let answer = JsFuture::from(answer);
    let patience = std::pin::pin!(sleep(PATIENCE_MS));
    let message = match futures_util::future::select(answer, patience).await {
        futures_util::future::Either::Left((message, _)) => message.ok()?,
        futures_util::future::Either::Right(_) => JsValue::NULL,
    };
    channel.close();
    drop(on_message);
    let opened = Rc::new(Opened::from_message(message.dyn_ref::<Array>()?)?);
    OPENED.set(Some(opened.clone()));
    Some((opened, folder))
}

/// Why a file of what was opened is not answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such file.
    NotThere,
    /// It is shorter than that.
    Short,
    /// It cannot be read, and why.
    Unreadable(String),
}

/// A file, or a part of it, as a server would answer.
///
/// # Errors
///
/// [`Refusal`].
pub async fn response(folder: &str, path: &str, part: Option<Range<u64>>) -> Result<Response, Refusal> {
    let gone = || Refusal::Unreadable("the page that opened it is gone: open it again".to_owned());
    let (opened, folder) = of_folder(folder).await.ok_or_else(gone)?;
    let unreadable = |error: JsValue| Refusal::Unreadable(format!("{} cannot be read: {}", opened.name, words(&error)));
    let blob = opened.file(&format!("{folder}{path}")).await?.ok_or(Refusal::NotThere)?;
    let options = ResponseInit::new();
    let blob = match part {
        None => blob,
        Some(part) if part.start as f64 >= blob.size() => return Err(Refusal::Short),
        Some(part) => {
            options.set_status(206);
            slice(&blob, part.start as f64..part.end as f64).map_err(unreadable)?
        }
    };
    Response::new_with_opt_blob_and_init(Some(&blob), &options).map_err(unreadable)
}

/// What a worker gets beside the files' handles.
#[derive(Serialize, Deserialize)]
enum Handed {
    /// Entries of the archive, whose handle follows.
    Archive(Vec<(String, Entry)>),
    /// Paths of the files, whose handles follow in the same order.
    Files(Vec<String>),
}

impl Opened {
    fn new(name: &str, archive: Option<Blob>, files: HashMap<String, Place>) -> Self {
        let number = format!("{:.0}", js_sys::Math::random() * 1e15);
        Self { name: name.to_owned(), number, archive, files, inflated: RefCell::default() }
    }

    fn to_message(&self) -> Array {
        let message = Array::of3(&"have".into(), &self.number.as_str().into(), &self.name.as_str().into());
        let (mut entries, mut paths, handles) = (Vec::new(), Vec::new(), Array::new());
        for (path, place) in &self.files {
            match place {
                Place::Packed(entry) => entries.push((path.clone(), entry.clone())),
                Place::File(file) => {
                    paths.push(path.clone());
                    handles.push(file);
                }
            }
        }
        let handed = match &self.archive {
            Some(archive) => {
                handles.push(archive);
                Handed::Archive(entries)
            }
            None => Handed::Files(paths),
        };
        message.push(&serde_json::to_string(&handed).expect("plain data serializes").into());
        message.push(&handles);
        message
    }

    fn from_message(message: &Array) -> Option<Self> {
        let text = |at: u32| message.get(at).as_string();
        let handles = Array::from(&message.get(4));
        let handle = |at: usize| handles.get(at as u32).dyn_into::<Blob>().ok();
        let (archive, files) = match json::from_str(&text(3)?).ok()? {
            Handed::Archive(entries) => {
                let files = entries.into_iter().map(|(path, entry)| (path, Place::Packed(entry)));
                (Some(handle(0)?), files.collect())
            }
            Handed::Files(paths) => {
                let files = paths.into_iter().enumerate();
                (None, files.map(|(at, path)| Some((path, Place::File(handle(at)?)))).collect::<Option<_>>()?)
            }
        };
        Some(Self { name: text(2)?, number: text(1)?, archive, files, inflated: RefCell::default() })
    }

    /// A file whole, as a handle; nothing of a stored one is read.
    async fn file(&self, path: &str) -> Result<Option<Blob>, Refusal> {
        let Some(place) = self.files.get(path) else { return Ok(None) };
        let entry = match place {
            Place::File(file) => return Ok(Some(file.clone())),
            Place::Packed(entry) => entry,
        };
        if let Some((_, blob)) = self.inflated.borrow().as_ref().filter(|(last, _)| last == path) {
            return Ok(Some(blob.clone()));
        }
        let unreadable =
            |error: JsValue| Refusal::Unreadable(format!("{} cannot be read: {}", self.name, words(&error)));
        let archive = self.archive.as_ref().ok_or(Refusal::NotThere)?;
        let header = entry.offset as f64..entry.offset as f64 + LOCAL_HEADER_BYTES as f64;
        let header = bytes_of(&slice(archive, header).map_err(unreadable)?).await.map_err(unreadable)?;
        let start = archive::data_start(&header, entry)
            .map_err(|error| Refusal::Unreadable(format!("{}: {error}. Copy it again", self.name)))?;
        let packed = slice(archive, start as f64..(start + entry.n_packed) as f64).map_err(unreadable)?;
        if !entry.is_deflated {
            return Ok(Some(packed));
        }
        let damaged = || {
            Refusal::Unreadable(format!("{} is damaged: {path} does not unpack to its size. Copy it again", self.name))
        };
        let blob = inflated(&packed).await.map_err(|_| damaged())?;
        if blob.size() as u64 != entry.n_bytes {
            return Err(damaged());
        }
        self.inflated.replace(Some((path.to_owned(), blob.clone())));
        Ok(Some(blob))
    }
}

/// What was chosen, if it is a bundle of this version with all files of its study.
async fn checked(mut opened: Opened) -> Result<Opened, OpenError> {
    let name = opened.name.clone();
    let paths: Vec<&str> = opened.files.keys().map(String::as_str).collect();
    let Some(root) = bundle::root(&paths) else {
        return Err(OpenError::NoBundle { name });
    };
    opened.files = std::mem::take(&mut opened.files)
        .into_iter()
        .filter_map(|(path, place)| Some((path.strip_prefix(&root)?.to_owned(), place)))
        .collect();
    let reason = |reason: String| OpenError::Manifest { name: name.clone(), reason };
    let manifest = match opened.file(bundle::PATH).await {
        Ok(Some(blob)) => bytes_of(&blob).await.map_err(|error| reason(words(&error)))?,
        Ok(None) | Err(Refusal::NotThere | Refusal::Short) => return Err(OpenError::NoBundle { name }),
        Err(Refusal::Unreadable(text)) => return Err(reason(text)),
    };
    // The format first: a later one may say anything else otherwise.
    let head: serde_json::Value = json::from_slice(&manifest).map_err(|error| reason(error.to_string()))?;
    let text = |key: &str| head.get(key).and_then(|value| value.as_str()).unwrap_or("of an unknown version").to_owned();
    if text("format") != bundle::FORMAT {
        return Err(OpenError::Format { name, got: text("format"), whence: text("whence") });
    }
    let view: BundleView = json::from_value(head).map_err(|error| reason(error.to_string()))?;
    // The app in it is not needed: this one shows it.
    let wanted = view.files.iter().filter(|file| file.path.starts_with(DATA));
    let missing: Vec<String> = wanted
        .filter_map(|file| match opened.files.get(&file.path).map(Place::n_bytes) {
            None => Some(format!("{} is missing", file.path)),
            Some(n) if n == file.n_bytes => None,
            Some(n) => Some(format!("{} has {n} bytes, expected {}", file.path, file.n_bytes)),
        })
        .collect();
    if missing.is_empty() {
        return Ok(opened);
    }
    let more = missing.len().saturating_sub(N_NAMED);
    let mut text = missing[..missing.len().min(N_NAMED)].join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    Err(OpenError::Incomplete { name, missing: text })
}

impl Place {
    fn n_bytes(&self) -> u64 {
        match self {
            Self::File(file) => file.size() as u64,
            Self::Packed(entry) => entry.n_bytes,
        }
    }
}

fn slice(blob: &Blob, range: Range<f64>) -> Result<Blob, JsValue> {
    blob.slice_with_f64_and_f64(range.start, range.end)
}

async fn bytes_of(blob: &Blob) -> Result<Vec<u8>, JsValue> {
    let buffer = JsFuture::from(blob.array_buffer()).await?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

#[wasm_bindgen]
extern "C" {
    // Not in all browsers before 2023: then a deflated bundle says so.
    type DecompressionStream;
    #[wasm_bindgen(constructor, catch)]
    fn new(format: &str) -> Result<DecompressionStream, JsValue>;
}

/// What deflated bytes unpack to, in the browser's memory or on its disk, as it likes.
async fn inflated(packed: &Blob) -> Result<Blob, JsValue> {
    let unpacking = DecompressionStream::new("deflate-raw")?;
    let stream = packed.stream();
    let pipe: Function = Reflect::get(&stream, &"pipeThrough".into())?.dyn_into()?;
    let unpacked = pipe.call1(&stream, &unpacking)?;
    let response = Response::new_with_opt_readable_stream(Some(unpacked.unchecked_ref()))?;
    JsFuture::from(response.blob()?).await?.dyn_into()
}

/// What the browser says of an error.
fn words(error: &JsValue) -> String {
    let message = Reflect::get(error, &"message".into()).ok().and_then(|message| message.as_string());
    message.unwrap_or_else(|| Object::from(error.clone()).to_string().into())
}
