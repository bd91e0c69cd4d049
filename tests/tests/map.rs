//! `whence map` through the binary: planted groups of pairs lie together, on both kinds of maps and when most pairs are only placed;
//! the principal components are those of all rows; and what has no structure, or is wrong, is defined.

use std::fs;

use serde_json::Value;
use tempfile::{TempDir, tempdir};
use whence_backend::study::Study;
use whence_shared::map::{Method, PairMap};
use whence_shared::shard::StoreDtype;
use whence_shared::statistics::random::Random;
use whence_tests::binary::{Run, whence};
use whence_tests::made_study::{Shape, make_shape};
use whence_tests::vectors::rows;

const D_MODEL: usize = 20;
const N_PAIRS: usize = 240;

fn normal(seed: u64) -> Vec<f32> {
    let mut random = Random::new(Random::new(seed).bits());
    (0..D_MODEL).map(|_| random.normal() as f32).collect()
}

/// Four groups of rows.
fn planted(_layer: usize, row: usize) -> Vec<f32> {
    let direction = normal(1_000_000 + row as u64 % 4);
    direction.iter().zip(normal(row as u64)).map(|(x, noise)| 2.0 * x + 0.7 * noise).collect()
}

fn study_of(n_pairs: usize, vector: &dyn Fn(usize, usize) -> Vec<f32>) -> (TempDir, Study) {
    let folder = tempdir().unwrap();
    let shape = Shape { d_model: D_MODEL, rows_per_file: 50, layers: &[(1, StoreDtype::F16)], vector, behaviors: &[] };
    let study = make_shape(folder.path(), n_pairs, &shape);
    (folder, study)
}

fn map(study: &Study, args: &[&str]) -> Run {
    let fixed = ["map", "--study", study.root().to_str().unwrap(), "--layer", "1"];
    whence(fixed.iter().chain(args))
}

fn read(study: &Study, name: &str, n_pairs: usize) -> PairMap {
    PairMap::parse(&fs::read(study.map(name)).unwrap(), n_pairs).unwrap()
}

/// Share of pairs, of those chosen, whose nearest other pair on the map is of the same group.
fn purity(map: &PairMap, of: impl Fn(usize) -> bool) -> f64 {
    let at = |row: usize| [map.points[2 * row], map.points[2 * row + 1]].map(f64::from);
    let distance = |a: usize, b: usize| (at(a)[0] - at(b)[0]).hypot(at(a)[1] - at(b)[1]);
    let chosen: Vec<usize> = (0..map.n_rows()).filter(|&row| of(row)).collect();
    let same = |&&row: &&usize| {
        let others = (0..map.n_rows()).filter(|&other| other != row);
        let nearest = others.min_by(|&a, &b| distance(row, a).total_cmp(&distance(row, b))).unwrap();
        nearest % 4 == row % 4
    };
    chosen.iter().filter(same).count() as f64 / chosen.len() as f64
}

#[test]
fn components_are_those_of_the_centred_unit_rows() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    let said = map(&study, &["--method", "pca"]).succeeds().stdout;
    assert!(said.contains("240 pairs at layer 1") && said.contains("trustworthiness 0."), "{said}");
    let drawn = read(&study, "pca-layer-1", N_PAIRS);
    let Method::Pca { explained } = drawn.method else { panic!("{:?}", drawn.method) };
    // By hand: centred unit rows, and power iteration with deflation on their covariance.
    let mut unit: Vec<Vec<f64>> = rows(study.root(), 1)
        .into_iter()
        .map(|row| {
            let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|x| f64::from(*x) / norm).collect()
        })
        .collect();
    let mean: Vec<f64> = (0..D_MODEL).map(|j| unit.iter().map(|row| row[j]).sum::<f64>() / N_PAIRS as f64).collect();
    unit.iter_mut().for_each(|row| row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean));
    let total: f64 = unit.iter().flatten().map(|x| x * x).sum();
    for axis in 0..2 {
        let mut along: Vec<f64> = normal(7).into_iter().map(f64::from).collect();
        for _ in 0..3000 {
            let scores: Vec<f64> = unit.iter().map(|row| row.iter().zip(&along).map(|(x, a)| x * a).sum()).collect();
            let next: Vec<f64> =
                (0..D_MODEL).map(|j| unit.iter().zip(&scores).map(|(row, score)| row[j] * score).sum()).collect();
            let norm = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            along = next.into_iter().map(|x| x / norm).collect();
        }
        let largest = along.iter().copied().fold(0f64, |l, x| if x.abs() > l.abs() { x } else { l });
        let scores: Vec<f64> = unit.iter().map(|row| row.iter().zip(&along).map(|(x, a)| x * a).sum()).collect();
        for (row, score) in scores.iter().enumerate() {
            let expected = score * largest.signum();
            assert!((f64::from(drawn.points[2 * row + axis]) - expected).abs() < 1e-4, "{row} {axis}");
        }
        let share = scores.iter().map(|score| score * score).sum::<f64>() / total;
        assert!((explained[axis] - share).abs() < 1e-5, "{share} {explained:?}");
        for (row, score) in unit.iter_mut().zip(&scores) {
            row.iter_mut().zip(&along).for_each(|(x, a)| *x -= score * a);
        }
    }
}

#[test]
fn umap_puts_groups_together_and_repeats() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    let said = map(&study, &["--method", "umap", "--json"]).succeeds().stdout;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["n_fitted"], &said["settings"]["n_neighbors"]), (&240.into(), &15.into()));
    assert!(said["trustworthiness"].as_f64().unwrap() > 0.8, "{said}");
    let drawn = read(&study, "umap-layer-1", N_PAIRS);
    assert!(purity(&drawn, |_| true) > 0.99 && drawn.placed.is_empty());
    let bytes = fs::read(study.map("umap-layer-1")).unwrap();
    map(&study, &["--method", "umap", "--name", "again"]).succeeds();
    assert_eq!(bytes, fs::read(study.map("again")).unwrap(), "the same seed, the same bytes");
    map(&study, &["--method", "umap", "--name", "again", "--seed", "2", "--neighbors", "8", "--min-dist", "0.5"])
        .succeeds();
    let other = read(&study, "again", N_PAIRS);
    assert_ne!(other.points, drawn.points);
    assert_eq!(other.method, Method::Umap { n_neighbors: 8, min_dist: 0.5, seed: 2, n_directions: None });
}

#[test]
fn pairs_that_are_only_placed_land_in_their_groups() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    let said = map(&study, &["--method", "umap", "--sample", "100"]).succeeds().stdout;
    assert!(said.contains("100 were laid out, 140 placed"), "{said}");
    let drawn = read(&study, "umap-layer-1", N_PAIRS);
    assert_eq!(drawn.placed.iter().filter(|placed| **placed == 1).count(), 140);
    assert_eq!(drawn.method, Method::Umap { n_neighbors: 15, min_dist: 0.1, seed: 1, n_directions: Some(D_MODEL) });
    assert!(purity(&drawn, |row| drawn.placed[row] == 1) > 0.95);
}

#[test]
fn few_and_equal_vectors_are_defined() {
    for (n_pairs, vector) in [
        (1, &planted as &dyn Fn(usize, usize) -> Vec<f32>),
        (2, &planted),
        (5, &planted),
        (60, &|_, _| vec![0.25; D_MODEL]),
    ] {
        let (_folder, study) = study_of(n_pairs, vector);
        for method in ["pca", "umap"] {
            map(&study, &["--method", method, "--name", "m"]).succeeds();
            let drawn = read(&study, "m", n_pairs);
            assert_eq!((drawn.n_rows(), drawn.trustworthiness.is_some()), (n_pairs, n_pairs > 30));
            if n_pairs == 1 || n_pairs == 60 {
                assert!(drawn.points.iter().all(|x| *x == 0.0), "{n_pairs} {method}: equal rows lie on one point");
            }
        }
    }
    // Equal rows in heaps, more of each than there are neighbours.
    let (_folder, study) = study_of(120, &|_, row| normal(row as u64 % 3));
    let said = map(&study, &["--method", "umap"]).succeeds().stdout;
    assert!(said.contains("trustworthiness"), "{said}");
    // Zero vectors are rows like others.
    let (_folder, study) =
        study_of(60, &|layer, row| if row % 2 == 0 { vec![0.0; D_MODEL] } else { planted(layer, row) });
    map(&study, &["--method", "umap", "--sample", "30"]).succeeds();
}

#[test]
fn what_cannot_be_mapped_is_named() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    map(&study, &["--method", "umap", "--neighbors", "1"]).fails_naming(&["neighbors", "2 to 200", "got 1"]);
    map(&study, &["--method", "umap", "--min-dist", "1.5"]).fails_naming(&["min-dist", "0 to 1", "1.5"]);
    map(&study, &["--method", "umap", "--min-dist", "NaN"]).fails_naming(&["min-dist", "NaN"]);
    map(&study, &["--method", "tsne"]).fails_naming(&["tsne", "--method"]);
    map(&study, &["--method", "pca", "--name", "../x"]).fails_naming(&["../x", "letters"]);
    map(&study, &["--method", "umap", "--sample", "0"]).fails_naming(&["--sample"]);
    whence(["map", "--study", study.root().to_str().unwrap(), "--layer", "4", "--method", "pca"])
        .fails_naming(&["layer 4", "complete: 1"]);
    assert!(!study.maps().exists(), "nothing is left behind");
}
