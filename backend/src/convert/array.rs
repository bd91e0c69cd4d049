//! Numbers made elsewhere, row by row: `.npy`, safetensors, or a list column of Parquet. What `whence convert` imports
//! and what `whence query` takes as a direction.
//!
//! Files are memory-mapped, so any row is had at once and memory does not grow with their number. Parquet is first
//! copied, batch by batch, into a temporary file of plain numbers.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array as _, ArrayRef};
use arrow_schema::DataType;
use half::{bf16, f16};
use memmap2::Mmap;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use safetensors::{Dtype, SafeTensors};
use thiserror::Error;

use crate::files::{Context, FileError};

/// What is wrong with a file of numbers.
#[derive(Debug, Error)]
pub enum ArrayError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file's name says nothing about what it is.
    #[error("{}: expected a file that ends in .npy, .safetensors or .parquet", path.display())]
    Ending {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what its name says, or cut short.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Numbers of a type that is not read.
    #[error("{}: numbers of type {got}; expected {expected}: convert them first", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// What it holds.
        got: String,
        /// What is read.
        expected: &'static str,
    },
    /// Which of several tensors or columns is meant.
    #[error("{}: {reason}; it has {}", path.display(), names.join(", "))]
    Which {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        reason: String,
        /// What there is.
        names: Vec<String>,
    },
    /// A number that no vector may hold.
    #[error("{}: row {row} (from 0), column {column}: {value:?} cannot be stored as f32", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The row of the file.
        row: usize,
        /// The column.
        column: usize,
        /// What stands there.
        value: f64,
    },
}

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// 8-bit integers.
    I8,
    /// IEEE half precision.
    F16,
    /// The upper half of f32.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision; rounded to f32 when read.
    F64,
}

const READ: &str = "f16, bf16, f32, f64 or i8, little-endian";

impl Numbers {
    fn n_bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn read(self, bytes: &[u8]) -> f64 {
        let four = |bytes: &[u8]| bytes.try_into().expect("four bytes");
        let two = |bytes: &[u8]| bytes.try_into().expect("two bytes");
        match self {
            Self::I8 => f64::from(bytes[0] as i8),
            Self::F16 => f16::from_le_bytes(two(bytes)).to_f64(),
            Self::Bf16 => bf16::from_le_bytes(two(bytes)).to_f64(),
            Self::F32 => f64::from(f32::from_le_bytes(four(bytes))),
            Self::F64 => f64::from_le_bytes(bytes.try_into().expect("eight bytes")),
        }
    }
}

/// A matrix of numbers in a file.
#[derive(Debug)]
pub struct Array {
    path: PathBuf,
    n_rows: usize,
    width: usize,
    numbers: Numbers,
    bytes: Mmap,
    offset: usize,
    /// Removed when it is dropped: what Parquet was copied into.
    _copy: Option<Temporary>,
}

impl Array {
    /// Opens a file of vectors, one a row; a single vector is one row. `tensor` names the tensor of a safetensors file
    /// or the column of a Parquet file where there are several. `scratch` is a folder with room for what Parquet holds.
    ///
    /// # Errors
    ///
    /// [`ArrayError`]: another kind of file, a type of numbers that is not read, a file cut short.
    pub fn open(path: &Path, tensor: Option<&str>, scratch: &Path) -> Result<Self, ArrayError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Self::npy(path),
            Some("safetensors") => Self::safetensors(path, tensor),
            Some("parquet") => Self::parquet(path, tensor, scratch),
            _ => Err(ArrayError::Ending { path: path.to_owned() }),
        }
    }

    /// Vectors.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Numbers in a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How they are stored.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Reads a row as f32.
    ///
    /// # Errors
    ///
    /// When a number is not finite or beyond f32.
    ///
    /// # Panics
    ///
    /// Panics when there is no such row or `out` is not as wide.
    pub fn read_row(&self, row: usize, out: &mut [f32]) -> Result<(), ArrayError> {
        assert!(row < self.n_rows && out.len() == self.width, "row {row} of {}", self.n_rows);
        let n_bytes = self.numbers.n_bytes();
        let first = self.offset + row * self.width * n_bytes;
        let bytes = &self.bytes[first..first + self.width * n_bytes];
        for (column, (out, bytes)) in out.iter_mut().zip(bytes.chunks_exact(n_bytes)).enumerate() {
            let value = self.numbers.read(bytes);
            *out = value as f32;
            if !out.is_finite() {
                return Err(ArrayError::NotFinite { path: self.path.clone(), row, column, value });
            }
        }
        Ok(())
    }

    fn npy(path: &Path) -> Result<Self, ArrayError> {
        let bytes = map(path)?;
        let malformed = |reason: String| ArrayError::Malformed { path: path.to_owned(), reason };
        let NpyHeader { descr, is_fortran, shape, offset } = npy_header(&bytes).map_err(malformed)?;
        let numbers = match descr.as_str() {
            "<f2" => Numbers::F16,
            "<f4" => Numbers::F32,
            "<f8" => Numbers::F64,
            "|i1" => Numbers::I8,
            _ => return Err(ArrayError::Type { path: path.to_owned(), got: descr, expected: READ }),
        };
        if is_fortran && shape.len() > 1 {
            let reason = "numbers lie column by column; save it with numpy.ascontiguousarray".to_owned();
            return Err(malformed(reason));
        }
        Self::of_bytes(path, &shape, numbers, bytes, offset)
    }

    fn safetensors(path: &Path, tensor: Option<&str>) -> Result<Self, ArrayError> {
        let bytes = map(path)?;
        let malformed = |error: safetensors::SafeTensorError| ArrayError::Malformed {
            path: path.to_owned(),
            reason: format!("not a complete safetensors file: {error}"),
        };
        let (header_len, metadata) = SafeTensors::read_metadata(&bytes).map_err(malformed)?;
        SafeTensors::deserialize(&bytes).map_err(malformed)?;
        let mut names: Vec<String> = metadata.tensors().keys().cloned().collect();
        names.sort();
        // A behavior's file holds its direction beside the vectors it was made of.
        let name = match (tensor, names.as_slice()) {
            (Some(name), _) => name.to_owned(),
            (None, [only]) => only.clone(),
            (None, names) if names.iter().any(|name| name == "direction") => "direction".to_owned(),
            (None, _) => {
                let reason = "name one of its tensors, as FILE#NAME".to_owned();
                return Err(ArrayError::Which { path: path.to_owned(), reason, names });
            }
        };
        let Some(info) = metadata.info(&name) else {
            return Err(ArrayError::Which { path: path.to_owned(), reason: format!("no tensor {name:?}"), names });
        };
        let numbers = match info.dtype {
            Dtype::I8 => Numbers::I8,
            Dtype::F16 => Numbers::F16,
            Dtype::BF16 => Numbers::Bf16,
            Dtype::F32 => Numbers::F32,
            Dtype::F64 => Numbers::F64,
            other => {
                return Err(ArrayError::Type { path: path.to_owned(), got: format!("{other:?}"), expected: READ });
            }
        };
        let (shape, offset) = (info.shape.clone(), 8 + header_len + info.data_offsets.0);
        Self::of_bytes(path, &shape, numbers, bytes, offset)
    }

    fn of_bytes(
        path: &Path,
        shape: &[usize],
        numbers: Numbers,
        bytes: Mmap,
        offset: usize,
    ) -> Result<Self, ArrayError> {
        let malformed = |reason: String| ArrayError::Malformed { path: path.to_owned(), reason };
        let (n_rows, width) = match *shape {
            [width] => (1, width),
            [n_rows, width] => (n_rows, width),
            _ => return Err(malformed(format!("shape {shape:?}; expected [rows, numbers] or [numbers]"))),
        };
        let n_bytes = n_rows.checked_mul(width).and_then(|n| n.checked_mul(numbers.n_bytes()));
        let there = bytes.len().saturating_sub(offset);
        match n_bytes {
            Some(n_bytes) if n_bytes <= there => {}
            _ => {
                let expected = n_bytes.map_or_else(|| "more bytes than there can be".into(), |n| format!("{n} bytes"));
                return Err(malformed(format!(
                    "shape {shape:?} takes {expected}, got {there}: the file is truncated or its header lies"
                )));
            }
        }
        if width == 0 {
            return Err(malformed("vectors without numbers".into()));
        }
        Ok(Self { path: path.to_owned(), n_rows, width, numbers, bytes, offset, _copy: None })
    }

    fn parquet(path: &Path, column: Option<&str>, scratch: &Path) -> Result<Self, ArrayError> {
        let malformed = |reason: String| ArrayError::Malformed { path: path.to_owned(), reason };
        let broken = |error: &dyn std::fmt::Display| malformed(format!("not a readable Parquet file: {error}"));
        let file = File::open(path).at("open", path)?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(&error))?;
        let is_list = |data_type: &DataType| {
            matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
        };
        let lists: Vec<String> = builder
            .schema()
            .fields()
            .iter()
            .filter(|field| is_list(field.data_type()))
            .map(|field| field.name().clone())
            .collect();
        let name = match (column, lists.as_slice()) {
            (Some(name), lists) if lists.iter().any(|list| list == name) => name.to_owned(),
            (Some(name), _) => {
                let reason = format!("no list column {name:?}");
                return Err(ArrayError::Which { path: path.to_owned(), reason, names: lists });
            }
            (None, [only]) => only.clone(),
            (None, _) => {
                let reason = "name one of its list columns, as FILE#NAME".to_owned();
                return Err(ArrayError::Which { path: path.to_owned(), reason, names: lists });
            }
        };
        let mask = ProjectionMask::columns(builder.parquet_schema(), [name.as_str()]);
        let reader = builder.with_projection(mask).with_batch_size(1024).build().map_err(|error| broken(&error))?;
        let copy = Temporary(scratch.join(format!(".convert.{}.tmp", std::process::id())));
        std::fs::create_dir_all(scratch).at("create folder", scratch)?;
        let mut out = BufWriter::new(File::create(&copy.0).at("create", &copy.0)?);
        let (mut n_rows, mut width) = (0, None);
        for batch in reader {
            let batch = batch.map_err(|error| broken(&error))?;
            let lists = batch.column(0);
            for i in 0..batch.num_rows() {
                let list = list_at(lists, i).ok_or_else(|| malformed(format!("row {n_rows} is null")))?;
                let expected = *width.get_or_insert(list.len());
                if list.len() != expected {
                    let got = list.len();
                    return Err(malformed(format!("row {n_rows} has {got} numbers, expected {expected} as before")));
                }
                let values = floats(&list).ok_or_else(|| ArrayError::Type {
                    path: path.to_owned(),
                    got: format!("{}", list.data_type()),
                    expected: "lists of f32 or f64 without nulls",
                })?;
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                out.write_all(&bytes).at("write", &copy.0)?;
                n_rows += 1;
            }
        }
        out.into_inner().map_err(std::io::IntoInnerError::into_error).at("write", &copy.0)?;
        let Some(width) = width.filter(|width| *width > 0) else { return Err(malformed("no numbers in it".into())) };
        let bytes = map(&copy.0)?;
        let mut array = Self::of_bytes(path, &[n_rows, width], Numbers::F64, bytes, 0)?;
        array._copy = Some(copy);
        Ok(array)
    }
}

fn list_at(lists: &ArrayRef, i: usize) -> Option<ArrayRef> {
    if lists.is_null(i) {
        return None;
    }
    Some(match lists.data_type() {
        DataType::List(_) => lists.as_list::<i32>().value(i),
        DataType::LargeList(_) => lists.as_list::<i64>().value(i),
        _ => lists.as_fixed_size_list().value(i),
    })
}

fn floats(list: &ArrayRef) -> Option<Vec<f64>> {
    if list.null_count() > 0 {
        return None;
    }
    match list.data_type() {
        DataType::Float32 => Some(list.as_primitive::<Float32Type>().values().iter().map(|x| f64::from(*x)).collect()),
        DataType::Float64 => Some(list.as_primitive::<Float64Type>().values().to_vec()),
        _ => None,
    }
}

fn map(path: &Path) -> Result<Mmap, FileError> {
    let file = File::open(path).at("open", path)?;
    // SAFETY: the bytes are only read, and read again wherever they are used; a file that someone rewrites meanwhile
    // gives other numbers, and one that is truncated ends the process.
    unsafe { Mmap::map(&file) }.at("map", path)
}

/// A file that is removed when it is no longer needed.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct NpyHeader {
    descr: String,
    is_fortran: bool,
    shape: Vec<usize>,
    /// Of the first number.
    offset: usize,
}

/// NumPy's format, versions 1 to 3: magic, version, length, and a Python dict in text.
fn npy_header(bytes: &[u8]) -> Result<NpyHeader, String> {
    let cut = || "not a NumPy file, or cut short in its header".to_owned();
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err("not a NumPy file: it does not begin with \\x93NUMPY".into());
    }
    let (len, start) = match bytes.get(6) {
        Some(1) => (bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))), 10),
        Some(2 | 3) => (bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize), 12),
        Some(version) => return Err(format!("NumPy format version {version}; expected 1 to 3")),
        None => return Err(cut()),
    };
    let end = len.and_then(|len| len.checked_add(start)).ok_or_else(cut)?;
    let text = bytes.get(start..end).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).map_err(|_| cut())?;
    let value_of = |key: &str| -> Result<&str, String> {
        let at = text.find(&format!("'{key}'")).ok_or_else(|| format!("its header has no {key:?}: {text:?}"))?;
        let rest = &text[at + key.len() + 2..];
        Ok(rest.trim_start().strip_prefix(':').ok_or_else(cut)?.trim_start())
    };
    let descr = value_of("descr")?;
    let descr = match descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) {
        Some((descr, _)) => descr.to_owned(),
        // Records: the list of fields stands for their type.
        None => descr.split(']').next().unwrap_or_default().to_owned() + "]",
    };
    let shape = value_of("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(cut)?.0;
    let numbers = shape.split(',').map(str::trim).filter(|number| !number.is_empty());
    let shape = numbers
        .map(|number| number.parse().map_err(|_| format!("shape {shape:?}")))
        .collect::<Result<Vec<usize>, _>>()?;
    Ok(NpyHeader { descr, is_fortran: value_of("fortran_order")?.starts_with("True"), shape, offset: end })
}

/// The first bytes of a `.npy` file of `[n_rows, width]` numbers of type `descr`, as NumPy writes it.
pub fn npy_head(descr: &str, n_rows: usize, width: usize) -> Vec<u8> {
    let mut dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({n_rows}, {width}), }}");
    // Numbers begin at a multiple of 64 bytes; the header ends with a line break.
    while !(10 + dict.len() + 1).is_multiple_of(64) {
        dict.push(' ');
    }
    dict.push('\n');
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend_from_slice(&(dict.len() as u16).to_le_bytes());
    head.extend_from_slice(dict.as_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, numbers: &[u8], shape: (usize, usize)) -> Result<Array, ArrayError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, [npy_head(descr, shape.0, shape.1), numbers.to_vec()].concat()).unwrap();
        Array::open(&path, None, folder.path())
    }

    #[test]
    fn npy_of_every_type_is_read() {
        let rows = |array: Array| {
            let mut row = vec![0.0; array.width()];
            (0..array.n_rows())
                .map(|i| {
                    array.read_row(i, &mut row).unwrap();
                    row.clone()
                })
                .collect::<Vec<_>>()
        };
        let f64s: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(rows(npy("<f8", &f64s, (2, 1)).unwrap()), [[1.5], [-2.0]]);
        let f32s: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(rows(npy("<f4", &f32s, (1, 2)).unwrap()), [[1.5, -2.0]]);
        assert_eq!(rows(npy("|i1", &[255, 3], (1, 2)).unwrap()), [[-1.0, 3.0]]);
        assert_eq!(rows(npy("<f2", &[0, 0x3c, 0, 0xc0], (1, 2)).unwrap()), [[1.0, -2.0]]);
        assert_eq!(npy_head("<f4", 3, 4).len() % 64, 0);
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (descr, numbers, shape, said) in [
            ("<i4", 8, (1, 2), "numbers of type <i4"),
            (">f4", 8, (1, 2), "numbers of type >f4"),
            ("<f4", 7, (1, 2), "takes 8 bytes, got 7"),
            ("<f4", 8, (usize::MAX, 2), "more bytes than there can be"),
            ("<f4", 8, (3, 0), "without numbers"),
        ] {
            let error = npy(descr, &vec![0; numbers], shape).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("x.npy"), "{error}");
        }
        let nan = npy("<f4", &f32::NAN.to_le_bytes(), (1, 1)).unwrap();
        assert!(nan.read_row(0, &mut [0.0]).unwrap_err().to_string().contains("row 0"));
        let large = npy("<f8", &1e300f64.to_le_bytes(), (1, 1)).unwrap();
        assert!(large.read_row(0, &mut [0.0]).unwrap_err().to_string().contains("1e300 cannot be stored"), "1e300");
    }

    #[test]
    fn headers_cut_anywhere_are_refused() {
        let whole = [npy_head("<f4", 1, 2), vec![0; 8]].concat();
        assert!(npy_header(&whole).is_ok());
        for cut in 0..whole.len() - 8 {
            assert!(npy_header(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
