//! What the page and the ranking worker say to each other.
//!
//! A message is a JavaScript array: the JSON of an [`Ask`] or a [`Reply`] first, then, after [`Reply::Ranking`] only,
//! four arrays that are transferred rather than copied: scores (`Float32Array`, by row), radii (`Float32Array`, by row:
//! the true score is within score ± radius; 0 = exact), order (`Uint32Array`, rows from the wanted end of the ranking)
//! and places (`Uint32Array`, by row: its place in the order).

use serde::{Deserialize, Serialize};
use thiserror::Error;
use whence_shared::study::LayerView;

use crate::fetch::FetchError;

/// What the page asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// A ranking; the one before is cancelled. What is known of the same query is kept.
    Rank(Box<RankRequest>),
    /// Stop reading; what is under way waits.
    Pause,
    /// Go on reading.
    Resume,
    /// Give up what is under way; what is known stays.
    Cancel,
}

/// Asks for the ranking of one layer's pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankRequest {
    /// Comes back with every reply, so that replies to cancelled requests can be told apart.
    pub id: u32,
    /// Absolute address of the folder that study.json lies in, with a final slash.
    pub data: String,
    /// Whether rows can be gathered by one request (`StudyView::gather`).
    pub gather: bool,
    /// Number of pairs in the study.
    pub n_pairs: usize,
    /// The pair vectors.
    pub layer: LayerView,
    /// What to rank by.
    pub query: Query,
    /// How many pairs count as the top.
    pub k: usize,
    /// Which end of the ranking is wanted.
    pub end: End,
    /// How far to go.
    pub goal: Goal,
    /// Whether to use the layer's index.
    pub index: IndexUse,
    /// Scoring workers; `None` = as many as the machine has processors for.
    pub n_workers: Option<usize>,
}

/// What to rank by: a direction made of behaviors, or a bank of vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// What the score is the cosine with.
    pub of: Of,
    /// Behaviors whose directions are projected out, one after the other.
    pub without: Vec<String>,
}

/// What a score is the cosine with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Of {
    /// The direction of a behavior.
    Direction(String),
    /// Every vector of a behavior; the score is the largest.
    Bank(String),
    /// The mean of some vectors of a behavior: those of these prompts, by row from 0.
    Subset(String, Vec<u32>),
    /// A sum of behaviors' directions, each times its weight.
    Sum(Vec<(f64, String)>),
}

impl Query {
    /// The direction of a behavior alone.
    pub fn direction(behavior: &str) -> Self {
        Self { of: Of::Direction(behavior.to_owned()), without: Vec::new() }
    }

    /// Names of all behaviors in it, without repetition.
    pub fn behaviors(&self) -> Vec<&str> {
        let mut names: Vec<&str> = match &self.of {
            Of::Direction(name) | Of::Bank(name) | Of::Subset(name, _) => vec![name],
            Of::Sum(parts) => parts.iter().map(|(_, name)| name.as_str()).collect(),
        };
        names.extend(self.without.iter().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// An end of the ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum End {
    /// The highest scores.
    #[default]
    Top,
    /// The lowest scores.
    Bottom,
}

/// Whether to use a layer's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum IndexUse {
    /// Where it saves something: a small layer's vectors are read whole.
    #[default]
    WherePaying,
    /// Wherever there is one.
    Always,
    /// Nowhere.
    Never,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Goal {
    /// Until the wanted pairs are certain, and on to their exact scores where that costs little.
    #[default]
    Certain,
    /// Until the wanted pairs' scores are exact.
    Exact,
}

/// What the worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The worker runs and takes requests: what is sent before this may be lost.
    Ready,
    /// Bytes arrive.
    Progress {
        /// Of the request.
        id: u32,
        /// How far it is.
        progress: Progress,
    },
    /// A ranking as far as it is known; scores, radii, order and places follow in the same message.
    Ranking {
        /// Of the request.
        id: u32,
        /// What is known of it.
        report: Box<Report>,
    },
    /// It was cancelled.
    Cancelled {
        /// Of the request.
        id: u32,
    },
    /// There will be no better ranking than the last one.
    Failed {
        /// Of the request.
        id: u32,
        /// Why.
        error: RankError,
    },
}

/// How far a ranking is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// What is being read.
    pub reading: Reading,
    /// Bytes of it at hand.
    pub n_bytes_done: u64,
    /// Bytes of it in all.
    pub n_bytes_total: u64,
    /// Rows scored by it.
    pub n_rows: usize,
    /// What broke and is being tried again.
    pub retrying: Option<Retrying>,
}

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reading {
    /// Manifest and behaviors.
    #[default]
    Opening,
    /// Blocks of the index; how many of them rows have at most, and how many there are.
    Block(usize, usize),
    /// Chosen rows' own vectors.
    Rows,
    /// Every row's own vector.
    Vectors,
}

/// A download that broke and is being tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retrying {
    /// Tries in a row that brought nothing.
    pub n_vain: u32,
    /// What broke.
    pub error: FetchError,
}

/// How sure a ranking is of its wanted end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Certainty {
    /// The wanted pairs may be others; their scores are within this radius.
    Estimate(f64),
    /// These are the wanted pairs; their scores, hence their order, are within this radius.
    Certified(f64),
    /// These are the wanted pairs in their order, with their exact scores.
    Exact,
}

impl Certainty {
    /// `estimate`, `certified` or `exact`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Estimate(_) => "estimate",
            Self::Certified(_) => "certified",
            Self::Exact => "exact",
        }
    }
}

/// What is known of a ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How many pairs count as the top.
    pub k: usize,
    /// Of which end.
    pub end: End,
    /// How sure it is.
    pub certainty: Certainty,
    /// Whether every pair's score is exact.
    pub is_all_exact: bool,
    /// Whether the worker is done with the request.
    pub is_final: bool,
    /// Pairs that have a score, be it an estimate.
    pub n_scored: usize,
    /// Pairs that may still be among the wanted ones; `None` between two selections.
    pub n_candidates: Option<usize>,
    /// Bytes that exact scores of the wanted pairs would take, where the worker stopped before.
    pub n_bytes_to_exact: Option<u64>,
    /// What was read.
    pub way: Way,
    /// Distribution of the scores that there are.
    pub histogram: Bins,
    /// What it took.
    pub cost: RankCost,
    /// Step by step.
    pub stages: Vec<Stage>,
    /// What was wrong with single files, and what was done without them.
    pub remarks: Vec<String>,
}

/// One step of a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// What was read.
    pub reading: Reading,
    /// How much of it, in bytes.
    pub n_bytes: u64,
    /// Milliseconds it took, with finding out what it says of the wanted pairs.
    pub ms: f64,
    /// Pairs that may be among the wanted ones after it.
    pub n_candidates: usize,
}

/// How a ranking came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// By the index.
    Index,
    /// By every pair's own vector, and why not by the index, if there is anything to say.
    Vectors(Option<String>),
}

/// Counts of scores in equal bins, as `whence_shared::rank::Histogram`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Bins {
    /// Left edge of the first bin.
    pub low: f32,
    /// Right edge of the last bin.
    pub high: f32,
    /// Pairs per bin.
    pub counts: Vec<u32>,
    /// Those of them that are among the wanted ones.
    pub top: Vec<u32>,
}

/// What a ranking took.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RankCost {
    /// Rows ranked.
    pub n_rows: usize,
    /// Width of a vector.
    pub d_model: usize,
    /// Bytes that were read for it.
    pub n_bytes: u64,
    /// Those of them that came over the network.
    pub n_bytes_downloaded: u64,
    /// Bytes of the whole index, or of all vectors where there is none.
    pub n_bytes_total: u64,
    /// Scoring workers.
    pub n_workers: usize,
    /// Milliseconds spent reading files and computing scores, all workers together.
    pub score_ms: f64,
    /// Milliseconds the last ordering took.
    pub order_ms: f64,
    /// Milliseconds from request to this report.
    pub total_ms: f64,
    /// Milliseconds until there was a score of every row.
    pub first_ms: Option<f64>,
    /// Milliseconds, and bytes read, until the wanted pairs were certain.
    pub certified: Option<(f64, u64)>,
    /// Milliseconds, and bytes read, until their scores were exact.
    pub exact: Option<(f64, u64)>,
}

/// Why there is no ranking.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum RankError {
    /// A file did not arrive.
    #[error("{0}")]
    Fetch(FetchError),
    /// A file arrived with other contents than stated, twice.
    #[error("{path}: expected SHA-256 {expected}, got {got}, also when downloaded again")]
    Hash {
        /// The file.
        path: String,
        /// As study.json or the manifest says.
        expected: String,
        /// As computed.
        got: String,
    },
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    File {
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
    /// A file holds another part than stated.
    #[error("{path}: expected {what} {expected}, got {got}")]
    Part {
        /// The file.
        path: String,
        /// `layer`, `first row` or `number of rows`.
        what: String,
        /// As stated.
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
    /// A prompt that a behavior does not have.
    #[error("{path}: expected rows of prompts below {n}, got {got}")]
    Prompt {
        /// The file of the behavior.
        path: String,
        /// Prompts it has.
        n: usize,
        /// Asked for.
        got: u32,
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
    /// A row's own vector contradicts what the index says of it.
    #[error("{path}: row {row} scores outside the bounds that the index states")]
    Bounds {
        /// The vector file.
        path: String,
        /// Row of the study.
        row: u32,
    },
    /// A bank whose scores do not fit in memory.
    #[error("a bank of {n_vectors} vectors over {n_rows} pairs does not fit in a browser's memory")]
    Bank {
        /// Vectors of the bank.
        n_vectors: usize,
        /// Pairs.
        n_rows: usize,
    },
    /// The worker itself did not run.
    #[error("the ranking worker stopped: {reason}")]
    Worker {
        /// What the browser said.
        reason: String,
    },
}

impl RankError {
    /// Whether it is about one file, which others can do without.
    pub fn is_of_file(&self) -> bool {
        match self {
            Self::Fetch(error) => error.is_of_file(),
            Self::Worker { .. } | Self::Bank { .. } | Self::Prompt { .. } | Self::Coverage { .. } => false,
            _ => true,
        }
    }

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
            Self::Fetch(FetchError::NoRanges { .. }) => {
                "Serve the study with a server that answers Range requests, or with whence serve."
            }
            Self::Fetch(_) => "Check that the server still runs, then try again.",
            Self::Hash { .. } => {
                "The file is damaged on the server or on the way: copy the study again or run whence extract again."
            }
            Self::File { path, .. } if path.starts_with("behaviors/") => "Run whence behavior again.",
            Self::Inputs { .. } => "Run whence extract again, then whence behavior with the same model.",
            Self::File { .. } | Self::Coverage { .. } | Self::Part { .. } => {
                "Run whence extract again: it keeps finished files and replaces what is damaged."
            }
            Self::Width { .. } | Self::NoDirection { .. } => {
                "The behavior was made with another model than the pair vectors: run whence behavior again with the \
                 model of whence extract."
            }
            Self::Bounds { .. } => "The index was made from other vectors: run whence index again.",
            Self::Prompt { .. } => {
                "The address names prompts of another version of the behavior: choose them again on the Discover page."
            }
            Self::Bank { .. } => "Rank by the behavior's direction, or use whence query.",
            Self::Worker { .. } => "Reload the page; the browser must allow web workers and WebAssembly with SIMD.",
        }
    }
}
