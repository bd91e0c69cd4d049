//! Maps: all pairs of a study as points on a plane, by their vectors at one layer, for a person to look at.
//!
//! Beside clustering: it reads the same unit rows. [`pca`] takes the first two principal components of all rows. UMAP lays out up
//! to [`DEFAULT_ROWS`] rows, or as many as asked for, since the nearest rows of each are looked for among all of them, which costs
//! n² · width products; every further row is placed at the weighted mean of the points of its nearest rows among those laid out,
//! which are looked for in the first [`N_DIRECTIONS`] principal directions. The file says so ([`whence_shared::map`]).

pub mod pca;

use thiserror::Error;
use whence_shared::cluster::neighbors;
use whence_shared::cluster::points::{ClusterError, Points};
use whence_shared::cluster::trustworthiness::trustworthiness;
use whence_shared::cluster::umap;
use whence_shared::map::{self, PairMap};

use crate::attribute::RankError;
use crate::attribute::probe::must_be_its_pairs;
use crate::behavior::{BehaviorError, check_name};
use crate::cluster::fit::{self, MAX_HELD_VALUES};
use crate::cluster::rows::{RowParts, RowsInMemory, UnitRows};
use crate::extract::{self, ExtractError, LayerFiles, VectorFileError, VectorsManifest};
use crate::files::{self, FileError};
use crate::index::rotation::spread;
use crate::progress::{Report, Update};
use crate::study::Study;
use pca::Pca;

/// Rows that UMAP lays out unless more are asked for, at most [`umap::MAX_ROWS`].
pub const DEFAULT_ROWS: usize = 20_000;
/// Principal directions in which the neighbours of rows that are placed are looked for.
pub const N_DIRECTIONS: usize = 64;
/// Rows that trustworthiness is measured with.
const N_TRUST_ROWS: usize = 2000;
/// Neighbours that it is measured with.
const N_TRUST_NEIGHBORS: usize = 15;

/// What stops a map.
#[derive(Debug, Error)]
pub enum MapError {
    /// The study's vectors are of other pairs.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// The study has no vectors at the layer.
    #[error(transparent)]
    Vectors(#[from] ExtractError),
    /// A vector file cannot be used.
    #[error(transparent)]
    VectorFile(#[from] VectorFileError),
    /// The name of the map.
    #[error(transparent)]
    Name(#[from] BehaviorError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A setting that is not possible.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// More rows than can be laid out.
    #[error("--sample: UMAP lays out at most {limit} pairs of this width, got {got}; all others are placed among them")]
    TooMany {
        /// How many are possible.
        limit: usize,
        /// Asked for.
        got: usize,
    },
}

/// How to make a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Principal components.
    Pca,
    /// UMAP of at most so many rows.
    Umap {
        /// Its settings.
        settings: umap::Settings,
        /// Rows that are laid out.
        sample: Option<usize>,
    },
}

/// What to map.
#[derive(Debug, Clone, PartialEq)]
pub struct MapOptions {
    /// Name of the map.
    pub name: String,
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// How.
    pub method: Method,
}

/// Makes a map of the pairs of a study, and stores it.
///
/// # Errors
///
/// [`MapError`]; an earlier map of the same name stays until the new one is complete.
pub fn map(study: &Study, options: &MapOptions, report: Report) -> Result<PairMap, MapError> {
    check_name(&options.name)?;
    extract::complete_layers(study, &[options.layer])?;
    let manifest = VectorsManifest::required(study)?;
    let pairs_sha256 = must_be_its_pairs(study, &manifest)?;
    let vectors = UnitRows::new(LayerFiles::open(study, options.layer, &manifest)?);
    let drawn = match options.method {
        Method::Pca => by_components(&vectors, report)?,
        Method::Umap { settings, sample } => by_umap(&vectors, settings, sample, report)?,
    };
    let points: Vec<f32> = drawn.points.iter().flat_map(|point| point.map(|x| x as f32)).collect();
    let map = PairMap {
        layer: options.layer,
        method: drawn.method,
        inputs: manifest.inputs.clone(),
        vectors_sha256: vectors.files().sha256(),
        pairs_sha256,
        n_fitted: drawn.n_fitted,
        trustworthiness: trust(&vectors, &points)?,
        points,
        placed: drawn.placed,
    };
    files::write(&study.map(&options.name), &map.to_bytes())?;
    Ok(map)
}

struct Drawn {
    method: map::Method,
    points: Vec<[f64; 2]>,
    n_fitted: usize,
    /// Empty where no row was placed.
    placed: Vec<u8>,
}

fn by_components(vectors: &UnitRows, report: Report) -> Result<Drawn, MapError> {
    let pca = Pca::of(vectors, 2, report)?;
    let mut points = Vec::with_capacity(vectors.n_rows());
    vectors.by_parts("project", report, |_, values| pca.plane(values), |part: Vec<[f64; 2]>| points.extend(part))?;
    let share = |axis: usize| pca.explained.get(axis).copied().unwrap_or(0.0);
    let method = map::Method::Pca { explained: [share(0), share(1)] };
    Ok(Drawn { method, n_fitted: points.len(), points, placed: Vec::new() })
}

fn by_umap(
    vectors: &UnitRows,
    settings: umap::Settings,
    sample: Option<usize>,
    report: Report,
) -> Result<Drawn, MapError> {
    settings.check()?;
    let n_rows = vectors.n_rows();
    let limit = umap::MAX_ROWS.min(MAX_HELD_VALUES / vectors.d_model());
    let n_fitted = sample.unwrap_or(DEFAULT_ROWS.min(limit)).min(n_rows);
    if n_fitted > limit {
        return Err(MapError::TooMany { limit, got: n_fitted });
    }
    let say = |detail: &str| {
        report(Update {
            stage: "map",
            done: 0,
            total: 0,
            unit: "pairs",
            detail: format!("{n_fitted} pairs: {detail}"),
        });
    };
    say("reading");
    let rows = spread(n_rows, n_fitted, settings.seed);
    let held = vectors.some(&rows)?;
    let pca = Pca::of(
        &RowsInMemory { values: &held, width: vectors.d_model() },
        if n_fitted < n_rows { N_DIRECTIONS } else { 2 },
        report,
    )?;
    // As many neighbours as there are rows to be some.
    let n_neighbors = settings.n_neighbors.min(n_fitted);
    let laid_out = if n_fitted == 1 {
        vec![[0.0; 2]]
    } else {
        say("nearest pairs");
        let near = fit::neighbors(Points::new(&held, vectors.d_model())?, n_neighbors - 1)?;
        say("layout");
        umap::umap(&near, &pca.plane(&held), settings)?
    };
    let umap::Settings { min_dist, seed, .. } = settings;
    let method = |n_directions| map::Method::Umap { n_neighbors, min_dist, seed, n_directions };
    if n_fitted == n_rows {
        return Ok(Drawn { method: method(None), points: laid_out, n_fitted, placed: Vec::new() });
    }
    let mut placed = vec![1u8; n_rows];
    rows.iter().for_each(|&row| placed[row] = 0);
    let points = place_others(vectors, &pca, &held, (&rows, &laid_out), n_neighbors, report)?;
    Ok(Drawn { method: method(Some(pca.n())), points, n_fitted, placed })
}

/// Points of all rows: those laid out, and the others among them.
fn place_others(
    vectors: &UnitRows,
    pca: &Pca,
    held: &[f32],
    (rows, laid_out): (&[usize], &[[f64; 2]]),
    n_neighbors: usize,
    report: Report,
) -> Result<Vec<[f64; 2]>, MapError> {
    let mut points = vec![[0.0; 2]; vectors.n_rows()];
    if pca.n() > 0 {
        let narrow = |values: &[f32]| pca.project(values).into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        let fitted = narrow(held);
        let fitted = Points::new(&fitted, pca.n())?;
        let place = |first: usize, values: &[f32]| -> Result<(usize, Vec<[f64; 2]>), ClusterError> {
            let queries = narrow(values);
            let queries = Points::new(&queries, pca.n())?;
            Ok((first, umap::placed(&neighbors::of_others(fitted, queries, n_neighbors)?, laid_out)))
        };
        let mut failed = None;
        vectors.by_parts("place", report, place, |part: Result<(usize, Vec<[f64; 2]>), ClusterError>| match part {
            Ok((first, part)) => points[first..first + part.len()].copy_from_slice(&part),
            Err(error) => failed = Some(error),
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    rows.iter().zip(laid_out).for_each(|(&row, point)| points[row] = *point);
    Ok(points)
}

/// Trustworthiness of the map of some rows, spread over the study.
fn trust(vectors: &UnitRows, points: &[f32]) -> Result<Option<f64>, MapError> {
    let rows = spread(vectors.n_rows(), N_TRUST_ROWS, 0);
    if rows.len() <= 2 * N_TRUST_NEIGHBORS {
        return Ok(None);
    }
    let values = vectors.some(&rows)?;
    let on_map: Vec<f32> = rows.iter().flat_map(|&row| [points[2 * row], points[2 * row + 1]]).collect();
    let (values, on_map) = (Points::new(&values, vectors.d_model())?, Points::new(&on_map, 2)?);
    Ok(Some(trustworthiness(values, on_map, N_TRUST_NEIGHBORS)?))
}
