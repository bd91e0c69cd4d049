//! Behaviors: from test prompts with response pairs to behavior vectors and one direction.
//!
//! `v_b = ā(p, r1; M0) − ā(p, r0; M0)`: r1 shows the behavior (a rollout of the tuned model), r0 does not (a rollout of
//! the reference model), and both are read through the reference model, the same that the study's pair vectors were made
//! with. [`read_pairs`] reads them, [`define`] computes and stores; [`subset`] makes a behavior of some prompts of another.
//! [`rollouts`] is where responses come from, [`templates`] makes test prompts of parts.

pub mod rollouts;
pub mod subset;
pub mod templates;

mod definition;
mod per_prompt;
mod reading;
mod stability;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use whence_shared::direction::DirectionMethod;
use whence_shared::pair::{Message, Pair};
use whence_shared::study::BehaviorView;

use crate::data::lines::{self, LinesError};
use crate::data::template::TemplateChoice;
use crate::data::tokens::TextEncoder;
use crate::device::Device;
use crate::extract::{ExtractError, Remark, VectorFileError, VectorsManifest, manifest};
use crate::files::FileError;
use crate::index::IndexError;
use crate::model::{DtypeChoice, ModelFolder};
use crate::progress::{Report, Update};
use crate::study::{MAX_NAME_LEN, Study, is_plain_name};
use definition::Definition;
pub use per_prompt::MeanOver;
use reading::Readers;
pub use stability::SplitOptions;

/// What stops a behavior from being defined.
#[derive(Debug, Error)]
pub enum BehaviorError {
    /// The name cannot be a folder name or part of an address.
    #[error("behavior name {0:?}: expected letters, digits, '-' and '_', at most 64 of them")]
    Name(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The input cannot be read.
    #[error(transparent)]
    Lines(#[from] LinesError),
    /// A line of the input is not a test prompt with two responses.
    #[error("{}: {reason}; expected {{\"prompt\": text or messages, \"r0\": text, \"r1\": text, \"scenario\": text (optional)}}", lines::place(path, *line))]
    Line {
        /// The input file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing to define a behavior with.
    #[error("{path}: no usable response pair ({reason})", path = path.display())]
    Empty {
        /// The input file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The study's vectors were made in another way, or the model cannot be used.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// A file of pair vectors cannot be used.
    #[error(transparent)]
    VectorFile(#[from] VectorFileError),
    /// The model is not the study's.
    #[error("{study} holds vectors of model {there}, but {asked} was given: behavior and pair vectors must be read by the same model; pass --model with the folder used for `whence extract`", study = study.display())]
    OtherModel {
        /// The study.
        study: PathBuf,
        /// Name and hash in the study.
        there: String,
        /// Name and hash given.
        asked: String,
    },
    /// There is a behavior of this name that was made of something else.
    #[error("behavior {name:?} is there already, made {reason}: choose another --name, or pass --replace")]
    Exists {
        /// The name.
        name: String,
        /// What differs: `of other response pairs`.
        reason: String,
    },
    /// The behavior is stored, but not in the basis of the study's index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// All behavior vectors cancel or are zero.
    #[error("layer {layer}: the direction is zero: r0 and r1 are the same in every pair of {path}", path = path.display())]
    NoDirection {
        /// The layer.
        layer: usize,
        /// The input file.
        path: PathBuf,
    },
}

/// One test prompt with a response of each model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResponsePair {
    /// The test prompt as messages, oldest first.
    pub prompt: Vec<Message>,
    /// Response without the behavior, from the reference model.
    pub r0: String,
    /// Response with the behavior, from the tuned model.
    pub r1: String,
    /// Group for macro-averaging; empty when none.
    #[serde(default)]
    pub scenario: String,
    /// In a study, when its vector is that of its prompt: what that is the mean over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_over: Option<MeanOver>,
}

/// What defining a behavior did.
#[derive(Debug, Clone, PartialEq)]
pub struct Defined {
    /// As stored in behavior.json.
    pub view: BehaviorView,
    /// Response pairs that had no vector and were left out, responses that were cut, and texts longer than what the model
    /// was made for; `row` counts from 0.
    pub remarks: Vec<Remark>,
    /// Euclidean norm of the direction, per layer.
    pub direction_norms: Vec<f32>,
}

/// Reads response pairs from JSONL, CSV or Parquet, by the file's ending: `prompt` (text or messages), `r0`, `r1`, optional
/// `scenario` per line.
///
/// # Errors
///
/// [`BehaviorError::Line`] names the first line that is malformed; a file without lines is refused.
pub fn read_pairs(path: &Path) -> Result<Vec<ResponsePair>, BehaviorError> {
    let mut pairs = Vec::new();
    for (line, value) in lines::read(path)? {
        let wrong = |reason: String| BehaviorError::Line { path: path.to_owned(), line, reason };
        let text = |key: &str| match value.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(wrong(format!("{key:?} is not text but {other}"))),
            None => Err(wrong(format!("{key:?} is missing"))),
        };
        let prompt = match value.get("prompt") {
            Some(Value::String(text)) => vec![Message::new("user", text)],
            Some(Value::Array(messages)) if !messages.is_empty() => {
                serde_json::from_value(Value::Array(messages.clone()))
                    .map_err(|error| wrong(format!("\"prompt\" is not a list of messages: {error}")))?
            }
            Some(other) => return Err(wrong(format!("\"prompt\" is neither text nor messages but {other}"))),
            None => return Err(wrong("\"prompt\" is missing".into())),
        };
        let scenario = if value.get("scenario").is_none_or(Value::is_null) { String::new() } else { text("scenario")? };
        let mean_over = value.get("mean_over").and_then(|value| serde_json::from_value(value.clone()).ok());
        pairs.push(ResponsePair { prompt, r0: text("r0")?, r1: text("r1")?, scenario, mean_over });
    }
    if pairs.is_empty() {
        return Err(BehaviorError::Empty { path: path.into(), reason: "the file has no lines".into() });
    }
    Ok(pairs)
}

/// What to define.
pub struct BehaviorOptions {
    /// Name of the behavior.
    pub name: String,
    /// JSONL with the response pairs.
    pub pairs: PathBuf,
    /// How the direction is made.
    pub method: DirectionMethod,
    /// Layers; empty means every layer the study has pair vectors of.
    pub layers: Vec<usize>,
    /// The text form, which must be the study's.
    pub template: TemplateChoice,
    /// Most tokens in one padded batch.
    pub batch_tokens: usize,
    /// The type of weights and of matrix products with them.
    pub dtype: DtypeChoice,
    /// Reads r1 through this model, the tuned one, instead of the study's.
    pub tuned: Option<ModelFolder>,
    /// Whether there is one vector per prompt, the mean over its response pairs, instead of one per pair.
    pub per_prompt: bool,
    /// How the test prompts are split to see whether halves of them say the same.
    pub split: SplitOptions,
    /// Replace a behavior of this name that was made of something else.
    pub replace: bool,
}

/// Refuses names that cannot be a folder's and part of an address.
///
/// # Errors
///
/// [`BehaviorError::Name`].
pub fn check_name(name: &str) -> Result<(), BehaviorError> {
    if !is_plain_name(name) || name.len() > MAX_NAME_LEN {
        return Err(BehaviorError::Name(name.to_owned()));
    }
    Ok(())
}

/// Refuses response pairs that are surely not those of the behavior that has this name, before they are read through a model;
/// `is_tuned`: r1 is read through the tuned model. Pairs that differ only in what is left out for want of a vector are told
/// once they are read.
///
/// # Errors
///
/// [`BehaviorError::Exists`].
pub fn must_be_the_same(
    study: &Study,
    name: &str,
    pairs: &[ResponsePair],
    method: DirectionMethod,
    is_tuned: bool,
) -> Result<(), BehaviorError> {
    let Some(there) = definition::earlier(study, name) else { return Ok(()) };
    let differs = |reason: String| Err(BehaviorError::Exists { name: name.to_owned(), reason });
    if let Some(reason) = definition::made_otherwise(&there, method, reading_name(is_tuned)) {
        return differs(reason);
    }
    let Ok(earlier) = read_pairs(&study.behavior(name).join("pairs.jsonl")) else { return Ok(()) };
    let bare = |pair: &ResponsePair| ResponsePair { mean_over: None, ..pair.clone() };
    let given: HashSet<ResponsePair> = pairs.iter().map(bare).collect();
    match earlier.iter().any(|pair| !given.contains(&bare(pair))) {
        true => differs(definition::OTHER_PAIRS.to_owned()),
        false => Ok(()),
    }
}

/// How [`BehaviorView::reading`] names which models read.
fn reading_name(is_tuned: bool) -> &'static str {
    if is_tuned { "M1/M0" } else { "M0/M0" }
}

/// Computes and stores a behavior's vectors and direction at the layers of the study.
///
/// # Errors
///
/// [`BehaviorError`]; an earlier definition of the same name stays until the new one is complete, and one of something else
/// stays unless it is to be replaced.
pub fn define(
    study: &Study,
    folder: &ModelFolder,
    device: &Device,
    options: &BehaviorOptions,
    report: Report,
) -> Result<Defined, BehaviorError> {
    check_name(&options.name)?;
    let mut given = read_pairs(&options.pairs)?;
    // What another study says of its vectors is not so of these.
    given.iter_mut().for_each(|pair| pair.mean_over = None);
    if !options.replace {
        must_be_the_same(study, &options.name, &given, options.method, options.tuned.is_some())?;
    }
    let vectors = VectorsManifest::required(study)?;
    let layers = match options.layers.as_slice() {
        [] => study.complete_layers()?,
        asked => asked.to_vec(),
    };
    if layers.is_empty() {
        return Err(ExtractError::NoVectors { study: study.root().into() }.into());
    }
    if let Some(&layer) = layers.iter().find(|&&layer| layer > folder.config.num_hidden_layers) {
        let n_layers = folder.config.num_hidden_layers;
        return Err(ExtractError::from(crate::model::ModelError::Layer { layer, n_layers }).into());
    }
    let encoder = TextEncoder::new(folder, &options.template, vectors.max_tokens).map_err(ExtractError::from)?;
    must_be_same_reading(study, folder, &encoder, &vectors)?;

    let pairs: Vec<Pair> = given.iter().enumerate().map(|(i, pair)| as_pair(i, pair)).collect();
    let progress = |done: u64, _tokens: u64| {
        report(Update { stage: "behavior", done, total: pairs.len() as u64, unit: "pairs", detail: String::new() });
    };
    let pooling = vectors.pooling(study)?;
    let readers = Readers { reference: folder, tuned: options.tuned.as_ref(), encoder: &encoder, pooling, device };
    let block = readers.read(&pairs, &layers, options, &progress)?;

    let left_out: BTreeSet<usize> = block.remarks.iter().filter(|r| r.no_vector).map(|r| r.row).collect();
    let kept: Vec<usize> = (0..given.len()).filter(|i| !left_out.contains(i)).collect();
    if kept.is_empty() {
        let reason = block.remarks.first().map_or_else(String::new, |remark| remark.reason.clone());
        return Err(BehaviorError::Empty { path: options.pairs.clone(), reason });
    }
    let d_model = block.d_model;
    let rows_of = |all: &Vec<f32>| -> Vec<f32> {
        kept.iter().flat_map(|&i| &all[i * d_model..(i + 1) * d_model]).copied().collect()
    };
    let mut pairs: Vec<&ResponsePair> = kept.iter().map(|&i| &given[i]).collect();
    let mut layers: Vec<(usize, Vec<f32>)> = layers.into_iter().zip(block.vectors.iter().map(rows_of)).collect();
    let firsts;
    if options.per_prompt {
        (firsts, layers) = per_prompt::means(&pairs, layers, d_model);
        pairs = firsts.iter().collect();
    }
    let definition = Definition {
        name: &options.name,
        method: options.method,
        reading: reading_name(options.tuned.is_some()).into(),
        tuned: options.tuned.as_ref().map_or(Ok(String::new()), ModelFolder::sha256).map_err(ExtractError::from)?,
        pairs,
        layers,
        split: options.split,
        path: options.pairs.clone(),
        replace: options.replace,
    };
    let (view, direction_norms) = definition.store(study, &vectors, report)?;
    Ok(Defined { view, remarks: block.remarks, direction_norms })
}

/// Whether a model and text form are those that the study's vectors were made with.
///
/// # Errors
///
/// [`BehaviorError::OtherModel`], or [`ExtractError::Mixed`] when the text form is another.
pub(crate) fn must_be_same_reading(
    study: &Study,
    folder: &ModelFolder,
    encoder: &TextEncoder,
    vectors: &VectorsManifest,
) -> Result<(), BehaviorError> {
    let model = folder.view(encoder.name(), &vectors.model.pooling).map_err(ExtractError::from)?;
    if model.sha256 != vectors.model.sha256 {
        let show = |name: &str, hash: &str| format!("{name} ({})", hash.get(..12).unwrap_or(hash));
        return Err(BehaviorError::OtherModel {
            study: study.root().into(),
            there: show(&vectors.model.name, &vectors.model.sha256),
            asked: show(&model.name, &model.sha256),
        });
    }
    let template_sha256 = encoder.template_sha256();
    if manifest::inputs(&model, &template_sha256, vectors.max_tokens) != vectors.inputs {
        return Err(ExtractError::Mixed {
            path: study.vectors_manifest(),
            what: "template",
            there: vectors.model.template.clone(),
            asked: encoder.name().into(),
        }
        .into());
    }
    Ok(())
}

/// A response pair as the extraction sees it: r1 in the place of chosen, r0 in the place of rejected.
fn as_pair(i: usize, pair: &ResponsePair) -> Pair {
    Pair {
        id: format!("{}", i + 1),
        prompt: pair.prompt.clone(),
        chosen: vec![Message::new("assistant", &pair.r1)],
        rejected: vec![Message::new("assistant", &pair.r0)],
        source: pair.scenario.clone(),
        metadata: "{}".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ResponsePair>, BehaviorError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.jsonl");
        std::fs::write(&path, text).unwrap();
        read_pairs(&path)
    }

    #[test]
    fn prompts_may_be_text_or_messages() {
        let pairs = read(
            "{\"prompt\":\"p\",\"r0\":\"a\",\"r1\":\"b\"}\n\n\
             {\"prompt\":[{\"role\":\"user\",\"content\":\"p\"}],\"r0\":\"a\",\"r1\":\"b\",\"scenario\":\"s\"}\n",
        )
        .unwrap();
        assert_eq!(pairs[0].prompt, pairs[1].prompt);
        assert_eq!((pairs[0].scenario.as_str(), pairs[1].scenario.as_str()), ("", "s"));
    }

    #[test]
    fn malformed_lines_are_named() {
        for (text, named) in [
            ("{\"prompt\":\"p\",\"r0\":\"a\"}", "\"r1\" is missing"),
            ("{\"prompt\":3,\"r0\":\"a\",\"r1\":\"b\"}", "neither text nor messages"),
            ("{\"prompt\":[],\"r0\":\"a\",\"r1\":\"b\"}", "neither text nor messages"),
            ("{\"prompt\":\"p\",\"r0\":1,\"r1\":\"b\"}", "\"r0\" is not text"),
            ("{oops", "not JSON"),
            ("", "no lines"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let error = read("{\"prompt\":\"p\",\"r0\":\"a\",\"r1\":\"b\"}\n{}\n").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
