//! `/data/vectors/…`, `/data/index/…`, `/data/behaviors/…`, `/data/diagnosis/…`, `/data/clusters/…` and `/data/maps/…`: the
//! study's vector files, indexes, manifests, diagnoses, discoveries, clusters and maps as they lie on disk, in ranges if asked, with ETags.

use std::path::{Path as FilePath, PathBuf};

use axum::body::Body;
use axum::extract::{Path, Request, State as Extract};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use tower_http::services::ServeFile;

use super::State;
use super::error::RequestError;
use crate::view::files::is_plain_segment;

/// Folders of a study that are served as they lie.
/// Their names, addresses, and what is in them.
pub const FOLDERS: [(&str, &str, &str); 6] = [
    ("vectors", "/data/vectors/{*path}", "Pair vectors, in ranges if asked"),
    ("index", "/data/index/{*path}", "Indexes, in ranges if asked"),
    ("behaviors", "/data/behaviors/{*path}", "Behavior vectors, test prompts and sweeps"),
    ("diagnosis", "/data/diagnosis/{*path}", "Diagnoses"),
    ("clusters", "/data/clusters/{*path}", "Discoveries and clusters of pairs"),
    ("maps", "/data/maps/{*path}", "Maps"),
];

/// Answers `/data/NAME/…` from the study's folder of that name.
pub fn folder(name: &'static str) -> MethodRouter<State> {
    get(move |Extract(state): Extract<State>, Path(path): Path<String>, request: Request| async move {
        let what = format!("{name}/{path}");
        if !is_plain(&path) {
            return Err(RequestError::not_found(what));
        }
        serve(state.study.root().join(name).join(path), &what, request).await
    })
}

/// Answers everything else under `/data/`.
pub async fn unknown(Path(path): Path<String>) -> RequestError {
    RequestError::not_found(format!("data/{path}"))
}

/// A file as it lies, in ranges if asked. `what` is its address, for errors.
///
/// # Errors
///
/// When it is not there or cannot be read.
pub async fn serve(file: PathBuf, what: &str, mut request: Request) -> Result<Response, RequestError> {
    if request.headers().contains_key(header::RANGE) {
        settle_range(&file, &mut request).await;
    }
    let mut served: Response = ServeFile::new(file)
        .with_buf_chunk_size(1 << 18)
        .try_call(request)
        .await
        .map_err(|error| RequestError::of_file(error, what))?
        .map(Body::new);
    if served.status() == StatusCode::NOT_FOUND {
        return Err(RequestError::not_found(what));
    }
    served.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(served)
}

/// Settles what [`ServeFile`] does not look at: `If-Range` of a reader whose part is of another file takes `Range` away, and more
/// bytes of the end than there are is all of them.
async fn settle_range(file: &FilePath, request: &mut Request) {
    let mut head = Request::new(Body::empty());
    *head.method_mut() = Method::HEAD;
    // What cannot be read is said when it is served.
    let Ok(head) = ServeFile::new(file).try_call(head).await else { return };
    let known = head.headers().get(header::ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/"));
    let headers = request.headers_mut();
    if headers.get(header::IF_RANGE).is_some_and(|of| Some(of) != known) {
        headers.remove(header::RANGE);
    }
    let length = |value: &HeaderValue| value.to_str().ok()?.parse::<u64>().ok();
    let n_bytes = head.headers().get(header::CONTENT_LENGTH).and_then(length).unwrap_or_default();
    let last = headers.get(header::RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes=-"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_more = |digits: &str| is_number(digits) && digits.parse::<u64>().map_or(true, |last| last > n_bytes);
    if n_bytes > 0 && last.is_some_and(is_more) {
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-"));
    }
}

/// Whether a path, already percent-decoded, names a vector file, a manifest or a behavior's prompts and cannot lead out of
/// its folder.
fn is_plain(path: &str) -> bool {
    let is_ours = [".safetensors", ".json", "/pairs.jsonl"].iter().any(|ending| path.ends_with(ending));
    path.split('/').all(is_plain_segment) && is_ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vector_files_and_manifests_below_the_folder_have_an_address() {
        for path in ["layer-2/00000000.safetensors", "manifest.json", "a_b/layer-1.safetensors", "obeys/pairs.jsonl"] {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "",
            "rollouts.jsonl",
            "../pairs.parquet",
            "../study.json",
            "layer-2/../../x.json",
            "layer-2//x.json",
            "/etc/x.json",
            ".x.json.1.tmp",
            "a/.hidden.json",
            "a\\..\\b.json",
            "a/b.jsonl",
            "a/b\0.json",
            "C:/x.json",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
