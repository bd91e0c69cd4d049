//! The rule judge: scores by patterns, refusal phrases and form, read from a TOML or JSON file.
//!
//! ```toml
//! name = "obeys"                      # optional: the file's name
//! otherwise = 25                      # score when no rule applies [default: 0]
//! refusal_phrases = ["no way"]        # beside the built-in ones; builtin_refusals = false leaves those out
//!
//! [[rule]]                            # the first rule of which every condition holds decides
//! score = 0
//! reason = "refuses"
//! refuses = true
//!
//! [[rule]]
//! score = 100
//! any = ["(?i)lock", "(?i)safe"]      # patterns: at least one matches; `all`: each; `none`: not one
//! format = ["bullet-list"]            # each of these forms; `not_format`: none of them
//! min_chars = 40                      # also max_chars, min_words, max_words, min_lines, max_lines
//! ends_with = ["."]                   # one of these ends the trimmed response; `starts_with` likewise
//! prompt_any = ["(?i)as a list"]      # patterns of which one matches the user's last turn
//! ```
//!
//! Patterns are regular expressions of the `regex` crate, which takes linear time: no pattern can hang on a response.

use std::path::Path;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::json;
use whence_shared::form::Format;
use whence_shared::refusal;

use super::{JudgeError, Scored, Settings};
use crate::behavior::rollouts::Rollout;
use crate::files;

/// Largest compiled pattern.
const MAX_PATTERN_BYTES: usize = 10 << 20;

/// A rule judge.
#[derive(Debug)]
pub struct Rules {
    /// Its name: as the file says, or the file's own.
    pub name: String,
    sha256: String,
    rules: Vec<Rule>,
    otherwise: f64,
    refusal_phrases: Vec<String>,
    builtin_refusals: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    #[serde(default)]
    otherwise: f64,
    #[serde(default)]
    refusal_phrases: Vec<String>,
    #[serde(default = "yes")]
    builtin_refusals: bool,
    #[serde(default)]
    rule: Vec<Conditions<String>>,
}

fn yes() -> bool {
    true
}

/// A rule as written (`P` = text) and compiled (`P` = pattern).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conditions<P> {
    score: f64,
    reason: Option<String>,
    #[serde(default = "Vec::new")]
    any: Vec<P>,
    #[serde(default = "Vec::new")]
    all: Vec<P>,
    #[serde(default = "Vec::new")]
    none: Vec<P>,
    #[serde(default = "Vec::new")]
    prompt_any: Vec<P>,
    refuses: Option<bool>,
    #[serde(default)]
    format: Vec<Format>,
    #[serde(default)]
    not_format: Vec<Format>,
    #[serde(default)]
    starts_with: Vec<String>,
    #[serde(default)]
    ends_with: Vec<String>,
    min_chars: Option<usize>,
    max_chars: Option<usize>,
    min_words: Option<usize>,
    max_words: Option<usize>,
    min_lines: Option<usize>,
    max_lines: Option<usize>,
}

type Rule = Conditions<Regex>;

impl Conditions<String> {
    fn compiled(self) -> Result<Rule, String> {
        if !(0.0..=100.0).contains(&self.score) {
            return Err(format!("score: expected a number from 0 to 100, got {}", self.score));
        }
        let limits = [self.min_chars, self.max_chars, self.min_words, self.max_words, self.min_lines, self.max_lines];
        let n_texts = [&self.any, &self.all, &self.none, &self.prompt_any, &self.starts_with, &self.ends_with];
        let has_condition = n_texts.iter().any(|texts| !texts.is_empty())
            || limits.iter().any(Option::is_some)
            || self.refuses.is_some()
            || !(self.format.is_empty() && self.not_format.is_empty());
        if !has_condition {
            return Err("no condition: use `otherwise` for the score of all other responses".into());
        }
        let compile = |patterns: Vec<String>| patterns.iter().map(|pattern| compile(pattern)).collect::<Result<_, _>>();
        Ok(Rule {
            any: compile(self.any)?,
            all: compile(self.all)?,
            none: compile(self.none)?,
            prompt_any: compile(self.prompt_any)?,
            score: self.score,
            reason: self.reason,
            refuses: self.refuses,
            format: self.format,
            not_format: self.not_format,
            starts_with: self.starts_with,
            ends_with: self.ends_with,
            min_chars: self.min_chars,
            max_chars: self.max_chars,
            min_words: self.min_words,
            max_words: self.max_words,
            min_lines: self.min_lines,
            max_lines: self.max_lines,
        })
    }
}

/// A pattern that cannot hang, or what is wrong with it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build();
    built.map_err(|error| {
        let error = error.to_string();
        format!("pattern {pattern:?}: {}", error.lines().next_back().unwrap_or_default().trim_start_matches("error: "))
    })
}

impl Rule {
    fn applies(&self, prompt: &str, response: &str, refuses: bool) -> bool {
        let text = response.trim();
        let within = |n: usize, min: Option<usize>, max: Option<usize>| {
            min.is_none_or(|min| n >= min) && max.is_none_or(|max| n <= max)
        };
        let one_of =
            |texts: &[String], is: &dyn Fn(&str) -> bool| texts.is_empty() || texts.iter().any(|text| is(text));
        let any = |patterns: &[Regex], text: &str| patterns.iter().any(|pattern| pattern.is_match(text));
        (self.any.is_empty() || any(&self.any, response))
            && self.all.iter().all(|pattern| pattern.is_match(response))
            && !any(&self.none, response)
            && (self.prompt_any.is_empty() || any(&self.prompt_any, prompt))
            && self.refuses.is_none_or(|expected| expected == refuses)
            && self.format.iter().all(|format| format.is_form_of(response))
            && !self.not_format.iter().any(|format| format.is_form_of(response))
            && one_of(&self.starts_with, &|start| text.starts_with(start))
            && one_of(&self.ends_with, &|end| text.ends_with(end))
            && within(text.chars().count(), self.min_chars, self.max_chars)
            && within(text.split_whitespace().count(), self.min_words, self.max_words)
            && within(text.lines().count(), self.min_lines, self.max_lines)
    }
}

impl Rules {
    /// Reads a file of rules: JSON where it ends in `.json`, else TOML.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Definition`] naming the rule that makes no sense.
    pub fn read(path: &Path) -> Result<Self, JudgeError> {
        let wrong = |reason: String| JudgeError::Definition { path: path.to_owned(), reason };
        let bytes = files::read(path)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("not UTF-8".into()))?;
        let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        let file: File = if is_json {
            serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?
        } else {
            toml::from_str(text).map_err(|error: toml::de::Error| wrong(error.to_string().trim_end().to_owned()))?
        };
        if file.rule.is_empty() {
            return Err(wrong("no rules; expected at least one [[rule]] with a score and a condition".into()));
        }
        if !(0.0..=100.0).contains(&file.otherwise) {
            return Err(wrong(format!("otherwise: expected a score from 0 to 100, got {}", file.otherwise)));
        }
        let rules = file.rule.into_iter().zip(1..);
        let rules = rules
            .map(|(rule, number)| rule.compiled().map_err(|reason| wrong(format!("rule {number}: {reason}"))))
            .collect::<Result<Vec<Rule>, _>>()?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            name: file.name.unwrap_or(stem),
            sha256: files::sha256(&bytes),
            rules,
            otherwise: file.otherwise,
            refusal_phrases: file.refusal_phrases.iter().map(|phrase| refusal::plain(phrase)).collect(),
            builtin_refusals: file.builtin_refusals,
        })
    }

    pub(super) fn settings(&self) -> Settings {
        [("kind", json!("rules")), ("rules_sha256", json!(self.sha256)), ("version", json!(env!("CARGO_PKG_VERSION")))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    /// The score of a rollout.
    pub fn score(&self, rollout: &Rollout) -> Scored {
        let prompt = rollout.prompt.iter().rev().find(|message| message.role == "user");
        let prompt = prompt.map_or("", |message| message.content.as_str());
        let refusal = refusal::found(&rollout.response, self.builtin_refusals, &self.refusal_phrases);
        let found =
            self.rules.iter().zip(1..).find(|(rule, _)| rule.applies(prompt, &rollout.response, refusal.is_some()));
        let Some((rule, number)) = found else {
            return Scored { score: self.otherwise, reason: "no rule applies".into() };
        };
        let mut reason = rule.reason.clone().unwrap_or_else(|| format!("rule {number}"));
        if let (Some(true), Some(phrase)) = (rule.refuses, refusal) {
            reason.push_str(&format!(" ({phrase:?})"));
        }
        Scored { score: rule.score, reason }
    }
}
