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

use serde_json::Value;

use super::settings::{self, Difference, Settings};
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
        let part = files::beside(out, ".part");
        let mut fewer = Vec::new();
        if !part.exists() {
            match is_complete(out, settings, replace) {
                Ok(true) => return Ok(Opened::Complete),
                Ok(false) => {}
                Err(RolloutError::Mixed { .. }) if has_fewer_samples(&settings_of(out)?, settings) => {
                    fewer = super::read(out)?;
                }
                Err(error) => return Err(error),
            }
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
        let mut kept = Vec::with_capacity(fewer.len());
        for (rollout, line) in fewer.into_iter().zip(1..) {
            kept.push((journal.prompt_of(&rollout, out, line)?, rollout));
        }
        journal.keep(kept)?;
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
        let there = parse_settings(&self.part, header)?;
        let is_begun = has_fewer_samples(&there, self.settings);
        if !is_begun {
            same(&self.part, &there, self.settings)?;
        }
        for (i, line) in lines {
            let wrong = |reason| RolloutError::Journal { path: self.part.clone(), line: i + 1, reason };
            let rollout: Rollout = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
            let prompt = self.prompt_of(&rollout, &self.part, i + 1)?;
            self.done.insert((prompt, rollout.sample), rollout);
        }
        if is_begun {
            let mut text = serde_json::to_vec(self.settings).expect("settings serialize");
            text.push(b'\n');
            text.extend_from_slice(&bytes[header.len()..whole]);
            self.file.set_len(0).and_then(|()| self.file.write_all(&text)).at("write", &self.part)?;
        }
        Ok(())
    }

    /// Number of the prompt that a rollout, in a line of a file, is of.
    fn prompt_of(&self, rollout: &Rollout, path: &Path, line: usize) -> Result<usize, RolloutError> {
        self.prompts.get(rollout.prompt_id.as_str()).copied().ok_or_else(|| RolloutError::Journal {
            path: path.to_owned(),
            line,
            reason: format!("there is no prompt {:?}", rollout.prompt_id),
        })
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
/// [`RolloutError::Mixed`] when it was made with others, [`RolloutError::UnknownOrigin`] when that cannot be told,
/// [`RolloutError::OtherKind`] when it holds something else.
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

fn was_made_with(out: &Path, asked: &Settings) -> Result<bool, RolloutError> {
    if !out.exists() {
        return Ok(false);
    }
    let run = settings::path(out);
    if !run.exists() {
        return Err(RolloutError::UnknownOrigin { path: out.to_owned() });
    }
    let there = settings_of(out)?;
    if let Some(there) = settings::other_kind(&there, "whence-rollouts-") {
        return Err(RolloutError::OtherKind { path: out.to_owned(), there });
    }
    same(out, &there, asked)?;
    Ok(true)
}

fn settings_of(out: &Path) -> Result<Settings, RolloutError> {
    let run = settings::path(out);
    parse_settings(&run, &files::read(&run)?)
}

/// Whether what is there is a part of what is asked for: the same with fewer samples, of an endpoint. Models on this
/// machine draw by a rollout's place among all of them, so that every one is another when there are more.
fn has_fewer_samples(there: &Settings, asked: &Settings) -> bool {
    let samples = |settings: &Settings| settings.get("samples").and_then(Value::as_u64);
    let is_endpoint = asked.get("source").and_then(Value::as_str) == Some("endpoint");
    let is_same_else = || {
        let apart = there.iter().filter(|(name, _)| *name != "samples");
        apart.eq(asked.iter().filter(|(name, _)| *name != "samples"))
    };
    is_endpoint && samples(there).is_some() && samples(there) < samples(asked) && is_same_else()
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
