//! `whence import`: preference data into a study.

use std::path::PathBuf;

use whence_backend::data::import::{ImportOptions, Imported, import};
use whence_backend::study::Study;

use super::bar::Bars;

/// Sources printed; the rest is in study.toml.
const N_SOURCES_SHOWN: usize = 12;

/// Arguments of `whence import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, folders or globs: JSONL, gzipped JSONL or Parquet
    #[arg(required = true)]
    inputs: Vec<String>,
    /// Study folder; made if needed
    #[arg(long)]
    study: PathBuf,
    /// Source of pairs whose row has no `source` or `dataset`; else the file's name
    #[arg(long)]
    source: Option<String>,
    /// Replace pairs that were made from other inputs
    #[arg(long)]
    replace: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        let options = ImportOptions { inputs: self.inputs, source: self.source, replace: self.replace };
        let bars = Bars::default();
        let imported = import(&study, &options, &|update| bars.show(update))?;
        print(&study, &imported);
        Ok(())
    }
}

fn print(study: &Study, imported: &Imported) {
    for file in &imported.files {
        println!("{}: {} rows", file.path.display(), file.n_rows);
        for (form, n_rows) in &file.forms {
            println!("  {n_rows} × {form}");
        }
        if file.n_rejected > 0 {
            println!("  {} × refused", file.n_rejected);
        }
    }
    if !imported.about_data.is_empty() {
        let paths: Vec<String> = imported.about_data.iter().map(|path| path.display().to_string()).collect();
        println!("left out, as such files say something about data and hold none: {}", paths.join(", "));
    }
    println!("{} pairs in {}", imported.n_pairs, study.pairs().display());
    let health = imported.health;
    for (n, what) in [
        (health.n_duplicates, "exact duplicates of an earlier pair (kept)"),
        (health.n_identical, "with chosen equal to rejected (kept; their vectors are zero)"),
        (health.n_empty_responses, "with an empty response (kept)"),
    ] {
        println!("  {n} {what}");
    }
    print_ids(imported);
    let n_sources = imported.sources.len();
    println!("{n_sources} {}:", if n_sources == 1 { "source" } else { "sources" });
    let mut by_size: Vec<_> = imported.sources.iter().collect();
    by_size.sort_by_key(|source| std::cmp::Reverse(source.n_pairs));
    for source in by_size.iter().take(N_SOURCES_SHOWN) {
        println!("  {:>8}  {}", source.n_pairs, source.name);
    }
    if n_sources > N_SOURCES_SHOWN {
        println!("  and {} more in {}", n_sources - N_SOURCES_SHOWN, study.config().display());
    }
    if !imported.other_keys.is_empty() {
        let keys: Vec<&str> = imported.other_keys.iter().map(String::as_str).collect();
        println!("only role and content of messages are kept; these keys were left out: {}", keys.join(", "));
    }
    if health.n_rejected_rows > 0 {
        println!("{} of {} rows refused:", health.n_rejected_rows, health.n_rows_read);
        for reject in &imported.rejects {
            println!("  {}, row {}: {}", reject.file, reject.row, reject.reason);
        }
        println!("  all of them in {}", study.rejects().display());
    }
    if imported.stale_vectors {
        println!(
            "this study's vectors, behaviors and rankings were made from other pairs and are no longer used: run \
             `whence extract` again with --replace"
        );
    }
}

fn print_ids(imported: &Imported) {
    let ids = &imported.ids;
    let mut parts: Vec<String> =
        ids.by_column.iter().map(|(column, n_pairs)| format!("{n_pairs} from column {column:?}")).collect();
    if ids.n_unnamed > 0 {
        parts.push(format!("{} made as FILE:ROW", ids.n_unnamed));
    }
    if ids.n_repeated > 0 {
        parts.push(format!("{} repeated an earlier id and became FILE:ROW", ids.n_repeated));
    }
    println!("ids: {}", parts.join(", "));
}
