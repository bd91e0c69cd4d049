//! The button that downloads the whole ranking as CSV: rank, row, id, the score with every bit of its f32, and how far
//! the true score may be from it.

use std::fmt::Write;
use std::sync::Arc;

use js_sys::{Array, Promise};
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, BlobPropertyBag, HtmlAnchorElement, Url};
use whence_shared::study::ROWS_PER_ROW_CHUNK;

use crate::fetch::FetchError;
use crate::state::{Ranking, State};

/// Rows written between two pauses, so that the page answers meanwhile.
const ROWS_PER_TURN: usize = 8192;

/// The button.
#[component]
pub fn DownloadRanking() -> impl IntoView {
    let state = State::here();
    let is_working = RwSignal::new(false);
    let download = move |_| {
        let Some(ranking) = state.ranking.get_untracked() else { return };
        is_working.set(true);
        spawn_local(async move {
            match csv(state, &ranking).await {
                Ok(blob) => save(&blob, &format!("{}-layer-{}.csv", ranking.behavior, ranking.wanted.layer)),
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
            disabled=move || is_working.get() || state.ranking.with(Option::is_none)
            on:click=download
        >
            {move || if is_working.get() { "Preparing…" } else { "CSV" }}
        </button>
    }
}

async fn csv(state: State, ranking: &Arc<Ranking>) -> Result<Blob, FetchError> {
    let mut chunks = Vec::new();
    for n in 0..ranking.scores.len().div_ceil(ROWS_PER_ROW_CHUNK) {
        chunks.push(state.rows.load(n).await?);
    }
    let parts = Array::of1(&"rank,row,id,score,radius\n".into());
    for (turn, rows) in ranking.order.chunks(ROWS_PER_TURN).enumerate() {
        let mut text = String::new();
        for (i, &row) in rows.iter().enumerate() {
            let (rank, row) = (turn * ROWS_PER_TURN + i + 1, row as usize);
            let ids = &chunks[row / ROWS_PER_ROW_CHUNK].id;
            let id = ids.get(row % ROWS_PER_ROW_CHUNK).map_or("", String::as_str);
            // `{}` prints the shortest decimal that reads back as the same f32.
            let _ = writeln!(text, "{rank},{row},{},{},{}", quoted(id), ranking.scores[row], ranking.radii[row]);
        }
        parts.push(&text.into());
        pause().await;
    }
    let options = BlobPropertyBag::new();
    options.set_type("text/csv");
    Ok(Blob::new_with_str_sequence_and_options(&parts, &options).expect("strings make a blob"))
}

/// A CSV field, quoted where RFC 4180 asks for it.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

fn save(blob: &Blob, name: &str) {
    let Ok(address) = Url::create_object_url_with_blob(blob) else { return };
    if let Ok(link) = document().create_element("a") {
        let link: HtmlAnchorElement = link.unchecked_into();
        link.set_href(&address);
        link.set_download(name);
        link.click();
    }
    // The browser reads the blob after this turn of the event loop.
    set_timeout(move || drop(Url::revoke_object_url(&address)), std::time::Duration::from_secs(60));
}

async fn pause() {
    let promise = Promise::new(&mut |resolve, _| {
        let resolve = move || drop(resolve.call0(&JsValue::NULL));
        set_timeout(resolve, std::time::Duration::ZERO);
    });
    // A timeout cannot fail.
    let _ = JsFuture::from(promise).await;
}
