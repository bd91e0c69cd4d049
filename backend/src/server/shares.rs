//! `/s/TOKEN/…`: the app and the shared part of the study, at the addresses of a bundle ([`crate::view::files`]), for whoever has
//! the link; and `/api/v1/shares`, where links are made and revoked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Path, Request, State as Extract};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use whence_shared::shares::{NewShare, ShareMade, ShareView};

use super::api::jobs::Nothing;
use super::api::{Answer, Fresh};
use super::body::JsonBody;
use super::chunks::{answer_with_etag, blocking};
use super::error::RequestError;
use super::{State, app, data_files, nearest};
use crate::files::{self, hex};
use crate::store::shares::OpenShare;
use crate::view::app::INDEX;
use crate::view::choice::Choice;
use crate::view::chunks::chunk;
use crate::view::files::{Content, Shown};
use crate::view::pairs::config_of;
use crate::view::study::assemble;

/// How long a look at the study holds for a share: a page asks for hundreds of files.
const FRESH: Duration = Duration::from_secs(2);

/// What each share shows, as it was looked up last.
#[derive(Debug, Default)]
pub struct Shared {
    shares: Mutex<HashMap<u64, (Instant, Entries)>>,
}

/// What is behind each address.
type Entries = Arc<HashMap<String, Content>>;

/// Answers `GET /api/v1/shares`.
pub async fn all(Extract(state): Extract<State>) -> Answer<Vec<ShareView>> {
    only_editors(&state)?;
    blocking(move || Ok(Fresh(state.store.shares()?))).await
}

/// Answers `POST /api/v1/shares`.
pub async fn make(Extract(state): Extract<State>, JsonBody(asked): JsonBody<NewShare>) -> Answer<ShareMade> {
    only_editors(&state)?;
    blocking(move || {
        let pairs = state.pairs.current()?;
        // What the study lacks is said now, not to whoever opens the link.
        Choice::from(&asked).of(&state.study, assemble(&state.study, &pairs)?).map_err(RequestError::of_choice)?;
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(|error| RequestError::study(error.to_string()))?;
        let token = hex(&token);
        let share = state.store.add_share(&asked, &token)?;
        Ok(Fresh(ShareMade { share, path: format!("/s/{token}/") }))
    })
    .await
}

/// Answers `POST /api/v1/shares/ID/revoke`.
pub async fn revoke(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    JsonBody(Nothing {}): JsonBody<Nothing>,
) -> Answer<ShareView> {
    only_editors(&state)?;
    let none = RequestError::not_found(format!("share {id}"));
    // SQLite's numbers are signed.
    let Some(id) = id.parse().ok().filter(|id| i64::try_from(*id).is_ok()) else { return Err(none) };
    blocking(move || state.store.revoke_share(id)?.map(Fresh).ok_or(none)).await
}

/// Answers `/s/TOKEN`: addresses in the app are relative to `/s/TOKEN/`.
pub async fn root(Path(token): Path<String>) -> Result<Redirect, RequestError> {
    if is_token(&token) { Ok(Redirect::permanent(&format!("/s/{token}/"))) } else { Err(no_link()) }
}

/// Whether it looks like a token: anything else is no link, and may hold what no header can.
fn is_token(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn no_link() -> RequestError {
    let hint = "the link never was, has ended or was revoked".to_owned();
    RequestError::NotFound { what: "this link".into(), hint }
}

/// Answers `/s/TOKEN/`.
pub async fn page(
    Extract(state): Extract<State>,
    Path(token): Path<String>,
    request: Request,
) -> Result<Response, RequestError> {
    answer(state, token, INDEX.to_owned(), request).await
}

/// Answers `/s/TOKEN/PATH`.
pub async fn file(
    Extract(state): Extract<State>,
    Path((token, path)): Path<(String, String)>,
    request: Request,
) -> Result<Response, RequestError> {
    answer(state, token, path, request).await
}

async fn answer(state: State, token: String, path: String, request: Request) -> Result<Response, RequestError> {
    if !is_token(&token) {
        return Err(no_link());
    }
    let store = state.store.clone();
    let share = blocking(move || store.open_share(&token)?.ok_or_else(no_link)).await?;
    let mut response = match path.strip_prefix("data/").map(str::to_owned) {
        Some(path) => data(state, share, path, request).await?,
        None if path == INDEX => app::index(Extract(state), request.headers().clone()).await?,
        None => app::of(state, path, request.headers()).await?,
    };
    // A link that only some have should not be found by searching.
    let robots = HeaderName::from_static("x-robots-tag");
    response.headers_mut().insert(robots, HeaderValue::from_static("noindex"));
    Ok(response)
}

async fn data(state: State, share: OpenShare, path: String, request: Request) -> Result<Response, RequestError> {
    let what = format!("data/{path}");
    if let Some((layer, file)) = path.strip_prefix("nearest/").and_then(|path| path.split_once('/')) {
        return nearest::answer(state, share.choice.layers, layer.to_owned(), file.to_owned()).await;
    }
    let asked = what.clone();
    let found = blocking(move || {
        let entries = entries(&state, &share)?;
        match entries.get(&path) {
            None => Err(RequestError::not_found(asked)),
            Some(Content::Chunk(kind, number)) => {
                let pairs = state.pairs.current()?;
                let config = config_of(&state.study, &pairs)?;
                Ok(Content::Bytes(chunk(*kind, *number, &pairs, &config, share.choice.texts)?))
            }
            // Those that the study's own address answers: made once.
            Some(Content::Columns) => Ok(Content::Bytes(state.columns.get(&state)?.1.to_vec())),
            Some(content) => Ok(content.clone()),
        }
    })
    .await?;
    match found {
        Content::File(file) => data_files::serve(file, &what, request).await,
        Content::Bytes(bytes) => {
            let etag = files::sha256(&bytes);
            let media = if what.ends_with(".json") { "application/json" } else { "application/octet-stream" };
            Ok(answer_with_etag(request.headers(), &etag, "no-cache", media, bytes.into()))
        }
        Content::Chunk(..) | Content::Columns => Err(RequestError::not_found(what)),
    }
}

/// What a share shows now, or showed a moment ago.
fn entries(state: &State, share: &OpenShare) -> Result<Entries, RequestError> {
    let lock = || state.shared.shares.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((_, entries)) = lock().get(&share.id).filter(|(since, _)| since.elapsed() < FRESH) {
        return Ok(entries.clone());
    }
    let pairs = state.pairs.current()?;
    let shown = Shown::new(&state.study, &pairs, &share.choice)?;
    let entries: Entries = Arc::new(shown.entries()?.into_iter().collect());
    lock().insert(share.id, (Instant::now(), entries.clone()));
    Ok(entries)
}

/// Who may not change anything hands nothing out.
///
/// # Errors
///
/// When the server only reads.
pub fn only_editors(state: &State) -> Result<(), RequestError> {
    if state.can_edit { Ok(()) } else { Err(RequestError::ReadOnly) }
}

/// Says nothing of whether there is a server at all beyond its shares.
pub fn hidden() -> Response {
    RequestError::not_found("this address").into_response()
}
