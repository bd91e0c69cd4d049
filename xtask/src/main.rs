//! `cargo xtask setup | demo | test | bench`: what a developer of Whence runs, with one line per step that says what it
//! does and why. It calls cargo, trunk, the browser and `whence` itself; it knows nothing of what they compute.

mod app;
mod axe;
mod bench;
mod build;
mod checks;
mod demo;
mod failure;
mod licenses;
mod nextest;
mod pack;
mod place;
mod setup;
mod split;
mod step;

use std::env;
use std::process::ExitCode;

use failure::Failure;
use place::Place;

const USAGE: &str = "usage: cargo xtask TASK

  setup                          install what builds and tests need: wasm target, trunk, wasm-bindgen, nextest, Chromium
  app                            the app alone, into frontend/dist
  build                          the app, then whence with the app in it, so that it serves without any other file
  demo [--fresh] [--no-serve] [--diffuse]
                                 make the planted testbed, rank its pairs, serve the app, train again on edited pairs;
                                 --fresh starts again, --no-serve serves nothing and fails over budget (3 min to the
                                 ranking, 8 min of training again, 2 GB), --diffuse plants no few culprits
  test [-- NEXTEST OPTIONS]      setup, every mechanical check, then every test
  bench                          the benchmarks of extraction and ranking
  bench extraction [OPTIONS]     tokens per second of `whence extract` beside transformers (WHENCE_PYTHON or python3)
  bench training [OPTIONS]       tokens per second of preference optimization beside PyTorch (WHENCE_PYTHON or python3)
  bench listing [N_PAIRS]        in Chromium: filters, orders, searches and scrolling over 378,341 pairs
  bench ranking [OPTIONS]        in Chromium: until certified, kernels, memory (a folder or address of a study)
  bench app [OPTIONS]            in Chromium: bytes to download, time until the app answers, frames of the map
  bench scale [OPTIONS]          378,341 pairs × 4096 × 3 layers of made-up activations: time, bytes, peak memory
                                 (about 14 GB of disk)
  bench index [OPTIONS]          the index at 378,341 × 4096: build, bytes until certified, beside FAISS and NumPy
  bench cluster [OPTIONS]        Ward, k-means and HDBSCAN beside scipy and scikit-learn (WHENCE_PYTHON or python3)
  bench discovery [OPTIONS]      what discovery finds where no, two or three behaviors are planted (about an hour)
  bench diagnosis [OPTIONS]      the diagnosis on testbeds of known signal: thresholds and error rates (about an hour)";

fn run(args: &[&str]) -> Result<(), Failure> {
    match args {
        ["setup"] => setup::setup(&Place::find()?),
        ["app"] => app::build(&Place::find()?).map(|costs| step::print_costs(&costs)),
        ["build"] => build::build(&Place::find()?).map(|costs| step::print_costs(&costs)),
        ["demo", options @ ..] => demo::demo(&Place::find()?, demo::Options::parse(options)?),
        ["test"] => checks::test(&Place::find()?, &[]),
        ["test", "--", nextest @ ..] => checks::test(&Place::find()?, nextest),
        ["bench"] => {
            let place = Place::find()?;
            bench::extraction(&place, &[])?;
            bench::ranking(&place, &[])
        }
        ["bench", "extraction", options @ ..] => bench::extraction(&Place::find()?, options),
        ["bench", "training", options @ ..] => bench::training(&Place::find()?, options),
        ["bench", "listing", options @ ..] => bench::listing(&Place::find()?, options),
        ["bench", "ranking", options @ ..] => bench::ranking(&Place::find()?, options),
        ["bench", "app", options @ ..] => bench::app(&Place::find()?, options),
        ["bench", "scale", options @ ..] => bench::scale(&Place::find()?, options),
        ["bench", "cluster", options @ ..] => bench::cluster(&Place::find()?, options),
        ["bench", "index", options @ ..] => bench::index(&Place::find()?, options),
        ["bench", "discovery", options @ ..] => bench::discovery(&Place::find()?, options),
        ["bench", "diagnosis", options @ ..] => bench::diagnosis(&Place::find()?, options),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(Failure::new(format!("unknown task {:?}", args.join(" ")), USAGE)),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::FAILURE
        }
    }
}
