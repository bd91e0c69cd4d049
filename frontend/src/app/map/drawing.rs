//! The map on paper: its points as a picture, what lies over them as shapes and text, and what the colors mean below.

use leptos::prelude::*;
use plotters::prelude::RGBColor;
use wasm_bindgen::JsCast;
use web_sys::HtmlCanvasElement;
use whence_shared::edit::Decision;
use whence_shared::plane::raster::Raster;

use super::super::canvas::Ink;
use super::super::export::paper::{Anchor, Letters, Paper, Stroke, lines};
use super::super::export::{Drawing, Picture, file_name};
use super::super::table::{end_name, source_name};
use super::colors::{Colors, Hue, Paint};
use super::overlay::{middles, named};
use super::painter::{put, rastered};
use super::sight::Sight;
use super::stage::{dots_of, is_selected, picture};
use crate::address::ColorBy;
use crate::maps::{Categories, Maps, about};
use crate::number::{count, hundredths};
use crate::state::State;

/// Pixels of the points' picture per CSS pixel.
const RATIO: f64 = 2.0;
/// Categories in the legend at most.
const MAX_LISTED: usize = 24;
/// Room of a category in the legend, in CSS pixels: across, and down.
const CATEGORY_PX: [f64; 2] = [220.0, 18.0];
/// Characters of its name.
const NAME_CHARS: usize = 26;
/// Size of letters on the map and below it, in CSS pixels.
const LETTERS_PX: f64 = 11.0;

/// What is seen of the map now.
pub fn of_map(state: State, maps: Maps, sight: Sight, paint: &Paint) -> Option<Picture> {
    let ink = Ink::of(&document().document_element()?);
    let (map, window, viewport) = sight.now()?;
    let colors = Colors::of(&map, paint, is_selected(state, map.places.len()).as_deref(), &ink).into();
    let drawn = picture(sight, colors, dots_of(state, &map, paint), &ink, RATIO)?;
    let mut raster = Raster::default();
    rastered(&mut raster, &drawn);
    let canvas: HtmlCanvasElement = document().create_element("canvas").ok()?.dyn_into().ok()?;
    put(&canvas, &raster)?;
    let (width, height) = (window.width.round(), window.height.round());
    let mut paper = Paper::new([width, height]);
    paper.image([0.0, 0.0], [width, height], &canvas.to_data_url().ok()?, false);
    paper.line(&[[0.0, 0.0], [width, 0.0], [width, height], [0.0, height], [0.0, 0.0]], Stroke::new(ink.line, 1.0));
    if let Some(lasso) = state.lasso.get() {
        let mut corners: Vec<[f64; 2]> = lasso.corners().iter().map(|corner| viewport.to_px(window, *corner)).collect();
        corners.extend(corners.first().copied());
        let is_within = corners.iter().all(|[x, y]| (0.0..=width).contains(x) && (0.0..=height).contains(y));
        // What reaches beyond the map would be drawn over what stands around it.
        if is_within {
            paper.line(&corners, Stroke::new(ink.accent, 1.5).dashed(true));
        }
    }
    let color = state.color.get();
    if let (Paint::Categories(categories, only), ColorBy::Cluster(_) | ColorBy::Groups(_)) = (paint, &color) {
        for (at, name) in named(&middles(&map, categories), categories, *only, window, viewport) {
            let letters = Letters::new(ink.text).at(Anchor::Middle).bold();
            paper.text([at[0].clamp(40.0, (width - 40.0).max(40.0)), at[1].max(LETTERS_PX)], letters, &name);
        }
    }
    let colored = match paint {
        Paint::Plain => {
            let top = paper.extend(22.0);
            paper.text([0.0, top + 15.0], Letters::new(ink.muted), "The denser, the darker.");
            "density".to_owned()
        }
        Paint::Scores(ranking, limit) => {
            let says = format!("score with “{}”, layer {}", ranking.behavior, ranking.wanted.layer);
            let dots = format!("{} {}", end_name(state), count(state.k.get()));
            scores(&mut paper, f64::from(*limit), &says, &dots, &ink);
            says
        }
        Paint::Categories(categories, only) => {
            legend(&mut paper, categories, *only, &ink);
            match &color {
                ColorBy::Source => "source".to_owned(),
                ColorBy::Cluster(name) => format!("cluster of “{name}”"),
                ColorBy::Groups(k) => format!("{k} groups made in the browser"),
                _ => "decision".to_owned(),
            }
        }
    };
    let study = state.study_name();
    let name = maps.chosen().map(|choice| choice.name).unwrap_or_default();
    let what = format!("map-by-{}", color.name());
    Some(Picture {
        file: file_name(&[&study, &format!("layer-{}", map.facts.layer), &what]),
        title: format!("Map of all pairs by {colored}"),
        about: format!("{}. Map {name}, study {study}.", about(&map.facts, map.grid.len()).trim_end_matches('.')),
        drawing: Drawing::Drawn(paper),
    })
}

/// The scale of scores, and what the points over the others are.
fn scores(paper: &mut Paper, limit: f64, says: &str, dots: &str, ink: &Ink) {
    let top = paper.extend(44.0);
    let letters = Letters::new(ink.muted);
    paper.scale([0.0, top + 10.0], [180.0, 9.0], [ink.rejected, ink.bar, ink.accent], "scores");
    for (at, anchor, text) in [
        (0.0, Anchor::Start, hundredths(-limit)),
        (90.0, Anchor::Middle, "0".to_owned()),
        (180.0, Anchor::End, hundredths(limit)),
    ] {
        paper.text([at, top + 34.0], letters.at(anchor), &text);
    }
    let [width, _] = paper.size();
    let says = lines(says, width - 200.0, LETTERS_PX).into_iter().next().unwrap_or_default();
    paper.text([196.0, top + 18.0], letters, &says);
    paper.dot([200.0, top + 30.0], 3.0, ink.accent);
    paper.text([210.0, top + 34.0], letters, dots);
}

/// Categories with their colors and how many pairs are in each.
fn legend(paper: &mut Paper, categories: &Categories, only: Option<u32>, ink: &Ink) {
    let shown: Vec<_> = (0u32..)
        .zip(&categories.names)
        .filter(|(number, category)| category.n > 0 && only.is_none_or(|only| only == *number))
        .collect();
    let [width, height] = CATEGORY_PX;
    let n_across = ((paper.size()[0] / width) as usize).max(1);
    let n_left = shown.len().saturating_sub(MAX_LISTED);
    let n_rows = shown.len().min(MAX_LISTED).div_ceil(n_across) + usize::from(n_left > 0);
    let top = paper.extend(10.0 + height * n_rows as f64);
    for (i, (number, category)) in shown.into_iter().take(MAX_LISTED).enumerate() {
        let at = [(i % n_across) as f64 * width, top + 10.0 + (i / n_across) as f64 * height];
        let hue = match Paint::hue_of(categories, number as usize) {
            None if only == Some(number) => Some(Hue::Series(0)),
            hue => hue,
        };
        paper.rectangle(at, [10.0, 10.0], color_of(hue, ink), None);
        let name = source_name(&category.name);
        let name = match name.char_indices().nth(NAME_CHARS) {
            Some((end, _)) => format!("{}…", name[..end].trim_end()),
            None => name,
        };
        let text = format!("{name} · {}", count(category.n));
        paper.text([at[0] + 16.0, at[1] + 9.0], Letters::new(ink.text), &text);
    }
    if n_left > 0 {
        let y = top + 10.0 + (n_rows - 1) as f64 * height + 9.0;
        paper.text([0.0, y], Letters::new(ink.muted), &format!("and {} more", count(n_left)));
    }
}

fn color_of(hue: Option<Hue>, ink: &Ink) -> RGBColor {
    match hue {
        None => ink.bar,
        Some(Hue::Series(number)) => ink.series.get(number).copied().unwrap_or(ink.bar),
        Some(Hue::Decision(Decision::Drop)) => ink.rejected,
        Some(Hue::Decision(Decision::Switch)) => ink.accent,
        Some(Hue::Decision(Decision::Keep)) => ink.chosen,
    }
}
