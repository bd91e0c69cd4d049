//! Token sequences with a response at the end, and the log-probability that a model gives each response.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use rayon::prelude::*;

use crate::model::CausalLm;

/// A tokenized conversation whose end is the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// All token ids.
    pub ids: Vec<u32>,
    /// Index of the first response token, ≥ 1. The response reaches to the end and includes the end-of-turn token.
    pub response_start: usize,
}

impl Sequence {
    /// Tokens in the response.
    pub fn n_response_tokens(&self) -> usize {
        self.ids.len() - self.response_start
    }
}

/// Log-probabilities of every response token, one after the other in the order of `sequences`, `[n_response_tokens]`.
///
/// Logits are computed at the positions that predict response tokens and nowhere else.
pub fn token_logps(model: &CausalLm, sequences: &[&Sequence], device: &Device) -> Tensor<1> {
    let batch_size = sequences.len();
    let seq_len = sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0);
    // Padding is never attended to (causality) nor read (positions); any token id will do.
    let mut tokens = vec![0i32; batch_size * seq_len];
    let (mut positions, mut targets) = (Vec::new(), Vec::new());
    for (row, sequence) in sequences.iter().enumerate() {
        for (t, &id) in sequence.ids.iter().enumerate() {
            tokens[row * seq_len + t] = id as i32;
            if t >= sequence.response_start {
                positions.push((row * seq_len + t - 1) as i32);
                targets.push(id as i32);
            }
        }
    }
    let n_targets = targets.len();
    let int = |values: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values, [n_targets]), device);
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [batch_size, seq_len]), device);
    let hidden = model.hidden_states(tokens, &[model.n_layers()]).remove(0);
    let d_model = hidden.dims()[2];
    let hidden = hidden.reshape([batch_size * seq_len, d_model]).select(0, int(positions));
    let logps = activation::log_softmax(model.logits_of(hidden), 1);
    logps.gather(1, int(targets).reshape([n_targets, 1])).reshape([n_targets])
}

/// Sums of [`token_logps`] per sequence, `[n_sequences]`.
pub fn sequence_logps(model: &CausalLm, sequences: &[&Sequence], device: &Device) -> Tensor<1> {
    let tokens = token_logps(model, sequences, device);
    let [n_tokens] = tokens.dims();
    let n_sequences = sequences.len();
    // Summation as a product with a 0/1 matrix: plain arithmetic on every device, with a gradient.
    let mut membership = vec![0f32; n_sequences * n_tokens];
    let mut token = 0;
    for (row, sequence) in sequences.iter().enumerate() {
        for _ in 0..sequence.n_response_tokens() {
            membership[row * n_tokens + token] = 1.0;
            token += 1;
        }
    }
    let membership = Tensor::<2>::from_data(TensorData::new(membership, [n_sequences, n_tokens]), device);
    membership.matmul(tokens.reshape([n_tokens, 1])).reshape([n_sequences])
}

/// [`sequence_logps`] of a whole set without gradients, in batches computed side by side.
pub fn all_sequence_logps(model: &CausalLm, sequences: &[Sequence]) -> Vec<f32> {
    const BATCH_SIZE: usize = 32;
    let device = model.devices().remove(0).without_autodiff();
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|&i| sequences[i].ids.len());
    let batches: Vec<(&[usize], Vec<f32>)> = order
        .par_chunks(BATCH_SIZE)
        .map(|rows| {
            let batch: Vec<&Sequence> = rows.iter().map(|&i| &sequences[i]).collect();
            let logps = sequence_logps(model, &batch, &device).into_data_as::<f32>();
            (rows, logps.as_slice::<f32>().expect("converted to f32").to_vec())
        })
        .collect();
    let mut all = vec![0.0; sequences.len()];
    for (rows, logps) in batches {
        for (&row, logp) in rows.iter().zip(logps) {
            all[row] = logp;
        }
    }
    all
}
