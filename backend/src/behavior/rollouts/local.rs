//! Rollouts of a model on this machine. One of the two sources of `whence rollouts`.

use serde_json::json;

use super::journal::Journal;
use super::settings::Settings;
use super::{Answer, RolloutError, Sampling, TestPrompt, places};
use crate::data::template::TemplateChoice;
use crate::data::tokens::{TextEncoder, Unreadable};
use crate::device::Device;
use crate::model::dtype::ComputeDtype;
use crate::model::generate::{GenerationConfig, generate_steered};
use crate::model::steering::Steering;
use crate::model::{CausalLm, DtypeChoice, ModelFolder};

/// Rollouts sampled together, and lost together when killed. Part of what decides the samples: random streams are
/// numbered within a chunk.
const ROLLOUTS_PER_CHUNK: usize = 64;

/// A model folder with where and how it is to be run.
pub struct LocalModel<'a> {
    /// The model.
    pub folder: &'a ModelFolder,
    /// Where it is computed.
    pub device: &'a Device,
    /// How messages become text.
    pub template: &'a TemplateChoice,
    /// The type of weights and of matrix products with them.
    pub dtype: DtypeChoice,
}

/// A model whose weights are there already: for many runs of one model, each steered in another way or not at all.
pub struct LoadedModel<'a> {
    /// Where it is from, and how it is run.
    pub local: LocalModel<'a>,
    /// The weights.
    pub model: &'a CausalLm,
    /// What is added to its residual stream.
    pub steering: Option<&'a Steering>,
}

impl LoadedModel<'_> {
    /// What decides the rollouts, beside the sampling.
    pub(super) fn settings(&self) -> Result<Settings, RolloutError> {
        let mut settings = self.local.settings()?;
        if let Some(steering) = self.steering {
            let (layer, positions) = (steering.layer(), steering.positions());
            let steering = json!({"layer": layer, "positions": positions, "vector_sha256": steering.sha256()});
            settings.insert("steering".into(), steering);
        }
        Ok(settings)
    }

    /// Samples what the journal lacks, chunk by chunk.
    pub(super) fn sample(
        &self,
        prompts: &[TestPrompt],
        sampling: &Sampling,
        journal: &mut Journal,
        show: &dyn Fn(usize, String),
    ) -> Result<(), RolloutError> {
        let tokens = self.local.tokens(prompts, sampling)?;
        self.local.sample_with((self.model, self.steering), (prompts, &tokens), sampling, journal, show)
    }
}

impl LocalModel<'_> {
    /// What decides the rollouts, beside the sampling.
    pub(super) fn settings(&self) -> Result<Settings, RolloutError> {
        let encoder = self.encoder()?;
        Ok([
            ("source", json!("model")),
            ("model", json!(self.folder.name())),
            ("model_sha256", json!(self.folder.sha256()?)),
            ("template", json!(encoder.name())),
            ("template_sha256", json!(encoder.template_sha256())),
            ("dtype", json!(self.dtype()?.name)),
            ("rollouts_per_chunk", json!(ROLLOUTS_PER_CHUNK)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into())
    }

    fn dtype(&self) -> Result<ComputeDtype, RolloutError> {
        Ok(self.folder.dtype_on(self.device, self.dtype)?)
    }

    fn encoder(&self) -> Result<TextEncoder, RolloutError> {
        Ok(TextEncoder::new(self.folder, self.template, self.folder.config.max_position_embeddings)?)
    }

    /// Samples what the journal lacks, chunk by chunk.
    pub(super) fn sample(
        &self,
        prompts: &[TestPrompt],
        sampling: &Sampling,
        journal: &mut Journal,
        show: &dyn Fn(usize, String),
    ) -> Result<(), RolloutError> {
        let tokens = self.tokens(prompts, sampling)?;
        let model = self.load()?;
        self.sample_with((&model, None), (prompts, &tokens), sampling, journal, show)
    }

    /// Loads the weights.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn load(&self) -> Result<CausalLm, RolloutError> {
        Ok(self.folder.load_as(self.device, self.dtype()?.dtype)?)
    }

    fn sample_with(
        &self,
        (model, steering): (&CausalLm, Option<&Steering>),
        (prompts, tokens): (&[TestPrompt], &[Vec<u32>]),
        sampling: &Sampling,
        journal: &mut Journal,
        show: &dyn Fn(usize, String),
    ) -> Result<(), RolloutError> {
        let name = self.folder.name();
        for (chunk, places) in places(prompts, sampling).chunks(ROLLOUTS_PER_CHUNK).enumerate() {
            if places.iter().all(|&place| journal.has(place)) {
                continue;
            }
            let config = GenerationConfig {
                temperature: sampling.temperature as f32,
                top_p: sampling.top_p as f32,
                max_new_tokens: sampling.max_new_tokens,
                eos_token_ids: self.folder.eos_token_ids.clone(),
                seed: chunk_seed(sampling.seed, chunk),
            };
            let asked: Vec<Vec<u32>> = places.iter().map(|&(prompt, _)| tokens[prompt].clone()).collect();
            let responses = generate_steered(model, &asked, &config, steering);
            // A chunk of which a part was kept before a kill is sampled whole, and gives the same again.
            let mut rollouts = Vec::new();
            for (&(prompt, sample), ids) in places.iter().zip(responses) {
                if journal.has((prompt, sample)) {
                    continue;
                }
                let response = self.folder.tokenizer.decode(&ids, true).map_err(|error| RolloutError::Prompt {
                    id: prompts[prompt].id.clone(),
                    reason: format!("the tokenizer cannot decode the response: {error}"),
                })?;
                let reason = if ids.len() >= sampling.max_new_tokens { "length" } else { "stop" };
                let answer = Answer { response, finish_reason: Some(reason.into()) };
                rollouts.push((prompt, sampling.rollout(&prompts[prompt], sample, &name, answer)));
            }
            journal.keep(rollouts)?;
            show(journal.n_done(), String::new());
        }
        Ok(())
    }

    /// Token ids of every prompt, up to where the assistant begins to speak.
    fn tokens(&self, prompts: &[TestPrompt], sampling: &Sampling) -> Result<Vec<Vec<u32>>, RolloutError> {
        let encoder = self.encoder()?;
        let limit = self.folder.config.max_position_embeddings;
        prompts
            .iter()
            .map(|prompt| {
                let wrong = |reason: String| RolloutError::Prompt { id: prompt.id.clone(), reason };
                let (n_tokens, ids) = match encoder.encode_prompt(&prompt.messages) {
                    Ok(ids) => (ids.len(), ids),
                    Err(Unreadable::PromptTooLong { n_prompt_tokens, .. }) => (n_prompt_tokens, Vec::new()),
                    Err(error) => return Err(wrong(error.to_string())),
                };
                if n_tokens == 0 {
                    return Err(wrong("it has no tokens".into()));
                }
                if n_tokens + sampling.max_new_tokens > limit {
                    return Err(wrong(format!(
                        "{n_tokens} tokens and {} new ones are more than the model's {limit}: shorten the prompt or lower \
                         --max-new-tokens",
                        sampling.max_new_tokens
                    )));
                }
                Ok(ids)
            })
            .collect()
    }
}

/// Every chunk draws from its own random numbers (SplitMix64's increment keeps neighbouring seeds apart).
fn chunk_seed(seed: u64, chunk: usize) -> u64 {
    seed.wrapping_add((chunk as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
