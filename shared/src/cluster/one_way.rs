//! Whether the rows of a cluster point one way: a change, or only a difference.
//!
//! Two samples of one model differ too, and in few manners: worded so or so. Their differences fall into clusters as surely as
//! changes do. But of samples of one model it is a matter of chance which is the first: for every difference there is as
//! likely its opposite. A change that tuning made goes one way. (Two changes of opposite direction, on different prompts, are
//! taken for chance by this: such as answering what was refused, and refusing as much of what was answered.) So the rows that point along a cluster's mean are counted
//! beside those that point against it, wherever these have been put.
//!
//! How surely it is no chance is told by turning rows about at random, each with the others of its prompt, which leaves the
//! distribution as it is when nothing was changed (a permutation test; Romano, *Bootstrap and randomization tests*, 1989). The
//! hierarchy is made again each time and the greatest excess over all its cuts, as the sign test has it, is compared, so that
//! having looked for clusters, and at several, is accounted for.

use serde::{Deserialize, Serialize};

use super::linkage::{Dendrogram, ward_of_distances};
use super::points::Points;
use crate::dot::dot;
use crate::statistics::random::Random;

/// A row points along or against a direction when the absolute cosine is at least this: within 60 degrees.
const COSINE: f64 = 0.5;
/// Share of the rows on a cluster's axis by which those along must exceed those against: nine of ten point one way.
const SHARE: f64 = 0.8;
/// Share of a cluster's own rows that must point along its mean: else it has no direction of its own.
const COHERENT: f64 = 0.8;
/// Nor has it one when it consists of two parts, each of at least this share of it, whose means are more than 60 degrees apart.
const PART: f64 = 0.25;

/// How to look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Times that rows are turned about. The least p-value is 1 / (n_turns + 1).
    pub n_turns: usize,
    /// Chance of taking a difference for a change anywhere, where nothing was changed.
    pub alpha: f64,
    /// The stream of random numbers.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { n_turns: 199, alpha: 0.05, seed: 1 }
    }
}

/// How one cluster's rows point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OneWay {
    /// Rows, of this and of other clusters, that point along the cluster's mean; its own rows are compared with the mean of
    /// the others.
    pub n_along: usize,
    /// Rows that point against it.
    pub n_against: usize,
    /// Share of the sets of turned rows, the rows themselves counted, with a cluster whose rows go one way as surely; in (0, 1].
    pub p: f64,
    /// Whether it is a change: it has one direction, nine of ten rows on its axis point one way, and that is no chance.
    pub is_change: bool,
}

impl OneWay {
    /// (along − against) / (along + against), −1 to 1; 0 when there are none.
    pub fn share(&self) -> f64 {
        let (along, against) = (self.n_along as f64, self.n_against as f64);
        if along + against == 0.0 { 0.0 } else { (along - against) / (along + against) }
    }
}

/// Rows on the axis of a cluster.
#[derive(Debug, Clone, Copy, Default)]
struct Axis {
    n_along: usize,
    n_against: usize,
    /// Of those along, the cluster's own.
    n_own_along: usize,
    /// Rows of the cluster.
    size: usize,
}

impl Axis {
    /// By how much those along exceed those against, in standard errors of a fair coin: the sign test's. 0 when they do not.
    fn excess(&self) -> f32 {
        let (along, against) = (self.n_along as f32, self.n_against as f32);
        if along > against { (along - against) / (along + against).sqrt() } else { 0.0 }
    }

    fn judge(&self, chance: &[f32], alpha: f64) -> OneWay {
        let excess = self.excess();
        let n_as_great = chance.iter().filter(|greatest| **greatest >= excess).count();
        let p = (n_as_great + 1) as f64 / (chance.len() + 1) as f64;
        let found = OneWay { n_along: self.n_along, n_against: self.n_against, p, is_change: false };
        OneWay { is_change: self.is_coherent() && p <= alpha && found.share() >= SHARE, ..found }
    }

    fn is_coherent(&self) -> bool {
        self.n_own_along as f64 >= COHERENT * self.size as f64
    }
}

/// The differences that were clustered.
#[derive(Debug, Clone, Copy)]
pub struct Differences<'a> {
    /// The rows that the hierarchy is of: of a difference turned about, minus its row.
    pub points: Points<'a>,
    /// Inner products of the differences themselves, `[n_rows, n_rows]`: what is similar to the same pairs need not point the
    /// same way, so counting is done with these.
    pub products: &'a [f32],
    /// What they are differences on: those of one unit, a prompt, are turned about together.
    pub units: &'a [u32],
}

/// What chance makes: for every set of turned differences, by how much those along a cluster exceed those against it at most,
/// over all clusters of all cuts into up to `k_max`, in standard errors of a fair coin.
///
/// # Panics
///
/// Panics when products or units are of another number of rows.
pub fn chance(of: Differences, k_max: usize, settings: Settings) -> Vec<f32> {
    let n_rows = of.points.n_rows();
    assert_eq!(of.units.len(), n_rows, "a unit per row");
    let (products, of_points) = (Products::new(n_rows, of.products), Products::of(of.points));
    let mut random = Random::new(settings.seed);
    let greatest = |_| {
        let turns = turns(of.units, &mut random);
        products.greatest_excess(&of_points.ward(&turns), &turns, k_max.min(n_rows))
    };
    (0..settings.n_turns).map(greatest).collect()
}

/// How the differences in every cluster of a partition of a hierarchy's rows point, with their inner products and their
/// [`chance`]; labels are 0, 1, … without gaps. A cluster that is none of the hierarchy's is no change. Of a partition finer
/// than the cuts that chance was looked at in, p is of those cuts.
///
/// # Panics
///
/// Panics when products and labels are of different numbers of rows.
pub fn one_way(products: &[f32], dendrogram: &Dendrogram, labels: &[u32], chance: &[f32], alpha: f64) -> Vec<OneWay> {
    let products = Products::new(labels.len(), products);
    let of_hierarchy = clusters_of(dendrogram, labels);
    let axes = products.axes(labels, of_hierarchy.len());
    axes.iter()
        .zip(of_hierarchy)
        .map(|(axis, cluster)| {
            let way = axis.judge(chance, alpha);
            let has_direction = || cluster.is_some_and(|cluster| products.has_direction(dendrogram, cluster));
            OneWay { is_change: way.is_change && has_direction(), ..way }
        })
        .collect()
}

/// For every label the cluster of the hierarchy that has exactly its rows, if there is one.
fn clusters_of(dendrogram: &Dendrogram, labels: &[u32]) -> Vec<Option<u32>> {
    let mut found: Vec<Vec<u32>> = vec![Vec::new(); n_clusters(labels)];
    let mut open = vec![dendrogram.root()];
    while let Some(cluster) = open.pop() {
        let rows = dendrogram.rows_of(cluster);
        let label = labels[rows[0] as usize];
        match dendrogram.children(cluster) {
            Some((left, right)) if rows.iter().any(|row| labels[*row as usize] != label) => open.extend([left, right]),
            _ => found[label as usize].push(cluster),
        }
    }
    found.into_iter().map(|clusters| if let [only] = clusters[..] { Some(only) } else { None }).collect()
}

/// The changes in a hierarchy of differences: its largest clusters that are changes, of all cuts into up to `k_max`. A cluster
/// that holds two changes has no direction of its own, and what lies within a change is not looked at further. The rows of
/// each, ascending, in order of their first.
///
/// # Panics
///
/// Panics when products are of another number of rows.
pub fn changes(products: &[f32], dendrogram: &Dendrogram, k_max: usize, chance: &[f32], alpha: f64) -> Vec<Vec<u32>> {
    let n_rows = dendrogram.n_rows;
    let products = Products::new(n_rows, products);
    // Cuts into up to k clusters undo the last k − 1 merges.
    let first_undone = (2 * n_rows).saturating_sub(k_max.min(n_rows)) as u32;
    let (mut open, mut found) = (vec![dendrogram.root()], Vec::new());
    while let Some(cluster) = open.pop() {
        let mut rows = dendrogram.rows_of(cluster);
        rows.sort_unstable();
        let mut labels = vec![1; n_rows];
        rows.iter().for_each(|row| labels[*row as usize] = 0);
        let is_change = products.axes(&labels, 2)[0].judge(chance, alpha).is_change;
        if is_change && products.has_direction(dendrogram, cluster) {
            found.push(rows);
        } else if let Some((left, right)) = dendrogram.children(cluster).filter(|_| cluster >= first_undone) {
            open.extend([left, right]);
        }
    }
    found.sort_unstable();
    found
}

fn n_clusters(labels: &[u32]) -> usize {
    labels.iter().max().map_or(0, |label| *label as usize + 1)
}

/// 1 or −1 for every row, the same for all of a unit.
fn turns(units: &[u32], random: &mut Random) -> Vec<f64> {
    let of_unit: Vec<f64> = (0..n_clusters(units)).map(|_| if random.below(2) == 0 { 1.0 } else { -1.0 }).collect();
    units.iter().map(|unit| of_unit[*unit as usize]).collect()
}

/// Inner products of all rows, `[n_rows, n_rows]`.
struct Products {
    n_rows: usize,
    values: Vec<f64>,
}

impl Products {
    fn of(points: Points) -> Self {
        let n_rows = points.n_rows();
        let mut values = vec![0.0; n_rows * n_rows];
        for (a, row) in points.rows().enumerate() {
            for (b, other) in points.rows().enumerate().skip(a) {
                let product = f64::from(dot(row, other));
                (values[a * n_rows + b], values[b * n_rows + a]) = (product, product);
            }
        }
        Self { n_rows, values }
    }

    fn new(n_rows: usize, values: &[f32]) -> Self {
        assert_eq!(values.len(), n_rows * n_rows, "a product for every two rows");
        Self { n_rows, values: values.iter().map(|product| f64::from(*product)).collect() }
    }

    fn of_row(&self, row: usize) -> &[f64] {
        &self.values[row * self.n_rows..][..self.n_rows]
    }

    /// Products of every row with the sum of every cluster, `[n_rows, n_clusters]`, rows turned about.
    fn sums(&self, turns: &[f64], labels: &[u32], n_clusters: usize) -> Vec<f64> {
        let mut sums = vec![0.0; self.n_rows * n_clusters];
        for (row, sums) in sums.chunks_exact_mut(n_clusters).enumerate() {
            for ((product, turn), label) in self.of_row(row).iter().zip(turns).zip(labels) {
                sums[*label as usize] += turns[row] * turn * product;
            }
        }
        sums
    }

    /// The axis of every cluster.
    fn axes(&self, labels: &[u32], n_clusters: usize) -> Vec<Axis> {
        self.counts(&self.sums(&vec![1.0; self.n_rows], labels, n_clusters), labels, n_clusters)
    }

    /// Whether a cluster has no two large parts, at any depth, whose means are far apart.
    fn has_direction(&self, dendrogram: &Dendrogram, cluster: u32) -> bool {
        let least = (PART * dendrogram.rows_of(cluster).len() as f64).max(2.0);
        let mut open = vec![cluster];
        while let Some(cluster) = open.pop() {
            let Some((left, right)) = dendrogram.children(cluster) else { continue };
            let [a, b] = [left, right].map(|part| dendrogram.rows_of(part));
            if a.len() as f64 >= least && b.len() as f64 >= least {
                let between = self.total(&a, &b);
                let within = (self.total(&a, &a) * self.total(&b, &b)).max(0.0).sqrt();
                if between < COSINE * within {
                    return false;
                }
            }
            open.extend([left, right]);
        }
        true
    }

    /// The product of the sums of two sets of rows.
    fn total(&self, a: &[u32], b: &[u32]) -> f64 {
        a.iter().map(|a| b.iter().map(|b| self.of_row(*a as usize)[*b as usize]).sum::<f64>()).sum()
    }

    /// Counts rows along and against the mean of every cluster, from the products with its sum.
    fn counts(&self, sums: &[f64], labels: &[u32], n_clusters: usize) -> Vec<Axis> {
        let mut squares = vec![0.0; n_clusters];
        for (sums, label) in sums.chunks_exact(n_clusters).zip(labels) {
            squares[*label as usize] += sums[*label as usize];
        }
        let mut counts = vec![Axis::default(); n_clusters];
        for (row, sums) in sums.chunks_exact(n_clusters).enumerate() {
            let own = self.values[row * self.n_rows + row];
            for (cluster, ((product, square), count)) in sums.iter().zip(&squares).zip(&mut counts).enumerate() {
                let is_own = labels[row] as usize == cluster;
                let (product, square) =
                    if is_own { (product - own, square - 2.0 * product + own) } else { (*product, *square) };
                // A mean that rounding alone keeps from zero points nowhere.
                let lengths = (own * square.max(0.0)).sqrt();
                let cosine = if square > 1e-9 * own && lengths > 0.0 { product / lengths } else { 0.0 };
                count.size += usize::from(is_own);
                count.n_own_along += usize::from(is_own && cosine >= COSINE);
                count.n_along += usize::from(cosine >= COSINE);
                count.n_against += usize::from(cosine <= -COSINE);
            }
        }
        counts
    }

    /// The greatest excess of rows along over rows against, of all clusters of all cuts of a hierarchy of turned rows.
    fn greatest_excess(&self, dendrogram: &Dendrogram, turns: &[f64], k_max: usize) -> f32 {
        let cut = |k: usize| dendrogram.cut_into(k).expect("1 to as many as rows");
        let finest = cut(k_max);
        let of_finest = self.sums(turns, &finest, k_max);
        (1..=k_max)
            .flat_map(|k| {
                let labels = cut(k);
                let mut whole = vec![0; k_max];
                finest.iter().zip(&labels).for_each(|(part, label)| whole[*part as usize] = *label as usize);
                let mut sums = vec![0.0; self.n_rows * k];
                for (sums, parts) in sums.chunks_exact_mut(k).zip(of_finest.chunks_exact(k_max)) {
                    parts.iter().zip(&whole).for_each(|(part, label)| sums[*label] += part);
                }
                self.counts(&sums, &labels, k)
            })
            .fold(0.0, |greatest, cluster| cluster.excess().max(greatest))
    }

    /// Ward's hierarchy of the turned rows.
    fn ward(&self, turns: &[f64]) -> Dendrogram {
        let n_rows = self.n_rows;
        let square = |row: usize| self.values[row * n_rows + row];
        let distance = |a: usize, b: usize| {
            (square(a) + square(b) - 2.0 * turns[a] * turns[b] * self.values[a * n_rows + b]).max(0.0).sqrt()
        };
        let distances = (0..n_rows).flat_map(|a| (a + 1..n_rows).map(move |b| (a, b))).map(|(a, b)| distance(a, b));
        ward_of_distances(distances.collect(), n_rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::linkage::ward;
    use super::*;

    const WIDTH: usize = 12;
    const K_MAX: usize = 8;

    /// Rows in two manners: of each, `n_along` one way and `n_against` the other.
    fn rows(n_along: usize, n_against: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        let manners: Vec<Vec<f64>> = (0..2).map(|_| (0..WIDTH).map(|_| random.normal()).collect()).collect();
        let mut rows = Vec::new();
        for manner in &manners {
            for i in 0..n_along + n_against {
                let way = if i < n_along { 1.0 } else { -1.0 };
                rows.extend(manner.iter().map(|x| (way * x + 0.3 * random.normal()) as f32));
            }
        }
        rows
    }

    fn products(rows: &[f32]) -> Vec<f32> {
        let rows = || rows.chunks_exact(WIDTH);
        rows().flat_map(|a| rows().map(move |b| dot(a, b))).collect()
    }

    fn judged(rows: &[f32], labels: &[u32], units: &[u32], seed: u64) -> Vec<OneWay> {
        let products = products(rows);
        let settings = Settings { n_turns: 39, seed, ..Settings::default() };
        let of = Differences { points: Points::new(rows, WIDTH).unwrap(), products: &products, units };
        one_way(&products, &ward(of.points).unwrap(), labels, &chance(of, K_MAX, settings), settings.alpha)
    }

    fn found(rows: &[f32], k: usize, seed: u64) -> Vec<OneWay> {
        let points = Points::new(rows, WIDTH).unwrap();
        let labels = ward(points).unwrap().cut_into(k).unwrap();
        judged(rows, &labels, &(0..points.n_rows() as u32).collect::<Vec<_>>(), seed)
    }

    #[test]
    fn what_goes_one_way_is_a_change_and_what_goes_both_ways_is_none() {
        for cluster in found(&rows(15, 0, 1), 2, 1) {
            assert_eq!((cluster.n_along, cluster.n_against, cluster.share()), (15, 0, 1.0));
            assert!(cluster.is_change && cluster.p == 1.0 / 40.0, "{cluster:?}");
        }
        // Four clusters as clear as those two, each with its opposite.
        for cluster in found(&rows(15, 15, 2), 4, 2) {
            assert_eq!((cluster.n_along, cluster.n_against), (15, 15));
            assert!(!cluster.is_change && cluster.p == 1.0, "{cluster:?}");
        }
        // No chance, but as often as not.
        let mostly = found(&rows(30, 10, 3), 4, 3);
        assert!(mostly.iter().any(|cluster| cluster.p <= 0.05 && !cluster.is_change), "{mostly:?}");
    }

    #[test]
    fn the_largest_clusters_that_go_one_way_are_the_changes() {
        // Two changes among differences that go both ways.
        let (changed, both_ways) = (rows(12, 0, 5), rows(10, 10, 6));
        let all = [changed, both_ways].concat();
        let points = Points::new(&all, WIDTH).unwrap();
        let (products, units) = (products(&all), (0..points.n_rows() as u32).collect::<Vec<_>>());
        let settings = Settings { n_turns: 39, ..Settings::default() };
        let chance = chance(Differences { points, products: &products, units: &units }, 20, settings);
        let found = changes(&products, &ward(points).unwrap(), 20, &chance, settings.alpha);
        assert_eq!(found, [(0..12).collect::<Vec<u32>>(), (12..24).collect()]);
    }

    #[test]
    fn rows_turned_at_random_are_seldom_taken_for_a_change() {
        let is_falsely_found = |seed: &u64| {
            let mut random = Random::new(1000 + seed);
            let mut rows = rows(12, 0, *seed);
            for row in rows.chunks_exact_mut(WIDTH) {
                if random.below(2) == 0 {
                    row.iter_mut().for_each(|x| *x = -*x);
                }
            }
            (2..=5).any(|k| found(&rows, k, *seed).iter().any(|cluster| cluster.p <= 0.05))
        };
        let n_falsely = (0..60).filter(is_falsely_found).count();
        // Binomial(60, 0.05): more than 7 happen once in 100 times; the seeds are fixed.
        assert!(n_falsely <= 7, "{n_falsely} of 60");
    }

    #[test]
    fn rows_of_one_prompt_count_as_one_draw() {
        let labels: Vec<u32> = (0..20).map(|row| row / 10).collect();
        // All rows of a manner are of one prompt: turned together, they always go one way.
        assert!(judged(&rows(10, 0, 4), &labels, &labels, 1).iter().all(|cluster| cluster.p == 1.0));
    }

    #[test]
    fn few_rows_and_rows_without_direction_are_no_change() {
        for rows in [vec![1.0f32; WIDTH], vec![0.0; 6 * WIDTH]] {
            let n_rows = rows.len() / WIDTH;
            let units: Vec<u32> = (0..n_rows as u32).collect();
            let [only] = judged(&rows, &vec![0; n_rows], &units, 1)[..] else { panic!("one cluster") };
            assert_eq!((only.n_along, only.n_against, only.is_change), (0, 0, false));
        }
    }
}
