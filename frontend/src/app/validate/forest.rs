//! Every arm's change of the behavior's rate, with its interval, against the baseline and against random edits of the
//! same size: a table whose cells draw on one scale, so that it reads as a forest plot and is read out as numbers.

use leptos::prelude::*;
use whence_shared::statistics::conclusion::{p_text, percent_level, points};
use whence_shared::statistics::effect::{ArmEffects, Effect};
use whence_shared::statistics::interval::Covers;
use whence_shared::validation::ValidationReport;

use super::super::export::{Drawing, Export, Picture, file_name};
use super::axis::Axis;
use super::{arm_title, covered};
use crate::state::State;
use crate::validation::{ReportStatus, Validation};

/// What the section is called.
const TITLE: &str = "What each edit changed";

/// The section.
pub fn forest(report: &ValidationReport) -> impl IntoView + use<> {
    let (state, validation) = (State::here(), Validation::here());
    let axis = axis_of(report);
    let ticks = axis.ticks(5);
    let blind = report.comparison.detectable.map(|detectable| detectable.absolute);
    let has_single_seeds =
        effects_of(report).any(|effect| effect.difference.interval.covers == Covers::PromptsRollouts);
    let row = |effects: &ArmEffects| {
        let random = effects.versus_random.as_ref();
        let baseline_cell = cell(&effects.versus_baseline, axis, &ticks, blind);
        let random_cell = random.map(|effect| cell(effect, axis, &ticks, None));
        let no_random = if effects.is_control { "–" } else { "not trained" };
        view! {
            <tr role="row" class:control=effects.is_control data-arm=effects.arm.clone() data-k=effects.k>
                <th role="rowheader" scope="row">{arm_title(&effects.arm, effects.k)}</th>
                <td role="cell" class="drawing versus-baseline">{baseline_cell}</td>
                <td role="cell" class="number versus-baseline">{number(&effects.versus_baseline)}</td>
                <td role="cell" class="drawing versus-random" class:none=random.is_none()>{random_cell.unwrap_or_else(|| cell_without(axis, &ticks))}</td>
                <td role="cell" class="number versus-random" class:none=random.is_none()>
                    {match random {
                        Some(effect) => number(effect).into_any(),
                        None => view! { <span class="quiet">{no_random}</span> }.into_any(),
                    }}
                </td>
            </tr>
        }
    };
    let rows: Vec<_> = rows_of(report).into_iter().map(row).collect();
    if rows.is_empty() {
        return view! { <section id="effects"></section> }.into_any();
    }
    let scale = || {
        let labels: Vec<_> = ticks
            .iter()
            .map(|&tick| {
                let text = tick_text(tick);
                view! { <text x=axis.percent(tick) y="12" text-anchor=anchor(axis.at(tick))>{text}</text> }
            })
            .collect();
        view! { <svg class="scale" aria-hidden="true">{labels}</svg> }
    };
    let picture = move |()| {
        let ReportStatus::Ready(report) = validation.report.get() else { return None };
        let study = state.study_name();
        Some(Picture {
            file: file_name(&[&study, &report.behavior, "effects"]),
            title: TITLE.to_owned(),
            about: format!("{} Study {study}.", about(&report)),
            drawing: Drawing::Forest(report),
        })
    };
    view! {
        <section class="effects" id="effects" aria-labelledby="effects-title">
            <h2 id="effects-title">{TITLE}</h2>
            <p class="about">{about(report)}</p>
            <table class="forest" role="table">
                <thead role="rowgroup">
                    <tr role="row">
                        <th role="columnheader" scope="col">"Edit and pairs"</th>
                        <th role="columnheader" scope="colgroup" colspan="2" class="versus-baseline">"against the baseline"</th>
                        <th role="columnheader" scope="colgroup" colspan="2" class="versus-random">"against random edits of the same size"</th>
                    </tr>
                </thead>
                <tbody role="rowgroup">{rows}</tbody>
                <tfoot aria-hidden="true">
                    <tr>
                        <td></td>
                        <td class="drawing versus-baseline">{scale()}</td>
                        <td class="number versus-baseline quiet">"points"</td>
                        <td class="drawing versus-random">{scale()}</td>
                        <td class="number versus-random quiet">"points"</td>
                    </tr>
                </tfoot>
            </table>
            <ul class="key">
                <li>
                    <Sign is_established=true />
                    "an effect: the interval leaves out 0 and p is small enough"
                </li>
                <li>
                    <Sign is_established=false />
                    "not shown to be one"
                </li>
                {blind
                    .map(|absolute| {
                        view! {
                            <li>
                                <span class="sign blind"></span>
                                {format!("changes under {} points, which may well be missed", points(absolute).trim_start_matches('+'))}
                            </li>
                        }
                    })}
                {has_single_seeds
                    .then(|| view! { <li>"dashed: one seed, so training noise is not covered"</li> })}
            </ul>
            <div class="chart-line end">
                <Export id="effects-export" picture />
            </div>
        </section>
    }
    .into_any()
}

/// Where a label stands to its place, in percent of the axis: near an edge it keeps to the drawing, beside which other text stands.
fn anchor(at: f64) -> &'static str {
    match at {
        ..8.0 => "start",
        92.0.. => "end",
        _ => "middle",
    }
}

/// What is drawn, and how sure it is.
fn about(report: &ValidationReport) -> String {
    let comparison = &report.comparison;
    let level = percent_level(comparison.options.level);
    let p_note = match comparison.effects.iter().filter(|effects| !effects.is_control).count() {
        n_edits if n_edits > 1 => format!("p adjusted for {n_edits} edits (Holm)"),
        _ => "p of the same test".to_owned(),
    };
    format!(
        "Change of the rate of “{}” in percentage points, left = less of it. Lines: {level} intervals covering {}; {p_note}.",
        report.behavior,
        covered(Covers::SeedsPromptsRollouts),
    )
}

fn effects_of(report: &ValidationReport) -> impl Iterator<Item = &Effect> {
    let effects = report.comparison.effects.iter();
    effects.flat_map(|of| [Some(&of.versus_baseline), of.versus_random.as_ref()]).flatten()
}

/// Arms in the order of the rows: edits, then controls.
pub fn rows_of(report: &ValidationReport) -> Vec<&ArmEffects> {
    let (edits, controls): (Vec<&ArmEffects>, Vec<&ArmEffects>) =
        report.comparison.effects.iter().partition(|effects| !effects.is_control);
    edits.into_iter().chain(controls).collect()
}

/// The scale of all rows.
pub fn axis_of(report: &ValidationReport) -> Axis {
    let intervals = effects_of(report).map(|effect| effect.difference.interval);
    Axis::around(intervals.flat_map(|interval| [interval.low, interval.high, 0.0]), 0.04)
}

/// A change as the scale shows it.
pub fn tick_text(tick: f64) -> String {
    if tick == 0.0 { "0".to_owned() } else { points(tick).trim_end_matches(".0").to_owned() }
}

/// The p-value of an effect, or why there is none.
pub fn p_of(effect: &Effect) -> String {
    match (effect.p_holm, effect.p) {
        (Some(p), _) | (None, Some(p)) => p_text(p),
        (None, None) => "no p: one seed".to_owned(),
    }
}

#[component]
fn Sign(is_established: bool) -> impl IntoView {
    view! {
        <svg class="sign" width="26" height="12" aria-hidden="true">
            <line class="interval" x1="1" x2="25" y1="6" y2="6"></line>
            <rect class="value" class:established=is_established x="9" y="2" width="8" height="8"></rect>
        </svg>
    }
}

fn grid(axis: Axis, ticks: &[f64]) -> Vec<AnyView> {
    let line = |&tick: &f64| {
        let x = axis.percent(tick);
        view! { <line class="tick" class:zero=tick == 0.0 x1=x.clone() x2=x y1="0" y2="100%"></line> }.into_any()
    };
    ticks.iter().map(line).collect()
}

fn cell_without(axis: Axis, ticks: &[f64]) -> AnyView {
    view! { <svg aria-hidden="true">{grid(axis, ticks)}</svg> }.into_any()
}

fn cell(effect: &Effect, axis: Axis, ticks: &[f64], blind: Option<f64>) -> AnyView {
    let difference = effect.difference;
    let (low, high) = (axis.percent(difference.interval.low), axis.percent(difference.interval.high));
    let is_dashed = difference.interval.covers == Covers::PromptsRollouts;
    let end = |x: String| view! { <line class="interval" x1=x.clone() x2=x y1="11" y2="19"></line> };
    let blind = blind.map(|absolute| {
        let (from, to) = (axis.at(-absolute), axis.at(absolute));
        view! { <rect class="blind" x=format!("{from:.3}%") width=format!("{:.3}%", to - from) y="0" height="100%"></rect> }
    });
    view! {
        <svg aria-hidden="true">
            {blind}
            {grid(axis, ticks)}
            <line class="interval" class:dashed=is_dashed x1=low.clone() x2=high.clone() y1="15" y2="15"></line>
            {end(low)}
            {end(high)}
            // A nested drawing puts the square's own middle on the value.
            <svg x=axis.percent(difference.value) y="15" overflow="visible">
                <rect class="value" class:established=effect.is_established() x="-4.5" y="-4.5" width="9" height="9"></rect>
            </svg>
        </svg>
    }
    .into_any()
}

fn number(effect: &Effect) -> AnyView {
    let difference = effect.difference;
    let interval = difference.interval;
    let p = p_of(effect);
    let title = format!(
        "{} interval, covering {}; {} and {} seeds, {} prompts",
        percent_level(interval.level),
        covered(interval.covers),
        effect.n_seeds,
        effect.n_reference_seeds,
        effect.n_prompts
    );
    view! {
        <span class="change" title=title>
            <b>{points(difference.value)}</b>
            <span class="range">{format!("{} to {}", points(interval.low), points(interval.high))}</span>
            <span class="p">{p}</span>
        </span>
    }
    .into_any()
}
