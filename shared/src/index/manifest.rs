//! `index/layer-L/manifest.json`: what the index of a layer consists of.
//!
//! ```text
//! index/layer-L/manifest.json                        IndexManifest
//! index/layer-L/block-B/00000000.safetensors         block files (super::block), named by first row
//! index/layer-L/rotation.safetensors                 the rotation, which only the backend needs
//! index/layer-L/behaviors/NAME.safetensors           rotated behavior vectors (crate::shard format, with direction)
//! ```

use serde::{Deserialize, Serialize};

/// The value of [`IndexManifest::format`].
pub const FORMAT: &str = "whence.index-manifest/1";

/// The index of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexManifest {
    /// [`FORMAT`]; a manifest of a newer version is refused by name.
    pub format: String,
    /// Decoder layer, 0 = embeddings.
    pub layer: usize,
    /// Width of a vector.
    pub d_model: usize,
    /// Rows: one per pair.
    pub n_rows: usize,
    /// Hash of everything the index was made from; stands in every block file too.
    pub inputs: String,
    /// `inputs` of the pair vectors it was made from.
    pub vectors_inputs: String,
    /// SHA-256 over the SHA-256s of the vector files, in order: the index is stale when they change.
    pub vectors_sha256: String,
    /// Blocks in order; together they cover all dimensions.
    pub blocks: Vec<BlockView>,
    /// The rotation that rows and behaviors went through.
    pub rotation: RotationView,
    /// Bytes from the start of each vector file to its first row (for Range requests), in order of the layer's shards.
    pub vector_offsets: Vec<u64>,
}

/// One block of dimensions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockView {
    /// First rotated dimension.
    pub first_dim: usize,
    /// Number of dimensions.
    pub width: usize,
    /// Share of the rows' energy in the block and all before it, in [0, 1].
    pub energy: f64,
    /// Share of the true top 100 (1000) that ranking by the blocks so far finds: mean over sampled rows as queries, and over the study's behaviors (absent without any).
    pub recall: Vec<RecallView>,
    /// Its files, by first row; together they cover every row once.
    pub files: Vec<FileView>,
}

/// How well the blocks so far find the true top.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecallView {
    /// `sampled rows` or `behaviors`.
    pub queries: String,
    /// Number of queries.
    pub n_queries: usize,
    /// Mean share of the true top 100 found.
    pub at_100: f64,
    /// Mean share of the true top 1000 found.
    pub at_1000: f64,
}

/// One block file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
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

/// The rotation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RotationView {
    /// Address relative to study.json.
    pub path: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Directions found by PCA; the others complete them to an orthogonal basis.
    pub n_directions: usize,
    /// Rows the directions were found from.
    pub n_sampled_rows: usize,
}

/// What the SHA-256 of a layer's vectors is of: those of its files, one a line.
pub fn hashed_vectors<'a>(sha256s: impl IntoIterator<Item = &'a str>) -> String {
    sha256s.into_iter().flat_map(|sha256| [sha256, "\n"]).collect()
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

impl IndexManifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// When it is of another version.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let value: serde_json::Value = serde_json::from_slice(json).map_err(|e| ManifestError(e.to_string()))?;
        if value["format"] != FORMAT {
            return Err(ManifestError(format!("expected format {FORMAT:?}, got {}", value["format"])));
        }
        serde_json::from_value(value).map_err(|e| ManifestError(e.to_string()))
    }

    /// `inputs` of the rotated behavior made from a behavior file.
    pub fn behavior_inputs(&self, sha256: &str) -> String {
        format!("{} {sha256}", self.inputs)
    }
}
