//! `cargo xtask bench extraction`: tokens per second of `whence extract` beside transformers, on the CPU, with the same
//! random weights, the same pairs and the same number of threads.
//!
//! The two run in turn, A B A B, so that a machine that slows down slows both; medians are compared. Before a ratio is
//! printed the vectors of both must agree. Neither side's loading time counts; reading pairs, rendering, tokenising,
//! computing, pooling and writing do. Beside the ratio by the clock stands the ratio by processor time, which other
//! programs on the machine disturb less.
//!
//! Options: `--shape NAME` (else all), `--repetitions N`, `--pairs N`, `--batch-tokens N`, `--peer-batch-tokens N`.
//! Environment: `WHENCE_PYTHON`, a Python with torch and transformers (else `python3`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use whence_backend::data::pairs::PairWriter;
use whence_backend::device::{self, DeviceChoice, OpenDevice};
use whence_backend::extract::{ExtractOptions, extract};
use whence_backend::model::checkpoint::RandomParameters;
use whence_backend::model::{CausalLm, ModelConfig, ModelFolder, folder};
use whence_backend::progress::silent;
use whence_backend::study::Study;
use whence_shared::pair::{Message, Pair};
use whence_shared::shard::Shard;
use whence_tests::fixture::{self, Tensors};

/// A model shape with as many pairs as keep one repetition at a few seconds.
struct Shape {
    name: &'static str,
    layers: usize,
    hidden: usize,
    heads: usize,
    intermediate: usize,
    n_pairs: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "3x64", layers: 3, hidden: 64, heads: 4, intermediate: 256, n_pairs: 1000 },
    Shape { name: "4x256", layers: 4, hidden: 256, heads: 4, intermediate: 1024, n_pairs: 400 },
    Shape { name: "8x512", layers: 8, hidden: 512, heads: 8, intermediate: 2048, n_pairs: 120 },
];

/// Vectors of the two must point the same way at least this much, row by row.
const LEAST_COSINE: f64 = 0.9999;

struct Options {
    shape: Option<String>,
    repetitions: usize,
    pairs: Option<usize>,
    batch_tokens: usize,
    peer_batch_tokens: usize,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options =
            Self { shape: None, repetitions: 5, pairs: None, batch_tokens: 8192, peer_batch_tokens: 4096 };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg}: expected a value after it"))?;
            let number = || match value.parse() {
                Ok(n) if n > 0 => Ok(n),
                _ => Err(format!("{arg}: expected a positive number, got {value:?}")),
            };
            match arg.as_str() {
                "--shape" => options.shape = Some(value),
                "--repetitions" => options.repetitions = number()?,
                "--pairs" => options.pairs = Some(number()?),
                "--batch-tokens" => options.batch_tokens = number()?,
                "--peer-batch-tokens" => options.peer_batch_tokens = number()?,
                _ => return Err(format!("unknown option {arg}")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    match Options::parse().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let shapes: Vec<&Shape> =
        SHAPES.iter().filter(|shape| options.shape.as_ref().is_none_or(|name| name == shape.name)).collect();
    if shapes.is_empty() {
        let names: Vec<_> = SHAPES.iter().map(|shape| shape.name).collect();
        return Err(format!("--shape: expected one of {}, got {:?}", names.join(", "), options.shape));
    }
    let python = python()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("extraction on the cpu, {threads} threads, f32, medians of {} alternating runs", options.repetitions);
    let mut table = String::from(
        "| model | pairs | tokens | tokens/pair | whence tokens/s | transformers tokens/s | ratio | ratio per processor second | least cosine |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let mut versions = String::new();
    for shape in shapes {
        let folder = tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let bench = Bench::prepare(shape, options, folder.path(), threads)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let (mut ours_cpu, mut theirs_cpu) = (Vec::new(), Vec::new());
        // Both once unmeasured: pages, caches, the processor's clock.
        bench.whence()?;
        bench.peer(&python)?;
        let least_cosine = bench.least_cosine()?;
        if least_cosine < LEAST_COSINE {
            return Err(format!(
                "{}: the vectors differ: a row has cosine {least_cosine} < {LEAST_COSINE}",
                shape.name
            ));
        }
        let mut n_tokens = 0;
        for repetition in 1..=options.repetitions {
            let a = bench.whence()?;
            let b = bench.peer(&python)?;
            if a.n_tokens != b.n_tokens {
                return Err(format!("{}: {} tokens against {}: not the same work", shape.name, a.n_tokens, b.n_tokens));
            }
            println!(
                "{} {repetition}: whence {:.3} s ({:.2} processor s), transformers {:.3} s ({:.2} processor s) for {} tokens",
                shape.name, a.secs, a.cpu_secs, b.secs, b.cpu_secs, a.n_tokens
            );
            n_tokens = a.n_tokens;
            ours.push(a.n_tokens as f64 / a.secs);
            theirs.push(b.n_tokens as f64 / b.secs);
            ours_cpu.push(a.n_tokens as f64 / a.cpu_secs);
            theirs_cpu.push(b.n_tokens as f64 / b.cpu_secs);
            versions = b.versions;
        }
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        let cpu_ratio = median(&mut ours_cpu) / median(&mut theirs_cpu);
        let _ = writeln!(
            table,
            "| {} | {} | {n_tokens} | {:.0} | {ours:.0} | {theirs:.0} | {:.2} | {cpu_ratio:.2} | {least_cosine:.7} |",
            shape.name,
            bench.n_pairs,
            n_tokens as f64 / bench.n_pairs as f64,
            ours / theirs
        );
    }
    println!("\nwhence {} beside {versions}\n\n{table}", env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// A Python that can import what the peer needs.
fn python() -> Result<PathBuf, String> {
    let python = env::var_os("WHENCE_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let shown = python.display();
    let remedy = "install them with `pip install torch transformers`, or set WHENCE_PYTHON to a Python that has them";
    match Command::new(&python).args(["-c", "import torch, transformers, safetensors"]).output() {
        Ok(output) if output.status.success() => Ok(python),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("it said nothing").to_owned();
            Err(format!("{shown} cannot import torch, transformers and safetensors: {last}; {remedy}"))
        }
        Err(error) => Err(format!("cannot start {shown}: {error}; {remedy}")),
    }
}

/// One measured run.
struct Measured {
    secs: f64,
    /// Processor time of all threads; not a number where the system does not tell.
    cpu_secs: f64,
    n_tokens: u64,
    versions: String,
}

/// One shape's model and pairs, on disk.
struct Bench {
    root: PathBuf,
    device: OpenDevice,
    n_pairs: usize,
    layer: usize,
    threads: usize,
    batch_tokens: usize,
    peer_batch_tokens: usize,
}

impl Bench {
    fn prepare(shape: &Shape, options: &Options, root: &Path, threads: usize) -> Result<Self, String> {
        let say = |error: &dyn std::fmt::Display| format!("preparing {}: {error}", shape.name);
        let device = device::open(DeviceChoice::Cpu).map_err(|error| say(&error))?;
        let n_pairs = options.pairs.unwrap_or(shape.n_pairs);

        // The fixture's tokenizer and template, with a model of this shape.
        let model_folder = root.join("model");
        let template = fixture::model("chat");
        fs::create_dir_all(&model_folder).map_err(|error| say(&error))?;
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(template.join(file), model_folder.join(file)).map_err(|error| say(&error))?;
        }
        let config = ModelConfig {
            hidden_size: shape.hidden,
            intermediate_size: shape.intermediate,
            num_hidden_layers: shape.layers,
            num_attention_heads: shape.heads,
            num_key_value_heads: shape.heads,
            head_dim: shape.hidden / shape.heads,
            ..ModelConfig::read(&template.join("config.json")).map_err(|error| say(&error))?
        };
        let mut parameters = RandomParameters::new(0, 1.0 / (shape.hidden as f32).sqrt());
        let model = CausalLm::build(&mut parameters, &config, &device.device);
        folder::save(&model, &config, &model_folder).map_err(|error| say(&error))?;

        let pairs = pairs(n_pairs);
        let mut lines = Vec::new();
        let mut writer = PairWriter::create(&root.join("study/pairs.parquet")).map_err(|error| say(&error))?;
        for pair in &pairs {
            serde_json::to_writer(&mut lines, pair).map_err(|error| say(&error))?;
            lines.push(b'\n');
            writer.push(pair).map_err(|error| say(&error))?;
        }
        writer.commit().map_err(|error| say(&error))?;
        fs::write(root.join("pairs.jsonl"), lines).map_err(|error| say(&error))?;
        Ok(Self {
            root: root.to_owned(),
            device,
            n_pairs,
            layer: shape.layers,
            threads,
            batch_tokens: options.batch_tokens,
            peer_batch_tokens: options.peer_batch_tokens,
        })
    }

    fn study(&self) -> Study {
        Study::at(self.root.join("study"))
    }

    fn whence(&self) -> Result<Measured, String> {
        let say = |error: &dyn std::fmt::Display| format!("whence: {error}");
        let study = self.study();
        if study.vectors().exists() {
            fs::remove_dir_all(study.vectors()).map_err(|error| say(&error))?;
        }
        let folder = ModelFolder::open(&self.root.join("model")).map_err(|error| say(&error))?;
        let options =
            ExtractOptions { layers: vec![self.layer], batch_tokens: self.batch_tokens, ..ExtractOptions::default() };
        let cpu_start = cpu_secs();
        let extracted = extract(&study, &folder, std::slice::from_ref(&self.device.device), &options, &silent)
            .map_err(|error| say(&error))?;
        let cpu_secs = cpu_secs() - cpu_start;
        if let Some(remark) = extracted.remarks.shown.first() {
            return Err(format!("whence: row {}: {}", remark.row, remark.reason));
        }
        Ok(Measured { secs: extracted.compute_secs, cpu_secs, n_tokens: extracted.n_tokens, versions: String::new() })
    }

    fn peer(&self, python: &Path) -> Result<Measured, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/extract_transformers.py");
        let output = Command::new(python)
            .arg(script)
            .arg("--model")
            .arg(self.root.join("model"))
            .arg("--pairs")
            .arg(self.root.join("pairs.jsonl"))
            .arg("--out")
            .arg(self.root.join("peer.safetensors"))
            .args(["--layers", &self.layer.to_string(), "--threads", &self.threads.to_string()])
            .args(["--batch-tokens", &self.peer_batch_tokens.to_string()])
            .output()
            .map_err(|error| format!("transformers: {error}"))?;
        if !output.status.success() {
            return Err(format!("transformers: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let line = String::from_utf8_lossy(&output.stdout);
        let said: serde_json::Value =
            serde_json::from_str(line.trim()).map_err(|error| format!("transformers said {line:?}: {error}"))?;
        let missing = |key: &str| format!("transformers: expected {key:?} in {line}");
        Ok(Measured {
            secs: said["secs"].as_f64().ok_or_else(|| missing("secs"))?,
            cpu_secs: said["cpu_secs"].as_f64().ok_or_else(|| missing("cpu_secs"))?,
            n_tokens: said["n_tokens"].as_u64().ok_or_else(|| missing("n_tokens"))?,
            versions: said["versions"].as_str().ok_or_else(|| missing("versions"))?.to_owned(),
        })
    }

    /// The least cosine between a row of whence and the same row of the peer.
    fn least_cosine(&self) -> Result<f64, String> {
        let peer = Tensors::read(&self.root.join("peer.safetensors"));
        let (shape, theirs) = peer.f32(&format!("vectors.{}", self.layer));
        let mut ours = Vec::new();
        let layer = self.study().layer(self.layer);
        let mut files: Vec<PathBuf> = fs::read_dir(&layer)
            .map_err(|error| format!("{}: {error}", layer.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
            .collect();
        files.sort();
        for file in files {
            let bytes = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            ours.extend(Shard::parse(&bytes).map_err(|error| format!("{}: {error}", file.display()))?.to_f32());
        }
        if ours.len() != theirs.len() {
            return Err(format!("whence wrote {} numbers, transformers {}", ours.len(), theirs.len()));
        }
        Ok(ours.chunks(shape[1]).zip(theirs.chunks(shape[1])).map(|(a, b)| cosine(a, b)).fold(1.0, f64::min))
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum() };
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    // A zero row, which random text does not have, must fail the comparison and not slip through it as NaN.
    if cosine.is_nan() { -1.0 } else { cosine }
}

/// Processor time that this process has used so far, from /proc; not a number elsewhere than on Linux.
fn cpu_secs() -> f64 {
    // Clock ticks are hundredths of a second on every Linux that user programs see (USER_HZ).
    const TICKS_PER_SEC: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses and may hold spaces; user and system time are the 12th and
    // 13th after it.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / TICKS_PER_SEC } else { f64::NAN }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

/// Seeded pairs with the lengths of ordinary chat data: a few dozen to a few hundred tokens, some long.
fn pairs(n_pairs: usize) -> Vec<Pair> {
    const WORDS: [&str; 24] = [
        "answer", "bread", "brick", "careful", "chair", "clock", "door", "early", "flour", "garden", "give", "hello",
        "kettle", "kind", "letter", "market", "morning", "never", "paper", "please", "quiet", "river", "story", "tea",
    ];
    // Knuth's 64-bit linear congruential generator; the upper bits are good enough for words and lengths.
    let mut state = 1u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % n
    };
    let mut text = |least: usize| {
        // Products of uniform numbers have the long tail that lengths have.
        let n_words = least + next(12) + next(8) * next(8);
        (0..n_words).map(|_| WORDS[next(WORDS.len())]).collect::<Vec<_>>().join(" ")
    };
    (0..n_pairs)
        .map(|i| Pair {
            id: format!("pair-{i}"),
            prompt: vec![Message::new("user", text(8))],
            chosen: vec![Message::new("assistant", text(8))],
            rejected: vec![Message::new("assistant", text(4))],
            source: "random words".into(),
            metadata: "{}".into(),
        })
        .collect()
}
