//! `cargo xtask bench training`: preference optimization beside PyTorch on the same device, with the same weights, the same
//! rows in the same steps, and the same number of threads.
//!
//! The two run in turn, A B A B, so that a machine that slows down slows both; medians are compared. Before a ratio is
//! printed the losses of both must agree at every step. Loading the model and the reference's log-probabilities count on
//! neither side. Beside the ratio by the clock stands the ratio by processor time, which other programs on the machine
//! disturb less.
//!
//! Options: `--part NAME` (narrow or wide; else both; on a GPU wide or large, the shape of OLMo 2 1B), `--device D` as
//! `whence retrain` takes it, where the peer then computes on CUDA; `--repetitions N`, `--way plain|trl` (the peer: a plain loop or
//! TRL's trainer), `--activation-checkpointing true` (whence's side alone), `--memory true` (no peer: the peak memory of
//! whence's side, of one part, for comparing runs of this program with and without activation checkpointing).
//! Environment: `WHENCE_PYTHON`, a Python with torch and transformers (else `python3`).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs};

use serde_json::{Value, json};
use whence_backend::device::{self, DeviceChoice};
use whence_backend::memory;
use whence_backend::model::ModelFolder;
use whence_backend::progress::silent;
use whence_backend::train::batches;
use whence_backend::train::dpo::{DpoConfig, SequencePair, optimize_preferences};
use whence_backend::train::sequences::Sequence;
use whence_backend::train::{LrSchedulerType, ReferenceLogps, Run, TrainConfig};
use whence_tests::clock::{cpu_secs, median};
use whence_tests::random_model::{self, Shape};

/// One comparison, with as much work as keeps a repetition at a few seconds.
struct Part {
    name: &'static str,
    shape: Shape,
    n_pairs: usize,
    batch_size: usize,
    /// Tokens of a prompt and of a response, on average.
    lengths: (usize, usize),
}

const PARTS: [Part; 3] = [
    // The planted testbed's size.
    Part {
        name: "narrow",
        shape: Shape { layers: 3, hidden: 64, heads: 4, intermediate: 128, vocab: 768 },
        n_pairs: 640,
        batch_size: 32,
        lengths: (24, 24),
    },
    Part {
        name: "wide",
        shape: Shape { layers: 12, hidden: 768, heads: 12, intermediate: 2048, vocab: 8192 },
        n_pairs: 12,
        batch_size: 4,
        lengths: (96, 64),
    },
    Part {
        name: "large",
        shape: Shape { layers: 16, hidden: 2048, heads: 16, intermediate: 8192, vocab: 100_352 },
        n_pairs: 24,
        batch_size: 4,
        lengths: (192, 128),
    },
];

/// Losses of the two may differ by this much, relative to the larger of 1 and the loss.
const LOSS_TOLERANCE: f64 = 2e-3;

struct Options {
    part: Option<String>,
    device: DeviceChoice,
    repetitions: usize,
    way: String,
    activation_checkpointing: bool,
    memory: bool,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options = Self {
            part: None,
            device: DeviceChoice::Cpu,
            repetitions: 3,
            way: "plain".to_owned(),
            activation_checkpointing: false,
            memory: false,
        };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg}: expected a value after it"))?;
            let wrong = |expected: &str| format!("{arg}: expected {expected}, got {value:?}");
            match arg.as_str() {
                "--part" => options.part = Some(value),
                "--device" => options.device = value.parse().map_err(|error| format!("{arg}: {error}"))?,
                "--repetitions" => options.repetitions = value.parse().map_err(|_| wrong("a positive number"))?,
                "--way" if ["plain", "trl"].contains(&value.as_str()) => options.way = value,
                "--way" => return Err(wrong("plain or trl")),
                "--activation-checkpointing" => {
                    options.activation_checkpointing = value.parse().map_err(|_| wrong("true or false"))?;
                }
                "--memory" => options.memory = value.parse().map_err(|_| wrong("true or false"))?,
                _ => return Err(format!("unknown option {arg}; see the head of this program's source")),
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

/// One measured run.
struct Measured {
    secs: f64,
    cpu_secs: f64,
    losses: Vec<f64>,
    versions: String,
}

fn run(options: &Options) -> Result<(), String> {
    let is_cpu = options.device == DeviceChoice::Cpu;
    let here = |part: &Part| if is_cpu { part.name != "large" } else { part.name != "narrow" };
    let wanted = |part: &&Part| options.part.as_ref().map_or(here(part), |name| name == part.name);
    let parts: Vec<&Part> = PARTS.iter().filter(wanted).collect();
    if parts.is_empty() {
        return Err(format!("--part: expected narrow, wide or large, got {:?}", options.part));
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut table = String::from(
        "| part | layers × width | work | whence | peer | ratio | ratio per processor second | losses differ by |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let mut versions = String::new();
    for part in parts {
        let folder = tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let bench = Bench::prepare(part, options, folder.path(), threads)?;
        if options.memory {
            let before = memory::peak_bytes().unwrap_or(0);
            let run = bench.whence()?;
            let peak = memory::peak_bytes().unwrap_or(0);
            println!(
                "{}: peak memory {:.0} MB, {:.0} MB before training; {:.2} s",
                part.name,
                peak as f64 / 1e6,
                before as f64 / 1e6,
                run.secs
            );
            continue;
        }
        let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let mut difference = 0f64;
        bench.whence()?;
        for repetition in 1..=options.repetitions {
            let (a, b) = (bench.whence()?, bench.peer()?);
            println!(
                "{} {repetition}: whence {:.3} s ({:.2} processor s), {} {:.3} s ({:.2} processor s)",
                part.name, a.secs, a.cpu_secs, options.way, b.secs, b.cpu_secs
            );
            if a.losses.len() != b.losses.len() {
                return Err(format!("{}: {} steps, the peer took {}", part.name, a.losses.len(), b.losses.len()));
            }
            for (step, (ours, theirs)) in a.losses.iter().zip(&b.losses).enumerate() {
                let apart = (ours - theirs).abs() / theirs.abs().max(1.0);
                if apart.is_nan() || apart > LOSS_TOLERANCE {
                    return Err(format!("{}: step {step}: loss {ours}, the peer's is {theirs}", part.name));
                }
                difference = difference.max(apart);
            }
            let n_tokens = bench.n_tokens as f64;
            for (rates, run) in [(&mut ours, &a), (&mut theirs, &b)] {
                rates[0].push(n_tokens / run.secs);
                rates[1].push(n_tokens / run.cpu_secs);
            }
            versions = b.versions;
        }
        let [rate, cpu_rate] = ours.each_mut().map(|rates| median(rates));
        let [peer_rate, peer_cpu_rate] = theirs.each_mut().map(|rates| median(rates));
        table.push_str(&format!(
            "| {} | {} × {} | {} pairs, {} per step, {} tokens | {rate:.0} tokens/s | {peer_rate:.0} tokens/s | {:.2} | \
             {:.2} | {difference:.0e} |\n",
            part.name,
            part.shape.layers,
            part.shape.hidden,
            part.n_pairs,
            part.batch_size,
            bench.n_tokens,
            rate / peer_rate,
            cpu_rate / peer_cpu_rate
        ));
    }
    if !options.memory {
        println!(
            "\nwhence {} on {} beside {} ({versions}), {threads} threads\n\n{table}",
            env!("CARGO_PKG_VERSION"),
            options.device,
            options.way
        );
    }
    Ok(())
}

/// One part's model and work.
struct Bench {
    root: PathBuf,
    pairs: Vec<SequencePair>,
    reference: ReferenceLogps,
    config: DpoConfig,
    n_tokens: usize,
    threads: usize,
    way: String,
    device: DeviceChoice,
}

impl Bench {
    fn prepare(part: &Part, options: &Options, root: &Path, threads: usize) -> Result<Self, String> {
        random_model::write(&root.join("model"), &part.shape, safetensors::Dtype::F32);
        let (n_prompt, n_response) = part.lengths;
        let tokens = random_model::sequences(2 * part.n_pairs, 2 * (n_prompt + n_response), part.shape.vocab);
        // Lengths vary by half in both directions, as in real data.
        let length = |mean: usize, i: usize| (mean / 2 + (i * 7919) % (mean + 1)).max(1);
        let pair = |i: usize| {
            let (n_prompt, ids) = (length(n_prompt, i), |row: usize, n: usize| {
                tokens[row][..n].iter().map(|id| (*id as u32).max(1)).collect::<Vec<u32>>()
            });
            let prompt = ids(2 * i, n_prompt);
            let side = |row: usize, n: usize| Sequence {
                ids: prompt.iter().copied().chain(ids(row, n_prompt + n).split_off(n_prompt)).collect(),
                response_start: n_prompt,
            };
            let chosen = side(2 * i, length(n_response, i + 3));
            let rejected = side(2 * i + 1, length(n_response, i + 11));
            SequencePair { id: i.to_string(), chosen, rejected, is_switched: false }
        };
        let pairs: Vec<SequencePair> = (0..part.n_pairs).map(pair).collect();
        let config = DpoConfig {
            train: TrainConfig {
                batch_size: part.batch_size,
                learning_rate: 1e-5,
                lr_scheduler_type: LrSchedulerType::Constant,
                warmup_ratio: 0.0,
                activation_checkpointing: options.activation_checkpointing,
                ..TrainConfig::default()
            },
            ..DpoConfig::default()
        };
        let sides = |pair: &SequencePair| [pair.chosen.ids.len(), pair.rejected.ids.len()];
        let lengths: Vec<usize> = pairs.iter().map(|pair| *sides(pair).iter().max().expect("two sides")).collect();
        let n_tokens = pairs.iter().flat_map(sides).sum();
        let mut bench = Self {
            root: root.to_owned(),
            pairs,
            reference: ReferenceLogps { reference_chosen_logps: Vec::new(), reference_rejected_logps: Vec::new() },
            config,
            n_tokens,
            threads,
            way: options.way.clone(),
            device: options.device,
        };
        let model = bench.model()?;
        bench.reference =
            ReferenceLogps::compute(&model, &bench.pairs, &silent).map_err(|error| format!("reference: {error}"))?;
        let side = |s: &Sequence| json!({"ids": s.ids, "response_start": s.response_start});
        let pair = |pair: &SequencePair| json!({"chosen": side(&pair.chosen), "rejected": side(&pair.rejected)});
        let reference = json!({
            "chosen": bench.reference.reference_chosen_logps,
            "rejected": bench.reference.reference_rejected_logps,
        });
        let work = json!({
            "pairs": bench.pairs.iter().map(pair).collect::<Vec<Value>>(),
            "reference": reference,
            "steps": batches::steps(&lengths, &bench.config.train),
            "settings": bench.config,
        });
        fs::write(root.join("work.json"), work.to_string()).map_err(|error| format!("work.json: {error}"))?;
        Ok(bench)
    }

    fn model(&self) -> Result<whence_backend::model::CausalLm, String> {
        let device = device::open(self.device).map_err(|error| error.to_string())?.device;
        let folder = ModelFolder::open(&self.root.join("model")).map_err(|error| error.to_string())?;
        folder.load(&device).map_err(|error| error.to_string())
    }

    fn whence(&self) -> Result<Measured, String> {
        let model = self.model()?;
        let (start, cpu_start) = (Instant::now(), cpu_secs());
        let run = Run::new(&silent);
        let trained = optimize_preferences(model, &self.pairs, Some(&self.reference), &self.config, &run)
            .map_err(|error| format!("whence: {error}"))?;
        let losses = trained.losses().into_iter().map(f64::from).collect();
        let (secs, cpu_secs) = (start.elapsed().as_secs_f64(), cpu_secs() - cpu_start);
        Ok(Measured { secs, cpu_secs, losses, versions: String::new() })
    }

    fn peer(&self) -> Result<Measured, String> {
        let python = env::var_os("WHENCE_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
        let output = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/train_torch.py"))
            .arg("--model")
            .arg(self.root.join("model"))
            .arg("--work")
            .arg(self.root.join("work.json"))
            .args(["--threads", &self.threads.to_string(), "--way", &self.way])
            .args(["--device", if self.device == DeviceChoice::Cpu { "cpu" } else { "cuda" }])
            .output()
            .map_err(|error| format!("the peer: {error}"))?;
        if !output.status.success() {
            return Err(format!("the peer: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().last().unwrap_or_default();
        let value: Value = serde_json::from_str(line).map_err(|error| format!("the peer said {line:?}: {error}"))?;
        let missing = |key: &str| format!("the peer: expected {key:?} in {line}");
        Ok(Measured {
            secs: value["secs"].as_f64().ok_or_else(|| missing("secs"))?,
            cpu_secs: value["cpu_secs"].as_f64().ok_or_else(|| missing("cpu_secs"))?,
            losses: serde_json::from_value(value["losses"].clone()).map_err(|_| missing("losses"))?,
            versions: value["versions"].as_str().ok_or_else(|| missing("versions"))?.to_owned(),
        })
    }
}
