//! What stands in the page when there is nothing to rank: what is missing or broken, and what to do.

use leptos::prelude::*;

use super::open::{OpenButton, was_open};
use super::start_here::StartHere;
use crate::address;
use crate::fetch::FetchError;
use crate::number::counted;
use crate::opened;
use crate::state::{RankStatus, State, StudyError, StudyStatus, View};

struct Notice {
    title: String,
    text: String,
    remedy: String,
    /// A command to copy, or nothing.
    command: Option<String>,
    /// The verb that a job would do this with.
    verb: Option<&'static str>,
    is_error: bool,
}

/// The notice that applies, if any.
#[component]
pub fn Notices() -> impl IntoView {
    let state = State::here();
    move || {
        let notice = notice(state)?;
        let can_retry = matches!(state.status.get(), RankStatus::Failed(_));
        let has_no_study = matches!(state.study.get(), StudyStatus::Failed(_));
        let was_open = was_open().filter(|_| has_no_study);
        Some(view! {
            <section class="notice" class:error=notice.is_error role=if notice.is_error { "alert" } else { "note" }>
                <h2>{notice.title}</h2>
                <p class="cause">{notice.text}</p>
                <p>{notice.remedy}</p>
                {notice.command.map(|command| view! { <pre><code>{command}</code></pre> })}
                {notice.verb.map(|verb| view! { <StartHere verb /> })}
                {was_open
                    .map(|name| {
                        let text = format!("{name} was open here. A page that is loaded again must be given it again:");
                        view! { <p id="was-open">{text}</p> }
                    })}
                {has_no_study
                    .then(|| view! { <OpenButton id="open-here" text="Open a bundle from this machine…" /> })}
                {can_retry
                    .then(|| view! { <button type="button" on:click=move |_| state.retry()>"Try again"</button> })}
            </section>
        })
    }
}

fn notice(state: State) -> Option<Notice> {
    if let StudyStatus::Failed(error) = state.study.get() {
        // A bundle of this machine is shown instead of the one that the address names.
        let is_elsewhere = address::bundle().is_some() && opened::current().is_none();
        return Some(if is_elsewhere { no_bundle(state, &error) } else { no_study(&error) });
    }
    match (state.view.get(), state.status.get()) {
        (View::NoVectors(study), _) if study.n_pairs == 0 => Some(Notice {
            title: "No pairs yet".into(),
            text: "This study has no pairs: there is nothing to rank, to read or to edit.".into(),
            remedy: "Import preference data, JSONL or Parquet, then reload this page:".into(),
            command: Some(format!("whence import --study {} FILE", study.name)),
            verb: None,
            is_error: false,
        }),
        (View::NoVectors(study), _) => Some(Notice {
            title: "No vectors yet".into(),
            text: format!(
                "This study has {} and no complete layer of pair vectors.",
                counted(study.n_pairs, "pair", "pairs")
            ),
            remedy: "Extract them with the model that training started from, then reload this page:".into(),
            command: Some(format!("whence extract --study {} --model MODEL_FOLDER --layers all", study.name)),
            verb: Some("extract"),
            is_error: false,
        }),
        (View::NoBehaviors(study), _) => Some(Notice {
            title: "No behaviors yet".into(),
            text: "The pair vectors are there, but nothing to rank them by.".into(),
            remedy:
                "Write test prompts with one response that lacks the behavior (r0) and one that shows it (r1), one \
                     JSON object per line, then reload this page after:"
                    .into(),
            command: Some(format!(
                "whence behavior --study {} --name NAME --pairs FILE.jsonl --model MODEL_FOLDER",
                study.name
            )),
            verb: Some("behavior"),
            is_error: false,
        }),
        (View::NoSharedLayer(study, behavior), _) => Some(Notice {
            title: format!("“{}” has no vectors at any layer of this study", behavior.name),
            text: format!(
                "The behavior has layers {}; the pairs have layers {}.",
                list(&behavior.layers),
                list(&study.layers.iter().map(|layer| layer.layer).collect::<Vec<_>>())
            ),
            remedy: "Make the behavior's vectors at the study's layers, then reload this page:".into(),
            command: Some(format!(
                "whence behavior --study {} --name {} --pairs FILE.jsonl --model MODEL_FOLDER --layers all",
                study.name, behavior.name
            )),
            verb: Some("behavior"),
            is_error: false,
        }),
        (_, RankStatus::Failed(error)) => Some(Notice {
            title: "The pairs could not be ranked".into(),
            text: error.to_string(),
            remedy: error.remedy().into(),
            command: None,
            verb: None,
            is_error: true,
        }),
        _ => None,
    }
}

fn no_study(error: &StudyError) -> Notice {
    let (title, remedy) = match error {
        StudyError::Fetch(FetchError::Status { status: 404, .. }) => {
            ("No study here", "The app looks for data/study.json beside itself. Serve a study with:")
        }
        StudyError::Fetch(FetchError::Json { .. }) => {
            ("The study cannot be read", "data/study.json is not the study of this version. Serve it again with:")
        }
        StudyError::Fetch(_) => ("The study cannot be reached", "Check that the server still runs, or start it with:"),
        StudyError::Format { .. } => {
            ("The study is of another version", "Serve it with the version of whence that made it:")
        }
    };
    Notice {
        title: title.into(),
        text: error.to_string(),
        remedy: remedy.into(),
        command: Some("whence serve --study STUDY_FOLDER".into()),
        verb: None,
        is_error: true,
    }
}

/// Of a bundle that `?bundle=` names.
fn no_bundle(state: State, error: &StudyError) -> Notice {
    let data = state.data_folder();
    let bundle = data.strip_suffix("data/").unwrap_or(&data);
    let (title, remedy) = match error {
        StudyError::Fetch(FetchError::Status { status: 404, .. }) => (
            "No bundle here",
            format!(
                "No study lies at {data}study.json. Check the address of the bundle, or open it with its own page:"
            ),
        ),
        StudyError::Fetch(FetchError::Json { .. }) => (
            "The bundle cannot be read",
            format!("What {bundle} holds is not of this version. Open the bundle with the app that it came with:"),
        ),
        StudyError::Format { .. } => (
            "The bundle is of another version",
            format!("This app does not read what {bundle} holds. Open the bundle with the app that it came with:"),
        ),
        StudyError::Fetch(_) => (
            "The bundle cannot be reached",
            format!(
                "Nothing came from {bundle}. Either it does not answer, or its host does not let other pages read it \
                 (CORS): it must send Access-Control-Allow-Origin. Or open the bundle with its own page:"
            ),
        ),
    };
    Notice {
        title: title.into(),
        text: error.to_string(),
        remedy,
        command: Some(format!("{bundle}index.html")),
        verb: None,
        is_error: true,
    }
}

fn list(layers: &[usize]) -> String {
    if layers.is_empty() {
        return "none".into();
    }
    layers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
