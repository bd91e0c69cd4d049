//! `whence merge`: parts of a study become one.

use std::path::PathBuf;

use whence_backend::extract::merge;
use whence_backend::study::Study;

use super::bar::Bars;

/// Arguments of `whence merge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder that everything comes together in
    #[arg(long)]
    study: PathBuf,
    /// Study folders in which other parts were extracted; none: check and complete what lies in --study
    #[arg(value_name = "PART_STUDY")]
    parts: Vec<PathBuf>,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        let parts: Vec<Study> = self.parts.into_iter().map(Study::at).collect();
        let bars = Bars::default();
        let merged = merge(&study, &parts, &|update| bars.show(update))?;
        println!(
            "{} files checked, {} copied ({:.1} MB)",
            merged.n_checked,
            merged.n_copied,
            merged.n_bytes_copied as f64 / 1e6
        );
        let complete: Vec<String> = merged.complete.iter().map(ToString::to_string).collect();
        println!("{} pairs complete in {}: {}", merged.n_pairs, study.vectors().display(), complete.join(", "));
        println!("next: `whence index --study {}` makes the index", study.root().display());
        Ok(())
    }
}
