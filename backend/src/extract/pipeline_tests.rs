//! The pipeline with a source that computes nothing: every range once, however many workers; bounded; stopped by the
//! first error, whoever has it, without hanging.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;

use whence_shared::pair::{Message, Pair};

use super::*;
use crate::data::pairs::PairWriter;
use crate::extract::differ::BlockProgress;
use crate::files::FileError;
use crate::progress::silent;

const N_PAIRS: usize = 95;
const ROWS: usize = 10;

/// Gives each pair its number; counts the ranges in memory.
#[derive(Default)]
struct Numbers {
    n_alive: Arc<AtomicUsize>,
    most_alive: AtomicUsize,
    fails_at: Option<usize>,
    panics_at: Option<usize>,
}

struct Alive(Vec<f32>, Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl BlockSource for Numbers {
    type Prepared = Alive;

    fn prepare(&self, pairs: &[Pair]) -> Alive {
        let alive = self.n_alive.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_alive.fetch_max(alive, Ordering::SeqCst);
        Alive(pairs.iter().map(|pair| pair.id.parse().unwrap()).collect(), self.n_alive.clone())
    }

    fn compute(
        &self,
        prepared: &Alive,
        first_row: usize,
        layers: &[usize],
        progress: BlockProgress,
    ) -> Result<Block, ModelError> {
        thread::sleep(std::time::Duration::from_millis(1));
        if self.fails_at == Some(first_row) {
            return Err(ModelError::Device(format!("at {first_row}")));
        }
        assert!(self.panics_at != Some(first_row), "the device was lost");
        progress(prepared.0.len() as u64, 1);
        let vectors = vec![prepared.0.clone(); layers.len()];
        Ok(Block { vectors, d_model: 1, remarks: Vec::new(), n_tokens: 1, logps: None })
    }
}

struct Case {
    _root: tempfile::TempDir,
    pairs: PairFile,
    tasks: Vec<Task>,
}

impl Case {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pairs.parquet");
        let mut writer = PairWriter::create(&path).unwrap();
        for i in 0..N_PAIRS {
            let said = |text: &str| vec![Message::new("assistant", text)];
            let (chosen, rejected) = (said("yes"), said("no"));
            let (id, source, metadata) = (i.to_string(), String::new(), "{}".to_owned());
            writer.push(&Pair { id, prompt: Vec::new(), chosen, rejected, source, metadata }).unwrap();
        }
        writer.commit().unwrap();
        let rows = (0..N_PAIRS).step_by(ROWS).map(|first| first..(first + ROWS).min(N_PAIRS));
        let tasks = rows.map(|rows| Task { rows, missing: vec![Series::Layer(1), Series::Layer(2)] }).collect();
        Self { pairs: PairFile::open(&path).unwrap(), tasks, _root: root }
    }

    /// Runs with some workers; returns the outcome and what was written, by first row.
    fn run(
        &self,
        sources: &[Numbers],
        mut on_write: impl FnMut(usize) -> Result<(), ExtractError>,
    ) -> (Result<Totals, ExtractError>, BTreeMap<usize, Vec<f32>>) {
        let mut written = BTreeMap::new();
        let write = |computed: Computed| {
            on_write(computed.task.rows.start)?;
            assert_eq!(computed.block.vectors.len(), 2);
            written.insert(computed.task.rows.start, computed.block.vectors[1].clone());
            Ok(())
        };
        let outcome = run(&self.tasks, &self.pairs, sources, write, &silent);
        (outcome, written)
    }
}

#[test]
fn every_range_comes_once_with_its_own_rows_however_many_workers() {
    let case = Case::new();
    for n_workers in [1, 2, 5, 20] {
        let sources: Vec<Numbers> = (0..n_workers).map(|_| Numbers::default()).collect();
        let (outcome, written) = case.run(&sources, |_| Ok(()));
        let totals = outcome.unwrap();
        assert_eq!((totals.n_pairs, totals.n_tokens), (N_PAIRS, case.tasks.len() as u64));
        let all: Vec<f32> = written.into_values().flatten().collect();
        assert_eq!(all, (0..N_PAIRS).map(|i| i as f32).collect::<Vec<_>>(), "{n_workers} workers");
    }
}

#[test]
fn few_ranges_are_in_memory_however_slow_the_writer() {
    let case = Case::new();
    let sources = [Numbers::default()];
    let (outcome, _) = case.run(&sources, |_| {
        thread::sleep(std::time::Duration::from_millis(10));
        Ok(())
    });
    outcome.unwrap();
    // One being computed, one in the queue, one that waits to be sent.
    let most = sources[0].most_alive.load(Ordering::SeqCst);
    assert!(most <= 4, "{most} ranges at once");
}

#[test]
fn a_failing_worker_stops_the_run_and_what_was_computed_before_is_written() {
    let case = Case::new();
    for n_workers in [1, 3] {
        let failing = || Numbers { fails_at: Some(50), ..Numbers::default() };
        let sources: Vec<Numbers> = (0..n_workers).map(|_| failing()).collect();
        let (outcome, written) = case.run(&sources, |_| Ok(()));
        assert!(outcome.unwrap_err().to_string().contains("at 50"));
        assert!(!written.contains_key(&50) && written.contains_key(&0), "{:?}", written.keys());
    }
}

#[test]
fn a_panicking_worker_is_an_error_that_says_how_to_go_on() {
    let case = Case::new();
    let sources = [Numbers { panics_at: Some(20), ..Numbers::default() }];
    let (outcome, written) = case.run(&sources, |_| Ok(()));
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("the device was lost") && error.contains("run the same command again"), "{error}");
    assert_eq!(written.keys().copied().collect::<Vec<_>>(), [0, 10]);
}

#[test]
fn a_failing_writer_stops_the_run_whatever_the_workers_do() {
    let case = Case::new();
    for n_workers in [1, 2, 7] {
        let sources: Vec<Numbers> = (0..n_workers).map(|_| Numbers::default()).collect();
        let mut n_written = 0;
        let (outcome, written) = case.run(&sources, |_| {
            n_written += 1;
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            let full = FileError { action: "write", path: PathBuf::from("x"), source };
            if n_written > 3 { Err(full.into()) } else { Ok(()) }
        });
        assert!(outcome.unwrap_err().to_string().contains("free some space"));
        assert_eq!(written.len(), 3);
    }
}

#[test]
fn progress_only_grows_and_ends_at_the_total() {
    let case = Case::new();
    let seen = Mutex::new(Vec::new());
    let report = |update: Update| seen.lock().unwrap().push((update.done, update.total));
    let sources = [Numbers::default(), Numbers::default()];
    run(&case.tasks, &case.pairs, &sources, |_| Ok(()), &report).unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.iter().max(), Some(&(N_PAIRS as u64, N_PAIRS as u64)));
}
