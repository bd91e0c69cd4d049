//! The probe: score(pair) = cosine(direction, pair vector), for every pair of a study, over memory-mapped shards.
//!
//! The arithmetic is [`whence_shared::rank`], the same functions that run in the browser, so the bits are the same.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use rayon::prelude::*;
use whence_shared::rank;
use whence_shared::shard::{Shard, ShardHeader};
use whence_shared::study::{LayerView, ShardView};

use super::RankError;
use crate::data::pairs::PairFile;
use crate::extract::{ExtractError, VectorsManifest};
use crate::files::{self, Context};
use crate::progress::{Report, Update};
use crate::study::Study;

const EXTRACT_AGAIN: &str = "remove the file and run `whence extract` again: the rest is kept";
const DEFINE_AGAIN: &str = "run `whence behavior` again with the model of this study";

/// What to rank.
#[derive(Debug, Clone, Default)]
pub struct RankOptions {
    /// Name of the behavior.
    pub behavior: String,
    /// Layers; empty means every layer with complete pair vectors.
    pub layers: Vec<usize>,
    /// Compare every vector file with the SHA-256 in its manifest, not only its size and header.
    pub verify: bool,
}

/// One layer's ranking of all pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// Name of the behavior.
    pub behavior: String,
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// Hash of what vectors and direction were made from.
    pub inputs: String,
    /// SHA-256 of pairs.parquet.
    pub pairs_sha256: String,
    /// Score of each row, in [−1, 1]; higher pushes harder toward the behavior.
    pub scores: Vec<f32>,
    /// Rows from the highest score to the lowest; equal scores by row number.
    pub order: Vec<u32>,
}

/// Ranks the pairs of a study toward a behavior, one ranking per layer, layers ascending.
///
/// # Errors
///
/// [`RankError`]: an unknown behavior or layer, missing or damaged files, and files that were made from different things.
pub fn rank(study: &Study, options: &RankOptions, report: Report) -> Result<Vec<Ranking>, RankError> {
    let name = &options.behavior;
    let known_names = study.behavior_names()?;
    let manifest =
        VectorsManifest::read(study)?.ok_or_else(|| ExtractError::NoVectors { study: study.root().to_owned() })?;
    if !known_names.contains(name) {
        return Err(RankError::UnknownBehavior { name: name.clone(), study: study.root().to_owned(), known_names });
    }
    let pairs_sha256 = must_be_its_pairs(study, &manifest)?;
    let complete = study.complete_layers()?;
    if let Some(&layer) = options.layers.iter().find(|layer| !complete.contains(layer)) {
        return Err(RankError::LayerIncomplete { layer, study: study.root().to_owned(), complete });
    }
    let mut layers = if options.layers.is_empty() { complete } else { options.layers.clone() };
    layers.sort_unstable();
    layers.dedup();
    if layers.is_empty() {
        return Err(ExtractError::NoVectors { study: study.root().to_owned() }.into());
    }
    // A behavior defined before another layer was extracted has fewer layers than the study. Asked for all, rank what
    // can be ranked; asked for one, say what is missing.
    if options.layers.is_empty() && layers.iter().any(|&layer| study.behavior_vectors(name, layer).is_file()) {
        layers.retain(|&layer| study.behavior_vectors(name, layer).is_file());
    }
    let total = layers.len() as u64;
    let mut rankings = Vec::with_capacity(layers.len());
    for (layer, done) in layers.into_iter().zip(0..) {
        report(Update { stage: "rank", done, total, unit: "layers", detail: format!("layer {layer}") });
        let direction = direction(study, name, layer, &manifest)?;
        let scores = scores(study, layer, &direction, &manifest, options.verify)?;
        rankings.push(Ranking {
            behavior: name.clone(),
            layer,
            inputs: manifest.inputs.clone(),
            pairs_sha256: pairs_sha256.clone(),
            order: rank::order(&scores),
            scores,
        });
    }
    report(Update { stage: "rank", done: total, total, unit: "layers", detail: String::new() });
    Ok(rankings)
}

fn must_be_its_pairs(study: &Study, manifest: &VectorsManifest) -> Result<String, RankError> {
    let pairs = PairFile::open(&study.pairs())?;
    let sha256 = pairs.sha256()?;
    let short = |hash: &str, n_pairs: usize| format!("{n_pairs} pairs, {}", hash.get(..12).unwrap_or(hash));
    if sha256 != manifest.pairs_sha256 || pairs.len() != manifest.n_pairs {
        return Err(RankError::OtherPairs {
            study: study.root().to_owned(),
            expected: short(&manifest.pairs_sha256, manifest.n_pairs),
            got: short(&sha256, pairs.len()),
        });
    }
    Ok(sha256)
}

/// The behavior's direction at a layer, `[d_model]`.
fn direction(study: &Study, name: &str, layer: usize, manifest: &VectorsManifest) -> Result<Vec<f32>, RankError> {
    let path = study.behavior_vectors(name, layer);
    if !path.is_file() {
        return Err(RankError::NoDirection { behavior: name.to_owned(), layer, path });
    }
    let bytes = files::read(&path)?;
    let shard =
        Shard::parse(&bytes).map_err(|source| RankError::Shard { path: path.clone(), source, remedy: DEFINE_AGAIN })?;
    let fit = Fit { path: &path, remedy: DEFINE_AGAIN };
    fit.same("model and text form (inputs)", &manifest.inputs, &shard.header.inputs)?;
    fit.same("layer", &layer, &shard.header.layer)?;
    fit.same("width", &manifest.model.d_model, &shard.d_model)?;
    shard.direction.ok_or_else(|| RankError::Malformed {
        path: path.clone(),
        reason: format!("the file has no tensor \"direction\"; {DEFINE_AGAIN}"),
    })
}

/// Scores of all rows at a layer, in row order.
fn scores(
    study: &Study,
    layer: usize,
    direction: &[f32],
    manifest: &VectorsManifest,
    verify: bool,
) -> Result<Vec<f32>, RankError> {
    let path = study.layer_manifest(layer);
    let view: LayerView = serde_json::from_slice(&files::read(&path)?).map_err(|error| RankError::Malformed {
        path: path.clone(),
        reason: format!("{error}; the manifest is damaged: remove it and run `whence extract` again"),
    })?;
    let fit = Fit { path: &path, remedy: "remove the manifest and run `whence extract` again" };
    fit.same("layer", &layer, &view.layer)?;
    fit.same("number of rows", &manifest.n_pairs, &view.n_rows)?;
    fit.same("width", &manifest.model.d_model, &view.d_model)?;
    let mut next_row = 0;
    for shard in &view.shards {
        fit.same("first row of the next file", &next_row, &shard.first_row)?;
        next_row += shard.n_rows;
    }
    fit.same("rows in all files", &view.n_rows, &next_row)?;

    let score = |shard: &ShardView| {
        let header = ShardHeader { layer, first_row: shard.first_row, inputs: manifest.inputs.clone() };
        score_file(&study.root().join(&shard.path), shard, &header, direction, verify)
    };
    let by_shard: Vec<Vec<f32>> = view.shards.par_iter().map(score).collect::<Result<_, _>>()?;
    Ok(by_shard.concat())
}

fn score_file(
    path: &Path,
    view: &ShardView,
    header: &ShardHeader,
    direction: &[f32],
    verify: bool,
) -> Result<Vec<f32>, RankError> {
    let file = File::open(path).at("open", path)?;
    // SAFETY: a study's files are written under another name and renamed; nobody writes into one that has its name, so
    // the mapped bytes do not change. Someone truncating it by hand meanwhile would end the process, not corrupt data.
    let bytes = unsafe { Mmap::map(&file) }.at("map", path)?;
    let fit = Fit { path, remedy: EXTRACT_AGAIN };
    fit.same("size in bytes", &view.n_bytes, &(bytes.len() as u64))?;
    if verify {
        fit.same("SHA-256", &view.sha256, &files::sha256(&bytes))?;
    }
    let shard = Shard::parse(&bytes).map_err(|source| RankError::Shard {
        path: path.to_owned(),
        source,
        remedy: EXTRACT_AGAIN,
    })?;
    fit.same("model and text form (inputs)", &header.inputs, &shard.header.inputs)?;
    fit.same("layer", &header.layer, &shard.header.layer)?;
    fit.same("first row", &header.first_row, &shard.header.first_row)?;
    fit.same("number of rows", &view.n_rows, &shard.n_rows)?;
    fit.same("width", &direction.len(), &shard.d_model)?;
    Ok(rank::score_shard(&shard, direction))
}

/// Compares what a file says with what it should.
struct Fit<'a> {
    path: &'a Path,
    remedy: &'static str,
}

impl Fit<'_> {
    fn same<T: PartialEq + ToString>(&self, what: &'static str, expected: &T, got: &T) -> Result<(), RankError> {
        if expected == got {
            return Ok(());
        }
        Err(RankError::Mismatch {
            path: self.path.to_owned(),
            what,
            expected: expected.to_string(),
            got: got.to_string(),
            remedy: self.remedy,
        })
    }
}
