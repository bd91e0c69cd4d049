//! The map itself: two canvases, of which one is drawn on, what lies over them, and what pointer and keys do there.

use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{Event, PointerEvent, WheelEvent};
use whence_shared::cluster::kmeans_parts::MAX_ROUNDS;
use whence_shared::plane::raster::{Tone, diameter};
use whence_shared::plane::viewport::Window;

use super::super::canvas::{Ink, redraw_on_changes};
use super::super::reading;
use super::colors::{Colors, Paint, rgb};
use super::hover::HoverCard;
use super::overlay::Overlay;
use super::painter::{Painter, Picture};
use super::sight::{Sight, Tool};
use crate::address::{DrawBy, Step, Trial};
use crate::mapping::calls::Note;
use crate::maps::{MapStatus, Mapped, Maps, marked};
use crate::number::counted;
use crate::state::State;

/// Points drawn over the others at most: the first of the ranking.
const MAX_DOTS: usize = 3000;
/// A press that moves less is a click, in CSS pixels.
const CLICK_PX: f64 = 4.0;

/// What the pointers on the map are doing.
#[derive(Debug, Default)]
struct Gesture {
    /// Where each pressed pointer is: id, CSS pixels.
    pressed: Vec<(i32, [f64; 2])>,
    /// How far the first one has gone since it was pressed.
    moved_px: f64,
    /// Whether it draws a line.
    draws: bool,
}

/// The stage.
#[component]
pub fn Stage(paint: Memo<Paint>) -> impl IntoView {
    let (state, sight) = (State::here(), Sight::here());
    let stage = NodeRef::<html::Div>::new();
    let (gl, plain) = (NodeRef::<html::Canvas>::new(), NodeRef::<html::Canvas>::new());
    let changed = Trigger::new();
    redraw_on_changes(plain, changed);
    Effect::new(move || {
        changed.track();
        if let Some(stage) = stage.get() {
            sight.size.set([stage.client_width(), stage.client_height()].map(f64::from));
        }
    });
    let painter = StoredValue::new_local(None::<Painter>);
    let drawn_by = RwSignal::new(None::<DrawBy>);
    start_painter(gl, plain, painter, drawn_by);
    let ink = RwSignal::new(None::<Arc<Inks>>);
    Effect::new(move || {
        changed.track();
        if let Some(canvas) = plain.get() {
            ink.set(Some(Arc::new(Inks(Ink::of(&canvas)))));
        }
    });
    let colors = RwSignal::new(None::<Arc<Colors>>);
    Effect::new(move || {
        let (Some(map), Some(ink)) = (sight.map(), ink.get()) else { return };
        let is_selected = is_selected(state, map.places.len());
        colors.set(Some(Arc::new(Colors::of(&map, &paint.get(), is_selected.as_deref(), &ink.0))));
    });
    let dots = Memo::new(move |_| sight.map().map_or_else(|| Arc::from([]), |map| dots_of(state, &map, &paint.get())));
    let is_due = StoredValue::new(false);
    let draw = move || {
        is_due.set_value(false);
        let is_moving = sight.viewport.get_untracked() != sight.rested.get_untracked() && Trial::read().draw.is_none();
        let ratio = painter.with_value(|painter| painter.as_ref().map(|painter| painter.ratio(is_moving)));
        let Some(ratio) = ratio else { return };
        let picture = untrack(|| picture(sight, colors.get()?, dots.get(), &ink.get()?.0, ratio));
        if let Some(picture) = picture {
            let draw = |painter: &mut Painter| painter.draw(&picture, ratio == painter.ratio(false));
            painter.update_value(|painter| painter.iter_mut().for_each(draw));
            let is_slow = painter.with_value(|painter| painter.as_ref().is_some_and(Painter::is_slow));
            if is_slow && Trial::read().draw.is_none() {
                replace_painter(gl, plain, painter, drawn_by);
            }
        }
    };
    Effect::new(move || {
        sight.viewport.track();
        sight.rested.track();
        sight.size.track();
        colors.track();
        dots.track();
        drawn_by.track();
        // However often something changes, a frame is drawn once.
        if !is_due.get_value() {
            is_due.set_value(true);
            request_animation_frame(move || {
                // The page may be gone.
                if painter.try_with_value(|_| ()).is_some() {
                    draw();
                }
            });
        }
    });
    let description = move || {
        let n = sight.map().map_or(0, |map| map.grid.len());
        format!(
            "Map of {}. Arrow keys move it, plus and minus zoom, 0 shows all, L draws a lasso, R a rectangle, V selects what is \
             in view, Enter selects the pair in the middle, Escape clears. The table below lists the pairs.",
            counted(n, "pair", "pairs")
        )
    };
    let gesture = StoredValue::new(Gesture::default());
    let is_used = move |by: DrawBy| drawn_by.get().is_none_or(|drawn_by| drawn_by == by);
    view! {
        <div
            class="stage"
            id="map"
            node_ref=stage
            tabindex="0"
            role="application"
            aria-roledescription="map"
            aria-label=description
            data-drawn=move || drawn_by.get().map(DrawBy::name)
            data-tool=move || if sight.tool.get() == Tool::Pan { "pan" } else { "draw" }
            data-zoom=move || format!("{:.4}", sight.rested.get().zoom)
            on:pointerdown=move |event| on_down(sight, gesture, &event)
            on:pointermove=move |event| on_move(sight, gesture, &event)
            on:pointerup=move |event| on_up(sight, state, gesture, &event)
            on:pointercancel=move |event| on_up(sight, state, gesture, &event)
            on:pointerleave=move |_| sight.hovered.set(None)
            on:wheel=move |event| on_wheel(sight, &event)
            on:dblclick=move |event| sight.zoom(2.0, Some([event.offset_x(), event.offset_y()].map(f64::from)))
        >
            <canvas node_ref=gl class:unused=move || !is_used(DrawBy::WebGl) aria-hidden="true"></canvas>
            <canvas node_ref=plain class:unused=move || !is_used(DrawBy::Canvas) aria-hidden="true"></canvas>
            <Overlay paint />
            <HoverCard paint />
            <Progress />
        </div>
    }
}

/// Colors of the style sheet; a signal asks that they be comparable.
struct Inks(Ink);

/// By row, whether a pair is among those that are selected; `None` where all are lit. Tracked.
pub fn is_selected(state: State, n_pairs: usize) -> Option<Vec<bool>> {
    // What the filter leaves in lies within the lasso, too.
    match (state.lit_rows(), state.selected_rows.get()) {
        (Some(rows), _) => Some(marked(&rows, n_pairs)),
        (None, selected) => selected.map(|rows| marked(&rows, n_pairs)),
    }
}

/// Places of the points that are drawn over the others. Tracked.
pub fn dots_of(state: State, map: &Mapped, paint: &Paint) -> Arc<[u32]> {
    let Paint::Scores(ranking, _) = paint else { return Arc::from([]) };
    let first = ranking.order.iter().take(state.k.get().min(MAX_DOTS));
    first.filter_map(|&row| map.places.get(row as usize).copied()).collect()
}

/// What is to be drawn now, in the painter's pixels.
pub fn picture(sight: Sight, colors: Arc<Colors>, dots: Arc<[u32]>, ink: &Ink, ratio: f64) -> Option<Picture> {
    let (map, window, viewport) = sight.now()?;
    let is_drawable = window.width >= 8.0 && window.height >= 8.0 && colors.of_places.len() == map.grid.len();
    let window = Window { width: (window.width * ratio).round(), height: (window.height * ratio).round(), ..window };
    let scale = viewport.scale(window);
    let diameter = ratio * diameter(map.crowding, scale / ratio);
    is_drawable.then(|| Picture {
        tone: Tone::of(map.crowding, scale, diameter),
        map,
        colors,
        dots,
        viewport,
        window,
        diameter,
        dot_radius: (diameter / 2.0 + 0.5).max(2.5 * ratio),
        dot_fill: rgb(ink.accent),
        dot_rim: rgb(ink.ground),
    })
}

/// Takes up what draws, and something else when it loses its canvas.
fn start_painter(
    gl: NodeRef<html::Canvas>,
    plain: NodeRef<html::Canvas>,
    painter: StoredValue<Option<Painter>, LocalStorage>,
    drawn_by: RwSignal<Option<DrawBy>>,
) {
    let on_lost = StoredValue::new_local(None::<Closure<dyn Fn(Event)>>);
    Effect::new(move || {
        let (Some(element), Some(plain_element)) = (gl.get(), plain.get()) else { return };
        let started = Painter::new(&element, &plain_element, Trial::read().draw);
        drawn_by.set(Some(started.by()));
        painter.set_value(Some(started));
        // A graphics processor may be taken away at any time.
        let lost = Closure::<dyn Fn(Event)>::new(move |event: Event| {
            event.prevent_default();
            replace_painter(gl, plain, painter, drawn_by);
        });
        // Without the event the map stands still until the page is loaded again.
        let _ = element.add_event_listener_with_callback("webglcontextlost", lost.as_ref().unchecked_ref());
        on_lost.set_value(Some(lost));
    });
}

/// Draws by the processor from now on.
fn replace_painter(
    gl: NodeRef<html::Canvas>,
    plain: NodeRef<html::Canvas>,
    painter: StoredValue<Option<Painter>, LocalStorage>,
    drawn_by: RwSignal<Option<DrawBy>>,
) {
    let (Some(gl), Some(plain)) = (gl.get_untracked(), plain.get_untracked()) else { return };
    painter.set_value(Some(Painter::new(&gl, &plain, Some(DrawBy::Canvas))));
    drawn_by.set(Some(DrawBy::Canvas));
}

fn px_of(event: &PointerEvent) -> [f64; 2] {
    [event.offset_x(), event.offset_y()].map(f64::from)
}

fn on_down(sight: Sight, gesture: StoredValue<Gesture>, event: &PointerEvent) {
    if event.button() != 0 {
        return;
    }
    if let Some(stage) = event.current_target().and_then(|target| target.dyn_into::<web_sys::Element>().ok()) {
        // Without it a drag ends at the edge.
        let _ = stage.set_pointer_capture(event.pointer_id());
    }
    if event.shift_key() && sight.tool.get_untracked() == Tool::Pan {
        sight.tool.set(Tool::Rectangle);
    }
    let px = px_of(event);
    let n_pressed = gesture.with_value(|gesture| gesture.pressed.len());
    let draws = n_pressed == 0 && sight.tool.get_untracked() != Tool::Pan;
    gesture.update_value(|gesture| {
        gesture.pressed.push((event.pointer_id(), px));
        (gesture.moved_px, gesture.draws) = (if n_pressed == 0 { 0.0 } else { f64::INFINITY }, draws);
    });
    sight.hovered.set(None);
    // A second finger ends a line.
    let started = sight.now().filter(|_| draws);
    sight.drawing.set(started.map(|(_, window, viewport)| vec![viewport.from_px(window, px)]).unwrap_or_default());
}

fn on_move(sight: Sight, gesture: StoredValue<Gesture>, event: &PointerEvent) {
    let px = px_of(event);
    let id = event.pointer_id();
    let before: Vec<(i32, [f64; 2])> = gesture.with_value(|gesture| gesture.pressed.clone());
    let Some(i) = before.iter().position(|(of, _)| *of == id) else {
        if event.pointer_type() != "touch" {
            sight.hovered.set(sight.pair_at(px, None));
        }
        return;
    };
    let by = [0, 1].map(|axis| px[axis] - before[i].1[axis]);
    let draws = gesture
        .try_update_value(|gesture| {
            gesture.pressed[i].1 = px;
            gesture.moved_px += by[0].hypot(by[1]);
            gesture.draws
        })
        .unwrap_or_default();
    match before.as_slice() {
        [_] if draws => {
            if let Some((_, window, viewport)) = sight.now() {
                sight.drawing.update(|line| line.push(viewport.from_px(window, px)));
            }
        }
        [_] => sight.pan(by),
        // Two fingers: the map follows both.
        [a, b, ..] if i < 2 => {
            let other = if i == 0 { b.1 } else { a.1 };
            let apart = |p: [f64; 2]| (p[0] - other[0]).hypot(p[1] - other[1]).max(1.0);
            let middle = [0, 1].map(|axis| (px[axis] + other[axis]) / 2.0);
            sight.pan(by.map(|px| px / 2.0));
            sight.zoom(apart(px) / apart(before[i].1), Some(middle));
        }
        _ => {}
    }
}

fn on_up(sight: Sight, state: State, gesture: StoredValue<Gesture>, event: &PointerEvent) {
    let id = event.pointer_id();
    let ended = gesture.try_update_value(|gesture| {
        let was_pressed = gesture.pressed.iter().any(|(of, _)| *of == id);
        gesture.pressed.retain(|(of, _)| *of != id);
        (was_pressed && gesture.pressed.is_empty()).then_some((gesture.moved_px, gesture.draws))
    });
    let Some((moved_px, draws)) = ended.flatten() else { return };
    if event.type_() == "pointercancel" {
        sight.drawing.set(Vec::new());
    } else if draws {
        sight.finish_drawing();
    } else if moved_px < CLICK_PX
        && let Some(row) = sight.pair_at(px_of(event), None)
    {
        state.select(Some(row), Step::Push);
        reading::reveal();
    }
}

fn on_wheel(sight: Sight, event: &WheelEvent) {
    event.prevent_default();
    // Lines and pages of a wheel, in pixels; a pinch on a touchpad comes as a wheel with Ctrl, in small steps.
    let unit_px = [1.0, 16.0, 400.0][event.delta_mode().min(2) as usize];
    let speed = if event.ctrl_key() { 0.01 } else { 0.0016 };
    let factor = (-event.delta_y() * unit_px * speed).clamp(-1.0, 1.0).exp();
    sight.zoom(factor, Some([event.offset_x(), event.offset_y()].map(f64::from)));
}

/// How far reading is, over the map.
#[component]
fn Progress() -> impl IntoView {
    let maps = Maps::here();
    move || {
        let is_waiting = matches!(maps.status.get(), MapStatus::Loading);
        let text = match (is_waiting, maps.progress.get()) {
            (false, None) => return None,
            (_, Some(Note::Read(n_done, n_total))) => {
                format!("Reading {} of {n_total} files…", (n_done + 1).min(n_total))
            }
            (_, Some(Note::Round(round))) => format!("Grouping all pairs: round {round} of at most {MAX_ROUNDS}…"),
            (true, None) => "Reading the map…".to_owned(),
        };
        Some(view! { <p class="stage-note" role="status">{text}</p> })
    }
}
