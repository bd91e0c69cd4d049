//! The words of prompts and pairs, counted once, so that groups can be described wherever they are cut.
//!
//! Stored beside a discovery as `clusters/NAME/words.json`: a browser that cuts the hierarchies elsewhere has the words of pairs
//! without reading hundreds of texts. Words are numbers into one vocabulary; a row's are `[word, occurrences]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Text;
use crate::cluster::terms::{TermCounts, words, words_of_one_side};

/// The value of [`Words::format`].
pub const FORMAT: &str = "whence.discovery-words/1";

/// Words of one text: `(word, occurrences)`, by word.
pub type Counts = Vec<(u32, u32)>;

/// Words of every prompt and pair of a discovery.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Words {
    /// [`FORMAT`].
    pub format: String,
    /// Every word, in order of first appearance.
    pub vocabulary: Vec<String>,
    /// Of each test prompt.
    pub prompts: Vec<Counts>,
    /// Of each pair's prompt.
    pub pairs: Vec<Counts>,
    /// Of each pair: words that only its chosen response has.
    pub chosen: Vec<Counts>,
    /// Of each pair: words that only its rejected response has.
    pub rejected: Vec<Counts>,
}

impl Words {
    /// Counts the words of texts.
    pub fn of(prompts: &[Text], pairs: &[Text]) -> Self {
        let mut numbers = Numbers::default();
        let mut all = |texts: &[Text], of: &dyn Fn(&Text) -> Vec<String>| -> Vec<Counts> {
            texts.iter().map(|text| numbers.count(of(text))).collect()
        };
        let of_prompt = |text: &Text| words(text.prompt).collect();
        let found = Self {
            format: FORMAT.to_owned(),
            vocabulary: Vec::new(),
            prompts: all(prompts, &of_prompt),
            pairs: all(pairs, &of_prompt),
            chosen: all(pairs, &|text| words_of_one_side(text.chosen, text.rejected).collect()),
            rejected: all(pairs, &|text| words_of_one_side(text.rejected, text.chosen).collect()),
        };
        Self { vocabulary: numbers.vocabulary, ..found }
    }

    /// What is wrong with words that should be of `n_prompts` and `n_pairs`, if anything.
    pub fn fault(&self, n_prompts: usize, n_pairs: usize) -> Option<String> {
        if self.format != FORMAT {
            return Some(format!("expected format {FORMAT:?}, got {:?}", self.format));
        }
        let lists = [("prompts", &self.prompts, n_prompts), ("pairs", &self.pairs, n_pairs)];
        let sides = [("chosen", &self.chosen, n_pairs), ("rejected", &self.rejected, n_pairs)];
        for (name, rows, expected) in lists.into_iter().chain(sides) {
            if rows.len() != expected {
                return Some(format!("{name}: expected words of {expected} texts, got {}", rows.len()));
            }
            let mut numbers = rows.iter().flatten().map(|(word, _)| *word as usize);
            if let Some(number) = numbers.find(|&number| number >= self.vocabulary.len()) {
                return Some(format!("{name}: expected words below {}, got {number}", self.vocabulary.len()));
            }
        }
        None
    }

    /// The words of some of these rows, by class.
    pub fn by_class(&self, rows: &[Counts], labels: &[u32], n_classes: usize) -> TermCounts {
        let mut counts = TermCounts::new(n_classes);
        for (row, &label) in rows.iter().zip(labels) {
            for &(word, n) in row {
                counts.add_n(label as usize, &self.vocabulary[word as usize], u64::from(n));
            }
        }
        counts
    }
}

#[derive(Default)]
struct Numbers {
    vocabulary: Vec<String>,
    of_word: BTreeMap<String, u32>,
}

impl Numbers {
    fn count(&mut self, words: Vec<String>) -> Counts {
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for word in words {
            let next = self.vocabulary.len() as u32;
            let number = *self.of_word.entry(word).or_insert_with_key(|word| {
                self.vocabulary.push(word.clone());
                next
            });
            *counts.entry(number).or_default() += 1;
        }
        counts.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_by_text_and_found_again_by_class() {
        let prompt = Text { prompt: "Fly the kite, the red kite", ..Text::default() };
        let pair = Text { prompt: "the sky", chosen: "yes, sure sure", rejected: "no, yes", source: "" };
        let found = Words::of(&[prompt, Text::default()], &[pair]);
        assert_eq!(found.vocabulary, ["fly", "the", "kite", "red", "sky", "sure", "no"]);
        assert_eq!(found.prompts, [vec![(0, 1), (1, 2), (2, 2), (3, 1)], vec![]]);
        assert_eq!((found.chosen[0].as_slice(), found.rejected[0].as_slice()), (&[(5, 2)][..], &[(6, 1)][..]));
        let mut expected = TermCounts::new(2);
        expected.add(1, words(prompt.prompt));
        assert_eq!(found.by_class(&found.prompts, &[1, 0], 2), expected);
        assert_eq!(found.fault(2, 1), None);
        assert!(found.fault(2, 2).unwrap().contains("pairs: expected words of 2 texts, got 1"));
        assert!(
            Words { vocabulary: Vec::new(), ..found.clone() }.fault(2, 1).unwrap().contains("words below 0, got 0")
        );
        assert!(Words { format: "x".into(), ..found }.fault(2, 1).unwrap().contains("format"));
    }
}
