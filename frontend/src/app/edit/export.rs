//! The decisions as files: the list that `whence edit --decisions` reads, and the edited pairs for trainers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use futures_util::StreamExt;
use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::edit::conversations::{TrainerForm, row};
use whence_shared::edit::edited;
use whence_shared::edit::worklist::{CSV_HEADING, CsvLine, Worklist};
use whence_shared::study::{ROWS_PER_ROW_CHUNK, ROWS_PER_TEXT_CHUNK, RowChunk};

use super::worklist::pairs;
use crate::decisions::Decisions;
use crate::fetch::FetchError;
use crate::number::{count, percent};
use crate::saving::{Growing, pause};
use crate::state::{Ranking, State, StudyStatus};

/// Chunks of texts on their way at a time.
const N_REQUESTS: usize = 4;

/// How far an export is.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Idle,
    /// Pairs written, of so many.
    Working(usize, usize),
    Done(String),
    Failed(String),
}

/// The buttons.
#[component]
pub fn Export() -> impl IntoView {
    let state = State::here();
    let decisions = Decisions::here();
    let stage = RwSignal::new(Stage::Idle);
    let is_cancelled = StoredValue::new(false);
    let is_working = Memo::new(move |_| matches!(stage.get(), Stage::Working(..)));
    let is_empty = Memo::new(move |_| decisions.list.with(Worklist::is_empty));
    let n_pairs = move || match state.study.get() {
        StudyStatus::Ready(study) => study.n_pairs,
        _ => 0,
    };
    let export_list = move |_| {
        let list = decisions.list.get_untracked();
        let ranking = untrack(|| state.ranking.get());
        spawn_local(async move {
            let n = list.len();
            stage.set(match csv(state, &list, ranking.as_deref()).await {
                Ok(file) => {
                    file.save("decisions.csv");
                    Stage::Done(format!("decisions.csv: {}.", pairs(n)))
                }
                Err(error) => Stage::Failed(format!("No export: {error}.")),
            });
        });
    };
    let export_pairs = move |form: TrainerForm| {
        let list = decisions.list.get_untracked();
        let n_pairs = untrack(n_pairs);
        is_cancelled.set_value(false);
        stage.set(Stage::Working(0, n_pairs));
        spawn_local(async move {
            let on_progress = move |n: usize| {
                stage.set(Stage::Working(n, n_pairs));
                !is_cancelled.get_value()
            };
            let name = format!("{}-edited-{form}.jsonl", untrack(|| state.study_name()));
            stage.set(match conversations(state, &list, form, n_pairs, on_progress).await {
                Ok(Some((file, n_written))) => {
                    file.save(&name);
                    Stage::Done(format!("{name}: {} of {}.", count(n_written), pairs(n_pairs)))
                }
                Ok(None) => Stage::Idle,
                Err(error) => Stage::Failed(format!("No export: {error}.")),
            });
        });
    };
    let form = move |id: &'static str, form: TrainerForm, text: &'static str, title: &'static str| {
        view! {
            <button
                type="button"
                id=id
                title=title
                disabled=move || is_working.get()
                on:click=move |_| export_pairs(form)
            >
                {text}
            </button>
        }
    };
    view! {
        <section class="export" id="export" aria-labelledby="export-title">
            <h2 id="export-title">"Export"</h2>
            <p class="about">
                "The list of decisions is small; "
                <code>"whence edit"</code>
                " makes an edit set of it. The edited pairs are read text by text: of many, "
                <code>"whence export"</code>
                " makes the same file faster."
            </p>
            <div class="buttons">
                <button
                    type="button"
                    id="export-decisions"
                    title="row, id, action, reason, score, rank: what whence edit --decisions reads"
                    disabled=move || is_working.get() || is_empty.get()
                    on:click=export_list
                >
                    "decisions.csv"
                </button>
                {form("export-trl", TrainerForm::Trl, "TRL JSONL", "Conversational form with an explicit prompt")}
                {form(
                    "export-open-instruct",
                    TrainerForm::OpenInstruct,
                    "open-instruct JSONL",
                    "The form of the OLMo and Tulu mixes",
                )}
            </div>
            {move || match stage.get() {
                Stage::Idle => ().into_any(),
                Stage::Working(n, of) => {
                    let share = n as f64 / (of as f64).max(1.0);
                    view! {
                        <p role="status">
                            {format!("{} of {} ({}) ", count(n), pairs(of), percent(share))}
                            <button type="button" on:click=move |_| is_cancelled.set_value(true)>
                                "Cancel"
                            </button>
                        </p>
                    }
                        .into_any()
                }
                Stage::Done(text) => view! { <p role="status" id="exported">{text}</p> }.into_any(),
                Stage::Failed(text) => view! { <p class="problem" role="alert">{text}</p> }.into_any(),
            }}
            <pre>
                <code>
                    {move || format!(
                        "whence edit --study {} --name NAME --decisions decisions.csv",
                        state.study_name(),
                    )}
                </code>
            </pre>
        </section>
    }
}

/// The list of decisions, by row.
async fn csv(state: State, list: &Worklist, ranking: Option<&Ranking>) -> Result<Growing, FetchError> {
    let file = Growing::new("text/csv");
    let mut text = CSV_HEADING.to_owned();
    let mut chunks: HashMap<usize, Arc<RowChunk>> = HashMap::new();
    for (row, decided) in list.iter() {
        let n = row as usize / ROWS_PER_ROW_CHUNK;
        let chunk = match chunks.entry(n) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(state.rows.load(n).await?),
        };
        let id = chunk.id.get(row as usize % ROWS_PER_ROW_CHUNK).map_or("", String::as_str);
        // A score that is an estimate is not written as if it were none.
        let ranked = ranking.and_then(|ranking| {
            let is_exact = ranking.radii.get(row as usize) == Some(&0.0);
            Some((*ranking.scores.get(row as usize)?, ranking.place_of(row)? as u32 + 1)).filter(|_| is_exact)
        });
        text.push_str(&CsvLine { row, id, decided, ranked }.to_text());
    }
    file.push(&text);
    Ok(file)
}

/// The edited pairs in a form, and how many there are; nothing when `on_progress`, told how many are done, says to stop.
async fn conversations(
    state: State,
    list: &Worklist,
    form: TrainerForm,
    n_pairs: usize,
    on_progress: impl Fn(usize) -> bool,
) -> Result<Option<(Growing, usize)>, FetchError> {
    let file = Growing::new("application/x-ndjson");
    let mut n_written = 0;
    let fetch = |n: usize| async move { state.texts.load(n).await };
    let mut chunks =
        futures_util::stream::iter(0..n_pairs.div_ceil(ROWS_PER_TEXT_CHUNK)).map(fetch).buffered(N_REQUESTS);
    let mut text = String::new();
    let mut n_read = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        for (pair, at) in chunk.pairs.iter().zip(chunk.first_row..) {
            if let Some(pair) = edited(list.action(at as u32), pair.clone()) {
                text.push_str(&row(&pair, form).line());
                n_written += 1;
            }
        }
        n_read += chunk.pairs.len();
        if text.len() > 1 << 20 || n_read == n_pairs {
            file.push(&std::mem::take(&mut text));
            pause().await;
        }
        if !on_progress(n_read) {
            return Ok(None);
        }
    }
    file.push(&text);
    Ok(Some((file, n_written)))
}
