//! Queries: rotated directions with a bound of their own error, combinations of them, and banks.

use super::kernel::MAX_QUERY_SUM;

/// Covers the rounding of f64 sums over up to 2¹⁶ terms, relative to the norms of what is summed.
const ROUNDING: f64 = 1e-10;

/// A direction, not necessarily of unit length, in f64, with a bound on how far it is from what is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// `[d_model]`, finite.
    pub values: Vec<f64>,
    /// At least the norm of (values − the direction that is meant). 0 for numbers that stand for themselves.
    pub error: f64,
}

impl AsRef<[f64]> for Direction {
    fn as_ref(&self) -> &[f64] {
        &self.values
    }
}

impl Direction {
    /// From numbers that stand for themselves: a direction in the model's own space.
    pub fn exact(values: &[f32]) -> Self {
        Self { values: values.iter().map(|x| f64::from(*x)).collect(), error: 0.0 }
    }

    /// From rotated numbers stored as f32: each was rounded by 2⁻²⁴ of itself, or of the smallest normal number, and
    /// [`ROUNDING`] covers the rotation's own error.
    pub fn rotated(values: &[f32]) -> Self {
        let mut direction = Self::exact(values);
        let norm = direction.norm();
        if norm > 0.0 {
            let floor = f64::from(f32::MIN_POSITIVE) * (values.len() as f64).sqrt();
            direction.error = norm * (f64::from(f32::EPSILON) / 2.0 + ROUNDING) + floor * f64::from(f32::EPSILON);
        }
        direction
    }

    /// `Σ weight · direction` over `(weight, direction)`; zeros of no width when there is none, zeros when what is left
    /// of parts that cancel is no more than rounding.
    ///
    /// # Panics
    ///
    /// Panics when the directions differ in width.
    pub fn weighted_sum(parts: &[(f64, &Direction)]) -> Self {
        let d_model = parts.first().map_or(0, |(_, direction)| direction.values.len());
        let mut sum = Self { values: vec![0.0; d_model], error: 0.0 };
        let mut scale = 0.0;
        for (weight, direction) in parts {
            assert_eq!(direction.values.len(), d_model, "directions of one space");
            for (sum, x) in sum.values.iter_mut().zip(&direction.values) {
                *sum += weight * x;
            }
            let norm = direction.norm();
            scale += weight.abs() * norm;
            sum.error += weight.abs() * (direction.error + norm * rounding_of(direction));
        }
        sum.or_zero(scale)
    }

    /// `self` without its component along `other`; zeros when what is left is no more than rounding. Projecting out zero
    /// changes nothing.
    ///
    /// # Panics
    ///
    /// Panics when the directions differ in width.
    pub fn without(&self, other: &Direction) -> Self {
        assert_eq!(self.values.len(), other.values.len(), "directions of one space");
        let (norm, other_norm) = (self.norm(), other.norm());
        if other_norm == 0.0 {
            return self.clone();
        }
        let unit: Vec<f64> = other.values.iter().map(|x| x / other_norm).collect();
        let along: f64 = self.values.iter().zip(&unit).map(|(x, u)| x * u).sum();
        let values = self.values.iter().zip(&unit).map(|(x, u)| x - along * u).collect();
        // A projection shortens, so self's error stays; a unit vector off by e moves it by at most 2·e·‖self‖.
        let unit_error = unit_error(other.error / other_norm);
        let rounding = norm * rounding_of(self).max(rounding_of(other));
        let rest = Self { values, error: self.error + 2.0 * unit_error * (norm + self.error) + rounding };
        rest.or_zero(norm)
    }

    /// Zeros, if this came of numbers of norm `scale` and is so short that it may be their rounding alone: that points
    /// anywhere, and ranking by it would mean nothing.
    fn or_zero(mut self, scale: f64) -> Self {
        if scale.is_finite() && self.norm() <= scale * ROUNDING {
            self.values.fill(0.0);
        }
        self
    }

    /// Euclidean norm; also of numbers whose squares would overflow or vanish.
    pub fn norm(&self) -> f64 {
        let largest = self.values.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        if largest == 0.0 {
            return 0.0;
        }
        largest * self.values.iter().map(|x| (x / largest) * (x / largest)).sum::<f64>().sqrt()
    }
}

/// What arithmetic adds to the error of a direction, relative to its norm: nothing where numbers stand for themselves,
/// because then the direction as computed is the one that is meant.
fn rounding_of(direction: &Direction) -> f64 {
    if direction.error == 0.0 { 0.0 } else { ROUNDING }
}

/// How far a normalised direction is from the normalised one that is meant, when the direction is off by `ratio` of its
/// norm: 2·sin(asin(ratio)/2), or anything once it may point elsewhere.
fn unit_error(ratio: f64) -> f64 {
    // NaN, of 0 / 0, is not within the half either.
    if ratio <= 0.5 { ratio * (1.0 + ratio) } else { 2.0 }
}

/// One block of a unit query in int16.
#[derive(Debug, Clone)]
pub struct QueryBlock {
    /// `[width]`; `Σ |codes|` is at most [`MAX_QUERY_SUM`].
    pub codes: Vec<i16>,
    /// The block is `scale · codes`, up to `error_norm`.
    pub scale: f64,
    /// Norm of the block, in [0, 1].
    pub norm: f64,
    /// Norm of (block − scale · codes).
    pub error_norm: f64,
    /// Norm of all later dimensions.
    pub rest_norm: f64,
}

/// A unit vector cut into the blocks of an index.
#[derive(Debug, Clone)]
pub struct UnitQuery {
    /// In order.
    pub blocks: Vec<QueryBlock>,
    /// At least the norm of (this unit vector − the unit vector that is meant): what every score may be off by.
    pub error: f64,
}

/// What to score rows against: one direction, or a bank of them (score = the largest over the bank).
///
/// A zero direction scores every row 0, exactly.
#[derive(Debug, Clone)]
pub struct Query {
    widths: Vec<usize>,
    vectors: Vec<UnitQuery>,
}

impl Query {
    /// A query of one direction, for an index with blocks of these widths.
    ///
    /// # Panics
    ///
    /// Panics when the direction is not as wide as all blocks together.
    pub fn new(direction: &Direction, widths: &[usize]) -> Self {
        Self::bank([direction], widths)
    }

    /// A query of several directions: a row's score is its largest over them.
    ///
    /// # Panics
    ///
    /// Panics when there is no direction or one is not as wide as all blocks together.
    pub fn bank<'a>(directions: impl IntoIterator<Item = &'a Direction>, widths: &[usize]) -> Self {
        let vectors: Vec<_> = directions.into_iter().map(|direction| UnitQuery::new(direction, widths)).collect();
        assert!(!vectors.is_empty(), "a query has at least one direction");
        Self { widths: widths.to_vec(), vectors }
    }

    /// Widths of the index's blocks.
    pub fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// The directions, normalised and cut into blocks.
    pub fn vectors(&self) -> &[UnitQuery] {
        &self.vectors
    }
}

impl UnitQuery {
    /// Whether it stands for a zero direction, whose scores are all 0.
    pub fn is_zero(&self) -> bool {
        self.error == 0.0 && self.blocks.iter().all(|block| block.norm == 0.0)
    }

    fn new(direction: &Direction, widths: &[usize]) -> Self {
        let d_model = direction.values.len();
        assert_eq!(widths.iter().sum::<usize>(), d_model, "direction and index come from the same model");
        let norm = direction.norm();
        let is_usable = norm.is_finite() && norm > 0.0;
        let unit: Vec<f64> = match is_usable {
            true => direction.values.iter().map(|x| x / norm).collect(),
            false => vec![0.0; d_model],
        };
        // A zero that stands for itself scores 0; of one that may be anything, and of what overflows, nothing is known.
        let error = match direction.error == 0.0 && norm.is_finite() {
            true => 0.0,
            false => unit_error(direction.error / if is_usable { norm } else { 0.0 }),
        };
        let mut rest = unit.as_slice();
        let blocks = widths.iter().map(|&width| {
            let (block, later) = rest.split_at(width);
            rest = later;
            QueryBlock::new(block, norm_of(later))
        });
        Self { blocks: blocks.collect(), error }
    }
}

impl QueryBlock {
    fn new(block: &[f64], rest_norm: f64) -> Self {
        let largest = block.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        let sum: f64 = block.iter().map(|x| x.abs()).sum();
        // Rounding adds half a code to each.
        let codes_sum = (MAX_QUERY_SUM - block.len() as i64) as f64;
        let scale = (largest / f64::from(i16::MAX)).max(sum / codes_sum);
        // Below this the inverse overflows, and the error is nothing beside the slack of the bounds.
        let (scale, inverse) = if scale > 1e-300 { (scale, 1.0 / scale) } else { (0.0, 0.0) };
        let limit = f64::from(i16::MAX);
        let codes: Vec<i16> =
            block.iter().map(|x| (x * inverse).round_ties_even().clamp(-limit, limit) as i16).collect();
        debug_assert!(codes.iter().map(|c| i64::from(c.unsigned_abs())).sum::<i64>() <= MAX_QUERY_SUM);
        let errors: Vec<f64> = block.iter().zip(&codes).map(|(x, c)| x - scale * f64::from(*c)).collect();
        Self { codes, scale, norm: norm_of(block), error_norm: norm_of(&errors), rest_norm }
    }
}

fn norm_of(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}
