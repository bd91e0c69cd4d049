//! What the app is shown of a study: the same whether a server answers requests with it or a report writes it to files.
//!
//! [`app`] holds the app's own files; [`study`], [`chunks`] and [`columns`] make the JSON that is not stored as such, from [`pairs`];
//! [`nearest`] finds what is near to a pair. [`choice`] says which part of a study is shown; [`files`] lists every address of that part and what answers it.
//! Addresses are relative to the folder that study.json lies in ([`whence_shared::study`]).

pub mod app;
pub mod choice;
pub mod chunks;
pub mod columns;
pub mod files;
pub mod nearest;
pub mod pairs;
pub mod study;

use std::path::PathBuf;

use thiserror::Error;

use crate::data::config::ConfigError;
use crate::data::pairs::PairFileError;
use crate::extract::ExtractError;
use crate::extract::layer_files::VectorFileError;
use crate::files::FileError;

/// Why a study cannot be shown.
#[derive(Debug, Error)]
pub enum ViewError {
    /// The study's configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// What the vectors were made from cannot be read.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// A layer's vectors cannot be read.
    #[error(transparent)]
    Vectors(#[from] VectorFileError),
    /// An import was interrupted between its files.
    #[error("{path}: the configuration is of other pairs than pairs.parquet: run `whence import` again with --replace", path = path.display())]
    OtherPairs {
        /// study.toml.
        path: PathBuf,
    },
    /// The pairs nearest to one cannot be found.
    #[error(transparent)]
    Rank(Box<crate::attribute::RankError>),
    /// A pair's source that the configuration does not list.
    #[error("source {0:?} is not listed in study.toml: import again with --replace")]
    Source(String),
    /// A file that is not what its name says.
    #[error("{path}: {reason}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A part of the study that it does not have.
    #[error("--{option} {asked}: expected {expected}")]
    Choice {
        /// The option.
        option: &'static str,
        /// What was asked for.
        asked: String,
        /// What there is.
        expected: String,
    },
}

impl From<crate::attribute::RankError> for ViewError {
    fn from(error: crate::attribute::RankError) -> Self {
        Self::Rank(Box::new(error))
    }
}

/// The JSON of plain data.
fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data serializes")
}

/// Reads a JSON file; of one that cannot be read only the log says why: what else there is can be shown without.
fn read_or_warn<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Option<T> {
    read_json(path).inspect_err(|error| tracing::warn!("left out: {error}")).ok()
}

/// Reads a JSON file.
fn read_json<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Result<T, ViewError> {
    let bytes = crate::files::read(path)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ViewError::Malformed { path: path.to_owned(), reason: error.to_string() })
}
