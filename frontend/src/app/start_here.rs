//! A way to the form that starts a verb, where what it makes is missing: beside a command line, on pages whose server runs jobs.

use leptos::prelude::*;

use crate::address::Page;
use crate::api::Api;
use crate::state::State;

/// The button; nothing where there is no server that runs jobs.
#[component]
pub fn StartHere(
    /// One of `whence_shared::jobs::VERBS`.
    verb: &'static str,
) -> impl IntoView {
    let (state, api) = (State::here(), Api::here());
    move || {
        api.offers(Page::Jobs).then(|| {
            view! {
                <button type="button" class="start-here" on:click=move |_| state.open_start(verb)>
                    {format!("Start {verb} here…")}
                </button>
            }
        })
    }
}
