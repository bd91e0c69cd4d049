//! Which rows are among the wanted k for certain, which cannot be, and which are undecided.
//!
//! Rows are ranked by score, highest first, equal scores by row number: [`Place`] is that order. A row's lower and upper
//! bound are places too, and one row is certainly above another when its lowest place is above the other's highest. τ is
//! the k-th highest of all lowest places: a row whose highest place is below τ is out. Once no more than k rows are left,
//! they are the k best: certified. Bounds that are exact make a strict order, so ties need no case of their own.
//!
//! Every function works on any subset of rows, and results merge in any order: workers hold disjoint rows, exchange
//! [`Best`] to agree on τ, and send the rows that reach it. For the lowest scores, negate every score first
//! ([`Bounded::negated`]); for the best of each source, keep one [`Best`] per source.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use super::bounds::Bounded;

/// A score and the row that has it; greater = ranked higher.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Place {
    /// Not NaN.
    pub score: f64,
    /// Row of the study.
    pub row: u32,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        // −0 and +0 are the same score: adding 0.0 maps −0 to +0 before the total order tells them apart.
        (self.score + 0.0).total_cmp(&(other.score + 0.0)).then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place {}

/// The k highest of the places pushed so far: what a worker tells the others of its rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Best {
    k: usize,
    /// The lowest on top.
    heap: BinaryHeap<Reverse<Place>>,
}

impl Best {
    /// Nothing yet of `k`.
    pub fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// The k greatest lower bounds of some rows.
    pub fn of_lower_bounds(rows: impl IntoIterator<Item = (u32, Bounded)>, k: usize) -> Self {
        let mut best = Self::new(k);
        for (row, score) in rows {
            best.push(row, score.lower);
        }
        best
    }

    /// Adds a row; each row once.
    pub fn push(&mut self, row: u32, score: f64) {
        let place = Place { score, row };
        if self.heap.len() < self.k {
            self.heap.push(Reverse(place));
        } else if let Some(mut lowest) = self.heap.peek_mut()
            && place > lowest.0
        {
            *lowest = Reverse(place);
        }
    }

    /// Adds what another knows of other rows. Any order of merging gives the same result.
    pub fn merge(&mut self, other: &Self) {
        for Reverse(place) in &other.heap {
            self.push(place.row, place.score);
        }
    }

    /// τ: the k-th highest place; none while fewer than k rows are known, when nothing is out.
    pub fn threshold(&self) -> Option<Place> {
        // Of nothing, everything is out; the app never asks.
        if self.k == 0 {
            return Some(Place { score: f64::INFINITY, row: 0 });
        }
        self.heap.peek().filter(|_| self.heap.len() == self.k).map(|lowest| lowest.0)
    }

    /// The places, highest first.
    pub fn into_sorted(self) -> Vec<Place> {
        // Ascending in reverse order is descending.
        self.heap.into_sorted_vec().into_iter().map(|place| place.0).collect()
    }
}

impl PartialEq for Best {
    fn eq(&self, other: &Self) -> bool {
        self.k == other.k && self.clone().into_sorted() == other.clone().into_sorted()
    }
}

/// A row that may still be among the k.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Row of the study.
    pub row: u32,
    /// What is known of its score.
    pub score: Bounded,
}

impl Candidate {
    fn lowest(&self) -> Place {
        Place { score: self.score.lower, row: self.row }
    }

    /// Whether it may be among the k, given τ.
    pub fn reaches(&self, threshold: Option<Place>) -> bool {
        threshold.is_none_or(|threshold| self.highest() >= threshold)
    }

    fn highest(&self) -> Place {
        Place { score: self.score.upper, row: self.row }
    }

    fn estimated(&self) -> Place {
        Place { score: self.score.estimate, row: self.row }
    }
}

/// Rows of `rows` that reach `threshold`, in their order.
pub fn candidates(rows: impl IntoIterator<Item = (u32, Bounded)>, threshold: Option<Place>) -> Vec<Candidate> {
    let rows = rows.into_iter().map(|(row, score)| Candidate { row, score });
    rows.filter(|candidate| candidate.reaches(threshold)).collect()
}

/// What is known about the wanted k.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The best k by exact or estimated score, highest first, equal ones by row.
    pub top: Vec<Candidate>,
    /// Whether `top` is certainly the set of the k best.
    pub is_certified: bool,
    /// Whether also every score in it, hence its order, is exact.
    pub is_exact: bool,
    /// Rows that may or may not be among the k: reading these certifies. Ascending.
    pub undecided: Vec<u32>,
    /// Rows that are among the k for certain, with scores that are not exact: reading these as well makes all exact.
    /// Ascending.
    pub inexact: Vec<u32>,
    /// Largest distance of a true score from its estimate among `top`: "estimate ± radius".
    pub radius: f64,
}

/// Selects the k best of all rows that reach the threshold of all rows.
///
/// `candidates` may hold rows below the threshold as well; they change nothing.
pub fn select(mut candidates: Vec<Candidate>, k: usize) -> Selection {
    let threshold = Best::of_lower_bounds(candidates.iter().map(|c| (c.row, c.score)), k).threshold();
    candidates.retain(|candidate| candidate.reaches(threshold));
    let is_certified = candidates.len() <= k;
    // In for certain: above the highest place of all but k. Then fewer than k rows can be above it.
    let above = match is_certified {
        true => None,
        false => {
            let mut highest: Vec<Place> = candidates.iter().map(Candidate::highest).collect();
            Some(*highest.select_nth_unstable_by(k, |a, b| b.cmp(a)).1)
        }
    };
    let is_in = |candidate: &Candidate| above.is_none_or(|above| candidate.lowest() > above);
    let (mut undecided, mut inexact) = (Vec::new(), Vec::new());
    for candidate in candidates.iter().filter(|candidate| !candidate.score.is_exact()) {
        if is_in(candidate) { &mut inexact } else { &mut undecided }.push(candidate.row);
    }
    undecided.sort_unstable();
    inexact.sort_unstable();

    let by_estimate = |a: &Candidate, b: &Candidate| b.estimated().cmp(&a.estimated());
    if candidates.len() > k {
        candidates.select_nth_unstable_by(k, by_estimate);
        candidates.truncate(k);
    }
    candidates.sort_unstable_by(by_estimate);
    let radius = candidates.iter().map(|candidate| candidate.score.radius()).fold(0.0, f64::max);
    let is_exact = is_certified && inexact.is_empty();
    Selection { top: candidates, is_certified, is_exact, undecided, inexact, radius }
}

/// What to read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// Nothing: everything is exact.
    Done,
    /// The next block of the files that still hold candidates.
    Block,
    /// The vectors of the rows that are not exact.
    Rows,
}

/// What the next steps would cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// Rows to read exactly.
    pub n_rows: u64,
    /// Bytes of one row's vector.
    pub bytes_per_row: u64,
    /// Separate ranges these rows lie in.
    pub n_ranges: u64,
    /// What a separate range costs on top, in bytes: 4096 on a static host, 0 with one request for all.
    pub bytes_per_range: u64,
    /// Bytes of the next block of the files that still hold candidates; none after the last block.
    pub next_block_bytes: Option<u64>,
}

impl Selection {
    /// Rows of [`Selection::top`] that are not exact yet, in no order: what [`scouts_pay`] is asked about.
    pub fn scouts(&self) -> impl Iterator<Item = u32> {
        self.top.iter().filter(|candidate| !candidate.score.is_exact()).map(|candidate| candidate.row)
    }
}

/// Of undecided rows, those to read exactly first, ascending: those of the highest upper bounds, because each may rule out
/// the rest. They are spread over at most `max_steps` steps of at least `least` rows.
pub fn most_promising(undecided: impl IntoIterator<Item = (u32, Bounded)>, least: usize, max_steps: usize) -> Vec<u32> {
    let mut open: Vec<(u32, Bounded)> = undecided.into_iter().collect();
    let n_read = least.max(open.len() / max_steps);
    if open.len() > n_read {
        open.select_nth_unstable_by(n_read, |(a, x), (b, y)| y.upper.total_cmp(&x.upper).then(a.cmp(b)));
        open.truncate(n_read);
    }
    let mut rows: Vec<u32> = open.into_iter().map(|(row, _)| row).collect();
    rows.sort_unstable();
    rows
}

/// Whether to read the best k by estimate exactly before the next block: one part in this many of the block's bytes is
/// little for it. Until then the threshold is a lower bound, further below the true k-th score than many a candidate is.
const SCOUT_SHARE: u64 = 8;

/// Whether scouts pay: rows of [`Selection::top`] that are not exact yet, read before the next block. The exact score of
/// the k-th best by estimate is a threshold without a radius, so that the block is read for fewer rows, or for none.
/// `scouts_bytes` is what reading them costs, with what was spent on scouts since the last block.
pub fn scouts_pay(scouts_bytes: u64, next_block_bytes: Option<u64>) -> bool {
    scouts_bytes > 0 && next_block_bytes.is_some_and(|block_bytes| scouts_bytes <= block_bytes / SCOUT_SHARE)
}

/// The cheaper next step. A block only narrows the candidates, rows decide them: on a draw, rows.
pub fn next_step(costs: &Costs) -> Next {
    if costs.n_rows == 0 {
        return Next::Done;
    }
    let vectors = costs.n_rows.saturating_mul(costs.bytes_per_row);
    let rows_bytes = vectors.saturating_add(costs.n_ranges.saturating_mul(costs.bytes_per_range));
    match costs.next_block_bytes {
        Some(block_bytes) if block_bytes < rows_bytes => Next::Block,
        _ => Next::Rows,
    }
}
