//! The way from page to page: links, so that they can be opened elsewhere, copied and read out.

use leptos::ev::MouseEvent;
use leptos::prelude::*;

use crate::address::Page;
use crate::state::State;

/// Whether a click on a link is one that the app follows itself; every other way to follow it is the browser's.
pub fn is_plain_click(event: &MouseEvent) -> bool {
    event.button() == 0 && !(event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key())
}

/// Links to the app's pages.
#[component]
pub fn Navigation() -> impl IntoView {
    let state = State::here();
    let link = move |page: Page, text: &'static str| {
        let on_click = move |event: MouseEvent| {
            if is_plain_click(&event) {
                event.prevent_default();
                state.open_page(page);
                window().scroll_to_with_x_and_y(0.0, 0.0);
            }
        };
        view! {
            <a
                href=move || state.link_to(page)
                aria-current=move || (state.page.get() == page).then_some("page")
                on:click=on_click
            >
                {text}
            </a>
        }
    };
    view! {
        <nav class="pages" aria-label="Pages">
            {link(Page::Ranking, "Ranking")} {link(Page::Map, "Map")}
            {link(Page::Discover, "Discover")} {link(Page::Validate, "Validate")}
        </nav>
    }
}
