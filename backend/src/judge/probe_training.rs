//! Training a probe: from labelled rollouts to a judge, and how far it agrees with labels on prompts that it has not seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use whence_shared::logistic::{self, Examples, STRENGTHS, Trained};
use whence_shared::statistics::agreement::{Agreement, Judged};

use super::probe::{FORMAT, ProbeRecord, Reader, write_weights};
use super::{JudgeError, THRESHOLD, labels};
use crate::behavior::rollouts;
use crate::files;
use crate::progress::{Report, Update};

/// What to learn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingOptions {
    /// Name of the judge.
    pub name: String,
    /// JSONL of rollouts.
    pub rollouts: PathBuf,
    /// Labels of some or all of them, as [`labels`] reads them; another judge's verdicts are such a file.
    pub labels: PathBuf,
    /// Folder to write.
    pub out: PathBuf,
    /// Decides which prompts are held out together.
    pub seed: u64,
    /// Replace a probe that was trained in another way, or write into a folder that holds something else.
    pub replace: bool,
}

/// What training found.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedProbe {
    /// Also in `probe.json`.
    pub record: ProbeRecord,
    /// What a reader should know.
    pub warnings: Vec<String>,
}

/// Level of the intervals of the held-out agreement.
const LEVEL: f64 = 0.95;

/// Trains a probe on labelled rollouts and writes it.
///
/// # Errors
///
/// [`JudgeError`]: rollouts or labels that cannot be read, a model that cannot, labels that nothing can be learned from, or a
/// folder that holds something else.
pub fn train(options: &TrainingOptions, reader: &Reader, report: Report) -> Result<TrainedProbe, JudgeError> {
    let n_layers = reader.model.config.num_hidden_layers;
    if reader.layer > n_layers {
        return Err(crate::model::ModelError::Layer { layer: reader.layer, n_layers }.into());
    }
    if !options.replace {
        must_be_the_same(options, reader)?;
    }
    let all = rollouts::read(&options.rollouts)?;
    let labelled = labels::of_rollouts(&options.labels, &all)?;
    let asked: Vec<_> = labelled.iter().map(|&(i, _)| all[i].clone()).collect();
    let vectors = reader.read(&asked, report)?;
    let mut examples = Examples { rows: Vec::new(), labels: Vec::new(), groups: Vec::new(), n_columns: 0 };
    for ((rollout, (_, label)), vector) in asked.iter().zip(&labelled).zip(&vectors) {
        let Some(vector) = vector else { continue };
        examples.n_columns = vector.len();
        examples.rows.extend(vector.iter().map(|x| f64::from(*x)));
        examples.labels.push(*label);
        examples.groups.push(rollout.prompt_id.clone());
    }
    let failed = |source| JudgeError::Learning { path: options.labels.clone(), source };
    let n_folds = logistic::n_folds(&examples);
    report(Update { stage: "training", done: 0, total: 1, unit: "probes", detail: String::new() });
    // Each fold is a function of the examples alone: the number of threads decides nothing.
    let (probe, held_out) = rayon::join(
        || logistic::train(&examples, options.seed),
        || {
            let fold = |fold| logistic::held_out(&examples, options.seed, fold);
            (0..n_folds).into_par_iter().with_max_len(1).map(fold).collect::<Result<Vec<_>, _>>()
        },
    );
    let (probe, held_out) = (probe.map_err(failed)?, held_out.map_err(failed)?);
    report(Update { stage: "training", done: 1, total: 1, unit: "probes", detail: String::new() });
    let judged = held_out.into_iter().flatten();
    let judged = judged.map(|(i, probability)| Judged { score: 100.0 * probability, label: examples.labels[i] });
    let agreement =
        Agreement::of(&judged.collect::<Vec<_>>(), THRESHOLD, LEVEL).expect("probabilities of labelled rows");
    let record = record(options, reader, &examples, &probe, agreement)?;
    files::write(&options.out.join("probe.safetensors"), &write_weights(&probe.standard, &probe.fit))?;
    // Last: a folder without it is no probe.
    files::write_json(&options.out.join("probe.json"), &record)?;
    let n_empty = vectors.iter().filter(|vector| vector.is_none()).count();
    Ok(TrainedProbe { warnings: warnings(&record, &probe, n_empty), record })
}

/// Refuses to overwrite anything but a probe that was trained in the same way.
fn must_be_the_same(options: &TrainingOptions, reader: &Reader) -> Result<(), JudgeError> {
    let path = &options.out;
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    let Some(there) = read_record(path) else {
        // Weights alone are what is left of a run that was killed.
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name != "probe.safetensors" && !name.starts_with('.'));
        return match names.into_iter().min() {
            Some(name) => Err(JudgeError::NoProbe { path: path.clone(), name }),
            None => Ok(()),
        };
    };
    let encoder = reader.encoder()?;
    let show = |name: &str, hash: &str| format!("{name} ({})", hash.get(..12).unwrap_or(hash));
    let of_file = |path: &Path| Ok::<_, JudgeError>(show("file", &files::sha256_of_file(path)?));
    let seed = there.seed.unwrap_or(options.seed);
    for (field, there, asked) in [
        ("name", there.name.clone(), options.name.clone()),
        ("model", show(&there.model, &there.model_sha256), show(&reader.model.name(), &reader.model.sha256()?)),
        ("template", show(&there.template, &there.template_sha256), show(encoder.name(), &encoder.template_sha256())),
        ("layer", there.layer.to_string(), reader.layer.to_string()),
        ("pooling", there.pooling.clone(), reader.pooling.to_string()),
        ("rollouts", show("file", &there.rollouts_sha256), of_file(&options.rollouts)?),
        ("labels", show("file", &there.labels_sha256), of_file(&options.labels)?),
        ("seed", seed.to_string(), options.seed.to_string()),
    ] {
        if there != asked {
            return Err(JudgeError::OtherProbe { path: path.clone(), field, there, asked });
        }
    }
    Ok(())
}

/// What a folder says of its probe; nothing where it has none of this version.
fn read_record(folder: &Path) -> Option<ProbeRecord> {
    let record: ProbeRecord = serde_json::from_slice(&files::read(&folder.join("probe.json")).ok()?).ok()?;
    (record.format == FORMAT).then_some(record)
}

fn record(
    options: &TrainingOptions,
    reader: &Reader,
    examples: &Examples,
    probe: &Trained,
    held_out: Agreement,
) -> Result<ProbeRecord, JudgeError> {
    let encoder = reader.encoder()?;
    let sha256 = |path: &Path| files::sha256_of_file(path);
    Ok(ProbeRecord {
        format: FORMAT.to_owned(),
        name: options.name.clone(),
        model: reader.model.name(),
        model_sha256: reader.model.sha256()?,
        template: encoder.name().to_owned(),
        template_sha256: encoder.template_sha256(),
        layer: reader.layer,
        pooling: reader.pooling.to_string(),
        d_model: examples.n_columns,
        c: probe.c,
        losses: STRENGTHS.iter().copied().zip(probe.losses.iter().copied()).collect(),
        n_responses: examples.n_rows(),
        n_prompts: examples.groups.iter().collect::<BTreeSet<_>>().len(),
        seed: Some(options.seed),
        rollouts_sha256: sha256(&options.rollouts)?,
        labels_sha256: sha256(&options.labels)?,
        held_out,
    })
}

fn warnings(record: &ProbeRecord, probe: &Trained, n_empty: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if n_empty > 0 {
        warnings.push(format!("{n_empty} labelled responses are empty and were left out"));
    }
    if probe.is_at_edge() {
        warnings.push(format!("the penalty chosen, C = {:e}, is the last that was tried on its side", probe.c));
    }
    if record.held_out.kappa.is_none_or(|kappa| kappa.low <= 0.0) {
        warnings.push(format!(
            "probe {:?} is not shown to agree with the labels better than chance on prompts that it has not seen: try \
             another layer, or label more prompts",
            record.name
        ));
    }
    warnings
}
