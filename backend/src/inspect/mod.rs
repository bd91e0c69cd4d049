//! `inspect`: what a model folder, a study or a vector file is, and what is missing in it. Reads, never changes.
//!
//! One file per kind of thing. What is wrong with it is part of the report and no error: a report of a half-downloaded
//! model says which files it lacks. An error means that the path leads to nothing we know.

mod model;
mod shard;
mod study;

pub use model::{ModelReport, WeightsFile};
pub use shard::ShardReport;
pub use study::{ArmSummary, BehaviorSummary, EditSummary, FaultyFile, Rows, RunSummary, SeriesReport, StudyReport};

use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;
use whence_shared::shard::ShardError;

use crate::files::FileError;
use crate::progress::Report;
use crate::study::Study;

/// Why nothing can be said.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The path leads nowhere.
    #[error("{} does not exist", path.display())]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// Something else than what we know.
    #[error(
        "{}: expected a model folder (with config.json), a study folder (with pairs.parquet) or a vector file \
         (.safetensors)",
        path.display()
    )]
    Unknown {
        /// The path.
        path: PathBuf,
    },
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that is no vector file.
    #[error("{}: {source}", path.display())]
    Shard {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ShardError,
    },
}

/// A report of whatever lies at a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Inspected {
    /// A Hugging Face model folder.
    Model(ModelReport),
    /// A study folder.
    Study(Box<StudyReport>),
    /// A vector file.
    Shard(ShardReport),
}

/// Looks at a path. `verify` reads every vector file of a study to its end and compares it with its recorded hash,
/// instead of only its header and size.
///
/// # Errors
///
/// [`InspectError`] when the path leads to nothing we know.
pub fn inspect(path: &Path, verify: bool, report: Report) -> Result<Inspected, InspectError> {
    if !path.exists() {
        return Err(InspectError::Absent { path: path.to_owned() });
    }
    if path.is_file() {
        return Ok(Inspected::Shard(shard::inspect(path)?));
    }
    // A study folder first: someone may keep a model's config.json in it, never the other way round.
    let study = Study::at(path);
    if study.pairs().is_file() || study.config().is_file() || study.vectors_manifest().is_file() {
        return Ok(Inspected::Study(Box::new(study::inspect(&study, verify, report)?)));
    }
    if path.join("config.json").is_file() || path.join("tokenizer.json").is_file() {
        return Ok(Inspected::Model(model::inspect(path, report)));
    }
    Err(InspectError::Unknown { path: path.to_owned() })
}
