//! Vectors of a block of pairs: tokenise, run the model up to the last layer asked for, pool, difference.
//!
//! On the CPU every conversation is computed alone, all cores at once: no padding is ever computed, and what a row comes
//! out as cannot depend on its neighbours. On a GPU conversations are sorted by length and computed in right-padded
//! batches of at most a given number of tokens.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use whence_shared::pair::{Pair, Side};

use super::budget::{self, BatchError, Budget};
use super::source::BlockSource;
use crate::data::tokens::{TextEncoder, Tokens, Unreadable};
use crate::device::{self, DeviceFailure};
use crate::model::{ModelError, Olmo2ForCausalLM};

/// Computes vectors of pairs with one model.
pub struct Differ<'a> {
    /// The model that reads.
    pub model: &'a Olmo2ForCausalLM,
    /// The text form.
    pub encoder: &'a TextEncoder,
    /// Where the model lives.
    pub device: &'a Device,
    /// Layers asked for, ascending, 0 = embeddings.
    pub layers: &'a [usize],
    /// Most tokens in one padded batch; on the CPU, where nothing is padded, it has no effect.
    pub budget: &'a Budget,
}

/// Something about a pair's vector that a reader should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// Row of the study.
    pub row: usize,
    /// Id of the pair.
    pub id: String,
    /// `chosen` or `rejected`.
    pub side: String,
    /// Whether the pair goes without a vector (zeros, score 0).
    pub no_vector: bool,
    /// What and why.
    pub reason: String,
}

/// Vectors of consecutive pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Per layer asked for: row-major `[n_pairs, d_model]`, f32. Rows without a vector are zero.
    pub vectors: Vec<Vec<f32>>,
    /// Width of a vector.
    pub d_model: usize,
    /// Pairs without a vector, and responses that were cut.
    pub remarks: Vec<Remark>,
    /// Tokens the model read.
    pub n_tokens: u64,
    /// Log-probabilities of the responses, one entry per pair, when asked for.
    pub logps: Option<Vec<PairLogps>>,
}

/// Log-probabilities of a pair's responses under the model, in nats. NaN where the pair could not be read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLogps {
    /// Sum over the chosen response's tokens.
    pub chosen_sum: f32,
    /// Mean over the chosen response's tokens.
    pub chosen_mean: f32,
    /// Sum over the rejected response's tokens.
    pub rejected_sum: f32,
    /// Mean over the rejected response's tokens.
    pub rejected_mean: f32,
}

/// Pairs with the tokens of both sides.
pub struct Encoded {
    ids: Vec<String>,
    sides: Vec<[Result<Tokens, Unreadable>; 2]>,
}

/// How far a block is: called with pairs done and tokens done since the block began, from any thread.
pub type BlockProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);

const SIDES: [Side; 2] = [Side::Chosen, Side::Rejected];

impl Differ<'_> {
    /// Vectors of `pairs`, the first of which is row `first_row` of its study.
    ///
    /// # Errors
    ///
    /// [`ModelError::Device`] when the device fails. Pairs that cannot be read are no error: they are remarked on.
    pub fn block(&self, pairs: &[Pair], first_row: usize, progress: BlockProgress) -> Result<Block, ModelError> {
        self.compute(&self.prepare(pairs), first_row, self.layers, progress)
    }
}

impl BlockSource for Differ<'_> {
    type Prepared = Encoded;

    fn prepare(&self, pairs: &[Pair]) -> Encoded {
        let sides = |pair: &Pair| SIDES.map(|side| self.encoder.encode(&pair.conversation(side)));
        Encoded {
            ids: pairs.iter().map(|pair| pair.id.clone()).collect(),
            sides: pairs.par_iter().map(sides).collect(),
        }
    }

    fn compute(
        &self,
        prepared: &Encoded,
        first_row: usize,
        layers: &[usize],
        progress: BlockProgress,
    ) -> Result<Block, ModelError> {
        let encoded = &prepared.sides;
        let mut remarks = Vec::new();
        for (i, sides) in encoded.iter().enumerate() {
            for (side, tokens) in SIDES.iter().zip(sides) {
                let (no_vector, reason) = match tokens {
                    Ok(tokens) if tokens.n_cut == 0 => continue,
                    Ok(tokens) => {
                        (false, format!("the last {} tokens of the response were cut (--max-tokens)", tokens.n_cut))
                    }
                    Err(why) => (true, why.to_string()),
                };
                let id = prepared.ids[i].clone();
                remarks.push(Remark { row: first_row + i, id, side: side.name().into(), no_vector, reason });
            }
        }
        // Conversations to compute: both sides of every pair that has two readable ones.
        let mut work: Vec<Conversation> = Vec::new();
        for (pair, sides) in encoded.iter().enumerate() {
            if let [Ok(chosen), Ok(rejected)] = sides {
                work.push(Conversation { pair, side: 0, tokens: chosen });
                work.push(Conversation { pair, side: 1, tokens: rejected });
            }
        }
        // Longest first: padding is least among equals, and no core is left alone with the longest at the end.
        work.sort_by_key(|c| (std::cmp::Reverse(c.tokens.ids.len()), c.pair, c.side));

        let counter = Counter { conversations: AtomicU64::new(0), tokens: AtomicU64::new(0), progress };
        let pooled: Vec<(usize, usize, Vec<Vec<f32>>)> = if device::is_cpu(self.device) {
            let compute = |c: &Conversation| -> Result<_, ModelError> {
                let pooled = self.pool(std::slice::from_ref(c), layers)?.remove(0);
                counter.add(1, c.n_tokens());
                Ok((c.pair, c.side, pooled))
            };
            // One conversation at a time per thread: a thread takes the next longest when it is done.
            work.par_iter().with_max_len(1).map(compute).collect::<Result<_, _>>()?
        } else {
            let compute = |batch: &[Conversation]| -> Result<Vec<_>, ModelError> {
                let pooled = device::guarded(|| self.pool(batch, layers), ModelError::from)?;
                counter.add(batch.len() as u64, batch.iter().map(Conversation::n_tokens).sum());
                Ok(batch.iter().zip(pooled).map(|(c, pooled)| (c.pair, c.side, pooled)).collect())
            };
            let length = |c: &Conversation| c.tokens.ids.len();
            let is_no_room = |error: &ModelError| {
                let is_no_room = matches!(error, ModelError::NoRoom(_));
                if is_no_room {
                    self.device.memory_cleanup();
                }
                is_no_room
            };
            budget::in_batches(&work, self.budget, length, is_no_room, compute).map_err(|error| match error {
                BatchError::Other(error) => error,
                BatchError::Alone { index, source } => ModelError::TooLong {
                    row: first_row + work[index].pair,
                    side: SIDES[work[index].side].name(),
                    n_tokens: work[index].tokens.ids.len(),
                    reason: source.to_string(),
                },
            })?
        };

        let d_model = pooled.first().and_then(|(_, _, layers)| layers.first()).map_or(0, Vec::len);
        let mut vectors = vec![vec![0f32; encoded.len() * d_model]; layers.len()];
        for (pair, side, means) in &pooled {
            for (vectors, pooled) in vectors.iter_mut().zip(means) {
                let row = &mut vectors[pair * d_model..(pair + 1) * d_model];
                // The sum of a term and its negative counterpart: the same bits whichever side comes first.
                for (x, a) in row.iter_mut().zip(pooled) {
                    *x += if *side == 0 { *a } else { -*a };
                }
            }
        }
        Ok(Block { vectors, d_model, remarks, n_tokens: counter.tokens.into_inner(), logps: None })
    }
}

impl Differ<'_> {
    /// ā of each conversation at every layer: the mean over its response tokens, in f32.
    ///
    /// Returns per conversation, per layer, `[d_model]`.
    fn pool(&self, batch: &[Conversation], layers: &[usize]) -> Result<Vec<Vec<Vec<f32>>>, ModelError> {
        let batch_size = batch.len();
        let seq_len = batch.iter().map(|c| c.tokens.ids.len()).max().unwrap_or(0);
        let mut ids = vec![0i32; batch_size * seq_len];
        for (row, c) in ids.chunks_exact_mut(seq_len.max(1)).zip(batch) {
            for (id, token) in row.iter_mut().zip(&c.tokens.ids) {
                *id = *token as i32;
            }
        }
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [batch_size, seq_len]), self.device);
        let hidden = self.model.hidden_states(tokens, layers);
        let mut pooled = vec![Vec::with_capacity(layers.len()); batch_size];
        if let [c] = batch {
            let response = c.tokens.response.clone();
            for x in hidden {
                let [_, _, d_model] = x.dims();
                let rows = x.narrow(1, response.start, response.len()).reshape([response.len(), d_model]);
                pooled[0].push(read(rows.mean_dim(0).reshape([d_model]))?);
            }
            return Ok(pooled);
        }
        // The mean as a matrix product with a row of weights, 1/n on response tokens and 0 elsewhere.
        let mut weights = vec![0f32; batch_size * seq_len];
        for (row, c) in weights.chunks_exact_mut(seq_len).zip(batch) {
            row[c.tokens.response.clone()].fill(1.0 / c.tokens.response.len() as f32);
        }
        let weights = Tensor::<3>::from_data(TensorData::new(weights, [batch_size, 1, seq_len]), self.device);
        for x in hidden {
            let [_, _, d_model] = x.dims();
            let means = read(weights.clone().matmul(x).reshape([batch_size * d_model]))?;
            for (pooled, mean) in pooled.iter_mut().zip(means.chunks_exact(d_model)) {
                pooled.push(mean.to_vec());
            }
        }
        Ok(pooled)
    }
}

/// One side of one pair, with its tokens.
struct Conversation<'a> {
    /// Index into the block.
    pair: usize,
    /// 0 chosen, 1 rejected.
    side: usize,
    tokens: &'a Tokens,
}

impl Conversation<'_> {
    fn n_tokens(&self) -> u64 {
        self.tokens.ids.len() as u64
    }
}

/// Counts what is done and passes it on.
struct Counter<'a> {
    conversations: AtomicU64,
    tokens: AtomicU64,
    progress: BlockProgress<'a>,
}

impl Counter<'_> {
    fn add(&self, conversations: u64, tokens: u64) {
        let conversations = self.conversations.fetch_add(conversations, Ordering::Relaxed) + conversations;
        let tokens = self.tokens.fetch_add(tokens, Ordering::Relaxed) + tokens;
        (self.progress)(conversations / 2, tokens);
    }
}

fn read(x: Tensor<1>) -> Result<Vec<f32>, ModelError> {
    let data = x.try_into_data().map_err(|error| ModelError::from(DeviceFailure::of(&format!("{error:?}"))))?;
    data.try_into_vec::<f32>().map_err(|error| ModelError::Device(format!("{error:?}")))
}
