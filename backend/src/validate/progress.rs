//! Which runs of a study are planned, under way and complete, for whoever watches `whence retrain` from outside.
//!
//! `arms/queue.json` says what is planned, the folders say how far it is, and the lock ([`super::lock`]) says whether
//! someone works on it: a run that was killed is not taken for one that trains. Nothing here is needed to train: without
//! the queue only what has begun is known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use whence_shared::validation::{RUNS_FORMAT, RunProgress, RunStage, RunsView};

use super::{ValidateError, lock};
use crate::files::{self, FileError};
use crate::study::Study;

/// `arms/queue.json`: runs in the order of training, as folder of the arm and training seed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFile {
    /// Folder of the arm, training seed.
    pub runs: Vec<(String, u64)>,
}

impl QueueFile {
    /// Writes it, so that progress can be told from outside.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, study: &Study) -> Result<(), ValidateError> {
        let json = serde_json::to_vec(self).expect("names and numbers serialize");
        Ok(files::write(&study.queue(), &json)?)
    }

    /// What was planned last; nothing when it is not there or not readable, which costs no more than the total.
    fn read(study: &Study) -> Self {
        let json = std::fs::read(study.queue()).unwrap_or_default();
        serde_json::from_slice(&json).unwrap_or_default()
    }
}

/// Every run that is planned or has a folder.
///
/// # Errors
///
/// When a folder cannot be listed.
pub fn runs(study: &Study) -> Result<RunsView, FileError> {
    // Before the folders: a run that ends meanwhile is seen as complete, not as stopped.
    let is_under_way = lock::is_held(study);
    let mut begun = BTreeMap::new();
    for (arm, seed) in study.runs()? {
        let stage = progress(&study.run(&arm, seed));
        begun.insert((arm, seed), stage);
    }
    let mut keys = QueueFile::read(study).runs;
    let planned: BTreeSet<(String, u64)> = keys.iter().cloned().collect();
    let is_incomplete = |key: &&(String, u64)| begun.get(*key).is_none_or(|(stage, _)| *stage != RunStage::Complete);
    // One after the other, in the order of the plan.
    let at_work = keys.iter().find(is_incomplete).filter(|_| is_under_way != Some(false)).cloned();
    keys.extend(begun.keys().filter(|key| !planned.contains(*key)).cloned());
    let run = |key: (String, u64)| {
        let (mut stage, n_steps) = begun.get(&key).copied().unwrap_or((RunStage::Waiting, 0));
        let is_open = matches!(stage, RunStage::Training | RunStage::Measuring);
        if is_open && is_under_way.is_some() && at_work.as_ref() != Some(&key) {
            stage = RunStage::Stopped;
        }
        RunProgress { folder: key.0, seed: key.1, stage, n_steps }
    };
    let runs = keys.into_iter().map(run).collect();
    Ok(RunsView { format: RUNS_FORMAT.to_owned(), runs, is_under_way })
}

/// Stage and steps of the run in a folder.
fn progress(run: &Path) -> (RunStage, usize) {
    let trained = run.join("trained.json");
    let stage = match (run.join("run.json").is_file(), trained.is_file()) {
        (true, _) => RunStage::Complete,
        (false, true) => RunStage::Measuring,
        (false, false) => RunStage::Training,
    };
    // The record of a trained model is small; its metrics may not be.
    let n_recorded = (stage > RunStage::Training).then(|| n_steps_of(&trained)).flatten();
    (stage, n_recorded.unwrap_or_else(|| n_lines(&run.join("metrics.jsonl")).unwrap_or(0)))
}

fn n_steps_of(trained: &Path) -> Option<usize> {
    #[derive(Deserialize)]
    struct Steps {
        n_steps: usize,
    }
    let steps: Steps = serde_json::from_slice(&std::fs::read(trained).ok()?).ok()?;
    Some(steps.n_steps)
}

fn n_lines(path: &Path) -> io::Result<usize> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut n = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(n);
        }
        n += buffer.iter().filter(|byte| **byte == b'\n').count();
        let n_read = buffer.len();
        reader.consume(n_read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_comes_first_and_folders_say_how_far() {
        let folder = tempfile::tempdir().unwrap();
        let study = Study::at(folder.path());
        assert_eq!(runs(&study).unwrap().runs, []);
        let put = |path: &str, text: &str| {
            let path = study.arms().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("baseline/seed-1/run.json", "{}");
        put("baseline/seed-1/trained.json", "{\"n_steps\": 7, \"n_pairs\": 3}");
        put("drop-100/seed-1/metrics.jsonl", "{}\n{}\n{");
        put("drop-100/seed-2/trained.json", "{\"n_steps\": 5}");
        put("old-5/seed-1/metrics.jsonl", "");
        put("old-5/notes/metrics.jsonl", "");
        let planned = [("baseline", 1), ("drop-100", 1), ("switch-100", 1), ("drop-100", 2)];
        QueueFile { runs: planned.map(|(arm, seed)| (arm.to_owned(), seed)).into() }.write(&study).unwrap();
        let seen = |found: &RunsView| -> Vec<(String, RunStage, usize)> {
            found.runs.iter().map(|run| (run.folder.clone(), run.stage, run.n_steps)).collect()
        };
        let expected = |second: RunStage| {
            [
                ("baseline", RunStage::Complete, 7),
                ("drop-100", second, 2),
                ("switch-100", RunStage::Waiting, 0),
                ("drop-100", RunStage::Stopped, 5),
                ("old-5", RunStage::Stopped, 0),
            ]
            .map(|(folder, stage, n_steps)| (folder.to_owned(), stage, n_steps))
        };
        let found = runs(&study).unwrap();
        assert_eq!(seen(&found), expected(RunStage::Stopped), "nobody works on them");
        assert_eq!((found.n_complete(), found.is_complete(), found.is_under_way), (1, false, Some(false)));
        let _lock = lock::ArmsLock::take(&study).unwrap();
        let found = runs(&study).unwrap();
        assert_eq!(seen(&found), expected(RunStage::Training));
        assert_eq!(found.is_under_way, Some(true));
    }
}
