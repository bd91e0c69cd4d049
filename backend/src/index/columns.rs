//! Rows of a vector file to the columns of block files: normalised, rotated, quantised, in chunks that many threads
//! share.

use std::borrow::Cow;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;
use whence_shared::index::block::{Block, BlockHeader, Columns};
use whence_shared::index::quantize::{quantize, tail_norms};

use super::IndexError;
use super::rotation::{ROWS_PER_CHUNK, Rotation};
use crate::extract::LayerFiles;
use crate::extract::layer_files::MappedFile;

/// One block of a range of rows, as stored; fields as in [`Block`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BlockColumns {
    /// Dimensions in the block.
    pub width: usize,
    /// Row-major `[n_rows, width]`.
    pub codes: Vec<i8>,
    /// `[n_rows]`.
    pub scale: Vec<f32>,
    /// `[n_rows]`.
    pub error_norm: Vec<f32>,
    /// `[n_rows]`.
    pub tail_norm: Vec<f32>,
}

impl BlockColumns {
    /// For writing.
    pub fn columns(&self) -> Columns<'_> {
        Columns { codes: &self.codes, scale: &self.scale, error_norm: &self.error_norm, tail_norm: &self.tail_norm }
    }

    /// As if read from a file with this header.
    pub fn as_block(&self, header: BlockHeader) -> Block<'_> {
        Block {
            header,
            n_rows: self.scale.len(),
            width: self.width,
            rows: None,
            codes: Cow::Borrowed(&self.codes),
            scale: self.scale.clone(),
            error_norm: self.error_norm.clone(),
            tail_norm: self.tail_norm.clone(),
        }
    }

    /// The columns of a block file.
    pub fn of_block(block: Block) -> Self {
        let Block { width, codes, scale, error_norm, tail_norm, .. } = block;
        Self { width, codes: codes.to_vec(), scale, error_norm, tail_norm }
    }

    fn append(&mut self, mut later: Self) {
        self.codes.append(&mut later.codes);
        self.scale.append(&mut later.scale);
        self.error_norm.append(&mut later.error_norm);
        self.tail_norm.append(&mut later.tail_norm);
    }
}

/// Vector files mapped for a range of rows.
#[derive(Debug)]
pub struct RangeFiles {
    first_row: usize,
    n_rows: usize,
    d_model: usize,
    files: Vec<MappedFile>,
}

impl RangeFiles {
    /// Maps the files that hold rows `first_row .. first_row + n_rows`; with `verify`, compares the SHA-256 of those
    /// that begin in the range.
    ///
    /// # Errors
    ///
    /// When one is missing or damaged.
    pub fn map(layer: &LayerFiles, first_row: usize, n_rows: usize, verify: bool) -> Result<Self, IndexError> {
        let d_model = layer.view().d_model;
        if n_rows == 0 {
            return Ok(Self { first_row, n_rows, d_model, files: Vec::new() });
        }
        let (first, last) = (layer.file_of(first_row), layer.file_of(first_row + n_rows - 1));
        let begins_here = |i: usize| layer.view().shards[i].first_row >= first_row;
        let files = (first..=last).into_par_iter().map(|i| layer.map(i, verify && begins_here(i)));
        Ok(Self { first_row, n_rows, d_model, files: files.collect::<Result<_, _>>()? })
    }

    /// Rows in the range.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Unit vectors of rows `first .. first + n` of the range, row-major `[n, d_model]`; zero where the row is zero.
    ///
    /// # Errors
    ///
    /// When a number is not finite.
    ///
    /// # Panics
    ///
    /// Panics when a row is outside the range.
    pub fn unit_rows(&self, first: usize, n: usize) -> Result<Vec<f64>, IndexError> {
        let d = self.d_model;
        let mut rows = vec![0.0; n * d];
        let mut row = vec![0f32; d];
        let (mut next, end) = (self.first_row + first, self.first_row + first + n);
        for file in &self.files {
            let shard = file.shard();
            let (from, to) = (shard.header.first_row, shard.header.first_row + shard.n_rows);
            while next < to.min(end) && next >= from {
                shard.read_row(next - from, &mut row);
                let at = next - self.first_row - first;
                if !normalise(&row, &mut rows[at * d..(at + 1) * d]) {
                    return Err(IndexError::NotFinite { path: file.path().to_owned(), row: next });
                }
                next += 1;
            }
        }
        assert_eq!(next, end, "the files hold every row of the range");
        Ok(rows)
    }
}

/// Writes the unit vector of `row` into `unit`; zeros when it has no length. Returns whether all numbers are finite.
pub fn normalise(row: &[f32], unit: &mut [f64]) -> bool {
    let norm = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let inverse = if norm > 0.0 { 1.0 / norm } else { 0.0 };
    for (unit, x) in unit.iter_mut().zip(row) {
        *unit = f64::from(*x) * inverse;
    }
    norm.is_finite()
}

/// What one pass over a range of rows gives.
#[derive(Debug, Default)]
pub struct Pass {
    /// Blocks of the rotated rows, in order; empty when they were not asked for.
    pub blocks: Vec<BlockColumns>,
    /// Cosines of every row with every query, row-major `[n_rows, n_queries]`.
    pub cosines: Vec<f64>,
}

/// Reads a range of rows once: their blocks, when a rotation is given, and their cosines with `queries`, unit vectors
/// row-major `[n_queries, d_model]`. The result does not depend on the number of threads.
///
/// # Errors
///
/// When a number is not finite.
pub fn pass(
    files: &RangeFiles,
    rotation: Option<&Rotation>,
    widths: &[usize],
    queries: &[f64],
) -> Result<Pass, IndexError> {
    let d = files.d_model;
    let n_queries = queries.len() / d;
    let one = |first: usize| -> Result<Pass, IndexError> {
        let n = ROWS_PER_CHUNK.min(files.n_rows - first);
        let mut rows = files.unit_rows(first, n)?;
        let mut cosines = vec![0.0; n * n_queries];
        if n_queries > 0 {
            matmul(
                MatMut::from_row_major_slice_mut(&mut cosines, n, n_queries),
                Accum::Replace,
                MatRef::from_row_major_slice(&rows, n, d),
                MatRef::from_row_major_slice(queries, n_queries, d).transpose(),
                1.0,
                Par::Seq,
            );
        }
        let Some(rotation) = rotation else { return Ok(Pass { blocks: Vec::new(), cosines }) };
        rotation.apply(&mut rows);
        Ok(Pass { blocks: quantised(&rows, d, widths), cosines })
    };
    let firsts: Vec<usize> = (0..files.n_rows).step_by(ROWS_PER_CHUNK).collect();
    let parts: Vec<Pass> = firsts.into_par_iter().map(one).collect::<Result<_, _>>()?;
    let mut whole = Pass::default();
    if rotation.is_some() {
        whole.blocks = widths.iter().map(|&width| BlockColumns { width, ..BlockColumns::default() }).collect();
    }
    for part in parts {
        whole.cosines.extend(part.cosines);
        for (block, later) in whole.blocks.iter_mut().zip(part.blocks) {
            block.append(later);
        }
    }
    Ok(whole)
}

fn quantised(rows: &[f64], d_model: usize, widths: &[usize]) -> Vec<BlockColumns> {
    let n = rows.len() / d_model;
    let empty = |&width: &usize| BlockColumns { width, codes: vec![0; n * width], ..BlockColumns::default() };
    let mut blocks: Vec<BlockColumns> = widths.iter().map(empty).collect();
    for (i, row) in rows.chunks_exact(d_model).enumerate() {
        let tails = tail_norms(row, widths);
        let mut rest = row;
        for (block, tail) in blocks.iter_mut().zip(tails) {
            let (values, later) = rest.split_at(block.width);
            rest = later;
            let (scale, error) = quantize(values, &mut block.codes[i * block.width..(i + 1) * block.width]);
            block.scale.push(scale);
            block.error_norm.push(error);
            block.tail_norm.push(tail);
        }
    }
    blocks
}
