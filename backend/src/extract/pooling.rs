//! From the residuals of a response's tokens to one vector: `--pooling`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A token's norm may be this many times the median of its response before [`Pooling::TrimmedMean`] leaves it out.
pub const TRIM_FACTOR: f32 = 4.0;

/// How one vector is made of a response's tokens. Always over response tokens alone, in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// The mean over all of them: ā of the method.
    #[default]
    Mean,
    /// The last token.
    Last,
    /// The mean over those whose norm is at most [`TRIM_FACTOR`] times the median norm of the response at that layer.
    ///
    /// Some models park attention on single tokens ("attention sinks", Xiao et al. 2023, arXiv 2309.17453) whose residuals
    /// are hundreds of times longer than any other's and would be all that is left of a mean. At least half of the tokens
    /// always stay.
    TrimmedMean,
}

const NAMES: [(Pooling, &str); 3] =
    [(Pooling::Mean, "mean"), (Pooling::Last, "last"), (Pooling::TrimmedMean, "trimmed-mean")];

impl FromStr for Pooling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(pooling, _)| *pooling).ok_or_else(|| format!("expected mean, last or trimmed-mean, got {text:?}"))
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(pooling, _)| pooling == self).map_or("mean", |(_, name)| name))
    }
}

impl Pooling {
    /// Whether the weights depend on the tokens' norms.
    pub fn needs_norms(self) -> bool {
        self == Self::TrimmedMean
    }

    /// Adds `sign` times the weight of each of the response's tokens to `weights`, one element per column. `norms` are the
    /// Euclidean norms of all columns' residuals, when [`Pooling::needs_norms`].
    ///
    /// # Panics
    ///
    /// Panics when the response is empty or reaches beyond the columns.
    pub fn add_weights(self, weights: &mut [f32], response: Range<usize>, norms: &[f32], sign: f32) {
        match self {
            Self::Mean => {
                let share = sign / response.len() as f32;
                weights[response].iter_mut().for_each(|weight| *weight += share);
            }
            Self::Last => weights[response.end - 1] += sign,
            Self::TrimmedMean => {
                let mut sorted = norms[response.clone()].to_vec();
                sorted.sort_unstable_by(f32::total_cmp);
                // The lower of two medians: the limit is then never below half of the tokens.
                let limit = TRIM_FACTOR * sorted[(sorted.len() - 1) / 2];
                let kept: Vec<usize> = response.filter(|&column| norms[column] <= limit).collect();
                let share = sign / kept.len().max(1) as f32;
                kept.into_iter().for_each(|column| weights[column] += share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(pooling: Pooling, response: Range<usize>, norms: &[f32]) -> Vec<f32> {
        let mut weights = vec![0.0; norms.len()];
        pooling.add_weights(&mut weights, response, norms, 1.0);
        weights
    }

    #[test]
    fn names_parse_and_print() {
        for (pooling, name) in NAMES {
            assert_eq!(name.parse::<Pooling>().unwrap(), pooling);
            assert_eq!(pooling.to_string(), name);
        }
        assert!("max".parse::<Pooling>().unwrap_err().contains("trimmed-mean"));
    }

    #[test]
    fn weights_of_every_pooling_sum_to_one_and_stay_within_the_response() {
        let norms = [900.0, 1.0, 2.0, 300.0, 1.5, 0.0];
        assert_eq!(weights(Pooling::Mean, 1..5, &norms), [0.0, 0.25, 0.25, 0.25, 0.25, 0.0]);
        assert_eq!(weights(Pooling::Last, 1..5, &norms), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let third = 1.0 / 3.0;
        assert_eq!(weights(Pooling::TrimmedMean, 1..5, &norms), [0.0, third, third, 0.0, third, 0.0]);
        assert_eq!(weights(Pooling::TrimmedMean, 0..1, &norms), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(weights(Pooling::TrimmedMean, 5..6, &norms)[5], 1.0);
    }
}
