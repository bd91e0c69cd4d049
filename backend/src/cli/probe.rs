//! `whence probe`: trains a judge on labelled rollouts, a regression on how a model reads them.

use std::path::PathBuf;

use whence_backend::data::template::TemplateChoice;
use whence_backend::device::{self, DeviceChoice};
use whence_backend::extract::Pooling;
use whence_backend::judge::probe::Reader;
use whence_backend::judge::probe_training::{TrainingOptions, train};

use super::bar::Bars;
use super::judge::print_agreement;
use super::model;

/// Arguments of `whence probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSONL of rollouts, as `whence rollouts` writes them
    #[arg(long)]
    rollouts: PathBuf,
    /// Labels of some or all of them, CSV or JSONL: prompt_id, sample, shows; verdicts of another judge will do
    #[arg(long)]
    labels: PathBuf,
    /// The model that reads, usually the reference model: a folder, or org/name or org/name@revision to download
    #[arg(long)]
    model: PathBuf,
    /// Layer to read at: 0 is the embeddings, 20 the residual after 20 blocks
    #[arg(long)]
    layer: usize,
    /// Folder to write
    #[arg(long)]
    out: PathBuf,
    /// How one vector is made of a response's tokens: mean, last, trimmed-mean
    #[arg(long, default_value_t)]
    pooling: Pooling,
    /// Text form: `model` (its chat template), `none` (raw prompt + response) or a Jinja file
    #[arg(long, default_value = "model")]
    template: TemplateChoice,
    /// Where to compute: auto, cpu, wgpu, vulkan, cuda
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Name of the judge [default: the folder's]
    #[arg(long)]
    name: Option<String>,
    /// Decides which prompts are held out together
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace a probe that was trained in another way
    #[arg(long)]
    replace: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let bars = Bars::default();
        let folder = model::open(&self.model, &bars)?;
        let opened = device::open(self.device)?;
        let stem = self.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let options = TrainingOptions {
            name: self.name.unwrap_or(stem),
            rollouts: self.rollouts,
            labels: self.labels,
            out: self.out,
            seed: self.seed,
            replace: self.replace,
        };
        let (template, layer, pooling) = (&self.template, self.layer, self.pooling);
        let reader = Reader { model: &folder, device: &opened.device, template, layer, pooling };
        let trained = train(&options, &reader, &|update| bars.show(update))?;
        bars.clear();
        let record = &trained.record;
        println!(
            "probe {} of {} at layer {} ({}), {} responses to {} prompts",
            record.name, record.model, record.layer, record.pooling, record.n_responses, record.n_prompts
        );
        println!("  mean log loss of held-out prompts by C, which is the inverse strength of the L2 penalty");
        for (c, loss) in &record.losses {
            println!("    {c:>6e}  {loss:.4}{}", if *c == record.c { "  chosen" } else { "" });
        }
        let origin = format!("{}, each prompt judged by a probe that was trained on others", options.labels.display());
        print_agreement(&record.held_out, &origin);
        for warning in &trained.warnings {
            println!("  warning: {warning}");
        }
        println!("written: {}", options.out.display());
        Ok(())
    }
}
