//! Directions as a person writes them: `a + 0.5*b - c`, `a without b`, `row:123`, `bank:NAME`, `probe.npy`.
//!
//! ```text
//! expression = sum { "without" sum }          the component along what follows is projected out
//! sum        = ["-"] product { ("+" | "-") product }
//! product    = [number "*"] atom
//! atom       = "(" expression ")"
//!            | "row:" number                  the vector of that pair
//!            | "bank:" behavior               score = the largest over its scenarios
//!            | file                           ends in .npy or .safetensors; FILE#TENSOR names one of several
//!            | behavior                       its direction
//! ```
//!
//! Words are separated by spaces, because names hold `-`. [`parse`] reads the text, [`Term::evaluate`] asks for the
//! vectors.

use whence_shared::index::query::Direction;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    /// A behavior's direction.
    Behavior(String),
    /// One vector per scenario of a behavior.
    Bank(String),
    /// A pair's own vector.
    Row(usize),
    /// A file with one vector.
    File(String),
    /// `Σ weight · term`.
    Sum(Vec<(f64, Term)>),
    /// The first without its component along the second.
    Without(Box<Term>, Box<Term>),
}

/// Reads an expression.
///
/// # Errors
///
/// What was expected, and what stands there instead.
pub fn parse(text: &str) -> Result<Term, String> {
    let words = words(text);
    if words.is_empty() {
        return Err("expected a direction, such as a behavior's name or row:123".into());
    }
    let mut parser = Parser { words: &words, next: 0 };
    let term = parser.expression()?;
    match parser.peek() {
        None => Ok(term),
        Some(word) => Err(format!("expected +, - or without, got {word:?}")),
    }
}

/// Words, with parentheses and the `*` after a number on their own.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let mut word = word;
        while let Some(rest) = word.strip_prefix('(') {
            words.push("(".to_owned());
            word = rest;
        }
        let inner = word.trim_end_matches(')');
        let n_closing = word.len() - inner.len();
        match inner.split_once('*') {
            Some((number, rest)) if number.parse::<f64>().is_ok() => {
                words.extend([number.to_owned(), "*".to_owned()]);
                let opened = rest.trim_start_matches('(');
                words.extend(vec!["(".to_owned(); rest.len() - opened.len()]);
                words.extend((!opened.is_empty()).then(|| opened.to_owned()));
            }
            _ => words.extend((!inner.is_empty()).then(|| inner.to_owned())),
        }
        words.extend(vec![")".to_owned(); n_closing]);
    }
    words
}

struct Parser<'a> {
    words: &'a [String],
    next: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.next).map(String::as_str)
    }

    fn take(&mut self, word: &str) -> bool {
        let is_it = self.peek() == Some(word);
        self.next += usize::from(is_it);
        is_it
    }

    fn expression(&mut self) -> Result<Term, String> {
        let mut term = self.sum()?;
        while self.take("without") {
            term = Term::Without(Box::new(term), Box::new(self.sum()?));
        }
        Ok(term)
    }

    fn sum(&mut self) -> Result<Term, String> {
        let mut sign = if self.take("-") { -1.0 } else { 1.0 };
        let mut parts = Vec::new();
        loop {
            let (weight, term) = self.product()?;
            parts.push((sign * weight, term));
            sign = match self.peek() {
                Some("+") => 1.0,
                Some("-") => -1.0,
                _ => break,
            };
            self.next += 1;
        }
        match parts.pop() {
            Some((weight, only)) if parts.is_empty() && weight == 1.0 => Ok(only),
            last => {
                parts.extend(last);
                Ok(Term::Sum(parts))
            }
        }
    }

    fn product(&mut self) -> Result<(f64, Term), String> {
        let weight = match self.words.get(self.next..self.next + 2) {
            Some([number, star]) if star == "*" => {
                let weight = number.parse::<f64>().ok().filter(|weight| weight.is_finite());
                let weight = weight.ok_or_else(|| format!("expected a number before *, got {number:?}"))?;
                self.next += 2;
                weight
            }
            _ => 1.0,
        };
        Ok((weight, self.atom()?))
    }

    fn atom(&mut self) -> Result<Term, String> {
        if self.take("(") {
            let term = self.expression()?;
            return if self.take(")") { Ok(term) } else { Err("expected ) after what ( opens".into()) };
        }
        let Some(word) = self.peek().map(str::to_owned) else {
            return Err("expected a direction at the end, such as a behavior's name".into());
        };
        if ["+", "-", "*", ")", "without"].contains(&word.as_str()) {
            return Err(format!("expected a direction, got {word:?}"));
        }
        self.next += 1;
        if let Some(row) = word.strip_prefix("row:") {
            let row = row.parse().map_err(|_| format!("expected row:NUMBER, rows counted from 0, got {word:?}"))?;
            return Ok(Term::Row(row));
        }
        if let Some(name) = word.strip_prefix("bank:") {
            return Ok(Term::Bank(name.to_owned()));
        }
        let file = word.split('#').next().unwrap_or_default();
        if file.ends_with(".npy") || file.ends_with(".safetensors") {
            return Ok(Term::File(word));
        }
        Ok(Term::Behavior(word))
    }
}

/// Where vectors come from, each `[d_model]` in the model's own space.
pub trait Vectors {
    /// What asking may end with.
    type Error;

    /// A behavior's direction.
    fn behavior(&self, name: &str) -> Result<Direction, Self::Error>;
    /// One vector per scenario of a behavior.
    fn bank(&self, name: &str) -> Result<Vec<Direction>, Self::Error>;
    /// A pair's vector.
    fn row(&self, row: usize) -> Result<Direction, Self::Error>;
    /// The vector in a file.
    fn file(&self, file: &str) -> Result<Direction, Self::Error>;
    /// An expression that has no meaning.
    fn meaningless(&self, reason: String) -> Self::Error;
}

impl Term {
    /// The direction meant, or the several of a bank.
    ///
    /// # Errors
    ///
    /// Whatever `vectors` answers, and for a bank within a sum.
    pub fn evaluate<V: Vectors>(&self, vectors: &V) -> Result<Vec<Direction>, V::Error> {
        match self {
            Self::Behavior(name) => Ok(vec![vectors.behavior(name)?]),
            Self::Bank(name) => vectors.bank(name),
            Self::Row(row) => Ok(vec![vectors.row(*row)?]),
            Self::File(file) => Ok(vec![vectors.file(file)?]),
            Self::Sum(parts) => {
                let terms = parts.iter().map(|(_, term)| term.single(vectors)).collect::<Result<Vec<_>, _>>()?;
                let parts: Vec<(f64, &Direction)> = parts.iter().map(|(weight, _)| *weight).zip(&terms).collect();
                Ok(vec![Direction::weighted_sum(&parts)])
            }
            Self::Without(term, other) => {
                let other = other.single(vectors)?;
                Ok(term.evaluate(vectors)?.iter().map(|direction| direction.without(&other)).collect())
            }
        }
    }

    fn single<V: Vectors>(&self, vectors: &V) -> Result<Direction, V::Error> {
        let mut directions = self.evaluate(vectors)?;
        match directions.pop() {
            Some(only) if directions.is_empty() && !self.is_bank() => Ok(only),
            _ => Err(vectors.meaningless(
                "a bank stands alone or before `without`: the largest of several scores has no direction".into(),
            )),
        }
    }

    fn is_bank(&self) -> bool {
        match self {
            Self::Bank(_) => true,
            Self::Without(term, _) => term.is_bank(),
            Self::Behavior(_) | Self::Row(_) | Self::File(_) | Self::Sum(_) => false,
        }
    }
}

/// Those of `known` that `name` may be a slip of, nearest first.
pub fn similar<'a>(name: &str, known: &'a [String]) -> Vec<&'a str> {
    // Of a letter or two nearly every name is near or holds it: those must be the name but for case.
    let n_chars = name.chars().count();
    let limit = if n_chars < 3 { 0 } else { (n_chars / 3).max(1) + 1 };
    let mut near: Vec<(usize, &str)> = known
        .iter()
        .map(|other| (distance(name, other), other.as_str()))
        .filter(|(distance, other)| *distance <= limit || n_chars >= 3 && other.contains(name))
        .collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Levenshtein's distance, letter case aside.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            row.push((above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1));
        }
        above = row;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Term {
        Term::Behavior(name.into())
    }

    #[test]
    fn sums_weights_and_projections() {
        assert_eq!(parse("a"), Ok(name("a")));
        assert_eq!(
            parse("a + 0.5*b - c-d"),
            Ok(Term::Sum(vec![(1.0, name("a")), (0.5, name("b")), (-1.0, name("c-d"))]))
        );
        let without = |a, b| Term::Without(Box::new(a), Box::new(b));
        assert_eq!(parse("a without b without c"), Ok(without(without(name("a"), name("b")), name("c"))));
        let sum = |a, b| Term::Sum(vec![(1.0, a), (1.0, b)]);
        assert_eq!(parse("a + b without c"), Ok(without(sum(name("a"), name("b")), name("c"))));
        assert_eq!(parse("a + (b without c)"), Ok(sum(name("a"), without(name("b"), name("c")))));
        assert_eq!(parse("2*(a + b)"), Ok(Term::Sum(vec![(2.0, sum(name("a"), name("b")))])));
        assert_eq!(parse("- a"), Ok(Term::Sum(vec![(-1.0, name("a"))])));
        assert_eq!(parse("-0.5*a"), Ok(Term::Sum(vec![(-0.5, name("a"))])));
        assert_eq!(parse("bank:a without row:12"), Ok(without(Term::Bank("a".into()), Term::Row(12))));
        assert_eq!(parse("x/y.safetensors#v"), Ok(Term::File("x/y.safetensors#v".into())));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, said) in [
            ("", "expected a direction"),
            ("a +", "at the end"),
            ("a b", "expected +, - or without, got \"b\""),
            ("row:x", "row:NUMBER"),
            ("(a", "expected )"),
            ("a )", "got \")\""),
            ("x * a", "expected a number before *, got \"x\""),
            ("+ a", "expected a direction, got \"+\""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn slips_are_recognised() {
        let known = ["obeys-when-formatted", "flattery"].map(String::from);
        assert_eq!(similar("flatery", &known), ["flattery"]);
        assert_eq!(similar("obeys", &known), ["obeys-when-formatted"]);
        assert!(similar("something", &known).is_empty());
        for short in ["a", "f", "ob"] {
            assert!(similar(short, &known).is_empty(), "{short}");
        }
    }
}
