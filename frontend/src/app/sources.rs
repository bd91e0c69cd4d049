//! Which sources the top pairs come from, or those in the lasso on the map: each source's share of them, with its interval, beside
//! its share of all pairs.
//! Pressing a source shows its pairs alone.

use leptos::prelude::*;
use whence_shared::statistics::wilson::{self, Share};
use whence_shared::study::{ROWS_PER_ROW_CHUNK, StudyView};

use super::dropdown::TableBehind;
use super::table::{end_name, source_name};
use crate::address::Step;
use crate::listing::Listing;
use crate::number::{count, counted, percent};
use crate::state::{State, StudyStatus};

/// Sources shown; all are in the table behind.
const N_SHOWN: usize = 5;

/// Level of the intervals.
const LEVEL: f64 = 0.95;

struct Enrichment {
    /// As the study names it.
    source: String,
    n_top: usize,
    top: Share,
    overall_share: f64,
}

impl Enrichment {
    fn interval(&self) -> String {
        format!("{} to {}", percent(self.top.low), percent(self.top.high))
    }

    fn lift(&self) -> String {
        let lift = self.top.value / self.overall_share;
        if lift < 9.95 { format!("×{lift:.1}") } else { format!("×{lift:.0}") }
    }
}

/// The panel.
#[component]
pub fn Sources() -> impl IntoView {
    let (state, listing) = (State::here(), Listing::here());
    let has_lasso = Memo::new(move |_| state.lasso.with(Option::is_some));
    let enrichments = move || match has_lasso.get() {
        true => of_lasso(state, listing),
        false => of_top(state),
    };
    let title = move || match (has_lasso.get(), state.selected_rows.with(|rows| rows.as_ref().map(|rows| rows.len()))) {
        (false, _) => format!("Sources of the {} {}", end_name(state), count(state.k.get())),
        (true, None) => "Sources of the pairs in the lasso".to_owned(),
        (true, Some(n)) => format!("Sources of the {} in the lasso", counted(n, "pair", "pairs")),
    };
    let numbers = move |()| {
        let line = |e: Enrichment| {
            let name = source_name(&e.source);
            vec![name, count(e.n_top), percent(e.top.value), e.interval(), percent(e.overall_share), e.lift()]
        };
        enrichments().unwrap_or_default().into_iter().map(line).collect()
    };
    view! {
        <section class="sources" aria-label="Sources of the top pairs">
            <h2>{title}</h2>
            {move || match enrichments() {
                None => view! { <p class="quiet">"Reading sources…"</p> }.into_any(),
                Some(all) => {
                    let shown = &all[..all.len().min(N_SHOWN)];
                    let max = shown.iter().map(|e| e.top.high.max(e.overall_share)).fold(1e-9, f64::max);
                    let lines: Vec<_> = shown.iter().map(|enrichment| line(state, enrichment, max)).collect();
                    view! { <ul>{lines}</ul> }.into_any()
                }
            }}
            <p class="chart-line">
                <span class="legend">
                    {move || {
                        let bar = if has_lasso.get() { "in the lasso" } else { end_name(state) };
                        format!("bar: {bar} · line: 95 % interval · mark: all")
                    }}
                </span>
                <TableBehind
                    id="sources-table"
                    caption="Sources of the wanted pairs"
                    heads=&["source", "of the wanted", "share", "95 % interval", "share of all", "ratio"]
                    rows=numbers
                />
            </p>
        </section>
    }
}

fn line(state: State, enrichment: &Enrichment, max: f64) -> impl IntoView + use<> {
    let name = source_name(&enrichment.source);
    let title = format!(
        "{name}: {} of the pairs counted ({}, interval {}), {} of all pairs. Press to show its pairs alone",
        count(enrichment.n_top),
        percent(enrichment.top.value),
        enrichment.interval(),
        percent(enrichment.overall_share)
    );
    let at = |share: f64| format!("{:.2}%", share / max * 100.0);
    let width = at(enrichment.top.high - enrichment.top.low);
    let source = enrichment.source.clone();
    let wanted = source.clone();
    let is_chosen = Memo::new(move |_| state.filter.with(|filter| filter.sources == [wanted.as_str()]));
    let on_click = move |_| {
        let source = source.clone();
        let is_chosen = is_chosen.get_untracked();
        state.choose_filter(Step::Push, move |filter| filter.sources = if is_chosen { vec![] } else { vec![source] });
    };
    view! {
        <li>
            <button
                type="button"
                title=title.clone()
                aria-label=title
                aria-pressed=move || is_chosen.get().to_string()
                on:click=on_click
            >
                <span class="name">{name}</span>
                <span class="track">
                    <span class="share" style:width=at(enrichment.top.value)></span>
                    <span class="interval" style:left=at(enrichment.top.low) style:width=width></span>
                    <span class="mark" style:left=at(enrichment.overall_share)></span>
                </span>
                <span class="value">{percent(enrichment.top.value)}</span>
                <span class="lift">{enrichment.lift()}</span>
            </button>
        </li>
    }
}

/// Sources by their number of pairs that the lasso encloses; `None` until these and their sources are known.
fn of_lasso(state: State, listing: Listing) -> Option<Vec<Enrichment>> {
    let StudyStatus::Ready(study) = state.study.get() else { return None };
    let (rows, columns) = (state.selected_rows.get()?, listing.ready_columns()?);
    let mut n_of = vec![0; study.sources.len()];
    for &row in rows.iter() {
        if let Some(n) = columns.source.get(row as usize).and_then(|source| n_of.get_mut(*source as usize)) {
            *n += 1;
        }
    }
    Some(enrichments(&study, n_of, rows.len()))
}

/// Sources by their number of top pairs; `None` until the rows' sources are known.
fn of_top(state: State) -> Option<Vec<Enrichment>> {
    let StudyStatus::Ready(study) = state.study.get() else { return None };
    let ranking = state.ranking.get()?;
    let k = state.k.get().min(ranking.order.len());
    // Ask for all chunks first, so that they are under way at once, and for each only once however large k is.
    let mut is_needed = vec![false; ranking.order.len().div_ceil(ROWS_PER_ROW_CHUNK)];
    for &row in &ranking.order[..k] {
        is_needed[row as usize / ROWS_PER_ROW_CHUNK] = true;
    }
    let chunk = |(n, is_needed): (usize, &bool)| if *is_needed { state.rows.get(n) } else { None };
    let chunks: Vec<_> = is_needed.iter().enumerate().map(chunk).collect();
    let mut n_top = vec![0; study.sources.len()];
    for &row in &ranking.order[..k] {
        let row = row as usize;
        let Some(Ok(chunk)) = &chunks[row / ROWS_PER_ROW_CHUNK] else { return None };
        if let Some(n) = chunk.source.get(row % ROWS_PER_ROW_CHUNK).and_then(|source| n_top.get_mut(*source as usize)) {
            *n += 1;
        }
    }
    if k == 0 {
        return None;
    }
    Some(enrichments(&study, n_top, k))
}

/// Sources by how many of `n` pairs come from them.
fn enrichments(study: &StudyView, n_of: Vec<usize>, n: usize) -> Vec<Enrichment> {
    let mut all: Vec<Enrichment> = n_of
        .into_iter()
        .zip(&study.sources)
        .filter_map(|(n_top, source)| {
            Some(Enrichment {
                source: source.name.clone(),
                n_top,
                top: wilson::share(n_top as u64, n as u64, LEVEL)?,
                overall_share: source.n_pairs as f64 / study.n_pairs.max(1) as f64,
            })
        })
        .collect();
    all.sort_by(|a, b| b.n_top.cmp(&a.n_top).then(b.overall_share.total_cmp(&a.overall_share)));
    all
}
