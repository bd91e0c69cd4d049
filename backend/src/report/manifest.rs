//! `manifest.json` of a bundle: what it holds, with hashes, so that whoever has it can check it.

use serde::{Deserialize, Serialize};

use crate::view::choice::Choice;

/// The value of [`Manifest::format`].
pub const FORMAT: &str = "whence.bundle/1";
/// Its path in the bundle.
pub const PATH: &str = "manifest.json";

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

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path in the bundle, with `/` between folders.
    pub path: String,
    /// Its size.
    pub n_bytes: u64,
    /// SHA-256 of its contents, in hex.
    pub sha256: String,
}
