//! Shares: read-only links to a part of a study that a server answers, and the same part as one file, as the app sees them.
//!
//! ```text
//! GET  api/v1/shares               Vec<ShareView>            all of them, the newest first
//! POST api/v1/shares               NewShare -> ShareMade     the link is told here and never again
//! POST api/v1/shares/ID/revoke     {}       -> ShareView
//! POST api/v1/report               NewBundle -> a .zip       what `whence report` writes, in one answer
//! POST api/v1/bundles              NewBundle -> BundleMaking the same in the background; ends the one made before
//! GET  api/v1/bundles              Vec<BundleMaking>         the one that is made or ready, if any
//! GET  api/v1/bundles/ID           BundleMaking              how far it is
//! POST api/v1/bundles/ID/cancel    {}        -> BundleMaking ends it, and removes what there is of it
//! GET  api/v1/bundles/ID/file      the .zip, once it is ready
//! GET  s/TOKEN/                    the app, with the shared part of the study below `data/`, as in a bundle
//! ```
//!
//! A token is 128 random bits in hex. Only its hash is stored. Whoever has the link reads the shared part, and nothing else;
//! whether others reach the server at all is for `whence serve` to say (`--host`, `--shares`).
//!
//! What is asked for with a field that it does not have is refused as malformed, naming the field: misspelt, what was to be left out
//! would be shown.

use serde::{Deserialize, Serialize};

use crate::api::ApiError;

/// What to share.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewShare {
    /// What it is called, for whoever revokes it one day; may be empty.
    #[serde(default)]
    pub label: String,
    /// Names of behaviors; all when absent, also those to come.
    #[serde(default)]
    pub behaviors: Option<Vec<String>>,
    /// Layers; all when absent.
    #[serde(default)]
    pub layers: Option<Vec<usize>>,
    /// Whether the texts of pairs are shown.
    #[serde(default)]
    pub texts: bool,
    /// Whether pair vectors are not shown: then the index alone ranks.
    #[serde(default)]
    pub no_vectors: bool,
    /// Seconds after which the link ends; never when absent.
    #[serde(default)]
    pub expires_in_seconds: Option<u64>,
}

/// A bundle to make: the app and a part of the study as one archive, for any web server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBundle {
    /// Names of behaviors; all when absent.
    #[serde(default)]
    pub behaviors: Option<Vec<String>>,
    /// Layers; all with vectors when absent.
    #[serde(default)]
    pub layers: Option<Vec<usize>>,
    /// Whether the texts of pairs are in it.
    #[serde(default)]
    pub texts: bool,
    /// Whether pair vectors are left out: then the index alone ranks.
    #[serde(default)]
    pub no_vectors: bool,
}

/// A bundle that a server makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleMaking {
    /// Its number: another one for each, also of another server.
    pub id: u64,
    /// What was asked for.
    pub asked: NewBundle,
    /// How far it is.
    pub state: BundleState,
    /// What is being done: `nearest`, `bundle`…; empty before anything is.
    pub stage: String,
    /// Of that, units done.
    pub n_done: u64,
    /// Units in all; 0 when not known.
    pub n_total: u64,
    /// What a unit is, such as `files`.
    pub unit: String,
    /// Bytes of the archive; not before it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_bytes: Option<u64>,
    /// Why it failed; not unless it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// How far a bundle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BundleState {
    /// Under way.
    Making,
    /// Its file can be downloaded, until it is canceled, another is asked for or the server ends.
    Ready,
    /// It could not be made.
    Failed,
    /// It was ended.
    Canceled,
}

/// A share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareView {
    /// Its number, from 1.
    pub id: u64,
    /// What it is called.
    pub label: String,
    /// Names of behaviors; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behaviors: Option<Vec<String>>,
    /// Layers; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// Whether the texts of pairs are shown.
    pub texts: bool,
    /// Whether pair vectors are not shown.
    pub no_vectors: bool,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub created_unix_ms: u64,
    /// When it ends; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_ms: Option<u64>,
    /// When it was revoked; not when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_unix_ms: Option<u64>,
    /// Whether the link is answered now.
    pub is_open: bool,
}

/// A share that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareMade {
    /// The share.
    pub share: ShareView,
    /// The link's path on this server: `/s/TOKEN/`.
    pub path: String,
}
