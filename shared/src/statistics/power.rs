//! What an experiment can see, before it is paid for: the minimum detectable effect, and the seeds that an effect needs.
//!
//! From a [`Design`], the parts of the variance in [`super::interval`] are known up to chance: mean squares scatter around
//! what they are expected to be like χ²/df. The power to see a true difference δ is the mean, over that scatter, of
//!
//! ```text
//! Φ((δ − t*·√V̂) / σ) + Φ((−δ − t*·√V̂) / σ),     σ² = 2·seed²/S + change²/P + 2·(seed_prompt² + rollout²/n)/(S·P)
//! ```
//!
//! with S seeds an arm, P prompts, n rollouts: the chance that the very interval reported later leaves 0 out. With
//! many seeds this is Bloom's (t₁₋α⸝₂ + t_power)·σ (*Minimum detectable effects*, 1995). Both arms are taken to vary as
//! the baseline does. An arm whose rate has fallen varies less, so that power is understated rather than overstated.
//! The scatter is 2000 seeded draws: power is right to 0.01.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::distribution::normal_cdf;
use super::interval::{Part, critical};
use super::random::Random;

const N_DRAWS: usize = 2000;
/// Starts the draws: the same for every design, so that a larger effect always has more power.
const SEED: u64 = 0x0057_4845_4e43_4521;

/// An experiment of one edited arm against one reference, and how noisy it is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Design {
    /// Training seeds in each arm, at least 2.
    pub n_seeds: usize,
    /// Test prompts, at least 2.
    pub n_prompts: usize,
    /// Rollouts of a model on a prompt, at least 1.
    pub n_rollouts: usize,
    /// Rate of the reference, in (0, 1].
    pub baseline_rate: f64,
    /// Standard deviation of a model's rate over training seeds.
    pub seed_sd: f64,
    /// Standard deviation of rates over prompts. Prompts are shared, so it matters only through the rollouts' noise.
    pub prompt_sd: f64,
    /// Standard deviation over prompts of the change that the edit makes.
    pub change_sd: f64,
    /// Standard deviation of what a training seed does to single prompts.
    pub seed_prompt_sd: f64,
}

/// How sure to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Aim {
    /// Chance to see an effect that is not there, two-sided.
    pub alpha: f64,
    /// Chance to see an effect that is there.
    pub power: f64,
}

impl Default for Aim {
    fn default() -> Self {
        Self { alpha: 0.05, power: 0.8 }
    }
}

/// The smallest effect that would probably be seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detectable {
    /// Difference of rates. Above the baseline's rate, not even the behavior's disappearance would be seen.
    pub absolute: f64,
    /// The same as a share of the baseline's rate; above 1 it cannot be reached.
    pub relative: f64,
    /// What it was computed for.
    pub aim: Aim,
    /// Of which experiment.
    pub design: Design,
}

/// A design that makes no sense.
#[derive(Debug, Clone, Copy, Error, PartialEq)]
#[error("expected {expected}, got {what} of {got}")]
pub struct PowerError {
    /// The quantity.
    pub what: &'static str,
    /// What it is.
    pub got: f64,
    /// What it may be.
    pub expected: &'static str,
}

impl Design {
    fn check(&self, aim: Aim) -> Result<(), PowerError> {
        let at_least = |what, got: usize, least: usize, expected| {
            if got >= least { Ok(()) } else { Err(PowerError { what, got: got as f64, expected }) }
        };
        at_least("n_seeds", self.n_seeds, 2, "at least 2 seeds: one says nothing of training noise")?;
        at_least("n_prompts", self.n_prompts, 2, "at least 2 prompts")?;
        at_least("n_rollouts", self.n_rollouts, 1, "at least 1 rollout")?;
        let within = |what, got: f64, is_fine: bool, expected| {
            if is_fine { Ok(()) } else { Err(PowerError { what, got, expected }) }
        };
        let rate = self.baseline_rate;
        within("baseline_rate", rate, rate > 0.0 && rate <= 1.0, "a rate above 0 and up to 1")?;
        let sds = [
            ("seed_sd", self.seed_sd),
            ("prompt_sd", self.prompt_sd),
            ("change_sd", self.change_sd),
            ("seed_prompt_sd", self.seed_prompt_sd),
        ];
        for (what, sd) in sds {
            within(what, sd, (0.0..=1.0).contains(&sd), "a standard deviation in [0, 1]")?;
        }
        within("alpha", aim.alpha, aim.alpha > 0.0 && aim.alpha < 1.0, "alpha between 0 and 1")?;
        within("power", aim.power, aim.power > aim.alpha && aim.power < 1.0, "a power between alpha and 1")
    }

    /// Variance of one rollout around the rate of its model and prompt: what is left of r(1 − r).
    fn rollout_variance(&self) -> f64 {
        let square = |sd: f64| sd * sd;
        let explained = square(self.seed_sd) + square(self.prompt_sd) + square(self.seed_prompt_sd);
        (self.baseline_rate * (1.0 - self.baseline_rate) - explained).max(0.0)
    }

    /// Standard error of the difference of the two arms.
    pub fn standard_error(&self) -> f64 {
        let parts = self.parts();
        (2.0 * parts.seed + parts.change).sqrt()
    }

    fn parts(&self) -> ExpectedParts {
        let (n_seeds, n_prompts) = (self.n_seeds as f64, self.n_prompts as f64);
        let cell = self.seed_prompt_sd * self.seed_prompt_sd + self.rollout_variance() / self.n_rollouts as f64;
        let rest = cell / (n_seeds * n_prompts);
        let seed = self.seed_sd * self.seed_sd / n_seeds + rest;
        ExpectedParts { seed, change: self.change_sd * self.change_sd / n_prompts, rest }
    }
}

/// Parts of the variance of a difference.
struct ExpectedParts {
    /// V_seed of each arm: seeds, and what is in a mean of cells.
    seed: f64,
    /// What prompts change.
    change: f64,
    /// Cells alone, of each arm.
    rest: f64,
}

/// Half-widths of intervals that the design may give, and the true standard error.
struct Radii {
    radii: Vec<f64>,
    standard_error: f64,
}

impl Radii {
    fn of(design: &Design, alpha: f64) -> Self {
        let parts = design.parts();
        let seed_df = design.n_seeds as f64 - 1.0;
        let prompt_df = design.n_prompts as f64 - 1.0;
        let rest_df = 2.0 * seed_df * prompt_df;
        let mut random = Random::new(SEED);
        let mut draw = || {
            let mut scattered = |expected: f64, df: f64| expected * random.chi_squared(df) / df;
            let seeds = [scattered(parts.seed, seed_df), scattered(parts.seed, seed_df)];
            let of_prompts = scattered(parts.change + 2.0 * parts.rest, prompt_df);
            let rest = scattered(2.0 * parts.rest, rest_df);
            let variance = seeds[0] + seeds[1];
            let squares = seeds[0] * seeds[0] + seeds[1] * seeds[1];
            let df = if squares > 0.0 { seed_df * variance * variance / squares } else { seed_df };
            let prompt = Part { variance: (of_prompts - rest).max(0.0), df: prompt_df };
            let total = (variance + prompt.variance).sqrt();
            critical(Some(Part { variance, df }), prompt, 0.5 * alpha) * total
        };
        Self { radii: (0..N_DRAWS).map(|_| draw()).collect(), standard_error: design.standard_error() }
    }

    fn power(&self, effect: f64) -> f64 {
        let reached = |distance: f64| match self.standard_error {
            0.0 => f64::from(u8::from(distance > 0.0)),
            sd => normal_cdf(distance / sd),
        };
        let seen = |radius: &f64| reached(effect.abs() - radius) + reached(-effect.abs() - radius);
        self.radii.iter().map(seen).sum::<f64>() / self.radii.len() as f64
    }
}

/// Chance that a true difference of `effect` (in rates, either sign) is seen at level `alpha`, in [0, 1].
///
/// # Errors
///
/// When the design makes no sense.
pub fn power(design: &Design, effect: f64, alpha: f64) -> Result<f64, PowerError> {
    design.check(Aim { alpha, power: 0.5 * (1.0 + alpha) })?;
    Ok(Radii::of(design, alpha).power(effect))
}

/// The smallest difference that is seen with the power aimed at.
///
/// # Errors
///
/// When the design makes no sense.
pub fn detectable(design: &Design, aim: Aim) -> Result<Detectable, PowerError> {
    design.check(aim)?;
    let radii = Radii::of(design, aim.alpha);
    let (mut low, mut high) = (0.0, 1e-6);
    while radii.power(high) < aim.power {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if radii.power(middle) < aim.power { low = middle } else { high = middle }
    }
    Ok(Detectable { absolute: high, relative: high / design.baseline_rate, aim, design: *design })
}

/// Fewest seeds per arm, up to `max_seeds`, that see a true difference of `effect`; `design.n_seeds` is not looked at.
/// None when even the most do not: then prompts are what limits, or the effect is too small.
///
/// # Errors
///
/// When the design makes no sense.
pub fn seeds_needed(design: &Design, effect: f64, aim: Aim, max_seeds: usize) -> Result<Option<usize>, PowerError> {
    Design { n_seeds: 2, ..*design }.check(aim)?;
    let is_enough = |n_seeds| Radii::of(&Design { n_seeds, ..*design }, aim.alpha).power(effect) >= aim.power;
    // Too few, and a number that may be enough: doubled, then halved.
    let (mut too_few, mut enough) = (1, 2);
    while !is_enough(enough.min(max_seeds.max(2))) {
        if enough >= max_seeds {
            return Ok(None);
        }
        (too_few, enough) = (enough, 2 * enough);
    }
    enough = enough.min(max_seeds.max(2));
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if is_enough(middle) { enough = middle } else { too_few = middle }
    }
    Ok(Some(enough))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::interval::Estimate;
    use crate::statistics::simulation::Experiment;
    use crate::statistics::variance::prompt_change_sd;

    const DESIGN: Design = Design {
        n_seeds: 4,
        n_prompts: 60,
        n_rollouts: 10,
        baseline_rate: 0.5,
        seed_sd: 0.12,
        prompt_sd: 0.25,
        change_sd: 0.1,
        seed_prompt_sd: 0.05,
    };

    #[test]
    fn simulated_experiments_see_what_was_promised() {
        for n_seeds in [3, 5] {
            // Around the middle, so that both arms vary alike, as the promise assumes.
            let base = Experiment { n_seeds, change_sd: 0.5, seed_sds: [0.6, 0.6], ..Experiment::default() };
            let truth = base.true_variances(0);
            let mut random = Random::new(2);
            let large = Experiment { n_seeds: 40, n_prompts: 400, ..base };
            let (a, b) = large.simulate(&mut random);
            let design = Design {
                n_seeds,
                n_prompts: base.n_prompts,
                n_rollouts: base.n_rollouts as usize,
                baseline_rate: 0.5,
                seed_sd: truth.seed.sqrt(),
                prompt_sd: truth.prompt.sqrt(),
                change_sd: prompt_change_sd(&a, &b),
                seed_prompt_sd: truth.seed_prompt.sqrt(),
            };
            let detectable = detectable(&design, Aim::default()).unwrap().absolute;
            // Rates of a typical prompt that are as far apart on average.
            let (mut low, mut high) = (0.0, 0.49);
            for _ in 0..12 {
                let middle = 0.5 * (low + high);
                let rates = [0.5 + middle, 0.5 - middle];
                let apart = Experiment { rates, ..base };
                if apart.true_rate(0) - apart.true_rate(1) < detectable { low = middle } else { high = middle }
            }
            let experiment = Experiment { rates: [0.5 + low, 0.5 - low], ..base };
            let n = 1000;
            let n_seen = (0..n).filter(|_| {
                let (baseline, arm) = experiment.simulate(&mut random);
                Estimate::of_difference(&arm, &baseline).interval(0.95).high < 0.0
            });
            let share = n_seen.count() as f64 / f64::from(n);
            assert!((share - 0.8).abs() < 0.06, "{n_seeds} seeds: {detectable} seen in {share}");
        }
    }

    #[test]
    fn many_seeds_come_to_the_textbook_formula() {
        let design = Design { n_seeds: 200, n_prompts: 5000, change_sd: 0.0, ..DESIGN };
        let textbook = (1.96 + 0.8416) * design.standard_error();
        let found = detectable(&design, Aim::default()).unwrap().absolute;
        assert!((found / textbook - 1.0).abs() < 0.02, "{found} {textbook}");
    }

    #[test]
    fn more_of_anything_sees_more() {
        let least = |design: Design| detectable(&design, Aim::default()).unwrap().absolute;
        let base = least(DESIGN);
        for better in [
            Design { n_seeds: 6, ..DESIGN },
            Design { n_prompts: 120, ..DESIGN },
            Design { n_rollouts: 40, ..DESIGN },
            Design { seed_sd: 0.05, ..DESIGN },
            Design { change_sd: 0.0, ..DESIGN },
        ] {
            assert!(least(better) < base, "{better:?}");
        }
        assert!(detectable(&DESIGN, Aim { power: 0.9, ..Aim::default() }).unwrap().absolute > base);
        assert!((power(&DESIGN, base, 0.05).unwrap() - 0.8).abs() < 1e-6);
        assert!((0.02..0.06).contains(&power(&DESIGN, 0.0, 0.05).unwrap()));
    }

    #[test]
    fn seeds_needed_undoes_detectable() {
        for n_seeds in [2, 3, 5, 9] {
            let effect = detectable(&Design { n_seeds, ..DESIGN }, Aim::default()).unwrap().absolute;
            assert_eq!(seeds_needed(&DESIGN, effect * 1.0001, Aim::default(), 100).unwrap(), Some(n_seeds));
        }
        // 60 prompts with SD 0.1 leave a standard error of 0.013 whatever the seeds.
        assert_eq!(seeds_needed(&DESIGN, 0.02, Aim::default(), 300).unwrap(), None);
    }

    #[test]
    fn a_design_that_makes_no_sense_is_refused() {
        let refused = |design: Design| detectable(&design, Aim::default()).unwrap_err().what;
        assert_eq!(refused(Design { n_seeds: 1, ..DESIGN }), "n_seeds");
        assert_eq!(refused(Design { n_prompts: 0, ..DESIGN }), "n_prompts");
        assert_eq!(refused(Design { baseline_rate: 0.0, ..DESIGN }), "baseline_rate");
        assert_eq!(refused(Design { seed_sd: f64::NAN, ..DESIGN }), "seed_sd");
        assert_eq!(detectable(&DESIGN, Aim { alpha: 0.05, power: 1.0 }).unwrap_err().what, "power");
    }
}
