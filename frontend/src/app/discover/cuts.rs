//! Where the hierarchies are cut: a slider for each, from one group to many, and back to where the groups hold.

use std::sync::Arc;

use leptos::prelude::*;
use whence_shared::discovery::cutting::SideName;
use whence_shared::discovery::{Cut, Grouping, Groups};

use crate::discovery::{Discovery, Found, Origin};
use crate::number::{duration, hundredths};
use crate::state::State;

/// Both sliders, and where what is shown was grouped.
pub fn cuts(found: &Arc<Found>) -> impl IntoView + use<> {
    let discovery = Discovery::here();
    let state = State::here();
    let origin = {
        let found = found.clone();
        move || {
            let origin = discovery.shown.with(|shown| shown.as_ref().map_or(found.origin, |shown| shown.origin));
            match origin {
                Origin::Stored => "Grouped by whence discover.".to_owned(),
                Origin::Browser(ms) => format!("Grouped in this browser in {}.", duration(ms)),
            }
        }
    };
    let origin_name = {
        let found = found.clone();
        move || match discovery.shown.with(|shown| shown.as_ref().map_or(found.origin, |shown| shown.origin)) {
            Origin::Stored => "stored",
            Origin::Browser(_) => "browser",
        }
    };
    // As long as the worker has not answered, what is shown is not what the sliders say.
    let is_behind = move || {
        discovery.is_cutting.get()
            && discovery.shown.with(|shown| shown.as_ref().is_none_or(|shown| shown.cuts != state.cuts.get()))
    };
    view! {
        <div class="cuts">
            <CutSlider found=found.clone() side=SideName::Prompts />
            <CutSlider found=found.clone() side=SideName::Pairs />
            <p class="quiet" id="grouped" role="status" data-origin=origin_name>
                {move || if is_behind() { "Cutting…".to_owned() } else { origin() }}
            </p>
            {move || discovery.problem.get().map(|problem| view! { <p class="problem" role="alert">{problem}</p> })}
        </div>
    }
}

/// One side of some groups.
pub fn grouping_of(groups: &Groups, side: SideName) -> &Grouping {
    match side {
        SideName::Prompts => &groups.prompts,
        SideName::Pairs => &groups.pairs,
    }
}

#[component]
fn CutSlider(found: Arc<Found>, side: SideName) -> impl IntoView {
    let state = State::here();
    let (id, title) = match side {
        SideName::Prompts => ("cut-prompts", "Prompts"),
        SideName::Pairs => ("cut-pairs", "Pairs"),
    };
    let stored = grouping_of(&found.groups, side);
    let settings = found.view.settings;
    let cut = if side == SideName::Prompts { settings.prompt_cut } else { settings.pair_cut };
    let (default, n_rows) = (stored.clusters.len(), stored.labels.len());
    let chosen = Memo::new(move |_| state.cuts.get().of(side));
    let k = move || chosen.get().unwrap_or(default);
    // As far as stability was looked at, and to where it is cut, in reach of the slider.
    let most = settings.stability.k_max.min(n_rows).max(default);
    let max = move || most.max(k().min(n_rows));
    let holds = {
        let of_k = stored.stability.of_k.clone();
        move || {
            let found = of_k.iter().find(|of_k| of_k.k == k())?;
            Some(format!("agreement {} when drawn again", hundredths(found.stability)))
        }
    };
    let reset_title = match cut {
        Cut::Stable => "Back to the number of groups that holds",
        _ => "Back to as it was stored",
    };
    view! {
        <div class="cut">
            <label for=id>
                {title} " in " <output for=id>{move || k().to_string()}</output>
                {move || if k() == 1 { " group" } else { " groups" }}
            </label>
            <input
                id=id
                type="range"
                min="1"
                max=move || max().to_string()
                step="1"
                prop:value=move || k().to_string()
                on:input=move |event| {
                    if let Ok(k) = event_target_value(&event).parse::<usize>() {
                        state.choose_cut(side, (k != default).then_some(k));
                    }
                }
            />
            <button
                type="button"
                title=reset_title
                disabled=move || chosen.get().is_none()
                on:click=move |_| state.choose_cut(side, None)
            >
                {if cut == Cut::Stable { "Stable" } else { "As stored" }}
            </button>
            <span class="quiet">{holds}</span>
        </div>
    }
}
