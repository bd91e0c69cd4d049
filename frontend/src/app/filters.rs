//! The bar above the table: which pairs are shown. A text field, a sheet with everything else, and what is chosen as chips that
//! take it back.

mod chips;
mod sheet;

pub use chips::Chips;

use leptos::html;
use leptos::prelude::*;
use whence_shared::filter::Filter;

use super::dropdown::Dropdown;
use super::table::end_name;
use crate::address::Step;
use crate::listing::{ColumnsStatus, Listing};
use crate::maps::{MapStatus, Maps};
use crate::members::Members;
use crate::number::{count, counted};
use crate::search::MAX_TEXTS;
use crate::state::State;

/// The bar.
#[component]
pub fn FilterBar() -> impl IntoView {
    let state = State::here();
    let (listing, maps, members) = (Listing::here(), Maps::here(), Members::here());
    let input = NodeRef::<html::Input>::new();
    let n_chosen = Memo::new(move |_| chips::chips(state).len());
    let summary = Signal::derive(move || match n_chosen.get() {
        0 => "Filter".to_owned(),
        n => format!("Filter ({n})"),
    });
    view! {
        <div
            class="filter-bar"
            role="search"
            aria-label="Which pairs are shown"
            data-took-ms=move || format!("{:.1}", listing.took_ms.get())
        >
            <div class="line">
                <TextFilter input />
                <Dropdown id="filter-sheet" summary on_open=move |()| listing.want_columns()>
                    <sheet::Sheet />
                </Dropdown>
                <p class="n-shown" role="status" id="n-shown">
                    {move || how_many(state, listing, maps, members)}
                </p>
                <button
                    type="button"
                    id="clear-filters"
                    disabled=move || !state.is_filtered.get()
                    on:click=move |_| {
                        state.show_all();
                        if let Some(input) = input.get_untracked() {
                            let _ = input.focus();
                        }
                    }
                >
                    "Show all"
                </button>
            </div>
            <Chips />
            {move || problem(listing, maps, members).map(|text| view! { <p class="problem" role="alert">{text}</p> })}
        </div>
    }
}

#[component]
fn TextFilter(input: NodeRef<html::Input>) -> impl IntoView {
    let state = State::here();
    let filter = state.filter;
    let is_regex = Memo::new(move |_| filter.with(|filter| filter.is_regex));
    let in_texts = Memo::new(move |_| filter.with(|filter| filter.in_texts));
    let in_top = move || {
        let k = state.k.get();
        let n = k.min(MAX_TEXTS);
        let whole = format!("in texts of the {} {}", end_name(state), count(n));
        if n < k { format!("{whole} (of {})", count(k)) } else { whole }
    };
    view! {
        <input
            id="text-filter"
            type="search"
            node_ref=input
            aria-label="Text that a pair contains"
            placeholder=move || if is_regex.get() { "pattern, such as ^how (do|to)" } else { "contains…" }
            autocomplete="off"
            spellcheck="false"
            maxlength="400"
            prop:value=move || filter.with(|filter| filter.text.clone())
            on:input=move |event| {
                let text = event_target_value(&event);
                state.choose_filter(Step::Replace, |filter| filter.text = text);
            }
        />
        <button
            type="button"
            id="regex"
            class="pressable"
            aria-pressed=move || is_regex.get().to_string()
            title="Read the text as a regular expression"
            aria-label="Regular expression"
            on:click=move |_| state.choose_filter(Step::Replace, |filter| filter.is_regex = !filter.is_regex)
        >
            ".*"
        </button>
        <select
            id="text-scope"
            aria-label="Where the text is looked for"
            title="The beginnings of all prompts, as the table shows them; or everything that the first pairs say"
            on:change=move |event| {
                let in_texts = event_target_value(&event) == "texts";
                state.choose_filter(Step::Push, |filter| filter.in_texts = in_texts);
            }
        >
            <option value="prompts" prop:selected=move || !in_texts.get()>
                "in prompt beginnings"
            </option>
            <option value="texts" prop:selected=move || in_texts.get()>
                {in_top}
            </option>
        </select>
    }
}

/// `312 of 5,000 pairs`, and how far the search is.
fn how_many(state: State, listing: Listing, maps: Maps, members: Members) -> String {
    let n_all = state.ranking.with(|ranking| ranking.as_ref().map_or(0, |r| r.order.len()));
    if !state.is_filtered.get() {
        return if n_all == 0 { String::new() } else { counted(n_all, "pair", "pairs") };
    }
    if listing.columns.get() == ColumnsStatus::Loading && state.filter.with(Filter::needs_columns) {
        return "Reading sources and lengths…".to_owned();
    }
    if state.lasso.with(Option::is_some) && maps.status.with(|status| *status == MapStatus::Loading) {
        return "Reading the map…".to_owned();
    }
    if members.is_reading() {
        return "Reading the groups…".to_owned();
    }
    let shown = format!("{} of {}", count(state.n_listed()), counted(n_all, "pair", "pairs"));
    let search = listing.searcher.search.get();
    match search {
        Some(search) if !search.is_done() => {
            format!("{shown} · searched {} of {}", count(search.n_searched), count(search.n_wanted))
        }
        Some(search) if search.asked.in_texts_of.is_some() => {
            format!("{shown} · of the others no text was searched")
        }
        _ => shown,
    }
}

fn problem(listing: Listing, maps: Maps, members: Members) -> Option<String> {
    if let ColumnsStatus::Failed(reason) = listing.columns.get() {
        return Some(format!("Sources and lengths did not arrive: {reason}. Open Filter to try again."));
    }
    if let Some(problem) = maps.lasso_problem() {
        return Some(format!("{problem}. Take the lasso back to see pairs again."));
    }
    if let Some(problem) = members.problem.get() {
        return Some(format!("{problem}. Take the group back to see pairs again."));
    }
    listing.searcher.search.with(|search| search.as_ref()?.problem.clone()).map(|problem| format!("{problem}."))
}

/// What the filter asks for, in words. Tracked.
pub fn in_words(state: State) -> String {
    let mut words: Vec<String> = chips::chips(state).into_iter().map(|chip| chip.text).collect();
    state.filter.with(|filter| match (filter.text.as_str(), filter.is_regex) {
        ("", _) => {}
        (text, false) => words.insert(0, format!("contains “{text}”")),
        (text, true) => words.insert(0, format!("matches “{text}”")),
    });
    words.join(", ")
}
