//! A study folder: its pairs, which vectors are there and which are missing, its behaviors, rankings, edit sets and arms.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use serde::Serialize;
use whence_shared::study::{BehaviorView, ModelView};
use whence_shared::validation::{RunProgress, RunStage};

use super::InspectError;
use crate::attribute::table;
use crate::data::config::StudyConfig;
use crate::data::pairs::PairFile;
use crate::edit::{self, Decision};
use crate::extract::part::PartRecord;
use crate::extract::range::{self, Fault, Series};
use crate::extract::{RemarkSummary, VectorsManifest};
use crate::progress::{Report, Update};
use crate::study::Study;
use crate::validate::progress;

/// What a study holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyReport {
    /// The folder's name.
    pub name: String,
    /// Pairs in pairs.parquet; absent when it cannot be read.
    pub n_pairs: Option<usize>,
    /// SHA-256 of pairs.parquet as study.toml records it; empty when it does not.
    pub pairs_sha256: String,
    /// Rows that import refused.
    pub n_rejected_rows: usize,
    /// Sources of the pairs.
    pub n_sources: usize,
    /// The model and text form that the vectors were read with; absent before extraction.
    pub model: Option<ModelView>,
    /// Hash of what the vectors were made from.
    pub inputs: Option<String>,
    /// SHA-256 of the chat template's source; empty for none.
    pub template_sha256: Option<String>,
    /// Longest text in tokens.
    pub max_tokens: Option<usize>,
    /// Rows per vector file.
    pub rows_per_file: Option<usize>,
    /// How numbers are stored.
    pub store: Option<&'static str>,
    /// Layers and log-probabilities, as far as they are there.
    pub series: Vec<SeriesReport>,
    /// Finished parts that wait for their merge, such as `2/3`.
    pub parts: Vec<String>,
    /// Responses whose pair has no vector.
    pub n_no_vector: usize,
    /// Responses that were cut.
    pub n_cut: usize,
    /// Texts that are longer than what the model was made for.
    pub n_beyond_context: usize,
    /// Behaviors.
    pub behaviors: Vec<BehaviorSummary>,
    /// Stored rankings, `BEHAVIOR/layer-L`.
    pub rankings: Vec<String>,
    /// Edit sets that fit the pairs.
    pub edits: Vec<EditSummary>,
    /// Arms that are planned or begun.
    pub arms: Vec<ArmSummary>,
    /// What is missing or does not fit, and what to do.
    pub missing: Vec<String>,
}

/// One edit set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EditSummary {
    /// Its name.
    pub name: String,
    /// Pairs left out.
    pub n_dropped: usize,
    /// Pairs swapped.
    pub n_switched: usize,
    /// How it was made, in words.
    pub how: String,
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArmSummary {
    /// Its folder below `arms/`.
    pub folder: String,
    /// Its runs, in the order of training as far as that is known.
    pub runs: Vec<RunSummary>,
}

/// One training seed of an arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    /// Training seed.
    pub seed: u64,
    /// How far it is.
    pub stage: RunStage,
    /// Optimizer steps so far.
    pub n_steps: usize,
}

/// One layer's vectors, or the log-probabilities.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesReport {
    /// `layer 20` or `log-probabilities`.
    pub name: String,
    /// Whether every row is there and its manifest is written.
    pub is_complete: bool,
    /// Rows in whole files.
    pub n_rows: usize,
    /// Whole files.
    pub n_files: usize,
    /// Bytes in whole files.
    pub n_bytes: u64,
    /// Rows without a whole file.
    pub missing: Vec<Rows>,
    /// Files that cannot be trusted.
    pub faulty: Vec<FaultyFile>,
    /// Whether every file is there, but the manifest that lists them cannot be used.
    pub has_damaged_manifest: bool,
}

/// Rows `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// The first.
    pub first: usize,
    /// The last.
    pub last: usize,
}

/// A file that cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultyFile {
    /// Relative to the study.
    pub path: String,
    /// What is wrong with it.
    pub fault: String,
}

/// One behavior.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BehaviorSummary {
    /// Its name.
    pub name: String,
    /// Response pairs behind it.
    pub n_pairs: usize,
    /// Layers with a direction.
    pub layers: Vec<usize>,
}

pub(super) fn inspect(study: &Study, verify: bool, report: Report) -> Result<StudyReport, InspectError> {
    let mut missing = Vec::new();
    let config = StudyConfig::read(study).map_err(|error| missing.push(error.to_string())).ok();
    let pairs = PairFile::open(&study.pairs()).map_err(|error| missing.push(error.to_string())).ok();
    let manifest = match VectorsManifest::read(study) {
        Ok(manifest) => manifest,
        Err(error) => {
            missing.push(error.to_string());
            None
        }
    };
    let mut series = Vec::new();
    match &manifest {
        Some(manifest) => {
            if let Some(pairs) = pairs.as_ref().filter(|pairs| pairs.len() != manifest.n_pairs) {
                let (there, here) = (manifest.n_pairs, pairs.len());
                missing.push(format!(
                    "the vectors are of {there} pairs, but pairs.parquet holds {here}: run `whence extract` with --replace"
                ));
            }
            let recorded = range::recorded(study)?;
            for one in Series::started(study)? {
                let look = Look { study, manifest, recorded: &recorded, verify };
                series.push(look.at(one, report)?);
            }
        }
        None => missing.push("no vectors yet: run `whence extract`".into()),
    }
    missing.extend(series.iter().filter(|one| !one.is_complete).map(what_to_do));
    let remarks = RemarkSummary::read(study).unwrap_or_else(|error| {
        missing.push(error.to_string());
        RemarkSummary::default()
    });
    let behaviors = behaviors(study, &mut missing)?;
    if manifest.is_some() && behaviors.is_empty() {
        missing.push("no behavior yet: run `whence behavior`".into());
    }
    let rankings = rankings(study);
    missing.extend(rankings.iter().filter_map(|name| stale(study, name)));
    let edits = edits(study, &mut missing)?;
    let arms = arms(study, &mut missing)?;
    Ok(StudyReport {
        name: study.name(),
        n_pairs: pairs.as_ref().map(PairFile::len),
        pairs_sha256: config.as_ref().map(|config| config.pairs_sha256.clone()).unwrap_or_default(),
        n_rejected_rows: config.as_ref().map_or(0, |config| config.health.n_rejected_rows),
        n_sources: config.as_ref().map_or(0, |config| config.sources.len()),
        inputs: manifest.as_ref().map(|manifest| manifest.inputs.clone()),
        template_sha256: manifest.as_ref().map(|manifest| manifest.template_sha256.clone()),
        max_tokens: manifest.as_ref().map(|manifest| manifest.max_tokens),
        rows_per_file: manifest.as_ref().map(|manifest| manifest.rows_per_file),
        store: manifest.as_ref().map(|manifest| manifest.store.name()),
        model: manifest.map(|manifest| manifest.model),
        series,
        parts: PartRecord::read_all(study)?.into_iter().map(|(_, record)| record.part).collect(),
        n_no_vector: remarks.n_no_vector,
        n_cut: remarks.n_cut,
        n_beyond_context: remarks.n_beyond_context,
        behaviors,
        rankings,
        edits,
        arms,
        missing,
    })
}

fn what_to_do(series: &SeriesReport) -> String {
    let n_gaps = series.missing.len();
    let name = &series.name;
    match series.missing.first() {
        None if series.has_damaged_manifest => {
            format!("{name}: its manifest is damaged: run `whence extract` for it again, which writes it anew")
        }
        None => format!("{name}: every file is there but not its manifest: run `whence merge --study` to complete it"),
        Some(Rows { first, last }) => {
            let more = if n_gaps > 1 { format!(" and {} more gaps", n_gaps - 1) } else { String::new() };
            format!("{name} lacks rows {first} to {last}{more}: run `whence extract`, or `whence merge` with the parts")
        }
    }
}

/// Looks at the files of a series.
struct Look<'a> {
    study: &'a Study,
    manifest: &'a VectorsManifest,
    recorded: &'a BTreeMap<String, String>,
    verify: bool,
}

impl Look<'_> {
    fn at(&self, series: Series, report: Report) -> Result<SeriesReport, InspectError> {
        let ranges = range::ranges(self.manifest);
        let mut seen = SeriesReport {
            name: series.to_string(),
            is_complete: false,
            n_rows: 0,
            n_files: 0,
            n_bytes: 0,
            missing: Vec::new(),
            faulty: Vec::new(),
            has_damaged_manifest: false,
        };
        for (rows, done) in ranges.iter().zip(0u64..) {
            let total = ranges.len() as u64;
            report(Update { stage: "check", done, total, unit: "files", detail: series.to_string() });
            match self.file(series, rows) {
                Ok(n_bytes) => {
                    seen.n_rows += rows.len();
                    seen.n_files += 1;
                    seen.n_bytes += n_bytes;
                }
                Err(fault) => {
                    if fault != Fault::Absent {
                        let path = series.relative_path(rows.start);
                        seen.faulty.push(FaultyFile { path, fault: fault.to_string() });
                    }
                    match seen.missing.last_mut() {
                        Some(gap) if gap.last + 1 == rows.start => gap.last = rows.end - 1,
                        _ => seen.missing.push(Rows { first: rows.start, last: rows.end - 1 }),
                    }
                }
            }
        }
        for (path, first_row) in series.first_rows(self.study)? {
            if first_row.is_none_or(|row| !ranges.iter().any(|rows| rows.start == row)) {
                let path = path.strip_prefix(self.study.root()).unwrap_or(&path).display().to_string();
                seen.faulty.push(FaultyFile { path, fault: "its name is no first row of a file of this study".into() });
            }
        }
        // A manifest that lists truncated files truly is not what is wrong.
        let manifest = range::check_manifest(self.study, series, self.manifest);
        match &manifest {
            Err(fault) if *fault != Fault::Absent && seen.missing.is_empty() => {
                let path = series.manifest(self.study);
                let path = path.strip_prefix(self.study.root()).unwrap_or(&path).display().to_string();
                seen.faulty.push(FaultyFile { path, fault: fault.to_string() });
                seen.has_damaged_manifest = true;
            }
            _ => {}
        }
        seen.is_complete = seen.missing.is_empty() && manifest.is_ok();
        Ok(seen)
    }

    /// Size of a range's file when it is whole.
    fn file(&self, series: Series, rows: &Range<usize>) -> Result<u64, Fault> {
        if self.verify {
            let read = range::read(self.study, series, rows, self.manifest, self.recorded);
            return read.map(|(_, digest)| digest.n_bytes);
        }
        let path = series.path(self.study, rows.start);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(_) if !path.exists() => return Err(Fault::Absent),
            Err(error) => return Err(Fault::Broken(error.to_string())),
        };
        // SAFETY: a study's files are written under another name and renamed; nobody writes into one that has its name,
        // so the mapped bytes do not change. Truncating one by hand meanwhile would end the process, not corrupt data.
        let bytes = unsafe { Mmap::map(&file) }.map_err(|error| Fault::Broken(error.to_string()))?;
        // Only the header is touched, and the size compared with what it says.
        range::check(&bytes, series, rows, self.manifest)?;
        Ok(bytes.len() as u64)
    }
}

fn behaviors(study: &Study, missing: &mut Vec<String>) -> Result<Vec<BehaviorSummary>, InspectError> {
    let mut behaviors = Vec::new();
    for name in study.behavior_names()? {
        let path = study.behavior(&name).join("behavior.json");
        match fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<BehaviorView>(&bytes).ok()) {
            Some(view) => {
                let lacks = view.layers.iter().filter(|&&layer| !study.behavior_vectors(&name, layer).is_file());
                missing.extend(lacks.map(|layer| format!("behavior {name:?} lacks its file of layer {layer}")));
                behaviors.push(BehaviorSummary { name, n_pairs: view.n_pairs, layers: view.layers });
            }
            None => missing.push(format!("{}: cannot be read: run `whence behavior` again", path.display())),
        }
    }
    Ok(behaviors)
}

fn edits(study: &Study, missing: &mut Vec<String>) -> Result<Vec<EditSummary>, InspectError> {
    let mut edits = Vec::new();
    for name in study.edit_names()? {
        match edit::load(study, &name) {
            Ok(set) => edits.push(EditSummary {
                n_dropped: set.n(Decision::Drop),
                n_switched: set.n(Decision::Switch),
                how: set.origin.how,
                name,
            }),
            Err(error) => missing.push(error.to_string()),
        }
    }
    Ok(edits)
}

fn arms(study: &Study, missing: &mut Vec<String>) -> Result<Vec<ArmSummary>, InspectError> {
    let view = progress::runs(study)?;
    let n_open = view.runs.len() - view.n_complete();
    if n_open > 0 && view.is_under_way == Some(false) {
        missing.push(format!("{n_open} of {} runs are not complete: run `whence retrain` again", view.runs.len()));
    }
    let mut arms: Vec<ArmSummary> = Vec::new();
    for RunProgress { folder, seed, stage, n_steps } in view.runs {
        let run = RunSummary { seed, stage, n_steps };
        match arms.iter_mut().find(|arm| arm.folder == folder) {
            Some(arm) => arm.runs.push(run),
            None => arms.push(ArmSummary { folder, runs: vec![run] }),
        }
    }
    Ok(arms)
}

/// What to do about a ranking that was made from something else than the study has now.
fn stale(study: &Study, name: &str) -> Option<String> {
    let made_from = table::read_made_from(&study.rankings().join(format!("{name}.parquet")));
    let found = made_from.and_then(|made_from| made_from.difference(study));
    match found {
        Ok(difference) => {
            difference.map(|what| format!("ranking {name} is stale: made from {what}; run `whence rank` again"))
        }
        Err(error) => Some(error.to_string()),
    }
}

fn rankings(study: &Study) -> Vec<String> {
    let list = |folder: &Path| -> Vec<_> { fs::read_dir(folder).into_iter().flatten().flatten().collect() };
    let mut rankings = Vec::new();
    for behavior in list(&study.root().join("rankings")) {
        for file in list(&behavior.path()) {
            if let Some(layer) = file.file_name().to_string_lossy().strip_suffix(".parquet") {
                rankings.push(format!("{}/{layer}", behavior.file_name().to_string_lossy()));
            }
        }
    }
    rankings.sort();
    rankings
}
