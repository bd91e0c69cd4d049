//! `whence map`: all pairs as points on a plane.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;
use whence_backend::map::{self, MapOptions, Method};
use whence_backend::study::Study;
use whence_shared::cluster::umap;
use whence_shared::map::{Method as Made, PairMap};

use super::bar::Bars;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    Pca,
    Umap,
}

/// Arguments of `whence map`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Layer whose vectors are mapped
    #[arg(long)]
    layer: usize,
    /// `pca`: the two directions along which most varies. `umap`: neighbours beside each other, distances bent for it
    #[arg(long, value_enum)]
    method: Way,
    /// Name of the map [default: METHOD-layer-L]
    #[arg(long)]
    name: Option<String>,
    /// UMAP: pairs that count as near a pair, itself included
    #[arg(long, default_value_t = umap::Settings::default().n_neighbors)]
    neighbors: usize,
    /// UMAP: how close points may come, 0 to 1
    #[arg(long, default_value_t = umap::Settings::default().min_dist)]
    min_dist: f64,
    /// UMAP: seed of all draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// UMAP: lay so many pairs out, spread over the study, at most 50000, and place the others among them [default: 20000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    sample: Option<u32>,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let (method, name) = match self.method {
            Way::Pca => (Method::Pca, "pca"),
            Way::Umap => {
                let settings = umap::Settings { n_neighbors: self.neighbors, min_dist: self.min_dist, seed: self.seed };
                (Method::Umap { settings, sample: self.sample.map(|n| n as usize) }, "umap")
            }
        };
        let name = self.name.unwrap_or_else(|| format!("{name}-layer-{}", self.layer));
        let options = MapOptions { name, layer: self.layer, method };
        let study = Study::at(self.study);
        let bars = Bars::default();
        let made = map::map(&study, &options, &|update| bars.show(update))?;
        bars.clear();
        if self.json {
            let PairMap { layer, method, n_fitted, trustworthiness, .. } = &made;
            let summary = json!({
                "name": options.name, "layer": layer, "settings": method, "n_pairs": made.n_rows(), "n_fitted": n_fitted,
                "trustworthiness": trustworthiness,
            });
            println!("{}", serde_json::to_string_pretty(&summary)?);
            return Ok(());
        }
        print(&made);
        println!("stored in {}", study.map(&options.name).display());
        Ok(())
    }
}

fn print(made: &PairMap) {
    let n = made.n_rows();
    match made.method {
        Made::Pca { explained: [first, second] } => println!(
            "{n} pairs at layer {}, first two principal components: {:.1} % and {:.1} % of the variance",
            made.layer,
            100.0 * first,
            100.0 * second
        ),
        Made::Umap { n_neighbors, min_dist, .. } => {
            println!("{n} pairs at layer {}, UMAP of {n_neighbors} neighbors, min-dist {min_dist}", made.layer);
            if made.n_fitted < n {
                let placed = n - made.n_fitted;
                println!(
                    "  {} were laid out, {placed} placed at the weighted mean of their nearest among those",
                    made.n_fitted
                );
            }
        }
    }
    match made.trustworthiness {
        Some(trust) => println!("  trustworthiness {trust:.3}: 1 is a map without false neighbors, 0.5 one at random"),
        None => println!("  too few pairs to say how far the map can be trusted"),
    }
}
