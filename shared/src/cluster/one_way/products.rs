//! Inner products of differences, and what is counted and decided with them: which rows lie on a cluster's axis, and whether a
//! cluster has one direction. Part of [`super`].

use super::{Axis, COSINE, LEAST_PART, ONE_CHANGE, PART};
use crate::cluster::linkage::{Dendrogram, ward_of_distances};
use crate::cluster::points::Points;
use crate::dot::dot;

/// Inner products of all rows, `[n_rows, n_rows]`.
pub(super) struct Products {
    pub(super) n_rows: usize,
    values: Vec<f64>,
    /// How far each row reaches, for strengths.
    lengths: Vec<f32>,
}

impl Products {
    pub(super) fn of(points: Points) -> Self {
        let n_rows = points.n_rows();
        let mut values = vec![0.0; n_rows * n_rows];
        for (a, row) in points.rows().enumerate() {
            for (b, other) in points.rows().enumerate().skip(a) {
                let product = f64::from(dot(row, other));
                (values[a * n_rows + b], values[b * n_rows + a]) = (product, product);
            }
        }
        Self { n_rows, values, lengths: vec![1.0; n_rows] }
    }

    /// Without lengths, where strengths do not matter, all reach as far.
    pub(super) fn new(n_rows: usize, values: &[f32], lengths: Option<&[f32]>) -> Self {
        assert_eq!(values.len(), n_rows * n_rows, "a product for every two rows");
        let lengths = lengths.map_or_else(|| vec![1.0; n_rows], <[f32]>::to_vec);
        assert_eq!(lengths.len(), n_rows, "a length for every row");
        Self { n_rows, values: values.iter().map(|product| f64::from(*product)).collect(), lengths }
    }

    pub(super) fn of_row(&self, row: usize) -> &[f64] {
        &self.values[row * self.n_rows..][..self.n_rows]
    }

    /// Products of every row with the sum of every cluster, `[n_rows, n_clusters]`, rows turned about.
    pub(super) fn sums(&self, turns: &[f64], labels: &[u32], n_clusters: usize) -> Vec<f64> {
        let mut sums = vec![0.0; self.n_rows * n_clusters];
        for (row, sums) in sums.chunks_exact_mut(n_clusters).enumerate() {
            for ((product, turn), label) in self.of_row(row).iter().zip(turns).zip(labels) {
                sums[*label as usize] += turns[row] * turn * product;
            }
        }
        sums
    }

    /// The axis of every cluster.
    pub(super) fn axes(&self, labels: &[u32], n_clusters: usize) -> Vec<Axis> {
        self.counts(&self.sums(&vec![1.0; self.n_rows], labels, n_clusters), labels, n_clusters)
    }

    /// Whether a cluster has no two large parts, at any depth, whose means are far apart.
    pub(super) fn has_direction(&self, dendrogram: &Dendrogram, cluster: u32) -> bool {
        let least = (PART * dendrogram.rows_of(cluster).len() as f64).max(LEAST_PART);
        let mut open = vec![cluster];
        while let Some(cluster) = open.pop() {
            let Some((left, right)) = dendrogram.children(cluster) else { continue };
            let [a, b] = [left, right].map(|part| dendrogram.rows_of(part));
            if a.len() as f64 >= least && b.len() as f64 >= least && self.cosine_of_means(&a, &b) < ONE_CHANGE {
                return false;
            }
            open.extend([left, right]);
        }
        true
    }

    /// The product of the sums of two sets of rows.
    pub(super) fn total(&self, a: &[u32], b: &[u32]) -> f64 {
        a.iter().map(|a| b.iter().map(|b| self.of_row(*a as usize)[*b as usize]).sum::<f64>()).sum()
    }

    /// The cosine of the means of two sets of rows; 0 when one of them is zero.
    pub(super) fn cosine_of_means(&self, a: &[u32], b: &[u32]) -> f64 {
        let within = (self.total(a, a) * self.total(b, b)).max(0.0).sqrt();
        if within > 0.0 { self.total(a, b) / within } else { 0.0 }
    }

    /// Calls `visit` with every row and the cosines of that row with the mean of every cluster, from the products with its
    /// sum; a cluster's own rows are compared with the mean of its others.
    pub(super) fn visit_cosines(
        &self,
        sums: &[f64],
        labels: &[u32],
        n_clusters: usize,
        mut visit: impl FnMut(usize, &[f64]),
    ) {
        let mut squares = vec![0.0; n_clusters];
        for (sums, label) in sums.chunks_exact(n_clusters).zip(labels) {
            squares[*label as usize] += sums[*label as usize];
        }
        let mut cosines = vec![0.0; n_clusters];
        for (row, sums) in sums.chunks_exact(n_clusters).enumerate() {
            let own = self.values[row * self.n_rows + row];
            for (cluster, ((product, square), cosine)) in sums.iter().zip(&squares).zip(&mut cosines).enumerate() {
                let is_own = labels[row] as usize == cluster;
                let (product, square) =
                    if is_own { (product - own, square - 2.0 * product + own) } else { (*product, *square) };
                // A mean that rounding alone keeps from zero points nowhere.
                let lengths = (own * square.max(0.0)).sqrt();
                *cosine = if square > 1e-9 * own && lengths > 0.0 { product / lengths } else { 0.0 };
            }
            visit(row, &cosines);
        }
    }

    /// Counts rows along and against the mean of every cluster, from the products with its sum.
    pub(super) fn counts(&self, sums: &[f64], labels: &[u32], n_clusters: usize) -> Vec<Axis> {
        let mut counts = vec![Axis::default(); n_clusters];
        self.visit_cosines(sums, labels, n_clusters, |row, cosines| {
            for (cluster, (cosine, count)) in cosines.iter().zip(&mut counts).enumerate() {
                let is_own = labels[row] as usize == cluster;
                count.size += usize::from(is_own);
                count.moved += if is_own { f64::from(self.lengths[row]) * cosine } else { 0.0 };
                count.n_own_along += usize::from(is_own && *cosine >= COSINE);
                count.n_along += usize::from(*cosine >= COSINE);
                count.n_against += usize::from(*cosine <= -COSINE);
                let length = f64::from(self.lengths[row]);
                count.along += if *cosine >= COSINE { length } else { 0.0 };
                count.against += if *cosine <= -COSINE { length } else { 0.0 };
            }
        });
        counts
    }

    /// The greatest excess of rows along over rows against, of all clusters of all cuts of a hierarchy of turned rows.
    pub(super) fn greatest_excess(&self, dendrogram: &Dendrogram, turns: &[f64], k_max: usize) -> f32 {
        let cut = |k: usize| dendrogram.cut_into(k).expect("1 to as many as rows");
        let finest = cut(k_max);
        let of_finest = self.sums(turns, &finest, k_max);
        (1..=k_max)
            .flat_map(|k| {
                let labels = cut(k);
                let mut whole = vec![0; k_max];
                finest.iter().zip(&labels).for_each(|(part, label)| whole[*part as usize] = *label as usize);
                let mut sums = vec![0.0; self.n_rows * k];
                for (sums, parts) in sums.chunks_exact_mut(k).zip(of_finest.chunks_exact(k_max)) {
                    parts.iter().zip(&whole).for_each(|(part, label)| sums[*label] += part);
                }
                self.counts(&sums, &labels, k)
            })
            .fold(0.0, |greatest, cluster| cluster.excess().max(greatest))
    }

    /// Ward's hierarchy of the turned rows.
    pub(super) fn ward(&self, turns: &[f64]) -> Dendrogram {
        let n_rows = self.n_rows;
        let square = |row: usize| self.values[row * n_rows + row];
        let distance = |a: usize, b: usize| {
            (square(a) + square(b) - 2.0 * turns[a] * turns[b] * self.values[a * n_rows + b]).max(0.0).sqrt()
        };
        let distances = (0..n_rows).flat_map(|a| (a + 1..n_rows).map(move |b| (a, b))).map(|(a, b)| distance(a, b));
        ward_of_distances(distances.collect(), n_rows)
    }
}
