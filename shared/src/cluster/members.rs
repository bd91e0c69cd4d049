//! A partition's members: how near they are to each other, who is typical and who lies at the border, and which clusters come
//! back when rows are drawn again.

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
        let (mut sums, mut counts) = (vec![0.0; k], vec![0usize; k]);
        for (sample, of_sample) in &self.0 {
            let found = of_sample.cut_into(k.min(sample.len())).expect("1 to as many as rows");
            let mut both = std::collections::BTreeMap::new();
            let (mut own, mut theirs) = (vec![0usize; k], vec![0usize; k]);
            for (&row, &label) in sample.iter().zip(&found) {
                *both.entry((labels[row], label)).or_insert(0usize) += 1;
                own[labels[row] as usize] += 1;
                theirs[label as usize] += 1;
            }
            let mut best = vec![0f64; k];
            for ((a, b), n) in both {
                let (a, b) = (a as usize, b as usize);
                best[a] = best[a].max(n as f64 / (own[a] + theirs[b] - n) as f64);
            }
            for cluster in (0..k).filter(|&cluster| own[cluster] > 0) {
                sums[cluster] += best[cluster];
                counts[cluster] += 1;
            }
        }
        sums.iter().zip(&counts).map(|(sum, &n)| if n == 0 { 0.0 } else { sum / n as f64 }).collect()
    }
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
}
