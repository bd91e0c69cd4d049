//! The status line: how far the ranking is, what it took and where its numbers come from.

use leptos::prelude::*;

use crate::number;
use crate::protocol::{Progress, RankCost};
use crate::state::{RankStatus, State, StudyStatus, View};

/// One line under the header, with a progress bar while bytes arrive.
#[component]
pub fn StatusLine() -> impl IntoView {
    let state = State::here();
    let progress = move || match state.status.get() {
        RankStatus::Working(progress) => Some(progress),
        _ => None,
    };
    let share = move || progress().map_or(0.0, share_done);
    let text = move || match (state.study.get(), state.status.get()) {
        (StudyStatus::Loading, _) => "Opening the study".to_owned(),
        (StudyStatus::Ready(_), RankStatus::Working(progress)) => working(progress),
        (StudyStatus::Ready(_), RankStatus::Ranked(cost)) => ranked(&cost, state.view.get()),
        _ => String::new(),
    };
    let cost = move || match state.status.get() {
        RankStatus::Ranked(cost) => cost,
        _ => RankCost::default(),
    };
    view! {
        <div
            class="status"
            role="status"
            id="status"
            data-n-rows=move || cost().n_rows
            data-n-bytes=move || cost().n_bytes
            data-score-ms=move || cost().score_ms
            data-order-ms=move || cost().order_ms
            data-total-ms=move || cost().total_ms
        >
            <p>{text} {move || state.remark.get().map(|remark| view! { <span class="remark">{remark}</span> })}</p>
            <div
                class="progress"
                class:idle=move || progress().is_none()
                role="progressbar"
                aria-label="Vectors downloaded and scored"
                aria-valuemin="0"
                aria-valuemax="100"
                aria-valuenow=move || format!("{:.0}", share() * 100.0)
            >
                <div style:transform=move || format!("scaleX({:.3})", share())></div>
            </div>
        </div>
    }
}

fn share_done(progress: Progress) -> f64 {
    progress.n_bytes_done as f64 / (progress.n_bytes_total as f64).max(1.0)
}

fn working(progress: Progress) -> String {
    format!(
        "Downloading vectors: {} of {} · {} pairs scored",
        number::bytes(progress.n_bytes_done),
        number::bytes(progress.n_bytes_total),
        number::count(progress.n_rows_scored)
    )
}

fn ranked(cost: &RankCost, view: View) -> String {
    let compute_ms = cost.score_ms + cost.order_ms;
    let mut parts = vec![format!(
        "Ranked {} in {} ({})",
        number::counted(cost.n_rows, "pair", "pairs"),
        number::duration(compute_ms),
        number::per_second(cost.n_rows as f64, compute_ms, "pairs")
    )];
    if let View::Ready { layer, .. } = view {
        parts.push(format!("exact cosine of {} × {} vectors", cost.d_model, layer.dtype.name()));
    }
    parts.push(if cost.n_bytes_downloaded == 0 {
        format!("{} from memory", number::bytes(cost.n_bytes))
    } else {
        format!("{} downloaded in {}", number::bytes(cost.n_bytes_downloaded), number::duration(cost.total_ms))
    });
    parts.push(if cost.verified {
        "SHA-256 verified".to_owned()
    } else {
        "SHA-256 not verified: this browser checks it on https and localhost only".to_owned()
    });
    parts.join(" · ")
}
