//! Retraining on edited pairs, and what it changed: the test of a ranking's claim.
//!
//! ```text
//! plan.toml ([`plan`]) ─► arms and the pairs they edit ([`arms`])
//!                      ─► one run per arm and training seed ([`run`]): edited pairs, DPO, rollouts, verdicts
//!                      ─► every run's counts ([`outcome`]) ─► intervals, tests, a verdict: report.json
//! ```
//!
//! In the study:
//!
//! ```text
//! arms/ARM-K/seed-N/checkpoint/            while training: everything needed to go on
//! arms/ARM-K/seed-N/metrics.jsonl          the numbers of every optimizer step
//! arms/ARM-K/seed-N/events.out.tfevents.…  the same for TensorBoard, where asked for
//! arms/ARM-K/seed-N/adapter/               with LoRA: the adapters, a PEFT folder
//! arms/ARM-K/seed-N/model/                 the trained model, a Hugging Face folder; adapters are merged into it
//! arms/ARM-K/seed-N/MEASURE.*.jsonl        rollouts, verdicts, answers: what [`crate::evaluate`] leaves
//! judge-cache/                             what judges at endpoints answered, by the hash of what was asked
//! arms/ARM-K/seed-N/run.json               what was measured; written last, so a run with it is a whole one
//! arms/queue.json                          the runs of the plan, for whoever watches ([`progress`])
//! arms/lock                                held while runs are made ([`lock`])
//! report.json                              the comparison of all whole runs
//! ```
//!
//! Killed at any moment and started again, a plan goes on where it was and ends with the same bytes, `metrics.jsonl`
//! and TensorBoard's file apart, which have the clock's numbers in them.

pub mod arms;
pub mod lock;
mod metrics_file;
pub mod outcome;
pub mod plan;
pub mod progress;
pub mod run;
mod tensorboard;

use std::path::PathBuf;

use thiserror::Error;

pub use self::outcome::{RunRecord, ValidationReport, arm_folder};
pub use self::plan::Plan;
pub use self::run::{RetrainOptions, Retrained, retrain};
use crate::attribute::RankError;
use crate::data::pairs::PairFileError;
use crate::data::tokens::EncoderError;
use crate::edit::EditError;
use crate::evaluate::EvaluateError;
use crate::files::FileError;
use crate::model::ModelError;
use crate::model::lora::LoraError;
use crate::train::TrainError;
use crate::train::reference::ReferenceError;

/// What stops a validation.
#[derive(Debug, Error)]
pub enum ValidateError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The plan makes no sense.
    #[error("{path}: {reason}", path = path.display())]
    Plan {
        /// The plan.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// An edit set cannot be used.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The diagnosis of the ranking cannot be read.
    #[error(transparent)]
    Diagnosis(#[from] RankError),
    /// A model cannot be used or saved.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model's text form cannot be used.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Training failed.
    #[error("arm {arm}, seed {seed}: {source}")]
    Train {
        /// Folder name of the arm.
        arm: String,
        /// Training seed.
        seed: u64,
        /// Why.
        #[source]
        source: TrainError,
    },
    /// The reference model's log-probabilities cannot be computed or used.
    #[error("log-probabilities of the reference model: {0}")]
    Reference(#[from] ReferenceError),
    /// The same when the device or the data fails.
    #[error("log-probabilities of the reference model: {0}")]
    ReferencePass(#[source] TrainError),
    /// What a plan measures cannot be opened.
    #[error("{path}: measure {measure:?}: {source}", path = path.display())]
    PlannedMeasure {
        /// The plan.
        path: PathBuf,
        /// Which measure.
        measure: String,
        /// Why.
        #[source]
        source: Box<EvaluateError>,
    },
    /// A run cannot be measured.
    #[error("arm {arm}, seed {seed}, measure {measure:?}: {source}")]
    Measure {
        /// Folder name of the arm.
        arm: String,
        /// Training seed.
        seed: u64,
        /// Which measure.
        measure: String,
        /// Why.
        #[source]
        source: Box<EvaluateError>,
    },
    /// The model cannot be given the adapters that the plan asks for.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// An arm of more pairs than there are.
    #[error("arm {arm}: k = {k}, but the study has {n_pairs} pairs: expected a number from 1 to {n_pairs}")]
    TooMany {
        /// Name of the arm.
        arm: String,
        /// Pairs asked for.
        k: usize,
        /// Pairs in the study.
        n_pairs: usize,
    },
    /// Two arms are one.
    #[error(
        "arm {arm} is there twice in the plan: two arms of one name must edit different numbers of pairs, and an arm with \
         `k` brings its random and bottom arms by itself; leave one out, or say with `controls` which of them it brings"
    )]
    RepeatedArm {
        /// Folder name of the arm.
        arm: String,
    },
    /// Someone else trains the study's arms.
    #[error("{path}: another `whence retrain` works on this study already; wait for it, or stop it", path = path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// No pair is left to train on.
    #[error("arm {arm}: no pair is left to train on; choose a smaller edit")]
    NothingLeft {
        /// Folder name of the arm.
        arm: String,
    },
    /// A run was made in another way.
    #[error(
        "{path}: this run was made from something else ({what}); give --replace to train it again, or take the arms folder \
         away", path = path.display()
    )]
    OtherRun {
        /// Its record.
        path: PathBuf,
        /// What differs, with both values where they say something.
        what: String,
    },
    /// A record is not one.
    #[error("{path}: not the record of a run: {reason}; remove it to train the run again", path = path.display())]
    Record {
        /// Its record.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing to compare.
    #[error("{study}: no run is complete; `whence retrain` makes them", study = study.display())]
    NoRuns {
        /// The study.
        study: PathBuf,
    },
    /// The outcomes cannot be compared.
    #[error(transparent)]
    Outcomes(#[from] whence_shared::statistics::outcomes::OutcomesError),
}
