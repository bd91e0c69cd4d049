//! What the CPU computes between matrix products when no gradient is needed, each as one pass over memory in place.
//!
//! The tensor library does these element by element with a scalar exponential and a fresh tensor per operation; on small
//! and middle-sized models that costs more than the matrix products. The loops here vectorise: eight lanes where the
//! processor has AVX2, four elsewhere, with the same operations in the same order and no fused multiply-add, so the
//! result is the same bits on every x86-64 and Arm machine.

use burn::tensor::{Device, Tensor, TensorData};

use crate::device;

/// Running sums or maxima per row; also the widest vector register the loops are written for.
const LANES: usize = 16;

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

/// Softmax over the keys each query may see. `scores` is `[n, n_queries, n_keys]`; query `i` of a block sees the first
/// `first_query + i + 1` keys, the rest becomes 0.
#[inline(always)]
fn causal_softmax_slices(scores: &mut [f32], n_queries: usize, n_keys: usize, first_query: usize, scale: f32) {
    for (i, row) in scores.chunks_exact_mut(n_keys).enumerate() {
        let (seen, future) = row.split_at_mut(first_query + i % n_queries + 1);
        future.fill(0.0);
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

/// Rotates every head of every token: `x` is `[n_tokens, n_heads, 2·half]`, `cos` and `sin` are `[seq_len, half]`, and
/// token `t` has position `t % seq_len`.
#[inline(always)]
fn rotate_slices(x: &mut [f32], d_token: usize, half: usize, cos: &[f32], sin: &[f32]) {
    let seq_len = cos.len() / half;
    for (t, token) in x.chunks_exact_mut(d_token).enumerate() {
        let position = t % seq_len * half;
        let (cos, sin) = (&cos[position..position + half], &sin[position..position + half]);
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
vectorised!(causal_softmax_in_place, causal_softmax_slices,
    (scores: &mut [f32], n_queries: usize, n_keys: usize, first_query: usize, scale: f32));
vectorised!(rotate_in_place, rotate_slices,
    (x: &mut [f32], d_token: usize, half: usize, cos: &[f32], sin: &[f32]));

fn floats(data: &TensorData) -> &[f32] {
    data.as_slice::<f32>().expect("tensors on the CPU are f32")
}

/// Changes a tensor in place when nobody else holds it, a copy otherwise.
fn change<const D: usize>(x: Tensor<D>, change: impl FnOnce(&mut [f32])) -> Tensor<D> {
    let device = x.device();
    let mut data = x.into_data();
    change(data.as_mut_slice::<f32>().expect("tensors on the CPU are f32"));
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

/// Rotary embedding in place: `x` is `[batch_size · seq_len, n_heads · head_dim]`, `cos` and `sin` are
/// `[seq_len · head_dim / 2]`.
pub fn rotate(x: Tensor<2>, half: usize, cos: &[f32], sin: &[f32]) -> Tensor<2> {
    let d_token = x.dims()[1];
    change(x, |x| rotate_in_place(x, d_token, half, cos, sin))
}

/// Causal attention, as [`super::layers::causal_attention`], in blocks of queries.
///
/// # Shapes
///
/// - `query`, `key`, `value`, output: `[batch_size, n_heads, seq_len, head_dim]`
pub fn attention(query: &Tensor<4>, key: Tensor<4>, value: &Tensor<4>) -> Tensor<4> {
    let [_, _, seq_len, head_dim] = query.dims();
    let scale = 1.0 / (head_dim as f32).sqrt();
    let key = key.swap_dims(2, 3);
    let mut blocks = Vec::with_capacity(seq_len.div_ceil(QUERY_BLOCK));
    for first in (0..seq_len).step_by(QUERY_BLOCK) {
        let n_queries = QUERY_BLOCK.min(seq_len - first);
        let n_keys = first + n_queries;
        let scores = query.clone().narrow(2, first, n_queries).matmul(key.clone().narrow(3, 0, n_keys));
        let weights = change(scores, |scores| causal_softmax_in_place(scores, n_queries, n_keys, first, scale));
        blocks.push(weights.matmul(value.clone().narrow(2, 0, n_keys)));
    }
    if blocks.len() == 1 { blocks.remove(0) } else { Tensor::cat(blocks, 2) }
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
        causal_softmax_in_place(&mut a, 37, 41, 4, 0.25);
        causal_softmax_slices(&mut b, 37, 41, 4, 0.25);
        assert!(a.iter().zip(&b).all(|(x, y)| x.to_bits() == y.to_bits()));
        let weight = wave(41, 0.9, 1.0);
        rms_norm_in_place(&mut a, &weight, 1e-5);
        rms_norm_slices(&mut b, &weight, 1e-5);
        assert!(a.iter().zip(&b).all(|(x, y)| x.to_bits() == y.to_bits()));
    }

    #[test]
    fn softmax_rows_sum_to_one_and_hide_the_future() {
        let mut scores = wave(2 * 5 * 9, 1.7, 30.0);
        causal_softmax_in_place(&mut scores, 5, 9, 4, 0.5);
        for (i, row) in scores.chunks(9).enumerate() {
            let seen = 4 + i % 5 + 1;
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert!(row[seen..].iter().all(|x| *x == 0.0) && row[..seen].iter().all(|x| *x >= 0.0));
        }
    }

    #[test]
    fn blocks_of_queries_equal_plain_attention() {
        let device = device::open(device::DeviceChoice::Cpu).unwrap().device;
        let shape = [2, 3, 2 * QUERY_BLOCK + 17, 8];
        let tensor =
            |step| Tensor::<4>::from_data(TensorData::new(wave(shape.iter().product(), step, 1.0), shape), &device);
        let (query, key, value) = (tensor(0.37), tensor(0.73), tensor(0.11));
        let ours = attention(&query, key.clone(), &value).into_data();
        let plain = super::super::layers::plain_attention(query, key, value).into_data();
        for (a, b) in floats(&ours).iter().zip(floats(&plain)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
