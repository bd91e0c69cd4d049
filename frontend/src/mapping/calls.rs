//! What the page and the worker that reads maps say to each other. A message is a JavaScript array: JSON first, then, where
//! said, arrays of numbers, transferred.

use serde::{Deserialize, Serialize};
use whence_shared::clustering::ClusteringView;
use whence_shared::map::Method;
use whence_shared::study::{LayerView, MapView};

/// What the page asks for. Every call is answered by one [`Answer`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Call {
    /// Reads a map and puts its points in cells.
    Open(Box<Opening>),
    /// Reads the source of every pair.
    Sources(Asked),
    /// Reads the cluster of every pair, of the clustering of this name.
    Clusters(Asked, String),
    /// Groups all pairs by the first block of a layer's index.
    Group(Box<Grouping>),
}

/// Pairs to group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grouping {
    /// Of which study.
    pub asked: Asked,
    /// By which layer; it has an index.
    pub layer: LayerView,
    /// Into how many groups.
    pub k: usize,
}

/// How pairs were grouped, the largest group first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupingFacts {
    /// Dimensions of the index that were looked at.
    pub width: usize,
    /// Pairs in each group.
    pub counts: Vec<u64>,
    /// Of each group, the row nearest to its centre; `None` of an empty one.
    pub exemplars: Vec<Option<u32>>,
    /// Rounds it took.
    pub n_rounds: usize,
    /// Whether hardly any pair changed its group in the last one.
    pub has_settled: bool,
    /// Milliseconds that the rounds took, reading not included.
    pub ms: f64,
}

/// Where a study lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Absolute address of the folder that study.json lies in, with a final slash.
    pub data: String,
    /// Pairs it has.
    pub n_pairs: usize,
    /// SHA-256 of pairs.parquet; empty where study.json does not say.
    pub pairs_sha256: String,
}

/// A map to read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Of which study.
    pub asked: Asked,
    /// Which map.
    pub of: MapOf,
}

/// Which map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MapOf {
    /// One that `whence map` left, and the layer it is of, where the study still has it.
    Stored(MapView, Option<LayerView>),
    /// The first two rotated dimensions of a layer's index.
    Index(LayerView),
}

/// What is known of a map beside its points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// How it was made; `None` for that of an index.
    pub method: Option<Method>,
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// Pairs that it was made from; the others were placed among them.
    pub n_fitted: usize,
    /// How far it can be trusted, where that was measured.
    pub trustworthiness: Option<f64>,
}

/// What the worker answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// A map. Its points by row follow as a `Float32Array`, and [`whence_shared::plane::grid::Grid::parts`] as two
    /// `Uint32Array`s and a `Float32Array`.
    Opened(Facts),
    /// Source of every pair, by row, in the `Uint32Array` that follows.
    Sources,
    /// The clusters; the label of every pair, by row, follows in an `Int32Array`.
    Clusters(Box<ClusteringView>),
    /// The groups; that of every pair, by row, follows in a `Uint32Array`.
    Grouped(GroupingFacts),
    /// It is not possible, and why.
    Failed(String),
}

/// What the worker tells unasked: how far it is with what was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Note {
    /// So many files are read, of so many.
    Read(usize, usize),
    /// All are read; grouping is in this round, from 1.
    Round(usize),
}
