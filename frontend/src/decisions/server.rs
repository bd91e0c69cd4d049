//! Decisions kept by the backend: changes go out one after the other, in their order, and the page shows them at once.
//!
//! Each says which version of the list it was made of. Where the list has changed meanwhile, by another page or by a program, it is
//! read again and what is unsent is applied on top. A backend that does not answer is asked again and again; nothing is
//! lost meanwhile ([`super::outbox`]).

use std::collections::BTreeMap;

use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::api::{
    AtVersion, ChangeDecisions, Decision as OfPair, Decisions as List, DecisionsChange, ErrorKind, MAX_NOTE_BYTES,
};
use whence_shared::edit::worklist::{Decided, Worklist};
use whence_shared::study::ROWS_PER_ROW_CHUNK;

use super::outbox::{Rows, Step};
use super::{Decisions, Keeper, Known, NotKept, Offer};
use crate::api::RequestError;
use crate::fetch::{FetchError, sleep};
use crate::number::counted;

/// Pause before a backend that does not answer is asked again, in milliseconds; it doubles with every try in vain.
const FIRST_PAUSE_MS: f64 = 500.0;
/// Longest such pause, in milliseconds.
const MAX_PAUSE_MS: f64 = 5_000.0;

impl Decisions {
    /// Sends what is unsent, and reads the list where it is not known.
    pub(super) fn settle(self) {
        if self.keeper.get_untracked() != Keeper::Server || replaced(self.is_settling, true) {
            return;
        }
        spawn_local(async move {
            let mut pause_ms = FIRST_PAUSE_MS;
            loop {
                let step = self.outbox.with_value(|outbox| outbox.first().cloned());
                let done = match (self.known.get_untracked(), step) {
                    (None, _) => self.read_list().await,
                    (Some(known), Some(step)) => self.send(&known, &step).await,
                    (Some(_), None) => break,
                };
                // The study may have made room for another one.
                if self.known.is_disposed() {
                    return;
                }
                match done {
                    Ok(()) => pause_ms = FIRST_PAUSE_MS,
                    Err(error) if error.is_unreachable() => {
                        self.say_away();
                        sleep(pause_ms).await;
                        pause_ms = (2.0 * pause_ms).min(MAX_PAUSE_MS);
                        if self.known.is_disposed() {
                            return;
                        }
                    }
                    Err(RequestError::Refused(error)) if error.kind == ErrorKind::Changed => self.known.set(None),
                    Err(error) => {
                        let was_reading = self.known.get_untracked().is_none();
                        self.give_up(&error);
                        if was_reading {
                            break;
                        }
                    }
                }
            }
            self.is_settling.set_value(false);
        });
    }

    /// Looks whether somebody else changed the list: then it is shown as it is now.
    pub fn look(self) {
        let is_busy = self.is_settling.get_value() || self.n_unsent.get_untracked() > 0;
        let Some(known) = self.known.get_untracked().filter(|_| !is_busy) else { return self.settle() };
        spawn_local(async move {
            let Ok(list) = self.api.get::<List>("decisions").await else { return };
            let is_still = !self.is_settling.get_value() && self.known.get_untracked().as_ref() == Some(&known);
            if is_still && list.version != known.version {
                self.show(list);
            }
        });
    }

    async fn read_list(self) -> Result<(), RequestError> {
        let list = self.api.get::<List>("decisions").await?;
        self.show(list);
        Ok(())
    }

    /// Shows the backend's list, with what is unsent on top.
    fn show(self, list: List) {
        let is_first = !replaced(self.was_read, true);
        let List { version, decisions, lost, undo, redo } = list;
        let theirs: BTreeMap<u32, Decided> = decisions.into_iter().map(decided).collect();
        let mut n_missed = 0;
        self.outbox.update_value(|outbox| {
            outbox.retain(|step| match step {
                // What the backend has already was sent before, and the answer was lost.
                Step::Change { rows, .. } => rows.iter().any(|(row, after)| theirs.get(row) != after.as_ref()),
                // What an earlier page left is sent if it still fits.
                Step::Travel { is_shown: false, .. } => is_first,
                Step::Travel { is_back, what, .. } => {
                    let last = if *is_back { &redo } else { &undo };
                    let is_done = last.as_deref() == Some(shortened(what).as_str());
                    n_missed += usize::from(!is_done);
                    false
                }
            });
        });
        let (changes, mine) = self.outbox.with_value(|outbox| (outbox.changes(), outbox.rows()));
        let is_over =
            |(row, after): &(&u32, &Option<Decided>)| theirs.get(row).is_some_and(|of| Some(of) != after.as_ref());
        let n_others = mine.iter().filter(is_over).count();
        let mut worklist = Worklist::of(theirs);
        for (what, rows) in changes {
            worklist.decide(what, js_sys::Date::now(), rows);
        }
        let is_other = self.list.with_untracked(|list| !list.iter().eq(worklist.iter()));
        if !is_first && (is_other || n_missed > 0) {
            let mut text = "Decisions were changed elsewhere meanwhile and were read again.".to_owned();
            if n_others > 0 {
                text += &format!(" Yours about {} stand on top.", counted(n_others, "pair", "pairs"));
            }
            if n_missed > 0 {
                text += " What was to be undone or done again is no longer the last step: nothing was done.";
            }
            self.notice.set(Some(text));
        }
        self.list.set(worklist);
        self.known.set(Some(Known { version, undo, redo, n_lost: lost.len() }));
        self.count_unsent();
        if is_first {
            self.offer_kept();
        }
    }

    /// Offers to take over what this browser kept about the same pairs, where the backend has no decision about them.
    fn offer_kept(self) {
        let Some(kept) = self.store.with_value(|store| store.as_ref()?.not_asked_about()) else { return };
        let (rows, n_other) = self.list.with_untracked(|list| {
            let is_new = |row: u32| list.get(row).is_none();
            let rows: Rows = kept.iter().filter(|(row, _)| is_new(*row)).map(|(r, d)| (r, Some(d.clone()))).collect();
            let n_other = kept.iter().filter(|(row, d)| list.get(*row).is_some_and(|theirs| theirs != *d)).count();
            (rows, n_other)
        });
        if !rows.is_empty() {
            self.offer.set(Some(Offer { rows, n_other }));
        }
    }

    async fn send(self, known: &Known, step: &Step) -> Result<(), RequestError> {
        match step {
            Step::Change { what, rows } => {
                let (decide, remove) = self.named(rows).await?;
                let (version, label) = (known.version, shortened(what));
                let body = ChangeDecisions { version, label, decide, remove };
                let change: DecisionsChange = self.api.post("decisions/change", &body).await?;
                self.accepted(known, change);
            }
            Step::Travel { is_back, what, is_shown } => {
                let next = if *is_back { &known.undo } else { &known.redo };
                if next.as_deref() != Some(shortened(what).as_str()) {
                    // Somebody else's step is not ours to undo.
                    self.outbox.update_value(|outbox| outbox.pop());
                    self.known.set(None);
                    return Ok(());
                }
                let path = if *is_back { "decisions/undo" } else { "decisions/redo" };
                let change: DecisionsChange = self.api.post(path, &AtVersion { version: known.version }).await?;
                if !is_shown {
                    self.follow(&change);
                }
                self.accepted(known, change);
            }
        }
        Ok(())
    }

    /// The backend did the first step.
    fn accepted(self, known: &Known, change: DecisionsChange) {
        self.outbox.update_value(|outbox| outbox.pop());
        let DecisionsChange { version, undo, redo, .. } = change;
        self.known.set(Some(Known { version, undo, redo, n_lost: known.n_lost }));
        if self.not_kept.with_untracked(|error| matches!(error, Some(NotKept::Away { .. }))) {
            self.not_kept.set(None);
        }
        self.count_unsent();
    }

    /// Shows what the backend changed, but for pairs that were decided about again meanwhile.
    fn follow(self, change: &DecisionsChange) {
        let later = self.outbox.with_value(|outbox| outbox.rows());
        let changed = change.decided.iter().cloned().map(decided).map(|(row, decided)| (row, Some(decided)));
        let removed = change.removed.iter().map(|row| (*row as u32, None));
        let rows: Rows = changed.chain(removed).filter(|(row, _)| !later.contains_key(row)).collect();
        self.list.update(|list| list.follow(rows));
    }

    /// Pairs by row and id, as the backend names them: those to decide about, and rows of those to take off the list.
    async fn named(self, rows: &Rows) -> Result<(Vec<OfPair>, Vec<usize>), RequestError> {
        let (mut decide, mut remove) = (Vec::new(), Vec::new());
        for (row, after) in rows {
            let row = *row as usize;
            let Some(Decided { action, note }) = after.clone() else {
                remove.push(row);
                continue;
            };
            let chunk = self.state.rows.keep(row / ROWS_PER_ROW_CHUNK).await.map_err(|error| match error {
                FetchError::Unreachable { .. } | FetchError::Status { status: 502..=504, .. } => {
                    RequestError::Unreachable
                }
                error => RequestError::Unreadable { reason: error.to_string() },
            })?;
            let id = chunk.id.get(row % ROWS_PER_ROW_CHUNK).cloned().unwrap_or_default();
            decide.push(OfPair { row, id, action, note });
        }
        Ok((decide, remove))
    }

    pub(super) fn say_away(self) {
        let n = self.n_unsent.get_untracked();
        if n > 0 {
            let is_stored = self.outbox.with_value(|outbox| outbox.is_kept());
            self.not_kept.set(Some(NotKept::Away { n, is_stored }));
        }
    }

    /// The backend does not want the first step: it is taken back here, too.
    fn give_up(self, error: &RequestError) {
        if self.known.get_untracked().is_some() {
            self.outbox.update_value(|outbox| outbox.pop());
            // What it has now is read, so that the page shows that.
            self.known.set(None);
            self.was_read.set_value(false);
        }
        self.not_kept.set(Some(NotKept::Refused(error.with_hint())));
        self.count_unsent();
    }

    pub(super) fn count_unsent(self) {
        self.n_unsent.set(self.outbox.with_value(|outbox| outbox.len()));
    }
}

/// Sets a value; what it was before.
fn replaced(of: StoredValue<bool>, value: bool) -> bool {
    of.try_update_value(|before| std::mem::replace(before, value)).unwrap_or_default()
}

fn decided(of: OfPair) -> (u32, Decided) {
    (of.row as u32, Decided { action: of.action, note: of.note })
}

/// Words that name a step, as long as the backend takes them.
fn shortened(what: &str) -> String {
    let mut end = what.len().min(MAX_NOTE_BYTES);
    while !what.is_char_boundary(end) {
        end -= 1;
    }
    what[..end].to_owned()
}
