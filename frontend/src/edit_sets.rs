//! Edit sets of the backend's study: which there are, and making one of the decisions.

use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::api::{EditSetView, ErrorKind, MakeEditSet};
use whence_shared::study::{MAX_NAME_LEN, is_plain_name};

use crate::address::Page;
use crate::api::{Api, RequestError, ServerStatus};
use crate::decisions::Decisions;
use crate::state::State;

/// The edit sets that there are.
#[derive(Debug, Clone, PartialEq)]
pub enum SetsStatus {
    /// On their way.
    Loading,
    /// Here, in alphabetical order.
    Ready(Vec<EditSetView>),
    /// Not to be had.
    Failed(RequestError),
}

/// How far making one is.
#[derive(Debug, Clone, PartialEq)]
pub enum Making {
    /// Nothing was asked for.
    Nothing,
    /// Under way.
    Working,
    /// Made, with what to know before training on it.
    Made(EditSetView),
    /// There is one of this name.
    Exists(String),
    /// It was not made, and why.
    Failed(String),
}

/// All of it; cheap to copy.
#[derive(Clone, Copy)]
pub struct EditSets {
    /// Those that there are.
    pub sets: RwSignal<SetsStatus>,
    /// How far making one is.
    pub making: RwSignal<Making>,
    api: Api,
    decisions: Decisions,
}

/// Why a name is none; `None` for one that is.
pub fn name_problem(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("A name tells it from other sets."),
        name if name.len() > MAX_NAME_LEN => Some("At most 64 characters."),
        name if !is_plain_name(name) => Some("Letters, digits, - and _ only."),
        _ => None,
    }
}

impl EditSets {
    /// Nothing yet. Called once, by the root component.
    pub fn start(api: Api, decisions: Decisions) -> Self {
        let (sets, making) = (RwSignal::new(SetsStatus::Loading), RwSignal::new(Making::Nothing));
        Self { sets, making, api, decisions }
    }

    /// Reads which sets there are when the Edit page is looked at. Called once, when the pages are loaded.
    pub fn follow(self, state: State) {
        let api = self.api;
        let is_wanted =
            Memo::new(move |_| state.page.get() == Page::Edit && matches!(api.server.get(), ServerStatus::Ready(_)));
        Effect::new(move || {
            if is_wanted.get() {
                self.read();
            }
        });
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// Reads which there are.
    pub fn read(self) {
        spawn_local(async move {
            self.sets.set(match self.api.get("edits").await {
                Ok(sets) => SetsStatus::Ready(sets),
                Err(error) => SetsStatus::Failed(error),
            });
        });
    }

    /// Makes one of the decisions as the backend has them.
    pub fn make(self, name: String, replace: bool) {
        let Some(known) = self.decisions.known.get_untracked() else { return };
        self.making.set(Making::Working);
        spawn_local(async move {
            let body = MakeEditSet { name: name.clone(), version: known.version, replace };
            self.making.set(match self.api.post::<EditSetView>("edits", &body).await {
                Ok(made) => Making::Made(made),
                Err(RequestError::Refused(error)) if error.kind == ErrorKind::Exists => Making::Exists(name),
                Err(RequestError::Refused(error)) if error.kind == ErrorKind::Changed => {
                    self.decisions.look();
                    Making::Failed(
                        "decisions were changed elsewhere meanwhile. Look at them, then make it again.".to_owned(),
                    )
                }
                Err(error) => Making::Failed(error.with_hint()),
            });
            self.read();
        });
    }
}
