//! A command line that makes what is missing here, folded away under what it is about.

use leptos::prelude::*;

use super::copy::Copy;
use super::start_here::StartHere;

/// The fold: a title, what the command does, and the command to copy.
#[component]
pub fn HowTo(
    /// What is missing.
    title: &'static str,
    /// What the command does.
    about: &'static str,
    /// The command.
    #[prop(into)]
    command: Signal<String>,
    /// The verb, where a job can be started of it.
    #[prop(optional_no_strip)]
    verb: Option<&'static str>,
) -> impl IntoView {
    view! {
        <details class="nearest">
            <summary>{title}</summary>
            <p class="quiet">{about}</p>
            <pre>
                <code>{move || command.get()}</code>
            </pre>
            <Copy text=command what="the command" />
            {verb.map(|verb| view! { <StartHere verb /> })}
        </details>
    }
}
