//! Clustering beside scipy and scikit-learn: the same rows, the same hierarchy, the same labels.

use serde::Deserialize;
use whence_shared::cluster::enrichment::upper_tail;
use whence_shared::cluster::hdbscan::{self, hdbscan};
use whence_shared::cluster::kmeans;
use whence_shared::cluster::leaf_order;
use whence_shared::cluster::linkage::{distances, ward};
use whence_shared::cluster::members::Distances;
use whence_shared::cluster::partition::adjusted_rand;
use whence_shared::cluster::points::{Points, to_unit_rows};

/// What `fixtures/make_clusters.py` wrote.
#[derive(Deserialize)]
struct Expected {
    sets: Vec<Set>,
    rand: Vec<Rand>,
    tails: Vec<Tail>,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    width: usize,
    rows: Vec<f32>,
    ward: Vec<[f64; 4]>,
    ward_labels: std::collections::BTreeMap<usize, Vec<u32>>,
    leaf_order_length: f64,
    hdbscan: Hdbscan,
    kmeans: Option<Kmeans>,
}

#[derive(Deserialize)]
struct Hdbscan {
    min_cluster_size: usize,
    min_samples: usize,
    labels: Vec<i32>,
    probabilities: Vec<f64>,
}

#[derive(Deserialize)]
struct Kmeans {
    k: usize,
    labels: Vec<u32>,
}

#[derive(Deserialize)]
struct Rand {
    a: Vec<u32>,
    b: Vec<u32>,
    score: f64,
}

#[derive(Deserialize)]
struct Tail {
    n_all: u64,
    n_marked: u64,
    n_drawn: u64,
    x: u64,
    p: f64,
}

fn expected() -> Expected {
    let path = whence_tests::fixture::folder().join("clusters/expected.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn ward_merges_and_cuts_are_scipys() {
    for set in expected().sets {
        let dendrogram = ward(Points::new(&set.rows, set.width).unwrap()).unwrap();
        assert_eq!(dendrogram.merges.len(), set.ward.len());
        for (merge, [left, right, height, size]) in dendrogram.merges.iter().zip(set.ward) {
            let own = (f64::from(merge.left), f64::from(merge.right), f64::from(merge.size));
            assert_eq!(own, (left, right, size), "{}", set.name);
            assert!((merge.height - height).abs() < 1e-5 * height.max(1.0), "{}: {} {height}", set.name, merge.height);
        }
        for (k, labels) in set.ward_labels {
            assert_eq!(adjusted_rand(&dendrogram.cut_into(k).unwrap(), &labels), 1.0, "{} {k}", set.name);
        }
    }
}

/// scipy's order is not always the shortest (1.17: not for some sets of six rows, as trying all orders shows); ours is, which
/// unit tests show by trying all, and here it must be an order of the hierarchy and no longer than scipy's.
#[test]
fn leaf_orders_are_at_least_as_short_as_scipys() {
    for set in expected().sets {
        let points = Points::new(&set.rows, set.width).unwrap();
        let dendrogram = ward(points).unwrap();
        let values = distances(points);
        let order = leaf_order::optimal(&dendrogram, Distances::new(&values, points.n_rows())).unwrap();
        let length: f64 = order.windows(2).map(|pair| points.distance(pair[0] as usize, pair[1] as usize)).sum();
        assert!(length <= set.leaf_order_length * (1.0 + 1e-9), "{}: {length} {}", set.name, set.leaf_order_length);
        for k in 1..=points.n_rows() {
            let labels = dendrogram.cut_into(k).unwrap();
            let in_order: Vec<u32> = order.iter().map(|&row| labels[row as usize]).collect();
            let n_changes = in_order.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert_eq!(n_changes, k - 1, "{}: each of {k} clusters stands together", set.name);
        }
    }
}

#[test]
fn hdbscan_labels_and_strengths_are_scikit_learns() {
    for set in expected().sets {
        let settings =
            hdbscan::Settings { min_cluster_size: set.hdbscan.min_cluster_size, min_samples: set.hdbscan.min_samples };
        let found = hdbscan(Points::new(&set.rows, set.width).unwrap(), settings).unwrap();
        assert_eq!(adjusted_rand(&found.labels, &set.hdbscan.labels), 1.0, "{}", set.name);
        for (row, (own, theirs)) in found.labels.iter().zip(&set.hdbscan.labels).enumerate() {
            assert_eq!(*own < 0, *theirs < 0, "{} row {row}", set.name);
        }
        for (row, (own, theirs)) in found.strengths.iter().zip(&set.hdbscan.probabilities).enumerate() {
            assert!((own - theirs).abs() < 1e-6, "{} row {row}: {own} {theirs}", set.name);
        }
    }
}

#[test]
fn kmeans_labels_are_scikit_learns() {
    let mut n_compared = 0;
    for set in expected().sets {
        let Some(theirs) = set.kmeans else { continue };
        let mut rows = set.rows;
        to_unit_rows(&mut rows, set.width);
        let settings = kmeans::Settings { k: theirs.k, seed: 1, n_starts: 10, max_iterations: 100 };
        let found = kmeans::spherical(Points::new(&rows, set.width).unwrap(), settings).unwrap();
        assert_eq!(adjusted_rand(&found.labels, &theirs.labels), 1.0, "{}", set.name);
        n_compared += 1;
    }
    assert!(n_compared >= 2);
}

#[test]
fn indices_and_tails_are_scikit_learns_and_scipys() {
    let expected = expected();
    for Rand { a, b, score } in expected.rand {
        assert!((adjusted_rand(&a, &b) - score).abs() < 1e-12, "{score}");
    }
    for Tail { n_all, n_marked, n_drawn, x, p } in expected.tails {
        let own = upper_tail(n_all, n_marked, n_drawn, x);
        assert!((own - p).abs() <= 1e-6 * p, "{n_all} {n_marked} {n_drawn} {x}: {own} {p}");
    }
}
