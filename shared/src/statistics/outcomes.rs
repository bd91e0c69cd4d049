//! What a retraining experiment measured: for every arm, training seed and test prompt, how often the behavior showed.
//!
//! All arms answer the same test prompts, so prompts are crossed with seeds and with arms. Runs of different arms are
//! treated as independent even when their seed numbers agree: an edit changes which pairs stand in a batch, so little is
//! shared. If something is, differences are more certain than said here, never less.
//!
//! Statistics are made on a [`Grid`]: seeds × prompts without gaps. A prompt that some run of the compared arms lacks is
//! left out of that comparison, in all its runs, and counted; so every difference is made within the same prompts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Name of the arm that was trained on the pairs as they are.
pub const BASELINE: &str = "baseline";
/// What the name of a size-matched random arm ends with: `drop-random` is the random arm of `drop`.
pub const RANDOM: &str = "random";
/// What the name of a bottom-ranked arm ends with.
pub const BOTTOM: &str = "bottom";

/// All that a retraining experiment measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcomes {
    /// In any order; results do not depend on it.
    pub arms: Vec<ArmOutcomes>,
}

/// One way to edit the pairs, with every training seed it was tried with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmOutcomes {
    /// `baseline`, or an action, optionally followed by what chose the pairs: `drop`, `switch`, `drop-random`,
    /// `drop-bottom`, `switch-gradient`. The action is what stands before the first `-`.
    pub name: String,
    /// Pairs edited; 0 for the baseline.
    pub k: u64,
    /// One per training seed, in any order.
    pub runs: Vec<RunOutcomes>,
}

/// One trained model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunOutcomes {
    /// Training seed. In random arms it also draws the pairs, so their choice is part of the seed's noise.
    pub seed: u64,
    /// In any order.
    pub prompts: Vec<PromptOutcomes>,
    /// What else was measured of this model, such as `capability` or `over-refusal`, each with prompts of its own: shown
    /// counts what is measured there, right answers or refusals.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub side_measures: BTreeMap<String, Vec<PromptOutcomes>>,
}

/// The rollouts of one model on one test prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptOutcomes {
    /// Which test prompt: its id, equal in every run.
    pub prompt: String,
    /// Rollouts judged. A prompt without any counts as missing.
    pub n_rollouts: u32,
    /// Rollouts that showed the behavior; or, when rollouts have values in [0, 1], their sum. At most `n_rollouts`.
    pub shown: f64,
}

/// Outcomes that cannot be analysed.
#[derive(Debug, Clone, Error, PartialEq)]
pub enum OutcomesError {
    /// There is nothing to compare with.
    #[error("no arm is named {BASELINE:?}: effects need the model trained on the unedited pairs")]
    NoBaseline,
    /// Two arms are one.
    #[error("arm {arm:?} with {k} pairs is there twice: put its seeds into one arm")]
    RepeatedArm {
        /// Name of the arm.
        arm: String,
        /// Pairs edited.
        k: u64,
    },
    /// An arm of no model.
    #[error("arm {arm:?} with {k} pairs has no run")]
    NoRuns {
        /// Name of the arm.
        arm: String,
        /// Pairs edited.
        k: u64,
    },
    /// Two runs of an arm are one.
    #[error("seed {seed} is there twice in arm {arm:?}")]
    RepeatedSeed {
        /// Name of the arm.
        arm: String,
        /// The seed.
        seed: u64,
    },
    /// Two outcomes of a run are of one prompt.
    #[error("prompt {prompt:?} is there twice in seed {seed} of arm {arm:?}")]
    RepeatedPrompt {
        /// Name of the arm.
        arm: String,
        /// The seed.
        seed: u64,
        /// The prompt.
        prompt: String,
    },
    /// More shown than rolled out, or a number that is none.
    #[error(
        "expected between 0 and {n_rollouts} rollouts that show the behavior, got {shown}: prompt {prompt:?}, seed {seed}, arm {arm:?}"
    )]
    BadCount {
        /// Name of the arm.
        arm: String,
        /// The seed.
        seed: u64,
        /// The prompt.
        prompt: String,
        /// Rollouts.
        n_rollouts: u32,
        /// Of them, said to show the behavior.
        shown: f64,
    },
    /// Without two prompts there is no saying how prompts differ.
    #[error("expected at least 2 test prompts with rollouts in every run of {arms}, got {n_prompts}")]
    FewPrompts {
        /// The arms compared.
        arms: String,
        /// Prompts that all their runs have.
        n_prompts: usize,
    },
}

impl ArmOutcomes {
    /// Whether this is the model trained on the unedited pairs.
    pub fn is_baseline(&self) -> bool {
        self.name == BASELINE
    }

    /// What is done to the pairs: the name up to the first `-`.
    pub fn action(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }

    /// Whether the pairs were chosen at random, for comparison.
    pub fn is_random(&self) -> bool {
        self.name.split_once('-').is_some_and(|(_, chosen_by)| chosen_by == RANDOM)
    }

    /// Whether the arm is there for comparison: the baseline, a random or a bottom-ranked one.
    pub fn is_control(&self) -> bool {
        let bottom = self.name.split_once('-').is_some_and(|(_, chosen_by)| chosen_by == BOTTOM);
        self.is_baseline() || self.is_random() || bottom
    }

    /// The arm with a side measure in the behavior's place; none unless all its runs have it.
    pub fn side(&self, measure: &str) -> Option<Self> {
        let run = |run: &RunOutcomes| {
            let prompts = run.side_measures.get(measure)?.clone();
            Some(RunOutcomes { seed: run.seed, prompts, side_measures: BTreeMap::new() })
        };
        let runs = self.runs.iter().map(run).collect::<Option<Vec<_>>>()?;
        Some(Self { name: self.name.clone(), k: self.k, runs })
    }
}

impl Outcomes {
    /// Refuses what cannot be analysed.
    ///
    /// # Errors
    ///
    /// See [`OutcomesError`]; [`OutcomesError::FewPrompts`] comes only from [`Outcomes::grids`].
    pub fn check(&self) -> Result<(), OutcomesError> {
        let mut arms = BTreeSet::new();
        for arm in &self.arms {
            let (name, k) = (arm.name.clone(), arm.k);
            if !arms.insert((&arm.name, if arm.is_baseline() { 0 } else { k })) {
                return Err(OutcomesError::RepeatedArm { arm: name, k });
            }
            if arm.runs.is_empty() {
                return Err(OutcomesError::NoRuns { arm: name, k });
            }
            let mut seeds = BTreeSet::new();
            for run in &arm.runs {
                if !seeds.insert(run.seed) {
                    return Err(OutcomesError::RepeatedSeed { arm: name, seed: run.seed });
                }
                run.check(&name)?;
            }
        }
        self.baseline().map(|_| ()).ok_or(OutcomesError::NoBaseline)
    }

    /// The arm trained on the unedited pairs.
    pub fn baseline(&self) -> Option<&ArmOutcomes> {
        self.arms.iter().find(|arm| arm.is_baseline())
    }

    /// The random arm of the same action and size, if there is one that is not the arm itself.
    pub fn random_of(&self, arm: &ArmOutcomes) -> Option<&ArmOutcomes> {
        let matches = |other: &&ArmOutcomes| other.is_random() && other.action() == arm.action() && other.k == arm.k;
        self.arms.iter().find(matches).filter(|_| !arm.is_random() && !arm.is_baseline())
    }

    /// Names of everything that some run measured beside the behavior, in order.
    pub fn side_measures(&self) -> Vec<String> {
        let runs = self.arms.iter().flat_map(|arm| &arm.runs);
        runs.flat_map(|run| run.side_measures.keys().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Grids of the given arms over the prompts that all their runs have, and how many prompts were left out.
    ///
    /// # Errors
    ///
    /// When fewer than two prompts are left.
    pub fn grids<const N: usize>(arms: [&ArmOutcomes; N]) -> Result<([Grid; N], usize), OutcomesError> {
        let (grids, n_left_out) = Self::grids_of(&arms)?;
        let grids = grids.try_into().expect("a grid for each arm");
        Ok((grids, n_left_out))
    }

    /// [`Outcomes::grids`] of any number of arms.
    ///
    /// # Errors
    ///
    /// When fewer than two prompts are left.
    pub fn grids_of(arms: &[&ArmOutcomes]) -> Result<(Vec<Grid>, usize), OutcomesError> {
        let runs = || arms.iter().flat_map(|arm| &arm.runs);
        let mut n_having: BTreeMap<&str, usize> = BTreeMap::new();
        for cell in runs().flat_map(|run| &run.prompts) {
            *n_having.entry(&cell.prompt).or_default() += usize::from(cell.n_rollouts > 0);
        }
        let n_runs = runs().count();
        let prompts: Vec<&str> = n_having.iter().filter(|(_, n)| **n == n_runs).map(|(prompt, _)| *prompt).collect();
        if prompts.len() < 2 {
            let names: Vec<String> = arms.iter().map(|arm| format!("{} ({})", arm.name, arm.k)).collect();
            return Err(OutcomesError::FewPrompts { arms: names.join(" and "), n_prompts: prompts.len() });
        }
        let grids = arms.iter().map(|arm| Grid::of_arm(arm, &prompts)).collect();
        Ok((grids, n_having.len() - prompts.len()))
    }
}

impl RunOutcomes {
    fn check(&self, arm: &str) -> Result<(), OutcomesError> {
        for cells in std::iter::once(&self.prompts).chain(self.side_measures.values()) {
            let (arm, seed) = (arm.to_owned(), self.seed);
            let mut prompts = BTreeSet::new();
            for PromptOutcomes { prompt, n_rollouts, shown } in cells {
                let (prompt, n_rollouts, shown) = (prompt.clone(), *n_rollouts, *shown);
                if !(0.0..=f64::from(n_rollouts)).contains(&shown) {
                    return Err(OutcomesError::BadCount { arm, seed, prompt, n_rollouts, shown });
                }
                if !prompts.insert(prompt.clone()) {
                    return Err(OutcomesError::RepeatedPrompt { arm, seed, prompt });
                }
            }
        }
        Ok(())
    }
}

/// Rates of one arm, seeds × prompts without gaps, in order of seed number and prompt id.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    n_seeds: usize,
    n_prompts: usize,
    /// Row-major `[n_seeds, n_prompts]`, in [0, 1].
    rates: Vec<f64>,
    /// Row-major `[n_seeds, n_prompts]`, at least 1.
    n_rollouts: Vec<u32>,
    /// `[n_seeds]`.
    seed_rates: Vec<f64>,
    /// `[n_prompts]`.
    prompt_rates: Vec<f64>,
}

impl Grid {
    /// From rates in [0, 1] and numbers of rollouts, both row-major `[n_seeds, n_prompts]`.
    ///
    /// # Panics
    ///
    /// Panics when the two differ in length, are not whole rows, are empty, or say what no rollouts can.
    pub fn new(n_prompts: usize, rates: Vec<f64>, n_rollouts: Vec<u32>) -> Self {
        assert!(n_prompts > 0 && !rates.is_empty() && rates.len().is_multiple_of(n_prompts), "whole rows of prompts");
        assert!(rates.iter().all(|rate| (0.0..=1.0).contains(rate)), "rates are in [0, 1]");
        assert!(n_rollouts.len() == rates.len() && n_rollouts.iter().all(|&n| n > 0), "every cell has rollouts");
        let n_seeds = rates.len() / n_prompts;
        let seed_rates = rates.chunks(n_prompts).map(mean).collect();
        let column = |prompt| rates.iter().skip(prompt).step_by(n_prompts).sum::<f64>() / n_seeds as f64;
        let prompt_rates = (0..n_prompts).map(column).collect();
        Self { n_seeds, n_prompts, rates, n_rollouts, seed_rates, prompt_rates }
    }

    fn of_arm(arm: &ArmOutcomes, prompts: &[&str]) -> Self {
        let mut runs: Vec<&RunOutcomes> = arm.runs.iter().collect();
        runs.sort_by_key(|run| run.seed);
        let (mut rates, mut n_rollouts) = (Vec::new(), Vec::new());
        for run in runs {
            let cells: BTreeMap<&str, &PromptOutcomes> =
                run.prompts.iter().map(|cell| (cell.prompt.as_str(), cell)).collect();
            for cell in prompts.iter().map(|prompt| cells[prompt]) {
                rates.push(cell.shown / f64::from(cell.n_rollouts));
                n_rollouts.push(cell.n_rollouts);
            }
        }
        Self::new(prompts.len(), rates, n_rollouts)
    }

    /// Training seeds.
    pub fn n_seeds(&self) -> usize {
        self.n_seeds
    }

    /// Test prompts.
    pub fn n_prompts(&self) -> usize {
        self.n_prompts
    }

    /// Row-major `[n_seeds, n_prompts]`.
    pub fn rates(&self) -> &[f64] {
        &self.rates
    }

    /// Row-major `[n_seeds, n_prompts]`.
    pub fn n_rollouts(&self) -> &[u32] {
        &self.n_rollouts
    }

    /// Mean over prompts, `[n_seeds]`: every prompt counts alike, however many rollouts it has.
    pub fn seed_rates(&self) -> &[f64] {
        &self.seed_rates
    }

    /// Mean over seeds, `[n_prompts]`.
    pub fn prompt_rates(&self) -> &[f64] {
        &self.prompt_rates
    }

    /// The arm's rate: mean over seeds of the mean over prompts.
    pub fn rate(&self) -> f64 {
        mean(&self.seed_rates)
    }
}

/// Mean of numbers in the order given; NaN of none.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Unbiased variance around the mean; 0 of fewer than two.
pub(crate) fn variance(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (values.len() - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64, cells: &[(&str, u32, f64)]) -> RunOutcomes {
        let cell = |&(prompt, n_rollouts, shown): &(&str, u32, f64)| PromptOutcomes {
            prompt: prompt.to_owned(),
            n_rollouts,
            shown,
        };
        RunOutcomes { seed, prompts: cells.iter().map(cell).collect(), side_measures: BTreeMap::new() }
    }

    fn arm(name: &str, k: u64, runs: Vec<RunOutcomes>) -> ArmOutcomes {
        ArmOutcomes { name: name.to_owned(), k, runs }
    }

    #[test]
    fn prompts_that_a_run_lacks_are_left_out_everywhere() {
        let a = arm(
            BASELINE,
            0,
            vec![
                run(2, &[("q", 4, 1.0), ("p", 2, 1.0), ("r", 5, 5.0)]),
                run(1, &[("p", 4, 4.0), ("q", 4, 0.0), ("r", 5, 0.0)]),
            ],
        );
        let b = arm("drop", 9, vec![run(1, &[("p", 8, 2.0), ("q", 8, 4.0), ("r", 0, 0.0), ("s", 1, 1.0)])]);
        let ([a_grid, b_grid], n_left_out) = Outcomes::grids([&a, &b]).unwrap();
        assert_eq!((a_grid.rates(), a_grid.n_rollouts()), (&[1.0, 0.0, 0.5, 0.25][..], &[4, 4, 2, 4][..]));
        assert_eq!((b_grid.rates(), n_left_out), (&[0.25, 0.5][..], 2));
        assert_eq!((a_grid.seed_rates(), a_grid.prompt_rates()), (&[0.5, 0.375][..], &[0.75, 0.125][..]));
        assert_eq!(a_grid.rate(), 0.4375);
        let c = arm("drop", 9, vec![run(1, &[("p", 8, 2.0)])]);
        assert!(matches!(Outcomes::grids([&a, &c]), Err(OutcomesError::FewPrompts { n_prompts: 1, .. })));
    }

    #[test]
    fn names_say_what_an_arm_is_for() {
        let named = |name: &str| arm(name, 5, vec![run(1, &[])]);
        let outcomes = Outcomes { arms: ["drop-random", "switch-random", "drop", "drop-gradient"].map(named).to_vec() };
        let random_of = |name: &str| outcomes.random_of(&named(name)).map(|arm| arm.name.as_str());
        assert_eq!(random_of("drop"), Some("drop-random"));
        assert_eq!(random_of("drop-bottom"), Some("drop-random"));
        assert_eq!(random_of("switch-gradient"), Some("switch-random"));
        assert_eq!(random_of("drop-random"), None);
        assert_eq!(random_of("source"), None);
        assert_eq!(outcomes.random_of(&arm("drop", 6, vec![])), None, "another size");
        assert!(named("drop-bottom").is_control() && !named("drop-gradient").is_control());
    }

    #[test]
    fn what_cannot_be_analysed_is_refused() {
        let good = arm(BASELINE, 0, vec![run(1, &[("p", 4, 4.0)])]);
        let refused = |arms: Vec<ArmOutcomes>| Outcomes { arms }.check().unwrap_err();
        assert_eq!(refused(vec![]), OutcomesError::NoBaseline);
        assert!(matches!(refused(vec![good.clone(), good.clone()]), OutcomesError::RepeatedArm { .. }));
        assert!(matches!(refused(vec![arm(BASELINE, 0, vec![])]), OutcomesError::NoRuns { .. }));
        let twice = vec![run(1, &[]), run(1, &[])];
        assert!(matches!(refused(vec![arm(BASELINE, 0, twice)]), OutcomesError::RepeatedSeed { seed: 1, .. }));
        let twice = vec![run(1, &[("p", 1, 1.0), ("p", 1, 1.0)])];
        assert!(matches!(refused(vec![arm(BASELINE, 0, twice)]), OutcomesError::RepeatedPrompt { .. }));
        for shown in [-1.0, 4.5, f64::NAN] {
            let bad = vec![run(1, &[("p", 4, shown)])];
            assert!(matches!(refused(vec![arm(BASELINE, 0, bad)]), OutcomesError::BadCount { .. }));
        }
        let mut bad = run(1, &[]);
        bad.side_measures.insert("capability".to_owned(), run(1, &[("p", 1, 2.0)]).prompts);
        assert!(matches!(refused(vec![arm(BASELINE, 0, vec![bad])]), OutcomesError::BadCount { .. }));
        assert!(Outcomes { arms: vec![good] }.check().is_ok());
    }
}
