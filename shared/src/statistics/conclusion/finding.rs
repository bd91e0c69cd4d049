//! What one edit turned out to do, as a finding and in words.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::wording::{decimals, p_number, p_text, percent, percent_level, points};
use crate::statistics::effect::{ArmEffects, Effect, SideChange};
use crate::statistics::interval::{Covers, Interval, Measured};
use crate::statistics::power::Detectable;

/// What one edit turned out to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Lower than the baseline, and lower than with as many random pairs edited.
    BeyondRandom,
    /// Lower than the baseline, but not shown to be lower than with as many random pairs edited.
    NotBeyondRandom,
    /// Lower than the baseline; there is no random arm with several seeds to compare with.
    WithoutRandom,
    /// Lower than with random pairs edited, but not shown to be lower than the baseline.
    OnlyAgainstRandom,
    /// No difference from the baseline shown.
    NotDetected,
    /// Higher than the baseline.
    Opposite,
    /// One seed in the arm or the baseline: whatever differs may be training noise.
    SingleSeed,
    /// The baseline does not show the behavior.
    NothingToReduce,
}

/// The finding of one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmFinding {
    /// Name of the arm.
    pub arm: String,
    /// Pairs edited.
    pub k: u64,
    /// What it did.
    pub finding: Finding,
    /// In words, with intervals.
    pub text: String,
}

impl Finding {
    /// Of an arm's effects.
    pub fn of(effects: &ArmEffects) -> Self {
        let baseline = &effects.versus_baseline;
        let random = effects.versus_random.as_ref();
        let below_random = random.is_some_and(Effect::lowers);
        let random_is_known =
            random.is_some_and(|effect| effect.difference.interval.covers == Covers::SeedsPromptsRollouts);
        match () {
            () if baseline.reference_rate == 0.0 && !baseline.raises() => Self::NothingToReduce,
            () if baseline.difference.interval.covers != Covers::SeedsPromptsRollouts => Self::SingleSeed,
            () if baseline.raises() => Self::Opposite,
            () if baseline.lowers() && below_random => Self::BeyondRandom,
            () if baseline.lowers() && random_is_known => Self::NotBeyondRandom,
            () if baseline.lowers() => Self::WithoutRandom,
            () if below_random => Self::OnlyAgainstRandom,
            () => Self::NotDetected,
        }
    }

    /// What is said of a list of arms.
    pub fn heading(self) -> &'static str {
        match self {
            Self::BeyondRandom => "Lower than the baseline and than random edits of the same size",
            Self::NotBeyondRandom => {
                "Lower than the baseline, but not shown to be lower than random edits of the same size"
            }
            Self::WithoutRandom => "Lower than the baseline, with nothing to say whether random edits do the same",
            Self::OnlyAgainstRandom => "Lower than random edits, but not shown to be lower than the baseline",
            Self::NotDetected => "No difference from the baseline shown",
            Self::Opposite => "Higher than the baseline",
            Self::SingleSeed => "Undecided for want of training seeds",
            Self::NothingToReduce => "Nothing to reduce",
        }
    }
}

/// An arm's effects in words, with intervals.
pub(super) fn arm_text(effects: &ArmEffects, finding: Finding, detectable: Option<&Detectable>) -> String {
    let baseline = &effects.versus_baseline;
    let name = format!("{} ({} pairs)", effects.arm, effects.k);
    let change = change_text(baseline);
    let mut text = match finding {
        Finding::BeyondRandom | Finding::NotBeyondRandom | Finding::WithoutRandom => {
            let reduction = baseline.relative_reduction.map(|reduction| {
                let Interval { low, high, .. } = reduction.interval;
                format!(", a reduction by {} ({} to {})", percent(reduction.value), percent(low), percent(high))
            });
            let (from, to) = (percent(baseline.reference_rate), percent(baseline.rate));
            format!("{name} lowered the rate from {from} to {to}: {change}{}.", reduction.unwrap_or_default())
        }
        Finding::Opposite => format!(
            "{name} raised the rate from {} to {}: {change}.",
            percent(baseline.reference_rate),
            percent(baseline.rate)
        ),
        Finding::OnlyAgainstRandom | Finding::NotDetected => {
            let why = match baseline.difference.interval.contains(0.0) {
                true => "which includes no change",
                false => "but not once it is adjusted for the number of edits tried",
            };
            format!("{name} was not shown to change the rate: measured {change}, {why}.")
        }
        Finding::SingleSeed => format!(
            "{name} was compared with {}: measured {change}. This interval does not cover training noise, so no effect is concluded.",
            seeds_text(baseline)
        ),
        Finding::NothingToReduce => {
            format!("{name} had nothing to reduce: the baseline showed the behavior in no rollout. Measured {change}.")
        }
    };
    match (finding, &effects.versus_random) {
        (Finding::SingleSeed | Finding::NothingToReduce, _) => return text + &side_text(&effects.side_changes),
        (_, Some(random)) => text += &random_text(random),
        (_, None) => {
            text +=
                " No arm with as many random pairs edited was trained, so this may be what any edit of that size does.";
        }
    }
    if matches!(finding, Finding::NotDetected | Finding::OnlyAgainstRandom)
        && let Some(detectable) = detectable
    {
        text += &match detectable.relative > 1.0 {
            true => " Not even the behavior's disappearance would have been seen reliably.".to_owned(),
            false => {
                format!(" An effect under {} points may well have been missed.", decimals(100.0 * detectable.absolute))
            }
        };
    }
    let permutation = baseline.permutation;
    let _ = write!(text, " Dealing out the models of arm and baseline anew gives {}", p_text(permutation.p));
    if permutation.smallest_p > 1.0 - baseline.difference.interval.level {
        let _ =
            write!(text, ", where {} cannot give less than {}", seeds_text(baseline), p_number(permutation.smallest_p));
    }
    text + "." + &side_text(&effects.side_changes)
}

fn random_text(random: &Effect) -> String {
    let change = change_text(random);
    let covers_seeds = random.difference.interval.covers == Covers::SeedsPromptsRollouts;
    match () {
        () if !covers_seeds => {
            format!(
                " Against as many random pairs edited: {change}, with {}, so training noise is not covered and nothing is concluded.",
                seeds_text(random)
            )
        }
        () if random.lowers() => format!(" That is lower than with as many random pairs edited: {change}."),
        () if random.raises() => format!(" That is higher than with as many random pairs edited: {change}."),
        () if random.difference.interval.contains(0.0) => {
            format!(" It cannot be told from as many random pairs edited: {change}, which includes no difference.")
        }
        () => format!(
            " It cannot be told from as many random pairs edited once adjusted for the number of edits tried: {change}."
        ),
    }
}

fn side_text(changes: &[SideChange]) -> String {
    changes.iter().map(|change| format!(" {}", side_change_text(change))).collect()
}

/// What became of something else that was measured, in a sentence: `Meanwhile capability was not shown to change: …`
pub fn side_change_text(change: &SideChange) -> String {
    let SideChange { measure, effect } = change;
    let (from, to) = (percent(effect.reference_rate), percent(effect.rate));
    let what = match () {
        () if effect.lowers() => format!("fell from {from} to {to}"),
        () if effect.raises() => format!("rose from {from} to {to}"),
        () => format!("was not shown to change, {from} and {to}"),
    };
    let not_covered = match effect.difference.interval.covers {
        Covers::PromptsRollouts => ", an interval that does not cover training noise",
        Covers::SeedsPromptsRollouts => "",
    };
    format!("Meanwhile {measure} {what}: {}{not_covered}.", change_text(effect))
}

/// "−31.0 points (95 % interval −45.1 to −16.9, adjusted p = 0.003)".
fn change_text(effect: &Effect) -> String {
    let Measured { value, interval } = effect.difference;
    let p = match (effect.p, effect.p_holm) {
        (_, Some(p)) => format!(", adjusted {}", p_text(p)),
        (Some(p), None) => format!(", {}", p_text(p)),
        (None, None) => String::new(),
    };
    let (low, high) = (points(interval.low), points(interval.high));
    format!("{} points ({} interval {low} to {high}{p})", points(value), percent_level(interval.level))
}

fn seeds_text(effect: &Effect) -> String {
    format!("{} and {} seeds", effect.n_seeds, effect.n_reference_seeds).replace("1 and 1 seeds", "one seed each")
}
