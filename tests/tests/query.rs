//! `whence query` and `rank --top` against brute force over all vectors: the same pairs with the same scores, with an
//! index and without.

use std::fs;

use serde_json::Value;
use tempfile::{TempDir, tempdir};
use whence_backend::extract::{LayerFiles, VectorsManifest};
use whence_backend::index::ranker::Ranker;
use whence_backend::index::{IndexError, IndexOptions, Wanted, index};
use whence_backend::progress::silent;
use whence_backend::study::Study;
use whence_shared::index::query::Direction;
use whence_shared::rank::exact_cosine;
use whence_shared::shard::StoreDtype;
use whence_tests::binary::{Run, whence};
use whence_tests::made_study::{Shape, decaying, make_shape};
use whence_tests::vectors;

const N_PAIRS: usize = 9000;
const D_MODEL: usize = 320;
const LAYER: usize = 4;

/// Rows near the behavior, equal rows, zero rows, and the rest.
fn vector(_layer: usize, row: usize) -> Vec<f32> {
    let near = |of: u64, share: f32| -> Vec<f32> {
        let noise = decaying(row as u64, D_MODEL);
        decaying(of, D_MODEL).iter().zip(noise).map(|(x, noise)| x + share * noise).collect()
    };
    match row {
        _ if row % 31 == 7 => vec![0.0; D_MODEL],
        _ if row % 97 == 5 => near(1_000_000, 0.4 + (row % 5) as f32 / 10.0),
        _ if row % 50 == 3 => decaying(row as u64 / 500, D_MODEL),
        _ => decaying(row as u64, D_MODEL),
    }
}

fn obeys(_layer: usize) -> Vec<f32> {
    [decaying(1_000_000, D_MODEL), decaying(1_000_001, D_MODEL), decaying(17, D_MODEL)].concat()
}

fn flattery(_layer: usize) -> Vec<f32> {
    decaying(2_000_000, D_MODEL)
}

fn study(n_pairs: usize, dtype: StoreDtype) -> (TempDir, Study) {
    let folder = tempdir().unwrap();
    let shape = Shape {
        d_model: D_MODEL,
        rows_per_file: 1000,
        layers: &[(LAYER, dtype)],
        vector: &vector,
        behaviors: &[("obeys", &obeys), ("flattery", &flattery)],
    };
    let study = make_shape(folder.path(), n_pairs, &shape);
    (folder, study)
}

fn run(study: &Study, args: &[&str]) -> Run {
    let fixed = ["query", "--study", study.root().to_str().unwrap(), "--layer", "4"];
    whence(fixed.iter().chain(args))
}

fn json(study: &Study, args: &[&str]) -> Value {
    let said = run(study, &[args, &["--json"]].concat()).succeeds();
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stdout))
}

/// The same rows in the same order. Scores may differ in their last bit: serde_json reads numbers that closely.
#[track_caller]
fn assert_rows(got: &[(u64, f64)], expected: &[(u64, f64)]) {
    assert_eq!(got.len(), expected.len());
    for (place, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(got.0 == expected.0 && (got.1 - expected.1).abs() < 1e-15, "place {place}: {got:?}, not {expected:?}");
    }
}

fn rows(group: &Value) -> Vec<(u64, f64)> {
    let rows = group["rows"].as_array().unwrap();
    rows.iter().map(|row| (row["row"].as_u64().unwrap(), row["score"].as_f64().unwrap())).collect()
}

/// The largest cosine of every row with the directions, as the definition says.
fn brute_force(study: &Study, directions: &[Vec<f64>]) -> Vec<(u64, f64)> {
    let score = |row: &Vec<f32>| {
        directions.iter().map(|direction| exact_cosine(direction, row)).fold(f64::NEG_INFINITY, f64::max)
    };
    vectors::rows(study.root(), LAYER).iter().zip(0..).map(|(row, i)| (i, score(row) + 0.0)).collect()
}

fn ordered(mut scores: Vec<(u64, f64)>, bottom: bool) -> Vec<(u64, f64)> {
    scores.sort_by(|(a, x), (b, y)| if bottom { x.total_cmp(y) } else { y.total_cmp(x) }.then(a.cmp(b)));
    scores
}

fn wide(vector: &[f32]) -> Vec<f64> {
    vector.iter().map(|x| f64::from(*x)).collect()
}

fn mean_of_obeys() -> Vec<f64> {
    let vectors = obeys(LAYER);
    wide(&whence_shared::direction::mean(vectors.chunks_exact(D_MODEL), D_MODEL))
}

#[test]
fn the_top_is_that_of_brute_force_for_every_kind_of_direction() {
    for dtype in [StoreDtype::F32, StoreDtype::F16] {
        let (folder, study) = study(N_PAIRS, dtype);
        index(&study, &IndexOptions::default(), &silent).unwrap();
        let stored = vectors::rows(study.root(), LAYER);
        let (a, b) = (mean_of_obeys(), wide(&flattery(LAYER)));
        let file = folder.path().join("probe.npy");
        let numbers: Vec<u8> = flattery(LAYER).iter().flat_map(|x| x.to_le_bytes()).collect();
        let head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({D_MODEL},), }}\n");
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        npy.extend((head.len() as u16).to_le_bytes());
        npy.extend(head.as_bytes().iter().chain(&numbers));
        fs::write(&file, npy).unwrap();
        let of_behavior = study.behavior_vectors("obeys", LAYER);

        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let along = dot(&a, &b) / dot(&b, &b);
        let combined: Vec<f64> = a.iter().zip(&b).map(|(x, y)| x + 0.5 * y).collect();
        let without: Vec<f64> = a.iter().zip(&b).map(|(x, y)| x - along * y).collect();
        let bank = obeys(LAYER).chunks_exact(D_MODEL).map(wide).collect::<Vec<_>>();
        for (args, directions) in [
            (vec!["obeys"], vec![a.clone()]),
            (vec!["row:102"], vec![wide(&stored[102])]),
            (vec![file.to_str().unwrap()], vec![b.clone()]),
            (vec![of_behavior.to_str().unwrap()], vec![a.clone()]),
            (vec!["obeys + 0.5*flattery"], vec![combined]),
            (vec!["obeys", "without", "flattery"], vec![without]),
            (vec!["bank:obeys"], bank),
        ] {
            let scores = brute_force(&study, &directions);
            for (k, bottom) in [(1, false), (100, false), (100, true)] {
                let expected = ordered(scores.clone(), bottom);
                let k_text = k.to_string();
                let mut args = [args.as_slice(), &["-k", &k_text]].concat();
                args.extend(bottom.then_some("--bottom"));
                let answer = json(&study, &args);
                assert_eq!(answer["reading"]["why_no_index"], Value::Null);
                let got = rows(&answer["groups"][0]);
                assert_eq!(got.len(), k);
                for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    // Sums may be rounded in another order here than there; rows as near as that may change places.
                    assert!((got.1 - expected.1).abs() < 1e-12, "{args:?} place {i}: {got:?}, expected {expected:?}");
                    let exact = scores[got.0 as usize].1;
                    assert!((exact - got.1).abs() < 1e-12, "{args:?} place {i}: {got:?} scores {exact}");
                }
                if args[0] == "obeys" && args[1] == "-k" {
                    assert_rows(&got, &expected[..k]);
                }
            }
        }
    }
}

#[test]
fn fewer_bytes_are_read_and_the_same_is_found_as_without_an_index() {
    let (_folder, study) = study(N_PAIRS, StoreDtype::F32);
    let said = run(&study, &["obeys", "-k", "5"]).succeeds();
    assert!(said.stdout.contains("top 5 exact: every vector was read (11.5 MB); there is no index"), "{}", said.stdout);
    let before = json(&study, &["obeys", "-k", "50"]);
    // The table has the row that `row:N` takes, and an id's end.
    let first = &before["groups"][0]["rows"][0];
    let (row, id) = (first["row"].to_string(), first["id"].as_str().unwrap());
    let line = said.stdout.lines().find(|line| line.trim_start().starts_with("1 ")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((words[2], words[3]), (row.as_str(), id), "{}", said.stdout);
    index(&study, &IndexOptions::default(), &silent).unwrap();
    let after = json(&study, &["obeys", "-k", "50"]);
    assert_eq!(before["groups"], after["groups"]);
    let reading = &after["reading"];
    assert!(reading["n_bytes"].as_u64().unwrap() < reading["n_bytes_vectors"].as_u64().unwrap() / 4, "{reading}");
    assert!(reading["n_bytes_certified"].as_u64() <= reading["n_bytes"].as_u64());
    let said = run(&study, &["obeys", "-k", "50"]).succeeds();
    assert!(said.stdout.contains("layer 4, obeys: top 50 certified after"), "{}", said.stdout);
    assert!(run(&study, &["obeys", "--no-index"]).succeeds().stdout.contains("every vector was read"));

    let top = |layer: &[&str]| {
        let fixed = ["rank", "--study", study.root().to_str().unwrap(), "--behavior", "obeys", "--top", "50"];
        whence(fixed.iter().chain(layer)).succeeds()
    };
    let (all, one) = (top(&[]), top(&["--layer", "4"]));
    assert_eq!(all.stdout, one.stdout);
    assert!(all.stdout.contains("top 50 certified after"), "{}", all.stdout);
    assert!(!study.ranking("obeys", LAYER).exists(), "no file is written");
    whence(["rank", "--study", study.root().to_str().unwrap(), "--behavior", "obeys"]).succeeds();
    let ranked = whence_backend::attribute::table::read(&study.ranking("obeys", LAYER)).unwrap();
    let first: Vec<u64> = ranked[..50].iter().map(|row| u64::from(row.row)).collect();
    assert_eq!(first, rows(&after["groups"][0]).iter().map(|(row, _)| *row).collect::<Vec<_>>());
}

#[test]
fn each_source_has_its_own_top() {
    let (_folder, study) = study(N_PAIRS, StoreDtype::F16);
    let scores = brute_force(&study, &[mean_of_obeys()]);
    for indexed in [false, true] {
        if indexed {
            index(&study, &IndexOptions::default(), &silent).unwrap();
        }
        let answer = json(&study, &["obeys", "-k", "40", "--per-source"]);
        assert_eq!(answer["reading"]["why_no_index"].is_null(), indexed);
        let groups = answer["groups"].as_array().unwrap();
        assert_eq!(groups.iter().map(|group| group["source"].as_str().unwrap()).collect::<Vec<_>>(), ["rest", "third"]);
        for (group, is_third) in groups.iter().zip([false, true]) {
            let of_source = scores.iter().copied().filter(|(row, _)| (row % 3 == 0) == is_third).collect();
            assert_rows(&rows(group), &ordered(of_source, false)[..40]);
        }
    }
}

#[test]
fn more_than_there_are_is_all_there_are() {
    let (_folder, study) = study(60, StoreDtype::F32);
    index(&study, &IndexOptions::default(), &silent).unwrap();
    let expected = ordered(brute_force(&study, &[mean_of_obeys()]), false);
    for k in ["1", "14", "59", "60", "1000"] {
        let got = rows(&json(&study, &["obeys", "-k", k])["groups"][0]);
        assert_rows(&got, &expected[..k.parse::<usize>().unwrap().min(60)]);
    }
    assert_eq!(rows(&json(&study, &["obeys", "-k", "50", "--per-source"])["groups"][1]).len(), 20);
}

#[test]
fn an_index_that_lies_is_never_believed() {
    let (_folder, study) = study(N_PAIRS, StoreDtype::F32);
    index(&study, &IndexOptions::default(), &silent).unwrap();
    let expected = json(&study, &["obeys", "-k", "20"])["groups"].clone();
    let manifest = fs::read_to_string(study.index_manifest(LAYER)).unwrap();
    let first = study.root().join("index/layer-4/block-0/00000000.safetensors");
    let bytes = fs::read(&first).unwrap();

    // Missing, cut, or of other vectors: every vector is read, and why is said.
    fs::remove_file(&first).unwrap();
    let answer = json(&study, &["obeys", "-k", "20"]);
    assert!(answer["reading"]["why_no_index"].as_str().unwrap().contains("00000000.safetensors"));
    assert_eq!(answer["groups"], expected);
    fs::write(&first, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(json(&study, &["obeys", "-k", "20"])["groups"], expected);
    fs::write(study.index_manifest(LAYER), "{").unwrap();
    let answer = json(&study, &["obeys", "-k", "20"]);
    assert!(answer["reading"]["why_no_index"].as_str().unwrap().contains("manifest"));
    assert_eq!(answer["groups"], expected);

    // Of the right size with other numbers in it: an error, not another ranking.
    fs::write(study.index_manifest(LAYER), manifest).unwrap();
    let mut changed = bytes.clone();
    let n = changed.len();
    // Scales of all rows lie before the norms at the end; codes begin after the header.
    changed[n / 2..n / 2 + 4000].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&first, &changed).unwrap();
    let files = || {
        let manifest = VectorsManifest::read(&study).unwrap().unwrap();
        LayerFiles::open(&study, LAYER, &manifest).unwrap()
    };
    let ranker = Ranker::open(&study, files());
    assert_eq!(ranker.why_no_index(), None);
    let direction = Direction { values: mean_of_obeys(), error: 0.0 };
    let wanted = Wanted { k: 2000, bottom: false, groups: None };
    let found = ranker.find(&[direction], wanted);
    assert!(matches!(found, Err(IndexError::Contradiction { .. })), "{found:?}");
    let said = whence(["index", "--verify", "--study", study.root().to_str().unwrap()]).succeeds();
    assert!(said.stdout.contains("is damaged"), "{}", said.stdout);
    assert_eq!(fs::read(&first).unwrap(), bytes);
}

#[test]
fn what_cannot_be_asked_is_named() {
    let (folder, study) = study(50, StoreDtype::F32);
    run(&study, &["obey"]).fails_naming(&["no behavior \"obey\"", "did you mean obeys?"]);
    run(&study, &["nothing-like-it"]).fails_naming(&["expected one of flattery, obeys"]);
    run(&study, &["bank:flatery"]).fails_naming(&["did you mean flattery?"]);
    run(&study, &["row:50"]).fails_naming(&["row:50", "50 pairs"]);
    run(&study, &["row:x"]).fails_naming(&["row:NUMBER"]);
    run(&study, &["obeys +"]).fails_naming(&["\"obeys +\"", "at the end"]);
    run(&study, &["obeys - obeys"]).fails_naming(&["the direction is zero"]);
    run(&study, &["obeys without obeys"]).fails_naming(&["the direction is zero"]);
    run(&study, &["obeys - 0.1*obeys - 0.9*obeys"]).fails_naming(&["the direction is zero"]);
    run(&study, &["row:7"]).fails_naming(&["the direction is zero"]);
    run(&study, &["bank:obeys + flattery"]).fails_naming(&["a bank stands alone"]);
    run(&study, &["obeys", "-k", "0"]).fails_naming(&["at least 1"]);
    let file = folder.path().join("x.npy");
    run(&study, &[file.to_str().unwrap()]).fails_naming(&["x.npy", "cannot open"]);
    fs::write(&file, "nonsense").unwrap();
    run(&study, &[file.to_str().unwrap()]).fails_naming(&["x.npy", "not a NumPy file"]);
    let layer = |layer: &str| whence(["query", "--study", study.root().to_str().unwrap(), "--layer", layer, "obeys"]);
    layer("9").fails_naming(&["layer 9", "complete: 4"]);
    fs::remove_file(study.layer(LAYER).join("00000000.safetensors")).unwrap();
    layer("4").fails_naming(&["00000000.safetensors", "cannot open"]);
}
