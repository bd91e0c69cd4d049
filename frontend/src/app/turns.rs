//! Chat turns and differing words, as the reading pane shows them.

use leptos::prelude::*;
use whence_shared::diff::{self, Run};
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

/// Whether two responses are short enough to be compared while a person waits.
pub fn is_comparable(left: &str, right: &str) -> bool {
    left.split_whitespace().count() + right.split_whitespace().count() <= MAX_WORDS
}

/// Both responses with differing words marked, or as they are when they are too long to compare.
pub fn both_marked(left: &str, right: &str) -> (Vec<AnyView>, Vec<AnyView>) {
    if !is_comparable(left, right) {
        return (vec![left.to_owned().into_any()], vec![right.to_owned().into_any()]);
    }
    let diff = diff::words(left, right);
    (marked(&diff.left), marked(&diff.right))
}

/// A response with the words that the other side lacks marked. White space between two marked words is marked too: the
/// eye reads one change where the comparison found several.
fn marked(runs: &[Run]) -> Vec<AnyView> {
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
