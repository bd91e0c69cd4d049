//! What the page knows of a discovery: groups of prompts and pairs, and the matrix that they were made from.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use thiserror::Error;
use whence_shared::discovery::{DiscoveryView, FORMAT, Similarity};

use crate::address::Page;
use crate::fetch::{FetchError, File, Transfer};
use crate::state::{State, StudyStatus};

/// Why a discovery cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DiscoveryError {
    /// A file did not arrive, or cannot be read.
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
    /// The matrix does not belong to the groups.
    #[error("{path}: {reason}")]
    Matrix {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A discovery, whole.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// Groups and what they are made of.
    pub view: DiscoveryView,
    /// Cosines, row-major `[n_prompts, n_pairs]`.
    pub similarity: Vec<f32>,
}

impl Found {
    /// The cosine of a prompt's behavior vector with a pair vector.
    pub fn cosine(&self, prompt: usize, pair: usize) -> f32 {
        self.similarity[prompt * self.view.pairs.len() + pair]
    }
}

/// How far it is.
#[derive(Debug, Clone, PartialEq)]
pub enum DiscoveryStatus {
    /// On its way.
    Loading,
    /// The study has none.
    Absent,
    /// Here.
    Ready(Arc<Found>),
    /// Not to be had.
    Failed(DiscoveryError),
}

/// The chosen discovery; cheap to copy.
#[derive(Clone, Copy)]
pub struct Discovery {
    /// How far it is.
    pub status: RwSignal<DiscoveryStatus>,
    state: State,
}

impl Discovery {
    /// Fetches what is chosen once the page is shown. Called once, by the root component.
    pub fn start(state: State) -> Self {
        let discovery = Self { status: RwSignal::new(DiscoveryStatus::Loading), state };
        let chosen = Memo::new(move |_| match (state.page.get(), state.study.get()) {
            (Page::Discover, StudyStatus::Ready(study)) => {
                Some(state.groups.get().or(study.discoveries.first().cloned()))
            }
            _ => None,
        });
        Effect::new(move || match chosen.get() {
            None => {}
            Some(None) => discovery.status.set(DiscoveryStatus::Absent),
            Some(Some(name)) => discovery.fetch(name),
        });
        discovery
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// The name of what is shown or was asked for.
    pub fn name(self) -> Option<String> {
        match self.state.study.get() {
            StudyStatus::Ready(study) => self.state.groups.get().or(study.discoveries.first().cloned()),
            _ => None,
        }
    }

    /// Fetches a discovery unless it is shown already.
    pub fn fetch(self, name: String) {
        let is_shown = self
            .status
            .with_untracked(|status| matches!(status, DiscoveryStatus::Ready(found) if found.view.name == name));
        if is_shown {
            return;
        }
        self.status.set(DiscoveryStatus::Loading);
        spawn_local(async move {
            let found = self.read(&name).await;
            // Another may have been chosen meanwhile.
            if self.state.groups.get_untracked().is_some_and(|chosen| chosen != name) {
                return;
            }
            self.status.set(match found {
                Ok(found) => DiscoveryStatus::Ready(Arc::new(found)),
                Err(error) => DiscoveryStatus::Failed(error),
            });
        });
    }

    async fn read(self, name: &str) -> Result<Found, DiscoveryError> {
        let folder = self.state.data_folder();
        let path = format!("clusters/{name}/discovery.json");
        let view = File::new(&folder, &path).json::<DiscoveryView>().await?;
        if view.format != FORMAT {
            return Err(DiscoveryError::Format { path, got: view.format });
        }
        let path = format!("clusters/{name}/similarity.safetensors");
        let bytes = File::new(&folder, &path).bytes(&Transfer::default()).await?.to_vec();
        let similarity = Similarity::read(&bytes, view.prompts.len(), view.pairs.len())
            .map_err(|error| DiscoveryError::Matrix { path, reason: error.to_string() })?;
        Ok(Found { view, similarity: similarity.of_pairs })
    }
}
