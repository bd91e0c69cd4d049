//! Vectors and directions from other programs into a study, and a study's vectors for other programs. Stands beside
//! extraction: what it stores, indexing and ranking read alike.
//!
//! [`mod@import`] binds vectors to pairs by their [`ids`] and stores them as a layer; [`direction`] makes a behavior of a
//! vector; [`export()`] writes a layer as `.npy`, safetensors or Parquet; [`mod@array`] reads these.
//!
//! Imported vectors state where they came from in `vectors/manifest.json`, and their inputs are those of the method
//! that made them: they never mix with extracted ones.

pub mod array;
pub mod direction;
pub mod export;
pub mod ids;
pub mod import;

pub use array::{Array, ArrayError};
pub use direction::{DirectionOptions, import_direction};
pub use export::{Exported, export};
pub use import::{ImportOptions, Imported, import};

use std::path::PathBuf;

use thiserror::Error;
use whence_shared::shard::ShardError;

use crate::behavior::BehaviorError;
use crate::data::config::ConfigError;
use crate::data::pairs::PairFileError;
use crate::extract::{ExtractError, VectorFileError};
use crate::files::FileError;
use crate::index::IndexError;

/// What stops a conversion.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// The file of numbers cannot be read.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// The pairs cannot be read or written.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// The study's configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The study's vectors were made in another way.
    #[error(transparent)]
    Vectors(#[from] ExtractError),
    /// A vector file of the study cannot be read.
    #[error(transparent)]
    VectorFile(#[from] VectorFileError),
    /// The behavior cannot be stored.
    #[error(transparent)]
    Behavior(#[from] BehaviorError),
    /// The index cannot be brought up to date.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A vector cannot be stored.
    #[error("{}: {source}", path.display())]
    Store {
        /// The file it came from.
        path: PathBuf,
        /// What is wrong with it; rows are the study's.
        #[source]
        source: ShardError,
    },
    /// The file with ids cannot be understood.
    #[error("{}: {reason}", path.display())]
    Ids {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Vectors and ids, or vectors and pairs, are not of the same number.
    #[error("{}: {got} vectors, but {expected} {of}; {remedy}", path.display())]
    Count {
        /// The file with the vectors.
        path: PathBuf,
        /// Vectors in it.
        got: usize,
        /// What there should be.
        expected: usize,
        /// Of what: `pairs in the study` or `ids`.
        of: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Vectors of another width than those that are there.
    #[error("{}: vectors of {got} numbers; the study's have {expected}", path.display())]
    Width {
        /// The file.
        path: PathBuf,
        /// Its width.
        got: usize,
        /// The study's.
        expected: usize,
    },
    /// Two vectors for one pair.
    #[error("id {id:?} stands at rows {first} and {second} (from 0): expected one vector per pair")]
    Duplicate {
        /// The id.
        id: String,
        /// The earlier row.
        first: usize,
        /// The later row.
        second: usize,
    },
    /// Vectors of what is no pair.
    #[error("{n} ids are of no pair of the study, the first is {first:?}; --ignore-unknown leaves their vectors out")]
    Unknown {
        /// How many.
        n: usize,
        /// The first.
        first: String,
    },
    /// Pairs without a vector.
    #[error(
        "{n} of {n_pairs} pairs have no vector, such as {}; --allow-missing gives them a zero vector (score 0)",
        examples.join(", ")
    )]
    Missing {
        /// How many.
        n: usize,
        /// Of how many.
        n_pairs: usize,
        /// The first few ids.
        examples: Vec<String>,
    },
    /// A layer or a behavior that is there and was made from something else.
    #[error("{what} is there already, made from {there}; --replace overwrites it")]
    Exists {
        /// What it is.
        what: String,
        /// Where it came from.
        there: String,
    },
    /// An export would overwrite something else.
    #[error("{} exists and is not this export: choose another --out, or pass --replace", path.display())]
    OutExists {
        /// The file.
        path: PathBuf,
    },
    /// A file to write whose name says nothing about what it is to be.
    #[error("{}: expected a name that ends in .npy, .safetensors or .parquet", path.display())]
    Ending {
        /// The name given.
        path: PathBuf,
    },
    /// An option that has no meaning here.
    #[error("{0}")]
    Option(String),
    /// A layer without complete pair vectors.
    #[error(
        "layer {layer} has no complete pair vectors in {}; complete: {}",
        study.display(), crate::study::numbers(complete)
    )]
    LayerIncomplete {
        /// The layer asked for.
        layer: usize,
        /// The study.
        study: PathBuf,
        /// Layers that are complete.
        complete: Vec<usize>,
    },
}
