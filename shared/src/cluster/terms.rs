//! The words that tell a group of texts from the other groups: class TF-IDF.
//!
//! Weight of term t in class c: tf(t, c) · ln(1 + A / f(t)), where tf is the share of the class's words, f the number of
//! occurrences in all classes and A the mean number of words per class (Grootendorst, *BERTopic*, 2022, with shares for
//! counts, so that classes of different size compare).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One term of a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// In lower case.
    pub term: String,
    /// Its weight in the class, ≥ 0.
    pub weight: f64,
    /// Occurrences in the class.
    pub count: u64,
    /// Occurrences in all classes.
    pub count_overall: u64,
}

/// Words of several classes, counted.
#[derive(Debug, Clone, PartialEq)]
pub struct TermCounts {
    classes: Vec<BTreeMap<String, u64>>,
}

impl TermCounts {
    /// Of `n_classes` classes without words.
    pub fn new(n_classes: usize) -> Self {
        Self { classes: vec![BTreeMap::new(); n_classes] }
    }

    /// Counts words, as [`words`] makes them, in a class.
    ///
    /// # Panics
    ///
    /// Panics when there is no such class.
    pub fn add(&mut self, class: usize, words: impl IntoIterator<Item = String>) {
        words.into_iter().for_each(|word| *self.classes[class].entry(word).or_default() += 1);
    }

    /// The words of a class and how often each is there.
    ///
    /// # Panics
    ///
    /// Panics when there is no such class.
    pub(super) fn of(&self, class: usize) -> &BTreeMap<String, u64> {
        &self.classes[class]
    }

    /// The `n` terms of the greatest weight of every class, by weight, then in the order of the alphabet. Terms that are more
    /// frequent outside the class than inside are left out: they do not tell it apart.
    pub fn top(&self, n: usize) -> Vec<Vec<Term>> {
        let mut overall: BTreeMap<&str, u64> = BTreeMap::new();
        for (word, count) in self.classes.iter().flatten() {
            *overall.entry(word).or_default() += count;
        }
        let n_words: u64 = overall.values().sum();
        let mean = n_words as f64 / self.classes.len() as f64;
        let top = |class: &BTreeMap<String, u64>| {
            let n_own: u64 = class.values().sum();
            let term = |(word, &count): (&String, &u64)| {
                let count_overall = overall[word.as_str()];
                let share = count as f64 / n_own as f64;
                let elsewhere = (count_overall - count) as f64 / (n_words - n_own).max(1) as f64;
                let weight = share * libm::log(1.0 + mean / count_overall as f64);
                (share > elsewhere).then(|| Term { term: word.clone(), weight, count, count_overall })
            };
            let mut terms: Vec<Term> = class.iter().filter_map(term).collect();
            terms.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| a.term.cmp(&b.term)));
            terms.truncate(n);
            terms
        };
        self.classes.iter().map(top).collect()
    }
}

/// Words of a text in lower case: runs of letters and digits, with apostrophes inside.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '’'))
        .map(|word| word.trim_matches(['\'', '’']))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Words of `text` that `other` does not have at all: what only chosen says, or only rejected.
pub fn words_of_one_side<'a>(text: &'a str, other: &str) -> impl Iterator<Item = String> + use<'a> {
    let there: std::collections::BTreeSet<String> = words(other).collect();
    words(text).filter(move |word| !there.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_tell_classes_apart() {
        let mut counts = TermCounts::new(3);
        counts.add(0, words("The cat sat. The cat's tail, the cat!"));
        counts.add(1, words("the dog barked at the other dog"));
        let top = counts.top(2);
        assert_eq!((top[0][0].term.as_str(), top[0][0].count, top[0][0].count_overall), ("cat", 2, 2));
        assert_eq!(top[1][0].term, "dog");
        assert!(top[2].is_empty(), "a class without words");
        // 15 words in 3 classes; "cat" is 2 of the 8 words of its class.
        assert!((top[0][0].weight - 0.25 * libm::log(1.0 + 5.0 / 2.0)).abs() < 1e-12);
        assert!(counts.top(50)[1].iter().all(|term| term.term != "the"), "more frequent elsewhere");
    }

    #[test]
    fn words_are_runs_of_letters_in_lower_case() {
        let found: Vec<String> = words("Don't — ÉTÉ 2024, 'quoted' x_y\n…").collect();
        assert_eq!(found, ["don't", "été", "2024", "quoted", "x", "y"]);
        let only: Vec<String> = words_of_one_side("I can do that, that is Fine", "I can't; that is not fine").collect();
        assert_eq!(only, ["can", "do"]);
    }
}
