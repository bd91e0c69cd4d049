//! Source, lengths and metadata of every pair as columns: what the app filters by ([`whence_shared::columns`]). Made in one
//! pass over the pairs, a row group in memory at a time.

use std::collections::HashMap;

use thiserror::Error;
use whence_shared::columns::{Builder, RowColumns};

use super::pairs::{PairFile, PairFileError};

/// Why there are no columns.
#[derive(Debug, Error)]
pub enum RowColumnsError {
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// A source that the study's configuration lacks.
    #[error("source {0:?} is not listed in study.toml: import again with --replace")]
    Source(String),
}

/// The columns of all pairs. `numbers` gives each source's number in the study's list; `sha256` is the hash of the file.
///
/// # Errors
///
/// When the pairs cannot be read or name a source that is not listed.
pub fn row_columns(
    pairs: &PairFile,
    numbers: &HashMap<&str, u32>,
    sha256: &str,
) -> Result<RowColumns, RowColumnsError> {
    let mut builder = Builder::default();
    for pair in pairs.iter() {
        let pair = pair?;
        let number = numbers.get(pair.source.as_str());
        builder.push(&pair, *number.ok_or_else(|| RowColumnsError::Source(pair.source.clone()))?);
    }
    Ok(builder.finish(sha256.to_owned()))
}
