//! Rollouts: sampled responses of a model to test prompts, what behaviors are found and measured with.
//!
//! ```text
//! prompts ─► a model on this machine ([`local`]) ──┐
//!         ─► an OpenAI-compatible endpoint ([`endpoint`], [`answers`]) ─┴─► [`journal`] ─► JSONL, a rollout per line
//! rollouts made elsewhere ([`imported`]) ───────────────────────────────────────────────┘
//! ```
//!
//! Started again with the same settings, finished rollouts are kept and nothing is sampled twice; the file is the same
//! as that of a run that was never interrupted.

pub mod answers;
pub mod endpoint;
pub mod imported;
pub mod journal;
pub mod local;
pub mod prompts;
pub mod settings;
mod waits;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;
use whence_shared::pair::Message;

use crate::data::lines::{self, LinesError};
use crate::data::tokens::EncoderError;
use crate::files::FileError;
use crate::model::ModelError;
use crate::progress::{Report, Update};

use endpoint::{Endpoint, EndpointError};
use journal::{Journal, Opened};
use local::{LoadedModel, LocalModel};
pub use prompts::TestPrompt;
use settings::Settings;

/// What stops rollouts from being made. What had been sampled by then is kept.
#[derive(Debug, Error)]
pub enum RolloutError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The text form cannot be used.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// An input cannot be read.
    #[error(transparent)]
    Lines(#[from] LinesError),
    /// A line of an input is not what it should be.
    #[error("{}: {reason}; expected {expected}", lines::place(path, *line))]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Nothing to sample for.
    #[error("{path}: no test prompt in the file; expected \"prompt\" in every line or row", path = path.display())]
    NoPrompts {
        /// The file.
        path: PathBuf,
    },
    /// A prompt that this model cannot be asked.
    #[error("prompt {id:?}: {reason}")]
    Prompt {
        /// Its id.
        id: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A number that makes no sense.
    #[error("--{option}: expected {expected}, got {got}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is possible.
        expected: &'static str,
        /// What was given.
        got: String,
    },
    /// There are rollouts that were made in another way.
    #[error("{path} holds {}: choose another --out, or pass --replace to discard them", settings::told("rollouts", field, there, asked), path = path.display())]
    Mixed {
        /// The output or its journal.
        path: PathBuf,
        /// The first setting that differs.
        field: String,
        /// Its value in the file.
        there: String,
        /// Its value now.
        asked: String,
    },
    /// There is an output of another kind, which nothing replaces.
    #[error("{path} holds {there}, not rollouts: choose another --out", path = path.display())]
    OtherKind {
        /// The output.
        path: PathBuf,
        /// What it holds.
        there: &'static str,
    },
    /// There is an output, and no telling how it was made.
    #[error("{path} exists, and {path}.run.json, which would say how it was made, does not: choose another --out, or pass --replace", path = path.display())]
    UnknownOrigin {
        /// The output.
        path: PathBuf,
    },
    /// The journal is damaged.
    #[error("{path} line {line}: {reason}; the file is damaged: pass --replace to begin again", path = path.display())]
    Journal {
        /// The journal or settings file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has the journal open.
    #[error("{path}: another process is writing these rollouts: wait for it, or choose another --out", path = path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// The endpoint failed.
    #[error("{reason}; {n_done} of {n_total} rollouts are kept in {kept}: the same command continues", kept = kept.display())]
    Endpoint {
        /// How.
        #[source]
        reason: EndpointError,
        /// Rollouts kept.
        n_done: usize,
        /// Rollouts asked for.
        n_total: usize,
        /// Where they are kept.
        kept: PathBuf,
    },
}

/// One sampled response of one model to one test prompt. A line of the output; its keys in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Id of the test prompt.
    pub prompt_id: String,
    /// The test prompt as messages, oldest first.
    pub prompt: Vec<Message>,
    /// Group for macro-averaging; empty when none.
    #[serde(default)]
    pub scenario: String,
    /// Number among the samples of this prompt, from 0.
    pub sample: usize,
    /// What the model said, without the end-of-turn token.
    pub response: String,
    /// `stop`: the model ended it; `length`: it was cut at `max_new_tokens`; or what the endpoint said.
    pub finish_reason: Option<String>,
    /// Name of the model; empty when not known.
    pub model: String,
    /// What the logits were divided by; 0 = greedy.
    pub temperature: Option<f64>,
    /// Nucleus mass that tokens were drawn from; 1 = all.
    pub top_p: Option<f64>,
    /// Most tokens of a response.
    pub max_new_tokens: Option<usize>,
    /// Seed of the run.
    pub seed: Option<u64>,
    /// All other keys of the test prompt's line.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// How to sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Rollouts per prompt.
    pub n_samples: usize,
    /// Divides the logits; 0 = greedy.
    pub temperature: f64,
    /// Only the most probable tokens that together have this probability are drawn from; 1 = all.
    pub top_p: f64,
    /// Most tokens in a response.
    pub max_new_tokens: usize,
    /// Decides what is drawn.
    pub seed: u64,
}

impl Sampling {
    fn check(&self) -> Result<(), RolloutError> {
        let wrong = |option, expected, got: String| Err(RolloutError::Option { option, expected, got });
        if self.n_samples == 0 {
            return wrong("samples", "at least 1", "0".into());
        }
        if self.max_new_tokens == 0 {
            return wrong("max-new-tokens", "at least 1", "0".into());
        }
        if !(0.0..=100.0).contains(&self.temperature) {
            return wrong("temperature", "a number from 0 to 100", self.temperature.to_string());
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top-p", "a number above 0, at most 1", self.top_p.to_string());
        }
        Ok(())
    }

    /// A rollout of this run.
    fn rollout(&self, prompt: &TestPrompt, sample: usize, model: &str, answer: Answer) -> Rollout {
        Rollout {
            prompt_id: prompt.id.clone(),
            prompt: prompt.messages.clone(),
            scenario: prompt.scenario.clone(),
            sample,
            response: answer.response,
            finish_reason: answer.finish_reason,
            model: model.to_owned(),
            temperature: Some(self.temperature),
            top_p: Some(self.top_p),
            max_new_tokens: Some(self.max_new_tokens),
            seed: Some(self.seed),
            metadata: prompt.metadata.clone(),
        }
    }
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub response: String,
    /// Why it ended there.
    pub finish_reason: Option<String>,
}

/// Where responses come from.
pub enum Source<'a> {
    /// A model on this machine.
    Model(LocalModel<'a>),
    /// A model on this machine that is loaded already.
    Loaded(LoadedModel<'a>),
    /// A chat endpoint.
    Endpoint(&'a Endpoint),
}

impl Source<'_> {
    fn settings(&self) -> Result<Settings, RolloutError> {
        match self {
            Source::Model(model) => model.settings(),
            Source::Loaded(model) => model.settings(),
            Source::Endpoint(endpoint) => Ok(endpoint.settings()),
        }
    }
}

/// Where rollouts go.
#[derive(Debug, Clone)]
pub struct RolloutOptions {
    /// JSONL file to write.
    pub out: PathBuf,
    /// How to sample.
    pub sampling: Sampling,
    /// Discard rollouts that were made in another way.
    pub replace: bool,
}

/// What making rollouts did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RolledOut {
    /// Rollouts in the output.
    pub n_rollouts: usize,
    /// Of these, kept from an earlier run.
    pub n_kept: usize,
    /// Of these, answered from the cache of responses.
    pub n_cached: usize,
    /// Requests that were repeated.
    pub n_retries: usize,
    /// Rollouts by why they ended; empty when the output was there already.
    pub finish_reasons: BTreeMap<String, usize>,
}

/// Samples every prompt `n_samples` times and writes the rollouts, ordered by prompt and sample. Those of an endpoint are
/// drawn by prompt, sample and seed alone: a larger `n_samples` adds to what is there.
///
/// # Errors
///
/// [`RolloutError`]; what was sampled by then is kept beside the output, and the same call continues from it.
pub fn roll_out(
    prompts: &[TestPrompt],
    source: &Source,
    options: &RolloutOptions,
    report: Report,
) -> Result<RolledOut, RolloutError> {
    let sampling = &options.sampling;
    sampling.check()?;
    let mut settings = source.settings()?;
    settings.extend(
        [
            ("format", json!("whence-rollouts-1")),
            ("prompts_sha256", json!(prompts::sha256(prompts))),
            ("samples", json!(sampling.n_samples)),
            ("temperature", json!(sampling.temperature)),
            ("top_p", json!(sampling.top_p)),
            ("max_new_tokens", json!(sampling.max_new_tokens)),
            ("seed", json!(sampling.seed)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let n_total = prompts.len() * sampling.n_samples;
    let mut journal = match Journal::open(&options.out, &settings, prompts, options.replace)? {
        Opened::Complete => {
            return Ok(RolledOut { n_rollouts: n_total, n_kept: n_total, ..RolledOut::default() });
        }
        Opened::Open(journal) => journal,
    };
    let n_kept = journal.n_done();
    let mut done = RolledOut { n_rollouts: n_total, n_kept, ..RolledOut::default() };
    let show = |n_done: usize, detail: String| {
        report(Update { stage: "rollouts", done: n_done as u64, total: n_total as u64, unit: "rollouts", detail });
    };
    show(n_kept, String::new());
    match source {
        Source::Model(model) => model.sample(prompts, sampling, &mut journal, &show)?,
        Source::Loaded(model) => model.sample(prompts, sampling, &mut journal, &show)?,
        Source::Endpoint(endpoint) => {
            let outcome = endpoint.sample(prompts, sampling, &mut journal, &show);
            let stats = match outcome {
                Ok(stats) => stats,
                Err(endpoint::Stopped::Here(error)) => return Err(error),
                Err(endpoint::Stopped::There(reason)) => {
                    let (n_done, kept) = (journal.n_done(), journal.path().to_owned());
                    return Err(RolloutError::Endpoint { reason, n_done, n_total, kept });
                }
            };
            (done.n_cached, done.n_retries) = (stats.n_cached, stats.n_retries);
        }
    }
    for rollout in journal.finish()? {
        *done.finish_reasons.entry(rollout.finish_reason.unwrap_or_else(|| "unknown".into())).or_default() += 1;
    }
    Ok(done)
}

/// Every prompt and sample, in the order of the output.
fn places(prompts: &[TestPrompt], sampling: &Sampling) -> Vec<(usize, usize)> {
    let samples = |prompt| (0..sampling.n_samples).map(move |sample| (prompt, sample));
    (0..prompts.len()).flat_map(samples).collect()
}

/// Reads rollouts that [`roll_out`] or [`imported::import`] wrote.
///
/// # Errors
///
/// [`RolloutError::Line`] naming the first line that is not a rollout.
pub fn read(path: &Path) -> Result<Vec<Rollout>, RolloutError> {
    let expected = "a rollout as `whence rollouts` writes it";
    lines::read(path)?
        .into_iter()
        .map(|(line, columns)| {
            serde_json::from_value(Value::Object(columns)).map_err(|error| RolloutError::Line {
                path: path.to_owned(),
                line,
                reason: error.to_string(),
                expected,
            })
        })
        .collect()
}
