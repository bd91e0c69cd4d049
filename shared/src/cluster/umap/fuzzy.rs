//! How near rows are to each other, from 0 to 1: a graph of nearest rows, each row measuring by its own scale.
//!
//! Row i is near row j by exp(−(d(i, j) − ρᵢ) / σᵢ), with ρᵢ the distance to the nearest row that is not equal, and σᵢ such that
//! these sum to log₂ k over its k nearest rows (algorithm 3 of the paper). Two rows are near each other by a + b − a·b, the
//! probabilistic or of both.

use crate::cluster::neighbors::Neighbors;

/// Steps of the search for a scale; halvings, so that the last is below rounding.
const N_STEPS: usize = 64;
/// How exactly a scale is found, in the sum that it makes.
const TOLERANCE: f64 = 1e-5;
/// A scale is at least this share of the mean distance to the neighbours.
const MIN_SCALE: f64 = 1e-3;

/// One direction of a line between two rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// From this row.
    pub head: u32,
    /// To this one.
    pub tail: u32,
    /// How near they are, in (0, 1].
    pub weight: f64,
}

/// How near every row's neighbours are to it, in [0, 1], `[n_rows, k]`.
pub fn memberships(neighbors: &Neighbors) -> Vec<f64> {
    let mean = |distances: &[f64]| distances.iter().sum::<f64>() / distances.len().max(1) as f64;
    let overall = mean(&neighbors.distances);
    let mut weights = Vec::with_capacity(neighbors.distances.len());
    for row in 0..neighbors.n_rows() {
        let (_, distances) = neighbors.of(row);
        let nearest = distances.iter().copied().find(|&distance| distance > 0.0).unwrap_or(0.0);
        let least = MIN_SCALE * if nearest > 0.0 { mean(distances) } else { overall };
        let scale = scale(distances, nearest).max(least);
        weights.extend(distances.iter().map(|distance| membership(distance - nearest, scale)));
    }
    weights
}

fn membership(beyond: f64, scale: f64) -> f64 {
    if beyond <= 0.0 || scale == 0.0 { 1.0 } else { libm::exp(-beyond / scale) }
}

/// The scale at which memberships sum to log₂(k + 1), where the row itself is the first of its nearest rows.
fn scale(distances: &[f64], nearest: f64) -> f64 {
    let target = libm::log2(distances.len() as f64 + 1.0);
    let (mut low, mut high, mut scale) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..N_STEPS {
        let sum: f64 = distances.iter().map(|distance| membership(distance - nearest, scale)).sum();
        if (sum - target).abs() < TOLERANCE {
            break;
        }
        if sum > target {
            high = scale;
            scale = f64::midpoint(low, high);
        } else {
            low = scale;
            scale = if high.is_infinite() { scale * 2.0 } else { f64::midpoint(low, high) };
        }
    }
    scale
}

/// The graph: both directions of every line, by head, then tail.
pub fn graph(neighbors: &Neighbors) -> Vec<Edge> {
    // Lines from the smaller to the larger row, with the weight that one of the two gives.
    let mut lines: Vec<(u32, u32, f64)> = memberships(neighbors)
        .into_iter()
        .enumerate()
        .map(|(i, weight)| {
            let (a, b) = ((i / neighbors.k) as u32, neighbors.rows[i]);
            (a.min(b), a.max(b), weight)
        })
        .filter(|line| line.2 > 0.0)
        .collect();
    lines.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
    let both = lines.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).flat_map(|line| {
        let weight = line.iter().fold(0.0, |sum, one| sum + one.2 - sum * one.2);
        let (head, tail, _) = line[0];
        [Edge { head, tail, weight }, Edge { head: tail, tail: head, weight }]
    });
    let mut edges: Vec<Edge> = both.collect();
    edges.sort_unstable_by_key(|edge| (edge.head, edge.tail));
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_sum_to_the_logarithm_and_the_nearest_is_as_near_as_can_be() {
        let neighbors = Neighbors { k: 7, rows: vec![0; 7], distances: vec![0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0] };
        let weights = memberships(&neighbors);
        assert_eq!(weights[0], 1.0);
        assert!((weights.iter().sum::<f64>() - 3.0).abs() < 1e-4, "log2 8: {weights:?}");
        assert!(weights.windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn lines_are_symmetric_and_join_both_weights() {
        let neighbors = Neighbors { k: 1, rows: vec![1, 2, 1], distances: vec![1.0, 0.5, 0.5] };
        let edges = graph(&neighbors);
        let ends: Vec<(u32, u32)> = edges.iter().map(|edge| (edge.head, edge.tail)).collect();
        assert_eq!(ends, [(0, 1), (1, 0), (1, 2), (2, 1)]);
        assert!(edges.iter().all(|edge| edge.weight == 1.0), "a single neighbour is as near as can be");
        let equal = Neighbors { k: 2, rows: vec![1, 2, 0, 2, 0, 1], distances: vec![0.0; 6] };
        assert!(graph(&equal).iter().all(|edge| edge.weight == 1.0));
    }
}
