//! Rotary position embedding (Su et al. 2021) in the half-split layout that Hugging Face's OLMo 2 and Llama use:
//! dimension `i` is rotated together with dimension `i + head_dim / 2`, by `position · θ^(−2i / head_dim)`.

use std::sync::{Arc, Mutex};

use burn::tensor::{Device, Tensor, TensorData};

use super::cpu;

/// Cosines and sines of positions `0..seq_len`, `[seq_len, head_dim / 2]` row-major.
#[derive(Debug)]
struct Table {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// The rotary embedding of a model: knows the frequencies and keeps the longest table it has needed.
#[derive(Debug, Clone)]
pub struct Rotary {
    head_dim: usize,
    theta: f64,
    longest: Arc<Mutex<Arc<Table>>>,
}

/// The rotation of one sequence length, shared by all layers of a forward pass.
#[derive(Debug, Clone)]
pub struct Rotation {
    table: Arc<Table>,
    seq_len: usize,
    half: usize,
    /// `[1, seq_len, 1, half]` each, where the fast path does not apply.
    tensors: Option<(Tensor<4>, Tensor<4>)>,
}

impl Rotary {
    /// Rotary embedding for heads of `head_dim` (even) with base `theta`.
    pub fn new(head_dim: usize, theta: f64) -> Self {
        let empty = Arc::new(Table { cos: Vec::new(), sin: Vec::new() });
        Self { head_dim, theta, longest: Arc::new(Mutex::new(empty)) }
    }

    /// The rotation of positions `0..seq_len`.
    pub fn rotation(&self, seq_len: usize, device: &Device) -> Rotation {
        let half = self.head_dim / 2;
        let table = {
            let mut longest = self.longest.lock().expect("building a table does not panic");
            if longest.cos.len() < seq_len * half {
                *longest = Arc::new(self.table(seq_len.next_power_of_two()));
            }
            longest.clone()
        };
        let tensors = (!cpu::applies(device)).then(|| {
            let tensor = |values: &[f32]| {
                let data = TensorData::new(values[..seq_len * half].to_vec(), [1, seq_len, 1, half]);
                Tensor::from_data(data, device)
            };
            (tensor(&table.cos), tensor(&table.sin))
        });
        Rotation { table, seq_len, half, tensors }
    }

    fn table(&self, seq_len: usize) -> Table {
        let half = self.head_dim / 2;
        // In f32 as transformers computes it: the angles of far positions depend on this rounding.
        let inverse_frequencies: Vec<f32> =
            (0..half).map(|i| 1.0 / (self.theta as f32).powf((2 * i) as f32 / self.head_dim as f32)).collect();
        let angles = || (0..seq_len).flat_map(|position| inverse_frequencies.iter().map(move |f| position as f32 * f));
        Table { cos: angles().map(f32::cos).collect(), sin: angles().map(f32::sin).collect() }
    }
}

impl Rotation {
    /// Rotates queries or keys.
    ///
    /// # Shapes
    ///
    /// - `x`, output: `[batch_size · seq_len, n_heads · head_dim]`
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let (seq_len, half) = (self.seq_len, self.half);
        let Some((cos, sin)) = &self.tensors else {
            let used = ..seq_len * half;
            return cpu::rotate(x, half, &self.table.cos[used], &self.table.sin[used]);
        };
        let [n_tokens, d_token] = x.dims();
        let x = x.reshape([n_tokens / seq_len, seq_len, d_token / (2 * half), 2 * half]);
        let first = x.clone().narrow(3, 0, half);
        let second = x.narrow(3, half, half);
        let rotated_first = first.clone() * cos.clone() - second.clone() * sin.clone();
        let rotated_second = second * cos.clone() + first * sin.clone();
        Tensor::cat(vec![rotated_first, rotated_second], 3).reshape([n_tokens, d_token])
    }
}
