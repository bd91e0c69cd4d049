//! Whether clusters come back: the method applied again to samples of the pairs that clusters were found in. Part of
//! [`super::cluster`], between the labels and what is written of them.

use rayon::prelude::*;
use whence_shared::cluster::hdbscan;
use whence_shared::cluster::kmeans;
use whence_shared::cluster::members::{best_jaccards, mean_jaccards};
use whence_shared::cluster::points::{ClusterError, Points};
use whence_shared::cluster::stability::sample_of;
use whence_shared::clustering::NOISE;
use whence_shared::statistics::random::Random;

use super::Method;
use super::fit::Held;

/// Samples that are clustered.
const N_SAMPLES: u64 = 8;
/// Share of the rows in a sample.
const SHARE: f64 = 0.8;
/// Most rows of a sample: k-means takes their number times k, HDBSCAN its square. For k-means [`ROWS_PER_CLUSTER`] where these are
/// more.
const MAX_ROWS: usize = 4096;
const ROWS_PER_CLUSTER: usize = 32;
/// Least share of the rows that HDBSCAN is applied to again: in fewer, what is dense is another matter.
const LEAST_SHARE: f64 = 0.5;
const MAX_ITERATIONS: usize = 30;

/// How surely each cluster comes back, `[n_clusters]` in [0, 1]; `labels` are of all pairs of the study. None where samples would
/// be too small a part of the rows to tell.
///
/// # Errors
///
/// Never, where the rows were clustered so before.
pub fn jaccards(
    held: &Held,
    d_model: usize,
    labels: &[i32],
    n_clusters: usize,
    method: Method,
    seed: u64,
) -> Result<Option<Vec<f64>>, ClusterError> {
    let n_held = held.rows.len();
    let most = match method {
        Method::Kmeans { k } => MAX_ROWS.max(ROWS_PER_CLUSTER * k),
        Method::Hdbscan(_) => MAX_ROWS,
    };
    // No fewer rows than the method needs.
    let least = match method {
        Method::Kmeans { k } => k,
        Method::Hdbscan(_) => 2,
    };
    let size = ((n_held as f64 * SHARE).round() as usize).min(most).max(least).min(n_held);
    if matches!(method, Method::Hdbscan(_)) && (size as f64) < LEAST_SHARE * n_held as f64 {
        return Ok(None);
    }
    let of_sample = |number: u64| -> Result<Vec<Option<f64>>, ClusterError> {
        let seed = seed.wrapping_add(number + 1);
        let rows = sample_of(n_held, size, &mut Random::new(seed));
        let values: Vec<f32> =
            rows.iter().flat_map(|row| &held.values[row * d_model..(row + 1) * d_model]).copied().collect();
        let found = again(Points::new(&values, d_model)?, method, size as f64 / n_held as f64, seed)?;
        let own = rows.iter().map(|row| cluster_of(labels[held.rows[*row]]));
        Ok(best_jaccards(own.zip(found.into_iter().map(cluster_of)), n_clusters))
    };
    let samples = (0..N_SAMPLES).into_par_iter().map(of_sample).collect::<Result<Vec<_>, ClusterError>>()?;
    Ok(Some(mean_jaccards(&samples, n_clusters)))
}

/// Labels of a sample by the same method; what counts rows is less by the sample's share.
fn again(points: Points, method: Method, share: f64, seed: u64) -> Result<Vec<i32>, ClusterError> {
    match method {
        Method::Kmeans { k } => {
            let settings = kmeans::Settings { k, seed, n_starts: 1, max_iterations: MAX_ITERATIONS };
            Ok(kmeans::spherical(points, settings)?.labels.into_iter().map(|label| label as i32).collect())
        }
        Method::Hdbscan(settings) => {
            let part = |n: usize, least: usize| ((n as f64 * share).round() as usize).max(least);
            let settings = hdbscan::Settings {
                min_cluster_size: part(settings.min_cluster_size, 2),
                min_samples: part(settings.min_samples, 1).min(points.n_rows()),
            };
            Ok(hdbscan::hdbscan(points, settings)?.labels)
        }
    }
}

fn cluster_of(label: i32) -> Option<u32> {
    (label > NOISE).then_some(label as u32)
}
