//! Principal components of rows that need not be held: the directions along which centred rows vary most.
//!
//! Found by subspace iteration (Halko, Martinsson & Tropp, *Finding structure with randomness*, 2011, algorithm 4.4) on the covariance
//! of all rows, which is never formed: every iteration is a pass over the rows. It ends when the variances along the directions
//! stand still. The same rows give the same bits for any number of threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};
use whence_shared::statistics::random::Random;

use crate::cluster::rows::RowParts;
use crate::extract::VectorFileError;
use crate::progress::Report;

/// Directions iterated beyond those wanted, which makes the wanted ones converge.
const N_SPARE: usize = 10;
/// The most passes over the rows.
const MAX_PASSES: usize = 24;
/// Variances that change by less than this share stand still.
const TOLERANCE: f64 = 1e-9;
/// Below it, unit rows are equal up to rounding.
const NO_VARIANCE: f64 = 1e-12;
const SEED: u64 = 0x7063_6121;

/// The mean of rows and the directions of their largest variance.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    mean: Vec<f64>,
    /// Row-major `[n, width]`, orthonormal; fewer than asked for where the rows are not as wide or are all equal. The entry of the
    /// largest size is positive.
    directions: Vec<f64>,
    /// Shares of the variance along them, in [0, 1], largest first.
    pub explained: Vec<f64>,
}

impl Pca {
    /// The first `n` components of rows.
    ///
    /// # Errors
    ///
    /// When a vector file cannot be read.
    pub fn of(rows: &impl RowParts, n: usize, report: Report) -> Result<Self, VectorFileError> {
        let width = rows.width();
        let (mean, total) = mean_and_variance(rows, report)?;
        if total < NO_VARIANCE {
            return Ok(Self { mean, directions: Vec::new(), explained: Vec::new() });
        }
        let n = n.min(width);
        let m = (n + N_SPARE).min(width);
        let mut random = Random::new(SEED);
        let mut basis = Mat::from_fn(width, m, |_, _| random.normal()).qr().compute_thin_Q();
        let mut last = vec![0.0; n];
        for pass in 1.. {
            let product = covariance_times(rows, &mean, basis.as_ref(), report)?;
            let mut small = Mat::<f64>::zeros(m, m);
            matmul(small.as_mut(), Accum::Replace, basis.transpose(), product.as_ref(), 1.0, Par::Seq);
            let (variances, turn) = eigen(&small);
            let moved = (0..n).map(|i| (variances[i] - last[i]).abs() / total).fold(0.0, f64::max);
            last = variances[..n].to_vec();
            if m == width || moved < TOLERANCE || pass == MAX_PASSES {
                let mut turned = Mat::<f64>::zeros(width, m);
                matmul(turned.as_mut(), Accum::Replace, basis.as_ref(), turn.as_ref(), 1.0, Par::Seq);
                let directions = (0..n).flat_map(|i| signed((0..width).map(|j| turned[(j, i)]).collect())).collect();
                let explained = last.iter().map(|variance| (variance / total).clamp(0.0, 1.0)).collect();
                return Ok(Self { mean, directions, explained });
            }
            basis = product.qr().compute_thin_Q();
        }
        unreachable!("the last pass returns")
    }

    /// How many components there are.
    pub fn n(&self) -> usize {
        self.explained.len()
    }

    /// Coordinates of rows `[n_rows, width]` along the components, `[n_rows, n]`.
    pub fn project(&self, values: &[f32]) -> Vec<f64> {
        let (width, n) = (self.mean.len(), self.n());
        let mut coordinates = Vec::with_capacity(values.len() / width * n);
        for row in values.chunks_exact(width) {
            for direction in self.directions.chunks_exact(width) {
                let terms = row.iter().zip(&self.mean).zip(direction);
                coordinates.push(terms.map(|((x, mean), along)| (f64::from(*x) - mean) * along).sum());
            }
        }
        coordinates
    }

    /// Coordinates of rows along the first two components, 0 where there is none.
    pub fn plane(&self, values: &[f32]) -> Vec<[f64; 2]> {
        let n_rows = values.len() / self.mean.len();
        let coordinates = self.project(values);
        let at = |row: usize, axis: usize| if axis < self.n() { coordinates[row * self.n() + axis] } else { 0.0 };
        (0..n_rows).map(|row| [at(row, 0), at(row, 1)]).collect()
    }
}

fn signed(mut direction: Vec<f64>) -> Vec<f64> {
    let largest = direction.iter().copied().fold(0f64, |largest, x| if x.abs() > largest.abs() { x } else { largest });
    if largest < 0.0 {
        direction.iter_mut().for_each(|x| *x = -*x);
    }
    direction
}

/// The mean of the rows, and the sum of the variances of all columns.
fn mean_and_variance(rows: &impl RowParts, report: Report) -> Result<(Vec<f64>, f64), VectorFileError> {
    let width = rows.width();
    let work = |_: usize, values: &[f32]| {
        let (mut sums, mut squares) = (vec![0.0; width], 0.0);
        for row in values.chunks_exact(width) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += f64::from(*x);
                squares += f64::from(*x) * f64::from(*x);
            }
        }
        (sums, squares)
    };
    let (mut mean, mut squares) = (vec![0.0; width], 0.0);
    rows.by_parts("mean", report, work, |(sums, part): (Vec<f64>, f64)| {
        mean.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        squares += part;
    })?;
    let n = rows.len() as f64;
    mean.iter_mut().for_each(|sum| *sum /= n);
    let of_mean: f64 = mean.iter().map(|x| x * x).sum();
    Ok((mean, (squares / n - of_mean).max(0.0)))
}

/// The covariance of the rows times `basis`, `[width, m]`.
fn covariance_times(
    rows: &impl RowParts,
    mean: &[f64],
    basis: MatRef<f64>,
    report: Report,
) -> Result<Mat<f64>, VectorFileError> {
    let (width, m) = (basis.nrows(), basis.ncols());
    let work = |_: usize, values: &[f32]| {
        let centred: Vec<f64> = values
            .chunks_exact(width)
            .flat_map(|row| row.iter().zip(mean).map(|(x, mean)| f64::from(*x) - mean))
            .collect();
        let rows = MatRef::from_row_major_slice(&centred, values.len() / width, width);
        let mut products = Mat::<f64>::zeros(rows.nrows(), m);
        matmul(products.as_mut(), Accum::Replace, rows, basis, 1.0, Par::Seq);
        let mut back = Mat::<f64>::zeros(width, m);
        matmul(back.as_mut(), Accum::Replace, rows.transpose(), products.as_ref(), 1.0, Par::Seq);
        back
    };
    let mut sum = Mat::<f64>::zeros(width, m);
    rows.by_parts("components", report, work, |part: Mat<f64>| sum += &part)?;
    let n = rows.len() as f64;
    Ok(Mat::from_fn(width, m, |i, j| sum[(i, j)] / n))
}

/// Eigenvalues of a symmetric matrix, largest first, and their vectors as columns.
fn eigen(symmetric: &Mat<f64>) -> (Vec<f64>, Mat<f64>) {
    let size = symmetric.nrows();
    let halves = Mat::from_fn(size, size, |i, j| f64::midpoint(symmetric[(i, j)], symmetric[(j, i)]));
    // It fails only on numbers that are not finite, which rows are refused for.
    let found = halves.self_adjoint_eigen(Side::Lower).expect("finite symmetric matrices decompose");
    let values = (0..size).rev().map(|i| found.S()[i]).collect();
    (values, Mat::from_fn(size, size, |i, j| found.U()[(i, size - 1 - j)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::rows::RowsInMemory;
    use crate::progress::silent;

    /// Rows whose columns vary by 4, 2, 1, 0.5, … around 3, turned so that no axis is special.
    fn rows(n_rows: usize, width: usize) -> Vec<f32> {
        let mut random = Random::new(1);
        let mirror: Vec<f64> = (0..width).map(|_| random.normal()).collect();
        let square: f64 = mirror.iter().map(|x| x * x).sum();
        let mut rows = Vec::new();
        for _ in 0..n_rows {
            let row: Vec<f64> = (0..width).map(|j| 3.0 + 4.0 * 0.5f64.powi(j as i32) * random.normal()).collect();
            let along: f64 = row.iter().zip(&mirror).map(|(x, mirror)| x * mirror).sum();
            rows.extend(row.iter().zip(&mirror).map(|(x, mirror)| (x - 2.0 * along / square * mirror) as f32));
        }
        rows
    }

    #[test]
    fn components_are_those_of_the_whole_covariance() {
        const WIDTH: usize = 40;
        let values = rows(3000, WIDTH);
        let rows = RowsInMemory { values: &values, width: WIDTH };
        let pca = Pca::of(&rows, 2, &silent).unwrap();
        // All directions at once need no iteration.
        let whole = Pca::of(&rows, WIDTH, &silent).unwrap();
        assert!((whole.explained.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        for i in 0..2 {
            assert!((pca.explained[i] - whole.explained[i]).abs() < 1e-8);
            let product: f64 =
                (0..WIDTH).map(|j| pca.directions[i * WIDTH + j] * whole.directions[i * WIDTH + j]).sum();
            assert!((product - 1.0).abs() < 1e-7, "{product}");
        }
        let plane = pca.plane(&values);
        for axis in 0..2 {
            let mean = plane.iter().map(|point| point[axis]).sum::<f64>() / 3000.0;
            let variance = plane.iter().map(|point| point[axis] * point[axis]).sum::<f64>() / 3000.0;
            assert!(mean.abs() < 1e-9, "centred");
            let share = variance / plane.iter().map(|point| point[0] * point[0]).sum::<f64>() * 3000.0;
            assert!((share - pca.explained[axis] / pca.explained[0]).abs() < 1e-6);
        }
    }

    #[test]
    fn rows_without_variance_or_of_one_column_are_defined() {
        let values = [0.6f32, 0.8].repeat(50);
        let pca = Pca::of(&RowsInMemory { values: &values, width: 2 }, 2, &silent).unwrap();
        assert_eq!((pca.n(), pca.plane(&values)), (0, vec![[0.0; 2]; 50]));
        let values = [1.0f32, -1.0];
        let pca = Pca::of(&RowsInMemory { values: &values, width: 1 }, 2, &silent).unwrap();
        assert_eq!((pca.explained.as_slice(), pca.plane(&values)), ([1.0].as_slice(), vec![[1.0, 0.0], [-1.0, 0.0]]));
    }
}
