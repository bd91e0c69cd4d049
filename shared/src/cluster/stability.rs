//! How many clusters there are, and whether there are any: what holds when rows are drawn again, and what rows without
//! clusters would show.
//!
//! *Whether*: k clusters leave a share of the sum of squares within them, W(k)/W(1). It is compared with the same of rows that
//! have exactly the same covariance but no clusters: the rows, centred and turned by a random rotation of the row space (the
//! rotations of Langsrud, *Rotation tests*, 2005; the comparison with a normal set of the same covariance is that of Liu et
//! al., *Statistical significance of clustering*, 2008; the statistic that of the gap statistic of Tibshirani, Walther &
//! Hastie, 2001). A long axis alone makes no clusters then. Having looked at several numbers of clusters is accounted for: the
//! greatest excess counts, of these rows and of every rotated set.
//!
//! *How many*: the hierarchy is made again from samples of the rows, and its cuts are compared with those of all rows by the
//! adjusted Rand index (in the manner of Ben-Hur, Elisseeff & Guyon, *A stability based method for discovering structure in
//! clustered data*, 2002). Of the numbers that hold nearly as well as the best, the one is taken whose W(k)/W(1) is furthest
//! below that of the rotated sets, as ratios: a cluster with a long axis can be halved stably, but gains nothing by it.

use serde::{Deserialize, Serialize};

use super::linkage::{Dendrogram, distances, ward_of_distances};
use super::members::Distances;
use super::partition::adjusted_rand;
use super::points::{ClusterError, Points, check_at_most};
use crate::statistics::outcomes::{mean, variance};
use crate::statistics::random::Random;

/// The most rows: a rotation takes their square times the width.
pub const MAX_ROWS: usize = 2_000;

/// How much less stable than the most stable a number of clusters may be that is chosen.
const NEARLY: f64 = 0.1;

/// How to look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The most clusters that are considered, ≥ 2.
    pub k_max: usize,
    /// Samples of the rows.
    pub n_samples: usize,
    /// Share of the rows in a sample, in (0, 1).
    pub share: f64,
    /// Rotated sets, ≥ 2. The least p-value is 1 / (n_null + 1).
    pub n_null: usize,
    /// Chance of seeing clusters where there are none.
    pub alpha: f64,
    /// The stream of random numbers.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { k_max: 20, n_samples: 20, share: 0.8, n_null: 39, alpha: 0.05, seed: 1 }
    }
}

/// What one number of clusters is like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OfK {
    /// Clusters.
    pub k: usize,
    /// Mean adjusted Rand index between the cuts of samples and of all rows, −0.5 to 1.
    pub stability: f64,
    /// ln W(k)/W(1), ≤ 0: the share of the sum of squares that stays within the clusters.
    pub log_within: f64,
    /// The same of rotated sets: mean over sets.
    pub null_mean: f64,
    /// Their standard deviation.
    pub null_sd: f64,
}

/// Whether there are clusters, and how many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stability {
    /// From 2 clusters on.
    pub of_k: Vec<OfK>,
    /// Share of rotated sets, the rows themselves counted, that look at least as clustered; in (0, 1].
    pub p: f64,
    /// The number of clusters, or `None` when `p` > `alpha`.
    pub chosen: Option<usize>,
}

/// Looks at Ward's hierarchy of the rows. Fewer than four rows, or rows that are all equal, have no clusters: `p` is 1.
///
/// # Errors
///
/// When there are more than [`MAX_ROWS`], or a setting is out of its range.
pub fn stability(points: Points, settings: Settings) -> Result<Stability, ClusterError> {
    check_at_most("cluster stability", MAX_ROWS, points.n_rows())?;
    let values = distances(points);
    stability_of(
        points,
        Distances::new(&values, points.n_rows()),
        &ward_of_distances(values.clone(), points.n_rows()),
        settings,
    )
}

/// [`stability`] of at most [`MAX_ROWS`] rows whose distances and hierarchy are known.
///
/// Rows that are zero, such as the similarities of a prompt that both models answered in the same words, make one tight
/// cluster that would speak for all the others: whether and how many clusters there are is told of the rest, and they count as
/// one more.
///
/// # Errors
///
/// When a setting is out of its range.
pub(crate) fn stability_of(
    points: Points,
    own: Distances,
    whole: &Dendrogram,
    settings: Settings,
) -> Result<Stability, ClusterError> {
    check(settings)?;
    let is_zero = |row: &[f32]| row.iter().all(|value| *value == 0.0);
    let n_zero = points.rows().filter(|row| is_zero(row)).count();
    if (1..points.n_rows()).contains(&n_zero) {
        let kept: Vec<f32> = points.rows().filter(|row| !is_zero(row)).flatten().copied().collect();
        let mut found = stability(Points::new(&kept, points.width())?, settings)?;
        // The zero rows are one cluster more.
        found.of_k.iter_mut().for_each(|of_k| of_k.k += 1);
        found.chosen = found.chosen.map(|k| k + 1);
        return Ok(found);
    }
    let n_rows = points.n_rows();
    let k_max = settings.k_max.min(n_rows / 2);
    // The last merge joins everything: at no height when all rows are equal.
    if k_max < 2 || whole.merges.last().is_none_or(|merge| merge.height == 0.0) {
        return Ok(Stability { of_k: Vec::new(), p: 1.0, chosen: None });
    }
    let mut random = Random::new(settings.seed);
    let stabilities = stabilities(whole, own, k_max, settings, &mut random);
    let centred = centred(points);
    let null: Vec<Vec<f64>> = (0..settings.n_null)
        .map(|_| {
            let rows = rotated(&centred, n_rows, &mut random);
            Ok(log_within(&ward_of_distances(distances(Points::new(&rows, points.width())?), n_rows), k_max))
        })
        .collect::<Result<_, ClusterError>>()?;
    Ok(judge(&stabilities, &log_within(whole, k_max), &null, settings.alpha))
}

fn check(settings: Settings) -> Result<(), ClusterError> {
    let refuse =
        |what, expected: &str, got: String| Err(ClusterError::Parameter { what, expected: expected.to_owned(), got });
    if settings.k_max < 2 {
        return refuse("k_max", "at least 2", settings.k_max.to_string());
    }
    if settings.n_samples == 0 {
        return refuse("n_samples", "at least 1", "0".to_owned());
    }
    if settings.n_null < 2 {
        return refuse("n_null", "at least 2", settings.n_null.to_string());
    }
    if !(settings.share > 0.0 && settings.share < 1.0) {
        return refuse("share", "a number between 0 and 1", settings.share.to_string());
    }
    Ok(())
}

/// Stability of 2, 3, … `k_max` clusters of rows with these distances: agreement of the cuts of samples with those of all rows.
fn stabilities(
    whole: &Dendrogram,
    distances: Distances,
    k_max: usize,
    settings: Settings,
    random: &mut Random,
) -> Vec<f64> {
    let cut = |dendrogram: &Dendrogram, k: usize| {
        dendrogram.cut_into(k.min(dendrogram.n_rows)).expect("1 to as many as rows")
    };
    let mut sums = vec![0.0; k_max - 1];
    for _ in 0..settings.n_samples {
        let sample = sample(whole.n_rows, settings.share, random);
        let of_sample = distances.ward_of(&sample);
        for (k, sum) in (2..).zip(&mut sums) {
            let of_all = cut(whole, k);
            let expected: Vec<u32> = sample.iter().map(|&row| of_all[row]).collect();
            *sum += adjusted_rand(&cut(&of_sample, k), &expected);
        }
    }
    sums.iter().map(|sum| sum / settings.n_samples as f64).collect()
}

/// A share of the rows, at least two, drawn without replacement, ascending.
pub(super) fn sample(n_rows: usize, share: f64, random: &mut Random) -> Vec<usize> {
    sample_of(n_rows, ((n_rows as f64 * share).round() as usize).max(2).min(n_rows), random)
}

/// `size` of the rows, or all where there are no more, drawn without replacement, ascending.
pub fn sample_of(n_rows: usize, size: usize, random: &mut Random) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..n_rows).collect();
    random.shuffle(&mut rows);
    rows.truncate(size);
    rows.sort_unstable();
    rows
}

/// ln W(k)/W(1) of 2, 3, … `k_max` clusters. A merge adds half of its squared height to the sum of squares.
fn log_within(dendrogram: &Dendrogram, k_max: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let sums: Vec<f64> = dendrogram
        .merges
        .iter()
        .map(|merge| {
            sum += merge.height * merge.height / 2.0;
            sum
        })
        .collect();
    let n_rows = dendrogram.n_rows;
    // Equal rows leave nothing within their clusters; the floor is where rounding begins.
    (2..=k_max).map(|k| libm::log((sums[n_rows - k - 1] / sums[n_rows - 2]).max(1e-12))).collect()
}

/// The rows minus their mean, in f64.
fn centred(points: Points) -> Vec<f64> {
    let n_rows = points.n_rows() as f64;
    let mut mean = vec![0.0; points.width()];
    for row in points.rows() {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / n_rows);
    }
    points.rows().flat_map(|row| row.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean)).collect()
}

/// The centred rows `[n_rows, width]`, two or more, turned by a rotation drawn uniformly from those that leave means at 0:
/// Householder reflections of normal vectors of falling length (Stewart, *The efficient generation of random orthogonal
/// matrices*, 1980), of the rows without their mean. Covariances of columns stay.
fn rotated(centred: &[f64], n_rows: usize, random: &mut Random) -> Vec<f32> {
    let width = centred.len() / n_rows;
    let mut rows = centred.to_vec();
    // Takes the mean of all rows, times √n, to the first row, where it is 0 and stays so; and back again.
    let mut mean_to_first = vec![1.0 / (n_rows as f64).sqrt(); n_rows];
    mean_to_first[0] -= 1.0;
    reflect(&mut rows, width, &mean_to_first);
    for first in 1..n_rows - 1 {
        let mut normal: Vec<f64> = (first..n_rows).map(|_| random.normal()).collect();
        let length = normal.iter().map(|x| x * x).sum::<f64>().sqrt();
        normal[0] += length.copysign(normal[0]);
        reflect(&mut rows[first * width..], width, &normal);
    }
    reflect(&mut rows, width, &mean_to_first);
    rows.into_iter().map(|value| value as f32).collect()
}

/// Reflects the columns of rows `[normal.len(), width]` at the plane that `normal` is perpendicular to; it is not zero.
fn reflect(rows: &mut [f64], width: usize, normal: &[f64]) {
    let square: f64 = normal.iter().map(|x| x * x).sum();
    let mut sums = vec![0.0; width];
    for (x, row) in normal.iter().zip(rows.chunks_exact(width)) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += x * value);
    }
    for (x, row) in normal.iter().zip(rows.chunks_exact_mut(width)) {
        let scale = 2.0 * x / square;
        row.iter_mut().zip(&sums).for_each(|(value, sum)| *value -= scale * sum);
    }
}

/// Judges own values by those of rotated sets, and each of these by the others in the same way.
fn judge(stabilities: &[f64], own: &[f64], null: &[Vec<f64>], alpha: f64) -> Stability {
    let all: Vec<&[f64]> = std::iter::once(own).chain(null.iter().map(Vec::as_slice)).collect();
    let greatest_excess = |which: usize| {
        let excess = |i: usize| {
            let others = all.iter().enumerate().filter(|(other, _)| *other != which);
            let (mean, sd) = moments(others.map(|(_, values)| values[i]));
            if sd > 0.0 { (mean - all[which][i]) / sd } else { 0.0 }
        };
        (0..own.len()).map(excess).fold(f64::NEG_INFINITY, f64::max)
    };
    let excess = greatest_excess(0);
    let n_as_great = (1..all.len()).filter(|&which| greatest_excess(which) >= excess).count();
    let p = (n_as_great + 1) as f64 / all.len() as f64;
    let best = stabilities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let of_k = |i: usize| {
        let (null_mean, null_sd) = moments(null.iter().map(|values| values[i]));
        OfK { k: i + 2, stability: stabilities[i], log_within: own[i], null_mean, null_sd }
    };
    let of_k: Vec<OfK> = (0..own.len()).map(of_k).collect();
    let gap = |of_k: &OfK| of_k.null_mean - of_k.log_within;
    // Of equal ones the first: `max_by` takes the last, so from the end.
    let stable = of_k.iter().rev().filter(|of_k| of_k.stability >= best - NEARLY);
    let chosen = stable.max_by(|a, b| gap(a).total_cmp(&gap(b))).map(|of_k| of_k.k).filter(|_| p <= alpha);
    Stability { of_k, p, chosen }
}

/// Mean and standard deviation (n − 1).
fn moments(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.collect();
    (mean(&values), variance(&values).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows around `k` random centres; `distance` 0 puts them around one.
    fn rows(k: usize, n_rows: usize, width: usize, distance: f64, seed: u64) -> (Vec<f32>, Vec<usize>) {
        let mut random = Random::new(seed);
        let centres: Vec<f64> = (0..k * width).map(|_| distance * random.normal()).collect();
        let truth: Vec<usize> = (0..n_rows).map(|i| i % k).collect();
        // Axes of different length, as similarities have them.
        let value = |label: &usize| -> Vec<f32> {
            (0..width).map(|j| (centres[label * width + j] + random.normal() / (1.0 + j as f64 / 4.0)) as f32).collect()
        };
        let rows = truth.iter().flat_map(value).collect();
        (rows, truth)
    }

    #[test]
    fn the_number_of_clusters_is_found() {
        for (k, seed) in [(2, 1), (3, 2), (5, 3)] {
            let (rows, truth) = rows(k, 60, 12, 1.5, seed);
            let points = Points::new(&rows, 12).unwrap();
            let found = stability(points, Settings { k_max: 8, ..Settings::default() }).unwrap();
            assert_eq!(found.chosen, Some(k), "{found:?}");
            let labels = super::super::linkage::ward(points).unwrap().cut_into(k).unwrap();
            assert!(adjusted_rand(&labels, &truth) > 0.9);
        }
    }

    #[test]
    fn rows_without_clusters_seldom_have_any() {
        let settings = Settings { k_max: 6, n_samples: 8, n_null: 19, ..Settings::default() };
        let falsely = (0..40)
            .filter(|&seed| {
                let (rows, _) = rows(1, 40, 10, 0.0, 100 + seed);
                let found = stability(Points::new(&rows, 10).unwrap(), Settings { seed, ..settings }).unwrap();
                found.chosen.is_some()
            })
            .count();
        // Binomial(40, 0.05): more than 6 happen once in 250 times; the seeds are fixed, so this either holds or does not.
        assert!(falsely <= 6, "{falsely} of 40");
    }

    #[test]
    fn few_wide_rows_are_judged_neither_too_often_nor_too_seldom() {
        let settings = Settings { k_max: 6, n_samples: 2, n_null: 19, ..Settings::default() };
        let p_values = |k: usize, distance: f64| -> Vec<f64> {
            let p = |seed: u64| {
                let (rows, _) = rows(k, 12, 100, distance, 500 + seed);
                stability(Points::new(&rows, 100).unwrap(), Settings { seed, ..settings }).unwrap().p
            };
            (0..60).map(p).collect()
        };
        let without = p_values(1, 0.0);
        // Where there is nothing, p is uniform: in the mean 0.5 (standard error 0.04).
        assert!((0.38..0.65).contains(&mean(&without)), "mean p {}", mean(&without));
        // Binomial(60, 0.05): more than 8 once in 300 times; the seeds are fixed.
        assert!(without.iter().filter(|p| **p <= 0.05).count() <= 8, "{without:?}");
        let with = p_values(2, 0.3);
        assert!(with.iter().filter(|p| **p <= 0.05).count() >= 40, "{with:?}");
    }

    #[test]
    fn what_cannot_have_clusters_has_none() {
        for rows in [vec![1.0; 40], vec![1.0, 2.0], vec![3.0], vec![0.0; 5], vec![0.0, 0.0, 1.0]] {
            let found = stability(Points::new(&rows, 1).unwrap(), Settings::default()).unwrap();
            assert_eq!((found.chosen, found.p), (None, 1.0));
        }
        let points = Points::new(&[0.0; 9], 1).unwrap();
        for settings in [
            Settings { k_max: 1, ..Settings::default() },
            Settings { share: 1.0, ..Settings::default() },
            Settings { n_null: 0, ..Settings::default() },
            Settings { n_samples: 0, ..Settings::default() },
        ] {
            assert!(matches!(stability(points, settings), Err(ClusterError::Parameter { .. })));
        }
    }

    #[test]
    fn rows_that_are_zero_say_nothing_of_the_others_and_are_one_cluster_more() {
        let settings = Settings { k_max: 8, ..Settings::default() };
        for (k, distance, seed) in [(1, 0.0, 101), (3, 1.5, 2)] {
            let (rows, _) = rows(k, 60, 12, distance, seed);
            let alone = stability(Points::new(&rows, 12).unwrap(), settings).unwrap();
            let with_zeros = [rows, vec![0.0; 25 * 12]].concat();
            let found = stability(Points::new(&with_zeros, 12).unwrap(), settings).unwrap();
            assert_eq!(alone.chosen, (k > 1).then_some(k));
            assert_eq!((found.p, found.chosen), (alone.p, alone.chosen.map(|k| k + 1)));
            assert_eq!(found.of_k[0].k, 3);
        }
    }

    #[test]
    fn a_rotation_keeps_the_covariance_and_nothing_else() {
        let (rows, _) = rows(3, 30, 5, 2.0, 8);
        let points = Points::new(&rows, 5).unwrap();
        let centred = centred(points);
        let rotated: Vec<f64> = rotated(&centred, 30, &mut Random::new(2)).into_iter().map(f64::from).collect();
        let product = |rows: &[f64], a: usize, b: usize| rows.chunks_exact(5).map(|row| row[a] * row[b]).sum::<f64>();
        for a in 0..5 {
            for b in 0..5 {
                assert!((product(&centred, a, b) - product(&rotated, a, b)).abs() < 1e-3);
            }
        }
        assert!(centred.iter().zip(&rotated).filter(|(a, b)| (*a - *b).abs() > 0.01).count() > 100);
        for column in 0..5 {
            let sum: f64 = rotated.iter().skip(column).step_by(5).sum();
            assert!(sum.abs() < 1e-4, "means stay 0: {sum}");
        }
    }
}
