//! The chosen part as a bundle: one archive, made by the backend while the page shows how far it is, and the command line that
//! writes the same.

use leptos::prelude::*;
use whence_shared::shares::{BundleMaking, BundleState};

use super::part::Part;
use crate::api::Api;
use crate::app::copy::Copy;
use crate::app::jobs::said;
use crate::bundles::Bundles;
use crate::number::{bytes, count};
use crate::state::State;

/// The section.
#[component]
pub fn Bundle(part: Part) -> impl IntoView {
    let (state, api) = (State::here(), Api::here());
    let bundles = Bundles::start(api);
    let name = Memo::new(move |_| format!("{}.zip", state.study_name()));
    let is_making = Memo::new(move |_| {
        let is_made = |last: &BundleMaking| last.state == BundleState::Making;
        bundles.is_asking.get() || bundles.last.with(|last| last.as_ref().is_some_and(is_made))
    });
    view! {
        <section class="bundle" id="bundle" aria-labelledby="bundle-title">
            <h2 id="bundle-title">"Bundle"</h2>
            <p class="about">
                "The app and this part of the study as one archive. Unpack it on any web server, at any address; it needs no backend, and it does not change when the study does."
            </p>
            <div class="buttons">
                <button
                    type="button"
                    id="make-bundle"
                    disabled=move || part.fault().is_some() || is_making.get()
                    on:click=move |_| bundles.make(part.bundle())
                >
                    {move || format!("Make {}", name.get())}
                </button>
            </div>
            <div id="bundle-outcome" role="status">
                {move || bundles.problem.get().map(|error| view! { <p class="problem">{said(&error)}</p> })}
                {move || bundles.last.get().map(|last| outcome(bundles, &last, &name.get()))}
            </div>
            <div class="command-line">
                <span class="quiet">
                    "The same in a terminal" <Copy text=Signal::derive(move || part.command()) what="the command line" />
                </span>
                <pre>
                    <code id="bundle-command">{move || part.command()}</code>
                </pre>
            </div>
        </section>
    }
}

/// How far it is, and what can be done about it.
fn outcome(bundles: Bundles, last: &BundleMaking, name: &str) -> AnyView {
    let end = move |text: &'static str| {
        view! {
            <button type="button" id="cancel-bundle" on:click=move |_| bundles.cancel()>
                {text}
            </button>
        }
    };
    match last.state {
        BundleState::Making => {
            let BundleMaking { n_done, n_total, unit, stage, .. } = last;
            let text = match (n_total, stage.as_str()) {
                (0, _) => "It is begun…".to_owned(),
                (_, "bundle") => {
                    format!("{} of {} {unit} are in it.", count(*n_done as usize), count(*n_total as usize))
                }
                _ => format!("Finding the nearest pairs: {} of {}.", count(*n_done as usize), count(*n_total as usize)),
            };
            view! {
                <p>{text}</p>
                <progress
                    aria-label="Making the bundle"
                    max=(*n_total).max(1)
                    value=(*n_total > 0).then_some(*n_done)
                ></progress>
                <p class="buttons">{end("Cancel")}</p>
            }
            .into_any()
        }
        BundleState::Ready => {
            let n = last.n_bytes.map(bytes).unwrap_or_default();
            view! {
                <p>
                    <a class="download" id="download-bundle" href=bundles.file(last.id) download=name.to_owned()>
                        {format!("Download {name}")}
                    </a>
                    <span class="quiet">{format!(" {n}; kept until another is made or the server ends.")}</span>
                </p>
                <p class="buttons">{end("Remove it")}</p>
            }
            .into_any()
        }
        BundleState::Failed => {
            let error = last.error.clone().map(|error| said(&crate::api::RequestError::Refused(error)));
            view! { <p class="problem">{error}</p> }.into_any()
        }
        BundleState::Canceled => view! { <p>"It was ended; nothing of it is left."</p> }.into_any(),
    }
}
