//! The browser's own store of files that are known by their hash: what was downloaded once is never downloaded again.
//!
//! Files lie in the Cache API under made-up addresses that hold hash and size, so that one listing tells how much is
//! kept. Workers fill and read it; the page shows its size and empties it. What comes out is verified like what comes
//! from a server.

use js_sys::{Array, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{CacheStorage, DomException, Request, Response};

/// Name of the store; the number changes when what lies in it does.
const STORE: &str = "whence-files-1";
/// Beginning of every made-up address.
const ADDRESS: &str = "/whence-file/";

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CacheSize {
    /// Files.
    pub n_files: usize,
    /// Their bytes.
    pub n_bytes: u64,
}

/// Why a file could not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotKept {
    /// The browser gives no more room.
    Full,
    /// Anything else, in the browser's words.
    Other(String),
}

/// An open store.
#[derive(Debug)]
pub struct Cache {
    store: web_sys::Cache,
}

fn storage() -> Option<CacheStorage> {
    // Absent on plain http beyond loopback.
    let storage = js_sys::Reflect::get(&js_sys::global(), &"caches".into()).ok()?;
    storage.is_object().then(|| storage.unchecked_into())
}

/// The address of a file: the whole of it, because pages at different paths of one host share their files.
fn address(sha256: &str, n_bytes: u64) -> String {
    format!("{ADDRESS}{sha256}?bytes={n_bytes}")
}

fn n_bytes_of(address: &str) -> Option<u64> {
    let (_, query) = address.split_once(ADDRESS)?;
    query.split_once("?bytes=")?.1.parse().ok()
}

impl Cache {
    /// Opens the store; `None` where the browser has none or forbids it.
    pub async fn open() -> Option<Self> {
        let store = JsFuture::from(storage()?.open(STORE)).await.ok()?;
        Some(Self { store: store.unchecked_into() })
    }

    /// A file's bytes, if they are kept.
    pub async fn get(&self, sha256: &str, n_bytes: u64) -> Option<Uint8Array> {
        let found = JsFuture::from(self.store.match_with_str(&address(sha256, n_bytes))).await.ok()?;
        let response: Response = found.dyn_into().ok()?;
        let buffer = JsFuture::from(response.array_buffer().ok()?).await.ok()?;
        Some(Uint8Array::new(&buffer))
    }

    /// Keeps a file.
    ///
    /// # Errors
    ///
    /// [`NotKept`]: the ranking goes on without.
    pub async fn put(&self, sha256: &str, bytes: &Uint8Array) -> Result<(), NotKept> {
        let put = async {
            let response = Response::new_with_opt_buffer_source(Some(bytes))?;
            let address = address(sha256, u64::from(bytes.length()));
            JsFuture::from(self.store.put_with_str(&address, &response)).await
        };
        put.await.map(drop).map_err(|error| {
            let error: &DomException = error.unchecked_ref();
            match error.name().as_str() {
                "QuotaExceededError" => NotKept::Full,
                _ => NotKept::Other(error.message()),
            }
        })
    }

    /// Forgets a file.
    pub async fn remove(&self, sha256: &str, n_bytes: u64) {
        // What cannot be removed is found to be wrong again next time.
        let _ = JsFuture::from(self.store.delete_with_str(&address(sha256, n_bytes))).await;
    }

    /// How much is kept.
    pub async fn size(&self) -> CacheSize {
        let requests = JsFuture::from(self.store.keys()).await.map(|keys| Array::from(&keys)).unwrap_or_default();
        let sizes = requests.iter().filter_map(|request| n_bytes_of(&request.unchecked_into::<Request>().url()));
        sizes.fold(CacheSize::default(), |size, n_bytes| CacheSize {
            n_files: size.n_files + 1,
            n_bytes: size.n_bytes + n_bytes,
        })
    }

    /// Forgets every file, of all studies of this host. (One by one: deleting the store would leave those who have it
    /// open with a store that nobody else sees.)
    pub async fn clear(&self) {
        let requests = JsFuture::from(self.store.keys()).await.map(|keys| Array::from(&keys)).unwrap_or_default();
        for request in requests.iter() {
            // What stays is counted when the size is asked for next.
            let _ = JsFuture::from(self.store.delete_with_request(request.unchecked_ref())).await;
        }
    }
}
