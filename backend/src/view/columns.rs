//! `columns.safetensors`: source, lengths and metadata of every pair as columns, what the app filters by
//! ([`whence_shared::columns`]). Made in one pass over `pairs.parquet`, a row group in memory at a time.

use whence_shared::columns::Builder;

use super::ViewError;
use super::pairs::{OpenPairs, source_number, source_numbers};
use crate::data::config::StudyConfig;

/// The file.
///
/// # Errors
///
/// When the pairs cannot be read or name a source that is not listed.
pub fn columns(pairs: &OpenPairs, config: &StudyConfig) -> Result<Vec<u8>, ViewError> {
    let numbers = source_numbers(config);
    let mut builder = Builder::default();
    for pair in pairs.file.iter() {
        let pair = pair?;
        builder.push(&pair, source_number(&numbers, &pair.source)?);
    }
    Ok(builder.finish(pairs.sha256.clone()).to_bytes())
}
