//! Command lines as people type them: words quoted for a POSIX shell, and a typed line taken apart again.
//!
//! Nothing is expanded: `$HOME`, `*` and `~` stand for themselves in what [`words`] reads, and [`quoted`] quotes them so that a
//! shell lets them stand, too.

use thiserror::Error;

/// Why a line cannot be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WordsError {
    /// A quote that is not closed.
    #[error("a {0} is not closed")]
    Open(char),
    /// A backslash with nothing after it.
    #[error("a backslash stands at the end")]
    Backslash,
}

/// A word as a shell must be given it.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Words as one line.
pub fn line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The words of a line, without their quotes: `'…'` as it stands, in `"…"` a backslash before `"`, `\`, `$` and `` ` ``, and
/// elsewhere one before any character.
///
/// # Errors
///
/// When a quote is not closed or a backslash ends the line.
pub fn words(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    // None between two words; a word may be empty when it was quoted.
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(WordsError::Open('\''))? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(WordsError::Open('"'))? {
                        '"' => break,
                        '\\' => match chars.next().ok_or(WordsError::Open('"'))? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => match chars.next().ok_or(WordsError::Backslash)? {
                // A line that goes on below.
                '\n' => {}
                c => word.get_or_insert_default().push(c),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_reads_back_as_it_was() {
        let all = ["rank", "--behavior", "it's", "my \"study\"", "", "a\\b", "$HOME/*", " x ", "ä", "a=b", "'"];
        let text = line(all);
        assert_eq!(words(&text).unwrap(), all, "{text}");
        assert_eq!(line(["rank", "--layer", "2", "a b"]), "rank --layer 2 'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }

    #[test]
    fn lines_are_taken_apart_as_a_shell_does() {
        for (line, expected) in [
            ("", vec![]),
            ("  a\t b\nc ", vec!["a", "b", "c"]),
            (r#"a"b c"d"#, vec!["ab cd"]),
            (r#""a\"b\n" ''"#, vec!["a\"b\\n", ""]),
            (r"a\ b \'", vec!["a b", "'"]),
            ("--set dpo.beta=0.1 \\\n --replace", vec!["--set", "dpo.beta=0.1", "--replace"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line:?}");
        }
        assert_eq!(words("it's"), Err(WordsError::Open('\'')));
        assert_eq!(words("\"a"), Err(WordsError::Open('"')));
        assert_eq!(words("a\\"), Err(WordsError::Backslash));
    }
}
