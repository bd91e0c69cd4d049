//! Dose and response: the rate over the number of pairs edited, beside random edits of the same sizes.

use leptos::prelude::*;
use std::fmt::Write;
use whence_shared::statistics::conclusion::{p_text, percent, percent_level};
use whence_shared::statistics::dose::{DosePoint, DoseResponse};
use whence_shared::statistics::interval::{Covers, Measured};
use whence_shared::validation::ValidationReport;

use super::super::canvas::Ink;
use super::super::export::paper::{Anchor, Letters, Paper, Stroke};
use super::super::export::{Drawing, Export, Picture, file_name};
use super::axis::Axis;
use super::covered;
use super::plot::Plot;
use crate::number::count;
use crate::state::State;

/// What the section is called.
const TITLE: &str = "Rate by number of pairs edited";

/// The section; nothing unless an edit was tried in several sizes.
pub fn doses(report: &ValidationReport) -> impl IntoView + use<> {
    let doses = &report.comparison.doses;
    if doses.is_empty() {
        return ().into_any();
    }
    let state = State::here();
    let rates = doses.iter().flat_map(|dose| &dose.points).flat_map(|point| [Some(point.rate), point.random]).flatten();
    let highest = rates.map(|rate| rate.interval.high).fold(0.0, f64::max);
    let axis = Axis::new(0.0, (highest * 1.04).clamp(0.01, 1.0));
    let plots: Vec<_> = doses.iter().map(|dose| plot(dose, axis)).collect();
    let level = percent_level(report.comparison.options.level);
    let about = format!(
        "Share of rollouts that show “{}”; {level} intervals covering {}. Distances between sizes are logarithmic.",
        report.behavior,
        covered(Covers::SeedsPromptsRollouts)
    );
    let picture = {
        let (about, behavior, doses) = (about.clone(), report.behavior.clone(), doses.clone());
        move |()| {
            let study = state.study_name();
            Some(Picture {
                file: file_name(&[&study, &behavior, "rate-by-pairs-edited"]),
                title: TITLE.to_owned(),
                about: format!("{about} Study {study}."),
                drawing: Drawing::Drawn(drawing(&doses, axis)?),
            })
        }
    };
    view! {
        <section class="doses" id="doses" aria-labelledby="doses-title">
            <h2 id="doses-title">{TITLE}</h2>
            <p class="about">{about}</p>
            <div class="plots">{plots}</div>
            <div class="chart-line end">
                <Export id="doses-export" picture />
            </div>
        </section>
    }
    .into_any()
}

fn plot(dose: &DoseResponse, rates: Axis) -> impl IntoView + use<> {
    let x = places_of(dose);
    let y = |rate: f64| 100.0 - rates.at(rate);
    let line = |points: &[(u64, Measured)]| {
        let mut text = String::new();
        for (k, rate) in points {
            let _ = write!(text, "{:.2},{:.2} ", x(*k), y(rate.value));
        }
        text
    };
    let [of_edit, of_random] = rates_of(dose);
    let has_random = !of_random.is_empty();
    let mut band = String::new();
    for (k, rate) in &of_random {
        let _ = write!(band, "{:.2},{:.2} ", x(*k), y(rate.interval.high));
    }
    for (k, rate) in of_random.iter().rev() {
        let _ = write!(band, "{:.2},{:.2} ", x(*k), y(rate.interval.low));
    }
    let marks: Vec<_> = of_edit
        .iter()
        .map(|(k, rate)| {
            let at = format!("{:.3}%", x(*k));
            let text = format!("{} pairs: {} ({} to {})", count(*k as usize), percent(rate.value), percent(rate.interval.low), percent(rate.interval.high));
            view! {
                <line class="interval" class:dashed=rate.interval.covers == Covers::PromptsRollouts x1=at.clone() x2=at.clone() y1=rates.below_top(rate.interval.low) y2=rates.below_top(rate.interval.high)></line>
                <circle class="value" cx=at cy=rates.below_top(rate.value) r="4"><title>{text}</title></circle>
            }
        })
        .collect();
    let ticks = rates.ticks(5);
    let grid: Vec<_> = ticks
        .iter()
        .map(|&tick| {
            let at = rates.below_top(tick);
            view! { <line class="tick" x1="0" x2="100%" y1=at.clone() y2=at></line> }
        })
        .collect();
    let tick_labels: Vec<_> =
        ticks.iter().map(|&tick| view! { <span style:top=rates.below_top(tick)>{tick_text(tick)}</span> }).collect();
    let sizes: Vec<_> = of_edit
        .iter()
        .map(|(k, _)| view! { <span style:left=format!("{:.3}%", x(*k))>{count(*k as usize)}</span> })
        .collect();
    let trend = dose.trend.map_or_else(
        || "One run per size: no trend is tested.".to_owned(),
        |trend| {
            let way = if trend.concordance < 0.0 { "lower" } else { "higher" };
            format!(
                "Larger edits have the {way} rate in {:.0} % of pairs of models ({}, {} deals).",
                50.0 * (1.0 + trend.concordance.abs()),
                p_text(trend.p),
                count(trend.n_draws as usize)
            )
        },
    );
    let spoken: Vec<String> =
        of_edit.iter().map(|(k, rate)| format!("{} pairs {}", count(*k as usize), percent(rate.value))).collect();
    view! {
        <figure>
            <figcaption>
                <b>{dose.arm.clone()}</b>
                <span class="key">
                    <span class="of-edit">"this edit"</span>
                    {has_random.then(|| view! { <span class="of-random">"random edits"</span> })}
                </span>
            </figcaption>
            <div class="plot tall">
                <div class="y-labels" aria-hidden="true">{tick_labels}</div>
                <svg class="drawing" role="img" aria-label=format!("Rate of {}: {}. {trend}", dose.arm, spoken.join(", "))>
                    {grid}
                    <svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">
                        <polygon class="band" points=band></polygon>
                        <polyline class="random" points=line(&of_random) vector-effect="non-scaling-stroke"></polyline>
                        <polyline class="edit" points=line(&of_edit) vector-effect="non-scaling-stroke"></polyline>
                    </svg>
                    {marks}
                </svg>
                <div class="x-labels" aria-hidden="true">{sizes}</div>
            </div>
            <p class="quiet">{format!("Pairs edited. {trend}")}</p>
            {numbers(dose)}
        </figure>
    }
}

/// A rate as the scale shows it.
fn tick_text(tick: f64) -> String {
    format!("{} %", percent(tick).trim_end_matches(" %").trim_end_matches(".0"))
}

/// Where a number of pairs lies, in percent of the width.
fn places_of(dose: &DoseResponse) -> impl Fn(u64) -> f64 + use<> {
    let smallest = dose.points.iter().map(|point| point.k).find(|k| *k > 0).unwrap_or(1) as f64;
    let place = move |k: u64| (k as f64 / smallest).ln_1p();
    let largest = dose.points.iter().map(|point| place(point.k)).fold(0.0, f64::max);
    let sizes = Axis::new(-0.06 * largest, 1.06 * largest);
    move |k| sizes.at(place(k))
}

/// Rates by number of pairs: of the edit, and of random edits.
fn rates_of(dose: &DoseResponse) -> [Vec<(u64, Measured)>; 2] {
    let of_edit: Vec<(u64, Measured)> = dose.points.iter().map(|point| (point.k, point.rate)).collect();
    let mut of_random: Vec<(u64, Measured)> = dose.points.iter().filter_map(|p| Some((p.k, p.random?))).collect();
    let has_random = !of_random.is_empty();
    // No pair edited is no pair edited at random, too: the band begins at the baseline.
    of_random.extend(of_edit.first().filter(|(k, _)| *k == 0 && has_random));
    of_random.sort_by_key(|(k, _)| *k);
    [of_edit, of_random]
}

/// All plots on paper, one below the other.
fn drawing(doses: &[DoseResponse], rates: Axis) -> Option<Paper> {
    let ink = Ink::of(&document().document_element()?);
    let mut paper = Paper::new([560.0, 0.0]);
    for dose in doses {
        let top = paper.extend(300.0);
        let frame = Plot { at: [46.0, top + 46.0], size: [510.0, 200.0] };
        let [of_edit, of_random] = rates_of(dose);
        let x = places_of(dose);
        let at = |k: u64, rate: f64| frame.place(x(k), rates.at(rate));
        paper.text([0.0, top + 12.0], Letters::new(ink.text).bold(), &dose.arm);
        let key = Letters::new(ink.muted).at(Anchor::End);
        let says = if of_random.is_empty() {
            "line: this edit"
        } else {
            "line: this edit · dashed, with a band: random edits"
        };
        paper.text([556.0, top + 12.0], key, says);
        frame.grid(&mut paper, rates, &rates.ticks(5), &ink, tick_text);
        frame.name_up(&mut paper, &ink, "rate");
        frame.name_across(&mut paper, &ink, "pairs edited (logarithmic)");
        let above = of_random.iter().map(|(k, rate)| at(*k, rate.interval.high));
        let below = of_random.iter().rev().map(|(k, rate)| at(*k, rate.interval.low));
        paper.area(&above.chain(below).collect::<Vec<_>>(), ink.bar, 0.25);
        let line = |rates: &[(u64, Measured)]| rates.iter().map(|(k, rate)| at(*k, rate.value)).collect::<Vec<_>>();
        paper.line(&line(&of_random), Stroke::new(ink.muted, 1.5).dashed(true));
        paper.line(&line(&of_edit), Stroke::new(ink.accent, 1.5));
        for (k, rate) in &of_edit {
            let interval = rate.interval;
            let stroke = Stroke::new(ink.accent, 1.5).dashed(interval.covers == Covers::PromptsRollouts);
            paper.line(&[at(*k, interval.low), at(*k, interval.high)], stroke);
            paper.dot(at(*k, rate.value), 4.0, ink.accent);
            frame.below(&mut paper, &ink, x(*k), &count(*k as usize));
        }
    }
    Some(paper)
}

/// What is drawn, as a table.
fn numbers(dose: &DoseResponse) -> impl IntoView + use<> {
    let ranged = |rate: &Measured| {
        let interval = rate.interval;
        format!("{} ({} to {})", percent(rate.value), percent(interval.low), percent(interval.high))
    };
    let row = |point: &DosePoint| {
        let random = point.random.as_ref().map_or_else(|| "–".to_owned(), ranged);
        view! {
            <tr>
                <th scope="row">{count(point.k as usize)}</th>
                <td>{ranged(&point.rate)}</td>
                <td>{random}</td>
            </tr>
        }
    };
    let rows: Vec<_> = dose.points.iter().map(row).collect();
    view! {
        <details>
            <summary>"Numbers"</summary>
            <table>
                <thead>
                    <tr>
                        <th scope="col">"pairs edited"</th>
                        <th scope="col">"this edit"</th>
                        <th scope="col">"random edits"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </details>
    }
}
