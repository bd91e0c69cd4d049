//! `metrics.jsonl` of a run, and TensorBoard's file beside it where it is asked for: growing while the run trains, so that
//! it can be watched. Losing them costs nothing: the checkpoint has the numbers too, and whole files are written again at
//! the end.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::tensorboard::Events;
use crate::files::{self, FileError};
use crate::train::StepMetrics;

/// The files of one run.
pub(super) struct MetricsFile {
    run: PathBuf,
    tensorboard: bool,
    open: Mutex<Option<Open>>,
}

/// Files under way; none where the disk refuses.
struct Open {
    lines: Option<File>,
    events: Option<(File, Events)>,
}

impl MetricsFile {
    /// The files in a run's folder; they are opened with the first step.
    pub(super) fn new(run: &Path, tensorboard: bool) -> Self {
        Self { run: run.to_owned(), tensorboard, open: Mutex::new(None) }
    }

    fn path(&self) -> PathBuf {
        self.run.join("metrics.jsonl")
    }

    /// Adds a step.
    pub(super) fn push(&self, step: &StepMetrics) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Open { lines, events } = open.get_or_insert_with(|| self.before(step.step));
        if let Some(file) = lines {
            let _ = file.write_all(&files::jsonl([step]));
        }
        if let Some((file, events)) = events {
            let _ = file.write_all(&events.step(step));
        }
    }

    /// Files that hold the steps before `step`. Steps after the last checkpoint are taken again: their earlier lines go.
    fn before(&self, step: usize) -> Open {
        let text = fs::read_to_string(self.path()).unwrap_or_default();
        let read = text.lines().map_while(|line| serde_json::from_str::<StepMetrics>(line).ok());
        let kept: Vec<StepMetrics> = read.take_while(|kept| kept.step < step).collect();
        let begin = |path: &Path, bytes: &[u8]| {
            let mut file = File::create(path).ok()?;
            file.write_all(bytes).ok()?;
            Some(file)
        };
        let lines = files::jsonl(&kept);
        let events = self.tensorboard.then(|| {
            let path = Events::path(&self.run);
            let (events, bytes) = encode(&path, &kept);
            Some((begin(&path, &bytes)?, events))
        });
        Open { lines: begin(&self.path(), &lines), events: events.flatten() }
    }

    /// Writes the whole files.
    pub(super) fn finish(&self, metrics: &[StepMetrics]) -> Result<(), FileError> {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
        files::write_jsonl(&self.path(), metrics)?;
        if self.tensorboard {
            let path = Events::path(&self.run);
            files::write(&path, &encode(&path, metrics).1)?;
        }
        Ok(())
    }
}

/// An event file with these steps.
fn encode(path: &Path, metrics: &[StepMetrics]) -> (Events, Vec<u8>) {
    let (mut events, mut bytes) = Events::begin(path);
    for step in metrics {
        bytes.extend(events.step(step));
    }
    (events, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize) -> StepMetrics {
        let (loss, grad_norm, learning_rate) = (0.5, 1.0, 1e-3);
        StepMetrics { step, loss, grad_norm, learning_rate, n_tokens: 100, tokens_per_sec: 50.0, preferences: None }
    }

    #[test]
    fn steps_that_are_taken_again_are_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let read = || {
            let events = fs::read(Events::path(folder.path())).unwrap();
            (fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap(), events)
        };
        let whole: Vec<StepMetrics> = (1..=5).map(step).collect();
        let killed = MetricsFile::new(folder.path(), true);
        whole[..4].iter().for_each(|step| killed.push(step));
        drop(killed);
        // Half a line and half a record, as a kill leaves them.
        let mut lines = fs::OpenOptions::new().append(true).open(folder.path().join("metrics.jsonl")).unwrap();
        lines.write_all(b"{\"step\": 5, \"lo").unwrap();
        let again = MetricsFile::new(folder.path(), true);
        whole[2..].iter().for_each(|step| again.push(step));
        let grown = read();
        assert_eq!(grown.0.lines().count(), 5);
        again.finish(&whole).unwrap();
        assert!(read() == grown, "what has grown is what is written at the end");
        assert_eq!(grown.1, encode(&Events::path(folder.path()), &whole).1);
    }
}
