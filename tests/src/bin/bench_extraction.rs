//! `cargo xtask bench extraction`: Whence beside transformers on the same device, with the same random weights, the same
//! tokens and the same number of threads.
//!
//! - `forward-WIDTH`: tokens per second of the plain forward pass. Every layer of every token, nothing shared, nothing
//!   left out, no output projection: the same work on both sides.
//! - `paper-WIDTH`: pairs per second of the whole procedure, from pairs on disk to vectors on disk. On the other side, the
//!   procedure as the paper describes it: one response at a time with its prompt, all layers, logits included.
//! - `careful-WIDTH`: the same against what a careful user of transformers would write: batches by length, no layer
//!   after the last one asked for, no logits. Not run unless asked for.
//!
//! The two run in turn, A B A B, so that a machine that slows down slows both; medians are compared. Before a ratio is
//! printed the results of both must agree. Loading a model counts on neither side. Beside the ratio by the clock stands
//! the ratio by processor time, which other programs on the machine disturb less.
//!
//! Options: `--part NAME` (else forward-128, forward-768 and paper-768; on a GPU `forward-2048`, `paper-2048` and
//! `careful-2048`, of the shape of OLMo 2 1B), `--repetitions N`, `--pairs N`; `--device D` as `whence extract` takes it,
//! where the peer then computes on CUDA; `--dtype f32|bf16|f16`, what weights are stored and matrices multiplied in;
//! `--batch-tokens N`, most tokens in a filled-up batch of either side on a GPU.
//! Environment: `WHENCE_PYTHON`, a Python with torch and transformers (else `python3`).

use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs};

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;
use safetensors::Dtype;
use whence_backend::data::pairs::PairWriter;
use whence_backend::device::{self, DeviceChoice, OpenDevice};
use whence_backend::extract::{ExtractOptions, extract};
use whence_backend::model::{DtypeChoice, ModelFolder};
use whence_backend::progress::silent;
use whence_backend::study::Study;
use whence_shared::shard::Shard;
use whence_tests::clock::{cpu_secs, median};
use whence_tests::fixture::Tensors;
use whence_tests::random_model::{self, Shape};

const NARROW: Shape = Shape { layers: 8, hidden: 128, heads: 4, intermediate: 512, vocab: 8192 };
/// The shape of OLMo 2 1B.
const LARGE: Shape = Shape { layers: 16, hidden: 2048, heads: 16, intermediate: 8192, vocab: 100_352 };
/// The shape of GPT-2's smallest model, its vocabulary included (rounded up to a multiple of 64): what the output projection
/// costs the paper's procedure depends on it, and no model of this width that people use has a smaller one.
const WIDE: Shape = Shape { layers: 12, hidden: 768, heads: 12, intermediate: 2048, vocab: 50_304 };

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Forward,
    Paper,
    Careful,
}

impl Kind {
    /// The peer's name for it.
    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Paper => "paper",
            Self::Careful => "careful",
        }
    }

    fn unit(self) -> &'static str {
        if self == Self::Forward { "tokens/s" } else { "pairs/s" }
    }
}

/// One comparison, with as much work as keeps a repetition at a few seconds.
struct Part {
    kind: Kind,
    shape: Shape,
    /// The layer whose residuals are read.
    layer: usize,
    /// Sequences of [`SEQ_LEN`] tokens, or pairs.
    n_items: usize,
    when: When,
}

/// What a part is run without being asked for on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Cpu,
    Gpu,
    Asked,
}

impl Part {
    fn name(&self) -> String {
        format!("{}-{}", self.kind.name(), self.shape.hidden)
    }
}

const PARTS: [Part; 9] = [
    Part { kind: Kind::Forward, shape: NARROW, layer: 8, n_items: 96, when: When::Cpu },
    Part { kind: Kind::Forward, shape: WIDE, layer: 12, n_items: 12, when: When::Cpu },
    Part { kind: Kind::Paper, shape: WIDE, layer: 8, n_items: 8, when: When::Cpu },
    Part { kind: Kind::Paper, shape: NARROW, layer: 6, n_items: 64, when: When::Asked },
    Part { kind: Kind::Careful, shape: WIDE, layer: 8, n_items: 8, when: When::Asked },
    Part { kind: Kind::Careful, shape: NARROW, layer: 6, n_items: 64, when: When::Asked },
    Part { kind: Kind::Forward, shape: LARGE, layer: 16, n_items: 256, when: When::Gpu },
    Part { kind: Kind::Paper, shape: LARGE, layer: 10, n_items: 256, when: When::Gpu },
    Part { kind: Kind::Careful, shape: LARGE, layer: 10, n_items: 256, when: When::Gpu },
];

/// Tokens of one sequence of a plain forward pass.
const SEQ_LEN: usize = 256;
/// Words of a prompt and of a response, on average: about 200 and 100 tokens.
const PAIR_WORDS: (usize, usize) = (128, 72);
/// Results of the two must point the same way at least this much, row by row: in f32, and in half precision, where the
/// peer rounds its residual stream to it after every layer and whence does not.
const LEAST_COSINE: [f64; 2] = [0.9999, 0.98];

struct Options {
    part: Option<String>,
    repetitions: usize,
    pairs: Option<usize>,
    device: DeviceChoice,
    dtype: DtypeChoice,
    batch_tokens: usize,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options = Self {
            part: None,
            repetitions: 3,
            pairs: None,
            device: DeviceChoice::Cpu,
            dtype: DtypeChoice::F32,
            batch_tokens: 16_384,
        };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg}: expected a value after it"))?;
            let number = || match value.parse() {
                Ok(n) if n > 0 => Ok(n),
                _ => Err(format!("{arg}: expected a positive number, got {value:?}")),
            };
            match arg.as_str() {
                "--part" => options.part = Some(value),
                "--repetitions" => options.repetitions = number()?,
                "--pairs" => options.pairs = Some(number()?),
                "--batch-tokens" => options.batch_tokens = number()?,
                "--device" => options.device = value.parse().map_err(|error| format!("{arg}: {error}"))?,
                "--dtype" => options.dtype = value.parse().map_err(|error| format!("{arg}: {error}"))?,
                _ => return Err(format!("unknown option {arg}; see the head of this program's source")),
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &Part) -> bool {
        let here = if self.device == DeviceChoice::Cpu { When::Cpu } else { When::Gpu };
        self.part.as_ref().map_or(part.when == here, |name| *name == part.name())
    }

    /// The type that weights are stored in.
    fn stored(&self) -> Dtype {
        match self.dtype {
            DtypeChoice::Bf16 => Dtype::BF16,
            DtypeChoice::F16 => Dtype::F16,
            DtypeChoice::Auto | DtypeChoice::F32 => Dtype::F32,
        }
    }

    fn least_cosine(&self) -> f64 {
        LEAST_COSINE[usize::from(self.stored() != Dtype::F32)]
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
    let parts: Vec<&Part> = PARTS.iter().filter(|part| options.wants(part)).collect();
    if parts.is_empty() {
        let names: Vec<String> = PARTS.iter().map(Part::name).collect();
        return Err(format!("--part: expected one of {}, got {:?}", names.join(", "), options.part));
    }
    let python = python()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let opened = device::open(options.device).map_err(|error| error.to_string())?;
    println!(
        "on {}, {threads} threads, {}, medians of {} alternating runs",
        opened.name, options.dtype, options.repetitions
    );
    let mut table = String::from(
        "| part | layers × width | work | whence | transformers | ratio | ratio per processor second | least cosine |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let mut versions = String::new();
    for part in parts {
        let folder = tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let bench = Bench::prepare(part, options, folder.path(), threads)?;
        let (mut ours, mut theirs) = (Rates::default(), Rates::default());
        // Both once unmeasured: pages, caches, the processor's clock.
        bench.whence()?;
        bench.peer(&python)?;
        let least_cosine = bench.least_cosine()?;
        if least_cosine < options.least_cosine() {
            let least = options.least_cosine();
            return Err(format!("{}: results differ: a row has cosine {least_cosine} < {least}", part.name()));
        }
        for repetition in 1..=options.repetitions {
            let (a, b) = (bench.whence()?, bench.peer(&python)?);
            println!(
                "{} {repetition}: whence {:.3} s ({:.2} processor s), transformers {:.3} s ({:.2} processor s)",
                part.name(),
                a.secs,
                a.cpu_secs,
                b.secs,
                b.cpu_secs
            );
            ours.push(bench.n_units(), &a);
            theirs.push(bench.n_units(), &b);
            versions = b.versions;
        }
        let (rate, cpu_rate) = ours.medians();
        let (peer_rate, peer_cpu_rate) = theirs.medians();
        let Shape { layers, hidden, .. } = part.shape;
        let unit = part.kind.unit();
        let digits = if part.kind == Kind::Forward { 0 } else { 2 };
        let _ = writeln!(
            table,
            "| {} | {layers} × {hidden} | {} | {rate:.digits$} {unit} | {peer_rate:.digits$} {unit} | {:.2} | {:.2} | {least_cosine:.7} |",
            part.name(),
            bench.work,
            rate / peer_rate,
            cpu_rate / peer_cpu_rate
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
    versions: String,
}

/// Units of work per second, and per processor second, of several runs.
#[derive(Default)]
struct Rates {
    by_clock: Vec<f64>,
    by_processor: Vec<f64>,
}

impl Rates {
    fn push(&mut self, n_units: usize, run: &Measured) {
        self.by_clock.push(n_units as f64 / run.secs);
        self.by_processor.push(n_units as f64 / run.cpu_secs);
    }

    fn medians(&mut self) -> (f64, f64) {
        (median(&mut self.by_clock), median(&mut self.by_processor))
    }
}

/// One part's model and work, on disk.
struct Bench<'a> {
    part: &'a Part,
    options: &'a Options,
    root: PathBuf,
    device: OpenDevice,
    sequences: Vec<Vec<i64>>,
    n_pairs: usize,
    threads: usize,
    /// What there is to do, for people.
    work: String,
}

impl<'a> Bench<'a> {
    fn prepare(part: &'a Part, options: &'a Options, root: &Path, threads: usize) -> Result<Self, String> {
        let say = |error: &dyn Display| format!("preparing {}: {error}", part.name());
        let device = device::open(options.device).map_err(|error| say(&error))?;
        random_model::write(&root.join("model"), &part.shape, options.stored());
        let mut bench = Self {
            part,
            options,
            root: root.to_owned(),
            device,
            sequences: Vec::new(),
            n_pairs: 0,
            threads,
            work: format!("{} × {SEQ_LEN} tokens, every layer", part.n_items),
        };
        if part.kind == Kind::Forward {
            bench.sequences = random_model::sequences(part.n_items, SEQ_LEN, part.shape.vocab);
            let json = serde_json::to_vec(&bench.sequences).map_err(|error| say(&error))?;
            fs::write(root.join("work.json"), json).map_err(|error| say(&error))?;
            return Ok(bench);
        }
        bench.n_pairs = options.pairs.unwrap_or(part.n_items);
        let pairs = random_model::pairs(bench.n_pairs, PAIR_WORDS.0, PAIR_WORDS.1);
        let mut lines = Vec::new();
        let mut writer = PairWriter::create(&root.join("study/pairs.parquet")).map_err(|error| say(&error))?;
        for pair in &pairs {
            serde_json::to_writer(&mut lines, pair).map_err(|error| say(&error))?;
            lines.push(b'\n');
            writer.push(pair).map_err(|error| say(&error))?;
        }
        writer.commit().map_err(|error| say(&error))?;
        fs::write(root.join("work.json"), lines).map_err(|error| say(&error))?;
        let folder = ModelFolder::open(&root.join("model")).map_err(|error| say(&error))?;
        let n_tokens = |text: &str| folder.tokenizer.encode(text, false).map(|encoding| encoding.len()).unwrap_or(0);
        let mean =
            |count: &dyn Fn(&whence_shared::pair::Pair) -> usize| pairs.iter().map(count).sum::<usize>() / pairs.len();
        bench.work = format!(
            "{} pairs (prompt {} tokens, responses {} and {}), layer {}",
            pairs.len(),
            mean(&|pair| n_tokens(&pair.prompt[0].content)),
            mean(&|pair| n_tokens(&pair.chosen[0].content)),
            mean(&|pair| n_tokens(&pair.rejected[0].content)),
            part.layer
        );
        Ok(bench)
    }

    /// Tokens of a forward pass, or pairs of a procedure.
    fn n_units(&self) -> usize {
        if self.part.kind == Kind::Forward { self.sequences.len() * SEQ_LEN } else { self.n_pairs }
    }

    fn study(&self) -> Study {
        Study::at(self.root.join("study"))
    }

    fn whence(&self) -> Result<Measured, String> {
        let say = |error: &dyn Display| format!("whence: {error}");
        let folder = ModelFolder::open(&self.root.join("model")).map_err(|error| say(&error))?;
        if self.part.kind == Kind::Forward {
            return self.forward(&folder);
        }
        let study = self.study();
        if study.vectors().exists() {
            fs::remove_dir_all(study.vectors()).map_err(|error| say(&error))?;
        }
        let options = ExtractOptions {
            layers: vec![self.part.layer],
            dtype: self.options.dtype,
            batch_tokens: self.options.batch_tokens,
            ..ExtractOptions::default()
        };
        let cpu_start = cpu_secs();
        let extracted = extract(&study, &folder, std::slice::from_ref(&self.device.device), &options, &silent)
            .map_err(|error| say(&error))?;
        let cpu_secs = cpu_secs() - cpu_start;
        if let Some(remark) = extracted.remarks.shown.first() {
            return Err(format!("whence: row {}: {}", remark.row, remark.reason));
        }
        Ok(Measured { secs: extracted.compute_secs, cpu_secs, versions: String::new() })
    }

    /// The plain forward pass: on the CPU one sequence after the other on every core, on a GPU in batches. The mean
    /// residual of each sequence is kept.
    fn forward(&self, folder: &ModelFolder) -> Result<Measured, String> {
        let say = |error: &dyn Display| format!("whence: {error}");
        let device = &self.device.device;
        let dtype = self.options.dtype.on(std::slice::from_ref(device), "F32").map_err(|error| say(&error))?;
        let model = folder.load_as(device, dtype.dtype).map_err(|error| say(&error))?;
        let means = |sequences: &[Vec<i64>]| {
            let tokens = TensorData::new(sequences.concat(), [sequences.len(), SEQ_LEN]);
            let hidden = model.hidden_states(Tensor::<2, Int>::from_data(tokens, device), &[self.part.layer]).remove(0);
            hidden.mean_dim(1).into_data_as::<f32>().try_to_vec::<f32>().expect("converted to f32")
        };
        let (start, cpu_start) = (Instant::now(), cpu_secs());
        let means: Vec<Vec<f32>> = if device::is_cpu(device) {
            self.sequences.par_chunks(1).with_max_len(1).map(means).collect()
        } else {
            self.sequences.chunks((self.options.batch_tokens / SEQ_LEN).max(1)).map(means).collect()
        };
        let measured =
            Measured { secs: start.elapsed().as_secs_f64(), cpu_secs: cpu_secs() - cpu_start, versions: String::new() };
        let bytes: Vec<u8> = means.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
        fs::write(self.root.join("means.f32"), bytes).map_err(|error| say(&error))?;
        Ok(measured)
    }

    fn peer(&self, python: &Path) -> Result<Measured, String> {
        let script = whence_tests::fixture::package().join("peers/extract_transformers.py");
        let output = Command::new(python)
            .arg(script)
            .args(["--mode", self.part.kind.name()])
            .arg("--model")
            .arg(self.root.join("model"))
            .arg("--work")
            .arg(self.root.join("work.json"))
            .arg("--out")
            .arg(self.root.join("peer.safetensors"))
            .args(["--layer", &self.part.layer.to_string(), "--threads", &self.threads.to_string()])
            .args(self.peer_options())
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
            versions: said["versions"].as_str().ok_or_else(|| missing("versions"))?.to_owned(),
        })
    }

    /// On a GPU the peer computes there, in the same type and in batches of the same size.
    fn peer_options(&self) -> Vec<String> {
        if device::is_cpu(&self.device.device) {
            return Vec::new();
        }
        let batch_tokens = self.options.batch_tokens.to_string();
        let dtype = self.options.dtype.to_string();
        ["--device", "cuda", "--dtype", &dtype, "--batch-tokens", &batch_tokens].map(str::to_owned).into()
    }

    /// The least cosine between a row of whence and the same row of the peer.
    fn least_cosine(&self) -> Result<f64, String> {
        let (shape, theirs) = Tensors::read(&self.root.join("peer.safetensors")).f32("rows");
        let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let mut ours = Vec::new();
        if self.part.kind == Kind::Forward {
            let bytes = read(&self.root.join("means.f32"))?;
            ours.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        } else {
            let layer = self.study().layer(self.part.layer);
            let mut files: Vec<PathBuf> = fs::read_dir(&layer)
                .map_err(|error| format!("{}: {error}", layer.display()))?
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
                .collect();
            files.sort();
            for file in files {
                let bytes = read(&file)?;
                ours.extend(Shard::parse(&bytes).map_err(|error| format!("{}: {error}", file.display()))?.to_f32());
            }
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
