//! Clusters of pairs: what `whence cluster` leaves to be read, `clusters/NAME/pairs.json` beside `clusters/NAME/labels.safetensors`.
//!
//! pairs.json is a [`ClusteringView`]. The labels of all pairs lie beside it:
//!
//! ```text
//! tensor     dtype  shape      meaning
//! labels     I32    [n_pairs]  cluster of each pair of the study, by row: from 0; below 0 none, see the constants here
//! strengths  F32    [n_pairs]  how firmly it belongs there: k-means, cosine with the centre, −1 to 1; HDBSCAN, 0 to 1
//!
//! metadata key   value
//! format         "whence.labels/1"
//! inputs         hash of what the vectors were made from
//! ```

use std::collections::HashMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use crate::cluster::reading::{Names, Reading};
use crate::discovery::PairEntry;
use crate::tensors::{self, TensorFile, TensorsError, f32_bytes, f32s};

/// The value of [`ClusteringView::format`].
pub const FORMAT: &str = "whence.clusters/1";
/// The format of the labels' file.
pub const LABELS_FORMAT: &str = "whence.labels/1";

/// Label of a pair that lies between the clusters (HDBSCAN).
pub const NOISE: i32 = -1;
/// Label of a pair whose vector is zero: it has no direction. Pairs with equal responses, or without a vector.
pub const NO_DIRECTION: i32 = -2;
/// Label of a pair that was not looked at, because a sample was clustered (HDBSCAN).
pub const NOT_LOOKED_AT: i32 = -3;

/// How pairs were clustered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum Method {
    /// Spherical k-means ([`crate::cluster::kmeans`]).
    Kmeans {
        /// Clusters asked for.
        k: usize,
        /// Starts, of which the best was kept.
        n_starts: usize,
        /// Whether centres were found in small batches instead of whole iterations.
        in_batches: bool,
    },
    /// HDBSCAN ([`crate::cluster::hdbscan`]).
    Hdbscan {
        /// The fewest pairs that are a cluster.
        min_cluster_size: usize,
        /// Pairs within the core distance of a pair, itself included.
        min_samples: usize,
        /// Neighbours of every pair in the graph that stood for all distances; absent where all were computed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n_neighbors: Option<usize>,
    },
}

/// Clusters of the pairs of a study, by their vectors at one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusteringView {
    /// [`FORMAT`].
    pub format: String,
    /// Its name.
    pub name: String,
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// How.
    pub method: Method,
    /// Seed of all draws.
    pub seed: u64,
    /// Pairs of the study.
    pub n_pairs: usize,
    /// Pairs that the clusters were found from; with k-means the others went to their nearest centre.
    pub n_fitted: usize,
    /// Pairs labelled [`NOISE`].
    pub n_noise: usize,
    /// Pairs labelled [`NO_DIRECTION`].
    pub n_no_direction: usize,
    /// Pairs labelled [`NOT_LOOKED_AT`].
    pub n_not_looked_at: usize,
    /// Pairs whose words were counted: of large clusters a sample, spread evenly.
    pub n_read: usize,
    /// Hash of what the vectors were made from.
    pub inputs: String,
    /// SHA-256 over the layer's vector files.
    pub vectors_sha256: String,
    /// SHA-256 of pairs.parquet.
    pub pairs_sha256: String,
    /// SHA-256 of labels.safetensors.
    pub labels_sha256: String,
    /// The clusters, the largest first; of equals the one with the first pair.
    pub clusters: Vec<PairCluster>,
    /// The pairs that are named as exemplars, by row.
    pub pairs: Vec<PairEntry>,
    /// Names that a model made up for the clusters, where one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Names>,
}

/// A cluster of pairs, for reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairCluster {
    /// Pairs in it.
    pub size: usize,
    /// Mean cosine of its pairs with its centre, −1 to 1.
    pub cohesion: f64,
    /// Mean simplified silhouette, −1 to 1: (b − a) / max(a, b), with a and b the cosine distances to the own centre and the
    /// nearest other one (Hruschka, Campello & de Castro, *Evolving clusters in gene-expression data*, 2006). 0 of a single pair,
    /// or when there is one cluster.
    pub silhouette: f64,
    /// How surely it comes back when the method is applied to samples of the pairs: the mean of the largest Jaccard index with a
    /// cluster found there, 0 to 1 ([`mean_jaccards`](crate::cluster::members::mean_jaccards)). Beside 0.75 a cluster is usually
    /// taken as stable. None in files of before it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jaccard: Option<f64>,
    /// Rows of the study nearest to its centre; the first is its medoid by cosine.
    pub typical: Vec<u32>,
    /// Rows of the study that are nearly as near to another centre.
    pub border: Vec<u32>,
    /// Its words and sources.
    #[serde(flatten)]
    pub reading: Reading,
}

/// The label of every pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// Hash of what the vectors were made from.
    pub inputs: String,
    /// `[n_pairs]`
    pub labels: Vec<i32>,
    /// `[n_pairs]`
    pub strengths: Vec<f32>,
}

impl Labels {
    /// The bytes of their file. The same labels give the same bytes.
    ///
    /// # Panics
    ///
    /// Panics when there are not as many labels as strengths.
    pub fn to_bytes(&self) -> Vec<u8> {
        assert_eq!(self.labels.len(), self.strengths.len(), "a label and a strength per pair");
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        let strengths = f32_bytes(&self.strengths);
        let shape = || vec![self.labels.len()];
        let view = |dtype, bytes| TensorView::new(dtype, shape(), bytes).expect("four bytes per pair");
        let metadata = HashMap::from(
            [("format", LABELS_FORMAT), ("inputs", self.inputs.as_str())].map(|(key, text)| (key.into(), text.into())),
        );
        tensors::write(
            vec![("labels", view(Dtype::I32, &labels)), ("strengths", view(Dtype::F32, &strengths))],
            metadata,
        )
        .expect("two tensors of known shape")
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    ///
    /// When it is no such file, or not of so many pairs.
    pub fn parse(file: &[u8], n_pairs: usize) -> Result<Self, TensorsError> {
        let file = TensorFile::parse(file, LABELS_FORMAT)?;
        let labels = file.data("labels", Dtype::I32, &[n_pairs])?;
        Ok(Self {
            inputs: file.text("inputs")?,
            labels: labels.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect(),
            strengths: f32s(file.data("strengths", Dtype::F32, &[n_pairs])?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_from_their_file_and_from_no_other() {
        let labels = Labels {
            inputs: "x".into(),
            labels: vec![0, NOISE, 3, NOT_LOOKED_AT],
            strengths: vec![0.5, 0.0, -1.0, 0.0],
        };
        let file = labels.to_bytes();
        assert_eq!(file, labels.to_bytes());
        assert_eq!(Labels::parse(&file, 4).unwrap(), labels);
        assert!(Labels::parse(&file, 5).unwrap_err().to_string().contains("expected I32 [5], got I32 [4]"));
        assert!(Labels::parse(&file[..file.len() - 1], 4).is_err());
        assert!(Labels::parse(b"", 0).is_err());
    }

    #[test]
    fn methods_are_written_by_name() {
        let method = Method::Hdbscan { min_cluster_size: 5, min_samples: 3, n_neighbors: None };
        let json = serde_json::to_string(&method).unwrap();
        assert_eq!(json, r#"{"name":"hdbscan","min_cluster_size":5,"min_samples":3}"#);
        assert_eq!(serde_json::from_str::<Method>(&json).unwrap(), method);
    }
}
