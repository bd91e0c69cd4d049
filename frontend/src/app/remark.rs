//! What the reader should know, on whichever page: how the address was read, or that something was not found.

use leptos::prelude::*;

use super::keys::focus_here;
use crate::state::State;

/// A line under the header while there is something to say. It goes when something else is chosen, or is dismissed.
#[component]
pub fn Remark() -> impl IntoView {
    let state = State::here();
    let dismiss = move |_| {
        state.remark.set(None);
        // The button goes: the page itself is next.
        focus_here(state.page.get_untracked().name());
    };
    let line = move || {
        let text = state.remark.get()?;
        Some(view! {
            <p>{text}</p>
            <button
                type="button"
                id="dismiss"
                aria-label="Dismiss"
                title="Dismiss"
                on:click=dismiss
            >
                "×"
            </button>
        })
    };
    // It is there before it says anything: what is read out is what changes in it.
    view! {
        <div class="said" id="remark" role="status">
            {line}
        </div>
    }
}
