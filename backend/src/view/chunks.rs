//! `rows/N.json` and `texts/N.json`: pairs in chunks of fixed size, straight from `pairs.parquet`.

use std::ops::Range;

use whence_shared::pair::{Pair, Side};
use whence_shared::study::{ROWS_PER_ROW_CHUNK, ROWS_PER_TEXT_CHUNK, RowChunk, TextChunk};

use super::pairs::{OpenPairs, source_number, source_numbers};
use super::{ViewError, json};
use crate::data::config::StudyConfig;
use crate::data::pairs::SNIPPET_CHARS;

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What a table needs of rows: [`RowChunk`].
    Rows,
    /// Whole pairs: [`TextChunk`].
    Texts,
}

impl Kind {
    /// The folder of its addresses: `rows` or `texts`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Texts => "texts",
        }
    }

    /// Rows in each chunk but the last.
    pub fn n_rows(self) -> usize {
        match self {
            Self::Rows => ROWS_PER_ROW_CHUNK,
            Self::Texts => ROWS_PER_TEXT_CHUNK,
        }
    }

    /// Chunks of so many pairs.
    pub fn n_chunks(self, n_pairs: usize) -> usize {
        n_pairs.div_ceil(self.n_rows())
    }

    /// Number of the chunk that `N.json` names: only the plain decimal form, so that each has one address.
    pub fn number(self, name: &str, n_pairs: usize) -> Option<usize> {
        let number = name.strip_suffix(".json")?;
        number.parse().ok().filter(|n: &usize| n.to_string() == number && *n < self.n_chunks(n_pairs))
    }

    fn rows(self, number: usize, n_pairs: usize) -> Range<usize> {
        let first = number * self.n_rows();
        first..(first + self.n_rows()).min(n_pairs)
    }
}

/// The JSON of chunk `number`, which is below [`Kind::n_chunks`]. Without texts, rows have empty snippets.
///
/// # Errors
///
/// When the pairs cannot be read.
pub fn chunk(
    kind: Kind,
    number: usize,
    pairs: &OpenPairs,
    config: &StudyConfig,
    has_texts: bool,
) -> Result<Vec<u8>, ViewError> {
    let rows = kind.rows(number, pairs.file.len());
    match kind {
        Kind::Texts => Ok(json(&TextChunk { first_row: rows.start, pairs: pairs.file.read(rows)? })),
        Kind::Rows => Ok(json(&row_chunk(pairs, config, rows, has_texts)?)),
    }
}

fn row_chunk(
    pairs: &OpenPairs,
    config: &StudyConfig,
    rows: Range<usize>,
    has_texts: bool,
) -> Result<RowChunk, ViewError> {
    let numbers = source_numbers(config);
    let mut chunk = RowChunk { first_row: rows.start, ..RowChunk::default() };
    let n_chars = |pair: &Pair, side| pair.response(side).chars().count() as u32;
    for pair in pairs.file.read(rows)? {
        chunk.snippet.push(if has_texts { pair.snippet(SNIPPET_CHARS) } else { String::new() });
        chunk.chosen_chars.push(n_chars(&pair, Side::Chosen));
        chunk.rejected_chars.push(n_chars(&pair, Side::Rejected));
        chunk.source.push(source_number(&numbers, &pair.source)?);
        chunk.id.push(pair.id);
    }
    Ok(chunk)
}
