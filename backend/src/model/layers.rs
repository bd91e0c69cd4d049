//! What decoder layers of every architecture are made of: projections without bias, norms, attention.
//!
//! Weights keep Hugging Face's shapes (`[d_output, d_input]`), so a checkpoint loads and saves without transposing.

use burn::module::{Module, Param};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Tensor, activation};

use crate::device;

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
        let mean_square = x.clone().square().mean_dim(1);
        x / (mean_square + self.epsilon).sqrt() * self.weight.val().unsqueeze()
    }
}

/// SiLU, `x · σ(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::silu(x)
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
    let device = query.device();
    if device::is_cpu(&device) && !device.is_autodiff() {
        // Fused and exact on the CPU.
        let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
        return attention(query, key, value, None, None, options);
    }
    // Elsewhere the fused kernel works in f16 fragments, and it has no gradient: the plain form keeps f32.
    let scale = 1.0 / (head_dim as f64).sqrt();
    let scores = query.matmul(key.swap_dims(2, 3)) * scale;
    let future = Tensor::<2, burn::tensor::Bool>::tril_mask([seq_len, seq_len], 0, &device);
    let scores = scores.mask_fill(future.unsqueeze(), f32::NEG_INFINITY);
    activation::softmax(scores, 3).matmul(value)
}
