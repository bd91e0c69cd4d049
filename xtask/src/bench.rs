//! `cargo xtask bench`: builds what a benchmark needs and runs it. The benchmarks themselves measure and print.

use std::env;

use crate::checks::BROWSER_TESTS;
use crate::failure::Failure;
use crate::place::Place;
use crate::{app, build, setup, step};

/// A Python that the benchmarks compare with.
struct Peer {
    /// What it must be able to import.
    modules: &'static str,
    /// How these are called in a sentence.
    name: &'static str,
    /// What to install when it cannot.
    packages: &'static str,
}

/// Runs `program`, which starts the Python by itself.
fn beside(place: &Place, peer: &Peer, program: &str, options: &[&str], what: [&str; 2]) -> Result<(), Failure> {
    let python = env::var("WHENCE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut ask = place.command(&python);
    ask.args(["-c", &format!("import {}", peer.modules)]);
    let remedy = format!("pip install {}, then set WHENCE_PYTHON to that Python", peer.packages);
    step::run("peer", &format!("the benchmark compares with {}", peer.name), &mut ask, &remedy)?;
    build::whence(place)?;
    let mut bench = place.command(&place.release(program).to_string_lossy());
    bench.args(options).env("WHENCE_BIN", place.whence()).env("WHENCE_PYTHON", python);
    // Which only one of them asks for.
    bench.env("WHENCE_TIME_CLUSTERS", place.release("time_clusters")).env("WHENCE_APP", place.app());
    let [name, why] = what;
    step::run(name, why, &mut bench, "read the error above").map(drop)
}

/// Extraction beside transformers.
///
/// # Errors
///
/// Fails when Python lacks torch or transformers, or the benchmark fails.
pub fn extraction(place: &Place, options: &[&str]) -> Result<(), Failure> {
    let peer = Peer {
        modules: "torch, transformers, safetensors",
        name: "transformers",
        packages: "torch transformers safetensors",
    };
    beside(place, &peer, "bench_extraction", options, ["extraction", "tokens per second of whence beside transformers"])
}

/// Preference optimization beside a plain PyTorch loop, or TRL.
///
/// # Errors
///
/// Fails when Python lacks torch or transformers, or the benchmark fails.
pub fn training(place: &Place, options: &[&str]) -> Result<(), Failure> {
    let peer = Peer {
        modules: "torch, transformers",
        name: "PyTorch",
        packages: "torch transformers (and trl for --way trl)",
    };
    beside(place, &peer, "bench_training", options, ["training", "tokens per second of training beside PyTorch"])
}

/// Clustering beside scipy and scikit-learn.
///
/// # Errors
///
/// Fails when Python lacks one of them, or the results differ.
pub fn cluster(place: &Place, options: &[&str]) -> Result<(), Failure> {
    let peer = Peer {
        modules: "numpy, scipy, sklearn, safetensors",
        name: "scipy and scikit-learn",
        packages: "numpy scipy scikit-learn safetensors",
    };
    build_for_browser(place)?;
    let why = "Ward, k-means and HDBSCAN beside scipy and scikit-learn, natively and in Chromium";
    beside(place, &peer, "bench_cluster", options, ["cluster", why])
}

/// Extraction at the size of the real thing, with made-up activations.
///
/// # Errors
///
/// Fails when a phase fails, needs more than 1 GB of memory, or parts and whole differ.
pub fn scale(place: &Place, options: &[&str]) -> Result<(), Failure> {
    build::whence(place)?;
    let mut bench = place.command(&place.release("bench_scale").to_string_lossy());
    bench.args(options);
    let remedy = "read the error above; --folder DIR chooses another disk";
    step::run("scale", "time, bytes and peak memory of a study of full size", &mut bench, remedy).map(drop)
}

/// The index at the size of the real thing, beside FAISS and NumPy.
///
/// # Errors
///
/// Fails when the index cannot be made or read.
pub fn index(place: &Place, options: &[&str]) -> Result<(), Failure> {
    build::whence(place)?;
    let mut bench = place.command(&place.release("bench_index").to_string_lossy());
    bench.args(options).env("WHENCE_BIN", place.whence());
    let remedy = "read the error above; --folder DIR chooses another disk";
    step::run("index", "build time, bytes until certified, queries per second", &mut bench, remedy).map(drop)
}

/// The diagnosis on testbeds where it is known whether editing helps.
///
/// # Errors
///
/// Fails when a testbed cannot be made.
pub fn diagnosis(place: &Place, options: &[&str]) -> Result<(), Failure> {
    build::whence(place)?;
    let mut bench = place.command(&place.release("calibrate_diagnosis").to_string_lossy());
    bench.args(options);
    let remedy = "read the error above; --folder DIR keeps what is done and goes on from there";
    step::run("diagnosis", "how often the diagnosis is right, and by which thresholds", &mut bench, remedy).map(drop)
}

/// Discovery on testbeds where it is known what is there to be found.
///
/// # Errors
///
/// Fails when a testbed cannot be made.
pub fn discovery(place: &Place, options: &[&str]) -> Result<(), Failure> {
    build::whence(place)?;
    let mut bench = place.command(&place.release("bench_discovery").to_string_lossy());
    bench.args(options);
    let remedy = "read the error above; --folder DIR keeps what is done and goes on from there";
    step::run("discovery", "what is found where no, two or three behaviors are planted", &mut bench, remedy).map(drop)
}

/// The app, and the programs that measure it.
fn build_for_browser(place: &Place) -> Result<(), Failure> {
    setup::setup(place)?;
    app::build(place)?;
    let mut build = place.command("cargo");
    build.args(["build", "--release", "-p", BROWSER_TESTS]);
    step::run("benchmark", "compiles it", &mut build, "mend what rustc names").map(drop)
}

/// Ranking in the browser: from the click to a certified ranking, the kernels, the page's thread and memory.
///
/// # Errors
///
/// Fails when the browser is missing or the benchmark fails.
pub fn ranking(place: &Place, options: &[&str]) -> Result<(), Failure> {
    build_for_browser(place)?;
    let mut bench = place.command(&place.release("bench_ranking").to_string_lossy());
    bench.args(options).env("WHENCE_APP", place.app());
    step::run(
        "ranking",
        "from the click to a certified ranking in Chromium; kernels beside plain JavaScript",
        &mut bench,
        "read the error above",
    )
    .map(drop)
}

/// The app's ranking page: how fast filters, orders, searches and the table answer.
///
/// # Errors
///
/// Fails when the browser is missing or the benchmark fails.
pub fn listing(place: &Place, options: &[&str]) -> Result<(), Failure> {
    build_for_browser(place)?;
    let mut bench = place.command(&place.release("bench_listing").to_string_lossy());
    bench.args(options).env("WHENCE_APP", place.app());
    let why = "filters, orders, searches and scrolling over 378,341 pairs in Chromium";
    step::run("listing", why, &mut bench, "read the error above").map(drop)
}

/// The app in the browser: bytes to download, time until it answers, and the frames of the map.
///
/// # Errors
///
/// Fails when the browser is missing, or a figure is over its budget.
pub fn app(place: &Place, options: &[&str]) -> Result<(), Failure> {
    build_for_browser(place)?;
    let mut bench = place.command(&place.release("bench_app").to_string_lossy());
    bench.args(options).env("WHENCE_APP", place.app());
    let remedy = "run it on an idle machine, or mend what it calls over";
    step::run("app", "size, opening and frames of the app in Chromium, beside their budgets", &mut bench, remedy)
        .map(drop)
}
