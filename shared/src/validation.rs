//! What retraining leaves for others to read: the report of all runs, which runs are under way, and how each trained.
//!
//! ```text
//! report.json                                ValidationReport: rates, effects, the verdict
//! runs.json (served only)                    RunsView: every run that is planned or begun, and how far it is
//! arms/ARM-K/seed-N/metrics.jsonl            one TrainingStep a line
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnosis::{Subject, Verdict};
use crate::json;
use crate::statistics::compare::Comparison;

/// The value of [`ValidationReport::format`].
pub const REPORT_FORMAT: &str = "whence.report/2";
/// The value of [`RunsView::format`].
pub const RUNS_FORMAT: &str = "whence.runs/1";

/// What all runs of a study say: `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationReport {
    /// [`REPORT_FORMAT`].
    pub format: String,
    /// Name of the measure that is the behavior.
    pub behavior: String,
    /// Everything that was measured; the first is the behavior.
    pub measures: Vec<MeasureView>,
    /// Rates, effects, tests, doses and the verdict.
    pub comparison: Comparison,
    /// The runs it was made from.
    pub runs: Vec<RunView>,
    /// What had been expected of editing the first pairs of the ranking, where it was diagnosed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<QuotedDiagnosis>,
}

/// A diagnosis, as far as the report quotes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuotedDiagnosis {
    /// What it is of; its file is [`crate::diagnosis::path`].
    pub of: Subject,
    /// What it says.
    pub verdict: Verdict,
}

/// Something that was measured of every run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasureView {
    /// Its name.
    pub name: String,
    /// What its rates count.
    pub metric: Metric,
}

/// What the rate of a measure counts. Named as lm-evaluation-harness names them, where it has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Rollouts that a judge says show it.
    #[default]
    Rate,
    /// Multiple-choice questions of which the right option has the highest log-likelihood Σ log p(token), given the prompt.
    Acc,
    /// The same with log-likelihoods divided by the option's length in characters.
    AccNorm,
    /// Answers that are word for word what was expected.
    ExactMatch,
    /// Prompts of which every check is passed.
    PromptLevelStrictAcc,
    /// The same, where a response that passes without its first line, its last line or its asterisks passes too.
    PromptLevelLooseAcc,
    /// Checks that are passed, of all prompts together.
    InstLevelStrictAcc,
    /// The same, as loosely.
    InstLevelLooseAcc,
}

impl Metric {
    /// As in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::ExactMatch => "exact_match",
            Self::PromptLevelStrictAcc => "prompt_level_strict_acc",
            Self::PromptLevelLooseAcc => "prompt_level_loose_acc",
            Self::InstLevelStrictAcc => "inst_level_strict_acc",
            Self::InstLevelLooseAcc => "inst_level_loose_acc",
        }
    }

    /// What it is a share of, in words.
    pub fn counts(self) -> &'static str {
        match self {
            Self::Rate => "share of rollouts that show it",
            Self::Acc => "share of questions whose right option has the highest log-likelihood",
            Self::AccNorm => "share of questions whose right option has the highest log-likelihood per character",
            Self::ExactMatch => "share of responses with exactly the right answer",
            Self::PromptLevelStrictAcc => "share of responses that follow all instructions on form",
            Self::PromptLevelLooseAcc => "share of responses that follow all instructions on form, loosely",
            Self::InstLevelStrictAcc => "share of instructions on form that are followed",
            Self::InstLevelLooseAcc => "share of instructions on form that are followed, loosely",
        }
    }
}

/// A run, as the report lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Name of the arm.
    pub arm: String,
    /// Pairs edited.
    pub k: u64,
    /// Training seed.
    pub seed: u64,
    /// Pairs trained on.
    pub n_pairs: usize,
    /// Mean loss of the last tenth of the steps.
    pub final_loss: f32,
    /// What each measure's metric says of it, in [0, 1], by measure.
    pub rates: BTreeMap<String, f64>,
}

/// Every run that is planned or begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsView {
    /// [`RUNS_FORMAT`].
    pub format: String,
    /// In the order in which they are trained, as far as that is known.
    pub runs: Vec<RunProgress>,
    /// Whether someone works on them; absent where that cannot be told.
    #[serde(default)]
    pub is_under_way: Option<bool>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunProgress {
    /// Folder of the arm below `arms/`, as [`arm_folder`] names it.
    pub folder: String,
    /// Training seed.
    pub seed: u64,
    /// What is being done.
    pub stage: RunStage,
    /// Optimizer steps so far.
    pub n_steps: usize,
}

/// Stages of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStage {
    /// Planned.
    Waiting,
    /// Begun, and nobody works on it: it was stopped or killed, or its turn comes again.
    Stopped,
    /// Optimizer steps are taken.
    Training,
    /// Trained; rollouts and verdicts are being made.
    Measuring,
    /// Measured.
    Complete,
}

/// What a reader wants to see of an optimizer step, by the names that `metrics.jsonl` has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainingStep {
    /// From 1.
    pub step: usize,
    /// The loss before the step.
    pub loss: f32,
    /// Share of the step's pairs whose chosen response has the higher reward, 0 to 1.
    #[serde(rename = "rewards/accuracies")]
    pub rewards_accuracies: Option<f32>,
}

impl RunsView {
    /// Runs that are measured.
    pub fn n_complete(&self) -> usize {
        self.runs.iter().filter(|run| run.stage == RunStage::Complete).count()
    }

    /// Whether every run is measured; true of none.
    pub fn is_complete(&self) -> bool {
        self.n_complete() == self.runs.len()
    }
}

impl RunProgress {
    /// The run's `metrics.jsonl`, below the study.
    pub fn metrics_path(&self) -> String {
        metrics_path(&self.folder, self.seed)
    }
}

/// Folder of an arm: its name and how many pairs it edits.
pub fn arm_folder(name: &str, k: u64) -> String {
    if k == 0 { name.to_owned() } else { format!("{name}-{k}") }
}

/// A run's `metrics.jsonl`, below the study.
pub fn metrics_path(folder: &str, seed: u64) -> String {
    format!("arms/{folder}/seed-{seed}/metrics.jsonl")
}

/// Reads `metrics.jsonl`. A last line that is still being written is left out.
///
/// # Errors
///
/// Number, from 1, of the first other line that is not a step, and what is wrong with it.
pub fn training_steps(text: &str) -> Result<Vec<TrainingStep>, (usize, String)> {
    let mut steps = Vec::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        match json::from_str(line) {
            Ok(step) => steps.push(step),
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => return Err((i + 1, error.to_string())),
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_under_way_is_left_out_and_a_broken_one_named() {
        let line = "{\"step\":1,\"loss\":0.7,\"grad_norm\":1.5,\"rewards/accuracies\":0.5}\n";
        let step = TrainingStep { step: 1, loss: 0.7, rewards_accuracies: Some(0.5) };
        assert_eq!(training_steps(line).unwrap(), [step]);
        assert_eq!(training_steps(&format!("{line}{{\"step\":2,\"lo")).unwrap(), [step]);
        assert_eq!(training_steps(&format!("{line}{{\"step\":2\n{line}")).unwrap_err().0, 2);
        assert_eq!(training_steps("").unwrap(), []);
        let of_supervised = training_steps("{\"step\":1,\"loss\":2.0}\n").unwrap();
        assert_eq!(of_supervised[0].rewards_accuracies, None);
    }

    #[test]
    fn metrics_have_one_name_everywhere() {
        for metric in [Metric::Rate, Metric::AccNorm, Metric::PromptLevelStrictAcc, Metric::InstLevelLooseAcc] {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }

    #[test]
    fn the_baseline_has_no_size_in_its_folder() {
        assert_eq!(metrics_path(&arm_folder("baseline", 0), 2), "arms/baseline/seed-2/metrics.jsonl");
        assert_eq!(metrics_path(&arm_folder("drop", 100), 1), "arms/drop-100/seed-1/metrics.jsonl");
    }
}
