//! `/api/v1/jobs`: the queue of verbs ([`whence_shared::jobs`] says what goes back and forth), and its changes as they happen.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Path, Query, State as Extract};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use whence_shared::jobs::{JobLog, JobView, NewJob};

use super::{Answer, Fresh};
use crate::jobs::{JobError, Jobs};
use crate::server::State;
use crate::server::body::JsonBody;
use crate::server::chunks::blocking;
use crate::server::error::RequestError;

/// How often it is looked whether something changed.
const PAUSE: Duration = Duration::from_millis(300);

/// A body that says nothing: `{}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Nothing {}

/// Where a log is read from.
#[derive(Debug, Deserialize)]
pub struct From {
    #[serde(default)]
    from: u64,
}

/// Answers `GET /api/v1/jobs`.
pub async fn all(Extract(state): Extract<State>) -> Answer<Vec<JobView>> {
    ask(state, |jobs| jobs.all()).await
}

/// Answers `POST /api/v1/jobs`.
pub async fn queue(Extract(state): Extract<State>, JsonBody(job): JsonBody<NewJob>) -> Answer<JobView> {
    ask(state, move |jobs| jobs.queue(&job)).await
}

/// Answers `GET /api/v1/jobs/ID`.
pub async fn one(Extract(state): Extract<State>, Path(id): Path<String>) -> Answer<JobView> {
    let id = number(&id)?;
    ask(state, move |jobs| jobs.job(id)).await
}

/// Answers `POST /api/v1/jobs/ID/cancel`.
pub async fn cancel(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    JsonBody(Nothing {}): JsonBody<Nothing>,
) -> Answer<JobView> {
    let id = number(&id)?;
    ask(state, move |jobs| jobs.cancel(id)).await
}

/// Answers `POST /api/v1/jobs/ID/retry`.
pub async fn retry(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    JsonBody(Nothing {}): JsonBody<Nothing>,
) -> Answer<JobView> {
    let id = number(&id)?;
    ask(state, move |jobs| jobs.retry(id)).await
}

/// Answers `GET /api/v1/jobs/ID/log`.
pub async fn log(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    Query(from): Query<From>,
) -> Answer<JobLog> {
    let id = number(&id)?;
    ask(state, move |jobs| jobs.log(id, from.from)).await
}

/// Answers `GET /api/v1/jobs/events`: every job once, the oldest first, then each that is other than before.
pub async fn events(
    Extract(state): Extract<State>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, RequestError> {
    let jobs = jobs_of(&state)?;
    let is_over = state.is_over.clone();
    let start = (jobs, HashMap::new(), Vec::new());
    let changes = stream::unfold(start, move |(jobs, mut told, mut left): Changes| {
        let is_over = is_over.clone();
        async move {
            while left.is_empty() {
                // A server that ends waits for its answers: this one ends with it.
                if is_over.load(Ordering::Relaxed) {
                    return None;
                }
                let asked = jobs.clone();
                // A database that another holds is asked again.
                let all = blocking(move || Ok(asked.all()?)).await.unwrap_or_default();
                left = all.into_iter().filter(|job| told.get(&job.id) != Some(job)).collect();
                if left.is_empty() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            let job = left.pop()?;
            let event = Event::default().event("job").json_data(&job).unwrap_or_default();
            told.insert(job.id, job);
            Some((Ok(event), (jobs, told, left)))
        }
    });
    Ok(Sse::new(changes).keep_alive(KeepAlive::default()))
}

/// The jobs, what was told of each, and what is still to be told, the newest first.
type Changes = (Arc<Jobs>, HashMap<u64, JobView>, Vec<JobView>);

fn number(id: &str) -> Result<u64, RequestError> {
    id.parse().map_err(|_| RequestError::not_found(format!("job {id}")))
}

fn jobs_of(state: &State) -> Result<Arc<Jobs>, RequestError> {
    state.jobs.clone().ok_or(RequestError::NoJobs)
}

async fn ask<T: Send + 'static>(
    state: State,
    work: impl FnOnce(&Jobs) -> Result<T, JobError> + Send + 'static,
) -> Answer<T> {
    let jobs = jobs_of(&state)?;
    blocking(move || Ok(Fresh(work(&jobs)?))).await
}
