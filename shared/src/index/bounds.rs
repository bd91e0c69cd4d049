//! Scores of a contiguous range of rows after some blocks: an estimate and a hard bound for every row.
//!
//! [`super`] says why the bounds hold. One [`RangeScores`] belongs to one block file's rows and takes that range's blocks
//! one after another; ranges are independent, so they may be spread over workers and advance in any order.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::block::Block;
use super::kernel;
use super::query::Query;

/// Covers the rounding of everything that is computed in f64, the rotation's included: rotated unit vectors are off by
/// less than 1e-11, sums of 2¹⁶ terms by less.
pub const SLACK: f64 = 1e-9;

/// Partial sums are kept in f32, rounded once a block; they are below 2 in size.
const PARTIAL_ROUNDING: f64 = f32::EPSILON as f64;

/// Codes scored at a time by every vector of a bank, in bytes: what stays in the first-level cache.
const TILE_BYTES: usize = 16 << 10;

/// A score known within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounded {
    /// Best guess; equal to both bounds when exact.
    pub estimate: f64,
    /// The true score is at least this.
    pub lower: f64,
    /// The true score is at most this.
    pub upper: f64,
}

impl Bounded {
    /// What is known of a row before its first block.
    pub const UNKNOWN: Self = Self { estimate: 0.0, lower: -1.0, upper: 1.0 };

    /// A score that is known.
    pub fn exact(score: f64) -> Self {
        // −0 and +0 are one score.
        let score = score + 0.0;
        Self { estimate: score, lower: score, upper: score }
    }

    /// Whether nothing is left to learn.
    pub fn is_exact(&self) -> bool {
        self.lower == self.upper
    }

    /// How far the true score may be from the estimate; 0 when exact.
    pub fn radius(&self) -> f64 {
        (self.upper - self.estimate).max(self.estimate - self.lower)
    }

    /// The bounds of −score: ranking by it finds the lowest scores.
    pub fn negated(self) -> Self {
        Self { estimate: 0.0 - self.estimate, lower: 0.0 - self.upper, upper: 0.0 - self.lower }
    }

    /// The bounds of the larger of two scores: of a bank.
    pub fn max(self, other: Self) -> Self {
        Self {
            estimate: self.estimate.max(other.estimate),
            lower: self.lower.max(other.lower),
            upper: self.upper.max(other.upper),
        }
    }

    /// `estimate ± radius`, cut to [−1, 1]. Only [`Bounded::exact`] makes an exact score.
    fn around(estimate: f64, radius: f64) -> Self {
        let (lower, upper) = (estimate - radius, estimate + radius);
        match (lower.max(-1.0), upper.min(1.0)) {
            (low, high) if low < high => Self { estimate: estimate.clamp(low, high), lower: low, upper: high },
            _ => Self { estimate, lower, upper },
        }
    }
}

/// A block that does not continue what has been scored.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("block file of rows {first_row}..: {what} is {got}, expected {expected}: not the file that comes next")]
pub struct BoundsError {
    /// First row of the range.
    pub first_row: usize,
    /// What differs.
    pub what: &'static str,
    /// What should be there.
    pub expected: String,
    /// What the file says.
    pub got: String,
}

/// Scores of the rows of one file range, for one query.
#[derive(Debug, Clone)]
pub struct RangeScores {
    first_row: usize,
    n_rows: usize,
    /// The rows that are still asked about, ascending, counted within the range; all when absent. What follows is of them.
    kept: Option<Vec<u32>>,
    /// Hash that all blocks of an index share; empty before the first block.
    inputs: String,
    layer: usize,
    vectors: Vec<VectorScores>,
    /// `error_norm` of every block so far, `[n_blocks, n_rows]`.
    errors: Vec<f32>,
    /// `tail_norm` of the last block, `[n_rows]`; empty before the first block.
    tail: Vec<f32>,
    /// `[n_rows]` or empty: exact scores, NaN where not known.
    exact: Vec<f64>,
    n_blocks: usize,
}

/// What one vector of the query knows of the range.
#[derive(Debug, Clone)]
struct VectorScores {
    /// `[n_rows]`: what the integers say.
    partial: Vec<f32>,
    /// Radius that every row has, whatever its norms.
    base: f64,
    /// `[n_blocks]`: radius per `error_norm`.
    per_error: Vec<f64>,
    /// Radius per `tail_norm`.
    per_tail: f64,
    /// A zero direction: every score is 0.
    is_zero: bool,
}

impl RangeScores {
    /// Nothing known yet of rows `first_row .. first_row + n_rows`.
    ///
    /// # Panics
    ///
    /// Panics when a row's number does not fit into 32 bits.
    pub fn new(first_row: usize, n_rows: usize) -> Self {
        assert!(first_row.checked_add(n_rows).is_some_and(|end| end <= u32::MAX as usize), "rows are numbered in u32");
        let (kept, inputs, vectors, errors, tail, exact) = Default::default();
        Self { first_row, n_rows, kept, inputs, layer: 0, vectors, errors, tail, exact, n_blocks: 0 }
    }

    /// First row of the range, as numbered in the study.
    pub fn first_row(&self) -> usize {
        self.first_row
    }

    /// Rows in the range.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Rows that are still asked about, counted within the range; all when absent.
    pub fn kept(&self) -> Option<&[u32]> {
        self.kept.as_deref()
    }

    /// Forgets every row but these, which ascend and are counted within the range. Blocks are then read for them alone
    /// ([`Block::parse_rows`]).
    ///
    /// # Panics
    ///
    /// Panics when one of them is not there or was forgotten before.
    pub fn keep(&mut self, rows: &[u32]) {
        let slots: Vec<usize> = rows.iter().map(|&row| self.slot(row as usize)).collect();
        let n_slots = self.n_slots();
        for scores in &mut self.vectors {
            scores.partial = slots.iter().map(|&slot| scores.partial[slot]).collect();
        }
        let errors = self.errors.chunks_exact(n_slots.max(1));
        self.errors = errors.flat_map(|block| slots.iter().map(|&slot| block[slot])).collect();
        if !self.tail.is_empty() {
            self.tail = slots.iter().map(|&slot| self.tail[slot]).collect();
        }
        if !self.exact.is_empty() {
            self.exact = slots.iter().map(|&slot| self.exact[slot]).collect();
        }
        self.kept = Some(rows.to_vec());
    }

    fn n_slots(&self) -> usize {
        self.kept.as_ref().map_or(self.n_rows, Vec::len)
    }

    /// Where what is known of a row is kept.
    fn slot(&self, row: usize) -> usize {
        assert!(row < self.n_rows, "row {row} of {}", self.n_rows);
        let Some(kept) = &self.kept else { return row };
        kept.binary_search(&(row as u32)).unwrap_or_else(|_| panic!("row {row} was forgotten"))
    }

    /// Blocks added so far.
    pub fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    /// Adds the next block of these rows. The query must be the same for every block.
    ///
    /// # Errors
    ///
    /// When it is another block, of other rows, of another width or another index than what comes next; then nothing
    /// has changed.
    ///
    /// # Panics
    ///
    /// Panics when the query has another number of vectors than before.
    pub fn add(&mut self, block: &Block, query: &Query) -> Result<(), BoundsError> {
        self.check(block, query)?;
        if self.n_blocks == 0 {
            self.inputs.clone_from(&block.header.inputs);
            self.layer = block.header.layer;
            self.vectors = query
                .vectors()
                .iter()
                .map(|vector| VectorScores {
                    partial: vec![0.0; self.n_slots()],
                    base: SLACK + vector.error,
                    per_error: Vec::new(),
                    per_tail: 0.0,
                    is_zero: vector.is_zero(),
                })
                .collect();
        }
        assert_eq!(self.vectors.len(), query.vectors().len(), "the same query for every block");

        for (scores, vector) in self.vectors.iter_mut().zip(query.vectors()) {
            let part = &vector.blocks[self.n_blocks];
            scores.base += part.error_norm + PARTIAL_ROUNDING;
            scores.per_error.push(part.norm + part.error_norm);
            scores.per_tail = part.rest_norm;
        }
        let rows_per_tile = (TILE_BYTES / block.width).max(1);
        let mut sums = vec![0; rows_per_tile];
        for (tile, codes) in block.codes.chunks(rows_per_tile * block.width).enumerate() {
            let first = tile * rows_per_tile;
            let sums = &mut sums[..codes.len() / block.width];
            let scale = &block.scale[first..first + sums.len()];
            for (scores, vector) in self.vectors.iter_mut().zip(query.vectors()) {
                let part = &vector.blocks[self.n_blocks];
                kernel::dots(&part.codes, codes, sums);
                for ((partial, sum), scale) in scores.partial[first..].iter_mut().zip(&*sums).zip(scale) {
                    let share = part.scale * f64::from(*scale) * f64::from(*sum);
                    *partial = (f64::from(*partial) + share) as f32;
                }
            }
        }
        if self.n_blocks == 0 {
            // A zero row scores 0, and says so in its first block.
            for slot in 0..self.n_slots() {
                if block.scale[slot] == 0.0 && block.error_norm[slot] == 0.0 && block.tail_norm[slot] == 0.0 {
                    self.set_exact_at(slot, 0.0);
                }
            }
        }
        self.errors.extend_from_slice(&block.error_norm);
        self.tail.clone_from(&block.tail_norm);
        self.n_blocks += 1;
        Ok(())
    }

    fn check(&self, block: &Block, query: &Query) -> Result<(), BoundsError> {
        let differs = |what, expected: &dyn ToString, got: &dyn ToString| {
            let (expected, got) = (expected.to_string(), got.to_string());
            if expected == got { Ok(()) } else { Err(BoundsError { first_row: self.first_row, what, expected, got }) }
        };
        let header = &block.header;
        differs("first_row", &self.first_row, &header.first_row)?;
        differs("the number of rows", &self.n_rows, &block.n_rows)?;
        if self.kept != block.rows {
            let n_rows =
                |rows: &Option<Vec<u32>>| rows.as_ref().map_or("all".to_owned(), |rows| rows.len().to_string());
            let (expected, got) = (format!("{} given ones", n_rows(&self.kept)), n_rows(&block.rows));
            return Err(BoundsError { first_row: self.first_row, what: "the choice of rows", expected, got });
        }
        let n_left = query.widths().len().saturating_sub(self.n_blocks);
        differs("block", &if n_left > 0 { self.n_blocks.to_string() } else { "none".to_owned() }, &header.block)?;
        differs("width", &query.widths()[self.n_blocks], &block.width)?;
        differs("first_dim", &query.widths()[..self.n_blocks].iter().sum::<usize>(), &header.first_dim)?;
        if self.n_blocks > 0 {
            differs("inputs", &self.inputs, &header.inputs)?;
            differs("layer", &self.layer, &header.layer)?;
        }
        Ok(())
    }

    /// States the exact score of a row, numbered within the range.
    ///
    /// # Panics
    ///
    /// Panics when there is no such row, it was forgotten, or the score is NaN.
    pub fn set_exact(&mut self, row: usize, score: f64) {
        assert!(!score.is_nan(), "row {row} scores {score}");
        self.set_exact_at(self.slot(row), score);
    }

    fn set_exact_at(&mut self, slot: usize, score: f64) {
        if self.exact.is_empty() {
            self.exact = vec![f64::NAN; self.n_slots()];
        }
        self.exact[slot] = score;
    }

    /// What is known of a row, numbered within the range.
    ///
    /// # Panics
    ///
    /// Panics when there is no such row or it was forgotten.
    pub fn score(&self, row: usize) -> Bounded {
        self.score_at(self.slot(row))
    }

    fn score_at(&self, slot: usize) -> Bounded {
        if let Some(score) = self.exact.get(slot).filter(|score| !score.is_nan()) {
            return Bounded::exact(*score);
        }
        let score_of = |vector: &VectorScores| {
            if vector.is_zero {
                return Bounded::exact(0.0);
            }
            let errors = self.errors.iter().skip(slot).step_by(self.n_slots());
            let spread: f64 = errors.zip(&vector.per_error).map(|(error, factor)| f64::from(*error) * factor).sum();
            let radius = vector.base + spread + vector.per_tail * f64::from(self.tail[slot]);
            Bounded::around(f64::from(vector.partial[slot]), radius)
        };
        self.vectors.iter().map(score_of).reduce(Bounded::max).unwrap_or(Bounded::UNKNOWN)
    }

    /// What is known of every row that is asked about, with its number in the study.
    pub fn scores(&self) -> impl Iterator<Item = (u32, Bounded)> {
        let row = |slot: usize| self.kept.as_ref().map_or(slot, |kept| kept[slot] as usize);
        (0..self.n_slots()).map(move |slot| ((self.first_row + row(slot)) as u32, self.score_at(slot)))
    }
}
