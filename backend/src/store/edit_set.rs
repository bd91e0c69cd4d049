//! An edit set of the worklist, made by the verb `whence edit` from a file that stays beside it, so that the command line can
//! make it again.

use std::fs;

use serde::Serialize;
use whence_shared::api::{Action, EditSetView, MakeEditSet};

use super::list::Held;
use super::{Store, StoreError};
use crate::edit::{self, EditSet, MakeOptions, Way};
use crate::files;
use crate::progress::silent;
use crate::study::Study;
use crate::view::pairs::OpenPairs;

/// A line of `edits/NAME.decisions.jsonl`, as [`crate::edit::decisions`] reads it.
#[derive(Serialize)]
struct Line<'a> {
    row: usize,
    id: &'a str,
    action: Action,
    reason: &'a str,
    sha256: &'a str,
}

/// Makes an edit set of the decisions.
///
/// # Errors
///
/// [`StoreError::Changed`]; [`StoreError::Edit`] when the name is taken or cannot be one, or nothing is to be dropped or
/// switched. Files of an earlier set of this name are then as they were.
pub fn make(store: &Store, study: &Study, pairs: &OpenPairs, asked: &MakeEditSet) -> Result<EditSetView, StoreError> {
    edit::check_name(&asked.name)?;
    let held = store.held(pairs, asked.version)?;
    if !held.iter().any(|held| held.action != Action::Keep) {
        return Err(StoreError::Malformed("no pair is to be dropped or switched: decide about some first".into()));
    }
    if study.edit(&asked.name).exists() && !asked.replace {
        return Err(edit::EditError::Exists { path: study.edit(&asked.name) }.into());
    }
    let path = study.edit_decisions(&asked.name);
    let earlier = fs::read(&path).ok();
    files::write_jsonl(&path, held.iter().map(line))?;
    let way = Way::Decisions { path: path.clone() };
    let options = MakeOptions { name: asked.name.clone(), way, action: None, seed: 0, replace: asked.replace };
    match edit::make(study, &options, &silent) {
        Ok(made) => Ok(EditSetView { warnings: made.warnings, ..view(&made.set, made.sha256) }),
        Err(error) => {
            // Best effort: the set that is there says what its decisions hash to.
            let _ = match earlier {
                Some(bytes) => files::write(&path, &bytes),
                None => fs::remove_file(&path).map_or(Ok(()), Ok),
            };
            Err(error.into())
        }
    }
}

/// The study's edit sets, in alphabetical order. Those of other pairs, and files that are none, are left out.
///
/// # Errors
///
/// When they cannot be listed.
pub fn all(study: &Study) -> Result<Vec<EditSetView>, StoreError> {
    let of_name = |name: &String| -> Result<EditSetView, StoreError> {
        let set = edit::load(study, name)?;
        Ok(view(&set, files::sha256_of_file(&study.edit(name))?))
    };
    let mut views = Vec::new();
    for name in edit::names(study)? {
        match of_name(&name) {
            Ok(view) => views.push(view),
            Err(error) => tracing::warn!("edit set {name} is left out: {error}"),
        }
    }
    Ok(views)
}

fn line(held: &Held) -> Line<'_> {
    Line { row: held.row, id: &held.id, action: held.action, reason: &held.note, sha256: &held.pair_sha256 }
}

fn view(set: &EditSet, sha256: String) -> EditSetView {
    EditSetView {
        name: set.name.clone(),
        how: set.origin.how.clone(),
        n_pairs: set.n_pairs,
        n_dropped: set.n(Action::Drop),
        n_switched: set.n(Action::Switch),
        sha256,
        warnings: Vec::new(),
    }
}
