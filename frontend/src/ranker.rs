//! The worker's side of ranking: downloads vectors, verifies them, scores each file on arrival, orders the rows.
//!
//! Scores and order come from `whence_shared::rank`, the functions that `whence rank` uses, so they are the same bits.
//! The files of the last layer stay in memory: another behavior is ranked without a download.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::StreamExt;
use js_sys::{Array, Float32Array, Uint8Array, Uint32Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{AbortController, AbortSignal, DedicatedWorkerGlobalScope, MessageEvent, Performance};
use whence_shared::rank;
use whence_shared::shard::Shard;
use whence_shared::study::{LayerView, ShardView};

use crate::fetch::{self, File};
use crate::protocol::{Progress, RankCost, RankError, RankReply, RankRequest};

/// Downloads under way at a time: enough to hide the latency of a distant host.
const N_DOWNLOADS: usize = 3;
/// Most bytes of vectors kept for the next behavior; files beyond it are downloaded again.
const MAX_KEPT_BYTES: u64 = 1 << 30;
/// Milliseconds of work after which a waiting request gets its turn.
const TURN_MS: f64 = 40.0;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(thread_local_v2, js_name = performance)]
    static PERFORMANCE: Performance;
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &js_sys::Function, ms: i32) -> i32;
}

fn now_ms() -> f64 {
    PERFORMANCE.with(Performance::now)
}

/// Takes requests until the page goes away.
///
/// # Panics
///
/// Panics when called in the page rather than in a worker.
pub fn serve() {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().dyn_into().expect("runs in a worker");
    let ranker = Rc::new(Ranker::new(scope.clone()));
    let on_message = Closure::<dyn Fn(MessageEvent)>::new({
        let ranker = ranker.clone();
        move |event: MessageEvent| {
            let json = Array::from(&event.data()).get(0).as_string().unwrap_or_default();
            let request: RankRequest = serde_json::from_str(&json).expect("the page sends rank requests");
            spawn_local(ranker.clone().answer(request));
        }
    });
    scope.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget();
    ranker.reply(&RankReply::Ready, &[]);
}

struct Ranker {
    scope: DedicatedWorkerGlobalScope,
    /// The request that is being answered; work for any other is dropped.
    current: RefCell<(u32, AbortController)>,
    kept: RefCell<Kept>,
}

/// Files of one layer, by SHA-256, in JavaScript's memory, which shrinks again when they are dropped.
#[derive(Default)]
struct Kept {
    layer: usize,
    n_bytes: u64,
    files: HashMap<String, Uint8Array>,
    verified: bool,
}

enum Stop {
    /// A newer request took over.
    Cancelled,
    Failed(RankError),
}

impl From<RankError> for Stop {
    fn from(error: RankError) -> Self {
        Self::Failed(error)
    }
}

struct Ranked {
    scores: Vec<f32>,
    order: Vec<u32>,
    cost: RankCost,
}

impl Ranker {
    fn new(scope: DedicatedWorkerGlobalScope) -> Self {
        let controller = AbortController::new().expect("workers can abort downloads");
        Self { scope, current: RefCell::new((0, controller)), kept: RefCell::default() }
    }

    fn reply(&self, reply: &RankReply, arrays: &[JsValue]) {
        let json = serde_json::to_string(reply).expect("replies serialise");
        let message = Array::of1(&json.into());
        let transfer = Array::new();
        for array in arrays {
            message.push(array);
            transfer.push(&js_sys::Reflect::get(array, &"buffer".into()).unwrap_or_default());
        }
        self.scope.post_message_with_transfer(&message, &transfer).expect("messages hold nothing but plain data");
    }

    async fn answer(self: Rc<Self>, request: RankRequest) {
        let controller = AbortController::new().expect("workers can abort downloads");
        let signal = controller.signal();
        let (_, superseded) = self.current.replace((request.id, controller));
        superseded.abort();
        let id = request.id;
        match self.rank(&request, &signal).await {
            Ok(Ranked { scores, order, cost }) => {
                let arrays = [Float32Array::from(scores.as_slice()).into(), Uint32Array::from(order.as_slice()).into()];
                self.reply(&RankReply::Ranked { id, cost }, &arrays);
            }
            Err(Stop::Failed(error)) if !signal.aborted() => self.reply(&RankReply::Failed { id, error }, &[]),
            Err(_) => {}
        }
    }

    async fn rank(&self, request: &RankRequest, signal: &AbortSignal) -> Result<Ranked, Stop> {
        let start_ms = now_ms();
        let layer = &request.layer;
        check_coverage(layer, request.n_pairs)?;
        let Direction { direction, inputs } = direction(request, signal).await?;
        if self.kept.borrow().layer != layer.layer {
            *self.kept.borrow_mut() = Kept { layer: layer.layer, ..Kept::default() };
        }

        let reporter = Reporter::new(self, request);
        let mut downloads = futures_util::stream::iter(&layer.shards)
            .map(|shard| self.shard_bytes(&request.data, shard, signal, &reporter))
            .buffered(N_DOWNLOADS);
        let mut cost = RankCost { d_model: layer.d_model, verified: true, ..RankCost::default() };
        let mut scores = Vec::with_capacity(layer.n_rows);
        // One buffer for all files: wasm memory never shrinks.
        let mut file = Vec::new();
        let mut turn_ms = now_ms();
        for view in &layer.shards {
            let bytes = downloads.next().await.expect("one download per shard")?;
            cost.verified &= bytes.verified;
            cost.n_bytes += view.n_bytes;
            if now_ms() - turn_ms > TURN_MS {
                next_turn().await;
                turn_ms = now_ms();
            }
            if signal.aborted() {
                return Err(Stop::Cancelled);
            }
            let score_ms = now_ms();
            file.resize(bytes.file.length() as usize, 0);
            bytes.file.copy_to(&mut file);
            let shard = Shard::parse(&file)
                .map_err(|error| RankError::Shard { path: view.path.clone(), reason: error.to_string() })?;
            check_shard(&shard, view, layer)?;
            if shard.header.inputs != inputs {
                return Err(RankError::Inputs { path: view.path.clone() }.into());
            }
            scores.extend(rank::score_shard(&shard, &direction));
            cost.score_ms += now_ms() - score_ms;
            reporter.scored(scores.len());
        }
        let order_ms = now_ms();
        let order = rank::order(&scores);
        cost.order_ms = now_ms() - order_ms;
        cost.n_rows = scores.len();
        cost.n_bytes_downloaded = reporter.n_bytes_downloaded.get();
        cost.total_ms = now_ms() - start_ms;
        Ok(Ranked { scores, order, cost })
    }

    /// One shard's bytes, kept or downloaded, and whether their hash was checked.
    async fn shard_bytes(
        &self,
        data: &str,
        view: &ShardView,
        signal: &AbortSignal,
        reporter: &Reporter<'_>,
    ) -> Result<Arrived, RankError> {
        if let Some(file) = self.kept.borrow().files.get(&view.sha256) {
            reporter.arrived(view.n_bytes, 0);
            return Ok(Arrived { file: file.clone(), verified: self.kept.borrow().verified });
        }
        let file = File { folder: data, path: &view.path }
            .stream(view.n_bytes, Some(signal), |n_bytes| reporter.arrived(n_bytes, n_bytes))
            .await
            .map_err(RankError::Fetch)?;
        let hash = fetch::sha256(&file).await;
        let verified = hash.is_some();
        if let Some(got) = hash
            && got != view.sha256
        {
            return Err(RankError::Hash { path: view.path.clone(), expected: view.sha256.clone(), got });
        }
        let mut kept = self.kept.borrow_mut();
        if !signal.aborted() && kept.n_bytes + view.n_bytes <= MAX_KEPT_BYTES {
            kept.n_bytes += view.n_bytes;
            kept.verified = verified;
            kept.files.insert(view.sha256.clone(), file.clone());
        }
        Ok(Arrived { file, verified })
    }
}

struct Arrived {
    file: Uint8Array,
    verified: bool,
}

struct Direction {
    direction: Vec<f32>,
    /// What it was made from, by its file.
    inputs: String,
}

async fn direction(request: &RankRequest, signal: &AbortSignal) -> Result<Direction, RankError> {
    let path = request.behavior_path.clone();
    let file = File { folder: &request.data, path: &path }.bytes(Some(signal)).await.map_err(RankError::Fetch)?;
    let bytes = file.to_vec();
    let shard =
        Shard::parse(&bytes).map_err(|error| RankError::Shard { path: path.clone(), reason: error.to_string() })?;
    if shard.header.layer != request.layer.layer {
        let (expected, got) = (request.layer.layer, shard.header.layer);
        return Err(RankError::Part { path, what: "layer".into(), expected, got });
    }
    if shard.d_model != request.layer.d_model {
        return Err(RankError::Width { path, expected: request.layer.d_model, got: shard.d_model });
    }
    let inputs = shard.header.inputs;
    shard.direction.map(|direction| Direction { direction, inputs }).ok_or(RankError::NoDirection { path })
}

fn check_coverage(layer: &LayerView, n_pairs: usize) -> Result<(), RankError> {
    let mut next = 0;
    for shard in &layer.shards {
        if shard.first_row != next {
            break;
        }
        next += shard.n_rows;
    }
    let covered: usize = layer.shards.iter().map(|shard| shard.n_rows).sum();
    if next == n_pairs && covered == n_pairs {
        return Ok(());
    }
    Err(RankError::Coverage { layer: layer.layer, expected: n_pairs, got: next.min(n_pairs) })
}

fn check_shard(shard: &Shard, view: &ShardView, layer: &LayerView) -> Result<(), RankError> {
    let parts = [
        ("layer", layer.layer, shard.header.layer),
        ("first row", view.first_row, shard.header.first_row),
        ("number of rows", view.n_rows, shard.n_rows),
    ];
    for (what, expected, got) in parts {
        if expected != got {
            return Err(RankError::Part { path: view.path.clone(), what: what.into(), expected, got });
        }
    }
    if shard.d_model != layer.d_model {
        return Err(RankError::Width { path: view.path.clone(), expected: layer.d_model, got: shard.d_model });
    }
    Ok(())
}

/// Tells the page how far a request is, but not more often than a screen shows.
struct Reporter<'a> {
    ranker: &'a Ranker,
    id: u32,
    progress: Cell<Progress>,
    n_bytes_downloaded: Cell<u64>,
    told_ms: Cell<f64>,
}

impl<'a> Reporter<'a> {
    fn new(ranker: &'a Ranker, request: &RankRequest) -> Self {
        let n_bytes_total = request.layer.shards.iter().map(|shard| shard.n_bytes).sum();
        Self {
            ranker,
            id: request.id,
            progress: Cell::new(Progress { n_bytes_total, ..Progress::default() }),
            n_bytes_downloaded: Cell::new(0),
            told_ms: Cell::new(0.0),
        }
    }

    fn arrived(&self, n_bytes: u64, n_bytes_downloaded: u64) {
        self.n_bytes_downloaded.set(self.n_bytes_downloaded.get() + n_bytes_downloaded);
        let progress = self.progress.get();
        self.tell(Progress { n_bytes_done: progress.n_bytes_done + n_bytes, ..progress });
    }

    fn scored(&self, n_rows_scored: usize) {
        self.tell(Progress { n_rows_scored, ..self.progress.get() });
    }

    fn tell(&self, progress: Progress) {
        self.progress.set(progress);
        let now_ms = now_ms();
        let is_current = self.ranker.current.borrow().0 == self.id;
        if is_current && now_ms - self.told_ms.get() > 50.0 {
            self.told_ms.set(now_ms);
            self.ranker.reply(&RankReply::Progress { id: self.id, progress }, &[]);
        }
    }
}

/// Lets waiting messages in: they come as tasks, which awaiting a settled promise would not admit.
async fn next_turn() {
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        set_timeout(&resolve, 0);
    });
    // A timeout cannot fail.
    let _ = JsFuture::from(promise).await;
}
