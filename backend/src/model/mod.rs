//! Language models: one file per architecture, with Hugging Face's key names as field names.
//!
//! [`config`] reads `config.json` and refuses what it does not know; [`checkpoint`] reads and writes safetensors
//! weights; [`olmo2`], [`olmo3`], [`llama`], [`mistral`], [`qwen2`] and [`qwen3`] are the architectures; [`layers`],
//! [`attention`], [`cache`] and [`rotary`] are what they share, [`cpu`] its fast path and [`cpu_gradients`]
//! the way back of that, [`lora`] what can be trained
//! in its place; [`causal_lm`] is what the rest of
//! the backend computes with, [`generate`] samples from it, [`steering`] changes what it
//! computes meanwhile; [`hub`] finds a model by its name on the hub and
//! [`folder`] ties a Hugging Face model folder together. Models carry no backend type: tensors know their
//! device.

pub mod attention;
pub mod cache;
pub mod causal_lm;
pub mod checkpoint;
pub mod config;
pub mod cpu;
pub mod cpu_gradients;
mod download;
pub mod dtype;
pub mod folder;
pub mod generate;
pub mod hub;
pub mod keys;
pub mod layers;
pub mod llama;
pub mod lora;
pub mod mistral;
pub mod olmo2;
pub mod olmo3;
pub mod qwen2;
pub mod qwen3;
pub mod rotary;
pub mod steering;

pub use attention::RowShape;
pub use causal_lm::{Batch, CausalLm};
pub use config::ModelConfig;
pub use dtype::DtypeChoice;
pub use folder::ModelFolder;

use std::path::PathBuf;

use thiserror::Error;

use crate::device::DeviceFailure;
use crate::files::FileError;

/// What can be wrong with a model folder. Every variant names the file and, where there is one, the key.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that every model folder has is absent.
    #[error("no {file} in {folder}: expected a Hugging Face model folder with config.json, *.safetensors and tokenizer.json{hint}", folder = folder.display())]
    Missing {
        /// The model folder.
        folder: PathBuf,
        /// The file.
        file: String,
        /// More to say, starting with `; `, or empty.
        hint: &'static str,
    },
    /// config.json, a tokenizer file or an index is not what it should be.
    #[error("{path}: {key}: expected {expected}, got {got}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is supported.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// A weights file is not whole or not safetensors.
    #[error("{path}: not a complete safetensors file: {reason}; download or copy it again", path = path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// Weights the architecture needs are not in the files.
    #[error("{folder}: {n} weights are missing: {names}; is config.json of the same model as the weights?", folder = folder.display(), n = keys.len(), names = some_of(keys))]
    MissingKeys {
        /// The model folder.
        folder: PathBuf,
        /// The keys.
        keys: Vec<String>,
    },
    /// Weights that the architecture has no use for: the wrong architecture or extra options.
    #[error("{folder}: {n} weights have no place in this architecture: {names}; the configuration asks for less than the file holds", folder = folder.display(), n = keys.len(), names = some_of(keys))]
    UnusedKeys {
        /// The model folder.
        folder: PathBuf,
        /// The keys.
        keys: Vec<String>,
    },
    /// A weight has another shape than the configuration says.
    #[error("{path}: weight {key:?}: expected shape {expected:?} (from config.json), got {got:?}", path = path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// From the configuration.
        expected: Vec<usize>,
        /// In the file.
        got: Vec<usize>,
    },
    /// A weight is stored in a type that is not a float we read.
    #[error("{path}: weight {key:?}: expected F32, BF16 or F16, got {got}; quantised checkpoints are not supported", path = path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// In the file.
        got: String,
    },
    /// A weight is NaN or infinite.
    #[error("{path}: weight {key:?}: element {index} is {value}; the checkpoint is damaged: download or export it again", path = path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Position in the flattened weight.
        index: usize,
        /// NaN or infinity.
        value: f32,
    },
    /// A weight does not fit into half precision.
    #[error("{path}: weight {key:?}: element {index} is {value}, more than f16 can hold (65504): use --dtype bf16 or f32", path = path.display())]
    TooLargeForF16 {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Position in the flattened weight.
        index: usize,
        /// The weight.
        value: f32,
    },
    /// The device cannot compute in the type asked for.
    #[error("--dtype {asked}: {device} cannot compute in it; use {remedy}")]
    UnsupportedDtype {
        /// What was asked for.
        asked: &'static str,
        /// The device.
        device: &'static str,
        /// What can be used.
        remedy: &'static str,
    },
    /// A layer beyond the model's depth was asked for.
    #[error(
        "layer {layer} does not exist: this model has {n_layers} decoder layers, so layers 0 (embeddings) to {n_layers}"
    )]
    Layer {
        /// What was asked for.
        layer: usize,
        /// What there is.
        n_layers: usize,
    },
    /// The tokenizer can produce ids that the model has no embedding for.
    #[error("{path}: token {token:?} has id {id}, but config.json says vocab_size {vocab_size}: tokenizer and model do not belong together", path = path.display())]
    TokenBeyondVocabulary {
        /// tokenizer.json.
        path: PathBuf,
        /// The token.
        token: String,
        /// Its id.
        id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// A vector came out as infinite or not a number.
    #[error(
        "row {row} ({id}), layer {layer}: the vector is not finite: numbers grew too large for the compute type; use \
         --dtype bf16 or f32"
    )]
    Overflow {
        /// Row of the study.
        row: usize,
        /// Id of the pair.
        id: String,
        /// The layer.
        layer: usize,
    },
    /// The device gave up.
    #[error("the device failed while computing: {0}; try a smaller --batch-tokens")]
    Device(String),
    /// The device ran out of memory; less at once may fit.
    #[error("out of device memory: {0}; try a smaller --batch-tokens")]
    NoRoom(String),
    /// One pair alone does not fit into the device's memory.
    #[error(
        "row {row}: its {n_tokens} tokens alone do not fit into the device's memory ({reason}); lower --max-tokens, or use \
         --device cpu or a device with more memory"
    )]
    TooLong {
        /// Row of the study.
        row: usize,
        /// Tokens of both its texts, their common beginning counted once.
        n_tokens: usize,
        /// What the device said.
        reason: String,
    },
    /// The device is gone.
    #[error(
        "the device was lost while computing: {0}; finished parts are kept: run the same command again to continue"
    )]
    DeviceLost(String),
}

impl From<DeviceFailure> for ModelError {
    fn from(failure: DeviceFailure) -> Self {
        match failure {
            DeviceFailure::NoRoom(reason) => Self::NoRoom(reason),
            DeviceFailure::Lost(reason) => Self::DeviceLost(reason),
            DeviceFailure::Other(reason) => Self::Device(reason),
        }
    }
}

fn some_of(keys: &[String]) -> String {
    let shown = keys.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    if keys.len() > 5 { format!("{shown} and {} more", keys.len() - 5) } else { shown }
}
