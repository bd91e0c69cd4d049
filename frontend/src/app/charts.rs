//! The chart above the table: pairs by score, or by score and length.

use leptos::prelude::*;

use super::histogram::ScoreHistogram;
use super::scatter::LengthScatter;
use crate::state::State;

/// The chart that is chosen, with the choice.
#[component]
pub fn Charts() -> impl IntoView {
    let state = State::here();
    let is_length = state.is_length_chart;
    let choice = move |is_of_length: bool, text: &'static str| {
        view! {
            <button
                type="button"
                id=if is_of_length { "chart-length" } else { "chart-score" }
                aria-pressed=move || (is_length.get() == is_of_length).to_string()
                on:click=move |_| state.choose_length_chart(is_of_length)
            >
                {text}
            </button>
        }
    };
    view! {
        <section class="charts" aria-label="Scores of all pairs">
            <div class="tabs" role="group" aria-label="Chart">
                {choice(false, "Pairs by score")} {choice(true, "by score and length")}
            </div>
            {move || match is_length.get() {
                false => view! { <ScoreHistogram /> }.into_any(),
                true => view! { <LengthScatter /> }.into_any(),
            }}
        </section>
    }
}
