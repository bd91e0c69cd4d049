//! The pipeline: reading, tokenising, computing and writing at the same time.
//!
//! ```text
//! reader thread ──► bounded queue ──► one worker per source ──► bounded queue ──► the calling thread
//! read, prepare     of ranges         compute                   of vectors        write
//! ```
//!
//! Both queues are short, so memory does not depend on the number of pairs. Ranges go to whichever worker is free. The
//! first error stops everything: ranges under way are finished and written where that is still possible.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::ExtractError;
use super::differ::Block;
use super::range::Series;
use super::source::BlockSource;
use crate::data::pairs::PairFile;
use crate::device;
use crate::model::ModelError;
use crate::progress::{Report, Update};

/// A row range and what it still lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The rows.
    pub rows: Range<usize>,
    /// Series without a whole file, layers ascending.
    pub missing: Vec<Series>,
}

impl Task {
    /// Layers to compute, ascending.
    fn layers(&self) -> Vec<usize> {
        let layer = |series: &Series| match series {
            Series::Layer(layer) => Some(*layer),
            Series::Logps => None,
        };
        self.missing.iter().filter_map(layer).collect()
    }
}

/// A computed range, to be written.
pub struct Computed<'t> {
    /// What it was to be.
    pub task: &'t Task,
    /// Ids of its pairs where log-probabilities are asked for, else empty.
    pub ids: Vec<String>,
    /// What was computed.
    pub block: Block,
}

/// What a run of the pipeline did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// Pairs computed and written.
    pub n_pairs: usize,
    /// Tokens the model read.
    pub n_tokens: u64,
    /// Time from the first to the last range, in seconds.
    pub secs: f64,
}

/// A prepared range on its way to a worker.
struct Ready<'t, P> {
    task: &'t Task,
    ids: Vec<String>,
    prepared: P,
}

/// Computes `tasks` and hands each to `write` on the calling thread, in the order in which they are done.
///
/// # Errors
///
/// The first error of reading, computing or writing. What was written before stays.
///
/// # Panics
///
/// Panics without a source.
pub fn run<S: BlockSource>(
    tasks: &[Task],
    pairs: &PairFile,
    sources: &[S],
    mut write: impl FnMut(Computed) -> Result<(), ExtractError>,
    report: Report,
) -> Result<Totals, ExtractError> {
    let preparing = sources.first().expect("someone to compute");
    let stop = Stop::default();
    let progress = Progress::new(tasks, report);
    let mut totals = Totals::default();
    thread::scope(|scope| {
        let (ready_in, ready_out) = sync_channel(sources.len());
        // Closed by the last worker to end, so that a reader that waits for room wakes up.
        let ready_out = Arc::new(Mutex::new(ready_out));
        let (done_in, done_out) = sync_channel(1);
        let (stop, progress) = (&stop, &progress);
        scope.spawn(move || read(tasks, pairs, preparing, &ready_in, stop));
        for source in sources {
            let (ready_out, done_in) = (ready_out.clone(), done_in.clone());
            scope.spawn(move || work(source, &ready_out, &done_in, stop, progress));
        }
        drop((ready_out, done_in));
        for computed in done_out {
            let (n_pairs, n_tokens) = (computed.task.rows.len(), computed.block.n_tokens);
            if let Err(error) = write(computed) {
                stop.with(error);
                // The queue closes, and workers that hold a computed range end.
                break;
            }
            totals.n_pairs += n_pairs;
            totals.n_tokens += n_tokens;
        }
    });
    totals.secs = progress.start.elapsed().as_secs_f64();
    stop.into_error().map_or(Ok(totals), Err)
}

/// The reader's thread: reads and prepares ranges until the queue is closed.
fn read<'t, S: BlockSource>(
    tasks: &'t [Task],
    pairs: &PairFile,
    source: &S,
    ready: &SyncSender<Ready<'t, S::Prepared>>,
    stop: &Stop,
) {
    for task in tasks {
        if stop.is_set() {
            return;
        }
        let read = match pairs.read(task.rows.clone()) {
            Ok(read) => read,
            Err(error) => return stop.with(error.into()),
        };
        let prepared = source.prepare(&read);
        let wants_ids = task.missing.contains(&Series::Logps);
        let ids = if wants_ids { read.into_iter().map(|pair| pair.id).collect() } else { Vec::new() };
        if ready.send(Ready { task, ids, prepared }).is_err() {
            return;
        }
    }
}

/// A worker's thread: computes ranges until there are no more.
fn work<'t, S: BlockSource>(
    source: &S,
    ready: &Mutex<Receiver<Ready<'t, S::Prepared>>>,
    done: &SyncSender<Computed<'t>>,
    stop: &Stop,
    progress: &Progress,
) {
    loop {
        // Held while waiting: the other workers would only wait for the same.
        let next = ready.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Ready { task, ids, prepared }) = next else { return };
        if stop.is_set() {
            return;
        }
        let seen = Seen::default();
        let on_progress = |n_pairs: u64, n_tokens: u64| progress.up_to(&seen, n_pairs, n_tokens);
        let compute = || source.compute(&prepared, task.rows.start, &task.layers(), &on_progress);
        match device::guarded(compute, ModelError::from) {
            Ok(block) => {
                progress.up_to(&seen, task.rows.len() as u64, block.n_tokens);
                if done.send(Computed { task, ids, block }).is_err() {
                    return;
                }
            }
            Err(error) => return stop.with(error.into()),
        }
    }
}

/// Set by the first error, which it keeps.
#[derive(Default)]
struct Stop {
    is_set: AtomicBool,
    first: Mutex<Option<ExtractError>>,
}

impl Stop {
    fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    fn with(&self, error: ExtractError) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.is_set.store(true, Ordering::Relaxed);
    }

    fn into_error(self) -> Option<ExtractError> {
        self.first.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one block has reported so far.
#[derive(Default)]
struct Seen {
    n_pairs: AtomicU64,
    n_tokens: AtomicU64,
}

/// Adds up what all workers report.
struct Progress<'a> {
    start: Instant,
    total: u64,
    n_pairs: AtomicU64,
    n_tokens: AtomicU64,
    report: Report<'a>,
}

impl<'a> Progress<'a> {
    fn new(tasks: &[Task], report: Report<'a>) -> Self {
        let total = tasks.iter().map(|task| task.rows.len() as u64).sum();
        Self { start: Instant::now(), total, n_pairs: AtomicU64::new(0), n_tokens: AtomicU64::new(0), report }
    }

    /// A block has come to `n_pairs` and `n_tokens`. Reports of its threads may arrive out of order.
    fn up_to(&self, seen: &Seen, n_pairs: u64, n_tokens: u64) {
        let grown = |seen: &AtomicU64, to: u64| to.saturating_sub(seen.fetch_max(to, Ordering::Relaxed));
        let (pairs, tokens) = (grown(&seen.n_pairs, n_pairs), grown(&seen.n_tokens, n_tokens));
        let done = self.n_pairs.fetch_add(pairs, Ordering::Relaxed) + pairs;
        let n_tokens = self.n_tokens.fetch_add(tokens, Ordering::Relaxed) + tokens;
        let tokens_per_sec = n_tokens as f64 / self.start.elapsed().as_secs_f64();
        (self.report)(Update {
            stage: "extract",
            done,
            total: self.total,
            unit: "pairs",
            detail: format!("{tokens_per_sec:.0} tokens/s"),
        });
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
