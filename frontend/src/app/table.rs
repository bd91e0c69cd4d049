//! The ranked table: as many rows as fit the screen exist, whatever the number of pairs. It shows the pairs that fit the
//! filter, in the wanted order; a row's place on the screen is its *position*, its place in the ranking its *rank*.
//!
//! An ARIA grid with one tab stop: arrow keys or j and k move the selection, Home and End go to the ends.

use std::sync::Arc;
use std::time::Duration;

use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{KeyboardEvent, ResizeObserver};
use whence_shared::edit::Decision;
use whence_shared::filter::{Filter, Sort, SortBy};
use whence_shared::plane::lasso::Lasso;
use whence_shared::study::RowChunk;

use super::tags::{Tags, labels};
use crate::address::{Page, Step};
use crate::covers::Covers;
use crate::decisions::Decisions;
use crate::listing::{ColumnsStatus, Listing};
use crate::maps::{MapStatus, Maps};
use crate::members::Members;
use crate::number::{self, count, score};
use crate::protocol::End;
use crate::state::{State, StudyStatus, Wanted};

/// What decides which pairs are shown, and in which order.
type AskedFor = (Filter, Sort, Option<Arc<Lasso>>);

/// Height of a row; `--row-height` in the style sheet is the same.
const ROW_PX: f64 = 28.0;
/// Rows kept beyond the visible ones on either side.
const N_SPARE_ROWS: usize = 8;
/// Rows made at a time when there were none, beside the spare ones.
const ROWS_PER_TURN: usize = 6;
/// Rows after which all that fit are made at once.
const MAX_ROOM: usize = 240;
/// Largest height browsers lay out; beyond it the last rows would be out of reach.
const MAX_SCROLL_PX: f64 = 16_000_000.0;

/// The table.
#[component]
pub fn RankedTable() -> impl IntoView {
    let state = State::here();
    let scroller = NodeRef::<html::Div>::new();
    let scroll_px = RwSignal::new(0.0);
    let height_px = RwSignal::new(600.0);
    let n_rows = Memo::new(move |_| state.n_listed());
    let total_px = Memo::new(move |_| (n_rows.get() as f64 * ROW_PX).min(MAX_SCROLL_PX));
    // Beyond the browser's limit the scroll bar moves faster than the rows.
    let pace = Memo::new(move |_| {
        let (rows_px, total_px) = (n_rows.get() as f64 * ROW_PX, total_px.get());
        if rows_px <= total_px { 1.0 } else { (rows_px - height_px.get()) / (total_px - height_px.get()) }
    });
    let first = Memo::new(move |_| (scroll_px.get() * pace.get() / ROW_PX) as usize);
    // The first rows are made a few at a time, so that the page answers meanwhile.
    let room = RwSignal::new(0);
    Effect::new(move || {
        if n_rows.get() > 0 && room.get() < MAX_ROOM {
            set_timeout(move || room.update(|room| *room += ROWS_PER_TURN), Duration::ZERO);
        }
    });
    let shown = Memo::new(move |_| {
        let n_fit = (height_px.get() / ROW_PX).ceil() as usize + 1;
        let end = (first.get() + n_fit.min(room.get()) + N_SPARE_ROWS).min(n_rows.get());
        first.get().saturating_sub(N_SPARE_ROWS).min(end)..end
    });
    let position = Memo::new(move |_| state.position());
    let max_score = Memo::new(move |_| {
        state.ranking.with(|ranking| {
            let ends = ranking.as_ref().map(|r| (r.score_at(0), r.score_at(r.order.len().saturating_sub(1))));
            ends.map_or(1.0, |(high, low)| high.unwrap_or(0.0).abs().max(low.unwrap_or(0.0).abs()).max(1e-6))
        })
    });

    // Where the selected pair was when it was last among those shown: deciding about it may take it out of the filter.
    let last = StoredValue::new(0usize);
    // Whether the selected row is to stay in view, and where the table was last scrolled to for that.
    let follows = StoredValue::new(true);
    let target_px = StoredValue::new(0.0);
    let scroll_to = move |place: usize, center: bool| {
        let Some(scroller) = scroller.get_untracked() else { return };
        let (pace, height) = (pace.get_untracked(), f64::from(scroller.client_height()));
        let top = place as f64 * ROW_PX / pace;
        let at = f64::from(scroller.scroll_top());
        let target = if center && (top < at || top + ROW_PX > at + height) {
            top - height / 2.0
        } else {
            at.min(top).max(top + ROW_PX - height)
        };
        if target != at {
            scroller.set_scroll_top(target.round() as i32);
            target_px.set_value(f64::from(scroller.scroll_top()));
        }
    };
    // Follow the selection: by the shortest way when a key moved it, to the middle when it came from elsewhere. A ranking
    // that is refined moves rows by itself: the selected one is followed until the reader scrolls it out of view.
    let subject = Memo::new(move |_| state.ranking.with(|ranking| ranking.as_ref().map(|r| r.wanted.clone())));
    Effect::new(move |before: Option<(Option<usize>, Option<u32>, Option<Wanted>)>| {
        let (now, row, subject) = (position.get(), state.row.get(), subject.get());
        let (at, row_before, subject_before) = before.unwrap_or_default();
        let is_refined = row == row_before
            && matches!((&subject, &subject_before), (Some(now), Some(before)) if now.is_like(before));
        if !is_refined {
            follows.set_value(true);
        }
        if let Some(now) = now.filter(|_| follows.get_value()) {
            let is_near = at.is_some_and(|at| at.abs_diff(now) <= 1);
            request_animation_frame(move || scroll_to(now, !is_near));
        }
        if let Some(now) = now {
            last.set_value(now);
        }
        (now, row, subject)
    });
    // What is shown begins anew when something else is asked for, unless the selected pair is still in it. A pair that goes
    // because it was decided about leaves the table where it is.
    let asked = Memo::new(move |_| (state.filter.get(), state.sort.get(), state.lasso.get()));
    Effect::new(move |before: Option<(Option<usize>, AskedFor)>| {
        let (now, asked) = (position.get(), asked.get());
        let (at, asked_before) = before.map_or((None, None), |(at, asked)| (at, Some(asked)));
        let is_lost = at.is_some() && state.row.get_untracked().is_some() && asked.0.decisions.is_empty();
        let is_other = asked_before.is_some_and(|before| before != asked);
        if now.is_none() && (is_lost || is_other) {
            request_animation_frame(move || {
                // What is asked for is known before what is shown for it: by now the pair may be there.
                if let Some(scroller) = scroller.get_untracked().filter(|_| position.get_untracked().is_none()) {
                    scroller.set_scroll_top(0);
                    target_px.set_value(0.0);
                }
            });
        }
        (now, asked)
    });
    observe_height(scroller, height_px);
    let tags = Tags::start();
    let has_tags = Memo::new(move |_| tags.are_there());
    let on_scroll = move |_| {
        if let Some(scroller) = scroller.get_untracked() {
            // Tracking whole rows keeps scrolling within a row free of work.
            let top_px = f64::from(scroller.scroll_top());
            scroll_px.set(top_px);
            if (top_px - target_px.get_value()).abs() > 1.0 {
                // The reader scrolled. Of a pair that is not shown this says nothing.
                let selected_px = position.get_untracked().map(|at| at as f64 * ROW_PX / pace.get_untracked() - top_px);
                let is_in_view = |px: f64| px > -ROW_PX && px < height_px.get_untracked();
                if let Some(px) = selected_px {
                    follows.set_value(is_in_view(px));
                }
            }
        }
    };
    let listener = window_event_listener(leptos::ev::keydown, move |event| {
        if state.page.get_untracked() != Page::Ranking {
            return;
        }
        if let Some(target) = moved(state, &event, (height_px, last)) {
            event.prevent_default();
            state.select_position(target, Step::Replace);
        }
    });
    on_cleanup(move || listener.remove());
    view! {
        <div
            class="table"
            class:tagged=move || has_tags.get()
            role="grid"
            id="table"
            tabindex="0"
            aria-label=move || match state.end() {
                End::Top => "Pairs by score, highest first",
                End::Bottom => "Pairs by score, lowest first",
            }
            aria-rowcount=move || n_rows.get() + 1
            aria-colcount=move || if has_tags.get() { "9" } else { "8" }
            aria-activedescendant=move || position.get().map(|at| format!("place-{at}"))
        >
            <div role="rowgroup" class="table-head">
                <div role="row" aria-rowindex="1" class="row">
                    {head(state, SortBy::Decision, "decision", "", "What was decided: keep, drop or switch")}
                    {head(state, SortBy::Rank, "rank", "Rank", "Place in the ranking")}
                    <span role="columnheader" class="score">"Score"</span>
                    <span
                        role="columnheader"
                        class="radius"
                        title="How far the true score may be from the one shown; nothing where it is exact"
                    >
                        "±"
                    </span>
                    {head(state, SortBy::Source, "source", "Source", "Where the pair came from")}
                    {head(state, SortBy::Chosen, "chars", "Chosen", "Length of the chosen response in characters")}
                    {head(state, SortBy::Rejected, "chars", "Rejected", "Length of the rejected response in characters")}
                    <Show when=move || has_tags.get()>
                        <span role="columnheader" class="tags" title="Tags, or other metadata that tell groups of pairs apart">
                            "Tags"
                        </span>
                    </Show>
                    <span role="columnheader" class="snippet">"Prompt"</span>
                </div>
            </div>
            <div role="rowgroup" class="table-body" id="rows" tabindex="0" node_ref=scroller on:scroll=on_scroll>
                <div role="presentation" class="table-spacer" style:height=move || format!("{}px", total_px.get())>
                    <For each=move || shown.get() key=|place| *place let(at)>
                        <Row
                            at
                            top_px=Signal::derive(move || {
                                let pace = pace.get();
                                let shift = if pace == 1.0 { 0.0 } else { scroll_px.get() * (1.0 - pace) };
                                at as f64 * ROW_PX + shift
                            })
                            max_score
                            tags
                        />
                    </For>
                </div>
                <Show when=move || n_rows.get() == 0 && state.is_filtered.get()>
                    <NothingFits />
                </Show>
            </div>
        </div>
    }
}

/// What stands in the table when no pair fits.
#[component]
fn NothingFits() -> impl IntoView {
    let state = State::here();
    let (listing, maps, members) = (Listing::here(), Maps::here(), Members::here());
    let is_waiting = move || {
        let reads = listing.columns.get() == ColumnsStatus::Loading;
        let searches = listing.searcher.search.with(|search| search.as_ref().is_some_and(|s| !s.is_done()));
        let maps = state.lasso.with(Option::is_some) && maps.status.with(|status| *status == MapStatus::Loading);
        reads || searches || maps || members.is_reading() || state.ranking.with(Option::is_none)
    };
    view! {
        <p class="nothing quiet" role="presentation">
            {move || {
                if is_waiting() { "No pair so far…" } else { "No pair fits what is asked for. Take something back above." }
            }}
        </p>
    }
}

/// The head of a column that pairs can be ordered by: pressed again it turns the order round, a third time back to ranks.
fn head(state: State, by: SortBy, class: &'static str, text: &'static str, title: &'static str) -> impl IntoView {
    let sort = state.sort;
    // Long responses first are more often wanted than short ones; ranks begin with the first.
    let first = !matches!(by, SortBy::Rank | SortBy::Source | SortBy::Decision);
    let sorted = move || match sort.get() {
        Sort { by: now, is_descending } if now == by => Some(if is_descending { "descending" } else { "ascending" }),
        _ => None,
    };
    let on_click = move |_| {
        let now = sort.get_untracked();
        state.choose_sort(match now.by == by {
            false => Sort { by, is_descending: first },
            true if now.is_descending == first || by == SortBy::Rank => Sort { by, is_descending: !now.is_descending },
            true => Sort::default(),
        });
    };
    let label = if text.is_empty() { "Decision" } else { text };
    view! {
        <span role="columnheader" class=class aria-sort=sorted title=title>
            <button type="button" aria-label=format!("{label}: order by it") on:click=on_click>
                {text}
                <span class="arrow" aria-hidden="true">
                    {move || match sorted() {
                        Some("descending") => "↓",
                        Some(_) if sort.get() != Sort::default() => "↑",
                        _ if text.is_empty() => "◇",
                        _ => "",
                    }}
                </span>
            </button>
        </span>
    }
}

/// A decision as a sign: its letter, its class and its name.
pub fn decision_sign(decision: Decision) -> (&'static str, &'static str) {
    match decision {
        Decision::Keep => ("K", "decision-sign keep"),
        Decision::Drop => ("D", "decision-sign drop"),
        Decision::Switch => ("S", "decision-sign switch"),
    }
}

#[component]
fn Row(at: usize, top_px: Signal<f64>, max_score: Memo<f32>, tags: Tags) -> impl IntoView {
    let state = State::here();
    let decisions = Decisions::here();
    let covers = Covers::here();
    let row = Memo::new(move |_| state.row_at(at));
    let of_row = move |values: fn(&crate::state::Ranking) -> &[f32]| {
        let row = row.get()? as usize;
        state.ranking.with(|ranking| values(ranking.as_ref()?).get(row).copied())
    };
    let value = move || of_row(|ranking| &ranking.scores).unwrap_or_default();
    let radius = move || of_row(|ranking| &ranking.radii).unwrap_or_default();
    let place = Memo::new(move |_| {
        let row = row.get()?;
        state.ranking.with(|ranking| ranking.as_ref()?.place_of(row))
    });
    let decided = Memo::new(move |_| decisions.of(row.get()?));
    let is_selected = Memo::new(move |_| row.get().is_some() && row.get() == state.row.get());
    let columns = move || row.get().and_then(|row| state.row_chunk(row));
    let source = move || {
        let (chunk, i) = columns()?;
        let StudyStatus::Ready(study) = state.study.get() else { return None };
        study.sources.get(chunk.source[i] as usize).map(|source| source_name(&source.name))
    };
    let chars = |n: u32| count(n as usize);
    let select = move |_| {
        if let Some(row) = row.get_untracked() {
            state.select(Some(row), Step::Push);
            super::reading::reveal();
        }
    };
    view! {
        <div
            role="row"
            id=format!("place-{at}")
            class="row"
            class:top=move || place.get().is_some_and(|place| place < state.k.get())
            class:boundary=move || {
                place.get().is_some_and(|place| place + 1 == state.k.get()) && state.listed.with(Option::is_none)
            }
            class:selected=move || is_selected.get()
            aria-rowindex=at + 2
            aria-selected=move || is_selected.get().to_string()
            style:transform=move || format!("translateY({}px)", top_px.get())
            on:click=select
        >
            <span role="gridcell" class="decision">
                {move || {
                    decided
                        .get()
                        .map(|decided| {
                            let (letter, class) = decision_sign(decided.action);
                            let has_note = !decided.note.is_empty();
                            let name = decided.action.name();
                            let title = if has_note { format!("{name}: {}", decided.note) } else { name.to_owned() };
                            view! {
                                <span class=class class:noted=has_note title=title.clone() role="img" aria-label=title>
                                    {letter}
                                </span>
                            }
                        })
                }}
            </span>
            <span role="gridcell" class="rank">{move || place.get().map(|place| count(place + 1))}</span>
            <span role="gridcell" class="score">
                <span class="bar" aria-hidden="true">
                    <span
                        class:negative=move || value() < 0.0
                        style:transform=move || format!("scaleX({:.3})", value().abs() / max_score.get())
                    ></span>
                </span>
                <span class:estimated=move || radius() != 0.0>{move || score(value())}</span>
            </span>
            <span role="gridcell" class="radius">{move || number::radius(radius())}</span>
            <span role="gridcell" class="source" title=source>{source}</span>
            <span role="gridcell" class="chars">{move || columns().map(|(chunk, i)| chars(chunk.chosen_chars[i]))}</span>
            <span role="gridcell" class="chars">
                {move || columns().map(|(chunk, i)| chars(chunk.rejected_chars[i]))}
            </span>
            {move || {
                let of_row = tags.are_there().then(|| row.get().map(|row| tags.of(row)).unwrap_or_default())?;
                Some(view! { <span role="gridcell" class="tags">{labels(of_row)}</span> })
            }}
            <span role="gridcell" class="snippet" class:covered=move || covers.is_on.get() dir="auto">
                {move || match covers.is_on.get() {
                    true => Some("covered".to_owned()),
                    false => columns().map(|(chunk, i)| shown_text(&chunk, i)),
                }}
            </span>
        </div>
    }
}

/// What stands for a pair in its line: the snippet, or its id where texts are withheld.
pub fn shown_text(chunk: &RowChunk, i: usize) -> String {
    let text = if chunk.snippet[i].is_empty() { &chunk.id[i] } else { &chunk.snippet[i] };
    text.clone()
}

/// `top` or `bottom`, whichever end is wanted. Tracked.
pub fn end_name(state: State) -> &'static str {
    match state.end() {
        End::Top => "top",
        End::Bottom => "bottom",
    }
}

/// A source's name as shown; pairs may state none.
pub fn source_name(name: &str) -> String {
    if name.is_empty() { "(not stated)".to_owned() } else { name.to_owned() }
}

/// The position a key moves the selection to; `None` for keys that are not ours, or typed into a control.
fn moved(state: State, event: &KeyboardEvent, (height_px, last): (RwSignal<f64>, StoredValue<usize>)) -> Option<usize> {
    if event.ctrl_key() || event.meta_key() || event.alt_key() {
        return None;
    }
    let target = event.target()?;
    if super::keys::is_taken(&target) {
        return None;
    }
    let in_table = target.dyn_ref::<web_sys::Element>().is_some_and(|e| e.closest("#table").ok().flatten().is_some());
    let end = untrack(|| state.n_listed()).checked_sub(1)?;
    let at = untrack(|| state.position());
    // In the place of a pair that went stands the next one.
    let (before, after) = match (at, state.row.get_untracked()) {
        (Some(at), _) => (at.saturating_sub(1), at + 1),
        (None, Some(_)) => (last.get_value().saturating_sub(1), last.get_value()),
        (None, None) => (0, 0),
    };
    let page = (height_px.get_untracked() / ROW_PX) as usize;
    // Letters work anywhere in the page; keys that scroll elsewhere belong to the table only while it has the focus.
    let key = event.key();
    // Caps Lock makes letters large, too; with the shift key they mean something else.
    match key.to_lowercase().as_str() {
        "j" if !event.shift_key() => return Some(after.min(end)),
        "k" if !event.shift_key() => return Some(before.min(end)),
        _ if !in_table => return None,
        _ => {}
    }
    match key.as_str() {
        "ArrowDown" => Some(after),
        "ArrowUp" => Some(before),
        "PageDown" => Some(at.map_or(0, |at| at + page)),
        "PageUp" => Some(at.map_or(0, |at| at.saturating_sub(page))),
        "Home" => Some(0),
        "End" => Some(end),
        "Enter" if at.is_none() => Some(0),
        _ => None,
    }
    .map(|place| place.min(end))
}

fn observe_height(scroller: NodeRef<html::Div>, height_px: RwSignal<f64>) {
    Effect::new(move || {
        let Some(scroller) = scroller.get() else { return };
        let element = scroller.clone();
        let measure = Closure::<dyn Fn()>::new(move || height_px.set(f64::from(element.client_height())));
        if let Ok(observer) = ResizeObserver::new(measure.as_ref().unchecked_ref()) {
            observer.observe(&scroller);
        }
        // Lives as long as the table, which is as long as the page.
        measure.forget();
    });
}
