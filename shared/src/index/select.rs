//! Which rows are among the wanted k for certain, which cannot be, and which are undecided.
//!
//! τ = the k-th greatest lower bound. A row whose upper bound is below τ is out. The k are certified when no more than k
//! rows are left, or all that are left are exact (then score descending, row ascending decides).
//! Works on any subset of rows and merges: workers hold disjoint rows and exchange `Best` only.

use super::bounds::Bounded;

/// The k greatest lower bounds of some rows (score descending, row ascending): what a worker tells the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Best { /* k, Vec<(lower, row)> */ }

impl Best {
    pub fn new(k: usize) -> Self { unimplemented!() }
    pub fn push(&mut self, row: u32, lower: f64) { unimplemented!() }
    /// Any order of merging gives the same result.
    pub fn merge(&mut self, other: &Best) { unimplemented!() }
    /// The k-th greatest lower bound; −∞ while fewer than k rows are known.
    pub fn threshold(&self) -> f64 { unimplemented!() }
}

/// A row that may still be among the k.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate { pub row: u32, pub score: Bounded }

/// Rows of `rows` whose upper bound reaches `threshold`.
pub fn candidates(rows: impl IntoIterator<Item = (u32, Bounded)>, threshold: f64) -> Vec<Candidate> { unimplemented!() }

/// What is known about the wanted k.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// The best k candidates by (exact or estimated) score descending, row ascending.
    pub top: Vec<Candidate>,
    /// Whether `top` is certainly the set of the k best.
    pub is_certified: bool,
    /// Whether also every score in it, hence its order, is exact.
    pub is_exact: bool,
    /// Rows to read exactly to make it exact, ascending.
    pub undecided: Vec<u32>,
    /// Largest radius among `top`: "estimate ± r".
    pub radius: f64,
}

/// From all candidates (merged over workers, whole set of rows above the merged threshold).
pub fn select(candidates: Vec<Candidate>, k: usize) -> Selection { unimplemented!() }

/// What to read next, at what cost in bytes. (Exact rows when that is cheaper than the next block of the files that still hold candidates; each separate range counts `range_overhead` bytes more.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next { Done, Block, Rows }
pub fn next_step(n_undecided_ranges: u64, bytes_per_row: u64, n_undecided_rows: u64, range_overhead: u64, next_block_bytes: Option<u64>) -> Next { unimplemented!() }
