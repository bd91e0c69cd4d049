//! What can be chosen about the map: which one, what it is colored by, what dragging does, how near.

use leptos::prelude::*;

use super::super::export::Export;
use super::colors::Paint;
use super::drawing;
use super::sight::{Sight, Tool};
use crate::address::{ColorBy, MAX_GROUPS, Step};
use crate::maps::{Maps, about};
use crate::number::counted;
use crate::state::{State, StudyStatus, View};
use whence_shared::plane::viewport::Viewport;

/// By how much a step of zoom is larger.
pub const ZOOM_STEP: f64 = 1.5;

/// Groups that pairs are put in unless the reader says how many.
const DEFAULT_GROUPS: usize = 8;

/// The toolbar.
#[component]
pub fn Toolbar() -> impl IntoView {
    let (state, maps, sight) = (State::here(), Maps::here(), Sight::here());
    let choices = Memo::new(move |_| maps.choices());
    let options = move || {
        let chosen = maps.chosen().map(|choice| choice.name);
        let option = |choice: crate::maps::Choice| {
            let is_chosen = Some(&choice.name) == chosen.as_ref();
            view! { <option value=choice.name prop:selected=is_chosen>{choice.text}</option> }
        };
        choices.get().into_iter().map(option).collect::<Vec<_>>()
    };
    let choose = move |event| {
        let name = event_target_value(&event);
        // A part of one map is nothing on another.
        state.change_map(Step::Push, |map| (map.name, map.at, map.lasso) = (Some(name), None, None));
    };
    let tool = move |tool: Tool, text: &'static str, title: &'static str| {
        view! {
            <button
                type="button"
                title=title
                aria-pressed=move || (sight.tool.get() == tool).to_string()
                on:click=move |_| sight.toggle(tool)
            >
                {text}
            </button>
        }
    };
    view! {
        <div class="toolbar">
            <label>
                "Map" <select id="which-map" on:change=choose>
                    {options}
                </select>
            </label>
            <label>"Color" <ColorPicker /></label>
            <div class="tools" role="group" aria-label="Select pairs">
                {tool(Tool::Lasso, "Lasso", "Draw a line around pairs (L)")}
                {tool(Tool::Rectangle, "Rectangle", "Draw a rectangle around pairs (R, or drag with Shift)")}
                <button type="button" title="Select all pairs in view (V)" on:click=move |_| sight.select_view()>
                    "In view"
                </button>
            </div>
            <div class="tools" role="group" aria-label="Zoom">
                <button
                    type="button"
                    aria-label="Zoom out"
                    title="Zoom out (−)"
                    on:click=move |_| sight.zoom(1.0 / ZOOM_STEP, None)
                >
                    "−"
                </button>
                <button
                    type="button"
                    aria-label="Zoom in"
                    title="Zoom in (+)"
                    on:click=move |_| sight.zoom(ZOOM_STEP, None)
                >
                    "+"
                </button>
                <button
                    type="button"
                    title="Show all pairs (0)"
                    on:click=move |_| sight.look(Viewport::default())
                >
                    "Fit"
                </button>
            </div>
        </div>
    }
}

#[component]
fn ColorPicker() -> impl IntoView {
    let (state, maps) = (State::here(), Maps::here());
    let colors = Memo::new(move |_| {
        let mut colors = Vec::new();
        if matches!(state.view.get(), View::Ready { .. }) {
            colors.push((ColorBy::Score, "Score".to_owned()));
        }
        colors.push((ColorBy::Source, "Source".to_owned()));
        if let StudyStatus::Ready(study) = state.study.get() {
            let clusters = study.clusterings.iter();
            colors.extend(clusters.map(|name| (ColorBy::Cluster(name.clone()), format!("Cluster: {name}"))));
        }
        if maps.groupable().is_some() {
            let k = match state.color.get() {
                ColorBy::Groups(k) => k,
                _ => DEFAULT_GROUPS,
            };
            colors.push((ColorBy::Groups(k), "Groups made here".to_owned()));
        }
        colors.push((ColorBy::Decision, "Decision".to_owned()));
        colors.push((ColorBy::Nothing, "Density".to_owned()));
        colors
    });
    let options = move || {
        let chosen = state.color.get();
        let option = |(color, text): (ColorBy, String)| {
            view! { <option value=color.name() prop:selected=color == chosen>{text}</option> }
        };
        colors.get().into_iter().map(option).collect::<Vec<_>>()
    };
    let choose = move |event| {
        let color = ColorBy::named(&event_target_value(&event));
        state.change_map(Step::Push, |map| (map.color, map.lit) = (color, None));
    };
    let regroup = move |event| {
        let k = event_target_value(&event).parse::<usize>().unwrap_or(DEFAULT_GROUPS).clamp(2, MAX_GROUPS);
        state.change_map(Step::Push, |map| (map.color, map.lit) = (Some(ColorBy::Groups(k)), None));
    };
    let number = move || match state.color.get() {
        ColorBy::Groups(k) => Some(view! {
            <input
                type="number"
                id="n-groups"
                aria-label="Number of groups"
                min="2"
                max=MAX_GROUPS
                prop:value=k.to_string()
                on:change=regroup
            />
        }),
        _ => None,
    };
    view! {
        <select id="color" on:change=choose>
            {options}
        </select>
        {number}
    }
}

/// How the map was made, and how much of it is seen.
#[component]
pub fn About(paint: Memo<Paint>) -> impl IntoView {
    let (state, maps, sight) = (State::here(), Maps::here(), Sight::here());
    let picture = move |()| drawing::of_map(state, maps, sight, &paint.get());
    let made = move || sight.map().map(|map| about(&map.facts, map.grid.len()));
    let n_seen = Memo::new(move |_| {
        let map = sight.map()?;
        let [low, high] = sight.rested.get().bounds(sight.window(&map));
        Some((map.grid.count(low, high), map.grid.len()))
    });
    let seen = move || {
        let (n_seen, n_all) = n_seen.get()?;
        let text =
            if n_seen == n_all { "all in view".to_owned() } else { counted(n_seen, "pair", "pairs") + " in view" };
        Some(view! { <span id="in-view" data-n=n_seen>{text}</span> })
    };
    view! {
        <p class="map-about" id="about-map">
            <span>{made}</span>
            <span role="status">{seen}</span>
            <Export id="map-export" picture />
        </p>
    }
}
