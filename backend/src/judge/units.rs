//! Words and sentences of a text, counted. A part of [`super::checks`].

use std::sync::LazyLock;

use regex::Regex;

static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w+").expect("the pattern is fixed text"));

/// Abbreviations, in small letters and without their last dot, after which a sentence goes on.
const ABBREVIATIONS: [&str; 13] =
    ["mr", "mrs", "ms", "dr", "prof", "st", "vs", "e.g", "i.e", "cf", "fig", "vol", "approx"];

/// Runs of letters, digits and `_`, as IFEval counts words.
pub(super) fn n_words(text: &str) -> usize {
    WORD.find_iter(text).count()
}

/// Words, at hyphens and apostrophes whole, with a capital and without a small letter.
pub(super) fn n_capital_words(text: &str) -> usize {
    let is_inner = |c: char| c.is_alphanumeric() || matches!(c, '-' | '\'' | '’');
    let words = text.split(|c: char| !is_inner(c));
    words.filter(|word| word.chars().any(char::is_uppercase) && !word.chars().any(char::is_lowercase)).count()
}

/// The beginning of a word up to a punctuation mark, without opening quotes, in small letters.
pub(super) fn bare_word(word: &str) -> String {
    let word = word.trim_start_matches('\'').trim_start_matches('"');
    word.chars().take_while(|c| !matches!(c, '.' | ',' | '?' | '!' | '\'' | '"')).flat_map(char::to_lowercase).collect()
}

/// Sentences: each ends in `.`, `!`, `?` or `…`, then closing quotes or brackets, then space or the end of the text, unless
/// the dot belongs to an abbreviation, an initial or the number of a list item. What is left after the last end counts too.
pub(super) fn n_sentences(text: &str) -> usize {
    let mut n = 0;
    let mut is_open = false;
    for line in text.lines() {
        for (i, word) in line.split_whitespace().enumerate() {
            is_open = true;
            let bare = word.trim_end_matches(['"', '\'', '”', '’', ')', ']', '*']);
            let is_end = match bare.strip_suffix('.') {
                Some(before) => !goes_on(before, i == 0),
                None => bare.ends_with(['!', '?', '…']),
            };
            if is_end {
                n += 1;
                is_open = false;
            }
        }
    }
    n + usize::from(is_open)
}

/// Whether a sentence goes on after a word that stood before a dot.
fn goes_on(word: &str, is_first_of_line: bool) -> bool {
    let word = word.trim_start_matches(['"', '\'', '“', '‘', '(', '[', '*']);
    let is_list_number = is_first_of_line && !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    let is_initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase) && word != "I";
    is_list_number || is_initial || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_a_reader_sees_it() {
        for (text, n) in [
            ("", 0),
            ("No end", 1),
            ("One. Two! Three? Four", 4),
            ("He said \"stop.\" Then (later.) he went.", 3),
            ("Dr. J. Smith, e.g. of St. Ives, spoke. It was I.", 2),
            ("1. First thing\n2. Second thing.", 1),
            ("Pi is 3.14 or so... Yes.", 2),
            ("A line\nand its end.", 1),
        ] {
            assert_eq!(n_sentences(text), n, "{text}");
        }
    }

    #[test]
    fn words_are_counted_and_told_apart() {
        assert_eq!((n_words("don't stop, 3_x"), n_words(" … ")), (4, 0));
        assert_eq!(n_capital_words("WELL-KNOWN Tea, USA 42 é É"), 3);
        assert_eq!((bare_word("\"Tea,").as_str(), bare_word("it's").as_str()), ("tea", "it"));
    }
}
