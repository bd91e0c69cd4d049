//! `/data/vectors/…`, `/data/index/…`, `/data/behaviors/…`, `/data/diagnosis/…`, `/data/clusters/…` and `/data/maps/…`: the
//! study's vector files, indexes, manifests, diagnoses, discoveries, clusters and maps as they lie on disk, in ranges if asked, with ETags.

use std::path::PathBuf;

use axum::body::Body;
use axum::extract::{Path, Request, State as Extract};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use tower_http::services::ServeFile;

use super::State;
use super::error::RequestError;

/// Folders of a study that are served as they lie.
pub const FOLDERS: [&str; 6] = ["vectors", "index", "behaviors", "diagnosis", "clusters", "maps"];

/// Answers `/data/NAME/…` from the study's folder of that name.
pub fn folder(name: &'static str) -> MethodRouter<State> {
    get(move |Extract(state): Extract<State>, Path(path): Path<String>, request: Request| async move {
        serve(state.study.root().join(name), name, &path, request).await
    })
}

/// Answers everything else under `/data/`.
pub async fn unknown(Path(path): Path<String>) -> RequestError {
    RequestError::not_found(format!("data/{path}"))
}

async fn serve(root: PathBuf, name: &str, path: &str, request: Request) -> Result<Response, RequestError> {
    let not_found = || RequestError::not_found(format!("{name}/{path}"));
    if !is_plain(path) {
        return Err(not_found());
    }
    let mut served: Response = ServeFile::new(root.join(path))
        .with_buf_chunk_size(1 << 18)
        .try_call(request)
        .await
        .map_err(|error| RequestError::of_file(error, format!("{name}/{path}")))?
        .map(Body::new);
    if served.status() == StatusCode::NOT_FOUND {
        return Err(not_found());
    }
    served.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(served.into_response())
}

/// Whether a path, already percent-decoded, names a vector file, a manifest or a behavior's prompts and cannot lead out of its folder: segments
/// of letters, digits, `-`, `_` and `.` that do not begin with a dot.
fn is_plain(path: &str) -> bool {
    let is_plain_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_plain_segment = |s: &str| !s.is_empty() && !s.starts_with('.') && s.chars().all(is_plain_char);
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
