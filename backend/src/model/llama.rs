//! Llama 2 and 3.x (Touvron et al. 2023, arXiv 2307.09288; Grattafiori et al. 2024, arXiv 2407.21783), and what has its
//! shape: Tulu 3, TinyLlama. A decoder with norms *before* attention and MLP, rotary positions, grouped queries, SwiGLU.
//!
//! Field names are the checkpoint's keys. Mistral, Qwen 2.5 and Qwen 3 are built around the same residual path: the
//! layer is generic over its attention.

use std::fmt::Debug;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Device, Tensor};
use serde_json::json;

use super::ModelError;
use super::attention::{Heads, Pass};
use super::config::{Absent, Architecture, ModelConfig};
use super::keys::Keys;
use super::layers::{DecoderLayer, Mlp, Parameters, Projection, RmsNorm};

/// Reads what config.json says of a Llama model.
pub(super) fn config(keys: &Keys) -> Result<ModelConfig, ModelError> {
    keys.only("attention_bias", &json!(false))?;
    keys.only("mlp_bias", &json!(false))?;
    ModelConfig::common(Architecture::Llama, keys, &Absent::LLAMA)
}

/// The attention of a decoder layer that norms before it.
pub trait PreNormAttention: Module + ModuleDisplay + Debug {
    /// Builds it from the weights under `key`.
    fn build<P: Parameters>(parameters: &mut P, key: &str, config: &ModelConfig, heads: Heads, device: &Device)
    -> Self;

    /// # Shapes
    ///
    /// - `x`, output: `[n_tokens, d_model]`
    fn forward(&self, x: Tensor<2>, pass: &Pass) -> Tensor<2>;

    /// Its projections by name.
    fn projections(&mut self) -> [(&'static str, &mut Projection); 4];
}

/// Causal self-attention without biases or norms.
#[derive(Module, Debug)]
pub struct LlamaAttention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    o_proj: Projection,
    #[module(skip)]
    heads: Heads,
}

impl PreNormAttention for LlamaAttention {
    fn build<P: Parameters>(
        parameters: &mut P,
        key: &str,
        config: &ModelConfig,
        heads: Heads,
        device: &Device,
    ) -> Self {
        let (hidden, query, key_value) = (config.hidden_size, heads.d_query(), heads.d_key_value());
        Self {
            q_proj: Projection::build(parameters, &format!("{key}.q_proj"), [query, hidden], device),
            k_proj: Projection::build(parameters, &format!("{key}.k_proj"), [key_value, hidden], device),
            v_proj: Projection::build(parameters, &format!("{key}.v_proj"), [key_value, hidden], device),
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

/// One decoder layer: `h = x + attention(norm(x))`, `y = h + mlp(norm(h))`.
#[derive(Module, Debug)]
pub struct PreNormDecoderLayer<A: Module> {
    input_layernorm: RmsNorm,
    self_attn: A,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

/// Llama's decoder layer.
pub type LlamaDecoderLayer = PreNormDecoderLayer<LlamaAttention>;

impl<A: PreNormAttention> DecoderLayer for PreNormDecoderLayer<A> {
    fn build<P: Parameters>(
        parameters: &mut P,
        key: &str,
        config: &ModelConfig,
        layer: usize,
        device: &Device,
    ) -> Self {
        let norm = |parameters: &mut P, name: &str| {
            RmsNorm::build(parameters, &format!("{key}.{name}"), config.hidden_size, config.rms_norm_eps, device)
        };
        Self {
            input_layernorm: norm(parameters, "input_layernorm"),
            self_attn: A::build(parameters, &format!("{key}.self_attn"), config, Heads::of(config, layer), device),
            post_attention_layernorm: norm(parameters, "post_attention_layernorm"),
            mlp: Mlp::build(parameters, &format!("{key}.mlp"), config, device),
        }
    }

    fn forward(&self, x: Tensor<2>, pass: &Pass) -> Tensor<2> {
        let x = x.clone() + self.self_attn.forward(self.input_layernorm.forward(x), pass);
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
    }

    fn projections(&mut self) -> Vec<(String, &mut Projection)> {
        let attention = self.self_attn.projections().into_iter().map(|(name, p)| (format!("self_attn.{name}"), p));
        let mlp = self.mlp.projections().into_iter().map(|(name, p)| (format!("mlp.{name}"), p));
        attention.chain(mlp).collect()
    }
}
