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
use whence_shared::study::{
    BehaviorView, FORMAT, LayerView, ROWS_PER_ROW_CHUNK, ROWS_PER_TEXT_CHUNK, RowChunk, StudyView, TextChunk,
};

use crate::address::{Address, Step};
use crate::fetch::{FetchError, File};
use crate::protocol::{Progress, RankCost, RankError, RankReply, RankRequest};
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
    /// Done, at this cost.
    Ranked(RankCost),
    /// Not to be had.
    Failed(RankError),
}

/// A finished ranking.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// The behavior's name.
    pub behavior: String,
    /// The layer.
    pub layer: usize,
    /// Score of every row, in [−1, 1].
    pub scores: Vec<f32>,
    /// Rows from the highest score to the lowest.
    pub order: Vec<u32>,
    /// Place of every row in `order`, from 0.
    pub places: Vec<u32>,
}

impl Ranking {
    fn new(behavior: String, layer: usize, scores: Vec<f32>, order: Vec<u32>) -> Self {
        let mut places = vec![0; order.len()];
        for (place, &row) in order.iter().enumerate() {
            places[row as usize] = place as u32;
        }
        Self { behavior, layer, scores, order, places }
    }

    /// The score at a place, from 0.
    pub fn score_at(&self, place: usize) -> Option<f32> {
        self.order.get(place).map(|&row| self.scores[row as usize])
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
            async move { signal.set(Some(self.fetch(n).await)) }
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

    async fn fetch(self, n: usize) -> Result<Arc<T>, FetchError> {
        let path = format!("{}/{n}.json", self.folder);
        File { folder: &self.data.get_value(), path: &path }.json().await.map(Arc::new)
    }
}

/// All of the above; cheap to copy.
#[derive(Clone, Copy)]
pub struct State {
    /// The study.
    pub study: RwSignal<StudyStatus>,
    /// Behavior and layer.
    pub view: Memo<View>,
    /// How many pairs count as the top: 1 ..= number of pairs.
    pub k: Memo<usize>,
    /// Row of the selected pair.
    pub row: Memo<Option<u32>>,
    /// How far the ranking is.
    pub status: RwSignal<RankStatus>,
    /// The last finished ranking; it stays until the next one is there.
    pub ranking: RwSignal<Option<Arc<Ranking>>>,
    /// Something the reader should know about how the address was read.
    pub remark: RwSignal<Option<String>>,
    /// Columns of the table.
    pub rows: Chunks<RowChunk>,
    /// Whole pairs.
    pub texts: Chunks<TextChunk>,
    address: RwSignal<Address>,
    data: StoredValue<String>,
    client: StoredValue<Option<Rc<RankerClient>>, LocalStorage>,
    /// Id of the last request and the behavior and layer it is for.
    request: StoredValue<(u32, String, usize)>,
    pause: StoredValue<Option<TimeoutHandle>>,
}

impl State {
    /// Reads the address and starts fetching the study. Called once, by the root component.
    pub fn start() -> Self {
        let base = document().base_uri().ok().flatten().unwrap_or_default();
        let folder = web_sys::Url::new_with_base("data/", &base).map(|url| url.href()).unwrap_or_default();
        let data = StoredValue::new(folder);
        let study = RwSignal::new(StudyStatus::Loading);
        let address = RwSignal::new(Address::read());
        let view = Memo::new(move |_| resolve(&study.get(), &address.get()));
        let k = Memo::new(move |_| match study.get() {
            StudyStatus::Ready(study) => address.get().k.unwrap_or(DEFAULT_K).clamp(1, study.n_pairs.max(1)),
            _ => DEFAULT_K,
        });
        let state = Self {
            study,
            view,
            k,
            row: Memo::new(move |_| address.get().row),
            status: RwSignal::new(RankStatus::Idle),
            ranking: RwSignal::new(None),
            remark: RwSignal::new(None),
            rows: Chunks::new("rows", data),
            texts: Chunks::new("texts", data),
            address,
            data,
            client: StoredValue::new_local(None),
            request: StoredValue::default(),
            pause: StoredValue::default(),
        };
        window_event_listener(leptos::ev::popstate, move |_| state.address.set(Address::read()));
        Effect::new(move || state.rank());
        Effect::new(move || state.complete_address());
        spawn_local(async move {
            let loaded = File { folder: &data.get_value(), path: "study.json" }.json::<StudyView>().await;
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

    /// Ranks by another behavior.
    pub fn choose_behavior(self, name: String) {
        self.change(Step::Push, |address| address.behavior = Some(name));
    }

    /// Ranks at another layer.
    pub fn choose_layer(self, layer: usize) {
        self.change(Step::Push, |address| address.layer = Some(layer));
    }

    /// Changes how many pairs count as the top.
    pub fn choose_k(self, k: usize) {
        self.change(Step::Replace, |address| address.k = Some(k.max(1)));
    }

    /// Selects a pair, or none.
    pub fn select(self, row: Option<u32>, step: Step) {
        self.change(step, |address| address.row = row);
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

    /// Tries the ranking again after a failure.
    pub fn retry(self) {
        // A worker that stopped does not start again.
        if matches!(self.status.get_untracked(), RankStatus::Failed(RankError::Worker { .. })) {
            self.client.set_value(None);
        }
        self.rank();
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
                let write = move || self.address.with_untracked(|address| address.write(step));
                self.pause.set_value(set_timeout_with_handle(write, ADDRESS_PAUSE).ok());
            }
        }
    }

    /// States in the address what the app chose by itself, and remarks on what it could not follow.
    fn complete_address(self) {
        let (View::Ready { behavior, layer, study }, k) = (self.view.get(), self.k.get()) else { return };
        let stated = self.address.get();
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
            row: stated.row.filter(|row| (*row as usize) < study.n_pairs),
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
        let View::Ready { study, behavior, layer } = self.view.get() else { return };
        let (id, name, at) = self.request.get_value();
        let unfinished = !matches!(self.status.get_untracked(), RankStatus::Working(_) | RankStatus::Ranked(_));
        if !unfinished && (name.as_str(), at) == (behavior.name.as_str(), layer.layer) {
            return;
        }
        self.request.set_value((id + 1, behavior.name.clone(), layer.layer));
        self.status.set(RankStatus::Working(Progress {
            n_bytes_total: layer.shards.iter().map(|shard| shard.n_bytes).sum(),
            ..Progress::default()
        }));
        let client = self.client.get_value().map_or_else(|| self.start_client(), Ok);
        match client {
            Ok(client) => client.rank(RankRequest {
                id: id + 1,
                data: self.data.get_value(),
                behavior_path: format!("behaviors/{}/layer-{}.safetensors", behavior.name, layer.layer),
                n_pairs: study.n_pairs,
                layer,
            }),
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

    fn on_reply(self, reply: RankReply, message: &Array) {
        let (current, behavior, layer) = self.request.get_value();
        match reply {
            RankReply::Progress { id, progress } if id == current => self.status.set(RankStatus::Working(progress)),
            RankReply::Ranked { id, cost } if id == current => {
                let scores: Float32Array = message.get(1).unchecked_into();
                let order: Uint32Array = message.get(2).unchecked_into();
                let ranking = Ranking::new(behavior, layer, scores.to_vec(), order.to_vec());
                self.ranking.set(Some(Arc::new(ranking)));
                self.status.set(RankStatus::Ranked(cost));
            }
            RankReply::Failed { id, error } if id == current => self.status.set(RankStatus::Failed(error)),
            // Ready, or a reply to a request that another one replaced.
            _ => {}
        }
    }
}

/// The behavior and layer that the address asks for, or the nearest there is.
fn resolve(status: &StudyStatus, address: &Address) -> View {
    let StudyStatus::Ready(study) = status else { return View::NoStudy };
    if study.layers.is_empty() {
        return View::NoVectors(study.clone());
    }
    let named = study.behaviors.iter().find(|behavior| Some(&behavior.name) == address.behavior.as_ref());
    let Some(behavior) = named.or(study.behaviors.first()) else { return View::NoBehaviors(study.clone()) };
    let wanted = address.layer.unwrap_or_else(|| default_layer(study));
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
