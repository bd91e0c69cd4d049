//! Log-probabilities of responses under the reference model: what DPO needs of it, from the pass that makes the vectors.
//!
//! `vectors/logps/00000000.parquet`, one file per row range like the vectors, named by first row:
//!
//! ```text
//! column                          type      meaning
//! row                             uint32    row of pairs.parquet, from 0
//! id                              string    the pair's id
//! reference_chosen_logps          float32   sum over the chosen response's tokens of log p, in nats (TRL's name)
//! reference_rejected_logps        float32   the same of the rejected response (TRL's name)
//! reference_chosen_mean_logps     float32   its mean per token
//! reference_rejected_mean_logps   float32   its mean per token
//! ```
//!
//! A pair without a vector has nulls. Metadata keys `whence.format`, `whence.first_row` and `whence.inputs` say what the
//! file is; the same numbers give the same bytes. `vectors/logps/manifest.json` is a [`LogpsView`].

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use whence_shared::study::ShardView;

use super::differ::PairLogps;
use super::range::Fault;
use crate::data::parquet_file;

/// The value of the metadata key `whence.format`.
pub const FORMAT: &str = "whence.logps/1";

const NUMBER_COLUMNS: [&str; 4] = [
    "reference_chosen_logps",
    "reference_rejected_logps",
    "reference_chosen_mean_logps",
    "reference_rejected_mean_logps",
];

/// `vectors/logps/manifest.json`: every file, once all are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogpsView {
    /// [`FORMAT`].
    pub format: String,
    /// Rows in all files together: one per pair.
    pub n_rows: usize,
    /// The files, by first row.
    pub shards: Vec<ShardView>,
}

/// The bytes of a file. `ids` and `logps` are of consecutive rows from `first_row`; NaN becomes null.
///
/// # Panics
///
/// Panics when there are not as many ids as log-probabilities.
pub fn write(first_row: usize, ids: &[String], logps: &[PairLogps], inputs: &str) -> Vec<u8> {
    assert_eq!(ids.len(), logps.len(), "one id per pair");
    let numbers = |of: fn(&PairLogps) -> f32| -> ArrayRef {
        Arc::new(logps.iter().map(|pair| Some(of(pair)).filter(|x| !x.is_nan())).collect::<Float32Array>())
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values((first_row as u32..).take(ids.len()))),
        Arc::new(StringArray::from_iter_values(ids)),
        numbers(|pair| pair.chosen_sum),
        numbers(|pair| pair.rejected_sum),
        numbers(|pair| pair.chosen_mean),
        numbers(|pair| pair.rejected_mean),
    ];
    let batch = RecordBatch::try_new(Arc::new(schema()), columns).expect("the columns follow the schema");
    let key = |key: &str, value: &str| KeyValue::new(format!("whence.{key}"), value.to_owned());
    let properties = WriterProperties::builder()
        .set_created_by(concat!("whence ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![
            key("format", FORMAT),
            key("first_row", &first_row.to_string()),
            key("inputs", inputs),
        ]))
        .build();
    let in_memory = "writing into memory does not fail";
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::new(schema()), Some(properties)).expect(in_memory);
    writer.write(&batch).expect(in_memory);
    writer.into_inner().expect(in_memory)
}

/// Whether a file's bytes are whole, of these rows and of this reading.
pub(super) fn check(file: Bytes, rows: &Range<usize>, inputs: &str) -> Result<(), Fault> {
    let broken = |error: &dyn std::fmt::Display| Fault::Broken(error.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(&error))?;
    let stated = |key: &str| parquet_file::key(builder.metadata(), key).unwrap_or_default();
    Fault::unless_same("format", FORMAT, &stated("format"))?;
    Fault::unless_same("model and text form (inputs)", inputs, &stated("inputs"))?;
    Fault::unless_same("first row", &rows.start.to_string(), &stated("first_row"))?;
    let columns = |schema: &Schema| {
        let names = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        names.collect::<Vec<_>>().join(", ")
    };
    Fault::unless_same("columns", &columns(&schema()), &columns(builder.schema()))?;
    // Decoding every page is what shows a damaged one.
    let mut n_rows = 0;
    for batch in builder.build().map_err(|error| broken(&error))? {
        n_rows += batch.map_err(|error| broken(&error))?.num_rows();
    }
    Fault::unless_same("number of rows", &rows.len().to_string(), &n_rows.to_string())
}

fn schema() -> Schema {
    let mut fields = vec![Field::new("row", DataType::UInt32, false), Field::new("id", DataType::Utf8, false)];
    fields.extend(NUMBER_COLUMNS.map(|name| Field::new(name, DataType::Float32, true)));
    Schema::new(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(first_row: usize, n_rows: usize) -> Vec<u8> {
        let ids: Vec<String> = (0..n_rows).map(|i| format!("p{i}")).collect();
        let logps: Vec<PairLogps> = (0..n_rows)
            .map(|i| {
                let x = if i == 1 { f32::NAN } else { -(i as f32) };
                PairLogps { chosen_sum: x, chosen_mean: x / 2.0, rejected_sum: x - 1.0, rejected_mean: x / 3.0 }
            })
            .collect();
        write(first_row, &ids, &logps, "abc")
    }

    #[test]
    fn a_file_is_whole_for_its_own_rows_and_reading_alone() {
        let bytes = file(64, 5);
        assert_eq!(bytes, file(64, 5), "the same numbers give the same bytes");
        let check = |rows: Range<usize>, inputs: &str| check(bytes.clone().into(), &rows, inputs);
        assert!(check(64..69, "abc").is_ok());
        for (rows, inputs, named) in
            [(64..70, "abc", "number of rows"), (0..5, "abc", "first row"), (64..69, "abd", "inputs")]
        {
            let fault = check(rows, inputs).unwrap_err().to_string();
            assert!(fault.contains(named), "{fault}");
        }
    }

    #[test]
    fn truncated_and_damaged_files_are_found() {
        let bytes = file(0, 300);
        for cut in [0, 10, bytes.len() / 2, bytes.len() - 1] {
            assert!(check(bytes[..cut].to_vec().into(), &(0..300), "abc").is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_pair_without_log_probabilities_is_null() {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file(0, 3))).unwrap().build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            for column in NUMBER_COLUMNS {
                let column = batch.column_by_name(column).unwrap();
                assert_eq!((column.null_count(), column.is_null(1)), (1, true));
            }
        }
    }
}
