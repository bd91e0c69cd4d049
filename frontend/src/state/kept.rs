//! Files that the browser keeps from one visit to the next: how many there are, and forgetting them.

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::State;
use crate::cache::Cache;

impl State {
    /// Forgets every file that the browser keeps.
    pub fn forget_files(self) {
        spawn_local(async move {
            if let Some(cache) = Cache::open().await {
                cache.clear().await;
                self.kept.set(Some(cache.size().await));
            }
        });
    }

    pub(super) fn count_kept(self) {
        spawn_local(async move {
            let size = match Cache::open().await {
                Some(cache) => Some(cache.size().await),
                None => None,
            };
            self.kept.set(size);
        });
    }
}
