//! A scorer: owns some ranges of rows, reads their files when told to, and knows their scores within bounds.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use futures_util::StreamExt;
use js_sys::{Array, Float32Array, Float64Array, Uint8Array, Uint32Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::DedicatedWorkerGlobalScope;
use whence_shared::index::block::Block;
use whence_shared::index::bounds::{Bounded, RangeScores};
use whence_shared::index::fingerprint::fingerprint;
use whence_shared::index::kernel;
use whence_shared::index::quantize::round_up;
use whence_shared::index::query::{Direction, Query};
use whence_shared::index::select::{self, Best, Place};
use whence_shared::rank::Probe;
use whence_shared::shard::Shard;

use super::calls::{self, Answer, Call, Kind, Note, Numbered, Opening, RangePlan};
use super::files::{Arrived, Files, Origin};
use super::{now_ms, on_message, post};
use crate::fetch::{Event, Gate, Transfer, sleep};
use crate::protocol::{End, RankError};

/// What a scorer posts.
type Post = calls::Post<Answer, Note>;

/// Milliseconds of work after which a waiting call gets its turn.
const TURN_MS: f64 = 40.0;
/// Milliseconds between two notes on bytes.
const NOTE_MS: f64 = 50.0;

/// Takes calls until the coordinator goes away.
pub fn serve(scope: &DedicatedWorkerGlobalScope) {
    let scorer = Rc::new(Scorer::new(scope.clone()));
    on_message(scope, move |call: Numbered<Call>, message| scorer.clone().take(call, message));
    post(scope, &Post::Ready, &[]);
}

struct Scorer {
    scope: DedicatedWorkerGlobalScope,
    files: Rc<Files>,
    gate: Rc<Gate>,
    transfer: RefCell<Transfer>,
    counts: Rc<Counts>,
    job: RefCell<Option<Job>>,
    /// One buffer for all files: wasm memory never shrinks.
    buffer: RefCell<Vec<u8>>,
}

/// Bytes since the query was taken up.
#[derive(Default)]
struct Counts {
    session: Cell<u32>,
    n_bytes: Cell<u64>,
    n_bytes_downloaded: Cell<u64>,
    told_ms: Cell<f64>,
}

/// The query at hand.
struct Job {
    opening: Opening,
    /// The directions as blocks are scored with; of all vectors, only the directions themselves are needed.
    query: Option<Query>,
    directions: Vec<Direction>,
    ranges: Vec<Scored>,
}

/// A range and what is known of its scores.
struct Scored {
    plan: RangePlan,
    n_files: usize,
    scores: RangeScores,
}

impl Scored {
    fn rows(&self, end: End) -> impl Iterator<Item = (u32, Bounded)> + '_ {
        self.scores.scores().map(move |(row, bounded)| {
            let seen = match end {
                End::Top => bounded,
                End::Bottom => bounded.negated(),
            };
            (row, seen)
        })
    }

    /// Estimates and radii of all rows, ready to post.
    fn arrays(&self) -> [JsValue; 2] {
        let all: Vec<Bounded> = self.scores.scores().map(|(_, bounded)| bounded).collect();
        let estimates: Vec<f64> = all.iter().map(|bounded| bounded.estimate).collect();
        let radii: Vec<f32> = all.iter().map(|bounded| round_up(bounded.radius())).collect();
        [Float64Array::from(estimates.as_slice()).into(), Float32Array::from(radii.as_slice()).into()]
    }
}

impl Scorer {
    fn new(scope: DedicatedWorkerGlobalScope) -> Self {
        let gate = Rc::new(Gate::default());
        let counts = Rc::new(Counts::default());
        let transfer = RefCell::new(follow(&scope, &gate, &counts));
        let (files, job, buffer) = (Rc::default(), RefCell::default(), RefCell::default());
        Self { scope, files, gate, transfer, counts, job, buffer }
    }

    fn note(&self, note: Note, arrays: &[JsValue]) {
        post(&self.scope, &Post::Note(note), arrays);
    }

    fn take(self: Rc<Self>, call: Numbered<Call>, message: Array) {
        let number = call.number;
        let answer = |what: Answer, arrays: &[JsValue]| {
            post(&self.scope, &Post::Answer(Numbered { number, what }), arrays);
        };
        match call.what {
            Call::Open(opening) => {
                let scorer = self.clone();
                spawn_local(async move {
                    scorer.open(*opening, &message).await;
                    post(&scorer.scope, &Post::Answer(Numbered { number, what: Answer::Done }), &[]);
                });
            }
            Call::Read { session, ranges } => {
                let scorer = self.clone();
                spawn_local(async move {
                    let (faults, stopped) = scorer.read(session, &ranges).await;
                    let what = Answer::Read { faults, stopped };
                    post(&scorer.scope, &Post::Answer(Numbered { number, what }), &[]);
                });
            }
            Call::Best { session, k, end } => {
                let mut best = Best::new(k);
                self.for_rows(session, end, |row, bounded| best.push(row, bounded.lower));
                let places = best.into_sorted();
                let rows: Vec<u32> = places.iter().map(|place| place.row).collect();
                let lowers: Vec<f64> = places.iter().map(|place| place.score).collect();
                answer(Answer::Best, &[Uint32Array::from(&*rows).into(), Float64Array::from(&*lowers).into()]);
            }
            Call::Candidates { session, end } => {
                let threshold = match message.get(1).unchecked_into::<Float64Array>().to_vec().as_slice() {
                    &[score, row] => Some(Place { score, row: row as u32 }),
                    _ => None,
                };
                let mut rows = Vec::new();
                self.for_rows(session, end, |row, bounded| rows.push((row, bounded)));
                let found = select::candidates(rows, threshold);
                let numbers: Vec<u32> = found.iter().map(|candidate| candidate.row).collect();
                let floats = |of: fn(&Bounded) -> f64| -> JsValue {
                    let values: Vec<f64> = found.iter().map(|candidate| of(&candidate.score)).collect();
                    Float64Array::from(values.as_slice()).into()
                };
                let arrays = [
                    Uint32Array::from(numbers.as_slice()).into(),
                    floats(|score| score.estimate),
                    floats(|score| score.lower),
                    floats(|score| score.upper),
                ];
                answer(Answer::Candidates, &arrays);
            }
            Call::SetExact { session } => {
                let rows = message.get(1).unchecked_into::<Uint32Array>().to_vec();
                let scores = message.get(2).unchecked_into::<Float64Array>().to_vec();
                self.set_exact(session, &rows, &scores);
                answer(Answer::Done, &[]);
            }
            Call::Pause => {
                self.gate.set_closed(true);
                answer(Answer::Done, &[]);
            }
            Call::Resume => {
                self.gate.open();
                answer(Answer::Done, &[]);
            }
            Call::Cancel => {
                self.transfer.replace(follow(&self.scope, &self.gate, &self.counts)).cancel();
                answer(Answer::Done, &[]);
            }
            Call::Kernel { width, n_rows, n_repeats } => answer(time_kernel(width, n_rows, n_repeats), &[]),
            Call::Fingerprint { seed, n_rows, d_model } => {
                answer(Answer::Fingerprint(fingerprint(seed, n_rows, d_model)), &[]);
            }
        }
    }

    async fn open(&self, opening: Opening, message: &Array) {
        let wanted: HashSet<&str> =
            opening.ranges.iter().flat_map(|range| &range.files).map(|file| file.sha256.as_str()).collect();
        self.files.prepare(opening.n_store_bytes, opening.n_keep_bytes, &wanted).await;
        let directions: Vec<Direction> = message
            .iter()
            .skip(1)
            .map(|array| {
                let mut values = array.unchecked_into::<Float64Array>().to_vec();
                let error = values.pop().expect("the error comes last");
                Direction { values, error }
            })
            .collect();
        let query = match &opening.kind {
            Kind::Blocks { widths, .. } => Some(Query::bank(&directions, widths)),
            Kind::Vectors { .. } => None,
        };
        let scored = |plan: &RangePlan| Scored {
            scores: RangeScores::new(plan.first_row, plan.n_rows),
            plan: plan.clone(),
            n_files: 0,
        };
        let ranges = opening.ranges.iter().map(scored).collect();
        self.counts.session.set(opening.session);
        self.counts.n_bytes.set(0);
        self.counts.n_bytes_downloaded.set(0);
        self.job.replace(Some(Job { opening, query, directions, ranges }));
    }

    fn for_rows(&self, session: u32, end: End, mut each: impl FnMut(u32, Bounded)) {
        let job = self.job.borrow();
        for range in job.iter().filter(|job| job.opening.session == session).flat_map(|job| &job.ranges) {
            range.rows(end).for_each(|(row, bounded)| each(row, bounded));
        }
    }

    fn set_exact(&self, session: u32, rows: &[u32], scores: &[f64]) {
        let mut job = self.job.borrow_mut();
        let Some(job) = job.as_mut().filter(|job| job.opening.session == session) else { return };
        for (&row, &score) in rows.iter().zip(scores) {
            let row = row as usize;
            let mut ranges = job.ranges.iter_mut();
            let owner =
                ranges.find(|range| (range.plan.first_row..range.plan.first_row + range.plan.n_rows).contains(&row));
            if let Some(range) = owner {
                range.scores.set_exact(row - range.plan.first_row, score);
            }
        }
    }

    /// Reads the next file of each range. Files at fault are named and the others read nevertheless; what concerns more
    /// than one file stops everything.
    async fn read(&self, session: u32, wanted: &[usize]) -> (Vec<(usize, RankError)>, Option<RankError>) {
        let transfer = self.transfer.borrow().clone();
        let (plans, data, n_downloads) = {
            let job = self.job.borrow();
            let Some(job) = job.as_ref().filter(|job| job.opening.session == session) else {
                return Default::default();
            };
            let next = |range: &&Scored| wanted.contains(&range.plan.index) && range.n_files < range.plan.files.len();
            let plans: Vec<_> = job
                .ranges
                .iter()
                .enumerate()
                .filter(|(_, range)| next(range))
                .map(|(i, range)| (i, range.plan.index, range.plan.files[range.n_files].clone()))
                .collect();
            (plans, job.opening.data.clone(), job.opening.n_downloads)
        };
        let mut arrivals = futures_util::stream::iter(plans)
            .map(|(i, index, file)| {
                let (transfer, data) = (transfer.clone(), &data);
                async move { (i, index, self.files.get(data, &file, &transfer).await, file) }
            })
            .buffer_unordered(n_downloads.max(1));
        let mut faults = Vec::new();
        let mut turn_ms = now_ms();
        while let Some((i, index, arrived, file)) = arrivals.next().await {
            if now_ms() - turn_ms > TURN_MS {
                sleep(0.0).await;
                turn_ms = now_ms();
            }
            if transfer.is_cancelled() || self.counts.session.get() != session {
                return (faults, None);
            }
            if self.files.take_full() {
                self.note(Note::StoreFull, &[]);
            }
            let scored = arrived.and_then(|arrived| {
                if arrived.origin != Origin::Server {
                    self.counts.n_bytes.set(self.counts.n_bytes.get() + file.n_bytes);
                }
                self.score(i, &file.path, &arrived)
            });
            match scored {
                Ok(()) => {}
                Err(error) if error.is_of_file() => faults.push((index, error)),
                Err(error) => {
                    // The others would meet the same.
                    transfer.cancel();
                    self.transfer.replace(follow(&self.scope, &self.gate, &self.counts));
                    return (faults, Some(error));
                }
            }
        }
        self.counts.tell(&self.scope);
        (faults, None)
    }

    /// Adds a file to its range's scores and tells the coordinator.
    fn score(&self, i: usize, path: &str, arrived: &Arrived) -> Result<(), RankError> {
        let start_ms = now_ms();
        let mut job = self.job.borrow_mut();
        let job = job.as_mut().expect("files are read for a query");
        let mut buffer = self.buffer.borrow_mut();
        fill(&mut buffer, &arrived.bytes);
        let wrong = |reason: String| RankError::File { path: path.to_owned(), reason };
        let range = &mut job.ranges[i];
        match &job.opening.kind {
            Kind::Blocks { layer, inputs, .. } => {
                let block = Block::parse(&buffer).map_err(|error| wrong(error.to_string()))?;
                check(path, [("layer", *layer, block.header.layer)])?;
                if block.header.inputs != *inputs {
                    return Err(wrong("made for another index than the manifest's".into()));
                }
                let query = job.query.as_ref().expect("blocks are read for a query");
                range.scores.add(&block, query).map_err(|error| wrong(error.to_string()))?;
            }
            Kind::Vectors { layer, d_model, inputs } => {
                let shard = Shard::parse(&buffer).map_err(|error| wrong(error.to_string()))?;
                check_shard(&shard, path, &range.plan, *layer, *d_model, inputs)?;
                for (row, score) in Probe::new(&job.directions).scores(&shard).enumerate() {
                    if score.is_nan() {
                        return Err(wrong(format!(
                            "row {} holds a number that is not finite",
                            range.plan.first_row + row
                        )));
                    }
                    range.scores.set_exact(row, score);
                }
            }
        }
        range.n_files += 1;
        let note = Note::Scored {
            session: job.opening.session,
            range: range.plan.index,
            n_files: range.n_files,
            score_ms: now_ms() - start_ms,
            is_kept: arrived.is_kept,
        };
        let arrays = range.arrays();
        self.counts.tell(&self.scope);
        self.note(note, &arrays);
        Ok(())
    }
}

impl Counts {
    fn tell(&self, scope: &DedicatedWorkerGlobalScope) {
        self.told_ms.set(now_ms());
        let note = Note::Bytes {
            session: self.session.get(),
            n_bytes: self.n_bytes.get(),
            n_bytes_downloaded: self.n_bytes_downloaded.get(),
        };
        post(scope, &Post::Note(note), &[]);
    }
}

/// A transfer whose bytes are counted and told.
fn follow(scope: &DedicatedWorkerGlobalScope, gate: &Rc<Gate>, counts: &Rc<Counts>) -> Transfer {
    let (scope, counts) = (scope.clone(), counts.clone());
    Transfer::new(gate.clone(), move |event| {
        match event {
            Event::Arrived(n_bytes) => {
                counts.n_bytes.set(counts.n_bytes.get() + n_bytes);
                counts.n_bytes_downloaded.set(counts.n_bytes_downloaded.get() + n_bytes);
            }
            Event::Lost(n_bytes) => counts.n_bytes.set(counts.n_bytes.get().saturating_sub(n_bytes)),
            Event::Retrying(n_vain, error) => {
                let note = Note::Retrying { session: counts.session.get(), n_vain, error };
                post(&scope, &Post::Note(note), &[]);
                return;
            }
        }
        if now_ms() - counts.told_ms.get() > NOTE_MS {
            counts.tell(&scope);
        }
    })
}

/// Copies a file into wasm memory.
pub fn fill(buffer: &mut Vec<u8>, bytes: &Uint8Array) {
    buffer.resize(bytes.length() as usize, 0);
    bytes.copy_to(buffer);
}

fn check<const N: usize>(path: &str, parts: [(&str, usize, usize); N]) -> Result<(), RankError> {
    for (what, expected, got) in parts {
        if expected != got {
            return Err(RankError::Part { path: path.to_owned(), what: what.to_owned(), expected, got });
        }
    }
    Ok(())
}

/// Whether a vector file holds what study.json says.
///
/// # Errors
///
/// When it holds another part, or was made from other inputs than the behavior.
pub fn check_shard(
    shard: &Shard,
    path: &str,
    plan: &RangePlan,
    layer: usize,
    d_model: usize,
    inputs: &str,
) -> Result<(), RankError> {
    let parts = [
        ("layer", layer, shard.header.layer),
        ("first row", plan.first_row, shard.header.first_row),
        ("number of rows", plan.n_rows, shard.n_rows),
    ];
    check(path, parts)?;
    if shard.d_model != d_model {
        return Err(RankError::Width { path: path.to_owned(), expected: d_model, got: shard.d_model });
    }
    if shard.header.inputs != inputs {
        return Err(RankError::Inputs { path: path.to_owned() });
    }
    Ok(())
}

/// Runs the kernel on made-up numbers.
fn time_kernel(width: usize, n_rows: usize, n_repeats: usize) -> Answer {
    let query: Vec<i16> = (0..width).map(|i| (i % 201) as i16 - 100).collect();
    let codes: Vec<i8> = (0..width * n_rows).map(|i| (i * 37 % 255) as u8 as i8).map(|code| code.max(-127)).collect();
    let mut out = vec![0; n_rows];
    let mut sum = 0i64;
    let start_ms = now_ms();
    for _ in 0..n_repeats {
        kernel::dots(&query, &codes, &mut out);
        sum += out.iter().map(|product| i64::from(*product)).sum::<i64>();
    }
    Answer::Kernel { ms: now_ms() - start_ms, n_bytes: (codes.len() * n_repeats) as u64, sum }
}
