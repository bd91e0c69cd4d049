//! What was found, in a paragraph: by retraining where somebody did, else by the ranking's diagnosis, else that nobody looked
//! yet. Below it the effects with their intervals.

use std::sync::Arc;

use leptos::prelude::*;
use whence_shared::study::StudyView;

use crate::app::diagnosis::headline;
use crate::app::validate::{forest, verdict};
use crate::diagnosis::Diagnosed;
use crate::number::counted;
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
                {verdict::verdict(&report)} {forest::forest(&report)}
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
            _ => nothing_yet(&study).into_any(),
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

fn nothing_yet(study: &StudyView) -> impl IntoView + use<> {
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
}
