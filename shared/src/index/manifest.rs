//! `index/layer-L/manifest.json`: what the index of a layer consists of.
//!
//! ```text
//! index/layer-L/manifest.json                        IndexManifest
//! index/layer-L/block-B/00000000.safetensors         block files (super::block), named by first row
//! index/layer-L/rotation.safetensors                 the rotation, which only the backend needs
//! index/layer-L/behaviors/NAME.safetensors           rotated behavior vectors (crate::shard format, with direction)
//! ```

use serde::{Deserialize, Serialize};

use super::block::{MAX_ROWS, MAX_WIDTH};
use crate::json;
use crate::tensors::is_newer;

/// The value of [`IndexManifest::format`].
pub const FORMAT: &str = "whence.index-manifest/1";

/// What a block file may be larger than its numbers by: its header, in bytes.
const MAX_HEADER_BYTES: u64 = 64 << 10;

/// The index of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexManifest {
    /// [`FORMAT`]; a manifest of a newer version is refused by name.
    pub format: String,
    /// Decoder layer, 0 = embeddings.
    pub layer: usize,
    /// Width of a vector.
    pub d_model: usize,
    /// Number of rows.
    pub n_rows: usize,
    /// Hash of everything the index was made from; stands in every block file too.
    pub inputs: String,
    /// `inputs` of the pair vectors it was made from.
    pub vectors_inputs: String,
    /// SHA-256 over the SHA-256s of the vector files, in order: the index is stale when they change.
    pub vectors_sha256: String,
    /// Blocks in order; together they cover all dimensions.
    pub blocks: Vec<BlockView>,
    /// The basis.
    pub rotation: RotationView,
    /// Bytes from the start of each vector file to its first row (for Range requests), in order of the layer's shards.
    pub vector_offsets: Vec<u64>,
}

/// One block of dimensions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockView {
    /// First rotated dimension of the block.
    pub first_dim: usize,
    /// Number of dimensions.
    pub width: usize,
    /// Share of the rows' energy in the block and all before it, in [0, 1].
    pub energy: f64,
    /// How good ranking by the blocks so far is; one entry per kind of query.
    pub recall: Vec<RecallView>,
    /// Its files by first row; together they cover all rows.
    pub files: Vec<FileView>,
}

/// Share of the true top rows that ranking by some blocks finds: the mean over queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecallView {
    /// `sampled rows` or `behaviors`.
    pub queries: String,
    /// How many.
    pub n_queries: usize,
    /// Of the true top 100, in [0, 1].
    pub at_100: f64,
    /// Of the true top 1000, in [0, 1].
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

/// The basis that rows were rotated to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RotationView {
    /// Its file's address relative to study.json.
    pub path: String,
    /// SHA-256 of that file, in hex.
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
    /// Reads a manifest and checks that it describes a whole index: blocks of all dimensions, files of all rows, plain
    /// relative paths.
    ///
    /// # Errors
    ///
    /// When it is not JSON of this version (a newer one is called newer), or contradicts itself.
    pub fn parse(file: &[u8]) -> Result<Self, ManifestError> {
        let value: serde_json::Value = json::from_slice(file).map_err(|e| ManifestError(e.to_string()))?;
        let got = value["format"].as_str().unwrap_or_default();
        if got != FORMAT {
            let newer = if is_newer(FORMAT, got) { "; it is of a newer version: update Whence" } else { "" };
            return Err(ManifestError(format!("expected format {FORMAT:?}, got {got:?}{newer}")));
        }
        let manifest: Self = json::from_value(value).map_err(|e| ManifestError(e.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |what: &str, expected: &dyn ToString, got: &dyn ToString| {
            let (expected, got) = (expected.to_string(), got.to_string());
            if expected == got { Ok(()) } else { Err(ManifestError(format!("{what}: expected {expected}, got {got}"))) }
        };
        wrong("rows that are numbered in 32 bits", &true, &(self.n_rows <= u32::MAX as usize))?;
        wrong("d_model in 1..=65536", &true, &(1..=MAX_WIDTH).contains(&self.d_model))?;
        let mut next_dim = 0usize;
        for (b, block) in self.blocks.iter().enumerate() {
            wrong(&format!("block {b}: first_dim"), &next_dim, &block.first_dim)?;
            wrong(&format!("block {b}: width in 1..=65536"), &true, &(1..=MAX_WIDTH).contains(&block.width))?;
            next_dim = next_dim.saturating_add(block.width);
            let mut next_row = 0usize;
            for file in &block.files {
                wrong(&format!("{}: first_row", file.path), &next_row, &file.first_row)?;
                wrong(
                    &format!("{}: n_rows in 1..={MAX_ROWS}", file.path),
                    &true,
                    &(1..=MAX_ROWS).contains(&file.n_rows),
                )?;
                wrong(&format!("{:?}: a plain relative path", file.path), &true, &is_plain(&file.path))?;
                let least = file.n_rows as u64 * (block.width as u64 + 12);
                let most = least + MAX_HEADER_BYTES;
                let is_right = (least..=most).contains(&file.n_bytes);
                wrong(&format!("{}: room for its rows in {} bytes", file.path, file.n_bytes), &true, &is_right)?;
                next_row = next_row.saturating_add(file.n_rows);
            }
            wrong(&format!("block {b}: rows in its files"), &self.n_rows, &next_row)?;
        }
        wrong("dimensions in all blocks", &self.d_model, &next_dim)?;
        let files = self.blocks.first().map_or(&[][..], |block| &block.files);
        let ranges = |files: &[FileView]| files.iter().map(|file| file.n_rows).collect::<Vec<_>>();
        let is_same = self.blocks.iter().all(|block| ranges(&block.files) == ranges(files));
        wrong("the same ranges of rows in every block", &true, &is_same)
    }

    /// Size of all block files together, in bytes.
    pub fn n_bytes(&self) -> u64 {
        self.blocks.iter().flat_map(|block| &block.files).map(|file| file.n_bytes).sum()
    }

    /// Widths of the blocks, in order.
    pub fn widths(&self) -> Vec<usize> {
        self.blocks.iter().map(|block| block.width).collect()
    }

    /// `inputs` of the rotated behavior made from a behavior file.
    pub fn behavior_inputs(&self, sha256: &str) -> String {
        format!("{} {sha256}", self.inputs)
    }
}

/// Whether a path leads down from where it is resolved, in characters that need no escaping in an address.
fn is_plain(path: &str) -> bool {
    let is_plain_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    path.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain_char))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> IndexManifest {
        let file = |block: usize, width: usize, first_row: usize, n_rows: usize| FileView {
            path: format!("index/layer-3/block-{block}/{first_row:08}.safetensors"),
            first_row,
            n_rows,
            n_bytes: (n_rows * (width + 12) + 900) as u64,
            sha256: "0".repeat(64),
        };
        let block = |b: usize, first_dim: usize, width: usize| BlockView {
            first_dim,
            width,
            energy: 0.5,
            recall: Vec::new(),
            files: vec![file(b, width, 0, 8192), file(b, width, 8192, 8)],
        };
        IndexManifest {
            format: FORMAT.into(),
            layer: 3,
            d_model: 100,
            n_rows: 8200,
            inputs: "a".into(),
            vectors_inputs: "b".into(),
            vectors_sha256: "c".into(),
            blocks: vec![block(0, 0, 64), block(1, 64, 36)],
            rotation: RotationView { path: "r".into(), sha256: "d".into(), n_directions: 100, n_sampled_rows: 8200 },
            vector_offsets: vec![200],
        }
    }

    fn error(change: impl FnOnce(&mut IndexManifest)) -> String {
        let mut changed = manifest();
        change(&mut changed);
        IndexManifest::parse(&serde_json::to_vec(&changed).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_index_is_read_and_lies_are_named() {
        let whole = manifest();
        assert_eq!(IndexManifest::parse(&serde_json::to_vec(&whole).unwrap()).unwrap(), whole);
        let cases: [(&str, String); 10] = [
            ("newer version", error(|m| m.format = "whence.index-manifest/2".into())),
            ("expected format", error(|m| m.format = "whence.index/1".into())),
            ("dimensions in all blocks", error(|m| m.d_model = 101)),
            ("first_dim", error(|m| m.blocks.swap(0, 1))),
            ("rows in its files", error(|m| m.n_rows = 8201)),
            ("first_row", error(|m| m.blocks[1].files[1].first_row = 8191)),
            ("plain relative path", error(|m| m.blocks[0].files[0].path = "../x.safetensors".into())),
            ("room for its rows", error(|m| m.blocks[0].files[0].n_bytes = 8192 * 75)),
            ("room for its rows", error(|m| m.blocks[0].files[0].n_bytes = u64::MAX)),
            ("32 bits", error(|m| m.n_rows = 1 << 33)),
        ];
        for (expected, got) in cases {
            assert!(got.contains(expected), "{got} should mention {expected}");
        }
        assert!(IndexManifest::parse(b"{").is_err() && IndexManifest::parse(b"null").is_err());
    }
}
