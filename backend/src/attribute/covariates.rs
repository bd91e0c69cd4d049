//! What a score may go with without any teaching: the length, format and shared words of a pair's responses, and its source.
//! Read from the pairs for the [`diagnosis`](super::diagnosis).

use std::collections::BTreeMap;

use whence_shared::changes::word_overlap;
use whence_shared::diagnosis::confounds::Covariate;
use whence_shared::form::Format;
use whence_shared::pair::{Pair, Side};

use crate::data::pairs::{PairFile, PairFileError};
use crate::study::Study;

/// Columns of all pairs, by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// Numbers about every pair: chosen minus rejected where it is one of a response.
    pub covariates: Vec<Covariate>,
    /// Source of every pair, as a number.
    pub sources: Vec<u32>,
}

/// Names of the covariates, in order.
pub const NAMES: [&str; 5] = ["length", "lists", "code", "headings", "shared words"];

impl Columns {
    /// Reads the pairs of a study.
    ///
    /// # Errors
    ///
    /// When the pairs cannot be read.
    pub fn read(study: &Study) -> Result<Self, PairFileError> {
        let mut columns: [Vec<f64>; 5] = Default::default();
        let mut sources = Vec::new();
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        for pair in &PairFile::open(&study.pairs())? {
            let pair = pair?;
            columns.iter_mut().zip(numbers_of(&pair)).for_each(|(column, number)| column.push(number));
            let next = numbers.len() as u32;
            sources.push(*numbers.entry(pair.source).or_insert(next));
        }
        let covariate = |(name, values): (&str, Vec<f64>)| Covariate { name: name.to_owned(), values };
        Ok(Self { covariates: NAMES.into_iter().zip(columns).map(covariate).collect(), sources })
    }
}

/// Chosen minus rejected of: characters; whether there is a list, a code block, a heading. Then the share of different
/// words that both responses have (Jaccard), in [0, 1].
fn numbers_of(pair: &Pair) -> [f64; 5] {
    let texts = [Side::Chosen, Side::Rejected].map(|side| pair.response(side));
    let difference = |of: &dyn Fn(&str) -> f64| of(texts[0]) - of(texts[1]);
    let has = |formats: &[Format]| {
        difference(&|text| f64::from(u8::from(formats.iter().any(|format| format.is_form_of(text)))))
    };
    [
        difference(&|text| text.chars().count() as f64),
        has(&[Format::BulletList, Format::NumberedList]),
        has(&[Format::CodeBlock]),
        has(&[Format::Heading]),
        word_overlap(texts[0], texts[1]),
    ]
}

#[cfg(test)]
mod tests {
    use whence_shared::pair::Message;

    use super::*;

    #[test]
    fn sides_are_compared_as_they_are_read() {
        let pair = |chosen: &str, rejected: &str| Pair {
            id: "a".into(),
            prompt: Vec::new(),
            chosen: vec![Message::new("assistant", chosen)],
            rejected: vec![Message::new("assistant", rejected)],
            source: String::new(),
            metadata: "{}".into(),
        };
        let list = "# Title\n- Wax the kite\n- Fly";
        assert_eq!(numbers_of(&pair(list, "wax, kite")), [19.0, 1.0, 0.0, 1.0, 0.4]);
        assert_eq!(numbers_of(&pair("wax, kite", list)), [-19.0, -1.0, 0.0, -1.0, 0.4]);
        assert_eq!(numbers_of(&pair("", "")), [0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(numbers_of(&pair("```\nx\n```", "y")), [8.0, 0.0, 1.0, 0.0, 0.0]);
    }
}
