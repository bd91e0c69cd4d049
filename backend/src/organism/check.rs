//! A quick look at how well the planted pairs can be found: pair vectors, behavior direction, ranking, in memory.
//!
//! Optional last step of `whence organism`, for judging a testbed before a study is made of it. It calls the same
//! functions as the verbs that make the study.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use whence_shared::direction::{DirectionMethod, direction};
use whence_shared::dot::norm;
use whence_shared::pair::{Message, Pair};
use whence_shared::quality::Quality;
use whence_shared::rank::{cosine, order};

use super::OrganismError;
use super::examples::{Kind, PreferenceRow, TestPrompt, Truth};
use super::rollouts::BehaviorPair;
use crate::data::template::TemplateChoice;
use crate::data::tokens::TextEncoder;
use crate::device::Device;
use crate::extract::{BlockSource, Budget, Differ};
use crate::model::ModelFolder;

/// How well one layer's ranking finds the culprits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerCheck {
    /// Decoder layer, 0 = embeddings.
    pub layer: usize,
    /// Retrieval quality, k = number of culprits.
    pub quality: Quality,
    /// How many of the top k are of which kind.
    pub top_kinds: BTreeMap<&'static str, usize>,
}

/// What is checked: preference rows with their truth, and the behavior.
pub struct CheckInput<'a> {
    /// All preference rows.
    pub rows: &'a [PreferenceRow],
    /// Their ground truth, in the same order.
    pub truths: &'a [Truth],
    /// Test prompts.
    pub prompts: &'a [TestPrompt],
    /// Response pairs of the behavior.
    pub behavior: &'a [BehaviorPair],
}

/// Vectors of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerVectors {
    /// Decoder layer, 0 = embeddings.
    pub layer: usize,
    /// Width of a vector.
    pub d_model: usize,
    /// Of the preference rows, row-major `[n_rows, d_model]`.
    pub rows: Vec<f32>,
    /// Of the behavior's response pairs, row-major `[n_behavior, d_model]`.
    pub behavior: Vec<f32>,
}

impl CheckInput<'_> {
    /// The behavior's prompts, each with the reference model's response and the tuned model's.
    pub fn responses(&self) -> Vec<Responses<'_>> {
        let messages = |pair: &BehaviorPair| self.prompts[pair.prompt].request.messages();
        self.behavior.iter().map(|pair| Responses { prompt: messages(pair), r0: &pair.r0, r1: &pair.r1 }).collect()
    }
}

/// A prompt that both models answered.
pub struct Responses<'a> {
    /// The conversation.
    pub prompt: Vec<Message>,
    /// The reference model's response.
    pub r0: &'a str,
    /// The tuned model's.
    pub r1: &'a str,
}

/// Vectors of rows and responses at every layer of the model in folder `reference`.
///
/// # Errors
///
/// When the model folder cannot be used.
pub fn vectors(
    reference: &Path,
    rows: &[PreferenceRow],
    responses: &[Responses],
    device: &Device,
) -> Result<Vec<LayerVectors>, OrganismError> {
    let folder = ModelFolder::open(reference)?;
    let model = folder.load(device)?;
    let encoder = TextEncoder::new(&folder, &TemplateChoice::Model, folder.config.max_position_embeddings)
        .map_err(|error| OrganismError::Tokenizer(error.to_string()))?;
    let layers: Vec<usize> = (0..=folder.config.num_hidden_layers).collect();
    let budget = Budget::new(4096);
    let differ = Differ::new(&model, &encoder, device, &budget);
    let pair = |id: &str, prompt: Vec<Message>, chosen: &str, rejected: &str| Pair {
        id: id.to_owned(),
        prompt,
        chosen: vec![Message::new("assistant", chosen)],
        rejected: vec![Message::new("assistant", rejected)],
        source: String::new(),
        metadata: "{}".into(),
    };
    let rows: Vec<Pair> =
        rows.iter().map(|row| pair(&row.id, row.prompt.clone(), &row.chosen, &row.rejected)).collect();
    let behavior: Vec<Pair> = responses.iter().map(|b| pair("", b.prompt.clone(), b.r1, b.r0)).collect();
    let quiet = |_: u64, _: u64| {};
    let vectors = |pairs: &[Pair]| differ.compute(&differ.prepare(pairs), 0, &layers, &quiet);
    let (rows, behavior) = (vectors(&rows)?, vectors(&behavior)?);
    let d_model = rows.d_model;
    let of_layers = layers.into_iter().zip(rows.vectors).zip(behavior.vectors);
    Ok(of_layers.map(|((layer, rows), behavior)| LayerVectors { layer, d_model, rows, behavior }).collect())
}

/// Ranks the rows by every layer of the model in folder `reference`.
///
/// # Errors
///
/// When the model folder cannot be used.
pub fn check(reference: &Path, input: &CheckInput, device: &Device) -> Result<Vec<LayerCheck>, OrganismError> {
    let scenarios = vec![String::new(); input.behavior.len()];
    let n_culprits = input.truths.iter().filter(|truth| truth.culprit).count();
    let of_layer = |vectors: LayerVectors| {
        let direction = direction(DirectionMethod::Mean, &vectors.behavior, &scenarios, vectors.d_model);
        let direction_norm = norm(&direction);
        let scores: Vec<f32> =
            vectors.rows.chunks_exact(vectors.d_model).map(|row| cosine(&direction, direction_norm, row)).collect();
        let ranked = order(&scores);
        let relevant: Vec<bool> = ranked.iter().map(|&row| input.truths[row as usize].culprit).collect();
        let mut top_kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
        for &row in &ranked[..n_culprits] {
            *top_kinds.entry(Kind::name(input.truths[row as usize].kind)).or_default() += 1;
        }
        LayerCheck { layer: vectors.layer, quality: Quality::of_ranking(&relevant, n_culprits), top_kinds }
    };
    Ok(vectors(reference, input.rows, &input.responses(), device)?.into_iter().map(of_layer).collect())
}
