//! From prompts to a ranking: by the direction of exactly these, here where their vectors are served, or with the command that
//! makes them a behavior of their own.

use std::sync::Arc;

use leptos::ev::MouseEvent;
use leptos::prelude::*;
use whence_shared::spans;

use super::super::copy::Copy;
use super::super::navigation::is_plain_click;
use crate::discovery::{Found, Origin};
use crate::state::{State, StudyStatus, shared_layers};

/// A link to the ranking by some prompts, and the command line that keeps them as a behavior.
#[component]
pub fn RankBy(
    /// What they are prompts of.
    found: Arc<Found>,
    /// Their rows.
    #[prop(into)]
    prompts: Signal<Vec<u32>>,
    /// What the link says.
    #[prop(into)]
    text: Signal<String>,
) -> impl IntoView {
    let state = State::here();
    // A discovery that was made here is stored nowhere: there is nothing for a command to refer to.
    let is_stored = found.origin == Origin::Stored;
    let (behavior, name) = (found.view.behavior.clone(), found.view.name.clone());
    drop(found);
    let has_vectors = Memo::new({
        let behavior = behavior.clone();
        move |_| match state.study.get() {
            StudyStatus::Ready(study) => study
                .behaviors
                .iter()
                .find(|there| there.name == behavior)
                .is_some_and(|there| !shared_layers(&study, there).is_empty()),
            _ => false,
        }
    });
    let on_click = {
        let behavior = behavior.clone();
        move |event: MouseEvent| {
            if is_plain_click(&event) {
                event.prevent_default();
                state.rank_by(&behavior, &prompts.get_untracked());
                window().scroll_to_with_x_and_y(0.0, 0.0);
            }
        }
    };
    let command = Signal::derive(move || {
        format!(
            "whence behavior --study {} --from-discovery {name} --prompts {} --name NEW",
            state.study_name(),
            spans::format(&prompts.get())
        )
    });
    view! {
        <div class="rank-by">
            <Show when=move || has_vectors.get()>
                <a
                    class="button"
                    href={
                        let behavior = behavior.clone();
                        move || state.link_to_ranking_by(&behavior, &prompts.get())
                    }
                    on:click=on_click.clone()
                >
                    {move || text.get()}
                </a>
            </Show>
            {is_stored
                .then(|| {
                    view! {
                        <details open=move || !has_vectors.get()>
                            <summary>"As a behavior of its own"</summary>
                            <pre>
                                <code>{move || command.get()}</code>
                            </pre>
                            <Copy text=command what="the command" />
                        </details>
                    }
                })}
        </div>
    }
}
