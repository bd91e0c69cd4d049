//! Training: the loop that supervised fine-tuning ([`sft`]) and preference optimization ([`dpo`]) share.
//!
//! An [`Objective`] says which sequences belong to which rows and what their tokens' log-probabilities cost. [`batches`]
//! decides which rows decide which step; every batch is cut into a fixed number of parts, and each part runs forward and
//! backward on a replica of the model in its own thread ([`blocks`] keeps less for the way back). [`gradients`] are
//! summed in the order of the parts, so that small models, whose tensors are too small to be worth splitting over cores,
//! still use several, and the result does not depend on which thread was faster or how many cores there are. [`adamw`]
//! moves the weights as [`config`] says, [`rounding`] makes of them what losses are computed with where they are kept in half
//! precision, and [`checkpoint`] stores everything that a killed run needs to end with the
//! same bytes. [`reference`](mod@reference) has the reference model's log-probabilities, computed once for all arms of a study.

pub mod adamw;
pub mod batches;
pub mod blocks;
pub mod checkpoint;
pub mod config;
pub mod dpo;
pub mod gradients;
pub mod reference;
pub mod rounding;
pub mod sequences;
pub mod sft;

pub use checkpoint::Checkpoints;
pub use config::{LrSchedulerType, TrainConfig};
pub use gradients::Gradients;
pub use reference::{ReferenceLogps, ReferenceTable};
pub use rounding::Weights;

use std::thread;
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use self::adamw::AdamW;
use self::checkpoint::{CheckpointError, Identity, Progress};
use self::reference::ReferenceError;
use self::rounding::rounded;
use self::sequences::{Sequence, token_logps};
use crate::device::{self, DeviceFailure};
use crate::model::CausalLm;
use crate::model::checkpoint::KeyPath;
use crate::progress::{Report, Update};

/// Parts of a batch on the CPU, each with its own replica. Part of the result: another number sums gradients in another
/// order.
const N_PARTS: usize = 2;

/// Why training stopped early.
#[derive(Debug, Error)]
pub enum TrainError {
    /// There is nothing to train on.
    #[error("the training set is empty: expected at least one row")]
    NoRows,
    /// A setting makes no sense.
    #[error("{key}: expected {expected}, got {got}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What can be used.
        expected: &'static str,
        /// What was given.
        got: String,
    },
    /// A response has no tokens, so it has no log-probability to learn from.
    #[error("row {row}: its response is empty: expected at least one token after at least one token of prompt")]
    EmptyResponse {
        /// Id of the row.
        row: String,
    },
    /// A trained weight is in half precision: small steps would be rounded away.
    #[error("weight {key:?}: expected f32, got {got}; load a model that is to be trained with --dtype f32")]
    HalfPrecision {
        /// The weight.
        key: String,
        /// Its type.
        got: String,
    },
    /// The loss or the gradient became NaN or infinite.
    #[error(
        "the {what} is {value} at step {step} of {n_steps}: expected a finite number; lower the learning rate or look at \
         the rows of that step: {rows}", rows = some_of(rows)
    )]
    NotFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// Optimizer step, from 1.
        step: usize,
        /// Steps in all.
        n_steps: usize,
        /// What it is.
        value: f64,
        /// Ids of the rows of the step.
        rows: Vec<String>,
    },
    /// The caller asked for an end. The state is stored where checkpoints are kept.
    #[error("cancelled after {step} of {n_steps} steps")]
    Cancelled {
        /// Steps taken.
        step: usize,
        /// Steps in all.
        n_steps: usize,
    },
    /// A checkpoint cannot be written, read, or is of another run.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The reference model's log-probabilities do not fit the pairs.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The device gave up.
    #[error("{0}; try a smaller batch_size with more gradient_accumulation_steps, or activation_checkpointing")]
    Device(DeviceFailure),
}

fn some_of(rows: &[String]) -> String {
    let shown = rows.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
    if rows.len() > 8 { format!("{shown} and {} more", rows.len() - 8) } else { shown }
}

/// What training reports to and is steered by, beside its settings.
#[derive(Clone)]
pub struct Run<'a> {
    /// Progress.
    pub report: Report<'a>,
    /// Told the numbers of every step, after it.
    pub on_step: &'a (dyn Fn(&StepMetrics) + Sync),
    /// Asked before every step; true ends the run with [`TrainError::Cancelled`].
    pub is_cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Where the state is stored, if it is; a run that finds its own continues from there.
    pub checkpoints: Option<Checkpoints>,
}

impl<'a> Run<'a> {
    /// A run that only reports its progress.
    pub fn new(report: Report<'a>) -> Self {
        Self { report, on_step: &|_| {}, is_cancelled: &|| false, checkpoints: None }
    }
}

/// What a loss function is given: rows of the training set, and all rows of the step that they are part of.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Rows to compute the loss of.
    pub rows: &'a [usize],
    /// All rows of the step; losses of its parts add up to the loss of the step.
    pub step: &'a [usize],
}

/// A part's contribution to the loss of its step.
#[derive(Debug)]
pub struct PartLoss {
    /// `[1]`.
    pub loss: Tensor<1>,
    /// What is to be reported of its rows.
    pub preferences: Option<PreferenceSums>,
}

/// Sums over rows of what [`PreferenceMetrics`] has means of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PreferenceSums {
    /// Of `beta · (policy_chosen_logps − reference_chosen_logps)`.
    pub rewards_chosen: f64,
    /// The same of the rejected responses.
    pub rewards_rejected: f64,
    /// Rows whose chosen response has the higher reward.
    pub n_accurate: f64,
    /// Of the policy's log-probabilities of chosen responses.
    pub logps_chosen: f64,
    /// Of rejected ones.
    pub logps_rejected: f64,
}

/// What is trained for: rows, their sequences, and what the log-probabilities of the sequences' response tokens cost.
pub trait Objective: Sync {
    /// Name of the stage in progress reports.
    fn stage(&self) -> &'static str;

    /// Rows of the training set.
    fn n_rows(&self) -> usize;

    /// Name of a row for people.
    fn row_id(&self, row: usize) -> String;

    /// The sequences of some rows, in the order in which [`Objective::loss`] expects their tokens.
    fn sequences(&self, rows: &[usize]) -> Vec<&Sequence>;

    /// The loss of a part.
    ///
    /// # Shapes
    ///
    /// - `token_logps`: `[n_response_tokens]`, of the part's sequences one after the other
    fn loss(&self, part: Part, token_logps: Tensor<1>) -> PartLoss;

    /// Settings of its own, as JSON.
    fn settings(&self) -> Value;

    /// Hash of everything that the loss depends on beside the model and the settings.
    fn sha256(&self) -> String;
}

/// The numbers of one optimizer step, with TRL's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// From 1.
    pub step: usize,
    /// The loss before the step.
    pub loss: f32,
    /// Norm of all gradients together, before clipping.
    pub grad_norm: f32,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// Tokens of all sequences of the step, without padding.
    pub n_tokens: usize,
    /// Of the step, by the clock.
    pub tokens_per_sec: f64,
    /// In preference optimization.
    #[serde(flatten)]
    pub preferences: Option<PreferenceMetrics>,
}

/// Means over the pairs of a step, with TRL's names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PreferenceMetrics {
    /// `beta · (policy_chosen_logps − reference_chosen_logps)`.
    #[serde(rename = "rewards/chosen")]
    pub rewards_chosen: f32,
    /// The same of the rejected responses.
    #[serde(rename = "rewards/rejected")]
    pub rewards_rejected: f32,
    /// Share of the pairs whose chosen response has the higher reward, 0 to 1.
    #[serde(rename = "rewards/accuracies")]
    pub rewards_accuracies: f32,
    /// Reward of the chosen response minus that of the rejected one.
    #[serde(rename = "rewards/margins")]
    pub rewards_margins: f32,
    /// Log-probability of the chosen response, in nats: per token where the loss takes means, in all where it takes sums.
    #[serde(rename = "logps/chosen")]
    pub logps_chosen: f32,
    /// The same of the rejected response.
    #[serde(rename = "logps/rejected")]
    pub logps_rejected: f32,
}

impl PreferenceMetrics {
    fn of(sums: &PreferenceSums, n_rows: usize) -> Self {
        let mean = |sum: f64| (sum / n_rows as f64) as f32;
        Self {
            rewards_chosen: mean(sums.rewards_chosen),
            rewards_rejected: mean(sums.rewards_rejected),
            rewards_accuracies: mean(sums.n_accurate),
            rewards_margins: mean(sums.rewards_chosen - sums.rewards_rejected),
            logps_chosen: mean(sums.logps_chosen),
            logps_rejected: mean(sums.logps_rejected),
        }
    }
}

/// A trained model and how its training went.
#[derive(Debug)]
pub struct Trained {
    /// The model, without gradients, its weights rounded as the settings say; adapters are not merged.
    pub model: CausalLm,
    /// The numbers of every optimizer step.
    pub metrics: Vec<StepMetrics>,
}

impl Trained {
    /// Loss of every optimizer step, before the step.
    pub fn losses(&self) -> Vec<f32> {
        self.metrics.iter().map(|step| step.loss).collect()
    }
}

/// Loss and gradients of a step, or of a part of one.
#[derive(Debug)]
pub struct Computed {
    /// The loss.
    pub loss: f64,
    /// Of the trained weights.
    pub gradients: Gradients,
    /// Of its rows.
    pub preferences: Option<PreferenceSums>,
}

impl Computed {
    fn nothing() -> Self {
        Self { loss: 0.0, gradients: Gradients::default(), preferences: None }
    }

    fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.gradients.add(other.gradients);
        if let Some(other) = other.preferences {
            let sums = self.preferences.get_or_insert_default();
            sums.rewards_chosen += other.rewards_chosen;
            sums.rewards_rejected += other.rewards_rejected;
            sums.n_accurate += other.n_accurate;
            sums.logps_chosen += other.logps_chosen;
            sums.logps_rejected += other.logps_rejected;
        }
    }
}

/// Trains `model`: all its weights, or its adapters where it has some.
///
/// The same model, rows and settings give the same weights, bit for bit, on the same kind of processor, however often the
/// run was cancelled or killed and started again.
///
/// # Errors
///
/// [`TrainError`]. Whatever happens, the last checkpoint stays.
pub fn train(
    model: CausalLm,
    objective: &dyn Objective,
    config: &TrainConfig,
    run: &Run,
) -> Result<Trained, TrainError> {
    config.check()?;
    let row_lengths = row_lengths(objective)?;
    let start = if model.n_adapters() == 0 { model.valid().unfreeze() } else { model.valid() };
    // Whoever gave it away may have held the only other copy of the weights.
    drop(model);
    let model = start;
    refuse_half_precision(&model)?;
    let computed = config.weights.computed_on(&model.device());
    let has_adapters = model.n_adapters() > 0;
    // What is frozen is rounded once.
    let model = if has_adapters { rounded(model, config.weights, computed) } else { model };
    let used = |model: &CausalLm| match has_adapters {
        true => model.clone(),
        false => rounded(model.clone(), config.weights, computed),
    };
    let steps = batches::steps(&row_lengths, config);
    let identity = run.checkpoints.as_ref().map(|_| Identity::of(&model, objective, config, &steps));
    let stored = match (&run.checkpoints, &identity) {
        (Some(checkpoints), Some(identity)) => checkpoints.load(identity, &model, config)?,
        _ => None,
    };
    let Progress { mut model, mut optimizer, mut metrics } =
        stored.unwrap_or_else(|| Progress { model, optimizer: AdamW::new(config), metrics: Vec::new() });
    let n_steps = steps.len();
    for (step, rows) in steps.iter().enumerate().skip(metrics.len()) {
        let store = |model: &CausalLm, optimizer: &AdamW, metrics: &[StepMetrics]| match (&run.checkpoints, &identity) {
            (Some(checkpoints), Some(identity)) => checkpoints.store(identity, model, optimizer, metrics),
            _ => Ok(()),
        };
        if (run.is_cancelled)() {
            store(&model, &optimizer, &metrics)?;
            return Err(TrainError::Cancelled { step, n_steps });
        }
        let started = Instant::now();
        let Computed { loss, mut gradients, preferences } =
            compute_step(&used(&model).masked(mask_seed(config.seed, step)), objective, config, rows)?;
        let not_finite = |what, value| {
            let rows = rows.iter().map(|&row| objective.row_id(row)).collect();
            Err(TrainError::NotFinite { what, step: step + 1, n_steps, value, rows })
        };
        if !loss.is_finite() {
            return not_finite("loss", loss);
        }
        let norm = gradients.norm();
        if !norm.is_finite() {
            return not_finite("gradient norm", norm);
        }
        if config.max_grad_norm > 0.0 {
            gradients.clip(norm, config.max_grad_norm);
        }
        let learning_rate = config.learning_rate_at(step, n_steps);
        model = optimizer.step(learning_rate, model, gradients);
        let n_tokens = rows.iter().map(|&row| objective.sequences(&[row]).iter().map(|s| s.ids.len()).sum::<usize>());
        let n_tokens: usize = n_tokens.sum();
        metrics.push(StepMetrics {
            step: step + 1,
            loss: loss as f32,
            grad_norm: norm as f32,
            learning_rate,
            n_tokens,
            tokens_per_sec: n_tokens as f64 / started.elapsed().as_secs_f64(),
            preferences: preferences.map(|sums| PreferenceMetrics::of(&sums, rows.len())),
        });
        (run.on_step)(&metrics[step]);
        (run.report)(Update {
            stage: objective.stage(),
            done: step as u64 + 1,
            total: n_steps as u64,
            unit: "steps",
            detail: detail(&metrics[step]),
        });
        let is_due = run.checkpoints.as_ref().is_some_and(|c| (step + 1).is_multiple_of(c.every_n_steps.max(1)));
        if is_due && step + 1 < n_steps {
            store(&model, &optimizer, &metrics)?;
        }
    }
    Ok(Trained { model: used(&model), metrics })
}

/// What adapters leave out in a step follows from the run's seed and the step, however often the run was interrupted.
fn mask_seed(seed: u64, step: usize) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(step as u64)
}

fn detail(metrics: &StepMetrics) -> String {
    match &metrics.preferences {
        Some(of) => format!("loss {:.3}, {:.0} % accurate", metrics.loss, of.rewards_accuracies * 100.0),
        None => format!("loss {:.3}", metrics.loss),
    }
}

/// Loss and gradients of one optimizer step, without taking it: what [`train`] computes, for whoever wants to look.
///
/// # Errors
///
/// When the device fails.
pub fn compute_step(
    model: &CausalLm,
    objective: &dyn Objective,
    config: &TrainConfig,
    rows: &[usize],
) -> Result<Computed, TrainError> {
    let mut sum = Computed::nothing();
    // A GPU is one device: parts would only wait for each other.
    let n_parts = if device::is_cpu(&model.device()) { N_PARTS } else { 1 };
    for (i, batch) in rows.chunks(config.batch_size.max(1)).enumerate() {
        let parts = batches::parts(batch, n_parts);
        let compute = |number: usize, part: &[usize]| {
            let part = Part { rows: part, step: rows };
            let model = model.masked((i * n_parts + number) as u64);
            let compute = || match config.activation_checkpointing {
                true => Ok(blocks::compute(&model, objective, part)),
                false => Ok(compute_whole(&model, objective, part)),
            };
            device::guarded(compute, TrainError::Device)
        };
        let compute = &compute;
        let computed: Vec<Result<Computed, TrainError>> = thread::scope(|scope| {
            let running: Vec<_> =
                parts.iter().enumerate().map(|(i, part)| scope.spawn(move || compute(i, part))).collect();
            running
                .into_iter()
                .map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for part in computed {
            sum.add(part?);
        }
    }
    Ok(sum)
}

/// A part's loss and gradients, with everything that the way back needs kept from the way there.
fn compute_whole(model: &CausalLm, objective: &dyn Objective, part: Part) -> Computed {
    // Gradients of its own: clones with a common graph would wait for each other.
    let replica = model.clone().train();
    let PartLoss { loss, preferences } = objective.loss(part, token_logps(&replica, &objective.sequences(part.rows)));
    let value = f64::from(loss.clone().into_scalar::<f32>());
    let mut recorded = loss.backward();
    Computed { loss: value, gradients: Gradients::take(&mut recorded, &replica), preferences }
}

/// Longest sequence of every row.
fn row_lengths(objective: &dyn Objective) -> Result<Vec<usize>, TrainError> {
    if objective.n_rows() == 0 {
        return Err(TrainError::NoRows);
    }
    (0..objective.n_rows())
        .map(|row| {
            let sequences = objective.sequences(&[row]);
            if sequences.iter().any(|s| s.n_response_tokens() == 0 || s.response_start == 0) {
                return Err(TrainError::EmptyResponse { row: objective.row_id(row) });
            }
            Ok(sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0))
        })
        .collect()
}

fn refuse_half_precision(model: &CausalLm) -> Result<(), TrainError> {
    #[derive(Default)]
    struct Halves {
        path: KeyPath,
        first: Option<(String, DType)>,
    }
    impl ModuleVisitor for Halves {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let weight = param.val();
            if weight.is_require_grad() && weight.dtype() != DType::F32 && self.first.is_none() {
                self.first = Some((self.path.key(), weight.dtype()));
            }
        }
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.leave();
        }
    }
    let mut halves = Halves::default();
    model.clone().train().visit(&mut halves);
    match halves.first {
        Some((key, dtype)) => Err(TrainError::HalfPrecision { key, got: dtype.name().to_owned() }),
        None => Ok(()),
    }
}
