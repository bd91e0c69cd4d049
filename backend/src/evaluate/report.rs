//! Everything measured of one or many models, with intervals: the result of `whence evaluate`.
//!
//! Rates of a single model have intervals over prompts and rollouts; those of an arm over its training seeds too
//! ([`whence_shared::statistics::interval`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use whence_shared::statistics::interval::{Estimate, Measured, pooled_share};
use whence_shared::statistics::outcomes::{ArmOutcomes, Grid, Outcomes, PromptOutcomes, RunOutcomes};
use whence_shared::validation::{Metric, arm_folder};

use super::measure::{Items, Measure, Place};
use super::measures::Kind;
use super::{EvaluateError, Taken};
use crate::behavior::rollouts::endpoint::Usage;
use crate::device::Device;
use crate::files;
use crate::model::ModelFolder;
use crate::progress::{Report, Update};

/// The value of [`Evaluation::format`].
pub const EVALUATION_FORMAT: &str = "whence.evaluation/1";

/// A model to evaluate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The model.
    pub model: PathBuf,
    /// Which run of a study it is; none for a model on its own.
    pub run: Option<RunKey>,
}

/// A run of a study.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RunKey {
    /// Name of the arm.
    pub arm: String,
    /// Pairs edited.
    pub k: u64,
    /// Training seed.
    pub seed: u64,
}

/// What was measured: `evaluation.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// [`EVALUATION_FORMAT`].
    pub format: String,
    /// Level of all intervals.
    pub level: f64,
    /// In the order asked for.
    pub models: Vec<ModelResult>,
    /// Of a study's runs, by name and size.
    pub arms: Vec<ArmResult>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelResult {
    /// The folder's own name.
    pub name: String,
    /// [`ModelFolder::sha256`].
    pub sha256: String,
    /// Which run it is.
    #[serde(flatten)]
    pub run: Option<RunKey>,
    /// In the order of the measures.
    pub measures: Vec<MeasureResult>,
}

/// One measure of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasureResult {
    /// Its name.
    pub name: String,
    /// How it was measured.
    pub kind: Kind,
    /// Prompts.
    pub n_prompts: usize,
    /// Everything that can be said of it.
    pub summary: Vec<MetricResult>,
    /// Single results: as in `MEASURE.items.jsonl`, or counts by prompt of judged rollouts.
    pub items: Items,
    /// What a reader should know.
    pub warnings: Vec<String>,
}

/// A rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MetricResult {
    /// What it counts.
    pub metric: Metric,
    /// In [0, 1].
    pub rate: Measured,
}

/// All seeds of an arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmResult {
    /// Name of the arm.
    pub arm: String,
    /// Pairs edited.
    pub k: u64,
    /// In the order of the measures.
    pub measures: Vec<ArmMeasure>,
}

/// One measure of an arm, by the metric that its section names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmMeasure {
    /// Its name.
    pub name: String,
    /// Mean over seeds and prompts.
    #[serde(flatten)]
    pub result: MetricResult,
    /// Of every seed, in their order.
    pub seed_rates: Vec<f64>,
}

/// How to evaluate.
pub struct EvaluateOptions<'a> {
    /// Where.
    pub device: &'a Device,
    /// Folder of all results.
    pub out: &'a Path,
    /// Decides what is sampled.
    pub seed: u64,
    /// Level of intervals.
    pub level: f64,
    /// Replace what was measured of other models or in another way.
    pub replace: bool,
    /// Progress.
    pub report: Report<'a>,
}

/// What evaluating did.
pub struct Evaluated {
    /// The results, also in `evaluation.json`.
    pub evaluation: Evaluation,
    /// By measure with a judge at an endpoint: what was asked for now, and what had been answered before.
    pub usage: BTreeMap<String, (Usage, Usage)>,
}

impl Subject {
    /// What it is called.
    pub fn title(&self) -> String {
        match &self.run {
            Some(RunKey { arm, k, seed }) => format!("{} seed {seed}", arm_folder(arm, *k)),
            None => self.model.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }
}

/// Measures every model, one after the other, and writes `evaluation.json` and single results below `out`.
///
/// # Errors
///
/// [`EvaluateError`], also where something else was measured before; what was measured by then is kept, and the same call
/// continues from it.
pub fn evaluate(
    subjects: &[Subject],
    measures: &[Measure],
    options: &EvaluateOptions,
) -> Result<Evaluated, EvaluateError> {
    if !options.replace {
        must_lose_nothing(subjects, measures, options.out)?;
    }
    let mut models = Vec::new();
    let mut usage: BTreeMap<String, (Usage, Usage)> = BTreeMap::new();
    for subject in subjects {
        let model = ModelFolder::open(&subject.model)?;
        let folder = match &subject.run {
            Some(RunKey { arm, k, seed }) => options.out.join(arm_folder(arm, *k)).join(format!("seed-{seed}")),
            None => options.out.to_owned(),
        };
        let mut results = Vec::new();
        for measure in measures {
            let replace = options.replace;
            let place = Place { device: options.device, folder: &folder, seed: options.seed, replace };
            let report = |mut update: Update| {
                update.detail = format!("{}, {}", subject.title(), measure.plan.name);
                (options.report)(update);
            };
            let taken = measure.take(&model, &place, &report)?;
            let (asked, cached) = usage.entry(measure.plan.name.clone()).or_default();
            asked.add(taken.asked);
            cached.add(taken.cached);
            results.push(result(measure, taken, options.level));
        }
        models.push(ModelResult {
            name: model.name(),
            sha256: model.sha256()?,
            run: subject.run.clone(),
            measures: results,
        });
    }
    usage.retain(|_, (asked, cached)| asked.n_answers + cached.n_answers > 0);
    let arms = arms(&models, measures, options.level);
    let evaluation = Evaluation { format: EVALUATION_FORMAT.to_owned(), level: options.level, models, arms };
    files::write_json(&options.out.join("evaluation.json"), &evaluation)?;
    Ok(Evaluated { evaluation, usage })
}

/// Refuses to write over an evaluation that has a model or a measure more than this one will.
fn must_lose_nothing(subjects: &[Subject], measures: &[Measure], out: &Path) -> Result<(), EvaluateError> {
    let path = out.join("evaluation.json");
    if !path.exists() {
        return Ok(());
    }
    let lost = |what: String| Err(EvaluateError::Exists { path: path.clone(), what });
    let Some(there) = Earlier::read(&files::read(&path)?) else { return lost("something else".to_owned()) };
    let mut asked = Vec::new();
    for subject in subjects {
        asked.push((ModelFolder::open(&subject.model)?.sha256()?, subject.run.clone()));
    }
    for model in &there.models {
        if !asked.iter().any(|(sha256, run)| *sha256 == model.sha256 && *run == model.run()) {
            let of = model
                .run()
                .map_or_else(String::new, |RunKey { arm, k, seed }| format!(" of {} seed {seed}", arm_folder(&arm, k)));
            return lost(format!("model {} ({}){of}", model.name, model.sha256.get(..12).unwrap_or(&model.sha256)));
        }
        let is_left_out = |name: &&String| measures.iter().all(|measure| measure.plan.name != **name);
        if let Some(name) = model.measures.iter().map(|measure| &measure.name).find(is_left_out) {
            return lost(format!("measure {name:?}"));
        }
    }
    Ok(())
}

/// What an `evaluation.json` is of.
#[derive(Deserialize)]
struct Earlier {
    format: String,
    models: Vec<EarlierModel>,
}

impl Earlier {
    /// None when it is something else.
    fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().filter(|there: &Self| there.format == EVALUATION_FORMAT)
    }
}

/// Of a [`ModelResult`], what tells it from another.
#[derive(Deserialize)]
struct EarlierModel {
    name: String,
    sha256: String,
    arm: Option<String>,
    k: Option<u64>,
    seed: Option<u64>,
    measures: Vec<EarlierMeasure>,
}

impl EarlierModel {
    fn run(&self) -> Option<RunKey> {
        Some(RunKey { arm: self.arm.clone()?, k: self.k?, seed: self.seed? })
    }
}

/// Of a [`MeasureResult`], likewise.
#[derive(Deserialize)]
struct EarlierMeasure {
    name: String,
}

fn result(measure: &Measure, taken: Taken, level: f64) -> MeasureResult {
    let Taken { items, warnings, .. } = taken;
    let summary = items.metrics().iter().map(|&metric| MetricResult { metric, rate: rate(&items, metric, level) });
    MeasureResult {
        name: measure.plan.name.clone(),
        kind: measure.plan.kind,
        n_prompts: measure.n_prompts(),
        summary: summary.collect(),
        items,
        warnings,
    }
}

/// Of one model: every prompt weighs the same, but in what IFEval defines over all instructions.
fn rate(items: &Items, metric: Metric, level: f64) -> Measured {
    let prompts = items.outcomes(metric);
    if matches!(metric, Metric::InstLevelStrictAcc | Metric::InstLevelLooseAcc) {
        return pooled_share(&prompts, level);
    }
    let rates = prompts.iter().map(|prompt| prompt.shown / f64::from(prompt.n_rollouts)).collect();
    let n_rollouts = prompts.iter().map(|prompt| prompt.n_rollouts).collect();
    Estimate::of_rate(&Grid::new(prompts.len(), rates, n_rollouts)).measured(level)
}

/// Arms of the models that are runs.
fn arms(models: &[ModelResult], measures: &[Measure], level: f64) -> Vec<ArmResult> {
    let mut by_arm: BTreeMap<(&str, u64), Vec<(u64, &ModelResult)>> = BTreeMap::new();
    for model in models {
        let Some(RunKey { arm, k, seed }) = &model.run else { continue };
        by_arm.entry((arm.as_str(), *k)).or_default().push((*seed, model));
    }
    let arm = |((arm, k), runs): ((&str, u64), Vec<(u64, &ModelResult)>)| {
        let of_measure = |(i, measure): (usize, &Measure)| {
            let metric = measure.plan.metric();
            let run = |(seed, model): &(u64, &ModelResult)| {
                let prompts: Vec<PromptOutcomes> = model.measures[i].items.outcomes(metric);
                RunOutcomes { seed: *seed, prompts, side_measures: BTreeMap::new() }
            };
            let outcomes = ArmOutcomes { name: arm.to_owned(), k, runs: runs.iter().map(run).collect() };
            let ([grid], _) = Outcomes::grids([&outcomes]).ok()?;
            let result = MetricResult { metric, rate: Estimate::of_rate(&grid).measured(level) };
            Some(ArmMeasure { name: measure.plan.name.clone(), result, seed_rates: grid.seed_rates().to_vec() })
        };
        ArmResult { arm: arm.to_owned(), k, measures: measures.iter().enumerate().filter_map(of_measure).collect() }
    };
    by_arm.into_iter().map(arm).collect()
}
