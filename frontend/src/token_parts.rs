//! What each token adds to pairs' scores, as `whence tokens` left it: one file for each behavior and layer, fetched when a pair of
//! its ranking is first read.

use std::collections::HashMap;
use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::tokens::{self, FORMAT, TokensView};

use crate::fetch::File;
use crate::state::{Chunk, State, View};

/// What is known of the tokens of a pair.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// Nothing is ranked, or no pair of this ranking was read token by token.
    Nothing,
    /// On its way.
    Waiting,
    /// Not to be had, and why.
    Missing(String),
    /// Others of the ranking were read; this pair was not.
    OfOthers,
    /// All of it; the pair's row is in it.
    All(Arc<TokensView>),
}

/// Files by behavior, layer, and how often the study was read: a job may have made them anew.
type Fetched = HashMap<(String, usize, usize), ArcRwSignal<Chunk<TokensView>>>;

/// The files fetched so far; cheap to copy. Whether they are shown is in the address.
#[derive(Clone, Copy)]
pub struct TokenParts {
    /// Whether responses are tinted by what their tokens add, instead of marked where they differ.
    pub is_shown: Memo<bool>,
    state: State,
    fetched: StoredValue<Fetched>,
}

impl TokenParts {
    /// Called once, by the root component.
    pub fn start(state: State) -> Self {
        Self { is_shown: state.are_tokens_marked, state, fetched: StoredValue::default() }
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// Tints responses, or marks where they differ.
    pub fn show(self, is_shown: bool) {
        self.state.choose_token_marks(is_shown);
    }

    /// What is known of a pair's tokens in the ranking that is shown. Tracked.
    pub fn of(self, row: u32) -> Known {
        let View::Ready { behavior, layer, .. } = self.state.view.get() else { return Known::Nothing };
        if !behavior.token_layers.contains(&layer.layer) {
            return Known::Nothing;
        }
        // Of the direction of all prompts only.
        let is_of_all = self.state.wanted.get().is_some_and(|wanted| {
            let is_direction = matches!(wanted.query.of, crate::protocol::Of::Direction(_));
            is_direction && wanted.query.without.is_empty()
        });
        if !is_of_all {
            return Known::Nothing;
        }
        match self.file(&behavior.name, layer.layer) {
            None => Known::Waiting,
            Some(Err(error)) => Known::Missing(error.to_string()),
            Some(Ok(view)) if view.inputs != behavior.inputs => {
                Known::Missing("the behavior was defined anew since; run whence tokens again".to_owned())
            }
            Some(Ok(view)) if view.of(row).is_none() => Known::OfOthers,
            Some(Ok(view)) => Known::All(view),
        }
    }

    /// A file: `None` while it is on its way. Tracked.
    fn file(self, behavior: &str, layer: usize) -> Chunk<TokensView> {
        let key = (behavior.to_owned(), layer, self.state.n_readings.get());
        if let Some(signal) = self.fetched.with_value(|fetched| fetched.get(&key).cloned()) {
            return signal.get();
        }
        let signal = ArcRwSignal::new(None);
        self.fetched.update_value(|fetched| {
            fetched.insert(key, signal.clone());
        });
        let path = tokens::path(behavior, layer);
        spawn_local({
            let (signal, data) = (signal.clone(), self.state.data_folder());
            async move {
                let found = File::new(&data, &path).json_of(FORMAT, |view: &TokensView| &view.format).await;
                signal.set(Some(found.map(Arc::new)));
            }
        });
        signal.get()
    }
}
