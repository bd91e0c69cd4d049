//! Scores of a contiguous range of rows after some blocks: an estimate and a hard bound for every row.

use super::block::Block;
use super::query::Query;

/// Covers the rounding of everything that is computed in f64, and the rotation's.
pub const SLACK: f64 = 1e-9;

/// Scores of the rows of one file range, for one query.
#[derive(Debug, Clone)]
pub struct RangeScores {
    // first_row, n_blocks seen, partial: Vec<f64>, spread: Vec<f64> (radius without tail), tail: Vec<f32>, exact: bitmap or NaN-free marker, rest_norm of the query
}

impl RangeScores {
    pub fn new(first_row: usize, n_rows: usize) -> Self { unimplemented!() }
    pub fn first_row(&self) -> usize { unimplemented!() }
    pub fn n_rows(&self) -> usize { unimplemented!() }
    pub fn n_blocks(&self) -> usize { unimplemented!() }
    /// Adds the next block of these rows. Errors when it is another block, other rows or another width than the next one.
    pub fn add(&mut self, block: &Block, query: &Query) -> Result<(), BoundsError> { unimplemented!() }
    /// States the exact score of a row (index within the range).
    pub fn set_exact(&mut self, row: usize, score: f64) { unimplemented!() }
    /// Estimate and radius; the true score is within estimate ± radius (and within [−1, 1]); before the first block 0 ± 1; radius 0 when exact.
    pub fn score(&self, row: usize) -> Bounded { unimplemented!() }
}

/// A score known within bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounded { pub estimate: f64, pub lower: f64, pub upper: f64 }

impl Bounded {
    pub fn is_exact(&self) -> bool { unimplemented!() }
    /// Of −q: for the lowest scores.
    pub fn negated(self) -> Self { unimplemented!() }
    /// Of a bank: the largest of several vectors' scores.
    pub fn max(self, other: Self) -> Self { unimplemented!() }
}

#[derive(Debug, thiserror::Error)]
pub enum BoundsError { /* … */ }
