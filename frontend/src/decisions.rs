//! What the reader decided about pairs: one worklist per study, kept by this browser, with undo and redo.
//!
//! The worklist itself is `whence_shared::edit::worklist`; this file holds it for the page and keeps it. Where it is kept
//! is [`Store`]'s business alone: a backend that keeps decisions takes its place without the pages noticing.

use leptos::prelude::*;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use whence_shared::edit::Decision;
use whence_shared::edit::worklist::{Decided, Worklist};
use whence_shared::study::StudyView;

use crate::state::{State, StudyStatus};

/// Where a study's worklist is kept: this browser's local storage, under the hash of the study's pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Store {
    key: String,
    n_pairs: usize,
}

/// Why decisions are not kept, or those that were kept are not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotKept {
    /// The browser forbids pages to keep anything.
    Forbidden,
    /// There is no more room.
    Full,
    /// What was kept cannot be read.
    Unreadable(String),
}

impl NotKept {
    /// What happened and what to do, for the reader.
    pub fn text(&self) -> String {
        match self {
            Self::Forbidden => {
                "This browser lets the page keep nothing: decisions are lost when it is closed. Export them before."
                    .to_owned()
            }
            Self::Full => {
                "The browser's storage for this page is full: the last decisions are not kept and are lost when it is \
                 closed. Export them, or clear the site's data."
                    .to_owned()
            }
            Self::Unreadable(reason) => format!(
                "The decisions that this browser kept cannot be read ({reason}). They stay in its storage until you \
                 decide anew."
            ),
        }
    }
}

impl Store {
    fn of(study: &StudyView) -> Self {
        // Studies of old servers do not say which pairs they are of.
        let pairs = match study.pairs_sha256.as_str() {
            "" => format!("{}:{}", study.name, study.n_pairs),
            sha256 => sha256.to_owned(),
        };
        Self { key: format!("whence-decisions:{pairs}"), n_pairs: study.n_pairs }
    }

    fn storage() -> Option<web_sys::Storage> {
        web_sys::window()?.local_storage().ok().flatten()
    }

    fn load(&self) -> Result<Worklist, NotKept> {
        let storage = Self::storage().ok_or(NotKept::Forbidden)?;
        match storage.get_item(&self.key).map_err(|_| NotKept::Forbidden)? {
            None => Ok(Worklist::default()),
            Some(json) => {
                Worklist::from_json(&json, self.n_pairs).map_err(|error| NotKept::Unreadable(error.to_string()))
            }
        }
    }

    fn save(&self, worklist: &Worklist) -> Result<(), NotKept> {
        let storage = Self::storage().ok_or(NotKept::Forbidden)?;
        storage.set_item(&self.key, &worklist.to_json()).map_err(|_| NotKept::Full)
    }
}

/// What was decided, in a word; `None` = nothing.
pub fn decided_name(decision: Option<Decision>) -> &'static str {
    match decision {
        None => "undecided",
        Some(Decision::Keep) => "kept",
        Some(Decision::Drop) => "dropped",
        Some(Decision::Switch) => "switched",
    }
}

/// The worklist of the study that is shown; cheap to copy.
#[derive(Clone, Copy)]
pub struct Decisions {
    /// All decisions.
    pub list: RwSignal<Worklist>,
    /// Why they are not kept.
    pub not_kept: RwSignal<Option<NotKept>>,
    /// What was done last, in words, for readers who cannot see it.
    pub said: RwSignal<String>,
    store: StoredValue<Option<Store>>,
}

impl Decisions {
    /// Reads what was kept as soon as the study is known, and again when another tab decides. Called once, by the root
    /// component.
    pub fn start(state: State) -> Self {
        let decisions = Self {
            list: RwSignal::default(),
            not_kept: RwSignal::new(None),
            said: RwSignal::default(),
            store: StoredValue::new(None),
        };
        Effect::new(move || {
            let StudyStatus::Ready(study) = state.study.get() else { return };
            decisions.store.set_value(Some(Store::of(&study)));
            decisions.read();
        });
        let on_other_tab = Closure::<dyn Fn(JsValue)>::new(move |event: JsValue| {
            let key = js_sys::Reflect::get(&event, &"key".into()).ok().and_then(|key| key.as_string());
            if decisions.store.with_value(|store| store.as_ref().is_some_and(|store| Some(&store.key) == key.as_ref()))
            {
                decisions.read();
            }
        });
        let _ = window().add_event_listener_with_callback("storage", on_other_tab.as_ref().unchecked_ref());
        // Lives as long as the page.
        on_other_tab.forget();
        decisions
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    fn read(self) {
        let Some(store) = self.store.get_value() else { return };
        match store.load() {
            Ok(worklist) => {
                self.list.set(worklist);
                self.not_kept.set(None);
            }
            Err(error) => self.not_kept.set(Some(error)),
        }
    }

    /// What was decided about a pair. Tracked.
    pub fn of(self, row: u32) -> Option<Decided> {
        self.list.with(|list| list.get(row).cloned())
    }

    /// Decides about pairs, or takes decisions back (`None`); returns how many that changes.
    pub fn decide(self, what: &str, rows: impl IntoIterator<Item = (u32, Option<Decided>)>) -> usize {
        let mut n = 0;
        self.list.update(|list| n = list.decide(what, js_sys::Date::now(), rows));
        if n > 0 {
            self.changed(what.to_owned());
        }
        n
    }

    /// Decides about one pair; the same decision again takes it back. A note stays.
    pub fn toggle(self, row: u32, action: Decision) {
        let before = self.list.with_untracked(|list| list.get(row).cloned());
        let after = match &before {
            Some(decided) if decided.action == action => None,
            _ => Some(Decided { action, note: before.map(|decided| decided.note).unwrap_or_default() }),
        };
        let what = match &after {
            Some(_) => format!("{} row {row}", action.name()),
            None => format!("take back the decision about row {row}"),
        };
        self.decide(&what, [(row, after)]);
    }

    /// Notes something about a pair; one that nothing was decided about is kept then.
    pub fn note(self, row: u32, note: &str) {
        let before = self.list.with_untracked(|list| list.get(row).cloned());
        if before.is_none() && note.is_empty() {
            return;
        }
        let action = before.map_or(Decision::Keep, |decided| decided.action);
        self.decide(&format!("note on row {row}"), [(row, Some(Decided { action, note: note.to_owned() }))]);
    }

    /// Takes the last change back.
    pub fn undo(self) {
        let what = self.list.try_update(Worklist::undo).flatten();
        self.changed(what.map_or_else(|| "nothing to undo".to_owned(), |what| format!("undone: {what}")));
    }

    /// Does again what was undone last.
    pub fn redo(self) {
        let what = self.list.try_update(Worklist::redo).flatten();
        self.changed(what.map_or_else(|| "nothing to redo".to_owned(), |what| format!("done again: {what}")));
    }

    fn changed(self, said: String) {
        self.said.set(said);
        let Some(store) = self.store.get_value() else { return };
        self.not_kept.set(self.list.with_untracked(|list| store.save(list)).err());
    }
}
