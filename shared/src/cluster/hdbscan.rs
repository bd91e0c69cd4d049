//! HDBSCAN: clusters of any shape, of rows that lie denser than what is around them; the rest is noise.
//!
//! Campello, Moulavi & Sander, *Density-based clustering based on hierarchical density estimates* (2013), with the selection
//! by excess of mass of McInnes & Healy (2017). Step by step: core distances; the minimum spanning tree of mutual
//! reachability distances; its hierarchy of single linkage; the condensed tree of clusters with at least a given number of
//! rows; of these, the most stable that do not contain each other.
//!
//! Parameters mean what they mean in scikit-learn's `HDBSCAN`. All rows are never one cluster: a set without structure is
//! noise as a whole.

use super::points::{ClusterError, Points, check_at_most, distances_to};

/// The most rows: all distances are computed (though not kept), n²/2 of them. Beyond, see [`super::hdbscan_graph`].
pub const MAX_ROWS: usize = 20_000;

/// How to cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The fewest rows that are a cluster, ≥ 2.
    pub min_cluster_size: usize,
    /// Rows within the core distance of a row, itself included, ≥ 1: more of them make more rows noise.
    pub min_samples: usize,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// The cluster of every row from 0, numbered by their first rows; −1 is noise.
    pub labels: Vec<i32>,
    /// How firmly a row belongs to its cluster, 0 to 1: λ at which it leaves over that of the last. 0 of noise.
    pub strengths: Vec<f64>,
    /// Per cluster, its excess of mass Σ (λ at which a row leaves − λ at which the cluster appears), λ = 1 / distance.
    /// Infinite where equal rows lie at a distance of 0.
    pub stabilities: Vec<f64>,
}

/// Clusters rows by Euclidean distance.
///
/// # Errors
///
/// When there are more than [`MAX_ROWS`], or settings that the rows do not allow.
pub fn hdbscan(points: Points, settings: Settings) -> Result<Clustering, ClusterError> {
    let n_rows = points.n_rows();
    check_at_most("HDBSCAN", MAX_ROWS, n_rows)?;
    check(settings, n_rows)?;
    Ok(of_tree(n_rows, spanning_tree(points, &core_distances(points, settings.min_samples)), settings))
}

pub(super) fn check(settings: Settings, n_rows: usize) -> Result<(), ClusterError> {
    if settings.min_cluster_size < 2 {
        return Err(parameter("min_cluster_size", "at least 2".to_owned(), settings.min_cluster_size));
    }
    if !(1..=n_rows).contains(&settings.min_samples) {
        return Err(parameter("min_samples", format!("1 to {n_rows}, the number of rows"), settings.min_samples));
    }
    Ok(())
}

/// What follows from a minimum spanning tree.
pub(super) fn of_tree(n_rows: usize, mut edges: Vec<Edge>, settings: Settings) -> Clustering {
    edges.sort_by(|a, b| a.length.total_cmp(&b.length));
    let condensed = condense(n_rows, &single_linkage(n_rows, &edges), settings.min_cluster_size);
    let stability = condensed.stabilities();
    condensed.label(&condensed.select(&stability), &stability)
}

fn parameter(what: &'static str, expected: String, got: usize) -> ClusterError {
    ClusterError::Parameter { what, expected, got: got.to_string() }
}

/// The distance to the row's neighbour of number `min_samples`, where the row itself is the first.
fn core_distances(points: Points, min_samples: usize) -> Vec<f64> {
    let mut distances = vec![0.0; points.n_rows()];
    let core_distance = |row| {
        distances_to(points.row(row), points, 0..points.n_rows(), &mut distances);
        *distances.select_nth_unstable_by(min_samples - 1, f64::total_cmp).1
    };
    (0..points.n_rows()).map(core_distance).collect()
}

/// A line of the spanning tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub ends: (usize, usize),
    pub length: f64,
}

/// The minimum spanning tree of mutual reachability distances max(core(a), core(b), d(a, b)) by Prim's algorithm: quadratic
/// in time, linear in memory. Of equally near rows the first is taken.
pub(super) fn spanning_tree(points: Points, core: &[f64]) -> Vec<Edge> {
    let n_rows = points.n_rows();
    let mut nearest = vec![(f64::INFINITY, 0); n_rows];
    let mut outside: Vec<usize> = (1..n_rows).collect();
    let mut edges = Vec::with_capacity(n_rows - 1);
    let mut current = 0;
    let mut distances = vec![0.0; n_rows];
    while !outside.is_empty() {
        distances_to(points.row(current), points, outside.iter().copied(), &mut distances);
        let mut best = 0;
        for (place, &row) in outside.iter().enumerate() {
            let reach = distances[place].max(core[current]).max(core[row]);
            if reach < nearest[row].0 {
                nearest[row] = (reach, current);
            }
            if nearest[row].0 < nearest[outside[best]].0 {
                best = place;
            }
        }
        // `remove`, not `swap_remove`: rows stay in order, so that the first of equals is the same everywhere.
        current = outside.remove(best);
        edges.push(Edge { ends: (nearest[current].1, current), length: nearest[current].0 });
    }
    edges
}

/// A merge of single linkage; clusters are numbered as in [`super::linkage::Merge`].
#[derive(Debug, Clone, Copy)]
struct Merge {
    parts: (usize, usize),
    length: f64,
    size: usize,
}

/// Union–find: every cluster points to the one it has become part of; the last of them, which points to itself.
pub(super) fn root(mut cluster: usize, parent: &mut [usize]) -> usize {
    while parent[cluster] != cluster {
        parent[cluster] = parent[parent[cluster]];
        cluster = parent[cluster];
    }
    cluster
}

fn single_linkage(n_rows: usize, edges: &[Edge]) -> Vec<Merge> {
    let mut parent: Vec<usize> = (0..n_rows + edges.len()).collect();
    let mut size = vec![1; n_rows + edges.len()];
    let mut merges = Vec::with_capacity(edges.len());
    for (i, edge) in edges.iter().enumerate() {
        let parts = (root(edge.ends.0, &mut parent), root(edge.ends.1, &mut parent));
        let merged = n_rows + i;
        (parent[parts.0], parent[parts.1]) = (merged, merged);
        size[merged] = size[parts.0] + size[parts.1];
        merges.push(Merge { parts, length: edge.length, size: size[merged] });
    }
    merges
}

/// A cluster of the condensed tree.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The cluster that it split from; the first is its own.
    parent: usize,
    /// λ at which it appears.
    birth: f64,
    /// Rows that it has when it appears.
    size: usize,
}

/// The hierarchy without splits that leave fewer rows than a cluster has: those rows fall out of the cluster.
struct Condensed {
    /// Parents before children.
    nodes: Vec<Node>,
    /// Per row, the last cluster it belongs to, and the λ at which it leaves.
    rows: Vec<(usize, f64)>,
}

fn condense(n_rows: usize, merges: &[Merge], min_cluster_size: usize) -> Condensed {
    let mut condensed =
        Condensed { nodes: vec![Node { parent: 0, birth: 0.0, size: n_rows }], rows: vec![(0, 0.0); n_rows] };
    if merges.is_empty() {
        return condensed;
    }
    let size = |cluster: usize| cluster.checked_sub(n_rows).map_or(1, |merge| merges[merge].size);
    // Merges still to be taken apart, each with the cluster of the condensed tree that it belongs to.
    let mut open = vec![(n_rows + merges.len() - 1, 0)];
    while let Some((cluster, node)) = open.pop() {
        let merge = merges[cluster - n_rows];
        let lambda = 1.0 / merge.length;
        let (left, right) = merge.parts;
        let both = size(left) >= min_cluster_size && size(right) >= min_cluster_size;
        for part in [left, right] {
            if both {
                condensed.nodes.push(Node { parent: node, birth: lambda, size: size(part) });
                open.push((part, condensed.nodes.len() - 1));
            } else if size(part) >= min_cluster_size {
                open.push((part, node));
            } else {
                fall_out(&mut condensed, merges, n_rows, part, (node, lambda));
            }
        }
    }
    condensed
}

fn fall_out(condensed: &mut Condensed, merges: &[Merge], n_rows: usize, part: usize, from: (usize, f64)) {
    let mut open = vec![part];
    while let Some(part) = open.pop() {
        match part.checked_sub(n_rows) {
            Some(merge) => open.extend([merges[merge].parts.0, merges[merge].parts.1]),
            None => condensed.rows[part] = from,
        }
    }
}

impl Condensed {
    /// Chooses by excess of mass, from the leaves up: a cluster instead of those inside it unless they have more together.
    /// Per node, the chosen cluster that it lies in or is.
    fn select(&self, stability: &[f64]) -> Vec<Option<usize>> {
        let mut within = vec![None; self.nodes.len()];
        let mut chosen = vec![false; self.nodes.len()];
        for (node, &Node { parent, .. }) in self.nodes.iter().enumerate().skip(1).rev() {
            let inside: Option<f64> = within[node];
            chosen[node] = inside.is_none_or(|inside| stability[node] >= inside);
            let best = if chosen[node] { stability[node] } else { inside.unwrap_or_default() };
            within[parent] = Some(within[parent].unwrap_or_default() + best);
        }
        let mut cluster: Vec<Option<usize>> = vec![None; self.nodes.len()];
        for (node, &Node { parent, .. }) in self.nodes.iter().enumerate().skip(1) {
            cluster[node] = cluster[parent].or(chosen[node].then_some(node));
        }
        cluster
    }

    fn label(&self, cluster: &[Option<usize>], stability: &[f64]) -> Clustering {
        let n_rows = self.rows.len();
        // λ at which the last rows leave a cluster: into its parts, when it splits.
        let mut densest = vec![0f64; self.nodes.len()];
        let into_parts = self.nodes[1..].iter().map(|node| (node.parent, node.birth));
        for (node, lambda) in self.rows.iter().copied().chain(into_parts) {
            densest[node] = densest[node].max(lambda);
        }
        let mut number = vec![-1; self.nodes.len()];
        let mut clustering =
            Clustering { labels: vec![-1; n_rows], strengths: vec![0.0; n_rows], stabilities: Vec::new() };
        for (row, &(node, lambda)) in self.rows.iter().enumerate() {
            let Some(own) = cluster[node] else { continue };
            if number[own] < 0 {
                number[own] = clustering.stabilities.len() as i32;
                clustering.stabilities.push(stability[own]);
            }
            clustering.labels[row] = number[own];
            clustering.strengths[row] = if lambda >= densest[own] { 1.0 } else { lambda / densest[own] };
        }
        clustering
    }

    /// Σ (λ at which a row leaves − λ at which the cluster appears), rows that go into a part leaving when it appears.
    fn stabilities(&self) -> Vec<f64> {
        let mut stability = vec![0.0; self.nodes.len()];
        // Equal rows never part: ∞ − ∞ counts as nothing.
        let excess = |lambda: f64, birth: f64| if lambda == birth { 0.0 } else { lambda - birth };
        for &(node, lambda) in &self.rows {
            stability[node] += excess(lambda, self.nodes[node].birth);
        }
        for node in &self.nodes[1..] {
            stability[node.parent] += node.size as f64 * excess(node.birth, self.nodes[node.parent].birth);
        }
        stability
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::partition::adjusted_rand;
    use crate::statistics::random::Random;

    /// Normal blobs of 40 rows around centres, and `n_noise` rows anywhere between −20 and 20.
    fn blobs(centres: &[[f32; 2]], n_noise: usize, seed: u64) -> (Vec<f32>, Vec<i32>) {
        let mut random = Random::new(seed);
        let (mut rows, mut truth) = (Vec::new(), Vec::new());
        for (i, centre) in centres.iter().enumerate() {
            for _ in 0..40 {
                rows.extend(centre.map(|x| x + 0.5 * random.normal() as f32));
                truth.push(i as i32);
            }
        }
        for _ in 0..n_noise {
            rows.extend([0; 2].map(|_| (random.uniform() * 40.0 - 20.0) as f32));
            truth.push(-1);
        }
        (rows, truth)
    }

    const SETTINGS: Settings = Settings { min_cluster_size: 10, min_samples: 5 };

    #[test]
    fn finds_blobs_and_leaves_noise_out() {
        let (rows, truth) = blobs(&[[0.0, 0.0], [9.0, 1.0], [-7.0, 8.0]], 8, 5);
        let found = hdbscan(Points::new(&rows, 2).unwrap(), SETTINGS).unwrap();
        assert_eq!(found.stabilities.len(), 3);
        assert!(adjusted_rand(&found.labels, &truth) > 0.9);
        assert!(found.labels.iter().zip(&found.strengths).all(|(label, strength)| (*label < 0) == (*strength == 0.0)));
        for label in 0..3 {
            let strengths =
                found.labels.iter().zip(&found.strengths).filter(|(own, _)| **own == label).map(|(_, s)| *s);
            assert_eq!(strengths.fold(0.0, f64::max), 1.0);
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter() {
        let (rows, _) = blobs(&[[0.0, 0.0], [6.0, 1.0]], 15, 8);
        let labels = hdbscan(Points::new(&rows, 2).unwrap(), SETTINGS).unwrap().labels;
        let mut order: Vec<usize> = (0..labels.len()).collect();
        Random::new(1).shuffle(&mut order);
        let shuffled: Vec<f32> = order.iter().flat_map(|&i| [rows[2 * i], rows[2 * i + 1]]).collect();
        let other = hdbscan(Points::new(&shuffled, 2).unwrap(), SETTINGS).unwrap().labels;
        let expected: Vec<i32> = order.iter().map(|&i| labels[i]).collect();
        assert_eq!(adjusted_rand(&other, &expected), 1.0);
    }

    #[test]
    fn what_has_no_structure_is_noise() {
        for rows in [vec![1.5; 60], vec![2.0], vec![0.0, 1.0, 2.0, 3.0]] {
            let settings = Settings { min_samples: 1, ..SETTINGS };
            let found = hdbscan(Points::new(&rows, 1).unwrap(), settings).unwrap();
            assert!(found.labels.iter().all(|&label| label == -1));
            assert!(found.stabilities.is_empty());
        }
    }

    #[test]
    fn two_heaps_of_equal_rows_are_two_clusters() {
        let rows: Vec<f32> = (0..40).map(|i| (i % 2) as f32).collect();
        let found = hdbscan(Points::new(&rows, 1).unwrap(), SETTINGS).unwrap();
        let expected: Vec<i32> = (0..40).map(|i| i % 2).collect();
        assert_eq!(found.labels, expected);
        assert!(found.strengths.iter().all(|&strength| strength == 1.0));
    }

    #[test]
    fn impossible_settings_are_named() {
        let points = Points::new(&[0.0, 1.0, 2.0], 1).unwrap();
        let error = |settings| hdbscan(points, settings).unwrap_err().to_string();
        assert!(error(Settings { min_samples: 4, ..SETTINGS }).contains("min_samples: expected 1 to 3"));
        assert!(error(Settings { min_samples: 0, ..SETTINGS }).contains("min_samples"));
        assert!(
            error(Settings { min_cluster_size: 1, ..SETTINGS })
                .contains("min_cluster_size: expected at least 2, got 1")
        );
    }
}
