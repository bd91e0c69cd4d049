//! What the reader decided about pairs: one worklist per study, with undo and redo.
//!
//! The worklist itself is `whence_shared::edit::worklist`; this file holds it for the page. It is kept by the backend, where there
//! is one that lets itself be changed ([`server`]), and by this browser otherwise ([`browser`]).

mod browser;
mod outbox;
mod server;

use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::api::DecisionStep;
use whence_shared::edit::Decision;
use whence_shared::edit::worklist::{Decided, Worklist};
use whence_shared::study::StudyView;

use crate::address::Page;
use crate::api::{Api, ServerStatus};
use crate::number::counted;
use crate::state::{State, StudyStatus};
use browser::Store;
use outbox::{Outbox, Rows, Step};

/// Why decisions are not kept, or those that were kept are not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotKept {
    /// The browser forbids pages to keep anything.
    Forbidden,
    /// There is no more room.
    Full,
    /// What was kept cannot be read.
    Unreadable(String),
    /// The backend does not answer.
    Away {
        /// Changes that it does not have yet.
        n: usize,
        /// Whether this browser keeps them meanwhile.
        is_stored: bool,
    },
    /// The backend refuses a change, and why.
    Refused(String),
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
            Self::Away { n, is_stored } => {
                let changes = counted(*n, "change is", "changes are");
                let (them, go) = if *n == 1 { ("it", "goes") } else { ("they", "go") };
                match is_stored {
                    true => format!(
                        "The backend does not answer: {changes} kept by this page and this browser, and {them} {go} out \
                         when it is back. Start `whence serve` again."
                    ),
                    false => format!(
                        "The backend does not answer: {changes} kept by this page alone, and {them} {go} out when it is \
                         back. Leave this page open and start `whence serve` again."
                    ),
                }
            }
            Self::Refused(reason) => {
                format!("The backend refused a change, which was taken back: {reason}")
            }
        }
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

/// Who keeps the decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// It is not yet known whether there is a backend that does.
    Unknown,
    /// This browser.
    Browser,
    /// The backend.
    Server,
}

/// What is known of the backend's list beside the decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its version.
    pub version: u64,
    /// What undo would take back, in words.
    pub undo: Option<String>,
    /// What redo would do again, in words.
    pub redo: Option<String>,
    /// Decisions about pairs that the study no longer holds.
    pub n_lost: usize,
}

/// Decisions that this browser kept before the backend kept any, and that the backend has none of.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    rows: Rows,
    /// Pairs that the backend has another decision about: these stay.
    pub n_other: usize,
}

impl Offer {
    /// Pairs that would be decided about.
    pub fn n_pairs(&self) -> usize {
        self.rows.len()
    }
}

/// The worklist of the study that is shown; cheap to copy.
#[derive(Clone, Copy)]
pub struct Decisions {
    /// All decisions.
    pub list: RwSignal<Worklist>,
    /// Who keeps them.
    pub keeper: RwSignal<Keeper>,
    /// Why they are not kept.
    pub not_kept: RwSignal<Option<NotKept>>,
    /// What else the reader should know: that others decided meanwhile.
    pub notice: RwSignal<Option<String>>,
    /// What was done last, in words, for readers who cannot see it.
    pub said: RwSignal<String>,
    /// The backend's list, where it keeps one and was read.
    pub known: RwSignal<Option<Known>>,
    /// Changes that the backend does not have yet.
    pub n_unsent: RwSignal<usize>,
    /// What was done, as the backend keeps it, first step first.
    pub history: RwSignal<Option<Vec<DecisionStep>>>,
    /// What this browser kept from before.
    pub offer: RwSignal<Option<Offer>>,
    store: StoredValue<Option<Store>>,
    outbox: StoredValue<Outbox>,
    /// Whether changes are going out.
    is_settling: StoredValue<bool>,
    /// Whether the backend's list was ever read.
    was_read: StoredValue<bool>,
    state: State,
    api: Api,
}

impl Decisions {
    /// Reads what was kept as soon as the study is known and who keeps its decisions, and again when another tab decides.
    /// Called once, by the root component.
    pub fn start(state: State, api: Api) -> Self {
        let decisions = Self {
            list: RwSignal::default(),
            keeper: RwSignal::new(Keeper::Unknown),
            not_kept: RwSignal::new(None),
            notice: RwSignal::new(None),
            said: RwSignal::default(),
            known: RwSignal::new(None),
            n_unsent: RwSignal::new(0),
            history: RwSignal::new(None),
            offer: RwSignal::new(None),
            store: StoredValue::new(None),
            outbox: StoredValue::default(),
            is_settling: StoredValue::new(false),
            was_read: StoredValue::new(false),
            state,
            api,
        };
        Effect::new(move || {
            let StudyStatus::Ready(study) = state.study.get() else { return };
            let keeper = match api.server.get() {
                ServerStatus::Asking => Keeper::Unknown,
                ServerStatus::Failed(error) if error.is_unreachable() => Keeper::Unknown,
                server if server.can_edit() => Keeper::Server,
                _ => Keeper::Browser,
            };
            decisions.begin(&study, keeper);
        });
        let version = Memo::new(move |_| decisions.known.with(|known| known.as_ref().map(|known| known.version)));
        Effect::new(move || {
            if let (Page::Edit, Some(_)) = (state.page.get(), version.get()) {
                spawn_local(async move {
                    // Without it the list of what was done is as it was.
                    if let Ok(steps) = api.get("decisions/history").await {
                        decisions.history.set(Some(steps));
                    }
                });
            }
        });
        let on_other_tab = window_event_listener_untyped("storage", move |event| {
            let key = js_sys::Reflect::get(&event, &"key".into()).ok().and_then(|key| key.as_string());
            let ours = decisions.store.with_value(|store| store.as_ref().map(Store::key));
            if ours.is_some() && ours == key && decisions.keeper.get_untracked() == Keeper::Browser {
                decisions.read();
            }
        });
        // Whoever comes back to the page may have decided elsewhere meanwhile.
        let on_focus = window_event_listener(leptos::ev::focus, move |_| {
            if decisions.keeper.get_untracked() == Keeper::Server {
                decisions.look();
            }
        });
        on_cleanup(move || {
            on_other_tab.remove();
            on_focus.remove();
        });
        decisions
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    fn begin(self, study: &StudyView, keeper: Keeper) {
        let store = Store::of(study);
        let is_same = self.store.with_value(|before| before.as_ref() == Some(&store));
        if is_same && self.keeper.get_untracked() == keeper {
            return;
        }
        self.store.set_value(Some(store.clone()));
        self.keeper.set(keeper);
        match keeper {
            Keeper::Unknown => {}
            Keeper::Browser => {
                // Decided before it was known who keeps it.
                let early = self.outbox.try_update_value(Outbox::take).unwrap_or_default();
                self.count_unsent();
                self.read();
                for step in early {
                    match step {
                        Step::Change { what, rows } => {
                            self.decide(&what, rows);
                        }
                        Step::Travel { is_back, .. } => self.travel(is_back),
                    }
                }
            }
            Keeper::Server => {
                self.outbox.update_value(|outbox| outbox.open(&store));
                self.count_unsent();
                self.settle();
            }
        }
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
        let changed: Rows = self
            .list
            .with_untracked(|list| rows.into_iter().filter(|(row, after)| list.get(*row) != after.as_ref()).collect());
        let n = changed.len();
        if n > 0 {
            self.list.update(|list| {
                list.decide(what, js_sys::Date::now(), changed.iter().cloned());
            });
            self.changed(what.to_owned(), Step::Change { what: what.to_owned(), rows: changed });
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

    /// What undo would take back, in words. Tracked.
    pub fn next_undo(self) -> Option<String> {
        self.next(|list| list.next_undo().map(str::to_owned), |known| known.undo.clone())
    }

    /// What redo would do again, in words. Tracked.
    pub fn next_redo(self) -> Option<String> {
        self.next(|list| list.next_redo().map(str::to_owned), |known| known.redo.clone())
    }

    /// Of what is unsent this page alone knows, of everything else the backend.
    fn next(self, here: fn(&Worklist) -> Option<String>, there: fn(&Known) -> Option<String>) -> Option<String> {
        match self.keeper.get() {
            Keeper::Server if self.n_unsent.get() == 0 => self.known.with(|known| known.as_ref().and_then(there)),
            _ => self.list.with(here),
        }
    }

    /// Takes the last change back.
    pub fn undo(self) {
        self.travel(true);
    }

    /// Does again what was undone last.
    pub fn redo(self) {
        self.travel(false);
    }

    fn travel(self, is_back: bool) {
        let next = untrack(|| if is_back { self.next_undo() } else { self.next_redo() });
        let Some(what) = next else {
            return self.said.set(if is_back { "nothing to undo" } else { "nothing to redo" }.to_owned());
        };
        let of_list =
            |list: &Worklist| if is_back { list.next_undo() } else { list.next_redo() } == Some(what.as_str());
        let is_shown = self.list.with_untracked(of_list);
        if is_shown {
            self.list.update(|list| drop(if is_back { list.undo() } else { list.redo() }));
        }
        let said = format!("{}: {what}", if is_back { "undone" } else { "done again" });
        self.changed(said, Step::Travel { is_back, what, is_shown });
    }

    /// Takes over what this browser kept from before, or leaves it; it stays in the browser either way.
    pub fn answer_offer(self, takes_over: bool) {
        let Some(offer) = self.offer.get_untracked() else { return };
        self.offer.set(None);
        self.store.with_value(|store| {
            if let Some(store) = store {
                store.set_asked();
            }
        });
        if takes_over {
            self.decide("taken over from this browser", offer.rows);
        }
    }

    fn changed(self, said: String, step: Step) {
        self.said.set(said);
        self.notice.set(None);
        if self.not_kept.with_untracked(|error| matches!(error, Some(NotKept::Refused(_)))) {
            self.not_kept.set(None);
        }
        match (self.keeper.get_untracked(), step) {
            (Keeper::Browser, _) => {
                let Some(store) = self.store.get_value() else { return };
                self.not_kept.set(self.list.with_untracked(|list| store.save(list)).err());
            }
            (_, step) => {
                self.outbox.update_value(|outbox| outbox.push(step));
                self.count_unsent();
                if self.not_kept.with_untracked(|error| matches!(error, Some(NotKept::Away { .. }))) {
                    self.say_away();
                }
                self.settle();
            }
        }
    }
}
