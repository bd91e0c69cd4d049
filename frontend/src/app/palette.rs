//! The command palette (Ctrl K, ⌘ K): pages, behaviors, layers, pairs by id or row, and what can be done, found by typing. A
//! combobox over a list, in a dialog of the browser's own.

mod commands;

use leptos::prelude::*;
use web_sys::KeyboardEvent;

use self::commands::{AskedPair, Command, commands, fitting};
use super::dialog::Dialog;
use crate::app::Surroundings;

/// Commands shown at a time.
const N_SHOWN: usize = 9;

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// A pair that was asked for.
    Pair(AskedPair),
    /// A command, by its place among all.
    Command(usize),
}

/// The palette; nothing is in the page while it is closed.
#[component]
pub fn Palette(
    /// Whether it is open.
    is_open: RwSignal<bool>,
) -> impl IntoView {
    view! {
        <Dialog is_open id="palette" label="Commands">
            <Show when=move || is_open.get()>
                <Search is_open />
            </Show>
        </Dialog>
    }
}

#[component]
fn Search(is_open: RwSignal<bool>) -> impl IntoView {
    let around = Surroundings::here();
    let typed = RwSignal::new(String::new());
    let chosen = RwSignal::new(0usize);
    let all = StoredValue::new_local(untrack(|| commands(around)));
    let found = Memo::new(move |_| {
        let typed = typed.get();
        let fitting = all.with_value(|all| fitting(all, &typed)).into_iter().take(N_SHOWN).map(Entry::Command);
        let asked = commands::pair_asked(around, &typed);
        let is_first = asked.as_ref().is_some_and(AskedPair::is_certain);
        let pair = asked.map(Entry::Pair);
        let (first, last) = if is_first { (pair, None) } else { (None, pair) };
        first.into_iter().chain(fitting).chain(last).collect::<Vec<Entry>>()
    });
    let n_found = move || found.with(Vec::len);
    let run = move |at: usize| {
        is_open.set(false);
        match found.with_untracked(|found| found.get(at).cloned()) {
            Some(Entry::Pair(asked)) => commands::open_pair(around, asked),
            Some(Entry::Command(index)) => {
                let run = all.with_value(|all| all[index].run.clone());
                // After the dialog has closed and given the focus back.
                set_timeout(move || run(), std::time::Duration::ZERO);
            }
            None => {}
        }
    };
    let on_key = move |event: KeyboardEvent| {
        let n = untrack(n_found);
        match event.key().as_str() {
            "ArrowDown" if n > 0 => chosen.update(|at| *at = (*at + 1) % n),
            "ArrowUp" if n > 0 => chosen.update(|at| *at = (*at + n - 1) % n),
            "Enter" if n > 0 => run(chosen.get_untracked()),
            _ => return,
        }
        event.prevent_default();
    };
    let line = move |at: usize, title: String, kind: &'static str, keys: &'static str| {
        view! {
            <li
                role="option"
                id=format!("command-{at}")
                aria-selected=move || (chosen.get() == at).to_string()
                on:pointermove=move |_| chosen.set(at)
                on:click=move |_| run(at)
            >
                <span class="title">{title}</span>
                <span class="quiet">{kind}</span>
                {(!keys.is_empty()).then(|| view! { <kbd>{keys}</kbd> })}
            </li>
        }
    };
    let lines = move || {
        let shown = |(at, entry): (usize, Entry)| match entry {
            Entry::Pair(asked) => line(at, asked.title(), "pair", ""),
            Entry::Command(index) => {
                let (title, kind, keys) = all.with_value(|all| {
                    let Command { title, kind, keys, .. } = &all[index];
                    (title.clone(), *kind, *keys)
                });
                line(at, title, kind, keys)
            }
        };
        found.get().into_iter().enumerate().map(shown).collect::<Vec<_>>()
    };
    view! {
        <input
            type="text"
            role="combobox"
            id="palette-input"
            autofocus
            aria-label="Command"
            aria-expanded="true"
            aria-controls="palette-list"
            aria-autocomplete="list"
            aria-activedescendant=move || format!("command-{}", chosen.get())
            placeholder="Page, behavior, layer, pair by id or row, action…"
            autocomplete="off"
            spellcheck="false"
            on:input=move |event| {
                typed.set(event_target_value(&event));
                chosen.set(0);
            }
            on:keydown=on_key
        />
        <ul role="listbox" id="palette-list" aria-label="Commands">
            {lines}
        </ul>
        <p class="quiet nothing-found" hidden=move || n_found() != 0>
            "Nothing of this name."
        </p>
    }
}
