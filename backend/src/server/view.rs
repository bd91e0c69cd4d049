//! `/data/study.json`: what the study holds, looked at anew for every request.

use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::response::Response;

use super::State;
use super::chunks::{blocking, json_response};
use super::error::RequestError;
use crate::files;
use crate::view::study::assemble;

/// Answers `/data/study.json`.
pub async fn study(Extract(state): Extract<State>, headers: HeaderMap) -> Result<Response, RequestError> {
    let json = blocking(move || {
        let pairs = state.pairs.current()?;
        let view = assemble(&state.study, &pairs)?;
        serde_json::to_vec(&view).map_err(RequestError::study)
    })
    .await?;
    let etag = files::sha256(&json);
    Ok(json_response(&headers, &etag, json.into()))
}
