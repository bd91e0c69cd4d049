//! Edits of preference data: what is decided about a pair, what that makes of it, and how it is written for trainers.
//!
//! The command line and the app edit by the same functions, so that both hand out the same bytes. [`worklist`] is what
//! somebody decided pair by pair, with its history; [`effect`] is what that does to the data as a
//! whole; [`conversations`] are the lines that trainers read.

pub mod conversations;
pub mod effect;
mod switch;
pub mod worklist;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::pair::Pair;

/// What to do with one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Train on it as it is.
    #[default]
    Keep,
    /// Leave it out.
    Drop,
    /// Swap chosen and rejected.
    Switch,
}

impl Decision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Keep, Self::Drop, Self::Switch];

    /// `keep`, `drop` or `switch`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Switch => "switch",
        }
    }
}

impl FromStr for Decision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|decision| decision.name() == text.trim().to_ascii_lowercase())
            .ok_or_else(|| format!("expected keep, drop or switch, got {text:?}"))
    }
}

/// The pair to train on; `None` when it is dropped. Switching swaps everything that tells the two sides apart, what the
/// metadata says about them too (`chosen_model` and `rejected_model`, `score_chosen`…).
pub fn edited(action: Decision, pair: Pair) -> Option<Pair> {
    match action {
        Decision::Keep => Some(pair),
        Decision::Drop => None,
        Decision::Switch => Some(switch::switched(pair)),
    }
}
