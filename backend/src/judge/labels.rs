//! What people said about rollouts, read from JSONL or CSV, to compare a judge with.
//!
//! A line has `prompt_id`, `sample` (may be left out where a prompt has one rollout), `model` (may be left out where all
//! rollouts are of one) and `shows` (true, false, yes, no, 1 or 0) or `score` (0 to 100, shown from 50 on).

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};
use whence_shared::statistics::agreement::Judged;

use super::{JudgeError, THRESHOLD, Verdict};
use crate::behavior::rollouts::Rollout;
use crate::data::lines;

const EXPECTED: &str = "expected \"prompt_id\", \"sample\" and \"shows\" (true or false) or \"score\" (0 to 100)";

/// What a label is of.
#[derive(Clone, Copy)]
struct Labelled<'a> {
    prompt_id: &'a str,
    sample: usize,
    model: &'a str,
}

/// Reads labels and finds the verdict of each.
///
/// # Errors
///
/// [`JudgeError::Line`] naming the first label that is malformed, given twice, or of no or several verdicts.
pub fn read(path: &Path, verdicts: &[Verdict]) -> Result<Vec<Judged>, JudgeError> {
    let places = verdicts.iter().map(|of| Labelled { prompt_id: &of.prompt_id, sample: of.sample, model: &of.model });
    let places: Vec<Labelled> = places.collect();
    let labels = found(path, &places, "verdict")?;
    Ok(labels.into_iter().map(|(i, label)| Judged { score: verdicts[i].score, label }).collect())
}

/// Reads labels and finds the rollout of each: its number, and whether it is said to show the behavior.
///
/// # Errors
///
/// [`JudgeError::Line`] naming the first label that is malformed, given twice, or of no or several rollouts.
pub fn of_rollouts(path: &Path, rollouts: &[Rollout]) -> Result<Vec<(usize, bool)>, JudgeError> {
    let places = rollouts.iter().map(|of| Labelled { prompt_id: &of.prompt_id, sample: of.sample, model: &of.model });
    let places: Vec<Labelled> = places.collect();
    found(path, &places, "rollout")
}

/// Every label with the number of what it is of; `what` names that in errors.
fn found(path: &Path, places: &[Labelled], what: &str) -> Result<Vec<(usize, bool)>, JudgeError> {
    let mut by_prompt: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, place) in places.iter().enumerate() {
        by_prompt.entry(place.prompt_id).or_default().push(i);
    }
    let mut labelled_at: HashMap<usize, usize> = HashMap::new();
    let mut labelled = Vec::new();
    for (line, columns) in lines::read(path)? {
        let wrong = |reason: String| JudgeError::Line { path: path.to_owned(), line, reason };
        let (label, i) = label(&columns, places, &by_prompt, what).map_err(wrong)?;
        if let Some(earlier) = labelled_at.insert(i, line) {
            let Labelled { prompt_id, sample, .. } = places[i];
            return Err(wrong(format!("prompt {prompt_id:?} sample {sample} was labelled in line {earlier}")));
        }
        labelled.push((i, label));
    }
    if labelled.is_empty() {
        return Err(JudgeError::Input { path: path.to_owned(), reason: format!("no labels in the file; {EXPECTED}") });
    }
    Ok(labelled)
}

fn label(
    columns: &Map<String, Value>,
    places: &[Labelled],
    by_prompt: &HashMap<&str, Vec<usize>>,
    what: &str,
) -> Result<(bool, usize), String> {
    let text = |name: &str| lines::text(columns, name).map_err(|reason| format!("{reason}; {EXPECTED}"));
    let id = text("prompt_id")?.ok_or_else(|| format!("\"prompt_id\" is missing; {EXPECTED}"))?;
    let sample: Option<usize> = match text("sample")? {
        None => None,
        Some(sample) => {
            Some(sample.trim().parse().map_err(|_| format!("\"sample\": expected a number, got {sample:?}"))?)
        }
    };
    let model = text("model")?;
    let fits = |i: &&usize| {
        let place = &places[**i];
        sample.is_none_or(|sample| sample == place.sample) && model.as_ref().is_none_or(|model| *model == place.model)
    };
    let found: Vec<usize> = by_prompt.get(id.as_str()).into_iter().flatten().filter(fits).copied().collect();
    let i = match found.as_slice() {
        [i] => *i,
        [] => {
            return Err(format!(
                "no {what} on prompt {id:?}, sample {}",
                sample.map_or("any".into(), |n| n.to_string())
            ));
        }
        several => {
            return Err(format!("{} {what}s on prompt {id:?}: say which \"sample\" and \"model\"", several.len()));
        }
    };
    let label = match (text("shows")?, text("score")?) {
        (Some(shows), _) => match shows.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => true,
            "false" | "no" | "0" => false,
            _ => return Err(format!("\"shows\": expected true or false, got {shows:?}")),
        },
        (None, Some(score)) => {
            let score = score.trim().parse::<f64>().ok().filter(|score| (0.0..=100.0).contains(score));
            score.ok_or("\"score\": expected a number from 0 to 100")? >= THRESHOLD
        }
        (None, None) => return Err(format!("neither \"shows\" nor \"score\"; {EXPECTED}")),
    };
    Ok((label, i))
}
