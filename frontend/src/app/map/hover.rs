//! The card beside the pointer: which pair it is at.

use std::time::Duration;

use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;

use super::super::table::{shown_text, source_name};
use super::colors::Paint;
use super::sight::Sight;
use crate::covers::Covers;
use crate::number::{count, score};
use crate::state::{State, StudyStatus};

/// Rows come in chunks of thousands: they are asked for when the pointer rests this long.
const PAUSE: Duration = Duration::from_millis(90);
/// Room for the card, in CSS pixels: it stays within the map.
const CARD_PX: [f64; 2] = [320.0, 120.0];
/// Its distance from the point.
const GAP_PX: f64 = 14.0;

/// The card.
#[component]
pub fn HoverCard(paint: Memo<Paint>) -> impl IntoView {
    let (state, sight, covers) = (State::here(), Sight::here(), Covers::here());
    let read = RwSignal::new(None::<u32>);
    let pause = StoredValue::new(None::<TimeoutHandle>);
    Effect::new(move || {
        let row = sight.hovered.get();
        if let Some(pause) = pause.try_update_value(Option::take).flatten() {
            pause.clear();
        }
        let rest = move || {
            read.try_set(row);
        };
        pause.set_value(set_timeout_with_handle(rest, PAUSE).ok());
    });
    move || {
        let row = sight.hovered.get()?;
        let map = sight.map()?;
        let window = sight.window(&map);
        let [x, y] = sight.viewport.get().to_px(window, map.grid.point(*map.places.get(row as usize)? as usize));
        let left = if x + GAP_PX + CARD_PX[0] > window.width { x - GAP_PX - CARD_PX[0] } else { x + GAP_PX };
        let top = (y - 12.0).clamp(4.0, (window.height - CARD_PX[1]).max(4.0));
        let place = format!("translate({:.0}px, {top:.0}px)", left.max(4.0));
        let columns = (read.get() == Some(row)).then(|| state.row_chunk(row)).flatten();
        let (snippet, source) = match columns {
            Some((chunk, i)) => {
                let text = if covers.is_on.get() { "covered".to_owned() } else { shown_text(&chunk, i) };
                (text, named_source(state, chunk.source[i]))
            }
            None => ("…".to_owned(), None),
        };
        Some(view! {
            <div class="hover-card" id="hover" style:transform=place>
                <p class="facts">
                    {facts(state, &paint.get(), row)} {source.map(|source| view! { <span>{source}</span> })}
                    <span>{format!("row {}", count(row as usize))}</span>
                </p>
                <p class="snippet" dir="auto">
                    {snippet}
                </p>
            </div>
        })
    }
}

/// The name of a source by its number.
fn named_source(state: State, source: u32) -> Option<String> {
    match state.study.get() {
        StudyStatus::Ready(study) => study.sources.get(source as usize).map(|source| source_name(&source.name)),
        _ => None,
    }
}

/// What the color says of the pair.
fn facts(state: State, paint: &Paint, row: u32) -> Vec<AnyView> {
    let strong = |text: String| view! { <strong>{text}</strong> }.into_any();
    match paint {
        Paint::Plain => Vec::new(),
        Paint::Scores(ranking, _) => {
            let place = ranking.place_of(row).map(|place| strong(format!("#{}", count(place + 1))));
            let value = ranking.scores.get(row as usize).map(|value| strong(score(*value)));
            place.into_iter().chain(value).collect()
        }
        Paint::Categories(categories, _) => {
            let category = categories.of_rows.get(row as usize).and_then(|&at| categories.names.get(at as usize));
            // The card names the source anyway.
            let is_source = state.color.get() == crate::address::ColorBy::Source;
            category.filter(|_| !is_source).map(|category| strong(category.name.clone())).into_iter().collect()
        }
    }
}
