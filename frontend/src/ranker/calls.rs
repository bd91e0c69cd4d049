//! What the coordinator and a scorer say to each other.
//!
//! A message is a JavaScript array: JSON first, then arrays of numbers, transferred. Numbers that a ranking depends on
//! travel in arrays and never as decimal text. Every [`Call`] is answered by one [`Answer`]; [`Note`]s come in between.

use serde::{Deserialize, Serialize};
use whence_shared::index::fingerprint::Fingerprint;
use whence_shared::index::manifest::FileView;

use crate::fetch::FetchError;
use crate::protocol::{End, RankError};

/// A call with its number, which comes back with the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Numbered<T> {
    /// Its number.
    pub number: u32,
    /// What is called or answered.
    pub what: T,
}

/// What the coordinator asks of a scorer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Call {
    /// Takes up a query; the one before is forgotten. Then a `Float64Array` per direction: its numbers and, last, its
    /// error.
    Open(Box<Opening>),
    /// Reads the next file of each of these ranges, by index into [`Opening::ranges`].
    Read {
        /// Of the query.
        session: u32,
        /// The ranges.
        ranges: Vec<usize>,
    },
    /// Asks for the `k` greatest lower bounds.
    Best {
        /// Of the query.
        session: u32,
        /// How many.
        k: usize,
        /// Seen from which end.
        end: End,
    },
    /// Asks for the rows whose upper bound reaches the threshold that follows (`Float64Array` of one).
    Candidates {
        /// Of the query.
        session: u32,
        /// Seen from which end.
        end: End,
    },
    /// States exact scores: `Uint32Array` of rows, `Float64Array` of scores.
    SetExact {
        /// Of the query.
        session: u32,
    },
    /// Stops reading; downloads under way wait.
    Pause,
    /// Goes on reading.
    Resume,
    /// Ends what is being read.
    Cancel,
    /// Times the integer kernel on made-up numbers.
    Kernel {
        /// Width of a block.
        width: usize,
        /// Rows of a block.
        n_rows: usize,
        /// How often all rows are scored.
        n_repeats: usize,
    },
    /// Computes the [`Fingerprint`] of made-up vectors, to be compared with the one that native code computes.
    Fingerprint {
        /// Decides the vectors.
        seed: u64,
        /// How many.
        n_rows: usize,
        /// Their width.
        d_model: usize,
    },
}

/// A query, as a scorer needs to know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Number of the query.
    pub session: u32,
    /// Absolute address of the folder that study.json lies in, with a final slash.
    pub data: String,
    /// What the files are.
    pub kind: Kind,
    /// The scorer's rows, in ranges with files of their own.
    pub ranges: Vec<RangePlan>,
    /// Downloads at a time.
    pub n_downloads: usize,
    /// Most bytes of files kept in memory for the next query.
    pub n_keep_bytes: u64,
    /// Most bytes of files that wait to be written to the browser's store; `None` = nothing is written.
    pub n_store_bytes: Option<u64>,
}

/// What files are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Blocks of the index.
    Blocks {
        /// Decoder layer.
        layer: usize,
        /// What the index was made from.
        inputs: String,
        /// Widths of the blocks, in order.
        widths: Vec<usize>,
    },
    /// The pairs' own vectors, one file per range.
    Vectors {
        /// Decoder layer.
        layer: usize,
        /// Width of a vector.
        d_model: usize,
        /// What the vectors were made from.
        inputs: String,
    },
}

/// A contiguous range of rows and its files, in the order in which they are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangePlan {
    /// Index among the query's ranges.
    pub index: usize,
    /// First row.
    pub first_row: usize,
    /// Number of rows.
    pub n_rows: usize,
    /// Its files.
    pub files: Vec<FileRef>,
}

/// A file with known contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Address relative to study.json.
    pub path: String,
    /// Size in bytes.
    pub n_bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

impl From<&FileView> for FileRef {
    fn from(file: &FileView) -> Self {
        Self { path: file.path.clone(), n_bytes: file.n_bytes, sha256: file.sha256.clone() }
    }
}

/// What a scorer answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// What was to be read is read, but for files at fault: index of the range, and what is wrong.
    Read {
        /// Files at fault.
        faults: Vec<(usize, RankError)>,
        /// What stopped everything.
        stopped: Option<RankError>,
    },
    /// `Uint32Array` of rows and `Float64Array` of their lower bounds follow.
    Best,
    /// `Uint32Array` of rows and `Float64Array`s of their estimates, lower and upper bounds follow.
    Candidates,
    /// How long the kernel took, and a number that depends on every product.
    Kernel {
        /// Milliseconds in all.
        ms: f64,
        /// Bytes of codes read in all.
        n_bytes: u64,
        /// Sum of all products, so that none can be left out.
        sum: i64,
    },
    /// What every platform must agree on.
    Fingerprint(Fingerprint),
}

/// What a scorer tells unasked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Note {
    /// Bytes since the query was taken up.
    Bytes {
        /// Of the query.
        session: u32,
        /// At hand, from wherever.
        n_bytes: u64,
        /// That came over the network.
        n_bytes_downloaded: u64,
    },
    /// A range got its next file: `Float64Array` of estimates and `Float32Array` of radii follow, of all its rows.
    Scored {
        /// Of the query.
        session: u32,
        /// Index of the range.
        range: usize,
        /// Files of the range that its scores are made from.
        n_files: usize,
        /// Milliseconds it took to score, reading not included.
        score_ms: f64,
        /// Whether the file stays in memory for the next query.
        is_kept: bool,
    },
    /// A download broke and will be tried again.
    Retrying {
        /// Of the query.
        session: u32,
        /// Tries in vain so far.
        n_vain: u32,
        /// What broke.
        error: FetchError,
    },
    /// The browser's store takes no more.
    StoreFull,
}

/// What a worker posts that answers with an `A` and notes an `N`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Post<A, N> {
    /// It runs and takes calls.
    Ready,
    /// The answer to a call.
    Answer(Numbered<A>),
    /// A note.
    Note(N),
}
