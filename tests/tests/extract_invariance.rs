//! Extraction gives the same bytes however it is run: batch size, neighbors, padding, threads, file ranges, and any
//! number of kills on the way. What cannot be extracted is reported by row, and a full disk loses nothing.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use whence_backend::device::{self, DeviceChoice};
use whence_tests::binary::{self, whence};
use whence_tests::chat_study::{Made, Numbers, assert_same, row, synthetic};
use whence_tests::fixture::{self, relative_difference};
use whence_tests::{checkpoint, vectors};

const RANGES: [&str; 2] = ["--rows-per-file", "16"];

#[test]
fn batch_size_and_number_of_threads_do_not_change_a_byte() {
    let made = Made::of(&synthetic(60));
    made.extract(&RANGES);
    let expected = made.files();
    assert!(expected.len() > 12, "several files per layer: {:?}", expected.keys());
    for batch_tokens in ["1", "64", "300", "100000"] {
        let again = made.again();
        again.extract(&[&RANGES[..], &["--batch-tokens", batch_tokens]].concat());
        assert_same(&again.files(), &expected, &format!("--batch-tokens {batch_tokens}"));
    }
    for threads in ["1", "2", "5"] {
        let again = made.again();
        let mut command = Command::new(binary::path());
        command.args(again.args(&RANGES)).env("RAYON_NUM_THREADS", threads);
        binary::finish(command).succeeds();
        assert_same(&again.files(), &expected, &format!("{threads} threads"));
    }
}

#[test]
fn layers_extracted_alone_or_together_or_later_have_the_same_bytes() {
    let made = Made::of(&synthetic(40));
    made.extract(&[&RANGES[..], &["--layers", "0-3"]].concat());
    let expected = made.files();
    let again = made.again();
    for layers in ["2", "0,2", "3", "all", "0-3"] {
        again.extract(&[&RANGES[..], &["--layers", layers]].concat());
    }
    assert_same(&again.files(), &expected, "layer by layer");
}

#[test]
fn a_layer_is_added_as_the_study_was_made() {
    let options = ["--store", "f16", "--rows-per-file", "16", "--max-tokens", "64", "--pooling", "last"];
    let made = Made::of(&synthetic(40));
    made.extract(&[&options[..], &["--layers", "1,2"]].concat());
    let expected = made.files();
    let again = made.again();
    again.extract(&[&options[..], &["--layers", "1"]].concat());
    let added = again.extract(&["--layers", "2"]);
    assert!(!added.stdout.contains("discards"), "{}", added.stdout);
    assert_same(&again.files(), &expected, "without saying again how");

    // What differs by request is refused, the harmless way out first; what is discarded is named before it is gone.
    let refused = whence(again.args(&["--layers", "2", "--store", "f32"]));
    refused.fails_naming(&["give `--store f16` to add to them", "--study", "--replace discards all"]);
    assert_same(&again.files(), &expected, "a refusal changes nothing");
    let replaced = again.extract(&["--layers", "2", "--logps", "--replace"]);
    assert!(replaced.stdout.contains("discards layers 1, 2 (40 pairs)\n"), "{}", replaced.stdout);
    let replaced = again.extract(&["--layers", "2", "--store", "f16", "--replace"]);
    assert!(replaced.stdout.contains("discards layer 2 and log-probabilities (40 pairs)\n"), "{}", replaced.stdout);
    let manifest: Value = serde_json::from_slice(&again.files()[Path::new("manifest.json")]).unwrap();
    let (max_tokens, pooling) = (&manifest["max_tokens"], &manifest["model"]["pooling"]);
    assert_eq!((max_tokens, pooling), (&2048.into(), &"mean".into()), "--replace has the plain defaults");
}

#[test]
fn texts_longer_than_the_model_was_made_for_are_remarked_on() {
    let long = "word ".repeat(60);
    let rows = [row(0, "Hello", "one answer", "another answer"), row(1, "Long", &long, "short")];
    let made = Made::of(&rows);
    let short_sighted = tempfile::tempdir().unwrap();
    fixture::copy_folder(&fixture::model("chat"), short_sighted.path());
    checkpoint::edit_json(&short_sighted.path().join("config.json"), |config| {
        config.insert("max_position_embeddings".into(), 48.into());
    });
    let with_model = |mut args: Vec<OsString>| {
        let at = args.iter().position(|arg| arg == "--model").unwrap() + 1;
        args[at] = short_sighted.path().as_os_str().to_owned();
        whence(args).succeeds().stdout
    };
    let said = with_model(made.args(&[]));
    assert!(said.contains("1 texts are longer than the 48 tokens that this model was made for"), "{said}");
    assert!(said.contains("row 1 (pair-1), chosen") && said.contains("was made for 48"), "{said}");
    let remarks = String::from_utf8(made.files()[Path::new("remarks/00000000.jsonl")].clone()).unwrap();
    let remark: Value = serde_json::from_str(&remarks).unwrap();
    assert_eq!((&remark["row"], &remark["no_vector"]), (&1.into(), &false.into()));
    assert_eq!(remark["beyond_context"], true);
    let zero = vectors::rows(&made.study(), 3)[1].iter().all(|x| *x == 0.0);
    assert!(!zero, "it has a vector all the same");

    let pairs = short_sighted.path().join("pairs.jsonl");
    fs::write(&pairs, json!({"prompt": "Hello", "r0": "short", "r1": long}).to_string()).unwrap();
    let mut args: Vec<OsString> =
        ["behavior", "--name", "b", "--device", "cpu", "--model", "", "--pairs"].iter().map(Into::into).collect();
    args.extend([pairs.into_os_string(), "--study".into(), made.study().into_os_string()]);
    let said = with_model(args);
    assert!(said.contains("1 texts are longer than") && said.contains("pair 1, r1"), "{said}");
}

#[test]
fn file_ranges_do_not_change_a_row() {
    let made = Made::of(&synthetic(60));
    made.extract(&["--rows-per-file", "1024"]);
    for rows_per_file in ["1", "7", "59", "60"] {
        let again = made.again();
        again.extract(&["--rows-per-file", rows_per_file]);
        for layer in 1..=3 {
            let (got, expected) = (vectors::rows(&again.study(), layer), vectors::rows(&made.study(), layer));
            assert_eq!(got, expected, "--rows-per-file {rows_per_file}, layer {layer}");
        }
    }
}

#[test]
fn order_and_neighbors_do_not_change_a_row() {
    let rows = synthetic(50);
    let made = Made::of(&rows);
    made.extract(&RANGES);
    // Backwards, and with strangers between, one of them far longer than all others.
    let mut mixed: Vec<Value> = rows.iter().rev().cloned().collect();
    mixed.insert(0, row(900, "long", &"word ".repeat(700), "short"));
    mixed.insert(17, row(901, "hello", "yes", "no"));
    mixed.push(row(902, "again", "quite another", "response"));
    let other = Made::of(&mixed);
    other.extract(&RANGES);
    for layer in 1..=3 {
        let expected = vectors::rows(&made.study(), layer);
        let got = vectors::rows(&other.study(), layer);
        assert_eq!((expected.len(), got.len()), (50, 53));
        for (at, row) in mixed.iter().enumerate() {
            if let Some(original) = rows.iter().position(|candidate| candidate == row) {
                assert_eq!(got[at], expected[original], "layer {layer}, row {original}");
            }
        }
    }
}

#[test]
fn swapping_chosen_and_rejected_negates_a_row() {
    let rows = synthetic(20);
    let made = Made::of(&rows);
    made.extract(&[]);
    let swapped: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut row = row.clone();
            let chosen = row["chosen"].take();
            row["chosen"] = row["rejected"].take();
            row["rejected"] = chosen;
            row
        })
        .collect();
    let other = Made::of(&swapped);
    other.extract(&[]);
    let negated: Vec<Vec<f32>> =
        vectors::rows(&other.study(), 3).into_iter().map(|row| row.into_iter().map(|x| -x).collect()).collect();
    let expected = vectors::rows(&made.study(), 3);
    assert_eq!(negated, expected);
    assert!(expected.iter().flatten().any(|x| *x != 0.0));
}

#[test]
fn killed_at_any_moment_it_continues_to_the_same_bytes() {
    const N_KILLS: usize = 20;
    let made = Made::of(&synthetic(240));
    let start = Instant::now();
    made.extract(&RANGES);
    let whole = start.elapsed();
    let expected = made.files();
    let n_files = expected.len();

    let seed = 20;
    let mut numbers = Numbers::new(seed);
    println!("seed {seed}, uninterrupted {} ms, {n_files} files", whole.as_millis());
    let mut n_midway = 0;
    for kill in 1..=N_KILLS {
        let again = made.again();
        // One to three kills before the run that may finish.
        let n_runs = 1 + numbers.below(3);
        for run in 1..=n_runs {
            let after = whole * numbers.below(1000) as u32 / 1000 / n_runs as u32;
            let killed = kill_after(&again.args(&RANGES), after);
            let vectors = again.study().join("vectors");
            let n_there = if vectors.is_dir() { vectors::files(&vectors).len() } else { 0 };
            println!(
                "kill {kill}.{run}: after {} ms, {n_there} of {n_files} files there{}",
                after.as_millis(),
                if killed { "" } else { ", had finished" }
            );
            n_midway += usize::from(killed && n_there > 1 && n_there < n_files);
        }
        again.extract(&RANGES);
        // Nothing half-written is left either: the files are the same, temporary ones included.
        assert_same(&again.files(), &expected, &format!("kill {kill}"));
    }
    assert!(n_midway >= N_KILLS / 2, "only {n_midway} kills hit extraction itself: the test shows too little");
}

/// Starts whence and kills it (SIGKILL) after some time. Returns whether it was still running.
fn kill_after(args: &[OsString], after: Duration) -> bool {
    let mut child =
        Command::new(binary::path()).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

#[test]
fn damaged_and_foreign_vector_files_are_computed_again() {
    let made = Made::of(&synthetic(40));
    made.extract(&RANGES);
    let expected = made.files();
    let path = |name: &str| made.study().join("vectors").join(name);
    let file = path("layer-2/00000016.safetensors");
    let whole = fs::read(&file).unwrap();
    for damaged in [&whole[..0], &whole[..whole.len() - 1], &whole[..9], b"{}"] {
        fs::write(&file, damaged).unwrap();
        made.extract(&RANGES);
        assert_same(&made.files(), &expected, &format!("a file of {} bytes", damaged.len()));
    }
    // Whole, but of other rows and another layer.
    for other in ["layer-2/00000000.safetensors", "layer-1/00000016.safetensors"] {
        fs::copy(path(other), &file).unwrap();
        made.extract(&RANGES);
        assert_same(&made.files(), &expected, other);
    }
    fs::remove_file(path("layer-3/manifest.json")).unwrap();
    made.extract(&RANGES);
    assert_same(&made.files(), &expected, "without a layer's manifest");
}

#[test]
fn a_file_that_may_not_grow_is_a_clear_error_and_the_next_run_continues() {
    const ONE_FILE: [&str; 2] = ["--rows-per-file", "100"];
    let made = Made::of(&synthetic(100));
    made.extract(&ONE_FILE);
    let expected = made.files();
    let again = made.again();
    // The limit (in blocks of 512 or 1024 bytes) lets the manifest through and stops a vector file of 12 kB. The signal
    // is ignored so that the write itself fails.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 6; exec \"$0\" \"$@\""]);
    command.arg(binary::path()).args(again.args(&ONE_FILE));
    binary::finish(command).fails_naming(&["cannot write", "00000000.safetensors"]);
    let layer = again.study().join("vectors/layer-1");
    if layer.is_dir() {
        let left = vectors::files(&layer);
        assert!(left.is_empty(), "nothing half-written is left: {:?}", left.keys());
    }
    again.extract(&ONE_FILE);
    assert_same(&again.files(), &expected, "after the limit was lifted");
}

#[test]
fn a_full_disk_is_a_clear_error_and_the_next_run_continues() {
    let made = Made::of(&synthetic(200));
    made.extract(&RANGES);
    let expected = made.files();
    // A file system of its own, in a name space of its own, too small for the vectors; then enlarged.
    let script = r#"
        mount -t tmpfs -o size=160k whence "$1" || exit 77
        cp -r "$2"/. "$1" || exit 77
        shift 2
        "$@"; echo "first exit status $?" >&2
        mount -o remount,size=64m "$0" || exit 77
        "$@" || exit 1
        cp -r "$0/vectors" "$0.copy"
    "#;
    let root = tempfile::tempdir().unwrap();
    let disk = root.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mut args = made.args(&RANGES);
    let study = args.iter().position(|arg| arg == "--study").unwrap() + 1;
    args[study] = disk.clone().into_os_string();
    let copied = made.again();
    let mut command = Command::new("unshare");
    // $0 and $1 are the disk; what is copied onto it has no vectors yet.
    command.args(["-r", "-m", "sh", "-c", script]).arg(&disk).arg(&disk).arg(copied.study());
    command.arg(binary::path()).args(&args);
    let output = match command.output() {
        Ok(output) if output.status.code() != Some(77) && output.status.code().is_some() => output,
        Ok(output) => {
            eprintln!("skipped: no small file system here: {}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        Err(error) => {
            eprintln!("skipped: cannot start unshare: {error}");
            return;
        }
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("unshare failed") {
        eprintln!("skipped: no name spaces here: {stderr}");
        return;
    }
    assert!(output.status.success(), "the second run succeeds: {stderr}");
    assert!(stderr.contains("first exit status 1"), "the first run fails: {stderr}");
    assert!(stderr.contains("free some space") && stderr.contains(".safetensors"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_same(&vectors::files(&root.path().join("disk.copy")), &expected, "after the disk grew");
}

#[test]
fn responses_that_cannot_be_read_are_reported_by_row_and_score_zero() {
    let long = "word ".repeat(300);
    let rows = [
        row(0, "Hello", "one answer", "another answer"),
        row(1, "Empty chosen", "", "something"),
        row(2, "Empty rejected", "something", ""),
        row(3, "Long response", &long, "short"),
        row(4, &long, "the prompt alone is too long", "also here"),
        row(5, "Both cut", &long, &format!("other {long}")),
        row(6, "Hello again", "fine", "also fine"),
    ];
    let made = Made::of(&rows);
    let run = made.extract(&["--max-tokens", "128", "--rows-per-file", "2"]);
    let mut found = Vec::new();
    for (path, bytes) in made.files() {
        if path.starts_with("remarks") {
            for line in String::from_utf8(bytes).unwrap().lines() {
                let remark: Value = serde_json::from_str(line).unwrap();
                found.push((
                    remark["row"].as_u64().unwrap(),
                    remark["side"].as_str().unwrap().to_owned(),
                    remark["no_vector"].as_bool().unwrap(),
                    remark["reason"].as_str().unwrap().to_owned(),
                ));
            }
        }
    }
    found.sort();
    let expected = [
        (1, "chosen", true, "empty"),
        (2, "rejected", true, "empty"),
        (3, "chosen", false, "cut (--max-tokens)"),
        (4, "chosen", true, "the limit is 128"),
        (4, "rejected", true, "the limit is 128"),
        (5, "chosen", false, "cut (--max-tokens)"),
        (5, "rejected", false, "cut (--max-tokens)"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (got, (row, side, no_vector, reason)) in found.iter().zip(expected) {
        assert_eq!((got.0, got.1.as_str(), got.2), (row, side, no_vector), "{got:?}");
        assert!(got.3.contains(reason), "{got:?}");
    }
    // The person is told, with rows, and not only the file.
    assert!(run.stdout.contains("3 of 7 pairs (42.9 %) have none and score 0"), "{}", run.stdout);
    for shown in ["row 1 (pair-1), chosen", "row 3 (pair-3), chosen", "row 4 (pair-4)"] {
        assert!(run.stdout.contains(shown), "expected {shown:?} in {}", run.stdout);
    }
    let zero: Vec<usize> = vectors::rows(&made.study(), 2)
        .iter()
        .enumerate()
        .filter(|(_, row)| row.iter().all(|x| *x == 0.0))
        .map(|(i, _)| i)
        .collect();
    assert_eq!(zero, [1, 2, 4], "rows without a vector are zero, no other row is");
    // A second run computes nothing and still tells.
    let again = made.extract(&["--max-tokens", "128", "--rows-per-file", "2"]);
    assert!(again.stdout.contains("7 of 7 pairs were there already"), "{}", again.stdout);
    assert!(again.stdout.contains("row 1 (pair-1), chosen"), "{}", again.stdout);
}

#[test]
fn identical_responses_give_a_zero_vector_and_no_remark() {
    let made = Made::of(&[row(0, "Hello", "same", "same"), row(1, "Hello", "same", "other")]);
    made.extract(&[]);
    let rows = vectors::rows(&made.study(), 3);
    assert!(rows[0].iter().all(|x| *x == 0.0) && rows[1].iter().any(|x| *x != 0.0));
    assert!(!made.study().join("vectors/remarks").exists() || made.files().keys().all(|p| !p.starts_with("remarks")));
}

#[test]
fn cpu_and_wgpu_agree_whatever_the_batches() {
    if let Err(error) = device::open(DeviceChoice::Wgpu) {
        eprintln!("skipped: {error}");
        return;
    }
    let made = Made::of(&synthetic(24));
    made.extract(&["--layers", "0-3"]);
    for batch_tokens in ["64", "600", "8192"] {
        let again = made.again();
        again.extract(&["--layers", "0-3", "--device", "wgpu", "--batch-tokens", batch_tokens]);
        for layer in 0..=3 {
            let (got, expected) = (vectors::rows(&again.study(), layer), vectors::rows(&made.study(), layer));
            assert_eq!(got.len(), expected.len());
            for (row, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let difference = relative_difference(got, expected);
                assert!(difference <= 1e-3, "--batch-tokens {batch_tokens}, layer {layer}, row {row}: {difference:e}");
                let cosine = cosine(got, expected);
                assert!(
                    cosine >= 1.0 - 1e-3,
                    "--batch-tokens {batch_tokens}, layer {layer}, row {row}: cosine {cosine}"
                );
            }
        }
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
