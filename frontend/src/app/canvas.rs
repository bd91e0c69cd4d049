//! What charts share: a drawing area in device pixels, crisp on every screen, the style sheet's colors, and drawing again when
//! either changes. What is drawn on a canvas can be drawn on paper as well: [`super::export`].

use leptos::html;
use leptos::prelude::*;
use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, DrawingBackend, IntoDrawingArea, IntoFont, RGBColor, TextStyle};
use plotters_canvas::CanvasBackend;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{Element, HtmlCanvasElement, MediaQueryList, ResizeObserver};

/// As `--font` in the style sheet.
pub const FONT: &str = "Inter, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif";

/// What drawing returns; a canvas that cannot be drawn on leaves a chart empty.
pub type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Size of a chart's letters, in CSS pixels.
const LETTERS_PX: f64 = 11.0;

/// What is drawn on: a canvas, or what an exported drawing is written to.
pub struct Sheet<B: DrawingBackend = CanvasBackend> {
    /// All of it, empty.
    pub root: DrawingArea<B, Shift>,
    /// Pixels of it per CSS pixel.
    pub ratio: f64,
    /// By how much letters must be asked for larger than they are to be.
    pub letters: f64,
    /// Colors.
    pub ink: Ink,
}

impl<B: DrawingBackend> Sheet<B> {
    /// A chart's letters in a color.
    pub fn font(&self, color: RGBColor) -> TextStyle<'static> {
        (FONT, LETTERS_PX * self.ratio * self.letters).into_font().color(&color)
    }
}

impl Sheet<CanvasBackend> {
    /// Gives the canvas as many pixels as it has room; `None` when that is too little for a chart.
    ///
    /// # Errors
    ///
    /// When it cannot be drawn on.
    pub fn of(canvas: &HtmlCanvasElement) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        let ratio = web_sys::window().map_or(1.0, |window| window.device_pixel_ratio());
        let device = |px: i32| (f64::from(px) * ratio).round() as u32;
        let (width, height) = (device(canvas.client_width()), device(canvas.client_height()));
        if width < 64 || height < 32 {
            return Ok(None);
        }
        canvas.set_width(width);
        canvas.set_height(height);
        let backend = CanvasBackend::with_canvas_object(canvas.clone()).ok_or("the canvas has no 2d context")?;
        Ok(Some(Self { root: backend.into_drawing_area(), ratio, letters: 1.0, ink: Ink::of(canvas) }))
    }
}

/// The style sheet's colors.
#[derive(Debug, Clone)]
pub struct Ink {
    /// `--text`
    pub text: RGBColor,
    /// `--muted`
    pub muted: RGBColor,
    /// `--line`
    pub line: RGBColor,
    /// `--bar`
    pub bar: RGBColor,
    /// `--accent`
    pub accent: RGBColor,
    /// `--ground`
    pub ground: RGBColor,
    /// `--chosen`
    pub chosen: RGBColor,
    /// `--rejected`
    pub rejected: RGBColor,
    /// `--series-1` and so on.
    pub series: [RGBColor; Series::N],
}

/// Colors that tell categories apart.
pub struct Series;

impl Series {
    /// How many there are.
    pub const N: usize = 10;
}

impl Ink {
    /// As they are where an element stands.
    pub fn of(element: &Element) -> Self {
        let style = web_sys::window().and_then(|window| window.get_computed_style(element).ok().flatten());
        let color = |name: &str| {
            let value = style.as_ref().and_then(|style| style.get_property_value(name).ok()).unwrap_or_default();
            parse_hex(value.trim()).unwrap_or(RGBColor(128, 128, 128))
        };
        Self {
            text: color("--text"),
            muted: color("--muted"),
            line: color("--line"),
            bar: color("--bar"),
            accent: color("--accent"),
            ground: color("--ground"),
            chosen: color("--chosen"),
            rejected: color("--rejected"),
            series: std::array::from_fn(|i| color(&format!("--series-{}", i + 1))),
        }
    }
}

/// `#rrggbb`.
fn parse_hex(color: &str) -> Option<RGBColor> {
    let digits = color.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    let channel = |i: usize| u8::from_str_radix(digits.get(i..i + 2)?, 16).ok();
    Some(RGBColor(channel(0)?, channel(2)?, channel(4)?))
}

/// What watches a canvas, as long as it is on the page.
struct Watch {
    observer: Option<ResizeObserver>,
    scheme: Option<MediaQueryList>,
    changed: Closure<dyn Fn()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(observer) = &self.observer {
            observer.disconnect();
        }
        if let Some(scheme) = &self.scheme {
            let _ = scheme.remove_event_listener_with_callback("change", self.changed.as_ref().unchecked_ref());
        }
    }
}

/// Notifies `redraw` when the size or the color scheme changes.
pub fn redraw_on_changes(canvas: NodeRef<html::Canvas>, redraw: Trigger) {
    let watch = StoredValue::new_local(None::<Watch>);
    Effect::new(move || {
        let Some(canvas) = canvas.get() else { return };
        let changed = Closure::<dyn Fn()>::new(move || redraw.notify());
        let observer = ResizeObserver::new(changed.as_ref().unchecked_ref()).ok();
        if let Some(observer) = &observer {
            observer.observe(&canvas);
        }
        let scheme = web_sys::window().and_then(|window| window.match_media("(prefers-color-scheme: dark)").ok()?);
        if let Some(scheme) = &scheme {
            // Without the event the colors follow at the next drawing.
            let _ = scheme.add_event_listener_with_callback("change", changed.as_ref().unchecked_ref());
        }
        watch.set_value(Some(Watch { observer, scheme, changed }));
    });
    on_cleanup(move || drop(watch.try_update_value(Option::take)));
}
