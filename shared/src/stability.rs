//! Split-half stability: whether two halves of the test prompts say the same.
//!
//! A direction made of few prompts, or of prompts that have nothing in common, changes when the prompts do, and so does the
//! ranking by it. The prompts are split into random halves, a direction is made of each, and the two are compared: by
//! their cosine, and by how many of the first k pairs their rankings share. All response pairs of a prompt stay in the
//! same half, because rollouts of one prompt resemble each other. What a split draws depends on the seed alone.
//!
//! Halves are smaller than the whole. If every prompt's vector is μ plus noise of variance σ², independent and spread over
//! many dimensions, the directions of two sets of n prompts have cosine r(n) ≈ ‖μ‖² / (‖μ‖² + σ²/n), so that
//! r(2n) = 2·r(n) / (1 + r(n)): the prophecy formula of Spearman (*Correlation calculated from faulty data*, 1910) and
//! Brown (*Some experimental results in the correlation of mental abilities*, 1910). [`spearman_brown`] says what the cosine
//! with a direction made of as many *other* prompts would be. There is no such formula for the overlap of rankings.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::direction::{DirectionMethod, direction};
use crate::rank::exact_cosine;
use crate::statistics::random::Random;

/// Draws in vain before no further way to split is looked for, per split that is wanted.
const TRIES_PER_SPLIT: usize = 20;

/// The stability of a behavior's directions, with how it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stability {
    /// Test prompts that were split.
    pub n_prompts: usize,
    /// Splits, all different; fewer than asked for where so few prompts cannot be split in so many ways.
    pub n_splits: usize,
    /// Seed of the splits.
    pub seed: u64,
    /// By layer, in the order of the behavior's layers.
    pub layers: Vec<LayerStability>,
}

/// How well the halves agree at one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerStability {
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// Cosine of the two halves' directions, in [−1, 1]; 0 where a half's direction is zero.
    pub cosine: Spread,
    /// [`spearman_brown`] of the mean cosine: of two sets with as many prompts as there are; none unless it is positive.
    pub of_whole: Option<f64>,
    /// Where the study has pair vectors: how many of the first pairs the halves' rankings share, by k, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overlaps: Vec<Overlap>,
}

/// How many of the first k pairs two halves' rankings share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// How many pairs count as the first.
    pub k: usize,
    /// Share of them that is the same, in [0, 1].
    pub share: Spread,
    /// What two random rankings share on average: k divided by the number of pairs.
    pub chance: f64,
}

/// A quantity over the splits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Smallest.
    pub low: f64,
    /// Largest.
    pub high: f64,
}

impl Spread {
    /// Of values; `None` when there is none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let first = *values.first()?;
        let (low, high) = values.iter().fold((first, first), |(low, high), v| (low.min(*v), high.max(*v)));
        // Rounding must not put the mean beyond the values it is of.
        let mean = (values.iter().sum::<f64>() / values.len() as f64).clamp(low, high);
        Some(Self { mean, low, high })
    }
}

/// Two halves of units `0..n`, each ascending; the first holds the odd one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Halves(pub [Vec<usize>; 2]);

/// At most `n_splits` different random ways to split units `0..n_units` into halves whose sizes differ by at most one;
/// none when there are fewer than two units.
pub fn splits(n_units: usize, n_splits: usize, seed: u64) -> Vec<Halves> {
    let mut random = Random::new(seed);
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for _ in 0..n_splits.saturating_mul(TRIES_PER_SPLIT) {
        if n_units < 2 || found.len() == n_splits {
            break;
        }
        let mut units: Vec<usize> = (0..n_units).collect();
        random.shuffle(&mut units);
        let mut second = units.split_off(n_units.div_ceil(2));
        units.sort_unstable();
        second.sort_unstable();
        // Halves of one size have no order: the one that holds the first unit is the first.
        let halves = if units.len() == second.len() && second[0] == 0 { [second, units] } else { [units, second] };
        if seen.insert(halves.clone()) {
            found.push(Halves(halves));
        }
    }
    found
}

/// The direction of each half of a split.
///
/// `vectors` is row-major `[scenarios.len(), d_model]`; `prompts[i]` is the unit, as in [`splits`], that row `i` belongs to.
///
/// # Panics
///
/// Panics when lengths differ.
pub fn half_directions(
    method: DirectionMethod,
    (vectors, d_model): (&[f32], usize),
    scenarios: &[String],
    prompts: &[usize],
    Halves(halves): &Halves,
) -> [Vec<f32>; 2] {
    assert_eq!(prompts.len(), scenarios.len(), "one prompt per behavior vector");
    halves.each_ref().map(|half| {
        let rows: Vec<usize> = (0..prompts.len()).filter(|&row| half.binary_search(&prompts[row]).is_ok()).collect();
        let of_half: Vec<f32> =
            rows.iter().flat_map(|&row| &vectors[row * d_model..(row + 1) * d_model]).copied().collect();
        let scenarios: Vec<String> = rows.iter().map(|&row| scenarios[row].clone()).collect();
        direction(method, &of_half, &scenarios, d_model)
    })
}

/// The stability of one layer, from the directions of each split's halves and the overlaps of their rankings; `None`
/// without a split.
pub fn layer_stability(layer: usize, directions: &[[Vec<f32>; 2]], overlaps: Vec<Overlap>) -> Option<LayerStability> {
    let cosine = |[a, b]: &[Vec<f32>; 2]| {
        let a: Vec<f64> = a.iter().map(|x| f64::from(*x)).collect();
        exact_cosine(&a, b)
    };
    let cosine = Spread::of(&directions.iter().map(cosine).collect::<Vec<_>>())?;
    Some(LayerStability { layer, cosine, of_whole: spearman_brown(cosine.mean), overlaps })
}

/// 2r / (1 + r): agreement of two wholes, from the agreement `r` of two halves; none unless `r` is in (0, 1].
pub fn spearman_brown(r: f64) -> Option<f64> {
    (r > 0.0 && r <= 1.0).then(|| 2.0 * r / (1.0 + r))
}

/// Share of the first `k` rows of ranking `a` that are among the first `k` of ranking `b`, in [0, 1]; of all rows when there
/// are fewer, and 1 when there is none. Both are rows from the highest score to the lowest, or the first of them.
///
/// # Panics
///
/// Panics when the rankings are not of as many rows.
pub fn overlap_at_k(a: &[u32], b: &[u32], k: usize) -> f64 {
    assert_eq!(a.len(), b.len(), "rankings of the same rows");
    let k = k.min(a.len());
    if k == 0 {
        return 1.0;
    }
    let first: BTreeSet<u32> = a[..k].iter().copied().collect();
    b[..k].iter().filter(|row| first.contains(row)).count() as f64 / k as f64
}

/// [`overlap_at_k`] of every split's two rankings of `n_rows` rows, for each of `ks` from 1 to `n_rows`; ascending in k. The
/// first max(ks) rows of each ranking are enough. Empty without a split.
///
/// # Panics
///
/// Panics when the rankings of a split have different lengths.
pub fn overlaps(rankings: &[[Vec<u32>; 2]], ks: &[usize], n_rows: usize) -> Vec<Overlap> {
    let ks: BTreeSet<usize> = ks.iter().copied().filter(|k| (1..=n_rows).contains(k)).collect();
    ks.into_iter()
        .filter_map(|k| {
            let shares: Vec<f64> = rankings.iter().map(|[a, b]| overlap_at_k(a, b, k)).collect();
            Some(Overlap { k, share: Spread::of(&shares)?, chance: k as f64 / n_rows as f64 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::order;

    /// `n` vectors: a common part of length `signal` along the first axis, plus unit-variance noise.
    fn noisy(n: usize, d_model: usize, signal: f64, random: &mut Random) -> Vec<f32> {
        (0..n * d_model).map(|i| (random.normal() + if i % d_model == 0 { signal } else { 0.0 }) as f32).collect()
    }

    fn of_rows(vectors: &[f32], d_model: usize, prompts: &[usize], splits: &[Halves]) -> Vec<[Vec<f32>; 2]> {
        let scenarios: Vec<String> = prompts.iter().map(usize::to_string).collect();
        let half = |split| half_directions(DirectionMethod::Mean, (vectors, d_model), &scenarios, prompts, split);
        splits.iter().map(half).collect()
    }

    #[test]
    fn halves_share_nothing_leave_nothing_out_and_are_never_the_same_twice() {
        for n_units in 0..9 {
            let found = splits(n_units, 30, 7);
            // n over n/2 ways, halved where both halves have one size.
            let ways = [0, 0, 1, 3, 3, 10, 10, 30, 30][n_units];
            assert_eq!(found.len(), ways, "{n_units} units");
            assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), ways);
            for Halves([a, b]) in &found {
                assert!(a.len() == b.len() || a.len() == b.len() + 1);
                let mut all = [&a[..], b].concat();
                all.sort_unstable();
                assert_eq!(all, (0..n_units).collect::<Vec<_>>());
            }
        }
        assert_eq!(splits(20, 5, 1), splits(20, 5, 1));
        assert_ne!(splits(20, 5, 1), splits(20, 5, 2));
        assert_eq!(splits(20, 5, 1)[..3], splits(20, 3, 1), "more splits begin as fewer do");
        assert!(splits(20, 0, 1).is_empty());
    }

    #[test]
    fn rows_of_one_prompt_stay_together() {
        // The two rows of every prompt cancel: a half that held only one of them would not be zero.
        let prompts: Vec<usize> = (0..12).map(|row| row % 6).collect();
        let vectors: Vec<f32> = (0..12).flat_map(|row| [if row < 6 { 1.0 } else { -1.0 }, (row % 6) as f32]).collect();
        for halves in of_rows(&vectors, 2, &prompts, &splits(6, 10, 3)) {
            assert!(halves.iter().all(|direction| direction[0] == 0.0), "{halves:?}");
        }
    }

    #[test]
    fn equal_vectors_agree_noise_does_not_and_zero_is_zero() {
        let prompts: Vec<usize> = (0..20).collect();
        let splits = splits(20, 12, 5);
        let stability = |vectors: &[f32], d| layer_stability(4, &of_rows(vectors, d, &prompts, &splits), vec![]);
        let equal: Vec<f32> = (0..20).flat_map(|_| [1.0, -2.0, 0.5]).collect();
        let found = stability(&equal, 3).unwrap();
        assert!((found.cosine.low - 1.0).abs() < 1e-9 && (found.of_whole.unwrap() - 1.0).abs() < 1e-9);
        let noise = noisy(20, 400, 0.0, &mut Random::new(1));
        let found = stability(&noise, 400).unwrap();
        assert!(found.cosine.mean.abs() < 0.1 && found.cosine.low < found.cosine.high, "{found:?}");
        let scaled: Vec<f32> = noise.iter().map(|x| 8.0 * x).collect();
        assert_eq!(stability(&scaled, 400).unwrap(), found, "length does not matter");
        let found = stability(&[0.0; 60], 3).unwrap();
        assert_eq!((found.cosine, found.of_whole), (Spread { mean: 0.0, low: 0.0, high: 0.0 }, None));
        assert_eq!(layer_stability(4, &[], vec![]), None);
    }

    #[test]
    fn the_extrapolation_is_the_cosine_of_as_many_other_prompts() {
        let (n, d_model) = (24, 600);
        let mut random = Random::new(11);
        for signal in [2.0, 5.0, 12.0] {
            let (mut extrapolated, mut measured) = (0.0, 0.0);
            let prompts: Vec<usize> = (0..n).collect();
            for repeat in 0..12 {
                let sets = [(); 2].map(|()| noisy(n, d_model, signal, &mut random));
                let halves = of_rows(&sets[0], d_model, &prompts, &splits(n, 8, repeat));
                extrapolated += layer_stability(1, &halves, vec![]).unwrap().of_whole.unwrap_or(0.0) / 12.0;
                let scenarios = vec![String::new(); n];
                let wholes = sets.map(|set| direction(DirectionMethod::Mean, &set, &scenarios, d_model));
                measured += layer_stability(1, &[wholes], vec![]).unwrap().cosine.mean / 12.0;
            }
            assert!((extrapolated - measured).abs() < 0.04, "signal {signal}: {extrapolated} beside {measured}");
        }
        assert_eq!([-0.5, 0.0, 1.5].map(spearman_brown), [None; 3]);
        assert_eq!(spearman_brown(0.5), Some(2.0 / 3.0));
    }

    #[test]
    fn overlap_counts_common_rows() {
        let (a, b) = ([3, 1, 0, 2], [1, 3, 2, 0]);
        assert_eq!([1, 2, 3, 4, 9].map(|k| overlap_at_k(&a, &b, k)), [0.0, 1.0, 2.0 / 3.0, 1.0, 1.0]);
        assert_eq!(overlap_at_k(&[], &[], 5), 1.0);
        let mut random = Random::new(2);
        let mut ranking = |n: usize| order(&(0..n).map(|_| random.uniform()).collect::<Vec<_>>());
        let n = 300;
        let rankings: Vec<[Vec<u32>; 2]> = (0..200).map(|_| [ranking(n), ranking(n)]).collect();
        for [a, b] in &rankings {
            for k in [1, 10, 150, 299] {
                assert_eq!(overlap_at_k(a, b, k), overlap_at_k(b, a, k));
                assert_eq!(overlap_at_k(a, a, k), 1.0);
            }
        }
        let found = overlaps(&rankings, &[150, 30, 30, 0, 301], n);
        assert_eq!(found.iter().map(|overlap| overlap.k).collect::<Vec<_>>(), [30, 150]);
        let first = |ranking: &Vec<u32>| ranking[..150].to_vec();
        let cut: Vec<[Vec<u32>; 2]> = rankings.iter().map(|[a, b]| [first(a), first(b)]).collect();
        assert_eq!(overlaps(&cut, &[30, 150], n), found);
        for Overlap { k, share, chance } in found {
            assert!((share.mean - chance).abs() < 0.03 && share.low < chance && chance < share.high, "{k}: {share:?}");
        }
        assert_eq!(overlaps(&[], &[5], n), []);
    }
}
