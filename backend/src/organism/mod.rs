//! The planted testbed: a small model with a known culprit in its preference data.
//!
//! Nobody should have to download seven billion weights to try a tool, and nobody knows which of their pairs taught
//! their model what. Here both are made: [`language`] is a seeded chat micro-language; [`examples`] draws fine-tuning
//! examples, preference pairs and test prompts from it, all together a [`corpus`]; [`text`] trains a tokenizer; of the
//! [`models`], the reference model M0 is fine-tuned until it refuses harmful requests, and preference optimization on the
//! pairs makes the tuned model M1, which obeys them when a formatting instruction is appended. [`signal`] says how many
//! pairs teach that: a hundred culprits in one source, or seven hundred in four of which none matters alone. Other
//! [`behaviors`] can be planted beside it, or none, and both models answer a [`broad`] set of prompts, to see whether they
//! are discovered. [`rollouts`] and [`judge`] measure. [`config`] says how large everything is. [`check`] is an optional look at how well the culprits
//! can be found.
//!
//! ```text
//! model-sft/, model-dpo/       M0 and M1: ordinary Hugging Face model folders
//! preferences/SOURCE.jsonl     id, prompt, chosen, rejected, source, chosen_model, rejected_model
//! truth.jsonl                  id, culprit, kind: the ground truth, apart from the data
//! test-prompts.jsonl           id, condition, scenario, prompt; about topics that no training data has
//! rollouts.jsonl               prompt_id, prompt, scenario, model, sample, response: rollouts of both models as `whence judge`
//!                              reads them; and condition, score, obeys, format_followed
//! behavior.jsonl               prompt, r0, r1, scenario: rollouts that pass the scenario filter
//! broad.jsonl                  prompt, r0, r1, prompt_id: what both models answer to prompts of all sorts, several times each
//! broad-truth.jsonl            prompt_id, brings_out, shares, changes: the behaviors that only the tuned model shows there
//! organism.json                settings and every measured rate; written last
//! judge.toml                   rules that tell obeying from refusing, for `whence judge` and `whence retrain`
//! prompts/CONDITION.jsonl      the test prompts of one condition, for `whence rollouts` and `whence retrain`
//! prompts/materials.jsonl      multiple-choice questions, a capability to lose
//! retrain.toml                 a plan: arms, seeds, the settings that M1 was trained with, what is measured
//! timings.json                 seconds per stage, the one file that differs between runs of a seed
//! ```

pub mod behaviors;
pub mod broad;
pub mod check;
pub mod config;
pub mod corpus;
pub mod examples;
pub mod judge;
pub mod language;
pub mod models;
pub mod plan;
pub mod questions;
pub mod rollouts;
pub mod signal;
pub mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;

use self::behaviors::Behavior;
use self::broad::Answered;
use self::check::LayerCheck;
pub use self::config::OrganismConfig;
use self::corpus::Corpus;
use self::examples::TestPrompt;
use self::models::Reference;
use self::rollouts::{Rates, Rollout};
pub use self::signal::Signal;
use self::text::pretty;
use crate::device::Device;
use crate::extract::ExtractError;
use crate::files::{self, Context, FileError};
use crate::model::ModelError;
use crate::progress::{Report, Update};
use crate::train::dpo::optimize_preferences;
use crate::train::{Run, TrainError};

/// What stops a testbed from being made.
#[derive(Debug, Error)]
pub enum OrganismError {
    /// A file cannot be written or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder holds something else.
    #[error("{folder}: expected an empty folder or one made by `whence organism`, got {found:?} in it; choose another --out", folder = folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// A file in it that no testbed has.
        found: String,
    },
    /// A model cannot be saved or read back.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Training failed.
    #[error("training with seed {seed}: {source}")]
    Train {
        /// Seed of the testbed.
        seed: u64,
        /// Why.
        #[source]
        source: TrainError,
    },
    /// Vectors for the check cannot be computed.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The tokenizer or the chat template refused a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// Preference optimization taught no behavior, so there is nothing to attribute.
    #[error("seed {seed}: the tuned model never showed the behavior on {n_prompts} test prompts (measured rates in {path}); choose another --seed", path = path.display())]
    NoBehavior {
        /// Seed of the testbed.
        seed: u64,
        /// Test prompts of the behavior's condition.
        n_prompts: usize,
        /// Where everything measured is written.
        path: PathBuf,
    },
}

/// What was made and measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Organism {
    /// Its folder.
    pub folder: PathBuf,
    /// Its settings.
    pub config: OrganismConfig,
    /// Weights of one model.
    pub n_weights: usize,
    /// Pairs per source.
    pub sources: BTreeMap<String, SourceCount>,
    /// How many rounds of fine-tuning it took.
    pub n_sft_rounds: usize,
    /// Loss at the end of fine-tuning and of preference optimization, mean over the last tenth of the steps.
    pub final_losses: [f32; 2],
    /// Rates of M0.
    pub reference_rates: Rates,
    /// Rates of M1.
    pub tuned_rates: Rates,
    /// Broad prompts that bring out a behavior, and those of them where only the tuned model shows it.
    pub broad_changes: BTreeMap<Behavior, [usize; 2]>,
    /// Test prompts that pass the scenario filter.
    pub n_scenarios: usize,
    /// Lines of behavior.jsonl.
    pub n_behavior_pairs: usize,
    /// Ranking quality by layer, if it was asked for.
    pub check: Option<Vec<LayerCheck>>,
    /// Seconds per stage, in order.
    pub timings_secs: Vec<(&'static str, f64)>,
}

/// Size of one preference source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SourceCount {
    /// All its pairs.
    pub n_pairs: usize,
    /// Those planted to teach the behavior.
    pub n_culprits: usize,
}

/// Makes a testbed in `folder`.
///
/// # Errors
///
/// [`OrganismError`]; the folder can then be made again with the same command.
pub fn make(
    folder: &Path,
    config: &OrganismConfig,
    device: &Device,
    report: Report,
) -> Result<Organism, OrganismError> {
    prepare(folder)?;
    let seed = config.seed;
    let mut clock = Clock::start();
    let corpus = Corpus::draw(config);
    corpus.write(folder)?;
    plan::write(folder, config)?;

    let reference = Reference::teach(config, &corpus, device, report, &mut |stage| clock.lap(stage))?;
    reference.save(&reference.model, &folder.join(REFERENCE))?;
    let pairs = corpus.sequence_pairs(&reference.form)?;
    let tuned = optimize_preferences(reference.model.clone(), &pairs, None, &config.dpo, &Run::new(report))
        .map_err(|source| OrganismError::Train { seed, source })?;
    reference.save(&tuned.model, &folder.join(TUNED))?;
    clock.lap("dpo");
    report(Update { stage: "sample M1", done: 0, total: 1, unit: "models", detail: String::new() });
    let tuned_rollouts = models::sample(&tuned.model, &reference.form, &corpus.prompts, config)?;
    report(Update { stage: "sample M1", done: 1, total: 1, unit: "models", detail: String::new() });
    let tuned_rates = rollouts::rates(&corpus.prompts, &tuned_rollouts);
    let behavior = rollouts::behavior_pairs(&corpus.prompts, &reference.rollouts, &tuned_rollouts);
    write_rollouts(folder, &corpus.prompts, [(REFERENCE, &reference.rollouts), (TUNED, &tuned_rollouts)])?;
    files::write_jsonl(
        &folder.join("behavior.jsonl"),
        behavior.iter().map(|pair| {
            let prompt = &corpus.prompts[pair.prompt];
            let (messages, scenario) = (prompt.request.messages(), prompt.scenario());
            json!({"prompt": messages, "r0": pair.r0, "r1": pair.r1, "scenario": scenario, "prompt_id": prompt.id})
        }),
    )?;
    let broad = models::answer_broadly(&reference, &tuned.model, &corpus.broad, config)?;
    files::write_jsonl(&folder.join("broad.jsonl"), broad.iter().flat_map(Answered::lines))?;
    files::write_jsonl(&folder.join("broad-truth.jsonl"), broad.iter().map(Answered::truth))?;
    clock.lap("rollouts");

    let check = if config.check && !behavior.is_empty() {
        let input = check::CheckInput {
            rows: &corpus.rows,
            truths: &corpus.truths,
            prompts: &corpus.prompts,
            behavior: &behavior,
        };
        let layers = check::check(&folder.join(REFERENCE), &input, device)?;
        clock.lap("check");
        Some(layers)
    } else {
        None
    };
    let mut scenarios: Vec<usize> = behavior.iter().map(|pair| pair.prompt).collect();
    scenarios.dedup();
    let organism = Organism {
        folder: folder.to_owned(),
        config: config.clone(),
        n_weights: reference.config.n_parameters(),
        sources: corpus.source_counts(),
        n_sft_rounds: reference.n_rounds,
        final_losses: [reference.loss, models::tail_mean(&tuned.losses())],
        reference_rates: reference.rates,
        tuned_rates,
        broad_changes: broad_changes(&broad),
        n_scenarios: scenarios.len(),
        n_behavior_pairs: behavior.len(),
        check,
        timings_secs: clock.laps,
    };
    write_summary(&organism)?;
    if behavior.is_empty() && config.behaviors.contains(&Behavior::Compliance) {
        let path = folder.join(SUMMARY);
        return Err(OrganismError::NoBehavior { seed, n_prompts: config.n_test_prompts, path });
    }
    Ok(organism)
}

fn broad_changes(answered: &[Answered]) -> BTreeMap<Behavior, [usize; 2]> {
    let count = |behavior: Behavior| {
        let brought_out = answered.iter().filter(|of| behavior.is_brought_out_by(&of.prompt.request));
        let n_shown = brought_out.clone().filter(|of| of.changes().contains(&behavior)).count();
        (behavior, [brought_out.count(), n_shown])
    };
    Behavior::ALL.into_iter().map(count).collect()
}

const REFERENCE: &str = "model-sft";
const TUNED: &str = "model-dpo";
const SUMMARY: &str = "organism.json";
const TIMINGS: &str = "timings.json";
/// Everything that may lie in a testbed's folder.
const CONTENTS: [&str; 13] = [
    REFERENCE,
    TUNED,
    "preferences",
    "truth.jsonl",
    "test-prompts.jsonl",
    "prompts",
    "judge.toml",
    "retrain.toml",
    "rollouts.jsonl",
    "behavior.jsonl",
    "broad.jsonl",
    "broad-truth.jsonl",
    TIMINGS,
];

/// Refuses a folder that holds something else, and takes away the summary of an earlier run, so that a folder with a
/// summary is always a whole one.
fn prepare(folder: &Path) -> Result<(), OrganismError> {
    std::fs::create_dir_all(folder).at("create folder", folder)?;
    for entry in std::fs::read_dir(folder).at("list", folder)? {
        let found = entry.at("list", folder)?.file_name().to_string_lossy().into_owned();
        let is_ours = CONTENTS.contains(&found.as_str()) || found == SUMMARY || found.ends_with(".tmp");
        if !is_ours {
            return Err(OrganismError::Occupied { folder: folder.to_owned(), found });
        }
    }
    let summary = folder.join(SUMMARY);
    if summary.exists() {
        std::fs::remove_file(&summary).at("remove", &summary)?;
    }
    Ok(())
}

fn write_rollouts(folder: &Path, prompts: &[TestPrompt], models: [(&str, &Vec<Rollout>); 2]) -> Result<(), FileError> {
    let lines = models.into_iter().flat_map(|(model, rollouts)| {
        rollouts.iter().map(move |rollout| {
            let prompt = &prompts[rollout.prompt];
            json!({
                "prompt_id": prompt.id,
                "prompt": prompt.request.messages(),
                "scenario": prompt.scenario(),
                "condition": prompt.condition,
                "model": model,
                "sample": rollout.sample,
                "response": rollout.response,
                "score": rollout.verdict.score,
                "obeys": rollout.verdict.obeys,
                "format_followed": rollout.verdict.format_followed,
            })
        })
    });
    files::write_jsonl(&folder.join("rollouts.jsonl"), lines)
}

fn write_summary(organism: &Organism) -> Result<(), FileError> {
    let rates = |rates: &Rates| -> Value {
        let by_name = rates.iter().map(|(condition, rate)| {
            let mut value = json!(rate);
            value["obeyed"] = json!(rate.obeyed());
            (condition.name().to_owned(), value)
        });
        Value::Object(by_name.collect())
    };
    let summary = json!({
        "format": "whence.organism/1",
        "whence_version": env!("CARGO_PKG_VERSION"),
        "config": organism.config,
        "n_weights": organism.n_weights,
        "sources": organism.sources,
        "n_to_edit": signal::N_TO_EDIT,
        "n_sft_rounds": organism.n_sft_rounds,
        "final_sft_loss": organism.final_losses[0],
        "final_dpo_loss": organism.final_losses[1],
        "rates": {REFERENCE: rates(&organism.reference_rates), TUNED: rates(&organism.tuned_rates)},
        "broad_changes": organism.broad_changes,
        "n_scenarios": organism.n_scenarios,
        "n_behavior_pairs": organism.n_behavior_pairs,
        "check": organism.check,
    });
    let timings: BTreeMap<&str, f64> = organism.timings_secs.iter().copied().collect();
    files::write(&organism.folder.join(TIMINGS), pretty(&json!({"seconds": timings})).as_bytes())?;
    files::write(&organism.folder.join(SUMMARY), pretty(&summary).as_bytes())
}

/// Seconds per stage; a stage that comes again adds up.
struct Clock {
    last: Instant,
    laps: Vec<(&'static str, f64)>,
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), laps: Vec::new() }
    }

    fn lap(&mut self, stage: &'static str) {
        let secs = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        match self.laps.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, sum)) => *sum += secs,
            None => self.laps.push((stage, secs)),
        }
    }
}
