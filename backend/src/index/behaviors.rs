//! Behavior vectors in the basis of an index: `index/layer-L/behaviors/NAME.safetensors`.
//!
//! Means and differences of rotated vectors are rotated means and differences, so a reader combines these and never
//! needs the basis.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use whence_shared::index::manifest::IndexManifest;
use whence_shared::shard::{self, Shard, ShardHeader, StoreDtype};

use super::IndexError;
use super::rotation::{ROWS_PER_CHUNK, Rotation};
use super::state::{IndexState, rotation_of};
use crate::extract::{BehaviorFile, LayerFiles, VectorsManifest};
use crate::files::{self, Context};
use crate::study::Study;

/// Brings the rotated behaviors of every layer that has a usable index up to date; returns how many were written.
///
/// # Errors
///
/// When a file of the study cannot be read or written.
pub fn refresh(study: &Study) -> Result<usize, IndexError> {
    let Some(manifest) = VectorsManifest::read(study)? else { return Ok(0) };
    let mut n_written = 0;
    for layer in study.complete_layers()? {
        let vectors = LayerFiles::open(study, layer, &manifest)?;
        if let IndexState::Current(index) = IndexState::of(study, &vectors) {
            let rotation = || rotation_of(study, &index);
            n_written += refresh_layer(study, layer, &manifest, &index, rotation)?;
        }
    }
    Ok(n_written)
}

/// The same for one layer; `rotation` is asked for when something is to be rotated. Behaviors whose vectors were made
/// with another model have none in the index.
///
/// # Errors
///
/// When a file cannot be read or written, or a rotated number is beyond f32.
pub fn refresh_layer(
    study: &Study,
    layer: usize,
    manifest: &VectorsManifest,
    index: &IndexManifest,
    rotation: impl Fn() -> Result<Rotation, IndexError>,
) -> Result<usize, IndexError> {
    let mut known = Vec::new();
    let mut loaded: Option<Rotation> = None;
    let mut n_written = 0;
    for name in study.behavior_names()? {
        let Ok(Some(behavior)) = BehaviorFile::read(study, &name, layer, manifest) else { continue };
        let path = study.index_behavior(layer, &name);
        let inputs = index.behavior_inputs(&behavior.sha256);
        known.push(path.clone());
        if inputs_of(&path).is_some_and(|there| there == inputs) {
            continue;
        }
        let rotation = match &loaded {
            Some(rotation) => rotation,
            None => loaded.insert(rotation()?),
        };
        let header = ShardHeader { layer, first_row: 0, inputs };
        let vectors = rotated(rotation, &behavior.vectors);
        let direction = rotated(rotation, &behavior.direction);
        let bytes = shard::write(&header, &vectors, rotation.d_model(), StoreDtype::F32, Some(&direction))
            .map_err(|source| IndexError::Behavior { name, layer, source })?;
        files::write(&path, &bytes)?;
        n_written += 1;
    }
    remove_others(&study.index_layer(layer).join("behaviors"), |path| known.iter().any(|known| known == path))?;
    Ok(n_written)
}

fn rotated(rotation: &Rotation, vectors: &[f32]) -> Vec<f32> {
    let mut rotated = Vec::with_capacity(vectors.len());
    for chunk in vectors.chunks(ROWS_PER_CHUNK * rotation.d_model()) {
        let mut rows: Vec<f64> = chunk.iter().map(|x| f64::from(*x)).collect();
        rotation.apply(&mut rows);
        rotated.extend(rows.into_iter().map(|x| x as f32));
    }
    rotated
}

fn inputs_of(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    Some(Shard::parse(&bytes).ok()?.header.inputs)
}

/// Removes files of a folder that do not belong there; a folder that does not exist has none.
pub(super) fn remove_others(folder: &Path, belongs: impl Fn(&Path) -> bool) -> Result<(), IndexError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).at("list", folder)?,
    };
    for entry in entries {
        let path = entry.at("list", folder)?.path();
        if path.is_file() && !belongs(&path) {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}
