//! What a study looks like from outside: the JSON that a server or a static folder hands to the app.
//!
//! All addresses are relative to the folder that `study.json` lies in, so a study can be served at any sub-path:
//!
//! ```text
//! study.json                              StudyView
//! rows/N.json                             RowChunk: rows N·rows_per_row_chunk ..
//! texts/N.json                            TextChunk: rows N·rows_per_text_chunk ..
//! vectors/layer-L/FILE.safetensors        pair vectors (crate::shard)
//! nearest/L/ROW.json                      NearestPairs: the pairs nearest to one at a layer
//! clusters/NAME/discovery.json            groups of prompts and pairs (crate::discovery)
//! clusters/NAME/similarity.safetensors    what they were made from
//! clusters/NAME/pairs.json                clusters of all pairs (crate::clustering)
//! clusters/NAME/labels.safetensors        the cluster of every pair
//! maps/NAME.safetensors                   where every pair lies on a plane (crate::map)
//! behaviors/NAME/layer-L.safetensors      behavior vectors and their direction (crate::shard)
//! behaviors/NAME/sweep.json               SweepView: the behavior by layer (crate::sweep)
//! ```

use serde::{Deserialize, Serialize};

use crate::direction::DirectionMethod;
use crate::pair::Pair;
use crate::shard::StoreDtype;
use crate::stability::Stability;

/// Whether a text can be part of a file's name and of an address: letters, digits, - and _, at least one.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// Longest name of what a study holds, in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// The value of [`StudyView::format`].
pub const FORMAT: &str = "whence.study/1";
/// Rows per [`RowChunk`].
pub const ROWS_PER_ROW_CHUNK: usize = 4096;
/// Rows per [`TextChunk`].
pub const ROWS_PER_TEXT_CHUNK: usize = 32;

/// One study, as the app sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyView {
    /// [`FORMAT`].
    pub format: String,
    /// Name of the study: its folder's name.
    pub name: String,
    /// SHA-256 of pairs.parquet, in hex; empty where that was not written down.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pairs_sha256: String,
    /// Number of pairs.
    pub n_pairs: usize,
    /// Names of the sources; a row names its source by index into this list.
    pub sources: Vec<SourceView>,
    /// What import found.
    pub health: HealthView,
    /// The model that vectors were extracted with; absent before extraction.
    pub model: Option<ModelView>,
    /// Layers with complete pair vectors, in ascending order.
    pub layers: Vec<LayerView>,
    /// Behaviors, in alphabetical order.
    pub behaviors: Vec<BehaviorView>,
    /// Names of the discoveries, in alphabetical order.
    #[serde(default)]
    pub discoveries: Vec<String>,
    /// Names of the clusterings of pairs, in alphabetical order.
    #[serde(default)]
    pub clusterings: Vec<String>,
    /// The maps, in alphabetical order.
    #[serde(default)]
    pub maps: Vec<MapView>,
    /// Whether a backend serves the study and answers `POST gather/layer-L`: chosen rows' vectors in one request.
    #[serde(default)]
    pub gather: bool,
    /// Whether `nearest/LAYER/ROW.json` is answered for every pair; else only for [`LayerView::nearest_rows`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nearest: bool,
    /// Whether a backend serves the study and answers `../api/v1/…` ([`crate::api`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub api: bool,
    /// Whether the texts of pairs are left out: then there is no `texts/`, and snippets are empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub texts_withheld: bool,
}

/// One source of pairs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// Its name; empty for pairs that state none.
    pub name: String,
    /// Pairs from it.
    pub n_pairs: usize,
}

/// Counts of what import found worth knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthView {
    /// Rows read from the input files.
    pub n_rows_read: usize,
    /// Rows refused, listed in rejects.jsonl.
    pub n_rejected_rows: usize,
    /// Pairs whose prompt, chosen and rejected equal those of an earlier pair.
    pub n_duplicates: usize,
    /// Pairs whose chosen equals their rejected side.
    pub n_identical: usize,
    /// Pairs with an empty response on either side.
    pub n_empty_responses: usize,
}

/// The model that vectors were extracted with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelView {
    /// Folder name or hub name.
    pub name: String,
    /// `model_type` of its config.json.
    pub architecture: String,
    /// Number of decoder layers.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Hash of configuration, weights and tokenizer, in hex.
    pub sha256: String,
    /// `model` for the model's own chat template, `none`, or a template file's name.
    pub template: String,
    /// How activations of response tokens become one vector: `mean`.
    pub pooling: String,
}

/// Pair vectors of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerView {
    /// Decoder layer, 0 = embeddings.
    pub layer: usize,
    /// Width of a vector.
    pub d_model: usize,
    /// How numbers are stored.
    pub dtype: StoreDtype,
    /// Rows in all shards together: one per pair.
    pub n_rows: usize,
    /// The files, by first row; together they cover every row once.
    pub shards: Vec<ShardView>,
    /// The layer's index, where there is one that fits these files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexView>,
    /// Whether the files are left out: then only the index ranks, with bounds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vectors_withheld: bool,
    /// Rows, ascending, whose nearest pairs are there as `nearest/LAYER/ROW.json`; empty where [`StudyView::nearest`] says that
    /// all are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest_rows: Vec<u32>,
}

/// The index of one layer (`crate::index`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexView {
    /// Address of its manifest, relative to study.json.
    pub path: String,
    /// Size of all its block files together, in bytes.
    pub n_bytes: u64,
    /// SHA-256 of the manifest, in hex.
    pub sha256: String,
}

/// One map ([`crate::map`]); its file is `maps/NAME.safetensors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapView {
    /// Its name, unique in the study; letters, digits, `-` and `_`.
    pub name: String,
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// `pca` or `umap`.
    pub method: String,
    /// Size of the file in bytes.
    pub n_bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

/// One vector file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardView {
    /// Address relative to study.json.
    pub path: String,
    /// First row.
    pub first_row: usize,
    /// Number of rows.
    pub n_rows: usize,
    /// Size of the file in bytes.
    pub n_bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

/// One behavior.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BehaviorView {
    /// Its name, unique in the study; letters, digits, `-` and `_`.
    pub name: String,
    /// Number of (prompt, r0, r1) triples behind it.
    pub n_pairs: usize,
    /// Number of distinct scenarios.
    pub n_scenarios: usize,
    /// How its direction was made.
    pub method: DirectionMethod,
    /// Which models read r1 and r0: `M0/M0` (the reference model both) or `M1/M0` (each the one that wrote it).
    #[serde(default = "default_reading")]
    pub reading: String,
    /// Layers with vectors, ascending; the file is `behaviors/NAME/layer-L.safetensors`.
    pub layers: Vec<usize>,
    /// A few of its triples, for the reader.
    pub examples: Vec<BehaviorExample>,
    /// Hash of what its vectors were made from: the model and text form, the triples, method and reading. Empty where that
    /// was not written down.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub inputs: String,
    /// Whether two halves of its test prompts say the same; absent where that was not measured, or there is one prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stability: Option<Stability>,
    /// Whether `behaviors/NAME/sweep.json` is there, a [`crate::sweep::SweepView`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_sweep: bool,
    /// Layers at which its ranking was diagnosed ([`crate::diagnosis`]), ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnosed_layers: Vec<usize>,
    /// Layers with `behaviors/NAME/tokens/layer-L.json`, ascending: a [`crate::tokens::TokensView`] each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_layers: Vec<usize>,
}

fn default_reading() -> String {
    "M0/M0".into()
}

/// One (prompt, r0, r1) triple of a behavior.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BehaviorExample {
    /// The test prompt.
    pub prompt: String,
    /// A response of the reference model.
    pub r0: String,
    /// A response of the tuned model, which shows the behavior.
    pub r1: String,
    /// Scenario name; empty when none was given.
    pub scenario: String,
}

/// The pairs whose vectors are nearest to one pair's: what preferring their chosen responses teaches is most like what that of
/// this pair does. `nearest/LAYER/ROW.json`: of every pair where a server answers, in a bundle of those that rank first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NearestPairs {
    /// The layer.
    pub layer: usize,
    /// The pair.
    pub row: u32,
    /// The nearest first, itself left out.
    pub pairs: Vec<NearPair>,
}

/// A pair beside another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NearPair {
    /// Its row of the study.
    pub row: u32,
    /// Cosine of the two vectors, in [−1, 1].
    pub cosine: f64,
}

/// What a table needs of a contiguous range of rows, as columns of equal length.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowChunk {
    /// First row.
    pub first_row: usize,
    /// Pair ids.
    pub id: Vec<String>,
    /// Index into [`StudyView::sources`].
    pub source: Vec<u32>,
    /// The last user turn on one line.
    pub snippet: Vec<String>,
    /// Length of the chosen response in characters.
    pub chosen_chars: Vec<u32>,
    /// Length of the rejected response in characters.
    pub rejected_chars: Vec<u32>,
}

/// Whole pairs of a contiguous range of rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TextChunk {
    /// First row.
    pub first_row: usize,
    /// The pairs, in row order.
    pub pairs: Vec<Pair>,
}
