//! One part of a study, `--part i/n`: which row ranges several machines share among themselves, and the record that a
//! finished part leaves.
//!
//! A part is a contiguous run of row ranges, so that parts never write the same file and are put together by copying
//! files. What counts is always the files that are there: a study extracted as 1/3 may go on as 2/5. The record,
//! `vectors/parts/I-of-N.json`, carries the SHA-256 of each file of the part to whoever merges, until the layers'
//! manifests take its place.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use whence_shared::study::ShardView;

use super::ExtractError;
use crate::files::{self, Context, FileError};
use crate::study::Study;

/// The value of [`PartRecord::format`].
pub const FORMAT: &str = "whence.part/1";

/// Part `index` of `n_parts`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    index: usize,
    n_parts: usize,
}

impl Part {
    /// The ranges of this part: contiguous, disjoint from those of every other part, and all of them together are
    /// `ranges`. Parts differ by at most one range in size; with more parts than ranges some are empty.
    pub fn of<'r>(&self, ranges: &'r [Range<usize>]) -> &'r [Range<usize>] {
        let cut = |i: usize| i * ranges.len() / self.n_parts;
        &ranges[cut(self.index - 1)..cut(self.index)]
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected I/N with I from 1 to N, such as 2/3, got {text:?}");
        let (index, n_parts) = text.split_once('/').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
        let (index, n_parts) = (number(index)?, number(n_parts)?);
        if (1..=n_parts).contains(&index) { Ok(Self { index, n_parts }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.n_parts)
    }
}

/// What a finished part holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// [`FORMAT`].
    pub format: String,
    /// Which part, `2/3`.
    pub part: String,
    /// Hash of what the vectors were made from, as in the vectors' manifest.
    pub inputs: String,
    /// Its files, with paths relative to the study.
    pub files: Vec<ShardView>,
}

impl PartRecord {
    /// Writes the record of a part. Files that an earlier run of the same part recorded (of other layers) are kept.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(study: &Study, part: Part, inputs: &str, found: Vec<ShardView>) -> Result<(), ExtractError> {
        let path = study.part_record(&format!("{}-of-{}", part.index, part.n_parts));
        let earlier = read_record(&path).filter(|record| record.inputs == inputs);
        let mut by_path: BTreeMap<String, ShardView> = BTreeMap::new();
        for file in earlier.map(|record| record.files).unwrap_or_default().into_iter().chain(found) {
            by_path.insert(file.path.clone(), file);
        }
        let files = by_path.into_values().collect();
        let record = Self { format: FORMAT.into(), part: part.to_string(), inputs: inputs.into(), files };
        Ok(files::write_json(&path, &record)?)
    }

    /// The records of a study, by file name. One that cannot be read is left out: it only adds certainty.
    ///
    /// # Errors
    ///
    /// When the folder exists and cannot be listed.
    pub fn read_all(study: &Study) -> Result<Vec<(PathBuf, Self)>, FileError> {
        let folder = study.parts();
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let path = entry.at("list", &folder)?.path();
            records.extend(read_record(&path).map(|record| (path, record)));
        }
        records.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(records)
    }

    /// Removes the records of which `is_over` says so, and their folder when none is left.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn remove(study: &Study, is_over: impl Fn(&Self) -> bool) -> Result<(), FileError> {
        for (path, record) in Self::read_all(study)? {
            if is_over(&record) {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        // Refused when something is left in it, and rightly so.
        let _ = fs::remove_dir(study.parts());
        Ok(())
    }
}

fn read_record(path: &std::path::Path) -> Option<PartRecord> {
    let record: PartRecord = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (record.format == FORMAT).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(n_pairs: usize, rows_per_file: usize) -> Vec<Range<usize>> {
        (0..n_pairs).step_by(rows_per_file).map(|first| first..(first + rows_per_file).min(n_pairs)).collect()
    }

    #[test]
    fn parts_are_disjoint_contiguous_and_cover_every_row() {
        for (n_pairs, rows_per_file) in [(0, 5), (1, 5), (33, 5), (378_341, 1024)] {
            let all = ranges(n_pairs, rows_per_file);
            for n_parts in [1, 2, 3, 7, 100] {
                let parts: Vec<_> = (1..=n_parts).map(|index| Part { index, n_parts }.of(&all)).collect();
                assert_eq!(parts.concat(), all);
                let sizes: Vec<usize> = parts.iter().map(|part| part.len()).collect();
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
            }
        }
    }

    #[test]
    fn malformed_parts_are_refused_with_an_example() {
        assert_eq!("2/3".parse::<Part>().unwrap().to_string(), "2/3");
        for wrong in ["0/3", "4/3", "x", "", "1", "1/0", "1/x", "-1/3", "1/3/2"] {
            let error = wrong.parse::<Part>().unwrap_err();
            assert!(error.contains("such as 2/3") && error.contains(wrong), "{error}");
        }
    }
}
