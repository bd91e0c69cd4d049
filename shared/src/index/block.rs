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
    pub header: BlockHeader,
    pub n_rows: usize,
    pub width: usize,
    /// `[n_rows, width]`.
    pub codes: &'a [i8],
    /// `[n_rows]` each; copied, because a file in memory need not be aligned.
    pub scale: Vec<f32>,
    pub error_norm: Vec<f32>,
    pub tail_norm: Vec<f32>,
}

/// Widths of the blocks of `d_model` dimensions: 64, 64, 128, 256, … and what is left.
pub fn widths(d_model: usize) -> Vec<usize> { unimplemented!() }

impl<'a> Block<'a> {
    /// Reads a block from the whole bytes of its file.
    pub fn parse(file: &'a [u8]) -> Result<Self, BlockError> { unimplemented!() }
}

/// The columns of a block file, for writing.
pub struct Columns<'a> { pub codes: &'a [i8], pub scale: &'a [f32], pub error_norm: &'a [f32], pub tail_norm: &'a [f32] }

/// The bytes of a block file; the same input gives the same bytes.
pub fn write(header: &BlockHeader, width: usize, columns: &Columns) -> Result<Vec<u8>, BlockError> { unimplemented!() }

#[derive(Debug, thiserror::Error)]
pub enum BlockError { /* like ShardError */ }
