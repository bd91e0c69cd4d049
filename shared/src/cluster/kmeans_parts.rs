//! Spherical k-means ([`super::kmeans`]) over rows that lie in parts, each with whoever holds it: what the browser's workers do
//! to group all pairs of a study.
//!
//! First centres come from a sample of every part; then, round by round, every part assigns its rows and sums them, and the
//! sums, merged in the order of the parts, make the next centres. With the same parts the result has the same bits, whoever
//! computes.

use super::kmeans::{self, Assigned, Sums};
use super::points::{ClusterError, Points, to_unit_rows};
use crate::index::block::Block;
use crate::statistics::random::Random;

/// Parts that rows are dealt to. Not as many as there are processors: the result depends on it to the last bit.
pub const N_PARTS: usize = 4;
/// Rows sampled per cluster for the first centres, over all parts.
const SAMPLED_PER_CLUSTER: usize = 64;
/// Least number of rows sampled, over all parts.
const MIN_SAMPLED: usize = 2048;
/// Most iterations over the sample.
const SAMPLE_ITERATIONS: usize = 10;
/// Most rounds over all rows.
pub const MAX_ROUNDS: usize = 20;
/// Rounds end when at most this share of the rows, one in so many, changes its cluster.
const SETTLED: usize = 1000;

/// Some of the rows, and the cluster each is in.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    width: usize,
    /// Row-major `[n_rows, width]`, of unit length or zero.
    rows: Vec<f32>,
    assigned: Assigned,
}

/// What a part found in a round.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Sums of its rows by cluster.
    pub sums: Sums,
    /// Rows whose cluster is another than before.
    pub n_changed: usize,
}

impl Round {
    /// Of no rows yet.
    pub fn of_none(k: usize, width: usize) -> Self {
        Self { sums: Sums::new(k, width), n_changed: 0 }
    }

    /// Adds what the next part found.
    ///
    /// # Panics
    ///
    /// Panics when its sums are of another shape.
    pub fn merge(&mut self, next: &Self) {
        self.sums.merge(&next.sums);
        self.n_changed += next.n_changed;
    }
}

impl Part {
    /// Of rows `[n_rows, width]`, which are brought to unit length; there may be none.
    ///
    /// # Errors
    ///
    /// When the numbers are no whole rows or not all are finite.
    pub fn new(mut rows: Vec<f32>, width: usize) -> Result<Self, ClusterError> {
        if width == 0 || !rows.is_empty() {
            Points::new(&rows, width)?;
        }
        to_unit_rows(&mut rows, width);
        Ok(Self { width, rows, assigned: Assigned::default() })
    }

    /// Rows in it.
    pub fn n_rows(&self) -> usize {
        self.rows.len() / self.width
    }

    fn points(&self) -> Points<'_> {
        Points { values: &self.rows, width: self.width }
    }

    /// `n` rows drawn at random, `[n, width]`; none of a part without rows.
    pub fn sample(&self, n: usize, seed: u64) -> Vec<f32> {
        let (mut random, n_rows) = (Random::new(seed), self.n_rows());
        let n = if n_rows == 0 { 0 } else { n };
        (0..n).flat_map(|_| self.points().row(random.below(n_rows)).iter().copied()).collect()
    }

    /// Assigns its rows to centres of unit length, `[k, width]`, and sums them.
    ///
    /// # Panics
    ///
    /// Panics when there are no centres or they are not as wide as the rows.
    pub fn round(&mut self, centres: &[f32]) -> Round {
        let assigned = match self.rows.is_empty() {
            true => Assigned::default(),
            false => kmeans::assign(self.points(), centres),
        };
        let changed =
            assigned.labels.iter().enumerate().filter(|(i, label)| self.assigned.labels.get(*i) != Some(label));
        let n_changed = changed.count();
        self.assigned = assigned;
        let mut sums = Sums::new(centres.len() / self.width, self.width);
        sums.add(self.points(), &self.assigned.labels);
        Round { sums, n_changed }
    }

    /// The cluster of every row, `[n_rows]`, as of the last round; before it none.
    pub fn labels(&self) -> &[u32] {
        &self.assigned.labels
    }

    /// Per cluster, the row of the part that lies nearest to the centre, the first of equals, and its cosine; `None` where the
    /// part has none. `[k]`
    pub fn exemplars(&self, k: usize) -> Vec<Option<(u32, f32)>> {
        let mut exemplars: Vec<Option<(u32, f32)>> = vec![None; k];
        for ((row, &label), &cosine) in (0..).zip(&self.assigned.labels).zip(&self.assigned.cosines) {
            let best = &mut exemplars[label as usize];
            if best.is_none_or(|(_, largest)| cosine > largest) {
                *best = Some((row, cosine));
            }
        }
        exemplars
    }
}

/// Appends the rows of an index's block, `[n_rows, width]`.
pub fn push_rows(rows: &mut Vec<f32>, block: &Block) {
    for (codes, scale) in block.codes.chunks_exact(block.width).zip(&block.scale) {
        rows.extend(codes.iter().map(|&code| f32::from(code) * scale));
    }
}

/// The part that a file's rows go to, as a whole: parts have about as many rows, one after the other.
pub fn part_of(first_row: usize, n_rows_of_file: usize, n_rows: usize) -> usize {
    ((first_row + n_rows_of_file / 2) * N_PARTS / n_rows.max(1)).min(N_PARTS - 1)
}

/// How many rows of a part to sample: as large a share of the sample as the part has of the rows.
pub fn n_sampled(n_of_part: usize, n_rows: usize, k: usize) -> usize {
    let n = (SAMPLED_PER_CLUSTER * k).max(MIN_SAMPLED).min(n_rows);
    (n * n_of_part).div_ceil(n_rows.max(1))
}

/// The rounds, as whoever deals them out sees them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounds {
    n_rows: usize,
    centres: Vec<f32>,
    counts: Vec<u64>,
    n_rounds: usize,
    has_settled: bool,
}

impl Rounds {
    /// Begins with centres from the parts' samples one after the other, `[n, width]`; `n_rows` are in all parts together.
    ///
    /// # Errors
    ///
    /// When `k` is 0 or more than there are rows in the sample.
    pub fn begin(sample: &[f32], width: usize, k: usize, seed: u64, n_rows: usize) -> Result<Self, ClusterError> {
        let points = Points::new(sample, width)?;
        let settings = kmeans::Settings { k, seed, n_starts: 1, max_iterations: SAMPLE_ITERATIONS };
        let centres = kmeans::spherical(points, settings)?.centres;
        Ok(Self { n_rows, centres, counts: vec![0; k], n_rounds: 0, has_settled: false })
    }

    /// Whether there are no more.
    pub fn are_over(&self) -> bool {
        self.has_settled || self.n_rounds == MAX_ROUNDS
    }

    /// The centres of the next round, `[k, width]`.
    pub fn centres(&self) -> &[f32] {
        &self.centres
    }

    /// Takes what all parts found in a round, merged in their order.
    pub fn take(&mut self, round: &Round) {
        self.n_rounds += 1;
        self.counts = round.sums.counts().to_vec();
        self.has_settled = round.n_changed * SETTLED <= self.n_rows;
        if !self.has_settled {
            self.centres = round.sums.centres(&self.centres);
        }
    }

    /// Rounds taken.
    pub fn n_rounds(&self) -> usize {
        self.n_rounds
    }

    /// Whether hardly any row changed its cluster in the last one.
    pub fn has_settled(&self) -> bool {
        self.has_settled
    }

    /// Rows in each cluster, `[k]`.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The clusters by size, the largest first and of equals the first: `order[place]` is a cluster.
    pub fn by_size(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.counts.len() as u32).collect();
        order.sort_by_key(|&cluster| (std::cmp::Reverse(self.counts[cluster as usize]), cluster));
        order
    }
}

/// All of it in one place: labels of all rows, by size of cluster, and the number of rounds.
///
/// # Errors
///
/// As [`Rounds::begin`].
pub fn in_parts(parts: &mut [Part], k: usize, seed: u64) -> Result<(Vec<u32>, usize), ClusterError> {
    let (n_rows, width) = (parts.iter().map(Part::n_rows).sum(), parts.first().map_or(1, |part| part.width));
    let sample = (0..).zip(&*parts).flat_map(|(i, part)| part.sample(n_sampled(part.n_rows(), n_rows, k), seed + i));
    let mut rounds = Rounds::begin(&sample.collect::<Vec<f32>>(), width, k, seed, n_rows)?;
    while !rounds.are_over() {
        let mut all = Round::of_none(k, width);
        parts.iter_mut().for_each(|part| all.merge(&part.round(rounds.centres())));
        rounds.take(&all);
    }
    let places = places(&rounds.by_size());
    let labels = parts.iter().flat_map(|part| part.labels().iter().map(|&label| places[label as usize]));
    Ok((labels.collect(), rounds.n_rounds()))
}

/// The place of every cluster in an order.
pub fn places(order: &[u32]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (place, &cluster) in (0..).zip(order) {
        places[cluster as usize] = place;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::partition::adjusted_rand;

    /// Rows around six directions, every other one in the largest, with their direction's number.
    fn bundles(n: usize, width: usize) -> (Vec<f32>, Vec<u32>) {
        let mut random = Random::new(5);
        let directions: Vec<f64> = (0..6 * width).map(|_| random.normal()).collect();
        let (mut rows, mut truth) = (Vec::new(), Vec::new());
        for i in 0..n {
            let direction = if i % 2 == 0 { 0 } else { i / 2 % 6 };
            let at = &directions[direction * width..][..width];
            rows.extend(at.iter().map(|x| (x + 0.3 * random.normal()) as f32));
            truth.push(direction as u32);
        }
        (rows, truth)
    }

    fn parts(rows: &[f32], width: usize, rows_per_part: usize) -> Vec<Part> {
        rows.chunks(rows_per_part * width).map(|rows| Part::new(rows.to_vec(), width).unwrap()).collect()
    }

    #[test]
    fn parts_find_what_there_is_the_largest_first() {
        let (rows, truth) = bundles(3000, 12);
        let (labels, n_rounds) = in_parts(&mut parts(&rows, 12, 800), 6, 1).unwrap();
        assert_eq!(adjusted_rand(&labels, &truth), 1.0);
        assert_eq!(labels[0], 0, "half of the rows are in one cluster");
        assert!(n_rounds < MAX_ROUNDS);
        assert_eq!(in_parts(&mut parts(&rows, 12, 800), 6, 1).unwrap(), (labels, n_rounds), "the same every time");
    }

    #[test]
    fn exemplars_lie_nearest_to_their_centres() {
        let (rows, _) = bundles(300, 8);
        let mut part = Part::new(rows, 8).unwrap();
        part.round(Rounds::begin(&part.sample(300, 1), 8, 6, 1, 300).unwrap().centres());
        for (cluster, exemplar) in part.exemplars(6).into_iter().enumerate() {
            let (row, cosine) = exemplar.expect("every cluster has rows");
            let members = (0..300).filter(|&row| part.labels()[row] as usize == cluster);
            assert!(members.clone().any(|member| member == row as usize));
            assert!(members.into_iter().all(|member| part.assigned.cosines[member] <= cosine));
        }
        assert_eq!(part.exemplars(9)[8], None);
    }

    #[test]
    fn few_rows_equal_rows_and_none_are_defined() {
        let one = || vec![Part::new(vec![0.6, 0.8], 2).unwrap()];
        assert_eq!(in_parts(&mut one(), 1, 1).unwrap().0, [0]);
        assert!(in_parts(&mut one(), 2, 1).is_err(), "more clusters than rows");
        assert!(in_parts(&mut one(), 0, 1).is_err());
        let equal = [1.0, 0.0].repeat(50);
        let (labels, _) = in_parts(&mut parts(&equal, 2, 30), 3, 1).unwrap();
        assert!(labels.iter().all(|&label| label == labels[0]));
        let mut with_none = one();
        with_none.push(Part::new(Vec::new(), 2).unwrap());
        assert_eq!(in_parts(&mut with_none, 1, 1).unwrap().0, [0]);
        assert!(Part::new(vec![f32::NAN, 1.0], 2).is_err());
    }
}
