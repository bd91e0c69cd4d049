//! Decisions that somebody made pair by pair, read from JSONL or CSV: one of the ways to make an edit set.
//!
//! A line has `id` or `row` (from 0; with both, they must agree), `action` (keep, drop or switch) and optionally
//! `reason`, `score`, `rank` and `sha256`, which the pair must then have. Other keys are ignored, so that the `patch.jsonl`
//! of an export can be applied to the same pairs elsewhere.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::{Decision, EditError};
use crate::files;

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
    let bytes = files::read(path)?;
    let wrong = |line: usize, reason: String| EditError::Decision { path: path.to_owned(), line, reason };
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        wrong(line, "not UTF-8".into())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let lines = if is_csv { csv(text) } else { jsonl(text) }.map_err(|(line, reason)| wrong(line, reason))?;
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

type Line = (usize, Map<String, Value>);
type Wrong = (usize, String);

const EXPECTED: &str = "expected \"id\" or \"row\", \"action\" and optionally \"reason\"";

fn decide(columns: &Map<String, Value>, rows: &HashMap<&str, u32>, ids: &[String]) -> Result<Decided, String> {
    let present = |name: &str| columns.get(name).filter(|value| !value.is_null() && *value != &Value::from(""));
    let text = |name: &str| match present(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(format!("{name:?} is neither text nor a number but {other}; {EXPECTED}")),
    };
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

fn jsonl(text: &str) -> Result<Vec<Line>, Wrong> {
    let mut lines = Vec::new();
    for (line, number) in text.split('\n').zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(Value::Object(columns)) => lines.push((number, columns)),
            Ok(other) => return Err((number, format!("expected a JSON object, got {other}"))),
            Err(error) => return Err((number, format!("not JSON at column {}; {EXPECTED}", error.column()))),
        }
    }
    Ok(lines)
}

/// Records of a CSV file (RFC 4180) under the names of its first line, each with the line that it begins in.
fn csv(text: &str) -> Result<Vec<Line>, Wrong> {
    let mut records = csv_records(text)?.into_iter();
    let Some((_, names)) = records.next() else { return Ok(Vec::new()) };
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    if !names.iter().any(|name| name == "action") || !names.iter().any(|name| name == "id" || name == "row") {
        return Err((1, format!("the columns are {}; {EXPECTED}", names.join(", "))));
    }
    let mut lines = Vec::new();
    for (line, fields) in records {
        if fields.len() != names.len() {
            return Err((line, format!("expected {} fields as in line 1, got {}", names.len(), fields.len())));
        }
        lines.push((line, names.iter().cloned().zip(fields.into_iter().map(Value::String)).collect()));
    }
    Ok(lines)
}

fn csv_records(text: &str) -> Result<Vec<(usize, Vec<String>)>, Wrong> {
    let mut records = Vec::new();
    let (mut line, mut begins_at) = (1, 1);
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let mut opened_at = None;
    while let Some(c) = chars.next() {
        line += usize::from(c == '\n');
        match (c, opened_at) {
            ('"', Some(_)) if chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            ('"', Some(_)) => opened_at = None,
            (c, Some(_)) => field.push(c),
            ('"', None) if field.is_empty() => opened_at = Some(line),
            (',', None) => fields.push(std::mem::take(&mut field)),
            ('\r', None) if chars.peek() == Some(&'\n') => {}
            ('\n', None) => {
                fields.push(std::mem::take(&mut field));
                let record = std::mem::take(&mut fields);
                if record != [""] {
                    records.push((begins_at, record));
                }
                begins_at = line;
            }
            (c, None) => field.push(c),
        }
    }
    if let Some(opened_at) = opened_at {
        return Err((opened_at, "a quoted field is never closed".into()));
    }
    fields.push(field);
    if fields != [""] {
        records.push((begins_at, fields));
    }
    Ok(records)
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
            ("d.csv", "id,what\na,drop", "line 1: the columns are id, what"),
            ("d.csv", "id,action\na,drop,x", "line 2: expected 2 fields"),
            ("d.csv", "id,action\na,\"drop", "line 2: a quoted field is never closed"),
        ] {
            let error = read_text(name, text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(name), "expected {expected:?} in {error}");
        }
    }
}
