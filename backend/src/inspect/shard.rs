//! One vector file: its header, and the lengths of its vectors.

use std::path::Path;

use serde::Serialize;
use whence_shared::dot;
use whence_shared::shard::Shard;

use super::InspectError;
use crate::files;

/// What a vector file holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShardReport {
    /// The file.
    pub path: String,
    /// Decoder layer, 0 = embeddings.
    pub layer: usize,
    /// Row of the study that its first row is.
    pub first_row: usize,
    /// Rows.
    pub n_rows: usize,
    /// Width of a vector.
    pub d_model: usize,
    /// How numbers are stored: `f32` or `f16`.
    pub dtype: &'static str,
    /// Hash of what the vectors were made from.
    pub inputs: String,
    /// Whether it holds a direction: a behavior's file and not pair vectors.
    pub has_direction: bool,
    /// Size of the file in bytes.
    pub n_bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Rows of zeros: pairs without a vector, or with equal sides.
    pub n_zero_rows: usize,
    /// Least, mean and greatest Euclidean norm of the other rows; absent when there are none.
    pub norms: Option<[f32; 3]>,
}

pub(super) fn inspect(path: &Path) -> Result<ShardReport, InspectError> {
    if path.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(InspectError::Unknown { path: path.to_owned() });
    }
    let bytes = files::read(path)?;
    let shard = Shard::parse(&bytes).map_err(|source| InspectError::Shard { path: path.to_owned(), source })?;
    let mut row = vec![0.0; shard.d_model];
    let mut norms = Vec::with_capacity(shard.n_rows);
    for i in 0..shard.n_rows {
        shard.read_row(i, &mut row);
        norms.push(dot::norm(&row));
    }
    norms.retain(|norm| *norm > 0.0);
    let mean = norms.iter().map(|norm| f64::from(*norm)).sum::<f64>() / norms.len().max(1) as f64;
    let least = norms.iter().copied().reduce(f32::min);
    let greatest = norms.iter().copied().reduce(f32::max);
    Ok(ShardReport {
        path: path.display().to_string(),
        layer: shard.header.layer,
        first_row: shard.header.first_row,
        n_rows: shard.n_rows,
        d_model: shard.d_model,
        dtype: shard.dtype.name(),
        inputs: shard.header.inputs.clone(),
        has_direction: shard.direction.is_some(),
        n_bytes: bytes.len() as u64,
        sha256: files::sha256(&bytes),
        n_zero_rows: shard.n_rows - norms.len(),
        norms: least.zip(greatest).map(|(least, greatest)| [least, mean as f32, greatest]),
    })
}
