//! What the decisions do to the data as a whole: pairs of each source and lengths, before and after.

use leptos::prelude::*;
use whence_shared::edit::effect::{Effect, Lengths, SourceEffect, effect};

use crate::app::table::source_name;
use crate::decisions::Decisions;
use crate::listing::{ColumnsStatus, Listing};
use crate::number::{count, percent};
use crate::state::{State, StudyStatus};

/// The section.
#[component]
pub fn EffectOfDecisions() -> impl IntoView {
    let state = State::here();
    let decisions = Decisions::here();
    let listing = Listing::here();
    listing.want_columns();
    let found = move || -> Option<(Effect, Vec<String>)> {
        let columns = listing.ready_columns()?;
        let StudyStatus::Ready(study) = state.study.get() else { return None };
        let names = study.sources.iter().map(|source| source_name(&source.name)).collect();
        Some((decisions.list.with(|list| effect(&columns, study.sources.len(), list)), names))
    };
    view! {
        <section class="effect" id="effect" aria-labelledby="effect-title">
            <h2 id="effect-title">"What that does"</h2>
            {move || match (found(), listing.columns.get()) {
                (Some((effect, names)), _) => view! { {sources(&effect.sources, &names)} {lengths(&effect)} }.into_any(),
                (None, ColumnsStatus::Failed(reason)) => {
                    view! {
                        <p class="problem" role="alert">
                            {format!("Sources and lengths did not arrive: {reason}.")}
                        </p>
                    }
                        .into_any()
                }
                (None, _) => view! { <p class="quiet">"Reading sources and lengths…"</p> }.into_any(),
            }}
        </section>
    }
}

fn sources(effects: &[SourceEffect], names: &[String]) -> impl IntoView + use<> {
    let n_before: usize = effects.iter().map(|effect| effect.n_pairs).sum();
    let n_after: usize = effects.iter().map(SourceEffect::n_left).sum();
    let mut lines: Vec<(&String, &SourceEffect)> = names.iter().zip(effects).collect();
    // What changes most first.
    lines.sort_by_key(|(_, effect)| std::cmp::Reverse((effect.n_dropped + effect.n_switched, effect.n_pairs)));
    let share = |n: usize, of: usize| percent(n as f64 / (of as f64).max(1.0));
    let line = |(name, effect): (&String, &SourceEffect)| {
        let of_source = |n: usize| format!("{:.2}%", 100.0 * n as f64 / (effect.n_pairs as f64).max(1.0));
        view! {
            <tr>
                <th scope="row">{name.clone()}</th>
                <td class="end">{count(effect.n_pairs)}</td>
                <td class="end">{count(effect.n_dropped)}</td>
                <td class="end">{count(effect.n_switched)}</td>
                <td class="parts">
                    <span class="parts-track" aria-hidden="true">
                        <span class="part drop" style:width=of_source(effect.n_dropped)></span>
                        <span class="part switch" style:width=of_source(effect.n_switched)></span>
                    </span>
                </td>
                <td class="end">{share(effect.n_pairs, n_before)}</td>
                <td class="end">{share(effect.n_left(), n_after)}</td>
            </tr>
        }
    };
    let lines: Vec<_> = lines.into_iter().map(line).collect();
    view! {
        <div class="scroll">
            <table class="figures">
                <thead>
                    <tr>
                        <th scope="col">"Source"</th>
                        <th scope="col" class="end">"Pairs"</th>
                        <th scope="col" class="end">"Dropped"</th>
                        <th scope="col" class="end">"Switched"</th>
                        <th scope="col">"of the source"</th>
                        <th scope="col" class="end">"Share before"</th>
                        <th scope="col" class="end">"after"</th>
                    </tr>
                </thead>
                <tbody>{lines}</tbody>
            </table>
        </div>
    }
}

fn lengths(effect: &Effect) -> impl IntoView + use<> {
    let longer = |lengths: &Lengths, n: usize| percent(n as f64 / (lengths.n_pairs as f64).max(1.0));
    let line = |name: &'static str, show: &dyn Fn(&Lengths) -> String| {
        view! {
            <tr>
                <th scope="row">{name}</th>
                <td class="end">{show(&effect.before)}</td>
                <td class="end">{show(&effect.after)}</td>
            </tr>
        }
    };
    view! {
        <table class="figures">
            <thead>
                <tr>
                    <th scope="col">"All pairs"</th>
                    <th scope="col" class="end">"Before"</th>
                    <th scope="col" class="end">"After"</th>
                </tr>
            </thead>
            <tbody>
                {line("pairs to train on", &|lengths| count(lengths.n_pairs))}
                {line("mean characters, chosen", &|lengths| format!("{:.0}", lengths.chosen_mean))}
                {line("mean characters, rejected", &|lengths| format!("{:.0}", lengths.rejected_mean))}
                {line("chosen is longer", &|lengths| longer(lengths, lengths.n_chosen_longer))}
                {line("rejected is longer", &|lengths| longer(lengths, lengths.n_rejected_longer))}
            </tbody>
        </table>
    }
}
