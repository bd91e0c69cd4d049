//! The button that copies a text, and says so for a moment.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen_futures::JsFuture;

/// How long it says that it was copied.
const SAID: Duration = Duration::from_millis(1600);

/// The button.
#[component]
pub fn Copy(
    /// What is copied.
    #[prop(into)]
    text: Signal<String>,
    /// What that is, for the button's name: `the hash`.
    what: &'static str,
    /// What the button shows.
    #[prop(default = "copy")]
    shows: &'static str,
) -> impl IntoView {
    let said = RwSignal::new(None::<bool>);
    let on_click = move |_| {
        let text = text.get_untracked();
        spawn_local(async move {
            // Absent on plain http beyond loopback, or forbidden.
            let clipboard = js_sys::Reflect::get(&window().navigator(), &"clipboard".into()).ok();
            let is_copied = match clipboard.filter(|clipboard| clipboard.is_object()) {
                Some(_) => JsFuture::from(window().navigator().clipboard().write_text(&text)).await.is_ok(),
                None => false,
            };
            said.try_set(Some(is_copied));
            set_timeout(
                move || {
                    said.try_set(None);
                },
                SAID,
            );
        });
    };
    view! {
        <button type="button" class="copy" aria-label=format!("Copy {what}") title=format!("Copy {what}") on:click=on_click>
            <span role="status">
                {move || match said.get() {
                    None => shows,
                    Some(true) => "copied",
                    Some(false) => "not allowed",
                }}
            </span>
        </button>
    }
}
