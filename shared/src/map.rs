//! Maps: all pairs of a study as points on a plane, `maps/NAME.safetensors`, as `whence map` leaves them.
//!
//! ```text
//! tensor   dtype  shape       meaning
//! points   F32    [n_rows, 2]  where each pair of the study lies, by row; finite
//! placed   U8     [n_rows]     UMAP of a sample only: 1 where a pair was placed at the weighted mean of its nearest pairs
//!                              among those that were laid out, 0 where it was laid out itself
//!
//! metadata key         value
//! format               "whence.map/1"
//! layer                the layer, 0 = embeddings
//! settings             a Method as JSON
//! inputs               hash of what the vectors were made from
//! vectors_sha256       SHA-256 over the layer's vector files
//! pairs_sha256         SHA-256 of pairs.parquet
//! n_fitted             pairs that the map was made from; the others were placed
//! trustworthiness      of a sample of the pairs, in [0, 1]; empty where there are too few
//! ```

use std::collections::HashMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use crate::json;
use crate::tensors::{self, TensorFile, TensorsError, f32_bytes, f32s};

/// The value of the metadata key `format`.
pub const FORMAT: &str = "whence.map/1";

/// How a map was made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "method")]
pub enum Method {
    /// The first two principal components of the centred unit rows.
    Pca {
        /// Shares of the variance along them, in [0, 1].
        explained: [f64; 2],
    },
    /// UMAP ([`crate::cluster::umap`]), from the first two principal components.
    Umap {
        /// Neighbours of a row, itself included.
        n_neighbors: usize,
        /// How close points may come.
        min_dist: f64,
        /// Seed of all draws.
        seed: u64,
        /// Principal directions in which the nearest rows of those that were placed were looked for; absent where none were.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n_directions: Option<usize>,
    },
}

impl Method {
    /// `pca` or `umap`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pca { .. } => "pca",
            Self::Umap { .. } => "umap",
        }
    }
}

/// A map of all pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct PairMap {
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// How.
    pub method: Method,
    /// Hash of what the vectors were made from.
    pub inputs: String,
    /// SHA-256 over the layer's vector files.
    pub vectors_sha256: String,
    /// SHA-256 of pairs.parquet.
    pub pairs_sha256: String,
    /// Pairs that the map was made from.
    pub n_fitted: usize,
    /// How far it can be trusted ([`crate::cluster::trustworthiness`]); none where there are too few pairs.
    pub trustworthiness: Option<f64>,
    /// `[n_rows, 2]`, row-major.
    pub points: Vec<f32>,
    /// Whether each pair was placed; empty where all were laid out.
    pub placed: Vec<u8>,
}

impl PairMap {
    /// How many pairs.
    pub fn n_rows(&self) -> usize {
        self.points.len() / 2
    }

    /// The bytes of its file. The same map gives the same bytes.
    ///
    /// # Panics
    ///
    /// Panics when the points are not of two numbers each, or there are marks of another number of pairs.
    pub fn to_bytes(&self) -> Vec<u8> {
        let points = f32_bytes(&self.points);
        let mut tensors =
            vec![("points", TensorView::new(Dtype::F32, vec![self.n_rows(), 2], &points).expect("two each"))];
        if !self.placed.is_empty() {
            let placed = TensorView::new(Dtype::U8, vec![self.n_rows()], &self.placed).expect("a mark per pair");
            tensors.push(("placed", placed));
        }
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("layer", self.layer.to_string()),
            ("settings", serde_json::to_string(&self.method).expect("plain data serializes")),
            ("inputs", self.inputs.clone()),
            ("vectors_sha256", self.vectors_sha256.clone()),
            ("pairs_sha256", self.pairs_sha256.clone()),
            ("n_fitted", self.n_fitted.to_string()),
            ("trustworthiness", self.trustworthiness.map_or_else(String::new, |value| value.to_string())),
        ];
        let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.to_owned(), value)).into();
        tensors::write(tensors, metadata).expect("tensors of known shape")
    }

    /// Reads a map of `n_rows` pairs from the whole bytes of its file.
    ///
    /// # Errors
    ///
    /// When it is no such file, or of another number of pairs.
    pub fn parse(file: &[u8], n_rows: usize) -> Result<Self, TensorsError> {
        let file = TensorFile::parse(file, FORMAT)?;
        let malformed = |key, value: &str| TensorsError::Metadata { key, value: value.to_owned() };
        let settings = file.text("settings")?;
        let trust = file.text("trustworthiness")?;
        let points = f32s(file.data("points", Dtype::F32, &[n_rows, 2])?);
        if let Some(i) = points.iter().position(|x| !x.is_finite()) {
            let got = format!("{} in row {}", points[i], i / 2);
            return Err(TensorsError::Tensor { name: "points", expected: "finite numbers".into(), got });
        }
        Ok(Self {
            layer: file.number("layer")?,
            method: json::from_str(&settings).map_err(|_| malformed("settings", &settings))?,
            inputs: file.text("inputs")?,
            vectors_sha256: file.text("vectors_sha256")?,
            pairs_sha256: file.text("pairs_sha256")?,
            n_fitted: file.number("n_fitted")?,
            trustworthiness: match trust.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|_| malformed("trustworthiness", text))?),
            },
            points,
            placed: match file.find("placed") {
                None => Vec::new(),
                Some(_) => file.data("placed", Dtype::U8, &[n_rows])?.to_vec(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> PairMap {
        PairMap {
            layer: 3,
            method: Method::Umap { n_neighbors: 15, min_dist: 0.1, seed: 1, n_directions: Some(64) },
            inputs: "a".into(),
            vectors_sha256: "b".into(),
            pairs_sha256: "c".into(),
            n_fitted: 2,
            trustworthiness: Some(0.9375),
            points: vec![0.5, -1.0, 2.0, 3.0, 0.0, 0.25],
            placed: vec![0, 1, 0],
        }
    }

    #[test]
    fn maps_come_back_from_their_file() {
        for map in [
            map(),
            PairMap { placed: Vec::new(), trustworthiness: None, ..map() },
            PairMap { method: Method::Pca { explained: [0.5, 0.25] }, placed: Vec::new(), ..map() },
        ] {
            let file = map.to_bytes();
            assert_eq!(PairMap::parse(&file, 3).unwrap(), map);
            assert_eq!(file, map.to_bytes());
        }
    }

    #[test]
    fn what_is_no_map_is_refused() {
        let file = map().to_bytes();
        assert!(PairMap::parse(&file, 4).unwrap_err().to_string().contains("expected F32 [4, 2], got F32 [3, 2]"));
        assert!(PairMap::parse(&file[..file.len() - 2], 3).is_err());
        let endless = PairMap { points: vec![0.0, 1.0, f32::NAN, 0.0, 0.0, 0.0], ..map() };
        let error = PairMap::parse(&endless.to_bytes(), 3).unwrap_err();
        assert!(error.to_string().contains("finite numbers, got NaN in row 1"), "{error}");
    }
}
