//! The order of a hierarchy's leaves in which neighbours are as near as the hierarchy allows.
//!
//! Every merge may have its two parts left–right or right–left: 2ⁿ⁻¹ orders. The one with the least sum of distances of
//! neighbours is found by dynamic programming (Bar-Joseph, Gifford & Jaakkola, *Fast optimal leaf ordering for
//! hierarchical clustering*, 2001): for two leaves whose clusters meet in a merge, the least sum of an order of that merge
//! that begins with one and ends with the other.

use super::linkage::Dendrogram;
use super::members::Distances;
use super::points::{ClusterError, check_at_most};

/// The most rows: the work grows with their cube, n² numbers of 8 bytes are kept.
pub const MAX_ROWS: usize = 2_000;

/// The rows in an order of the dendrogram with the least sum of Euclidean distances of neighbours. Of a best order and its
/// reverse, the one that begins with the smaller row number.
///
/// # Errors
///
/// When there are more than [`MAX_ROWS`], or the dendrogram is of another number of rows.
pub fn optimal(dendrogram: &Dendrogram, distances: Distances) -> Result<Vec<u32>, ClusterError> {
    let n = distances.n_rows();
    check_at_most("optimal leaf ordering", MAX_ROWS, n)?;
    if dendrogram.n_rows != n {
        return Err(ClusterError::Parameter {
            what: "dendrogram",
            expected: format!("one of {n} rows"),
            got: format!("one of {}", dendrogram.n_rows),
        });
    }
    let mut table = Table::new(dendrogram, distances);
    for merge in n..n + dendrogram.merges.len() {
        table.fill(merge as u32);
    }
    Ok(table.best())
}

/// What is known of parts that are already ordered.
struct Table<'a> {
    dendrogram: &'a Dendrogram,
    n: usize,
    /// Distances of rows, `[n, n]`.
    distance: Vec<f64>,
    /// `[n, n]`: the least sum of an order that begins with one and ends with the other, of the smallest cluster with both.
    least: Vec<f64>,
    /// Leaves of every cluster, as ranges of `leaves`.
    range: Vec<(usize, usize)>,
    leaves: Vec<u32>,
}

impl<'a> Table<'a> {
    fn new(dendrogram: &'a Dendrogram, distances: Distances) -> Self {
        let n = distances.n_rows();
        let mut distance = vec![0.0; n * n];
        for a in 0..n {
            for b in a + 1..n {
                let d = distances.of(a, b);
                (distance[a * n + b], distance[b * n + a]) = (d, d);
            }
        }
        let leaves = dendrogram.leaves();
        let mut range = vec![(0, 0); 2 * n - 1];
        for (place, &leaf) in leaves.iter().enumerate() {
            range[leaf as usize] = (place, place + 1);
        }
        for (i, merge) in dendrogram.merges.iter().enumerate() {
            let (a, b) = (range[merge.left as usize], range[merge.right as usize]);
            range[n + i] = (a.0.min(b.0), a.1.max(b.1));
        }
        Self { dendrogram, n, distance, least: vec![0.0; n * n], range, leaves }
    }

    fn leaves_of(&self, cluster: u32) -> &[u32] {
        let (start, end) = self.range[cluster as usize];
        &self.leaves[start..end]
    }

    /// The leaves at which an order of `cluster` may end that begins with `leaf`: those of the other part.
    fn ends(&self, cluster: u32, leaf: u32) -> &[u32] {
        match self.dendrogram.children(cluster) {
            None => self.leaves_of(cluster),
            Some((left, right)) => match self.leaves_of(left).contains(&leaf) {
                true => self.leaves_of(right),
                false => self.leaves_of(left),
            },
        }
    }

    /// Fills `least` for every pair of leaves that meet in this merge.
    fn fill(&mut self, merge: u32) {
        let (left, right) = self.dendrogram.children(merge).expect("a merge");
        let n = self.n;
        let rights = self.leaves_of(right).to_vec();
        let mut result = Vec::with_capacity(self.leaves_of(left).len() * rights.len());
        // By place in `rights`: the least sum up to and including the step from the left part to that leaf.
        let mut to = vec![0.0; rights.len()];
        let place: Vec<usize> = {
            let mut place = vec![0; n];
            rights.iter().enumerate().for_each(|(at, &leaf)| place[leaf as usize] = at);
            place
        };
        for &first in self.leaves_of(left) {
            let ends = self.ends(left, first);
            for (to, &next) in to.iter_mut().zip(&rights) {
                let sum = |&end: &u32| {
                    self.least[first as usize * n + end as usize] + self.distance[end as usize * n + next as usize]
                };
                *to = ends.iter().map(sum).fold(f64::INFINITY, f64::min);
            }
            for &last in &rights {
                let sum = |&next: &u32| to[place[next as usize]] + self.least[next as usize * n + last as usize];
                result.push(self.ends(right, last).iter().map(sum).fold(f64::INFINITY, f64::min));
            }
        }
        let lefts = self.leaves_of(left).to_vec();
        for (first, sums) in lefts.into_iter().zip(result.chunks_exact(rights.len())) {
            for (&last, &sum) in rights.iter().zip(sums) {
                self.least[first as usize * n + last as usize] = sum;
                self.least[last as usize * n + first as usize] = sum;
            }
        }
    }

    fn best(&self) -> Vec<u32> {
        let root = self.dendrogram.root();
        let Some((left, right)) = self.dendrogram.children(root) else { return self.leaves.clone() };
        let pairs = self.leaves_of(left).iter().flat_map(|&a| self.leaves_of(right).iter().map(move |&b| (a, b)));
        let sum = |&(a, b): &(u32, u32)| self.least[a as usize * self.n + b as usize];
        let ordered = |(a, b): (u32, u32)| (a.min(b), a.max(b));
        let (first, last) =
            pairs.map(ordered).min_by(|a, b| sum(a).total_cmp(&sum(b)).then(a.cmp(b))).expect("both parts have leaves");
        let mut order = Vec::with_capacity(self.n);
        // Clusters still to be written, each with its first and its last leaf.
        let mut open = vec![(root, first, last)];
        while let Some((cluster, first, last)) = open.pop() {
            let Some((left, right)) = self.dendrogram.children(cluster) else {
                order.push(first);
                continue;
            };
            let (a, b) = if self.leaves_of(left).contains(&first) { (left, right) } else { (right, left) };
            let n = self.n;
            let steps =
                self.ends(a, first).iter().flat_map(|&end| self.ends(b, last).iter().map(move |&next| (end, next)));
            let sum = |&(end, next): &(u32, u32)| {
                self.least[first as usize * n + end as usize]
                    + self.distance[end as usize * n + next as usize]
                    + self.least[next as usize * n + last as usize]
            };
            let (end, next) =
                steps.min_by(|x, y| sum(x).total_cmp(&sum(y)).then(x.cmp(y))).expect("both parts have leaves");
            open.extend([(b, next, last), (a, first, end)]);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::linkage::{distances, ward};
    use crate::cluster::points::Points;
    use crate::statistics::random::Random;

    fn length(points: Points, order: &[u32]) -> f64 {
        order.windows(2).map(|pair| points.distance(pair[0] as usize, pair[1] as usize)).sum()
    }

    /// Every order that the hierarchy allows.
    fn orders(dendrogram: &Dendrogram, cluster: u32) -> Vec<Vec<u32>> {
        let Some((left, right)) = dendrogram.children(cluster) else { return vec![vec![cluster]] };
        let (lefts, rights) = (orders(dendrogram, left), orders(dendrogram, right));
        let both = |a: &[u32], b: &[u32]| [a, b].concat();
        lefts.iter().flat_map(|a| rights.iter().flat_map(|b| [both(a, b), both(b, a)])).collect()
    }

    #[test]
    fn no_order_of_the_hierarchy_is_shorter() {
        for seed in 0..30 {
            let mut random = Random::new(seed);
            let n_rows = 1 + random.below(9);
            let rows: Vec<f32> = (0..n_rows * 3).map(|_| random.normal() as f32).collect();
            let points = Points::new(&rows, 3).unwrap();
            let dendrogram = ward(points).unwrap();
            let all = orders(&dendrogram, dendrogram.root());
            let shortest = all.iter().map(|order| length(points, order)).fold(f64::INFINITY, f64::min);
            let values = distances(points);
            let order = optimal(&dendrogram, Distances::new(&values, n_rows)).unwrap();
            assert!(all.contains(&order), "an order that the hierarchy allows");
            assert!((length(points, &order) - shortest).abs() < 1e-9, "{} {shortest}", length(points, &order));
            assert!(order[0] <= order[n_rows - 1]);
        }
    }

    #[test]
    fn rows_on_a_line_are_put_in_line() {
        let rows = [5.0, 1.0, 4.0, 2.0, 3.0, 0.0];
        let points = Points::new(&rows, 1).unwrap();
        let values = distances(points);
        let order = optimal(&ward(points).unwrap(), Distances::new(&values, 6)).unwrap();
        assert_eq!(order, [0, 2, 4, 3, 1, 5]);
    }

    #[test]
    fn another_dendrogram_and_too_many_rows_are_refused() {
        let other = ward(Points::new(&[0.0, 1.0, 2.0], 1).unwrap()).unwrap();
        let error = optimal(&other, Distances::new(&[1.0], 2)).unwrap_err();
        assert!(error.to_string().contains("one of 2 rows"));
        let n_rows = MAX_ROWS + 1;
        let many = vec![0.0; n_rows * (n_rows - 1) / 2];
        let refused = optimal(&other, Distances::new(&many, n_rows));
        assert!(matches!(refused, Err(ClusterError::TooManyRows { .. })));
    }
}
