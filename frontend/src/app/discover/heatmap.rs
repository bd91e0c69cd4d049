//! The matrix: a row per prompt, a column per pair, in the order of the hierarchies, which stand beside it. A cell is chosen by
//! pointer or keys.

use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use plotters::prelude::{PathElement, RGBColor, ShapeStyle};
use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData, KeyboardEvent, PointerEvent};
use whence_shared::discovery::{Grouping, Groups};
use whence_shared::pair::one_line;

use super::super::canvas::{Drawn, Ink, Sheet, redraw_on_changes};
use super::super::dropdown::TableBehind;
use super::super::export::paper::{Anchor, Letters, Paper, Stroke};
use super::super::export::{Drawing, Export, Picture, file_name};
use super::pair_link;
use crate::discovery::{Discovery, Found};
use crate::number::{count, counted, hundredths, score};
use crate::state::State;

/// Room for the hierarchies, in CSS pixels: of prompts at the left, of pairs at the top.
const MARGIN_PX: f64 = 64.0;
/// The color is full from this share of the cosines, by size, on.
const FULL_FROM: f64 = 0.99;
const SNIPPET_CHARS: usize = 160;
/// Cells that an arrow key goes with Shift.
const FAR: usize = 10;
/// The matrix on paper, across and down, with its hierarchies, in CSS pixels.
const PAPER_PX: [f64; 2] = [720.0, 560.0];
/// Room for names of axes and numbers of groups on paper, in CSS pixels.
const NAMES_PX: f64 = 20.0;
/// Least room of a group whose number is written, in CSS pixels.
const MIN_GROUP_PX: f64 = 10.0;

/// The chart with what the pointer is at.
#[component]
pub fn Heatmap(found: Arc<Found>) -> impl IntoView {
    let (state, discovery) = (State::here(), Discovery::here());
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
                "Matrix of cosines, {} prompts in {} groups by {} pairs in {} groups. Arrow keys choose a cell, with Shift ten \
                 further; Enter opens its pair. The table below has the groups’ means.",
                found.view.prompts.len(),
                groups.prompts.clusters.len(),
                found.view.pairs.len(),
                groups.pairs.clusters.len()
            )
        }
    };
    let place = {
        let found = found.clone();
        move || place_of(&found.groups, chosen.get()?)
    };
    let marker = {
        let (place, found) = (place.clone(), found.clone());
        move || {
            let ([row, column], groups) = (place()?, &found.groups);
            let along = |at: usize, n: usize| {
                format!("calc({MARGIN_PX}px + (100% - {MARGIN_PX}px) * {:.5})", at as f64 / n as f64)
            };
            let wide = |n: usize| format!("calc((100% - {MARGIN_PX}px) / {n})");
            let (n_rows, n_columns) = (groups.prompts.leaf_order.len(), groups.pairs.leaf_order.len());
            Some(view! {
                <span
                    class="chosen-cell"
                    aria-hidden="true"
                    style:left=along(column, n_columns)
                    style:top=along(row, n_rows)
                    style:width=wide(n_columns)
                    style:height=wide(n_rows)
                ></span>
            })
        }
    };
    let on_key = {
        let found = found.clone();
        move |event: KeyboardEvent| {
            if event.ctrl_key() || event.meta_key() || event.alt_key() {
                return;
            }
            if event.key() == "Enter" {
                let Some((_, pair)) = chosen.get_untracked() else { return };
                state.show_pair(found.view.pairs[pair].row);
            } else {
                let groups = &found.groups;
                let at = chosen.get_untracked().and_then(|cell| place_of(groups, cell));
                let Some([row, column]) = moved(groups, at, &event.key(), event.shift_key()) else { return };
                let (rows, columns) = (&groups.prompts.leaf_order, &groups.pairs.leaf_order);
                chosen.set(Some((rows[row] as usize, columns[column] as usize)));
                // What the pointer rests on is not what the keys are at.
                hovered.set(None);
            }
            event.prevent_default();
        }
    };
    // Where the keys begin is said by itself, too.
    let on_focus = {
        let found = found.clone();
        move |_| {
            let groups = &found.groups;
            let first = groups.prompts.leaf_order.first().zip(groups.pairs.leaf_order.first());
            if let (None, Some((row, column))) = (chosen.get_untracked(), first) {
                chosen.set(Some((*row as usize, *column as usize)));
            }
        }
    };
    let spoken = {
        let found = found.clone();
        move || {
            let ((prompt, pair), [row, column]) = (chosen.get()?, place()?);
            let groups = discovery.groups(&found);
            Some(format!(
                "Cosine {}. Row {}, prompts {}: {}. Column {}, pairs {}: {}.",
                score(found.cosine(prompt, pair)),
                row + 1,
                groups.prompts.labels[prompt] + 1,
                one_line(&found.view.prompts[prompt].prompt, SNIPPET_CHARS),
                column + 1,
                groups.pairs.labels[pair] + 1,
                one_line(&found.view.pairs[pair].snippet, SNIPPET_CHARS)
            ))
        }
    };
    let numbers = {
        let found = found.clone();
        move |()| means(&discovery.groups(&found))
    };
    let picture = {
        let found = found.clone();
        move |()| {
            let (study, groups) = (state.study_name(), discovery.groups(&found));
            let view = &found.view;
            let layers: Vec<String> = view.layers.iter().map(usize::to_string).collect();
            let layers = layers.join("-");
            Some(Picture {
                file: file_name(&[&study, &view.name, &format!("layer-{layers}"), "prompts-by-pairs"]),
                title: format!("Prompts by pairs: “{}”, layer {layers}", view.behavior),
                about: format!(
                    "Cosine of what tuning changed in each answer with what each pair teaches: {} in {} by {} in {}, in the order of                      their hierarchies. Study {study}.",
                    counted(view.prompts.len(), "prompt", "prompts"),
                    counted(groups.prompts.clusters.len(), "group", "groups"),
                    counted(view.pairs.len(), "pair", "pairs"),
                    counted(groups.pairs.clusters.len(), "group", "groups"),
                ),
                drawing: Drawing::Drawn(drawing(&found, &groups, limit)?),
            })
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
            <div class="matrix">
                <canvas
                    id="heatmap"
                    node_ref=canvas
                    tabindex="0"
                    role="application"
                    aria-roledescription="matrix"
                    aria-label=description
                    on:pointermove=on_move
                    on:pointerleave=move |_| hovered.set(None)
                    on:pointerdown=on_down
                    on:keydown=on_key
                    on:focus=on_focus
                ></canvas>
                {marker}
            </div>
            <p class="unseen" id="heatmap-cell" aria-live="polite">
                {spoken}
            </p>
            {reading}
            <div class="chart-line end">
                <span class="chart-tools">
                    <TableBehind
                        id="heatmap-table"
                        caption="Mean cosine of each group of prompts with each group of pairs"
                        heads=&["prompts", "how many", "pairs", "how many", "mean cosine"]
                        rows=numbers
                    />
                    <Export id="heatmap-export" picture />
                </span>
            </div>
        </section>
    }
}

/// Where a cell lies: its row and its column, in the order of the leaves.
fn place_of(groups: &Groups, (prompt, pair): (usize, usize)) -> Option<[usize; 2]> {
    let place = |grouping: &Grouping, leaf: usize| grouping.leaf_order.iter().position(|&at| at as usize == leaf);
    Some([place(&groups.prompts, prompt)?, place(&groups.pairs, pair)?])
}

/// Where a key leads from a row and a column, or from nowhere; `None` when it leads nowhere, or nothing is there.
fn moved(groups: &Groups, at: Option<[usize; 2]>, key: &str, is_far: bool) -> Option<[usize; 2]> {
    let [last_row, last_column] =
        [&groups.prompts, &groups.pairs].map(|grouping| grouping.leaf_order.len().checked_sub(1));
    let (last_row, last_column) = (last_row?, last_column?);
    let by = if is_far { FAR } else { 1 };
    let is_begun = at.is_some();
    let [row, column] = at.unwrap_or_default();
    let to = match key {
        "ArrowUp" => [row.saturating_sub(by), column],
        "ArrowDown" => [(row + by).min(last_row), column],
        "ArrowLeft" => [row, column.saturating_sub(by)],
        "ArrowRight" => [row, (column + by).min(last_column)],
        "Home" => [row, 0],
        "End" => [row, last_column],
        _ => return None,
    };
    Some(if is_begun { to } else { [0, 0] })
}

/// The groups' means as a table.
fn means(groups: &Groups) -> Vec<Vec<String>> {
    let line = |prompts: usize, pairs: usize, mean: f64| {
        let size = |grouping: &Grouping, label: usize| grouping.clusters.get(label).map_or(0, |cluster| cluster.size);
        vec![
            (prompts + 1).to_string(),
            count(size(&groups.prompts, prompts)),
            (pairs + 1).to_string(),
            count(size(&groups.pairs, pairs)),
            score(mean as f32),
        ]
    };
    let rows = groups.means.iter().enumerate();
    rows.flat_map(|(prompts, means)| means.iter().enumerate().map(move |(pairs, mean)| line(prompts, pairs, *mean)))
        .collect()
}

/// The matrix on paper.
fn drawing(found: &Found, groups: &Groups, limit: f32) -> Option<Paper> {
    let ink = Ink::of(&document().document_element()?);
    let image = image(found, limit, &ink)?;
    let data = image.to_data_url().ok()?;
    let (left, top) = (MARGIN_PX, MARGIN_PX + NAMES_PX);
    let [width, height] = PAPER_PX.map(|px| px - MARGIN_PX);
    let mut paper = Paper::new([PAPER_PX[0] + NAMES_PX, PAPER_PX[1] + 4.0 * NAMES_PX]);
    let is_sharp = f64::from(image.width()) <= width && f64::from(image.height()) <= height;
    paper.image([left, top], [width, height], &data, is_sharp);
    let (bottom, right) = (top + height, left + width);
    let line = Stroke::new(ink.text, 1.0);
    for share in boundaries(&groups.prompts) {
        paper.line(&[[left, top + share * height], [right, top + share * height]], line);
    }
    for share in boundaries(&groups.pairs) {
        paper.line(&[[left + share * width, top], [left + share * width, bottom]], line);
    }
    let depth_px = MARGIN_PX - 6.0;
    let stroke = |is_within: bool| Stroke::new(if is_within { ink.muted } else { ink.accent }, 1.0);
    for branch in branches(&groups.prompts) {
        let points = branch.points.map(|(along, depth)| [left - 2.0 - depth * depth_px, top + along * height]);
        paper.line(&points, stroke(branch.is_within));
    }
    for branch in branches(&groups.pairs) {
        let points = branch.points.map(|(along, depth)| [left + along * width, top - 2.0 - depth * depth_px]);
        paper.line(&points, stroke(branch.is_within));
    }
    let letters = Letters::new(ink.muted);
    for (label, [from, to]) in
        runs(&groups.prompts).into_iter().filter(|(_, [from, to])| (to - from) * height >= MIN_GROUP_PX)
    {
        paper.text([right + 6.0, top + (from + to) / 2.0 * height + 4.0], letters, &(label + 1).to_string());
    }
    for (label, [from, to]) in
        runs(&groups.pairs).into_iter().filter(|(_, [from, to])| (to - from) * width >= MIN_GROUP_PX)
    {
        let at = [left + (from + to) / 2.0 * width, bottom + 14.0];
        paper.text(at, letters.at(Anchor::Middle), &(label + 1).to_string());
    }
    paper.text([0.0, 11.0], letters, "down: prompts, with their group at the right");
    let across = "across: pairs, with their group below";
    paper.text([left + width / 2.0, bottom + 1.6 * NAMES_PX], letters.at(Anchor::Middle), across);
    let [x, y] = [left + width / 2.0 - 90.0, bottom + 2.2 * NAMES_PX];
    paper.scale([x, y], [180.0, 9.0], [ink.rejected, ink.ground, ink.accent], "cosines");
    let limit = f64::from(limit);
    for (at, text) in [(0.0, hundredths(-limit)), (0.5, "0".to_owned()), (1.0, hundredths(limit))] {
        paper.text([x + 180.0 * at, y + 22.0], letters.at(Anchor::Middle), &text);
    }
    paper.text([x + 210.0, y + 9.0], letters, "cosine");
    Some(paper)
}

/// Groups in the order of the leaves: their label, and where they begin and end as shares of the whole.
fn runs(grouping: &Grouping) -> Vec<(u32, [f64; 2])> {
    let ends: Vec<f64> = boundaries(grouping).into_iter().chain([1.0]).collect();
    let starts = std::iter::once(0.0).chain(ends.iter().copied());
    let n = grouping.leaf_order.len() as f64;
    let run = |(start, end): (f64, &f64)| {
        let leaf = *grouping.leaf_order.get((start * n).round() as usize)?;
        Some((grouping.labels[leaf as usize], [start, *end]))
    };
    starts.zip(&ends).filter_map(run).collect()
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
