//! How far a judge agrees with labels that people gave.
//!
//! The judge scores a rollout 0..100 and says "shows the behavior" at or above a threshold (50); a person labels the same
//! rollout yes or no. Cohen's κ = (pₒ − pₑ)/(1 − pₑ) is agreement beyond what the two would have by chance with
//! their shares of yes (Cohen, *A coefficient of agreement for nominal scales*, 1960).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::wilson::{self, Share};

/// Bins of scores: 0–10, 10–20, …, 90–100.
pub const N_BINS: usize = 10;

/// One rollout, judged and labelled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The judge's score, 0..=100.
    pub score: f64,
    /// Whether a person says that it shows the behavior.
    pub label: bool,
}

/// How often judge and label say what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Both yes.
    pub true_positives: u64,
    /// Judge yes, label no.
    pub false_positives: u64,
    /// Judge no, label yes.
    pub false_negatives: u64,
    /// Both no.
    pub true_negatives: u64,
}

/// Cohen's κ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Kappa {
    /// 1 = always agree, 0 = as by chance; may be negative.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Scores of one bin against labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Scores from here on.
    pub low: f64,
    /// Up to here; 100 belongs to the last bin.
    pub high: f64,
    /// Rollouts in the bin.
    pub n: u64,
    /// Mean score of them; none of none.
    pub mean_score: Option<f64>,
    /// Share labelled as showing the behavior; none of none.
    pub labelled: Option<Share>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Rollouts.
    pub n: u64,
    /// Counts at the threshold.
    pub confusion: Confusion,
    /// Share on which judge and label agree.
    pub agreement: Share,
    /// None when both say the same of every rollout: then agreement by chance is complete.
    pub kappa: Option<Kappa>,
    /// Of those the judge says yes to, the share labelled yes; none when it says yes to none.
    pub precision: Option<Share>,
    /// Of those labelled yes, the share the judge says yes to; none when none is.
    pub recall: Option<Share>,
    /// Harmonic mean of precision and recall; none when nobody ever says yes.
    pub f1: Option<f64>,
    /// By score, [`N_BINS`] of them.
    pub calibration: Vec<CalibrationBin>,
    /// Mean distance between a bin's mean score / 100 and the share labelled in it, weighted by its rollouts, in [0, 1].
    pub calibration_error: f64,
    /// Level of all intervals.
    pub level: f64,
}

/// Judgements that cannot be compared.
#[derive(Debug, Clone, Copy, Error, PartialEq)]
pub enum AgreementError {
    /// There is none.
    #[error("no rollout is both judged and labelled")]
    Empty,
    /// A score out of range.
    #[error("expected a score in 0..100, got {score}: rollout {index}")]
    BadScore {
        /// Which, from 0.
        index: usize,
        /// Its score.
        score: f64,
    },
}

impl Confusion {
    /// Counts at a threshold: the judge says yes at or above it.
    pub fn at(judged: &[Judged], threshold: f64) -> Self {
        let mut counts = Self::default();
        for &Judged { score, label } in judged {
            let count = match (score >= threshold, label) {
                (true, true) => &mut counts.true_positives,
                (true, false) => &mut counts.false_positives,
                (false, true) => &mut counts.false_negatives,
                (false, false) => &mut counts.true_negatives,
            };
            *count += 1;
        }
        counts
    }

    /// All of them.
    pub fn n(&self) -> u64 {
        self.true_positives + self.false_positives + self.false_negatives + self.true_negatives
    }

    /// Cohen's κ, with Wilson's interval for pₒ carried over to κ, its number of trials chosen such that the variance is
    /// κ's own for large samples (Fleiss, Cohen & Everitt, *Large sample standard errors of kappa*, 1969). Unlike value ±
    /// z standard errors it stays in range and has a width when judge and label always agree.
    ///
    /// None when chance agreement is complete, or nothing was judged.
    pub fn kappa(&self, level: f64) -> Option<Kappa> {
        let n = self.n() as f64;
        let share = |count: u64| count as f64 / n;
        // cells[judge][label], 0 = no.
        let cells = [
            [share(self.true_negatives), share(self.false_negatives)],
            [share(self.false_positives), share(self.true_positives)],
        ];
        let judge = cells.map(|row| row[0] + row[1]);
        let label = [0, 1].map(|j| cells[0][j] + cells[1][j]);
        let observed = cells[0][0] + cells[1][1];
        let by_chance = judge[0] * label[0] + judge[1] * label[1];
        if n == 0.0 || by_chance >= 1.0 {
            return None;
        }
        let beyond = 1.0 - by_chance;
        let value = (observed - by_chance) / beyond;
        let mut squares = 0.0;
        for i in 0..2 {
            for j in 0..2 {
                let term = if i == j { 1.0 } else { 0.0 } - (label[i] + judge[j]) * (1.0 - value);
                squares += cells[i][j] * term * term;
            }
        }
        let center = value - by_chance * (1.0 - value);
        // n times the variance of κ, on the scale of pₒ.
        let spread = squares - center * center;
        let of_shares = observed * (1.0 - observed);
        let n_trials = if of_shares > 0.0 && spread > 0.0 { n * of_shares / spread } else { n };
        let (low, high) = wilson::interval(observed, n_trials, level);
        let of_agreement = |agreement: f64| (agreement - by_chance) / beyond;
        // Exact at the end, where rounding would leave a trace.
        let high = if observed == 1.0 { 1.0 } else { of_agreement(high).min(1.0) };
        Some(Kappa { value, low: of_agreement(low).max(-1.0), high })
    }
}

impl Agreement {
    /// Compares judge and labels at a threshold, with intervals of a level.
    ///
    /// # Errors
    ///
    /// When there is nothing to compare, or a score is out of range.
    ///
    /// # Panics
    ///
    /// Panics when `level` is not in (0, 1).
    pub fn of(judged: &[Judged], threshold: f64, level: f64) -> Result<Self, AgreementError> {
        if let Some(index) = judged.iter().position(|one| !(0.0..=100.0).contains(&one.score)) {
            return Err(AgreementError::BadScore { index, score: judged[index].score });
        }
        let counts = Confusion::at(judged, threshold);
        let Confusion { true_positives: hits, false_positives, false_negatives, true_negatives } = counts;
        let agreement = wilson::share(hits + true_negatives, counts.n(), level).ok_or(AgreementError::Empty)?;
        let either = 2 * hits + false_positives + false_negatives;
        let calibration: Vec<CalibrationBin> = (0..N_BINS).map(|bin| calibration_bin(judged, bin, level)).collect();
        Ok(Self {
            n: counts.n(),
            confusion: counts,
            agreement,
            kappa: counts.kappa(level),
            precision: wilson::share(hits, hits + false_positives, level),
            recall: wilson::share(hits, hits + false_negatives, level),
            f1: (either > 0).then(|| (2 * hits) as f64 / either as f64),
            calibration_error: calibration.iter().map(CalibrationBin::distance).sum::<f64>() / counts.n() as f64,
            calibration,
            level,
        })
    }
}

impl CalibrationBin {
    /// Between mean score / 100 and share, times the rollouts.
    fn distance(&self) -> f64 {
        let Some((mean_score, labelled)) = self.mean_score.zip(self.labelled) else { return 0.0 };
        self.n as f64 * (mean_score / 100.0 - labelled.value).abs()
    }
}

fn calibration_bin(judged: &[Judged], bin: usize, level: f64) -> CalibrationBin {
    let width = 100.0 / N_BINS as f64;
    let mine = || judged.iter().filter(|one| ((one.score / width) as usize).min(N_BINS - 1) == bin);
    let n = mine().count() as u64;
    // Sorted, so that the order of rollouts does not show in the last digits.
    let mut scores: Vec<f64> = mine().map(|one| one.score).collect();
    scores.sort_by(f64::total_cmp);
    CalibrationBin {
        low: width * bin as f64,
        high: width * (bin + 1) as f64,
        n,
        mean_score: (n > 0).then(|| scores.iter().sum::<f64>() / n as f64),
        labelled: wilson::share(mine().filter(|one| one.label).count() as u64, n, level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::random::Random;

    fn confusion(true_positives: u64, false_positives: u64, false_negatives: u64, true_negatives: u64) -> Confusion {
        Confusion { true_positives, false_positives, false_negatives, true_negatives }
    }

    #[test]
    fn kappa_is_the_textbooks() {
        // 20 and 15 agreed, 5 and 10 not: κ = (0.7 − 0.5)/(1 − 0.5).
        let kappa = confusion(20, 5, 10, 15).kappa(0.95).unwrap();
        assert!((kappa.value - 0.4).abs() < 1e-12);
        // value ± 1.96 standard errors of Fleiss, Cohen & Everitt: 0.4 ± 0.2505. Wilson's is pulled toward the middle.
        assert!((kappa.low - 0.15).abs() < 0.03 && (kappa.high - 0.65).abs() < 0.04, "{kappa:?}");
        assert_eq!(confusion(0, 0, 0, 9).kappa(0.95), None);
        assert_eq!(Confusion::default().kappa(0.95), None);
        let perfect = confusion(10, 0, 0, 30).kappa(0.95).unwrap();
        assert!(perfect.value == 1.0 && perfect.low < 0.9 && perfect.high == 1.0, "{perfect:?}");
        assert!(confusion(0, 5, 5, 0).kappa(0.95).unwrap().low >= -1.0);
    }

    #[test]
    fn kappa_is_covered() {
        // (share labelled yes, chance that the judge follows a yes, and a no, rollouts)
        for (base, on_yes, on_no, n_rollouts) in
            [(0.3, 0.9, 0.95, 60), (0.5, 0.8, 0.8, 100), (0.1, 0.8, 0.97, 200), (0.4, 0.97, 0.98, 80)]
        {
            let agree = base * on_yes + (1.0 - base) * on_no;
            let judge_yes = base * on_yes + (1.0 - base) * (1.0 - on_no);
            let by_chance = base * judge_yes + (1.0 - base) * (1.0 - judge_yes);
            let truth = (agree - by_chance) / (1.0 - by_chance);
            let mut random = Random::new(4);
            let n = 2000;
            let covered = (0..n).filter(|_| {
                let mut counts = Confusion::default();
                for _ in 0..n_rollouts {
                    match (random.uniform() < base, random.uniform()) {
                        (true, luck) if luck < on_yes => counts.true_positives += 1,
                        (true, _) => counts.false_negatives += 1,
                        (false, luck) if luck < on_no => counts.true_negatives += 1,
                        (false, _) => counts.false_positives += 1,
                    }
                }
                counts.kappa(0.95).is_some_and(|kappa| kappa.low <= truth && truth <= kappa.high)
            });
            let share = covered.count() as f64 / f64::from(n);
            assert!((0.93..=0.98).contains(&share), "kappa {truth}, {n_rollouts} rollouts: {share}");
        }
    }

    #[test]
    fn counts_shares_and_bins() {
        let judged: Vec<Judged> =
            [(0.0, false), (10.0, false), (49.9, true), (50.0, true), (90.0, false), (100.0, true)]
                .map(|(score, label)| Judged { score, label })
                .to_vec();
        let result = Agreement::of(&judged, 50.0, 0.95).unwrap();
        assert_eq!(result.confusion, confusion(2, 1, 1, 2));
        assert_eq!((result.agreement.value, result.f1), (4.0 / 6.0, Some(4.0 / 6.0)));
        assert_eq!((result.precision.unwrap().value, result.recall.unwrap().value), (2.0 / 3.0, 2.0 / 3.0));
        let counts: Vec<u64> = result.calibration.iter().map(|bin| bin.n).collect();
        assert_eq!(counts, [1, 1, 0, 0, 1, 1, 0, 0, 0, 2]);
        let last = result.calibration[9];
        assert_eq!((last.mean_score, last.labelled.unwrap().value), (Some(95.0), 0.5));
        assert_eq!((result.calibration[2].mean_score, result.calibration[2].labelled), (None, None));
        let turned: Vec<Judged> = judged.iter().rev().copied().collect();
        assert_eq!(Agreement::of(&turned, 50.0, 0.95).unwrap(), result);
    }

    #[test]
    fn measures_follow_from_the_counts() {
        // A textbook table: 20 + 15 agree of 50, κ = 0.4.
        let table = [(100.0, true, 20), (100.0, false, 5), (0.0, true, 10), (0.0, false, 15)];
        let judged: Vec<Judged> =
            table.iter().flat_map(|&(score, label, n)| vec![Judged { score, label }; n]).collect();
        let result = Agreement::of(&judged, 50.0, 0.95).unwrap();
        let close = |got: f64, expected: f64| (got - expected).abs() < 1e-12;
        assert!(close(result.agreement.value, 0.7) && close(result.kappa.unwrap().value, 0.4));
        assert!(close(result.precision.unwrap().value, 0.8) && close(result.recall.unwrap().value, 2.0 / 3.0));
        assert!(close(result.f1.unwrap(), 2.0 * 20.0 / 55.0));
    }

    #[test]
    fn calibration_compares_scores_with_shares() {
        let judged = [(0.0, false), (5.0, true), (100.0, true), (95.0, true)];
        let judged = judged.map(|(score, label)| Judged { score, label });
        let found = Agreement::of(&judged, 50.0, 0.95).unwrap();
        let filled: Vec<&CalibrationBin> = found.calibration.iter().filter(|bin| bin.n > 0).collect();
        assert_eq!(filled.iter().map(|bin| (bin.low, bin.n)).collect::<Vec<_>>(), [(0.0, 2), (90.0, 2)]);
        assert_eq!((filled[0].mean_score, filled[0].labelled.unwrap().value), (Some(2.5), 0.5));
        assert!((found.calibration_error - (2.0 * 0.475 + 2.0 * 0.025) / 4.0).abs() < 1e-12);
        assert_eq!((found.confusion.true_positives, found.confusion.false_negatives), (2, 1));
    }

    #[test]
    fn what_is_not_defined_is_none_and_what_is_wrong_is_refused() {
        let never = [Judged { score: 3.0, label: false }; 4];
        let result = Agreement::of(&never, 50.0, 0.95).unwrap();
        assert_eq!((result.precision, result.recall, result.f1, result.kappa), (None, None, None, None));
        assert_eq!(Agreement::of(&[], 50.0, 0.95), Err(AgreementError::Empty));
        for score in [-1.0, 100.5, f64::NAN] {
            let bad = [Judged { score, label: true }];
            assert!(matches!(Agreement::of(&bad, 50.0, 0.95), Err(AgreementError::BadScore { index: 0, .. })));
        }
    }
}
