//! The change scan: what tuning changed in the response to each test prompt, and where it changed most.
//!
//! A part of discovery, before anyone has named a behavior: prompts in the order of how far their responses moved in the
//! reference model's activations, each with what a reader would see at a glance. [`Kind`] names what to look for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::dot::norm;
use crate::form::Format;
use crate::refusal;

/// The forms that are looked for.
pub const MARKERS: [Format; 6] =
    [Format::BulletList, Format::NumberedList, Format::CodeBlock, Format::Heading, Format::Bold, Format::Table];

/// How much longer or shorter a response must be to count as such, in words.
const LENGTH_RATIO: usize = 2;

/// What tuning changed in the response to one prompt: r0 is the reference model's, r1 the tuned one's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The prompt, by its row among the prompts.
    pub prompt: u32,
    /// Norm of its behavior vector over the mean norm of all prompts' at the same layer, averaged over layers; ≥ 0. 1 is a
    /// prompt that changed as much as prompts do on average.
    pub norm: f64,
    /// Characters of r0 and r1.
    pub n_chars: [usize; 2],
    /// Words of r0 and r1, by white space.
    pub n_words: [usize; 2],
    /// Whether r0 and r1 hold a refusal phrase.
    pub refuses: [bool; 2],
    /// Whether a judge saw a behavior in r0 and r1; none where nobody judged these responses.
    #[serde(default)]
    pub shows: [Option<bool>; 2],
    /// Forms of r1 that r0 has not.
    pub appeared: Vec<Format>,
    /// Forms of r0 that r1 has not.
    pub vanished: Vec<Format>,
    /// Whether both are the same text.
    pub is_equal: bool,
    /// Share of different words that both have, in [0, 1]: [`word_overlap`].
    pub overlap: f64,
}

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Only r0 refuses.
    RefusalToAnswer,
    /// Only r1 refuses.
    AnswerToRefusal,
    /// A judge saw the behavior in r1 only.
    BehaviorAppeared,
    /// A judge saw the behavior in r0 only.
    BehaviorVanished,
    /// r1 has a form that r0 has not.
    FormatAppeared,
    /// r0 has a form that r1 has not.
    FormatVanished,
    /// r1 has at least twice as many words.
    Longer,
    /// r1 has at most half as many words.
    Shorter,
    /// Both are the same text.
    Equal,
}

impl Kind {
    /// All, in the order in which they are stated.
    pub const ALL: [Self; 9] = [
        Self::RefusalToAnswer,
        Self::AnswerToRefusal,
        Self::BehaviorAppeared,
        Self::BehaviorVanished,
        Self::FormatAppeared,
        Self::FormatVanished,
        Self::Longer,
        Self::Shorter,
        Self::Equal,
    ];

    /// In words: `refusal → answer`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RefusalToAnswer => "refusal → answer",
            Self::AnswerToRefusal => "answer → refusal",
            Self::BehaviorAppeared => "judged behavior appeared",
            Self::BehaviorVanished => "judged behavior vanished",
            Self::FormatAppeared => "format appeared",
            Self::FormatVanished => "format vanished",
            Self::Longer => "twice as long",
            Self::Shorter => "half as long",
            Self::Equal => "same text",
        }
    }
}

impl Change {
    /// What changed from r0 to r1. `norm` as [`Change::norm`].
    pub fn new(prompt: u32, norm: f64, r0: &str, r1: &str) -> Self {
        let both = [r0, r1];
        let new_in = |new: &str, old: &str| {
            MARKERS.into_iter().filter(|form| form.is_form_of(new) && !form.is_form_of(old)).collect()
        };
        Self {
            prompt,
            norm,
            n_chars: both.map(|text| text.chars().count()),
            n_words: both.map(|text| text.split_whitespace().count()),
            refuses: both.map(|text| refusal::found(text, true, &[]).is_some()),
            shows: [None; 2],
            appeared: new_in(r1, r0),
            vanished: new_in(r0, r1),
            is_equal: r0 == r1,
            overlap: word_overlap(r0, r1),
        }
    }

    /// Whether it is of a kind.
    pub fn is(&self, kind: Kind) -> bool {
        let [before, after] = self.n_words;
        match kind {
            Kind::RefusalToAnswer => self.refuses == [true, false],
            Kind::AnswerToRefusal => self.refuses == [false, true],
            Kind::BehaviorAppeared => self.shows == [Some(false), Some(true)],
            Kind::BehaviorVanished => self.shows == [Some(true), Some(false)],
            Kind::FormatAppeared => !self.appeared.is_empty(),
            Kind::FormatVanished => !self.vanished.is_empty(),
            Kind::Longer => after > before && after >= LENGTH_RATIO * before,
            Kind::Shorter => before > after && before >= LENGTH_RATIO * after,
            Kind::Equal => self.is_equal,
        }
    }

    /// The kinds it is of.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        Kind::ALL.into_iter().filter(|&kind| self.is(kind))
    }
}

/// The change of every prompt, from `(r0, r1)` and its [`Change::norm`]; the greatest norm first, then by row.
///
/// # Panics
///
/// Panics when there is not one norm per prompt.
pub fn scan<'a>(responses: impl ExactSizeIterator<Item = (&'a str, &'a str)>, norms: &[f64]) -> Vec<Change> {
    assert_eq!(responses.len(), norms.len(), "one norm per prompt");
    let change = |((prompt, (r0, r1)), &norm): ((u32, (&str, &str)), &f64)| Change::new(prompt, norm, r0, r1);
    let mut changes: Vec<Change> = (0..).zip(responses).zip(norms).map(change).collect();
    changes.sort_by(|a, b| b.norm.total_cmp(&a.norm).then(a.prompt.cmp(&b.prompt)));
    changes
}

/// How many changes there are of each kind, those that there are none of left out.
pub fn counts(changes: &[Change]) -> Vec<(Kind, usize)> {
    let count = |kind| (kind, changes.iter().filter(|change| change.is(kind)).count());
    Kind::ALL.into_iter().map(count).filter(|(_, n)| *n > 0).collect()
}

/// Norms of rows, `[n_rows]`: row-major `[n_rows, d_model]` of one layer.
///
/// # Panics
///
/// Panics when `d_model` is 0.
pub fn norms(rows: &[f32], d_model: usize) -> Vec<f64> {
    rows.chunks_exact(d_model).map(|row| f64::from(norm(row))).collect()
}

/// Norms over their mean, `[n_rows]`. Zeros when all are zero.
pub fn relative_norms(norms: &[f64]) -> Vec<f64> {
    over(norms, norms.iter().sum::<f64>() / norms.len().max(1) as f64)
}

/// Norms beside those of pair vectors, given the mean square of these, `[n_rows]`: 1 = as long as a typical pair vector. Zeros
/// when these are all zero.
pub fn lengths_beside(norms: &[f64], mean_square: f64) -> Vec<f64> {
    over(norms, mean_square.sqrt())
}

fn over(norms: &[f64], typical: f64) -> Vec<f64> {
    norms.iter().map(|norm| if typical > 0.0 { norm / typical } else { 0.0 }).collect()
}

/// The mean square of norms; 0 when there are none.
pub fn mean_square(norms: &[f64]) -> f64 {
    norms.iter().map(|norm| norm.powi(2)).sum::<f64>() / norms.len().max(1) as f64
}

/// The mean over layers of [`relative_norms`] or [`lengths_beside`], `[n_rows]`.
///
/// # Panics
///
/// Panics when the layers have different numbers of rows.
pub fn mean_over_layers(by_layer: &[Vec<f64>]) -> Vec<f64> {
    let n_rows = by_layer.first().map_or(0, Vec::len);
    assert!(by_layer.iter().all(|norms| norms.len() == n_rows), "the same rows at every layer");
    (0..n_rows).map(|row| by_layer.iter().map(|norms| norms[row]).sum::<f64>() / by_layer.len() as f64).collect()
}

/// The share of different words that two texts both have (Jaccard's index of runs of letters and digits in lower case), in
/// [0, 1]; 1 when neither has any.
pub fn word_overlap(a: &str, b: &str) -> f64 {
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let (a, b) = (words(a), words(b));
    let n_all = a.union(&b).count();
    if n_all == 0 { 1.0 } else { a.intersection(&b).count() as f64 / n_all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_a_reader_sees() {
        let change = Change::new(3, 1.5, "I’m sorry, but I can’t help with that.", "Sure:\n\n- **wax** it\n- fly it");
        assert_eq!((change.refuses, change.n_words), ([true, false], [8, 7]));
        assert_eq!(change.appeared, [Format::BulletList, Format::Bold]);
        assert_eq!(change.kinds().collect::<Vec<_>>(), [Kind::RefusalToAnswer, Kind::FormatAppeared]);
        let back = Change::new(0, 1.0, "- a\n- b c d e", "I cannot help with it");
        assert_eq!(back.kinds().collect::<Vec<_>>(), [Kind::AnswerToRefusal, Kind::FormatVanished]);
        let same = Change::new(0, 0.0, "One two.", "One two.");
        assert_eq!((same.overlap, same.kinds().collect::<Vec<_>>()), (1.0, vec![Kind::Equal]));
        let longer = Change::new(0, 1.0, "", "word");
        assert_eq!(longer.kinds().collect::<Vec<_>>(), [Kind::Longer]);
        let empty = Change::new(0, 1.0, "", "");
        assert_eq!(empty.kinds().collect::<Vec<_>>(), [Kind::Equal], "nothing is not twice nothing");
        let judged = Change { shows: [Some(false), Some(true)], ..same };
        assert!(judged.is(Kind::BehaviorAppeared) && !judged.is(Kind::BehaviorVanished));
    }

    #[test]
    fn the_scan_begins_where_most_changed() {
        let moved =
            mean_over_layers(&[relative_norms(&norms(&[3.0, 4.0, 0.0, 0.0, 0.0, 10.0], 2)), vec![0.5, 0.0, 2.5]]);
        // Norms 5, 0, 10 beside a mean of 5.
        assert_eq!(moved, [0.75, 0.0, 2.25]);
        let responses = [("a", "b"), ("a", "a"), ("a", "a b")];
        let found = scan(responses.into_iter(), &moved);
        assert_eq!(found.iter().map(|change| change.prompt).collect::<Vec<_>>(), [2, 0, 1]);
        assert_eq!(counts(&found), [(Kind::Longer, 1), (Kind::Equal, 1)]);
        assert_eq!(relative_norms(&norms(&[0.0; 4], 2)), [0.0; 2]);
        assert_eq!(mean_square(&norms(&[3.0, 4.0, 0.0, 0.0], 2)), 12.5);
        assert_eq!(lengths_beside(&norms(&[3.0, 4.0, 0.0, 0.0], 2), 4.0), [2.5, 0.0]);
        assert_eq!((lengths_beside(&norms(&[3.0, 4.0], 2), 0.0), mean_square(&[])), (vec![0.0], 0.0));
        assert!(scan(std::iter::empty(), &mean_over_layers(&[])).is_empty());
    }

    #[test]
    fn words_are_compared_without_case() {
        assert_eq!(word_overlap("Wax the kite", "the KITE, waxed"), 0.5);
        assert_eq!(word_overlap("…", ""), 1.0);
    }
}
