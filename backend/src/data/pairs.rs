//! `pairs.parquet`: the normalized pairs of a study, written by import and read by everything after it.
//!
//! One row per pair, in import order; the row number is what vectors, rankings and the app refer to.
//!
//! ```text
//! column     type                                    meaning
//! id         string                                  unique in the file
//! prompt     list<struct<role string, content string>>   messages both sides share; may be empty
//! chosen     the same                                what follows on the chosen side; ends with an assistant message
//! rejected   the same                                what follows on the rejected side; ends likewise
//! source     string                                  dataset or generator; empty when unknown
//! metadata   string                                  all other columns of the input row, one JSON object
//! ```
//!
//! That is TRL's conversational explicit-prompt form: `datasets.load_dataset("parquet", …)` reads it as it is. Row
//! groups hold [`ROWS_PER_GROUP`] rows (fewer where texts are huge), so a range of rows is read without the rest.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow_array::builder::{ArrayBuilder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{ChunkReader, Length};
use thiserror::Error;
use whence_shared::pair::{Message, Pair};

use crate::files::{self, AtomicFile, Context, FileError};

/// The value of the file's metadata key `whence.format`.
pub const FORMAT: &str = "whence.pairs/1";
/// Rows per row group.
pub const ROWS_PER_GROUP: usize = 1024;
/// Longest snippet of a pair in tables, in characters.
pub const SNIPPET_CHARS: usize = 160;

// Arrow counts the bytes of a text column in i32. A group is closed long before one column can reach that.
const BYTES_PER_GROUP: usize = 1 << 28;
const TURN_COLUMNS: [&str; 3] = ["prompt", "chosen", "rejected"];

/// What is wrong with a pairs file.
#[derive(Debug, Error)]
pub enum PairFileError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no pairs file.
    #[error("{} does not exist: run `whence import INPUT --study DIR` first", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Not a whole Parquet file, or damaged inside.
    #[error("{}: {source}; the file is truncated or damaged: run `whence import` again with --replace", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader met.
        #[source]
        source: ParquetError,
    },
    /// A Parquet file with other columns.
    #[error(
        "{}: expected column {column:?} of type {expected}, got {got}; a study's pairs are written by `whence import`",
        path.display()
    )]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// Its type in the format.
        expected: String,
        /// What the file has.
        got: String,
    },
    /// A value is null where the format has none.
    #[error("{}: row {row} has a null in column {column:?}; run `whence import` again with --replace", path.display())]
    Null {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// The column.
        column: &'static str,
    },
    /// Rows asked for that are not there.
    #[error("{}: expected rows within 0..{n_rows}, got {first}..{last}", path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// First row asked for.
        first: usize,
        /// Row after the last one asked for.
        last: usize,
        /// Rows in the file.
        n_rows: usize,
    },
}

/// An open pairs file. Reading takes `&self` and may happen from several threads; a file replaced on disk meanwhile
/// does not disturb an open one.
#[derive(Debug)]
pub struct PairFile {
    path: PathBuf,
    file: SharedFile,
    metadata: ArrowReaderMetadata,
    // Row that each group starts at, and the number of rows as the last element.
    group_starts: Vec<usize>,
}

impl PairFile {
    /// Opens `pairs.parquet`, reading only its footer.
    ///
    /// # Errors
    ///
    /// When it is missing, truncated, no Parquet file or has other columns.
    pub fn open(path: &Path) -> Result<Self, PairFileError> {
        if !path.exists() {
            return Err(PairFileError::Missing { path: path.to_owned() });
        }
        let file = SharedFile::open(path)?;
        let parquet = |source| PairFileError::Parquet { path: path.to_owned(), source };
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(parquet)?;
        for field in schema().fields() {
            let found = metadata.schema().field_with_name(field.name()).ok();
            if !found.is_some_and(|found| found.data_type().equals_datatype(field.data_type())) {
                return Err(PairFileError::Column {
                    path: path.to_owned(),
                    column: column_name(field.name()),
                    expected: field.data_type().to_string(),
                    got: found.map_or_else(|| "no such column".into(), |found| found.data_type().to_string()),
                });
            }
        }
        let mut group_starts = vec![0];
        for group in metadata.metadata().row_groups() {
            group_starts.push(group_starts[group_starts.len() - 1] + group.num_rows().max(0) as usize);
        }
        Ok(Self { path: path.to_owned(), file, metadata, group_starts })
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.group_starts[self.group_starts.len() - 1]
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file's path, as opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file's contents, in hex. Reads the whole file on every call.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn sha256(&self) -> Result<String, FileError> {
        files::sha256_of_file(&self.path)
    }

    /// The pairs of `rows`, in row order. Reads only the row groups that hold them.
    ///
    /// # Errors
    ///
    /// When the range is not within the file or the file is damaged.
    pub fn read(&self, rows: Range<usize>) -> Result<Vec<Pair>, PairFileError> {
        if rows.start > rows.end || rows.end > self.len() {
            return Err(PairFileError::Range {
                path: self.path.clone(),
                first: rows.start,
                last: rows.end,
                n_rows: self.len(),
            });
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        // The group of a row is the last one that starts at or before it (empty groups start where the next one does).
        let first_group = self.group_starts.partition_point(|&start| start <= rows.start) - 1;
        let last_group = self.group_starts.partition_point(|&start| start < rows.end) - 1;
        let parquet = |source| PairFileError::Parquet { path: self.path.clone(), source };
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone())
            .with_row_groups((first_group..=last_group).collect())
            .with_offset(rows.start - self.group_starts[first_group])
            .with_limit(rows.len())
            .with_batch_size(ROWS_PER_GROUP.min(rows.len()))
            .build()
            .map_err(parquet)?;
        let mut pairs = Vec::with_capacity(rows.len());
        for batch in reader {
            let batch = batch.map_err(|error| parquet(arrow_as_parquet(error)))?;
            self.append_pairs(&batch, rows.start + pairs.len(), &mut pairs)?;
        }
        if pairs.len() != rows.len() {
            return Err(parquet(ParquetError::General(format!(
                "expected {} rows from row {}, got {}",
                rows.len(),
                rows.start,
                pairs.len()
            ))));
        }
        Ok(pairs)
    }

    /// All pairs in row order, one row group in memory at a time.
    pub fn iter(&self) -> PairIter<'_> {
        PairIter { file: self, next_group: 0, pairs: VecDeque::new() }
    }

    /// Calls `visit` with the pairs of some rows, given in ascending order. Reads the row groups that they lie in, one in
    /// memory at a time.
    ///
    /// # Errors
    ///
    /// When a row is not within the file or the file is damaged.
    pub fn visit_rows(&self, rows: &[u32], mut visit: impl FnMut(u32, Pair)) -> Result<(), PairFileError> {
        let group_of = |row: u32| self.group_starts.partition_point(|&start| start <= row as usize);
        for rows in rows.chunk_by(|a, b| group_of(*a) == group_of(*b)) {
            let (first, last) = (rows[0], rows[rows.len() - 1]);
            for (row, pair) in (first..).zip(self.read(first as usize..last as usize + 1)?) {
                if rows.binary_search(&row).is_ok() {
                    visit(row, pair);
                }
            }
        }
        Ok(())
    }

    /// Ids of all pairs, in row order. Reads nothing else.
    ///
    /// # Errors
    ///
    /// When the file is damaged.
    pub fn ids(&self) -> Result<Vec<String>, PairFileError> {
        self.texts("id")
    }

    /// Sources of all pairs, in row order. Reads nothing else.
    ///
    /// # Errors
    ///
    /// When the file is damaged.
    pub fn sources(&self) -> Result<Vec<String>, PairFileError> {
        self.texts("source")
    }

    fn texts(&self, name: &'static str) -> Result<Vec<String>, PairFileError> {
        let parquet = |source| PairFileError::Parquet { path: self.path.clone(), source };
        let column = ProjectionMask::columns(self.metadata.metadata().file_metadata().schema_descr(), [name]);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone())
            .with_projection(column)
            .with_batch_size(ROWS_PER_GROUP)
            .build()
            .map_err(parquet)?;
        let mut texts = Vec::with_capacity(self.len());
        for batch in reader {
            let batch = batch.map_err(|error| parquet(arrow_as_parquet(error)))?;
            let column: &StringArray = batch.column(0).as_string();
            if let Some(i) = (0..column.len()).find(|&i| column.is_null(i)) {
                return Err(PairFileError::Null { path: self.path.clone(), row: texts.len() + i, column: name });
            }
            texts.extend((0..column.len()).map(|i| column.value(i).to_owned()));
        }
        Ok(texts)
    }

    fn append_pairs(&self, batch: &RecordBatch, first_row: usize, pairs: &mut Vec<Pair>) -> Result<(), PairFileError> {
        // Types were checked by `open`, so the columns can be taken for what they are.
        let column = |name: &str| batch.column_by_name(name).expect("checked when the file was opened");
        let text = |name: &'static str, i: usize| -> Result<String, PairFileError> {
            let array: &StringArray = column(name).as_string();
            let null = || PairFileError::Null { path: self.path.clone(), row: first_row + i, column: name };
            if array.is_null(i) { Err(null()) } else { Ok(array.value(i).to_owned()) }
        };
        let messages = |name: &'static str, i: usize| -> Result<Vec<Message>, PairFileError> {
            let null = || PairFileError::Null { path: self.path.clone(), row: first_row + i, column: name };
            let lists = column(name).as_list::<i32>();
            if lists.is_null(i) {
                return Err(null());
            }
            let turns = lists.value(i);
            let turns = turns.as_struct();
            let (roles, contents) = (turns.column(0).as_string::<i32>(), turns.column(1).as_string::<i32>());
            if roles.null_count() + contents.null_count() + turns.null_count() > 0 {
                return Err(null());
            }
            Ok((0..turns.len()).map(|turn| Message::new(roles.value(turn), contents.value(turn))).collect())
        };
        for i in 0..batch.num_rows() {
            pairs.push(Pair {
                id: text("id", i)?,
                prompt: messages("prompt", i)?,
                chosen: messages("chosen", i)?,
                rejected: messages("rejected", i)?,
                source: text("source", i)?,
                metadata: text("metadata", i)?,
            });
        }
        Ok(())
    }
}

impl<'a> IntoIterator for &'a PairFile {
    type Item = Result<Pair, PairFileError>;
    type IntoIter = PairIter<'a>;

    fn into_iter(self) -> PairIter<'a> {
        self.iter()
    }
}

/// Streams the pairs of a file. After an error it ends.
#[derive(Debug)]
pub struct PairIter<'a> {
    file: &'a PairFile,
    next_group: usize,
    pairs: VecDeque<Pair>,
}

impl Iterator for PairIter<'_> {
    type Item = Result<Pair, PairFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        let starts = &self.file.group_starts;
        while self.pairs.is_empty() && self.next_group + 1 < starts.len() {
            match self.file.read(starts[self.next_group]..starts[self.next_group + 1]) {
                Ok(pairs) => self.pairs = pairs.into(),
                Err(error) => {
                    self.next_group = starts.len();
                    return Some(Err(error));
                }
            }
            self.next_group += 1;
        }
        self.pairs.pop_front().map(Ok)
    }
}

/// Writes a pairs file atomically, one row group in memory at a time. The same pairs give the same bytes.
pub struct PairWriter {
    path: PathBuf,
    writer: ArrowWriter<AtomicFile>,
    columns: Columns,
    n_rows: usize,
}

impl PairWriter {
    /// Starts a file that takes the place of `path` when [`PairWriter::commit`] succeeds.
    ///
    /// # Errors
    ///
    /// When the folder or a temporary file cannot be created.
    pub fn create(path: &Path) -> Result<Self, PairFileError> {
        let file = AtomicFile::create(path)?;
        let properties = WriterProperties::builder()
            .set_created_by(concat!("whence ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_key_value_metadata(Some(vec![KeyValue::new("whence.format".to_owned(), FORMAT.to_owned())]))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::new(schema()), Some(properties))
            .map_err(|error| write_error(path, error))?;
        Ok(Self { path: path.to_owned(), writer, columns: Columns::new(), n_rows: 0 })
    }

    /// Appends one pair.
    ///
    /// # Errors
    ///
    /// When the disk is full.
    pub fn push(&mut self, pair: &Pair) -> Result<(), PairFileError> {
        self.columns.push(pair);
        self.n_rows += 1;
        if self.columns.n_rows() == ROWS_PER_GROUP || self.columns.n_bytes >= BYTES_PER_GROUP {
            self.flush()?;
        }
        Ok(())
    }

    /// Pairs appended so far.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Finishes the file and gives it its name.
    ///
    /// # Errors
    ///
    /// When the disk is full or the rename is refused; the path is then as it was before.
    pub fn commit(mut self) -> Result<(), PairFileError> {
        self.flush()?;
        let file = self.writer.into_inner().map_err(|error| write_error(&self.path, error))?;
        Ok(file.commit()?)
    }

    fn flush(&mut self) -> Result<(), PairFileError> {
        if self.columns.n_rows() == 0 {
            return Ok(());
        }
        let batch = self.columns.take();
        self.writer.write(&batch).and_then(|()| self.writer.flush()).map_err(|error| write_error(&self.path, error))
    }
}

fn write_error(path: &Path, error: ParquetError) -> PairFileError {
    // The Parquet writer wraps what the file system said; the remedy depends on it.
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => FileError { action: "write", path: path.to_owned(), source: *source }.into(),
            Err(source) => PairFileError::Parquet { path: path.to_owned(), source: ParquetError::External(source) },
        },
        source => PairFileError::Parquet { path: path.to_owned(), source },
    }
}

fn arrow_as_parquet(error: ArrowError) -> ParquetError {
    match error {
        ArrowError::ParquetError(text) => ParquetError::General(text),
        error => ParquetError::ArrowError(error.to_string()),
    }
}

/// Columns of the row group being filled.
struct Columns {
    id: StringBuilder,
    turns: [ListBuilder<StructBuilder>; 3],
    source: StringBuilder,
    metadata: StringBuilder,
    n_bytes: usize,
}

impl Columns {
    fn new() -> Self {
        let turns = || {
            let texts = (0..2).map(|_| Box::new(StringBuilder::new()) as Box<dyn ArrayBuilder>).collect();
            ListBuilder::new(StructBuilder::new(message_fields(), texts)).with_field(message_field())
        };
        Self {
            id: StringBuilder::new(),
            turns: [turns(), turns(), turns()],
            source: StringBuilder::new(),
            metadata: StringBuilder::new(),
            n_bytes: 0,
        }
    }

    fn n_rows(&self) -> usize {
        self.id.len()
    }

    fn push(&mut self, pair: &Pair) {
        self.id.append_value(&pair.id);
        for (column, messages) in self.turns.iter_mut().zip([&pair.prompt, &pair.chosen, &pair.rejected]) {
            for message in messages {
                let turn = column.values();
                for (i, text) in [&message.role, &message.content].into_iter().enumerate() {
                    turn.field_builder::<StringBuilder>(i).expect("both fields are text").append_value(text);
                    self.n_bytes += text.len();
                }
                turn.append(true);
            }
            column.append(true);
        }
        self.source.append_value(&pair.source);
        self.metadata.append_value(&pair.metadata);
        self.n_bytes += pair.id.len() + pair.source.len() + pair.metadata.len();
    }

    fn take(&mut self) -> RecordBatch {
        self.n_bytes = 0;
        let [prompt, chosen, rejected] = &mut self.turns;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.id.finish()),
            Arc::new(prompt.finish()),
            Arc::new(chosen.finish()),
            Arc::new(rejected.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.metadata.finish()),
        ];
        RecordBatch::try_new(Arc::new(schema()), columns).expect("the builders follow the schema")
    }
}

fn message_fields() -> Fields {
    Fields::from(vec![Field::new("role", DataType::Utf8, false), Field::new("content", DataType::Utf8, false)])
}

fn message_field() -> Field {
    Field::new("element", DataType::Struct(message_fields()), false)
}

fn schema() -> Schema {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let turns = |name: &str| Field::new(name, DataType::List(Arc::new(message_field())), false);
    let [prompt, chosen, rejected] = TURN_COLUMNS.map(turns);
    Schema::new(vec![text("id"), prompt, chosen, rejected, text("source"), text("metadata")])
}

fn column_name(name: &str) -> &'static str {
    ["id", "prompt", "chosen", "rejected", "source", "metadata"]
        .into_iter()
        .find(|column| *column == name)
        .expect("the name is one of the schema's")
}

/// A file that several readers read at once, each at its own place.
///
/// Cloned `File` handles share one position, which makes Parquet's own reader unsafe to use from two threads.
#[derive(Debug, Clone)]
struct SharedFile {
    file: Arc<Mutex<File>>,
    n_bytes: u64,
}

impl SharedFile {
    fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path).at("open", path)?;
        let n_bytes = file.metadata().at("read", path)?.len();
        Ok(Self { file: Arc::new(Mutex::new(file)), n_bytes })
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.n_bytes
    }
}

impl ChunkReader for SharedFile {
    type T = BufReader<Place>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(Place { file: self.file.clone(), position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let mut buffer = vec![0; length];
        let mut place = Place { file: self.file.clone(), position: start };
        place.read_exact(&mut buffer)?;
        Ok(buffer.into())
    }
}

/// A place in a [`SharedFile`].
struct Place {
    file: Arc<Mutex<File>>,
    position: u64,
}

impl Read for Place {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(self.position))?;
        let n_bytes = file.read(buffer)?;
        self.position += n_bytes as u64;
        Ok(n_bytes)
    }
}

#[cfg(test)]
#[path = "pairs_tests.rs"]
mod tests;
