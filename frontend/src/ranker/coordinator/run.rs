//! A request of the page while it is answered: what was asked, how to cancel it, and when what was reached.

use std::cell::{Cell, RefCell};

use crate::fetch::{FetchError, Transfer};
use crate::protocol::{Progress, RankError, RankRequest};

/// A request under way.
pub(super) struct Run {
    pub(super) request: RankRequest,
    pub(super) transfer: Transfer,
    pub(super) start_ms: f64,
    pub(super) progress: RefCell<Progress>,
    /// Bytes of the session when the present step began.
    pub(super) n_bytes_before: Cell<u64>,
    /// When it began; none when it is accounted for.
    pub(super) step_ms: Cell<Option<f64>>,
    pub(super) told_ms: Cell<f64>,
    pub(super) reported_ms: Cell<f64>,
    pub(super) first_ms: Cell<Option<f64>>,
    pub(super) certified: Cell<Option<(f64, u64)>>,
    pub(super) exact: Cell<Option<(f64, u64)>>,
}

impl Run {
    pub(super) fn is_over(&self) -> bool {
        self.transfer.is_cancelled()
    }

    /// # Errors
    ///
    /// When the request was cancelled.
    pub(super) fn go_on(&self) -> Result<(), RankError> {
        if self.is_over() { Err(cancelled()) } else { Ok(()) }
    }
}

fn cancelled() -> RankError {
    RankError::Fetch(FetchError::Cancelled { path: String::new() })
}
