//! Supervised fine-tuning: the mean negative log-probability of response tokens.

use burn::module::Module;
use burn::tensor::Tensor;

use super::sequences::{Sequence, token_logps};
use super::{Part, TrainConfig, TrainError, Trained, train};
use crate::model::CausalLm;
use crate::progress::Report;

/// Fine-tunes `model` to give the responses of `sequences`.
///
/// # Errors
///
/// [`TrainError`] when there are no sequences or the loss stops being finite.
pub fn fine_tune(
    model: CausalLm,
    sequences: &[Sequence],
    config: &TrainConfig,
    report: Report,
) -> Result<Trained, TrainError> {
    let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
    let loss = |model: &CausalLm, part: Part| -> Tensor<1> {
        let rows: Vec<&Sequence> = part.rows.iter().map(|&row| &sequences[row]).collect();
        // Every response token of the batch weighs the same, whichever part it is in.
        let n_tokens: usize = part.batch.iter().map(|&row| sequences[row].n_response_tokens()).sum();
        let device = model.devices().remove(0);
        -token_logps(model, &rows, &device).sum() / n_tokens as f64
    };
    train(model, &lengths, config, &loss, report)
}
