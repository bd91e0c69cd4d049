//! Formats: whether a response has the form that its prompt asks for, instruction by instruction.
//!
//! A line is as in IFEval's data (Zhou et al. 2023, arXiv 2311.07911): `prompt`, `instruction_id_list`, a list of checks
//! ([`crate::judge::checks`]), and `kwargs`, a list of their parameters in the same order. Strictly a prompt is followed when
//! every check holds of the response; loosely each may also hold of it without its first or last line or its asterisks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{EvaluateError, MeasurePlan, row_error};
use crate::behavior::rollouts::Rollout;
use crate::behavior::rollouts::prompts::TestPrompt;
use crate::judge::checks::{Check, CheckError};

/// Which instructions a response follows. A line of `MEASURE.items.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormItem {
    /// Id of the prompt.
    pub id: String,
    /// Number among the samples of this prompt, from 0.
    pub sample: usize,
    /// Each instruction.
    pub checks: Vec<Followed>,
}

/// Whether an instruction is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Name of the check.
    pub check: String,
    /// By the response as it stands.
    pub strict: bool,
    /// By it or a part of it.
    pub loose: bool,
}

/// The checks of every prompt.
#[derive(Debug)]
pub struct Forms {
    /// In the order of the prompts.
    checks: Vec<(String, Vec<Check>)>,
}

const EXPECTED: &str = "expected {\"prompt\": …, \"instruction_id_list\": [names], \"kwargs\": [parameters of each]}";

impl Forms {
    /// The checks of prompts read from the measure's file. Prompts with one that is not implemented are taken out of
    /// `prompts` when the measure says so.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::Row`] names the first line whose checks make no sense or are not implemented.
    pub fn of(plan: &MeasurePlan, prompts: &mut Vec<TestPrompt>) -> Result<Self, EvaluateError> {
        let mut checks = Vec::new();
        let mut kept = Vec::new();
        for prompt in prompts.drain(..) {
            let hint = "; leave the prompt out, or say skip_unsupported = true";
            match of_prompt(&prompt) {
                Ok(of_prompt) => {
                    checks.push((prompt.id.clone(), of_prompt));
                    kept.push(prompt);
                }
                Err((_, true)) if plan.skip_unsupported => {}
                Err((reason, is_unsupported)) => {
                    let hint = if is_unsupported { hint } else { "" };
                    return Err(row_error(&plan.prompts, &prompt.id, format!("{reason}{hint}")));
                }
            }
        }
        *prompts = kept;
        Ok(Self { checks })
    }

    /// Checks responses, which are in the order of the prompts.
    ///
    /// # Panics
    ///
    /// Panics when a rollout is of no prompt.
    pub fn check(&self, rollouts: &[Rollout]) -> Vec<FormItem> {
        let mut checks = self.checks.iter().peekable();
        let item = |rollout: &Rollout| {
            while checks.next_if(|(id, _)| *id != rollout.prompt_id).is_some() {}
            let (id, checks) = checks.peek().expect("rollouts are of the prompts, in their order");
            let followed = |check: &Check| Followed {
                check: check.id.clone(),
                strict: check.is_followed(&rollout.response),
                loose: check.is_followed_loosely(&rollout.response),
            };
            FormItem { id: id.clone(), sample: rollout.sample, checks: checks.iter().map(followed).collect() }
        };
        rollouts.iter().map(item).collect()
    }
}

/// The checks of one prompt; or what is wrong, and whether it is only that one is not implemented.
fn of_prompt(prompt: &TestPrompt) -> Result<Vec<Check>, (String, bool)> {
    let list = |name: &str| prompt.metadata.get(name).and_then(Value::as_array);
    let malformed = |reason: &str| (format!("{reason}; {EXPECTED}"), false);
    let names = list("instruction_id_list").filter(|names| !names.is_empty());
    let names = names.ok_or_else(|| malformed("\"instruction_id_list\" is no list of names"))?;
    let none = Vec::new();
    let parameters = list("kwargs").unwrap_or(&none);
    if !parameters.is_empty() && parameters.len() != names.len() {
        return Err(malformed(&format!("{} checks, and \"kwargs\" for {}", names.len(), parameters.len())));
    }
    let no_parameters = Map::new();
    let check = |(i, name): (usize, &Value)| {
        let name = name.as_str().ok_or_else(|| malformed("\"instruction_id_list\" is no list of names"))?;
        let parameters = match parameters.get(i) {
            None | Some(Value::Null) => &no_parameters,
            Some(Value::Object(parameters)) => parameters,
            Some(other) => return Err(malformed(&format!("\"kwargs\" has {other}"))),
        };
        Check::new(name, parameters)
            .map_err(|error| (error.to_string(), matches!(error, CheckError::Unsupported { .. })))
    };
    names.iter().enumerate().map(check).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::behavior::rollouts::prompts;

    fn forms(lines: &str, skip_unsupported: bool) -> Result<(Forms, usize), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.jsonl");
        std::fs::write(&path, lines).unwrap();
        let mut prompts = prompts::read(&path).unwrap();
        let plan = MeasurePlan { prompts: path, skip_unsupported, ..MeasurePlan::default() };
        let forms = Forms::of(&plan, &mut prompts).map_err(|error| error.to_string())?;
        Ok((forms, prompts.len()))
    }

    const TWO: &str = "{\"key\":1000,\"prompt\":\"p\",\"instruction_id_list\":[\"punctuation:no_comma\",\
        \"length_constraints:number_words\"],\"kwargs\":[{},{\"relation\":\"less than\",\"num_words\":3,\"keywords\":null}]}\n";

    #[test]
    fn lines_of_ifeval_are_read_and_each_instruction_is_checked() {
        let (forms, _) = forms(TWO, false).unwrap();
        let rollout = |sample: usize, response: &str| {
            let json = json!({"prompt_id": "1", "prompt": [], "sample": sample, "response": response, "model": ""});
            serde_json::from_value(json).unwrap()
        };
        let items = forms.check(&[rollout(0, "two words"), rollout(1, "Sure, then:\ntwo words")]);
        let found: Vec<Vec<_>> =
            items.iter().map(|item| item.checks.iter().map(|c| (c.strict, c.loose)).collect()).collect();
        assert_eq!(found, [[(true, true), (true, true)], [(false, true), (false, true)]]);
    }

    #[test]
    fn what_makes_no_sense_or_is_not_implemented_is_named() {
        let of = |names: &str, kwargs: &str| {
            format!("{TWO}{{\"prompt\":\"p\",\"instruction_id_list\":{names},\"kwargs\":{kwargs}}}\n")
        };
        let unsupported = of("[\"language:response_language\"]", "[{\"language\":\"de\"}]");
        for (lines, named) in [
            (of("[]", "[]"), "no list of names"),
            (of("[3]", "[{}]"), "no list of names"),
            (of("[\"punctuation:no_comma\"]", "[{},{}]"), "1 checks, and \"kwargs\" for 2"),
            (of("[\"punctuation:no_comma\"]", "[{\"n\":1}]"), "unknown parameter \"n\""),
            (unsupported.clone(), "skip_unsupported = true"),
        ] {
            let error = forms(&lines, false).map(drop).unwrap_err();
            assert!(error.contains(named) && error.contains("f.jsonl line 2"), "{error} should mention {named}");
        }
        assert_eq!(forms(&unsupported, true).unwrap().1, 1, "left out, when told to");
        assert!(forms(&of("[\"punctuation:no_comma\"]", "[{\"n\":1}]"), true).is_err(), "but not what is malformed");
    }
}
