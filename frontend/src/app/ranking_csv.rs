//! The button that downloads the whole ranking as CSV: rank, row, id, the score with every bit of its f32, and how far
//! the true score may be from it.

use std::fmt::Write;
use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::edit::worklist::csv_field;
use whence_shared::study::ROWS_PER_ROW_CHUNK;

use crate::fetch::FetchError;
use crate::saving::{Growing, pause};
use crate::state::{Ranking, State};

/// Rows written between two pauses, so that the page answers meanwhile.
const ROWS_PER_TURN: usize = 8192;

/// The button.
#[component]
pub fn DownloadRanking() -> impl IntoView {
    let state = State::here();
    let is_working = RwSignal::new(false);
    // What is still shown of another behavior or layer is not what the page names.
    let is_there = Memo::new(move |_| state.ranking_wanted().is_some());
    let download = move |_| {
        let Some(ranking) = untrack(|| state.ranking_wanted()) else { return };
        is_working.set(true);
        spawn_local(async move {
            match csv(state, &ranking).await {
                Ok(file) => file.save(&format!("{}-layer-{}.csv", ranking.behavior, ranking.wanted.layer)),
                Err(error) => state.remark.set(Some(format!("No download: {error}."))),
            }
            is_working.set(false);
        });
    };
    view! {
        <button
            type="button"
            id="download"
            title="Download the ranking as CSV: rank, row, id, score, radius (0 = exact)"
            disabled=move || is_working.get() || !is_there.get()
            on:click=download
        >
            {move || if is_working.get() { "Preparing…" } else { "CSV" }}
        </button>
    }
}

async fn csv(state: State, ranking: &Arc<Ranking>) -> Result<Growing, FetchError> {
    let mut chunks = Vec::new();
    for n in 0..ranking.scores.len().div_ceil(ROWS_PER_ROW_CHUNK) {
        chunks.push(state.rows.load(n).await?);
    }
    let file = Growing::new("text/csv");
    file.push("rank,row,id,score,radius\n");
    for (turn, rows) in ranking.order.chunks(ROWS_PER_TURN).enumerate() {
        let mut text = String::new();
        for (i, &row) in rows.iter().enumerate() {
            let (rank, row) = (turn * ROWS_PER_TURN + i + 1, row as usize);
            let ids = &chunks[row / ROWS_PER_ROW_CHUNK].id;
            let id = ids.get(row % ROWS_PER_ROW_CHUNK).map_or("", String::as_str);
            // `{}` prints the shortest decimal that reads back as the same f32.
            let _ = writeln!(text, "{rank},{row},{},{},{}", csv_field(id), ranking.scores[row], ranking.radii[row]);
        }
        file.push(&text);
        pause().await;
    }
    Ok(file)
}
