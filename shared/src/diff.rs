//! The word-level difference of two responses, for reading chosen and rejected side by side.

use serde::{Deserialize, Serialize};
use similar::{Algorithm, ChangeTag, TextDiff};

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
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).diff_words(left, right);
    let mut runs = WordDiff::default();
    for change in diff.iter_all_changes() {
        let text = change.value();
        match change.tag() {
            ChangeTag::Equal => {
                push(&mut runs.left, text, false);
                push(&mut runs.right, text, false);
            }
            ChangeTag::Delete => push(&mut runs.left, text, true),
            ChangeTag::Insert => push(&mut runs.right, text, true),
        }
    }
    runs
}

fn push(runs: &mut Vec<Run>, text: &str, changed: bool) {
    match runs.last_mut() {
        Some(last) if last.changed == changed => last.text.push_str(text),
        _ => runs.push(Run { text: text.to_owned(), changed }),
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
