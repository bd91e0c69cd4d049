//! `whence cluster`: clusters of all pairs by their vectors, described; and what tells two of them apart.

use std::path::PathBuf;

use clap::ValueEnum;
use whence_backend::cluster::{self, ClusterOptions, Method};
use whence_backend::study::Study;
use whence_shared::cluster::hdbscan;
use whence_shared::cluster::reading::Reading;
use whence_shared::clustering::{self, ClusteringView, PairCluster};
use whence_shared::pair::one_line;

use super::bar::Bars;
use super::discover::{print_sources, print_terms};
use super::{contrast, naming};

const SNIPPET_CHARS: usize = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    Kmeans,
    Hdbscan,
}

/// Arguments of `whence cluster`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Name of the result
    #[arg(long)]
    name: String,
    /// Layer whose vectors are clustered
    #[arg(long, required_unless_present = "contrast")]
    layer: Option<usize>,
    /// `kmeans`: every pair in one of -k clusters, by cosine. `hdbscan`: as many as are dense, the rest in none
    #[arg(long, value_enum, required_unless_present = "contrast")]
    method: Option<Way>,
    /// k-means: number of clusters
    #[arg(short, required_if_eq("method", "kmeans"))]
    k: Option<usize>,
    /// HDBSCAN: the fewest pairs that are a cluster
    #[arg(long, default_value_t = 25)]
    min_cluster_size: usize,
    /// HDBSCAN: pairs within the core distance of a pair; more leave more pairs out [default: --min-cluster-size]
    #[arg(long)]
    min_samples: Option<usize>,
    /// Seed of all draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Find the clusters in so many pairs, spread over the study [default: all that fit into 1 GiB]
    #[arg(long, value_name = "N", value_parser = at_least_two)]
    sample: Option<usize>,
    /// Print what tells two clusters of a stored result apart, such as 2,5, instead of clustering
    #[arg(long, value_name = "A,B", value_parser = contrast::two_groups, conflicts_with_all = ["layer", "method", "k", "sample", "name_with"])]
    contrast: Option<[usize; 2]>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    naming: naming::Args,
}

fn at_least_two(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n >= 2).ok_or_else(|| format!("expected a number of pairs from 2, got {text:?}"))
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(&self.study);
        if let Some(groups) = self.contrast {
            let found = cluster::contrast::of_clustering(&study, &self.name, groups)?;
            match self.json {
                true => println!("{}", serde_json::to_string_pretty(&found)?),
                false => contrast::print(&found, ["chosen", "rejected"]),
            }
            return Ok(());
        }
        let method = match (self.method, self.k) {
            (Some(Way::Kmeans), Some(k)) => Method::Kmeans { k },
            _ => Method::Hdbscan(hdbscan::Settings {
                min_cluster_size: self.min_cluster_size,
                min_samples: self.min_samples.unwrap_or(self.min_cluster_size),
            }),
        };
        let names = self.naming.options(&study);
        // Required unless two clusters are contrasted.
        let layer = self.layer.unwrap_or_default();
        let options = ClusterOptions { name: self.name, layer, method, seed: self.seed, sample: self.sample, names };
        let bars = Bars::default();
        let view = cluster::cluster(&study, &options, &|update| bars.show(update))?;
        bars.clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&view)?);
            return Ok(());
        }
        print(&view);
        println!("stored in {}", study.clustering(&view.name).display());
        Ok(())
    }
}

fn print(view: &ClusteringView) {
    let n = view.clusters.len();
    let how = match view.method {
        clustering::Method::Kmeans { k, in_batches, .. } => {
            let batches = if in_batches { ", in small batches" } else { "" };
            let fewer = if n < k { format!(" of {k} asked for: no more rows are different") } else { String::new() };
            format!("k-means{batches}: {n} clusters{fewer}")
        }
        clustering::Method::Hdbscan { n_neighbors, .. } => {
            let graph = n_neighbors.map_or_else(String::new, |k| format!(" over a graph of {k} nearest pairs"));
            format!("HDBSCAN{graph}: {n} clusters")
        }
    };
    println!("{how} of {} pairs at layer {}, found in {}", view.n_pairs, view.layer, view.n_fitted);
    for (count, what) in [
        (view.n_noise, "lie between the clusters, in none"),
        (view.n_no_direction, "have a zero vector, in none"),
        (view.n_not_looked_at, "were not looked at (--sample)"),
    ] {
        if count > 0 {
            println!("  {count} pairs {what}");
        }
    }
    for (label, cluster) in view.clusters.iter().enumerate() {
        let name = naming::said(view.names.as_ref(), |names| &names.pairs, label);
        print_cluster(view, label, cluster, &name);
    }
}

fn print_cluster(view: &ClusteringView, label: usize, cluster: &PairCluster, name: &str) {
    let PairCluster { size, cohesion, silhouette, jaccard, reading, .. } = cluster;
    let of = view.n_pairs;
    let back = jaccard.map_or_else(String::new, |jaccard| format!(", comes back {jaccard:.2}"));
    println!(
        "  {}:{name} {size} of {of}, mean cosine to the centre {cohesion:.2}, silhouette {silhouette:.2}{back}",
        label + 1
    );
    let Reading { terms, chosen_terms, rejected_terms, sources } = reading;
    print_terms("words", terms);
    print_terms("only chosen", chosen_terms);
    print_terms("only rejected", rejected_terms);
    print_sources(sources);
    for row in cluster.typical.iter().take(3) {
        if let Ok(place) = view.pairs.binary_search_by_key(row, |pair| pair.row) {
            let pair = &view.pairs[place];
            println!("      row {row} {} “{}”", one_line(&pair.id, 28), one_line(&pair.snippet, SNIPPET_CHARS));
        }
    }
}
