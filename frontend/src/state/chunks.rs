//! Chunks of the study, of rows for the table and of whole pairs: fetched when somebody first asks for them.

use std::collections::HashMap;
use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::de::DeserializeOwned;
use whence_shared::study::{ROWS_PER_ROW_CHUNK, ROWS_PER_TEXT_CHUNK, RowChunk, TextChunk};

use super::State;
use crate::fetch::{FetchError, File, sleep};
use crate::ranker::now_ms;

/// A chunk on its way, here, or not to be had.
pub type Chunk<T> = Option<Result<Arc<T>, FetchError>>;

/// Milliseconds after which a chunk that did not arrive is fetched again when somebody asks for it.
const FAILED_MS: f64 = 5_000.0;

/// A chunk, and when it was asked for, in milliseconds.
type Asked<T> = (ArcRwSignal<Chunk<T>>, f64);

/// Chunks of one kind, each fetched once, when first asked for; one that did not arrive, when asked for later again.
pub struct Chunks<T: Send + Sync + 'static> {
    folder: &'static str,
    data: StoredValue<String>,
    fetched: StoredValue<HashMap<usize, Asked<T>>>,
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
        match self.known(n) {
            Some((chunk, at_ms)) if has_failed(&chunk) && now_ms() - at_ms > FAILED_MS => self.ask(n, chunk).get(),
            Some((chunk, _)) => chunk.get(),
            None => self.ask(n, ArcRwSignal::new(None)).get(),
        }
    }

    /// Fetches chunk `n`, which did not arrive, again.
    pub fn again(self, n: usize) {
        if let Some((chunk, _)) = self.known(n).filter(|(chunk, _)| has_failed(chunk)) {
            chunk.set(None);
            self.ask(n, chunk);
        }
    }

    fn known(self, n: usize) -> Option<Asked<T>> {
        self.fetched.with_value(|fetched| fetched.get(&n).cloned())
    }

    fn ask(self, n: usize, chunk: ArcRwSignal<Chunk<T>>) -> ArcRwSignal<Chunk<T>> {
        self.fetched.update_value(|fetched| {
            fetched.insert(n, (chunk.clone(), now_ms()));
        });
        spawn_local({
            let chunk = chunk.clone();
            async move {
                // Every chunk in a turn of its own: a large top asks for all of them at once.
                sleep(0.0).await;
                chunk.set(Some(self.fetch(n).await));
            }
        });
        chunk
    }

    /// Chunk `n`, from memory or from the server.
    ///
    /// # Errors
    ///
    /// When it does not arrive.
    pub async fn load(self, n: usize) -> Result<Arc<T>, FetchError> {
        if let Some(Some(Ok(chunk))) = self.known(n).map(|(chunk, _)| chunk.get_untracked()) {
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
        let found = Some(Ok(chunk.clone()));
        match self.known(n) {
            // What could not be had before can be now.
            Some((known, _)) if has_failed(&known) => known.set(found),
            Some(_) => {}
            None => {
                let asked = (ArcRwSignal::new(found), now_ms());
                let _ = self.fetched.try_update_value(|fetched| fetched.insert(n, asked));
            }
        }
        Ok(chunk)
    }

    async fn fetch(self, n: usize) -> Result<Arc<T>, FetchError> {
        let path = format!("{}/{n}.json", self.folder);
        let folder = self.data.try_get_value().unwrap_or_default();
        File::new(&folder, &path).json().await.map(Arc::new)
    }
}

fn has_failed<T: Send + Sync + 'static>(chunk: &ArcRwSignal<Chunk<T>>) -> bool {
    chunk.with_untracked(|chunk| matches!(chunk, Some(Err(_))))
}

impl State {
    /// The table's columns of `row`, and its place in them; `None` while they are on their way. Tracked.
    pub fn row_chunk(self, row: u32) -> Option<(Arc<RowChunk>, usize)> {
        let row = row as usize;
        let chunk = self.rows.get(row / ROWS_PER_ROW_CHUNK)?.ok()?;
        (row % ROWS_PER_ROW_CHUNK < chunk.id.len()).then_some((chunk, row % ROWS_PER_ROW_CHUNK))
    }

    /// Fetches the chunk that holds the pair in `row`, which did not arrive, again.
    pub fn text_chunk_again(self, row: u32) {
        self.texts.again(row as usize / ROWS_PER_TEXT_CHUNK);
    }

    /// The chunk that holds the pair in `row`, and its place in it. Tracked.
    pub fn text_chunk(self, row: u32) -> (Chunk<TextChunk>, usize) {
        let row = row as usize;
        (self.texts.get(row / ROWS_PER_TEXT_CHUNK), row % ROWS_PER_TEXT_CHUNK)
    }
}
