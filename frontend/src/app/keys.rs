//! Keys that work anywhere on a page, beside those of the table: the palette and the list of keys, decisions about the selected
//! pair, undo and redo.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{
    Element, EventTarget, HtmlElement, HtmlInputElement, HtmlSelectElement, HtmlTextAreaElement, KeyboardEvent,
};
use whence_shared::edit::Decision;

use super::Surroundings;
use crate::address::Page;
use crate::state::State;

/// Id of the field for a note about the selected pair.
pub const NOTE_ID: &str = "note";

/// Whether what a key is pressed in takes letters itself.
fn is_typed_into(target: &EventTarget) -> bool {
    if let Some(input) = target.dyn_ref::<HtmlInputElement>() {
        return !matches!(input.type_().as_str(), "checkbox" | "radio" | "button" | "range");
    }
    target.has_type::<HtmlSelectElement>() || target.has_type::<HtmlTextAreaElement>()
}

/// Whether keys pressed there mean something else: what is typed into, and all of an open dialog.
pub fn is_taken(target: &EventTarget) -> bool {
    let in_dialog = |element: &Element| element.closest("dialog").ok().flatten().is_some();
    is_typed_into(target) || target.dyn_ref::<Element>().is_some_and(in_dialog)
}

/// Listens for the keys. Called once, by the root component.
pub fn listen(around: Surroundings) {
    let listener = window_event_listener(leptos::ev::keydown, move |event| {
        if on_key(around, &event) {
            event.prevent_default();
        }
    });
    on_cleanup(move || listener.remove());
}

/// Whether the key was one of ours.
fn on_key(around: Surroundings, event: &KeyboardEvent) -> bool {
    // Caps Lock makes letters large, too: what the shift key does, it alone does.
    let (key, is_command) = (event.key().to_lowercase(), event.ctrl_key() || event.meta_key());
    if is_command && key == "k" && !event.alt_key() {
        around.help.set(false);
        around.palette.update(|is_open| *is_open = !*is_open);
        return true;
    }
    if event.target().is_some_and(|target| is_taken(&target)) {
        return false;
    }
    match (key.as_str(), is_command, event.shift_key()) {
        ("z", true, false) if shows_decisions(around.state) => around.decisions.undo(),
        ("z", true, true) | ("y", true, false) if shows_decisions(around.state) => around.decisions.redo(),
        _ if is_command || event.alt_key() => return false,
        ("?", ..) => around.help.set(true),
        ("/", ..) if around.state.page.get_untracked() == Page::Ranking => focus(around.state, "text-filter"),
        ("c", ..) => around.covers.toggle(),
        ("t", ..) => around.tokens.show(!around.tokens.is_shown.get_untracked()),
        _ => return on_decision(around, &key, event.shift_key()),
    }
    true
}

/// Whether what is undone or done again can be seen on the page that is shown.
fn shows_decisions(state: State) -> bool {
    matches!(state.page.get_untracked(), Page::Ranking | Page::Map | Page::Edit)
}

/// Keys that decide about the selected pair.
fn on_decision(around: Surroundings, key: &str, is_shifted: bool) -> bool {
    let Surroundings { state, decisions, .. } = around;
    // A pair that cannot be seen is not decided about.
    let page = state.page.get_untracked();
    let Some(row) = state.row.get_untracked().filter(|_| matches!(page, Page::Ranking | Page::Map)) else {
        return false;
    };
    match key {
        // Without the shift key it goes to the pair before.
        "k" if is_shifted => decisions.toggle(row, Decision::Keep),
        "d" => decisions.toggle(row, Decision::Drop),
        "s" => decisions.toggle(row, Decision::Switch),
        "n" => focus_here(NOTE_ID),
        _ => return false,
    }
    true
}

/// Gives the focus to something on the ranking's page, once it is there.
pub fn focus(state: State, id: &'static str) {
    state.open_page(Page::Ranking);
    focus_here(id);
}

/// Gives the focus to something on the page that is shown, once it is there.
pub fn focus_here(id: &'static str) {
    request_animation_frame(move || {
        if let Some(found) = document().get_element_by_id(id).and_then(|found| found.dyn_into::<HtmlElement>().ok()) {
            // What cannot have the focus leaves it where it is.
            let _ = found.focus();
        }
    });
}
