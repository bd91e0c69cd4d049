//! Forms that a response may have: lists, code, headings. The rule judge asks for them, the diagnosis of a ranking compares
//! sides by them, and the change scan says which of them tuning brought.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A form that a response may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// At least two lines that begin with `-`, `*`, `+` or `•` and a space.
    BulletList,
    /// At least two lines that begin with a number and `.` or `)`.
    NumberedList,
    /// A fence of three backticks, closed.
    CodeBlock,
    /// A line that begins with one to six `#` and a space.
    Heading,
    /// The whole response, in a code fence or not, is a JSON object or list.
    Json,
    /// A Markdown table: a line with `|` above one of dashes and `|`.
    Table,
    /// Words between two pairs of asterisks on one line, neither of them beside white space inside.
    Bold,
    /// Letters, and none of them small.
    AllCaps,
    /// One line.
    OneLine,
}

impl Format {
    /// Whether a response has this form.
    pub fn is_form_of(self, response: &str) -> bool {
        let text = response.trim();
        let lines = || text.lines().map(str::trim);
        match self {
            Self::BulletList => {
                let is_item = |line: &&str| {
                    let mut chars = line.chars();
                    matches!(chars.next(), Some('-' | '*' | '+' | '•')) && chars.next().is_some_and(char::is_whitespace)
                };
                lines().filter(is_item).count() >= 2
            }
            Self::NumberedList => {
                let is_item = |line: &&str| {
                    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
                    rest.len() < line.len()
                        && rest.strip_prefix(['.', ')']).is_some_and(|rest| rest.starts_with(char::is_whitespace))
                };
                lines().filter(is_item).count() >= 2
            }
            Self::CodeBlock => lines().filter(|line| line.starts_with("```")).count() >= 2,
            Self::Heading => lines().any(|line| {
                let rest = line.trim_start_matches('#');
                (1..=6).contains(&(line.len() - rest.len())) && rest.starts_with(' ')
            }),
            Self::Json => {
                let fenced = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
                let inner = fenced.and_then(|text| text.split_once('\n')).map_or(text, |(_, inner)| inner);
                matches!(serde_json::from_str(inner), Ok(Value::Object(_) | Value::Array(_)))
            }
            Self::Table => {
                let is_rule = |line: &str| {
                    line.contains('|')
                        && line.contains('-')
                        && line.chars().all(|c| matches!(c, '|' | '-' | ':') || c.is_whitespace())
                };
                lines().zip(lines().skip(1)).any(|(above, below)| above.contains('|') && is_rule(below))
            }
            Self::Bold => lines().any(|line| {
                let inner = line.split("**").skip(1).step_by(2);
                let n_closed = line.matches("**").count() / 2;
                inner.take(n_closed).any(|inner| !inner.is_empty() && inner.trim() == inner)
            }),
            Self::AllCaps => text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
            Self::OneLine => lines().count() == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_told_from_what_resembles_it() {
        for (format, yes, no) in [
            (Format::BulletList, "Here:\n- a\n• b", "- only one\n-not an item"),
            (Format::NumberedList, "1. a\n2) b", "1. a\n3.14 is no item\nin 2020."),
            (Format::CodeBlock, "x\n```rust\nlet a;\n```", "```\nnever closed"),
            (Format::Heading, "text\n## Title", "#tag\n####### seven"),
            (Format::Json, "```json\n{\"a\": [1]}\n```", "\"text\""),
            (Format::Json, " [1, 2] ", "{\"a\": 1} and more"),
            (Format::Table, "| a | b |\n|---|:-:|\n| 1 | 2 |", "a | b\nc | d"),
            (Format::Bold, "an **important thing** here", "2 ** 3 ** 4"),
            (Format::Bold, "a ** b ** **c**", "**never closed"),
            (Format::AllCaps, "ÜBER 9!", "Über"),
            (Format::AllCaps, "A", "123"),
            (Format::OneLine, "\none\n", "one\ntwo"),
            (Format::OneLine, "x", ""),
        ] {
            assert!(format.is_form_of(yes), "{format:?}: {yes}");
            assert!(!format.is_form_of(no), "{format:?}: {no}");
        }
    }
}
