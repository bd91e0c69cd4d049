//! From response pairs with vectors to a stored behavior: directions, whether halves of the prompts say the same, files. The
//! common end of [`super::define`], which reads the vectors through a model, and [`super::subset`], which has them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use whence_shared::direction::{DirectionMethod, direction};
use whence_shared::pair::conversation_text;
use whence_shared::shard::{self, ShardHeader, StoreDtype};
use whence_shared::study::{BehaviorExample, BehaviorView};

use super::stability::{self, Rows};
use super::{BehaviorError, ResponsePair, SplitOptions};
use crate::convert::direction::READING;
use crate::extract::{BehaviorFile, ExtractError, VectorsManifest};
use crate::files::{self, Context, FileError};
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
    /// Hash of what read r1, where that is not the study's model; else empty.
    pub tuned: String,
    /// Its response pairs.
    pub pairs: Vec<&'a ResponsePair>,
    /// Layers with a vector per response pair, row-major `[n_pairs, d_model]`.
    pub layers: Vec<(usize, Vec<f32>)>,
    /// How the prompts are split.
    pub split: SplitOptions,
    /// Where the response pairs came from, for errors.
    pub path: PathBuf,
    /// Whether a behavior of the name that was made of something else is replaced.
    pub replace: bool,
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
        let pairs_jsonl = files::jsonl(&self.pairs);
        let inputs = self.inputs(vectors, &pairs_jsonl);
        let difference = self.difference(study, vectors, &inputs, &pairs_jsonl);
        if let Some(reason) = difference.as_ref().filter(|_| !self.replace) {
            return Err(BehaviorError::Exists { name: self.name.to_owned(), reason: reason.clone() });
        }
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
        let view = BehaviorView {
            name: self.name.to_owned(),
            n_pairs: self.pairs.len(),
            n_scenarios: scenarios.iter().collect::<BTreeSet<_>>().len(),
            method: self.method,
            inputs,
            reading: self.reading,
            layers: self.layers.iter().map(|(layer, _)| *layer).collect(),
            examples: self.pairs.iter().take(N_EXAMPLES).map(|pair| example(pair)).collect(),
            stability,
            has_sweep: false,
            diagnosed_layers: Vec::new(),
            token_layers: Vec::new(),
        };
        if difference.is_some() {
            remove_other_layers(study, &view)?;
        }
        write(study, &view, &pairs_jsonl, &shards)?;
        index::behaviors::refresh(study)?;
        Ok((view, norms))
    }

    /// Hash of what the vectors are made from.
    fn inputs(&self, vectors: &VectorsManifest, pairs_jsonl: &[u8]) -> String {
        let method = serde_json::to_string(&self.method).expect("a name serializes");
        let pairs = files::sha256(pairs_jsonl);
        let mut inputs = vec!["whence.behavior/1", &vectors.inputs, &pairs, &method, &self.reading];
        if !self.tuned.is_empty() {
            inputs.push(&self.tuned);
        }
        inputs_hash(&inputs)
    }

    /// How the behavior of this name was made otherwise; none when there is none, or it was made of the same. Vectors that the
    /// study no longer has make no difference: such a behavior is of no use, and done again it is what it was.
    fn difference(&self, study: &Study, vectors: &VectorsManifest, inputs: &str, pairs_jsonl: &[u8]) -> Option<String> {
        let there = earlier(study, self.name).filter(|there| there.inputs != inputs)?;
        if let Some(reason) = made_otherwise(&there, self.method, &self.reading) {
            return Some(reason);
        }
        if files::read(&study.behavior(self.name).join("pairs.jsonl")).ok().as_deref() != Some(pairs_jsonl) {
            return Some(OTHER_PAIRS.to_owned());
        }
        let is_read_alike =
            |&layer: &usize| matches!(BehaviorFile::read(study, self.name, layer, vectors), Ok(Some(_)));
        (!self.tuned.is_empty() && there.layers.iter().any(is_read_alike))
            .then(|| "with another tuned model".to_owned())
    }
}

/// What differs where the response pairs do.
pub(super) const OTHER_PAIRS: &str = "of other response pairs";

/// The behavior that has a name; none without one, or when it cannot be read.
pub(super) fn earlier(study: &Study, name: &str) -> Option<BehaviorView> {
    serde_json::from_slice(&files::read(&study.behavior_view(name)).ok()?).ok()
}

/// How a behavior was made with another method or reading.
pub(super) fn made_otherwise(there: &BehaviorView, method: DirectionMethod, reading: &str) -> Option<String> {
    if there.reading == READING && reading != READING {
        return Some("by `whence convert` of an imported direction".to_owned());
    }
    if there.reading != reading {
        return Some(format!("with responses read through {}, not {reading}", there.reading));
    }
    (there.method != method).then(|| format!("with --method {}, not {}", name_of(there.method), name_of(method)))
}

fn name_of(method: DirectionMethod) -> String {
    let name = serde_json::to_value(method).expect("a name serializes");
    name.as_str().unwrap_or_default().to_owned()
}

/// Removes the layers of the earlier behavior that the new one does not have: no direction of its name may be another's.
fn remove_other_layers(study: &Study, view: &BehaviorView) -> Result<(), FileError> {
    let folder = study.behavior(&view.name);
    for entry in fs::read_dir(&folder).at("list", &folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let layer = name.strip_prefix("layer-").and_then(|name| name.strip_suffix(".safetensors")?.parse().ok());
        if layer.is_some_and(|layer: usize| !view.layers.contains(&layer)) {
            fs::remove_file(entry.path()).at("remove", &entry.path())?;
        }
    }
    Ok(())
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
