//! Spherical k-means: rows of unit length around centres of unit length, by cosine.
//!
//! Maximises Σ cos(row, its centre) (Dhillon & Modha, *Concept decompositions for large sparse text data using clustering*,
//! 2001). Starts from k-means++ (Arthur & Vassilvitskii 2007), where a row is drawn with a chance in proportion to its
//! squared distance 2 − 2·cos to the nearest centre so far. Large sets: small batches with a learning rate per centre
//! (Sculley, *Web-scale k-means clustering*, 2010), then assigned once.
//!
//! [`assign`] and [`Sums`] are the two halves of an iteration: any part of the rows can be assigned elsewhere (a worker), and
//! sums of parts merge, so that the work divides.

use super::nearest::Centres;
use super::points::{ClusterError, Points, to_unit_rows};
use crate::dot::dot;
use crate::lanes::add_widened;
use crate::statistics::random::Random;

/// How to cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Clusters, 1 to the number of rows.
    pub k: usize,
    /// The stream of random numbers.
    pub seed: u64,
    /// Starts, ≥ 1; the best result is kept.
    pub n_starts: usize,
    /// The most iterations of one start, ≥ 1.
    pub max_iterations: usize,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// The cluster of every row, `0..k`.
    pub labels: Vec<u32>,
    /// Cosine of every row with its centre, in [−1, 1].
    pub cosines: Vec<f32>,
    /// Centres of unit length, row-major `[k, width]`.
    pub centres: Vec<f32>,
    /// Σ cosines; higher is better.
    pub cohesion: f64,
    /// Iterations of the start that was kept.
    pub n_iterations: usize,
    /// Whether no row changed its cluster in the last iteration.
    pub converged: bool,
}

/// Clusters rows of unit length (see [`super::points::to_unit_rows`]); rows of norm zero have a cosine of 0 with every
/// centre and go to the first.
///
/// # Errors
///
/// When `k` is 0 or more than there are rows.
pub fn spherical(points: Points, settings: Settings) -> Result<Clustering, ClusterError> {
    best_of_starts(points, settings, |random| {
        let centres = plus_plus(points, settings.k, random);
        from_centres(points, centres, settings.max_iterations)
    })
}

fn best_of_starts(
    points: Points,
    settings: Settings,
    run: impl Fn(&mut Random) -> Clustering,
) -> Result<Clustering, ClusterError> {
    points.check_k(settings.k)?;
    let mut best = run(&mut Random::new(settings.seed));
    for start in 1..settings.n_starts as u64 {
        let found = run(&mut Random::new(settings.seed.wrapping_add(start)));
        if found.cohesion > best.cohesion {
            best = found;
        }
    }
    Ok(best)
}

/// Iterates from given centres of unit length, `[k, width]`, until no row changes or `max_iterations`.
///
/// # Panics
///
/// Panics when there are no centres or they are not as wide as the rows.
pub fn from_centres(points: Points, mut centres: Vec<f32>, max_iterations: usize) -> Clustering {
    let mut assigned = assign(points, &centres);
    let (mut n_iterations, mut converged) = (0, false);
    while n_iterations < max_iterations && !converged {
        let mut sums = Sums::new(centres.len() / points.width(), points.width());
        sums.add(points, &assigned.labels);
        centres = sums.centres(&centres);
        refill(points, &assigned, &sums, &mut centres);
        let next = assign(points, &centres);
        converged = next.labels == assigned.labels;
        assigned = next;
        n_iterations += 1;
    }
    let cohesion = assigned.cosines.iter().map(|&cosine| f64::from(cosine)).sum();
    Clustering { labels: assigned.labels, cosines: assigned.cosines, centres, cohesion, n_iterations, converged }
}

/// Rows with their nearest centres.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assigned {
    /// The centre with the largest cosine, the first of equals.
    pub labels: Vec<u32>,
    /// That cosine, to rounding.
    pub cosines: Vec<f32>,
}

/// Assigns every row to the centre with the largest dot product.
///
/// # Panics
///
/// Panics when there are no centres or they are not as wide as the rows.
pub fn assign(points: Points, centres: &[f32]) -> Assigned {
    let (labels, cosines) = Centres::new(centres, points.width()).nearest(points).into_iter().unzip();
    Assigned { labels, cosines }
}

/// Calls `visit` with the number of every row, in order, and its dot products with all centres, `[k]`: what [`assign`] takes
/// the largest of.
///
/// # Panics
///
/// Panics when there are no centres or they are not as wide as the rows.
pub fn products(points: Points, centres: &[f32], visit: impl FnMut(usize, &[f32])) {
    Centres::new(centres, points.width()).products_of(points, visit);
}

/// Sums of the rows of each cluster, from which the next centres follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    width: usize,
    /// `[k, width]`
    sums: Vec<f64>,
    counts: Vec<u64>,
}

impl Sums {
    /// Of no rows yet.
    pub fn new(k: usize, width: usize) -> Self {
        Self { width, sums: vec![0.0; k * width], counts: vec![0; k] }
    }

    /// Adds rows with their labels.
    ///
    /// # Panics
    ///
    /// Panics when a label is not below k, or the rows are of another width or number.
    pub fn add(&mut self, points: Points, labels: &[u32]) {
        assert_eq!(
            (points.width(), points.n_rows()),
            (self.width, labels.len()),
            "rows and labels that belong together"
        );
        for (row, &label) in points.rows().zip(labels) {
            self.counts[label as usize] += 1;
            let sums = &mut self.sums[label as usize * self.width..][..self.width];
            add_widened(sums, row);
        }
    }

    /// Adds the sums of other rows. In a fixed order of parts the result has the same bits every time.
    ///
    /// # Panics
    ///
    /// Panics when they are of another shape.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.width, self.sums.len()), (other.width, other.sums.len()), "sums of the same centres");
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
    }

    /// From sums `[k, width]` and counts `[k]`, as [`Sums::sums`] and [`Sums::counts`] give them.
    ///
    /// # Panics
    ///
    /// Panics when they are not of the same clusters.
    pub fn from_parts(width: usize, sums: Vec<f64>, counts: Vec<u64>) -> Self {
        assert_eq!(sums.len(), width * counts.len(), "sums and counts of the same clusters");
        Self { width, sums, counts }
    }

    /// Sums of rows, row-major `[k, width]`.
    pub fn sums(&self) -> &[f64] {
        &self.sums
    }

    /// Rows per cluster.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The sums at unit length, `[k, width]`; the former centre where there are no rows or they cancel.
    pub fn centres(&self, former: &[f32]) -> Vec<f32> {
        let mut centres = former.to_vec();
        for (centre, sums) in centres.chunks_exact_mut(self.width).zip(self.sums.chunks_exact(self.width)) {
            let norm = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
            if norm > 0.0 {
                centre.iter_mut().zip(sums).for_each(|(value, sum)| *value = (sum / norm) as f32);
            }
        }
        centres
    }
}

/// Puts the centre of a cluster without rows where the row is that is farthest from its own, one after the other.
fn refill(points: Points, assigned: &Assigned, sums: &Sums, centres: &mut [f32]) {
    let empty: Vec<usize> = (0..sums.counts.len()).filter(|&centre| sums.counts[centre] == 0).collect();
    if empty.is_empty() {
        return;
    }
    let mut by_cosine: Vec<usize> = (0..points.n_rows()).collect();
    by_cosine.sort_by(|&a, &b| assigned.cosines[a].total_cmp(&assigned.cosines[b]).then(a.cmp(&b)));
    for (centre, row) in empty.into_iter().zip(by_cosine) {
        centres[centre * points.width()..][..points.width()].copy_from_slice(points.row(row));
    }
}

/// First centres by k-means++: rows, drawn with a chance in proportion to 2 − 2·cos to the nearest centre so far; when all rows
/// lie on centres, any row. `[k, width]`.
pub fn plus_plus(points: Points, k: usize, random: &mut Random) -> Vec<f32> {
    let mut centres = Vec::with_capacity(k * points.width());
    let mut squares = vec![f64::INFINITY; points.n_rows()];
    let mut row = random.below(points.n_rows());
    for chosen in 1.. {
        let centre = points.row(row);
        centres.extend_from_slice(centre);
        if chosen == k {
            break;
        }
        for (square, other) in squares.iter_mut().zip(points.rows()) {
            *square = square.min((2.0 - 2.0 * f64::from(dot(centre, other))).max(0.0));
        }
        let total: f64 = squares.iter().sum();
        row = if total > 0.0 { draw(&squares, random.uniform() * total) } else { random.below(points.n_rows()) };
    }
    centres
}

/// The item in which a point of the line lies on which items are laid out one after the other.
fn draw(lengths: &[f64], at: f64) -> usize {
    let mut end = 0.0;
    let inside = |length: &f64| {
        end += length;
        end > at
    };
    // Rounding may leave the point beyond the end: then the last item that has a length.
    lengths.iter().position(inside).or_else(|| lengths.iter().rposition(|&length| length > 0.0)).unwrap_or(0)
}

/// In small batches: `n_batches` times `batch` rows drawn at random move their nearest centres a little, each by the
/// inverse of the number of rows it has seen; at last every row is assigned. For sets too large for many iterations, of which
/// `max_iterations` is not used.
///
/// # Errors
///
/// When `k` is 0 or more than there are rows.
pub fn in_batches(
    points: Points,
    settings: Settings,
    batch: usize,
    n_batches: usize,
) -> Result<Clustering, ClusterError> {
    best_of_starts(points, settings, |random| {
        from_centres(points, centres_by_batches(points, settings.k, random, batch, n_batches), 0)
    })
}

fn centres_by_batches(points: Points, k: usize, random: &mut Random, batch: usize, n_batches: usize) -> Vec<f32> {
    let width = points.width();
    let sample = |random: &mut Random, n: usize| -> Vec<f32> {
        (0..n).flat_map(|_| points.row(random.below(points.n_rows())).iter().copied()).collect()
    };
    let first = sample(random, (20 * k).max(batch));
    let mut centres = plus_plus(Points { values: &first, width }, k, random);
    let mut seen = vec![0u64; k];
    for _ in 0..n_batches {
        let rows = sample(random, batch);
        let rows = Points { values: &rows, width };
        for (row, label) in rows.rows().zip(assign(rows, &centres).labels) {
            seen[label as usize] += 1;
            let rate = 1.0 / seen[label as usize] as f32;
            let centre = &mut centres[label as usize * width..][..width];
            centre.iter_mut().zip(row).for_each(|(value, row)| *value += rate * (row - *value));
        }
        to_unit_rows(&mut centres, width);
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::partition::adjusted_rand;

    /// Rows around `k` random directions, with their direction's number.
    fn bundles(k: usize, per_bundle: usize, width: usize, spread: f64, seed: u64) -> (Vec<f32>, Vec<u32>) {
        let mut random = Random::new(seed);
        let directions: Vec<f64> = (0..k * width).map(|_| random.normal()).collect();
        let (mut rows, mut truth) = (Vec::new(), Vec::new());
        for i in 0..k * per_bundle {
            let direction = &directions[i % k * width..][..width];
            rows.extend(direction.iter().map(|x| (x + spread * random.normal()) as f32));
            truth.push((i % k) as u32);
        }
        to_unit_rows(&mut rows, width);
        (rows, truth)
    }

    fn settings(k: usize) -> Settings {
        Settings { k, seed: 1, n_starts: 4, max_iterations: 100 }
    }

    #[test]
    fn finds_bundles_whole_and_in_batches() {
        let (rows, truth) = bundles(6, 80, 20, 0.3, 2);
        let points = Points::new(&rows, 20).unwrap();
        let whole = spherical(points, settings(6)).unwrap();
        assert!(whole.converged);
        assert_eq!(adjusted_rand(&whole.labels, &truth), 1.0);
        let batches = in_batches(points, settings(6), 64, 60).unwrap();
        assert!(adjusted_rand(&batches.labels, &truth) > 0.95);
        assert!(batches.cohesion <= whole.cohesion + 1e-3);
    }

    #[test]
    fn no_iteration_lowers_the_cohesion() {
        let (rows, _) = bundles(9, 30, 8, 1.0, 4);
        let points = Points::new(&rows, 8).unwrap();
        let start = plus_plus(points, 5, &mut Random::new(3));
        let cohesions: Vec<f64> = (0..12).map(|n| from_centres(points, start.clone(), n).cohesion).collect();
        assert!(cohesions.windows(2).all(|pair| pair[1] >= pair[0] - 1e-4), "{cohesions:?}");
        let again = spherical(points, settings(5)).unwrap();
        assert_eq!(again, spherical(points, settings(5)).unwrap());
        assert!(again.centres.chunks_exact(8).all(|centre| (dot(centre, centre) - 1.0).abs() < 1e-5));
    }

    #[test]
    fn sums_of_parts_are_the_sum_of_all() {
        let (rows, _) = bundles(4, 25, 6, 0.5, 7);
        let points = Points::new(&rows, 6).unwrap();
        let centres = plus_plus(points, 4, &mut Random::new(1));
        let labels = assign(points, &centres).labels;
        let mut all = Sums::new(4, 6);
        all.add(points, &labels);
        let mut merged = Sums::new(4, 6);
        for (part, labels) in rows.chunks(30 * 6).zip(labels.chunks(30)) {
            let part = Points::new(part, 6).unwrap();
            assert_eq!(assign(part, &centres).labels, labels);
            let mut sums = Sums::new(4, 6);
            sums.add(part, labels);
            merged.merge(&sums);
        }
        assert_eq!(all.counts(), merged.counts());
        assert!(all.sums.iter().zip(&merged.sums).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn degenerate_rows_are_defined() {
        let points = Points::new(&[1.0, 0.0], 2).unwrap();
        assert_eq!(spherical(points, settings(1)).unwrap().labels, [0]);
        assert_eq!(spherical(points, settings(2)), Err(ClusterError::ClusterCount { k: 2, n_rows: 1 }));
        let equal = [0.6, 0.8].repeat(5);
        let found = spherical(Points::new(&equal, 2).unwrap(), settings(3)).unwrap();
        assert!((found.cohesion - 5.0).abs() < 1e-5 && found.labels.iter().all(|&label| label < 3));
        let zeros = [0.0; 8];
        let found = spherical(Points::new(&zeros, 2).unwrap(), settings(2)).unwrap();
        assert_eq!((found.labels, found.cohesion), (vec![0; 4], 0.0));
    }
}
