//! A plot on paper: a frame with a grid and its numbers, and where values lie in it. For charts of the page that are saved.

use super::super::canvas::Ink;
use super::super::export::paper::{Anchor, Letters, Paper, Stroke};
use super::axis::Axis;

/// The frame, in CSS pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plot {
    /// Its left and upper corner.
    pub at: [f64; 2],
    /// Across and down.
    pub size: [f64; 2],
}

impl Plot {
    /// Where a share of its width and one of its height lie, both in percent, the height from below.
    pub fn place(self, across: f64, up: f64) -> [f64; 2] {
        [self.at[0] + across / 100.0 * self.size[0], self.at[1] + (1.0 - up / 100.0) * self.size[1]]
    }

    /// Its grid: a line for each of `ticks`, with its number at the left.
    pub fn grid(self, paper: &mut Paper, axis: Axis, ticks: &[f64], ink: &Ink, text: impl Fn(f64) -> String) {
        for &tick in ticks {
            let up = axis.at(tick);
            paper.line(&[self.place(0.0, up), self.place(100.0, up)], Stroke::new(ink.line, 1.0));
            let [x, y] = self.place(0.0, up);
            paper.text([x - 6.0, y + 3.5], Letters::new(ink.muted).at(Anchor::End), &text(tick));
        }
        paper.line(&[self.place(0.0, 0.0), self.place(100.0, 0.0)], Stroke::new(ink.muted, 1.0));
    }

    /// The name of what goes up, above it.
    pub fn name_up(self, paper: &mut Paper, ink: &Ink, name: &str) {
        paper.text([self.at[0], self.at[1] - 7.0], Letters::new(ink.muted), name);
    }

    /// The name of what goes across, below its numbers.
    pub fn name_across(self, paper: &mut Paper, ink: &Ink, name: &str) {
        let at = [self.at[0] + self.size[0] / 2.0, self.at[1] + self.size[1] + 32.0];
        paper.text(at, Letters::new(ink.muted).at(Anchor::Middle), name);
    }

    /// A number below it.
    pub fn below(self, paper: &mut Paper, ink: &Ink, across: f64, text: &str) {
        let [x, y] = self.place(across, 0.0);
        paper.text([x, y + 16.0], Letters::new(ink.muted).at(Anchor::Middle), text);
    }
}
