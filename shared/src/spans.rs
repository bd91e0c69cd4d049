//! Row numbers as short text, `0-4,17`: in addresses of the app and on the command line.

use std::fmt::Write;

/// The most rows a text may stand for: what is typed by mistake must not fill the memory.
const MAX_ROWS: usize = 1 << 20;

/// Rows as text, in ascending order and each once: `0-4,17`.
pub fn format(rows: &[u32]) -> String {
    let mut sorted = rows.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut text = String::new();
    for span in sorted.chunk_by(|a, b| a + 1 == *b) {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing into a string cannot fail.
        let _ = match span {
            [only] => write!(text, "{comma}{only}"),
            [first, .., last] => write!(text, "{comma}{first}-{last}"),
            [] => Ok(()),
        };
    }
    text
}

/// Rows of a text such as `0-4,17`, as they stand in it; `None` when it is something else, empty, or more than a million.
pub fn parse(text: &str) -> Option<Vec<u32>> {
    let mut rows = Vec::new();
    for span in text.split(',') {
        let (first, last) = span.split_once('-').unwrap_or((span, span));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let n = (last as usize).checked_sub(first as usize)? + 1;
        if rows.len() + n > MAX_ROWS {
            return None;
        }
        rows.extend(first..=last);
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_from_their_text() {
        for (rows, text) in
            [(vec![0, 1, 2, 3, 4, 17], "0-4,17"), (vec![7], "7"), (vec![2, 3], "2-3"), (vec![1, 3], "1,3")]
        {
            assert_eq!(format(&rows), text);
            assert_eq!(parse(text), Some(rows));
        }
        assert_eq!(format(&[5, 4, 4]), "4-5");
        assert_eq!(parse("3, 9 - 10"), Some(vec![3, 9, 10]));
        for text in ["", "a", "4-2", "1,,2", "-1", "0-4294967295"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
