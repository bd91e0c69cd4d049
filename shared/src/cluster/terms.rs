//! The words that tell a group of texts from the other groups: class TF-IDF.
//!
//! Weight of term t in class c: tf(t, c) · ln(1 + A / f(t)), where tf is the share of the class's words, f the number of
//! occurrences in all classes and A the mean number of words per class (Grootendorst, *BERTopic*, 2022, with shares for
//! counts, so that classes of different size compare).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::contrast::{MIN_Z, PRIOR_WORDS, log_odds};

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

    /// Counts `n` occurrences of a word in a class.
    ///
    /// # Panics
    ///
    /// Panics when there is no such class.
    pub fn add_n(&mut self, class: usize, word: &str, n: u64) {
        match self.classes[class].get_mut(word) {
            Some(count) => *count += n,
            None => drop(self.classes[class].insert(word.to_owned(), n)),
        }
    }

    /// Occurrences by class.
    pub(super) fn classes(&self) -> &[BTreeMap<String, u64>] {
        &self.classes
    }

    /// Occurrences in all classes together.
    pub(super) fn overall(&self) -> BTreeMap<&str, u64> {
        let mut overall: BTreeMap<&str, u64> = BTreeMap::new();
        for (word, count) in self.classes.iter().flatten() {
            *overall.entry(word).or_default() += count;
        }
        overall
    }

    /// The `n` terms of the greatest weight of every class, by weight, then in the order of the alphabet. Terms that are not
    /// more frequent inside than in all other classes, by [`MIN_Z`] standard errors of their log-odds, are left out: they do
    /// not tell it apart.
    pub fn top(&self, n: usize) -> Vec<Vec<Term>> {
        let overall = self.overall();
        let n_words: u64 = overall.values().sum();
        let mean = n_words as f64 / self.classes.len() as f64;
        let top = |class: &BTreeMap<String, u64>| {
            let n_own: u64 = class.values().sum();
            let n_others = n_words - n_own;
            let prior = (n_own.min(n_others) as f64).min(PRIOR_WORDS);
            let term = |(word, &count): (&String, &u64)| {
                let count_overall = overall[word.as_str()];
                let share = count as f64 / n_own as f64;
                let weight = share * libm::log(1.0 + mean / count_overall as f64);
                let counts = [count, count_overall - count];
                let added = prior * count_overall as f64 / n_words as f64;
                let tells = n_others == 0 || log_odds(counts, [n_own, n_others], prior, added).1 >= MIN_Z;
                tells.then(|| Term { term: word.clone(), weight, count, count_overall })
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
        for _ in 0..10 {
            counts.add(0, words("The cat sat. The cat's tail, the cat!"));
            counts.add(1, words("the dog barked at the other dog"));
        }
        counts.add(0, words("once"));
        let top = counts.top(2);
        assert_eq!((top[0][0].term.as_str(), top[0][0].count, top[0][0].count_overall), ("cat", 20, 20));
        assert_eq!(top[1][0].term, "dog");
        assert!(top[2].is_empty(), "a class without words");
        // 151 words in 3 classes; "cat" is 20 of the 81 words of its class.
        let weight = 20.0 / 81.0 * libm::log(1.0 + 151.0 / 3.0 / 20.0);
        assert!((top[0][0].weight - weight).abs() < 1e-12);
        let all = counts.top(50);
        assert!(
            all[0].iter().any(|term| term.term == "tail") && all[0].iter().all(|term| term.term != "once"),
            "chance"
        );
        assert!(all[1].iter().all(|term| term.term != "the"), "more frequent elsewhere");
    }

    #[test]
    fn words_are_runs_of_letters_in_lower_case() {
        let found: Vec<String> = words("Don't — ÉTÉ 2024, 'quoted' x_y\n…").collect();
        assert_eq!(found, ["don't", "été", "2024", "quoted", "x", "y"]);
        let only: Vec<String> = words_of_one_side("I can do that, that is Fine", "I can't; that is not fine").collect();
        assert_eq!(only, ["can", "do"]);
    }
}
