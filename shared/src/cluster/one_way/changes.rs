//! The changes in a hierarchy of differences. Part of [`super`].
//!
//! A hierarchy is made of what is similar to the same pairs, and the noise of that splits one change into several clusters and
//! leaves rows of it among others. So clusters that are changes only say that there is something and which way it points: those
//! that point the same way are united, and each change takes the rows that point along it, wherever the hierarchy has put them.

use super::products::Products;
use super::{COSINE, Moved, ONE_CHANGE, OneWay};
use crate::cluster::linkage::Dendrogram;

/// Times that rows are given to changes and the changes' means are made again; seldom more than three make a difference.
const MAX_ROUNDS: usize = 10;

/// A change: rows that tuning moved one way.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its rows, ascending; two or more.
    pub rows: Vec<u32>,
    /// How rows point along its mean.
    pub way: OneWay,
}

/// The changes in a hierarchy of differences, with what is [known](Moved) of these and their [`chance`](super::chance): from its
/// largest clusters that are changes, of all cuts into up to `k_max`. In the order of their first rows.
///
/// A cluster that holds two changes has no direction of its own, and what lies within a change is not looked at further.
/// Changes whose means are within 53 degrees are one. Each takes the rows that are within 60 degrees of its mean, the nearest
/// where there are several, as often as this changes anything (spherical k-means with room for what belongs to none; Dhillon &
/// Modha, *Concept decompositions*, 2001). What then is no change any more is left out.
///
/// # Panics
///
/// Panics when products are of another number of rows.
pub fn changes(of: Moved, dendrogram: &Dendrogram, k_max: usize, chance: &[f32], alpha: f64) -> Vec<Change> {
    let products = Products::new(dendrogram.n_rows, of.products, Some(of.lengths));
    let clusters = clusters_that_are_changes(&products, dendrogram, k_max, chance, alpha);
    let sets = with_rows_along(&products, united(&products, clusters));
    let labels = labels(dendrogram.n_rows, &sets);
    let axes = products.axes(&labels, sets.len() + 1);
    let judged = sets.into_iter().zip(&axes[1..]).map(|(rows, axis)| Change { rows, way: axis.judge(chance, alpha) });
    judged.filter(|change| change.way.is_change).collect()
}

/// The rows of the hierarchy's largest clusters that are changes.
fn clusters_that_are_changes(
    products: &Products,
    dendrogram: &Dendrogram,
    k_max: usize,
    chance: &[f32],
    alpha: f64,
) -> Vec<Vec<u32>> {
    let n_rows = dendrogram.n_rows;
    // Cuts into up to k clusters undo the last k − 1 merges.
    let first_undone = (2 * n_rows).saturating_sub(k_max.min(n_rows)) as u32;
    let (mut open, mut found) = (vec![dendrogram.root()], Vec::new());
    while let Some(cluster) = open.pop() {
        let rows = dendrogram.rows_of(cluster);
        // Labels from 1, as 0 is what is in no set.
        let labels = labels(n_rows, std::slice::from_ref(&rows));
        let is_change = products.axes(&labels, 2)[1].judge(chance, alpha).is_change;
        if is_change && products.has_direction(dendrogram, cluster) {
            found.push(rows);
        } else if let Some((left, right)) = dendrogram.children(cluster).filter(|_| cluster >= first_undone) {
            open.extend([left, right]);
        }
    }
    found
}

/// Unites the two sets whose means are nearest, as long as they are of one change.
fn united(products: &Products, mut sets: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
    loop {
        let pairs = (0..sets.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
        let cosines = pairs.map(|(a, b)| (products.cosine_of_means(&sets[a], &sets[b]), a, b));
        match cosines.max_by(|one, other| one.0.total_cmp(&other.0)) {
            Some((cosine, a, b)) if cosine >= ONE_CHANGE => {
                let joined = sets.swap_remove(b);
                sets[a].extend(joined);
            }
            _ => return sets,
        }
    }
}

/// Gives every row to the set along whose mean it points most, if it does, until nothing changes. Sets of fewer than two rows
/// vanish. Rows of each ascending, sets in the order of their first.
fn with_rows_along(products: &Products, mut sets: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
    sets.iter_mut().for_each(|rows| rows.sort_unstable());
    sets.sort_unstable();
    for _ in 0..MAX_ROUNDS {
        let n_clusters = sets.len() + 1;
        let labels = labels(products.n_rows, &sets);
        let mut given = vec![Vec::new(); sets.len()];
        let sums = products.sums(&vec![1.0; products.n_rows], &labels, n_clusters);
        products.visit_cosines(&sums, &labels, n_clusters, |row, cosines| {
            // The first of equals.
            let nearest = cosines[1..].iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
            if let Some((set, _)) = nearest.filter(|(_, cosine)| **cosine >= COSINE) {
                given[set].push(row as u32);
            }
        });
        given.retain(|rows| rows.len() > 1);
        given.sort_unstable();
        if given == sets {
            break;
        }
        sets = given;
    }
    sets
}

/// 0 for rows in no set, 1 for those of the first, and so on.
fn labels(n_rows: usize, sets: &[Vec<u32>]) -> Vec<u32> {
    let mut labels = vec![0; n_rows];
    for (label, rows) in (1..).zip(sets) {
        rows.iter().for_each(|row| labels[*row as usize] = label);
    }
    labels
}
