//! Extraction at a scale that no test model reaches, with made-up activations: interrupted, in parts, with several
//! workers and merged, it ends with the same bytes; and memory does not grow with the number of pairs. The full size is
//! `cargo xtask bench scale`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use whence_backend::data::import::{ImportOptions, import};
use whence_backend::extract::{MergeError, RemarkSummary, merge};
use whence_backend::inspect::{Inspected, inspect};
use whence_backend::memory;
use whence_backend::progress::silent;
use whence_backend::study::Study;
use whence_tests::made_source::{Made, copy_without_vectors, vector, write_rows};
use whence_tests::vectors;

const N_PAIRS: usize = 5000;
const D_MODEL: usize = 96;

fn made() -> Made {
    Made { logps: true, ..Made::new(D_MODEL, 3, 256) }
}

fn study(folder: &Path, n_pairs: usize) -> Study {
    let rows = folder.join("rows.jsonl");
    write_rows(&rows, n_pairs).unwrap();
    let study = Study::at(folder.join("study"));
    let options = ImportOptions { inputs: vec![rows.to_string_lossy().into_owned()], ..ImportOptions::default() };
    import(&study, &options, &silent).unwrap();
    study
}

fn files(study: &Study) -> BTreeMap<PathBuf, Vec<u8>> {
    vectors::files(&study.vectors())
}

#[track_caller]
fn assert_same(got: &Study, expected: &BTreeMap<PathBuf, Vec<u8>>) {
    let got = files(got);
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, bytes) in got {
        assert!(bytes == expected[&path], "{} has other bytes", path.display());
    }
}

#[test]
fn interrupted_in_parts_and_merged_it_has_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let whole = study(root.path(), N_PAIRS);
    made().extract(&whole, &silent).unwrap();
    let expected = files(&whole);
    // 3 layers and log-probabilities of 20 ranges with a manifest each, remarks, and the manifest of all.
    assert_eq!(expected.len(), 4 * 21 + 20 + 1);
    let rows = vectors::rows(whole.root(), 2);
    for row in [0, 255, 256, 4999] {
        let expected = vector(&format!("pair-{row}"), 2, D_MODEL);
        assert!(rows[row].iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-3), "row {row}");
    }

    // Stopped again and again, with a varying number of workers.
    let stopped = copy_without_vectors(&whole, &root.path().join("stopped")).unwrap();
    for (fails_after, n_workers) in [(0, 1), (3, 1), (1, 3), (8, 2)] {
        let run = Made { fails_after: Some(fails_after), n_workers, ..made() };
        let error = run.extract(&stopped, &silent).unwrap_err().to_string();
        assert!(error.contains("run the same command again"), "{error}");
    }
    let totals = Made { n_workers: 2, ..made() }.extract(&stopped, &silent).unwrap();
    assert!(totals.n_pairs < N_PAIRS, "something was kept");
    assert_same(&stopped, &expected);
    assert_eq!(made().extract(&stopped, &silent).unwrap().n_pairs, 0, "nothing is done twice");

    // Three parts in three folders, merged into a fourth.
    let parts: Vec<Study> = (1..=3)
        .map(|i| {
            let part = copy_without_vectors(&whole, &root.path().join(format!("part-{i}"))).unwrap();
            let run = Made { part: Some(format!("{i}/3").parse().unwrap()), ..made() };
            run.extract(&part, &silent).unwrap();
            part
        })
        .collect();
    let target = copy_without_vectors(&whole, &root.path().join("target")).unwrap();
    // Two of three: what is there is merged, and the gap is named.
    let error = merge(&target, &[parts[0].clone(), parts[2].clone()], &silent).unwrap_err();
    assert!(matches!(error, MergeError::Incomplete { .. }), "{error}");
    assert!(error.to_string().contains("layer 1 lacks rows 1536 to 3327"), "{error}");
    let merged = merge(&target, &parts, &silent).unwrap();
    assert_eq!((merged.complete.len(), merged.n_pairs), (4, N_PAIRS));
    assert_same(&target, &expected);
    // Again, without anything to do.
    assert_eq!(merge(&target, &[], &silent).unwrap().n_copied, 0);
    assert_same(&target, &expected);

    // The study goes on as other parts than it began.
    let mixed = copy_without_vectors(&whole, &root.path().join("mixed")).unwrap();
    for part in ["1/3", "2/2"] {
        Made { part: Some(part.parse().unwrap()), ..made() }.extract(&mixed, &silent).unwrap();
    }
    let totals = made().extract(&mixed, &silent).unwrap();
    assert!(totals.n_pairs < N_PAIRS / 3);
    assert_same(&mixed, &expected);
}

#[test]
fn copying_files_together_by_hand_is_enough() {
    let root = tempfile::tempdir().unwrap();
    let whole = study(root.path(), 1000);
    made().extract(&whole, &silent).unwrap();
    let target = copy_without_vectors(&whole, &root.path().join("target")).unwrap();
    for i in 1..=2 {
        let part = copy_without_vectors(&whole, &root.path().join(format!("part-{i}"))).unwrap();
        Made { part: Some(format!("{i}/2").parse().unwrap()), ..made() }.extract(&part, &silent).unwrap();
        for (path, bytes) in files(&part) {
            let path = target.vectors().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    let Inspected::Study(report) = inspect(target.root(), true, &silent).unwrap() else { panic!("a study") };
    assert_eq!(report.parts, ["1/2", "2/2"]);
    merge(&target, &[], &silent).unwrap();
    assert_same(&target, &files(&whole));
}

#[test]
fn remarks_of_a_whole_study_are_counted_and_few_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let study = study(root.path(), N_PAIRS);
    made().extract(&study, &silent).unwrap();
    let remarks = RemarkSummary::read(&study).unwrap();
    assert_eq!((remarks.n_cut, remarks.n_no_vector), (N_PAIRS / 100, 0));
    assert_eq!(remarks.shown.iter().map(|remark| remark.row).collect::<Vec<_>>(), [0, 100, 200, 300, 400]);
}

#[test]
fn memory_does_not_grow_with_the_number_of_pairs() {
    let root = tempfile::tempdir().unwrap();
    let made = Made { rows_per_file: 512, ..Made::new(1024, 2, 512) };
    let mut peaks = Vec::new();
    for n_pairs in [4_000, 32_000] {
        let folder = root.path().join(n_pairs.to_string());
        let study = study(&folder, n_pairs);
        made.extract(&study, &silent).unwrap();
        merge(&study, &[], &silent).unwrap();
        let Some(peak) = memory::peak_bytes() else {
            eprintln!("skipped: this system does not tell how much memory was used");
            return;
        };
        peaks.push(peak);
        fs::remove_dir_all(&folder).unwrap();
    }
    // The second has 57 MB more vectors per layer; a few bytes per pair are kept when importing.
    let grown = peaks[1] - peaks[0];
    assert!(grown < 30 << 20, "peaks {peaks:?}");
}
