//! `POST /api/v1/report`: a part of the study as the archive that `whence report` writes, made in a folder of its own that
//! nobody else reads and that is gone once the answer has the file open.

use std::fs::{self, DirBuilder};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

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
use crate::report::leftover;
use crate::report::{ReportOptions, report_until};
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
        report_until(&state.study, &state.app, &options, &silent, &|| state.is_over.load(Ordering::Relaxed))?;
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

/// How the name of a [`Scratch`] begins; its process and a random part follow.
const PREFIX: &str = "whence-report-";

/// Removes the folders of servers that were killed.
pub fn remove_left_behind() {
    remove_left_behind_in(&std::env::temp_dir());
}

fn remove_left_behind_in(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-')).and_then(|(id, rest)| {
                let is_ours = rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
                id.parse::<u32>().ok().filter(|_| is_ours)
            });
        if process.is_some_and(|process| leftover::is_left_behind(&entry.path(), process)) {
            // Best effort: it may be another user's.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
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
        let path = std::env::temp_dir().join(format!("{PREFIX}{}-{}", std::process::id(), hex(&name)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::leftover::NO_PROCESS;

    #[test]
    fn folders_of_servers_that_were_killed_are_removed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let random = "0123456789abcdef0123456789abcdef";
        let left = format!("{PREFIX}{NO_PROCESS}-{random}");
        let others = [
            format!("{PREFIX}{}-{random}", std::process::id()),
            format!("{PREFIX}{NO_PROCESS}-mine"),
            format!("{PREFIX}mine-{random}"),
            format!("my-{left}"),
        ];
        for name in others.iter().chain([&left]) {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("report.zip"), "x").unwrap();
        }
        leftover::make_old(&folder.path().join(&left));
        remove_left_behind_in(folder.path());
        assert!(!folder.path().join(&left).exists());
        for name in &others {
            assert!(folder.path().join(name).join("report.zip").is_file(), "{name}");
        }
    }
}
