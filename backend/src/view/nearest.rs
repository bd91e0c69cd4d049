//! `nearest/L/ROW.json`: the pairs whose vectors at a layer are nearest to one pair's, for the reading pane. Found through the
//! index, as `whence query row:ROW` finds them. A server answers for every pair; a report has those that are read first.

use whence_shared::study::{NearPair, NearestPairs};

use crate::attribute::RankError;
use crate::attribute::query::scored;
use crate::study::Study;

/// Pairs in an answer.
const N_NEAREST: usize = 10;

/// The pairs nearest to `row` at `layer`, of `n_pairs`: none where it has no vector.
///
/// # Errors
///
/// When the vectors cannot be read.
pub fn nearest(study: &Study, n_pairs: usize, layer: usize, row: u32) -> Result<NearestPairs, RankError> {
    // The pair itself is among them, unless it has no vector: then nothing is near to it.
    let rows = match scored(study, layer, format!("row:{row}"), (N_NEAREST + 1).min(n_pairs)) {
        Err(RankError::Expression { .. }) => Vec::new(),
        rows => rows?,
    };
    let others = rows.iter().filter(|found| found.row != row).take(N_NEAREST);
    let pairs = others.map(|found| NearPair { row: found.row, cosine: found.score }).collect();
    Ok(NearestPairs { layer, row, pairs })
}

/// The first `k` rows of a behavior's ranking at `layer`.
///
/// # Errors
///
/// When the vectors cannot be read.
pub fn first(study: &Study, behavior: &str, layer: usize, k: usize) -> Result<Vec<u32>, RankError> {
    Ok(scored(study, layer, behavior.to_owned(), k)?.into_iter().map(|found| found.row).collect())
}
