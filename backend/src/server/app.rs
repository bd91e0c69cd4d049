//! `/` and everything else that is not the study's: the app's files ([`App`](crate::view::app::App)).

use std::borrow::Cow;

use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::State;
use super::chunks::{answer_with_etag, blocking};
use super::error::RequestError;
use super::guard::content_security_policy;
use crate::files;
use crate::view::app::INDEX;

/// Answers `/`: index.html, allowed to run the scripts that stand in it.
pub async fn index(Extract(state): Extract<State>, headers: HeaderMap) -> Result<Response, RequestError> {
    let html = blocking(move || Ok(state.app.read(INDEX)?)).await?.ok_or_else(|| RequestError::not_found(INDEX))?;
    let policy = content_security_policy(&script_hashes(&String::from_utf8_lossy(&html)));
    let mut response = answer(&headers, INDEX, html);
    let policy = HeaderValue::from_str(&policy).map_err(RequestError::study)?;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// Answers every other address from the app's files.
pub async fn file(Extract(state): Extract<State>, request: Request) -> Result<Response, RequestError> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    if !matches!(request.method().as_str(), "GET" | "HEAD") {
        return Err(RequestError::Method);
    }
    of(state, path, request.headers()).await
}

/// A file of the app.
///
/// # Errors
///
/// When there is none of this path.
pub async fn of(state: State, path: String, headers: &HeaderMap) -> Result<Response, RequestError> {
    let name = path.clone();
    let read = blocking(move || Ok(state.app.read(&name)?)).await?;
    let bytes = read.ok_or_else(|| RequestError::not_found(format!("/{path}")))?;
    Ok(answer(headers, &path, bytes))
}

fn answer(request: &HeaderMap, path: &str, bytes: Cow<'static, [u8]>) -> Response {
    let etag = files::sha256(&bytes);
    let body = match bytes {
        Cow::Borrowed(bytes) => bytes::Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let cache = if is_hashed(path) { "public, max-age=31536000, immutable" } else { "no-cache" };
    answer_with_etag(request, &etag, cache, content_type(path), body)
}

/// What a browser is told that a file of the app is, by the ending of its name.
fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript",
        "css" => "text/css",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
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
