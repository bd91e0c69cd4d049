//! The queue, the newest job first: how each stands, how far it is and for how long, and buttons that cancel or retry it.

use std::sync::Arc;

use leptos::ev::MouseEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::jobs::{JobProgress, JobState, JobView};
use whence_shared::shell;

use super::said;
use crate::app::navigation::is_plain_click;
use crate::app::skeleton::ListSkeleton;
use crate::clock::{lasting, moment, ticking};
use crate::jobs::Jobs;
use crate::number::{count, counted, per_second, percent};
use crate::state::State;

/// Jobs shown unless all are asked for.
const N_SHOWN: usize = 5;

/// The list.
#[component]
pub fn Queue() -> impl IntoView {
    let (state, jobs) = (State::here(), Jobs::here());
    let shows_all = RwSignal::new(false);
    let ids = Memo::new(move |_| {
        let chosen = state.job.get();
        jobs.list.with(|list| {
            let list = list.as_ref()?;
            let is_shown = |(i, job): &(usize, &Arc<JobView>)| {
                shows_all.get() || *i < N_SHOWN || job.state.is_open() || Some(job.id) == chosen
            };
            Some(list.iter().enumerate().filter(is_shown).map(|(_, job)| job.id).collect::<Vec<_>>())
        })
    });
    let n_hidden = move || {
        let n = jobs.list.with(|list| list.as_ref().map_or(0, Vec::len));
        n - ids.with(|ids| ids.as_ref().map_or(n, Vec::len))
    };
    let now = ticking();
    view! {
        <section class="queue" id="queue" aria-labelledby="queue-title">
            <h2 id="queue-title">"Queue"</h2>
            {move || match ids.with(|ids| ids.as_ref().map(Vec::is_empty)) {
                None => view! { <ListSkeleton /> }.into_any(),
                Some(true) => {
                    view! {
                        <p class="about" id="no-jobs">
                            "No job was started yet. Choose a verb and start it: what it makes appears on the other pages by itself. Jobs that share a device run one after the other."
                        </p>
                    }
                        .into_any()
                }
                Some(false) => ().into_any(),
            }}
            <ol class="job-list" reversed>
                <For each=move || ids.get().unwrap_or_default() key=|id| *id children=move |id| view! { <Row id now /> } />
            </ol>
            <Show when=move || n_hidden() != 0>
                <button type="button" id="all-jobs" on:click=move |_| shows_all.set(true)>
                    {move || format!("Show {} more", counted(n_hidden(), "job", "jobs"))}
                </button>
            </Show>
        </section>
    }
}

#[component]
fn Row(id: u64, now: RwSignal<f64>) -> impl IntoView {
    let (state, jobs) = (State::here(), Jobs::here());
    let job = Memo::new(move |_| jobs.get(id));
    let problem = RwSignal::new(None::<String>);
    let is_asking = RwSignal::new(false);
    let is_chosen = Memo::new(move |_| state.job.get() == Some(id));
    let of = move |read: fn(&JobView) -> String| job.with(|job| job.as_deref().map(read).unwrap_or_default());
    let stage = Memo::new(move |_| job.with(|job| job.as_ref().map(|job| job.state)));
    let on_click = move |event: MouseEvent| {
        if is_plain_click(&event) {
            event.prevent_default();
            state.choose_job(Some(id));
        }
    };
    let ask = move |is_retry: bool| {
        is_asking.set(true);
        spawn_local(async move {
            let answer = if is_retry { jobs.retry(id).await } else { jobs.cancel(id).await };
            // The row may be gone by now.
            problem.try_set(answer.err().map(|error| said(&error)));
            is_asking.try_set(false);
        });
    };
    let when = move || job.with(|job| job.as_deref().map(|job| when(job, now.get())).unwrap_or_default());
    let progress =
        Memo::new(move |_| job.with(|job| job.as_ref().filter(|job| job.state == JobState::Running)?.progress.clone()));
    let waits_for = move || {
        let job = job.get().filter(|job| job.state == JobState::Queued)?;
        let before = jobs.list.with(|list| {
            let is_before = |of: &&Arc<JobView>| of.state == JobState::Running && of.device == job.device;
            list.iter().flatten().find(is_before).map(|of| of.id)
        })?;
        Some(format!("Waits for {}, where job {before} runs.", job.device))
    };
    view! {
        <li
            class="job"
            id=format!("job-{id}")
            class:chosen-job=move || is_chosen.get()
            data-state=move || stage.get().map(JobState::name)
        >
            <div class="job-line">
                <span class="job-state">{move || stage.get().map(JobState::name)}</span>
                <a
                    class="job-title"
                    href=move || state.link_to_job(id)
                    aria-current=move || is_chosen.get().then_some("true")
                    title="Show what it printed"
                    on:click=on_click
                >
                    {move || of(|job| job.verb.clone())}
                    <span class="quiet">{format!(" {id}")}</span>
                </a>
                <span class="quiet job-when">{when}</span>
                <span class="job-actions">
                    <Show when=move || stage.get().is_some_and(JobState::is_open)>
                        <button
                            type="button"
                            class="cancel"
                            aria-label=format!("Cancel job {id}")
                            title="Safe at any moment: what is done is kept"
                            disabled=move || is_asking.get()
                            on:click=move |_| ask(false)
                        >
                            "Cancel"
                        </button>
                    </Show>
                    <Show when=move || stage.get().is_some_and(can_retry)>
                        <button
                            type="button"
                            class="retry"
                            aria-label=format!("Retry job {id}")
                            title="The same command again: it goes on where it stopped"
                            disabled=move || is_asking.get()
                            on:click=move |_| ask(true)
                        >
                            "Retry"
                        </button>
                    </Show>
                </span>
            </div>
            <code class="job-arguments">
                {move || of(|job| shell::line(job.arguments.iter().map(String::as_str)))}
            </code>
            {move || progress.get().map(|progress| view! { <ProgressLine progress /> })}
            {move || waits_for().map(|text| view! { <p class="quiet">{text}</p> })}
            {move || {
                let error = of(|job| job.error.clone());
                (!error.is_empty()).then(|| view! { <p class="problem job-error">{error}</p> })
            }}
            {move || problem.get().map(|text| view! { <p class="problem" role="alert">{text}</p> })}
        </li>
    }
}

fn can_retry(state: JobState) -> bool {
    matches!(state, JobState::Failed | JobState::Cancelled | JobState::Interrupted)
}

/// For how long it waits, runs or ran, and where.
fn when(job: &JobView, now: f64) -> String {
    let since = |from: Option<u64>| from.map(|from| lasting(now - from as f64));
    let tries = if job.n_tries > 1 { format!(" · try {}", count(job.n_tries as usize)) } else { String::new() };
    match job.state {
        JobState::Queued => format!("for {}{tries}", since(Some(job.created_unix_ms)).unwrap_or_default()),
        JobState::Running => {
            format!("for {} on {}{tries}", since(job.started_unix_ms).unwrap_or_default(), job.device)
        }
        _ => {
            let ended = job.finished_unix_ms.map(|at| format!("ended {}", moment(at as f64)));
            let took = job.started_unix_ms.zip(job.finished_unix_ms);
            let took = took.map(|(from, to)| format!("took {} on {}", lasting(to as f64 - from as f64), job.device));
            let told = [took, ended].into_iter().flatten().collect::<Vec<_>>().join(", ");
            format!("{told}{tries}")
        }
    }
}

/// A rate, in units a minute where it is low: `35 pairs/s`, `4.3 epochs/s`, `12 steps/min`.
fn in_time(per_second_of: f64, unit: &str) -> String {
    match per_second_of {
        rate if rate >= 10.0 => per_second(rate, 1000.0, unit),
        rate if rate >= 1.0 => format!("{rate:.1} {unit}/s"),
        rate if rate >= 1.0 / 6.0 => format!("{:.0} {unit}/min", 60.0 * rate),
        rate => format!("{:.1} {unit}/min", 60.0 * rate),
    }
}

/// How far a job is, with rate and time left where they are known.
#[component]
fn ProgressLine(progress: JobProgress) -> impl IntoView {
    let JobProgress { stage, done, total, unit, detail, per_second: rate, seconds_left } = progress;
    let share = (total > 0).then(|| (done as f64 / total as f64).clamp(0.0, 1.0));
    let n = match total {
        0 => format!("{} {unit}", count(done as usize)),
        _ => format!("{} of {} {unit}", count(done as usize), count(total as usize)),
    };
    let parts = [
        Some(format!("{stage}: {n}")),
        share.map(percent),
        rate.filter(|rate| *rate > 0.0).map(|rate| in_time(rate, &unit)),
        seconds_left.filter(|_| share.is_some()).map(|seconds| format!("{} left", lasting(1000.0 * seconds))),
        Some(detail).filter(|detail| !detail.is_empty()),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    let value = share.map(|share| format!("{:.0}", 100.0 * share));
    view! {
        <div
            class="job-progress"
            role="progressbar"
            aria-label=format!("Progress, {stage}")
            aria-valuemin="0"
            aria-valuemax="100"
            aria-valuenow=value
            aria-valuetext=text.clone()
        >
            <div class="done" style=format!("transform: scaleX({:.4})", share.unwrap_or(0.0))></div>
        </div>
        <p class="quiet job-far">{text}</p>
    }
}
