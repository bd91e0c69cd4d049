//! Which sources the top pairs come from: each source's share of the top k beside its share of all pairs.

use leptos::prelude::*;
use whence_shared::study::ROWS_PER_ROW_CHUNK;

use super::table::{end_name, source_name};
use crate::number::{count, percent};
use crate::state::{State, StudyStatus};

/// Sources shown; the rest is summed up in a last line.
const N_SHOWN: usize = 5;

struct Enrichment {
    name: String,
    n_top: usize,
    top_share: f64,
    overall_share: f64,
}

/// The panel.
#[component]
pub fn Sources() -> impl IntoView {
    let state = State::here();
    let enrichments = move || enrichments(state);
    view! {
        <section class="sources" aria-label="Sources of the top pairs">
            <h2>
                {move || format!("Sources of the {} {}", end_name(state), count(state.k.get()))}
                <span class="legend">{move || format!("bar: {} · mark: all", end_name(state))}</span>
            </h2>
            {move || match enrichments() {
                None => view! { <p class="quiet">"Reading sources…"</p> }.into_any(),
                Some((shown, n_more)) => {
                    let max = shown.iter().map(|e| e.top_share.max(e.overall_share)).fold(1e-9, f64::max);
                    let lines: Vec<_> = shown.iter().map(|enrichment| line(enrichment, max)).collect();
                    let more = (n_more > 0).then(|| view! { <p class="quiet">{format!("and {n_more} more")}</p> });
                    view! {
                        <ul>{lines}</ul>
                        {more}
                    }
                        .into_any()
                }
            }}
        </section>
    }
}

fn line(enrichment: &Enrichment, max: f64) -> impl IntoView + use<> {
    let lift = enrichment.top_share / enrichment.overall_share;
    let title = format!(
        "{}: {} of the top pairs ({}), {} of all pairs",
        enrichment.name,
        count(enrichment.n_top),
        percent(enrichment.top_share),
        percent(enrichment.overall_share)
    );
    let label = title.clone();
    let lift = if lift < 9.95 { format!("×{lift:.1}") } else { format!("×{lift:.0}") };
    view! {
        <li title=title>
            <span class="name">{enrichment.name.clone()}</span>
            <span class="track" role="img" aria-label=label>
                <span class="share" style:width=format!("{:.2}%", enrichment.top_share / max * 100.0)></span>
                <span class="mark" style:left=format!("{:.2}%", enrichment.overall_share / max * 100.0)></span>
            </span>
            <span class="value">{percent(enrichment.top_share)}</span>
            <span class="lift">{lift}</span>
        </li>
    }
}

/// Sources by their number of top pairs, and how many more there are; `None` until the rows' sources are known.
fn enrichments(state: State) -> Option<(Vec<Enrichment>, usize)> {
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
    let mut all: Vec<Enrichment> = n_top
        .into_iter()
        .zip(&study.sources)
        .map(|(n_top, source)| Enrichment {
            name: source_name(&source.name),
            n_top,
            top_share: n_top as f64 / k as f64,
            overall_share: source.n_pairs as f64 / study.n_pairs.max(1) as f64,
        })
        .collect();
    all.sort_by(|a, b| b.n_top.cmp(&a.n_top).then(b.overall_share.total_cmp(&a.overall_share)));
    let n_more = all.len().saturating_sub(N_SHOWN);
    all.truncate(N_SHOWN);
    Some((all, n_more))
}
