//! The diagnosis of the ranking that is looked at: fetched when there is one, and only shown when it is of these vectors.

use std::sync::Arc;

use js_sys::Uint8Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::diagnosis::{Diagnosis, FORMAT, path};
use whence_shared::index::manifest::hashed_vectors;
use whence_shared::study::LayerView;

use crate::fetch::{self, FetchError, File};
use crate::state::{State, View};

/// Behavior and layer.
type Key = (String, usize);
/// What was asked for, and what was found or why not.
type Found = (Key, Result<Arc<Diagnosis>, String>);

/// What is known of the diagnosis; cheap to copy.
#[derive(Clone, Copy)]
pub struct Diagnosed {
    /// Of which ranking, and what was found: nothing when nobody diagnosed it.
    found: RwSignal<Option<Found>>,
    state: State,
}

impl Diagnosed {
    /// Looks whenever another ranking is looked at. Called once, by the root component.
    pub fn start(state: State) -> Self {
        let diagnosed = Self { found: RwSignal::new(None), state };
        let wanted = Memo::new(move |_| match state.view.get() {
            View::Ready { behavior, layer, .. } => Some((behavior.name, layer)),
            _ => None,
        });
        Effect::new(move || {
            state.n_readings.track();
            let Some((behavior, layer)) = wanted.get() else { return };
            spawn_local(async move {
                let key = (behavior, layer.layer);
                let found = diagnosed.fetch(&key, &layer).await;
                // Another ranking may be looked at by now.
                let is_wanted = wanted.get_untracked().is_some_and(|(name, layer)| (name, layer.layer) == key);
                if is_wanted {
                    diagnosed.found.set(found.map(|found| (key, found)));
                }
            });
        });
        diagnosed
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// The diagnosis of the ranking looked at, or what is wrong with it. Tracked.
    pub fn get(self) -> Option<Result<Arc<Diagnosis>, String>> {
        let View::Ready { behavior, layer, .. } = self.state.view.get() else { return None };
        let (key, found) = self.found.get()?;
        (key == (behavior.name, layer.layer)).then_some(found)
    }

    async fn fetch(self, key: &Key, layer: &LayerView) -> Option<Result<Arc<Diagnosis>, String>> {
        let path = path(&key.0, key.1);
        let found = match File::new(&self.state.data_folder(), &path).json::<Diagnosis>().await {
            Ok(found) => found,
            Err(FetchError::Status { status: 404, .. }) => return None,
            Err(error) => return Some(Err(error.to_string())),
        };
        if found.format != FORMAT {
            return Some(Err(format!("{path}: expected format {FORMAT:?}, got {:?}", found.format)));
        }
        let hashes = layer.shards.iter().map(|shard| shard.sha256.as_str());
        let hashed = Uint8Array::from(hashed_vectors(hashes).as_bytes());
        if fetch::sha256(&hashed).await != found.of.vectors_sha256 {
            return Some(Err(format!("{path} is of other vectors than the study now has")));
        }
        Some(Ok(Arc::new(found)))
    }
}
