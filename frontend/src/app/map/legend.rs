//! What the colors mean. Categories are buttons: one pressed is the only one that is lit.

use std::sync::Arc;

use leptos::prelude::*;

use super::super::reading;
use super::super::table::{end_name, shown_text, source_name};
use super::colors::{Hue, Paint};
use crate::address::{ColorBy, Step};
use crate::covers::Covers;
use crate::maps::{Categories, CategoriesStatus, Category, Maps};
use crate::number::{count, hundredths};
use crate::state::{RankStatus, State};

/// Categories listed at most.
const MAX_LISTED: usize = 100;

/// The legend.
#[component]
pub fn Legend(paint: Memo<Paint>) -> impl IntoView {
    let (state, maps) = (State::here(), Maps::here());
    let content = move || match (paint.get(), maps.categories.get()) {
        (_, CategoriesStatus::Loading) if matches!(state.color.get(), ColorBy::Groups(_)) => view! {
            <p class="quiet">"Grouping all pairs…"</p>
            <button type="button" id="stop-grouping" on:click=move |_| maps.stop_grouping()>
                "Stop"
            </button>
        }
        .into_any(),
        (_, CategoriesStatus::Loading) => view! { <p class="quiet">"Reading what pairs are…"</p> }.into_any(),
        (_, CategoriesStatus::Failed(reason)) => view! { <p class="problem" role="alert">{reason}</p> }.into_any(),
        (Paint::Categories(categories, only), _) => list(&categories, only).into_any(),
        (Paint::Scores(ranking, limit), _) => {
            let limit = f64::from(limit);
            let name = ranking.behavior.clone();
            view! {
                <div class="scores">
                    <p class="title">
                        "Score with " <strong>{name}</strong> {format!(", layer {}", ranking.wanted.layer)}
                    </p>
                    <span class="scale" aria-hidden="true"></span>
                    <p class="ends">
                        <span>{hundredths(-limit)}</span>
                        <span>"0"</span>
                        <span>{hundredths(limit)}</span>
                    </p>
                    <p class="top">
                        <span class="dot" aria-hidden="true"></span>
                        {move || format!("{} {}", end_name(state), count(state.k.get()))}
                    </p>
                </div>
            }
            .into_any()
        }
        (Paint::Plain, _) if state.color.get() == ColorBy::Score => waiting(state).into_any(),
        (Paint::Plain, _) => view! { <p class="quiet">"The denser, the darker."</p> }.into_any(),
    };
    view! {
        <section class="map-legend" id="legend" aria-label="What the colors mean">
            {content}
        </section>
    }
}

/// Why there are no scores yet.
fn waiting(state: State) -> impl IntoView {
    let text = match state.status.get() {
        RankStatus::Failed(error) => format!("No scores: {error} {}", error.remedy()),
        RankStatus::Stopped | RankStatus::Paused(_) => "Ranking was stopped: go on on the Ranking page.".to_owned(),
        _ => "Scores are being computed…".to_owned(),
    };
    view! { <p class="quiet" role="status">{text}</p> }
}

fn list(categories: &Arc<Categories>, only: Option<u32>) -> impl IntoView + use<> {
    let items: Vec<_> = (0u32..)
        .zip(&categories.names)
        .filter(|(number, category)| category.n > 0 || only == Some(*number))
        .take(MAX_LISTED)
        .map(|(number, category)| item(number, category, categories, only))
        .collect();
    let n_left = categories.names.iter().filter(|category| category.n > 0).count().saturating_sub(MAX_LISTED);
    let more = (n_left > 0).then(|| view! { <p class="quiet">{format!("and {} more", count(n_left))}</p> });
    let remark = categories.remark.clone().map(|remark| view! { <p class="quiet remark">{remark}</p> });
    view! {
        <ul>{items}</ul>
        {more}
        {remark}
    }
}

fn item(number: u32, category: &Category, categories: &Categories, only: Option<u32>) -> impl IntoView + use<> {
    let state = State::here();
    let is_lit = only == Some(number);
    // Beyond the colors there are, and what is in no category, is grey; alone in the light it has a color.
    let hue = match Paint::hue_of(categories, number as usize) {
        None if is_lit => Some(Hue::Series(0)),
        hue => hue,
    };
    let color = hue.map_or_else(|| "var(--bar)".to_owned(), Hue::css);
    let light = move |_| {
        state.change_map(Step::Push, |map| map.lit = (map.lit != Some(number)).then_some(number));
    };
    let exemplar = category.exemplar.filter(|_| hue.is_some()).map(|row| view! { <Exemplar row /> });
    let (name, title) = (source_name(&category.name), source_name(&category.name));
    view! {
        <li>
            <button type="button" aria-pressed=is_lit.to_string() title=title data-category=number on:click=light>
                <span class="swatch" aria-hidden="true" style:background=color></span>
                <span class="name" dir="auto">
                    {name}
                </span>
                <span class="n">{count(category.n)}</span>
            </button>
            {exemplar}
        </li>
    }
}

/// The pair that a group is most like: its beginning, which opens it.
#[component]
fn Exemplar(row: u32) -> impl IntoView {
    let (state, covers) = (State::here(), Covers::here());
    let text = move || match covers.is_on.get() {
        true => Some("covered".to_owned()),
        false => state.row_chunk(row).map(|(chunk, i)| shown_text(&chunk, i)),
    };
    let open = move |_| {
        state.select(Some(row), Step::Push);
        reading::reveal();
    };
    view! {
        <button type="button" class="exemplar" dir="auto" title="Read this pair" data-row=row on:click=open>
            {text}
        </button>
    }
}
