//! `/data/vectors/…`, `/data/index/…`, `/data/behaviors/…`, `/data/diagnosis/…`, `/data/clusters/…` and `/data/maps/…`: the
//! study's vector files, indexes, manifests, diagnoses, discoveries, clusters and maps as they lie on disk, in ranges if asked, with ETags.

use std::path::PathBuf;

use axum::body::Body;
use axum::extract::{Path, Request, State as Extract};
use axum::http::{HeaderValue, StatusCode, header};
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
pub async fn serve(file: PathBuf, what: &str, request: Request) -> Result<Response, RequestError> {
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
