//! Small tables, a JSON object per line, CSV or Parquet, by the file's ending. Read whole: test prompts and rollouts for
//! [`crate::behavior`], decisions for [`crate::edit`], labels for [`crate::judge`].

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};
use thiserror::Error;
use whence_shared::pair::one_line;

use super::columns;
use crate::files::{self, Context, FileError};

/// What gzipped data begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Characters of a value that a message quotes.
const QUOTED_CHARS: usize = 200;

/// What is wrong with such a file.
#[derive(Debug, Error)]
pub enum LinesError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line that cannot be read.
    #[error("{}: {reason}", place(path, *line))]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A gzip stream that ends early or is damaged.
    #[error("{path}: the gzip data is truncated or damaged ({reason}): copy or download the file again", path = path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// A Parquet file that ends early or is damaged.
    #[error("{path}: not a complete Parquet file ({reason}): copy or download the file again", path = path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
}

/// An object after the number of the line that it begins in, or of its row in Parquet, from 1. Fields of CSV are text,
/// absent ones empty.
pub type Line = (usize, Map<String, Value>);

type Wrong = (usize, String);

/// What a file's numbers count, for messages: `line`, or `row` in Parquet.
pub fn unit(path: &Path) -> &'static str {
    if has_ending(path, "parquet") { "row" } else { "line" }
}

/// Where something stands, for messages: `FILE line 3`.
pub fn place(path: &Path, number: usize) -> String {
    format!("{} {} {number}", path.display(), unit(path))
}

/// Reads a file: CSV (RFC 4180, names in the first line) where it ends in `.csv`, Parquet where it ends in `.parquet`, else
/// JSONL. CSV and JSONL may be gzipped, which their first bytes say; `.gz` then follows the ending. Blank lines are skipped.
///
/// # Errors
///
/// [`LinesError`] naming the first line that cannot be read.
pub fn read(path: &Path) -> Result<Vec<Line>, LinesError> {
    if has_ending(path, "parquet") {
        return parquet(path);
    }
    let mut bytes = files::read(path)?;
    let mut named = path.to_owned();
    if bytes.starts_with(&GZIP_MAGIC) {
        let mut unpacked = Vec::new();
        let read = MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked);
        read.map_err(|error| LinesError::Gzip { path: path.to_owned(), reason: error.to_string() })?;
        bytes = unpacked;
        if has_ending(path, "gz") {
            named.set_extension("");
        }
    }
    let wrong = |(line, reason)| LinesError::Line { path: path.to_owned(), line, reason };
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        wrong((line, "not UTF-8".into()))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if has_ending(&named, "csv") { csv(text) } else { jsonl(text) }.map_err(wrong)
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|there| there.eq_ignore_ascii_case(ending))
}

fn parquet(path: &Path) -> Result<Vec<Line>, LinesError> {
    let damaged = |reason: String| LinesError::Parquet { path: path.to_owned(), reason };
    let file = File::open(path).at("open", path)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(ParquetRecordBatchReaderBuilder::build);
    let mut rows = Vec::new();
    for batch in reader.map_err(|error| damaged(error.to_string()))? {
        let batch = batch.map_err(|error| damaged(error.to_string()))?;
        rows.extend(columns::rows(&batch).map_err(|error| damaged(error.to_string()))?);
    }
    Ok((1..).zip(rows).collect())
}

/// A value as text: text itself, or a number or truth value as JSON writes it; `None` when absent, null or empty.
///
/// # Errors
///
/// When it is a list or an object.
pub fn text(columns: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match columns.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        Some(other) => Err(format!("{name:?} is neither text nor a number but {other}")),
    }
}

fn jsonl(text: &str) -> Result<Vec<Line>, Wrong> {
    let mut lines = Vec::new();
    for (line, number) in text.split('\n').zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(Value::Object(columns)) => lines.push((number, columns)),
            Ok(other) => {
                let other = one_line(&other.to_string(), QUOTED_CHARS);
                return Err((number, format!("expected a JSON object, got {other}")));
            }
            Err(error) => return Err((number, format!("not JSON at column {}", error.column()))),
        }
    }
    Ok(lines)
}

/// Records of a CSV file (RFC 4180) under the names of its first line, each with the line that it begins in.
fn csv(text: &str) -> Result<Vec<Line>, Wrong> {
    let mut records = csv_records(text)?.into_iter();
    let Some((_, names)) = records.next() else { return Ok(Vec::new()) };
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    let mut lines = Vec::new();
    for (line, fields) in records {
        if fields.len() != names.len() {
            return Err((line, format!("expected {} fields as in line 1, got {}", names.len(), fields.len())));
        }
        lines.push((line, names.iter().cloned().zip(fields.into_iter().map(Value::String)).collect()));
    }
    Ok(lines)
}

fn csv_records(text: &str) -> Result<Vec<(usize, Vec<String>)>, Wrong> {
    let mut records = Vec::new();
    let (mut line, mut begins_at) = (1, 1);
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let mut opened_at = None;
    while let Some(c) = chars.next() {
        line += usize::from(c == '\n');
        match (c, opened_at) {
            ('"', Some(_)) if chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            ('"', Some(_)) => opened_at = None,
            (c, Some(_)) => field.push(c),
            ('"', None) if field.is_empty() => opened_at = Some(line),
            (',', None) => fields.push(std::mem::take(&mut field)),
            ('\r', None) if chars.peek() == Some(&'\n') => {}
            ('\n', None) => {
                fields.push(std::mem::take(&mut field));
                let record = std::mem::take(&mut fields);
                if record != [""] {
                    records.push((begins_at, record));
                }
                begins_at = line;
            }
            (c, None) => field.push(c),
        }
    }
    if let Some(opened_at) = opened_at {
        return Err((opened_at, "a quoted field is never closed".into()));
    }
    fields.push(field);
    if fields != [""] {
        records.push((begins_at, fields));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use parquet::arrow::ArrowWriter;
    use serde_json::json;

    use super::*;

    fn read_text(name: &str, text: &str) -> Result<Vec<Line>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn csv_fields_may_hold_commas_quotes_and_line_ends() {
        let lines = read_text("t.csv", "\u{feff}a, b\r\n\"x,\"\"y\"\"\n\",2\r\n\r\n,3").unwrap();
        assert_eq!(lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 5]);
        assert_eq!((&lines[0].1["a"], &lines[0].1["b"]), (&Value::from("x,\"y\"\n"), &Value::from("2")));
        assert_eq!(text(&lines[1].1, "a").unwrap(), None);
        assert_eq!(read_text("t.csv", "").unwrap(), []);
    }

    #[test]
    fn parquet_rows_are_as_json_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.Parquet");
        let columns: [(&str, ArrayRef); 2] =
            [("a", Arc::new(StringArray::from(vec![Some("x"), None]))), ("b", Arc::new(Int64Array::from(vec![1, 2])))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let rows = read(&path).unwrap().into_iter().map(|(row, columns)| (row, Value::Object(columns)));
        let expected = [(1, json!({"a": "x", "b": 1})), (2, json!({"a": null, "b": 2}))];
        assert_eq!(rows.collect::<Vec<_>>(), expected);
        assert!(place(&path, 2).ends_with("t.Parquet row 2"));

        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("t.Parquet: not a complete Parquet file"), "{error}");
    }

    #[test]
    fn gzipped_files_are_read_by_their_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let gzip = |text: &str| {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            packed.write_all(text.as_bytes()).unwrap();
            packed.finish().unwrap()
        };
        let json = [gzip("{\"a\":\"1\"}\n"), gzip("{\"a\":\"2\"}\n")].concat();
        let csv = gzip("a\n1\n2\n");
        for (name, packed) in [("t.jsonl.gz", &json), ("t.jsonl", &json), ("t.csv.gz", &csv), ("t.csv", &csv)] {
            let path = folder.path().join(name);
            std::fs::write(&path, packed).unwrap();
            let values: Vec<Value> = read(&path).unwrap().into_iter().map(|(_, line)| line["a"].clone()).collect();
            assert_eq!(values, [Value::from("1"), Value::from("2")], "{name}");
            std::fs::write(&path, &packed[..packed.len() - 9]).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("truncated or damaged"), "{error}");
        }
    }

    #[test]
    fn lines_that_cannot_be_read_are_named() {
        for (name, text, expected) in [
            ("t.csv", "a,b\n1", "line 2: expected 2 fields as in line 1, got 1"),
            ("t.csv", "a\n\"x", "line 2: a quoted field is never closed"),
            ("t.jsonl", "{}\n\n[1]", "line 3: expected a JSON object"),
            ("t.jsonl", "{\"a\":", "line 1: not JSON"),
        ] {
            let error = read_text(name, text).unwrap_err();
            assert!(error.contains(expected) && error.contains(name), "{error}");
        }
    }
}
