//! The Jobs page: the queue of verbs that the backend runs, the log of one of them, and a form that starts more.

mod form;
mod log;
mod queue;
mod verbs;

use leptos::prelude::*;
use whence_shared::jobs::JobState;

use super::keys::focus_here;
use super::notice::Notices;
use super::skeleton::Skeleton;
use crate::api::{Api, RequestError, ServerStatus};
use crate::clock::moment;
use crate::jobs::{Jobs, News};
use crate::number::counted;
use crate::state::{State, StudyStatus};

/// What there is of the page.
#[derive(Debug, Clone, PartialEq)]
enum Standing {
    Waiting,
    NoStudy,
    NoBackend,
    /// It runs no jobs.
    Refuses,
    Failed(RequestError),
    Runs,
}

/// The page.
#[component]
pub fn JobsPage() -> impl IntoView {
    let (state, api) = (State::here(), Api::here());
    let standing = Memo::new(move |_| match (state.study.get(), api.server.get()) {
        (StudyStatus::Failed(_), _) => Standing::NoStudy,
        (StudyStatus::Loading, _) | (_, ServerStatus::Asking) => Standing::Waiting,
        (_, ServerStatus::None) => Standing::NoBackend,
        (_, ServerStatus::Ready(server)) if server.can_run_jobs => Standing::Runs,
        (_, ServerStatus::Ready(_)) => Standing::Refuses,
        (_, ServerStatus::Failed(error)) => Standing::Failed(error),
    });
    view! {
        <main class="column-page jobs" id="jobs" tabindex="-1" aria-label="Jobs">
            <div class="column">
                {move || match standing.get() {
                    Standing::Waiting => view! { <Skeleton says="Asking the backend…" /> }.into_any(),
                    Standing::NoStudy => view! { <Notices /> }.into_any(),
                    Standing::Runs => view! { <Board /> }.into_any(),
                    Standing::NoBackend => {
                        view! {
                            <Absent
                                title="Jobs need a backend"
                                cause="This page shows a study as files: a bundle or a read-only link. Nothing runs behind it."
                                remedy="Where the study lies, this serves it and runs jobs:"
                                options=""
                            />
                        }
                            .into_any()
                    }
                    Standing::Refuses => {
                        view! {
                            <Absent
                                title="This server runs no jobs"
                                cause="It only reads, or another server of this study runs its jobs: one does at a time."
                                remedy="On this machine jobs are run from the start; a server that is open to the network needs --jobs:"
                                options=" --jobs"
                            />
                        }
                            .into_any()
                    }
                    Standing::Failed(error) => view! { <Unanswered error /> }.into_any(),
                }}
            </div>
        </main>
    }
}

/// Head, queue and log, and the form.
#[component]
fn Board() -> impl IntoView {
    view! {
        <Head />
        <NewsNotice />
        <div class="edit-panes">
            <div>
                <queue::Queue />
                <log::LogPane />
            </div>
            <div>
                <form::StartForm />
            </div>
        </div>
    }
}

/// How many jobs are under way.
#[component]
fn Head() -> impl IntoView {
    let jobs = Jobs::here();
    let counts = move || {
        if jobs.list.with(Option::is_none) {
            return String::new();
        }
        let of = |state: JobState| (jobs.n_in(|of| of == state), state.name());
        let parts: Vec<String> = [JobState::Running, JobState::Queued, JobState::Failed]
            .map(of)
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, name)| format!("{} {name}", crate::number::count(n)))
            .collect();
        match parts.is_empty() {
            true => "nothing under way".to_owned(),
            false => parts.join(" · "),
        }
    };
    let n = move || jobs.list.with(|list| list.as_ref().map(Vec::len));
    view! {
        <header class="edit-head">
            <h2>
                <span>{move || n().map_or_else(|| "Jobs".to_owned(), |n| counted(n, "job", "jobs"))}</span>
                <span class="quiet" id="job-counts" role="status">
                    {counts}
                </span>
            </h2>
            // Where the form stands below the queue.
            <button type="button" id="to-start" on:click=|_| focus_here("job-verb")>
                "Start a job"
            </button>
        </header>
    }
}

/// That the backend is away, or does not tell.
#[component]
fn NewsNotice() -> impl IntoView {
    let jobs = Jobs::here();
    let text = move || match (jobs.refusal.get(), jobs.news.get()) {
        (Some(error), _) => Some(said(&error)),
        (None, News::Lost(at)) => Some(format!(
            "The backend does not answer. What is shown is of {}; it is asked again by itself, and jobs that ran when it \
             ended can be retried then.",
            moment(at)
        )),
        (None, _) => None,
    };
    view! {
        <div role="status" id="jobs-news">
            {move || text().map(|text| view! { <p class="problem">{text}</p> })}
        </div>
    }
}

/// An error and what to do about it, as sentences.
pub fn said(error: &RequestError) -> String {
    let sentence = |text: &str| {
        let mut chars = text.chars();
        let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
        format!("{first}{}.", chars.as_str().trim_end_matches('.'))
    };
    match error.hint() {
        "" => sentence(&error.to_string()),
        hint => format!("{} {}", sentence(&error.to_string()), sentence(hint)),
    }
}

#[component]
fn Absent(title: &'static str, cause: &'static str, remedy: &'static str, options: &'static str) -> impl IntoView {
    let state = State::here();
    view! {
        <section class="notice" role="note">
            <h2>{title}</h2>
            <p class="cause">{cause}</p>
            <p>{remedy}</p>
            <pre>
                <code>{move || format!("whence serve --study {}{options}", state.study_name())}</code>
            </pre>
        </section>
    }
}

#[component]
fn Unanswered(error: RequestError) -> impl IntoView {
    let again = if error.is_unreachable() { " It is asked again by itself." } else { "" };
    view! {
        <section class="notice error" role="alert">
            <h2>"The backend cannot be asked"</h2>
            <p class="cause">{error.to_string()}</p>
            <p>{format!("To go on: {}.{again}", error.hint())}</p>
        </section>
    }
}
