//! Logistic regression with an L2 penalty, and how strong the penalty should be: what a probe is trained with.
//!
//! With labels y = ±1, rows x and margins m = w·x + b it minimizes
//!
//! ```text
//! F(w, b) = Σ log(1 + e^(−y·m)) + ‖w‖² / (2·C)
//! ```
//!
//! as scikit-learn's `LogisticRegression(C)`: the intercept is not penalized, and rows are standardized first. F is strictly
//! convex in w, so a solution exists even where a plane separates the classes. It is found by Newton's method, each step
//! solved by conjugate gradients and shortened until F falls enough (Nocedal & Wright, *Numerical Optimization*, 2006,
//! algorithm 7.1). All in f64 with sums in a fixed order: the same rows give the same bits.
//!
//! C is chosen by cross-validation in folds that keep groups together ([`folds`]): responses to one prompt resemble each
//! other, and a probe that has seen one must not be measured by another.

mod basis;
mod newton;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use self::basis::Basis;
use self::newton::softplus;
pub use self::newton::{Fit, fit, sigmoid};
use crate::statistics::random::Random;

/// Values of C that are tried, the strongest penalty first.
pub const STRENGTHS: [f64; 9] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];
/// Folds of a cross-validation, unless there are fewer groups.
pub const N_FOLDS: usize = 5;
/// Groups that a probe needs: in every fold of every fold two must be left.
pub const MIN_GROUPS: usize = 4;

/// Why nothing can be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LogisticError {
    /// All labels are the same.
    #[error("all {n} labels say the same: expected some of both")]
    OneClass {
        /// How many.
        n: usize,
    },
    /// Too few groups to hold any out.
    #[error(
        "expected labelled responses to at least {MIN_GROUPS} prompts, got {n}: some are held out to measure the probe"
    )]
    FewGroups {
        /// How many.
        n: usize,
    },
}

/// Labelled rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    /// Row-major `[n_rows, n_columns]`.
    pub rows: Vec<f64>,
    /// `[n_rows]`.
    pub labels: Vec<bool>,
    /// Which rows belong together, `[n_rows]`.
    pub groups: Vec<String>,
    /// Columns.
    pub n_columns: usize,
}

/// Column means and standard deviations (divisor n); a column that never varies has deviation 0 and counts for nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Standard {
    /// `[n_columns]`.
    pub mean: Vec<f64>,
    /// `[n_columns]`, ≥ 0.
    pub deviation: Vec<f64>,
}

/// A trained probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// What rows are standardized by.
    pub standard: Standard,
    /// The regression.
    pub fit: Fit,
    /// The C chosen.
    pub c: f64,
    /// Mean log loss of held-out rows, for each of [`STRENGTHS`].
    pub losses: Vec<f64>,
}

impl Examples {
    /// Rows.
    pub fn n_rows(&self) -> usize {
        self.labels.len()
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.rows[i * self.n_columns..(i + 1) * self.n_columns]
    }

    fn subset(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.n_rows()).filter(|&i| keep(i)).collect();
        Self {
            rows: kept.iter().flat_map(|&i| self.row(i)).copied().collect(),
            labels: kept.iter().map(|&i| self.labels[i]).collect(),
            groups: kept.iter().map(|&i| self.groups[i].clone()).collect(),
            n_columns: self.n_columns,
        }
    }

    fn check(&self) -> Result<(), LogisticError> {
        let n = self.n_rows();
        assert!(self.rows.len() == n * self.n_columns && self.groups.len() == n, "a label and a group for every row");
        if self.labels.iter().all(|&label| label) || !self.labels.contains(&true) {
            return Err(LogisticError::OneClass { n });
        }
        match self.groups.iter().collect::<BTreeSet<_>>().len() {
            n if n < MIN_GROUPS => Err(LogisticError::FewGroups { n }),
            _ => Ok(()),
        }
    }
}

impl Standard {
    /// Of rows `[n_rows, n_columns]`.
    ///
    /// # Panics
    ///
    /// Panics when there is no row.
    pub fn of(rows: &[f64], n_columns: usize) -> Self {
        let n = (rows.len() / n_columns.max(1)) as f64;
        assert!(n > 0.0, "statistics of no row");
        let mut mean = vec![0.0; n_columns];
        for row in rows.chunks_exact(n_columns) {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / n);
        }
        let mut variance = vec![0.0; n_columns];
        for row in rows.chunks_exact(n_columns) {
            for ((sum, x), mean) in variance.iter_mut().zip(row).zip(&mean) {
                *sum += (x - mean) * (x - mean) / n;
            }
        }
        // What is left of a column that never varies is rounding.
        let deviation = |(variance, mean): (&f64, &f64)| {
            let deviation = variance.sqrt();
            if deviation <= 1e-12 * mean.abs() { 0.0 } else { deviation }
        };
        Self { deviation: variance.iter().zip(&mean).map(deviation).collect(), mean }
    }

    /// A row in standard deviations from the mean.
    pub fn of_row(&self, row: &[f64]) -> Vec<f64> {
        let columns = row.iter().zip(&self.mean).zip(&self.deviation);
        columns.map(|((x, mean), deviation)| if *deviation > 0.0 { (x - mean) / deviation } else { 0.0 }).collect()
    }
}

impl Trained {
    /// Probability that a row's label is true, in (0, 1).
    pub fn probability(&self, row: &[f64]) -> f64 {
        sigmoid(self.fit.margin(&self.standard.of_row(row)))
    }

    /// Whether the C chosen is the first or last that was tried: a better one may lie beyond.
    pub fn is_at_edge(&self) -> bool {
        self.c == STRENGTHS[0] || self.c == STRENGTHS[STRENGTHS.len() - 1]
    }
}

/// The fold of every row, below `n_folds`: rows of a group are in one fold, and folds have about as many true labels and
/// rows as each other. The order of rows does not matter; `seed` decides between groups that are alike.
pub fn folds(examples: &Examples, n_folds: usize, seed: u64) -> Vec<usize> {
    let mut sizes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (group, label) in examples.groups.iter().zip(&examples.labels) {
        let (n_true, n) = sizes.entry(group).or_default();
        *n_true += usize::from(*label);
        *n += 1;
    }
    let mut groups: Vec<(&str, (usize, usize))> = sizes.into_iter().collect();
    Random::new(seed).shuffle(&mut groups);
    groups.sort_by_key(|(_, size)| Reverse(*size));
    let mut filled = vec![(0, 0); n_folds];
    let mut fold_of = BTreeMap::new();
    for (group, (n_true, n)) in groups {
        let emptiest = |fold: &usize| {
            let (of_true, all) = filled[*fold];
            if n_true > 0 { (of_true, all) } else { (all, 0) }
        };
        let fold = (0..n_folds).min_by_key(emptiest).expect("there are folds");
        filled[fold] = (filled[fold].0 + n_true, filled[fold].1 + n);
        fold_of.insert(group, fold);
    }
    examples.groups.iter().map(|group| fold_of[group.as_str()]).collect()
}

/// How many folds a cross-validation of these examples has.
pub fn n_folds(examples: &Examples) -> usize {
    examples.groups.iter().collect::<BTreeSet<_>>().len().min(N_FOLDS)
}

/// Trains a probe: standardizes, chooses C by cross-validation, fits all rows with it.
///
/// # Errors
///
/// [`LogisticError`] when nothing can be learned.
///
/// # Panics
///
/// Panics when there is not a label and a group for every row.
pub fn train(examples: &Examples, seed: u64) -> Result<Trained, LogisticError> {
    examples.check()?;
    Ok(trained(examples, seed))
}

/// Probabilities of the rows of one fold (of [`n_folds`]), each by a probe that was trained on all other folds, its C chosen
/// among those too: what the probe of [`train`] does on prompts that it has not seen. Rows by number.
///
/// # Errors
///
/// [`LogisticError`] when nothing can be learned.
///
/// # Panics
///
/// Panics when there is not a label and a group for every row.
pub fn held_out(examples: &Examples, seed: u64, fold: usize) -> Result<Vec<(usize, f64)>, LogisticError> {
    examples.check()?;
    let folds = folds(examples, n_folds(examples), seed);
    let probe = trained(&examples.subset(|i| folds[i] != fold), seed);
    let rows = (0..examples.n_rows()).filter(|&i| folds[i] == fold);
    Ok(rows.map(|i| (i, probe.probability(examples.row(i)))).collect())
}

fn trained(examples: &Examples, seed: u64) -> Trained {
    let standard = Standard::of(&examples.rows, examples.n_columns);
    let rows: Vec<f64> = (0..examples.n_rows()).flat_map(|i| standard.of_row(examples.row(i))).collect();
    // Coefficients are a sum of rows. Where there are more columns than rows, it is cheaper to look for them in a basis
    // of the rows; neither margins nor penalty change.
    let basis = (examples.n_columns > examples.n_rows()).then(|| Basis::of(&rows, examples.n_columns));
    let (rows, n_columns) = match &basis {
        Some(basis) if basis.n > 0 => (basis.coordinates(&rows), basis.n),
        _ => (rows, examples.n_columns),
    };
    let reduced = Examples { rows, n_columns, labels: examples.labels.clone(), groups: examples.groups.clone() };
    let losses = losses(&reduced, seed);
    // Of equal ones the strongest penalty.
    let best = (0..losses.len()).fold(0, |best, i| if losses[i] < losses[best] { i } else { best });
    let c = STRENGTHS[best];
    let mut fit = fit(&reduced.rows, &reduced.labels, n_columns, c, None);
    if let Some(basis) = basis.filter(|basis| basis.n > 0) {
        fit.coefficients = basis.vector(&fit.coefficients);
    }
    Trained { standard, fit, c, losses }
}

/// Mean log loss of held-out rows for each of [`STRENGTHS`]; each fit begins where the one before ended.
fn losses(examples: &Examples, seed: u64) -> Vec<f64> {
    let n_folds = n_folds(examples);
    let folds = folds(examples, n_folds, seed);
    let mut losses = vec![0.0; STRENGTHS.len()];
    for fold in 0..n_folds {
        let kept = examples.subset(|i| folds[i] != fold);
        let mut start: Option<Fit> = None;
        for (loss, &c) in losses.iter_mut().zip(&STRENGTHS) {
            let found = fit(&kept.rows, &kept.labels, kept.n_columns, c, start.as_ref());
            for i in (0..examples.n_rows()).filter(|&i| folds[i] == fold) {
                let margin = found.margin(examples.row(i));
                *loss += softplus(if examples.labels[i] { -margin } else { margin }) / examples.n_rows() as f64;
            }
            start = Some(found);
        }
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes whose means lie `distance` apart in the first column; `n_per_group` rows to a group.
    fn examples(n_groups: usize, n_per_group: usize, n_columns: usize, distance: f64, seed: u64) -> Examples {
        let mut random = Random::new(seed);
        let n = n_groups * n_per_group;
        let labels: Vec<bool> = (0..n).map(|_| random.uniform() < 0.4).collect();
        let mut rows = Vec::new();
        for &label in &labels {
            let shift = if label { distance } else { 0.0 };
            rows.extend((0..n_columns).map(|j| random.normal() + if j == 0 { shift } else { 0.0 }));
        }
        let groups = (0..n).map(|i| format!("p{}", i / n_per_group)).collect();
        Examples { rows, labels, groups, n_columns }
    }

    fn right(probabilities: &[(usize, f64)], examples: &Examples) -> f64 {
        let n_right = probabilities.iter().filter(|(i, p)| (*p >= 0.5) == examples.labels[*i]).count();
        n_right as f64 / probabilities.len() as f64
    }

    fn all_held_out(examples: &Examples) -> Vec<(usize, f64)> {
        (0..n_folds(examples)).flat_map(|fold| held_out(examples, 1, fold).unwrap()).collect()
    }

    #[test]
    fn more_columns_than_rows_give_the_solution_that_all_columns_would() {
        let few = examples(6, 2, 30, 2.0, 3);
        let found = train(&few, 1).unwrap();
        let rows: Vec<f64> = (0..few.n_rows()).flat_map(|i| found.standard.of_row(few.row(i))).collect();
        let direct = fit(&rows, &few.labels, few.n_columns, found.c, None);
        let largest = direct.coefficients.iter().fold(0f64, |max, w| max.max(w.abs()));
        for (a, b) in found.fit.coefficients.iter().zip(&direct.coefficients) {
            assert!((a - b).abs() < 1e-7 * largest.max(1e-3), "{a} {b}");
        }
        assert!((found.fit.intercept - direct.intercept).abs() < 1e-7);
    }

    #[test]
    fn the_order_of_rows_and_the_scale_of_columns_do_not_matter() {
        let one = examples(20, 3, 5, 2.0, 5);
        let mut other = one.clone();
        for row in other.rows.chunks_exact_mut(5) {
            row.iter_mut().zip([1e3, 1.0, 1e-3, 7.0, 1.0]).for_each(|(x, scale)| *x = *x * scale + 5.0);
        }
        let turned = Examples {
            rows: other.rows.chunks_exact(5).rev().flatten().copied().collect(),
            labels: other.labels.iter().rev().copied().collect(),
            groups: other.groups.iter().rev().cloned().collect(),
            n_columns: 5,
        };
        let (a, b) = (train(&one, 2).unwrap(), train(&turned, 2).unwrap());
        assert_eq!(a.c, b.c);
        for (x, y) in one.rows.chunks_exact(5).zip(other.rows.chunks_exact(5)) {
            assert!((a.probability(x) - b.probability(y)).abs() < 1e-7);
        }
        assert_eq!(train(&one, 2).unwrap(), a, "the same rows give the same bits");
    }

    #[test]
    fn groups_stay_together_and_folds_are_alike() {
        let examples = examples(23, 4, 1, 0.0, 7);
        let folds = folds(&examples, 5, 3);
        for (group, fold) in examples.groups.iter().zip(&folds) {
            let first = examples.groups.iter().position(|other| other == group).unwrap();
            assert_eq!(folds[first], *fold, "{group}");
        }
        let count = |fold: usize, only_true: bool| {
            (0..folds.len()).filter(|&i| folds[i] == fold && (examples.labels[i] || !only_true)).count()
        };
        let n_true: Vec<usize> = (0..5).map(|fold| count(fold, true)).collect();
        let n: Vec<usize> = (0..5).map(|fold| count(fold, false)).collect();
        assert!(n_true.iter().max().unwrap() - n_true.iter().min().unwrap() <= 4, "{n_true:?}");
        assert!(n.iter().max().unwrap() - n.iter().min().unwrap() <= 8, "{n:?}");
    }

    #[test]
    fn what_is_held_out_is_not_seen() {
        // Labels belong to the prompt alone, and a column tells prompts apart: whoever sees other responses to the same
        // prompt is always right, whoever does not guesses.
        let mut random = Random::new(9);
        let (n_groups, n_per_group) = (30, 4);
        let of_group: Vec<bool> = (0..n_groups).map(|_| random.uniform() < 0.5).collect();
        let n_columns = n_groups;
        let mut examples = Examples { rows: Vec::new(), labels: Vec::new(), groups: Vec::new(), n_columns };
        for (group, label) in of_group.iter().enumerate() {
            for _ in 0..n_per_group {
                examples.rows.extend((0..n_columns).map(|j| f64::from(u8::from(j == group)) + 0.01 * random.normal()));
                examples.labels.push(*label);
                examples.groups.push(format!("p{group}"));
            }
        }
        let seen = train(&examples, 1).unwrap();
        let of_seen: Vec<(usize, f64)> =
            (0..examples.n_rows()).map(|i| (i, seen.probability(examples.row(i)))).collect();
        let unseen = all_held_out(&examples);
        assert_eq!(unseen.len(), examples.n_rows());
        assert!(right(&unseen, &examples) < 0.75, "{}", right(&unseen, &examples));
        assert!(right(&of_seen, &examples) >= right(&unseen, &examples));
    }

    #[test]
    fn what_can_be_learned_is_and_noise_is_not() {
        let clear = examples(40, 3, 20, 4.0, 11);
        assert!(right(&all_held_out(&clear), &clear) > 0.9);
        let noise = examples(40, 3, 20, 0.0, 12);
        let found = train(&noise, 1).unwrap();
        assert!(found.c <= 1e-2, "noise calls for a strong penalty: {found:?}");
        assert!(found.losses.iter().all(|loss| loss.is_finite()));
    }

    #[test]
    fn nothing_to_learn_is_named() {
        let mut same = examples(8, 2, 2, 0.0, 1);
        same.labels.fill(true);
        assert_eq!(train(&same, 1), Err(LogisticError::OneClass { n: 16 }));
        let few = examples(3, 8, 2, 0.0, 1);
        assert_eq!(held_out(&few, 1, 0), Err(LogisticError::FewGroups { n: 3 }));
    }
}
