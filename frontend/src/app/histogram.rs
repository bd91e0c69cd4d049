//! The score histogram: how many pairs score how high, where the top k begins, where the selected pair lies. Dragging over it
//! shows the pairs of these scores alone.
//!
//! Drawn with plotters on a canvas in device pixels, so that it is crisp on every screen. Counts are on a logarithmic
//! axis: the tail that attribution is about would not be seen beside the bulk otherwise.

use leptos::html;
use leptos::prelude::*;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use web_sys::PointerEvent;
use whence_shared::filter::Span;
use whence_shared::rank::Histogram;

use super::brush::Brush;
use super::canvas::{Drawn, Ink, Sheet, redraw_on_changes};
use super::dropdown::TableBehind;
use super::export::{Drawing, Export, Picture, size_of};
use super::table::end_name;
use crate::address::Step;
use crate::number::{count, counted, score};
use crate::protocol::{Bins, End};
use crate::state::{Ranking, State};

/// Room for labels, in CSS pixels: left, bottom, top, right.
const MARGINS_PX: [f64; 4] = [46.0, 18.0, 6.0, 10.0];

/// The chart with its caption.
#[component]
pub fn ScoreHistogram() -> impl IntoView {
    let state = State::here();
    let canvas = NodeRef::<html::Canvas>::new();
    let redraw = Trigger::new();
    let hovered = RwSignal::new(None::<usize>);
    let bins = Memo::new(move |_| {
        state.ranking.with(|ranking| {
            let ranking = ranking.as_ref()?;
            let Bins { low, high, counts, top } = ranking.report.histogram.clone();
            let all = (Histogram { low, high, counts }, top);
            match state.lasso.with(Option::is_some) {
                false => Some(all),
                true => Some(state.selected_rows.with(|rows| enclosed(&all, rows.as_deref(), ranking, state.k.get()))),
            }
        })
    });
    let threshold = Memo::new(move |_| {
        let k = state.k.get();
        state.ranking.with(|ranking| ranking.as_ref()?.score_at(k - 1))
    });
    redraw_on_changes(canvas, redraw);
    let chart = move || {
        let (ranking, (bins, top)) = (state.ranking.get()?, bins.get()?);
        Some(Chart {
            bins,
            top,
            threshold: threshold.get(),
            brushed: state.filter.with(|filter| filter.score),
            selected: state.row.get().and_then(|row| ranking.scores.get(row as usize).copied()),
            hovered: hovered.get(),
        })
    };
    Effect::new(move || {
        redraw.track();
        let Some((canvas, chart)) = canvas.get().zip(chart()) else { return };
        // In a turn of its own: the table is drawn in this one. A canvas that cannot be drawn on leaves the chart empty;
        // its numbers are in the caption too.
        let draw = move || {
            let _ = Sheet::of(&canvas).and_then(|sheet| sheet.map_or(Ok(()), |sheet| chart.draw(&sheet)));
        };
        set_timeout(draw, std::time::Duration::ZERO);
    });
    let brush = Brush::new(canvas, MARGINS_PX);
    let on_move = move |event: PointerEvent| {
        let (Some((at, _)), Some((bins, _))) = (brush.at(&event), bins.get_untracked()) else { return };
        if let Some([(left, _), (right, _)]) = brush.drag(&event) {
            let score = |share: f64| (bins.low + (bins.high - bins.low) * share as f32) * 1e4;
            // Whole ten-thousandths, as scores are shown; outward, so that what is gone over is in.
            let span = Span { low: Some(score(left).floor() / 1e4), high: Some(score(right).ceil() / 1e4) };
            state.choose_filter(Step::Replace, |filter| filter.score = span);
            return;
        }
        let bin = (at * bins.counts.len() as f64).floor();
        hovered.set((bin >= 0.0 && bin < bins.counts.len() as f64).then_some(bin as usize));
    };
    // A click shows where in the ranking these scores are.
    let on_release = move |_| {
        if brush.release() {
            return;
        }
        let (Some(bin), Some((bins, _))) = (hovered.get_untracked(), bins.get_untracked()) else { return };
        let (low, high) = bins.edges(bin);
        let place = state.ranking.with_untracked(|ranking| {
            let ranking = ranking.as_ref()?;
            Some(ranking.order.partition_point(|&row| match ranking.wanted.end {
                End::Top => ranking.scores[row as usize] > high,
                End::Bottom => ranking.scores[row as usize] < low,
            }))
        });
        if let Some(place) = place {
            state.select_place(place, Step::Push);
        }
    };
    let numbers = move |()| {
        let Some((bins, top)) = bins.get() else { return Vec::new() };
        let line = |(bin, n): (usize, &u32)| {
            let (low, high) = bins.edges(bin);
            vec![score(low), score(high), count(*n as usize), count(top[bin] as usize)]
        };
        bins.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(line).collect()
    };
    let marked = move || {
        threshold.get().map_or_else(String::new, |threshold| {
            let of = if state.lasso.with(Option::is_some) { "in the lasso · " } else { "" };
            format!("{of}{} {} from {}", end_name(state), count(state.k.get()), score(threshold))
        })
    };
    let caption = move || {
        if let (Some(bin), Some((bins, _))) = (hovered.get(), bins.get()) {
            let (low, high) = bins.edges(bin);
            let n = counted(bins.counts[bin] as usize, "pair", "pairs");
            return format!("{} to {}: {n}", score(low), score(high));
        }
        marked()
    };
    let picture = move |()| {
        let chart = Chart { hovered: None, ..chart()? };
        let about = format!("Colored: {}.", marked());
        Picture::of_ranking(state, "scores", "Pairs by score", &about, Drawing::Histogram(chart, size_of(canvas)?))
    };
    let description = move || {
        let ends = state.ranking.with(|ranking| {
            let ranking = ranking.as_ref()?;
            let last = ranking.order.len().checked_sub(1)?;
            let (a, b) = (ranking.score_at(last)?, ranking.score_at(0)?);
            Some((a.min(b), a.max(b), ranking.order.len()))
        });
        ends.map_or_else(String::new, |(low, high, n)| {
            format!(
                "Histogram of {} scores{} from {} to {}; the {} {} reach {}",
                count(n),
                if state.lasso.with(Option::is_some) { ", of which those of the lasso are drawn," } else { "" },
                score(low),
                score(high),
                end_name(state),
                count(state.k.get()),
                score(threshold.get().unwrap_or(low))
            )
        })
    };
    view! {
        <div class="chart histogram">
            <canvas
                node_ref=canvas
                role="img"
                aria-label=description
                on:pointerdown=move |event| brush.press(&event)
                on:pointermove=on_move
                on:pointerup=on_release
                on:pointercancel=move |_| {
                    brush.release();
                }
                on:pointerleave=move |_| hovered.set(None)
            ></canvas>
            <p class="chart-line">
                <span class="legend">{caption}</span>
                <span class="chart-tools">
                    <TableBehind
                        id="histogram-table"
                        caption="Pairs by score"
                        heads=&["from", "to", "pairs", "of the wanted"]
                        rows=numbers
                    />
                    <Export id="histogram-export" picture />
                </span>
            </p>
        </div>
    }
}

/// The bins of the pairs that a lasso encloses: all, and those among the top.
fn enclosed(all: &(Histogram, Vec<u32>), rows: Option<&[u32]>, ranking: &Ranking, k: usize) -> (Histogram, Vec<u32>) {
    let (mut bins, mut top) = all.clone();
    bins.counts.fill(0);
    top.fill(0);
    for &row in rows.unwrap_or_default() {
        let (Some(score), Some(place)) = (ranking.scores.get(row as usize), ranking.place_of(row)) else { continue };
        let bin = bins.bin_of(*score);
        bins.counts[bin] += 1;
        top[bin] += u32::from(place < k);
    }
    (bins, top)
}

/// All of it that is drawn.
pub struct Chart {
    bins: Histogram,
    top: Vec<u32>,
    threshold: Option<f32>,
    brushed: Span<f32>,
    selected: Option<f32>,
    hovered: Option<usize>,
}

impl Chart {
    /// What the axes show: across, and up.
    pub const AXES: [&str; 2] = ["score", "pairs (logarithmic)"];

    /// Draws it.
    ///
    /// # Errors
    ///
    /// When the sheet cannot be drawn on.
    pub fn draw<B: DrawingBackend<ErrorType: 'static>>(&self, sheet: &Sheet<B>) -> Drawn {
        let Sheet { root, ratio, ink, .. } = sheet;
        let ratio = *ratio;
        let device = |px: f64| (px * ratio).round() as u32;
        let max_count = self.bins.counts.iter().copied().max().unwrap_or(0).max(1);
        let top = height_of(max_count) * 1.04;
        let [left, bottom, above, right] = MARGINS_PX.map(device);
        let mut chart = ChartBuilder::on(root)
            .margin_top(above)
            .margin_right(right)
            .x_label_area_size(bottom)
            .y_label_area_size(left)
            .build_cartesian_2d(self.bins.low..self.bins.high, 0f32..top)?;
        let (xs, ys) = chart.plotting_area().get_pixel_range();
        let ((x0, x1), (y0, y1)) = ((xs.start, xs.end), (ys.start, ys.end));
        let hair = ratio.max(1.0).round() as u32;

        // Grid lines at powers of ten, labels beside them.
        for exponent in 0.. {
            let n = 10u32.pow(exponent);
            if n > max_count {
                break;
            }
            let (_, y) = chart.plotting_area().map_coordinate(&(self.bins.low, height_of(n)));
            root.draw(&PathElement::new([(x0, y), (x1, y)], ink.line.stroke_width(hair)))?;
            let style = sheet.font(ink.muted).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(count(n as usize), (x0 - device(5.0) as i32, y), style))?;
        }
        if !self.brushed.is_open() {
            let end = |end: Option<f32>, open: f32| end.unwrap_or(open).clamp(self.bins.low, self.bins.high);
            let (low, high) = (end(self.brushed.low, self.bins.low), end(self.brushed.high, self.bins.high));
            chart.draw_series([Rectangle::new([(low, 0.0), (high, top)], ink.accent.mix(0.16).filled())])?;
        }
        chart.draw_series(self.bars(ink))?;
        for (value, color) in [(self.threshold, ink.accent), (self.selected, ink.text)] {
            let Some(value) = value else { continue };
            let (x, _) = chart.plotting_area().map_coordinate(&(value, 0.0));
            root.draw(&PathElement::new([(x, y0), (x, y1)], color.stroke_width(hair)))?;
        }
        root.draw(&PathElement::new([(x0, y1), (x1, y1)], ink.muted.stroke_width(hair)))?;
        for value in ticks(self.bins.low, self.bins.high, f64::from(x1 - x0) / ratio) {
            let (x, _) = chart.plotting_area().map_coordinate(&(value, 0.0));
            let style = sheet.font(ink.muted).pos(Pos::new(HPos::Center, VPos::Top));
            root.draw(&Text::new(tick_label(value), (x, y1 + device(4.0) as i32), style))?;
        }
        root.present()?;
        Ok(())
    }

    /// Every bin's bar, its part from the top k in the accent color.
    fn bars<'a>(&'a self, ink: &'a Ink) -> impl Iterator<Item = Rectangle<(f32, f32)>> + 'a {
        self.bins.counts.iter().enumerate().filter(|(_, n)| **n > 0).flat_map(move |(bin, &n)| {
            let (left, right) = self.bins.edges(bin);
            let is_hovered = self.hovered == Some(bin);
            let all = if is_hovered { ink.text } else { ink.bar };
            let whole = Rectangle::new([(left, 0.0), (right, height_of(n))], all.filled());
            let n_top = self.top[bin];
            let part =
                (n_top > 0).then(|| Rectangle::new([(left, 0.0), (right, height_of(n_top))], ink.accent.filled()));
            [Some(whole), part].into_iter().flatten()
        })
    }
}

/// Where a count stands on the logarithmic axis: one pair is a visible step above none.
fn height_of(n: u32) -> f32 {
    if n == 0 { 0.0 } else { (n as f32).log10() + 0.5 }
}

/// Round scores between two, with at least 56 pixels between them.
pub fn ticks(low: f32, high: f32, width_px: f64) -> Vec<f32> {
    let max_ticks = (width_px / 56.0).max(2.0) as f32;
    let step =
        [0.05, 0.1, 0.2, 0.25, 0.5, 1.0].into_iter().find(|step| (high - low) / step <= max_ticks).unwrap_or(1.0);
    let (first, last) = ((low / step - 1e-3).ceil() as i32, (high / step + 1e-3).floor() as i32);
    (first..=last).map(|i| i as f32 * step).collect()
}

/// A round score as axes show it.
pub fn tick_label(value: f32) -> String {
    let label = format!("{:.2}", value.abs());
    let label = label.trim_end_matches('0').trim_end_matches('.');
    if value < -1e-6 { format!("−{label}") } else { label.to_owned() }
}
