//! Where rollouts are kept while there are more to come: a journal beside the output, appended to as they arrive. Third
//! in the flow of `whence rollouts`, after prompts and samplers.
//!
//! ```text
//! OUT.part       first line: the settings; then a rollout per line, in the order they came
//! OUT.run.json   the settings that OUT was made with
//! OUT            a rollout per line, by prompt and sample; appears whole, last, when all are there
//! ```
//!
//! Killed at any moment, the next run with the same settings continues from OUT.part; a last line that was cut is
//! dropped. Other settings are refused, naming the one that differs.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::settings::{self, Difference, Settings, beside};
use super::{Rollout, RolloutError, TestPrompt};
use crate::files::{self, Context};

/// An open journal.
pub struct Journal<'a> {
    out: PathBuf,
    part: PathBuf,
    settings: &'a Settings,
    prompts: HashMap<&'a str, usize>,
    done: BTreeMap<(usize, usize), Rollout>,
    file: File,
}

/// What [`Journal::open`] found.
pub enum Opened<'a> {
    /// The output is complete and was made with these settings.
    Complete,
    /// There is work to do.
    Open(Journal<'a>),
}

impl<'a> Journal<'a> {
    /// Opens the journal of an output file, taking over what an earlier run with the same settings left.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Mixed`] when there are rollouts made with other settings, unless `replace`;
    /// [`RolloutError::Busy`] when another process is writing them.
    pub fn open(
        out: &Path,
        settings: &'a Settings,
        prompts: &'a [TestPrompt],
        replace: bool,
    ) -> Result<Opened<'a>, RolloutError> {
        let part = beside(out, ".part");
        if !part.exists() && is_complete(out, settings, replace)? {
            return Ok(Opened::Complete);
        }
        if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).at("create folder", folder)?;
        }
        let file = OpenOptions::new().read(true).append(true).create(true).open(&part).at("open", &part)?;
        if file.try_lock().is_err() {
            return Err(RolloutError::Busy { path: part });
        }
        let prompts = prompts.iter().enumerate().map(|(i, prompt)| (prompt.id.as_str(), i)).collect();
        let mut journal = Self { out: out.to_owned(), part, settings, prompts, done: BTreeMap::new(), file };
        match journal.take_over() {
            // Only what is in the way is discarded: the same command with `replace` continues, too.
            Err(RolloutError::Mixed { .. } | RolloutError::Journal { .. }) if replace => {
                journal.done.clear();
                journal.file.set_len(0).at("empty", &journal.part)?;
                journal.take_over()?;
            }
            outcome => outcome?,
        }
        Ok(Opened::Open(journal))
    }

    /// Reads what is there; writes the settings when nothing is.
    fn take_over(&mut self) -> Result<(), RolloutError> {
        let mut bytes = Vec::new();
        // Through the handle that holds the lock.
        self.file.rewind().and_then(|()| self.file.read_to_end(&mut bytes)).at("read", &self.part)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            self.file.set_len(whole as u64).at("cut", &self.part)?;
        }
        let mut lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
        let header = lines.next().map(|(_, header)| header);
        // Settings without a rollout, such as those of a mistyped address, are in nobody's way.
        let Some(header) = header.filter(|_| lines.peek().is_some()) else {
            self.file.set_len(0).at("empty", &self.part)?;
            let mut line = serde_json::to_vec(self.settings).expect("settings serialize");
            line.push(b'\n');
            return Ok(self.file.write_all(&line).at("write", &self.part)?);
        };
        same(&self.part, &parse_settings(&self.part, header)?, self.settings)?;
        for (i, line) in lines {
            let wrong = |reason| RolloutError::Journal { path: self.part.clone(), line: i + 1, reason };
            let rollout: Rollout = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
            let prompt = *self
                .prompts
                .get(rollout.prompt_id.as_str())
                .ok_or_else(|| wrong(format!("there is no prompt {:?}", rollout.prompt_id)))?;
            self.done.insert((prompt, rollout.sample), rollout);
        }
        Ok(())
    }

    /// Rollouts that are kept.
    pub fn n_done(&self) -> usize {
        self.done.len()
    }

    /// Whether a rollout, by prompt and sample, is kept.
    pub fn has(&self, place: (usize, usize)) -> bool {
        self.done.contains_key(&place)
    }

    /// The file that they are kept in.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Keeps rollouts, each with its prompt's index.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn keep(&mut self, rollouts: Vec<(usize, Rollout)>) -> Result<(), RolloutError> {
        let mut lines = Vec::new();
        for (_, rollout) in &rollouts {
            serde_json::to_writer(&mut lines, rollout).expect("a rollout serializes");
            lines.push(b'\n');
        }
        self.file.write_all(&lines).at("write", &self.part)?;
        self.done.extend(rollouts.into_iter().map(|(prompt, rollout)| ((prompt, rollout.sample), rollout)));
        Ok(())
    }

    /// Writes the output, in order, and removes the journal.
    ///
    /// # Errors
    ///
    /// When a file cannot be written; the journal is then still there.
    pub fn finish(self) -> Result<Vec<Rollout>, RolloutError> {
        let rollouts: Vec<Rollout> = self.done.into_values().collect();
        settings::write(&self.out, &rollouts, self.settings)?;
        fs::remove_file(&self.part).at("remove", &self.part)?;
        Ok(rollouts)
    }
}

/// Whether the output is there and was made with these settings; if it was not, it may be replaced where `replace`.
///
/// # Errors
///
/// [`RolloutError::Mixed`] when it was made with others, [`RolloutError::UnknownOrigin`] when that cannot be told.
pub(super) fn is_complete(out: &Path, settings: &Settings, replace: bool) -> Result<bool, RolloutError> {
    match was_made_with(out, settings) {
        Err(RolloutError::Mixed { .. } | RolloutError::UnknownOrigin { .. } | RolloutError::Journal { .. })
            if replace =>
        {
            Ok(false)
        }
        outcome => outcome,
    }
}

fn was_made_with(out: &Path, settings: &Settings) -> Result<bool, RolloutError> {
    if !out.exists() {
        return Ok(false);
    }
    let run = settings::path(out);
    if !run.exists() {
        return Err(RolloutError::UnknownOrigin { path: out.to_owned() });
    }
    same(out, &parse_settings(&run, &files::read(&run)?)?, settings)?;
    Ok(true)
}

fn parse_settings(path: &Path, bytes: &[u8]) -> Result<Settings, RolloutError> {
    serde_json::from_slice(bytes).map_err(|error| RolloutError::Journal {
        path: path.to_owned(),
        line: 1,
        reason: format!("not the settings of rollouts: {error}"),
    })
}

fn same(path: &Path, there: &Settings, asked: &Settings) -> Result<(), RolloutError> {
    match Difference::between(there, asked) {
        None => Ok(()),
        Some(Difference { field, there, asked }) => {
            Err(RolloutError::Mixed { path: path.to_owned(), field, there, asked })
        }
    }
}
