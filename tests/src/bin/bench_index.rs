//! `cargo xtask bench index`: the index at the size of the real thing, 378,341 vectors of width 4096 in f16, natively.
//!
//! The vectors are made up: normal numbers with a decaying spectrum (energy of dimension j ∝ j^−1.1), mixed by a
//! Hadamard transform so that no coordinate stands out, and 500 rows planted around a direction. Measured are the time
//! and peak memory of `whence index`; for a behavior that has planted neighbours and for one that nothing resembles, the
//! bytes until the top 100 are certified and until they are exact; queries per second beside FAISS's exact flat index and
//! NumPy in the same run, whose top 100 must be the same rows; and the int8 kernel's bytes per second.
//!
//! Options: `--pairs N`, `--d-model N` (a power of two), `--folder DIR` (else a temporary one; about 5 GB at full size).
//! Environment: WHENCE_BIN, the binary; WHENCE_PYTHON, a Python with faiss, numpy and safetensors (else `python3`;
//! without them the peers are left out, and that is said).

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use whence_backend::extract::{LayerFiles, VectorsManifest};
use whence_backend::index::ranker::{Ranker, Wanted};
use whence_backend::study::Study;
use whence_shared::index::kernel;
use whence_shared::index::query::Direction;
use whence_shared::shard::StoreDtype;
use whence_tests::made_study::{Shape, make_shape};

const LAYER: usize = 1;
const K: usize = 100;
const N_PLANTED: usize = 500;
/// Energy of dimension j is (j + 1)^−DECAY.
const DECAY: f64 = 1.1;
const N_REPEATS: usize = 5;

/// A small seeded generator, quick enough for a billion numbers.
struct Rng(u64);

impl Rng {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// The sum of four uniform numbers: near enough to normal, with standard deviation 1.
    fn normal(&mut self) -> f32 {
        let mut sum = 0i64;
        for _ in 0..2 {
            let x = self.next();
            sum += (x & 0x7FFF) as i64 + (x >> 15 & 0x7FFF) as i64;
        }
        (sum - 0x1_0000) as f32 / 18_918.0
    }
}

/// A made-up vector: decaying, then mixed by random signs and a Hadamard transform, which keeps lengths and angles.
fn mixed(mut x: Vec<f32>) -> Vec<f32> {
    let mut signs = Rng::of(77);
    x.iter_mut().for_each(|x| *x *= if signs.next() & 1 == 0 { 1.0 } else { -1.0 });
    let mut half = 1;
    while half < x.len() {
        for pair in x.chunks_exact_mut(2 * half) {
            let (a, b) = pair.split_at_mut(half);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (x.len() as f32).sqrt();
    x.iter_mut().for_each(|x| *x *= scale);
    x
}

/// Numbers with the spectrum, before mixing.
fn decaying(seed: u64, spectrum: &[f32]) -> Vec<f32> {
    let mut rng = Rng::of(seed);
    spectrum.iter().map(|sigma| rng.normal() * sigma).collect()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let (mut n_pairs, mut d_model, mut folder) = (378_341, 4096, None);
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg}: expected a value after it"))?;
        let number = || value.parse::<usize>().map_err(|_| format!("{arg}: expected a number, got {value:?}"));
        match arg.as_str() {
            "--pairs" => n_pairs = number()?,
            "--d-model" => d_model = number()?,
            "--folder" => folder = Some(PathBuf::from(&value)),
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    if !d_model.is_power_of_two() || n_pairs < 2 * N_PLANTED {
        return Err(format!("--d-model: expected a power of two; --pairs: at least {}", 2 * N_PLANTED));
    }
    let temporary = tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
    let folder = folder.unwrap_or_else(|| temporary.path().to_owned());
    let spectrum: Vec<f32> = (0..d_model).map(|j| (j as f64 + 1.0).powf(-DECAY / 2.0) as f32).collect();
    let queries = [("planted", decaying(1 << 40, &spectrum)), ("unrelated", decaying(2 << 40, &spectrum))];

    let start = Instant::now();
    let study = if folder.join("study/study.toml").is_file() {
        Study::at(folder.join("study"))
    } else {
        make(&folder, n_pairs, &spectrum, &queries)
    };
    println!("{n_pairs} × {d_model} f16 made in {:.0} s", start.elapsed().as_secs_f64());
    build(&study)?;
    let ranker = open(&study)?;
    let (bytes, vector_bytes) = (ranker.index_bytes().ok_or("no index")?, ranker.vector_bytes());
    println!("index {:.2} GB in int8, vectors {:.2} GB in f16", bytes as f64 / 1e9, vector_bytes as f64 / 1e9);
    let mut ours = Vec::new();
    let mut mean_secs = 0.0;
    for (name, values) in &queries {
        let direction = [Direction::exact(&mixed(values.clone()))];
        let wanted = Wanted { k: K, bottom: false, groups: None };
        let mut secs = Vec::new();
        let mut found = ranker.find(&direction, wanted).map_err(|error| error.to_string())?;
        for _ in 0..N_REPEATS {
            let start = Instant::now();
            found = ranker.find(&direction, wanted).map_err(|error| error.to_string())?;
            secs.push(start.elapsed().as_secs_f64());
        }
        secs.sort_by(f64::total_cmp);
        let secs = secs[N_REPEATS / 2];
        mean_secs += secs / queries.len() as f64;
        println!(
            "{name}: scores {:.3} … {:.3}; certified after {:.2} MB = {:.2} % of the index, exact after {:.2} MB = {:.2} %; {:.1} ms a query",
            found.groups[0][0].score,
            found.groups[0][K - 1].score,
            found.n_bytes_certified() as f64 / 1e6,
            found.n_bytes_certified() as f64 / bytes as f64 * 100.0,
            found.n_bytes() as f64 / 1e6,
            found.n_bytes() as f64 / bytes as f64 * 100.0,
            secs * 1e3
        );
        for stage in &found.stages {
            let what = stage.block.map_or("rows".to_owned(), |block| format!("block {block}"));
            println!("  {what}: {:.2} MB, {} candidates", stage.n_bytes as f64 / 1e6, stage.n_candidates);
        }
        ours.push(found.groups[0].iter().map(|scored| scored.row).collect::<Vec<u32>>());
    }
    print_kernel();
    beside_peers(&study, &folder, &queries, &ours, mean_secs)
}

fn make(folder: &Path, n_pairs: usize, spectrum: &[f32], queries: &[(&str, Vec<f32>); 2]) -> Study {
    let planted = RefCell::new(queries[0].1.clone());
    let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    let vector = |_: usize, row: usize| {
        let mut x = decaying(row as u64 + 1, spectrum);
        if row % (n_pairs / N_PLANTED) == 7 {
            // A cosine between 0.3 and 0.8.
            let target = 0.3 + 0.5 * (row as f32 / n_pairs as f32);
            let planted = planted.borrow();
            let strength = target / (1.0 - target * target).sqrt() * norm(&x) / norm(&planted);
            x.iter_mut().zip(&*planted).for_each(|(x, p)| *x += strength * p);
        }
        mixed(x)
    };
    let behavior = |i: usize| move |_: usize| mixed(queries[i].1.clone());
    let shape = Shape {
        d_model: spectrum.len(),
        rows_per_file: 4096,
        layers: &[(LAYER, StoreDtype::F16)],
        vector: &vector,
        behaviors: &[("planted", &behavior(0)), ("unrelated", &behavior(1))],
    };
    make_shape(folder, n_pairs, &shape)
}

fn build(study: &Study) -> Result<(), String> {
    let whence = env::var("WHENCE_BIN").map_err(|_| "set WHENCE_BIN to the whence binary")?;
    let start = Instant::now();
    let output = Command::new(whence)
        .args(["index", "--study"])
        .arg(study.root())
        .output()
        .map_err(|error| format!("cannot start WHENCE_BIN: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    println!("whence index: {:.0} s\n{}", start.elapsed().as_secs_f64(), said.trim_end());
    Ok(())
}

fn open(study: &Study) -> Result<Ranker, String> {
    let manifest = VectorsManifest::read(study).map_err(|error| error.to_string())?.ok_or("no vectors")?;
    let files = LayerFiles::open(study, LAYER, &manifest).map_err(|error| error.to_string())?;
    let ranker = Ranker::open(study, files);
    ranker.why_no_index().map_or(Ok(()), |why| Err(why.to_owned()))?;
    Ok(ranker)
}

/// One thread over more codes than any cache holds, and over few enough for the second-level cache.
fn print_kernel() {
    let query = vec![100i16; 64];
    for n_rows in [4 << 20, 8 << 10] {
        let codes = vec![3i8; n_rows * 64];
        let mut out = vec![0; n_rows];
        let n_times = (1 << 29) / codes.len();
        kernel::dots(&query, &codes, &mut out);
        let start = Instant::now();
        for _ in 0..n_times {
            kernel::dots(&query, std::hint::black_box(&codes), &mut out);
        }
        let rate = (n_times * codes.len()) as f64 / start.elapsed().as_secs_f64() / 1e9;
        println!("int8 kernel, one thread, {} KB of codes: {rate:.1} GB/s", codes.len() >> 10);
    }
}

fn beside_peers(
    study: &Study,
    folder: &Path,
    queries: &[(&str, Vec<f32>); 2],
    ours: &[Vec<u32>],
    secs: f64,
) -> Result<(), String> {
    let python = env::var("WHENCE_PYTHON").unwrap_or_else(|_| "python3".into());
    let has_peers = Command::new(&python).args(["-c", "import faiss, numpy, safetensors"]).output();
    if !has_peers.is_ok_and(|output| output.status.success()) {
        println!("{python} cannot import faiss, numpy and safetensors: the peers are left out");
        return Ok(());
    }
    let d_model = queries[0].1.len();
    let values: Vec<u8> = queries.iter().flat_map(|(_, x)| mixed(x.clone())).flat_map(f32::to_le_bytes).collect();
    let view = TensorView::new(Dtype::F32, vec![queries.len(), d_model], &values).map_err(|error| error.to_string())?;
    let bytes = safetensors::serialize([("queries", view)], None).map_err(|error| error.to_string())?;
    let path = folder.join("queries.safetensors");
    fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let output = Command::new(python)
        .arg(whence_tests::fixture::package().join("peers/rank_faiss.py"))
        .arg("--layer")
        .arg(study.layer(LAYER))
        .arg("--queries")
        .arg(&path)
        .args(["-k", &K.to_string()])
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    for (theirs, (ours, (name, _))) in said["top"].as_array().into_iter().flatten().zip(ours.iter().zip(queries)) {
        let theirs: Vec<u64> = theirs.as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).collect();
        let common = ours.iter().filter(|row| theirs.contains(&u64::from(**row))).count();
        println!("{name}: {common} of {K} rows are FAISS's top {K} (which rounds in f32)");
    }
    for peer in ["faiss", "numpy"] {
        let theirs = said[format!("{peer}_secs")].as_f64().unwrap_or(f64::NAN);
        println!(
            "{peer}: {:.1} ms a query; whence {:.1} ms: {:.1} times as many queries/s",
            theirs * 1e3,
            secs * 1e3,
            theirs / secs
        );
    }
    println!("{}", said["versions"].as_str().unwrap_or_default());
    Ok(())
}
