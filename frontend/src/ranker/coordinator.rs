//! The coordinator: takes the page's requests, has scorers read what is needed next, merges, and reports.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::{Rc, Weak};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use js_sys::{Array, Float32Array, Float64Array, Uint32Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};
use whence_shared::index::bounds::Bounded;
use whence_shared::index::select::{self, Best, Candidate, Selection};
use whence_shared::json;

use super::calls::{Answer, Call, Note, Opening, RangePlan};
use super::files::Files;
use super::link::Link;
use super::opening::{self, Plan};
use super::rows::{Access, RowReader};
use super::session::{Key, Session, Step, candidates, certainty, first_remarks};
use super::{SCORER, now_ms, post};
use crate::fetch::{Event, FetchError, Gate, Transfer};
use crate::protocol::{
    Ask, Certainty, End, Progress, RankCost, RankError, RankRequest, Reading, Reply, Report, Retrying, Stage, Way,
};

/// Most scoring workers.
const MAX_WORKERS: usize = 8;
/// Downloads under way at a time, all workers together: as many as browsers open connections to one host.
const N_DOWNLOADS: usize = 6;
/// Most bytes of vector files under way at a time; each is held twice while it is scored.
const MAX_UNDER_WAY_BYTES: u64 = 192 << 20;
/// Most bytes of files kept in memory for the next query, all workers together.
const MAX_KEPT_BYTES: u64 = 256 << 20;
/// Most bytes of files that wait to be written to the browser's store, all workers together.
const MAX_WAITING_BYTES: u64 = 48 << 20;
/// Most bytes of vectors that are worth a place in the browser's store.
const MAX_STORED_VECTOR_BYTES: u64 = 1 << 30;
/// Milliseconds between two rankings that are not the result of a selection.
const REPORT_MS: f64 = 350.0;
/// Milliseconds between two progress replies.
const PROGRESS_MS: f64 = 50.0;

/// Takes requests until the page goes away.
pub fn serve(scope: &DedicatedWorkerGlobalScope) {
    let coordinator = Rc::new_cyclic(|me| Coordinator::new(scope.clone(), me.clone()));
    let on_message = Closure::<dyn Fn(MessageEvent)>::new({
        let coordinator = coordinator.clone();
        move |event: MessageEvent| {
            let json = Array::from(&event.data()).get(0).as_string().unwrap_or_default();
            coordinator.take(json::from_str(&json).expect("the page sends what the protocol has"));
        }
    });
    scope.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget();
    coordinator.reply(&Reply::Ready, &[]);
}

struct Coordinator {
    scope: DedicatedWorkerGlobalScope,
    me: Weak<Self>,
    files: Rc<Files>,
    gate: Rc<Gate>,
    links: RefCell<Rc<Vec<Link>>>,
    session: RefCell<Option<Rc<Session>>>,
    n_sessions: Cell<u32>,
    run: RefCell<Option<Rc<Run>>>,
    /// Bytes of the session at hand, by scorer; the coordinator's own come last.
    counts: RefCell<HashMap<usize, Counts>>,
    /// Hashes of files in some scorer's memory.
    at_hand: RefCell<HashSet<String>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    n_bytes: u64,
    n_bytes_downloaded: u64,
}

/// What is known of the wanted pairs.
struct Selected {
    selection: Selection,
    /// Pairs that may be among them.
    n_candidates: usize,
}

/// Stands for the coordinator among the scorers.
const OWN: usize = usize::MAX;

/// A request under way.
struct Run {
    request: RankRequest,
    transfer: Transfer,
    start_ms: f64,
    progress: RefCell<Progress>,
    /// Bytes of the session when the present step began.
    n_bytes_before: Cell<u64>,
    /// When it began; none when it is accounted for.
    step_ms: Cell<Option<f64>>,
    told_ms: Cell<f64>,
    reported_ms: Cell<f64>,
    first_ms: Cell<Option<f64>>,
    certified: Cell<Option<(f64, u64)>>,
    exact: Cell<Option<(f64, u64)>>,
}

impl Run {
    fn is_over(&self) -> bool {
        self.transfer.is_cancelled()
    }

    /// # Errors
    ///
    /// When the request was cancelled.
    fn go_on(&self) -> Result<(), RankError> {
        if self.is_over() { Err(cancelled()) } else { Ok(()) }
    }
}

fn cancelled() -> RankError {
    RankError::Fetch(FetchError::Cancelled { path: String::new() })
}

impl Coordinator {
    fn new(scope: DedicatedWorkerGlobalScope, me: Weak<Self>) -> Self {
        Self {
            scope,
            me,
            files: Rc::default(),
            gate: Rc::default(),
            links: RefCell::default(),
            session: RefCell::default(),
            n_sessions: Cell::default(),
            run: RefCell::default(),
            counts: RefCell::default(),
            at_hand: RefCell::default(),
        }
    }

    fn reply(&self, reply: &Reply, arrays: &[JsValue]) {
        post(&self.scope, reply, arrays);
    }

    fn take(self: &Rc<Self>, ask: Ask) {
        match ask {
            Ask::Rank(request) => {
                self.cancel();
                self.set_paused(false);
                let run = self.start(*request);
                self.run.replace(Some(run.clone()));
                spawn_local(self.clone().answer(run));
            }
            Ask::Pause => self.set_paused(true),
            Ask::Resume => self.set_paused(false),
            Ask::Cancel => {
                let run = self.run.borrow().clone();
                self.cancel();
                if let Some(run) = run {
                    self.reply(&Reply::Cancelled { id: run.request.id }, &[]);
                }
                self.set_paused(false);
            }
        }
    }

    fn set_paused(&self, is_paused: bool) {
        self.gate.set_closed(is_paused);
        let call = if is_paused { Call::Pause } else { Call::Resume };
        self.links.borrow().iter().for_each(|link| link.tell(&call));
    }

    fn cancel(&self) {
        if let Some(run) = self.run.take() {
            run.transfer.cancel();
            self.links.borrow().iter().for_each(|link| link.tell(&Call::Cancel));
        }
    }

    fn start(self: &Rc<Self>, request: RankRequest) -> Rc<Run> {
        let (coordinator, id) = (Rc::downgrade(self), request.id);
        let transfer = Transfer::new(self.gate.clone(), move |event| {
            if let Some(coordinator) = coordinator.upgrade() {
                coordinator.on_own_event(id, event);
            }
        });
        Rc::new(Run {
            request,
            transfer,
            start_ms: now_ms(),
            progress: RefCell::default(),
            n_bytes_before: Cell::default(),
            step_ms: Cell::default(),
            told_ms: Cell::default(),
            reported_ms: Cell::new(now_ms()),
            first_ms: Cell::default(),
            certified: Cell::default(),
            exact: Cell::default(),
        })
    }

    async fn answer(self: Rc<Self>, run: Rc<Run>) {
        let result = self.rank(&run).await;
        if run.is_over() {
            return;
        }
        if let Err(error) = result {
            if matches!(error, RankError::Worker { .. }) {
                // A scorer that stopped does not start again.
                self.links.take();
                self.session.take();
            }
            self.reply(&Reply::Failed { id: run.request.id, error }, &[]);
        }
        self.run.take();
    }

    async fn rank(&self, run: &Rc<Run>) -> Result<(), RankError> {
        let mut session = self.session(run).await?;
        let RankRequest { k, end, .. } = run.request;
        // What may be among the wanted pairs; asked of the scorers again after files were read.
        let mut candidates = None;
        let mut n_scout_bytes = 0;
        loop {
            run.go_on()?;
            let unread = session.unread();
            if !unread.is_empty() {
                candidates = None;
                self.read_files(run, &session, unread).await?;
                continue;
            }
            run.first_ms.set(run.first_ms.get().or(Some(now_ms() - run.start_ms)));
            let known = match candidates.take() {
                Some(known) => known,
                None => self.candidates(run, &session).await?,
            };
            run.go_on()?;
            let selected = Selected { n_candidates: known.len(), selection: select::select(known.clone(), k) };
            self.end_stage(run, &session, selected.n_candidates);
            let at_hand = self.at_hand.borrow().clone();
            let step = session.next(&run.request, &known, &selected.selection, &at_hand, n_scout_bytes);
            self.note_certainty(run, certainty(&selected.selection));
            let rows = match step {
                Step::Done(n_bytes_to_exact) => {
                    self.report(run, &session, Some(&selected), true, n_bytes_to_exact);
                    return Ok(());
                }
                Step::Files(ranges) => {
                    self.report(run, &session, Some(&selected), false, None);
                    self.read_files(run, &session, ranges).await?;
                    n_scout_bytes = 0;
                    continue;
                }
                Step::Rows(rows) => rows,
                Step::Scouts(rows, n_bytes) => {
                    n_scout_bytes += n_bytes;
                    rows
                }
            };
            self.maybe_report(run, &session, Some(&selected));
            let access = session.access.get();
            match self.read_rows(run, &session, &rows).await {
                Ok(scored) => candidates = Some(narrowed(known, &scored, k, end)),
                // Rows must be read in another way: that may be dearer, so what to read next is asked again.
                Err(_) if session.access.get() != access => candidates = Some(known),
                Err(_) if run.is_over() => return Ok(()),
                Err(error @ RankError::Bounds { .. }) if session.plan.way == Way::Index => {
                    // Whoever is wrong, index or vectors: only all vectors, whose hashes are known, can tell.
                    let why = format!("the index cannot be used: {error}");
                    let plan = opening::without_index(&session.plan, &run.request.layer, why);
                    session = self.open(run, plan).await?;
                }
                Err(error) if error.is_of_file() => {
                    // A study may well be published without its vectors: the index alone says a lot.
                    session.access.set(Access::Nothing);
                    session.remark(format!("{error}: pairs' own vectors cannot be read, the index alone decides"));
                    candidates = Some(known);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The session of a request: the one at hand if it is about the same query.
    async fn session(&self, run: &Rc<Run>) -> Result<Rc<Session>, RankError> {
        let request = &run.request;
        let at_hand = self.session.borrow().clone().filter(|session| session.key == Key::of(request));
        if let Some(session) = at_hand {
            // A file that could not be had may be there now.
            session.known.borrow_mut().ranges.iter_mut().for_each(|range| range.is_stuck = false);
            session.remarks.replace(first_remarks(request));
            session.access.set(Access::of(request));
            return Ok(session);
        }
        self.session.take();
        self.counts.borrow_mut().clear();
        self.tell(run, Reading::Opening, 0);
        let plan = opening::plan(request, &self.files, &run.transfer).await?;
        self.open(run, plan).await
    }

    async fn open(&self, run: &Rc<Run>, plan: Plan) -> Result<Rc<Session>, RankError> {
        let request = &run.request;
        let n_workers = n_workers(request);
        let links = self.links(n_workers).await?;
        run.go_on()?;
        let number = self.n_sessions.get() + 1;
        self.n_sessions.set(number);
        let largest = plan.ranges.iter().flat_map(|range| &range.files).map(|file| file.n_bytes).max().unwrap_or(1);
        let is_index = plan.way == Way::Index;
        let use_store = stores(request) && (is_index || plan.n_bytes <= MAX_STORED_VECTOR_BYTES);
        let n_downloads = N_DOWNLOADS.min((MAX_UNDER_WAY_BYTES / largest.max(1)) as usize);
        let n_active = n_workers.min(n_downloads.max(1)).min(plan.ranges.len().max(1));
        let wanted: HashSet<String> =
            plan.ranges.iter().flat_map(|range| &range.files).map(|file| file.sha256.clone()).collect();
        self.at_hand.borrow_mut().retain(|sha256| wanted.contains(sha256));
        self.files.prepare(use_store.then_some(MAX_WAITING_BYTES), 0, &HashSet::new()).await;
        let opened = links.iter().enumerate().map(|(scorer, link)| {
            let mine = |range: &&RangePlan| owner(range.index, n_active) == scorer;
            let opening = Opening {
                session: number,
                data: request.data.clone(),
                kind: plan.kind.clone(),
                ranges: plan.ranges.iter().filter(mine).cloned().collect(),
                n_downloads: n_downloads.div_ceil(n_active).max(1),
                n_keep_bytes: MAX_KEPT_BYTES / n_active as u64,
                n_store_bytes: use_store.then_some(MAX_WAITING_BYTES / n_active as u64),
            };
            let arrays = plan.directions.iter().map(|direction| {
                let values = Float64Array::new_with_length(direction.values.len() as u32 + 1);
                values.subarray(0, direction.values.len() as u32).copy_from(&direction.values);
                values.set_index(direction.values.len() as u32, direction.error);
                JsValue::from(values)
            });
            let arrays: Vec<JsValue> = arrays.collect();
            async move { link.call(&Call::Open(Box::new(opening)), &arrays).await }
        });
        futures_util::future::try_join_all(opened).await?;
        run.go_on()?;
        let session = Rc::new(Session::new(number, request, plan, n_active));
        self.session.replace(Some(session.clone()));
        Ok(session)
    }

    /// The scorers, started when there are none or another number of them.
    async fn links(&self, n_workers: usize) -> Result<Rc<Vec<Link>>, RankError> {
        let links = self.links.borrow().clone();
        if links.len() == n_workers {
            return Ok(links);
        }
        self.links.take();
        self.at_hand.borrow_mut().clear();
        let starts = (0..n_workers).map(|scorer| {
            let coordinator = self.me.clone();
            Link::start(SCORER, move |note, message| {
                if let Some(coordinator) = coordinator.upgrade() {
                    coordinator.on_note(scorer, note, message);
                }
            })
        });
        let links = Rc::new(futures_util::future::try_join_all(starts).await?);
        self.links.replace(links.clone());
        Ok(links)
    }

    async fn read_files(&self, run: &Rc<Run>, session: &Rc<Session>, ranges: Vec<usize>) -> Result<(), RankError> {
        let plan = &session.plan;
        let (n_bytes, deepest) = {
            let known = session.known.borrow();
            let next = |&range: &usize| plan.ranges[range].files.get(known.ranges[range].n_files);
            let n_bytes = ranges.iter().filter_map(next).map(|file| file.n_bytes).sum();
            (n_bytes, ranges.iter().map(|&range| known.ranges[range].n_files + 1).max().unwrap_or(0))
        };
        let n_files = plan.ranges.first().map_or(0, |range| range.files.len());
        let reading = if plan.way == Way::Index { Reading::Block(deepest, n_files) } else { Reading::Vectors };
        self.tell(run, reading, n_bytes);
        let links = self.links.borrow().clone();
        let n_active = session.n_active;
        let mut under_way: FuturesUnordered<_> = links
            .iter()
            .enumerate()
            .filter_map(|(scorer, link)| {
                let mine: Vec<usize> =
                    ranges.iter().copied().filter(|&range| owner(range, n_active) == scorer).collect();
                let call = Call::Read { session: session.number, ranges: mine.clone() };
                (!mine.is_empty()).then_some(async move { link.call(&call, &[]).await })
            })
            .collect();
        let mut faults = Vec::new();
        let mut failure = None;
        while let Some(answer) = under_way.next().await {
            let stopped = match answer {
                Ok((Answer::Read { faults: more, stopped }, _)) => {
                    faults.extend(more);
                    stopped
                }
                Ok(_) => None,
                Err(error) => Some(error),
            };
            // What stopped one would stop the others: they give up too, and the first error is the one that counts.
            if let (Some(error), None) = (stopped, &failure) {
                failure = Some(error);
                links.iter().for_each(|link| link.tell(&Call::Cancel));
            }
        }
        run.go_on()?;
        if let Some(error) = failure {
            return Err(error);
        }
        faults.sort_by_key(|(range, _)| *range);
        for (range, error) in faults {
            if plan.way != Way::Index {
                return Err(error);
            }
            session.known.borrow_mut().ranges[range].is_stuck = true;
            session.remark(format!("{error}: done without this file"));
        }
        Ok(())
    }

    async fn read_rows(
        &self,
        run: &Rc<Run>,
        session: &Rc<Session>,
        rows: &[u32],
    ) -> Result<HashMap<u32, f64>, RankError> {
        let request = &run.request;
        let n_bytes = super::rows::costs(rows, &request.layer, session.access.get()).n_bytes();
        self.tell(run, Reading::Rows, n_bytes);
        let reader = RowReader { request, session, files: &self.files, transfer: &run.transfer };
        let mut all = HashMap::new();
        for part in rows.chunks(reader.n_at_once()) {
            // Whole files brought more than was asked for.
            let part: Vec<u32> = part.iter().copied().filter(|row| !all.contains_key(row)).collect();
            if part.is_empty() {
                continue;
            }
            let scored = reader.read(&part).await?;
            run.go_on()?;
            session.set_exact(&scored);
            let links = self.links.borrow().clone();
            let n_active = session.n_active;
            let told = links.iter().enumerate().map(|(scorer, link)| {
                let is_mine = |row: u32| owner(session.range_of(row), n_active) == scorer;
                let (rows, scores): (Vec<u32>, Vec<f64>) =
                    scored.iter().copied().filter(|(row, _)| is_mine(*row)).unzip();
                let arrays: [JsValue; 2] =
                    [Uint32Array::from(rows.as_slice()).into(), Float64Array::from(scores.as_slice()).into()];
                async move { link.call(&Call::SetExact { session: session.number }, &arrays).await }
            });
            futures_util::future::try_join_all(told).await?;
            run.progress.borrow_mut().n_rows += part.len();
            self.maybe_report(run, session, None);
            all.extend(scored);
        }
        Ok(all)
    }

    /// What may be among the wanted pairs, as the scorers know it.
    async fn candidates(&self, run: &Rc<Run>, session: &Rc<Session>) -> Result<Vec<Candidate>, RankError> {
        let links = self.links.borrow().clone();
        let RankRequest { k, end, .. } = run.request;
        let number = session.number;
        let call = Call::Best { session: number, k, end };
        let mut best = Best::new(k);
        for (_, message) in futures_util::future::try_join_all(links.iter().map(|link| link.call(&call, &[]))).await? {
            let (rows, lowers) = (u32s(&message, 1), f64s(&message, 2));
            rows.iter().zip(lowers).for_each(|(&row, lower)| best.push(row, lower));
        }
        let threshold = best.threshold();
        let call = Call::Candidates { session: number, end };
        let asked = links.iter().map(|link| {
            let numbers = threshold.map_or_else(Vec::new, |place| vec![place.score, f64::from(place.row)]);
            let array = [JsValue::from(Float64Array::from(numbers.as_slice()))];
            let call = &call;
            async move { link.call(call, &array).await }
        });
        let mut found = Vec::new();
        for (_, message) in futures_util::future::try_join_all(asked).await? {
            found.extend(candidates(&u32s(&message, 1), &f64s(&message, 2), &f64s(&message, 3), &f64s(&message, 4)));
        }
        Ok(found)
    }

    fn on_note(&self, scorer: usize, note: Note, message: &Array) {
        let Some(session) = self.session.borrow().clone() else { return };
        let run = self.run.borrow().clone();
        match note {
            Note::StoreFull => session.remark("the browser gives no more room to keep files: going on without".into()),
            Note::Bytes { session: of, n_bytes, n_bytes_downloaded } if of == session.number => {
                self.counts.borrow_mut().insert(scorer, Counts { n_bytes, n_bytes_downloaded });
                if let Some(run) = run {
                    run.progress.borrow_mut().retrying = None;
                    self.maybe_tell(&run);
                }
            }
            Note::Retrying { session: of, n_vain, error } if of == session.number => {
                if let Some(run) = run {
                    run.progress.borrow_mut().retrying = Some(Retrying { n_vain, error });
                    self.tell_now(&run);
                }
            }
            Note::Scored { session: of, range, n_files, score_ms, is_kept } if of == session.number => {
                let plan = &session.plan.ranges[range];
                {
                    let mut known = session.known.borrow_mut();
                    let rows = plan.first_row..plan.first_row + plan.n_rows;
                    message.get(1).unchecked_into::<Float64Array>().copy_to(&mut known.scores[rows.clone()]);
                    message.get(2).unchecked_into::<Float32Array>().copy_to(&mut known.radii[rows]);
                    known.ranges[range].n_files = n_files;
                }
                session.score_ms.set(session.score_ms.get() + score_ms);
                if is_kept {
                    self.at_hand.borrow_mut().insert(plan.files[n_files - 1].sha256.clone());
                }
                if let Some(run) = run {
                    run.progress.borrow_mut().n_rows += plan.n_rows;
                    self.maybe_tell(&run);
                    self.maybe_report(&run, &session, None);
                }
            }
            // Of a query that another one replaced.
            Note::Bytes { .. } | Note::Retrying { .. } | Note::Scored { .. } => {}
        }
    }

    fn on_own_event(&self, id: u32, event: Event) {
        let run = self.run.borrow().clone();
        let Some(run) = run.filter(|run| run.request.id == id) else { return };
        {
            let mut counts = self.counts.borrow_mut();
            let own = counts.entry(OWN).or_default();
            match event {
                Event::Arrived(n) => {
                    own.n_bytes += n;
                    own.n_bytes_downloaded += n;
                    run.progress.borrow_mut().retrying = None;
                }
                Event::Lost(n) => own.n_bytes = own.n_bytes.saturating_sub(n),
                Event::Retrying(n_vain, error) => {
                    run.progress.borrow_mut().retrying = Some(Retrying { n_vain, error });
                    run.told_ms.set(0.0);
                }
            }
        }
        self.maybe_tell(&run);
    }

    fn counted(&self) -> Counts {
        let counts = self.counts.borrow();
        counts.values().fold(Counts::default(), |sum, counts| Counts {
            n_bytes: sum.n_bytes + counts.n_bytes,
            n_bytes_downloaded: sum.n_bytes_downloaded + counts.n_bytes_downloaded,
        })
    }

    /// Begins a step.
    fn tell(&self, run: &Run, reading: Reading, n_bytes_total: u64) {
        run.n_bytes_before.set(self.counted().n_bytes);
        run.step_ms.set((reading != Reading::Opening).then(now_ms));
        run.progress.replace(Progress { reading, n_bytes_total, ..Progress::default() });
        self.tell_now(run);
    }

    /// Notes what a step took, now that it is known what came of it. Steps of rows that follow one another are one.
    fn end_stage(&self, run: &Run, session: &Session, n_candidates: usize) {
        let Some(start_ms) = run.step_ms.take() else { return };
        let reading = run.progress.borrow().reading;
        let n_bytes = self.counted().n_bytes.saturating_sub(run.n_bytes_before.get());
        let ms = now_ms() - start_ms;
        let mut stages = session.stages.borrow_mut();
        match stages.last_mut() {
            Some(last) if last.reading == reading && reading == Reading::Rows => {
                last.n_bytes += n_bytes;
                last.ms += ms;
                last.n_candidates = n_candidates;
            }
            _ => stages.push(Stage { reading, n_bytes, ms, n_candidates }),
        }
    }

    fn maybe_tell(&self, run: &Run) {
        if now_ms() - run.told_ms.get() > PROGRESS_MS {
            self.tell_now(run);
        }
    }

    fn tell_now(&self, run: &Run) {
        run.told_ms.set(now_ms());
        let n_bytes_done = self.counted().n_bytes.saturating_sub(run.n_bytes_before.get());
        let progress = Progress { n_bytes_done, ..run.progress.borrow().clone() };
        self.reply(&Reply::Progress { id: run.request.id, progress }, &[]);
    }

    fn note_certainty(&self, run: &Run, sure: Certainty) {
        let now = Some((now_ms() - run.start_ms, self.counted().n_bytes));
        if !matches!(sure, Certainty::Estimate(_)) {
            run.certified.set(run.certified.get().or(now));
        }
        if sure == Certainty::Exact {
            run.exact.set(run.exact.get().or(now));
        }
    }

    /// Reports between two selections, but not so often that reporting is what takes the time.
    fn maybe_report(&self, run: &Run, session: &Session, selected: Option<&Selected>) {
        if now_ms() - run.reported_ms.get() > REPORT_MS {
            self.report(run, session, selected, false, None);
        }
    }

    /// Sends the ranking as it is now; `selected` is what was just found out about the wanted pairs.
    fn report(
        &self,
        run: &Run,
        session: &Session,
        selected: Option<&Selected>,
        is_final: bool,
        n_bytes_to_exact: Option<u64>,
    ) {
        let RankRequest { id, k, end, ref layer, .. } = run.request;
        let order_ms = now_ms();
        let (order, places) = session.order(end);
        let order_ms = now_ms() - order_ms;
        let (scores, n_scored, histogram) = session.shown(&order, k);
        let counts = self.counted();
        let known = session.known.borrow();
        let report = Report {
            k,
            end,
            certainty: selected.map_or_else(|| session.estimate(&order, k), |selected| certainty(&selected.selection)),
            is_all_exact: known.radii.iter().all(|radius| *radius == 0.0),
            is_final,
            n_scored,
            n_candidates: selected.map(|selected| selected.n_candidates),
            n_bytes_to_exact,
            way: session.plan.way.clone(),
            histogram,
            cost: RankCost {
                n_rows: layer.n_rows,
                d_model: layer.d_model,
                n_bytes: counts.n_bytes,
                n_bytes_downloaded: counts.n_bytes_downloaded,
                n_bytes_total: session.plan.n_bytes,
                n_workers: session.n_active,
                score_ms: session.score_ms.get(),
                order_ms,
                total_ms: now_ms() - run.start_ms,
                first_ms: run.first_ms.get(),
                certified: run.certified.get(),
                exact: run.exact.get(),
            },
            stages: session.stages.borrow().clone(),
            remarks: session.remarks.borrow().clone(),
        };
        let arrays = [
            Float32Array::from(scores.as_slice()).into(),
            Float32Array::from(known.radii.as_slice()).into(),
            Uint32Array::from(order.as_slice()).into(),
            Uint32Array::from(places.as_slice()).into(),
        ];
        self.reply(&Reply::Ranking { id, report: Box::new(report) }, &arrays);
        run.reported_ms.set(now_ms());
    }
}

/// Candidates, seen from the wanted end, after some rows' scores became known: without those that this rules out.
fn narrowed(mut candidates: Vec<Candidate>, scored: &HashMap<u32, f64>, k: usize, end: End) -> Vec<Candidate> {
    for candidate in &mut candidates {
        if let Some(&score) = scored.get(&candidate.row) {
            let exact = Bounded::exact(score);
            candidate.score = if end == End::Bottom { exact.negated() } else { exact };
        }
    }
    let threshold = Best::of_lower_bounds(candidates.iter().map(|c| (c.row, c.score)), k).threshold();
    select::candidates(candidates.into_iter().map(|c| (c.row, c.score)), threshold)
}

/// Which of `n_active` scorers a range belongs to: in turns, so that every part of the files is as far as any other.
fn owner(range: usize, n_active: usize) -> usize {
    range % n_active.max(1)
}

fn u32s(message: &Array, at: u32) -> Vec<u32> {
    message.get(at).unchecked_into::<Uint32Array>().to_vec()
}

fn f64s(message: &Array, at: u32) -> Vec<f64> {
    message.get(at).unchecked_into::<Float64Array>().to_vec()
}

fn n_workers(request: &RankRequest) -> usize {
    let n_processors = || {
        let global: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
        global.navigator().hardware_concurrency() as usize
    };
    request.n_workers.unwrap_or_else(n_processors).clamp(1, MAX_WORKERS)
}

/// Whether files are worth a place in the browser's store: not those that a backend serves from this machine's disk.
fn stores(request: &RankRequest) -> bool {
    let is_here =
        ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|host| request.data.starts_with(host));
    !(request.gather && is_here)
}
