//! `whence behavior`: a behavior's vectors and direction.

use std::path::PathBuf;

use anyhow::Context;
use whence_backend::behavior::{BehaviorOptions, define};
use whence_backend::study::Study;
use whence_shared::direction::DirectionMethod;

use super::bar::Bars;
use super::extract::{Layers, list};
use super::model;
use super::reading::Reading;

/// Arguments of `whence behavior`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder with extracted pair vectors
    #[arg(long)]
    study: PathBuf,
    /// Name of the behavior: letters, digits, - and _
    #[arg(long)]
    name: String,
    /// JSONL of test prompts with two responses: prompt, r0 (without the behavior), r1 (with it), optional scenario
    #[arg(long)]
    pairs: PathBuf,
    /// The model the study's vectors were extracted with: a folder, or org/name or org/name@revision
    #[arg(long)]
    model: PathBuf,
    /// Read r1 through this model, the tuned one that wrote it, instead of --model
    #[arg(long, value_name = "MODEL")]
    tuned: Option<PathBuf>,
    /// One direction of many pairs: `mean` or `scenario-mean`
    #[arg(long, default_value = "mean", value_parser = method)]
    method: DirectionMethod,
    /// Layers; `all` means every layer the study has
    #[arg(long, default_value = "all", value_parser = Layers::parse)]
    layers: Layers,
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

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        let bars = Bars::default();
        let model = model::open(&self.model, &bars)?;
        let tuned = self.tuned.map(|tuned| model::open(&tuned, &bars).context("--tuned")).transpose()?;
        let opened = self.reading.open()?;
        // A few hundred response pairs are one block: the first device computes it.
        let device = &opened.first().context("--device: expected a device")?.device;
        let options = BehaviorOptions {
            name: self.name,
            pairs: self.pairs,
            method: self.method,
            layers: self.layers.0,
            template: self.reading.template,
            batch_tokens: self.reading.batch_tokens,
            dtype: self.reading.dtype,
            tuned,
        };
        let defined = define(&study, &model, device, &options, &|update| bars.show(update))?;
        for remark in defined.remarks {
            let what = if remark.no_vector { "left out" } else { "kept" };
            println!("pair {} {what}: {}: {}", remark.id, response_name(&remark.side), remark.reason);
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
        Ok(())
    }
}

/// The two responses take the places of chosen and rejected.
fn response_name(side: &str) -> &'static str {
    if side == "chosen" { "r1" } else { "r0" }
}
