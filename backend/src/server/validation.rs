//! `/data/report.json`, `/data/runs.json` and `/data/arms/ARM/seed-N/metrics.jsonl`: what retraining found, how far it
//! is, and the curves of each run. Read anew for every request, because all three change while models are trained.

use std::path::Path as FilePath;

use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::State;
use super::chunks::{blocking, json_response};
use super::error::RequestError;
use crate::files;
use crate::validate::progress;

/// Answers `/data/report.json`.
pub async fn report(Extract(state): Extract<State>, headers: HeaderMap) -> Result<Response, RequestError> {
    let hint = "`whence retrain` and `whence validate` write it";
    let json = blocking(move || read(&state.study.report(), "report.json", hint)).await?;
    let etag = files::sha256(&json);
    Ok(json_response(&headers, &etag, json.into()))
}

/// Answers `/data/runs.json`.
pub async fn runs(Extract(state): Extract<State>, headers: HeaderMap) -> Result<Response, RequestError> {
    let json = blocking(move || {
        let runs = progress::runs(&state.study).map_err(RequestError::study)?;
        serde_json::to_vec(&runs).map_err(RequestError::study)
    })
    .await?;
    let etag = files::sha256(&json);
    Ok(json_response(&headers, &etag, json.into()))
}

/// Answers `/data/arms/ARM/seed-N/metrics.jsonl`.
pub async fn metrics(
    Extract(state): Extract<State>,
    Path((arm, run)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, RequestError> {
    let what = format!("arms/{arm}/{run}/metrics.jsonl");
    if !is_run(&arm, &run) {
        return Err(RequestError::not_found(what));
    }
    let path = state.study.arms().join(arm).join(run).join("metrics.jsonl");
    let lines = blocking(move || read(&path, &what, "")).await?;
    let etag = files::sha256(&lines);
    let mut response = json_response(&headers, &etag, lines.into());
    if response.headers().contains_key(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    }
    Ok(response.map(Body::new).into_response())
}

fn read(path: &FilePath, what: &str, hint: &str) -> Result<Vec<u8>, RequestError> {
    std::fs::read(path).map_err(|error| match RequestError::of_file(error, what) {
        RequestError::NotFound { what, .. } => RequestError::NotFound { what, hint: hint.to_owned() },
        other => other,
    })
}

/// Whether names, already percent-decoded, are those of an arm's folder and a run in it: letters, digits, `-` and `_`,
/// and `seed-N`. Neither can lead out of the study.
fn is_run(arm: &str, run: &str) -> bool {
    let is_plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain(arm) && run.strip_prefix("seed-").is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_have_an_address() {
        assert!(is_run("drop-100", "seed-3") && is_run("baseline", "seed-12") && is_run("a_b", "seed-0"));
        for (arm, run) in [
            ("", "seed-1"),
            ("..", "seed-1"),
            (".", "seed-1"),
            ("a/b", "seed-1"),
            ("a\\b", "seed-1"),
            ("drop-100", ".."),
            ("drop-100", "seed-"),
            ("drop-100", "seed-1/.."),
            ("drop-100", "seed--1"),
            ("drop-100", "model"),
            ("dröp", "seed-1"),
            ("a\0", "seed-1"),
        ] {
            assert!(!is_run(arm, run), "{arm} {run}");
        }
    }
}
