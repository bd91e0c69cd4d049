//! `/data/rows/N.json` and `/data/texts/N.json`: pairs in chunks of fixed size. The last few chunks are kept in memory.
//! Also how any JSON is answered, with an ETag.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::State;
use super::error::RequestError;
use crate::view::chunks::{Kind, chunk};
use crate::view::pairs::config_of;

/// Bytes of chunks kept at most.
const MAX_CACHED_BYTES: usize = 64 << 20;

/// Answers `/data/rows/N.json`.
pub async fn rows(
    Extract(state): Extract<State>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, RequestError> {
    answer(state, Kind::Rows, name, headers).await
}

/// Answers `/data/texts/N.json`.
pub async fn texts(
    Extract(state): Extract<State>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, RequestError> {
    answer(state, Kind::Texts, name, headers).await
}

async fn answer(state: State, kind: Kind, name: String, headers: HeaderMap) -> Result<Response, RequestError> {
    let (etag, json) = blocking(move || {
        let pairs = state.pairs.current()?;
        let number = kind.number(&name, pairs.file.len()).ok_or_else(|| RequestError::NotFound {
            what: format!("{}/{name}", kind.name()),
            hint: format!("expected N.json with N below {}", kind.n_chunks(pairs.file.len())),
        })?;
        let etag = format!("{}-{}-{number}", pairs.sha256.get(..16).unwrap_or_default(), kind.name());
        if let Some(json) = state.chunks.get(&etag) {
            return Ok((etag, json));
        }
        let json = Bytes::from(chunk(kind, number, &pairs, &config_of(&state.study, &pairs)?, true)?);
        state.chunks.put(&etag, &json);
        Ok((etag, json))
    })
    .await?;
    Ok(json_response(&headers, &etag, json))
}

/// Runs what reads files away from the threads that answer requests.
///
/// # Errors
///
/// What `work` returns; a panic in it is an unreadable study.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RequestError> + Send + 'static,
) -> Result<T, RequestError> {
    tokio::task::spawn_blocking(work).await.map_err(RequestError::study)?
}

/// JSON with an ETag, or only the news that the reader has it already.
pub fn json_response(request: &HeaderMap, etag: &str, json: Bytes) -> Response {
    answer_with_etag(request, etag, "no-cache", "application/json", json)
}

/// A body with an ETag, or only the news that the reader has it already.
pub fn answer_with_etag(
    request: &HeaderMap,
    etag: &str,
    cache: &'static str,
    content_type: &'static str,
    body: Bytes,
) -> Response {
    // Weak, because compression changes the bytes and not what they say.
    let etag = format!("W/\"{etag}\"");
    let is_known = is_known(request, &etag);
    let cached = [(header::ETAG, etag), (header::CACHE_CONTROL, cache.to_owned())];
    if is_known {
        return (StatusCode::NOT_MODIFIED, cached).into_response();
    }
    (cached, [(header::CONTENT_TYPE, content_type)], Body::from(body)).into_response()
}

/// Whether the reader has what this ETag names.
fn is_known(request: &HeaderMap, etag: &str) -> bool {
    let known = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    known.split(',').any(|tag| matches!(tag.trim(), tag if tag == etag || tag == "*"))
}

/// The chunks used last, by ETag.
#[derive(Debug, Default)]
pub struct ChunkCache {
    chunks: Mutex<VecDeque<(String, Bytes)>>,
}

impl ChunkCache {
    fn get(&self, etag: &str) -> Option<Bytes> {
        let mut chunks = self.chunks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let i = chunks.iter().position(|(key, _)| key == etag)?;
        let found = chunks.remove(i)?;
        chunks.push_back(found.clone());
        Some(found.1)
    }

    fn put(&self, etag: &str, json: &Bytes) {
        let mut chunks = self.chunks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        chunks.retain(|(key, _)| key != etag);
        chunks.push_back((etag.to_owned(), json.clone()));
        let mut n_bytes: usize = chunks.iter().map(|(_, json)| json.len()).sum();
        while n_bytes > MAX_CACHED_BYTES {
            let Some((_, oldest)) = chunks.pop_front() else { return };
            n_bytes -= oldest.len();
        }
    }
}
