//! Rollouts made elsewhere, in the forms people have them, become rollouts as [`super::roll_out`] writes them.
//!
//! | form | recognized by |
//! |---|---|
//! | ours | `prompt_id`, `prompt`, `response` |
//! | prompt and response | `prompt` with one of [`RESPONSE_KEYS`]: text, a list of texts (several samples) or of messages |
//! | conversation | `messages` (or `conversation`) that end with an assistant message |
//! | batch output of an OpenAI-compatible service | `custom_id` and `response.body`; the prompts come from `--prompts` |

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use whence_shared::pair::Message;

use super::journal;
use super::prompts::{self, TestPrompt};
use super::settings::{self, Settings};
use super::{Answer, RolledOut, Rollout, RolloutError, answers};
use crate::data::lines;
use crate::files;

/// Keys under which a response is found, in this order.
pub const RESPONSE_KEYS: [&str; 8] =
    ["response", "completion", "output", "generation", "generated_text", "responses", "completions", "outputs"];

const EXPECTED: &str = "a rollout: {\"prompt\": text or messages, \"response\": text}, {\"messages\": [..., an assistant \
                        message]} or a line of a batch's output";

/// What to import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// JSONL to read.
    pub input: PathBuf,
    /// JSONL to write.
    pub out: PathBuf,
    /// Model of rows that do not name theirs.
    pub model: Option<String>,
    /// Replace an output that was made in another way.
    pub replace: bool,
}

/// Reads rollouts, gives every prompt its id and every sample its number, and writes them by prompt, sample and model.
///
/// With `prompts`, rows are matched to them by id, else by the text, and a row that fits none is refused; without, equal
/// prompts are the same prompt, numbered from 1.
///
/// # Errors
///
/// [`RolloutError::Line`] names the first row that is no rollout; an output made in another way is refused.
pub fn import(options: &ImportOptions, prompts: Option<&[TestPrompt]>) -> Result<RolledOut, RolloutError> {
    let made_with: Settings = [
        ("format", json!("whence-rollouts-1")),
        ("source", json!("import")),
        ("input_sha256", json!(files::sha256_of_file(&options.input)?)),
        ("model", json!(options.model)),
        ("prompts_sha256", prompts.map_or(Value::Null, |prompts| json!(prompts::sha256(prompts)))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if journal::is_complete(&options.out, &made_with, options.replace)? {
        let n_rollouts = super::read(&options.out)?.len();
        return Ok(RolledOut { n_rollouts, n_kept: n_rollouts, ..RolledOut::default() });
    }
    let rollouts = normalized(&options.input, prompts, options.model.as_deref())?;
    settings::write(&options.out, &rollouts, &made_with)?;
    let mut done = RolledOut { n_rollouts: rollouts.len(), ..RolledOut::default() };
    for rollout in rollouts {
        *done.finish_reasons.entry(rollout.finish_reason.unwrap_or_else(|| "unknown".into())).or_default() += 1;
    }
    Ok(done)
}

fn normalized(input: &Path, prompts: Option<&[TestPrompt]>, model: Option<&str>) -> Result<Vec<Rollout>, RolloutError> {
    let mut book = Book::new(prompts);
    let mut rollouts: BTreeMap<(usize, usize, String), (usize, Rollout)> = BTreeMap::new();
    let mut next: HashMap<usize, usize> = HashMap::new();
    for (line, columns) in lines::read(input)? {
        let wrong = |reason: String| RolloutError::Line { path: input.to_owned(), line, reason, expected: EXPECTED };
        let row = Row::read(columns).map_err(wrong)?;
        let place = book.find(&row).map_err(wrong)?;
        for answer in &row.answers {
            let free = next.entry(place).or_default();
            let sample = row.sample.unwrap_or(*free);
            *free = (*free).max(sample + 1);
            let prompt = &book.prompts[place];
            let rollout = Rollout {
                prompt_id: prompt.id.clone(),
                prompt: prompt.messages.clone(),
                scenario: if row.scenario.is_empty() { prompt.scenario.clone() } else { row.scenario.clone() },
                sample,
                response: answer.response.clone(),
                finish_reason: answer.finish_reason.clone(),
                model: row.model.as_deref().or(model).unwrap_or_default().to_owned(),
                temperature: row.number("temperature"),
                top_p: row.number("top_p"),
                max_new_tokens: row.count("max_new_tokens").or(row.count("max_tokens")).map(|n| n as usize),
                seed: row.count("seed"),
                metadata: row.metadata(prompt),
            };
            // Several models may have answered the same prompts, each with samples of its own.
            let key = (place, sample, rollout.model.clone());
            if let Some((first, _)) = rollouts.get(&key) {
                let id = &prompt.id;
                return Err(wrong(format!("prompt {id:?} has sample {sample} in line {first}, too")));
            }
            rollouts.insert(key, (line, rollout));
        }
    }
    if rollouts.is_empty() {
        return Err(RolloutError::NoPrompts { path: input.to_owned() });
    }
    Ok(rollouts.into_values().map(|(_, rollout)| rollout).collect())
}

/// A row of the input, understood.
struct Row {
    /// Named by the row, or by a batch's request.
    prompt_id: Option<String>,
    /// Empty when the row has none: the output of a batch.
    messages: Vec<Message>,
    scenario: String,
    sample: Option<usize>,
    answers: Vec<Answer>,
    model: Option<String>,
    /// All other columns.
    columns: Map<String, Value>,
}

/// Columns that have a place of their own in a rollout.
const PLACED: [&str; 5] = ["temperature", "top_p", "max_new_tokens", "max_tokens", "seed"];

impl Row {
    fn read(mut columns: Map<String, Value>) -> Result<Self, String> {
        let text = |columns: &mut Map<String, Value>, key: &str| match columns.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(format!("{key:?} is not text but {}", prompts::shortened(&other.to_string()))),
        };
        if columns.contains_key("custom_id") {
            return Self::of_batch(&mut columns);
        }
        let prompt_id = text(&mut columns, "prompt_id")?;
        let scenario = text(&mut columns, "scenario")?.unwrap_or_default();
        let model = text(&mut columns, "model")?;
        let finish_reason = text(&mut columns, "finish_reason")?;
        let sample = match columns.remove("sample") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let sample = value.as_u64().filter(|&sample| sample < 1 << 32);
                Some(sample.ok_or_else(|| format!("\"sample\" is no number from 0: {value}"))? as usize)
            }
        };
        let (messages, responses) = conversation(&mut columns)?;
        if sample.is_some() && responses.len() > 1 {
            return Err("it has one \"sample\" number for several responses".into());
        }
        let answer = |response| Answer { response, finish_reason: finish_reason.clone() };
        let answers = responses.into_iter().map(answer).collect();
        // What our own form keeps together stays so.
        if let Some(Value::Object(metadata)) = columns.remove("metadata") {
            columns.extend(metadata);
        }
        Ok(Self { prompt_id, messages, scenario, sample, answers, model, columns })
    }

    fn of_batch(columns: &mut Map<String, Value>) -> Result<Self, String> {
        let prompt_id = columns.get("custom_id").and_then(Value::as_str).map(str::to_owned);
        let prompt_id = prompt_id.ok_or("\"custom_id\" is not text")?;
        if let Some(error) = columns.get("error").filter(|error| !error.is_null()) {
            return Err(format!(
                "request {prompt_id:?} failed: {}: leave the line out or run it again",
                answers::message(error)
            ));
        }
        let body = columns.get("response").and_then(|response| response.get("body"));
        let body = body.ok_or_else(|| format!("request {prompt_id:?} has no \"response\" with a \"body\""))?;
        let answer = answers::understand(body).map_err(|reason| format!("request {prompt_id:?}: {reason}"))?;
        Ok(Self {
            model: body.get("model").and_then(Value::as_str).map(str::to_owned),
            prompt_id: Some(prompt_id),
            messages: Vec::new(),
            scenario: String::new(),
            sample: None,
            answers: vec![answer],
            columns: Map::new(),
        })
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.columns.get(key).and_then(Value::as_f64)
    }

    fn count(&self, key: &str) -> Option<u64> {
        self.columns.get(key).and_then(Value::as_u64)
    }

    /// The prompt's metadata and this row's.
    fn metadata(&self, prompt: &TestPrompt) -> Map<String, Value> {
        let mut metadata = prompt.metadata.clone();
        let others = self.columns.iter().filter(|(key, _)| !PLACED.contains(&key.as_str()));
        metadata.extend(others.map(|(key, value)| (key.clone(), value.clone())));
        metadata
    }
}

/// Takes prompt and responses out of a row.
fn conversation(columns: &mut Map<String, Value>) -> Result<(Vec<Message>, Vec<String>), String> {
    for key in ["messages", "conversation"] {
        let Some(Value::Array(turns)) = columns.remove(key) else { continue };
        let mut messages =
            turns.iter().map(prompts::message).collect::<Result<Vec<_>, _>>().map_err(|r| format!("{key:?} {r}"))?;
        return match messages.pop() {
            Some(last) if last.role == "assistant" && !messages.is_empty() => Ok((messages, vec![last.content])),
            _ => Err(format!("{key:?} do not end with an assistant message after a prompt")),
        };
    }
    let prompt = columns.remove("prompt").ok_or("it has neither \"prompt\" nor \"messages\"")?;
    let messages = prompts::messages(&prompt).map_err(|reason| format!("\"prompt\" {reason}"))?;
    let key = RESPONSE_KEYS.into_iter().find(|key| columns.contains_key(*key));
    let key = key.ok_or_else(|| format!("it has no response; expected one of {}", RESPONSE_KEYS.join(", ")))?;
    let response = columns.remove(key).unwrap_or_default();
    let responses = match &response {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(several) if !several.is_empty() && several.iter().all(Value::is_string) => {
            Some(several.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Value::Array(turns) if turns.len() == 1 => {
            prompts::message(&turns[0]).ok().map(|message| vec![message.content])
        }
        _ => None,
    };
    let responses = responses.ok_or_else(|| {
        format!("{key:?} is neither text nor a list of texts: {}", prompts::shortened(&response.to_string()))
    })?;
    Ok((messages, responses))
}

/// The prompts as they are known, given or met.
struct Book {
    prompts: Vec<TestPrompt>,
    by_id: HashMap<String, usize>,
    by_messages: HashMap<Vec<Message>, usize>,
    is_given: bool,
}

impl Book {
    fn new(given: Option<&[TestPrompt]>) -> Self {
        let prompts = given.unwrap_or_default().to_vec();
        let by_id = prompts.iter().enumerate().map(|(i, prompt)| (prompt.id.clone(), i)).collect();
        // Of prompts with the same text, the first: only ids tell them apart.
        let by_messages = prompts.iter().enumerate().rev().map(|(i, prompt)| (prompt.messages.clone(), i)).collect();
        Self { prompts, by_id, by_messages, is_given: given.is_some() }
    }

    /// The prompt of a row; a new one when none were given.
    fn find(&mut self, row: &Row) -> Result<usize, String> {
        if let Some(id) = &row.prompt_id {
            let found = self.by_id.get(id).or_else(|| self.by_id.get(without_number(id)?));
            if let Some(&place) = found {
                if !row.messages.is_empty() && row.messages != self.prompts[place].messages {
                    return Err(format!("prompt {id:?} has another text here than elsewhere"));
                }
                return Ok(place);
            }
            if row.messages.is_empty() {
                return Err(if self.is_given {
                    format!("no prompt has the id {id:?} of this request")
                } else {
                    "the output of a batch does not hold its prompts: give them with --prompts".into()
                });
            }
        } else if let Some(&place) = self.by_messages.get(&row.messages) {
            return Ok(place);
        }
        if self.is_given {
            return Err("its prompt is not among those of --prompts".into());
        }
        let place = self.prompts.len();
        let id = row.prompt_id.clone().unwrap_or_else(|| (place + 1).to_string());
        if self.by_id.insert(id.clone(), place).is_some() {
            return Err(format!(
                "prompts with and without ids are mixed, and {id:?} is taken: give every row a prompt_id"
            ));
        }
        if row.prompt_id.is_none() {
            self.by_messages.insert(row.messages.clone(), place);
        }
        let (messages, scenario) = (row.messages.clone(), row.scenario.clone());
        self.prompts.push(TestPrompt { id, messages, scenario, metadata: Map::new() });
        Ok(place)
    }
}

/// A request's id without the number of its sample: `ID#3`, `ID:3`, `ID/3`, `ID-3`.
fn without_number(id: &str) -> Option<&str> {
    let head = id.trim_end_matches(|c: char| c.is_ascii_digit());
    (head.len() < id.len()).then_some(head)?.strip_suffix(['#', ':', '/', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import_text(text: &str, prompts: Option<&[TestPrompt]>) -> Result<Vec<Rollout>, RolloutError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollouts.jsonl");
        std::fs::write(&path, text).unwrap();
        normalized(&path, prompts, Some("m"))
    }

    fn prompt(id: &str, text: &str) -> TestPrompt {
        let messages = vec![Message::new("user", text)];
        TestPrompt { id: id.into(), messages, scenario: "s".into(), metadata: Map::new() }
    }

    #[test]
    fn every_form_gives_the_same_rollout() {
        let forms = [
            json!({"prompt": "p", "response": "r"}),
            json!({"prompt": "p", "completion": "r"}),
            json!({"prompt": [{"role": "user", "content": "p"}], "output": "r"}),
            json!({"prompt": "p", "completion": [{"role": "assistant", "content": "r"}]}),
            json!({"prompt": "p", "outputs": ["r"]}),
            json!({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]}),
            json!({"prompt_id": "1", "prompt": [{"role": "user", "content": "p"}], "sample": 0, "response": "r", "model": "m"}),
        ];
        let rollouts = forms.map(|form| import_text(&form.to_string(), None).unwrap());
        for rollout in &rollouts {
            assert_eq!(*rollout, rollouts[0]);
        }
        assert_eq!((rollouts[0][0].prompt_id.as_str(), rollouts[0][0].model.as_str()), ("1", "m"));
    }

    #[test]
    fn samples_of_a_prompt_are_numbered_and_ordered() {
        let text = "{\"prompt\":\"p\",\"responses\":[\"a\",\"b\"]}\n{\"prompt\":\"q\",\"response\":\"c\"}\n{\"prompt\":\"p\",\"response\":\"d\",\"tag\":1}\n";
        let rollouts = import_text(text, None).unwrap();
        let places: Vec<_> = rollouts.iter().map(|r| (r.prompt_id.as_str(), r.sample, r.response.as_str())).collect();
        assert_eq!(places, [("1", 0, "a"), ("1", 1, "b"), ("1", 2, "d"), ("2", 0, "c")]);
        assert_eq!(rollouts[2].metadata["tag"], 1);
    }

    #[test]
    fn models_that_answered_the_same_prompts_may_lie_in_one_file() {
        let line =
            |model: &str| json!({"prompt_id": "a", "prompt": "p", "sample": 0, "model": model, "response": model});
        let both = format!("{}\n{}\n", line("tuned"), line("reference"));
        let rollouts = import_text(&both, None).unwrap();
        assert_eq!(rollouts.iter().map(|of| of.model.as_str()).collect::<Vec<_>>(), ["reference", "tuned"]);
        let error = import_text(&format!("{both}{}", line("tuned")), None).unwrap_err().to_string();
        assert!(error.contains("line 3: prompt \"a\" has sample 0 in line 1"), "{error}");
    }

    #[test]
    fn the_output_of_a_batch_finds_its_prompts_by_id() {
        let line = |id: &str, text: &str| {
            let choice = json!({"message": {"role": "assistant", "content": text}, "finish_reason": "length"});
            json!({"id": "x", "custom_id": id, "response": {"body": {"model": "b", "choices": [choice]}}, "error": null})
                .to_string()
        };
        let text = [line("one", "a"), line("two-1", "b"), line("two-2", "c")].join("\n");
        let prompts = [prompt("one", "p"), prompt("two", "q")];
        let rollouts = import_text(&text, Some(&prompts)).unwrap();
        assert_eq!(rollouts.iter().map(|r| r.sample).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!((rollouts[0].model.as_str(), rollouts[0].scenario.as_str()), ("b", "s"));
        assert_eq!(rollouts[2].finish_reason.as_deref(), Some("length"));
        assert!(import_text(&text, None).unwrap_err().to_string().contains("give them with --prompts"));
        assert!(import_text(&line("three", "a"), Some(&prompts)).unwrap_err().to_string().contains("\"three\""));
    }

    #[test]
    fn rows_that_are_no_rollouts_are_named() {
        for (text, named) in [
            ("{\"prompt\":\"p\"}", "no response"),
            ("{\"response\":\"r\"}", "neither \"prompt\" nor \"messages\""),
            ("{\"prompt\":\"p\",\"response\":7}", "\"response\" is neither text"),
            ("{\"messages\":[{\"role\":\"user\",\"content\":\"p\"}]}", "do not end with an assistant"),
            ("{\"prompt\":\"\",\"response\":\"r\"}", "\"prompt\" is empty"),
            ("{\"prompt\":\"p\",\"response\":\"r\",\"sample\":-1}", "\"sample\" is no number"),
            ("{\"custom_id\":\"a\",\"error\":{\"message\":\"too long\"}}", "too long"),
            (
                "{\"prompt\":\"p\",\"response\":\"r\",\"sample\":0}\n{\"prompt\":\"p\",\"response\":\"s\",\"sample\":0}",
                "line 2: prompt \"1\" has sample 0 in line 1",
            ),
            (
                "{\"prompt_id\":\"a\",\"prompt\":\"p\",\"response\":\"r\"}\n{\"prompt_id\":\"a\",\"prompt\":\"q\",\"response\":\"r\"}",
                "another text",
            ),
            ("", "no test prompt"),
        ] {
            let error = import_text(text, None).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
