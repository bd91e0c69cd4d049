//! Rotary position embedding (Su et al. 2021) in the half-split layout that Hugging Face's OLMo 2 and Llama use:
//! dimension `i` is rotated together with dimension `i + head_dim / 2`, by `position · θ^(−2i / head_dim)`.

use std::sync::{Arc, Mutex};

use burn::tensor::{Device, Tensor, TensorData};

/// Cosines and sines of one sequence length, `[1, 1, seq_len, head_dim / 2]` each.
#[derive(Debug, Clone)]
pub struct Rotation {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

/// The rotary embedding of a model: knows the frequencies, keeps the table of the last sequence length it served.
#[derive(Debug, Clone)]
pub struct Rotary {
    head_dim: usize,
    theta: f64,
    last: Arc<Mutex<Vec<(usize, Device, Rotation)>>>,
}

/// Tables kept: a few recent lengths cover length-sorted batches and two threads at different lengths.
const TABLES_KEPT: usize = 16;

impl Rotary {
    /// Rotary embedding for heads of `head_dim` (even) with base `theta`.
    pub fn new(head_dim: usize, theta: f64) -> Self {
        Self { head_dim, theta, last: Arc::default() }
    }

    /// The rotation of positions `0..seq_len`.
    pub fn rotation(&self, seq_len: usize, device: &Device) -> Rotation {
        let mut tables = self.last.lock().expect("building a table does not panic");
        let same = |(len, on, _): &(usize, Device, Rotation)| {
            *len == seq_len && on == device && on.is_autodiff() == device.is_autodiff()
        };
        if let Some((_, _, rotation)) = tables.iter().find(|entry| same(entry)) {
            return rotation.clone();
        }
        let half = self.head_dim / 2;
        let (mut cos, mut sin) = (Vec::with_capacity(seq_len * half), Vec::with_capacity(seq_len * half));
        // In f32 as transformers computes it: the angles of far positions depend on this rounding.
        let inverse_frequencies: Vec<f32> =
            (0..half).map(|i| 1.0 / (self.theta as f32).powf((2 * i) as f32 / self.head_dim as f32)).collect();
        for position in 0..seq_len {
            for inverse_frequency in &inverse_frequencies {
                let angle = position as f32 * inverse_frequency;
                cos.push(angle.cos());
                sin.push(angle.sin());
            }
        }
        let table = |values| Tensor::from_data(TensorData::new(values, [1, 1, seq_len, half]), device);
        let rotation = Rotation { cos: table(cos), sin: table(sin) };
        if tables.len() == TABLES_KEPT {
            tables.remove(0);
        }
        tables.push((seq_len, device.clone(), rotation.clone()));
        rotation
    }
}

impl Rotation {
    /// Rotates queries or keys.
    ///
    /// # Shapes
    ///
    /// - `x`, output: `[batch_size, n_heads, seq_len, head_dim]`
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let first = x.clone().narrow(3, 0, half);
        let second = x.narrow(3, half, half);
        let rotated_first = first.clone() * self.cos.clone() - second.clone() * self.sin.clone();
        let rotated_second = second * self.cos.clone() + first * self.sin.clone();
        Tensor::cat(vec![rotated_first, rotated_second], 3)
    }
}
