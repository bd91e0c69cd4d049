//! `cargo xtask bench cluster`: clustering beside scipy and scikit-learn, on the same rows and one thread each.
//!
//! Both sides cluster the same rows in the same process state again and again, in turn with the other; medians are compared,
//! after the results agreed: heights of Ward's merges, the inertia after the same k-means iterations from the same centres,
//! HDBSCAN's labels. Rows are blobs of unequal size in noise, made by a seeded generator.
//!
//! Options: `--part NAME` (else all), `--rounds N` (default 3; each side runs thrice a round).
//! Environment: `WHENCE_PYTHON`, a Python with numpy, scipy, scikit-learn and safetensors (else `python3`);
//! `WHENCE_TIME_CLUSTERS`, the program that times the same code in Chromium (else that column stays empty).

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use whence_shared::cluster::hdbscan::{self, hdbscan};
use whence_shared::cluster::kmeans;
use whence_shared::cluster::linkage::ward;
use whence_shared::cluster::partition::adjusted_rand;
use whence_shared::cluster::points::{Points, to_unit_rows};
use whence_shared::statistics::random::Random;
use whence_tests::clock::median;
use whence_tests::fixture::package;

/// What is compared.
#[derive(Debug, Clone, Copy)]
enum Method {
    Ward,
    Kmeans { k: usize, n_iterations: usize },
    Hdbscan(hdbscan::Settings),
}

struct Part {
    name: &'static str,
    n_rows: usize,
    width: usize,
    method: Method,
}

const PARTS: [Part; 4] = [
    Part { name: "ward", n_rows: 350, width: 500, method: Method::Ward },
    Part { name: "ward-wide", n_rows: 2000, width: 350, method: Method::Ward },
    Part { name: "kmeans", n_rows: 100_000, width: 64, method: Method::Kmeans { k: 64, n_iterations: 10 } },
    Part {
        name: "hdbscan",
        n_rows: 5000,
        width: 32,
        method: Method::Hdbscan(hdbscan::Settings { min_cluster_size: 20, min_samples: 10 }),
    },
];

/// Seconds of every repetition, and the result.
type Measured = (Vec<f64>, Vec<f64>);

const REPEATS: usize = 3;
/// Heights and inertia may differ by this much of themselves.
const TOLERANCE: f64 = 1e-5;
/// Labels must agree at least this much: where distances are equal to the last bit, each side may break the tie its own way.
const LEAST_RAND: f64 = 0.999;

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
    let (mut only, mut rounds) = (None, 3);
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg}: expected a value after it"))?;
        match arg.as_str() {
            "--part" => only = Some(value),
            "--rounds" => rounds = value.parse().map_err(|_| format!("{arg}: expected a number, got {value:?}"))?,
            _ => return Err(format!("unknown option {arg}: expected --part or --rounds")),
        }
    }
    let parts: Vec<&Part> = PARTS.iter().filter(|part| only.as_ref().is_none_or(|name| name == part.name)).collect();
    if parts.is_empty() {
        return Err(format!("--part: expected one of {}", PARTS.map(|part| part.name).join(", ")));
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    println!(
        "| part | rows × width | whence | in Chromium | peer | ratio | ratio in Chromium |\n|---|---|---|---|---|---|---|"
    );
    let (mut versions, mut browser) = (String::new(), String::new());
    for part in parts {
        let rows = blobs(part.n_rows, part.width);
        write_rows(&folder.path().join("rows.safetensors"), &rows, part)?;
        let (mut own, mut theirs, mut in_browser) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (secs, result) = peer(folder.path(), part, &mut versions)?;
            theirs.extend(secs);
            for _ in 0..REPEATS {
                let start = Instant::now();
                let found = whence(part, &rows);
                own.push(start.elapsed().as_secs_f64());
                must_agree(part, &found, &result)?;
            }
            if let Some((secs, found)) = chromium(folder.path(), part, &rows, &mut browser)? {
                in_browser.extend(secs);
                must_agree(part, &found, &result)?;
            }
        }
        let (own, theirs) = (median(&mut own), median(&mut theirs));
        let shape = format!("{} × {}", part.n_rows, part.width);
        let in_browser = (!in_browser.is_empty()).then(|| median(&mut in_browser));
        let ms = |secs: Option<f64>| secs.map_or("–".to_owned(), |secs| format!("{:.1} ms", secs * 1e3));
        let ratio = |secs: Option<f64>| secs.map_or("–".to_owned(), |secs| format!("{:.2}", theirs / secs));
        println!(
            "| {} | {shape} | {} | {} | {} | {} | {} |",
            part.name,
            ms(Some(own)),
            ms(in_browser),
            ms(Some(theirs)),
            ratio(Some(own)),
            ratio(in_browser)
        );
    }
    println!("{versions}{browser}, one thread each; ratios above 1: whence is faster");
    Ok(())
}

/// Rows around forty centres, the first with the most, and some around none; at unit length.
fn blobs(n_rows: usize, width: usize) -> Vec<f32> {
    let mut random = Random::new(17);
    let centres: Vec<f64> = (0..40 * width).map(|_| random.normal()).collect();
    let mut rows = Vec::with_capacity(n_rows * width);
    for _ in 0..n_rows {
        let centre = (random.uniform() * random.uniform() * 44.0) as usize;
        let at = |j: usize| centres.get(centre * width + j).copied().unwrap_or(0.0);
        rows.extend((0..width).map(|j| (at(j) + 0.6 * random.normal()) as f32));
    }
    to_unit_rows(&mut rows, width);
    rows
}

/// Heights, inertia or labels.
fn whence(part: &Part, rows: &[f32]) -> Vec<f64> {
    let points = Points::new(rows, part.width).expect("rows of numbers");
    match part.method {
        Method::Ward => {
            let dendrogram = ward(points).expect("few enough rows");
            dendrogram.merges.iter().map(|merge| merge.height).collect()
        }
        Method::Kmeans { k, n_iterations } => {
            let found = kmeans::from_centres(points, rows[..k * part.width].to_vec(), n_iterations);
            vec![inertia(points, &found.labels, k)]
        }
        Method::Hdbscan(settings) => {
            let found = hdbscan(points, settings).expect("settings that the rows allow");
            found.labels.into_iter().map(f64::from).collect()
        }
    }
}

/// Sum of squared distances to the means of the clusters, of rows of unit length: Σ (n − ‖sum of rows‖² / n).
fn inertia(points: Points, labels: &[u32], k: usize) -> f64 {
    let mut sums = vec![0f64; k * points.width()];
    let mut counts = vec![0f64; k];
    for (row, &label) in points.rows().zip(labels) {
        counts[label as usize] += 1.0;
        let sum = &mut sums[label as usize * points.width()..][..points.width()];
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let square = |sum: &[f64]| sum.iter().map(|x| x * x).sum::<f64>();
    sums.chunks_exact(points.width()).zip(counts).map(|(sum, n)| n - square(sum) / n.max(1.0)).sum()
}

fn must_agree(part: &Part, own: &[f64], theirs: &[f64]) -> Result<(), String> {
    let close = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs());
    let agrees = match part.method {
        Method::Ward => own.len() == theirs.len() && own.iter().zip(theirs).all(|(a, b)| close(*a, *b)),
        // The same work, not the same steps: spherical k-means normalises its centres, KMeans does not.
        Method::Kmeans { .. } => (own[0] - theirs[0]).abs() < 0.05 * theirs[0],
        Method::Hdbscan(_) => {
            let labels = |values: &[f64]| values.iter().map(|value| *value as i64).collect::<Vec<_>>();
            adjusted_rand(&labels(own), &labels(theirs)) >= LEAST_RAND
        }
    };
    if agrees { Ok(()) } else { Err(format!("{}: the results differ, so the times mean nothing", part.name)) }
}

fn write_rows(path: &Path, rows: &[f32], part: &Part) -> Result<(), String> {
    let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor =
        TensorView::new(Dtype::F32, vec![part.n_rows, part.width], &bytes).map_err(|error| error.to_string())?;
    safetensors::serialize_to_file([("rows", tensor)], None, path)
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// The part in Chromium, where a program for it is given and the app has the method.
fn chromium(folder: &Path, part: &Part, rows: &[f32], version: &mut String) -> Result<Option<Measured>, String> {
    let Some(program) = env::var_os("WHENCE_TIME_CLUSTERS") else { return Ok(None) };
    let path = folder.join("rows.f32");
    let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut command = Command::new(program);
    command.arg(&path).arg(part.width.to_string()).arg(REPEATS.to_string());
    match part.method {
        Method::Ward => command.arg("ward"),
        Method::Kmeans { k, n_iterations } => command.arg("kmeans").arg(k.to_string()).arg(n_iterations.to_string()),
        Method::Hdbscan(_) => return Ok(None),
    };
    let output = command.output().map_err(|error| format!("Chromium: {error}"))?;
    if !output.status.success() {
        return Err(format!("Chromium failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let said: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("Chromium's answer: {error}"))?;
    *version = format!(", {}", said["version"].as_str().unwrap_or("Chromium"));
    let numbers = |key: &str| said[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect::<Vec<_>>();
    let secs = numbers("ms").into_iter().map(|ms| ms / 1e3).collect();
    let found = match part.method {
        Method::Kmeans { k, .. } => {
            let labels: Vec<u32> = numbers("result").into_iter().map(|label| label as u32).collect();
            vec![inertia(Points::new(rows, part.width).expect("rows of numbers"), &labels, k)]
        }
        _ => numbers("result"),
    };
    Ok(Some((secs, found)))
}

/// The same by scipy or scikit-learn.
fn peer(folder: &Path, part: &Part, versions: &mut String) -> Result<Measured, String> {
    let python = env::var("WHENCE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let out = folder.join("result.safetensors");
    let mut command = Command::new(python);
    command.arg(package().join("peers/cluster_sklearn.py"));
    command.arg("--rows").arg(folder.join("rows.safetensors")).arg("--out").arg(&out);
    command.arg("--repeats").arg(REPEATS.to_string());
    match part.method {
        Method::Ward => command.args(["--method", "ward"]),
        Method::Kmeans { k, n_iterations } => {
            command.args(["--method", "kmeans", "-k", &k.to_string(), "--iterations", &n_iterations.to_string()])
        }
        Method::Hdbscan(settings) => command
            .args(["--method", "hdbscan", "--min-cluster-size", &settings.min_cluster_size.to_string()])
            .args(["--min-samples", &settings.min_samples.to_string()]),
    };
    let output = command.output().map_err(|error| format!("the peer: {error}"))?;
    if !output.status.success() {
        return Err(format!("the peer failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let said: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("the peer's answer: {error}"))?;
    said["versions"].as_str().unwrap_or_default().clone_into(versions);
    let secs = said["secs"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let bytes = fs::read(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
    let result = tensors.tensor("result").map_err(|error| error.to_string())?;
    let result = result.data().as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    Ok((secs, result))
}
