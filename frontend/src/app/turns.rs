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

/// A response with the words that the other side lacks marked. White space between two marked words is marked too: the
/// eye reads one change where the comparison found several.
pub fn marked(runs: &[Run]) -> Vec<AnyView> {
    let is_marked = |i: usize| {
        let bridges = runs[i].text.chars().all(char::is_whitespace) && i > 0 && i + 1 < runs.len();
        runs[i].changed || bridges
    };
    let mut spans: Vec<(String, bool)> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        match spans.last_mut() {
            Some((text, changed)) if *changed == is_marked(i) => text.push_str(&run.text),
            _ => spans.push((run.text.clone(), is_marked(i))),
        }
    }
    spans
        .into_iter()
        .map(|(text, changed)| if changed { view! { <mark>{text}</mark> }.into_any() } else { text.into_any() })
        .collect()
}
