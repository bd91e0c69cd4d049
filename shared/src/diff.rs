//! The word-level difference of two responses, for reading chosen and rejected side by side.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use similar::DiffOp;
use similar::algorithms::{Capture, Compact, Replace, myers};

/// One run of words of one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The words with the white space between them, verbatim.
    pub text: String,
    /// Whether the other side lacks them.
    pub changed: bool,
}

/// Both sides cut into runs. The texts of a side's runs joined give that side back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WordDiff {
    /// The runs of the first text.
    pub left: Vec<Run>,
    /// The runs of the second text.
    pub right: Vec<Run>,
}

/// Compares two texts word by word (words and the white space between them are the tokens; Myers' algorithm).
pub fn words(left: &str, right: &str) -> WordDiff {
    let [left, right] = [left, right].map(tokens);
    // Equal tokens have equal numbers: the library's algorithm is then compiled for numbers alone, which keeps the app small.
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut number = |token| {
        let next = numbers.len() as u32;
        *numbers.entry(token).or_insert(next)
    };
    let of_left: Vec<u32> = left.iter().copied().map(&mut number).collect();
    let of_right: Vec<u32> = right.iter().copied().map(&mut number).collect();
    let mut hook = Compact::new(Replace::new(Capture::new()), &of_left[..], &of_right[..]);
    let Ok(()) = myers::diff(&mut hook, &of_left[..], 0..left.len(), &of_right[..], 0..right.len());
    let mut runs = WordDiff::default();
    for op in hook.into_inner().into_inner().into_ops() {
        let changed = !matches!(op, DiffOp::Equal { .. });
        push(&mut runs.left, &left[op.old_range()], changed);
        push(&mut runs.right, &right[op.new_range()], changed);
    }
    runs
}

/// Words, and the white space between them.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_other = |c: char| c.is_whitespace() != first.is_whitespace();
        let (token, after) = rest.split_at(rest.find(is_other).unwrap_or(rest.len()));
        tokens.push(token);
        rest = after;
    }
    tokens
}

fn push(runs: &mut Vec<Run>, tokens: &[&str], changed: bool) {
    let text = tokens.concat();
    match runs.last_mut() {
        _ if text.is_empty() => {}
        Some(last) if last.changed == changed => last.text.push_str(&text),
        _ => runs.push(Run { text, changed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(runs: &[Run]) -> String {
        runs.iter().map(|run| run.text.as_str()).collect()
    }

    #[test]
    fn runs_give_both_texts_back() {
        for (left, right) in
            [("the cat sat", "the dog sat down"), ("", "a"), ("a\n\nb  c", "a\n\nb c"), ("same", "same"), ("", "")]
        {
            let diff = words(left, right);
            assert_eq!((joined(&diff.left).as_str(), joined(&diff.right).as_str()), (left, right));
        }
    }

    #[test]
    fn marks_only_what_differs() {
        let diff = words("the cat sat", "the dog sat");
        let changed: Vec<&str> = diff.left.iter().filter(|r| r.changed).map(|r| r.text.as_str()).collect();
        assert_eq!(changed, ["cat"]);
    }
}
