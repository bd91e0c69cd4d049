//! Edit sets: making one of the decisions, those that there are, and how to train on them. Only where a backend keeps them.

use leptos::prelude::*;
use whence_shared::api::EditSetView;
use whence_shared::edit::Decision;

use super::super::copy::Copy;
use super::worklist::pairs;
use crate::decisions::{Decisions, Keeper};
use crate::edit_sets::{EditSets, Making, SetsStatus, name_problem};
use crate::number::count;
use crate::state::State;

/// The section.
#[component]
pub fn Sets() -> impl IntoView {
    let (decisions, sets) = (Decisions::here(), EditSets::here());
    let can_make = Memo::new(move |_| decisions.keeper.get() == Keeper::Server);
    let list = move || match sets.sets.get() {
        SetsStatus::Loading => view! { <p class="quiet">"Reading edit sets…"</p> }.into_any(),
        SetsStatus::Failed(error) => view! {
            <p class="problem" role="alert">
                {format!("Edit sets did not arrive: {error}. ")}
                <button type="button" on:click=move |_| sets.read()>
                    "Try again"
                </button>
            </p>
        }
        .into_any(),
        SetsStatus::Ready(all) if all.is_empty() => {
            view! { <p class="quiet">"There is no edit set yet."</p> }.into_any()
        }
        SetsStatus::Ready(all) => view! { <ListOfSets all /> }.into_any(),
    };
    view! {
        <section class="edit-sets" id="edit-sets" aria-labelledby="edit-sets-title">
            <h2 id="edit-sets-title">"Edit sets"</h2>
            <p class="about">"Decisions under a name, as they are now: a model is trained on the pairs that they leave."</p>
            <Show when=move || can_make.get()>
                <Make />
            </Show>
            {list}
        </section>
    }
}

/// The form with what came of it.
#[component]
fn Make() -> impl IntoView {
    let (decisions, sets) = (Decisions::here(), EditSets::here());
    let name = RwSignal::new(String::new());
    let n_edits = Memo::new(move |_| decisions.list.with(|list| list.n(Decision::Drop) + list.n(Decision::Switch)));
    let reason = move || match (n_edits.get(), decisions.n_unsent.get(), name.with(|name| name_problem(name))) {
        (0, ..) => Some("Nothing is to be dropped or switched yet."),
        (_, 1.., _) => Some("Waiting until the backend has all decisions."),
        (_, _, Some(problem)) => Some(problem),
        _ => None,
    };
    let is_working = Memo::new(move |_| sets.making.get() == Making::Working);
    let make = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        if untrack(reason).is_none() && !is_working.get_untracked() {
            sets.make(name.get_untracked(), false);
        }
    };
    view! {
        <form class="make-set" on:submit=make>
            <input
                id="set-name"
                type="text"
                aria-label="Name of the edit set"
                placeholder="name, such as by-hand"
                autocomplete="off"
                spellcheck="false"
                maxlength="64"
                on:input=move |event| {
                    name.set(event_target_value(&event).trim().to_owned());
                    sets.making.set(Making::Nothing);
                }
            />
            <button
                type="submit"
                id="make-set"
                disabled=move || reason().is_some() || is_working.get()
                aria-describedby="make-set-reason"
            >
                "Make an edit set"
            </button>
        </form>
        <p class="quiet" id="make-set-reason">
            {reason}
        </p>
        {move || outcome(sets)}
    }
}

fn outcome(sets: EditSets) -> Option<AnyView> {
    Some(match sets.making.get() {
        Making::Nothing => return None,
        Making::Working => view! { <p class="quiet" role="status">"Making it…"</p> }.into_any(),
        Making::Failed(reason) => view! {
            <p class="problem" role="alert" id="set-problem">
                {format!("No edit set was made: {reason}")}
            </p>
        }
        .into_any(),
        Making::Exists(name) => {
            let text = format!("There is an edit set “{name}” already. ");
            view! {
                <p class="problem" role="alert" id="set-problem">
                    {text}
                    <button type="button" id="replace-set" on:click=move |_| sets.make(name.clone(), true)>
                        "Replace it"
                    </button>
                </p>
            }
            .into_any()
        }
        Making::Made(made) => {
            let warnings: Vec<_> = made.warnings.iter().map(|text| view! { <li>{text.clone()}</li> }).collect();
            view! {
                <div role="status" id="set-made">
                    <p>{format!("“{}” was made: {}.", made.name, counts(&made))}</p>
                    <ul class="warnings">{warnings}</ul>
                </div>
            }
            .into_any()
        }
    })
}

fn counts(set: &EditSetView) -> String {
    format!("{} dropped, {} switched of {}", count(set.n_dropped), count(set.n_switched), pairs(set.n_pairs))
}

#[component]
fn ListOfSets(all: Vec<EditSetView>) -> impl IntoView {
    let (state, sets) = (State::here(), EditSets::here());
    // The one that was just made, else the last one.
    let made = sets.making.with_untracked(|making| match making {
        Making::Made(made) => Some(made.name.clone()),
        _ => None,
    });
    let made = made.filter(|made| all.iter().any(|set| set.name == *made));
    let last = all.last().map(|set| set.name.clone()).unwrap_or_default();
    let chosen = RwSignal::new(made.unwrap_or(last));
    let line = move |set: EditSetView| {
        let (name, named) = (set.name.clone(), set.name.clone());
        let (how, shown) = (set.how.clone(), set.how.clone());
        view! {
            <tr data-set=set.name.clone()>
                <th scope="row">
                    <button
                        type="button"
                        class="pressable"
                        aria-pressed=move || (chosen.get() == named).to_string()
                        title="Show how to train on it"
                        on:click=move |_| chosen.set(name.clone())
                    >
                        {set.name.clone()}
                    </button>
                </th>
                <td class="end">{count(set.n_dropped)}</td>
                <td class="end">{count(set.n_switched)}</td>
                <td class="how" title=how>{shown}</td>
            </tr>
        }
    };
    let arm = Signal::derive(move || {
        let name = chosen.get();
        format!("[[arm]]\nname = \"{name}\"\nedit = \"{name}\"")
    });
    let train = Signal::derive(move || format!("whence retrain --study {} --plan plan.toml", state.study_name()));
    let export = Signal::derive(move || {
        let name = chosen.get();
        format!("whence export --study {} --edit {name} --out {name} --form trl", state.study_name())
    });
    view! {
        <div class="scroll">
            <table class="figures">
                <thead>
                    <tr>
                        <th scope="col">"Name"</th>
                        <th scope="col" class="end">"Dropped"</th>
                        <th scope="col" class="end">"Switched"</th>
                        <th scope="col">"Made of"</th>
                    </tr>
                </thead>
                <tbody>{all.into_iter().map(line).collect::<Vec<_>>()}</tbody>
            </table>
        </div>
        <div class="training" id="train-on">
            <p>
                "To train on " <strong>{move || chosen.get()}</strong> ", add it as an arm to a plan:"
                <Copy text=arm what="the arm" />
            </p>
            <pre>
                <code>{move || arm.get()}</code>
            </pre>
            <p>
                "and carry the plan out:" <Copy text=train what="the command that trains" />
            </p>
            <pre>
                <code>{move || train.get()}</code>
            </pre>
            <p>
                "Its pairs, for another trainer:" <Copy text=export what="the command that exports" />
            </p>
            <pre>
                <code>{move || export.get()}</code>
            </pre>
        </div>
    }
}
