//! Decisions pair by pair, with their history: what somebody who reads a ranking collects. Every change can be undone and
//! done again; [`CsvLine::to_text`] is what `whence edit --decisions` reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Decision;
use crate::json;
use crate::spans;

/// The value of the stored form's `format`.
pub const FORMAT: &str = "whence.decisions/1";
/// Changes that can be undone; older ones stay done.
pub const MAX_CHANGES: usize = 200;

/// What was decided about a pair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Decided {
    /// What to do with it. `keep` says that somebody looked and left it as it is.
    pub action: Decision,
    /// Why, in words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// One change of the worklist: of one pair, or of many by a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What was done, in words.
    pub what: String,
    /// When, in milliseconds since 1970.
    pub at_ms: f64,
    /// The pairs it changed: row, what was decided before, what after.
    pub rows: Vec<(u32, Option<Decided>, Option<Decided>)>,
}

/// All decisions about a study's pairs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Worklist {
    decided: BTreeMap<u32, Decided>,
    changes: Vec<Change>,
    /// How many of the changes are done; those after it were undone.
    n_done: usize,
}

/// Why a stored worklist cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorklistError {
    /// Not JSON of this form.
    #[error("not a list of decisions: {0}")]
    Json(String),
    /// Of another version.
    #[error("expected format {FORMAT:?}, got {0:?}: it was stored by another version of Whence")]
    Format(String),
    /// Rows that cannot be read or that the study does not have.
    #[error("expected rows below {n_pairs} such as 0-4,17, got {got:?}")]
    Rows {
        /// Pairs of the study.
        n_pairs: usize,
        /// As stored.
        got: String,
    },
}

impl Worklist {
    /// Decisions whose history somebody else keeps.
    pub fn of(decided: impl IntoIterator<Item = (u32, Decided)>) -> Self {
        Self { decided: decided.into_iter().collect(), ..Self::default() }
    }

    /// What was decided about a pair.
    pub fn get(&self, row: u32) -> Option<&Decided> {
        self.decided.get(&row)
    }

    /// All decisions, by row.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Decided)> {
        self.decided.iter().map(|(row, decided)| (*row, decided))
    }

    /// How many pairs somebody decided about.
    pub fn len(&self) -> usize {
        self.decided.len()
    }

    /// Whether nothing was decided.
    pub fn is_empty(&self) -> bool {
        self.decided.is_empty()
    }

    /// Pairs with this decision.
    pub fn n(&self, action: Decision) -> usize {
        self.decided.values().filter(|decided| decided.action == action).count()
    }

    /// What to do with a pair: as decided, or keep.
    pub fn action(&self, row: u32) -> Decision {
        self.get(row).map_or(Decision::Keep, |decided| decided.action)
    }

    /// Changes, the oldest first; those from [`Worklist::n_done`] on were undone.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What [`Worklist::undo`] would take back, in words.
    pub fn next_undo(&self) -> Option<&str> {
        self.n_done.checked_sub(1).map(|last| self.changes[last].what.as_str())
    }

    /// What [`Worklist::redo`] would do again, in words.
    pub fn next_redo(&self) -> Option<&str> {
        self.changes.get(self.n_done).map(|change| change.what.as_str())
    }

    /// How many of the changes are done.
    pub fn n_done(&self) -> usize {
        self.n_done
    }

    /// Decides about pairs, or takes decisions back (`None`). Returns how many that changes; what was undone before can
    /// then no longer be done again. Nothing happens when it changes none.
    pub fn decide(
        &mut self,
        what: impl Into<String>,
        at_ms: f64,
        decisions: impl IntoIterator<Item = (u32, Option<Decided>)>,
    ) -> usize {
        let rows: Vec<_> = decisions
            .into_iter()
            .map(|(row, after)| (row, self.get(row).cloned(), after))
            .filter(|(_, before, after)| before != after)
            .collect();
        let n = rows.len();
        if n == 0 {
            return 0;
        }
        self.changes.truncate(self.n_done);
        self.changes.push(Change { what: what.into(), at_ms, rows });
        self.n_done += 1;
        self.carry_out(self.n_done - 1, true);
        let n_old = self.changes.len().saturating_sub(MAX_CHANGES);
        self.changes.drain(..n_old);
        self.n_done -= n_old;
        n
    }

    /// Takes the last change back; what it was, in words.
    pub fn undo(&mut self) -> Option<String> {
        let last = self.n_done.checked_sub(1)?;
        self.n_done = last;
        self.carry_out(last, false);
        Some(self.changes[last].what.clone())
    }

    /// Does again what was undone last; what it was, in words.
    pub fn redo(&mut self) -> Option<String> {
        let what = self.changes.get(self.n_done)?.what.clone();
        self.n_done += 1;
        self.carry_out(self.n_done - 1, true);
        Some(what)
    }

    /// Follows what somebody else made of pairs. What was done here before can then no longer be undone here.
    pub fn follow(&mut self, rows: impl IntoIterator<Item = (u32, Option<Decided>)>) {
        (self.changes, self.n_done) = (Vec::new(), 0);
        for (row, after) in rows {
            match after {
                Some(decided) => drop(self.decided.insert(row, decided)),
                None => drop(self.decided.remove(&row)),
            }
        }
    }

    fn carry_out(&mut self, change: usize, forward: bool) {
        for (row, before, after) in &self.changes[change].rows {
            match if forward { after } else { before } {
                Some(decided) => drop(self.decided.insert(*row, decided.clone())),
                None => drop(self.decided.remove(row)),
            }
        }
    }

    /// As JSON, rows in spans.
    pub fn to_json(&self) -> String {
        let decided = grouped(self.iter().map(|(row, decided)| (row, decided.clone())))
            .into_iter()
            .map(|(decided, rows)| StoredDecided { decided, rows })
            .collect();
        let change = |change: &Change| StoredChange {
            what: change.what.clone(),
            at_ms: change.at_ms,
            rows: grouped(change.rows.iter().map(|(row, before, after)| (*row, (before.clone(), after.clone()))))
                .into_iter()
                .map(|((before, after), rows)| StoredRows { rows, before, after })
                .collect(),
        };
        let changes = self.changes.iter().map(change).collect();
        let stored = Stored { format: FORMAT.into(), decided, changes, n_done: self.n_done };
        serde_json::to_string(&stored).expect("plain data serializes")
    }

    /// Reads what [`Worklist::to_json`] wrote about a study of so many pairs.
    ///
    /// # Errors
    ///
    /// [`WorklistError`].
    pub fn from_json(json: &str, n_pairs: usize) -> Result<Self, WorklistError> {
        let stored: Stored = json::from_str(json).map_err(|error| WorklistError::Json(error.to_string()))?;
        if stored.format != FORMAT {
            return Err(WorklistError::Format(stored.format));
        }
        let rows = |text: &str| {
            let rows = spans::parse(text).filter(|rows| rows.iter().all(|row| (*row as usize) < n_pairs));
            rows.ok_or_else(|| WorklistError::Rows { n_pairs, got: text.chars().take(80).collect() })
        };
        let mut worklist = Self::default();
        for StoredDecided { decided, rows: text } in stored.decided {
            worklist.decided.extend(rows(&text)?.into_iter().map(|row| (row, decided.clone())));
        }
        for change in stored.changes {
            let mut changed = Vec::new();
            for StoredRows { rows: text, before, after } in change.rows {
                changed.extend(rows(&text)?.into_iter().map(|row| (row, before.clone(), after.clone())));
            }
            worklist.changes.push(Change { what: change.what, at_ms: change.at_ms, rows: changed });
        }
        worklist.n_done = stored.n_done.min(worklist.changes.len());
        Ok(worklist)
    }
}

/// Rows with the same value together, as spans.
fn grouped<T: Ord>(rows: impl Iterator<Item = (u32, T)>) -> Vec<(T, String)> {
    let mut groups: BTreeMap<T, Vec<u32>> = BTreeMap::new();
    for (row, value) in rows {
        groups.entry(value).or_default().push(row);
    }
    groups.into_iter().map(|(value, rows)| (value, spans::format(&rows))).collect()
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: String,
    decided: Vec<StoredDecided>,
    changes: Vec<StoredChange>,
    n_done: usize,
}

#[derive(Serialize, Deserialize)]
struct StoredDecided {
    #[serde(flatten)]
    decided: Decided,
    rows: String,
}

#[derive(Serialize, Deserialize)]
struct StoredChange {
    what: String,
    at_ms: f64,
    rows: Vec<StoredRows>,
}

#[derive(Serialize, Deserialize)]
struct StoredRows {
    rows: String,
    before: Option<Decided>,
    after: Option<Decided>,
}

/// One line of the file that `whence edit --decisions` reads.
#[derive(Debug, Clone, PartialEq)]
pub struct CsvLine<'a> {
    /// Row of the pair, from 0.
    pub row: u32,
    /// Its id.
    pub id: &'a str,
    /// What was decided.
    pub decided: &'a Decided,
    /// Its score and its rank from 1, where there is a ranking.
    pub ranked: Option<(f32, u32)>,
}

/// The heading of that file, with its line break.
pub const CSV_HEADING: &str = "row,id,action,reason,score,rank\n";

impl CsvLine<'_> {
    /// The line, with its line break; fields quoted as RFC 4180 says.
    pub fn to_text(&self) -> String {
        // `{}` prints the shortest decimal that reads back as the same f32.
        let (score, rank) =
            self.ranked.map_or_else(Default::default, |(score, rank)| (score.to_string(), rank.to_string()));
        let Decided { action, note } = self.decided;
        format!("{},{},{},{},{score},{rank}\n", self.row, csv_field(self.id), action.name(), csv_field(note))
    }
}

/// A field of a CSV file, quoted where RFC 4180 asks for it.
pub fn csv_field(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop(note: &str) -> Option<Decided> {
        Some(Decided { action: Decision::Drop, note: note.into() })
    }

    fn switch() -> Option<Decided> {
        Some(Decided { action: Decision::Switch, note: "top 3".into() })
    }

    fn rows(worklist: &Worklist) -> Vec<(u32, Decision)> {
        worklist.iter().map(|(row, decided)| (row, decided.action)).collect()
    }

    #[test]
    fn changes_are_undone_and_done_again() {
        let mut worklist = Worklist::default();
        assert_eq!(worklist.undo(), None);
        assert_eq!(worklist.decide("drop row 7", 1.0, [(7, drop("why"))]), 1);
        assert_eq!(worklist.decide("switch the top 3", 2.0, [(5, switch()), (7, switch()), (9, switch())]), 3);
        assert_eq!(worklist.decide("the same", 3.0, [(5, switch())]), 0, "changes nothing");
        assert_eq!(rows(&worklist), [5, 7, 9].map(|row| (row, Decision::Switch)));
        assert_eq!(worklist.undo().as_deref(), Some("switch the top 3"));
        assert_eq!(worklist.get(7), drop("why").as_ref());
        assert_eq!(worklist.len(), 1);
        assert_eq!(worklist.redo().as_deref(), Some("switch the top 3"));
        assert_eq!(worklist.redo(), None);
        worklist.undo();
        worklist.undo();
        assert!(worklist.is_empty());
        worklist.decide("drop row 1", 4.0, [(1, drop(""))]);
        assert_eq!(worklist.redo(), None, "a new change ends what was undone");
        assert_eq!(worklist.changes().len(), 1);
        worklist.decide("take back", 5.0, [(1, None)]);
        assert!(worklist.is_empty());
    }

    #[test]
    fn a_list_that_somebody_else_keeps_is_followed_and_only_what_is_done_here_is_undone_here() {
        let mut worklist = Worklist::of([(1, drop("").unwrap()), (2, drop("").unwrap())]);
        assert_eq!((worklist.len(), worklist.next_undo(), worklist.next_redo()), (2, None, None));
        worklist.decide("switch row 1", 1.0, [(1, switch())]);
        assert_eq!(worklist.next_undo(), Some("switch row 1"));
        worklist.undo();
        assert_eq!((worklist.next_undo(), worklist.next_redo()), (None, Some("switch row 1")));
        worklist.redo();
        worklist.follow([(1, None), (7, switch())]);
        assert_eq!(rows(&worklist), [(2, Decision::Drop), (7, Decision::Switch)]);
        assert_eq!((worklist.undo(), worklist.redo()), (None, None));
    }

    #[test]
    fn a_worklist_comes_back_from_its_json_in_spans() {
        let mut worklist = Worklist::default();
        worklist.decide("a rule", 1.0, (0..10_000).map(|row| (row * 2, switch())));
        worklist.decide("a rule", 1.5, (0..10_000).map(|row| (row, drop("x"))));
        worklist.decide("one", 2.0, [(3, None)]);
        worklist.undo();
        let json = worklist.to_json();
        assert!(json.contains("\"rows\":\"0-9999\""), "{json}");
        let read = Worklist::from_json(&json, 20_000).unwrap();
        assert_eq!(read.to_json(), json);
        assert_eq!((rows(&read), read.n_done()), (rows(&worklist), 2));
        let error = Worklist::from_json(&json, 100).unwrap_err();
        assert!(matches!(error, WorklistError::Rows { n_pairs: 100, .. }), "{error}");
        assert!(matches!(Worklist::from_json("{", 9), Err(WorklistError::Json(_))));
        let newer = json.replace(FORMAT, "whence.decisions/2");
        assert_eq!(Worklist::from_json(&newer, 20_000), Err(WorklistError::Format("whence.decisions/2".into())));
    }

    #[test]
    fn old_changes_can_no_longer_be_undone() {
        let mut worklist = Worklist::default();
        for row in 0..MAX_CHANGES as u32 + 5 {
            worklist.decide("drop", 0.0, [(row, drop(""))]);
        }
        while worklist.undo().is_some() {}
        assert_eq!(rows(&worklist).len(), 5);
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let decided = Decided { action: Decision::Drop, note: "two\nlines, \"quoted\"".into() };
        let line = CsvLine { row: 2, id: "a,b", decided: &decided, ranked: Some((0.25, 7)) };
        assert_eq!(line.to_text(), "2,\"a,b\",drop,\"two\nlines, \"\"quoted\"\"\",0.25,7\n");
        let kept = Decided::default();
        assert_eq!(CsvLine { row: 0, id: "x", decided: &kept, ranked: None }.to_text(), "0,x,keep,,,\n");
    }
}
