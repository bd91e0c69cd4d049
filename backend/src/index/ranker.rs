//! The best rows of a layer, exactly, through its index where there is one: block 0 of every row first, then the vectors of
//! the best by estimate, whose exact scores rule out most others, then whatever costs fewer bytes, the next block of the
//! rows that are still possible or their own vectors.
//!
//! The arithmetic of bounds and of what to read next is [`whence_shared::index`]'s, the same that runs in the browser;
//! here are memory-mapped files and all cores. Without an index every vector is read. Either way the result is the same
//! rows with the same scores: a score is always [`Probe::score`] of the stored vector.

use std::fs::File;
use std::path::PathBuf;

use memmap2::Mmap;
use rayon::prelude::*;
use serde::Serialize;
use whence_shared::index::block::{Block, COLUMN_BYTES};
use whence_shared::index::bounds::{Bounded, RangeScores};
use whence_shared::index::manifest::{FileView, IndexManifest};
use whence_shared::index::query::{Direction, Query};
use whence_shared::index::select::{self, Best, Candidate, Costs, Next, Place, Selection, next_step, scouts_pay};
use whence_shared::rank::Probe;

use super::IndexError;
use super::rotation::Rotation;
use super::state::{IndexState, rotation_of};
use super::verb::ROTATION_ERROR;
use crate::extract::LayerFiles;
use crate::extract::layer_files::MappedFile;
use crate::files::{Context, FileError};
use crate::study::Study;

/// Fewest rows read exactly at a time: the most promising first, because each may rule out the rest.
const ROWS_PER_STEP: usize = 256;
/// Largest number of such steps that the rows at hand are spread over.
const MAX_STEPS: usize = 32;

/// A range's next block is read for its possible rows alone when they are less than one in this many: skipping through
/// memory costs more than reading on.
const SPARSE: usize = 4;

/// Which rows are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// How many, of each group.
    pub k: usize,
    /// The lowest scores instead of the highest.
    pub bottom: bool,
    /// Group of every row of the study, such as its source; one group when absent.
    pub groups: Option<&'a [u32]>,
}

/// One wanted row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scored {
    /// Row of the study.
    pub row: u32,
    /// Its exact score, in [−1, 1].
    pub score: f64,
}

/// What was read in one step, and what was known after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// The block, or none for vectors of rows.
    pub block: Option<usize>,
    /// Bytes read in this step.
    pub n_bytes: u64,
    /// Rows that were still possible after it.
    pub n_candidates: usize,
    /// Whether the wanted rows were certain after it.
    pub is_certified: bool,
}

/// The wanted rows, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Rows of each group, best first; equal scores by row.
    pub groups: Vec<Vec<Scored>>,
    /// Step by step; one step when every vector was read.
    pub stages: Vec<Stage>,
}

impl Found {
    /// Bytes read in all.
    pub fn n_bytes(&self) -> u64 {
        self.stages.iter().map(|stage| stage.n_bytes).sum()
    }

    /// Bytes read when the wanted rows were certain.
    pub fn n_bytes_certified(&self) -> u64 {
        let until = self.stages.iter().position(|stage| stage.is_certified).map_or(self.stages.len(), |i| i + 1);
        self.stages[..until].iter().map(|stage| stage.n_bytes).sum()
    }
}

/// A layer that can be asked for its best rows, many times.
#[derive(Debug)]
pub struct Ranker {
    vectors: LayerFiles,
    index: Result<OpenIndex, String>,
}

impl Ranker {
    /// Opens a layer, with its index if that can be used.
    pub fn open(study: &Study, vectors: LayerFiles) -> Self {
        let index = match IndexState::of(study, &vectors) {
            IndexState::Absent => Err("there is no index: `whence index` makes one".to_owned()),
            IndexState::Stale { why } => Err(format!("the index cannot be used: {why}; `whence index` makes it again")),
            IndexState::Current(manifest) => {
                OpenIndex::open(study, *manifest).map_err(|error| format!("the index cannot be used: {error}"))
            }
        };
        Self { vectors, index }
    }

    /// The same without using an index.
    pub fn without_index(vectors: LayerFiles) -> Self {
        Self { vectors, index: Err("the index was not asked for".to_owned()) }
    }

    /// Why every vector has to be read.
    pub fn why_no_index(&self) -> Option<&str> {
        self.index.as_ref().err().map(String::as_str)
    }

    /// Bytes of all block files; absent without an index.
    pub fn index_bytes(&self) -> Option<u64> {
        Some(self.index.as_ref().ok()?.manifest.n_bytes())
    }

    /// Bytes of all vectors.
    pub fn vector_bytes(&self) -> u64 {
        let view = self.vectors.view();
        (view.n_rows * view.d_model * view.dtype.n_bytes()) as u64
    }

    /// The vector files.
    pub fn vectors(&self) -> &LayerFiles {
        &self.vectors
    }

    /// The wanted rows by the largest cosine with `directions`, each `[d_model]` in the model's own space.
    ///
    /// # Errors
    ///
    /// When a file is missing or damaged, or a row's vector contradicts what the index says of it.
    ///
    /// # Panics
    ///
    /// Panics without a direction, or with one of another width than the vectors.
    pub fn find(&self, directions: &[Direction], wanted: Wanted) -> Result<Found, IndexError> {
        assert!(!directions.is_empty(), "a query has at least one direction");
        match &self.index {
            // To state most rows exactly, most vectors have to be read anyhow.
            Ok(index) if wanted.k.saturating_mul(n_groups(wanted.groups)) < self.vectors.view().n_rows / 4 => {
                Search::new(self, index, directions, wanted).run()
            }
            _ => self.pass(directions, wanted),
        }
    }

    /// Reads every vector.
    fn pass(&self, directions: &[Direction], wanted: Wanted) -> Result<Found, IndexError> {
        let n_groups = n_groups(wanted.groups);
        let probe = Probe::new(directions);
        let one = |i: usize| -> Result<Vec<Best>, IndexError> {
            let file = self.vectors.map(i, false)?;
            let shard = file.shard();
            let mut best = vec![Best::new(wanted.k); n_groups];
            for (i, score) in probe.scores(&shard).enumerate() {
                let row = (shard.header.first_row + i) as u32;
                best[group(wanted.groups, row)].push(row, if wanted.bottom { 0.0 - score } else { score });
            }
            Ok(best)
        };
        let merge = |mut a: Vec<Best>, b: Vec<Best>| {
            a.iter_mut().zip(&b).for_each(|(a, b)| a.merge(b));
            Ok(a)
        };
        let nothing = || vec![Best::new(wanted.k); n_groups];
        let best = (0..self.vectors.view().shards.len()).into_par_iter().map(one).try_reduce(nothing, merge)?;
        let scored = |place: Place| Scored {
            row: place.row,
            score: if wanted.bottom { 0.0 - place.score } else { place.score + 0.0 },
        };
        let groups: Vec<Vec<Scored>> =
            best.into_iter().map(|best| best.into_sorted().into_iter().map(scored).collect()).collect();
        let n_candidates = groups.iter().map(Vec::len).sum();
        let stage = Stage { block: None, n_bytes: self.vector_bytes(), n_candidates, is_certified: true };
        Ok(Found { groups, stages: vec![stage] })
    }
}

fn n_groups(groups: Option<&[u32]>) -> usize {
    groups.map_or(1, |groups| groups.iter().max().map_or(0, |last| *last as usize + 1))
}

fn group(groups: Option<&[u32]>, row: u32) -> usize {
    groups.map_or(0, |groups| groups[row as usize] as usize)
}

/// An index with its files mapped.
#[derive(Debug)]
struct OpenIndex {
    manifest: IndexManifest,
    rotation: Rotation,
    widths: Vec<usize>,
    /// `[n_blocks][n_ranges]`.
    files: Vec<Vec<(PathBuf, Mmap)>>,
}

impl OpenIndex {
    fn open(study: &Study, manifest: IndexManifest) -> Result<Self, IndexError> {
        let rotation = rotation_of(study, &manifest)?;
        let map = |view: &FileView| -> Result<(PathBuf, Mmap), FileError> {
            let path = study.root().join(&view.path);
            let file = File::open(&path).at("open", &path)?;
            // SAFETY: as for vector files: files of a study are replaced as a whole, never written into.
            let bytes = unsafe { Mmap::map(&file) }.at("map", &path)?;
            Ok((path, bytes))
        };
        let files: Result<_, FileError> =
            manifest.blocks.iter().map(|block| block.files.iter().map(map).collect()).collect();
        let widths = manifest.widths();
        Ok(Self { files: files?, rotation, widths, manifest })
    }

    /// Adds a block to the scores of a range's kept rows.
    fn add(&self, block: usize, range: usize, scores: &mut RangeScores, query: &Query) -> Result<(), IndexError> {
        let (path, bytes) = &self.files[block][range];
        let parsed = match scores.kept() {
            None => Block::parse(bytes),
            Some(rows) => Block::parse_rows(bytes, rows),
        };
        let parsed = parsed.map_err(|source| IndexError::Block { path: path.clone(), source })?;
        let mismatch = |what, expected: &str, got: &str| IndexError::Mismatch {
            path: path.clone(),
            what,
            expected: expected.to_owned(),
            got: got.to_owned(),
        };
        if parsed.header.inputs != self.manifest.inputs {
            return Err(mismatch("inputs", &self.manifest.inputs, &parsed.header.inputs));
        }
        scores.add(&parsed, query).map_err(|error| mismatch(error.what, &error.expected, &error.got))
    }
}

/// One query under way.
struct Search<'a> {
    ranker: &'a Ranker,
    index: &'a OpenIndex,
    probe: Probe<'a>,
    query: Query,
    wanted: Wanted<'a>,
    ranges: Vec<RangeScores>,
    /// Ranges that hold candidates.
    active: Vec<usize>,
    /// `[n_groups]`: rows that are possible, in no order.
    candidates: Vec<Vec<Candidate>>,
    n_blocks: usize,
    stages: Vec<Stage>,
}

impl<'a> Search<'a> {
    fn new(ranker: &'a Ranker, index: &'a OpenIndex, directions: &'a [Direction], wanted: Wanted<'a>) -> Self {
        let rotated: Vec<Direction> = directions
            .iter()
            .map(|direction| {
                let mut values = direction.values.clone();
                index.rotation.apply(&mut values);
                let error = direction.error + direction.norm() * ROTATION_ERROR;
                Direction { values, error }
            })
            .collect();
        let query = Query::bank(&rotated, &index.widths);
        let ranges: Vec<RangeScores> = index.manifest.blocks.first().map_or_else(Vec::new, |block| {
            block.files.iter().map(|file| RangeScores::new(file.first_row, file.n_rows)).collect()
        });
        let active = (0..ranges.len()).collect();
        let candidates = vec![Vec::new(); n_groups(wanted.groups)];
        Self {
            ranker,
            index,
            probe: Probe::new(directions),
            query,
            wanted,
            ranges,
            active,
            candidates,
            n_blocks: 0,
            stages: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Found, IndexError> {
        let mut step = Step::Block;
        let mut n_scout_bytes = 0;
        loop {
            let (block, n_bytes) = match &step {
                Step::Done => break,
                Step::Block => (Some(self.n_blocks), self.read_block()?),
                Step::Scouts(rows) | Step::Rows(rows) => (None, self.read_rows(rows)?),
            };
            match &step {
                Step::Scouts(_) => n_scout_bytes += n_bytes,
                _ => n_scout_bytes = 0,
            }
            let selections = self.select();
            let is_certified = selections.iter().all(|selection| selection.is_certified);
            let n_candidates = self.candidates.iter().map(Vec::len).sum();
            match self.stages.last_mut() {
                // Steps of rows that follow one another are one stage until something is certain.
                Some(last) if block.is_none() && last.block.is_none() && last.is_certified == is_certified => {
                    last.n_bytes += n_bytes;
                    last.n_candidates = n_candidates;
                }
                _ => self.stages.push(Stage { block, n_bytes, n_candidates, is_certified }),
            }
            step = self.next(selections, n_scout_bytes);
        }
        let scored = |candidate: Candidate| {
            let score = self.signed(candidate.score);
            Scored { row: candidate.row, score: score.estimate }
        };
        let groups = self.select().into_iter().map(|group| group.top.into_iter().map(scored).collect()).collect();
        Ok(Found { groups, stages: self.stages })
    }

    /// By which rows are ordered: the highest first.
    fn signed(&self, score: Bounded) -> Bounded {
        if self.wanted.bottom { score.negated() } else { score }
    }

    fn select(&self) -> Vec<Selection> {
        self.candidates.iter().map(|group| select::select(group.clone(), self.wanted.k)).collect()
    }

    /// Possible rows of every range, ascending, counted within the range.
    fn possible(&self) -> Vec<Vec<u32>> {
        let mut rows = vec![Vec::new(); self.ranges.len()];
        for candidate in self.candidates.iter().flatten() {
            let (range, row) = self.place(candidate.row);
            rows[range].push(row as u32);
        }
        rows.iter_mut().for_each(|rows| rows.sort_unstable());
        rows
    }

    /// Reads the next block of the active ranges and looks anew at which of their rows are possible.
    fn read_block(&mut self) -> Result<u64, IndexError> {
        let (block, n_bytes) = (self.n_blocks, self.n_block_bytes().unwrap_or_default());
        let mut is_active = vec![false; self.ranges.len()];
        self.active.iter().for_each(|&range| is_active[range] = true);
        let possible = if block == 0 { Vec::new() } else { self.possible() };
        let (index, query) = (self.index, &self.query);
        let read = self.ranges.par_iter_mut().enumerate().filter(|(range, _)| is_active[*range]);
        read.map(|(range, scores)| {
            if let Some(rows) = possible.get(range)
                && is_sparse(scores, rows.len())
            {
                scores.keep(rows);
            }
            index.add(block, range, scores, query)
        })
        .collect::<Result<(), IndexError>>()?;
        self.n_blocks += 1;

        let (wanted, n_groups) = (self.wanted, self.candidates.len());
        let of_range = |&range: &usize| {
            let mut best = vec![Best::new(wanted.k); n_groups];
            for (row, score) in self.ranges[range].scores() {
                best[group(wanted.groups, row)].push(row, self.signed(score).lower);
            }
            best
        };
        let merge = |mut a: Vec<Best>, b: Vec<Best>| {
            a.iter_mut().zip(&b).for_each(|(a, b)| a.merge(b));
            a
        };
        let nothing = || vec![Best::new(wanted.k); n_groups];
        // Rows of ranges that are no longer active are below the threshold already and cannot raise it.
        let best = self.active.par_iter().map(of_range).reduce(nothing, merge);
        let thresholds: Vec<Option<Place>> = best.iter().map(Best::threshold).collect();
        let possible = |&range: &usize| {
            let candidate = |(row, score)| Candidate { row, score: self.signed(score) };
            let reaches = |candidate: &Candidate| candidate.reaches(thresholds[group(wanted.groups, candidate.row)]);
            self.ranges[range].scores().map(candidate).filter(reaches).collect::<Vec<_>>()
        };
        let possible: Vec<Vec<Candidate>> = self.active.par_iter().map(possible).collect();
        self.active = self.active.iter().zip(&possible).filter(|(_, rows)| !rows.is_empty()).map(|(i, _)| *i).collect();
        self.candidates.iter_mut().for_each(Vec::clear);
        for candidate in possible.into_iter().flatten() {
            self.candidates[group(wanted.groups, candidate.row)].push(candidate);
        }
        Ok(n_bytes)
    }

    /// Reads the vectors of these rows, which ascend, and drops the rows that this rules out.
    fn read_rows(&mut self, rows: &[u32]) -> Result<u64, IndexError> {
        let vectors = self.ranker.vectors();
        let of_files: Vec<&[u32]> =
            rows.chunk_by(|a, b| vectors.file_of(*a as usize) == vectors.file_of(*b as usize)).collect();
        let scored: Vec<Vec<(u32, f64)>> = of_files
            .into_par_iter()
            .map(|rows| -> Result<Vec<(u32, f64)>, IndexError> {
                let file = vectors.map(vectors.file_of(rows[0] as usize), false)?;
                let shard = file.shard();
                let mut values = vec![0.0; shard.d_model];
                let score = |&row: &u32| {
                    shard.read_row(row as usize - shard.header.first_row, &mut values);
                    let score = self.probe.score(&values);
                    self.must_agree(row, score, &file)?;
                    Ok((row, score))
                };
                rows.iter().map(score).collect()
            })
            .collect::<Result<_, _>>()?;
        for (row, score) in scored.into_iter().flatten() {
            let (range, i) = self.place(row);
            self.ranges[range].set_exact(i, score);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        for group in &mut candidates {
            for candidate in group.iter_mut() {
                candidate.score = self.signed(self.score(candidate.row));
            }
            let lowest = group.iter().map(|candidate| (candidate.row, candidate.score));
            let threshold = Best::of_lower_bounds(lowest, self.wanted.k).threshold();
            *group = select::candidates(group.iter().map(|c| (c.row, c.score)), threshold);
        }
        self.candidates = candidates;
        self.active = {
            let mut active: Vec<usize> = self.candidates.iter().flatten().map(|c| self.place(c.row).0).collect();
            active.sort_unstable();
            active.dedup();
            active
        };
        Ok((rows.len() * self.n_row_bytes()) as u64)
    }

    fn n_row_bytes(&self) -> usize {
        let view = self.ranker.vectors().view();
        view.d_model * view.dtype.n_bytes()
    }

    /// Range and place in it of a row.
    fn place(&self, row: u32) -> (usize, usize) {
        let row = row as usize;
        let range = self.ranges.partition_point(|range| range.first_row() + range.n_rows() <= row);
        (range, row - self.ranges[range].first_row())
    }

    fn score(&self, row: u32) -> Bounded {
        let (range, i) = self.place(row);
        self.ranges[range].score(i)
    }

    /// An index of which one bound is wrong is of no use: whoever changed it may have changed others.
    fn must_agree(&self, row: u32, score: f64, file: &MappedFile) -> Result<(), IndexError> {
        let bounds = self.score(row);
        if bounds.lower <= score && score <= bounds.upper {
            return Ok(());
        }
        Err(IndexError::Contradiction {
            row,
            score,
            bounds: (bounds.lower, bounds.upper),
            path: file.path().to_owned(),
            index: self.index.files[0][self.place(row).0].0.clone(),
        })
    }

    /// Bytes of the next block that concern rows that are possible; absent after the last block.
    fn n_block_bytes(&self) -> Option<u64> {
        let block = self.n_blocks;
        if block >= self.index.widths.len() {
            return None;
        }
        if block == 0 {
            return Some(self.index.manifest.blocks[0].files.iter().map(|file| file.n_bytes).sum());
        }
        let files = &self.index.manifest.blocks[block].files;
        let bytes_per_row = self.index.widths[block] + COLUMN_BYTES;
        let n_bytes = |(range, rows): (usize, Vec<u32>)| match is_sparse(&self.ranges[range], rows.len()) {
            true => (rows.len() * bytes_per_row) as u64,
            false => files[range].n_bytes,
        };
        Some(self.possible().into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()).map(n_bytes).sum())
    }

    fn next(&self, selections: Vec<Selection>, n_scout_bytes: u64) -> Step {
        let n_bytes = |n_rows: usize| (n_rows * self.n_row_bytes()) as u64;
        let n_undecided: usize = selections.iter().map(|selection| selection.undecided.len()).sum();
        if n_undecided == 0 {
            let rows = sorted(selections.into_iter().flat_map(|selection| selection.inexact));
            return if rows.is_empty() { Step::Done } else { Step::Rows(rows) };
        }
        let next_block_bytes = self.n_block_bytes();
        let scouts = sorted(selections.iter().flat_map(Selection::scouts));
        if scouts_pay(n_scout_bytes + n_bytes(scouts.len()), next_block_bytes) && !scouts.is_empty() {
            return Step::Scouts(scouts);
        }
        let costs = Costs {
            n_rows: n_undecided as u64,
            bytes_per_row: n_bytes(1),
            n_ranges: 0,
            bytes_per_range: 0,
            next_block_bytes,
        };
        match next_step(&costs) {
            Next::Done => Step::Done,
            Next::Block => Step::Block,
            Next::Rows => {
                let undecided = selections.iter().flat_map(|selection| &selection.undecided);
                let undecided = undecided.map(|&row| (row, self.signed(self.score(row))));
                Step::Rows(select::most_promising(undecided, ROWS_PER_STEP, MAX_STEPS))
            }
        }
    }
}

/// Whether a range's next block is read for its `n_possible` possible rows alone. Never read on to the end once rows were
/// forgotten.
fn is_sparse(scores: &RangeScores, n_possible: usize) -> bool {
    scores.kept().is_some() || n_possible < scores.n_rows() / SPARSE
}

/// What is read next.
enum Step {
    /// Nothing: everything wanted is exact.
    Done,
    /// The next block of the possible rows.
    Block,
    /// The vectors of the best by estimate, before the next block.
    Scouts(Vec<u32>),
    /// Vectors of rows that the blocks cannot decide for less.
    Rows(Vec<u32>),
}

fn sorted(rows: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut rows: Vec<u32> = rows.collect();
    rows.sort_unstable();
    rows
}
