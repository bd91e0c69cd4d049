//! The words that tell two groups of texts from each other: log-odds with an informative Dirichlet prior.
//!
//! With y the occurrences of a word in a class of n words, and α the occurrences that the prior adds to it, of α₀ in all, the
//! log-odds ratio of the word in classes a and b is
//!
//! ```text
//! δ = ln[(y_a + α) / (n_a + α₀ − y_a − α)] − ln[(y_b + α) / (n_b + α₀ − y_b − α)],   z = δ / √(1/(y_a + α) + 1/(y_b + α))
//! ```
//!
//! (Monroe, Colaresi & Quinn, *Fightin' Words*, Political Analysis 16, 2008, equations 15 to 22). The prior has the proportions
//! of all classes together, so that a word which is rare everywhere needs more than one occurrence to stand out, and one which
//! is frequent everywhere does not stand out by being frequent.

use serde::{Deserialize, Serialize};

use super::terms::TermCounts;

/// Words that the prior counts for, unless a class has fewer: Monroe et al.'s choice.
pub const PRIOR_WORDS: f64 = 500.0;

/// The least `z` of a word that may be said to tell two classes apart: of words that both use alike, about one in forty reaches it
/// by chance.
pub const MIN_Z: f64 = 1.96;

/// A word that is more frequent in one class than in another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContrastTerm {
    /// In lower case.
    pub term: String,
    /// Log-odds ratio toward the class that it is listed with, > 0.
    pub log_odds: f64,
    /// The same in standard errors, > 0. Of very many words some exceed 2 by chance.
    pub z: f64,
    /// Occurrences in the first class and in the second.
    pub counts: [u64; 2],
}

/// What tells two classes apart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Contrast {
    /// Words of the first class and of the second.
    pub n_words: [u64; 2],
    /// Terms of the first class, by `z`, then in the order of the alphabet.
    pub first: Vec<ContrastTerm>,
    /// Terms of the second class, likewise.
    pub second: Vec<ContrastTerm>,
}

/// The `n` terms that tell class `a` most from class `b`, and the `n` that tell `b` from `a`. The prior counts for
/// [`PRIOR_WORDS`], or as many words as the smaller class has. A class without words has nothing to be told by, and where all
/// classes together have one word only, nothing tells them apart.
///
/// # Panics
///
/// Panics when there is no such class.
pub fn contrast(counts: &TermCounts, a: usize, b: usize, n: usize) -> Contrast {
    let classes = counts.classes();
    let n_words = [&classes[a], &classes[b]].map(|class| class.values().sum::<u64>());
    let overall = counts.overall();
    let n_overall: u64 = overall.values().sum();
    let prior = (n_words[0].min(n_words[1]) as f64).min(PRIOR_WORDS);
    if prior == 0.0 || overall.len() < 2 {
        return Contrast { n_words, ..Contrast::default() };
    }
    let term = |(term, &count_overall): (&&str, &u64)| {
        let counts = [&classes[a], &classes[b]].map(|class| class.get(*term).copied().unwrap_or(0));
        if counts == [0, 0] {
            return None;
        }
        let added = prior * count_overall as f64 / n_overall as f64;
        let (log_odds, z) = log_odds(counts, n_words, prior, added);
        Some(ContrastTerm { term: (*term).to_owned(), log_odds, z, counts })
    };
    let (first, second): (Vec<_>, Vec<_>) =
        overall.iter().filter_map(term).filter(|term| term.z != 0.0).partition(|term| term.z > 0.0);
    let second = second.into_iter().map(|term| ContrastTerm { log_odds: -term.log_odds, z: -term.z, ..term });
    Contrast { n_words, first: greatest(first, n), second: greatest(second.collect(), n) }
}

/// Log-odds ratio of a word toward the first of two classes, and the same in standard errors. The prior counts for `prior`
/// words, of which the word is `added`.
pub(super) fn log_odds(counts: [u64; 2], n_words: [u64; 2], prior: f64, added: f64) -> (f64, f64) {
    let of = |i: usize| {
        let own = counts[i] as f64 + added;
        libm::log(own / (n_words[i] as f64 + prior - own))
    };
    let ratio = of(0) - of(1);
    let error = counts.iter().map(|&count| 1.0 / (count as f64 + added)).sum::<f64>().sqrt();
    (ratio, ratio / error)
}

fn greatest(mut terms: Vec<ContrastTerm>, n: usize) -> Vec<ContrastTerm> {
    terms.sort_by(|a, b| b.z.total_cmp(&a.z).then_with(|| a.term.cmp(&b.term)));
    terms.truncate(n);
    terms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::terms::words;

    fn counts(texts: &[&str]) -> TermCounts {
        let mut counts = TermCounts::new(texts.len());
        texts.iter().enumerate().for_each(|(class, text)| counts.add(class, words(text)));
        counts
    }

    #[test]
    fn log_odds_are_those_of_the_formula() {
        let found = contrast(&counts(&["b a a a", "a c c"]), 0, 1, 10);
        assert_eq!(found.n_words, [4, 3]);
        // The prior counts for 3 words, as many as the smaller class has; 4 of all 7 words are "a".
        let prior = 3.0 * 4.0 / 7.0;
        let log_odds = f64::ln((3.0 + prior) / (7.0 - 3.0 - prior)) - f64::ln((1.0 + prior) / (6.0 - 1.0 - prior));
        let term = found.first.iter().find(|term| term.term == "a").unwrap();
        assert!((term.log_odds - log_odds).abs() < 1e-12, "{term:?}");
        let error = f64::sqrt(1.0 / (3.0 + prior) + 1.0 / (1.0 + prior));
        assert!((term.z - log_odds / error).abs() < 1e-12 && term.counts == [3, 1]);
    }

    #[test]
    fn each_class_has_its_own_terms_and_exchanging_them_exchanges_these() {
        let counts = counts(&["the kite flies the kite", "the clock ticks the clock", "the river the kite"]);
        let found = contrast(&counts, 0, 1, 2);
        let terms = |terms: &[ContrastTerm]| terms.iter().map(|term| term.term.clone()).collect::<Vec<_>>();
        assert_eq!(
            (terms(&found.first), terms(&found.second)),
            (vec!["kite".to_owned(), "flies".to_owned()], vec!["clock".to_owned(), "ticks".to_owned()])
        );
        let exchanged = contrast(&counts, 1, 0, 2);
        assert_eq!((terms(&exchanged.first), terms(&exchanged.second)), (terms(&found.second), terms(&found.first)));
        assert!((exchanged.second[0].z - found.first[0].z).abs() < 1e-12);
        assert_eq!((found.first[0].counts, exchanged.second[0].counts), ([2, 0], [0, 2]));
        let shown = contrast(&counts, 0, 1, 100);
        assert!(shown.first.iter().chain(&shown.second).all(|term| term.z.is_finite() && term.term != "the"));
    }

    #[test]
    fn a_word_frequent_everywhere_stands_behind_a_rarer_one_of_its_own() {
        let first = format!("{} {}", "the ".repeat(300), "recipe ".repeat(20));
        let second = format!("{} {}", "the ".repeat(260), "poem ".repeat(20));
        let found = contrast(&counts(&[&first, &second]), 0, 1, 2);
        assert_eq!(found.first[0].term, "recipe");
        assert_eq!(found.second[0].term, "poem");
        assert!(found.first.iter().all(|term| term.term != "the" || term.z < 0.5 * found.first[0].z));
    }

    #[test]
    fn without_words_nothing_tells_classes_apart() {
        for texts in [["", ""], ["word", ""], ["same same", "same"]] {
            let found = contrast(&counts(&texts), 0, 1, 5);
            assert!(found.first.is_empty() && found.second.is_empty(), "{texts:?}: {found:?}");
        }
        let same = contrast(&counts(&["a b", "a b"]), 0, 1, 5);
        assert!(same.first.is_empty() && same.second.is_empty(), "equal classes");
    }
}
