//! What decoder layers of every architecture are made of: projections, norms, the gated MLP, and what makes a decoder of
//! them. Attention is in [`super::attention`].
//!
//! Weights keep Hugging Face's shapes (`[d_output, d_input]`), so a checkpoint loads and saves without transposing. The
//! residual stream, norms and attention are always f32; where weights are kept in half precision, matrix products with
//! them are done in it and the result is widened again.

use std::fmt::Debug;

use burn::module::{Module, ModuleDisplay, Param};
use burn::tensor::{DType, Device, Int, Tensor, activation};

use super::attention::{Pass, Place};
use super::config::ModelConfig;
use super::lora::Lora;
use super::{cpu, cpu_gradients};

/// Gives an architecture its weights by key: from a checkpoint, or random for training from scratch.
pub trait Parameters {
    /// The weight `key` of the given shape. Matrices may come in half precision, vectors come in f32.
    fn tensor<const D: usize>(&mut self, key: &str, shape: [usize; D], device: &Device) -> Tensor<D>;
}

/// A linear projection: `y = x Wᵀ`, plus a bias in the architectures that have one.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[d_output, d_input]`.
    pub weight: Param<Tensor<2>>,
    /// `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Trained in place of the weight, where there is one.
    pub(super) lora: Option<Lora>,
}

impl Projection {
    /// Takes `key.weight` from `parameters`.
    pub fn build<P: Parameters>(parameters: &mut P, key: &str, shape: [usize; 2], device: &Device) -> Self {
        let weight = parameters.tensor(&format!("{key}.weight"), shape, device);
        Self { weight: Param::from_tensor(weight), bias: None, lora: None }
    }

    /// Takes `key.weight` and `key.bias` from `parameters`.
    pub fn build_with_bias<P: Parameters>(parameters: &mut P, key: &str, shape: [usize; 2], device: &Device) -> Self {
        let bias = parameters.tensor(&format!("{key}.bias"), [shape[0]], device);
        Self { bias: Some(Param::from_tensor(bias)), ..Self::build(parameters, key, shape, device) }
    }

    /// # Shapes
    ///
    /// - `x`: `[n_tokens, d_input]`, f32
    /// - output: `[n_tokens, d_output]`, f32
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let adapted = self.lora.as_ref().map(|lora| lora.forward(x.clone()));
        let y = matmul_wide(x, self.weight.val().transpose());
        let y = match adapted {
            Some(adapted) => y + adapted,
            None => y,
        };
        match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }
}

/// `x · weight` with f32 in and out, computed in the type of `weight`.
fn matmul_wide(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    match weight.dtype() {
        DType::F32 => x.matmul(weight),
        half => x.cast(half).matmul(weight).cast(DType::F32),
    }
}

/// Root-mean-square norm: `y = x / √(mean(x²) + ε) · weight` (Zhang & Sennrich 2019), over the last dimension.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[d_model]`.
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
}

impl RmsNorm {
    /// Takes `key.weight` from `parameters`.
    pub fn build<P: Parameters>(parameters: &mut P, key: &str, d_model: usize, epsilon: f64, device: &Device) -> Self {
        let weight = parameters.tensor(&format!("{key}.weight"), [d_model], device);
        Self { weight: Param::from_tensor(weight), epsilon }
    }

    /// # Shapes
    ///
    /// - `x`, output: `[n_tokens, d_model]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let weight = self.weight.val();
        if cpu::applies(&x.device()) {
            return cpu::rms_norm(x, weight, self.epsilon);
        }
        if cpu_gradients::applies(&x.device()) {
            return cpu_gradients::rms_norm(x, weight, self.epsilon);
        }
        let mean_square = x.clone().square().mean_dim(1);
        x / (mean_square + self.epsilon).sqrt() * weight.unsqueeze()
    }

    /// The same norm over every head of its own.
    ///
    /// # Shapes
    ///
    /// - `x`, output: `[n_tokens, n_heads · head_dim]`, where the norm's weight has `head_dim` elements
    pub fn forward_heads(&self, x: Tensor<2>) -> Tensor<2> {
        let [n_tokens, d_token] = x.dims();
        let head_dim = self.weight.dims()[0];
        self.forward(x.reshape([n_tokens * d_token / head_dim, head_dim])).reshape([n_tokens, d_token])
    }
}

/// SwiGLU: `down(silu(gate(x)) · up(x))` (Shazeer 2020).
#[derive(Module, Debug)]
pub struct Mlp {
    gate_proj: Projection,
    up_proj: Projection,
    down_proj: Projection,
}

impl Mlp {
    /// Takes `key.gate_proj`, `key.up_proj` and `key.down_proj` from `parameters`.
    pub fn build<P: Parameters>(parameters: &mut P, key: &str, config: &ModelConfig, device: &Device) -> Self {
        let (outer, inner) = (config.hidden_size, config.intermediate_size);
        Self {
            gate_proj: Projection::build(parameters, &format!("{key}.gate_proj"), [inner, outer], device),
            up_proj: Projection::build(parameters, &format!("{key}.up_proj"), [inner, outer], device),
            down_proj: Projection::build(parameters, &format!("{key}.down_proj"), [outer, inner], device),
        }
    }

    /// # Shapes
    ///
    /// - `x`, output: `[n_tokens, d_model]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down_proj.forward(swiglu(self.gate_proj.forward(x.clone()), self.up_proj.forward(x)))
    }

    /// Its projections by name.
    pub(super) fn projections(&mut self) -> [(&'static str, &mut Projection); 3] {
        [("gate_proj", &mut self.gate_proj), ("up_proj", &mut self.up_proj), ("down_proj", &mut self.down_proj)]
    }
}

/// `silu(gate) · up`, the inside of a gated MLP, with `silu(x) = x · σ(x)`.
///
/// # Shapes
///
/// - `gate`, `up`, output: `[n_tokens, d_inner]`
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    if cpu::applies(&gate.device()) {
        return cpu::swiglu(gate, up);
    }
    if cpu_gradients::applies(&gate.device()) {
        return cpu_gradients::swiglu(gate, up);
    }
    activation::silu(gate) * up
}

/// The token embedding.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[vocab_size, d_model]`.
    pub weight: Param<Tensor<2>>,
}

/// One decoder layer of an architecture.
pub trait DecoderLayer: Module + ModuleDisplay + Debug {
    /// Builds layer `layer` (from 0) from the weights under `key`.
    fn build<P: Parameters>(parameters: &mut P, key: &str, config: &ModelConfig, layer: usize, device: &Device)
    -> Self;

    /// # Shapes
    ///
    /// - `x`, output: `[n_tokens, d_model]`
    fn forward(&self, x: Tensor<2>, pass: &Pass) -> Tensor<2>;

    /// All projections by key below the layer, such as `mlp.up_proj`.
    fn projections(&mut self) -> Vec<(String, &mut Projection)>;
}

/// What may change the residual stream on its way: called with a layer's number (0 = embeddings) and the stream after it,
/// `[n_tokens, d_model]`, it returns what goes on from there.
pub type Hook<'a> = Option<&'a dyn Fn(usize, Tensor<2>) -> Tensor<2>>;

/// The decoder without its output projection.
#[derive(Module, Debug)]
struct Body<L: Module> {
    embed_tokens: Embedding,
    layers: Vec<L>,
    norm: RmsNorm,
}

/// A decoder with its output projection: logits of the next token.
#[derive(Module, Debug)]
pub struct Decoder<L: Module> {
    model: Body<L>,
    /// Absent when tied to the embedding.
    lm_head: Option<Projection>,
}

impl<L: DecoderLayer> Decoder<L> {
    /// Builds the decoder from weights given by key.
    pub fn build<P: Parameters>(parameters: &mut P, config: &ModelConfig, device: &Device) -> Self {
        let embedding_shape = [config.vocab_size, config.hidden_size];
        let embedding = parameters.tensor("model.embed_tokens.weight", embedding_shape, device);
        let layers = (0..config.num_hidden_layers)
            .map(|i| L::build(parameters, &format!("model.layers.{i}"), config, i, device))
            .collect();
        let norm = RmsNorm::build(parameters, "model.norm", config.hidden_size, config.rms_norm_eps, device);
        let lm_head =
            (!config.tie_word_embeddings).then(|| Projection::build(parameters, "lm_head", embedding_shape, device));
        Self {
            model: Body { embed_tokens: Embedding { weight: Param::from_tensor(embedding) }, layers, norm },
            lm_head,
        }
    }

    /// Number of decoder layers.
    pub fn n_layers(&self) -> usize {
        self.model.layers.len()
    }

    /// Where the weights are, and in which type.
    pub fn place(&self) -> Place {
        let weight = self.model.embed_tokens.weight.val();
        Place { device: weight.device(), dtype: weight.dtype() }
    }

    /// The residual stream after each of `layers` (0 = embeddings), computing no further than the last of them; `hook` may
    /// change it after every layer.
    ///
    /// # Shapes
    ///
    /// - `tokens`: `[n_tokens]`
    /// - output: one `[n_tokens, d_model]` per entry of `layers`, in its order, f32
    pub fn residuals(&self, tokens: Tensor<1, Int>, pass: &Pass, layers: &[usize], hook: Hook) -> Vec<Tensor<2>> {
        let deepest = layers.iter().copied().max().unwrap_or(0);
        assert!(deepest <= self.n_layers(), "layer {deepest} of {}", self.n_layers());
        let hooked = |layer: usize, x: Tensor<2>| match hook {
            Some(hook) => hook(layer, x),
            None => x,
        };
        let mut x = hooked(0, self.embed(tokens));
        let mut wanted: Vec<Option<Tensor<2>>> = vec![None; layers.len()];
        let mut keep = |layer: usize, x: &Tensor<2>| {
            for (slot, _) in wanted.iter_mut().zip(layers).filter(|(_, wanted)| **wanted == layer) {
                *slot = Some(x.clone());
            }
        };
        keep(0, &x);
        for (i, layer) in self.model.layers[..deepest].iter().enumerate() {
            x = hooked(i + 1, layer.forward(x, pass));
            keep(i + 1, &x);
        }
        wanted.into_iter().map(|x| x.expect("every layer up to the deepest was visited")).collect()
    }

    /// The residual stream before the first layer.
    ///
    /// # Shapes
    ///
    /// - `tokens`: `[n_tokens]`
    /// - output: `[n_tokens, d_model]`, f32
    pub fn embed(&self, tokens: Tensor<1, Int>) -> Tensor<2> {
        self.model.embed_tokens.weight.val().select(0, tokens).cast(DType::F32)
    }

    /// The residual stream after layer `layer` (from 0) alone.
    ///
    /// # Shapes
    ///
    /// - `x`, output: `[n_tokens, d_model]`
    pub fn forward_layer(&self, layer: usize, x: Tensor<2>, pass: &Pass) -> Tensor<2> {
        self.model.layers[layer].forward(x, pass)
    }

    /// The projections of all layers by checkpoint key, without `.weight`.
    pub(super) fn projections(&mut self) -> Vec<(String, &mut Projection)> {
        let mut all = Vec::new();
        for (i, layer) in self.model.layers.iter_mut().enumerate() {
            let of_layer = layer.projections().into_iter();
            all.extend(of_layer.map(|(name, projection)| (format!("model.layers.{i}.{name}"), projection)));
        }
        all
    }

    /// Logits from un-normed residuals at the last layer.
    ///
    /// # Shapes
    ///
    /// - `hidden`: `[n_tokens, d_model]`
    /// - output: `[n_tokens, vocab_size]`, f32
    pub fn logits_of(&self, hidden: Tensor<2>) -> Tensor<2> {
        let normed = self.model.norm.forward(hidden);
        match &self.lm_head {
            Some(lm_head) => lm_head.forward(normed),
            None => matmul_wide(normed, self.model.embed_tokens.weight.val().transpose()),
        }
    }
}
