//! Chat turns and differing words, as the reading pane shows them.

use leptos::prelude::*;
use whence_shared::diff::{self, Run, WordDiff};
use whence_shared::pair::Message;

/// Most words of both sides together that are compared; comparing more would hold up the page.
const MAX_WORDS: usize = 8000;

/// One turn: who speaks and what they say.
pub fn turn(message: &Message) -> impl IntoView + use<> {
    let (role, content) = (message.role.clone(), message.content.clone());
    view! {
        <div class="turn">
            <span class="role">{role}</span>
            <p class="text" dir="auto">
                {content}
            </p>
        </div>
    }
}

/// The difference of two responses; `None` when they are too long to compare while a person waits.
pub fn difference(chosen: &str, rejected: &str) -> Option<WordDiff> {
    let n_words = chosen.split_whitespace().count() + rejected.split_whitespace().count();
    (n_words <= MAX_WORDS).then(|| diff::words(chosen, rejected))
}

/// A response with the words that the other side lacks marked.
pub fn marked(runs: Vec<Run>) -> Vec<AnyView> {
    runs.into_iter()
        .map(|run| if run.changed { view! { <mark>{run.text}</mark> }.into_any() } else { run.text.into_any() })
        .collect()
}
