//! The Validate page: what retraining on edited pairs did, how sure that is, and how the models trained.
//!
//! Everything shown is in the report; only the calculator computes, with the functions that made the report.

mod arms;
mod axis;
mod curves;
mod detectable;
mod dose;
pub mod forest;
pub mod forest_drawing;
mod plot;
mod standing;
pub mod verdict;

use leptos::prelude::*;
use whence_shared::statistics::interval::Covers;
use whence_shared::validation::ValidationReport;

use super::start_here::StartHere;
use crate::fetch::FetchError;
use crate::state::State;
use crate::validation::{ReportError, ReportStatus, Validation};

/// The page.
#[component]
pub fn ValidatePage() -> impl IntoView {
    let validation = Validation::here();
    view! {
        <main class="column-page validate" id="validate" tabindex="-1" aria-label="Validation by retraining">
            <div class="column">
                <standing::Standing />
                {move || match validation.report.get() {
                    ReportStatus::Loading => view! { <p class="quiet waiting">"Opening the report…"</p> }.into_any(),
                    ReportStatus::Absent => view! { <Absent /> }.into_any(),
                    ReportStatus::Failed(error) => view! { <Failed error /> }.into_any(),
                    ReportStatus::Ready(report) => sections(&report).into_any(),
                }}
            </div>
        </main>
    }
}

fn sections(report: &ValidationReport) -> impl IntoView + use<> {
    view! {
        {verdict::verdict(report)}
        {forest::forest(report)}
        {arms::arms(report)}
        {dose::doses(report)}
        {detectable::what_could_be_seen(report)}
        {curves::curves(report)}
    }
}

#[component]
fn Absent() -> impl IntoView {
    let state = State::here();
    let validation = Validation::here();
    let name = move || state.study_name();
    let is_begun = move || validation.runs.with(|runs| runs.as_ref().is_some_and(|runs| !runs.runs.is_empty()));
    view! {
        <section class="notice" role="note">
            <Show
                when=is_begun
                fallback=move || {
                    view! {
                        <h2>"No model was retrained yet"</h2>
                        <p class="cause">
                            "A ranking says which pairs push toward a behavior. Whether they taught it, only training without them tells."
                        </p>
                        <p>
                            "Write a plan of which edit sets to train on, with random edits of the same size beside them and several seeds each; then:"
                        </p>
                        <pre>
                            <code>{move || format!("whence retrain --study {} --plan plan.toml", name())}</code>
                        </pre>
                        <StartHere verb="retrain" />
                    }
                }
            >
                <h2>"Nothing to compare yet"</h2>
                <p class="cause">
                    "Models are being trained. The first comparison comes with the first measured baseline and edit, and appears here by itself."
                </p>
            </Show>
        </section>
    }
}

#[component]
fn Failed(error: ReportError) -> impl IntoView {
    let state = State::here();
    let validation = Validation::here();
    let (title, remedy) = match &error {
        ReportError::Fetch(FetchError::Json { .. }) => (
            "The report cannot be read",
            "It is not the report of this version, or was damaged. Make it again from the runs:",
        ),
        ReportError::Fetch(_) => {
            ("The report cannot be reached", "Check that the server still runs. The report is made by:")
        }
        ReportError::Format { .. } => ("The report is of another version", "Make it again with this version:"),
    };
    view! {
        <section class="notice error" role="alert">
            <h2>{title}</h2>
            <p class="cause">{error.to_string()}</p>
            <p>{remedy}</p>
            <pre>
                <code>{move || format!("whence validate --study {}", state.study_name())}</code>
            </pre>
            <button type="button" on:click=move |_| validation.look()>
                "Try again"
            </button>
        </section>
    }
}

/// What an interval accounts for, in words.
fn covered(covers: Covers) -> &'static str {
    match covers {
        Covers::SeedsPromptsRollouts => "training seeds, prompts and rollouts",
        Covers::PromptsRollouts => "prompts and rollouts, not training noise",
    }
}

/// An arm as the page calls it: its name, and how many pairs it edits.
fn arm_title(arm: &str, k: u64) -> String {
    if k == 0 { arm.to_owned() } else { format!("{arm} {}", crate::number::count(k as usize)) }
}
