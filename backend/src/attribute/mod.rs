//! Attribution: which pairs push hardest toward a behavior. The last verb before a reader looks.
//!
//! [`probe`] scores every pair by the cosine of its vector with the behavior's direction and orders them; [`table`]
//! stores a ranking as Parquet and reads it back; [`truth`] measures a ranking where the culprits are known. [`mod@query`]
//! finds the first few along any direction that an [`expression`] states, through the index. [`diagnosis`] says whether
//! editing the first pairs is likely to help, and what else their scores go with ([`covariates`]). [`mod@tokens`] reads some pairs
//! again and says what each token adds to their scores.

pub mod covariates;
pub mod diagnosis;
pub mod expression;
pub mod probe;
pub mod query;
pub mod residual;
pub mod table;
pub mod tokens;
pub mod truth;

pub use diagnosis::{DiagnoseOptions, diagnose};
pub use probe::{RankOptions, Ranking, rank};
pub use query::{Queried, QueryOptions, query};
pub use table::RankedRow;
pub use tokens::{TokensOptions, tokens};
pub use truth::Truth;

use std::path::PathBuf;

use thiserror::Error;
use whence_shared::diagnosis::DiagnosisError;

use crate::convert::ArrayError;
use crate::data::pairs::PairFileError;
use crate::extract::{ExtractError, VectorFileError};
use crate::files::FileError;
use crate::index::IndexError;

/// What stops a ranking.
#[derive(Debug, Error)]
pub enum RankError {
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The study's vectors are absent or not readable.
    #[error(transparent)]
    Vectors(#[from] ExtractError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A file with a direction cannot be read.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// A direction that cannot be understood or has no meaning.
    #[error("{expression:?}: {reason}")]
    Expression {
        /// As it was given.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A ranking that cannot be diagnosed.
    #[error(transparent)]
    Diagnosis(#[from] DiagnosisError),
    /// There is no such behavior.
    #[error("no behavior {name:?} in {}: {}", study.display(), known(name, known_names))]
    UnknownBehavior {
        /// The name asked for.
        name: String,
        /// The study.
        study: PathBuf,
        /// The behaviors there are.
        known_names: Vec<String>,
    },
    /// A layer at which the behavior has no direction.
    #[error(
        "behavior {behavior:?} has no vectors at layer {layer} (expected {}): run `whence behavior --name {behavior}` again",
        path.display()
    )]
    NoDirection {
        /// The behavior.
        behavior: String,
        /// The layer.
        layer: usize,
        /// Where they should be.
        path: PathBuf,
    },
    /// A layer at which no pair has a direction.
    #[error(
        "layer {layer}: every pair vector looked at is zero, so that nothing can be similar to it; look into vectors/remarks, or \
         take another layer with --layers"
    )]
    NoLength {
        /// The layer.
        layer: usize,
    },
    /// Vectors of pairs that are no longer the study's.
    #[error(
        "the vectors in {} were made from other pairs than pairs.parquet now holds (expected {expected}, got {got}): run \
         `whence extract` again with --replace",
        study.display()
    )]
    OtherPairs {
        /// The study.
        study: PathBuf,
        /// What the vectors were made from.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A vector or behavior file that is missing, damaged or does not fit the rest.
    #[error(transparent)]
    VectorFile(#[from] VectorFileError),
    /// A ranking or truth file that cannot be understood.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
}

fn known(name: &str, names: &[String]) -> String {
    let similar = expression::similar(name, names);
    match names {
        [] => "it has none yet: run `whence behavior` first".into(),
        _ if !similar.is_empty() => {
            format!("did you mean {}? expected one of {}", similar.join(" or "), names.join(", "))
        }
        names => format!("expected one of {}", names.join(", ")),
    }
}
