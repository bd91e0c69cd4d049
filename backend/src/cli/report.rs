//! `whence report`: a study as a bundle that any web server serves.

use std::path::PathBuf;

use whence_backend::report::{ReportOptions, report};
use whence_backend::study::{Study, numbers};
use whence_backend::view::app::App;
use whence_backend::view::choice::Choice;

use super::app;
use super::bar::Bars;

/// Arguments of `whence report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Folder to write, or a file that ends in .zip
    #[arg(long, value_name = "FOLDER|FILE.zip")]
    out: PathBuf,
    /// Behaviors to include, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    behaviors: Option<Vec<String>>,
    /// Layers to include, separated by commas [default: all with vectors]
    #[arg(long, value_delimiter = ',', value_name = "LAYERS")]
    layers: Option<Vec<usize>>,
    /// Leave out the texts of pairs; words that describe whole groups and the behaviors' test prompts stay
    #[arg(long)]
    no_texts: bool,
    /// Leave out the pair vectors: smaller, and ranked by the index alone, with bounds instead of exact scores
    #[arg(long)]
    no_vectors: bool,
    /// Write one archive, whatever --out is called
    #[arg(long)]
    zip: bool,
    /// Replace an earlier bundle
    #[arg(long)]
    replace: bool,
    /// Folder of the built app [default: $WHENCE_APP, or the app in this program]
    #[arg(long)]
    app: Option<PathBuf>,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let app = App::find(self.app, app::embedded())?;
        let is_zip = self.zip || self.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
        let choice =
            Choice { behaviors: self.behaviors, layers: self.layers, texts: !self.no_texts, vectors: !self.no_vectors };
        let options = ReportOptions { out: self.out, is_zip, choice, replace: self.replace };
        let bars = Bars::default();
        let made = report(&Study::at(self.study), &app, &options, &|update| bars.show(update))?;
        bars.clear();
        println!(
            "{}: {} files, {:.1} MB; layers {}; behaviors {}",
            made.out.display(),
            made.n_files,
            made.n_bytes as f64 / 1e6,
            numbers(&made.layers),
            if made.behaviors.is_empty() { "none".into() } else { made.behaviors.join(", ") }
        );
        println!("  manifest sha256 {}", made.sha256);
        match is_zip {
            true => println!("  unpack it on any web server, at any address"),
            false => println!(
                "  put it on any web server, at any address; here: python3 -m http.server -d {}",
                made.out.display()
            ),
        }
        Ok(())
    }
}
