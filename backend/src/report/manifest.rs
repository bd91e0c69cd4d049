//! `manifest.json` of a bundle: what it holds, with hashes, so that whoever has it can check it. What the app needs of it is
//! [`whence_shared::bundle`].

use serde::{Deserialize, Serialize};

pub use whence_shared::bundle::{FORMAT, FileRecord, PATH};

use crate::view::choice::Choice;

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// Version of Whence that wrote it.
    pub whence: String,
    /// Name of the study.
    pub study: String,
    /// SHA-256 of the study's pairs.parquet.
    pub pairs_sha256: String,
    /// What was chosen.
    pub choice: Choice,
    /// Every other file, in alphabetical order.
    pub files: Vec<FileRecord>,
}
