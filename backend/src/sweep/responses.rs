//! The responses of a sweep, and what the reference model's residual stream is like on them. First in the flow of
//! `whence sweep`.

use std::collections::{BTreeSet, HashMap};

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;
use whence_shared::pair::Message;
use whence_shared::statistics::separation::{JudgedResponse, PairOfResponses};

use crate::behavior::ResponsePair;
use crate::behavior::rollouts::Rollout;
use crate::data::tokens::{TextEncoder, Tokens};
use crate::device;
use crate::extract::{Budget, Differ, Pooling};
use crate::files;
use crate::model::{CausalLm, ModelError};

/// Responses without the behavior that the length of the residual stream is measured on.
const N_NORM_TEXTS: usize = 32;

/// Responses, each once, and what is known of them.
#[derive(Default)]
pub(super) struct Responses {
    /// Tokens of each response with its prompt.
    pub tokens: Vec<Tokens>,
    /// The behavior's response pairs.
    pub pairs: Vec<PairOfResponses>,
    /// What is to be separated.
    pub judged: Vec<JudgedResponse>,
    /// Judged responses that cannot be read, such as empty ones.
    pub n_unreadable: usize,
    prompts: HashMap<Vec<Message>, usize>,
    known: HashMap<(usize, String), Option<usize>>,
}

impl Responses {
    /// The behavior's response pairs, and files of rollouts with verdicts: of each file, per prompt and verdict the first
    /// `max_per_prompt`. Without files, the pairs' own responses are what is to be separated.
    pub fn gather(
        encoder: &TextEncoder,
        pairs: &[ResponsePair],
        files: &[Vec<(Rollout, bool)>],
        max_per_prompt: usize,
    ) -> Self {
        let mut all = Self::default();
        for pair in pairs {
            let prompt = all.prompt(&pair.prompt);
            let mut add = |text: &str| all.response(encoder, &pair.prompt, text);
            if let (Some(r1), Some(r0)) = (add(&pair.r1), add(&pair.r0)) {
                all.pairs.push(PairOfResponses { r1, r0, prompt, scenario: pair.scenario.clone() });
            }
        }
        if files.is_empty() {
            let of_pair = |pair: &PairOfResponses| [(pair.prompt, pair.r1, true), (pair.prompt, pair.r0, false)];
            let unique: BTreeSet<_> = all.pairs.iter().flat_map(of_pair).collect();
            let judged = |(prompt, response, shows)| JudgedResponse { response, prompt, shows };
            all.judged = unique.into_iter().map(judged).collect();
        }
        for rollouts in files {
            let mut taken: HashMap<(usize, bool), usize> = HashMap::new();
            for (rollout, shows) in rollouts {
                let prompt = all.prompt(&rollout.prompt);
                let n_taken = taken.entry((prompt, *shows)).or_default();
                if *n_taken == max_per_prompt {
                    continue;
                }
                *n_taken += 1;
                match all.response(encoder, &rollout.prompt, &rollout.response) {
                    Some(response) => all.judged.push(JudgedResponse { response, prompt, shows: *shows }),
                    None => all.n_unreadable += 1,
                }
            }
        }
        all
    }

    /// Hash of what is to be separated: prompts by number, tokens, verdicts.
    pub fn judged_sha256(&self) -> String {
        let judged: Vec<(usize, &[u32], bool)> = self
            .judged
            .iter()
            .map(|judged| (judged.prompt, &self.tokens[judged.response].ids[..], judged.shows))
            .collect();
        files::sha256(&serde_json::to_vec(&judged).expect("numbers serialize"))
    }

    /// Which prompts have response pairs, by number.
    pub fn has_pairs(&self) -> Vec<bool> {
        let mut has_pairs = vec![false; self.prompts.len()];
        self.pairs.iter().for_each(|pair| has_pairs[pair.prompt] = true);
        has_pairs
    }

    fn prompt(&mut self, messages: &[Message]) -> usize {
        let next = self.prompts.len();
        *self.prompts.entry(messages.to_vec()).or_insert(next)
    }

    /// The number of a response, which is read once however often it comes; `None` when it cannot be read.
    fn response(&mut self, encoder: &TextEncoder, prompt: &[Message], text: &str) -> Option<usize> {
        let key = (self.prompt(prompt), text.to_owned());
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let conversation: Vec<Message> = prompt.iter().cloned().chain([Message::new("assistant", text)]).collect();
        let number = encoder.encode(&conversation).ok().map(|tokens| {
            self.tokens.push(tokens);
            self.tokens.len() - 1
        });
        self.known.insert(key, number);
        number
    }
}

/// What reads them.
pub(super) struct Reader<'a> {
    /// The reference model.
    pub model: &'a CausalLm,
    /// The study's text form.
    pub encoder: &'a TextEncoder,
    /// How the study pools.
    pub pooling: Pooling,
    /// Most tokens in a batch.
    pub batch_tokens: usize,
}

impl Reader<'_> {
    /// ā of every response: per layer, row-major `[n_responses, d_model]`.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn activations(&self, responses: &Responses, layers: &[usize]) -> Result<Vec<Vec<f32>>, ModelError> {
        let (budget, device) = (Budget::new(self.batch_tokens), self.model.device());
        let differ = Differ { pooling: self.pooling, ..Differ::new(self.model, self.encoder, &device, &budget) };
        let texts: Vec<&Tokens> = responses.tokens.iter().collect();
        let pooled = differ.texts(&texts, layers)?;
        Ok((0..layers.len())
            .map(|layer| pooled.iter().flat_map(|of_text| &of_text[layer]).copied().collect())
            .collect())
    }

    /// Mean length of the residual stream over response tokens, per layer: over the first responses without the behavior.
    pub fn residual_norms(&self, responses: &Responses, layers: &[usize]) -> Vec<f64> {
        let device = self.model.device();
        let unique: BTreeSet<usize> = responses.pairs.iter().map(|pair| pair.r0).collect();
        let texts: Vec<usize> = unique.into_iter().take(N_NORM_TEXTS).collect();
        let norms = |&text: &usize| -> (Vec<f64>, usize) {
            let Tokens { ids, response, .. } = &responses.tokens[text];
            let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [1, ids.len()]), &device);
            let sum = |x: Tensor<3>| {
                let norms = x.narrow(1, response.start, response.len()).square().sum_dim(2).sqrt();
                let norms: Vec<f32> = norms.into_data_as::<f32>().try_into_vec().expect("converted to f32");
                norms.into_iter().map(f64::from).sum::<f64>()
            };
            (self.model.hidden_states(ids, layers).into_iter().map(sum).collect(), response.len())
        };
        let sums: Vec<(Vec<f64>, usize)> = match device::is_cpu(&device) {
            true => texts.par_iter().map(norms).collect(),
            false => texts.iter().map(norms).collect(),
        };
        let n_tokens: usize = sums.iter().map(|(_, n)| n).sum();
        let mean = |layer: usize| sums.iter().map(|(norms, _)| norms[layer]).sum::<f64>() / n_tokens.max(1) as f64;
        (0..layers.len()).map(mean).collect()
    }
}
