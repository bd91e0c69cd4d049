//! Vectors made elsewhere, bound to the pairs of a study and stored as one of its layers.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use whence_shared::pair::{Message, Pair};
use whence_shared::shard::{self, ShardHeader, StoreDtype};
use whence_shared::study::{HealthView, LayerView, ModelView, ShardView, SourceView};

use super::array::Numbers;
use super::{Array, ConvertError, ids};
use crate::data::config::{self, StudyConfig};
use crate::data::pairs::{PairFile, PairWriter};
use crate::extract::manifest::{self, ImportedLayer, VectorsManifest};
use crate::files::{self, Context, FileError};
use crate::progress::{Report, Update};
use crate::study::{self, Study};

const ROWS_PER_FILE: usize = 1024;
const N_EXAMPLES: usize = 5;
/// Source of pairs of which only the id is known.
const NO_TEXTS: &str = "without texts";

/// What to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// `.npy`, safetensors or Parquet with a list column; `FILE#NAME` names one of several tensors or columns.
    pub vectors: PathBuf,
    /// Ids of the vectors; else column `id` of the Parquet file, else vectors are in the order of the pairs.
    pub ids: Option<PathBuf>,
    /// The layer to store them as.
    pub layer: usize,
    /// What made them; the file's name when absent.
    pub method: Option<String>,
    /// How to store them; as they are, as far as that is possible, when absent.
    pub store: Option<StoreDtype>,
    /// Give pairs without a vector a zero vector.
    pub allow_missing: bool,
    /// Leave out vectors of what is no pair.
    pub ignore_unknown: bool,
    /// Make a study of the ids alone where there is none.
    pub without_texts: bool,
    /// Discard vectors that are there.
    pub replace: bool,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// What made them.
    pub method: String,
    /// Pairs in the study.
    pub n_pairs: usize,
    /// Width of the vectors.
    pub d_model: usize,
    /// How they are stored.
    pub store: StoreDtype,
    /// Ids of the pairs that had no vector and got zeros.
    pub missing: Vec<String>,
    /// Vectors left out because they are of no pair.
    pub n_unknown: usize,
    /// Whether vectors were bound by id, not by order.
    pub by_id: bool,
}

/// `FILE#NAME` as file and name.
pub fn split_name(path: &Path) -> (PathBuf, Option<String>) {
    match path.to_str().and_then(|text| text.rsplit_once('#')) {
        Some((file, name)) if !path.exists() => (file.into(), Some(name.to_owned())),
        _ => (path.to_owned(), None),
    }
}

/// Imports vectors as a layer of a study.
///
/// # Errors
///
/// [`ConvertError`]; the layer is then absent or as it was, unless what was there was being replaced.
pub fn import(study: &Study, options: &ImportOptions, report: Report) -> Result<Imported, ConvertError> {
    if !options.without_texts {
        // Where there is no study, nothing is made.
        PairFile::open(&study.pairs())?;
    }
    let (path, name) = split_name(&options.vectors);
    let array = Array::open(&path, name.as_deref(), study.root())?;
    if array.width() > shard::MAX_D_MODEL {
        return Err(ConvertError::Width { path, got: array.width(), expected: shard::MAX_D_MODEL });
    }
    let given = match &options.ids {
        Some(file) => Some(ids::read(file)?),
        None if path.extension().is_some_and(|extension| extension == "parquet") => ids::column(&path)?,
        None => None,
    };
    if let Some(ids) = &given
        && ids.len() != array.n_rows()
    {
        let remedy = "expected one id per vector, in the same order";
        return Err(ConvertError::Count { path, got: array.n_rows(), expected: ids.len(), of: "ids", remedy });
    }
    let by_id = given.as_deref().map(positions).transpose()?;
    if options.without_texts {
        make_study(study, given.as_deref(), &array)?;
    }
    let pairs = PairFile::open(&study.pairs())?;
    let pair_ids = pairs.ids()?;
    let Bound { rows, missing, n_unknown } = bind(&path, &array, by_id.as_ref(), &pair_ids, options)?;

    let store = options.store.unwrap_or(match array.numbers() {
        Numbers::F16 => StoreDtype::F16,
        Numbers::I8 | Numbers::Bf16 | Numbers::F32 | Numbers::F64 => StoreDtype::F32,
    });
    check(&path, &array, &rows, store)?;
    let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let method = options.method.clone().unwrap_or_else(stem);
    let layer = ImportedLayer {
        layer: options.layer,
        file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: files::sha256_of_file(&path)?,
        ids_sha256: given.as_ref().map(|ids| study::inputs_hash(&ids.iter().map(String::as_str).collect::<Vec<_>>())),
    };
    let manifest = claim(study, options, (&method, &path), &array, (store, pairs.len(), pairs.sha256()?), layer)?;
    store_layer(study, options.layer, &manifest, &array, &rows, report, &path)?;
    Ok(Imported {
        method,
        n_pairs: pairs.len(),
        d_model: array.width(),
        store,
        missing,
        n_unknown,
        by_id: by_id.is_some(),
    })
}

/// Row of each id.
fn positions(ids: &[String]) -> Result<HashMap<&str, usize>, ConvertError> {
    let mut positions = HashMap::with_capacity(ids.len());
    for (row, id) in ids.iter().enumerate() {
        if let Some(first) = positions.insert(id.as_str(), row) {
            return Err(ConvertError::Duplicate { id: id.clone(), first, second: row });
        }
    }
    Ok(positions)
}

/// Which vector each pair has.
struct Bound {
    /// `[n_pairs]`: row of the array, or none.
    rows: Vec<Option<usize>>,
    missing: Vec<String>,
    n_unknown: usize,
}

fn bind(
    path: &Path,
    array: &Array,
    by_id: Option<&HashMap<&str, usize>>,
    pair_ids: &[String],
    options: &ImportOptions,
) -> Result<Bound, ConvertError> {
    let Some(by_id) = by_id else {
        if array.n_rows() != pair_ids.len() {
            return Err(ConvertError::Count {
                path: path.to_owned(),
                got: array.n_rows(),
                expected: pair_ids.len(),
                of: "pairs in the study",
                remedy: "name the pairs' ids with --ids",
            });
        }
        return Ok(Bound { rows: (0..pair_ids.len()).map(Some).collect(), missing: Vec::new(), n_unknown: 0 });
    };
    let rows: Vec<Option<usize>> = pair_ids.iter().map(|id| by_id.get(id.as_str()).copied()).collect();
    let n_unknown = array.n_rows() - rows.iter().flatten().count();
    if n_unknown > 0 && !options.ignore_unknown {
        let known: std::collections::HashSet<&str> = pair_ids.iter().map(String::as_str).collect();
        let first = by_id.iter().filter(|(id, _)| !known.contains(**id)).min_by_key(|(_, row)| **row);
        let first = first.map_or_else(String::new, |(id, _)| (*id).to_owned());
        return Err(ConvertError::Unknown { n: n_unknown, first });
    }
    let without = pair_ids.iter().zip(&rows).filter(|(_, row)| row.is_none());
    let missing: Vec<String> = without.map(|(id, _)| id.clone()).collect();
    if !missing.is_empty() && !options.allow_missing {
        let examples = missing.iter().take(N_EXAMPLES).map(|id| format!("{id:?}")).collect();
        return Err(ConvertError::Missing { n: missing.len(), n_pairs: pair_ids.len(), examples });
    }
    Ok(Bound { rows, missing, n_unknown })
}

/// Reads every vector once before anything in the study is touched: one that cannot be stored changes nothing.
fn check(path: &Path, array: &Array, rows: &[Option<usize>], store: StoreDtype) -> Result<(), ConvertError> {
    let one = |(first, rows): (usize, &[Option<usize>])| -> Result<(), ConvertError> {
        let mut vector = vec![0.0; array.width()];
        for (pair, row) in rows.iter().enumerate().filter_map(|(i, row)| row.map(|row| (first + i, row))) {
            array.read_row(row, &mut vector)?;
            if store == StoreDtype::F16 {
                let header = ShardHeader { layer: 0, first_row: pair, inputs: String::new() };
                shard::write(&header, &vector, array.width(), store, None)
                    .map_err(|source| ConvertError::Store { path: path.to_owned(), source })?;
            }
        }
        Ok(())
    };
    let chunks: Vec<(usize, &[Option<usize>])> = (0..).step_by(ROWS_PER_FILE).zip(rows.chunks(ROWS_PER_FILE)).collect();
    chunks.into_par_iter().map(one).collect()
}

/// Writes the study's manifest with this layer in it, or refuses to mix.
fn claim(
    study: &Study,
    options: &ImportOptions,
    (method, path): (&str, &Path),
    array: &Array,
    (store, n_pairs, pairs_sha256): (StoreDtype, usize, String),
    layer: ImportedLayer,
) -> Result<VectorsManifest, ConvertError> {
    let identity = ["whence.imported/1", method, &array.width().to_string()];
    let mut asked = VectorsManifest {
        format: manifest::FORMAT.into(),
        inputs: study::inputs_hash(&identity),
        model: ModelView {
            name: method.to_owned(),
            architecture: "imported".into(),
            n_layers: options.layer,
            d_model: array.width(),
            sha256: files::sha256(identity.join("\n").as_bytes()),
            template: "none".into(),
            pooling: "imported".into(),
        },
        template_sha256: String::new(),
        max_tokens: 0,
        pairs_sha256,
        n_pairs,
        rows_per_file: ROWS_PER_FILE,
        store,
        dtype: "imported".into(),
        imported: Vec::new(),
    };
    if let Some(there) = VectorsManifest::read(study)? {
        let is_same_method = there.model.name == method && !there.imported.is_empty();
        let clash = if is_same_method && there.model.d_model != array.width() {
            let (path, got, expected) = (path.to_owned(), array.width(), there.model.d_model);
            Err(ConvertError::Width { path, got, expected })
        } else {
            there.must_equal(&asked, study).map_err(ConvertError::from)
        };
        match clash {
            Ok(()) => {
                let earlier = there.imported.iter().find(|earlier| earlier.layer == layer.layer);
                if let Some(earlier) = earlier.filter(|earlier| **earlier != layer && !options.replace) {
                    let what = format!("layer {}", layer.layer);
                    return Err(ConvertError::Exists { what, there: earlier.file.clone() });
                }
                asked.imported = there.imported;
                asked.model.n_layers = asked.model.n_layers.max(there.model.n_layers);
            }
            Err(error) if !options.replace => return Err(error),
            // What was made in another way goes as a whole: a study's vectors are of one making.
            Err(_) => fs::remove_dir_all(study.vectors()).at("remove", &study.vectors())?,
        }
    }
    asked.imported.retain(|earlier| earlier.layer != layer.layer);
    asked.imported.push(layer);
    asked.imported.sort_by_key(|layer| layer.layer);
    // Without its manifest the layer is incomplete, until its files are all there.
    let old = study.layer(options.layer);
    if old.exists() {
        fs::remove_dir_all(&old).at("remove", &old)?;
    }
    asked.write(study)?;
    Ok(asked)
}

fn store_layer(
    study: &Study,
    layer: usize,
    manifest: &VectorsManifest,
    array: &Array,
    rows: &[Option<usize>],
    report: Report,
    path: &Path,
) -> Result<(), ConvertError> {
    let (d_model, n_pairs) = (array.width(), rows.len());
    let n_done = AtomicU64::new(0);
    let one = |range: Range<usize>| -> Result<ShardView, ConvertError> {
        let mut vectors = vec![0.0; range.len() * d_model];
        for (vector, row) in vectors.chunks_exact_mut(d_model).zip(&rows[range.clone()]) {
            if let Some(row) = row {
                array.read_row(*row, vector)?;
            }
        }
        let header = ShardHeader { layer, first_row: range.start, inputs: manifest.inputs.clone() };
        let bytes = shard::write(&header, &vectors, d_model, manifest.store, None)
            .map_err(|source| ConvertError::Store { path: path.to_owned(), source })?;
        let relative = format!("vectors/layer-{layer}/{:08}.safetensors", range.start);
        files::write(&study.root().join(&relative), &bytes)?;
        let done = n_done.fetch_add(range.len() as u64, Ordering::Relaxed) + range.len() as u64;
        report(Update { stage: "convert", done, total: n_pairs as u64, unit: "vectors", detail: String::new() });
        let (n_bytes, sha256) = (bytes.len() as u64, files::sha256(&bytes));
        Ok(ShardView { path: relative, first_row: range.start, n_rows: range.len(), n_bytes, sha256 })
    };
    let ranges: Vec<Range<usize>> =
        (0..n_pairs).step_by(ROWS_PER_FILE).map(|first| first..(first + ROWS_PER_FILE).min(n_pairs)).collect();
    let shards = ranges.into_par_iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let view = LayerView {
        layer,
        d_model,
        dtype: manifest.store,
        n_rows: n_pairs,
        shards,
        index: None,
        vectors_withheld: false,
        nearest_rows: Vec::new(),
    };
    Ok(files::write_json(&study.layer_manifest(layer), &view)?)
}

/// A study of which only ids are known: what vectors can be browsed with when there are no texts.
fn make_study(study: &Study, ids: Option<&[String]>, array: &Array) -> Result<(), ConvertError> {
    if study.pairs().exists() {
        let reason = format!("--without-texts: {} has pairs already", study.root().display());
        return Err(ConvertError::Option(reason));
    }
    let numbered: Vec<String>;
    let ids = match ids {
        Some(ids) => ids,
        None => {
            numbered = (0..array.n_rows()).map(|row| row.to_string()).collect();
            &numbered
        }
    };
    let mut writer = PairWriter::create(&study.pairs())?;
    for id in ids {
        writer.push(&Pair {
            id: id.clone(),
            prompt: vec![Message::new("user", id)],
            chosen: vec![Message::new("assistant", "")],
            rejected: vec![Message::new("assistant", "")],
            source: NO_TEXTS.into(),
            metadata: "{}".into(),
        })?;
    }
    writer.commit()?;
    let empty = |path: &Path| -> Result<(), FileError> { files::write(path, b"") };
    empty(&study.rejects())?;
    let n_pairs = ids.len();
    let config = StudyConfig {
        format: config::FORMAT.into(),
        whence: env!("CARGO_PKG_VERSION").into(),
        source: None,
        n_pairs,
        pairs_sha256: files::sha256_of_file(&study.pairs())?,
        health: HealthView { n_rows_read: n_pairs, n_empty_responses: n_pairs, ..HealthView::default() },
        inputs: Vec::new(),
        sources: vec![SourceView { name: NO_TEXTS.into(), n_pairs }],
    };
    Ok(config.write(study)?)
}
