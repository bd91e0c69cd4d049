//! Deciding about the selected pair: keep, drop or switch, with a note.

use leptos::prelude::*;
use web_sys::KeyboardEvent;
use whence_shared::edit::Decision;

use super::keys::NOTE_ID;
use crate::decisions::{Decisions, NotKept};

/// Longest note in characters.
const MAX_NOTE_CHARS: &str = "1000";

/// Buttons, the note and what happened last.
#[component]
pub fn Decide(row: u32) -> impl IntoView {
    let decisions = Decisions::here();
    let decided = Memo::new(move |_| decisions.of(row));
    let button =
        move |action: Decision, text: &'static str, key: &'static str, shown: &'static str, what: &'static str| {
            let is_chosen = move || decided.with(|decided| decided.as_ref().is_some_and(|d| d.action == action));
            view! {
                <button
                    type="button"
                    id=format!("decide-{}", action.name())
                    class=format!("decision-button {}", action.name())
                    aria-pressed=move || is_chosen().to_string()
                    aria-keyshortcuts=key
                    title=format!("{what} ({shown}); press again to take it back")
                    on:click=move |_| decisions.toggle(row, action)
                >
                    {text}
                    <kbd aria-hidden="true">{shown}</kbd>
                </button>
            }
        };
    let on_key = move |event: KeyboardEvent| {
        if matches!(event.key().as_str(), "Enter" | "Escape") {
            event.prevent_default();
            let input: web_sys::HtmlInputElement = event_target(&event);
            if event.key() == "Escape" {
                input.set_value(&decided.get_untracked().map(|decided| decided.note).unwrap_or_default());
            }
            // Leaving the field takes the note in, and lets keys work again.
            let _ = input.blur();
        }
    };
    view! {
        <section class="decide" aria-label="Decision about this pair">
            <div class="decision-buttons" role="group" aria-label="Decision">
                {button(Decision::Keep, "Keep", "Shift+K", "⇧K", "Train on the pair as it is")}
                {button(Decision::Drop, "Drop", "D", "D", "Leave the pair out")}
                {button(Decision::Switch, "Switch", "S", "S", "Swap chosen and rejected")}
            </div>
            <input
                id=NOTE_ID
                type="text"
                aria-label="Note about this pair"
                aria-keyshortcuts="N"
                placeholder="note (N)"
                maxlength=MAX_NOTE_CHARS
                autocomplete="off"
                prop:value=move || decided.with(|decided| decided.as_ref().map(|d| d.note.clone()).unwrap_or_default())
                on:change=move |event| decisions.note(row, event_target_value(&event).trim())
                on:keydown=on_key
            />
            <NotKeptNotice />
        </section>
    }
}

/// Says so where decisions are not kept.
#[component]
pub fn NotKeptNotice() -> impl IntoView {
    let decisions = Decisions::here();
    move || {
        let text = decisions.not_kept.with(|error| error.as_ref().map(NotKept::text))?;
        Some(view! { <p class="problem" role="alert" id="not-kept">{text}</p> })
    }
}

/// What was decided last, for readers who cannot see it.
#[component]
pub fn Said() -> impl IntoView {
    let decisions = Decisions::here();
    view! { <p class="unseen" role="status" id="said">{move || decisions.said.get()}</p> }
}
