//! Supervised fine-tuning: the mean negative log-probability of response tokens.

use burn::tensor::Tensor;
use serde_json::{Value, json};

use super::sequences::Sequence;
use super::{Objective, Part, PartLoss, Run, TrainConfig, TrainError, Trained, checkpoint, train};
use crate::model::CausalLm;

/// Makes the responses of sequences more probable; every response token of a step weighs the same.
#[derive(Debug, Clone, Copy)]
pub struct SftObjective<'a> {
    /// The training set.
    pub sequences: &'a [Sequence],
}

impl Objective for SftObjective<'_> {
    fn stage(&self) -> &'static str {
        "sft"
    }

    fn n_rows(&self) -> usize {
        self.sequences.len()
    }

    fn row_id(&self, row: usize) -> String {
        row.to_string()
    }

    fn sequences(&self, rows: &[usize]) -> Vec<&Sequence> {
        rows.iter().map(|&row| &self.sequences[row]).collect()
    }

    fn loss(&self, part: Part, token_logps: Tensor<1>) -> PartLoss {
        let n_tokens: usize = part.step.iter().map(|&row| self.sequences[row].n_response_tokens()).sum();
        PartLoss { loss: -token_logps.sum() / n_tokens as f64, preferences: None }
    }

    fn settings(&self) -> Value {
        json!({"objective": "sft"})
    }

    fn sha256(&self) -> String {
        checkpoint::sequences_sha256(self.sequences.iter(), &[])
    }
}

/// Fine-tunes `model` to give the responses of `sequences`.
///
/// # Errors
///
/// As [`train`].
pub fn fine_tune(
    model: CausalLm,
    sequences: &[Sequence],
    config: &TrainConfig,
    run: &Run,
) -> Result<Trained, TrainError> {
    train(model, &SftObjective { sequences }, config, run)
}
