//! Errors of requests as answers: the one place that maps an error to a status code.
//!
//! The reader is told what was asked for and what there is; paths and messages of the system stay in the server's log.

use std::io;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, http};
use serde_json::json;
use thiserror::Error;

use crate::data::config::ConfigError;
use crate::data::pairs::PairFileError;
use crate::files::FileError;

/// Why a request is not answered.
#[derive(Debug, Error)]
pub enum RequestError {
    /// There is no such thing.
    #[error("{what} does not exist{hint}")]
    NotFound {
        /// What was asked for, as in the address.
        what: String,
        /// What there is, or what to do; begins with `: ` or `; ` unless empty.
        hint: String,
    },
    /// A host name that is not this machine's.
    #[error("this server answers only under localhost and its own addresses")]
    Host,
    /// A body that is not JSON.
    #[error("expected a body of type application/json")]
    NotJson,
    /// A body that asks for what cannot be.
    #[error("{0}")]
    Malformed(String),
    /// A body that asks for too much at once.
    #[error("{0}")]
    TooLarge(String),
    /// What is asked for is no longer what it was.
    #[error("{0}")]
    Changed(String),
    /// The study on disk cannot be read.
    #[error("the study cannot be read: {0}")]
    Study(Box<dyn std::error::Error + Send + Sync>),
}

impl RequestError {
    /// Something that does not exist, with nothing more to say.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into(), hint: String::new() }
    }

    /// A file that could not be opened or read: absent as far as the reader is concerned, or the study's trouble.
    pub fn of_file(error: io::Error, what: impl Into<String>) -> Self {
        use io::ErrorKind::{InvalidFilename, IsADirectory, NotADirectory, NotFound};
        match error.kind() {
            NotFound | NotADirectory | IsADirectory | InvalidFilename => Self::not_found(what),
            _ => Self::study(error),
        }
    }

    /// A study that cannot be read.
    pub fn study(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Study(error.into())
    }
}

impl From<PairFileError> for RequestError {
    fn from(error: PairFileError) -> Self {
        Self::study(error)
    }
}

impl From<ConfigError> for RequestError {
    fn from(error: ConfigError) -> Self {
        Self::study(error)
    }
}

impl From<FileError> for RequestError {
    fn from(error: FileError) -> Self {
        Self::study(error)
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, self.to_string()),
            Self::Host => (StatusCode::MISDIRECTED_REQUEST, self.to_string()),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, self.to_string()),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, self.to_string()),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, self.to_string()),
            Self::Changed(_) => (StatusCode::CONFLICT, self.to_string()),
            Self::Study(source) => {
                tracing::error!("{source}");
                let said = "the study cannot be read; the server's log says why";
                (StatusCode::INTERNAL_SERVER_ERROR, said.to_owned())
            }
        };
        (status, [(http::header::CACHE_CONTROL, "no-store")], Json(json!({ "error": error }))).into_response()
    }
}
