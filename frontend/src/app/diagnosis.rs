//! The diagnosis card: whether editing the first pairs of the ranking is likely to help, and the figures that say so.

use leptos::prelude::*;
use whence_shared::diagnosis::card::{CardFigure, figures};
use whence_shared::diagnosis::{Diagnosis, Expectation, Subject, Verdict};

use crate::diagnosis::Diagnosed;
use crate::number::{count, counted};
use crate::protocol::{Of, Query};
use crate::state::State;

/// The card; nothing where the ranking was not diagnosed.
#[component]
pub fn DiagnosisCard() -> impl IntoView {
    let state = State::here();
    let diagnosed = Diagnosed::here();
    // The diagnosis is of the direction alone.
    let is_plain = Memo::new(move |_| {
        state.wanted.with(|wanted| {
            let query = wanted.as_ref().map(|wanted| &wanted.query);
            matches!(query, Some(Query { of: Of::Direction(_), without }) if without.is_empty())
        })
    });
    move || match diagnosed.get().filter(|_| is_plain.get())? {
        Ok(diagnosis) => Some(card(&diagnosis).into_any()),
        Err(error) => {
            let text = format!("{error}. {}", error.remedy());
            Some(view! { <p class="diagnosis quiet">{text}</p> }.into_any())
        }
    }
}

fn card(diagnosis: &Diagnosis) -> impl IntoView + use<> {
    let figures: Vec<_> = figures(diagnosis).into_iter().map(figure).collect();
    view! {
        <section class="diagnosis" id="diagnosis" aria-labelledby="diagnosis-title">
            <h2 id="diagnosis-title">{headline(&diagnosis.of, &diagnosis.verdict)}</h2>
            <p>{diagnosis.verdict.text.clone()}</p>
            <details>
                <summary>"Figures"</summary>
                <table>
                    <thead>
                        <tr>
                            <th scope="col"></th>
                            <th scope="col">"this ranking"</th>
                            <th scope="col">"shuffled labels"</th>
                            <th scope="col">"random directions"</th>
                        </tr>
                    </thead>
                    <tbody>{figures}</tbody>
                </table>
            </details>
        </section>
    }
}

fn figure(figure: CardFigure) -> impl IntoView {
    view! {
        <tr>
            <th scope="row">{figure.name}</th>
            <td>{figure.value}</td>
            <td>{figure.shuffled_labels}</td>
            <td>{figure.random_directions}</td>
        </tr>
    }
}

/// What is expected, in a line.
pub fn headline(of: &Subject, verdict: &Verdict) -> impl IntoView + use<> {
    let class = match verdict.expectation {
        Expectation::Helps => "expectation helps",
        Expectation::Unclear => "expectation",
        Expectation::Diffuse => "expectation diffuse",
    };
    let pairs = counted(of.n_pairs, "pair", "pairs");
    view! {
        <span class=class>{verdict.expectation.words()}</span>
        <span class="legend">{format!("editing the first {} of {pairs} at layer {}", count(of.k), of.layer)}</span>
    }
}
