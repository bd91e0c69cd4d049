//! `columns.safetensors`: source, lengths and metadata of every pair ([`whence_shared::columns`]), from `pairs.parquet`.

use super::ViewError;
use super::pairs::{OpenPairs, source_numbers};
use crate::data::config::StudyConfig;
use crate::data::row_columns::{RowColumnsError, row_columns};

/// The file.
///
/// # Errors
///
/// When the pairs cannot be read.
pub fn columns(pairs: &OpenPairs, config: &StudyConfig) -> Result<Vec<u8>, ViewError> {
    let columns = row_columns(&pairs.file, &source_numbers(config), &pairs.sha256).map_err(|error| match error {
        RowColumnsError::Pairs(error) => ViewError::Pairs(error),
        RowColumnsError::Source(source) => ViewError::Source(source),
    })?;
    Ok(columns.to_bytes())
}
