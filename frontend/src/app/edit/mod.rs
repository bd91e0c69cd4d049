//! The Edit page: what was decided about pairs, rules that decide about many at once, what that does to the data, and files for
//! trainers and for `whence edit`.

mod effect;
mod export;
mod history;
mod rules;
mod worklist;

use leptos::prelude::*;
use whence_shared::edit::Decision;

use super::decide::NotKeptNotice;
use super::notice::Notices;
use crate::decisions::Decisions;
use crate::number::counted;
use crate::state::{State, StudyStatus, View};

/// The page.
#[component]
pub fn EditPage() -> impl IntoView {
    let state = State::here();
    let decisions = Decisions::here();
    let is_empty = Memo::new(move |_| decisions.list.with(|list| list.is_empty()));
    let is_ready = Memo::new(move |_| matches!(state.study.get(), StudyStatus::Ready(_)));
    let has_view = Memo::new(move |_| matches!(state.view.get(), View::Ready { .. }));
    view! {
        <main class="column-page edit" id="edit" tabindex="-1" aria-label="Decisions about pairs">
            <div class="column">
                // Without a ranking there are still decisions to look at.
                <Show when=move || !has_view.get()>
                    <Notices />
                </Show>
                <Show when=move || is_ready.get()>
                    <Head />
                    <NotKeptNotice />
                    <div class="edit-panes">
                        <div>
                            <worklist::WorklistTable />
                            <Show when=move || !is_empty.get()>
                                <effect::EffectOfDecisions />
                            </Show>
                        </div>
                        <div>
                            <rules::Rules />
                            <export::Export />
                            <history::History />
                        </div>
                    </div>
                </Show>
            </div>
        </main>
    }
}

/// How many pairs are decided about, and how; undo and redo.
#[component]
fn Head() -> impl IntoView {
    let decisions = Decisions::here();
    let n = move || decisions.list.with(|list| list.len());
    let counts = move || {
        decisions.list.with(|list| {
            [(Decision::Drop, "dropped"), (Decision::Switch, "switched"), (Decision::Keep, "kept")]
                .into_iter()
                .map(|(action, name)| format!("{} {name}", crate::number::count(list.n(action))))
                .collect::<Vec<_>>()
                .join(" · ")
        })
    };
    let can_undo = Memo::new(move |_| decisions.list.with(|list| list.n_done() > 0));
    let can_redo = Memo::new(move |_| decisions.list.with(|list| list.n_done() < list.changes().len()));
    let next = move |forward: bool| {
        decisions.list.with(|list| {
            let at = if forward { Some(list.n_done()) } else { list.n_done().checked_sub(1) };
            at.and_then(|at| list.changes().get(at)).map(|change| change.what.clone())
        })
    };
    view! {
        <header class="edit-head">
            <h2>
                <span id="n-decided">{move || counted(n(), "decision", "decisions")}</span>
                <span class="quiet" id="decided-counts">{counts}</span>
            </h2>
            <div class="edit-actions">
                <button
                    type="button"
                    id="undo"
                    title=move || next(false).map_or_else(|| "Nothing to undo".to_owned(), |w| format!("Undo: {w}"))
                    aria-keyshortcuts="Control+Z"
                    disabled=move || !can_undo.get()
                    on:click=move |_| decisions.undo()
                >
                    "Undo"
                </button>
                <button
                    type="button"
                    id="redo"
                    title=move || next(true).map_or_else(|| "Nothing to redo".to_owned(), |w| format!("Redo: {w}"))
                    aria-keyshortcuts="Control+Shift+Z"
                    disabled=move || !can_redo.get()
                    on:click=move |_| decisions.redo()
                >
                    "Redo"
                </button>
            </div>
        </header>
    }
}
