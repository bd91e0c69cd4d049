//! [HDBSCAN](super::hdbscan) over a graph of nearest neighbours, for more rows than it takes exactly.
//!
//! The minimum spanning tree of all mutual reachability distances is replaced by that of some of them: those of every row to
//! its nearest neighbours, and, so that the graph hangs together, those of a spanning tree of rows from each of its parts.
//! Core distances are exact. What follows is the same. With all other rows as neighbours it is HDBSCAN.

use super::hdbscan::{Clustering, Edge, Settings, check, of_tree, root, spanning_tree};
use super::neighbors::Neighbors;
use super::points::{ClusterError, Points};

/// Rows that connect the parts of the graph, all parts together; at least one of each.
const N_BRIDGING: usize = 4000;

/// Clusters rows by Euclidean distance, given the nearest other rows of every row.
///
/// # Errors
///
/// When settings are not possible, or `min_samples` asks for more neighbours than there are.
///
/// # Panics
///
/// Panics when the neighbours are those of other rows.
pub fn hdbscan(points: Points, neighbors: &Neighbors, settings: Settings) -> Result<Clustering, ClusterError> {
    let n_rows = points.n_rows();
    assert_eq!(n_rows, neighbors.n_rows(), "neighbours of every row");
    check(settings, n_rows)?;
    if settings.min_samples > neighbors.k + 1 {
        return Err(ClusterError::Parameter {
            what: "min_samples",
            expected: format!("at most {}, the row itself and its neighbours", neighbors.k + 1),
            got: settings.min_samples.to_string(),
        });
    }
    let core: Vec<f64> = match settings.min_samples {
        1 => vec![0.0; n_rows],
        n => (0..n_rows).map(|row| neighbors.of(row).1[n - 2]).collect(),
    };
    let mut edges = Vec::with_capacity(n_rows * neighbors.k);
    for row in 0..n_rows {
        let (others, distances) = neighbors.of(row);
        for (&other, &distance) in others.iter().zip(distances) {
            let other = other as usize;
            edges.push(Edge { ends: (row, other), length: distance.max(core[row]).max(core[other]) });
        }
    }
    let edges = shortest(n_rows, edges);
    let bridges = bridges(points, &core, &edges);
    Ok(of_tree(n_rows, shortest(n_rows, [edges, bridges].concat()), settings))
}

/// Kruskal's algorithm: a minimum spanning tree of every part of a graph. Of equally long edges the first is taken.
fn shortest(n_rows: usize, mut edges: Vec<Edge>) -> Vec<Edge> {
    edges.sort_by(|a, b| a.length.total_cmp(&b.length));
    let mut parent: Vec<usize> = (0..n_rows).collect();
    edges.retain(|edge| {
        let (a, b) = (root(edge.ends.0, &mut parent), root(edge.ends.1, &mut parent));
        parent[a.max(b)] = a.min(b);
        a != b
    });
    edges
}

/// Edges that connect the parts of a graph: the spanning tree of some rows of each; none when it hangs together.
fn bridges(points: Points, core: &[f64], edges: &[Edge]) -> Vec<Edge> {
    let n_rows = points.n_rows();
    let mut parent: Vec<usize> = (0..n_rows).collect();
    for edge in edges {
        let (a, b) = (root(edge.ends.0, &mut parent), root(edge.ends.1, &mut parent));
        parent[a.max(b)] = a.min(b);
    }
    let mut parts: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
    (0..n_rows).for_each(|row| parts.entry(root(row, &mut parent)).or_default().push(row));
    if parts.len() == 1 {
        return Vec::new();
    }
    let per_part = (N_BRIDGING / parts.len()).max(1);
    let some = |part: &Vec<usize>| {
        let n = per_part.min(part.len());
        (0..n).map(|i| part[i * part.len() / n]).collect::<Vec<usize>>()
    };
    let rows: Vec<usize> = parts.values().flat_map(some).collect();
    let values: Vec<f32> = rows.iter().flat_map(|&row| points.row(row).iter().copied()).collect();
    let core: Vec<f64> = rows.iter().map(|&row| core[row]).collect();
    let tree = spanning_tree(Points { values: &values, width: points.width() }, &core);
    tree.into_iter().map(|edge| Edge { ends: (rows[edge.ends.0], rows[edge.ends.1]), ..edge }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::hdbscan;
    use crate::cluster::neighbors;
    use crate::cluster::partition::adjusted_rand;
    use crate::statistics::random::Random;

    /// Four blobs of 60 rows far apart, and 20 rows anywhere.
    fn rows() -> Vec<f32> {
        let mut random = Random::new(7);
        let mut rows = Vec::new();
        for centre in [[0.0, 0.0], [9.0, 1.0], [-7.0, 8.0], [3.0, -9.0]] {
            for _ in 0..60 {
                rows.extend(centre.map(|x: f64| (x + 0.5 * random.normal()) as f32));
            }
        }
        rows.extend((0..40).map(|_| (random.uniform() * 40.0 - 20.0) as f32));
        rows
    }

    const SETTINGS: Settings = Settings { min_cluster_size: 10, min_samples: 5 };

    #[test]
    fn with_all_rows_as_neighbours_it_is_hdbscan_and_with_few_nearly_so() {
        let rows = rows();
        let points = Points::new(&rows, 2).unwrap();
        let exact = hdbscan::hdbscan(points, SETTINGS).unwrap();
        let all = neighbors::of_rows(points, 0..260, 259).unwrap();
        let whole = hdbscan(points, &all, SETTINGS).unwrap();
        assert_eq!(whole.labels, exact.labels);
        assert!(whole.strengths.iter().zip(&exact.strengths).all(|(a, b)| (a - b).abs() < 1e-9));
        // With 8 neighbours the blobs are parts of the graph without a connection.
        let few = neighbors::of_rows(points, 0..260, 8).unwrap();
        let found = hdbscan(points, &few, SETTINGS).unwrap();
        assert_eq!(found.stabilities.len(), 4);
        assert!(adjusted_rand(&found.labels, &exact.labels) > 0.97);
    }

    #[test]
    fn equal_rows_and_wrong_settings_are_defined() {
        let rows = [0.6, 0.8].repeat(50);
        let points = Points::new(&rows, 2).unwrap();
        let near = neighbors::of_rows(points, 0..50, 6).unwrap();
        let found = hdbscan(points, &near, SETTINGS).unwrap();
        assert!(found.labels.iter().all(|&label| label == -1), "rows that are all equal are no group among others");
        let error = hdbscan(points, &near, Settings { min_samples: 8, ..SETTINGS }).unwrap_err();
        assert!(error.to_string().contains("at most 7"), "{error}");
        assert!(hdbscan(points, &near, Settings { min_cluster_size: 1, ..SETTINGS }).is_err());
    }
}
