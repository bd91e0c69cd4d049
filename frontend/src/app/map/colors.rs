//! The color of every point, and what the colors mean.

use std::sync::Arc;

use whence_shared::edit::Decision;
use whence_shared::plane::raster::Tint;

use super::super::canvas::{Ink, Series};
use crate::maps::{Categories, Kind, Mapped};
use crate::state::Ranking;

/// Steps of the scale of scores on either side of 0.
const N_STEPS: usize = 32;
/// The color of scores is full from this share of them, by size, on.
const FULL_FROM: f64 = 0.995;
/// Scores that are looked at for that.
const N_SAMPLED: usize = 20_000;

/// What points are colored by, with what is known of it.
#[derive(Clone)]
pub enum Paint {
    /// Density alone.
    Plain,
    /// Scores, and the size of score at which colors are full.
    Scores(Arc<Ranking>, f32),
    /// Categories, and the one that is lit if not all are.
    Categories(Arc<Categories>, Option<u32>),
}

impl PartialEq for Paint {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) => true,
            (Self::Scores(a, _), Self::Scores(b, _)) => Arc::ptr_eq(a, b),
            (Self::Categories(a, i), Self::Categories(b, j)) => Arc::ptr_eq(a, b) && i == j,
            _ => false,
        }
    }
}

impl Paint {
    /// By the scores of a ranking.
    pub fn of_scores(ranking: Arc<Ranking>) -> Self {
        let limit = limit(&ranking.scores);
        Self::Scores(ranking, limit)
    }

    /// The color of a category's points; `None` beyond the colors there are, and for what is in no category.
    pub fn hue_of(categories: &Categories, category: usize) -> Option<Hue> {
        match categories.names.get(category)?.kind {
            Kind::Named => (category < Series::N).then_some(Hue::Series(category)),
            Kind::Decided(action) => Some(Hue::Decision(action)),
            Kind::Rest => None,
        }
    }
}

/// A color of categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hue {
    /// One of those that tell categories apart, from 0.
    Series(usize),
    /// That of a decision.
    Decision(Decision),
}

impl Hue {
    /// As the style sheet names it.
    pub fn css(self) -> String {
        match self {
            Self::Series(number) => format!("var(--series-{})", number + 1),
            Self::Decision(Decision::Drop) => "var(--rejected)".to_owned(),
            Self::Decision(Decision::Switch) => "var(--accent)".to_owned(),
            Self::Decision(Decision::Keep) => "var(--chosen)".to_owned(),
        }
    }

    /// Its place among the tints of categories: the series, grey, then decisions.
    fn tint(self) -> u8 {
        match self {
            Self::Series(number) => number as u8,
            Self::Decision(Decision::Drop) => Series::N as u8 + 1,
            Self::Decision(Decision::Switch) => Series::N as u8 + 2,
            Self::Decision(Decision::Keep) => Series::N as u8 + 3,
        }
    }
}

/// The size of score at which colors are full.
fn limit(scores: &[f32]) -> f32 {
    let step = scores.len().div_ceil(N_SAMPLED).max(1);
    let mut sizes: Vec<f32> = scores.iter().step_by(step).map(|score| score.abs()).collect();
    sizes.sort_by(f32::total_cmp);
    let at = (sizes.len() as f64 * FULL_FROM) as usize;
    sizes.get(at.min(sizes.len().saturating_sub(1))).copied().unwrap_or(0.0).max(0.01)
}

/// Colors of all points.
#[derive(Debug, PartialEq)]
pub struct Colors {
    /// Which tint, by place.
    pub of_places: Vec<u8>,
    /// The tints.
    pub tints: Vec<Tint>,
}

impl Colors {
    /// As painted. Where pairs are selected (`[n_pairs]`, by row), the others are not lit.
    pub fn of(map: &Mapped, paint: &Paint, is_selected: Option<&[bool]>, ink: &Ink) -> Self {
        let mut tints: Vec<Tint> = match paint {
            Paint::Plain => vec![lit(ink.accent)],
            Paint::Scores(..) => scale(ink).collect(),
            Paint::Categories(..) => {
                let decisions = [ink.rejected, ink.accent, ink.chosen];
                ink.series.iter().copied().chain([ink.bar]).chain(decisions).map(lit).collect()
            }
        };
        let unlit = tints.len() as u8;
        tints.push(Tint { rgb: rgb(ink.bar), is_lit: false });
        let tint_of_row: Box<dyn Fn(usize) -> u8> = match paint {
            Paint::Plain => Box::new(|_| 0),
            Paint::Scores(ranking, limit) => {
                let (ranking, steps) = (ranking.clone(), N_STEPS as f32 / limit);
                Box::new(move |row| {
                    // Nothing is known of a row whose score may be anything.
                    match (ranking.scores.get(row), ranking.radii.get(row)) {
                        (Some(score), Some(radius)) if *radius < 1.0 => {
                            let step = (score * steps).clamp(-(N_STEPS as f32), N_STEPS as f32);
                            (step + N_STEPS as f32 + 0.5) as u8
                        }
                        _ => unlit,
                    }
                })
            }
            Paint::Categories(categories, only) => {
                let of_category: Vec<u8> = (0..categories.names.len())
                    .map(|category| match (only, Paint::hue_of(categories, category)) {
                        (Some(only), _) if *only as usize != category => unlit,
                        (_, Some(hue)) => hue.tint(),
                        // The only one that is lit has a color, whichever it is.
                        (Some(_), None) => 0,
                        (None, None) => Series::N as u8,
                    })
                    .collect();
                let categories = categories.clone();
                Box::new(move |row| {
                    let category = categories.of_rows.get(row).copied().unwrap_or(u32::MAX);
                    of_category.get(category as usize).copied().unwrap_or(unlit)
                })
            }
        };
        let tint_of = |row: &u32| match is_selected {
            Some(is_selected) if !is_selected[*row as usize] => unlit,
            _ => tint_of_row(*row as usize),
        };
        Self { of_places: map.grid.rows().iter().map(tint_of).collect(), tints }
    }
}

fn lit(color: plotters::style::RGBColor) -> Tint {
    Tint { rgb: rgb(color), is_lit: true }
}

/// Red, green, blue.
pub fn rgb(color: plotters::style::RGBColor) -> [u8; 3] {
    [color.0, color.1, color.2]
}

/// From the lowest score to the highest; 0 in the middle.
fn scale(ink: &Ink) -> impl Iterator<Item = Tint> {
    // On the ground alone, bars' grey would hardly be seen as a point.
    let between = |i: usize| (rgb(ink.bar)[i] / 2) + (rgb(ink.muted)[i] / 2);
    let (low, middle, high) = (rgb(ink.rejected), [0, 1, 2].map(between), rgb(ink.accent));
    (0..=2 * N_STEPS).map(move |step| {
        let size = (step as f32 / N_STEPS as f32 - 1.0).abs();
        let end = if step < N_STEPS { low } else { high };
        let mix = |i: usize| (f32::from(middle[i]) + (f32::from(end[i]) - f32::from(middle[i])) * size).round() as u8;
        Tint { rgb: [mix(0), mix(1), mix(2)], is_lit: true }
    })
}
