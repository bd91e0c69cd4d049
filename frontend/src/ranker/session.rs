//! What the coordinator knows of one query: every row's score and radius, which files they come from, what to read next.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use whence_shared::index::bounds::Bounded;
use whence_shared::index::select::{Candidate, Next, Selection, most_promising, next_step, scouts_pay};
use whence_shared::rank::{self, Histogram};
use whence_shared::study::LayerView;

use super::opening::Plan;
use super::rows::{self, Access};
use crate::protocol::{Bins, Certainty, End, Goal, IndexUse, Query, RankRequest, Stage, Way};

/// Bins of the histogram.
const N_BINS: usize = 96;
/// Most bytes that exact scores may take once the wanted pairs are certain; beyond it the reader is asked.
const MAX_UNASKED_BYTES: u64 = 32 << 20;

/// Rows read at least before it is asked again which are left.
const MIN_ROWS_PER_STEP: usize = 512;
/// Steps in which undecided rows are read at most, were none of them ruled out.
const MAX_ROW_STEPS: usize = 16;

/// What tells one query from another. The same query goes on where it was, whatever k and end.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    data: String,
    layer: LayerView,
    query: Query,
    index: IndexUse,
    n_workers: Option<usize>,
}

impl Key {
    /// Of a request.
    pub fn of(request: &RankRequest) -> Self {
        Self {
            data: request.data.clone(),
            layer: request.layer.clone(),
            query: request.query.clone(),
            index: request.index,
            n_workers: request.n_workers,
        }
    }
}

/// What a reader should know before anything is read.
pub fn first_remarks(request: &RankRequest) -> Vec<String> {
    let withheld = "the vectors of pairs are withheld here: the index alone ranks, within the bounds shown";
    request.layer.vectors_withheld.then(|| withheld.to_owned()).into_iter().collect()
}

/// A query under way or answered.
pub struct Session {
    /// Its number, which calls and notes carry.
    pub number: u32,
    /// What it is.
    pub key: Key,
    /// What is to be read for it.
    pub plan: Plan,
    /// What is known.
    pub known: RefCell<Known>,
    /// How rows' own vectors can be had.
    pub access: Cell<Access>,
    /// What was wrong with single files.
    pub remarks: RefCell<Vec<String>>,
    /// Step by step.
    pub stages: RefCell<Vec<Stage>>,
    /// Milliseconds of scoring, all workers together.
    pub score_ms: Cell<f64>,
    /// Scorers that have a part in it.
    pub n_active: usize,
}

/// What is known of the rows.
pub struct Known {
    /// By row.
    pub scores: Vec<f64>,
    /// By row; 0 = exact.
    pub radii: Vec<f32>,
    /// By range.
    pub ranges: Vec<RangeKnown>,
}

/// What is known of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RangeKnown {
    /// Files read.
    pub n_files: usize,
    /// Whether its next file cannot be had.
    pub is_stuck: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing; exact scores of the wanted pairs would take so many bytes more.
    Done(Option<u64>),
    /// Read the next file of these ranges.
    Files(Vec<usize>),
    /// Read these rows' own vectors.
    Rows(Vec<u32>),
    /// Read these rows' own vectors, because they raise the threshold at little cost: so many bytes.
    Scouts(Vec<u32>, u64),
}

impl Session {
    /// A query of which nothing is known.
    pub fn new(number: u32, request: &RankRequest, plan: Plan, n_active: usize) -> Self {
        let n_rows = request.layer.n_rows;
        let known = Known {
            scores: vec![0.0; n_rows],
            radii: vec![1.0; n_rows],
            ranges: vec![RangeKnown::default(); plan.ranges.len()],
        };
        Self {
            number,
            key: Key::of(request),
            plan,
            known: RefCell::new(known),
            access: Cell::new(Access::of(request)),
            remarks: RefCell::new(first_remarks(request)),
            stages: RefCell::default(),
            score_ms: Cell::default(),
            n_active,
        }
    }

    /// Ranges of which no file was read yet, and could be.
    pub fn unread(&self) -> Vec<usize> {
        let known = self.known.borrow();
        let is_unread = |i: &usize| known.ranges[*i].n_files == 0 && !known.ranges[*i].is_stuck;
        (0..known.ranges.len()).filter(is_unread).collect()
    }

    /// The range a row lies in.
    pub fn range_of(&self, row: u32) -> usize {
        self.plan.ranges.partition_point(|range| range.first_row + range.n_rows <= row as usize)
    }

    /// Takes over what it took so far, and what there was to remark, when another plan is followed for the same query.
    pub fn go_on_from(&self, former: &Self) {
        self.stages.borrow_mut().extend(former.stages.take());
        self.score_ms.set(self.score_ms.get() + former.score_ms.get());
        former.remarks.take().into_iter().for_each(|remark| self.remark(remark));
    }

    /// Adds a remark that is not there yet.
    pub fn remark(&self, remark: String) {
        let mut remarks = self.remarks.borrow_mut();
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    }

    /// What to read next, given what is known of the wanted pairs. `at_hand` says of a file's hash whether it is in
    /// memory; `n_scout_bytes` were spent on scouts since the last block.
    pub fn next(
        &self,
        request: &RankRequest,
        candidates: &[Candidate],
        selection: &Selection,
        at_hand: &HashSet<String>,
        n_scout_bytes: u64,
    ) -> Step {
        let layer = &request.layer;
        let is_by_vectors = matches!(self.plan.way, Way::Vectors(_));
        let has_rows = self.access.get() != Access::Nothing;
        if selection.is_certified {
            if selection.is_exact || !has_rows {
                return Step::Done(None);
            }
            let n_bytes = rows::costs(&selection.inexact, layer, self.access.get()).n_bytes();
            let goes_on = request.goal == Goal::Exact || n_bytes <= MAX_UNASKED_BYTES;
            return if goes_on { Step::Rows(selection.inexact.clone()) } else { Step::Done(Some(n_bytes)) };
        }
        let known = self.known.borrow();
        let mut ranges: Vec<usize> = selection.undecided.iter().map(|&row| self.range_of(row)).collect();
        ranges.dedup();
        ranges.retain(|&range| {
            let RangeKnown { n_files, is_stuck } = known.ranges[range];
            !is_stuck && n_files < self.plan.ranges[range].files.len()
        });
        if is_by_vectors || !has_rows {
            return if ranges.is_empty() { Step::Done(None) } else { Step::Files(ranges) };
        }
        // Files in memory cost nothing.
        let next = |range: &usize| &self.plan.ranges[*range].files[known.ranges[*range].n_files];
        let n_block_bytes: u64 =
            ranges.iter().map(next).filter(|file| !at_hand.contains(&file.sha256)).map(|file| file.n_bytes).sum();
        let next_block_bytes = (!ranges.is_empty()).then_some(n_block_bytes);
        let mut scouts: Vec<u32> = selection.scouts().collect();
        scouts.sort_unstable();
        let scouts_bytes = rows::costs(&scouts, layer, self.access.get()).n_bytes();
        if !scouts.is_empty() && scouts_pay(n_scout_bytes + scouts_bytes, next_block_bytes) {
            return Step::Scouts(scouts, scouts_bytes);
        }
        let costs = rows::costs(&selection.undecided, layer, self.access.get());
        match next_step(&costs.with_block(next_block_bytes)) {
            Next::Block => Step::Files(ranges),
            Next::Rows | Next::Done => {
                let is_undecided = |candidate: &&Candidate| selection.undecided.binary_search(&candidate.row).is_ok();
                let undecided =
                    candidates.iter().filter(is_undecided).map(|candidate| (candidate.row, candidate.score));
                Step::Rows(most_promising(undecided, MIN_ROWS_PER_STEP, MAX_ROW_STEPS))
            }
        }
    }

    /// The rows from the wanted end, and each row's place among them.
    pub fn order(&self, end: End) -> (Vec<u32>, Vec<u32>) {
        let known = self.known.borrow();
        let order = match end {
            End::Top => rank::order(&known.scores),
            End::Bottom => rank::order(&known.scores.iter().map(|score| -score).collect::<Vec<_>>()),
        };
        let mut places = vec![0; order.len()];
        for (place, &row) in order.iter().enumerate() {
            places[row as usize] = place as u32;
        }
        (order, places)
    }

    /// The scores as shown, how many there are, and their distribution, with that of the first `k` of an order.
    pub fn shown(&self, order: &[u32], k: usize) -> (Vec<f32>, usize, Bins) {
        let known = self.known.borrow();
        let scores: Vec<f32> = known.scores.iter().map(|score| *score as f32).collect();
        // Nothing is known of a row whose score may be anything.
        let is_scored = |row: usize| known.radii[row] < 1.0;
        let scored: Vec<f32> = (0..scores.len()).filter(|&row| is_scored(row)).map(|row| scores[row]).collect();
        let all = Histogram::of_scores(&scored, N_BINS);
        let mut top = vec![0; N_BINS];
        for &row in order.iter().take(k).filter(|&&row| is_scored(row as usize)) {
            top[all.bin_of(scores[row as usize])] += 1;
        }
        let Histogram { low, high, counts } = all;
        drop(known);
        (scores, scored.len(), Bins { low, high, counts, top })
    }

    /// How sure the first `k` of an order are when no selection was made.
    pub fn estimate(&self, order: &[u32], k: usize) -> Certainty {
        let known = self.known.borrow();
        let radii = order.iter().take(k).map(|&row| known.radii[row as usize]);
        Certainty::Estimate(f64::from(radii.fold(0.0, f32::max)))
    }

    /// States rows' exact scores.
    pub fn set_exact(&self, rows: &[(u32, f64)]) {
        let mut known = self.known.borrow_mut();
        for &(row, score) in rows {
            known.scores[row as usize] = score;
            known.radii[row as usize] = 0.0;
        }
    }

    /// Whether an exact score contradicts what was known of its row.
    pub fn contradicts(&self, row: u32, score: f64) -> bool {
        // Radii are rounded up; the slack is for the estimate's own rounding.
        const SLACK: f64 = 1e-12;
        let known = self.known.borrow();
        let (estimate, radius) = (known.scores[row as usize], f64::from(known.radii[row as usize]));
        score.is_nan() || (score - estimate).abs() > radius + SLACK
    }
}

/// How sure a selection is.
pub fn certainty(selection: &Selection) -> Certainty {
    match (selection.is_certified, selection.is_exact) {
        (true, true) => Certainty::Exact,
        (true, false) => Certainty::Certified(selection.radius),
        _ => Certainty::Estimate(selection.radius),
    }
}

/// Candidates from the arrays of a message.
pub fn candidates(rows: &[u32], estimates: &[f64], lowers: &[f64], uppers: &[f64]) -> Vec<Candidate> {
    let scores = estimates.iter().zip(lowers).zip(uppers);
    rows.iter()
        .zip(scores)
        .map(|(&row, ((&estimate, &lower), &upper))| Candidate { row, score: Bounded { estimate, lower, upper } })
        .collect()
}
