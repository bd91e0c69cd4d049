//! Settings of a training run, named as in transformers' `TrainingArguments`, and the learning rate they ask for.

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::rounding::Weights;

/// How the learning rate goes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedulerType {
    /// Down to 0 in a straight line.
    Linear,
    /// Down to 0 along half a cosine.
    Cosine,
    /// It stays.
    Constant,
}

/// Settings of one training run. Fields that a file does not state take their defaults; unknown ones are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// How often every row is seen. Default 1.
    pub num_train_epochs: usize,
    /// Rows computed at once. Default 32.
    pub batch_size: usize,
    /// Batches per optimizer step: `batch_size × gradient_accumulation_steps` rows decide one step, as one large batch
    /// would, but for rounding. Default 1.
    pub gradient_accumulation_steps: usize,
    /// Highest learning rate. Default 1e-6.
    pub learning_rate: f64,
    /// How it goes after the warm-up. Default linear.
    pub lr_scheduler_type: LrSchedulerType,
    /// Share of the steps, 0 to 1, in which the learning rate rises from 0 in a straight line. Default 0.1.
    pub warmup_ratio: f64,
    /// AdamW's decay of the average of gradients. Default 0.9.
    pub adam_beta1: f64,
    /// AdamW's decay of the average of squared gradients. Default 0.999.
    pub adam_beta2: f64,
    /// Added to the root of the average of squared gradients. Default 1e-8.
    pub adam_epsilon: f64,
    /// AdamW's decoupled weight decay, of all trained weights. Default 0.
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm, over all weights together; 0 = never. Default 1.
    pub max_grad_norm: f64,
    /// Whether only the input of every layer is kept for the way back and the rest computed again: a third more time, and
    /// memory that hardly grows with depth. Default false.
    pub activation_checkpointing: bool,
    /// What the weights are rounded to after every step; the optimizer moves f32 master weights. See
    /// [`super::rounding`]. Default f32: nothing is rounded.
    #[serde(skip_serializing_if = "Weights::is_f32")]
    pub weights: Weights,
    /// Decides the order of the rows. Default 0.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            num_train_epochs: 1,
            batch_size: 32,
            gradient_accumulation_steps: 1,
            learning_rate: 1e-6,
            lr_scheduler_type: LrSchedulerType::Linear,
            warmup_ratio: 0.1,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            activation_checkpointing: false,
            weights: Weights::F32,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// Rows that decide one optimizer step.
    pub fn rows_per_step(&self) -> usize {
        self.batch_size * self.gradient_accumulation_steps
    }

    /// Refuses what makes no sense.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] names the setting.
    pub fn check(&self) -> Result<(), TrainError> {
        let positive = |key, n: usize| expect(n > 0, key, "at least 1", &n);
        let finite = |key, x: f64| expect(x.is_finite() && x >= 0.0, key, "a finite number ≥ 0", &x);
        let share = |key, x: f64| expect((0.0..1.0).contains(&x), key, "a number in [0, 1)", &x);
        positive("num_train_epochs", self.num_train_epochs)?;
        positive("batch_size", self.batch_size)?;
        positive("gradient_accumulation_steps", self.gradient_accumulation_steps)?;
        finite("learning_rate", self.learning_rate)?;
        finite("adam_epsilon", self.adam_epsilon)?;
        finite("weight_decay", self.weight_decay)?;
        finite("max_grad_norm", self.max_grad_norm)?;
        expect((0.0..=1.0).contains(&self.warmup_ratio), "warmup_ratio", "a number in [0, 1]", &self.warmup_ratio)?;
        share("adam_beta1", self.adam_beta1)?;
        share("adam_beta2", self.adam_beta2)
    }

    /// The learning rate of step `step` (from 0) of `n_steps`. The first step of a warm-up has one share of the full rate,
    /// not 0, so that it is not wasted.
    pub fn learning_rate_at(&self, step: usize, n_steps: usize) -> f64 {
        let n_warmup = (self.warmup_ratio * n_steps as f64).ceil();
        let (step, n_steps) = (step as f64, n_steps as f64);
        let left = (n_steps - step) / (n_steps - n_warmup).max(1.0);
        let factor = if step < n_warmup {
            (step + 1.0) / n_warmup
        } else {
            match self.lr_scheduler_type {
                LrSchedulerType::Linear => left,
                LrSchedulerType::Cosine => 0.5 * (1.0 - (std::f64::consts::PI * left).cos()),
                LrSchedulerType::Constant => 1.0,
            }
        };
        self.learning_rate * factor
    }
}

/// [`TrainError::Config`] unless `holds`.
pub(super) fn expect(
    holds: bool,
    key: &'static str,
    expected: &'static str,
    got: &impl ToString,
) -> Result<(), TrainError> {
    if holds { Ok(()) } else { Err(TrainError::Config { key, expected, got: got.to_string() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lr_scheduler_type: LrSchedulerType) -> TrainConfig {
        TrainConfig { learning_rate: 1.0, lr_scheduler_type, ..TrainConfig::default() }
    }

    #[test]
    fn learning_rate_rises_then_falls_linearly() {
        let config = config(LrSchedulerType::Linear);
        let rates: Vec<f64> = (0..20).map(|step| config.learning_rate_at(step, 20)).collect();
        assert_eq!(&rates[..3], &[0.5, 1.0, 1.0]);
        assert!(rates[2..].windows(2).all(|w| w[0] > w[1]));
        assert!(rates[19] > 0.0 && rates[19] < 0.06);
        assert_eq!(config.learning_rate_at(0, 1), 1.0, "a single step has the full rate");
    }

    #[test]
    fn cosine_is_half_way_down_in_the_middle_and_constant_stays() {
        let cosine = config(LrSchedulerType::Cosine);
        assert!((cosine.learning_rate_at(11, 20) - 0.5).abs() < 1e-12);
        assert_eq!(cosine.learning_rate_at(2, 20), 1.0);
        assert!(cosine.learning_rate_at(19, 20) < 0.01);
        let constant = config(LrSchedulerType::Constant);
        assert_eq!([0, 2, 19].map(|step| constant.learning_rate_at(step, 20)), [0.5, 1.0, 1.0]);
    }

    #[test]
    fn unknown_settings_are_refused_and_missing_ones_have_defaults() {
        let read: TrainConfig =
            serde_json::from_str(r#"{"learning_rate": 0.5, "lr_scheduler_type": "cosine"}"#).unwrap();
        assert_eq!(read, TrainConfig { learning_rate: 0.5, ..config(LrSchedulerType::Cosine) });
        let error = serde_json::from_str::<TrainConfig>(r#"{"learning_rat": 0.5}"#).unwrap_err().to_string();
        assert!(error.contains("learning_rat"), "{error}");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let error = TrainConfig { batch_size: 0, ..TrainConfig::default() }.check().unwrap_err().to_string();
        assert_eq!(error, "batch_size: expected at least 1, got 0");
        let error = TrainConfig { adam_beta2: 1.0, ..TrainConfig::default() }.check().unwrap_err().to_string();
        assert!(error.starts_with("adam_beta2: expected a number in [0, 1)"), "{error}");
    }
}
