//! How the models trained: one small plot per arm, a line per seed, all on the same scales. A step chosen in one plot, by
//! pointer or slider, is read off in all.

use std::collections::BTreeMap;
use std::fmt::Write;

use leptos::html;
use leptos::prelude::*;
use web_sys::PointerEvent;
use whence_shared::validation::{TrainingStep, ValidationReport, arm_folder};

use super::super::canvas::Ink;
use super::super::export::paper::{Letters, Paper, Stroke};
use super::super::export::{Drawing, Export, Picture, file_name};
use super::axis::Axis;
use super::plot::Plot as Frame;
use crate::number::{count, counted};
use crate::state::State;
use crate::validation::{Curve, RunKey, Validation};

/// Points of a line at most: more would fall on the same pixels.
const MAX_POINTS: usize = 160;
/// Lines are means over this share of a curve's steps, at least five: single batches are noisy.
const SMOOTHED_SHARE: usize = 20;

/// What the section is called.
const TITLE: &str = "How the models trained";
/// Plots beside each other on paper, and the room of each, in CSS pixels.
const N_ACROSS: usize = 2;
const PLOT_PX: [f64; 2] = [340.0, 226.0];

/// What is plotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Loss,
    Accuracy,
}

impl Quantity {
    fn of(self, step: &TrainingStep) -> Option<f64> {
        match self {
            Self::Loss => Some(f64::from(step.loss)),
            Self::Accuracy => step.rewards_accuracies.map(f64::from),
        }
    }

    /// As the page names it.
    fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Accuracy => "share of pairs whose chosen response is preferred",
        }
    }

    /// A value as a scale shows it.
    fn tick_text(self, tick: f64) -> String {
        match self {
            Self::Accuracy => self.text(tick),
            Self::Loss => format!("{tick:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Loss => format!("{value:.3}"),
            Self::Accuracy => format!("{:.0} %", 100.0 * value),
        }
    }
}

/// The section; nothing as long as there is no curve.
pub fn curves(report: &ValidationReport) -> impl IntoView + use<> {
    let validation = Validation::here();
    let state = State::here();
    let quantity = Memo::new(move |_| if state.is_accuracy_curve.get() { Quantity::Accuracy } else { Quantity::Loss });
    let chosen = RwSignal::new(None::<usize>);
    let order = order(report);
    let folders = Memo::new(move |_| {
        validation.curves.with(|curves| {
            let mut folders: Vec<String> = curves.keys().map(|(folder, _)| folder.clone()).collect();
            folders.dedup();
            let place = |folder: &String| order.get(folder).copied().unwrap_or((usize::MAX, false));
            folders.sort_by_key(|folder| (place(folder), folder.clone()));
            folders.into_iter().map(|folder| (place(&folder).1, folder)).collect::<Vec<_>>()
        })
    });
    let n_steps = Memo::new(move |_| {
        let last = |curve: &Curve| curve.as_ref().ok().and_then(|steps| Some(steps.last()?.step)).unwrap_or(0);
        validation.curves.with(|curves| curves.values().map(last).max().unwrap_or(0))
    });
    let range = Memo::new(move |_| {
        let quantity = quantity.get();
        if quantity == Quantity::Accuracy {
            return Axis::new(0.0, 1.0);
        }
        validation.curves.with(|curves| {
            let smoothed = curves.values().flatten().flat_map(|steps| points_of(steps, quantity));
            Axis::around(smoothed.map(|(_, value)| value), 0.06)
        })
    });
    let has_accuracy = Memo::new(move |_| {
        let first = |curve: &Curve| curve.as_ref().ok().and_then(|steps| steps.first()?.rewards_accuracies).is_some();
        validation.curves.with(|curves| curves.values().any(first))
    });
    let picture = {
        let behavior = report.behavior.clone();
        move |()| {
            let (study, quantity) = (state.study_name(), quantity.get());
            let what = if quantity == Quantity::Loss { "training-loss" } else { "training-preferred" };
            Some(Picture {
                file: file_name(&[&study, &behavior, what]),
                title: TITLE.to_owned(),
                about: format!(
                    "A line per training seed: means over a {SMOOTHED_SHARE}th of the steps, at least five. Grey: controls. Study {study}."
                ),
                drawing: Drawing::Drawn(drawing(validation, &folders.get(), quantity, range.get(), n_steps.get())?),
            })
        }
    };
    // Once and for all: the section goes and comes back with its curves.
    let picture = Callback::new(picture);
    let choice = move |of: Quantity, text: &'static str| {
        view! {
            <label>
                <input
                    type="radio"
                    name="quantity"
                    prop:checked=move || quantity.get() == of
                    on:change=move |_| state.choose_accuracy_curve(of == Quantity::Accuracy)
                />
                {text}
            </label>
        }
    };
    view! {
        <Show when=move || folders.with(|folders| !folders.is_empty())>
            <section class="curves" id="curves" aria-labelledby="curves-title">
                <h2 id="curves-title">{TITLE}</h2>
                <p class="about">
                    {move || format!(
                        "By optimizer step, a line per training seed. Lines are means over a {SMOOTHED_SHARE}th of the steps, at least five; numbers are of single steps, seed by seed. {} in all.",
                        counted(n_steps.get(), "step", "steps")
                    )}
                </p>
                <div class="curve-controls">
                    <fieldset class="segments" hidden=move || !has_accuracy.get()>
                        <legend class="unseen">"What is plotted"</legend>
                        {choice(Quantity::Loss, "Loss")}
                        {choice(Quantity::Accuracy, "Chosen preferred")}
                    </fieldset>
                    <label class="step">
                        "Step"
                        <input
                            type="range"
                            min="1"
                            max=move || n_steps.get().max(1)
                            prop:value=move || chosen.get().unwrap_or_else(|| n_steps.get()).to_string()
                            on:input=move |event| chosen.set(event_target_value(&event).parse().ok())
                        />
                        <output>{move || count(chosen.get().unwrap_or_else(|| n_steps.get()))}</output>
                    </label>
                </div>
                <div class="plots">
                    <For each=move || folders.get() key=|folder| folder.clone() let((is_control, folder))>
                        <Plot folder is_control quantity chosen n_steps range />
                    </For>
                </div>
                <div class="chart-line end">
                    <Export id="curves-export" picture />
                </div>
            </section>
        </Show>
    }
}

/// Places of the arms' folders, edits before controls and the baseline first, and whether each is a control.
fn order(report: &ValidationReport) -> BTreeMap<String, (usize, bool)> {
    let controls: Vec<(&str, u64)> =
        report.comparison.effects.iter().filter(|of| of.is_control).map(|of| (of.arm.as_str(), of.k)).collect();
    let is_control = |arm: &str, k: u64| controls.contains(&(arm, k));
    let n_arms = report.comparison.arms.len();
    let place = |(i, arm): (usize, &whence_shared::statistics::compare::ArmRate)| {
        let is_control = is_control(&arm.arm, arm.k);
        (arm_folder(&arm.arm, arm.k), (if is_control { n_arms + i } else { i }, is_control))
    };
    report.comparison.arms.iter().enumerate().map(place).collect()
}

#[component]
fn Plot(
    folder: String,
    is_control: bool,
    quantity: Memo<Quantity>,
    chosen: RwSignal<Option<usize>>,
    n_steps: Memo<usize>,
    range: Memo<Axis>,
) -> impl IntoView {
    let validation = Validation::here();
    let drawing = NodeRef::<html::Div>::new();
    let of_arm = {
        let folder = folder.clone();
        Memo::new(move |_| {
            validation.curves.with(|curves| {
                let of_arm = curves.range((folder.clone(), 0)..=(folder.clone(), u64::MAX));
                of_arm.map(|(key, curve)| (key.clone(), curve.clone())).collect::<Vec<(RunKey, Curve)>>()
            })
        })
    };
    let lines = move || {
        let (quantity, range) = (quantity.get(), range.get());
        let steps = Axis::new(1.0, n_steps.get().max(2) as f64);
        let line = |(key, curve): &(RunKey, Curve)| {
            let points = points_of(curve.as_ref().ok()?, quantity);
            let mut text = String::new();
            for (step, value) in points {
                let _ = write!(text, "{:.2},{:.2} ", steps.at(step), 100.0 - range.at(value));
            }
            let title = format!("seed {}", key.1);
            Some(view! { <polyline points=text vector-effect="non-scaling-stroke"><title>{title}</title></polyline> })
        };
        of_arm.with(|curves| curves.iter().filter_map(line).collect::<Vec<_>>())
    };
    let values = move || {
        let quantity = quantity.get();
        let at = chosen.get();
        let value = |(_, curve): &(RunKey, Curve)| {
            let steps = curve.as_ref().ok()?;
            // Steps are numbered from 1 without gaps.
            let step = match at {
                Some(at) => steps.get(at.checked_sub(1)?)?,
                None => steps.last()?,
            };
            quantity.of(step).map(|value| quantity.text(value))
        };
        of_arm.with(|curves| {
            let values: Vec<String> = curves.iter().map(|curve| value(curve).unwrap_or_else(|| "–".into())).collect();
            values.join("  ")
        })
    };
    let problems = move || {
        let problem = |(_, curve): &(RunKey, Curve)| curve.as_ref().err().map(ToString::to_string);
        let problems: Vec<String> = of_arm.with(|curves| curves.iter().filter_map(problem).collect());
        (!problems.is_empty()).then(|| view! { <p class="problem">{problems.join("; ")}</p> })
    };
    let ticks = move || {
        let (range, quantity) = (range.get(), quantity.get());
        range.ticks(3).into_iter().map(|tick| (range.below_top(tick), tick, quantity)).collect::<Vec<_>>()
    };
    let labels = move || {
        let label = |(top, tick, quantity): (String, f64, Quantity)| {
            view! { <span style:top=top>{quantity.tick_text(tick)}</span> }
        };
        ticks().into_iter().map(label).collect::<Vec<_>>()
    };
    let grid = move || {
        let line = |(top, ..): (String, f64, Quantity)| view! { <line class="tick" x1="0" x2="100%" y1=top.clone() y2=top></line> };
        ticks().into_iter().map(line).collect::<Vec<_>>()
    };
    let cursor = move || {
        let at = chosen.get()?;
        let x = Axis::new(1.0, n_steps.get().max(2) as f64).percent(at as f64);
        Some(view! { <line class="cursor" x1=x.clone() x2=x y1="0" y2="100%"></line> })
    };
    let on_move = move |event: PointerEvent| {
        let Some(drawing) = drawing.get_untracked() else { return };
        let bounds = drawing.get_bounding_client_rect();
        let share = (f64::from(event.client_x()) - bounds.left()) / bounds.width().max(1.0);
        let last = n_steps.get_untracked().max(1);
        let step = (1.0 + share.clamp(0.0, 1.0) * (last - 1) as f64).round() as usize;
        if chosen.get_untracked() != Some(step) {
            chosen.set(Some(step));
        }
    };
    let description = move || {
        let n_seeds = of_arm.with(Vec::len);
        format!(
            "{folder}: {} of {}",
            if quantity.get() == Quantity::Loss { "loss" } else { "share preferred" },
            counted(n_seeds, "seed", "seeds")
        )
    };
    let name = description.clone();
    view! {
        <figure class:control=is_control>
            <figcaption>
                <b>{move || name().split(':').next().unwrap_or_default().to_owned()}</b>
                <span class="values">{values}</span>
            </figcaption>
            <div class="plot">
                <div class="y-labels" aria-hidden="true">{labels}</div>
                <div
                    class="drawing"
                    node_ref=drawing
                    role="img"
                    aria-label=description
                    on:pointermove=on_move
                    on:pointerleave=move |_| chosen.set(None)
                >
                    <svg width="100%" height="100%">
                        {grid}
                        <svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">
                            {lines}
                        </svg>
                        {cursor}
                    </svg>
                </div>
            </div>
            {problems}
        </figure>
    }
}

/// All plots on paper, in the order of the page.
fn drawing(
    validation: Validation,
    folders: &[(bool, String)],
    quantity: Quantity,
    range: Axis,
    n_steps: usize,
) -> Option<Paper> {
    let ink = Ink::of(&document().document_element()?);
    let n_rows = folders.len().div_ceil(N_ACROSS);
    let steps = Axis::new(1.0, n_steps.max(2) as f64);
    let mut paper = Paper::new([PLOT_PX[0] * N_ACROSS as f64, PLOT_PX[1] * n_rows as f64]);
    for (i, (is_control, folder)) in folders.iter().enumerate() {
        let [left, top] = [(i % N_ACROSS) as f64 * PLOT_PX[0], (i / N_ACROSS) as f64 * PLOT_PX[1]];
        let frame = Frame { at: [left + 44.0, top + 40.0], size: [PLOT_PX[0] - 64.0, PLOT_PX[1] - 94.0] };
        let letters = Letters::new(if *is_control { ink.muted } else { ink.text }).bold();
        paper.text([frame.at[0], top + 12.0], letters, folder);
        frame.grid(&mut paper, range, &range.ticks(3), &ink, |tick| quantity.tick_text(tick));
        frame.name_up(&mut paper, &ink, quantity.name());
        frame.name_across(&mut paper, &ink, "optimizer step");
        for step in [1, n_steps.max(2)] {
            frame.below(&mut paper, &ink, steps.at(step as f64), &count(step));
        }
        let color = if *is_control { ink.muted } else { ink.accent };
        validation.curves.with_untracked(|curves| {
            let of_arm = curves.range((folder.clone(), 0)..=(folder.clone(), u64::MAX));
            for points in of_arm.filter_map(|(_, curve)| Some(points_of(curve.as_ref().ok()?, quantity))) {
                let places = points.iter().map(|(step, value)| frame.place(steps.at(*step), range.at(*value)));
                paper.line(&places.collect::<Vec<_>>(), Stroke::new(color, 1.5));
            }
        });
    }
    Some(paper)
}

/// A curve as points of a line: step, and the mean of what was measured around it.
fn points_of(steps: &[TrainingStep], quantity: Quantity) -> Vec<(f64, f64)> {
    let values: Vec<(f64, f64)> = steps
        .iter()
        .filter_map(|step| Some((step.step as f64, quantity.of(step).filter(|v| v.is_finite())?)))
        .collect();
    let reach = (values.len() / SMOOTHED_SHARE / 2).max(2);
    let mut sums = vec![0.0];
    for (_, value) in &values {
        sums.push(sums[sums.len() - 1] + value);
    }
    let stride = values.len().div_ceil(MAX_POINTS).max(1);
    let last = values.len().saturating_sub(1);
    let places = (0..values.len()).step_by(stride).chain((last > 0 && !last.is_multiple_of(stride)).then_some(last));
    let point = |i: usize| {
        let (from, to) = (i.saturating_sub(reach), (i + reach + 1).min(values.len()));
        (values[i].0, (sums[to] - sums[from]) / (to - from) as f64)
    };
    places.map(point).collect()
}
