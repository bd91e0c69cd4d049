//! The Edit page: what was decided about pairs, rules that decide about many at once, what that does to the data, and files for
//! trainers and for `whence edit`.

mod effect;
mod export;
mod history;
mod rules;
mod sets;
mod worklist;

use leptos::prelude::*;
use whence_shared::edit::Decision;

use super::decide::Keeping;
use super::notice::Notices;
use crate::api::{Api, ServerStatus};
use crate::decisions::{Decisions, Keeper};
use crate::number::counted;
use crate::state::{State, StudyStatus, View};

/// The page.
#[component]
pub fn EditPage() -> impl IntoView {
    let state = State::here();
    let decisions = Decisions::here();
    let is_empty = Memo::new(move |_| decisions.list.with(|list| list.is_empty()));
    let is_ready = Memo::new(move |_| matches!(state.study.get(), StudyStatus::Ready(_)));
    let api = Api::here();
    let has_server = Memo::new(move |_| matches!(api.server.get(), ServerStatus::Ready(_)));
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
                    <Keeping />
                    <div class="edit-panes">
                        <div>
                            <worklist::WorklistTable />
                            <Show when=move || !is_empty.get()>
                                <effect::EffectOfDecisions />
                            </Show>
                        </div>
                        <div>
                            <rules::Rules />
                            <Show when=move || has_server.get()>
                                <sets::Sets />
                            </Show>
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
    let (next_undo, next_redo) = (Memo::new(move |_| decisions.next_undo()), Memo::new(move |_| decisions.next_redo()));
    let kept_by = move || {
        let n_lost = decisions.known.with(|known| known.as_ref().map_or(0, |known| known.n_lost));
        match (decisions.keeper.get(), decisions.n_unsent.get(), n_lost) {
            (Keeper::Unknown, ..) => String::new(),
            (Keeper::Browser, ..) if decisions.not_kept.with(Option::is_some) => "not kept".to_owned(),
            (Keeper::Browser, ..) => "kept by this browser".to_owned(),
            (Keeper::Server, 0, 0) => "kept by the backend".to_owned(),
            (Keeper::Server, 0, n) => {
                format!(
                    "kept by the backend, with {} about pairs that the study no longer has",
                    crate::number::count(n)
                )
            }
            (Keeper::Server, n, _) => format!("{} on the way to the backend", counted(n, "change", "changes")),
        }
    };
    view! {
        <header class="edit-head">
            <h2>
                <span id="n-decided">{move || counted(n(), "decision", "decisions")}</span>
                <span class="quiet" id="decided-counts">{counts}</span>
                <span class="quiet" id="kept-by">{kept_by}</span>
            </h2>
            <div class="edit-actions">
                <button
                    type="button"
                    id="undo"
                    title=move || next_undo.get().map_or_else(|| "Nothing to undo".to_owned(), |w| format!("Undo: {w}"))
                    aria-keyshortcuts="Control+Z"
                    disabled=move || next_undo.with(Option::is_none)
                    on:click=move |_| decisions.undo()
                >
                    "Undo"
                </button>
                <button
                    type="button"
                    id="redo"
                    title=move || next_redo.get().map_or_else(|| "Nothing to redo".to_owned(), |w| format!("Redo: {w}"))
                    aria-keyshortcuts="Control+Shift+Z"
                    disabled=move || next_redo.with(Option::is_none)
                    on:click=move |_| decisions.redo()
                >
                    "Redo"
                </button>
            </div>
        </header>
    }
}
