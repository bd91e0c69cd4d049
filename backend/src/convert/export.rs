//! A layer's vectors for other programs: `.npy` and safetensors with the ids beside them, Parquet with the ids in it.
//!
//! ```text
//! OUT.npy            [n_pairs, d_model] numbers as stored
//! OUT.safetensors    tensor vectors [n_pairs, d_model] as stored; metadata layer, inputs
//! OUT.parquet        columns id, vector (list of f32)
//! OUT.ids.jsonl      beside the first two: {"id": …} per row, in the same order
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use whence_shared::shard::StoreDtype;

use super::ConvertError;
use super::array::npy_head;
use crate::data::pairs::PairFile;
use crate::extract::{LayerFiles, VectorsManifest};
use crate::files::{self, AtomicFile, Context, FileError};
use crate::progress::{Report, Update};
use crate::study::Study;

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Files, the vectors first.
    pub files: Vec<PathBuf>,
    /// Vectors.
    pub n_rows: usize,
    /// Width of a vector.
    pub d_model: usize,
}

/// Writes a layer's vectors and the pairs' ids to `out`, atomically, one vector file of the study in memory at a time.
/// Other contents that are there are overwritten only where `replace`.
///
/// # Errors
///
/// [`ConvertError`]: no such layer, damaged files, a name that says nothing, something else in the way, a full disk.
pub fn export(
    study: &Study,
    layer: usize,
    out: &Path,
    replace: bool,
    report: Report,
) -> Result<Exported, ConvertError> {
    let manifest = VectorsManifest::required(study)?;
    let complete = study.complete_layers()?;
    if !complete.contains(&layer) {
        return Err(ConvertError::LayerIncomplete { layer, study: study.root().to_owned(), complete });
    }
    let vectors = LayerFiles::open(study, layer, &manifest)?;
    let ids = PairFile::open(&study.pairs())?.ids()?;
    let view = vectors.view();
    if ids.len() != view.n_rows {
        let (path, got, remedy) = (study.layer_manifest(layer), view.n_rows, "extract again");
        return Err(ConvertError::Count { path, got, expected: ids.len(), of: "pairs in the study", remedy });
    }
    let (n_rows, d_model) = (view.n_rows, view.d_model);
    let say = |done: usize| {
        let (done, total) = (done as u64, n_rows as u64);
        report(Update { stage: "convert", done, total, unit: "vectors", detail: String::new() });
    };
    let ending = out.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let head = match ending {
        "parquet" => {
            commit(write_parquet(out, &vectors, &ids, &say)?, out, replace)?;
            say(n_rows);
            return Ok(Exported { files: vec![out.to_owned()], n_rows, d_model });
        }
        "npy" => npy_head(if view.dtype == StoreDtype::F32 { "<f4" } else { "<f2" }, n_rows, d_model),
        "safetensors" => safetensors_head(&vectors),
        _ => return Err(ConvertError::Ending { path: out.to_owned() }),
    };
    let ids_path = out.with_extension("ids.jsonl");
    let lines: String = ids.iter().map(|id| serde_json::json!({ "id": id }).to_string() + "\n").collect();
    if !replace && ids_path.exists() && files::read(&ids_path)? != lines.as_bytes() {
        return Err(ConvertError::OutExists { path: ids_path });
    }
    let mut file = AtomicFile::create(out)?;
    file.write_all(&head).at("write", out)?;
    for (i, shard) in view.shards.iter().enumerate() {
        say(shard.first_row);
        let mapped = vectors.map(i, true)?;
        file.write_all(mapped.vectors().0).at("write", out)?;
    }
    commit(file, out, replace)?;
    say(n_rows);
    files::write(&ids_path, lines.as_bytes())?;
    Ok(Exported { files: vec![out.to_owned(), ids_path], n_rows, d_model })
}

/// Gives a written file its name, unless that is another's.
fn commit(file: AtomicFile, out: &Path, replace: bool) -> Result<(), ConvertError> {
    if !replace && file.is_other_than_there()? {
        return Err(ConvertError::OutExists { path: out.to_owned() });
    }
    Ok(file.commit()?)
}

fn safetensors_head(vectors: &LayerFiles) -> Vec<u8> {
    let view = vectors.view();
    let dtype = if view.dtype == StoreDtype::F32 { "F32" } else { "F16" };
    let mut header = format!(
        "{{\"__metadata__\":{{\"inputs\":\"{}\",\"layer\":\"{}\"}},\
         \"vectors\":{{\"data_offsets\":[0,{}],\"dtype\":\"{dtype}\",\"shape\":[{},{}]}}}}",
        vectors.inputs(),
        view.layer,
        view.n_rows * view.d_model * view.dtype.n_bytes(),
        view.n_rows,
        view.d_model
    );
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

fn write_parquet(
    out: &Path,
    vectors: &LayerFiles,
    ids: &[String],
    say: &dyn Fn(usize),
) -> Result<AtomicFile, ConvertError> {
    let failed = |error: ParquetError| match error {
        ParquetError::External(source) if source.is::<std::io::Error>() => {
            let source = *source.downcast().expect("just checked");
            FileError { action: "write", path: out.to_owned(), source }.into()
        }
        error => ConvertError::Option(format!("{}: {error}", out.display())),
    };
    let d_model = vectors.view().d_model;
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let list = DataType::FixedSizeList(item.clone(), d_model as i32);
    let schema =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, false), Field::new("vector", list, false)]));
    let properties = WriterProperties::builder()
        .set_created_by(concat!("whence ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .build();
    let file = AtomicFile::create(out)?;
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(failed)?;
    for (i, shard) in vectors.view().shards.iter().enumerate() {
        say(shard.first_row);
        let values = Float32Array::from(vectors.map(i, true)?.shard().to_f32());
        let rows = FixedSizeListArray::new(item.clone(), d_model as i32, Arc::new(values), None);
        let names = StringArray::from_iter_values(&ids[shard.first_row..shard.first_row + shard.n_rows]);
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(names), Arc::new(rows)])
            .expect("the columns follow the schema");
        writer.write(&batch).map_err(failed)?;
        // One row group per vector file: memory does not grow with their number.
        writer.flush().map_err(failed)?;
    }
    writer.into_inner().map_err(failed)
}
