//! Errors of requests as answers: the one place that maps an error to a status code.
//!
//! Every one is an [`ApiError`]: what was asked for, which kind of trouble it is, and what to do. Paths and messages of the
//! system stay in the server's log.

use std::io;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, http};
use thiserror::Error;
use whence_shared::api::{ApiError, ErrorKind};

use crate::data::config::ConfigError;
use crate::data::pairs::PairFileError;
use crate::edit::EditError;
use crate::files::FileError;
use crate::jobs::JobError;
use crate::report::ReportError;
use crate::store::StoreError;
use crate::view::ViewError;

/// Why a request is not answered.
#[derive(Debug, Error)]
pub enum RequestError {
    /// There is no such thing.
    #[error("{what} does not exist")]
    NotFound {
        /// What was asked for, as in the address.
        what: String,
        /// What there is, or what to do; may be empty.
        hint: String,
    },
    /// An address that does not answer this method.
    #[error("this address does not answer this method")]
    Method,
    /// A host name that is not this machine's.
    #[error("this server answers only under localhost and its own addresses")]
    Host,
    /// A page of another site.
    #[error("a page of another site may not change anything here")]
    Origin,
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
    /// The server only reads.
    #[error("this server only reads")]
    ReadOnly,
    /// The server runs no jobs.
    #[error("this server runs no jobs")]
    NoJobs,
    /// The name is taken.
    #[error("{0}")]
    Exists(String),
    /// What was stored was stored by a newer version.
    #[error("whence.db of this study was written by a newer version of Whence")]
    Newer,
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

    /// A part of a study that was asked for: the reader's mistake when the study lacks it.
    pub fn of_choice(error: ViewError) -> Self {
        match error {
            ViewError::Choice { asked, expected, .. } => Self::Malformed(format!("{asked}: expected {expected}")),
            other => Self::study(other),
        }
    }

    fn status(&self) -> (StatusCode, ErrorKind) {
        match self {
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, ErrorKind::NotFound),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Method),
            Self::Host => (StatusCode::MISDIRECTED_REQUEST, ErrorKind::Host),
            Self::Origin => (StatusCode::FORBIDDEN, ErrorKind::Origin),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorKind::NotJson),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, ErrorKind::Malformed),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge),
            Self::Changed(_) => (StatusCode::CONFLICT, ErrorKind::Changed),
            Self::ReadOnly => (StatusCode::FORBIDDEN, ErrorKind::ReadOnly),
            Self::NoJobs => (StatusCode::FORBIDDEN, ErrorKind::NoJobs),
            Self::Exists(_) => (StatusCode::CONFLICT, ErrorKind::Exists),
            Self::Newer => (StatusCode::CONFLICT, ErrorKind::Newer),
            Self::Study(_) => (StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Study),
        }
    }

    /// As the reader is told. What the system said goes to the server's log.
    pub fn told(&self) -> ApiError {
        let error = match self {
            Self::Study(source) => {
                tracing::error!("{source}");
                "the study cannot be read".to_owned()
            }
            other => other.to_string(),
        };
        ApiError { error, kind: self.status().1, hint: self.hint().to_owned() }
    }

    fn hint(&self) -> &str {
        match self {
            Self::NotFound { hint, .. } => hint,
            Self::Method => "/api/v1/openapi.json lists the methods of every address",
            Self::Host => {
                "open it under http://localhost or its address and port, or start `whence serve` with --allow-host NAME to \
                 have it answer under a name of yours"
            }
            Self::Origin => "use the app that this server serves, or send no Origin header",
            Self::NotJson => "add the header Content-Type: application/json",
            Self::Changed(_) => "read it again and decide anew",
            Self::ReadOnly => "start `whence serve` on a loopback address, or with --allow-edits",
            Self::NoJobs => {
                "start `whence serve` on a loopback address, or with --jobs; one server runs a study's jobs"
            }
            Self::Exists(_) => "choose another name, or ask for it to be replaced",
            Self::Newer => "update Whence; the file is left as it is",
            Self::Malformed(_) | Self::TooLarge(_) => "",
            Self::Study(_) => "the server's log says why; `whence inspect` says what is missing",
        }
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

impl From<ViewError> for RequestError {
    fn from(error: ViewError) -> Self {
        Self::study(error)
    }
}

impl From<StoreError> for RequestError {
    fn from(error: StoreError) -> Self {
        let said = error.to_string();
        match error {
            StoreError::Changed { .. } => Self::Changed(said),
            StoreError::Malformed(_) => Self::Malformed(said),
            StoreError::Newer { .. } => Self::Newer,
            StoreError::NoRanking { behavior, layer, .. } => Self::NotFound {
                what: format!("the ranking of {behavior:?} at layer {layer}"),
                hint: "`whence rank` makes it".into(),
            },
            StoreError::Edit(EditError::Exists { .. }) => Self::Exists("there is another edit set of this name".into()),
            StoreError::Edit(EditError::Decision { reason, .. }) => Self::Malformed(reason),
            StoreError::Edit(EditError::Name(_) | EditError::NothingLeft { .. } | EditError::Empty { .. }) => {
                Self::Malformed(said)
            }
            other => Self::study(other),
        }
    }
}

impl From<ReportError> for RequestError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::View(error) => Self::of_choice(error),
            other => Self::study(other),
        }
    }
}

impl From<JobError> for RequestError {
    fn from(error: JobError) -> Self {
        let said = error.to_string();
        match error {
            JobError::Store(error) => error.into(),
            JobError::Malformed(_) | JobError::State { .. } => Self::Malformed(said),
            JobError::Unknown(id) => Self::not_found(format!("job {id}")),
            other => Self::study(other),
        }
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let (status, _) = self.status();
        (status, [(http::header::CACHE_CONTROL, "no-store")], Json(self.told())).into_response()
    }
}
