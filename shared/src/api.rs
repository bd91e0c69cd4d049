//! `/api/v1`: what the app and the server say to each other about decisions, edit sets and errors, as JSON. The server
//! answers it ([`VERSION`]); `/api/v1/openapi.json` describes every address.
//!
//! ```text
//! GET  api/v1                          ServerView         what this server can do
//! GET  api/v1/decisions                Decisions          the worklist, in the order of time
//! PUT  api/v1/decisions                PutDecisions    -> DecisionsChange
//! POST api/v1/decisions/change         ChangeDecisions -> DecisionsChange     some pairs only
//! POST api/v1/decisions/rule           DecisionRule    -> DecisionsChange     the top or bottom of a stored ranking
//! POST api/v1/decisions/undo, …/redo   AtVersion       -> DecisionsChange
//! GET  api/v1/decisions/history        Vec<DecisionStep>  what was done, first step first, undone ones last
//! GET  api/v1/edits                    Vec<EditSetView>
//! POST api/v1/edits                    MakeEditSet     -> EditSetView         of the decisions, through `whence edit`
//! ```
//!
//! A study has one worklist. Each pair is in it at most once: deciding again replaces the decision and moves it to the
//! end. Every change makes a new *version*, a number that only grows. Who changes something says which version they
//! saw; if it is no longer the present one, the answer is status 409 with [`ErrorKind::Changed`], nothing is changed, and
//! the remedy is to `GET` again. The answer to a change is what is different now ([`DecisionsChange`]): apply `removed`,
//! then append `decided`, and you have the list that `GET` would give. Undo and redo are changes like any other.
//!
//! Every error has the same form ([`ApiError`]), below `/data` too. Requests with a body need `Content-Type: application/json`, and
//! the body is an object without fields that are not described.
//! A study is served by such a server when [`StudyView::api`](crate::study::StudyView::api) is true; its address is
//! `../api/v1/` as seen from the folder of study.json. A static folder has none: then decisions stay in the browser.

use serde::{Deserialize, Serialize};

/// The version in the address: `/api/v1`.
pub const VERSION: &str = "v1";

/// Most bytes of a [`Decision::note`].
pub const MAX_NOTE_BYTES: usize = 4096;

/// What to do with one pair before the model is trained again.
pub use crate::edit::Decision as Action;

/// What somebody decided about one pair. `keep` says that the pair was looked at and is to stay; a pair without a
/// decision stays too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Row of the pair, from 0.
    pub row: usize,
    /// The pair's id. Together with `row` it names the pair: if row and id disagree, the decision is refused.
    pub id: String,
    /// What to do with it.
    pub action: Action,
    /// Why, in the reader's words; at most [`MAX_NOTE_BYTES`]; may be empty or left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The worklist.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Decisions {
    /// Version of the list; 0 = nothing was ever decided.
    pub version: u64,
    /// The decisions, in the order in which they were made; one per pair.
    pub decisions: Vec<Decision>,
    /// Decisions about pairs that the study no longer holds, after an import of other pairs. They are kept and not
    /// carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Decision>,
    /// What undo would take back, as its step is called; absent when there is nothing to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// What redo would do again; absent when there is nothing to redo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redo: Option<String>,
}

/// The whole list instead of the present one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutDecisions {
    /// The version that this list was made of.
    pub version: u64,
    /// What the step is called in the history; what changed is said when it is empty or left out.
    #[serde(default)]
    pub label: String,
    /// The decisions, in the order of time; one per pair.
    pub decisions: Vec<Decision>,
}

/// Decisions about some pairs; those about all others stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeDecisions {
    /// The version that the reader saw.
    pub version: u64,
    /// As in [`PutDecisions::label`].
    #[serde(default)]
    pub label: String,
    /// New decisions, in the order of time.
    #[serde(default)]
    pub decide: Vec<Decision>,
    /// Rows of pairs that are to have no decision any more.
    #[serde(default)]
    pub remove: Vec<usize>,
}

/// Which end of a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RankingEnd {
    /// The pairs that push hardest toward the behavior.
    #[default]
    Top,
    /// The pairs that push hardest away from it.
    Bottom,
}

/// One decision about all of the first or last pairs of a stored ranking (`whence rank`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRule {
    /// The version that the reader saw.
    pub version: u64,
    /// The behavior that the ranking is of.
    pub behavior: String,
    /// Its layer.
    pub layer: usize,
    /// Which end.
    #[serde(default)]
    pub end: RankingEnd,
    /// How many pairs, from that end; at least 1.
    pub n: usize,
    /// What to do with them.
    pub action: Action,
    /// The note of every decision; the rule in words when it is empty or left out.
    #[serde(default)]
    pub note: String,
    /// Whether pairs that were decided already are left as they were decided.
    #[serde(default)]
    pub keep_decided: bool,
}

/// The version that the reader saw, for undo and redo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtVersion {
    /// The version.
    pub version: u64,
}

/// What a change made different. To follow it: take the pairs of `removed` and of `decided` out of the list, then append
/// `decided`. After undo and redo the order of the list may be another: where `is_reordered`, read the whole list again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DecisionsChange {
    /// Version of the list now.
    pub version: u64,
    /// Decisions that are new or other than before, in the order of time.
    pub decided: Vec<Decision>,
    /// Rows that have no decision any more, ascending.
    pub removed: Vec<usize>,
    /// Whether what is not in `decided` stands in another order than before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_reordered: bool,
    /// As in [`Decisions::undo`], now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// As in [`Decisions::redo`], now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redo: Option<String>,
}

/// One step of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionStep {
    /// Its number, from 1.
    pub number: u64,
    /// What was done, such as `top 500 of obeys at layer 10: switch`.
    pub label: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at_unix_ms: u64,
    /// Pairs whose decision changed.
    pub n_pairs: usize,
    /// Whether it has been undone.
    pub is_undone: bool,
}

/// Makes an edit set of the decisions, as `whence edit --decisions` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MakeEditSet {
    /// Name of the edit set: letters, digits, `-` and `_`, at most 64.
    pub name: String,
    /// The version that the reader saw.
    pub version: u64,
    /// Whether an edit set of this name may be replaced.
    #[serde(default)]
    pub replace: bool,
}

/// One edit set of the study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditSetView {
    /// Its name.
    pub name: String,
    /// How it was made, in words.
    pub how: String,
    /// Pairs of the study.
    pub n_pairs: usize,
    /// Pairs that it drops.
    pub n_dropped: usize,
    /// Pairs that it switches.
    pub n_switched: usize,
    /// SHA-256 of its file, in hex.
    pub sha256: String,
    /// What a reader should know before training on it; only when it was just made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a server can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// Version of Whence.
    pub whence: String,
    /// Name of the study.
    pub study: String,
    /// Whether decisions and edit sets can be changed; when not, what only reads still works.
    pub can_edit: bool,
    /// Whether it runs jobs ([`crate::jobs`]).
    pub can_run_jobs: bool,
    /// Whether others than this machine reach its read-only links ([`crate::shares`]).
    #[serde(default)]
    pub others_reach_links: bool,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What went wrong, in a sentence without a final dot.
    pub error: String,
    /// Which kind of trouble it is.
    pub kind: ErrorKind,
    /// What to do about it; may be empty.
    pub hint: String,
}

/// Kinds of trouble; what a program decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// 404: there is no such thing.
    NotFound,
    /// 405: the address is there, but not for this method.
    Method,
    /// 421: a host name that is not this machine's.
    Host,
    /// 403: asked by a page of another site.
    Origin,
    /// 403: this server only reads.
    ReadOnly,
    /// 415: the body is not said to be JSON.
    NotJson,
    /// 400: a request that asks for what cannot be.
    Malformed,
    /// 413: a request that asks for too much at once.
    TooLarge,
    /// 409: what is asked about is no longer what it was; read it again.
    Changed,
    /// 403: this server runs no jobs.
    NoJobs,
    /// 409: the name is taken.
    Exists,
    /// 409: `whence.db` was written by a newer version of Whence.
    Newer,
    /// 500: the study on disk cannot be read or written; the server's log says why.
    Study,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::NotFound,
        Self::Method,
        Self::Host,
        Self::Origin,
        Self::ReadOnly,
        Self::NotJson,
        Self::Malformed,
        Self::TooLarge,
        Self::Changed,
        Self::NoJobs,
        Self::Exists,
        Self::Newer,
        Self::Study,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_read_as_they_are_described() {
        let json = r#"{"version":3,"decisions":[{"row":7,"id":"a","action":"drop","note":"wrong"},{"row":0,"id":"b","action":"keep"}],"undo":"1 pair: keep"}"#;
        let list: Decisions = serde_json::from_str(json).unwrap();
        assert_eq!((list.version, list.decisions.len(), list.decisions[0].action), (3, 2, Action::Drop));
        assert_eq!(serde_json::to_string(&list).unwrap(), json, "what is empty is left out");
        let rule: DecisionRule =
            serde_json::from_str(r#"{"version":0,"behavior":"x","layer":2,"end":"bottom","n":5,"action":"switch"}"#)
                .unwrap();
        assert_eq!((rule.end, rule.keep_decided, rule.note.as_str()), (RankingEnd::Bottom, false, ""));
        assert_eq!(serde_json::to_string(&ErrorKind::NotFound).unwrap(), "\"not-found\"");
        assert_eq!(" Switch".parse::<Action>(), Ok(Action::Switch));
        assert!("swap".parse::<Action>().is_err());
    }
}
