//! Fetching JSON and bytes, in the page and in the worker alike.

use js_sys::{Promise, Uint8Array};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, ReadableStreamDefaultReader, RequestCache, RequestInit, Response};

/// Why a file did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum FetchError {
    /// No answer at all.
    #[error("{path}: no answer from the server ({reason})")]
    Unreachable {
        /// The file.
        path: String,
        /// What the browser said.
        reason: String,
    },
    /// An answer that is not the file.
    #[error("{path}: the server answered {status}")]
    Status {
        /// The file.
        path: String,
        /// HTTP status code.
        status: u16,
    },
    /// Fewer or more bytes than announced.
    #[error("{path}: expected {expected} bytes, got {got}{more}", more = if got > expected { " or more" } else { "" })]
    Size {
        /// The file.
        path: String,
        /// As study.json says.
        expected: u64,
        /// Received.
        got: u64,
    },
    /// Not the JSON it should be.
    #[error("{path}: {reason}")]
    Json {
        /// The file.
        path: String,
        /// What the parser said.
        reason: String,
    },
}

/// A file to fetch.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Absolute address of the folder it lies in, with a final slash.
    pub folder: &'a str,
    /// Its path in that folder, which errors name.
    pub path: &'a str,
}

#[wasm_bindgen]
extern "C" {
    // `window.fetch` in the page, `self.fetch` in a worker.
    #[wasm_bindgen(js_name = fetch)]
    fn global_fetch(address: &str, options: &RequestInit) -> Promise;
}

impl File<'_> {
    fn unreachable(&self, error: &JsValue) -> FetchError {
        let reason = error.dyn_ref::<js_sys::Error>().map_or_else(|| format!("{error:?}"), |e| e.message().into());
        FetchError::Unreachable { path: self.path.to_owned(), reason }
    }

    async fn response(&self, signal: Option<&AbortSignal>) -> Result<Response, FetchError> {
        let options = RequestInit::new();
        // Files are replaced under the same name when a study is made again: ask the server whether ours is current.
        options.set_cache(RequestCache::NoCache);
        options.set_signal(signal);
        // Behavior and file names are letters, digits, `-` and `_`, so the path needs no escaping.
        let address = format!("{}{}", self.folder, self.path);
        let response = JsFuture::from(global_fetch(&address, &options)).await.map_err(|e| self.unreachable(&e))?;
        let response: Response = response.unchecked_into();
        if response.ok() {
            Ok(response)
        } else {
            Err(FetchError::Status { path: self.path.to_owned(), status: response.status() })
        }
    }

    /// The file's contents as JSON.
    ///
    /// # Errors
    ///
    /// When it does not arrive or is not the JSON of a `T`.
    pub async fn json<T: DeserializeOwned>(&self) -> Result<T, FetchError> {
        let bytes = self.bytes(None).await?;
        serde_json::from_slice(&bytes.to_vec())
            .map_err(|error| FetchError::Json { path: self.path.to_owned(), reason: error.to_string() })
    }

    /// The file's contents.
    ///
    /// # Errors
    ///
    /// When it does not arrive.
    pub async fn bytes(&self, signal: Option<&AbortSignal>) -> Result<Uint8Array, FetchError> {
        let response = self.response(signal).await?;
        let buffer = async { JsFuture::from(response.array_buffer()?).await }.await;
        Ok(Uint8Array::new(&buffer.map_err(|error| self.unreachable(&error))?))
    }

    /// The file's contents, which are `n_bytes` long; `arrived` is told the length of every piece.
    ///
    /// # Errors
    ///
    /// When it does not arrive or has another length.
    pub async fn stream(
        &self,
        n_bytes: u64,
        signal: Option<&AbortSignal>,
        arrived: impl Fn(u64),
    ) -> Result<Uint8Array, FetchError> {
        let size = |got: u64| FetchError::Size { path: self.path.to_owned(), expected: n_bytes, got };
        let response = self.response(signal).await?;
        let length = u32::try_from(n_bytes).map_err(|_| size(0))?;
        let file = Uint8Array::new_with_length(length);
        let Some(body) = response.body() else { return Err(size(0)) };
        let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
        let mut at = 0u32;
        loop {
            let piece = JsFuture::from(reader.read()).await.map_err(|error| self.unreachable(&error))?;
            let member = |name: &str| js_sys::Reflect::get(&piece, &name.into()).unwrap_or_default();
            if member("done").is_truthy() {
                break;
            }
            let bytes: Uint8Array = member("value").unchecked_into();
            if u64::from(at) + u64::from(bytes.length()) > n_bytes {
                // Best effort: the answer is refused either way.
                let _ = reader.cancel();
                return Err(size(u64::from(at) + u64::from(bytes.length())));
            }
            file.set(&bytes, at);
            at += bytes.length();
            arrived(u64::from(bytes.length()));
        }
        if u64::from(at) == n_bytes { Ok(file) } else { Err(size(u64::from(at))) }
    }
}

/// SHA-256 of `bytes` in lower-case hex; `None` where the browser offers none (plain http beyond loopback).
pub async fn sha256(bytes: &Uint8Array) -> Option<String> {
    let member = |object: &JsValue, name: &str| js_sys::Reflect::get(object, &name.into()).ok();
    let subtle = member(&member(&js_sys::global(), "crypto")?, "subtle").filter(JsValue::is_object)?;
    let digest: js_sys::Function = member(&subtle, "digest")?.dyn_into().ok()?;
    let promise: Promise = digest.call2(&subtle, &"SHA-256".into(), bytes).ok()?.dyn_into().ok()?;
    let digest = Uint8Array::new(&JsFuture::from(promise).await.ok()?);
    Some(digest.to_vec().iter().map(|byte| format!("{byte:02x}")).collect())
}
