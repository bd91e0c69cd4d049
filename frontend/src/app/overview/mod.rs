//! The Overview page: what this study is, what was found and how sure that is, what is odd about the data, and what to look at
//! next. Nothing here is computed that other pages do not show in full.

mod about;
mod finding;
mod health;
mod next;

use leptos::prelude::*;

use super::notice::Notices;
use super::skeleton::Skeleton;
use crate::state::{State, StudyStatus};

/// The page.
#[component]
pub fn OverviewPage() -> impl IntoView {
    let state = State::here();
    let study = Memo::new(move |_| match state.study.get() {
        StudyStatus::Ready(study) => Some(study),
        _ => None,
    });
    let is_loading = move || state.study.get() == StudyStatus::Loading;
    view! {
        <main class="column-page overview-page" id="overview" tabindex="-1" aria-label="Overview">
            <div class="column">
                <Show when=is_loading>
                    <Skeleton says="Opening the study…" />
                </Show>
                // Of a study without vectors or behaviors, these say what is to be done next.
                <Notices />
                {move || {
                    study
                        .get()
                        .map(|study| {
                            view! {
                                <finding::Finding study=study.clone() />
                                {next::next(&study)}
                                <div class="overview-panes">{about::about(&study)} {health::health(&study)}</div>
                            }
                        })
                }}
            </div>
        </main>
    }
}
