//! The forms that preference data comes in, recognized row by row without being told, and brought into the normal form
//! of [`Pair`](whence_shared::pair::Pair): shared messages as the prompt, the rest of each side after it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;
use whence_shared::pair::Message;

use super::rows::kind_of;
use super::transcript;

/// A form of preference data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `prompt`, `chosen`, `rejected` as text.
    ExplicitText,
    /// `prompt` with `chosen` and `rejected` where messages are lists (the prompt, the responses or both).
    ExplicitMessages,
    /// `chosen` and `rejected` as whole conversations that share a beginning.
    ImplicitMessages,
    /// The same with the generators named (`chosen_model`, `rejected_model`), as in the OLMo and Tulu mixes.
    PreferenceMix,
    /// `chosen` and `rejected` as text with `\n\nHuman:` and `\n\nAssistant:` turns.
    Transcript,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Form::ExplicitText => "explicit prompt, text (TRL)",
            Form::ExplicitMessages => "explicit prompt, messages (TRL)",
            Form::ImplicitMessages => "implicit prompt, messages (TRL)",
            Form::PreferenceMix => "preference mix, messages (OLMo/Tulu)",
            Form::Transcript => "Human/Assistant text (HH-RLHF)",
        })
    }
}

/// Why a row is refused. Messages are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A column is absent or null.
    #[error("field {field:?} is missing or null; {}", fields(there))]
    Missing {
        /// The column.
        field: &'static str,
        /// The columns that are there.
        there: Vec<String>,
    },
    /// A column has a type that no form has.
    #[error("field {field:?}: expected text or a list of messages, got {got}")]
    Type {
        /// The column.
        field: &'static str,
        /// What stands there.
        got: &'static str,
    },
    /// One side is text and the other a list.
    #[error(
        "\"chosen\" is {chosen} and \"rejected\" is {rejected}: expected both as text or both as lists of messages"
    )]
    Mixed {
        /// What chosen is.
        chosen: &'static str,
        /// What rejected is.
        rejected: &'static str,
    },
    /// Plain text on both sides and nothing it answers.
    #[error(
        "no prompt: expected a field \"prompt\", whole conversations as lists of messages, or text that begins with \
         \"\\n\\nHuman:\""
    )]
    NoPrompt,
    /// A message is not what a message is.
    #[error("field {field:?}, message {index}: {problem}")]
    Message {
        /// The column.
        field: &'static str,
        /// The message.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// A role nobody knows.
    #[error("field {field:?}, message {index}: unknown role {role:?}; expected system, user, assistant or tool")]
    Role {
        /// The column.
        field: &'static str,
        /// The message.
        index: usize,
        /// The role.
        role: String,
    },
    /// A list without messages.
    #[error("field {field:?} is an empty conversation")]
    Empty {
        /// The column.
        field: &'static str,
    },
    /// A side that does not end in a response.
    #[error("field {field:?}: no response: expected the last message to be the assistant's, got the {role}'s")]
    NoResponse {
        /// The column.
        field: &'static str,
        /// Role of the last message.
        role: String,
    },
    /// A response to nothing.
    #[error("field {field:?} is a response without any message before it; expected a prompt")]
    NoContext {
        /// The column.
        field: &'static str,
    },
}

/// Columns named in a refusal.
const N_FIELDS_NAMED: usize = 12;

fn fields(there: &[String]) -> String {
    let named: Vec<String> = there.iter().take(N_FIELDS_NAMED).map(|name| format!("{name:?}")).collect();
    match there.len().saturating_sub(N_FIELDS_NAMED) {
        _ if named.is_empty() => "the row has no fields".into(),
        0 => format!("the row has {}", named.join(", ")),
        n_more => format!("the row has {} and {n_more} more", named.join(", ")),
    }
}

/// A row understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognized {
    /// Its form.
    pub form: Form,
    /// Messages both sides share.
    pub prompt: Vec<Message>,
    /// What follows on the chosen side; ends with an assistant message.
    pub chosen: Vec<Message>,
    /// What follows on the rejected side; ends likewise.
    pub rejected: Vec<Message>,
    /// Keys of messages other than role and content, whose values are not kept.
    pub other_keys: BTreeSet<String>,
}

/// Recognizes a row and takes the columns it used out of `columns`; the rest is metadata.
///
/// # Errors
///
/// Why the row is refused.
pub fn recognize(columns: &mut Map<String, Value>) -> Result<Recognized, Refusal> {
    let mut other_keys = BTreeSet::new();
    let (form, chosen, rejected) = match (side(columns, "chosen")?, side(columns, "rejected")?) {
        (Side::Text(chosen), Side::Text(rejected)) => {
            let prompt = read_prompt(columns, &mut other_keys)?;
            text_sides(columns, prompt, &chosen, &rejected)?
        }
        (Side::List(chosen), Side::List(rejected)) => {
            let chosen = messages("chosen", &chosen, &mut other_keys)?;
            let rejected = messages("rejected", &rejected, &mut other_keys)?;
            let prompt = read_prompt(columns, &mut other_keys)?;
            list_sides(columns, prompt, chosen, rejected)
        }
        (chosen, rejected) => return Err(Refusal::Mixed { chosen: chosen.kind(), rejected: rejected.kind() }),
    };
    let [prompt, chosen, rejected] = normal_form(chosen, rejected)?;
    columns.remove("chosen");
    columns.remove("rejected");
    Ok(Recognized { form, prompt, chosen, rejected, other_keys })
}

enum Side {
    Text(String),
    List(Vec<Value>),
}

impl Side {
    fn kind(&self) -> &'static str {
        match self {
            Side::Text(_) => "text",
            Side::List(_) => "a list",
        }
    }
}

enum Prompt {
    None,
    Text(String),
    Messages(Vec<Message>),
}

fn side(columns: &Map<String, Value>, field: &'static str) -> Result<Side, Refusal> {
    match columns.get(field) {
        None | Some(Value::Null) => {
            let there = columns.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.clone()).collect();
            Err(Refusal::Missing { field, there })
        }
        Some(Value::String(text)) => Ok(Side::Text(text.clone())),
        Some(Value::Array(list)) => Ok(Side::List(list.clone())),
        Some(other) => Err(Refusal::Type { field, got: kind_of(other) }),
    }
}

fn read_prompt(columns: &Map<String, Value>, other_keys: &mut BTreeSet<String>) -> Result<Prompt, Refusal> {
    match columns.get("prompt") {
        None | Some(Value::Null) => Ok(Prompt::None),
        Some(Value::String(text)) => Ok(Prompt::Text(text.clone())),
        Some(Value::Array(list)) => Ok(Prompt::Messages(messages("prompt", list, other_keys)?)),
        Some(other) => Err(Refusal::Type { field: "prompt", got: kind_of(other) }),
    }
}

type Conversations = (Form, Vec<Message>, Vec<Message>);

/// Whole conversations of a row whose sides are text.
fn text_sides(
    columns: &mut Map<String, Value>,
    prompt: Prompt,
    chosen: &str,
    rejected: &str,
) -> Result<Conversations, Refusal> {
    let after = |prompt: &[Message], response: &str| {
        let mut conversation = prompt.to_vec();
        conversation.push(Message::new("assistant", response));
        conversation
    };
    match prompt {
        Prompt::Messages(prompt) => {
            columns.remove("prompt");
            Ok((Form::ExplicitMessages, after(&prompt, chosen), after(&prompt, rejected)))
        }
        Prompt::None => match (transcript::parse(chosen), transcript::parse(rejected)) {
            (Some(chosen), Some(rejected)) => Ok((Form::Transcript, chosen, rejected)),
            _ => Err(Refusal::NoPrompt),
        },
        Prompt::Text(prompt) => {
            // Some copies of HH-RLHF keep whole transcripts and repeat their beginning as the prompt.
            if let (Some(chosen_turns), Some(rejected_turns)) = (transcript::parse(chosen), transcript::parse(rejected))
            {
                let is_beginning = chosen.starts_with(&prompt) && rejected.starts_with(&prompt);
                if is_beginning || (says(&chosen_turns, &prompt) && says(&rejected_turns, &prompt)) {
                    columns.remove("prompt");
                }
                return Ok((Form::Transcript, chosen_turns, rejected_turns));
            }
            columns.remove("prompt");
            let continued = |response| transcript::parse_continued(&prompt, response);
            match (continued(chosen), continued(rejected)) {
                (Some(chosen), Some(rejected)) => Ok((Form::Transcript, chosen, rejected)),
                _ => {
                    let prompt = [Message::new("user", prompt)];
                    Ok((Form::ExplicitText, after(&prompt, chosen), after(&prompt, rejected)))
                }
            }
        }
    }
}

/// Whole conversations of a row whose sides are lists of messages.
fn list_sides(
    columns: &mut Map<String, Value>,
    prompt: Prompt,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
) -> Conversations {
    let names_models = columns.contains_key("chosen_model") || columns.contains_key("rejected_model");
    let whole = if names_models { Form::PreferenceMix } else { Form::ImplicitMessages };
    let after = |prompt: &[Message], side: Vec<Message>| prompt.iter().cloned().chain(side).collect();
    match prompt {
        Prompt::None => (whole, chosen, rejected),
        Prompt::Messages(prompt) => {
            columns.remove("prompt");
            let repeats =
                |side: &[Message]| !prompt.is_empty() && side.len() > prompt.len() && side.starts_with(&prompt);
            if repeats(&chosen) && repeats(&rejected) {
                return (whole, chosen, rejected);
            }
            (Form::ExplicitMessages, after(&prompt, chosen), after(&prompt, rejected))
        }
        Prompt::Text(prompt) => {
            let has_user = |side: &[Message]| side.iter().any(|message| message.role == "user");
            if !has_user(&chosen) && !has_user(&rejected) {
                columns.remove("prompt");
                let prompt = [Message::new("user", prompt)];
                return (Form::ExplicitMessages, after(&prompt, chosen), after(&prompt, rejected));
            }
            // The mixes repeat the user's turn as text. A prompt that says something else stays in the metadata.
            if says(&chosen, &prompt) && says(&rejected, &prompt) {
                columns.remove("prompt");
            }
            (whole, chosen, rejected)
        }
    }
}

/// Whether one of the user's turns is `prompt`.
fn says(conversation: &[Message], prompt: &str) -> bool {
    conversation.iter().any(|message| message.role == "user" && message.content.trim() == prompt.trim())
}

/// Splits two conversations into what they share, what follows on the chosen side and what follows on the rejected side,
/// at least one message each.
fn normal_form(mut chosen: Vec<Message>, mut rejected: Vec<Message>) -> Result<[Vec<Message>; 3], Refusal> {
    for (field, side) in [("chosen", &chosen), ("rejected", &rejected)] {
        match side.last() {
            None => return Err(Refusal::Empty { field }),
            Some(last) if last.role != "assistant" => {
                return Err(Refusal::NoResponse { field, role: last.role.clone() });
            }
            Some(_) if side.len() == 1 => return Err(Refusal::NoContext { field }),
            Some(_) => {}
        }
    }
    let most = chosen.len().min(rejected.len()) - 1;
    let n_shared = chosen[..most].iter().zip(&rejected).take_while(|(a, b)| a == b).count();
    let after_chosen = chosen.split_off(n_shared);
    let after_rejected = rejected.split_off(n_shared);
    Ok([chosen, after_chosen, after_rejected])
}

fn messages(field: &'static str, list: &[Value], other_keys: &mut BTreeSet<String>) -> Result<Vec<Message>, Refusal> {
    if list.is_empty() && field != "prompt" {
        return Err(Refusal::Empty { field });
    }
    list.iter().enumerate().map(|(i, value)| message(field, i + 1, value, other_keys)).collect()
}

fn message(
    field: &'static str,
    index: usize,
    value: &Value,
    other_keys: &mut BTreeSet<String>,
) -> Result<Message, Refusal> {
    let wrong = |problem: String| Refusal::Message { field, index, problem };
    let Value::Object(keys) = value else {
        return Err(wrong(format!("expected an object with \"role\" and \"content\", got {}", kind_of(value))));
    };
    // `from` and `value` are ShareGPT's words for role and content.
    let text = |names: [&'static str; 2]| match names.iter().find_map(|name| keys.get(*name).filter(|v| !v.is_null())) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(wrong(format!("{:?}: expected text, got {}", names[0], kind_of(other)))),
        None => Err(wrong(format!("{:?} is missing or null", names[0]))),
    };
    let (name, content) = (text(["role", "from"])?, text(["content", "value"])?);
    let role = role(name).ok_or_else(|| Refusal::Role { field, index, role: name.to_owned() })?;
    let is_known = |key: &str| matches!(key, "role" | "from" | "content" | "value");
    other_keys
        .extend(keys.iter().filter(|(key, value)| !is_known(key) && !value.is_null()).map(|(key, _)| key.clone()));
    Ok(Message::new(role, content))
}

fn role(name: &str) -> Option<&'static str> {
    match name.trim().to_ascii_lowercase().as_str() {
        "system" | "developer" => Some("system"),
        "user" | "human" | "prompter" => Some("user"),
        "assistant" | "gpt" | "chatgpt" | "bot" | "model" => Some("assistant"),
        "tool" | "function" | "observation" | "ipython" => Some("tool"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "forms_tests.rs"]
mod tests;
