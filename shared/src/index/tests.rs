//! What the index promises: bounds that hold for any vectors, selections that equal brute force, and results that do
//! not depend on the order in which files arrive.

use super::block::{self, Block, BlockHeader, Columns};
use super::bounds::{Bounded, RangeScores};
use super::quantize::{quantize, tail_norms};
use super::query::{Direction, Query};
use super::select::{Best, candidates, select};

/// A small seeded generator (Numerical Recipes' congruential one).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    /// Roughly normal: the sum of four uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..4).map(|_| self.next() as f64 / f64::from(1u32 << 31) - 0.5).sum::<f64>() * 1.7
    }
}

/// Vectors that rankings stumble over: plain, decaying, one huge dimension, repeated, zero, denormal.
fn vectors(rng: &mut Rng, n_rows: usize, d: usize) -> Vec<Vec<f32>> {
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for i in 0..n_rows {
        let kind = rng.below(9);
        let mut row: Vec<f32> = (0..d).map(|j| (rng.normal() / (1.0 + j as f64).sqrt()) as f32).collect();
        match kind {
            0 => row.iter_mut().for_each(|x| *x *= 1e-42),
            1 => row[rng.below(d)] *= 3e4,
            2 if i > 0 => row = rows[rng.below(i)].clone(),
            3 => row.fill(0.0),
            4 if i > 0 => row = rows[rng.below(i)].iter().map(|x| x * -2.5).collect(),
            5 => row.iter_mut().for_each(|x| *x *= 1e30),
            _ => {}
        }
        rows.push(row);
    }
    rows
}

fn norm(x: &[f64]) -> f64 {
    let largest = x.iter().fold(0f64, |a, b| a.max(b.abs()));
    if largest == 0.0 { 0.0 } else { largest * x.iter().map(|x| (x / largest).powi(2)).sum::<f64>().sqrt() }
}

fn unit(x: &[f64]) -> Vec<f64> {
    let n = norm(x);
    x.iter().map(|x| if n == 0.0 { 0.0 } else { x / n }).collect()
}

/// An orthogonal map: a few random Householder reflections, one after the other.
struct Rotation(Vec<Vec<f64>>);

impl Rotation {
    fn random(rng: &mut Rng, d: usize) -> Self {
        Self((0..3).map(|_| unit(&(0..d).map(|_| rng.normal()).collect::<Vec<_>>())).collect())
    }

    fn apply(&self, x: &[f64]) -> Vec<f64> {
        let mut x = x.to_vec();
        for v in &self.0 {
            let along: f64 = v.iter().zip(&x).map(|(v, x)| v * x).sum();
            x.iter_mut().zip(v).for_each(|(x, v)| *x -= 2.0 * along * v);
        }
        x
    }
}

/// The cosine by definition, in f64.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    unit(a).iter().zip(&unit(b)).map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0)
}

fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// Block files of ranges of `rows_per_file` rows: `[range][block]`.
fn index(rows: &[Vec<f32>], rotation: &Rotation, rows_per_file: usize) -> Vec<Vec<Vec<u8>>> {
    let d = rows[0].len();
    let widths = block::widths(d);
    let ranges = rows.chunks(rows_per_file).enumerate();
    ranges
        .map(|(range, rows)| {
            let rotated: Vec<Vec<f64>> = rows.iter().map(|row| rotation.apply(&unit(&widen(row)))).collect();
            let mut first_dim = 0;
            let blocks = widths.iter().enumerate().map(|(b, width)| {
                let (mut codes, mut scale, mut error, mut tail) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
                for row in &rotated {
                    let mut row_codes = vec![0; *width];
                    let (s, e) = quantize(&row[first_dim..first_dim + width], &mut row_codes);
                    codes.extend(row_codes);
                    scale.push(s);
                    error.push(e);
                    tail.push(tail_norms(row, &widths)[b]);
                }
                let first_row = range * rows_per_file;
                let header = BlockHeader { layer: 3, block: b, first_dim, first_row, inputs: "x".into() };
                first_dim += width;
                let columns = Columns { codes: &codes, scale: &scale, error_norm: &error, tail_norm: &tail };
                block::write(&header, *width, &columns).unwrap()
            });
            blocks.collect()
        })
        .collect()
}

#[test]
fn bounds_always_contain_the_true_cosine() {
    let mut rng = Rng(1);
    for d in [1, 2, 15, 37, 64, 65, 100, 128, 129, 200, 333, 700] {
        let rows = vectors(&mut rng, 60, d);
        let rotation = Rotation::random(&mut rng, d);
        let files = index(&rows, &rotation, 60);
        for _ in 0..6 {
            // Directions that are not rows, rows themselves, and one with a single huge dimension.
            let mut direction: Vec<f32> = match rng.below(3) {
                0 => rows[rng.below(60)].clone(),
                _ => (0..d).map(|_| rng.normal() as f32).collect(),
            };
            if rng.below(2) == 0 {
                direction[rng.below(d)] *= 1e4;
            }
            let exact = Direction::exact(&direction);
            let rotated: Vec<f32> = rotation.apply(&widen(&direction)).iter().map(|x| *x as f32).collect();
            let query = Query::new(&Direction::rotated(&rotated), &block::widths(d));
            let mut scores = RangeScores::new(0, 60);
            let mut radius = f64::INFINITY;
            for file in &files[0] {
                scores.add(&Block::parse(file).unwrap(), &query).unwrap();
                let mut widest = 0f64;
                for (i, row) in rows.iter().enumerate() {
                    let (known, cosine) = (scores.score(i), cosine(&exact.values, &widen(row)));
                    assert!(known.lower <= cosine && cosine <= known.upper, "{d}, row {i}: {cosine} not in {known:?}");
                    widest = widest.max(known.radius());
                }
                assert!(widest <= radius + 0.02, "bounds narrow: {widest} after {radius}");
                radius = widest;
            }
            assert!(radius < 0.15, "after all blocks only rounding is left: {radius} at {d}");
        }
    }
}

/// Something to rank.
struct Ranked<'a> {
    files: &'a [Vec<Vec<u8>>],
    query: &'a Query,
    n_rows: usize,
    rows_per_file: usize,
    exact: &'a dyn Fn(u32) -> f64,
}

/// Ranks progressively: some blocks, then exact scores of what is undecided, in several rounds. `brute` are the rows that
/// are right: whatever is called certified on the way is compared with them.
fn certified(ranked: &Ranked, k: usize, sign: f64, brute: &[u32], order: &mut Rng) -> (Vec<(u32, f64)>, usize) {
    let Ranked { files, query, n_rows, rows_per_file, exact } = *ranked;
    let mut ranges: Vec<RangeScores> = (0..n_rows.div_ceil(rows_per_file))
        .map(|i| RangeScores::new(i * rows_per_file, rows_per_file.min(n_rows - i * rows_per_file)))
        .collect();
    // Files arrive in any order, each range's blocks one after the other.
    let mut waiting: Vec<usize> = (0..ranges.len()).flat_map(|range| vec![range; files[range].len().min(2)]).collect();
    while !waiting.is_empty() {
        let range = waiting.swap_remove(order.below(waiting.len()));
        let block = ranges[range].n_blocks();
        ranges[range].add(&Block::parse(&files[range][block]).unwrap(), query).unwrap();
    }
    let signed = |score: Bounded| if sign < 0.0 { score.negated() } else { score };
    let mut n_read = 0;
    // What is read next does not depend on the order of arrival.
    let mut choices = Rng(k as u64);
    loop {
        // Every range tells its best; they merge in any order.
        let mut told: Vec<Best> = ranges
            .iter()
            .map(|range| Best::of_lower_bounds(range.scores().map(|(row, score)| (row, signed(score))), k))
            .collect();
        let mut best = Best::new(k);
        while !told.is_empty() {
            best.merge(&told.swap_remove(order.below(told.len())));
        }
        let all = ranges.iter().flat_map(RangeScores::scores).map(|(row, score)| (row, signed(score)));
        let selection = select(candidates(all, best.threshold()), k);
        if selection.is_certified {
            let mut top: Vec<u32> = selection.top.iter().map(|c| c.row).collect();
            let mut brute = brute.to_vec();
            top.sort_unstable();
            brute.sort_unstable();
            assert_eq!(top, brute, "what is called certified is right");
        }
        // Rows that are out may be forgotten at any time.
        if choices.below(2) == 0 {
            for range in &mut ranges {
                let first = range.first_row();
                let threshold = best.threshold();
                let rows = range.scores().map(|(row, score)| (row, signed(score)));
                let kept: Vec<u32> = candidates(rows, threshold).iter().map(|c| c.row - first as u32).collect();
                range.keep(&kept);
            }
        }
        if selection.is_exact {
            return (selection.top.iter().map(|c| (c.row, c.score.estimate * sign)).collect(), n_read);
        }
        // The next block of what is left, or exact scores.
        if choices.below(2) == 0 && !selection.is_certified {
            for (range, files) in ranges.iter_mut().zip(files) {
                if let Some(file) = files.get(range.n_blocks()) {
                    let block = match range.kept() {
                        None => Block::parse(file).unwrap(),
                        Some(rows) => Block::parse_rows(file, rows).unwrap(),
                    };
                    range.add(&block, query).unwrap();
                }
            }
            continue;
        }
        let read = if selection.undecided.is_empty() { selection.inexact } else { selection.undecided };
        assert!(!read.is_empty(), "what is not exact can be read");
        n_read += read.len();
        for row in read {
            ranges[row as usize / rows_per_file].set_exact(row as usize % rows_per_file, exact(row));
        }
    }
}

#[test]
fn certified_rankings_equal_brute_force() {
    let mut rng = Rng(2);
    for (n_rows, d, rows_per_file) in [(1, 5, 4), (50, 1, 7), (300, 40, 64), (400, 150, 100), (257, 300, 33)] {
        let rows = vectors(&mut rng, n_rows, d);
        let rotation = Rotation::random(&mut rng, d);
        let files = index(&rows, &rotation, rows_per_file);
        let mut direction = widen(&rows[rng.below(n_rows)]);
        direction.iter_mut().for_each(|x| *x = *x / 1e30_f64.max(1.0) + rng.normal() * 0.01);
        let direction: Vec<f32> = direction.iter().map(|x| *x as f32).collect();
        let rotated: Vec<f32> = rotation.apply(&widen(&direction)).iter().map(|x| *x as f32).collect();
        let query = Query::new(&Direction::rotated(&rotated), &block::widths(d));
        let exact = |row: u32| crate::rank::exact_cosine(&widen(&direction), &rows[row as usize]);
        for k in [1, 10, 100, n_rows + 3] {
            for sign in [1.0, -1.0] {
                let mut brute: Vec<(u32, f64)> = (0..n_rows as u32).map(|row| (row, exact(row) + 0.0)).collect();
                brute.sort_by(|a, b| (b.1 * sign + 0.0).total_cmp(&(a.1 * sign + 0.0)).then(a.0.cmp(&b.0)));
                brute.truncate(k);
                let rows_of = |top: &[(u32, f64)]| top.iter().map(|(row, _)| *row).collect::<Vec<_>>();
                let ranked = Ranked { files: &files, query: &query, n_rows, rows_per_file, exact: &exact };
                let mut seen = None;
                for seed in 0..3 {
                    let (top, n_read) = certified(&ranked, k, sign, &rows_of(&brute), &mut Rng(seed));
                    assert_eq!(rows_of(&top), rows_of(&brute), "{n_rows} × {d}, k = {k}, sign {sign}");
                    assert!(top.iter().zip(&brute).all(|(a, b)| a.1 == b.1));
                    // Any order of arrival reads the same rows.
                    assert_eq!(*seen.get_or_insert(n_read), n_read);
                }
            }
        }
    }
}

#[test]
fn forgetting_rows_changes_nothing_of_the_others() {
    let mut rng = Rng(8);
    for (n_rows, d) in [(1, 5), (40, 70), (90, 300)] {
        let rows = vectors(&mut rng, n_rows, d);
        let rotation = Rotation::random(&mut rng, d);
        let files = &index(&rows, &rotation, n_rows)[0];
        let mut direction = || Direction::rotated(&(0..d).map(|_| rng.normal() as f32).collect::<Vec<_>>());
        let query = Query::bank(&[direction(), direction()], &block::widths(d));
        let (mut whole, mut kept) = (RangeScores::new(0, n_rows), RangeScores::new(0, n_rows));
        for (n, file) in files.iter().enumerate() {
            let some = kept.kept().map_or_else(|| Block::parse(file), |rows| Block::parse_rows(file, rows));
            kept.add(&some.unwrap(), &query).unwrap();
            whole.add(&Block::parse(file).unwrap(), &query).unwrap();
            if n == 1 {
                whole.set_exact(n_rows / 2, 0.25);
                kept.set_exact(n_rows / 2, 0.25);
            }
            // Twice at each step, the row with an exact score always among those that stay.
            for keep_of in [2, 3] {
                let rows: Vec<u32> = kept.scores().map(|(row, _)| row).collect();
                let stays = |row: &u32| *row as usize == n_rows / 2 || !row.is_multiple_of(keep_of);
                kept.keep(&rows.into_iter().filter(stays).collect::<Vec<_>>());
            }
            assert_eq!(kept.scores().count(), kept.kept().unwrap().len());
            for (row, score) in kept.scores() {
                assert_eq!(score, whole.score(row as usize), "row {row} of {n_rows} × {d} after block {n}");
                assert_eq!(score, kept.score(row as usize));
            }
        }
    }
}

#[test]
fn combinations_and_banks_are_bounded_too() {
    let mut rng = Rng(3);
    let (n_rows, d) = (80, 130);
    let rows = vectors(&mut rng, n_rows, d);
    let rotation = Rotation::random(&mut rng, d);
    let files = index(&rows, &rotation, n_rows);
    let mut given: Vec<Vec<f32>> = (0..3).map(|_| (0..d).map(|_| rng.normal() as f32).collect()).collect();
    for nearness in [1e-6, 3e-7] {
        given.push(given[0].iter().zip(&given[1]).map(|(a, b)| a + nearness * b).collect());
    }
    let exact: Vec<Direction> = given.iter().map(|x| Direction::exact(x)).collect();
    let turned: Vec<Direction> = given
        .iter()
        .map(|x| Direction::rotated(&rotation.apply(&widen(x)).iter().map(|x| *x as f32).collect::<Vec<_>>()))
        .collect();
    let combine = |d: &[Direction]| {
        let sum = Direction::weighted_sum(&[(1.0, &d[0]), (-0.7, &d[1])]);
        let near = d[0].without(&Direction::weighted_sum(&[(1.0, &d[0]), (1e-3, &d[1])]));
        // What is left of nearly parallel directions is in good part what f32 rounded off, in each its own way: the bounds
        // must say so.
        let tiny = Direction::weighted_sum(&[(1.0, &d[0]), (-1.0, &d[4])]);
        [sum.clone(), sum.without(&d[2]), near, d[0].without(&d[3]), d[0].without(&d[4]), d[1].without(&tiny)]
    };
    for (meant, computed) in combine(&exact).iter().zip(&combine(&turned)) {
        let mut scores = RangeScores::new(0, n_rows);
        let query = Query::new(computed, &block::widths(d));
        for file in &files[0] {
            scores.add(&Block::parse(file).unwrap(), &query).unwrap();
            for (i, row) in rows.iter().enumerate() {
                let (known, cosine) = (scores.score(i), cosine(&meant.values, &widen(row)));
                assert!(known.lower <= cosine && cosine <= known.upper, "row {i}: {cosine} not in {known:?}");
            }
        }
    }
}

#[test]
fn one_row_too_many_is_not_certified() {
    let bounded = |lower: f64, upper: f64| Bounded { estimate: (lower + upper) / 2.0, lower, upper };
    let rows = || [(4, bounded(0.5, 0.7)), (9, bounded(0.4, 0.55)), (2, Bounded::exact(0.3))];
    for (k, is_certified, undecided) in [(1, false, vec![4, 9]), (2, true, vec![]), (3, true, vec![])] {
        let selection = select(candidates(rows(), None), k);
        assert_eq!((selection.is_certified, selection.undecided), (is_certified, undecided), "k = {k}");
        assert!(!selection.is_exact);
    }
    // A tie of exact scores goes by row.
    let tied = [(7, Bounded::exact(0.5)), (3, Bounded::exact(0.5))];
    let selection = select(candidates(tied, None), 1);
    assert!(selection.is_exact && selection.top[0].row == 3);
}

#[test]
fn what_rounding_leaves_of_nothing_is_no_direction() {
    let mut rng = Rng(4);
    let given: Vec<Vec<f32>> = (0..2).map(|_| (0..130).map(|_| rng.normal() as f32).collect()).collect();
    for of in [Direction::exact, Direction::rotated] {
        let [a, b] = [of(&given[0]), of(&given[1])];
        let sum = Direction::weighted_sum(&[(1.0, &a), (0.3, &b)]);
        let nothing = [
            a.without(&a),
            a.without(&Direction::weighted_sum(&[(-0.3, &a)])),
            sum.without(&a).without(&b.without(&a)),
            Direction::weighted_sum(&[(1.0, &a), (-0.1, &a), (-0.9, &a)]),
        ];
        for (i, direction) in nothing.iter().enumerate() {
            assert_eq!(direction.norm(), 0.0, "case {i}");
        }
        // A small rest that is more than rounding stays.
        assert!(a.without(&Direction::weighted_sum(&[(1.0, &a), (1e-6, &b)])).norm() > 0.0);
    }
}
