//! Vectors of a block of pairs: run the model up to the last layer asked for, pool, difference.
//!
//! What the two texts of a pair have in common before the responses is computed once: both stand in one row, and the
//! second response does not see the first. On the CPU every row is computed alone, all cores at once: nothing is filled
//! up, and what a pair comes out as cannot depend on its neighbors. On a GPU rows are sorted by length and computed in
//! batches of at most a given number of tokens.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use whence_shared::dot::norm;
use whence_shared::pair::{Pair, Side};

use super::budget::{self, BatchError, Budget};
use super::pooling::Pooling;
use super::source::BlockSource;
use crate::data::tokens::{TextEncoder, Tokens, Unreadable};
use crate::device::{self, DeviceFailure};
use crate::model::{Batch, CausalLm, ModelError, RowShape};

/// Computes vectors of pairs with one model.
pub struct Differ<'a> {
    /// The model that reads.
    pub model: &'a CausalLm,
    /// The text form.
    pub encoder: &'a TextEncoder,
    /// Where the model lives.
    pub device: &'a Device,
    /// Most tokens in one filled-up batch; on the CPU, where nothing is filled up, it has no effect.
    pub budget: &'a Budget,
    /// How one vector is made of a response's tokens.
    pub pooling: Pooling,
    /// Whether to compute the responses' log-probabilities too.
    pub logps: bool,
    /// Whether what both texts of a pair begin with is computed once.
    pub share_prompt: bool,
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
    /// Whether it is about a text that is longer than what the model was made for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beyond_context: bool,
    /// What and why.
    pub reason: String,
}

/// Log-probabilities of a pair's responses, each including the tokens that end its turn: what DPO needs of its reference
/// model. NaN where a pair could not be read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLogps {
    /// Σ log p of the chosen response's tokens.
    pub chosen_sum: f32,
    /// Mean log p of the chosen response's tokens.
    pub chosen_mean: f32,
    /// Σ log p of the rejected response's tokens.
    pub rejected_sum: f32,
    /// Mean log p of the rejected response's tokens.
    pub rejected_mean: f32,
}

/// Vectors of consecutive pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Per layer asked for: row-major `[n_pairs, d_model]`, f32. Rows without a vector are zero.
    pub vectors: Vec<Vec<f32>>,
    /// Width of a vector; 0 when no pair could be read.
    pub d_model: usize,
    /// Pairs without a vector, and responses that were cut.
    pub remarks: Vec<Remark>,
    /// Tokens the model read.
    pub n_tokens: u64,
    /// Per pair, when asked for.
    pub logps: Option<Vec<PairLogps>>,
}

/// How far a block is: called with pairs done and tokens done since the block began, from any thread.
pub type BlockProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);

const SIDES: [Side; 2] = [Side::Chosen, Side::Rejected];

/// Tokenised pairs.
#[derive(Debug, Clone)]
pub struct EncodedPairs {
    ids: Vec<String>,
    sides: Vec<[Result<Tokens, Unreadable>; 2]>,
    context: usize,
}

impl EncodedPairs {
    /// Tokenises both sides of every pair.
    pub fn new(encoder: &TextEncoder, pairs: &[Pair]) -> Self {
        let encode = |pair: &Pair| SIDES.map(|side| encoder.encode(&pair.conversation(side)));
        let ids = pairs.iter().map(|pair| pair.id.clone()).collect();
        Self { ids, sides: pairs.par_iter().map(encode).collect(), context: encoder.context() }
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Pairs of which both sides can be read, with their index: chosen, then rejected.
    pub fn readable(&self) -> impl Iterator<Item = (usize, [&Tokens; 2])> {
        self.sides.iter().enumerate().filter_map(|(i, sides)| match sides {
            [Ok(chosen), Ok(rejected)] => Some((i, [chosen, rejected])),
            _ => None,
        })
    }

    /// What a reader should know of single pairs; the first is row `first_row` of its study.
    pub fn remarks(&self, first_row: usize) -> Vec<Remark> {
        let mut remarks = Vec::new();
        for (i, sides) in self.sides.iter().enumerate() {
            for (side, tokens) in SIDES.iter().zip(sides) {
                let mut remark = |no_vector, beyond_context, reason| {
                    let (row, id, side) = (first_row + i, self.ids[i].clone(), side.name().into());
                    remarks.push(Remark { row, id, side, no_vector, beyond_context, reason });
                };
                let tokens = match tokens {
                    Ok(tokens) => tokens,
                    Err(why) => {
                        remark(true, false, why.to_string());
                        continue;
                    }
                };
                if tokens.n_cut > 0 {
                    let reason = format!("the last {} tokens of the response were cut (--max-tokens)", tokens.n_cut);
                    remark(false, false, reason);
                }
                let (n_tokens, context) = (tokens.ids.len(), self.context);
                if n_tokens > context {
                    let reason = format!("the text has {n_tokens} tokens, but this model was made for {context}");
                    remark(false, true, reason);
                }
            }
        }
        remarks
    }

    /// Rows to compute: both sides of every pair that has two readable ones.
    fn rows(&self, share_prompt: bool) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for (pair, [chosen, rejected]) in self.readable() {
            if share_prompt {
                rows.push(Row::of_pair(pair, chosen, rejected));
            } else {
                rows.push(Row::of_text(pair, Some(Side::Chosen), chosen));
                rows.push(Row::of_text(pair, Some(Side::Rejected), rejected));
            }
        }
        rows
    }
}

/// One row of a batch: a text, or both texts of a pair.
struct Row<'a> {
    /// Index into the block.
    item: usize,
    shape: RowShape,
    /// The row's token ids, in parts.
    parts: Vec<&'a [u32]>,
    texts: Vec<Text<'a>>,
}

/// A text within a row.
struct Text<'a> {
    /// `None`: a text of no pair, pooled for itself.
    side: Option<Side>,
    tokens: &'a Tokens,
    /// Tokens in the row between the trunk and this text's own branch.
    skipped: usize,
    trunk: usize,
}

impl Text<'_> {
    /// The column of the row in which token `t` of the text stands.
    fn column(&self, t: usize) -> usize {
        if t < self.trunk { t } else { t + self.skipped }
    }

    /// Columns of the response, which never reaches into the trunk.
    fn response(&self) -> Range<usize> {
        self.column(self.tokens.response.start)..self.column(self.tokens.response.end - 1) + 1
    }

    fn sign(&self) -> f32 {
        if self.side == Some(Side::Rejected) { -1.0 } else { 1.0 }
    }

    /// Tokens whose log-probabilities count: the response and what ends its turn. A text's first token has none.
    fn targets(&self) -> Range<usize> {
        self.tokens.response.start.max(1)..self.tokens.turn_end.max(1)
    }
}

impl<'a> Row<'a> {
    fn of_text(item: usize, side: Option<Side>, tokens: &'a Tokens) -> Self {
        let n = tokens.ids.len();
        let text = Text { side, tokens, skipped: 0, trunk: n };
        Self { item, shape: RowShape::text(n), parts: vec![&tokens.ids], texts: vec![text] }
    }

    fn of_pair(item: usize, chosen: &'a Tokens, rejected: &'a Tokens) -> Self {
        let same = chosen.ids.iter().zip(&rejected.ids).take_while(|(a, b)| a == b).count();
        let trunk = same.min(chosen.response.start).min(rejected.response.start);
        // Which text comes first must not depend on which was chosen: a pair with its sides switched is computed in the
        // same way, and comes out as the same numbers with the other sign.
        let mut texts = [(Side::Chosen, chosen), (Side::Rejected, rejected)];
        texts.sort_by_key(|(_, tokens)| (&tokens.ids, tokens.response.start, tokens.response.end));
        let [(first_side, first), (second_side, second)] = texts;
        let branches = [first.ids.len() - trunk, second.ids.len() - trunk];
        Self {
            item,
            shape: RowShape { trunk, branches },
            parts: vec![&first.ids, &second.ids[trunk..]],
            texts: vec![
                Text { side: Some(first_side), tokens: first, skipped: 0, trunk },
                Text { side: Some(second_side), tokens: second, skipped: branches[0], trunk },
            ],
        }
    }

    fn n_tokens(&self) -> usize {
        self.shape.n_tokens()
    }

    /// Two texts with the same tokens: their difference is zero, to the last bit.
    fn is_zero(&self) -> bool {
        matches!(&self.texts[..], [a, b] if a.tokens == b.tokens)
    }
}

/// What one row came out as.
struct Pooled {
    /// Per layer, `[d_model]`.
    vectors: Vec<Vec<f32>>,
    /// Per text: sum and number of log-probabilities.
    logps: Vec<(f32, usize)>,
}

impl<'a> Differ<'a> {
    /// Means over response tokens, no log-probabilities, common beginnings computed once.
    pub fn new(model: &'a CausalLm, encoder: &'a TextEncoder, device: &'a Device, budget: &'a Budget) -> Self {
        Self { model, encoder, device, budget, pooling: Pooling::Mean, logps: false, share_prompt: true }
    }
}

impl BlockSource for Differ<'_> {
    type Prepared = EncodedPairs;

    fn prepare(&self, pairs: &[Pair]) -> EncodedPairs {
        EncodedPairs::new(self.encoder, pairs)
    }

    fn compute(
        &self,
        pairs: &EncodedPairs,
        first_row: usize,
        layers: &[usize],
        progress: BlockProgress,
    ) -> Result<Block, ModelError> {
        let rows = pairs.rows(self.share_prompt);
        let counter = Counter::new(progress, if self.share_prompt { 1 } else { 2 });
        let pooled = self.pool(&rows, first_row, layers, &counter)?;

        let d_model = pooled.first().and_then(|row| row.vectors.first()).map_or(0, Vec::len);
        let mut vectors = vec![vec![0f32; pairs.len() * d_model]; layers.len()];
        let nothing =
            PairLogps { chosen_sum: f32::NAN, chosen_mean: f32::NAN, rejected_sum: f32::NAN, rejected_mean: f32::NAN };
        let mut logps = self.logps.then(|| vec![nothing; pairs.len()]);
        for (row, pooled) in rows.iter().zip(&pooled) {
            for (layer, (vectors, new)) in layers.iter().zip(vectors.iter_mut().zip(&pooled.vectors)) {
                let there = &mut vectors[row.item * d_model..(row.item + 1) * d_model];
                // The sum of a term and its negative counterpart: the same bits whichever side comes first.
                for (x, new) in there.iter_mut().zip(new) {
                    *x += new;
                }
                if there.iter().any(|x| !x.is_finite()) {
                    let id = pairs.ids[row.item].clone();
                    return Err(ModelError::Overflow { row: first_row + row.item, id, layer: *layer });
                }
            }
            let Some(logps) = logps.as_mut().map(|logps| &mut logps[row.item]) else { continue };
            for (text, (sum, n)) in row.texts.iter().zip(&pooled.logps) {
                let mean = sum / *n as f32;
                match text.side {
                    Some(Side::Rejected) => (logps.rejected_sum, logps.rejected_mean) = (*sum, mean),
                    _ => (logps.chosen_sum, logps.chosen_mean) = (*sum, mean),
                }
            }
        }
        let n_tokens = counter.tokens.into_inner();
        Ok(Block { vectors, d_model, remarks: pairs.remarks(first_row), n_tokens, logps })
    }
}

impl Differ<'_> {
    /// ā of single texts at `layers`: per text, per layer, `[d_model]`.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when the device fails.
    pub fn texts(&self, texts: &[&Tokens], layers: &[usize]) -> Result<Vec<Vec<Vec<f32>>>, ModelError> {
        let rows: Vec<Row> = texts.iter().enumerate().map(|(i, tokens)| Row::of_text(i, None, tokens)).collect();
        let pooled = self.pool(&rows, 0, layers, &Counter::new(&|_, _| {}, 1))?;
        Ok(pooled.into_iter().map(|row| row.vectors).collect())
    }

    /// What each response token of a pair adds to the cosine of the pair's vector with a direction at one layer, as
    /// [`whence_shared::tokens`] defines it: of the chosen response, then of the rejected one. Zeros when the vector is zero.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when the device fails.
    ///
    /// # Panics
    ///
    /// Panics when the direction is of another width than the model's.
    pub fn token_parts(
        &self,
        [chosen, rejected]: [&Tokens; 2],
        layer: usize,
        direction: &[f32],
    ) -> Result<[Vec<f32>; 2], ModelError> {
        let row = Row::of_pair(0, chosen, rejected);
        let batch = Batch::of([(row.shape, row.parts.clone())].into_iter());
        let x = self.model.read(&batch, &[layer]).pop().expect("one layer was asked for");
        let d_model = direction.len();
        let weights = self.weights(&[&row], batch.seq_len, &x)?;
        let vector = self.weighted(&weights, 1, x.clone())?;
        let along = Tensor::<3>::from_data(TensorData::new(direction.to_vec(), [1, d_model, 1]), self.device);
        let projections = download(x.matmul(along).reshape([batch.seq_len]))?;
        let norms = f64::from(norm(&vector)) * f64::from(norm(direction));
        let columns = || row.texts.iter().flat_map(Text::response);
        let center = columns().map(|column| f64::from(projections[column])).sum::<f64>() / columns().count() as f64;
        let part = |column: usize| match norms > 0.0 {
            true => (f64::from(weights[column]) * (f64::from(projections[column]) - center) / norms) as f32,
            false => 0.0,
        };
        let of = |side: Side| -> Vec<f32> {
            let text = row.texts.iter().find(|text| text.side == Some(side)).expect("a pair has both sides");
            text.response().map(part).collect()
        };
        Ok(SIDES.map(of))
    }

    /// Pools every row, in the order given; `first_row` is for error messages.
    fn pool(
        &self,
        rows: &[Row],
        first_row: usize,
        layers: &[usize],
        counter: &Counter,
    ) -> Result<Vec<Pooled>, ModelError> {
        // Longest first: little is filled up among equals, and no core is left alone with the longest at the end.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(rows[i].n_tokens()), i));
        let pooled: Vec<Pooled> = if device::is_cpu(self.device) {
            let compute = |&i: &usize| -> Result<_, ModelError> {
                let pooled = self.pool_batch(&[&rows[i]], layers)?.remove(0);
                counter.add(1, rows[i].n_tokens() as u64);
                Ok(pooled)
            };
            // One row at a time per thread: a thread takes the next longest when it is done.
            order.par_iter().with_max_len(1).map(compute).collect::<Result<_, _>>()?
        } else {
            let compute = |batch: &[usize]| -> Result<Vec<_>, ModelError> {
                let batch: Vec<&Row> = batch.iter().map(|&i| &rows[i]).collect();
                let pooled = device::guarded(|| self.pool_batch(&batch, layers), ModelError::from)?;
                counter.add(batch.len() as u64, batch.iter().map(|row| row.n_tokens() as u64).sum());
                Ok(pooled)
            };
            let is_no_room = |error: &ModelError| {
                let is_no_room = matches!(error, ModelError::NoRoom(_));
                if is_no_room {
                    self.device.memory_cleanup();
                }
                is_no_room
            };
            let done = budget::in_batches(&order, self.budget, |&i| rows[i].n_tokens(), is_no_room, compute);
            done.map_err(|error| match error {
                BatchError::Other(error) => error,
                BatchError::Alone { index, source } => ModelError::TooLong {
                    row: first_row + rows[order[index]].item,
                    n_tokens: rows[order[index]].n_tokens(),
                    reason: source.to_string(),
                },
            })?
        };
        let mut pooled: Vec<(usize, Pooled)> = order.into_iter().zip(pooled).collect();
        pooled.sort_unstable_by_key(|(i, _)| *i);
        Ok(pooled.into_iter().map(|(_, pooled)| pooled).collect())
    }

    fn pool_batch(&self, rows: &[&Row], layers: &[usize]) -> Result<Vec<Pooled>, ModelError> {
        let batch = Batch::of(rows.iter().map(|row| (row.shape, row.parts.clone())));
        let last = self.model.n_layers();
        // Log-probabilities need the last layer, whether or not its vectors were asked for.
        let mut read: Vec<usize> = layers.to_vec();
        if self.logps {
            read.push(last);
        }
        let mut hidden = self.model.read(&batch, &read);
        let logps = match self.logps {
            true => self.logps_of(rows, batch.seq_len, hidden.pop().expect("the last layer was asked for"))?,
            false => vec![Vec::new(); rows.len()],
        };
        let mut pooled: Vec<Pooled> =
            logps.into_iter().map(|logps| Pooled { vectors: Vec::with_capacity(layers.len()), logps }).collect();
        for x in hidden {
            let means = self.pool_layer(rows, batch.seq_len, x)?;
            let d_model = means.len() / rows.len();
            for (pooled, mean) in pooled.iter_mut().zip(means.chunks_exact(d_model)) {
                pooled.vectors.push(mean.to_vec());
            }
        }
        Ok(pooled)
    }

    /// Pools and differences at one layer: a product with a row of weights, positive on the chosen response's tokens and
    /// negative on the rejected one's.
    ///
    /// # Shapes
    ///
    /// - `x`: `[n_rows, seq_len, d_model]`
    /// - output: row-major `[n_rows, d_model]`
    fn pool_layer(&self, rows: &[&Row], seq_len: usize, x: Tensor<3>) -> Result<Vec<f32>, ModelError> {
        let weights = self.weights(rows, seq_len, &x)?;
        self.weighted(&weights, rows.len(), x)
    }

    /// The weight of every column of every row, row-major `[n_rows, seq_len]`.
    fn weights(&self, rows: &[&Row], seq_len: usize, x: &Tensor<3>) -> Result<Vec<f32>, ModelError> {
        let n_rows = rows.len();
        let norms = match self.pooling.needs_norms() {
            true => download(x.clone().square().sum_dim(2).sqrt().reshape([n_rows * seq_len]))?,
            false => Vec::new(),
        };
        let mut weights = vec![0f32; n_rows * seq_len];
        for (i, (weights, row)) in weights.chunks_exact_mut(seq_len).zip(rows).enumerate() {
            if row.is_zero() {
                continue;
            }
            let norms = norms.get(i * seq_len..(i + 1) * seq_len).unwrap_or_default();
            for text in &row.texts {
                self.pooling.add_weights(weights, text.response(), norms, text.sign());
            }
        }
        Ok(weights)
    }

    /// Sums of columns times their weights, row-major `[n_rows, d_model]`.
    fn weighted(&self, weights: &[f32], n_rows: usize, x: Tensor<3>) -> Result<Vec<f32>, ModelError> {
        let [_, seq_len, d_model] = x.dims();
        let weights = Tensor::<3>::from_data(TensorData::new(weights.to_vec(), [n_rows, 1, seq_len]), self.device);
        download(weights.matmul(x).reshape([n_rows * d_model]))
    }

    /// Sum and number of log-probabilities of each row's texts, from the residuals of the last layer.
    fn logps_of(&self, rows: &[&Row], seq_len: usize, x: Tensor<3>) -> Result<Vec<Vec<(f32, usize)>>, ModelError> {
        let [n_rows, _, d_model] = x.dims();
        let (mut positions, mut targets) = (Vec::new(), Vec::new());
        for (i, row) in rows.iter().enumerate() {
            for text in &row.texts {
                for t in text.targets() {
                    positions.push((i * seq_len + text.column(t - 1)) as i32);
                    targets.push(text.tokens.ids[t]);
                }
            }
        }
        let n = targets.len();
        let mut logps = if n == 0 {
            Vec::new().into_iter()
        } else {
            let positions = Tensor::<1, Int>::from_data(TensorData::new(positions, [n]), self.device);
            let hidden = x.reshape([n_rows * seq_len, d_model]).select(0, positions);
            download(self.model.logps_of(&hidden, &targets))?.into_iter()
        };
        let sum = |text: &Text| {
            let n = text.targets().len();
            // In f64: a long response has a thousand terms.
            (logps.by_ref().take(n).map(f64::from).sum::<f64>() as f32, n)
        };
        let mut sum = sum;
        Ok(rows.iter().map(|row| row.texts.iter().map(&mut sum).collect()).collect())
    }
}

/// Counts what is done and passes it on.
struct Counter<'a> {
    rows: AtomicU64,
    rows_per_pair: u64,
    tokens: AtomicU64,
    progress: BlockProgress<'a>,
}

impl<'a> Counter<'a> {
    fn new(progress: BlockProgress<'a>, rows_per_pair: u64) -> Self {
        Self { rows: AtomicU64::new(0), rows_per_pair, tokens: AtomicU64::new(0), progress }
    }

    fn add(&self, rows: u64, tokens: u64) {
        let rows = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        let tokens = self.tokens.fetch_add(tokens, Ordering::Relaxed) + tokens;
        (self.progress)(rows / self.rows_per_pair, tokens);
    }
}

fn download(x: Tensor<1>) -> Result<Vec<f32>, ModelError> {
    let data = x.try_into_data().map_err(|error| ModelError::from(DeviceFailure::of(&format!("{error:?}"))))?;
    data.try_into_vec::<f32>().map_err(|error| ModelError::Device(format!("{error:?}")))
}
