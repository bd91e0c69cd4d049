//! What a chat endpoint answers: understood, and kept on disk so that no request is ever paid for twice. Used by
//! [`super::endpoint`] and, for answers made by a batch service, by [`super::imported`].

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Answer;
use super::prompts::shortened;
use crate::files::{self, FileError};

/// Understands the body of a chat completion.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(super) fn understand(body: &Value) -> Result<Answer, String> {
    // Some servers answer "200 OK" with an error inside.
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return Err(format!("the endpoint reports an error: {}", message(error)));
    }
    let Some(choices) = body.get("choices").and_then(Value::as_array) else {
        return Err(format!("expected a chat completion with \"choices\", got {}", shortened(&body.to_string())));
    };
    let Some(choice) = choices.first() else { return Err("\"choices\" is empty".into()) };
    let finish_reason = choice.get("finish_reason").and_then(Value::as_str).map(str::to_owned);
    let content = choice.get("message").and_then(|message| message.get("content"));
    match content.and_then(text) {
        Some(response) => Ok(Answer { response, finish_reason }),
        None if content.is_none_or(Value::is_null) => {
            let why = finish_reason.map_or_else(String::new, |reason| format!(", finish_reason {reason:?}"));
            let has_thought = ["reasoning_content", "reasoning"]
                .iter()
                .any(|key| choice["message"].get(key).is_some_and(|thought| !thought.is_null()));
            let remedy = if has_thought {
                "the model spent its tokens on reasoning, raise --max-new-tokens or turn reasoning off in the server"
            } else {
                "look into the server's log"
            };
            Err(format!("the content is null{why}: {remedy}"))
        }
        None => Err(format!("expected the content to be text, got {}", shortened(&choice["message"].to_string()))),
    }
}

/// Content given as text or as a list of text parts.
pub(super) fn text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| part.get("text").and_then(Value::as_str)).collect(),
        _ => None,
    }
}

/// The message of an error as endpoints report it, in one of several forms.
pub(super) fn message(error: &Value) -> String {
    let text = error
        .get("error")
        .and_then(|inner| inner.get("message").or(Some(inner)))
        .or_else(|| error.get("message"))
        .or_else(|| error.get("detail"))
        .unwrap_or(error);
    shortened(text.as_str().map_or_else(|| text.to_string(), str::to_owned).trim())
}

/// Responses on disk, by the hash of their request: `CACHE/ab/ab12….json`.
#[derive(Debug, Clone)]
pub struct ResponseCache {
    folder: PathBuf,
}

impl ResponseCache {
    /// A cache in a folder, which is made when first written to.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Hash of everything that decides an answer: address, body, and which of several equal requests this is.
    pub(super) fn key(url: &str, body: &str, sample: usize) -> String {
        files::sha256(format!("{url}\n{sample}\n{body}").as_bytes())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(&key[..2]).join(format!("{key}.json"))
    }

    /// An earlier answer. What is unreadable counts as absent, and is written anew.
    pub(super) fn get(&self, key: &str) -> Option<(Value, Answer)> {
        let mut stored: Value = serde_json::from_slice(&fs::read(self.path(key)).ok()?).ok()?;
        let response = stored.get_mut("response")?.take();
        let answer = understand(&response).ok()?;
        Some((response, answer))
    }

    /// Keeps an answer beside its request.
    pub(super) fn put(&self, key: &str, request: &str, response: &Value) -> Result<(), FileError> {
        let request: Value = serde_json::from_str(request).unwrap_or_default();
        files::write(&self.path(key), json!({"request": request, "response": response}).to_string().as_bytes())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_may_be_text_or_parts() {
        let body = |content: Value| json!({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]});
        let expected = Answer { response: "ab".into(), finish_reason: Some("stop".into()) };
        assert_eq!(understand(&body(json!("ab"))).unwrap(), expected);
        assert_eq!(understand(&body(json!([{"type": "text", "text": "a"}, {"text": "b"}]))).unwrap(), expected);
        assert_eq!(understand(&body(json!(""))).unwrap().response, "", "saying nothing is an answer");
    }

    #[test]
    fn answers_of_no_use_are_explained() {
        let thought = json!({"choices": [{"message": {"content": null, "reasoning_content": "hm"}}]});
        for (body, named) in [
            (json!({"choices": []}), "\"choices\" is empty"),
            (json!({"detail": "x"}), "expected a chat completion"),
            (json!({"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}), "content_filter"),
            (thought, "raise --max-new-tokens"),
            (json!({"choices": [{"message": {"content": 3}}]}), "to be text"),
            (json!({"error": {"message": "out of memory"}}), "out of memory"),
        ] {
            let error = understand(&body).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn error_messages_are_found_in_every_form() {
        for error in [json!({"error": {"message": "m"}}), json!({"error": "m"}), json!({"message": "m"}), json!("m")] {
            assert_eq!(message(&error), "m", "{error}");
        }
    }
}
