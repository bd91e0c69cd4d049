//! The queue: every arm with every training seed, one after the other, each from edited pairs to counted verdicts. Second
//! in the flow of `whence retrain`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::DType;
use serde::{Deserialize, Serialize};
use whence_shared::pair::Message;
use whence_shared::statistics::compare::CompareOptions;
use whence_shared::statistics::outcomes::{BASELINE, OutcomesError};

use super::ValidateError;
use super::arms::{self, ArmEdits};
use super::lock::ArmsLock;
use super::metrics_file::MetricsFile;
use super::outcome::{self, Measured, RUN_FORMAT, RunRecord, ValidationReport, arm_folder, read_record};
use super::plan::Plan;
use super::progress::QueueFile;
use crate::behavior::rollouts::endpoint::Usage;
use crate::behavior::rollouts::settings::{Difference, Settings};
use crate::data::pairs::PairFile;
use crate::data::template::TemplateChoice;
use crate::data::tokens::TextEncoder;
use crate::device::Device;
use crate::edit::Decision;
use crate::evaluate::{Measure, MeasurePlan, Place};
use crate::files::{self, Context};
use crate::judge::Judge;
use crate::judge::endpoint::Prices;
use crate::judge::file::Surroundings;
use crate::model::lora::{self, LoraConfig};
use crate::model::{CausalLm, ModelFolder, folder, hub};
use crate::progress::{Report, Update};
use crate::study::{Study, inputs_hash};
use crate::train::checkpoint::CheckpointError;
use crate::train::dpo::{DpoConfig, SequencePair, optimize_preferences};
use crate::train::sequences::Sequence;
use crate::train::{Checkpoints, ReferenceLogps, ReferenceTable, Run, StepMetrics, TrainError, Trained};

/// Pairs that the speed of this machine is measured on.
const N_PROBED: usize = 64;
/// What a step costs, in passes through the model without gradients: there, and twice that back, once for what goes in
/// and once for the weights.
const PASSES_PER_STEP: f64 = 3.0;
/// The same where weights are frozen.
const PASSES_PER_ADAPTED_STEP: f64 = 2.0;
/// Files beside the weights that make a model folder whole.
const TEXT_FILES: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
];

/// How a plan is carried out.
pub struct RetrainOptions<'a> {
    /// Where.
    pub device: &'a Device,
    /// Train runs again that were made from something else.
    pub replace: bool,
    /// Only say what is ahead.
    pub dry_run: bool,
    /// Told what is ahead, before it begins.
    pub on_estimate: &'a (dyn Fn(&Estimate) + Sync),
    /// Told each run that is complete, those of earlier calls included.
    pub on_run: &'a (dyn Fn(&RunRecord, bool) + Sync),
    /// Asked before every optimizer step; true ends the queue, which can be taken up again.
    pub is_cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Progress.
    pub report: Report<'a>,
}

/// What is ahead.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Models to train in all.
    pub n_runs: usize,
    /// Of these, complete already.
    pub n_done: usize,
    /// Of these, there and made from something else: refused, or trained again where that is asked for.
    pub n_other: usize,
    /// What differs in the first of them.
    pub difference: Option<String>,
    /// Edit sets of the arms' names that are there with other edits: refused or replaced likewise.
    pub other_sets: Vec<String>,
    /// Pairs that can be trained on.
    pub n_pairs: usize,
    /// Pairs of which a side does not fit into the model, and which no arm trains on.
    pub n_left_out: usize,
    /// Tokens that the baseline trains on, all epochs.
    pub n_tokens: usize,
    /// Numbers in the model, and how many of them are trained; not known when nothing is left to train.
    pub n_trained: Option<(usize, usize)>,
    /// Training of all runs that are not complete, from the speed of a pass over a few pairs; without the rollouts.
    pub training: Duration,
}

/// What a call did.
#[derive(Debug)]
pub struct Retrained {
    /// Every run of the plan, by seed and then in the order of the arms.
    pub runs: Vec<RunRecord>,
    /// The comparison of all complete runs of the study, also in `report.json`.
    pub report: ValidationReport,
    /// What a reader should know.
    pub warnings: Vec<String>,
    /// Of every judge at an endpoint, what it answered.
    pub judges: Vec<JudgeUse>,
}

/// What a judge at an endpoint answered in a call.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeUse {
    /// The measure.
    pub measure: String,
    /// What it asks for.
    pub prices: Prices,
    /// Asked for now.
    pub asked: Usage,
    /// Answered before.
    pub cached: Usage,
}

/// Carries out a plan; `None` when only asked what is ahead.
///
/// # Errors
///
/// [`ValidateError`]; what is complete by then is kept, and the same call continues from it.
pub fn retrain(study: &Study, plan: &Plan, options: &RetrainOptions) -> Result<Option<Retrained>, ValidateError> {
    let _lock = if options.dry_run { None } else { Some(ArmsLock::take(study)?) };
    let queue = Queue::open(study, plan, options)?;
    let mut notes = Notes::of(&queue.measures);
    let mut arms: Vec<Arm> = Vec::new();
    for &seed in &plan.seeds {
        arms.extend(queue.edits.iter().map(|edits| queue.arm(edits, seed)));
    }
    (options.on_estimate)(&queue.estimate(&arms)?);
    if options.dry_run {
        return Ok(None);
    }

    for edits in &queue.edits {
        edits.store(study, options.replace)?;
    }
    let planned = arms.iter().map(|arm| (arm.folder(), arm.seed)).collect();
    QueueFile { runs: planned }.write(study)?;
    let mut runs = Vec::new();
    for arm in &arms {
        let (record, is_new) = queue.run(arm, &mut notes)?;
        (options.on_run)(&record, is_new);
        runs.push(record);
        if is_new {
            // What is known so far can be looked at while the rest is trained, once there is something to compare with.
            match outcome::validate(study, &CompareOptions::default()) {
                Err(ValidateError::Outcomes(OutcomesError::NoBaseline)) => {}
                outcome => drop(outcome?),
            }
        }
    }
    let Notes { mut warnings, judges } = notes;
    warnings.sort();
    warnings.dedup();
    Ok(Some(Retrained { runs, report: outcome::validate(study, &CompareOptions::default())?, warnings, judges }))
}

/// Everything that all runs share.
struct Queue<'a> {
    study: &'a Study,
    plan: &'a Plan,
    options: &'a RetrainOptions<'a>,
    folder: ModelFolder,
    /// By row of the study; none where a side does not fit.
    pairs: Vec<Option<SequencePair>>,
    /// Of every arm.
    edits: Vec<ArmEdits>,
    reference: ReferenceTable,
    /// What decides every run.
    inputs: BTreeMap<String, String>,
    measures: Vec<Measure>,
}

/// What is to be told of all runs at the end.
struct Notes {
    warnings: Vec<String>,
    judges: Vec<JudgeUse>,
}

impl Notes {
    fn of(measures: &[Measure]) -> Self {
        let judge_use = |measure: &Measure| match measure.judge() {
            Some(Judge::Endpoint(judge)) => {
                let (asked, cached) = (Usage::default(), Usage::default());
                Some(JudgeUse { measure: measure.plan.name.clone(), prices: judge.prices, asked, cached })
            }
            _ => None,
        };
        Self { warnings: Vec::new(), judges: measures.iter().filter_map(judge_use).collect() }
    }
}

/// An arm with one training seed.
struct Arm {
    name: String,
    k: u64,
    seed: u64,
    edit_set: Option<String>,
    decisions: Vec<Decision>,
    /// Everything that decides the trained model.
    inputs: BTreeMap<String, String>,
    root: PathBuf,
}

impl Arm {
    /// Of the arm, for people.
    fn folder(&self) -> String {
        arm_folder(&self.name, self.k)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// What training left, if it did, and in what it was made otherwise than this arm asks for.
    fn trained_record(&self) -> Result<Option<(TrainedRecord, Option<String>)>, ValidateError> {
        let path = self.path("trained.json");
        if !path.is_file() {
            return Ok(None);
        }
        let there: TrainedRecord = serde_json::from_slice(&files::read(&path)?)
            .map_err(|error| ValidateError::Record { path, reason: error.to_string() })?;
        let difference = difference(&there.inputs, &self.inputs);
        Ok(Some((there, difference)))
    }
}

/// The first of the inputs in which two runs differ; of settings, the first of them with both values.
fn difference(there: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    let name = there.keys().chain(now.keys()).find(|name| there.get(*name) != now.get(*name))?;
    let fields = |text: &String| serde_json::from_str::<Settings>(text).ok();
    let (before, after) = (there.get(name), now.get(name));
    Some(match (before.and_then(fields), after.and_then(fields)) {
        (Some(before), Some(after)) => match Difference::between(&before, &after) {
            Some(Difference { field, there, asked }) => format!("{name} differs: {field} {there}, now {asked}"),
            None => format!("{name} differs"),
        },
        (Some(_), None) => format!("{name} differs: given there, now left out"),
        (None, Some(_)) => format!("{name} differs: left out there, now given"),
        (None, None) if name == "edit" => format!("{name} differs: other pairs are edited now"),
        (None, None) => format!("{name} differs"),
    })
}

/// What training left, before anything is measured: `trained.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct TrainedRecord {
    inputs: BTreeMap<String, String>,
    n_pairs: usize,
    n_steps: usize,
    final_loss: f32,
    final_accuracy: f32,
    model_sha256: String,
}

impl<'a> Queue<'a> {
    fn open(study: &'a Study, plan: &'a Plan, options: &'a RetrainOptions) -> Result<Self, ValidateError> {
        let folder = ModelFolder::open(&plan.model)?;
        if let Some(lora) = &plan.lora {
            lora.check_modules(&folder.projections()?)?;
        }
        let encoder = TextEncoder::new(&folder, &TemplateChoice::default(), folder.config.max_position_embeddings)?;
        let file = PairFile::open(&study.pairs())?;
        let mut pairs = Vec::with_capacity(file.len());
        for pair in file.iter() {
            let pair = pair?;
            let side = |response: &[Message]| sequence(&encoder, &pair.prompt, response);
            let sides = side(&pair.chosen).zip(side(&pair.rejected));
            pairs.push(sides.map(|(chosen, rejected)| SequencePair {
                id: pair.id.clone(),
                chosen,
                rejected,
                is_switched: false,
            }));
            if pairs.len() % 1000 == 0 || pairs.len() == file.len() {
                let (done, total) = (pairs.len() as u64, file.len() as u64);
                (options.report)(Update { stage: "tokens", done, total, unit: "pairs", detail: String::new() });
            }
        }
        let inputs: BTreeMap<String, String> =
            [("pairs", file.sha256()?), ("model", folder.sha256()?), ("template", encoder.template_sha256())]
                .map(|(name, value)| (name.to_owned(), value))
                .into();
        let cache = study.judge_cache();
        let surroundings = Surroundings { cache: &cache, model: Some(&plan.model), device: options.device };
        let open = |measure: &MeasurePlan| {
            Measure::open(measure, &surroundings).map_err(|source| ValidateError::PlannedMeasure {
                path: plan.path.clone(),
                measure: measure.name.clone(),
                source: Box::new(source),
            })
        };
        let measures = plan.measures.iter().map(open).collect::<Result<_, _>>()?;
        let mut edits: Vec<ArmEdits> = Vec::new();
        for planned in arms::planned(plan) {
            let arm = planned.edits(study, pairs.len(), options.report)?;
            if edits.iter().any(|other| other.folder() == arm.folder()) {
                return Err(ValidateError::RepeatedArm { arm: arm.folder() });
            }
            edits.push(arm);
        }
        let reference = ReferenceTable::default();
        let mut queue = Self { study, plan, options, folder, pairs, edits, reference, inputs, measures };
        queue.reference = queue.reference_logps()?;
        Ok(queue)
    }

    /// The reference model's log-probabilities, computed once for all arms.
    fn reference_logps(&self) -> Result<ReferenceTable, ValidateError> {
        let hash = inputs_hash(&self.inputs.values().map(String::as_str).collect::<Vec<_>>());
        let path = self.study.arms().join(format!("reference-logps-{}.parquet", &hash[..12]));
        if path.is_file() {
            return Ok(ReferenceTable::read(&path)?);
        }
        let pairs: Vec<SequencePair> = self.pairs.iter().flatten().cloned().collect();
        let model = self.folder.load_as(self.options.device, DType::F32)?;
        let logps =
            ReferenceLogps::compute(&model, &pairs, self.options.report).map_err(ValidateError::ReferencePass)?;
        let table = ReferenceTable::of(&pairs, &logps);
        table.write(&path, &hash)?;
        Ok(table)
    }

    fn estimate(&self, arms: &[Arm]) -> Result<Estimate, ValidateError> {
        let (n_runs, mut n_done, mut differences) = (arms.len(), 0, Vec::new());
        for arm in arms {
            n_done += usize::from(self.is_complete(arm)?);
            differences.extend(arm.trained_record()?.and_then(|(_, difference)| difference));
        }
        let there: Vec<&SequencePair> = self.pairs.iter().flatten().collect();
        let n_tokens = |pairs: &[&SequencePair]| -> usize {
            pairs.iter().map(|pair| pair.chosen.ids.len() + pair.rejected.ids.len()).sum()
        };
        let n_epochs = self.plan.dpo.train.num_train_epochs;
        let (mut training, mut n_trained) = (Duration::ZERO, None);
        if n_done < n_runs && !there.is_empty() {
            // Spread over the data, so that lengths are typical.
            let step = there.len().div_ceil(N_PROBED);
            let probed: Vec<&SequencePair> = there.iter().copied().step_by(step).collect();
            let model = self.start(0)?;
            n_trained = Some((model.num_params(), model.n_trained()));
            let pairs: Vec<SequencePair> = probed.iter().map(|pair| (*pair).clone()).collect();
            let start = Instant::now();
            ReferenceLogps::compute(&model, &pairs, &crate::progress::silent).map_err(ValidateError::ReferencePass)?;
            let secs_per_token = start.elapsed().as_secs_f64() / n_tokens(&probed).max(1) as f64;
            let passes = if self.plan.lora.is_some() { PASSES_PER_ADAPTED_STEP } else { PASSES_PER_STEP };
            let passes = passes + f64::from(u8::from(self.plan.dpo.train.activation_checkpointing));
            let n_passes = passes * (n_epochs * (n_runs - n_done)) as f64;
            training = Duration::from_secs_f64(secs_per_token * n_tokens(&there) as f64 * n_passes);
        }
        Ok(Estimate {
            n_runs,
            n_done,
            n_other: differences.len(),
            difference: differences.into_iter().next(),
            other_sets: self.edits.iter().filter_map(|edits| edits.other_set(self.study)).collect(),
            n_pairs: there.len(),
            n_left_out: self.pairs.len() - there.len(),
            n_tokens: n_tokens(&there) * n_epochs,
            n_trained,
            training,
        })
    }

    fn arm(&self, edits: &ArmEdits, seed: u64) -> Arm {
        let decisions = edits.decisions(self.pairs.len(), seed);
        let root = self.study.run(&edits.folder(), seed);
        let mut inputs = self.inputs.clone();
        inputs.insert("edit".into(), arms::sha256(&decisions));
        inputs.insert("settings".into(), serde_json::to_string(&self.config(seed)).expect("settings serialize"));
        if let Some(lora) = self.lora(seed) {
            inputs.insert("lora".into(), serde_json::to_string(&lora).expect("settings serialize"));
        }
        let (name, edit_set) = (edits.name.clone(), edits.set.clone());
        Arm { name, k: edits.k, seed, edit_set, decisions, inputs, root }
    }

    fn lora(&self, seed: u64) -> Option<LoraConfig> {
        self.plan.lora.clone().map(|lora| LoraConfig { seed, ..lora })
    }

    /// The model that training begins with.
    fn start(&self, seed: u64) -> Result<CausalLm, ValidateError> {
        let model = self.folder.load_as(self.options.device, DType::F32)?;
        Ok(match self.lora(seed) {
            Some(lora) => lora::adapt(model, &lora)?,
            None => model,
        })
    }

    fn config(&self, seed: u64) -> DpoConfig {
        let mut config = self.plan.dpo.clone();
        config.train.seed = seed;
        config
    }

    fn is_complete(&self, arm: &Arm) -> Result<bool, ValidateError> {
        let record = read_record(&arm.path("run.json"))?;
        Ok(record.is_some_and(|record| record.inputs == arm.inputs))
    }

    /// One run, or its record when it is complete. Rollouts and verdicts are looked at again even then: they know by
    /// themselves whether they are there.
    fn run(&self, arm: &Arm, notes: &mut Notes) -> Result<(RunRecord, bool), ValidateError> {
        let path = arm.path("run.json");
        let before = read_record(&path)?;
        let trained = self.trained(arm)?;
        let mut measures = Vec::new();
        for measure in &self.measures {
            measures.push(self.measure(arm, measure, notes)?);
        }
        let TrainedRecord { inputs, n_pairs, n_steps, final_loss, final_accuracy, model_sha256 } = trained;
        let record = RunRecord {
            format: RUN_FORMAT.to_owned(),
            arm: arm.name.clone(),
            k: arm.k,
            seed: arm.seed,
            edit_set: arm.edit_set.clone(),
            inputs,
            n_pairs,
            n_steps,
            final_loss,
            final_accuracy,
            model_sha256,
            measures,
        };
        let is_new = before.as_ref() != Some(&record);
        if is_new {
            files::write_json(&path, &record)?;
        }
        Ok((record, is_new))
    }

    /// Trains the arm's model, unless it is there.
    fn trained(&self, arm: &Arm) -> Result<TrainedRecord, ValidateError> {
        let inputs = arm.inputs.clone();
        let path = arm.path("trained.json");
        match arm.trained_record()? {
            None => {}
            Some((there, None)) => return Ok(there),
            Some((_, Some(what))) if !self.options.replace => return Err(ValidateError::OtherRun { path, what }),
            Some(_) => fs::remove_dir_all(&arm.root).at("remove", &arm.root)?,
        }
        let pairs: Vec<SequencePair> = self
            .pairs
            .iter()
            .zip(&arm.decisions)
            .filter_map(|(pair, decision)| match decision {
                Decision::Keep => pair.clone(),
                Decision::Switch => pair.clone().map(SequencePair::switched),
                Decision::Drop => None,
            })
            .collect();
        if pairs.is_empty() {
            return Err(ValidateError::NothingLeft { arm: arm.folder() });
        }
        let reference = self.reference.logps_of(&pairs)?;
        let config = self.config(arm.seed);
        fs::create_dir_all(&arm.root).at("create folder", &arm.root)?;
        let checkpoints = Checkpoints { folder: arm.path("checkpoint"), every_n_steps: self.plan.checkpoint_steps };
        let metrics = MetricsFile::new(&arm.root, self.plan.tensorboard);
        let report = |mut update: Update| {
            update.detail = format!("{} seed {}: {}", arm.folder(), arm.seed, update.detail);
            (self.options.report)(update);
        };
        let on_step = |step: &StepMetrics| metrics.push(step);
        let run = Run {
            report: &report,
            on_step: &on_step,
            is_cancelled: self.options.is_cancelled,
            checkpoints: Some(checkpoints.clone()),
        };
        let optimize = || -> Result<Result<Trained, TrainError>, ValidateError> {
            Ok(optimize_preferences(self.start(arm.seed)?, &pairs, Some(&reference), &config, &run))
        };
        let trained = match optimize()? {
            // What a run of other settings left before it was complete.
            Err(TrainError::Checkpoint(CheckpointError::OtherRun { .. })) if self.options.replace => {
                checkpoints.remove()?;
                optimize()?
            }
            done => done,
        };
        let trained = trained.map_err(|source| ValidateError::Train { arm: arm.folder(), seed: arm.seed, source })?;
        metrics.finish(&trained.metrics)?;
        let record = self.save(arm, &trained, inputs, pairs.len())?;
        files::write_json(&path, &record)?;
        checkpoints.remove()?;
        let empty = arm.path("checkpoint");
        // Only if nothing else lies in it.
        let _ = fs::remove_dir(&empty);
        Ok(record)
    }

    /// Saves a model folder that transformers loads.
    fn save(
        &self,
        arm: &Arm,
        trained: &Trained,
        inputs: BTreeMap<String, String>,
        n_pairs: usize,
    ) -> Result<TrainedRecord, ValidateError> {
        if let Some(lora) = self.lora(arm.seed) {
            lora::save_adapter(&trained.model, &lora, &self.base()?, &arm.path("adapter"))?;
        }
        let folder = arm.path("model");
        folder::save_as(&trained.model, &self.folder.config, &folder, self.plan.dpo.train.weights.dtype())?;
        for name in TEXT_FILES {
            let from = self.folder.path().join(name);
            if from.is_file() {
                files::write(&folder.join(name), &files::read(&from)?)?;
            }
        }
        let steps = &trained.metrics;
        let tail = &steps[steps.len() - steps.len().div_ceil(10)..];
        let mean = |of: fn(&StepMetrics) -> f32| tail.iter().map(of).sum::<f32>() / tail.len().max(1) as f32;
        Ok(TrainedRecord {
            inputs,
            n_pairs,
            n_steps: steps.len(),
            final_loss: mean(|step| step.loss),
            final_accuracy: mean(|step| step.preferences.map_or(0.0, |of| of.rewards_accuracies)),
            model_sha256: ModelFolder::open(&folder)?.sha256()?,
        })
    }

    /// Where PEFT is to load the frozen weights from: a name on the hub, or a path.
    fn base(&self) -> Result<String, ValidateError> {
        let path = self.folder.path();
        let path = path.canonicalize().at("find", path)?;
        Ok(match hub::name_of(&path) {
            Some(name) => name.split('@').next().unwrap_or_default().to_owned(),
            None => path.display().to_string(),
        })
    }

    /// One measure of a trained model.
    fn measure(&self, arm: &Arm, measure: &Measure, notes: &mut Notes) -> Result<Measured, ValidateError> {
        let name = &measure.plan.name;
        let model = ModelFolder::open(&arm.path("model"))?;
        // A changed measure is measured again: it costs little beside training, and nothing else depends on it.
        let place = Place { device: self.options.device, folder: &arm.root, seed: arm.seed, replace: true };
        let report = |mut update: Update| {
            update.detail = format!("{} seed {}, {name}", arm.folder(), arm.seed);
            (self.options.report)(update);
        };
        let failed = |source| {
            let source = Box::new(source);
            ValidateError::Measure { arm: arm.folder(), seed: arm.seed, measure: name.clone(), source }
        };
        let taken = measure.take(&model, &place, &report).map_err(failed)?;
        // A model that never shows the behavior is a result, not a fault; a judge that does so for all models is looked
        // at by whoever reads the baseline's rate.
        if arm.name == BASELINE {
            notes.warnings.extend(taken.warnings.iter().map(|text| format!("measure {name:?}, baseline: {text}")));
        }
        if let Some(judge) = notes.judges.iter_mut().find(|judge| judge.measure == *name) {
            judge.asked.add(taken.asked);
            judge.cached.add(taken.cached);
        }
        let metric = measure.plan.metric();
        Ok(Measured { name: name.clone(), metric, prompts: taken.items.outcomes(metric) })
    }
}

/// A conversation with its response as training sees it; `None` when the response does not fit into the model.
fn sequence(encoder: &TextEncoder, prompt: &[Message], response: &[Message]) -> Option<Sequence> {
    let conversation: Vec<Message> = prompt.iter().chain(response).cloned().collect();
    let tokens = encoder.encode(&conversation).ok()?;
    let response_start = tokens.response.start.max(1);
    let mut ids = tokens.ids;
    ids.truncate(tokens.turn_end);
    (ids.len() > response_start).then_some(Sequence { ids, response_start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_runs_differ_in_is_told_with_both_values() {
        let inputs = |rate: f64, edit: &str| {
            let settings = format!("{{\"beta\": 0.1, \"learning_rate\": {rate}}}");
            BTreeMap::from([("edit".to_owned(), edit.to_owned()), ("settings".to_owned(), settings)])
        };
        let base = inputs(0.0007, "a1");
        assert_eq!(difference(&base, &base), None);
        let told = |now: &BTreeMap<String, String>| difference(&base, now).unwrap();
        assert_eq!(told(&inputs(0.001, "a1")), "settings differs: learning_rate 0.0007, now 0.001");
        assert_eq!(told(&inputs(0.001, "b2")), "edit differs: other pairs are edited now");
        let mut adapted = base.clone();
        adapted.insert("lora".into(), "{\"r\": 8}".into());
        assert_eq!(told(&adapted), "lora differs: left out there, now given");
        assert_eq!(difference(&adapted, &base).unwrap(), "lora differs: given there, now left out");
    }
}
