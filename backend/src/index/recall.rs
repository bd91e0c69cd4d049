//! How much of the true top k ranking by the first blocks finds: measured while an index is made, range by range, in
//! memory that depends on the number of queries alone.

use rayon::prelude::*;
use whence_shared::index::block::Block;
use whence_shared::index::bounds::RangeScores;
use whence_shared::index::manifest::RecallView;
use whence_shared::index::query::Query;

/// Rows found at most: the greatest k that recall is measured at.
const DEEPEST: usize = 1000;
/// Cosines closer than this are the same: matrix products round differently at the edges of their tiles.
const SAME: f64 = 1e-12;

/// A row as a query sees it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// What it is ranked by.
    score: f64,
    row: u32,
    /// Its cosine.
    cosine: f64,
}

/// The highest rows of one query by one kind of score.
#[derive(Debug, Clone, Default)]
struct Highest(Vec<Seen>);

impl Highest {
    fn extend(&mut self, rows: impl Iterator<Item = Seen>) {
        self.0.extend(rows);
        let by_rank = |a: &Seen, b: &Seen| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row));
        if self.0.len() > DEEPEST {
            self.0.select_nth_unstable_by(DEEPEST, by_rank);
            self.0.truncate(DEEPEST);
        }
        self.0.sort_unstable_by(by_rank);
    }
}

/// The queries of a recall measurement and what they have found so far.
#[derive(Debug)]
pub struct Recall {
    groups: Vec<(String, usize)>,
    queries: Vec<Query>,
    /// `[n_queries]` by cosine.
    by_cosine: Vec<Highest>,
    /// `[n_queries][n_blocks]` by the estimate after that block.
    by_estimate: Vec<Vec<Highest>>,
}

impl Recall {
    /// Measures with these queries; `groups` says what they are, in order, and how many.
    ///
    /// # Panics
    ///
    /// Panics when the groups do not add up to the queries.
    pub fn new(groups: Vec<(String, usize)>, queries: Vec<Query>) -> Self {
        assert_eq!(groups.iter().map(|(_, n)| n).sum::<usize>(), queries.len(), "every query is of a group");
        let n_blocks = queries.first().map_or(0, |query| query.widths().len());
        let by_estimate = vec![vec![Highest::default(); n_blocks]; queries.len()];
        Self { by_cosine: vec![Highest::default(); queries.len()], by_estimate, groups, queries }
    }

    /// Looks at a range of rows: its blocks, and its cosines row-major `[n_rows, n_queries]`. Ranges may come in any
    /// order.
    ///
    /// # Panics
    ///
    /// Panics when the blocks are not all blocks of the same rows, in order.
    pub fn look(&mut self, blocks: &[Block], cosines: &[f64]) {
        let n_queries = self.queries.len();
        let Some(first) = blocks.first() else { return };
        let (first_row, n_rows) = (first.header.first_row, first.n_rows);
        let found = (self.queries.par_iter(), &mut self.by_cosine, &mut self.by_estimate).into_par_iter().enumerate();
        found.for_each(|(i, (query, by_cosine, by_estimate))| {
            let cosine = |row: usize| cosines[row * n_queries + i];
            let seen = |row: usize, score: f64| Seen { score, row: (first_row + row) as u32, cosine: cosine(row) };
            by_cosine.extend((0..n_rows).map(|row| seen(row, cosine(row))));
            let mut scores = RangeScores::new(first_row, n_rows);
            for (block, highest) in blocks.iter().zip(by_estimate) {
                scores.add(block, query).expect("blocks of one range, in order");
                highest.extend((0..n_rows).map(|row| seen(row, scores.score(row).estimate)));
            }
        });
    }

    /// Recall after each block, one entry per group of queries.
    pub fn views(&self) -> Vec<Vec<RecallView>> {
        let n_blocks = self.by_estimate.first().map_or(0, Vec::len);
        let mean = |block: usize, queries: std::ops::Range<usize>, k: usize| {
            let n = queries.len() as f64;
            queries.map(|i| recall(&self.by_cosine[i].0, &self.by_estimate[i][block].0, k)).sum::<f64>() / n
        };
        let after = |block: usize| {
            let mut first = 0;
            let mut views = Vec::new();
            for (name, n_queries) in self.groups.iter().filter(|(_, n)| *n > 0) {
                let queries = first..first + n_queries;
                first += n_queries;
                views.push(RecallView {
                    queries: name.clone(),
                    n_queries: *n_queries,
                    at_100: mean(block, queries.clone(), 100),
                    at_1000: mean(block, queries, 1000),
                });
            }
            views
        };
        (0..n_blocks).map(after).collect()
    }
}

/// Share of the k places that hold a row whose cosine is among the k highest; equal cosines are as good as one another.
fn recall(truth: &[Seen], found: &[Seen], k: usize) -> f64 {
    let k = k.min(truth.len());
    let Some(lowest) = k.checked_sub(1).map(|last| truth[last].cosine) else { return 1.0 };
    let n_good = found[..k].iter().filter(|seen| seen.cosine >= lowest - SAME).count();
    n_good as f64 / k as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(scores: &[(u32, f64)], cosines: &[f64]) -> Vec<Seen> {
        let mut highest = Highest::default();
        highest.extend(scores.iter().map(|&(row, score)| Seen { score, row, cosine: cosines[row as usize] }));
        highest.0
    }

    #[test]
    fn recall_counts_rows_that_are_as_good_as_the_true_ones() {
        let cosines = [0.9, 0.5, 0.5, 0.1];
        let truth = seen(&[(0, 0.9), (1, 0.5), (2, 0.5), (3, 0.1)], &cosines);
        let found = seen(&[(0, 0.2), (1, 0.0), (2, 0.7), (3, 0.6)], &cosines);
        assert_eq!(recall(&truth, &found, 1), 0.0);
        assert_eq!(recall(&truth, &found, 2), 0.5, "row 2 is as good as row 1");
        assert_eq!(recall(&truth, &found, 3), 2.0 / 3.0);
        assert_eq!(recall(&truth, &found, 100), 1.0);
        assert_eq!(recall(&[], &[], 100), 1.0);
    }
}
