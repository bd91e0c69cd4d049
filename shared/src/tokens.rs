//! What each token of a pair's responses adds to the pair's score: what `whence tokens` leaves to be read,
//! `behaviors/NAME/tokens/layer-L.json`.
//!
//! The score of a pair is the cosine of its vector v = Σ w_t h_t with a direction d, where h_t is the residual of token t and w_t
//! its weight in the pooling, positive in the chosen response and negative in the rejected one. So token t adds
//! w_t (h_t − c)·d / (‖v‖ ‖d‖), and all of them together make the score, whatever the constant c: the weights sum to zero. c is
//! the mean over both responses, so that what all tokens have in common is in none of them.

use serde::{Deserialize, Serialize};

/// The value of [`TokensView::format`].
pub const FORMAT: &str = "whence.tokens/1";

/// Where the file lies, relative to study.json.
pub fn path(behavior: &str, layer: usize) -> String {
    format!("behaviors/{behavior}/tokens/layer-{layer}.json")
}

/// Pairs of one ranking, token by token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokensView {
    /// [`FORMAT`].
    pub format: String,
    /// Name of the behavior.
    pub behavior: String,
    /// The layer.
    pub layer: usize,
    /// [`crate::study::BehaviorView::inputs`] of the behavior that was read: another value there means that the behavior was
    /// defined anew since.
    pub inputs: String,
    /// The pairs, by row.
    pub pairs: Vec<PairTokens>,
}

impl TokensView {
    /// The pair of a row, if it was read.
    pub fn of(&self, row: u32) -> Option<&PairTokens> {
        self.pairs.binary_search_by_key(&row, |pair| pair.row).ok().map(|at| &self.pairs[at])
    }
}

/// A pair, token by token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairTokens {
    /// Its row of the study.
    pub row: u32,
    /// Its id.
    pub id: String,
    /// The chosen response.
    pub chosen: SideTokens,
    /// The rejected response.
    pub rejected: SideTokens,
}

impl PairTokens {
    /// The pair's score, in [−1, 1]: the sum over all tokens of both responses.
    pub fn score(&self) -> f64 {
        self.chosen.sum() + self.rejected.sum()
    }

    /// The greatest absolute value that any token adds; 0 when there are none.
    pub fn greatest(&self) -> f32 {
        self.chosen.parts.iter().chain(&self.rejected.parts).fold(0.0, |greatest, part| part.abs().max(greatest))
    }
}

/// A response, token by token.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SideTokens {
    /// Text of every token; together the response as the model read it.
    pub texts: Vec<String>,
    /// What every token adds to the score; as many.
    pub parts: Vec<f32>,
}

impl SideTokens {
    /// What all of its tokens add to the score.
    pub fn sum(&self) -> f64 {
        self.parts.iter().map(|part| f64::from(*part)).sum()
    }
}

/// A token's text and what it adds over many pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenTotal {
    /// Its text.
    pub text: String,
    /// How often it occurs.
    pub n: usize,
    /// What its occurrences add to the scores of all pairs together.
    pub sum: f64,
}

/// The tokens of one side that add most to the scores of all pairs together, the greatest absolute value first, then by text.
/// `side` is the side of a pair that is looked at.
pub fn totals(pairs: &[PairTokens], side: impl Fn(&PairTokens) -> &SideTokens, n: usize) -> Vec<TokenTotal> {
    let mut all: std::collections::BTreeMap<&str, (usize, f64)> = Default::default();
    for tokens in pairs.iter().map(side) {
        for (text, part) in tokens.texts.iter().zip(&tokens.parts) {
            let (n, sum) = all.entry(text).or_default();
            (*n, *sum) = (*n + 1, *sum + f64::from(*part));
        }
    }
    let mut totals: Vec<TokenTotal> =
        all.into_iter().map(|(text, (n, sum))| TokenTotal { text: text.to_owned(), n, sum }).collect();
    totals.sort_by(|a, b| b.sum.abs().total_cmp(&a.sum.abs()));
    totals.truncate(n);
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(tokens: &[(&str, f32)]) -> SideTokens {
        let (texts, parts) = tokens.iter().map(|(text, part)| ((*text).to_owned(), *part)).unzip();
        SideTokens { texts, parts }
    }

    fn pair(row: u32, chosen: &[(&str, f32)], rejected: &[(&str, f32)]) -> PairTokens {
        PairTokens { row, id: format!("p{row}"), chosen: side(chosen), rejected: side(rejected) }
    }

    #[test]
    fn a_pair_is_found_by_row_and_its_tokens_make_its_score() {
        let pairs = vec![pair(2, &[("Sure", 0.25), (".", -0.125)], &[("No", 0.5)]), pair(7, &[], &[])];
        let view = TokensView { format: FORMAT.into(), behavior: "b".into(), layer: 1, inputs: "i".into(), pairs };
        let found = view.of(2).unwrap();
        assert_eq!((found.score(), found.greatest(), view.of(3)), (0.625, 0.5, None));
        assert_eq!((view.of(7).unwrap().score(), view.of(7).unwrap().greatest()), (0.0, 0.0));
        assert_eq!(path("obeys", 3), "behaviors/obeys/tokens/layer-3.json");
    }

    #[test]
    fn totals_are_over_all_pairs_and_the_greatest_come_first() {
        let pairs = [
            pair(0, &[("Sure", 0.25), (" a", 0.125)], &[("No", 1.0)]),
            pair(1, &[("Sure", 0.25), (" a", -0.125), ("x", -0.75)], &[]),
        ];
        let found = totals(&pairs, |pair| &pair.chosen, 2);
        let expected = [("x", 1, -0.75), ("Sure", 2, 0.5)];
        assert_eq!(found, expected.map(|(text, n, sum)| TokenTotal { text: text.into(), n, sum }));
        assert_eq!(totals(&pairs, |pair| &pair.rejected, 9).len(), 1);
    }
}
