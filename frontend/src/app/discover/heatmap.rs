//! The matrix: a row per prompt, a column per pair, in the order of the hierarchies, which stand beside it.

use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use plotters::prelude::{PathElement, RGBColor, ShapeStyle};
use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData, PointerEvent};
use whence_shared::discovery::{Grouping, Groups};
use whence_shared::pair::one_line;

use super::super::canvas::{Drawn, Ink, Sheet, redraw_on_changes};
use super::pair_link;
use crate::discovery::{Discovery, Found};
use crate::number::score;

/// Room for the hierarchies, in CSS pixels: of prompts at the left, of pairs at the top.
const MARGIN_PX: f64 = 64.0;
/// The color is full from this share of the cosines, by size, on.
const FULL_FROM: f64 = 0.99;
const SNIPPET_CHARS: usize = 160;

/// The chart with what the pointer is at.
#[component]
pub fn Heatmap(found: Arc<Found>) -> impl IntoView {
    let discovery = Discovery::here();
    let canvas = NodeRef::<html::Canvas>::new();
    let redraw = Trigger::new();
    let hovered = RwSignal::new(None::<(usize, usize)>);
    let chosen = RwSignal::new(None::<(usize, usize)>);
    redraw_on_changes(canvas, redraw);
    let limit = limit(&found.similarity.of_pairs);
    Effect::new({
        let found = found.clone();
        move || {
            redraw.track();
            let Some(canvas) = canvas.get() else { return };
            let (found, groups) = (found.clone(), discovery.groups(&found));
            // In a turn of its own. A canvas that cannot be drawn on leaves the chart empty; the cards say the same.
            set_timeout(move || drop(draw(&canvas, &found, &groups, limit)), std::time::Duration::ZERO);
        }
    });
    let cell = {
        let found = found.clone();
        move |event: &PointerEvent| {
            let canvas = canvas.get_untracked()?;
            let at = |offset: i32, room: i32, n: usize| {
                let share = (f64::from(offset) - MARGIN_PX) / (f64::from(room) - MARGIN_PX);
                (0.0..1.0).contains(&share).then_some((share * n as f64) as usize)
            };
            // Where it is cut does not change the order.
            let groups = &found.groups;
            let row = at(event.offset_y(), canvas.client_height(), groups.prompts.leaf_order.len())?;
            let column = at(event.offset_x(), canvas.client_width(), groups.pairs.leaf_order.len())?;
            Some((groups.prompts.leaf_order[row] as usize, groups.pairs.leaf_order[column] as usize))
        }
    };
    let on_move = {
        let cell = cell.clone();
        move |event: PointerEvent| hovered.set(cell(&event))
    };
    let on_down = move |event: PointerEvent| chosen.set(cell(&event));
    let caption = {
        let found = found.clone();
        move || match hovered.get().or(chosen.get()) {
            Some((prompt, pair)) => {
                let groups = discovery.groups(&found);
                let (a, b) = (groups.prompts.labels[prompt] + 1, groups.pairs.labels[pair] + 1);
                format!("cosine {} · prompts {a}, pairs {b}", score(found.cosine(prompt, pair)))
            }
            None => format!("cosines from −{limit:.2} to {limit:.2}"),
        }
    };
    let description = {
        let found = found.clone();
        move || {
            let groups = discovery.groups(&found);
            format!(
                "Matrix of cosines, {} prompts in {} groups by {} pairs in {} groups",
                found.view.prompts.len(),
                groups.prompts.clusters.len(),
                found.view.pairs.len(),
                groups.pairs.clusters.len()
            )
        }
    };
    let reading = move || {
        let (prompt, pair) = chosen.get()?;
        let (prompt, pair) = (&found.view.prompts[prompt], &found.view.pairs[pair]);
        Some(view! {
            <dl class="cell" id="cell">
                <dt>"Prompt"</dt>
                <dd>{one_line(&prompt.prompt, SNIPPET_CHARS)}</dd>
                <dt>"Pair"</dt>
                <dd>{pair_link(pair.row, one_line(&pair.snippet, SNIPPET_CHARS))}</dd>
            </dl>
        })
    };
    view! {
        <section class="heatmap" aria-labelledby="heatmap-title">
            <h2 id="heatmap-title">
                "Prompts by pairs" <span class="legend"><span class="scale" aria-hidden="true"></span> {caption}</span>
            </h2>
            <canvas
                id="heatmap"
                node_ref=canvas
                role="img"
                aria-label=description
                on:pointermove=on_move
                on:pointerleave=move |_| hovered.set(None)
                on:pointerdown=on_down
            ></canvas>
            {reading}
        </section>
    }
}

/// The cosine at which the color is full.
fn limit(similarity: &[f32]) -> f32 {
    let mut sizes: Vec<f32> = similarity.iter().map(|value| value.abs()).collect();
    sizes.sort_by(f32::total_cmp);
    let at = (sizes.len() as f64 * FULL_FROM) as usize;
    sizes.get(at.min(sizes.len().saturating_sub(1))).copied().unwrap_or(0.0).max(0.01)
}

fn draw(canvas: &HtmlCanvasElement, found: &Found, groups: &Groups, limit: f32) -> Drawn {
    let Some(mut sheet) = Sheet::of(canvas)? else { return Ok(()) };
    let margin = (MARGIN_PX * sheet.ratio).round() as u32;
    let (width, height) = (canvas.width().saturating_sub(margin), canvas.height().saturating_sub(margin));
    let context = canvas.get_context("2d").ok().flatten().and_then(|it| it.dyn_into::<CanvasRenderingContext2d>().ok());
    let context = context.ok_or("the canvas has no 2d context")?;
    let image = image(found, limit, &sheet.ink).ok_or("the matrix has no picture")?;
    // Cells stay sharp as long as each has a pixel.
    let is_sharp = image.width() <= width && image.height() <= height;
    context.set_image_smoothing_enabled(!is_sharp);
    let (x, y, w, h) = (f64::from(margin), f64::from(margin), f64::from(width), f64::from(height));
    let drawn = context.draw_image_with_html_canvas_element_and_dw_and_dh(&image, x, y, w, h);
    drawn.map_err(|_| "the matrix cannot be drawn")?;

    let hair = sheet.ratio.max(1.0).round() as u32;
    let (left, top) = (margin as i32, margin as i32);
    for share in boundaries(&groups.prompts) {
        let at = top + (share * h) as i32;
        line(&mut sheet, [(left, at), (left + width as i32, at)], hair, |ink| ink.text)?;
    }
    for share in boundaries(&groups.pairs) {
        let at = left + (share * w) as i32;
        line(&mut sheet, [(at, top), (at, top + height as i32)], hair, |ink| ink.text)?;
    }
    // A hierarchy grows away from the matrix; `depth` 0 is at its edge, 1 at the canvas's.
    let depth_px = f64::from(margin) - 6.0 * sheet.ratio;
    for branch in branches(&groups.prompts) {
        let points =
            branch.points.map(|(along, depth)| (left - 2 - (depth * depth_px) as i32, top + (along * h) as i32));
        branch_line(&mut sheet, &points, branch.is_within, hair)?;
    }
    for branch in branches(&groups.pairs) {
        let points =
            branch.points.map(|(along, depth)| (left + (along * w) as i32, top - 2 - (depth * depth_px) as i32));
        branch_line(&mut sheet, &points, branch.is_within, hair)?;
    }
    sheet.root.present()?;
    Ok(())
}

fn line(sheet: &mut Sheet, points: [(i32, i32); 2], hair: u32, color: fn(&Ink) -> RGBColor) -> Drawn {
    let style: ShapeStyle = plotters::style::Color::stroke_width(&color(&sheet.ink), hair);
    Ok(sheet.root.draw(&PathElement::new(points, style))?)
}

fn branch_line(sheet: &mut Sheet, points: &[(i32, i32); 4], is_within: bool, hair: u32) -> Drawn {
    let color = if is_within { sheet.ink.muted } else { sheet.ink.accent };
    let style: ShapeStyle = plotters::style::Color::stroke_width(&color, hair);
    Ok(sheet.root.draw(&PathElement::new(points.to_vec(), style))?)
}

/// The matrix with one pixel per cell, rows and columns in the order of their leaves.
fn image(found: &Found, limit: f32, ink: &Ink) -> Option<HtmlCanvasElement> {
    let groups = &found.groups;
    let (columns, rows) = (&groups.pairs.leaf_order, &groups.prompts.leaf_order);
    let mut pixels = Vec::with_capacity(4 * rows.len() * columns.len());
    for &row in rows {
        for &column in columns {
            let value = (found.cosine(row as usize, column as usize) / limit).clamp(-1.0, 1.0);
            let full = if value < 0.0 { ink.rejected } else { ink.accent };
            let mix =
                |ground: u8, full: u8| (f32::from(ground) + (f32::from(full) - f32::from(ground)) * value.abs()) as u8;
            let RGBColor(r, g, b) = ink.ground;
            pixels.extend([mix(r, full.0), mix(g, full.1), mix(b, full.2), 255]);
        }
    }
    let image = document().create_element("canvas").ok()?.dyn_into::<HtmlCanvasElement>().ok()?;
    let (width, height) = (columns.len() as u32, rows.len() as u32);
    image.set_width(width);
    image.set_height(height);
    let context = image.get_context("2d").ok()??.dyn_into::<CanvasRenderingContext2d>().ok()?;
    let data = ImageData::new_with_u8_clamped_array_and_sh(Clamped(&pixels), width, height).ok()?;
    context.put_image_data(&data, 0.0, 0.0).ok()?;
    Some(image)
}

/// Where one group ends and the next begins, in the order of the leaves, as shares of the whole.
fn boundaries(grouping: &Grouping) -> Vec<f64> {
    let label = |leaf: u32| grouping.labels[leaf as usize];
    let n = grouping.leaf_order.len() as f64;
    let pairs = grouping.leaf_order.windows(2).zip(1..);
    pairs.filter(|(pair, _)| label(pair[0]) != label(pair[1])).map(|(_, place)| f64::from(place) / n).collect()
}

/// One merge of a hierarchy, as a bracket: four points (along, depth), both 0 to 1.
struct Branch {
    points: [(f64, f64); 4],
    /// Whether it joins rows of one group.
    is_within: bool,
}

fn branches(grouping: &Grouping) -> Vec<Branch> {
    let n = grouping.leaf_order.len();
    let merges = &grouping.dendrogram.merges;
    let highest = merges.last().map_or(0.0, |merge| merge.height);
    if highest <= 0.0 {
        return Vec::new();
    }
    let mut places = vec![(0.0, 0.0); n + merges.len()];
    for (place, &leaf) in grouping.leaf_order.iter().enumerate() {
        places[leaf as usize] = ((place as f64 + 0.5) / n as f64, 0.0);
    }
    let n_within = n - grouping.clusters.len();
    merges
        .iter()
        .enumerate()
        .map(|(i, merge)| {
            let (a, b) = (places[merge.left as usize], places[merge.right as usize]);
            let depth = merge.height / highest;
            places[n + i] = ((a.0 + b.0) / 2.0, depth);
            Branch { points: [a, (a.0, depth), (b.0, depth), b], is_within: i < n_within }
        })
        .collect()
}
