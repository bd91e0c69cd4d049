//! Chunks of the study, of rows for the table and of whole pairs: fetched when somebody first asks for them.

use std::collections::HashMap;
use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::de::DeserializeOwned;
use whence_shared::study::{ROWS_PER_ROW_CHUNK, ROWS_PER_TEXT_CHUNK, RowChunk, TextChunk};

use super::State;
use crate::fetch::{FetchError, File, sleep};

/// A chunk on its way, here, or not to be had.
pub type Chunk<T> = Option<Result<Arc<T>, FetchError>>;

/// Chunks of one kind, each fetched once, when first asked for.
pub struct Chunks<T: Send + Sync + 'static> {
    folder: &'static str,
    data: StoredValue<String>,
    fetched: StoredValue<HashMap<usize, ArcRwSignal<Chunk<T>>>>,
}

impl<T: Send + Sync + 'static> Clone for Chunks<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for Chunks<T> {}

impl<T: DeserializeOwned + Send + Sync + 'static> Chunks<T> {
    pub(super) fn new(folder: &'static str, data: StoredValue<String>) -> Self {
        Self { folder, data, fetched: StoredValue::default() }
    }

    /// Chunk `n`: `None` while it is on its way. Tracked.
    pub fn get(self, n: usize) -> Chunk<T> {
        if let Some(signal) = self.fetched.with_value(|fetched| fetched.get(&n).cloned()) {
            return signal.get();
        }
        let signal = ArcRwSignal::new(None);
        self.fetched.update_value(|fetched| {
            fetched.insert(n, signal.clone());
        });
        spawn_local({
            let signal = signal.clone();
            async move {
                // Every chunk in a turn of its own: a large top asks for all of them at once.
                sleep(0.0).await;
                signal.set(Some(self.fetch(n).await));
            }
        });
        signal.get()
    }

    /// Chunk `n`, from memory or from the server.
    ///
    /// # Errors
    ///
    /// When it does not arrive.
    pub async fn load(self, n: usize) -> Result<Arc<T>, FetchError> {
        let fetched = self.fetched.with_value(|fetched| fetched.get(&n).cloned());
        if let Some(Some(Ok(chunk))) = fetched.map(|signal| signal.get_untracked()) {
            return Ok(chunk);
        }
        self.fetch(n).await
    }

    /// The same, and it stays in memory.
    ///
    /// # Errors
    ///
    /// When it does not arrive.
    pub async fn keep(self, n: usize) -> Result<Arc<T>, FetchError> {
        let chunk = self.load(n).await?;
        self.fetched.update_value(|fetched| {
            fetched.entry(n).or_insert_with(|| ArcRwSignal::new(Some(Ok(chunk.clone()))));
        });
        Ok(chunk)
    }

    async fn fetch(self, n: usize) -> Result<Arc<T>, FetchError> {
        let path = format!("{}/{n}.json", self.folder);
        let folder = self.data.try_get_value().unwrap_or_default();
        File::new(&folder, &path).json().await.map(Arc::new)
    }
}

impl State {
    /// The table's columns of `row`, and its place in them; `None` while they are on their way. Tracked.
    pub fn row_chunk(self, row: u32) -> Option<(Arc<RowChunk>, usize)> {
        let row = row as usize;
        let chunk = self.rows.get(row / ROWS_PER_ROW_CHUNK)?.ok()?;
        (row % ROWS_PER_ROW_CHUNK < chunk.id.len()).then_some((chunk, row % ROWS_PER_ROW_CHUNK))
    }

    /// The chunk that holds the pair in `row`, and its place in it. Tracked.
    pub fn text_chunk(self, row: u32) -> (Chunk<TextChunk>, usize) {
        let row = row as usize;
        (self.texts.get(row / ROWS_PER_TEXT_CHUNK), row % ROWS_PER_TEXT_CHUNK)
    }
}
