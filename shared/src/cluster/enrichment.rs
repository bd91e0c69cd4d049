//! Sources that groups of rows have more of than chance: one-sided exact tests, corrected for their number, over all groups
//! that are looked at together.
//!
//! Of N rows, K have the source; a group of n has x of them. By chance, x or more come with the upper tail of the
//! hypergeometric distribution (Fisher's exact test, one-sided).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::statistics::holm;

/// How often one source is in a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrichment {
    /// The source.
    pub source: String,
    /// Rows of the group that have it.
    pub n_inside: u64,
    /// Rows of all that have it.
    pub n_overall: u64,
    /// Share in the group over share in all, ≥ 0; 1 is what chance gives.
    pub lift: f64,
    /// Chance of at least as many when the group is drawn at random, in [0, 1].
    pub p: f64,
    /// The same after Holm's correction for all sources of this group, or of all groups ([`adjust_together`]).
    pub p_adjusted: f64,
}

/// Every source of all rows beside a group of them, the most surprising first, then by name. An empty group has a lift of 0 and
/// p of 1 everywhere.
///
/// # Panics
///
/// Panics when a row of the group does not exist or is named twice.
pub fn enrichment(sources: &[&str], group: &[u32]) -> Vec<Enrichment> {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    sources.iter().for_each(|source| counts.entry(source).or_default().1 += 1);
    let mut seen = vec![false; sources.len()];
    for &row in group {
        let row = row as usize;
        assert!(!std::mem::replace(&mut seen[row], true), "row {row} is in the group twice");
        counts.entry(sources[row]).or_default().0 += 1;
    }
    enrichment_of_counts(counts)
}

/// The same from counts: per source, how many rows of the group have it, and how many of all rows.
///
/// # Panics
///
/// Panics when a group has more of a source than there are.
pub fn enrichment_of_counts(counts: BTreeMap<&str, (u64, u64)>) -> Vec<Enrichment> {
    let (n_group, n_all) = counts.values().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    let p_values: Vec<f64> =
        counts.values().map(|&(inside, overall)| upper_tail(n_all, overall, n_group, inside)).collect();
    let adjusted = holm::adjust(&p_values).expect("tails are probabilities");
    let mut found: Vec<Enrichment> = counts
        .into_iter()
        .zip(p_values.into_iter().zip(adjusted))
        .map(|((source, (n_inside, n_overall)), (p, p_adjusted))| {
            let expected = n_group as f64 * n_overall as f64 / n_all as f64;
            let lift = if expected > 0.0 { n_inside as f64 / expected } else { 0.0 };
            Enrichment { source: source.to_owned(), n_inside, n_overall, lift, p, p_adjusted }
        })
        .collect();
    found.sort_by(|a, b| a.p.total_cmp(&b.p).then_with(|| a.source.cmp(&b.source)));
    found
}

/// Corrects for all sources of all groups that are looked at: with forty groups of which none has anything to do with sources,
/// one in every two or three would be said to have more of one if each were corrected alone.
pub fn adjust_together<'a>(groups: impl IntoIterator<Item = &'a mut Vec<Enrichment>>) {
    let mut all: Vec<&mut Enrichment> = groups.into_iter().flatten().collect();
    let p_values: Vec<f64> = all.iter().map(|source| source.p).collect();
    let adjusted = holm::adjust(&p_values).expect("tails are probabilities");
    all.iter_mut().zip(adjusted).for_each(|(source, p)| source.p_adjusted = p);
}

/// P(X ≥ `x`) for X the number of marked items among `n_drawn` of `n_all` of which `n_marked` are marked.
///
/// # Panics
///
/// Panics when more are marked or drawn than there are.
pub fn upper_tail(n_all: u64, n_marked: u64, n_drawn: u64, x: u64) -> f64 {
    assert!(n_marked <= n_all && n_drawn <= n_all, "{n_marked} marked and {n_drawn} drawn of {n_all}");
    let (least, most) = ((n_marked + n_drawn).saturating_sub(n_all), n_marked.min(n_drawn));
    if x <= least {
        return 1.0;
    }
    if x > most {
        return 0.0;
    }
    let ln_choose = |n: u64, k: u64| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let ln_all = ln_choose(n_all, n_drawn);
    let chance = |i: u64| libm::exp(ln_choose(n_marked, i) + ln_choose(n_all - n_marked, n_drawn - i) - ln_all);
    // The shorter side, smallest terms first.
    let mean = n_marked as f64 * n_drawn as f64 / n_all as f64;
    match x as f64 > mean {
        true => (x..=most).rev().map(chance).sum::<f64>().min(1.0),
        false => (1.0 - (least..x).map(chance).sum::<f64>()).max(0.0),
    }
}

fn ln_factorial(n: u64) -> f64 {
    libm::lgamma(n as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::random::Random;

    #[test]
    fn tails_are_those_of_counting() {
        // 10 items, 4 marked, 3 drawn: 120 draws, of which 4·C(6,2) = 60, 6·6 = 36 and 4 have one, two and three marked.
        for (x, expected) in [(0, 1.0), (1, 100.0 / 120.0), (2, 40.0 / 120.0), (3, 4.0 / 120.0), (4, 0.0)] {
            assert!((upper_tail(10, 4, 3, x) - expected).abs() < 1e-12, "{x}");
        }
        // scipy.stats.hypergeom.sf(39, 1580, 100, 100), scipy 1.16.
        let p = upper_tail(1580, 100, 100, 40);
        assert!(p > 0.0 && p < 1e-20, "{p}");
        assert_eq!(upper_tail(5, 5, 3, 3), 1.0);
        assert_eq!(upper_tail(5, 0, 3, 1), 0.0);
    }

    #[test]
    fn the_source_with_most_of_the_group_comes_first() {
        let sources: Vec<&str> = (0..200)
            .map(|i| {
                if i < 20 {
                    "a"
                } else if i < 100 {
                    "b"
                } else {
                    "c"
                }
            })
            .collect();
        let group: Vec<u32> = (0..15).chain([50, 150]).collect();
        let found = enrichment(&sources, &group);
        assert_eq!(found[0].source, "a");
        assert_eq!((found[0].n_inside, found[0].n_overall), (15, 20));
        assert!((found[0].lift - 15.0 / 1.7).abs() < 1e-12);
        assert!(found[0].p_adjusted < 1e-9 && found[1].p_adjusted == 1.0);
        let all: Vec<u32> = (0..200).collect();
        assert!(enrichment(&sources, &all).iter().all(|source| source.lift == 1.0 && source.p == 1.0));
        assert!(enrichment(&sources, &[]).iter().all(|source| source.lift == 0.0 && source.p == 1.0));
    }

    #[test]
    fn sources_that_have_nothing_to_do_with_any_group_are_seldom_named_however_many_groups_there_are() {
        let mut random = Random::new(8);
        let (n_rows, n_groups, n_trials) = (800, 40, 40);
        let names = ["a", "b", "c", "d", "e"];
        let mut falsely = [0, 0];
        for _ in 0..n_trials {
            let sources: Vec<&str> = (0..n_rows).map(|_| names[random.below(names.len())]).collect();
            let rows =
                |group: usize| (0..n_rows as u32).filter(|row| *row as usize % n_groups == group).collect::<Vec<_>>();
            let mut found: Vec<Vec<Enrichment>> =
                (0..n_groups).map(|group| enrichment(&sources, &rows(group))).collect();
            let is_named = |found: &[Vec<Enrichment>]| found.iter().flatten().any(|source| source.p_adjusted <= 0.05);
            falsely[0] += usize::from(is_named(&found));
            adjust_together(&mut found);
            falsely[1] += usize::from(is_named(&found));
        }
        // Each group by itself: most trials. Binomial(40, 0.05): more than 6 once in 250 times; the seed is fixed.
        assert!(falsely[0] > n_trials / 4 && falsely[1] <= 6, "{falsely:?} of {n_trials}");
        let mut one = vec![enrichment(&["a", "a", "b"], &[0, 1])];
        let before = one.clone();
        adjust_together(&mut one);
        assert_eq!(one, before, "one group");
        adjust_together([]);
    }

    #[test]
    #[should_panic(expected = "row 3 is in the group twice")]
    fn a_row_counts_once() {
        enrichment(&["a"; 5], &[3, 1, 3]);
    }
}
