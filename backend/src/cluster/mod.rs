//! Clusters of pairs by their vectors at one layer: what kinds of lessons a study has, whatever behavior they lead to.
//!
//! Stands beside discovery, which groups pairs by what they have to do with test prompts. Vectors are read at unit length
//! ([`rows`]), clusters are found in those that fit into memory ([`fit`]), every pair gets a label, and the clusters are
//! described ([`describe`]), how surely they come back from samples included ([`again`]). [`contrast`] compares two of them, [`naming`] asks a model for names. All arithmetic is
//! [`whence_shared::cluster`]'s.
//!
//! ```text
//! clusters/NAME/pairs.json           a ClusteringView
//! clusters/NAME/labels.safetensors   the label of every pair
//! ```
//!
//! Memory: k-means holds at most [`fit::MAX_HELD_VALUES`] values of rows; of a larger study it finds its centres in a sample of
//! rows spread over the study, and assigns all rows in a pass that holds a part at a time. HDBSCAN is exact up to
//! [`whence_shared::cluster::hdbscan::MAX_ROWS`] rows, and goes over a graph of exact nearest neighbours up to
//! [`fit::MAX_GRAPH_ROWS`], if these fit into the same memory; of more, a sample must be asked for.

pub mod again;
pub mod contrast;
pub mod describe;
pub mod fit;
pub mod naming;
pub mod rows;

use std::collections::BTreeSet;
use std::path::PathBuf;

use thiserror::Error;
use whence_shared::cluster::hdbscan;
use whence_shared::cluster::points::ClusterError;
use whence_shared::clustering::{self, ClusteringView, FORMAT, Labels, NO_DIRECTION, NOISE, NOT_LOOKED_AT};

use crate::attribute::RankError;
use crate::attribute::probe::must_be_its_pairs;
use crate::behavior::rollouts::endpoint::EndpointOptions;
use crate::behavior::{BehaviorError, check_name};
use crate::data::pairs::{PairFile, PairFileError};
use crate::extract::{self, ExtractError, LayerFiles, VectorFileError, VectorsManifest};
use crate::files::{self, FileError};
use crate::progress::{Report, Update};
use crate::study::Study;
use describe::Place;
use fit::Held;
use naming::NamingError;
use rows::{RowParts, UnitRows};

/// What stops clustering.
#[derive(Debug, Error)]
pub enum ClusterPairsError {
    /// The study's vectors are of other pairs.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// The study has no vectors at the layer.
    #[error(transparent)]
    Vectors(#[from] ExtractError),
    /// A vector file cannot be used.
    #[error(transparent)]
    VectorFile(#[from] VectorFileError),
    /// The name of the result.
    #[error(transparent)]
    Name(#[from] BehaviorError),
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The rows cannot be clustered as asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The model that is asked for names.
    #[error(transparent)]
    Naming(#[from] NamingError),
    /// No row to cluster.
    #[error(
        "layer {layer}: every vector looked at is zero, so that no pair has a direction; look into vectors/remarks, or take another layer"
    )]
    NoDirection {
        /// The layer.
        layer: usize,
    },
    /// Fewer rows than a method needs.
    #[error(
        "{n_rows} {} with a direction {} looked at: give {option} of at most {n_rows}, or look at more (--sample)",
        if *n_rows == 1 { "pair" } else { "pairs" },
        if *n_rows == 1 { "was" } else { "were" }
    )]
    TooFew {
        /// Looked at.
        n_rows: usize,
        /// The option that asks for more.
        option: &'static str,
    },
    /// More rows than fit.
    #[error(
        "at most {limit} pairs of this width can be clustered this way, got {got}; cluster some of them with --sample {limit}"
    )]
    TooMany {
        /// How many are possible.
        limit: usize,
        /// How many there would be.
        got: usize,
    },
    /// Groups that cannot be contrasted.
    #[error("--contrast {},{}: expected two different groups of the {n_groups} there are, numbered from 1", groups[0] + 1, groups[1] + 1)]
    Groups {
        /// Asked for, from 0.
        groups: [usize; 2],
        /// There are.
        n_groups: usize,
    },
    /// There is no such result, or it cannot be used.
    #[error("{}: {reason}", path.display())]
    Result {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// How to cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Spherical k-means into `k` clusters.
    Kmeans {
        /// How many.
        k: usize,
    },
    /// HDBSCAN.
    Hdbscan(hdbscan::Settings),
}

/// What to cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Name of the result.
    pub name: String,
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// How.
    pub method: Method,
    /// Seed of all draws.
    pub seed: u64,
    /// Pairs that the clusters are found in; as many as fit when not given.
    pub sample: Option<usize>,
    /// The model that is asked for names, if one is.
    pub names: Option<EndpointOptions>,
}

/// Clusters the pairs of a study at a layer, and stores the result.
///
/// # Errors
///
/// [`ClusterPairsError`]; an earlier result of the same name stays until the new one is complete. When only the names fail, the
/// result is stored without.
pub fn cluster(study: &Study, options: &ClusterOptions, report: Report) -> Result<ClusteringView, ClusterPairsError> {
    check_name(&options.name)?;
    extract::complete_layers(study, &[options.layer])?;
    let manifest = VectorsManifest::required(study)?;
    let pairs_sha256 = must_be_its_pairs(study, &manifest)?;
    let vectors = UnitRows::new(LayerFiles::open(study, options.layer, &manifest)?);
    let n_to_fit = fit::n_to_fit(&vectors, options.method, options.sample)?;
    say(report, format!("reading {n_to_fit} pairs"));
    let held = Held::read(&vectors, n_to_fit, options.seed)?;
    say(report, format!("{} pairs at layer {}", held.rows.len(), options.layer));
    enough(options.method, held.rows.len())?;
    let found = match options.method {
        Method::Kmeans { k } => kmeans(&vectors, &held, k, options.seed, report)?,
        Method::Hdbscan(settings) => by_density(&vectors, &held, settings)?,
    };
    let numbers = describe::by_size(&found.places, found.n_clusters);
    let n_clusters = numbers.iter().flatten().count();
    let (labels, places) = renumbered(&found, &numbers);
    let mut clusters = describe::shapes(&places, n_clusters);
    say(report, "clustering samples, to see what comes back".into());
    let jaccards = again::jaccards(&held, vectors.d_model(), &labels, n_clusters, options.method, options.seed)?;
    clusters
        .iter_mut()
        .zip(jaccards.into_iter().flatten())
        .for_each(|(cluster, jaccard)| cluster.jaccard = Some(jaccard));
    say(report, "reading words".into());
    let named: BTreeSet<u32> =
        clusters.iter().flat_map(|cluster| cluster.typical.iter().chain(&cluster.border).copied()).collect();
    let read = describe::read(&PairFile::open(&study.pairs())?, &describe::groups(&labels, n_clusters), &named)?;
    clusters.iter_mut().zip(read.counts.readings()).for_each(|(cluster, reading)| cluster.reading = reading);
    let labels = Labels { inputs: manifest.inputs.clone(), labels, strengths: found.strengths };
    let count = |label| labels.labels.iter().filter(|own| **own == label).count();
    let mut view = ClusteringView {
        format: FORMAT.into(),
        name: options.name.clone(),
        layer: options.layer,
        method: found.method,
        seed: options.seed,
        n_pairs: manifest.n_pairs,
        n_fitted: held.rows.len(),
        n_noise: count(NOISE),
        n_no_direction: count(NO_DIRECTION),
        n_not_looked_at: count(NOT_LOOKED_AT),
        n_read: read.n_read,
        inputs: manifest.inputs.clone(),
        vectors_sha256: vectors.files().sha256(),
        pairs_sha256,
        labels_sha256: String::new(),
        clusters,
        pairs: read.entries,
        names: None,
    };
    store(study, &mut view, &labels)?;
    if let Some(endpoint) = &options.names {
        view.names = Some(naming::of_clustering(&view, endpoint.clone(), report)?);
        store(study, &mut view, &labels)?;
    }
    Ok(view)
}

/// Reads a stored result.
///
/// # Errors
///
/// When there is none of that name, or it is damaged.
pub fn stored(study: &Study, name: &str) -> Result<(ClusteringView, Labels), ClusterPairsError> {
    check_name(name)?;
    let path = study.clustering(name);
    let wrong = |path: PathBuf, reason: String| ClusterPairsError::Result { path, reason };
    if !path.is_file() {
        let known = study.clustering_names()?;
        let known =
            if known.is_empty() { "there are none yet".into() } else { format!("there are {}", known.join(", ")) };
        let reason = format!(
            "no clusters of this name, {known}; run `whence cluster --name {name} --layer L --method kmeans -k K`"
        );
        return Err(wrong(path, reason));
    }
    let view: ClusteringView = serde_json::from_slice(&files::read(&path)?)
        .map_err(|error| wrong(path.clone(), format!("{error}; run `whence cluster` again")))?;
    let path = study.labels(name);
    let bytes = files::read(&path)?;
    if files::sha256(&bytes) != view.labels_sha256 {
        return Err(wrong(path, "not the labels that pairs.json was made with; run `whence cluster` again".into()));
    }
    let labels = Labels::parse(&bytes, view.n_pairs)
        .map_err(|error| wrong(path, format!("{error}; run `whence cluster` again")))?;
    Ok((view, labels))
}

/// Whether a method's settings are possible with so many rows, by the names of its options.
fn enough(method: Method, n_rows: usize) -> Result<(), ClusterPairsError> {
    let (option, got) = match method {
        Method::Kmeans { k } => ("-k", k),
        // What is not given is as --min-cluster-size.
        Method::Hdbscan(settings) if settings.min_samples == settings.min_cluster_size => {
            ("--min-cluster-size", settings.min_samples)
        }
        Method::Hdbscan(settings) => ("--min-samples", settings.min_samples),
    };
    if got > n_rows { Err(ClusterPairsError::TooFew { n_rows, option }) } else { Ok(()) }
}

fn say(report: Report, detail: String) {
    report(Update { stage: "cluster", done: 0, total: 0, unit: "pairs", detail });
}

/// What a method found, before clusters are numbered by size.
struct Found {
    n_clusters: usize,
    method: clustering::Method,
    places: Vec<Place>,
    /// Label of every pair, as found.
    labels: Vec<i32>,
    strengths: Vec<f32>,
}

fn kmeans(vectors: &UnitRows, held: &Held, k: usize, seed: u64, report: Report) -> Result<Found, ClusterPairsError> {
    let d_model = vectors.d_model();
    let (centres, method) = fit::centres(held, d_model, k, seed)?;
    let mut places: Vec<Place> = Vec::with_capacity(vectors.n_rows());
    let work = |first, values: &[f32]| describe::places(first, values, d_model, &centres);
    vectors.by_parts("assign", report, work, |part| places.extend(part))?;
    let labels = places.iter().map(|place| place.label).collect();
    let strengths = places.iter().map(|place| place.own).collect();
    Ok(Found { n_clusters: k, method, places, labels, strengths })
}

fn by_density(vectors: &UnitRows, held: &Held, settings: hdbscan::Settings) -> Result<Found, ClusterPairsError> {
    let d_model = vectors.d_model();
    let (found, n_neighbors) = fit::hdbscan(held, d_model, settings)?;
    let n_clusters = found.stabilities.len();
    let (mut labels, mut strengths) = (vec![NOT_LOOKED_AT; vectors.n_rows()], vec![0.0; vectors.n_rows()]);
    held.without_direction.iter().for_each(|&row| labels[row] = NO_DIRECTION);
    for ((&row, &label), &strength) in held.rows.iter().zip(&found.labels).zip(&found.strengths) {
        (labels[row], strengths[row]) = (label, strength as f32);
    }
    let places = if n_clusters == 0 {
        Vec::new()
    } else {
        let centres = fit::means(held, d_model, &found.labels, n_clusters);
        describe::places_of_labels(&held.rows, &held.values, d_model, &centres, &found.labels)
    };
    let hdbscan::Settings { min_cluster_size, min_samples } = settings;
    let method = clustering::Method::Hdbscan { min_cluster_size, min_samples, n_neighbors };
    Ok(Found { n_clusters, method, places, labels, strengths })
}

/// Labels and places with the final numbers of clusters.
fn renumbered(found: &Found, numbers: &[Option<u32>]) -> (Vec<i32>, Vec<Place>) {
    let number = |label: i32| match usize::try_from(label) {
        Ok(label) => numbers[label].map_or(label as i32, |number| number as i32),
        Err(_) => label,
    };
    let places = found.places.iter().map(|place| Place { label: number(place.label), ..*place }).collect();
    (found.labels.iter().map(|&label| number(label)).collect(), places)
}

/// pairs.json goes last and names the labels by their hash: the two are never of different runs.
fn store(study: &Study, view: &mut ClusteringView, labels: &Labels) -> Result<(), FileError> {
    let bytes = labels.to_bytes();
    view.labels_sha256 = files::sha256(&bytes);
    files::write(&study.labels(&view.name), &bytes)?;
    files::write_json(&study.clustering(&view.name), view)
}
