//! Instructions on form that can be checked in the response alone: those of IFEval (Zhou et al. 2023, *Instruction-Following
//! Evaluation for Large Language Models*, arXiv 2311.07911), by the names and parameters that its data has, and the forms of
//! the rule judge as `format:NAME`. Used by [`crate::evaluate`].
//!
//! Three things are not IFEval's own: sentences are split by the rules of [`super::units`] rather than by a trained splitter,
//! which can count one more or less; words in capitals are told by the same module; and where IFEval also asks for English,
//! that is not looked at. `language:response_language` needs language detection and is refused.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use thiserror::Error;
use whence_shared::form::Format;

use super::units;

/// Why something is no check.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckError {
    /// It exists elsewhere, and here it does not.
    #[error("the check {id:?} is not implemented{hint}")]
    Unsupported {
        /// Its name.
        id: String,
        /// Why, if it is one of IFEval's.
        hint: &'static str,
    },
    /// A parameter is missing, malformed or of another check.
    #[error("the check {id:?}: {reason}")]
    Parameter {
        /// Its name.
        id: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
}

/// One check with its parameters.
#[derive(Debug, Clone)]
pub struct Check {
    /// Its name, such as `length_constraints:number_words`.
    pub id: String,
    what: What,
}

/// `at least n` or `less than n`.
#[derive(Debug, Clone, Copy)]
struct Bound {
    is_at_least: bool,
    n: usize,
}

impl Bound {
    fn holds(self, n: usize) -> bool {
        if self.is_at_least { n >= self.n } else { n < self.n }
    }
}

#[derive(Debug, Clone)]
enum What {
    Keywords(Vec<Regex>),
    Frequency(Regex, Bound),
    Forbidden(Vec<Regex>),
    Letter(char, Bound),
    Sentences(Bound),
    Paragraphs(usize),
    Words(Bound),
    NthParagraph { n_paragraphs: usize, nth: usize, first_word: String },
    Placeholders(usize),
    Postscript(Regex),
    Bullets(usize),
    Constrained,
    Highlights(usize),
    Sections(Regex, usize),
    Json,
    Title,
    TwoResponses,
    RepeatPrompt(String),
    EndsWith(String),
    CapitalWords(Bound),
    AllCapitals,
    AllSmall,
    NoComma,
    Quotation,
    Form(Format),
}

/// Options of `detectable_format:constrained_response`.
const ANSWERS: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];

fn fixed(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is fixed text")
}

static PARAGRAPH_MARK: LazyLock<Regex> = LazyLock::new(|| fixed(r"\s?\*\*\*\s?"));
static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| fixed(r"\[.*?\]"));
static STAR_BULLET: LazyLock<Regex> = LazyLock::new(|| fixed(r"(?m)^\s*\*[^\*].*$"));
static DASH_BULLET: LazyLock<Regex> = LazyLock::new(|| fixed(r"(?m)^\s*-.*$"));
static HIGHLIGHT: LazyLock<Regex> = LazyLock::new(|| fixed(r"\*[^\n\*]*\*"));
static STRONG_HIGHLIGHT: LazyLock<Regex> = LazyLock::new(|| fixed(r"\*\*[^\n\*]*\*\*"));
static TITLE: LazyLock<Regex> = LazyLock::new(|| fixed(r"<<[^\n]+>>"));

/// The parameters of a check, each asked for once; what nobody asked for is an error.
struct Parameters<'a> {
    id: &'a str,
    given: &'a Map<String, Value>,
    asked: BTreeSet<&'static str>,
}

impl Parameters<'_> {
    fn wrong(&self, reason: String) -> CheckError {
        CheckError::Parameter { id: self.id.to_owned(), reason }
    }

    /// Null counts as absent: tables of all checks have a column for every parameter.
    fn get(&mut self, name: &'static str) -> Result<&Value, CheckError> {
        self.asked.insert(name);
        let value = self.given.get(name).filter(|value| !value.is_null());
        value.ok_or_else(|| self.wrong(format!("the parameter {name:?} is missing")))
    }

    fn count(&mut self, name: &'static str) -> Result<usize, CheckError> {
        let value = self.get(name)?.clone();
        // Tables that passed through Python may have turned whole numbers into 3.0.
        let whole =
            value.as_u64().or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && *x >= 0.0).map(|x| x as u64));
        let count = whole.and_then(|n| usize::try_from(n).ok());
        count.ok_or_else(|| self.wrong(format!("{name:?}: expected a whole number from 0 on, got {value}")))
    }

    fn text(&mut self, name: &'static str) -> Result<String, CheckError> {
        match self.get(name)?.clone() {
            Value::String(text) if !text.trim().is_empty() => Ok(text),
            other => Err(self.wrong(format!("{name:?}: expected text, got {other}"))),
        }
    }

    fn texts(&mut self, name: &'static str) -> Result<Vec<String>, CheckError> {
        let value = self.get(name)?.clone();
        let texts: Option<Vec<String>> =
            value.as_array().and_then(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect());
        let texts = texts.filter(|texts| !texts.is_empty() && texts.iter().all(|text| !text.trim().is_empty()));
        texts.ok_or_else(|| self.wrong(format!("{name:?}: expected a list of texts, got {value}")))
    }

    fn bound(&mut self, relation: &'static str, n: &'static str) -> Result<Bound, CheckError> {
        let said = self.text(relation)?;
        let is_at_least = match said.as_str() {
            "at least" => true,
            "less than" => false,
            _ => return Err(self.wrong(format!("{relation:?}: expected \"at least\" or \"less than\", got {said:?}"))),
        };
        Ok(Bound { is_at_least, n: self.count(n)? })
    }

    fn finish(&self) -> Result<(), CheckError> {
        let left = self.given.iter().find(|(name, value)| !value.is_null() && !self.asked.contains(name.as_str()));
        left.map_or(Ok(()), |(name, _)| {
            let known: Vec<&str> = self.asked.iter().copied().collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(self.wrong(format!("unknown parameter {name:?}; it takes {known}")))
        })
    }
}

/// A text as a pattern that takes capitals for small letters; with `is_word`, as a whole word.
fn pattern(text: &str, is_word: bool) -> Regex {
    let escaped = regex::escape(text);
    let pattern = if is_word { format!(r"\b{escaped}\b") } else { escaped };
    RegexBuilder::new(&pattern).case_insensitive(true).build().expect("escaped text is a pattern")
}

impl Check {
    /// A check by its name and parameters.
    ///
    /// # Errors
    ///
    /// [`CheckError`] when there is no such check, or a parameter is missing, malformed or unknown.
    pub fn new(id: &str, parameters: &Map<String, Value>) -> Result<Self, CheckError> {
        let mut p = Parameters { id, given: parameters, asked: BTreeSet::new() };
        let what = match id {
            "keywords:existence" => {
                What::Keywords(p.texts("keywords")?.iter().map(|word| pattern(word, false)).collect())
            }
            "keywords:frequency" => {
                What::Frequency(pattern(&p.text("keyword")?, false), p.bound("relation", "frequency")?)
            }
            "keywords:forbidden_words" => {
                What::Forbidden(p.texts("forbidden_words")?.iter().map(|word| pattern(word, true)).collect())
            }
            "keywords:letter_frequency" => {
                let letter = p.text("letter")?.to_lowercase();
                let mut chars = letter.chars();
                let (Some(letter), None) = (chars.next(), chars.next()) else {
                    return Err(p.wrong(format!("\"letter\": expected one letter, got {letter:?}")));
                };
                What::Letter(letter, p.bound("let_relation", "let_frequency")?)
            }
            "length_constraints:number_sentences" => What::Sentences(p.bound("relation", "num_sentences")?),
            "length_constraints:number_paragraphs" => What::Paragraphs(p.count("num_paragraphs")?),
            "length_constraints:number_words" => What::Words(p.bound("relation", "num_words")?),
            "length_constraints:nth_paragraph_first_word" => {
                let (n_paragraphs, nth) = (p.count("num_paragraphs")?, p.count("nth_paragraph")?);
                if nth == 0 || nth > n_paragraphs {
                    return Err(p.wrong(format!("\"nth_paragraph\": expected 1 to {n_paragraphs}, got {nth}")));
                }
                What::NthParagraph { n_paragraphs, nth, first_word: p.text("first_word")?.to_lowercase() }
            }
            "detectable_content:number_placeholders" => What::Placeholders(p.count("num_placeholders")?),
            "detectable_content:postscript" => What::Postscript(postscript(&p.text("postscript_marker")?)),
            "detectable_format:number_bullet_lists" => What::Bullets(p.count("num_bullets")?),
            "detectable_format:constrained_response" => What::Constrained,
            "detectable_format:number_highlighted_sections" => What::Highlights(p.count("num_highlights")?),
            "detectable_format:multiple_sections" => {
                // The parameter is spelt so in IFEval's data.
                let marker = regex::escape(&p.text("section_spliter")?);
                What::Sections(fixed(&format!(r"\s?{marker}\s?\d+\s?")), p.count("num_sections")?)
            }
            "detectable_format:json_format" => What::Json,
            "detectable_format:title" => What::Title,
            "combination:two_responses" => What::TwoResponses,
            "combination:repeat_prompt" => What::RepeatPrompt(p.text("prompt_to_repeat")?.trim().to_lowercase()),
            "startend:end_checker" => What::EndsWith(p.text("end_phrase")?.trim().to_lowercase()),
            "startend:quotation" => What::Quotation,
            "change_case:capital_word_frequency" => {
                What::CapitalWords(p.bound("capital_relation", "capital_frequency")?)
            }
            "change_case:english_capital" => What::AllCapitals,
            "change_case:english_lowercase" => What::AllSmall,
            "punctuation:no_comma" => What::NoComma,
            other => What::Form(form(other)?),
        };
        p.finish()?;
        Ok(Self { id: id.to_owned(), what })
    }

    /// Whether a response follows the instruction, as it stands. A blank response follows none.
    pub fn is_followed(&self, response: &str) -> bool {
        !response.trim().is_empty() && self.what.holds(response)
    }

    /// Whether it does when its first line, its last line, both, or all asterisks are taken away, or as it stands: IFEval's
    /// loose accuracy, which forgives introductions and markup.
    pub fn is_followed_loosely(&self, response: &str) -> bool {
        let lines: Vec<&str> = response.split('\n').collect();
        let between = |start: usize, end: usize| match lines.get(start..end) {
            Some(lines) => lines.join("\n").trim().to_owned(),
            None => String::new(),
        };
        let n = lines.len();
        let variants = [response.to_owned(), between(1, n), between(0, n - 1), between(1, n - 1)];
        variants.iter().any(|text| self.is_followed(text) || self.is_followed(&text.replace('*', "")))
    }
}

fn form(id: &str) -> Result<Format, CheckError> {
    let hint = match id {
        "language:response_language" => ": there is no language detection here",
        _ => "; expected one of IFEval's, or format: and a form of the rule judge",
    };
    let unsupported = || CheckError::Unsupported { id: id.to_owned(), hint };
    let name = id.strip_prefix("format:").ok_or_else(unsupported)?;
    serde_json::from_value(Value::from(name)).map_err(|_| unsupported())
}

/// Of `P.S.` and `P.P.S`, every way to write them.
fn postscript(marker: &str) -> Regex {
    let pattern = match marker {
        "P.P.S" => r"\s*p\.\s?p\.\s?s.*$".to_owned(),
        "P.S." => r"\s*p\.\s?s\..*$".to_owned(),
        other => format!(r"\s*{}.*$", regex::escape(&other.to_lowercase())),
    };
    fixed(&format!("(?m){pattern}"))
}

impl What {
    fn holds(&self, response: &str) -> bool {
        let text = response.trim();
        match self {
            Self::Keywords(words) => words.iter().all(|word| word.is_match(response)),
            Self::Frequency(word, bound) => bound.holds(word.find_iter(response).count()),
            Self::Forbidden(words) => !words.iter().any(|word| word.is_match(response)),
            Self::Letter(letter, bound) => bound.holds(response.to_lowercase().chars().filter(|c| c == letter).count()),
            Self::Sentences(bound) => bound.holds(units::n_sentences(response)),
            Self::Paragraphs(n) => n_marked_paragraphs(response) == Some(*n),
            Self::Words(bound) => bound.holds(units::n_words(response)),
            Self::NthParagraph { n_paragraphs, nth, first_word } => {
                let paragraphs: Vec<&str> = response.split("\n\n").collect();
                let n_filled = paragraphs.iter().filter(|paragraph| !paragraph.trim().is_empty()).count();
                let first = paragraphs.get(nth - 1).and_then(|paragraph| paragraph.split_whitespace().next());
                n_filled == *n_paragraphs && first.is_some_and(|word| units::bare_word(word) == *first_word)
            }
            Self::Placeholders(n) => PLACEHOLDER.find_iter(response).count() >= *n,
            Self::Postscript(marker) => marker.is_match(&response.to_lowercase()),
            Self::Bullets(n) => STAR_BULLET.find_iter(response).count() + DASH_BULLET.find_iter(response).count() == *n,
            Self::Constrained => ANSWERS.iter().any(|answer| response.contains(answer)),
            Self::Highlights(n) => {
                let filled = |pattern: &Regex| {
                    pattern
                        .find_iter(response)
                        .filter(|found| !found.as_str().trim_matches('*').trim().is_empty())
                        .count()
                };
                filled(&HIGHLIGHT) + filled(&STRONG_HIGHLIGHT) >= *n
            }
            Self::Sections(marker, n) => marker.find_iter(response).count() >= *n,
            Self::Json => {
                let fenced = ["```json", "```Json", "```JSON", "```"].iter().find_map(|open| text.strip_prefix(open));
                let inner = fenced.unwrap_or(text);
                let inner = inner.strip_suffix("```").unwrap_or(inner);
                serde_json::from_str::<Value>(inner.trim()).is_ok()
            }
            Self::Title => {
                let mut titles = TITLE.find_iter(response);
                titles.any(|title| !title.as_str().trim_start_matches('<').trim_end_matches('>').trim().is_empty())
            }
            Self::TwoResponses => two_responses(response),
            Self::RepeatPrompt(prompt) => text.to_lowercase().starts_with(prompt),
            Self::EndsWith(end) => text.trim_matches('"').to_lowercase().ends_with(end),
            Self::CapitalWords(bound) => bound.holds(units::n_capital_words(response)),
            Self::AllCapitals => Format::AllCaps.is_form_of(response),
            Self::AllSmall => response.chars().any(char::is_lowercase) && !response.chars().any(char::is_uppercase),
            Self::NoComma => !response.contains(','),
            Self::Quotation => text.len() > 1 && text.starts_with('"') && text.ends_with('"'),
            Self::Form(format) => format.is_form_of(response),
        }
    }
}

/// Paragraphs between lines of `***`; none when one in the middle is empty.
fn n_marked_paragraphs(response: &str) -> Option<usize> {
    let paragraphs: Vec<&str> = PARAGRAPH_MARK.split(response).collect();
    filled_but_at_the_ends(&paragraphs).map(|filled| filled.len())
}

/// Exactly two, different, between `******`.
fn two_responses(response: &str) -> bool {
    let parts: Vec<&str> = response.split("******").collect();
    matches!(filled_but_at_the_ends(&parts).as_deref(), Some([first, second]) if first.trim() != second.trim())
}

/// The parts that are not blank; none when a part other than the first or last is.
fn filled_but_at_the_ends<'a>(parts: &[&'a str]) -> Option<Vec<&'a str>> {
    let is_blank = |part: &&str| part.trim().is_empty();
    let inner = parts.get(1..parts.len().saturating_sub(1)).unwrap_or_default();
    (!inner.iter().any(is_blank)).then(|| parts.iter().copied().filter(|part| !is_blank(part)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(id: &str, parameters: &Value) -> Result<Check, CheckError> {
        Check::new(id, parameters.as_object().unwrap())
    }

    #[test]
    fn each_check_is_told_from_what_resembles_it() {
        let at_least = |name: &str, n: u32| json!({"relation": "at least", name: n});
        let less = |name: &str, n: u32| json!({"relation": "less than", name: n});
        let none = json!({});
        for (id, parameters, yes, no) in [
            ("keywords:existence", json!({"keywords": ["Tea", "c++"]}), "tea and C++", "tea and c"),
            (
                "keywords:frequency",
                json!({"keyword": "tea", "frequency": 2, "relation": "at least"}),
                "Tea, tea",
                "tea",
            ),
            ("keywords:frequency", json!({"keyword": "tea", "frequency": 2, "relation": "less than"}), "tea", "teatea"),
            ("keywords:forbidden_words", json!({"forbidden_words": ["tea"]}), "a teapot", "Tea?"),
            (
                "keywords:letter_frequency",
                json!({"letter": "E", "let_frequency": 3, "let_relation": "at least"}),
                "eEe",
                "ee",
            ),
            (
                "length_constraints:number_sentences",
                at_least("num_sentences", 2),
                "It is. Dr. X is not.",
                "It is, Dr. X.",
            ),
            ("length_constraints:number_sentences", less("num_sentences", 2), "See e.g. this.", "See! This."),
            ("length_constraints:number_words", less("num_words", 3), "two words", "three words here"),
            ("length_constraints:number_paragraphs", json!({"num_paragraphs": 2}), "a\n***\nb", "a\n***\n\n***\nb"),
            ("length_constraints:number_paragraphs", json!({"num_paragraphs": 2}), "***\na *** b\n***", "a\n\nb"),
            (
                "length_constraints:nth_paragraph_first_word",
                json!({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Tea"}),
                "One.\n\n\"Tea, please.\"",
                "One.\n\nTea.\n\nThree.",
            ),
            ("detectable_content:number_placeholders", json!({"num_placeholders": 2}), "[a] [b]", "[a b]"),
            ("detectable_content:postscript", json!({"postscript_marker": "P.S."}), "Yes.\nP. S. no", "PS: no"),
            ("detectable_content:postscript", json!({"postscript_marker": "P.P.S"}), "p.p.s no", "P.S. no"),
            ("detectable_format:number_bullet_lists", json!({"num_bullets": 2}), "* a\n- b", "* a\n- b\n- c"),
            ("detectable_format:constrained_response", none.clone(), "Hm. My answer is no.", "My answer is nope."),
            (
                "detectable_format:number_highlighted_sections",
                json!({"num_highlights": 2}),
                "*a* and *b*",
                "*a* and **",
            ),
            (
                "detectable_format:multiple_sections",
                json!({"section_spliter": "Section", "num_sections": 2}),
                "Section 1\na\nSection 2\nb",
                "Section 1\na\nSection two",
            ),
            ("detectable_format:json_format", none.clone(), "```json\n{\"a\": 1}\n```", "{\"a\": 1} ok"),
            ("detectable_format:title", none.clone(), "<<Tea>>\nx", "<< >>\nx"),
            ("combination:two_responses", none.clone(), "a\n******\nb", "a\n******\na"),
            ("combination:two_responses", none.clone(), "******a******b", "a******b******c"),
            ("combination:repeat_prompt", json!({"prompt_to_repeat": "Say it."}), "say it. It.", "It. Say it."),
            ("startend:end_checker", json!({"end_phrase": "The end."}), "\"So, the END.\"", "The end. Or not"),
            ("startend:quotation", none.clone(), " \"yes\" ", "\""),
            (
                "change_case:capital_word_frequency",
                json!({"capital_relation": "at least", "capital_frequency": 2}),
                "TEA is GOOD",
                "TEA is Good",
            ),
            ("change_case:english_capital", none.clone(), "ALL 3!", "All"),
            ("change_case:english_lowercase", none.clone(), "all 3!", "All"),
            ("punctuation:no_comma", none.clone(), "a; b", "a, b"),
            ("format:numbered-list", none.clone(), "1. a\n2. b", "1. a"),
        ] {
            let check = check(id, &parameters).unwrap();
            assert!(check.is_followed(yes), "{id} of {yes:?}");
            assert!(!check.is_followed(no), "{id} of {no:?}");
            assert!(!check.is_followed(" \n"), "{id}: a blank response");
            assert!(check.is_followed_loosely(yes), "{id}: what is strictly followed is loosely followed");
        }
    }

    #[test]
    fn loosely_an_introduction_and_asterisks_are_forgiven() {
        let ends = check("startend:end_checker", &json!({"end_phrase": "done"})).unwrap();
        assert!(!ends.is_followed("It is done\nBye!") && ends.is_followed_loosely("It is done\nBye!"));
        assert!(ends.is_followed_loosely("It is *done*"));
        let capital = check("change_case:english_capital", &json!({})).unwrap();
        assert!(capital.is_followed_loosely("Sure:\nTEA\nBye!") && !capital.is_followed_loosely("Sure:\nTea\nBye!"));
        // The only line is the first and the last: nothing is left of it.
        assert!(!capital.is_followed_loosely("Tea"));
    }

    #[test]
    fn what_is_no_check_is_named() {
        for (id, parameters, named) in [
            ("language:response_language", json!({"language": "de"}), "no language detection"),
            ("keywords:rhyme", json!({}), "not implemented; expected one of IFEval's"),
            ("format:poem", json!({}), "not implemented"),
            ("punctuation:no_comma", json!({"n": 1}), "unknown parameter \"n\"; it takes none"),
            ("length_constraints:number_words", json!({"relation": "at least"}), "\"num_words\" is missing"),
            (
                "length_constraints:number_words",
                json!({"relation": "about", "num_words": 3}),
                "expected \"at least\" or",
            ),
            ("length_constraints:number_paragraphs", json!({"num_paragraphs": 1.5}), "a whole number"),
            ("keywords:existence", json!({"keywords": []}), "a list of texts"),
            ("keywords:letter_frequency", json!({"letter": "ab"}), "one letter"),
            (
                "length_constraints:nth_paragraph_first_word",
                json!({"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"}),
                "expected 1 to 2",
            ),
        ] {
            let error = check(id, &parameters).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains(id), "{error}");
        }
        // A table with a column for every parameter: those of other checks are null.
        let table = json!({"num_words": 3.0, "relation": "at least", "keywords": null});
        assert!(check("length_constraints:number_words", &table).unwrap().is_followed("one two three"));
    }
}
