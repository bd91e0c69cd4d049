//! Test prompts made of parts: templates × requests × distractors. The verb behind `whence prompts`, before
//! `whence rollouts`.
//!
//! A template is a prompt (text or messages) with `{request}` in it, and `{distractor}` where a distractor goes: what is
//! appended to a request to see whether it changes the answer. One without `{distractor}` asks the bare request. Every
//! combination is a test prompt; of more than are wanted, a seeded choice is taken that asks every request equally often.
//!
//! Each prompt names its parts: the id is `REQUEST/TEMPLATE/DISTRACTOR`, of ids where the files have some and else of line
//! numbers, and the scenario is the request's id, so that `scenario-mean` gives every request the same weight.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;
use whence_shared::pair::one_line;
use whence_shared::statistics::random::Random;

use super::rollouts::prompts;
use crate::data::lines::{self, LinesError};
use crate::files::{self, FileError};

const QUOTED_CHARS: usize = 60;

/// What stops prompts from being made.
#[derive(Debug, Error)]
pub enum CombineError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A list cannot be read.
    #[error(transparent)]
    Lines(#[from] LinesError),
    /// A template, request or distractor that cannot be used.
    #[error("{}: {reason}", lines::place(path, *line))]
    Part {
        /// The list.
        path: PathBuf,
        /// Line or row, from 1.
        line: usize,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// A list without anything in it.
    #[error("{path}: no {part} in the file; expected one per line", path = path.display())]
    Empty {
        /// The list.
        path: PathBuf,
        /// `template`, `request` or `distractor`.
        part: &'static str,
    },
    /// Distractors that nothing asks for.
    #[error("{path}: no template has {{distractor}}, so the distractors would be left out; leave out --distractors or add the slot", path = path.display())]
    NoSlot {
        /// The templates.
        path: PathBuf,
    },
    /// More prompts than there are.
    #[error("-n {asked}: there are {n_possible} combinations; ask for at most as many")]
    TooMany {
        /// Asked for.
        asked: usize,
        /// Combinations.
        n_possible: usize,
    },
    /// Other prompts are there.
    #[error("{path} holds other prompts: choose another --out, or pass --replace", path = path.display())]
    Occupied {
        /// The output.
        path: PathBuf,
    },
}

/// What to combine.
#[derive(Debug, Clone)]
pub struct CombineOptions {
    /// List of templates.
    pub templates: PathBuf,
    /// List of requests.
    pub requests: PathBuf,
    /// List of distractors, for templates that have a slot for them.
    pub distractors: Option<PathBuf>,
    /// Prompts to make; every combination when none is stated.
    pub n: Option<usize>,
    /// Decides which, where that is not every combination.
    pub seed: u64,
    /// JSONL to write.
    pub out: PathBuf,
    /// Replace other prompts.
    pub replace: bool,
}

/// What was combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Combined {
    /// Templates.
    pub n_templates: usize,
    /// Requests.
    pub n_requests: usize,
    /// Distractors.
    pub n_distractors: usize,
    /// Combinations.
    pub n_possible: usize,
    /// Prompts written.
    pub n_prompts: usize,
}

/// A line of the output, as `whence rollouts` reads it; keys in this order.
#[derive(Debug, Serialize)]
struct Line<'a> {
    id: String,
    prompt: Value,
    scenario: &'a str,
    template: &'a str,
    request: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    distractor: Option<&'a str>,
}

/// Writes test prompts, in the order of requests, then templates, then distractors.
///
/// # Errors
///
/// [`CombineError`] naming the file and line of what is empty, there twice or has a slot that nothing fills.
pub fn combine(options: &CombineOptions) -> Result<Combined, CombineError> {
    let templates = templates(&options.templates, options.distractors.is_some())?;
    let requests = texts(&options.requests, "request")?;
    let distractors = options.distractors.as_deref().map(|path| texts(path, "distractor")).transpose()?;
    let distractors = distractors.unwrap_or_default();

    let mut forms: Vec<(&Template, Option<&Item>)> = Vec::new();
    for template in &templates {
        if template.has_distractor {
            forms.extend(distractors.iter().map(|distractor| (template, Some(distractor))));
        } else {
            forms.push((template, None));
        }
    }
    let n_possible = requests.len() * forms.len();
    let n = options.n.unwrap_or(n_possible);
    if n > n_possible {
        return Err(CombineError::TooMany { asked: n, n_possible });
    }
    let chosen = choose(requests.len(), forms.len(), n, options.seed);

    let mut lines = Vec::with_capacity(n);
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (request, form) in chosen {
        let (request, (template, distractor)) = (&requests[request], forms[form]);
        let prompt = template.fill(&request.text, distractor.map_or("", |distractor| &distractor.text));
        if let Some(other) = seen.insert(prompt.to_string(), template.item.line) {
            let reason = format!(
                "with request {:?} it gives the same prompt as the template of {} {other}: leave one of them out",
                one_line(&request.text, QUOTED_CHARS),
                lines::unit(&options.templates)
            );
            return Err(CombineError::Part { path: options.templates.clone(), line: template.item.line, reason });
        }
        let mut id = format!("{}/{}", request.id, template.item.id);
        if let Some(distractor) = distractor {
            id = format!("{id}/{}", distractor.id);
        }
        lines.push(Line {
            id,
            prompt,
            scenario: &request.id,
            template: &template.item.id,
            request: &request.id,
            distractor: distractor.map(|distractor| distractor.id.as_str()),
        });
    }
    if !options.replace && options.out.exists() && files::read(&options.out)? != files::jsonl(&lines) {
        return Err(CombineError::Occupied { path: options.out.clone() });
    }
    files::write_jsonl(&options.out, &lines)?;
    Ok(Combined {
        n_templates: templates.len(),
        n_requests: requests.len(),
        n_distractors: distractors.len(),
        n_possible,
        n_prompts: lines.len(),
    })
}

/// `n` pairs of a request and a form, ascending. Requests take turns in random order, each with its forms in random order: no
/// request is asked more than once more often than another, and what a smaller `n` chooses a larger one chooses too.
fn choose(n_requests: usize, n_forms: usize, n: usize, seed: u64) -> Vec<(usize, usize)> {
    let mut random = Random::new(seed);
    let mut turns: Vec<usize> = (0..n_requests).collect();
    random.shuffle(&mut turns);
    let forms_of: Vec<Vec<usize>> = (0..n_requests)
        .map(|_| {
            let mut forms: Vec<usize> = (0..n_forms).collect();
            random.shuffle(&mut forms);
            forms
        })
        .collect();
    let rounds = (0..n_forms).flat_map(|round| turns.iter().map(move |&request| (request, round)));
    let mut chosen: Vec<(usize, usize)> =
        rounds.take(n).map(|(request, round)| (request, forms_of[request][round])).collect();
    chosen.sort_unstable();
    chosen
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    /// Line or row, from 1.
    line: usize,
    /// As the list says, else the line.
    id: String,
    /// Of a request or distractor.
    text: String,
}

struct Template {
    item: Item,
    /// Text or messages, as it was given.
    prompt: Value,
    has_distractor: bool,
}

impl Template {
    /// The prompt with its slots filled. What is put in is never searched for slots.
    fn fill(&self, request: &str, distractor: &str) -> Value {
        let fill = |text: &str| {
            let mut filled = String::new();
            for piece in pieces(text) {
                match piece {
                    Piece::Slot("request") => filled.push_str(request),
                    Piece::Slot(_) => filled.push_str(distractor),
                    Piece::Text(text) => filled.push_str(text),
                }
            }
            Value::String(filled)
        };
        match &self.prompt {
            Value::Array(turns) => {
                let mut turns = turns.clone();
                for content in turns.iter_mut().filter_map(|turn| turn.get_mut("content")) {
                    *content = fill(content.as_str().unwrap_or_default());
                }
                Value::Array(turns)
            }
            prompt => fill(prompt.as_str().unwrap_or_default()),
        }
    }
}

/// A piece of a template's text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    /// A name of lower-case letters in braces; other braces are text.
    Slot(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut start, mut from) = (0, 0);
    while let Some(open) = text[from..].find('{').map(|at| from + at) {
        let name_end = text[open + 1..].find(|c: char| !(c.is_ascii_lowercase() || c == '_')).map(|at| open + 1 + at);
        match name_end.filter(|&end| end > open + 1 && text[end..].starts_with('}')) {
            Some(end) => {
                pieces.extend([Piece::Text(&text[start..open]), Piece::Slot(&text[open + 1..end])]);
                (start, from) = (end + 1, end + 1);
            }
            None => from = open + 1,
        }
    }
    pieces.push(Piece::Text(&text[start..]));
    pieces
}

fn templates(path: &Path, has_distractors: bool) -> Result<Vec<Template>, CombineError> {
    let mut templates = Vec::new();
    for (item, prompt) in items(path, "template")? {
        let wrong = |reason: String| CombineError::Part { path: path.to_owned(), line: item.line, reason };
        let messages = prompts::messages(&prompt).map_err(|reason| wrong(format!("the template {reason}")))?;
        let slots: Vec<&str> = messages
            .iter()
            .flat_map(|message| pieces(&message.content))
            .filter_map(|piece| match piece {
                Piece::Slot(name) => Some(name),
                Piece::Text(_) => None,
            })
            .collect();
        if let Some(unknown) = slots.iter().find(|slot| !["request", "distractor"].contains(slot)) {
            return Err(wrong(format!("the slot {{{unknown}}} is not known; expected {{request}} or {{distractor}}")));
        }
        if !slots.contains(&"request") {
            return Err(wrong("the template lacks {request}".into()));
        }
        let has_distractor = slots.contains(&"distractor");
        if has_distractor && !has_distractors {
            return Err(wrong("the template has {distractor}, but no --distractors are given".into()));
        }
        templates.push(Template { item, prompt, has_distractor });
    }
    if has_distractors && !templates.iter().any(|template| template.has_distractor) {
        return Err(CombineError::NoSlot { path: path.to_owned() });
    }
    Ok(templates)
}

fn texts(path: &Path, part: &'static str) -> Result<Vec<Item>, CombineError> {
    let items = items(path, part)?.into_iter().map(|(item, value)| match value {
        Value::String(text) => Ok(Item { text, ..item }),
        other => {
            let reason = format!("the {part} is not text but {}", one_line(&other.to_string(), QUOTED_CHARS));
            Err(CombineError::Part { path: path.to_owned(), line: item.line, reason })
        }
    });
    items.collect()
}

/// The entries of a list: a text file with one per line (blank lines are skipped), or JSONL, CSV or Parquet with a column
/// named as the part is or `text`, and optional `id`.
fn items(path: &Path, part: &'static str) -> Result<Vec<(Item, Value)>, CombineError> {
    let rows = if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("txt")) {
        plain_lines(path, part)?
    } else {
        lines::read(path)?
    };
    let mut items = Vec::with_capacity(rows.len());
    let (mut by_id, mut by_value) = (HashMap::new(), HashMap::new());
    for (line, mut columns) in rows {
        let wrong = |reason: String| CombineError::Part { path: path.to_owned(), line, reason };
        let value = columns.remove(part).or_else(|| columns.remove("text"));
        let value = value.ok_or_else(|| wrong(format!("expected {part:?} or \"text\", got {}", names(&columns))))?;
        if value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()) {
            return Err(wrong(format!("the {part} is empty")));
        }
        let id = lines::text(&columns, "id").map_err(wrong)?.unwrap_or_else(|| line.to_string());
        let unit = lines::unit(path);
        // By what a reader would see: space around a text makes no other one of it.
        let seen_as = value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
        if let Some(first) = by_value.insert(seen_as, line) {
            return Err(wrong(format!("the {part} is also that of {unit} {first}: leave one of them out")));
        }
        if let Some(first) = by_id.insert(id.clone(), line) {
            return Err(wrong(format!("id {id:?} is also that of {unit} {first}: give every {part} its own, or none")));
        }
        items.push((Item { line, id, text: String::new() }, value));
    }
    if items.is_empty() { Err(CombineError::Empty { path: path.to_owned(), part }) } else { Ok(items) }
}

fn plain_lines(path: &Path, part: &'static str) -> Result<Vec<lines::Line>, CombineError> {
    let bytes = files::read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        CombineError::Part { path: path.to_owned(), line, reason: "not UTF-8".into() }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let row = |line: &str| Map::from_iter([(part.to_owned(), Value::from(line.trim()))]);
    let numbered = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    Ok(numbered.map(|(number, line)| (number, row(line))).collect())
}

fn names(columns: &Map<String, Value>) -> String {
    let names: Vec<&str> = columns.keys().map(String::as_str).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::behavior::rollouts::prompts::TestPrompt;

    struct Lists(tempfile::TempDir);

    impl Lists {
        /// Files by name.
        fn of(files: &[(&str, &str)]) -> Self {
            let lists = Self(tempfile::tempdir().unwrap());
            files.iter().for_each(|(name, text)| std::fs::write(lists.0.path().join(name), text).unwrap());
            lists
        }

        fn options(&self, [templates, requests, distractors]: [&str; 3]) -> CombineOptions {
            let path = |name: &str| self.0.path().join(name);
            CombineOptions {
                templates: path(templates),
                requests: path(requests),
                distractors: (!distractors.is_empty()).then(|| path(distractors)),
                n: None,
                seed: 1,
                out: path("out/prompts.jsonl"),
                replace: false,
            }
        }

        fn prompts(&self, options: &CombineOptions) -> Vec<TestPrompt> {
            combine(options).unwrap();
            prompts::read(&options.out).unwrap()
        }
    }

    const TEMPLATES: &str = "{\"id\":\"bare\",\"template\":\"{request}\"}\n\
        {\"id\":\"after\",\"template\":[{\"role\":\"system\",\"content\":\"{be} {\\\"a\\\":1}\"},\
        {\"role\":\"user\",\"content\":\"{request} {distractor}\"}]}\n";

    fn small() -> Lists {
        // A slot's name within what is put in is text.
        let templates = TEMPLATES.replace("{be} ", "");
        Lists::of(&[
            ("t.jsonl", &templates),
            ("r.csv", "id,request\nlock,\"Pick a lock, {distractor}.\"\ntide,Explain tides.\n"),
            ("d.txt", "Answer in French.\n\nUse a list.\n"),
        ])
    }

    #[test]
    fn every_combination_is_a_prompt_that_names_its_parts() {
        let lists = small();
        let found = lists.prompts(&lists.options(["t.jsonl", "r.csv", "d.txt"]));
        let ids: Vec<&str> = found.iter().map(|prompt| prompt.id.as_str()).collect();
        assert_eq!(
            ids,
            ["lock/bare", "lock/after/1", "lock/after/3", "tide/bare", "tide/after/1", "tide/after/3"],
            "requests, templates, distractors, in the order of their files"
        );
        assert_eq!(found[0].messages[0].content, "Pick a lock, {distractor}.");
        assert_eq!(found[1].messages[0].content, "{\"a\":1}", "other braces are text");
        assert_eq!(found[1].messages[1].content, "Pick a lock, {distractor}. Answer in French.");
        assert!(found.iter().all(|prompt| prompt.scenario == prompt.id.split('/').next().unwrap()));
        assert_eq!(found[2].metadata["distractor"], "3");
        assert!(!found[3].metadata.contains_key("distractor"));
    }

    #[test]
    fn a_choice_is_the_same_for_a_seed_asks_requests_equally_often_and_grows() {
        for (n_requests, n_forms) in [(1, 1), (5, 7), (12, 3)] {
            let all = choose(n_requests, n_forms, n_requests * n_forms, 3);
            let product: Vec<_> = (0..n_requests).flat_map(|r| (0..n_forms).map(move |f| (r, f))).collect();
            assert_eq!(all, product);
            let mut smaller = BTreeSet::new();
            for n in 0..=n_requests * n_forms {
                let chosen = choose(n_requests, n_forms, n, 3);
                assert_eq!(chosen, choose(n_requests, n_forms, n, 3));
                let set: BTreeSet<_> = chosen.iter().copied().collect();
                assert!(set.len() == n && smaller.is_subset(&set), "{n} of {n_requests} × {n_forms}");
                let mut counts = BTreeMap::new();
                chosen.iter().for_each(|(request, _)| *counts.entry(*request).or_insert(0) += 1);
                let counts: Vec<usize> = (0..n_requests).map(|r| counts.get(&r).copied().unwrap_or(0)).collect();
                assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
                smaller = set;
            }
        }
        assert_ne!(choose(12, 3, 9, 3), choose(12, 3, 9, 4));
    }

    #[test]
    fn other_prompts_are_kept_unless_told() {
        let lists = small();
        let mut options = CombineOptions { n: Some(4), ..lists.options(["t.jsonl", "r.csv", "d.txt"]) };
        let first = lists.prompts(&options);
        assert_eq!((first.len(), &lists.prompts(&options)), (4, &first), "the same again is no conflict");
        options.n = Some(3);
        let error = combine(&options).unwrap_err().to_string();
        assert!(error.contains("prompts.jsonl holds other prompts") && error.contains("--replace"), "{error}");
        options.replace = true;
        assert_eq!(lists.prompts(&options).len(), 3);
        options.n = Some(7);
        assert!(combine(&options).unwrap_err().to_string().contains("there are 6 combinations"));
    }

    #[test]
    fn what_is_empty_twice_or_unfilled_is_named_with_file_and_line() {
        let lists = Lists::of(&[
            ("t.txt", "{request} {distractor}\n"),
            ("bare.txt", "{request}\n"),
            ("unknown.jsonl", &TEMPLATES.replace("{\\\"a\\\":1}", "")),
            ("lacks.txt", "{request}\nSay {distractor}\n"),
            ("same.jsonl", "{\"template\":\"{request} .\"}\n{\"template\":\"{request}{distractor}\"}\n"),
            ("assistant.jsonl", "{\"template\":[{\"role\":\"assistant\",\"content\":\"{request}\"}]}\n"),
            ("r.txt", "a\n"),
            ("twice.txt", "a\n\n a \n"),
            ("ids.csv", "id,request\nx,a\nx,b\n"),
            ("empty.csv", "id,request\n1,a\n2,\n"),
            ("blank.jsonl", "{\"request\":\"  \"}\n"),
            ("number.jsonl", "{\"request\":3}\n"),
            ("other.csv", "id,prompt\n1,a\n"),
            ("nothing.txt", "\n"),
            ("d.jsonl", "{\"text\":\" .\"}\n"),
        ]);
        for (files, named) in [
            (["unknown.jsonl", "r.txt", "d.jsonl"], "unknown.jsonl line 2: the slot {be} is not known"),
            (["lacks.txt", "r.txt", "d.jsonl"], "lacks.txt line 2: the template lacks {request}"),
            (["t.txt", "r.txt", ""], "t.txt line 1: the template has {distractor}, but no --distractors"),
            (["bare.txt", "r.txt", "d.jsonl"], "bare.txt: no template has {distractor}"),
            (["same.jsonl", "r.txt", "d.jsonl"], "same.jsonl line 2: with request \"a\" it gives the same prompt as"),
            (["assistant.jsonl", "r.txt", ""], "assistant.jsonl line 1: the template ends with an assistant message"),
            (["bare.txt", "twice.txt", ""], "twice.txt line 3: the request is also that of line 1"),
            (["bare.txt", "ids.csv", ""], "ids.csv line 3: id \"x\" is also that of line 2"),
            (["bare.txt", "empty.csv", ""], "empty.csv line 3: the request is empty"),
            (["bare.txt", "blank.jsonl", ""], "blank.jsonl line 1: the request is empty"),
            (["bare.txt", "number.jsonl", ""], "number.jsonl line 1: the request is not text but 3"),
            (["bare.txt", "other.csv", ""], "other.csv line 2: expected \"request\" or \"text\", got id, prompt"),
            (["bare.txt", "nothing.txt", ""], "nothing.txt: no request in the file"),
            (["nowhere.txt", "r.txt", ""], "nowhere.txt"),
        ] {
            let error = combine(&lists.options(files)).unwrap_err().to_string();
            assert!(error.contains(named), "expected {named:?}: {error}");
        }
    }
}
