//! What the experiment could have seen, and a calculator for the next one: the smallest effect that would probably be
//! seen, from this study's own noise, by the function that the report was made with.

use std::time::Duration;

use leptos::html;
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

/// One number of a design, as it is typed.
struct Field {
    id: &'static str,
    label: &'static str,
    least: f64,
    most: f64,
    /// What it counts; a rate is a share of 100, and need not be whole.
    of: &'static str,
    get: fn(&Design) -> f64,
    set: fn(&mut Design, f64),
}

const N_FIELDS: usize = 4;

static FIELDS: [Field; N_FIELDS] = [
    Field {
        id: "n-seeds",
        label: "Training seeds an arm",
        least: 2.0,
        most: 64.0,
        of: "seeds",
        get: |design| design.n_seeds as f64,
        set: |design, value| design.n_seeds = value as usize,
    },
    Field {
        id: "n-prompts",
        label: "Test prompts",
        least: 2.0,
        most: 100_000.0,
        of: "test prompts",
        get: |design| design.n_prompts as f64,
        set: |design, value| design.n_prompts = value as usize,
    },
    Field {
        id: "n-rollouts",
        label: "Rollouts of each",
        least: 1.0,
        most: 100_000.0,
        of: "rollouts of each",
        get: |design| design.n_rollouts as f64,
        set: |design, value| design.n_rollouts = value as usize,
    },
    Field {
        id: "baseline-rate",
        label: "Baseline's rate, %",
        least: 0.01,
        most: 100.0,
        of: "% as the baseline's rate",
        get: |design| 100.0 * design.baseline_rate,
        set: |design, value| design.baseline_rate = value / 100.0,
    },
];

impl Field {
    fn is_whole(&self) -> bool {
        self.id != "baseline-rate"
    }

    /// As it is shown of a design.
    fn shown(&self, design: &Design) -> String {
        trimmed((100.0 * (self.get)(design)).round() / 100.0)
    }

    /// The number that was typed, if it is one that can be asked for.
    fn read(&self, text: &str) -> Option<f64> {
        let value = text.trim().parse::<f64>().ok().filter(|value| (self.least..=self.most).contains(value))?;
        (!self.is_whole() || value.fract() == 0.0).then_some(value)
    }

    /// What can be asked for: `2 to 64 seeds`.
    fn range(&self) -> String {
        let shown = |value: f64| if value < 1.0 { trimmed(value) } else { count(value as usize) };
        format!("{} to {} {}", shown(self.least), shown(self.most), self.of)
    }
}

/// The design that was typed, or what is to be typed instead. What is as measured here is not rounded.
fn designed(texts: &[String; N_FIELDS], measured: &Design) -> Result<Design, String> {
    let mut design = *measured;
    let mut wrong = Vec::new();
    for (field, text) in FIELDS.iter().zip(texts) {
        match field.read(text) {
            Some(_) if *text == field.shown(measured) => {}
            Some(value) => (field.set)(&mut design, value),
            None => wrong.push(field.range()),
        }
    }
    if wrong.is_empty() { Ok(design) } else { Err(format!("It takes {}.", wrong.join(", "))) }
}

#[component]
fn Calculator(detectable: Detectable) -> impl IntoView {
    let Detectable { aim, design: measured, .. } = detectable;
    let texts = RwSignal::new(FIELDS.each_ref().map(|field| field.shown(&measured)));
    let design = Memo::new(move |_| texts.with(|texts| designed(texts, &measured)));
    let found = RwSignal::new(Some(Ok::<_, String>(detectable)));
    let by_seeds = RwSignal::new([None::<f64>; SEEDS.len()]);
    // Only the last change counts; each number is computed in a turn of its own, so that the page answers meanwhile.
    let turn = StoredValue::new(0u32);
    Effect::new(move || {
        let now = turn.with_value(|turn| turn + 1);
        turn.set_value(now);
        by_seeds.set([None; SEEDS.len()]);
        let design = match design.get() {
            Ok(design) => design,
            Err(reason) => return found.set(Some(Err(reason))),
        };
        if found.with_untracked(|found| matches!(found, Some(Err(_)))) {
            found.set(None);
        }
        compute(move || turn.get_value() == now, design, aim, found, by_seeds, 0);
    });
    let inputs: [NodeRef<html::Input>; N_FIELDS] = std::array::from_fn(|_| NodeRef::new());
    // What is typed stays as it is typed: only the button writes into a field.
    let number = move |at: usize| {
        let field = &FIELDS[at];
        view! {
            <label>
                <span>{field.label}</span>
                <input
                    id=field.id
                    type="number"
                    node_ref=inputs[at]
                    min=field.least
                    max=field.most
                    step=if field.is_whole() { "1" } else { "any" }
                    inputmode=if field.is_whole() { "numeric" } else { "decimal" }
                    value=field.shown(&measured)
                    aria-invalid=move || texts.with(|texts| field.read(&texts[at]).is_none()).to_string()
                    aria-describedby="smallest-why"
                    on:input=move |event| texts.update(|texts| texts[at] = event_target_value(&event))
                />
            </label>
        }
    };
    let reset = move |_| {
        for (field, input) in FIELDS.iter().zip(inputs) {
            if let Some(input) = input.get_untracked() {
                input.set_value(&field.shown(&measured));
            }
        }
        texts.set(FIELDS.each_ref().map(|field| field.shown(&measured)));
    };
    let answer = move || match found.get() {
        None => ("…".to_owned(), String::new()),
        Some(Ok(found)) => (effect_text(&found), of_baseline(&found)),
        Some(Err(reason)) => ("–".to_owned(), reason),
    };
    let bars = move || {
        let values = by_seeds.get();
        // No change is larger than all there is.
        let asked = design.get().ok();
        let whole = asked.map_or(0.0, |design| design.baseline_rate);
        let most = values.iter().flatten().map(|value| value.min(whole)).fold(1e-9, f64::max);
        let n_seeds = asked.map(|design| design.n_seeds);
        let bar = |(n, value): (&usize, Option<f64>)| {
            let text = match value {
                None if asked.is_none() => "–".to_owned(),
                None => "…".to_owned(),
                Some(value) if value > whole => "none".to_owned(),
                Some(value) => points(value).trim_start_matches('+').to_owned(),
            };
            let width = value.filter(|value| *value <= whole).map_or(0.0, |value| value / most * 100.0);
            view! {
                <tr class:chosen=Some(*n) == n_seeds>
                    <th scope="row">{counted(*n, "seed", "seeds")}</th>
                    <td class="end">{text}</td>
                    <td class="bar" aria-hidden="true"><span style:width=format!("{width:.1}%")></span></td>
                </tr>
            }
        };
        SEEDS.iter().zip(values).map(bar).collect::<Vec<_>>()
    };
    let sd = |value: f64| points(value).trim_start_matches('+').to_owned();
    let is_changed = move || design.with(|design| *design != Ok(measured));
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
                {(0..N_FIELDS).map(number).collect::<Vec<_>>()}
                <p class="answer" aria-live="polite">
                    <span class="quiet">"smallest change that would probably be seen"</span>
                    <output id="smallest" for="n-seeds n-prompts n-rollouts baseline-rate">{move || answer().0}</output>
                    <span class="quiet" id="smallest-why">
                        {move || answer().1}
                    </span>
                </p>
                <button type="button" disabled=move || !is_changed() on:click=reset>
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
