//! Tags of pairs in the table: their own, where the data have any, else what else of their metadata tells groups of pairs apart.

use std::sync::Arc;

use leptos::prelude::*;
use whence_shared::columns::{ABSENT, FieldColumn, RowColumns};

use crate::listing::Listing;
use crate::state::{RankStatus, State, StudyStatus};

/// Names under which data have tags.
const NAMES: [&str; 8] = ["tag", "tags", "label", "labels", "topic", "topics", "category", "categories"];
/// A field of more values than this is no tag.
const MAX_VALUES: usize = 60;
/// Fields shown, of those that have tags.
const N_FIELDS: usize = 2;
/// What tells tags is read for their sake where a study has at most so many pairs, else once something else asks for it.
const MAX_PAIRS: usize = 20_000;

/// Columns, and the places of the fields that are shown.
type Shown = (Arc<RowColumns>, Arc<[usize]>);

/// The tags of a study's pairs; cheap to copy.
#[derive(Clone, Copy)]
pub struct Tags(Memo<Option<Shown>>);

impl Tags {
    /// Of the study that is looked at, once a ranking stands.
    pub fn start() -> Self {
        let (state, listing) = (State::here(), Listing::here());
        Effect::new(move || {
            let is_small = matches!(state.study.get(), StudyStatus::Ready(study) if study.n_pairs <= MAX_PAIRS);
            if is_small && state.status.get() == RankStatus::Ranked {
                untrack(|| listing.want_columns_once());
            }
        });
        Self(Memo::new(move |_| {
            let columns = listing.ready_columns()?;
            let fields = fields(&columns);
            (!fields.is_empty()).then(|| (columns, fields.into()))
        }))
    }

    /// Whether there are any. Tracked.
    pub fn are_there(self) -> bool {
        self.0.with(Option::is_some)
    }

    /// A pair's tags, each with the name of its field. Tracked.
    pub fn of(self, row: u32) -> Vec<(String, String)> {
        self.0.with(|known| {
            let Some((columns, fields)) = known else { return Vec::new() };
            let of_field = |&at: &usize| tags_of(&columns.fields[at], row as usize);
            fields.iter().flat_map(of_field).collect()
        })
    }
}

fn is_named_so(field: &FieldColumn) -> bool {
    NAMES.contains(&field.name.to_lowercase().as_str())
}

/// Places of the fields that are shown: what is called tags, or else the first field with few values, one alone: two would leave
/// prompts too little room.
fn fields(columns: &RowColumns) -> Vec<usize> {
    let places = |fits: &dyn Fn(&FieldColumn) -> bool, n: usize| -> Vec<usize> {
        (0..columns.fields.len()).filter(|&at| fits(&columns.fields[at])).take(n).collect()
    };
    let named = places(&is_named_so, N_FIELDS);
    if named.is_empty() { places(&|field| (2..=MAX_VALUES).contains(&field.values.len()), 1) } else { named }
}

/// Of a list of tags each.
fn tags_of(field: &FieldColumn, row: usize) -> Vec<(String, String)> {
    let code = field.codes.get(row).copied().filter(|code| *code != ABSENT);
    let Some(value) = code.and_then(|code| field.values.get(usize::from(code))) else { return Vec::new() };
    let tags = if is_named_so(field) { value.split(", ").collect() } else { vec![value.as_str()] };
    let tags = tags.into_iter().filter(|tag| !tag.is_empty());
    tags.map(|tag| (field.name.clone(), tag.to_owned())).collect()
}

/// The labels of a pair's tags.
pub fn labels(tags: Vec<(String, String)>) -> impl IntoView {
    let label = |(field, tag): (String, String)| {
        let title = format!("{field}: {tag}");
        view! {
            <span class="tag" title=title>
                {tag}
            </span>
        }
    };
    tags.into_iter().map(label).collect::<Vec<_>>()
}
