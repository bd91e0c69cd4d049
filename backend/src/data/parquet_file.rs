//! What every reader of our own Parquet files asks first: whether it has the columns, and what its metadata says.

use std::fs::File;

use arrow_schema::{DataType, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;

/// Opens a file that must have exactly these columns.
///
/// # Errors
///
/// A text that says what is wrong: not Parquet, or which columns were expected and which are there.
pub fn open(file: File, expected: &Schema) -> Result<ParquetRecordBatchReaderBuilder<File>, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
    let types = |schema: &Schema| -> Vec<(String, DataType)> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    let (expected, got) = (types(expected), types(builder.schema()));
    if expected != got {
        return Err(format!("expected columns {expected:?}, got {got:?}"));
    }
    Ok(builder)
}

/// The value of the metadata key `whence.NAME`.
pub fn key(metadata: &ParquetMetaData, name: &str) -> Option<String> {
    let mut pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    pairs.find(|pair| pair.key.strip_prefix("whence.") == Some(name)).and_then(|pair| pair.value.clone())
}
