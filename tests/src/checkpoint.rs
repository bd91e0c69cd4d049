//! Taking checkpoints apart and putting them together again, changed: for tests of broken and unusual model folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

/// A tensor outside its file.
#[derive(Debug, Clone)]
pub struct Loose {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Little-endian bytes.
    pub bytes: Vec<u8>,
}

/// Tensors by key.
pub type Weights = BTreeMap<String, Loose>;

/// All tensors of one safetensors file.
///
/// # Panics
///
/// Panics when it cannot be read.
pub fn read(path: &Path) -> Weights {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let loose =
        |view: TensorView| Loose { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() };
    tensors.tensors().into_iter().map(|(key, view)| (key, loose(view))).collect()
}

/// Writes tensors as one safetensors file.
///
/// # Panics
///
/// Panics when bytes and shape disagree, or the file cannot be written.
pub fn write(path: &Path, weights: &Weights) {
    let views = weights
        .iter()
        .map(|(key, loose)| (key, TensorView::new(loose.dtype, loose.shape.clone(), &loose.bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Changes the weights of a model folder in place.
///
/// # Panics
///
/// Panics when the file cannot be read or written.
pub fn edit(folder: &Path, change: impl FnOnce(&mut Weights)) {
    let path = folder.join("model.safetensors");
    let mut weights = read(&path);
    change(&mut weights);
    write(&path, &weights);
}

/// Changes config.json of a model folder in place.
///
/// # Panics
///
/// Panics when the file cannot be read or written.
pub fn edit_json(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(value.as_object_mut().expect("a JSON object"));
    fs::write(path, value.to_string()).unwrap();
}

/// Spreads the weights of a model folder over `n_files` files named by an index, and removes the single file. Returns
/// the names of the files.
///
/// # Panics
///
/// Panics when a file cannot be read or written.
pub fn shard(folder: &Path, n_files: usize) -> Vec<String> {
    let single = folder.join("model.safetensors");
    let weights = read(&single);
    let names: Vec<String> = (1..=n_files).map(|i| format!("model-{i:05}-of-{n_files:05}.safetensors")).collect();
    let mut files = vec![Weights::new(); n_files];
    let mut map = Map::new();
    for (i, (key, loose)) in weights.into_iter().enumerate() {
        map.insert(key.clone(), json!(names[i % n_files]));
        files[i % n_files].insert(key, loose);
    }
    for (name, weights) in names.iter().zip(&files) {
        write(&folder.join(name), weights);
    }
    let index = json!({"metadata": {}, "weight_map": map});
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    fs::remove_file(single).unwrap();
    names
}
