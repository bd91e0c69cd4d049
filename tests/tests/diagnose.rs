//! `whence diagnose` through the binary, on studies where it is known how many pairs push: the verdict, what it is made
//! from, the same bytes every time, and what cannot be diagnosed.

use std::fs;

use serde_json::Value;
use tempfile::{TempDir, tempdir};
use whence_backend::study::Study;
use whence_shared::diagnosis::{Diagnosis, Expectation};
use whence_shared::shard::StoreDtype;
use whence_shared::statistics::random::Random;
use whence_tests::binary::{Run, whence};
use whence_tests::made_study::{Shape, make_shape};

const N_PAIRS: usize = 2000;
const D_MODEL: usize = 128;
const LAYERS: [usize; 2] = [1, 2];
/// Seed of what the behavior's vectors have in common.
const BEHAVIOR: u64 = 1_000_000;

/// Standard normal numbers: no direction of which pairs vary more along than along others.
fn noise(seed: u64) -> Vec<f32> {
    // Neighbouring seeds must not give neighbouring places of one stream.
    let mut random = Random::new(Random::new(seed).bits());
    (0..D_MODEL).map(|_| random.normal() as f32).collect()
}

/// A study of which every row below `n_pushing`, spread over all files, has a part of the behavior's direction.
fn study(n_pushing: usize) -> (TempDir, Study) {
    let common = noise(BEHAVIOR);
    let vector = |layer: usize, row: usize| -> Vec<f32> {
        let noise = noise((layer * N_PAIRS + row) as u64);
        let pushes = row * 7 % N_PAIRS < n_pushing;
        noise.iter().zip(&common).map(|(x, common)| x + if pushes { 1.2 * common } else { 0.0 }).collect()
    };
    let behavior = |layer: usize| -> Vec<f32> {
        let row = |i: u64| {
            let noise = noise(BEHAVIOR + 1 + 100 * layer as u64 + i);
            noise.into_iter().zip(&common).map(|(x, common)| common + 0.3 * x).collect::<Vec<f32>>()
        };
        (0..12).flat_map(row).collect()
    };
    let folder = tempdir().unwrap();
    let shape = Shape {
        d_model: D_MODEL,
        rows_per_file: 300,
        layers: &LAYERS.map(|layer| (layer, StoreDtype::F32)),
        vector: &vector,
        behaviors: &[("obeys", &behavior)],
    };
    let study = make_shape(folder.path(), N_PAIRS, &shape);
    (folder, study)
}

fn diagnose(study: &Study, more: &[&str]) -> Run {
    let fixed = ["diagnose", "--study", study.root().to_str().unwrap(), "--behavior", "obeys"];
    whence(fixed.iter().chain(more))
}

fn stored(study: &Study, layer: usize) -> (Vec<u8>, Diagnosis) {
    let bytes = fs::read(study.diagnosis("obeys", layer)).unwrap();
    let diagnosis = serde_json::from_slice(&bytes).unwrap();
    (bytes, diagnosis)
}

#[test]
fn few_pairs_that_push_are_expected_to_yield_and_very_many_are_not() {
    for (n_pushing, expected, said) in
        [(110, Expectation::Helps, "expected to help"), (1500, Expectation::Diffuse, "not expected to help: diffuse")]
    {
        let (_folder, study) = study(n_pushing);
        let run = diagnose(&study, &["-k", "100"]).succeeds();
        for layer in LAYERS {
            let (_, found) = stored(&study, layer);
            assert_eq!(found.verdict.expectation, expected, "{n_pushing}: {found:?}");
            let line = format!("layer {layer}: editing the first 100 of {N_PAIRS} pairs: {said}");
            assert!(run.stdout.contains(&line) && run.stdout.contains(&found.verdict.text), "{}", run.stdout);
            assert!(found.split_half.unwrap().mean > 0.5 && found.layers.len() == 1, "{found:?}");
            assert!(found.excess.top_mean > 0.1 && found.figures.top_mean > found.random_directions.top_mean.high);
        }
    }
}

#[test]
fn the_same_study_gives_the_same_bytes_and_another_seed_other_draws() {
    let (_folder, study) = study(400);
    diagnose(&study, &["--layer", "2"]).succeeds();
    let (first, found) = stored(&study, 2);
    assert!(!study.diagnosis("obeys", 1).exists(), "only the layer that was asked for");
    let json: Value = serde_json::from_str(&diagnose(&study, &["--layer", "2", "--json"]).succeeds().stdout).unwrap();
    assert_eq!(json[0], serde_json::from_slice::<Value>(&first).unwrap());
    assert_eq!(stored(&study, 2).0, first);
    let sha256 = whence_backend::files::sha256_of_file(&study.pairs()).unwrap();
    assert_eq!(found.of.pairs_sha256, sha256);
    let sha256 = whence_backend::files::sha256_of_file(&study.behavior_vectors("obeys", 2)).unwrap();
    assert_eq!(found.of.behavior_sha256, sha256);
    diagnose(&study, &["--layer", "2", "--seed", "1"]).succeeds();
    let (_, other) = stored(&study, 2);
    assert_eq!(other.figures, found.figures, "the ranking's own figures draw nothing");
    assert_ne!((other.shuffled_labels, other.random_directions), (found.shuffled_labels, found.random_directions));
    assert_eq!(other.verdict.expectation, found.verdict.expectation);
}

#[test]
fn confounds_are_found_in_the_pairs() {
    let (_folder, study) = study(200);
    diagnose(&study, &["--layer", "1"]).succeeds();
    let (_, found) = stored(&study, 1);
    let names: Vec<&str> = found.confounds.iter().map(|confound| confound.name.as_str()).collect();
    assert_eq!(names, ["length", "lists", "code", "headings", "shared words", "source", "all of these"]);
    let of = |name: &str| found.confounds.iter().find(|confound| confound.name == name).unwrap();
    // No made-up response has a list, and the longer ones push no harder.
    assert_eq!((of("lists").correlation, of("lists").residual.overlap), (None, 1.0));
    let length = of("length");
    assert!(length.correlation.unwrap().abs() < 0.15 && length.residual.spearman.unwrap() > 0.95, "{found:?}");
}

#[test]
fn what_cannot_be_diagnosed_is_named() {
    let (_folder, study) = study(10);
    diagnose(&study, &["-k", "0"]).fails_naming(&["k: expected 1 to 2000", "got 0"]);
    diagnose(&study, &["-k", "2001"]).fails_naming(&["k: expected 1 to 2000", "got 2001"]);
    diagnose(&study, &["--layer", "7"]).fails_naming(&["7"]);
    let root = study.root().to_str().unwrap();
    whence(["diagnose", "--study", root, "--behavior", "none-such"]).fails_naming(&["none-such", "obeys"]);
    let run = diagnose(&study, &["-k", "2000", "--layer", "1"]).succeeds();
    assert!(run.stdout.contains("unclear") && run.stdout.contains("100.0 % of all pairs"), "{}", run.stdout);
    fs::remove_file(study.behavior_vectors("obeys", 2)).unwrap();
    diagnose(&study, &["--layer", "2"]).fails_naming(&["layer 2", "whence behavior --name obeys"]);
    // A vector with a number that is none.
    let file = study.layer(1).join("00000000.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    diagnose(&study, &["--layer", "1"]).fails_naming(&[
        "layer-1/00000000.safetensors",
        "row 299, column 127",
        "whence extract",
    ]);
}
