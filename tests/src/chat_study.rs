//! Studies that the chat fixture's small model extracts in a moment: pairs of very different lengths, and comparing files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binary::{Run, whence};
use crate::{fixture, vectors};

/// Numbers that look random and are the same every time (Knuth's 64-bit linear congruential generator).
#[derive(Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    /// One to `max_words` words.
    pub fn text(&mut self, max_words: usize) -> String {
        const WORDS: [&str; 12] =
            ["bread", "and", "tea", "a quiet", "river", "Ünder", "the", "clock", "日本", "don't", "12,5", "\n- item"];
        let n_words = 1 + self.below(max_words);
        (0..n_words).map(|_| WORDS[self.below(WORDS.len())]).collect::<Vec<_>>().join(" ")
    }
}

/// A pair of plain texts as an input row. Not `prompt`-less: the explicit-prompt form.
pub fn row(id: usize, prompt: &str, chosen: &str, rejected: &str) -> Value {
    let turn = |role: &str, content: &str| json!([{"role": role, "content": content}]);
    json!({
        "id": format!("pair-{id}"), "source": "synthetic", "prompt": turn("user", prompt),
        "chosen": turn("assistant", chosen), "rejected": turn("assistant", rejected),
    })
}

/// Pairs of very different lengths.
pub fn synthetic(n_pairs: usize) -> Vec<Value> {
    let mut numbers = Numbers::new(3);
    (0..n_pairs)
        .map(|id| {
            // One in eight is long, so that batches hold very different lengths.
            let longest = if numbers.below(8) == 0 { 90 } else { 15 };
            row(id, &numbers.text(longest), &numbers.text(longest), &numbers.text(longest))
        })
        .collect()
}

/// A study made of `rows` by `whence import`, in a folder of its own.
#[derive(Debug)]
pub struct Made {
    root: TempDir,
}

impl Made {
    /// Imports the rows.
    ///
    /// # Panics
    ///
    /// Panics when the import fails.
    pub fn of(rows: &[Value]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        for row in rows {
            let _ = writeln!(lines, "{row}");
        }
        let made = Self { root };
        let input = made.root.path().join("input.jsonl");
        fs::write(&input, lines).unwrap();
        whence(["import".into(), input.into_os_string(), "--study".into(), made.study().into_os_string()]).succeeds();
        made
    }

    /// Its folder.
    pub fn study(&self) -> PathBuf {
        self.root.path().join("study")
    }

    /// An empty study with the same pairs.
    ///
    /// # Panics
    ///
    /// Panics when a file cannot be copied.
    pub fn again(&self) -> Self {
        let copy = Self { root: tempfile::tempdir().unwrap() };
        fixture::copy_folder(&self.study(), &copy.study());
        copy
    }

    /// Arguments of `whence extract` with the chat fixture's model.
    pub fn args(&self, more: &[&str]) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["extract".into(), "--study".into(), self.study().into_os_string()];
        args.extend(["--model".into(), fixture::model("chat").into_os_string()]);
        // A test may say where; the CPU otherwise.
        if !more.contains(&"--device") {
            args.extend(["--device".into(), "cpu".into()]);
        }
        args.extend(more.iter().map(Into::into));
        args
    }

    /// Extracts, which must succeed.
    pub fn extract(&self, more: &[&str]) -> Run {
        whence(self.args(more)).succeeds()
    }

    /// Contents of everything under `vectors/`.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        vectors::files(&self.study().join("vectors"))
    }
}

/// Files and not only their names must be the same; the message names the first that is not.
///
/// # Panics
///
/// Panics when they are not.
#[track_caller]
pub fn assert_same(got: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>, how: &str) {
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(got), names(expected), "{how}: the same files");
    for (path, bytes) in got {
        assert!(*bytes == expected[path], "{how}: {} has other bytes", path.display());
    }
}
