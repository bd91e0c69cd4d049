//! Import on real data and at size, and what the command says.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::tempdir;
use whence_backend::data::import::{ImportOptions, import};
use whence_backend::data::pairs::PairFile;
use whence_backend::progress::silent;
use whence_backend::study::Study;
use whence_shared::pair::{Message, Side};
use whence_tests::binary;

/// Rows of the HH-RLHF file.
const N_HH_PAIRS: usize = 2312;

fn hh_rlhf() -> Option<PathBuf> {
    let path = whence_tests::fixture::package().join("../../shared/data/hh-rlhf/harmless-base-test.jsonl.gz");
    if path.is_file() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn transcript(turns: &[Message]) -> String {
    let name = |role: &str| if role == "user" { "Human" } else { "Assistant" };
    turns.iter().map(|turn| format!("\n\n{}: {}", name(&turn.role), turn.content)).collect()
}

#[test]
fn real_pairs_come_in_without_loss() {
    let Some(input) = hh_rlhf() else { return };
    let folder = tempdir().unwrap();
    let study = Study::at(folder.path());
    let options = ImportOptions { inputs: vec![input.to_string_lossy().into_owned()], ..ImportOptions::default() };
    let imported = import(&study, &options, &silent).unwrap();
    assert_eq!((imported.n_pairs, imported.health.n_rejected_rows), (N_HH_PAIRS, 0));
    assert_eq!(imported.health.n_identical, 0);
    assert_eq!(imported.sources[0].name, "harmless-base-test");

    // The original, read by other means: the gzip program and plain JSON.
    let gzip = Command::new("gzip").arg("-dc").arg(&input).output().unwrap();
    let originals: Vec<serde_json::Value> =
        gzip.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let pairs = PairFile::open(&study.pairs()).unwrap();
    assert_eq!((pairs.len(), originals.len()), (N_HH_PAIRS, N_HH_PAIRS));
    for (pair, original) in pairs.iter().zip(&originals) {
        let pair = pair.unwrap();
        for side in [Side::Chosen, Side::Rejected] {
            assert_eq!(
                Some(transcript(&pair.conversation(side)).as_str()),
                original[side.name()].as_str(),
                "{}",
                pair.id
            );
            assert_eq!(pair.side(side).last().unwrap().role, "assistant", "{}", pair.id);
        }
        assert_ne!(pair.chosen[0], pair.rejected[0], "the prompt is all that is shared: {}", pair.id);
        assert_eq!(pair.metadata, "{}");
    }
}

#[test]
fn the_command_says_what_it_found_and_what_it_refused() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let good = r#"{"prompt":"q","chosen":"yes","rejected":"no","source":"s"}"#;
    let other = r#"{"chosen":"\n\nHuman: q\n\nAssistant: a","rejected":"\n\nHuman: q\n\nAssistant:"}"#;
    fs::write(path("rows.jsonl"), [good, good, other, "{}"].join("\n")).unwrap();
    let run = binary::whence(["import", &path("rows.jsonl"), "--study", &path("study")]).succeeds();
    for part in [
        "2 × explicit prompt, text (TRL)",
        "1 × Human/Assistant text (HH-RLHF)",
        "3 pairs",
        "1 exact duplicates",
        "1 with an empty response",
        "3 made as FILE:ROW",
        "1 of 4 rows refused",
        "row 4: field \"chosen\" is missing",
        "rejects.jsonl",
    ] {
        assert!(run.stdout.contains(part), "expected {part:?} in:\n{}", run.stdout);
    }
    fs::write(path("more.jsonl"), good).unwrap();
    binary::whence(["import", &path("more.jsonl"), "--study", &path("study")]).fails_naming(&[
        "rows.jsonl",
        "--replace",
        "--study",
    ]);
    binary::whence(["import", &path("*.parquet"), "--study", &path("new")]).fails_naming(&["*.parquet"]);
    binary::whence(["import", &path("none.jsonl"), "--study", &path("new")]).fails_naming(&["none.jsonl"]);
}

#[test]
fn a_folder_as_the_hub_has_it_is_imported_and_what_is_left_out_is_named() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    fs::create_dir_all(path("set/data")).unwrap();
    fs::write(path("set/data/train.jsonl"), r#"{"prompt":"q","chosen":"yes","rejected":"no"}"#).unwrap();
    fs::write(path("set/dataset_infos.json"), r#"{"default": {"features": {}}}"#).unwrap();
    let run = binary::whence(["import", &path("set"), "--study", &path("study")]).succeeds();
    for part in ["1 pairs", "left out", "set/dataset_infos.json"] {
        assert!(run.stdout.contains(part), "expected {part:?} in:\n{}", run.stdout);
    }
    // Another file without pairs: what it has is said, and how to name the rest.
    fs::write(path("set/extra.json"), r#"{"question":"q","accepted":"yes","refused":"no"}"#).unwrap();
    let glob = format!("whence import '{}'", path("set/data/*.jsonl"));
    let missing = "field \"chosen\" is missing or null; the row has ";
    let parts = ["set/extra.json", missing, "\"accepted\"", "\"question\"", "\"refused\"", &glob];
    binary::whence(["import", &path("set"), "--study", &path("new")]).fails_naming(&parts);
    let named = binary::whence(["import", &path("set/extra.json"), "--study", &path("new")]);
    assert!(!named.success && !named.stderr.contains("to leave it out"), "{}", named.stderr);
}

/// Peak resident memory of a command, in MiB.
#[cfg(target_os = "linux")]
fn peak_mib(mut command: Command) -> f64 {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0.0f64;
    loop {
        // The line goes away when the process has ended; the last value seen is at most a few milliseconds old.
        let text =
            File::open(&status).map(|file| BufReader::new(file).lines().map_while(Result::ok).collect::<Vec<_>>());
        for line in text.unwrap_or_default() {
            if let Some(value) = line.strip_prefix("VmHWM:") {
                peak_kib = peak_kib.max(value.trim().trim_end_matches(" kB").parse().unwrap());
            }
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{command:?}");
            return peak_kib / 1024.0;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_texts() {
    let folder = tempdir().unwrap();
    let peak_of = |n_rows: usize| {
        let input = folder.path().join(format!("{n_rows}.jsonl"));
        let mut file = BufWriter::new(File::create(&input).unwrap());
        let filler = "some words of a response ".repeat(20);
        for i in 0..n_rows {
            writeln!(file, r#"{{"prompt":"question {i}","chosen":"{i} {filler}","rejected":"{filler} {i}"}}"#).unwrap();
        }
        file.into_inner().unwrap();
        let mut command = Command::new(binary::path());
        command.arg("import").arg(&input).arg("--study").arg(folder.path().join(format!("study-{n_rows}")));
        peak_mib(command)
    };
    let (small, large) = (peak_of(10_000), peak_of(200_000));
    println!("peak memory: {small:.0} MiB for 10,000 rows, {large:.0} MiB for 200,000 rows (208 MB of text)");
    // Two 128-bit hashes a row, in tables that double: some 16 MiB. The texts alone would be 200.
    assert!(large < small + 48.0, "{small:.0} MiB grew to {large:.0} MiB");
}
