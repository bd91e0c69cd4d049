//! Retraining on edited pairs, and what it changed: the test of a ranking's claim.
//!
//! ```text
//! plan.toml ([`plan`]) ─► one run per arm and training seed ([`run`]): edited pairs, DPO, rollouts, verdicts
//!                      ─► every run's counts ([`outcome`]) ─► intervals, tests, a verdict: report.json
//! ```
//!
//! In the study:
//!
//! ```text
//! arms/ARM-K/seed-N/checkpoint/            while training: everything needed to go on
//! arms/ARM-K/seed-N/metrics.jsonl          the numbers of every optimizer step
//! arms/ARM-K/seed-N/model/                 the trained model, a Hugging Face folder
//! arms/ARM-K/seed-N/MEASURE.rollouts.jsonl and MEASURE.verdicts.jsonl
//! arms/ARM-K/seed-N/run.json               what was measured; written last, so a run with it is a whole one
//! arms/queue.json                          the runs of the plan, for whoever watches ([`progress`])
//! report.json                              the comparison of all whole runs
//! ```
//!
//! Killed at any moment and started again, a plan goes on where it was and ends with the same bytes, `metrics.jsonl`
//! apart, which has the clock's numbers in it.

pub mod outcome;
pub mod plan;
pub mod progress;
pub mod run;

use std::path::PathBuf;

use thiserror::Error;

pub use self::outcome::{RunRecord, ValidationReport};
pub use self::plan::Plan;
pub use self::run::{RetrainOptions, Retrained, retrain};
use crate::attribute::RankError;
use crate::behavior::rollouts::RolloutError;
use crate::data::pairs::PairFileError;
use crate::data::tokens::EncoderError;
use crate::edit::EditError;
use crate::files::FileError;
use crate::judge::JudgeError;
use crate::model::ModelError;
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
    /// Rollouts cannot be made.
    #[error(transparent)]
    Rollouts(#[from] RolloutError),
    /// A judge failed.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// No pair is left to train on.
    #[error("arm {arm}: no pair is left to train on; choose a smaller edit")]
    NothingLeft {
        /// Folder name of the arm.
        arm: String,
    },
    /// A run was made in another way.
    #[error(
        "{path}: this run was made from something else ({what} differs); give --replace to train it again, or take the arms \
         folder away", path = path.display()
    )]
    OtherRun {
        /// Its record.
        path: PathBuf,
        /// What differs.
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
