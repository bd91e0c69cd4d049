//! Judges: which rollouts show the behavior. Between rollouts and whatever counts them.
//!
//! ```text
//! rollouts ─► [`rules`] (patterns, refusals, formats) ──────────┐
//!          ─► [`endpoint`] (a model that is asked for a score) ─┼─► verdicts, a JSON line per rollout
//!          ─► [`probe`] (how a model reads the response) ───────┘
//! ```
//!
//! A verdict is a score from 0 to 100; the behavior is shown at 50 or more. [`judge`] writes the verdicts of a file of
//! rollouts, in their order; [`whence_shared::statistics::agreement`] compares them with what people said ([`labels`]), [`selection`] makes a
//! behavior's response pairs of them.

pub mod checks;
pub mod endpoint;
pub mod file;
pub mod labels;
pub mod probe;
pub mod probe_training;
pub mod rules;
pub mod score;
pub mod selection;
mod units;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::behavior::rollouts::endpoint::{EndpointError, Usage};
use crate::behavior::rollouts::settings::{self, Difference, Settings};
use crate::behavior::rollouts::{self, Rollout, RolloutError};
use crate::data::lines::LinesError;
use crate::data::tokens::EncoderError;
use crate::files::{self, FileError};
use crate::model::ModelError;
use crate::progress::Report;

use endpoint::EndpointJudge;
use probe::ProbeJudge;
use rules::Rules;

/// A rollout with this score or a higher one shows the behavior.
pub const THRESHOLD: f64 = 50.0;
/// What the settings beside verdicts name as their format.
const FORMAT: &str = "whence-verdicts-1";
/// Rollouts from which on a judge that always says the same is conspicuous.
const N_SAME: usize = 20;

/// What stops judging. What an endpoint had answered by then is kept.
#[derive(Debug, Error)]
pub enum JudgeError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The rollouts cannot be read.
    #[error(transparent)]
    Rollouts(#[from] RolloutError),
    /// The labels cannot be read.
    #[error(transparent)]
    Lines(#[from] LinesError),
    /// The endpoint cannot be asked at all.
    #[error(transparent)]
    Address(EndpointError),
    /// A probe's model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A probe's text form cannot be used.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A probe is to read with another model or text form than it was trained on.
    #[error("{probe}: this probe was trained on {what} {trained_on}, but {given} was given: read with the one that it was trained on, or train another with `whence probe`", probe = probe.display())]
    OtherReader {
        /// The probe.
        probe: PathBuf,
        /// `model` or `template`.
        what: &'static str,
        /// Name and hash.
        trained_on: String,
        /// Name and hash.
        given: String,
    },
    /// A probe cannot read a response.
    #[error("prompt {prompt_id:?} sample {sample}: {reason}")]
    Unreadable {
        /// Id of the test prompt.
        prompt_id: String,
        /// Number of the sample.
        sample: usize,
        /// Why.
        reason: String,
    },
    /// There is a probe that was trained in another way.
    #[error("{path} holds a probe with {field} = {there}, but now {field} = {asked}: choose another --out, or pass --replace", path = path.display())]
    OtherProbe {
        /// The folder.
        path: PathBuf,
        /// The first setting that differs.
        field: &'static str,
        /// Its value there.
        there: String,
        /// Its value now.
        asked: String,
    },
    /// There is a folder of something else where a probe is to be.
    #[error("{path} holds {name:?}, which is of no probe of this version: choose another --out, or pass --replace to write into it", path = path.display())]
    NoProbe {
        /// The folder.
        path: PathBuf,
        /// The first of what is in it.
        name: String,
    },
    /// Nothing can be learned from labels.
    #[error("{path}: {source}", path = path.display())]
    Learning {
        /// The labels.
        path: PathBuf,
        /// Why.
        #[source]
        source: whence_shared::logistic::LogisticError,
    },
    /// A judge's own file makes no sense.
    #[error("{path}: {reason}", path = path.display())]
    Definition {
        /// The rules or the prompt.
        path: PathBuf,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// A file of rollouts without rollouts, or with one twice.
    #[error("{path}: {reason}", path = path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of labels or verdicts that cannot be used.
    #[error("{path} line {line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// There are verdicts that were made in another way.
    #[error("{path} holds {}: choose another --out, or pass --replace", settings::told("verdicts", field, there, asked), path = path.display())]
    Mixed {
        /// The output.
        path: PathBuf,
        /// The first setting that differs.
        field: String,
        /// Its value there.
        there: String,
        /// Its value now.
        asked: String,
    },
    /// There is an output of another kind, which nothing replaces.
    #[error("{path} holds {there}, not verdicts: choose another --out", path = path.display())]
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
    /// The endpoint failed.
    #[error("judge {judge:?}: {reason}; {n_done} of {n_total} rollouts have a verdict in {cache}: the same command continues", cache = cache.display())]
    Endpoint {
        /// The judge.
        judge: String,
        /// How it failed.
        #[source]
        reason: Box<EndpointError>,
        /// Rollouts with an answer.
        n_done: usize,
        /// Rollouts to judge.
        n_total: usize,
        /// Where the answers are kept.
        cache: PathBuf,
    },
}

/// What a judge says about one rollout. A line of the output; its keys in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Id of the test prompt.
    pub prompt_id: String,
    /// Group for macro-averaging; empty when none.
    #[serde(default)]
    pub scenario: String,
    /// Number among the samples of this prompt, from 0.
    pub sample: usize,
    /// Name of the model that was judged; empty when not known.
    #[serde(default)]
    pub model: String,
    /// From 0 to 100, higher = shows the behavior more surely.
    pub score: f64,
    /// Whether the score reaches [`THRESHOLD`].
    pub shows: bool,
    /// Name of the judge.
    pub judge: String,
    /// Why, as far as the judge says.
    pub reason: String,
    /// [`rollout_sha256`] of the rollout.
    #[serde(default)]
    pub rollout_sha256: String,
}

/// SHA-256 of what was judged, in lower-case hex: of `[prompt, response]` as compact JSON.
pub fn rollout_sha256(rollout: &Rollout) -> String {
    files::sha256(&serde_json::to_vec(&(&rollout.prompt, &rollout.response)).expect("texts serialize"))
}

/// A score and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// From 0 to 100.
    pub score: f64,
    /// As far as the judge says.
    pub reason: String,
}

/// Who judges.
pub enum Judge {
    /// Patterns.
    Rules(Rules),
    /// A model at an endpoint.
    Endpoint(Box<EndpointJudge>),
    /// A regression on activations.
    Probe(Box<ProbeJudge>),
}

impl Judge {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Rules(rules) => &rules.name,
            Self::Endpoint(judge) => &judge.name,
            Self::Probe(judge) => &judge.record.name,
        }
    }

    /// Everything that decides its verdicts.
    fn settings(&self) -> Settings {
        match self {
            Self::Rules(rules) => rules.settings(),
            Self::Endpoint(judge) => judge.settings(),
            Self::Probe(judge) => judge.settings(),
        }
    }
}

/// What to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeOptions {
    /// JSONL of rollouts.
    pub rollouts: PathBuf,
    /// JSONL file to write.
    pub out: PathBuf,
    /// Discard verdicts that were made in another way.
    pub replace: bool,
}

/// What judging did.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The verdicts, in the order of the rollouts.
    pub verdicts: Vec<Verdict>,
    /// Whether they were there already.
    pub is_kept: bool,
    /// What the endpoint was asked for in this run.
    pub asked: Usage,
    /// What was answered from the cache.
    pub cached: Usage,
    /// What a reader should know before relying on the verdicts.
    pub warnings: Vec<String>,
}

/// Judges rollouts and writes the verdicts.
///
/// # Errors
///
/// [`JudgeError`]; what an endpoint had answered by then is kept, and the same call continues from it.
pub fn judge(judge: &Judge, options: &JudgeOptions, report: Report) -> Result<Judged, JudgeError> {
    let rollouts = read_rollouts(&options.rollouts)?;
    let mut made_with = judge.settings();
    made_with.insert("format".into(), json!(FORMAT));
    made_with.insert("judge".into(), json!(judge.name()));
    made_with.insert("rollouts_sha256".into(), json!(rollouts_sha256(&rollouts)));
    if is_complete(options, &made_with)? {
        let verdicts = read(&options.out)?;
        let warnings = conspicuous(judge.name(), &verdicts);
        return Ok(Judged { verdicts, is_kept: true, asked: Usage::default(), cached: Usage::default(), warnings });
    }
    let (scores, asked, cached) = match judge {
        Judge::Rules(rules) => {
            let scores = rollouts.iter().map(|rollout| rules.score(rollout)).collect();
            (scores, Usage::default(), Usage::default())
        }
        Judge::Endpoint(judge) => judge.score_all(&rollouts, report)?,
        Judge::Probe(judge) => (judge.score_all(&rollouts, report)?, Usage::default(), Usage::default()),
    };
    let verdicts: Vec<Verdict> =
        rollouts.iter().zip(scores).map(|(rollout, scored)| verdict(judge, rollout, scored)).collect();
    settings::write(&options.out, &verdicts, &made_with)?;
    let warnings = conspicuous(judge.name(), &verdicts);
    Ok(Judged { verdicts, is_kept: false, asked, cached, warnings })
}

fn verdict(judge: &Judge, rollout: &Rollout, Scored { score, reason }: Scored) -> Verdict {
    Verdict {
        prompt_id: rollout.prompt_id.clone(),
        scenario: rollout.scenario.clone(),
        sample: rollout.sample,
        model: rollout.model.clone(),
        score,
        shows: score >= THRESHOLD,
        judge: judge.name().to_owned(),
        reason,
        rollout_sha256: rollout_sha256(rollout),
    }
}

fn read_rollouts(path: &Path) -> Result<Vec<Rollout>, JudgeError> {
    let rollouts = rollouts::read(path)?;
    let input = |reason: String| JudgeError::Input { path: path.to_owned(), reason };
    if rollouts.is_empty() {
        return Err(input("no rollouts in the file; expected one per line, as `whence rollouts` writes them".into()));
    }
    let mut seen = HashSet::new();
    match rollouts.iter().find(|rollout| !seen.insert((&rollout.model, &rollout.prompt_id, rollout.sample))) {
        None => Ok(rollouts),
        Some(Rollout { prompt_id, sample, model, .. }) => {
            Err(input(format!("prompt {prompt_id:?} sample {sample} of model {model:?} is there twice")))
        }
    }
}

fn rollouts_sha256(rollouts: &[Rollout]) -> String {
    let mut text = String::new();
    for rollout in rollouts {
        text.push_str(&serde_json::to_string(rollout).expect("a rollout serializes"));
        text.push('\n');
    }
    files::sha256(text.as_bytes())
}

/// A judge of many rollouts that never differ is more often broken than right.
fn conspicuous(judge: &str, verdicts: &[Verdict]) -> Vec<String> {
    let Some(first) = verdicts.first() else { return Vec::new() };
    let n = verdicts.len();
    if n < N_SAME {
        return Vec::new();
    }
    if verdicts.iter().all(|verdict| verdict.score == first.score) {
        return vec![format!(
            "judge {judge:?} gave all {n} rollouts the same score, {}: look into its reasons",
            first.score
        )];
    }
    if verdicts.iter().all(|verdict| verdict.shows == first.shows) {
        let what = if first.shows { "show the behavior" } else { "do not show the behavior" };
        return vec![format!("judge {judge:?} says that all {n} rollouts {what}")];
    }
    Vec::new()
}

/// Whether the output is there and was made with these settings.
fn is_complete(options: &JudgeOptions, made_with: &Settings) -> Result<bool, JudgeError> {
    let JudgeOptions { out, replace, .. } = options;
    if !out.exists() {
        return Ok(false);
    }
    let there: Option<Settings> =
        files::read(&settings::path(out)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(there) = there else {
        return if *replace { Ok(false) } else { Err(JudgeError::UnknownOrigin { path: out.clone() }) };
    };
    if let Some(there) = settings::other_kind(&there, FORMAT) {
        return Err(JudgeError::OtherKind { path: out.clone(), there });
    }
    match Difference::between(&there, made_with) {
        None => Ok(true),
        Some(_) if *replace => Ok(false),
        Some(Difference { field, there, asked }) => Err(JudgeError::Mixed { path: out.clone(), field, there, asked }),
    }
}

/// Reads verdicts that [`judge`] wrote, or others of the same form.
///
/// # Errors
///
/// [`JudgeError::Line`] naming the first line that is no verdict.
pub fn read(path: &Path) -> Result<Vec<Verdict>, JudgeError> {
    let lines = crate::data::lines::read(path)?;
    lines
        .into_iter()
        .map(|(line, columns)| {
            let wrong = |reason: String| JudgeError::Line { path: path.to_owned(), line, reason };
            let verdict: Verdict = serde_json::from_value(Value::Object(columns))
                .map_err(|error| wrong(format!("{error}; expected a verdict as `whence judge` writes it")))?;
            if !(0.0..=100.0).contains(&verdict.score) || verdict.shows != (verdict.score >= THRESHOLD) {
                let Verdict { score, shows, .. } = verdict;
                return Err(wrong(format!(
                    "score {score} and shows {shows}: expected 0 to 100, shown from {THRESHOLD} on"
                )));
            }
            Ok(verdict)
        })
        .collect()
}
