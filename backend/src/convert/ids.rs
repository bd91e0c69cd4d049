//! Ids of vectors made elsewhere: which pair each belongs to.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array as _, ArrayRef};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::ConvertError;
use crate::files::{self, Context};

/// Ids in file order: column `id` of a Parquet file, `id` (or the text itself) of each line of JSONL, else the lines.
///
/// # Errors
///
/// When the file cannot be read or a line has no id.
pub fn read(path: &Path) -> Result<Vec<String>, ConvertError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("parquet") => {
            let expected = || malformed(path, "it has no column \"id\"".into());
            column(path)?.ok_or_else(expected)
        }
        Some("jsonl") => json_lines(path),
        _ => {
            let text = String::from_utf8(files::read(path)?).map_err(|error| malformed(path, error.to_string()))?;
            Ok(text.lines().map(str::to_owned).collect())
        }
    }
}

/// Column `id` of a Parquet file, if it has one.
///
/// # Errors
///
/// When the file cannot be read or an id is null or no text.
pub fn column(path: &Path) -> Result<Option<Vec<String>>, ConvertError> {
    let broken = |error: &dyn std::fmt::Display| malformed(path, format!("not a readable Parquet file: {error}"));
    let file = File::open(path).at("open", path)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(&error))?;
    if builder.schema().field_with_name("id").is_err() {
        return Ok(None);
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["id"]);
    let reader = builder.with_projection(mask).build().map_err(|error| broken(&error))?;
    let mut ids = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| broken(&error))?;
        let column = batch.column(0);
        for i in 0..column.len() {
            let id = text(column, i).ok_or_else(|| {
                malformed(path, format!("id of row {}: expected text, got {}", ids.len(), column.data_type()))
            })?;
            ids.push(id);
        }
    }
    Ok(Some(ids))
}

fn text(column: &ArrayRef, i: usize) -> Option<String> {
    match column.data_type() {
        _ if column.is_null(i) => None,
        DataType::Utf8 => Some(column.as_string::<i32>().value(i).to_owned()),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(i).to_owned()),
        DataType::Utf8View => Some(column.as_string_view().value(i).to_owned()),
        _ => None,
    }
}

fn json_lines(path: &Path) -> Result<Vec<String>, ConvertError> {
    let mut ids = Vec::new();
    for (line, number) in files::read(path)?.split(|&byte| byte == b'\n').zip(1..) {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let value: serde_json::Value =
            serde_json::from_slice(line).map_err(|error| malformed(path, format!("line {number}: {error}")))?;
        let id = value.get("id").unwrap_or(&value).as_str();
        let id = id.ok_or_else(|| malformed(path, format!("line {number}: expected {{\"id\": text}} or text")))?;
        ids.push(id.to_owned());
    }
    Ok(ids)
}

fn malformed(path: &Path, reason: String) -> ConvertError {
    ConvertError::Ids { path: path.to_owned(), reason }
}
