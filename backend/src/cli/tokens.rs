//! `whence tokens`: what each token of the first pairs of a ranking adds to their scores.

use std::path::PathBuf;

use anyhow::Context;
use whence_backend::attribute::probe::layers_to_rank;
use whence_backend::attribute::tokens::{TokensOptions, TokensRead, tokens};
use whence_backend::study::Study;
use whence_shared::tokens::{PairTokens, SideTokens, totals};

use super::bar::Bars;
use super::behavior::{Rows, rows};
use super::model;
use super::reading::Reading;

/// Tokens that are printed of each side.
const N_SHOWN: usize = 8;

/// Arguments of `whence tokens`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Name of the behavior, as given to `whence behavior`
    #[arg(long)]
    behavior: String,
    /// Layer
    #[arg(long)]
    layer: usize,
    /// The model the study's vectors were extracted with: a folder, or org/name or org/name@revision
    #[arg(long)]
    model: PathBuf,
    /// So many pairs that push hardest toward the behavior
    #[arg(long, default_value_t = 100)]
    top: usize,
    /// So many that push hardest away from it
    #[arg(long, default_value_t = 0)]
    bottom: usize,
    /// And these rows of the study, from 0, such as 0-4,17
    #[arg(long, value_parser = rows)]
    rows: Option<Rows>,
    #[command(flatten)]
    reading: Reading,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        // Before a model is opened, which may be to download it.
        layers_to_rank(&study, &self.behavior, &[self.layer])?;
        let bars = Bars::default();
        let model = model::open(&self.model, &bars)?;
        let opened = self.reading.open()?;
        let device = &opened.first().context("--device: expected a device")?.device;
        let options = TokensOptions {
            behavior: self.behavior,
            layer: self.layer,
            top: self.top,
            bottom: self.bottom,
            rows: self.rows.map(|rows| rows.0).unwrap_or_default(),
            template: self.reading.template,
            dtype: self.reading.dtype,
        };
        let read = tokens(&study, &model, device, &options, &|update| bars.show(update))?;
        bars.clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&read.view)?);
            return Ok(());
        }
        print(&read);
        println!("stored in {}", study.tokens(&read.view.behavior, read.view.layer).display());
        Ok(())
    }
}

fn print(read: &TokensRead) {
    let view = &read.view;
    println!("{} pairs of {:?} at layer {}, token by token", view.pairs.len(), view.behavior, view.layer);
    if read.n_unreadable > 0 {
        println!("  {} could not be read and are left out", read.n_unreadable);
    }
    type Of = fn(&PairTokens) -> &SideTokens;
    let sides: [(&str, Of); 2] = [("chosen", |pair| &pair.chosen), ("rejected", |pair| &pair.rejected)];
    for (name, of) in sides {
        let sum = view.pairs.iter().map(|pair| of(pair).sum()).sum::<f64>() / view.pairs.len().max(1) as f64;
        println!("  {name} responses add {sum:+.3} to the mean score; most of it from");
        for total in totals(&view.pairs, of, N_SHOWN) {
            let mean = total.sum / view.pairs.len() as f64;
            println!("    {mean:>+8.4}  {:?} ({} times)", total.text, total.n);
        }
    }
}
