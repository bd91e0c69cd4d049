//! How far a map can be trusted: whether points beside each other stand for rows beside each other.
//!
//! T(k) = 1 − 2 / (n·k·(2n − 3k − 1)) · Σᵢ Σ_{j among the k nearest points of i, not among its k nearest rows} (r(i, j) − k), with
//! r(i, j) the rank of row j among the nearest rows of row i (Venna & Kaski, *Neighborhood preservation in nonlinear projection
//! methods*, 2001). 1: no point has a false neighbour. A map at random has about 0.5.

use super::neighbors;
use super::points::{ClusterError, Points, distances_to};

/// Trustworthiness of a map `[n_rows, 2]` of rows, in [0, 1]. It looks at all distances: for a few thousand rows.
///
/// # Errors
///
/// When `k` is 0 or not less than half of the rows, for which it is not defined.
///
/// # Panics
///
/// Panics when the map is of other rows.
pub fn trustworthiness(rows: Points, map: Points, k: usize) -> Result<f64, ClusterError> {
    let n_rows = rows.n_rows();
    assert_eq!(n_rows, map.n_rows(), "a map of these rows");
    if k == 0 || 2 * k >= n_rows {
        return Err(ClusterError::Parameter {
            what: "neighbors",
            expected: format!("at least 1 and less than half of {n_rows} rows"),
            got: k.to_string(),
        });
    }
    let near = neighbors::of_rows(map, 0..n_rows, k)?;
    let mut distances = vec![0.0; n_rows];
    let mut penalty = 0.0;
    for row in 0..n_rows {
        distances_to(rows.row(row), rows, 0..n_rows, &mut distances);
        for &other in near.of(row).0 {
            let own = distances[other as usize];
            // Of equally near rows the first come first, the row itself before all.
            let rank = (0..n_rows)
                .filter(|&i| i != row && (distances[i] < own || (distances[i] == own && i < other as usize)))
                .count()
                + 1;
            penalty += rank.saturating_sub(k) as f64;
        }
    }
    let (n, k) = (n_rows as f64, k as f64);
    Ok(1.0 - 2.0 * penalty / (n * k * (2.0 * n - 3.0 * k - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_keeps_neighbours_is_trusted_and_one_that_does_not_is_not() {
        let rows: Vec<f32> = (0..40).map(|i| (i * i * i) as f32).collect();
        let rows = Points::new(&rows, 1).unwrap();
        let line: Vec<f32> = (0..40).flat_map(|i| [(i * i * i) as f32, 0.0]).collect();
        assert_eq!(trustworthiness(rows, Points::new(&line, 2).unwrap(), 5).unwrap(), 1.0);
        // sklearn.manifold.trustworthiness of this map, scikit-learn 1.9.1.
        let folded: Vec<f32> = (0..40)
            .flat_map(|i| {
                let x = i as f32;
                [(i * 7 % 40) as f32 + x * x / 1024.0, (i % 3) as f32 * 0.25 + x / 128.0]
            })
            .collect();
        let found = trustworthiness(rows, Points::new(&folded, 2).unwrap(), 5).unwrap();
        assert!((found - FOLDED).abs() < 1e-6, "{found}");
        for k in [0, 20] {
            assert!(trustworthiness(rows, rows, k).unwrap_err().to_string().contains("less than half of 40"));
        }
    }

    const FOLDED: f64 = 0.464_375;
}
