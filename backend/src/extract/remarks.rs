//! Remarks: what a reader should know about single pairs, one JSONL file per row range, `vectors/remarks/00000000.jsonl`.
//!
//! A study may have as many remarks as pairs; they are counted one file at a time and only the first few are kept.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::ExtractError;
use super::differ::Remark;
use crate::files::{self, Context, FileError};
use crate::study::Study;

/// Remarks of each kind that a summary keeps.
pub const N_SHOWN: usize = 5;

/// The remarks of a whole study, counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemarkSummary {
    /// Responses whose pair goes without a vector (zeros, score 0).
    pub n_no_vector: usize,
    /// Pairs without a vector: those of which one response or both have none.
    pub n_pairs_without_vector: usize,
    /// Responses that were cut.
    pub n_cut: usize,
    /// Texts that are longer than what the model was made for.
    pub n_beyond_context: usize,
    /// The first [`N_SHOWN`] of each kind, by row.
    pub shown: Vec<Remark>,
}

impl RemarkSummary {
    /// Counts the remarks of a study.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or understood.
    pub fn read(study: &Study) -> Result<Self, ExtractError> {
        let mut summary = Self::default();
        let mut last_without = None;
        for_each(study, |remark| {
            if remark.no_vector && last_without != Some(remark.row) {
                last_without = Some(remark.row);
                summary.n_pairs_without_vector += 1;
            }
            let n = match (remark.no_vector, remark.beyond_context) {
                (true, _) => &mut summary.n_no_vector,
                (false, true) => &mut summary.n_beyond_context,
                (false, false) => &mut summary.n_cut,
            };
            *n += 1;
            if *n <= N_SHOWN {
                summary.shown.push(remark);
            }
        })?;
        Ok(summary)
    }
}

/// Rows of the study whose pair has no vector.
///
/// # Errors
///
/// When a file cannot be read or understood.
pub fn rows_without_vector(study: &Study) -> Result<BTreeSet<usize>, ExtractError> {
    let mut rows = BTreeSet::new();
    for_each(study, |remark| rows.extend(remark.no_vector.then_some(remark.row)))?;
    Ok(rows)
}

/// Every remark of a study, by row.
fn for_each(study: &Study, mut take: impl FnMut(Remark)) -> Result<(), ExtractError> {
    let folder = study.remarks();
    if !folder.is_dir() {
        return Ok(());
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&folder).at("list", &folder)? {
        let path = entry.at("list", &folder)?.path();
        paths.extend(Some(path).filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")));
    }
    // Names are first rows padded with zeros; a file's lines are by row, chosen before rejected.
    paths.sort();
    for path in paths {
        for line in String::from_utf8_lossy(&files::read(&path)?).lines() {
            take(
                serde_json::from_str(line)
                    .map_err(|error| ExtractError::Manifest { path: path.clone(), reason: error.to_string() })?,
            );
        }
    }
    Ok(())
}

/// Remarks of the range that starts at a row.
pub(super) fn path(study: &Study, first_row: usize) -> PathBuf {
    study.remarks().join(format!("{first_row:08}.jsonl"))
}

/// Writes the remarks of a range; none means no file.
pub(super) fn write(study: &Study, first_row: usize, remarks: &[Remark]) -> Result<(), FileError> {
    let path = path(study, first_row);
    if remarks.is_empty() {
        return if path.exists() { fs::remove_file(&path).at("remove", &path) } else { Ok(()) };
    }
    files::write_jsonl(&path, remarks)
}
