//! The app's folder, as Trunk builds it: `index.html` and files whose names carry their hash.

use std::path::PathBuf;

use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use tower_http::services::ServeDir;

use super::chunks::blocking;
use super::error::RequestError;
use super::guard::content_security_policy;
use super::{ServeError, State};
use crate::files;

/// The folder of the built app.
#[derive(Debug)]
pub struct App {
    root: PathBuf,
}

impl App {
    /// The app in a folder.
    ///
    /// # Errors
    ///
    /// When the folder has no index.html.
    pub fn at(root: PathBuf) -> Result<Self, ServeError> {
        if root.join("index.html").is_file() { Ok(Self { root }) } else { Err(ServeError::NoApp { tried: vec![root] }) }
    }
}

/// The first of the usual places that holds a built app: `$WHENCE_APP`, `app` beside the executable, `frontend/dist`
/// below the current folder.
///
/// # Errors
///
/// When none does; the error lists them.
pub fn find() -> Result<PathBuf, ServeError> {
    if let Some(folder) = std::env::var_os("WHENCE_APP").filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("app")));
    let tried: Vec<PathBuf> = beside.into_iter().chain([PathBuf::from("frontend/dist")]).collect();
    match tried.iter().find(|folder| folder.join("index.html").is_file()) {
        Some(folder) => Ok(folder.clone()),
        None => Err(ServeError::NoApp { tried }),
    }
}

/// Answers `/`: index.html, allowed to run the scripts that stand in it.
pub async fn index(Extract(state): Extract<State>, headers: HeaderMap) -> Result<Response, RequestError> {
    let html = blocking(move || Ok(files::read(&state.app.root.join("index.html"))?)).await?;
    let etag = format!("W/\"{}\"", files::sha256(&html));
    let policy = content_security_policy(&script_hashes(&String::from_utf8_lossy(&html)));
    let always = [
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::ETAG, etag.clone()),
    ];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, always).into_response());
    }
    Ok((always, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response())
}

/// Answers every other address from the app's folder.
pub async fn file(Extract(state): Extract<State>, request: Request) -> Result<Response, RequestError> {
    let path = request.uri().path().to_owned();
    let mut served: Response = ServeDir::new(&state.app.root)
        .append_index_html_on_directories(false)
        .try_call(request)
        .await
        .map_err(|error| RequestError::of_file(error, &path))?
        .map(Body::new);
    if served.status() == StatusCode::NOT_FOUND {
        return Err(RequestError::not_found(path));
    }
    let cache = if is_hashed(&path) { "public, max-age=31536000, immutable" } else { "no-cache" };
    served.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    Ok(served)
}

/// Whether a file's name carries the hash of its contents, as in `app-1f0c29a4e8b53d67_bg.wasm`.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split(['-', '_', '.'])
        .any(|part| (14..=16).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `'sha256-…'` of every script written into the page: Trunk starts the app with one.
fn script_hashes(html: &str) -> Vec<String> {
    let mut hashes = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find("<script") {
        rest = &rest[start..];
        let (Some(open), Some(close)) = (rest.find('>'), rest.find("</script>")) else { break };
        if open < close && !rest[..open].contains("src=") {
            let digest = Sha256::digest(&rest.as_bytes()[open + 1..close]);
            hashes.push(format!("'sha256-{}'", BASE64_STANDARD.encode(digest)));
        }
        rest = &rest[close..];
    }
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_names_are_told_from_others() {
        for path in ["/app-1f0c29a4e8b53d67.js", "/app-1f0c29a4e8b53d67_bg.wasm", "/snippets/x-0123456789abcdef/a.js"] {
            assert_eq!(is_hashed(path), !path.contains("snippets"), "{path}");
        }
        assert!(!is_hashed("/worker.js") && !is_hashed("/favicon.svg") && !is_hashed("/"));
    }

    #[test]
    fn inline_scripts_are_hashed_and_others_not() {
        let html = "<script src=\"a.js\"></script><script type=\"module\">alert(1)</script><script>x";
        // echo -n 'alert(1)' | openssl dgst -sha256 -binary | base64
        assert_eq!(script_hashes(html), ["'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"]);
    }
}
