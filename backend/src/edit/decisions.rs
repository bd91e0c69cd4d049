//! Decisions that somebody made pair by pair, read from JSONL or CSV: one of the ways to make an edit set.
//!
//! A line has `id` or `row` (from 0; with both, they must agree), `action` (keep, drop or switch) and optionally
//! `reason`, `score`, `rank` and `sha256`, which the pair must then have. Other keys are ignored, so that the `patch.jsonl`
//! of an export can be applied to the same pairs elsewhere.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::{Decision, EditError};
use crate::data::lines;

/// One decision, its pair found.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// Line of the file, from 1.
    pub line: usize,
    /// Row of pairs.parquet, from 0.
    pub row: u32,
    /// What to do with it.
    pub action: Decision,
    /// Why; empty when the line does not say.
    pub reason: String,
    /// The pair's score, where the line has one.
    pub score: Option<f32>,
    /// Its rank, from 1, where the line has one.
    pub rank: Option<u32>,
    /// The hash that the pair must have, where the line has one.
    pub sha256: Option<String>,
}

/// Reads decisions about the pairs with these ids, in row order. Returned in the order of the file, `keep` too.
///
/// # Errors
///
/// [`EditError::Decision`] naming the first line that is malformed, names no pair, or names one that an earlier line did.
pub fn read(path: &Path, ids: &[String]) -> Result<Vec<Decided>, EditError> {
    let wrong = |line: usize, reason: String| EditError::Decision { path: path.to_owned(), line, reason };
    let lines = lines::read(path)?;
    let rows: HashMap<&str, u32> = ids.iter().map(String::as_str).zip(0..).collect();
    let mut decided_at: HashMap<u32, (usize, Decision)> = HashMap::new();
    let mut decided = Vec::with_capacity(lines.len());
    for (line, columns) in lines {
        let decision = decide(&columns, &rows, ids).map_err(|reason| wrong(line, reason))?;
        if let Some((earlier, action)) = decided_at.insert(decision.row, (line, decision.action)) {
            let how = if action == decision.action { "was decided before" } else { "was decided otherwise" };
            let (row, id) = (decision.row, &ids[decision.row as usize]);
            let reason = format!(
                "row {row} (id {id:?}) {how} in line {earlier} ({}, now {}): expected one line per pair",
                action.name(),
                decision.action.name()
            );
            return Err(wrong(line, reason));
        }
        decided.push(Decided { line, ..decision });
    }
    Ok(decided)
}

const EXPECTED: &str = "expected \"id\" or \"row\", \"action\" and optionally \"reason\"";

fn decide(columns: &Map<String, Value>, rows: &HashMap<&str, u32>, ids: &[String]) -> Result<Decided, String> {
    let text = |name: &str| lines::text(columns, name).map_err(|reason| format!("{reason}; {EXPECTED}"));
    fn parsed<T: std::str::FromStr>(name: &str, text: Option<String>, expected: &str) -> Result<Option<T>, String> {
        let parse =
            |text: String| text.trim().parse().map_err(|_| format!("{name:?}: expected {expected}, got {text:?}"));
        text.map(parse).transpose()
    }
    let by_id = match text("id")? {
        None => None,
        Some(id) => Some(*rows.get(id.as_str()).ok_or_else(|| format!("no pair of the study has the id {id:?}"))?),
    };
    let by_row: Option<u64> = parsed("row", text("row")?, "a row number from 0")?;
    let by_row = match by_row {
        Some(row) if row >= ids.len() as u64 => {
            return Err(format!("there is no row {row}: the study has {} pairs, rows from 0", ids.len()));
        }
        row => row.map(|row| row as u32),
    };
    let row = match (by_id, by_row) {
        (Some(by_id), Some(by_row)) if by_id != by_row => {
            return Err(format!(
                "row {by_row} has the id {:?}, not {:?}: these are other pairs, or in another order",
                ids[by_row as usize], ids[by_id as usize]
            ));
        }
        (Some(row), _) | (None, Some(row)) => row,
        (None, None) => return Err(format!("neither \"id\" nor \"row\"; {EXPECTED}")),
    };
    let action = text("action")?.ok_or_else(|| format!("\"action\" is missing; {EXPECTED}"))?;
    let action = action.parse::<Decision>().map_err(|reason| format!("\"action\": {reason}"))?;
    let score: Option<f32> = parsed("score", text("score")?, "a number")?;
    if score.is_some_and(|score| !score.is_finite()) {
        return Err("\"score\": expected a finite number".into());
    }
    Ok(Decided {
        line: 0,
        row,
        action,
        reason: text("reason")?.unwrap_or_default(),
        score,
        rank: parsed("rank", text("rank")?, "a rank from 1")?,
        sha256: text("sha256")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, text: &str) -> Result<Vec<Decided>, EditError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path, &["a", "b,\"c\"", "3"].map(str::to_owned))
    }

    #[test]
    fn jsonl_and_csv_say_the_same() {
        let jsonl = "{\"id\":\"b,\\\"c\\\"\",\"action\":\"drop\",\"reason\":\"two\\nlines\"}\n\n{\"row\":2,\"id\":\"3\",\"action\":\"Switch\",\"score\":0.5,\"rank\":7,\"other\":[]}\n{\"row\":0,\"action\":\"keep\"}";
        let csv = "\u{feff}id,row,action,reason,score,rank\r\n\"b,\"\"c\"\"\",,drop,\"two\nlines\",,\r\n3,2,Switch,,0.5,7\r\n\r\n,0,keep,,,";
        let (from_jsonl, from_csv) = (read_text("d.jsonl", jsonl).unwrap(), read_text("d.csv", csv).unwrap());
        let without_line = |d: &[Decided]| d.iter().map(|d| Decided { line: 0, ..d.clone() }).collect::<Vec<_>>();
        assert_eq!(without_line(&from_jsonl), without_line(&from_csv));
        assert_eq!(from_csv.iter().map(|d| d.line).collect::<Vec<_>>(), [2, 4, 6]);
        assert_eq!((from_csv[1].row, from_csv[1].action, from_csv[1].rank), (2, Decision::Switch, Some(7)));
        assert_eq!(from_csv[0].reason, "two\nlines");
    }

    #[test]
    fn lines_that_cannot_be_carried_out_are_named() {
        for (name, text, expected) in [
            ("d.jsonl", "{\"id\":\"a\",\"action\":\"drop\"}\n{\"id\":\"x\",\"action\":\"drop\"}", "line 2: no pair"),
            ("d.jsonl", "{\"row\":3,\"action\":\"drop\"}", "line 1: there is no row 3: the study has 3 pairs"),
            ("d.jsonl", "{\"row\":-1,\"action\":\"drop\"}", "a row number from 0"),
            ("d.jsonl", "{\"row\":0,\"id\":\"3\",\"action\":\"drop\"}", "row 0 has the id \"a\", not \"3\""),
            ("d.jsonl", "{\"action\":\"drop\"}", "neither \"id\" nor \"row\""),
            ("d.jsonl", "{\"row\":1}", "\"action\" is missing"),
            ("d.jsonl", "{\"row\":1,\"action\":\"delete\"}", "expected keep, drop or switch, got \"delete\""),
            ("d.jsonl", "{\"row\":1,\"action\":\"drop\",\"score\":\"NaN\"}", "a finite number"),
            ("d.jsonl", "{\"row\":1,\"action\":\"drop\"}\n\n{\"row\":1,\"action\":\"drop\"}", "line 3: row 1 (id \"b,"),
            (
                "d.jsonl",
                "{\"row\":0,\"action\":\"drop\"}\n{\"id\":\"a\",\"action\":\"keep\"}",
                "decided otherwise in line 1",
            ),
            ("d.jsonl", "[1]", "line 1: expected a JSON object"),
            ("d.jsonl", "{\"row\":1,", "line 1: not JSON"),
            ("d.csv", "id,what\na,drop", "line 2: \"action\" is missing"),
            ("d.csv", "id,action\na,drop,x", "line 2: expected 2 fields"),
            ("d.csv", "id,action\na,\"drop", "line 2: a quoted field is never closed"),
        ] {
            let error = read_text(name, text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(name), "expected {expected:?} in {error}");
        }
    }
}
