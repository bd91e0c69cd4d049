//! Diagnosis of a ranking: whether editing its first pairs is likely to help. After the ranking, before any edit.
//!
//! What is computed is [`whence_shared::diagnosis`]; here vectors are read, random directions and halves of the test
//! prompts are scored with the pairs, and the result is written to `diagnosis/NAME-layer-L.json`. Results depend on the
//! study and the seed alone, not on how many cores there are.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use rayon::prelude::*;
use whence_shared::diagnosis::anisotropy::Anisotropy;
use whence_shared::diagnosis::figures::{Draws, RandomDirections};
use whence_shared::diagnosis::{self, Diagnosis, Evidence, FORMAT, N_DIRECTIONS, N_SPLITS, Subject};
use whence_shared::pair::Message;
use whence_shared::rank::{Probe, order};
use whence_shared::stability::{half_directions, splits};
use whence_shared::study::BehaviorView;

use super::covariates::Columns;
use super::probe::{layers_to_rank, must_be_its_pairs};
use super::{RankError, probe};
use crate::behavior::read_pairs;
use crate::extract::{BehaviorFile, LayerFiles, VectorFileError, VectorsManifest};
use crate::files;
use crate::progress::{Report, Update};
use crate::study::Study;

/// What to diagnose.
#[derive(Debug, Clone, Default)]
pub struct DiagnoseOptions {
    /// Name of the behavior.
    pub behavior: String,
    /// Layers; empty means every layer that can be ranked.
    pub layers: Vec<usize>,
    /// How many pairs count as the first.
    pub k: usize,
    /// Seed of what is drawn.
    pub seed: u64,
}

/// Diagnoses a behavior's rankings, layers ascending, and writes a file for each.
///
/// # Errors
///
/// [`RankError`]: what stops a ranking, a k that makes no sense, and scores that are no numbers.
pub fn diagnose(
    study: &Study,
    options: &DiagnoseOptions,
    report: Report,
) -> Result<Vec<(PathBuf, Diagnosis)>, RankError> {
    let name = &options.behavior;
    let asked = layers_to_rank(study, name, &options.layers)?;
    let mut all = layers_to_rank(study, name, &[])?;
    // Asked for, but without a direction: reading it says so.
    all.extend(asked.iter().filter(|layer| !all.contains(layer)).copied().collect::<Vec<_>>());
    let manifest = VectorsManifest::required(study)?;
    let pairs_sha256 = must_be_its_pairs(study, &manifest)?;
    let columns = Columns::read(study)?;
    let total = asked.len() as u64;
    let step = |done: u64, layer: usize| {
        report(Update { stage: "diagnose", done, total, unit: "layers", detail: format!("layer {layer}") });
    };
    // Every layer's ranking is compared with the others'.
    let mut scores = BTreeMap::new();
    for layer in all {
        let files = LayerFiles::open(study, layer, &manifest)?;
        let direction = probe::direction(study, name, layer, &manifest)?;
        scores.insert(layer, score(&files, &[widened(&direction)])?.swap_remove(0));
    }
    let mut found = Vec::with_capacity(asked.len());
    for (layer, done) in asked.into_iter().zip(0..) {
        step(done, layer);
        let files = LayerFiles::open(study, layer, &manifest)?;
        let file = BehaviorFile::read(study, name, layer, &manifest)?.expect("it was scored");
        let halves = halves(study, name, &file, options.seed)?;
        let (random, anisotropy) = sums(&files, options.seed)?;
        let mut directions = random.beside(&widened(&file.direction));
        let n_random = directions.len();
        directions.extend(halves.iter().flatten().map(|half| widened(half)));
        let mut drawn = score(&files, &directions)?;
        let rankings: Vec<Vec<u32>> = drawn.split_off(n_random).iter().map(|scores| order(scores)).collect();
        let others: Vec<(usize, Vec<f64>)> = scores
            .iter()
            .filter(|(other, _)| **other != layer)
            .map(|(other, scores)| (*other, scores.clone()))
            .collect();
        let of = Subject {
            behavior: name.clone(),
            layer,
            k: options.k,
            n_pairs: manifest.n_pairs,
            seed: options.seed,
            pairs_sha256: pairs_sha256.clone(),
            vectors_sha256: files.sha256(),
            behavior_sha256: file.sha256.clone(),
        };
        // No k of nothing: what is wrong with it is said by the diagnosis.
        let k = options.k.clamp(1, manifest.n_pairs.max(1));
        let mut random_draws = Draws::new(manifest.n_pairs, k);
        drawn.iter().for_each(|scores| random_draws.add(scores));
        let diagnosis = diagnosis::diagnose(&Evidence {
            of,
            scores: &scores[&layer],
            random_directions: &random_draws,
            sources: &columns.sources,
            anisotropy: anisotropy.mean_cosine(),
            halves: &rankings.chunks_exact(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect::<Vec<_>>(),
            layers: &others,
            covariates: &columns.covariates,
        })?;
        let path = study.diagnosis(name, layer);
        files::write_json(&path, &diagnosis)?;
        found.push((path, diagnosis));
        step(done + 1, layer);
    }
    Ok(found)
}

/// The diagnosis of a behavior at a layer; `None` when there is none, or it is of other pairs or of another version.
///
/// # Errors
///
/// When it is there and cannot be read.
pub fn read(study: &Study, name: &str, layer: usize, pairs_sha256: &str) -> Result<Option<Diagnosis>, RankError> {
    let path = study.diagnosis(name, layer);
    if !path.is_file() {
        return Ok(None);
    }
    let parsed: Diagnosis = serde_json::from_slice(&files::read(&path)?).map_err(|error| RankError::Malformed {
        path: path.clone(),
        reason: format!("{error}; run `whence diagnose` again"),
    })?;
    Ok(Some(parsed).filter(|found| found.format == FORMAT && found.of.pairs_sha256 == pairs_sha256))
}

fn widened(direction: &[f32]) -> Vec<f64> {
    direction.iter().map(|x| f64::from(*x)).collect()
}

/// Scores of all rows toward each direction.
fn score(files: &LayerFiles, directions: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, VectorFileError> {
    let probes: Vec<Probe> = directions.iter().map(|direction| Probe::new(std::slice::from_ref(direction))).collect();
    let of_file = |i: usize| {
        let file = files.map(i, false)?;
        let rows = file.shard();
        let scores: Vec<Vec<f64>> = probes.iter().map(|probe| probe.scores(&rows).collect()).collect();
        // A vector that holds what is no number is named with its file.
        if let Some(row) = scores.iter().find_map(|scores| scores.iter().position(|score| !score.is_finite())) {
            file.read_finite_row(rows.header.first_row + row, &mut vec![0.0; rows.d_model])?;
        }
        Ok(scores)
    };
    let by_file: Vec<Vec<Vec<f64>>> =
        (0..files.view().shards.len()).into_par_iter().map(of_file).collect::<Result<_, VectorFileError>>()?;
    Ok((0..probes.len()).map(|i| by_file.iter().flat_map(|file| &file[i]).copied().collect()).collect())
}

/// What random directions and anisotropy are made of. Files are summed apart and added in order.
fn sums(files: &LayerFiles, seed: u64) -> Result<(RandomDirections, Anisotropy), VectorFileError> {
    let d_model = files.view().d_model;
    let none = || (RandomDirections::new(N_DIRECTIONS, d_model, seed), Anisotropy::new(d_model));
    let of_file = |i: usize| {
        let file = files.map(i, false)?;
        let rows = file.shard();
        let (mut directions, mut anisotropy) = none();
        let mut vector = vec![0.0; d_model];
        for row in 0..rows.n_rows {
            rows.read_row(row, &mut vector);
            directions.add(rows.header.first_row + row, &vector);
            anisotropy.add(&vector);
        }
        Ok((directions, anisotropy))
    };
    let by_file: Vec<_> =
        (0..files.view().shards.len()).into_par_iter().map(of_file).collect::<Result<_, VectorFileError>>()?;
    let (mut directions, mut anisotropy) = none();
    for (of_file, part) in &by_file {
        directions.merge(of_file);
        anisotropy.merge(part);
    }
    Ok((directions, anisotropy))
}

/// Directions of random halves of the test prompts; all response pairs of a prompt stay together. A direction that was
/// imported has no prompts: its vectors are split.
fn halves(study: &Study, name: &str, file: &BehaviorFile, seed: u64) -> Result<Vec<[Vec<f32>; 2]>, RankError> {
    let d_model = file.direction.len();
    let n_vectors = file.vectors.len() / d_model.max(1);
    let path = study.behavior(name).join("pairs.jsonl");
    let malformed = |reason: String| {
        let reason = format!("{reason}; run `whence behavior` again");
        RankError::Malformed { path: path.clone(), reason }
    };
    let pairs = match path.is_file() {
        true => read_pairs(&path).map_err(|error| malformed(error.to_string()))?,
        false => Vec::new(),
    };
    if !pairs.is_empty() && pairs.len() != n_vectors {
        return Err(malformed(format!(
            "expected {n_vectors} response pairs, as there are vectors, got {}",
            pairs.len()
        )));
    }
    let view = files::read(&study.behavior(name).join("behavior.json"))?;
    let view: BehaviorView = serde_json::from_slice(&view).map_err(|error| malformed(error.to_string()))?;
    let mut numbers: HashMap<&[Message], usize> = HashMap::new();
    let mut prompts: Vec<usize> = (0..n_vectors).collect();
    for (prompt, pair) in prompts.iter_mut().zip(&pairs) {
        let next = numbers.len();
        *prompt = *numbers.entry(&pair.prompt).or_insert(next);
    }
    let n_prompts = if pairs.is_empty() { n_vectors } else { numbers.len() };
    let scenario = |i: usize| pairs.get(i).map_or_else(|| i.to_string(), |pair| pair.scenario.clone());
    let scenarios: Vec<String> = (0..n_vectors).map(scenario).collect();
    let half = |split| half_directions(view.method, (&file.vectors, d_model), &scenarios, &prompts, split);
    Ok(splits(n_prompts, N_SPLITS, seed).iter().map(half).collect())
}
