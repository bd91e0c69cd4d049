//! Queries: rotated directions with a bound of their own error, and combinations of them.

/// A direction, not necessarily of unit length, in f64, with a bound on how far it is from what is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// `[d_model]`.
    pub values: Vec<f64>,
    /// At least the norm of (values − the rotated direction that is meant). 0 for directions in the model's own space.
    pub error: f64,
}

impl Direction {
    /// From f32 numbers that stand for themselves (original space).
    pub fn exact(values: &[f32]) -> Self { unimplemented!() }
    /// From rotated numbers stored as f32: error ≤ 2⁻²⁴ · ‖values‖ (plus the rotation's own).
    pub fn rotated(values: &[f32]) -> Self { unimplemented!() }
    /// Σ weight · direction.
    pub fn weighted_sum(parts: &[(f64, &Direction)]) -> Self { unimplemented!() }
    /// `self` without its component along `other`; errors propagate. Projecting out zero changes nothing.
    pub fn without(&self, other: &Direction) -> Self { unimplemented!() }
    pub fn norm(&self) -> f64 { unimplemented!() }
}

/// A unit query cut into the blocks of an index, in int16. A zero direction scores every row 0, exactly.
#[derive(Debug, Clone)]
pub struct Query {
    // per block: codes Vec<i16>, scale f64, norm ‖q_b‖, error_norm ‖eq_b‖, rest_norm ‖q_>b‖; plus error of the direction
}

impl Query {
    /// `widths`: of the index's blocks.
    pub fn new(direction: &Direction, widths: &[usize]) -> Self { unimplemented!() }
}
