//! Token sequences with a response at the end, and the log-probability that a model gives each response.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use rayon::prelude::*;

use crate::device;
use crate::model::{CausalLm, RowShape, cpu_gradients};

/// Most tokens of a batch when no gradients are needed, padding included.
const BATCH_TOKENS: usize = 4096;

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
        self.ids.len().saturating_sub(self.response_start)
    }
}

/// Sequences filled up on the right to one length, and where their response tokens stand. Padding is never attended to
/// (causality) nor read (positions).
#[derive(Debug, Clone)]
pub(super) struct Padded {
    /// One text per sequence.
    pub(super) rows: Vec<RowShape>,
    /// Columns.
    pub(super) seq_len: usize,
    /// Token ids, row-major `[n_sequences, seq_len]`.
    ids: Vec<i32>,
    /// Flat positions that predict a response token, one after the other in the order of the sequences.
    positions: Vec<i32>,
    /// The response tokens.
    pub(super) targets: Vec<u32>,
}

impl Padded {
    pub(super) fn of(sequences: &[&Sequence]) -> Self {
        let seq_len = sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0);
        let mut ids = vec![0i32; sequences.len() * seq_len];
        let (mut positions, mut targets) = (Vec::new(), Vec::new());
        for (row, sequence) in sequences.iter().enumerate() {
            for (t, &id) in sequence.ids.iter().enumerate() {
                ids[row * seq_len + t] = id as i32;
                if t >= sequence.response_start {
                    positions.push((row * seq_len + t - 1) as i32);
                    targets.push(id);
                }
            }
        }
        let rows = sequences.iter().map(|s| RowShape::text(s.ids.len())).collect();
        Self { rows, seq_len, ids, positions, targets }
    }

    /// `[n_sequences · seq_len]`.
    pub(super) fn tokens(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(self.ids.clone(), [self.ids.len()]), device)
    }

    /// `[n_response_tokens]`.
    pub(super) fn positions(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(self.positions.clone(), [self.positions.len()]), device)
    }
}

/// Log-probability of each target, from the un-normed residuals that predict them: `[n_targets, d_model]` in,
/// `[n_targets]` out, with gradients.
pub(super) fn target_logps(model: &CausalLm, hidden: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let n_targets = targets.len();
    if cpu_gradients::applies(&hidden.device()) {
        return cpu_gradients::logps(model.logits_of(hidden), targets).reshape([n_targets]);
    }
    let ids: Vec<i32> = targets.iter().map(|id| *id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [n_targets, 1]), &hidden.device());
    activation::log_softmax(model.logits_of(hidden), 1).gather(1, ids).reshape([n_targets])
}

/// Log-probabilities of every response token, one after the other in the order of `sequences`, `[n_response_tokens]`.
///
/// Logits are computed at the positions that predict response tokens and nowhere else.
pub fn token_logps(model: &CausalLm, sequences: &[&Sequence]) -> Tensor<1> {
    let padded = Padded::of(sequences);
    let device = model.device();
    let pass = model.pass(&padded.rows, padded.seq_len);
    let embedded = model.embed(padded.tokens(&device));
    let residual = (0..model.n_layers()).fold(embedded, |x, layer| model.forward_layer(layer, x, &pass));
    target_logps(model, residual.select(0, padded.positions(&device)), &padded.targets)
}

/// Sums over each sequence of numbers per response token, as [`token_logps`] gives them: `[n_response_tokens]` in,
/// `[n_sequences]` out.
pub fn sums_by_sequence(tokens: Tensor<1>, sequences: &[&Sequence]) -> Tensor<1> {
    let [n_tokens] = tokens.dims();
    let (device, n_sequences) = (tokens.device(), sequences.len());
    let longest = sequences.iter().map(|s| s.n_response_tokens()).max().unwrap_or(0).max(1);
    // One zero behind the last token stands for everything that short sequences lack.
    let mut places = vec![n_tokens as i32; n_sequences * longest];
    let mut token = 0;
    for (row, sequence) in places.chunks_exact_mut(longest).zip(sequences) {
        for place in &mut row[..sequence.n_response_tokens()] {
            *place = token;
            token += 1;
        }
    }
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [n_sequences * longest]), &device);
    let zero = Tensor::<1>::zeros([1], &device);
    let padded = Tensor::cat(vec![tokens, zero], 0).select(0, places).reshape([n_sequences, longest]);
    padded.sum_dim(1).reshape([n_sequences])
}

/// The summed log-probability of every response, `[n_sequences]`, without gradients; `done` is told how many more
/// sequences are done.
pub fn all_sequence_logps(model: &CausalLm, sequences: &[&Sequence], done: &(dyn Fn(usize) + Sync)) -> Vec<f32> {
    let device = model.device();
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|&i| sequences[i].ids.len());
    let mut batches: Vec<&[usize]> = Vec::new();
    let mut rest = order.as_slice();
    while let Some(first) = rest.first() {
        let mut n = 1;
        // Sorted: the last of a batch is its longest.
        debug_assert!(sequences[*first].ids.len() <= sequences[rest[rest.len() - 1]].ids.len());
        while n < rest.len() && (n + 1) * sequences[rest[n]].ids.len() <= BATCH_TOKENS {
            n += 1;
        }
        let (batch, after) = rest.split_at(n);
        batches.push(batch);
        rest = after;
    }
    let compute = |rows: &&[usize]| -> Vec<f32> {
        let batch: Vec<&Sequence> = rows.iter().map(|&i| sequences[i]).collect();
        let padded = Padded::of(&batch);
        let pass = model.pass(&padded.rows, padded.seq_len);
        let embedded = model.embed(padded.tokens(&device));
        let residual = (0..model.n_layers()).fold(embedded, |x, layer| model.forward_layer(layer, x, &pass));
        let hidden = residual.select(0, padded.positions(&device));
        let logps = model.logps_of(&hidden, &padded.targets).into_data_as::<f32>();
        let logps = logps.as_slice::<f32>().expect("converted to f32");
        let mut start = 0;
        let mut sums = Vec::with_capacity(batch.len());
        for sequence in batch {
            let end = start + sequence.n_response_tokens();
            sums.push(logps[start..end].iter().map(|x| f64::from(*x)).sum::<f64>() as f32);
            start = end;
        }
        done(rows.len());
        sums
    };
    let computed: Vec<Vec<f32>> = if device::is_cpu(&device) {
        batches.par_iter().with_max_len(1).map(compute).collect()
    } else {
        batches.iter().map(compute).collect()
    };
    let mut all = vec![0.0; sequences.len()];
    for (rows, logps) in batches.iter().zip(computed) {
        for (&row, logp) in rows.iter().zip(logps) {
            all[row] = logp;
        }
    }
    all
}
