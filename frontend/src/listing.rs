//! Which pairs of the ranking are shown, and in which order: the filter and the order of the address, applied to what is known
//! of the pairs. The columns are fetched when something asks for them first.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::columns::{PATH, RowColumns};
use whence_shared::filter::listing::{Known, listing};
use whence_shared::filter::{Filter, Sort};
use whence_shared::study::{ROWS_PER_ROW_CHUNK, StudyView};

use crate::address::Page;
use crate::decisions::Decisions;
use crate::fetch::{FetchError, File, Transfer};
use crate::maps::marked;
use crate::saving::now_ms;
use crate::search::{Asked, MAX_TEXTS, Searcher};
use crate::state::{Ranking, State, StudyStatus};

/// Source, lengths and metadata of all pairs.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnsStatus {
    /// Nobody asked for them.
    Idle,
    /// On their way.
    Loading,
    /// Here.
    Ready(Arc<RowColumns>),
    /// Not to be had.
    Failed(String),
}

/// What is shown of the ranking; cheap to copy.
#[derive(Clone, Copy)]
pub struct Listing {
    /// What filters and orders need.
    pub columns: RwSignal<ColumnsStatus>,
    /// What pairs say.
    pub searcher: Searcher,
    /// Milliseconds that the last filter took, on the page's thread.
    pub took_ms: RwSignal<f64>,
    state: State,
}

impl Listing {
    /// Keeps `State::listed` as the address says. Called once, by the root component.
    pub fn start(state: State, decisions: Decisions) -> Self {
        let listing = Self {
            columns: RwSignal::new(ColumnsStatus::Idle),
            searcher: Searcher::new(state),
            took_ms: RwSignal::new(0.0),
            state,
        };
        let needs_columns = Memo::new(move |_| {
            let (page, is_asked) = (state.page.get(), state.filter.with(Filter::needs_columns));
            let is_charted = state.is_length_chart.get() || state.lasso.with(Option::is_some);
            match page {
                // Points that the filter leaves out are not lit.
                Page::Map => is_asked && state.ranking.with(Option::is_some),
                page => page.ranks() && (is_asked || is_charted || state.sort.get().needs_columns()),
            }
        });
        Effect::new(move || {
            if needs_columns.get() && matches!(state.study.get(), StudyStatus::Ready(_)) {
                listing.want_columns();
            }
        });
        let asked = Memo::new(move |_| listing.asked());
        Effect::new(move || {
            let n_pairs = state.ranking.with(|ranking| ranking.as_ref().map_or(0, |r| r.scores.len()));
            listing.searcher.ask(asked.get().filter(|_| n_pairs > 0), n_pairs);
        });
        Effect::new(move || listing.list(decisions));
        listing
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// Fetches the columns, unless they are here or on their way.
    pub fn want_columns(self) {
        if !matches!(self.columns.get_untracked(), ColumnsStatus::Idle | ColumnsStatus::Failed(_)) {
            return;
        }
        let StudyStatus::Ready(study) = self.state.study.get_untracked() else { return };
        self.columns.set(ColumnsStatus::Loading);
        spawn_local(async move {
            self.columns.set(match self.fetch(&study).await {
                Ok(columns) => ColumnsStatus::Ready(Arc::new(columns)),
                Err(reason) => ColumnsStatus::Failed(reason),
            });
        });
    }

    /// Fetches the columns, unless somebody tried to.
    pub fn want_columns_once(self) {
        if self.columns.with_untracked(|columns| *columns == ColumnsStatus::Idle) {
            self.want_columns();
        }
    }

    /// The columns, if they are here. Tracked.
    pub fn ready_columns(self) -> Option<Arc<RowColumns>> {
        match self.columns.get() {
            ColumnsStatus::Ready(columns) => Some(columns),
            _ => None,
        }
    }

    async fn fetch(self, study: &StudyView) -> Result<RowColumns, String> {
        match File::new(&self.state.data_folder(), PATH).bytes(&Transfer::default()).await {
            Ok(bytes) => {
                let columns = RowColumns::parse(&bytes.to_vec(), study.n_pairs);
                let columns = columns.map_err(|error| format!("{PATH}: {error}"))?;
                let is_theirs = study.pairs_sha256.is_empty() || columns.pairs_sha256 == study.pairs_sha256;
                is_theirs.then_some(columns).ok_or_else(|| format!("{PATH} is of other pairs than the study now has"))
            }
            // A study from before there were such files: without metadata, the table's own columns say the same.
            Err(FetchError::Status { status: 404, .. }) => {
                self.collect_columns(study.n_pairs).await.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn collect_columns(self, n_pairs: usize) -> Result<RowColumns, FetchError> {
        let mut columns = RowColumns::default();
        for n in 0..n_pairs.div_ceil(ROWS_PER_ROW_CHUNK) {
            let chunk = self.state.rows.load(n).await?;
            columns.source.extend(&chunk.source);
            columns.chosen_chars.extend(&chunk.chosen_chars);
            columns.rejected_chars.extend(&chunk.rejected_chars);
        }
        Ok(columns)
    }

    /// What to look for. Tracked.
    fn asked(self) -> Option<Asked> {
        let Filter { text, is_regex, in_texts, .. } = self.state.filter.get();
        if text.is_empty() {
            return None;
        }
        let in_texts_of = match in_texts {
            false => None,
            true => {
                let k = self.state.k.get().min(MAX_TEXTS);
                let ranking = self.state.ranking.get()?;
                Some(Arc::new(ranking.order[..k.min(ranking.order.len())].to_vec()))
            }
        };
        Some(Asked { text, is_regex, in_texts_of })
    }

    fn list(self, decisions: Decisions) {
        let (filter, sort) = (self.state.filter.get(), self.state.sort.get());
        let (Some(ranking), StudyStatus::Ready(study)) = (self.state.ranking.get(), self.state.study.get()) else {
            return;
        };
        if !self.state.is_filtered.get() && sort == Sort::default() {
            if self.state.listed.with_untracked(Option::is_some) {
                self.state.listed.set(None);
            }
            return;
        }
        let start_ms = now_ms();
        let rows = self.rows(&filter, sort, &ranking, &study, decisions);
        self.took_ms.set(now_ms() - start_ms);
        if self.state.listed.with_untracked(|listed| listed.as_deref() != Some(&rows)) {
            self.state.listed.set(Some(Arc::new(rows)));
        }
    }

    fn rows(self, filter: &Filter, sort: Sort, ranking: &Ranking, study: &StudyView, decisions: Decisions) -> Vec<u32> {
        let columns = self.ready_columns();
        let matches = (!filter.text.is_empty()).then(|| {
            self.searcher.search.with(|search| search.as_ref().map(|s| s.matches.clone()).unwrap_or_default())
        });
        let sources: Vec<&str> = study.sources.iter().map(|source| source.name.as_str()).collect();
        let n_rows = ranking.scores.len();
        // While the map is on its way nothing is known to lie within.
        let enclosed = self.state.lasso.with(Option::is_some).then(|| {
            self.state.selected_rows.with(|rows| rows.as_ref().map(|rows| marked(rows, n_rows)).unwrap_or_default())
        });
        // Nor is anything known to be in groups that are on their way.
        let grouped = (!filter.groups.is_empty()).then(|| {
            self.state.grouped_rows.with(|rows| rows.as_ref().map(|rows| marked(rows, n_rows)).unwrap_or_default())
        });
        decisions.list.with(|worklist| {
            let known = Known {
                order: &ranking.order,
                scores: &ranking.scores,
                sources: &sources,
                columns: columns.as_deref(),
                worklist,
                matches: matches.as_ref().map(|matches| matches.as_slice()),
                enclosed: enclosed.as_deref(),
                grouped: grouped.as_deref(),
            };
            listing(filter, sort, &known)
        })
    }
}
