//! `config.json` of an OLMo 2 model, read strictly: an option that would change the computation and that is not
//! implemented is an error that names it, never a silent approximation.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::ModelError;
use crate::files;

/// More decoder layers than any model has: a damaged configuration is refused before something is done for each of them.
const MAX_LAYERS: usize = 4096;

/// Hyperparameters of an OLMo 2 model, named as in transformers.
#[derive(Debug, Clone, PartialEq)]
pub struct Olmo2Config {
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
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the output projection is the embedding itself.
    pub tie_word_embeddings: bool,
    /// Token ids that end a generation.
    pub eos_token_ids: Vec<u32>,
    /// First token of a text, when the model has one.
    pub bos_token_id: Option<u32>,
    /// Token that fills up short rows of a batch.
    pub pad_token_id: Option<u32>,
}

impl Olmo2Config {
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
    /// As [`Olmo2Config::read`].
    pub fn from_json(value: &Value, path: &Path) -> Result<Self, ModelError> {
        let keys = Keys { map: value.as_object().cloned().unwrap_or_default(), path };
        let model_type = keys.text("model_type")?;
        if model_type != "olmo2" {
            return Err(keys.error("model_type", "\"olmo2\" (other architectures are not supported yet)", &model_type));
        }
        keys.only("hidden_act", &json!("silu"))?;
        keys.only("attention_bias", &json!(false))?;
        // transformers 5 writes rope_parameters {rope_type, rope_theta}; 4 writes rope_theta and rope_scaling.
        let stated = |key: &str| keys.map.get(key).filter(|value| !value.is_null());
        let rope = stated("rope_parameters").or_else(|| stated("rope_scaling"));
        let rope = rope.and_then(Value::as_object).cloned().unwrap_or_default();
        for key in ["rope_type", "type"] {
            if let Some(kind) = rope.get(key).filter(|kind| *kind != "default") {
                return Err(keys.error(&format!("rope_scaling.{key}"), "\"default\" (no scaling)", &kind.to_string()));
            }
        }
        if let Some(factor) = rope.get("partial_rotary_factor").filter(|factor| factor.as_f64() != Some(1.0)) {
            return Err(keys.error("rope_parameters.partial_rotary_factor", "1.0", &factor.to_string()));
        }
        let rope_theta = match rope.get("rope_theta") {
            Some(theta) => theta.as_f64().ok_or_else(|| keys.error("rope_theta", "a number", &theta.to_string()))?,
            None => keys.number_or("rope_theta", 10000.0)?,
        };

        let hidden_size = keys.positive("hidden_size")?;
        let num_attention_heads = keys.positive("num_attention_heads")?;
        let num_key_value_heads = match keys.map.get("num_key_value_heads") {
            None | Some(Value::Null) => num_attention_heads,
            Some(_) => keys.positive("num_key_value_heads")?,
        };
        if num_attention_heads % num_key_value_heads != 0 {
            return Err(keys.error(
                "num_key_value_heads",
                &format!("a divisor of num_attention_heads = {num_attention_heads}"),
                &num_key_value_heads.to_string(),
            ));
        }
        let head_dim = match keys.map.get("head_dim") {
            None | Some(Value::Null) => {
                if hidden_size % num_attention_heads != 0 {
                    return Err(keys.error(
                        "hidden_size",
                        &format!("a multiple of num_attention_heads = {num_attention_heads}"),
                        &hidden_size.to_string(),
                    ));
                }
                hidden_size / num_attention_heads
            }
            Some(_) => keys.positive("head_dim")?,
        };
        let num_hidden_layers = keys.positive("num_hidden_layers")?;
        if num_hidden_layers > MAX_LAYERS {
            return Err(keys.error(
                "num_hidden_layers",
                &format!("at most {MAX_LAYERS}"),
                &num_hidden_layers.to_string(),
            ));
        }
        if head_dim % 2 != 0 {
            return Err(keys.error(
                "head_dim",
                "an even number (rotary embedding pairs dimensions)",
                &head_dim.to_string(),
            ));
        }
        Ok(Self {
            vocab_size: keys.positive("vocab_size")?,
            hidden_size,
            intermediate_size: keys.positive("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            max_position_embeddings: keys.number_or("max_position_embeddings", 2048.0)? as usize,
            rms_norm_eps: keys.number_or("rms_norm_eps", 1e-5)?,
            rope_theta,
            tie_word_embeddings: keys.bool_or("tie_word_embeddings", false)?,
            eos_token_ids: keys.ids("eos_token_id")?,
            bos_token_id: keys.ids("bos_token_id")?.first().copied(),
            pad_token_id: keys.ids("pad_token_id")?.first().copied(),
        })
    }

    /// The `config.json` that transformers reads back to the same model.
    pub fn to_json(&self) -> Value {
        json!({
            "architectures": ["Olmo2ForCausalLM"],
            "model_type": "olmo2",
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
            "rope_theta": self.rope_theta,
            "rope_scaling": null,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": "float32",
            "use_cache": true,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_ids.first(),
            "pad_token_id": self.pad_token_id,
        })
    }
}

/// `config.json` with errors that name file and key.
struct Keys<'a> {
    map: Map<String, Value>,
    path: &'a Path,
}

impl Keys<'_> {
    fn error(&self, key: &str, expected: &str, got: &str) -> ModelError {
        ModelError::Config { path: self.path.to_owned(), key: key.into(), expected: expected.into(), got: got.into() }
    }

    fn wrong(&self, key: &str, expected: &str) -> ModelError {
        let got = self.map.get(key).map_or_else(|| "nothing".into(), Value::to_string);
        self.error(key, expected, &got)
    }

    fn text(&self, key: &str) -> Result<String, ModelError> {
        self.map.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| self.wrong(key, "a string"))
    }

    fn positive(&self, key: &str) -> Result<usize, ModelError> {
        let number = self.map.get(key).and_then(Value::as_u64).filter(|n| (1..=1 << 32).contains(n));
        number.map(|n| n as usize).ok_or_else(|| self.wrong(key, "a positive whole number"))
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_f64().filter(|n| *n > 0.0).ok_or_else(|| self.wrong(key, "a positive number")),
        }
    }

    fn bool_or(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    fn ids(&self, key: &str) -> Result<Vec<u32>, ModelError> {
        let as_id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(ids)) => {
                ids.iter().map(as_id).collect::<Option<_>>().ok_or_else(|| self.wrong(key, "token ids"))
            }
            Some(value) => as_id(value).map(|id| vec![id]).ok_or_else(|| self.wrong(key, "a token id")),
        }
    }

    /// The key, when present, must have this one value.
    fn only(&self, key: &str, supported: &Value) -> Result<(), ModelError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if value == supported => Ok(()),
            Some(value) => Err(self.error(key, &format!("{supported}, the only one implemented"), &value.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Value {
        json!({"model_type": "olmo2", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16,
               "num_hidden_layers": 2, "num_attention_heads": 2, "eos_token_id": [3, 4]})
    }

    fn with(key: &str, value: Value) -> Result<Olmo2Config, ModelError> {
        let mut config = small();
        config[key] = value;
        Olmo2Config::from_json(&config, Path::new("m/config.json"))
    }

    #[test]
    fn defaults_are_those_of_transformers() {
        let config = Olmo2Config::from_json(&small(), Path::new("config.json")).unwrap();
        assert_eq!((config.head_dim, config.num_key_value_heads), (4, 2));
        assert_eq!(config.eos_token_ids, [3, 4]);
        assert!(!config.tie_word_embeddings);
        let again = Olmo2Config::from_json(&config.to_json(), Path::new("config.json")).unwrap();
        assert_eq!((again.head_dim, again.rope_theta), (config.head_dim, config.rope_theta));
    }

    #[test]
    fn rope_theta_is_found_in_both_places() {
        assert_eq!(with("rope_theta", json!(5e5)).unwrap().rope_theta, 5e5);
        let nested = json!({"rope_type": "default", "rope_theta": 1e6});
        assert_eq!(with("rope_parameters", nested).unwrap().rope_theta, 1e6);
    }

    #[test]
    fn unsupported_options_are_named() {
        let mut both = small();
        both["rope_parameters"] = Value::Null;
        both["rope_scaling"] = json!({"type": "linear", "factor": 2.0});
        let error = Olmo2Config::from_json(&both, Path::new("m/config.json")).unwrap_err().to_string();
        assert!(error.contains("rope_scaling.type"), "{error}");
        for (key, value, named) in [
            ("model_type", json!("gpt2"), "model_type"),
            ("hidden_act", json!("gelu"), "hidden_act"),
            ("attention_bias", json!(true), "attention_bias"),
            ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), "rope_scaling.rope_type"),
            ("num_key_value_heads", json!(3), "num_key_value_heads"),
            ("head_dim", json!(3), "head_dim"),
            ("hidden_size", json!("wide"), "hidden_size"),
            ("vocab_size", json!(-1), "vocab_size"),
        ] {
            let error = with(key, value).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("m/config.json"), "{error}");
        }
    }
}
