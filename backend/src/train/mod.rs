//! Training: the loop that supervised fine-tuning ([`sft`]) and preference optimization ([`dpo`]) share.
//!
//! A loss is a function of the model and a few rows of the training set. Every batch is cut into a fixed number of
//! parts; each part runs forward and backward on a replica of the model in its own thread, and gradients are summed in
//! the order of the parts. So small models, whose tensors are too small to be worth splitting over cores, still use
//! several, and the result does not depend on which thread was faster or how many cores there are.

pub mod dpo;
pub mod sequences;
pub mod sft;

use std::thread;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use thiserror::Error;

use crate::model::CausalLm;
use crate::progress::{Report, Update};

/// Parts of a batch, each with its own replica. Part of the result: another number sums gradients in another order.
const N_PARTS: usize = 2;

/// Batches among which rows are sorted by length, so that little is padded.
const BATCHES_PER_BUCKET: usize = 8;

/// Settings of one training run, named as in transformers' `TrainingArguments`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainConfig {
    /// Name of the stage in progress reports.
    #[serde(skip)]
    pub stage: &'static str,
    /// How often every row is seen.
    pub num_train_epochs: usize,
    /// Rows per optimizer step.
    pub batch_size: usize,
    /// Highest learning rate of the linear warm-up and decay.
    pub learning_rate: f64,
    /// Share of the steps that warm up.
    pub warmup_ratio: f64,
    /// AdamW's decay of the average of squared gradients.
    pub adam_beta2: f32,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f32,
    /// Gradients are scaled down to this norm, over all weights together.
    pub max_grad_norm: f32,
    /// Decides the order of the rows.
    pub seed: u64,
}

/// Why training stopped early.
#[derive(Debug, Error)]
pub enum TrainError {
    /// There is nothing to train on.
    #[error("the training set is empty: expected at least one row")]
    NoRows,
    /// The loss became NaN or infinite.
    #[error("the loss is {loss} at step {step} of {n_steps}: expected a finite number; lower the learning rate")]
    NotFinite {
        /// Zero-based optimizer step.
        step: usize,
        /// Steps in all.
        n_steps: usize,
        /// The loss.
        loss: f32,
    },
}

/// A trained model and how its loss went.
#[derive(Debug)]
pub struct Trained {
    /// The model, on a device without gradients.
    pub model: CausalLm,
    /// Loss of every optimizer step, before the step.
    pub losses: Vec<f32>,
}

/// What a loss function is given: rows of the training set, and the whole batch that they are part of.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Rows to compute the loss of.
    pub rows: &'a [usize],
    /// All rows of the batch; losses of its parts add up to the loss of the batch.
    pub batch: &'a [usize],
}

/// A part's contribution to the loss of its batch, `[1]`.
pub type Loss<'a> = &'a (dyn Fn(&CausalLm, Part) -> Tensor<1> + Sync);

/// Trains `model` on the rows `0..row_lengths.len()`; `row_lengths` are in tokens and decide which rows share a batch.
///
/// The same model, rows and settings give the same weights, bit for bit, on the same kind of processor.
///
/// # Errors
///
/// [`TrainError`] when there are no rows or the loss stops being finite.
pub fn train(
    model: CausalLm,
    row_lengths: &[usize],
    config: &TrainConfig,
    loss: Loss,
    report: Report,
) -> Result<Trained, TrainError> {
    if row_lengths.is_empty() {
        return Err(TrainError::NoRows);
    }
    let mut model = model.train().unfreeze();
    let device = model.devices().remove(0);
    let mut optimizer = AdamWConfig::new()
        .with_beta_2(config.adam_beta2)
        .with_epsilon(1e-8)
        .with_weight_decay(config.weight_decay)
        .init();
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let batches: Vec<Vec<usize>> =
        (0..config.num_train_epochs).flat_map(|_| epoch(row_lengths, config.batch_size, &mut rng)).collect();
    let n_steps = batches.len();
    let mut losses = Vec::with_capacity(n_steps);
    for (step, batch) in batches.iter().enumerate() {
        let parts = parts_of(batch);
        let computed: Vec<(GradientsParams, f32)> = thread::scope(|scope| {
            let running: Vec<_> = parts
                .iter()
                .map(|rows| {
                    // A fork has a gradient graph of its own; clones would share one and wait for each other.
                    let replica = model.clone().fork(&device);
                    scope.spawn(move || {
                        let loss = loss(&replica, Part { rows, batch });
                        let value = loss.clone().into_scalar::<f32>();
                        (GradientsParams::from_grads(loss.backward(), &replica), value)
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut accumulator = GradientsAccumulator::new();
        let mut batch_loss = 0.0;
        for (gradients, part_loss) in computed {
            accumulator.accumulate(&model, gradients);
            batch_loss += part_loss;
        }
        if !batch_loss.is_finite() {
            return Err(TrainError::NotFinite { step, n_steps, loss: batch_loss });
        }
        losses.push(batch_loss);
        let gradients = clip_by_global_norm(accumulator.grads(), &model, config.max_grad_norm);
        model = optimizer.step(learning_rate(config, step, n_steps), model, gradients);
        report(Update {
            stage: config.stage,
            done: step as u64 + 1,
            total: n_steps as u64,
            unit: "steps",
            detail: format!("loss {batch_loss:.3}"),
        });
    }
    Ok(Trained { model: model.valid(), losses })
}

/// Linear warm-up from 0 over the first `warmup_ratio` of the steps, then linear decay to 0.
fn learning_rate(config: &TrainConfig, step: usize, n_steps: usize) -> f64 {
    let n_warmup = (config.warmup_ratio * n_steps as f64).ceil();
    let step = step as f64;
    let factor = if step < n_warmup {
        (step + 1.0) / n_warmup
    } else {
        (n_steps as f64 - step) / (n_steps as f64 - n_warmup).max(1.0)
    };
    config.learning_rate * factor
}

/// One epoch's batches: shuffled rows, sorted by length within runs of a few batches, batches shuffled again.
fn epoch(row_lengths: &[usize], batch_size: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let mut rows: Vec<usize> = (0..row_lengths.len()).collect();
    rows.shuffle(rng);
    let mut batches = Vec::new();
    for bucket in rows.chunks_mut(batch_size.max(1) * BATCHES_PER_BUCKET) {
        bucket.sort_by_key(|&row| row_lengths[row]);
        batches.extend(bucket.chunks(batch_size.max(1)).map(<[usize]>::to_vec));
    }
    batches.shuffle(rng);
    batches
}

/// A batch's rows dealt out in turn, so that parts of a batch sorted by length have equal lengths.
fn parts_of(batch: &[usize]) -> Vec<Vec<usize>> {
    (0..N_PARTS.min(batch.len())).map(|part| batch.iter().copied().skip(part).step_by(N_PARTS).collect()).collect()
}

/// Scales all gradients by the same factor so that their joint Euclidean norm is at most `max_norm`.
fn clip_by_global_norm(gradients: GradientsParams, model: &CausalLm, max_norm: f32) -> GradientsParams {
    struct SumOfSquares<'a> {
        gradients: &'a GradientsParams,
        sum: f64,
    }
    impl ModuleVisitor for SumOfSquares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                // Summed here: a device may sum in an order that depends on its threads.
                let values = gradient.into_data_as::<f32>();
                let values = values.as_slice::<f32>().expect("converted to f32");
                self.sum += values.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
            }
        }
    }
    struct Scale {
        gradients: GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients.register::<D>(param.id, gradient * self.factor);
            }
        }
    }
    let mut squares = SumOfSquares { gradients: &gradients, sum: 0.0 };
    model.visit(&mut squares);
    let norm = squares.sum.sqrt();
    if norm <= f64::from(max_norm) {
        return gradients;
    }
    let mut scale = Scale { gradients, factor: f64::from(max_norm) / norm };
    model.visit(&mut scale);
    scale.gradients
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrainConfig {
        TrainConfig {
            stage: "test",
            num_train_epochs: 1,
            batch_size: 4,
            learning_rate: 1.0,
            warmup_ratio: 0.1,
            adam_beta2: 0.999,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            seed: 0,
        }
    }

    #[test]
    fn learning_rate_rises_then_falls_linearly() {
        let rates: Vec<f64> = (0..20).map(|step| learning_rate(&config(), step, 20)).collect();
        assert_eq!(&rates[..3], &[0.5, 1.0, 1.0]);
        assert!(rates[2..].windows(2).all(|w| w[0] > w[1]));
        assert!(rates[19] > 0.0 && rates[19] < 0.06);
        assert_eq!(learning_rate(&config(), 0, 1), 1.0, "a single step has the full rate");
    }

    #[test]
    fn an_epoch_sees_every_row_once() {
        let lengths: Vec<usize> = (0..103).map(|i| (i * 37) % 50).collect();
        let batches = epoch(&lengths, 4, &mut ChaCha8Rng::seed_from_u64(3));
        let mut rows: Vec<usize> = batches.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..103).collect::<Vec<_>>());
        assert!(batches.iter().all(|batch| (1..=4).contains(&batch.len())));
    }

    #[test]
    fn parts_cover_a_batch_in_turn() {
        assert_eq!(parts_of(&[5, 6, 7, 8, 9]), [vec![5, 7, 9], vec![6, 8]]);
        assert_eq!(parts_of(&[5]), [vec![5]]);
    }
}
