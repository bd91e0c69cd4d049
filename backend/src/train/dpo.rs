//! Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290), sigmoid loss, with TRL's names.
//!
//! `loss = −log σ(beta · ((policy_chosen − policy_rejected) − (reference_chosen − reference_rejected)))`, where each
//! term is the summed log-probability of a response. The reference's terms are computed once, before training.
//!
//! That loss alone is content to make both responses less probable as long as the rejected one loses more, and small
//! models then lose their language. `rpo_alpha` (Pang et al. 2024, arXiv 2404.19733) adds the mean negative
//! log-probability of the chosen responses' tokens, so that what is preferred also stays sayable.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, activation};
use serde::Serialize;

use super::sequences::{Sequence, all_sequence_logps, sequence_logps};
use super::{Part, TrainConfig, TrainError, Trained, train};
use crate::model::CausalLm;
use crate::progress::Report;

/// Settings of preference optimization.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DpoConfig {
    /// How strongly the model is kept near the reference; inverse temperature of the loss.
    pub beta: f64,
    /// Weight of the chosen responses' negative log-probability; 0 = plain DPO.
    pub rpo_alpha: f64,
    /// The training run.
    #[serde(flatten)]
    pub train: TrainConfig,
}

/// Both sides of a preference pair, tokenized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequencePair {
    /// Prompt and preferred response.
    pub chosen: Sequence,
    /// Prompt and the other response.
    pub rejected: Sequence,
}

/// Summed log-probabilities of both responses of every pair, `[n_pairs]` each.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceLogps {
    /// Of the chosen responses.
    pub reference_chosen_logps: Vec<f32>,
    /// Of the rejected responses.
    pub reference_rejected_logps: Vec<f32>,
}

impl ReferenceLogps {
    /// Computes them with the reference model.
    pub fn compute(reference: &CausalLm, pairs: &[SequencePair]) -> Self {
        let of = |side: fn(&SequencePair) -> &Sequence| {
            let sequences: Vec<Sequence> = pairs.iter().map(|pair| side(pair).clone()).collect();
            all_sequence_logps(reference, &sequences)
        };
        Self { reference_chosen_logps: of(|pair| &pair.chosen), reference_rejected_logps: of(|pair| &pair.rejected) }
    }
}

/// Log-probabilities that the loss is made of, `[n_pairs]` each.
#[derive(Debug, Clone)]
pub struct Logps {
    /// The trained model's, chosen responses.
    pub policy_chosen_logps: Tensor<1>,
    /// The trained model's, rejected responses.
    pub policy_rejected_logps: Tensor<1>,
    /// The reference model's, chosen responses.
    pub reference_chosen_logps: Tensor<1>,
    /// The reference model's, rejected responses.
    pub reference_rejected_logps: Tensor<1>,
}

/// The sigmoid DPO loss of every pair, `[n_pairs]`, each > 0; log 2 where policy and reference agree.
pub fn dpo_loss(logps: Logps, beta: f64) -> Tensor<1> {
    let policy_logratios = logps.policy_chosen_logps - logps.policy_rejected_logps;
    let reference_logratios = logps.reference_chosen_logps - logps.reference_rejected_logps;
    -activation::log_sigmoid((policy_logratios - reference_logratios) * beta)
}

/// Trains `model`, which is also the reference, to prefer the chosen responses.
///
/// # Errors
///
/// [`TrainError`] when there are no pairs or the loss stops being finite.
pub fn optimize_preferences(
    model: CausalLm,
    pairs: &[SequencePair],
    config: &DpoConfig,
    report: Report,
) -> Result<Trained, TrainError> {
    let reference = ReferenceLogps::compute(&model, pairs);
    let lengths: Vec<usize> = pairs.iter().map(|pair| pair.chosen.ids.len().max(pair.rejected.ids.len())).collect();
    let loss = |model: &CausalLm, part: Part| -> Tensor<1> {
        let n_pairs = part.rows.len();
        let device = model.devices().remove(0);
        let chosen = part.rows.iter().map(|&row| &pairs[row].chosen);
        let rejected = part.rows.iter().map(|&row| &pairs[row].rejected);
        // Both sides in one batch: half the number of operations.
        let policy = sequence_logps(model, &chosen.chain(rejected).collect::<Vec<_>>(), &device);
        let constant = |values: &[f32]| {
            let rows: Vec<f32> = part.rows.iter().map(|&row| values[row]).collect();
            Tensor::<1>::from_data(TensorData::new(rows, [n_pairs]), &device)
        };
        let logps = Logps {
            policy_chosen_logps: policy.clone().narrow(0, 0, n_pairs),
            policy_rejected_logps: policy.narrow(0, n_pairs, n_pairs),
            reference_chosen_logps: constant(&reference.reference_chosen_logps),
            reference_rejected_logps: constant(&reference.reference_rejected_logps),
        };
        // Every chosen token of the batch weighs the same, whichever part it is in.
        let n_chosen_tokens: usize = part.batch.iter().map(|&row| pairs[row].chosen.n_response_tokens()).sum();
        let nll = -logps.policy_chosen_logps.clone().sum() / n_chosen_tokens as f64;
        dpo_loss(logps, config.beta).sum() / part.batch.len() as f64 + nll * config.rpo_alpha
    };
    train(model, &lengths, &config.train, &loss, report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, DeviceChoice};

    #[test]
    fn the_loss_equals_numbers_worked_out_by_hand() {
        let device = device::open(DeviceChoice::Cpu).unwrap().device;
        let tensor = |values: [f32; 3]| Tensor::<1>::from_floats(values, &device);
        let logps = Logps {
            policy_chosen_logps: tensor([-10.0, -5.0, -3.0]),
            policy_rejected_logps: tensor([-12.0, -9.0, -1.0]),
            reference_chosen_logps: tensor([-10.0, -8.0, -3.0]),
            reference_rejected_logps: tensor([-12.0, -7.0, -11.0]),
        };
        // Differences of log-ratios: 0, 5, −10; times 0.1; −log σ(0), −log σ(0.5), −log σ(−1).
        let losses = dpo_loss(logps, 0.1).into_data_as::<f32>();
        let losses = losses.as_slice::<f32>().unwrap();
        for (loss, expected) in losses.iter().zip([std::f32::consts::LN_2, 0.474_077, 1.313_261_7]) {
            assert!((loss - expected).abs() < 1e-6, "{losses:?}");
        }
    }
}
