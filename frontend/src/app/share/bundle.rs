//! The chosen part as a bundle: one archive, downloaded by a button, and the command line that writes the same.

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::part::Part;
use crate::api::{Api, RequestError};
use crate::app::copy::Copy;
use crate::app::jobs::said;
use crate::number::bytes;
use crate::saving::save;
use crate::state::State;

/// How far the download is.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Idle,
    Making,
    Done(u64),
    Failed(RequestError),
}

/// The section.
#[component]
pub fn Bundle(part: Part) -> impl IntoView {
    let (state, api) = (State::here(), Api::here());
    let stage = RwSignal::new(Stage::Idle);
    let name = move || format!("{}.zip", state.study_name());
    let download = move |_| {
        stage.set(Stage::Making);
        let name = untrack(name);
        spawn_local(async move {
            let answer = api.post_for_file("report", &part.bundle()).await;
            if let Ok(file) = &answer {
                save(file, &name);
            }
            // The page may show something else by now.
            stage.try_set(answer.map_or_else(Stage::Failed, |file| Stage::Done(file.size() as u64)));
        });
    };
    view! {
        <section class="bundle" id="bundle" aria-labelledby="bundle-title">
            <h2 id="bundle-title">"Bundle"</h2>
            <p class="about">
                "The app and this part of the study as one archive. Unpack it on any web server, at any address; it needs no backend, and it does not change when the study does."
            </p>
            <div class="buttons">
                <button
                    type="button"
                    id="download-bundle"
                    disabled=move || part.fault().is_some() || stage.get() == Stage::Making
                    on:click=download
                >
                    {move || format!("Download {}", name())}
                </button>
            </div>
            <div id="bundle-outcome" role="status">
                {move || match stage.get() {
                    Stage::Idle => ().into_any(),
                    Stage::Making => view! { <p>"It is made; that takes longer the more vectors are in it."</p> }.into_any(),
                    Stage::Done(n) => view! { <p>{format!("{}: {}.", name(), bytes(n))}</p> }.into_any(),
                    Stage::Failed(error) => view! { <p class="problem">{said(&error)}</p> }.into_any(),
                }}
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
