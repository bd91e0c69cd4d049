//! The reading pane: the selected pair in full, or, while none is selected, the behavior that ranks.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde_json::Value;
use web_sys::{ScrollBehavior, ScrollIntoViewOptions};
use whence_shared::pair::{Pair, Side};
use whence_shared::study::{BehaviorView, NearPair, NearestPairs, TextChunk};

use super::copy::Copy;
use super::decide::Decide;
use super::how_to::HowTo;
use super::keys::focus_here;
use super::navigation::is_plain_click;
use super::sweep;
use super::table::source_name;
use super::tinted::{PartsTable, TintChoice, TokensCommand, tinted};
use super::turns::{both_marked, is_comparable, turn};
use crate::address::{Page, Step};
use crate::covers::{Covers, is_flagged};
use crate::fetch::File;
use crate::number::{self, count, counted, score};
use crate::state::{Chunk, State, StudyStatus, View};
use crate::token_parts::TokenParts;

/// The pane.
#[component]
pub fn ReadingPane() -> impl IntoView {
    let state = State::here();
    // One memo for the pair, so that a change of ranking leaves the text and its scroll position alone.
    let pair = Memo::new(move |_| {
        let row = state.row.get()?;
        Some((row, if state.are_texts_withheld() { Found::Withheld } else { found(state.text_chunk(row)) }))
    });
    view! {
        <section class="reading" id="reading" aria-label="Selected pair" tabindex="0">
            {move || match pair.get() {
                None => view! { <BehaviorSummary /> }.into_any(),
                Some((row, found)) => {
                    let body = match found {
                        Found::Pair(pair) => view! { <Covered pair row /> }.into_any(),
                        Found::Waiting => view! { <p class="quiet">"Reading the pair…"</p> }.into_any(),
                        Found::Withheld => view! { <WithheldPair row /> }.into_any(),
                        Found::Missing(reason) => view! { <p class="problem" role="alert">{reason}</p> }.into_any(),
                        Found::Late(reason) => view! { <Late row reason /> }.into_any(),
                    };
                    view! {
                        <PairHeader row />
                        <Decide row />
                        {body}
                    }
                        .into_any()
                }
            }}
        </section>
    }
}

/// On a narrow screen the pane lies below the table: brings it into view.
pub fn reveal() {
    let is_narrow = web_sys::window()
        .and_then(|window| window.match_media("(max-width: 900px)").ok()?)
        .is_some_and(|query| query.matches());
    if let Some(pane) = document().get_element_by_id("reading").filter(|_| is_narrow) {
        let options = ScrollIntoViewOptions::new();
        options.set_behavior(ScrollBehavior::Auto);
        pane.scroll_into_view_with_scroll_into_view_options(&options);
    }
}

#[derive(Clone, PartialEq)]
enum Found {
    Waiting,
    Withheld,
    Missing(String),
    /// It did not arrive, but may.
    Late(String),
    Pair(Arc<Pair>),
}

fn found((chunk, i): (Chunk<TextChunk>, usize)) -> Found {
    match chunk {
        None => Found::Waiting,
        Some(Err(error)) => Found::Late(format!("The text did not arrive: {error}.")),
        Some(Ok(chunk)) => match chunk.pairs.get(i) {
            Some(pair) => Found::Pair(Arc::new(pair.clone())),
            None => Found::Missing("The study holds no text of this row.".into()),
        },
    }
}

/// That a pair did not arrive.
#[component]
fn Late(row: u32, reason: String) -> impl IntoView {
    let state = State::here();
    view! {
        <div class="problem" role="alert">
            <p>{reason}</p>
            <p>
                <button type="button" id="text-again" on:click=move |_| state.text_chunk_again(row)>
                    "Try again"
                </button>
            </p>
        </div>
    }
}

#[component]
fn PairHeader(row: u32) -> impl IntoView {
    let state = State::here();
    let place = Memo::new(move |_| state.place());
    let is_outdated = Memo::new(move |_| state.is_outdated());
    let value = move || {
        state.ranking.with(|ranking| ranking.as_ref().and_then(|r| r.scores.get(row as usize).copied())).map(score)
    };
    let radius = move || {
        let radius = state.ranking.with(|ranking| ranking.as_ref().and_then(|r| r.radii.get(row as usize).copied()));
        radius.map(number::radius)
    };
    let link = Signal::derive(move || state.link_to_pair(Page::Ranking, row).unwrap_or_default());
    // Neighbors are those among the pairs that are shown.
    let position = Memo::new(move |_| state.position());
    let step = move |by: isize| {
        state.select_position(position.get_untracked().map_or(0, |at| at.saturating_add_signed(by)), Step::Replace);
    };
    // At the ends the buttons keep the focus: they do nothing there, as keys do.
    let is_first = move || position.get() == Some(0);
    let is_last = move || position.get().is_some_and(|at| at + 1 == state.n_listed());
    let close = move |_| {
        state.select(None, Step::Push);
        focus_here(if state.page.get_untracked() == Page::Ranking { "table" } else { "reading" });
    };
    view! {
        <header class="pair-header">
            <p class="standing" class:outdated=move || is_outdated.get()>
                <span class="big">{move || place.get().map(|place| format!("#{}", count(place + 1)))}</span>
                <span class="big score-value">{value}</span>
                <span class="quiet">{radius}</span>
                <span class="quiet">{format!("row {}", count(row as usize))}</span>
                <Copy text=link what="a link to this pair" shows="copy link" />
            </p>
            <nav aria-label="Neighbors in the ranking">
                <button
                    type="button"
                    title="Previous pair (k)"
                    aria-disabled=move || is_first().to_string()
                    on:click=move |_| step(-1)
                >
                    "↑ Previous"
                </button>
                <button
                    type="button"
                    title="Next pair (j)"
                    aria-disabled=move || is_last().to_string()
                    on:click=move |_| step(1)
                >
                    "↓ Next"
                </button>
                <button
                    type="button"
                    title="Close the pair and show the behavior"
                    on:click=close
                >
                    "Close"
                </button>
            </nav>
        </header>
    }
}

/// The pair, or a cover over it.
#[component]
fn Covered(pair: Arc<Pair>, row: u32) -> impl IntoView {
    let covers = Covers::here();
    let is_shown = RwSignal::new(false);
    let is_covered = {
        let pair = pair.clone();
        Memo::new(move |_| !is_shown.get() && covers.covers(&pair))
    };
    let uncover = move |_| {
        is_shown.set(true);
        // The button goes.
        focus_here("reading");
    };
    let why = if is_flagged(&pair) { "The data flag this pair as harmful." } else { "Texts are covered." };
    move || match is_covered.get() {
        true => view! {
            <div class="cover" id="cover">
                <p>{why}</p>
                <p>
                    <button type="button" id="uncover" on:click=uncover>
                        "Show this pair"
                    </button>
                </p>
            </div>
        }
        .into_any(),
        false => view! { {whole_pair(&pair, row)} <Nearest row /> <TokensCommand row /> }.into_any(),
    }
}

/// The pairs that teach the same as this one: where a server finds them, or a bundle has them; elsewhere, how to find them.
#[component]
fn Nearest(row: u32) -> impl IntoView {
    let state = State::here();
    let are_there = Memo::new(move |_| {
        let is_answered = matches!(state.study.get(), StudyStatus::Ready(study) if study.nearest);
        let is_listed =
            matches!(state.view.get(), View::Ready { layer, .. } if layer.nearest_rows.binary_search(&row).is_ok());
        is_answered || is_listed
    });
    move || match are_there.get() {
        true => view! { <NearestPairsList row /> }.into_any(),
        false => view! { <NearestCommand row /> }.into_any(),
    }
}

/// Found when it is opened, and again at another layer.
#[component]
fn NearestPairsList(row: u32) -> impl IntoView {
    let state = State::here();
    let is_open = RwSignal::new(false);
    let found = RwSignal::new(None::<Result<NearestPairs, String>>);
    let layer = Memo::new(move |_| match state.view.get() {
        View::Ready { layer, .. } => Some(layer.layer),
        _ => None,
    });
    Effect::new(move || {
        let (true, Some(layer)) = (is_open.get(), layer.get()) else { return };
        found.set(None);
        spawn_local(async move {
            let path = format!("nearest/{layer}/{row}.json");
            let answer = File::new(&state.data_folder(), &path).json::<NearestPairs>().await;
            // Gone, or at another layer, when the reader went on meanwhile.
            let is_still = matches!(state.view.get_untracked(), View::Ready { layer: now, .. } if now.layer == layer);
            if is_still {
                found.try_set(Some(answer.map_err(|error| error.to_string())));
            }
        });
    });
    let on_toggle = move |event: leptos::ev::Event| {
        is_open.set(event_target::<web_sys::HtmlDetailsElement>(&event).open());
    };
    view! {
        <details class="nearest" id="nearest" on:toggle=on_toggle>
            <summary>"Pairs that teach the same"</summary>
            {move || match found.get() {
                None => view! { <p class="quiet">"Looking for them…"</p> }.into_any(),
                Some(Err(error)) => {
                    let text = format!("They cannot be found: {error}. Close and open this to try again.");
                    view! { <p class="problem" role="alert">{text}</p> }.into_any()
                }
                Some(Ok(found)) if found.pairs.is_empty() => {
                    let text = "Nothing is near to it: this pair has no vector, or is the only one that has.";
                    view! { <p class="quiet">{text}</p> }.into_any()
                }
                Some(Ok(found)) => {
                    let item = |near: &NearPair| view! { <NearPairItem near=*near /> };
                    let items = found.pairs.iter().map(item).collect_view();
                    view! {
                        <p class="quiet">"By the cosine of their vectors with this one’s:"</p>
                        <ol class="near-pairs">{items}</ol>
                    }
                        .into_any()
                }
            }}
        </details>
    }
}

#[component]
fn NearPairItem(near: NearPair) -> impl IntoView {
    let state = State::here();
    let href = move || state.link_to_pair(Page::Ranking, near.row).unwrap_or_default();
    let about = move || {
        let (chunk, i) = state.row_chunk(near.row)?;
        let snippet = match chunk.snippet[i].as_str() {
            "" => chunk.id[i].clone(),
            snippet => snippet.to_owned(),
        };
        Some(snippet)
    };
    let on_click = move |event: leptos::ev::MouseEvent| {
        if is_plain_click(&event) {
            event.prevent_default();
            state.select(Some(near.row), Step::Push);
        }
    };
    view! {
        <li>
            <span class="value">{score(near.cosine as f32)}</span>
            <a href=href on:click=on_click>
                {move || about().unwrap_or_else(|| format!("row {}", count(near.row as usize)))}
            </a>
        </li>
    }
}

/// How to find the pairs that teach the same as this one.
#[component]
fn NearestCommand(row: u32) -> impl IntoView {
    let state = State::here();
    let command = Signal::derive(move || {
        let View::Ready { layer, .. } = state.view.get() else { return String::new() };
        format!("whence query --study {} --layer {} row:{row}", state.study_name(), layer.layer)
    });
    view! {
        <HowTo
            title="Pairs that teach the same"
            about="This prints the pairs whose vectors are nearest to this one's:"
            command
            verb=None
        />
    }
}

/// What there is of a pair whose text is not published.
#[component]
fn WithheldPair(row: u32) -> impl IntoView {
    let state = State::here();
    let known = move || {
        let (chunk, i) = state.row_chunk(row)?;
        let StudyStatus::Ready(study) = state.study.get() else { return None };
        let source = study.sources.get(chunk.source[i] as usize).map_or("", |source| &source.name);
        let chars = |n: u32| counted(n as usize, "character", "characters");
        let entries = [
            ("id", chunk.id[i].clone()),
            ("source", source_name(source)),
            ("chosen", chars(chunk.chosen_chars[i])),
            ("rejected", chars(chunk.rejected_chars[i])),
        ];
        Some(listed(entries.map(|(key, value)| (key.to_owned(), value)).to_vec()))
    };
    view! {
        <p class="quiet withheld">"The texts of pairs are withheld here: whoever published this study left them out."</p>
        {known}
    }
}

fn whole_pair(pair: &Arc<Pair>, row: u32) -> impl IntoView + use<> {
    let parts = TokenParts::here();
    let prompt: Vec<_> = pair.prompt.iter().map(turn).collect();
    let (chosen, rejected) = (pair.response(Side::Chosen), pair.response(Side::Rejected));
    let is_compared = is_comparable(chosen, rejected);
    let note = (!is_compared).then(|| {
        view! { <p class="quiet">"These responses are too long for a word-level difference."</p> }
    });
    view! {
        <section class="prompt" aria-label="Prompt">
            {prompt}
        </section>
        <TintChoice row />
        {
            let pair = pair.clone();
            move || {
                let (left, right) = tinted(parts, row)
                    .unwrap_or_else(|| both_marked(pair.response(Side::Chosen), pair.response(Side::Rejected)));
                view! {
                    <div class="sides">{side(&pair, Side::Chosen, left)} {side(&pair, Side::Rejected, right)}</div>
                }
            }
        }
        {note}
        <PartsTable row />
        {metadata(pair)}
    }
}

fn side(pair: &Pair, side: Side, response: Vec<AnyView>) -> impl IntoView + use<> {
    let turns = pair.side(side);
    // Turns before the response, where the two conversations part early.
    let context: Vec<_> = turns.iter().take(turns.len().saturating_sub(1)).map(turn).collect();
    let n_chars = pair.response(side).chars().count();
    let is_empty = n_chars == 0;
    view! {
        <section class=format!("side {}", side.name()) aria-label=format!("{} response", side.name())>
            <h2>{side.name()} <span class="quiet">{counted(n_chars, "character", "characters")}</span></h2>
            {context}
            <p class="text response" dir="auto">
                {response}
            </p>
            {is_empty.then(|| view! { <p class="quiet">"(empty)"</p> })}
        </section>
    }
}

fn metadata(pair: &Pair) -> impl IntoView + use<> {
    let mut entries = vec![("id".to_owned(), pair.id.clone()), ("source".to_owned(), source_name(&pair.source))];
    match serde_json::from_str(&pair.metadata) {
        Ok(Value::Object(fields)) => entries.extend(fields.into_iter().map(|(key, value)| match value {
            Value::String(text) => (key, text),
            other => (key, other.to_string()),
        })),
        _ => entries.push(("metadata".to_owned(), pair.metadata.clone())),
    }
    listed(entries)
}

fn listed(entries: Vec<(String, String)>) -> impl IntoView + use<> {
    let entries: Vec<_> = entries
        .into_iter()
        .enumerate()
        .map(|(i, (key, value))| {
            // The id comes first.
            let copy = (i == 0).then(|| view! { <Copy text=value.clone() what="the id" /> });
            view! {
                <dt>{key}</dt>
                <dd dir="auto">{value} {copy}</dd>
            }
        })
        .collect();
    view! { <dl class="metadata" aria-label="Metadata">{entries}</dl> }
}

#[component]
fn BehaviorSummary() -> impl IntoView {
    let state = State::here();
    // Another layer leaves the behavior as it is.
    let behavior = Memo::new(move |_| match state.view.get() {
        View::Ready { behavior, .. } => Some(behavior),
        _ => None,
    });
    let covers = Covers::here();
    move || behavior.get().map(|behavior| summary(&behavior, state.only.get().as_deref(), covers.is_on.get()))
}

/// Whether two halves of the prompts say the same, at the layer that ranks.
fn stability(behavior: &BehaviorView) -> Option<impl IntoView + use<>> {
    let stability = behavior.stability.clone()?;
    let state = State::here();
    let text = move || {
        let View::Ready { layer, .. } = state.view.get() else { return None };
        let found = stability.layers.iter().find(|found| found.layer == layer.layer)?;
        let cosine = found.cosine;
        let overlap = found.overlaps.iter().max_by_key(|overlap| overlap.k).map(|overlap| {
            format!(
                "; the first {} in common: {}, {} by chance",
                count(overlap.k),
                number::percent(overlap.share.mean),
                number::percent(overlap.chance)
            )
        });
        Some(format!(
            "Directions of two halves of the prompts ({} random splits), layer {}: cosine {:.2} ({:.2} to {:.2}){}.",
            stability.n_splits,
            layer.layer,
            cosine.mean,
            cosine.low,
            cosine.high,
            overlap.unwrap_or_default()
        ))
    };
    Some(view! { <p class="quiet" id="stability">{text}</p> })
}

/// The behavior, or those of its prompts, by row, that alone make the direction.
fn summary(behavior: &BehaviorView, only: Option<&[u32]>, is_covered: bool) -> impl IntoView + use<> {
    let is_used = |row: u32| only.is_none_or(|only| only.contains(&row));
    let examples: Vec<_> = (0..)
        .zip(&behavior.examples)
        .filter(|(row, _)| is_used(*row))
        .map(|(_, example)| {
            let scenario =
                (!example.scenario.is_empty()).then(|| view! { <p class="quiet">{example.scenario.clone()}</p> });
            let (left, right) = both_marked(&example.r0, &example.r1);
            view! {
                <article class="example">
                    {scenario} <div class="turn">
                        <span class="role">"user"</span>
                        <p class="text" dir="auto">
                            {example.prompt.clone()}
                        </p>
                    </div> <div class="sides">
                        <div class="side plain" role="group" aria-label="Response without the behavior">
                            <h2>"without the behavior" <span class="quiet">"r0"</span></h2>
                            <p class="text" dir="auto">
                                {left}
                            </p>
                        </div>
                        <div class="side shows" role="group" aria-label="Response with the behavior">
                            <h2>"with the behavior" <span class="quiet">"r1"</span></h2>
                            <p class="text" dir="auto">
                                {right}
                            </p>
                        </div>
                    </div>
                </article>
            }
        })
        .collect();
    let method = match behavior.method {
        whence_shared::direction::DirectionMethod::Mean => "mean over test prompts",
        whence_shared::direction::DirectionMethod::ScenarioMean => "mean over scenarios of each scenario's mean",
    };
    let made_of = match only {
        None => format!(
            "{} of responses with and without the behavior, {}; direction: {method}.",
            counted(behavior.n_pairs, "pair", "pairs"),
            counted(behavior.n_scenarios, "scenario", "scenarios")
        ),
        Some(only) => format!(
            "{} of its {} of responses make this direction, their mean: those chosen on the Discover page.",
            count(only.len()),
            counted(behavior.n_pairs, "pair", "pairs")
        ),
    };
    view! {
        <header class="pair-header">
            <p class="standing">
                <span class="big">{behavior.name.clone()}</span>
            </p>
        </header>
        <p>{made_of}</p>
        // Both are about the direction of all prompts.
        {only.is_none().then(|| view! { {stability(behavior)} {sweep::panel(behavior)} })}
        <p class="hint">
            "Select a pair to read it: click, or press " <kbd>"j"</kbd> " and " <kbd>"k"</kbd> "."
        </p>
        {match is_covered {
            true => view! { <p class="quiet">"Test prompts and responses are covered (C shows them)."</p> }.into_any(),
            false => examples.into_any(),
        }}
    }
}
