//! A model folder: what its configuration says, what its weight files hold, and what does not fit together.
//!
//! The configuration is read as plain JSON here, so that a model which Whence cannot run is described too; whether it can
//! is asked of [`ModelFolder::open`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use memmap2::Mmap;
use safetensors::SafeTensors;
use serde::Serialize;
use serde_json::Value;

use crate::files;
use crate::model::ModelFolder;
use crate::model::checkpoint::{INDEX, SINGLE};
use crate::progress::{Report, Update};

/// What a model folder holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelReport {
    /// The folder's name.
    pub name: String,
    /// `model_type` of config.json; empty when it does not say.
    pub architecture: String,
    /// Whether Whence can read with it: nothing is missing and every option is known.
    pub is_usable: bool,
    /// Sizes from config.json, by its own keys.
    pub sizes: BTreeMap<&'static str, u64>,
    /// Numbers in all weights together.
    pub n_parameters: u64,
    /// How many of them are stored in which type.
    pub dtypes: BTreeMap<String, u64>,
    /// The weight files.
    pub weights: Vec<WeightsFile>,
    /// Tokens that the tokenizer knows, when it could be read.
    pub n_tokens: Option<usize>,
    /// SHA-256 of the chat template's source, in hex; absent in models without one.
    pub template_sha256: Option<String>,
    /// Hash of configuration, weights, tokenizer and template, as studies record it; absent for an unusable model.
    pub sha256: Option<String>,
    /// What is missing or does not fit.
    pub missing: Vec<String>,
}

/// One file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WeightsFile {
    /// Its name in the folder.
    pub name: String,
    /// Size in bytes.
    pub n_bytes: u64,
    /// Tensors in it.
    pub n_tensors: usize,
}

const SIZES: [&str; 8] = [
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
];

pub(super) fn inspect(folder: &Path, report: Report) -> ModelReport {
    let mut missing = Vec::new();
    let config: Value = match fs::read(folder.join("config.json")) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            missing.push(format!("config.json is not JSON: {error}"));
            Value::Null
        }),
        Err(_) => {
            missing.push("config.json is not there".into());
            Value::Null
        }
    };
    let sizes: BTreeMap<&'static str, u64> =
        SIZES.into_iter().filter_map(|key| config.get(key)?.as_u64().map(|size| (key, size))).collect();
    let mut found = Weights::default();
    found.read(folder, &mut missing);
    for layer in 0..sizes.get("num_hidden_layers").copied().unwrap_or(0).min(4096) {
        let prefix = format!("model.layers.{layer}.");
        // Tensors sort by name: the first at or after the prefix has it, or none does.
        let next = found.keys.range(prefix.clone()..).next();
        if !found.keys.is_empty() && next.is_none_or(|key| !key.starts_with(&prefix)) {
            missing.push(format!("no weights of decoder layer {}", layer + 1));
        }
    }
    let mut described = ModelReport {
        name: folder
            .canonicalize()
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_default(),
        architecture: config.get("model_type").and_then(Value::as_str).unwrap_or_default().to_owned(),
        is_usable: false,
        sizes,
        n_parameters: found.dtypes.values().sum(),
        dtypes: found.dtypes,
        weights: found.files,
        n_tokens: None,
        template_sha256: None,
        sha256: None,
        missing,
    };
    match ModelFolder::open(folder) {
        Ok(model) => {
            described.is_usable = described.missing.is_empty();
            described.n_tokens = Some(model.tokenizer.get_vocab_size(true));
            match &model.chat_template {
                Some(source) => described.template_sha256 = Some(files::sha256(source.as_bytes())),
                None => described
                    .missing
                    .push("no chat template (a base model?): use --template none, or --template FILE.jinja".into()),
            }
            report(Update { stage: "hash", done: 0, total: 0, unit: "files", detail: "weights".into() });
            match model.sha256() {
                Ok(sha256) => described.sha256 = Some(sha256),
                Err(error) => described.missing.push(error.to_string()),
            }
        }
        Err(error) => described.missing.push(error.to_string()),
    }
    described
}

/// What the headers of a folder's weight files say.
#[derive(Default)]
struct Weights {
    files: Vec<WeightsFile>,
    keys: BTreeSet<String>,
    dtypes: BTreeMap<String, u64>,
}

impl Weights {
    fn read(&mut self, folder: &Path, missing: &mut Vec<String>) {
        let index = folder.join(INDEX);
        if folder.join(SINGLE).is_file() {
            return self.file(folder, SINGLE, missing);
        }
        let Ok(bytes) = fs::read(&index) else {
            return missing.push(format!("no weights: neither {SINGLE} nor {INDEX}"));
        };
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let Some(map) = value.get("weight_map").and_then(Value::as_object) else {
            return missing.push(format!("{INDEX} has no weight_map"));
        };
        let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
        for name in names {
            self.file(folder, name, missing);
        }
        let absent: Vec<&String> = map.keys().filter(|key| !self.keys.contains(*key)).collect();
        if let Some(first) = absent.first() {
            missing.push(format!("{} weights that {INDEX} names are in no file, the first is {first}", absent.len()));
        }
    }

    fn file(&mut self, folder: &Path, name: &str, missing: &mut Vec<String>) {
        let path = folder.join(name);
        let opened = File::open(&path).and_then(|file| {
            // SAFETY: the mapping is only read. A file that another process truncates meanwhile ends this process, as
            // with every memory-mapped reader.
            unsafe { Mmap::map(&file) }
        });
        let mapped = match opened {
            Ok(mapped) => mapped,
            Err(_) if !path.exists() => return missing.push(format!("{name} is not there")),
            Err(error) => return missing.push(format!("{name} cannot be read: {error}")),
        };
        match SafeTensors::deserialize(&mapped) {
            Ok(tensors) => {
                for (key, view) in tensors.iter() {
                    let n: usize = view.shape().iter().product();
                    *self.dtypes.entry(format!("{:?}", view.dtype()).to_lowercase()).or_default() += n as u64;
                    self.keys.insert(key.to_owned());
                }
                let n_tensors = tensors.len();
                self.files.push(WeightsFile { name: name.to_owned(), n_bytes: mapped.len() as u64, n_tensors });
            }
            Err(error) => missing.push(format!("{name} is not a complete safetensors file: {error}")),
        }
    }
}
