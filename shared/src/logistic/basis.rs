//! An orthonormal basis of rows, in which a regression with more columns than rows is cheaper. Used by [`super::train`].

use std::ops::Range;

use super::newton::{add, dot};

/// An orthonormal basis of rows, `[n, n_columns]`.
pub(super) struct Basis {
    vectors: Vec<f64>,
    /// Vectors.
    pub(super) n: usize,
    n_columns: usize,
}

impl Basis {
    /// Gram & Schmidt, each row made orthogonal twice, which is enough (Kahan, in Parlett, *The Symmetric Eigenvalue
    /// Problem*, 1980, §6.9).
    pub(super) fn of(rows: &[f64], n_columns: usize) -> Self {
        let mut basis = Self { vectors: Vec::new(), n: 0, n_columns };
        for row in rows.chunks_exact(n_columns) {
            let before = dot(row, row).sqrt();
            let mut rest = row.to_vec();
            for _ in 0..2 {
                for i in 0..basis.n {
                    let vector = &basis.vectors[basis.place(i)];
                    let along = dot(&rest, vector);
                    add(&mut rest, -along, vector);
                }
            }
            let length = dot(&rest, &rest).sqrt();
            if length > 1e-10 * before {
                basis.vectors.extend(rest.iter().map(|x| x / length));
                basis.n += 1;
            }
        }
        basis
    }

    fn place(&self, i: usize) -> Range<usize> {
        i * self.n_columns..(i + 1) * self.n_columns
    }

    /// Rows in this basis, `[n_rows, n]`.
    pub(super) fn coordinates(&self, rows: &[f64]) -> Vec<f64> {
        let of_row = |row| (0..self.n).map(move |i| dot(row, &self.vectors[self.place(i)]));
        rows.chunks_exact(self.n_columns).flat_map(of_row).collect()
    }

    /// The vector of coordinates `[n]`: `[n_columns]`.
    pub(super) fn vector(&self, coordinates: &[f64]) -> Vec<f64> {
        let mut vector = vec![0.0; self.n_columns];
        for (i, coordinate) in coordinates.iter().enumerate() {
            add(&mut vector, *coordinate, &self.vectors[self.place(i)]);
        }
        vector
    }
}
