//! Deciding about the selected pair: keep, drop or switch, with a note.

use leptos::prelude::*;
use web_sys::KeyboardEvent;
use whence_shared::edit::Decision;

use super::keys::NOTE_ID;
use crate::decisions::{Decisions, NotKept};
use crate::number::counted;

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
            <Keeping />
        </section>
    }
}

/// Says where decisions are not kept, that others decided too, and what this browser kept from before.
#[component]
pub fn Keeping() -> impl IntoView {
    let decisions = Decisions::here();
    let not_kept = move || {
        let text = decisions.not_kept.with(|error| error.as_ref().map(NotKept::text))?;
        Some(view! { <p class="problem" role="alert" id="not-kept">{text}</p> })
    };
    let notice = move || {
        let text = decisions.notice.get()?;
        Some(view! { <p class="keeping" role="status" id="decisions-notice">{text}</p> })
    };
    let offer = move || {
        let offer = decisions.offer.get()?;
        let (n, other) = (counted(offer.n_pairs(), "pair", "pairs"), offer.n_other);
        let other = match other {
            0 => String::new(),
            n => format!(" About {} the backend has another decision, which stays.", counted(n, "more", "more")),
        };
        let text = format!("This browser kept decisions about {n} that the backend has none about.{other} ");
        Some(view! {
            <p class="keeping" role="note" id="kept-before">
                {text}
                <button type="button" id="take-over" on:click=move |_| decisions.answer_offer(true)>
                    "Take them over"
                </button>
                <button type="button" id="leave-kept" on:click=move |_| decisions.answer_offer(false)>
                    "Leave them"
                </button>
            </p>
        })
    };
    view! { {not_kept} {notice} {offer} }
}

/// What was decided last, for readers who cannot see it.
#[component]
pub fn Said() -> impl IntoView {
    let decisions = Decisions::here();
    view! { <p class="unseen" role="status" id="said">{move || decisions.said.get()}</p> }
}
