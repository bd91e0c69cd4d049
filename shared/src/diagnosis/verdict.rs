//! Whether dropping or switching the first k is expected to help.

use serde::{Deserialize, Serialize};

use super::Diagnosis;
use super::card::{percent, score};

/// What to expect of an edit of the first k.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// Few pairs hold the push.
    Helps,
    /// Neither.
    #[default]
    Unclear,
    /// Very many pairs hold it.
    Diffuse,
}

impl Expectation {
    /// As it is said.
    pub fn words(self) -> &'static str {
        match self {
            Self::Helps => "expected to help",
            Self::Unclear => "unclear",
            Self::Diffuse => "not expected to help: diffuse",
        }
    }
}

/// What a diagnosis means.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub expectation: Expectation,
    /// In sentences.
    pub text: String,
}

/// From this [`concentration`] on, editing the first k is expected to help.
pub const HELPS_FROM: f64 = 0.5;
/// Up to this one, it is not.
pub const DIFFUSE_UP_TO: f64 = 0.25;
/// The first k stand out when they do [so](super::figures::Excess::stands_out) by at least this. Where the signal was diffuse it
/// was up to 0.14, for k of 20 to 200 of 1,580 pairs; where it was concentrated or diluted, 0.18 and more.
pub const STANDS_OUT_FROM: f64 = 0.16;
/// Of so large a share of all pairs, nothing is said: whatever is edited, little is left.
pub const MAX_SHARE_EDITED: f64 = 0.25;
/// Halves of the test prompts must agree on at least this share of the first k, or the ranking is not known well enough.
pub const MIN_AGREEMENT: f64 = 0.5;

/// How concentrated the push is, in [0, 1]: the share of what is beyond random directions that the first k hold; 0 where
/// they do not stand out from random directions, and there is nothing to hold.
///
/// It is too low where the behavior lies along a direction in which all pairs vary much: random directions have no part of
/// it, so what unrelated pairs happen to have along it counts as push. There, shuffled labels give scores as high as the
/// ranking's, which alone does not tell that case from one in which other pairs push as hard the other way.
pub fn concentration(diagnosis: &Diagnosis) -> f64 {
    let Diagnosis { figures, excess, .. } = diagnosis;
    let stands_out = figures.top_mean > 0.0 && excess.stands_out >= STANDS_OUT_FROM;
    if stands_out { excess.top_share } else { 0.0 }
}

impl Verdict {
    /// Of everything but the verdict.
    pub fn of(diagnosis: &Diagnosis) -> Self {
        let (expectation, text) = judge(diagnosis);
        Self { expectation, text }
    }
}

fn judge(diagnosis: &Diagnosis) -> (Expectation, String) {
    let Diagnosis { of, figures, excess, split_half, random_directions, .. } = diagnosis;
    let k = of.k;
    let edited = k as f64 / of.n_pairs as f64;
    if edited > MAX_SHARE_EDITED {
        let edited = percent(edited);
        let text =
            format!("The first {k} are {edited} of all pairs, and so large an edit changes a model whatever it edits.");
        return (Expectation::Unclear, text);
    }
    if figures.top_mean <= 0.0 {
        return (Expectation::Unclear, "No pair pushes toward the behavior.".to_owned());
    }
    let Some(agreement) = split_half.map(|spread| spread.mean) else {
        let text = format!(
            "The direction is made of one test prompt: whether others would rank the same {k} pairs first is not known. Add \
             prompts that show the behavior, some dozens of them."
        );
        return (Expectation::Unclear, text);
    };
    if agreement < MIN_AGREEMENT {
        let text = format!(
            "Halves of the test prompts agree on only {} of the first {k}: the ranking is not known well enough.",
            percent(agreement)
        );
        return (Expectation::Unclear, text);
    }
    let spread = format!(
        "Of the push toward the behavior beyond random directions, the first {k} pairs hold {}; it is spread over about {:.0} \
         pairs",
        percent(excess.top_share),
        excess.n_effective
    );
    match concentration(diagnosis) {
        0.0 => (
            Expectation::Diffuse,
            format!(
                "The first {k} pairs push hardly harder toward the behavior (mean score {}) than toward random directions ({}): \
                 very many pairs push a little, or the direction misses what they teach. No {k} pairs are expected to undo it.",
                score(figures.top_mean),
                score(random_directions.top_mean.mean)
            ),
        ),
        ..=DIFFUSE_UP_TO => {
            // As many as hold it may be few enough, when asked for.
            let is_few = excess.n_effective <= MAX_SHARE_EDITED * of.n_pairs as f64;
            let hint = if is_few { format!(" Ask again with k = {:.0}.", excess.n_effective) } else { String::new() };
            let text =
                format!("{spread}. Those that are left go on teaching it: no {k} pairs are expected to undo it.{hint}");
            (Expectation::Diffuse, text)
        }
        HELPS_FROM.. => (Expectation::Helps, format!("{spread}. That is few enough for an edit of {k} to show.")),
        _ => (
            Expectation::Unclear,
            format!(
                "{spread}. That is between what helped on testbeds ({} and more) and what did not.",
                percent(HELPS_FROM)
            ),
        ),
    }
}
