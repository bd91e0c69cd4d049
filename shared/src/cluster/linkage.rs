//! Ward's hierarchy of rows, with the merges in scipy's form, and its cuts.

use kodama::Method;
use serde::{Deserialize, Serialize};

use super::partition::by_first_row;
use super::points::{ClusterError, Points, check_at_most, distances_to};

/// The most rows: their distances take 1.6 GB in f64.
pub const MAX_ROWS: usize = 20_000;

/// Two clusters becoming one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Merge {
    /// A row when below the number of rows, else the merge of number `left − n_rows`.
    pub left: u32,
    /// The other, > `left`.
    pub right: u32,
    /// Their distance in Ward's sense, ≥ 0: √(2·nₗ·nᵣ / (nₗ + nᵣ)) times the Euclidean distance of their means, which is
    /// the square root of twice the growth of the sum of squares. Never less than that of an earlier merge.
    pub height: f64,
    /// Rows in the new cluster.
    pub size: u32,
}

/// A hierarchy of clusters: `n_rows − 1` merges, the lowest first. Each row of scipy's linkage matrix is one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dendrogram {
    /// Rows that were merged, at least 1.
    pub n_rows: usize,
    /// Merges in order of height.
    pub merges: Vec<Merge>,
}

/// Ward's minimum variance hierarchy (Ward 1963) with Euclidean distances, by the nearest-neighbour chain (Müllner 2011).
///
/// # Errors
///
/// When there are more than [`MAX_ROWS`].
pub fn ward(points: Points) -> Result<Dendrogram, ClusterError> {
    check_at_most("Ward linkage", MAX_ROWS, points.n_rows())?;
    Ok(ward_of_distances(distances(points), points.n_rows()))
}

/// [`ward`] of rows of which the [`distances`] are known.
pub(crate) fn ward_of_distances(mut distances: Vec<f64>, n_rows: usize) -> Dendrogram {
    let steps = kodama::linkage(&mut distances, n_rows, Method::Ward);
    let merge = |step: &kodama::Step<f64>| Merge {
        left: step.cluster1 as u32,
        right: step.cluster2 as u32,
        height: step.dissimilarity,
        size: step.size as u32,
    };
    Dendrogram { n_rows, merges: steps.steps().iter().map(merge).collect() }
}

/// Euclidean distances of all pairs of rows: (0, 1), (0, 2), …, (1, 2), …
pub fn distances(points: Points) -> Vec<f64> {
    let n_rows = points.n_rows();
    let mut distances = vec![0.0; n_rows * (n_rows - 1) / 2];
    let mut rest = distances.as_mut_slice();
    for a in 0..n_rows {
        let (of_row, others) = rest.split_at_mut(n_rows - a - 1);
        distances_to(points.row(a), points, a + 1..n_rows, of_row);
        rest = others;
    }
    distances
}

impl Dendrogram {
    /// Labels of `k` clusters, `[n_rows]`, numbered 0, 1, … by their first rows: what is left when the k − 1 highest merges
    /// are undone.
    ///
    /// # Errors
    ///
    /// When `k` is 0 or more than there are rows.
    pub fn cut_into(&self, k: usize) -> Result<Vec<u32>, ClusterError> {
        if !(1..=self.n_rows).contains(&k) {
            return Err(ClusterError::ClusterCount { k, n_rows: self.n_rows });
        }
        Ok(self.labels_after(self.n_rows - k))
    }

    /// Labels of the clusters that merges of at most this height make, numbered by their first rows; scipy's `fcluster` with
    /// criterion `distance`. A height that is not a number cuts nothing together.
    pub fn cut_at(&self, height: f64) -> Vec<u32> {
        self.labels_after(self.merges.partition_point(|merge| merge.height <= height))
    }

    /// The heights between which a cut gives `k` clusters, from the lower (included) to the upper (excluded); the upper of one
    /// cluster is infinite.
    ///
    /// # Panics
    ///
    /// Panics when `k` is 0 or more than there are rows.
    pub fn heights_of(&self, k: usize) -> (f64, f64) {
        assert!((1..=self.n_rows).contains(&k), "{k} clusters of {} rows", self.n_rows);
        let n_merges = self.n_rows - k;
        let lower = if n_merges == 0 { 0.0 } else { self.merges[n_merges - 1].height };
        (lower, self.merges.get(n_merges).map_or(f64::INFINITY, |merge| merge.height))
    }

    /// The two parts of a cluster, or `None` of a row. Clusters are numbered as in [`Merge::left`].
    pub fn children(&self, cluster: u32) -> Option<(u32, u32)> {
        let merge = (cluster as usize).checked_sub(self.n_rows)?;
        let merge = self.merges[merge];
        Some((merge.left, merge.right))
    }

    /// The cluster of all rows.
    pub fn root(&self) -> u32 {
        (2 * self.n_rows - 2) as u32
    }

    /// Rows from left to right as the merges have them: the left part of each before the right.
    pub fn leaves(&self) -> Vec<u32> {
        self.rows_of(self.root())
    }

    /// Rows of a cluster, the left part of each merge before the right.
    pub fn rows_of(&self, cluster: u32) -> Vec<u32> {
        let (mut open, mut leaves) = (vec![cluster], Vec::new());
        while let Some(cluster) = open.pop() {
            match self.children(cluster) {
                Some((left, right)) => open.extend([right, left]),
                None => leaves.push(cluster),
            }
        }
        leaves
    }

    fn labels_after(&self, n_merges: usize) -> Vec<u32> {
        // A cluster's label is its number; later merges overwrite, from the top down.
        let mut label: Vec<u32> = (0..(self.n_rows + self.merges.len()) as u32).collect();
        for i in (0..n_merges).rev() {
            let own = label[self.n_rows + i];
            let Merge { left, right, .. } = self.merges[i];
            (label[left as usize], label[right as usize]) = (own, own);
        }
        by_first_row(&label[..self.n_rows])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::random::Random;

    fn random_rows(n_rows: usize, width: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..n_rows * width).map(|_| random.normal() as f32).collect()
    }

    /// Ward by its definition: at every step the two clusters whose union adds least to the sum of squares.
    fn by_definition(points: Points) -> Vec<(f64, Vec<usize>)> {
        let mean = |rows: &[usize]| -> Vec<f64> {
            (0..points.width())
                .map(|j| rows.iter().map(|&i| f64::from(points.row(i)[j])).sum::<f64>() / rows.len() as f64)
                .collect()
        };
        let height = |a: &[usize], b: &[usize]| {
            let square: f64 = mean(a).iter().zip(mean(b)).map(|(a, b)| (a - b) * (a - b)).sum();
            (2.0 * (a.len() * b.len()) as f64 / (a.len() + b.len()) as f64 * square).sqrt()
        };
        let mut clusters: Vec<Vec<usize>> = (0..points.n_rows()).map(|i| vec![i]).collect();
        let mut merges = Vec::new();
        while clusters.len() > 1 {
            let pairs = (0..clusters.len()).flat_map(|a| (a + 1..clusters.len()).map(move |b| (a, b)));
            let (a, b) = pairs
                .min_by(|&(a, b), &(c, d)| {
                    height(&clusters[a], &clusters[b]).total_cmp(&height(&clusters[c], &clusters[d]))
                })
                .unwrap();
            let other = clusters.remove(b);
            merges.push((height(&clusters[a], &other), [clusters[a].clone(), other.clone()].concat()));
            clusters[a].extend(other);
        }
        merges
    }

    #[test]
    fn merges_are_those_of_the_definition() {
        for (n_rows, width, seed) in [(2, 1, 1), (9, 2, 2), (25, 7, 3), (40, 30, 4)] {
            let rows = random_rows(n_rows, width, seed);
            let points = Points::new(&rows, width).unwrap();
            let dendrogram = ward(points).unwrap();
            let mut members: Vec<Vec<usize>> = (0..n_rows).map(|i| vec![i]).collect();
            for (merge, (height, rows)) in dendrogram.merges.iter().zip(by_definition(points)) {
                assert!((merge.height - height).abs() < 1e-5, "{} {height}", merge.height);
                let mut both = [members[merge.left as usize].clone(), members[merge.right as usize].clone()].concat();
                let mut rows = rows;
                both.sort_unstable();
                rows.sort_unstable();
                assert_eq!(both, rows);
                assert!(merge.left < merge.right && merge.size as usize == both.len());
                members.push(both);
            }
        }
    }

    #[test]
    fn cuts_have_the_clusters_asked_for_and_nest() {
        let rows = random_rows(60, 5, 9);
        let dendrogram = ward(Points::new(&rows, 5).unwrap()).unwrap();
        let n_labels = |labels: &[u32]| labels.iter().max().unwrap() + 1;
        for k in 1..=60 {
            let labels = dendrogram.cut_into(k).unwrap();
            assert_eq!(n_labels(&labels) as usize, k);
            let (lower, upper) = dendrogram.heights_of(k);
            assert!(lower < upper);
            assert_eq!(dendrogram.cut_at(lower), labels);
            if k > 1 {
                let wider = dendrogram.cut_into(k - 1).unwrap();
                let pairs: std::collections::BTreeSet<_> = labels.iter().zip(&wider).collect();
                assert_eq!(pairs.len(), k, "each cluster lies in one of the wider cut");
            }
        }
        assert_eq!(dendrogram.cut_into(61), Err(ClusterError::ClusterCount { k: 61, n_rows: 60 }));
        assert_eq!(dendrogram.cut_into(0), Err(ClusterError::ClusterCount { k: 0, n_rows: 60 }));
        assert_eq!(n_labels(&dendrogram.cut_at(f64::NAN)), 60);
    }

    #[test]
    fn one_row_and_equal_rows_are_defined() {
        let dendrogram = ward(Points::new(&[1.0, 2.0], 2).unwrap()).unwrap();
        assert!(dendrogram.merges.is_empty());
        assert_eq!(
            (dendrogram.cut_into(1).unwrap(), dendrogram.cut_at(0.0), dendrogram.leaves()),
            (vec![0], vec![0], vec![0])
        );
        let dendrogram = ward(Points::new(&[0.5; 8], 2).unwrap()).unwrap();
        assert!(dendrogram.merges.iter().all(|merge| merge.height == 0.0));
        assert_eq!(dendrogram.cut_at(0.0), [0; 4]);
        let mut leaves = dendrogram.leaves();
        leaves.sort_unstable();
        assert_eq!(leaves, [0, 1, 2, 3]);
    }

    #[test]
    fn more_rows_than_memory_are_refused() {
        let rows = vec![0.0; MAX_ROWS + 1];
        let error = ward(Points::new(&rows, 1).unwrap()).unwrap_err();
        assert!(error.to_string().contains("at most 20000 rows, got 20001"));
    }
}
