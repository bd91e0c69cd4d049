//! Edits: which pairs to drop or to switch before the model is trained again. Between the ranking and the arms.
//!
//! An edit set is a named file of a study, `edits/NAME.parquet` ([`set_file`]). [`mod@make`] makes one of a ranking, of
//! sources, by chance ([`draw`]) or of anybody's decisions ([`decisions`]); [`overlap`] compares two; [`mod@export`] writes
//! the edited pairs in the forms that other trainers read. Retraining takes an [`EditSet`] and asks it, pair by pair, for
//! the [`Decision`].

pub mod conversations;
pub mod decisions;
pub mod draw;
pub mod export;
pub mod make;
pub mod overlap;
pub mod set_file;

pub use export::{ExportOptions, Exported, export};
pub use make::{Made, MakeOptions, Way, make};
pub use set_file::{load, names};
pub use whence_shared::edit::{Decision, edited};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use whence_shared::pair::Pair;

use crate::attribute::RankError;
use crate::data::lines::LinesError;
use crate::data::pairs::PairFileError;
use crate::extract::ExtractError;
use crate::files::{self, FileError};
use crate::study::{MAX_NAME_LEN, is_plain_name};

/// What stops an edit set from being made, read or exported.
#[derive(Debug, Error)]
pub enum EditError {
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ranking cannot be read.
    #[error(transparent)]
    Ranking(#[from] RankError),
    /// The remarks on the study's vectors cannot be read.
    #[error(transparent)]
    Remarks(#[from] ExtractError),
    /// The name cannot be a file name and part of an address.
    #[error("edit set name {0:?}: expected letters, digits, '-' and '_', at most 64 of them")]
    Name(String),
    /// There is no such edit set.
    #[error("no edit set {name:?} in {study}: {known}", study = study.display(), known = known(known_names))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The study.
        study: PathBuf,
        /// The edit sets there are.
        known_names: Vec<String>,
    },
    /// The name is taken.
    #[error("{path}: there is another edit set of this name: choose another --name, or pass --replace", path = path.display())]
    Exists {
        /// Its file.
        path: PathBuf,
    },
    /// An edit set file that cannot be understood.
    #[error("{path}: {reason}; run `whence edit` again with --replace", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An edit set or a ranking of other pairs.
    #[error("{path} was made from other pairs than pairs.parquet now holds (expected {expected}, got {got}): {remedy}", path = path.display())]
    OtherPairs {
        /// The edit set or ranking.
        path: PathBuf,
        /// What it was made from.
        expected: String,
        /// What is there.
        got: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A ranking of the study that was made before its direction or its vectors were.
    #[error("{path} was made from {difference} than the study has now: run `whence rank` again", path = path.display())]
    OtherDirection {
        /// The ranking.
        path: PathBuf,
        /// What differs.
        difference: &'static str,
    },
    /// No such ranking, or several to choose from.
    #[error("no ranking {asked:?} in {folder}: {known}", folder = folder.display(), known = known_rankings(known_names))]
    UnknownRanking {
        /// As asked for.
        asked: String,
        /// Where it was looked for.
        folder: PathBuf,
        /// What is there.
        known_names: Vec<String>,
    },
    /// A number that makes no sense.
    #[error("--{option}: expected {expected}, got {got}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is possible.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A source that no pair has.
    #[error("--source {name:?}: no pair has this source; expected one of {known}", known = known_names.join(", "))]
    UnknownSource {
        /// As given.
        name: String,
        /// The sources there are.
        known_names: Vec<String>,
    },
    /// A file of decisions that cannot be read.
    #[error(transparent)]
    Lines(#[from] LinesError),
    /// A line of decisions that cannot be carried out.
    #[error("{path} line {line}: {reason}", path = path.display())]
    Decision {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it and what is expected.
        reason: String,
    },
    /// Nothing would be left to train on.
    #[error("edit set {name:?} drops all {n_pairs} pairs of the study: leave some to train on")]
    NothingLeft {
        /// The edit set.
        name: String,
        /// Pairs in the study.
        n_pairs: usize,
    },
    /// An edit set without edits.
    #[error("edit set {name:?} would keep every pair as it is: {reason}")]
    Empty {
        /// The edit set.
        name: String,
        /// Why.
        reason: String,
    },
    /// Decisions asked for more or fewer pairs than the set was made for.
    #[error("edit set {name:?} is for {expected} pairs, asked for {got}")]
    Length {
        /// The edit set.
        name: String,
        /// Pairs it was made for.
        expected: usize,
        /// Pairs asked for.
        got: usize,
    },
    /// A pair that is not what the edit was decided on.
    #[error("row {row} (id {id:?}) is not the pair that edit set {name:?} was made for: {remedy}")]
    OtherPair {
        /// Row of pairs.parquet, from 0.
        row: usize,
        /// Its id.
        id: String,
        /// The edit set.
        name: String,
        /// What to do.
        remedy: &'static str,
    },
    /// An export would overwrite something else.
    #[error("{path} exists and is not this export: choose another --out, or pass --replace", path = path.display())]
    OutExists {
        /// The file.
        path: PathBuf,
    },
}

fn known(names: &[String]) -> String {
    match names {
        [] => "it has none yet: run `whence edit` first".into(),
        names => format!("expected one of {}", names.join(", ")),
    }
}

fn known_rankings(names: &[String]) -> String {
    match names {
        [] => "there is none yet: run `whence rank` first".into(),
        names => format!("expected one of {}", names.join(", ")),
    }
}

/// One pair that is not kept as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// Row of pairs.parquet, from 0.
    pub row: u32,
    /// The pair's id.
    pub id: String,
    /// [`pair_sha256`] of the pair, before the edit.
    pub sha256: String,
    /// [`Decision::Drop`] or [`Decision::Switch`].
    pub action: Decision,
    /// Why, in words.
    pub reason: String,
    /// The pair's score in the ranking that decided; absent when none did.
    pub score: Option<f32>,
    /// Its rank there, from 1.
    pub rank: Option<u32>,
}

/// Where an edit set came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Origin {
    /// How it was made, in words: `top 3000 of rankings/obeys/layer-20.parquet, drop`.
    pub how: String,
    /// The ranking, edit set or file that decided, relative to the study where it lies in it; empty when none did.
    pub from: String,
    /// SHA-256 of that file; empty when there is none.
    pub from_sha256: String,
    /// Seed of what was drawn by chance.
    pub seed: Option<u64>,
}

/// Decisions about the pairs of a study, under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct EditSet {
    /// Its name.
    pub name: String,
    /// Pairs in the study.
    pub n_pairs: usize,
    /// SHA-256 of the study's pairs.parquet.
    pub pairs_sha256: String,
    /// How it was made.
    pub origin: Origin,
    /// The pairs that are not kept as they are, by row.
    pub edits: Vec<Edit>,
}

impl EditSet {
    /// The decision about every pair, by row.
    ///
    /// # Errors
    ///
    /// [`EditError::Length`] when the set was made for another number of pairs.
    pub fn apply(&self, n_pairs: usize) -> Result<Vec<Decision>, EditError> {
        if n_pairs != self.n_pairs {
            return Err(EditError::Length { name: self.name.clone(), expected: self.n_pairs, got: n_pairs });
        }
        let mut decisions = vec![Decision::Keep; n_pairs];
        for edit in &self.edits {
            decisions[edit.row as usize] = edit.action;
        }
        Ok(decisions)
    }

    /// The edit of a row; `None` when the pair is kept.
    pub fn edit_of(&self, row: usize) -> Option<&Edit> {
        self.edits.binary_search_by_key(&row, |edit| edit.row as usize).ok().map(|i| &self.edits[i])
    }

    /// The pair to train on in the place of `pair`; `None` when it is dropped.
    ///
    /// # Errors
    ///
    /// [`EditError::OtherPair`] when the row now holds another pair than the edit was decided on.
    pub fn edited(&self, row: usize, pair: Pair) -> Result<Option<Pair>, EditError> {
        let Some(edit) = self.edit_of(row) else { return Ok(Some(pair)) };
        if pair_sha256(&pair) != edit.sha256 {
            let remedy = "make the edit set again with `whence edit --replace`";
            return Err(EditError::OtherPair { row, id: pair.id, name: self.name.clone(), remedy });
        }
        Ok(edited(edit.action, pair))
    }

    /// Pairs with this decision.
    pub fn n(&self, action: Decision) -> usize {
        match action {
            Decision::Keep => self.n_pairs - self.edits.len(),
            action => self.edits.iter().filter(|edit| edit.action == action).count(),
        }
    }
}

/// SHA-256 of a pair, in lower-case hex: of `[id, prompt, chosen, rejected, source, metadata]` as compact JSON in UTF-8,
/// messages as `{"role": …, "content": …}`. In Python: `json.dumps([…], ensure_ascii=False, separators=(",", ":"))`.
pub fn pair_sha256(pair: &Pair) -> String {
    let parts = (&pair.id, &pair.prompt, &pair.chosen, &pair.rejected, &pair.source, &pair.metadata);
    files::sha256(&serde_json::to_vec(&parts).expect("texts serialize"))
}

/// Refuses names that cannot be a file's and part of an address.
///
/// # Errors
///
/// [`EditError::Name`].
pub fn check_name(name: &str) -> Result<(), EditError> {
    if !is_plain_name(name) || name.len() > MAX_NAME_LEN {
        return Err(EditError::Name(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use whence_shared::pair::Message;

    use super::*;

    #[test]
    fn the_hash_of_a_pair_is_what_python_computes() {
        let pair = Pair {
            id: "a\"b".into(),
            prompt: vec![Message::new("user", "é\n\u{1} \u{7f} 😀/")],
            chosen: vec![Message::new("assistant", "yes")],
            rejected: vec![Message::new("assistant", "no")],
            source: "s".into(),
            metadata: "{\"k\":1}".into(),
        };
        assert_eq!(pair_sha256(&pair), "1e55a7fa8cc3ccd25c74f39e6e2872320a984aac3b71467911a66819d11ce83f");
    }

    #[test]
    fn names_stay_within_their_folder() {
        for name in ["", "a/b", "..", "a\\b", "é", "a b", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("top-3000_drop").is_ok());
    }
}
