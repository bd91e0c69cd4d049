//! The way from page to page: links, so that they can be opened elsewhere, copied and read out.

use leptos::ev::MouseEvent;
use leptos::prelude::*;

use crate::address::Page;
use crate::state::State;

/// Links to the app's pages.
#[component]
pub fn Navigation() -> impl IntoView {
    let state = State::here();
    let link = move |page: Page, text: &'static str| {
        let on_click = move |event: MouseEvent| {
            // Every other way to follow a link is the browser's.
            let is_plain = !(event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key());
            if is_plain && event.button() == 0 {
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
            {link(Page::Ranking, "Ranking")} {link(Page::Discover, "Discover")}
            {link(Page::Validate, "Validate")}
        </nav>
    }
}
