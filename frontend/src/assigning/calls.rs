//! What a worker that assigns rows and whoever started it say to each other. A message is a JavaScript array: JSON first, then,
//! where said, arrays of numbers, transferred.

use serde::{Deserialize, Serialize};

use crate::ranker::calls::FileRef;

/// What is asked of it. Every call is answered by one [`Answer`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Call {
    /// Takes up rows; those before are forgotten.
    Read(Box<Reading>),
    /// Draws so many of its rows.
    Sample {
        /// How many.
        n: usize,
        /// Decides which.
        seed: u64,
    },
    /// Assigns its rows to the centres that follow, `[k, width]`, in a `Float32Array`.
    Round,
    /// Tells the cluster of every row, of `k`.
    Labels {
        /// How many there are.
        k: usize,
    },
}

/// Rows to take up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Absolute address of the folder that study.json lies in, with a final slash.
    pub data: String,
    /// Numbers in a row.
    pub width: usize,
    /// Files of the first block, with the first row of each and how many it has.
    pub files: Vec<(FileRef, usize, usize)>,
}

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// The rows are here.
    Read,
    /// The rows drawn follow, `[n, width]`, in a `Float32Array`.
    Sample,
    /// Its rows are assigned; sums by cluster, `[k, width]`, and counts, `[k]`, follow in `Float64Array`s.
    Round {
        /// Rows whose cluster is another than before.
        n_changed: usize,
    },
    /// The cluster of every row follows in a `Uint32Array`.
    Labels {
        /// Per cluster, which of its rows lies nearest to the centre, counted from the first of this worker, and its cosine.
        exemplars: Vec<Option<(u32, f32)>>,
    },
    /// It is not possible, and why.
    Failed(String),
}

/// What it tells unasked: that a file more is here.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FileRead;
