//! Random numbers that are the same everywhere: SplitMix64, started from a seed.
//!
//! Steele, Lea & Flood, *Fast splittable pseudorandom number generators* (OOPSLA 2014). Integer arithmetic only, so a
//! seed gives the same draws natively and in the browser. For resampling, never for secrets.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), in steps of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.bits() >> 11) as f64 * STEP
    }

    /// Uniform in `0..n`, without bias (Lemire, *Fast random integer generation in an interval*, 2019).
    ///
    /// # Panics
    ///
    /// Panics when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "a number below 0");
        let n = n as u64;
        let unfair = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= unfair {
                return (product >> 64) as usize;
            }
        }
    }

    /// Puts items into random order (Fisher & Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// Standard normal (Box & Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.uniform())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }

    /// χ² with `df` > 0 degrees of freedom, by rejection (Marsaglia & Tsang, *A simple method for generating gamma
    /// variables*, 2000).
    pub fn chi_squared(&mut self, df: f64) -> f64 {
        // Below shape 1 the method draws at the next shape, and a power of a uniform number brings it back.
        let shape = df / 2.0;
        let (shape, boost) = match shape {
            1.0.. => (shape, 1.0),
            _ => (shape + 1.0, libm::pow(1.0 - self.uniform(), 1.0 / shape)),
        };
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let cube = 1.0 + c * x;
            if cube <= 0.0 {
                continue;
            }
            let v = cube * cube * cube;
            if libm::log(1.0 - self.uniform()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return 2.0 * d * v * boost;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_those_of_the_published_generator() {
        // First outputs of SplitMix64 started from 1234567, as listed with its reference implementation.
        let mut random = Random::new(1_234_567);
        let draws: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(draws, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn moments_are_right() {
        let mut random = Random::new(1);
        let n = 50_000;
        let mean_and_variance = |draws: &[f64]| {
            let mean = draws.iter().sum::<f64>() / n as f64;
            (mean, draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64)
        };
        for (df, tolerance) in [(1.0, 0.15), (2.0, 0.2), (7.0, 0.5)] {
            let draws: Vec<f64> = (0..n).map(|_| random.chi_squared(df)).collect();
            let (mean, variance) = mean_and_variance(&draws);
            assert!((mean - df).abs() < 0.05 && (variance - 2.0 * df).abs() < tolerance, "{df}: {mean} {variance}");
        }
        let draws: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let (mean, variance) = mean_and_variance(&draws);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let mut counts = [0; 3];
        (0..30_000).for_each(|_| counts[random.below(3)] += 1);
        assert!(counts.iter().all(|&count: &i32| (count - 10_000).abs() < 400), "{counts:?}");
    }
}
