//! One line on how far the runs are, while they are under way; and what is wrong with the latest look.

use leptos::prelude::*;
use whence_shared::validation::{RunProgress, RunStage, RunsView};

use crate::number::{count, counted};
use crate::validation::Validation;

/// The line; nothing when all runs are measured and all is well.
#[component]
pub fn Standing() -> impl IntoView {
    let validation = Validation::here();
    let under_way = Memo::new(move |_| validation.runs.get().filter(|runs| !runs.is_complete()));
    let done = Memo::new(move |_| under_way.get().map(|runs| (runs.n_complete(), runs.runs.len())));
    let doing = move || under_way.get().map(|runs| doing(&runs));
    let share = move || done.get().map_or(0.0, |(n, total)| n as f64 / total.max(1) as f64);
    view! {
        <Show when=move || done.get().is_some()>
            <div class="standing-line" id="standing">
                <p role="status">
                    {move || done.get().map(|(n, total)| {
                        format!("{} of {} trained", count(n), counted(total, "model", "models"))
                    })}
                </p>
                // Not announced: it changes every few seconds.
                <p class="quiet">{doing}</p>
                <div
                    class="progress"
                    role="progressbar"
                    aria-label="Models trained and measured"
                    aria-valuemin="0"
                    aria-valuemax=move || done.get().map_or(0, |(_, total)| total)
                    aria-valuenow=move || done.get().map_or(0, |(n, _)| n)
                >
                    <div style:transform=move || format!("scaleX({:.3})", share())></div>
                </div>
            </div>
        </Show>
        {move || validation.stale.get().map(|error| view! {
            <p class="problem" role="alert">{format!("What is shown may be outdated. {error}.")}</p>
        })}
    }
}

fn doing(runs: &RunsView) -> String {
    let name = |run: &RunProgress| format!("{}, seed {}", run.folder, run.seed);
    let last = |stages: [RunStage; 2]| runs.runs.iter().rev().find(|run| stages.contains(&run.stage));
    let now = match last([RunStage::Training, RunStage::Measuring]) {
        Some(run) if run.stage == RunStage::Measuring => Some(format!("{}: rollouts are made and judged", name(run))),
        Some(run) => Some(format!("{}: step {}", name(run), count(run.n_steps))),
        None if runs.is_under_way == Some(false) => {
            let stopped = last([RunStage::Stopped; 2]);
            let at = stopped.map(|run| format!(" ({}, step {})", name(run), count(run.n_steps))).unwrap_or_default();
            Some(format!("Stopped{at}. The same `whence retrain` goes on from there"))
        }
        None => None,
    };
    let n_waiting = runs.runs.iter().filter(|run| run.stage == RunStage::Waiting).count();
    let waiting = (n_waiting > 0).then(|| format!("{} to come", count(n_waiting)));
    let parts: Vec<String> = now.into_iter().chain(waiting).collect();
    parts.join(" · ")
}
