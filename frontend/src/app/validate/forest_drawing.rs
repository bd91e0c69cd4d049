//! The forest plot on paper: every arm's change with its interval, against the baseline and, where there are any, against
//! random edits of the same size.

use whence_shared::statistics::conclusion::points;
use whence_shared::statistics::effect::{ArmEffects, Effect};
use whence_shared::statistics::interval::Covers;
use whence_shared::validation::ValidationReport;

use super::super::canvas::Ink;
use super::super::export::paper::{Anchor, Letters, Paper, Stroke};
use super::arm_title;
use super::axis::Axis;
use super::forest::{axis_of, p_of, rows_of, tick_text};

/// CSS pixels of the arms' names, of a drawing and of the numbers beside it.
const COLUMNS_PX: [f64; 3] = [150.0, 220.0, 218.0];
/// Room between a drawing and its numbers, in CSS pixels.
const GAP_PX: f64 = 14.0;
/// Room of the heads, of a row, of the scale and of a line of the key, in CSS pixels.
const ROWS_PX: [f64; 4] = [22.0, 26.0, 40.0, 18.0];
/// Side of the square on a value, in CSS pixels.
const SIDE_PX: f64 = 8.0;

/// The plot.
pub fn drawing(report: &ValidationReport, ink: &Ink) -> Paper {
    let rows = rows_of(report);
    let axis = axis_of(report);
    let ticks = axis.ticks(5);
    let blind = report.comparison.detectable.map(|detectable| detectable.absolute);
    let [names, drawing, numbers] = COLUMNS_PX;
    let [head, row_px, scale, line] = ROWS_PX;
    let has_random = rows.iter().any(|effects| effects.versus_random.is_some());
    let references: &[&str] = match has_random {
        true => &["against the baseline", "against random edits of the same size"],
        false => &["against the baseline"],
    };
    let block = drawing + GAP_PX + numbers;
    let bottom = head + row_px * rows.len() as f64;
    let n_lines = 2.0 + f64::from(u8::from(blind.is_some()));
    let width = names + block * references.len() as f64;
    let mut paper = Paper::new([width, bottom + scale + n_lines * line]);
    for (i, reference) in references.iter().enumerate() {
        let left = names + block * i as f64;
        let x = |value: f64| left + axis.at(value) / 100.0 * drawing;
        paper.text([left, 12.0], Letters::new(ink.muted), reference);
        if let Some(absolute) = blind.filter(|_| i == 0) {
            let corner = [x(-absolute), head];
            paper.area(&[corner, [x(absolute), head], [x(absolute), bottom], [x(-absolute), bottom]], ink.bar, 0.25);
        }
        for &tick in &ticks {
            let color = if tick == 0.0 { ink.muted } else { ink.line };
            paper.line(&[[x(tick), head], [x(tick), bottom]], Stroke::new(color, 1.0));
            paper.text([x(tick), bottom + 15.0], Letters::new(ink.muted).at(Anchor::Middle), &tick_text(tick));
        }
        let letters = Letters::new(ink.muted).at(Anchor::Middle);
        paper.text([left + drawing / 2.0, bottom + 31.0], letters, "change of the rate, percentage points");
    }
    for (i, effects) in rows.iter().enumerate() {
        let y = head + row_px * (i as f64 + 0.5);
        let letters = if effects.is_control { Letters::new(ink.muted) } else { Letters::new(ink.text).bold() };
        paper.text([0.0, y + 4.0], letters, &arm_title(&effects.arm, effects.k));
        let all = [Some(&effects.versus_baseline), effects.versus_random.as_ref()];
        for (i, effect) in all.into_iter().enumerate().take(references.len()) {
            let Some(effect) = effect else { continue };
            row(&mut paper, effects, effect, axis, [names + block * i as f64, y], ink);
        }
    }
    let mut y = bottom + scale;
    let keys = [(true, "an effect: the interval leaves out 0 and p is small enough"), (false, "not shown to be one")];
    for (is_established, text) in keys {
        square(&mut paper, [9.0, y + 5.0], is_established, false, ink);
        paper.text([26.0, y + 9.0], Letters::new(ink.muted), text);
        y += line;
    }
    if let Some(absolute) = blind {
        let text =
            format!("changes under {} points, which may well be missed", points(absolute).trim_start_matches('+'));
        paper.area(&[[0.0, y], [18.0, y], [18.0, y + 10.0], [0.0, y + 10.0]], ink.bar, 0.25);
        paper.text([26.0, y + 9.0], Letters::new(ink.muted), &text);
    }
    paper
}

fn row(paper: &mut Paper, of: &ArmEffects, effect: &Effect, axis: Axis, [left, y]: [f64; 2], ink: &Ink) {
    let drawing = COLUMNS_PX[1];
    let x = |value: f64| left + axis.at(value) / 100.0 * drawing;
    let difference = effect.difference;
    let interval = difference.interval;
    let color = if of.is_control { ink.muted } else { ink.text };
    let stroke = Stroke::new(color, 1.5);
    let is_dashed = interval.covers == Covers::PromptsRollouts;
    paper.line(&[[x(interval.low), y], [x(interval.high), y]], stroke.dashed(is_dashed));
    for end in [interval.low, interval.high] {
        paper.line(&[[x(end), y - 4.0], [x(end), y + 4.0]], stroke);
    }
    square(paper, [x(difference.value), y], effect.is_established(), of.is_control, ink);
    let numbers = left + drawing + GAP_PX;
    paper.text([numbers, y + 4.0], Letters::new(color).bold(), &points(difference.value));
    let rest = format!("{} to {}, {}", points(interval.low), points(interval.high), p_of(effect));
    paper.text([numbers + 40.0, y + 4.0], Letters::new(ink.muted), &rest);
}

/// The mark of a value, full where it is an effect.
fn square(paper: &mut Paper, [x, y]: [f64; 2], is_established: bool, is_control: bool, ink: &Ink) {
    let rim = match (is_control, is_established) {
        (true, _) => ink.muted,
        (false, true) => ink.accent,
        (false, false) => ink.text,
    };
    let fill = if is_established { rim } else { ink.ground };
    paper.rectangle([x - SIDE_PX / 2.0, y - SIDE_PX / 2.0], [SIDE_PX; 2], fill, Some(rim));
}
