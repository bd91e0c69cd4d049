//! Multiple choice: which of the given options a model finds most probable as the response to the prompt.
//!
//! A line is `{"prompt": text or messages, "options": [texts], "answer": number from 0 or an option's text}`. With x the
//! prompt's tokens and y the option's,
//!
//! ```text
//! logp     = Σ_t log p(y_t | x, y_<t)        acc: the option with the highest is the right one
//! logp / n, n = characters of the option     acc_norm: the same of these
//! ```
//!
//! as `acc` and `acc_norm` of lm-evaluation-harness (Gao et al.); of equal ones the first is taken. With a chat template the
//! option stands where the assistant's response does; the tokens that end its turn do not count. Without one it follows the
//! prompt after a space, unless either side has one.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use whence_shared::pair::Message;

use super::{EvaluateError, Place, row_error};
use crate::behavior::rollouts::prompts::TestPrompt;
use crate::behavior::rollouts::settings::{self, Difference, Settings};
use crate::data::template::TemplateChoice;
use crate::data::tokens::{TextEncoder, Unreadable};
use crate::device;
use crate::files;
use crate::model::{DtypeChoice, ModelError, ModelFolder};
use crate::progress::{Report, Update};
use crate::train::sequences::{Sequence, all_sequence_logps};

/// A question with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Id of the prompt.
    pub id: String,
    /// The prompt as messages.
    pub prompt: Vec<Message>,
    /// At least two, all different.
    pub options: Vec<String>,
    /// Which of them is right, from 0.
    pub answer: usize,
}

/// What a model makes of a question. A line of `MEASURE.items.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceItem {
    /// Id of the prompt.
    pub id: String,
    /// Which option is right, from 0.
    pub answer: usize,
    /// Whether the right option has the highest log-likelihood.
    pub acc: bool,
    /// Whether it has the highest per character.
    pub acc_norm: bool,
    /// Of every option.
    pub options: Vec<OptionLogp>,
}

/// How probable a model finds an option.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OptionLogp {
    /// Σ log p over its tokens, in nats.
    pub logp: f32,
    /// Tokens.
    pub n_tokens: usize,
    /// Characters.
    pub n_chars: usize,
}

const EXPECTED: &str =
    "expected {\"prompt\": …, \"options\": [\"…\", \"…\"], \"answer\": number from 0 or an option's text}";

/// Questions of prompts read from `path`.
///
/// # Errors
///
/// [`EvaluateError::Row`] names the first line without options or with an answer that is none of them.
pub fn questions(path: &Path, prompts: &[TestPrompt]) -> Result<Vec<Question>, EvaluateError> {
    let question = |prompt: &TestPrompt| {
        let wrong = |reason: String| row_error(path, &prompt.id, format!("{reason}; {EXPECTED}"));
        let options: Option<Vec<String>> = match prompt.metadata.get("options") {
            Some(Value::Array(options)) => options.iter().map(|option| option.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let options = options.ok_or_else(|| wrong("\"options\" is no list of texts".into()))?;
        if options.len() < 2 {
            return Err(wrong(format!("at least 2 options, got {}", options.len())));
        }
        if let Some(i) = options.iter().position(|option| option.trim().is_empty()) {
            return Err(wrong(format!("option {i} is empty")));
        }
        if let Some(i) = (1..options.len()).find(|&i| options[..i].contains(&options[i])) {
            return Err(wrong(format!("option {i} is there twice")));
        }
        let answer = match prompt.metadata.get("answer") {
            Some(Value::Number(number)) => {
                let index = number.as_u64().and_then(|index| usize::try_from(index).ok());
                index.filter(|index| *index < options.len()).ok_or_else(|| {
                    format!("\"answer\" is {number}, and the {} options are numbered from 0", options.len())
                })
            }
            Some(Value::String(text)) => options
                .iter()
                .position(|option| option == text)
                .ok_or_else(|| format!("\"answer\" {text:?} is none of the options")),
            _ => Err("\"answer\" is missing".into()),
        };
        let answer = answer.map_err(wrong)?;
        Ok(Question { id: prompt.id.clone(), prompt: prompt.messages.clone(), options, answer })
    };
    prompts.iter().map(question).collect()
}

/// Which questions, in which file, and how they become text.
pub struct Asked<'a> {
    /// The file they come from, for errors.
    pub path: &'a Path,
    /// The questions.
    pub questions: &'a [Question],
    /// The text form.
    pub template: &'a TemplateChoice,
}

/// What a model makes of all questions; written to `out`, or read from there when the same was done before.
///
/// # Errors
///
/// When the model cannot be used, a question does not fit into it, the device fails, or `out` holds answers that were made in
/// another way and are not to be replaced.
pub fn answer(
    asked: &Asked,
    model: &ModelFolder,
    place: &Place,
    out: &Path,
    report: Report,
) -> Result<Vec<ChoiceItem>, EvaluateError> {
    let device = place.device;
    let encoder = TextEncoder::new(model, asked.template, model.config.max_position_embeddings)?;
    let dtype = model.dtype_on(device, DtypeChoice::default())?;
    let texts: Vec<_> = asked.questions.iter().map(|q| (&q.id, &q.prompt, &q.options, q.answer)).collect();
    let settings: Settings = [
        ("format", json!("whence-choices-1")),
        ("model_sha256", json!(model.sha256()?)),
        ("template", json!(encoder.name())),
        ("template_sha256", json!(encoder.template_sha256())),
        ("dtype", json!(dtype.name)),
        ("questions_sha256", json!(files::sha256(&serde_json::to_vec(&texts).expect("texts serialize")))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(items) = settings::read_if_same(out, &settings) {
        return Ok(items);
    }
    if let Some(Difference { field, there, asked }) = settings::difference(out, &settings).filter(|_| !place.replace) {
        return Err(EvaluateError::Mixed { path: out.to_owned(), field, there, asked });
    }
    let sequence = |question: &Question, option: &str| {
        option_sequence(&encoder, question, option).map_err(|reason| row_error(asked.path, &question.id, reason))
    };
    let all = asked.questions.iter().flat_map(|question| question.options.iter().map(move |text| (question, text)));
    let sequences = all.map(|(question, text)| sequence(question, text)).collect::<Result<Vec<Sequence>, _>>()?;
    let sequences: Vec<&Sequence> = sequences.iter().collect();
    let loaded = model.load_as(device, dtype.dtype)?;
    let n_done = AtomicU64::new(0);
    let done = |n: usize| {
        let done = n_done.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
        let total = sequences.len() as u64;
        report(Update { stage: "choices", done, total, unit: "options", detail: String::new() });
    };
    let compute = || Ok(all_sequence_logps(&loaded, &sequences, &done));
    let logps = device::guarded(compute, ModelError::from)?;
    let mut options = sequences.iter().zip(logps);
    let items: Vec<ChoiceItem> = asked.questions.iter().map(|question| item(question, &mut options)).collect();
    settings::write(out, &items, &settings)?;
    Ok(items)
}

fn option_sequence(encoder: &TextEncoder, question: &Question, option: &str) -> Result<Sequence, String> {
    let before = question.prompt.last().map_or("", |message| message.content.as_str());
    let is_apart = before.ends_with(char::is_whitespace) || option.starts_with(char::is_whitespace);
    let text = if encoder.template_source().is_empty() && !is_apart { format!(" {option}") } else { option.to_owned() };
    let mut conversation = question.prompt.clone();
    conversation.push(Message::new("assistant", text));
    let too_long = || {
        format!("prompt and option {option:?} have more than the model's {} tokens: shorten them", encoder.max_tokens())
    };
    let tokens = encoder.encode(&conversation).map_err(|error| match error {
        Unreadable::PromptTooLong { .. } => too_long(),
        other => format!("option {option:?}: {other}"),
    })?;
    if tokens.n_cut > 0 {
        return Err(too_long());
    }
    if tokens.response.start == 0 {
        return Err("the prompt has no token before the option".into());
    }
    let mut ids = tokens.ids;
    ids.truncate(tokens.response.end);
    Ok(Sequence { ids, response_start: tokens.response.start })
}

fn item<'s>(question: &Question, options: &mut impl Iterator<Item = (&'s &'s Sequence, f32)>) -> ChoiceItem {
    let options: Vec<OptionLogp> = question
        .options
        .iter()
        .zip(options)
        .map(|(text, (sequence, logp))| OptionLogp {
            logp,
            n_tokens: sequence.n_response_tokens(),
            n_chars: text.chars().count(),
        })
        .collect();
    let is_right = |score: &dyn Fn(&OptionLogp) -> f32| {
        let scores: Vec<f32> = options.iter().map(score).collect();
        // Of equal ones the first.
        let best = (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
        best == question.answer
    };
    ChoiceItem {
        id: question.id.clone(),
        answer: question.answer,
        acc: is_right(&|option| option.logp),
        acc_norm: is_right(&|option| option.logp / option.n_chars as f32),
        options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behavior::rollouts::prompts;

    fn read(text: &str) -> Result<Vec<Question>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.jsonl");
        std::fs::write(&path, text).unwrap();
        questions(&path, &prompts::read(&path).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_answer_is_a_number_or_the_text_of_an_option() {
        let text = "{\"prompt\":\"p\",\"options\":[\"a\",\"b\"],\"answer\":1}\n\n\
                    {\"prompt\":\"p\",\"options\":[\"2\",\"1\"],\"answer\":\"1\",\"id\":\"x\"}\n";
        let questions = read(text).unwrap();
        assert_eq!(questions.iter().map(|q| (q.id.as_str(), q.answer)).collect::<Vec<_>>(), [("1", 1), ("x", 1)]);
    }

    #[test]
    fn rows_that_make_no_sense_are_named() {
        let good = "{\"prompt\":\"p\",\"options\":[\"a\",\"b\"],\"answer\":0}\n\n";
        for (row, named) in [
            ("\"answer\":0", "\"options\" is no list"),
            ("\"options\":[\"a\",3],\"answer\":0", "\"options\" is no list"),
            ("\"options\":[\"a\"],\"answer\":0", "at least 2 options, got 1"),
            ("\"options\":[\"a\",\" \"],\"answer\":0", "option 1 is empty"),
            ("\"options\":[\"a\",\"b\",\"a\"],\"answer\":0", "option 2 is there twice"),
            ("\"options\":[\"a\",\"b\"],\"answer\":2", "\"answer\" is 2, and the 2 options are numbered from 0"),
            ("\"options\":[\"a\",\"b\"],\"answer\":-1", "numbered from 0"),
            ("\"options\":[\"a\",\"b\"],\"answer\":\"c\"", "none of the options"),
            ("\"options\":[\"a\",\"b\"]", "\"answer\" is missing"),
        ] {
            for id in ["", "\"id\":\"x\","] {
                let error = read(&format!("{good}{{\"prompt\":\"p\",{id}{row}}}\n")).unwrap_err();
                assert!(error.contains(named) && error.contains("q.jsonl line 3"), "{error} should mention {named}");
            }
        }
    }

    #[test]
    fn long_options_lose_by_sum_and_may_win_per_character() {
        let options = ["ab", "abcdefgh"].map(str::to_owned).to_vec();
        let question = Question { id: "q".into(), prompt: Vec::new(), options, answer: 1 };
        let sequence = Sequence { ids: vec![0; 4], response_start: 1 };
        let of = |logps: [f32; 2]| item(&question, &mut [&sequence, &sequence].iter().zip(logps));
        let (long, same) = (of([-2.0, -4.0]), of([-2.0, -2.0]));
        assert_eq!((long.acc, long.acc_norm, long.options[1].n_chars, long.options[0].n_tokens), (false, true, 8, 3));
        assert_eq!((same.acc, same.acc_norm), (false, true), "of equal ones the first");
    }
}
