//! Changes on their way to the backend, in the order in which they were made. This browser keeps them until the backend has
//! them: a page that is closed meanwhile loses nothing.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use whence_shared::edit::worklist::Decided;
use whence_shared::json;
use whence_shared::spans;

use super::browser::{Store, storage};

/// Pairs that one change is about, with what is decided of each; `None` takes back.
pub type Rows = Vec<(u32, Option<Decided>)>;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Decisions about pairs.
    Change {
        /// What was done, in words.
        what: String,
        /// The pairs.
        rows: Rows,
    },
    /// Taking back or doing again.
    Travel {
        /// Whether back.
        is_back: bool,
        /// What, in words.
        what: String,
        /// Whether the page shows it already.
        is_shown: bool,
    },
}

/// The changes; empty when the backend has everything.
#[derive(Debug, Default)]
pub struct Outbox {
    steps: VecDeque<Step>,
    /// The name in the browser's storage; none before it is known which study it is of.
    key: Option<String>,
    /// Whether the browser keeps them.
    is_kept: bool,
}

impl Outbox {
    /// Takes up what other pages about these pairs left unsent, before what this page changed.
    pub fn open(&mut self, store: &Store) {
        if self.key.is_some() {
            return;
        }
        let prefix = store.unsent();
        let token = (js_sys::Math::random() * 1e9) as u32;
        self.key = Some(format!("{prefix}{:.0}-{token}", js_sys::Date::now()));
        let Some(storage) = storage() else { return };
        let n_keys = storage.length().unwrap_or(0);
        let mut keys: Vec<String> = (0..n_keys)
            .filter_map(|at| storage.key(at).ok().flatten())
            .filter(|key| key.starts_with(&prefix))
            .collect();
        // Their names begin with the time: the oldest first.
        keys.sort();
        let mut left: VecDeque<Step> = VecDeque::new();
        for key in &keys {
            let json = storage.get_item(key).ok().flatten().unwrap_or_default();
            left.extend(read(&json, store.n_pairs()));
        }
        left.append(&mut self.steps);
        self.steps = left;
        self.keep();
        if self.is_kept {
            keys.iter().for_each(|key| drop(storage.remove_item(key)));
        }
    }

    /// The first one.
    pub fn first(&self) -> Option<&Step> {
        self.steps.front()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Adds one.
    pub fn push(&mut self, step: Step) {
        self.steps.push_back(step);
        self.keep();
    }

    /// The backend has the first one, or does not want it.
    pub fn pop(&mut self) {
        self.steps.pop_front();
        self.keep();
    }

    /// Takes all out.
    pub fn take(&mut self) -> Vec<Step> {
        let steps = std::mem::take(&mut self.steps).into();
        self.keep();
        steps
    }

    /// Leaves those in that `stays` wants.
    pub fn retain(&mut self, stays: impl FnMut(&Step) -> bool) {
        self.steps.retain(stays);
        self.keep();
    }

    /// What will be decided by all that is unsent, by row.
    pub fn rows(&self) -> BTreeMap<u32, Option<Decided>> {
        let changes = self.steps.iter().filter_map(|step| match step {
            Step::Change { rows, .. } => Some(rows),
            Step::Travel { .. } => None,
        });
        changes.flatten().cloned().collect()
    }

    /// The changes in it, in order.
    pub fn changes(&self) -> Vec<(String, Rows)> {
        let change = |step: &Step| match step {
            Step::Change { what, rows } => Some((what.clone(), rows.clone())),
            Step::Travel { .. } => None,
        };
        self.steps.iter().filter_map(change).collect()
    }

    /// Whether this browser keeps them: then they outlive the page.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    fn keep(&mut self) {
        let (Some(key), Some(storage)) = (&self.key, storage()) else {
            self.is_kept = false;
            return;
        };
        // What stays behind in the storage would be sent again, and change nothing then.
        let kept =
            if self.steps.is_empty() { storage.remove_item(key) } else { storage.set_item(key, &to_json(&self.steps)) };
        self.is_kept = kept.is_ok();
    }
}

/// A step as it is kept: rows with the same decision together.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kept {
    Change { what: String, rows: Vec<(String, Option<Decided>)> },
    Undo { what: String },
    Redo { what: String },
}

fn to_json(steps: &VecDeque<Step>) -> String {
    let kept = |step: &Step| match step.clone() {
        Step::Change { what, rows } => {
            let mut groups: BTreeMap<Option<Decided>, Vec<u32>> = BTreeMap::new();
            rows.into_iter().for_each(|(row, decided)| groups.entry(decided).or_default().push(row));
            let rows = groups.into_iter().map(|(decided, rows)| (spans::format(&rows), decided)).collect();
            Kept::Change { what, rows }
        }
        Step::Travel { is_back: true, what, .. } => Kept::Undo { what },
        Step::Travel { is_back: false, what, .. } => Kept::Redo { what },
    };
    serde_json::to_string(&steps.iter().map(kept).collect::<Vec<_>>()).expect("plain data serializes")
}

/// What another page left; what cannot be read is of another version, and nothing that could be sent.
fn read(json: &str, n_pairs: usize) -> Vec<Step> {
    let kept: Vec<Kept> = json::from_str(json).unwrap_or_default();
    let step = |kept: Kept| match kept {
        Kept::Change { what, rows } => {
            let mut all = Rows::new();
            for (text, decided) in rows {
                let rows = spans::parse(&text)?;
                all.extend(rows.into_iter().map(|row| (row, decided.clone())));
            }
            all.iter().all(|(row, _)| (*row as usize) < n_pairs).then_some(Step::Change { what, rows: all })
        }
        Kept::Undo { what } => Some(Step::Travel { is_back: true, what, is_shown: false }),
        Kept::Redo { what } => Some(Step::Travel { is_back: false, what, is_shown: false }),
    };
    kept.into_iter().filter_map(step).collect()
}
