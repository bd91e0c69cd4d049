//! Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290), with TRL's and open-instruct's names.
//!
//! With `h = (policy_chosen − policy_rejected) − (reference_chosen − reference_rejected)`, every term the log-probability
//! of a response, a pair's loss is one of
//!
//! ```text
//! sigmoid    terms are sums over tokens     −(1 − label_smoothing) log σ(beta h) − label_smoothing log σ(−beta h)
//! dpo_norm   terms are means over tokens    the same (open-instruct; Lambert et al. 2024, arXiv 2411.15124)
//! ipo        terms are means over tokens    (h − 1 / (2 beta))²  (Azar et al. 2023, arXiv 2310.12036, as in TRL)
//! ```
//!
//! and the loss of a step is the mean over its pairs. Label smoothing is the share of pairs that are taken to be labeled
//! the wrong way round (conservative DPO). The reference's terms are computed once, before training.
//!
//! Such a loss is content to make both responses less probable as long as the rejected one loses more, and small models
//! then lose their language. `rpo_alpha` (Pang et al. 2024, arXiv 2404.19733) adds the mean negative log-probability of
//! the chosen responses' tokens, so that what is preferred also stays sayable.

use burn::tensor::{Tensor, TensorData, activation};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::config::expect;
use super::rounding::Weights;
use super::sequences::{Sequence, sums_by_sequence};
use super::{
    Objective, Part, PartLoss, PreferenceSums, ReferenceLogps, Run, TrainConfig, TrainError, Trained, checkpoint,
    reference, train,
};
use crate::attribute::expression::similar;
use crate::model::CausalLm;

/// Which loss a pair has; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// DPO as published.
    Sigmoid,
    /// Length-normalised DPO.
    DpoNorm,
    /// Identity preference optimization.
    Ipo,
}

impl LossType {
    /// Whether responses enter by their mean log-probability per token, not by the sum.
    pub fn takes_means(self) -> bool {
        self != Self::Sigmoid
    }
}

/// Settings of preference optimization; in files, those of the training run stand beside its own. Fields that a file does
/// not state take their defaults; unknown ones are refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DpoConfig {
    /// The loss of a pair. Default sigmoid.
    pub loss_type: LossType,
    /// How strongly the model is kept near the reference, > 0. Default 0.1, as in TRL; `dpo_norm` wants about 5.
    pub beta: f64,
    /// Share of pairs taken to be labeled the wrong way round, 0 ≤ … < 0.5; not for `ipo`. Default 0.
    pub label_smoothing: f64,
    /// Weight of the chosen responses' negative log-probability; 0 = none. Default 0.
    pub rpo_alpha: f64,
    /// The training run.
    #[serde(flatten)]
    pub train: TrainConfig,
}

impl Default for DpoConfig {
    fn default() -> Self {
        let train = TrainConfig::default();
        Self { loss_type: LossType::Sigmoid, beta: 0.1, label_smoothing: 0.0, rpo_alpha: 0.0, train }
    }
}

impl<'de> Deserialize<'de> for DpoConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Written by hand: serde cannot both flatten and refuse unknown fields.
        let mut fields = Map::deserialize(deserializer)?;
        let mut config = Self::default();
        fn take<T: for<'a> Deserialize<'a>, E: serde::de::Error>(
            fields: &mut Map<String, Value>,
            key: &str,
            slot: &mut T,
        ) -> Result<(), E> {
            if let Some(value) = fields.remove(key) {
                *slot = serde_json::from_value(value).map_err(|error| E::custom(format!("{key}: {error}")))?;
            }
            Ok(())
        }
        take(&mut fields, "loss_type", &mut config.loss_type)?;
        take(&mut fields, "beta", &mut config.beta)?;
        take(&mut fields, "label_smoothing", &mut config.label_smoothing)?;
        take(&mut fields, "rpo_alpha", &mut config.rpo_alpha)?;
        // Names of the loss and of the run together: those of the run alone would hide what was meant.
        let known = setting_names();
        if let Some(name) = fields.keys().find(|name| !known.contains(name)) {
            let meant = match similar(name, &known).as_slice() {
                [] => String::new(),
                meant => format!("did you mean {}? ", meant.join(" or ")),
            };
            let known = known.join(", ");
            return Err(serde::de::Error::custom(format!("unknown field `{name}`: {meant}expected one of {known}")));
        }
        config.train = serde_json::from_value(Value::Object(fields)).map_err(serde::de::Error::custom)?;
        Ok(config)
    }
}

/// Names of all settings, as files have them.
fn setting_names() -> Vec<String> {
    // Weights that nothing rounds are left out of files.
    let train = TrainConfig { weights: Weights::Bf16, ..TrainConfig::default() };
    let settings = serde_json::to_value(DpoConfig { train, ..DpoConfig::default() }).expect("settings serialize");
    settings.as_object().into_iter().flat_map(Map::keys).cloned().collect()
}

impl DpoConfig {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] names the setting.
    pub fn check(&self) -> Result<(), TrainError> {
        expect(self.beta.is_finite() && self.beta > 0.0, "beta", "a number > 0", &self.beta)?;
        let is_share = (0.0..0.5).contains(&self.label_smoothing);
        expect(is_share, "label_smoothing", "a number in [0, 0.5)", &self.label_smoothing)?;
        let is_meant = self.label_smoothing == 0.0 || self.loss_type != LossType::Ipo;
        expect(is_meant, "label_smoothing", "0 with loss_type ipo, which has no such term", &self.label_smoothing)?;
        let is_weight = self.rpo_alpha.is_finite() && self.rpo_alpha >= 0.0;
        expect(is_weight, "rpo_alpha", "a finite number ≥ 0", &self.rpo_alpha)?;
        self.train.check()
    }
}

/// Both sides of a preference pair, tokenized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequencePair {
    /// The pair's id.
    pub id: String,
    /// Prompt and preferred response.
    pub chosen: Sequence,
    /// Prompt and the other response.
    pub rejected: Sequence,
    /// Whether `chosen` is what the data calls rejected, and the other way round.
    pub is_switched: bool,
}

impl SequencePair {
    /// The pair with its sides swapped.
    #[must_use]
    pub fn switched(self) -> Self {
        Self { chosen: self.rejected, rejected: self.chosen, is_switched: !self.is_switched, ..self }
    }
}

/// Log-probabilities that the loss is made of, `[n_pairs]` each: sums or means over tokens.
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

/// The loss of every pair without the `rpo_alpha` term, `[n_pairs]`; see the [module](self).
pub fn dpo_loss(logps: Logps, config: &DpoConfig) -> Tensor<1> {
    let policy_logratios = logps.policy_chosen_logps - logps.policy_rejected_logps;
    let reference_logratios = logps.reference_chosen_logps - logps.reference_rejected_logps;
    let logits = policy_logratios - reference_logratios;
    let beta = config.beta;
    if config.loss_type == LossType::Ipo {
        return (logits - 1.0 / (2.0 * beta)).square();
    }
    let logits = logits * beta;
    if config.label_smoothing == 0.0 {
        return -activation::log_sigmoid(logits);
    }
    let right = activation::log_sigmoid(logits.clone()) * (1.0 - config.label_smoothing);
    -right - activation::log_sigmoid(-logits) * config.label_smoothing
}

/// Prefers the chosen responses of pairs.
#[derive(Debug, Clone, Copy)]
pub struct DpoObjective<'a> {
    /// The training set.
    pub pairs: &'a [SequencePair],
    /// The reference model's log-probabilities, one of each per pair.
    pub reference: &'a ReferenceLogps,
    /// Settings.
    pub config: &'a DpoConfig,
}

impl Objective for DpoObjective<'_> {
    fn stage(&self) -> &'static str {
        "dpo"
    }

    fn n_rows(&self) -> usize {
        self.pairs.len()
    }

    fn row_id(&self, row: usize) -> String {
        self.pairs[row].id.clone()
    }

    /// Chosen ones first: both sides in one batch are half the number of operations.
    fn sequences(&self, rows: &[usize]) -> Vec<&Sequence> {
        let chosen = rows.iter().map(|&row| &self.pairs[row].chosen);
        chosen.chain(rows.iter().map(|&row| &self.pairs[row].rejected)).collect()
    }

    fn loss(&self, part: Part, token_logps: Tensor<1>) -> PartLoss {
        let (n_pairs, device) = (part.rows.len(), token_logps.device());
        let sequences = self.sequences(part.rows);
        let sums = sums_by_sequence(token_logps, &sequences);
        let n_chosen_tokens: usize = part.step.iter().map(|&row| self.pairs[row].chosen.n_response_tokens()).sum();
        // Every chosen token of the step weighs the same, whichever part it is in.
        let nll = -sums.clone().narrow(0, 0, n_pairs).sum() / n_chosen_tokens as f64;
        let n_tokens = |sequence: &Sequence| match self.config.loss_type.takes_means() {
            true => sequence.n_response_tokens() as f32,
            false => 1.0,
        };
        let constant = |values: Vec<f32>| {
            let n = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [n]), &device)
        };
        let policy = match self.config.loss_type.takes_means() {
            true => sums / constant(sequences.iter().map(|sequence| n_tokens(sequence)).collect()),
            false => sums,
        };
        let reference = |values: &[f32], side: fn(&SequencePair) -> &Sequence| {
            part.rows.iter().map(|&row| values[row] / n_tokens(side(&self.pairs[row]))).collect::<Vec<f32>>()
        };
        let reference_chosen = reference(&self.reference.reference_chosen_logps, |pair| &pair.chosen);
        let reference_rejected = reference(&self.reference.reference_rejected_logps, |pair| &pair.rejected);
        let values = policy.clone().into_data_as::<f32>();
        let values = values.as_slice::<f32>().expect("converted to f32");
        let preferences = self.preferences(values, &reference_chosen, &reference_rejected);
        let logps = Logps {
            policy_chosen_logps: policy.clone().narrow(0, 0, n_pairs),
            policy_rejected_logps: policy.narrow(0, n_pairs, n_pairs),
            reference_chosen_logps: constant(reference_chosen),
            reference_rejected_logps: constant(reference_rejected),
        };
        let mut loss = dpo_loss(logps, self.config).sum() / part.step.len() as f64;
        if self.config.rpo_alpha > 0.0 {
            loss = loss + nll * self.config.rpo_alpha;
        }
        PartLoss { loss, preferences: Some(preferences) }
    }

    fn settings(&self) -> Value {
        let mut settings = serde_json::to_value(self.config).expect("plain data serializes");
        settings["objective"] = Value::from("dpo");
        settings
    }

    fn sha256(&self) -> String {
        let sides = self.pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]);
        let reference = [&self.reference.reference_chosen_logps, &self.reference.reference_rejected_logps];
        checkpoint::sequences_sha256(sides, &reference.map(Vec::as_slice))
    }
}

impl DpoObjective<'_> {
    /// `policy` has the chosen responses' numbers first, then the rejected ones'.
    fn preferences(&self, policy: &[f32], reference_chosen: &[f32], reference_rejected: &[f32]) -> PreferenceSums {
        let (chosen, rejected) = policy.split_at(reference_chosen.len());
        let mut sums = PreferenceSums::default();
        for i in 0..chosen.len() {
            let reward = |policy: f32, reference: f32| self.config.beta * (f64::from(policy) - f64::from(reference));
            let rewards = [reward(chosen[i], reference_chosen[i]), reward(rejected[i], reference_rejected[i])];
            sums.rewards_chosen += rewards[0];
            sums.rewards_rejected += rewards[1];
            sums.n_accurate += f64::from(u8::from(rewards[0] > rewards[1]));
            sums.logps_chosen += f64::from(chosen[i]);
            sums.logps_rejected += f64::from(rejected[i]);
        }
        sums
    }
}

/// Trains `model` to prefer the chosen responses. Without `reference`, the model as it is given is its own reference.
///
/// # Errors
///
/// As [`train`]; and when there are not as many reference log-probabilities as pairs.
pub fn optimize_preferences(
    model: CausalLm,
    pairs: &[SequencePair],
    reference: Option<&ReferenceLogps>,
    config: &DpoConfig,
    run: &Run,
) -> Result<Trained, TrainError> {
    config.check()?;
    let computed;
    let reference = match reference {
        Some(reference) => reference,
        None => {
            computed = ReferenceLogps::compute(&model, pairs, run.report)?;
            &computed
        }
    };
    reference::check_lengths(reference, pairs)?;
    train(model, &DpoObjective { pairs, reference, config }, &config.train, run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, DeviceChoice};

    fn losses(config: &DpoConfig) -> Vec<f32> {
        let device = device::open(DeviceChoice::Cpu).unwrap().device;
        let tensor = |values: [f32; 3]| Tensor::<1>::from_floats(values, &device);
        let logps = Logps {
            policy_chosen_logps: tensor([-10.0, -5.0, -3.0]),
            policy_rejected_logps: tensor([-12.0, -9.0, -1.0]),
            reference_chosen_logps: tensor([-10.0, -8.0, -3.0]),
            reference_rejected_logps: tensor([-12.0, -7.0, -11.0]),
        };
        dpo_loss(logps, config).into_data_as::<f32>().as_slice::<f32>().unwrap().to_vec()
    }

    #[test]
    fn the_loss_equals_numbers_worked_out_by_hand() {
        // Differences of log-ratios: 0, 5, −10; times 0.1; −log σ(0), −log σ(0.5), −log σ(−1).
        let expect = |config: DpoConfig, expected: [f32; 3]| {
            let losses = losses(&config);
            for (loss, expected) in losses.iter().zip(expected) {
                assert!((loss - expected).abs() < 2e-6 * expected.max(1.0), "{config:?}: {losses:?}");
            }
        };
        let plain = DpoConfig::default();
        expect(plain.clone(), [std::f32::consts::LN_2, 0.474_077, 1.313_261_7]);
        expect(
            DpoConfig { loss_type: LossType::DpoNorm, ..plain.clone() },
            [std::f32::consts::LN_2, 0.474_077, 1.313_261_7],
        );
        // 0.9 · −log σ(x) + 0.1 · −log σ(−x), and −log σ(−x) = −log σ(x) + x.
        expect(DpoConfig { label_smoothing: 0.1, ..plain.clone() }, [std::f32::consts::LN_2, 0.524_077, 1.213_261_7]);
        // (h − 5)².
        expect(DpoConfig { loss_type: LossType::Ipo, ..plain }, [25.0, 0.0, 225.0]);
    }

    #[test]
    fn settings_of_loss_and_run_stand_side_by_side_and_unknown_ones_are_refused() {
        let text = r#"{"loss_type": "dpo_norm", "beta": 5, "learning_rate": 1e-6, "batch_size": 128}"#;
        let config: DpoConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.loss_type, config.beta, config.train.batch_size), (LossType::DpoNorm, 5.0, 128));
        let again: DpoConfig = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        for (text, named) in
            [(r#"{"betta": 1}"#, "betta"), (r#"{"beta": "x"}"#, "beta"), (r#"{"loss_type": "hinge"}"#, "hinge")]
        {
            let error = serde_json::from_str::<DpoConfig>(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let error = serde_json::from_str::<DpoConfig>(r#"{"betta": 1}"#).unwrap_err().to_string();
        let parts =
            ["unknown field `betta`: did you mean beta? ", "label_smoothing", "rpo_alpha", "loss_type", "weights"];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        let known =
            serde_json::from_str::<DpoConfig>(r#"{"weights": "f16", "rpo_alpha": 1, "warmup_ratio": 0}"#).unwrap();
        assert_eq!((known.rpo_alpha, known.train.weights), (1.0, Weights::F16));
    }

    #[test]
    fn label_smoothing_is_refused_with_ipo() {
        let config = DpoConfig { loss_type: LossType::Ipo, label_smoothing: 0.1, ..DpoConfig::default() };
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("label_smoothing") && error.contains("ipo"), "{error}");
    }
}
