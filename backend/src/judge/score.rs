//! Finding the score in what a model answered as a judge. Strict: an answer without exactly one score is no answer.
//!
//! Accepted are `<score>NN</score>` anywhere, a JSON object with `score` as the whole answer (in a code fence or not), or
//! a last line that is a bare integer; in this order.

use serde_json::{Map, Value};

use super::Scored;
use crate::behavior::rollouts::prompts::shortened as shortened_line;

/// Longest reason that is kept, in characters.
const MAX_REASON_CHARS: usize = 2000;
const OPEN: &str = "<score>";
const CLOSE: &str = "</score>";

/// The score in an answer, and the rest of it as the reason.
///
/// # Errors
///
/// What is wrong with the answer, in words.
pub fn parse(answer: &str) -> Result<Scored, String> {
    let text = answer.trim();
    if let Some(found) = tagged(text) {
        return found;
    }
    if let Some(object) = object(text) {
        return in_object(&object);
    }
    let last = text.lines().next_back().unwrap_or_default().trim();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        let score = within(last)?;
        let reason = text[..text.len() - last.len()].trim();
        return Ok(Scored { score, reason: shortened(reason) });
    }
    Err(format!(
        "no score in the answer {:?}; expected <score>0 to 100</score>, {{\"score\": 0 to 100}} or a last line with the \
         number alone",
        shortened_line(text)
    ))
}

fn tagged(text: &str) -> Option<Result<Scored, String>> {
    let (mut scores, mut reason, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((number, after)) = after.split_once(CLOSE) else {
            return Some(Err(format!("{OPEN} without {CLOSE}")));
        };
        reason.push_str(before);
        scores.push(within(number.trim()));
        rest = after;
    }
    reason.push_str(rest);
    let first = scores.first()?.clone();
    Some(first.and_then(|score| {
        if scores.iter().any(|other| *other != Ok(score)) {
            return Err("several scores that differ in one answer".into());
        }
        Ok(Scored { score, reason: shortened(reason.trim()) })
    }))
}

/// The whole answer as a JSON object.
fn object(text: &str) -> Option<Map<String, Value>> {
    let inner = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")).and_then(|text| {
        let (language, inner) = text.split_once('\n')?;
        ["", "json"].contains(&language.trim()).then_some(inner)
    });
    serde_json::from_str(inner.unwrap_or(text)).ok()
}

fn in_object(object: &Map<String, Value>) -> Result<Scored, String> {
    match object.get("score") {
        Some(Value::Number(number)) => {
            let score = within(&number.to_string())?;
            let reason = ["reason", "reasoning", "explanation"].iter().find_map(|key| object.get(*key)?.as_str());
            Ok(Scored { score, reason: shortened(reason.unwrap_or_default()) })
        }
        Some(other) => Err(format!("\"score\" is no number but {other}")),
        None => Err("a JSON object without \"score\"".into()),
    }
}

fn within(number: &str) -> Result<f64, String> {
    let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let score = number.parse::<f64>().ok().filter(|score| is_plain && (0.0..=100.0).contains(score));
    score.ok_or_else(|| format!("the score {number:?} is no number from 0 to 100"))
}

fn shortened(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_found_in_each_accepted_form() {
        for (answer, score, reason) in [
            ("It obeys.\n<score>80</score>", 80.0, "It obeys."),
            ("<score> 7.5 </score>", 7.5, ""),
            ("<score>3</score> and again <score>3</score>", 3.0, "and again"),
            ("{\"score\": 100, \"reason\": \"obeys\"}", 100.0, "obeys"),
            ("```json\n{\"reason\": \"r\", \"score\": 0}\n```", 0.0, "r"),
            ("Because.\n\n42\n", 42.0, "Because."),
            ("0", 0.0, ""),
        ] {
            assert_eq!(parse(answer), Ok(Scored { score, reason: reason.into() }), "{answer}");
        }
    }

    #[test]
    fn anything_else_is_no_answer() {
        for answer in [
            "",
            "I would say 80.",
            "80/100",
            "Score: 80",
            "101",
            "-3",
            "<score>high</score>",
            "<score>101</score>",
            "<score>NaN</score>",
            "<score>1e1</score>",
            "<score>80",
            "<score>80</score> or <score>20</score>",
            "{\"score\": \"80\"}",
            "{\"score\": 180}",
            "{\"verdict\": 80}",
            "Here: {\"score\": 80}",
            "80\nThank you",
        ] {
            assert!(parse(answer).is_err(), "{answer}");
        }
    }
}
