//! What can be ranked, how far that is, and a ranking as the worker sends it. [`super::asking`] asks for it.

use js_sys::{Array, Float32Array, Uint32Array};
use wasm_bindgen::JsCast;

use crate::protocol::{End, Of, Progress, Query, RankError, Report};

/// How far the ranking is.
#[derive(Debug, Clone, PartialEq)]
pub enum RankStatus {
    /// Nothing was asked for.
    Idle,
    /// Under way.
    Working(Progress),
    /// Under way, but held up by the reader.
    Paused(Progress),
    /// Given up by the reader; what was known by then is shown.
    Stopped,
    /// Done.
    Ranked,
    /// Not to be had.
    Failed(RankError),
}

impl RankStatus {
    /// Whether there is no ranking because nothing answered.
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Failed(RankError::Fetch(error)) if error.is_out_of_reach())
    }
}

/// What the reader wants ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// What to rank by.
    pub query: Query,
    /// At which layer.
    pub layer: usize,
    /// How many pairs count as the top.
    pub k: usize,
    /// Of which end.
    pub end: End,
}

impl Wanted {
    /// Whether scores and order are about the same as another's, whatever k.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.query, self.layer, self.end) == (&other.query, other.layer, other.end)
    }
}

/// A ranking as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// What it is of.
    pub wanted: Wanted,
    /// The behavior's name, first of all in the query.
    pub behavior: String,
    /// Score of every row, in [−1, 1].
    pub scores: Vec<f32>,
    /// By row: the true score is within score ± radius; 0 = exact.
    pub radii: Vec<f32>,
    /// Rows from the wanted end of the ranking.
    pub order: Vec<u32>,
    /// Place of every row in `order`, from 0.
    pub places: Vec<u32>,
    /// How sure it is, and what it took.
    pub report: Report,
}

impl Ranking {
    pub(super) fn new(wanted: Wanted, report: Report, message: &Array) -> Self {
        let floats = |at| message.get(at).unchecked_into::<Float32Array>().to_vec();
        let rows = |at| message.get(at).unchecked_into::<Uint32Array>().to_vec();
        let behavior = match &wanted.query.of {
            Of::Direction(name) | Of::Bank(name) | Of::Subset(name, _) => name.clone(),
            Of::Sum(parts) => parts.first().map(|(_, name)| name.clone()).unwrap_or_default(),
        };
        Self { wanted, behavior, scores: floats(1), radii: floats(2), order: rows(3), places: rows(4), report }
    }

    /// The score at a place, from 0.
    pub fn score_at(&self, place: usize) -> Option<f32> {
        self.order.get(place).map(|&row| self.scores[row as usize])
    }

    /// How far the true score of the pair at a place may be from the one shown.
    pub fn radius_at(&self, place: usize) -> Option<f32> {
        self.order.get(place).map(|&row| self.radii[row as usize])
    }

    /// The place of a row, from 0.
    pub fn place_of(&self, row: u32) -> Option<usize> {
        self.places.get(row as usize).map(|&place| place as usize)
    }
}
