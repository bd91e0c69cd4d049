//! Conversations written as one text, `\n\nHuman: … \n\nAssistant: …`, as in Anthropic's HH-RLHF.

use whence_shared::pair::Message;

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// Whether a text is a transcript: it begins with `\n\nHuman:` or `\n\nAssistant:`, or it begins with `Human:` at once
/// and has an assistant's turn.
pub fn is_transcript(text: &str) -> bool {
    text.starts_with(HUMAN) || text.starts_with(ASSISTANT) || (text.starts_with("Human:") && text.contains(ASSISTANT))
}

/// The turns of a transcript; `None` when it is none.
///
/// Markers count at the start of a paragraph alone; elsewhere `Human:` is text. A turn's text is kept to the letter but
/// for the one space after the marker, so joining `"\n\nHuman: "` or `"\n\nAssistant: "` and the contents gives a text
/// written that way back.
pub fn parse(text: &str) -> Option<Vec<Message>> {
    if !is_transcript(text) {
        return None;
    }
    let mut turns = Vec::new();
    // A text that starts with its marker lacks the paragraph break before it.
    let (mut role, mut rest) = match text.strip_prefix("Human:") {
        Some(rest) => ("user", rest),
        None => next_marker(text).map(|(_, role, rest)| (role, rest))?,
    };
    loop {
        let next = next_marker(rest);
        let content = next.map_or(rest, |(start, _, _)| &rest[..start]);
        turns.push(Message::new(role, content.strip_prefix(' ').unwrap_or(content)));
        match next {
            Some((_, next_role, after)) => (role, rest) = (next_role, after),
            None => return Some(turns),
        }
    }
}

/// The transcript of a prompt that ends in an open `\n\nAssistant:` turn (or with the human's turn) and its response.
pub fn parse_continued(prompt: &str, response: &str) -> Option<Vec<Message>> {
    let mut turns = parse(prompt)?;
    let response = response.strip_prefix(' ').unwrap_or(response);
    match turns.last_mut() {
        Some(open) if open.role == "assistant" && open.content.trim().is_empty() => open.content = response.to_owned(),
        _ => turns.push(Message::new("assistant", response)),
    }
    Some(turns)
}

/// Place of the next marker, whose turn it opens, and the text after it.
fn next_marker(text: &str) -> Option<(usize, &'static str, &str)> {
    let found =
        |marker: &'static str, role| text.find(marker).map(|start| (start, role, &text[start + marker.len()..]));
    [found(HUMAN, "user"), found(ASSISTANT, "assistant")].into_iter().flatten().min_by_key(|(start, ..)| *start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(turns: &[Message]) -> String {
        let marker = |role: &str| if role == "user" { HUMAN } else { ASSISTANT };
        turns.iter().map(|turn| format!("{} {}", marker(&turn.role), turn.content)).collect()
    }

    #[test]
    fn turns_joined_give_the_text_back() {
        for text in [
            "\n\nHuman: a\n\nAssistant: b",
            "\n\nHuman: a\n\nb \n\nAssistant:  two spaces\n\nAssistant: twice\n\nHuman: \n\nAssistant: ",
            "\n\nHuman: he said Human: no\nAssistant: not a turn\n\nAssistant: é\n",
            "\n\nAssistant: first",
        ] {
            assert_eq!(joined(&parse(text).unwrap()), text);
        }
    }

    #[test]
    fn missing_spaces_and_line_breaks_are_understood() {
        let turns = parse("Human:a\n\nAssistant:b").unwrap();
        assert_eq!(turns, [Message::new("user", "a"), Message::new("assistant", "b")]);
    }

    #[test]
    fn other_text_is_no_transcript() {
        for text in ["", "hello", "Human: a question that only begins so", "intro\n\nHuman: a\n\nAssistant: b"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn responses_continue_open_prompts() {
        let expected = [Message::new("user", "a"), Message::new("assistant", "b")];
        for (prompt, response) in
            [("\n\nHuman: a\n\nAssistant:", " b"), ("\n\nHuman: a\n\nAssistant: ", "b"), ("\n\nHuman: a", "b")]
        {
            assert_eq!(parse_continued(prompt, response).unwrap(), expected);
        }
    }
}
