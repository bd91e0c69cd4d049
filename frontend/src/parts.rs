//! Parts of the app that are modules of their own: what few readers need at first is downloaded when it is used.
//!
//! [`wasm_split`](wasm_split_helpers::wasm_split) marks where the app is cut; `cargo xtask app` cuts it there after it is
//! linked. There are two: `pages`, what all pages but the overview and the ranking are made of, and `grouping`, what the
//! workers run that group pairs and read maps. A part is loaded once; one that did not arrive may be asked for again.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use thiserror::Error;
use wasm_split_helpers::SplitLoaderError;

use crate::address::Page;
use crate::state::State;

/// How long after the first page stands the others are loaded.
const BEFORE_OTHERS: Duration = Duration::from_secs(2);

/// A part of the app did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a part of the app did not arrive from where the app lies")]
pub struct NotLoaded;

impl From<SplitLoaderError> for NotLoaded {
    fn from(_: SplitLoaderError) -> Self {
        Self
    }
}

/// What comes when it is waited for, and may need a part of the app.
pub type Awaited<T> = Pin<Box<dyn Future<Output = T>>>;

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// Nobody asked for it.
    No,
    /// On its way.
    Loading,
    /// Here.
    Yes,
    /// It did not arrive.
    Failed,
}

/// How far the pages are that are loaded later; cheap to copy.
#[derive(Clone, Copy)]
pub struct Parts {
    pages: RwSignal<Loaded>,
    load: fn() -> Awaited<Result<(), NotLoaded>>,
}

impl Parts {
    /// Loads the pages by `load` when one of them is looked at, and else a moment after the first page stands: a backend
    /// that vanishes then takes none with it. Called once, by the root component.
    pub fn start(state: State, load: fn() -> Awaited<Result<(), NotLoaded>>) -> Self {
        let parts = Self { pages: RwSignal::new(Loaded::No), load };
        Effect::new(move || {
            // What a lasso encloses, the map knows; which pairs are in a group, what reads groups.
            let is_grouped = state.filter.with(|filter| !filter.groups.is_empty());
            if is_later(state.page.get()) || state.lasso.with(Option::is_some) || is_grouped {
                parts.load();
            }
        });
        set_timeout(move || parts.load(), BEFORE_OTHERS);
        parts
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// How far what a page needs is. Tracked.
    pub fn loaded(self, page: Page) -> Loaded {
        if is_later(page) { self.pages.get() } else { Loaded::Yes }
    }

    /// Loads the pages, unless they are here or on their way.
    pub fn load(self) {
        // The app may have been shown anew since this was planned.
        let Some(Loaded::No | Loaded::Failed) = self.pages.try_get_untracked() else { return };
        self.pages.set(Loaded::Loading);
        spawn_local(async move {
            let loaded = (self.load)().await;
            let _ = self.pages.try_set(if loaded.is_ok() { Loaded::Yes } else { Loaded::Failed });
        });
    }
}

/// Whether a page is not among what every reader downloads first.
fn is_later(page: Page) -> bool {
    !matches!(page, Page::Overview | Page::Ranking)
}
