//! The rotation of an index: an orthogonal basis whose first directions hold most of what the rows hold. First step of
//! `whence index`; behaviors go through the same rotation.
//!
//! The first [`MAX_DIRECTIONS`] basis vectors are the principal directions of a sample of the rows (uncentred: a cosine
//! is an inner product of unit rows, and a mean shared by all of them counts as well); the rest completes them in any
//! way. Found by a dense eigen-decomposition where the width allows, else by subspace iteration (Halko, Martinsson and
//! Tropp 2011, algorithm 4.4) with a Rayleigh–Ritz step.
//!
//! It is applied as a product of `r` Householder reflections, so that no `[d, d]` matrix exists and a row costs 4·d·r
//! operations. With the reflections' vectors as columns of V, `[d, r]`, and U the upper triangle of VᵀV with its
//! diagonal halved, the product is `Q = I − V U⁻¹ Vᵀ` (Joffrain et al. 2006, "UT transform"). Since U + Uᵀ = VᵀV, Q is
//! orthogonal for every V of full rank: the directions may be rough, the rotation never is.
//!
//! ```text
//! rotation.safetensors
//! tensor        dtype  shape                    meaning
//! reflections   F64    [n_directions, d_model]  row i: reflection i; zero before column i, one there
//!
//! metadata key     value
//! format           "whence.rotation/1"
//! inputs           hash of the vectors that the directions were found from
//! n_sampled_rows   how many rows that were
//! ```

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::solve_upper_triangular_in_place;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use thiserror::Error;

/// The value of the metadata key `format`.
pub const FORMAT: &str = "whence.rotation/1";
/// Most principal directions.
pub const MAX_DIRECTIONS: usize = 512;
/// Most rows the directions are found from.
pub const MAX_SAMPLED_ROWS: usize = 16_384;
/// Rows that are rotated by one matrix product.
pub const ROWS_PER_CHUNK: usize = 256;

/// Up to this width the `[d, d]` matrix of second moments is decomposed.
const MAX_DENSE: usize = 1024;
/// Columns of a product that one task computes: fixed, because results must not depend on the number of threads.
const COLUMNS_PER_TASK: usize = 64;
/// Directions iterated beyond those wanted, which makes the wanted ones converge.
const N_OVERSAMPLED: usize = 32;
const N_ITERATIONS: usize = 4;
const SEED: u64 = 0x0077_6865_6e63_6521;

/// An orthogonal change of basis of `d_model` dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    d_model: usize,
    n_directions: usize,
    n_sampled_rows: usize,
    /// Vᵀ, row-major `[n_directions, d_model]`.
    reflections: Vec<f64>,
    /// U⁻¹ Vᵀ, row-major `[n_directions, d_model]`.
    solved: Vec<f64>,
}

/// What is wrong with a rotation file.
#[derive(Debug, Error)]
pub enum RotationError {
    /// The bytes are not a whole safetensors file.
    #[error("not a complete safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A key, tensor or number that is not what the format asks for.
    #[error("{what}: expected {expected}, got {got}")]
    Malformed {
        /// What differs.
        what: &'static str,
        /// What the format asks for.
        expected: String,
        /// What was found.
        got: String,
    },
}

/// Rows of a study of `n_rows` that the directions are found from: all, or [`MAX_SAMPLED_ROWS`] spread evenly, one from
/// each stretch at a place drawn with a fixed seed. Ascending.
pub fn sampled_rows(n_rows: usize) -> Vec<usize> {
    spread(n_rows, MAX_SAMPLED_ROWS, SEED)
}

/// `n` of `n_rows` rows, one from each of `n` equal stretches; all rows when there are no more. Ascending.
pub fn spread(n_rows: usize, n: usize, seed: u64) -> Vec<usize> {
    if n_rows <= n {
        return (0..n_rows).collect();
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let start = |i: usize| (i as u128 * n_rows as u128 / n as u128) as usize;
    (0..n).map(|i| start(i) + (random.next_u64() % (start(i + 1) - start(i)) as u64) as usize).collect()
}

impl Rotation {
    /// Finds the principal directions of `sample`, row-major `[n, d_model]` rows of unit or zero length. The same sample
    /// gives the same rotation for any number of threads.
    ///
    /// # Panics
    ///
    /// Panics when `sample` is not a whole number of rows or holds numbers that are not finite.
    pub fn find(sample: &[f32], d_model: usize) -> Self {
        assert!(d_model > 0 && sample.len().is_multiple_of(d_model), "a whole number of rows");
        assert!(sample.iter().all(|x| x.is_finite()), "rows are of unit or zero length");
        let n_directions = d_model.min(MAX_DIRECTIONS);
        let directions = if d_model <= MAX_DENSE {
            let moments = moments_times(sample, Mat::<f64>::identity(d_model, d_model).as_ref());
            leading_eigenvectors(&moments, n_directions)
        } else {
            subspace_iteration(sample, d_model, n_directions)
        };
        let basis = directions.qr();
        let mut reflections = vec![0.0; n_directions * d_model];
        for (i, reflection) in reflections.chunks_exact_mut(d_model).enumerate() {
            reflection[i] = 1.0;
            for (j, x) in reflection.iter_mut().enumerate().skip(i + 1) {
                *x = basis.Q_basis()[(j, i)];
            }
        }
        Self::of_reflections(reflections, d_model, sample.len() / d_model)
    }

    fn of_reflections(reflections: Vec<f64>, d_model: usize, n_sampled_rows: usize) -> Self {
        let n_directions = reflections.len() / d_model;
        let v = MatRef::from_row_major_slice(&reflections, n_directions, d_model);
        let mut u = Mat::<f64>::zeros(n_directions, n_directions);
        matmul(u.as_mut(), Accum::Replace, v, v.transpose(), 1.0, Par::Seq);
        for i in 0..n_directions {
            u[(i, i)] /= 2.0;
        }
        let mut solved = reflections.clone();
        solve_upper_triangular_in_place(
            u.as_ref(),
            MatMut::from_row_major_slice_mut(&mut solved, n_directions, d_model),
            Par::Seq,
        );
        Self { d_model, n_directions, n_sampled_rows, reflections, solved }
    }

    /// Width of a row.
    pub fn d_model(&self) -> usize {
        self.d_model
    }

    /// Principal directions; the other basis vectors complete them.
    pub fn n_directions(&self) -> usize {
        self.n_directions
    }

    /// Rows the directions were found from.
    pub fn n_sampled_rows(&self) -> usize {
        self.n_sampled_rows
    }

    /// Rotates `rows`, row-major `[n, d_model]`, in place: every row becomes its coordinates in the new basis. One
    /// thread; callers give chunks of at most [`ROWS_PER_CHUNK`] rows to many.
    ///
    /// # Panics
    ///
    /// Panics when `rows` is not a whole number of rows.
    pub fn apply(&self, rows: &mut [f64]) {
        self.subtract_product(rows, &self.reflections, &self.solved);
    }

    /// Undoes [`Rotation::apply`].
    ///
    /// # Panics
    ///
    /// Panics when `rows` is not a whole number of rows.
    pub fn undo(&self, rows: &mut [f64]) {
        self.subtract_product(rows, &self.solved, &self.reflections);
    }

    /// rows −= (rows · leftᵀ) · right.
    fn subtract_product(&self, rows: &mut [f64], left: &[f64], right: &[f64]) {
        assert!(rows.len().is_multiple_of(self.d_model), "a whole number of rows");
        let (n_rows, r, d) = (rows.len() / self.d_model, self.n_directions, self.d_model);
        let mut products = Mat::<f64>::zeros(n_rows, r);
        let left = MatRef::from_row_major_slice(left, r, d).transpose();
        let right = MatRef::from_row_major_slice(right, r, d);
        let rows_in = MatRef::from_row_major_slice(&*rows, n_rows, d);
        matmul(products.as_mut(), Accum::Replace, rows_in, left, 1.0, Par::Seq);
        let rows_out = MatMut::from_row_major_slice_mut(rows, n_rows, d);
        matmul(rows_out, Accum::Add, products.as_ref(), right, -1.0, Par::Seq);
    }

    /// The bytes of its file; the same rotation gives the same bytes. `inputs` is the hash of the vectors it was found
    /// from.
    pub fn to_bytes(&self, inputs: &str) -> Vec<u8> {
        let n_bytes = size_of_val(self.reflections.as_slice());
        // Written by hand: the safetensors crate would write metadata in hash-map order.
        let mut header = format!(
            "{{\"__metadata__\":{{\"format\":{},\"inputs\":{},\"n_sampled_rows\":\"{}\"}},\
             \"reflections\":{{\"data_offsets\":[0,{n_bytes}],\"dtype\":\"F64\",\"shape\":[{},{}]}}}}",
            json_text(FORMAT),
            json_text(inputs),
            self.n_sampled_rows,
            self.n_directions,
            self.d_model
        );
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        let mut bytes = Vec::with_capacity(8 + header.len() + n_bytes);
        bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend(self.reflections.iter().flat_map(|x| x.to_le_bytes()));
        bytes
    }

    /// Reads a rotation from the whole bytes of its file; returns it with `inputs`.
    ///
    /// # Errors
    ///
    /// [`RotationError`] when the bytes are not what [`Rotation::to_bytes`] writes.
    pub fn parse(bytes: &[u8]) -> Result<(Self, String), RotationError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let text = |key: &str| metadata.metadata().as_ref().and_then(|m| m.get(key).cloned()).unwrap_or_default();
        let malformed =
            |what, expected: &str, got: String| RotationError::Malformed { what, expected: expected.to_owned(), got };
        if text("format") != FORMAT {
            return Err(malformed("metadata key \"format\"", FORMAT, text("format")));
        }
        let n_sampled_rows = text("n_sampled_rows")
            .parse()
            .map_err(|_| malformed("metadata key \"n_sampled_rows\"", "a number", text("n_sampled_rows")))?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let tensor = tensors.tensor("reflections")?;
        let shape = tensor.shape().to_vec();
        let n_directions = match (tensor.dtype(), shape.as_slice()) {
            (Dtype::F64, &[r, d]) if d > 0 && r == d.min(MAX_DIRECTIONS) => r,
            (dtype, shape) => {
                let got = format!("{dtype:?} {shape:?}");
                return Err(malformed("tensor \"reflections\"", "F64 [n_directions, d_model]", got));
            }
        };
        let reflections: Vec<f64> = tensor.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
        let d_model = shape[1];
        let is_reflection = |(i, row): (usize, &[f64])| {
            row[..i].iter().all(|x| *x == 0.0) && row[i] == 1.0 && row.iter().all(|x| x.is_finite())
        };
        if let Some(i) = (0..n_directions).find(|&i| !is_reflection((i, &reflections[i * d_model..(i + 1) * d_model])))
        {
            let expected = "finite numbers, zero before the diagonal and one on it";
            return Err(malformed("tensor \"reflections\"", expected, format!("something else in row {i}")));
        }
        Ok((Self::of_reflections(reflections, d_model, n_sampled_rows), text("inputs")))
    }
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).expect("text serialises")
}

/// SᵀS·B for the sample S, row-major `[n, d]`, and B `[d, m]`, without keeping S·B.
fn moments_times(sample: &[f32], b: MatRef<f64>) -> Mat<f64> {
    let (d, m) = (b.nrows(), b.ncols());
    let panels: Vec<Mat<f64>> = (0..m)
        .step_by(COLUMNS_PER_TASK)
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|first| {
            let b = b.subcols(first, COLUMNS_PER_TASK.min(m - first));
            let mut sum = Mat::<f64>::zeros(d, b.ncols());
            let mut rows = Vec::new();
            for chunk in sample.chunks(ROWS_PER_CHUNK * d) {
                rows.clear();
                rows.extend(chunk.iter().map(|x| f64::from(*x)));
                let rows = MatRef::from_row_major_slice(&rows, chunk.len() / d, d);
                let mut products = Mat::<f64>::zeros(rows.nrows(), b.ncols());
                matmul(products.as_mut(), Accum::Replace, rows, b, 1.0, Par::Seq);
                matmul(sum.as_mut(), Accum::Add, rows.transpose(), products.as_ref(), 1.0, Par::Seq);
            }
            sum
        })
        .collect();
    let mut product = Mat::<f64>::zeros(d, m);
    for (panel, first) in panels.iter().zip((0..m).step_by(COLUMNS_PER_TASK)) {
        product.as_mut().subcols_mut(first, panel.ncols()).copy_from(panel);
    }
    product
}

/// Eigenvectors of the `n` greatest eigenvalues of a symmetric matrix, greatest first, as columns.
fn leading_eigenvectors(symmetric: &Mat<f64>, n: usize) -> Mat<f64> {
    let size = symmetric.nrows();
    // It fails only on numbers that are not finite, which `find` excludes.
    let eigen = symmetric.self_adjoint_eigen(Side::Lower).expect("finite symmetric matrices decompose");
    Mat::from_fn(size, n, |i, j| eigen.U()[(i, size - 1 - j)])
}

fn subspace_iteration(sample: &[f32], d: usize, n_directions: usize) -> Mat<f64> {
    let m = (n_directions + N_OVERSAMPLED).min(d);
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let start = Mat::from_fn(d, m, |_, _| f64::from(random.next_u32()) / f64::from(1u32 << 31) - 1.0);
    let mut basis = start.qr().compute_thin_Q();
    for _ in 0..N_ITERATIONS {
        basis = moments_times(sample, basis.as_ref()).qr().compute_thin_Q();
    }
    let product = moments_times(sample, basis.as_ref());
    let mut small = Mat::<f64>::zeros(m, m);
    matmul(small.as_mut(), Accum::Replace, basis.transpose(), product.as_ref(), 1.0, Par::Seq);
    let vectors = leading_eigenvectors(&small, n_directions);
    let mut directions = Mat::<f64>::zeros(d, n_directions);
    matmul(directions.as_mut(), Accum::Replace, basis.as_ref(), vectors.as_ref(), 1.0, Par::Seq);
    directions
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
