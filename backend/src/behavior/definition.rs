//! From response pairs with vectors to a stored behavior: directions, whether halves of the prompts say the same, files. The
//! common end of [`super::define`], which reads the vectors through a model, and [`super::subset`], which has them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use whence_shared::direction::{DirectionMethod, direction};
use whence_shared::pair::conversation_text;
use whence_shared::shard::{self, ShardHeader, StoreDtype};
use whence_shared::study::{BehaviorExample, BehaviorView};

use super::stability::{self, Rows};
use super::{BehaviorError, ResponsePair, SplitOptions};
use crate::extract::{ExtractError, VectorsManifest};
use crate::files::{self, FileError};
use crate::index;
use crate::progress::Report;
use crate::study::{Study, inputs_hash};

/// Triples shown to a reader of the study.
const N_EXAMPLES: usize = 24;

/// A behavior about to be stored.
pub(super) struct Definition<'a> {
    /// Its name.
    pub name: &'a str,
    /// How its directions are made.
    pub method: DirectionMethod,
    /// `M0/M0` or `M1/M0`: which models read r1 and r0.
    pub reading: String,
    /// Its response pairs.
    pub pairs: Vec<&'a ResponsePair>,
    /// Layers with a vector per response pair, row-major `[n_pairs, d_model]`.
    pub layers: Vec<(usize, Vec<f32>)>,
    /// How the prompts are split.
    pub split: SplitOptions,
    /// Where the response pairs came from, for errors.
    pub path: PathBuf,
}

impl Definition<'_> {
    /// Makes directions and stores everything; the norms of the directions, per layer.
    ///
    /// # Errors
    ///
    /// When a direction is zero, or a file cannot be read or written; an earlier behavior of the name stays until then.
    pub(super) fn store(
        self,
        study: &Study,
        vectors: &VectorsManifest,
        report: Report,
    ) -> Result<(BehaviorView, Vec<f32>), BehaviorError> {
        let d_model = vectors.model.d_model;
        let scenarios: Vec<String> = self.pairs.iter().map(|pair| pair.scenario.clone()).collect();
        let mut norms = Vec::new();
        let mut shards = Vec::new();
        for (layer, rows) in &self.layers {
            let layer = *layer;
            let direction = direction(self.method, rows, &scenarios, d_model);
            let norm = whence_shared::dot::norm(&direction);
            if norm == 0.0 {
                return Err(BehaviorError::NoDirection { layer, path: self.path });
            }
            norms.push(norm);
            let header = ShardHeader { layer, first_row: 0, inputs: vectors.inputs.clone() };
            let bytes = shard::write(&header, rows, d_model, StoreDtype::F32, Some(&direction))
                .map_err(|source| ExtractError::Store { layer, source })?;
            shards.push((layer, bytes));
        }
        let rows = Rows {
            method: self.method,
            d_model,
            prompts: self.pairs.iter().map(|pair| pair.prompt.as_slice()).collect(),
            scenarios: &scenarios,
            layers: self.layers.iter().map(|(layer, rows)| (*layer, rows.as_slice())).collect(),
        };
        let stability = stability::measure(study, vectors, &rows, self.split, report)?;
        let pairs_jsonl = files::jsonl(&self.pairs);
        let method = serde_json::to_string(&self.method).expect("a name serializes");
        let inputs = ["whence.behavior/1", &vectors.inputs, &files::sha256(&pairs_jsonl), &method, &self.reading];
        let view = BehaviorView {
            name: self.name.to_owned(),
            n_pairs: self.pairs.len(),
            n_scenarios: scenarios.iter().collect::<BTreeSet<_>>().len(),
            method: self.method,
            inputs: inputs_hash(&inputs),
            reading: self.reading,
            layers: self.layers.iter().map(|(layer, _)| *layer).collect(),
            examples: self.pairs.iter().take(N_EXAMPLES).map(|pair| example(pair)).collect(),
            stability,
            has_sweep: false,
            diagnosed_layers: Vec::new(),
            token_layers: Vec::new(),
        };
        write(study, &view, &pairs_jsonl, &shards)?;
        index::behaviors::refresh(study)?;
        Ok((view, norms))
    }
}

fn example(pair: &ResponsePair) -> BehaviorExample {
    BehaviorExample {
        prompt: conversation_text(&pair.prompt),
        r0: pair.r0.clone(),
        r1: pair.r1.clone(),
        scenario: pair.scenario.clone(),
    }
}

/// Stores a behavior. behavior.json goes last: a behavior without it does not exist.
fn write(study: &Study, view: &BehaviorView, pairs: &[u8], shards: &[(usize, Vec<u8>)]) -> Result<(), FileError> {
    let folder = study.behavior(&view.name);
    files::write(&folder.join("pairs.jsonl"), pairs)?;
    for (layer, bytes) in shards {
        files::write(&study.behavior_vectors(&view.name, *layer), bytes)?;
    }
    files::write_json(&study.behavior_view(&view.name), view)
}
