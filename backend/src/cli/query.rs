//! `whence query`: the pairs that push hardest along any direction.

use std::path::PathBuf;

use whence_backend::attribute::query::{Queried, QueriedRow, QueryOptions, Reading, query};
use whence_backend::study::Study;
use whence_shared::pair::{one_line, short_id};

use super::bar::Bars;

const SNIPPET_CHARS: usize = 60;

/// Arguments of `whence query`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Layer
    #[arg(long)]
    layer: usize,
    /// The direction: a behavior's name, row:123 (that pair's vector), a .npy or .safetensors file, bank:NAME (the
    /// largest score over the behavior's scenarios), sums such as `a + 0.5*b - c`, `a without b`, parentheses
    #[arg(required = true, value_name = "DIRECTION")]
    direction: Vec<String>,
    /// How many pairs
    #[arg(short, default_value_t = 20)]
    k: usize,
    /// The pairs that push hardest away from it
    #[arg(long)]
    bottom: bool,
    /// That many pairs of each source
    #[arg(long)]
    per_source: bool,
    /// Read every vector, even where there is an index
    #[arg(long)]
    no_index: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let options = QueryOptions {
            layer: self.layer,
            expression: self.direction.join(" "),
            k: self.k,
            bottom: self.bottom,
            per_source: self.per_source,
            no_index: self.no_index,
        };
        let bars = Bars::default();
        let queried = query(&Study::at(self.study), &options, &|update| bars.show(update))?;
        bars.clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&queried)?);
        } else {
            print(&queried);
        }
        Ok(())
    }
}

/// Prints an answer as tables, and how much of the study it took.
pub fn print(queried: &Queried) {
    for group in &queried.groups {
        if let Some(source) = &group.source {
            println!("source {source:?}");
        }
        println!("  {:>6}  {:>8}  {:>7}  {:<28}  {:<24}  prompt", "rank", "score", "row", "id", "source");
        for QueriedRow { rank, row, score, id, source, snippet } in &group.rows {
            println!(
                "  {rank:>6}  {score:>8.5}  {row:>7}  {:<28}  {:<24}  {}",
                short_id(id, 28),
                one_line(source, 24),
                one_line(snippet, SNIPPET_CHARS)
            );
        }
    }
    println!("{}", state_line(queried));
}

/// `layer 20, a − b: top 100 certified after 1.9 % (28.1 MB of 1.55 GB), exact after 28.9 MB`.
fn state_line(queried: &Queried) -> String {
    let Reading { n_bytes, n_bytes_certified, n_bytes_index, .. } = queried.reading;
    let end = if queried.bottom { "bottom" } else { "top" };
    let each = if queried.groups.iter().any(|group| group.source.is_some()) { " of each source" } else { "" };
    let what = format!("layer {}, {}: {end} {}{each}", queried.layer, queried.expression, queried.k);
    match (&queried.reading.why_no_index, n_bytes_index) {
        // Vectors are read beside the index, so that more than the whole of it may be.
        (None, Some(of)) if n_bytes_certified > of => format!(
            "{what} certified after the whole index ({}) and some vectors ({} in all), exact after {}",
            size(of),
            size(n_bytes_certified),
            size(n_bytes)
        ),
        (None, Some(of)) => format!(
            "{what} certified after {:.1} % ({} of {}), exact after {}",
            100.0 * n_bytes_certified as f64 / of.max(1) as f64,
            size(n_bytes_certified),
            size(of),
            size(n_bytes)
        ),
        (why, _) => {
            let why = why.as_ref().map_or_else(String::new, |why| format!("; {why}"));
            format!("{what} exact: every vector was read ({}){why}", size(n_bytes))
        }
    }
}

fn size(n_bytes: u64) -> String {
    match n_bytes as f64 {
        n if n >= 1e9 => format!("{:.2} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n => format!("{:.1} kB", n / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_whole_index_is_no_share_of_it() {
        let reading = |n_bytes_certified| Reading {
            why_no_index: None,
            n_bytes: 130_000,
            n_bytes_certified,
            n_bytes_index: Some(120_500),
            n_bytes_vectors: 500_000,
            stages: Vec::new(),
        };
        let line = |n_bytes_certified| {
            state_line(&Queried {
                layer: 1,
                expression: "a".into(),
                k: 5,
                bottom: false,
                reading: reading(n_bytes_certified),
                certified: true,
                groups: Vec::new(),
            })
        };
        assert!(line(12_000).contains("certified after 10.0 % (12.0 kB of 120.5 kB)"), "{}", line(12_000));
        let more = line(122_500);
        assert!(more.contains("the whole index (120.5 kB)") && more.contains("122.5 kB in all"), "{more}");
        assert!(!more.contains('%'), "{more}");
    }
}
