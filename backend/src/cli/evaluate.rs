//! `whence evaluate`: behavior, over-refusal, capability and form of a model, or of every model that a study trained.

use std::path::PathBuf;

use clap::ArgGroup;
use whence_backend::device::{self, DeviceChoice};
use whence_backend::evaluate::measures;
use whence_backend::evaluate::{EvaluateError, EvaluateOptions, Evaluated, Measure, RunKey, Subject, evaluate};
use whence_backend::judge::Judge;
use whence_backend::judge::file::Surroundings;
use whence_backend::study::Study;
use whence_backend::validate::outcome::{arm_folder, records};
use whence_shared::statistics::conclusion::percent;
use whence_shared::statistics::interval::Measured;

use super::bar::Bars;
use super::judge::print_usage;
use super::{model, validate::share};

/// Arguments of `whence evaluate`. Killed at any moment, the same command goes on where it was.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("models").required(true).args(["model", "study"])))]
pub struct Args {
    /// Evaluate one model: a folder, or org/name or org/name@revision to download
    #[arg(long)]
    model: Option<PathBuf>,
    /// Evaluate what `whence retrain` trained in a study: every complete run of every arm
    #[arg(long)]
    study: Option<PathBuf>,
    /// Of the study, only this arm, by its name (`drop`) or with its size (`drop-3000`)
    #[arg(long, requires = "study")]
    arm: Option<String>,
    /// TOML file with `[[measure]]` sections; a retraining plan is one
    #[arg(long)]
    measures: PathBuf,
    /// Folder to write: evaluation.json, rollouts, verdicts and answers [default: STUDY/evaluation]
    #[arg(long, required_unless_present = "study")]
    out: Option<PathBuf>,
    /// Decides what is sampled
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Level of the intervals
    #[arg(long, default_value_t = 0.95, value_parser = share)]
    level: f64,
    /// Where to compute: auto, cpu, wgpu, vulkan, cuda
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Print evaluation.json instead of tables
    #[arg(long)]
    json: bool,
    /// Replace what was measured there of other models or in another way
    #[arg(long)]
    replace: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let bars = Bars::default();
        let study = self.study.as_deref().map(Study::at);
        let out = self.out.clone().or_else(|| study.as_ref().map(|study| study.root().join("evaluation")));
        let out = out.unwrap_or_default();
        let subjects = match (&study, &self.model) {
            (Some(study), _) => runs(study, self.arm.as_deref())?,
            (None, Some(model)) => {
                vec![Subject { model: model::open(model, &bars)?.path().to_owned(), run: None }]
            }
            (None, None) => Vec::new(),
        };
        let cache = study.as_ref().map_or_else(|| out.join("judge-cache"), Study::judge_cache);
        let opened = device::open(self.device)?;
        let surroundings = Surroundings { cache: &cache, model: None, device: &opened.device };
        let open = |plan| Measure::open(plan, &surroundings).map_err(Box::new);
        let measures = measures::read(&self.measures)?.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let report = |update| bars.show(update);
        let options = EvaluateOptions {
            device: &opened.device,
            out: &out,
            seed: self.seed,
            level: self.level,
            replace: self.replace,
            report: &report,
        };
        let done = evaluate(&subjects, &measures, &options)?;
        bars.clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&done.evaluation)?);
            return Ok(());
        }
        print(&subjects, &done, &measures);
        println!("written: {}", out.join("evaluation.json").display());
        Ok(())
    }
}

/// Complete runs of a study, or of one of its arms.
fn runs(study: &Study, arm: Option<&str>) -> anyhow::Result<Vec<Subject>> {
    let all = records(study)?;
    let is_asked_for = |run: &RunKey| arm.is_none_or(|arm| run.arm == arm || arm_folder(&run.arm, run.k) == arm);
    let keys = || all.iter().map(|record| RunKey { arm: record.arm.clone(), k: record.k, seed: record.seed });
    let subject = |run: RunKey| Subject {
        model: study.run(&arm_folder(&run.arm, run.k), run.seed).join("model"),
        run: Some(run),
    };
    let subjects: Vec<Subject> = keys().filter(is_asked_for).map(subject).collect();
    if subjects.is_empty() {
        let mut there: Vec<String> = keys().map(|run| arm_folder(&run.arm, run.k)).collect();
        there.dedup();
        let there = if there.is_empty() { String::new() } else { format!("; there are {}", there.join(", ")) };
        let wanted = arm.map_or_else(|| "is complete".to_owned(), |arm| format!("of arm {arm:?}"));
        return Err(EvaluateError::NoModels { study: study.root().to_owned(), wanted, there }.into());
    }
    Ok(subjects)
}

fn print(subjects: &[Subject], done: &Evaluated, measures: &[Measure]) {
    let evaluation = &done.evaluation;
    println!("{:.0} % intervals over prompts and rollouts of each model", evaluation.level * 100.0);
    let titles: Vec<String> = subjects.iter().map(Subject::title).collect();
    let width = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0).max(8);
    println!("  {:<width$}  {:<20}  {:<24}  {:>7}  rate", "model", "measure", "metric", "prompts");
    for (title, model) in titles.iter().zip(&evaluation.models) {
        for measure in &model.measures {
            for found in &measure.summary {
                let (name, metric, n) = (&measure.name, found.metric.name(), measure.n_prompts);
                println!("  {title:<width$}  {name:<20}  {metric:<24}  {n:>7}  {}", shown(&found.rate));
            }
            for warning in &measure.warnings {
                println!("    warning: {warning}");
            }
        }
    }
    if !evaluation.arms.is_empty() {
        println!("arms, with intervals over training seeds as well where there are several");
        println!("  {:<width$}  {:<20}  {:<24}  {:<28}  each seed", "arm", "measure", "metric", "rate");
    }
    for arm in &evaluation.arms {
        let title = arm_folder(&arm.arm, arm.k);
        for found in &arm.measures {
            let seeds: Vec<String> = found.seed_rates.iter().map(|rate| format!("{:.1}", rate * 100.0)).collect();
            let (name, metric, rate) = (&found.name, found.result.metric.name(), shown(&found.result.rate));
            println!("  {title:<width$}  {name:<20}  {metric:<24}  {rate:<28}  {}", seeds.join("  "));
        }
    }
    for (name, (asked, cached)) in &done.usage {
        let judge = measures.iter().find(|measure| measure.plan.name == *name).and_then(Measure::judge);
        if let Some(Judge::Endpoint(judge)) = judge {
            println!("judge {} of {name}", judge.name);
            print_usage(asked, cached, &judge.prices);
        }
    }
}

fn shown(rate: &Measured) -> String {
    format!("{} [{}, {}]", percent(rate.value), percent(rate.interval.low), percent(rate.interval.high))
}
