//! Holm–Bonferroni: p-values adjusted for having looked several times.
//!
//! Sorted p₁ ≤ … ≤ pₘ become maxⱼ≤ᵢ min(1, (m − j + 1)·pⱼ) (Holm, *A simple sequentially rejective multiple test
//! procedure*, 1979). Rejecting where the adjusted value is ≤ α keeps the chance of any false rejection ≤ α, whatever
//! the dependence between tests.

use thiserror::Error;

/// A p-value that is none.
#[derive(Debug, Error, PartialEq)]
#[error("p-value {index} is {value}, expected a number in [0, 1]")]
pub struct HolmError {
    /// Which, from 0.
    pub index: usize,
    /// What it is.
    pub value: f64,
}

/// Adjusted p-values in [0, 1], in the order given. Equal p-values get equal adjusted ones.
///
/// # Errors
///
/// When a value is NaN or not in [0, 1].
pub fn adjust(p_values: &[f64]) -> Result<Vec<f64>, HolmError> {
    if let Some(index) = p_values.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(HolmError { index, value: p_values[index] });
    }
    let mut by_size: Vec<usize> = (0..p_values.len()).collect();
    by_size.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0f64;
    for (rank, &i) in by_size.iter().enumerate() {
        largest = largest.max(p_values[i] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[i] = largest;
    }
    Ok(adjusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusts_in_the_order_given() {
        assert_eq!(adjust(&[0.01, 0.04, 0.03, 0.005]).unwrap(), [0.03, 0.06, 0.06, 0.02]);
        assert_eq!(adjust(&[0.5]).unwrap(), [0.5]);
        assert!(adjust(&[]).unwrap().is_empty());
    }

    #[test]
    fn ties_are_equal_and_nothing_exceeds_one() {
        assert_eq!(adjust(&[0.02, 0.02, 0.9]).unwrap(), [0.06, 0.06, 0.9]);
        assert_eq!(adjust(&[0.8, 0.9, 1.0, 0.0]).unwrap(), [1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn adjusted_values_follow_their_p_values_wherever_they_stand() {
        let p_values = [0.001, 0.2, 0.03, 0.03, 0.6];
        let adjusted = adjust(&p_values).unwrap();
        let turned: Vec<f64> = p_values.iter().rev().copied().collect();
        let turned_back: Vec<f64> = adjust(&turned).unwrap().into_iter().rev().collect();
        assert_eq!(adjusted, turned_back);
        assert!(adjusted.iter().zip(p_values).all(|(adjusted, p)| *adjusted >= p));
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        for value in [f64::NAN, -0.1, 1.5, f64::INFINITY] {
            assert_eq!(adjust(&[0.5, value]).unwrap_err().index, 1);
        }
    }
}
