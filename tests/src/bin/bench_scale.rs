//! `cargo xtask bench scale`: extraction at the size of the real thing, 378,341 pairs × 4096 × 3 layers in f16, through
//! the real import, pipeline, writer, manifests, resume, parts, merge and ranking, with made-up activations instead of a
//! model.
//!
//! Every phase is a process of its own, so that each has a peak memory of its own; the extraction is killed on the way
//! and continued. The merged parts must have the same files, byte for byte, as the uninterrupted study. Fails when any
//! phase needs more than 1 GB of resident memory.
//!
//! Options: `--pairs N`, `--d-model N`, `--layers N`, `--folder DIR` (else a temporary one; about 14 GB at full size).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use whence_backend::attribute::table::{self, Labels};
use whence_backend::attribute::{RankOptions, rank};
use whence_backend::data::import::{ImportOptions, import};
use whence_backend::extract::merge;
use whence_backend::inspect::inspect;
use whence_backend::progress::silent;
use whence_backend::study::Study;
use whence_backend::{files, memory};
use whence_shared::direction::DirectionMethod;
use whence_shared::shard::{self, ShardHeader, StoreDtype};
use whence_shared::study::{BehaviorView, LayerView};
use whence_tests::made_source::{Made, copy_without_vectors, vector, write_rows};

const LIMIT_BYTES: u64 = 1_000_000_000;
const ROWS_PER_FILE: usize = 1024;
const BEHAVIOR: &str = "made-up";

struct Options {
    n_pairs: usize,
    d_model: usize,
    n_layers: usize,
    folder: Option<PathBuf>,
    /// A phase to run in this process: name and study, and perhaps a part or other studies.
    phase: Vec<String>,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options = Self { n_pairs: 378_341, d_model: 4096, n_layers: 3, folder: None, phase: Vec::new() };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg}: expected a value after it"))?;
            let number = || match value.parse() {
                Ok(n) if n > 0 => Ok(n),
                _ => Err(format!("{arg}: expected a positive number, got {value:?}")),
            };
            match arg.as_str() {
                "--pairs" => options.n_pairs = number()?,
                "--d-model" => options.d_model = number()?,
                "--layers" => options.n_layers = number()?,
                "--folder" => options.folder = Some(value.into()),
                "--phase" => {
                    options.phase = std::iter::once(value).chain(args.by_ref()).collect();
                }
                _ => return Err(format!("unknown option {arg}")),
            }
        }
        Ok(options)
    }

    fn made(&self) -> Made {
        Made { logps: true, ..Made::new(self.d_model, self.n_layers, ROWS_PER_FILE) }
    }
}

fn main() -> ExitCode {
    let run = |options: Options| if options.phase.is_empty() { bench(&options) } else { phase(&options) };
    match Options::parse().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// One phase, in this process. The last line printed is its peak memory in bytes.
fn phase(options: &Options) -> Result<(), String> {
    let [name, study, more @ ..] = options.phase.as_slice() else {
        return Err("--phase: expected a name and a study".into());
    };
    let study = Study::at(study);
    match name.as_str() {
        "import" => {
            let rows = study.root().with_extension("jsonl");
            let inputs = vec![rows.to_string_lossy().into_owned()];
            import(&study, &ImportOptions { inputs, ..ImportOptions::default() }, &silent).map_err(say)?;
        }
        "extract" => {
            let part = more.first().map(|part| part.parse()).transpose()?;
            let totals = Made { part, ..options.made() }.extract(&study, &silent).map_err(say)?;
            println!("{}", totals.n_pairs);
        }
        "merge" => {
            let others: Vec<Study> = more.iter().map(Study::at).collect();
            merge(&study, &others, &silent).map_err(say)?;
        }
        "rank" => {
            define_behavior(options, &study)?;
            let asked = RankOptions { behavior: BEHAVIOR.into(), layers: Vec::new(), verify: false };
            let labels = Labels::read(&study).map_err(say)?;
            for ranking in rank(&study, &asked, &silent).map_err(say)? {
                let first = ranking.order[0] as usize;
                if labels.ids[first] != "pair-7" {
                    return Err(format!("layer {}: pair-7 should be first, got {}", ranking.layer, labels.ids[first]));
                }
                table::store(&study, &ranking, &labels).map_err(say)?;
            }
        }
        "inspect" => drop(inspect(study.root(), true, &silent).map_err(say)?),
        _ => return Err(format!("unknown phase {name}")),
    }
    println!("{}", memory::peak_bytes().unwrap_or(0));
    Ok(())
}

/// A behavior whose direction is the vector of pair 7: what is ranked first is known.
fn define_behavior(options: &Options, study: &Study) -> Result<(), String> {
    let layers = options.made().layers;
    for &layer in &layers {
        let bytes = fs::read(study.layer_manifest(layer)).map_err(say)?;
        let view: LayerView = serde_json::from_slice(&bytes).map_err(say)?;
        let first = fs::read(study.root().join(&view.shards[0].path)).map_err(say)?;
        let inputs = shard::Shard::parse(&first).map_err(say)?.header.inputs;
        let direction = vector("pair-7", layer, options.d_model);
        let header = ShardHeader { layer, first_row: 0, inputs };
        let bytes =
            shard::write(&header, &direction, options.d_model, StoreDtype::F32, Some(&direction)).map_err(say)?;
        files::write(&study.behavior_vectors(BEHAVIOR, layer), &bytes).map_err(say)?;
    }
    let method = DirectionMethod::Mean;
    let view = BehaviorView {
        name: BEHAVIOR.into(),
        n_pairs: 1,
        n_scenarios: 1,
        method,
        reading: "M0/M0".into(),
        layers,
        ..BehaviorView::default()
    };
    let json = serde_json::to_vec(&view).map_err(say)?;
    files::write(&study.behavior(BEHAVIOR).join("behavior.json"), &json).map_err(say)
}

/// What one phase took.
struct Cost {
    name: String,
    duration: Duration,
    n_bytes: u64,
    peak_bytes: Option<u64>,
}

fn bench(options: &Options) -> Result<(), String> {
    let temporary = tempfile::tempdir().map_err(say)?;
    let root = options.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    let n_bytes = options.n_pairs as u64 * options.d_model as u64 * options.n_layers as u64 * 2;
    println!(
        "{} pairs × {} × {} layers in f16 ({:.2} GB), in {}",
        options.n_pairs,
        options.d_model,
        options.n_layers,
        n_bytes as f64 / 1e9,
        root.display()
    );
    let study = Study::at(root.join("study"));
    write_rows(&root.join("study.jsonl"), options.n_pairs).map_err(say)?;
    let bench = Bench { options, costs: Vec::new() };
    bench.run(&study, &root, n_bytes)
}

struct Bench<'a> {
    options: &'a Options,
    costs: Vec<Cost>,
}

impl Bench<'_> {
    fn run(mut self, study: &Study, root: &Path, n_bytes: u64) -> Result<(), String> {
        let pairs_bytes = fs::metadata(root.join("study.jsonl")).map_err(say)?.len();
        self.phase("import", "import", study, &[], pairs_bytes)?;
        let n_files = self.kill_midway(study)?;
        self.phase("resume to the end", "extract", study, &[], n_bytes)?;
        self.phase("nothing left to do", "extract", study, &[], n_bytes)?;
        self.phase("rank 3 layers", "rank", study, &[], n_bytes)?;
        self.phase("inspect --verify", "inspect", study, &[], n_bytes)?;
        // The manifests hold the hash of every file: the files themselves need not wait for the comparison.
        let expected = self.manifests(study)?;
        let one = copy_without_vectors(study, &root.join("one")).map_err(say)?;
        let two = copy_without_vectors(study, &root.join("two")).map_err(say)?;
        fs::remove_dir_all(study.vectors()).map_err(say)?;
        self.phase("part 1/2", "extract", &one, &["1/2".into()], n_bytes / 2)?;
        self.phase("part 2/2", "extract", &two, &["2/2".into()], n_bytes / 2)?;
        let other = two.root().to_string_lossy().into_owned();
        self.phase("merge both", "merge", &one, &[other], n_bytes)?;
        let same = self.manifests(&one)? == expected;
        for folder in [study, &one, &two] {
            fs::remove_dir_all(folder.root()).map_err(say)?;
        }
        fs::remove_file(root.join("study.jsonl")).map_err(say)?;
        println!(
            "killed after {n_files} files; the merged parts have {} files",
            if same { "the same" } else { "OTHER" }
        );
        self.print();
        if !same {
            return Err("the merged parts differ from the uninterrupted study".into());
        }
        let over: Vec<&str> = self
            .costs
            .iter()
            .filter(|c| c.peak_bytes.is_some_and(|n| n > LIMIT_BYTES))
            .map(|c| c.name.as_str())
            .collect();
        if over.is_empty() { Ok(()) } else { Err(format!("more than 1 GB of resident memory: {}", over.join(", "))) }
    }

    fn command(&self, phase: &str, study: &Study, more: &[String]) -> Result<Command, String> {
        let mut command = Command::new(env::current_exe().map_err(say)?);
        for (name, value) in [
            ("--pairs", self.options.n_pairs),
            ("--d-model", self.options.d_model),
            ("--layers", self.options.n_layers),
        ] {
            command.args([name, &value.to_string()]);
        }
        command.args(["--phase", phase]).arg(study.root()).args(more);
        Ok(command)
    }

    fn phase(&mut self, name: &str, phase: &str, study: &Study, more: &[String], n_bytes: u64) -> Result<(), String> {
        let start = Instant::now();
        let output = self.command(phase, study, more)?.stderr(Stdio::inherit()).output().map_err(say)?;
        if !output.status.success() {
            return Err(format!("{name} failed"));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let peak_bytes = said.lines().last().and_then(|line| line.parse().ok()).filter(|n| *n > 0);
        self.costs.push(Cost { name: name.to_owned(), duration: start.elapsed(), n_bytes, peak_bytes });
        let cost = &self.costs[self.costs.len() - 1];
        println!("{name}: {:.1} s", cost.duration.as_secs_f64());
        Ok(())
    }

    /// Extracts until a third of the files is there, then kills (SIGKILL). Returns how many files there were.
    fn kill_midway(&mut self, study: &Study) -> Result<usize, String> {
        let start = Instant::now();
        let wanted = self.options.n_pairs.div_ceil(ROWS_PER_FILE) / 3;
        let mut child = self.command("extract", study, &[])?.stdout(Stdio::null()).spawn().map_err(say)?;
        let count = || fs::read_dir(study.layer(1)).map_or(0, |entries| entries.count());
        while count() < wanted {
            if let Some(status) = child.try_wait().map_err(say)? {
                return Err(format!("the extraction ended before it could be killed: {status}"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        child.kill().map_err(say)?;
        child.wait().map_err(say)?;
        let n_files = count();
        println!("killed after {:.1} s with {n_files} files per layer", start.elapsed().as_secs_f64());
        Ok(n_files)
    }

    /// The manifests of a study's vectors: they list every file with its hash.
    fn manifests(&self, study: &Study) -> Result<Vec<Vec<u8>>, String> {
        let mut paths: Vec<PathBuf> = self.options.made().layers.iter().map(|&l| study.layer_manifest(l)).collect();
        paths.extend([study.logps_manifest(), study.vectors_manifest()]);
        paths.iter().map(|path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()))).collect()
    }

    fn print(&self) {
        println!("\n| phase | seconds | MB/s | peak resident memory, MB |\n|---|---|---|---|");
        for Cost { name, duration, n_bytes, peak_bytes } in &self.costs {
            let secs = duration.as_secs_f64();
            let peak = peak_bytes.map_or("not told".into(), |n| format!("{:.0}", n as f64 / 1e6));
            println!("| {name} | {secs:.1} | {:.0} | {peak} |", *n_bytes as f64 / 1e6 / secs);
        }
        println!();
    }
}
