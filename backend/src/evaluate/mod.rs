//! What a model can do and does: behavior and over-refusal by judged rollouts, capability by tasks with a known answer, and
//! whether instructions on form are followed. `whence evaluate` measures any model so, [`crate::validate`] every model that
//! it trains.
//!
//! ```text
//! measures.toml ([`measures`]) ─► prompts, judge, questions ([`measure`])
//!   a model ─► rollouts ─► verdicts ([`crate::judge`])          ┐
//!           ─► log-likelihoods of options ([`choices`])         ├─► counts by prompt ─► rates with intervals ([`report`])
//!           ─► responses ─► right or not ([`answers`])          │
//!           ─► responses ─► form followed or not ([`forms`])    ┘
//! ```
//!
//! Everything is kept as it is made, beside the model's results: the same call goes on where it was killed and ends with the
//! same bytes.

pub mod answers;
pub mod choices;
pub mod forms;
pub mod measure;
pub mod measures;
pub mod report;

use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

pub use self::measure::{Measure, Place, Taken};
pub use self::measures::MeasurePlan;
pub use self::report::{EvaluateOptions, Evaluated, Evaluation, RunKey, Subject, evaluate};
use crate::behavior::rollouts::{RolloutError, settings};
use crate::data::lines;
use crate::data::tokens::EncoderError;
use crate::files::FileError;
use crate::judge::JudgeError;
use crate::model::ModelError;

/// What stops an evaluation.
#[derive(Debug, Error)]
pub enum EvaluateError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The measures make no sense.
    #[error("{path}: {reason}", path = path.display())]
    Measures {
        /// The file with the measures.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A row of a task makes no sense, or does not fit into the model.
    #[error("{path} line {line}: {reason}", path = path.display())]
    Row {
        /// The task.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// Too few rows for an interval.
    #[error("{path}: expected at least 2 prompts, so that it can be told how they differ, got {n}{left_out}", path = path.display())]
    Few {
        /// The task.
        path: PathBuf,
        /// Rows that can be used.
        n: usize,
        /// How many were left out, or empty.
        left_out: String,
    },
    /// Prompts cannot be read, or rollouts made.
    #[error(transparent)]
    Rollouts(#[from] RolloutError),
    /// A judge cannot be used or failed.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// The model cannot be used, or the device failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model's text form cannot be used.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// There are answers that were made in another way.
    #[error("{path} holds {}: choose another --out, or pass --replace", settings::told("answers", field, there, asked), path = path.display())]
    Mixed {
        /// The answers.
        path: PathBuf,
        /// The first setting that differs.
        field: String,
        /// Its value there.
        there: String,
        /// Its value now.
        asked: String,
    },
    /// There is an evaluation of something that is not evaluated now.
    #[error("{path} holds {what}, which would be lost: choose another --out, or pass --replace", path = path.display())]
    Exists {
        /// The evaluation.
        path: PathBuf,
        /// What is not evaluated now.
        what: String,
    },
    /// There is no model to evaluate.
    #[error("{study}: no trained model {wanted}; `whence retrain` makes them{there}", study = study.display())]
    NoModels {
        /// The study.
        study: PathBuf,
        /// What was asked for.
        wanted: String,
        /// Which there are, or empty.
        there: String,
    },
}

/// An error about the prompt of that id, with the line of its file.
fn row_error(path: &Path, id: &str, reason: String) -> EvaluateError {
    let is_it = |(line, columns): &&lines::Line| match columns.get("id") {
        None | Some(Value::Null) => id.parse() == Ok(*line),
        Some(Value::String(given)) => given == id,
        Some(given) => serde_json::from_str::<Value>(id).is_ok_and(|id| id == *given),
    };
    let line = lines::read(path).ok().and_then(|lines| lines.iter().find(is_it).map(|(line, _)| *line));
    EvaluateError::Row { path: path.to_owned(), line: line.unwrap_or(0), reason }
}
