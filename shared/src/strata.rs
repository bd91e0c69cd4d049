//! Pairs in groups of about equal size by the length of a response: whether long or short ones rank higher.

/// Pairs of about the same length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stratum {
    /// Smallest length in characters.
    pub low: u32,
    /// Largest.
    pub high: u32,
    /// Pairs.
    pub n_pairs: usize,
    /// Mean of their scores.
    pub mean_score: f64,
    /// How many are among the first k.
    pub n_top: usize,
}

/// At most `n_strata` groups from the shortest to the longest. Pairs of one length are in one group. Lengths, scores and
/// places in the ranking (from 0) by row.
///
/// # Panics
///
/// Panics when they are of different lengths, or `n_strata` is 0.
pub fn by_length(chars: &[u32], scores: &[f32], places: &[u32], k: usize, n_strata: usize) -> Vec<Stratum> {
    assert!(chars.len() == scores.len() && chars.len() == places.len() && n_strata > 0, "columns of equal length");
    let mut sorted = chars.to_vec();
    sorted.sort_unstable();
    let mut highs: Vec<u32> =
        (1..=n_strata).filter_map(|i| sorted.get((i * sorted.len() / n_strata).checked_sub(1)?).copied()).collect();
    highs.dedup();
    let empty = Stratum { low: u32::MAX, high: 0, n_pairs: 0, mean_score: 0.0, n_top: 0 };
    let mut strata = vec![empty; highs.len()];
    for ((&chars, &score), &place) in chars.iter().zip(scores).zip(places) {
        // The last edge is the largest length: every length is at most one of them.
        let stratum = &mut strata[highs.partition_point(|high| *high < chars)];
        stratum.low = stratum.low.min(chars);
        stratum.high = stratum.high.max(chars);
        stratum.n_pairs += 1;
        stratum.mean_score += f64::from(score);
        stratum.n_top += usize::from((place as usize) < k);
    }
    strata.iter_mut().for_each(|stratum| stratum.mean_score /= stratum.n_pairs as f64);
    strata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strata_hold_every_pair_once_and_equal_lengths_together() {
        let chars = [5, 5, 5, 5, 1, 9, 7, 8];
        let scores = [0.0, 0.0, 0.0, 0.5, -1.0, 1.0, 0.5, 0.0];
        let places = [2, 3, 4, 1, 7, 0, 5, 6];
        let strata = by_length(&chars, &scores, &places, 2, 4);
        assert_eq!(
            strata.iter().map(|s| (s.low, s.high, s.n_pairs, s.n_top)).collect::<Vec<_>>(),
            [(1, 5, 5, 1), (7, 7, 1, 0), (8, 9, 2, 1)]
        );
        assert_eq!((strata[0].mean_score, strata[2].mean_score), (-0.1, 0.5));
        assert!(by_length(&[], &[], &[], 1, 4).is_empty());
        assert_eq!(by_length(&[3], &[0.5], &[0], 1, 10).len(), 1);
    }
}
