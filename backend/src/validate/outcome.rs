//! What a run measured, and what all runs say together. Last in the flow of `whence retrain`; `whence validate` alone
//! does it again from the records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use whence_shared::statistics::compare::{CompareOptions, compare};
use whence_shared::statistics::outcomes::{ArmOutcomes, Outcomes, PromptOutcomes, RunOutcomes};
use whence_shared::validation::{MeasureView, Metric};
pub use whence_shared::validation::{QuotedDiagnosis, REPORT_FORMAT, RunView, ValidationReport, arm_folder};

use super::{ValidateError, arms};
use crate::attribute;
use crate::edit;
use crate::files;
use crate::study::Study;

/// The value of [`RunRecord::format`].
pub const RUN_FORMAT: &str = "whence.run/1";

/// One trained model and what was measured of it: `run.json`. Holds no time, so that the same run gives the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RUN_FORMAT`].
    pub format: String,
    /// Name of the arm.
    pub arm: String,
    /// Pairs edited.
    pub k: u64,
    /// Training seed.
    pub seed: u64,
    /// The edit set of the study that said which pairs; none where they were drawn or nothing was edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit_set: Option<String>,
    /// Everything that decided the result, by name: hashes and settings.
    pub inputs: BTreeMap<String, String>,
    /// Pairs trained on.
    pub n_pairs: usize,
    /// Optimizer steps.
    pub n_steps: usize,
    /// Mean loss of the last tenth of the steps.
    pub final_loss: f32,
    /// Mean share of pairs with the chosen response preferred, over the last tenth of the steps.
    pub final_accuracy: f32,
    /// SHA-256 of the trained model's weights and configuration.
    pub model_sha256: String,
    /// What was measured, in the plan's order; the first is the behavior.
    pub measures: Vec<Measured>,
}

/// One measure of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its name in the plan.
    pub name: String,
    /// What its counts are of.
    #[serde(default)]
    pub metric: Metric,
    /// Counts by prompt, in the order of the prompts.
    pub prompts: Vec<PromptOutcomes>,
}

impl Measured {
    /// Share that counts, in [0, 1]; 0 without rollouts.
    pub fn rate(&self) -> f64 {
        let n: f64 = self.prompts.iter().map(|prompt| f64::from(prompt.n_rollouts)).sum();
        let shown: f64 = self.prompts.iter().map(|prompt| prompt.shown).sum();
        if n > 0.0 { shown / n } else { 0.0 }
    }
}

/// Reads a run's record; `None` when the run is not complete.
///
/// # Errors
///
/// When it is there and cannot be read.
pub fn read_record(path: &Path) -> Result<Option<RunRecord>, ValidateError> {
    if !path.is_file() {
        return Ok(None);
    }
    let wrong = |reason: String| ValidateError::Record { path: path.to_owned(), reason };
    let record: RunRecord = serde_json::from_slice(&files::read(path)?).map_err(|error| wrong(error.to_string()))?;
    if record.format != RUN_FORMAT {
        return Err(wrong(format!("expected format {RUN_FORMAT:?}, got {:?}", record.format)));
    }
    Ok(Some(record))
}

/// Every complete run of a study, by arm and seed.
///
/// # Errors
///
/// When a folder cannot be listed or a record cannot be read.
pub fn records(study: &Study) -> Result<Vec<RunRecord>, ValidateError> {
    let mut records = Vec::new();
    for (arm, seed) in study.runs()? {
        records.extend(read_record(&study.run(&arm, seed).join("run.json"))?);
    }
    records.sort_by(|a, b| (&a.arm, a.k, a.seed).cmp(&(&b.arm, b.k, b.seed)));
    Ok(records)
}

/// The outcomes of the behavior; other measures go beside it.
pub fn outcomes(records: &[RunRecord]) -> Outcomes {
    let mut arms: BTreeMap<(&str, u64), Vec<RunOutcomes>> = BTreeMap::new();
    for record in records {
        let Some((behavior, others)) = record.measures.split_first() else { continue };
        let side_measures = others.iter().map(|measure| (measure.name.clone(), measure.prompts.clone())).collect();
        let run = RunOutcomes { seed: record.seed, prompts: behavior.prompts.clone(), side_measures };
        arms.entry((&record.arm, record.k)).or_default().push(run);
    }
    let arm = |((name, k), runs): ((&str, u64), Vec<RunOutcomes>)| ArmOutcomes { name: name.to_owned(), k, runs };
    Outcomes { arms: arms.into_iter().map(arm).collect() }
}

/// Compares all complete runs of a study and writes `report.json`.
///
/// # Errors
///
/// When there is no complete run, none of the baseline, or a file cannot be read or written.
pub fn validate(study: &Study, options: &CompareOptions) -> Result<ValidationReport, ValidateError> {
    let records = records(study)?;
    let Some(first) = records.first() else {
        return Err(ValidateError::NoRuns { study: study.root().to_owned() });
    };
    let mut comparison = compare(&outcomes(&records), options)?;
    let diagnosis = diagnosis(study, &records)?;
    if let Some(QuotedDiagnosis { of, verdict }) = &diagnosis {
        comparison.conclusion.expect(of, verdict);
    }
    let report = ValidationReport {
        format: REPORT_FORMAT.to_owned(),
        behavior: first.measures.first().map_or_else(String::new, |measure| measure.name.clone()),
        measures: first.measures.iter().map(|of| MeasureView { name: of.name.clone(), metric: of.metric }).collect(),
        comparison,
        runs: records.iter().map(view).collect(),
        diagnosis,
    };
    files::write_json(&study.report(), &report)?;
    Ok(report)
}

/// What has become of edit sets since arms were trained on them, a sentence per arm.
///
/// # Errors
///
/// When a folder cannot be listed or a record cannot be read.
pub fn changed_edits(study: &Study) -> Result<BTreeSet<String>, ValidateError> {
    let mut notes = BTreeSet::new();
    for RunRecord { arm, k, edit_set, inputs, .. } in records(study)? {
        let Some(name) = edit_set else { continue };
        let set = study.edit(&name).exists().then(|| edit::load(study, &name).and_then(|set| set.apply(set.n_pairs)));
        let what = match set {
            Some(Ok(decisions)) if inputs.get("edit") == Some(&arms::sha256(&decisions)) => continue,
            Some(Ok(_)) => "was replaced since".to_owned(),
            Some(Err(error)) => format!("cannot be used any more ({error})"),
            None => "is gone".to_owned(),
        };
        notes.insert(format!(
            "arm {} was trained on edit set {name:?}, which {what}: its rates are of the edits as they were; `whence retrain \
             --replace` trains it again",
            arm_folder(&arm, k)
        ));
    }
    Ok(notes)
}

/// The diagnosis of the ranking that an arm's edit set was made from, as long as it is of the study's pairs; an arm finds
/// its edit set by name.
fn diagnosis(study: &Study, records: &[RunRecord]) -> Result<Option<QuotedDiagnosis>, ValidateError> {
    let names = study.edit_names()?;
    for name in names.iter().filter(|name| records.iter().any(|record| record.arm == **name)) {
        let set = edit::load(study, name)?;
        let ranking = set.origin.from.strip_prefix("rankings/").and_then(|path| path.strip_suffix(".parquet"));
        let Some((behavior, layer)) = ranking.and_then(|ranking| ranking.split_once("/layer-")) else { continue };
        let Ok(layer) = layer.parse() else { continue };
        if let Some(found) = attribute::diagnosis::read(study, behavior, layer, &set.pairs_sha256)? {
            return Ok(Some(QuotedDiagnosis { of: found.of, verdict: found.verdict }));
        }
    }
    Ok(None)
}

fn view(record: &RunRecord) -> RunView {
    RunView {
        arm: record.arm.clone(),
        k: record.k,
        seed: record.seed,
        n_pairs: record.n_pairs,
        final_loss: record.final_loss,
        rates: record.measures.iter().map(|measure| (measure.name.clone(), measure.rate())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_outcomes_with_what_else_was_measured_beside_them() {
        let cell = |prompt: &str, n_rollouts, shown| PromptOutcomes { prompt: prompt.into(), n_rollouts, shown };
        let measure = |name: &str, prompts| Measured { name: name.into(), metric: Metric::Rate, prompts };
        let record = |arm: &str, k, seed| RunRecord {
            format: RUN_FORMAT.into(),
            arm: arm.into(),
            k,
            seed,
            edit_set: None,
            inputs: BTreeMap::new(),
            n_pairs: 1,
            n_steps: 1,
            final_loss: 0.0,
            final_accuracy: 0.0,
            model_sha256: String::new(),
            measures: vec![
                measure("behavior", vec![cell("a", 2, 1.0), cell("b", 1, 1.0)]),
                measure("knowledge", vec![cell("q", 1, 0.0)]),
            ],
        };
        let outcomes = outcomes(&[record("baseline", 0, 1), record("baseline", 0, 2), record("drop", 5, 1)]);
        assert_eq!(outcomes.arms.iter().map(|arm| arm.runs.len()).collect::<Vec<_>>(), [2, 1]);
        let run = &outcomes.arms[1].runs[0];
        assert_eq!((run.prompts.len(), &run.side_measures["knowledge"]), (2, &vec![cell("q", 1, 0.0)]));
        let view = view(&record("drop", 5, 1));
        assert_eq!(view.rates, [("behavior".to_owned(), 2.0 / 3.0), ("knowledge".to_owned(), 0.0)].into());
    }
}
