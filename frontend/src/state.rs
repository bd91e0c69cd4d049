//! What the page knows: the study, what the reader chose, the ranking, and the chunks of rows and texts fetched so far.
//!
//! [`State`] is the one place that changes it; components read its signals and call its methods.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use js_sys::{Array, Float32Array, Uint32Array};
use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::de::DeserializeOwned;
use thiserror::Error;
use wasm_bindgen::JsCast;
use whence_shared::discovery::cutting::SideName;
use whence_shared::filter::{Filter, Sort};
use whence_shared::plane::lasso::Lasso;
use whence_shared::spans;
use whence_shared::study::{
    BehaviorView, FORMAT, LayerView, ROWS_PER_ROW_CHUNK, ROWS_PER_TEXT_CHUNK, RowChunk, StudyView, TextChunk,
};

use crate::address::{self, Address, ColorBy, Cuts, MapAddress, Page, Step, Trial};
use crate::cache::{Cache, CacheSize};
use crate::fetch::{FetchError, File, sleep};
use crate::opened;
use crate::protocol::{Ask, End, Goal, Of, Progress, Query, RankError, RankRequest, Reply, Report};
use crate::ranker_client::RankerClient;

/// Pairs that count as the top when the reader states nothing.
pub const DEFAULT_K: usize = 100;
/// The address follows the selection after this pause: browsers refuse hundreds of changes a minute.
const ADDRESS_PAUSE: Duration = Duration::from_millis(150);

/// Why there is no study to show.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StudyError {
    /// study.json did not arrive.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// study.json is of another version.
    #[error("data/study.json: expected format {FORMAT:?}, got {got:?}")]
    Format {
        /// What it says.
        got: String,
    },
}

/// The study, once it is there.
#[derive(Debug, Clone, PartialEq)]
pub enum StudyStatus {
    /// On its way.
    Loading,
    /// Here.
    Ready(Arc<StudyView>),
    /// Not to be had.
    Failed(StudyError),
}

/// What the reader looks at, as far as the study allows.
#[derive(Debug, Clone, PartialEq)]
pub enum View {
    /// No study yet, or none at all.
    NoStudy,
    /// A study without complete pair vectors.
    NoVectors(Arc<StudyView>),
    /// A study without behaviors.
    NoBehaviors(Arc<StudyView>),
    /// The behavior has no vectors at any layer the pairs have.
    NoSharedLayer(Arc<StudyView>, BehaviorView),
    /// A behavior and a layer to rank by.
    Ready {
        /// The study.
        study: Arc<StudyView>,
        /// The behavior.
        behavior: BehaviorView,
        /// The layer.
        layer: LayerView,
    },
}

/// How far the ranking is.
#[derive(Debug, Clone, PartialEq)]
pub enum RankStatus {
    /// Nothing was asked for.
    Idle,
    /// Under way.
    Working(Progress),
    /// Under way, but held up by the reader.
    Paused(Progress),
    /// Given up by the reader; what was known by then is shown.
    Stopped,
    /// Done.
    Ranked,
    /// Not to be had.
    Failed(RankError),
}

/// What the reader wants ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// What to rank by.
    pub query: Query,
    /// At which layer.
    pub layer: usize,
    /// How many pairs count as the top.
    pub k: usize,
    /// Of which end.
    pub end: End,
}

impl Wanted {
    /// Whether scores and order are about the same as another's, whatever k.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.query, self.layer, self.end) == (&other.query, other.layer, other.end)
    }
}

/// A ranking as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// What it is of.
    pub wanted: Wanted,
    /// The behavior's name, first of all in the query.
    pub behavior: String,
    /// Score of every row, in [−1, 1].
    pub scores: Vec<f32>,
    /// By row: the true score is within score ± radius; 0 = exact.
    pub radii: Vec<f32>,
    /// Rows from the wanted end of the ranking.
    pub order: Vec<u32>,
    /// Place of every row in `order`, from 0.
    pub places: Vec<u32>,
    /// How sure it is, and what it took.
    pub report: Report,
}

impl Ranking {
    fn new(wanted: Wanted, report: Report, message: &Array) -> Self {
        let floats = |at| message.get(at).unchecked_into::<Float32Array>().to_vec();
        let rows = |at| message.get(at).unchecked_into::<Uint32Array>().to_vec();
        let behavior = match &wanted.query.of {
            Of::Direction(name) | Of::Bank(name) | Of::Subset(name, _) => name.clone(),
            Of::Sum(parts) => parts.first().map(|(_, name)| name.clone()).unwrap_or_default(),
        };
        Self { wanted, behavior, scores: floats(1), radii: floats(2), order: rows(3), places: rows(4), report }
    }

    /// The score at a place, from 0.
    pub fn score_at(&self, place: usize) -> Option<f32> {
        self.order.get(place).map(|&row| self.scores[row as usize])
    }

    /// How far the true score of the pair at a place may be from the one shown.
    pub fn radius_at(&self, place: usize) -> Option<f32> {
        self.order.get(place).map(|&row| self.radii[row as usize])
    }

    /// The place of a row, from 0.
    pub fn place_of(&self, row: u32) -> Option<usize> {
        self.places.get(row as usize).map(|&place| place as usize)
    }
}

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
    fn new(folder: &'static str, data: StoredValue<String>) -> Self {
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

/// All of the above; cheap to copy.
#[derive(Clone, Copy)]
pub struct State {
    /// Which page is shown.
    pub page: Memo<Page>,
    /// The study.
    pub study: RwSignal<StudyStatus>,
    /// Behavior and layer.
    pub view: Memo<View>,
    /// How many pairs count as the top: 1 ..= number of pairs.
    pub k: Memo<usize>,
    /// Row of the selected pair.
    pub row: Memo<Option<u32>>,
    /// Rows of the behavior's prompts that make the direction, where not all of them do.
    pub only: Memo<Option<Vec<u32>>>,
    /// The discovery that the address names.
    pub groups: Memo<Option<String>>,
    /// Where it is cut.
    pub cuts: Memo<Cuts>,
    /// How the map is looked at.
    pub map: Memo<MapAddress>,
    /// What points of the map are colored by.
    pub color: Memo<ColorBy>,
    /// The lasso on the map: pairs that it does not enclose are not shown.
    pub lasso: Memo<Option<Arc<Lasso>>>,
    /// Rows of the pairs that it encloses, ascending; `None` while there is no lasso or its map is not here.
    /// [`crate::maps::Maps`] sets it.
    pub selected_rows: RwSignal<Option<Arc<[u32]>>>,
    /// Whether what is shown needs scores.
    pub needs_ranking: Memo<bool>,
    /// How far the ranking is.
    pub status: RwSignal<RankStatus>,
    /// The last ranking, as far as it is known; it stays until there is something of the next one.
    pub ranking: RwSignal<Option<Arc<Ranking>>>,
    /// What the reader wants ranked, if the study has it.
    pub wanted: Memo<Option<Wanted>>,
    /// What the browser keeps of downloaded files; `None` where it keeps nothing.
    pub kept: RwSignal<Option<CacheSize>>,
    /// Which pairs of the ranking are shown.
    pub filter: Memo<Filter>,
    /// Whether a filter or a lasso may leave pairs out.
    pub is_filtered: Memo<bool>,
    /// In which order.
    pub sort: Memo<Sort>,
    /// Whether the chart beside the ranking shows lengths.
    pub is_length_chart: Memo<bool>,
    /// The rows that are shown, in their order, where these are not all in the order of the ranking
    /// ([`crate::listing`]).
    pub listed: RwSignal<Option<Arc<Vec<u32>>>>,
    /// Something the reader should know about how the address was read.
    pub remark: RwSignal<Option<String>>,
    /// Number of the job whose log is shown.
    pub job: Memo<Option<u64>>,
    /// The verb that a job can be started of.
    pub verb: Memo<Option<String>>,
    /// The page of the study that was read last.
    pub came_from: RwSignal<Page>,
    /// How often the study was read again, because something was made in it: what was fetched of it may be of old.
    pub n_readings: RwSignal<usize>,
    /// Columns of the table.
    pub rows: Chunks<RowChunk>,
    /// Whole pairs.
    pub texts: Chunks<TextChunk>,
    address: RwSignal<Address>,
    data: StoredValue<String>,
    client: StoredValue<Option<Rc<RankerClient>>, LocalStorage>,
    /// Id of the last request, and what it is for.
    request: StoredValue<(u32, Option<Wanted>)>,
    pause: StoredValue<Option<TimeoutHandle>>,
}

impl State {
    /// Reads the address and starts fetching the study. Called once, by the root component.
    pub fn start() -> Self {
        let data = StoredValue::new(opened::data_folder().unwrap_or_else(address::data_folder));
        let study = RwSignal::new(StudyStatus::Loading);
        let address = RwSignal::new(Address::read());
        let view = Memo::new(move |_| resolve(&study.get(), &address.get()));
        let k = Memo::new(move |_| match study.get() {
            StudyStatus::Ready(study) => address.get().k.unwrap_or(DEFAULT_K).clamp(1, study.n_pairs.max(1)),
            _ => DEFAULT_K,
        });
        let wanted = Memo::new(move |_| {
            let (View::Ready { study, behavior, layer }, address) = (view.get(), address.get()) else { return None };
            let is_other = |name: &String| {
                *name != behavior.name
                    && study.behaviors.iter().any(|b| b.name == *name && b.layers.contains(&layer.layer))
            };
            let without: Vec<String> = address.without.into_iter().filter(is_other).collect();
            let of = match address.only.as_deref().and_then(spans::parse) {
                Some(rows) => Of::Subset(behavior.name, rows),
                None if address.is_bank => Of::Bank(behavior.name),
                None => Of::Direction(behavior.name),
            };
            Some(Wanted { query: Query { of, without }, layer: layer.layer, k: k.get(), end: address.end })
        });
        let color = Memo::new(move |_| match address.with(|address| address.map.color.clone()) {
            Some(color) => color,
            None if matches!(view.get(), View::Ready { .. }) => ColorBy::Score,
            None => ColorBy::Nothing,
        });
        // Whoever reads another page downloads no vectors.
        let needs_ranking = Memo::new(move |_| match address.with(|address| address.page) {
            Page::Map => color.get() == ColorBy::Score,
            page => page.ranks(),
        });
        let lasso = Memo::new(move |_| {
            address.with(|address| address.map.lasso.as_deref().and_then(Lasso::parse)).map(Arc::new)
        });
        let filter = Memo::new(move |_| address.with(|address| address.filter.clone()));
        let state = Self {
            page: Memo::new(move |_| address.with(|address| address.page)),
            study,
            view,
            k,
            wanted,
            kept: RwSignal::new(None),
            row: Memo::new(move |_| address.get().row),
            only: Memo::new(move |_| address.with(|address| address.only.as_deref().and_then(spans::parse))),
            groups: Memo::new(move |_| address.get().groups),
            cuts: Memo::new(move |_| address.with(|address| address.cuts)),
            map: Memo::new(move |_| address.with(|address| address.map.clone())),
            color,
            lasso,
            selected_rows: RwSignal::new(None),
            needs_ranking,
            status: RwSignal::new(RankStatus::Idle),
            ranking: RwSignal::new(None),
            filter,
            is_filtered: Memo::new(move |_| lasso.with(Option::is_some) || !filter.with(Filter::is_empty)),
            sort: Memo::new(move |_| address.with(|address| address.sort)),
            is_length_chart: Memo::new(move |_| address.with(|address| address.is_length_chart)),
            listed: RwSignal::new(None),
            remark: RwSignal::new(None),
            job: Memo::new(move |_| address.with(|address| address.job)),
            verb: Memo::new(move |_| address.with(|address| address.verb.clone())),
            came_from: RwSignal::new(Page::default()),
            n_readings: RwSignal::new(0),
            rows: Chunks::new("rows", data),
            texts: Chunks::new("texts", data),
            address,
            data,
            client: StoredValue::new_local(None),
            request: StoredValue::default(),
            pause: StoredValue::default(),
        };
        let listener = window_event_listener(leptos::ev::popstate, move |_| state.address.set(Address::read()));
        on_cleanup(move || listener.remove());
        Effect::new(move || state.rank());
        Effect::new(move || state.complete_address());
        Effect::new(move || {
            let page = state.page.get();
            if page.is_of_study() {
                state.came_from.set(page);
            }
        });
        spawn_local(async move {
            let loaded = File::new(&data.get_value(), "study.json").json::<StudyView>().await;
            study.set(match loaded {
                Ok(view) if view.format != FORMAT => StudyStatus::Failed(StudyError::Format { got: view.format }),
                Ok(view) => StudyStatus::Ready(Arc::new(view)),
                Err(error) => StudyStatus::Failed(error.into()),
            });
        });
        state
    }

    /// The state of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// The study's folder as commands name it. Tracked.
    pub fn study_name(self) -> String {
        self.study.with(|study| match study {
            StudyStatus::Ready(study) => study.name.clone(),
            _ => "STUDY_FOLDER".to_owned(),
        })
    }

    /// Whether the study is shown without the texts of its pairs. Tracked.
    pub fn are_texts_withheld(self) -> bool {
        self.study.with(|study| matches!(study, StudyStatus::Ready(study) if study.texts_withheld))
    }

    /// Absolute address of the folder that holds the study, with a final slash.
    pub fn data_folder(self) -> String {
        self.data.get_value()
    }

    /// Shows another page.
    pub fn open_page(self, page: Page) {
        self.change(Step::Push, |address| address.page = page);
    }

    /// The address of another page with everything else as chosen. Tracked.
    pub fn link_to(self, page: Page) -> Option<String> {
        Address { page, ..self.address.get() }.href()
    }

    /// The address of a pair on a page. Tracked.
    pub fn link_to_pair(self, page: Page, row: u32) -> Option<String> {
        Address { page, row: Some(row), ..self.address.get() }.href()
    }

    /// The address of a page as others can open it, who run no jobs. Tracked.
    pub fn link_for_others(self, page: Page) -> Option<String> {
        Address { page, job: None, verb: None, ..self.address.get() }.href()
    }

    /// The address of a job's log. Tracked.
    pub fn link_to_job(self, id: u64) -> Option<String> {
        Address { page: Page::Jobs, job: Some(id), ..self.address.get() }.href()
    }

    /// Shows a job's log, or none.
    pub fn choose_job(self, id: Option<u64>) {
        self.change(Step::Push, |address| address.job = id);
    }

    /// Chooses the verb that a job can be started of.
    pub fn choose_verb(self, verb: &str) {
        self.change(Step::Replace, |address| address.verb = Some(verb.to_owned()));
    }

    /// Shows the form that starts a job of a verb.
    pub fn open_start(self, verb: &str) {
        self.change(Step::Push, |address| (address.page, address.verb) = (Page::Jobs, Some(verb.to_owned())));
    }

    /// Reads the study again, after something was made in it. What was read before stays where it cannot be read now.
    pub async fn read_again(self) {
        let read = File::new(&self.data.get_value(), "study.json").json::<StudyView>().await;
        let Ok(study) = read else { return };
        if study.format != FORMAT {
            return;
        }
        let before = self.view.get_untracked();
        let is_other = self.study.with_untracked(|known| !matches!(known, StudyStatus::Ready(it) if **it == study));
        if is_other {
            self.study.set(StudyStatus::Ready(Arc::new(study)));
        }
        if is_made_anew(&before, &self.view.get_untracked()) {
            // The worker keeps what it read of the old files.
            self.client.set_value(None);
            self.request.update_value(|(_, asked)| *asked = None);
            untrack(|| self.rank());
        }
        self.n_readings.update(|n| *n += 1);
    }

    /// Shows a pair in the ranking.
    pub fn show_pair(self, row: u32) {
        self.change(Step::Push, |address| (address.page, address.row) = (Page::Ranking, Some(row)));
    }

    /// Shows another discovery.
    pub fn choose_groups(self, name: String) {
        self.change(Step::Push, |address| (address.groups, address.cuts) = (Some(name), Cuts::default()));
    }

    /// Changes how the map is looked at, or what is selected on it.
    pub fn change_map(self, step: Step, edit: impl FnOnce(&mut MapAddress)) {
        self.change(step, |address| edit(&mut address.map));
    }

    /// Cuts one side of the discovery into `k` groups, or as it is stored.
    pub fn choose_cut(self, side: SideName, k: Option<usize>) {
        self.change(Step::Replace, |address| address.cuts = address.cuts.with(side, k));
    }

    /// The address of the ranking by the direction of some of a behavior's prompts. Tracked.
    pub fn link_to_ranking_by(self, behavior: &str, prompts: &[u32]) -> Option<String> {
        let mut address = self.address.get();
        set_ranking_by(&mut address, behavior, prompts);
        address.href()
    }

    /// Ranks by the direction of some of a behavior's prompts.
    pub fn rank_by(self, behavior: &str, prompts: &[u32]) {
        self.change(Step::Push, |address| set_ranking_by(address, behavior, prompts));
    }

    /// Ranks by all of the behavior's prompts again.
    pub fn rank_by_all(self) {
        self.change(Step::Push, |address| address.only = None);
    }

    /// Ranks by another behavior.
    pub fn choose_behavior(self, name: String) {
        self.change(Step::Push, |address| (address.behavior, address.only) = (Some(name), None));
    }

    /// Shows the ranking by a behavior, from wherever it is asked for.
    pub fn rank_by_behavior(self, name: String) {
        self.change(Step::Push, |address| {
            (address.page, address.behavior, address.only) = (Page::Ranking, Some(name), None);
        });
    }

    /// Shows the ranking at a layer, from wherever it is asked for.
    pub fn rank_at_layer(self, layer: usize) {
        self.change(Step::Push, |address| (address.page, address.layer) = (Page::Ranking, Some(layer)));
    }

    /// Ranks at another layer.
    pub fn choose_layer(self, layer: usize) {
        self.change(Step::Push, |address| address.layer = Some(layer));
    }

    /// Changes how many pairs count as the top.
    pub fn choose_k(self, k: usize) {
        self.change(Step::Replace, |address| address.k = Some(k.max(1)));
    }

    /// Ranks from the other end.
    pub fn choose_end(self, end: End) {
        self.change(Step::Push, |address| address.end = end);
    }

    /// Ranks by the largest score with any of the behavior's vectors, or by their direction.
    pub fn choose_bank(self, is_bank: bool) {
        self.change(Step::Push, |address| address.is_bank = is_bank);
    }

    /// Projects another behavior's direction out, or none.
    pub fn choose_without(self, name: Option<String>) {
        self.change(Step::Push, |address| address.without = name);
    }

    /// Holds the ranking up, or lets it go on.
    pub fn set_paused(self, is_paused: bool) {
        let status = match (self.status.get_untracked(), is_paused) {
            (RankStatus::Working(progress), true) => RankStatus::Paused(progress),
            (RankStatus::Paused(progress), false) => RankStatus::Working(progress),
            _ => return,
        };
        self.status.set(status);
        self.ask(if is_paused { Ask::Pause } else { Ask::Resume });
    }

    /// Gives the ranking up as it is.
    pub fn stop(self) {
        if matches!(self.status.get_untracked(), RankStatus::Working(_) | RankStatus::Paused(_)) {
            self.status.set(RankStatus::Stopped);
            self.ask(Ask::Cancel);
        }
    }

    /// Reads on until the wanted pairs' scores are exact.
    pub fn make_exact(self) {
        self.request(Goal::Exact);
    }

    /// Forgets every file that the browser keeps.
    pub fn forget_files(self) {
        spawn_local(async move {
            if let Some(cache) = Cache::open().await {
                cache.clear().await;
                self.kept.set(Some(cache.size().await));
            }
        });
    }

    fn count_kept(self) {
        spawn_local(async move {
            let size = match Cache::open().await {
                Some(cache) => Some(cache.size().await),
                None => None,
            };
            self.kept.set(size);
        });
    }

    /// The wanted end. Tracked.
    pub fn end(self) -> End {
        self.wanted.with(|wanted| wanted.as_ref().map(|wanted| wanted.end)).unwrap_or_default()
    }

    /// Selects a pair, or none.
    pub fn select(self, row: Option<u32>, step: Step) {
        self.change(step, |address| address.row = row);
    }

    /// Changes which pairs are shown.
    pub fn choose_filter(self, step: Step, edit: impl FnOnce(&mut Filter)) {
        self.change(step, |address| edit(&mut address.filter));
    }

    /// Shows all pairs again: no filter and no lasso.
    pub fn show_all(self) {
        self.change(Step::Push, |address| (address.filter, address.map.lasso) = (Filter::default(), None));
    }

    /// Changes the order in which pairs are shown.
    pub fn choose_sort(self, sort: Sort) {
        self.change(Step::Push, |address| address.sort = sort);
    }

    /// Shows scores and lengths beside the ranking, or scores alone.
    pub fn choose_length_chart(self, is_chosen: bool) {
        self.change(Step::Replace, |address| address.is_length_chart = is_chosen);
    }

    /// Rows of the pairs that a filter leaves in, where there is one and a ranking to filter: what the map lights. Tracked.
    pub fn lit_rows(self) -> Option<Arc<Vec<u32>>> {
        self.listed.get().filter(|_| self.is_filtered.get())
    }

    /// How many pairs are shown. Tracked.
    pub fn n_listed(self) -> usize {
        self.with_listed(<[u32]>::len)
    }

    /// The row of the pair that is shown at a position, from 0. Tracked.
    pub fn row_at(self, position: usize) -> Option<u32> {
        self.with_listed(|rows| rows.get(position).copied())
    }

    /// The selected pair's position among those shown, from 0. Tracked.
    pub fn position(self) -> Option<usize> {
        let row = self.row.get()?;
        match self.listed.with(Option::is_none) {
            true => self.place(),
            false => self.with_listed(|rows| rows.iter().position(|listed| *listed == row)),
        }
    }

    /// Selects the pair that is shown at a position, counted from 0; the last one when there are fewer.
    pub fn select_position(self, position: usize, step: Step) {
        let row = untrack(|| self.with_listed(|rows| rows.get(position.min(rows.len().saturating_sub(1))).copied()));
        if row.is_some() {
            self.select(row, step);
        }
    }

    fn with_listed<T>(self, read: impl FnOnce(&[u32]) -> T) -> T {
        self.listed.with(|listed| match listed {
            Some(rows) => read(rows),
            None => self.ranking.with(|ranking| read(ranking.as_ref().map_or(&[], |r| &r.order))),
        })
    }

    /// Selects the pair at a place of the ranking, counted from 0; the last one when there are fewer.
    pub fn select_place(self, place: usize, step: Step) {
        let row = self.ranking.with_untracked(|ranking| {
            let order = &ranking.as_ref()?.order;
            order.get(place.min(order.len().saturating_sub(1))).copied()
        });
        if row.is_some() {
            self.select(row, step);
        }
    }

    /// The selected pair's place in the ranking, from 0. Tracked.
    pub fn place(self) -> Option<usize> {
        let row = self.row.get()?;
        self.ranking.with(|ranking| ranking.as_ref()?.place_of(row))
    }

    /// Tries the ranking again after a failure, or goes on after a stop.
    pub fn retry(self) {
        // A worker that stopped does not start again.
        if matches!(self.status.get_untracked(), RankStatus::Failed(RankError::Worker { .. })) {
            self.client.set_value(None);
        }
        self.request(Goal::Certain);
    }

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

    fn change(self, step: Step, edit: impl FnOnce(&mut Address)) {
        let before = self.address.get_untracked();
        let mut after = before.clone();
        edit(&mut after);
        if after == before {
            return;
        }
        self.remark.set(None);
        self.address.set(after);
        if let Some(pause) = self.pause.try_update_value(Option::take).flatten() {
            pause.clear();
        }
        match step {
            Step::Push => self.address.with_untracked(|address| address.write(step)),
            Step::Replace => {
                // The study may have made room for another one.
                let write = move || self.address.try_with_untracked(|address| address.write(step)).unwrap_or_default();
                self.pause.set_value(set_timeout_with_handle(write, ADDRESS_PAUSE).ok());
            }
        }
    }

    /// States in the address what the app chose by itself, and remarks on what it could not follow.
    fn complete_address(self) {
        let (View::Ready { behavior, layer, study }, k) = (self.view.get(), self.k.get()) else { return };
        let stated = self.address.get();
        if !self.needs_ranking.get() {
            return;
        }
        let mut remarks = Vec::new();
        if let Some(name) = stated.behavior.as_ref().filter(|name| **name != behavior.name) {
            remarks.push(format!("This study has no behavior “{name}”: showing “{}”.", behavior.name));
        } else if let Some(number) = stated.layer.filter(|number| *number != layer.layer) {
            remarks.push(format!("There are no vectors at layer {number}: showing layer {}.", layer.layer));
        }
        if let Some(row) = stated.row.filter(|row| *row as usize >= study.n_pairs) {
            remarks.push(format!("This study has no row {row}: it has {} pairs.", study.n_pairs));
        }
        let complete = Address {
            behavior: Some(behavior.name),
            layer: Some(layer.layer),
            k: Some(k),
            without: self.wanted.get().and_then(|wanted| wanted.query.without.first().cloned()),
            only: stated.only.clone().filter(|_| self.only.get().is_some()),
            row: stated.row.filter(|row| (*row as usize) < study.n_pairs),
            ..stated.clone()
        };
        if complete != stated {
            if !remarks.is_empty() {
                self.remark.set(Some(remarks.join(" ")));
            }
            complete.write(Step::Replace);
            self.address.set(complete);
        }
    }

    fn rank(self) {
        if !self.needs_ranking.get() {
            return;
        }
        let wanted = self.wanted.get();
        let (_, asked) = self.request.get_value();
        if wanted.is_some() && wanted != asked {
            self.request(Goal::Certain);
        }
    }

    fn request(self, goal: Goal) {
        let (Some(wanted), View::Ready { study, layer, .. }) = (self.wanted.get_untracked(), self.view.get_untracked())
        else {
            return;
        };
        let Wanted { query, k, end, .. } = wanted.clone();
        let id = self.request.with_value(|(id, _)| id + 1);
        self.request.set_value((id, Some(wanted)));
        self.status.set(RankStatus::Working(Progress::default()));
        let Trial { n_workers, index, .. } = Trial::read();
        self.ask(Ask::Rank(Box::new(RankRequest {
            id,
            data: self.data.get_value(),
            gather: study.gather,
            n_pairs: study.n_pairs,
            layer,
            query,
            k,
            end,
            goal,
            index,
            n_workers,
        })));
    }

    fn ask(self, ask: Ask) {
        match self.client.get_value().map_or_else(|| self.start_client(), Ok) {
            Ok(client) => client.ask(ask),
            Err(error) => self.status.set(RankStatus::Failed(error)),
        }
    }

    fn start_client(self) -> Result<Rc<RankerClient>, RankError> {
        let failed = Rc::new(RefCell::new(false));
        let client = RankerClient::start(
            move |reply, message| self.on_reply(reply, message),
            move |error| {
                if !failed.replace(true) {
                    self.status.set(RankStatus::Failed(error));
                }
            },
        )?;
        self.client.set_value(Some(client.clone()));
        Ok(client)
    }

    fn on_reply(self, reply: Reply, message: &Array) {
        let (current, wanted) = self.request.get_value();
        let is_under_way = matches!(self.status.get_untracked(), RankStatus::Working(_) | RankStatus::Paused(_));
        match reply {
            Reply::Progress { id, progress } if id == current && is_under_way => {
                let is_paused = matches!(self.status.get_untracked(), RankStatus::Paused(_));
                let status = if is_paused { RankStatus::Paused } else { RankStatus::Working };
                self.status.set(status(progress));
            }
            Reply::Ranking { id, report } if id == current => {
                let Some(wanted) = wanted else { return };
                let is_final = report.is_final;
                self.ranking.set(Some(Arc::new(Ranking::new(wanted, *report, message))));
                if is_final {
                    self.status.set(RankStatus::Ranked);
                    self.count_kept();
                }
            }
            Reply::Failed { id, error } if id == current => self.status.set(RankStatus::Failed(error)),
            // Ready, what the page knows already, or a reply to a request that another one replaced.
            _ => {}
        }
    }
}

fn set_ranking_by(address: &mut Address, behavior: &str, prompts: &[u32]) {
    address.page = Page::Ranking;
    address.behavior = Some(behavior.to_owned());
    address.only = Some(spans::format(prompts));
    (address.row, address.without, address.is_bank) = (None, None, false);
}

/// Whether what is ranked has the same name as before and other vectors.
fn is_made_anew(before: &View, after: &View) -> bool {
    let (View::Ready { behavior: b, layer: l, .. }, View::Ready { behavior, layer, .. }) = (before, after) else {
        return false;
    };
    let is_same_name = b.name == behavior.name && l.layer == layer.layer;
    is_same_name && ((&b.inputs, b.n_pairs) != (&behavior.inputs, behavior.n_pairs) || l.shards != layer.shards)
}

/// The behavior and layer that the address asks for, or the nearest there is.
fn resolve(status: &StudyStatus, address: &Address) -> View {
    let StudyStatus::Ready(study) = status else { return View::NoStudy };
    if study.layers.is_empty() {
        return View::NoVectors(study.clone());
    }
    let named = study.behaviors.iter().find(|behavior| Some(&behavior.name) == address.behavior.as_ref());
    // Unless one is named, one that somebody looked into: others may be there only to be grouped.
    let diagnosed = || study.behaviors.iter().find(|behavior| !behavior.diagnosed_layers.is_empty());
    let Some(behavior) = named.or_else(diagnosed).or(study.behaviors.first()) else {
        return View::NoBehaviors(study.clone());
    };
    let wanted = address.layer.unwrap_or_else(|| {
        let usual = default_layer(study);
        let diagnosed = behavior.diagnosed_layers.iter().copied();
        diagnosed.min_by_key(|layer| layer.abs_diff(usual)).unwrap_or(usual)
    });
    let shared = shared_layers(study, behavior);
    match shared.into_iter().min_by_key(|layer| layer.layer.abs_diff(wanted)) {
        Some(layer) => View::Ready { study: study.clone(), behavior: behavior.clone(), layer: layer.clone() },
        None => View::NoSharedLayer(study.clone(), behavior.clone()),
    }
}

/// Layers at which both the pairs and the behavior have vectors.
pub fn shared_layers<'a>(study: &'a StudyView, behavior: &BehaviorView) -> Vec<&'a LayerView> {
    study.layers.iter().filter(|layer| behavior.layers.contains(&layer.layer)).collect()
}

/// Five eighths of the depth, where the method was found to work best (layer 20 of 32).
fn default_layer(study: &StudyView) -> usize {
    study.model.as_ref().map_or(0, |model| (model.n_layers * 5).div_ceil(8))
}
