//! `whence convert`: vectors and directions from other programs, and ours for them.

use std::path::PathBuf;

use clap::ArgGroup;
use whence_backend::convert::{DirectionOptions, ImportOptions, Imported, export, import, import_direction};
use whence_backend::index::IndexOptions;
use whence_backend::study::Study;
use whence_shared::shard::StoreDtype;

use super::bar::Bars;
use super::extract::store_dtype;
use super::index;

const N_SHOWN: usize = 10;

/// Arguments of `whence convert`.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("what").required(true).args(["vectors", "direction", "out"])))]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Layer to import as, or to export
    #[arg(long)]
    layer: usize,
    /// Import vectors, one a pair: .npy, .safetensors or .parquet with a list column; FILE#NAME for one of several
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// Ids of the vectors, in the same order: Parquet or JSONL with `id`, or a text with one a line; else column `id` of
    /// the Parquet file with the vectors, else vectors are in the order of the pairs
    #[arg(long, value_name = "FILE", requires = "vectors")]
    ids: Option<PathBuf>,
    /// What made the vectors [default: the file's name]
    #[arg(long, value_name = "METHOD", requires = "vectors")]
    name: Option<String>,
    /// How numbers are stored: f32 or f16 [default: as in the file]
    #[arg(long, value_parser = store_dtype, requires = "vectors")]
    store: Option<StoreDtype>,
    /// Give pairs without a vector a zero vector, and list them
    #[arg(long, requires = "vectors")]
    allow_missing: bool,
    /// Leave out vectors whose id is of no pair
    #[arg(long, requires = "vectors")]
    ignore_unknown: bool,
    /// Make a study of the ids alone: vectors can be ranked and browsed, pairs not read
    #[arg(long, requires = "vectors")]
    without_texts: bool,
    /// Import a direction: a file with one vector, or several of which it is the mean
    #[arg(long, value_name = "FILE", requires = "behavior")]
    direction: Option<PathBuf>,
    /// Name of the behavior that the direction becomes
    #[arg(long, value_name = "NAME", requires = "direction")]
    behavior: Option<String>,
    /// Export the layer's vectors: a name that ends in .npy, .safetensors or .parquet
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite what is there and was made from something else
    #[arg(long)]
    replace: bool,
    /// Leave the index out; `whence index` makes it later
    #[arg(long, requires = "vectors")]
    no_index: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        let bars = Bars::default();
        if let Some(out) = self.out {
            let exported = export(&study, self.layer, &out, self.replace, &|update| bars.show(update))?;
            let files: Vec<String> = exported.files.iter().map(|file| file.display().to_string()).collect();
            println!("{} vectors × {} in {}", exported.n_rows, exported.d_model, files.join(", "));
            return Ok(());
        }
        if let (Some(file), Some(behavior)) = (self.direction, self.behavior) {
            let options = DirectionOptions { file, behavior, layer: self.layer, replace: self.replace };
            let view = import_direction(&study, &options)?;
            let layers = super::extract::list(&view.layers);
            println!("behavior {}: imported, {} vectors, layers {layers}", view.name, view.n_pairs);
            return Ok(());
        }
        let options = ImportOptions {
            vectors: self.vectors.unwrap_or_default(),
            ids: self.ids,
            layer: self.layer,
            method: self.name,
            store: self.store,
            allow_missing: self.allow_missing,
            ignore_unknown: self.ignore_unknown,
            without_texts: self.without_texts,
            replace: self.replace,
        };
        let imported = import(&study, &options, &|update| bars.show(update))?;
        print(&imported, self.layer);
        if !self.no_index {
            index::run(&study, &IndexOptions { layers: vec![self.layer], verify: false }, &bars)?;
        }
        Ok(())
    }
}

fn print(imported: &Imported, layer: usize) {
    println!(
        "layer {layer}: vectors of {:?}, {} pairs × {}, stored as {}, bound by {}",
        imported.method,
        imported.n_pairs,
        imported.d_model,
        imported.store.name(),
        if imported.by_id { "id" } else { "order" }
    );
    if imported.n_unknown > 0 {
        println!("{} vectors of no pair left out", imported.n_unknown);
    }
    if !imported.missing.is_empty() {
        println!("{} pairs without a vector (score 0):", imported.missing.len());
        for id in imported.missing.iter().take(N_SHOWN) {
            println!("  {id}");
        }
        if imported.missing.len() > N_SHOWN {
            println!("  and {} more", imported.missing.len() - N_SHOWN);
        }
    }
}
