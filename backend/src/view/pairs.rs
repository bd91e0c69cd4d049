//! The study's pairs as they are shown: open, with their hash and the numbers of their sources, opened again
//! when import replaces them.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::ViewError;
use crate::data::config::StudyConfig;
use crate::data::pairs::{PairFile, PairFileError};
use crate::files::{Context, FileError};
use crate::study::Study;

/// The pairs as they are on disk now.
#[derive(Debug)]
pub struct OpenPairs {
    /// The file.
    pub file: PairFile,
    /// SHA-256 of it, in hex.
    pub sha256: String,
    stamp: Stamp,
}

impl OpenPairs {
    /// Opens a study's pairs and hashes them.
    ///
    /// # Errors
    ///
    /// When they are missing or damaged.
    pub fn open(study: &Study) -> Result<Self, PairFileError> {
        open(&study.pairs())
    }
}

/// What tells one version of a file from another without reading it.
type Stamp = (u64, Option<SystemTime>);

/// Keeps the pairs open.
#[derive(Debug)]
pub struct Pairs {
    path: PathBuf,
    open: Mutex<Arc<OpenPairs>>,
}

impl Pairs {
    /// Opens a study's pairs and hashes them.
    ///
    /// # Errors
    ///
    /// When they are missing or damaged.
    pub fn open(study: &Study) -> Result<Self, PairFileError> {
        let path = study.pairs();
        let open = Mutex::new(Arc::new(open(&path)?));
        Ok(Self { path, open })
    }

    /// The pairs as they are on disk now. Blocks.
    ///
    /// # Errors
    ///
    /// When they cannot be read any more.
    pub fn current(&self) -> Result<Arc<OpenPairs>, PairFileError> {
        let stamp = stamp(&self.path)?;
        let mut current = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if current.stamp != stamp {
            *current = Arc::new(open(&self.path)?);
        }
        Ok(current.clone())
    }
}

fn open(path: &PathBuf) -> Result<OpenPairs, PairFileError> {
    // The stamp first: a file replaced meanwhile then looks changed next time.
    let stamp = if path.exists() { stamp(path)? } else { (0, None) };
    let file = PairFile::open(path)?;
    Ok(OpenPairs { sha256: file.sha256()?, file, stamp })
}

fn stamp(path: &PathBuf) -> Result<Stamp, FileError> {
    let metadata = fs::metadata(path).at("read", path)?;
    Ok((metadata.len(), metadata.modified().ok()))
}

/// The study's configuration, if it is of these very pairs.
///
/// # Errors
///
/// When it cannot be read or an import was interrupted between its files.
pub fn config_of(study: &Study, pairs: &OpenPairs) -> Result<StudyConfig, ViewError> {
    let config = StudyConfig::read(study)?;
    if config.pairs_sha256 != pairs.sha256 {
        return Err(ViewError::OtherPairs { path: study.config() });
    }
    Ok(config)
}

/// Number of each source in [`StudyView::sources`](whence_shared::study::StudyView::sources).
pub fn source_numbers(config: &StudyConfig) -> HashMap<&str, u32> {
    config.sources.iter().zip(0..).map(|(source, number)| (source.name.as_str(), number)).collect()
}

/// One of [`source_numbers`].
///
/// # Errors
///
/// When the configuration does not list the source.
pub fn source_number(numbers: &HashMap<&str, u32>, source: &str) -> Result<u32, ViewError> {
    numbers.get(source).copied().ok_or_else(|| ViewError::Source(source.to_owned()))
}
