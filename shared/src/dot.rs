//! Dot products and norms with a fixed summation order.
//!
//! Sixteen running sums, one per lane, folded pairwise at the end. The order depends on the length alone, no fused
//! multiply-add is used, and Rust never reorders floats: so a 128-bit wasm unit, an AVX unit and scalar code give
//! identical bits ([`lanes`](crate::lanes)).

use std::ops::AddAssign;

use crate::lanes::{LANES, Sums};

/// `Σ a[i]·b[i]` in f32, in the fixed order. Both slices have the same length.
///
/// # Panics
///
/// Panics when the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "dot product of vectors of different length");
    let mut sums = Sums::default();
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        sums.add_products(x, y);
    }
    let mut sums = sums.to_array();
    for (lane, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] += x * y;
    }
    fold(sums)
}

/// Euclidean norm in f32, in the fixed order; ≥ 0.
pub fn norm(a: &[f32]) -> f32 {
    dot(a, a).sqrt()
}

/// The lanes' sum, the upper half onto the lower until one is left; `N` is a power of two.
pub(crate) fn fold<T: Copy + AddAssign, const N: usize>(mut sums: [T; N]) -> T {
    let mut width = N / 2;
    while width > 0 {
        for lane in 0..width {
            let upper = sums[lane + width];
            sums[lane] += upper;
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, step: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn agrees_with_f64_at_every_length() {
        for n in 0..100 {
            let (a, b) = (wave(n, 0.7), wave(n, 1.3));
            let exact: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            assert!((f64::from(dot(&a, &b)) - exact).abs() < 1e-5, "length {n}");
        }
    }

    #[test]
    fn order_is_fixed() {
        // The exact bits are the promise: a change of order is a change of format.
        let (a, b) = (wave(1000, 0.37), wave(1000, 0.91));
        let mut sums = [0f32; LANES];
        for i in 0..1000 {
            sums[i % LANES] += a[i] * b[i];
        }
        let pairs = |v: &[f32]| (0..v.len() / 2).map(|i| v[i] + v[i + v.len() / 2]).collect::<Vec<_>>();
        let folded = pairs(&pairs(&pairs(&pairs(&sums))));
        assert_eq!(dot(&a, &b).to_bits(), folded[0].to_bits());
    }

    #[test]
    #[should_panic(expected = "different length")]
    fn refuses_different_lengths() {
        dot(&[1.0], &[1.0, 2.0]);
    }
}
