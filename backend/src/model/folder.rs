//! A Hugging Face model folder: configuration, weights, tokenizer and chat template that belong together.

use std::path::{Path, PathBuf};

use burn::tensor::DType;
use serde_json::Value;
use tokenizers::Tokenizer;
use whence_shared::study::ModelView;

use super::checkpoint::{self, Checkpoint};
use super::dtype::{ComputeDtype, DtypeChoice};
use super::keys::Keys;
use super::{CausalLm, ModelConfig, ModelError, lora};
use crate::device::Device;
use crate::{files, hashes, study};

/// An opened model folder: everything but the weights is read and checked.
pub struct ModelFolder {
    path: PathBuf,
    /// Hyperparameters.
    pub config: ModelConfig,
    /// The tokenizer, without truncation or padding of its own.
    pub tokenizer: Tokenizer,
    /// The model's chat template, Jinja source; absent in base models.
    pub chat_template: Option<String>,
    /// Text of the beginning-of-sequence token, for templates.
    pub bos_token: String,
    /// Text of the end-of-sequence token, for templates.
    pub eos_token: String,
    /// Token ids that end a generation: those of generation_config.json, else of config.json.
    pub eos_token_ids: Vec<u32>,
}

impl ModelFolder {
    /// Opens a folder and checks that its parts belong together.
    ///
    /// # Errors
    ///
    /// [`ModelError`] naming the file and key that is missing, malformed or inconsistent.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let required = |file: &str| {
            let full = path.join(file);
            let hint = if path.is_dir() { "" } else { "; that folder does not exist" };
            if full.is_file() {
                Ok(full)
            } else {
                Err(ModelError::Missing { folder: path.into(), file: file.into(), hint })
            }
        };
        let config = ModelConfig::read(&required("config.json")?)?;
        checkpoint::weight_files(path)?;
        let tokenizer_path = required("tokenizer.json")?;
        let mut tokenizer = read_tokenizer(&tokenizer_path)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).expect("no truncation is always possible");
        let highest = tokenizer.get_vocab(true).into_iter().max_by_key(|(_, id)| *id);
        if let Some((token, id)) = highest.filter(|(_, id)| *id as usize >= config.vocab_size) {
            let vocab_size = config.vocab_size;
            return Err(ModelError::TokenBeyondVocabulary { path: tokenizer_path, token, id, vocab_size });
        }
        let settings = optional_json(&path.join("tokenizer_config.json"))?;
        // Older exports name special tokens in a file of their own.
        let map = optional_json(&path.join("special_tokens_map.json"))?;
        let special = |key: &str| match settings.get(key).or_else(|| map.get(key)) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Object(token)) => token.get("content").and_then(Value::as_str).unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        let chat_template = match settings.get("chat_template") {
            Some(Value::String(source)) => Some(source.clone()),
            // Several named templates: the one called default.
            Some(Value::Array(named)) => named
                .iter()
                .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
                .and_then(|entry| entry.get("template").and_then(Value::as_str).map(str::to_owned)),
            _ => None,
        };
        // Newer exports keep the template in a file of its own, which then takes precedence.
        let template_file = path.join("chat_template.jinja");
        let chat_template = if template_file.is_file() {
            Some(String::from_utf8_lossy(&files::read(&template_file)?).into_owned())
        } else {
            chat_template
        };
        let generation_path = path.join("generation_config.json");
        let generation = optional_json(&generation_path)?;
        let mut eos_token_ids = Keys::new(&generation, &generation_path).ids("eos_token_id")?;
        if eos_token_ids.is_empty() {
            eos_token_ids.clone_from(&config.eos_token_ids);
        }
        Ok(Self {
            eos_token_ids,
            bos_token: special("bos_token"),
            eos_token: special("eos_token"),
            path: path.to_owned(),
            config,
            tokenizer,
            chat_template,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's own name, for people.
    pub fn name(&self) -> String {
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        if let Some(name) = super::hub::name_of(&path) {
            return name;
        }
        path.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
    }

    /// Loads the weights in f32.
    ///
    /// # Errors
    ///
    /// As [`ModelFolder::load_as`].
    pub fn load(&self, device: &Device) -> Result<CausalLm, ModelError> {
        self.load_as(device, DType::F32)
    }

    /// Loads the weights, matrices as `dtype`.
    ///
    /// # Errors
    ///
    /// [`ModelError`] naming file and key of what is missing, left over, misshapen, not finite or too large.
    pub fn load_as(&self, device: &Device, dtype: DType) -> Result<CausalLm, ModelError> {
        let mut checkpoint = Checkpoint::open(&self.path, dtype)?;
        // Before any layer is built: a damaged configuration may ask for a billion of them.
        let last = format!("model.layers.{}.self_attn.q_proj.weight", self.config.num_hidden_layers - 1);
        if !checkpoint.has(&last) {
            return Err(ModelError::MissingKeys { folder: self.path.clone(), keys: vec![last] });
        }
        let model = CausalLm::build(&mut checkpoint, &self.config, device);
        let tied: &[&str] = if self.config.tie_word_embeddings { &["lm_head.weight"] } else { &[] };
        checkpoint.finish(tied)?;
        Ok(model)
    }

    /// The type to compute in on a device, as chosen and as the weights are stored.
    ///
    /// # Errors
    ///
    /// As [`DtypeChoice::on`] and [`ModelFolder::stored_dtype`].
    pub fn dtype_on(&self, device: &Device, choice: DtypeChoice) -> Result<ComputeDtype, ModelError> {
        choice.on(std::slice::from_ref(device), &self.stored_dtype()?)
    }

    /// Loads the weights, matrices in the type of [`ModelFolder::dtype_on`].
    ///
    /// # Errors
    ///
    /// As [`ModelFolder::dtype_on`] and [`ModelFolder::load_as`].
    pub fn load_chosen(&self, device: &Device, choice: DtypeChoice) -> Result<CausalLm, ModelError> {
        self.load_as(device, self.dtype_on(device, choice)?.dtype)
    }

    /// The type that most weights are stored in: `BF16`. Reads only the files' headers.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened or is not complete.
    pub fn stored_dtype(&self) -> Result<String, ModelError> {
        Ok(Checkpoint::open(&self.path, DType::F32)?.stored_dtype())
    }

    /// Keys of the decoder layers' projections, without `.weight`. Reads only the files' headers.
    ///
    /// # Errors
    ///
    /// As [`ModelFolder::stored_dtype`].
    pub fn projections(&self) -> Result<Vec<String>, ModelError> {
        Ok(Checkpoint::open(&self.path, DType::F32)?.projections())
    }

    /// Hash of everything that decides what the model computes from a text: configuration, weights, tokenizer, chat
    /// template. Reads every weight once, and again only when a file has changed ([`hashes`]).
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn sha256(&self) -> Result<String, ModelError> {
        let mut parts = vec![
            files::sha256_of_file(&self.path.join("config.json"))?,
            files::sha256_of_file(&self.path.join("tokenizer.json"))?,
            self.chat_template.clone().unwrap_or_default(),
        ];
        for file in checkpoint::weight_files(&self.path)? {
            parts.push(hashes::sha256_of_file(&file)?);
        }
        Ok(study::inputs_hash(&parts.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// What a study says about this model.
    ///
    /// # Errors
    ///
    /// As [`ModelFolder::sha256`].
    pub fn view(&self, template: &str, pooling: &str) -> Result<ModelView, ModelError> {
        Ok(ModelView {
            name: self.name(),
            architecture: self.config.architecture.name().into(),
            n_layers: self.config.num_hidden_layers,
            d_model: self.config.hidden_size,
            sha256: self.sha256()?,
            template: template.into(),
            pooling: pooling.into(),
        })
    }
}

/// Writes `config.json` and `model.safetensors` of a model in f32, atomically, for transformers or [`ModelFolder::open`]
/// to read back. Adapters are merged into the weights. The tokenizer files are the caller's.
///
/// # Errors
///
/// When a file cannot be written.
pub fn save(model: &CausalLm, config: &ModelConfig, folder: &Path) -> Result<(), ModelError> {
    save_as(model, config, folder, DType::F32)
}

/// As [`save`], with weights stored as `dtype`: F32, BF16 or F16.
///
/// # Errors
///
/// When a file cannot be written, or a weight is too large for f16.
pub fn save_as(model: &CausalLm, config: &ModelConfig, folder: &Path, dtype: DType) -> Result<(), ModelError> {
    if model.n_adapters() > 0 {
        checkpoint::save(&lora::merge(model.clone()), folder, dtype)?;
    } else {
        checkpoint::save(model, folder, dtype)?;
    }
    let mut value = config.to_json();
    match dtype {
        DType::BF16 => value["torch_dtype"] = Value::from("bfloat16"),
        DType::F16 => value["torch_dtype"] = Value::from("float16"),
        _ => {}
    }
    Ok(files::write_json(&folder.join("config.json"), &value)?)
}

/// Reads tokenizer.json, with offsets that cover white space.
///
/// Byte-level tokenizers may leave leading space out of a token's offsets (`trim_offsets`). That changes no id, but a
/// token of nothing but space would then seem to stand nowhere, and the response could not be told from its surroundings.
fn read_tokenizer(path: &Path) -> Result<Tokenizer, ModelError> {
    let malformed = |got: String| ModelError::Config {
        path: path.to_owned(),
        key: "the file".into(),
        expected: "a tokenizer in the format of Hugging Face tokenizers".into(),
        got,
    };
    let mut json: Value = serde_json::from_slice(&files::read(path)?).map_err(|error| malformed(error.to_string()))?;
    if let Some(processor) = json.get_mut("post_processor") {
        keep_offsets_whole(processor);
    }
    serde_json::from_value(json).map_err(|error| malformed(error.to_string()))
}

fn keep_offsets_whole(processor: &mut Value) {
    if let Some(trim) = processor.get_mut("trim_offsets") {
        *trim = Value::Bool(false);
    }
    for inner in processor.get_mut("processors").and_then(Value::as_array_mut).into_iter().flatten() {
        keep_offsets_whole(inner);
    }
}

fn optional_json(path: &Path) -> Result<Value, ModelError> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&files::read(path)?).map_err(|error| ModelError::Config {
        path: path.to_owned(),
        key: "the file".into(),
        expected: "JSON".into(),
        got: error.to_string(),
    })
}
