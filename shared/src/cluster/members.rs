//! A partition's members: how near they are to each other, who is typical and who lies at the border, and which clusters come
//! back when rows are drawn again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::linkage::{Dendrogram, ward_of_distances};
use crate::statistics::random::Random;

/// Distances of all pairs of rows, as [`super::linkage::distances`] makes them, with the number of rows.
#[derive(Debug, Clone, Copy)]
pub struct Distances<'a> {
    values: &'a [f64],
    n_rows: usize,
}

impl<'a> Distances<'a> {
    /// Of `n_rows` rows.
    ///
    /// # Panics
    ///
    /// Panics when there are not n·(n − 1)/2 distances.
    pub fn new(values: &'a [f64], n_rows: usize) -> Self {
        assert_eq!(values.len(), n_rows * n_rows.saturating_sub(1) / 2, "distances of {n_rows} rows");
        Self { values, n_rows }
    }

    /// How many rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Distance of two rows; 0 of a row to itself.
    pub fn of(&self, a: usize, b: usize) -> f64 {
        match a.cmp(&b) {
            std::cmp::Ordering::Less => self.values[a * (2 * self.n_rows - a - 1) / 2 + b - a - 1],
            std::cmp::Ordering::Equal => 0.0,
            std::cmp::Ordering::Greater => self.of(b, a),
        }
    }

    /// Ward's hierarchy of some of the rows, given in ascending order.
    pub(crate) fn ward_of(&self, rows: &[usize]) -> Dendrogram {
        let within = rows.iter().enumerate().flat_map(|(i, &a)| rows[i + 1..].iter().map(move |&b| self.of(a, b)));
        ward_of_distances(within.collect(), rows.len())
    }
}

/// One cluster's members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// Rows of the cluster, ascending.
    pub rows: Vec<u32>,
    /// Mean silhouette of its rows, −1 to 1; 0 of a single row. High: near to each other and far from the rest.
    pub silhouette: f64,
    /// Rows from the most typical: by the sum of their distances to the others of the cluster.
    pub typical: Vec<u32>,
    /// Rows from the one that lies nearest to another cluster: by silhouette.
    pub border: Vec<u32>,
}

/// The members of every cluster; labels are 0, 1, … without gaps.
///
/// # Panics
///
/// Panics when labels and distances are of different numbers of rows.
pub fn members(distances: Distances, labels: &[u32]) -> Vec<Members> {
    assert_eq!(distances.n_rows(), labels.len(), "labels of the same rows");
    let n_clusters = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let mut sizes = vec![0usize; n_clusters];
    labels.iter().for_each(|&label| sizes[label as usize] += 1);
    // Per row, the sums of its distances to the rows of every cluster.
    let sums: Vec<Vec<f64>> = (0..labels.len())
        .map(|a| {
            let mut sums = vec![0.0; n_clusters];
            labels.iter().enumerate().for_each(|(b, &label)| sums[label as usize] += distances.of(a, b));
            sums
        })
        .collect();
    let silhouettes: Vec<f64> =
        labels.iter().zip(&sums).map(|(&own, sums)| silhouette(own as usize, sums, &sizes)).collect();
    (0..n_clusters)
        .map(|cluster| {
            let rows: Vec<u32> =
                (0..labels.len() as u32).filter(|&row| labels[row as usize] as usize == cluster).collect();
            let silhouette = rows.iter().map(|&row| silhouettes[row as usize]).sum::<f64>() / rows.len() as f64;
            let sorted = |value: &dyn Fn(usize) -> f64| {
                let mut rows = rows.clone();
                rows.sort_by(|&a, &b| value(a as usize).total_cmp(&value(b as usize)).then(a.cmp(&b)));
                rows
            };
            let typical = sorted(&|row| sums[row][cluster]);
            let border = sorted(&|row| silhouettes[row]);
            Members { rows, silhouette, typical, border }
        })
        .collect()
}

/// (b − a) / max(a, b), with a the mean distance to the other rows of the own cluster and b that to the nearest other cluster
/// (Rousseeuw, *Silhouettes*, 1987); 0 of a row that is alone, or when there is one cluster.
fn silhouette(own: usize, sums: &[f64], sizes: &[usize]) -> f64 {
    if sizes[own] < 2 || sizes.len() < 2 {
        return 0.0;
    }
    let a = sums[own] / (sizes[own] - 1) as f64;
    let others = (0..sizes.len()).filter(|&cluster| cluster != own);
    let b = others.map(|cluster| sums[cluster] / sizes[cluster] as f64).fold(f64::INFINITY, f64::min);
    let widest = a.max(b);
    if widest == 0.0 { 0.0 } else { (b - a) / widest }
}

/// Samples of the rows with their own hierarchies.
#[derive(Debug, Clone, PartialEq)]
pub struct Resampled(Vec<(Vec<usize>, Dendrogram)>);

/// Draws samples of the rows and makes Ward's hierarchy of each.
pub fn resampled(distances: Distances, settings: super::stability::Settings) -> Resampled {
    let mut random = Random::new(settings.seed);
    let sample = |_| {
        let sample = super::stability::sample(distances.n_rows(), settings.share, &mut random);
        let of_sample = distances.ward_of(&sample);
        (sample, of_sample)
    };
    Resampled((0..settings.n_samples).map(sample).collect())
}

impl Resampled {
    /// How surely each of `k` clusters of the rows, `labels`, comes back: the mean over samples of the largest Jaccard index
    /// with one of as many clusters of the sample's own hierarchy, 0 to 1 (Hennig, *Cluster-wise assessment of cluster
    /// stability*, 2007, with samples without replacement). Beside 0.75 a cluster is usually taken as stable.
    ///
    /// # Panics
    ///
    /// Panics when `k` is 0, or a label is `k` or more.
    pub fn jaccards(&self, labels: &[u32], k: usize) -> Vec<f64> {
        let of_sample = |(sample, of_sample): &(Vec<usize>, Dendrogram)| {
            let found = of_sample.cut_into(k.min(sample.len())).expect("1 to as many as rows");
            let own = sample.iter().map(|&row| Some(labels[row]));
            best_jaccards(own.zip(found.into_iter().map(Some)), k)
        };
        mean_jaccards(&self.0.iter().map(of_sample).collect::<Vec<_>>(), k)
    }
}

/// Of each of `k` clusters the largest Jaccard index with one that was found again, in [0, 1], from the labels of every row of a
/// sample: its own and the one found, none where it is in no cluster. None where the sample has no row of the cluster.
///
/// # Panics
///
/// Panics when a row's own label is `k` or more.
pub fn best_jaccards(labels: impl Iterator<Item = (Option<u32>, Option<u32>)>, k: usize) -> Vec<Option<f64>> {
    let mut own = vec![0usize; k];
    let (mut theirs, mut both) = (BTreeMap::new(), BTreeMap::new());
    for (label, found) in labels {
        if let Some(label) = label {
            own[label as usize] += 1;
        }
        if let Some(found) = found {
            *theirs.entry(found).or_insert(0usize) += 1;
        }
        if let (Some(label), Some(found)) = (label, found) {
            *both.entry((label as usize, found)).or_insert(0usize) += 1;
        }
    }
    let mut best: Vec<Option<f64>> = own.iter().map(|n| (*n > 0).then_some(0.0)).collect();
    for ((label, found), n) in both {
        let index = n as f64 / (own[label] + theirs[&found] - n) as f64;
        best[label] = best[label].map(|best| best.max(index));
    }
    best
}

/// The mean over samples of [`best_jaccards`] of `k` clusters, of the samples that have rows of the cluster; 0 where none has.
///
/// # Panics
///
/// Panics when a sample is of fewer clusters.
pub fn mean_jaccards(samples: &[Vec<Option<f64>>], k: usize) -> Vec<f64> {
    let mean = |cluster: usize| {
        let found: Vec<f64> = samples.iter().filter_map(|sample| sample[cluster]).collect();
        if found.is_empty() { 0.0 } else { found.iter().sum::<f64>() / found.len() as f64 }
    };
    (0..k).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::linkage::{distances, ward};
    use crate::cluster::points::Points;
    use crate::cluster::stability::Settings;

    const ROWS: [f32; 7] = [0.0, 1.0, 2.0, 10.0, 11.0, 5.6, 30.0];

    #[test]
    fn members_are_ordered_by_how_typical_they_are() {
        let points = Points::new(&ROWS, 1).unwrap();
        let values = distances(points);
        let found = members(Distances::new(&values, 7), &[0, 0, 0, 1, 1, 0, 2]);
        assert_eq!(found[0].rows, [0, 1, 2, 5]);
        assert_eq!(found[0].typical, [1, 2, 0, 5]);
        assert_eq!(found[0].border[0], 5);
        assert_eq!((found[2].rows.as_slice(), found[2].silhouette), ([6].as_slice(), 0.0));
        // Row 3: a = 1; b is the mean distance to 0, 1, 2 and 5.6, which is 7.85. Row 4: a = 1, b = 8.85.
        let expected = ((7.85 - 1.0) / 7.85 + (8.85 - 1.0) / 8.85) / 2.0;
        assert!((found[1].silhouette - expected).abs() < 1e-6);
    }

    #[test]
    fn distances_are_symmetric() {
        let points = Points::new(&ROWS, 1).unwrap();
        let values = distances(points);
        let found = Distances::new(&values, 7);
        for a in 0..7 {
            for b in 0..7 {
                assert_eq!(found.of(a, b), points.distance(a, b));
            }
        }
    }

    #[test]
    fn clusters_far_apart_always_come_back() {
        let rows: Vec<f32> = (0..60).map(|i| (i % 3) as f32 * 100.0 + (i / 3) as f32).collect();
        let points = Points::new(&rows, 1).unwrap();
        let values = distances(points);
        let whole = ward(points).unwrap();
        let again = resampled(Distances::new(&values, 60), Settings::default());
        let stable = again.jaccards(&whole.cut_into(3).unwrap(), 3);
        assert_eq!(stable, [1.0; 3]);
        // Halving an even row of points is arbitrary.
        let unstable = again.jaccards(&whole.cut_into(9).unwrap(), 9);
        assert!(unstable.iter().any(|&jaccard| jaccard < 0.9), "{unstable:?}");
    }

    #[test]
    fn a_cluster_comes_back_as_far_as_its_best_match_and_rows_in_none_match_nothing() {
        // Three of the first cluster and one in none are found together; the second is halved, one of it lost.
        let own = [Some(0), Some(0), Some(0), None, Some(1), Some(1), Some(1), None];
        let found = [Some(7), Some(7), Some(7), Some(7), Some(2), Some(3), None, None];
        let best = best_jaccards(own.into_iter().zip(found), 3);
        assert_eq!(best, [Some(0.75), Some(1.0 / 3.0), None]);
        assert_eq!(mean_jaccards(&[best, vec![Some(0.25), None, None]], 3), [0.5, 1.0 / 3.0, 0.0]);
    }
}
