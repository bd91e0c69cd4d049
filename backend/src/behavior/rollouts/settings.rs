//! What an output of rollouts or verdicts was made with: `OUT.run.json`, so that what was made in one way is never mixed
//! with what is made in another. OUT appears last: where it is, its settings are. Used by [`super::journal`], by imports, by
//! [`crate::judge`] and by [`crate::evaluate`].

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::files::{self, AtomicFile, Context, FileError};

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

/// What an output holds instead of what is asked for: the setting with both values, and hashes by what they are of.
pub(crate) fn told(what: &str, field: &str, there: &str, asked: &str) -> String {
    let of = match field {
        "prompts_sha256" => "of other prompts",
        "rollouts_sha256" => "of other rollouts",
        "questions_sha256" => "to other questions",
        "rules_sha256" => "by other rules",
        "prompt_sha256" => "by a judge that was asked with another prompt",
        "model_sha256" => "of a model with other weights",
        "template_sha256" => "in another text form",
        "input_sha256" => "imported from other contents",
        _ => return format!("{what} with {field} = {there}, but now {field} = {asked}"),
    };
    format!("{what} {of}")
}

/// Where the settings of an output stand.
pub(crate) fn path(out: &Path) -> PathBuf {
    files::beside(out, ".run.json")
}

/// The first setting in which an output that is there was made otherwise; none where there is none, or nothing says how it was
/// made.
pub(crate) fn difference(out: &Path, settings: &Settings) -> Option<Difference> {
    let there: Settings = serde_json::from_slice(&files::read(&path(out)).ok().filter(|_| out.exists())?).ok()?;
    Difference::between(&there, settings)
}

/// Which kind of output the settings are of, in words, where that is another than `format`, such as `whence-verdicts-1`.
pub(crate) fn other_kind(settings: &Settings, format: &str) -> Option<&'static str> {
    let kind = |format: &str| match format {
        format if format.starts_with("whence-rollouts-") => Some("rollouts"),
        format if format.starts_with("whence-verdicts-") => Some("verdicts"),
        format if format.starts_with("whence-choices-") => Some("answers to multiple-choice questions"),
        _ => None,
    };
    settings.get("format").and_then(Value::as_str).and_then(kind).filter(|&there| kind(format) != Some(there))
}

/// What an output holds, if it is whole and was made with these settings.
pub(crate) fn read_if_same<T: DeserializeOwned>(out: &Path, settings: &Settings) -> Option<Vec<T>> {
    let there: Settings = serde_json::from_slice(&files::read(&path(out)).ok()?).ok()?;
    let text = String::from_utf8(files::read(out).ok().filter(|_| there == *settings)?).ok()?;
    text.lines().map(|line| serde_json::from_str(line).ok()).collect()
}

/// Writes an output, a JSON line per item, and the settings it was made with. Stopped at any moment, it leaves no output
/// beside settings that are not its own, nor an output without settings: an earlier one is removed first.
pub(crate) fn write<T: Serialize>(out: &Path, items: &[T], settings: &Settings) -> Result<(), FileError> {
    let mut whole = AtomicFile::create(out)?;
    whole.write_all(&files::jsonl(items)).at("write", out)?;
    match fs::remove_file(out) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("replace", out),
        _ => {}
    }
    files::write_json(&path(out), settings)?;
    whole.commit()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made_with(seed: u64) -> Settings {
        [("seed".to_owned(), json!(seed))].into()
    }

    #[test]
    fn an_output_is_there_only_beside_its_own_settings() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.jsonl");
        write(&out, &[1, 2], &made_with(1)).unwrap();
        assert_eq!(read_if_same(&out, &made_with(1)), Some(vec![1, 2]));
        assert_eq!(read_if_same::<i32>(&out, &made_with(2)), None);

        // Stopped where the settings are written: neither the earlier output under later settings nor the later without.
        fs::remove_file(path(&out)).unwrap();
        fs::create_dir(path(&out)).unwrap();
        write(&out, &[3], &made_with(2)).unwrap_err();
        assert!(!out.exists());

        // Stopped before the output has its name: made again.
        fs::remove_dir(path(&out)).unwrap();
        files::write_json(&path(&out), &made_with(2)).unwrap();
        assert_eq!(read_if_same::<i32>(&out, &made_with(2)), None);
        write(&out, &[3], &made_with(2)).unwrap();
        assert_eq!(read_if_same(&out, &made_with(2)), Some(vec![3]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no other file is left");
    }
}
