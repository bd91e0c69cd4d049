//! The sheet of the filter bar: sources, metadata, lengths, scores, decisions.

use std::str::FromStr;

use leptos::prelude::*;
use whence_shared::columns::{ABSENT, FieldColumn};
use whence_shared::edit::Decision;
use whence_shared::filter::{Filter, Span};

use crate::address::Step;
use crate::app::table::source_name;
use crate::decisions::decided_name;
use crate::listing::{ColumnsStatus, Listing};
use crate::number::count;
use crate::state::{State, StudyStatus};

/// Everything that can be asked for beside the text.
#[component]
pub fn Sheet() -> impl IntoView {
    let state = State::here();
    let filter = state.filter;
    view! {
        <div class="filter-sheet">
            <Sources />
            <Fields />
            <fieldset>
                <legend>"Length of the chosen response, characters"</legend>
                <Range
                    id="chosen"
                    span=Signal::derive(move || filter.with(|filter| filter.chosen_chars))
                    set=move |span| state.choose_filter(Step::Push, |filter| filter.chosen_chars = span)
                />
            </fieldset>
            <fieldset>
                <legend>"Length of the rejected response, characters"</legend>
                <Range
                    id="rejected"
                    span=Signal::derive(move || filter.with(|filter| filter.rejected_chars))
                    set=move |span| state.choose_filter(Step::Push, |filter| filter.rejected_chars = span)
                />
            </fieldset>
            <fieldset>
                <legend>"Score"</legend>
                <Range
                    id="score"
                    span=Signal::derive(move || filter.with(|filter| filter.score))
                    set=move |span| state.choose_filter(Step::Push, |filter| filter.score = span)
                />
            </fieldset>
            <DecisionChoice />
        </div>
    }
}

/// A checkbox with its name and how many pairs it stands for.
fn choice(
    name: String,
    n: Option<usize>,
    is_chosen: impl Fn() -> bool + Send + 'static,
    toggle: impl Fn() + 'static,
) -> impl IntoView {
    view! {
        <label class="choice">
            <input type="checkbox" prop:checked=is_chosen on:change=move |_| toggle() />
            <span class="name">{name}</span>
            <span class="quiet">{n.map(count)}</span>
        </label>
    }
}

#[component]
fn Sources() -> impl IntoView {
    let state = State::here();
    let sources = move || {
        let StudyStatus::Ready(study) = state.study.get() else { return Vec::new() };
        let mut sources = study.sources.clone();
        sources.sort_by(|a, b| b.n_pairs.cmp(&a.n_pairs).then(a.name.cmp(&b.name)));
        let source = |name: String, n_pairs| {
            let (wanted, shown) = (name.clone(), source_name(&name));
            let is_chosen = move || state.filter.with(|filter| filter.sources.contains(&wanted));
            let toggle = move || {
                let name = name.clone();
                state.choose_filter(Step::Push, move |filter| toggle_in(&mut filter.sources, name));
            };
            choice(shown, Some(n_pairs), is_chosen, toggle)
        };
        sources.into_iter().map(|s| source(s.name, s.n_pairs)).collect::<Vec<_>>()
    };
    view! {
        <fieldset class="tall">
            <legend>"Source"</legend>
            <div class="choices">{sources}</div>
        </fieldset>
    }
}

fn toggle_in<T: PartialEq>(list: &mut Vec<T>, item: T) {
    match list.iter().position(|there| *there == item) {
        Some(i) => drop(list.remove(i)),
        None => list.push(item),
    }
}

#[component]
fn Fields() -> impl IntoView {
    let listing = Listing::here();
    move || match listing.columns.get() {
        ColumnsStatus::Idle | ColumnsStatus::Failed(_) => None,
        ColumnsStatus::Loading => Some(view! { <p class="quiet">"Reading the pairs' metadata…"</p> }.into_any()),
        ColumnsStatus::Ready(columns) => {
            let fields: Vec<_> = columns.fields.iter().map(field).collect();
            (!fields.is_empty()).then(|| {
                view! {
                    <fieldset class="tall">
                        <legend>"Metadata"</legend>
                        <div class="fields">{fields}</div>
                    </fieldset>
                }
                .into_any()
            })
        }
    }
}

/// A field: choosing a value adds it to what is asked for.
fn field(field: &FieldColumn) -> impl IntoView + use<> {
    let state = State::here();
    let mut n_pairs = vec![0usize; field.values.len()];
    for code in field.codes.iter().filter(|code| **code != ABSENT) {
        n_pairs[usize::from(*code)] += 1;
    }
    let mut values: Vec<(String, usize)> = field.values.iter().cloned().zip(n_pairs).collect();
    values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let options: Vec<_> = values
        .into_iter()
        .map(|(value, n)| {
            let text = format!("{} ({})", if value.is_empty() { "(empty)" } else { &value }, count(n));
            view! { <option value=value>{text}</option> }
        })
        .collect();
    let name = field.name.clone();
    let label = name.clone();
    let on_change = move |event: leptos::ev::Event| {
        let value = event_target_value(&event);
        let name = name.clone();
        state.choose_filter(Step::Push, move |filter| {
            if !filter.fields.contains(&(name.clone(), value.clone())) {
                filter.fields.push((name, value));
            }
        });
    };
    // The choice is shown by chips: the list always offers to add another.
    view! {
        <label>
            <span class="name">{label}</span>
            <select prop:selectedIndex=move || state.filter.with(|_| 0) on:change=on_change>
                <option value="" disabled=true selected=true>
                    "any"
                </option>
                {options}
            </select>
        </label>
    }
}

/// Two numbers, either of which may be left empty.
#[component]
fn Range<T>(id: &'static str, span: Signal<Span<T>>, set: impl Fn(Span<T>) + Copy + Send + 'static) -> impl IntoView
where
    T: FromStr + ToString + Copy + PartialOrd + Send + Sync + 'static,
{
    let end = move |name: &'static str, is_low: bool| {
        let shown = move || {
            let Span { low, high } = span.get();
            if is_low { low } else { high }.map_or_else(String::new, |value| value.to_string())
        };
        let on_change = move |event: leptos::ev::Event| {
            let value = event_target_value(&event).trim().parse().ok();
            let before = span.get_untracked();
            set(if is_low { Span { low: value, ..before } } else { Span { high: value, ..before } });
        };
        view! {
            <label>
                <span class="quiet">{name}</span>
                <input
                    id=format!("{id}-{name}")
                    type="number"
                    step="any"
                    aria-label=format!("{id}: {name}")
                    prop:value=shown
                    on:change=on_change
                />
            </label>
        }
    };
    view! { <div class="range">{end("from", true)} {end("to", false)}</div> }
}

#[component]
fn DecisionChoice() -> impl IntoView {
    let state = State::here();
    let decisions = [None, Some(Decision::Keep), Some(Decision::Drop), Some(Decision::Switch)];
    let choices: Vec<_> = decisions
        .into_iter()
        .map(|decision| {
            let is_chosen = move || state.filter.with(|filter: &Filter| filter.decisions.contains(&decision));
            let toggle = move || {
                state.choose_filter(Step::Push, |filter| toggle_in(&mut filter.decisions, decision));
            };
            choice(decided_name(decision).to_owned(), None, is_chosen, toggle)
        })
        .collect();
    view! {
        <fieldset>
            <legend>"Decision"</legend>
            <div class="choices row">{choices}</div>
        </fieldset>
    }
}
