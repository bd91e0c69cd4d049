//! `whence retrain`: trains again on edited pairs, as a plan says, and measures what changed.

use std::path::PathBuf;
use std::time::Duration;

use whence_backend::device::{self, DeviceChoice};
use whence_backend::model::lora::LoraConfig;
use whence_backend::study::Study;
use whence_backend::validate::arms::planned;
use whence_backend::validate::run::Estimate;
use whence_backend::validate::{Plan, RetrainOptions, RunRecord, retrain};

use super::bar::Bars;
use super::judge::print_usage;
use super::validate::print_report;

/// Arguments of `whence retrain`. Killed at any moment, the same command goes on where it was.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// TOML file with the reference model, the arms, the seeds, the training settings and what is measured; paths in it
    /// start from its folder
    #[arg(long)]
    plan: PathBuf,
    /// A setting in the place of the plan's, as in TOML: lora.r=8, dpo.learning_rate=1e-5; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where training runs: auto, cpu, vulkan, cuda, …
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// What an hour of this machine costs, to print what the plan will
    #[arg(long, value_name = "MONEY")]
    price_per_hour: Option<f64>,
    /// Print what is ahead and stop
    #[arg(long)]
    dry_run: bool,
    /// Train runs again that were made from other pairs, edits or settings, and replace edit sets of the arms' names
    #[arg(long)]
    replace: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        let plan = Plan::read(&self.plan, &self.set)?;
        let opened = device::open(self.device)?;
        println!("{} arms × {} seeds on {}", planned(&plan).len(), plan.seeds.len(), opened.name);
        if let Some(remark) = plan.dpo.train.weights.remark(&opened.device) {
            println!("{remark}");
        }
        if let Some(LoraConfig { r, lora_alpha, target_modules, .. }) = &plan.lora {
            println!("LoRA: r {r}, alpha {lora_alpha}, on {}", target_modules.join(", "));
        }
        let bars = Bars::default();
        let price = self.price_per_hour;
        let replace = self.replace;
        let on_estimate = |estimate: &Estimate| {
            print_estimate(estimate, price);
            print_others(estimate, replace);
        };
        let on_run = |record: &RunRecord, is_new: bool| {
            let rates: Vec<String> =
                record.measures.iter().map(|m| format!("{} {:.1} %", m.name, m.rate() * 100.0)).collect();
            let there = if is_new { "" } else { " (was there already)" };
            println!(
                "{:<16} k {:>6}  seed {:>3}  loss {:.3}  {}{there}",
                record.arm,
                record.k,
                record.seed,
                record.final_loss,
                rates.join("  ")
            );
        };
        let options = RetrainOptions {
            device: &opened.device,
            replace: self.replace,
            dry_run: self.dry_run,
            on_estimate: &on_estimate,
            on_run: &on_run,
            is_cancelled: &|| false,
            report: &|update| bars.show(update),
        };
        let Some(done) = retrain(&study, &plan, &options)? else { return Ok(()) };
        for warning in &done.warnings {
            println!("note: {warning}");
        }
        for used in &done.judges {
            println!("judge of {}", used.measure);
            print_usage(&used.asked, &used.cached, &used.prices);
        }
        println!();
        print_report(&done.report);
        println!("written: {}", study.report().display());
        Ok(())
    }
}

fn print_estimate(estimate: &Estimate, price_per_hour: Option<f64>) {
    let Estimate { n_runs, n_done, n_pairs, n_left_out, n_tokens, n_trained, training, .. } = estimate.clone();
    println!("{n_pairs} pairs, {n_tokens} tokens a run");
    if let Some((n_values, n_trained)) = n_trained.filter(|(n_values, n_trained)| n_trained < n_values) {
        println!("{n_trained} of {n_values} numbers are trained ({:.2} %)", 100.0 * n_trained as f64 / n_values as f64);
    }
    if n_left_out > 0 {
        println!("{n_left_out} pairs are left out of every arm: a response does not fit into the model");
    }
    let money = price_per_hour
        .map(|price| (price, price * training.as_secs_f64() / 3600.0))
        .map_or_else(String::new, |(price, cost)| format!(", a cost of {cost:.2} at --price-per-hour {price}"));
    println!(
        "{} of {n_runs} runs to train, about {}{money}, by the speed of a pass over a few pairs; rollouts come on top",
        n_runs - n_done,
        shown(training)
    );
}

/// What is there and was made from something else: what a run without --replace refuses.
fn print_others(estimate: &Estimate, replace: bool) {
    let remedy = |done: &str| if replace { format!("--replace {done}") } else { "needs --replace".to_owned() };
    if let Some(difference) = &estimate.difference {
        let remedy = remedy("trains them again");
        println!("{} runs are there, made from something else ({difference}): {remedy}", estimate.n_other);
    }
    if !estimate.other_sets.is_empty() {
        let remedy = remedy("replaces them");
        println!("edit sets of these names are there with other edits, {}: {remedy}", estimate.other_sets.join(", "));
    }
}

fn shown(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    match secs {
        0.0..90.0 => format!("{secs:.0} s"),
        90.0..5400.0 => format!("{:.0} min", secs / 60.0),
        _ => format!("{:.1} h", secs / 3600.0),
    }
}
