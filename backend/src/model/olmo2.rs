//! OLMo 2 (Team OLMo 2024, "2 OLMo 2 Furious", arXiv 2501.00656): a decoder with norms *after* attention and MLP and
//! on queries and keys, rotary positions, SwiGLU.
//!
//! Field names are the checkpoint's keys. Tokens travel as `[n_tokens, d_model]`, all texts of a batch one after the
//! other, and are told apart only inside attention.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::json;

use super::ModelError;
use super::attention::{Heads, Pass};
use super::config::{Absent, Architecture, ModelConfig};
use super::keys::Keys;
use super::layers::{DecoderLayer, Mlp, Parameters, Projection, RmsNorm};

/// Reads what config.json says of an OLMo 2 model.
pub(super) fn config(keys: &Keys) -> Result<ModelConfig, ModelError> {
    keys.only("attention_bias", &json!(false))?;
    ModelConfig::common(Architecture::Olmo2, keys, &Absent { rms_norm_eps: 1e-5, ..Absent::LLAMA })
}

/// Causal self-attention with norms over the whole query and key projections, before they are cut into heads.
#[derive(Module, Debug)]
pub struct Olmo2Attention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    o_proj: Projection,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    #[module(skip)]
    heads: Heads,
}

impl Olmo2Attention {
    fn build<P: Parameters>(
        parameters: &mut P,
        key: &str,
        config: &ModelConfig,
        heads: Heads,
        device: &Device,
    ) -> Self {
        let (hidden, epsilon) = (config.hidden_size, config.rms_norm_eps);
        let (query, key_value) = (heads.d_query(), heads.d_key_value());
        Self {
            q_proj: Projection::build(parameters, &format!("{key}.q_proj"), [query, hidden], device),
            k_proj: Projection::build(parameters, &format!("{key}.k_proj"), [key_value, hidden], device),
            v_proj: Projection::build(parameters, &format!("{key}.v_proj"), [key_value, hidden], device),
            o_proj: Projection::build(parameters, &format!("{key}.o_proj"), [hidden, query], device),
            q_norm: RmsNorm::build(parameters, &format!("{key}.q_norm"), query, epsilon, device),
            k_norm: RmsNorm::build(parameters, &format!("{key}.k_norm"), key_value, epsilon, device),
            heads,
        }
    }

    fn forward(&self, x: Tensor<2>, pass: &Pass) -> Tensor<2> {
        let query = self.q_norm.forward(self.q_proj.forward(x.clone()));
        let key = self.k_norm.forward(self.k_proj.forward(x.clone()));
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

/// One decoder layer: `h = x + norm(attention(x))`, `y = h + norm(mlp(h))`.
#[derive(Module, Debug)]
pub struct Olmo2DecoderLayer {
    self_attn: Olmo2Attention,
    mlp: Mlp,
    post_attention_layernorm: RmsNorm,
    post_feedforward_layernorm: RmsNorm,
}

impl DecoderLayer for Olmo2DecoderLayer {
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
        let heads = Heads::of(config, layer);
        Self {
            self_attn: Olmo2Attention::build(parameters, &format!("{key}.self_attn"), config, heads, device),
            mlp: Mlp::build(parameters, &format!("{key}.mlp"), config, device),
            post_attention_layernorm: norm(parameters, "post_attention_layernorm"),
            post_feedforward_layernorm: norm(parameters, "post_feedforward_layernorm"),
        }
    }

    fn forward(&self, x: Tensor<2>, pass: &Pass) -> Tensor<2> {
        let attended = self.self_attn.forward(x.clone(), pass);
        let x = x + self.post_attention_layernorm.forward(attended);
        x.clone() + self.post_feedforward_layernorm.forward(self.mlp.forward(x))
    }

    fn projections(&mut self) -> Vec<(String, &mut Projection)> {
        let attention = self.self_attn.projections().into_iter().map(|(name, p)| (format!("self_attn.{name}"), p));
        let mlp = self.mlp.projections().into_iter().map(|(name, p)| (format!("mlp.{name}"), p));
        attention.chain(mlp).collect()
    }
}
