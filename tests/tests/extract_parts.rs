//! One study, several machines and several devices: the same bytes however the work is shared, and parts that do not fit
//! together are refused with what differs and where.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use whence_backend::attribute::table;
use whence_backend::device::{self, DeviceChoice};
use whence_tests::binary::{self, Run, whence};
use whence_tests::chat_study::{Made, assert_same, synthetic};
use whence_tests::fixture::{self, relative_difference};
use whence_tests::{checkpoint, vectors};

const RANGES: [&str; 2] = ["--rows-per-file", "16"];

fn merge(study: &Made, others: &[&Made]) -> Run {
    let mut args = vec!["merge".into(), "--study".into(), study.study().into_os_string()];
    args.extend(others.iter().map(|other| other.study().into_os_string()));
    whence(args)
}

/// Studies with parts 1/2 and 2/2 of the same pairs.
fn halves(made: &Made, more: &[&str]) -> [Made; 2] {
    ["1/2", "2/2"].map(|part| {
        let half = made.again();
        half.extract(&[&RANGES[..], &["--part", part], more].concat());
        half
    })
}

#[test]
fn parts_extracted_apart_and_merged_have_the_same_bytes() {
    let made = Made::of(&synthetic(100));
    made.extract(&RANGES);
    let expected = made.files();
    let parts = [("1/3", "rows 0 to 31 of 100"), ("2/3", "rows 32 to 63"), ("3/3", "rows 64 to 99")];
    let studies = parts.map(|(part, rows)| {
        let study = made.again();
        let run = study.extract(&[&RANGES[..], &["--part", part]].concat());
        for said in [&format!("part {part} complete"), rows, "next:", "whence merge --study"] {
            assert!(run.stdout.contains(said), "expected {said:?} in {}", run.stdout);
        }
        assert!(!study.study().join("vectors/layer-1/manifest.json").exists(), "a part completes no layer");
        study
    });
    // Into one of them; the others as arguments.
    let run = merge(&studies[1], &[&studies[0], &studies[2]]).succeeds();
    assert!(run.stdout.contains("100 pairs complete") && run.stdout.contains("layer 3"), "{}", run.stdout);
    assert_same(&studies[1].files(), &expected, "merged into a part");
    // Into a study without vectors.
    let fresh = made.again();
    merge(&fresh, &[&studies[0], &studies[1]]).succeeds();
    assert_same(&fresh.files(), &expected, "merged into a new study");
}

#[test]
fn a_part_goes_on_where_it_was_and_as_another_part() {
    let made = Made::of(&synthetic(100));
    made.extract(&RANGES);
    let study = made.again();
    study.extract(&[&RANGES[..], &["--part", "1/2"]].concat());
    let again = study.extract(&[&RANGES[..], &["--part", "1/2"]].concat());
    assert!(again.stdout.contains("48 of 48 pairs were there already"), "{}", again.stdout);
    let other = study.extract(&[&RANGES[..], &["--part", "2/3"]].concat());
    assert!(other.stdout.contains("16 of 32 pairs were there already"), "{}", other.stdout);
    study.extract(&RANGES);
    assert_same(&study.files(), &made.files(), "finished without parts");
    let more_parts_than_files = study.extract(&[&RANGES[..], &["--part", "1/50"]].concat());
    assert!(more_parts_than_files.stdout.contains("has no rows"), "{}", more_parts_than_files.stdout);
}

#[test]
fn malformed_parts_and_devices_are_refused_with_what_is_expected() {
    let made = Made::of(&synthetic(2));
    for part in ["0/3", "4/3", "x", "1", "1/0"] {
        let run = whence(made.args(&["--part", part]));
        assert!(!run.success && run.stderr.contains("such as 2/3") && run.stderr.contains(part), "{}", run.stderr);
    }
    for (list, said) in
        [("tpu", "expected one of auto, cpu"), ("cpu,tpu", "\"tpu\""), ("cpu:1", "only one cpu"), ("wgpu:x", "\"x\"")]
    {
        let run = whence(made.args(&["--device", list]));
        assert!(!run.success && run.stderr.contains(said), "{list}: {}", run.stderr);
    }
    if device::open(DeviceChoice::Wgpu).is_ok() {
        let mut command = Command::new(binary::path());
        // Graphics drivers complain about a missing one in lines that look like ours.
        command.args(made.args(&["--device", "wgpu:99"])).env("XDG_RUNTIME_DIR", made.study());
        binary::finish(command).fails_naming(&["no device wgpu:99", "expected wgpu:0"]);
    }
}

#[test]
fn parts_of_another_making_refuse_to_merge_and_say_what_differs() {
    let made = Made::of(&synthetic(40));
    let [one, _] = halves(&made, &[]);
    for (more, what, values) in [
        (["--max-tokens", "64"], "--max-tokens", ["2048", "64"]),
        (["--template", "none"], "template", ["model", "none"]),
        (["--store", "f16"], "--store", ["f32", "f16"]),
    ] {
        let [_, other] = halves(&made, &more);
        let (here, there) = (one.study().display().to_string(), other.study().display().to_string());
        let named = [what, values[0], values[1], here.as_str(), there.as_str()];
        let before = one.files();
        merge(&one, &[&other]).fails_naming(&named);
        assert_same(&one.files(), &before, "nothing is copied");
    }
    let other = made.again();
    other.extract(&["--rows-per-file", "8", "--part", "2/2"]);
    merge(&one, &[&other]).fails_naming(&["--rows-per-file", "16", "8"]);
    // Another model of the same shape.
    let model = tempfile::tempdir().unwrap();
    fixture::copy_folder(&fixture::model("chat"), model.path());
    checkpoint::edit(model.path(), |weights| {
        weights.values_mut().next().unwrap().bytes[0] ^= 1;
    });
    let other = made.again();
    let mut args = other.args(&[&RANGES[..], &["--part", "2/2"]].concat());
    let at = args.iter().position(|arg| arg == "--model").unwrap() + 1;
    args[at] = model.path().as_os_str().to_owned();
    whence(args).succeeds();
    merge(&one, &[&other]).fails_naming(&["model differs"]);
    // Other pairs, and no vectors at all.
    let strangers = Made::of(&synthetic(41));
    strangers.extract(&[&RANGES[..], &["--part", "2/2"]].concat());
    merge(&one, &[&strangers]).fails_naming(&["set of pairs differs"]);
    merge(&strangers.again(), &[&one]).fails_naming(&["made from other pairs", "40 pairs", "41 pairs"]);
    merge(&one, &[&made.again()]).fails_naming(&["has no vectors yet"]);
    merge(&made.again(), &[]).fails_naming(&["has no vectors yet"]);
}

#[test]
fn files_that_are_missing_truncated_foreign_or_changed_are_named_when_merging() {
    let made = Made::of(&synthetic(100));
    let [one, two] = halves(&made, &[]);
    let file = |study: &Made, name: &str| study.study().join("vectors").join(name);
    let restore = |path: &Path, bytes: &[u8]| fs::write(path, bytes).unwrap();

    merge(&one, &[]).fails_naming(&["not complete", "layer 1 lacks rows 48 to 99", "layer 3"]);
    let path = file(&two, "layer-2/00000064.safetensors");
    let whole = fs::read(&path).unwrap();
    let other_rows = fs::read(file(&two, "layer-2/00000048.safetensors")).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (bytes, said) in [
        (&whole[..whole.len() - 1], "changed after it was written"),
        (&other_rows[..], "changed after it was written"),
        (&flipped[..], "changed after it was written"),
    ] {
        restore(&path, bytes);
        merge(&one, &[&two]).fails_naming(&[
            "layer-2/00000064.safetensors",
            "rows 64 to 79",
            said,
            "run `whence extract`",
        ]);
    }
    // Without a record of what was written, what a file says of itself still counts.
    fs::remove_dir_all(file(&two, "parts")).unwrap();
    for (bytes, said) in [
        (&whole[..whole.len() - 1], "not a complete safetensors file"),
        (&other_rows[..], "first row: expected 64, got 48"),
    ] {
        restore(&path, bytes);
        merge(&one, &[&two]).fails_naming(&["layer-2/00000064.safetensors", said]);
    }
    restore(&path, &whole);
    // A name that is no range of this study.
    let stray = file(&two, "layer-2/00000063.safetensors");
    restore(&stray, &whole);
    merge(&one, &[&two]).fails_naming(&["00000063.safetensors", "16 rows", "move it away"]);
    fs::remove_file(&stray).unwrap();
    // Two different files for the same rows.
    let mine = file(&one, "layer-2/00000064.safetensors");
    restore(&mine, &flipped);
    merge(&one, &[&two]).fails_naming(&[
        "rows 64 to 79 differ between",
        one.study().to_str().unwrap(),
        two.study().to_str().unwrap(),
    ]);
    fs::remove_file(&mine).unwrap();
    merge(&one, &[&two]).succeeds();
    made.extract(&RANGES);
    assert_same(&one.files(), &made.files(), "after everything was mended");
}

#[test]
fn a_file_that_may_not_grow_stops_a_merge_and_the_next_one_continues() {
    let made = Made::of(&synthetic(100));
    let [one, two] = halves(&made, &[]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""]).arg(binary::path());
    command.arg("merge").arg("--study").arg(one.study()).arg(two.study());
    binary::finish(command).fails_naming(&["cannot write", ".safetensors"]);
    merge(&one, &[&two]).succeeds();
    made.extract(&RANGES);
    assert_same(&one.files(), &made.files(), "after the limit was lifted");
}

#[test]
fn several_workers_on_the_cpu_give_the_same_bytes() {
    let made = Made::of(&synthetic(120));
    made.extract(&RANGES);
    for list in ["cpu,cpu", "cpu,cpu,cpu,cpu,cpu"] {
        let again = made.again();
        let run = again.extract(&[&RANGES[..], &["--device", list]].concat());
        assert!(run.stdout.contains("× cpu"), "{}", run.stdout);
        assert_same(&again.files(), &made.files(), list);
    }
}

#[test]
fn looking_for_a_device_says_nothing_of_a_display() {
    let made = Made::of(&synthetic(2));
    let mut command = Command::new(binary::path());
    command.args(made.args(&["--device", "auto"])).env_remove("XDG_RUNTIME_DIR");
    let run = binary::finish(command).succeeds();
    assert!(!run.stderr.contains("error"), "{}", run.stderr);
}

#[test]
fn several_workers_on_a_graphics_adapter_give_the_same_bytes() {
    if let Err(error) = device::open(DeviceChoice::Wgpu) {
        eprintln!("skipped: {error}");
        return;
    }
    let made = Made::of(&synthetic(36));
    made.extract(&[&RANGES[..], &["--device", "wgpu"]].concat());
    for list in ["wgpu,wgpu", "wgpu:0,wgpu:0"] {
        let again = made.again();
        let run = again.extract(&[&RANGES[..], &["--device", list]].concat());
        assert!(run.stderr.contains("peak memory") && run.stderr.contains("held"), "{}", run.stderr);
        assert_same(&again.files(), &made.files(), list);
    }
    // A graphics adapter and the processor together: the same vectors, if not the same bytes.
    let both = made.again();
    both.extract(&[&RANGES[..], &["--device", "wgpu,cpu"]].concat());
    for layer in 1..=3 {
        let (got, expected) = (vectors::rows(&both.study(), layer), vectors::rows(&made.study(), layer));
        for (row, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let difference = relative_difference(got, expected);
            assert!(difference <= 1e-3, "layer {layer}, row {row}: {difference:e}");
        }
    }
}

#[test]
fn cpu_and_wgpu_rank_alike() {
    if let Err(error) = device::open(DeviceChoice::Wgpu) {
        eprintln!("skipped: {error}");
        return;
    }
    let made = Made::of(&synthetic(60));
    let prompts = made.study().join("prompts.jsonl");
    let lines = [
        ("the river", "no", "a quiet tea"),
        ("bread and tea", "clock", "don't, the clock"),
        ("12,5", "and", "the bread"),
    ]
    .map(|(prompt, r0, r1)| json!({"prompt": prompt, "r0": r0, "r1": r1}).to_string());
    fs::write(&prompts, lines.join("\n")).unwrap();
    let ranked = ["cpu", "wgpu"].map(|device| {
        let study = made.again();
        study.extract(&["--device", device]);
        let (path, model) = (study.study(), fixture::model("chat"));
        let (path, model) = (path.to_str().unwrap(), model.to_str().unwrap());
        let prompts = prompts.to_str().unwrap();
        whence(["behavior", "--study", path, "--name", "b", "--pairs", prompts, "--model", model, "--device", device])
            .succeeds();
        whence(["rank", "--study", path, "--behavior", "b", "--layer", "2"]).succeeds();
        table::read(&study.study().join("rankings/b/layer-2.parquet")).unwrap()
    });
    for (a, b) in ranked[0].iter().zip(&ranked[1]) {
        assert!((a.score - b.score).abs() <= 1e-3, "rank {}: {} and {}", a.rank, a.score, b.score);
        let elsewhere = ranked[0].iter().find(|row| row.row == b.row).unwrap();
        assert!(
            a.row == b.row || (a.score - elsewhere.score).abs() <= 1e-4,
            "rank {}: rows {} and {}",
            a.rank,
            a.row,
            b.row
        );
    }
}

#[test]
fn a_manifest_without_any_vector_binds_nobody() {
    let made = Made::of(&synthetic(20));
    made.extract(&["--store", "f16"]);
    let manifest = made.study().join("vectors/manifest.json");
    let other = fs::read(&manifest).unwrap();
    made.extract(&["--store", "f32", "--replace"]);
    let expected = made.files();
    // As after a kill between the manifest and the first vector.
    let again = made.again();
    let remark = again.study().join("vectors/remarks/00000000.jsonl");
    fs::create_dir_all(remark.parent().unwrap()).unwrap();
    fs::write(again.study().join("vectors/manifest.json"), other).unwrap();
    fs::write(remark, "{}\n").unwrap();
    again.extract(&["--store", "f32"]);
    assert_same(&again.files(), &expected, "extracted without --replace");
}

#[test]
fn an_edited_vector_file_is_computed_again() {
    let made = Made::of(&synthetic(40));
    made.extract(&RANGES);
    let expected = made.files();
    let path: PathBuf = made.study().join("vectors/layer-2/00000016.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let run = made.extract(&RANGES);
    assert!(run.stdout.contains("24 of 40 pairs were there already"), "{}", run.stdout);
    assert_same(&made.files(), &expected, "after an edit");
}

#[test]
fn every_run_tells_its_peak_memory_on_standard_error() {
    let made = Made::of(&synthetic(4));
    let run = made.extract(&[]);
    if cfg!(target_os = "linux") {
        assert!(run.stderr.lines().last().is_some_and(|line| line.starts_with("peak memory ")), "{}", run.stderr);
    }
    assert!(!run.stdout.contains("peak memory"), "{}", run.stdout);
}
