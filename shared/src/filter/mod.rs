//! Which pairs of a ranking are shown, and in which order. What a reader chose, as it stands in an address ([`Filter`],
//! [`Sort`]); the rows that fit ([`mod@listing`]); and which texts match ([`text`]).

mod group;
pub mod listing;
pub mod text;

pub use group::PairGroup;

use std::fmt;

use crate::edit::Decision;

/// Names of the parameters of an address that a filter reads and writes.
pub const KEYS: [&str; 11] =
    ["q", "match", "in", "source", "where", "chosen", "rejected", "score", "decision", "group", "cluster"];

/// What a reader wants to see. Everything stated must hold; of several sources, or several values of one field, any.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// `q`: what the text contains, whatever the case; empty = anything.
    pub text: String,
    /// `match=regex`: the text is a pattern.
    pub is_regex: bool,
    /// `in=texts`: looks in the whole texts of the ranking's first pairs, instead of in the beginnings of all prompts.
    pub in_texts: bool,
    /// `source`: names.
    pub sources: Vec<String>,
    /// `where=FIELD=VALUE`: metadata. A percent sign or equals sign in the field's name is written `%25`, `%3D`.
    pub fields: Vec<(String, String)>,
    /// `chosen=LOW..HIGH`: characters of the chosen response.
    pub chosen_chars: Span<u32>,
    /// `rejected=LOW..HIGH`: characters of the rejected response.
    pub rejected_chars: Span<u32>,
    /// `score=LOW..HIGH`.
    pub score: Span<f32>,
    /// `decision`: what was decided; `None` = nothing.
    pub decisions: Vec<Option<Decision>>,
    /// `group`, `cluster`: groups of pairs, any of which a pair may be in.
    pub groups: Vec<PairGroup>,
}

/// A range with both ends in it; an end that is not stated is open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span<T> {
    /// Smallest.
    pub low: Option<T>,
    /// Largest.
    pub high: Option<T>,
}

impl<T> Default for Span<T> {
    fn default() -> Self {
        Self { low: None, high: None }
    }
}

impl<T: Copy + PartialOrd> Span<T> {
    /// Whether anything fits.
    pub fn is_open(&self) -> bool {
        self.low.is_none() && self.high.is_none()
    }

    /// Whether a value lies in it.
    pub fn contains(&self, value: T) -> bool {
        self.low.is_none_or(|low| value >= low) && self.high.is_none_or(|high| value <= high)
    }
}

impl<T: std::str::FromStr> Span<T> {
    /// Reads `LOW..HIGH`, where either may be left out; what cannot be read is open.
    pub fn parse(text: &str) -> Self {
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        Self { low: low.trim().parse().ok(), high: high.trim().parse().ok() }
    }
}

impl<T: fmt::Display> fmt::Display for Span<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(low) = &self.low {
            write!(f, "{low}")?;
        }
        f.write_str("..")?;
        if let Some(high) = &self.high {
            write!(f, "{high}")?;
        }
        Ok(())
    }
}

impl Filter {
    /// Whether every pair fits.
    pub fn is_empty(&self) -> bool {
        // How a text would be looked for says nothing without one.
        Self { is_regex: false, in_texts: false, ..self.clone() } == Self::default()
    }

    /// Whether it asks for more than scores and decisions.
    pub fn needs_columns(&self) -> bool {
        !(self.sources.is_empty()
            && self.fields.is_empty()
            && self.chosen_chars.is_open()
            && self.rejected_chars.is_open())
    }

    /// Reads the parameters of an address; `get` gives all values of a name.
    pub fn from_query(get: impl Fn(&str) -> Vec<String>) -> Self {
        let one = |key: &str| get(key).into_iter().next().unwrap_or_default();
        let no_nan = |span: Span<f32>| Span {
            low: span.low.filter(|x| x.is_finite()),
            high: span.high.filter(|x| x.is_finite()),
        };
        let field = |text: String| {
            let (name, value) = text.split_once('=')?;
            Some((name.replace("%3D", "=").replace("%25", "%"), value.to_owned()))
        };
        let mut decisions: Vec<Option<Decision>> = get("decision")
            .iter()
            .filter_map(|text| if text == "none" { Some(None) } else { text.parse().ok().map(Some) })
            .collect();
        decisions.sort_unstable();
        decisions.dedup();
        let groups = |key: &'static str| get(key).into_iter().filter_map(move |text| PairGroup::parse(key, &text));
        Self {
            text: one("q"),
            is_regex: one("match") == "regex",
            in_texts: one("in") == "texts",
            sources: get("source"),
            fields: get("where").into_iter().filter_map(field).collect(),
            chosen_chars: Span::parse(&one("chosen")),
            rejected_chars: Span::parse(&one("rejected")),
            score: no_nan(Span::parse(&one("score"))),
            decisions,
            groups: groups("group").chain(groups("cluster")).collect(),
        }
    }

    /// The parameters of an address that say the same; [`KEYS`] that are not among them are to be removed.
    pub fn to_query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        if !self.text.is_empty() {
            query.push(("q", self.text.clone()));
        }
        if self.is_regex {
            query.push(("match", "regex".to_owned()));
        }
        if self.in_texts {
            query.push(("in", "texts".to_owned()));
        }
        query.extend(self.sources.iter().map(|name| ("source", name.clone())));
        query.extend(
            self.fields
                .iter()
                .map(|(name, value)| ("where", format!("{}={value}", name.replace('%', "%25").replace('=', "%3D")))),
        );
        for (key, span) in [("chosen", self.chosen_chars), ("rejected", self.rejected_chars)] {
            if !span.is_open() {
                query.push((key, span.to_string()));
            }
        }
        if !self.score.is_open() {
            query.push(("score", self.score.to_string()));
        }
        let decision = |decision: &Option<Decision>| decision.map_or("none", Decision::name).to_owned();
        query.extend(self.decisions.iter().map(|of| ("decision", decision(of))));
        query.extend(self.groups.iter().map(PairGroup::to_query));
        query
    }
}

/// By what the shown pairs are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortBy {
    /// Their rank.
    #[default]
    Rank,
    /// Their source's name.
    Source,
    /// The length of the chosen response.
    Chosen,
    /// The length of the rejected response.
    Rejected,
    /// What was decided.
    Decision,
}

/// An order. Pairs that it does not tell apart follow their rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sort {
    /// By what.
    pub by: SortBy,
    /// The largest first.
    pub is_descending: bool,
}

impl SortBy {
    const ALL: [Self; 5] = [Self::Rank, Self::Source, Self::Chosen, Self::Rejected, Self::Decision];

    /// As an address names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rank => "rank",
            Self::Source => "source",
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
            Self::Decision => "decision",
        }
    }
}

impl Sort {
    /// Whether it needs more than the ranking and decisions.
    pub fn needs_columns(self) -> bool {
        !matches!(self.by, SortBy::Rank | SortBy::Decision)
    }

    /// Reads `chosen` or `-chosen`; anything else is the order of the ranking.
    pub fn parse(text: &str) -> Self {
        let (is_descending, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        match SortBy::ALL.into_iter().find(|by| by.name() == name) {
            Some(by) => Self { by, is_descending },
            None => Self::default(),
        }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_descending { "-" } else { "" }, self.by.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &[(&str, &str)]) -> Filter {
        Filter::from_query(|key| query.iter().filter(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned()).collect())
    }

    #[test]
    fn a_filter_comes_back_from_its_address() {
        let query = [
            ("q", "a=b&c"),
            ("match", "regex"),
            ("in", "texts"),
            ("source", "one"),
            ("source", ""),
            ("where", "odd%3Dna%25me=va=lue"),
            ("where", "model="),
            ("chosen", "10..200"),
            ("rejected", "..7"),
            ("score", "-0.25..0.5"),
            ("decision", "none"),
            ("decision", "switch"),
            ("group", "broad:2/5"),
            ("cluster", "clumps:-1"),
        ];
        let filter = read(&query);
        assert_eq!(filter.fields[0], ("odd=na%me".to_owned(), "va=lue".to_owned()));
        assert_eq!(filter.sources, ["one", ""], "pairs without a source can be asked for");
        assert!(filter.score.contains(0.5) && !filter.score.contains(0.51) && filter.rejected_chars.contains(0));
        let written: Vec<(&str, &str)> = Vec::new();
        assert_eq!(read(&written), Filter::default());
        let back = filter.to_query();
        assert_eq!(back.iter().map(|(k, v)| (*k, v.as_str())).collect::<Vec<_>>(), query);
        assert!(back.iter().all(|(key, _)| KEYS.contains(key)));
    }

    #[test]
    fn what_cannot_be_read_does_not_filter() {
        let filter = read(&[("chosen", "a..b"), ("score", "NaN..inf"), ("decision", "what"), ("where", "x")]);
        assert!(filter.is_empty() && !filter.needs_columns());
        assert!(read(&[("match", "regex"), ("in", "texts")]).is_empty());
        assert!(!read(&[("decision", "none")]).is_empty());
        let grouped = read(&[("group", "broad:1"), ("group", "broad"), ("cluster", "x:y")]);
        assert!(grouped.groups.len() == 1 && !grouped.is_empty() && !grouped.needs_columns());
        assert_eq!(Span::<u32>::parse("7"), Span { low: Some(7), high: Some(7) });
        assert_eq!(Sort::parse("sideways"), Sort::default());
        for text in ["rank", "-chosen", "decision"] {
            assert_eq!(Sort::parse(text).to_string(), text);
        }
    }
}
