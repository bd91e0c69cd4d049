//! What the CPU computes between matrix products when no gradient is needed, each as one pass over memory in place.
//!
//! The tensor library does these element by element with a scalar exponential and a fresh tensor per operation; on small
//! and middle-sized models that costs more than the matrix products. The loops here vectorise: eight lanes where the
//! processor has AVX2, four elsewhere, with the same operations in the same order and no fused multiply-add, so the
//! result is the same bits on every x86-64 and Arm machine.

use burn::tensor::{Device, Tensor, TensorData};

use super::attention::{Heads, RowShape};
use super::cache::TextCache;
use crate::device;

/// Running sums or maxima per row; also the widest vector register the loops are written for.
const LANES: usize = 16;

/// Which keys the queries of a block see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sees {
    pub(super) n_queries: usize,
    pub(super) n_keys: usize,
    /// The key that belongs to the first query.
    pub(super) first_query: usize,
    /// How many keys, its own included, a query sees at most.
    pub(super) window: usize,
}

/// Queries attended at once: keys beyond the block's last query are never touched, which halves the work of long texts
/// and bounds the memory of the scores.
const QUERY_BLOCK: usize = 128;

/// Whether a tensor's operations may be done here: it lives on the CPU and no gradient is asked for.
pub fn applies(device: &Device) -> bool {
    device::is_cpu(device) && !device.is_autodiff()
}

/// `eˣ` for x in [−87, 88], clamped outside; relative error below 2·10⁻⁷.
///
/// Range reduction by powers of two and the degree-5 polynomial of Cephes `expf` (Moshier 1992). Rounding to the nearest
/// power is done by adding a constant that pushes the fraction out of the mantissa: unlike `round`, it vectorises on
/// every machine.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, so that n · ln 2 is exact enough.
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut y = 1.987_569_1e-4f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
        y = y * r + coefficient;
    }
    let y = y * (r * r) + r + 1.0;
    // The low bits of `shifted` hold n: moved into the exponent they are 2ⁿ.
    y * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3F80_0000))
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = combine(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// `gate ← silu(gate) · up`.
#[inline(always)]
fn swiglu_slices(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + exp(-*g)) * *u;
    }
}

/// Every row of `x`, `[n_rows, weight.len()]`, divided by its root mean square and scaled by `weight`.
#[inline(always)]
fn rms_norm_slices(x: &mut [f32], weight: &[f32], epsilon: f32) {
    for row in x.chunks_exact_mut(weight.len()) {
        let mut sums = [0f32; LANES];
        let (chunks, rest) = row.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                sums[lane] += chunk[lane] * chunk[lane];
            }
        }
        for (sum, value) in sums.iter_mut().zip(rest) {
            *sum += value * value;
        }
        let mean_square = fold(sums, |a, b| a + b) / weight.len() as f32;
        let scale = 1.0 / (mean_square + epsilon).sqrt();
        for (value, w) in row.iter_mut().zip(weight) {
            *value = *value * scale * *w;
        }
    }
}

/// The way back of [`swiglu_slices`]: `gate` and `up` become the slopes in them, `slope` being that in the output.
#[inline(always)]
fn swiglu_back_slices(gate: &mut [f32], up: &mut [f32], slope: &[f32]) {
    for ((g, u), slope) in gate.iter_mut().zip(up).zip(slope) {
        let sigmoid = 1.0 / (1.0 + exp(-*g));
        let silu = *g * sigmoid;
        *g = *slope * *u * (sigmoid + silu * (1.0 - sigmoid));
        *u = *slope * silu;
    }
}

/// The way back of [`rms_norm_slices`]: `slope`, that in the output, becomes that in `x`; that in the weight is added to
/// `slope_of_weight`.
#[inline(always)]
fn rms_norm_back_slices(slope: &mut [f32], slope_of_weight: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
    let d = weight.len();
    for (slope, x) in slope.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
        let (mut squares, mut products) = ([0f32; LANES], [0f32; LANES]);
        let (x_chunks, x_rest) = x.as_chunks::<LANES>();
        let (s_chunks, s_rest) = slope.as_chunks::<LANES>();
        let (w_chunks, w_rest) = weight.as_chunks::<LANES>();
        for ((x, s), w) in x_chunks.iter().zip(s_chunks).zip(w_chunks) {
            for lane in 0..LANES {
                squares[lane] += x[lane] * x[lane];
                products[lane] += x[lane] * s[lane] * w[lane];
            }
        }
        for (i, ((x, s), w)) in x_rest.iter().zip(s_rest).zip(w_rest).enumerate() {
            squares[i] += x * x;
            products[i] += x * s * w;
        }
        let scale = 1.0 / (fold(squares, |a, b| a + b) / d as f32 + epsilon).sqrt();
        let along = fold(products, |a, b| a + b) * scale * scale * scale / d as f32;
        for (((slope, of_weight), x), w) in slope.iter_mut().zip(slope_of_weight.iter_mut()).zip(x).zip(weight) {
            *of_weight += *slope * *x * scale;
            *slope = *slope * *w * scale - *x * along;
        }
    }
}

/// The way back of a softmax over rows of `n_keys`: `slope`, that in the weights, becomes that in the unscaled scores.
#[inline(always)]
fn softmax_back_slices(slope: &mut [f32], weights: &[f32], n_keys: usize, scale: f32) {
    for (slope, weights) in slope.chunks_exact_mut(n_keys).zip(weights.chunks_exact(n_keys)) {
        let mut sums = [0f32; LANES];
        let (s_chunks, s_rest) = slope.as_chunks::<LANES>();
        let (w_chunks, w_rest) = weights.as_chunks::<LANES>();
        for (s, w) in s_chunks.iter().zip(w_chunks) {
            for lane in 0..LANES {
                sums[lane] += s[lane] * w[lane];
            }
        }
        for (sum, (s, w)) in sums.iter_mut().zip(s_rest.iter().zip(w_rest)) {
            *sum += s * w;
        }
        let mean = fold(sums, |a, b| a + b);
        for (slope, weight) in slope.iter_mut().zip(weights) {
            *slope = (*slope - mean) * *weight * scale;
        }
    }
}

/// `x ← x · factor`.
#[inline(always)]
fn scale_slices(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

/// Softmax over the keys each query may see. `scores` is `[n, n_queries, n_keys]`; query `i` of a block has key
/// `first_query + i` for its own and sees it and the `window − 1` before it; the rest becomes 0.
#[inline(always)]
fn causal_softmax_slices(scores: &mut [f32], sees: Sees, scale: f32) {
    for (i, row) in scores.chunks_exact_mut(sees.n_keys).enumerate() {
        let own = sees.first_query + i % sees.n_queries;
        let (row, future) = row.split_at_mut(own + 1);
        let (past, seen) = row.split_at_mut((own + 1).saturating_sub(sees.window));
        future.fill(0.0);
        past.fill(0.0);
        let mut maxima = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = seen.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                maxima[lane] = if chunk[lane] > maxima[lane] { chunk[lane] } else { maxima[lane] };
            }
        }
        for (maximum, value) in maxima.iter_mut().zip(rest) {
            *maximum = maximum.max(*value);
        }
        let maximum = fold(maxima, f32::max);
        let mut sums = [0f32; LANES];
        let (chunks, rest) = seen.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                chunk[lane] = exp((chunk[lane] - maximum) * scale);
                sums[lane] += chunk[lane];
            }
        }
        for (sum, value) in sums.iter_mut().zip(rest) {
            *value = exp((*value - maximum) * scale);
            *sum += *value;
        }
        let share = 1.0 / fold(sums, |a, b| a + b);
        for value in seen {
            *value *= share;
        }
    }
}

/// Rotates every head of every token: `x` is `[n_tokens, n_heads, 2·half]`, `cos` and `sin` are `[n_positions, half]`.
#[inline(always)]
fn rotate_slices(x: &mut [f32], positions: &[u32], half: usize, cos: &[f32], sin: &[f32]) {
    let d_token = x.len() / positions.len().max(1);
    for (token, position) in x.chunks_exact_mut(d_token.max(1)).zip(positions) {
        let row = *position as usize * half..(*position as usize + 1) * half;
        let (cos, sin) = (&cos[row.clone()], &sin[row]);
        for head in token.chunks_exact_mut(2 * half) {
            let (first, second) = head.split_at_mut(half);
            for i in 0..half {
                let (a, b) = (first[i], second[i]);
                first[i] = a * cos[i] - b * sin[i];
                second[i] = b * cos[i] + a * sin[i];
            }
        }
    }
}

/// One token's attention over all keys of its text, the last of which is its own: `query` and `out` are
/// `[n_heads, head_dim]`, `keys` and `values` `[n_keys, n_key_value_heads, head_dim]`. `out` must be zero.
#[inline(always)]
fn attend_one_slices(out: &mut [f32], query: &[f32], keys: &[f32], values: &[f32], heads: Heads) {
    let (d, d_key) = (heads.head_dim, heads.d_key_value());
    let n_groups = heads.n_heads / heads.n_key_value_heads;
    let n_keys = keys.len() / d_key;
    let start = n_keys.saturating_sub(heads.window.unwrap_or(usize::MAX));
    let scale = 1.0 / (d as f32).sqrt();
    let mut weights = vec![0f32; n_keys - start];
    for (h, (out, query)) in out.chunks_exact_mut(d).zip(query.chunks_exact(d)).enumerate() {
        let column = h / n_groups * d;
        let row = |all: &'_ [f32], t: usize| -> std::ops::Range<usize> {
            let first = (start + t) * d_key + column;
            debug_assert!(first + d <= all.len());
            first..first + d
        };
        for (t, weight) in weights.iter_mut().enumerate() {
            let mut sums = [0f32; LANES];
            let (a, a_rest) = query.as_chunks::<LANES>();
            let (b, b_rest) = keys[row(keys, t)].as_chunks::<LANES>();
            for (a, b) in a.iter().zip(b) {
                for lane in 0..LANES {
                    sums[lane] += a[lane] * b[lane];
                }
            }
            for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
                *sum += a * b;
            }
            *weight = fold(sums, |a, b| a + b);
        }
        let n_keys = weights.len();
        let sees = Sees { n_queries: 1, n_keys, first_query: n_keys - 1, window: usize::MAX };
        causal_softmax_slices(&mut weights, sees, scale);
        for (t, weight) in weights.iter().enumerate() {
            for (out, value) in out.iter_mut().zip(&values[row(values, t)]) {
                *out += weight * value;
            }
        }
    }
}

/// `x ← eˣ⁻ˢʰⁱᶠᵗ`.
#[inline(always)]
fn exp_shifted_slices(x: &mut [f32], shift: f32) {
    for x in x {
        *x = exp(*x - shift);
    }
}

/// Defines `$name`, which runs `$body` compiled for AVX2 where the processor has it and for the baseline elsewhere.
macro_rules! vectorised {
    ($name:ident, $body:ident, ($($argument:ident: $kind:ty),*)) => {
        fn $name($($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($argument: $kind),*) {
                    $body($($argument),*);
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2, the only requirement of `wide`.
                    return unsafe { wide($($argument),*) };
                }
            }
            $body($($argument),*);
        }
    };
}

vectorised!(swiglu_in_place, swiglu_slices, (gate: &mut [f32], up: &[f32]));
vectorised!(rms_norm_in_place, rms_norm_slices, (x: &mut [f32], weight: &[f32], epsilon: f32));
vectorised!(causal_softmax_in_place, causal_softmax_slices, (scores: &mut [f32], sees: Sees, scale: f32));
vectorised!(rotate_in_place, rotate_slices, (x: &mut [f32], positions: &[u32], half: usize, cos: &[f32], sin: &[f32]));
vectorised!(exp_shifted_in_place, exp_shifted_slices, (x: &mut [f32], shift: f32));
vectorised!(swiglu_back, swiglu_back_slices, (gate: &mut [f32], up: &mut [f32], slope: &[f32]));
vectorised!(rms_norm_back, rms_norm_back_slices,
    (slope: &mut [f32], slope_of_weight: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32));
vectorised!(softmax_back_in_place, softmax_back_slices, (slope: &mut [f32], weights: &[f32], n_keys: usize, scale: f32));
vectorised!(scale_in_place, scale_slices, (x: &mut [f32], factor: f32));
vectorised!(attend_one_in_place, attend_one_slices,
    (out: &mut [f32], query: &[f32], keys: &[f32], values: &[f32], heads: Heads));

pub(super) fn floats(data: &TensorData) -> &[f32] {
    data.as_slice::<f32>().expect("tensors on the CPU are f32")
}

pub(super) fn floats_mut(data: &mut TensorData) -> &mut [f32] {
    data.as_mut_slice::<f32>().expect("tensors on the CPU are f32")
}

/// Changes a tensor in place when nobody else holds it, a copy otherwise.
fn change<const D: usize>(x: Tensor<D>, change: impl FnOnce(&mut [f32])) -> Tensor<D> {
    let device = x.device();
    let mut data = x.into_data();
    change(floats_mut(&mut data));
    Tensor::from_data(data, &device)
}

/// `silu(gate) · up`, element by element; both of the same shape.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    let up = up.into_data();
    change(gate, |gate| swiglu_in_place(gate, floats(&up)))
}

/// Root-mean-square norm over the last dimension: `x` is `[n_tokens, d]`, `weight` `[d]`.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let weight = weight.into_data();
    change(x, |x| rms_norm_in_place(x, floats(&weight), epsilon as f32))
}

/// Log-probabilities of one token per row of logits: `[n_rows, vocab_size]` in, `[n_rows]` out.
pub fn logps(logits: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let device = logits.device();
    let vocab_size = logits.dims()[1];
    let mut logits = logits.into_data();
    let logits = logits.as_mut_slice::<f32>().expect("tensors on the CPU are f32");
    let logps: Vec<f32> = logits
        .chunks_exact_mut(vocab_size)
        .zip(targets)
        .map(|(row, target)| {
            let chosen = row[*target as usize];
            let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            exp_shifted_in_place(row, highest);
            let total: f64 = row.iter().map(|x| f64::from(*x)).sum();
            (f64::from(chosen) - f64::from(highest) - total.ln()) as f32
        })
        .collect();
    Tensor::from_data(TensorData::new(logps, [targets.len()]), &device)
}

/// The way back of [`swiglu`]: `gate` and `up` become the slopes in them.
pub(super) fn swiglu_back_in_place(gate: &mut [f32], up: &mut [f32], slope: &[f32]) {
    swiglu_back(gate, up, slope);
}

/// The way back of [`rms_norm`]: `slope` becomes that in `x`; that in the weight is added to `slope_of_weight`.
pub(super) fn rms_norm_back_in_place(
    slope: &mut [f32],
    slope_of_weight: &mut [f32],
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
) {
    rms_norm_back(slope, slope_of_weight, x, weight, epsilon);
}

/// Softmax over the keys that each query sees; `scores` is `[…, n_groups · n_queries, n_keys]`.
pub(super) fn causal_softmax(scores: Tensor<4>, sees: Sees, scale: f32) -> Tensor<4> {
    change(scores, |scores| causal_softmax_in_place(scores, sees, scale))
}

/// The way back of [`causal_softmax`], from the slope in the weights to that in the scores.
pub(super) fn softmax_back(slope: Tensor<4>, weights: Tensor<4>, scale: f32) -> Tensor<4> {
    let n_keys = weights.dims()[3];
    let weights = weights.into_data();
    change(slope, |slope| softmax_back_in_place(slope, floats(&weights), n_keys, scale))
}

/// One row of logits becomes probabilities; returns the log-probability of `target`.
pub(super) fn normalise_logits(row: &mut [f32], target: usize) -> f32 {
    let logit = row[target];
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    exp_shifted_in_place(row, highest);
    let total: f64 = row.iter().map(|x| f64::from(*x)).sum();
    scale_in_place(row, (1.0 / total) as f32);
    (f64::from(logit) - f64::from(highest) - total.ln()) as f32
}

/// Rotary embedding in place: `x` is `[n_tokens, n_heads · head_dim]`, `positions` `[n_tokens]`, `cos` and `sin` are
/// `[n_positions, head_dim / 2]`.
pub fn rotate(x: Tensor<2>, positions: &[u32], half: usize, [cos, sin]: [&[f32]; 2]) -> Tensor<2> {
    change(x, |x| rotate_in_place(x, positions, half, cos, sin))
}

/// Causal attention over whole texts, and over texts that share their beginning, in blocks of queries.
///
/// # Shapes
///
/// - query, output: `[n_rows · seq_len, n_heads · head_dim]`
/// - key, value: `[n_rows · seq_len, n_key_value_heads · head_dim]`
pub fn attend_rows(heads: Heads, qkv: [Tensor<2>; 3], rows: &[RowShape], seq_len: usize) -> Tensor<2> {
    let n_rows = rows.len();
    let [query, key, value] = qkv.map(|x| {
        let n_heads = x.dims()[1] / heads.head_dim;
        x.reshape([n_rows, seq_len, n_heads, heads.head_dim]).swap_dims(1, 2)
    });
    let mixed = match rows {
        [RowShape { trunk, branches: [first, second] }] if *second > 0 => {
            let behind = trunk + first;
            let part = |x: &Tensor<4>, start: usize, n: usize| x.clone().narrow(2, start, n);
            // Neither text is longer for the other one's sake: each branch is attended as the text it is.
            let with_trunk = |x: &Tensor<4>| match *trunk {
                0 => part(x, behind, *second),
                trunk => Tensor::cat(vec![part(x, 0, trunk), part(x, behind, *second)], 2),
            };
            let second = attention(heads, &part(&query, behind, *second), &with_trunk(&key), &with_trunk(&value));
            if behind == 0 {
                second
            } else {
                let [q, k, v] = [&query, &key, &value].map(|x| part(x, 0, behind));
                Tensor::cat(vec![attention(heads, &q, &k, &v), second], 2)
            }
        }
        _ => attention(heads, &query, &key, &value),
    };
    mixed.swap_dims(1, 2).reshape([n_rows * seq_len, heads.d_query()])
}

/// Causal attention in blocks of queries; the last keys are the queries' own.
///
/// # Shapes
///
/// - `query`, output: `[n_rows, n_heads, n_queries, head_dim]`
/// - `key`, `value`: `[n_rows, n_key_value_heads, n_keys, head_dim]`
fn attention(heads: Heads, query: &Tensor<4>, key: &Tensor<4>, value: &Tensor<4>) -> Tensor<4> {
    let [n_rows, n_heads, n_queries, head_dim] = query.dims();
    let n_groups = n_heads / heads.n_key_value_heads;
    let first_query = key.dims()[2] - n_queries;
    let window = heads.window.unwrap_or(usize::MAX);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let key = key.clone().swap_dims(2, 3);
    let mut blocks = Vec::with_capacity(n_queries.div_ceil(QUERY_BLOCK));
    for first in (0..n_queries).step_by(QUERY_BLOCK) {
        let n = QUERY_BLOCK.min(n_queries - first);
        // Keys that at least one query of the block sees.
        let end = first_query + first + n;
        let start = (first_query + first + 1).saturating_sub(window);
        // Query heads that share a key head are more rows of the same product.
        let grouped = [n_rows, heads.n_key_value_heads, n_groups * n, head_dim];
        let queries = query.clone().narrow(2, first, n).reshape(grouped);
        let scores = queries.matmul(key.clone().narrow(3, start, end - start));
        let sees = Sees { n_queries: n, n_keys: end - start, first_query: first_query + first - start, window };
        let weights = change(scores, |scores| causal_softmax_in_place(scores, sees, scale));
        let mixed = weights.matmul(value.clone().narrow(2, start, end - start));
        blocks.push(mixed.reshape([n_rows, n_heads, n, head_dim]));
    }
    if blocks.len() == 1 { blocks.remove(0) } else { Tensor::cat(blocks, 2) }
}

/// Attention over what caches remember, which first take in the new keys and values: all of a first text, or one token of
/// each of several texts.
///
/// # Shapes
///
/// As [`attend_rows`], with one text, or one token per text.
pub fn attend_cached(heads: Heads, qkv: [Tensor<2>; 3], caches: &mut [&mut TextCache]) -> Tensor<2> {
    let [query, key, value] = qkv;
    let [n_tokens, d_query] = query.dims();
    let device = query.device();
    let (keys, values) = (key.clone().into_data(), value.clone().into_data());
    if let [cache] = caches
        && cache.n_tokens() == 0
    {
        cache.append(heads, floats(&keys), floats(&values));
        return attend_rows(heads, [query, key, value], &[RowShape::text(n_tokens)], n_tokens);
    }
    let query = query.into_data();
    let mut mixed = vec![0f32; n_tokens * d_query];
    let d_key = heads.d_key_value();
    let new = floats(&keys).chunks_exact(d_key).zip(floats(&values).chunks_exact(d_key));
    let queries = floats(&query).chunks_exact(d_query);
    for ((cache, (key, value)), (out, query)) in
        caches.iter_mut().zip(new).zip(mixed.chunks_exact_mut(d_query).zip(queries))
    {
        let layer = cache.append(heads, key, value);
        attend_one_in_place(out, query, &layer.keys, &layer.values, heads);
    }
    Tensor::from_data(TensorData::new(mixed, [n_tokens, d_query]), &device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, step: f32, scale: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin() * scale).collect()
    }

    #[test]
    fn exp_is_exact_to_single_precision() {
        for i in -870..880 {
            let x = i as f32 * 0.1 + 0.013;
            let x = x.clamp(-87.0, 88.0);
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.5e-7, "exp({x}) = {} not {exact}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(1e9).is_finite());
    }

    #[test]
    fn wide_and_narrow_code_give_the_same_bits() {
        let (mut a, up) = (wave(1003, 0.7, 9.0), wave(1003, 1.1, 2.0));
        let mut b = a.clone();
        swiglu_in_place(&mut a, &up);
        swiglu_slices(&mut b, &up);
        assert!(a.iter().zip(&b).all(|(x, y)| x.to_bits() == y.to_bits()));
        let (mut a, mut b) = (wave(37 * 41, 0.3, 5.0), wave(37 * 41, 0.3, 5.0));
        let sees = Sees { n_queries: 37, n_keys: 41, first_query: 4, window: 23 };
        causal_softmax_in_place(&mut a, sees, 0.25);
        causal_softmax_slices(&mut b, sees, 0.25);
        assert!(a.iter().zip(&b).all(|(x, y)| x.to_bits() == y.to_bits()));
        let weight = wave(41, 0.9, 1.0);
        rms_norm_in_place(&mut a, &weight, 1e-5);
        rms_norm_slices(&mut b, &weight, 1e-5);
        assert!(a.iter().zip(&b).all(|(x, y)| x.to_bits() == y.to_bits()));
    }

    #[test]
    fn softmax_rows_sum_to_one_and_hide_what_may_not_be_seen() {
        for window in [1, 3, usize::MAX] {
            let mut scores = wave(2 * 5 * 9, 1.7, 30.0);
            let sees = Sees { n_queries: 5, n_keys: 9, first_query: 4, window };
            causal_softmax_in_place(&mut scores, sees, 0.5);
            for (i, row) in scores.chunks(9).enumerate() {
                let own = 4 + i % 5;
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                for (key, weight) in row.iter().enumerate() {
                    let is_seen = key <= own && own - key < window;
                    assert!(if is_seen { *weight >= 0.0 } else { *weight == 0.0 }, "{window} {i} {key} {weight}");
                }
            }
        }
    }

    fn heads(n_key_value_heads: usize, window: Option<usize>) -> Heads {
        Heads { layer: 0, n_heads: 4, n_key_value_heads, head_dim: 8, window }
    }

    /// Attention straight from its definition, in f64: one text, `[n_tokens, n_heads · head_dim]`.
    fn by_definition(heads: Heads, query: &[f32], key: &[f32], value: &[f32]) -> Vec<f64> {
        let (d, d_query, d_key) = (heads.head_dim, heads.d_query(), heads.d_key_value());
        let n_groups = heads.n_heads / heads.n_key_value_heads;
        let mut out = vec![0.0; query.len()];
        for i in 0..query.len() / d_query {
            for h in 0..heads.n_heads {
                let q = i * d_query + h * d;
                let k = |j: usize| j * d_key + h / n_groups * d;
                let seen: Vec<usize> = (0..=i).filter(|j| i - j < heads.window.unwrap_or(usize::MAX)).collect();
                let product = |j: &usize| (0..d).map(|x| f64::from(query[q + x]) * f64::from(key[k(*j) + x])).sum();
                let scores: Vec<f64> = seen.iter().map(product).collect();
                let weights: Vec<f64> = scores.iter().map(|s: &f64| (s / (d as f64).sqrt()).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (j, weight) in seen.iter().zip(&weights) {
                    for x in 0..d {
                        out[q + x] += weight / total * f64::from(value[k(*j) + x]);
                    }
                }
            }
        }
        out
    }

    fn close(ours: &[f32], exact: &[f64]) {
        assert_eq!(ours.len(), exact.len());
        for (i, (a, b)) in ours.iter().zip(exact).enumerate() {
            assert!((f64::from(*a) - b).abs() < 1e-5, "{i}: {a} {b}");
        }
    }

    #[test]
    fn blocks_groups_windows_branches_and_caches_all_equal_the_definition() {
        let device = device::open(device::DeviceChoice::Cpu).unwrap().device;
        for (n_key_value_heads, window) in [(4, None), (2, None), (1, Some(5)), (2, Some(QUERY_BLOCK + 3))] {
            let heads = heads(n_key_value_heads, window);
            let (trunk, first, second) = (QUERY_BLOCK + 7, 9, QUERY_BLOCK + 20);
            let n = trunk + first + second;
            let (query, key, value) = (
                wave(n * heads.d_query(), 0.37, 1.0),
                wave(n * heads.d_key_value(), 0.73, 1.0),
                wave(n * heads.d_key_value(), 0.11, 1.0),
            );
            let tensor = |values: &[f32]| {
                Tensor::<2>::from_data(TensorData::new(values.to_vec(), [n, values.len() / n]), &device)
            };
            let qkv = || [tensor(&query), tensor(&key), tensor(&value)];

            let whole = attend_rows(heads, qkv(), &[RowShape::text(n)], n).into_data();
            let exact = by_definition(heads, &query, &key, &value);
            close(floats(&whole), &exact);

            let row = RowShape { trunk, branches: [first, second] };
            let branched = attend_rows(heads, qkv(), &[row], n).into_data();
            let (branched, d) = (floats(&branched), heads.d_query());
            close(&branched[..(trunk + first) * d], &exact[..(trunk + first) * d]);
            let without_first = |x: &[f32]| {
                let d = x.len() / n;
                [&x[..trunk * d], &x[(trunk + first) * d..]].concat()
            };
            let [q, k, v] = [&query, &key, &value].map(|x| without_first(x));
            close(&branched[(trunk + first) * d..], &by_definition(heads, &q, &k, &v)[trunk * d..]);

            let mut cache = TextCache::default();
            for (start, end) in std::iter::once((0, n - 3)).chain((n - 3..n).map(|t| (t, t + 1))) {
                let part = qkv().map(|x| x.narrow(0, start, end - start));
                let grown = attend_cached(heads, part, &mut [&mut cache]).into_data();
                close(floats(&grown), &exact[start * d..end * d]);
                cache.advance(end - start);
            }
        }
    }
}
