//! `import`: preference data as people have it in, a study's `pairs.parquet`, `rejects.jsonl` and `study.toml` out.
//!
//! Rows stream from the files through [`super::forms`] into the pairs file. What is kept per row is a 128-bit hash of
//! its contents and one of its id. The same input gives the same bytes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use thiserror::Error;
use whence_shared::pair::{Message, Pair, Side};
use whence_shared::study::{HealthView, SourceView};

use super::config::{self, ConfigError, InputConfig, StudyConfig};
use super::forms::{self, Form, Recognized};
use super::inputs::{self, DataFile, InputError, Resolved};
use super::pairs::{PairFileError, PairWriter};
use super::rows::{Rows, RowsError};
use crate::files::{self, AtomicFile, Context, FileError};
use crate::progress::{Report, Update};
use crate::study::Study;

/// The `format` in the manifest of an export, which lies beside the exported pairs.
pub const EXPORT_FORMAT: &str = "whence.export/1";
/// Columns that may hold a pair's id, the first that a row has counts.
const ID_COLUMNS: [&str; 7] = ["id", "pair_id", "uid", "uuid", "example_id", "prompt_id", "custom_id"];
/// Columns that may hold a pair's source, the first that a row has counts.
const SOURCE_COLUMNS: [&str; 2] = ["source", "dataset"];
/// Refused rows returned as examples; all of them are in rejects.jsonl.
const N_REJECTS_SHOWN: usize = 5;
const ROWS_PER_REPORT: usize = 256;

/// What stops an import. Nothing of the study is changed then.
#[derive(Debug, Error)]
pub enum ImportError {
    /// An input leads nowhere.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A file cannot be read as a whole.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The pairs cannot be written.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// Another file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The study's configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The study has pairs of other inputs.
    #[error(
        "{}: this study already holds pairs, made from {there}; import into another folder with --study, or discard \
         them with --replace",
        study.display()
    )]
    OtherPairs {
        /// The study.
        study: PathBuf,
        /// What its pairs were made from.
        there: String,
    },
    /// A file without rows.
    #[error("{}: the file has no rows: leave it out or fetch it again", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// A file in which no row is a preference pair.
    #[error(
        "{}: none of its {n_rows} rows is a preference pair; row {row}: {reason}. Expected \"chosen\" and \"rejected\" with \
         a \"prompt\", as message lists or as Human/Assistant text; correct the file or leave it out{instead}",
        path.display()
    )]
    NoPairs {
        /// The file.
        path: PathBuf,
        /// Rows in it.
        n_rows: usize,
        /// The first refused row.
        row: usize,
        /// Why it was refused.
        reason: String,
        /// How to leave it out where a folder was named, or empty.
        instead: String,
    },
}

/// What to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Files, folders and globs.
    pub inputs: Vec<String>,
    /// Source of pairs whose row names none.
    pub source: Option<String>,
    /// Replace pairs that were made from other inputs.
    pub replace: bool,
}

/// What an import found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Pairs written.
    pub n_pairs: usize,
    /// What was found worth knowing.
    pub health: HealthView,
    /// One per file, in order.
    pub files: Vec<FileSummary>,
    /// Files in folders that say something about a dataset and were left out.
    pub about_data: Vec<PathBuf>,
    /// Sources of the pairs, by name.
    pub sources: Vec<SourceView>,
    /// Where the ids came from.
    pub ids: IdSummary,
    /// The first few refused rows.
    pub rejects: Vec<Reject>,
    /// Keys of messages other than role and content, whose values are not kept.
    pub other_keys: BTreeSet<String>,
    /// The study has vectors that were made from other pairs: they must be extracted anew.
    pub stale_vectors: bool,
}

/// What one file held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSummary {
    /// The file.
    pub path: PathBuf,
    /// Rows read.
    pub n_rows: usize,
    /// Rows refused.
    pub n_rejected: usize,
    /// Rows of each form.
    pub forms: BTreeMap<Form, usize>,
}

/// Where the ids of pairs came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdSummary {
    /// Pairs per column that gave their id.
    pub by_column: BTreeMap<&'static str, usize>,
    /// Pairs without an id of their own, named FILE:ROW.
    pub n_unnamed: usize,
    /// Pairs whose id an earlier pair has, named FILE:ROW; the id they had is in their metadata.
    pub n_repeated: usize,
}

/// One refused row: a line of rejects.jsonl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// The file.
    pub file: String,
    /// From 1: the line of a JSONL file, the row of a Parquet file.
    pub row: usize,
    /// Why it was refused.
    pub reason: String,
}

/// Imports preference data into a study.
///
/// # Errors
///
/// [`ImportError`]; refused rows are no error unless a file holds nothing else.
pub fn import(study: &Study, options: &ImportOptions, report: Report) -> Result<Imported, ImportError> {
    let is_left_out = |path: &Path| is_own_file(study, path) || is_beside_export(path);
    let Resolved { files: data_files, about_data } = inputs::resolve(&options.inputs, &is_left_out)?;
    let described = describe(&data_files, report)?;
    let earlier = earlier_pairs(study, options, &described)?;

    let _made = MadeFolder((!study.root().exists()).then(|| study.root()));
    let mut intake = Intake::create(study, options)?;
    let total: u64 = data_files.iter().map(|file| file.n_bytes).sum();
    let mut n_bytes_done = 0u64;
    for file in &data_files {
        let progress = Progress { report, n_bytes_before: n_bytes_done, n_bytes: total };
        intake.file(file, progress).map_err(|error| match error {
            ImportError::NoPairs { path, n_rows, row, reason, .. } => {
                let instead = instead(file, &data_files, &options.inputs);
                ImportError::NoPairs { path, n_rows, row, reason, instead }
            }
            error => error,
        })?;
        n_bytes_done += file.n_bytes;
        let detail = format!("{} pairs", intake.pairs.n_rows());
        report(Update { stage: "import", done: n_bytes_done >> 10, total: total >> 10, unit: "kB", detail });
    }
    let mut imported = intake.commit()?;
    imported.about_data = about_data;
    let pairs_sha256 = files::sha256_of_file(&study.pairs())?;
    imported.stale_vectors = study.vectors_manifest().exists() && earlier.is_some_and(|sha256| sha256 != pairs_sha256);
    let config = StudyConfig {
        format: config::FORMAT.into(),
        whence: env!("CARGO_PKG_VERSION").into(),
        source: options.source.clone(),
        n_pairs: imported.n_pairs,
        pairs_sha256,
        health: imported.health,
        inputs: described,
        sources: imported.sources.clone(),
    };
    config.write(study)?;
    Ok(imported)
}

/// How to leave out a file without pairs that was found in a folder; empty when it was named.
fn instead(file: &DataFile, found: &[DataFile], inputs: &[String]) -> String {
    let holds_it = |input: &&String| Path::new(input).is_dir() && file.path.starts_with(input);
    let Some(folder) = inputs.iter().find(holds_it) else { return String::new() };
    let is_other = |other: &&DataFile| other.path.starts_with(folder) && other.pattern() != file.pattern();
    match found.iter().filter(is_other).max_by_key(|other| other.n_bytes) {
        Some(other) => format!("; to leave it out, name the files: `whence import '{}'`", other.pattern()),
        None => format!("; to leave it out, name the other files of {folder} one by one"),
    }
}

/// A study's folder that an import makes; one that fails takes it away again.
struct MadeFolder<'a>(Option<&'a Path>);

impl Drop for MadeFolder<'_> {
    fn drop(&mut self) {
        // Only an empty folder can be removed in this way: of a study that was made, nothing is.
        let _ = self.0.map(std::fs::remove_dir);
    }
}

/// Whether a file is one that Whence wrote into the study, as when the folder around the study is imported again.
fn is_own_file(study: &Study, path: &Path) -> bool {
    let (Ok(root), Ok(path)) = (study.root().canonicalize(), path.canonicalize()) else { return false };
    let Ok(inside) = path.strip_prefix(&root) else { return false };
    let own = ["pairs.parquet", "rejects.jsonl", "vectors", "index", "behaviors", "rankings", "edits"];
    inside.components().next().is_some_and(|first| own.iter().any(|name| first.as_os_str() == *name))
}

/// Whether a file lies beside the pairs of an export without holding any, as when the export's folder is imported.
fn is_beside_export(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(stem) = ["patch.jsonl", "manifest.json"].iter().find_map(|ending| name.strip_suffix(ending)) else {
        return false;
    };
    let manifest = files::read(&path.with_file_name(format!("{stem}manifest.json"))).unwrap_or_default();
    let manifest = serde_json::from_slice::<Value>(&manifest).unwrap_or_default();
    manifest.get("format").and_then(Value::as_str) == Some(EXPORT_FORMAT)
}

fn describe(data_files: &[DataFile], report: Report) -> Result<Vec<InputConfig>, FileError> {
    let n_files = data_files.len() as u64;
    let mut described = Vec::with_capacity(data_files.len());
    for (file, done) in data_files.iter().zip(0..) {
        let detail = file.path.display().to_string();
        report(Update { stage: "hash", done, total: n_files, unit: "files", detail: detail.clone() });
        described.push(InputConfig { path: detail, n_bytes: file.n_bytes, sha256: files::sha256_of_file(&file.path)? });
    }
    Ok(described)
}

/// Refuses to replace other pairs unasked. Returns the hash of the pairs that are there.
fn earlier_pairs(
    study: &Study,
    options: &ImportOptions,
    described: &[InputConfig],
) -> Result<Option<String>, ImportError> {
    if !study.pairs().exists() {
        return Ok(None);
    }
    if !options.replace {
        let other = |there: String| ImportError::OtherPairs { study: study.root().to_owned(), there };
        match StudyConfig::read(study) {
            Ok(config) if config.inputs == described && config.source == options.source => {}
            Ok(config) => {
                let paths: Vec<&str> = config.inputs.iter().map(|input| input.path.as_str()).collect();
                let (first, more) = (paths.first().copied().unwrap_or("nothing"), paths.len().saturating_sub(1));
                return Err(other(if more == 0 { first.into() } else { format!("{first} and {more} more") }));
            }
            Err(ConfigError::Missing { .. }) => return Err(other("inputs it does not record".into())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(files::sha256_of_file(&study.pairs())?))
}

#[derive(Clone, Copy)]
struct Progress<'a> {
    report: Report<'a>,
    n_bytes_before: u64,
    n_bytes: u64,
}

/// An import under way.
struct Intake<'a> {
    options: &'a ImportOptions,
    pairs: PairWriter,
    rejects_path: PathBuf,
    rejects: BufWriter<AtomicFile>,
    contents_seen: HashSet<u128>,
    ids_seen: HashSet<u128>,
    file_names: HashSet<String>,
    by_source: BTreeMap<String, usize>,
    imported: Imported,
}

impl<'a> Intake<'a> {
    fn create(study: &Study, options: &'a ImportOptions) -> Result<Self, ImportError> {
        Ok(Self {
            options,
            pairs: PairWriter::create(&study.pairs())?,
            rejects_path: study.rejects(),
            rejects: BufWriter::new(AtomicFile::create(&study.rejects())?),
            contents_seen: HashSet::new(),
            ids_seen: HashSet::new(),
            file_names: HashSet::new(),
            by_source: BTreeMap::new(),
            imported: Imported {
                n_pairs: 0,
                health: HealthView::default(),
                files: Vec::new(),
                about_data: Vec::new(),
                sources: Vec::new(),
                ids: IdSummary::default(),
                rejects: Vec::new(),
                other_keys: BTreeSet::new(),
                stale_vectors: false,
            },
        })
    }

    fn file(&mut self, file: &DataFile, progress: Progress) -> Result<(), ImportError> {
        // Two folders may hold files of one name: the later one goes by its path in the ids made from it.
        let own_name = file.name();
        let name = if self.file_names.insert(own_name.clone()) { own_name } else { file.path.display().to_string() };
        let source = self.options.source.clone().unwrap_or_else(|| file.stem());
        let mut summary = FileSummary { path: file.path.clone(), n_rows: 0, n_rejected: 0, forms: BTreeMap::new() };
        let mut first_reject = None;
        let mut rows = Rows::open(file)?;
        while let Some(next) = rows.next() {
            let (row, columns) = next?;
            summary.n_rows += 1;
            let recognized = columns.and_then(|mut columns| match forms::recognize(&mut columns) {
                Ok(recognized) => Ok((recognized, columns)),
                Err(refusal) => Err(refusal.to_string()),
            });
            match recognized {
                Ok((recognized, columns)) => {
                    *summary.forms.entry(recognized.form).or_default() += 1;
                    self.pair(recognized, columns, Origin { file: &name, row, source: &source })?;
                }
                Err(reason) => {
                    summary.n_rejected += 1;
                    let reject = Reject { file: file.path.display().to_string(), row, reason };
                    first_reject.get_or_insert_with(|| reject.clone());
                    self.reject(reject)?;
                }
            }
            if summary.n_rows.is_multiple_of(ROWS_PER_REPORT) {
                (progress.report)(Update {
                    stage: "import",
                    done: (progress.n_bytes_before + rows.n_bytes_read()) >> 10,
                    total: progress.n_bytes >> 10,
                    unit: "kB",
                    detail: format!("{} pairs", self.pairs.n_rows()),
                });
            }
        }
        if let Some(Reject { row, reason, .. }) = first_reject
            && summary.n_rejected == summary.n_rows
        {
            let (path, n_rows, instead) = (file.path.clone(), summary.n_rows, String::new());
            return Err(ImportError::NoPairs { path, n_rows, row, reason, instead });
        }
        if summary.n_rows == 0 {
            return Err(ImportError::NoRows { path: file.path.clone() });
        }
        self.imported.health.n_rows_read += summary.n_rows;
        self.imported.files.push(summary);
        Ok(())
    }

    fn pair(
        &mut self,
        recognized: Recognized,
        mut columns: Map<String, Value>,
        origin: Origin,
    ) -> Result<(), ImportError> {
        let Recognized { prompt, chosen, rejected, other_keys, .. } = recognized;
        let source =
            take_text(&mut columns, &SOURCE_COLUMNS).map_or_else(|| origin.source.to_owned(), |(_, text)| text);
        let id = self.id(&mut columns, &origin);
        let pair = Pair { id, prompt, chosen, rejected, source, metadata: metadata(columns) };

        let health = &mut self.imported.health;
        health.n_duplicates += usize::from(!self.contents_seen.insert(contents_hash(&pair)));
        health.n_identical += usize::from(pair.chosen == pair.rejected);
        let is_empty = |side| pair.response(side).trim().is_empty();
        health.n_empty_responses += usize::from(is_empty(Side::Chosen) || is_empty(Side::Rejected));
        self.imported.other_keys.extend(other_keys);
        match self.by_source.get_mut(&pair.source) {
            Some(n_pairs) => *n_pairs += 1,
            None => drop(self.by_source.insert(pair.source.clone(), 1)),
        }
        Ok(self.pairs.push(&pair)?)
    }

    /// The row's own id where it has one that no earlier pair has, else one made from file and row.
    fn id(&mut self, columns: &mut Map<String, Value>, origin: &Origin) -> String {
        let own = ID_COLUMNS.into_iter().find_map(|name| match columns.get(name)? {
            Value::String(id) if !id.trim().is_empty() => Some((name, id.clone())),
            Value::Number(id) if !id.is_f64() => Some((name, id.to_string())),
            _ => None,
        });
        match own {
            Some((name, id)) if self.ids_seen.insert(hash128(id.as_bytes())) => {
                columns.remove(name);
                *self.imported.ids.by_column.entry(name).or_default() += 1;
                return id;
            }
            Some(_) => self.imported.ids.n_repeated += 1,
            None => self.imported.ids.n_unnamed += 1,
        }
        let mut id = format!("{}:{}", origin.file, origin.row);
        // A dataset may have ids of its own that look like ours.
        while !self.ids_seen.insert(hash128(id.as_bytes())) {
            id.push('\'');
        }
        id
    }

    fn reject(&mut self, reject: Reject) -> Result<(), FileError> {
        let mut line = serde_json::to_vec(&reject).expect("a reject is plain data");
        line.push(b'\n');
        self.rejects.write_all(&line).at("write", &self.rejects_path)?;
        self.imported.health.n_rejected_rows += 1;
        if self.imported.rejects.len() < N_REJECTS_SHOWN {
            self.imported.rejects.push(reject);
        }
        Ok(())
    }

    fn commit(mut self) -> Result<Imported, ImportError> {
        self.imported.n_pairs = self.pairs.n_rows();
        self.imported.sources =
            self.by_source.into_iter().map(|(name, n_pairs)| SourceView { name, n_pairs }).collect();
        let rejects = self.rejects.into_inner().map_err(|error| error.into_error()).at("write", &self.rejects_path)?;
        rejects.commit()?;
        self.pairs.commit()?;
        Ok(self.imported)
    }
}

/// Where a row lies and what its source is called when it names none.
#[derive(Clone, Copy)]
struct Origin<'a> {
    file: &'a str,
    row: usize,
    source: &'a str,
}

fn take_text(columns: &mut Map<String, Value>, names: &[&str]) -> Option<(String, String)> {
    let name =
        names.iter().find(|name| matches!(columns.get(**name), Some(Value::String(text)) if !text.is_empty()))?;
    match columns.remove(*name) {
        Some(Value::String(text)) => Some(((*name).to_owned(), text)),
        _ => None,
    }
}

/// The columns left over as one JSON object with sorted keys; nulls are left out. Where all that is left is `metadata`
/// and it holds such an object as text, the row is one that Whence wrote, and it is taken as it is.
fn metadata(mut columns: Map<String, Value>) -> String {
    columns.retain(|_, value| !value.is_null());
    if let (1, Some(Value::String(text))) = (columns.len(), columns.get("metadata"))
        && serde_json::from_str::<Map<String, Value>>(text).is_ok()
    {
        return text.clone();
    }
    sorted(Value::Object(columns)).to_string()
}

// serde_json's maps keep the order of insertion or sort, as the build's features have it. The bytes must not depend on
// that, so keys are inserted sorted.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries: BTreeMap<String, Value> = map.into_iter().collect();
            entries.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// Hash of what a pair says: prompt, chosen and rejected.
fn contents_hash(pair: &Pair) -> u128 {
    let mut hash = Sha256::new();
    let mut text = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    let sides: [&[Message]; 3] = [&pair.prompt, &pair.chosen, &pair.rejected];
    for messages in sides {
        text(&messages.len().to_string());
        for message in messages {
            text(&message.role);
            text(&message.content);
        }
    }
    first_half(&hash.finalize())
}

fn hash128(bytes: &[u8]) -> u128 {
    first_half(&Sha256::digest(bytes))
}

fn first_half(digest: &[u8]) -> u128 {
    u128::from_le_bytes(digest[..16].try_into().expect("a SHA-256 digest has 32 bytes"))
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
