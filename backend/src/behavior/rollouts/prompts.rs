//! Test prompts, read from JSONL, CSV or Parquet: what rollouts are sampled for. First in the flow of `whence rollouts`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Map, Value};
use whence_shared::pair::Message;

use super::RolloutError;
use crate::data::lines;
use crate::files;

/// One test prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPrompt {
    /// Unique in its file: its `id`, else the number of its line or, in Parquet, of its row.
    pub id: String,
    /// Messages, oldest first; never empty, the last one not the assistant's.
    pub messages: Vec<Message>,
    /// Group for macro-averaging; empty when none.
    pub scenario: String,
    /// All other keys of the line.
    pub metadata: Map<String, Value>,
}

/// Reads test prompts: `prompt` (text or messages; in CSV text), optional `id` and `scenario` per line; other keys are
/// kept. By the file's ending: CSV, Parquet, else JSONL.
///
/// # Errors
///
/// [`RolloutError::Line`] and [`RolloutError::Lines`] name the first line or row that is malformed, empty, or repeats an id.
pub fn read(path: &Path) -> Result<Vec<TestPrompt>, RolloutError> {
    let mut prompts = Vec::new();
    let mut lines_by_id: HashMap<String, usize> = HashMap::new();
    for (line, columns) in lines::read(path)? {
        let wrong = |reason: String| RolloutError::Line { path: path.to_owned(), line, reason, expected: EXPECTED };
        let prompt = prompt(line, columns).map_err(wrong)?;
        if let Some(first) = lines_by_id.insert(prompt.id.clone(), line) {
            let unit = lines::unit(path);
            let reason =
                format!("id {:?} is also that of {unit} {first}: give every prompt its own, or none", prompt.id);
            return Err(wrong(reason));
        }
        prompts.push(prompt);
    }
    if prompts.is_empty() {
        return Err(RolloutError::NoPrompts { path: path.to_owned() });
    }
    Ok(prompts)
}

const EXPECTED: &str = "{\"prompt\": text or messages, \"id\": text (optional), \"scenario\": text (optional)}";

fn prompt(line: usize, mut columns: Map<String, Value>) -> Result<TestPrompt, String> {
    let messages = match columns.remove("prompt") {
        Some(value) => messages(&value).map_err(|reason| format!("\"prompt\" {reason}"))?,
        None => return Err("\"prompt\" is missing".into()),
    };
    let id = match columns.remove("id") {
        None | Some(Value::Null) => line.to_string(),
        // An empty field of CSV.
        Some(Value::String(id)) if id.is_empty() => line.to_string(),
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) => id.to_string(),
        Some(other) => return Err(format!("\"id\" is neither text nor a number but {other}")),
    };
    let scenario = match columns.remove("scenario") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(scenario)) => scenario,
        Some(other) => return Err(format!("\"scenario\" is not text but {other}")),
    };
    Ok(TestPrompt { id, messages, scenario, metadata: columns })
}

/// A prompt given as text or as messages.
pub(crate) fn messages(value: &Value) -> Result<Vec<Message>, String> {
    let messages = match value {
        Value::String(text) => vec![Message::new("user", text)],
        Value::Array(turns) => turns.iter().map(message).collect::<Result<Vec<_>, _>>()?,
        other => return Err(format!("is neither text nor messages but {other}")),
    };
    match messages.last() {
        None => Err("is empty".into()),
        Some(_) if messages.iter().all(|message| message.content.trim().is_empty()) => Err("is empty".into()),
        Some(last) if last.role == "assistant" => {
            Err("ends with an assistant message: leave it out, the model is to write it".into())
        }
        Some(_) => Ok(messages),
    }
}

/// One message: `role` and `content`, both text.
pub(super) fn message(value: &Value) -> Result<Message, String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    match (text("role"), text("content")) {
        (Some(role), Some(content)) => Ok(Message::new(role, content)),
        _ => Err(format!("has a message that is not {{\"role\": text, \"content\": text}}: {value}")),
    }
}

/// The first 200 characters, for messages.
pub(crate) fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(200).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

/// SHA-256 of what decides the rollouts and their order: ids, messages, scenarios and metadata.
pub(super) fn sha256(prompts: &[TestPrompt]) -> String {
    let mut text = String::new();
    for prompt in prompts {
        // Sorted, so that the order of a line's keys does not matter.
        let metadata: BTreeMap<_, _> = prompt.metadata.iter().collect();
        let parts = (&prompt.id, &prompt.messages, &prompt.scenario, metadata);
        text.push_str(&serde_json::to_string(&parts).expect("texts serialize"));
        text.push('\n');
    }
    files::sha256(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_named(name: &str, text: &str) -> Result<Vec<TestPrompt>, RolloutError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    fn read_text(text: &str) -> Result<Vec<TestPrompt>, RolloutError> {
        read_named("prompts.jsonl", text)
    }

    #[test]
    fn csv_prompts_are_those_of_jsonl() {
        let csv = read_named("p.csv", "id,prompt,scenario,tag\nx,\"one, two\",s,a\n,three,,b\n").unwrap();
        let jsonl = "{\"id\":\"x\",\"prompt\":\"one, two\",\"scenario\":\"s\",\"tag\":\"a\"}\n\n\
                     {\"prompt\":\"three\",\"tag\":\"b\"}\n";
        assert_eq!(csv, read_text(jsonl).unwrap());
        let error = read_named("p.csv", "id,prompt\n1,\n").unwrap_err().to_string();
        assert!(error.contains("p.csv line 2: \"prompt\" is empty"), "{error}");
    }

    #[test]
    fn prompts_may_be_text_or_messages_with_or_without_ids() {
        let text = "{\"prompt\":\"p\",\"tag\":7}\n\n{\"prompt\":[{\"role\":\"user\",\"content\":\"p\"}],\"id\":5,\"scenario\":\"s\"}\n";
        let prompts = read_text(text).unwrap();
        assert_eq!(prompts[0].messages, prompts[1].messages);
        assert_eq!((prompts[0].id.as_str(), prompts[1].id.as_str()), ("1", "5"));
        assert_eq!((prompts[0].metadata["tag"].as_i64(), prompts[1].scenario.as_str()), (Some(7), "s"));
    }

    #[test]
    fn malformed_lines_are_named() {
        for (text, named) in [
            ("{\"prompt\":\"p\"}\n{\"prompt\":", "line 2: not JSON"),
            ("[1]", "line 1: expected a JSON object"),
            ("{\"text\":\"p\"}", "\"prompt\" is missing"),
            ("{\"prompt\":\" \"}", "\"prompt\" is empty"),
            ("{\"prompt\":[]}", "\"prompt\" is empty"),
            ("{\"prompt\":3}", "neither text nor messages"),
            ("{\"prompt\":[{\"role\":\"user\"}]}", "has a message that is not"),
            ("{\"prompt\":[{\"role\":\"assistant\",\"content\":\"a\"}]}", "ends with an assistant message"),
            ("{\"prompt\":\"p\",\"id\":[]}", "\"id\" is neither"),
            ("{\"prompt\":\"p\",\"scenario\":1}", "\"scenario\" is not text"),
            (
                "{\"prompt\":\"p\",\"id\":\"a\"}\n{\"prompt\":\"q\",\"id\":\"a\"}",
                "line 2: id \"a\" is also that of line 1",
            ),
            ("{\"prompt\":\"p\",\"id\":\"2\"}\n{\"prompt\":\"q\"}", "line 2: id \"2\" is also that of line 1"),
            ("\n\n", "no test prompt"),
        ] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("prompts.jsonl"), "{error}");
        }
    }
}
