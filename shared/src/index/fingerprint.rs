//! What every platform must agree on, to the bit: made-up vectors through each step of the index, each step's bytes
//! hashed. The same seed gives the same fingerprint natively and in the browser, or one of them is wrong; a test compares
//! them.

use serde::{Deserialize, Serialize};

use super::block::{self, Block, BlockHeader, Columns};
use super::bounds::{Bounded, RangeScores};
use super::quantize::{quantize, tail_norms};
use super::query::{Direction, Query};
use super::select::{self, Best};
use crate::rank::Probe;
use crate::shard::{self, Shard, ShardHeader, StoreDtype};
use crate::statistics::random::Random;

/// Hashes of each step's results, in the order of the flow: 64 bits (FNV-1a) in hexadecimal, which JSON carries whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Vector files, in f16 and f32.
    pub vector_files: String,
    /// Block files: quantisation, norms, the format.
    pub block_files: String,
    /// Bounds of every row after every block, for a direction, a combination and a bank.
    pub bounds: String,
    /// Selected rows, their order and bounds, what is undecided.
    pub selection: String,
    /// Exact scores.
    pub scores: String,
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
struct Hash(u64);

impl Hash {
    const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn score(&mut self, row: u32, score: &Bounded) {
        self.bytes(&row.to_le_bytes());
        [score.estimate, score.lower, score.upper].iter().for_each(|x| self.bytes(&x.to_bits().to_le_bytes()));
    }

    fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// In [−1, 1).
fn even(random: &mut Random) -> f32 {
    (2.0 * random.uniform() - 1.0) as f32
}

/// Vectors of lengths from vanishing to huge, some zero, some repeated.
fn rows(random: &mut Random, n_rows: usize, d_model: usize) -> Vec<f32> {
    let mut rows: Vec<f32> = Vec::with_capacity(n_rows * d_model);
    for row in 0..n_rows {
        let length = [1.0, 1e-3, 0.0, 3e4, 1e-7, 1.0][random.below(6)];
        if row > 0 && random.below(7) == 0 {
            let from = random.below(row) * d_model;
            rows.extend_from_within(from..from + d_model);
        } else {
            rows.extend((0..d_model).map(|j| even(random) * length / (1 + j / 16) as f32));
        }
    }
    rows
}

/// The fingerprint of `n_rows` made-up vectors of width `d_model`. The rotation is left out: it is made natively alone.
///
/// # Panics
///
/// Panics beyond the limits of the formats.
pub fn fingerprint(seed: u64, n_rows: usize, d_model: usize) -> Fingerprint {
    let [mut vector_files, mut block_files, mut bounds, mut selection, mut scores] = [const { Hash::new() }; 5];
    let mut random = Random::new(seed);
    let rows = rows(&mut random, n_rows, d_model);
    let header = ShardHeader { layer: 1, first_row: 0, inputs: "seeded".into() };
    let mut file = Vec::new();
    for dtype in [StoreDtype::F32, StoreDtype::F16] {
        file = shard::write(&header, &rows, d_model, dtype, None).expect("within the limits");
        vector_files.bytes(&file);
    }
    let shard = Shard::parse(&file).expect("just written");

    let widths = block::widths(d_model);
    let mut stored = vec![0.0; d_model];
    let mut columns: Vec<(Vec<i8>, [Vec<f32>; 3])> = vec![Default::default(); widths.len()];
    for row in 0..n_rows {
        shard.read_row(row, &mut stored);
        let norm = stored.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        let unit: Vec<f64> = stored.iter().map(|x| if norm > 0.0 { f64::from(*x) / norm } else { 0.0 }).collect();
        let tails = tail_norms(&unit, &widths);
        let mut first_dim = 0;
        for ((width, tail), (codes, [scale, error_norm, tail_norm])) in widths.iter().zip(tails).zip(&mut columns) {
            let start = codes.len();
            codes.resize(start + width, 0);
            let (s, e) = quantize(&unit[first_dim..first_dim + width], &mut codes[start..]);
            scale.push(s);
            error_norm.push(e);
            tail_norm.push(tail);
            first_dim += width;
        }
    }
    let mut first_dim = 0;
    let files =
        widths.iter().zip(&columns).enumerate().map(|(block, (width, (codes, [scale, error_norm, tail_norm])))| {
            let header = BlockHeader { layer: 1, block, first_dim, first_row: 0, inputs: "seeded".into() };
            first_dim += width;
            let file = block::write(&header, *width, &Columns { codes, scale, error_norm, tail_norm });
            file.expect("within the limits")
        });
    let files: Vec<Vec<u8>> = files.collect();
    files.iter().for_each(|file| block_files.bytes(file));

    let mut direction = || Direction::exact(&(0..d_model).map(|_| even(&mut random)).collect::<Vec<_>>());
    let [a, b] = [direction(), direction()];
    let combined = Direction::weighted_sum(&[(1.0, &a), (-0.25, &b)]).without(&b);
    let k = n_rows.div_ceil(10);
    for directions in [vec![a.clone()], vec![combined], vec![a, b]] {
        let query = Query::bank(&directions, &widths);
        let mut range = RangeScores::new(0, n_rows);
        for file in &files {
            range.add(&Block::parse(file).expect("just written"), &query).expect("the next block");
            let best = Best::of_lower_bounds(range.scores(), k);
            range.scores().for_each(|(row, score)| bounds.score(row, &score));
            let selected = select::select(select::candidates(range.scores(), best.threshold()), k);
            selected.top.iter().for_each(|candidate| selection.score(candidate.row, &candidate.score));
            selected.undecided.iter().for_each(|row| selection.bytes(&row.to_le_bytes()));
        }
        for score in Probe::new(&directions).scores(&shard) {
            scores.bytes(&score.to_bits().to_le_bytes());
        }
    }
    let [vector_files, block_files, bounds, selection, scores] =
        [vector_files, block_files, bounds, selection, scores].map(|hash| hash.hex());
    Fingerprint { vector_files, block_files, bounds, selection, scores }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_and_every_step_counts() {
        let one = fingerprint(1, 60, 130);
        assert_eq!(one, fingerprint(1, 60, 130));
        let other = fingerprint(2, 60, 130);
        assert_ne!(one.vector_files, other.vector_files);
        assert_ne!(one.block_files, other.block_files);
        assert_ne!(one.bounds, other.bounds);
        assert_ne!(one.selection, other.selection);
        assert_ne!(one.scores, other.scores);
    }
}
