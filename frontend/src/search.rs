//! What pairs say, looked through as far as it is at hand: the beginnings of all prompts, or the whole texts of the ranking's
//! first pairs. Piece by piece, so that the page answers meanwhile; what was found so far is shown with how far it is.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::filter::text::{Lines, Matcher, folded_pair};
use whence_shared::study::{ROWS_PER_ROW_CHUNK, ROWS_PER_TEXT_CHUNK};

use crate::fetch::FetchError;
use crate::saving::{now_ms, pause};
use crate::state::State;

/// Most pairs whose whole texts are looked through: each lies in a chunk of its own, which has to be fetched.
pub const MAX_TEXTS: usize = 1000;
/// Chunks on their way at a time.
const N_REQUESTS: usize = 4;
/// Milliseconds of work between two pauses.
const TURN_MS: f64 = 12.0;
/// Milliseconds between two states of a search that are shown.
const SHOW_MS: f64 = 120.0;

/// What is looked for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// As typed.
    pub text: String,
    /// Whether it is a pattern.
    pub is_regex: bool,
    /// The rows whose whole texts are looked through; `None` = the beginnings of all prompts.
    pub in_texts_of: Option<Arc<Vec<u32>>>,
}

/// How far a search is.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// What was asked.
    pub asked: Asked,
    /// By row, whether its text matches, as far as it was looked through.
    pub matches: Arc<Vec<bool>>,
    /// Pairs looked through.
    pub n_searched: usize,
    /// Pairs to look through.
    pub n_wanted: usize,
    /// Why it cannot go on, or what is wrong with the pattern.
    pub problem: Option<String>,
}

impl Search {
    /// Whether there is nothing left to do.
    pub fn is_done(&self) -> bool {
        self.problem.is_some() || self.n_searched == self.n_wanted
    }
}

/// The search of this page; cheap to copy.
#[derive(Clone, Copy)]
pub struct Searcher {
    /// How far it is; none while nothing is asked.
    pub search: RwSignal<Option<Search>>,
    /// Beginnings of prompts, by number of their chunk.
    lines: StoredValue<HashMap<usize, Arc<Lines>>>,
    /// Which search is on: an older one ends.
    id: StoredValue<u32>,
    state: State,
}

impl Searcher {
    /// Of a page that searches nothing yet.
    pub fn new(state: State) -> Self {
        let (lines, id) = (StoredValue::default(), StoredValue::new(0));
        Self { search: RwSignal::new(None), lines, id, state }
    }

    /// Looks for something else, or for nothing.
    pub fn ask(self, asked: Option<Asked>, n_pairs: usize) {
        let id = self.id.with_value(|id| id + 1);
        self.id.set_value(id);
        let Some(asked) = asked else {
            self.search.set(None);
            return;
        };
        let n_wanted = asked.in_texts_of.as_ref().map_or(n_pairs, |rows| rows.len());
        let matches = Arc::default();
        let mut search = Search { asked, matches, n_searched: 0, n_wanted, problem: None };
        let matcher = match Matcher::new(&search.asked.text, search.asked.is_regex) {
            Ok(matcher) => matcher,
            Err(reason) => {
                search.problem = Some(format!("The pattern cannot be read: {reason}"));
                self.search.set(Some(search));
                return;
            }
        };
        spawn_local(async move {
            let mut run =
                Run { searcher: self, id, found: vec![false; n_pairs], search, turn_ms: now_ms(), shown_ms: None };
            let result = match run.search.asked.in_texts_of.clone() {
                None => run.prompts(&matcher, n_pairs).await,
                Some(rows) => run.texts(&matcher, &rows).await,
            };
            if let Err(error) = result {
                run.search.problem = Some(format!("Not everything could be searched: {error}"));
            }
            run.show();
        });
    }
}

/// A search under way.
struct Run {
    searcher: Searcher,
    id: u32,
    found: Vec<bool>,
    search: Search,
    /// When this turn began.
    turn_ms: f64,
    /// When the search was shown last.
    shown_ms: Option<f64>,
}

impl Run {
    fn is_on(&self) -> bool {
        // The study may have made room for another one.
        self.searcher.id.try_get_value() == Some(self.id)
    }

    fn show(&mut self) {
        if self.is_on() {
            self.shown_ms = Some(now_ms());
            self.search.matches = Arc::new(self.found.clone());
            self.searcher.search.set(Some(self.search.clone()));
        }
    }

    /// Between two pieces: shows what there is and lets the page answer when it is time. Whether to go on.
    async fn breathe(&mut self) -> bool {
        let now = now_ms();
        if now - self.turn_ms >= TURN_MS {
            if self.shown_ms.is_none_or(|shown| now - shown >= SHOW_MS) {
                self.show();
            }
            pause().await;
            self.turn_ms = now_ms();
        }
        self.is_on()
    }

    async fn prompts(&mut self, matcher: &Matcher, n_pairs: usize) -> Result<(), FetchError> {
        let (lines, state) = (self.searcher.lines, self.searcher.state);
        let fetch = |n: usize| async move {
            if let Some(found) = lines.with_value(|lines| lines.get(&n).cloned()) {
                return Ok((n, found));
            }
            let chunk = state.rows.load(n).await?;
            let made = Arc::new(Lines::new(chunk.snippet.iter().map(String::as_str)));
            lines.update_value(|lines| drop(lines.insert(n, made.clone())));
            Ok((n, made))
        };
        let n_chunks = n_pairs.div_ceil(ROWS_PER_ROW_CHUNK);
        let mut chunks = futures_util::stream::iter(0..n_chunks).map(fetch).buffer_unordered(N_REQUESTS);
        while let Some((n, lines)) = chunks.try_next().await? {
            let first = n * ROWS_PER_ROW_CHUNK;
            // Patterns take longer: a part of the chunk at a time.
            for start in (0..lines.len()).step_by(512) {
                let end = (start + 512).min(lines.len());
                for i in start..end {
                    if let Some(found) = self.found.get_mut(first + i) {
                        *found = matcher.is_match(lines.get(i));
                    }
                }
                self.search.n_searched += end - start;
                if !self.breathe().await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn texts(&mut self, matcher: &Matcher, rows: &[u32]) -> Result<(), FetchError> {
        let state = self.searcher.state;
        let mut by_chunk: Vec<(usize, Vec<u32>)> = Vec::new();
        for &row in rows {
            let n = row as usize / ROWS_PER_TEXT_CHUNK;
            match by_chunk.iter_mut().find(|(chunk, _)| *chunk == n) {
                Some((_, rows)) => rows.push(row),
                None => by_chunk.push((n, vec![row])),
            }
        }
        let fetch = |(n, rows): (usize, Vec<u32>)| async move { state.texts.keep(n).await.map(|chunk| (chunk, rows)) };
        let mut chunks = futures_util::stream::iter(by_chunk).map(fetch).buffer_unordered(N_REQUESTS);
        while let Some((chunk, rows)) = chunks.try_next().await? {
            for row in rows {
                let pair = chunk.pairs.get(row as usize % ROWS_PER_TEXT_CHUNK);
                if let (Some(pair), Some(found)) = (pair, self.found.get_mut(row as usize)) {
                    *found = matcher.is_match(&folded_pair(pair));
                }
                self.search.n_searched += 1;
                if !self.breathe().await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
