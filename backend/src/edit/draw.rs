//! Pairs drawn by chance, in the place of those that a ranking picked: what an effect is compared with. Used by
//! [`mod@super::make`].
//!
//! Everything is decided by the seed (ChaCha8) and the pairs' order, never by threads or hash maps.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// `n` of `n_pairs` rows, ascending.
///
/// # Panics
///
/// Panics when there are fewer rows.
pub fn random(n_pairs: usize, n: usize, seed: u64) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..n_pairs as u32).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (drawn, _) = rows.partial_shuffle(&mut rng, n);
    assert_eq!(drawn.len(), n, "as many rows as asked for");
    let mut drawn = drawn.to_vec();
    drawn.sort_unstable();
    drawn
}

/// What a pair is matched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stratum {
    /// Number of its source, in the order of first appearance.
    pub source: usize,
    /// Length of both responses together as a power of two: ⌊log₂ of their characters⌋.
    pub length: u32,
}

impl Stratum {
    /// The length bucket of so many characters.
    pub fn length_of(n_chars: usize) -> u32 {
        n_chars.max(1).ilog2()
    }
}

/// What a stratified draw did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stratified {
    /// The drawn rows, one for each matched row, in the order of the matched rows.
    pub rows: Vec<u32>,
    /// Strata that the matched rows lie in.
    pub n_strata: usize,
    /// Strata without enough other pairs.
    pub n_short: usize,
    /// Rows drawn from the same source but another length.
    pub n_other_length: usize,
    /// Rows drawn from another source.
    pub n_other_source: usize,
}

/// As many rows of every stratum as `matched` has, none of them one of `matched`. Where a stratum runs short, the rest
/// comes from the nearest length of the same source, then from the nearest length of any source.
///
/// `None` when there are fewer other pairs than matched ones.
pub fn stratified(strata: &[Stratum], matched: &[u32], seed: u64) -> Option<Stratified> {
    let is_matched: BTreeSet<u32> = matched.iter().copied().collect();
    if strata.len() - is_matched.len() < matched.len() {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut pools: BTreeMap<Stratum, Vec<u32>> = BTreeMap::new();
    for (row, stratum) in (0..).zip(strata).filter(|(row, _)| !is_matched.contains(row)) {
        pools.entry(*stratum).or_default().push(row);
    }
    for pool in pools.values_mut() {
        pool.shuffle(&mut rng);
    }
    let mut wanted: BTreeMap<Stratum, Vec<usize>> = BTreeMap::new();
    for (i, &row) in matched.iter().enumerate() {
        wanted.entry(strata[row as usize]).or_default().push(i);
    }
    let mut done = Stratified { rows: vec![0; matched.len()], n_strata: wanted.len(), ..Stratified::default() };
    // First everyone's own stratum, so that no stratum loses its pairs to a neighbour that ran short.
    let mut short: Vec<(Stratum, usize)> = Vec::new();
    for (stratum, places) in wanted {
        let pool = pools.entry(stratum).or_default();
        done.n_short += usize::from(pool.len() < places.len());
        for place in places {
            match pool.pop() {
                Some(row) => done.rows[place] = row,
                None => short.push((stratum, place)),
            }
        }
    }
    for (stratum, place) in short {
        let distance =
            |other: &Stratum| (other.source != stratum.source, other.length.abs_diff(stratum.length), *other);
        let nearest =
            pools.iter().filter(|(_, pool)| !pool.is_empty()).map(|(other, _)| *other).min_by_key(distance)?;
        done.rows[place] = pools.get_mut(&nearest)?.pop()?;
        done.n_other_length += usize::from(nearest.source == stratum.source);
        done.n_other_source += usize::from(nearest.source != stratum.source);
    }
    Some(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_as_likely_as_any_other() {
        let mut counts = [0u32; 20];
        for seed in 0..4000 {
            let rows = random(20, 5, seed);
            assert!(rows.windows(2).all(|pair| pair[0] < pair[1]));
            rows.iter().for_each(|&row| counts[row as usize] += 1);
        }
        // 1000 expected, standard deviation 27.
        assert!(counts.iter().all(|n| (870..1130).contains(n)), "{counts:?}");
        assert_eq!(random(20, 5, 3), random(20, 5, 3));
        assert_ne!(random(1000, 50, 3), random(1000, 50, 4));
        assert_eq!(random(3, 3, 0), [0, 1, 2]);
    }

    fn stratum(source: usize, length: u32) -> Stratum {
        Stratum { source, length }
    }

    #[test]
    fn strata_are_matched_where_they_can_be() {
        let strata: Vec<Stratum> = (0..400).map(|i| stratum(i % 2, (i / 2 % 4) as u32)).collect();
        let matched: Vec<u32> = (0..40).collect();
        let drawn = stratified(&strata, &matched, 7).unwrap();
        assert_eq!((drawn.n_strata, drawn.n_short, drawn.n_other_length, drawn.n_other_source), (8, 0, 0, 0));
        let of = |rows: &[u32]| rows.iter().map(|&row| strata[row as usize]).collect::<Vec<_>>();
        assert_eq!(of(&drawn.rows), of(&matched), "row by row");
        assert!(drawn.rows.iter().all(|row| !matched.contains(row)));
        assert_eq!(drawn.rows.iter().collect::<BTreeSet<_>>().len(), 40, "none twice");
        assert_eq!(drawn, stratified(&strata, &matched, 7).unwrap());
        assert_ne!(drawn.rows, stratified(&strata, &matched, 8).unwrap().rows);
    }

    #[test]
    fn a_stratum_that_runs_short_takes_its_neighbours_and_says_so() {
        // Source 0: two of length 5 (both matched), one of length 6, one of length 9; source 1: plenty.
        let mut strata = vec![stratum(0, 5), stratum(0, 5), stratum(0, 9), stratum(0, 6)];
        strata.extend(vec![stratum(1, 4); 10]);
        let drawn = stratified(&strata, &[0, 1], 0).unwrap();
        assert_eq!(drawn.rows, [3, 2], "nearest length first");
        assert_eq!((drawn.n_strata, drawn.n_short, drawn.n_other_length, drawn.n_other_source), (1, 1, 2, 0));
        let drawn = stratified(&strata, &[0, 1, 2], 0).unwrap();
        assert_eq!((drawn.n_short, drawn.n_other_length, drawn.n_other_source), (2, 1, 2));
        assert!(stratified(&strata[..3], &[0, 1], 0).is_none(), "fewer others than matched");
    }
}
