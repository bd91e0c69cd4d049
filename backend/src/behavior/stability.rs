//! Split-half stability of a behavior: directions of random halves of its test prompts, and the rankings of the study's pairs
//! by each. The computation is [`whence_shared::stability`]; here the pair vectors are read. Last step of
//! [`super::define`].

use std::collections::HashMap;

use rayon::prelude::*;
use whence_shared::direction::DirectionMethod;
use whence_shared::pair::Message;
use whence_shared::rank::{self, Probe};
use whence_shared::stability::{Overlap, Stability, half_directions, layer_stability, overlaps, splits};

use super::BehaviorError;
use crate::extract::{LayerFiles, VectorFileError, VectorsManifest};
use crate::progress::{Report, Update};
use crate::study::Study;

/// How many pairs count as the first, as far as that is at most half of them.
const KS: [usize; 3] = [10, 100, 1000];

/// How the prompts are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitOptions {
    /// Splits; 0 measures nothing.
    pub n_splits: usize,
    /// Seed of the splits.
    pub seed: u64,
}

/// What a behavior's directions are made of.
pub(super) struct Rows<'a> {
    /// How a direction is made.
    pub method: DirectionMethod,
    /// Width of a vector.
    pub d_model: usize,
    /// The test prompt of each response pair.
    pub prompts: Vec<&'a [Message]>,
    /// The scenario of each response pair.
    pub scenarios: &'a [String],
    /// Layers with their behavior vectors, row-major `[n_pairs, d_model]`.
    pub layers: Vec<(usize, &'a [f32])>,
}

/// Measures the stability at every layer; none with fewer than two prompts or without a split.
///
/// # Errors
///
/// When a file of pair vectors is damaged or does not belong to the rest.
pub(super) fn measure(
    study: &Study,
    manifest: &VectorsManifest,
    rows: &Rows,
    options: SplitOptions,
    report: Report,
) -> Result<Option<Stability>, BehaviorError> {
    let (prompts, n_prompts) = numbered(&rows.prompts);
    let splits = splits(n_prompts, options.n_splits, options.seed);
    if splits.is_empty() {
        return Ok(None);
    }
    let ranked = study.complete_layers()?;
    let total = rows.layers.len() as u64;
    let mut layers = Vec::new();
    for (&(layer, vectors), done) in rows.layers.iter().zip(0..) {
        report(Update { stage: "stability", done, total, unit: "layers", detail: format!("layer {layer}") });
        let of_split = |split| half_directions(rows.method, (vectors, rows.d_model), rows.scenarios, &prompts, split);
        let directions: Vec<[Vec<f32>; 2]> = splits.iter().map(of_split).collect();
        let overlaps = match ranked.contains(&layer) {
            true => overlaps_of(&LayerFiles::open(study, layer, manifest)?, &directions)?,
            false => Vec::new(),
        };
        layers.extend(layer_stability(layer, &directions, overlaps));
    }
    report(Update { stage: "stability", done: total, total, unit: "layers", detail: String::new() });
    Ok(Some(Stability { n_prompts, n_splits: splits.len(), seed: options.seed, layers }))
}

/// Equal prompts as equal numbers, from 0 in the order in which they come, and how many there are.
fn numbered(prompts: &[&[Message]]) -> (Vec<usize>, usize) {
    let mut numbers = HashMap::new();
    let numbered = prompts
        .iter()
        .map(|prompt| {
            let next = numbers.len();
            *numbers.entry(*prompt).or_insert(next)
        })
        .collect();
    (numbered, numbers.len())
}

/// Ranks all pairs by both directions of every split, in one pass over the files.
fn overlaps_of(files: &LayerFiles, directions: &[[Vec<f32>; 2]]) -> Result<Vec<Overlap>, VectorFileError> {
    let n_rows = files.view().n_rows;
    let ks: Vec<usize> = KS.into_iter().filter(|k| 2 * k <= n_rows).collect();
    let Some(&n_first) = ks.last() else { return Ok(Vec::new()) };
    let wide: Vec<[Vec<f64>; 1]> =
        directions.iter().flatten().map(|half| [half.iter().map(|x| f64::from(*x)).collect()]).collect();
    let probes: Vec<Probe> = wide.iter().map(|direction| Probe::new(direction)).collect();
    // Rounded to f32, which halves the memory of as many scores as there are pairs and directions.
    let score = |i: usize| -> Result<Vec<Vec<f32>>, VectorFileError> {
        let mapped = files.map(i, false)?;
        let shard = mapped.shard();
        let mut row = vec![0.0; shard.d_model];
        let mut scores = vec![Vec::with_capacity(shard.n_rows); probes.len()];
        for i in 0..shard.n_rows {
            shard.read_row(i, &mut row);
            scores.iter_mut().zip(&probes).for_each(|(scores, probe)| scores.push(probe.score(&row) as f32));
        }
        Ok(scores)
    };
    let by_file: Vec<Vec<Vec<f32>>> =
        (0..files.view().shards.len()).into_par_iter().map(score).collect::<Result<_, _>>()?;
    let first = |probe: usize| {
        let scores: Vec<f32> = by_file.iter().flat_map(|of_file| &of_file[probe]).copied().collect();
        let mut order = rank::order(&scores);
        order.truncate(n_first);
        order
    };
    let rankings: Vec<[Vec<u32>; 2]> =
        (0..directions.len()).into_par_iter().map(|split| [first(2 * split), first(2 * split + 1)]).collect();
    Ok(overlaps(&rankings, &ks, n_rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_prompts_are_one_unit() {
        let prompt = |text: &str| vec![Message::new("user", text)];
        let prompts = ["a", "b", "a", "c", "b"].map(prompt);
        let prompts: Vec<&[Message]> = prompts.iter().map(Vec::as_slice).collect();
        assert_eq!(numbered(&prompts), (vec![0, 1, 0, 2, 1], 3));
    }
}
