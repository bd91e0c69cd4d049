//! Why a task stopped: what went wrong and what the person at the keyboard can do about it.

/// What went wrong and the remedy.
#[derive(Debug)]
pub enum Failure {
    /// Printed by [`Failure::print`].
    Told {
        /// What went wrong.
        what: String,
        /// What to install or do.
        remedy: String,
    },
    /// The test runner has said it all: its summary stays the last thing on the screen.
    TestsFailed,
}

impl Failure {
    /// A failure with its remedy.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Told { what: what.into(), remedy: remedy.into() }
    }

    /// Prints it to standard error.
    pub fn print(&self) {
        if let Self::Told { what, remedy } = self {
            eprintln!("error: {what}\n{remedy}");
        }
    }
}
