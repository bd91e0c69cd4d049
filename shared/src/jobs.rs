//! Jobs: verbs that a server runs on its study, one after the other on each device, as the app sees them.
//!
//! ```text
//! GET  api/v1/jobs                 Vec<JobView>          all of them, the newest first
//! POST api/v1/jobs                 NewJob  -> JobView    puts one into the queue
//! GET  api/v1/jobs/ID              JobView
//! POST api/v1/jobs/ID/cancel       {}      -> JobView    safe at any moment: what is done is kept
//! POST api/v1/jobs/ID/retry        {}      -> JobView    the same command line again; it goes on where it stopped
//! GET  api/v1/jobs/ID/log?from=N   JobLog                what it printed, from byte N on
//! GET  api/v1/jobs/events          text/event-stream     a JobView as `data`, whenever one is other than before
//! ```
//!
//! A [`NewJob`] with a field that it does not have is refused as malformed, naming the field.
//!
//! A job is a child process, `whence VERB --study STUDY ARGUMENTS…`: [`JobView::command`] is what is run, to be copied into a
//! terminal. When the server ends, so do its jobs; they are [`JobState::Interrupted`] and can be retried.

use serde::{Deserialize, Serialize};

/// Verbs that can be jobs.
pub const VERBS: [&str; 13] = [
    "extract", "index", "behavior", "sweep", "rank", "tokens", "diagnose", "discover", "cluster", "map", "retrain",
    "evaluate", "validate",
];

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It waits for its device.
    Queued,
    /// It runs.
    Running,
    /// It ended well.
    Done,
    /// It ended with an error.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// The server ended while it ran.
    Interrupted,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled, Self::Interrupted];

    /// As JSON and the database have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// The state of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it waits or runs.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

/// A job to be queued. Fields that it does not have are refused: an argument under another name would be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// One of [`VERBS`].
    pub verb: String,
    /// What follows it on the command line, without `--study`.
    #[serde(default)]
    pub arguments: Vec<String>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its number, from 1.
    pub id: u64,
    /// The verb.
    pub verb: String,
    /// What follows it, without `--study`.
    pub arguments: Vec<String>,
    /// The whole command line, quoted for a shell.
    pub command: String,
    /// What it needs to itself: `cpu`, `auto`, or as `--device` names it.
    pub device: String,
    /// How it stands.
    pub state: JobState,
    /// Why it failed; empty when it did not.
    pub error: String,
    /// How often it was started.
    pub n_tries: u64,
    /// When it was queued, in milliseconds since 1970-01-01 UTC.
    pub created_unix_ms: u64,
    /// When it was last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_unix_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_unix_ms: Option<u64>,
    /// How far it is, while it runs and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<JobProgress>,
}

/// How far a verb is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JobProgress {
    /// What is being done: `extract`, `read`, `train`…
    pub stage: String,
    /// Units done.
    pub done: u64,
    /// Units in all; 0 when not known.
    pub total: u64,
    /// What a unit is: `pairs`, `steps`…
    pub unit: String,
    /// Anything else worth a glance; may be empty.
    pub detail: String,
    /// Units a second, since the stage began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// Seconds left of the stage at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
}

/// A part of what a job printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLog {
    /// First byte.
    pub from: u64,
    /// The byte after the last: where to go on.
    pub to: u64,
    /// The text; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// Whether nothing will follow.
    pub is_complete: bool,
}
