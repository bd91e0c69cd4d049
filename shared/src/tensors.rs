//! What our tensor files have in common: safetensors with text metadata, checked on reading, canonical on writing.
//!
//! [`crate::shard`] and [`crate::index::block`] say which tensors and keys their files hold; this module reads and
//! writes the container. A file is read from its whole bytes and never trusted: every number of its header is checked
//! against the bytes that are there before anything is looked at.

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use thiserror::Error;

use crate::json;

/// What is wrong with a tensor file.
#[derive(Debug, Error)]
pub enum TensorsError {
    /// The bytes are not a whole safetensors file.
    #[error("not a complete safetensors file (truncated download or interrupted copy?): {0}")]
    Safetensors(#[from] SafeTensorError),
    /// The header places a tensor outside the file.
    #[error(
        "not a complete safetensors file: tensor {name:?} ends at byte {end} of the data, expected at most {data_len}: the file is cut or its header lies"
    )]
    OutsideFile {
        /// The tensor.
        name: String,
        /// Where its data ends, as the header says.
        end: String,
        /// Bytes after the header.
        data_len: usize,
    },
    /// A safetensors file, but not one of ours or of another version.
    #[error("expected metadata format {expected:?}, got {got:?}: {remedy}")]
    Format {
        /// The format asked for.
        expected: &'static str,
        /// The format stated; empty when none is.
        got: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A metadata key is absent or not a number.
    #[error("metadata key {key:?} is missing or malformed: {value:?}")]
    Metadata {
        /// The key.
        key: &'static str,
        /// What stands there.
        value: String,
    },
    /// A tensor is absent or has the wrong type or shape.
    #[error("tensor {name:?}: expected {expected}, got {got}")]
    Tensor {
        /// The tensor.
        name: &'static str,
        /// What the format asks for.
        expected: String,
        /// What was found.
        got: String,
    },
}

/// A tensor file in memory: a view of its bytes.
#[derive(Debug)]
pub(crate) struct TensorFile<'a> {
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

impl<'a> TensorFile<'a> {
    /// Reads the header of a file given whole, and checks that it is of the format `expected`.
    pub(crate) fn parse(file: &'a [u8], expected: &'static str) -> Result<Self, TensorsError> {
        check_ends(file)?;
        let (_, header) = SafeTensors::read_metadata(file)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let got = metadata.get("format").cloned().unwrap_or_default();
        if got != expected {
            let remedy = match is_newer(expected, &got) {
                true => "it is of a newer version: update Whence",
                false => "this file is not a vector shard or block file of this version",
            };
            return Err(TensorsError::Format { expected, got, remedy });
        }
        Ok(Self { tensors: SafeTensors::deserialize(file)?, metadata })
    }

    /// The text of a metadata key.
    pub(crate) fn text(&self, key: &'static str) -> Result<String, TensorsError> {
        self.metadata.get(key).cloned().ok_or(TensorsError::Metadata { key, value: String::new() })
    }

    /// The number of a metadata key.
    pub(crate) fn number(&self, key: &'static str) -> Result<usize, TensorsError> {
        let value = self.text(key)?;
        // Digits alone: parse() would take a plus sign as well, and one number would have several spellings.
        match value.parse() {
            Ok(number) if value.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
            _ => Err(TensorsError::Metadata { key, value }),
        }
    }

    /// A tensor, if the file has it.
    pub(crate) fn find(&self, name: &str) -> Option<TensorView<'a>> {
        self.tensors.tensor(name).ok()
    }

    /// A tensor that the file must have.
    pub(crate) fn tensor(&self, name: &'static str, expected: &str) -> Result<TensorView<'a>, TensorsError> {
        let absent = || TensorsError::Tensor { name, expected: expected.to_owned(), got: "no such tensor".to_owned() };
        self.find(name).ok_or_else(absent)
    }

    /// The bytes of a tensor that must have a type and shape.
    pub(crate) fn data(&self, name: &'static str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8], TensorsError> {
        let expected = format!("{dtype:?} {shape:?}");
        let view = self.tensor(name, &expected)?;
        match view.dtype() == dtype && view.shape() == shape {
            true => Ok(view.data()),
            false => Err(wrong(name, &expected, &view)),
        }
    }
}

/// A tensor is not what the format asks for.
pub(crate) fn wrong(name: &'static str, expected: &str, view: &TensorView) -> TensorsError {
    let got = format!("{:?} {:?}", view.dtype(), view.shape());
    TensorsError::Tensor { name, expected: expected.to_owned(), got }
}

/// Whether a format name is the expected one with a greater version: `whence.index/2` where `whence.index/1` is read.
pub(crate) fn is_newer(expected: &str, got: &str) -> bool {
    let split = |name: &str| {
        name.rsplit_once('/').and_then(|(kind, version)| Some((kind.to_owned(), version.parse::<u32>().ok()?)))
    };
    match (split(expected), split(got)) {
        (Some((kind, version)), Some((got_kind, got_version))) => kind == got_kind && got_version > version,
        _ => false,
    }
}

// The library adds up the sizes that a header states and compares the sum with the file's length; sizes that lie grossly
// overflow that sum, and would then place a tensor outside the file.
fn check_ends(file: &[u8]) -> Result<(), TensorsError> {
    let Some((len, rest)) = file.split_first_chunk::<8>() else { return Ok(()) };
    // What is wrong otherwise with a header, the library says itself.
    let Ok(len) = usize::try_from(u64::from_le_bytes(*len)) else { return Ok(()) };
    let Some(header) = rest.get(..len) else { return Ok(()) };
    let Ok(serde_json::Value::Object(entries)) = json::from_slice(header) else { return Ok(()) };
    let data_len = rest.len() - len;
    for (name, entry) in &entries {
        let Some(end) = entry.get("data_offsets").and_then(|offsets| offsets.get(1)) else { continue };
        if end.as_u64().is_none_or(|end| end > data_len as u64) {
            return Err(TensorsError::OutsideFile { name: name.clone(), end: end.to_string(), data_len });
        }
    }
    Ok(())
}

/// The bytes of a tensor file: the same input gives the same bytes.
pub(crate) fn write(
    tensors: Vec<(&'static str, TensorView)>,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, TensorsError> {
    canonical(&safetensors::serialize(tensors, Some(metadata))?)
}

/// The same safetensors file with its JSON header in sorted order, padded to a multiple of eight bytes as before.
///
/// The library writes metadata in hash-map order, which would make equal files differ in their bytes and hashes.
fn canonical(file: &[u8]) -> Result<Vec<u8>, TensorsError> {
    let (header_len, _) = SafeTensors::read_metadata(file)?;
    let value: serde_json::Value = json::from_slice(&file[8..8 + header_len]).expect("the library wrote valid JSON");
    let sorted = sort_keys(&value);
    let mut header = serde_json::to_vec(&sorted).expect("JSON values serialise");
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = Vec::with_capacity(8 + header.len() + file.len() - 8 - header_len);
    out.extend_from_slice(&(header.len() as u64).to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(&file[8 + header_len..]);
    Ok(out)
}

// serde_json's own map may be insertion-ordered when another crate of the build asks for `preserve_order`.
fn sort_keys(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            entries.into_iter().map(|(key, value)| (key.clone(), sort_keys(value))).collect()
        }
        other => other.clone(),
    }
}

/// Little-endian bytes as f32 numbers; the bytes need not be aligned.
pub(crate) fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// f32 numbers as little-endian bytes.
pub(crate) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a header as given and `n_bytes` zeros of data.
    fn file(header: &str, n_bytes: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + n_bytes, 0);
        file
    }

    #[test]
    fn sizes_that_overflow_are_refused_by_name() {
        // Eight tensors of 2⁶¹ − 1 bytes, whose sum wraps round to a small number.
        let size = (1u64 << 61) - 1;
        let entry = |i: u64| {
            let (start, end) = (u128::from(i * size), u128::from(i) * u128::from(size) + u128::from(size));
            format!("\"t{i}\":{{\"dtype\":\"U8\",\"shape\":[{size}],\"data_offsets\":[{start},{end}]}}")
        };
        let header = format!("{{{}}}", (0..8).map(entry).collect::<Vec<_>>().join(","));
        let error = TensorFile::parse(&file(&header, 16), "x/1").unwrap_err();
        assert!(error.to_string().contains("tensor \"t0\" ends at byte 2305843009213693951"), "{error}");
    }

    #[test]
    fn a_newer_version_is_called_newer() {
        assert!(is_newer("whence.index/1", "whence.index/2"));
        for other in ["whence.index/1", "whence.index/0", "whence.vectors/2", "", "whence.index/x"] {
            assert!(!is_newer("whence.index/1", other), "{other}");
        }
    }
}
