//! An edit set as a Parquet file: `edits/NAME.parquet`, one row per pair that is not kept as it is, by row.
//!
//! ```text
//! column    type      meaning
//! row       uint32    row of pairs.parquet, from 0
//! id        string    the pair's id
//! sha256    string    hash of the pair, see [`super::pair_sha256`]
//! action    string    drop or switch
//! reason    string    why
//! score     float32   its score in the ranking that decided; null when none did
//! rank      uint32    its rank there, from 1; null when none did
//! ```
//!
//! Metadata keys `whence.format`, `whence.n_pairs`, `whence.pairs_sha256`, `whence.how`, `whence.from`,
//! `whence.from_sha256` and `whence.seed` say what it was made from.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt32Type};
use arrow_array::{Array, ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::{Decision, Edit, EditError, EditSet, Origin, check_name};
use crate::data::pairs::PairFile;
use crate::data::parquet_file;
use crate::files::{AtomicFile, Context, FileError};
use crate::hashes;
use crate::study::Study;

/// The value of the metadata key `whence.format`.
pub const FORMAT: &str = "whence.edits/1";

const ROWS_PER_BATCH: usize = 8192;

/// Names of a study's edit sets, in alphabetical order.
///
/// # Errors
///
/// When the folder exists and cannot be listed.
pub fn names(study: &Study) -> Result<Vec<String>, EditError> {
    Ok(study.edit_names()?)
}

/// Reads an edit set of a study, whose pairs must be those that it was made from.
///
/// # Errors
///
/// [`EditError`]: no such set, a damaged file, or other pairs.
pub fn load(study: &Study, name: &str) -> Result<EditSet, EditError> {
    check_name(name)?;
    let path = study.edit(name);
    if !path.is_file() {
        let known_names = names(study)?;
        return Err(EditError::Unknown { name: name.to_owned(), study: study.root().to_owned(), known_names });
    }
    let set = read(&path, name)?;
    let n_pairs = PairFile::open(&study.pairs())?.len();
    let sha256 = hashes::sha256_of_file(&study.pairs())?;
    must_be_its_pairs(&path, (set.n_pairs, &set.pairs_sha256), (n_pairs, &sha256), "make it again with --replace")?;
    Ok(set)
}

/// Refuses what was made from other pairs than those that are there.
pub(super) fn must_be_its_pairs(
    path: &Path,
    expected: (usize, &str),
    got: (usize, &str),
    remedy: &'static str,
) -> Result<(), EditError> {
    if expected == got {
        return Ok(());
    }
    let short = |(n_pairs, hash): (usize, &str)| format!("{n_pairs} pairs, {}", hash.get(..12).unwrap_or(hash));
    Err(EditError::OtherPairs { path: path.to_owned(), expected: short(expected), got: short(got), remedy })
}

/// Writes an edit set into the study unless it is there already; returns its path.
///
/// # Errors
///
/// [`EditError::Exists`] when another set has its name and is not to be replaced; a file that cannot be read or written.
pub fn keep(study: &Study, set: &EditSet, replace: bool) -> Result<PathBuf, EditError> {
    let path = study.edit(&set.name);
    if path.exists() && !replace && read(&path, &set.name)? != *set {
        return Err(EditError::Exists { path });
    }
    store(study, set)
}

/// Writes an edit set into the study, atomically; returns its path. The same set gives the same bytes.
fn store(study: &Study, set: &EditSet) -> Result<PathBuf, EditError> {
    let path = study.edit(&set.name);
    let key = |key: &str, value: &str| KeyValue::new(format!("whence.{key}"), value.to_owned());
    let mut keys = vec![
        key("format", FORMAT),
        key("n_pairs", &set.n_pairs.to_string()),
        key("pairs_sha256", &set.pairs_sha256),
        key("how", &set.origin.how),
        key("from", &set.origin.from),
        key("from_sha256", &set.origin.from_sha256),
    ];
    keys.extend(set.origin.seed.map(|seed| key("seed", &seed.to_string())));
    let properties = WriterProperties::builder()
        .set_created_by(concat!("whence ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(keys))
        .build();
    let failed = |error: ParquetError| write_error(&path, error);
    let file = AtomicFile::create(&path)?;
    let mut writer = ArrowWriter::try_new(file, Arc::new(schema()), Some(properties)).map_err(failed)?;
    for edits in set.edits.chunks(ROWS_PER_BATCH) {
        let texts =
            |text: fn(&Edit) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(edits.iter().map(text))) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from_iter_values(edits.iter().map(|edit| edit.row))),
            texts(|edit| &edit.id),
            texts(|edit| &edit.sha256),
            texts(|edit| edit.action.name()),
            texts(|edit| &edit.reason),
            Arc::new(Float32Array::from_iter(edits.iter().map(|edit| edit.score))),
            Arc::new(UInt32Array::from_iter(edits.iter().map(|edit| edit.rank))),
        ];
        let batch = RecordBatch::try_new(Arc::new(schema()), columns).expect("the columns follow the schema");
        writer.write(&batch).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)?.commit()?;
    Ok(path)
}

/// Reads an edit set from a file, whatever pairs it is for.
pub(super) fn read(path: &Path, name: &str) -> Result<EditSet, EditError> {
    let malformed = |reason: String| EditError::Malformed { path: path.to_owned(), reason };
    let file = File::open(path).at("open", path)?;
    let builder = parquet_file::open(file, &schema()).map_err(malformed)?;
    let key = |key: &str| {
        let found = parquet_file::key(builder.metadata(), key);
        found.ok_or_else(|| malformed(format!("the metadata key whence.{key} is missing")))
    };
    let format = key("format")?;
    if format != FORMAT {
        return Err(malformed(format!("expected format {FORMAT:?}, got {format:?}")));
    }
    let mut set = EditSet {
        name: name.to_owned(),
        n_pairs: key("n_pairs")?.parse().map_err(|_| malformed("whence.n_pairs is no number".into()))?,
        pairs_sha256: key("pairs_sha256")?,
        origin: Origin {
            how: key("how")?,
            from: key("from")?,
            from_sha256: key("from_sha256")?,
            seed: key("seed").ok().and_then(|seed| seed.parse().ok()),
        },
        edits: Vec::new(),
    };
    let reader = builder.build().map_err(|error| malformed(error.to_string()))?;
    for batch in reader {
        let batch = batch.map_err(|error| malformed(error.to_string()))?;
        if batch.columns()[..5].iter().any(|column| column.null_count() > 0) {
            return Err(malformed("a value is null".into()));
        }
        let text = |column: usize, i: usize| batch.column(column).as_string::<i32>().value(i);
        let (scores, ranks) =
            (batch.column(5).as_primitive::<Float32Type>(), batch.column(6).as_primitive::<UInt32Type>());
        for i in 0..batch.num_rows() {
            let row = batch.column(0).as_primitive::<UInt32Type>().value(i);
            let is_next = set.edits.last().is_none_or(|last| last.row < row) && (row as usize) < set.n_pairs;
            let action = text(3, i).parse::<Decision>().map_err(malformed)?;
            if !is_next || action == Decision::Keep {
                return Err(malformed(format!("row {row} is out of order, out of range or kept")));
            }
            set.edits.push(Edit {
                row,
                id: text(1, i).to_owned(),
                sha256: text(2, i).to_owned(),
                action,
                reason: text(4, i).to_owned(),
                score: scores.is_valid(i).then(|| scores.value(i)),
                rank: ranks.is_valid(i).then(|| ranks.value(i)),
            });
        }
    }
    Ok(set)
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("row", DataType::UInt32, false),
        Field::new("id", DataType::Utf8, false),
        Field::new("sha256", DataType::Utf8, false),
        Field::new("action", DataType::Utf8, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("score", DataType::Float32, true),
        Field::new("rank", DataType::UInt32, true),
    ])
}

pub(super) fn write_error(path: &Path, error: ParquetError) -> EditError {
    match error {
        ParquetError::External(source) if source.is::<std::io::Error>() => {
            let source = *source.downcast().expect("just checked");
            FileError { action: "write", path: path.to_owned(), source }.into()
        }
        error => EditError::Malformed { path: path.to_owned(), reason: error.to_string() },
    }
}
