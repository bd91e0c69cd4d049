//! What a person reads of a group of pairs or prompts: the words that tell it from the other groups, what only chosen and
//! only rejected responses say, and the sources it has more of than chance.
//!
//! Texts are [counted](Counts::add) one by one, so that not all of them need be held, and [described](Counts::readings) at the
//! end. Discovery and the clusters of pairs are read through the same functions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::contrast::{Contrast, contrast};
use super::enrichment::{Enrichment, adjust_together, enrichment_of_counts};
use super::terms::{Term, TermCounts, words, words_of_one_side};

/// Terms of a group.
pub const N_TERMS: usize = 12;
/// Exemplars of each kind.
pub const N_EXEMPLARS: usize = 5;

/// The text of a prompt or pair, for its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Text<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// Of a pair: the chosen response.
    pub chosen: &'a str,
    /// Of a pair: the rejected response.
    pub rejected: &'a str,
    /// Of a pair: its source.
    pub source: &'a str,
}

/// A group in words.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// Words that tell its prompts from those of the others.
    pub terms: Vec<Term>,
    /// Words that only chosen responses have.
    pub chosen_terms: Vec<Term>,
    /// Words that only rejected responses have.
    pub rejected_terms: Vec<Term>,
    /// Sources beside their share of all pairs looked at.
    pub sources: Vec<Enrichment>,
}

/// What tells two groups apart. Lists have the first group's at 0 and the second's at 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupContrast {
    /// The two groups.
    pub groups: [usize; 2],
    /// Words of prompts.
    pub prompts: Contrast,
    /// Words that only chosen responses have.
    pub chosen: Contrast,
    /// Words that only rejected responses have.
    pub rejected: Contrast,
    /// Sources beside their share of both groups together.
    pub sources: [Vec<Enrichment>; 2],
}

/// Names of groups that a language model made up from their words and exemplars. Nobody has checked them: whoever shows one
/// says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Always true: no person wrote these.
    pub machine_made: bool,
    /// The model that was asked, as its endpoint knows it.
    pub model: String,
    /// SHA-256 over all questions that it was asked.
    pub questions_sha256: String,
    /// Of the groups of prompts, in their order; empty where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// Of the groups of pairs, in their order.
    pub pairs: Vec<String>,
}

/// Words and sources of several groups, counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    n_groups: usize,
    prompts: TermCounts,
    chosen: TermCounts,
    rejected: TermCounts,
    /// Per source, how many of each group have it.
    sources: BTreeMap<String, Vec<u64>>,
}

impl Counts {
    /// Of `n_groups` groups without texts.
    pub fn new(n_groups: usize) -> Self {
        let none = TermCounts::new(n_groups);
        Self { n_groups, prompts: none.clone(), chosen: none.clone(), rejected: none, sources: BTreeMap::new() }
    }

    /// Counts the words of a pair or prompt, and its source.
    ///
    /// # Panics
    ///
    /// Panics when there is no such group.
    pub fn add(&mut self, group: usize, text: &Text) {
        self.add_words(group, text);
        self.add_source(group, text.source);
    }

    /// Counts the words alone, where not all texts of a group are read.
    ///
    /// # Panics
    ///
    /// Panics when there is no such group.
    pub fn add_words(&mut self, group: usize, text: &Text) {
        self.prompts.add(group, words(text.prompt));
        self.chosen.add(group, words_of_one_side(text.chosen, text.rejected));
        self.rejected.add(group, words_of_one_side(text.rejected, text.chosen));
    }

    /// Counts a source alone.
    ///
    /// # Panics
    ///
    /// Panics when there is no such group.
    pub fn add_source(&mut self, group: usize, source: &str) {
        match self.sources.get_mut(source) {
            Some(counts) => counts[group] += 1,
            None => {
                let mut counts = vec![0; self.n_groups];
                counts[group] = 1;
                self.sources.insert(source.to_owned(), counts);
            }
        }
    }

    /// Every group in words, compared with all groups.
    pub fn readings(&self) -> Vec<Reading> {
        let all: Vec<usize> = (0..self.n_groups).collect();
        let mut chosen = self.chosen.top(N_TERMS).into_iter();
        let mut rejected = self.rejected.top(N_TERMS).into_iter();
        let reading = |(group, terms): (usize, Vec<Term>)| Reading {
            terms,
            chosen_terms: chosen.next().unwrap_or_default(),
            rejected_terms: rejected.next().unwrap_or_default(),
            sources: self.sources_of(group, &all),
        };
        let mut readings: Vec<Reading> = self.prompts.top(N_TERMS).into_iter().enumerate().map(reading).collect();
        adjust_together(readings.iter_mut().map(|reading| &mut reading.sources));
        readings
    }

    /// What tells group `a` from group `b`, regardless of all others.
    ///
    /// # Panics
    ///
    /// Panics when there is no such group.
    pub fn contrast(&self, a: usize, b: usize, n_terms: usize) -> GroupContrast {
        let of = |counts| contrast(counts, a, b, n_terms);
        let mut sources = [self.sources_of(a, &[a, b]), self.sources_of(b, &[a, b])];
        adjust_together(&mut sources);
        GroupContrast {
            groups: [a, b],
            prompts: of(&self.prompts),
            chosen: of(&self.chosen),
            rejected: of(&self.rejected),
            sources,
        }
    }

    /// Sources of a group among `all` groups, itself included.
    fn sources_of(&self, group: usize, all: &[usize]) -> Vec<Enrichment> {
        let counts = self.sources.iter().map(|(source, counts)| {
            (source.as_str(), (counts[group], all.iter().map(|&group| counts[group]).sum::<u64>()))
        });
        enrichment_of_counts(counts.filter(|(_, (_, overall))| *overall > 0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::contrast::ContrastTerm;
    use super::*;

    fn counts() -> Counts {
        let mut counts = Counts::new(3);
        for i in 0..30 {
            let group = i % 3;
            let text = Text {
                prompt: ["kites fly high", "rivers flow", "clocks tick"][group],
                chosen: if group == 0 { "sure here" } else { "no here" },
                rejected: "here",
                source: if group == 0 { "web" } else { "books" },
            };
            counts.add(group, &text);
        }
        counts
    }

    #[test]
    fn groups_are_described_by_what_others_lack() {
        let readings = counts().readings();
        assert_eq!(readings[0].terms[0].term, "fly");
        assert_eq!((readings[0].chosen_terms[0].term.as_str(), readings[0].rejected_terms.len()), ("sure", 0));
        assert_eq!((readings[0].sources[0].source.as_str(), readings[0].sources[0].n_overall), ("web", 10));
        assert!(readings[0].sources[0].p_adjusted < 1e-5 && readings[1].sources[0].source == "books");
    }

    #[test]
    fn two_groups_are_told_apart_regardless_of_the_third() {
        let contrast = counts().contrast(0, 2, 5);
        let terms = |terms: &[ContrastTerm]| terms.iter().map(|term| term.term.clone()).collect::<Vec<_>>();
        let prompts = &contrast.prompts;
        assert_eq!(terms(&prompts.first), ["fly", "high", "kites"]);
        assert_eq!(terms(&prompts.second), ["clocks", "tick"]);
        assert_eq!(contrast.sources[1][0].source, "books");
        assert_eq!((contrast.sources[1][0].n_inside, contrast.sources[1][0].n_overall), (10, 10));
        let same = counts().contrast(1, 1, 5);
        assert!(same.prompts.first.is_empty() && same.prompts.second.is_empty(), "nothing tells a group from itself");
    }
}
