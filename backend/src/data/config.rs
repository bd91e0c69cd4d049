//! `study.toml`: what a study was imported from and what was found. Written by import, last of its files, so a study
//! with a configuration is whole.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use whence_shared::study::{HealthView, SourceView};

use crate::files::{self, FileError};
use crate::study::Study;

/// The value of [`StudyConfig::format`].
pub const FORMAT: &str = "whence.study/1";

const HEADER: &str = "# Written by `whence import`: what this study was made from.\n\n";

/// What is wrong with a study's configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is none.
    #[error("{}: this is no study: run `whence import INPUT --study {}` first", path.display(), study.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// The study's folder.
        study: PathBuf,
    },
    /// Not what this version writes.
    #[error("{}: {reason}; it was damaged or written by another version: run `whence import` again with --replace", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The contents of `study.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyConfig {
    /// [`FORMAT`].
    pub format: String,
    /// Version of whence that imported it.
    pub whence: String,
    /// `--source` as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Number of pairs.
    pub n_pairs: usize,
    /// SHA-256 of pairs.parquet, in hex.
    pub pairs_sha256: String,
    /// What import found.
    pub health: HealthView,
    /// The files read, in order.
    pub inputs: Vec<InputConfig>,
    /// Sources of the pairs, by name.
    pub sources: Vec<SourceView>,
}

/// One file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// Its path as given, or below the folder as given.
    pub path: String,
    /// Size in bytes.
    pub n_bytes: u64,
    /// SHA-256 of its contents, in hex.
    pub sha256: String,
}

impl StudyConfig {
    /// Reads a study's configuration.
    ///
    /// # Errors
    ///
    /// When it is missing, unreadable or of another version.
    pub fn read(study: &Study) -> Result<Self, ConfigError> {
        let path = study.config();
        if !path.is_file() {
            return Err(ConfigError::Missing { path, study: study.root().to_owned() });
        }
        let malformed = |reason: String| ConfigError::Malformed { path: path.clone(), reason };
        let text = String::from_utf8(files::read(&path)?).map_err(|error| malformed(error.to_string()))?;
        let config: Self =
            toml::from_str(&text).map_err(|error: toml::de::Error| malformed(error.message().to_owned()))?;
        if config.format != FORMAT {
            return Err(malformed(format!("expected format {FORMAT:?}, got {:?}", config.format)));
        }
        Ok(config)
    }

    /// Writes the configuration.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, study: &Study) -> Result<(), FileError> {
        let toml = toml::to_string(self).expect("the configuration is plain data");
        files::write(&study.config(), format!("{HEADER}{toml}").as_bytes())
    }
}
