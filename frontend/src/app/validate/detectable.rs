//! What the experiment could have seen, and a calculator for the next one: the smallest effect that would probably be
//! seen, from this study's own noise, by the function that the report was made with.

use std::time::Duration;

use leptos::prelude::*;
use whence_shared::statistics::conclusion::{percent, points};
use whence_shared::statistics::power::{self, Aim, Design, Detectable};
use whence_shared::validation::ValidationReport;

use crate::number::{count, counted};

/// Numbers of seeds that are compared.
const SEEDS: [usize; 7] = [2, 3, 4, 5, 6, 8, 12];

/// The section.
pub fn what_could_be_seen(report: &ValidationReport) -> impl IntoView + use<> {
    let body = match report.comparison.detectable {
        Some(detectable) => view! { <Calculator detectable /> }.into_any(),
        None => view! {
            <p class="about">
                "Not known: it takes several training seeds of the baseline and of an edit, and a baseline that shows the behavior. With one seed each, nothing tells an effect from the noise of training."
            </p>
        }
        .into_any(),
    };
    view! {
        <section class="detectable" id="detectable" aria-labelledby="detectable-title">
            <h2 id="detectable-title">"What this experiment could have seen"</h2>
            {body}
        </section>
    }
}

/// A smallest effect in words: `33.1 points`, and whether that is more than there is.
fn effect_text(detectable: &Detectable) -> String {
    format!("{} points", points(detectable.absolute).trim_start_matches('+'))
}

fn design_text(design: &Design) -> String {
    format!(
        "{} an arm, {} and {} of each",
        counted(design.n_seeds, "seed", "seeds"),
        counted(design.n_prompts, "test prompt", "test prompts"),
        counted(design.n_rollouts, "rollout", "rollouts")
    )
}

fn of_baseline(detectable: &Detectable) -> String {
    if detectable.relative > 1.0 {
        "more than the baseline's rate: not even the behavior's disappearance would be seen reliably".to_owned()
    } else {
        format!("{} of the baseline's rate", percent(detectable.relative))
    }
}

#[component]
fn Calculator(detectable: Detectable) -> impl IntoView {
    let Detectable { aim, design: measured, .. } = detectable;
    let design = RwSignal::new(measured);
    let found = RwSignal::new(Some(Ok::<_, String>(detectable)));
    let by_seeds = RwSignal::new([None::<f64>; SEEDS.len()]);
    // Only the last change counts; each number is computed in a turn of its own, so that the page answers meanwhile.
    let turn = StoredValue::new(0u32);
    Effect::new(move || {
        let design = design.get();
        let now = turn.with_value(|turn| turn + 1);
        turn.set_value(now);
        by_seeds.set([None; SEEDS.len()]);
        compute(move || turn.get_value() == now, design, aim, found, by_seeds, 0);
    });
    let number = move |id: &'static str,
                       label: &'static str,
                       least: f64,
                       most: f64,
                       get: fn(&Design) -> f64,
                       set: fn(&mut Design, f64)| {
        let is_share = most <= 100.0 && id == "baseline-rate";
        view! {
            <label>
                <span>{label}</span>
                <input
                    id=id
                    type="number"
                    min=least
                    max=most
                    step=if is_share { "any" } else { "1" }
                    inputmode=if is_share { "decimal" } else { "numeric" }
                    prop:value=move || design.with(|design| trimmed((100.0 * get(design)).round() / 100.0))
                    on:input=move |event| {
                        if let Ok(value) = event_target_value(&event).parse::<f64>() && (least..=most).contains(&value) {
                            design.update(|design| set(design, value));
                        }
                    }
                />
            </label>
        }
    };
    let answer = move || match found.get() {
        None => ("…".to_owned(), String::new()),
        Some(Ok(found)) => (effect_text(&found), of_baseline(&found)),
        Some(Err(reason)) => ("–".to_owned(), reason),
    };
    let bars = move || {
        let values = by_seeds.get();
        // No change is larger than all there is.
        let whole = design.with(|design| design.baseline_rate);
        let most = values.iter().flatten().map(|value| value.min(whole)).fold(1e-9, f64::max);
        let n_seeds = design.with(|design| design.n_seeds);
        let bar = |(n, value): (&usize, Option<f64>)| {
            let text = match value {
                None => "…".to_owned(),
                Some(value) if value > whole => "none".to_owned(),
                Some(value) => points(value).trim_start_matches('+').to_owned(),
            };
            let width = value.filter(|value| *value <= whole).map_or(0.0, |value| value / most * 100.0);
            view! {
                <tr class:chosen=*n == n_seeds>
                    <th scope="row">{counted(*n, "seed", "seeds")}</th>
                    <td class="end">{text}</td>
                    <td class="bar" aria-hidden="true"><span style:width=format!("{width:.1}%")></span></td>
                </tr>
            }
        };
        SEEDS.iter().zip(values).map(bar).collect::<Vec<_>>()
    };
    let sd = |value: f64| points(value).trim_start_matches('+').to_owned();
    let is_changed = move || design.with(|design| *design != measured);
    view! {
        <p class="about">
            {format!(
                "With {}, a change of {} ({}) would have been seen with a probability of {:.0} %, at a significance level of {}.",
                design_text(&measured),
                effect_text(&detectable),
                of_baseline(&detectable),
                100.0 * aim.power,
                trimmed(aim.alpha),
            )}
        </p>
        <div class="calculator">
            <form on:submit=|event| event.prevent_default() aria-label="Plan an experiment">
                <h3>"The next experiment"</h3>
                {number("n-seeds", "Training seeds an arm", 2.0, 64.0, |d| d.n_seeds as f64, |d, v| d.n_seeds = v as usize)}
                {number("n-prompts", "Test prompts", 2.0, 100_000.0, |d| d.n_prompts as f64, |d, v| d.n_prompts = v as usize)}
                {number("n-rollouts", "Rollouts of each", 1.0, 100_000.0, |d| d.n_rollouts as f64, |d, v| d.n_rollouts = v as usize)}
                {number("baseline-rate", "Baseline's rate, %", 0.01, 100.0, |d| 100.0 * d.baseline_rate, |d, v| d.baseline_rate = v / 100.0)}
                <p class="answer" aria-live="polite">
                    <span class="quiet">"smallest change that would probably be seen"</span>
                    <output id="smallest" for="n-seeds n-prompts n-rollouts baseline-rate">{move || answer().0}</output>
                    <span class="quiet">{move || answer().1}</span>
                </p>
                <button type="button" disabled=move || !is_changed() on:click=move |_| design.set(measured)>
                    "As in this study"
                </button>
            </form>
            <table class="by-seeds">
                <caption>"The same by number of seeds, in points"</caption>
                <tbody>{bars}</tbody>
                <tfoot>
                    <tr>
                        <td colspan="3" class="quiet">"none: not even the behavior's disappearance would be seen reliably"</td>
                    </tr>
                </tfoot>
            </table>
            <div class="noise">
                <h3>"Noise measured here"</h3>
                <dl>
                    <dt>"between training seeds"</dt>
                    <dd>{sd(measured.seed_sd)}</dd>
                    <dt>"between prompts"</dt>
                    <dd>{sd(measured.prompt_sd)}</dd>
                    <dt>"what an edit changes, between prompts"</dt>
                    <dd>{sd(measured.change_sd)}</dd>
                    <dt>"what a seed does to single prompts"</dt>
                    <dd>{sd(measured.seed_prompt_sd)}</dd>
                </dl>
                <p class="quiet">
                    {format!(
                        "Standard deviations in points, pooled over arms. Calculated for two arms, a power of {:.0} % and a level of {}; {} draws.",
                        100.0 * aim.power,
                        trimmed(aim.alpha),
                        count(2000)
                    )}
                </p>
            </div>
        </div>
    }
}

/// Computes the answer, then the same for each number of seeds, one in each turn.
fn compute(
    is_wanted: impl Fn() -> bool + Copy + 'static,
    design: Design,
    aim: Aim,
    found: RwSignal<Option<Result<Detectable, String>>>,
    by_seeds: RwSignal<[Option<f64>; SEEDS.len()]>,
    place: usize,
) {
    set_timeout(
        move || {
            if !is_wanted() {
                return;
            }
            match place.checked_sub(1) {
                None => found.set(Some(power::detectable(&design, aim).map_err(|error| error.to_string()))),
                Some(i) => {
                    let design = Design { n_seeds: SEEDS[i], ..design };
                    by_seeds.update(|all| all[i] = power::detectable(&design, aim).ok().map(|d| d.absolute));
                }
            }
            if place < SEEDS.len() {
                compute(is_wanted, design, aim, found, by_seeds, place + 1);
            }
        },
        Duration::ZERO,
    );
}

/// Up to four digits after the point, no more than it takes.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
