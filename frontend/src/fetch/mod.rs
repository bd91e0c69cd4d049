//! Fetching files: whole, in parts, or chosen rows; in the page and in the workers alike.
//!
//! A download that breaks is continued from where it broke, after a pause that doubles with every try in vain ([`error`]).
//! Who fetches may pause it, which stops reading so that the sender stops sending, or cancel it ([`transfer`]).

mod error;
mod hash;
mod transfer;

pub use error::FetchError;
pub use hash::sha256;
pub use transfer::{Event, Gate, Transfer};

use std::cell::Cell;
use std::ops::Range;

use js_sys::{Promise, Uint8Array};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, ReadableStreamDefaultReader, RequestCache, RequestInit, Response};
use whence_shared::json;

use crate::opened::{self, Refusal};

/// A file to fetch.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Absolute address of the folder it lies in, with a final slash.
    pub folder: &'a str,
    /// Its path in that folder, which errors name.
    pub path: &'a str,
    /// What caches on the way may do.
    pub cache: RequestCache,
}

#[wasm_bindgen]
extern "C" {
    // `window.fetch` in the page, `self.fetch` in a worker.
    #[wasm_bindgen(js_name = fetch)]
    fn global_fetch(address: &str, options: &RequestInit) -> Promise;
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &js_sys::Function, ms: i32) -> i32;
}

/// Waits.
pub async fn sleep(ms: f64) {
    let promise = Promise::new(&mut |resolve, _| {
        set_timeout(&resolve, ms as i32);
    });
    // A timeout cannot fail.
    let _ = JsFuture::from(promise).await;
}

impl<'a> File<'a> {
    /// A file that may be replaced under the same name: caches ask the server whether theirs is current.
    pub fn new(folder: &'a str, path: &'a str) -> Self {
        Self { folder, path, cache: RequestCache::NoCache }
    }

    fn failed(&self, error: &JsValue, transfer: &Transfer) -> FetchError {
        let path = self.path.to_owned();
        if transfer.is_cancelled() {
            return FetchError::Cancelled { path };
        }
        let reason = error.dyn_ref::<js_sys::Error>().map_or_else(|| format!("{error:?}"), |e| e.message().into());
        if opened::is_opened(self.folder) {
            return FetchError::Disk { path, reason: format!("{reason} Open the bundle again") };
        }
        FetchError::Unreachable { path, reason }
    }

    fn size(&self, expected: u64, got: u64) -> FetchError {
        FetchError::Size { path: self.path.to_owned(), expected, got }
    }

    /// What answers for the file, or a part of it.
    async fn response(
        &self,
        options: &RequestInit,
        part: Option<Range<u64>>,
        transfer: &Transfer,
    ) -> Result<Response, FetchError> {
        if opened::is_opened(self.folder) {
            return self.opened(part, transfer).await;
        }
        if let Some(Range { start, end }) = part {
            let headers = Headers::new().expect("an empty list of headers is valid");
            headers.set("Range", &format!("bytes={start}-{}", end - 1)).expect("a valid header");
            options.set_headers(&headers);
        }
        options.set_cache(self.cache);
        options.set_signal(Some(&transfer.signal()));
        // Behavior and file names are letters, digits, `-` and `_`, so the path needs no escaping.
        let address = format!("{}{}", self.folder, self.path);
        let response =
            JsFuture::from(global_fetch(&address, options)).await.map_err(|error| self.failed(&error, transfer))?;
        let response: Response = response.unchecked_into();
        if response.ok() {
            return Ok(response);
        }
        let seconds = response.headers().get("Retry-After").ok().flatten().and_then(|text| text.parse::<u32>().ok());
        let retry_after_ms = seconds.map(|seconds| seconds.saturating_mul(1000));
        Err(FetchError::Status { path: self.path.to_owned(), status: response.status(), retry_after_ms })
    }

    /// The same of a file on the reader's machine.
    async fn opened(&self, part: Option<Range<u64>>, transfer: &Transfer) -> Result<Response, FetchError> {
        let path = self.path.to_owned();
        if transfer.is_cancelled() {
            return Err(FetchError::Cancelled { path });
        }
        let status = |status| FetchError::Status { path: self.path.to_owned(), status, retry_after_ms: None };
        opened::response(self.folder, self.path, part).await.map_err(|refusal| match refusal {
            Refusal::NotThere => status(404),
            Refusal::Short => status(416),
            Refusal::Unreadable(reason) => FetchError::Disk { path, reason },
        })
    }

    /// The file's contents as JSON.
    ///
    /// # Errors
    ///
    /// When it does not arrive or is not the JSON of a `T`.
    pub async fn json<T: DeserializeOwned>(&self) -> Result<T, FetchError> {
        let bytes = self.bytes(&Transfer::default()).await?;
        json::from_slice(&bytes.to_vec())
            .map_err(|error| FetchError::Json { path: self.path.to_owned(), reason: error.to_string() })
    }

    /// The same of a file that says of which format it is.
    ///
    /// # Errors
    ///
    /// As [`File::json`], and when it is of another format than `expected`.
    pub async fn json_of<T: DeserializeOwned>(
        &self,
        expected: &str,
        format: impl Fn(&T) -> &str,
    ) -> Result<T, FetchError> {
        let found = self.json::<T>().await?;
        match format(&found) {
            got if got == expected => Ok(found),
            got => {
                let reason = format!("expected format {expected:?}, got {got:?}");
                Err(FetchError::Json { path: self.path.to_owned(), reason })
            }
        }
    }

    /// The file's contents, whatever their length.
    ///
    /// # Errors
    ///
    /// When it does not arrive.
    pub async fn bytes(&self, transfer: &Transfer) -> Result<Uint8Array, FetchError> {
        self.persevere(transfer, async || self.answer(&RequestInit::new(), transfer).await).await
    }

    /// The answer to a request that brings JSON, which is `n_bytes` long.
    ///
    /// # Errors
    ///
    /// When it does not arrive or has another length.
    pub async fn post(&self, json: &str, n_bytes: u64, transfer: &Transfer) -> Result<Uint8Array, FetchError> {
        let once = async || {
            let options = RequestInit::new();
            options.set_method("POST");
            options.set_body(&json.into());
            let headers = Headers::new().expect("an empty list of headers is valid");
            headers.set("Content-Type", "application/json").expect("a valid header");
            options.set_headers(&headers);
            let bytes = self.answer(&options, transfer).await?;
            let got = u64::from(bytes.length());
            transfer.tell(Event::Arrived(got));
            if got == n_bytes { Ok(bytes) } else { Err(self.size(n_bytes, got)) }
        };
        self.persevere(transfer, once).await
    }

    async fn answer(&self, options: &RequestInit, transfer: &Transfer) -> Result<Uint8Array, FetchError> {
        transfer.gate.pass().await;
        let response = self.response(options, None, transfer).await?;
        let buffer = async { JsFuture::from(response.array_buffer()?).await }.await;
        Ok(Uint8Array::new(&buffer.map_err(|error| self.failed(&error, transfer))?))
    }

    /// The file's contents, which are `n_bytes` long.
    ///
    /// # Errors
    ///
    /// When it does not arrive or has another length.
    pub async fn whole(&self, n_bytes: u64, transfer: &Transfer) -> Result<Uint8Array, FetchError> {
        self.stretch(0..n_bytes, n_bytes, transfer).await
    }

    /// Bytes `range` of the file, which is `n_bytes` long.
    ///
    /// # Errors
    ///
    /// [`FetchError::NoRanges`] when the server sends the whole file instead; else when they do not arrive.
    pub async fn part(&self, range: Range<u64>, n_bytes: u64, transfer: &Transfer) -> Result<Uint8Array, FetchError> {
        self.stretch(range, n_bytes, transfer).await
    }

    async fn stretch(&self, range: Range<u64>, n_bytes: u64, transfer: &Transfer) -> Result<Uint8Array, FetchError> {
        let length = u32::try_from(range.end - range.start).map_err(|_| self.size(range.end - range.start, 0))?;
        let stretch = Stretch { range, n_bytes, bytes: Uint8Array::new_with_length(length), n_done: Cell::new(0) };
        let mut n_vain = 0;
        loop {
            let n_before = stretch.n_done.get();
            let Err(error) = self.pour(&stretch, transfer).await else { return Ok(stretch.bytes) };
            // A try that brought something was not in vain.
            n_vain = if stretch.n_done.get() > n_before { 1 } else { n_vain + 1 };
            self.wait(error, n_vain, transfer).await?;
        }
    }

    /// Tries until it succeeds or there is no point in trying on.
    async fn persevere<T>(
        &self,
        transfer: &Transfer,
        once: impl AsyncFn() -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        let mut n_vain = 0;
        loop {
            let error = match once().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            n_vain += 1;
            self.wait(error, n_vain, transfer).await?;
        }
    }

    async fn wait(&self, error: FetchError, n_vain: u32, transfer: &Transfer) -> Result<(), FetchError> {
        let Some(pause_ms) = error.pause_ms(n_vain) else { return Err(error) };
        transfer.tell(Event::Retrying(n_vain, error));
        sleep(pause_ms).await;
        if transfer.is_cancelled() {
            return Err(FetchError::Cancelled { path: self.path.to_owned() });
        }
        Ok(())
    }

    /// Fetches what is missing of a stretch.
    async fn pour(&self, stretch: &Stretch, transfer: &Transfer) -> Result<(), FetchError> {
        transfer.gate.pass().await;
        let Range { start, end } = stretch.range;
        let is_whole = start == 0 && end == stretch.n_bytes;
        let (length, from) = (end - start, start + stretch.n_done.get());
        if from == end && length > 0 {
            return Ok(());
        }
        let options = RequestInit::new();
        let asks_part = !is_whole || from > 0;
        let response = match self.response(&options, asks_part.then_some(from..end), transfer).await {
            // The file is shorter than that.
            Err(FetchError::Status { status: 416, .. }) => return Err(self.size(end, from.min(end - 1))),
            response => response?,
        };
        let reader: ReadableStreamDefaultReader = match response.body() {
            Some(body) => body.get_reader().unchecked_into(),
            None if length == 0 => return Ok(()),
            None => return Err(self.size(length, 0)),
        };
        let refuse = |error| {
            // Best effort: the answer is refused either way.
            let _ = reader.cancel();
            Err(error)
        };
        if asks_part && response.status() != 206 {
            if !is_whole {
                return refuse(FetchError::NoRanges { path: self.path.to_owned() });
            }
            // The whole file, from the start.
            transfer.tell(Event::Lost(stretch.n_done.replace(0)));
        } else if asks_part && !is_range_from(&response, from) {
            return refuse(self.size(end, 0));
        }
        loop {
            transfer.gate.pass().await;
            let piece = JsFuture::from(reader.read()).await.map_err(|error| self.failed(&error, transfer))?;
            let member = |name: &str| js_sys::Reflect::get(&piece, &name.into()).unwrap_or_default();
            if member("done").is_truthy() {
                break;
            }
            let bytes: Uint8Array = member("value").unchecked_into();
            let (at, n) = (stretch.n_done.get(), u64::from(bytes.length()));
            if at + n > length {
                // All of it is of no use.
                transfer.lost(stretch.n_done.replace(0));
                return refuse(self.size(length, at + n));
            }
            stretch.bytes.set(&bytes, at as u32);
            stretch.n_done.set(at + n);
            transfer.tell(Event::Arrived(n));
        }
        let done = stretch.n_done.get();
        if done == length { Ok(()) } else { Err(self.size(length, done)) }
    }
}

/// A stretch of a file, filled from its start.
struct Stretch {
    range: Range<u64>,
    /// Length of the whole file.
    n_bytes: u64,
    bytes: Uint8Array,
    n_done: Cell<u64>,
}

/// Whether a partial answer begins where it should, as far as it says: other hosts may hide the header.
fn is_range_from(response: &Response, from: u64) -> bool {
    let Some(range) = response.headers().get("Content-Range").ok().flatten() else { return true };
    range.strip_prefix("bytes ").and_then(|range| range.split('-').next()?.parse::<u64>().ok()) == Some(from)
}
