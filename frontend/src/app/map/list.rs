//! The table beside the map: the pairs that the lasso encloses, or those in view, as far as the filter of the ranking leaves them
//! in, and of one category where one alone is lit; by score where there is a ranking, by row otherwise. As many rows exist as
//! fit.

use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use web_sys::KeyboardEvent;
use whence_shared::edit::Decision;
use whence_shared::edit::worklist::Decided;
use whence_shared::filter::{Filter, PairGroup};

use super::super::dropdown::Dropdown;
use super::super::filters::in_words;
use super::super::table::{shown_text, source_name};
use super::colors::Paint;
use super::sight::Sight;
use crate::address::{ColorBy, Page, Step};
use crate::covers::Covers;
use crate::decisions::Decisions;
use crate::maps::{Kind, Maps, marked};
use crate::members::Members;
use crate::number::{count, counted, score};
use crate::state::{State, StudyStatus, View};

/// Height of a row; `--row-height` in the style sheet is the same.
const ROW_PX: f64 = 28.0;
/// Rows made beyond the visible ones on either side.
const N_SPARE: usize = 4;
/// Visible rows, at most.
const N_FIT: usize = 14;

/// The table with what can be done with its pairs.
#[component]
pub fn List(paint: Memo<Paint>) -> impl IntoView {
    let (state, maps, sight, members) = (State::here(), Maps::here(), Sight::here(), Members::here());
    let is_ranked = Memo::new(move |_| {
        let is_wanted = |ranking: &Arc<crate::state::Ranking>| {
            state.wanted.with(|wanted| wanted.as_ref().is_some_and(|wanted| ranking.wanted.is_like(wanted)))
        };
        state.ranking.with(|ranking| ranking.as_ref().is_some_and(is_wanted))
    });
    let rows = Memo::new(move |_| listed(state, sight, &paint.get(), is_ranked.get()));
    let n_rows = Memo::new(move |_| rows.with(|rows| rows.len()));
    let is_selection = Memo::new(move |_| state.selected_rows.with(Option::is_some));
    let is_narrowed = Memo::new(move |_| state.lit_rows().is_some() && !state.filter.with(Filter::is_empty));
    let lit = Memo::new(move |_| lit(&paint.get(), &state.color.get()));
    let title = move || {
        let n = n_rows.get();
        let what = if is_selection.get() { "selected" } else { "in view" };
        let what = lit.get().map_or_else(|| what.to_owned(), |lit| format!("{what}, {}", lit.name));
        let order = if is_ranked.get() { ", by score" } else { "" };
        let order = if is_narrowed.get() { format!("{order}, filtered") } else { order.to_owned() };
        view! { <strong>{counted(n, "pair", "pairs")} " " {what}</strong> {order} }
    };
    let has_view = Memo::new(move |_| matches!(state.view.get(), View::Ready { .. }));
    let can_rank = Memo::new(move |_| !is_ranked.get() && has_view.get());
    let rank = move |_| state.change_map(Step::Push, |map| map.color = Some(ColorBy::Score));
    // A category that is made here has no name by which another page could find its pairs.
    let can_show = Memo::new(move |_| match lit.get() {
        Some(lit) => lit.part.is_some(),
        None => is_selection.get(),
    });
    let show = move |_| {
        state.show_filtered(Page::Ranking, |filter| {
            if let Some(part) = lit.get_untracked().and_then(|lit| lit.part) {
                part.narrow(filter);
            }
        });
    };
    let is_part = move || is_selection.get() || lit.with(Option::is_some);
    view! {
        <section class="map-list" aria-label="Pairs on the map">
            <header>
                <p role="status" id="n-listed" data-n=move || n_rows.get()>
                    {title}
                </p>
                <Show when=move || can_rank.get()>
                    <button type="button" id="rank-these" title="Score all pairs and sort these by it" on:click=rank>
                        {move || if is_selection.get() { "Rank these" } else { "Rank" }}
                    </button>
                </Show>
                <Show when=move || is_narrowed.get()>
                    <button
                        type="button"
                        id="clear-filter"
                        title=move || format!("Show all pairs again, not only: {}", in_words(state))
                        on:click=move |_| state.choose_filter(Step::Push, |filter| *filter = Filter::default())
                    >
                        "Clear filter"
                    </button>
                </Show>
                <Show when=move || can_show.get()>
                    <button
                        type="button"
                        id="show-in-ranking"
                        disabled=move || !has_view.get()
                        title="Show these pairs in the ranking, with its charts"
                        on:click=show
                    >
                        "Show in Ranking"
                    </button>
                </Show>
                <Show when=is_part>
                    <DecideAll rows lit />
                </Show>
                <Show when=move || is_selection.get()>
                    <button type="button" id="clear-selection" title="Select none (Esc)" on:click=move |_| maps.select(None)>
                        "Clear"
                    </button>
                </Show>
                {move || members.problem.get().map(|text| view! { <p class="problem" role="alert">{format!("{text}.")}</p> })}
            </header>
            <Rows rows n_rows is_ranked paint />
        </section>
    }
}

/// One decision about all pairs listed, as one step that can be undone.
#[component]
fn DecideAll(rows: Memo<Arc<[u32]>>, lit: Memo<Option<Lit>>) -> impl IntoView {
    let (state, decisions) = (State::here(), Decisions::here());
    let decide = move |action: Decision| {
        let words = [untrack(|| in_words(state)), lit.get_untracked().map(|lit| lit.name).unwrap_or_default()];
        let words = words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ");
        let decided = Decided { action, note: words.clone() };
        let rows = rows.get_untracked();
        decisions.decide(&format!("{words}: {}", action.name()), rows.iter().map(|&row| (row, Some(decided.clone()))));
    };
    let button = move |action: Decision, text: &'static str, title: &'static str| {
        view! {
            <button
                type="button"
                id=format!("{}-all", action.name())
                title=title
                disabled=move || rows.with(|rows| rows.is_empty())
                on:click=move |_| decide(action)
            >
                {text}
            </button>
        }
    };
    view! {
        <Dropdown id="decide-all" summary="Decide">
            <div class="decide-all" role="group" aria-label="Decide about all pairs listed">
                {button(Decision::Drop, "Drop all", "Leave these pairs out")}
                {button(Decision::Switch, "Switch all", "Swap chosen and rejected of these pairs")}
                {button(Decision::Keep, "Keep all", "Train on these pairs as they are")}
            </div>
            <p class="quiet">"One step: Ctrl Z takes it back."</p>
        </Dropdown>
    }
}

/// The category that alone is lit.
#[derive(Debug, Clone, PartialEq)]
struct Lit {
    /// For a person.
    name: String,
    /// What of a filter asks for the same pairs; `None` where nothing does.
    part: Option<LitPart>,
}

#[derive(Debug, Clone, PartialEq)]
enum LitPart {
    Source(String),
    Group(PairGroup),
    Decision(Option<Decision>),
}

impl LitPart {
    /// Asks for these pairs, and for no others of the kind.
    fn narrow(self, filter: &mut Filter) {
        match self {
            Self::Source(name) => filter.sources = vec![name],
            Self::Group(group) => filter.groups = vec![group],
            Self::Decision(decision) => filter.decisions = vec![decision],
        }
    }
}

fn lit(paint: &Paint, color: &ColorBy) -> Option<Lit> {
    let Paint::Categories(categories, Some(only)) = paint else { return None };
    let category = categories.names.get(*only as usize)?;
    let (name, part) = match color {
        ColorBy::Source => {
            (format!("source {}", source_name(&category.name)), Some(LitPart::Source(category.name.clone())))
        }
        ColorBy::Cluster(clustering) => {
            let label = categories.label_of(*only);
            let group = PairGroup::Clustered { clustering: clustering.clone(), label };
            let name = if label < 0 { category.name.clone() } else { format!("cluster {}", category.name) };
            (name, Some(LitPart::Group(group)))
        }
        ColorBy::Decision => {
            let decision = match category.kind {
                Kind::Decided(decision) => Some(decision),
                Kind::Named | Kind::Rest => None,
            };
            (category.name.clone(), Some(LitPart::Decision(decision)))
        }
        _ => (category.name.clone(), None),
    };
    Some(Lit { name, part })
}

/// Rows of the pairs listed, in their order. Tracked.
fn listed(state: State, sight: Sight, paint: &Paint, is_ranked: bool) -> Arc<[u32]> {
    let Some(map) = sight.map() else { return Arc::from([]) };
    let rows = match state.selected_rows.get() {
        Some(rows) => rows,
        None => {
            let [low, high] = sight.rested.get().bounds(sight.window(&map));
            Arc::from(map.grid.rows_in(low, high))
        }
    };
    let rows: Arc<[u32]> = match state.lit_rows() {
        Some(lit) => {
            let is_lit = marked(&lit, map.places.len());
            rows.iter().copied().filter(|&row| is_lit[row as usize]).collect()
        }
        None => rows,
    };
    let rows: Arc<[u32]> = match paint {
        Paint::Categories(categories, Some(only)) => {
            rows.iter().copied().filter(|&row| categories.of_rows.get(row as usize) == Some(only)).collect()
        }
        _ => rows,
    };
    if !is_ranked {
        return rows;
    }
    state.ranking.with(|ranking| {
        let Some(ranking) = ranking.as_ref().filter(|ranking| ranking.order.len() == map.places.len()) else {
            return rows.clone();
        };
        let is_listed = marked(&rows, map.places.len());
        ranking.order.iter().copied().filter(|&row| is_listed[row as usize]).collect()
    })
}

#[component]
fn Rows(rows: Memo<Arc<[u32]>>, n_rows: Memo<usize>, is_ranked: Memo<bool>, paint: Memo<Paint>) -> impl IntoView {
    let state = State::here();
    let scroller = NodeRef::<html::Div>::new();
    let first = RwSignal::new(0usize);
    let on_scroll = move |_| {
        if let Some(scroller) = scroller.get_untracked() {
            first.set((f64::from(scroller.scroll_top()) / ROW_PX) as usize);
        }
    };
    // Another list is read from its beginning.
    Effect::new(move || {
        rows.track();
        if let Some(scroller) = scroller.get_untracked() {
            scroller.set_scroll_top(0);
        }
    });
    let shown = Memo::new(move |_| {
        let end = (first.get() + N_FIT + N_SPARE).min(n_rows.get());
        first.get().saturating_sub(N_SPARE).min(end)..end
    });
    let place = Memo::new(move |_| {
        let row = state.row.get()?;
        rows.with(|rows| rows.iter().position(|&listed| listed == row))
    });
    let on_key = move |event: KeyboardEvent| {
        let last = n_rows.get_untracked().checked_sub(1);
        let at = place.get_untracked();
        let to = match event.key().as_str() {
            "ArrowDown" | "j" => at.map_or(0, |at| at + 1),
            "ArrowUp" | "k" => at.map_or(0, |at| at.saturating_sub(1)),
            "Home" => 0,
            "End" => usize::MAX,
            _ => return,
        };
        let Some(last) = last else { return };
        event.prevent_default();
        event.stop_propagation();
        let to = to.min(last);
        state.select(rows.with_untracked(|rows| rows.get(to).copied()), Step::Replace);
        if let Some(scroller) = scroller.get_untracked() {
            let (top, height) = (to as f64 * ROW_PX, f64::from(scroller.client_height()));
            let at = f64::from(scroller.scroll_top());
            scroller.set_scroll_top(at.min(top).max(top + ROW_PX - height).round() as i32);
        }
    };
    view! {
        <div
            class="table map-table"
            class:unranked=move || !is_ranked.get()
            role="grid"
            id="pairs"
            tabindex="0"
            aria-label="Pairs listed"
            aria-rowcount=move || n_rows.get() + 1
            aria-activedescendant=move || place.get().map(|place| format!("listed-{place}"))
            on:keydown=on_key
        >
            <div role="rowgroup" class="table-head">
                <div role="row" aria-rowindex="1" class="row">
                    <span role="columnheader" class="rank">"Rank"</span>
                    <span role="columnheader" class="score">"Score"</span>
                    <span role="columnheader" class="category">
                        {move || if matches!(paint.get(), Paint::Categories(..)) { "Color" } else { "Source" }}
                    </span>
                    <span role="columnheader" class="at" title="Where it lies, as the map's file says">"x"</span>
                    <span role="columnheader" class="at">"y"</span>
                    <span role="columnheader" class="snippet">"Prompt"</span>
                </div>
            </div>
            <div role="rowgroup" class="table-body" node_ref=scroller on:scroll=on_scroll>
                <div
                    role="presentation"
                    class="table-spacer"
                    style:height=move || format!("{}px", n_rows.get() as f64 * ROW_PX)
                >
                    <For each=move || shown.get() key=|at| *at let(at)>
                        <Row at rows paint />
                    </For>
                </div>
            </div>
        </div>
    }
}

#[component]
fn Row(at: usize, rows: Memo<Arc<[u32]>>, paint: Memo<Paint>) -> impl IntoView {
    let (state, sight, covers) = (State::here(), Sight::here(), Covers::here());
    let row = Memo::new(move |_| rows.with(|rows| rows.get(at).copied()));
    let of_ranking = move |of: fn(&crate::state::Ranking, u32) -> Option<String>| {
        let row = row.get()?;
        state.ranking.with(|ranking| ranking.as_ref().and_then(|ranking| of(ranking, row)))
    };
    let columns = move || row.get().and_then(|row| state.row_chunk(row));
    let category = move || {
        if let Paint::Categories(categories, _) = paint.get() {
            let category = *categories.of_rows.get(row.get()? as usize)?;
            return categories.names.get(category as usize).map(|category| source_name(&category.name));
        }
        let ((chunk, i), StudyStatus::Ready(study)) = (columns()?, state.study.get()) else { return None };
        study.sources.get(chunk.source[i] as usize).map(|source| source_name(&source.name))
    };
    let coordinate = move |axis: usize| {
        let row = row.get()? as usize;
        sight.map().and_then(|map| map.points.get(2 * row + axis).map(|x| format!("{x:.3}").replace('-', "−")))
    };
    let is_selected = Memo::new(move |_| row.get().is_some() && row.get() == state.row.get());
    let select = move |_| {
        state.select(row.get_untracked(), Step::Push);
        super::super::reading::reveal();
    };
    view! {
        <div
            role="row"
            id=format!("listed-{at}")
            class="row"
            class:selected=move || is_selected.get()
            aria-rowindex=at + 2
            aria-selected=move || is_selected.get().to_string()
            data-row=move || row.get()
            style:transform=format!("translateY({}px)", at as f64 * ROW_PX)
            on:click=select
            on:pointerenter=move |_| sight.hovered.set(row.get_untracked())
            on:pointerleave=move |_| sight.hovered.set(None)
        >
            <span role="gridcell" class="rank">
                {move || of_ranking(|ranking, row| ranking.place_of(row).map(|place| count(place + 1)))}
            </span>
            <span role="gridcell" class="score">
                {move || of_ranking(|ranking, row| ranking.scores.get(row as usize).map(|value| score(*value)))}
            </span>
            <span role="gridcell" class="category" dir="auto">{category}</span>
            <span role="gridcell" class="at">{move || coordinate(0)}</span>
            <span role="gridcell" class="at">{move || coordinate(1)}</span>
            <span role="gridcell" class="snippet" class:covered=move || covers.is_on.get() dir="auto">
                {move || match covers.is_on.get() {
                    true => Some("covered".to_owned()),
                    false => columns().map(|(chunk, i)| shown_text(&chunk, i)),
                }}
            </span>
        </div>
    }
}
