//! The worklist: every pair that somebody decided about, with its rank, source and note.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};
use whence_shared::edit::worklist::Decided;

use crate::address::Page;
use crate::app::keys::focus_here;
use crate::app::navigation::is_plain_click;
use crate::app::table::{decision_sign, source_name};
use crate::covers::Covers;
use crate::decisions::Decisions;
use crate::number::{count, counted, score};
use crate::state::{State, StudyStatus};

/// Lines shown at first, and more each time they are asked for.
const N_LINES: usize = 20;

/// The table; a hint where nothing was decided.
#[component]
pub fn WorklistTable() -> impl IntoView {
    let state = State::here();
    let decisions = Decisions::here();
    let n_shown = RwSignal::new(N_LINES);
    // By rank where there is a ranking, else by row.
    let rows = Memo::new(move |_| {
        let mut rows: Vec<u32> = decisions.list.with(|list| list.iter().map(|(row, _)| row).collect());
        state.ranking.with(|ranking| {
            if let Some(ranking) = ranking {
                rows.sort_by_key(|row| ranking.place_of(*row));
            }
        });
        rows
    });
    let n = Memo::new(move |_| rows.with(Vec::len));
    let shown = move || rows.with(|rows| rows[..rows.len().min(n_shown.get())].to_vec());
    view! {
        <section class="worklist" aria-labelledby="worklist-title">
            <h2 id="worklist-title" tabindex="-1">"Worklist"</h2>
            <Show when=move || n.get() != 0 fallback=Empty>
                <div class="scroll">
                    <table id="worklist">
                        <thead>
                            <tr>
                                <th scope="col">"Decision"</th>
                                <th scope="col" class="end">"Rank"</th>
                                <th scope="col" class="end">"Score"</th>
                                <th scope="col">"Pair"</th>
                                <th scope="col">"Source"</th>
                                <th scope="col">"Note"</th>
                                <th scope="col"><span class="unseen">"Take back"</span></th>
                            </tr>
                        </thead>
                        <tbody>
                            <For each=shown key=|row| *row let(row)>
                                <Line row />
                            </For>
                        </tbody>
                    </table>
                </div>
                <Show when=move || { n_shown.get() < n.get() }>
                    <p>
                        <button
                            type="button"
                            id="more"
                            on:click=move |_| n_shown.update(|shown| *shown += 5 * N_LINES)
                        >
                            {move || format!("Show more ({} left)", count(n.get() - n_shown.get().min(n.get())))}
                        </button>
                    </p>
                </Show>
            </Show>
        </section>
    }
}

#[component]
fn Empty() -> impl IntoView {
    let state = State::here();
    let on_click = move |event: leptos::ev::MouseEvent| {
        if is_plain_click(&event) {
            event.prevent_default();
            state.open_page(Page::Ranking);
        }
    };
    view! {
        <p class="about">
            "Nothing was decided yet. Read pairs in the "
            <a href=move || state.link_to(Page::Ranking) on:click=on_click>
                "ranking"
            </a>
            " and press " <kbd>"D"</kbd> " to drop, " <kbd>"S"</kbd> " to switch or " <kbd>"⇧K"</kbd>
            " to keep one, or apply a rule."
        </p>
    }
}

#[component]
fn Line(row: u32) -> impl IntoView {
    let state = State::here();
    let decisions = Decisions::here();
    let covers = Covers::here();
    let decided = Memo::new(move |_| decisions.of(row).unwrap_or_default());
    let columns = move || state.row_chunk(row);
    let ranked = move || {
        state.ranking.with(|ranking| {
            let ranking = ranking.as_ref()?;
            Some((ranking.place_of(row)? + 1, *ranking.scores.get(row as usize)?))
        })
    };
    let source = move || {
        let (chunk, i) = columns()?;
        let StudyStatus::Ready(study) = state.study.get() else { return None };
        study.sources.get(chunk.source[i] as usize).map(|source| source_name(&source.name))
    };
    let id = move || columns().map_or_else(|| format!("row {row}"), |(chunk, i)| chunk.id[i].clone());
    let snippet = move || columns().filter(|_| !covers.is_on.get()).map(|(chunk, i)| chunk.snippet[i].clone());
    let sign = move || {
        let Decided { action, .. } = decided.get();
        let (letter, class) = decision_sign(action);
        view! {
            <span class=class aria-hidden="true">
                {letter}
            </span>
            <span>{action.name()}</span>
        }
    };
    let on_click = move |event: leptos::ev::MouseEvent| {
        if is_plain_click(&event) {
            event.prevent_default();
            state.show_pair(row);
        }
    };
    let take_back = move |event: leptos::ev::MouseEvent| {
        keep_focus(&event);
        decisions.decide(&format!("take back the decision about row {row}"), [(row, None)]);
    };
    view! {
        <tr data-row=row data-action=move || decided.get().action.name()>
            <td class="signed">{sign}</td>
            <td class="end">{move || ranked().map(|(rank, _)| count(rank))}</td>
            <td class="end">{move || ranked().map(|(_, value)| score(value))}</td>
            <td class="pair">
                <a href=move || state.link_to_pair(Page::Ranking, row) title=snippet on:click=on_click>
                    {id}
                </a>
                <span class="quiet snippet" dir="auto">{snippet}</span>
            </td>
            <td>{source}</td>
            <td class="note">
                <input
                    type="text"
                    aria-label=move || format!("Note about {}", id())
                    maxlength="1000"
                    autocomplete="off"
                    prop:value=move || decided.get().note
                    on:change=move |event| decisions.note(row, event_target_value(&event).trim())
                />
            </td>
            <td>
                <button type="button" class="plain" aria-label=move || format!("Take back: {}", id()) on:click=take_back>
                    "×"
                </button>
            </td>
        </tr>
    }
}

/// Gives the focus to the button of the next line, which takes the place of this one, or else to the heading.
fn keep_focus(event: &leptos::ev::MouseEvent) {
    let line = event_target::<Element>(event).closest("tr").ok().flatten();
    let next = line.and_then(|line| line.next_element_sibling()?.query_selector("button").ok()?);
    match next.and_then(|next| next.dyn_into::<HtmlElement>().ok()) {
        // Of what cannot have the focus nothing is lost.
        Some(next) => drop(next.focus()),
        None => focus_here("worklist-title"),
    }
}

/// `3 pairs` where that many are there.
pub fn pairs(n: usize) -> String {
    counted(n, "pair", "pairs")
}
