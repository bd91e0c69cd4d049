//! How near two points on the plane count as: 1 / (1 + a · d²ᵇ), fitted to what `min_dist` asks for.

/// Points that the curve is fitted at, from 0 to 3.
const N_POINTS: usize = 300;
const N_STEPS: usize = 200;

/// The curve's two parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Curve {
    /// > 0
    pub a: f64,
    /// > 0
    pub b: f64,
}

impl Curve {
    /// The curve nearest to 1 up to `min_dist` and exp(−(d − `min_dist`)) beyond, by least squares over d from 0 to 3
    /// (section 3.2 of the paper, `spread` 1), found by the method of Levenberg and Marquardt.
    pub fn fitted(min_dist: f64) -> Self {
        let points: Vec<(f64, f64)> = (0..N_POINTS)
            .map(|i| {
                let d = 3.0 * i as f64 / (N_POINTS - 1) as f64;
                (d, if d < min_dist { 1.0 } else { libm::exp(min_dist - d) })
            })
            .collect();
        let mut curve = Self { a: 1.0, b: 1.0 };
        let (mut error, mut damping) = (curve.error(&points), 1e-3);
        for _ in 0..N_STEPS {
            let step = curve.step(&points, damping);
            let next = Self { a: curve.a + step[0], b: curve.b + step[1] };
            let next_error = if next.a > 0.0 && next.b > 0.0 { next.error(&points) } else { f64::INFINITY };
            if next_error < error {
                (curve, error, damping) = (next, next_error, damping / 3.0);
            } else {
                damping *= 4.0;
            }
        }
        curve
    }

    fn value(self, d: f64) -> f64 {
        1.0 / (1.0 + self.a * libm::pow(d, 2.0 * self.b))
    }

    fn error(self, points: &[(f64, f64)]) -> f64 {
        points.iter().map(|&(d, y)| (self.value(d) - y) * (self.value(d) - y)).sum()
    }

    /// The solution of (JᵀJ + damping · diag JᵀJ) step = −Jᵀ residuals.
    fn step(self, points: &[(f64, f64)], damping: f64) -> [f64; 2] {
        let (mut aa, mut ab, mut bb, mut ra, mut rb) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(d, y) in points.iter().filter(|point| point.0 > 0.0) {
            let (value, power) = (self.value(d), libm::pow(d, 2.0 * self.b));
            let by_a = -power * value * value;
            let by_b = -2.0 * self.a * power * libm::log(d) * value * value;
            (aa, ab, bb) = (aa + by_a * by_a, ab + by_a * by_b, bb + by_b * by_b);
            (ra, rb) = (ra - by_a * (value - y), rb - by_b * (value - y));
        }
        let (aa, bb) = (aa * (1.0 + damping), bb * (1.0 + damping));
        let determinant = aa * bb - ab * ab;
        [(ra * bb - rb * ab) / determinant, (rb * aa - ra * ab) / determinant]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_umap_learns() {
        // umap.umap_.find_ab_params(1.0, min_dist), umap-learn 0.5.12.
        for (min_dist, a, b) in EXPECTED {
            let curve = Curve::fitted(min_dist);
            assert!((curve.a - a).abs() < 1e-4 && (curve.b - b).abs() < 1e-4, "{min_dist}: {curve:?}");
        }
    }

    const EXPECTED: [(f64, f64, f64); 4] = [
        (0.0, 1.932_808_40, 0.790_494_97),
        (0.1, 1.576_943_46, 0.895_060_88),
        (0.5, 0.583_030_02, 1.334_166_99),
        (1.0, 0.114_975_68, 1.929_237_14),
    ];
}
