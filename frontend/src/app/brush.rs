//! Dragging over a chart: where the pointer is, in shares of the plotting area, and what it has gone over.

use leptos::html;
use leptos::prelude::*;
use web_sys::PointerEvent;

/// Pixels that tell a drag from a click.
const MIN_DRAG_PX: f64 = 4.0;

/// A drag over a canvas; cheap to copy.
#[derive(Clone, Copy)]
pub struct Brush {
    canvas: NodeRef<html::Canvas>,
    /// Room around the plotting area in CSS pixels: left, bottom, top, right.
    margins_px: [f64; 4],
    /// Where it began, in pixels, and whether it is more than a click.
    start: StoredValue<Option<((f64, f64), bool)>>,
}

impl Brush {
    /// Over a canvas with room around its plotting area, in CSS pixels: left, bottom, top, right.
    pub fn new(canvas: NodeRef<html::Canvas>, margins_px: [f64; 4]) -> Self {
        Self { canvas, margins_px, start: StoredValue::new(None) }
    }

    /// Where the pointer is: from the left and from the top, as shares of the plotting area; beyond 0 and 1 outside it.
    pub fn at(self, event: &PointerEvent) -> Option<(f64, f64)> {
        self.share((f64::from(event.offset_x()), f64::from(event.offset_y())))
    }

    fn share(self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        let canvas = self.canvas.get_untracked()?;
        let [left, bottom, top, right] = self.margins_px;
        let width = f64::from(canvas.client_width()) - left - right;
        let height = f64::from(canvas.client_height()) - top - bottom;
        (width > 0.0 && height > 0.0).then(|| ((x - left) / width, (y - top) / height))
    }

    /// The pointer was pressed.
    pub fn press(self, event: &PointerEvent) {
        if event.button() != 0 {
            return;
        }
        self.start.set_value(Some(((f64::from(event.offset_x()), f64::from(event.offset_y())), false)));
        if let Some(canvas) = self.canvas.get_untracked() {
            // Without it a drag ends at the canvas' edge.
            let _ = canvas.set_pointer_capture(event.pointer_id());
        }
    }

    /// The pointer moved: the corners of what it has gone over, left top and right bottom, within the plotting area.
    pub fn drag(self, event: &PointerEvent) -> Option<[(f64, f64); 2]> {
        let ((x, y), is_drag) = self.start.get_value()?;
        let now = (f64::from(event.offset_x()), f64::from(event.offset_y()));
        if !is_drag && (now.0 - x).abs().max((now.1 - y).abs()) < MIN_DRAG_PX {
            return None;
        }
        self.start.set_value(Some(((x, y), true)));
        let clamp = |(x, y): (f64, f64)| (x.clamp(0.0, 1.0), y.clamp(0.0, 1.0));
        let (from, to) = (clamp(self.share((x, y))?), clamp(self.share(now)?));
        Some([(from.0.min(to.0), from.1.min(to.1)), (from.0.max(to.0), from.1.max(to.1))])
    }

    /// The pointer was released; whether it had been dragged.
    pub fn release(self) -> bool {
        self.start.try_update_value(Option::take).flatten().is_some_and(|(_, is_drag)| is_drag)
    }
}
