//! What the filter asks for, one chip each; pressing a chip takes it back.

use leptos::prelude::*;
use whence_shared::clustering::{NO_DIRECTION, NOISE};
use whence_shared::edit::Decision;
use whence_shared::filter::{Filter, PairGroup, Span};

use crate::address::Step;
use crate::app::table::source_name;
use crate::decisions::decided_name;
use crate::number::{count, counted, score};
use crate::state::State;

/// One thing that the filter asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Chip {
    /// What it asks for, in words.
    pub text: String,
    part: Part,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Source(String),
    Field(String, String),
    Chosen,
    Rejected,
    Score,
    Decision(Option<Decision>),
    Group(PairGroup),
    Lasso,
}

/// The chips of the filter. Tracked.
pub fn chips(state: State) -> Vec<Chip> {
    let filter = state.filter.get();
    let mut chips = Vec::new();
    let mut add = |text: String, part: Part| chips.push(Chip { text, part });
    if state.lasso.with(Option::is_some) {
        let n = state.selected_rows.with(|rows| rows.as_ref().map(|rows| counted(rows.len(), "pair", "pairs")));
        add(n.map_or_else(|| "in the lasso".to_owned(), |n| format!("in the lasso ({n})")), Part::Lasso);
    }
    for source in filter.sources {
        add(format!("source {}", source_name(&source)), Part::Source(source));
    }
    for (name, value) in filter.fields {
        add(format!("{name}: {value}"), Part::Field(name, value));
    }
    let chars = |n: u32| count(n as usize);
    for (name, span, part) in
        [("chosen", filter.chosen_chars, Part::Chosen), ("rejected", filter.rejected_chars, Part::Rejected)]
    {
        if !span.is_open() {
            add(format!("{name} {} characters", range(span, chars)), part);
        }
    }
    if !filter.score.is_open() {
        add(format!("score {}", range(filter.score, score)), Part::Score);
    }
    for decision in filter.decisions {
        add(decided_name(decision).to_owned(), Part::Decision(decision));
    }
    for group in filter.groups {
        add(group_name(&group), Part::Group(group));
    }
    chips
}

/// A group in words: `pairs 3 of “broad”`, numbered as the pages number groups.
fn group_name(group: &PairGroup) -> String {
    match group {
        PairGroup::Discovered { discovery, label, cut: None } => format!("pairs {} of “{discovery}”", label + 1),
        PairGroup::Discovered { discovery, label, cut: Some(k) } => {
            format!("pairs {} of “{discovery}” in {}", label + 1, counted(*k, "group", "groups"))
        }
        PairGroup::Clustered { clustering, label: NOISE } => format!("between the clusters of “{clustering}”"),
        PairGroup::Clustered { clustering, label: NO_DIRECTION } => format!("without a direction in “{clustering}”"),
        PairGroup::Clustered { clustering, label } if *label < 0 => format!("not looked at in “{clustering}”"),
        PairGroup::Clustered { clustering, label } => format!("cluster {} of “{clustering}”", label + 1),
    }
}

fn range<T: Copy>(span: Span<T>, show: impl Fn(T) -> String) -> String {
    match (span.low, span.high) {
        (Some(low), Some(high)) => format!("{} to {}", show(low), show(high)),
        (Some(low), None) => format!("from {}", show(low)),
        (None, Some(high)) => format!("up to {}", show(high)),
        (None, None) => "any".to_owned(),
    }
}

fn take_back(state: State, part: &Part) {
    match part {
        Part::Lasso => state.change_map(Step::Push, |map| map.lasso = None),
        part => state.choose_filter(Step::Push, |filter| take_from(filter, part)),
    }
}

fn take_from(filter: &mut Filter, part: &Part) {
    match part {
        Part::Source(name) => filter.sources.retain(|source| source != name),
        Part::Field(name, value) => filter.fields.retain(|(n, v)| (n, v) != (name, value)),
        Part::Chosen => filter.chosen_chars = Span::default(),
        Part::Rejected => filter.rejected_chars = Span::default(),
        Part::Score => filter.score = Span::default(),
        Part::Decision(decision) => filter.decisions.retain(|d| d != decision),
        Part::Group(group) => filter.groups.retain(|g| g != group),
        // It is the map's.
        Part::Lasso => {}
    }
}

/// The row of chips; nothing where there is none.
#[component]
pub fn Chips() -> impl IntoView {
    let state = State::here();
    let chips = Memo::new(move |_| chips(state));
    let chip = move |chip: Chip| {
        let Chip { text, part } = chip;
        let label = format!("{text}: take back");
        view! {
            <li>
                <button
                    type="button"
                    class="filter-chip"
                    aria-label=label
                    on:click=move |_| take_back(state, &part)
                >
                    <span>{text}</span>
                    <span aria-hidden="true">"×"</span>
                </button>
            </li>
        }
    };
    move || {
        let chips = chips.get();
        (!chips.is_empty()).then(|| {
            view! {
                <ul class="chips" aria-label="What is asked for">
                    {chips.into_iter().map(chip).collect::<Vec<_>>()}
                </ul>
            }
        })
    }
}
