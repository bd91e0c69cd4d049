//! Products of many rows with many centres, and the nearest centre: where k-means and the search for [neighbours](super::neighbors)
//! spend their time.
//!
//! Products of a few rows with sixteen centres at a time, summed in the order of the columns: no sum crosses a register, and
//! the order does not depend on the machine.

use super::points::Points;
use crate::lanes::{LANES, Sums, first_of_largest};

/// Centres per tile: two registers of 256 bits.
const TILE: usize = LANES;
/// Rows per step, so that a centre's values are loaded once for all of them: as many as leave all sums in registers, of which
/// there are sixteen, in WebAssembly of 128 bits.
const ROWS: usize = if cfg!(target_arch = "wasm32") { 2 } else { 4 };

/// What is done with the products of a row. Not a closure: its code must become part of the loop, wide registers included, and
/// only methods can be told to.
trait Visit {
    /// The row's number and its products with all centres, `[k]`.
    fn visit(&mut self, row: usize, products: &[f32]);
}

struct KeepNearest(Vec<(u32, f32)>);

impl Visit for KeepNearest {
    #[inline(always)]
    fn visit(&mut self, row: usize, products: &[f32]) {
        self.0[row] = first_of_largest(products);
    }
}

struct Call<F>(F);

impl<F: FnMut(usize, &[f32])> Visit for Call<F> {
    #[inline(always)]
    fn visit(&mut self, row: usize, products: &[f32]) {
        (self.0)(row, products);
    }
}

/// Centres, laid out for the products.
pub(super) struct Centres {
    /// `[n_tiles, width, TILE]`; beyond the last centre zeros.
    tiles: Vec<f32>,
    width: usize,
    k: usize,
}

impl Centres {
    /// Of row-major centres `[k, width]`.
    pub fn new(centres: &[f32], width: usize) -> Self {
        let k = centres.len() / width;
        let mut tiles = vec![0.0; k.div_ceil(TILE) * width * TILE];
        for (centre, values) in centres.chunks_exact(width).enumerate() {
            let tile = &mut tiles[centre / TILE * width * TILE..];
            for (column, &value) in values.iter().enumerate() {
                tile[column * TILE + centre % TILE] = value;
            }
        }
        Self { tiles, width, k }
    }

    /// Per row, the centre with the largest dot product, the first of equals, and that product.
    ///
    /// # Panics
    ///
    /// Panics when there is no centre or the rows are of another width.
    pub fn nearest(&self, points: Points) -> Vec<(u32, f32)> {
        let mut nearest = KeepNearest(vec![(0, 0.0); points.n_rows()]);
        self.visit(points, &mut nearest);
        nearest.0
    }

    /// Calls `visit` with the number of every row, in order, and its dot products with all centres, `[k]`.
    ///
    /// # Panics
    ///
    /// Panics when there is no centre or the rows are of another width.
    pub fn products_of(&self, points: Points, visit: impl FnMut(usize, &[f32])) {
        self.visit(points, &mut Call(visit));
    }

    fn visit(&self, points: Points, visit: &mut impl Visit) {
        assert!(self.k > 0 && points.width() == self.width, "centres as wide as rows");
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            /// What the compiler makes of the same code when it may use registers of 256 bits.
            #[target_feature(enable = "avx2")]
            fn wide(centres: &Centres, points: Points, visit: &mut impl Visit) {
                centres.of_rows(points, visit);
            }
            // SAFETY: the processor has AVX2.
            return unsafe { wide(self, points, visit) };
        }
        self.of_rows(points, visit);
    }

    #[inline(always)]
    fn of_rows(&self, points: Points, visit: &mut impl Visit) {
        let padded = self.tiles.len() / self.width;
        let mut products = vec![0.0; ROWS * padded];
        let n_grouped = points.n_rows() / ROWS * ROWS;
        for first in (0..n_grouped).step_by(ROWS) {
            self.products(std::array::from_fn::<_, ROWS, _>(|i| points.row(first + i)), &mut products);
            for (i, products) in products.chunks_exact(padded).enumerate() {
                visit.visit(first + i, &products[..self.k]);
            }
        }
        for row in n_grouped..points.n_rows() {
            self.products([points.row(row)], &mut products);
            visit.visit(row, &products[..self.k]);
        }
    }

    /// Row-major products `[N, k up to whole tiles]`.
    #[inline(always)]
    fn products<const N: usize>(&self, rows: [&[f32]; N], out: &mut [f32]) {
        let (width, padded) = (self.width, self.tiles.len() / self.width);
        let rows = rows.map(|row| &row[..width]);
        for (tile, columns) in self.tiles.chunks_exact(width * TILE).enumerate() {
            let mut sums = [Sums::default(); N];
            for (column, values) in columns.as_chunks::<TILE>().0.iter().enumerate() {
                for n in 0..N {
                    sums[n].add_scaled(rows[n][column], values);
                }
            }
            for (n, sums) in sums.iter().enumerate() {
                out[n * padded + tile * TILE..][..TILE].copy_from_slice(&sums.to_array());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::random::Random;

    #[test]
    fn finds_what_looking_at_each_finds() {
        let mut random = Random::new(4);
        for (k, width, n_rows) in [(1, 1, 1), (3, 5, 9), (16, 8, 4), (17, 20, 7), (64, 33, 30), (100, 2, 11)] {
            let mut draw = |n: usize| (0..n).map(|_| random.normal() as f32).collect::<Vec<f32>>();
            let (centres, rows) = (draw(k * width), draw(n_rows * width));
            let points = Points::new(&rows, width).unwrap();
            for (row, (centre, product)) in points.rows().zip(Centres::new(&centres, width).nearest(points)) {
                let products = centres
                    .chunks_exact(width)
                    .map(|centre| centre.iter().zip(row).fold(0f32, |sum, (c, x)| sum + x * c));
                let best = (0..).zip(products).fold((0, f32::NEG_INFINITY), |best, (i, product)| {
                    if product > best.1 { (i, product) } else { best }
                });
                assert_eq!((centre, product.to_bits()), (best.0, best.1.to_bits()));
            }
        }
    }

    #[test]
    fn of_equal_centres_the_first_is_taken_whatever_the_tile() {
        // All products are negative: the zeros that fill the last tile must not win.
        let centres = [-1.0, -2.0, -1.0].repeat(12);
        let points = Points::new(&[1.0, 2.0], 1).unwrap();
        assert_eq!(Centres::new(&centres, 1).nearest(points), [(0, -1.0), (0, -2.0)]);
        let mut centres = [-1.0].repeat(40);
        (centres[20], centres[37]) = (3.0, 3.0);
        assert_eq!(Centres::new(&centres, 1).nearest(points), [(20, 3.0), (20, 6.0)]);
    }
}
