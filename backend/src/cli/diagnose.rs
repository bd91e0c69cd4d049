//! `whence diagnose`: whether editing the first pairs of a ranking is likely to help.

use std::path::PathBuf;

use whence_backend::attribute::{DiagnoseOptions, diagnose};
use whence_backend::study::Study;
use whence_shared::diagnosis::Diagnosis;
use whence_shared::diagnosis::card::{self, CardFigure};
use whence_shared::diagnosis::confounds::Confound;

use super::bar::Bars;

/// Arguments of `whence diagnose`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Name of the behavior, as given to `whence behavior`
    #[arg(long)]
    behavior: String,
    /// Layer; every complete layer when left out
    #[arg(long)]
    layer: Option<usize>,
    /// How many pairs would be edited
    #[arg(short, default_value_t = 100)]
    k: usize,
    /// Decides what is drawn: shuffled labels, random directions, halves of the test prompts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the diagnoses as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let options = DiagnoseOptions {
            behavior: self.behavior,
            layers: self.layer.into_iter().collect(),
            k: self.k,
            seed: self.seed,
        };
        let bars = Bars::default();
        let found = diagnose(&Study::at(self.study), &options, &|update| bars.show(update))?;
        bars.clear();
        if self.json {
            let diagnoses: Vec<&Diagnosis> = found.iter().map(|(_, diagnosis)| diagnosis).collect();
            println!("{}", serde_json::to_string_pretty(&diagnoses)?);
            return Ok(());
        }
        for (path, diagnosis) in &found {
            print(diagnosis);
            println!("  stored in {}\n", path.display());
        }
        if found.len() > 1 {
            for (_, diagnosis) in &found {
                println!("layer {}: {}", diagnosis.of.layer, diagnosis.verdict.expectation.words());
            }
        }
        Ok(())
    }
}

/// The card.
fn print(diagnosis: &Diagnosis) {
    let Diagnosis { of, verdict, .. } = diagnosis;
    println!("layer {}: editing the first {} of {} pairs: {}", of.layer, of.k, of.n_pairs, verdict.expectation.words());
    println!("  {}", verdict.text);
    println!("  {:<42}  {:>22}  {:>16}  {:>16}", "", "", "shuffled labels", "random directions");
    for CardFigure { name, value, shuffled_labels, random_directions } in card::figures(diagnosis) {
        let band = |band: Option<String>| band.unwrap_or_default();
        println!("  {name:<42}  {value:>22}  {:>16}  {:>16}", band(shuffled_labels), band(random_directions));
    }
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), card::score);
    for agreement in &diagnosis.layers {
        println!(
            "  layer {:<3} has {} of the first {} in common, rank correlation {}",
            agreement.layer,
            card::percent(agreement.moved.overlap),
            of.k,
            number(agreement.moved.spearman)
        );
    }
    println!(
        "  {:<16}  {:>11}  {:>24}  {:>16}",
        "the score with", "correlation", "without it, first stay", "rank correlation"
    );
    for Confound { name, correlation, residual } in &diagnosis.confounds {
        let (correlation, spearman) = (number(*correlation), number(residual.spearman));
        println!("  {name:<16}  {correlation:>11}  {:>24}  {spearman:>16}", card::percent(residual.overlap));
    }
}
