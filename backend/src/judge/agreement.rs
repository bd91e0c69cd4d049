//! How far a judge agrees with labels: counts, and what follows from them. The only arithmetic of this room.

use super::THRESHOLD;
use super::labels::Labelled;

/// Bins of the calibration table.
const N_BINS: usize = 10;

/// Rollouts by label and verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Both say that the behavior is shown.
    pub true_positives: usize,
    /// Only the judge says so.
    pub false_positives: usize,
    /// Only the label says so.
    pub false_negatives: usize,
    /// Neither says so.
    pub true_negatives: usize,
}

/// Rollouts whose scores lie in one range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationBin {
    /// Lower end of the scores; the range reaches to the next bin, the last one's to 100 inclusive.
    pub low: f64,
    /// Rollouts.
    pub n: usize,
    /// Mean of their scores, from 0 to 100.
    pub mean_score: f64,
    /// Share that is labelled as showing the behavior, in [0, 1].
    pub share_shown: f64,
}

/// What a judge and labels have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// The counts that everything but the calibration follows from.
    pub confusion: Confusion,
    /// Scores against labels, bins without rollouts left out.
    pub bins: Vec<CalibrationBin>,
    /// Mean distance between a bin's mean score / 100 and its share, weighted by its rollouts, in [0, 1].
    pub calibration_error: f64,
}

impl Confusion {
    /// Rollouts.
    pub fn n(&self) -> usize {
        self.true_positives + self.false_positives + self.false_negatives + self.true_negatives
    }

    /// Share on which both say the same.
    pub fn agreement(&self) -> Option<f64> {
        ratio(self.true_positives + self.true_negatives, self.n())
    }

    /// Cohen's κ: agreement beyond what the two rates alone would give, over the most there could be. `None` where both
    /// always say the same one thing.
    pub fn kappa(&self) -> Option<f64> {
        let observed = self.agreement()?;
        let n = self.n() as f64;
        let by_judge = (self.true_positives + self.false_positives) as f64 / n;
        let by_label = (self.true_positives + self.false_negatives) as f64 / n;
        let expected = by_judge * by_label + (1.0 - by_judge) * (1.0 - by_label);
        (expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
    }

    /// Of what the judge says is shown, the share that is.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Of what is shown, the share that the judge finds.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Harmonic mean of precision and recall.
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)
    }
}

fn ratio(part: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

/// Compares scores with labels.
pub fn agreement(labelled: &[Labelled]) -> Agreement {
    let mut confusion = Confusion::default();
    let mut sums = [(0usize, 0.0f64, 0usize); N_BINS];
    for &Labelled { label, score } in labelled {
        *match (score >= THRESHOLD, label) {
            (true, true) => &mut confusion.true_positives,
            (true, false) => &mut confusion.false_positives,
            (false, true) => &mut confusion.false_negatives,
            (false, false) => &mut confusion.true_negatives,
        } += 1;
        let (n, sum, n_shown) = &mut sums[((score / 100.0 * N_BINS as f64) as usize).min(N_BINS - 1)];
        *n += 1;
        *sum += score;
        *n_shown += usize::from(label);
    }
    let width = 100.0 / N_BINS as f64;
    let bins: Vec<CalibrationBin> = (sums.iter().enumerate())
        .filter(|(_, (n, ..))| *n > 0)
        .map(|(i, &(n, sum, n_shown))| CalibrationBin {
            low: i as f64 * width,
            n,
            mean_score: sum / n as f64,
            share_shown: n_shown as f64 / n as f64,
        })
        .collect();
    let distance = |bin: &CalibrationBin| bin.n as f64 * (bin.mean_score / 100.0 - bin.share_shown).abs();
    let calibration_error = bins.iter().map(distance).sum::<f64>() / labelled.len().max(1) as f64;
    Agreement { confusion, bins, calibration_error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_follow_from_the_counts() {
        // A textbook table: 20 + 15 agree of 50, κ = 0.4.
        let confusion = Confusion { true_positives: 20, false_positives: 5, false_negatives: 10, true_negatives: 15 };
        let close = |got: Option<f64>, expected: f64| (got.unwrap() - expected).abs() < 1e-12;
        assert!(close(confusion.agreement(), 0.7) && close(confusion.kappa(), 0.4));
        assert!(close(confusion.precision(), 0.8) && close(confusion.recall(), 2.0 / 3.0));
        assert!(close(confusion.f1(), 2.0 * 20.0 / 55.0));
        let never = Confusion { true_negatives: 9, ..Confusion::default() };
        assert_eq!((never.kappa(), never.precision(), never.recall(), never.f1()), (None, None, None, None));
        assert_eq!(Confusion::default().agreement(), None);
    }

    #[test]
    fn calibration_compares_scores_with_shares() {
        let label = |score: f64, label: bool| Labelled { label, score };
        let found = agreement(&[label(0.0, false), label(5.0, true), label(100.0, true), label(95.0, true)]);
        assert_eq!(found.bins.iter().map(|bin| (bin.low, bin.n)).collect::<Vec<_>>(), [(0.0, 2), (90.0, 2)]);
        assert_eq!((found.bins[0].mean_score, found.bins[0].share_shown), (2.5, 0.5));
        assert!((found.calibration_error - (2.0 * 0.475 + 2.0 * 0.025) / 4.0).abs() < 1e-12);
        assert_eq!((found.confusion.true_positives, found.confusion.false_negatives), (2, 1));
    }
}
