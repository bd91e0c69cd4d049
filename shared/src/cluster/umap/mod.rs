//! UMAP: rows on a plane, so that neighbours among many dimensions are neighbours there.
//!
//! McInnes, Healy & Melville, *UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction* (2018). In order:
//! how near a row's nearest rows are, each by its own scale ([`fuzzy`]); the falling curve that distances on the plane are read
//! by ([`curve`]); and points that are pulled together along the graph's edges and pushed apart elsewhere ([`layout`]).
//!
//! Parameters mean what they mean in umap-learn, with `spread` 1. Points start from coordinates that the caller gives, usually
//! the first two principal components, because these say something about what lies far apart, too. Random numbers come from a
//! seed and steps are taken one after the other, so the same rows give the same map everywhere.

pub mod curve;
pub mod fuzzy;
pub mod layout;

use super::neighbors::Neighbors;
use super::points::ClusterError;

/// The most rows that are laid out: the nearest rows of each are looked for among all, which costs n² · width products.
/// Others are [placed] among them.
pub const MAX_ROWS: usize = 50_000;
/// The most neighbours of a row.
pub const MAX_NEIGHBORS: usize = 200;

/// How to lay out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Rows that count as near a row, itself included, 2 to [`MAX_NEIGHBORS`]: few show what is small, many what is large.
    pub n_neighbors: usize,
    /// How close points may come to each other on the plane, 0 to 1.
    pub min_dist: f64,
    /// The stream of random numbers.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { n_neighbors: 15, min_dist: 0.1, seed: 1 }
    }
}

impl Settings {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Parameter`], which names the parameter and what is possible.
    pub fn check(&self) -> Result<(), ClusterError> {
        let wrong = |what, expected: String, got: String| Err(ClusterError::Parameter { what, expected, got });
        if !(2..=MAX_NEIGHBORS).contains(&self.n_neighbors) {
            return wrong("neighbors", format!("2 to {MAX_NEIGHBORS}"), self.n_neighbors.to_string());
        }
        if !(0.0..=1.0).contains(&self.min_dist) {
            return wrong("min-dist", "a number from 0 to 1".into(), self.min_dist.to_string());
        }
        Ok(())
    }
}

/// Lays rows out: points `[n_rows, 2]`. `neighbors` are the `n_neighbors` − 1 nearest other rows of every row, or fewer where there
/// are not as many rows; `start` are coordinates `[n_rows, 2]` of any scale. Rows that are all equal lie on one point.
///
/// # Errors
///
/// When a setting is not possible.
///
/// # Panics
///
/// Panics when neighbours and start are of different numbers of rows.
pub fn umap(neighbors: &Neighbors, start: &[[f64; 2]], settings: Settings) -> Result<Vec<[f64; 2]>, ClusterError> {
    settings.check()?;
    let n_rows = start.len();
    assert_eq!(neighbors.n_rows(), n_rows, "neighbours of the rows that have a start");
    let is_one_point = start.iter().all(|point| *point == start[0]);
    if is_one_point && neighbors.distances.iter().all(|&distance| distance == 0.0) {
        return Ok(vec![[0.0; 2]; n_rows]);
    }
    let edges = fuzzy::graph(neighbors);
    let curve = curve::Curve::fitted(settings.min_dist);
    Ok(layout::optimise(layout::scaled(start, settings.seed), edges, curve, settings.seed))
}

/// Points of rows that were not laid out: the mean of the points of their nearest rows among those that were, each weighed by how
/// near it is on the row's own scale. `neighbors` are rows of `points`.
///
/// # Panics
///
/// Panics when a neighbour has no point.
pub fn placed(neighbors: &Neighbors, points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let weights = fuzzy::memberships(neighbors);
    let place = |row: usize| {
        let (rows, _) = neighbors.of(row);
        let weights = &weights[row * neighbors.k..][..neighbors.k];
        let total: f64 = weights.iter().sum();
        let mean = |axis: usize| {
            rows.iter().zip(weights).map(|(&other, weight)| points[other as usize][axis] * weight).sum::<f64>() / total
        };
        [mean(0), mean(1)]
    };
    (0..neighbors.n_rows()).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::neighbors::{of_others, of_rows};
    use crate::cluster::points::Points;
    use crate::cluster::trustworthiness::trustworthiness;
    use crate::statistics::random::Random;

    const WIDTH: usize = 12;

    /// Rows around five centres, and which.
    fn blobs(n_rows: usize, seed: u64) -> (Vec<f32>, Vec<usize>) {
        let mut random = Random::new(3);
        let centres: Vec<f64> = (0..5 * WIDTH).map(|_| 3.0 * random.normal()).collect();
        let mut random = Random::new(seed);
        let row = |i: usize, random: &mut Random| -> Vec<f32> {
            (0..WIDTH).map(|j| (centres[i % 5 * WIDTH + j] + random.normal()) as f32).collect()
        };
        ((0..n_rows).flat_map(|i| row(i, &mut random)).collect(), (0..n_rows).map(|i| i % 5).collect())
    }

    fn start(rows: &[f32]) -> Vec<[f64; 2]> {
        rows.chunks_exact(WIDTH).map(|row| [f64::from(row[0]), f64::from(row[1])]).collect()
    }

    /// Share of points whose nearest other point is of the same kind.
    fn purity(points: &[[f64; 2]], kinds: &[usize]) -> f64 {
        let flat: Vec<f32> = points.iter().flat_map(|point| point.map(|x| x as f32)).collect();
        let near = of_rows(Points::new(&flat, 2).unwrap(), 0..points.len(), 1).unwrap();
        let same = (0..points.len()).filter(|&i| kinds[i] == kinds[near.rows[i] as usize]).count();
        same as f64 / points.len() as f64
    }

    #[test]
    fn blobs_stay_together_and_the_map_can_be_trusted() {
        let (rows, kinds) = blobs(300, 1);
        let points = Points::new(&rows, WIDTH).unwrap();
        let near = of_rows(points, 0..300, 14).unwrap();
        let map = umap(&near, &start(&rows), Settings::default()).unwrap();
        assert!(purity(&map, &kinds) > 0.99);
        let flat: Vec<f32> = map.iter().flat_map(|point| point.map(|x| x as f32)).collect();
        let trust = trustworthiness(points, Points::new(&flat, 2).unwrap(), 15).unwrap();
        let of_start: Vec<f32> = start(&rows).iter().flat_map(|point| point.map(|x| x as f32)).collect();
        let of_start = trustworthiness(points, Points::new(&of_start, 2).unwrap(), 15).unwrap();
        assert!(trust > 0.9 && trust > of_start + 0.02, "{trust} {of_start}");
        assert_eq!(map, umap(&near, &start(&rows), Settings::default()).unwrap(), "the same seed, the same map");
        assert_ne!(map, umap(&near, &start(&rows), Settings { seed: 2, ..Settings::default() }).unwrap());

        // Further rows of the same kinds land among theirs.
        let (others, other_kinds) = blobs(100, 9);
        let near = of_others(points, Points::new(&others, WIDTH).unwrap(), 15).unwrap();
        let all = [map.as_slice(), &placed(&near, &map)].concat();
        assert!(purity(&all, &[kinds, other_kinds].concat()) > 0.97);
    }

    #[test]
    fn what_has_no_structure_is_defined() {
        let equal = [0.5f32].repeat(8 * WIDTH);
        let near = of_rows(Points::new(&equal, WIDTH).unwrap(), 0..8, 5).unwrap();
        assert_eq!(umap(&near, &[[2.0, 3.0]; 8], Settings::default()).unwrap(), [[0.0; 2]; 8]);
        let two = [1.0f32, 0.0, 0.0, 1.0];
        let near = of_rows(Points::new(&two, 2).unwrap(), 0..2, 1).unwrap();
        let map = umap(&near, &[[0.0, 0.0], [1.0, 0.0]], Settings::default()).unwrap();
        assert!(map.iter().flatten().all(|x| x.is_finite()) && map[0] != map[1]);
        for settings in [
            Settings { n_neighbors: 1, ..Settings::default() },
            Settings { n_neighbors: 201, ..Settings::default() },
            Settings { min_dist: f64::NAN, ..Settings::default() },
            Settings { min_dist: -0.1, ..Settings::default() },
        ] {
            assert!(matches!(umap(&near, &[[0.0; 2]; 2], settings), Err(ClusterError::Parameter { .. })));
        }
    }
}
