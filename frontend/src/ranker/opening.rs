//! From a request to what is to be read: the query's directions, the ranges of rows and their files.

use js_sys::Uint8Array;
use std::collections::HashMap;
use std::rc::Rc;
use whence_shared::index::manifest::{self, IndexManifest};
use whence_shared::index::query::Direction;
use whence_shared::shard::Shard;
use whence_shared::study::{IndexView, LayerView, ShardView};

use super::calls::{FileRef, Kind, RangePlan};
use super::files::Files;
use crate::fetch::{File, Transfer, sha256};
use crate::protocol::{IndexUse, Of, Query, RankError, RankRequest, Way};

/// A layer whose vectors are no more bytes than this is read whole: one answer instead of several.
const SMALL_LAYER_BYTES: u64 = 4 << 20;
/// Most bytes of scores that a bank's vectors may take, all pairs together.
const MAX_BANK_BYTES: usize = 256 << 20;
/// Bytes that each vector of a bank takes per pair.
const SCORE_BYTES: usize = 4;

/// What is to be read for a query, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// By the index or by all vectors.
    pub way: Way,
    /// What the ranges' files are.
    pub kind: Kind,
    /// All rows, in ranges.
    pub ranges: Vec<RangePlan>,
    /// The query in the space of the ranges' files: more than one direction for a bank.
    pub directions: Vec<Direction>,
    /// The query in the pair vectors' own space.
    pub exact: Vec<Direction>,
    /// `inputs` of the pair vectors.
    pub inputs: String,
    /// Bytes before the first row of each vector file; empty when no rows are read by themselves.
    pub vector_offsets: Vec<u64>,
    /// Bytes of the ranges' files together.
    pub n_bytes: u64,
}

/// One behavior's vectors in some space.
struct Behavior {
    direction: Direction,
    bank: Vec<Direction>,
    inputs: String,
    /// Hash of its file.
    sha256: String,
}

/// Reads what a request names and plans how to answer it: by the index where there is a sound one, else by all vectors.
///
/// # Errors
///
/// When a behavior does not arrive or fit, or study.json lists vectors that do not cover the pairs.
pub async fn plan(request: &RankRequest, files: &Rc<Files>, transfer: &Transfer) -> Result<Plan, RankError> {
    let layer = &request.layer;
    check_coverage(layer, request.n_pairs)?;
    let mut behaviors = HashMap::new();
    for name in request.query.behaviors() {
        let path = format!("behaviors/{name}/layer-{}.safetensors", layer.layer);
        let bytes = File::new(&request.data, &path).bytes(transfer).await.map_err(RankError::Fetch)?;
        behaviors.insert(name.to_owned(), behavior(&path, &bytes, layer, Direction::exact).await?);
    }
    check_prompts(request, &behaviors)?;
    let exact = combine(&request.query, &behaviors);
    let is_bank_too_large = exact.len() > 1 && exact.len() * layer.n_rows * SCORE_BYTES > MAX_BANK_BYTES;
    if is_bank_too_large {
        return Err(RankError::Bank { n_vectors: exact.len(), n_rows: layer.n_rows });
    }
    let n_vector_bytes: u64 = layer.shards.iter().map(|shard| shard.n_bytes).sum();
    let is_small = n_vector_bytes <= SMALL_LAYER_BYTES && !layer.vectors_withheld;
    let why = match &layer.index {
        None => Some("this study has no index: whence index makes one".to_owned()),
        Some(_) if request.index == IndexUse::Never => Some("as the address asks".to_owned()),
        Some(_) if is_small && request.index != IndexUse::Always => None,
        Some(index) => match by_index(request, index, &behaviors, &exact, files, transfer).await {
            Ok(plan) => return Ok(plan),
            Err(error) if error.is_of_file() => Some(format!("the index cannot be used: {error}")),
            Err(error) => return Err(error),
        },
    };
    Ok(by_vectors(layer, &behaviors, exact, why.filter(|_| !is_small)))
}

/// The plan that reads every vector.
pub fn without_index(plan: &Plan, layer: &LayerView, why: String) -> Plan {
    Plan {
        way: Way::Vectors(Some(why)),
        directions: plan.exact.clone(),
        ..vectors_plan(layer, &plan.inputs, plan.exact.clone())
    }
}

fn by_vectors(
    layer: &LayerView,
    behaviors: &HashMap<String, Behavior>,
    exact: Vec<Direction>,
    why: Option<String>,
) -> Plan {
    let inputs = behaviors.values().next().map(|behavior| behavior.inputs.clone()).unwrap_or_default();
    Plan { way: Way::Vectors(why), ..vectors_plan(layer, &inputs, exact) }
}

fn vectors_plan(layer: &LayerView, inputs: &str, exact: Vec<Direction>) -> Plan {
    let range = |(index, shard): (usize, &ShardView)| RangePlan {
        index,
        first_row: shard.first_row,
        n_rows: shard.n_rows,
        files: vec![file_of(shard)],
    };
    Plan {
        way: Way::Vectors(None),
        kind: Kind::Vectors { layer: layer.layer, d_model: layer.d_model, inputs: inputs.to_owned() },
        ranges: layer.shards.iter().enumerate().map(range).collect(),
        directions: exact.clone(),
        exact,
        inputs: inputs.to_owned(),
        vector_offsets: Vec::new(),
        n_bytes: layer.shards.iter().map(|shard| shard.n_bytes).sum(),
    }
}

/// A vector file as a file with known contents.
pub fn file_of(shard: &ShardView) -> FileRef {
    FileRef { path: shard.path.clone(), n_bytes: shard.n_bytes, sha256: shard.sha256.clone() }
}

async fn by_index(
    request: &RankRequest,
    index: &IndexView,
    originals: &HashMap<String, Behavior>,
    exact: &[Direction],
    files: &Rc<Files>,
    transfer: &Transfer,
) -> Result<Plan, RankError> {
    let layer = &request.layer;
    let manifest = manifest(&request.data, layer, index, files, transfer).await?;
    let inputs = originals.values().next().map(|behavior| behavior.inputs.clone()).unwrap_or_default();
    let folder = index.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut behaviors = HashMap::new();
    for (name, original) in originals {
        let path = format!("{folder}/behaviors/{name}.safetensors");
        let bytes = File::new(&request.data, &path).bytes(transfer).await.map_err(RankError::Fetch)?;
        let rotated = behavior(&path, &bytes, layer, Direction::rotated).await?;
        if rotated.inputs != manifest.behavior_inputs(&original.sha256) {
            let reason = format!("made from another behavior or index; run whence index again to rotate {name:?}");
            return Err(RankError::File { path, reason });
        }
        behaviors.insert(name.clone(), rotated);
    }
    let n_ranges = manifest.blocks.first().map_or(0, |block| block.files.len());
    let range = |i: usize| {
        let first = &manifest.blocks[0].files[i];
        let file = |block: &manifest::BlockView| {
            let file = &block.files[i];
            FileRef { path: file.path.clone(), n_bytes: file.n_bytes, sha256: file.sha256.clone() }
        };
        RangePlan {
            index: i,
            first_row: first.first_row,
            n_rows: first.n_rows,
            files: manifest.blocks.iter().map(file).collect(),
        }
    };
    Ok(Plan {
        way: Way::Index,
        kind: Kind::Blocks { layer: layer.layer, inputs: manifest.inputs.clone(), widths: manifest.widths() },
        ranges: (0..n_ranges).map(range).collect(),
        directions: combine(&request.query, &behaviors),
        exact: exact.to_vec(),
        inputs,
        n_bytes: manifest.n_bytes(),
        vector_offsets: manifest.vector_offsets,
    })
}

/// The manifest of a layer's index, verified, and whether it is of these vectors.
///
/// # Errors
///
/// When it does not arrive, or is of another layer or of other vectors.
pub async fn manifest(
    data: &str,
    layer: &LayerView,
    index: &IndexView,
    files: &Rc<Files>,
    transfer: &Transfer,
) -> Result<IndexManifest, RankError> {
    let wrong = |reason: String| RankError::File { path: index.path.clone(), reason };
    let bytes = files.listed(data, &index.path, &index.sha256, transfer).await?;
    let manifest = IndexManifest::parse(&bytes.to_vec()).map_err(|error| wrong(error.to_string()))?;
    let facts = [
        ("layer", layer.layer, manifest.layer),
        ("width", layer.d_model, manifest.d_model),
        ("number of rows", layer.n_rows, manifest.n_rows),
        ("number of vector files", layer.shards.len(), manifest.vector_offsets.len()),
    ];
    for (what, expected, got) in facts {
        if expected != got {
            return Err(RankError::Part { path: index.path.clone(), what: what.to_owned(), expected, got });
        }
    }
    let shards = layer.shards.iter().map(|shard| shard.sha256.as_str());
    let now = sha256(&Uint8Array::from(manifest::hashed_vectors(shards).as_bytes())).await;
    if manifest.vectors_sha256 != now {
        return Err(wrong("made from other pair vectors than those here; run whence index again".into()));
    }
    Ok(manifest)
}

/// Reads a behavior's file: its own or its rotated one.
async fn behavior(
    path: &str,
    bytes: &Uint8Array,
    layer: &LayerView,
    direction_of: fn(&[f32]) -> Direction,
) -> Result<Behavior, RankError> {
    let hash = sha256(bytes).await;
    let bytes = bytes.to_vec();
    let path = path.to_owned();
    let shard =
        Shard::parse(&bytes).map_err(|error| RankError::File { path: path.clone(), reason: error.to_string() })?;
    if shard.header.layer != layer.layer {
        let (expected, got) = (layer.layer, shard.header.layer);
        return Err(RankError::Part { path, what: "layer".into(), expected, got });
    }
    if shard.d_model != layer.d_model {
        return Err(RankError::Width { path, expected: layer.d_model, got: shard.d_model });
    }
    let Some(direction) = &shard.direction else { return Err(RankError::NoDirection { path }) };
    let rows = shard.to_f32();
    Ok(Behavior {
        direction: direction_of(direction),
        bank: rows.chunks_exact(layer.d_model).map(direction_of).collect(),
        inputs: shard.header.inputs,
        sha256: hash,
    })
}

/// The query's directions in one space.
fn combine(query: &Query, behaviors: &HashMap<String, Behavior>) -> Vec<Direction> {
    let mut directions = match &query.of {
        Of::Direction(name) => vec![behaviors[name].direction.clone()],
        Of::Bank(name) => behaviors[name].bank.clone(),
        Of::Subset(name, rows) => {
            let bank = &behaviors[name].bank;
            let weight = 1.0 / rows.len() as f64;
            let parts: Vec<_> = rows.iter().map(|&row| (weight, &bank[row as usize])).collect();
            vec![Direction::weighted_sum(&parts)]
        }
        Of::Sum(parts) => {
            let parts: Vec<_> = parts.iter().map(|(weight, name)| (*weight, &behaviors[name].direction)).collect();
            vec![Direction::weighted_sum(&parts)]
        }
    };
    for name in &query.without {
        for direction in &mut directions {
            *direction = direction.without(&behaviors[name].direction);
        }
    }
    directions
}

/// Refuses prompts that a behavior does not have.
fn check_prompts(request: &RankRequest, behaviors: &HashMap<String, Behavior>) -> Result<(), RankError> {
    let Of::Subset(name, rows) = &request.query.of else { return Ok(()) };
    let n = behaviors[name].bank.len();
    match rows.iter().find(|&&row| row as usize >= n) {
        None => Ok(()),
        Some(&got) => {
            let path = format!("behaviors/{name}/layer-{}.safetensors", request.layer.layer);
            Err(RankError::Prompt { path, n, got })
        }
    }
}

fn check_coverage(layer: &LayerView, n_pairs: usize) -> Result<(), RankError> {
    let mut next = 0;
    for shard in &layer.shards {
        if shard.first_row != next {
            break;
        }
        next += shard.n_rows;
    }
    let covered: usize = layer.shards.iter().map(|shard| shard.n_rows).sum();
    if next == n_pairs && covered == n_pairs {
        return Ok(());
    }
    Err(RankError::Coverage { layer: layer.layer, expected: n_pairs, got: next.min(n_pairs) })
}
