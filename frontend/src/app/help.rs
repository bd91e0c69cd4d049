//! The keys, in a dialog: `?` opens it.

use leptos::prelude::*;

use super::dialog::Dialog;

/// What keys do, in groups.
const KEYS: [(&str, &[(&str, &str)]); 4] = [
    (
        "Everywhere",
        &[
            ("?", "this list"),
            ("Ctrl K or ⌘ K", "commands: pages, behaviors, pairs"),
            ("/", "filter by text"),
            ("C", "cover or show texts"),
            ("Esc", "close what is open"),
        ],
    ),
    (
        "Ranking",
        &[
            ("j, k", "next, previous pair"),
            ("↓ ↑ PgDn PgUp Home End", "move, with the focus in the table"),
            ("T", "tint tokens by what they add to the score"),
        ],
    ),
    (
        "Decisions",
        &[
            ("⇧K", "keep the pair"),
            ("D", "drop it"),
            ("S", "switch chosen and rejected"),
            ("N", "note about it"),
            ("Ctrl Z, Ctrl ⇧ Z", "undo, redo (Ranking, Map, Edit)"),
        ],
    ),
    (
        "Charts",
        &[
            ("drag", "show the pairs gone over alone"),
            ("click", "go to these scores in the table"),
            ("↓ ↑ ← → Home End, Enter", "choose a cell of Discover’s matrix, open its pair"),
        ],
    ),
];

/// The dialog.
#[component]
pub fn Help(
    /// Whether it is open.
    is_open: RwSignal<bool>,
) -> impl IntoView {
    let group = |(name, keys): (&'static str, &'static [(&'static str, &'static str)])| {
        let lines: Vec<_> = keys
            .iter()
            .map(|(key, what)| {
                view! {
                    <dt>
                        <kbd>{*key}</kbd>
                    </dt>
                    <dd>{*what}</dd>
                }
            })
            .collect();
        view! {
            <section>
                <h3>{name}</h3>
                <dl>{lines}</dl>
            </section>
        }
    };
    view! {
        <Dialog is_open id="help" labelled_by="help-title">
            <header>
                <h2 id="help-title">"Keys"</h2>
                <button type="button" autofocus on:click=move |_| is_open.set(false)>
                    "Close"
                </button>
            </header>
            <div class="groups">{KEYS.map(group).collect_view()}</div>
        </Dialog>
    }
}
