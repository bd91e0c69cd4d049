//! The diagnosis of the ranking that is looked at: fetched when there is one, and only shown when it is of these vectors.

use std::sync::Arc;

use js_sys::Uint8Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use thiserror::Error;
use whence_shared::diagnosis::{Diagnosis, FORMAT, path};
use whence_shared::index::manifest::hashed_vectors;
use whence_shared::study::LayerView;

use crate::fetch::{self, FetchError, File};
use crate::state::{State, View};

/// Why a diagnosis that is there is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DiagnosisError {
    /// It did not arrive, or is no diagnosis.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// It is of another version.
    #[error("{path}: expected format {FORMAT:?}, got {got:?}")]
    Format {
        /// The file.
        path: String,
        /// What it says.
        got: String,
    },
    /// It was made before vectors were extracted anew.
    #[error("{path} is of other vectors than the study now has")]
    Vectors {
        /// The file.
        path: String,
    },
}

impl DiagnosisError {
    /// What to do about it, as one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Fetch(error) if error.is_out_of_reach() => "Check that the server still runs, then reload this page.",
            Self::Fetch(_) | Self::Format { .. } | Self::Vectors { .. } => "Run `whence diagnose` again.",
        }
    }
}

/// Behavior and layer.
type Key = (String, usize);
/// What was asked for, and what was found or why not.
type Found = (Key, Result<Arc<Diagnosis>, DiagnosisError>);

/// What is known of the diagnosis; cheap to copy.
#[derive(Clone, Copy)]
pub struct Diagnosed {
    /// Of which ranking, and what was found: nothing when nobody diagnosed it.
    found: RwSignal<Option<Found>>,
    state: State,
}

impl Diagnosed {
    /// Looks whenever another ranking is looked at, and again when the backend is back. Called once, by the root component.
    pub fn start(state: State, is_answering: RwSignal<bool>) -> Self {
        let diagnosed = Self { found: RwSignal::new(None), state };
        let wanted = Memo::new(move |_| match state.view.get() {
            View::Ready { behavior, layer, .. } => Some((behavior.name, layer)),
            _ => None,
        });
        Effect::new(move || {
            state.n_readings.track();
            let (Some((behavior, layer)), true) = (wanted.get(), is_answering.get()) else { return };
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
    pub fn get(self) -> Option<Result<Arc<Diagnosis>, DiagnosisError>> {
        let View::Ready { behavior, layer, .. } = self.state.view.get() else { return None };
        let (key, found) = self.found.get()?;
        (key == (behavior.name, layer.layer)).then_some(found)
    }

    async fn fetch(self, key: &Key, layer: &LayerView) -> Option<Result<Arc<Diagnosis>, DiagnosisError>> {
        let path = path(&key.0, key.1);
        let found = match File::new(&self.state.data_folder(), &path).json::<Diagnosis>().await {
            Ok(found) => found,
            Err(FetchError::Status { status: 404, .. }) => return None,
            Err(error) => return Some(Err(error.into())),
        };
        if found.format != FORMAT {
            return Some(Err(DiagnosisError::Format { path, got: found.format }));
        }
        let hashes = layer.shards.iter().map(|shard| shard.sha256.as_str());
        let hashed = Uint8Array::from(hashed_vectors(hashes).as_bytes());
        if fetch::sha256(&hashed).await != found.of.vectors_sha256 {
            return Some(Err(DiagnosisError::Vectors { path }));
        }
        Some(Ok(Arc::new(found)))
    }
}
