//! Which rows decide which step, in which order: seeded, and the same for every split of a step into batches.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::TrainConfig;

/// Steps among whose rows are sorted by length, so that little is padded.
const STEPS_PER_BUCKET: usize = 8;

/// The rows of every step of a run. `row_lengths` are in tokens and decide which rows share a step.
pub fn steps(row_lengths: &[usize], config: &TrainConfig) -> Vec<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    (0..config.num_train_epochs).flat_map(|_| epoch(row_lengths, config.rows_per_step(), &mut rng)).collect()
}

/// One epoch's steps: shuffled rows, sorted by length within runs of a few steps, steps shuffled again.
fn epoch(row_lengths: &[usize], n_rows: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let mut rows: Vec<usize> = (0..row_lengths.len()).collect();
    rows.shuffle(rng);
    let mut steps = Vec::new();
    for bucket in rows.chunks_mut(n_rows * STEPS_PER_BUCKET) {
        bucket.sort_by_key(|&row| row_lengths[row]);
        steps.extend(bucket.chunks(n_rows).map(<[usize]>::to_vec));
    }
    steps.shuffle(rng);
    steps
}

/// A batch's rows dealt out in turn to at most `n_parts`, so that parts of a batch sorted by length have equal lengths.
pub fn parts(batch: &[usize], n_parts: usize) -> Vec<Vec<usize>> {
    (0..n_parts.min(batch.len())).map(|part| batch.iter().copied().skip(part).step_by(n_parts).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_sees_every_row_once() {
        let lengths: Vec<usize> = (0..103).map(|i| (i * 37) % 50).collect();
        let steps = epoch(&lengths, 4, &mut ChaCha8Rng::seed_from_u64(3));
        let mut rows: Vec<usize> = steps.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..103).collect::<Vec<_>>());
        assert!(steps.iter().all(|step| (1..=4).contains(&step.len())));
    }

    #[test]
    fn accumulation_does_not_change_which_rows_decide_a_step() {
        let lengths: Vec<usize> = (0..50).map(|i| (i * 7) % 13).collect();
        let of = |batch_size, gradient_accumulation_steps| {
            steps(&lengths, &TrainConfig { batch_size, gradient_accumulation_steps, ..TrainConfig::default() })
        };
        assert_eq!(of(8, 1), of(2, 4));
        assert_ne!(of(8, 1), of(4, 1));
    }

    #[test]
    fn parts_cover_a_batch_in_turn() {
        assert_eq!(parts(&[5, 6, 7, 8, 9], 2), [vec![5, 7, 9], vec![6, 8]]);
        assert_eq!(parts(&[5], 2), [vec![5]]);
    }
}
