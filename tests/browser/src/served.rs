//! A small study that the real verbs made, the real `whence serve` of it, and what a page shows of its ranking.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::json;

use crate::browser::Browser;

/// Name of its behavior.
pub const BEHAVIOR: &str = "lists";

fn whence() -> Command {
    let path = std::env::var_os("WHENCE_BIN").map(PathBuf::from).unwrap_or_else(|| {
        panic!("WHENCE_BIN is not set: run the tests through `cargo xtask test`, or set it to the built whence binary")
    });
    Command::new(path)
}

/// Runs `whence`, which must succeed.
///
/// # Panics
///
/// Panics with what it said when it does not, or when WHENCE_BIN is not set.
pub fn run(arguments: &[&str]) {
    let output = whence().args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "whence {arguments:?}: {said}");
}

/// A study of 300 pairs whose vectors a small random model made, ranked at every layer.
///
/// # Panics
///
/// Panics when a verb fails.
pub fn study(folder: &Path) -> PathBuf {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/olmo2/chat");
    let (study, pairs, behavior) = (folder.join("study"), folder.join("pairs.jsonl"), folder.join("behavior.jsonl"));
    let row = |i: usize| {
        let (chosen, rejected) = (format!("- one\n- {}", "two ".repeat(i % 7 + 1)), format!("I will not say {i}."));
        let source = ["a", "b", "c"][i % 3];
        json!({ "prompt": format!("Name {i}."), "chosen": chosen, "rejected": rejected, "source": source })
    };
    let lines: String = (0..300).map(|i| format!("{}\n", row(i))).collect();
    fs::write(&pairs, lines).unwrap();
    let triple = json!({ "prompt": "Name ten.", "r0": "I will not.", "r1": "- one\n- two", "scenario": "lists" });
    fs::write(&behavior, format!("{triple}\n")).unwrap();
    let (study_path, model) = (study.to_str().unwrap(), model.to_str().unwrap());
    let (pairs, behavior) = (pairs.to_str().unwrap(), behavior.to_str().unwrap());
    run(&["import", pairs, "--study", study_path]);
    run(&["extract", "--study", study_path, "--model", model, "--device", "cpu"]);
    let define = ["behavior", "--study", study_path, "--name", BEHAVIOR, "--pairs", behavior, "--model", model];
    run(&[&define[..], &["--device", "cpu"]].concat());
    run(&["rank", "--study", study_path, "--behavior", BEHAVIOR]);
    study
}

/// A running `whence serve`; it ends with the value.
#[derive(Debug)]
pub struct Served {
    process: Child,
    /// Read no further, but open: it may say more.
    _said: BufReader<ChildStdout>,
    /// Its address.
    pub address: String,
}

impl Served {
    /// Serves a study with the app in the binary, from a folder where there is nothing else.
    ///
    /// # Panics
    ///
    /// Panics when it names no address.
    pub fn start(study: &Path) -> Self {
        Self::start_at(study, 0)
    }

    /// The same, at a port: where one was before, or any free one (0).
    ///
    /// # Panics
    ///
    /// As [`Served::start`].
    pub fn start_at(study: &Path, port: u16) -> Self {
        Self::start_with(study, &["--port", &port.to_string()])
    }

    /// The same with other options; `--port` must be among them.
    ///
    /// # Panics
    ///
    /// As [`Served::start`].
    pub fn start_with(study: &Path, options: &[&str]) -> Self {
        let mut command = whence();
        command.arg("serve").arg("--study").arg(study).args(options);
        command.env_remove("WHENCE_APP").current_dir(study);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let address = line.split_whitespace().find(|word| word.starts_with("http://"));
        let address = address.unwrap_or_else(|| panic!("whence serve names no address: {line:?}"));
        // Whoever listens everywhere is reached here.
        Self { process, _said: said, address: address.replace("//0.0.0.0:", "//127.0.0.1:") }
    }

    /// The port that it listens on.
    ///
    /// # Panics
    ///
    /// Panics when its address names none.
    pub fn port(&self) -> u16 {
        let port = self.address.trim_end_matches('/').rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or_else(|| panic!("no port in {}", self.address))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Rank, row, id and score bits of a stored ranking.
///
/// # Panics
///
/// Panics when there is none.
pub fn stored(study: &Path, layer: usize) -> Vec<(u32, u32, String, u32)> {
    let path = study.join(format!("rankings/{BEHAVIOR}/layer-{layer}.parquet"));
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    rows.map(|row| {
        let (rank, number) = (row.get_uint(0).unwrap(), row.get_uint(1).unwrap());
        (rank, number, row.get_string(2).unwrap().clone(), row.get_float(3).unwrap().to_bits())
    })
    .collect()
}

/// A line of the CSV that the page hands out: rank, row, id, score bits, radius.
pub type Shown = (u32, u32, String, u32, f32);

/// What the page shows of a layer once it is ranked, as it hands it out.
///
/// # Panics
///
/// Panics when it does not.
pub async fn shown(browser: &Browser, layer: usize) -> Vec<Shown> {
    browser.find(&format!("body[data-state='ranked'][data-ranked='{BEHAVIOR}/layer-{layer}']")).await;
    browser.find("#download:enabled").await.click().await.unwrap();
    let csv = browser.downloaded(&format!("{BEHAVIOR}-layer-{layer}.csv")).await;
    let lines = csv.lines().skip(1).map(|line| {
        let [rank, row, id, score, radius] = line.split(',').collect::<Vec<_>>().try_into().unwrap();
        let score: f32 = score.parse().unwrap();
        (rank.parse().unwrap(), row.parse().unwrap(), id.to_owned(), score.to_bits(), radius.parse().unwrap())
    });
    lines.collect()
}
