//! How concentrated the push toward a behavior is: figures of a ranking's scores, and the same figures where there is
//! nothing to find.
//!
//! A pair pushes toward the behavior as far as its score is positive. Two nulls say what the figures are without a
//! signal. *Shuffled labels*: chosen and rejected of every pair are swapped or not by a coin; swapping negates a pair's
//! vector and so its score, which makes this null a matter of signs. *Random directions*: the same pairs, ranked toward
//! directions that lie where pair vectors lie but have nothing to do with the behavior ([`RandomDirections`]).

use serde::{Deserialize, Serialize};

use crate::stability::Spread;
use crate::statistics::random::Random;

/// Of a ranking's scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Mean score of the first k, in [−1, 1].
    pub top_mean: f64,
    /// Share of the push that the first k hold, in [0, 1]: their positive scores, over all positive scores. 0 without push.
    pub top_mass: f64,
}

impl Figures {
    /// Of scores from the highest to the lowest; `k` is capped at their number.
    ///
    /// # Panics
    ///
    /// Panics when `k` is 0 or there is no score.
    pub fn of(sorted: &[f64], k: usize) -> Self {
        let k = k.min(sorted.len());
        assert!(k > 0, "the first of no pairs");
        let push = |scores: &[f64]| scores.iter().copied().take_while(|score| *score > 0.0).sum::<f64>();
        let (top, all) = (&sorted[..k], push(sorted));
        let top_mass = if all > 0.0 { push(top) / all } else { 0.0 };
        Self { top_mean: top.iter().sum::<f64>() / k as f64, top_mass }
    }
}

/// Scores from the highest to the lowest.
pub fn sorted(scores: &[f64]) -> Vec<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    sorted
}

/// Figures over the draws of a null.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Null {
    /// Draws.
    pub n_draws: usize,
    /// Of [`Figures::top_mean`].
    pub top_mean: Spread,
    /// Of [`Figures::top_mass`].
    pub top_mass: Spread,
}

/// A null under way: draw by draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Draws {
    k: usize,
    figures: Vec<Figures>,
    /// Sum of the scores at each rank.
    sums: Vec<f64>,
}

impl Draws {
    /// No draw yet, of rankings of `n_rows` pairs.
    pub fn new(n_rows: usize, k: usize) -> Self {
        Self { k, figures: Vec::new(), sums: vec![0.0; n_rows] }
    }

    /// Of `n_draws` times shuffled labels.
    pub fn of_shuffled_labels(scores: &[f64], k: usize, n_draws: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut draws = Self::new(scores.len(), k);
        for _ in 0..n_draws {
            // A bit per row.
            let mut bits = 0;
            let mut flip = |(row, score): (usize, &f64)| {
                if row % 64 == 0 {
                    bits = random.bits();
                }
                if bits >> (row % 64) & 1 == 1 { -score } else { *score }
            };
            draws.add(&scores.iter().enumerate().map(&mut flip).collect::<Vec<_>>());
        }
        draws
    }

    /// Adds a draw's scores, by row.
    ///
    /// # Panics
    ///
    /// Panics when they are of another number of pairs, or of none.
    pub fn add(&mut self, scores: &[f64]) {
        assert_eq!(scores.len(), self.sums.len(), "scores of the same pairs");
        let sorted = sorted(scores);
        self.figures.push(Figures::of(&sorted, self.k));
        self.sums.iter_mut().zip(sorted).for_each(|(sum, score)| *sum += score);
    }

    /// The figures; `None` without a draw.
    pub fn null(&self) -> Option<Null> {
        let spread = |of: fn(&Figures) -> f64| Spread::of(&self.figures.iter().map(of).collect::<Vec<_>>());
        let n_draws = self.figures.len();
        Some(Null { n_draws, top_mean: spread(|f| f.top_mean)?, top_mass: spread(|f| f.top_mass)? })
    }

    /// How the push that is beyond the draws is spread over the pairs.
    ///
    /// # Panics
    ///
    /// Panics when `sorted` is of another number of pairs.
    pub fn excess(&self, sorted: &[f64]) -> Excess {
        assert_eq!(sorted.len(), self.sums.len(), "scores of the same pairs");
        let n = self.figures.len().max(1) as f64;
        let beyond = |(score, sum): (&f64, &f64)| (score.max(0.0) - (sum / n).max(0.0)).max(0.0);
        let excess: Vec<f64> = sorted.iter().zip(&self.sums).map(beyond).collect();
        let (all, squares) = excess.iter().fold((0.0, 0.0), |(all, squares), x| (all + x, squares + x * x));
        let top: f64 = excess.iter().take(self.k).sum();
        let (top_share, n_effective) = if squares > 0.0 { (top / all, all * all / squares) } else { (0.0, 0.0) };
        let k = self.k.min(sorted.len()).max(1);
        let of_depth = |depth: usize| {
            let push: f64 = sorted[..depth].iter().map(|score| score.max(0.0)).sum();
            let share = if push > 0.0 { excess[..depth].iter().sum::<f64>() / push } else { 0.0 };
            share * libm::pow((depth as f64 / ENOUGH as f64).min(1.0), 0.25)
        };
        let depths = [k, 2 * k, 4 * k, ENOUGH].into_iter().filter(|depth| (k..=ENOUGH.max(k)).contains(depth));
        let stands_out = depths.filter(|depth| *depth <= sorted.len()).map(of_depth).fold(0.0, f64::max);
        Excess { top_mean: top / k as f64, top_share, n_effective, stands_out }
    }
}

/// By how much pairs push harder than the pairs of the same rank do toward random directions. A random direction has a first
/// hundred, too: only what is beyond it tells of the behavior.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Excess {
    /// Mean over the first k.
    pub top_mean: f64,
    /// Share that the first k hold, in [0, 1]; 0 when there is none.
    pub top_share: f64,
    /// Over how many pairs it is spread in effect: (Σ x)² / Σ x², which is their number when all have the same. 0 when there
    /// is none.
    pub n_effective: f64,
    /// How far the first pairs stand out, in [0, 1]: the share of their push that is beyond random directions, of the first k or
    /// of the first 2 k, 4 k or a hundred where those are more, whichever is most. Of fewer than a hundred it is made less by the
    /// fourth root of their number over a hundred: the fewer, the more often random directions differ by as much. 0 in files of
    /// before it was computed.
    #[serde(default)]
    pub stands_out: f64,
}

/// Pairs whose mean score tells well enough whether they stand out.
const ENOUGH: usize = 100;

/// Random directions with the spectrum of the pair vectors: Σ ξ·v / ‖v‖ over all pairs with standard normal ξ, so that
/// their covariance is the pairs' own. Rows may come in any grouping, as long as each group is added in order.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomDirections {
    seed: u64,
    d_model: usize,
    /// `[n_directions, d_model]`.
    sums: Vec<f64>,
}

impl RandomDirections {
    /// `n_directions` directions to which nothing was added yet.
    pub fn new(n_directions: usize, d_model: usize, seed: u64) -> Self {
        Self { seed, d_model, sums: vec![0.0; n_directions * d_model] }
    }

    /// Adds the vector of a row, `[d_model]`. What it is weighed by depends on the seed and the row's number alone.
    ///
    /// # Panics
    ///
    /// Panics when the vector has another width.
    pub fn add(&mut self, row: usize, vector: &[f32]) {
        assert_eq!(vector.len(), self.d_model, "a vector of another width");
        let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if norm == 0.0 {
            return;
        }
        // Rows that follow each other start from seeds that have nothing in common.
        let mut random = Random::new(Random::new(self.seed ^ (row as u64).rotate_left(32)).bits());
        for sums in self.sums.chunks_exact_mut(self.d_model) {
            let weight = random.normal() / norm;
            sums.iter_mut().zip(vector).for_each(|(sum, x)| *sum += weight * f64::from(*x));
        }
    }

    /// Adds what was summed over other rows.
    ///
    /// # Panics
    ///
    /// Panics when the other has another shape or seed.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.seed, self.sums.len()), (other.seed, other.sums.len()), "directions of the same draw");
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, x)| *sum += x);
    }

    /// The directions without their part along the behavior's, `[d_model]` each: what is left has nothing to do with it.
    ///
    /// # Panics
    ///
    /// Panics when the behavior's direction has another width.
    pub fn beside(&self, behavior: &[f64]) -> Vec<Vec<f64>> {
        assert_eq!(behavior.len(), self.d_model, "a direction of another width");
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let square = product(behavior, behavior);
        let without = |sums: &[f64]| {
            let along = if square > 0.0 { product(sums, behavior) / square } else { 0.0 };
            sums.iter().zip(behavior).map(|(sum, x)| sum - along * x).collect()
        };
        self.sums.chunks_exact(self.d_model.max(1)).map(without).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::exact_cosine;

    #[test]
    fn few_strong_pairs_hold_the_push_and_equal_ones_share_it() {
        let mut scores = vec![0.01; 990];
        scores.extend([0.8; 10]);
        let few = Figures::of(&sorted(&scores), 10);
        assert!((few.top_mean - 0.8).abs() < 1e-12 && (few.top_mass - 8.0 / 17.9).abs() < 1e-12);
        let all = Figures::of(&[0.3; 1000], 10);
        assert!((all.top_mass - 0.01).abs() < 1e-12, "{all:?}");
        for (scores, k) in [(&[0.0; 5][..], 2), (&[-0.1, -0.2], 1), (&[0.0], 9)] {
            assert_eq!(Figures::of(scores, k).top_mass, 0.0);
        }
        assert_eq!(Figures::of(&[0.5, -0.5], 9).top_mass, 1.0, "all of them, when k is more than there are");
    }

    #[test]
    fn shuffled_labels_hide_which_side_pushes_and_keep_how_hard() {
        let scores: Vec<f64> = (0..640).map(|i| if i < 64 { 0.9 } else { 0.05 }).collect();
        let null = |n_draws, seed| Draws::of_shuffled_labels(&scores, 64, n_draws, seed).null();
        // About half of the strong pairs keep their sign.
        let found = null(50, 1).unwrap();
        assert!((0.4..0.56).contains(&found.top_mean.mean) && found.top_mean.high < 0.7, "{found:?}");
        assert_eq!(null(50, 1), Some(found));
        assert_ne!(null(50, 2), Some(found));
        assert_eq!(null(0, 1), None);
    }

    #[test]
    fn excess_is_what_the_pairs_of_a_rank_have_beyond_random_directions() {
        let mut random = Random::new(4);
        let mut noise = || (0..20_000).map(|_| 0.1 * random.normal()).collect::<Vec<f64>>();
        let mut draws = Draws::new(20_000, 200);
        (0..20).for_each(|_| draws.add(&noise()));
        let mut scores = noise();
        let nothing = draws.excess(&sorted(&scores));
        assert!(nothing.top_mean < 0.01, "{nothing:?}");
        scores[..400].iter_mut().for_each(|score| *score += 0.6);
        let found = draws.excess(&sorted(&scores));
        assert!((0.3..0.7).contains(&found.top_share) && (300.0..900.0).contains(&found.n_effective), "{found:?}");
        scores[400..8000].iter_mut().for_each(|score| *score += 0.6);
        let many = draws.excess(&sorted(&scores));
        assert!(many.top_share < 0.05 && many.n_effective > 6000.0, "{many:?}");
        let none = Excess { top_mean: 0.0, top_share: 0.0, n_effective: 0.0, stands_out: 0.0 };
        assert_eq!(draws.excess(&vec![-0.1; 20_000]), none);
    }

    #[test]
    fn a_few_pairs_stand_out_by_themselves_or_by_those_that_follow() {
        // Random directions give 0.2 at every rank.
        let standing = |scores: &[f64], k: usize| {
            let mut draws = Draws::new(scores.len(), k);
            draws.add(&vec![0.2; scores.len()]);
            draws.excess(&sorted(scores)).stands_out
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} beside {b}");
        // Of 0.4 half is beyond; of the first 25 it counts by (25 / 100)^(1/4), of a hundred whole.
        let few: Vec<f64> = (0..400).map(|row| if row < 25 { 0.4 } else { 0.2 }).collect();
        close(standing(&few, 25), 0.5 * 0.25f64.powf(0.25));
        let many: Vec<f64> = (0..400).map(|row| if row < 100 { 0.4 } else { 0.2 }).collect();
        [1, 25, 50, 100].into_iter().for_each(|k| close(standing(&many, k), 0.5));
        // Beyond a hundred k alone counts.
        close(standing(&many, 200), 20.0 / (40.0 + 20.0));
        close(standing(&[0.4; 10], 10), 0.5 * 0.1f64.powf(0.25));
        assert_eq!((standing(&[0.1; 300], 50), standing(&[-0.1; 3], 3)), (0.0, 0.0));
    }

    #[test]
    fn random_directions_lie_where_the_rows_lie_however_rows_are_grouped() {
        let mut random = Random::new(9);
        let rows: Vec<Vec<f32>> =
            (0..400).map(|_| [3.0, 1.0, 0.1].map(|scale| (scale * random.normal()) as f32).to_vec()).collect();
        let of = |rows: std::ops::Range<usize>, all: &[Vec<f32>]| {
            let mut sum = RandomDirections::new(200, 3, 5);
            rows.for_each(|row| sum.add(row, &all[row]));
            sum
        };
        let whole = of(0..400, &rows);
        let mut parts = of(0..150, &rows);
        parts.merge(&of(150..400, &rows));
        let nowhere = [0.0; 3];
        let directions = whole.beside(&nowhere);
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(directions.iter().zip(parts.beside(&nowhere)).all(|(a, b)| close(a, &b)));
        let axis = |axis: usize| -> [f64; 3] { std::array::from_fn(|i| if i == axis { 1.0 } else { 0.0 }) };
        let squares = |i: usize| directions.iter().map(|d| d[i] * d[i]).sum::<f64>();
        let expected = |i: usize| rows.iter().map(|row| exact_cosine(&axis(i), row).powi(2)).sum::<f64>();
        for (a, b) in [(0, 1), (1, 2)] {
            let (got, wanted) = (squares(a) / squares(b), expected(a) / expected(b));
            assert!((got / wanted - 1.0).abs() < 0.4, "axes {a} and {b}: {got} beside {wanted}");
        }
        assert!(RandomDirections::new(2, 3, 5).beside(&nowhere).iter().flatten().all(|x| *x == 0.0));
    }

    #[test]
    fn what_is_left_of_a_random_direction_has_nothing_to_do_with_the_behavior() {
        let mut sum = RandomDirections::new(5, 3, 1);
        (0..10).for_each(|row| sum.add(row, &[1.0, row as f32, -2.0]));
        let behavior = [0.5, 2.0, 1.0];
        for direction in sum.beside(&behavior) {
            let product: f64 = direction.iter().zip(behavior).map(|(a, b)| a * b).sum();
            assert!(product.abs() < 1e-9 && direction.iter().any(|x| x.abs() > 1e-3), "{direction:?}");
        }
    }
}
