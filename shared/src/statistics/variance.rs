//! Where the noise comes from: how far rates vary over training seeds, prompts and rollouts.
//!
//! The rate of seed i on prompt j is taken as μ + sᵢ + pⱼ + (sp)ᵢⱼ + rollout noise, with seeds and prompts crossed.
//! [`MeanSquares`] are those of the two-way analysis of variance with one value per cell; equating them to what they are
//! expected to be gives [`Components`] (Searle, Casella & McCulloch, *Variance Components*, 1992, ch. 4). Means of cells
//! are not weighted by their rollouts. Estimates that come out negative are reported as 0.
//!
//! All variances are in squared rates, all `_sd` in rates (0.1 = ten percentage points).

use serde::{Deserialize, Serialize};

use super::outcomes::{self, Grid};

/// Mean squares of a grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanSquares {
    /// Between seeds, `n_seeds − 1` degrees of freedom; 0 with one seed.
    pub seed: f64,
    /// Between prompts, `n_prompts − 1` degrees of freedom; 0 with one prompt.
    pub prompt: f64,
    /// What neither explains, `(n_seeds − 1)(n_prompts − 1)` degrees of freedom; 0 with one seed or prompt.
    pub rest: f64,
}

impl MeanSquares {
    /// Of a grid.
    pub fn of(grid: &Grid) -> Self {
        let (n_seeds, n_prompts) = (grid.n_seeds(), grid.n_prompts());
        let rate = grid.rate();
        let mut rest = 0.0;
        for (row, seed_rate) in grid.rates().chunks(n_prompts).zip(grid.seed_rates()) {
            for (cell, prompt_rate) in row.iter().zip(grid.prompt_rates()) {
                let residual = cell - seed_rate - prompt_rate + rate;
                rest += residual * residual;
            }
        }
        let rest_df = (n_seeds - 1) * (n_prompts - 1);
        Self {
            seed: n_prompts as f64 * outcomes::variance(grid.seed_rates()),
            prompt: n_seeds as f64 * outcomes::variance(grid.prompt_rates()),
            rest: if rest_df == 0 { 0.0 } else { rest / rest_df as f64 },
        }
    }
}

/// Standard deviations of the parts of the noise in one arm, in rates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Components {
    /// Of whole models over training seeds; none with one seed.
    pub seed_sd: Option<f64>,
    /// Of prompts. With one seed this includes what seeds do to single prompts.
    pub prompt_sd: f64,
    /// Of what a seed does to single prompts; none with one seed.
    pub seed_prompt_sd: Option<f64>,
    /// Of one rollout, around the rate of its model and prompt; none when no cell has two rollouts. Exact for counts,
    /// an upper bound for values in [0, 1].
    pub rollout_sd: Option<f64>,
}

impl Components {
    /// Estimates of a grid.
    pub fn of(grid: &Grid) -> Self {
        let MeanSquares { seed, prompt, rest } = MeanSquares::of(grid);
        let (mut rollout, mut n_cells) = (0.0, 0);
        // Variance of the mean of each cell, on average: it is part of every mean square.
        let mut of_cell_means = 0.0;
        for (&rate, &n) in grid.rates().iter().zip(grid.n_rollouts()).filter(|(_, n)| **n > 1) {
            let spread = rate * (1.0 - rate) / f64::from(n - 1);
            of_cell_means += spread;
            rollout += spread * f64::from(n);
            n_cells += 1;
        }
        let over_cells = |sum: f64| if n_cells == 0 { 0.0 } else { sum / f64::from(n_cells) };
        let sd = |variance: f64| variance.max(0.0).sqrt();
        let noise = over_cells(of_cell_means);
        let several_seeds = grid.n_seeds() > 1;
        let rest_or_noise = if several_seeds { rest } else { noise };
        Self {
            seed_sd: several_seeds.then(|| sd((seed - rest) / grid.n_prompts() as f64)),
            prompt_sd: sd((prompt - rest_or_noise) / grid.n_seeds() as f64),
            seed_prompt_sd: several_seeds.then(|| sd(rest - noise)),
            rollout_sd: (n_cells > 0).then(|| sd(over_cells(rollout))),
        }
    }
}

/// Standard deviation over prompts of the true change between two arms: what remains of prompts in a difference.
///
/// With a single seed in an arm, what that seed does to single prompts, and rollout noise, are in it: too large then.
///
/// # Panics
///
/// Panics when the grids are not over the same prompts.
pub fn prompt_change_sd(a: &Grid, b: &Grid) -> f64 {
    assert_eq!(a.n_prompts(), b.n_prompts(), "the same prompts");
    let changes: Vec<f64> = a.prompt_rates().iter().zip(b.prompt_rates()).map(|(a, b)| a - b).collect();
    let noise = |grid: &Grid| MeanSquares::of(grid).rest / grid.n_seeds() as f64;
    (outcomes::variance(&changes) - noise(a) - noise(b)).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::simulation::Experiment;

    #[test]
    fn mean_squares_are_those_of_a_worked_table() {
        // Rows 1 2 4 and 3 3 9, in tenths: row means 7/3 and 5, column means 2, 2.5 and 6.5, mean 11/3.
        let grid = Grid::new(3, vec![0.1, 0.2, 0.4, 0.3, 0.3, 0.9], vec![10; 6]);
        let MeanSquares { seed, prompt, rest } = MeanSquares::of(&grid);
        let close = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-12, "{got} {expected}");
        close(seed, 0.32 / 3.0);
        close(prompt, 0.24333333333333335 / 2.0);
        close(rest, 0.04333333333333333 / 2.0);
    }

    #[test]
    fn components_are_found_again_on_average() {
        let experiment = Experiment { n_seeds: 6, n_prompts: 60, n_rollouts: 8, ..Experiment::default() };
        let n = 300;
        let (mut seed, mut prompt, mut rest, mut rollout) = (0.0, 0.0, 0.0, 0.0);
        let mut random = crate::statistics::random::Random::new(5);
        for _ in 0..n {
            let components = Components::of(&experiment.simulate(&mut random).0);
            seed += components.seed_sd.unwrap().powi(2) / f64::from(n);
            prompt += components.prompt_sd.powi(2) / f64::from(n);
            rest += components.seed_prompt_sd.unwrap().powi(2) / f64::from(n);
            rollout += components.rollout_sd.unwrap().powi(2) / f64::from(n);
        }
        let truth = experiment.true_variances(0);
        let found = [seed, prompt, rest, rollout];
        for (found, truth) in found.iter().zip([truth.seed, truth.prompt, truth.seed_prompt, truth.rollout]) {
            assert!((found - truth).abs() < 0.12 * truth + 3e-4, "{found} {truth}");
        }
    }

    #[test]
    fn what_is_not_known_is_none() {
        let one_seed = Components::of(&Grid::new(3, vec![0.0, 0.5, 1.0], vec![4; 3]));
        assert_eq!((one_seed.seed_sd, one_seed.seed_prompt_sd), (None, None));
        let one_rollout = Components::of(&Grid::new(2, vec![0.0, 1.0, 1.0, 1.0], vec![1; 4]));
        assert_eq!(one_rollout.rollout_sd, None);
        let nothing = Components::of(&Grid::new(2, vec![0.0; 4], vec![5; 4]));
        assert_eq!((nothing.seed_sd, nothing.prompt_sd, nothing.rollout_sd), (Some(0.0), 0.0, Some(0.0)));
    }
}
