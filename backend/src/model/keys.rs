//! A JSON object with errors that name file and key: how `config.json` is read.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::ModelError;

/// Keys of config.json that change nothing about what a model computes from a text: training, generation, bookkeeping.
const WITHOUT_EFFECT: [&str; 63] = [
    "_attn_implementation",
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    // Llama's own training used it to cut matrices for several machines; the product is the same.
    "pretraining_tp",
];

/// A JSON object that remembers which of its keys were read.
pub struct Keys<'a> {
    map: Map<String, Value>,
    path: &'a Path,
    /// Put before a key in error messages: `rope_parameters.`.
    prefix: String,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Keys<'a> {
    /// The keys of `value`; not an object = none. `path` is for error messages.
    pub fn new(value: &Value, path: &'a Path) -> Self {
        let map = value.as_object().cloned().unwrap_or_default();
        Self { map, path, prefix: String::new(), read: RefCell::default() }
    }

    /// The object under `key`, when it is there and not null.
    pub fn object(&self, key: &str) -> Result<Option<Keys<'a>>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                let prefix = format!("{}{key}.", self.prefix);
                Ok(Some(Keys { map: map.clone(), path: self.path, prefix, read: RefCell::default() }))
            }
            Some(_) => Err(self.wrong(key, "an object")),
        }
    }

    /// The value of `key`, unless absent or null; it counts as read.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.read.borrow_mut().insert(key.to_owned());
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether `key` is there, be it null.
    pub fn states(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// An error about `key`.
    pub fn error(&self, key: &str, expected: &str, got: &str) -> ModelError {
        let key = format!("{}{key}", self.prefix);
        ModelError::Config { path: PathBuf::from(self.path), key, expected: expected.into(), got: got.into() }
    }

    fn wrong(&self, key: &str, expected: &str) -> ModelError {
        let got = self.map.get(key).map_or_else(|| "nothing".into(), Value::to_string);
        self.error(key, expected, &got)
    }

    /// Text that must be there.
    pub fn text(&self, key: &str) -> Result<String, ModelError> {
        self.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| self.wrong(key, "a string"))
    }

    /// A whole number from 1 to 2³² that must be there.
    pub fn positive(&self, key: &str) -> Result<usize, ModelError> {
        let number = self.get(key).and_then(Value::as_u64).filter(|n| (1..=1 << 32).contains(n));
        number.map(|n| n as usize).ok_or_else(|| self.wrong(key, "a positive whole number"))
    }

    /// A whole number from 1 to 2³², or `default`.
    pub fn positive_or(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        if self.get(key).is_none() { Ok(default) } else { self.positive(key) }
    }

    /// A whole number from 1 to 2³²; `None` where the key says null, `default` where it is not there.
    pub fn positive_or_null(&self, key: &str, default: usize) -> Result<Option<usize>, ModelError> {
        match (self.states(key), self.get(key)) {
            (true, None) => Ok(None),
            _ => self.positive_or(key, default).map(Some),
        }
    }

    /// A number above 0, or `default`.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    /// A number above 0, when there is one.
    pub fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_f64().filter(|n| *n > 0.0);
        number.map(Some).ok_or_else(|| self.wrong(key, "a positive number"))
    }

    /// A truth value, or `default`.
    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        self.get(key).map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false")))
    }

    /// A list, when there is one.
    pub fn list(&self, key: &str) -> Result<Option<&Vec<Value>>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_array().map(Some).ok_or_else(|| self.wrong(key, "a list"))
    }

    /// One token id or several; none when absent.
    pub fn ids(&self, key: &str) -> Result<Vec<u32>, ModelError> {
        let as_id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(ids)) => {
                ids.iter().map(as_id).collect::<Option<_>>().ok_or_else(|| self.wrong(key, "token ids"))
            }
            Some(value) => as_id(value).map(|id| vec![id]).ok_or_else(|| self.wrong(key, "a token id")),
        }
    }

    /// The key, when present, must have this one value.
    pub fn only(&self, key: &str, supported: &Value) -> Result<(), ModelError> {
        match self.get(key) {
            Some(value) if value != supported => {
                Err(self.error(key, &format!("{supported}, the only one implemented"), &value.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses every key that nobody asked for and that is not known to be without effect. Null, false and empty values
    /// ask for nothing.
    pub fn refuse_unread(&self) -> Result<(), ModelError> {
        let asks_for_something = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        let read = self.read.borrow();
        let unknown = self.map.iter().find(|(key, value)| {
            !read.contains(*key) && !WITHOUT_EFFECT.contains(&key.as_str()) && asks_for_something(value)
        });
        match unknown {
            None => Ok(()),
            Some((key, value)) => {
                let expected = "no such option: it is not implemented for this architecture (if it changes nothing about \
                                what the model computes, take it out of config.json)";
                Err(self.error(key, expected, &value.to_string()))
            }
        }
    }
}
