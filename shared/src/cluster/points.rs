//! The rows that are clustered: a matrix of finite numbers, and distances between its rows.

use thiserror::Error;

use crate::dot::{dot, fold};
use crate::lanes::{WIDE_LANES, WideSums};

/// Rows that cannot be clustered, or not so.
#[derive(Debug, Error, PartialEq)]
pub enum ClusterError {
    /// Values that make no whole number of rows.
    #[error("expected rows of {width} values, got {n_values} values")]
    Shape {
        /// Values per row.
        width: usize,
        /// Values in all.
        n_values: usize,
    },
    /// A value that is no number.
    #[error("expected finite values, got {value} in row {row}, column {column}; leave the row out")]
    NotFinite {
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// The value.
        value: f32,
    },
    /// No rows at all.
    #[error("expected at least one row, got none")]
    Empty,
    /// More clusters than rows, or none.
    #[error("expected 1 to {n_rows} clusters, as many as there are rows, got {k}")]
    ClusterCount {
        /// Asked for.
        k: usize,
        /// There are.
        n_rows: usize,
    },
    /// A method whose memory grows with the square of the number of rows.
    #[error(
        "{method} holds all distances in memory and takes at most {limit} rows, got {n_rows}; cluster a sample, or use k-means"
    )]
    TooManyRows {
        /// The method.
        method: &'static str,
        /// Its limit.
        limit: usize,
        /// There are.
        n_rows: usize,
    },
    /// A number that a method cannot work with.
    #[error("{what}: expected {expected}, got {got}")]
    Parameter {
        /// Which.
        what: &'static str,
        /// What is possible.
        expected: String,
        /// What was given.
        got: String,
    },
}

/// A row-major matrix `[n_rows, width]` of finite numbers, at least one row of at least one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Points<'a> {
    pub(super) values: &'a [f32],
    pub(super) width: usize,
}

impl<'a> Points<'a> {
    /// Looks at every value.
    ///
    /// # Errors
    ///
    /// When there is no row, the values make no whole rows, or one is NaN or infinite.
    pub fn new(values: &'a [f32], width: usize) -> Result<Self, ClusterError> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(ClusterError::Shape { width, n_values: values.len() });
        }
        if values.is_empty() {
            return Err(ClusterError::Empty);
        }
        if let Some(i) = values.iter().position(|value| !value.is_finite()) {
            return Err(ClusterError::NotFinite { row: i / width, column: i % width, value: values[i] });
        }
        Ok(Self { values, width })
    }

    /// How many rows, at least 1.
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// Values per row, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `i`, `[width]`.
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.width..][..self.width]
    }

    /// All rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [f32]> + use<'a> {
        self.values.chunks_exact(self.width)
    }

    /// Euclidean distance of two rows, ≥ 0.
    pub fn distance(&self, a: usize, b: usize) -> f64 {
        distance(self.row(a), self.row(b))
    }

    /// Refuses a number of clusters that the rows cannot be cut into.
    pub(crate) fn check_k(&self, k: usize) -> Result<(), ClusterError> {
        match (1..=self.n_rows()).contains(&k) {
            true => Ok(()),
            false => Err(ClusterError::ClusterCount { k, n_rows: self.n_rows() }),
        }
    }
}

/// Refuses more rows than a method of quadratic memory takes.
pub(crate) fn check_at_most(method: &'static str, limit: usize, n_rows: usize) -> Result<(), ClusterError> {
    match n_rows <= limit {
        true => Ok(()),
        false => Err(ClusterError::TooManyRows { method, limit, n_rows }),
    }
}

/// Euclidean distances of `row` to `others` of the points, `out[i]` to the i-th of them, in f64, in a fixed order of summation.
pub(super) fn distances_to(row: &[f32], points: Points, others: impl Iterator<Item = usize>, out: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        /// What the compiler makes of the same code when it may use registers of 256 bits.
        #[target_feature(enable = "avx2")]
        fn wide(row: &[f32], points: Points, others: impl Iterator<Item = usize>, out: &mut [f64]) {
            one_by_one(row, points, others, out);
        }
        // SAFETY: the processor has AVX2.
        return unsafe { wide(row, points, others, out) };
    }
    one_by_one(row, points, others, out);
}

#[inline(always)]
fn one_by_one(row: &[f32], points: Points, others: impl Iterator<Item = usize>, out: &mut [f64]) {
    for (out, other) in out.iter_mut().zip(others) {
        *out = distance(row, points.row(other));
    }
}

/// Euclidean distance of two rows in f64, in a fixed order of summation.
#[inline(always)]
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = WideSums::default();
    let (a_chunks, a_rest) = a.as_chunks::<WIDE_LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<WIDE_LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        sums.add_squared_differences(a, b);
    }
    let mut sums = sums.to_array();
    for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        let difference = f64::from(*a) - f64::from(*b);
        *sum += difference * difference;
    }
    fold(sums).sqrt()
}

/// Divides every row by its norm; rows of norm zero stay zero. Row-major, `width` values per row.
pub fn to_unit_rows(values: &mut [f32], width: usize) {
    for row in values.chunks_exact_mut(width) {
        // Scaled first: the squares of tiny or huge numbers would vanish or overflow.
        let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        if largest == 0.0 {
            continue;
        }
        row.iter_mut().for_each(|value| *value /= largest);
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|value| *value /= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_matrix_of_numbers_is_refused() {
        assert_eq!(Points::new(&[], 3), Err(ClusterError::Empty));
        assert_eq!(Points::new(&[1.0; 7], 3), Err(ClusterError::Shape { width: 3, n_values: 7 }));
        assert_eq!(Points::new(&[1.0], 0), Err(ClusterError::Shape { width: 0, n_values: 1 }));
        let error = Points::new(&[1.0, 2.0, 3.0, f32::INFINITY], 2).unwrap_err();
        assert_eq!(error, ClusterError::NotFinite { row: 1, column: 1, value: f32::INFINITY });
        assert!(Points::new(&[0.0, f32::NAN], 2).unwrap_err().to_string().contains("row 0, column 1"));
    }

    #[test]
    fn distances_are_euclidean_at_every_width() {
        for width in 1..40 {
            let values: Vec<f32> = (0..2 * width).map(|i| (i as f32 * 0.7).sin()).collect();
            let points = Points::new(&values, width).unwrap();
            let square: f64 = (0..width).map(|i| (f64::from(values[i]) - f64::from(values[width + i])).powi(2)).sum();
            assert!((points.distance(0, 1) - square.sqrt()).abs() < 1e-12);
            assert_eq!(points.distance(1, 1), 0.0);
        }
    }

    #[test]
    fn unit_rows_have_norm_one_whatever_their_scale() {
        let mut values = [3.0, 4.0, 0.0, 0.0, 3e-30, -4e-30, 3e30, 4e30];
        to_unit_rows(&mut values, 2);
        let expected = [0.6, 0.8, 0.0, 0.0, 0.6, -0.8, 0.6, 0.8];
        assert!(values.iter().zip(expected).all(|(got, expected): (&f32, f32)| (got - expected).abs() < 1e-6));
    }
}
