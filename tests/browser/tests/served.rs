//! The app as `whence serve` serves it, over a study that the real verbs made: the page shows the stored ranking.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::json;
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::site::app_folder;

const BEHAVIOR: &str = "lists";

fn whence() -> Command {
    let path = std::env::var_os("WHENCE_BIN").map(PathBuf::from).unwrap_or_else(|| {
        panic!("WHENCE_BIN is not set: run the tests through `cargo xtask test`, or set it to the built whence binary")
    });
    Command::new(path)
}

fn run(arguments: &[&str]) {
    let output = whence().args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "whence {arguments:?}: {said}");
}

/// A study of 300 pairs whose vectors a small random model made, ranked at every layer.
fn study(folder: &Path) -> PathBuf {
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
struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn start(study: &Path) -> Self {
        let mut command = whence();
        command.arg("serve").arg("--study").arg(study).arg("--app").arg(app_folder()).args(["--port", "0"]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().find(|word| word.starts_with("http://"));
        let address = address.unwrap_or_else(|| panic!("whence serve names no address: {line:?}")).to_owned();
        Self { process, address }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Rank, row, id and score bits of a stored ranking.
fn stored(study: &Path, layer: usize) -> Vec<(u32, u32, String, u32)> {
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
type Shown = (u32, u32, String, u32, f32);

async fn shown(browser: &Browser, layer: usize) -> Vec<Shown> {
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

#[tokio::test]
async fn the_page_ranks_by_the_index_that_whence_made_and_rows_that_the_server_gathers() {
    const K: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    let separator = if served.address.contains('?') { '&' } else { '?' };
    // The last layer there is, and the one before: of the embeddings the differences are zero.
    for layer in [1, 2] {
        let query = format!("{separator}behavior={BEHAVIOR}&layer={layer}&k={K}&index=yes&workers=2");
        browser.open(&format!("{}{query}", served.address), "ranked").await;
        let shown = shown(&browser, layer).await;
        browser.wait_for_text("#status", &format!("Top {K} exact")).await;
        browser.evaluate("document.getElementById('details').open = true", vec![]).await;
        browser.wait_for_text("#details", "by the index").await;
        let stored = stored(&study, layer);
        for (shown, stored) in shown.iter().zip(&stored).take(K) {
            let (rank, row, id, score, radius) = shown.clone();
            assert_eq!((rank, row, id, score), *stored, "layer {layer}");
            assert_eq!(radius, 0.0);
        }
        for (_, row, _, score, radius) in &shown {
            let exact = stored.iter().find(|stored| stored.1 == *row).map(|stored| f32::from_bits(stored.3)).unwrap();
            assert!((f32::from_bits(*score) - exact).abs() <= radius + 1e-6, "layer {layer}, row {row}");
        }
    }
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "{errors:?}");
}

#[tokio::test]
async fn the_page_ranks_as_whence_rank_did_row_for_row() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?view=ranking", served.address), "ranked").await;
    let layers = "return [...document.querySelectorAll('#layer option')].map((option) => Number(option.value))";
    let layers: Vec<usize> = serde_json::from_value(browser.evaluate(layers, vec![]).await).unwrap();
    assert!(layers.len() >= 2, "the fixture has several layers, got {layers:?}");
    for layer in layers {
        browser.find(&format!("#layer option[value='{layer}']")).await.click().await.unwrap();
        let shown: Vec<_> = shown(&browser, layer)
            .await
            .into_iter()
            .map(|(rank, row, id, score, radius)| {
                assert_eq!(radius, 0.0, "a small layer is read whole");
                (rank, row, id, score)
            })
            .collect();
        let stored = stored(&study, layer);
        assert_eq!(stored.len(), 300);
        assert_eq!(shown, stored, "layer {layer}");
    }
    // Texts arrive too, and the page lives with the server's content security policy.
    browser.press("j").await;
    browser.wait_for_text(".side.chosen .response", "- one").await;
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "{errors:?}");
}

#[tokio::test]
async fn what_is_decided_in_the_page_is_edited_and_exported_by_whence_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?behavior={BEHAVIOR}&layer=1&k=20", served.address), "ranked").await;
    // The first pair is dropped for a reason; of the first twenty the others are switched by a rule.
    browser.press("jd").await;
    browser.find("#decide-drop[aria-pressed='true']").await;
    let note = browser.find("#note").await;
    note.send_keys("wrong, \"really\"").await.unwrap();
    note.send_keys(Key::Enter).await.unwrap();
    browser.find(".pages a[href*='view=edit']").await.click().await.unwrap();
    browser.find("#apply-ranking:enabled").await.click().await.unwrap();
    browser.wait_for_text("#decided-counts", "1 dropped · 19 switched · 0 kept").await;
    browser.find("#export-decisions").await.click().await.unwrap();
    let csv = browser.downloaded("decisions.csv").await;
    let stored = stored(&study, 1);
    let (_, row, id, score) = &stored[0];
    let first = format!("{row},{id},drop,\"wrong, \"\"really\"\"\",{},1\n", f32::from_bits(*score));
    assert!(csv.contains(&first), "expected {first} in {csv}");
    assert_eq!(csv.lines().count(), 21);

    // Whence reads what the page wrote, row for row.
    let decisions = folder.path().join("decisions.csv");
    fs::write(&decisions, &csv).unwrap();
    let study_path = study.to_str().unwrap();
    run(&["edit", "--study", study_path, "--name", "read", "--decisions", decisions.to_str().unwrap()]);
    for (form, button) in [("trl", "#export-trl"), ("open-instruct", "#export-open-instruct")] {
        browser.find(&format!("{button}:enabled")).await.click().await.unwrap();
        let from_page = browser.downloaded(&format!("study-edited-{form}.jsonl")).await;
        let out = folder.path().join(format!("{form}.jsonl"));
        let format = ["--form", form, "--format", "jsonl", "--out", out.to_str().unwrap()];
        run(&[&["export", "--study", study_path, "--edit", "read"][..], &format].concat());
        let from_whence = fs::read_to_string(&out).unwrap();
        assert_eq!(from_whence.lines().count(), 299);
        assert!(from_page == from_whence, "{form}: the page's file differs from whence export's");
    }
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "{errors:?}");
}
