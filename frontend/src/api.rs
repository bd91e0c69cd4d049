//! The backend, as the page asks it: requests to `/api/v1`, their errors, and what the server says it can do.
//!
//! [`whence_shared::api`] says what goes back and forth. Where the study has no backend ([`StudyView::api`]) nothing is
//! ever asked: a page looks at [`Api::server`] before it offers anything.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, RequestCache, RequestInit, Response, Url};
use whence_shared::api::{ApiError, ServerView, VERSION};
use whence_shared::json;
use whence_shared::study::StudyView;

use crate::address::Page;
use crate::fetch::sleep;
use crate::state::{RankStatus, State, StudyStatus};

/// Pause before a backend that does not answer is asked again, in milliseconds; it doubles with every try in vain.
const FIRST_PAUSE_MS: f64 = 1_000.0;
/// Longest such pause, in milliseconds.
const MAX_PAUSE_MS: f64 = 10_000.0;

/// Why the backend did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It does not answer: it has ended, or the network is down.
    #[error("the backend does not answer")]
    Unreachable,
    /// It says why not.
    #[error("{}", .0.error)]
    Refused(ApiError),
    /// An answer that is not what `/api/v1` answers.
    #[error("the backend's answer cannot be read ({reason})")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

impl RequestError {
    /// What to do about it; may be empty.
    pub fn hint(&self) -> &str {
        match self {
            Self::Unreachable => "start `whence serve` again, or wait until it is back",
            Self::Refused(error) => &error.hint,
            Self::Unreadable { .. } => "reload the page: the backend may be of another version",
        }
    }

    /// What happened and what to do about it, to go on a sentence with.
    pub fn with_hint(&self) -> String {
        match self.hint() {
            "" => format!("{self}."),
            hint => format!("{self}. To do: {hint}."),
        }
    }

    /// Whether there is no backend to be reached, rather than one that refuses.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable)
    }
}

/// What is known of the backend.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerStatus {
    /// Not yet known whether there is one.
    Asking,
    /// There is none: a static bundle, a shared link, or no study.
    None,
    /// What it can do.
    Ready(Arc<ServerView>),
    /// There is one, but it does not answer as it should; it is asked again while it does not answer at all.
    Failed(RequestError),
}

impl ServerStatus {
    /// Whether decisions and edit sets can be changed.
    pub fn can_edit(&self) -> bool {
        matches!(self, Self::Ready(server) if server.can_edit)
    }

    /// Whether it runs jobs.
    pub fn can_run_jobs(&self) -> bool {
        matches!(self, Self::Ready(server) if server.can_run_jobs)
    }
}

/// A body that says nothing.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Nothing {}

/// The backend of the study that is shown; cheap to copy.
#[derive(Clone, Copy)]
pub struct Api {
    /// What it can do, asked for once.
    pub server: RwSignal<ServerStatus>,
    /// Whether it answered when it was last asked; true until it was.
    pub is_answering: RwSignal<bool>,
    /// Absolute address of `/api/v1`, without a final slash.
    base: StoredValue<String>,
    state: State,
}

impl Api {
    /// Asks what the backend can do as soon as the study says that there is one. Called once, by the root component.
    pub fn start(state: State) -> Self {
        let base = Url::new_with_base(&format!("../api/{VERSION}"), &state.data_folder()).map(|url| url.href());
        let api = Self {
            server: RwSignal::new(ServerStatus::Asking),
            is_answering: RwSignal::new(true),
            base: StoredValue::new(base.unwrap_or_default()),
            state,
        };
        let has_api = Memo::new(move |_| match state.study.get() {
            StudyStatus::Loading => None,
            StudyStatus::Ready(study) => Some(is_own(&study, &api.base.get_value())),
            StudyStatus::Failed(_) => Some(false),
        });
        Effect::new(move || match has_api.get() {
            None => {}
            Some(false) => api.server.set(ServerStatus::None),
            Some(true) => spawn_local(api.ask_server()),
        });
        Effect::new(move || {
            let is_lost = state.status.with(RankStatus::is_out_of_reach);
            if is_lost && matches!(api.server.get_untracked(), ServerStatus::Ready(_)) {
                spawn_local(api.wait_until_back());
            }
        });
        api
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// Absolute address of what lies at `path` below `/api/v1`: `decisions/undo`, or `""` for `/api/v1` itself.
    pub fn address(self, path: &str) -> String {
        let base = self.base.try_get_value().unwrap_or_default();
        if path.is_empty() { base } else { format!("{base}/{path}") }
    }

    /// The answer to `GET`.
    ///
    /// # Errors
    ///
    /// When the backend does not answer, refuses, or answers something else.
    pub async fn get<T: DeserializeOwned>(self, path: &str) -> Result<T, RequestError> {
        let response = self.send("GET", path, None).await?;
        self.read(&response).await
    }

    /// The answer to `POST`.
    ///
    /// # Errors
    ///
    /// As [`Api::get`].
    pub async fn post<T: DeserializeOwned>(self, path: &str, body: &impl Serialize) -> Result<T, RequestError> {
        let response = self.send("POST", path, Some(to_json(body)?)).await?;
        self.read(&response).await
    }

    /// The answer to `PUT`.
    ///
    /// # Errors
    ///
    /// As [`Api::get`].
    pub async fn put<T: DeserializeOwned>(self, path: &str, body: &impl Serialize) -> Result<T, RequestError> {
        let response = self.send("PUT", path, Some(to_json(body)?)).await?;
        self.read(&response).await
    }

    async fn send(self, method: &str, path: &str, json: Option<String>) -> Result<Response, RequestError> {
        let options = RequestInit::new();
        options.set_method(method);
        options.set_cache(RequestCache::NoStore);
        if let Some(json) = json {
            options.set_body(&JsValue::from_str(&json));
            let headers = Headers::new().expect("an empty list of headers is valid");
            headers.set("Content-Type", "application/json").expect("a valid header");
            options.set_headers(&headers);
        }
        let promise = window().fetch_with_str_and_init(&self.address(path), &options);
        let response: Response = JsFuture::from(promise).await.map_err(|_| self.missed())?.unchecked_into();
        if response.ok() {
            self.is_answering.set(true);
            return Ok(response);
        }
        let status = response.status();
        let error = text(&response).await.ok().and_then(|text| json::from_str(&text).ok());
        match (error, status) {
            (Some(error), _) => {
                self.is_answering.set(true);
                Err(RequestError::Refused(error))
            }
            // What stands in front of the backend says that there is none.
            (None, 502..=504) => Err(self.missed()),
            (None, _) => Err(RequestError::Unreadable { reason: format!("status {status}") }),
        }
    }

    async fn read<T: DeserializeOwned>(self, response: &Response) -> Result<T, RequestError> {
        // What breaks off after a good beginning is the connection.
        let text = text(response).await.map_err(|_| self.missed())?;
        json::from_str(&text).map_err(|error| RequestError::Unreadable { reason: error.to_string() })
    }

    /// The backend did not answer.
    fn missed(self) -> RequestError {
        self.is_answering.set(false);
        RequestError::Unreachable
    }

    /// Asks again what the backend can do: another may have taken its place.
    pub async fn look_again(self) {
        if let Ok(server) = self.get::<ServerView>("").await {
            let status = ServerStatus::Ready(Arc::new(server));
            if self.server.with_untracked(|known| *known != status) {
                self.server.set(status);
            }
        }
    }

    /// Whether a page has something to do here: jobs need a server that runs them. Tracked.
    pub fn offers(self, page: Page) -> bool {
        let has_api = || self.state.study.with(|study| matches!(study, StudyStatus::Ready(study) if study.api));
        page != Page::Jobs
            || match self.server.get() {
                ServerStatus::Asking => has_api(),
                ServerStatus::None => false,
                ServerStatus::Ready(server) => server.can_run_jobs,
                ServerStatus::Failed(error) => error.is_unreachable(),
            }
    }

    /// Asks until there is an answer, so that [`Api::is_answering`] tells when the backend is back.
    async fn wait_until_back(self) {
        let mut pause_ms = FIRST_PAUSE_MS;
        while !self.server.is_disposed() {
            match self.get::<ServerView>("").await {
                Err(error) if error.is_unreachable() => {}
                _ => return,
            }
            sleep(pause_ms).await;
            pause_ms = (2.0 * pause_ms).min(MAX_PAUSE_MS);
        }
    }

    async fn ask_server(self) {
        let mut pause_ms = FIRST_PAUSE_MS;
        // The study may make room for another one.
        while !self.server.is_disposed() {
            let error = match self.get::<ServerView>("").await {
                Ok(server) => return self.server.set(ServerStatus::Ready(Arc::new(server))),
                Err(error) => error,
            };
            let is_unreachable = error.is_unreachable();
            self.server.set(ServerStatus::Failed(error));
            if !is_unreachable {
                return;
            }
            sleep(pause_ms).await;
            pause_ms = (2.0 * pause_ms).min(MAX_PAUSE_MS);
        }
    }
}

/// Whether the study's backend is the one this page comes from: another answers no page of ours.
fn is_own(study: &StudyView, base: &str) -> bool {
    let origin = Url::new(base).map(|url| url.origin());
    study.api && origin.is_ok() && origin.ok() == window().location().origin().ok()
}

fn to_json(body: &impl Serialize) -> Result<String, RequestError> {
    serde_json::to_string(body).map_err(|error| RequestError::Unreadable { reason: error.to_string() })
}

async fn text(response: &Response) -> Result<String, JsValue> {
    Ok(JsFuture::from(response.text()?).await?.as_string().unwrap_or_default())
}
