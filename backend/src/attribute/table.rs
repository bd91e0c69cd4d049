//! A ranking as a Parquet file: `rankings/NAME/layer-L.parquet`, one row per pair, from the top.
//!
//! ```text
//! column    type     meaning
//! rank      uint32   from 1
//! row       uint32   row of pairs.parquet, from 0
//! id        string   the pair's id
//! score     float32  cosine in [−1, 1], or what is left of it
//! source    string   the pair's source
//! snippet   string   its last user turn on one line
//! ```
//!
//! Metadata keys `whence.format`, `whence.behavior`, `whence.layer`, `whence.inputs`, `whence.behavior_sha256` and
//! `whence.pairs_sha256` say what it was made from; `whence.residual_on` names what its scores are without ([`super::residual`]).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt32Type};
use arrow_array::{Array, ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::WriterProperties;

use super::{RankError, Ranking};
use crate::data::pairs::{PairFile, SNIPPET_CHARS};
use crate::data::parquet_file;
use crate::extract::VectorsManifest;
use crate::files::{self, AtomicFile, Context, FileError};
use crate::study::{Study, is_plain_name};

/// The value of the metadata key `whence.format`.
pub const FORMAT: &str = "whence.ranking/1";

const ROWS_PER_BATCH: usize = 8192;

/// One row of a ranking.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedRow {
    /// From 1.
    pub rank: u32,
    /// Row of pairs.parquet, from 0.
    pub row: u32,
    /// The pair's id.
    pub id: String,
    /// In [−1, 1].
    pub score: f32,
    /// The pair's source.
    pub source: String,
    /// Its last user turn on one line.
    pub snippet: String,
}

/// What a table shows of each pair, by row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// Ids.
    pub ids: Vec<String>,
    /// Sources.
    pub sources: Vec<String>,
    /// Last user turns on one line.
    pub snippets: Vec<String>,
}

impl Labels {
    /// Reads the labels of all pairs of a study.
    ///
    /// # Errors
    ///
    /// When the pairs cannot be read.
    pub fn read(study: &Study) -> Result<Self, RankError> {
        let pairs = PairFile::open(&study.pairs())?;
        let mut labels = Self::default();
        for pair in &pairs {
            let pair = pair?;
            labels.snippets.push(pair.snippet(SNIPPET_CHARS));
            labels.ids.push(pair.id);
            labels.sources.push(pair.source);
        }
        Ok(labels)
    }
}

/// The first `n_rows` rows of a ranking, for showing.
///
/// # Panics
///
/// Panics when the labels are of fewer pairs than the ranking.
pub fn top(ranking: &Ranking, labels: &Labels, n_rows: usize) -> Vec<RankedRow> {
    let ranked = ranking.order.iter().zip(1..).take(n_rows);
    ranked
        .map(|(&row, rank)| RankedRow {
            rank,
            row,
            id: labels.ids[row as usize].clone(),
            score: ranking.scores[row as usize],
            source: labels.sources[row as usize].clone(),
            snippet: labels.snippets[row as usize].clone(),
        })
        .collect()
}

/// Stores a ranking in the study, atomically; returns its path. The same ranking gives the same bytes.
///
/// # Errors
///
/// When the file cannot be written.
///
/// # Panics
///
/// Panics when the labels are of fewer pairs than the ranking.
pub fn store(study: &Study, ranking: &Ranking, labels: &Labels) -> Result<PathBuf, RankError> {
    let path = study.ranking(&ranking.behavior, ranking.layer);
    write(&path, ranking, labels, None)?;
    Ok(path)
}

/// Writes a ranking to a file, atomically; `residual_on` names what was taken out of its scores, if anything was.
///
/// # Errors
///
/// When the file cannot be written.
///
/// # Panics
///
/// Panics when the labels are of fewer pairs than the ranking.
pub fn write(path: &Path, ranking: &Ranking, labels: &Labels, residual_on: Option<&str>) -> Result<(), RankError> {
    let key = |key: &str, value: &str| KeyValue::new(format!("whence.{key}"), value.to_owned());
    let properties = WriterProperties::builder()
        .set_created_by(concat!("whence ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(
            [
                key("format", FORMAT),
                key("behavior", &ranking.behavior),
                key("layer", &ranking.layer.to_string()),
                key("inputs", &ranking.inputs),
                key("behavior_sha256", &ranking.behavior_sha256),
                key("pairs_sha256", &ranking.pairs_sha256),
            ]
            .into_iter()
            .chain(residual_on.map(|names| key("residual_on", names)))
            .collect(),
        ))
        .build();
    let failed = |error: ParquetError| write_error(path, error);
    let file = AtomicFile::create(path)?;
    let mut writer = ArrowWriter::try_new(file, Arc::new(schema()), Some(properties)).map_err(failed)?;
    for (batch, first_rank) in ranking.order.chunks(ROWS_PER_BATCH).zip((1..).step_by(ROWS_PER_BATCH)) {
        let texts = |labels: &[String]| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(batch.iter().map(|&row| &labels[row as usize])))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from_iter_values((first_rank..).take(batch.len()))),
            Arc::new(UInt32Array::from_iter_values(batch.iter().copied())),
            texts(&labels.ids),
            Arc::new(Float32Array::from_iter_values(batch.iter().map(|&row| ranking.scores[row as usize]))),
            texts(&labels.sources),
            texts(&labels.snippets),
        ];
        let batch = RecordBatch::try_new(Arc::new(schema()), columns).expect("the columns follow the schema");
        writer.write(&batch).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)?.commit()?;
    Ok(())
}

/// Reads a stored ranking, top first.
///
/// # Errors
///
/// When the file is missing, damaged or no ranking.
pub fn read(path: &Path) -> Result<Vec<RankedRow>, RankError> {
    let malformed = |reason: String| RankError::Malformed {
        path: path.to_owned(),
        reason: format!("{reason}; run `whence rank` again"),
    };
    let file = File::open(path).at("open", path)?;
    let builder = parquet_file::open(file, &schema()).map_err(malformed)?;
    let reader = builder.build().map_err(|error| malformed(error.to_string()))?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| malformed(error.to_string()))?;
        if batch.columns().iter().any(|column| column.null_count() > 0) {
            return Err(malformed("a value is null".into()));
        }
        let number = |column: usize, i: usize| batch.column(column).as_primitive::<UInt32Type>().value(i);
        let text = |column: usize, i: usize| batch.column(column).as_string::<i32>().value(i).to_owned();
        rows.extend((0..batch.num_rows()).map(|i| RankedRow {
            rank: number(0, i),
            row: number(1, i),
            id: text(2, i),
            score: batch.column(3).as_primitive::<Float32Type>().value(i),
            source: text(4, i),
            snippet: text(5, i),
        }));
    }
    Ok(rows)
}

/// What a stored ranking was made from, as far as the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MadeFrom {
    /// Name of the behavior; empty when the file does not say.
    pub behavior: String,
    /// The layer.
    pub layer: Option<usize>,
    /// Hash of what the vectors were made from; empty when the file does not say.
    pub inputs: String,
    /// SHA-256 of the file with the direction; empty when the file does not say.
    pub behavior_sha256: String,
    /// SHA-256 of pairs.parquet; empty when the file does not say.
    pub pairs_sha256: String,
}

impl MadeFrom {
    fn of(metadata: &ParquetMetaData) -> Self {
        let key = |name: &str| parquet_file::key(metadata, name).unwrap_or_default();
        Self {
            behavior: key("behavior"),
            layer: key("layer").parse().ok(),
            inputs: key("inputs"),
            behavior_sha256: key("behavior_sha256"),
            pairs_sha256: key("pairs_sha256"),
        }
    }

    /// What a study now has otherwise than when its ranking was made: `another direction` or `other vectors`. What the file
    /// does not say, and what is no longer in the study, is in nobody's way.
    ///
    /// # Errors
    ///
    /// When the study's files cannot be read.
    pub fn difference(&self, study: &Study) -> Result<Option<&'static str>, RankError> {
        let vectors = VectorsManifest::read(study)?;
        if vectors.is_some_and(|vectors| !self.inputs.is_empty() && vectors.inputs != self.inputs) {
            return Ok(Some("other vectors"));
        }
        let Some(layer) = self.layer.filter(|_| is_plain_name(&self.behavior)) else { return Ok(None) };
        let path = study.behavior_vectors(&self.behavior, layer);
        let is_other =
            !self.behavior_sha256.is_empty() && path.is_file() && files::sha256_of_file(&path)? != self.behavior_sha256;
        Ok(is_other.then_some("another direction"))
    }
}

/// Reads what a stored ranking was made from.
///
/// # Errors
///
/// When the file is missing or no Parquet.
pub fn read_made_from(path: &Path) -> Result<MadeFrom, RankError> {
    let file = File::open(path).at("open", path)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| RankError::Malformed {
        path: path.to_owned(),
        reason: format!("{error}; run `whence rank` again"),
    })?;
    Ok(MadeFrom::of(builder.metadata()))
}

/// A stored ranking without its texts.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredOrder {
    /// What it was made from; its pairs are named.
    pub made_from: MadeFrom,
    /// Rows from the first to the last, each once.
    pub order: Vec<u32>,
    /// Their scores, in the same order.
    pub scores: Vec<f32>,
}

/// Reads order and scores of a stored ranking and what it was made from. Any Parquet file will do that has `row` and
/// `score`, top first, and names its pairs in the metadata key `whence.pairs_sha256`.
///
/// # Errors
///
/// When the file is missing, damaged or no ranking, or does not hold every row once.
pub fn read_order(path: &Path) -> Result<StoredOrder, RankError> {
    let malformed = |reason: String| RankError::Malformed {
        path: path.to_owned(),
        reason: format!("{reason}; run `whence rank` again"),
    };
    let file = File::open(path).at("open", path)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| malformed(error.to_string()))?;
    for (name, data_type) in [("row", DataType::UInt32), ("score", DataType::Float32)] {
        let got = builder.schema().field_with_name(name).ok().map(Field::data_type);
        if got != Some(&data_type) {
            return Err(malformed(format!("expected a column {name:?} of type {data_type}, got {got:?}")));
        }
    }
    let made_from = MadeFrom::of(builder.metadata());
    if made_from.pairs_sha256.is_empty() {
        return Err(malformed("the metadata key whence.pairs_sha256 is missing".into()));
    }
    let columns = ProjectionMask::columns(builder.metadata().file_metadata().schema_descr(), ["row", "score"]);
    let reader = builder.with_projection(columns).build().map_err(|error| malformed(error.to_string()))?;
    let (mut order, mut scores) = (Vec::new(), Vec::new());
    for batch in reader {
        let batch = batch.map_err(|error| malformed(error.to_string()))?;
        if batch.columns().iter().any(|column| column.null_count() > 0) {
            return Err(malformed("a value is null".into()));
        }
        let column = |name: &str| batch.column_by_name(name).expect("checked above");
        order.extend_from_slice(column("row").as_primitive::<UInt32Type>().values());
        scores.extend_from_slice(column("score").as_primitive::<Float32Type>().values());
    }
    let mut is_seen = vec![false; order.len()];
    for &row in &order {
        match is_seen.get_mut(row as usize) {
            Some(is_seen) if !*is_seen => *is_seen = true,
            _ => return Err(malformed(format!("row {row} is there twice, or out of 0..{}", order.len()))),
        }
    }
    Ok(StoredOrder { made_from, order, scores })
}

fn schema() -> Schema {
    let field = |name: &str, data_type| Field::new(name, data_type, false);
    Schema::new(vec![
        field("rank", DataType::UInt32),
        field("row", DataType::UInt32),
        field("id", DataType::Utf8),
        field("score", DataType::Float32),
        field("source", DataType::Utf8),
        field("snippet", DataType::Utf8),
    ])
}

fn write_error(path: &Path, error: ParquetError) -> RankError {
    match error {
        ParquetError::External(source) if source.is::<std::io::Error>() => {
            let source = *source.downcast().expect("just checked");
            FileError { action: "write", path: path.to_owned(), source }.into()
        }
        error => RankError::Malformed { path: path.to_owned(), reason: error.to_string() },
    }
}
