//! Where vectors come from: the seam between the verb, which walks a study and writes files, and what computes.
//!
//! [`super::pipeline`] asks a [`BlockSource`] for one row range after the other and never knows whether a model on a
//! device answers ([`super::Differ`]) or a generator of made-up numbers, as in tests of scale.

use whence_shared::pair::Pair;

use super::differ::{Block, BlockProgress};
use crate::model::ModelError;

/// Turns pairs into vectors. One per worker: each owns a device, or a share of one.
pub trait BlockSource: Sync {
    /// Pairs made ready to compute: tokenised, and what is to be said about them.
    type Prepared: Send;

    /// Makes a row range ready. Called on any thread, while devices compute other ranges; touches no device. Every
    /// source of a run prepares alike: what one has prepared another may compute.
    fn prepare(&self, pairs: &[Pair]) -> Self::Prepared;

    /// Vectors of prepared pairs at `layers` (ascending, 0 = embeddings; may be empty when only log-probabilities are
    /// asked for). The first pair is row `first_row` of its study; remarks name rows of the study.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when the device fails. Pairs that cannot be read are no error: they are remarked on.
    fn compute(
        &self,
        prepared: &Self::Prepared,
        first_row: usize,
        layers: &[usize],
        progress: BlockProgress,
    ) -> Result<Block, ModelError>;
}
