//! The probe: score(pair) = cosine(direction, pair vector), for every pair of a study, over memory-mapped shards.
//!
//! The arithmetic is [`whence_shared::rank`], the same functions that run in the browser, so the bits are the same.

use rayon::prelude::*;
use whence_shared::rank::{self, Probe};

use super::RankError;
use crate::data::pairs::PairFile;
use crate::extract::{self, BehaviorFile, LayerFiles, VectorFileError, VectorsManifest};
use crate::progress::{Report, Update};
use crate::study::Study;

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
    /// SHA-256 of the file with the direction.
    pub behavior_sha256: String,
    /// SHA-256 of pairs.parquet.
    pub pairs_sha256: String,
    /// Score of each row, in [−1, 1]; higher pushes harder toward the behavior. Rounded: the order is that of the exact
    /// scores.
    pub scores: Vec<f32>,
    /// Rows from the highest exact score to the lowest; equal scores by row number.
    pub order: Vec<u32>,
}

/// Ranks the pairs of a study toward a behavior, one ranking per layer, layers ascending.
///
/// # Errors
///
/// [`RankError`]: an unknown behavior or layer, missing or damaged files, and files that were made from different things.
pub fn rank(study: &Study, options: &RankOptions, report: Report) -> Result<Vec<Ranking>, RankError> {
    let name = &options.behavior;
    let layers = layers_to_rank(study, name, &options.layers)?;
    let manifest = VectorsManifest::required(study)?;
    let pairs_sha256 = must_be_its_pairs(study, &manifest)?;
    let total = layers.len() as u64;
    let mut rankings = Vec::with_capacity(layers.len());
    for (layer, done) in layers.into_iter().zip(0..) {
        report(Update { stage: "rank", done, total, unit: "layers", detail: format!("layer {layer}") });
        let behavior = behavior_file(study, name, layer, &manifest)?;
        let files = LayerFiles::open(study, layer, &manifest)?;
        let scores = scores(&files, &behavior.direction, options.verify)?;
        rankings.push(Ranking {
            behavior: name.clone(),
            layer,
            inputs: manifest.inputs.clone(),
            behavior_sha256: behavior.sha256,
            pairs_sha256: pairs_sha256.clone(),
            order: rank::order(&scores),
            scores: scores.into_iter().map(|score| score as f32).collect(),
        });
    }
    report(Update { stage: "rank", done: total, total, unit: "layers", detail: String::new() });
    Ok(rankings)
}

/// Layers at which pairs can be ranked toward a behavior, ascending: those asked for, or every complete one.
///
/// # Errors
///
/// [`RankError`]: no vectors, an unknown behavior, or a layer asked for that is not complete.
pub fn layers_to_rank(study: &Study, name: &str, asked: &[usize]) -> Result<Vec<usize>, RankError> {
    VectorsManifest::required(study)?;
    let known_names = study.behavior_names()?;
    if !known_names.iter().any(|known| known == name) {
        return Err(RankError::UnknownBehavior { name: name.to_owned(), study: study.root().to_owned(), known_names });
    }
    let mut layers = extract::complete_layers(study, asked)?;
    // A behavior defined before another layer was extracted has fewer layers than the study. Asked for all, rank what
    // can be ranked; asked for one, say what is missing.
    if asked.is_empty() && layers.iter().any(|&layer| study.behavior_vectors(name, layer).is_file()) {
        layers.retain(|&layer| study.behavior_vectors(name, layer).is_file());
    }
    Ok(layers)
}

pub(crate) fn must_be_its_pairs(study: &Study, manifest: &VectorsManifest) -> Result<String, RankError> {
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
pub(super) fn direction(
    study: &Study,
    name: &str,
    layer: usize,
    manifest: &VectorsManifest,
) -> Result<Vec<f32>, RankError> {
    Ok(behavior_file(study, name, layer, manifest)?.direction)
}

/// A behavior's vectors and direction at a layer.
fn behavior_file(
    study: &Study,
    name: &str,
    layer: usize,
    manifest: &VectorsManifest,
) -> Result<BehaviorFile, RankError> {
    match BehaviorFile::read(study, name, layer, manifest)? {
        Some(behavior) => Ok(behavior),
        None => {
            let path = study.behavior_vectors(name, layer);
            Err(RankError::NoDirection { behavior: name.to_owned(), layer, path })
        }
    }
}

/// Scores of all rows at a layer, in row order.
fn scores(files: &LayerFiles, direction: &[f32], verify: bool) -> Result<Vec<f64>, RankError> {
    let direction: Vec<f64> = direction.iter().map(|x| f64::from(*x)).collect();
    let probe = Probe::new(std::slice::from_ref(&direction));
    let score = |i: usize| Ok(probe.scores(&files.map(i, verify)?.shard()).collect());
    let by_shard: Vec<Vec<f64>> =
        (0..files.view().shards.len()).into_par_iter().map(score).collect::<Result<_, VectorFileError>>()?;
    Ok(by_shard.concat())
}
