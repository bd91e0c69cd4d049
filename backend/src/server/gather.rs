//! `POST /data/gather/layer-L`: the vectors of chosen rows in one answer. What the index leaves undecided, the app asks
//! for here; from a static host it takes parts of the vector files instead.
//!
//! Asked with JSON, `{"rows": [7, 3, 7]}`; `"vectors_sha256"` of the index's manifest may be added, so that vectors that
//! have changed meanwhile are refused. Answered with the rows as they are stored, in the order asked for,
//! `[n, d_model]` numbers in the layer's type, little-endian.

use axum::extract::{Path, State as Extract};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::State;
use super::body::JsonBody;
use super::chunks::blocking;
use super::error::RequestError;
use crate::extract::{LayerFiles, VectorsManifest};
use crate::study::Study;

/// Most rows in one request.
pub const MAX_ROWS: usize = 65_536;
/// Most bytes in one answer.
pub const MAX_BYTES: usize = 64 << 20;

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatherRows {
    /// Rows, from 0, in any order.
    pub rows: Vec<u64>,
    /// Hash of the vectors that the reader knows, as the index's manifest states it.
    #[serde(default)]
    pub vectors_sha256: Option<String>,
}

/// Answers `POST /data/gather/layer-L`.
pub async fn gather(
    Extract(state): Extract<State>,
    Path(name): Path<String>,
    JsonBody(asked): JsonBody<GatherRows>,
) -> Result<Response, RequestError> {
    let rows = blocking(move || read(&state.study, &name, &asked)).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")], rows)
        .into_response())
}

fn read(study: &Study, name: &str, asked: &GatherRows) -> Result<Vec<u8>, RequestError> {
    let not_found = |hint: String| RequestError::NotFound { what: format!("gather/{name}"), hint };
    let manifest = VectorsManifest::read(study).map_err(RequestError::study)?;
    let Some(manifest) = manifest else {
        return Err(not_found("the study has no vectors yet: `whence extract` makes them".into()));
    };
    let complete = study.complete_layers()?;
    let layer = name.strip_prefix("layer-").and_then(|n| n.parse().ok()).filter(|layer| complete.contains(layer));
    let Some(layer) = layer else {
        return Err(not_found(format!("expected layer-L with L one of {}", crate::study::numbers(&complete))));
    };
    let files = LayerFiles::open(study, layer, &manifest).map_err(RequestError::study)?;
    let view = files.view();
    if asked.vectors_sha256.as_ref().is_some_and(|sha256| *sha256 != files.sha256()) {
        return Err(RequestError::Changed(format!("the vectors of layer {layer} have changed: load the study again")));
    }
    if let Some(row) = asked.rows.iter().find(|row| **row >= view.n_rows as u64) {
        return Err(RequestError::Malformed(format!("row {row}: expected a number below {}", view.n_rows)));
    }
    let width = view.d_model * view.dtype.n_bytes();
    let limit = MAX_ROWS.min(MAX_BYTES / width);
    if asked.rows.len() > limit {
        return Err(RequestError::TooLarge(format!(
            "{} rows in one request: expected at most {limit}",
            asked.rows.len()
        )));
    }
    // By row, so that every file is opened once; each row goes to its places in the answer.
    let mut order: Vec<(usize, usize)> = asked.rows.iter().map(|&row| row as usize).zip(0..).collect();
    order.sort_unstable();
    let mut gathered = vec![0; asked.rows.len() * width];
    for of_file in order.chunk_by(|(a, _), (b, _)| files.file_of(*a) == files.file_of(*b)) {
        let file_number = files.file_of(of_file[0].0);
        let file = files.map(file_number, false).map_err(RequestError::study)?;
        let (vectors, _) = file.vectors();
        for &(row, place) in of_file {
            let first = (row - view.shards[file_number].first_row) * width;
            gathered[place * width..(place + 1) * width].copy_from_slice(&vectors[first..first + width]);
        }
    }
    Ok(gathered)
}
