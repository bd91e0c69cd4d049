//! What an edit did: the rate of an arm against the baseline's, and against that of as many pairs edited at random.

use serde::{Deserialize, Serialize};

use super::bootstrap::{self, BootstrapOptions};
use super::interval::{self, Covers, Estimate, Interval, Measured};
use super::outcomes::{ArmOutcomes, Outcomes, OutcomesError};
use super::permutation::{self, Permutation, PermutationOptions};

/// The difference of an arm and a reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Name of the reference; its size is the arm's, or it is the baseline.
    pub reference: String,
    /// Training seeds of the arm.
    pub n_seeds: usize,
    /// Training seeds of the reference.
    pub n_reference_seeds: usize,
    /// Test prompts compared.
    pub n_prompts: usize,
    /// Test prompts that some run lacks, left out.
    pub n_prompts_left_out: usize,
    /// Rate of the arm on these prompts.
    pub rate: f64,
    /// Rate of the reference on these prompts.
    pub reference_rate: f64,
    /// Arm − reference, in [−1, 1]: negative when behavior was removed.
    pub difference: Measured,
    /// 1 − arm / reference; none when the reference cannot be told from 0.
    pub relative_reduction: Option<Measured>,
    /// Two-sided p-value that belongs to the interval of `difference`; none when an arm has a single seed.
    pub p: Option<f64>,
    /// The same, adjusted for the other edits tested against this kind of reference; none for controls.
    pub p_holm: Option<f64>,
    /// By dealing out the models anew, which assumes nothing.
    pub permutation: Permutation,
    /// Percentiles of the hierarchical bootstrap: too narrow with few seeds, for comparison only; none when not asked.
    pub bootstrap: Option<Interval>,
}

/// What one arm did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmEffects {
    /// Name of the arm.
    pub arm: String,
    /// Pairs edited.
    pub k: u64,
    /// Whether it is there for comparison (random, bottom-ranked).
    pub is_control: bool,
    /// Against the model trained on the unedited pairs.
    pub versus_baseline: Effect,
    /// Against as many pairs edited at random in the same way; none when no such arm was trained.
    pub versus_random: Option<Effect>,
    /// What else changed against the baseline, in order of the measures' names.
    pub side_changes: Vec<SideChange>,
}

/// Change of something else that was measured, such as capability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideChange {
    /// What was measured.
    pub measure: String,
    /// Against the baseline; its p-value is adjusted for the other edits measured so, and there is no bootstrap.
    pub effect: Effect,
}

/// How to compute effects.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EffectOptions {
    /// Level of intervals, such as 0.95.
    pub level: f64,
    /// How to permute.
    pub permutation: PermutationOptions,
    /// How to bootstrap; none to leave it out.
    pub bootstrap: Option<BootstrapOptions>,
}

impl Effect {
    /// Compares two arms.
    ///
    /// # Errors
    ///
    /// When they share fewer than two prompts.
    pub fn of(arm: &ArmOutcomes, reference: &ArmOutcomes, options: EffectOptions) -> Result<Self, OutcomesError> {
        let ([arm_grid, reference_grid], n_prompts_left_out) = Outcomes::grids([arm, reference])?;
        let estimate = Estimate::of_difference(&arm_grid, &reference_grid);
        let level = options.level;
        let permutation = permutation::test(arm_grid.seed_rates(), reference_grid.seed_rates(), options.permutation)
            .expect("grids have seeds, and their rates are finite");
        let bootstrap = options.bootstrap.map(|bootstrap_options| {
            let replicates = bootstrap::of_difference(&arm_grid, &reference_grid, bootstrap_options);
            bootstrap::percentile_interval(&replicates, level, &[&arm_grid, &reference_grid])
        });
        Ok(Self {
            reference: reference.name.clone(),
            n_seeds: arm_grid.n_seeds(),
            n_reference_seeds: reference_grid.n_seeds(),
            n_prompts: arm_grid.n_prompts(),
            n_prompts_left_out,
            rate: arm_grid.rate(),
            reference_rate: reference_grid.rate(),
            difference: estimate.measured(level),
            relative_reduction: interval::relative_reduction(&arm_grid, &reference_grid, level),
            p: (estimate.covers() == Covers::SeedsPromptsRollouts).then(|| estimate.p_value()),
            p_holm: None,
            permutation,
            bootstrap,
        })
    }

    /// Whether training noise is accounted for, the interval leaves out 0 and the p-value, adjusted where it can be, is
    /// not above 1 − level: what may be called an effect.
    pub fn is_established(&self) -> bool {
        let interval = self.difference.interval;
        let p = self.p_holm.or(self.p);
        let is_rare = p.is_some_and(|p| p <= 1.0 - interval.level);
        interval.covers == Covers::SeedsPromptsRollouts && !interval.contains(0.0) && is_rare
    }

    /// [`Effect::is_established`], and the rate fell.
    pub fn lowers(&self) -> bool {
        self.is_established() && self.difference.value < 0.0
    }

    /// [`Effect::is_established`], and the rate rose.
    pub fn raises(&self) -> bool {
        self.is_established() && self.difference.value > 0.0
    }
}

/// What else changed between two arms: every measure that all their runs have, on two prompts or more.
pub fn side_changes(arm: &ArmOutcomes, baseline: &ArmOutcomes, options: EffectOptions) -> Vec<SideChange> {
    let measures = arm.runs.first().into_iter().flat_map(|run| run.side_measures.keys());
    let change = |measure: &String| {
        let (of_arm, of_baseline) = (arm.side(measure)?, baseline.side(measure)?);
        let effect = Effect::of(&of_arm, &of_baseline, EffectOptions { bootstrap: None, ..options }).ok()?;
        Some(SideChange { measure: measure.clone(), effect })
    };
    measures.filter_map(change).collect()
}
