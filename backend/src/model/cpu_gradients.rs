//! What the CPU computes between matrix products when gradients are asked for: each operation of [`super::cpu`] with a way
//! back of its own, one pass over memory each way.
//!
//! The tensor library's own gradients are right but go element by element through many small tensors; for a small model
//! that costs more than the matrix products. Here an operation is one node of the library's graph: [`recorded`] hangs a
//! function and its derivative into it. The loops round like those of [`super::cpu`].

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::attention::Heads;
use super::cpu::{self, Sees, floats, floats_mut};
use crate::device;
use crate::device::graph::{Backward, Checkpointer, Gradients, NoCheckpointing, Ops, OpsKind, Plain, Recording};

/// Queries attended at once: keys beyond the block's last query are never touched.
const QUERY_BLOCK: usize = 128;

/// Whether a tensor's operations may be recorded here: it lives on the CPU and gradients are asked for.
pub fn applies(device: &Device) -> bool {
    device.is_autodiff() && device::is_cpu(device)
}

/// From what was kept on the way there and the slope of the output to the slopes of the inputs.
type WayBack<S, const N: usize> = fn(S, Tensor<2>) -> [Tensor<2>; N];

struct Operation<S, const N: usize>(WayBack<S, N>);

impl<S, const N: usize> std::fmt::Debug for Operation<S, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Operation")
    }
}

impl<S: Clone + Send + std::fmt::Debug + 'static, const N: usize> Backward<Plain, N> for Operation<S, N> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let slope = Tensor::from_primitive::<Plain>(gradients.consume::<Plain>(&ops.node));
        let slopes = (self.0)(ops.state, slope);
        for (parent, slope) in ops.parents.into_iter().zip(slopes) {
            if let Some(parent) = parent {
                gradients.register::<Plain>(parent.id, primitive(slope));
            }
        }
    }
}

fn primitive(x: Tensor<2>) -> device::graph::Primitive {
    x.try_into_primitive::<Plain>().expect("it lives on the CPU, without gradients")
}

/// Computes `forward` of `inputs`, and hangs it into the graph with `back` as its derivative. `forward` returns the output
/// and what `back` needs.
fn recorded<S, const N: usize>(
    inputs: [Tensor<2>; N],
    forward: impl FnOnce([Tensor<2>; N]) -> (Tensor<2>, S),
    back: WayBack<S, N>,
) -> Tensor<2>
where
    S: Clone + Send + std::fmt::Debug + 'static,
{
    let parts = inputs.map(|x| {
        let x = x.try_into_primitive::<Recording>().expect("it lives on the CPU, with gradients");
        x.into_parts()
    });
    let mut plain = Vec::with_capacity(N);
    let nodes = parts.map(|(x, node)| {
        plain.push(Tensor::from_primitive::<Plain>(x));
        node
    });
    let plain: [Tensor<2>; N] = plain.try_into().expect("as many as there were");
    let (output, state) = forward(plain);
    let output = primitive(output);
    let output = match Operation(back).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(state, output),
        OpsKind::UnTracked(step) => step.finish(output),
    };
    Tensor::from_primitive::<Recording>(output)
}

/// As [`cpu::swiglu`].
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    recorded(
        [gate, up],
        |[gate, up]| (cpu::swiglu(gate.clone(), up.clone()), (gate, up)),
        |(gate, up), slope| {
            let device = gate.device();
            let (mut gate, mut up, slope) = (gate.into_data(), up.into_data(), slope.into_data());
            cpu::swiglu_back_in_place(floats_mut(&mut gate), floats_mut(&mut up), floats(&slope));
            [Tensor::from_data(gate, &device), Tensor::from_data(up, &device)]
        },
    )
}

/// As [`cpu::rms_norm`].
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64) -> Tensor<2> {
    recorded(
        [x, weight.unsqueeze()],
        |[x, weight]| {
            let flat = weight.clone().reshape([weight.dims()[1]]);
            (cpu::rms_norm(x.clone(), flat, epsilon), (x, weight, epsilon))
        },
        |(x, weight, epsilon), slope| {
            let device = x.device();
            let (x, weight, mut slope) = (x.into_data(), weight.into_data(), slope.into_data());
            let d = weight.num_elements();
            let mut slope_of_weight = vec![0f32; d];
            let slopes = floats_mut(&mut slope);
            cpu::rms_norm_back_in_place(slopes, &mut slope_of_weight, floats(&x), floats(&weight), epsilon as f32);
            let slope_of_weight = Tensor::from_data(TensorData::new(slope_of_weight, [1, d]), &device);
            [Tensor::from_data(slope, &device), slope_of_weight]
        },
    )
}

/// How the tokens of a pass are rotated: tables of cosines and sines, `[n_positions, half]`, and a position per token.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Position of every token.
    pub positions: Arc<Vec<u32>>,
    /// Half the width of a head.
    pub half: usize,
    /// Of the angles of every position.
    pub cos: Arc<[f32]>,
    /// Of the same.
    pub sin: Arc<[f32]>,
}

/// As [`cpu::rotate`].
pub fn rotate(x: Tensor<2>, turn: &Turn) -> Tensor<2> {
    recorded(
        [x],
        |[x]| (cpu::rotate(x, &turn.positions, turn.half, [&turn.cos, &turn.sin]), turn.clone()),
        |turn, slope| {
            let back: Vec<f32> = turn.sin.iter().map(|sin| -sin).collect();
            [cpu::rotate(slope, &turn.positions, turn.half, [&turn.cos, &back])]
        },
    )
}

/// Log-probability of a token per row of logits: `[n_rows, vocab_size]` in, `[n_rows, 1]` out.
pub fn logps(logits: Tensor<2>, targets: &[u32]) -> Tensor<2> {
    let targets: Arc<[u32]> = targets.into();
    recorded(
        [logits],
        |[logits]| {
            let (n_rows, device) = (targets.len(), logits.device());
            // Normalised in place: what the way back needs.
            let mut data = logits.into_data();
            let values = floats_mut(&mut data);
            let vocab_size = values.len() / n_rows.max(1);
            let mut logps = Vec::with_capacity(n_rows);
            for (row, target) in values.chunks_exact_mut(vocab_size.max(1)).zip(targets.iter()) {
                logps.push(cpu::normalise_logits(row, *target as usize));
            }
            let probabilities = Tensor::<2>::from_data(data, &device);
            (Tensor::from_data(TensorData::new(logps, [n_rows, 1]), &device), (probabilities, targets.clone()))
        },
        |(probabilities, targets), slope| {
            let device = probabilities.device();
            let (mut data, slope) = (probabilities.into_data(), slope.into_data());
            let values = floats_mut(&mut data);
            let vocab_size = values.len() / targets.len().max(1);
            for ((row, target), slope) in
                values.chunks_exact_mut(vocab_size.max(1)).zip(targets.iter()).zip(floats(&slope))
            {
                for p in row.iter_mut() {
                    *p *= -slope;
                }
                row[*target as usize] += slope;
            }
            [Tensor::from_data(data, &device)]
        },
    )
}

/// What attention keeps for the way back.
#[derive(Debug, Clone)]
struct Attended {
    heads: Heads,
    n_rows: usize,
    seq_len: usize,
    qkv: [Tensor<2>; 3],
    /// By block of queries: `[n_rows, n_key_value_heads, n_groups · n_queries, n_keys]`.
    weights: Vec<Tensor<4>>,
}

/// Which queries and keys a block has.
struct Block {
    first: usize,
    n: usize,
    start: usize,
    end: usize,
}

fn blocks(seq_len: usize, window: Option<usize>) -> impl Iterator<Item = Block> {
    let window = window.unwrap_or(usize::MAX);
    (0..seq_len).step_by(QUERY_BLOCK).map(move |first| {
        let n = QUERY_BLOCK.min(seq_len - first);
        Block { first, n, start: (first + 1).saturating_sub(window), end: first + n }
    })
}

impl Attended {
    /// `[n_rows · seq_len, n_heads · head_dim]` to `[n_rows, n_heads, seq_len, head_dim]`.
    fn split(&self, x: Tensor<2>) -> Tensor<4> {
        let n_heads = x.dims()[1] / self.heads.head_dim;
        x.reshape([self.n_rows, self.seq_len, n_heads, self.heads.head_dim]).swap_dims(1, 2)
    }

    /// The other way.
    fn join(&self, x: Tensor<4>) -> Tensor<2> {
        let d_token = x.dims()[1] * self.heads.head_dim;
        x.swap_dims(1, 2).reshape([self.n_rows * self.seq_len, d_token])
    }

    /// The queries, or what has their shape, of a block: those that share a key head are rows of one product.
    fn queries(&self, x: &Tensor<4>, block: &Block) -> Tensor<4> {
        let n_groups = self.heads.n_heads / self.heads.n_key_value_heads;
        let shape = [self.n_rows, self.heads.n_key_value_heads, n_groups * block.n, self.heads.head_dim];
        x.clone().narrow(2, block.first, block.n).reshape(shape)
    }

    fn scale(&self) -> f32 {
        1.0 / (self.heads.head_dim as f32).sqrt()
    }

    fn there(&mut self) -> Tensor<2> {
        let [query, key, value] = self.qkv.clone().map(|x| self.split(x));
        let key = key.swap_dims(2, 3);
        let mut mixed = Vec::new();
        for block in blocks(self.seq_len, self.heads.window) {
            let n_keys = block.end - block.start;
            let scores = self.queries(&query, &block).matmul(key.clone().narrow(3, block.start, n_keys));
            let sees = Sees {
                n_queries: block.n,
                n_keys,
                first_query: block.first - block.start,
                window: self.heads.window.unwrap_or(usize::MAX),
            };
            let weights = cpu::causal_softmax(scores, sees, self.scale());
            let out = weights.clone().matmul(value.clone().narrow(2, block.start, n_keys));
            mixed.push(out.reshape([self.n_rows, self.heads.n_heads, block.n, self.heads.head_dim]));
            self.weights.push(weights);
        }
        let mixed = if mixed.len() == 1 { mixed.remove(0) } else { Tensor::cat(mixed, 2) };
        self.join(mixed)
    }

    fn back(self, slope: Tensor<2>) -> [Tensor<2>; 3] {
        let [query, key, value] = self.qkv.clone().map(|x| self.split(x));
        let slope = self.split(slope);
        let (mut slope_of_query, mut slope_of_key, mut slope_of_value) = (Vec::new(), None, None);
        let whole = key.dims();
        for (block, weights) in blocks(self.seq_len, self.heads.window).zip(self.weights.clone()) {
            let n_keys = block.end - block.start;
            let (queries, slopes) = (self.queries(&query, &block), self.queries(&slope, &block));
            let keys = key.clone().narrow(2, block.start, n_keys);
            let values = value.clone().narrow(2, block.start, n_keys);
            let of_weights = slopes.clone().matmul(values.swap_dims(2, 3));
            let of_scores = cpu::softmax_back(of_weights, weights.clone(), self.scale());
            let of_queries = of_scores.clone().matmul(keys);
            slope_of_query.push(of_queries.reshape([self.n_rows, self.heads.n_heads, block.n, self.heads.head_dim]));
            add_at(&mut slope_of_key, of_scores.swap_dims(2, 3).matmul(queries), &block, whole);
            add_at(&mut slope_of_value, weights.swap_dims(2, 3).matmul(slopes), &block, whole);
        }
        let slope_of_query =
            if slope_of_query.len() == 1 { slope_of_query.remove(0) } else { Tensor::cat(slope_of_query, 2) };
        let all = "a text has at least one token";
        [slope_of_query, slope_of_key.expect(all), slope_of_value.expect(all)].map(|x| self.join(x))
    }
}

/// Adds a block's slopes to those of all keys.
fn add_at(sum: &mut Option<Tensor<4>>, of_block: Tensor<4>, block: &Block, whole: [usize; 4]) {
    let n_keys = block.end - block.start;
    *sum = Some(match sum.take() {
        None if n_keys == whole[2] => of_block,
        None => Tensor::zeros(whole, &of_block.device()).slice_assign(places(whole, block), of_block),
        Some(sum) => {
            let earlier = sum.clone().narrow(2, block.start, n_keys);
            sum.slice_assign(places(whole, block), earlier + of_block)
        }
    });
}

fn places(whole: [usize; 4], block: &Block) -> [std::ops::Range<usize>; 4] {
    [0..whole[0], 0..whole[1], block.start..block.end, 0..whole[3]]
}

/// Causal attention over whole texts of `seq_len` columns, as [`cpu::attend_rows`].
///
/// # Shapes
///
/// - query, output: `[n_rows · seq_len, n_heads · head_dim]`
/// - key, value: `[n_rows · seq_len, n_key_value_heads · head_dim]`
pub fn attend_rows(heads: Heads, qkv: [Tensor<2>; 3], n_rows: usize, seq_len: usize) -> Tensor<2> {
    recorded(
        qkv,
        |qkv| {
            let mut attended = Attended { heads, n_rows, seq_len, qkv, weights: Vec::new() };
            (attended.there(), attended)
        },
        Attended::back,
    )
}
