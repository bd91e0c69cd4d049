//! Retraining experiments drawn from a known truth, for tests: does an interval cover it as often as it says?
//!
//! On the log-odds scale, a rollout shows the behavior with μ[arm] + seed + prompt + prompt·arm + seed·prompt.

use super::distribution::normal_quantile;
use super::outcomes::Grid;
use super::random::Random;

/// How prompts, or seeds, differ; every shape has mean 0 and variance 1 before it is scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Normal.
    Normal,
    /// Exponential, minus 1: a few prompts show the behavior far more than the others.
    Skewed,
    /// −1 or 1: training either learns it or does not.
    TwoSided,
}

impl Shape {
    fn draw(self, random: &mut Random) -> f64 {
        match self {
            Self::Normal => random.normal(),
            Self::Skewed => -libm::log(1.0 - random.uniform()) - 1.0,
            Self::TwoSided => [-1.0, 1.0][random.below(2)],
        }
    }

    /// Equally likely values that stand for the distribution.
    fn points(self, n: usize) -> Vec<f64> {
        let at = |i: usize| (i as f64 + 0.5) / n as f64;
        match self {
            Self::Normal => (0..n).map(|i| normal_quantile(at(i))).collect(),
            Self::Skewed => (0..n).map(|i| -libm::log(1.0 - at(i)) - 1.0).collect(),
            Self::TwoSided => vec![-1.0, 1.0],
        }
    }
}

/// A baseline (arm 0) and an edited arm (arm 1); standard deviations in log-odds.
#[derive(Debug, Clone, Copy)]
pub struct Experiment {
    pub n_seeds: usize,
    /// Seeds of arm 1, when not as many.
    pub n_seeds_arm: Option<usize>,
    pub n_prompts: usize,
    pub n_rollouts: u32,
    /// Rate of a typical prompt under a typical seed.
    pub rates: [f64; 2],
    pub seed_sds: [f64; 2],
    pub prompt_sd: f64,
    /// Of prompts that respond differently to the two arms.
    pub change_sd: f64,
    pub seed_prompt_sd: f64,
    pub prompts: Shape,
    pub seeds: Shape,
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            n_seeds: 3,
            n_seeds_arm: None,
            n_prompts: 40,
            n_rollouts: 8,
            rates: [0.5, 0.5],
            seed_sds: [0.6, 0.6],
            prompt_sd: 1.2,
            change_sd: 0.0,
            seed_prompt_sd: 0.3,
            prompts: Shape::Normal,
            seeds: Shape::Normal,
        }
    }
}

/// Variances in squared rates.
#[derive(Debug, Clone, Copy)]
pub struct Variances {
    pub seed: f64,
    pub prompt: f64,
    pub seed_prompt: f64,
    pub rollout: f64,
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

impl Experiment {
    fn logit(&self, arm: usize) -> f64 {
        libm::log(self.rates[arm] / (1.0 - self.rates[arm]))
    }

    /// Baseline and edited arm.
    pub fn simulate(&self, random: &mut Random) -> (Grid, Grid) {
        let prompts: Vec<f64> = (0..self.n_prompts).map(|_| self.prompt_sd * self.prompts.draw(random)).collect();
        let mut arm = |arm: usize, n_seeds: usize| {
            let changes: Vec<f64> = (0..self.n_prompts).map(|_| self.change_sd * random.normal()).collect();
            let mut rates = Vec::with_capacity(n_seeds * self.n_prompts);
            for _ in 0..n_seeds {
                let base = self.logit(arm) + self.seed_sds[arm] * self.seeds.draw(random);
                for (prompt, change) in prompts.iter().zip(&changes) {
                    let single = if self.seed_prompt_sd > 0.0 { self.seed_prompt_sd * random.normal() } else { 0.0 };
                    let rate = logistic(base + prompt + change + single);
                    let shown = (0..self.n_rollouts).filter(|_| random.uniform() < rate).count();
                    rates.push(shown as f64 / f64::from(self.n_rollouts));
                }
            }
            let n_rollouts = vec![self.n_rollouts; rates.len()];
            Grid::new(self.n_prompts, rates, n_rollouts)
        };
        (arm(0, self.n_seeds), arm(1, self.n_seeds_arm.unwrap_or(self.n_seeds)))
    }

    /// Rate over all seeds and prompts that there could be.
    pub fn true_rate(&self, arm: usize) -> f64 {
        self.moments(arm).0
    }

    /// Variances of an arm over all seeds and prompts that there could be.
    pub fn true_variances(&self, arm: usize) -> Variances {
        self.moments(arm).1
    }

    fn moments(&self, arm: usize) -> (f64, Variances) {
        let single_sd = (self.change_sd * self.change_sd + self.seed_prompt_sd * self.seed_prompt_sd).sqrt();
        let seeds = self.seeds.points(48);
        let prompts = self.prompts.points(192);
        let singles = if single_sd > 0.0 { Shape::Normal.points(24) } else { vec![0.0] };
        let mut by_seed = vec![0.0; seeds.len()];
        let mut by_prompt = vec![0.0; prompts.len()];
        let mut squares = 0.0;
        for (seed, of_seed) in seeds.iter().zip(&mut by_seed) {
            for (prompt, of_prompt) in prompts.iter().zip(&mut by_prompt) {
                for single in &singles {
                    let base = self.logit(arm) + self.seed_sds[arm] * seed;
                    let rate = logistic(base + self.prompt_sd * prompt + single_sd * single);
                    *of_seed += rate;
                    *of_prompt += rate;
                    squares += rate * rate;
                }
            }
        }
        let n = (seeds.len() * prompts.len() * singles.len()) as f64;
        let mean = by_seed.iter().sum::<f64>() / n;
        let between = |sums: &[f64]| {
            let per_sum = n / sums.len() as f64;
            sums.iter().map(|sum| (sum / per_sum - mean) * (sum / per_sum - mean)).sum::<f64>() / sums.len() as f64
        };
        let (seed, prompt) = (between(&by_seed), between(&by_prompt));
        let total = squares / n - mean * mean;
        (mean, Variances { seed, prompt, seed_prompt: total - seed - prompt, rollout: mean - squares / n })
    }
}
