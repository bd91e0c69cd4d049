//! The rows of a data file as JSON objects, one at a time, whatever the file's kind. Between [`super::inputs`], which
//! finds files, and [`super::forms`], which understands rows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec;

use flate2::bufread::MultiGzDecoder;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::{Map, Value};
use thiserror::Error;

use super::columns;
use super::inputs::{DataFile, FileKind};
use crate::files::{Context, FileError};

/// Longest line of a JSONL file in bytes; a longer one is refused, so that no file can use up the memory.
pub const MAX_LINE_BYTES: usize = 64 << 20;

// Rows of a Parquet file held as JSON at once.
const ROWS_PER_BATCH: usize = 256;

/// What makes a whole file unreadable.
#[derive(Debug, Error)]
pub enum RowsError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A gzip stream that ends early or is damaged.
    #[error(
        "{}: line {line}: the gzip data is truncated or damaged ({source}): copy or download the file again",
        path.display()
    )]
    Gzip {
        /// The file.
        path: PathBuf,
        /// Line in which it ends, from 1.
        line: usize,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// A Parquet file that ends early or is damaged.
    #[error("{}: not a complete Parquet file ({reason}): copy or download the file again", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// A Parquet file without preference pairs.
    #[error(
        "{}: expected columns \"chosen\" and \"rejected\" (and \"prompt\" where they hold only the responses), got {got}; \
         rename the columns or leave the file out",
        path.display()
    )]
    Columns {
        /// The file.
        path: PathBuf,
        /// The columns it has.
        got: String,
    },
    /// One JSON array instead of lines.
    #[error(
        "{}: this is one JSON array, expected one JSON object per line; convert it with `jq -c '.[]'`",
        path.display()
    )]
    Array {
        /// The file.
        path: PathBuf,
    },
}

/// One row: its number and either its columns or why it is refused.
pub type Row = (usize, Result<Map<String, Value>, String>);

/// Streams the rows of one file. Rows are numbered from 1: by line in JSONL, by row in Parquet. Blank lines are no rows.
pub struct Rows {
    path: PathBuf,
    n_bytes: u64,
    n_bytes_read: Arc<AtomicU64>,
    source: Source,
}

enum Source {
    Lines {
        reader: Box<dyn BufRead>,
        line: usize,
        gzipped: bool,
    },
    Parquet {
        reader: Box<ParquetRecordBatchReader>,
        batch: vec::IntoIter<Map<String, Value>>,
        row: usize,
        n_rows: usize,
    },
    Done,
}

impl Rows {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or is a Parquet file that is damaged or lacks the columns of a pair.
    pub fn open(file: &DataFile) -> Result<Self, RowsError> {
        let path = &file.path;
        let opened = File::open(path).at("open", path)?;
        let n_bytes_read = Arc::new(AtomicU64::new(0));
        let source = match file.kind {
            FileKind::Parquet => open_parquet(path, opened)?,
            kind => {
                let gzipped = kind == FileKind::GzippedJsonLines;
                let counted = BufReader::with_capacity(1 << 17, Counted { file: opened, n: n_bytes_read.clone() });
                let mut reader: Box<dyn BufRead> = if gzipped {
                    Box::new(BufReader::with_capacity(1 << 17, MultiGzDecoder::new(counted)))
                } else {
                    Box::new(counted)
                };
                skip_byte_order_mark(&mut reader).map_err(|source| line_error(path, 1, gzipped, source))?;
                Source::Lines { reader, line: 0, gzipped }
            }
        };
        Ok(Self { path: path.clone(), n_bytes: file.n_bytes, n_bytes_read, source })
    }

    /// Bytes of the file that have been read, as far as known.
    pub fn n_bytes_read(&self) -> u64 {
        match &self.source {
            Source::Lines { .. } => self.n_bytes_read.load(Ordering::Relaxed),
            Source::Parquet { row, n_rows, .. } => (self.n_bytes as f64 * *row as f64 / (*n_rows).max(1) as f64) as u64,
            Source::Done => self.n_bytes,
        }
    }

    fn next_row(&mut self) -> Result<Option<Row>, RowsError> {
        match &mut self.source {
            Source::Done => Ok(None),
            Source::Lines { reader, line, gzipped } => loop {
                *line += 1;
                let read = read_line(reader).map_err(|source| line_error(&self.path, *line, *gzipped, source))?;
                let Some(bytes) = read else { return Ok(None) };
                let Some(bytes) = bytes else {
                    return Ok(Some((*line, Err(format!("the line is longer than {} MiB", MAX_LINE_BYTES >> 20)))));
                };
                if bytes.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                if *line == 1 && bytes.trim_ascii_start().starts_with(b"[") {
                    return Err(RowsError::Array { path: self.path.clone() });
                }
                return Ok(Some((*line, parse(&bytes))));
            },
            Source::Parquet { reader, batch, row, .. } => loop {
                if let Some(columns) = batch.next() {
                    *row += 1;
                    return Ok(Some((*row, Ok(columns))));
                }
                let damaged = |reason: String| RowsError::Parquet { path: self.path.clone(), reason };
                match reader.next() {
                    None => return Ok(None),
                    Some(read) => {
                        let read = read.map_err(|error| damaged(error.to_string()))?;
                        *batch = columns::rows(&read).map_err(|error| damaged(error.to_string()))?.into_iter();
                    }
                }
            },
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_row().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.source = Source::Done;
        }
        next
    }
}

fn open_parquet(path: &Path, file: File) -> Result<Source, RowsError> {
    let damaged =
        |error: parquet::errors::ParquetError| RowsError::Parquet { path: path.to_owned(), reason: error.to_string() };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
    let has = |name: &str| builder.schema().field_with_name(name).is_ok();
    if !(has("chosen") && has("rejected")) {
        let names: Vec<&str> = builder.schema().fields().iter().map(|field| field.name().as_str()).collect();
        return Err(RowsError::Columns { path: path.to_owned(), got: names.join(", ") });
    }
    let n_rows = builder.metadata().file_metadata().num_rows().max(0) as usize;
    let reader = builder.with_batch_size(ROWS_PER_BATCH).build().map_err(damaged)?;
    Ok(Source::Parquet { reader: Box::new(reader), batch: Vec::new().into_iter(), row: 0, n_rows })
}

fn line_error(path: &Path, line: usize, gzipped: bool, source: io::Error) -> RowsError {
    if gzipped {
        RowsError::Gzip { path: path.to_owned(), line, source }
    } else {
        FileError { action: "read", path: path.to_owned(), source }.into()
    }
}

fn parse(line: &[u8]) -> Result<Map<String, Value>, String> {
    let text =
        std::str::from_utf8(line).map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to() + 1))?;
    match serde_json::from_str(text) {
        Ok(Value::Object(columns)) => Ok(columns),
        Ok(other) => Err(format!("expected a JSON object, got {}", kind_of(&other))),
        Err(error) => Err(format!("not valid JSON at column {}: {}", error.column(), without_place(&error))),
    }
}

/// What a JSON value is, for messages.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

// serde_json counts lines within the text it was given, which here is always line 1 and would mislead.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// The next line without its end: `None` at the end of the file, `Some(None)` when it is too long.
fn read_line(reader: &mut dyn BufRead) -> io::Result<Option<Option<Vec<u8>>>> {
    let mut line = Vec::new();
    let n_bytes = reader.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
    if n_bytes == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if n_bytes > MAX_LINE_BYTES {
        skip_line(reader)?;
        return Ok(Some(None));
    }
    Ok(Some(Some(line)))
}

fn skip_line(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let (n_bytes, ended) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(n_bytes);
        if ended {
            return Ok(());
        }
    }
}

fn skip_byte_order_mark(reader: &mut dyn BufRead) -> io::Result<()> {
    if reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    Ok(())
}

/// A file that counts what is read of it, for progress.
struct Counted {
    file: File,
    n: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.file.read(buffer)?;
        self.n.fetch_add(n_bytes as u64, Ordering::Relaxed);
        Ok(n_bytes)
    }
}
