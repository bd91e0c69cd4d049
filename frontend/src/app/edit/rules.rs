//! Rules that decide about many pairs at once: the first or last of the ranking, those that the filter shows, those of a
//! source.

use std::sync::Arc;

use leptos::prelude::*;
use whence_shared::edit::Decision;
use whence_shared::edit::worklist::Decided;

use crate::app::filters::Chips;
use crate::app::table::{end_name, source_name};
use crate::decisions::Decisions;
use crate::listing::Listing;
use crate::members::Members;
use crate::number::{count, counted};
use crate::state::{RankStatus, Ranking, State, StudyStatus};

/// The rules.
#[component]
pub fn Rules() -> impl IntoView {
    let state = State::here();
    let action = RwSignal::new(Decision::Switch);
    let spares_decided = RwSignal::new(true);
    let outcome = RwSignal::new(String::new());
    let options = [Decision::Switch, Decision::Drop, Decision::Keep]
        .map(|of| {
            view! { <option value=of.name() prop:selected=move || action.get() == of>{of.name()}</option> }
        })
        .collect_view();
    let rules = RuleBook { action, spares_decided, outcome, decisions: Decisions::here() };
    view! {
        <section class="rules" id="rules" aria-labelledby="rules-title">
            <h2 id="rules-title">"Rules"</h2>
            <div class="rule-options">
                <label>
                    "Action"
                    <select
                        id="rule-action"
                        on:change=move |event| {
                            if let Ok(chosen) = event_target_value(&event).parse() {
                                action.set(chosen);
                            }
                        }
                    >
                        {options}
                    </select>
                </label>
                <label class="choice">
                    <input
                        type="checkbox"
                        id="spare-decided"
                        prop:checked=move || spares_decided.get()
                        on:change=move |event| spares_decided.set(event_target_checked(&event))
                    />
                    <span>"leave pairs that are decided already"</span>
                </label>
            </div>
            <OfRanking rules />
            <Show when=move || state.is_filtered.get()>
                <OfFilter rules />
            </Show>
            <OfSource rules />
            <p class="quiet" role="status" id="rule-outcome">
                {move || outcome.get()}
            </p>
        </section>
    }
}

/// What all rules share.
#[derive(Clone, Copy)]
struct RuleBook {
    action: RwSignal<Decision>,
    spares_decided: RwSignal<bool>,
    outcome: RwSignal<String>,
    decisions: Decisions,
}

impl RuleBook {
    /// Decides about rows, `of` in words: `top 500 of flattery, layer 2`.
    fn apply(self, of: &str, rows: impl IntoIterator<Item = u32>) {
        let decisions = self.decisions;
        let action = self.action.get_untracked();
        let spares = self.spares_decided.get_untracked();
        let decided: Vec<_> = decisions.list.with_untracked(|list| {
            rows.into_iter()
                .filter(|row| !spares || list.get(*row).is_none())
                .map(|row| (row, Some(Decided { action, note: of.to_owned() })))
                .collect()
        });
        let n = decisions.decide(&format!("{of}: {}", action.name()), decided);
        self.outcome.set(match n {
            0 => format!("{of}: nothing left to {}.", action.name()),
            n => format!("{of}: {} to {}.", counted(n, "pair", "pairs"), action.name()),
        });
    }
}

#[component]
fn OfRanking(rules: RuleBook) -> impl IntoView {
    let state = State::here();
    let n = RwSignal::new(None::<usize>);
    // As many as count as the top, until something else is typed.
    let wanted = move || n.get().unwrap_or_else(|| state.k.get());
    let ranking = move || -> Option<Arc<Ranking>> {
        let wanted = state.wanted.get()?;
        state.ranking.get().filter(|ranking| ranking.wanted.is_like(&wanted))
    };
    // The first n are certain only as far as the ranking is; beyond k it may be an estimate.
    let doubt = move || {
        let ranking = ranking()?;
        let n = wanted().min(ranking.order.len());
        let n_estimated = ranking.order[..n].iter().filter(|&&row| ranking.radii[row as usize] > 0.0).count();
        (n > ranking.report.k && n_estimated > 0).then(|| {
            format!(
                "Beyond the first {} the order is an estimate. Set {} in the header to be certain of as many.",
                count(ranking.report.k),
                count(n)
            )
        })
    };
    let apply = move |_| {
        let Some(ranking) = untrack(ranking) else { return };
        let n = untrack(wanted).min(ranking.order.len());
        let (behavior, layer) = (&ranking.behavior, ranking.wanted.layer);
        let of = format!("{} {} of {behavior}, layer {layer}", untrack(|| end_name(state)), count(n));
        rules.apply(&of, ranking.order[..n].iter().copied());
    };
    let name = move || ranking().map(|r| format!("of {}, layer {}", r.behavior, r.wanted.layer));
    let waiting = move || match state.status.get() {
        RankStatus::Failed(error) => format!("there is no ranking: {error}"),
        _ => "the ranking is being read…".to_owned(),
    };
    view! {
        <div class="rule">
            <label>
                <span>{move || format!("the {}", end_name(state))}</span>
                <input
                    id="rule-n"
                    type="number"
                    min="1"
                    step="1"
                    inputmode="numeric"
                    aria-label="Number of pairs"
                    prop:value=move || wanted().to_string()
                    on:input=move |event| n.set(event_target_value(&event).parse().ok().filter(|n| *n > 0))
                />
                <span>{move || name().unwrap_or_else(waiting)}</span>
            </label>
            <button type="button" id="apply-ranking" disabled=move || ranking().is_none() on:click=apply>
                "Apply"
            </button>
        </div>
        {move || doubt().map(|text| view! { <p class="quiet">{text}</p> })}
    }
}

#[component]
fn OfFilter(rules: RuleBook) -> impl IntoView {
    let (state, members) = (State::here(), Members::here());
    let apply = move |_| {
        let rows = untrack(|| state.listed.get());
        let Some(rows) = rows else { return };
        let words = untrack(|| crate::app::filters::in_words(state));
        rules.apply(&words, rows.iter().copied());
    };
    view! {
        <div class="rule">
            <span>
                {move || format!("the {} that the filter shows", counted(state.n_listed(), "pair", "pairs"))}
            </span>
            <button type="button" id="apply-filter" disabled=move || state.n_listed() == 0 on:click=apply>
                "Apply"
            </button>
        </div>
        <Chips />
        {move || members.problem.get().map(|text| view! { <p class="problem" role="alert">{format!("{text}.")}</p> })}
    }
}

#[component]
fn OfSource(rules: RuleBook) -> impl IntoView {
    let state = State::here();
    let listing = Listing::here();
    listing.want_columns();
    let chosen = RwSignal::new(0usize);
    let options = move || {
        let StudyStatus::Ready(study) = state.study.get() else { return Vec::new() };
        let option = |(i, source): (usize, &whence_shared::study::SourceView)| {
            let text = format!("{} ({})", source_name(&source.name), count(source.n_pairs));
            view! { <option value=i.to_string()>{text}</option> }
        };
        study.sources.iter().enumerate().map(option).collect()
    };
    let apply = move |_| {
        let (Some(columns), StudyStatus::Ready(study)) =
            (untrack(|| listing.ready_columns()), state.study.get_untracked())
        else {
            return;
        };
        let number = chosen.get_untracked();
        let Some(source) = study.sources.get(number) else { return };
        let rows = (0u32..).zip(&columns.source).filter(|(_, of)| **of as usize == number).map(|(row, _)| row);
        rules.apply(&format!("all of source {}", source_name(&source.name)), rows);
    };
    view! {
        <div class="rule">
            <label>
                <span>"all of source"</span>
                <select
                    id="rule-source"
                    on:change=move |event| chosen.set(event_target_value(&event).parse().unwrap_or(0))
                >
                    {options}
                </select>
            </label>
            <button
                type="button"
                id="apply-source"
                disabled=move || listing.ready_columns().is_none()
                on:click=apply
            >
                "Apply"
            </button>
        </div>
    }
}
