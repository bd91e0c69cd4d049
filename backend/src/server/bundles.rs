//! `/api/v1/bundles`: a part of the study as the archive that `whence report` writes, made in the background while whoever asked
//! sees how far it is, and downloaded when it is ready.
//!
//! A server makes and keeps one at a time: asking for another ends the one before. The archive lies in a folder of its own that
//! nobody else reads ([`Scratch`]) and that is gone with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, Request, State as Extract};
use axum::response::Response;
use whence_shared::shares::{BundleMaking, BundleState, NewBundle};

use super::api::jobs::Nothing;
use super::api::{Answer, Fresh};
use super::body::JsonBody;
use super::chunks::blocking;
use super::error::RequestError;
use super::report::{Scratch, as_download};
use super::shares::only_editors;
use super::{State, data_files};
use crate::progress::Update;
use crate::report::{ReportError, ReportOptions, report_until};
use crate::view::choice::Choice;
use crate::view::study::assemble;

/// The bundle that is made or ready.
#[derive(Debug, Default)]
pub struct Bundles(Mutex<Option<Arc<Bundle>>>);

#[derive(Debug)]
struct Bundle {
    view: Mutex<BundleMaking>,
    is_over: AtomicBool,
    /// Where the archive lies, once it is whole.
    scratch: Mutex<Option<Scratch>>,
}

impl Bundles {
    /// A new one; the one before ends.
    fn begin(&self, asked: NewBundle) -> Result<Arc<Bundle>, RequestError> {
        let id = number()?;
        let mut last = lock(&self.0);
        if let Some(before) = last.take() {
            before.end();
        }
        let view = BundleMaking {
            id,
            asked,
            state: BundleState::Making,
            stage: String::new(),
            n_done: 0,
            n_total: 0,
            unit: String::new(),
            n_bytes: None,
            error: None,
        };
        let bundle =
            Arc::new(Bundle { view: Mutex::new(view), is_over: AtomicBool::new(false), scratch: Mutex::default() });
        *last = Some(bundle.clone());
        Ok(bundle)
    }

    fn last(&self) -> Option<Arc<Bundle>> {
        lock(&self.0).clone()
    }

    /// The one of this number, as the address states it.
    fn get(&self, id: &str) -> Result<Arc<Bundle>, RequestError> {
        let found = self.last().filter(|bundle| bundle.view().id.to_string() == id);
        found.ok_or_else(|| RequestError::NotFound {
            what: format!("bundle {id}"),
            hint: "a server keeps the last one that it was asked for".into(),
        })
    }
}

impl Bundle {
    fn view(&self) -> BundleMaking {
        lock(&self.view).clone()
    }

    fn change(&self, change: impl FnOnce(&mut BundleMaking)) {
        change(&mut lock(&self.view));
    }

    /// Ends it, however far it is, and removes what there is of it.
    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        lock(&self.scratch).take();
        self.change(|view| {
            if view.state != BundleState::Failed {
                (view.state, view.n_bytes) = (BundleState::Canceled, None);
            }
        });
    }

    fn make(&self, state: &State) {
        match self.made(state) {
            Ok(None) => {}
            Ok(Some((scratch, n_bytes))) => {
                let mut place = lock(&self.scratch);
                // It may have been ended when the last file was in it.
                if !self.is_over.load(Ordering::Relaxed) {
                    *place = Some(scratch);
                    self.change(|view| (view.state, view.n_bytes) = (BundleState::Ready, Some(n_bytes)));
                }
            }
            Err(_) if self.is_over.load(Ordering::Relaxed) => {}
            Err(error) => {
                self.change(|view| (view.state, view.error) = (BundleState::Failed, Some(error.told())));
            }
        }
    }

    /// The archive and its bytes; nothing when it was ended before, or the server is.
    fn made(&self, state: &State) -> Result<Option<(Scratch, u64)>, RequestError> {
        let scratch = Scratch::create()?;
        let choice = Choice::from(self.view().asked);
        let options = ReportOptions { out: scratch.archive(), is_zip: true, choice, replace: false };
        let tell = |Update { stage, done, total, unit, .. }: Update| {
            self.change(|view| {
                (view.stage, view.unit) = (stage.to_owned(), unit.to_owned());
                (view.n_done, view.n_total) = (done, total);
            });
        };
        let stop = || [&self.is_over, &state.is_over].iter().any(|flag| flag.load(Ordering::Relaxed));
        match report_until(&state.study, &state.app, &options, &tell, &stop) {
            Ok(_) => {}
            Err(ReportError::Stopped) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let n_bytes = std::fs::metadata(scratch.archive()).map_err(RequestError::study)?.len();
        Ok(Some((scratch, n_bytes)))
    }
}

/// A number that no bundle of any server has: a download that goes on after the server was started again must not go on with
/// another bundle. Small enough for the numbers of JavaScript.
fn number() -> Result<u64, RequestError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes[2..]).map_err(|error| RequestError::study(error.to_string()))?;
    Ok(u64::from_be_bytes(bytes))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Answers `GET /api/v1/bundles`.
pub async fn all(Extract(state): Extract<State>) -> Answer<Vec<BundleMaking>> {
    only_editors(&state)?;
    Ok(Fresh(state.bundles.last().map(|bundle| bundle.view()).into_iter().collect()))
}

/// Answers `POST /api/v1/bundles`.
pub async fn make(Extract(state): Extract<State>, JsonBody(asked): JsonBody<NewBundle>) -> Answer<BundleMaking> {
    only_editors(&state)?;
    blocking(move || {
        let pairs = state.pairs.current()?;
        // What the study lacks is said now.
        let choice = Choice::from(asked.clone());
        choice.of(&state.study, assemble(&state.study, &pairs)?).map_err(RequestError::of_choice)?;
        let bundle = state.bundles.begin(asked)?;
        let view = bundle.view();
        tokio::task::spawn_blocking(move || bundle.make(&state));
        Ok(Fresh(view))
    })
    .await
}

/// Answers `GET /api/v1/bundles/ID`.
pub async fn one(Extract(state): Extract<State>, Path(id): Path<String>) -> Answer<BundleMaking> {
    only_editors(&state)?;
    Ok(Fresh(state.bundles.get(&id)?.view()))
}

/// Answers `POST /api/v1/bundles/ID/cancel`.
pub async fn cancel(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    JsonBody(Nothing {}): JsonBody<Nothing>,
) -> Answer<BundleMaking> {
    only_editors(&state)?;
    let bundle = state.bundles.get(&id)?;
    blocking(move || {
        bundle.end();
        Ok(Fresh(bundle.view()))
    })
    .await
}

/// Answers `GET /api/v1/bundles/ID/file`, in ranges if asked: a large download that broke goes on.
pub async fn file(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, RequestError> {
    only_editors(&state)?;
    let bundle = state.bundles.get(&id)?;
    let archive = lock(&bundle.scratch).as_ref().map(Scratch::archive);
    let archive = archive.ok_or_else(|| RequestError::NotFound {
        what: format!("the file of bundle {id}"),
        hint: "it is there once the bundle is ready".into(),
    })?;
    let name = format!("{}.zip", state.study.name());
    let mut response = data_files::serve(archive, &name, request).await?;
    as_download(response.headers_mut(), &name);
    Ok(response)
}
