//! What decoder layers of every architecture are made of: projections without bias, norms, attention.
//!
//! Weights keep Hugging Face's shapes (`[d_output, d_input]`), so a checkpoint loads and saves without transposing.

use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Tensor, activation};

use super::cpu;

/// Gives an architecture its weights by key: from a checkpoint, or random for training from scratch.
pub trait Parameters {
    /// The weight `key` of the given shape.
    fn tensor<const D: usize>(&mut self, key: &str, shape: [usize; D], device: &Device) -> Tensor<D>;
}

/// A linear projection without bias: `y = x Wᵀ`.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[d_output, d_input]`.
    pub weight: Param<Tensor<2>>,
}

impl Projection {
    /// Takes `key.weight` from `parameters`.
    pub fn build<P: Parameters>(parameters: &mut P, key: &str, shape: [usize; 2], device: &Device) -> Self {
        Self { weight: Param::from_tensor(parameters.tensor(&format!("{key}.weight"), shape, device)) }
    }

    /// # Shapes
    ///
    /// - `x`: `[n_tokens, d_input]`
    /// - output: `[n_tokens, d_output]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val().transpose())
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
        let mean_square = x.clone().square().mean_dim(1);
        x / (mean_square + self.epsilon).sqrt() * weight.unsqueeze()
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
    activation::silu(gate) * up
}

/// Causal scaled dot-product attention with grouped key and value heads.
///
/// Padding is on the right, so causality alone keeps real tokens from seeing padding and no mask is needed.
///
/// # Shapes
///
/// - `query`: `[batch_size, n_heads, seq_len, head_dim]`
/// - `key`, `value`: `[batch_size, n_key_value_heads, seq_len, head_dim]`
/// - output: `[batch_size, n_heads, seq_len, head_dim]`
pub fn causal_attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    let [batch_size, n_heads, seq_len, head_dim] = query.dims();
    let n_groups = n_heads / key.dims()[1];
    let repeat = |x: Tensor<4>| {
        if n_groups == 1 {
            return x;
        }
        let n_key_value_heads = n_heads / n_groups;
        x.unsqueeze_dim::<5>(2)
            .expand([batch_size, n_key_value_heads, n_groups, seq_len, head_dim])
            .reshape([batch_size, n_heads, seq_len, head_dim])
    };
    let (key, value) = (repeat(key), repeat(value));
    if cpu::applies(&query.device()) {
        return cpu::attention(&query, key, &value);
    }
    plain_attention(query, key, value)
}

/// Causal attention by whole matrices, with gradients, in f32 on every device: fused GPU kernels work in f16 fragments.
///
/// # Shapes
///
/// - `query`, `key`, `value`, output: `[batch_size, n_heads, seq_len, head_dim]`
pub(super) fn plain_attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    let [_, _, seq_len, head_dim] = query.dims();
    let scale = 1.0 / (head_dim as f64).sqrt();
    let future = Tensor::<2, Bool>::tril_mask([seq_len, seq_len], 0, &query.device());
    let scores = query.matmul(key.swap_dims(2, 3)) * scale;
    let scores = scores.mask_fill(future.unsqueeze(), f32::NEG_INFINITY);
    activation::softmax(scores, 3).matmul(value)
}
