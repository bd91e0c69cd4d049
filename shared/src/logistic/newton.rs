//! The minimum of F: Newton's method with conjugate gradients. Underneath [`super::train`].

const MAX_STEPS: usize = 200;
/// The gradient's length at the end, as a share of that at the start.
const TOLERANCE: f64 = 1e-10;
/// Armijo's condition.
const SUFFICIENT: f64 = 1e-4;
const LANES: usize = 8;

/// A solution.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// `[n_columns]`, of standardized columns.
    pub coefficients: Vec<f64>,
    /// Added to every margin.
    pub intercept: f64,
    /// F at the solution.
    pub objective: f64,
    /// Newton steps.
    pub n_steps: usize,
}

impl Fit {
    /// w·x + b of a standardized row.
    pub fn margin(&self, row: &[f64]) -> f64 {
        dot(&self.coefficients, row) + self.intercept
    }
}

/// 1 / (1 + e^(−m)).
pub fn sigmoid(margin: f64) -> f64 {
    if margin >= 0.0 {
        1.0 / (1.0 + libm::exp(-margin))
    } else {
        let e = libm::exp(margin);
        e / (1.0 + e)
    }
}

/// log(1 + eˣ) without overflow.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

/// Sum of products over eight lanes, then over the rest: the same bits everywhere.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// `x ← x + factor · y`.
pub(super) fn add(x: &mut [f64], factor: f64, y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += factor * y);
}

/// The problem: standardized rows, labels, penalty. Points are w followed by b.
struct Problem<'a> {
    rows: &'a [f64],
    labels: &'a [bool],
    n_columns: usize,
    penalty: f64,
}

impl Problem<'_> {
    fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.rows.chunks_exact(self.n_columns)
    }

    fn margins(&self, point: &[f64]) -> Vec<f64> {
        let (w, b) = (&point[..self.n_columns], point[self.n_columns]);
        self.rows().map(|row| dot(row, w) + b).collect()
    }

    fn objective(&self, point: &[f64], margins: &[f64]) -> f64 {
        let signed = margins.iter().zip(self.labels).map(|(m, label)| if *label { -m } else { *m });
        let w = &point[..self.n_columns];
        signed.map(softplus).sum::<f64>() + 0.5 * self.penalty * dot(w, w)
    }

    /// Σ weight·(x, 1), plus the penalty's share of `point`.
    fn gather(&self, weights: impl Iterator<Item = f64>, point: &[f64]) -> Vec<f64> {
        let mut sum = vec![0.0; self.n_columns + 1];
        add(&mut sum[..self.n_columns], self.penalty, &point[..self.n_columns]);
        for (row, weight) in self.rows().zip(weights) {
            add(&mut sum[..self.n_columns], weight, row);
            sum[self.n_columns] += weight;
        }
        sum
    }

    /// Solves H·step = −gradient by conjugate gradients, to a residual that shrinks with the gradient.
    fn newton_step(&self, gradient: &[f64], curvatures: &[f64], forcing: f64) -> Vec<f64> {
        let mut step = vec![0.0; gradient.len()];
        let mut residual: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut direction = residual.clone();
        let mut square = dot(&residual, &residual);
        let enough = forcing * forcing * square;
        for _ in 0..2 * gradient.len() {
            if square <= enough {
                break;
            }
            let along = self.margins(&direction);
            let product = self.gather(along.iter().zip(curvatures).map(|(m, c)| m * c), &direction);
            let curvature = dot(&direction, &product);
            if curvature <= 0.0 {
                break;
            }
            let length = square / curvature;
            add(&mut step, length, &direction);
            add(&mut residual, -length, &product);
            let next = dot(&residual, &residual);
            let keep = next / square;
            direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + keep * *d);
            square = next;
        }
        step
    }

    fn solve(&self, start: Option<&Fit>) -> Fit {
        let mut point = vec![0.0; self.n_columns + 1];
        if let Some(start) = start {
            point[..self.n_columns].copy_from_slice(&start.coefficients);
            point[self.n_columns] = start.intercept;
        }
        let mut margins = self.margins(&point);
        let mut objective = self.objective(&point, &margins);
        // The gradient at 0 is the scale, wherever the search begins.
        let at_zero =
            self.gather(self.labels.iter().map(|label| if *label { -0.5 } else { 0.5 }), &vec![0.0; point.len()]);
        let scale = dot(&at_zero, &at_zero).sqrt().max(f64::MIN_POSITIVE);
        let mut n_steps = 0;
        while n_steps < MAX_STEPS {
            let probabilities: Vec<f64> = margins.iter().map(|m| sigmoid(*m)).collect();
            let slopes = probabilities.iter().zip(self.labels).map(|(p, label)| p - f64::from(u8::from(*label)));
            let gradient = self.gather(slopes, &point);
            let length = dot(&gradient, &gradient).sqrt();
            if length <= TOLERANCE * scale {
                break;
            }
            let curvatures: Vec<f64> = margins.iter().map(|m| sigmoid(*m) * sigmoid(-*m)).collect();
            let step = self.newton_step(&gradient, &curvatures, (length / scale).sqrt().min(0.1));
            let slope = dot(&gradient, &step);
            let mut share = 1.0;
            let found = loop {
                let mut there = point.clone();
                add(&mut there, share, &step);
                let margins = self.margins(&there);
                let value = self.objective(&there, &margins);
                // Near the bottom the fall is lost in rounding.
                if value <= objective + SUFFICIENT * share * slope + 1e-15 * objective.abs() {
                    break Some((there, margins, value));
                }
                share *= 0.5;
                if share < 1e-12 {
                    break None;
                }
            };
            let Some(found) = found else { break };
            (point, margins, objective) = found;
            n_steps += 1;
        }
        let intercept = point.pop().expect("the intercept is last");
        Fit { coefficients: point, intercept, objective, n_steps }
    }
}

/// Minimizes F over standardized rows `[n_rows, n_columns]`, beginning at `start` or 0. Where all labels are the same the
/// intercept would grow without end: then w = 0, and b is the log odds with half a label added to either side.
///
/// # Panics
///
/// Panics when there are no columns, or not as many labels as rows, or C is not above 0.
pub fn fit(rows: &[f64], labels: &[bool], n_columns: usize, c: f64, start: Option<&Fit>) -> Fit {
    assert!(n_columns > 0 && rows.len() == labels.len() * n_columns && c > 0.0, "rows with labels, and a penalty");
    let n_true = labels.iter().filter(|label| **label).count() as f64;
    let n_false = labels.len() as f64 - n_true;
    if n_true == 0.0 || n_false == 0.0 {
        let intercept = libm::log((n_true + 0.5) / (n_false + 0.5));
        return Fit { coefficients: vec![0.0; n_columns], intercept, objective: 0.0, n_steps: 0 };
    }
    Problem { rows, labels, n_columns, penalty: 1.0 / c }.solve(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separable_problem_has_a_solution_that_the_penalty_bounds() {
        let rows = [-2.0, -1.0, 1.0, 2.0];
        let labels = [false, false, true, true];
        let (weak, strong) = (fit(&rows, &labels, 1, 1e6, None), fit(&rows, &labels, 1, 1e-3, None));
        assert!(weak.coefficients[0] > 5.0 && weak.coefficients[0].is_finite() && weak.n_steps < MAX_STEPS, "{weak:?}");
        assert!(strong.coefficients[0] < 0.01 && strong.objective > weak.objective, "{strong:?}");
        assert!(weak.intercept.abs() < 1e-6 && strong.intercept.abs() < 1e-9, "the classes mirror each other");
        for (row, label) in rows.iter().zip(labels) {
            assert_eq!(weak.margin(&[*row]) > 0.0, label);
        }
    }

    #[test]
    fn one_class_gives_its_share() {
        let found = fit(&[1.0, 2.0, 3.0], &[true; 3], 1, 1.0, None);
        assert_eq!(found.coefficients, [0.0]);
        assert!((sigmoid(found.intercept) - 3.5 / 4.0).abs() < 1e-12);
    }
}
