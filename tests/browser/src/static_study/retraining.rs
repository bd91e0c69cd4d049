//! What retraining would have left in the study: outcomes drawn from a seed, compared by the functions that
//! `whence validate` uses, and curves.

use std::collections::BTreeMap;

use serde_json::json;
use whence_shared::statistics::compare::{CompareOptions, compare};
use whence_shared::statistics::outcomes::{ArmOutcomes, Outcomes, PromptOutcomes, RunOutcomes};
use whence_shared::statistics::random::Random;
use whence_shared::validation::{
    MeasureView, Metric, REPORT_FORMAT, RUNS_FORMAT, RunProgress, RunStage, RunView, RunsView, ValidationReport,
    arm_folder, metrics_path,
};

use super::StaticStudy;

/// Name, pairs edited, rate that is aimed at.
const ARMS: [(&str, u64, f64); 10] = [
    ("baseline", 0, 0.62),
    ("drop", 100, 0.48),
    ("drop", 300, 0.22),
    ("drop", 1000, 0.06),
    ("drop-random", 100, 0.62),
    ("drop-random", 300, 0.6),
    ("drop-random", 1000, 0.56),
    ("drop-bottom", 300, 0.63),
    ("switch", 300, 0.3),
    ("switch-random", 300, 0.52),
];
const N_PROMPTS: usize = 24;
const N_STEPS: usize = 120;

impl StaticStudy {
    /// A report of ten arms with `n_seeds` seeds each.
    ///
    /// # Panics
    ///
    /// Panics when the outcomes cannot be compared, which they can.
    pub fn report(n_seeds: u64) -> ValidationReport {
        let mut random = Random::new(7);
        let prompts: Vec<f64> = (0..N_PROMPTS).map(|_| 0.14 * random.normal()).collect();
        let mut run = |seed: u64, rate: f64| {
            let shift = 0.04 * random.normal();
            let cell = |(i, of_prompt): (usize, &f64)| {
                let shown = (0..8).filter(|_| random.uniform() < rate + shift + of_prompt * rate).count();
                PromptOutcomes { prompt: format!("prompt-{i}"), n_rollouts: 8, shown: shown as f64 }
            };
            let prompts = prompts.iter().enumerate().map(cell).collect();
            let mut of_side = |rate: f64| -> Vec<PromptOutcomes> {
                let mut count = |chance: f64| f64::from(u8::from(random.uniform() < chance));
                let cell = |i| PromptOutcomes { prompt: format!("side-{i}"), n_rollouts: 1, shown: count(rate) };
                (0..40).map(cell).collect()
            };
            let side_measures = BTreeMap::from(
                [("knowledge", 0.3 + 0.5 * rate), ("over-refusal", 0.1)]
                    .map(|(name, rate)| (name.to_owned(), of_side(rate))),
            );
            RunOutcomes { seed, prompts, side_measures }
        };
        let arm = |(name, k, rate): (&str, u64, f64)| ArmOutcomes {
            name: name.to_owned(),
            k,
            runs: (1..=n_seeds).map(|seed| run(seed, rate)).collect(),
        };
        let outcomes = Outcomes { arms: ARMS.map(arm).into() };
        let options = CompareOptions { n_bootstrap: 100, n_draws: 999, ..CompareOptions::default() };
        let view = |arm: &ArmOutcomes, run: &RunOutcomes| {
            let shown: f64 = run.prompts.iter().map(|prompt| prompt.shown).sum();
            let share =
                |cells: &[PromptOutcomes]| cells.iter().map(|cell| cell.shown).sum::<f64>() / cells.len() as f64;
            let sides = run.side_measures.iter().map(|(name, cells)| (name.clone(), share(cells)));
            let mut rates: BTreeMap<String, f64> = sides.collect();
            rates.insert("compliance".into(), shown / (8 * N_PROMPTS) as f64);
            let (arm, k, seed) = (arm.name.clone(), arm.k, run.seed);
            RunView { arm, k, seed, n_pairs: 5000 - k as usize, final_loss: 0.41, rates }
        };
        ValidationReport {
            format: REPORT_FORMAT.into(),
            behavior: "compliance".into(),
            measures: [("compliance", Metric::Rate), ("knowledge", Metric::AccNorm), ("over-refusal", Metric::Rate)]
                .map(|(name, metric)| MeasureView { name: name.into(), metric })
                .into(),
            comparison: compare(&outcomes, &options).expect("a baseline, prompts and seeds"),
            runs: outcomes.arms.iter().flat_map(|arm| arm.runs.iter().map(move |run| view(arm, run))).collect(),
            diagnosis: None,
        }
    }

    /// Writes report.json and the curves of its runs.
    ///
    /// # Panics
    ///
    /// Panics when a file cannot be written.
    pub fn write_report(&self, report: &ValidationReport) {
        self.write("report.json", &serde_json::to_vec(report).unwrap());
        for (i, run) in report.runs.iter().enumerate() {
            let mut random = Random::new(i as u64);
            let step = |step: usize| {
                let done = step as f64 / N_STEPS as f64;
                let loss = 0.4 + 0.3 * (-4.0 * done).exp() + 0.03 * random.normal();
                let accuracy = (0.9 - 0.4 * (-5.0 * done).exp() + 0.04 * random.normal()).clamp(0.0, 1.0);
                format!("{}\n", json!({ "step": step, "loss": loss, "rewards/accuracies": accuracy }))
            };
            let lines: String = (1..=N_STEPS).map(step).collect();
            self.write(&metrics_path(&arm_folder(&run.arm, run.k), run.seed), lines.as_bytes());
        }
    }

    /// Writes runs.json, which only a server has otherwise: the first `n_complete` runs measured, the next one training.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be written.
    pub fn write_runs(&self, report: &ValidationReport, n_complete: usize) {
        self.write_runs_as(report, n_complete, RunStage::Training);
    }

    /// As [`StaticStudy::write_runs`], when whatever trained the next one was killed.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be written.
    pub fn write_stopped_runs(&self, report: &ValidationReport, n_complete: usize) {
        self.write_runs_as(report, n_complete, RunStage::Stopped);
    }

    fn write_runs_as(&self, report: &ValidationReport, n_complete: usize, next: RunStage) {
        let run = |(i, run): (usize, &RunView)| {
            let (stage, n_steps) = match i.cmp(&n_complete) {
                std::cmp::Ordering::Less => (RunStage::Complete, N_STEPS),
                std::cmp::Ordering::Equal => (next, 31),
                std::cmp::Ordering::Greater => (RunStage::Waiting, 0),
            };
            RunProgress { folder: arm_folder(&run.arm, run.k), seed: run.seed, stage, n_steps }
        };
        let runs = report.runs.iter().enumerate().map(run).collect();
        let is_under_way = Some(next == RunStage::Training);
        let view = RunsView { format: RUNS_FORMAT.into(), runs, is_under_way };
        self.write("runs.json", &serde_json::to_vec(&view).unwrap());
    }
}
