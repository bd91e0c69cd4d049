//! `whence behavior`: a behavior's vectors and direction.

use std::path::PathBuf;

use anyhow::Context;
use clap::ArgGroup;
use whence_backend::behavior::subset::{Prompts, SubsetOptions, define_subset};
use whence_backend::behavior::{
    BehaviorError, BehaviorOptions, Defined, SplitOptions, check_name, define, must_be_the_same, read_pairs,
};
use whence_backend::extract::{Remark, VectorsManifest};
use whence_backend::judge::selection::{self, JudgedFiles};
use whence_backend::study::Study;
use whence_shared::direction::DirectionMethod;
use whence_shared::spans;
use whence_shared::stability::{Overlap, Spread, Stability};

use super::bar::Bars;
use super::extract::{Layers, list};
use super::model;
use super::reading::Reading;

/// Arguments of `whence behavior`.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("responses").required(true).args(["pairs", "rollouts", "from_discovery"])))]
#[command(group(ArgGroup::new("chosen_prompts").args(["prompts_group", "prompts"])))]
pub struct Args {
    /// Study folder with extracted pair vectors
    #[arg(long)]
    study: PathBuf,
    /// Name of the behavior: letters, digits, - and _
    #[arg(long)]
    name: String,
    /// Test prompts with two responses, as JSONL, CSV or Parquet: prompt, r0 (without the behavior), r1 (with it), optional scenario
    #[arg(long)]
    pairs: Option<PathBuf>,
    /// Instead of --pairs: rollouts of the tuned model, as `whence rollouts` writes them
    #[arg(long, value_name = "FILE", requires_all = ["verdicts", "reference_rollouts", "reference_verdicts"])]
    rollouts: Option<PathBuf>,
    /// Verdicts on --rollouts, as `whence judge` writes them
    #[arg(long, value_name = "FILE", requires = "rollouts")]
    verdicts: Option<PathBuf>,
    /// Rollouts of the reference model to the same prompts; prompts on which it never shows the behavior are kept
    #[arg(long, value_name = "FILE", requires = "rollouts")]
    reference_rollouts: Option<PathBuf>,
    /// Verdicts on --reference-rollouts
    #[arg(long, value_name = "FILE", requires = "rollouts")]
    reference_verdicts: Option<PathBuf>,
    /// Most response pairs that one prompt gives
    #[arg(long, value_name = "N", requires = "rollouts", value_parser = clap::value_parser!(u32).range(1..))]
    max_per_prompt: Option<u32>,
    /// Instead of --pairs: some prompts of a discovery, whose vectors are there; no model is needed
    #[arg(long, value_name = "NAME", requires = "chosen_prompts", conflicts_with_all = ["model", "tuned", "layers"])]
    from_discovery: Option<String>,
    /// With --from-discovery: the prompts of this group, counted from 1 as `whence discover` prints them
    #[arg(long, value_name = "N", requires = "from_discovery")]
    prompts_group: Option<usize>,
    /// With --from-discovery: rows of its prompts, from 0, such as 0-4,17
    #[arg(long, value_name = "ROWS", requires = "from_discovery", value_parser = rows)]
    prompts: Option<Rows>,
    /// The model the study's vectors were extracted with: a folder, or org/name or org/name@revision
    #[arg(long, required_unless_present = "from_discovery")]
    model: Option<PathBuf>,
    /// Read r1 through this model, the tuned one that wrote it, instead of --model
    #[arg(long, value_name = "MODEL")]
    tuned: Option<PathBuf>,
    /// One direction of many pairs: `mean` or `scenario-mean`
    #[arg(long, default_value = "mean", value_parser = method)]
    method: DirectionMethod,
    /// Layers; `all` means every layer the study has
    #[arg(long, default_value = "all", value_parser = Layers::parse)]
    layers: Layers,
    /// Random ways to split the test prompts into halves, to see whether both say the same; 0 = do not look
    #[arg(long, value_name = "N", default_value_t = 20)]
    splits: usize,
    /// Decides the splits
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// One vector per prompt, the mean over its response pairs, instead of one per pair: for `whence discover`, where the
    /// wording of single responses is in the way
    #[arg(long, conflicts_with = "from_discovery")]
    per_prompt: bool,
    /// Replace a behavior of this name that was made of something else
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    reading: Reading,
}

fn method(text: &str) -> Result<DirectionMethod, String> {
    match text {
        "mean" => Ok(DirectionMethod::Mean),
        "scenario-mean" => Ok(DirectionMethod::ScenarioMean),
        _ => Err(format!("expected mean or scenario-mean, got {text:?}")),
    }
}

/// Rows as [`spans::parse`] reads them.
#[derive(Debug, Clone)]
pub struct Rows(pub Vec<u32>);

/// Parses rows such as `0-4,17`.
pub fn rows(text: &str) -> Result<Rows, String> {
    spans::parse(text).map(Rows).ok_or_else(|| format!("expected rows such as 0-4,17, got {text:?}"))
}

impl Args {
    /// Runs the verb.
    pub fn run(mut self) -> anyhow::Result<()> {
        let study = Study::at(&self.study);
        if let Some(discovery) = self.from_discovery.take() {
            return self.run_subset(&study, discovery);
        }
        // Before a model is opened, which may be to download it.
        check_name(&self.name)?;
        VectorsManifest::required(&study)?;
        let pairs = self.pairs(&study)?;
        let given = read_pairs(&pairs)?;
        if !self.replace {
            must_be_the_same(&study, &self.name, &given, self.method, self.tuned.is_some())?;
        }
        let bars = Bars::default();
        let model = model::open(&self.model.context("--model: expected the study's model")?, &bars)?;
        let tuned = self.tuned.map(|tuned| model::open(&tuned, &bars).context("--tuned")).transpose()?;
        let opened = self.reading.open()?;
        // A few hundred response pairs are one block: the first device computes it.
        let device = &opened.first().context("--device: expected a device")?.device;
        let options = BehaviorOptions {
            name: self.name,
            pairs,
            method: self.method,
            layers: self.layers.0,
            template: self.reading.template,
            batch_tokens: self.reading.batch_tokens,
            dtype: self.reading.dtype,
            tuned,
            per_prompt: self.per_prompt,
            split: SplitOptions { n_splits: self.splits, seed: self.seed },
            replace: self.replace,
        };
        let defined = define(&study, &model, device, &options, &|update| bars.show(update))?;
        print(&defined, options.split);
        Ok(())
    }

    /// A behavior of some prompts of a discovery.
    fn run_subset(self, study: &Study, discovery: String) -> anyhow::Result<()> {
        let prompts = match (self.prompts_group, self.prompts) {
            (Some(group), _) => Prompts::Group(group),
            (None, rows) => Prompts::Rows(rows.map(|Rows(rows)| rows).unwrap_or_default()),
        };
        let split = SplitOptions { n_splits: self.splits, seed: self.seed };
        let replace = self.replace;
        let options = SubsetOptions { name: self.name, discovery, prompts, method: self.method, split, replace };
        let bars = Bars::default();
        let defined = define_subset(study, &options, &|update| bars.show(update))?;
        bars.clear();
        print(&defined, split);
        Ok(())
    }
}

fn print(defined: &Defined, split: SplitOptions) {
    let is_beyond = |remark: &&Remark| remark.beyond_context;
    for remark in defined.remarks.iter().filter(|remark| !is_beyond(remark)) {
        let what = if remark.no_vector { "left out" } else { "kept" };
        println!("pair {} {what}: {}: {}", remark.id, response_name(&remark.side), remark.reason);
    }
    let n_beyond = defined.remarks.iter().filter(is_beyond).count();
    if let Some(first) = defined.remarks.iter().find(is_beyond) {
        println!(
            "{n_beyond} texts are longer than what the model was made for, and what it makes of them is uncertain; the \
             first is pair {}, {}: {}",
            first.id,
            response_name(&first.side),
            first.reason
        );
    }
    println!(
        "behavior {}: {} response pairs, {} scenarios, read through {}, layers {}",
        defined.view.name,
        defined.view.n_pairs,
        defined.view.n_scenarios,
        defined.view.reading,
        list(&defined.view.layers)
    );
    for (layer, norm) in defined.view.layers.iter().zip(&defined.direction_norms) {
        println!("  layer {layer:>2}: ‖direction‖ = {norm:.4}");
    }
    match &defined.view.stability {
        Some(stability) => print_stability(stability),
        None if split.n_splits > 0 => {
            println!("  halves of the prompts were not compared: all response pairs are of one prompt");
        }
        None => {}
    }
}

/// Whether halves of the prompts say the same, a line per layer.
fn print_stability(stability: &Stability) {
    println!(
        "  two halves of the {} prompts, {} random splits (seed {}): mean (range)",
        stability.n_prompts, stability.n_splits, stability.seed
    );
    for layer in &stability.layers {
        let Spread { mean, low, high } = layer.cosine;
        let whole = layer.of_whole.map_or(String::new(), |r| format!(", as many other prompts would give {r:.3}"));
        let overlaps: String = layer
            .overlaps
            .iter()
            .map(|Overlap { k, share, chance }| {
                let percent = |share: f64| format!("{:.0}", 100.0 * share);
                let Spread { mean, low, high } = *share;
                let (mean, low, high, chance) = (percent(mean), percent(low), percent(high), percent(*chance));
                format!("; first {k} in common {mean} % ({low} to {high}, by chance {chance})")
            })
            .collect();
        println!("  layer {:>2}: cosine of directions {mean:.3} ({low:.3} to {high:.3}){whole}{overlaps}", layer.layer);
    }
}

impl Args {
    /// The file of response pairs: as given, or selected from judged rollouts and kept in the study.
    fn pairs(&mut self, study: &Study) -> anyhow::Result<PathBuf> {
        if let Some(pairs) = self.pairs.take() {
            return Ok(pairs);
        }
        check_name(&self.name)?;
        let judged = |rollouts: &mut Option<PathBuf>, verdicts: &mut Option<PathBuf>| JudgedFiles {
            rollouts: rollouts.take().unwrap_or_default(),
            verdicts: verdicts.take().unwrap_or_default(),
        };
        let tuned = judged(&mut self.rollouts, &mut self.verdicts);
        let reference = judged(&mut self.reference_rollouts, &mut self.reference_verdicts);
        let max_per_prompt = self.max_per_prompt.map_or(usize::MAX, |n| n as usize);
        let (pairs, counts) = selection::select(&tuned, &reference, max_per_prompt)?;
        println!("{counts}");
        let path = study.behavior(&self.name).join("selected.jsonl");
        if !self.replace {
            must_be_the_same(study, &self.name, &pairs, self.method, self.tuned.is_some())?;
            // What was selected for the behavior that is there stays with it.
            if study.behavior_view(&self.name).is_file() && read_pairs(&path).is_ok_and(|there| there != pairs) {
                let reason = "of other response pairs".to_owned();
                return Err(BehaviorError::Exists { name: self.name.clone(), reason }.into());
            }
        }
        selection::write(&path, &pairs)?;
        Ok(path)
    }
}

/// The two responses take the places of chosen and rejected.
fn response_name(side: &str) -> &'static str {
    if side == "chosen" { "r1" } else { "r0" }
}
