//! `POST /api/v1/report`: a part of the study as the archive that `whence report` writes, made in a folder of its own that
//! nobody else reads and that is gone once the answer has the file open.

use std::fs::{self, DirBuilder};
use std::path::PathBuf;

use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use whence_shared::shares::NewBundle;

use super::body::JsonBody;
use super::chunks::blocking;
use super::error::RequestError;
use super::shares::only_editors;
use super::{State, data_files};
use crate::files::hex;
use crate::progress::silent;
use crate::report::{ReportOptions, report};
use crate::view::choice::Choice;

/// Answers `POST /api/v1/report`.
pub async fn make(
    Extract(state): Extract<State>,
    JsonBody(asked): JsonBody<NewBundle>,
) -> Result<Response, RequestError> {
    only_editors(&state)?;
    let name = format!("{}.zip", state.study.name());
    let scratch = blocking(move || {
        let scratch = Scratch::create()?;
        let choice = Choice::from(asked);
        let options = ReportOptions { out: scratch.archive(), is_zip: true, choice, replace: false };
        report(&state.study, &state.app, &options, &silent)?;
        Ok(scratch)
    })
    .await?;
    // The whole file, whatever was asked for with ranges; what is open is read to its end though its name goes.
    let mut response = data_files::serve(scratch.archive(), &name, Request::new(Body::empty())).await?;
    blocking(move || {
        drop(scratch);
        Ok(())
    })
    .await?;
    let headers = response.headers_mut();
    as_download(headers, &name);
    // It is no file that could be asked for again.
    headers.remove(header::LAST_MODIFIED);
    headers.remove(header::ETAG);
    headers.remove(header::ACCEPT_RANGES);
    Ok(response)
}

/// Says of an answer that it is an archive to be saved under this name.
pub fn as_download(headers: &mut HeaderMap, name: &str) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::CONTENT_DISPOSITION, attachment(name));
}

/// A name that a header can hold; the folder of a study may be called anything.
fn attachment(name: &str) -> HeaderValue {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' }).collect();
    HeaderValue::from_str(&format!("attachment; filename=\"{plain}\"")).expect("plain text makes a header")
}

/// A folder of this user alone, gone with the value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    ///
    /// # Errors
    ///
    /// When the system makes none.
    pub fn create() -> Result<Self, RequestError> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| RequestError::study(error.to_string()))?;
        let path = std::env::temp_dir().join(format!("whence-report-{}-{}", std::process::id(), hex(&name)));
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(RequestError::study)?;
        Ok(Self(path))
    }

    /// Where the archive belongs.
    pub fn archive(&self) -> PathBuf {
        self.0.join("report.zip")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: what is left lies among other temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
