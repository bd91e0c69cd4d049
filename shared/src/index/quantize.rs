//! Rotated rows to int8 blocks, with norms that make the bounds hold.

/// Quantises one block of one rotated row: codes into `codes`, returns (scale, error_norm).
pub fn quantize(block: &[f64], codes: &mut [i8]) -> (f32, f32) {
    let max = block.iter().fold(0f64, |max, x| max.max(x.abs()));
    let scale = round_up(max / 127.0);
    let mut error = 0f64;
    for (x, code) in block.iter().zip(codes) {
        *code = if scale == 0.0 { 0 } else { (x / f64::from(scale)).round().clamp(-127.0, 127.0) as i8 };
        error += (x - f64::from(scale) * f64::from(*code)).powi(2);
    }
    (scale, round_up(error.sqrt() * (1.0 + 1e-12)))
}

/// The smallest f32 that is at least `x` (x ≥ 0, finite).
pub fn round_up(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) < x { near.next_up() } else { near }
}
