//! From a chart to a file: the chart drawn as SVG with its title and axes, and that as pixels where they are asked for.

use js_sys::{Array, Promise};
use leptos::prelude::*;
use plotters::prelude::{IntoDrawingArea, SVGBackend};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, BlobPropertyBag, CanvasRenderingContext2d, HtmlCanvasElement, HtmlImageElement, Url};

use super::super::canvas::{Drawn, Ink, Sheet};
use super::super::{histogram, scatter, sweep};
use super::paper::{Anchor, Letters, Paper, lines};
use super::{Drawing, Form, Picture};
use crate::app::validate::forest_drawing;
use crate::saving;

/// Pixels that a chart is drawn with per CSS pixel: plotters draws at whole pixels.
const RATIO: f64 = 4.0;
/// plotters writes the size of letters to an SVG divided by this.
const LETTERS: f64 = 1.24;
/// Room around a picture, in CSS pixels.
const ROOM_PX: f64 = 16.0;
/// Room of a line of names of axes, in CSS pixels.
const NAME_PX: f64 = 18.0;
/// Size of a title's letters, and of what stands below it, in CSS pixels.
const HEAD_PX: [f64; 2] = [14.0, 11.0];
/// A line takes so many times the size of its letters.
const LEADING: f64 = 1.45;
/// Least width of what stands above a chart, in CSS pixels.
const MIN_WIDTH_PX: f64 = 360.0;
/// Size of a plot of a behavior by layer, in CSS pixels.
const SWEEP_PX: [f64; 2] = [560.0, 180.0];

/// Draws a picture and offers it as a download.
///
/// # Errors
///
/// Why it cannot be saved.
pub async fn save(picture: Picture, form: Form, ink: Ink) -> Result<(), String> {
    let name = format!("{}.{}", picture.file, form.ending());
    let paper = whole(picture, &ink).map_err(|error| error.to_string())?;
    let size = paper.size();
    let svg = file(&paper.finish(ink.ground)).ok_or("the browser makes no file of it")?;
    let file = match form {
        Form::Svg => svg,
        Form::Png => pixels(&svg, size).await.map_err(|_| "the browser does not draw it")?,
    };
    saving::save(&file, &name);
    Ok(())
}

fn file(svg: &str) -> Option<Blob> {
    let options = BlobPropertyBag::new();
    options.set_type("image/svg+xml");
    Blob::new_with_blob_sequence_and_options(&Array::of1(&svg.into()), &options).ok()
}

/// The chart with its title.
fn whole(picture: Picture, ink: &Ink) -> Result<Paper, Box<dyn std::error::Error>> {
    let Picture { title, about, drawing, .. } = picture;
    let chart = match drawing {
        Drawing::Histogram(chart, size) => plot(size, ink, histogram::Chart::AXES, |sheet| chart.draw(&sheet))?,
        Drawing::Scatter(chart, size) => plot(size, ink, scatter::Chart::AXES, |sheet| chart.draw(&sheet, None))?,
        Drawing::Sweep(charts, chosen) => {
            let mut all = Paper::new([SWEEP_PX[0], 0.0]);
            for chart in charts {
                let plot = plot(SWEEP_PX, ink, [sweep::Chart::ACROSS, chart.name], |sheet| chart.draw(&sheet, chosen))?;
                let top = all.extend(plot.size()[1] + ROOM_PX);
                all.paper([0.0, top], &plot);
            }
            all
        }
        Drawing::Forest(report) => forest_drawing::drawing(&report, ink),
        Drawing::Drawn(paper) => paper,
    };
    let [width, height] = chart.size();
    let width = width.max(MIN_WIDTH_PX).ceil();
    let heads = [(title, ink.text, HEAD_PX[0], true), (about, ink.muted, HEAD_PX[1], false)];
    let mut above = ROOM_PX;
    let mut rows = Vec::new();
    for (text, color, px, is_bold) in heads {
        let letters = Letters::new(color).px(px);
        let letters = if is_bold { letters.bold() } else { letters };
        for line in lines(&text, width, px) {
            above += LEADING * px;
            rows.push((above - 0.3 * px, letters, line));
        }
    }
    above = (above + 10.0).ceil();
    let mut whole = Paper::new([width + 2.0 * ROOM_PX, (above + height + ROOM_PX).ceil()]);
    for (y, letters, line) in rows {
        whole.text([ROOM_PX, y], letters, &line);
    }
    whole.paper([ROOM_PX, above], &chart);
    Ok(whole)
}

/// What plotters draws, with the names of its axes: that of the one across below it, of the one up above it.
fn plot(
    size: [f64; 2],
    ink: &Ink,
    [across, up]: [&str; 2],
    draw: impl FnOnce(Sheet<SVGBackend<'_>>) -> Drawn,
) -> Result<Paper, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    let [width, height] = size.map(|px| (px * RATIO).round() as u32);
    let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
    draw(Sheet { root, ratio: RATIO, letters: LETTERS, ink: ink.clone() })?;
    let mut paper = Paper::new([size[0], size[1] + 2.0 * NAME_PX]);
    let letters = Letters::new(ink.muted);
    paper.text([0.0, 11.0], letters, up);
    paper.svg([0.0, NAME_PX], RATIO, &svg);
    paper.text([size[0] / 2.0, size[1] + 2.0 * NAME_PX - 5.0], letters.at(Anchor::Middle), across);
    Ok(paper)
}

/// Pixels of a PNG for one of CSS, at least: it is to be read in print and on finer screens than this one.
const LEAST_RATIO: f64 = 2.0;

/// An SVG as a PNG in the screen's pixels, or [`LEAST_RATIO`] where these are coarser.
async fn pixels(svg: &Blob, size: [f64; 2]) -> Result<Blob, JsValue> {
    let ratio = web_sys::window().map_or(1.0, |window| window.device_pixel_ratio()).max(LEAST_RATIO);
    let [width, height] = size.map(|px| (px * ratio).round().max(1.0));
    let address = Url::create_object_url_with_blob(svg)?;
    let image = HtmlImageElement::new()?;
    image.set_src(&address);
    let decoded = JsFuture::from(image.decode()).await;
    let canvas: HtmlCanvasElement = document().create_element("canvas")?.unchecked_into();
    canvas.set_width(width as u32);
    canvas.set_height(height as u32);
    let context = canvas.get_context("2d")?.ok_or("no 2d context")?.unchecked_into::<CanvasRenderingContext2d>();
    let drawn =
        decoded.and_then(|_| context.draw_image_with_html_image_element_and_dw_and_dh(&image, 0.0, 0.0, width, height));
    // Nobody reads it any more, whether it was drawn or not.
    Url::revoke_object_url(&address)?;
    drawn?;
    let promise = Promise::new(&mut |resolve, reject| {
        if let Err(error) = canvas.to_blob(&resolve) {
            let _ = reject.call1(&JsValue::NULL, &error);
        }
    });
    JsFuture::from(promise).await?.dyn_into::<Blob>()
}
