//! The Share page: the address of what is looked at, read-only links to a part of the study, and the same part as a bundle.

mod bundle;
mod here;
mod links;
mod part;

use leptos::prelude::*;

use super::notice::Notices;
use super::skeleton::Skeleton;
use crate::api::{Api, RequestError, ServerStatus};
use crate::state::{State, StudyStatus};

/// The page.
#[component]
pub fn SharePage() -> impl IntoView {
    let (state, api) = (State::here(), Api::here());
    let is_ready = Memo::new(move |_| matches!(state.study.get(), StudyStatus::Ready(_)));
    let is_loading = Memo::new(move |_| state.study.get() == StudyStatus::Loading);
    let is_failed = Memo::new(move |_| matches!(state.study.get(), StudyStatus::Failed(_)));
    let part = part::Part::new(state);
    view! {
        <main class="column-page share" id="share" tabindex="-1" aria-label="Share">
            <div class="column">
                <Show when=move || is_failed.get()>
                    <Notices />
                </Show>
                <Show when=move || is_loading.get()>
                    <Skeleton says="Asking the backend…" />
                </Show>
                <Show when=move || is_ready.get()>
                    <Away />
                    <here::Here />
                    {move || match api.server.get() {
                        ServerStatus::Asking => view! { <Skeleton says="Asking the backend…" /> }.into_any(),
                        ServerStatus::None => view! { <Publish /> }.into_any(),
                        ServerStatus::Ready(server) if server.can_edit => {
                            view! {
                                <div class="edit-panes">
                                    <div>
                                        <part::PartForm part />
                                    </div>
                                    <div>
                                        <links::Links part others_reach=server.others_reach_links />
                                        <bundle::Bundle part />
                                    </div>
                                </div>
                            }
                                .into_any()
                        }
                        ServerStatus::Ready(_) => view! { <ReadsOnly /> }.into_any(),
                        ServerStatus::Failed(error) => {
                            view! { <p class="problem" role="alert">{super::jobs::said(&error)}</p> }.into_any()
                        }
                    }}
                </Show>
            </div>
        </main>
    }
}

/// That the backend is away.
#[component]
fn Away() -> impl IntoView {
    let api = Api::here();
    view! {
        <div role="status" id="share-news">
            <Show when=move || !api.is_answering.get()>
                <p class="problem">{super::jobs::said(&RequestError::Unreachable)}</p>
            </Show>
        </div>
    }
}

/// How files are published, where nothing runs behind them.
#[component]
fn Publish() -> impl IntoView {
    let state = State::here();
    view! {
        <section class="publish" id="publish" aria-labelledby="publish-title">
            <h2 id="publish-title">"For others"</h2>
            <p class="about">
                "This page shows a study as files or through a read-only link: nothing runs behind it that could make another link. A bundle is a folder that any web server serves at any address; whoever has this one can copy it. Where the study lies, this makes one, without the texts of pairs:"
            </p>
            <div class="command-line">
                <pre>
                    <code>
                        {move || format!("whence report --study {} --out bundle --no-texts", state.study_name())}
                    </code>
                </pre>
            </div>
            <p class="about">
                "An app that lies elsewhere opens a bundle by its address, " <code>"?bundle=https://…/"</code>
                ", if its host lets other pages read it."
            </p>
        </section>
    }
}

/// What a server that only reads does not do.
#[component]
fn ReadsOnly() -> impl IntoView {
    let state = State::here();
    view! {
        <section class="publish" id="reads-only" aria-labelledby="reads-only-title">
            <h2 id="reads-only-title">"This server only reads"</h2>
            <p class="about">
                "It makes no links and no bundles. Served like this, others reach read-only links and nothing else, and this machine makes them:"
            </p>
            <div class="command-line">
                <pre>
                    <code>{move || links::open_command(&state.study_name())}</code>
                </pre>
            </div>
        </section>
    }
}
