//! `whence rollouts`: sampled responses to test prompts.

use std::path::PathBuf;

use clap::ArgGroup;
use whence_backend::behavior::rollouts::endpoint::Endpoint;
use whence_backend::behavior::rollouts::imported::{ImportOptions, import};
use whence_backend::behavior::rollouts::local::LocalModel;
use whence_backend::behavior::rollouts::{RolledOut, RolloutOptions, Sampling, Source, prompts, roll_out};
use whence_backend::data::template::TemplateChoice;
use whence_backend::device::{self, DeviceChoice};
use whence_backend::files;
use whence_backend::model::DtypeChoice;

use super::bar::Bars;
use super::{endpoint, model};

/// Arguments of `whence rollouts`.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("source").required(true).args(["model", "endpoint", "import"])))]
pub struct Args {
    /// Test prompts as JSONL, CSV or Parquet: prompt (text or messages), optional id and scenario; other keys are kept
    #[arg(long, required_unless_present = "import")]
    prompts: Option<PathBuf>,
    /// JSONL to write: a rollout per line, by prompt and sample
    #[arg(long)]
    out: PathBuf,
    /// Sample from a model on this machine: a folder, or org/name or org/name@revision to download
    #[arg(long)]
    model: Option<PathBuf>,
    /// Sample from an OpenAI-compatible chat endpoint, such as http://localhost:8000/v1
    #[arg(long, requires = "endpoint_model")]
    endpoint: Option<String>,
    /// Take rollouts made elsewhere from a JSONL file
    #[arg(long)]
    import: Option<PathBuf>,
    /// Rollouts per prompt
    #[arg(short = 'n', long, default_value_t = 1)]
    samples: usize,
    /// Divides the logits; 0 = greedy
    #[arg(long, default_value_t = 0.7)]
    temperature: f64,
    /// Draw only from the most probable tokens that together have this probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Most tokens in a response
    #[arg(long, default_value_t = 100)]
    max_new_tokens: usize,
    /// Decides what is drawn; a request to an endpoint carries it plus the sample's number
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Discard rollouts that were made in another way
    #[arg(long)]
    replace: bool,
    /// Where to compute: auto, cpu, wgpu, vulkan, cuda
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Text form: `model` (its chat template), `none` (raw prompt) or a Jinja file
    #[arg(long, default_value = "model")]
    template: TemplateChoice,
    /// Type of weights and of products with them: auto, f32, bf16, f16
    #[arg(long, default_value_t)]
    dtype: DtypeChoice,
    /// The model's name at the endpoint; with --import, the model of rows that name none
    #[arg(long)]
    endpoint_model: Option<String>,
    #[command(flatten)]
    asking: endpoint::Args,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let inputs = [("prompts", self.prompts.as_deref()), ("import", self.import.as_deref())];
        files::must_not_be_input(&self.out, &inputs)?;
        let prompts = self.prompts.as_deref().map(prompts::read).transpose()?;
        if let Some(input) = self.import {
            let options =
                ImportOptions { input, out: self.out.clone(), model: self.endpoint_model, replace: self.replace };
            print(&import(&options, prompts.as_deref())?, &self.out);
            return Ok(());
        }
        let prompts = prompts.unwrap_or_default();
        let sampling = Sampling {
            n_samples: self.samples,
            temperature: self.temperature,
            top_p: self.top_p,
            max_new_tokens: self.max_new_tokens,
            seed: self.seed,
        };
        let options = RolloutOptions { out: self.out, sampling, replace: self.replace };
        let bars = Bars::default();
        let report = |update| bars.show(update);
        let done = if let Some(url) = self.endpoint {
            let endpoint = Endpoint::new(self.asking.options(url, self.endpoint_model, &options.out))?;
            roll_out(&prompts, &Source::Endpoint(&endpoint), &options, &report)?
        } else {
            let folder = model::open(&self.model.unwrap_or_default(), &bars)?;
            let opened = device::open(self.device)?;
            println!("{}, sampled on {}", folder.name(), opened.name);
            let model =
                LocalModel { folder: &folder, device: &opened.device, template: &self.template, dtype: self.dtype };
            roll_out(&prompts, &Source::Model(model), &options, &report)?
        };
        print(&done, &options.out);
        Ok(())
    }
}

fn print(done: &RolledOut, out: &std::path::Path) {
    for (n, what) in [
        (done.n_kept, "were there already"),
        (done.n_cached, "answered from the cache of responses"),
        (done.n_retries, "requests repeated"),
    ] {
        if n > 0 {
            println!("{n} {what}");
        }
    }
    let reasons: Vec<String> = done.finish_reasons.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" (ended by: {})", reasons.join(", ")) };
    println!("{} rollouts in {}{reasons}", done.n_rollouts, out.display());
}
