//! Keys and values of tokens already read, so that generating a token costs one token's work.
//!
//! On the CPU every text has a cache of its own and grows at its own pace; a GPU keeps one tensor per layer for a whole
//! batch, filled up on the left so that all texts end, and grow, in the same column.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::attention::Heads;

/// Keys and values of one text on the CPU.
#[derive(Debug, Clone, Default)]
pub struct TextCache {
    layers: Vec<TextLayer>,
    n_tokens: usize,
}

/// One layer's keys and values, row-major `[n_tokens, n_key_value_heads · head_dim]`.
#[derive(Debug, Clone, Default)]
pub struct TextLayer {
    /// Rotated keys.
    pub keys: Vec<f32>,
    /// Values.
    pub values: Vec<f32>,
}

impl TextCache {
    /// Tokens whose pass is complete.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// To be called when a pass over `n_new` tokens is complete.
    pub fn advance(&mut self, n_new: usize) {
        self.n_tokens += n_new;
    }

    /// Appends keys and values of new tokens to a layer, and returns all of it.
    pub fn append(&mut self, heads: Heads, keys: &[f32], values: &[f32]) -> &TextLayer {
        if self.layers.len() <= heads.layer {
            self.layers.resize_with(heads.layer + 1, TextLayer::default);
        }
        let layer = &mut self.layers[heads.layer];
        layer.keys.extend_from_slice(keys);
        layer.values.extend_from_slice(values);
        layer
    }
}

/// Keys and values of a batch of texts on a GPU, each filled up on the left.
#[derive(Debug)]
pub struct BatchCache {
    /// Per layer keys and values, `[n_rows, n_key_value_heads, capacity, head_dim]`.
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    /// Columns of filling per row.
    padding: Vec<usize>,
    n_columns: usize,
    capacity: usize,
}

impl BatchCache {
    /// An empty cache for texts of the given lengths that will grow by at most `n_more` tokens.
    pub fn new(lengths: &[usize], n_more: usize) -> Self {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let padding = lengths.iter().map(|length| longest - length).collect();
        Self { layers: Vec::new(), padding, n_columns: 0, capacity: longest + n_more }
    }

    /// Columns whose pass is complete.
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Columns of filling per row.
    pub fn padding(&self) -> &[usize] {
        &self.padding
    }

    /// To be called when a pass over `n_new` columns is complete.
    pub fn advance(&mut self, n_new: usize) {
        self.n_columns += n_new;
    }

    /// Writes keys and values of new columns, `[n_rows, n_key_value_heads, n_new, head_dim]`, and returns those of all
    /// columns so far.
    pub fn append(&mut self, layer: usize, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [n_rows, n_heads, n_new, head_dim] = keys.dims();
        if self.layers.len() == layer {
            let empty = || Tensor::zeros([n_rows, n_heads, self.capacity, head_dim], (&keys.device(), keys.dtype()));
            self.layers.push((empty(), empty()));
        }
        let end = self.n_columns + n_new;
        let place: [Range<usize>; 4] = [0..n_rows, 0..n_heads, self.n_columns..end, 0..head_dim];
        let (all_keys, all_values) = &mut self.layers[layer];
        let write = |all: &mut Tensor<4>, new: Tensor<4>| {
            // Taken out, so that nobody else holds it and it can be written in place.
            let taken = std::mem::replace(all, Tensor::zeros([1, 1, 1, 1], (&new.device(), new.dtype())));
            *all = taken.slice_assign(place.clone(), new);
            all.clone().narrow(2, 0, end)
        };
        (write(all_keys, keys), write(all_values, values))
    }

    /// Keeps only the given rows.
    pub fn select(&mut self, rows: &[usize], device: &Device) {
        let ids: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows.len()]), device);
        for (keys, values) in &mut self.layers {
            *keys = keys.clone().select(0, ids.clone());
            *values = values.clone().select(0, ids.clone());
        }
        self.padding = rows.iter().map(|row| self.padding[*row]).collect();
    }
}
