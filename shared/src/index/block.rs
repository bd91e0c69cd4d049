//! Block files: the format of the index.
//!
//! A block file is one safetensors file that holds the same block of dimensions of a contiguous range of rows:
//!
//! ```text
//! tensor       dtype   shape            meaning
//! codes        I8      [n_rows, width]  row-major, in −127..=127
//! scale        F32     [n_rows]         finite, ≥ 0; the block is scale · codes, up to error_norm
//! error_norm   F32     [n_rows]         finite, ≥ 0; at least the norm of (block − scale · codes)
//! tail_norm    F32     [n_rows]         finite, ≥ 0; at least the norm of all later dimensions of the row
//!
//! metadata key   value
//! format         "whence.index/1"
//! layer          as in the vector files
//! block          which block, from 0
//! first_dim      first rotated dimension of the block
//! first_row      row of the study that row 0 is
//! inputs         hash of everything the index was made from; files with different inputs never mix
//! ```
//!
//! Limits: [`MAX_ROWS`] rows, [`MAX_WIDTH`] columns. The reader refuses numbers that are not finite or negative: a
//! lying scale would be a wrong bound.

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use thiserror::Error;

/// The value of the `format` metadata key.
pub const FORMAT: &str = "whence.index/1";
/// Rows per file, except the last.
pub const ROWS_PER_FILE: usize = 8192;
/// Largest number of rows in one file.
pub const MAX_ROWS: usize = 1 << 20;
/// Largest width of a block.
pub const MAX_WIDTH: usize = 1 << 16;
/// Width of the first block.
pub const FIRST_WIDTH: usize = 64;

/// What the metadata of a block file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHeader {
    /// Decoder layer, 0 = embeddings.
    pub layer: usize,
    /// Which block, from 0.
    pub block: usize,
    /// First rotated dimension of the block.
    pub first_dim: usize,
    /// Row of the study that row 0 of the file is.
    pub first_row: usize,
    /// Hash of everything the index was made from.
    pub inputs: String,
}

/// A block file in memory: a view of its bytes.
#[derive(Debug)]
pub struct Block<'a> {
    /// What the metadata says.
    pub header: BlockHeader,
    /// Rows.
    pub n_rows: usize,
    /// Columns.
    pub width: usize,
    /// `[n_rows, width]`.
    pub codes: &'a [i8],
    /// `[n_rows]` each; copied, because a file in memory need not be aligned.
    pub scale: Vec<f32>,
    /// As [`Block::scale`].
    pub error_norm: Vec<f32>,
    /// As [`Block::scale`].
    pub tail_norm: Vec<f32>,
}

/// Widths of the blocks of `d_model` dimensions: 64, 64, 128, 256, … and what is left.
pub fn widths(d_model: usize) -> Vec<usize> {
    let mut widths = Vec::new();
    let mut left = d_model;
    let mut next = FIRST_WIDTH;
    while left > 0 {
        let width = next.min(left);
        left -= width;
        next = if widths.is_empty() { FIRST_WIDTH } else { next * 2 };
        widths.push(width);
    }
    widths
}

impl<'a> Block<'a> {
    /// Reads a block from the whole bytes of its file.
    ///
    /// # Errors
    ///
    /// [`BlockError`].
    pub fn parse(file: &'a [u8]) -> Result<Self, BlockError> {
        let bad = |reason: String| BlockError(reason);
        let (_, metadata) = SafeTensors::read_metadata(file).map_err(|e| bad(e.to_string()))?;
        let tensors = SafeTensors::deserialize(file).map_err(|e| bad(e.to_string()))?;
        let text = |key: &str| {
            metadata.metadata().as_ref().and_then(|map| map.get(key).cloned()).ok_or_else(|| bad(format!("no {key}")))
        };
        let number = |key: &str| text(key)?.parse::<usize>().map_err(|e| bad(e.to_string()));
        if text("format")? != FORMAT {
            return Err(bad("not an index block of this version".into()));
        }
        let codes = tensors.tensor("codes").map_err(|e| bad(e.to_string()))?;
        let &[n_rows, width] = codes.shape() else { return Err(bad("codes: expected two dimensions".into())) };
        let floats = |name: &str| {
            let tensor = tensors.tensor(name).map_err(|e| bad(e.to_string()))?;
            let values: Vec<f32> =
                tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            if values.len() != n_rows || values.iter().any(|value| !(value.is_finite() && *value >= 0.0)) {
                return Err(bad(format!("{name}: expected {n_rows} finite numbers of at least 0")));
            }
            Ok(values)
        };
        let header = BlockHeader {
            layer: number("layer")?,
            block: number("block")?,
            first_dim: number("first_dim")?,
            first_row: number("first_row")?,
            inputs: text("inputs")?,
        };
        let (scale, error_norm, tail_norm) = (floats("scale")?, floats("error_norm")?, floats("tail_norm")?);
        Ok(Self { header, n_rows, width, codes: bytemuck::cast_slice(codes.data()), scale, error_norm, tail_norm })
    }
}

/// The columns of a block file, for writing.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// `[n_rows, width]`.
    pub codes: &'a [i8],
    /// `[n_rows]`.
    pub scale: &'a [f32],
    /// `[n_rows]`.
    pub error_norm: &'a [f32],
    /// `[n_rows]`.
    pub tail_norm: &'a [f32],
}

/// The bytes of a block file.
///
/// # Errors
///
/// [`BlockError`].
pub fn write(header: &BlockHeader, width: usize, columns: &Columns) -> Result<Vec<u8>, BlockError> {
    let n_rows = columns.scale.len();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (scale, error, tail) = (bytes(columns.scale), bytes(columns.error_norm), bytes(columns.tail_norm));
    let bad = |error: safetensors::SafeTensorError| BlockError(error.to_string());
    let tensors = [
        ("codes", TensorView::new(Dtype::I8, vec![n_rows, width], bytemuck::cast_slice(columns.codes)).map_err(bad)?),
        ("scale", TensorView::new(Dtype::F32, vec![n_rows], &scale).map_err(bad)?),
        ("error_norm", TensorView::new(Dtype::F32, vec![n_rows], &error).map_err(bad)?),
        ("tail_norm", TensorView::new(Dtype::F32, vec![n_rows], &tail).map_err(bad)?),
    ];
    let metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("layer".to_owned(), header.layer.to_string()),
        ("block".to_owned(), header.block.to_string()),
        ("first_dim".to_owned(), header.first_dim.to_string()),
        ("first_row".to_owned(), header.first_row.to_string()),
        ("inputs".to_owned(), header.inputs.clone()),
    ]);
    safetensors::serialize(tensors, Some(metadata)).map_err(bad)
}

/// What is wrong with a block file.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BlockError(String);
