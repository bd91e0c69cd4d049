//! A ranking by what length, format, shared words or sources do not explain of the scores: what [`diagnosis`](super::diagnosis)
//! says about how far a ranking moves, as a ranking to read and to edit by.

use whence_shared::diagnosis::confounds::{Moved, SOURCE, residuals, spearman};
use whence_shared::rank::order;
use whence_shared::stability::overlap_at_k;

use super::covariates::{self, Columns};
use super::{RankError, Ranking};
use crate::extract::rows_without_vector;
use crate::study::Study;

/// All covariates and the source.
const ALL: &str = "all";

/// The names that may be given: covariates with hyphens for spaces, `source`, and `all` of them.
pub fn names() -> Vec<String> {
    let names = covariates::NAMES.into_iter().chain([SOURCE, ALL]);
    names.map(|name| name.replace(' ', "-")).collect()
}

/// A name that is one of [`names`].
///
/// # Errors
///
/// In words, when it is none.
pub fn name(text: &str) -> Result<String, String> {
    let names = names();
    match names.iter().any(|name| name == text) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected some of {}, got {text:?}", names.join(", "))),
    }
}

/// The ranking of a study's pairs by what least squares on the named covariates, and the mean of each source where that is named,
/// leave of their scores; and how far the first `k` and all of it moved. Pairs without a vector keep their score of 0.
///
/// # Errors
///
/// When pairs or remarks cannot be read.
///
/// # Panics
///
/// Panics when the ranking is of another number of pairs than the study has.
pub fn residual(study: &Study, ranking: &Ranking, on: &[String], k: usize) -> Result<(Ranking, Moved), RankError> {
    let Columns { covariates, sources } = Columns::read(study)?;
    let is_named = |name: &str| on.iter().any(|on| on == ALL || *on == name.replace(' ', "-"));
    let named: Vec<_> = covariates.into_iter().filter(|covariate| is_named(&covariate.name)).collect();
    let groups = if is_named(SOURCE) { sources } else { vec![0; sources.len()] };
    let scores: Vec<f64> = ranking.scores.iter().map(|score| f64::from(*score)).collect();
    let mut left = residuals(&scores, &named, &groups);
    rows_without_vector(study)?.into_iter().filter(|row| scores[*row] == 0.0).for_each(|row| left[row] = 0.0);
    let found = order(&left);
    let moved = Moved { overlap: overlap_at_k(&ranking.order, &found, k), spearman: spearman(&scores, &left) };
    let scores = left.into_iter().map(|score| score as f32).collect();
    Ok((Ranking { scores, order: found, ..ranking.clone() }, moved))
}
