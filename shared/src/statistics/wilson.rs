//! Wilson's interval of a share: of n independent trials, some succeeded.
//!
//! The rates p for which the observed share lies within z standard errors √(p(1 − p)/n) (Wilson, *Probable inference, the
//! law of succession, and statistical inference*, 1927). Sensible at 0 and n, where the usual formula has no width.
//! Rollouts of one prompt or one model are not independent: their rates belong to [`super::interval`].

use serde::{Deserialize, Serialize};

use super::distribution::normal_quantile;

/// A share with its interval, all in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Observed.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The share `n_of` of `n`, with its interval of the given level; none when `n` is 0.
///
/// # Panics
///
/// Panics when `n_of` is above `n` or `level` is not in (0, 1).
pub fn share(n_of: u64, n: u64, level: f64) -> Option<Share> {
    assert!(n_of <= n, "{n_of} of {n}");
    (n > 0).then(|| {
        let value = n_of as f64 / n as f64;
        let (low, high) = interval(value, n as f64, level);
        // Exact at the ends, where rounding would leave a trace.
        Share { value, low: if n_of == 0 { 0.0 } else { low }, high: if n_of == n { 1.0 } else { high } }
    })
}

/// Wilson's interval of an observed `value` in [0, 1], from `n` > 0 trials, which need not be whole.
///
/// # Panics
///
/// Panics when `level` is not in (0, 1).
pub fn interval(value: f64, n: f64, level: f64) -> (f64, f64) {
    assert!(level > 0.0 && level < 1.0, "an interval of level {level}");
    let z = normal_quantile(0.5 + 0.5 * level);
    let shrink = z * z / n;
    let middle = (value + 0.5 * shrink) / (1.0 + shrink);
    let radius = (shrink * (value * (1.0 - value) + 0.25 * shrink)).sqrt() / (1.0 + shrink);
    ((middle - radius).max(0.0), (middle + radius).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_those_of_a_reference() {
        // scipy.stats.binomtest(n_of, n).proportion_ci(method="wilson")
        for (n_of, n, low, high) in [
            (0, 10, 0.000000000000, 0.277532799863),
            (10, 10, 0.722467200137, 1.000000000000),
            (3, 10, 0.107791267406, 0.603221852539),
            (1, 120, 0.001472555733, 0.045696291245),
            (60, 97, 0.519127439375, 0.708953354666),
        ] {
            let share = share(n_of, n, 0.95).unwrap();
            assert!((share.low - low).abs() < 1e-9 && (share.high - high).abs() < 1e-9, "{n_of} of {n}: {share:?}");
        }
    }

    #[test]
    fn no_trial_has_no_share() {
        assert_eq!(share(0, 0, 0.95), None);
    }
}
