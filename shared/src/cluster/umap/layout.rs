//! Points moved about until near ones are those that the graph calls near: attraction along edges, repulsion from points drawn at
//! random, less and less (algorithms 4 and 5 of the paper).

use super::curve::Curve;
use super::fuzzy::Edge;
use crate::statistics::random::Random;

/// Points that one is pushed away from for every time it is pulled.
const NEGATIVES_PER_SAMPLE: f64 = 5.0;
/// No point moves farther in one step, along either axis, at full rate.
const MAX_MOVE: f64 = 4.0;
/// Largest coordinate before points are moved.
const EXTENT: f64 = 10.0;
/// Of the noise that starts equal points apart.
const NOISE: f64 = 1e-4;
/// Up to so many rows every edge is gone over [`N_EPOCHS_SMALL`] times, beyond [`N_EPOCHS_LARGE`].
const SMALL: usize = 10_000;
const N_EPOCHS_SMALL: usize = 500;
const N_EPOCHS_LARGE: usize = 200;

/// Start coordinates `[n_rows, 2]` stretched to 0 to 10 along both axes, with a little noise.
pub fn scaled(start: &[[f64; 2]], seed: u64) -> Vec<[f64; 2]> {
    let mut random = Random::new(seed ^ 0x6d61_7073);
    let largest = start.iter().flatten().fold(0f64, |largest, x| largest.max(x.abs()));
    let stretch = if largest > 0.0 { EXTENT / largest } else { 1.0 };
    let mut points: Vec<[f64; 2]> =
        start.iter().map(|point| point.map(|x| stretch * x + NOISE * random.normal())).collect();
    for axis in 0..2 {
        let values = points.iter().map(|point| point[axis]);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        let range = if high > low { high - low } else { 1.0 };
        points.iter_mut().for_each(|point| point[axis] = EXTENT * (point[axis] - low) / range);
    }
    points
}

/// An edge and when its turn comes, in epochs: as often as it is heavy.
struct Turn {
    edge: Edge,
    every: f64,
    next: f64,
    every_negative: f64,
    next_negative: f64,
}

/// Moves points; edges one after the other, the heaviest in every epoch.
pub fn optimise(mut points: Vec<[f64; 2]>, edges: Vec<Edge>, curve: Curve, seed: u64) -> Vec<[f64; 2]> {
    let n_epochs = if points.len() <= SMALL { N_EPOCHS_SMALL } else { N_EPOCHS_LARGE };
    let heaviest = edges.iter().map(|edge| edge.weight).fold(0.0, f64::max);
    let turn = |edge: Edge| {
        let every = heaviest / edge.weight;
        let every_negative = every / NEGATIVES_PER_SAMPLE;
        Turn { edge, every, next: every, every_negative, next_negative: every_negative }
    };
    // Lighter ones would never have a turn.
    let mut turns: Vec<Turn> =
        edges.into_iter().filter(|edge| edge.weight >= heaviest / n_epochs as f64).map(turn).collect();
    let mut random = Random::new(seed);
    for epoch in 0..n_epochs {
        let (now, rate) = (epoch as f64, 1.0 - epoch as f64 / n_epochs as f64);
        for turn in turns.iter_mut().filter(|turn| turn.next <= now) {
            let (head, tail) = (turn.edge.head as usize, turn.edge.tail as usize);
            let pull = attraction(points[head], points[tail], curve);
            for axis in 0..2 {
                points[head][axis] += rate * pull[axis];
                points[tail][axis] -= rate * pull[axis];
            }
            turn.next += turn.every;
            let n_negatives = ((now - turn.next_negative) / turn.every_negative) as usize;
            for _ in 0..n_negatives {
                let other = random.below(points.len());
                if other == head {
                    continue;
                }
                let push = repulsion(points[head], points[other], curve);
                for axis in 0..2 {
                    points[head][axis] += rate * push[axis];
                }
            }
            turn.next_negative += n_negatives as f64 * turn.every_negative;
        }
    }
    points
}

fn squared_distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1])
}

/// How `a` moves along the gradient of ln(nearness of a and b).
fn attraction(a: [f64; 2], b: [f64; 2], curve: Curve) -> [f64; 2] {
    let square = squared_distance(a, b);
    if square == 0.0 {
        return [0.0; 2];
    }
    let power = libm::pow(square, curve.b);
    let strength = -2.0 * curve.a * curve.b * power / square / (curve.a * power + 1.0);
    [0, 1].map(|axis| (strength * (a[axis] - b[axis])).clamp(-MAX_MOVE, MAX_MOVE))
}

/// How `a` moves along the gradient of ln(1 − nearness of a and b).
fn repulsion(a: [f64; 2], b: [f64; 2], curve: Curve) -> [f64; 2] {
    // Keeps points that are very near from flying apart.
    const SOFTENING: f64 = 1e-3;
    let square = squared_distance(a, b);
    if square == 0.0 {
        return [0.0; 2];
    }
    let strength = 2.0 * curve.b / ((SOFTENING + square) * (curve.a * libm::pow(square, curve.b) + 1.0));
    [0, 1].map(|axis| (strength * (a[axis] - b[axis])).clamp(-MAX_MOVE, MAX_MOVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_follow_the_gradients() {
        let curve = Curve { a: 1.5, b: 0.9 };
        let near = |a: [f64; 2], b: [f64; 2]| 1.0 / (1.0 + curve.a * squared_distance(a, b).powf(curve.b));
        let (a, b, h) = ([0.3, -0.4], [1.1, 0.5], 1e-6);
        let pull = attraction(a, b, curve);
        let numeric = |f: &dyn Fn([f64; 2]) -> f64| {
            [
                (f([a[0] + h, a[1]]) - f([a[0] - h, a[1]])) / (2.0 * h),
                (f([a[0], a[1] + h]) - f([a[0], a[1] - h])) / (2.0 * h),
            ]
        };
        let expected = numeric(&|a| near(a, b).ln());
        assert!((0..2).all(|axis| (pull[axis] - expected[axis]).abs() < 1e-6), "{pull:?} {expected:?}");
        let push = repulsion(a, b, curve);
        let expected = numeric(&|a| (1.0 - near(a, b)).ln());
        assert!((0..2).all(|axis| (push[axis] - expected[axis]).abs() < 2e-3), "{push:?} {expected:?}");
        assert_eq!((attraction(a, a, curve), repulsion(a, a, curve)), ([0.0; 2], [0.0; 2]));
    }

    #[test]
    fn a_start_of_any_scale_fills_the_square() {
        for scale in [1e-6, 1.0, 1e6] {
            let start = [[0.0, 1.0], [1.0, 0.0], [-2.0, 5.0]].map(|point| point.map(|x| x * scale));
            let points = scaled(&start, 1);
            assert!(points.iter().flatten().all(|x| (0.0..=EXTENT).contains(x)));
            assert!(points.iter().any(|point| point[0] == 0.0) && points.iter().any(|point| point[1] == EXTENT));
        }
        assert!(scaled(&[[7.0, 7.0]], 1).iter().flatten().all(|x| *x == 0.0));
    }
}
