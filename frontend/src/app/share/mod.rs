//! The Share page.
use leptos::prelude::*;
/// The page.
#[component]
pub fn SharePage() -> impl IntoView {
    view! { <main></main> }
}
