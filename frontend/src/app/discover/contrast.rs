//! Two groups beside each other: the words that tell them apart, with how often each says them.

use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::{ScrollBehavior, ScrollIntoViewOptions, ScrollLogicalPosition};
use whence_shared::cluster::contrast::{Contrast, ContrastTerm};
use whence_shared::discovery::cutting::{ClusterContrast, SideName};

use super::cuts::grouping_of;
use crate::discovery::{Discovery, Found};
use crate::number::count;
use crate::state::State;

/// Terms of each group.
const N_TERMS: usize = 10;

/// Which groups of one side are compared: at most two. The address keeps them.
#[derive(Clone, Copy)]
pub struct Compared {
    state: State,
    side: SideName,
    /// From 0, in the order in which they were chosen.
    groups: Memo<Vec<usize>>,
}

impl Compared {
    /// Those that the address names, of the groups there are.
    pub fn of(found: &Arc<Found>, side: SideName) -> Self {
        let (state, discovery, found) = (State::here(), Discovery::here(), found.clone());
        let groups = Memo::new(move |_| {
            let n_groups = grouping_of(&discovery.groups(&found), side).clusters.len();
            let named = state.discover.with(|discover| discover.compared(side).map(str::to_owned)).unwrap_or_default();
            let numbers = named.split(',').filter_map(|number| number.parse::<usize>().ok()?.checked_sub(1));
            let mut groups: Vec<usize> = numbers.filter(|label| *label < n_groups).take(2).collect();
            groups.dedup();
            groups
        });
        Self { state, side, groups }
    }

    /// Whether a group is among them. Tracked.
    pub fn has(self, label: usize) -> bool {
        self.groups.with(|groups| groups.contains(&label))
    }

    /// Takes a group in or out; the oldest goes when there are two already.
    pub fn toggle(self, label: usize) {
        let mut groups = self.groups.get_untracked();
        match groups.iter().position(|group| *group == label) {
            Some(at) => drop(groups.remove(at)),
            None => {
                if groups.len() == 2 {
                    groups.remove(0);
                }
                groups.push(label);
            }
        }
        let named: Vec<String> = groups.iter().map(|label| (label + 1).to_string()).collect();
        let named = (!named.is_empty()).then(|| named.join(","));
        self.state.change_discover(|discover| discover.set_compared(self.side, named));
    }

    /// The two, if there are. Tracked.
    fn two(self) -> Option<(usize, usize)> {
        self.groups.with(|groups| match groups.as_slice() {
            [a, b] => Some((*a.min(b), *a.max(b))),
            _ => None,
        })
    }

    /// How many there are. Tracked.
    fn n(self) -> usize {
        self.groups.with(Vec::len)
    }
}

/// What tells the two chosen groups of a side apart; a hint while there is one.
#[component]
pub fn ContrastPanel(found: Arc<Found>, compared: Compared) -> impl IntoView {
    let side = compared.side;
    let discovery = Discovery::here();
    let panel = NodeRef::<html::Div>::new();
    let told = RwSignal::new(None::<((usize, usize), Result<ClusterContrast, String>)>);
    let two = Memo::new(move |_| compared.two());
    Effect::new(move || {
        // Other groups may have the same numbers.
        discovery.shown.track();
        told.set(None);
        let Some((a, b)) = two.get() else { return };
        let found = found.clone();
        spawn_local(async move {
            let contrast = discovery.contrast(&found, side, a, b).await;
            if two.get_untracked() == Some((a, b)) {
                told.set(Some(((a, b), contrast)));
                // The second group may have been chosen far below.
                if let Some(panel) = panel.get_untracked() {
                    panel.scroll_into_view_with_scroll_into_view_options(&nearest());
                }
            }
        });
    });
    let name = if side == SideName::Prompts { "prompts" } else { "pairs" };
    view! {
        <div class="contrast" data-side=name aria-live="polite" node_ref=panel>
            {move || match (compared.n(), told.get()) {
                (1, _) => view! { <p class="quiet">"Choose a second group to compare with."</p> }.into_any(),
                (2, None) => view! { <p class="quiet">"Comparing…"</p> }.into_any(),
                (2, Some((_, Err(reason)))) => view! { <p class="problem" role="alert">{reason}</p> }.into_any(),
                (2, Some((two, Ok(contrast)))) => shown(two, &contrast).into_any(),
                _ => ().into_any(),
            }}
        </div>
    }
}

/// Scrolling that does nothing where the panel is seen already.
fn nearest() -> ScrollIntoViewOptions {
    let options = ScrollIntoViewOptions::new();
    options.set_behavior(ScrollBehavior::Auto);
    options.set_block(ScrollLogicalPosition::Nearest);
    options
}

fn shown((a, b): (usize, usize), contrast: &ClusterContrast) -> impl IntoView + use<> {
    let of = |title: &'static str, contrast: &Contrast| part(title, (a, b), contrast);
    view! {
        <h3>{format!("{} beside {}", a + 1, b + 1)}</h3>
        <p class="quiet">
            "Words by log-odds with an informative Dirichlet prior, in standard errors (z); counts are occurrences in the first and in the second group."
        </p>
        {of("Words of prompts", &contrast.prompts)}
        {contrast.chosen.as_ref().map(|contrast| of("Only chosen", contrast))}
        {contrast.rejected.as_ref().map(|contrast| of("Only rejected", contrast))}
    }
}

fn part(title: &'static str, (a, b): (usize, usize), contrast: &Contrast) -> impl IntoView + use<> {
    let list = |label: usize, n_words: u64, terms: &[ContrastTerm]| {
        let items: Vec<_> = terms
            .iter()
            .take(N_TERMS)
            .map(|term| {
                let [first, second] = term.counts;
                view! {
                    <tr>
                        <th scope="row">{term.term.clone()}</th>
                        <td>{format!("{:.1}", term.z)}</td>
                        <td>{count(first as usize)}</td>
                        <td>{count(second as usize)}</td>
                    </tr>
                }
            })
            .collect();
        let is_empty = items.is_empty();
        view! {
            <div>
                <table>
                    <thead>
                        <tr>
                            <th scope="col">{format!("Group {} ({} words)", label + 1, count(n_words as usize))}</th>
                            <th scope="col">"z"</th>
                            <th scope="col">{a + 1}</th>
                            <th scope="col">{b + 1}</th>
                        </tr>
                    </thead>
                    <tbody>{items}</tbody>
                </table>
                {is_empty.then(|| view! { <p class="quiet">"No word is more frequent here."</p> })}
            </div>
        }
    };
    let is_alike = contrast.first.is_empty() && contrast.second.is_empty();
    let body = match is_alike {
        true => view! { <p class="quiet">"No word tells them apart."</p> }.into_any(),
        false => view! {
            <div class="two">
                {list(a, contrast.n_words[0], &contrast.first)} {list(b, contrast.n_words[1], &contrast.second)}
            </div>
        }
        .into_any(),
    };
    view! {
        <section class="part">
            <h4>{title}</h4>
            {body}
        </section>
    }
}
