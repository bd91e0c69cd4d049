//! Rotated rows to int8 blocks, with norms that make the bounds hold.
//!
//! Symmetric quantisation with one scale per row and block. Whatever the rounding does, the error is measured afterwards
//! on the numbers as they are stored, so the bound holds for any input.

use super::block::MAX_CODE;

/// What sums of squares in f64 may lose to rounding: 2⁻⁵³ per term at most, for up to 2¹⁶ terms, and some.
const ROUNDING: f64 = 1.0 + 1e-10;

/// Quantises one block of one rotated row of at most unit length: writes `codes` and returns `(scale, error_norm)`.
///
/// `scale` is max|x| / 127 in f32; `error_norm` is at least the norm of (block − scale · codes). A block whose scale
/// vanishes in f32 has zero codes and its own norm as error.
///
/// # Panics
///
/// Panics when `codes` is not as long as `block`.
pub fn quantize(block: &[f64], codes: &mut [i8]) -> (f32, f32) {
    assert_eq!(block.len(), codes.len(), "one code per dimension");
    let largest = block.iter().fold(0f64, |largest, x| largest.max(x.abs()));
    let limit = f64::from(MAX_CODE);
    let scale = (largest / limit) as f32;
    let step = f64::from(scale);
    let inverse = if scale > 0.0 { 1.0 / step } else { 0.0 };
    for (code, x) in codes.iter_mut().zip(block) {
        *code = (x * inverse).round_ties_even().clamp(-limit, limit) as i8;
    }
    let errors = block.iter().zip(codes.iter()).map(|(x, code)| x - step * f64::from(*code));
    (scale, norm_up(errors))
}

/// The norms of everything after each block of a rotated row, rounded up: `tail_norms(row, widths)[b]` is at least the
/// norm of the dimensions after block `b`.
///
/// # Panics
///
/// Panics when `widths` do not add up to the row's length.
pub fn tail_norms(row: &[f64], widths: &[usize]) -> Vec<f32> {
    assert_eq!(widths.iter().sum::<usize>(), row.len(), "blocks cover the row");
    let ends = widths.iter().scan(0, |end, width| {
        *end += width;
        Some(*end)
    });
    ends.map(|end| norm_up(row[end..].iter().copied())).collect()
}

/// An upper bound of the norm, as f32. Zero only for zeros, also where squares vanish.
fn norm_up(values: impl Iterator<Item = f64>) -> f32 {
    let (mut sum, mut largest) = (0f64, 0f64);
    for x in values {
        sum += x * x;
        largest = largest.max(x.abs());
    }
    round_up(sum.sqrt().max(largest) * ROUNDING)
}

/// The smallest f32 that is at least `x`.
pub fn round_up(x: f64) -> f32 {
    let nearest = x as f32;
    if f64::from(nearest) < x { nearest.next_up() } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_span_the_range_and_errors_are_measured() {
        let block = [1.0, -0.5, 0.25, 0.003];
        let mut codes = [0; 4];
        let (scale, error) = quantize(&block, &mut codes);
        assert_eq!(codes, [127, -64, 32, 0]);
        let exact: f64 = block.iter().zip(codes).map(|(x, c)| (x - f64::from(scale) * f64::from(c)).powi(2)).sum();
        assert!(f64::from(error) >= exact.sqrt() && f64::from(error) < exact.sqrt() * 1.000001);
    }

    #[test]
    fn zeros_and_vanishing_blocks() {
        let mut codes = [1; 3];
        assert_eq!(quantize(&[0.0; 3], &mut codes), (0.0, 0.0));
        assert_eq!(codes, [0; 3]);
        // Too small for an f32 scale, then too small for an f32 error, then too small to be squared in f64.
        for tiny in [1e-44, 1e-46, 1e-200, 5e-324] {
            let (scale, error) = quantize(&[tiny, -tiny, 0.0], &mut codes);
            assert!(error > 0.0 && f64::from(error) >= tiny || scale > 0.0, "{tiny}: {scale}, {error}");
        }
        // A denormal scale is a third off; the codes are clamped and the error says so.
        let (scale, error) = quantize(&[2e-43, 1e-43, 0.0], &mut codes);
        assert!(scale > 0.0 && codes[0] == 127 && error > 0.0);
    }

    #[test]
    fn rounding_is_upward() {
        assert_eq!(round_up(0.5), 0.5);
        assert_eq!(round_up(0.0), 0.0);
        assert!(f64::from(round_up(0.1)) >= 0.1 && f64::from(round_up(0.7)) >= 0.7);
        assert_eq!(round_up(1e-300), f32::from_bits(1));
        assert_eq!(tail_norms(&[1.0, 3.0, 4.0], &[1, 2])[1], 0.0);
        assert!((tail_norms(&[1.0, 3.0, 4.0], &[1, 2])[0] - 5.0).abs() < 1e-5);
    }
}
