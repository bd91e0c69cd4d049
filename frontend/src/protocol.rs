//! What the page and the ranking worker say to each other.
//!
//! A message is a JavaScript array: the JSON of a [`RankRequest`] or [`RankReply`] first, then, after
//! [`RankReply::Ranked`] only, the scores (`Float32Array`, by row) and the order (`Uint32Array`, rows from the highest
//! score to the lowest), both transferred rather than copied.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use whence_shared::study::LayerView;

use crate::fetch::FetchError;

/// Asks for the ranking of one layer's pairs by one behavior. A new request cancels the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankRequest {
    /// Comes back with every reply, so that replies to cancelled requests can be told apart.
    pub id: u32,
    /// Absolute address of the folder that study.json lies in, with a final slash.
    pub data: String,
    /// The behavior's file, relative to `data`.
    pub behavior_path: String,
    /// Number of pairs in the study.
    pub n_pairs: usize,
    /// The pair vectors.
    pub layer: LayerView,
}

/// What the worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RankReply {
    /// The worker runs and takes requests: what is sent before this may be lost.
    Ready,
    /// Bytes arrive.
    Progress {
        /// Of the request.
        id: u32,
        /// How far it is.
        progress: Progress,
    },
    /// The ranking is there; scores and order follow in the same message.
    Ranked {
        /// Of the request.
        id: u32,
        /// What it took.
        cost: RankCost,
    },
    /// There will be no ranking.
    Failed {
        /// Of the request.
        id: u32,
        /// Why.
        error: RankError,
    },
}

/// How far a ranking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes of vectors at hand.
    pub n_bytes_done: u64,
    /// Bytes of vectors in all.
    pub n_bytes_total: u64,
    /// Rows scored.
    pub n_rows_scored: usize,
}

/// What a ranking took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RankCost {
    /// Rows ranked.
    pub n_rows: usize,
    /// Width of a vector.
    pub d_model: usize,
    /// Bytes of vector files that were scored.
    pub n_bytes: u64,
    /// Bytes of vector files downloaded for it; the others were still at hand.
    pub n_bytes_downloaded: u64,
    /// Milliseconds spent reading vectors and computing scores.
    pub score_ms: f64,
    /// Milliseconds spent ordering.
    pub order_ms: f64,
    /// Milliseconds from request to result, downloads included.
    pub total_ms: f64,
    /// Whether every file's SHA-256 was checked. Browsers offer the hash on https and on loopback only.
    pub verified: bool,
}

/// Why there is no ranking.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum RankError {
    /// A file did not arrive.
    #[error("{0}")]
    Fetch(FetchError),
    /// A file arrived with other contents than study.json states.
    #[error("{path}: expected SHA-256 {expected}, got {got}")]
    Hash {
        /// The file.
        path: String,
        /// As study.json says.
        expected: String,
        /// As computed.
        got: String,
    },
    /// A file is not a vector shard.
    #[error("{path}: {reason}")]
    Shard {
        /// The file.
        path: String,
        /// What its reader said.
        reason: String,
    },
    /// Vectors of another width than the layer's.
    #[error("{path}: expected vectors {expected} wide, got {got}")]
    Width {
        /// The file.
        path: String,
        /// Width of the layer.
        expected: usize,
        /// Width in the file.
        got: usize,
    },
    /// A file holds another part than study.json states.
    #[error("{path}: expected {what} {expected}, got {got}")]
    Part {
        /// The file.
        path: String,
        /// `layer`, `first row` or `number of rows`.
        what: String,
        /// As study.json says.
        expected: usize,
        /// In the file.
        got: usize,
    },
    /// Pair vectors and behavior were made from different inputs.
    #[error("{path}: made from another model, template or pairs than the behavior")]
    Inputs {
        /// The file.
        path: String,
    },
    /// A behavior file without a direction.
    #[error("{path}: expected a tensor \"direction\", got none")]
    NoDirection {
        /// The file.
        path: String,
    },
    /// The shards of study.json do not cover the pairs.
    #[error(
        "study.json, layer {layer}: expected files that cover {expected} rows without gap, got a break at row {got}"
    )]
    Coverage {
        /// The layer.
        layer: usize,
        /// Number of pairs.
        expected: usize,
        /// First row that is missing or doubled.
        got: usize,
    },
    /// The worker itself did not run.
    #[error("the ranking worker stopped: {reason}")]
    Worker {
        /// What the browser said.
        reason: String,
    },
}

impl RankError {
    /// What to do about it, as one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Fetch(FetchError::Status { status: 404, .. }) => {
                "The file is listed but not there: copy the whole study folder, or run whence extract and whence \
                 behavior again; finished parts are kept."
            }
            Self::Fetch(FetchError::Size { .. }) => {
                "The file differs from what study.json states: try again; if it stays, copy the study again or run \
                 whence extract again."
            }
            Self::Fetch(_) => "Check that the server still runs, then try again.",
            Self::Hash { .. } => {
                "The file changed or was damaged on the way: reload the page; if it stays, copy the study again or run \
                 whence extract again."
            }
            Self::Shard { path, .. } if path.starts_with("behaviors/") => "Run whence behavior again.",
            Self::Inputs { .. } => "Run whence extract again, then whence behavior with the same model.",
            Self::Shard { .. } | Self::Coverage { .. } | Self::Part { .. } => {
                "Run whence extract again: it keeps finished files and replaces what is damaged."
            }
            Self::Width { .. } | Self::NoDirection { .. } => {
                "The behavior was made with another model than the pair vectors: run whence behavior again with the \
                 model of whence extract."
            }
            Self::Worker { .. } => "Reload the page; the browser must allow web workers and WebAssembly with SIMD.",
        }
    }
}
