//! Block files: the format of the index.
//!
//! A block file is one safetensors file (readable from Python with `safetensors.numpy.load_file`) that holds the same
//! block of dimensions of a contiguous range of rows:
//!
//! ```text
//! tensor       dtype   shape            meaning
//! codes        I8      [n_rows, width]  row-major; the writer keeps to −127..=127
//! scale        F32     [n_rows]         in [0, MAX_SCALE]; the block is scale · codes, up to error_norm
//! error_norm   F32     [n_rows]         in [0, MAX_NORM]; at least the norm of (block − scale · codes)
//! tail_norm    F32     [n_rows]         in [0, MAX_NORM]; at least the norm of all later dimensions of the row
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
//! Limits: [`MAX_ROWS`] rows, widths of 1 to [`MAX_WIDTH`] columns, rows numbered in 32 bits, dimensions up to
//! [`crate::shard::MAX_D_MODEL`]. A row has unit length or is zero, so no scale is above [`MAX_SCALE`] and no norm above
//! [`MAX_NORM`]: the reader refuses what is, and what is negative or not finite, because a lying number would be a wrong
//! bound. A row is zero exactly when scale, error_norm and tail_norm of block 0 are all zero.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use thiserror::Error;

use crate::shard;
use crate::tensors::{self, TensorFile, TensorsError, f32_bytes, f32s};

/// The value of the `format` metadata key.
pub const FORMAT: &str = "whence.index/1";
/// Rows per file, except the last.
pub const ROWS_PER_FILE: usize = 8192;
/// Largest number of rows in one file.
pub const MAX_ROWS: usize = 1 << 20;
/// Largest width of a block.
pub const MAX_WIDTH: usize = 1 << 16;
/// Width of the first block; no block is narrower unless the vectors are.
pub const FIRST_WIDTH: usize = 64;
/// Largest code; codes are symmetric.
pub const MAX_CODE: i8 = 127;
/// Largest scale: that of a coordinate of 1, and what rounding may add.
pub const MAX_SCALE: f32 = 1.0 / 126.0;
/// Largest norm: 1, and what rounding may add.
pub const MAX_NORM: f32 = 1.0 + 1e-3;

const _: () = {
    assert!(ROWS_PER_FILE <= MAX_ROWS, "what we write, we read");
    assert!(MAX_ROWS <= shard::MAX_ROWS && MAX_ROWS <= u32::MAX as usize, "rows are numbered in u32 by the ranking");
    assert!(MAX_WIDTH >= shard::MAX_D_MODEL, "any vector fits into one block");
    // With every number at its limit, the integers of `kernel` and the f32 sums of `bounds` are far from overflow.
    assert!(MAX_SCALE * 128.0 * (MAX_WIDTH as f32) < 1e6);
};

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

/// A block file in memory, or some of its rows.
#[derive(Debug)]
pub struct Block<'a> {
    /// What the metadata says.
    pub header: BlockHeader,
    /// Rows in the file.
    pub n_rows: usize,
    /// Which of them are here, ascending, counted within the file; all when absent.
    pub rows: Option<Vec<u32>>,
    /// Dimensions in this block, at least 1.
    pub width: usize,
    /// Row-major `[rows, width]`: a view of the file when all rows are here.
    pub codes: Cow<'a, [i8]>,
    /// `[rows]`, in [0, [`MAX_SCALE`]]. Copied, as the norms are, because a file in memory need not be aligned.
    pub scale: Vec<f32>,
    /// `[rows]`, in [0, [`MAX_NORM`]]: at least the norm of what quantisation lost.
    pub error_norm: Vec<f32>,
    /// `[rows]`, in [0, [`MAX_NORM`]]: at least the norm of all later dimensions.
    pub tail_norm: Vec<f32>,
}

/// Bytes that [`Block::parse_rows`] touches for each row, beside `width` codes: scale, error_norm and tail_norm.
pub const COLUMN_BYTES: usize = 12;

/// What is wrong with a block file.
#[derive(Debug, Error)]
pub enum BlockError {
    /// Not a whole safetensors file of this format and version.
    #[error(transparent)]
    File(#[from] TensorsError),
    /// A scale or a norm that no unit vector has.
    #[error(
        "{name} of row {row} is {value}, expected a number from 0 to {limit}: the file is damaged, \
         make the index again (`whence index`)"
    )]
    Value {
        /// The column of the format.
        name: &'static str,
        /// Row of the study.
        row: usize,
        /// What stands there.
        value: f32,
        /// Largest value that may stand there.
        limit: f32,
    },
}

/// Widths of the blocks of `d_model` dimensions: 64, 64, 128, 256, … and what is left; a rest of less than 64 joins the
/// block before it. Their sum is `d_model`.
pub fn widths(d_model: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::new();
    let mut n_left = d_model;
    while n_left > 0 {
        // As wide as everything before, so that each block doubles what has been read.
        let mut width = (d_model - n_left).max(FIRST_WIDTH).min(n_left);
        if n_left - width < FIRST_WIDTH {
            width = n_left;
        }
        widths.push(width);
        n_left -= width;
    }
    widths
}

impl<'a> Block<'a> {
    /// Reads a block from the whole bytes of its file.
    ///
    /// # Errors
    ///
    /// When the file is truncated, of another format or a newer version, inconsistent with its own header, or has a
    /// scale or norm that no unit vector can have.
    pub fn parse(file: &'a [u8]) -> Result<Self, BlockError> {
        Self::read(file, None)
    }

    /// Some rows of a block from the whole bytes of its file, of which little else is touched: a mapped file is read where
    /// those rows lie. `rows` ascend and are counted within the file.
    ///
    /// # Errors
    ///
    /// As [`Block::parse`]; scales and norms of other rows are not looked at.
    ///
    /// # Panics
    ///
    /// Panics when the file has no such row, which [`Block::n_rows`] of an earlier block of the range tells.
    pub fn parse_rows(file: &'a [u8], rows: &[u32]) -> Result<Self, BlockError> {
        Self::read(file, Some(rows))
    }

    fn read(file: &'a [u8], rows: Option<&[u32]>) -> Result<Self, BlockError> {
        let file = TensorFile::parse(file, FORMAT)?;
        let codes = file.tensor("codes", "I8 [n_rows, width]")?;
        let &[n_rows, width] = codes.shape() else {
            return Err(tensors::wrong("codes", "I8 [n_rows, width]", &codes).into());
        };
        if codes.dtype() != Dtype::I8 || n_rows > MAX_ROWS || !(1..=MAX_WIDTH).contains(&width) {
            let limits = format!("I8, at most {MAX_ROWS} rows of 1 to {MAX_WIDTH} columns");
            return Err(tensors::wrong("codes", &limits, &codes).into());
        }
        let header = BlockHeader {
            layer: file.number("layer")?,
            block: file.number("block")?,
            first_dim: file.number("first_dim")?,
            first_row: file.number("first_row")?,
            inputs: file.text("inputs")?,
        };
        let too_large = |key, value: usize| TensorsError::Metadata { key, value: value.to_string() };
        if header.first_row > u32::MAX as usize - n_rows {
            return Err(too_large("first_row", header.first_row).into());
        }
        if header.first_dim > shard::MAX_D_MODEL.saturating_sub(width) {
            return Err(too_large("first_dim", header.first_dim).into());
        }
        let column = |name: &'static str, limit: f32| -> Result<Vec<f32>, BlockError> {
            let bytes = file.data(name, Dtype::F32, &[n_rows])?;
            let values = match rows {
                None => f32s(bytes),
                Some(rows) => rows.iter().flat_map(|&row| f32s(&bytes[row as usize * 4..][..4])).collect(),
            };
            let row_of = |i: usize| header.first_row + rows.map_or(i, |rows| rows[i] as usize);
            check(name, &values, limit, row_of)?;
            Ok(values)
        };
        let scale = column("scale", MAX_SCALE)?;
        let error_norm = column("error_norm", MAX_NORM)?;
        let tail_norm = column("tail_norm", MAX_NORM)?;
        let all: &[i8] = bytemuck::cast_slice(codes.data());
        let codes = match rows {
            None => Cow::Borrowed(all),
            Some(rows) => rows.iter().flat_map(|&row| &all[row as usize * width..][..width]).copied().collect(),
        };
        Ok(Self { header, n_rows, rows: rows.map(<[u32]>::to_vec), width, codes, scale, error_norm, tail_norm })
    }
}

/// Finds a number that is not in [0, `limit`]; NaN is in no range.
fn check(name: &'static str, values: &[f32], limit: f32, row_of: impl Fn(usize) -> usize) -> Result<(), BlockError> {
    match values.iter().position(|value| !(0.0..=limit).contains(value)) {
        Some(i) => Err(BlockError::Value { name, row: row_of(i), value: values[i], limit }),
        None => Ok(()),
    }
}

/// The columns of a block file, for writing; as in [`Block`].
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// Row-major `[n_rows, width]`, in −127..=127.
    pub codes: &'a [i8],
    /// `[n_rows]`.
    pub scale: &'a [f32],
    /// `[n_rows]`.
    pub error_norm: &'a [f32],
    /// `[n_rows]`.
    pub tail_norm: &'a [f32],
}

/// The bytes of a block file of `width` dimensions; the same input gives the same bytes.
///
/// # Errors
///
/// [`BlockError::Value`] when a scale or norm is negative, not finite, or larger than a unit vector's can be.
///
/// # Panics
///
/// Panics when the columns are not of the same number of rows or a limit of the format is exceeded.
pub fn write(header: &BlockHeader, width: usize, columns: &Columns) -> Result<Vec<u8>, BlockError> {
    let Columns { codes, scale, error_norm, tail_norm } = *columns;
    let n_rows = scale.len();
    assert!((1..=MAX_WIDTH).contains(&width), "width {width} is outside the format's limits");
    assert!(header.first_dim + width <= shard::MAX_D_MODEL, "dimension {} is too large", header.first_dim + width);
    assert!(n_rows <= MAX_ROWS && header.first_row + n_rows <= u32::MAX as usize, "{n_rows} rows are too many");
    assert_eq!(codes.len(), n_rows * width, "codes of every row");
    assert_eq!((error_norm.len(), tail_norm.len()), (n_rows, n_rows), "norms of every row");
    for (name, values, limit) in
        [("scale", scale, MAX_SCALE), ("error_norm", error_norm, MAX_NORM), ("tail_norm", tail_norm, MAX_NORM)]
    {
        check(name, values, limit, |i| header.first_row + i)?;
    }
    let [scale, error_norm, tail_norm] = [scale, error_norm, tail_norm].map(f32_bytes);
    let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).map_err(TensorsError::from);
    let tensors = vec![
        ("codes", view(Dtype::I8, vec![n_rows, width], bytemuck::cast_slice(codes))?),
        ("scale", view(Dtype::F32, vec![n_rows], &scale)?),
        ("error_norm", view(Dtype::F32, vec![n_rows], &error_norm)?),
        ("tail_norm", view(Dtype::F32, vec![n_rows], &tail_norm)?),
    ];
    let metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("layer".to_owned(), header.layer.to_string()),
        ("block".to_owned(), header.block.to_string()),
        ("first_dim".to_owned(), header.first_dim.to_string()),
        ("first_row".to_owned(), header.first_row.to_string()),
        ("inputs".to_owned(), header.inputs.clone()),
    ]);
    Ok(tensors::write(tensors, metadata)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BlockHeader {
        BlockHeader { layer: 20, block: 1, first_dim: 64, first_row: 8192, inputs: "abc".into() }
    }

    fn three_rows() -> Vec<u8> {
        let codes: Vec<i8> = (0..15).map(|i| i * 8 - 60).collect();
        let columns =
            Columns { codes: &codes, scale: &[0.001, 0.0, 0.007], error_norm: &[0.1; 3], tail_norm: &[1.0, 0.0, 0.5] };
        write(&header(), 5, &columns).unwrap()
    }

    #[test]
    fn round_trip_keeps_every_bit() {
        let file = three_rows();
        let block = Block::parse(&file).unwrap();
        assert_eq!((&block.header, block.n_rows, block.width), (&header(), 3, 5));
        assert_eq!(block.codes.iter().map(|&c| i32::from(c)).sum::<i32>(), -60);
        assert_eq!(
            (block.scale.as_slice(), block.tail_norm.as_slice()),
            (&[0.001, 0.0, 0.007][..], &[1.0, 0.0, 0.5][..])
        );
        for _ in 0..32 {
            assert_eq!(three_rows(), file, "the same input gives the same bytes");
        }
        // Read from an odd address as well.
        let shifted = [&[0][..], &file].concat();
        assert_eq!(Block::parse(&shifted[1..]).unwrap().codes, block.codes);
    }

    #[test]
    fn widths_double_and_cover_all_dimensions() {
        assert_eq!(widths(4096), [64, 64, 128, 256, 512, 1024, 2048]);
        assert_eq!(widths(64), [64]);
        assert_eq!(widths(1), [1]);
        assert_eq!(widths(127), [127]);
        assert_eq!(widths(128), [64, 64]);
        assert_eq!(widths(300), [64, 64, 172]);
        for d_model in 1..2000 {
            let widths = widths(d_model);
            assert_eq!(widths.iter().sum::<usize>(), d_model);
            assert!(widths.iter().all(|&width| width >= FIRST_WIDTH.min(d_model)));
        }
    }

    #[test]
    fn some_rows_are_those_of_the_whole() {
        let file = three_rows();
        let whole = Block::parse(&file).unwrap();
        for rows in [&[][..], &[0], &[2], &[0, 2], &[0, 1, 2]] {
            let some = Block::parse_rows(&file, rows).unwrap();
            assert_eq!((some.n_rows, some.rows.as_deref()), (3, Some(rows)));
            for (i, &row) in rows.iter().enumerate() {
                let row = row as usize;
                assert_eq!(some.codes[i * 5..][..5], whole.codes[row * 5..][..5]);
                assert_eq!(
                    (some.scale[i], some.error_norm[i], some.tail_norm[i]),
                    (whole.scale[row], whole.error_norm[row], whole.tail_norm[row])
                );
            }
        }
        // A lying number is refused where it is read.
        let mut file = file;
        let at = file.windows(4).position(|bytes| bytes == 0.007f32.to_le_bytes()).unwrap();
        file[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(Block::parse_rows(&file, &[0, 1]).is_ok());
        let error = Block::parse_rows(&file, &[1, 2]).unwrap_err().to_string();
        assert!(error.contains("scale of row 8194 is NaN"), "{error}");
    }

    #[test]
    fn an_empty_block_is_legal() {
        let none = Columns { codes: &[], scale: &[], error_norm: &[], tail_norm: &[] };
        assert_eq!(Block::parse(&write(&header(), 5, &none).unwrap()).unwrap().n_rows, 0);
    }
}
