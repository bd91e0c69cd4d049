//! What was done to the worklist, the last change first; what was undone stands above it.

use leptos::prelude::*;

use super::worklist::pairs;
use crate::decisions::{Decisions, Keeper};

/// Changes shown.
const N_SHOWN: usize = 30;

/// The list; nothing where nothing was done.
#[component]
pub fn History() -> impl IntoView {
    let decisions = Decisions::here();
    let changes = Memo::new(move |_| {
        let kept = decisions.history.get().filter(|_| decisions.keeper.get() == Keeper::Server);
        match kept {
            Some(steps) => {
                let steps = steps.into_iter().rev().take(N_SHOWN);
                steps.map(|s| (s.label, s.n_pairs, time(s.at_unix_ms as f64), !s.is_undone)).collect::<Vec<_>>()
            }
            None => decisions.list.with(|list| {
                let changes = list.changes().iter().enumerate().rev().take(N_SHOWN);
                changes.map(|(i, c)| (c.what.clone(), c.rows.len(), time(c.at_ms), i < list.n_done())).collect()
            }),
        }
    });
    let line = |(what, n, time, is_done): (String, usize, String, bool)| {
        let undone = (!is_done).then(|| view! { <span class="quiet">" (undone)"</span> });
        view! {
            <li class:undone=!is_done>
                <time>{time}</time>
                <span>{what} {undone}</span>
                <span class="quiet">{pairs(n)}</span>
            </li>
        }
    };
    move || {
        let changes = changes.get();
        (!changes.is_empty()).then(|| {
            view! {
                <section class="history" id="history" aria-labelledby="history-title">
                    <h2 id="history-title">"History"</h2>
                    <ol reversed>{changes.into_iter().map(line).collect::<Vec<_>>()}</ol>
                </section>
            }
        })
    }
}

/// The time of day, or the day where it was another.
fn time(at_ms: f64) -> String {
    let (date, today) = (js_sys::Date::new(&at_ms.into()), js_sys::Date::new_0());
    let is_today = date.to_date_string() == today.to_date_string();
    let text = match is_today {
        true => date.to_locale_time_string("en-GB"),
        false => date.to_locale_date_string("en-GB", &wasm_bindgen::JsValue::UNDEFINED),
    };
    String::from(text)
}
