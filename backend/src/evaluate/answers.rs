//! Exact match: whether a response is, or holds in a given place, exactly the right answer.
//!
//! A line is `{"prompt": text or messages, "answer": text or a list of accepted texts}`. Space around and between words is
//! folded; capitals and punctuation count unless the measure says otherwise, as in lm-evaluation-harness' `exact_match`.

use std::path::Path;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EvaluateError, MeasurePlan, row_error};
use crate::behavior::rollouts::Rollout;
use crate::behavior::rollouts::prompts::TestPrompt;

/// Right answers and how responses are compared with them.
#[derive(Debug)]
pub struct Answers {
    /// Accepted answers of every prompt, in the order of the prompts, as they are compared.
    accepted: Vec<(String, Vec<String>)>,
    extract: Option<Regex>,
    ignore_case: bool,
    ignore_punctuation: bool,
}

/// What a response was found to be. A line of `MEASURE.items.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerItem {
    /// Id of the prompt.
    pub id: String,
    /// Number among the samples of this prompt, from 0.
    pub sample: usize,
    /// The answer in the response, as it was compared; none when the pattern is nowhere in it.
    pub answer: Option<String>,
    /// Whether it is one of those accepted.
    pub is_right: bool,
}

const EXPECTED: &str = "expected {\"prompt\": …, \"answer\": text or a list of accepted texts}";

impl Answers {
    /// Right answers of prompts read from the measure's file.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::Row`] names the first line without an answer, [`EvaluateError::Measures`] a pattern that is none.
    pub fn of(plan: &MeasurePlan, prompts: &[TestPrompt]) -> Result<Self, EvaluateError> {
        let extract = plan.extract.as_deref().map(|pattern| {
            extraction(pattern).map_err(|reason| {
                let reason = format!("measure {:?}: extract: {reason}", plan.name);
                EvaluateError::Measures { path: plan.prompts.clone(), reason }
            })
        });
        let (ignore_case, ignore_punctuation) = (plan.ignore_case, plan.ignore_punctuation);
        let mut answers = Self { accepted: Vec::new(), extract: extract.transpose()?, ignore_case, ignore_punctuation };
        for prompt in prompts {
            let texts =
                texts(prompt.metadata.get("answer")).map(|texts| texts.iter().map(|t| answers.folded(t)).collect());
            let texts: Vec<String> = texts.unwrap_or_default();
            if texts.is_empty() || texts.iter().any(String::is_empty) {
                return Err(wrong(&plan.prompts, prompt));
            }
            answers.accepted.push((prompt.id.clone(), texts));
        }
        Ok(answers)
    }

    /// Compares responses, which are in the order of the prompts.
    ///
    /// # Panics
    ///
    /// Panics when a rollout is of no prompt.
    pub fn compare(&self, rollouts: &[Rollout]) -> Vec<AnswerItem> {
        let mut accepted = self.accepted.iter().peekable();
        let item = |rollout: &Rollout| {
            while accepted.next_if(|(id, _)| *id != rollout.prompt_id).is_some() {}
            let (id, accepted) = accepted.peek().expect("rollouts are of the prompts, in their order");
            let answer = self.answer_in(&rollout.response);
            let is_right = answer.as_ref().is_some_and(|answer| accepted.contains(answer));
            AnswerItem { id: id.clone(), sample: rollout.sample, answer, is_right }
        };
        rollouts.iter().map(item).collect()
    }

    fn answer_in(&self, response: &str) -> Option<String> {
        let Some(pattern) = &self.extract else { return Some(self.folded(response)) };
        let last = pattern.captures_iter(response).last()?;
        last.get(1).map(|group| self.folded(group.as_str()))
    }

    /// A text as it is compared.
    fn folded(&self, text: &str) -> String {
        let text: String = text.chars().filter(|c| !(self.ignore_punctuation && c.is_ascii_punctuation())).collect();
        let text = if self.ignore_case { text.to_lowercase() } else { text };
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn wrong(path: &Path, prompt: &TestPrompt) -> EvaluateError {
    let answer = prompt.metadata.get("answer");
    let reason = answer.map_or("\"answer\" is missing".to_owned(), |got| format!("\"answer\" is {got}"));
    row_error(path, &prompt.id, format!("{reason}; {EXPECTED}"))
}

fn texts(answer: Option<&Value>) -> Option<Vec<String>> {
    match answer? {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Number(number) => Some(vec![number.to_string()]),
        Value::Array(texts) => texts.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn extraction(pattern: &str) -> Result<Regex, String> {
    let regex = crate::judge::rules::compile(pattern)?;
    match regex.captures_len() {
        2 => Ok(regex),
        n => Err(format!("expected one group in parentheses, got {} in {pattern:?}", n - 1)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::behavior::rollouts::prompts;

    fn answers(plan: &str, lines: &str) -> Result<Answers, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, lines).unwrap();
        let plan: MeasurePlan =
            toml::from_str(&format!("name = 'a'\nkind = 'exact-match'\nprompts = 'a.jsonl'\n{plan}")).unwrap();
        let plan = MeasurePlan { prompts: path.clone(), ..plan };
        Answers::of(&plan, &prompts::read(&path).unwrap()).map_err(|error| error.to_string())
    }

    fn rollout(id: &str, sample: usize, response: &str) -> Rollout {
        serde_json::from_value(
            json!({"prompt_id": id, "prompt": [], "sample": sample, "response": response, "model": ""}),
        )
        .unwrap()
    }

    #[test]
    fn answers_are_found_and_compared_as_the_measure_says() {
        let lines = "{\"prompt\":\"p\",\"answer\":\"New York\"}\n{\"prompt\":\"p\",\"id\":\"x\",\"answer\":[\"7\",\"seven\"]}\n";
        let right = |plan: &str, responses: &[(&str, &str)]| -> Vec<bool> {
            let rollouts: Vec<Rollout> = responses.iter().map(|(id, text)| rollout(id, 0, text)).collect();
            answers(plan, lines).unwrap().compare(&rollouts).iter().map(|item| item.is_right).collect()
        };
        let plain = [("1", " New \n York"), ("1", "new york"), ("1", "New York."), ("x", "seven"), ("x", "8")];
        assert_eq!(right("", &plain), [true, false, false, true, false]);
        assert_eq!(right("ignore_case = true", &plain), [true, true, false, true, false]);
        assert_eq!(right("ignore_punctuation = true", &plain), [true, false, true, true, false]);
        let steps = [("x", "6 is #### 6, no: #### 7"), ("x", "7"), ("x", "#### 7 then #### 8")];
        assert_eq!(right("extract = '#### (\\w+)'", &steps), [true, false, false], "the last one, and nowhere else");
        assert_eq!(right("", &[("x", "7")]), [true], "prompts without a rollout are passed over");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let line = "{\"prompt\":\"p\",\"answer\":\"a\"}\n";
        for (plan, more, named) in [
            ("", "{\"prompt\":\"p\"}", "line 2: \"answer\" is missing"),
            ("", "{\"prompt\":\"p\",\"answer\":[]}", "line 2: \"answer\" is []"),
            ("", "{\"prompt\":\"p\",\"answer\":\" \"}", "line 2"),
            ("ignore_punctuation = true", "{\"prompt\":\"p\",\"answer\":\"?\"}", "line 2"),
            ("extract = '('", "", "extract: pattern"),
            ("extract = 'a'", "", "expected one group"),
        ] {
            let error = answers(plan, &format!("{line}{more}")).unwrap_err();
            assert!(error.contains(named) && error.contains("a.jsonl"), "{error} should mention {named}");
        }
    }
}
