//! How a verb tells its caller where it stands, without knowing whether that is a terminal, a job queue or a test.

/// Where a verb stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// What is being done: `extract`, `read`, `train`…
    pub stage: &'static str,
    /// Units done so far.
    pub done: u64,
    /// Units in all; 0 when not known.
    pub total: u64,
    /// What a unit is: `pairs`, `rows`, `steps`…
    pub unit: &'static str,
    /// Anything else worth a glance, such as a second rate; may be empty.
    pub detail: String,
}

/// A verb's progress callback. Cheap to call; called from any thread.
pub type Report<'a> = &'a (dyn Fn(Update) + Sync);

/// A [`Report`] that ignores everything, for callers with nothing to show.
pub fn silent(_: Update) {}
