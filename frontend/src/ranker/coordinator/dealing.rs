//! From a request to a session: the one at hand, or a new one whose files are dealt out to the scorers; these are started
//! where there are none.

use std::collections::HashSet;
use std::rc::Rc;

use js_sys::Float64Array;
use wasm_bindgen::prelude::*;

use super::super::SCORER;
use super::super::calls::{Call, Opening, RangePlan};
use super::super::link::Link;
use super::super::opening::{self, Plan};
use super::super::rows::Access;
use super::super::session::{Key, Session, first_remarks};
use super::Coordinator;
use super::run::Run;
use crate::protocol::{RankError, RankRequest, Reading, Way};

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

impl Coordinator {
    /// The session of a request: the one at hand if it is about the same query.
    pub(super) async fn session(&self, run: &Rc<Run>) -> Result<Rc<Session>, RankError> {
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

    pub(super) async fn open(&self, run: &Rc<Run>, plan: Plan) -> Result<Rc<Session>, RankError> {
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
}

/// Which of `n_active` scorers a range belongs to: in turns, so that every part of the files is as far as any other.
pub(super) fn owner(range: usize, n_active: usize) -> usize {
    range % n_active.max(1)
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
