//! What was found, in brief: by retraining where somebody did, else by the ranking's diagnosis, else that nobody looked yet, or
//! at other rankings. Below it the effects with their intervals.

use std::sync::Arc;

use leptos::ev::MouseEvent;
use leptos::prelude::*;
use whence_shared::study::StudyView;

use crate::address::Page;
use crate::app::diagnosis::headline;
use crate::app::navigation::{is_plain_click, opens};
use crate::app::validate::{forest, verdict};
use crate::diagnosis::Diagnosed;
use crate::number::counted;
use crate::state::{State, View};
use crate::validation::{ReportStatus, Validation};

/// The section.
#[component]
pub fn Finding(study: Arc<StudyView>) -> impl IntoView {
    let validation = Validation::here();
    let diagnosed = Diagnosed::here();
    move || match validation.report.get() {
        ReportStatus::Loading => Waiting().into_any(),
        ReportStatus::Ready(report) => view! {
            <section class="validate finding-section" id="finding">
                <h2 class="unseen">"What was found"</h2>
                {verdict::brief(&report)}
                <p class="in-full">
                    <Link page=Page::Validate text="In full, with tests, doses and curves" />
                </p>
                {forest::forest(&report)}
            </section>
        }
        .into_any(),
        ReportStatus::Failed(error) => view! {
            <section class="finding-section" id="finding">
                <p class="problem" role="alert">
                    {format!("What retraining found cannot be shown: {error}. The Validate page says what to do.")}
                </p>
            </section>
        }
        .into_any(),
        ReportStatus::Absent => match diagnosed.get() {
            Some(Ok(diagnosis)) => {
                let of = diagnosis.of.behavior.clone();
                view! {
                    <section class="finding-section" id="finding" aria-labelledby="finding-title">
                        <h2 id="finding-title">"What the ranking says"</h2>
                        <p class="finding">{format!("“{of}”: ")} {headline(&diagnosis.of, &diagnosis.verdict)}</p>
                        <p class="lead">{diagnosis.verdict.text.clone()}</p>
                        <p class="quiet">"No model was retrained yet: whether editing helps, only training again tells."</p>
                    </section>
                }
                .into_any()
            }
            Some(Err(problem)) => view! {
                <section class="finding-section" id="finding">
                    <p class="problem" role="alert">
                        {format!("The diagnosis of this ranking cannot be shown: {problem}. {}", problem.remedy())}
                    </p>
                </section>
            }
            .into_any(),
            None => nothing_yet(&study).into_any(),
        },
    }
}

#[component]
fn Waiting() -> impl IntoView {
    view! {
        <section class="finding-section" id="finding">
            <div class="skeleton" aria-hidden="true">
                <span class="wide"></span>
                <span></span>
                <span class="short"></span>
            </div>
        </section>
    }
}

/// A link to another page.
#[component]
fn Link(page: Page, text: &'static str) -> impl IntoView {
    let state = State::here();
    view! {
        <a href=move || state.link_to(page) on:click=opens(state, page)>
            {text}
        </a>
    }
}

/// The rankings that were diagnosed where the one that is looked at was not: a link to each.
#[component]
fn OtherDiagnoses(
    /// What is looked at.
    behavior: String,
    /// At this layer.
    layer: usize,
    /// Behaviors and layers that were diagnosed.
    others: Vec<(String, usize)>,
) -> impl IntoView {
    let state = State::here();
    let link = |(name, at): (String, usize)| {
        let (text, shown) = (format!("{name}, layer {at}"), name.clone());
        let on_click = move |event: MouseEvent| {
            if is_plain_click(&event) {
                event.prevent_default();
                state.look_at(&name, at);
            }
        };
        view! {
            <li>
                <a href=move || state.link_to_look_at(&shown, at) on:click=on_click>
                    {text}
                </a>
            </li>
        }
    };
    view! {
        <p class="lead">
            {format!("This ranking ({behavior}, layer {layer}) was not diagnosed, and no model was retrained. Diagnosed were:")}
        </p>
        <ul class="diagnosed">{others.into_iter().map(link).collect::<Vec<_>>()}</ul>
    }
}

fn nothing_yet(study: &StudyView) -> impl IntoView + use<> {
    let diagnosed: Vec<(String, usize)> = study
        .behaviors
        .iter()
        .flat_map(|behavior| behavior.diagnosed_layers.iter().map(|layer| (behavior.name.clone(), *layer)))
        .collect();
    if let View::Ready { behavior, layer, .. } = State::here().view.get()
        && !diagnosed.is_empty()
    {
        let (behavior, layer) = (behavior.name, layer.layer);
        // It is on its way.
        if diagnosed.contains(&(behavior.clone(), layer)) {
            return Waiting().into_any();
        }
        return view! {
            <section class="finding-section" id="finding" aria-labelledby="finding-title">
                <h2 id="finding-title">"Nothing concluded of this ranking"</h2>
                <OtherDiagnoses behavior layer others=diagnosed />
            </section>
        }
        .into_any();
    }
    let n = study.behaviors.len();
    let text = match n {
        0 => "There is no behavior to rank by yet, so nothing can be said about what taught it.".to_owned(),
        n => format!(
            "{} can be ranked by. Nothing was concluded yet: no ranking was diagnosed and no model retrained.",
            counted(n, "behavior", "behaviors")
        ),
    };
    view! {
        <section class="finding-section" id="finding" aria-labelledby="finding-title">
            <h2 id="finding-title">"Nothing concluded yet"</h2>
            <p class="lead">{text}</p>
        </section>
    }
    .into_any()
}
