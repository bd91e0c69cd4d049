//! The state of a training run on disk: enough to end with the same bytes after any interruption.
//!
//! One file, `checkpoint.safetensors`, replaced atomically, so there is always either the earlier state or the later one:
//!
//! ```text
//! weights.KEY          F32, as in the model    every trained weight, by checkpoint key; the master weight where it is rounded
//! moments.first.KEY    F32 [n_values]          AdamW's average of its gradient (torch's exp_avg)
//! moments.second.KEY   F32 [n_values]          of its squared gradient (torch's exp_avg_sq)
//! __metadata__         whence.training         JSON: format, identity, and the metrics of every step so far
//! ```
//!
//! The order of the rows and the schedule follow from seed and settings. The identity holds all settings and hashes of the
//! model that training began with, of the data, and of the order of the rows: a checkpoint of another run is refused, and
//! the error says what differs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::adamw::{AdamW, Moments};
use super::sequences::Sequence;
use super::{Objective, StepMetrics, TrainConfig};
use crate::files::{self, AtomicFile, Context, FileError};
use crate::model::CausalLm;
use crate::model::checkpoint::{KeyPath, weights_of};
use crate::study;

/// The format that this version writes and reads.
pub const FORMAT: &str = "whence.training/1";
/// The file in [`Checkpoints::folder`].
pub const FILE: &str = "checkpoint.safetensors";
/// Where the state stands in the file's metadata.
const METADATA: &str = "whence.training";

/// Where and how often the state of a run is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoints {
    /// Holds [`FILE`]; created as needed.
    pub folder: PathBuf,
    /// Optimizer steps from one to the next, ≥ 1.
    pub every_n_steps: usize,
}

/// What can be wrong with a checkpoint.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// It cannot be read or written; an earlier one is then still whole.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is damaged.
    #[error("{path}: not a complete checkpoint: {reason}; remove it to train from the beginning", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is of another run.
    #[error(
        "{path}: this checkpoint is of another run: {differences}; continue with what it was made from, or remove it to \
         train from the beginning", path = path.display()
    )]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// Everything that differs, such as `beta: expected 0.1, got 5`.
        differences: String,
    },
}

/// What a run is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// All settings by name.
    settings: Map<String, Value>,
    /// Of the model that training begins with.
    model_sha256: String,
    /// Of the rows.
    data_sha256: String,
    /// Of which rows decide which step.
    order_sha256: String,
}

impl Identity {
    pub(super) fn of(model: &CausalLm, objective: &dyn Objective, config: &TrainConfig, steps: &[Vec<usize>]) -> Self {
        let mut settings = Map::new();
        for value in [serde_json::to_value(config).expect("plain data serializes"), objective.settings()] {
            if let Value::Object(fields) = value {
                settings.extend(fields);
            }
        }
        if let Some((scale, dropout)) = model.lora_numbers() {
            settings.insert("lora_alpha / r".into(), scale.into());
            settings.insert("lora_dropout".into(), dropout.into());
        }
        let order = serde_json::to_vec(steps).expect("plain data serializes");
        Self {
            settings,
            model_sha256: weights_sha256(model),
            data_sha256: objective.sha256(),
            order_sha256: files::sha256(&order),
        }
    }

    /// What a checkpoint of `other` has that this run has not.
    fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut keys: Vec<&String> = self.settings.keys().chain(other.settings.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let (ours, theirs) = (self.settings.get(key), other.settings.get(key));
            if ours != theirs {
                let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".into(), Value::to_string);
                differences.push(format!("{key}: expected {}, got {}", shown(ours), shown(theirs)));
            }
        }
        let hashes = [
            ("model", &self.model_sha256, &other.model_sha256),
            ("data", &self.data_sha256, &other.data_sha256),
            ("order of the rows", &self.order_sha256, &other.order_sha256),
        ];
        for (name, ours, theirs) in hashes {
            if ours != theirs {
                let short = |hash: &str| hash.chars().take(12).collect::<String>();
                differences.push(format!("{name}: expected SHA-256 {}…, got {}…", short(ours), short(theirs)));
            }
        }
        differences
    }
}

/// Where a run stands.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) model: CausalLm,
    pub(super) optimizer: AdamW,
    /// Of every step taken.
    pub(super) metrics: Vec<StepMetrics>,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    format: String,
    identity: Identity,
    /// Optimizer steps taken.
    n_steps: usize,
    metrics: Vec<StepMetrics>,
}

impl Checkpoints {
    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Removes the checkpoint, if there is one: to be called when the trained model is safe.
    ///
    /// # Errors
    ///
    /// When the file cannot be removed.
    pub fn remove(&self) -> Result<(), FileError> {
        let path = self.path();
        if path.exists() { std::fs::remove_file(&path).at("remove", &path) } else { Ok(()) }
    }

    /// Replaces the checkpoint.
    pub(super) fn store(
        &self,
        identity: &Identity,
        model: &CausalLm,
        optimizer: &AdamW,
        metrics: &[StepMetrics],
    ) -> Result<(), CheckpointError> {
        let state = State {
            format: FORMAT.into(),
            identity: identity.clone(),
            n_steps: metrics.len(),
            metrics: metrics.to_vec(),
        };
        // One tensor after the other, so that no second copy of a large model is ever in memory.
        let weights = trained(model);
        type Entry<'a> = (String, Vec<usize>, Box<dyn Fn() -> TensorData + 'a>);
        let mut entries: Vec<Entry> = Vec::new();
        for (key, (shape, read)) in &weights {
            entries.push((format!("weights.{key}"), shape.clone(), Box::new(read)));
        }
        for (key, moments) in &optimizer.moments {
            for (name, values) in [("first", &moments.first), ("second", &moments.second)] {
                let read = move || values.clone().into_data_as::<f32>();
                entries.push((format!("moments.{name}.{key}"), values.dims().to_vec(), Box::new(read)));
            }
        }
        let path = self.path();
        let mut file = AtomicFile::create(&path)?;
        let state = serde_json::to_string(&state).expect("plain data serializes");
        file.write_all(&header(&entries.iter().map(|(key, shape, _)| (key, shape)).collect::<Vec<_>>(), &state))
            .at("write", &path)?;
        for (_, _, read) in &entries {
            file.write_all(read().bytes()).at("write", &path)?;
        }
        file.commit()?;
        Ok(())
    }

    /// The state that a run of this identity left; `None` when there is none.
    pub(super) fn load(
        &self,
        identity: &Identity,
        model: &CausalLm,
        config: &TrainConfig,
    ) -> Result<Option<Progress>, CheckpointError> {
        let path = self.path();
        if !path.exists() {
            return Ok(None);
        }
        let damaged = |reason: String| CheckpointError::Damaged { path: path.clone(), reason };
        let file = File::open(&path).at("open", &path)?;
        // SAFETY: the mapping is only read, and checkpoints are replaced, never rewritten in place.
        let mapped = unsafe { Mmap::map(&file) }.at("map", &path)?;
        let (_, header) = SafeTensors::read_metadata(&mapped).map_err(|error| damaged(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&mapped).map_err(|error| damaged(error.to_string()))?;
        let state = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA));
        let state = state.ok_or_else(|| damaged(format!("no {METADATA} in its metadata")))?;
        let state: State = serde_json::from_str(state).map_err(|error| damaged(error.to_string()))?;
        let mut differences = identity.differences(&state.identity);
        if state.format != FORMAT {
            differences.insert(0, format!("format: expected {FORMAT}, got {}", state.format));
        }
        if !differences.is_empty() {
            return Err(CheckpointError::OtherRun { path, differences: differences.join("; ") });
        }
        if state.metrics.len() != state.n_steps {
            return Err(damaged(format!("expected metrics of {} steps, got {}", state.n_steps, state.metrics.len())));
        }
        let read = Stored { tensors: &tensors };
        let device = model.device();
        let mut optimizer = AdamW::new(config);
        optimizer.n_steps = state.n_steps;
        for (key, (shape, _)) in &trained(model) {
            let n_values = shape.iter().product();
            let moment = |name: &str| read.tensor(&format!("moments.{name}.{key}"), [n_values], &device);
            // A weight that never had a gradient has no moments.
            if tensors.tensor(&format!("moments.first.{key}")).is_ok() {
                let moments =
                    Moments { first: moment("first").map_err(damaged)?, second: moment("second").map_err(damaged)? };
                optimizer.moments.insert(key.clone(), moments);
            }
        }
        let mut loader = Loader { stored: read, trained: trained(model), path: KeyPath::default(), first_error: None };
        let model = model.clone().map(&mut loader);
        match loader.first_error {
            Some(reason) => Err(damaged(reason)),
            None => Ok(Some(Progress { model, optimizer, metrics: state.metrics })),
        }
    }
}

/// The head of a safetensors file of f32 tensors in this order, with one metadata entry.
fn header(entries: &[(&String, &Vec<usize>)], state: &str) -> Vec<u8> {
    let mut fields = Map::new();
    fields.insert("__metadata__".into(), json!({"format": "pt", METADATA: state}));
    let mut end = 0;
    for (key, shape) in entries {
        let start = end;
        end += shape.iter().product::<usize>() * size_of::<f32>();
        fields.insert((*key).clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]}));
    }
    let mut json = serde_json::to_vec(&fields).expect("JSON values serialise");
    // Tensors begin at a multiple of eight bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut json);
    bytes
}

struct Stored<'a> {
    tensors: &'a SafeTensors<'a>,
}

impl Stored<'_> {
    fn tensor<const D: usize>(&self, key: &str, shape: [usize; D], device: &Device) -> Result<Tensor<D>, String> {
        let view = self.tensors.tensor(key).map_err(|error| format!("{key}: {error}"))?;
        if view.shape() != shape || view.dtype() != Dtype::F32 {
            return Err(format!("{key}: expected F32 {shape:?}, got {:?} {:?}", view.dtype(), view.shape()));
        }
        let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }
}

/// Puts stored weights in place of a model's own.
struct Loader<'a> {
    stored: Stored<'a>,
    trained: BTreeMap<String, (Vec<usize>, Reader)>,
    path: KeyPath,
    first_error: Option<String>,
}

impl ModuleMapper for Loader<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let key = self.path.key();
        if !self.trained.contains_key(&key) {
            return param;
        }
        param.map(|weight| match self.stored.tensor(&format!("weights.{key}"), weight.dims(), &weight.device()) {
            Ok(stored) => stored,
            Err(error) => {
                self.first_error.get_or_insert(error);
                weight
            }
        })
    }
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }
    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.leave();
    }
}

/// Reads a weight off its device, as f32.
type Reader = Box<dyn Fn() -> TensorData>;

/// Shape and reader of every trained weight, by checkpoint key.
fn trained(model: &CausalLm) -> BTreeMap<String, (Vec<usize>, Reader)> {
    #[derive(Default)]
    struct Collector {
        path: KeyPath,
        found: BTreeMap<String, (Vec<usize>, Reader)>,
    }
    impl ModuleVisitor for Collector {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let weight = param.val();
            if weight.is_require_grad() {
                let (shape, weight) = (weight.dims().to_vec(), weight.inner());
                let read: Reader = Box::new(move || weight.clone().into_data_as::<f32>());
                self.found.insert(self.path.key(), (shape, read));
            }
        }
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.leave();
        }
    }
    let mut collector = Collector::default();
    // What is trained shows only in a model with gradients.
    model.clone().train().visit(&mut collector);
    collector.found
}

/// Hash of all weights of a model by key, shape and value.
fn weights_sha256(model: &CausalLm) -> String {
    let hashes: Vec<String> = weights_of(model)
        .into_par_iter()
        .map(|(key, data)| format!("{key} {:?} {}", data.shape().to_vec(), files::sha256(data.bytes())))
        .collect();
    study::inputs_hash(&hashes.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Hash of token sequences and of numbers that belong to them.
pub(super) fn sequences_sha256<'a>(sequences: impl Iterator<Item = &'a Sequence>, numbers: &[&[f32]]) -> String {
    let mut bytes = Vec::new();
    for sequence in sequences {
        bytes.extend((sequence.ids.len() as u64).to_le_bytes());
        bytes.extend((sequence.response_start as u64).to_le_bytes());
        bytes.extend(sequence.ids.iter().flat_map(|id| id.to_le_bytes()));
    }
    for values in numbers {
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    files::sha256(&bytes)
}

/// Whether a folder has a checkpoint.
pub fn is_in(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}
