//! The edited pairs as a file that other trainers read, with a list of what was changed. The verb behind `whence export`.
//!
//! ```text
//! OUT/train.parquet    the pairs to train on: dropped ones are absent, switched ones swapped   (or train.jsonl)
//! OUT/patch.jsonl      a line per pair that is not kept as it is: row, id, sha256, action, reason, score, rank
//! OUT/manifest.json    what it was made from, with hashes; written last
//! ```
//!
//! Where `OUT` ends in `.parquet` or `.jsonl`, it is the file, and `OUT.patch.jsonl` and `OUT.manifest.json` lie beside it.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::conversations::{ConversationWriter, FileFormat, TrainerForm};
use super::{Decision, EditError, EditSet, Origin, set_file};
use crate::data::import::EXPORT_FORMAT;
use crate::data::pairs::PairFile;
use crate::files::{self, AtomicFile, Context};
use crate::hashes;
use crate::progress::{Report, Update};
use crate::study::Study;

const ROWS_PER_REPORT: usize = 4096;

/// What to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// The edit set; `None` exports the pairs as they are.
    pub edit: Option<String>,
    /// A folder, or a file that ends in `.parquet` or `.jsonl`.
    pub out: PathBuf,
    /// For which trainer.
    pub form: TrainerForm,
    /// In which kind of file.
    pub format: FileFormat,
    /// Overwrite files that are not this export.
    pub replace: bool,
}

/// manifest.json: what an export was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportManifest {
    /// [`EXPORT_FORMAT`].
    pub format: String,
    /// Version of whence.
    pub whence: String,
    /// The pairs' form.
    pub form: TrainerForm,
    /// Name of the edit set; absent when nothing was edited.
    pub edit: Option<String>,
    /// SHA-256 of the edit set's file; empty when nothing was edited.
    pub edit_sha256: String,
    /// How the edit set was made.
    pub origin: Origin,
    /// SHA-256 of the study's pairs.parquet.
    pub pairs_sha256: String,
    /// Pairs in the study.
    pub n_pairs: usize,
    /// Pairs written.
    pub n_written: usize,
    /// Pairs left out.
    pub n_dropped: usize,
    /// Pairs swapped.
    pub n_switched: usize,
    /// The file of pairs.
    pub data: FileHash,
    /// The list of edits.
    pub patch: FileHash,
}

/// A file beside the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHash {
    /// Its name.
    pub name: String,
    /// Size in bytes.
    pub n_bytes: u64,
    /// SHA-256 of its contents.
    pub sha256: String,
}

/// An export that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// What it was made from, and how much it is.
    pub manifest: ExportManifest,
    /// The file of pairs.
    pub data: PathBuf,
    /// The list of edits.
    pub patch: PathBuf,
    /// The file that says what they were made from.
    pub manifest_file: PathBuf,
}

/// Where the three files lie.
struct Places {
    data: PathBuf,
    patch: PathBuf,
    manifest: PathBuf,
}

impl Places {
    fn of(options: &ExportOptions) -> Result<Self, EditError> {
        let out = &options.out;
        let ending = out.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let is_file = ["parquet", "jsonl"].contains(&ending) && !out.is_dir();
        if !is_file && files::is_named_like_a_file(out) {
            let expected = "a folder, or a file that ends in .parquet or .jsonl".to_owned();
            return Err(EditError::Option { option: "out", expected, got: out.display().to_string() });
        }
        let folder = if is_file { out.parent().unwrap_or(out) } else { out };
        if folder.join("study.toml").exists() {
            let expected = "a place outside of a study's folder".to_owned();
            return Err(EditError::Option { option: "out", expected, got: out.display().to_string() });
        }
        if !is_file {
            let name = |name: &str| out.join(name);
            let data = name(&format!("train.{}", options.format));
            return Ok(Self { data, patch: name("patch.jsonl"), manifest: name("manifest.json") });
        }
        if ending != options.format.to_string() {
            let expected = format!("a file that ends in .{}, as --format says, or a folder", options.format);
            return Err(EditError::Option { option: "out", expected, got: out.display().to_string() });
        }
        let beside = |ending| files::beside(out, ending);
        Ok(Self { data: out.clone(), patch: beside(".patch.jsonl"), manifest: beside(".manifest.json") })
    }
}

fn read_manifest(path: &Path) -> Option<ExportManifest> {
    let manifest: ExportManifest = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (manifest.format == EXPORT_FORMAT).then_some(manifest)
}

/// Writes the edited pairs of a study.
///
/// # Errors
///
/// [`EditError`]: no such edit set, pairs that changed since it was made, files in the way.
pub fn export(study: &Study, options: &ExportOptions, report: Report) -> Result<Exported, EditError> {
    let places = Places::of(options)?;
    let pairs = PairFile::open(&study.pairs())?;
    let (set, edit_sha256) = match &options.edit {
        Some(name) => (set_file::load(study, name)?, files::sha256_of_file(&study.edit(name))?),
        None => (unedited(&pairs, hashes::sha256_of_file(&study.pairs())?), String::new()),
    };
    if !options.replace {
        must_be_ours(&places, options, &set, &edit_sha256)?;
    }
    // A manifest vouches for what lies beside it: it goes first and comes back last.
    if places.manifest.exists() {
        fs::remove_file(&places.manifest).at("remove", &places.manifest)?;
    }
    let mut writer = ConversationWriter::create(&places.data, options.form, options.format)?;
    let mut patch = BufWriter::new(AtomicFile::create(&places.patch)?);
    let mut n_written = 0;
    let total = pairs.len() as u64;
    for (row, pair) in pairs.iter().enumerate() {
        if row.is_multiple_of(ROWS_PER_REPORT) {
            report(Update { stage: "export", done: row as u64, total, unit: "pairs", detail: String::new() });
        }
        if let Some(edit) = set.edit_of(row) {
            let mut line = serde_json::to_vec(edit).expect("an edit serializes");
            line.push(b'\n');
            patch.write_all(&line).at("write", &places.patch)?;
        }
        if let Some(pair) = set.edited(row, pair?)? {
            writer.push(&pair)?;
            n_written += 1;
        }
    }
    report(Update { stage: "export", done: total, total, unit: "pairs", detail: String::new() });
    patch.into_inner().map_err(|error| error.into_error()).at("write", &places.patch)?.commit()?;
    writer.commit()?;
    let manifest = ExportManifest {
        format: EXPORT_FORMAT.into(),
        whence: env!("CARGO_PKG_VERSION").into(),
        form: options.form,
        edit: options.edit.clone(),
        edit_sha256,
        n_pairs: set.n_pairs,
        n_written,
        n_dropped: set.n(Decision::Drop),
        n_switched: set.n(Decision::Switch),
        pairs_sha256: set.pairs_sha256,
        origin: set.origin,
        data: described(&places.data)?,
        patch: described(&places.patch)?,
    };
    files::write_json(&places.manifest, &manifest)?;
    Ok(Exported { manifest, data: places.data, patch: places.patch, manifest_file: places.manifest })
}

fn unedited(pairs: &PairFile, pairs_sha256: String) -> EditSet {
    let origin = Origin { how: "every pair as it is".into(), ..Origin::default() };
    EditSet { name: String::new(), n_pairs: pairs.len(), pairs_sha256, origin, edits: Vec::new() }
}

/// Refuses to overwrite anything but an earlier export of the same.
fn must_be_ours(places: &Places, options: &ExportOptions, set: &EditSet, edit_sha256: &str) -> Result<(), EditError> {
    let Some(path) = [&places.data, &places.patch, &places.manifest].into_iter().find(|path| path.exists()) else {
        return Ok(());
    };
    let is_same = read_manifest(&places.manifest).is_some_and(|manifest| {
        manifest.edit == options.edit
            && manifest.edit_sha256 == edit_sha256
            && manifest.pairs_sha256 == set.pairs_sha256
            && manifest.form == options.form
            && places.data.file_name().is_some_and(|name| name.to_string_lossy() == manifest.data.name)
    });
    if is_same { Ok(()) } else { Err(EditError::OutExists { path: path.clone() }) }
}

fn described(path: &Path) -> Result<FileHash, EditError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let n_bytes = fs::metadata(path).at("read", path)?.len();
    Ok(FileHash { name, n_bytes, sha256: files::sha256_of_file(path)? })
}
