//! Models by name: `org/name[@revision]` becomes a folder on this machine. Stands before [`super::folder`], which opens it.
//!
//! Downloads go into the cache that Python's `huggingface_hub` uses, in its layout, so that neither downloads what the
//! other has. Only what this program reads is fetched: configuration, tokenizer, chat template and safetensors weights;
//! never pickled ones. [`super::download`] fetches one file; this file decides which, and from where.
//!
//! ```text
//! CACHE/models--org--name/refs/REVISION              the commit that a branch or tag was at when last asked
//!                        /snapshots/COMMIT/FILE      a link into blobs
//!                        /blobs/ETAG                 contents; ETAG.part while they are being downloaded
//!                        /.no_exist/COMMIT/FILE      empty: this commit has no such file
//! ```

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use serde_json::Value;
use thiserror::Error;

use super::download::{self, Listing, RemoteFile};
use crate::files::{self, Context, FileError};
use crate::progress::Report;

/// Files without which there is no model, beside the weights.
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Files that are read where a model has them.
const OPTIONAL: [&str; 4] =
    ["generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"];
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const DEFAULT_REVISION: &str = "main";

/// Why a model's name did not become a folder. Every variant names the repository and what to do.
#[derive(Debug, Error)]
pub enum HubError {
    /// The name is neither a folder nor a repository's name.
    #[error("{reference:?}: {reason}; expected a model folder, or org/name or org/name@revision on the hub")]
    Reference {
        /// As typed.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The hub does not know it, or does not admit to.
    #[error(
        "{repo}: there is no such folder here and no such model at {endpoint}, or it is private; check the name, or set \
         HF_TOKEN to a token of an account that may read it (now: {token})"
    )]
    NotFound {
        /// `org/name`.
        repo: String,
        /// The hub's address.
        endpoint: String,
        /// Where the token came from.
        token: String,
    },
    /// Its owner lets only some read it.
    #[error(
        "{repo}: {file}: the hub refuses access: accept the model's terms at {endpoint}/{repo}, then run the same command \
         with HF_TOKEN set to a token of that account that may read gated models (now: {token})"
    )]
    Gated {
        /// `org/name`.
        repo: String,
        /// The file that was asked for.
        file: String,
        /// The hub's address.
        endpoint: String,
        /// Where the token came from.
        token: String,
    },
    /// No such branch, tag or commit.
    #[error("{repo}: there is no revision {revision:?}; look at {endpoint}/{repo}/commits/main for those there are")]
    Revision {
        /// `org/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// The hub's address.
        endpoint: String,
    },
    /// The repository lacks a file.
    #[error("{repo}@{revision}: the repository has no {file}{remedy}")]
    MissingFile {
        /// `org/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// The file.
        file: String,
        /// What to do, starting with `; `, or empty.
        remedy: &'static str,
    },
    /// The index of the weights is not what it should be.
    #[error("{path}: expected \"weight_map\" to name safetensors files beside it, got {got}", path = path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What it says.
        got: String,
    },
    /// No connection, or an answer of no use. Trying later may help.
    #[error(
        "{repo}: {file}: cannot be had from {endpoint}: {reason}; check the network, or set HF_ENDPOINT to a mirror; what \
         was downloaded is kept, and the same command continues it"
    )]
    Unreachable {
        /// `org/name`.
        repo: String,
        /// The file that was asked for.
        file: String,
        /// The hub's address.
        endpoint: String,
        /// What went wrong.
        reason: String,
    },
    /// The connection is open but nothing comes.
    #[error("{repo}: {file}: {endpoint}: {reason}; run the same command again: it continues where this one stopped")]
    Stalled {
        /// `org/name`.
        repo: String,
        /// The file that was asked for.
        file: String,
        /// The hub's address.
        endpoint: String,
        /// How long.
        reason: String,
    },
    /// HF_HUB_OFFLINE is set and the cache does not have everything.
    #[error("{repo}@{revision}: {file} is not in {cache} and HF_HUB_OFFLINE is set: unset it to download", cache = cache.display())]
    Offline {
        /// `org/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// The first file that is absent.
        file: String,
        /// The cache.
        cache: PathBuf,
    },
    /// What arrived is not what the hub announced.
    #[error("{repo}: {file}: expected {expected}, got {got}; it was removed: run the same command again")]
    Damaged {
        /// `org/name`.
        repo: String,
        /// The file.
        file: String,
        /// Size or hash.
        expected: String,
        /// Size or hash.
        got: String,
    },
    /// Another process is downloading the same file.
    #[error("{repo}: {file}: another process is downloading it (lock {lock}); wait for it, then run again", lock = lock.display())]
    Locked {
        /// `org/name`.
        repo: String,
        /// The file.
        file: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedModel {
    /// A folder in Hugging Face's layout.
    pub folder: PathBuf,
    /// Something the user should know, such as that the hub could not be asked.
    pub remark: Option<String>,
}

/// A token and where it came from; never printed.
#[derive(Clone)]
pub struct Token {
    /// The secret.
    pub text: String,
    /// `HF_TOKEN` or the path of a file.
    pub origin: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(from {})", self.origin)
    }
}

/// Where the hub and its cache are.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The cache's folder, which holds `models--org--name`.
    pub cache: PathBuf,
    /// Address without a final slash.
    pub endpoint: String,
    /// Sent to the endpoint, never to hosts it redirects to.
    pub token: Option<Token>,
    /// Never ask: use what is in the cache.
    pub offline: bool,
    /// How often a request is tried again when nothing more arrives.
    pub n_retries: u32,
    /// Wait before the first of these; doubled before each further one.
    pub retry_wait: Duration,
    /// A connection that delivers nothing for so long is given up.
    pub stall: Duration,
}

impl Hub {
    /// As the environment says, by the variables that `huggingface_hub` reads: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME;
    /// HF_ENDPOINT; HF_TOKEN, HF_TOKEN_PATH; HF_HUB_OFFLINE.
    pub fn from_env() -> Self {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let is_set = |name: &str| {
            env::var(name).is_ok_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
        };
        let home = variable("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
            caches.unwrap_or_else(|| env::home_dir().unwrap_or_default().join(".cache")).join("huggingface")
        });
        let cache = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        let token_file = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let named = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
            .into_iter()
            .find_map(|name| Some(Token { text: env::var(name).ok()?, origin: name.into() }));
        let stored =
            || Some(Token { text: fs::read_to_string(&token_file).ok()?, origin: token_file.display().to_string() });
        let token = if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") { None } else { named.or_else(stored) };
        let token = token.map(|token| Token { text: token.text.trim().to_owned(), ..token });
        let endpoint = env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        Self {
            cache: cache.unwrap_or_else(|| home.join("hub")),
            endpoint: endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.into()).trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.text.is_empty()),
            offline: is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE"),
            n_retries: 4,
            retry_wait: Duration::from_secs(1),
            stall: Duration::from_secs(60),
        }
    }

    /// Where the token came from, for messages.
    pub(super) fn token_origin(&self) -> String {
        self.token.as_ref().map_or_else(|| "none".into(), |token| format!("from {}", token.origin))
    }

    /// Finds a model: a folder as it is, or `org/name[@revision]` from the cache or the hub.
    ///
    /// A path never touches the network; nor does a full commit hash whose files are all in the cache. Of a branch or
    /// tag the hub is asked where it is; when it cannot be reached, the files of the last time are used, with a remark.
    ///
    /// # Errors
    ///
    /// [`HubError`]; whatever was downloaded is kept and continued by the next call.
    pub fn resolve(&self, reference: &Path, report: Report) -> Result<ResolvedModel, HubError> {
        let Some(text) = reference.to_str().filter(|text| !is_path(text)) else {
            return Ok(ResolvedModel { folder: reference.to_owned(), remark: None });
        };
        let wanted = Wanted::parse(text, &self.cache)?;
        if self.offline {
            return match self.cached(&wanted) {
                Ok(folder) => Ok(ResolvedModel { folder, remark: None }),
                Err(file) => Err(HubError::Offline {
                    repo: wanted.repo,
                    revision: wanted.revision,
                    file,
                    cache: self.cache.clone(),
                }),
            };
        }
        if wanted.is_commit()
            && let Ok(folder) = self.cached(&wanted)
            && OPTIONAL.iter().all(|file| folder.join(file).exists() || wanted.is_known_absent(file))
        {
            return Ok(ResolvedModel { folder, remark: None });
        }
        match download::ask(self, &wanted) {
            Ok(listing) => {
                let folder = self.complete(&wanted, &listing, report)?;
                Ok(ResolvedModel { folder, remark: None })
            }
            Err(HubError::Unreachable { reason, .. }) if self.cached(&wanted).is_ok() => {
                let folder = self.cached(&wanted).unwrap_or_default();
                let remark = format!(
                    "{} cannot be reached ({reason}): using {text} as downloaded earlier, {}",
                    self.endpoint,
                    name_of(&folder).unwrap_or_default()
                );
                Ok(ResolvedModel { folder, remark: Some(remark) })
            }
            Err(error) => Err(error),
        }
    }

    /// The snapshot in the cache if it has all that every model needs, else the first file it lacks.
    fn cached(&self, wanted: &Wanted) -> Result<PathBuf, String> {
        let commit = wanted.cached_commit().ok_or_else(|| REQUIRED[0].to_owned())?;
        let folder = wanted.cache.pointer_path(&commit);
        let lacks = |file: &str| !folder.join(file).is_file();
        if let Some(file) = REQUIRED.into_iter().find(|file| lacks(file)) {
            return Err(file.to_owned());
        }
        if lacks(SINGLE) {
            let shards = weight_files(&folder.join(INDEX)).map_err(|_| SINGLE.to_owned())?;
            if let Some(file) = shards.into_iter().find(|file| lacks(file)) {
                return Err(file);
            }
        }
        Ok(folder)
    }

    /// Downloads what the snapshot lacks.
    fn complete(&self, wanted: &Wanted, listing: &Listing, report: Report) -> Result<PathBuf, HubError> {
        let missing = |file: &str, remedy: &'static str| HubError::MissingFile {
            repo: wanted.repo.clone(),
            revision: wanted.revision.clone(),
            file: file.to_owned(),
            remedy,
        };
        if !listing.commit.bytes().all(|byte| byte.is_ascii_hexdigit()) || listing.commit.is_empty() {
            return Err(self.unreachable(wanted, "the list of files", format!("{:?} is not a commit", listing.commit)));
        }
        let folder = wanted.cache.pointer_path(&listing.commit);
        if let Some(file) = REQUIRED.into_iter().find(|file| listing.file(file).is_none()) {
            return Err(missing(file, "; only models with a config.json and a tokenizer.json can be read"));
        }
        let is_single = listing.file(SINGLE).is_some();
        if !is_single && listing.file(INDEX).is_none() {
            let remedy = "; pickled weights are never loaded: look for a revision or a copy with safetensors";
            return Err(missing("model.safetensors or model.safetensors.index.json", remedy));
        }
        let mut files: Vec<&RemoteFile> = Vec::new();
        for name in REQUIRED.into_iter().chain(OPTIONAL) {
            match listing.file(name) {
                Some(file) => files.push(file),
                None => files::write(&wanted.absent(&listing.commit, name), b"")?,
            }
        }
        files.extend(listing.file(if is_single { SINGLE } else { INDEX }));
        download::fetch(self, wanted, listing, &files, report)?;
        if !is_single {
            let shards = weight_files(&folder.join(INDEX))?;
            let shards: Vec<&RemoteFile> = shards
                .iter()
                .map(|name| listing.file(name).ok_or_else(|| missing(name, ", which its index names")))
                .collect::<Result<_, _>>()?;
            download::fetch(self, wanted, listing, &shards, report)?;
        }
        // Last: a ref in the cache means that its snapshot is whole.
        if !wanted.is_commit() && wanted.cached_commit().as_ref() != Some(&listing.commit) {
            files::write(&wanted.ref_path(), listing.commit.as_bytes())?;
        }
        Ok(folder)
    }

    pub(super) fn unreachable(&self, wanted: &Wanted, file: &str, reason: String) -> HubError {
        let (repo, endpoint) = (wanted.repo.clone(), self.endpoint.clone());
        HubError::Unreachable { repo, file: file.to_owned(), endpoint, reason }
    }
}

/// Whether this is a folder or can only be meant as one.
fn is_path(reference: &str) -> bool {
    let name = reference.split('@').next().unwrap_or_default();
    Path::new(reference).is_dir()
        || ["./", "../", "/", "~", ".\\"].iter().any(|start| reference.starts_with(start))
        || name.matches('/').count() != 1
        || name.ends_with('/')
}

/// A repository and revision, and their places in the cache.
pub(super) struct Wanted {
    pub repo: String,
    pub revision: String,
    pub cache: CacheRepo,
    root: PathBuf,
}

impl Wanted {
    fn parse(reference: &str, cache: &Path) -> Result<Self, HubError> {
        let wrong = |reason| HubError::Reference { reference: reference.to_owned(), reason };
        let (repo, revision) = reference.split_once('@').unwrap_or((reference, DEFAULT_REVISION));
        let is_plain = |part: &str| {
            !part.is_empty()
                && part.len() <= 96
                && !part.starts_with(['.', '-'])
                && !part.contains("..")
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if !repo.split('/').all(is_plain) {
            return Err(wrong("no such folder, and not a repository's name either"));
        }
        // A revision becomes part of a path in the cache.
        if !revision.split('/').all(is_plain) {
            return Err(wrong("the part after @ is no branch, tag or commit"));
        }
        let named = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned());
        let root = cache.join(named.folder_name());
        let cache = Cache::new(cache.to_owned()).repo(named);
        Ok(Self { repo: repo.to_owned(), revision: revision.to_owned(), cache, root })
    }

    /// Whether the revision is a full commit hash, which never means anything else later.
    fn is_commit(&self) -> bool {
        self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// The commit that the revision is, as far as the cache knows.
    fn cached_commit(&self) -> Option<String> {
        if self.is_commit() {
            return Some(self.revision.clone());
        }
        let commit = fs::read_to_string(self.ref_path()).ok()?.trim().to_owned();
        (!commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(commit)
    }

    fn ref_path(&self) -> PathBuf {
        self.root.join("refs").join(&self.revision)
    }

    /// The ref that the download library makes of a commit hash, and Python does not.
    pub fn needless_ref(&self, commit: &str) -> PathBuf {
        self.root.join("refs").join(commit)
    }

    fn absent(&self, commit: &str, file: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(file)
    }

    fn is_known_absent(&self, file: &str) -> bool {
        self.cached_commit().is_some_and(|commit| self.absent(&commit, file).is_file())
    }
}

/// The files that an index of sharded weights names, sorted.
fn weight_files(index: &Path) -> Result<Vec<String>, HubError> {
    let wrong = |got: String| HubError::Index { path: index.to_owned(), got };
    let bytes = fs::read(index).at("read", index)?;
    let json: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let map = json.get("weight_map").and_then(Value::as_object).ok_or_else(|| wrong("none".into()))?;
    let mut names = Vec::new();
    for value in map.values() {
        // The name becomes a path: nothing that leads elsewhere.
        let is_plain = |name: &&str| name.ends_with(".safetensors") && !name.contains(['/', '\\']);
        let name = value.as_str().filter(is_plain).ok_or_else(|| wrong(value.to_string()))?;
        names.push(name.to_owned());
    }
    names.sort();
    names.dedup();
    if names.is_empty() { Err(wrong("an empty one".into())) } else { Ok(names) }
}

/// `org/name@COMMIT` of a folder in the cache; `None` for any other folder.
pub fn name_of(folder: &Path) -> Option<String> {
    let commit = folder.file_name()?.to_str()?;
    let snapshots = folder.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "snapshots"))?;
    let repo = snapshots.parent()?.file_name()?.to_str()?.strip_prefix("models--")?;
    Some(format!("{}@{}", repo.replacen("--", "/", 1), commit.get(..12).unwrap_or(commit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_names() {
        for path in ["./a/b", "../a/b", "/a", "a", "a/b/c", "~/a", ".", "a/"] {
            assert!(is_path(path), "{path}");
        }
        for name in ["org/name", "org/name@main", "org/name@refs/pr/1", "org/na.me-1_x"] {
            assert!(!is_path(name), "{name}");
        }
    }

    #[test]
    fn names_that_lead_out_of_the_cache_are_refused() {
        let cache = Path::new("cache");
        for wrong in ["org/..", "../name", "org/na me", "org/name@", "org/name@../../x", "org/name@/etc", "-o/name"] {
            assert!(Wanted::parse(wrong, cache).is_err(), "{wrong}");
        }
        let wanted = Wanted::parse("org/name@refs/pr/1", cache).unwrap();
        assert_eq!((wanted.repo.as_str(), wanted.revision.as_str()), ("org/name", "refs/pr/1"));
        assert_eq!(wanted.ref_path(), Path::new("cache/models--org--name/refs/refs/pr/1"));
    }

    #[test]
    fn a_snapshot_is_called_by_its_repository() {
        let folder = Path::new("hub/models--org--na--me/snapshots/0123456789abcdef0123456789abcdef01234567");
        assert_eq!(name_of(folder).unwrap(), "org/na--me@0123456789ab");
        assert_eq!(name_of(Path::new("olmo")), None);
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = Token { text: "hf_secret".into(), origin: "HF_TOKEN".into() };
        assert!(!format!("{token:?}").contains("secret"));
    }
}
