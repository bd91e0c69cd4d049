//! Files with known contents: from memory, the browser's store or the server, and used only when their hash is right.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use js_sys::Uint8Array;
use wasm_bindgen_futures::spawn_local;
use web_sys::RequestCache;

use super::calls::FileRef;
use crate::cache::{Cache, NotKept};
use crate::fetch::{self, FetchError, File, Transfer, sleep};
use crate::opened::is_opened;
use crate::protocol::RankError;

/// Where a file came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was still in memory.
    Memory,
    /// The browser's store.
    Store,
    /// The server.
    Server,
}

/// A verified file.
#[derive(Debug)]
pub struct Arrived {
    /// Its bytes, in JavaScript's memory, which shrinks again when they are dropped.
    pub bytes: Uint8Array,
    /// Where it came from.
    pub origin: Origin,
    /// Whether it stays in memory.
    pub is_kept: bool,
}

/// The files of one worker.
#[derive(Default)]
pub struct Files {
    store: RefCell<Option<Rc<Cache>>>,
    kept: RefCell<HashMap<String, Uint8Array>>,
    n_kept_bytes: Cell<u64>,
    max_kept_bytes: Cell<u64>,
    waiting: RefCell<VecDeque<(String, Uint8Array)>>,
    n_waiting_bytes: Cell<u64>,
    max_waiting_bytes: Cell<u64>,
    is_writing: Cell<bool>,
    is_full: Cell<bool>,
}

impl Files {
    /// Opens the browser's store, or goes without; forgets files in memory that are not `wanted`. At most so many bytes
    /// wait to be written to the store; who brings more waits too.
    pub async fn prepare(&self, max_waiting_bytes: Option<u64>, max_kept_bytes: u64, wanted: &HashSet<&str>) {
        self.max_waiting_bytes.set(max_waiting_bytes.unwrap_or(0));
        self.max_kept_bytes.set(max_kept_bytes);
        self.kept.borrow_mut().retain(|sha256, _| wanted.contains(sha256.as_str()));
        self.n_kept_bytes.set(self.kept.borrow().values().map(|bytes| u64::from(bytes.length())).sum());
        if max_waiting_bytes.is_none() {
            self.store.replace(None);
        } else if self.store.borrow().is_none() {
            let store = Cache::open().await.map(Rc::new);
            self.store.replace(store);
        }
    }

    /// Whether the browser's store has refused a file for want of room; true once.
    pub fn take_full(&self) -> bool {
        self.is_full.replace(false)
    }

    /// A file, verified. One with a wrong hash or size is fetched once more, past every cache.
    ///
    /// # Errors
    ///
    /// When it does not arrive, or not as it should be.
    pub async fn get(self: &Rc<Self>, folder: &str, file: &FileRef, transfer: &Transfer) -> Result<Arrived, RankError> {
        if let Some(bytes) = self.kept.borrow().get(&file.sha256) {
            return Ok(Arrived { bytes: bytes.clone(), origin: Origin::Memory, is_kept: true });
        }
        // What lies on this machine need not lie in the browser's store as well.
        let store = self.store.borrow().clone().filter(|_| !is_opened(folder));
        if let Some(store) = &store
            && let Some(bytes) = store.get(&file.sha256, file.n_bytes).await
        {
            if fetch::sha256(&bytes).await == file.sha256 {
                let is_kept = self.keep(&file.sha256, &bytes);
                return Ok(Arrived { bytes, origin: Origin::Store, is_kept });
            }
            store.remove(&file.sha256, file.n_bytes).await;
        }
        // What goes to our store need not lie in the browser's other cache as well.
        let first = if store.is_some() { RequestCache::NoStore } else { RequestCache::NoCache };
        let bytes = match self.download(folder, file, first, transfer).await {
            Err(RankError::Hash { .. } | RankError::Fetch(FetchError::Size { .. })) => {
                self.download(folder, file, RequestCache::Reload, transfer).await?
            }
            other => other?,
        };
        let is_kept = self.keep(&file.sha256, &bytes);
        if store.is_some() {
            self.write(file, &bytes).await;
        }
        Ok(Arrived { bytes, origin: Origin::Server, is_kept })
    }

    /// A file of unknown size with a known hash, such as a manifest. With a wrong hash it is fetched once more, past
    /// every cache.
    ///
    /// # Errors
    ///
    /// When it does not arrive, or not as it should be.
    pub async fn listed(
        &self,
        folder: &str,
        path: &str,
        expected: &str,
        transfer: &Transfer,
    ) -> Result<Uint8Array, RankError> {
        let mut got = String::new();
        for cache in [RequestCache::NoCache, RequestCache::Reload] {
            let bytes = File { folder, path, cache }.bytes(transfer).await.map_err(RankError::Fetch)?;
            got = fetch::sha256(&bytes).await;
            if got == expected {
                return Ok(bytes);
            }
        }
        Err(RankError::Hash { path: path.to_owned(), expected: expected.to_owned(), got })
    }

    async fn download(
        &self,
        folder: &str,
        file: &FileRef,
        cache: RequestCache,
        transfer: &Transfer,
    ) -> Result<Uint8Array, RankError> {
        let request = File { folder, path: &file.path, cache };
        let bytes = request.whole(file.n_bytes, transfer).await.map_err(RankError::Fetch)?;
        let got = fetch::sha256(&bytes).await;
        if got == file.sha256 {
            return Ok(bytes);
        }
        transfer.lost(file.n_bytes);
        Err(RankError::Hash { path: file.path.clone(), expected: file.sha256.clone(), got })
    }

    fn keep(&self, sha256: &str, bytes: &Uint8Array) -> bool {
        let n_bytes = self.n_kept_bytes.get() + u64::from(bytes.length());
        if n_bytes > self.max_kept_bytes.get() {
            return false;
        }
        self.n_kept_bytes.set(n_bytes);
        self.kept.borrow_mut().insert(sha256.to_owned(), bytes.clone());
        true
    }

    /// Hands a file to the browser's store, one after the other, behind the ranking's back.
    async fn write(self: &Rc<Self>, file: &FileRef, bytes: &Uint8Array) {
        while self.n_waiting_bytes.get() > self.max_waiting_bytes.get() && self.store.borrow().is_some() {
            sleep(10.0).await;
        }
        self.n_waiting_bytes.set(self.n_waiting_bytes.get() + file.n_bytes);
        self.waiting.borrow_mut().push_back((file.sha256.clone(), bytes.clone()));
        if self.is_writing.replace(true) {
            return;
        }
        let files = self.clone();
        spawn_local(async move {
            loop {
                let Some((sha256, bytes)) = files.waiting.borrow_mut().pop_front() else { break };
                let store = files.store.borrow().clone();
                if let Some(store) = store
                    && let Err(error) = store.put(&sha256, &bytes).await
                {
                    // Whatever stands in the way of one file stands in the way of the next.
                    files.store.replace(None);
                    files.is_full.set(error == NotKept::Full);
                }
                files.n_waiting_bytes.set(files.n_waiting_bytes.get() - u64::from(bytes.length()));
            }
            files.is_writing.set(false);
        });
    }
}
