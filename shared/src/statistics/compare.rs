//! Everything at once: from outcomes to rates, effects, p-values, doses and a conclusion, in one call.

use serde::{Deserialize, Serialize};

use super::bootstrap::BootstrapOptions;
use super::conclusion::Conclusion;
use super::dose::{DoseResponse, TrendOptions};
use super::effect::{self, ArmEffects, Effect, EffectOptions};
use super::holm;
use super::interval::{Estimate, Measured};
use super::outcomes::{ArmOutcomes, Grid, Outcomes, OutcomesError};
use super::permutation::PermutationOptions;
use super::power::{self, Aim, Design, Detectable};
use super::variance::{Components, prompt_change_sd};

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompareOptions {
    /// Level of all intervals, in (0, 1); tests are at 1 − level.
    pub level: f64,
    /// Chance to see an effect, for the minimum detectable one; between 1 − level and 1.
    pub power: f64,
    /// Starts all random numbers.
    pub seed: u64,
    /// Replicates of the bootstrap, shown for comparison; 0 to leave it out.
    pub n_bootstrap: usize,
    /// Up to so many deals of models are enumerated.
    pub max_exact: u64,
    /// Beyond that, and for trends, so many are drawn.
    pub n_draws: u64,
}

impl Default for CompareOptions {
    fn default() -> Self {
        let PermutationOptions { max_exact, n_draws, .. } = PermutationOptions::default();
        Self { level: 0.95, power: 0.8, seed: 0, n_bootstrap: 2000, max_exact, n_draws }
    }
}

/// The rate of an arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmRate {
    /// Name of the arm.
    pub arm: String,
    /// Pairs edited.
    pub k: u64,
    /// Training seeds.
    pub n_seeds: usize,
    /// Test prompts that all of its runs have.
    pub n_prompts: usize,
    /// Rollouts in all.
    pub n_rollouts: u64,
    /// In [0, 1].
    pub rate: Measured,
    /// Of each training seed, in order of seed numbers.
    pub seed_rates: Vec<f64>,
    /// Where its noise comes from.
    pub components: Components,
}

/// Rates of the arms in something else that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideRates {
    /// What was measured.
    pub measure: String,
    /// In the order of [`Comparison::arms`]; arms of which a run lacks it are left out.
    pub arms: Vec<ArmRate>,
}

/// All that may be said of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What it was made with.
    pub options: CompareOptions,
    /// Rates: the baseline first, then by name and size.
    pub arms: Vec<ArmRate>,
    /// The same of what else was measured, by name.
    pub side_rates: Vec<SideRates>,
    /// Of every arm but the baseline, by name and size.
    pub effects: Vec<ArmEffects>,
    /// What this experiment could have seen against the baseline, from its own noise, at a level adjusted for the number of
    /// edits tried (Bonferroni); none with single seeds or a baseline at 0.
    pub detectable: Option<Detectable>,
    /// Of every edit tried with two sizes or more.
    pub doses: Vec<DoseResponse>,
    /// In words.
    pub conclusion: Conclusion,
}

/// Compares all arms. The result depends neither on the order of arms, seeds and prompts nor on the machine.
///
/// # Errors
///
/// When the outcomes cannot be analysed.
///
/// # Panics
///
/// Panics when the level or the power is out of range.
pub fn compare(outcomes: &Outcomes, options: &CompareOptions) -> Result<Comparison, OutcomesError> {
    let aim = Aim { alpha: 1.0 - options.level, power: options.power };
    assert!(
        aim.alpha > 0.0 && aim.alpha < aim.power && aim.power < 1.0,
        "level and power between 0 and 1: {options:?}"
    );
    outcomes.check()?;
    let baseline = outcomes.baseline().ok_or(OutcomesError::NoBaseline)?;
    let mut arms: Vec<&ArmOutcomes> = outcomes.arms.iter().collect();
    arms.sort_by(|a, b| (!a.is_baseline(), &a.name, a.k).cmp(&(!b.is_baseline(), &b.name, b.k)));

    let rates: Vec<ArmRate> = arms.iter().map(|arm| ArmRate::of(arm, options.level)).collect::<Result<_, _>>()?;
    let mut effects = Vec::new();
    for arm in arms.iter().filter(|arm| !arm.is_baseline()) {
        effects.push(effects_of(outcomes, arm, baseline, options)?);
    }
    adjust(&mut effects, |effects| Some(&mut effects.versus_baseline));
    adjust(&mut effects, |effects| effects.versus_random.as_mut());
    let mut side_rates = Vec::new();
    for measure in outcomes.side_measures() {
        adjust(&mut effects, |effects| {
            let mut changes = effects.side_changes.iter_mut();
            changes.find(|change| change.measure == measure).map(|change| &mut change.effect)
        });
        let of_arm = |arm: &&ArmOutcomes| ArmRate::of(&arm.side(&measure)?, options.level).ok();
        side_rates.push(SideRates { arms: arms.iter().filter_map(of_arm).collect(), measure });
    }

    let n_tests = effects.iter().filter(|effects| effects.versus_baseline.p_holm.is_some()).count().max(1);
    let aim = Aim { alpha: aim.alpha / n_tests as f64, ..aim };
    let detectable = design(&arms, baseline)?.and_then(|design| power::detectable(&design, aim).ok());
    let trend = TrendOptions { n_draws: options.n_draws, seed: options.seed };
    let mut doses = Vec::new();
    let edits: Vec<&ArmOutcomes> = arms.iter().copied().filter(|arm| !arm.is_control() && arm.k > 0).collect();
    for of_name in edits.chunk_by(|a, b| a.name == b.name).filter(|chunk| chunk.len() > 1) {
        doses.push(DoseResponse::of(outcomes, &of_name[0].name, options.level, trend)?);
    }
    let conclusion = Conclusion::of(&effects, rates[0].rate, detectable.as_ref());
    Ok(Comparison { options: *options, arms: rates, side_rates, effects, detectable, doses, conclusion })
}

impl ArmRate {
    fn of(arm: &ArmOutcomes, level: f64) -> Result<Self, OutcomesError> {
        let ([grid], _) = Outcomes::grids([arm])?;
        Ok(Self {
            arm: arm.name.clone(),
            k: arm.k,
            n_seeds: grid.n_seeds(),
            n_prompts: grid.n_prompts(),
            n_rollouts: grid.n_rollouts().iter().map(|&n| u64::from(n)).sum(),
            rate: Estimate::of_rate(&grid).measured(level),
            seed_rates: grid.seed_rates().to_vec(),
            components: Components::of(&grid),
        })
    }
}

fn effects_of(
    outcomes: &Outcomes,
    arm: &ArmOutcomes,
    baseline: &ArmOutcomes,
    options: &CompareOptions,
) -> Result<ArmEffects, OutcomesError> {
    let &CompareOptions { level, seed, n_bootstrap, max_exact, n_draws, .. } = options;
    let effect_options = EffectOptions {
        level,
        permutation: PermutationOptions { max_exact, n_draws, seed, ..PermutationOptions::default() },
        bootstrap: (n_bootstrap > 0).then_some(BootstrapOptions { n_replicates: n_bootstrap, seed }),
    };
    let random = outcomes.random_of(arm);
    Ok(ArmEffects {
        arm: arm.name.clone(),
        k: arm.k,
        is_control: arm.is_control(),
        versus_baseline: Effect::of(arm, baseline, effect_options)?,
        versus_random: random.map(|random| Effect::of(arm, random, effect_options)).transpose()?,
        side_changes: effect::side_changes(arm, baseline, effect_options),
    })
}

/// Adjusts the p-values of all edits against one kind of reference: one family, because each edit that is tried is one
/// more chance to be lucky. Controls are not tried for an effect, and stay out.
fn adjust(effects: &mut [ArmEffects], effect_of: impl Fn(&mut ArmEffects) -> Option<&mut Effect>) {
    let mut family: Vec<&mut Effect> = effects
        .iter_mut()
        .filter(|effects| !effects.is_control)
        .filter_map(&effect_of)
        .filter(|effect| effect.p.is_some())
        .collect();
    let p_values: Vec<f64> = family.iter().filter_map(|effect| effect.p).collect();
    let adjusted = holm::adjust(&p_values).expect("p-values are in [0, 1]");
    for (effect, p) in family.iter_mut().zip(adjusted) {
        effect.p_holm = Some(p);
    }
}

/// The experiment as it was, with the noise it turned out to have: seeds pooled over all arms, what prompts change over
/// all edits. None when no edit or not the baseline has several seeds.
fn design(arms: &[&ArmOutcomes], baseline: &ArmOutcomes) -> Result<Option<Design>, OutcomesError> {
    let ([of_baseline], _) = Outcomes::grids([baseline])?;
    let (mut df, mut seed, mut seed_prompt) = (0.0, 0.0, 0.0);
    let square = |sd: Option<f64>| sd.map_or(0.0, |sd| sd * sd);
    let mut pool = |grid: &Grid| {
        let components = Components::of(grid);
        let weight = grid.n_seeds() as f64 - 1.0;
        df += weight;
        seed += weight * square(components.seed_sd);
        seed_prompt += weight * square(components.seed_prompt_sd);
    };
    let (mut changes, mut n_changes, mut n_seeds) = (0.0, 0, of_baseline.n_seeds());
    for arm in arms.iter().filter(|arm| arm.runs.len() > 1) {
        let ([grid, reference], _) = Outcomes::grids([*arm, baseline])?;
        pool(&grid);
        if !arm.is_control() {
            changes += square(Some(prompt_change_sd(&grid, &reference)));
            n_changes += 1;
            n_seeds = n_seeds.min(grid.n_seeds());
        }
    }
    if n_changes == 0 || n_seeds < 2 {
        return Ok(None);
    }
    let n_cells = of_baseline.n_rollouts().len() as f64;
    let n_rollouts = of_baseline.n_rollouts().iter().map(|&n| f64::from(n)).sum::<f64>() / n_cells;
    Ok(Some(Design {
        n_seeds,
        n_prompts: of_baseline.n_prompts(),
        n_rollouts: n_rollouts.round().max(1.0) as usize,
        baseline_rate: of_baseline.rate(),
        seed_sd: (seed / df).sqrt(),
        prompt_sd: Components::of(&of_baseline).prompt_sd,
        change_sd: (changes / f64::from(n_changes)).sqrt(),
        seed_prompt_sd: (seed_prompt / df).sqrt(),
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::statistics::conclusion::Finding;
    use crate::statistics::interval::Covers;
    use crate::statistics::outcomes::{PromptOutcomes, RunOutcomes};
    use crate::statistics::random::Random;

    const QUICK: CompareOptions =
        CompareOptions { level: 0.95, power: 0.8, seed: 1, n_bootstrap: 200, max_exact: 20_000, n_draws: 499 };

    /// Arms of given rates, with prompts and seeds that differ.
    fn outcomes(arms: &[(&str, u64, f64)], n_seeds: u64, seed: u64) -> Outcomes {
        let mut random = Random::new(seed);
        let prompts: Vec<f64> = (0..30).map(|_| 0.15 * random.normal()).collect();
        let arm = |random: &mut Random, &(name, k, rate): &(&str, u64, f64)| {
            let run = |random: &mut Random, seed: u64| {
                let shift = 0.05 * random.normal();
                let cell = |(i, prompt): (usize, &f64)| {
                    let n_rollouts = 6 + i as u32 % 4;
                    let shown = (0..n_rollouts)
                        .filter(|_| random.uniform() < rate + shift + if rate > 0.0 { *prompt } else { -1.0 });
                    PromptOutcomes { prompt: format!("prompt-{i}"), n_rollouts, shown: shown.count() as f64 }
                };
                let prompts = prompts.iter().enumerate().map(cell).collect();
                let answer = |i: usize| PromptOutcomes {
                    prompt: format!("question-{i}"),
                    n_rollouts: 1,
                    shown: f64::from(u8::from(random.uniform() < if name == "switch" { 0.3 } else { 0.8 })),
                };
                let side_measures = BTreeMap::from([("capability".to_owned(), (0..60).map(answer).collect())]);
                RunOutcomes { seed, prompts, side_measures }
            };
            ArmOutcomes { name: name.to_owned(), k, runs: (0..n_seeds).map(|seed| run(random, seed)).collect() }
        };
        Outcomes { arms: arms.iter().map(|of| arm(&mut random, of)).collect() }
    }

    const ARMS: [(&str, u64, f64); 8] = [
        ("baseline", 0, 0.6),
        ("drop", 100, 0.5),
        ("drop-random", 100, 0.6),
        ("drop", 300, 0.2),
        ("drop-random", 300, 0.6),
        ("drop-bottom", 300, 0.6),
        ("switch", 300, 0.25),
        ("switch-random", 300, 0.25),
    ];

    fn finding(comparison: &Comparison, arm: &str, k: u64) -> Finding {
        comparison.conclusion.arms.iter().find(|found| found.arm == arm && found.k == k).unwrap().finding
    }

    #[test]
    fn finds_what_was_put_in() {
        let comparison = compare(&outcomes(&ARMS, 4, 1), &QUICK).unwrap();
        assert_eq!(finding(&comparison, "drop", 300), Finding::BeyondRandom);
        assert_eq!(finding(&comparison, "switch", 300), Finding::NotBeyondRandom);
        assert_eq!(comparison.conclusion.arms.len(), 3, "controls are not concluded on");
        assert_eq!(comparison.effects.len(), 7);
        let bottom = comparison.effects.iter().find(|effects| effects.arm == "drop-bottom").unwrap();
        assert_eq!(bottom.versus_random.as_ref().unwrap().reference, "drop-random");
        assert!(bottom.is_control && bottom.versus_baseline.p_holm.is_none() && bottom.versus_baseline.p.is_some());
        assert_eq!(comparison.doses.len(), 1);
        assert_eq!(comparison.doses[0].points.iter().map(|point| point.k).collect::<Vec<_>>(), [0, 100, 300]);
        assert!(comparison.doses[0].trend.unwrap().concordance < -0.8);
        assert!(comparison.doses[0].points[2].random.is_some());
        let least = comparison.detectable.unwrap();
        assert!((0.03..0.3).contains(&least.absolute), "{least:?}");
    }

    #[test]
    fn what_else_changed_is_told_like_an_effect() {
        let all = outcomes(&ARMS, 4, 1);
        let comparison = compare(&all, &QUICK).unwrap();
        let capability = |arm: &str, k: u64| {
            let effects = comparison.effects.iter().find(|of| of.arm == arm && of.k == k).unwrap();
            assert_eq!(effects.side_changes.len(), 1);
            effects.side_changes[0].effect.clone()
        };
        let (hurt, unhurt) = (capability("switch", 300), capability("drop", 300));
        assert!(hurt.lowers() && hurt.p_holm >= hurt.p && !unhurt.is_established(), "{hurt:?} {unhurt:?}");
        assert!(capability("switch-random", 300).p_holm.is_none(), "controls are not tried for an effect");
        let rates = &comparison.side_rates[0];
        assert_eq!((rates.measure.as_str(), rates.arms.len()), ("capability", ARMS.len()));
        assert_eq!((rates.arms[0].arm.as_str(), rates.arms[0].n_prompts), ("baseline", 60));
        assert_eq!(rates.arms[0].rate.value, hurt.reference_rate);
        let text = &comparison.conclusion.text;
        assert!(text.contains("capability"), "{text}");

        // A run without it takes its arm out, and the others stay.
        let mut fewer = all;
        let drop = fewer.arms.iter_mut().find(|arm| arm.name == "drop" && arm.k == 300).unwrap();
        drop.runs[1].side_measures.clear();
        let fewer = compare(&fewer, &QUICK).unwrap();
        assert_eq!(fewer.side_rates[0].arms.len(), ARMS.len() - 1);
        assert_eq!(fewer.effects.iter().filter(|of| of.side_changes.is_empty()).count(), 1);
    }

    #[test]
    fn order_does_not_matter() {
        let one = outcomes(&ARMS, 3, 2);
        let mut other = one.clone();
        other.arms.reverse();
        for arm in &mut other.arms {
            arm.runs.rotate_left(1);
            arm.runs.iter_mut().for_each(|run| run.prompts.reverse());
        }
        assert_eq!(compare(&one, &QUICK).unwrap(), compare(&other, &QUICK).unwrap());
    }

    #[test]
    fn names_of_prompts_do_not_matter() {
        let one = outcomes(&ARMS[..3], 3, 2);
        let mut other = one.clone();
        for cell in other.arms.iter_mut().flat_map(|arm| &mut arm.runs).flat_map(|run| &mut run.prompts) {
            cell.prompt = format!("the {}", cell.prompt);
        }
        assert_eq!(compare(&one, &QUICK).unwrap(), compare(&other, &QUICK).unwrap());
    }

    #[test]
    fn one_seed_concludes_nothing() {
        let comparison = compare(&outcomes(&ARMS, 1, 3), &QUICK).unwrap();
        assert!(comparison.conclusion.arms.iter().all(|arm| arm.finding == Finding::SingleSeed));
        assert!(comparison.detectable.is_none());
        assert!(comparison.arms.iter().all(|arm| arm.rate.interval.covers == Covers::PromptsRollouts));
        assert!(comparison.effects.iter().all(|effects| effects.versus_baseline.p.is_none()));
    }

    #[test]
    fn a_behavior_that_never_or_always_shows() {
        let never = compare(&outcomes(&[("baseline", 0, 0.0), ("drop", 5, 0.0)], 3, 4), &QUICK).unwrap();
        assert_eq!(finding(&never, "drop", 5), Finding::NothingToReduce);
        let rate = never.arms[0].rate;
        assert!(rate.value == 0.0 && rate.interval.low == 0.0 && rate.interval.high > 0.003, "{rate:?}");
        assert!(never.detectable.is_none());
        let always = compare(&outcomes(&[("baseline", 0, 3.0), ("drop", 5, 3.0)], 3, 4), &QUICK).unwrap();
        assert_eq!(finding(&always, "drop", 5), Finding::NotDetected);
        assert!(always.arms[0].rate.interval.low < 1.0 && always.arms[0].rate.interval.high == 1.0);
    }

    #[test]
    fn missing_prompts_are_left_out_and_counted() {
        let mut outcomes = outcomes(&ARMS[..3], 3, 5);
        outcomes.arms[1].runs[2].prompts.truncate(20);
        let comparison = compare(&outcomes, &QUICK).unwrap();
        let drop = &comparison.effects[0];
        assert_eq!((drop.versus_baseline.n_prompts, drop.versus_baseline.n_prompts_left_out), (20, 10));
        assert_eq!(comparison.effects[1].versus_baseline.n_prompts, 30);
        outcomes.arms[0].name = "before".to_owned();
        assert_eq!(compare(&outcomes, &QUICK), Err(OutcomesError::NoBaseline));
    }

    #[test]
    fn comes_back_from_json() {
        let comparison = compare(&outcomes(&ARMS, 3, 6), &QUICK).unwrap();
        let json = serde_json::to_string(&comparison).unwrap();
        assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap().conclusion, comparison.conclusion);
        let outcomes: Outcomes = serde_json::from_str(
            r#"{"arms": [{"name": "baseline", "k": 0, "runs": [{"seed": 1, "prompts": [{"prompt": "a", "n_rollouts": 8, "shown": 3}]}]}]}"#,
        )
        .unwrap();
        assert_eq!(outcomes.arms[0].runs[0].prompts[0].shown, 3.0);
        assert_eq!(serde_json::from_str::<CompareOptions>("{}").unwrap(), CompareOptions::default());
    }
}
