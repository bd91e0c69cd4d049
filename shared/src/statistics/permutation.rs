//! Permutation test over training seeds: how often would dealing the same models out to two arms differ as much?
//!
//! If the edit does nothing, which of the models belong to which arm is arbitrary, and every way to deal them out is
//! equally likely (Fisher, *The Design of Experiments*, 1935; Pitman 1937). The statistic is the difference of mean
//! rates. Nothing is assumed about shapes, but few seeds cannot say much: of 3 and 3 models there are 20 deals, so the
//! smallest two-sided p is 2/20. [`Permutation::smallest_p`] states it.
//!
//! All splits are enumerated when they are few; otherwise they are drawn, and p = (count + 1) / (draws + 1) (Phipson &
//! Smyth, *Permutation p-values should never be zero*, 2010).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::outcomes::mean;
use super::random::Random;

/// Which differences count as being as large.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sides {
    /// In either direction.
    #[default]
    Two,
    /// Only an arm below its reference. To be chosen before looking.
    Less,
    /// Only an arm above its reference. To be chosen before looking.
    Greater,
}

/// How to test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermutationOptions {
    /// Which differences count.
    pub sides: Sides,
    /// Up to so many splits are enumerated.
    pub max_exact: u64,
    /// Beyond that, so many are drawn.
    pub n_draws: u64,
    /// Starts the random numbers.
    pub seed: u64,
}

impl Default for PermutationOptions {
    fn default() -> Self {
        Self { sides: Sides::Two, max_exact: 20_000, n_draws: 9_999, seed: 0 }
    }
}

/// Result of a test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Permutation {
    /// Probability of a difference at least as large if the edit did nothing, in (0, 1].
    pub p: f64,
    /// The smallest p that this many seeds can give: if it is above α, the test cannot reject whatever was measured.
    pub smallest_p: f64,
    /// Splits looked at.
    pub n_splits: u64,
    /// Whether these were all.
    pub exact: bool,
    /// Which differences counted.
    pub sides: Sides,
}

/// Values that cannot be tested.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum PermutationError {
    /// One side is empty.
    #[error("expected at least one seed on each side, got {n_arm} and {n_reference}")]
    NoSeeds {
        /// Seeds of the arm.
        n_arm: usize,
        /// Seeds of the reference.
        n_reference: usize,
    },
    /// A rate is NaN or infinite.
    #[error("expected finite rates")]
    NotFinite,
}

/// Tests whether the rates of an arm's models, one per seed, could be the reference's.
///
/// # Errors
///
/// When a side is empty or a rate is not finite.
pub fn test(arm: &[f64], reference: &[f64], options: PermutationOptions) -> Result<Permutation, PermutationError> {
    let (n_arm, n_reference) = (arm.len(), reference.len());
    if n_arm == 0 || n_reference == 0 {
        return Err(PermutationError::NoSeeds { n_arm, n_reference });
    }
    let mut pooled: Vec<f64> = arm.iter().chain(reference).copied().collect();
    if !pooled.iter().all(|rate| rate.is_finite()) {
        return Err(PermutationError::NotFinite);
    }
    // Sorted, so that neither the order of seeds nor that of sums matters.
    pooled.sort_by(f64::total_cmp);
    let total: f64 = pooled.iter().sum();
    let difference = |arm_sum: f64| arm_sum / n_arm as f64 - (total - arm_sum) / n_reference as f64;
    let observed = mean(arm) - mean(reference);
    // Equal differences may come out unequal in the last digits.
    let slack = 1e-12 * pooled.iter().fold(0.0, |largest: f64, rate| largest.max(rate.abs()));
    let as_large = |arm_sum: f64| match options.sides {
        Sides::Two => difference(arm_sum).abs() >= observed.abs() - slack,
        Sides::Less => difference(arm_sum) <= observed + slack,
        Sides::Greater => difference(arm_sum) >= observed - slack,
    };

    let n_all = n_splits(pooled.len() as u64, n_arm as u64);
    // With sides of equal size, exchanging them gives the same difference the other way round.
    let n_extreme = if options.sides == Sides::Two && n_arm == n_reference { 2.0 } else { 1.0 };
    let smallest_exact = n_all.map_or(0.0, |n| n_extreme / n as f64);
    let sides = options.sides;
    if let Some(n_all) = n_all.filter(|n| *n <= options.max_exact) {
        let mut count = 0u64;
        for_each_split(&pooled, n_arm, |arm_sum| count += u64::from(as_large(arm_sum)));
        let p = count as f64 / n_all as f64;
        return Ok(Permutation { p, smallest_p: smallest_exact, n_splits: n_all, exact: true, sides });
    }
    let mut random = Random::new(options.seed);
    let mut count = 0u64;
    for _ in 0..options.n_draws {
        random.shuffle(&mut pooled);
        count += u64::from(as_large(pooled[..n_arm].iter().sum()));
    }
    let over = (options.n_draws + 1) as f64;
    let smallest_p = smallest_exact.max(1.0 / over);
    Ok(Permutation { p: (count + 1) as f64 / over, smallest_p, n_splits: options.n_draws, exact: false, sides })
}

/// Ways to choose `n_chosen` of `n`; none when they do not fit into 64 bits.
fn n_splits(n: u64, n_chosen: u64) -> Option<u64> {
    let mut ways = 1u64;
    for i in 0..n_chosen.min(n - n_chosen) {
        // Whole after every step: a product of i + 1 successive numbers.
        ways = ways.checked_mul(n - i)? / (i + 1);
    }
    Some(ways)
}

/// Calls `visit` with the sum of every choice of `n_chosen` of the values.
fn for_each_split(values: &[f64], n_chosen: usize, mut visit: impl FnMut(f64)) {
    let mut chosen: Vec<usize> = (0..n_chosen).collect();
    loop {
        visit(chosen.iter().map(|&i| values[i]).sum());
        // The last index that can still move up, does; those after it follow closely.
        let Some(moving) = (0..n_chosen).rev().find(|&i| chosen[i] < values.len() - n_chosen + i) else { return };
        chosen[moving] += 1;
        for i in moving + 1..n_chosen {
            chosen[i] = chosen[i - 1] + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::simulation::Experiment;

    fn p(arm: &[f64], reference: &[f64], sides: Sides) -> f64 {
        test(arm, reference, PermutationOptions { sides, ..PermutationOptions::default() }).unwrap().p
    }

    #[test]
    fn three_against_three_cannot_go_below_a_tenth() {
        let (low, high) = ([0.1, 0.2, 0.15], [0.5, 0.6, 0.4]);
        let result = test(&low, &high, PermutationOptions::default()).unwrap();
        assert_eq!((result.p, result.smallest_p, result.n_splits, result.exact), (0.1, 0.1, 20, true));
        assert_eq!(p(&low, &high, Sides::Less), 0.05);
        assert_eq!(p(&low, &high, Sides::Greater), 1.0);
        assert_eq!(p(&high, &low, Sides::Greater), 0.05);
        // 2 and 3 seeds: no mirror image, 1 of 10.
        assert_eq!(p(&low[..2], &high, Sides::Two), 0.1);
        assert_eq!(p(&[0.3; 3], &[0.3; 3], Sides::Two), 1.0);
    }

    #[test]
    fn order_of_seeds_does_not_matter() {
        let (a, b) = ([0.31, 0.12, 0.45, 0.2], [0.5, 0.41, 0.38, 0.3]);
        let (mut a_turned, mut b_turned) = (a, b);
        a_turned.reverse();
        b_turned.rotate_left(1);
        for max_exact in [0, 1000] {
            let options = PermutationOptions { max_exact, ..PermutationOptions::default() };
            assert_eq!(test(&a, &b, options), test(&a_turned, &b_turned, options));
            assert_eq!(test(&a, &b, options).unwrap().p, test(&b, &a, options).unwrap().p);
        }
    }

    #[test]
    fn drawing_splits_comes_close_to_enumerating_them() {
        let (a, b) = ([0.31, 0.12, 0.45, 0.2, 0.22], [0.5, 0.41, 0.38, 0.3, 0.6]);
        let exact = test(&a, &b, PermutationOptions::default()).unwrap();
        let drawn = test(&a, &b, PermutationOptions { max_exact: 0, ..PermutationOptions::default() }).unwrap();
        assert!(exact.exact && !drawn.exact && drawn.n_splits == 9_999);
        assert!((exact.p - drawn.p).abs() < 0.01, "{} {}", exact.p, drawn.p);
        assert_eq!((exact.smallest_p, drawn.smallest_p), (2.0 / 252.0, 2.0 / 252.0));
    }

    #[test]
    fn p_values_are_those_of_a_reference() {
        // scipy.stats.permutation_test((a, b), lambda a, b: a.mean() - b.mean(), n_resamples=inf, alternative="less");
        // two-sided by listing all 126 splits with itertools.combinations.
        let (a, b) = ([0.31, 0.12, 0.45, 0.2], [0.5, 0.41, 0.38, 0.3, 0.6]);
        assert!((p(&a, &b, Sides::Less) - 7.0 / 126.0).abs() < 1e-12);
        assert!((p(&a, &b, Sides::Two) - 13.0 / 126.0).abs() < 1e-12);
    }

    #[test]
    fn many_seeds_neither_overflow_nor_take_long() {
        let many: Vec<f64> = (0..60).map(|i| f64::from(i) / 60.0).collect();
        let result = test(&many[..30], &many[30..], PermutationOptions::default()).unwrap();
        assert_eq!((result.p, result.smallest_p), (1e-4, 1e-4));
        assert!(!test(&many, &many, PermutationOptions::default()).unwrap().exact);
    }

    #[test]
    fn false_positives_are_as_rare_as_promised() {
        for (n_seeds, alpha) in [(3, 0.1), (4, 0.05), (5, 0.05)] {
            let mut random = Random::new(8);
            let experiment = Experiment { n_seeds, n_prompts: 20, ..Experiment::default() };
            let n = 1500;
            let count = (0..n).filter(|_| {
                let (baseline, arm) = experiment.simulate(&mut random);
                let result = test(arm.seed_rates(), baseline.seed_rates(), PermutationOptions::default()).unwrap();
                result.p <= alpha
            });
            let share = count.count() as f64 / f64::from(n);
            assert!(share <= alpha + 0.012, "{n_seeds} seeds: {share} at {alpha}");
        }
    }

    #[test]
    fn what_cannot_be_tested_is_refused() {
        let options = PermutationOptions::default();
        assert!(matches!(test(&[], &[0.1], options), Err(PermutationError::NoSeeds { n_arm: 0, n_reference: 1 })));
        assert_eq!(test(&[f64::NAN], &[0.1], options), Err(PermutationError::NotFinite));
    }
}
