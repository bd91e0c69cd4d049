//! Qwen 2 and 2.5 (Qwen Team 2024, arXiv 2412.15115): Llama's decoder layer with biases on queries, keys and values.
//!
//! Where `use_sliding_window` is true, layers from `max_window_layers` on see the last tokens only.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::ModelError;
use super::attention::{Heads, Pass};
use super::config::{Absent, Architecture, LayerType, ModelConfig};
use super::keys::Keys;
use super::layers::{Parameters, Projection};
use super::llama::{PreNormAttention, PreNormDecoderLayer};

/// What transformers takes when config.json does not state them.
const DEFAULT_WINDOW: usize = 4096;
const DEFAULT_MAX_WINDOW_LAYERS: usize = 28;

/// Reads what config.json says of a Qwen 2 model.
pub(super) fn config(keys: &Keys) -> Result<ModelConfig, ModelError> {
    let absent = Absent { num_key_value_heads: Some(32), ..Absent::LLAMA };
    sliding(ModelConfig::common(Architecture::Qwen2, keys, &absent)?, keys)
}

/// Reads which layers slide, in Qwen 2 and 3.
pub(super) fn sliding(config: ModelConfig, keys: &Keys) -> Result<ModelConfig, ModelError> {
    let stated = keys.positive_or_null("sliding_window", DEFAULT_WINDOW)?;
    let first_sliding = match keys.get("max_window_layers") {
        None => DEFAULT_MAX_WINDOW_LAYERS,
        Some(value) => {
            let n = value.as_u64().map(|n| n as usize);
            n.ok_or_else(|| keys.error("max_window_layers", "a whole number", &value.to_string()))?
        }
    };
    let is_used = keys.bool_or("use_sliding_window", false)?;
    let window = stated.filter(|_| is_used);
    config.with_layer_types(keys, window, |layer| {
        if window.is_some() && layer >= first_sliding { LayerType::Sliding } else { LayerType::Full }
    })
}

/// Causal self-attention with biases on the way in.
#[derive(Module, Debug)]
pub struct Qwen2Attention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    o_proj: Projection,
    #[module(skip)]
    heads: Heads,
}

impl PreNormAttention for Qwen2Attention {
    fn build<P: Parameters>(
        parameters: &mut P,
        key: &str,
        config: &ModelConfig,
        heads: Heads,
        device: &Device,
    ) -> Self {
        let (hidden, query, key_value) = (config.hidden_size, heads.d_query(), heads.d_key_value());
        Self {
            q_proj: Projection::build_with_bias(parameters, &format!("{key}.q_proj"), [query, hidden], device),
            k_proj: Projection::build_with_bias(parameters, &format!("{key}.k_proj"), [key_value, hidden], device),
            v_proj: Projection::build_with_bias(parameters, &format!("{key}.v_proj"), [key_value, hidden], device),
            o_proj: Projection::build(parameters, &format!("{key}.o_proj"), [hidden, query], device),
            heads,
        }
    }

    fn forward(&self, x: Tensor<2>, pass: &Pass) -> Tensor<2> {
        let query = self.q_proj.forward(x.clone());
        let key = self.k_proj.forward(x.clone());
        let value = self.v_proj.forward(x);
        self.o_proj.forward(pass.attend(self.heads, query, key, value))
    }

    fn projections(&mut self) -> [(&'static str, &mut Projection); 4] {
        [
            ("q_proj", &mut self.q_proj),
            ("k_proj", &mut self.k_proj),
            ("v_proj", &mut self.v_proj),
            ("o_proj", &mut self.o_proj),
        ]
    }
}

/// Qwen 2's decoder layer.
pub type Qwen2DecoderLayer = PreNormDecoderLayer<Qwen2Attention>;
