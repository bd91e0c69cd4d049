//! Why a file did not arrive, and whether and when another try may bring it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Tries in a row that bring nothing before a download is given up.
const MAX_TRIES: u32 = 5;
/// Pause before the second try, in milliseconds; each further pause is twice as long.
const FIRST_PAUSE_MS: f64 = 250.0;
/// Longest pause, in milliseconds, unless the server asks for a longer one.
const MAX_PAUSE_MS: f64 = 8_000.0;
/// Longest pause that a server may ask for, in milliseconds.
const MAX_ASKED_PAUSE_MS: f64 = 30_000.0;

/// Why a file did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum FetchError {
    /// No answer at all, or one that broke off.
    #[error("{path}: no answer from the server ({reason})")]
    Unreachable {
        /// The file.
        path: String,
        /// What the browser said.
        reason: String,
    },
    /// An answer that is not the file.
    #[error("{path}: the server answered {status}")]
    Status {
        /// The file.
        path: String,
        /// HTTP status code.
        status: u16,
        /// Milliseconds the server asks to wait before trying again.
        retry_after_ms: Option<u32>,
    },
    /// Fewer or more bytes than announced.
    #[error("{path}: expected {expected} bytes, got {got}{more}", more = if got > expected { " or more" } else { "" })]
    Size {
        /// The file.
        path: String,
        /// As study.json says.
        expected: u64,
        /// Received.
        got: u64,
    },
    /// The server sends whole files only.
    #[error("{path}: the server does not answer Range requests: it sends whole files only")]
    NoRanges {
        /// The file.
        path: String,
    },
    /// It lies on the reader's machine and cannot be read there.
    #[error("{path}: {reason}")]
    Disk {
        /// The file.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Not the JSON it should be.
    #[error("{path}: {reason}")]
    Json {
        /// The file.
        path: String,
        /// What the parser said.
        reason: String,
    },
    /// Who asked no longer wants it.
    #[error("{path}: cancelled")]
    Cancelled {
        /// The file.
        path: String,
    },
}

impl FetchError {
    /// Whether the file itself is at fault: others from the same server may arrive.
    pub fn is_of_file(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cancelled { .. } => false,
            Self::Status { status, .. } => !is_passing(*status),
            Self::Size { .. } | Self::NoRanges { .. } | Self::Disk { .. } | Self::Json { .. } => true,
        }
    }

    /// Whether nothing answered that could have sent it: it may, when the server is back.
    pub fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => is_passing(*status),
            _ => false,
        }
    }

    /// Milliseconds to wait before another try after `n_vain` tries that brought nothing; `None` when none would help.
    pub(super) fn pause_ms(&self, n_vain: u32) -> Option<f64> {
        let asked_ms = match self {
            Self::Unreachable { .. } => None,
            Self::Status { status, retry_after_ms, .. } if is_passing(*status) => *retry_after_ms,
            // A body that ends early without a word is cut by some servers and short on others: one more try tells.
            Self::Size { expected, got, .. } if got < expected && n_vain <= 1 => None,
            _ => return None,
        };
        if n_vain >= MAX_TRIES {
            return None;
        }
        let own_ms = (FIRST_PAUSE_MS * 2f64.powi(n_vain.saturating_sub(1) as i32)).min(MAX_PAUSE_MS);
        // Jitter keeps many readers from coming back at the same moment.
        let jittered_ms = own_ms * (0.5 + js_sys::Math::random());
        Some(jittered_ms.max(asked_ms.map_or(0.0, |ms| f64::from(ms).min(MAX_ASKED_PAUSE_MS))))
    }
}

/// Whether the same request may well be answered a little later.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}
