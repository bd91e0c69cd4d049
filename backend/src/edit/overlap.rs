//! How much two edit sets have in common, beside what chance would give. Printed by `whence edit`.

use super::EditSet;

/// What two edit sets share.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlap {
    /// Pairs that both edit.
    pub n_both: usize,
    /// Of these, pairs that both edit in the same way.
    pub n_same_action: usize,
    /// Both over either, in [0, 1]; 0 for two empty sets.
    pub jaccard: f64,
    /// Pairs that both would edit if they were drawn by chance, on average.
    pub expected_both: f64,
    /// The Jaccard index that chance would give, on average.
    pub expected_jaccard: f64,
}

/// Compares two edit sets of the same pairs.
pub fn overlap(a: &EditSet, b: &EditSet) -> Overlap {
    let (mut n_both, mut n_same_action) = (0, 0);
    for edit in &a.edits {
        if let Some(other) = b.edit_of(edit.row as usize) {
            n_both += 1;
            n_same_action += usize::from(other.action == edit.action);
        }
    }
    let (n, n_a, n_b) = (a.n_pairs.max(b.n_pairs), a.edits.len(), b.edits.len());
    let (expected_both, expected_jaccard) = expected(n, n_a, n_b);
    Overlap { n_both, n_same_action, jaccard: jaccard(n_both, n_a, n_b), expected_both, expected_jaccard }
}

fn jaccard(n_both: usize, n_a: usize, n_b: usize) -> f64 {
    let n_either = n_a + n_b - n_both;
    if n_either == 0 { 0.0 } else { n_both as f64 / n_either as f64 }
}

/// Mean of the number of common elements, and of the Jaccard index, of two subsets of these sizes drawn from `n`
/// elements: over the hypergeometric distribution, walked outward from its mode until what is left is below 1e-18 of it.
fn expected(n: usize, n_a: usize, n_b: usize) -> (f64, f64) {
    if n == 0 {
        return (0.0, 0.0);
    }
    let (low, high) = ((n_a + n_b).saturating_sub(n), n_a.min(n_b));
    let mode = (((n_a + 1) * (n_b + 1)) / (n + 2)).clamp(low, high);
    // P(i + 1) / P(i)
    let ratio = |i: usize| ((n_a - i) as f64 * (n_b - i) as f64) / ((i + 1) as f64 * (n + i + 1 - n_a - n_b) as f64);
    let (mut total, mut sum) = (1.0, jaccard(mode, n_a, n_b));
    let mut p = 1.0;
    for i in mode..high {
        p *= ratio(i);
        if p < 1e-18 {
            break;
        }
        total += p;
        sum += p * jaccard(i + 1, n_a, n_b);
    }
    p = 1.0;
    for i in (low..mode).rev() {
        p /= ratio(i);
        if p < 1e-18 {
            break;
        }
        total += p;
        sum += p * jaccard(i, n_a, n_b);
    }
    (n_a as f64 * n_b as f64 / n as f64, sum / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_what_counting_all_subsets_gives() {
        for (n, n_a, n_b) in [(7usize, 3usize, 2usize), (6, 5, 4), (5, 5, 2), (6, 0, 3), (1, 1, 1), (8, 4, 4)] {
            let a: u32 = (1 << n_a) - 1;
            let (mut both, mut index, mut count) = (0.0, 0.0, 0.0);
            for b in (0u32..1 << n).filter(|b| b.count_ones() as usize == n_b) {
                let n_both = (a & b).count_ones() as usize;
                both += n_both as f64;
                index += jaccard(n_both, n_a, n_b);
                count += 1.0;
            }
            let (expected_both, expected_jaccard) = expected(n, n_a, n_b);
            assert!((expected_both - both / count).abs() < 1e-12, "{n} {n_a} {n_b}");
            assert!((expected_jaccard - index / count).abs() < 1e-12, "{n} {n_a} {n_b}");
        }
        assert_eq!(expected(0, 0, 0), (0.0, 0.0));
        let (both, index) = expected(378_341, 30_000, 12_000);
        assert!((both - 951.5).abs() < 0.1 && (index - both / (42_000.0 - both)).abs() < 1e-4);
    }
}
