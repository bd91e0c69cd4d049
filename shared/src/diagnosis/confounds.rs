//! What else a score goes with: length, format, words shared, source; and what the ranking would be without it.
//!
//! A pair whose chosen response is longer may score high because it is longer. Scores are regressed on such covariates by
//! least squares (on sources by their means), and what is left over is ranked again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rank::order;
use crate::stability::overlap_at_k;

/// A number about every pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Covariate {
    /// What it is, in words.
    pub name: String,
    /// By row.
    pub values: Vec<f64>,
}

/// How a ranking and another of the same rows differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// Share of the first k that stays, in [0, 1].
    pub overlap: f64,
    /// Rank correlation over all rows, in [−1, 1]; none where either has one score only.
    pub spearman: Option<f64>,
}

/// One covariate and the ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confound {
    /// The covariate.
    pub name: String,
    /// Correlation with the score: Pearson's in [−1, 1], or for sources the correlation ratio in [0, 1]. None where the
    /// covariate or the score does not vary.
    pub correlation: Option<f64>,
    /// Against the ranking of what the covariate does not explain.
    pub residual: Moved,
}

/// What is left of a value that does not vary, once its mean is gone, as a share of its sum of squares.
const ROUNDING: f64 = 1e-24;

/// Name of the source among the covariates.
pub const SOURCE: &str = "source";
/// Name of all covariates together.
pub const ALL: &str = "all of these";

/// Each covariate, then the source of each row (where there are several), then all of them together.
///
/// # Panics
///
/// Panics when a covariate or the sources have another number of rows than the scores.
pub fn confounds(scores: &[f64], k: usize, covariates: &[Covariate], sources: &[u32]) -> Vec<Confound> {
    assert!(covariates.iter().all(|c| c.values.len() == scores.len()), "a value per row");
    assert_eq!(sources.len(), scores.len(), "a source per row");
    let ranked = order(scores);
    let against = |residuals: &[f64]| Moved {
        overlap: overlap_at_k(&ranked, &order(residuals), k),
        spearman: spearman(scores, residuals),
    };
    let one_group = vec![0; scores.len()];
    let mut found: Vec<Confound> = covariates
        .iter()
        .map(|covariate| Confound {
            name: covariate.name.clone(),
            correlation: pearson(scores, &covariate.values),
            residual: against(&residuals(scores, std::slice::from_ref(covariate), &one_group)),
        })
        .collect();
    let has_sources = sources.iter().any(|source| *source != sources[0]);
    if has_sources {
        let correlation = correlation_ratio(scores, sources);
        let residual = against(&residuals(scores, &[], sources));
        found.push(Confound { name: SOURCE.to_owned(), correlation, residual });
    }
    if found.len() > 1 {
        let all = residuals(scores, covariates, if has_sources { sources } else { &one_group });
        let share = explained(scores, &all);
        found.push(Confound { name: ALL.to_owned(), correlation: share.map(f64::sqrt), residual: against(&all) });
    }
    found
}

/// What least squares on the covariates and a mean per group leave of the scores, `[n_rows]`. A covariate that others
/// already determine is left out.
pub fn residuals(scores: &[f64], covariates: &[Covariate], groups: &[u32]) -> Vec<f64> {
    let mut rest = within_groups(scores, groups);
    // Gram-Schmidt: each covariate without what groups and earlier covariates explain of it, then taken out of the scores.
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for covariate in covariates {
        let mut values = within_groups(&covariate.values, groups);
        // Twice: once leaves rounding of the size of what was taken out.
        for _ in 0..2 {
            basis.iter().for_each(|known| take_out(&mut values, known));
        }
        let after = dot(&values, &values);
        if after <= ROUNDING * dot(&covariate.values, &covariate.values) {
            continue;
        }
        take_out(&mut rest, &values);
        basis.push(values);
    }
    rest
}

fn take_out(values: &mut [f64], known: &[f64]) {
    let slope = dot(values, known) / dot(known, known);
    values.iter_mut().zip(known).for_each(|(value, x)| *value -= slope * x);
}

fn within_groups(values: &[f64], groups: &[u32]) -> Vec<f64> {
    let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for (value, group) in values.iter().zip(groups) {
        let (sum, n) = sums.entry(*group).or_default();
        *sum += value;
        *n += 1.0;
    }
    let mean = |group: &u32| sums[group].0 / sums[group].1;
    values.iter().zip(groups).map(|(value, group)| value - mean(group)).collect()
}

/// Share of the scores' variance that is not in the residuals, in [0, 1].
fn explained(scores: &[f64], residuals: &[f64]) -> Option<f64> {
    let centred = within_groups(scores, &vec![0; scores.len()]);
    let all = dot(&centred, &centred);
    (all > ROUNDING * dot(scores, scores)).then(|| (1.0 - dot(residuals, residuals) / all).clamp(0.0, 1.0))
}

fn correlation_ratio(scores: &[f64], groups: &[u32]) -> Option<f64> {
    explained(scores, &within_groups(scores, groups)).map(f64::sqrt)
}

/// Pearson's correlation, in [−1, 1]; none where either does not vary.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let one_group = vec![0; a.len()];
    let raw = [dot(a, a), dot(b, b)];
    let (a, b) = (within_groups(a, &one_group), within_groups(b, &one_group));
    let (of_a, of_b) = (dot(&a, &a), dot(&b, &b));
    let varies = of_a > ROUNDING * raw[0] && of_b > ROUNDING * raw[1];
    varies.then(|| (dot(&a, &b) / (of_a * of_b).sqrt()).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation, in [−1, 1], equal values having the mean of their ranks; none where either does not vary.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&mid_ranks(a), &mid_ranks(b))
}

fn mid_ranks(values: &[f64]) -> Vec<f64> {
    let ranked = order(values);
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in ranked.chunk_by(|a, b| values[*a as usize] == values[*b as usize]) {
        let rank = first as f64 + (tied.len() - 1) as f64 / 2.0;
        tied.iter().for_each(|row| ranks[*row as usize] = rank);
        first += tied.len();
    }
    ranks
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::random::Random;

    fn normals(n: usize, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed);
        (0..n).map(|_| random.normal()).collect()
    }

    fn covariate(name: &str, values: Vec<f64>) -> Covariate {
        Covariate { name: name.to_owned(), values }
    }

    #[test]
    fn residuals_have_nothing_to_do_with_what_was_taken_out() {
        let n = 500;
        let (noise, length, lists) = (normals(n, 1), normals(n, 2), normals(n, 3));
        let sources: Vec<u32> = (0..n as u32).map(|row| row % 3).collect();
        let scores: Vec<f64> = (0..n).map(|i| noise[i] + 2.0 * length[i] - lists[i] + f64::from(sources[i])).collect();
        let doubled = length.iter().map(|x| 2.0 * x + 1.0).collect();
        let covariates = [covariate("a", length.clone()), covariate("b", lists.clone()), covariate("c", doubled)];
        let rest = residuals(&scores, &covariates, &sources);
        for values in [&length, &lists] {
            assert!(pearson(&rest, values).unwrap().abs() < 1e-12);
        }
        assert!(correlation_ratio(&rest, &sources).unwrap() < 1e-6);
        assert!(pearson(&rest, &noise).unwrap() > 0.99);
    }

    #[test]
    fn a_ranking_by_a_covariate_is_gone_without_it_and_one_that_has_nothing_of_it_stays() {
        let n = 400;
        let (length, noise) = (normals(n, 4), normals(n, 5));
        let scores: Vec<f64> = length.iter().zip(&noise).map(|(x, y)| x + 0.1 * y).collect();
        let sources = vec![0; n];
        let found = confounds(&scores, 40, &[covariate("length", length), covariate("other", normals(n, 6))], &sources);
        let names: Vec<&str> = found.iter().map(|confound| confound.name.as_str()).collect();
        assert_eq!(names, ["length", "other", ALL], "one source is no covariate");
        assert!(found[0].correlation.unwrap() > 0.98 && found[0].residual.overlap < 0.4, "{found:?}");
        assert!(found[1].correlation.unwrap().abs() < 0.15 && found[1].residual.overlap > 0.9, "{found:?}");
        assert!(found[1].residual.spearman.unwrap() > 0.98);
    }

    #[test]
    fn what_does_not_vary_has_no_correlation_and_moves_nothing() {
        let scores = [0.3, 0.1, 0.2];
        let found = confounds(&scores, 1, &[covariate("flat", vec![7.0; 3])], &[0, 0, 0]);
        assert_eq!(found[0].correlation, None);
        assert_eq!(found[0].residual.overlap, 1.0);
        assert!((found[0].residual.spearman.unwrap() - 1.0).abs() < 1e-12);
        let found = confounds(&[0.0; 3], 1, &[], &[0, 1, 2]);
        assert_eq!((found[0].correlation, found[0].residual.spearman), (None, None));
        assert_eq!(confounds(&[0.5], 1, &[], &[0]), []);
    }

    #[test]
    fn rank_correlation_is_of_ranks_with_ties_halved() {
        assert_eq!(spearman(&[1.0, 2.0, 30.0], &[-5.0, 0.0, 0.1]), Some(1.0));
        // Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3: 4.5 / √(4.5 · 5).
        let tied = spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((tied - (0.9f64).sqrt()).abs() < 1e-12, "{tied}");
    }
}
