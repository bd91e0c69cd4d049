//! Which texts match what a reader typed: contained in them, or a pattern, whatever the case. Texts are folded to small
//! letters once ([`folded`], [`Lines`]); then each is compared in nanoseconds.

use memchr::memmem;

use crate::pair::{Pair, Side};

/// What is looked for, made ready.
#[derive(Debug, Clone)]
pub struct Matcher(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Contains(Box<memmem::Finder<'static>>),
    Pattern(regex_lite::Regex),
}

impl Matcher {
    /// Looks for a text, or for a pattern in the syntax of Rust's `regex`, without the names of Unicode classes. Any
    /// pattern takes time in proportion to the text.
    ///
    /// # Errors
    ///
    /// What is wrong with the pattern.
    pub fn new(text: &str, is_regex: bool) -> Result<Self, String> {
        if !is_regex {
            return Ok(Self(Kind::Contains(Box::new(memmem::Finder::new(&folded(text)).into_owned()))));
        }
        // Texts are in small letters. The library folds ASCII itself; escapes such as \S are ASCII and must stay.
        let pattern: String =
            text.chars().flat_map(|c| if c.is_ascii() { vec![c] } else { c.to_lowercase().collect() }).collect();
        let pattern = regex_lite::RegexBuilder::new(&pattern).case_insensitive(true).size_limit(1 << 20).build();
        pattern.map(|pattern| Self(Kind::Pattern(pattern))).map_err(|error| error.to_string())
    }

    /// Whether a folded text matches.
    pub fn is_match(&self, folded: &str) -> bool {
        match &self.0 {
            Kind::Contains(finder) => finder.find(folded.as_bytes()).is_some(),
            Kind::Pattern(pattern) => pattern.is_match(folded),
        }
    }
}

/// A text in small letters.
pub fn folded(text: &str) -> String {
    text.to_lowercase()
}

/// Everything that a pair says, folded: its turns, a line break between.
pub fn folded_pair(pair: &Pair) -> String {
    let sides = [Side::Chosen, Side::Rejected].into_iter().flat_map(|side| pair.side(side));
    let mut text = String::new();
    for message in pair.prompt.iter().chain(sides) {
        text.push_str(&folded(&message.content));
        text.push('\n');
    }
    text
}

/// Many short texts, folded, in one piece of memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    text: String,
    ends: Vec<u32>,
}

impl Lines {
    /// Of texts in their order.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut lines = Self::default();
        for text in texts {
            lines.text.push_str(&folded(text));
            lines.ends.push(lines.text.len() as u32);
        }
        lines
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One of them, folded; empty when there is none at this place.
    pub fn get(&self, i: usize) -> &str {
        let Some(&end) = self.ends.get(i) else { return "" };
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Message;

    fn finds(text: &str, is_regex: bool, within: &str) -> bool {
        Matcher::new(text, is_regex).unwrap().is_match(&folded(within))
    }

    #[test]
    fn texts_and_patterns_match_whatever_the_case() {
        assert!(finds("KITE", false, "how a Kite flies") && !finds("k.te", false, "kite"));
        assert!(finds("ÉTÉ", false, "été") && finds("", false, "anything"));
        assert!(finds("^how .* FLIES$", true, "How a kite flies"));
        assert!(finds(r"\S{5}", true, "a kites b") && !finds(r"\S{6}", true, "a kites b"));
        assert!(finds("[A-C]x", true, "bX") && finds("É+", true, "éé"));
        assert!(Matcher::new("(", true).is_err());
        // Exponential for engines that go back.
        assert!(!finds("(a+)+$", true, &format!("{}b", "a".repeat(5000))));
    }

    #[test]
    fn lines_keep_their_order() {
        let lines = Lines::new(["One", "", "İ two"]);
        assert_eq!((lines.len(), lines.get(0), lines.get(1), lines.get(9)), (3, "one", "", ""));
        assert_eq!(lines.get(2), folded("İ two"));
        let pair = Pair {
            id: String::new(),
            prompt: vec![Message::new("user", "Q")],
            chosen: vec![Message::new("assistant", "A")],
            rejected: vec![Message::new("assistant", "B")],
            source: String::new(),
            metadata: "{}".into(),
        };
        assert_eq!(folded_pair(&pair), "q\na\nb\n");
    }
}
