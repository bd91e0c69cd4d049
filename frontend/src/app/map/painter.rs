//! What draws the map: the graphics processor where there is one, the processor otherwise.

use std::sync::Arc;

use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData};
use whence_shared::plane::raster::{Raster, Scene, Tone};
use whence_shared::plane::viewport::{Viewport, Window};

use super::colors::Colors;
use super::gl::GlPainter;
use crate::address::DrawBy;
use crate::maps::Mapped;
use crate::ranker::now_ms;

/// Most device pixels per CSS pixel that are drawn: by the graphics processor, and by the processor, which has them all to fill.
const MAX_RATIOS: [f64; 2] = [2.0, 1.25];

/// Most milliseconds of a whole picture that the processor draws whole while the map moves.
const MAX_MOVING_MS: f64 = 7.0;

/// What is drawn, in device pixels.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The map.
    pub map: Arc<Mapped>,
    /// Its colors.
    pub colors: Arc<Colors>,
    /// Points that are drawn over the others, by place.
    pub dots: Arc<[u32]>,
    /// What is looked at.
    pub viewport: Viewport,
    /// Through what.
    pub window: Window,
    /// Diameter of points.
    pub diameter: f64,
    /// How opaque crowds are.
    pub tone: Tone,
    /// Radius of the points that are drawn over the others.
    pub dot_radius: f64,
    /// Their color.
    pub dot_fill: [u8; 3],
    /// The color of their rim.
    pub dot_rim: [u8; 3],
}

/// Draws pictures.
pub enum Painter {
    /// By the graphics processor.
    Gl(Box<GlPainter>, Option<Picture>),
    /// By the processor: the canvas, what is drawn on it, and the milliseconds that a whole picture took last.
    Canvas(HtmlCanvasElement, Box<Raster>, f64),
}

impl Painter {
    /// By what is asked for, or by the best there is. Each has a canvas of its own: one that was drawn on by the graphics
    /// processor cannot be drawn on otherwise.
    pub fn new(gl: &HtmlCanvasElement, plain: &HtmlCanvasElement, asked: Option<DrawBy>) -> Self {
        let by_gl = match asked {
            Some(DrawBy::Canvas) => None,
            asked => GlPainter::new(gl, asked.is_some()),
        };
        match by_gl {
            Some(painter) => Self::Gl(Box::new(painter), None),
            None => Self::Canvas(plain.clone(), Box::default(), 0.0),
        }
    }

    /// What draws.
    pub fn by(&self) -> DrawBy {
        match self {
            Self::Gl(..) => DrawBy::WebGl,
            Self::Canvas(..) => DrawBy::Canvas,
        }
    }

    /// Device pixels per CSS pixel that it draws. While the map moves, a processor for which every pixel takes too long draws
    /// half of them along each side.
    pub fn ratio(&self, is_moving: bool) -> f64 {
        let device = web_sys::window().map_or(1.0, |window| window.device_pixel_ratio());
        let [by_gl, by_canvas] = MAX_RATIOS;
        match self {
            Self::Gl(..) => device.clamp(1.0, by_gl),
            Self::Canvas(.., last_ms) if is_moving && *last_ms > MAX_MOVING_MS => 0.5 * device.clamp(1.0, by_canvas),
            Self::Canvas(..) => device.clamp(1.0, by_canvas),
        }
    }

    /// Whether another painter would draw faster.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Gl(painter, _) if painter.is_slow())
    }

    /// Draws; of a picture that is not whole the time it takes says nothing.
    pub fn draw(&mut self, picture: &Picture, is_whole: bool) {
        match self {
            Self::Gl(painter, last) => {
                let is_map = |last: &Picture| Arc::ptr_eq(&last.map, &picture.map);
                let is_same_map = last.as_ref().is_some_and(is_map);
                if !is_same_map {
                    painter.set_points(&picture.map.grid);
                }
                if !is_same_map || !last.as_ref().is_some_and(|last| Arc::ptr_eq(&last.colors, &picture.colors)) {
                    painter.set_colors(&picture.colors);
                }
                if !is_same_map || !last.as_ref().is_some_and(|last| Arc::ptr_eq(&last.dots, &picture.dots)) {
                    painter.set_dots(&picture.map.grid, &picture.dots);
                }
                painter.draw(picture);
                *last = Some(picture.clone());
            }
            Self::Canvas(canvas, raster, last_ms) => {
                let start_ms = now_ms();
                rastered(raster, picture);
                // A canvas that cannot be drawn on stays empty; the table beside it says the same.
                let _ = put(canvas, raster);
                if is_whole {
                    *last_ms = now_ms() - start_ms;
                }
            }
        }
    }
}

/// Draws a picture by the processor.
pub fn rastered(raster: &mut Raster, picture: &Picture) {
    let scene = Scene {
        grid: &picture.map.grid,
        colors: &picture.colors.of_places,
        tints: &picture.colors.tints,
        viewport: picture.viewport,
        window: picture.window,
        diameter: picture.diameter,
    };
    raster.draw(&scene, picture.tone);
    raster.dots(&scene, &picture.dots, picture.dot_fill, picture.dot_rim, picture.dot_radius);
}

/// Puts what was drawn on a canvas, which becomes as large; `None` when it cannot be drawn on.
pub fn put(canvas: &HtmlCanvasElement, raster: &Raster) -> Option<()> {
    let (width, height) = raster.size();
    let (width, height) = (width as u32, height as u32);
    if (canvas.width(), canvas.height()) != (width, height) {
        canvas.set_width(width);
        canvas.set_height(height);
    }
    let context = canvas.get_context("2d").ok()??.dyn_into::<CanvasRenderingContext2d>().ok()?;
    let data = ImageData::new_with_u8_clamped_array_and_sh(Clamped(raster.pixels()), width, height).ok()?;
    context.put_image_data(&data, 0.0, 0.0).ok()
}
