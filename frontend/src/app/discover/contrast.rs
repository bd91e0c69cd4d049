//! Two groups beside each other: the words that tell them apart, with how often each says them.

use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::{ScrollBehavior, ScrollIntoViewOptions, ScrollLogicalPosition};
use whence_shared::cluster::contrast::{Contrast, ContrastTerm};
use whence_shared::discovery::cutting::{ClusterContrast, SideName};

use crate::discovery::{Discovery, Found};
use crate::number::count;

/// Terms of each group.
const N_TERMS: usize = 10;

/// Which groups are compared: at most two, of one side.
#[derive(Clone, Copy)]
pub struct Compared(RwSignal<Vec<(SideName, usize)>>);

impl Compared {
    /// None yet. They are forgotten when other groups are shown.
    pub fn new() -> Self {
        let discovery = Discovery::here();
        let compared = Self(RwSignal::new(Vec::new()));
        Effect::new(move || {
            discovery.shown.track();
            compared.0.set(Vec::new());
        });
        compared
    }

    /// Whether a group is among them. Tracked.
    pub fn has(self, side: SideName, label: usize) -> bool {
        self.0.with(|groups| groups.contains(&(side, label)))
    }

    /// Takes a group in or out; the oldest goes when there are two already, and those of the other side go.
    pub fn toggle(self, side: SideName, label: usize) {
        self.0.update(|groups| {
            if let Some(at) = groups.iter().position(|group| *group == (side, label)) {
                groups.remove(at);
                return;
            }
            groups.retain(|group| group.0 == side);
            if groups.len() == 2 {
                groups.remove(0);
            }
            groups.push((side, label));
        });
    }

    /// The two of a side. Tracked.
    fn two(self, side: SideName) -> Option<(usize, usize)> {
        self.0.with(|groups| match groups.as_slice() {
            [(of, a), (_, b)] if *of == side => Some((*a.min(b), *a.max(b))),
            _ => None,
        })
    }

    /// How many of a side there are. Tracked.
    fn n(self, side: SideName) -> usize {
        self.0.with(|groups| groups.iter().filter(|group| group.0 == side).count())
    }
}

/// What tells the two chosen groups of a side apart; a hint while there is one.
#[component]
pub fn ContrastPanel(found: Arc<Found>, side: SideName, compared: Compared) -> impl IntoView {
    let discovery = Discovery::here();
    let panel = NodeRef::<html::Div>::new();
    let told = RwSignal::new(None::<((usize, usize), Result<ClusterContrast, String>)>);
    let two = Memo::new(move |_| compared.two(side));
    Effect::new(move || {
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
            {move || match (compared.n(side), told.get()) {
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
