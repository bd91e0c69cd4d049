//! `whence sweep`: a behavior by layer.

use std::path::PathBuf;

use anyhow::Context;
use whence_backend::behavior::rollouts::Sampling;
use whence_backend::judge::Judge;
use whence_backend::judge::rules::Rules;
use whence_backend::judge::selection::JudgedFiles;
use whence_backend::model::steering::Positions;
use whence_backend::study::Study;
use whence_backend::sweep::{SteerOptions, SweepOptions, sweep};
use whence_shared::statistics::conclusion::percent;
use whence_shared::statistics::interval::Measured;
use whence_shared::sweep::{LayerSweep, Separated, SweepView};

use super::bar::Bars;
use super::extract::Layers;
use super::model;
use super::reading::Reading;

/// Arguments of `whence sweep`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder with the behavior
    #[arg(long)]
    study: PathBuf,
    /// Name of the behavior, as given to `whence behavior`
    #[arg(long)]
    behavior: String,
    /// The model the study's vectors were extracted with, which is also the one that is steered
    #[arg(long)]
    model: PathBuf,
    /// Layers: `20`, `16,20,24`, `16-26` or `all` of the model; they need no pair vectors
    #[arg(long, default_value = "all", value_parser = Layers::parse)]
    layers: Layers,
    /// Rollouts of the tuned model to separate, in the place of the behavior's own response pairs
    #[arg(long, value_name = "FILE", requires = "verdicts")]
    rollouts: Option<PathBuf>,
    /// Verdicts on --rollouts
    #[arg(long, value_name = "FILE", requires = "rollouts")]
    verdicts: Option<PathBuf>,
    /// Rollouts of the reference model to separate as well
    #[arg(long, value_name = "FILE", requires_all = ["reference_verdicts", "rollouts"])]
    reference_rollouts: Option<PathBuf>,
    /// Verdicts on --reference-rollouts
    #[arg(long, value_name = "FILE", requires = "reference_rollouts")]
    reference_verdicts: Option<PathBuf>,
    /// Most rollouts of one file, prompt and verdict
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    max_per_prompt: u32,
    /// Folds of prompts: the responses of each are separated by a direction made of the others
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..))]
    folds: u32,
    /// Decides the folds, the random directions and what is drawn
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steer the model on these test prompts (JSONL, CSV or Parquet), too
    #[arg(long, value_name = "FILE", requires = "rules")]
    prompts: Option<PathBuf>,
    /// Rules that say which rollouts of the steered model show the behavior, as for `whence judge`
    #[arg(long, value_name = "FILE", requires = "prompts")]
    rules: Option<PathBuf>,
    /// Lengths of the added vector, in units of the mean length of the residual stream at the layer; negative = against the
    /// direction
    #[arg(long, value_name = "A,B,…", default_value = "0.25,0.5,1", value_delimiter = ',', allow_hyphen_values = true)]
    alphas: Vec<f64>,
    /// Where the vector is added: `response` (the prompt's last token and every generated one) or `all` (the whole prompt,
    /// too)
    #[arg(long, default_value = "response", value_parser = positions)]
    positions: Positions,
    /// Rollouts per prompt and strength
    #[arg(short = 'n', long, default_value_t = 1)]
    samples: usize,
    /// Divides the logits; 0 = greedy
    #[arg(long, default_value_t = 0.7)]
    temperature: f64,
    /// Most tokens in a rollout
    #[arg(long, default_value_t = 100)]
    max_new_tokens: usize,
    /// Replace an earlier sweep instead of adding to it, and discard rollouts and verdicts that were made in another way
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    reading: Reading,
}

fn positions(text: &str) -> Result<Positions, String> {
    [Positions::Response, Positions::All]
        .into_iter()
        .find(|positions| positions.name() == text)
        .ok_or_else(|| format!("expected response or all, got {text:?}"))
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        let bars = Bars::default();
        let model = model::open(&self.model, &bars)?;
        let opened = self.reading.open()?;
        let device = &opened.first().context("--device: expected a device")?.device;
        let judged = |rollouts: Option<PathBuf>, verdicts: Option<PathBuf>| {
            rollouts.zip(verdicts).map(|(rollouts, verdicts)| JudgedFiles { rollouts, verdicts })
        };
        let tuned = judged(self.rollouts, self.verdicts);
        let reference = judged(self.reference_rollouts, self.reference_verdicts);
        let steer = match self.prompts.zip(self.rules) {
            Some((prompts, rules)) => Some(SteerOptions {
                prompts,
                judge: Judge::Rules(Rules::read(&rules)?),
                alphas: self.alphas,
                sampling: Sampling {
                    n_samples: self.samples,
                    temperature: self.temperature,
                    top_p: 1.0,
                    max_new_tokens: self.max_new_tokens,
                    seed: self.seed,
                },
                positions: self.positions,
            }),
            None => None,
        };
        let options = SweepOptions {
            behavior: self.behavior,
            layers: self.layers.0,
            judged: tuned.into_iter().chain(reference).collect(),
            max_per_prompt: self.max_per_prompt as usize,
            n_folds: self.folds as usize,
            seed: self.seed,
            template: self.reading.template,
            batch_tokens: self.reading.batch_tokens,
            dtype: self.reading.dtype,
            steer,
            replace: self.replace,
        };
        let swept = sweep(&study, &model, device, &options, &|update| bars.show(update))?;
        bars.clear();
        print(&swept);
        println!("stored in {}", study.sweep(&swept.behavior).display());
        if swept.steering.is_some() {
            println!("the steered rollouts are in {}: read some", study.sweep_parts(&swept.behavior).display());
        }
        Ok(())
    }
}

fn print(swept: &SweepView) {
    let Separated { n_prompts, n_shown, n_not_shown, n_unreadable, is_of_pairs, n_folds, .. } = swept.separated;
    let of = if is_of_pairs { "the behavior's response pairs" } else { "judged rollouts" };
    println!("behavior {} by layer, read through {}", swept.behavior, swept.model);
    println!(
        "  separated: {of}, {n_shown} that show it and {n_not_shown} that do not, {n_prompts} prompts, {n_folds} folds of \
         prompts"
    );
    if n_unreadable > 0 {
        println!("  {n_unreadable} rollouts could not be read and were left out");
    }
    if let Some(why) = &swept.separated.undefined {
        println!("  no separation is defined: {why}");
    }
    println!(
        "  {:>5}  {:>7}  {:>14}  {:>6}  {:>13}  {:>12}",
        "layer", "AUROC", "within prompts", "d′", "‖direction‖", "‖residual‖"
    );
    let show = |value: Option<f64>| value.map_or_else(|| "–".into(), |value| format!("{value:.3}"));
    for layer in &swept.layers {
        let found = layer.separation;
        println!(
            "  {:>5}  {:>7}  {:>14}  {:>6}  {:>13.4}  {:>12.4}",
            layer.layer,
            show(found.and_then(|found| found.auroc)),
            show(found.and_then(|found| found.auroc_within_prompts)),
            found.and_then(|found| found.d_prime).map_or_else(|| "–".into(), |d| format!("{d:.2}")),
            layer.direction_norm,
            layer.residual_norm
        );
    }
    if let Some(steering) = &swept.steering {
        println!(
            "  steered: {} prompts × {} rollouts, {} of these prompts made the direction; judge {}; added to {}",
            steering.n_prompts,
            steering.n_samples,
            steering.n_own_prompts,
            steering.judge,
            if steering.positions == "all" {
                "prompt and response"
            } else {
                "the prompt's last token and the response"
            }
        );
        println!("  rollouts that show it, without steering: {}", share(&steering.unsteered));
        println!("  {:>5}  {:>6}  {:<26}  {:<26}", "layer", "α", "along the direction", "along a random one");
        swept.layers.iter().for_each(print_steered);
    }
}

fn print_steered(layer: &LayerSweep) {
    let strongest = layer.strongest().filter(|(_, excess)| *excess > 0.0).map(|(steered, _)| steered.alpha);
    for steered in &layer.steered {
        let mark = if strongest == Some(steered.alpha) { "  furthest above random" } else { "" };
        let (rate, random) = (share(&steered.rate), share(&steered.random));
        println!("  {:>5}  {:>6}  {rate:<26}  {random:<26}{mark}", layer.layer, steered.alpha);
    }
}

fn share(measured: &Measured) -> String {
    let Measured { value, interval } = measured;
    format!("{} ({} to {})", percent(*value), percent(interval.low), percent(interval.high))
}
