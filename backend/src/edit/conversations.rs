//! Pairs in the forms that preference trainers read, as Parquet or JSONL. Used by [`mod@super::export`].
//! What a row holds in each form is in [`whence_shared::edit::conversations`].

use std::fmt;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde::{Deserialize, Serialize};
pub use whence_shared::edit::conversations::TrainerForm;
use whence_shared::edit::conversations::{Prompt, Row, row};
use whence_shared::pair::{Message, Pair};

use super::EditError;
use super::set_file::write_error;
use crate::files::{AtomicFile, Context};

const ROWS_PER_GROUP: usize = 1024;
// Arrow counts the bytes of a text column in i32. A group is closed long before one column can reach that.
const BYTES_PER_GROUP: usize = 1 << 28;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// Parquet.
    #[default]
    Parquet,
    /// A JSON object per line.
    Jsonl,
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
        })
    }
}

impl FromStr for FileFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "parquet" => Ok(Self::Parquet),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(format!("expected parquet or jsonl, got {text:?}")),
        }
    }
}

/// Writes pairs to a file, atomically. The same pairs give the same bytes.
pub struct ConversationWriter {
    path: PathBuf,
    form: TrainerForm,
    file: Output,
}

enum Output {
    Jsonl(Box<BufWriter<AtomicFile>>),
    Parquet(Box<ArrowWriter<AtomicFile>>, Box<Columns>),
}

impl ConversationWriter {
    /// Starts a file that takes the place of `path` when [`ConversationWriter::commit`] succeeds.
    ///
    /// # Errors
    ///
    /// When it cannot be created.
    pub fn create(path: &Path, form: TrainerForm, format: FileFormat) -> Result<Self, EditError> {
        let file = AtomicFile::create(path)?;
        let file = match format {
            FileFormat::Jsonl => Output::Jsonl(Box::new(BufWriter::new(file))),
            FileFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_created_by(concat!("whence ", env!("CARGO_PKG_VERSION")).to_owned())
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_statistics_enabled(EnabledStatistics::None)
                    .build();
                let schema = Arc::new(schema(form));
                let writer =
                    ArrowWriter::try_new(file, schema, Some(properties)).map_err(|error| write_error(path, error))?;
                Output::Parquet(Box::new(writer), Box::new(Columns::new(form)))
            }
        };
        Ok(Self { path: path.to_owned(), form, file })
    }

    /// Appends one pair.
    ///
    /// # Errors
    ///
    /// When the disk is full.
    pub fn push(&mut self, pair: &Pair) -> Result<(), EditError> {
        let row = row(pair, self.form);
        match &mut self.file {
            Output::Jsonl(file) => Ok(file.write_all(row.line().as_bytes()).at("write", &self.path)?),
            Output::Parquet(writer, columns) => {
                columns.push(&row);
                if columns.ids.len() == ROWS_PER_GROUP || columns.n_bytes >= BYTES_PER_GROUP {
                    flush(writer, columns, &self.path)?;
                }
                Ok(())
            }
        }
    }

    /// Finishes the file and gives it its name.
    ///
    /// # Errors
    ///
    /// When the disk is full or the rename is refused; the path is then as it was before.
    pub fn commit(self) -> Result<(), EditError> {
        match self.file {
            Output::Jsonl(file) => {
                let file = file.into_inner().map_err(|error| error.into_error()).at("write", &self.path)?;
                Ok(file.commit()?)
            }
            Output::Parquet(mut writer, mut columns) => {
                flush(&mut writer, &mut columns, &self.path)?;
                Ok(writer.into_inner().map_err(|error| write_error(&self.path, error))?.commit()?)
            }
        }
    }
}

fn flush(writer: &mut ArrowWriter<AtomicFile>, columns: &mut Columns, path: &Path) -> Result<(), EditError> {
    if columns.ids.is_empty() {
        return Ok(());
    }
    let batch = columns.take();
    writer.write(&batch).and_then(|()| writer.flush()).map_err(|error| write_error(path, error))
}

/// Columns of the row group being filled.
struct Columns {
    form: TrainerForm,
    ids: StringBuilder,
    prompt_messages: ListBuilder<StructBuilder>,
    prompt_texts: StringBuilder,
    sides: [ListBuilder<StructBuilder>; 2],
    sources: StringBuilder,
    metadata: StringBuilder,
    n_bytes: usize,
}

impl Columns {
    fn new(form: TrainerForm) -> Self {
        let turns = || {
            let texts = (0..2).map(|_| Box::new(StringBuilder::new()) as Box<dyn ArrayBuilder>).collect();
            ListBuilder::new(StructBuilder::new(message_fields(), texts)).with_field(message_field())
        };
        Self {
            form,
            ids: StringBuilder::new(),
            prompt_messages: turns(),
            prompt_texts: StringBuilder::new(),
            sides: [turns(), turns()],
            sources: StringBuilder::new(),
            metadata: StringBuilder::new(),
            n_bytes: 0,
        }
    }

    fn push(&mut self, row: &Row) {
        self.ids.append_value(row.id);
        match &row.prompt {
            Some(Prompt::Messages(messages)) => {
                self.n_bytes += append(&mut self.prompt_messages, messages.iter());
            }
            Some(Prompt::Text(text)) => {
                self.n_bytes += text.len();
                self.prompt_texts.append_value(text);
            }
            None => self.prompt_texts.append_null(),
        }
        for (column, messages) in self.sides.iter_mut().zip([&row.chosen, &row.rejected]) {
            self.n_bytes += append(column, messages.iter().copied());
        }
        self.sources.append_value(row.source);
        self.metadata.append_value(row.metadata);
        self.n_bytes += row.id.len() + row.source.len() + row.metadata.len();
    }

    fn take(&mut self) -> RecordBatch {
        self.n_bytes = 0;
        let texts = self.prompt_texts.finish();
        let prompt: Option<ArrayRef> = match self.form {
            TrainerForm::Trl => Some(Arc::new(self.prompt_messages.finish())),
            TrainerForm::TrlImplicit => None,
            TrainerForm::OpenInstruct => Some(Arc::new(texts)),
        };
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.ids.finish())];
        columns.extend(prompt);
        columns.extend(self.sides.iter_mut().map(|side| Arc::new(side.finish()) as ArrayRef));
        columns.push(Arc::new(self.sources.finish()));
        columns.push(Arc::new(self.metadata.finish()));
        RecordBatch::try_new(Arc::new(schema(self.form)), columns).expect("the builders follow the schema")
    }
}

/// Appends one list of messages; returns the bytes of its texts.
fn append<'a>(column: &mut ListBuilder<StructBuilder>, messages: impl Iterator<Item = &'a Message>) -> usize {
    let mut n_bytes = 0;
    for message in messages {
        let turn = column.values();
        for (i, text) in [&message.role, &message.content].into_iter().enumerate() {
            turn.field_builder::<StringBuilder>(i).expect("both fields are text").append_value(text);
            n_bytes += text.len();
        }
        turn.append(true);
    }
    column.append(true);
    n_bytes
}

fn message_fields() -> Fields {
    Fields::from(vec![Field::new("role", DataType::Utf8, false), Field::new("content", DataType::Utf8, false)])
}

fn message_field() -> Field {
    Field::new("element", DataType::Struct(message_fields()), false)
}

fn schema(form: TrainerForm) -> Schema {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let turns = |name: &str| Field::new(name, DataType::List(Arc::new(message_field())), false);
    let prompt = match form {
        TrainerForm::Trl => Some(turns("prompt")),
        TrainerForm::TrlImplicit => None,
        TrainerForm::OpenInstruct => Some(Field::new("prompt", DataType::Utf8, true)),
    };
    let fields = [text("id")].into_iter().chain(prompt);
    Schema::new(
        fields.chain([turns("chosen"), turns("rejected"), text("source"), text("metadata")]).collect::<Vec<_>>(),
    )
}
