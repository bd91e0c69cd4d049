//! The groups, for reading: one card each, with what tells it from the others and who is typical of it.

use std::sync::Arc;

use leptos::prelude::*;
use whence_shared::cluster::one_way::{OneWay, Verdict};
use whence_shared::cluster::terms::Term;
use whence_shared::discovery::cutting::SideName;
use whence_shared::discovery::{Cluster, Groups};
use whence_shared::filter::PairGroup;
use whence_shared::pair::one_line;

use super::contrast::{Compared, ContrastPanel};
use super::pair_link;
use super::rank_by::RankBy;
use crate::address::Page;
use crate::app::navigation::is_plain_click;
use crate::app::status_line::capital;
use crate::discovery::{Discovery, Found, Origin};
use crate::number::{counted, hundredths};
use crate::state::{State, View};

/// Terms of a card.
const N_TERMS: usize = 8;
/// So many groups that are no change are shown without being asked for.
const FEW: usize = 6;
/// Exemplars of a card.
const N_EXEMPLARS: usize = 3;
const SNIPPET_CHARS: usize = 140;
/// A source is named when it is over-represented at this level, after Holm's correction.
const ALPHA: f64 = 0.05;

/// The section of prompts.
#[component]
pub fn PromptGroups(found: Arc<Found>) -> impl IntoView {
    let (discovery, compared) = (Discovery::here(), Compared::of(&found, SideName::Prompts));
    let cards = {
        let found = found.clone();
        move || {
            let groups = discovery.groups(&found);
            let is_change = |label: &usize| groups.prompts.clusters[*label].one_way.is_some_and(|way| way.is_change);
            let (mut changes, others): (Vec<_>, Vec<_>) = (0..groups.prompts.clusters.len()).partition(is_change);
            // Slight ones after the others.
            changes.sort_by_key(|label| !groups.prompts.clusters[*label].one_way.is_some_and(|way| way.is_found()));
            let cards = |labels: Vec<usize>| {
                labels.into_iter().map(|label| prompt_card(&found, &groups, label, compared)).collect::<Vec<_>>()
            };
            (cards(changes), folded(cards(others)))
        }
    };
    view! {
        <section aria-labelledby="prompt-groups-title">
            <h2 id="prompt-groups-title">"Groups of prompts"</h2>
            <p class="about">
                "Prompts in one group were changed by the same pairs; changes stand first. Open a prompt to read what tuning changed."
            </p>
            <ContrastPanel found compared />
            {move || {
                let (changes, others) = cards();
                let has_none = changes.is_empty();
                view! {
                    <div class="groups" hidden=has_none>{changes}</div>
                    {others}
                }
            }}
        </section>
    }
}

/// Groups that are no change: out of the way where there are many.
fn folded<V: IntoView + 'static>(cards: Vec<V>) -> Option<impl IntoView + use<V>> {
    let title = format!("{} that are no change", counted(cards.len(), "group", "groups"));
    let is_open = cards.len() <= FEW;
    (!cards.is_empty()).then(|| {
        view! {
            <details class="others" open=is_open>
                <summary>{title}</summary>
                <div class="groups">{cards}</div>
            </details>
        }
    })
}

fn prompt_card(found: &Arc<Found>, groups: &Groups, label: usize, compared: Compared) -> impl IntoView + use<> {
    let cluster = &groups.prompts.clusters[label];
    let exemplar = |&row: &u32| {
        let entry = &found.view.prompts[row as usize];
        view! {
            <li>
                <details>
                    <summary>{one_line(&entry.prompt, SNIPPET_CHARS)}</summary>
                    <dl>
                        <dt>"Before tuning"</dt>
                        <dd class="text">{entry.r0.clone()}</dd>
                        <dt>"After tuning"</dt>
                        <dd class="text">{entry.r1.clone()}</dd>
                    </dl>
                </details>
            </li>
        }
    };
    let typical: Vec<_> = cluster.typical.iter().take(N_EXEMPLARS).map(exemplar).collect();
    let border: Vec<_> = border(cluster).map(exemplar).collect();
    let is_in = |row: &u32| groups.prompts.labels[*row as usize] as usize == label;
    let rows: Vec<u32> = (0..groups.prompts.labels.len() as u32).filter(is_in).collect();
    view! {
        <article class="group" data-side="prompts" data-label=label.to_string()>
            {head(SideName::Prompts, label, cluster, compared)}
            {named(found, SideName::Prompts, label)}
            {cluster.one_way.map(|of| way(of, found.view.settings.one_way.alpha))}
            <p class="meets">{meets(&groups.means[label])}</p>
            {terms("Words", &cluster.terms)}
            {exemplars("Typical", typical)}
            {exemplars("At the border", border)}
            <RankBy found=found.clone() prompts=Signal::stored(rows) text="Rank pairs by these prompts" />
        </article>
    }
}

/// The section of pairs.
#[component]
pub fn PairGroups(found: Arc<Found>) -> impl IntoView {
    let (discovery, compared) = (Discovery::here(), Compared::of(&found, SideName::Pairs));
    let has_no_words = {
        let found = found.clone();
        move || {
            let is_cut = discovery.shown.with(|shown| shown.as_ref().is_some_and(|shown| shown.cuts.pairs.is_some()));
            is_cut && !found.view.has_words && found.origin == Origin::Stored
        }
    };
    let cards = {
        let found = found.clone();
        move || {
            let groups = discovery.groups(&found);
            let cut = discovery.shown.with(|shown| shown.as_ref().and_then(|shown| shown.cuts.pairs));
            (0..groups.pairs.clusters.len())
                .map(|label| pair_card(&found, &groups, (label, cut), compared))
                .collect::<Vec<_>>()
        }
    };
    view! {
        <section aria-labelledby="pair-groups-title">
            <h2 id="pair-groups-title">"Groups of pairs"</h2>
            <p class="about">"Pairs in one group push the same prompts the same way. A pair opens in the ranking; a whole group is shown there, or decided about."</p>
            <Show when=has_no_words>
                <p class="about">
                    "This discovery was stored without the words of its pairs, so that groups cut elsewhere have none: run whence discover again."
                </p>
            </Show>
            <ContrastPanel found compared />
            <div class="groups">{cards}</div>
        </section>
    }
}

/// A group of pairs: its label, and into how many groups the pairs are cut unless as stored.
fn pair_card(
    found: &Arc<Found>,
    groups: &Groups,
    (label, cut): (usize, Option<usize>),
    compared: Compared,
) -> impl IntoView + use<> {
    let cluster = &groups.pairs.clusters[label];
    let exemplar = |&row: &u32| {
        let entry = &found.view.pairs[row as usize];
        view! { <li>{pair_link(entry.row, one_line(&entry.snippet, SNIPPET_CHARS))}</li> }
    };
    let typical: Vec<_> = cluster.typical.iter().take(N_EXEMPLARS).map(exemplar).collect();
    let border: Vec<_> = border(cluster).map(exemplar).collect();
    let means: Vec<f64> = groups.means.iter().map(|means| means[label]).collect();
    view! {
        <article class="group" data-side="pairs" data-label=label.to_string()>
            {head(SideName::Pairs, label, cluster, compared)}
            {named(found, SideName::Pairs, label)}
            <p class="meets">{changes(&means)}</p>
            {sources(cluster)}
            {terms("Words of prompts", &cluster.terms)}
            {terms("Only chosen", &cluster.chosen_terms)}
            {terms("Only rejected", &cluster.rejected_terms)}
            {exemplars("Typical", typical)}
            {exemplars("At the border", border)}
            {where_shown(PairGroup::Discovered { discovery: found.view.name.clone(), label: label as u32, cut })}
        </article>
    }
}

/// Links to the pages that show a group's pairs by score, and decide about them.
fn where_shown(group: PairGroup) -> impl IntoView {
    let state = State::here();
    let can_rank = Memo::new(move |_| matches!(state.view.get(), View::Ready { .. }));
    let link = move |page: Page, text: &'static str| {
        let (group, shown) = (group.clone(), group.clone());
        let on_click = move |event: leptos::ev::MouseEvent| {
            if is_plain_click(&event) {
                event.prevent_default();
                state.show_group(page, &group);
                window().scroll_to_with_x_and_y(0.0, 0.0);
            }
        };
        view! {
            <a class="button" data-to=page.name() href=move || state.link_to_group(page, &shown) on:click=on_click>
                {text}
            </a>
        }
    };
    move || {
        can_rank.get().then(|| {
            view! {
                <p class="where-shown">
                    {link(Page::Ranking, "Show in Ranking")} {link(Page::Edit, "Decide in Edit")}
                </p>
            }
        })
    }
}

/// Of a cluster with other members than its typical ones, those nearest to another cluster.
fn border(cluster: &Cluster) -> impl Iterator<Item = &u32> {
    let typical = &cluster.typical[..cluster.typical.len().min(N_EXEMPLARS)];
    cluster.border.iter().filter(move |row| !typical.contains(row)).take(N_EXEMPLARS)
}

fn head(side: SideName, label: usize, cluster: &Cluster, compared: Compared) -> impl IntoView + use<> {
    let (name, one, many) = match side {
        SideName::Prompts => ("Prompts", "prompt", "prompts"),
        SideName::Pairs => ("Pairs", "pair", "pairs"),
    };
    let title = format!("{name} {}", label + 1);
    let about = format!(
        "Silhouette {:.2}: how near its {many} are to each other beside the next group, −1 to 1. Comes back {:.2}: mean overlap with a group of a hierarchy made again from a part of them, 0 to 1.",
        cluster.silhouette, cluster.jaccard
    );
    let is_compared = move || compared.has(label);
    view! {
        <header>
            <h3>{title} <span class="size">{counted(cluster.size, one, many)}</span></h3>
            <button
                type="button"
                class="compare"
                title="Two groups compared show the words that tell them apart"
                aria-pressed=move || if is_compared() { "true" } else { "false" }
                on:click=move |_| compared.toggle(label)
            >
                "Compare"
            </button>
        </header>
        <p class="measures" title=about>
            {format!("silhouette {} · comes back {}", hundredths(cluster.silhouette), hundredths(cluster.jaccard))}
        </p>
    }
}

/// What a model called a group, marked as such.
fn named(found: &Found, side: SideName, label: usize) -> Option<impl IntoView + use<>> {
    let (name, model) = Discovery::here().made_up_name(found, side, label)?;
    let about = format!("Made up by {model} from words and exemplars; nobody has checked it.");
    Some(view! {
        <p class="made-up" title=about>
            {format!("“{name}” ")}
            <span class="by">{format!("named by {model}")}</span>
        </p>
    })
}

/// Whether a group is a change, and by which count.
fn way(way: OneWay, alpha: f64) -> impl IntoView {
    let OneWay { n_along, n_against, p, strength, is_change, .. } = way;
    let verdict = way.verdict(alpha);
    let about = match verdict {
        Verdict::Change => {
            "nine tenths of the differences on this axis, each by its length, go one way, more than chance makes anywhere"
        }
        Verdict::SlightChange => {
            "no chance, but the mean response moved by less than a quarter of what separates the two responses of a pair"
        }
        Verdict::NoDirection => {
            "its differences go one way, more than chance makes, but not along one direction: see its parts"
        }
        Verdict::BothWays => "more differences go one way than chance makes, but too many go the other",
        Verdict::Chance => "two samples of one model would differ like this, as often one way as the other",
    };
    let strength = if is_change { format!("strength {}, ", hundredths(strength)) } else { String::new() };
    let counts = format!("{strength}{n_along} along, {n_against} against, p {p:.3}");
    view! {
        <p class="way" data-change=is_change.to_string() title=about>
            <strong>{capital(verdict.text())}</strong>
            {format!(": {counts}")}
        </p>
    }
}

/// Which group of pairs moves these prompts most.
fn meets(means: &[f64]) -> String {
    match largest(means) {
        Some((label, mean)) if mean > 0.0 => format!("Moved most by pairs {} (mean cosine {mean:.2}).", label + 1),
        _ => "Moved by no group of pairs.".to_owned(),
    }
}

fn changes(means: &[f64]) -> String {
    match largest(means) {
        Some((label, mean)) if mean > 0.0 => format!("Moves prompts {} most (mean cosine {mean:.2}).", label + 1),
        _ => "Moves no group of prompts.".to_owned(),
    }
}

fn largest(means: &[f64]) -> Option<(usize, f64)> {
    means.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
}

fn sources(cluster: &Cluster) -> Option<impl IntoView + use<>> {
    let over: Vec<_> =
        cluster.sources.iter().filter(|source| source.lift > 1.0 && source.p_adjusted <= ALPHA).collect();
    let items: Vec<_> = over
        .iter()
        .map(|source| {
            let title = format!("p {:.1e} after Holm’s correction, exact test", source.p_adjusted);
            let name = if source.source.is_empty() { "no source".to_owned() } else { source.source.clone() };
            view! {
                <li title=title>
                    {name} " " <span class="size">{format!("{} of {}, × {:.1}", source.n_inside, source.n_overall, source.lift)}</span>
                </li>
            }
        })
        .collect();
    (!items.is_empty()).then(|| {
        view! {
            <div class="part">
                <h4>"More than chance from"</h4>
                <ul class="sources-over">{items}</ul>
            </div>
        }
    })
}

fn terms(title: &'static str, terms: &[Term]) -> Option<impl IntoView + use<>> {
    let words: Vec<_> = terms
        .iter()
        .take(N_TERMS)
        .map(|term| {
            let title = format!("{} of {} occurrences", term.count, term.count_overall);
            view! { <li title=title>{term.term.clone()}</li> }
        })
        .collect();
    (!words.is_empty()).then(|| {
        view! {
            <div class="part">
                <h4>{title}</h4>
                <ul class="terms">{words}</ul>
            </div>
        }
    })
}

fn exemplars<V: IntoView + 'static>(title: &'static str, items: Vec<V>) -> Option<impl IntoView + use<V>> {
    (!items.is_empty()).then(|| {
        view! {
            <div class="part">
                <h4>{title}</h4>
                <ul class="exemplars">{items}</ul>
            </div>
        }
    })
}
