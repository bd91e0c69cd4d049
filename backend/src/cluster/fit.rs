//! Finding the clusters: centres by k-means, or labels by HDBSCAN, from the rows that are held in memory.

use rayon::prelude::*;
use whence_shared::cluster::kmeans::{self, Sums};
use whence_shared::cluster::neighbors::{self, Neighbors};
use whence_shared::cluster::points::{ClusterError, Points};
use whence_shared::cluster::{hdbscan, hdbscan_graph};
use whence_shared::clustering::{self, NOISE};

use super::rows::{UnitRows, has_direction};
use super::{ClusterPairsError, Method};
use crate::index::rotation::spread;

/// Most values of rows that are held: 1 GiB in f32, 65,536 rows of 4096.
pub const MAX_HELD_VALUES: usize = 1 << 28;
/// Most rows that HDBSCAN takes over a graph of neighbours, which costs n² · width products.
pub const MAX_GRAPH_ROWS: usize = 100_000;
/// Up to so many values k-means goes over all rows in every iteration; beyond, over small batches.
const MAX_WHOLE_VALUES: usize = 1 << 26;
const N_STARTS: usize = 4;
const MAX_ITERATIONS: usize = 100;
const BATCH: usize = 4096;
const N_BATCHES: usize = 100;
/// Fewest neighbours of a row in HDBSCAN's graph; twice `min_samples` where that is more.
const N_NEIGHBORS: usize = 30;
/// Rows whose neighbours one task looks for.
const ROWS_PER_TASK: usize = 512;

/// Rows that are held: those of a sample that have a direction.
pub struct Held {
    /// Row of the study of each, ascending.
    pub rows: Vec<usize>,
    /// Row-major `[rows.len(), d_model]`, of unit length.
    pub values: Vec<f32>,
    /// Rows of the sample without a direction.
    pub without_direction: Vec<usize>,
}

impl Held {
    /// Reads `n` rows spread over the study, or all.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or none has a direction.
    pub fn read(vectors: &UnitRows, n: usize, seed: u64) -> Result<Self, ClusterPairsError> {
        let d_model = vectors.d_model();
        let all = spread(vectors.n_rows(), n, seed);
        let mut values = vectors.some(&all)?;
        let (mut rows, mut without_direction) = (Vec::with_capacity(all.len()), Vec::new());
        for (i, row) in all.into_iter().enumerate() {
            if has_direction(&values[i * d_model..(i + 1) * d_model]) {
                values.copy_within(i * d_model..(i + 1) * d_model, rows.len() * d_model);
                rows.push(row);
            } else {
                without_direction.push(row);
            }
        }
        values.truncate(rows.len() * d_model);
        match rows.is_empty() {
            true => Err(ClusterPairsError::NoDirection { layer: vectors.files().view().layer }),
            false => Ok(Self { rows, values, without_direction }),
        }
    }
}

/// How many rows are clustered: those asked for, or as many as the method and memory take.
///
/// # Errors
///
/// When more are asked for, or HDBSCAN, which has no other way, would have to take more.
pub fn n_to_fit(vectors: &UnitRows, method: Method, asked: Option<usize>) -> Result<usize, ClusterPairsError> {
    let held = MAX_HELD_VALUES / vectors.d_model();
    let (limit, default) = match method {
        Method::Kmeans { .. } => (held, vectors.n_rows().min(held)),
        Method::Hdbscan { .. } => (held.min(MAX_GRAPH_ROWS), vectors.n_rows()),
    };
    let n = asked.unwrap_or(default).min(vectors.n_rows());
    match n <= limit {
        true => Ok(n),
        false => Err(ClusterPairsError::TooMany { limit, got: n }),
    }
}

/// Centres of unit length, `[k, d_model]`, and how they were found.
///
/// # Errors
///
/// When there are fewer rows than clusters asked for.
pub fn centres(
    held: &Held,
    d_model: usize,
    k: usize,
    seed: u64,
) -> Result<(Vec<f32>, clustering::Method), ClusterError> {
    let points = Points::new(&held.values, d_model)?;
    let in_batches = held.values.len() > MAX_WHOLE_VALUES;
    let settings = kmeans::Settings { k, seed, n_starts: N_STARTS, max_iterations: MAX_ITERATIONS };
    let found = match in_batches {
        false => kmeans::spherical(points, settings)?,
        true => kmeans::in_batches(points, settings, BATCH, N_BATCHES)?,
    };
    Ok((found.centres, clustering::Method::Kmeans { k, n_starts: N_STARTS, in_batches }))
}

/// Labels of the held rows as HDBSCAN gives them, strengths, and whether a graph stood for all distances.
///
/// # Errors
///
/// When a setting is not possible.
pub fn hdbscan(
    held: &Held,
    d_model: usize,
    settings: hdbscan::Settings,
) -> Result<(hdbscan::Clustering, Option<usize>), ClusterError> {
    let points = Points::new(&held.values, d_model)?;
    if points.n_rows() <= hdbscan::MAX_ROWS {
        return Ok((hdbscan::hdbscan(points, settings)?, None));
    }
    let k = N_NEIGHBORS.max(2 * settings.min_samples).min(points.n_rows() - 1);
    let found = hdbscan_graph::hdbscan(points, &neighbors(points, k)?, settings)?;
    Ok((found, Some(k)))
}

/// The `k` nearest other rows of every row, on several threads.
///
/// # Errors
///
/// When there are not more than `k` rows.
pub fn neighbors(points: Points, k: usize) -> Result<Neighbors, ClusterError> {
    let firsts: Vec<usize> = (0..points.n_rows()).step_by(ROWS_PER_TASK).collect();
    let part = |&first: &usize| neighbors::of_rows(points, first..(first + ROWS_PER_TASK).min(points.n_rows()), k);
    let parts = firsts.par_iter().map(part).collect::<Result<Vec<Neighbors>, ClusterError>>()?;
    Ok(Neighbors::concat(parts).expect("at least one row"))
}

/// The means of the rows of every cluster at unit length, `[n_clusters, d_model]`.
pub fn means(held: &Held, d_model: usize, labels: &[i32], n_clusters: usize) -> Vec<f32> {
    let mut sums = Sums::new(n_clusters, d_model);
    for (row, &label) in held.values.chunks_exact(d_model).zip(labels) {
        if label > NOISE {
            sums.add(Points::new(row, d_model).expect("rows are finite"), &[label as u32]);
        }
    }
    sums.centres(&vec![0.0; n_clusters * d_model])
}
