//! Cosine scores and the ranking: which pairs push hardest toward a behavior.
//!
//! score(pair) = cosine(direction, pair vector) ∈ [−1, 1]; higher pushes harder toward the behavior. A zero vector on
//! either side scores 0. Ties are broken by row number, so a ranking is a function of its inputs alone.

use crate::dot::{dot, norm};
use crate::shard::Shard;

/// Cosine of two vectors of the same length, in [−1, 1]; 0 when either has zero norm.
///
/// `direction_norm` is [`norm`] of `direction`, passed in because it is the same for every row.
pub fn cosine(direction: &[f32], direction_norm: f32, row: &[f32]) -> f32 {
    let row_norm = norm(row);
    if direction_norm == 0.0 || row_norm == 0.0 {
        return 0.0;
    }
    // Two divisions: the product of the norms may overflow or vanish where each alone does not.
    (dot(direction, row) / row_norm / direction_norm).clamp(-1.0, 1.0)
}

/// Scores of every row of a shard against `direction`, in row order.
///
/// # Panics
///
/// Panics when the direction is not as wide as the shard's vectors.
pub fn score_shard(shard: &Shard, direction: &[f32]) -> Vec<f32> {
    assert_eq!(direction.len(), shard.d_model, "direction and vectors come from the same model");
    let direction_norm = norm(direction);
    let mut row = vec![0.0; shard.d_model];
    (0..shard.n_rows)
        .map(|i| {
            shard.read_row(i, &mut row);
            cosine(direction, direction_norm, &row)
        })
        .collect()
}

/// Running sums of [`exact_cosine`], one per lane.
const LANES: usize = 8;

/// Cosine of a direction and a stored row, in [−1, 1], in f64: products of f32 numbers are exact in it, and sums of 2¹⁶ of
/// them are right to 1e-12. 0 when either is zero. Rankings are ordered by this number.
///
/// Sums run in eight lanes that are folded pairwise: the same bits on every machine.
///
/// # Panics
///
/// Panics when the lengths differ.
pub fn exact_cosine(direction: &[f64], row: &[f32]) -> f64 {
    assert_eq!(direction.len(), row.len(), "cosine of vectors of different length");
    let (mut products, mut squares_a, mut squares_b) = ([0f64; LANES], [0f64; LANES], [0f64; LANES]);
    let (a_chunks, a_rest) = direction.as_chunks::<LANES>();
    let (b_chunks, b_rest) = row.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            let b = f64::from(b[lane]);
            products[lane] += a[lane] * b;
            squares_a[lane] += a[lane] * a[lane];
            squares_b[lane] += b * b;
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        let b = f64::from(*b);
        products[lane] += a * b;
        squares_a[lane] += a * a;
        squares_b[lane] += b * b;
    }
    let fold = |mut sums: [f64; LANES]| {
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                sums[lane] += sums[lane + width];
            }
            width /= 2;
        }
        sums[0]
    };
    let (norm_a, norm_b) = (fold(squares_a).sqrt(), fold(squares_b).sqrt());
    if norm_a == 0.0 || norm_b == 0.0 {
        return 0.0;
    }
    (fold(products) / norm_b / norm_a).clamp(-1.0, 1.0)
}

/// Rows ordered from the highest score to the lowest; equal scores by row number. `scores[i]` belongs to row `i`.
pub fn order(scores: &[f32]) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..scores.len() as u32).collect();
    // −0 and +0 are the same score: adding 0.0 maps −0 to +0 before the total order tells them apart.
    rows.sort_unstable_by(|&a, &b| {
        let (score_a, score_b) = (scores[a as usize] + 0.0, scores[b as usize] + 0.0);
        score_b.total_cmp(&score_a).then(a.cmp(&b))
    });
    rows
}

/// Rows ordered from the highest score to the lowest; equal scores by row number. `scores[i]` belongs to row `i`.
pub fn order64(scores: &[f64]) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..scores.len() as u32).collect();
    // −0 and +0 are the same score: adding 0.0 maps −0 to +0 before the total order tells them apart.
    rows.sort_unstable_by(|&a, &b| {
        let (score_a, score_b) = (scores[a as usize] + 0.0, scores[b as usize] + 0.0);
        score_b.total_cmp(&score_a).then(a.cmp(&b))
    });
    rows
}

/// Counts of values in equal bins between `low` and `high`.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Left edge of the first bin.
    pub low: f32,
    /// Right edge of the last bin; belongs to the last bin.
    pub high: f32,
    /// Values per bin.
    pub counts: Vec<u32>,
}

impl Histogram {
    /// Histogram of `values` over their own range, widened to multiples of 0.05 so that neighbouring studies compare.
    pub fn of_scores(values: &[f32], n_bins: usize) -> Self {
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for &value in values {
            low = low.min(value);
            high = high.max(value);
        }
        if !(low.is_finite() && high.is_finite()) {
            (low, high) = (-1.0, 1.0);
        }
        let low = (low * 20.0).floor() / 20.0;
        let high = ((high * 20.0).ceil() / 20.0).max(low + 0.05);
        let mut histogram = Self { low, high, counts: vec![0; n_bins] };
        for &value in values {
            let bin = histogram.bin_of(value);
            histogram.counts[bin] += 1;
        }
        histogram
    }

    /// The bin a value belongs to; values beyond the edges belong to the bins at them.
    pub fn bin_of(&self, value: f32) -> usize {
        let n_bins = self.counts.len();
        let bin = ((value - self.low) / (self.high - self.low) * n_bins as f32) as usize;
        bin.min(n_bins - 1)
    }

    /// Left and right edge of a bin.
    pub fn edges(&self, bin: usize) -> (f32, f32) {
        let width = (self.high - self.low) / self.counts.len() as f32;
        (self.low + width * bin as f32, self.low + width * (bin + 1) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{self, ShardHeader, StoreDtype};

    #[test]
    fn cosine_is_scale_free_and_zero_safe() {
        let direction = [3.0, 4.0];
        assert_eq!(cosine(&direction, norm(&direction), &[6.0, 8.0]), 1.0);
        assert_eq!(cosine(&direction, norm(&direction), &[-6e-24, -8e-24]), 0.0, "squares vanish: norm is zero");
        assert_eq!(cosine(&direction, norm(&direction), &[0.0, 0.0]), 0.0);
        assert_eq!(cosine(&[0.0, 0.0], 0.0, &[1.0, 2.0]), 0.0);
        assert!(cosine(&[1e18, 0.0], 1e18, &[1e18, 0.0]).is_finite());
    }

    #[test]
    fn ties_go_by_row() {
        assert_eq!(order(&[0.5, 0.9, 0.5, 0.0, -0.0, 0.9]), [1, 5, 0, 2, 3, 4]);
        assert!(order(&[]).is_empty());
    }

    #[test]
    fn scores_are_in_row_order() {
        let header = ShardHeader { layer: 1, first_row: 0, inputs: String::new() };
        let bytes = shard::write(&header, &[1.0, 0.0, 0.0, 1.0, -1.0, 0.0], 2, StoreDtype::F32, None).unwrap();
        assert_eq!(score_shard(&Shard::parse(&bytes).unwrap(), &[2.0, 0.0]), [1.0, 0.0, -1.0]);
    }

    #[test]
    fn histogram_counts_every_value() {
        let values: Vec<f32> = (0..=100).map(|i| i as f32 / 100.0 - 0.3).collect();
        let histogram = Histogram::of_scores(&values, 40);
        assert_eq!(histogram.counts.iter().sum::<u32>(), 101);
        assert!(histogram.low <= -0.3 && histogram.high >= 0.7);
        assert_eq!(Histogram::of_scores(&[0.2, 0.2], 4).counts.iter().sum::<u32>(), 2);
        assert_eq!(Histogram::of_scores(&[], 4).counts, [0; 4]);
    }
}
