//! `/api/v1/jobs`: the queue of verbs ([`whence_shared::jobs`] says what goes back and forth), and its changes as they happen.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Extract};
use axum::response::sse::{Event, KeepAlive, KeepAliveStream, Sse};
use futures_core::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
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
#[serde(deny_unknown_fields)]
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
    from: Result<Query<From>, QueryRejection>,
) -> Answer<JobLog> {
    let id = number(&id)?;
    let malformed = |_| RequestError::Malformed("expected ?from=N with N the number of a byte".into());
    let Query(from) = from.map_err(malformed)?;
    ask(state, move |jobs| jobs.log(id, from.from)).await
}

/// Answers `GET /api/v1/jobs/events`: every job once, the oldest first, then each that is other than before.
pub async fn events(Extract(state): Extract<State>) -> Result<Sse<KeepAliveStream<Events>>, RequestError> {
    let jobs = jobs_of(&state)?;
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(tell(jobs, state.is_over, sender));
    Ok(Sse::new(Events(receiver)).keep_alive(KeepAlive::default()))
}

/// Jobs as they change.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|event| event.map(Ok))
    }
}

/// Tells of jobs until nobody listens, or the server ends: it waits for its answers, and so this one ends with it.
async fn tell(jobs: Arc<Jobs>, is_over: Arc<AtomicBool>, listener: mpsc::Sender<Event>) {
    let mut told: HashMap<u64, JobView> = HashMap::new();
    while !is_over.load(Ordering::Relaxed) && !listener.is_closed() {
        let asked = jobs.clone();
        // A database that another holds is asked again.
        let mut all = blocking(move || Ok(asked.all()?)).await.unwrap_or_default();
        all.retain(|job| told.get(&job.id) != Some(job));
        for job in all.into_iter().rev() {
            let event = Event::default().event("job").json_data(&job).unwrap_or_default();
            if listener.send(event).await.is_err() {
                return;
            }
            told.insert(job.id, job);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn number(id: &str) -> Result<u64, RequestError> {
    // SQLite's numbers are signed.
    let number = id.parse().ok().filter(|number| i64::try_from(*number).is_ok());
    number.ok_or_else(|| RequestError::not_found(format!("job {id}")))
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
