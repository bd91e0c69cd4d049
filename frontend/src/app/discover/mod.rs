//! The Discover page: prompts that were changed by the same pairs, and pairs that change the same prompts, in groups that
//! nobody named.

mod changes;
mod contrast;
mod cuts;
mod groups;
mod heatmap;
mod rank_by;

use std::sync::Arc;

use leptos::prelude::*;
use whence_shared::cluster::one_way::OneWay;
use whence_shared::discovery::cutting::SideName;
use whence_shared::discovery::{Cluster, Cut, DiscoveryView, Grouping};

use super::navigation::is_plain_click;
use super::start_here::StartHere;
use crate::address::Page;
use crate::discovery::{Discovery, DiscoveryStatus, Found};
use crate::number::{count, counted};
use crate::state::{State, StudyStatus};

/// The page.
#[component]
pub fn DiscoverPage() -> impl IntoView {
    let discovery = Discovery::here();
    view! {
        <main class="column-page discover" id="discover" tabindex="-1" aria-label="Groups of prompts and pairs">
            <div class="column">
                <Picker />
                {move || match discovery.status.get() {
                    DiscoveryStatus::Loading => view! { <p class="quiet waiting">"Opening the groups…"</p> }.into_any(),
                    DiscoveryStatus::Absent => view! { <Absent /> }.into_any(),
                    DiscoveryStatus::Making => {
                        view! { <p class="quiet waiting" role="status">"Reading vectors and grouping…"</p> }.into_any()
                    }
                    DiscoveryStatus::Failed(error) => {
                        let name = discovery.name().unwrap_or_default();
                        view! { <Failed text=error.to_string() name /> }.into_any()
                    }
                    DiscoveryStatus::Ready(found) => sections(&found).into_any(),
                }}
            </div>
        </main>
    }
}

/// Which discovery, where there are several.
#[component]
fn Picker() -> impl IntoView {
    let state = State::here();
    let names = Memo::new(move |_| match state.study.get() {
        StudyStatus::Ready(study) => study.discoveries.clone(),
        _ => Vec::new(),
    });
    let discovery = Discovery::here();
    view! {
        <Show when=move || names.with(|names| names.len() > 1)>
            <label class="discovery">
                "Discovery"
                <select id="groups" on:change=move |event| state.choose_groups(event_target_value(&event))>
                    {move || {
                        let chosen = discovery.name();
                        let option = |name: String| {
                            let is_chosen = Some(&name) == chosen.as_ref();
                            view! { <option value=name.clone() prop:selected=is_chosen>{name.clone()}</option> }
                        };
                        names.get().into_iter().map(option).collect::<Vec<_>>()
                    }}
                </select>
            </label>
        </Show>
    }
}

fn sections(found: &Arc<Found>) -> impl IntoView + use<> {
    let view = &found.view;
    let layers: Vec<String> = view.layers.iter().map(usize::to_string).collect();
    let about = format!(
        "{} of “{}” and {}, by the cosine of what tuning changed with what each pair teaches; {} {}.",
        counted(view.prompts.len(), "prompt", "prompts"),
        view.behavior,
        pairs(view),
        if layers.len() == 1 { "layer" } else { "layers" },
        layers.join(", ")
    );
    let changes_found = {
        let (discovery, found) = (Discovery::here(), found.clone());
        move || changes_found(&found.view, &discovery.groups(&found).prompts.clusters)
    };
    view! {
        <section class="summary" aria-labelledby="discover-title">
            <h2 id="discover-title">"Groups"</h2>
            <p class="changes-found">{changes_found}</p>
            <p class="finding">{say(found.clone(), SideName::Prompts)}</p>
            <p class="finding">{say(found.clone(), SideName::Pairs)}</p>
            <p class="about">{about}</p>
            {cuts::cuts(found)}
        </section>
        <heatmap::Heatmap found=found.clone() />
        {changes::changes(found)}
        <groups::PromptGroups found=found.clone() />
        <groups::PairGroups found=found.clone() />
    }
}

fn pairs(view: &DiscoveryView) -> String {
    let (n, of) = (view.pairs.len(), view.n_pairs_in_study);
    match view.sampling.as_str() {
        "all" => format!("all {} pairs", count(of)),
        "runs" => format!("{} pairs in runs of 16 from places drawn at random among {}", count(n), count(of)),
        "top" => format!("the {} pairs nearest to any of them, of {}", count(n), count(of)),
        _ => format!("{} pairs drawn at random from {}", count(n), count(of)),
    }
}

/// What may be said of a side's groups as they are shown.
fn say(found: Arc<Found>, side: SideName) -> impl Fn() -> String {
    let discovery = Discovery::here();
    let settings = found.view.settings;
    let (one, many, stored_cut) = match side {
        SideName::Prompts => ("prompt", "prompts", settings.prompt_cut),
        SideName::Pairs => ("pair", "pairs", settings.pair_cut),
    };
    move || {
        let groups = discovery.groups(&found);
        let is_cut = discovery.shown.with(|shown| shown.as_ref().is_some_and(|shown| shown.cuts.of(side).is_some()));
        let is_left_to_hold = stored_cut == Cut::Stable && !is_cut;
        finding(cuts::grouping_of(&groups, side), settings.stability.k_max, is_left_to_hold, one, many)
    }
}

/// How many of the groups of prompts are changes.
fn changes_found(view: &DiscoveryView, clusters: &[Cluster]) -> String {
    let n =
        |is: fn(&OneWay) -> bool| clusters.iter().filter(|cluster| cluster.one_way.as_ref().is_some_and(is)).count();
    let (n_changes, n_found) = (n(|way| way.is_change), n(OneWay::is_found));
    let found = match n_found {
        0 => "No change found".to_owned(),
        n => format!("{} found", counted(n, "change", "changes")),
    };
    match (n_changes - n_found, n_found) {
        (0, 0) => format!("{found}: {}.", view.why_no_change(clusters)),
        (0, _) => format!("{found}: differences that go one way."),
        (n_slight, _) => format!("{found}, and {}.", counted(n_slight, "slight one", "slight ones")),
    }
}

/// What may be said of a side's groups.
fn finding(grouping: &Grouping, k_max: usize, is_left_to_hold: bool, one: &str, many: &str) -> String {
    let n = grouping.clusters.len();
    let groups = format!("{} of {many}", counted(n, "group", "groups"));
    let p = grouping.stability.p;
    match grouping.stability.chosen {
        Some(k) if k == n && k >= k_max => format!(
            "{groups}, the most that were looked for: there may be more. They come back when {many} are drawn again, and are further \
             apart than chance makes them (p {p:.3})."
        ),
        Some(k) if k == n => format!(
            "{groups}: they come back when {many} are drawn again, and are further apart than chance makes them (p {p:.3})."
        ),
        Some(k) if is_left_to_hold => format!("{groups}: each change, and what is left of {k} that hold (p {p:.3})."),
        Some(k) => format!("{groups}, as asked for; {k} would hold (p {p:.3})."),
        None if n == 1 => {
            format!("No groups of {many}: no {one} is further from the others than in a set without groups (p {p:.3}).")
        }
        None if is_left_to_hold => format!("{groups}: each change, and the rest, where none hold (p {p:.3})."),
        None => format!("{groups}, as asked for, but none hold: a set without groups looks the same (p {p:.3})."),
    }
}

#[component]
fn Absent() -> impl IntoView {
    let state = State::here();
    view! {
        <section class="notice" role="note">
            <h2>"Nothing was grouped yet"</h2>
            <p class="cause">
                "With a broad set of prompts and what both models answered, prompts that were changed by the same pairs can be found without naming a behavior first."
            </p>
            <pre>
                <code>
                    {move || {
                        format!(
                            "whence behavior --study {0} --name broad --pairs broad.jsonl --model MODEL\nwhence discover --study {0} --behavior broad",
                            state.study_name(),
                        )
                    }}
                </code>
            </pre>
            <StartHere verb="discover" />
            <Make />
        </section>
    }
}

/// Grouping here, where the vectors are.
#[component]
fn Make() -> impl IntoView {
    let discovery = Discovery::here();
    move || {
        let problem = discovery.problem.get().map(|problem| view! { <p class="problem" role="alert">{problem}</p> });
        let asked = discovery.can_make();
        let button = asked.map(|asked| {
            let which = match asked.n_pairs == asked.layer.n_rows {
                true => format!("all {} pairs", count(asked.layer.n_rows)),
                false => format!("a sample of {} of {} pairs", count(asked.n_pairs), count(asked.layer.n_rows)),
            };
            let about = format!(
                "Or here, with the {} of “{}” and {which} at layer {}; nothing is stored.",
                counted(asked.n_prompts, "prompt", "prompts"),
                asked.behavior,
                asked.layer.layer
            );
            view! {
                <p>{about}</p>
                <button type="button" id="make" on:click=move |_| discovery.make(asked.clone())>
                    "Group in this browser"
                </button>
            }
        });
        view! { {button} {problem} }
    }
}

#[component]
fn Failed(text: String, name: String) -> impl IntoView {
    let state = State::here();
    let discovery = Discovery::here();
    let again = name.clone();
    view! {
        <section class="notice error" role="alert">
            <h2>"The groups cannot be shown"</h2>
            <p class="cause">{text}</p>
            <p>"Make them again:"</p>
            <pre>
                <code>{move || format!("whence discover --study {} --behavior BEHAVIOR --name {name}", state.study_name())}</code>
            </pre>
            <button type="button" on:click=move |_| discovery.fetch(again.clone())>
                "Try again"
            </button>
        </section>
    }
}

/// A link to a pair in the ranking.
fn pair_link(row: u32, text: String) -> impl IntoView + use<> {
    let state = State::here();
    let on_click = move |event: leptos::ev::MouseEvent| {
        if is_plain_click(&event) {
            event.prevent_default();
            state.show_pair(row);
        }
    };
    view! {
        <a href=move || state.link_to_pair(Page::Ranking, row) on:click=on_click>
            {text}
        </a>
    }
}
