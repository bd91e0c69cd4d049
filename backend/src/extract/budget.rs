//! How many tokens a device takes at once: batches are cut to a budget that halves when the device runs out of memory.
//!
//! [`in_batches`] knows nothing of devices or models: it cuts work into batches, hands each to a closure, and when the
//! closure says that a batch did not fit, goes on with smaller ones. A [`Budget`] outlives a block of pairs, so what one
//! batch has learnt holds for all that follow.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Most tokens in one padded batch; only ever shrinks. Shared by the workers of a device.
#[derive(Debug)]
pub struct Budget {
    n_tokens: AtomicUsize,
    has_said: AtomicBool,
}

impl Budget {
    /// A budget of `n_tokens`, padding included.
    pub fn new(n_tokens: usize) -> Self {
        Self { n_tokens: AtomicUsize::new(n_tokens.max(1)), has_said: AtomicBool::new(false) }
    }

    /// What it is now.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens.load(Ordering::Relaxed)
    }

    /// A batch of `n_tokens` did not fit: half of that from now on. Said once, however often it happens.
    fn halve(&self, n_tokens: usize) {
        let half = (n_tokens / 2).max(1);
        self.n_tokens.fetch_min(half, Ordering::Relaxed);
        if !self.has_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "out of device memory with {n_tokens} tokens in a batch: going on with {half}, and with less if that does \
                 not fit either; --batch-tokens {half} starts there"
            );
        }
    }
}

/// Why a piece of work could not be done.
#[derive(Debug, PartialEq, Eq)]
pub enum BatchError<E> {
    /// One item alone does not fit.
    Alone {
        /// Its index in the work.
        index: usize,
        /// What the closure said.
        source: E,
    },
    /// Something else than memory.
    Other(E),
}

/// Computes `work`, longest item first, in batches whose padded size (items × length of the longest) is within the
/// budget, at least one item each. Returns one result per item, in the order of `work`.
///
/// `compute` returns one result per item of the batch it is given; `is_no_room` tells which of its errors mean that the
/// batch did not fit. Then the budget halves and the same items are tried again in smaller batches.
///
/// # Errors
///
/// [`BatchError::Alone`] when a single item does not fit, [`BatchError::Other`] with any other error.
pub fn in_batches<T, R, E>(
    work: &[T],
    budget: &Budget,
    n_tokens: impl Fn(&T) -> usize,
    is_no_room: impl Fn(&E) -> bool,
    mut compute: impl FnMut(&[T]) -> Result<Vec<R>, E>,
) -> Result<Vec<R>, BatchError<E>> {
    let mut results = Vec::with_capacity(work.len());
    while let Some(longest) = work.get(results.len()) {
        let rest = &work[results.len()..];
        let length = n_tokens(longest).max(1);
        let n = (budget.n_tokens() / length).clamp(1, rest.len());
        match compute(&rest[..n]) {
            Ok(batch) => results.extend(batch),
            Err(source) if !is_no_room(&source) => return Err(BatchError::Other(source)),
            Err(source) if n == 1 => return Err(BatchError::Alone { index: results.len(), source }),
            // The size of this batch and not the budget: the last batch of a block may be far smaller.
            Err(_) => budget.halve(n * length),
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device with room for so many padded tokens; notes the sizes of the batches that it was given.
    fn device(room: usize, sizes: &mut Vec<usize>) -> impl FnMut(&[usize]) -> Result<Vec<usize>, &'static str> {
        move |batch| {
            sizes.push(batch.len());
            let padded = batch.len() * batch[0];
            if padded > room { Err("no room") } else { Ok(batch.to_vec()) }
        }
    }

    fn run(work: &[usize], budget: &Budget, room: usize) -> (Result<Vec<usize>, BatchError<&'static str>>, Vec<usize>) {
        let mut sizes = Vec::new();
        let results = in_batches(work, budget, |n| *n, |error| *error == "no room", device(room, &mut sizes));
        (results, sizes)
    }

    const WORK: [usize; 9] = [50, 40, 30, 30, 20, 10, 10, 10, 5];

    #[test]
    fn whatever_the_budget_and_the_room_the_results_are_the_same() {
        for tokens in [1, 50, 99, 100, 450, 100_000] {
            for room in [50, 51, 120, 1000] {
                let (results, sizes) = run(&WORK, &Budget::new(tokens), room);
                assert_eq!(results.unwrap(), WORK, "budget {tokens}, room {room}, batches {sizes:?}");
            }
        }
    }

    #[test]
    fn the_budget_halves_until_a_batch_fits_and_stays_there() {
        let budget = Budget::new(400);
        let (results, sizes) = run(&WORK, &budget, 120);
        assert!(results.is_ok());
        // 8 × 50 = 400 do not fit, 4 × 50 = 200 neither, 2 × 50 = 100 do.
        assert_eq!(sizes[..3], [8, 4, 2]);
        assert_eq!(budget.n_tokens(), 100);
        let (_, sizes) = run(&WORK, &budget, 120);
        assert_eq!(sizes[0], 2, "the next block starts with what fitted");
    }

    #[test]
    fn an_absurd_budget_shrinks_from_the_size_of_the_batch() {
        let budget = Budget::new(1 << 40);
        let (results, sizes) = run(&WORK, &budget, 50);
        assert!(results.is_ok());
        assert!(sizes.len() < 20, "{sizes:?}");
    }

    #[test]
    fn one_item_that_does_not_fit_is_named() {
        let (results, _) = run(&[50, 40, 30], &Budget::new(1000), 45);
        assert_eq!(results, Err(BatchError::Alone { index: 0, source: "no room" }));
    }

    #[test]
    fn other_errors_pass_at_once() {
        let budget = Budget::new(1000);
        let mut n_calls = 0;
        let failing = |_: &[usize]| -> Result<Vec<usize>, &str> {
            n_calls += 1;
            Err("lost")
        };
        let results = in_batches(&WORK, &budget, |n| *n, |error| *error == "no room", failing);
        assert_eq!(results, Err(BatchError::Other("lost")));
        assert_eq!((n_calls, budget.n_tokens()), (1, 1000));
    }

    #[test]
    fn no_work_is_no_batch() {
        assert_eq!(run(&[], &Budget::new(10), 10), (Ok(vec![]), vec![]));
    }
}
