//! Which rows are among the wanted k for certain, which cannot be, and which are undecided.
//!
//! τ = the k-th greatest lower bound. A row whose upper bound is below τ is out. The k are certified when no more than k
//! rows are left, or all that are left are exact (then score descending, row ascending decides).
//! Works on any subset of rows and merges: workers hold disjoint rows and exchange `Best` only.

use super::bounds::Bounded;

/// The k greatest lower bounds of some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    k: usize,
    entries: Vec<(f64, u32)>,
}

impl Best {
    /// Of no rows.
    pub fn new(k: usize) -> Self {
        Self { k, entries: Vec::new() }
    }
    /// Adds a row.
    pub fn push(&mut self, row: u32, lower: f64) {
        self.entries.push((lower, row));
        if self.entries.len() >= 2 * self.k + 1024 {
            self.cut();
        }
    }
    fn cut(&mut self) {
        self.entries.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.entries.truncate(self.k);
    }
    /// (lower bound, row), at most k, in order.
    pub fn entries(mut self) -> impl Iterator<Item = (f64, u32)> {
        self.cut();
        self.entries.into_iter()
    }
    /// Any order of merging gives the same result.
    pub fn merge(&mut self, other: &Best) {
        other.entries.iter().for_each(|&(lower, row)| self.push(row, lower));
    }
    /// The k-th greatest lower bound; −∞ while fewer than k rows are known.
    pub fn threshold(&self) -> f64 {
        let mut all = self.clone();
        all.cut();
        if all.entries.len() < self.k { f64::NEG_INFINITY } else { all.entries[self.k - 1].0 }
    }
}

/// A row that may still be among the k.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The row.
    pub row: u32,
    /// What is known of it.
    pub score: Bounded,
}

/// Rows of `rows` whose upper bound reaches `threshold`.
pub fn candidates(rows: impl IntoIterator<Item = (u32, Bounded)>, threshold: f64) -> Vec<Candidate> {
    let all = rows.into_iter().map(|(row, score)| Candidate { row, score });
    all.filter(|candidate| candidate.score.upper >= threshold).collect()
}

/// What is known about the wanted k.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// The best k candidates by (exact or estimated) score descending, row ascending.
    pub top: Vec<Candidate>,
    /// Whether `top` is certainly the set of the k best.
    pub is_certified: bool,
    /// Whether also every score in it, hence its order, is exact.
    pub is_exact: bool,
    /// Rows of `top` whose score is not exact, ascending.
    pub undecided: Vec<u32>,
    /// Rows that may or may not be among the k and are not exact, ascending.
    pub contested: Vec<u32>,
    /// Rows that may be among the k.
    pub n_candidates: usize,
    /// Largest radius among `top`.
    pub radius: f64,
}

/// From all candidates.
pub fn select(mut candidates: Vec<Candidate>, k: usize) -> Selection {
    let n_candidates = candidates.len();
    candidates.sort_unstable_by(|a, b| (b.score.estimate + 0.0).total_cmp(&(a.score.estimate + 0.0)).then(a.row.cmp(&b.row)));
    let mut uppers: Vec<f64> = candidates.iter().map(|c| c.score.upper).collect();
    uppers.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut contested = Vec::new();
    let mut is_certified = true;
    if n_candidates > k {
        let limit = uppers[k];
        let is_open = |c: &Candidate| c.score.lower <= limit;
        contested = candidates.iter().filter(|c| is_open(c) && !c.score.is_exact()).map(|c| c.row).collect();
        contested.sort_unstable();
        is_certified = contested.is_empty();
    }
    candidates.truncate(k);
    let mut undecided: Vec<u32> = candidates.iter().filter(|c| !c.score.is_exact()).map(|c| c.row).collect();
    undecided.sort_unstable();
    let radius = candidates.iter().map(|c| (c.score.upper - c.score.estimate).max(c.score.estimate - c.score.lower)).fold(0.0, f64::max);
    Selection { is_exact: is_certified && undecided.is_empty(), top: candidates, is_certified, undecided, contested, n_candidates, radius }
}

/// What to read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next block.
    Block,
    /// The undecided rows exactly.
    Rows,
}

/// Whichever costs fewer bytes.
pub fn next_step(rows_bytes: u64, next_block_bytes: Option<u64>) -> Next {
    if next_block_bytes.is_some_and(|bytes| bytes <= rows_bytes) { Next::Block } else { Next::Rows }
}
