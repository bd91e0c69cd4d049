//! What an extraction has to do, and doing it: which files are whole, which are missing, and filling the gaps.
//!
//! ```text
//! Plan::make ──► what is there is read once, checked and hashed; the rest becomes tasks
//! Plan::fill ──► super::pipeline computes the tasks; each range is written as it is done
//! Plan::finish ──► manifests of complete series, or the record of a part
//! ```
//!
//! The vectors' manifest is written just before the first file, and a manifest without any file binds nobody: a run
//! killed in between leaves the study free.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::ExtractError;
use super::manifest::VectorsManifest;
use super::part::{Part, PartRecord};
use super::pipeline::{self, Computed, Task, Totals};
use super::range::{self, Digest, Digests, Series, Written};
use super::source::BlockSource;
use crate::data::pairs::PairFile;
use crate::files::{Context, FileError};
use crate::progress::{Report, Update};
use crate::study::{Study, numbers};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Layers and perhaps log-probabilities.
    pub series: Vec<Series>,
    /// The share of this machine; everything when absent.
    pub part: Option<Part>,
    /// Discard vectors that were made in another way.
    pub replace: bool,
}

/// What is there and what is to be done.
#[derive(Debug)]
pub struct Plan {
    manifest: VectorsManifest,
    series: Vec<Series>,
    part: Option<Part>,
    ranges: Vec<Range<usize>>,
    tasks: Vec<Task>,
    digests: Digests,
    discards: bool,
    discarded: Option<String>,
    writes_manifest: bool,
}

impl Plan {
    /// Looks at what a study has of what is asked for. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`ExtractError::Mixed`] when the study has files that were made in another way than `manifest` says.
    pub fn make(
        study: &Study,
        manifest: VectorsManifest,
        wanted: Wanted,
        report: Report,
    ) -> Result<Self, ExtractError> {
        let there = VectorsManifest::read(study);
        let writes_manifest = !matches!(&there, Ok(Some(there)) if *there == manifest);
        let n_pairs_there = there.as_ref().ok().and_then(Option::as_ref).map(|there| there.n_pairs);
        let differs = match there {
            Ok(Some(there)) => there.must_equal(&manifest, study),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let discards = match differs {
            Ok(()) => false,
            Err(error) if !wanted.replace && has_files(study)? => return Err(error),
            Err(_) => true,
        };
        let discarded = if discards { shown_series(study, n_pairs_there)? } else { None };
        let all = range::ranges(&manifest);
        let ranges = wanted.part.map_or(all.as_slice(), |part| part.of(&all)).to_vec();
        let mut series = wanted.series;
        series.sort_unstable();
        series.dedup();
        let mut plan = Self {
            manifest,
            series,
            part: wanted.part,
            ranges,
            tasks: Vec::new(),
            digests: Digests::new(),
            discards,
            discarded,
            writes_manifest,
        };
        plan.check(study, report)?;
        Ok(plan)
    }

    /// Reads every file of the plan once; what is not whole becomes a task.
    fn check(&mut self, study: &Study, report: Report) -> Result<(), ExtractError> {
        let recorded = if self.discards { BTreeMap::new() } else { range::recorded(study)? };
        let total = (self.ranges.len() * self.series.len()) as u64;
        let done = AtomicU64::new(0);
        let find = |rows: &Range<usize>| -> (Task, Vec<(Series, Digest)>) {
            let mut whole = Vec::new();
            let mut missing = Vec::new();
            for &series in &self.series {
                // Whatever is wrong with a file, computing it again mends it.
                let found = if self.discards { None } else { self.found(study, series, rows, &recorded) };
                match found {
                    Some(digest) => whole.push((series, digest)),
                    None => missing.push(series),
                }
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                report(Update { stage: "check", done, total, unit: "files", detail: String::new() });
            }
            (Task { rows: rows.clone(), missing }, whole)
        };
        let found: Vec<_> = self.ranges.par_iter().with_max_len(1).map(find).collect();
        for (task, whole) in found {
            let first_row = task.rows.start;
            self.digests.extend(whole.into_iter().map(|(series, digest)| ((series, first_row), digest)));
            self.tasks.extend(Some(task).filter(|task| !task.missing.is_empty()));
        }
        Ok(())
    }

    fn found(
        &self,
        study: &Study,
        series: Series,
        rows: &Range<usize>,
        recorded: &BTreeMap<String, String>,
    ) -> Option<Digest> {
        range::read(study, series, rows, &self.manifest, recorded).ok().map(|(_, digest)| digest)
    }

    /// Row ranges that lack something, with what they lack.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// What the plan discards before it fills anything: `layers 1, 2, 3 and log-probabilities (1580 pairs)`.
    pub fn discarded(&self) -> Option<&str> {
        self.discarded.as_deref()
    }

    /// Rows of the study that the plan is about.
    pub fn rows(&self) -> Range<usize> {
        match (self.ranges.first(), self.ranges.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        }
    }

    /// Computes what is missing and writes it, range by range.
    ///
    /// # Errors
    ///
    /// The first error; nothing already written is lost, and the next plan starts from it.
    pub fn fill<S: BlockSource>(
        &mut self,
        study: &Study,
        pairs: &PairFile,
        sources: &[S],
        report: Report,
    ) -> Result<Totals, ExtractError> {
        if self.tasks.is_empty() {
            return Ok(Totals::default());
        }
        if self.discards {
            discard(study)?;
            self.discards = false;
        }
        self.retract(study)?;
        let Self { manifest, tasks, digests, writes_manifest, .. } = self;
        let write = |computed: Computed| -> Result<(), ExtractError> {
            if *writes_manifest {
                manifest.write(study)?;
                *writes_manifest = false;
            }
            let Computed { task, ids, block } = computed;
            let written = Written { rows: &task.rows, series: &task.missing, ids: &ids, block: &block };
            range::write(study, manifest, &written, |series, digest| {
                digests.insert((series, task.rows.start), digest);
            })
        };
        let totals = pipeline::run(tasks, pairs, sources, write, report)?;
        self.tasks.clear();
        Ok(totals)
    }

    /// A series that is about to change is not complete until it is again, and records of files that are about to be
    /// replaced are void.
    fn retract(&self, study: &Study) -> Result<(), FileError> {
        for &series in &self.series {
            let path = series.manifest(study);
            if self.tasks.iter().any(|task| task.missing.contains(&series)) && path.exists() {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        let files_of = |task: &Task| -> Vec<String> {
            task.missing.iter().map(|series| series.relative_path(task.rows.start)).collect()
        };
        let replaced: BTreeSet<String> = self.tasks.iter().flat_map(files_of).collect();
        PartRecord::remove(study, |record| record.files.iter().any(|file| replaced.contains(&file.path)))
    }

    /// Writes the manifests of what is complete now; of a part, its record.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    ///
    /// # Panics
    ///
    /// Panics when tasks are left: [`Plan::fill`] comes first.
    pub fn finish(&self, study: &Study) -> Result<(), ExtractError> {
        assert!(self.tasks.is_empty(), "filled before it is finished");
        if self.discards {
            discard(study)?;
        }
        if self.writes_manifest {
            self.manifest.write(study)?;
        }
        let Some(part) = self.part else {
            for &series in &self.series {
                range::write_manifest(study, series, &self.manifest, &self.digests)?;
            }
            return Ok(retire_records(study)?);
        };
        let files = self.series.iter().flat_map(|&series| range::views(series, &self.ranges, &self.digests)).collect();
        PartRecord::write(study, part, &self.manifest.inputs, files)?;
        // Of a study that is complete already, a part has nothing to record.
        Ok(retire_records(study)?)
    }
}

/// Removes the records of parts whose files are all listed in the manifests of complete series.
pub(super) fn retire_records(study: &Study) -> Result<(), FileError> {
    let complete: Vec<Series> =
        Series::started(study)?.into_iter().filter(|series| series.manifest(study).is_file()).collect();
    let is_complete = |path: &str| {
        complete.iter().any(|series| {
            let first_row = path.rsplit('/').next().and_then(|name| name.split('.').next()?.parse().ok());
            first_row.is_some_and(|first_row| series.relative_path(first_row) == path)
        })
    };
    PartRecord::remove(study, |record| record.files.iter().all(|file| is_complete(&file.path)))
}

/// What a study has files of, in words; `None` when it has none.
fn shown_series(study: &Study, n_pairs: Option<usize>) -> Result<Option<String>, FileError> {
    let (mut layers, mut parts) = (Vec::new(), Vec::new());
    for series in Series::started(study)? {
        match series {
            _ if series.first_rows(study)?.is_empty() => {}
            Series::Layer(layer) => layers.push(layer),
            Series::Logps => parts.push("log-probabilities".to_owned()),
        }
    }
    if let Some(&first) = layers.first() {
        let several = format!("layers {}", numbers(&layers));
        parts.insert(0, if layers.len() == 1 { format!("layer {first}") } else { several });
    }
    let of = n_pairs.map_or_else(String::new, |n_pairs| format!(" ({n_pairs} pairs)"));
    Ok(Some(parts.join(" and ")).filter(|shown| !shown.is_empty()).map(|shown| format!("{shown}{of}")))
}

/// Whether there is any vector or log-probability file, of whatever making.
fn has_files(study: &Study) -> Result<bool, FileError> {
    for series in Series::started(study)? {
        if !series.first_rows(study)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the vectors folder. The manifest goes first: without it nothing in the folder is trusted.
fn discard(study: &Study) -> Result<(), FileError> {
    let manifest = study.vectors_manifest();
    if manifest.exists() {
        fs::remove_file(&manifest).at("remove", &manifest)?;
    }
    let vectors = study.vectors();
    fs::remove_dir_all(&vectors).at("remove", &vectors)
}
