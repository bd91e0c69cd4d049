//! `config.json` of a language model, read strictly: an architecture or an option that would change the computation and
//! that is not implemented is an error that names it, never a silent approximation.
//!
//! What the architectures have in common is read here; what is particular to one is read in its own file, beside the
//! layers it belongs to.

use std::path::Path;

use serde_json::{Value, json};

use super::ModelError;
use super::keys::Keys;
use super::rotary::{RopeConfig, RopeScaling};
use super::{llama, mistral, olmo2, olmo3, qwen2, qwen3};
use crate::files;

/// More decoder layers than any model has: a damaged configuration is refused before something is done for each of them.
const MAX_LAYERS: usize = 4096;

/// The architectures that can be read, by their `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// OLMo 2.
    Olmo2,
    /// OLMo 3.
    Olmo3,
    /// Llama 2 and 3.x, Tulu 3, TinyLlama.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen 2 and 2.5.
    Qwen2,
    /// Qwen 3.
    Qwen3,
}

impl Architecture {
    /// Every architecture with its `model_type` in config.json and its class in transformers.
    pub const ALL: [(Architecture, &'static str, &'static str); 6] = [
        (Architecture::Olmo2, "olmo2", "Olmo2ForCausalLM"),
        (Architecture::Olmo3, "olmo3", "Olmo3ForCausalLM"),
        (Architecture::Llama, "llama", "LlamaForCausalLM"),
        (Architecture::Mistral, "mistral", "MistralForCausalLM"),
        (Architecture::Qwen2, "qwen2", "Qwen2ForCausalLM"),
        (Architecture::Qwen3, "qwen3", "Qwen3ForCausalLM"),
    ];

    /// `model_type` in config.json.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(architecture, _, _)| *architecture == self).map_or("", |(_, name, _)| name)
    }

    fn class(self) -> &'static str {
        Self::ALL.iter().find(|(architecture, _, _)| *architecture == self).map_or("", |(_, _, class)| class)
    }
}

/// How far back a layer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerType {
    /// Every earlier token.
    Full,
    /// The last [`ModelConfig::sliding_window`] tokens, itself included.
    Sliding,
}

/// What transformers takes for a key that config.json leaves out, where architectures differ in it.
pub(super) struct Absent {
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    /// `None`: as many as query heads.
    pub num_key_value_heads: Option<usize>,
    /// 0: `hidden_size / num_attention_heads`.
    pub head_dim: usize,
}

impl Absent {
    /// As in Llama.
    pub(super) const LLAMA: Self =
        Self { rms_norm_eps: 1e-6, rope_theta: 10000.0, num_key_value_heads: None, head_dim: 0 };
}

/// Hyperparameters of a model, named as in transformers.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which model it is.
    pub architecture: Architecture,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides the number of query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; `hidden_size / num_attention_heads` unless stated.
    pub head_dim: usize,
    /// Longest sequence the model was trained for.
    pub max_position_embeddings: usize,
    /// Added to the mean square inside every norm.
    pub rms_norm_eps: f64,
    /// Rotary embedding of layers that see everything.
    pub rope: RopeConfig,
    /// Rotary embedding of sliding layers; differs only in OLMo 3.
    pub sliding_rope: RopeConfig,
    /// Tokens that sliding layers see, the token itself included; `None` when no layer slides.
    pub sliding_window: Option<usize>,
    /// How far each decoder layer sees.
    pub layer_types: Vec<LayerType>,
    /// Whether the output projection is the embedding itself.
    pub tie_word_embeddings: bool,
    /// Token ids that end a generation.
    pub eos_token_ids: Vec<u32>,
    /// First token of a text, when the model has one.
    pub bos_token_id: Option<u32>,
    /// Token that fills up short rows of a batch.
    pub pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] names the key when the architecture, a type or an option is not supported.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let bytes = files::read(path)?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| ModelError::Config {
            path: path.to_owned(),
            key: "the file".into(),
            expected: "a JSON object".into(),
            got: error.to_string(),
        })?;
        Self::from_json(&value, path)
    }

    /// Reads a parsed `config.json`; `path` is for error messages.
    ///
    /// # Errors
    ///
    /// As [`ModelConfig::read`].
    pub fn from_json(value: &Value, path: &Path) -> Result<Self, ModelError> {
        let keys = Keys::new(value, path);
        let model_type = keys.text("model_type")?;
        let known = Architecture::ALL.iter().find(|(_, name, _)| *name == model_type);
        let Some(&(architecture, _, _)) = known else {
            let names: Vec<_> = Architecture::ALL.iter().map(|(_, name, _)| *name).collect();
            return Err(keys.error("model_type", &format!("one of {}", names.join(", ")), &model_type));
        };
        let config = match architecture {
            Architecture::Olmo2 => olmo2::config(&keys),
            Architecture::Olmo3 => olmo3::config(&keys),
            Architecture::Llama => llama::config(&keys),
            Architecture::Mistral => mistral::config(&keys),
            Architecture::Qwen2 => qwen2::config(&keys),
            Architecture::Qwen3 => qwen3::config(&keys),
        }?;
        keys.refuse_unread()?;
        Ok(config)
    }

    /// What every architecture has: sizes, norms, rotary embedding, special tokens; every layer sees everything.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] names the key that is missing, malformed or not supported.
    pub(super) fn common(architecture: Architecture, keys: &Keys, absent: &Absent) -> Result<Self, ModelError> {
        let config = Self::common_without_rope(architecture, keys, absent)?;
        let rope = RopeConfig::read(keys, absent.rope_theta, config.max_position_embeddings)?;
        Ok(Self { sliding_rope: rope.clone(), rope, ..config })
    }

    /// As [`ModelConfig::common`], for an architecture that states its rotary embedding in a way of its own.
    pub(super) fn common_without_rope(
        architecture: Architecture,
        keys: &Keys,
        absent: &Absent,
    ) -> Result<Self, ModelError> {
        keys.only("hidden_act", &json!("silu"))?;
        let hidden_size = keys.positive("hidden_size")?;
        let num_attention_heads = keys.positive("num_attention_heads")?;
        let num_key_value_heads = if keys.states("num_key_value_heads") {
            keys.positive_or("num_key_value_heads", num_attention_heads)?
        } else {
            absent.num_key_value_heads.unwrap_or(num_attention_heads)
        };
        if num_attention_heads % num_key_value_heads != 0 {
            let expected = format!("a divisor of num_attention_heads = {num_attention_heads}");
            return Err(keys.error("num_key_value_heads", &expected, &num_key_value_heads.to_string()));
        }
        let head_dim = match keys.positive_or("head_dim", absent.head_dim)? {
            0 if hidden_size % num_attention_heads != 0 => {
                let expected = format!("a multiple of num_attention_heads = {num_attention_heads}");
                return Err(keys.error("hidden_size", &expected, &hidden_size.to_string()));
            }
            0 => hidden_size / num_attention_heads,
            head_dim => head_dim,
        };
        if head_dim % 2 != 0 {
            let expected = "an even number (rotary embedding pairs dimensions)";
            return Err(keys.error("head_dim", expected, &head_dim.to_string()));
        }
        let num_hidden_layers = keys.positive("num_hidden_layers")?;
        if num_hidden_layers > MAX_LAYERS {
            let expected = format!("at most {MAX_LAYERS}");
            return Err(keys.error("num_hidden_layers", &expected, &num_hidden_layers.to_string()));
        }
        let max_position_embeddings = keys.positive_or("max_position_embeddings", 2048)?;
        let rope = RopeConfig::plain(absent.rope_theta);
        Ok(Self {
            architecture,
            vocab_size: keys.positive("vocab_size")?,
            hidden_size,
            intermediate_size: keys.positive("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            max_position_embeddings,
            rms_norm_eps: keys.number_or("rms_norm_eps", absent.rms_norm_eps)?,
            sliding_rope: rope.clone(),
            rope,
            sliding_window: None,
            layer_types: vec![LayerType::Full; num_hidden_layers],
            tie_word_embeddings: keys.bool_or("tie_word_embeddings", false)?,
            eos_token_ids: keys.ids("eos_token_id")?,
            bos_token_id: keys.ids("bos_token_id")?.first().copied(),
            pad_token_id: keys.ids("pad_token_id")?.first().copied(),
        })
    }

    /// How far each layer sees: `layer_types` where config.json states them, else what `default` says of each layer.
    ///
    /// # Errors
    ///
    /// When there is not one known type per layer, or a layer slides and there is no window.
    pub(super) fn with_layer_types(
        mut self,
        keys: &Keys,
        window: Option<usize>,
        default: impl Fn(usize) -> LayerType,
    ) -> Result<Self, ModelError> {
        let n_layers = self.num_hidden_layers;
        let stated = keys.list("layer_types")?;
        self.layer_types = match stated {
            None => (0..n_layers).map(default).collect(),
            Some(names) if names.len() != n_layers => {
                let expected = format!("one per layer, {n_layers}");
                return Err(keys.error("layer_types", &expected, &names.len().to_string()));
            }
            Some(names) => names
                .iter()
                .map(|name| match name.as_str() {
                    Some("full_attention") => Ok(LayerType::Full),
                    Some("sliding_attention") => Ok(LayerType::Sliding),
                    _ => {
                        let expected = "\"full_attention\" or \"sliding_attention\"";
                        Err(keys.error("layer_types", expected, &name.to_string()))
                    }
                })
                .collect::<Result<_, _>>()?,
        };
        let slides = self.layer_types.contains(&LayerType::Sliding);
        if slides && window.is_none() {
            return Err(keys.error("sliding_window", "a positive whole number, as some layers slide", "null"));
        }
        self.sliding_window = window.filter(|_| slides);
        Ok(self)
    }

    /// Longest text that the model was made for, in tokens: `max_position_embeddings`, or what rope scaling stretches
    /// the original length to, where config.json still states that one.
    pub fn context(&self) -> usize {
        let stretched = match self.rope.scaling {
            RopeScaling::Llama3 { factor, original_max_position_embeddings, .. }
            | RopeScaling::Yarn { factor, original_max_position_embeddings, .. } => {
                (factor * original_max_position_embeddings) as usize
            }
            RopeScaling::None | RopeScaling::Linear { .. } => 0,
        };
        self.max_position_embeddings.max(stretched)
    }

    /// Tokens that a layer sees, itself included; `None` = all.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.filter(|_| self.layer_types[layer] == LayerType::Sliding)
    }

    /// Number of weights.
    pub fn n_parameters(&self) -> usize {
        let (d, kv) = (self.hidden_size, self.num_key_value_heads * self.head_dim);
        let q = self.num_attention_heads * self.head_dim;
        let per_layer = 2 * d * q + 2 * d * kv + 3 * d * self.intermediate_size + 2 * d;
        let particular = match self.architecture {
            Architecture::Olmo2 | Architecture::Olmo3 => q + kv,
            Architecture::Qwen2 => q + 2 * kv,
            Architecture::Qwen3 => 2 * self.head_dim,
            Architecture::Llama | Architecture::Mistral => 0,
        };
        let embeddings = if self.tie_word_embeddings { 1 } else { 2 } * self.vocab_size * d;
        embeddings + self.num_hidden_layers * (per_layer + particular) + d
    }

    /// The `config.json` that transformers reads back to the same model.
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "architectures": [self.architecture.class()],
            "model_type": self.architecture.name(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "attention_bias": false,
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope.theta,
            "rope_scaling": self.rope.scaling_to_json(),
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": "float32",
            "use_cache": true,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_ids.first(),
            "pad_token_id": self.pad_token_id,
        });
        // A mistral slides in every layer or in none, and knows no list of types.
        if self.architecture == Architecture::Mistral {
            json["sliding_window"] = json!(self.sliding_window);
        } else if self.sliding_window.is_some() {
            let name = |layer: &LayerType| match layer {
                LayerType::Full => "full_attention",
                LayerType::Sliding => "sliding_attention",
            };
            json["sliding_window"] = json!(self.sliding_window);
            json["layer_types"] = json!(self.layer_types.iter().map(name).collect::<Vec<_>>());
            if matches!(self.architecture, Architecture::Qwen2 | Architecture::Qwen3) {
                json["use_sliding_window"] = json!(true);
            }
        }
        json
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
