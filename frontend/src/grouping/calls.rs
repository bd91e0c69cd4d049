//! What the page and the worker that groups say to each other. A message is a JavaScript array: JSON first, then, where said,
//! the matrices and lengths, transferred.

use serde::{Deserialize, Serialize};
use whence_shared::discovery::cutting::{ClusterContrast, SideName};
use whence_shared::discovery::words::Words;
use whence_shared::discovery::{DiscoveryView, Groups, Settings};
use whence_shared::study::LayerView;

use crate::address::Cuts;

/// What the page asks for. Every call is answered by one [`Answer`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Call {
    /// Takes up a discovery; the one before is forgotten. Its cosines with pairs, and of prompts with each other, follow as two
    /// `Float32Array`s.
    Open(Box<Opening>),
    /// Cuts the discovery at hand.
    Cut(Cuts),
    /// What tells two clusters of the discovery at hand apart, cut like this.
    Contrast {
        /// Where it is cut.
        cuts: Cuts,
        /// Whose clusters.
        side: SideName,
        /// One.
        a: usize,
        /// The other.
        b: usize,
    },
    /// Times a method, for measurements.
    Time(Box<Timed>),
    /// Makes a discovery of a study that has vectors but no discovery, and takes it up.
    Discover(Box<Asked>),
}

/// A discovery as the worker needs to know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Its groups as stored.
    pub groups: Groups,
    /// Words of its prompts, and of its pairs where they are known.
    pub words: Words,
    /// Source of every pair.
    pub sources: Vec<String>,
    /// How stability is looked at, and changes are told.
    pub settings: Settings,
}

/// What to make a discovery of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Absolute address of the folder that study.json lies in, with a final slash.
    pub data: String,
    /// The behavior whose prompts are grouped.
    pub behavior: String,
    /// How many it has.
    pub n_prompts: usize,
    /// The pair vectors.
    pub layer: LayerView,
    /// Most pairs that are looked at.
    pub n_pairs: usize,
}

/// What to time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Absolute address of the folder that the rows lie in, with a final slash.
    pub data: String,
    /// A file of f32 numbers, little-endian, row-major.
    pub path: String,
    /// Numbers per row.
    pub width: usize,
    /// By which method they are clustered.
    pub method: Method,
    /// How often.
    pub n_repeats: usize,
}

/// A method of clustering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Ward's hierarchy.
    Ward,
    /// Spherical k-means from the first rows.
    Kmeans {
        /// Clusters.
        k: usize,
        /// Iterations at most.
        n_iterations: usize,
    },
}

/// What the worker answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// The groups of a cut, and the milliseconds it took.
    Groups(Box<Groups>, f64),
    /// What tells two clusters apart.
    Contrast(Box<ClusterContrast>),
    /// A discovery, and the milliseconds it took without reading. Its matrices follow as for [`Call::Open`].
    Discovered(Box<DiscoveryView>, f64),
    /// Milliseconds of every repetition, and heights of merges or labels.
    Timed(Vec<f64>, Vec<f64>),
    /// It is not possible, and why.
    Failed(String),
}
