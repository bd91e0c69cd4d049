//! `/data/columns.safetensors`: source, lengths and metadata of every pair ([`whence_shared::columns`]), made of
//! `pairs.parquet` when first asked for and kept in memory.

use std::sync::Mutex;

use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;

use super::State;
use super::chunks::{answer_with_etag, blocking};
use super::error::RequestError;
use crate::view::columns;
use crate::view::pairs::config_of;

/// The file of the pairs that were looked at last, with their hash.
#[derive(Debug, Default)]
pub struct ColumnsFile(Mutex<Option<(String, Bytes)>>);

/// Answers `/data/columns.safetensors`.
pub async fn columns(Extract(state): Extract<State>, headers: HeaderMap) -> Result<Response, RequestError> {
    let (sha256, bytes) = blocking(move || state.columns.get(&state)).await?;
    let etag = format!("{}-columns", sha256.get(..16).unwrap_or_default());
    Ok(answer_with_etag(&headers, &etag, "no-cache", "application/octet-stream", bytes))
}

impl ColumnsFile {
    /// SHA-256 of the pairs, and the file. Whoever comes second waits for the first instead of making the same again.
    pub fn get(&self, state: &State) -> Result<(String, Bytes), RequestError> {
        let pairs = state.pairs.current()?;
        let mut made = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((sha256, bytes)) = made.as_ref().filter(|(sha256, _)| *sha256 == pairs.sha256) {
            return Ok((sha256.clone(), bytes.clone()));
        }
        let bytes = Bytes::from(columns::columns(&pairs, &config_of(&state.study, &pairs)?)?);
        *made = Some((pairs.sha256.clone(), bytes.clone()));
        Ok((pairs.sha256.clone(), bytes))
    }
}
