//! `/data/nearest/L/ROW.json`, of the study and of what a link shows of it ([`crate::view::nearest`]).

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::State;
use super::chunks::blocking;
use super::error::RequestError;
use crate::study::numbers;
use crate::view::nearest;

/// Answers `/data/nearest/L/ROW.json`.
pub async fn nearest(
    Extract(state): Extract<State>,
    Path((layer, file)): Path<(String, String)>,
) -> Result<Response, RequestError> {
    answer(state, None, layer, file).await
}

/// Answers for `file`, `ROW.json`, at a layer that is one of `layers`; of all with vectors where that is not stated.
pub async fn answer(
    state: State,
    layers: Option<Vec<usize>>,
    layer: String,
    file: String,
) -> Result<Response, RequestError> {
    let found = move || {
        let not_found = |hint: String| RequestError::NotFound { what: format!("nearest/{layer}/{file}"), hint };
        let mut complete = state.study.complete_layers().map_err(RequestError::study)?;
        complete.retain(|layer| layers.as_ref().is_none_or(|layers| layers.contains(layer)));
        let at = layer.parse().ok().filter(|layer| complete.contains(layer));
        let at = at.ok_or_else(|| not_found(format!("expected a layer of {}", numbers(&complete))))?;
        let n_pairs = state.pairs.current()?.file.len();
        let row = file.strip_suffix(".json").and_then(|row| row.parse::<u32>().ok());
        let row = row.filter(|row| (*row as usize) < n_pairs);
        let row = row.ok_or_else(|| not_found(format!("expected ROW.json with ROW below {n_pairs}")))?;
        nearest::nearest(&state.study, n_pairs, at, row).map_err(RequestError::study)
    };
    Ok(([(header::CACHE_CONTROL, "no-cache")], Json(blocking(found).await?)).into_response())
}
