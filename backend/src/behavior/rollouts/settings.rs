//! What an output of rollouts or verdicts was made with: `OUT.run.json`, written after OUT, so that what was made in one way
//! is never mixed with what is made in another. Used by [`super::journal`], by imports, by
//! [`crate::judge`] and by [`crate::evaluate`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::files::{self, FileError};

/// How an output is made, by name: everything that decides what it is.
pub type Settings = BTreeMap<String, Value>;

/// The first setting in which two outputs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Its name.
    pub field: String,
    /// Its value in what is there.
    pub there: String,
    /// Its value now.
    pub asked: String,
}

impl Difference {
    /// `None` when there is none.
    pub(crate) fn between(there: &Settings, asked: &Settings) -> Option<Self> {
        let show = |value: Option<&Value>| value.map_or_else(|| "nothing".into(), Value::to_string);
        let field = there.keys().chain(asked.keys()).find(|key| there.get(*key) != asked.get(*key))?;
        Some(Self { field: field.clone(), there: show(there.get(field)), asked: show(asked.get(field)) })
    }
}

/// A file beside an output.
pub(crate) fn beside(out: &Path, ending: &str) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Where the settings of an output stand.
pub(crate) fn path(out: &Path) -> PathBuf {
    beside(out, ".run.json")
}

/// What an output holds, if it is whole and was made with these settings.
pub(crate) fn read_if_same<T: DeserializeOwned>(out: &Path, settings: &Settings) -> Option<Vec<T>> {
    let there: Settings = serde_json::from_slice(&files::read(&path(out)).ok()?).ok()?;
    let text = String::from_utf8(files::read(out).ok().filter(|_| there == *settings)?).ok()?;
    text.lines().map(|line| serde_json::from_str(line).ok()).collect()
}

/// Writes an output, a JSON line per item, and after it the settings it was made with.
pub(crate) fn write<T: Serialize>(out: &Path, items: &[T], settings: &Settings) -> Result<(), FileError> {
    files::write_jsonl(out, items)?;
    files::write_json(&path(out), settings)
}
