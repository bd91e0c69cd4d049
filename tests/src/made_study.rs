//! A small study with pairs, vectors and a behavior, made without a model: what ranking and serving start from.

use std::fs;
use std::path::Path;

use whence_backend::data::import::{ImportOptions, import};
use whence_backend::data::pairs::PairFile;
use whence_backend::extract::{VectorsManifest, manifest};
use whence_backend::files;
use whence_backend::progress::silent;
use whence_backend::study::Study;
use whence_shared::direction::DirectionMethod;
use whence_shared::shard::{self, ShardHeader, StoreDtype};
use whence_shared::study::{BehaviorView, LayerView, ModelView, ShardView};

/// Name of the behavior.
pub const BEHAVIOR: &str = "obeys";
/// Layers with vectors, at each of which the behavior has a direction.
pub const LAYERS: [usize; 2] = [1, 2];
/// Width of the vectors.
pub const D_MODEL: usize = 20;

const ROWS_PER_FILE: usize = 70;

/// Makes a study of `n_pairs` pairs in `folder`: two sources, some equal and some zero vectors, files of 70 rows, layer
/// 1 in f32 and layer 2 in f16.
///
/// # Panics
///
/// Panics when a file cannot be written.
pub fn make(folder: &Path, n_pairs: usize) -> Study {
    let study = Study::at(folder.join("study"));
    let rows: String = (0..n_pairs)
        .map(|i| {
            let source = if i % 3 == 0 { "third" } else { "rest" };
            format!(
                "{{\"id\":\"p{i}\",\"prompt\":\"question {i} é\",\"chosen\":\"yes {i}\",\"rejected\":\"no\",\"source\":\"{source}\"}}\n"
            )
        })
        .collect();
    let input = folder.join("rows.jsonl");
    fs::write(&input, rows).unwrap();
    let options = ImportOptions { inputs: vec![input.to_string_lossy().into_owned()], ..ImportOptions::default() };
    import(&study, &options, &silent).unwrap();

    let model = ModelView {
        name: "none".into(),
        architecture: "olmo2".into(),
        n_layers: 2,
        d_model: D_MODEL,
        sha256: files::sha256(b"no model"),
        template: "none".into(),
        pooling: "mean".into(),
    };
    let manifest = VectorsManifest {
        format: manifest::FORMAT.into(),
        inputs: manifest::inputs(&model, "", 64),
        model,
        template_sha256: String::new(),
        max_tokens: 64,
        pairs_sha256: PairFile::open(&study.pairs()).unwrap().sha256().unwrap(),
        n_pairs,
        rows_per_file: ROWS_PER_FILE,
        store: StoreDtype::F32,
        dtype: "f32".into(),
    };
    manifest.write(&study).unwrap();
    for layer in LAYERS {
        let dtype = if layer == 1 { StoreDtype::F32 } else { StoreDtype::F16 };
        let mut shards = Vec::new();
        for first_row in (0..n_pairs).step_by(ROWS_PER_FILE) {
            let n_rows = ROWS_PER_FILE.min(n_pairs - first_row);
            let vectors: Vec<f32> = (first_row..first_row + n_rows).flat_map(|row| vector(layer, row)).collect();
            let header = ShardHeader { layer, first_row, inputs: manifest.inputs.clone() };
            let bytes = shard::write(&header, &vectors, D_MODEL, dtype, None).unwrap();
            let path = format!("vectors/layer-{layer}/{first_row:08}.safetensors");
            files::write(&study.root().join(&path), &bytes).unwrap();
            let (n_bytes, sha256) = (bytes.len() as u64, files::sha256(&bytes));
            shards.push(ShardView { path, first_row, n_rows, n_bytes, sha256 });
        }
        let view = LayerView { layer, d_model: D_MODEL, dtype, n_rows: n_pairs, shards, index: None };
        files::write(&study.layer_manifest(layer), &serde_json::to_vec(&view).unwrap()).unwrap();
    }
    write_behavior(&study, &manifest.inputs);
    study
}

/// Writes the behavior, with vectors made from `inputs`.
///
/// # Panics
///
/// Panics when a file cannot be written.
pub fn write_behavior(study: &Study, inputs: &str) {
    for layer in LAYERS {
        let header = ShardHeader { layer, first_row: 0, inputs: inputs.into() };
        let direction = direction(layer);
        let bytes = shard::write(&header, &direction, D_MODEL, StoreDtype::F32, Some(&direction)).unwrap();
        files::write(&study.behavior_vectors(BEHAVIOR, layer), &bytes).unwrap();
    }
    let view = BehaviorView {
        name: BEHAVIOR.into(),
        n_pairs: 1,
        n_scenarios: 1,
        method: DirectionMethod::Mean,
        reading: "M0/M0".into(),
        layers: LAYERS.into(),
        examples: Vec::new(),
    };
    files::write(&study.behavior(BEHAVIOR).join("behavior.json"), &serde_json::to_vec(&view).unwrap()).unwrap();
}

/// The behavior's direction, `[D_MODEL]`.
pub fn direction(layer: usize) -> Vec<f32> {
    (0..D_MODEL).map(|i| ((i * 7 + layer * 3) as f32 * 0.61).sin()).collect()
}

/// The vector of a pair, `[D_MODEL]`: every eleventh is zero, and rows that are equal modulo 40 have the same.
pub fn vector(layer: usize, row: usize) -> Vec<f32> {
    let scale = if row.is_multiple_of(11) { 0.0 } else { 1.0 };
    (0..D_MODEL).map(|i| scale * ((i * 13 + row % 40 * 17 + layer) as f32 * 0.37).sin()).collect()
}
