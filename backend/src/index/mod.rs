//! The index of a study: pair vectors rotated, cut into blocks and stored in int8, so that the best rows are known for
//! certain before most of the bytes are read. Comes after extraction, before behaviors look and ranking reads.
//!
//! ```text
//! vector files ─► sample ─► [`rotation`] ─► [`columns`]: rotated int8 blocks, range by range ─► block files
//!                                                └─► [`recall`]: what ranking by the first blocks would find
//! behavior files ─► [`behaviors`]: the same vectors in the index's basis
//! ```
//!
//! [`verb`] puts these together, [`state`] says whether an index is there and of the vectors that are there now, and
//! [`ranker`] finds the top k through it. The format and all arithmetic of bounds are [`whence_shared::index`]'s.

pub mod behaviors;
pub mod columns;
pub mod ranker;
pub mod recall;
pub mod rotation;
pub mod state;
pub mod verb;

pub use ranker::{Found, Ranker, Wanted};
pub use rotation::Rotation;
pub use state::IndexState;
pub use verb::{IndexOptions, IndexedLayer, index};

use std::path::PathBuf;

use thiserror::Error;
use whence_shared::index::block::BlockError;
use whence_shared::shard::ShardError;

use crate::extract::{ExtractError, VectorFileError};
use crate::files::FileError;
use rotation::RotationError;

/// What stops an index from being made or used.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The study has no vectors, or their manifest is damaged.
    #[error(transparent)]
    Vectors(#[from] ExtractError),
    /// A vector or behavior file is missing, damaged or does not fit the rest.
    #[error(transparent)]
    VectorFile(#[from] VectorFileError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A vector with a number that is not finite.
    #[error("{}: row {row} has a number that is not finite; remove the file and run `whence extract` again", path.display())]
    NotFinite {
        /// The vector file.
        path: PathBuf,
        /// Row of the study.
        row: usize,
    },
    /// A block file of the index cannot be used.
    #[error("{}: {source}; run `whence index` again: other files are kept", path.display())]
    Block {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BlockError,
    },
    /// The rotation of the index cannot be used.
    #[error("{}: {source}; run `whence index` again", path.display())]
    Rotation {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: RotationError,
    },
    /// A behavior's vectors cannot be stored in the index's basis.
    #[error("behavior {name:?} in the index of layer {layer}: {source}")]
    Behavior {
        /// The behavior.
        name: String,
        /// The layer.
        layer: usize,
        /// What is wrong.
        #[source]
        source: ShardError,
    },
    /// A row's own vector is not within the bounds that the index gives it.
    #[error(
        "row {row}: its vector in {} scores {score}, but {} says {} to {}: one of the two was changed; \
         run `whence index --verify`",
        path.display(), index.display(), bounds.0, bounds.1
    )]
    Contradiction {
        /// Row of the study.
        row: u32,
        /// What its vector says.
        score: f64,
        /// What the index says.
        bounds: (f64, f64),
        /// The vector file.
        path: PathBuf,
        /// The first block file of its range.
        index: PathBuf,
    },
    /// A file of the index does not fit its manifest.
    #[error("{}: {what}: expected {expected}, got {got}; run `whence index` again: other files are kept", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the manifest says.
        expected: String,
        /// What the file says.
        got: String,
    },
}
