//! Scores and lengths of all pairs: a point for every pair, darker where there are more, those among the top in the accent
//! color. Dragging over it shows the pairs within alone.

use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData, PointerEvent};
use whence_shared::columns::RowColumns;
use whence_shared::filter::{Filter, Span};
use whence_shared::statistics::wilson;
use whence_shared::strata::by_length;

use super::brush::Brush;
use super::canvas::{Drawn, Sheet, redraw_on_changes};
use super::dropdown::TableBehind;
use super::export::{Drawing, Export, Picture, size_of};
use super::histogram::{tick_label, ticks};
use super::table::end_name;
use crate::address::Step;
use crate::listing::{ColumnsStatus, Listing};
use crate::maps::marked;
use crate::number::{count, percent, score};
use crate::state::{Ranking, State};

/// Room for labels, in CSS pixels: left, bottom, top, right.
const MARGINS_PX: [f64; 4] = [46.0, 18.0, 6.0, 10.0];
/// Side of a point in CSS pixels.
const POINT_PX: f64 = 2.0;
/// Groups of the table behind the chart.
const N_STRATA: usize = 10;

/// The chart with its caption.
#[component]
pub fn LengthScatter() -> impl IntoView {
    let state = State::here();
    let listing = Listing::here();
    let canvas = NodeRef::<html::Canvas>::new();
    let redraw = Trigger::new();
    redraw_on_changes(canvas, redraw);
    let brush = Brush::new(canvas, MARGINS_PX);
    let frame = Memo::new(move |_| {
        let columns = listing.ready_columns()?;
        state.ranking.with(|ranking| Frame::of(ranking.as_ref()?, &columns.chosen_chars))
    });
    let chart = move || {
        let (ranking, frame, columns) = (state.ranking.get()?, frame.get()?, listing.ready_columns()?);
        let brushed = state.filter.with(|filter| (filter.score, filter.chosen_chars));
        let is_enclosed = enclosed(state, ranking.scores.len());
        Some(Chart { frame, columns, ranking, k: state.k.get(), row: state.row.get(), brushed, is_enclosed })
    };
    Effect::new(move || {
        redraw.track();
        let Some((canvas, chart)) = canvas.get().zip(chart()) else { return };
        // A canvas that cannot be drawn on leaves the chart empty; its numbers are in the table.
        let draw = move || {
            let _ =
                Sheet::of(&canvas).and_then(|sheet| sheet.map_or(Ok(()), |sheet| chart.draw(&sheet, Some(&canvas))));
        };
        set_timeout(draw, std::time::Duration::ZERO);
    });
    let on_move = move |event: PointerEvent| {
        let Some((corners, frame)) = brush.drag(&event).zip(frame.get_untracked()) else { return };
        let (scores, chars) = frame.spans(corners);
        state.choose_filter(Step::Replace, |filter| (filter.score, filter.chosen_chars) = (scores, chars));
    };
    // A click takes back what was dragged over.
    let on_release = move |_| {
        if !brush.release() {
            state.choose_filter(Step::Push, |filter: &mut Filter| {
                (filter.score, filter.chosen_chars) = (Span::default(), Span::default());
            });
        }
    };
    let numbers = move |()| numbers(state, listing).unwrap_or_default();
    let caption = move || match listing.columns.get() {
        ColumnsStatus::Failed(reason) => format!("Lengths did not arrive: {reason}"),
        ColumnsStatus::Ready(_) => {
            let of = if state.lasso.with(Option::is_some) { "in the lasso · " } else { "" };
            format!("{of}length of the chosen response by score; colored: the {}", end_name(state))
        }
        _ => "Reading lengths…".to_owned(),
    };
    let picture = move |()| {
        let of = if state.lasso.with(Option::is_some) { "In the lasso. " } else { "" };
        let about = format!(
            "{of}A point for every pair, darker where there are more; colored: the {} {}.",
            end_name(state),
            count(state.k.get())
        );
        let drawing = Drawing::Scatter(chart()?, size_of(canvas)?);
        Picture::of_ranking(
            state,
            "scores-by-length",
            "Pairs by score and length of the chosen response",
            &about,
            drawing,
        )
    };
    view! {
        <div class="chart scatter">
            <canvas
                node_ref=canvas
                role="img"
                aria-label="Every pair by its score and the length of its chosen response; the numbers are in the table below"
                on:pointerdown=move |event| brush.press(&event)
                on:pointermove=on_move
                on:pointerup=on_release
                on:pointercancel=move |_| {
                    brush.release();
                }
            ></canvas>
            <p class="chart-line">
                <span class="legend">{caption}</span>
                <span class="chart-tools">
                    <TableBehind
                        id="scatter-table"
                        caption="Pairs by length of the chosen response, in groups of about equal size"
                        heads=&["characters", "pairs", "mean score", "share among the wanted", "95 % interval"]
                        rows=numbers
                    />
                    <Export id="scatter-export" picture />
                </span>
            </p>
        </div>
    }
}

/// By row, whether the lasso encloses the pair; `None` where there is none. Tracked.
fn enclosed(state: State, n_rows: usize) -> Option<Vec<bool>> {
    state
        .lasso
        .with(Option::is_some)
        .then(|| state.selected_rows.with(|rows| rows.as_ref().map(|rows| marked(rows, n_rows)).unwrap_or_default()))
}

/// Groups by length: how many, their mean score, their share of the top k with its interval.
fn numbers(state: State, listing: Listing) -> Option<Vec<Vec<String>>> {
    let columns = listing.ready_columns()?;
    let ranking = state.ranking.get()?;
    let k = state.k.get().min(ranking.order.len());
    let strata = match enclosed(state, ranking.scores.len()) {
        None => by_length(&columns.chosen_chars, &ranking.scores, &ranking.places, k, N_STRATA),
        Some(is_enclosed) => {
            let rows: Vec<usize> = (0..is_enclosed.len()).filter(|row| is_enclosed[*row]).collect();
            let chars: Vec<u32> = rows.iter().map(|row| columns.chosen_chars[*row]).collect();
            let scores: Vec<f32> = rows.iter().map(|row| ranking.scores[*row]).collect();
            let places: Vec<u32> = rows.iter().map(|row| ranking.places[*row]).collect();
            by_length(&chars, &scores, &places, k, N_STRATA)
        }
    };
    let n_top: usize = strata.iter().map(|stratum| stratum.n_top).sum();
    let line = |stratum: whence_shared::strata::Stratum| {
        let share = wilson::share(stratum.n_top as u64, n_top as u64, 0.95);
        vec![
            format!("{} to {}", count(stratum.low as usize), count(stratum.high as usize)),
            count(stratum.n_pairs),
            score(stratum.mean_score as f32),
            share.map_or_else(String::new, |share| percent(share.value)),
            share.map_or_else(String::new, |share| format!("{} to {}", percent(share.low), percent(share.high))),
        ]
    };
    Some(strata.into_iter().map(line).collect())
}

/// What the axes span.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Frame {
    low: f32,
    high: f32,
    /// Logarithms of the smallest and the largest length, with some room.
    bottom: f32,
    top: f32,
}

impl Frame {
    fn of(ranking: &Ranking, chars: &[u32]) -> Option<Self> {
        let bins = &ranking.report.histogram;
        let (least, most) = (chars.iter().copied().min()?, chars.iter().copied().max()?);
        let (bottom, top) = (height(least), height(most).max(height(least) + 0.1));
        let room = 0.04 * (top - bottom);
        Some(Self { low: bins.low, high: bins.high, bottom: (bottom - room).max(0.0), top: top + room })
    }

    /// Scores and lengths between two corners, given from the left and from the top as shares.
    fn spans(self, [(left, above), (right, below)]: [(f64, f64); 2]) -> (Span<f32>, Span<u32>) {
        let score = |share: f64| (self.low + (self.high - self.low) * share as f32) * 1e4;
        let chars = |share: f64| 10f32.powf(self.bottom + (1.0 - share as f32) * (self.top - self.bottom)) - 1.0;
        let scores = Span { low: Some(score(left).floor() / 1e4), high: Some(score(right).ceil() / 1e4) };
        (scores, Span { low: Some(chars(below).floor() as u32), high: Some(chars(above).ceil() as u32) })
    }
}

/// Where a length stands on the logarithmic axis.
fn height(chars: u32) -> f32 {
    (chars as f32 + 1.0).log10()
}

/// Round lengths between two heights: powers of ten, and where these are few, twice and five times as much too.
fn round_lengths(bottom: f32, top: f32) -> Vec<u32> {
    let multiples: &[u32] = if top - bottom < 1.5 { &[1, 2, 5] } else { &[1] };
    let powers = (0..6).map(|exponent| 10u32.pow(exponent));
    let all = powers.flat_map(|power| multiples.iter().map(move |multiple| power * multiple));
    all.filter(|chars| (bottom..top).contains(&height(*chars))).collect()
}

/// All of it that is drawn.
pub struct Chart {
    frame: Frame,
    columns: Arc<RowColumns>,
    ranking: Arc<Ranking>,
    k: usize,
    row: Option<u32>,
    brushed: (Span<f32>, Span<u32>),
    /// By row, whether the lasso encloses the pair; `None` where there is none.
    is_enclosed: Option<Vec<bool>>,
}

impl Chart {
    /// What the axes show: across, and up.
    pub const AXES: [&str; 2] = ["score", "characters of the chosen response (logarithmic)"];

    /// Draws it; points on a canvas as pixels, elsewhere as squares.
    ///
    /// # Errors
    ///
    /// When the sheet cannot be drawn on.
    pub fn draw<B: DrawingBackend<ErrorType: 'static>>(
        &self,
        sheet: &Sheet<B>,
        canvas: Option<&HtmlCanvasElement>,
    ) -> Drawn {
        let Sheet { root, ratio, ink, .. } = sheet;
        let ratio = *ratio;
        let device = |px: f64| (px * ratio).round() as u32;
        let [left, bottom, above, right] = MARGINS_PX.map(device);
        let Frame { low, high, bottom: least, top } = self.frame;
        let mut chart = ChartBuilder::on(root)
            .margin_top(above)
            .margin_right(right)
            .x_label_area_size(bottom)
            .y_label_area_size(left)
            .build_cartesian_2d(low..high, least..top)?;
        let (xs, ys) = chart.plotting_area().get_pixel_range();
        let ((x0, x1), (y0, y1)) = ((xs.start, xs.end), (ys.start, ys.end));
        let colors = [ink.ground, ink.muted, ink.accent];
        let points = self.points(((x1 - x0).max(1) as u32, (y1 - y0).max(1) as u32), ratio);
        match canvas {
            Some(canvas) => drop(points.put(canvas, (x0, y0), colors)),
            None => {
                for (corners, color) in points.squares((x0, y0), colors) {
                    root.draw(&Rectangle::new(corners, color.filled()))?;
                }
            }
        }
        let hair = ratio.max(1.0).round() as u32;
        for chars in round_lengths(least, top) {
            let (_, y) = chart.plotting_area().map_coordinate(&(low, height(chars)));
            root.draw(&PathElement::new([(x0, y), (x1, y)], ink.line.stroke_width(hair)))?;
            let style = sheet.font(ink.muted).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(count(chars as usize), (x0 - device(5.0) as i32, y), style))?;
        }
        let (scores, chars) = self.brushed;
        if !(scores.is_open() && chars.is_open()) {
            let x = |end: Option<f32>, open: f32| end.unwrap_or(open).clamp(low, high);
            let y = |end: Option<u32>, open: f32| end.map_or(open, height).clamp(least, top);
            let corners = [(x(scores.low, low), y(chars.low, least)), (x(scores.high, high), y(chars.high, top))];
            chart.draw_series([Rectangle::new(corners, ink.accent.mix(0.12).filled())])?;
            chart.draw_series([Rectangle::new(corners, ink.accent.stroke_width(hair))])?;
        }
        if let Some((&score, &chars)) = self.row.and_then(|row| {
            let row = row as usize;
            self.ranking.scores.get(row).zip(self.columns.chosen_chars.get(row))
        }) {
            let ring = Circle::new((score, height(chars)), device(4.0), ink.text.stroke_width(2 * hair));
            chart.draw_series([ring])?;
        }
        root.draw(&PathElement::new([(x0, y1), (x1, y1)], ink.muted.stroke_width(hair)))?;
        for value in ticks(low, high, f64::from(x1 - x0) / ratio) {
            let (x, _) = chart.plotting_area().map_coordinate(&(value, 0.0));
            let style = sheet.font(ink.muted).pos(Pos::new(HPos::Center, VPos::Top));
            root.draw(&Text::new(tick_label(value), (x, y1 + device(4.0) as i32), style))?;
        }
        root.present()?;
        Ok(())
    }

    /// Counts pairs by point: one pass over the pairs however many there are.
    fn points(&self, size: (u32, u32), ratio: f64) -> Points {
        let side = (POINT_PX * ratio).round().max(1.0) as u32;
        let (columns, rows) = (size.0.div_ceil(side) as usize, size.1.div_ceil(side) as usize);
        let Frame { low, high, bottom, top } = self.frame;
        let mut counts = vec![[0u32; 2]; columns * rows];
        let all = self.ranking.scores.iter().zip(&self.columns.chosen_chars).zip(&self.ranking.places).enumerate();
        let is_drawn = |row: usize| self.is_enclosed.as_ref().is_none_or(|rows| rows.get(row) == Some(&true));
        for (_, ((&score, &chars), &place)) in all.filter(|(row, _)| is_drawn(*row)) {
            let x = ((score - low) / (high - low) * columns as f32) as usize;
            let y = ((top - height(chars)) / (top - bottom) * rows as f32) as usize;
            if let Some(counts) = counts.get_mut(y.min(rows - 1) * columns + x.min(columns - 1)) {
                counts[usize::from((place as usize) < self.k)] += 1;
            }
        }
        Points { counts, columns, side, size }
    }
}

/// Pairs by point.
struct Points {
    /// Pairs of each point, row by row from the top: those among the top second.
    counts: Vec<[u32; 2]>,
    /// Points in a row.
    columns: usize,
    /// Pixels that a point is wide and high.
    side: u32,
    /// Pixels of the whole, across and down.
    size: (u32, u32),
}

impl Points {
    fn most(&self) -> u32 {
        self.counts.iter().map(|[others, _]| *others).max().unwrap_or(0).max(1)
    }

    /// Paints them on a canvas, on ground.
    fn put(&self, canvas: &HtmlCanvasElement, at: (i32, i32), colors: [RGBColor; 3]) -> Option<()> {
        let (most, (width, height)) = (self.most(), self.size);
        let mut pixels = vec![0u8; (width * height * 4) as usize];
        for (i, pixel) in pixels.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (x, y) = (i as u32 % width / self.side, i as u32 / width / self.side);
            *pixel = shade(self.counts[y as usize * self.columns + x as usize], most, colors);
        }
        let context = canvas.get_context("2d").ok()??.dyn_into::<CanvasRenderingContext2d>().ok()?;
        let image = ImageData::new_with_u8_clamped_array_and_sh(Clamped(&pixels), width, height).ok()?;
        context.put_image_data(&image, f64::from(at.0), f64::from(at.1)).ok()
    }

    /// Corners and color of those that have pairs.
    fn squares(&self, at: (i32, i32), colors: [RGBColor; 3]) -> impl Iterator<Item = ([(i32, i32); 2], RGBColor)> {
        let (most, side) = (self.most(), self.side as i32);
        self.counts.iter().enumerate().filter(|(_, counts)| **counts != [0, 0]).map(move |(i, counts)| {
            let (x, y) = (at.0 + (i % self.columns) as i32 * side, at.1 + (i / self.columns) as i32 * side);
            let [red, green, blue, _] = shade(*counts, most, colors);
            ([(x, y), (x + side, y + side)], RGBColor(red, green, blue))
        })
    }
}

/// The color of a point with so many pairs, those among the top second.
fn shade([others, top]: [u32; 2], most: u32, [ground, muted, accent]: [RGBColor; 3]) -> [u8; 4] {
    let mix = |ink: RGBColor, share: f32| {
        let channel = |ground: u8, ink: u8| (f32::from(ground) + (f32::from(ink) - f32::from(ground)) * share) as u8;
        [channel(ground.0, ink.0), channel(ground.1, ink.1), channel(ground.2, ink.2), 255]
    };
    match (others, top) {
        (0, 0) => mix(ground, 0.0),
        (_, 0) => mix(muted, 0.22 + 0.78 * (others as f32).ln_1p() / (most as f32).ln_1p()),
        _ => mix(accent, 1.0),
    }
}
