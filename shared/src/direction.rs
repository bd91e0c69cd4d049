//! From many behavior vectors to one direction.
//!
//! A behavior has one vector per test prompt and response pair; ranking wants one direction. Sums run in f64 in row
//! order, so the result does not depend on how rows were batched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many behavior vectors become one direction (method.md, "Ways to make one direction").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectionMethod {
    /// Mean over all behavior pairs of their differences.
    #[default]
    Mean,
    /// Mean over scenarios of each scenario's mean: every scenario counts the same.
    ScenarioMean,
}

/// The mean of `rows`, each `[d_model]`; zeros when there is no row.
pub fn mean<'a>(rows: impl IntoIterator<Item = &'a [f32]>, d_model: usize) -> Vec<f32> {
    let mut sums = vec![0f64; d_model];
    let mut n_rows = 0u64;
    for row in rows {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
        n_rows += 1;
    }
    let scale = if n_rows == 0 { 0.0 } else { 1.0 / n_rows as f64 };
    sums.iter().map(|sum| (sum * scale) as f32).collect()
}

/// One direction from behavior vectors, row-major `[n_rows, d_model]`, with a scenario name per row.
///
/// # Panics
///
/// Panics when `vectors` is not `scenarios.len() * d_model` long.
pub fn direction(method: DirectionMethod, vectors: &[f32], scenarios: &[String], d_model: usize) -> Vec<f32> {
    assert_eq!(vectors.len(), scenarios.len() * d_model, "one scenario per behavior vector");
    let row = |i: usize| &vectors[i * d_model..(i + 1) * d_model];
    match method {
        DirectionMethod::Mean => mean((0..scenarios.len()).map(row), d_model),
        DirectionMethod::ScenarioMean => {
            let mut by_scenario: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            for (i, scenario) in scenarios.iter().enumerate() {
                by_scenario.entry(scenario).or_default().push(i);
            }
            let means: Vec<Vec<f32>> =
                by_scenario.values().map(|rows| mean(rows.iter().map(|&i| row(i)), d_model)).collect();
            mean(means.iter().map(Vec::as_slice), d_model)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenario_mean_weighs_scenarios_equally() {
        let vectors = [1.0, 0.0, 3.0, 0.0, 0.0, 4.0];
        let scenarios = ["a", "a", "b"].map(String::from);
        assert_eq!(direction(DirectionMethod::Mean, &vectors, &scenarios, 2), [4.0 / 3.0, 4.0 / 3.0]);
        assert_eq!(direction(DirectionMethod::ScenarioMean, &vectors, &scenarios, 2), [1.0, 2.0]);
    }

    #[test]
    fn no_rows_give_zeros() {
        assert_eq!(direction(DirectionMethod::Mean, &[], &[], 3), [0.0; 3]);
    }
}
