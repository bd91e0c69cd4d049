//! How far two partitions of the same rows agree: the adjusted Rand index.

use std::collections::BTreeMap;

/// The adjusted Rand index of two labellings (Hubert & Arabie, *Comparing partitions*, 1985): 1 when they are the same up
/// to the names of the labels, 0 on average for labellings at random with the same sizes, and below 0 for less than that.
///
/// Any number may be a label; noise (−1 of [`super::hdbscan`]) counts as a cluster of its own. Two partitions that both
/// consist of one cluster, or both of single rows, agree: 1. So do fewer than two rows.
///
/// # Panics
///
/// Panics when the lengths differ.
pub fn adjusted_rand<A: Copy + Ord, B: Copy + Ord>(a: &[A], b: &[B]) -> f64 {
    assert_eq!(a.len(), b.len(), "two labellings of different rows");
    let mut both: BTreeMap<(A, B), u64> = BTreeMap::new();
    let (mut of_a, mut of_b): (BTreeMap<A, u64>, BTreeMap<B, u64>) = (BTreeMap::new(), BTreeMap::new());
    for (&a, &b) in a.iter().zip(b) {
        *both.entry((a, b)).or_default() += 1;
        *of_a.entry(a).or_default() += 1;
        *of_b.entry(b).or_default() += 1;
    }
    let pairs = |n: u64| n as f64 * n.saturating_sub(1) as f64 / 2.0;
    let together = both.values().map(|&n| pairs(n)).sum::<f64>();
    let (in_a, in_b) = (of_a.values().map(|&n| pairs(n)).sum::<f64>(), of_b.values().map(|&n| pairs(n)).sum::<f64>());
    let all = pairs(a.len() as u64);
    let (expected, most) = (if all == 0.0 { 0.0 } else { in_a / all * in_b }, (in_a + in_b) / 2.0);
    if most == expected {
        return 1.0;
    }
    (together - expected) / (most - expected)
}

/// Labels renamed 0, 1, … in the order of their first rows.
pub fn by_first_row<L: Copy + Ord>(labels: &[L]) -> Vec<u32> {
    let mut names = BTreeMap::new();
    labels
        .iter()
        .map(|&label| {
            let next = names.len() as u32;
            *names.entry(label).or_insert(next)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::random::Random;

    #[test]
    fn agrees_with_worked_examples() {
        // Values of scikit-learn's adjusted_rand_score, 1.7.
        assert_eq!(adjusted_rand(&[0, 0, 1, 1], &[5, 5, 2, 2]), 1.0);
        assert!((adjusted_rand(&[0, 0, 1, 2], &[0, 0, 1, 1]) - 0.571_428_571_428_571_4).abs() < 1e-12);
        assert!((adjusted_rand(&[0, 0, 1, 1], &[0, 1, 0, 1]) + 0.5).abs() < 1e-12);
        assert_eq!(adjusted_rand(&[0, 0, 0, 0], &[0, 1, 2, 3]), 0.0);
        assert_eq!(adjusted_rand::<u8, u8>(&[], &[]), 1.0);
        assert_eq!(adjusted_rand(&[1], &[2]), 1.0);
        assert_eq!(adjusted_rand(&[0, 1, 2], &[2, 0, 1]), 1.0, "single rows on both sides");
    }

    #[test]
    fn is_symmetric_blind_to_names_and_near_zero_at_random() {
        let mut random = Random::new(3);
        let mut draw = |k: usize| (0..600).map(|_| random.below(k) as i32).collect::<Vec<_>>();
        let (a, b) = (draw(4), draw(7));
        assert_eq!(adjusted_rand(&a, &b), adjusted_rand(&b, &a));
        let renamed: Vec<i32> = a.iter().map(|label| 10 - label).collect();
        assert_eq!(adjusted_rand(&a, &b), adjusted_rand(&renamed, &b));
        assert!(adjusted_rand(&a, &b).abs() < 0.02);
    }

    #[test]
    fn names_follow_first_rows() {
        assert_eq!(by_first_row(&[7, 7, -1, 3, 7, 3]), [0, 0, 1, 2, 0, 2]);
    }
}
