//! `/data/nearest/L/ROW.json`: the pairs whose vectors at a layer are nearest to one pair's, for the reading pane. Found through the
//! index, as `whence query row:ROW` finds them.

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use whence_shared::study::{NearPair, NearestPairs};

use super::State;
use super::chunks::blocking;
use super::error::RequestError;
use crate::attribute::query::{QueriedRow, QueryOptions, query};
use crate::progress::silent;
use crate::study::{Study, numbers};

/// Pairs in an answer.
const N_NEAREST: usize = 10;

/// Answers `/data/nearest/L/ROW.json`.
pub async fn nearest(
    Extract(state): Extract<State>,
    Path((layer, file)): Path<(String, String)>,
) -> Result<Response, RequestError> {
    let found = blocking(move || {
        let n_pairs = state.pairs.current()?.file.len();
        find(&state.study, n_pairs, &layer, &file)
    })
    .await?;
    Ok(([(header::CACHE_CONTROL, "no-cache")], Json(found)).into_response())
}

fn find(study: &Study, n_pairs: usize, layer: &str, file: &str) -> Result<NearestPairs, RequestError> {
    let not_found = |hint: String| RequestError::NotFound { what: format!("nearest/{layer}/{file}"), hint };
    let complete = study.complete_layers()?;
    let layer = layer.parse().ok().filter(|layer| complete.contains(layer));
    let layer = layer.ok_or_else(|| not_found(format!("expected a layer of {}", numbers(&complete))))?;
    let row = file.strip_suffix(".json").and_then(|row| row.parse::<u32>().ok());
    let row = row.filter(|row| (*row as usize) < n_pairs);
    let row = row.ok_or_else(|| not_found(format!("expected ROW.json with ROW below {n_pairs}")))?;
    // The pair itself is among them, unless it has no vector: then nothing is near to it.
    let k = (N_NEAREST + 1).min(n_pairs);
    let options = QueryOptions { layer, expression: format!("row:{row}"), k, ..QueryOptions::default() };
    let rows: Vec<QueriedRow> = match query(study, &options, &silent) {
        Ok(found) => found.groups.into_iter().flat_map(|group| group.rows).collect(),
        Err(crate::attribute::RankError::Expression { .. }) => Vec::new(),
        Err(error) => return Err(RequestError::study(error)),
    };
    let pairs = rows.iter().filter(|found| found.row != row).take(N_NEAREST);
    Ok(NearestPairs {
        layer,
        row,
        pairs: pairs.map(|found| NearPair { row: found.row, cosine: found.score }).collect(),
    })
}
