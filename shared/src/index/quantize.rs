//! Rotated rows to int8 blocks, with norms that make the bounds hold.

/// Quantises one block of one rotated row: codes into `codes`, returns (scale, error_norm), the norm computed in f64 and rounded up to f32.
/// scale = max|x| / 127 rounded so that codes are in −127..=127; zero block → scale 0, error 0.
pub fn quantize(block: &[f64], codes: &mut [i8]) -> (f32, f32) { unimplemented!() }

/// The smallest f32 that is at least `x` (x ≥ 0, finite).
pub fn round_up(x: f64) -> f32 { unimplemented!() }
