//! A behavior's vectors at one layer, as the verbs after `whence behavior` read them: checked against the study's.

use std::path::PathBuf;

use whence_shared::shard::Shard;

use super::VectorsManifest;
use super::layer_files::{Fit, VectorFileError};
use crate::files;
use crate::study::Study;

const DEFINE_AGAIN: &str = "run `whence behavior` again with the model of this study";

/// A behavior's vectors and direction at one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct BehaviorFile {
    /// Where they lie.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    /// One vector per response pair, row-major `[n, d_model]`.
    pub vectors: Vec<f32>,
    /// The direction made of them, `[d_model]`.
    pub direction: Vec<f32>,
}

impl BehaviorFile {
    /// Reads a behavior's file; `None` when the behavior has none at this layer.
    ///
    /// # Errors
    ///
    /// When it is damaged or was made with another model than the study's vectors.
    pub fn read(
        study: &Study,
        name: &str,
        layer: usize,
        manifest: &VectorsManifest,
    ) -> Result<Option<Self>, VectorFileError> {
        let path = study.behavior_vectors(name, layer);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = files::read(&path)?;
        let not_ours = |source| VectorFileError::Shard { path: path.clone(), source, remedy: DEFINE_AGAIN };
        let shard = Shard::parse(&bytes).map_err(not_ours)?;
        let fit = Fit { path: &path, remedy: DEFINE_AGAIN };
        fit.same("model and text form (inputs)", &manifest.inputs, &shard.header.inputs)?;
        fit.same("layer", &layer, &shard.header.layer)?;
        fit.same("width", &manifest.model.d_model, &shard.d_model)?;
        let vectors = shard.to_f32();
        let direction = shard.direction.ok_or_else(|| VectorFileError::Malformed {
            path: path.clone(),
            reason: format!("the file has no tensor \"direction\"; {DEFINE_AGAIN}"),
        })?;
        let not_finite = |values: &[f32]| values.iter().position(|x| !x.is_finite());
        let damaged = |place: String, value: f32| VectorFileError::Malformed {
            path: path.clone(),
            reason: format!("{place}: expected a finite number, got {value}; {DEFINE_AGAIN}"),
        };
        if let Some(at) = not_finite(&vectors) {
            let (row, column) = (at / shard.d_model, at % shard.d_model);
            let place = format!("the vector of line {} of pairs.jsonl, column {column}", row + 1);
            return Err(damaged(place, vectors[at]));
        }
        if let Some(at) = not_finite(&direction) {
            return Err(damaged(format!("the direction, column {at}"), direction[at]));
        }
        Ok(Some(Self { sha256: files::sha256(&bytes), path, vectors, direction }))
    }
}
