//! Two groups beside each other: the words that tell the one from the other, with how sure that is.
//!
//! For a word w with counts y₁ and y₂ among n₁ and n₂ words, δ = ln((y₁ + α) / (n₁ + α₀ − y₁ − α)) − the same of group 2, and
//! z = δ / √(1/(y₁ + α) + 1/(y₂ + α)): the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi & Quinn,
//! *Fightin' words*, Political Analysis 2008, equations 16 to 22). The prior is what both groups have in common: α = α₀ · (y₁ +
//! y₂) / (n₁ + n₂), with α₀ = [`PRIOR_SHARE`] of n₁ + n₂, at most [`MAX_PRIOR_WORDS`]. It keeps rare words from seeming telling.

use serde::{Deserialize, Serialize};

use super::enrichment::Enrichment;
use super::terms::TermCounts;

/// What the prior weighs beside the words of both groups.
pub const PRIOR_SHARE: f64 = 0.1;
/// The most words that the prior weighs as much as.
pub const MAX_PRIOR_WORDS: f64 = 500.0;
/// The least z of a word that is named: of words that both groups use alike, about one in forty reaches it by chance.
pub const MIN_Z: f64 = 1.96;

/// What tells two groups apart. Lists have the first group's at 0 and the second's at 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// The two groups.
    pub groups: [usize; 2],
    /// Words of prompts.
    pub prompt_terms: [Vec<ContrastTerm>; 2],
    /// Words that only chosen responses have.
    pub chosen_terms: [Vec<ContrastTerm>; 2],
    /// Words that only rejected responses have.
    pub rejected_terms: [Vec<ContrastTerm>; 2],
    /// Sources beside their share of both groups together.
    pub sources: [Vec<Enrichment>; 2],
}

/// A word that one of two groups has more of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContrastTerm {
    /// In lower case.
    pub term: String,
    /// Log-odds ratio over its standard error, ≥ [`MIN_Z`].
    pub z: f64,
    /// Occurrences in the group that has more of it.
    pub count: u64,
    /// Occurrences in the other.
    pub count_other: u64,
}

/// The `n` most telling words of group `a` beside `b`, and of `b` beside `a`: by z, then in the order of the alphabet.
///
/// # Panics
///
/// Panics when there is no such group.
pub fn log_odds(counts: &TermCounts, a: usize, b: usize, n: usize) -> [Vec<ContrastTerm>; 2] {
    let [of_a, of_b] = [a, b].map(|group| counts.of(group));
    let [n_a, n_b] = [of_a, of_b].map(|counts| counts.values().sum::<u64>() as f64);
    let prior_words = (PRIOR_SHARE * (n_a + n_b)).min(MAX_PRIOR_WORDS);
    let share = prior_words / (n_a + n_b);
    let count = |counts: &std::collections::BTreeMap<String, u64>, word: &str| counts.get(word).copied().unwrap_or(0);
    let mut words: Vec<&String> = of_a.keys().chain(of_b.keys()).collect();
    words.sort_unstable();
    words.dedup();
    let mut found = [Vec::new(), Vec::new()];
    for word in words {
        let (in_a, in_b) = (count(of_a, word), count(of_b, word));
        let (y_a, y_b) = (in_a as f64, in_b as f64);
        let prior = share * (y_a + y_b);
        let log_odds = |y: f64, n: f64| libm::log((y + prior) / (n + prior_words - y - prior));
        let z = (log_odds(y_a, n_a) - log_odds(y_b, n_b)) / (1.0 / (y_a + prior) + 1.0 / (y_b + prior)).sqrt();
        if z >= MIN_Z {
            found[0].push(ContrastTerm { term: word.clone(), z, count: in_a, count_other: in_b });
        } else if z <= -MIN_Z {
            found[1].push(ContrastTerm { term: word.clone(), z: -z, count: in_b, count_other: in_a });
        }
    }
    found.map(|mut terms| {
        terms.sort_by(|a, b| b.z.total_cmp(&a.z).then_with(|| a.term.cmp(&b.term)));
        terms.truncate(n);
        terms
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::terms::words;

    #[test]
    fn z_is_that_of_the_formula() {
        let mut counts = TermCounts::new(2);
        counts.add(0, words(&"the cat ".repeat(60)));
        counts.add(1, words(&"the dog ".repeat(40)));
        let found = log_odds(&counts, 0, 1, 9);
        assert_eq!((found[0].len(), found[1].len()), (1, 1), "both say `the`: {found:?}");
        assert_eq!((found[0][0].term.as_str(), found[0][0].count, found[0][0].count_other), ("cat", 60, 0));
        // 60 of 120 words against 0 of 80; α₀ = 20, α = 20 · 60 / 200 = 6.
        let of = |y: f64, n: f64| ((y + 6.0) / (n + 20.0 - y - 6.0)).ln();
        let expected = (of(60.0, 120.0) - of(0.0, 80.0)) / (1.0 / 66.0 + 1.0 / 6.0f64).sqrt();
        assert!((found[0][0].z - expected).abs() < 1e-12, "{expected}");
    }

    #[test]
    fn groups_without_words_have_nothing_to_tell() {
        let counts = TermCounts::new(2);
        assert_eq!(log_odds(&counts, 0, 1, 3), [vec![], vec![]]);
        let mut counts = TermCounts::new(2);
        counts.add(0, words("one only"));
        assert_eq!(log_odds(&counts, 0, 1, 3), [vec![], vec![]], "a single word is no evidence");
    }
}
