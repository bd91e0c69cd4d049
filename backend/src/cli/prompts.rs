//! `whence prompts`: test prompts made of templates, requests and distractors.

use std::path::PathBuf;

use whence_backend::behavior::templates::{CombineOptions, combine};
use whence_backend::files;

/// Arguments of `whence prompts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Templates with {request} and, where a distractor goes, {distractor}: a text file with one per line, or JSONL, CSV or
    /// Parquet with `template` (text or messages) and optional `id`
    #[arg(long, value_name = "FILE")]
    templates: PathBuf,
    /// Requests: a text file with one per line, or JSONL, CSV or Parquet with `request` and optional `id`; a request's id
    /// becomes the scenario of its prompts
    #[arg(long, value_name = "FILE")]
    requests: PathBuf,
    /// Distractors, in the same forms
    #[arg(long, value_name = "FILE")]
    distractors: Option<PathBuf>,
    /// Prompts to make [default: every combination]
    #[arg(short, value_name = "N")]
    n: Option<usize>,
    /// Decides which combinations -n takes; every request comes equally often
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// JSONL to write, for `whence rollouts`
    #[arg(long)]
    out: PathBuf,
    /// Replace other prompts that are there
    #[arg(long)]
    replace: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let inputs = [
            ("templates", Some(self.templates.as_path())),
            ("requests", Some(self.requests.as_path())),
            ("distractors", self.distractors.as_deref()),
        ];
        files::must_not_be_input(&self.out, &inputs)?;
        let options = CombineOptions {
            templates: self.templates,
            requests: self.requests,
            distractors: self.distractors,
            n: self.n,
            seed: self.seed,
            out: self.out,
            replace: self.replace,
        };
        let combined = combine(&options)?;
        println!(
            "{} templates, {} requests, {} distractors: {} combinations, {} prompts in {}",
            combined.n_templates,
            combined.n_requests,
            combined.n_distractors,
            combined.n_possible,
            combined.n_prompts,
            options.out.display()
        );
        Ok(())
    }
}
