//! A behavior from a vector made elsewhere: a steering vector, a probe's weights, a feature's decoder.

use std::fs;
use std::path::PathBuf;

use whence_shared::direction::{DirectionMethod, mean};
use whence_shared::dot::norm;
use whence_shared::shard::{self, ShardHeader, StoreDtype};
use whence_shared::study::BehaviorView;

use super::import::split_name;
use super::{Array, ConvertError};
use crate::behavior;
use crate::extract::VectorsManifest;
use crate::files::{self, Context};
use crate::index;
use crate::study::Study;

/// How [`BehaviorView::reading`] says that a direction was not read by a model here.
pub const READING: &str = "imported";

/// What to import.
#[derive(Debug, Clone, Default)]
pub struct DirectionOptions {
    /// `.npy`, safetensors or Parquet with a list column: one vector, or several of which the mean is the direction.
    pub file: PathBuf,
    /// Name of the behavior.
    pub behavior: String,
    /// The layer.
    pub layer: usize,
    /// Overwrite a behavior of this name that was made in another way.
    pub replace: bool,
}

/// Stores a direction as a behavior at one layer; other layers that were imported for it stay.
///
/// # Errors
///
/// [`ConvertError`]; an earlier behavior of the same name stays.
pub fn import_direction(study: &Study, options: &DirectionOptions) -> Result<BehaviorView, ConvertError> {
    behavior::check_name(&options.behavior)?;
    let manifest = VectorsManifest::required(study)?;
    let (path, name) = split_name(&options.file);
    let array = Array::open(&path, name.as_deref(), study.root())?;
    let d_model = manifest.model.d_model;
    if array.width() != d_model {
        return Err(ConvertError::Width { path, got: array.width(), expected: d_model });
    }
    let mut vectors = vec![0.0; array.n_rows() * d_model];
    for (row, vector) in vectors.chunks_exact_mut(d_model).enumerate() {
        array.read_row(row, vector)?;
    }
    let direction = match array.n_rows() {
        1 => vectors.clone(),
        _ => mean(vectors.chunks_exact(d_model), d_model),
    };
    if norm(&direction) == 0.0 {
        return Err(ConvertError::Option(format!("{}: the direction is zero", path.display())));
    }
    let folder = study.behavior(&options.behavior);
    let json = folder.join("behavior.json");
    let mut layers = vec![options.layer];
    if json.is_file() {
        let there: Option<BehaviorView> = serde_json::from_slice(&files::read(&json)?).ok();
        match there.filter(|there| there.reading == READING) {
            Some(there) => layers.extend(there.layers),
            None if !options.replace => {
                let (what, there) = (format!("behavior {:?}", options.behavior), "response pairs".to_owned());
                return Err(ConvertError::Exists { what, there });
            }
            None => fs::remove_dir_all(&folder).at("remove", &folder)?,
        }
    }
    layers.sort_unstable();
    layers.dedup();
    let header = ShardHeader { layer: options.layer, first_row: 0, inputs: manifest.inputs.clone() };
    let bytes = shard::write(&header, &vectors, d_model, StoreDtype::F32, Some(&direction))
        .map_err(|source| ConvertError::Store { path, source })?;
    files::write(&study.behavior_vectors(&options.behavior, options.layer), &bytes)?;
    let view = BehaviorView {
        name: options.behavior.clone(),
        n_pairs: array.n_rows(),
        n_scenarios: array.n_rows(),
        method: DirectionMethod::Mean,
        reading: READING.into(),
        layers,
        ..BehaviorView::default()
    };
    files::write_json(&json, &view)?;
    index::behaviors::refresh(study)?;
    Ok(view)
}
