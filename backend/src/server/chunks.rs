//! `/data/rows/N.json` and `/data/texts/N.json`: pairs in chunks of fixed size, straight from `pairs.parquet`. The last
//! few chunks are kept in memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Mutex;

use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use whence_shared::pair::{Pair, Side};
use whence_shared::study::{ROWS_PER_ROW_CHUNK, ROWS_PER_TEXT_CHUNK, RowChunk, TextChunk};

use super::State;
use super::error::RequestError;
use super::pairs::{OpenPairs, config_of, source_numbers};
use crate::data::config::StudyConfig;
use crate::data::pairs::SNIPPET_CHARS;

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

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rows,
    Texts,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Rows => "rows",
            Kind::Texts => "texts",
        }
    }

    fn n_rows(self) -> usize {
        match self {
            Kind::Rows => ROWS_PER_ROW_CHUNK,
            Kind::Texts => ROWS_PER_TEXT_CHUNK,
        }
    }
}

async fn answer(state: State, kind: Kind, name: String, headers: HeaderMap) -> Result<Response, RequestError> {
    let (etag, json) = blocking(move || {
        let pairs = state.pairs.current()?;
        let (number, rows) = range(kind, &name, pairs.file.len())?;
        let etag = format!("{}-{}-{number}", pairs.sha256.get(..16).unwrap_or_default(), kind.name());
        if let Some(json) = state.chunks.get(&etag) {
            return Ok((etag, json));
        }
        let json = match kind {
            Kind::Texts => {
                let chunk = TextChunk { first_row: rows.start, pairs: pairs.file.read(rows)? };
                serde_json::to_vec(&chunk)
            }
            Kind::Rows => serde_json::to_vec(&row_chunk(&pairs, &config_of(&state.study, &pairs)?, rows)?),
        };
        let json = Bytes::from(json.map_err(RequestError::study)?);
        state.chunks.put(&etag, &json);
        Ok((etag, json))
    })
    .await?;
    Ok(json_response(&headers, &etag, json))
}

/// Number and rows of the chunk that `N.json` names.
fn range(kind: Kind, name: &str, n_pairs: usize) -> Result<(usize, Range<usize>), RequestError> {
    let n_chunks = n_pairs.div_ceil(kind.n_rows());
    // Only the plain decimal form: one address per chunk.
    let number =
        name.strip_suffix(".json").and_then(|number| number.parse().ok().filter(|n: &usize| n.to_string() == number));
    match number {
        Some(number) if number < n_chunks => {
            let first = number * kind.n_rows();
            Ok((number, first..(first + kind.n_rows()).min(n_pairs)))
        }
        _ => Err(RequestError::NotFound {
            what: format!("{}/{name}", kind.name()),
            hint: format!(": expected N.json with N below {n_chunks}"),
        }),
    }
}

fn row_chunk(pairs: &OpenPairs, config: &StudyConfig, rows: Range<usize>) -> Result<RowChunk, RequestError> {
    let numbers = source_numbers(config);
    let mut chunk = RowChunk { first_row: rows.start, ..RowChunk::default() };
    let n_chars = |pair: &Pair, side| pair.response(side).chars().count() as u32;
    for pair in pairs.file.read(rows)? {
        chunk.snippet.push(pair.snippet(SNIPPET_CHARS));
        chunk.chosen_chars.push(n_chars(&pair, Side::Chosen));
        chunk.rejected_chars.push(n_chars(&pair, Side::Rejected));
        let number = numbers.get(pair.source.as_str()).ok_or_else(|| {
            RequestError::study(format!(
                "source {:?} is not listed in study.toml: import again with --replace",
                pair.source
            ))
        })?;
        chunk.source.push(*number);
        chunk.id.push(pair.id);
    }
    Ok(chunk)
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
    // Weak, because compression changes the bytes and not what they say.
    let etag = format!("W/\"{etag}\"");
    let is_known = is_known(request, &etag);
    let cached = [(header::ETAG, etag), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if is_known {
        return (StatusCode::NOT_MODIFIED, cached).into_response();
    }
    (cached, [(header::CONTENT_TYPE, "application/json")], Body::from(json)).into_response()
}

/// Whether the reader has what this ETag names.
pub fn is_known(request: &HeaderMap, etag: &str) -> bool {
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
