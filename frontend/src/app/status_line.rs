//! The status line: how sure the ranking is, how far it is, what it took, and what the reader can do about it.

use leptos::prelude::*;

use super::dropdown::Dropdown;
use super::table::end_name;
use crate::number;
use crate::protocol::{Certainty, Progress, RankCost, Reading, Report, Way};
use crate::state::{RankStatus, State, StudyStatus};

/// One line under the header, with a progress bar while bytes arrive.
#[component]
pub fn StatusLine() -> impl IntoView {
    let state = State::here();
    let progress = move || match state.status.get() {
        RankStatus::Working(progress) | RankStatus::Paused(progress) => Some(progress),
        _ => None,
    };
    let share = move || progress().map_or(0.0, |progress| share_done(&progress));
    // What is known of what is wanted now, not of what was shown before.
    let report = Memo::new(move |_| {
        let wanted = state.wanted.get()?;
        let ranking = state.ranking.get()?;
        ranking.wanted.is_like(&wanted).then(|| ranking.report.clone())
    });
    let sure = move || {
        let report = report.get()?;
        Some(format!("{} {} {}", capital(end_name(state)), number::count(report.k), certainty(&report)))
    };
    let text = move || match (state.study.get(), state.status.get()) {
        (StudyStatus::Loading, _) => "Opening the study".to_owned(),
        (StudyStatus::Ready(_), RankStatus::Working(progress)) => working(&progress),
        (StudyStatus::Ready(_), RankStatus::Paused(progress)) => format!("Paused · {}", working(&progress)),
        (StudyStatus::Ready(_), RankStatus::Stopped) => "Stopped".to_owned(),
        (StudyStatus::Ready(_), RankStatus::Ranked) => report.get().map(|report| took(&report)).unwrap_or_default(),
        _ => String::new(),
    };
    let cost = move || report.with(|report| report.as_ref().map(|report| report.cost.clone())).unwrap_or_default();
    view! {
        <div
            class="status"
            id="status"
            data-n-rows=move || cost().n_rows
            data-d-model=move || cost().d_model
            data-n-bytes=move || cost().n_bytes
            data-n-bytes-downloaded=move || cost().n_bytes_downloaded
            data-n-bytes-total=move || cost().n_bytes_total
            data-n-workers=move || cost().n_workers
            data-score-ms=move || cost().score_ms
            data-order-ms=move || cost().order_ms
            data-total-ms=move || cost().total_ms
            data-first-ms=move || cost().first_ms
            data-certified-ms=move || cost().certified.map(|(ms, _)| ms)
            data-certified-bytes=move || cost().certified.map(|(_, n_bytes)| n_bytes)
            data-exact-ms=move || cost().exact.map(|(ms, _)| ms)
            data-exact-bytes=move || cost().exact.map(|(_, n_bytes)| n_bytes)
        >
            <div class="line">
                <p role="status">
                    <strong>{sure}</strong>
                    <span class="doing">{text}</span>
                    {move || {
                        let remarks = report.with(|report| report.as_ref().map(|r| r.remarks.clone())).unwrap_or_default();
                        let (first, n_more) = (remarks.first()?.clone(), remarks.len() - 1);
                        let more = (n_more > 0).then(|| format!(" (and {n_more} more: see Details)"));
                        Some(view! { <span class="remark">{first} {more}</span> })
                    }}
                </p>
                <Controls />
                <Details report />
            </div>
            <div
                class="progress"
                class:idle=move || progress().is_none()
                role="progressbar"
                aria-label="Read of what is read now"
                aria-valuemin="0"
                aria-valuemax="100"
                aria-valuenow=move || format!("{:.0}", share() * 100.0)
            >
                <div style:transform=move || format!("scaleX({:.3})", share())></div>
            </div>
        </div>
    }
}

/// Pause, stop, go on: whichever there is to do.
#[component]
fn Controls() -> impl IntoView {
    let state = State::here();
    #[derive(Clone, Copy, PartialEq)]
    enum Doing {
        Working,
        Paused,
        Stopped,
        Other,
    }
    let doing = Memo::new(move |_| match state.status.get() {
        RankStatus::Working(_) => Doing::Working,
        RankStatus::Paused(_) => Doing::Paused,
        RankStatus::Stopped => Doing::Stopped,
        _ => Doing::Other,
    });
    let n_bytes_to_exact = Memo::new(move |_| {
        let is_ranked = state.status.get() == RankStatus::Ranked;
        state.ranking.with(|ranking| ranking.as_ref()?.report.n_bytes_to_exact).filter(|_| is_ranked)
    });
    let pause = move |is_paused: bool, text: &'static str| {
        view! {
            <button type="button" id="pause" on:click=move |_| state.set_paused(is_paused)>
                {text}
            </button>
        }
    };
    let stop = move || {
        view! {
            <button type="button" id="stop" title="Keep what is known" on:click=move |_| state.stop()>
                "Stop"
            </button>
        }
    };
    view! {
        <div class="controls">
            {move || match doing.get() {
                Doing::Working => view! { {pause(true, "Pause")} {stop()} }.into_any(),
                Doing::Paused => view! { {pause(false, "Resume")} {stop()} }.into_any(),
                Doing::Stopped => {
                    view! {
                        <button type="button" id="continue" on:click=move |_| state.retry()>
                            "Continue"
                        </button>
                    }
                        .into_any()
                }
                Doing::Other => {
                    n_bytes_to_exact
                        .get()
                        .map(|n_bytes| {
                            let text = format!("Make exact ({})", number::bytes(n_bytes));
                            view! {
                                <button type="button" id="make-exact" on:click=move |_| state.make_exact()>
                                    {text}
                                </button>
                            }
                        })
                        .into_any()
                }
            }}
        </div>
    }
}

/// What a closer look shows: bytes, times, remarks, and what the browser keeps.
#[component]
fn Details(report: Memo<Option<Report>>) -> impl IntoView {
    let state = State::here();
    let facts = move || {
        let facts = report.get().map(|report| facts(&report)).unwrap_or_default();
        let line = |(name, value): (&'static str, String)| view! { <dt>{name}</dt> <dd>{value}</dd> };
        facts.into_iter().map(line).collect::<Vec<_>>()
    };
    let kept = move || {
        state.kept.get().map_or_else(
            || "this browser keeps no files here".to_owned(),
            |kept| format!("{} in {}", number::bytes(kept.n_bytes), number::counted(kept.n_files, "file", "files")),
        )
    };
    let is_empty = move || state.kept.get().is_none_or(|kept| kept.n_files == 0);
    let remarks = move || {
        let remarks = report.with(|report| report.as_ref().map(|report| report.remarks.clone())).unwrap_or_default();
        (!remarks.is_empty()).then(|| {
            let items: Vec<_> = remarks.into_iter().map(|remark| view! { <li>{remark}</li> }).collect();
            view! {
                <ul>{items}</ul>
                <button type="button" id="again" on:click=move |_| state.retry()>
                    "Try again"
                </button>
            }
        })
    };
    view! {
        <Dropdown id="details" summary="Details">
            <dl>
                {facts} <dt>"kept by this browser"</dt>
                <dd>
                    <span id="kept">{kept}</span>
                    <button type="button" id="forget" disabled=is_empty on:click=move |_| state.forget_files()>
                        "Clear"
                    </button>
                </dd>
            </dl>
            {remarks}
        </Dropdown>
    }
}

pub fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn share_done(progress: &Progress) -> f64 {
    (progress.n_bytes_done as f64 / (progress.n_bytes_total as f64).max(1.0)).min(1.0)
}

/// How sure a ranking is, after "Top 100".
fn certainty(report: &Report) -> String {
    let within = |radius: f64| format!("{:.*}", if radius < 0.00995 { 4 } else { 2 }, radius);
    match report.certainty {
        Certainty::Estimate(radius) if report.n_scored < report.cost.n_rows => format!(
            "of {} scored so far: estimate ±\u{a0}{}",
            number::counted(report.n_scored, "pair", "pairs"),
            within(radius)
        ),
        Certainty::Estimate(radius) => format!("estimate ±\u{a0}{}", within(radius)),
        Certainty::Certified(radius) => format!("certified, scores ±\u{a0}{}", within(radius)),
        Certainty::Exact => "exact".to_owned(),
    }
}

fn working(progress: &Progress) -> String {
    let bytes = || format!("{} of {}", number::bytes(progress.n_bytes_done), number::bytes(progress.n_bytes_total));
    let doing = match progress.reading {
        Reading::Opening => "Opening the index".to_owned(),
        Reading::Block(block, n_blocks) => format!("reading block {block} of {n_blocks}: {}", bytes()),
        Reading::Rows => format!("reading undecided pairs: {}", bytes()),
        Reading::Vectors => {
            format!("Downloading vectors: {} · {} pairs scored", bytes(), number::count(progress.n_rows))
        }
    };
    match &progress.retrying {
        Some(retrying) => format!("{doing} · trying again after {}", retrying.error),
        None => doing,
    }
}

/// What a finished ranking took.
fn took(report: &Report) -> String {
    let RankCost { n_bytes, n_bytes_downloaded, n_bytes_total, total_ms, .. } = report.cost;
    let mut parts = Vec::new();
    match (&report.way, report.cost.certified) {
        (Way::Index, Some((_, n_bytes))) if n_bytes > n_bytes_total => {
            parts.push(format!("certified after {}", number::bytes(n_bytes)));
        }
        (Way::Index, Some((_, n_certified_bytes))) => parts.push(format!(
            "certified after {} ({} of {})",
            number::percent(n_certified_bytes as f64 / (n_bytes_total as f64).max(1.0)),
            number::bytes(n_certified_bytes),
            number::bytes(n_bytes_total)
        )),
        (Way::Index, None) => {}
        (Way::Vectors(_), _) => parts.push(format!(
            "from all {} vectors ({})",
            number::count(report.cost.n_rows),
            number::bytes(n_bytes_total)
        )),
    }
    parts.push(if n_bytes_downloaded == 0 {
        format!("{} from memory in {}", number::bytes(n_bytes), number::duration(total_ms))
    } else {
        format!("{} downloaded in {}", number::bytes(n_bytes_downloaded), number::duration(total_ms))
    });
    parts.join(" · ")
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let cost = &report.cost;
    let after = |(ms, n_bytes): (f64, u64)| format!("{}, {} read", number::duration(ms), number::bytes(n_bytes));
    let way = match &report.way {
        Way::Index => "by the index, then undecided pairs' own vectors".to_owned(),
        Way::Vectors(None) => "by every pair's own vector".to_owned(),
        Way::Vectors(Some(why)) => format!("by every pair's own vector: {why}"),
    };
    let mut facts = vec![
        ("ranked", format!("{} of width {}", number::counted(cost.n_rows, "pair", "pairs"), cost.d_model)),
        ("how", way),
    ];
    if let Some(n) = report.n_candidates {
        facts.push(("may be among them", number::counted(n, "pair", "pairs")));
    }
    facts.extend(cost.first_ms.map(|ms| ("every pair scored", number::duration(ms))));
    facts.extend(cost.certified.map(|certified| ("certified", after(certified))));
    facts.extend(cost.exact.map(|exact| ("exact", after(exact))));
    facts.extend(report.stages.iter().map(|stage| {
        let name = match stage.reading {
            Reading::Block(block, n_blocks) => format!("block {block} of {n_blocks}"),
            Reading::Rows => "pairs' own vectors".to_owned(),
            Reading::Vectors | Reading::Opening => "vectors".to_owned(),
        };
        let left = number::counted(stage.n_candidates, "candidate", "candidates");
        ("step", format!("{name}: {} in {}, {left}", number::bytes(stage.n_bytes), number::duration(stage.ms)))
    }));
    let rate = number::per_second(cost.n_rows as f64, cost.score_ms + cost.order_ms, "pairs");
    let workers = number::counted(cost.n_workers, "worker", "workers");
    facts.push(("scoring", format!("{} on {workers} ({rate} each)", number::duration(cost.score_ms))));
    let verified = match report.way {
        Way::Index => "files by their SHA-256, single pairs by the bounds that the index states",
        Way::Vectors(_) => "every file by its SHA-256",
    };
    facts.push(("verified", verified.to_owned()));
    facts
}
