//! Whether dropping or switching the first k is expected to help.

use serde::{Deserialize, Serialize};

use super::Diagnosis;
use super::card::percent;

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

/// From this share of the push beyond random directions on, editing the first k is expected to help.
pub const HELPS_FROM: f64 = 0.5;
/// Up to this share, it is not.
pub const DIFFUSE_UP_TO: f64 = 0.28;
/// Of so large a share of all pairs, nothing is said: whatever is edited, little is left.
pub const MAX_SHARE_EDITED: f64 = 0.25;
/// Halves of the test prompts must agree on at least this share of the first k, or the ranking is not known well enough.
pub const MIN_AGREEMENT: f64 = 0.5;

impl Verdict {
    /// Of everything but the verdict.
    pub fn of(diagnosis: &Diagnosis) -> Self {
        let (expectation, text) = judge(diagnosis);
        Self { expectation, text }
    }
}

fn judge(diagnosis: &Diagnosis) -> (Expectation, String) {
    let Diagnosis { of, excess, split_half, .. } = diagnosis;
    let k = of.k;
    let edited = k as f64 / of.n_pairs as f64;
    if edited > MAX_SHARE_EDITED {
        let edited = percent(edited);
        let text =
            format!("The first {k} are {edited} of all pairs, and so large an edit changes a model whatever it edits.");
        return (Expectation::Unclear, text);
    }
    if excess.top_share == 0.0 {
        let text = format!("The first {k} pairs push no harder toward the behavior than toward random directions.");
        return (Expectation::Unclear, text);
    }
    let spread = format!(
        "Of the push toward the behavior beyond random directions, the first {k} pairs hold {}; it is spread over about {:.0} \
         pairs",
        percent(excess.top_share),
        excess.n_effective
    );
    if let Some(agreement) = split_half.map(|spread| spread.mean)
        && agreement < MIN_AGREEMENT
    {
        let text = format!(
            "{spread}. But halves of the test prompts agree on only {} of these {k}: the ranking is not known well enough.",
            percent(agreement)
        );
        return (Expectation::Unclear, text);
    }
    match excess.top_share {
        HELPS_FROM.. => (Expectation::Helps, format!("{spread}. That is few enough for an edit of {k} to show.")),
        ..=DIFFUSE_UP_TO => (
            Expectation::Diffuse,
            format!("{spread}. Those that are left go on teaching it: no {k} pairs are expected to undo it."),
        ),
        _ => (
            Expectation::Unclear,
            format!(
                "{spread}. That is between what helped on testbeds ({} and more) and what did not.",
                percent(HELPS_FROM)
            ),
        ),
    }
}
