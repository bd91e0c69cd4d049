//! Pair vectors of one layer at unit length, read from the vector files: some of them at once, or all of them a part at a time.

use rayon::prelude::*;
use whence_shared::cluster::points::to_unit_rows;

use crate::extract::layer_files::MappedFile;
use crate::extract::{LayerFiles, VectorFileError};
use crate::progress::{Report, Update};

/// Rows that can be gone through a part at a time.
pub trait RowParts {
    /// Values per row.
    fn width(&self) -> usize;

    /// How many rows.
    fn len(&self) -> usize;

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `work` with the first row and the values `[n, width]` of every part, on several threads, and `each` with what it
    /// returned, in the order of the rows.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or holds a number that is not finite.
    fn by_parts<T: Send>(
        &self,
        stage: &'static str,
        report: Report,
        work: impl Fn(usize, &[f32]) -> T + Sync,
        each: impl FnMut(T),
    ) -> Result<(), VectorFileError>;
}

/// Rows in memory, row-major.
pub struct RowsInMemory<'a> {
    /// `[n_rows, width]`
    pub values: &'a [f32],
    /// Values per row.
    pub width: usize,
}

impl RowParts for RowsInMemory<'_> {
    fn width(&self) -> usize {
        self.width
    }

    fn len(&self) -> usize {
        self.values.len() / self.width
    }

    fn by_parts<T: Send>(
        &self,
        _stage: &'static str,
        _report: Report,
        work: impl Fn(usize, &[f32]) -> T + Sync,
        each: impl FnMut(T),
    ) -> Result<(), VectorFileError> {
        let parts = self.values.par_chunks(ROWS_PER_PART * self.width).enumerate();
        let found: Vec<T> = parts.map(|(part, values)| work(part * ROWS_PER_PART, values)).collect();
        found.into_iter().for_each(each);
        Ok(())
    }
}

/// Rows of a part: memory does not grow with the study. Fixed, because results must not depend on the number of threads.
const ROWS_PER_PART: usize = 1024;

/// The vectors of a complete layer, every one divided by its norm; zero vectors stay zero.
pub struct UnitRows {
    files: LayerFiles,
}

impl UnitRows {
    /// Of a layer's files.
    pub fn new(files: LayerFiles) -> Self {
        Self { files }
    }

    /// The files.
    pub fn files(&self) -> &LayerFiles {
        &self.files
    }

    /// One row per pair of the study.
    pub fn n_rows(&self) -> usize {
        self.files.view().n_rows
    }

    /// Width of a row.
    pub fn d_model(&self) -> usize {
        self.files.view().d_model
    }

    /// Some rows, given in ascending order, row-major `[rows.len(), d_model]`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or holds a number that is not finite.
    pub fn some(&self, rows: &[usize]) -> Result<Vec<f32>, VectorFileError> {
        let d_model = self.d_model();
        let mut values = vec![0f32; rows.len() * d_model];
        let mut parts: Vec<(&[usize], &mut [f32])> = Vec::new();
        let mut rest = values.as_mut_slice();
        for of_file in rows.chunk_by(|&a, &b| self.files.file_of(a) == self.files.file_of(b)) {
            let (part, others) = rest.split_at_mut(of_file.len() * d_model);
            parts.push((of_file, part));
            rest = others;
        }
        parts.into_par_iter().try_for_each(|(rows, values)| {
            let file = self.files.map(self.files.file_of(rows[0]), false)?;
            read(&file, rows.iter().copied(), values, d_model)
        })?;
        Ok(values)
    }
}

impl RowParts for UnitRows {
    fn width(&self) -> usize {
        self.d_model()
    }

    fn len(&self) -> usize {
        self.n_rows()
    }

    fn by_parts<T: Send>(
        &self,
        stage: &'static str,
        report: Report,
        work: impl Fn(usize, &[f32]) -> T + Sync,
        mut each: impl FnMut(T),
    ) -> Result<(), VectorFileError> {
        let (view, d_model) = (self.files.view(), self.d_model());
        for (number, shard) in view.shards.iter().enumerate() {
            report(Update {
                stage,
                done: shard.first_row as u64,
                total: view.n_rows as u64,
                unit: "pairs",
                detail: String::new(),
            });
            let file = self.files.map(number, false)?;
            let end = shard.first_row + shard.n_rows;
            let firsts: Vec<usize> = (shard.first_row..end).step_by(ROWS_PER_PART).collect();
            let part = |&first: &usize| {
                let rows = first..(first + ROWS_PER_PART).min(end);
                let mut values = vec![0f32; rows.len() * d_model];
                read(&file, rows, &mut values, d_model)?;
                Ok(work(first, &values))
            };
            firsts.par_iter().map(part).collect::<Result<Vec<T>, VectorFileError>>()?.into_iter().for_each(&mut each);
        }
        Ok(())
    }
}

fn read(
    file: &MappedFile,
    rows: impl Iterator<Item = usize>,
    values: &mut [f32],
    d_model: usize,
) -> Result<(), VectorFileError> {
    for (row, values) in rows.zip(values.chunks_exact_mut(d_model)) {
        file.read_finite_row(row, values)?;
        to_unit_rows(values, d_model);
    }
    Ok(())
}

/// Whether a unit row has a direction at all.
pub fn has_direction(row: &[f32]) -> bool {
    row.iter().any(|x| *x != 0.0)
}
