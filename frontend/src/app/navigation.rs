//! The way from page to page: links, so that they can be opened elsewhere, copied and read out.

use leptos::ev::MouseEvent;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{HtmlElement, ScrollIntoViewOptions, ScrollLogicalPosition};

use crate::address::Page;
use crate::api::Api;
use crate::state::State;

/// Whether a click on a link is one that the app follows itself; every other way to follow it is the browser's.
pub fn is_plain_click(event: &MouseEvent) -> bool {
    event.button() == 0 && !(event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key())
}

/// What a click on a link to a page does: the page opens, seen from its top.
pub fn opens(state: State, page: Page) -> impl Fn(MouseEvent) + 'static {
    move |event| {
        if is_plain_click(&event) {
            event.prevent_default();
            state.open_page(page);
            window().scroll_to_with_x_and_y(0.0, 0.0);
        }
    }
}

/// Links to the app's pages.
#[component]
pub fn Navigation() -> impl IntoView {
    let (state, api) = (State::here(), Api::here());
    let link = move |page: Page| {
        view! {
            <a
                href=move || state.link_to(page)
                aria-current=move || (state.page.get() == page).then_some("page")
                on:click=opens(state, page)
            >
                {page.title()}
            </a>
        }
    };
    // Where the links are wider than the window, the page that is shown is in sight.
    Effect::new(move || {
        state.page.track();
        api.offers(Page::Jobs);
        request_animation_frame(|| {
            let link = document().query_selector(".pages a[aria-current]").ok().flatten();
            let options = ScrollIntoViewOptions::new();
            options.set_inline(ScrollLogicalPosition::Nearest);
            options.set_block(ScrollLogicalPosition::Nearest);
            if let Some(link) = link {
                link.scroll_into_view_with_scroll_into_view_options(&options);
            }
        });
    });
    view! {
        <nav class="pages" aria-label="Pages">
            {Page::ALL
                .map(|page| {
                    let is_offered = Memo::new(move |_| api.offers(page));
                    move || is_offered.get().then(|| link(page))
                })
                .collect_view()}
        </nav>
    }
}

/// The first thing that the Tab key reaches: past the header, to what the page is about.
#[component]
pub fn SkipLink() -> impl IntoView {
    let state = State::here();
    let on_click = move |event: MouseEvent| {
        event.prevent_default();
        let main = document().query_selector("main:not([hidden])").ok().flatten();
        if let Some(main) = main.and_then(|main| main.dyn_into::<HtmlElement>().ok()) {
            // Every page's main can have the focus.
            let _ = main.focus();
        }
    };
    view! {
        <a class="skip" href=move || format!("#{}", state.page.get().name()) on:click=on_click>
            "Skip to the page"
        </a>
    }
}
