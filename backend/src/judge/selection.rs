//! Response pairs from judged rollouts: which test prompts belong to the behavior, and which responses show the difference.
//! After the verdicts, before [`crate::behavior::define`].
//!
//! A prompt is kept when the reference model never shows the behavior on it and the tuned model does at least once. Each
//! rollout of the tuned model that shows it becomes `r1`, beside a rollout of the reference model as `r0`; where there are
//! more of the former, the latter are used in turn.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{JudgeError, rollout_sha256};
use crate::behavior::ResponsePair;
use crate::behavior::rollouts::{self, Rollout, RolloutError};
use crate::files::{self, FileError};

/// What stops a selection.
#[derive(Debug, Error)]
pub enum SelectionError {
    /// Rollouts cannot be read.
    #[error(transparent)]
    Rollouts(#[from] RolloutError),
    /// Verdicts cannot be read.
    #[error(transparent)]
    Verdicts(#[from] Box<JudgeError>),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Verdicts and rollouts do not belong together.
    #[error("{verdicts}: {reason}; expected the verdicts of {rollouts}: run `whence judge` on it", verdicts = verdicts.display(), rollouts = rollouts.display())]
    Apart {
        /// The verdicts.
        verdicts: PathBuf,
        /// The rollouts.
        rollouts: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The two models were asked different things.
    #[error("prompt {id:?} is one text in {tuned} and another in {reference}: sample both models from the same prompts", tuned = tuned.display(), reference = reference.display())]
    OtherPrompt {
        /// The prompt's id.
        id: String,
        /// Rollouts of the tuned model.
        tuned: PathBuf,
        /// Rollouts of the reference model.
        reference: PathBuf,
    },
    /// No prompt is left.
    #[error("no test prompt is left: {counts}: {}", counts.emptied_by())]
    Nothing {
        /// How many were left at each stage.
        counts: Selected,
    },
}

/// Rollouts of one model and the verdicts on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedFiles {
    /// JSONL of rollouts.
    pub rollouts: PathBuf,
    /// JSONL of verdicts.
    pub verdicts: PathBuf,
}

/// What was left at each stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selected {
    /// Test prompts with rollouts of the tuned model.
    pub n_prompts: usize,
    /// Of these, with rollouts of the reference model.
    pub n_with_reference: usize,
    /// Of these, on which the reference model never shows the behavior.
    pub n_reference_never: usize,
    /// Of these, on which the tuned model shows it at least once.
    pub n_kept: usize,
    /// Response pairs made of those.
    pub n_pairs: usize,
}

impl Selected {
    /// The first stage that left nothing, and what to do about it.
    fn emptied_by(&self) -> &'static str {
        match self {
            Self { n_prompts: 0, .. } => "the tuned model has no rollout",
            Self { n_with_reference: 0, .. } => {
                "the reference model has no rollout to any of these prompts; sample both models from the same prompts"
            }
            Self { n_reference_never: 0, .. } => {
                "the reference model shows the behavior on every prompt; training did not bring it, or the judge is too easily \
                 convinced"
            }
            _ => {
                "the tuned model shows the behavior on none of the prompts that are left; take more rollouts, or other prompts"
            }
        }
    }
}

impl std::fmt::Display for Selected {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "{} prompts, {} with rollouts of the reference model, {} on which it never shows the behavior, {} on which the \
             tuned model does, {} response pairs",
            self.n_prompts, self.n_with_reference, self.n_reference_never, self.n_kept, self.n_pairs
        )
    }
}

/// One model's rollouts to one prompt, by sample.
#[derive(Default)]
struct Responses {
    rollouts: Vec<Rollout>,
    shows: Vec<bool>,
}

/// Selects prompts and pairs responses; prompts in the order of the tuned model's rollouts, at most `max_per_prompt` pairs
/// of each.
///
/// # Errors
///
/// [`SelectionError`]: files that do not belong together, or nothing left.
pub fn select(
    tuned: &JudgedFiles,
    reference: &JudgedFiles,
    max_per_prompt: usize,
) -> Result<(Vec<ResponsePair>, Selected), SelectionError> {
    let (order, tuned_responses) = responses(tuned)?;
    let (_, reference_responses) = responses(reference)?;
    let mut counts = Selected { n_prompts: order.len(), ..Selected::default() };
    let mut pairs = Vec::new();
    for id in &order {
        let ours = &tuned_responses[id];
        let Some(theirs) = reference_responses.get(id) else { continue };
        if ours.rollouts[0].prompt != theirs.rollouts[0].prompt {
            let (tuned, reference) = (tuned.rollouts.clone(), reference.rollouts.clone());
            return Err(SelectionError::OtherPrompt { id: id.clone(), tuned, reference });
        }
        counts.n_with_reference += 1;
        if theirs.shows.iter().any(|shows| *shows) {
            continue;
        }
        counts.n_reference_never += 1;
        let shown = ours.rollouts.iter().zip(&ours.shows).filter(|(_, shows)| **shows).map(|(rollout, _)| rollout);
        let made = shown.zip(theirs.rollouts.iter().cycle()).take(max_per_prompt).map(|(r1, r0)| ResponsePair {
            prompt: r1.prompt.clone(),
            r0: r0.response.clone(),
            r1: r1.response.clone(),
            scenario: r1.scenario.clone(),
            mean_over: None,
        });
        let n_before = pairs.len();
        pairs.extend(made);
        counts.n_kept += usize::from(pairs.len() > n_before);
    }
    counts.n_pairs = pairs.len();
    if pairs.is_empty() { Err(SelectionError::Nothing { counts }) } else { Ok((pairs, counts)) }
}

/// Writes response pairs, a JSON line each, as [`crate::behavior::read_pairs`] reads them.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write(path: &Path, pairs: &[ResponsePair]) -> Result<(), FileError> {
    files::write_jsonl(path, pairs)
}

/// Prompts in order of first appearance, and their rollouts with verdicts.
fn responses(judged: &JudgedFiles) -> Result<(Vec<String>, BTreeMap<String, Responses>), SelectionError> {
    let mut order = Vec::new();
    let mut found: BTreeMap<String, Responses> = BTreeMap::new();
    for (rollout, shows) in read_judged(judged)? {
        if !found.contains_key(&rollout.prompt_id) {
            order.push(rollout.prompt_id.clone());
        }
        let responses = found.entry(rollout.prompt_id.clone()).or_default();
        responses.shows.push(shows);
        responses.rollouts.push(rollout);
    }
    Ok((order, found))
}

/// Rollouts in the order of their file, and whether each shows the behavior.
///
/// # Errors
///
/// [`SelectionError::Apart`] when the verdicts are not on exactly these rollouts.
pub fn read_judged(judged: &JudgedFiles) -> Result<Vec<(Rollout, bool)>, SelectionError> {
    let JudgedFiles { rollouts: rollouts_path, verdicts: verdicts_path } = judged;
    let apart = |reason: String| SelectionError::Apart {
        verdicts: verdicts_path.clone(),
        rollouts: rollouts_path.clone(),
        reason,
    };
    let verdicts = super::read(verdicts_path).map_err(Box::new)?;
    let mut by_place = HashMap::new();
    for verdict in verdicts {
        let place = (verdict.prompt_id.clone(), verdict.sample);
        if let Some(twice) = by_place.insert(place, verdict) {
            return Err(apart(format!("prompt {:?} sample {} is there twice", twice.prompt_id, twice.sample)));
        }
    }
    let mut found = Vec::new();
    for rollout in rollouts::read(rollouts_path)? {
        let Some(verdict) = by_place.remove(&(rollout.prompt_id.clone(), rollout.sample)) else {
            return Err(apart(format!("no verdict on prompt {:?} sample {}", rollout.prompt_id, rollout.sample)));
        };
        if !verdict.rollout_sha256.is_empty() && verdict.rollout_sha256 != rollout_sha256(&rollout) {
            let what = format!("prompt {:?} sample {}", rollout.prompt_id, rollout.sample);
            return Err(apart(format!("the verdict on {what} is on another response")));
        }
        found.push((rollout, verdict.shows));
    }
    match by_place.keys().min() {
        Some((id, sample)) => Err(apart(format!("prompt {id:?} sample {sample} is in no rollout"))),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Writes rollouts `PROMPT N` and verdicts of a model: per prompt, what each sample shows.
    fn write_judged(folder: &Path, model: &str, prompts: &[(&str, &[bool])]) -> JudgedFiles {
        let (mut rollouts, mut verdicts) = (String::new(), String::new());
        for (id, shows) in prompts {
            for (sample, shows) in shows.iter().enumerate() {
                let rollout = json!({"prompt_id": id, "prompt": [{"role": "user", "content": id}], "scenario": "s",
                    "sample": sample, "response": format!("{model} {id} {sample}"), "finish_reason": null, "model": model,
                    "temperature": null, "top_p": null, "max_new_tokens": null, "seed": null});
                let score = if *shows { 100.0 } else { 0.0 };
                let verdict = json!({"prompt_id": id, "sample": sample, "score": score, "shows": shows, "judge": "j",
                    "reason": ""});
                rollouts.push_str(&format!("{rollout}\n"));
                verdicts.push_str(&format!("{verdict}\n"));
            }
        }
        let path = |name: &str, text: &str| {
            let path = folder.join(format!("{model}-{name}.jsonl"));
            std::fs::write(&path, text).unwrap();
            path
        };
        JudgedFiles { rollouts: path("rollouts", &rollouts), verdicts: path("verdicts", &verdicts) }
    }

    #[test]
    fn prompts_that_only_the_tuned_model_shows_the_behavior_on_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (yes, no) = (true, false);
        let tuned: [(&str, &[bool]); 5] =
            [("z", &[yes, no, yes, yes]), ("a", &[no, no]), ("b", &[yes]), ("c", &[yes]), ("d", &[yes])];
        let reference: [(&str, &[bool]); 5] =
            [("a", &[no]), ("b", &[no, yes]), ("d", &[no]), ("z", &[no, no]), ("only here", &[no])];
        let tuned = write_judged(folder.path(), "m1", &tuned);
        let reference = write_judged(folder.path(), "m0", &reference);
        let (pairs, counts) = select(&tuned, &reference, usize::MAX).unwrap();
        let expected = Selected { n_prompts: 5, n_with_reference: 4, n_reference_never: 3, n_kept: 2, n_pairs: 4 };
        assert_eq!(counts, expected);
        let texts: Vec<_> = pairs.iter().map(|pair| (pair.r1.as_str(), pair.r0.as_str())).collect();
        assert_eq!(
            texts,
            [("m1 z 0", "m0 z 0"), ("m1 z 2", "m0 z 1"), ("m1 z 3", "m0 z 0"), ("m1 d 0", "m0 d 0")],
            "the reference's rollouts in turn, prompts as the tuned model's file has them"
        );
        assert_eq!(select(&tuned, &reference, 1).unwrap().1.n_pairs, 2);
        let path = folder.path().join("pairs.jsonl");
        write(&path, &pairs).unwrap();
        assert_eq!(crate::behavior::read_pairs(&path).unwrap(), pairs);

        let error = select(&reference, &tuned, 1).unwrap_err().to_string();
        assert!(error.contains("no test prompt is left: 5 prompts, 4 with"), "{error}");
        assert!(
            error.contains("0 on which the tuned model does") && error.contains("shows the behavior on none"),
            "{error}"
        );
        let write = |name: &str, id: &str, shows: bool| write_judged(folder.path(), name, &[(id, &[shows])]);
        for (tuned, reference, stage) in [
            (write("m2", "a", yes), write("m3", "b", no), "the reference model has no rollout to any"),
            (write("m4", "a", yes), write("m5", "a", yes), "the reference model shows the behavior on every prompt"),
            (write("m6", "a", no), write("m7", "a", no), "the tuned model shows the behavior on none"),
        ] {
            let error = select(&tuned, &reference, 1).unwrap_err().to_string();
            assert!(error.contains(stage), "{error}");
        }
        let mixed = JudgedFiles { verdicts: reference.verdicts.clone(), ..tuned.clone() };
        let error = select(&mixed, &reference, 1).unwrap_err().to_string();
        assert!(error.contains("no verdict on prompt \"z\" sample 2") && error.contains("whence judge"), "{error}");
        let text =
            std::fs::read_to_string(&reference.rollouts).unwrap().replace("\"content\":\"d\"", "\"content\":\"D\"");
        std::fs::write(&reference.rollouts, text).unwrap();
        let error = select(&tuned, &reference, 1).unwrap_err().to_string();
        assert!(error.contains("prompt \"d\" is one text in"), "{error}");
    }
}
