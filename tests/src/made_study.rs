//! A small study with pairs, vectors and a behavior, made without a model: what ranking and serving start from.

use std::fs;
use std::path::Path;

use whence_backend::data::import::{ImportOptions, import};
use whence_backend::data::pairs::PairFile;
use whence_backend::extract::{Remark, VectorsManifest, manifest};
use whence_backend::files;
use whence_backend::progress::silent;
use whence_backend::study::Study;
use whence_shared::direction::{DirectionMethod, mean};
use whence_shared::shard::{self, ShardHeader, StoreDtype};
use whence_shared::study::{BehaviorView, LayerView, ModelView, ShardView};

/// Name of the behavior.
pub const BEHAVIOR: &str = "obeys";
/// Layers with vectors, at each of which the behavior has a direction.
pub const LAYERS: [usize; 2] = [1, 2];
/// Width of the vectors.
pub const D_MODEL: usize = 20;

const ROWS_PER_FILE: usize = 70;

/// Behavior vectors of a layer, row-major.
pub type VectorsOfLayer<'a> = &'a dyn Fn(usize) -> Vec<f32>;

/// Sizes of a study made without a model, and its numbers.
pub struct Shape<'a> {
    /// Width of the vectors.
    pub d_model: usize,
    /// Rows per vector file.
    pub rows_per_file: usize,
    /// Layers and how their numbers are stored.
    pub layers: &'a [(usize, StoreDtype)],
    /// The vector of a row at a layer, `[d_model]`.
    pub vector: &'a dyn Fn(usize, usize) -> Vec<f32>,
    /// Behaviors and their vectors at a layer, row-major `[n, d_model]`; the direction is their mean, and each vector is
    /// of a scenario of its own.
    pub behaviors: &'a [(&'a str, VectorsOfLayer<'a>)],
}

/// Makes a study of `n_pairs` pairs in `folder`: two sources, some equal and some zero vectors, files of 70 rows, layer
/// 1 in f32 and layer 2 in f16.
///
/// # Panics
///
/// Panics when a file cannot be written.
pub fn make(folder: &Path, n_pairs: usize) -> Study {
    let shape = Shape {
        d_model: D_MODEL,
        rows_per_file: ROWS_PER_FILE,
        layers: &[(1, StoreDtype::F32), (2, StoreDtype::F16)],
        vector: &vector,
        behaviors: &[(BEHAVIOR, &direction)],
    };
    make_shape(folder, n_pairs, &shape)
}

/// Makes a study of `n_pairs` pairs in `folder`, from two sources, with vectors and behaviors of this shape.
///
/// # Panics
///
/// Panics when a file cannot be written.
pub fn make_shape(folder: &Path, n_pairs: usize, shape: &Shape) -> Study {
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
        d_model: shape.d_model,
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
        rows_per_file: shape.rows_per_file,
        store: StoreDtype::F32,
        dtype: "f32".into(),
        imported: Vec::new(),
    };
    manifest.write(&study).unwrap();
    for (layer, dtype) in shape.layers {
        write_vectors(&study, &manifest.inputs, (*layer, *dtype), n_pairs, shape);
    }
    for (name, vectors) in shape.behaviors {
        let layers: Vec<usize> = shape.layers.iter().map(|(layer, _)| *layer).collect();
        write_behavior_vectors(&study, name, &manifest.inputs, &layers, shape.d_model, vectors);
    }
    study
}

/// Writes the vector files of a layer and its manifest.
///
/// # Panics
///
/// Panics when a file cannot be written.
pub fn write_vectors(study: &Study, inputs: &str, (layer, dtype): (usize, StoreDtype), n_pairs: usize, shape: &Shape) {
    let Shape { d_model, rows_per_file, .. } = *shape;
    let mut shards = Vec::new();
    for first_row in (0..n_pairs).step_by(rows_per_file) {
        let n_rows = rows_per_file.min(n_pairs - first_row);
        let vectors: Vec<f32> = (first_row..first_row + n_rows).flat_map(|row| (shape.vector)(layer, row)).collect();
        let header = ShardHeader { layer, first_row, inputs: inputs.to_owned() };
        let bytes = shard::write(&header, &vectors, d_model, dtype, None).unwrap();
        let path = format!("vectors/layer-{layer}/{first_row:08}.safetensors");
        files::write(&study.root().join(&path), &bytes).unwrap();
        let (n_bytes, sha256) = (bytes.len() as u64, files::sha256(&bytes));
        shards.push(ShardView { path, first_row, n_rows, n_bytes, sha256 });
    }
    let (index, vectors_withheld, nearest_rows) = (None, false, Vec::new());
    let view = LayerView { layer, d_model, dtype, n_rows: n_pairs, shards, index, vectors_withheld, nearest_rows };
    files::write(&study.layer_manifest(layer), &serde_json::to_vec(&view).unwrap()).unwrap();
}

/// Writes remarks on pairs of [`make`]: row, side, and whether the pair goes without a vector.
///
/// # Panics
///
/// Panics when the file cannot be written.
pub fn write_remarks(study: &Study, remarks: &[(usize, &str, bool)]) {
    let remarks = remarks.iter().map(|&(row, side, no_vector)| Remark {
        row,
        id: format!("p{row}"),
        side: side.into(),
        no_vector,
        beyond_context: false,
        reason: "made up".into(),
    });
    files::write_jsonl(&study.remarks().join("00000000.jsonl"), remarks).unwrap();
}

/// Writes the behavior of [`make`], with vectors made from `inputs`.
///
/// # Panics
///
/// Panics when a file cannot be written.
pub fn write_behavior(study: &Study, inputs: &str) {
    write_behavior_vectors(study, BEHAVIOR, inputs, &LAYERS, D_MODEL, &direction);
}

/// Writes a behavior with vectors made from `inputs`; each is of a scenario of its own, `s0`, `s1` and so on.
///
/// # Panics
///
/// Panics when a file cannot be written.
pub fn write_behavior_vectors(
    study: &Study,
    name: &str,
    inputs: &str,
    layers: &[usize],
    d_model: usize,
    vectors: &dyn Fn(usize) -> Vec<f32>,
) {
    let mut n = 0;
    for &layer in layers {
        let header = ShardHeader { layer, first_row: 0, inputs: inputs.into() };
        let vectors = vectors(layer);
        n = vectors.len() / d_model;
        let direction = mean(vectors.chunks_exact(d_model), d_model);
        let bytes = shard::write(&header, &vectors, d_model, StoreDtype::F32, Some(&direction)).unwrap();
        files::write(&study.behavior_vectors(name, layer), &bytes).unwrap();
    }
    let line = |i: usize| {
        let prompt = format!("[{{\"role\":\"user\",\"content\":\"prompt {i}\"}}]");
        format!("{{\"prompt\":{prompt},\"r0\":\"no\",\"r1\":\"yes\",\"scenario\":\"s{i}\"}}\n")
    };
    files::write(&study.behavior(name).join("pairs.jsonl"), (0..n).map(line).collect::<String>().as_bytes()).unwrap();
    let view = BehaviorView {
        name: name.into(),
        n_pairs: n,
        n_scenarios: n,
        method: DirectionMethod::Mean,
        reading: "M0/M0".into(),
        layers: layers.into(),
        ..BehaviorView::default()
    };
    files::write(&study.behavior(name).join("behavior.json"), &serde_json::to_vec(&view).unwrap()).unwrap();
}

/// A vector whose variance falls from dimension to dimension, mixed so that no axis is special, `[d_model]`: what
/// activations look like to an index. A function of its arguments alone.
pub fn decaying(seed: u64, d_model: usize) -> Vec<f32> {
    let mut state = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd1b5_4a32_d192_ed03) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    // The first numbers of a generator seeded by neighbours are alike.
    (0..8).for_each(|_| _ = uniform());
    let mut row: Vec<f32> = (0..d_model).map(|i| uniform() / (1.0 + i as f32).powf(0.7)).collect();
    let mirror = |i: usize| (i as f32 * 0.7 + 0.3).sin();
    let norm: f32 = (0..d_model).map(|i| mirror(i) * mirror(i)).sum();
    let along: f32 = row.iter().enumerate().map(|(i, x)| x * mirror(i)).sum();
    row.iter_mut().enumerate().for_each(|(i, x)| *x -= 2.0 * along / norm * mirror(i));
    row
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
