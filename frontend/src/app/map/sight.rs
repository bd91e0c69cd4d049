//! What of the map is looked at and what the pointer does there: what the parts of the page share.

use std::sync::Arc;
use std::time::Duration;

use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use whence_shared::plane::lasso::Lasso;
use whence_shared::plane::viewport::{Viewport, Window};

use crate::address::Step;
use crate::maps::{MapStatus, Mapped, Maps};
use crate::state::State;

/// The map rests when it was not moved for this long: then the address follows, and what is in view is counted.
const REST: Duration = Duration::from_millis(180);
/// How near the pointer must be to a point, in CSS pixels.
const REACH_PX: f64 = 9.0;

/// What dragging does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tool {
    /// Moves the map.
    #[default]
    Pan,
    /// Draws a line around what is to be selected.
    Lasso,
    /// Draws a rectangle around it.
    Rectangle,
}

/// All of it; cheap to copy.
#[derive(Clone, Copy)]
pub struct Sight {
    /// What is looked at.
    pub viewport: RwSignal<Viewport>,
    /// The same once it rests.
    pub rested: RwSignal<Viewport>,
    /// CSS pixels of the window, across and down.
    pub size: RwSignal<[f64; 2]>,
    /// What dragging does.
    pub tool: RwSignal<Tool>,
    /// The line under way, in unit coordinates.
    pub drawing: RwSignal<Vec<[f64; 2]>>,
    /// Row of the pair under the pointer.
    pub hovered: RwSignal<Option<u32>>,
    maps: Maps,
    state: State,
    /// The text that the address has of the viewport by our own doing.
    written: StoredValue<Option<String>>,
    rest: StoredValue<Option<TimeoutHandle>>,
}

impl Sight {
    /// As the address says.
    pub fn start(state: State, maps: Maps) -> Self {
        let at = Memo::new(move |_| state.map.with(|map| map.at.clone()));
        let parsed = move |at: &Option<String>| at.as_deref().and_then(Viewport::parse).unwrap_or_default();
        let viewport = RwSignal::new(parsed(&at.get_untracked()));
        let sight = Self {
            viewport,
            rested: RwSignal::new(viewport.get_untracked()),
            size: RwSignal::new([0.0; 2]),
            tool: RwSignal::new(Tool::Pan),
            drawing: RwSignal::new(Vec::new()),
            hovered: RwSignal::new(None),
            maps,
            state,
            written: StoredValue::new(at.get_untracked()),
            rest: StoredValue::new(None),
        };
        // "Back", or another map.
        Effect::new(move || {
            let at = at.get();
            if sight.written.with_value(|written| *written != at) {
                sight.written.set_value(at.clone());
                sight.viewport.set(parsed(&at));
                sight.rested.set(parsed(&at));
            }
        });
        sight
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// The map, once it is there. Tracked.
    pub fn map(self) -> Option<Arc<Mapped>> {
        match self.maps.status.get() {
            MapStatus::Ready(map) => Some(map),
            _ => None,
        }
    }

    /// The window onto a map, in CSS pixels. Tracked.
    pub fn window(self, map: &Mapped) -> Window {
        let [width, height] = self.size.get().map(|px| px.max(1.0));
        Window { width, height, extent: map.frame.extent }
    }

    /// Map and window as they are now.
    pub fn now(self) -> Option<(Arc<Mapped>, Window, Viewport)> {
        untrack(|| {
            let map = self.map()?;
            let window = self.window(&map);
            Some((map, window, self.viewport.get()))
        })
    }

    /// Looks elsewhere.
    pub fn look(self, viewport: Viewport) {
        if viewport == self.viewport.get_untracked() {
            return;
        }
        self.viewport.set(viewport);
        if let Some(rest) = self.rest.try_update_value(Option::take).flatten() {
            rest.clear();
        }
        self.rest.set_value(set_timeout_with_handle(move || self.come_to_rest(), REST).ok());
    }

    fn come_to_rest(self) {
        // The page may be gone.
        let Some(viewport) = self.viewport.try_get_untracked() else { return };
        self.rested.set(viewport);
        let at = (viewport != Viewport::default()).then(|| viewport.format());
        self.written.set_value(at.clone());
        self.state.change_map(Step::Replace, |map| map.at = at);
    }

    /// Larger by `factor` about a pixel, or about the middle.
    pub fn zoom(self, factor: f64, at_px: Option<[f64; 2]>) {
        let Some((_, window, viewport)) = self.now() else { return };
        self.look(viewport.zoomed(window, factor, at_px.unwrap_or([window.width / 2.0, window.height / 2.0])));
    }

    /// Moved by so many pixels.
    pub fn pan(self, by_px: [f64; 2]) {
        let Some((_, window, viewport)) = self.now() else { return };
        self.look(viewport.panned(window, by_px));
    }

    /// Row of the pair nearest to a pixel, if one is near enough.
    pub fn pair_at(self, px: [f64; 2], reach_px: Option<f64>) -> Option<u32> {
        let (map, window, viewport) = self.now()?;
        let within = reach_px.unwrap_or(REACH_PX) / viewport.scale(window);
        let place = map.grid.nearest(viewport.from_px(window, px), within)?;
        Some(map.grid.rows()[place])
    }

    /// Selects what a line drawn by hand encloses.
    pub fn finish_drawing(self) {
        let line = self.drawing.get_untracked();
        self.drawing.set(Vec::new());
        let lasso = match (self.tool.get_untracked(), line.as_slice()) {
            (Tool::Lasso, line) => Lasso::drawn(line),
            (_, [first, .., last]) => Lasso::rectangle(*first, *last),
            _ => None,
        };
        self.tool.set(Tool::Pan);
        if lasso.is_some() {
            self.maps.select(lasso);
        }
    }

    /// Selects what is in view.
    pub fn select_view(self) {
        let Some((_, window, viewport)) = self.now() else { return };
        let [low, high] = viewport.bounds(window);
        // No point is beyond the unit square.
        let [low, high] = [low, high].map(|corner| corner.map(|x| x.clamp(-0.01, 1.01)));
        self.maps.select(Lasso::rectangle(low, high));
    }

    /// Takes back what was begun last: a line under way, a tool, a selection.
    pub fn escape(self) {
        if !self.drawing.with_untracked(Vec::is_empty) || self.tool.get_untracked() != Tool::Pan {
            self.drawing.set(Vec::new());
            self.tool.set(Tool::Pan);
        } else if self.state.lasso.with_untracked(Option::is_some) {
            self.maps.select(None);
        }
    }

    /// Takes up a tool, or puts it down.
    pub fn toggle(self, tool: Tool) {
        self.drawing.set(Vec::new());
        self.tool.update(|now| *now = if *now == tool { Tool::Pan } else { tool });
    }
}
