//! Queries: rotated directions with a bound of their own error, and combinations of them.

/// A direction with a bound on how far it is from what is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// `[d_model]`.
    pub values: Vec<f64>,
    /// At least the norm of (values − the rotated direction that is meant).
    pub error: f64,
}

impl Direction {
    /// From f32 numbers that stand for themselves (original space).
    pub fn exact(values: &[f32]) -> Self {
        Self { values: values.iter().map(|x| f64::from(*x)).collect(), error: 0.0 }
    }
    /// From rotated numbers stored as f32.
    pub fn rotated(values: &[f32]) -> Self {
        let exact = Self::exact(values);
        let error = exact.norm() * 2f64.powi(-24);
        Self { error, ..exact }
    }
    /// Σ weight · direction.
    pub fn weighted_sum(parts: &[(f64, &Direction)]) -> Self {
        let n = parts.first().map_or(0, |(_, part)| part.values.len());
        let mut sum = Self { values: vec![0.0; n], error: 0.0 };
        for (weight, part) in parts {
            sum.values.iter_mut().zip(&part.values).for_each(|(sum, x)| *sum += weight * x);
            sum.error += weight.abs() * part.error;
        }
        sum
    }
    /// `self` without its component along `other`.
    pub fn without(&self, other: &Direction) -> Self {
        let norm = other.norm();
        if norm == 0.0 {
            return self.clone();
        }
        let along: f64 = self.values.iter().zip(&other.values).map(|(a, b)| a * b).sum::<f64>() / norm / norm;
        let values = self.values.iter().zip(&other.values).map(|(a, b)| a - along * b).collect();
        Self { values, error: 2.0 * self.error + 4.0 * other.error * self.norm() / norm }
    }
    /// Euclidean norm.
    pub fn norm(&self) -> f64 {
        self.values.iter().map(|x| x * x).sum::<f64>().sqrt()
    }
}

/// A unit query cut into the blocks of an index, in int16.
#[derive(Debug, Clone)]
pub struct Query {
    pub(super) blocks: Vec<Part>,
    pub(super) error: f64,
}

#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) codes: Vec<i16>,
    pub(super) scale: f64,
    pub(super) norm: f64,
    pub(super) error_norm: f64,
    pub(super) rest_norm: f64,
}

impl Query {
    /// `widths`: of the index's blocks.
    pub fn new(direction: &Direction, widths: &[usize]) -> Self {
        let norm = direction.norm();
        let unit: Vec<f64> = direction.values.iter().map(|x| if norm > 0.0 { x / norm } else { 0.0 }).collect();
        let mut at = 0;
        let mut blocks = Vec::new();
        for &width in widths {
            let block = &unit[at..at + width];
            at += width;
            let max = block.iter().fold(0f64, |max, x| max.max(x.abs()));
            let l1: f64 = block.iter().map(|x| x.abs()).sum();
            let limit = if max > 0.0 { (max / l1 * (i32::MAX as f64 - 1e6) / 127.0 - 1.0).clamp(1.0, 32767.0) } else { 1.0 };
            let scale = max / limit;
            let codes: Vec<i16> = block.iter().map(|x| if scale > 0.0 { (x / scale).round() as i16 } else { 0 }).collect();
            let error: f64 = block.iter().zip(&codes).map(|(x, c)| (x - scale * f64::from(*c)).powi(2)).sum();
            let rest: f64 = unit[at..].iter().map(|x| x * x).sum();
            blocks.push(Part {
                codes,
                scale,
                norm: block.iter().map(|x| x * x).sum::<f64>().sqrt(),
                error_norm: error.sqrt(),
                rest_norm: rest.sqrt(),
            });
        }
        let error = if norm > 0.0 { 2.0 * direction.error / norm } else { 0.0 };
        Self { blocks, error }
    }
}
