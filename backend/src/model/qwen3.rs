//! Qwen 3 (Qwen Team 2025, arXiv 2505.09388): Llama's decoder layer with a norm over every head's query and key.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::json;

use super::ModelError;
use super::attention::{Heads, Pass};
use super::config::{Absent, Architecture, ModelConfig};
use super::keys::Keys;
use super::layers::{Parameters, Projection, RmsNorm};
use super::llama::{PreNormAttention, PreNormDecoderLayer};
use super::qwen2;

/// Reads what config.json says of a Qwen 3 model.
pub(super) fn config(keys: &Keys) -> Result<ModelConfig, ModelError> {
    keys.only("attention_bias", &json!(false))?;
    let absent = Absent { num_key_value_heads: Some(32), head_dim: 128, ..Absent::LLAMA };
    qwen2::sliding(ModelConfig::common(Architecture::Qwen3, keys, &absent)?, keys)
}

/// Causal self-attention with norms over single heads.
#[derive(Module, Debug)]
pub struct Qwen3Attention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    o_proj: Projection,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    #[module(skip)]
    heads: Heads,
}

impl PreNormAttention for Qwen3Attention {
    fn build<P: Parameters>(
        parameters: &mut P,
        key: &str,
        config: &ModelConfig,
        heads: Heads,
        device: &Device,
    ) -> Self {
        let (hidden, query, key_value) = (config.hidden_size, heads.d_query(), heads.d_key_value());
        let (head_dim, epsilon) = (config.head_dim, config.rms_norm_eps);
        Self {
            q_proj: Projection::build(parameters, &format!("{key}.q_proj"), [query, hidden], device),
            k_proj: Projection::build(parameters, &format!("{key}.k_proj"), [key_value, hidden], device),
            v_proj: Projection::build(parameters, &format!("{key}.v_proj"), [key_value, hidden], device),
            o_proj: Projection::build(parameters, &format!("{key}.o_proj"), [hidden, query], device),
            q_norm: RmsNorm::build(parameters, &format!("{key}.q_norm"), head_dim, epsilon, device),
            k_norm: RmsNorm::build(parameters, &format!("{key}.k_norm"), head_dim, epsilon, device),
            heads,
        }
    }

    fn forward(&self, x: Tensor<2>, pass: &Pass) -> Tensor<2> {
        let query = self.q_norm.forward_heads(self.q_proj.forward(x.clone()));
        let key = self.k_norm.forward_heads(self.k_proj.forward(x.clone()));
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

/// Qwen 3's decoder layer.
pub type Qwen3DecoderLayer = PreNormDecoderLayer<Qwen3Attention>;
