//! The coordinator: takes the page's requests, has scorers read what is needed next, merges, and reports.
//!
//! Requests, pauses and the loop that answers a request are here; every step of it is in a file of its own:
//!
//! ```text
//! request ──► run ──► dealing: a session, its files dealt out to the scorers
//!                       │
//!              ┌──► what to read next ──► reading ──► what may be among the wanted pairs ──┐
//!              └───────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Meanwhile [`notes`] come in from the scorers, and [`reporting`] tells the page.

mod dealing;
mod notes;
mod reading;
mod reporting;
mod run;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::{Rc, Weak};

use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::DedicatedWorkerGlobalScope;
use whence_shared::index::bounds::Bounded;
use whence_shared::index::select::{self, Best, Candidate};

use self::notes::Counts;
use self::reporting::Selected;
use self::run::Run;
use super::calls::Call;
use super::files::Files;
use super::link::Link;
use super::opening;
use super::rows::Access;
use super::session::{Session, Step, certainty};
use super::{now_ms, on_message, post};
use crate::fetch::{Gate, Transfer};
use crate::protocol::{Ask, End, RankError, RankRequest, Reply, Way};

/// Takes requests until the page goes away.
pub fn serve(scope: &DedicatedWorkerGlobalScope) {
    let coordinator = Rc::new_cyclic(|me| Coordinator::new(scope.clone(), me.clone()));
    let takes_asks = coordinator.clone();
    on_message(scope, move |ask, _| takes_asks.take(ask));
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
                    let former = session;
                    // What scorers read so far stays counted: they begin at nothing.
                    self.keep_counts();
                    session = self.open(run, plan).await?;
                    session.go_on_from(&former);
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
