//! What the selected job printed, followed while it runs: the end stays in view unless the reader scrolls away from it.

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::jobs::JobLog;

use super::said;
use crate::api::Api;
use crate::app::copy::Copy;
use crate::fetch::sleep;
use crate::jobs::Jobs;
use crate::state::State;

/// Pause between two looks at the log of a job under way, in milliseconds.
const PAUSE_MS: f64 = 700.0;
/// Bytes from the end of a long log that are shown at first.
const FIRST_BYTES: u64 = 200 << 10;
/// Bytes of text that are kept; what is older is let go.
const MAX_BYTES: usize = 1 << 20;
/// How near the end of the text counts as there, in CSS pixels.
const NEAR_PX: i32 = 24;

/// What was read of a log.
#[derive(Debug, Clone, Default)]
struct Read {
    text: String,
    /// Where to go on.
    to: u64,
    /// Whether what came first is not shown.
    is_cut: bool,
    is_complete: bool,
}

/// The pane; nothing where no job is selected.
#[component]
pub fn LogPane() -> impl IntoView {
    let state = State::here();
    move || state.job.get().map(|id| view! { <Log id /> })
}

#[component]
fn Log(id: u64) -> impl IntoView {
    let (state, jobs, api) = (State::here(), Jobs::here(), Api::here());
    let read = RwSignal::new(Read::default());
    let problem = RwSignal::new(None::<String>);
    let follows = RwSignal::new(true);
    let pane = NodeRef::<html::Pre>::new();
    let job = Memo::new(move |_| jobs.get(id));
    // A try that begins, or the end of one, is a reason to read on.
    let stage = Memo::new(move |_| job.with(|job| job.as_ref().map(|job| (job.state, job.n_tries))));
    let turn = StoredValue::new(0u32);
    Effect::new(move || {
        stage.track();
        turn.update_value(|turn| *turn += 1);
        let now = turn.get_value();
        let is_on = move || turn.try_get_value() == Some(now);
        spawn_local(async move {
            while is_on() {
                match next(api, id, read).await {
                    Ok(is_complete) => {
                        problem.try_set(None);
                        if is_complete {
                            break;
                        }
                    }
                    // The notice above the queue says so; it is asked again.
                    Err(error) if error.is_unreachable() => {}
                    Err(error) => {
                        problem.try_set(Some(said(&error)));
                        break;
                    }
                }
                sleep(PAUSE_MS).await;
            }
        });
    });
    let to_end = move || {
        if let Some(pane) = pane.get_untracked() {
            pane.set_scroll_top(pane.scroll_height());
        }
    };
    Effect::new(move || {
        read.track();
        if follows.get() {
            // After the text is in the page.
            request_animation_frame(to_end);
        }
    });
    let on_scroll = move |_| {
        if let Some(pane) = pane.get_untracked() {
            let is_near = pane.scroll_height() - pane.scroll_top() - pane.client_height() <= NEAR_PX;
            if follows.get_untracked() != is_near {
                follows.set(is_near);
            }
        }
    };
    let command = move || job.with(|job| job.as_ref().map(|job| job.command.clone()).unwrap_or_default());
    let heading = move || match job.with(|job| job.as_ref().map(|job| job.verb.clone())) {
        Some(verb) => format!("Log of {verb} {id}"),
        None => format!("Log of job {id}"),
    };
    view! {
        <section class="log" id="log" aria-labelledby="log-title">
            <header class="log-head">
                <h2 id="log-title">{heading}</h2>
                <button type="button" class="plain" id="close-log" on:click=move |_| state.choose_job(None)>
                    "Close"
                </button>
            </header>
            <Show when=move || !command().is_empty()>
                <p class="command">
                    <code>{command}</code>
                    <Copy text=Signal::derive(command) what="the command" />
                </p>
            </Show>
            {move || problem.get().map(|text| view! { <p class="problem" role="alert">{text}</p> })}
            <Show when=move || read.with(|read| read.is_cut)>
                <p class="quiet">"The beginning is left out: the file in the study’s jobs folder has all of it."</p>
            </Show>
            <pre node_ref=pane id="log-text" tabindex="0" role="log" aria-live="off" aria-labelledby="log-title" on:scroll=on_scroll>
                {move || read.with(|read| read.text.clone())}
            </pre>
            <p class="log-foot quiet">
                <span id="log-end">
                    {move || match read.with(|read| (read.is_complete, read.text.is_empty())) {
                        (true, true) => "It printed nothing.",
                        (true, false) => "That is all it printed.",
                        (false, true) => "Nothing is printed yet.",
                        (false, false) => "It is read on as it grows.",
                    }}
                </span>
                <Show when=move || !follows.get()>
                    <button type="button" id="follow-log" on:click=move |_| {
                        follows.set(true);
                        to_end();
                    }>
                        "To the end"
                    </button>
                </Show>
            </p>
        </section>
    }
}

/// Reads on; whether there is no more to come.
async fn next(api: Api, id: u64, read: RwSignal<Read>) -> Result<bool, crate::api::RequestError> {
    let known = read.try_get_untracked().unwrap_or_default();
    let part = |from: u64| async move { api.get::<JobLog>(&format!("jobs/{id}/log?from={from}")).await };
    let mut got = part(known.to).await?;
    let is_first = known.to == 0 && known.text.is_empty();
    let mut is_cut = known.is_cut;
    if is_first && !got.is_complete && got.to > 0 {
        // There may be much more: a place beyond the end is answered with where that is.
        let end = part(u64::MAX).await?.to;
        if end > got.to.max(FIRST_BYTES) {
            got = part(end - FIRST_BYTES).await?;
            // From a whole line on.
            got.text = got.text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or(got.text);
            is_cut = true;
        }
    }
    let is_complete = got.is_complete;
    if !got.text.is_empty() || is_complete != known.is_complete || is_cut != known.is_cut {
        read.try_update(|read| {
            read.text.push_str(&got.text);
            if read.text.len() > MAX_BYTES {
                let from = read.text.len() - MAX_BYTES / 2;
                let from =
                    read.text.as_bytes()[from..].iter().position(|b| *b == b'\n').map_or(from, |at| from + at + 1);
                let from = (from..=read.text.len()).find(|at| read.text.is_char_boundary(*at)).unwrap_or(0);
                read.text.drain(..from);
                is_cut = true;
            }
            (read.to, read.is_cut, read.is_complete) = (got.to, is_cut, is_complete);
        });
    }
    Ok(is_complete)
}
