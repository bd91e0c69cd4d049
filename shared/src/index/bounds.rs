//! Scores of a contiguous range of rows after some blocks: an estimate and a hard bound for every row.

use super::block::Block;
use super::query::Query;

/// Covers the rounding of everything that is computed in f64, and the rotation's.
pub const SLACK: f64 = 1e-9;

/// Scores of the rows of one file range, for one query.
#[derive(Debug, Clone)]
pub struct RangeScores {
    first_row: usize,
    n_blocks: usize,
    partial: Vec<f64>,
    spread: Vec<f64>,
    tail: Vec<f32>,
    is_exact: Vec<bool>,
    rest_norm: f64,
    query_error: f64,
}

impl RangeScores {
    /// Nothing is known yet.
    pub fn new(first_row: usize, n_rows: usize) -> Self {
        Self {
            first_row,
            n_blocks: 0,
            partial: vec![0.0; n_rows],
            spread: vec![0.0; n_rows],
            tail: vec![1.0; n_rows],
            is_exact: vec![false; n_rows],
            rest_norm: 1.0,
            query_error: 0.0,
        }
    }
    /// First row.
    pub fn first_row(&self) -> usize {
        self.first_row
    }
    /// Rows.
    pub fn n_rows(&self) -> usize {
        self.partial.len()
    }
    /// Blocks seen.
    pub fn n_blocks(&self) -> usize {
        self.n_blocks
    }
    /// Adds the next block of these rows.
    ///
    /// # Errors
    ///
    /// When it is another block.
    pub fn add(&mut self, block: &Block, query: &Query) -> Result<(), BoundsError> {
        if block.header.block != self.n_blocks || block.n_rows != self.n_rows() || block.header.first_row != self.first_row
        {
            return Err(BoundsError(format!("expected block {}, got {}", self.n_blocks, block.header.block)));
        }
        let part = &query.blocks[self.n_blocks];
        if part.codes.len() != block.width {
            return Err(BoundsError(format!("expected width {}, got {}", part.codes.len(), block.width)));
        }
        let mut dots = vec![0; block.n_rows];
        super::kernel::dots(&part.codes, block.codes, &mut dots);
        for row in 0..self.n_rows() {
            if self.is_exact[row] {
                continue;
            }
            let (scale, error) = (f64::from(block.scale[row]), f64::from(block.error_norm[row]));
            self.partial[row] += part.scale * scale * f64::from(dots[row]);
            self.spread[row] += part.norm * error + part.error_norm * (1.0 + error);
            self.tail[row] = block.tail_norm[row];
        }
        self.rest_norm = part.rest_norm;
        self.query_error = query.error;
        self.n_blocks += 1;
        Ok(())
    }
    /// States the exact score of a row (index within the range).
    pub fn set_exact(&mut self, row: usize, score: f64) {
        self.partial[row] = score;
        self.is_exact[row] = true;
    }
    /// What is known of a row.
    pub fn score(&self, row: usize) -> Bounded {
        let estimate = self.partial[row];
        if self.is_exact[row] {
            return Bounded { estimate, lower: estimate, upper: estimate };
        }
        let radius = self.spread[row] + self.rest_norm * f64::from(self.tail[row]) + self.query_error + SLACK;
        let estimate = estimate.clamp(-1.0, 1.0);
        Bounded { estimate, lower: (estimate - radius).max(-1.0), upper: (estimate + radius).min(1.0) }
    }
}

/// A score known within bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounded {
    /// The best guess.
    pub estimate: f64,
    /// The true score is at least this.
    pub lower: f64,
    /// The true score is at most this.
    pub upper: f64,
}

impl Bounded {
    /// Whether it is known exactly.
    pub fn is_exact(&self) -> bool {
        self.lower == self.upper
    }
    /// Of −q: for the lowest scores.
    pub fn negated(self) -> Self {
        Self { estimate: -self.estimate, lower: -self.upper, upper: -self.lower }
    }
    /// Of a bank: the largest of several vectors' scores.
    pub fn max(self, other: Self) -> Self {
        Self {
            estimate: self.estimate.max(other.estimate),
            lower: self.lower.max(other.lower),
            upper: self.upper.max(other.upper),
        }
    }
}

/// A block that does not belong here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BoundsError(String);
