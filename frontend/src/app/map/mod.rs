//! The Map page: all pairs on a plane, as density and points, colored by score, source, cluster or decision; what a lasso
//! encloses is selected, and the selected pair is read beside it.

mod colors;
mod drawing;
mod gl;
mod hover;
mod legend;
mod list;
mod overlay;
mod painter;
mod sight;
mod stage;
mod toolbar;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, KeyboardEvent};
use whence_shared::plane::viewport::Viewport;

use super::reading::ReadingPane;
use crate::address::{ColorBy, Step};
use crate::maps::{CategoriesStatus, MapStatus, Maps};
use crate::state::{State, StudyStatus};
use colors::Paint;
use sight::{Sight, Tool};

/// How far an arrow key moves the map, in CSS pixels; with Shift four times as far.
const ARROW_PX: f64 = 60.0;

/// The page.
#[component]
pub fn MapPage() -> impl IntoView {
    let (state, maps) = (State::here(), Maps::here());
    let sight = Sight::start(state, maps);
    provide_context(sight);
    let paint = Memo::new(move |_| match (state.color.get(), state.ranking.get(), maps.categories.get()) {
        (ColorBy::Score, Some(ranking), _) => Paint::of_scores(ranking),
        (color, _, CategoriesStatus::Ready(by, categories)) if by == color => {
            Paint::Categories(categories, state.map.with(|map| map.lit))
        }
        _ => Paint::Plain,
    });
    let is_broken =
        Memo::new(move |_| maps.status.with(|status| matches!(status, MapStatus::Absent | MapStatus::Failed(_))));
    view! {
        <main class="map-page" aria-label="Map of all pairs">
            <section class="map-side" aria-label="Map" on:keydown=move |event| on_key(sight, state, &event)>
                <toolbar::Toolbar />
                <Show
                    when=move || !is_broken.get()
                    fallback=move || view! { <Broken /> }
                >
                    <div class="stage-frame">
                        <stage::Stage paint />
                        <legend::Legend paint />
                    </div>
                    <toolbar::About paint />
                    <list::List paint />
                </Show>
            </section>
            <ReadingPane />
        </main>
    }
}

/// What to do where there is no map.
#[component]
fn Broken() -> impl IntoView {
    let (state, maps) = (State::here(), Maps::here());
    let command = move || {
        let StudyStatus::Ready(study) = state.study.get() else { return String::new() };
        let name = &study.name;
        match study.layers.last() {
            Some(view) => format!("whence map --study {name} --layer {} --method umap", view.layer),
            None if study.n_pairs == 0 => format!("whence import --study {name} FILE"),
            None => format!("whence extract --study {name} --model MODEL_FOLDER --layers all"),
        }
    };
    move || match maps.status.get() {
        MapStatus::Failed(reason) => view! {
            <section class="notice error" role="alert">
                <h2>"The map cannot be shown"</h2>
                <p class="cause">{reason}</p>
                <button type="button" on:click=move |_| maps.retry()>
                    "Try again"
                </button>
            </section>
        }
        .into_any(),
        _ => {
            let named = state.map.with(|map| map.name.clone()).filter(|_| !maps.choices().is_empty());
            let title = named.map_or("No map yet".to_owned(), |name| format!("There is no map “{name}”"));
            view! {
                <section class="notice" role="note">
                    <h2>{title}</h2>
                    <p>"Choose another one above, or make one, then reload this page:"</p>
                    <pre>
                        <code>{command}</code>
                    </pre>
                </section>
            }
            .into_any()
        }
    }
}

fn on_key(sight: Sight, state: State, event: &KeyboardEvent) {
    if event.ctrl_key() || event.meta_key() || event.alt_key() {
        return;
    }
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    let Some(target) = target.filter(|target| !matches!(target.tag_name().as_str(), "INPUT" | "SELECT")) else {
        return;
    };
    let is_on_map = target.id() == "map";
    let far = if event.shift_key() { 4.0 * ARROW_PX } else { ARROW_PX };
    match event.key().as_str() {
        // Moving the window to the left moves what is seen to the right.
        "ArrowLeft" if is_on_map => sight.pan([far, 0.0]),
        "ArrowRight" if is_on_map => sight.pan([-far, 0.0]),
        "ArrowUp" if is_on_map => sight.pan([0.0, far]),
        "ArrowDown" if is_on_map => sight.pan([0.0, -far]),
        "Enter" if is_on_map => {
            let [width, height] = sight.size.get_untracked();
            if let Some(row) = sight.pair_at([width / 2.0, height / 2.0], Some(width + height)) {
                state.select(Some(row), Step::Push);
            }
        }
        "+" | "=" => sight.zoom(toolbar::ZOOM_STEP, None),
        "-" | "_" => sight.zoom(1.0 / toolbar::ZOOM_STEP, None),
        "0" => sight.look(Viewport::default()),
        "l" | "L" => sight.toggle(Tool::Lasso),
        "r" | "R" => sight.toggle(Tool::Rectangle),
        "v" | "V" => sight.select_view(),
        "Escape" => sight.escape(),
        _ => return,
    }
    event.prevent_default();
}
