//! Preference pairs: one datapoint of preference data, after import and before tokenisation.

use serde::{Deserialize, Serialize};

/// One chat message, in the form chat templates and TRL use.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What they say, verbatim.
    pub content: String,
}

impl Message {
    /// A message of the given role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// Messages as one text for a reader: the content of a single one, or all turns with who said them, a blank line between.
pub fn conversation_text(messages: &[Message]) -> String {
    match messages {
        [only] => only.content.clone(),
        turns => turns.iter().map(|m| format!("{}: {}", m.role, m.content)).collect::<Vec<_>>().join("\n\n"),
    }
}

/// What messages say, without who says it, for counting words.
pub fn spoken_text(messages: &[Message]) -> String {
    messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n")
}

/// One preference pair: a prompt with a chosen and a rejected continuation.
///
/// `prompt` holds the messages both sides share. `chosen` and `rejected` hold what follows and end with an assistant
/// message, the *response*; nearly always they are that one message. Where the two conversations part earlier, the
/// turns before the response are context of that side only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// Unique within a study: the dataset's own id where it has one, else made from file and row.
    pub id: String,
    /// Messages shared by both sides, oldest first.
    pub prompt: Vec<Message>,
    /// What follows on the chosen side; ends with an assistant message.
    pub chosen: Vec<Message>,
    /// What follows on the rejected side; ends with an assistant message.
    pub rejected: Vec<Message>,
    /// Dataset or generator the pair came from; empty when unknown.
    pub source: String,
    /// All other columns of the input row, as one JSON object in text form (`{}` when there are none).
    pub metadata: String,
}

/// One of the two sides of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The preferred side.
    Chosen,
    /// The other one.
    Rejected,
}

impl Side {
    /// `chosen` or `rejected`.
    pub fn name(self) -> &'static str {
        match self {
            Side::Chosen => "chosen",
            Side::Rejected => "rejected",
        }
    }
}

impl Pair {
    /// The messages after the prompt on one side.
    pub fn side(&self, side: Side) -> &[Message] {
        match side {
            Side::Chosen => &self.chosen,
            Side::Rejected => &self.rejected,
        }
    }

    /// The text of the last assistant message of one side; empty when there is none.
    pub fn response(&self, side: Side) -> &str {
        self.side(side).last().map_or("", |message| message.content.as_str())
    }

    /// The whole conversation of one side, prompt first.
    pub fn conversation(&self, side: Side) -> Vec<Message> {
        self.prompt.iter().chain(self.side(side)).cloned().collect()
    }

    /// The last user turn, shortened to one line of at most `max_chars` characters, for tables.
    pub fn snippet(&self, max_chars: usize) -> String {
        let text = self.prompt.iter().rev().find(|message| message.role == "user").map_or("", |m| m.content.as_str());
        one_line(text, max_chars)
    }
}

/// `text` on one line: white space folded, at most `max_chars` characters, cut with `…`.
pub fn one_line(text: &str, max_chars: usize) -> String {
    let mut line = String::new();
    let mut n_chars = 0;
    for word in text.split_whitespace() {
        for c in (!line.is_empty()).then_some(' ').into_iter().chain(word.chars()) {
            if n_chars == max_chars {
                line.pop();
                line.push('…');
                return line;
            }
            line.push(c);
            n_chars += 1;
        }
    }
    line
}

/// An id on one line: at most `max_chars` characters, cut in the middle with `…`, as ids of one file begin alike and their
/// ends tell them apart.
pub fn short_id(id: &str, max_chars: usize) -> String {
    let line = one_line(id, usize::MAX);
    let chars: Vec<char> = line.chars().collect();
    if chars.len() <= max_chars {
        return line;
    }
    let n_kept = max_chars.saturating_sub(1);
    let n_end = n_kept.div_ceil(2);
    let (begin, end) = (&chars[..n_kept - n_end], &chars[chars.len() - n_end..]);
    begin.iter().chain(&['…']).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_folds_space_and_marks_the_cut() {
        assert_eq!(one_line("  a\n\n b\tc ", 10), "a b c");
        assert_eq!(one_line("abcdef", 6), "abcdef");
        assert_eq!(one_line("abcdefg", 6), "abcde…");
        assert_eq!(one_line("éééé", 3), "éé…");
        assert_eq!(one_line("", 3), "");
    }

    #[test]
    fn ids_are_cut_in_the_middle() {
        assert_eq!(short_id("harmless-base.jsonl.gz:1354", 20), "harmless-…nl.gz:1354");
        assert_eq!(short_id("a  b", 3), "a b");
        assert_eq!(short_id("éabcdé", 5), "éa…dé");
        assert_eq!(short_id("abc", 1), "…");
    }

    #[test]
    fn response_is_the_last_message_of_a_side() {
        let pair = Pair {
            id: "1".into(),
            prompt: vec![Message::new("user", "hello")],
            chosen: vec![Message::new("assistant", "a"), Message::new("user", "b"), Message::new("assistant", "c")],
            rejected: vec![Message::new("assistant", "d")],
            source: String::new(),
            metadata: "{}".into(),
        };
        assert_eq!(pair.response(Side::Chosen), "c");
        assert_eq!(pair.response(Side::Rejected), "d");
        assert_eq!(pair.conversation(Side::Chosen).len(), 4);
        assert_eq!(pair.snippet(10), "hello");
    }
}
