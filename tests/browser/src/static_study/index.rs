//! The index of a made study: with the identity for a rotation, because its dimensions are in order of energy already.

use std::fs;

use whence_shared::index::block::{self, BlockHeader, Columns, ROWS_PER_FILE, widths};
use whence_shared::index::manifest::{self, BlockView, FileView, IndexManifest, RotationView};
use whence_shared::index::quantize::{quantize, round_up};
use whence_shared::shard::{self, Shard, ShardHeader, StoreDtype};
use whence_shared::study::{IndexView, LayerView};

use super::{StaticStudy, sha256};

/// What the index says it was made from.
const INPUTS: &str = "an index made for tests";

/// Writes the index of a layer whose vectors and behaviors are written.
pub fn write(study: &StaticStudy, layer: &LayerView) -> IndexView {
    let folder = format!("index/layer-{}", layer.layer);
    let rows = unit_rows(study, layer);
    let mut first_dim = 0;
    let mut blocks = Vec::new();
    for (number, width) in widths(layer.d_model).into_iter().enumerate() {
        let files = rows.chunks(ROWS_PER_FILE).enumerate().map(|(n, rows)| {
            let header = BlockHeader {
                layer: layer.layer,
                block: number,
                first_dim,
                first_row: n * ROWS_PER_FILE,
                inputs: INPUTS.into(),
            };
            let bytes = block_file(&header, width, rows);
            let path = format!("{folder}/block-{number}/{:08}.safetensors", header.first_row);
            study.write(&path, &bytes);
            let sha256 = sha256(&bytes);
            FileView { path, first_row: header.first_row, n_rows: rows.len(), n_bytes: bytes.len() as u64, sha256 }
        });
        let files: Vec<FileView> = files.collect();
        blocks.push(BlockView { first_dim, width, energy: 1.0, recall: Vec::new(), files });
        first_dim += width;
    }
    let hashes = layer.shards.iter().map(|shard| shard.sha256.as_str());
    let manifest = IndexManifest {
        format: manifest::FORMAT.into(),
        layer: layer.layer,
        d_model: layer.d_model,
        n_rows: layer.n_rows,
        inputs: INPUTS.into(),
        vectors_inputs: "made for tests".into(),
        vectors_sha256: sha256(manifest::hashed_vectors(hashes).as_bytes()),
        vector_offsets: layer.shards.iter().map(|shard| vector_offset(study, &shard.path)).collect(),
        rotation: RotationView {
            path: format!("{folder}/rotation.safetensors"),
            sha256: sha256(b"the identity"),
            n_directions: 0,
            n_sampled_rows: 0,
        },
        blocks,
    };
    for behavior in &study.view.behaviors {
        rotate_behavior(study, &manifest, &folder, &behavior.name);
    }
    let path = format!("{folder}/manifest.json");
    let json = serde_json::to_vec(&manifest).unwrap();
    study.write(&path, &json);
    let n_bytes = manifest.blocks.iter().flat_map(|block| &block.files).map(|file| file.n_bytes).sum();
    IndexView { path, n_bytes, sha256: sha256(&json) }
}

/// All rows, each of unit length or zero.
fn unit_rows(study: &StaticStudy, layer: &LayerView) -> Vec<Vec<f64>> {
    let mut rows = Vec::with_capacity(layer.n_rows);
    for view in &layer.shards {
        let bytes = fs::read(study.path(&view.path)).unwrap();
        for row in Shard::parse(&bytes).unwrap().to_f32().chunks_exact(layer.d_model) {
            let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            rows.push(row.iter().map(|x| if norm == 0.0 { 0.0 } else { f64::from(*x) / norm }).collect());
        }
    }
    rows
}

fn block_file(header: &BlockHeader, width: usize, rows: &[Vec<f64>]) -> Vec<u8> {
    let mut codes = vec![0; rows.len() * width];
    let (mut scale, mut error_norm, mut tail_norm) = (Vec::new(), Vec::new(), Vec::new());
    for (row, codes) in rows.iter().zip(codes.chunks_exact_mut(width)) {
        let end = header.first_dim + width;
        let (row_scale, row_error) = quantize(&row[header.first_dim..end], codes);
        scale.push(row_scale);
        error_norm.push(row_error);
        tail_norm.push(round_up(row[end..].iter().map(|x| x * x).sum::<f64>().sqrt() * (1.0 + 1e-12)));
    }
    let columns = Columns { codes: &codes, scale: &scale, error_norm: &error_norm, tail_norm: &tail_norm };
    block::write(header, width, &columns).unwrap()
}

/// Bytes before the first row of a vector file: its header.
fn vector_offset(study: &StaticStudy, path: &str) -> u64 {
    let bytes = fs::read(study.path(path)).unwrap();
    let header: [u8; 8] = bytes[..8].try_into().unwrap();
    8 + u64::from_le_bytes(header)
}

fn rotate_behavior(study: &StaticStudy, manifest: &IndexManifest, folder: &str, name: &str) {
    let file = fs::read(study.path(&format!("behaviors/{name}/layer-{}.safetensors", manifest.layer))).unwrap();
    let own = Shard::parse(&file).unwrap();
    let inputs = manifest.behavior_inputs(&sha256(&file));
    let header = ShardHeader { layer: manifest.layer, first_row: 0, inputs };
    let bytes = shard::write(&header, &own.to_f32(), own.d_model, StoreDtype::F32, own.direction.as_deref()).unwrap();
    study.write(&format!("{folder}/behaviors/{name}.safetensors"), &bytes);
}
