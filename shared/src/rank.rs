//! Cosine scores and the ranking: which pairs push hardest toward a behavior.
//!
//! score(pair) = cosine(direction, pair vector) ∈ [−1, 1]; higher pushes harder toward the behavior. A zero vector on
//! either side scores 0. Ties are broken by row number, so a ranking is a function of its inputs alone.

use crate::dot::{dot, fold, norm};
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

/// Running sums of exact cosines, one per lane.
const LANES: usize = 8;

/// What rankings are exactly: the cosine of stored rows with a direction, or the largest over a bank of directions.
///
/// In f64: products of f32 numbers are exact in it, and sums of 2¹⁶ of them are right to 1e-12. Sums run in eight lanes
/// that are folded pairwise: the same bits on every machine.
#[derive(Debug, Clone)]
pub struct Probe<'a> {
    /// Directions with their norms.
    directions: Vec<(&'a [f64], f64)>,
}

impl<'a> Probe<'a> {
    /// Of one direction, or of several; all `[d_model]`.
    pub fn new<D: AsRef<[f64]>>(directions: &'a [D]) -> Self {
        let norm = |direction: &[f64]| sum_of_products(direction, direction).sqrt();
        Self { directions: directions.iter().map(AsRef::as_ref).map(|x| (x, norm(x))).collect() }
    }

    /// The score of a row, in [−1, 1]; 0 when the row or the direction is zero.
    ///
    /// # Panics
    ///
    /// Panics when the row is not as wide as the directions.
    pub fn score(&self, row: &[f32]) -> f64 {
        let row_norm = sum_of_products(row, row).sqrt();
        let cosine = |(direction, norm): &(&[f64], f64)| {
            let products = sum_of_products(direction, row);
            if *norm == 0.0 || row_norm == 0.0 {
                return 0.0;
            }
            (products / row_norm / norm).clamp(-1.0, 1.0)
        };
        self.directions.iter().map(cosine).fold(f64::NEG_INFINITY, f64::max)
    }

    /// The scores of every row of a shard, in row order.
    ///
    /// # Panics
    ///
    /// Panics when the shard's vectors are not as wide as the directions.
    pub fn scores(&self, shard: &Shard) -> impl Iterator<Item = f64> {
        let mut row = vec![0.0; shard.d_model];
        (0..shard.n_rows).map(move |i| {
            shard.read_row(i, &mut row);
            self.score(&row)
        })
    }
}

/// `Σ a[i]·b[i]` in f64, in the fixed order.
fn sum_of_products<A: Copy + Into<f64>, B: Copy + Into<f64>>(a: &[A], b: &[B]) -> f64 {
    assert_eq!(a.len(), b.len(), "cosine of vectors of different length");
    let mut sums = [0f64; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane].into() * b[lane].into();
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += (*a).into() * (*b).into();
    }
    fold(sums)
}

/// [`Probe::score`] of one direction.
///
/// # Panics
///
/// Panics when the lengths differ.
pub fn exact_cosine(direction: &[f64], row: &[f32]) -> f64 {
    Probe::new(&[direction]).score(row)
}

/// Rows ordered from the highest score to the lowest; equal scores by row number. `scores[i]` belongs to row `i`.
pub fn order<T: Copy + Into<f64>>(scores: &[T]) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..scores.len() as u32).collect();
    // −0 and +0 are the same score: adding 0.0 maps −0 to +0 before the total order tells them apart.
    let score = |row: u32| scores[row as usize].into() + 0.0;
    rows.sort_unstable_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
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
        assert!(order::<f32>(&[]).is_empty());
    }

    #[test]
    fn scores_are_in_row_order() {
        let header = ShardHeader { layer: 1, first_row: 0, inputs: String::new() };
        let bytes = shard::write(&header, &[1.0, 0.0, 0.0, 1.0, -1.0, 0.0], 2, StoreDtype::F32, None).unwrap();
        let shard = Shard::parse(&bytes).unwrap();
        assert_eq!(Probe::new(&[[2.0, 0.0]]).scores(&shard).collect::<Vec<_>>(), [1.0, 0.0, -1.0]);
        // Of a bank, the largest.
        let bank = [[2.0, 0.0], [0.0, -3.0]];
        assert_eq!(Probe::new(&bank).scores(&shard).collect::<Vec<_>>(), [1.0, 0.0, 0.0]);
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
