//! A pair's responses with every token tinted by what it adds to the score, and the way there where nothing was computed yet.

use std::sync::Arc;

use leptos::prelude::*;
use whence_shared::tokens::{PairTokens, SideTokens, TokensView};

use super::how_to::HowTo;
use super::turns::visible;
use crate::number::score;
use crate::state::{State, View};
use crate::token_parts::{Known, TokenParts};

/// Strengths of a tint: the strongest is that of the pair's greatest part.
const N_LEVELS: f32 = 5.0;

/// The choice between marks where responses differ and tints by what tokens add; nothing where no tokens were read.
#[component]
pub fn TintChoice(row: u32) -> impl IntoView {
    let parts = TokenParts::here();
    let known = Memo::new(move |_| parts.of(row));
    let is_there = move || !matches!(known.get(), Known::Nothing);
    let choice = move |is_tint: bool, text: &'static str, title: &'static str| {
        view! {
            <button
                type="button"
                title=title
                aria-pressed=move || (parts.is_shown.get() == is_tint).to_string()
                on:click=move |_| parts.show(is_tint)
            >
                {text}
            </button>
        }
    };
    view! {
        <Show when=is_there>
            <div class="tint-choice">
                <div class="choices" role="group" aria-label="What is marked in the responses">
                    {choice(false, "Differences", "Words that the other response lacks are marked")}
                    {choice(true, "Contributions", "Every token is tinted by what it adds to the score (T)")}
                </div>
                {move || parts.is_shown.get().then(|| legend(row, &known.get()))}
            </div>
        </Show>
    }
}

/// What the tints mean, or why there are none.
fn legend(row: u32, known: &Known) -> impl IntoView + use<> {
    match known {
        Known::Nothing => ().into_any(),
        Known::Waiting => view! { <p class="quiet">"Reading what tokens add…"</p> }.into_any(),
        Known::Missing(reason) => {
            view! { <p class="problem" role="alert">{format!("What tokens add cannot be shown: {reason}.")}</p> }.into_any()
        }
        Known::OfOthers => {
            view! {
                <p class="quiet">"This pair was not read token by token; "<code>{format!("--rows {row}")}</code>" adds it."</p>
            }
            .into_any()
        }
        Known::All(view) => view.of(row).map(sums).into_any(),
    }
}

/// What each side adds, in numbers.
fn sums(pair: &PairTokens) -> impl IntoView + use<> {
    let [chosen, rejected] = [&pair.chosen, &pair.rejected].map(|side| signed(side.sum()));
    let all = score(pair.score() as f32);
    view! {
        <p class="tint-legend" id="tint-legend">
            <span class="token-part" data-level="3">"raises"</span>
            " or "
            <span class="token-part" data-level="-3">"lowers"</span>
            " the score. Chosen "
            <b id="chosen-sum">{chosen}</b>
            ", rejected "
            <b id="rejected-sum">{rejected}</b>
            ", together "
            <b>{all}</b>
            "."
        </p>
    }
}

fn signed(sum: f64) -> String {
    let sign = if sum < 0.0 { "−" } else { "+" };
    format!("{sign}{:.3}", sum.abs())
}

/// Both responses tinted; nothing unless that is wanted and known.
pub fn tinted(parts: TokenParts, row: u32) -> Option<(Vec<AnyView>, Vec<AnyView>)> {
    if !parts.is_shown.get() {
        return None;
    }
    let Known::All(view) = parts.of(row) else { return None };
    let pair = view.of(row)?;
    let greatest = pair.greatest();
    Some((of_side(&pair.chosen, greatest), of_side(&pair.rejected, greatest)))
}

fn of_side(side: &SideTokens, greatest: f32) -> Vec<AnyView> {
    let token = |(text, part): (&String, &f32)| {
        let level = if greatest > 0.0 { (N_LEVELS * part / greatest).round() as i32 } else { 0 };
        if level == 0 {
            return visible(text).into_any();
        }
        view! {
            <span class="token-part" data-level=level.to_string() title=score(*part)>
                {visible(text)}
            </span>
        }
        .into_any()
    };
    side.texts.iter().zip(&side.parts).map(token).collect()
}

/// The table behind the tints: the tokens of both responses that add most, either way.
#[component]
pub fn PartsTable(row: u32) -> impl IntoView {
    let parts = TokenParts::here();
    let view = Memo::new(move |_| match parts.of(row) {
        Known::All(view) if parts.is_shown.get() => Some(view),
        _ => None,
    });
    move || view.get().map(|view| table(&view, row))
}

/// Tokens of the table.
const N_ROWS: usize = 12;

fn table(view: &Arc<TokensView>, row: u32) -> Option<impl IntoView + use<>> {
    let pair = view.of(row)?;
    let sides = [("chosen", &pair.chosen), ("rejected", &pair.rejected)];
    let mut tokens: Vec<(&str, &str, f32)> = sides
        .into_iter()
        .flat_map(|(name, side)| {
            side.texts.iter().zip(&side.parts).map(move |(text, part)| (name, text.as_str(), *part))
        })
        .collect();
    tokens.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()));
    let rows: Vec<_> = tokens
        .into_iter()
        .take(N_ROWS)
        .map(|(side, text, part)| {
            view! {
                <tr>
                    <td class="token">{visible(text)}</td>
                    <td>{side}</td>
                    <td>{score(part)}</td>
                </tr>
            }
        })
        .collect();
    Some(view! {
        <details class="parts-table">
            <summary>"Tokens that add most"</summary>
            <table>
                <thead>
                    <tr>
                        <th scope="col">"Token"</th>
                        <th scope="col">"in"</th>
                        <th scope="col">"adds"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </details>
    })
}

/// How to have the tokens read, where they were not.
#[component]
pub fn TokensCommand(row: u32) -> impl IntoView {
    let (state, parts) = (State::here(), TokenParts::here());
    let is_missing = Memo::new(move |_| matches!(parts.of(row), Known::Nothing | Known::OfOthers));
    let command = Signal::derive(move || {
        let View::Ready { behavior, layer, study } = state.view.get() else { return String::new() };
        let model = study.model.as_ref().map_or("MODEL", |model| model.name.as_str());
        format!(
            "whence tokens --study {} --behavior {} --layer {} --model {model} --rows {row}",
            state.study_name(),
            behavior.name,
            layer.layer
        )
    });
    view! {
        <Show when=move || is_missing.get()>
            <HowTo
                title="What each token adds to the score"
                about="This reads the first hundred pairs and this one again, through the model that the vectors were made with:"
                command
                verb=Some("tokens")
            />
        </Show>
    }
}
