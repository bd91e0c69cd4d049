//! Vector shards: the file format of pair vectors and behavior vectors.
//!
//! A shard is one safetensors file (readable from Python with `safetensors.numpy.load_file`) that holds a contiguous
//! range of rows of one layer:
//!
//! ```text
//! tensor     dtype       shape               meaning
//! vectors    F32 | F16   [n_rows, d_model]   row-major; row i belongs to row first_row + i of the study
//! direction  F32         [d_model]           behavior files only: the direction made of the rows
//!
//! metadata key   value
//! format         "whence.vectors/1"
//! layer          decoder layer, as hidden_states[layer] in transformers (0 = embeddings)
//! first_row      row of the study that row 0 is
//! inputs         hash of everything the vectors were made from; files with different inputs never mix
//! ```
//!
//! Limits: [`MAX_ROWS`] rows, [`MAX_D_MODEL`] columns. Every value is finite: the writer refuses NaN and infinity, so
//! whoever reads a shard may trust its scores.

use std::collections::HashMap;

use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::tensors::{self, TensorFile, TensorsError, f32_bytes, f32s};

/// The value of the `format` metadata key.
pub const FORMAT: &str = "whence.vectors/1";
/// Largest number of rows in one shard.
pub const MAX_ROWS: usize = 1 << 20;
/// Largest width of a vector.
pub const MAX_D_MODEL: usize = 1 << 16;

const _: () = assert!(MAX_ROWS <= u32::MAX as usize, "rows are numbered in u32 by the ranking");

/// How the numbers of a shard are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreDtype {
    /// 32-bit floats, as computed.
    #[default]
    F32,
    /// 16-bit floats: half the bytes, relative error at most 2⁻¹¹; values beyond ±65504 are refused.
    F16,
}

impl StoreDtype {
    /// `f32` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            StoreDtype::F32 => "f32",
            StoreDtype::F16 => "f16",
        }
    }

    /// Bytes per number.
    pub fn n_bytes(self) -> usize {
        match self {
            StoreDtype::F32 => 4,
            StoreDtype::F16 => 2,
        }
    }

    /// Numbers stored in this type, as f32. `bytes` holds one number per element of `out`.
    ///
    /// # Panics
    ///
    /// Panics when `bytes` is of another length.
    pub fn widen(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len() * self.n_bytes(), "one stored number per element");
        match self {
            StoreDtype::F32 => {
                for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *x = f32::from_le_bytes(*b);
                }
            }
            StoreDtype::F16 => {
                for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *x = f16::from_le_bytes(*b).to_f32();
                }
            }
        }
    }
}

/// What is wrong with a shard.
#[derive(Debug, Error)]
pub enum ShardError {
    /// Not a whole safetensors file of this format and version.
    #[error(transparent)]
    File(#[from] TensorsError),
    /// A number is NaN, infinite or too large for the storage type.
    #[error("row {row}, column {column}: {value} cannot be stored as {dtype}; {remedy}")]
    NotStorable {
        /// Row of the study.
        row: usize,
        /// Column of the vector.
        column: usize,
        /// The number.
        value: f32,
        /// Storage type asked for.
        dtype: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

/// What the metadata of a shard says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardHeader {
    /// Decoder layer, 0 = embeddings.
    pub layer: usize,
    /// Row of the study that row 0 of the shard is.
    pub first_row: usize,
    /// Hash of everything the vectors were made from.
    pub inputs: String,
}

/// A shard in memory: a view of its file's bytes.
#[derive(Debug)]
pub struct Shard<'a> {
    /// What the metadata says.
    pub header: ShardHeader,
    /// Rows in this shard.
    pub n_rows: usize,
    /// Width of a vector.
    pub d_model: usize,
    /// How numbers are stored.
    pub dtype: StoreDtype,
    /// The direction, in behavior files.
    pub direction: Option<Vec<f32>>,
    bytes: &'a [u8],
}

impl<'a> Shard<'a> {
    /// Reads a shard from the whole bytes of its file.
    ///
    /// # Errors
    ///
    /// When the file is truncated, of another format, or inconsistent with its own metadata.
    pub fn parse(file: &'a [u8]) -> Result<Self, ShardError> {
        let file = TensorFile::parse(file, FORMAT)?;
        let vectors = file.tensor("vectors", "F32 or F16 [n_rows, d_model]")?;
        let dtype = match vectors.dtype() {
            Dtype::F32 => StoreDtype::F32,
            Dtype::F16 => StoreDtype::F16,
            _ => return Err(tensors::wrong("vectors", "F32 or F16", &vectors).into()),
        };
        let &[n_rows, d_model] = vectors.shape() else {
            return Err(tensors::wrong("vectors", "[n_rows, d_model]", &vectors).into());
        };
        if n_rows > MAX_ROWS || !(1..=MAX_D_MODEL).contains(&d_model) {
            let limits = format!("at most {MAX_ROWS} rows of 1 to {MAX_D_MODEL} columns");
            return Err(tensors::wrong("vectors", &limits, &vectors).into());
        }
        let direction = match file.find("direction") {
            None => None,
            Some(_) => Some(f32s(file.data("direction", Dtype::F32, &[d_model])?)),
        };
        let (layer, first_row) = (file.number("layer")?, file.number("first_row")?);
        if first_row > u32::MAX as usize - n_rows {
            return Err(TensorsError::Metadata { key: "first_row", value: first_row.to_string() }.into());
        }
        let header = ShardHeader { layer, first_row, inputs: file.text("inputs")? };
        Ok(Self { header, n_rows, d_model, dtype, direction, bytes: vectors.data() })
    }

    /// Copies row `row` (within the shard) into `out`, `[d_model]`, widening to f32.
    ///
    /// # Panics
    ///
    /// Panics when `row` is out of range or `out` is not `d_model` long.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        let width = self.d_model * self.dtype.n_bytes();
        assert_eq!(out.len(), self.d_model, "a row is d_model wide");
        self.dtype.widen(&self.bytes[row * width..(row + 1) * width], out);
    }

    /// All rows as f32, row-major `[n_rows, d_model]`.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.n_rows * self.d_model];
        for (row, out) in all.chunks_exact_mut(self.d_model.max(1)).enumerate() {
            self.read_row(row, out);
        }
        all
    }
}

/// The bytes of a shard file. `vectors` is row-major `[n_rows, d_model]`; the same input gives the same bytes.
///
/// # Errors
///
/// [`ShardError::NotStorable`] when a value is not finite or overflows the storage type.
///
/// # Panics
///
/// Panics when `vectors` is not a whole number of rows or a limit of the format is exceeded.
pub fn write(
    header: &ShardHeader,
    vectors: &[f32],
    d_model: usize,
    dtype: StoreDtype,
    direction: Option<&[f32]>,
) -> Result<Vec<u8>, ShardError> {
    assert!(d_model > 0 && d_model <= MAX_D_MODEL, "width {d_model} is outside the format's limits");
    assert_eq!(vectors.len() % d_model, 0, "a whole number of rows");
    let n_rows = vectors.len() / d_model;
    assert!(n_rows <= MAX_ROWS, "{n_rows} rows are too many for one shard");

    let mut bytes = Vec::with_capacity(vectors.len() * dtype.n_bytes());
    for (i, &value) in vectors.iter().chain(direction.unwrap_or_default()).enumerate() {
        let not_storable = |dtype: StoreDtype, remedy| ShardError::NotStorable {
            row: header.first_row + i / d_model,
            column: i % d_model,
            value,
            dtype: dtype.name(),
            remedy,
        };
        if !value.is_finite() {
            return Err(not_storable(dtype, "the model's activations overflow: try --dtype f32"));
        }
        if i >= vectors.len() {
            continue;
        }
        match dtype {
            StoreDtype::F32 => bytes.extend_from_slice(&value.to_le_bytes()),
            StoreDtype::F16 => {
                let half = f16::from_f32(value);
                if !half.is_finite() {
                    return Err(not_storable(dtype, "store as f32 instead (--store f32)"));
                }
                bytes.extend_from_slice(&half.to_le_bytes());
            }
        }
    }
    let direction_bytes = f32_bytes(direction.unwrap_or_default());
    let st_dtype = match dtype {
        StoreDtype::F32 => Dtype::F32,
        StoreDtype::F16 => Dtype::F16,
    };
    let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).map_err(TensorsError::from);
    let mut tensors = vec![("vectors", view(st_dtype, vec![n_rows, d_model], &bytes)?)];
    if direction.is_some() {
        tensors.push(("direction", view(Dtype::F32, vec![d_model], &direction_bytes)?));
    }
    let metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("layer".to_owned(), header.layer.to_string()),
        ("first_row".to_owned(), header.first_row.to_string()),
        ("inputs".to_owned(), header.inputs.clone()),
    ]);
    Ok(tensors::write(tensors, metadata)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ShardHeader {
        ShardHeader { layer: 20, first_row: 1024, inputs: "abc".into() }
    }

    #[test]
    fn round_trip_keeps_every_bit_in_f32() {
        let vectors: Vec<f32> = (0..35).map(|i| (i as f32 * 0.37).sin() * 1e3).collect();
        let direction: Vec<f32> = (0..7).map(|i| i as f32).collect();
        let bytes = write(&header(), &vectors, 7, StoreDtype::F32, Some(&direction)).unwrap();
        let shard = Shard::parse(&bytes).unwrap();
        assert_eq!(shard.header, header());
        assert_eq!((shard.n_rows, shard.d_model, shard.dtype), (5, 7, StoreDtype::F32));
        assert_eq!(shard.to_f32(), vectors);
        assert_eq!(shard.direction.as_deref(), Some(direction.as_slice()));
    }

    #[test]
    fn f16_rounds_within_its_precision() {
        let vectors: Vec<f32> = (1..=32).map(|i| 1.0 / i as f32).collect();
        let bytes = write(&header(), &vectors, 8, StoreDtype::F16, None).unwrap();
        let shard = Shard::parse(&bytes).unwrap();
        for (got, expected) in shard.to_f32().iter().zip(&vectors) {
            assert!((got - expected).abs() <= expected * 2f32.powi(-11));
        }
        assert!(shard.direction.is_none());
    }

    #[test]
    fn same_input_gives_same_bytes() {
        let one = write(&header(), &[1.0; 16], 8, StoreDtype::F32, Some(&[0.5; 8])).unwrap();
        for _ in 0..32 {
            assert_eq!(write(&header(), &[1.0; 16], 8, StoreDtype::F32, Some(&[0.5; 8])).unwrap(), one);
        }
    }

    #[test]
    fn refuses_what_cannot_be_stored() {
        let nan = write(&header(), &[0.0, f32::NAN], 1, StoreDtype::F32, None).unwrap_err();
        assert!(nan.to_string().contains("row 1025, column 0"), "{nan}");
        let overflow = write(&header(), &[1.0, 70000.0], 2, StoreDtype::F16, None).unwrap_err();
        assert!(overflow.to_string().contains("--store f32"), "{overflow}");
    }

    #[test]
    fn rejects_truncated_and_foreign_files() {
        let bytes = write(&header(), &[1.0; 16], 8, StoreDtype::F32, None).unwrap();
        for cut in [0, 4, 20, bytes.len() - 1] {
            assert!(Shard::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let foreign =
            safetensors::serialize([("vectors", TensorView::new(Dtype::F32, vec![1, 1], &[0; 4]).unwrap())], None)
                .unwrap();
        assert!(matches!(Shard::parse(&foreign), Err(ShardError::File(TensorsError::Format { .. }))));
    }

    #[test]
    fn empty_shard_is_legal() {
        let bytes = write(&header(), &[], 8, StoreDtype::F32, None).unwrap();
        assert_eq!(Shard::parse(&bytes).unwrap().n_rows, 0);
    }
}
