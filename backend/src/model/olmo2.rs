//! OLMo 2 (Team OLMo 2024, "2 OLMo 2 Furious", arXiv 2501.00656): a decoder with norms *after* attention and MLP and
//! on queries and keys, rotary positions, SwiGLU.
//!
//! Read from the bottom of the file up for the big picture; field names are the checkpoint's keys. Tokens travel as
//! `[n_tokens, d_model]`, batch and sequence folded together, and are unfolded only inside attention.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};

use super::config::Olmo2Config;
use super::layers::{Parameters, Projection, RmsNorm, causal_attention, swiglu};
use super::rotary::{Rotary, Rotation};

/// SwiGLU: `down(silu(gate(x)) · up(x))` (Shazeer 2020).
#[derive(Module, Debug)]
pub struct Olmo2Mlp {
    gate_proj: Projection,
    up_proj: Projection,
    down_proj: Projection,
}

impl Olmo2Mlp {
    fn build<P: Parameters>(parameters: &mut P, key: &str, config: &Olmo2Config, device: &Device) -> Self {
        let (outer, inner) = (config.hidden_size, config.intermediate_size);
        Self {
            gate_proj: Projection::build(parameters, &format!("{key}.gate_proj"), [inner, outer], device),
            up_proj: Projection::build(parameters, &format!("{key}.up_proj"), [inner, outer], device),
            down_proj: Projection::build(parameters, &format!("{key}.down_proj"), [outer, inner], device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down_proj.forward(swiglu(self.gate_proj.forward(x.clone()), self.up_proj.forward(x)))
    }
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
    head_dim: usize,
}

impl Olmo2Attention {
    fn build<P: Parameters>(parameters: &mut P, key: &str, config: &Olmo2Config, device: &Device) -> Self {
        let hidden = config.hidden_size;
        let query = config.num_attention_heads * config.head_dim;
        let key_value = config.num_key_value_heads * config.head_dim;
        let epsilon = config.rms_norm_eps;
        Self {
            q_proj: Projection::build(parameters, &format!("{key}.q_proj"), [query, hidden], device),
            k_proj: Projection::build(parameters, &format!("{key}.k_proj"), [key_value, hidden], device),
            v_proj: Projection::build(parameters, &format!("{key}.v_proj"), [key_value, hidden], device),
            o_proj: Projection::build(parameters, &format!("{key}.o_proj"), [hidden, query], device),
            q_norm: RmsNorm::build(parameters, &format!("{key}.q_norm"), query, epsilon, device),
            k_norm: RmsNorm::build(parameters, &format!("{key}.k_norm"), key_value, epsilon, device),
            head_dim: config.head_dim,
        }
    }

    fn forward(&self, x: Tensor<2>, [batch_size, seq_len]: [usize; 2], rotation: &Rotation) -> Tensor<2> {
        let heads = |x: Tensor<2>| {
            let n_heads = x.dims()[1] / self.head_dim;
            x.reshape([batch_size, seq_len, n_heads, self.head_dim]).swap_dims(1, 2)
        };
        let query = heads(rotation.apply(self.q_norm.forward(self.q_proj.forward(x.clone()))));
        let key = heads(rotation.apply(self.k_norm.forward(self.k_proj.forward(x.clone()))));
        let value = heads(self.v_proj.forward(x));
        let mixed = causal_attention(query, key, value);
        let [_, n_heads, _, head_dim] = mixed.dims();
        self.o_proj.forward(mixed.swap_dims(1, 2).reshape([batch_size * seq_len, n_heads * head_dim]))
    }
}

/// One decoder layer: `h = x + norm(attention(x))`, `y = h + norm(mlp(h))`.
#[derive(Module, Debug)]
pub struct Olmo2DecoderLayer {
    self_attn: Olmo2Attention,
    mlp: Olmo2Mlp,
    post_attention_layernorm: RmsNorm,
    post_feedforward_layernorm: RmsNorm,
}

impl Olmo2DecoderLayer {
    fn build<P: Parameters>(parameters: &mut P, key: &str, config: &Olmo2Config, device: &Device) -> Self {
        let norm = |parameters: &mut P, name: &str| {
            RmsNorm::build(parameters, &format!("{key}.{name}"), config.hidden_size, config.rms_norm_eps, device)
        };
        Self {
            self_attn: Olmo2Attention::build(parameters, &format!("{key}.self_attn"), config, device),
            mlp: Olmo2Mlp::build(parameters, &format!("{key}.mlp"), config, device),
            post_attention_layernorm: norm(parameters, "post_attention_layernorm"),
            post_feedforward_layernorm: norm(parameters, "post_feedforward_layernorm"),
        }
    }

    fn forward(&self, x: Tensor<2>, shape: [usize; 2], rotation: &Rotation) -> Tensor<2> {
        let attended = self.self_attn.forward(x.clone(), shape, rotation);
        let x = x + self.post_attention_layernorm.forward(attended);
        x.clone() + self.post_feedforward_layernorm.forward(self.mlp.forward(x))
    }
}

/// The token embedding.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[vocab_size, d_model]`.
    weight: Param<Tensor<2>>,
}

/// The decoder without its output projection.
#[derive(Module, Debug)]
pub struct Olmo2Model {
    embed_tokens: Embedding,
    layers: Vec<Olmo2DecoderLayer>,
    norm: RmsNorm,
}

/// OLMo 2 with its output projection: logits of the next token.
#[derive(Module, Debug)]
pub struct Olmo2ForCausalLM {
    model: Olmo2Model,
    /// Absent when tied to the embedding.
    lm_head: Option<Projection>,
    #[module(skip)]
    rotary: Rotary,
}

impl Olmo2ForCausalLM {
    /// Builds the model from weights given by key.
    pub fn build<P: Parameters>(parameters: &mut P, config: &Olmo2Config, device: &Device) -> Self {
        let embedding_shape = [config.vocab_size, config.hidden_size];
        let embedding = parameters.tensor("model.embed_tokens.weight", embedding_shape, device);
        let layers = (0..config.num_hidden_layers)
            .map(|i| Olmo2DecoderLayer::build(parameters, &format!("model.layers.{i}"), config, device))
            .collect();
        let norm = RmsNorm::build(parameters, "model.norm", config.hidden_size, config.rms_norm_eps, device);
        let lm_head =
            (!config.tie_word_embeddings).then(|| Projection::build(parameters, "lm_head", embedding_shape, device));
        Self {
            model: Olmo2Model { embed_tokens: Embedding { weight: Param::from_tensor(embedding) }, layers, norm },
            lm_head,
            rotary: Rotary::new(config.head_dim, config.rope_theta),
        }
    }

    /// Number of decoder layers.
    pub fn n_layers(&self) -> usize {
        self.model.layers.len()
    }

    /// The residual stream after each of the layers asked for (0 = embeddings), computing no further than the last of
    /// them. The last layer is the un-normed residual, unlike `hidden_states[-1]` of transformers.
    ///
    /// # Shapes
    ///
    /// - `tokens`: `[batch_size, seq_len]`, padded on the right
    /// - output: one `[batch_size, seq_len, d_model]` per entry of `layers`, in its order
    ///
    /// # Panics
    ///
    /// Panics when a layer does not exist.
    pub fn hidden_states(&self, tokens: Tensor<2, Int>, layers: &[usize]) -> Vec<Tensor<3>> {
        let deepest = layers.iter().copied().max().unwrap_or(0);
        assert!(deepest <= self.n_layers(), "layer {deepest} of {}", self.n_layers());
        let shape @ [batch_size, seq_len] = tokens.dims();
        let weight = self.model.embed_tokens.weight.val();
        let d_model = weight.dims()[1];
        let device = weight.device();
        let mut x = weight.select(0, tokens.reshape([batch_size * seq_len]));
        let mut wanted: Vec<Option<Tensor<3>>> = vec![None; layers.len()];
        let mut keep = |layer: usize, x: &Tensor<2>| {
            for (slot, _) in wanted.iter_mut().zip(layers).filter(|(_, wanted)| **wanted == layer) {
                *slot = Some(x.clone().reshape([batch_size, seq_len, d_model]));
            }
        };
        keep(0, &x);
        if deepest > 0 {
            let rotation = self.rotary.rotation(seq_len, &device);
            for (i, layer) in self.model.layers[..deepest].iter().enumerate() {
                x = layer.forward(x, shape, &rotation);
                keep(i + 1, &x);
            }
        }
        wanted.into_iter().map(|x| x.expect("every layer up to the deepest was visited")).collect()
    }

    /// Logits of the next token at every position.
    ///
    /// # Shapes
    ///
    /// - `tokens`: `[batch_size, seq_len]`, padded on the right
    /// - output: `[batch_size, seq_len, vocab_size]`
    pub fn logits(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let hidden = self.hidden_states(tokens, &[self.n_layers()]).remove(0);
        let [batch_size, seq_len, d_model] = hidden.dims();
        let logits = self.logits_of(hidden.reshape([batch_size * seq_len, d_model]));
        let vocab_size = logits.dims()[1];
        logits.reshape([batch_size, seq_len, vocab_size])
    }

    /// Logits of single positions, from their un-normed residuals at the last layer: the part of [`Self::logits`] after
    /// the decoder, for callers that need only some positions.
    ///
    /// # Shapes
    ///
    /// - `hidden`: `[n_tokens, d_model]`
    /// - output: `[n_tokens, vocab_size]`
    pub fn logits_of(&self, hidden: Tensor<2>) -> Tensor<2> {
        let normed = self.model.norm.forward(hidden);
        match &self.lm_head {
            Some(lm_head) => lm_head.forward(normed),
            None => normed.matmul(self.model.embed_tokens.weight.val().transpose()),
        }
    }
}
