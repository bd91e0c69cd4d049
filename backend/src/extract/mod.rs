//! Extraction: from pairs to pair vectors, `v_d = ā(p, chosen) − ā(p, rejected)` at the layers asked for.
//!
//! [`verb`] puts the parts together. A study is walked in fixed row ranges with one file per range and layer, so that a
//! killed run continues where it was and ends with the same bytes: [`plan`] finds what is missing, [`pipeline`] reads,
//! computes and writes at once, [`range`] knows the files of a range (with [`remarks`] and [`logps`]), [`manifest`]
//! records what the vectors were made from and refuses to mix. [`part`] is one machine's share and [`mod@merge`] puts shares
//! together. What computes is a [`source::BlockSource`]: [`differ`] with a model, within a device's [`budget`].
//! [`layer_files`] and [`behavior_file`] are how later verbs read what was stored.

pub mod behavior_file;
pub mod budget;
pub mod differ;
pub mod layer_files;
pub mod logps;
pub mod manifest;
pub mod merge;
pub mod part;
pub mod pipeline;
pub mod plan;
pub mod pooling;
pub mod range;
pub mod remarks;
pub mod source;
pub mod verb;

pub use behavior_file::BehaviorFile;
pub use budget::Budget;
pub use differ::{Block, Differ, EncodedPairs, PairLogps, Remark};
pub use layer_files::{LayerFiles, VectorFileError};
pub use manifest::{VectorsManifest, complete_layers};
pub use merge::{MergeError, Merged, merge};
pub use part::Part;
pub use pooling::Pooling;
pub use remarks::{RemarkSummary, rows_without_vector};
pub use source::BlockSource;
pub use verb::{DISCARD, ExtractOptions, Extracted, check_layers, extract};

use std::path::PathBuf;

use thiserror::Error;
use whence_shared::shard::ShardError;

use crate::data::pairs::PairFileError;
use crate::data::tokens::EncoderError;
use crate::files::FileError;
use crate::model::ModelError;

/// What stops an extraction.
#[derive(Debug, Error)]
pub enum ExtractError {
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// The model cannot be loaded or gave up.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The text form cannot be set up.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A vector cannot be stored.
    #[error("vectors of layer {layer}: {source}")]
    Store {
        /// The layer.
        layer: usize,
        /// What is wrong.
        #[source]
        source: ShardError,
    },
    /// The study has vectors made in another way.
    #[error("{path}: this study's vectors were made with another {what} ({there}) than asked for now ({asked}); {}", remedy(what, there), path = path.display())]
    Mixed {
        /// The manifest.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// In the study.
        there: String,
        /// Now.
        asked: String,
    },
    /// Log-probabilities were asked for, but what computes gives none.
    #[error("rows from {first_row}: no log-probabilities were computed; leave --logps out")]
    NoLogps {
        /// First row of the range.
        first_row: usize,
    },
    /// The study has no vectors yet.
    #[error("{study} has no vectors yet: run `whence extract --study {study} --model MODEL` first", study = study.display())]
    NoVectors {
        /// The study.
        study: PathBuf,
    },
    /// A layer without complete pair vectors.
    #[error(
        "layer {layer} has no complete pair vectors in {}; complete: {}; run `whence extract --layers {layer}` first",
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
    /// A manifest is not what this version writes.
    #[error("{path}: {reason}; it was written by another version or damaged: extract again with --replace", path = path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// An option has a value outside its range.
    #[error("{option}: expected {expected}, got {got}")]
    Option {
        /// The option as typed.
        option: &'static str,
        /// Its range.
        expected: String,
        /// What was given.
        got: String,
    },
}

/// What to do about vectors that were made in another way: what costs nothing comes first.
fn remedy(what: &str, there: &str) -> String {
    let keep = match what {
        what if what.starts_with("--") => format!("give `{what} {there}` to add to them, or "),
        "model" => "give the --model that they were made with to add to them, or ".into(),
        "template" => "give the --template that they were made with to add to them, or ".into(),
        _ => String::new(),
    };
    format!("{keep}use another --study folder; --replace discards all vectors of this one")
}
