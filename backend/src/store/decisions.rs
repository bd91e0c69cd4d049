//! The worklist of decisions in `whence.db`, with its history ([`whence_shared::api`] says how it looks from outside).
//!
//! Every change is a step: what it made of each pair is kept, so that it can be undone and done again, also by another
//! session later. A new step ends what could be redone.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, Row, params};
use whence_shared::api::{
    Action, ChangeDecisions, Decision, DecisionRule, DecisionStep, Decisions, DecisionsChange, MAX_NOTE_BYTES,
    PutDecisions, RankingEnd,
};

use super::list::{self, Change, Held};
use super::remap::remap;
use super::{Store, StoreError, now};
use crate::attribute::table;
use crate::edit::pair_sha256;
use crate::study::{Study, is_plain_name};
use crate::view::pairs::OpenPairs;

/// Steps that can be undone; older ones are forgotten.
const MAX_STEPS: i64 = 1000;

impl Store {
    /// The worklist.
    ///
    /// # Errors
    ///
    /// When the database or the pairs cannot be read.
    pub fn decisions(&self, pairs: &OpenPairs) -> Result<Decisions, StoreError> {
        let read = self.transaction(false, |database| {
            remap(database, pairs, &self.sql())?;
            let (undo, redo) = next_steps(database).map_err(self.sql())?;
            let decisions = held(database).map_err(self.sql())?.iter().map(Held::decision).collect();
            let lost = lost(database).map_err(self.sql())?.iter().map(Held::decision).collect();
            Ok(Decisions { version: version(database).map_err(self.sql())?, decisions, lost, undo, redo })
        })?;
        Ok(read.unwrap_or_default())
    }

    /// Replaces the whole worklist.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] when it is no longer what the reader saw; [`StoreError::Malformed`] when a decision is about
    /// no pair or two are about one.
    pub fn put(&self, pairs: &OpenPairs, put: &PutDecisions) -> Result<DecisionsChange, StoreError> {
        self.step(pairs, put.version, &put.label, |held| {
            let known = checked(pairs, held, &put.decisions)?;
            Ok(list::changes_to(held, &put.decisions, &known))
        })
    }

    /// Decides about some pairs.
    ///
    /// # Errors
    ///
    /// As [`Store::put`].
    pub fn change(&self, pairs: &OpenPairs, asked: &ChangeDecisions) -> Result<DecisionsChange, StoreError> {
        if let Some(decision) = asked.decide.iter().find(|decision| asked.remove.contains(&decision.row)) {
            return Err(StoreError::Malformed(format!("row {} is to be decided and removed at once", decision.row)));
        }
        self.step(pairs, asked.version, &asked.label, |held| {
            let known = checked(pairs, held, &asked.decide)?;
            Ok(list::changes(held, &asked.decide, &asked.remove, &known))
        })
    }

    /// Decides about the first or last pairs of a stored ranking.
    ///
    /// # Errors
    ///
    /// As [`Store::put`]; [`StoreError::NoRanking`].
    pub fn rule(&self, study: &Study, pairs: &OpenPairs, rule: &DecisionRule) -> Result<DecisionsChange, StoreError> {
        let n_pairs = pairs.file.len();
        if rule.n == 0 || rule.n > n_pairs {
            return Err(StoreError::Malformed(format!("n: expected a number from 1 to {n_pairs}, got {}", rule.n)));
        }
        let rows = end_of_ranking(study, pairs, rule)?;
        let end = if rule.end == RankingEnd::Top { "top" } else { "bottom" };
        let (n, action) = (rule.n, rule.action.name());
        let words = format!("{end} {n} of {} at layer {}: {action}", rule.behavior, rule.layer);
        let note = if rule.note.is_empty() { &words } else { &rule.note };
        self.step(pairs, rule.version, &words, |held| {
            let decided: BTreeSet<usize> = held.iter().map(|held| held.row).collect();
            let rows: Vec<u32> =
                rows.into_iter().filter(|row| !(rule.keep_decided && decided.contains(&(*row as usize)))).collect();
            let known = pairs_of(pairs, &rows)?;
            let decide: Vec<Decision> = rows
                .iter()
                .map(|row| *row as usize)
                .map(|row| Decision { row, id: known[&row].0.clone(), action: rule.action, note: note.clone() })
                .collect();
            check_note(note)?;
            Ok(list::changes(held, &decide, &[], &known))
        })
    }

    /// Takes the last step back that is not undone.
    ///
    /// # Errors
    ///
    /// As [`Store::put`]; [`StoreError::Malformed`] when there is none.
    pub fn undo(&self, pairs: &OpenPairs, seen: u64) -> Result<DecisionsChange, StoreError> {
        self.travel(pairs, seen, true)
    }

    /// Does the first undone step again.
    ///
    /// # Errors
    ///
    /// As [`Store::undo`].
    pub fn redo(&self, pairs: &OpenPairs, seen: u64) -> Result<DecisionsChange, StoreError> {
        self.travel(pairs, seen, false)
    }

    /// What was done, first step first; undone steps last.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn history(&self, pairs: &OpenPairs) -> Result<Vec<DecisionStep>, StoreError> {
        let read = self.transaction(false, |database| {
            remap(database, pairs, &self.sql())?;
            steps(database).map_err(self.sql())
        })?;
        Ok(read.unwrap_or_default())
    }

    /// The decisions with the hashes of their pairs, in the order of time, when `seen` is the present version.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] when it is not.
    pub fn held(&self, pairs: &OpenPairs, seen: u64) -> Result<Vec<Held>, StoreError> {
        let read = self.transaction(false, |database| {
            remap(database, pairs, &self.sql())?;
            check_version(version(database).map_err(self.sql())?, seen)?;
            held(database).map_err(self.sql())
        })?;
        if read.is_none() {
            check_version(0, seen)?;
        }
        Ok(read.unwrap_or_default())
    }

    fn step(
        &self,
        pairs: &OpenPairs,
        seen: u64,
        label: &str,
        change: impl FnOnce(&[Held]) -> Result<Vec<Change>, StoreError>,
    ) -> Result<DecisionsChange, StoreError> {
        check_note(label)?;
        let done = self.transaction(true, |database| {
            remap(database, pairs, &self.sql())?;
            check_version(version(database).map_err(self.sql())?, seen)?;
            let changes = change(&held(database).map_err(self.sql())?)?;
            if !changes.is_empty() {
                let label = if label.is_empty() { list::label(&changes) } else { label.to_owned() };
                remember(database, &label, &changes).map_err(self.sql())?;
                apply(database, &changes).map_err(self.sql())?;
            }
            outcome(database, &changes).map_err(self.sql())
        })?;
        Ok(done.expect("created where it was not there"))
    }

    fn travel(&self, pairs: &OpenPairs, seen: u64, back: bool) -> Result<DecisionsChange, StoreError> {
        let done = self.transaction(false, |database| {
            remap(database, pairs, &self.sql())?;
            check_version(version(database).map_err(self.sql())?, seen)?;
            let Some((number, _)) = next_step(database, back).map_err(self.sql())? else { return Ok(None) };
            let mut changes = changes_of(database, number).map_err(self.sql())?;
            if back {
                changes = changes.into_iter().map(Change::reversed).collect();
            }
            database
                .execute("UPDATE step SET is_undone = ?2 WHERE number = ?1", params![number, back])
                .map_err(self.sql())?;
            apply(database, &changes).map_err(self.sql())?;
            outcome(database, &changes).map(Some).map_err(self.sql())
        })?;
        let what = if back { "undo" } else { "do again" };
        done.flatten().ok_or_else(|| StoreError::Malformed(format!("there is nothing to {what}")))
    }
}

fn check_version(expected: u64, got: u64) -> Result<(), StoreError> {
    if expected == got { Ok(()) } else { Err(StoreError::Changed { expected, got }) }
}

fn check_note(note: &str) -> Result<(), StoreError> {
    match note.len() {
        n if n > MAX_NOTE_BYTES => {
            Err(StoreError::Malformed(format!("a note or label has {n} bytes: expected at most {MAX_NOTE_BYTES}")))
        }
        _ => Ok(()),
    }
}

/// Ids and hashes of the pairs that decisions are about, which must be theirs. Those that are held already are not read again.
fn checked(
    pairs: &OpenPairs,
    held: &[Held],
    decisions: &[Decision],
) -> Result<HashMap<usize, (String, String)>, StoreError> {
    let wrong = |reason: String| Err(StoreError::Malformed(reason));
    let mut known: HashMap<usize, (String, String)> =
        held.iter().map(|held| (held.row, (held.id.clone(), held.pair_sha256.clone()))).collect();
    let (mut seen, mut unknown) = (BTreeSet::new(), Vec::new());
    for decision in decisions {
        let (row, n_pairs) = (decision.row, pairs.file.len());
        check_note(&decision.note)?;
        if row >= n_pairs {
            return wrong(format!("row {row}: the study has {n_pairs} pairs, rows from 0"));
        }
        if !seen.insert(row) {
            return wrong(format!("row {row} is decided twice: expected one decision per pair"));
        }
        if !known.contains_key(&row) {
            unknown.push(row as u32);
        }
    }
    known.extend(pairs_of(pairs, &unknown)?);
    match decisions.iter().find(|decision| known[&decision.row].0 != decision.id) {
        None => Ok(known),
        Some(Decision { row, id, .. }) => {
            wrong(format!("row {row} has the id {:?}, not {id:?}: these are other pairs", known[row].0))
        }
    }
}

/// Ids and hashes of pairs, by row.
fn pairs_of(pairs: &OpenPairs, rows: &[u32]) -> Result<HashMap<usize, (String, String)>, StoreError> {
    let mut sorted = rows.to_vec();
    sorted.sort_unstable();
    let mut found = HashMap::with_capacity(rows.len());
    pairs.file.visit_rows(&sorted, |row, pair| {
        let sha256 = pair_sha256(&pair);
        found.insert(row as usize, (pair.id, sha256));
    })?;
    Ok(found)
}

/// Rows of the wanted end, that end first.
fn end_of_ranking(study: &Study, pairs: &OpenPairs, rule: &DecisionRule) -> Result<Vec<u32>, StoreError> {
    let DecisionRule { behavior, layer, end, n, .. } = rule;
    let none = || StoreError::NoRanking { behavior: behavior.clone(), layer: *layer, end: *end };
    let path = study.ranking(behavior, *layer);
    if !is_plain_name(behavior) || !path.is_file() {
        return Err(none());
    }
    let ranking = table::read_order(&path).map_err(crate::edit::EditError::from)?;
    if ranking.made_from.pairs_sha256 != pairs.sha256 || ranking.order.len() != pairs.file.len() {
        return Err(StoreError::Malformed(format!(
            "the ranking of {behavior:?} at layer {layer} is of other pairs: run `whence rank` again"
        )));
    }
    if let Some(difference) = ranking.made_from.difference(study).map_err(crate::edit::EditError::from)? {
        return Err(StoreError::Malformed(format!(
            "the ranking of {behavior:?} at layer {layer} was made from {difference} than the study has now: run `whence rank` \
             again"
        )));
    }
    Ok(match end {
        RankingEnd::Top => ranking.order[..*n].to_vec(),
        RankingEnd::Bottom => ranking.order.iter().rev().take(*n).copied().collect(),
    })
}

// Below: the tables.

fn version(database: &Connection) -> rusqlite::Result<u64> {
    database.query_row("SELECT version FROM state", [], |row| row.get(0))
}

pub(super) fn held(database: &Connection) -> rusqlite::Result<Vec<Held>> {
    read(database, "SELECT row, position, id, pair_sha256, action, note FROM decision ORDER BY position")
}

pub(super) fn lost(database: &Connection) -> rusqlite::Result<Vec<Held>> {
    read(database, "SELECT row, position, id, pair_sha256, action, note FROM lost_decision ORDER BY position")
}

fn read(database: &Connection, query: &str) -> rusqlite::Result<Vec<Held>> {
    let one = |row: &Row| {
        Ok(Held {
            row: row.get(0)?,
            position: row.get(1)?,
            id: row.get(2)?,
            pair_sha256: row.get(3)?,
            // Only what has one of these names is ever stored.
            action: row.get::<_, String>(4)?.parse().unwrap_or(Action::Keep),
            note: row.get(5)?,
        })
    };
    database.prepare_cached(query)?.query_map([], one)?.collect()
}

pub(super) fn insert(database: &Connection, held: &Held) -> rusqlite::Result<()> {
    let values = params![held.row, held.position, held.id, held.pair_sha256, held.action.name(), held.note];
    database.prepare_cached("INSERT INTO decision VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(values)?;
    Ok(())
}

fn apply(database: &Connection, changes: &[Change]) -> rusqlite::Result<()> {
    // First out, then in: places in the order are unique at any moment.
    for change in changes.iter().filter(|change| change.before.is_some()) {
        database.prepare_cached("DELETE FROM decision WHERE row = ?1")?.execute([change.row()])?;
    }
    for held in changes.iter().filter_map(|change| change.after.as_ref()) {
        insert(database, held)?;
    }
    database.execute("UPDATE state SET version = version + 1", [])?;
    Ok(())
}

fn remember(database: &Connection, label: &str, changes: &[Change]) -> rusqlite::Result<()> {
    database.execute("DELETE FROM step WHERE is_undone", [])?;
    let number: i64 = database.query_row("SELECT coalesce(max(number), 0) + 1 FROM step", [], |row| row.get(0))?;
    database.execute("DELETE FROM step WHERE number <= ?1", [number - MAX_STEPS])?;
    let n_pairs = changes.iter().filter(|change| change.is_of_content()).count();
    database.execute("INSERT INTO step VALUES (?1, ?2, ?3, ?4, 0)", params![number, label, now(), n_pairs])?;
    let json =
        |held: &Option<Held>| held.as_ref().map(|held| serde_json::to_string(held).expect("plain data serializes"));
    let mut insert = database.prepare_cached("INSERT INTO step_change VALUES (?1, ?2, ?3, ?4)")?;
    for change in changes {
        insert.execute(params![number, change.row(), json(&change.before), json(&change.after)])?;
    }
    Ok(())
}

fn changes_of(database: &Connection, number: i64) -> rusqlite::Result<Vec<Change>> {
    let held = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
    database
        .prepare_cached("SELECT before, after FROM step_change WHERE step = ?1 ORDER BY row")?
        .query_map([number], |row| Ok(Change { before: held(row.get(0)?), after: held(row.get(1)?) }))?
        .collect()
}

fn next_step(database: &Connection, back: bool) -> rusqlite::Result<Option<(i64, String)>> {
    let query = if back {
        "SELECT number, label FROM step WHERE NOT is_undone ORDER BY number DESC LIMIT 1"
    } else {
        "SELECT number, label FROM step WHERE is_undone ORDER BY number LIMIT 1"
    };
    let mut found = database.prepare_cached(query)?;
    let mut found = found.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    found.next().transpose()
}

fn next_steps(database: &Connection) -> rusqlite::Result<(Option<String>, Option<String>)> {
    let label = |step: Option<(i64, String)>| step.map(|(_, label)| label);
    Ok((label(next_step(database, true)?), label(next_step(database, false)?)))
}

fn steps(database: &Connection) -> rusqlite::Result<Vec<DecisionStep>> {
    let one = |row: &Row| {
        Ok(DecisionStep {
            number: row.get(0)?,
            label: row.get(1)?,
            at_unix_ms: row.get(2)?,
            n_pairs: row.get(3)?,
            is_undone: row.get(4)?,
        })
    };
    database
        .prepare_cached("SELECT number, label, at_unix_ms, n_pairs, is_undone FROM step ORDER BY number")?
        .query_map([], one)?
        .collect()
}

/// What changes made different, as the app is told.
fn outcome(database: &Connection, changes: &[Change]) -> rusqlite::Result<DecisionsChange> {
    let mut after: Vec<&Held> = changes.iter().filter_map(|change| change.after.as_ref()).collect();
    after.sort_by_key(|held| held.position);
    let mut removed: Vec<usize> = changes.iter().filter(|change| change.after.is_none()).map(Change::row).collect();
    removed.sort_unstable();
    // Appended to the others, they must come last.
    let first = after.first().map_or(i64::MAX, |held| held.position);
    let n_behind: i64 =
        database.query_row("SELECT count(*) FROM decision WHERE position >= ?1", [first], |row| row.get(0))?;
    let (undo, redo) = next_steps(database)?;
    Ok(DecisionsChange {
        version: version(database)?,
        decided: after.iter().map(|held| held.decision()).collect(),
        removed,
        is_reordered: n_behind != after.len() as i64,
        undo,
        redo,
    })
}
