//! Whether a layer has an index, and one of the vectors that are there now.

use std::fs;

use whence_shared::index::manifest::IndexManifest;

use super::{IndexError, Rotation};
use crate::extract::LayerFiles;
use crate::files;
use crate::study::{self, Study};

/// An index as it lies in the study.
#[derive(Debug, Clone, PartialEq)]
pub enum IndexState {
    /// There is none.
    Absent,
    /// There is one that cannot be used.
    Stale {
        /// Why, as a clause: `the vectors have changed since it was made`.
        why: String,
    },
    /// It is whole and of these vectors.
    Current(Box<IndexManifest>),
}

impl IndexState {
    /// Looks at the index of a layer: at its manifest, and that its files are there with their sizes.
    pub fn of(study: &Study, vectors: &LayerFiles) -> Self {
        let path = study.index_manifest(vectors.view().layer);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::Absent,
            Err(error) => return Self::Stale { why: format!("{} cannot be read: {error}", path.display()) },
        };
        match check(study, vectors, &bytes) {
            Ok(manifest) => Self::Current(Box::new(manifest)),
            Err(why) => Self::Stale { why },
        }
    }

    /// The manifest, when it may be used.
    pub fn current(self) -> Option<IndexManifest> {
        match self {
            Self::Current(manifest) => Some(*manifest),
            Self::Absent | Self::Stale { .. } => None,
        }
    }
}

fn check(study: &Study, vectors: &LayerFiles, bytes: &[u8]) -> Result<IndexManifest, String> {
    let manifest = IndexManifest::parse(bytes).map_err(|error| format!("its manifest cannot be used: {error}"))?;
    let view = vectors.view();
    if manifest.vectors_inputs != vectors.inputs() {
        return Err("it was made from vectors of another model or text form".into());
    }
    if manifest.vectors_sha256 != vectors.sha256() || (manifest.layer, manifest.d_model) != (view.layer, view.d_model) {
        return Err("the vectors have changed since it was made".into());
    }
    if manifest.n_rows != view.n_rows || manifest.vector_offsets.len() != view.shards.len() {
        return Err("it was made from another number of vectors".into());
    }
    for file in manifest.blocks.iter().flat_map(|block| &block.files) {
        let path = study.root().join(&file.path);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() == file.n_bytes => {}
            Ok(metadata) => {
                return Err(format!("{} has {} bytes, expected {}", path.display(), metadata.len(), file.n_bytes));
            }
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        }
    }
    Ok(manifest)
}

/// Hash of the vectors that a rotation was found from.
pub fn rotation_inputs(vectors: &LayerFiles) -> String {
    study::inputs_hash(&["whence.rotation/1", vectors.inputs(), &vectors.sha256()])
}

/// Hash of everything an index is made from; stands in every one of its files.
pub fn index_inputs(vectors: &LayerFiles, rotation_sha256: &str) -> String {
    let view = vectors.view();
    study::inputs_hash(&[
        "whence.index/1",
        &view.layer.to_string(),
        &view.d_model.to_string(),
        &view.n_rows.to_string(),
        vectors.inputs(),
        &vectors.sha256(),
        rotation_sha256,
    ])
}

/// Reads the rotation that an index was made with.
///
/// # Errors
///
/// When it is missing, damaged or another one.
pub fn rotation_of(study: &Study, manifest: &IndexManifest) -> Result<Rotation, IndexError> {
    let path = study.root().join(&manifest.rotation.path);
    let bytes = files::read(&path)?;
    let mismatch = |what, expected: &str, got: &str| IndexError::Mismatch {
        path: path.clone(),
        what,
        expected: expected.to_owned(),
        got: got.to_owned(),
    };
    let sha256 = files::sha256(&bytes);
    if sha256 != manifest.rotation.sha256 {
        return Err(mismatch("SHA-256", &manifest.rotation.sha256, &sha256));
    }
    let parsed = Rotation::parse(&bytes).map_err(|source| IndexError::Rotation { path: path.clone(), source });
    let (rotation, _) = parsed?;
    if rotation.d_model() != manifest.d_model {
        return Err(mismatch("width", &manifest.d_model.to_string(), &rotation.d_model().to_string()));
    }
    Ok(rotation)
}
