//! `/data/columns.safetensors`: source, lengths and metadata of every pair ([`whence_shared::columns`]), made of
//! `pairs.parquet` when first asked for and kept in memory.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::State;
use super::chunks::{blocking, is_known};
use super::error::RequestError;
use super::pairs::{config_of, source_numbers};
use crate::data::row_columns::row_columns;

/// The file of the pairs that were looked at last, with their hash.
#[derive(Debug, Default)]
pub struct ColumnsFile(Mutex<Option<(String, Bytes)>>);

/// Answers `/data/columns.safetensors`.
pub async fn columns(Extract(state): Extract<State>, headers: HeaderMap) -> Result<Response, RequestError> {
    let (sha256, bytes) = blocking(move || state.columns.clone().get(&state)).await?;
    // Weak, because compression changes the bytes and not what they say.
    let etag = format!("W/\"{}-columns\"", sha256.get(..16).unwrap_or_default());
    let is_known = is_known(&headers, &etag);
    let cached = [(header::ETAG, etag), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, cached).into_response());
    }
    Ok((cached, [(header::CONTENT_TYPE, "application/octet-stream")], Body::from(bytes)).into_response())
}

impl ColumnsFile {
    /// Whoever comes second waits for the first instead of making the same again.
    fn get(self: Arc<Self>, state: &State) -> Result<(String, Bytes), RequestError> {
        let pairs = state.pairs.current()?;
        let mut made = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((sha256, bytes)) = made.as_ref().filter(|(sha256, _)| *sha256 == pairs.sha256) {
            return Ok((sha256.clone(), bytes.clone()));
        }
        let config = config_of(&state.study, &pairs)?;
        let columns = row_columns(&pairs.file, &source_numbers(&config), &pairs.sha256).map_err(RequestError::study)?;
        let bytes = Bytes::from(columns.to_bytes());
        *made = Some((pairs.sha256.clone(), bytes.clone()));
        Ok((pairs.sha256.clone(), bytes))
    }
}
