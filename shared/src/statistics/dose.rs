//! Dose and response: how the rate goes with the number of pairs edited, beside what random edits of that size do.

use serde::{Deserialize, Serialize};

use super::interval::{Estimate, Measured};
use super::outcomes::{ArmOutcomes, Outcomes, OutcomesError};
use super::random::Random;

/// Rates of one kind of edit over its sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DoseResponse {
    /// Name that the arms share, such as `drop`.
    pub arm: String,
    /// By size, ascending; the baseline is the point at 0.
    pub points: Vec<DosePoint>,
    /// Whether the rate goes with the size; none with a single run per size at most, or two runs in all.
    pub trend: Option<Trend>,
}

/// The rate at one size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DosePoint {
    /// Pairs edited.
    pub k: u64,
    /// Rate of the arm, in [0, 1].
    pub rate: Measured,
    /// Rate of as many pairs edited at random: the band to compare with. None at 0 or when not trained.
    pub random: Option<Measured>,
}

/// Whether rates go up or down with the size, by the order of sizes alone.
///
/// Of all pairs of models trained with different k, baseline included, how many more have the higher rate at the larger k
/// than at the smaller one (Terpstra 1952; Jonckheere, *A distribution-free k-sample test against ordered alternatives*,
/// 1954); its p-value by dealing the models out to the sizes anew. It speaks of the edit, not of the ranking: random
/// edits may have a trend as well.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// In [−1, 1]: −1 when a larger edit always has the lower rate.
    pub concordance: f64,
    /// Two-sided, (count + 1) / (draws + 1).
    pub p: f64,
    /// Deals drawn.
    pub n_draws: u64,
}

/// How to test for a trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrendOptions {
    /// Deals to draw.
    pub n_draws: u64,
    /// Starts the random numbers.
    pub seed: u64,
}

impl DoseResponse {
    /// Of the arms named `name`, which are taken in any order.
    ///
    /// # Errors
    ///
    /// When an arm has fewer than two prompts, or the arms do not share two.
    pub fn of(outcomes: &Outcomes, name: &str, level: f64, options: TrendOptions) -> Result<Self, OutcomesError> {
        let mut arms: Vec<&ArmOutcomes> = outcomes.arms.iter().filter(|arm| arm.name == name && arm.k > 0).collect();
        arms.sort_by_key(|arm| arm.k);
        let baseline = outcomes.baseline().ok_or(OutcomesError::NoBaseline)?;
        let rate = |arm: &ArmOutcomes| -> Result<Measured, OutcomesError> {
            let ([grid], _) = Outcomes::grids([arm])?;
            Ok(Estimate::of_rate(&grid).measured(level))
        };
        let mut points = vec![DosePoint { k: 0, rate: rate(baseline)?, random: None }];
        for arm in &arms {
            let random = outcomes.random_of(arm).map(rate).transpose()?;
            points.push(DosePoint { k: arm.k, rate: rate(arm)?, random });
        }
        arms.insert(0, baseline);
        let (grids, _) = Outcomes::grids_of(&arms)?;
        let runs: Vec<(usize, f64)> = grids
            .iter()
            .enumerate()
            .flat_map(|(dose, grid)| grid.seed_rates().iter().map(move |r| (dose, *r)))
            .collect();
        Ok(Self { arm: name.to_owned(), points, trend: trend(&runs, options) })
    }
}

/// Trend of runs `(place of the size, rate)`; none when all have different sizes or all have the same.
pub fn trend(runs: &[(usize, f64)], options: TrendOptions) -> Option<Trend> {
    let mut doses: Vec<usize> = runs.iter().map(|run| run.0).collect();
    doses.sort_unstable();
    let n_doses = doses.chunk_by(|a, b| a == b).count();
    if n_doses < 2 || n_doses == runs.len() {
        return None;
    }
    let mut runs = runs.to_vec();
    runs.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut rates: Vec<f64> = runs.iter().map(|run| run.1).collect();
    let balance = |rates: &[f64]| {
        let mut balance = 0i64;
        for (i, low) in rates.iter().enumerate() {
            for (high, _) in rates[i + 1..].iter().zip(&doses[i + 1..]).filter(|(_, dose)| **dose > doses[i]) {
                balance += i64::from(high > low) - i64::from(high < low);
            }
        }
        balance
    };
    let n_pairs: usize = (0..doses.len()).map(|i| doses[i..].iter().filter(|dose| **dose > doses[i]).count()).sum();
    let observed = balance(&rates);
    let mut random = Random::new(options.seed);
    let mut count = 0u64;
    for _ in 0..options.n_draws {
        random.shuffle(&mut rates);
        count += u64::from(balance(&rates).abs() >= observed.abs());
    }
    let p = (count + 1) as f64 / (options.n_draws + 1) as f64;
    Some(Trend { concordance: observed as f64 / n_pairs as f64, p, n_draws: options.n_draws })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: TrendOptions = TrendOptions { n_draws: 1999, seed: 1 };

    #[test]
    fn a_falling_rate_is_a_trend() {
        let runs: Vec<(usize, f64)> =
            (0..4).flat_map(|dose| [0.0, 0.01, 0.02].map(|noise| (dose, 0.6 - 0.1 * dose as f64 + noise))).collect();
        let falling = trend(&runs, OPTIONS).unwrap();
        assert_eq!((falling.concordance, falling.p), (-1.0, 1.0 / 2000.0));
        let turned: Vec<(usize, f64)> = runs.iter().rev().copied().collect();
        assert_eq!(trend(&turned, OPTIONS).unwrap(), falling);
        let rising: Vec<(usize, f64)> = runs.iter().map(|run| (run.0, 1.0 - run.1)).collect();
        assert_eq!(trend(&rising, OPTIONS).unwrap().concordance, 1.0);
    }

    #[test]
    fn equal_rates_have_none() {
        let flat = trend(&[(0, 0.5), (0, 0.5), (1, 0.5), (1, 0.5)], OPTIONS).unwrap();
        assert_eq!((flat.concordance, flat.p), (0.0, 1.0));
        assert_eq!(trend(&[(0, 0.5), (1, 0.4), (2, 0.3)], OPTIONS), None);
        assert_eq!(trend(&[(1, 0.5), (1, 0.4)], OPTIONS), None);
        assert_eq!(trend(&[], OPTIONS), None);
    }

    #[test]
    fn noise_is_rarely_called_a_trend() {
        let mut random = Random::new(6);
        let n = 600;
        let called = (0..n).filter(|_| {
            let runs: Vec<(usize, f64)> = (0..12).map(|i| (i / 3, random.normal())).collect();
            trend(&runs, TrendOptions { n_draws: 399, seed: 1 }).unwrap().p <= 0.05
        });
        let share = called.count() as f64 / f64::from(n);
        assert!(share <= 0.07, "{share}");
    }
}
