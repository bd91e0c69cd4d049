//! A modal dialog: the browser holds the focus in it while it is open, and gives it back when it closes.

use leptos::html;
use leptos::prelude::*;

/// A dialog that follows `is_open`. Esc and a click beside it close it.
#[component]
pub fn Dialog(
    /// Whether it is open.
    is_open: RwSignal<bool>,
    /// Its id and class.
    id: &'static str,
    /// What it is called, where no heading says it.
    #[prop(optional)]
    label: Option<&'static str>,
    /// Id of the heading that says what it is called.
    #[prop(optional)]
    labelled_by: Option<&'static str>,
    children: Children,
) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    Effect::new(move || {
        let (Some(dialog), is_open) = (dialog.get(), is_open.get()) else { return };
        match is_open {
            true if !dialog.open() => drop(dialog.show_modal()),
            false if dialog.open() => dialog.close(),
            _ => {}
        }
    });
    view! {
        <dialog
            class=id
            id=id
            aria-label=label
            aria-labelledby=labelled_by
            node_ref=dialog
            on:close=move |_| is_open.set(false)
            // A click on the backdrop is one on the dialog itself.
            on:click=move |event| {
                if event.target() == event.current_target() {
                    is_open.set(false);
                }
            }
        >
            {children()}
        </dialog>
    }
}
