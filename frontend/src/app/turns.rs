//! Chat turns and differing words, as the reading pane shows them: verbatim, with characters that cannot be seen made visible,
//! and long texts in parts.

use leptos::prelude::*;
use whence_shared::diff::{self, Run};
use whence_shared::pair::Message;

/// Most words of both sides together that are compared; comparing more would hold up the page.
const MAX_WORDS: usize = 8000;
/// Characters of a text that are shown at first: laying out more at once would hold up the page.
const MAX_CHARS: usize = 20_000;

/// One turn: who speaks and what they say.
pub fn turn(message: &Message) -> impl IntoView + use<> {
    let role = message.role.clone();
    view! {
        <div class="turn">
            <span class="role">{role}</span>
            <p class="text" dir="auto">
                {long_text(&message.content)}
            </p>
        </div>
    }
}

/// Whether two responses are short enough to be compared while a person waits.
pub fn is_comparable(left: &str, right: &str) -> bool {
    left.len().max(right.len()) <= MAX_CHARS
        && left.split_whitespace().count() + right.split_whitespace().count() <= MAX_WORDS
}

/// Both responses with differing words marked, or as they are when they are too long to compare.
pub fn both_marked(left: &str, right: &str) -> (Vec<AnyView>, Vec<AnyView>) {
    if !is_comparable(left, right) {
        return (vec![long_text(left).into_any()], vec![long_text(right).into_any()]);
    }
    let diff = diff::words(left, right);
    (marked(&diff.left), marked(&diff.right))
}

/// A text, of which what is beyond the first part comes when asked for.
fn long_text(text: &str) -> impl IntoView + use<> {
    let end = text.char_indices().nth(MAX_CHARS).map(|(end, _)| end);
    let Some(end) = end else { return visible(text).into_any() };
    let (first, rest) = text.split_at(end);
    let n_more = crate::number::count(rest.chars().count());
    let (first, rest) = (visible(first), StoredValue::new(rest.to_owned()));
    let is_whole = RwSignal::new(false);
    view! {
        {first}
        {move || match is_whole.get() {
            true => rest.with_value(|rest| visible(rest)).into_any(),
            false => {
                view! {
                    "… "
                    <button type="button" class="more-text" on:click=move |_| is_whole.set(true)>
                        {format!("Show {n_more} more characters")}
                    </button>
                }
                    .into_any()
            }
        }}
    }
    .into_any()
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
        .map(|(text, changed)| match changed {
            true => view! { <mark>{visible(&text)}</mark> }.into_any(),
            false => visible(&text).into_any(),
        })
        .collect()
}

/// A text with every character that cannot be seen in a box that names it. The characters stay where they are: what is copied
/// is what is there.
pub fn visible(text: &str) -> Vec<AnyView> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_invisible) {
        let (before, from) = rest.split_at(at);
        if !before.is_empty() {
            parts.push(before.to_owned().into_any());
        }
        let mut chars = from.chars();
        if let Some(c) = chars.next() {
            let name = name_of(c);
            parts.push(
                view! { <span class="invisible" data-name=name.clone() title=name>{c.to_string()}</span> }.into_any(),
            );
        }
        rest = chars.as_str();
    }
    if !rest.is_empty() {
        parts.push(rest.to_owned().into_any());
    }
    parts
}

/// Characters without a shape of their own: zero-width ones, marks of direction, tags, controls that are no line break or tab.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffd}' | '\u{e0000}'..='\u{e007f}')
}

fn name_of(c: char) -> String {
    let name = match c {
        '\u{200b}' => "zero width space",
        '\u{200c}' => "zero width non-joiner",
        '\u{200d}' => "zero width joiner",
        '\u{200e}' => "left-to-right mark",
        '\u{200f}' => "right-to-left mark",
        '\u{202a}' | '\u{2066}' => "left to right from here",
        '\u{202b}' | '\u{2067}' => "right to left from here",
        '\u{202d}' => "left to right forced",
        '\u{202e}' => "right to left forced",
        '\u{202c}' | '\u{2069}' => "end of direction",
        '\u{ad}' => "soft hyphen",
        '\u{feff}' => "byte order mark",
        '\u{fffd}' => "replacement character",
        _ => "",
    };
    format!("U+{:04X} {name}", u32::from(c)).trim_end().to_owned()
}
