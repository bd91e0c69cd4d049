//! The table of arms: rates with intervals, each seed's own rate as a dot, and what else changed.

use leptos::prelude::*;
use whence_shared::statistics::compare::ArmRate;
use whence_shared::statistics::conclusion::{p_text, percent, percent_level};
use whence_shared::statistics::effect::ArmEffects;
use whence_shared::statistics::interval::Covers;
use whence_shared::validation::ValidationReport;

use super::axis::Axis;
use super::covered;
use crate::number::count;

/// The section.
pub fn arms(report: &ValidationReport) -> impl IntoView + use<> {
    let comparison = &report.comparison;
    let level = percent_level(comparison.options.level);
    let effects_of = |arm: &ArmRate| comparison.effects.iter().find(|of| of.arm == arm.arm && of.k == arm.k);
    let is_control = |arm: &ArmRate| effects_of(arm).is_some_and(|of| of.is_control);
    let (shown, controls): (Vec<&ArmRate>, Vec<&ArmRate>) = comparison.arms.iter().partition(|arm| !is_control(arm));
    let sides = &comparison.side_rates;
    let counts =
        |measure: &str| report.measures.iter().find(|of| of.name == measure).map_or("", |of| of.metric.counts());
    let heads: Vec<_> = sides
        .iter()
        .map(|side| {
            view! { <th scope="col" class="end" title=counts(&side.measure)>{side.measure.clone()}</th> }
        })
        .collect();
    let axis = Axis::new(0.0, 1.0);
    let row = |arm: &ArmRate| {
        let effects = effects_of(arm);
        let runs = report.runs.iter().filter(|run| run.arm == arm.arm && run.k == arm.k);
        let mut runs: Vec<_> = runs.collect();
        runs.sort_by_key(|run| run.seed);
        let seeds: Vec<u64> = runs.iter().map(|run| run.seed).collect();
        let n_trained = match (runs.iter().map(|run| run.n_pairs).min(), runs.iter().map(|run| run.n_pairs).max()) {
            (Some(least), Some(most)) if least == most => count(least),
            (Some(least), Some(most)) => format!("{}–{}", count(least), count(most)),
            _ => "–".to_owned(),
        };
        let interval = arm.rate.interval;
        let title = format!("{} interval, covering {}", percent_level(interval.level), covered(interval.covers));
        let of_measures: Vec<_> = sides
            .iter()
            .map(|side| {
                let rate = side.arms.iter().find(|of| of.arm == arm.arm && of.k == arm.k);
                side_cell(rate, effects, &side.measure, &seeds)
            })
            .collect();
        view! {
            <tr class:control=is_control(arm) class:first=effects.is_none() data-arm=arm.arm.clone() data-k=arm.k>
                <th scope="row">{arm.arm.clone()}</th>
                <td class="end">{if arm.k == 0 { "none".to_owned() } else { count(arm.k as usize) }}</td>
                <td class="end">{n_trained}</td>
                <td class="end" title=format!("{} prompts, {} rollouts in all", arm.n_prompts, count(arm.n_rollouts as usize))>
                    {arm.n_seeds}
                </td>
                <td class="end rate"><b>{percent(arm.rate.value)}</b></td>
                <td class="range" title=title>
                    {format!("{} to {}", percent(interval.low), percent(interval.high))}
                    {(interval.covers == Covers::PromptsRollouts).then_some(" *")}
                </td>
                <td class="strip">{strip(arm, &seeds, axis)}</td>
                {of_measures}
            </tr>
        }
    };
    let rows: Vec<_> = shown.into_iter().chain(controls).map(row).collect();
    let has_single_seeds = comparison.arms.iter().any(|arm| arm.rate.interval.covers == Covers::PromptsRollouts);
    let scale: Vec<_> = [0.0, 0.5, 1.0]
        .map(|tick| {
            let anchor = ["start", "middle", "end"][(tick * 2.0) as usize];
            view! { <text x=axis.percent(tick) y="11" text-anchor=anchor>{format!("{:.0} %", tick * 100.0)}</text> }
        })
        .into();
    view! {
        <section class="arms" id="arms" aria-labelledby="arms-title">
            <h2 id="arms-title">"Arms"</h2>
            <p class="about">
                {format!("Rate of “{}”: share of rollouts that show it, with its {level} interval covering {}. Bar: that interval; line: the rate; dots: single training seeds. ", report.behavior, covered(Covers::SeedsPromptsRollouts))}
                {(!sides.is_empty()).then(|| {
                    let what: Vec<String> = sides.iter().map(|side| format!("{}: {}", side.measure, counts(&side.measure))).collect();
                    format!("Columns to the right are what it may cost, with the change against the baseline in points and its {level} interval; bold where it changed. {}. ", what.join("; "))
                })}
                {has_single_seeds.then_some(" *: one seed, so training noise is not covered.")}
            </p>
            <div class="scroll" tabindex="0" role="group" aria-labelledby="arms-title">
                <table>
                    <thead>
                        <tr>
                            <th scope="col">"Arm"</th>
                            <th scope="col" class="end">"Pairs edited"</th>
                            <th scope="col" class="end">"Trained on"</th>
                            <th scope="col" class="end">"Seeds"</th>
                            <th scope="col" class="end">"Rate"</th>
                            <th scope="col">"Interval"</th>
                            <th scope="col" class="strip">
                                <span class="unseen">"Rate of each seed, 0 to 100 %"</span>
                                <svg class="scale" aria-hidden="true">{scale}</svg>
                            </th>
                            {heads}
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </section>
    }
}

/// What an arm's models do in something else that was measured, and how that differs from the baseline.
fn side_cell(
    rate: Option<&ArmRate>,
    effects: Option<&ArmEffects>,
    measure: &str,
    seeds: &[u64],
) -> impl IntoView + use<> {
    let effect = effects.and_then(|of| of.side_changes.iter().find(|change| change.measure == measure));
    let Some(rate) = rate else {
        return view! { <td class="end change-of"><span class="quiet">"–"</span></td> }.into_any();
    };
    let of_seeds = seeds.iter().zip(&rate.seed_rates).map(|(seed, rate)| format!("seed {seed}: {}", percent(*rate)));
    let title = format!("{}; {} prompts", of_seeds.collect::<Vec<_>>().join(", "), rate.n_prompts);
    let change = effect.map(|change| {
        let effect = &change.effect;
        let interval = effect.difference.interval;
        let p = match effect.p_holm.or(effect.p) {
            Some(p) => p_text(p),
            None => "no p: one seed".to_owned(),
        };
        view! {
            " "
            <span class:clear=effect.is_established()>{tenths(effect.difference.value)}</span>
            " "
            <span class="range">{format!("{} to {}, {p}", tenths(interval.low), tenths(interval.high))}</span>
        }
    });
    view! { <td class="end change-of" title=title data-measure=measure.to_owned()>{percent(rate.rate.value)}{change}</td> }.into_any()
}

/// Points with one decimal, so that a column of them can be compared at a glance.
fn tenths(difference: f64) -> String {
    let text = format!("{:+.1}", 100.0 * difference).replace('-', "−");
    if matches!(text.as_str(), "+0.0" | "−0.0") { "0.0".to_owned() } else { text }
}

/// Interval, mean and each seed's rate on one scale.
fn strip(arm: &ArmRate, seeds: &[u64], axis: Axis) -> impl IntoView + use<> {
    let interval = arm.rate.interval;
    let dots: Vec<_> = arm
        .seed_rates
        .iter()
        .enumerate()
        .map(|(i, &rate)| {
            let name = seeds.get(i).map_or_else(|| format!("seed {} of {}", i + 1, arm.n_seeds), |n| format!("seed {n}"));
            view! { <circle class="seed" cx=axis.percent(rate) cy="50%" r="3.5"><title>{format!("{name}: {}", percent(rate))}</title></circle> }
        })
        .collect();
    let spoken: Vec<String> = arm.seed_rates.iter().map(|&rate| percent(rate)).collect();
    let (x, is_dashed) = (axis.percent(arm.rate.value), interval.covers == Covers::PromptsRollouts);
    view! {
        <svg role="img" aria-label=format!("Single seeds: {}", spoken.join(", "))>
            <line class="track" x1="0" x2="100%" y1="50%" y2="50%"></line>
            <line class="interval" class:dashed=is_dashed x1=axis.percent(interval.low) x2=axis.percent(interval.high) y1="50%" y2="50%"></line>
            <line class="mean" x1=x.clone() x2=x y1="4" y2="22"></line>
            {dots}
        </svg>
    }
}
