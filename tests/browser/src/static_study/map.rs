//! What `whence map` and `whence cluster` would have left of a made study: points in planted clumps, and labels that name them.

use std::path::Path;

use whence_shared::cluster::reading::Reading;
use whence_shared::cluster::terms::Term;
use whence_shared::clustering::{ClusteringView, FORMAT, Labels, Method as ClusterMethod, NOISE, PairCluster};
use whence_shared::index::manifest::hashed_vectors;
use whence_shared::map::{Method, PairMap};
use whence_shared::pair::Pair;
use whence_shared::statistics::random::Random;
use whence_shared::study::{LayerView, MapView};

use super::{Plan, StaticStudy, pair, sha256, view};

/// Planted clumps.
pub const N_CLUMPS: usize = 5;
/// One of so many points lies in no clump.
const ALONE: usize = 17;

/// Clump of a row; `None` where it lies in none.
pub fn clump(row: usize) -> Option<usize> {
    (!row.is_multiple_of(ALONE)).then_some(row % N_CLUMPS)
}

/// Where made-up pairs lie, `[n, 2]` by row: clumps on a circle, and points anywhere.
pub fn points(n: usize) -> Vec<f32> {
    let mut random = Random::new(11);
    let point = |row: usize| match clump(row) {
        None => [0.0f64; 2].map(|_| 9.0 * random.normal()),
        Some(clump) => {
            let angle = std::f64::consts::TAU * clump as f64 / N_CLUMPS as f64;
            // Clumps differ in how dense they are.
            let spread = 0.6 + 0.5 * clump as f64;
            [20.0 * angle.cos() + spread * random.normal(), 14.0 * angle.sin() + spread * random.normal()]
        }
    };
    (0..n).flat_map(point).map(|x| x as f32).collect()
}

/// Number of the study's first layer, and the hash of its vectors; of a study without vectors as good as any.
fn layer_of(study: &StaticStudy) -> (usize, String) {
    let hashed = |layer: &LayerView| hashed_vectors(layer.shards.iter().map(|shard| shard.sha256.as_str()));
    study.view.layers.first().map_or((0, String::new()), |layer| (layer.layer, sha256(hashed(layer).as_bytes())))
}

impl StaticStudy {
    /// A study of so many pairs on a map and in clusters, without vectors: what the map needs and nothing else.
    ///
    /// # Panics
    ///
    /// Panics when a file cannot be written.
    pub fn make_map_alone(folder: &Path, n_pairs: usize) -> Self {
        let pairs: Vec<Pair> = (0..n_pairs).map(pair).collect();
        let plan = Plan { n_pairs, layers: Vec::new(), behaviors: Vec::new() };
        let mut study = Self { folder: folder.to_owned(), view: view(&plan, &pairs) };
        study.write_row_chunks(&pairs);
        study.write_map("umap");
        study.write_clusters("clumps");
        study
    }

    /// Writes a map of all pairs at the study's first layer and lists it.
    ///
    /// # Panics
    ///
    /// Panics when a file cannot be written.
    pub fn write_map(&mut self, name: &str) -> PairMap {
        let (layer, vectors_sha256) = layer_of(self);
        let map = PairMap {
            layer,
            method: Method::Umap { n_neighbors: 15, min_dist: 0.1, seed: 1, n_directions: None },
            inputs: "made for tests".into(),
            vectors_sha256,
            pairs_sha256: String::new(),
            n_fitted: self.view.n_pairs,
            trustworthiness: Some(0.9375),
            points: points(self.view.n_pairs),
            placed: Vec::new(),
        };
        let bytes = map.to_bytes();
        self.write(&format!("maps/{name}.safetensors"), &bytes);
        self.view.maps.push(MapView {
            name: name.to_owned(),
            layer: map.layer,
            method: map.method.name().to_owned(),
            n_bytes: bytes.len() as u64,
            sha256: sha256(&bytes),
        });
        self.save_view();
        map
    }

    /// Writes the planted clumps as clusters of all pairs and lists them.
    ///
    /// # Panics
    ///
    /// As [`StaticStudy::write_map`].
    pub fn write_clusters(&mut self, name: &str) -> ClusteringView {
        let n_pairs = self.view.n_pairs;
        let label = |row| clump(row).map_or(NOISE, |clump| clump as i32);
        let labels = Labels {
            inputs: "made for tests".into(),
            labels: (0..n_pairs).map(label).collect(),
            strengths: vec![1.0; n_pairs],
        };
        let bytes = labels.to_bytes();
        let size = |label: i32| labels.labels.iter().filter(|other| **other == label).count();
        let term = |word: &str| Term { term: word.to_owned(), weight: 1.0, count: 9, count_overall: 10 };
        let cluster = |i: usize| PairCluster {
            size: size(i as i32),
            cohesion: 0.9,
            silhouette: 0.5,
            jaccard: Some(0.8),
            typical: Vec::new(),
            border: Vec::new(),
            reading: Reading {
                terms: vec![term(["kites", "tides", "locks", "glass", "violins"][i])],
                ..Reading::default()
            },
        };
        let (layer, vectors_sha256) = layer_of(self);
        let view = ClusteringView {
            format: FORMAT.into(),
            name: name.to_owned(),
            layer,
            method: ClusterMethod::Kmeans { k: N_CLUMPS, n_starts: 1, in_batches: false },
            seed: 1,
            n_pairs,
            n_fitted: n_pairs,
            n_noise: size(NOISE),
            n_no_direction: 0,
            n_not_looked_at: 0,
            n_read: n_pairs,
            inputs: "made for tests".into(),
            vectors_sha256,
            pairs_sha256: String::new(),
            labels_sha256: sha256(&bytes),
            clusters: (0..N_CLUMPS).map(cluster).collect(),
            pairs: Vec::new(),
            names: None,
        };
        self.write(&format!("clusters/{name}/labels.safetensors"), &bytes);
        self.write(&format!("clusters/{name}/pairs.json"), &serde_json::to_vec(&view).unwrap());
        self.view.clusterings.push(name.to_owned());
        self.save_view();
        view
    }
}
