//! `/api/v1`: decisions and edit sets here, jobs in [`jobs`] ([`whence_shared::api`] says what goes back and forth). What is described in [`doc`] and
//! what answers are one list, [`routes`](super::routes::routes).

pub mod doc;
pub mod jobs;

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use whence_shared::api::{
    AtVersion, ChangeDecisions, DecisionRule, DecisionStep, Decisions, DecisionsChange, EditSetView, MakeEditSet,
    PutDecisions, ServerView,
};

use super::State;
use super::body::JsonBody;
use super::chunks::blocking;
use super::error::RequestError;
use crate::store::{StoreError, edit_set};
use crate::view::pairs::OpenPairs;

/// Answers everything else under `/api/`.
pub async fn unknown(Path(path): Path<String>) -> RequestError {
    let hint = "/api/v1/openapi.json lists what there is".into();
    RequestError::NotFound { what: format!("api/{path}"), hint }
}

/// JSON, or why not.
pub type Answer<T> = Result<Fresh<T>, RequestError>;

/// JSON that is never kept: it is what it is now.
#[derive(Debug)]
pub struct Fresh<T>(pub T);

impl<T: serde::Serialize> IntoResponse for Fresh<T> {
    fn into_response(self) -> Response {
        ([(header::CACHE_CONTROL, "no-store")], Json(self.0)).into_response()
    }
}

/// Answers `GET /api/v1`.
pub async fn server(Extract(state): Extract<State>) -> Fresh<ServerView> {
    Fresh(ServerView {
        whence: env!("CARGO_PKG_VERSION").to_owned(),
        study: state.study.name(),
        can_edit: state.can_edit,
        can_run_jobs: state.jobs.is_some(),
        others_reach_links: state.others_reach_links,
    })
}

/// Answers `GET /api/v1/openapi.json`.
pub async fn openapi() -> Fresh<serde_json::Value> {
    Fresh(doc::document())
}

/// Answers `GET /api/v1/decisions`.
pub async fn decisions(Extract(state): Extract<State>) -> Answer<Decisions> {
    read(state, |state, pairs| state.store.decisions(pairs)).await
}

/// Answers `GET /api/v1/decisions/history`.
pub async fn history(Extract(state): Extract<State>) -> Answer<Vec<DecisionStep>> {
    read(state, |state, pairs| state.store.history(pairs)).await
}

/// Answers `PUT /api/v1/decisions`.
pub async fn put(Extract(state): Extract<State>, JsonBody(put): JsonBody<PutDecisions>) -> Answer<DecisionsChange> {
    change(state, move |state, pairs| state.store.put(pairs, &put)).await
}

/// Answers `POST /api/v1/decisions/change`.
pub async fn some(
    Extract(state): Extract<State>,
    JsonBody(asked): JsonBody<ChangeDecisions>,
) -> Answer<DecisionsChange> {
    change(state, move |state, pairs| state.store.change(pairs, &asked)).await
}

/// Answers `POST /api/v1/decisions/rule`.
pub async fn rule(Extract(state): Extract<State>, JsonBody(rule): JsonBody<DecisionRule>) -> Answer<DecisionsChange> {
    change(state, move |state, pairs| state.store.rule(&state.study, pairs, &rule)).await
}

/// Answers `POST /api/v1/decisions/undo`.
pub async fn undo(Extract(state): Extract<State>, JsonBody(at): JsonBody<AtVersion>) -> Answer<DecisionsChange> {
    change(state, move |state, pairs| state.store.undo(pairs, at.version)).await
}

/// Answers `POST /api/v1/decisions/redo`.
pub async fn redo(Extract(state): Extract<State>, JsonBody(at): JsonBody<AtVersion>) -> Answer<DecisionsChange> {
    change(state, move |state, pairs| state.store.redo(pairs, at.version)).await
}

/// Answers `GET /api/v1/edits`.
pub async fn edits(Extract(state): Extract<State>) -> Answer<Vec<EditSetView>> {
    read(state, |state, _| edit_set::all(&state.study)).await
}

/// Answers `POST /api/v1/edits`.
pub async fn make_edits(Extract(state): Extract<State>, JsonBody(asked): JsonBody<MakeEditSet>) -> Answer<EditSetView> {
    change(state, move |state, pairs| edit_set::make(&state.store, &state.study, pairs, &asked)).await
}

async fn read<T: Send + 'static>(
    state: State,
    work: impl FnOnce(&State, &OpenPairs) -> Result<T, StoreError> + Send + 'static,
) -> Answer<T> {
    blocking(move || {
        let pairs = state.pairs.current()?;
        Ok(Fresh(work(&state, &pairs)?))
    })
    .await
}

async fn change<T: Send + 'static>(
    state: State,
    work: impl FnOnce(&State, &OpenPairs) -> Result<T, StoreError> + Send + 'static,
) -> Answer<T> {
    if !state.can_edit {
        return Err(RequestError::ReadOnly);
    }
    read(state, work).await
}
