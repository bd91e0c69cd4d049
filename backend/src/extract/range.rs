//! The files of one row range: what they are called, whether they are whole, and writing them.
//!
//! A study's rows are cut into fixed ranges. Each range has one file per [`Series`] (a layer's vectors, or the
//! log-probabilities) and perhaps remarks. A file is read once, when it is found, and hashed with the same read; what is
//! written is hashed from memory.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use thiserror::Error;
use whence_shared::shard::{self, Shard, ShardHeader};
use whence_shared::study::{LayerView, ShardView};

use super::differ::Block;
use super::logps::{self, LogpsView};
use super::manifest::VectorsManifest;
use super::part::PartRecord;
use super::{ExtractError, remarks};
use crate::files::{self, Context, FileError};
use crate::study::Study;

/// What has one file per row range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Series {
    /// Pair vectors of a layer, 0 = embeddings.
    Layer(usize),
    /// Log-probabilities of the responses.
    Logps,
}

impl Series {
    /// Series of which a study has files or a folder, layers ascending.
    ///
    /// # Errors
    ///
    /// When a folder cannot be listed.
    pub fn started(study: &Study) -> Result<Vec<Self>, FileError> {
        let mut series: Vec<Self> = study.started_layers()?.into_iter().map(Self::Layer).collect();
        series.extend(study.logps().is_dir().then_some(Self::Logps));
        Ok(series)
    }

    /// Its folder.
    pub fn folder(self, study: &Study) -> PathBuf {
        match self {
            Self::Layer(layer) => study.layer(layer),
            Self::Logps => study.logps(),
        }
    }

    /// Its manifest, there once every range is.
    pub fn manifest(self, study: &Study) -> PathBuf {
        self.folder(study).join("manifest.json")
    }

    /// Name of the file of the range that starts at `first_row`.
    pub fn file_name(self, first_row: usize) -> String {
        format!("{first_row:08}.{}", self.extension())
    }

    /// The file of the range that starts at `first_row`.
    pub fn path(self, study: &Study, first_row: usize) -> PathBuf {
        self.folder(study).join(self.file_name(first_row))
    }

    /// The same, relative to the study, with `/`.
    pub fn relative_path(self, first_row: usize) -> String {
        let folder = match self {
            Self::Layer(layer) => format!("layer-{layer}"),
            Self::Logps => "logps".into(),
        };
        format!("vectors/{folder}/{}", self.file_name(first_row))
    }

    /// First rows of the files there are, ascending; `None` for a file of ours with another name.
    ///
    /// # Errors
    ///
    /// When the folder exists and cannot be listed.
    pub fn first_rows(self, study: &Study) -> Result<Vec<(PathBuf, Option<usize>)>, FileError> {
        let folder = self.folder(study);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let path = entry.at("list", &folder)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Temporary files begin with a dot.
            if let Some(stem) = name.strip_suffix(&format!(".{}", self.extension())).filter(|s| !s.starts_with('.')) {
                let first_row = stem.parse().ok().filter(|&first_row| self.file_name(first_row) == name);
                found.push((path, first_row));
            }
        }
        found.sort();
        Ok(found)
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Layer(_) => "safetensors",
            Self::Logps => "parquet",
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(layer) => write!(f, "layer {layer}"),
            Self::Logps => f.write_str("log-probabilities"),
        }
    }
}

/// Size and hash of a file that was found whole or has just been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Size in bytes.
    pub n_bytes: u64,
    /// SHA-256, in hex.
    pub sha256: String,
}

impl Digest {
    /// Of a file's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { n_bytes: bytes.len() as u64, sha256: files::sha256(bytes) }
    }
}

/// Digests of whole files, by series and first row.
pub type Digests = BTreeMap<(Series, usize), Digest>;

/// Why a file cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// There is no such file.
    #[error("it is missing")]
    Absent,
    /// It cannot be read to its end.
    #[error("{0}")]
    Broken(String),
    /// It is whole, but not of these rows, this layer or this reading.
    #[error("{what}: expected {expected}, got {got}")]
    Differs {
        /// What differs.
        what: &'static str,
        /// What the study says.
        expected: String,
        /// What the file says.
        got: String,
    },
    /// Its bytes are not those that were written.
    #[error("it was changed after it was written: expected SHA-256 {expected}, got {got}")]
    Edited {
        /// As recorded when it was written.
        expected: String,
        /// Now.
        got: String,
    },
}

impl Fault {
    pub(super) fn unless_same(what: &'static str, expected: &str, got: &str) -> Result<(), Self> {
        if expected == got {
            return Ok(());
        }
        Err(Self::Differs { what, expected: expected.into(), got: got.into() })
    }
}

/// The row ranges that a study is cut into, ascending.
pub fn ranges(manifest: &VectorsManifest) -> Vec<Range<usize>> {
    let (n_pairs, step) = (manifest.n_pairs, manifest.rows_per_file.max(1));
    (0..n_pairs).step_by(step).map(|first| first..(first + step).min(n_pairs)).collect()
}

/// SHA-256 of files as recorded when they were written, by path relative to the study: from the manifests of complete
/// series and the records of parts. What cannot be read records nothing.
pub fn recorded(study: &Study) -> Result<BTreeMap<String, String>, FileError> {
    let mut recorded = BTreeMap::new();
    let mut note = |files: Vec<ShardView>| recorded.extend(files.into_iter().map(|file| (file.path, file.sha256)));
    for (_, record) in PartRecord::read_all(study)? {
        note(record.files);
    }
    for series in Series::started(study)? {
        let Ok(bytes) = fs::read(series.manifest(study)) else { continue };
        note(match series {
            Series::Layer(_) => serde_json::from_slice::<LayerView>(&bytes).map(|view| view.shards).unwrap_or_default(),
            Series::Logps => serde_json::from_slice::<LogpsView>(&bytes).map(|view| view.shards).unwrap_or_default(),
        });
    }
    Ok(recorded)
}

/// Whether a series' manifest says what is there: it can be read, is of this series and study, and lists every file with its
/// size. Hashes are compared where files are read.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_manifest(study: &Study, series: Series, manifest: &VectorsManifest) -> Result<(), Fault> {
    let path = series.manifest(study);
    if !path.is_file() {
        return Err(Fault::Absent);
    }
    let bytes = fs::read(&path).map_err(|error| Fault::Broken(error.to_string()))?;
    let broken = |error: serde_json::Error| Fault::Broken(format!("not a manifest ({error})"));
    let same = |what, expected: usize, got: usize| Fault::unless_same(what, &expected.to_string(), &got.to_string());
    let (n_rows, shards) = match series {
        Series::Layer(layer) => {
            let view: LayerView = serde_json::from_slice(&bytes).map_err(broken)?;
            same("layer", layer, view.layer)?;
            same("width", manifest.model.d_model, view.d_model)?;
            (view.n_rows, view.shards)
        }
        Series::Logps => {
            let view: LogpsView = serde_json::from_slice(&bytes).map_err(broken)?;
            Fault::unless_same("format", logps::FORMAT, &view.format)?;
            (view.n_rows, view.shards)
        }
    };
    same("number of rows", manifest.n_pairs, n_rows)?;
    let ranges = ranges(manifest);
    same("number of files", ranges.len(), shards.len())?;
    for (rows, shard) in ranges.iter().zip(shards) {
        Fault::unless_same("path of a file", &series.relative_path(rows.start), &shard.path)?;
        same("first row of a file", rows.start, shard.first_row)?;
        same("rows of a file", rows.len(), shard.n_rows)?;
        if let Ok(there) = fs::metadata(series.path(study, rows.start)) {
            same("bytes of a file", there.len() as usize, shard.n_bytes as usize)?;
        }
    }
    Ok(())
}

/// Whether bytes are the whole file of these rows of a study.
///
/// # Errors
///
/// What is wrong with them.
pub fn check(bytes: &[u8], series: Series, rows: &Range<usize>, manifest: &VectorsManifest) -> Result<(), Fault> {
    match series {
        // Small: the Parquet reader wants bytes of its own.
        Series::Logps => logps::check(Bytes::copy_from_slice(bytes), rows, &manifest.inputs),
        Series::Layer(layer) => {
            let shard = Shard::parse(bytes).map_err(|error| Fault::Broken(error.to_string()))?;
            let same =
                |what, expected: usize, got: usize| Fault::unless_same(what, &expected.to_string(), &got.to_string());
            Fault::unless_same("model and text form (inputs)", &manifest.inputs, &shard.header.inputs)?;
            same("layer", layer, shard.header.layer)?;
            same("first row", rows.start, shard.header.first_row)?;
            same("number of rows", rows.len(), shard.n_rows)?;
            same("width", manifest.model.d_model, shard.d_model)?;
            Fault::unless_same("--store", manifest.store.name(), shard.dtype.name())
        }
    }
}

/// Reads the file of a range: its bytes and their digest when it is whole and as recorded.
///
/// # Errors
///
/// What is wrong with it.
pub fn read(
    study: &Study,
    series: Series,
    rows: &Range<usize>,
    manifest: &VectorsManifest,
    recorded: &BTreeMap<String, String>,
) -> Result<(Vec<u8>, Digest), Fault> {
    let path = series.path(study, rows.start);
    if !path.is_file() {
        return Err(Fault::Absent);
    }
    let bytes = fs::read(&path).map_err(|error| Fault::Broken(error.to_string()))?;
    let digest = Digest::of(&bytes);
    if let Some(expected) = recorded.get(&series.relative_path(rows.start)).filter(|hash| **hash != digest.sha256) {
        return Err(Fault::Edited { expected: expected.clone(), got: digest.sha256 });
    }
    check(&bytes, series, rows, manifest)?;
    Ok((bytes, digest))
}

/// What a finished range is written from.
pub(super) struct Written<'a> {
    pub rows: &'a Range<usize>,
    pub series: &'a [Series],
    /// Ids of its pairs; needed for log-probabilities alone.
    pub ids: &'a [String],
    pub block: &'a Block,
}

/// Writes the files of a range, and tells of each what it is as soon as it is there.
pub(super) fn write(
    study: &Study,
    manifest: &VectorsManifest,
    written: &Written,
    mut on_file: impl FnMut(Series, Digest),
) -> Result<(), ExtractError> {
    let Written { rows, series, ids, block } = written;
    // Remarks first: once a range's files are there, the range is not visited again.
    remarks::write(study, rows.start, &block.remarks)?;
    // A block in which no pair could be read has no width of its own.
    let d_model = manifest.model.d_model;
    let zeros = vec![0.0; if block.d_model == 0 { rows.len() * d_model } else { 0 }];
    let mut vectors = block.vectors.iter();
    let mut later = Vec::new();
    for &series in *series {
        let Series::Layer(layer) = series else { continue };
        let header = ShardHeader { layer, first_row: rows.start, inputs: manifest.inputs.clone() };
        let vectors = vectors.next().filter(|_| block.d_model > 0).unwrap_or(&zeros);
        later.push((series, header, vectors));
    }
    if series.contains(&Series::Logps) {
        let logps = block.logps.as_ref().ok_or(ExtractError::NoLogps { first_row: rows.start })?;
        let bytes = logps::write(rows.start, ids, logps, &manifest.inputs);
        files::write(&Series::Logps.path(study, rows.start), &bytes)?;
        on_file(Series::Logps, Digest::of(&bytes));
    }
    for (series, header, vectors) in later {
        let layer = header.layer;
        let bytes = shard::write(&header, vectors, d_model, manifest.store, None)
            .map_err(|source| ExtractError::Store { layer, source })?;
        files::write(&series.path(study, rows.start), &bytes)?;
        on_file(series, Digest::of(&bytes));
    }
    Ok(())
}

/// How files are listed in manifests and records.
pub(super) fn views(series: Series, ranges: &[Range<usize>], digests: &Digests) -> Vec<ShardView> {
    let view = |rows: &Range<usize>| {
        let digest = &digests[&(series, rows.start)];
        ShardView {
            path: series.relative_path(rows.start),
            first_row: rows.start,
            n_rows: rows.len(),
            n_bytes: digest.n_bytes,
            sha256: digest.sha256.clone(),
        }
    };
    ranges.iter().map(view).collect()
}

/// Writes the manifest of a series whose files are all there, unless it is there already.
pub(super) fn write_manifest(
    study: &Study,
    series: Series,
    manifest: &VectorsManifest,
    digests: &Digests,
) -> Result<(), FileError> {
    let shards = views(series, &ranges(manifest), digests);
    let n_rows = manifest.n_pairs;
    let mut json = match series {
        Series::Layer(layer) => {
            let view = LayerView {
                layer,
                d_model: manifest.model.d_model,
                dtype: manifest.store,
                n_rows,
                shards,
                index: None,
                vectors_withheld: false,
                nearest_rows: Vec::new(),
            };
            serde_json::to_vec_pretty(&view)
        }
        Series::Logps => serde_json::to_vec_pretty(&LogpsView { format: logps::FORMAT.into(), n_rows, shards }),
    }
    .expect("a manifest serialises");
    json.push(b'\n');
    let path = series.manifest(study);
    if fs::read(&path).is_ok_and(|there| there == json) {
        return Ok(());
    }
    files::write(&path, &json)
}
