//! The rows of a ranking that fit a filter, in the wanted order: one pass over the ranking, then a sort.

use std::collections::HashMap;

use super::{Filter, Sort, SortBy};
use crate::columns::{ABSENT, RowColumns};
use crate::edit::worklist::Worklist;

/// What is known of the pairs.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Rows in the order of the ranking.
    pub order: &'a [u32],
    /// Scores by row.
    pub scores: &'a [f32],
    /// Names of the sources, by number.
    pub sources: &'a [&'a str],
    /// Source, lengths and metadata; needed only by filters and orders that ask for them.
    pub columns: Option<&'a RowColumns>,
    /// What was decided.
    pub worklist: &'a Worklist,
    /// By row, whether the text matches; `None` where no text is asked for.
    pub matches: Option<&'a [bool]>,
    /// By row, whether a lasso on the map encloses the pair; `None` where there is no lasso.
    pub enclosed: Option<&'a [bool]>,
    /// By row, whether a pair is in one of the groups that the filter names; `None` where it names none.
    pub grouped: Option<&'a [bool]>,
}

/// Rows that fit, in order. What a filter asks of columns that are not there, no pair fits.
pub fn listing(filter: &Filter, sort: Sort, known: &Known) -> Vec<u32> {
    let fits = Fits::new(filter, known);
    let mut rows: Vec<u32> = known.order.iter().copied().filter(|&row| fits.fits(row as usize)).collect();
    if sort != Sort::default() {
        order(&mut rows, sort, known);
    }
    rows
}

/// A filter made ready: what is compared per row are numbers.
struct Fits<'a> {
    filter: &'a Filter,
    known: &'a Known<'a>,
    /// Whether each source fits; `None` = all do.
    sources: Option<Vec<bool>>,
    /// Codes of a field by row, and whether each value fits.
    fields: Vec<(&'a [u16], Vec<bool>)>,
    /// No pair fits: a field or value is not there.
    is_impossible: bool,
    has_spans: bool,
}

impl<'a> Fits<'a> {
    fn new(filter: &'a Filter, known: &'a Known<'a>) -> Self {
        let sources = (!filter.sources.is_empty())
            .then(|| known.sources.iter().map(|name| filter.sources.iter().any(|wanted| wanted == name)).collect());
        let mut wanted: HashMap<&str, Vec<&str>> = HashMap::new();
        for (name, value) in &filter.fields {
            wanted.entry(name).or_default().push(value);
        }
        let n_wanted = wanted.len();
        let fields: Vec<_> = wanted
            .into_iter()
            .filter_map(|(name, values)| {
                let field = known.columns?.field(name)?;
                Some((field.codes.as_slice(), field.values.iter().map(|v| values.contains(&v.as_str())).collect()))
            })
            .collect();
        let is_impossible = fields.len() < n_wanted || (filter.needs_columns() && known.columns.is_none());
        let has_spans = !(filter.chosen_chars.is_open() && filter.rejected_chars.is_open());
        Self { filter, known, sources, fields, is_impossible, has_spans }
    }

    fn fits(&self, row: usize) -> bool {
        let is_among = |rows: Option<&[bool]>| rows.is_none_or(|rows| rows.get(row).copied().unwrap_or(false));
        let Known { matches, enclosed, grouped, .. } = *self.known;
        if self.is_impossible || ![matches, enclosed, grouped].into_iter().all(is_among) {
            return false;
        }
        if !self.filter.score.is_open() && !self.known.scores.get(row).is_some_and(|s| self.filter.score.contains(*s)) {
            return false;
        }
        let in_columns = self.known.columns.is_none_or(|columns| self.fits_columns(row, columns));
        in_columns && self.fits_decision(row)
    }

    fn fits_columns(&self, row: usize, columns: &RowColumns) -> bool {
        if let Some(sources) = &self.sources
            && columns.source.get(row).is_none_or(|source| sources.get(*source as usize) != Some(&true))
        {
            return false;
        }
        if self.has_spans {
            let in_span = |span: super::Span<u32>, column: &[u32]| column.get(row).is_some_and(|n| span.contains(*n));
            if !in_span(self.filter.chosen_chars, &columns.chosen_chars)
                || !in_span(self.filter.rejected_chars, &columns.rejected_chars)
            {
                return false;
            }
        }
        self.fields.iter().all(|(codes, is_wanted)| {
            let code = codes.get(row).copied().unwrap_or(ABSENT);
            is_wanted.get(usize::from(code)).copied().unwrap_or(false)
        })
    }

    fn fits_decision(&self, row: usize) -> bool {
        let wanted = &self.filter.decisions;
        wanted.is_empty() || wanted.contains(&self.known.worklist.get(row as u32).map(|decided| decided.action))
    }
}

/// Sorts rows, which come in the order of the ranking.
fn order(rows: &mut [u32], sort: Sort, known: &Known) {
    let Known { columns, worklist, .. } = known;
    let of = |column: fn(&RowColumns) -> &[u32], row: u32| {
        columns.and_then(|columns| column(columns).get(row as usize).copied()).unwrap_or(0)
    };
    let by_name = places_by_name(known.sources);
    let key = |place: usize, row: u32| match sort.by {
        SortBy::Rank => place as u32,
        SortBy::Source => by_name.get(of(|c| &c.source, row) as usize).copied().unwrap_or(u32::MAX),
        SortBy::Chosen => of(|c| &c.chosen_chars, row),
        SortBy::Rejected => of(|c| &c.rejected_chars, row),
        // Undecided pairs last, whichever way round.
        SortBy::Decision => match worklist.get(row) {
            Some(decided) => decided.action as u32 + u32::from(!sort.is_descending),
            None if sort.is_descending => 0,
            None => u32::MAX,
        },
    };
    // Key and place in one number: a plain sort of numbers, and ties follow the rank.
    let mut keyed: Vec<(u64, u32)> = rows
        .iter()
        .enumerate()
        .map(|(place, &row)| {
            let key = key(place, row);
            let key = if sort.is_descending { !key } else { key };
            (u64::from(key) << 32 | place as u64, row)
        })
        .collect();
    keyed.sort_unstable_by_key(|(key, _)| *key);
    for (row, (_, sorted)) in rows.iter_mut().zip(keyed) {
        *row = sorted;
    }
}

/// Of each source, its place among the names in alphabetical order.
fn places_by_name(sources: &[&str]) -> Vec<u32> {
    let mut numbers: Vec<usize> = (0..sources.len()).collect();
    numbers.sort_by_key(|&number| sources[number]);
    let mut places = vec![0; sources.len()];
    for (place, number) in numbers.into_iter().enumerate() {
        places[number] = place as u32;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::FieldColumn;
    use crate::edit::Decision;
    use crate::edit::worklist::Decided;
    use crate::filter::Span;

    fn columns() -> RowColumns {
        RowColumns {
            pairs_sha256: String::new(),
            source: vec![0, 1, 0, 1, 2],
            chosen_chars: vec![10, 20, 30, 40, 20],
            rejected_chars: vec![5, 4, 3, 2, 1],
            fields: vec![FieldColumn {
                name: "model".into(),
                values: vec!["a".into(), "b".into()],
                codes: vec![0, 1, ABSENT, 0, 1],
            }],
        }
    }

    fn list(filter: &Filter, sort: &str, matches: Option<&[bool]>) -> Vec<u32> {
        let columns = columns();
        let mut worklist = Worklist::default();
        let decided = |action| Some(Decided { action, note: String::new() });
        worklist.decide("", 0.0, [(3, decided(Decision::Switch)), (0, decided(Decision::Drop))]);
        let known = Known {
            order: &[4, 3, 2, 1, 0],
            scores: &[-0.5, 0.1, 0.2, 0.3, 0.4],
            sources: &["b", "a", ""],
            columns: Some(&columns),
            worklist: &worklist,
            matches,
            enclosed: None,
            grouped: None,
        };
        listing(filter, Sort::parse(sort), &known)
    }

    #[test]
    fn every_condition_must_hold_and_any_of_its_values() {
        let all = Filter::default();
        assert_eq!(list(&all, "", None), [4, 3, 2, 1, 0]);
        let sources = Filter { sources: vec!["a".into(), String::new()], ..all.clone() };
        assert_eq!(list(&sources, "", None), [4, 3, 1]);
        let field = |values: &[&str]| Filter {
            fields: values.iter().map(|value| ("model".into(), (*value).into())).collect(),
            ..all.clone()
        };
        assert_eq!(list(&field(&["b"]), "", None), [4, 1]);
        assert_eq!(list(&field(&["b", "a"]), "", None), [4, 3, 1, 0]);
        let unheard = Filter { fields: vec![("nothing".into(), "a".into())], ..all.clone() };
        assert!(list(&unheard, "", None).is_empty());
        let lengths = Filter { chosen_chars: Span::parse("20..30"), rejected_chars: Span::parse("..3"), ..all.clone() };
        assert_eq!(list(&lengths, "", None), [4, 2]);
        let score = Filter { score: Span::parse("0.15..0.3"), ..all.clone() };
        assert_eq!(list(&score, "", None), [3, 2]);
        let decided = |decisions: &[Option<Decision>]| Filter { decisions: decisions.to_vec(), ..all.clone() };
        assert_eq!(list(&decided(&[Some(Decision::Drop), Some(Decision::Switch)]), "", None), [3, 0]);
        assert_eq!(list(&decided(&[None]), "", None), [4, 2, 1]);
        assert_eq!(list(&sources, "", Some(&[true, true, true, false, false])), [1]);
    }

    #[test]
    fn orders_leave_the_ranking_among_equals() {
        let all = Filter::default();
        assert_eq!(list(&all, "-rank", None), [0, 1, 2, 3, 4]);
        assert_eq!(list(&all, "chosen", None), [0, 4, 1, 2, 3]);
        assert_eq!(list(&all, "-chosen", None), [3, 2, 4, 1, 0]);
        assert_eq!(list(&all, "source", None), [4, 3, 1, 2, 0]);
        assert_eq!(list(&all, "decision", None), [0, 3, 4, 2, 1], "drop, switch, then the undecided");
        assert_eq!(list(&all, "-decision", None), [3, 0, 4, 2, 1]);
    }

    #[test]
    fn without_columns_nothing_fits_what_asks_for_them() {
        let worklist = Worklist::default();
        let known = Known {
            order: &[1, 0],
            scores: &[0.0, 1.0],
            sources: &["a"],
            columns: None,
            worklist: &worklist,
            matches: None,
            enclosed: None,
            grouped: None,
        };
        let of_source = Filter { sources: vec!["a".into()], ..Filter::default() };
        assert!(listing(&of_source, Sort::default(), &known).is_empty());
        let of_score = Filter { score: Span::parse("0.5.."), ..Filter::default() };
        assert_eq!(listing(&of_score, Sort::default(), &known), [1]);
    }

    #[test]
    fn a_lasso_leaves_out_what_it_does_not_enclose_whatever_else_is_asked_for() {
        let worklist = Worklist::default();
        let known = Known {
            order: &[2, 1, 0],
            scores: &[0.0, 1.0, 2.0],
            sources: &["a"],
            columns: None,
            worklist: &worklist,
            matches: None,
            enclosed: Some(&[true, true, false]),
            grouped: None,
        };
        assert_eq!(listing(&Filter::default(), Sort::default(), &known), [1, 0]);
        let of_score = Filter { score: Span::parse("0.5.."), ..Filter::default() };
        assert_eq!(listing(&of_score, Sort::default(), &known), [1]);
        // Until the map is read nothing is known to lie within.
        assert!(listing(&of_score, Sort::default(), &Known { enclosed: Some(&[]), ..known }).is_empty());
        // A pair must be within the lasso and in one of the groups, and no group that is not read yet has any.
        let grouped = |of: &'static [bool]| Known { grouped: Some(of), ..known };
        assert_eq!(listing(&Filter::default(), Sort::default(), &grouped(&[false, true, true])), [1]);
        assert!(listing(&Filter::default(), Sort::default(), &grouped(&[])).is_empty());
    }
}
