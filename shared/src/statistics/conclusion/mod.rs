//! What may be concluded, in plain words that never say more than the intervals allow.
//!
//! An effect is claimed when [`Effect::is_established`](super::effect::Effect::is_established) says so: training noise
//! known, 0 outside of the interval, and the adjusted p-value small. Everything else is reported as measured, with its
//! interval, and said to be undecided.

mod expectation;
mod finding;
mod wording;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use self::finding::arm_text;
pub use self::finding::{ArmFinding, Finding, side_change_text};
use self::wording::decimals;
pub use self::wording::{p_text, percent, percent_level, points};
use super::effect::ArmEffects;
use super::interval::{Covers, Interval, Measured};
use super::power::Detectable;

/// What may be concluded of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    /// One per arm that is no control, in the order given.
    pub arms: Vec<ArmFinding>,
    /// One paragraph on all of it.
    pub text: String,
}

/// Up to so many arms, the paragraph tells of each; beyond, it lists them by finding.
const MAX_ARMS_TOLD: usize = 3;

impl Conclusion {
    /// Of the effects of all arms, the baseline's rate, and the smallest effect that would probably have been seen.
    pub fn of(effects: &[ArmEffects], baseline: Measured, detectable: Option<&Detectable>) -> Self {
        let told = effects.iter().filter(|effects| !effects.is_control);
        let arms: Vec<ArmFinding> = told
            .map(|effects| {
                let finding = Finding::of(effects);
                let text = arm_text(effects, finding, detectable);
                ArmFinding { arm: effects.arm.clone(), k: effects.k, finding, text }
            })
            .collect();
        let text = paragraph(&arms, effects, baseline, detectable);
        Self { arms, text }
    }
}

fn paragraph(
    arms: &[ArmFinding],
    effects: &[ArmEffects],
    baseline: Measured,
    detectable: Option<&Detectable>,
) -> String {
    let mut text = format!(
        "The baseline shows the behavior in {} of rollouts ({}).",
        percent(baseline.value),
        rate_interval(&baseline.interval)
    );
    if arms.is_empty() {
        text += " No edit was tried.";
    }
    if arms.len() <= MAX_ARMS_TOLD {
        arms.iter().for_each(|arm| text += &format!(" {}", arm.text));
    } else {
        let mut findings: Vec<Finding> = arms.iter().map(|arm| arm.finding).collect();
        findings.sort_unstable();
        findings.dedup();
        for finding in findings {
            let names = arms.iter().filter(|arm| arm.finding == finding).map(|arm| format!("{} ({})", arm.arm, arm.k));
            let names: Vec<String> = names.collect();
            let _ =
                write!(text, " {}: {} of {} edits, {}.", finding.heading(), names.len(), arms.len(), names.join(", "));
        }
        text += &side_list(effects);
    }
    if let Some(detectable) = detectable {
        let _ = write!(
            text,
            " With {} seeds per arm, a change of {} points would have been seen with a probability of {}{}.",
            detectable.design.n_seeds,
            decimals(100.0 * detectable.absolute),
            percent_level(detectable.aim.power),
            if detectable.relative > 1.0 { ", which is more than the baseline's rate" } else { "" }
        );
    }
    text
}

/// What else changed, of many edits: every measure that fell or rose, with the edits that did it.
fn side_list(effects: &[ArmEffects]) -> String {
    let mut changed: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let told = effects.iter().filter(|effects| !effects.is_control);
    let mut n_measured = 0;
    for (arm, change) in told.flat_map(|arm| arm.side_changes.iter().map(move |change| (arm, change))) {
        n_measured += 1;
        if change.effect.is_established() {
            let what = if change.effect.lowers() { "fell" } else { "rose" };
            changed.entry((&change.measure, what)).or_default().push(format!("{} ({})", arm.arm, arm.k));
        }
    }
    let mut text = String::new();
    for ((measure, what), names) in &changed {
        let _ = write!(text, " Meanwhile {measure} {what} with {}.", names.join(", "));
    }
    if changed.is_empty() && n_measured > 0 {
        text += " Nothing else that was measured was shown to change.";
    }
    text
}

fn rate_interval(interval: &Interval) -> String {
    let Interval { low, high, level, covers } = *interval;
    let range = format!("{} interval {} to {}", percent_level(level), percent(low), percent(high));
    match covers {
        Covers::PromptsRollouts => range + ", not covering training noise: one seed",
        Covers::SeedsPromptsRollouts => range,
    }
}

#[cfg(test)]
mod tests {
    use super::wording::p_number;
    use super::*;
    use crate::diagnosis::{Expectation, Subject, Verdict};
    use crate::statistics::effect::{Effect, SideChange};
    use crate::statistics::permutation::{Permutation, Sides};
    use crate::statistics::power::{Aim, Design, detectable};

    fn effect(value: f64, low: f64, high: f64, p: Option<f64>) -> Effect {
        let covers = if p.is_some() { Covers::SeedsPromptsRollouts } else { Covers::PromptsRollouts };
        let interval = Interval { low, high, level: 0.95, covers };
        let n_seeds = if p.is_some() { 3 } else { 1 };
        let reduction = Interval { low: 0.27, high: 0.81, level: 0.95, covers };
        Effect {
            reference: "baseline".to_owned(),
            n_seeds,
            n_reference_seeds: n_seeds,
            n_prompts: 40,
            n_prompts_left_out: 0,
            rate: 0.56 + value,
            reference_rate: 0.56,
            difference: Measured { value, interval },
            relative_reduction: Some(Measured { value: -value / 0.56, interval: reduction }),
            p,
            p_holm: p,
            permutation: Permutation { p: 0.1, smallest_p: 0.1, n_splits: 20, exact: true, sides: Sides::Two },
            bootstrap: None,
        }
    }

    fn arm(versus_baseline: Effect, versus_random: Option<Effect>) -> ArmEffects {
        let side_changes = Vec::new();
        ArmEffects { arm: "drop".to_owned(), k: 3000, is_control: false, versus_baseline, versus_random, side_changes }
    }

    fn least() -> Detectable {
        let design = Design {
            n_seeds: 3,
            n_prompts: 40,
            n_rollouts: 10,
            baseline_rate: 0.56,
            seed_sd: 0.1,
            prompt_sd: 0.2,
            change_sd: 0.1,
            seed_prompt_sd: 0.0,
        };
        detectable(&design, Aim::default()).unwrap()
    }

    fn told(effects: &ArmEffects) -> (Finding, String) {
        told_with(effects, &least())
    }

    fn told_with(effects: &ArmEffects, least: &Detectable) -> (Finding, String) {
        let interval = Interval { low: 0.41, high: 0.71, level: 0.95, covers: Covers::SeedsPromptsRollouts };
        let baseline = Measured { value: 0.56, interval };
        let conclusion = Conclusion::of(std::slice::from_ref(effects), baseline, Some(least));
        (conclusion.arms[0].finding, conclusion.text)
    }

    fn assert_says(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    }

    fn established() -> Effect {
        effect(-0.31, -0.451, -0.169, Some(0.004))
    }

    fn undecided() -> Effect {
        effect(-0.05, -0.21, 0.11, Some(0.4))
    }

    #[test]
    fn a_clear_effect_beyond_random() {
        let (finding, text) = told(&arm(established(), Some(effect(-0.2, -0.34, -0.06, Some(0.02)))));
        assert_eq!(finding, Finding::BeyondRandom);
        assert_says(
            &text,
            &["lowered the rate from 56.0 % to 25.0 %", "−45.1 to −16.9", "−34.0 to −6.0", "41.0 % to 71.0 %"],
        );
        assert_says(
            &text,
            &["adjusted p = 0.004", "lower than with as many random", "3 and 3 seeds cannot give less than 0.10"],
        );
    }

    #[test]
    fn an_effect_that_random_edits_may_have_as_well() {
        let (finding, text) = told(&arm(established(), Some(undecided())));
        assert_eq!(finding, Finding::NotBeyondRandom);
        assert_says(&text, &["lowered the rate", "cannot be told from as many random pairs", "−21.0 to +11.0"]);
        assert!(!text.contains("lower than with"), "{text}");
    }

    #[test]
    fn an_effect_without_a_random_arm_to_compare_with() {
        let (finding, text) = told(&arm(established(), None));
        assert_eq!(finding, Finding::WithoutRandom);
        assert_says(&text, &["may be what any edit of that size does"]);
        let (finding, text) = told(&arm(established(), Some(effect(-0.2, -0.25, -0.15, None))));
        assert_eq!(finding, Finding::WithoutRandom);
        assert_says(&text, &["training noise is not covered", "−25.0 to −15.0"]);
    }

    #[test]
    fn no_detectable_effect_says_what_could_have_been_seen() {
        let (finding, text) = told(&arm(undecided(), Some(undecided())));
        assert_eq!(finding, Finding::NotDetected);
        let points = decimals(100.0 * least().absolute);
        assert_says(
            &text,
            &["not shown to change", "−21.0 to +11.0", "includes no change", &format!("a change of {points} points")],
        );
        assert!(!text.contains("lowered") && !text.contains("raised"), "{text}");
        let adjusted_away = Effect { p_holm: Some(0.08), ..effect(-0.31, -0.6, -0.02, Some(0.04)) };
        let (finding, text) = told(&arm(adjusted_away, None));
        assert_eq!(finding, Finding::NotDetected);
        assert_says(&text, &["adjusted p = 0.080", "not once it is adjusted"]);
    }

    #[test]
    fn lower_than_random_alone_is_said_to_be_that() {
        let (finding, text) = told(&arm(undecided(), Some(established())));
        assert_eq!(finding, Finding::OnlyAgainstRandom);
        assert_says(&text, &["not shown to change", "lower than with as many random"]);
    }

    #[test]
    fn an_effect_the_wrong_way() {
        let (finding, text) = told(&arm(effect(0.2, 0.05, 0.35, Some(0.02)), Some(undecided())));
        assert_eq!(finding, Finding::Opposite);
        assert_says(&text, &["raised the rate from 56.0 % to 76.0 %", "+5.0 to +35.0"]);
    }

    #[test]
    fn one_seed_concludes_nothing() {
        let (finding, text) = told(&arm(effect(-0.31, -0.4, -0.2, None), Some(effect(-0.3, -0.4, -0.2, None))));
        assert_eq!(finding, Finding::SingleSeed);
        assert_says(&text, &["one seed each", "−40.0 to −20.0", "does not cover training noise"]);
        assert!(!text.contains("lowered"), "{text}");
    }

    #[test]
    fn a_baseline_without_the_behavior() {
        let nothing = Effect {
            rate: 0.0,
            reference_rate: 0.0,
            relative_reduction: None,
            ..effect(0.0, -0.005, 0.005, Some(1.0))
        };
        let (finding, text) = told(&arm(nothing, None));
        assert_eq!(finding, Finding::NothingToReduce);
        assert_says(&text, &["nothing to reduce", "in no rollout", "−0.5 to +0.5"]);
    }

    #[test]
    fn what_else_changed_is_told_with_its_interval() {
        let mut effects = arm(established(), None);
        let side = |measure: &str, effect: Effect| SideChange { measure: measure.to_owned(), effect };
        effects.side_changes = vec![
            side("capability", established()),
            side("over-refusal", undecided()),
            side("knowledge", effect(-0.3, -0.4, -0.2, None)),
        ];
        let (_, text) = told(&effects);
        assert_says(&text, &["capability fell from 56.0 % to 25.0 %: −31.0 points (95 % interval −45.1 to −16.9, adj"]);
        assert_says(&text, &["over-refusal was not shown to change, 56.0 % and 51.0 %: −5.0 points"]);
        assert_says(&text, &["knowledge was not shown to change", "−20.0), an interval that does not cover training"]);
    }

    #[test]
    fn many_arms_are_listed_by_finding() {
        let interval = Interval { low: 0.41, high: 0.71, level: 0.95, covers: Covers::SeedsPromptsRollouts };
        let control = ArmEffects { is_control: true, ..arm(established(), None) };
        let all = [
            arm(established(), None),
            arm(undecided(), None),
            arm(established(), None),
            control,
            arm(undecided(), None),
        ];
        let conclusion = Conclusion::of(&all, Measured { value: 0.56, interval }, None);
        assert_eq!(conclusion.arms.len(), 4);
        assert!(!conclusion.text.contains("else"), "nothing else was measured: {}", conclusion.text);
        assert_says(
            &conclusion.text,
            &["No difference from the baseline shown: 2 of 4 edits, drop (3000), drop (3000)."],
        );
        let with_side = |effect: Effect| {
            let mut all = all.clone();
            all[0].side_changes = vec![SideChange { measure: "knowledge".to_owned(), effect }];
            Conclusion::of(&all, Measured { value: 0.56, interval }, None).text
        };
        assert_says(&with_side(established()), &["Meanwhile knowledge fell with drop (3000)."]);
        assert_says(&with_side(undecided()), &["Nothing else that was measured was shown to change."]);
    }

    #[test]
    fn nothing_is_claimed_when_the_interval_includes_zero() {
        let mut random = crate::statistics::random::Random::new(3);
        let least = least();
        let mut draw = |p: Option<f64>| {
            let value = 0.8 * random.uniform() - 0.4;
            let radius = 0.4 * random.uniform();
            effect(value, value - radius, value + radius, p.map(|_| if value.abs() < radius { 0.5 } else { 0.01 }))
        };
        for i in 0..2000 {
            let p = (i % 5 > 0).then_some(0.01);
            let effects = arm(draw(p), (i % 3 > 0).then(|| draw(p)));
            let text = told_with(&effects, &least).1;
            let allowed = |effect: &Effect| p.is_some() && !effect.difference.interval.contains(0.0);
            let claims = text.contains("lowered the rate") || text.contains("raised the rate");
            assert!(!claims || allowed(&effects.versus_baseline), "{text}");
            let claims = text.contains("That is lower") || text.contains("That is higher");
            assert!(!claims || effects.versus_random.as_ref().is_some_and(allowed), "{text}");
            let Interval { low, high, .. } = effects.versus_baseline.difference.interval;
            assert_says(&text, &[&format!("{} to {}", points(low), points(high))]);
        }
    }

    #[test]
    fn what_was_expected_is_told_beside_what_was_found_and_never_claims_an_effect() {
        let of = Subject {
            behavior: "obeys".into(),
            layer: 3,
            k: 100,
            n_pairs: 1580,
            seed: 0,
            pairs_sha256: String::new(),
            vectors_sha256: String::new(),
            behavior_sha256: String::new(),
        };
        let told = |effects: &ArmEffects, expectation: Expectation| {
            let interval = Interval { low: 0.41, high: 0.71, level: 0.95, covers: Covers::SeedsPromptsRollouts };
            let mut conclusion =
                Conclusion::of(std::slice::from_ref(effects), Measured { value: 0.56, interval }, Some(&least()));
            let before = conclusion.text.clone();
            conclusion.expect(&of, &Verdict { expectation, text: String::new() });
            conclusion.text.strip_prefix(&before).expect("what was concluded stays").to_owned()
        };
        let shown = arm(established(), Some(effect(-0.2, -0.34, -0.06, Some(0.02))));
        let not_shown = arm(undecided(), Some(undecided()));
        assert_says(&told(&not_shown, Expectation::Diffuse), &["filtering the first of them is not expected to help"]);
        assert_says(&told(&shown, Expectation::Diffuse), &["otherwise for drop (3000 pairs)", "counts for more"]);
        assert_says(&told(&shown, Expectation::Helps), &["bears that out: drop (3000 pairs)", "layer 3"]);
        for expectation in [Expectation::Helps, Expectation::Unclear, Expectation::Diffuse] {
            let text = told(&not_shown, expectation);
            assert!(text.contains("no edit was shown") || text.contains("No edit was shown"), "{text}");
        }
    }

    #[test]
    fn small_numbers_do_not_look_like_zero() {
        assert_eq!(
            (points(-0.0004), points(0.0), points(-0.0), points(-0.00312)),
            ("−0.04".into(), "+0.0".into(), "+0.0".into(), "−0.3".into())
        );
        assert_eq!((points(-1e-17), points(1e-9)), ("+0.0".into(), "+0.000000".into()));
        assert_eq!(
            (p_text(0.0001), p_text(0.04), p_number(0.0501), p_number(0.5)),
            ("p < 0.001".into(), "p = 0.040".into(), "0.05010".into(), "0.50".into())
        );
    }
}
