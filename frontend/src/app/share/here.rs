//! The address of what is looked at: everything a reader chose is in it.

use leptos::ev::FocusEvent;
use leptos::prelude::*;
use web_sys::{HtmlInputElement, Url};

use crate::address::Page;
use crate::api::{Api, ServerStatus};
use crate::app::copy::Copy;
use crate::state::State;

/// The section.
#[component]
pub fn Here() -> impl IntoView {
    let (state, api) = (State::here(), Api::here());
    let page = RwSignal::new(state.came_from.get_untracked());
    let address = Signal::derive(move || state.link_for_others(page.get()).unwrap_or_default());
    let options = Page::ALL
        .into_iter()
        .filter(|page| page.is_of_study())
        .map(|of| {
            view! {
                <option value=of.name() prop:selected=move || page.get() == of>
                    {of.title()}
                </option>
            }
        })
        .collect_view();
    let on_change = move |event| {
        let name = event_target_value(&event);
        if let Some(chosen) = Page::ALL.into_iter().find(|page| page.name() == name) {
            page.set(chosen);
            // A link opens at this page, too.
            state.came_from.set(chosen);
        }
    };
    let is_here_alone = move || matches!(api.server.get(), ServerStatus::Ready(_)) && is_loopback(&address.get());
    view! {
        <section class="here" id="here" aria-labelledby="here-title">
            <h2 id="here-title">"This view"</h2>
            <p class="about">
                "Behavior, layer, filter, selected pair: everything that is chosen is in the address. Whoever opens it where this page is served sees the same."
            </p>
            <div class="address">
                <select id="view-page" aria-label="Page" on:change=on_change>
                    {options}
                </select>
                <AddressInput id="view-address" label="Address of this view" address />
                <Copy text=address what="the address" shows="Copy" />
            </div>
            <Show when=is_here_alone>
                <p class="quiet" id="here-alone">
                    "This address is of this machine alone. For others, make a read-only link or a bundle."
                </p>
            </Show>
        </section>
    }
}

/// An address to be read and copied, selected as a whole when it is gone into.
#[component]
pub fn AddressInput(id: &'static str, label: &'static str, #[prop(into)] address: Signal<String>) -> impl IntoView {
    let select_all = |event: FocusEvent| event_target::<HtmlInputElement>(&event).select();
    view! {
        <input
            id=id
            type="text"
            readonly
            aria-label=label
            prop:value=move || address.get()
            on:focus=select_all
        />
    }
}

/// Whether an address names the machine it is used on.
pub fn is_loopback(address: &str) -> bool {
    let host = Url::new(address).map(|url| url.hostname()).unwrap_or_default();
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}
