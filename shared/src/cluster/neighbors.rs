//! The nearest rows of every row, by Euclidean distance: what HDBSCAN over a graph and UMAP start from.
//!
//! Every row is compared with every other: n² · width products. Candidates are chosen by products in f32, a few more than
//! wanted, and ordered by distances in f64. So a neighbour is passed over only for rows whose squared distances differ from its
//! own by no more than the rounding of those products, about 1e-5 of the rows' squared norms.

use std::ops::Range;

use super::nearest::Centres;
use super::points::{ClusterError, Points, distances_to};

/// Rows that are looked through at a time, so that they stay in the cache.
const BLOCK: usize = 1024;
/// Candidates beyond those wanted.
const N_SPARE: usize = 16;

/// The nearest rows of some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbors {
    /// Neighbours per row.
    pub k: usize,
    /// Nearest first, of equals the first row; `[n_rows, k]`.
    pub rows: Vec<u32>,
    /// Their distances, ≥ 0, `[n_rows, k]`.
    pub distances: Vec<f64>,
}

impl Neighbors {
    /// How many rows have neighbours here.
    pub fn n_rows(&self) -> usize {
        self.rows.len() / self.k.max(1)
    }

    /// Neighbours and distances of row `i`, both `[k]`.
    pub fn of(&self, i: usize) -> (&[u32], &[f64]) {
        let range = i * self.k..(i + 1) * self.k;
        (&self.rows[range.clone()], &self.distances[range])
    }

    /// Parts that were searched for one by one, in the order of their rows, as one; none of no parts.
    ///
    /// # Panics
    ///
    /// Panics when they have different numbers of neighbours.
    pub fn concat(parts: Vec<Self>) -> Option<Self> {
        parts.into_iter().reduce(|mut all, part| {
            assert_eq!(all.k, part.k, "parts with as many neighbours");
            all.rows.extend(part.rows);
            all.distances.extend(part.distances);
            all
        })
    }
}

/// The `k` nearest other rows of every row of a range. Ranges can be searched at the same time, elsewhere, with the same
/// result.
///
/// # Errors
///
/// When `k` is 0 or there are not more than `k` rows.
///
/// # Panics
///
/// Panics when the range is empty or has rows that do not exist.
pub fn of_rows(points: Points, range: Range<usize>, k: usize) -> Result<Neighbors, ClusterError> {
    check(k, points.n_rows() - 1)?;
    let width = points.width();
    let queries = Points { values: &points.values[range.start * width..range.end * width], width };
    Ok(search(points, queries, k, Some(range.start)))
}

/// The `k` nearest of `points` of every one of other rows.
///
/// # Errors
///
/// When `k` is 0 or there are fewer than `k` points.
///
/// # Panics
///
/// Panics when the queries are of another width.
pub fn of_others(points: Points, queries: Points, k: usize) -> Result<Neighbors, ClusterError> {
    check(k, points.n_rows())?;
    Ok(search(points, queries, k, None))
}

fn check(k: usize, most: usize) -> Result<(), ClusterError> {
    match (1..=most).contains(&k) {
        true => Ok(()),
        false => Err(ClusterError::Parameter {
            what: "neighbors",
            expected: format!("1 to {most}, as many as there are other rows"),
            got: k.to_string(),
        }),
    }
}

/// The best candidates of one row so far, best first.
struct Candidates {
    best: Vec<(f32, u32)>,
    n_most: usize,
}

impl Candidates {
    /// Rows must be offered in ascending order: of equals the first stays.
    #[inline(always)]
    fn offer(&mut self, score: f32, row: u32) {
        if self.best.len() == self.n_most {
            // Nearly every row ends here.
            if score <= self.best[self.n_most - 1].0 {
                return;
            }
            self.best.pop();
        }
        let place = self.best.partition_point(|&(other, _)| other >= score);
        self.best.insert(place, (score, row));
    }
}

/// `first` is the row that the first query is, when queries are rows of the points: these are no neighbours of their own.
fn search(points: Points, queries: Points, k: usize, first: Option<usize>) -> Neighbors {
    assert_eq!(points.width(), queries.width(), "queries as wide as the points");
    // Nearest by |x − q|² is largest by x·q − |x|² / 2.
    let half_squares: Vec<f32> = points
        .rows()
        .map(|row| (row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() / 2.0) as f32)
        .collect();
    let n_most = (k + N_SPARE).min(points.n_rows());
    let mut found: Vec<Candidates> =
        (0..queries.n_rows()).map(|_| Candidates { best: Vec::with_capacity(n_most + 1), n_most }).collect();
    for (block, values) in points.values.chunks(BLOCK * points.width()).enumerate() {
        let start = block * BLOCK;
        let halves = &half_squares[start..start + values.len() / points.width()];
        Centres::new(values, points.width()).products_of(queries, |query, products| {
            let own = first.map(|first| first + query);
            for (i, (product, half)) in products.iter().zip(halves).enumerate() {
                if own != Some(start + i) {
                    found[query].offer(product - half, (start + i) as u32);
                }
            }
        });
    }
    let mut neighbors = Neighbors { k, rows: Vec::new(), distances: Vec::new() };
    let mut exact = vec![0.0; n_most];
    for (query, candidates) in queries.rows().zip(found) {
        let rows = candidates.best.iter().map(|&(_, row)| row as usize);
        distances_to(query, points, rows.clone(), &mut exact);
        let mut sorted: Vec<(f64, u32)> = exact.iter().copied().zip(rows.map(|row| row as u32)).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        neighbors.rows.extend(sorted[..k].iter().map(|&(_, row)| row));
        neighbors.distances.extend(sorted[..k].iter().map(|&(distance, _)| distance));
    }
    neighbors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::random::Random;

    fn normal(n: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..n).map(|_| random.normal() as f32).collect()
    }

    #[test]
    fn neighbours_are_those_that_looking_at_all_distances_finds() {
        for (n_rows, width, k) in [(2, 3, 1), (40, 5, 39), (BLOCK + 300, 7, 10)] {
            let rows = normal(n_rows * width, n_rows as u64);
            let points = Points::new(&rows, width).unwrap();
            let halves = [0..n_rows / 2, n_rows / 2..n_rows].map(|range| of_rows(points, range, k).unwrap());
            let found = Neighbors::concat(halves.into()).unwrap();
            assert_eq!(found.n_rows(), n_rows);
            for row in (0..n_rows).step_by(17) {
                let mut others: Vec<usize> = (0..n_rows).filter(|&other| other != row).collect();
                others.sort_by(|&a, &b| points.distance(row, a).total_cmp(&points.distance(row, b)));
                let expected: Vec<u32> = others[..k].iter().map(|&other| other as u32).collect();
                assert_eq!(found.of(row).0, expected, "{n_rows} {row}");
                assert_eq!(found.of(row).1[0], points.distance(row, others[0]));
            }
        }
    }

    #[test]
    fn other_rows_have_neighbours_too() {
        let points = Points::new(&[0.0, 1.0, 2.0, 10.0], 1).unwrap();
        let queries = Points::new(&[1.0, 9.0], 1).unwrap();
        let found = of_others(points, queries, 2).unwrap();
        assert_eq!((found.rows, found.distances), (vec![1, 0, 3, 2], vec![0.0, 1.0, 1.0, 7.0]));
    }

    #[test]
    fn equal_rows_are_neighbours_in_the_order_of_rows_and_too_many_are_refused() {
        let rows = [0.6, 0.8].repeat(6);
        let points = Points::new(&rows, 2).unwrap();
        let found = of_rows(points, 0..6, 3).unwrap();
        assert_eq!((found.of(0).0, found.of(2).0), ([1, 2, 3].as_slice(), [0, 1, 3].as_slice()));
        assert!(found.distances.iter().all(|&distance| distance == 0.0));
        assert!(of_rows(points, 0..6, 6).unwrap_err().to_string().contains("expected 1 to 5"));
        assert!(of_others(points, points, 7).unwrap_err().to_string().contains("expected 1 to 6"));
        assert!(of_rows(Points::new(&[1.0], 1).unwrap(), 0..1, 1).unwrap_err().to_string().contains("neighbors"));
    }
}
