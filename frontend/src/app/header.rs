//! The header: what this study is, and the pickers for behavior, layer and k.

use leptos::prelude::*;
use web_sys::HtmlInputElement;
use whence_shared::study::{BehaviorView, HealthView, StudyView};

use super::Surroundings;
use super::navigation::{Navigation, SkipLink};
use super::open::{OpenButton, OpenedName};
use super::ranking_csv::DownloadRanking;
use crate::address::Page;
use crate::number::{count, counted};
use crate::protocol::{End, Of, Query};
use crate::state::{State, StudyStatus, View, shared_layers};

/// Study name, facts and pickers.
#[component]
pub fn Header() -> impl IntoView {
    let state = State::here();
    let study = move || match state.study.get() {
        StudyStatus::Ready(study) => Some(study),
        _ => None,
    };
    Effect::new(move || {
        if let Some(study) = study() {
            let page = match state.page.get() {
                Page::Overview => String::new(),
                page => format!("{} · ", page.title()),
            };
            document().set_title(&format!("{page}{} · Whence", study.name));
        }
    });
    let has_pickers = Memo::new(move |_| state.needs_ranking.get() && matches!(state.view.get(), View::Ready { .. }));
    view! {
        <header class="header">
            <SkipLink />
            <h1>
                <span class="wordmark">"Whence"</span>
                {move || study().map(|study| view! { <span class="study-name">{study.name.clone()}</span> })}
                <OpenedName />
            </h1>
            <Navigation />
            {move || study().map(|study| facts(&study))}
            <Tools />
            <Show when=move || has_pickers.get()>
                <Pickers />
            </Show>
        </header>
    }
}

/// What is at hand on every page: commands, keys, and the switch that covers texts.
#[component]
fn Tools() -> impl IntoView {
    let Surroundings { covers, help, palette, .. } = Surroundings::here();
    view! {
        <div class="tools">
            <button
                type="button"
                id="covers"
                class="pressable"
                aria-pressed=move || covers.is_on.get().to_string()
                aria-keyshortcuts="C"
                title="Cover what pairs say until asked for, in this browser (C)"
                on:click=move |_| covers.toggle()
            >
                "Cover texts"
            </button>
            <OpenButton id="open-file" text="Open…" />
            <button
                type="button"
                id="open-palette"
                aria-keyshortcuts="Control+K Meta+K"
                title="Commands: pages, behaviors, pairs by id or row (Ctrl K)"
                on:click=move |_| palette.set(true)
            >
                "Go to…"
            </button>
            <button
                type="button"
                id="open-help"
                aria-label="Keys"
                aria-keyshortcuts="?"
                title="Keys (?)"
                on:click=move |_| help.set(true)
            >
                "?"
            </button>
        </div>
    }
}

fn facts(study: &StudyView) -> impl IntoView + use<> {
    let model = study.model.as_ref().map(|model| {
        let details = format!(
            "{}, {} layers of width {}, {} template, {} pooling, SHA-256 {}",
            model.architecture, model.n_layers, model.d_model, model.template, model.pooling, model.sha256
        );
        view! { <li title=details>{model.name.clone()}</li> }
    });
    let health = health(&study.health);
    let has_findings = health.is_some();
    view! {
        <ul class="facts" aria-label="About this study">
            {model} <li>{counted(study.n_pairs, "pair", "pairs")}</li>
            <li>{counted(study.sources.len(), "source", "sources")}</li>
            <li class:warn=has_findings>{health.unwrap_or_else(|| "no duplicates, none refused".to_owned())}</li>
        </ul>
    }
}

/// What import found worth knowing; `None` when there is nothing.
fn health(health: &HealthView) -> Option<String> {
    let findings: Vec<String> = [
        (health.n_rejected_rows, "refused row", "refused rows"),
        (health.n_duplicates, "duplicate", "duplicates"),
        (health.n_identical, "identical pair", "identical pairs"),
        (health.n_empty_responses, "empty response", "empty responses"),
    ]
    .into_iter()
    .filter(|(n, ..)| *n > 0)
    .map(|(n, one, many)| counted(n, one, many))
    .collect();
    (!findings.is_empty()).then(|| findings.join(", "))
}

/// How many pairs are meant by what was typed: a whole number from 1 to `max`; `None` where no number was typed.
fn k_typed(text: &str, max: usize) -> Option<usize> {
    let k = text.trim().parse::<f64>().ok().filter(|k| k.is_finite())?;
    // Beyond what a usize holds the cast saturates.
    Some((k.round() as usize).clamp(1, max))
}

#[component]
fn Pickers() -> impl IntoView {
    let state = State::here();
    let options = Memo::new(move |_| match state.view.get() {
        View::Ready { study, behavior, layer } => {
            let names: Vec<String> = study.behaviors.iter().map(|behavior| behavior.name.clone()).collect();
            let layers: Vec<usize> = shared_layers(&study, &behavior).iter().map(|layer| layer.layer).collect();
            Some((names, behavior.name, layers, layer.layer, study.n_pairs))
        }
        _ => None,
    });
    let behaviors = move || {
        let (names, chosen, ..) = options.get()?;
        let options: Vec<_> = names
            .into_iter()
            .map(|name| {
                let is_chosen = name == chosen;
                view! { <option value=name.clone() prop:selected=is_chosen>{name.clone()}</option> }
            })
            .collect();
        Some(options)
    };
    let layers = move || {
        let (_, _, layers, chosen, _) = options.get()?;
        let options: Vec<_> = layers
            .into_iter()
            .map(|layer| view! { <option value=layer.to_string() prop:selected=layer == chosen>{layer}</option> })
            .collect();
        Some(options)
    };
    let query = Memo::new(move |_| state.wanted.get().map(|wanted| wanted.query));
    let is_bank = Memo::new(move |_| query.with(|query| matches!(query, Some(Query { of: Of::Bank(_), .. }))));
    let only = move || {
        let n_all = match state.view.get() {
            View::Ready { behavior, .. } => behavior.n_pairs,
            _ => 0,
        };
        let n = state.only.with(|only| only.as_ref().map_or(0, Vec::len));
        format!("{} of {}", count(n), counted(n_all, "prompt", "prompts"))
    };
    // Behaviors that can be projected out of the chosen one.
    let others = Memo::new(move |_| match state.view.get() {
        View::Ready { study, behavior, layer } => {
            let fits = |b: &&BehaviorView| b.name != behavior.name && b.layers.contains(&layer.layer);
            study.behaviors.iter().filter(fits).map(|b| b.name.clone()).collect::<Vec<_>>()
        }
        _ => Vec::new(),
    });
    let withouts = move || {
        let chosen = query.get().and_then(|query| query.without.first().cloned());
        let nothing = view! { <option value="" prop:selected=chosen.is_none()>"without…"</option> };
        let names = others.get().into_iter().map(|name| {
            let is_chosen = Some(&name) == chosen.as_ref();
            view! { <option value=name.clone() prop:selected=is_chosen>{format!("without {name}")}</option> }
        });
        (nothing, names.collect::<Vec<_>>())
    };
    let max_k = move || options.get().map_or(1, |(.., n_pairs)| n_pairs.max(1));
    view! {
        <form class="pickers" on:submit=|event| event.prevent_default()>
            <label>
                "Behavior"
                <select id="behavior" on:change=move |event| state.choose_behavior(event_target_value(&event))>
                    {behaviors}
                </select>
            </label>
            <label>
                "Layer"
                <select
                    id="layer"
                    on:change=move |event| {
                        if let Ok(layer) = event_target_value(&event).parse() {
                            state.choose_layer(layer);
                        }
                    }
                >
                    {layers}
                </select>
            </label>
            <Show when=move || state.only.with(Option::is_some)>
                <button
                    type="button"
                    id="only"
                    class="chosen"
                    title="The direction is the mean of some of the behavior's vectors: those chosen on the Discover page. Press to rank by all of them"
                    on:click=move |_| state.rank_by_all()
                >
                    {only} " ×"
                </button>
            </Show>
            <select
                id="by"
                disabled=move || state.only.with(Option::is_some)
                aria-label="How the behavior's vectors count"
                title="By the cosine with the direction made of the behavior's vectors, or by the largest with any of them"
                on:change=move |event| state.choose_bank(event_target_value(&event) == "bank")
            >
                <option value="direction" prop:selected=move || !is_bank.get()>"by direction"</option>
                <option value="bank" prop:selected=move || is_bank.get()>"by bank"</option>
            </select>
            <Show when=move || others.with(|others| !others.is_empty())>
                    <select
                        id="without"
                        class:chosen=move || query.with(|q| q.as_ref().is_some_and(|q| !q.without.is_empty()))
                        aria-label="Behavior whose direction is projected out"
                        title="Projects another behavior's direction out of this one's: what is left does not push toward it"
                        on:change=move |event| {
                            let name = event_target_value(&event);
                            state.choose_without((!name.is_empty()).then_some(name));
                        }
                    >
                        {withouts}
                    </select>
            </Show>
            <label title=move || format!("How many pairs are wanted, 1 to {}, and from which end", count(max_k()))>
                <select
                    id="end"
                    aria-label="End of the ranking"
                    on:change=move |event| {
                        state.choose_end(if event_target_value(&event) == "bottom" { End::Bottom } else { End::Top });
                    }
                >
                    <option value="top" prop:selected=move || state.end() == End::Top>"Top"</option>
                    <option value="bottom" prop:selected=move || state.end() == End::Bottom>"Bottom"</option>
                </select>
                <input
                    id="k"
                    aria-label="Number of pairs"
                    type="number"
                    min="1"
                    max=move || max_k().to_string()
                    step="1"
                    inputmode="numeric"
                    prop:value=move || state.k.get().to_string()
                    on:change=move |event| {
                        if let Some(k) = k_typed(&event_target_value(&event), untrack(max_k)) {
                            state.choose_k(k);
                        }
                        // What stands there is what is in force, whatever was typed.
                        event_target::<HtmlInputElement>(&event).set_value(&state.k.get_untracked().to_string());
                    }
                />
            </label>
            <DownloadRanking />
        </form>
    }
}
