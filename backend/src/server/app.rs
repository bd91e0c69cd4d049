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

/// What HTTP calls the packing of [`App::read_packed`](crate::view::app::App::read_packed).
const BROTLI: &str = "br";

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
    let (name, takes_brotli) = (path.clone(), takes_brotli(headers));
    let read = blocking(move || {
        let packed = if takes_brotli { state.app.read_packed(&name)? } else { None };
        Ok(match packed {
            Some(bytes) => Some((bytes, Some(BROTLI))),
            None => state.app.read(&name)?.map(|bytes| (bytes, None)),
        })
    });
    let (bytes, encoding) = read.await?.ok_or_else(|| RequestError::not_found(format!("/{path}")))?;
    let mut response = answer(headers, &path, bytes);
    if let Some(encoding) = encoding {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    Ok(response)
}

/// Whether the reader takes bytes packed with brotli. Browsers say so to servers on their own machine and over TLS.
fn takes_brotli(request: &HeaderMap) -> bool {
    let accepted = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_brotli = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(BROTLI));
        let is_refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
            weight.is_some_and(|weight| weight <= 0.0)
        });
        is_brotli && !is_refused
    })
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
    fn brotli_is_sent_to_those_who_take_it() {
        let takes = |value: &'static str| {
            takes_brotli(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(["br", "gzip, deflate, br, zstd", "gzip;q=0.5,BR;q=0.8"].map(takes).iter().all(|takes| *takes));
        assert!(["", "gzip", "brotli", "br;q=0", "*"].map(takes).iter().all(|takes| !takes));
    }

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
