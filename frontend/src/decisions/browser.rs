//! Decisions kept by this browser: its local storage, under the hash of the study's pairs.

use sha2::{Digest, Sha256};
use whence_shared::edit::worklist::Worklist;
use whence_shared::study::StudyView;

use super::NotKept;

/// Where a study's worklist is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// What tells these pairs from others.
    pairs: String,
    n_pairs: usize,
}

/// The browser's storage, where it lets pages keep something.
pub fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.local_storage().ok().flatten()
}

impl Store {
    /// That of a study.
    pub fn of(study: &StudyView) -> Self {
        // Studies of old servers do not say which pairs they are of.
        let pairs = match study.pairs_sha256.as_str() {
            "" => format!("{}:{}", study.name, study.n_pairs),
            sha256 => sha256.to_owned(),
        };
        Self { pairs, n_pairs: study.n_pairs }
    }

    /// The name in the storage under which the worklist lies.
    pub fn key(&self) -> String {
        format!("whence-decisions:{}", self.pairs)
    }

    /// Beginning of the names under which changes lie that a backend does not have yet.
    pub fn unsent(&self) -> String {
        format!("whence-unsent:{}:", self.pairs)
    }

    /// Pairs of the study.
    pub fn n_pairs(&self) -> usize {
        self.n_pairs
    }

    /// What was kept; empty where nothing was.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn load(&self) -> Result<Worklist, NotKept> {
        match self.text()? {
            None => Ok(Worklist::default()),
            Some(json) => {
                Worklist::from_json(&json, self.n_pairs).map_err(|error| NotKept::Unreadable(error.to_string()))
            }
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    ///
    /// When the browser does not.
    pub fn save(&self, worklist: &Worklist) -> Result<(), NotKept> {
        let storage = storage().ok_or(NotKept::Forbidden)?;
        storage.set_item(&self.key(), &worklist.to_json()).map_err(|_| NotKept::Full)
    }

    /// What was kept, unless the reader was asked about it before.
    pub fn not_asked_about(&self) -> Option<Worklist> {
        let hash = self.hash()?;
        let asked = storage()?.get_item(&self.asked_key()).ok().flatten();
        if asked.as_ref() == Some(&hash) { None } else { self.load().ok() }
    }

    /// The reader was asked about what is kept.
    pub fn set_asked(&self) {
        if let (Some(storage), Some(hash)) = (storage(), self.hash()) {
            // Where it cannot be noted, the reader is asked again.
            let _ = storage.set_item(&self.asked_key(), &hash);
        }
    }

    fn asked_key(&self) -> String {
        format!("whence-decisions-asked:{}", self.pairs)
    }

    fn hash(&self) -> Option<String> {
        let json = self.text().ok().flatten()?;
        Some(Sha256::digest(json.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn text(&self) -> Result<Option<String>, NotKept> {
        storage().ok_or(NotKept::Forbidden)?.get_item(&self.key()).map_err(|_| NotKept::Forbidden)
    }
}
