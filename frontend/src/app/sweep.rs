//! The behavior by layer: how well its direction separates responses, and what adding it to the reference model does. A panel
//! of the behavior's summary, where `whence sweep` left something to show.

use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use whence_shared::statistics::conclusion::percent;
use whence_shared::statistics::interval::Measured;
use whence_shared::study::BehaviorView;
use whence_shared::sweep::{FORMAT, LayerSweep, SteeringView, SweepView};

use super::canvas::{Drawn, Sheet, redraw_on_changes};
use super::export::{Drawing, Export, Picture, file_name};
use crate::fetch::{FetchError, File};
use crate::number::counted;
use crate::state::{State, View};

/// Room for labels, in CSS pixels: left, bottom, top, right.
const MARGINS_PX: [f64; 4] = [40.0, 18.0, 8.0, 10.0];
/// Layers with a label, at most.
const MAX_LABELS: usize = 9;

/// The panel; nothing for a behavior that was not swept.
pub fn panel(behavior: &BehaviorView) -> Option<impl IntoView + use<>> {
    if !behavior.has_sweep {
        return None;
    }
    let state = State::here();
    let (name, inputs) = (behavior.name.clone(), behavior.inputs.clone());
    let of = name.clone();
    let fetched = RwSignal::new(None::<Result<SweepView, FetchError>>);
    spawn_local(async move {
        let path = format!("behaviors/{name}/sweep.json");
        let found = File::new(&state.data_folder(), &path).json_of(FORMAT, |sweep: &SweepView| &sweep.format).await;
        // Gone when the reader has chosen another behavior meanwhile.
        fetched.try_set(Some(found));
    });
    Some(view! {
        <section class="sweep" id="sweep" aria-labelledby="sweep-title">
            <h2 id="sweep-title">"By layer"</h2>
            {move || match fetched.get() {
                None => view! { <p class="quiet">"Opening the sweep…"</p> }.into_any(),
                Some(Err(error)) => {
                    let text = format!("The sweep cannot be shown: {error}. Run whence sweep again.");
                    view! { <p class="problem" role="alert">{text}</p> }.into_any()
                }
                Some(Ok(sweep)) => {
                    let is_stale = sweep.inputs != inputs;
                    let remark = is_stale.then(|| {
                        view! {
                            <p class="problem">
                                "The behavior was defined anew since: run whence sweep again."
                            </p>
                        }
                    });
                    view! {
                        {remark}
                        {contents(&of, &sweep)}
                    }
                        .into_any()
                }
            }}
        </section>
    })
}

fn contents(behavior: &str, sweep: &SweepView) -> impl IntoView + use<> {
    let state = State::here();
    let separated = &sweep.separated;
    let of = match separated.is_of_pairs {
        true => "the response pairs’ own responses",
        false => "judged rollouts",
    };
    let about = separated.undefined.clone().unwrap_or_else(|| {
        format!(
            "{} that show the behavior and {} that do not ({of}), {}; each projected on a direction made of other prompts.",
            counted(separated.n_shown, "response", "responses"),
            separated.n_not_shown,
            counted(separated.n_prompts, "prompt", "prompts")
        )
    });
    let aurocs: Vec<(f64, f64)> =
        sweep.layers.iter().filter_map(|layer| Some((layer.layer as f64, layer.separation?.auroc?))).collect();
    let separation = (!aurocs.is_empty()).then(|| {
        let lowest = aurocs.iter().map(|(_, auroc)| *auroc).fold(0.5, f64::min);
        Arc::new(Chart {
            name: "Separation: AUROC by layer",
            lines: vec![Line { points: aurocs, style: Style::Along(1.0) }],
            low: (lowest * 10.0).floor() / 10.0,
            baseline: 0.5,
            is_percent: false,
        })
    });
    let steering = sweep.steering.as_ref().map(|steering| steered(steering, &sweep.layers));
    let charts: Vec<Arc<Chart>> = separation.iter().chain(steering.iter().map(|(chart, _)| chart)).cloned().collect();
    let export = (!charts.is_empty()).then(|| {
        let words = steering.as_ref().map_or_else(|| about.clone(), |(_, said)| format!("{about} {said}"));
        let behavior = behavior.to_owned();
        let picture = move |()| {
            let study = state.study_name();
            Some(Picture {
                file: file_name(&[&study, &behavior, "by-layer"]),
                title: format!("“{behavior}” by layer"),
                about: format!("{words} Study {study}."),
                drawing: Drawing::Sweep(charts.clone(), chosen_layer(state)),
            })
        };
        view! { <Export id="sweep-export" picture /> }
    });
    view! {
        <p class="quiet">{about}</p>
        {separation.map(|chart| view! { <LineChart chart /> })}
        {steering
            .map(|(chart, about)| {
                view! {
                    <LineChart chart />
                    <p class="quiet">{about}</p>
                }
            })}
        <div class="chart-line">
            <details>
                <summary>"Numbers"</summary>
                <div class="scroll" tabindex="0" role="region" aria-labelledby="sweep-title">
                    {separation_table(&sweep.layers)}
                    {sweep.steering.is_some().then(|| steering_table(&sweep.layers))}
                </div>
            </details>
            {export}
        </div>
    }
}

/// The layer that ranks. Tracked.
fn chosen_layer(state: State) -> Option<f64> {
    match state.view.get() {
        View::Ready { layer, .. } => Some(layer.layer as f64),
        _ => None,
    }
}

/// The chart of what steering does, and what must be known of it.
fn steered(steering: &SteeringView, layers: &[LayerSweep]) -> (Arc<Chart>, String) {
    let mut alphas: Vec<f64> = layers.iter().flat_map(|layer| &layer.steered).map(|steered| steered.alpha).collect();
    alphas.sort_by(f64::total_cmp);
    alphas.dedup();
    let mut lines = Vec::new();
    for (i, alpha) in alphas.iter().enumerate() {
        let points = |value: fn(&whence_shared::sweep::Steered) -> f64| -> Vec<(f64, f64)> {
            let of_layer = |layer: &LayerSweep| {
                let steered = layer.steered.iter().find(|steered| steered.alpha == *alpha)?;
                Some((layer.layer as f64, value(steered)))
            };
            layers.iter().filter_map(of_layer).collect()
        };
        let strength = (i + 1) as f64 / alphas.len() as f64;
        lines.push(Line { points: points(|steered| steered.random.value), style: Style::Random(strength) });
        lines.push(Line { points: points(|steered| steered.rate.value), style: Style::Along(strength) });
    }
    let shown: Vec<String> = alphas.iter().map(f64::to_string).collect();
    let where_added = match steering.positions.as_str() {
        "all" => "every token of prompt and response",
        _ => "the prompt’s last token and every generated one",
    };
    let own = match steering.n_own_prompts {
        0 => String::new(),
        n => format!(", {n} of them made the direction"),
    };
    let about = format!(
        "Adding the direction to {where_added} of the reference model, α = {} times the mean length of the residual \
         stream (stronger = darker); dashed: a random direction. {} × {}{own}; judge {}. Without steering: {}.",
        shown.join(", "),
        counted(steering.n_prompts, "prompt", "prompts"),
        counted(steering.n_samples, "rollout", "rollouts"),
        steering.judge,
        range(&steering.unsteered)
    );
    let chart = Chart {
        name: "Steering: rollouts that show the behavior, by layer",
        lines,
        low: 0.0,
        baseline: steering.unsteered.value,
        is_percent: true,
    };
    (Arc::new(chart), about)
}

fn range(measured: &Measured) -> String {
    let Measured { value, interval } = measured;
    format!("{} ({} to {})", percent(*value), percent(interval.low), percent(interval.high))
}

fn separation_table(layers: &[LayerSweep]) -> impl IntoView + use<> {
    let show = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    let rows: Vec<_> = layers
        .iter()
        .map(|layer| {
            let found = layer.separation;
            view! {
                <tr data-layer=layer.layer>
                    <th scope="row">{layer.layer}</th>
                    <td>{show(found.and_then(|found| found.auroc))}</td>
                    <td>{show(found.and_then(|found| found.auroc_within_prompts))}</td>
                    <td>{show(found.and_then(|found| found.d_prime))}</td>
                </tr>
            }
        })
        .collect();
    view! {
        <table id="separation">
            <thead>
                <tr>
                    <th scope="col">"Layer"</th>
                    <th scope="col">"AUROC"</th>
                    <th scope="col">"within prompts"</th>
                    <th scope="col">"d′"</th>
                </tr>
            </thead>
            <tbody>{rows}</tbody>
        </table>
    }
}

fn steering_table(layers: &[LayerSweep]) -> impl IntoView + use<> {
    let rows: Vec<_> = layers
        .iter()
        .flat_map(|layer| layer.steered.iter().map(|steered| (layer.layer, *steered)))
        .map(|(layer, steered)| {
            view! {
                <tr data-layer=layer data-alpha=steered.alpha.to_string()>
                    <th scope="row">{layer}</th>
                    <td>{steered.alpha}</td>
                    <td>{range(&steered.rate)}</td>
                    <td>{range(&steered.random)}</td>
                </tr>
            }
        })
        .collect();
    view! {
        <table id="steering">
            <thead>
                <tr>
                    <th scope="col">"Layer"</th>
                    <th scope="col">"α"</th>
                    <th scope="col">"along the direction"</th>
                    <th scope="col">"along a random one"</th>
                </tr>
            </thead>
            <tbody>{rows}</tbody>
        </table>
    }
}

/// How a line is drawn; the number is its strength, in (0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    Along(f64),
    Random(f64),
}

/// A value by layer.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    points: Vec<(f64, f64)>,
    style: Style,
}

/// Lines over layers, from `low` to 1, with a baseline; the layer that ranks is marked.
#[component]
fn LineChart(chart: Arc<Chart>) -> impl IntoView {
    let name = chart.name;
    let state = State::here();
    let canvas = NodeRef::<html::Canvas>::new();
    let redraw = Trigger::new();
    redraw_on_changes(canvas, redraw);
    let spoken: Vec<String> = chart
        .lines
        .iter()
        .filter(|line| matches!(line.style, Style::Along(_)))
        .flat_map(|line| line.points.iter().map(|(layer, value)| format!("layer {layer}: {value:.2}")))
        .collect();
    let description = format!("{name}. {}", spoken.join(", "));
    let chosen = Memo::new(move |_| chosen_layer(state));
    Effect::new(move || {
        redraw.track();
        if let Some(canvas) = canvas.get() {
            // The numbers are in the table, too.
            let chosen = chosen.get();
            let _ = Sheet::of(&canvas).and_then(|sheet| sheet.map_or(Ok(()), |sheet| chart.draw(&sheet, chosen)));
        }
    });
    view! {
        <figure>
            <figcaption>{name}</figcaption>
            <canvas node_ref=canvas role="img" aria-label=description></canvas>
        </figure>
    }
}

/// All of it that is drawn.
#[derive(Debug)]
pub struct Chart {
    /// What it shows.
    pub name: &'static str,
    lines: Vec<Line>,
    low: f64,
    baseline: f64,
    is_percent: bool,
}

impl Chart {
    /// What the axis across shows.
    pub const ACROSS: &str = "layer";

    /// Draws it, with the layer that ranks.
    ///
    /// # Errors
    ///
    /// When the sheet cannot be drawn on.
    pub fn draw<B: DrawingBackend<ErrorType: 'static>>(&self, sheet: &Sheet<B>, chosen: Option<f64>) -> Drawn {
        let Sheet { root, ratio, ink, .. } = sheet;
        let ratio = *ratio;
        let device = |px: f64| (px * ratio).round() as u32;
        let [left, bottom, above, right] = MARGINS_PX.map(device);
        let mut layers: Vec<f64> = self.lines.iter().flat_map(|line| &line.points).map(|(layer, _)| *layer).collect();
        layers.sort_by(f64::total_cmp);
        layers.dedup();
        let (Some(first), Some(last)) = (layers.first().copied(), layers.last().copied()) else { return Ok(()) };
        let mut chart = ChartBuilder::on(root)
            .margin_top(above)
            .margin_right(right)
            .x_label_area_size(bottom)
            .y_label_area_size(left)
            .build_cartesian_2d(first - 0.4..last + 0.4, self.low..1.0)?;
        let (xs, ys) = chart.plotting_area().get_pixel_range();
        let ((x0, x1), (y0, y1)) = ((xs.start, xs.end), (ys.start, ys.end));
        let place = |x: f64, y: f64| chart.plotting_area().map_coordinate(&(x, y));
        let hair = ratio.max(1.0).round() as u32;

        for tick in 0..=5 {
            let value = self.low + (1.0 - self.low) * f64::from(tick) / 5.0;
            let (_, y) = place(first, value);
            root.draw(&PathElement::new([(x0, y), (x1, y)], ink.line.stroke_width(hair)))?;
            let label = if self.is_percent { format!("{:.0} %", 100.0 * value) } else { format!("{value:.2}") };
            let style = sheet.font(ink.muted).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(label, (x0 - device(5.0) as i32, y), style))?;
        }
        let (_, base) = place(first, self.baseline);
        root.draw(&PathElement::new([(x0, base), (x1, base)], ink.muted.stroke_width(hair)))?;
        if let Some(layer) = chosen.filter(|layer| (first..=last).contains(layer)) {
            let (x, _) = place(layer, 1.0);
            root.draw(&PathElement::new([(x, y0), (x, y1)], ink.text.mix(0.5).stroke_width(hair)))?;
        }
        for layer in layers.iter().step_by(layers.len().div_ceil(MAX_LABELS)) {
            let (x, _) = place(*layer, self.low);
            let style = sheet.font(ink.muted).pos(Pos::new(HPos::Center, VPos::Top));
            root.draw(&Text::new(layer.to_string(), (x, y1 + device(4.0) as i32), style))?;
        }
        for Line { points, style } in &self.lines {
            let points = points.iter().copied();
            match style {
                Style::Along(strength) => {
                    let color = ink.accent.mix(0.3 + 0.7 * strength);
                    chart.draw_series(LineSeries::new(points.clone(), color.stroke_width(2 * hair)))?;
                    chart.draw_series(points.map(|at| Circle::new(at, 3 * hair, color.filled())))?;
                }
                Style::Random(strength) => {
                    let color = ink.muted.mix(0.3 + 0.7 * strength);
                    let dashed = DashedLineSeries::new(points.clone(), 4 * hair, 4 * hair, color.stroke_width(hair));
                    chart.draw_series(dashed)?;
                    chart.draw_series(points.map(|at| Circle::new(at, 2 * hair, color.filled())))?;
                }
            }
        }
        root.present()?;
        Ok(())
    }
}
