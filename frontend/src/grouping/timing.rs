//! The clustering kernels on the clock, in WebAssembly: what `cargo xtask bench cluster` compares with scipy and scikit-learn.

use js_sys::Uint8Array;
use whence_shared::cluster::kmeans;
use whence_shared::cluster::linkage::ward;
use whence_shared::cluster::points::Points;

use super::calls::{Method, Timed};
use crate::fetch::{File, Transfer};
use crate::ranker::now_ms;

/// Milliseconds of every repetition, and the result of the last: heights of merges, or labels.
///
/// # Errors
///
/// In words: rows that do not arrive, or cannot be clustered so.
pub async fn time(timed: &Timed) -> Result<(Vec<f64>, Vec<f64>), String> {
    let file = File::new(&timed.data, &timed.path);
    let bytes: Uint8Array = file.bytes(&Transfer::default()).await.map_err(|error| error.to_string())?;
    let rows: Vec<f32> = bytes.to_vec().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let points = Points::new(&rows, timed.width).map_err(|error| error.to_string())?;
    if let Method::Kmeans { k, .. } = timed.method
        && !(1..=points.n_rows()).contains(&k)
    {
        return Err(format!("expected 1 to {} clusters, got {k}", points.n_rows()));
    }
    let (mut times_ms, mut result) = (Vec::new(), Vec::new());
    for _ in 0..timed.n_repeats {
        let start_ms = now_ms();
        result = match timed.method {
            Method::Ward => {
                let dendrogram = ward(points).map_err(|error| error.to_string())?;
                dendrogram.merges.iter().map(|merge| merge.height).collect()
            }
            Method::Kmeans { k, n_iterations } => {
                let found = kmeans::from_centres(points, rows[..k * timed.width].to_vec(), n_iterations);
                found.labels.iter().map(|&label| f64::from(label)).collect()
            }
        };
        times_ms.push(now_ms() - start_ms);
    }
    Ok((times_ms, result))
}
