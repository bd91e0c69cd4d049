//! `whence index`: the browsable index of a study.

use std::path::PathBuf;

use whence_backend::index::{IndexOptions, IndexedLayer, index};
use whence_backend::study::Study;

use super::bar::Bars;
use super::extract::Layers;

/// Arguments of `whence index`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder with extracted pair vectors
    #[arg(long)]
    study: PathBuf,
    /// Layers; `all` means every layer the study has
    #[arg(long, default_value = "all", value_parser = Layers::parse)]
    layers: Layers,
    /// Compare the files of an index that is there with their SHA-256 first
    #[arg(long)]
    verify: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        run(&study, &IndexOptions { layers: self.layers.0, verify: self.verify }, &Bars::default())
    }
}

/// Indexes and prints what was done.
pub fn run(study: &Study, options: &IndexOptions, bars: &Bars) -> anyhow::Result<()> {
    for indexed in index(study, options, &|update| bars.show(update))? {
        print(study, &indexed);
    }
    Ok(())
}

fn print(study: &Study, indexed: &IndexedLayer) {
    let manifest = &indexed.manifest;
    let layer = manifest.layer;
    if let Some(why) = &indexed.why {
        println!("index of layer {layer} made again: {why}");
    }
    if indexed.n_made == 0 && indexed.why.is_none() {
        println!("index of layer {layer} was complete in {}", study.index_layer(layer).display());
    } else {
        let kept = if indexed.n_kept == 0 { String::new() } else { format!(", {} were there", indexed.n_kept) };
        println!(
            "index of layer {layer}: {} rows × {} in {} blocks, {:.1} MB in {} (files written: {}{kept})",
            manifest.n_rows,
            manifest.d_model,
            manifest.blocks.len(),
            indexed.n_bytes as f64 / 1e6,
            study.index_layer(layer).display(),
            indexed.n_made
        );
    }
    if indexed.n_behaviors > 0 {
        println!("  behaviors rotated: {}", indexed.n_behaviors);
    }
    println!(
        "  {:>10}  {:>8}  {:>7}  recall@100 / @1000 of ranking by the blocks so far",
        "dimensions", "MB", "energy"
    );
    let (mut n_dims, mut n_bytes) = (0, 0);
    for block in &manifest.blocks {
        n_dims += block.width;
        n_bytes += block.files.iter().map(|file| file.n_bytes).sum::<u64>();
        let recall: Vec<String> = block
            .recall
            .iter()
            .map(|r| format!("{:.3} / {:.3} ({} {})", r.at_100, r.at_1000, r.n_queries, r.queries))
            .collect();
        println!(
            "  {n_dims:>10}  {:>8.1}  {:>5.1} %  {}",
            n_bytes as f64 / 1e6,
            100.0 * block.energy,
            recall.join(", ")
        );
    }
}
