//! Where text will stand, while it is on its way: bars in its place, and words for who cannot see them.

use leptos::prelude::*;

/// Bars of a heading and its text.
#[component]
pub fn Skeleton(
    /// What is waited for, in words.
    says: &'static str,
) -> impl IntoView {
    view! {
        <div class="skeleton" aria-hidden="true">
            <span class="wide"></span>
            <span></span>
            <span></span>
            <span class="short"></span>
        </div>
        <p class="unseen" role="status">
            {says}
        </p>
    }
}

/// Bars of a list.
#[component]
pub fn ListSkeleton() -> impl IntoView {
    view! {
        <div class="skeleton" aria-hidden="true">
            <span></span>
            <span></span>
        </div>
    }
}
