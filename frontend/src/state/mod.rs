//! What the page knows: the study, what the reader chose, the ranking, and the chunks of rows and texts fetched so far.
//!
//! [`State`] is the one place that changes it; components read its signals and call its methods. Its fields, and how each
//! follows from the address, are here; its methods stand with what they are about:
//!
//! ```text
//! choices ──► address ─┬─► view ──► what is wanted ── asking ──► worker ──► ranking ──► positions
//!               study ─┘
//! ```
//!
//! [`chunks`] are fetched when somebody asks for them; [`kept`] is what the browser keeps of files.

mod asking;
mod choices;
mod chunks;
mod kept;
mod positions;
mod ranking;
mod study;
mod view;

pub use chunks::{Chunk, Chunks};
pub use ranking::{RankStatus, Ranking, Wanted};
pub use study::{StudyError, StudyStatus};
pub use view::{View, shared_layers};

use std::rc::Rc;
use std::sync::Arc;

use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::filter::{Filter, Sort};
use whence_shared::plane::lasso::Lasso;
use whence_shared::spans;
use whence_shared::study::{RowChunk, TextChunk};

use crate::address::{self, Address, ColorBy, Cuts, DiscoverAddress, MapAddress, Page};
use crate::cache::CacheSize;
use crate::opened;
use crate::protocol::{Of, Query};
use crate::ranker_client::RankerClient;
use view::resolve;

/// Pairs that count as the top when the reader states nothing.
const DEFAULT_K: usize = 100;

/// What the page knows; cheap to copy.
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
    /// What is looked at of it.
    pub discover: Memo<DiscoverAddress>,
    /// How the map is looked at.
    pub map: Memo<MapAddress>,
    /// What points of the map are colored by.
    pub color: Memo<ColorBy>,
    /// The lasso on the map: pairs that it does not enclose are not shown.
    pub lasso: Memo<Option<Arc<Lasso>>>,
    /// Rows of the pairs that it encloses, ascending; `None` while there is no lasso or its map is not here.
    /// [`crate::maps::Maps`] sets it.
    pub selected_rows: RwSignal<Option<Arc<[u32]>>>,
    /// Rows of the pairs in the groups that the filter names, ascending; `None` while it names none or they are not known.
    /// [`crate::members::Members`] sets it.
    pub grouped_rows: RwSignal<Option<Arc<Vec<u32>>>>,
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
    /// Whether responses are tinted by what their tokens add, instead of marked where they differ.
    pub are_tokens_marked: Memo<bool>,
    /// Whether the curves of training show how often the chosen response was preferred.
    pub is_accuracy_curve: Memo<bool>,
    /// The rows that are shown, in their order, where these are not all in the order of the ranking
    /// ([`crate::listing`]).
    pub listed: RwSignal<Option<Arc<Vec<u32>>>>,
    /// Something the reader should know: how the address was read, or what was not found.
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
            discover: Memo::new(move |_| address.with(|address| address.discover.clone())),
            map: Memo::new(move |_| address.with(|address| address.map.clone())),
            color,
            lasso,
            selected_rows: RwSignal::new(None),
            grouped_rows: RwSignal::new(None),
            needs_ranking,
            status: RwSignal::new(RankStatus::Idle),
            ranking: RwSignal::new(None),
            filter,
            is_filtered: Memo::new(move |_| lasso.with(Option::is_some) || !filter.with(Filter::is_empty)),
            sort: Memo::new(move |_| address.with(|address| address.sort)),
            is_length_chart: Memo::new(move |_| address.with(|address| address.is_length_chart)),
            are_tokens_marked: Memo::new(move |_| address.with(|address| address.are_tokens_marked)),
            is_accuracy_curve: Memo::new(move |_| address.with(|address| address.is_accuracy_curve)),
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
        let listener = window_event_listener(leptos::ev::popstate, move |_| {
            state.remark.set(None);
            state.address.set(Address::read());
        });
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
            let read = study::read(&data.get_value()).await;
            study.set(read.map_or_else(StudyStatus::Failed, |view| StudyStatus::Ready(Arc::new(view))));
        });
        state
    }

    /// The state of this page.
    pub fn here() -> Self {
        expect_context()
    }
}
