//! `merge`: parts of a study that several machines extracted become one, with every file checked.
//!
//! Each part was extracted into a copy of the study folder. Merging reads every file once, the study's own first: it must
//! be whole, of its rows, of the same making as all others, and as it was recorded when it was written; where two studies
//! hold the same rows, the bytes must agree. What the study lacks is copied. Then the manifests of complete layers are
//! written. Nothing is ever overwritten, so a merge may be killed and started again. Without other studies it checks and
//! completes what lies there, as after copying files by hand.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use thiserror::Error;

use super::manifest::{Difference, VectorsManifest};
use super::range::{self, Digest, Digests, Fault, Series};
use super::{ExtractError, plan, remarks};
use crate::data::pairs::{PairFile, PairFileError};
use crate::files::{self, FileError};
use crate::progress::{Report, Update};
use crate::study::Study;

/// What stops a merge. Files already copied stay.
#[derive(Debug, Error)]
pub enum MergeError {
    /// The study's pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// A manifest cannot be read or written.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Two studies' vectors were made differently.
    #[error(
        "cannot merge: {what} differs: {here} in {}, {there} in {}; extract the parts again with the same settings",
        study.display(), other.display()
    )]
    Differs {
        /// What differs.
        what: &'static str,
        /// The one study.
        study: PathBuf,
        /// The value in it.
        here: String,
        /// The other study.
        other: PathBuf,
        /// The value in that.
        there: String,
    },
    /// The vectors are of other pairs than the study holds.
    #[error(
        "the vectors in {} were made from other pairs ({there}) than {} holds ({here})",
        other.display(), pairs.display()
    )]
    OtherPairs {
        /// The study with the vectors.
        other: PathBuf,
        /// Hash of the pairs they were made from.
        there: String,
        /// The pairs file.
        pairs: PathBuf,
        /// Its hash.
        here: String,
    },
    /// A file that cannot be trusted.
    #[error("{} (rows {first_row} to {last_row}): {fault}; {remedy}", path.display())]
    Faulty {
        /// The file.
        path: PathBuf,
        /// First row that it should hold.
        first_row: usize,
        /// Last row that it should hold.
        last_row: usize,
        /// What is wrong with it.
        fault: Fault,
        /// What to do.
        remedy: &'static str,
    },
    /// A file whose name is no range of this study.
    #[error(
        "{}: its name is no first row of a file of {rows_per_file} rows: it belongs to another study; move it away",
        path.display()
    )]
    Stray {
        /// The file.
        path: PathBuf,
        /// Rows per file in this study.
        rows_per_file: usize,
    },
    /// Two different files for the same rows.
    #[error(
        "rows {first_row} to {last_row} differ between {} ({}) and {} ({}): keep the one you trust and remove the other",
        here.0.display(), here.1, there.0.display(), there.1
    )]
    Conflict {
        /// First row.
        first_row: usize,
        /// Last row.
        last_row: usize,
        /// One file with its hash.
        here: (PathBuf, String),
        /// The other.
        there: (PathBuf, String),
    },
    /// Rows that no study has.
    #[error("{} is not complete: {}; run those parts, then merge again", study.display(), gaps(missing))]
    Incomplete {
        /// The study.
        study: PathBuf,
        /// Row ranges without a file, joined where they touch.
        missing: Vec<(Series, Vec<Range<usize>>)>,
    },
}

fn gaps(missing: &[(Series, Vec<Range<usize>>)]) -> String {
    let rows = |range: &Range<usize>| format!("{} to {}", range.start, range.end - 1);
    let of_series = |(series, ranges): &(Series, Vec<Range<usize>>)| {
        let shown = ranges.iter().take(5).map(rows).collect::<Vec<_>>().join(", ");
        let more = if ranges.len() > 5 { format!(" and {} more gaps", ranges.len() - 5) } else { String::new() };
        format!("{series} lacks rows {shown}{more}")
    };
    missing.iter().map(of_series).collect::<Vec<_>>().join("; ")
}

const REMOVE_OWN: &str = "remove it, then merge a study that has these rows or run `whence extract` again";
const REMOVE_OTHER: &str = "copy it again or run `whence extract` there again, then merge again";

/// What a merge found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Series that are complete now.
    pub complete: Vec<Series>,
    /// Pairs in the study.
    pub n_pairs: usize,
    /// Files read and checked, of all studies.
    pub n_checked: usize,
    /// Files copied into the study.
    pub n_copied: usize,
    /// Bytes copied.
    pub n_bytes_copied: u64,
}

/// Copies into `study` what it lacks and `others` have, checks everything, and writes the manifests of complete layers.
///
/// # Errors
///
/// [`MergeError`]; [`MergeError::Incomplete`] after everything there was has been merged.
pub fn merge(study: &Study, others: &[Study], report: Report) -> Result<Merged, MergeError> {
    let mut studies = vec![study.clone()];
    let canonical = |study: &Study| study.root().canonicalize().unwrap_or_else(|_| study.root().to_owned());
    for other in others {
        if !studies.iter().any(|there| canonical(there) == canonical(other)) {
            studies.push(other.clone());
        }
    }
    let (manifest, writes_manifest) = agreed(study, &studies)?;
    let ranges = range::ranges(&manifest);
    let mut series: Vec<Series> = Vec::new();
    for study in &studies {
        series.extend(Series::started(study)?);
    }
    series.sort_unstable();
    series.dedup();
    for study in &studies {
        for &series in &series {
            refuse_strays(study, series, &manifest)?;
        }
    }
    let recorded = studies.iter().map(range::recorded).collect::<Result<Vec<_>, _>>()?;

    let mut merger =
        Merger { studies: &studies, recorded, manifest: &manifest, digests: Digests::new(), writes_manifest };
    let mut merged =
        Merged { complete: Vec::new(), n_pairs: manifest.n_pairs, n_checked: 0, n_copied: 0, n_bytes_copied: 0 };
    let mut missing: Vec<(Series, Vec<Range<usize>>)> = Vec::new();
    let total = (series.len() * ranges.len()) as u64;
    for (&one, nth) in series.iter().zip(0u64..) {
        let mut gaps: Vec<Range<usize>> = Vec::new();
        for (rows, done) in ranges.iter().zip(nth * ranges.len() as u64..) {
            let detail = format!("{} copied", merged.n_copied);
            report(Update { stage: "merge", done, total, unit: "files", detail });
            if !merger.file(one, rows, &mut merged)? {
                match gaps.last_mut() {
                    Some(last) if last.end == rows.start => last.end = rows.end,
                    _ => gaps.push(rows.clone()),
                }
            }
        }
        if gaps.is_empty() {
            range::write_manifest(study, one, &manifest, &merger.digests)?;
            merged.complete.push(one);
        } else {
            missing.push((one, gaps));
        }
    }
    report(Update { stage: "merge", done: total, total, unit: "files", detail: String::new() });
    if merger.writes_manifest {
        manifest.write(study)?;
    }
    plan::retire_records(study)?;
    if missing.is_empty() { Ok(merged) } else { Err(MergeError::Incomplete { study: study.root().into(), missing }) }
}

/// The manifest on which all studies agree, and whether the study itself lacks it yet.
fn agreed(study: &Study, studies: &[Study]) -> Result<(VectorsManifest, bool), MergeError> {
    let mut first: Option<(&Study, VectorsManifest)> = None;
    let mut has_own = false;
    for one in studies {
        let Some(manifest) = VectorsManifest::read(one)? else {
            // The study to merge into may be new; another without vectors is a mistake.
            if one.root() != study.root() {
                return Err(ExtractError::NoVectors { study: one.root().into() }.into());
            }
            continue;
        };
        has_own |= one.root() == study.root();
        let Some((there, agreed)) = &first else {
            first = Some((one, manifest));
            continue;
        };
        if let Some(Difference { what, here, there: other_value }) = agreed.difference(&manifest) {
            return Err(MergeError::Differs {
                what,
                study: there.root().into(),
                here,
                other: one.root().into(),
                there: other_value,
            });
        }
    }
    let (owner, manifest) = first.ok_or_else(|| ExtractError::NoVectors { study: study.root().into() })?;
    let pairs = PairFile::open(&study.pairs())?;
    let sha256 = pairs.sha256()?;
    if sha256 != manifest.pairs_sha256 || pairs.len() != manifest.n_pairs {
        let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
        return Err(MergeError::OtherPairs {
            other: owner.root().into(),
            there: format!("{} pairs, {}", manifest.n_pairs, short(&manifest.pairs_sha256)),
            pairs: study.pairs(),
            here: format!("{} pairs, {}", pairs.len(), short(&sha256)),
        });
    }
    Ok((manifest, !has_own))
}

fn refuse_strays(study: &Study, series: Series, manifest: &VectorsManifest) -> Result<(), MergeError> {
    let rows_per_file = manifest.rows_per_file.max(1);
    let is_start = |row: usize| row.is_multiple_of(rows_per_file) && row < manifest.n_pairs;
    for (path, first_row) in series.first_rows(study)? {
        if !first_row.is_some_and(is_start) {
            return Err(MergeError::Stray { path, rows_per_file });
        }
    }
    Ok(())
}

/// A merge under way. The first study is the one that is merged into.
struct Merger<'a> {
    studies: &'a [Study],
    /// Hashes recorded in each study when its files were written.
    recorded: Vec<BTreeMap<String, String>>,
    manifest: &'a VectorsManifest,
    digests: Digests,
    writes_manifest: bool,
}

impl Merger<'_> {
    /// Checks the files of a range in every study and copies one where the first study has none. Returns whether it has
    /// one now.
    fn file(&mut self, series: Series, rows: &Range<usize>, merged: &mut Merged) -> Result<bool, MergeError> {
        let mut first: Option<(PathBuf, Digest)> = None;
        for (i, study) in self.studies.iter().enumerate() {
            let path = series.path(study, rows.start);
            let (bytes, digest) = match range::read(study, series, rows, self.manifest, &self.recorded[i]) {
                Ok(read) => read,
                Err(Fault::Absent) => continue,
                Err(fault) => {
                    let remedy = if i == 0 { REMOVE_OWN } else { REMOVE_OTHER };
                    let (first_row, last_row) = (rows.start, rows.end - 1);
                    return Err(MergeError::Faulty { path, first_row, last_row, fault, remedy });
                }
            };
            merged.n_checked += 1;
            if let Some(there) = &first {
                if there.1 != digest {
                    return Err(conflict(rows, (there.0.clone(), there.1.sha256.clone()), (path, digest.sha256)));
                }
                continue;
            }
            if i > 0 {
                self.copy(series, rows, study, &bytes)?;
                merged.n_copied += 1;
                merged.n_bytes_copied += digest.n_bytes;
            }
            first = Some((path, digest));
        }
        let found = first.is_some();
        self.digests.extend(first.map(|(_, digest)| ((series, rows.start), digest)));
        Ok(found)
    }

    /// Copies a range's file, with the remarks of its rows before it.
    fn copy(&mut self, series: Series, rows: &Range<usize>, from: &Study, bytes: &[u8]) -> Result<(), MergeError> {
        let into = &self.studies[0];
        if self.writes_manifest {
            self.manifest.write(into)?;
            self.writes_manifest = false;
        }
        let (theirs, ours) = (remarks::path(from, rows.start), remarks::path(into, rows.start));
        if theirs.is_file() {
            let remarks = files::read(&theirs)?;
            match fs::read(&ours) {
                Ok(there) if there != remarks => {
                    let hash = |bytes: &[u8]| files::sha256(bytes);
                    return Err(conflict(rows, (ours, hash(&there)), (theirs, hash(&remarks))));
                }
                Ok(_) => {}
                Err(_) => files::write(&ours, &remarks)?,
            }
        }
        Ok(files::write(&series.path(into, rows.start), bytes)?)
    }
}

fn conflict(rows: &Range<usize>, here: (PathBuf, String), there: (PathBuf, String)) -> MergeError {
    let short = |(path, hash): (PathBuf, String)| (path, hash.get(..12).unwrap_or(&hash).to_owned());
    MergeError::Conflict { first_row: rows.start, last_row: rows.end - 1, here: short(here), there: short(there) }
}
