//! What lies over the drawn map: the lasso, the line under way, names of categories where they lie, and rings around the pair
//! under the pointer and the selected one.

use std::fmt::Write;
use std::sync::Arc;

use leptos::prelude::*;
use whence_shared::plane::viewport::{Viewport, Window};

use super::colors::Paint;
use super::sight::{Sight, Tool};
use crate::address::ColorBy;
use crate::maps::{Categories, Kind, Mapped};
use crate::state::State;

/// Names written on the map at most.
const MAX_LABELS: usize = 24;
/// Room that a name takes, in CSS pixels; where two would overlap the larger category is named.
const LABEL_PX: [f64; 2] = [104.0, 18.0];
/// How far above its middle a category's name stands.
const LABEL_RISE_PX: f64 = 12.0;
/// Characters of a name.
const LABEL_CHARS: usize = 16;

/// The overlay.
#[component]
pub fn Overlay(paint: Memo<Paint>) -> impl IntoView {
    let (state, sight) = (State::here(), Sight::here());
    let seen = move || {
        let map = sight.map()?;
        let window = sight.window(&map);
        Some((map, window, sight.viewport.get()))
    };
    let ring = move |row: Option<u32>, class: &'static str| {
        let (map, window, viewport) = seen()?;
        let place = *map.places.get(row? as usize)?;
        let [x, y] = viewport.to_px(window, map.grid.point(place as usize));
        Some(view! { <circle class=class cx=x cy=y r="7"></circle> })
    };
    let lasso = move || {
        let (lasso, (_, window, viewport)) = (state.lasso.get()?, seen()?);
        Some(view! { <polygon class="lasso" points=points_of(lasso.corners(), window, viewport)></polygon> })
    };
    let drawing = move || {
        let (_, window, viewport) = seen()?;
        let line = sight.drawing.get();
        let corners = match (sight.tool.get(), line.as_slice()) {
            (Tool::Rectangle, [a, .., b]) => vec![*a, [b[0], a[1]], *b, [a[0], b[1]]],
            _ => line,
        };
        let points = points_of(&corners, window, viewport);
        Some(view! { <polygon class="lasso drawing" points=points></polygon> })
    };
    let middles = Memo::new(move |_| match (sight.map(), paint.get(), state.color.get()) {
        // Sources lie everywhere: a name at their middle would say nothing.
        (Some(map), Paint::Categories(categories, only), ColorBy::Cluster(_) | ColorBy::Groups(_)) => {
            Some((Arc::new(middles(&map, &categories)), categories, only))
        }
        _ => None,
    });
    let labels = move || {
        let ((middles, categories, only), (_, window, viewport)) = (middles.get()?, seen()?);
        let label = |(at, name): ([f64; 2], String)| view! { <text class="label" x=at[0] y=at[1]>{name}</text> };
        Some(named(&middles, &categories, only, window, viewport).into_iter().map(label).collect::<Vec<_>>())
    };
    view! {
        <svg class="overlay" aria-hidden="true">
            {lasso} {drawing} {labels} {move || ring(state.row.get(), "ring selected")}
            {move || ring(sight.hovered.get(), "ring")}
        </svg>
    }
}

fn points_of(corners: &[[f64; 2]], window: Window, viewport: Viewport) -> String {
    let mut text = String::new();
    for corner in corners {
        let [x, y] = viewport.to_px(window, *corner);
        // Writing into a string cannot fail.
        let _ = write!(text, "{x:.1},{y:.1} ");
    }
    text
}

/// Where the middle of each category is, in unit coordinates; `None` for one without pairs, and for the rest.
pub fn middles(map: &Mapped, categories: &Categories) -> Vec<Option<[f64; 2]>> {
    let mut sums = vec![([0.0; 2], 0usize); categories.names.len()];
    for (place, &row) in map.grid.rows().iter().enumerate() {
        let category = categories.of_rows.get(row as usize).and_then(|&category| sums.get_mut(category as usize));
        if let Some((sum, n)) = category {
            let [x, y] = map.grid.point(place);
            (sum[0], sum[1], *n) = (sum[0] + x, sum[1] + y, *n + 1);
        }
    }
    let middle = |((sum, n), kind): (([f64; 2], usize), Kind)| {
        (n > 0 && kind != Kind::Rest).then(|| sum.map(|sum| sum / n as f64))
    };
    sums.into_iter().zip(categories.names.iter().map(|category| category.kind)).map(middle).collect()
}

/// Names of categories that are written on the map, and where, in pixels: the larger ones, as far as they find room.
pub fn named(
    middles: &[Option<[f64; 2]>],
    categories: &Categories,
    only: Option<u32>,
    window: Window,
    viewport: Viewport,
) -> Vec<([f64; 2], String)> {
    let mut taken: Vec<[f64; 2]> = Vec::new();
    let mut labels = Vec::new();
    for (category, middle) in middles.iter().enumerate() {
        let Some(middle) = middle.filter(|_| only.is_none_or(|only| only as usize == category)) else { continue };
        let at = viewport.to_px(window, middle);
        let is_in_view = (0.0..window.width).contains(&at[0]) && (0.0..window.height).contains(&at[1]);
        let is_free = taken.iter().all(|other| (0..2).any(|axis| (at[axis] - other[axis]).abs() > LABEL_PX[axis]));
        if !is_in_view || !is_free || labels.len() >= MAX_LABELS {
            continue;
        }
        taken.push(at);
        let name = &categories.names[category].name;
        let text = match name.char_indices().nth(LABEL_CHARS) {
            Some((end, _)) => format!("{}…", name[..end].trim_end()),
            None => name.clone(),
        };
        labels.push(([at[0], at[1] - LABEL_RISE_PX], text));
    }
    labels
}
