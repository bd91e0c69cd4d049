//! `whence export`: the pairs, edited, for other trainers.

use std::path::PathBuf;

use whence_backend::edit::conversations::{FileFormat, TrainerForm};
use whence_backend::edit::{ExportOptions, export};
use whence_backend::study::Study;

use super::bar::Bars;

/// Arguments of `whence export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Edit set to apply, as given to `whence edit`; without it, the pairs are written as they are
    #[arg(long)]
    edit: Option<String>,
    /// Folder, or file that ends in .parquet or .jsonl; patch.jsonl and manifest.json go with it
    #[arg(long)]
    out: PathBuf,
    /// trl (explicit prompt), trl-implicit or open-instruct
    #[arg(long, default_value_t)]
    form: TrainerForm,
    /// parquet or jsonl [default: as --out ends, else parquet]
    #[arg(long)]
    format: Option<FileFormat>,
    /// Overwrite files that are not this export
    #[arg(long)]
    replace: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        let by_ending = || self.out.extension()?.to_str()?.parse().ok();
        let format = self.format.or_else(by_ending).unwrap_or_default();
        let options = ExportOptions { edit: self.edit, out: self.out, form: self.form, format, replace: self.replace };
        let bars = Bars::default();
        let exported = export(&study, &options, &|update| bars.show(update))?;
        bars.clear();
        let manifest = &exported.manifest;
        println!(
            "{} of {} pairs written as {} ({} dropped, {} switched): {}",
            manifest.n_written,
            manifest.n_pairs,
            manifest.form,
            manifest.n_dropped,
            manifest.n_switched,
            manifest.origin.how
        );
        println!("  {} (sha256 {})", exported.data.display(), manifest.data.sha256.get(..12).unwrap_or_default());
        println!("  {}", exported.patch.display());
        println!("  {}", exported.manifest_file.display());
        Ok(())
    }
}
