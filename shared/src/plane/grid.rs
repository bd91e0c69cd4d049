//! Points in square cells: what lies under the pointer, in a lasso or in view costs what is there, not how many points there are.
//!
//! Points are put in the order of their cells, row by row from below, and within a cell by row of the study; a *place* is a point's
//! number in that order. Whatever goes over many points goes over places, so that neighbours in memory are neighbours on the plane.

use std::ops::Range;

use super::lasso::Lasso;

/// Points per cell that the number of cells is chosen for, were they spread evenly.
const POINTS_PER_CELL: usize = 6;
/// Most cells along a side.
const MAX_SIDE: usize = 512;

/// Points in cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Cells along a side of the unit square.
    n_side: usize,
    /// First place of every cell, and the number of points: `[n_side² + 1]`.
    starts: Vec<u32>,
    /// Row of the study, by place.
    rows: Vec<u32>,
    /// Unit coordinates by place, `[n, 2]`.
    points: Vec<f32>,
}

impl Grid {
    /// Of points in unit coordinates, `[n, 2]` by row of the study; what lies outside the unit square counts to its edge.
    pub fn new(points: &[f32]) -> Self {
        let points = points.as_chunks::<2>().0;
        let n_side = ((points.len() / POINTS_PER_CELL).isqrt() + 1).next_power_of_two().min(MAX_SIDE);
        let cell_of = |point: &[f32; 2]| {
            let [column, line] = point.map(|x| cell(f64::from(x), n_side));
            line * n_side + column
        };
        let mut starts = vec![0u32; n_side * n_side + 1];
        for point in points {
            starts[cell_of(point) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let (mut rows, mut sorted) = (vec![0; points.len()], vec![0.0; 2 * points.len()]);
        for (row, point) in (0..).zip(points) {
            let place = &mut next[cell_of(point)];
            rows[*place as usize] = row;
            sorted[2 * *place as usize..][..2].copy_from_slice(point);
            *place += 1;
        }
        Self { n_side, starts, rows, points: sorted }
    }

    /// From its parts, as another thread made them with [`Grid::parts`]; `None` when they do not fit together.
    pub fn from_parts(starts: Vec<u32>, rows: Vec<u32>, points: Vec<f32>) -> Option<Self> {
        let n_side = starts.len().checked_sub(1)?.isqrt();
        let fits = n_side * n_side + 1 == starts.len()
            && starts.is_sorted()
            && starts.last().is_some_and(|n| *n as usize == rows.len())
            && points.len() == 2 * rows.len();
        (fits && n_side > 0).then_some(Self { n_side, starts, rows, points })
    }

    /// First places of cells, rows by place, and points by place, as [`Grid::from_parts`] takes them.
    pub fn parts(&self) -> (&[u32], &[u32], &[f32]) {
        (&self.starts, &self.rows, &self.points)
    }

    /// How many points.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Row of the study, by place.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Unit coordinates by place, `[n, 2]`.
    pub fn points(&self) -> &[f32] {
        &self.points
    }

    /// The point at a place.
    pub fn point(&self, place: usize) -> [f64; 2] {
        [self.points[2 * place], self.points[2 * place + 1]].map(f64::from)
    }

    /// Stretches of places that hold every point of a box, and some around it.
    pub fn stretches(&self, low: [f64; 2], high: [f64; 2]) -> impl Iterator<Item = Range<usize>> + '_ {
        let [columns, lines] = [0, 1].map(|axis| cell(low[axis], self.n_side)..cell(high[axis], self.n_side) + 1);
        let is_beside = (0..2).any(|axis| high[axis] < 0.0 || low[axis] > 1.0);
        let lines = if is_beside { 0..0 } else { lines };
        lines.map(move |line| {
            let first = line * self.n_side;
            self.starts[first + columns.start] as usize..self.starts[first + columns.end] as usize
        })
    }

    /// The place of the point nearest to another one, within a distance; of equals the first row.
    pub fn nearest(&self, to: [f64; 2], within: f64) -> Option<usize> {
        let box_around = [to.map(|x| x - within), to.map(|x| x + within)];
        let mut best = None::<(f64, u32, usize)>;
        for place in self.stretches(box_around[0], box_around[1]).flatten() {
            let [x, y] = self.point(place);
            let distance2 = (x - to[0]) * (x - to[0]) + (y - to[1]) * (y - to[1]);
            let key = (distance2, self.rows[place]);
            if distance2 <= within * within && best.is_none_or(|(d, row, _)| key < (d, row)) {
                best = Some((key.0, key.1, place));
            }
        }
        best.map(|(.., place)| place)
    }

    /// How many points lie in a box.
    pub fn count(&self, low: [f64; 2], high: [f64; 2]) -> usize {
        let is_inside = |place: &usize| {
            let [x, y] = self.point(*place);
            (low[0]..=high[0]).contains(&x) && (low[1]..=high[1]).contains(&y)
        };
        self.stretches(low, high).flatten().filter(is_inside).count()
    }

    /// Rows of the study that lie in a box, ascending.
    pub fn rows_in(&self, low: [f64; 2], high: [f64; 2]) -> Vec<u32> {
        let is_inside = |place: &usize| {
            let [x, y] = self.point(*place);
            (low[0]..=high[0]).contains(&x) && (low[1]..=high[1]).contains(&y)
        };
        self.ascending(self.stretches(low, high).flatten().filter(is_inside))
    }

    /// Rows at places, ascending: marking them takes less time than sorting them.
    fn ascending(&self, places: impl Iterator<Item = usize>) -> Vec<u32> {
        let mut is_there = vec![false; self.rows.len()];
        places.for_each(|place| is_there[self.rows[place] as usize] = true);
        (0..).zip(is_there).filter(|(_, is_there)| *is_there).map(|(row, _)| row).collect()
    }

    /// Rows of the study that lie in a lasso, ascending. Cells that it does not cut are taken or left whole.
    pub fn rows_within(&self, lasso: &Lasso) -> Vec<u32> {
        let [low, high] = lasso.bounds();
        let [columns, lines] = [0, 1].map(|axis| cell(low[axis], self.n_side)..cell(high[axis], self.n_side) + 1);
        let side = 1.0 / self.n_side as f64;
        let mut inside = Vec::new();
        for line in lines {
            for column in columns.clone() {
                let at = line * self.n_side + column;
                let places = self.starts[at] as usize..self.starts[at + 1] as usize;
                if places.is_empty() {
                    continue;
                }
                let corner = [column as f64 * side, line as f64 * side];
                // Rounding may put a point on its cell's edge a little beyond it.
                let (low, high) = (corner.map(|x| x - 1e-6), corner.map(|x| x + side + 1e-6));
                // What lies beyond the unit square was put into its outermost cells.
                let is_outermost = [column, line].iter().any(|i| *i == 0 || *i + 1 == self.n_side);
                if is_outermost || lasso.meets(low, high) {
                    inside.extend(places.filter(|&place| lasso.contains(self.point(place))));
                } else if lasso.contains(corner.map(|x| x + side / 2.0)) {
                    inside.extend(places);
                }
            }
        }
        self.ascending(inside.into_iter())
    }

    /// How crowded it is, in points per unit area: the geometric mean of what a point sees around it, on average, and of what
    /// it would see were all spread evenly. 0 without points.
    pub fn crowding(&self) -> f64 {
        let squares: f64 = self.starts.windows(2).map(|ends| f64::from(ends[1] - ends[0]).powi(2)).sum();
        let cells = (self.n_side * self.n_side) as f64;
        // Squares over points are the points in the cell of a point of the mean.
        if self.is_empty() { 0.0 } else { libm::sqrt(squares / self.len() as f64 * cells * self.len() as f64) }
    }
}

/// The cell along an axis.
fn cell(x: f64, n_side: usize) -> usize {
    // Below zero and not a number become 0.
    ((x * n_side as f64) as usize).min(n_side - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::random::Random;

    /// Points in two clumps and all over.
    fn points(n: usize) -> Vec<f32> {
        let mut random = Random::new(3);
        let point = |i: usize| {
            let center = [0.3, 0.8][i % 2];
            let spread = if i.is_multiple_of(5) { 0.5 } else { 0.03 };
            [0.0f64; 2].map(|_| (center + spread * random.normal()).clamp(0.0, 1.0) as f32)
        };
        (0..n).flat_map(point).collect()
    }

    fn at(points: &[f32], row: usize) -> [f64; 2] {
        [points[2 * row], points[2 * row + 1]].map(f64::from)
    }

    #[test]
    fn every_point_has_one_place_and_parts_make_the_same_grid() {
        let points = points(5000);
        let grid = Grid::new(&points);
        let mut rows = grid.rows().to_vec();
        rows.sort_unstable();
        assert!(rows.iter().copied().eq(0..5000));
        assert!((0..5000).all(|place| grid.point(place) == at(&points, grid.rows()[place] as usize)));
        let (starts, rows, sorted) = grid.parts();
        assert_eq!(Grid::from_parts(starts.to_vec(), rows.to_vec(), sorted.to_vec()).unwrap(), grid);
        assert!(Grid::from_parts(starts.to_vec(), rows[1..].to_vec(), sorted.to_vec()).is_none());
        assert!(Grid::from_parts(Vec::new(), Vec::new(), Vec::new()).is_none());
    }

    #[test]
    fn what_is_found_is_what_looking_at_every_point_finds() {
        let points = points(5000);
        let grid = Grid::new(&points);
        let line: Vec<[f64; 2]> = (0..40)
            .map(|i| {
                let (angle, radius) = (f64::from(i) * 0.157, if i % 2 == 0 { 0.35 } else { 0.12 });
                [0.4 + radius * angle.cos(), 0.45 + radius * angle.sin()]
            })
            .collect();
        let lasso = Lasso::drawn(&line).unwrap();
        let expected: Vec<u32> = (0..5000).filter(|&row| lasso.contains(at(&points, row as usize))).collect();
        assert!(expected.len() > 100);
        assert_eq!(grid.rows_within(&lasso), expected);
        let all = Lasso::rectangle([-0.2, -0.2], [1.2, 1.2]).unwrap();
        assert_eq!(grid.rows_within(&all).len(), 5000);
        for to in [[0.3, 0.31], [0.79, 0.8], [0.0, 0.0], [0.55, 0.5]] {
            let distance = |row: usize| libm::hypot(at(&points, row)[0] - to[0], at(&points, row)[1] - to[1]);
            let nearest = (0..5000).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap();
            let expected = (distance(nearest) <= 0.05).then_some(nearest as u32);
            assert_eq!(grid.nearest(to, 0.05).map(|place| grid.rows()[place]), expected);
        }
        let (low, high) = ([0.25, 0.2], [0.5, 0.9]);
        let is_inside = |row: &u32| (0..2).all(|i| (low[i]..=high[i]).contains(&at(&points, *row as usize)[i]));
        let expected: Vec<u32> = (0..5000).filter(is_inside).collect();
        assert_eq!((grid.count(low, high), grid.rows_in(low, high)), (expected.len(), expected));
        assert_eq!(grid.stretches([1.5, 0.0], [2.0, 1.0]).count(), 0);
    }

    #[test]
    fn clumps_are_more_crowded_than_an_even_spread() {
        assert_eq!(Grid::new(&[]).crowding(), 0.0);
        let even: Vec<f32> = (0..4096).flat_map(|i| [i % 64, i / 64].map(|i| (i as f32 + 0.5) / 64.0)).collect();
        assert_eq!(Grid::new(&even).crowding(), 4096.0);
        assert!(Grid::new(&points(4096)).crowding() > 2.0 * 4096.0);
    }
}
