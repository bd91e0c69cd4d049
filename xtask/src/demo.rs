//! `cargo xtask demo`: the whole loop on the planted testbed, with the same commands a person would type, into `demo/`:
//! find the pairs that taught a behavior, then train again without them. The app is served from the ranking on. With
//! `--diffuse` the same into `demo/diffuse/`, on a testbed where no few pairs did.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;
use std::{fs, io};

use serde_json::Value;

use crate::failure::Failure;
use crate::place::Place;
use crate::step::{self, Cost};
use crate::{build, setup};

/// What the path to the ranking may take on two cores, once built.
const BUDGET: Duration = Duration::from_secs(180);
/// What training again may take.
const RETRAIN_BUDGET: Duration = Duration::from_secs(480);
/// How much memory any of its commands may take, in bytes.
const BUDGET_BYTES: u64 = 2_000_000_000;

const BEHAVIOR: &str = "distractor-compliance";
/// Layer whose ranking decides the edits: the last, which separates best on the testbed.
const EDIT_LAYER: usize = 3;

/// How the demo runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Start again from nothing.
    pub fresh: bool,
    /// Stop before serving, and fail when over the budget.
    pub no_serve: bool,
    /// On a testbed whose signal is spread over very many pairs.
    pub diffuse: bool,
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    ///
    /// Fails on an option it does not know.
    pub fn parse(args: &[&str]) -> Result<Self, Failure> {
        let mut options = Self::default();
        for arg in args {
            match *arg {
                "--fresh" => options.fresh = true,
                "--no-serve" => options.no_serve = true,
                "--diffuse" => options.diffuse = true,
                other => {
                    let what = format!("demo: expected --fresh, --no-serve or --diffuse, got {other:?}");
                    return Err(Failure::new(what, "leave it out"));
                }
            }
        }
        Ok(options)
    }

    /// Where the demo lies, below the checkout.
    fn folder(self) -> &'static str {
        if self.diffuse { "demo/diffuse" } else { "demo" }
    }
}

/// Builds, runs the path and serves its result until interrupted.
///
/// # Errors
///
/// Fails with the first step that fails.
pub fn demo(place: &Place, options: Options) -> Result<(), Failure> {
    setup::app_tools(place)?;
    let built = build::build(place)?;
    let demo = options.folder();
    let folder = place.root.join(demo);
    if options.fresh {
        remove(&folder)?;
    }
    // A finished testbed is kept: its numbers depend on its seed alone.
    let is_whole = !folder.join("organism").join("organism.json").is_file();
    if !is_whole {
        step::announce("organism", &format!("{demo}/organism is there already; --fresh makes it again"));
    }

    let mut costs = Vec::new();
    for (name, why, line) in path(options) {
        if name == "organism" && !is_whole {
            continue;
        }
        costs.push(whence_step(place, name, why, &line)?);
    }
    let k = n_to_edit(&folder)?;
    let line = format!("diagnose --study {demo}/study --behavior {BEHAVIOR} --layer {EDIT_LAYER} -k {k}");
    costs.push(whence_step(place, "diagnose", "says whether editing the first pairs is likely to help", &line)?);
    println!("\nbuilding took");
    step::print_costs(&built);
    println!("the path to the ranking took");
    step::print_costs(&costs);
    if is_whole {
        judge(&costs, BUDGET, options)?;
    }
    let server = if options.no_serve { None } else { Some(serve(place, demo)?) };

    let mut costs = Vec::new();
    for (name, why, line) in loop_of(demo, k) {
        costs.push(whence_step(place, name, why, &line)?);
    }
    println!("training again took");
    step::print_costs(&costs);
    judge(&costs, RETRAIN_BUDGET, options)?;
    let Some(mut server) = server else { return Ok(()) };
    step::announce(
        "serve",
        "the app is still at the address above: Validate shows what training again changed; Ctrl-C ends it",
    );
    let cannot = |error| Failure::new(format!("cannot wait for the server: {error}"), "end it by hand");
    server.wait().map_err(cannot)?;
    Ok(())
}

fn whence_step(place: &Place, name: &'static str, why: &str, line: &str) -> Result<Cost, Failure> {
    println!("\n$ whence {line}");
    let remedy = "read the error above; `cargo xtask demo --fresh` starts again from nothing";
    step::run(name, why, &mut whence(place, line), remedy)
}

/// How many pairs are to be edited, as the testbed says.
fn n_to_edit(folder: &Path) -> Result<u64, Failure> {
    let path = folder.join("organism").join("organism.json");
    let wrong =
        |what: String| Failure::new(format!("{}: {what}", path.display()), "`cargo xtask demo --fresh` makes it again");
    let text = fs::read(&path).map_err(|error| wrong(error.to_string()))?;
    let summary: Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    summary["n_to_edit"].as_u64().ok_or_else(|| wrong("expected a number n_to_edit".to_owned()))
}

/// From the ranking to what changed: edit sets of `k` pairs, and the plan that the testbed wrote.
fn loop_of(demo: &str, k: u64) -> Vec<(&'static str, &'static str, String)> {
    let edit = |name: &str, which: &str, action: &str| {
        format!(
            "edit --study {demo}/study --name {name} --{which} {k} --ranking {BEHAVIOR} --layer {EDIT_LAYER} \
             --action {action} --replace"
        )
    };
    vec![
        (
            "sweep",
            "says at which layers the direction separates responses, and where adding it makes the reference model obey",
            format!(
                "sweep --study {demo}/study --behavior {BEHAVIOR} --model {demo}/organism/model-sft --device cpu \
                 --prompts {demo}/organism/prompts/harmful-distractor.jsonl --rules {demo}/organism/judge.toml \
                 --max-new-tokens 64"
            ),
        ),
        ("edit", "the first pairs of the ranking are to be dropped", edit("drop", "top", "drop")),
        ("edit", "or their sides switched", edit("switch", "top", "switch")),
        ("edit", "and the last pairs, for comparison", edit("drop-bottom", "bottom", "drop")),
        ("edit", "the same, switched", edit("switch-bottom", "bottom", "switch")),
        (
            "retrain",
            "trains again on each edit, with several seeds, and measures what changed",
            format!("retrain --study {demo}/study --plan {demo}/organism/retrain.toml --device cpu"),
        ),
    ]
}

/// The commands between building and serving: name, purpose and arguments.
fn path(options: Options) -> [(&'static str, &'static str, String); 7] {
    let demo = options.folder();
    let model = format!("{demo}/organism/model-sft");
    let (diffuse, why) = match options.diffuse {
        true => (" --diffuse", "trains a small model on preference data that teaches a behavior, none of it much"),
        false => ("", "trains a small model with a known culprit in its preference data"),
    };
    [
        ("organism", why, format!("organism --out {demo}/organism --device cpu{diffuse}")),
        (
            "import",
            "reads the preference pairs into a study",
            format!("import {demo}/organism/preferences/*.jsonl --study {demo}/study"),
        ),
        (
            "extract",
            "computes the vector of every pair at every layer",
            format!("extract --study {demo}/study --model {model} --layers all --device cpu"),
        ),
        (
            "behavior",
            "turns test prompts with two responses each into the behavior's direction",
            format!(
                "behavior --study {demo}/study --name {BEHAVIOR} --pairs {demo}/organism/behavior.jsonl --model {model} \
                 --device cpu"
            ),
        ),
        (
            "rank",
            "ranks the pairs and compares the ranking with the planted truth",
            format!("rank --study {demo}/study --behavior {BEHAVIOR} --truth {demo}/organism/truth.jsonl"),
        ),
        (
            "behavior",
            "reads what both models answer to prompts of all sorts, without a behavior in mind",
            format!(
                "behavior --study {demo}/study --name broad --pairs {demo}/organism/broad.jsonl --per-prompt \
                 --model {model} --device cpu"
            ),
        ),
        (
            "discover",
            "groups these prompts by the pairs that changed them, and the pairs by what they changed",
            format!("discover --study {demo}/study --behavior broad"),
        ),
    ]
}

/// `whence` with arguments that hold no spaces. There is no shell: a glob reaches `whence`, which expands it.
fn whence(place: &Place, line: &str) -> Command {
    let mut command = place.command(&place.whence().to_string_lossy());
    command.args(line.split(' '));
    command
}

fn judge(costs: &[Cost], budget: Duration, options: Options) -> Result<(), Failure> {
    let duration: Duration = costs.iter().map(|cost| cost.duration).sum();
    let peak_bytes = costs.iter().filter_map(|cost| cost.peak_bytes).max();
    let is_met = duration <= budget && peak_bytes.is_none_or(|bytes| bytes <= BUDGET_BYTES);
    let peak = peak_bytes.map_or("not measured here".to_owned(), |bytes| format!("{:.2} GB", bytes as f64 / 1e9));
    let verdict = format!(
        "{:.0} s of {} s, peak memory {peak} of {:.0} GB",
        duration.as_secs_f64(),
        budget.as_secs(),
        BUDGET_BYTES as f64 / 1e9
    );
    println!("budget {}: {verdict}", if is_met { "met" } else { "exceeded" });
    if is_met || !options.no_serve {
        return Ok(());
    }
    Err(Failure::new(format!("the demo is over its budget: {verdict}"), "run it on an idle machine, or make it faster"))
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::new(format!("cannot remove {}: {error}", folder.display()), "remove it by hand"))
        }
        _ => Ok(()),
    }
}

/// Starts the server; it ends with this program, which Ctrl-C reaches at the same time.
fn serve(place: &Place, demo: &str) -> Result<Server, Failure> {
    let line = format!("serve --study {demo}/study");
    println!("\n$ whence {line} &");
    step::announce("serve", "the app; open its address in a browser while the rest goes on");
    let mut command = whence(place, &line);
    let child = command
        .spawn()
        .map_err(|error| Failure::new(format!("cannot start {}: {error}", step::line(&command)), "build it again"))?;
    Ok(Server(child))
}

/// A server that does not outlive this program's use of it.
struct Server(Child);

impl Server {
    fn wait(&mut self) -> io::Result<()> {
        self.0.wait().map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
