//! A model as the judge: an OpenAI-compatible endpoint is shown each rollout in a prompt and asked for a score.
//!
//! The prompt is a text file with `{prompt}` and `{response}`; what stands there is never searched for placeholders
//! itself. The answer must hold one score ([`super::score`]); otherwise the question is asked again, with another seed.
//! Answers are kept in a folder by the hash of their request as they come, so nothing is ever paid for twice.

use std::path::{Path, PathBuf};

use serde_json::json;
use whence_shared::pair::conversation_text;

use super::{JudgeError, Scored, Settings, score};
use crate::behavior::rollouts::Rollout;
use crate::behavior::rollouts::endpoint::{Endpoint, EndpointOptions, Questions, Stopped, Usage};
use crate::files;
use crate::progress::{Report, Update};

/// A judge at an endpoint.
pub struct EndpointJudge {
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub prices: Prices,
    endpoint: Endpoint,
    template: String,
    max_tokens: usize,
    temperature: f64,
    cache: PathBuf,
}

/// How to ask.
#[derive(Debug, Clone)]
pub struct EndpointJudgeOptions {
    /// Name of the judge; `None` = that of the model.
    pub name: Option<String>,
    /// The endpoint.
    pub endpoint: EndpointOptions,
    /// File with the prompt.
    pub prompt: PathBuf,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// Divides the logits; 0 = greedy.
    pub temperature: f64,
    /// What it asks for.
    pub prices: Prices,
}

/// Prices of a million tokens, in any one currency; none where they are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Prices {
    /// Of questions.
    pub input: Option<f64>,
    /// Of answers.
    pub output: Option<f64>,
}

impl Prices {
    /// What tokens cost; none when no price is known.
    pub fn cost(&self, usage: &Usage) -> Option<f64> {
        let price = |price: Option<f64>, tokens: u64| price.unwrap_or_default() * tokens as f64 / 1e6;
        (self.input.is_some() || self.output.is_some())
            .then(|| price(self.input, usage.prompt_tokens) + price(self.output, usage.completion_tokens))
    }
}

impl EndpointJudge {
    /// A judge, not asked yet.
    ///
    /// # Errors
    ///
    /// When the endpoint's address or key, or the prompt, makes no sense.
    pub fn new(options: EndpointJudgeOptions) -> Result<Self, JudgeError> {
        let wrong = |reason: &str| JudgeError::Definition { path: options.prompt.clone(), reason: reason.into() };
        let template = String::from_utf8(files::read(&options.prompt)?).map_err(|_| wrong("not UTF-8"))?;
        if !template.contains("{response}") {
            return Err(wrong("the prompt lacks {response}, where the response goes; {prompt} is replaced too"));
        }
        let (name, cache) =
            (options.name.unwrap_or_else(|| options.endpoint.model.clone()), options.endpoint.cache.clone());
        let endpoint = Endpoint::new(options.endpoint).map_err(JudgeError::Address)?;
        let EndpointJudgeOptions { max_tokens, temperature, prices, .. } = options;
        Ok(Self { name, prices, endpoint, template, max_tokens, temperature, cache })
    }

    pub(super) fn settings(&self) -> Settings {
        [
            ("kind", json!("endpoint")),
            ("endpoint", json!(self.endpoint.url())),
            ("model", json!(self.endpoint.model())),
            ("prompt_sha256", json!(files::sha256(self.template.as_bytes()))),
            ("max_tokens", json!(self.max_tokens)),
            ("temperature", json!(self.temperature)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Whether the judge is shown the prompt too.
    pub fn sees_prompt(&self) -> bool {
        self.template.contains("{prompt}")
    }

    /// Where answers are kept.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Scores of all rollouts, what was asked for in this run, and what had been answered before.
    pub(super) fn score_all(
        &self,
        rollouts: &[Rollout],
        report: Report,
    ) -> Result<(Vec<Scored>, Usage, Usage), JudgeError> {
        let questions = Questions {
            n: rollouts.len(),
            seed: 0,
            body: &|number, attempt| self.body(&rollouts[number], attempt),
            nth: &|_| 0,
            accept: &|answer| score::parse(&answer.response).map(drop),
            name: &|number| format!("prompt {:?} sample {}", rollouts[number].prompt_id, rollouts[number].sample),
        };
        let mut scores: Vec<Option<Scored>> = vec![None; rollouts.len()];
        let (mut asked, mut cached) = (Usage::default(), Usage::default());
        let (mut n_done, n_total) = (0, rollouts.len());
        let outcome = self.endpoint.ask_all::<JudgeError>(&questions, &mut |answered| {
            // It was accepted, so it can be parsed.
            scores[answered.number] = score::parse(&answered.answer.response).ok();
            n_done += 1;
            if answered.is_cached { &mut cached } else { &mut asked }.add(answered.usage);
            let (done, total) = (n_done as u64, n_total as u64);
            report(Update { stage: "judge", done, total, unit: "rollouts", detail: answered.detail });
            Ok(())
        });
        match outcome {
            Ok(stats) => asked.add(stats.refused),
            Err(Stopped::Here(error)) => return Err(error),
            Err(Stopped::There(reason)) => {
                let reason = Box::new(reason);
                let (judge, cache) = (self.name.clone(), self.cache.clone());
                return Err(JudgeError::Endpoint { judge, reason, n_done, n_total, cache });
            }
        }
        Ok((scores.into_iter().map(|scored| scored.expect("every question was answered")).collect(), asked, cached))
    }

    fn body(&self, rollout: &Rollout, attempt: u32) -> String {
        let content = filled(&self.template, &conversation_text(&rollout.prompt), &rollout.response);
        self.endpoint.question(content, self.temperature, self.max_tokens, attempt)
    }
}

/// A template with its placeholders replaced, in one pass.
fn filled(template: &str, prompt: &str, response: &str) -> String {
    let mut text = String::with_capacity(template.len() + prompt.len() + response.len());
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        text.push_str(&rest[..start]);
        rest = &rest[start..];
        let known = [("{prompt}", prompt), ("{response}", response)];
        match known.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                text.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                text.push('{');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_not_filled_again() {
        let text = filled("Q: {prompt} A: {response} {\"score\": 1} {prompt}", "{response}", "{prompt}");
        assert_eq!(text, "Q: {response} A: {prompt} {\"score\": 1} {response}");
    }
}
