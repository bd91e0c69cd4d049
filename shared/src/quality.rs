//! How good a ranking is when the truth is known: planted culprits and where they were ranked.
//!
//! Used on the planted testbed, where the contaminated pairs are known. Definitions as in information retrieval
//! (Manning, Raghavan & Schütze, *Introduction to Information Retrieval*, ch. 8).

use serde::{Deserialize, Serialize};

/// Retrieval quality of one ranking against known culprits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// How many of the top rows are looked at.
    pub k: usize,
    /// Number of culprits.
    pub n_relevant: usize,
    /// Number of ranked rows.
    pub n_rows: usize,
    /// Culprits among the top k, divided by k.
    pub precision_at_k: f64,
    /// Culprits among the top k, divided by all culprits.
    pub recall_at_k: f64,
    /// Mean over culprits of the precision at each culprit's rank.
    pub average_precision: f64,
    /// Probability that a random culprit is ranked above a random other row.
    pub auroc: f64,
    /// Culprits divided by rows: what a random ranking's precision is on average.
    pub base_rate: f64,
}

impl Quality {
    /// Measures a ranking. `relevant[i]` tells whether the row at rank `i` (0 = top) is a culprit; `k` is capped at the
    /// number of rows. With no culprit or nothing else, what cannot be defined is 0.
    pub fn of_ranking(relevant: &[bool], k: usize) -> Self {
        let n_rows = relevant.len();
        let k = k.min(n_rows);
        let n_relevant = relevant.iter().filter(|&&r| r).count();
        let hits = relevant[..k].iter().filter(|&&r| r).count();
        let mut found = 0usize;
        let (mut precision_sum, mut pairs_won) = (0f64, 0f64);
        for (i, _) in relevant.iter().enumerate().filter(|(_, r)| **r) {
            found += 1;
            precision_sum += found as f64 / (i + 1) as f64;
            let others_above = i + 1 - found;
            pairs_won += ((n_rows - n_relevant) - others_above) as f64;
        }
        let over = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
        Self {
            k,
            n_relevant,
            n_rows,
            precision_at_k: over(hits as f64, k as f64),
            recall_at_k: over(hits as f64, n_relevant as f64),
            average_precision: over(precision_sum, n_relevant as f64),
            auroc: over(pairs_won, (n_relevant * (n_rows - n_relevant)) as f64),
            base_rate: over(n_relevant as f64, n_rows as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_and_worst_rankings() {
        let best = Quality::of_ranking(&[true, true, false, false], 2);
        assert_eq!((best.precision_at_k, best.recall_at_k, best.average_precision, best.auroc), (1.0, 1.0, 1.0, 1.0));
        let worst = Quality::of_ranking(&[false, false, true, true], 2);
        assert_eq!((worst.precision_at_k, worst.auroc), (0.0, 0.0));
        assert!((worst.average_precision - (1.0 / 3.0 + 2.0 / 4.0) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn undefined_quantities_are_zero() {
        for relevant in [&[][..], &[true], &[false]] {
            let quality = Quality::of_ranking(relevant, 10);
            assert_eq!(quality.auroc, 0.0);
            assert!(quality.k <= relevant.len());
        }
    }

    #[test]
    fn auroc_counts_pairs() {
        let quality = Quality::of_ranking(&[true, false, true, false, false], 3);
        assert!((quality.auroc - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(quality.base_rate, 0.4);
    }
}
