//! One file from the hub into the cache: asked for, continued where it was cut, checked. Between [`super::hub`], which
//! decides what is needed, and the `hf-hub` library, which knows addresses, cache layout and byte ranges.
//!
//! What the library leaves to its caller is done here: an agent that waits for ever (a watchdog gives up), contents
//! that are there under another commit (linked, not downloaded), a part file that is complete or too long, a server that
//! ignores the range (size and hash are checked), a ref made of a commit hash (removed).

use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Repo, RepoType};
use serde::Deserialize;

use super::hub::{Hub, HubError, Wanted};
use crate::files::{self, Context, FileError};
use crate::progress::{Report, Update};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const LISTING: &str = "the list of files";
/// How long another process may take for one file. (The library itself waits five seconds.)
const LOCK_PATIENCE: Duration = Duration::from_secs(1800);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
// Progress is shown in megabytes.
const MB: u64 = 1_000_000;

fn api(hub: &Hub) -> Result<Api, ApiError> {
    ApiBuilder::new()
        .with_endpoint(hub.endpoint.clone())
        .with_cache_dir(hub.cache.clone())
        .with_token(hub.token.as_ref().map(|token| token.text.clone()))
        .with_progress(false)
        .with_user_agent("whence", env!("CARGO_PKG_VERSION"))
        .build()
}

fn repo(wanted: &Wanted, revision: &str) -> Repo {
    Repo::with_revision(wanted.repo.clone(), RepoType::Model, revision.to_owned())
}

/// What a repository holds at one commit.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    #[serde(rename = "sha")]
    pub commit: String,
    #[serde(default, rename = "siblings")]
    files: Vec<RemoteFile>,
}

impl Listing {
    /// A file by its path in the repository.
    pub fn file(&self, name: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// One file of a repository, as the hub lists it.
#[derive(Debug, Deserialize)]
pub(super) struct RemoteFile {
    #[serde(rename = "rfilename")]
    pub name: String,
    /// Bytes.
    pub size: Option<u64>,
    /// Git's hash of the contents, or of the pointer to them.
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Debug, Deserialize)]
struct LargeFile {
    sha256: Option<String>,
}

impl RemoteFile {
    /// SHA-256 of the contents, where the hub states it: for large files.
    pub fn sha256(&self) -> Option<&str> {
        self.lfs.as_ref().and_then(|lfs| lfs.sha256.as_deref()).filter(|hash| hash.len() == 64)
    }

    /// Name under `blobs`.
    pub fn etag(&self) -> Option<&str> {
        let etag = match &self.lfs {
            Some(lfs) => lfs.sha256.as_deref(),
            None => self.blob_id.as_deref(),
        };
        etag.filter(|etag| !etag.is_empty() && etag.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

/// What the repository holds at the revision asked for.
///
/// # Errors
///
/// [`HubError::Unreachable`] when asking again later may help, else why the hub will not say.
pub(super) fn ask(hub: &Hub, wanted: &Wanted) -> Result<Listing, HubError> {
    let mut wait = hub.retry_wait;
    for attempt in 0.. {
        match ask_once(hub, wanted) {
            Err(HubError::Unreachable { .. }) if attempt < hub.n_retries => {
                thread::sleep(wait);
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            answer => return answer,
        }
    }
    unreachable!("the last attempt returns")
}

fn ask_once(hub: &Hub, wanted: &Wanted) -> Result<Listing, HubError> {
    let api = api(hub).map_err(|error| hub.unreachable(wanted, LISTING, error.to_string()))?;
    let request = api.repo(repo(wanted, &wanted.revision)).info_request().query("blobs", "true");
    let request = request
        .config()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(hub.stall))
        .build();
    let mut response = request.call().map_err(|error| hub.unreachable(wanted, LISTING, error.to_string()))?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (status, code, said) = (response.status().as_u16(), header("x-error-code"), header("x-error-message"));
    let repo = wanted.repo.clone();
    let (endpoint, token) = (hub.endpoint.clone(), hub.token_origin());
    match (status, code) {
        (200, _) => response
            .body_mut()
            .read_json()
            .map_err(|error| hub.unreachable(wanted, LISTING, format!("not the hub's answer: {error}"))),
        (_, "RevisionNotFound") => Err(HubError::Revision { repo, revision: wanted.revision.clone(), endpoint }),
        (_, "GatedRepo") | (403, _) => Err(HubError::Gated { repo, file: LISTING.into(), endpoint, token }),
        (_, "RepoNotFound") | (401 | 404, _) => Err(HubError::NotFound { repo, endpoint, token }),
        _ => Err(hub.unreachable(wanted, LISTING, format!("it answered {status} {said}").trim_end().to_owned())),
    }
}

/// Puts files into the snapshot of the listing's commit, downloading what the cache lacks. Reports bytes.
///
/// # Errors
///
/// [`HubError`] naming the file that stopped it; files before it are complete, and its own part is kept.
pub(super) fn fetch(
    hub: &Hub,
    wanted: &Wanted,
    listing: &Listing,
    files: &[&RemoteFile],
    report: Report,
) -> Result<(), HubError> {
    let total: u64 = files.iter().filter_map(|file| file.size).sum();
    let mut before = 0;
    for file in files {
        let start = before;
        let show = |done: u64| {
            let (done, total) = ((start + done) / MB, total.div_ceil(MB));
            report(Update { stage: "download", done, total, unit: "MB", detail: file.name.clone() });
        };
        let since = Instant::now();
        while !is_there(wanted, listing, file)? {
            show(0);
            // Another process is at it: what it downloads will do.
            if is_locked(wanted, file) && since.elapsed() < LOCK_PATIENCE {
                thread::sleep(Duration::from_millis(250));
                continue;
            }
            download(hub, wanted, listing, file, &show)?;
            break;
        }
        show(file.size.unwrap_or(0));
        before += file.size.unwrap_or(0);
    }
    Ok(())
}

/// Whether the snapshot has the file, after linking contents that the cache has under another commit.
fn is_there(wanted: &Wanted, listing: &Listing, file: &RemoteFile) -> Result<bool, HubError> {
    let pointer = wanted.cache.pointer_path(&listing.commit).join(&file.name);
    let has_size =
        |path: &Path| fs::metadata(path).is_ok_and(|m| m.is_file() && file.size.is_none_or(|n| n == m.len()));
    if has_size(&pointer) {
        return Ok(true);
    }
    // What has another size, or points nowhere, is left from an accident.
    if fs::symlink_metadata(&pointer).is_ok() {
        fs::remove_file(&pointer).at("remove", &pointer)?;
    }
    let (Some(etag), Some(size)) = (file.etag(), file.size) else { return Ok(false) };
    let blob = wanted.cache.blob_path(etag);
    let part = blob.with_extension("part");
    match fs::metadata(&part).map(|metadata| metadata.len()) {
        // Killed between the last byte and the new name.
        Ok(length) if length == size && size > 0 => {
            if file.sha256().is_some_and(|hash| files::sha256_of_file(&part).is_ok_and(|got| got != hash)) {
                fs::remove_file(&part).at("remove", &part)?;
            } else {
                fs::rename(&part, &blob).at("rename into place", &blob)?;
            }
        }
        Ok(length) if length > size => fs::remove_file(&part).at("remove", &part)?,
        _ => {}
    }
    if !has_size(&blob) {
        return Ok(false);
    }
    if let Some(folder) = pointer.parent() {
        fs::create_dir_all(folder).at("create folder", folder)?;
    }
    link(etag, &blob, &pointer).at("link", &pointer)?;
    Ok(true)
}

fn is_locked(wanted: &Wanted, file: &RemoteFile) -> bool {
    let lock = file.etag().map(|etag| wanted.cache.blob_path(etag).with_extension("lock"));
    let lock = lock.and_then(|lock| fs::File::open(lock).ok());
    lock.is_some_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

#[cfg(unix)]
fn link(etag: &str, _blob: &Path, pointer: &Path) -> io::Result<()> {
    // Relative, as Python makes them, so that the cache can be moved: snapshots/COMMIT/FILE → blobs/ETAG.
    std::os::unix::fs::symlink(Path::new("../../blobs").join(etag), pointer)
}

#[cfg(not(unix))]
fn link(_etag: &str, blob: &Path, pointer: &Path) -> io::Result<()> {
    fs::copy(blob, pointer).map(|_| ())
}

/// Downloads one file, trying again while more of it arrives.
fn download(
    hub: &Hub,
    wanted: &Wanted,
    listing: &Listing,
    file: &RemoteFile,
    show: &dyn Fn(u64),
) -> Result<(), HubError> {
    let mut wait = hub.retry_wait;
    let (mut n_fruitless, mut furthest) = (0, 0);
    loop {
        let mut reached = 0;
        let outcome = download_once(hub, wanted, listing, file, &mut |done| {
            reached = done;
            show(done);
        });
        match outcome {
            Ok(()) => break,
            Err(error @ HubError::Unreachable { .. }) => {
                if reached > furthest {
                    (n_fruitless, furthest, wait) = (0, reached, hub.retry_wait);
                }
                n_fruitless += 1;
                if n_fruitless > hub.n_retries {
                    return Err(error);
                }
                thread::sleep(wait);
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            Err(error) => return Err(error),
        }
    }
    let _ = fs::remove_file(wanted.needless_ref(&listing.commit));
    check(wanted, listing, file)
}

/// Bytes as they arrive, from the thread that the library works on.
struct Arrivals(Sender<u64>);

impl Progress for Arrivals {
    fn init(&mut self, _: usize, _: &str) {}

    fn update(&mut self, n_bytes: usize) {
        // Nobody listens any more once the download was given up.
        let _ = self.0.send(n_bytes as u64);
    }

    fn finish(&mut self) {}
}

/// The library has no timeouts, so it works on a thread of its own, and a connection that delivers nothing is left to
/// itself. It ends with the process, or when the other side closes it.
fn download_once(
    hub: &Hub,
    wanted: &Wanted,
    listing: &Listing,
    file: &RemoteFile,
    arrived: &mut dyn FnMut(u64),
) -> Result<(), HubError> {
    let api = api(hub).map_err(|error| hub.unreachable(wanted, &file.name, error.to_string()))?;
    // By commit, not by branch: a branch that moves in between must not mix two models.
    let (repo, name) = (repo(wanted, &listing.commit), file.name.clone());
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || api.repo(repo).download_with_progress(&name, Arrivals(sender)));
    let mut done = 0;
    loop {
        match receiver.recv_timeout(hub.stall) {
            Ok(n_bytes) => {
                done += n_bytes;
                arrived(done);
            }
            Err(RecvTimeoutError::Timeout) => {
                let (repo, endpoint) = (wanted.repo.clone(), hub.endpoint.clone());
                let reason = format!("nothing arrived for {} s", hub.stall.as_secs_f32());
                // Not tried again here: the thread that waits still holds the file's lock.
                return Err(HubError::Stalled { repo, file: file.name.clone(), endpoint, reason });
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    match worker.join() {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(explain(hub, wanted, &file.name, error)),
        Err(_) => Err(hub.unreachable(wanted, &file.name, "its answer makes no sense".into())),
    }
}

fn explain(hub: &Hub, wanted: &Wanted, file: &str, error: ApiError) -> HubError {
    let (repo, file_name) = (wanted.repo.clone(), file.to_owned());
    let system = |source: io::Error| match source.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory => {
            HubError::File(FileError { action: "write into the model cache", path: hub.cache.clone(), source })
        }
        _ => hub.unreachable(wanted, file, source.to_string()),
    };
    match error {
        ApiError::RequestError(error) => match *error {
            ureq::Error::StatusCode(401 | 403) => {
                let (endpoint, token) = (hub.endpoint.clone(), hub.token_origin());
                HubError::Gated { repo, file: file_name, endpoint, token }
            }
            ureq::Error::StatusCode(404) => {
                let revision = wanted.revision.clone();
                HubError::MissingFile { repo, revision, file: file_name, remedy: ", though it lists it" }
            }
            ureq::Error::StatusCode(status) => hub.unreachable(wanted, file, format!("it answered {status}")),
            other => hub.unreachable(wanted, file, other.to_string()),
        },
        ApiError::IoError(source) => system(source),
        ApiError::LockAcquisition(lock) => HubError::Locked { repo, file: file_name, lock },
        other => hub.unreachable(wanted, file, other.to_string()),
    }
}

/// Compares what arrived with what the hub announced, and removes it when it differs.
fn check(wanted: &Wanted, listing: &Listing, file: &RemoteFile) -> Result<(), HubError> {
    let pointer = wanted.cache.pointer_path(&listing.commit).join(&file.name);
    let n_bytes = fs::metadata(&pointer).at("read", &pointer)?.len();
    let mut fault =
        file.size.filter(|&size| size != n_bytes).map(|size| (format!("{size} bytes"), format!("{n_bytes} bytes")));
    if fault.is_none()
        && let Some(expected) = file.sha256()
    {
        let got = files::sha256_of_file(&pointer)?;
        fault = (got != expected).then(|| (format!("SHA-256 {expected}"), got));
    }
    let Some((expected, got)) = fault else { return Ok(()) };
    if let Ok(blob) = pointer.canonicalize() {
        fs::remove_file(&blob).at("remove", &blob)?;
    }
    if fs::symlink_metadata(&pointer).is_ok() {
        fs::remove_file(&pointer).at("remove", &pointer)?;
    }
    Err(HubError::Damaged { repo: wanted.repo.clone(), file: file.name.clone(), expected, got })
}
