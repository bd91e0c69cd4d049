//! A behavior by layer: how well its direction separates responses at each, and what adding it there does to a model.
//! What `whence sweep` leaves to be read, `behaviors/NAME/sweep.json`.

use serde::{Deserialize, Serialize};

use crate::statistics::interval::Measured;
use crate::statistics::separation::Separation;

/// The value of [`SweepView::format`].
pub const FORMAT: &str = "whence.sweep/1";

/// A behavior by layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepView {
    /// [`FORMAT`].
    pub format: String,
    /// Name of the behavior.
    pub behavior: String,
    /// [`crate::study::BehaviorView::inputs`] of the behavior that was swept: another value there means that the behavior
    /// was defined anew since.
    pub inputs: String,
    /// Name of the model that read and was steered.
    pub model: String,
    /// What was separated.
    pub separated: Separated,
    /// How the model was steered, if it was.
    pub steering: Option<SteeringView>,
    /// By layer, ascending.
    pub layers: Vec<LayerSweep>,
}

/// The responses that directions were to separate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Separated {
    /// Prompts of these responses.
    pub n_prompts: usize,
    /// Responses that show the behavior.
    pub n_shown: usize,
    /// Responses that do not.
    pub n_not_shown: usize,
    /// Judged responses that could not be read, such as empty ones, and are left out.
    #[serde(default)]
    pub n_unreadable: usize,
    /// Whether they are the behavior's own response pairs, r1 of the tuned model and r0 of the reference model; else they
    /// are judged rollouts.
    pub is_of_pairs: bool,
    /// Folds of the cross-validation; 0 when there was none.
    pub n_folds: usize,
    /// Seed that dealt prompts into folds and drew the random directions.
    pub seed: u64,
    /// Why nothing could be measured; none when it was.
    pub undefined: Option<String>,
}

/// How the model was steered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SteeringView {
    /// Name of the judge.
    pub judge: String,
    /// Test prompts.
    pub n_prompts: usize,
    /// Of these, prompts that the direction was made of.
    pub n_own_prompts: usize,
    /// Rollouts of each prompt.
    pub n_samples: usize,
    /// What the logits were divided by; 0 = greedy.
    pub temperature: f64,
    /// Most tokens of a rollout.
    pub max_new_tokens: usize,
    /// `response`: added to the prompt's last token and every generated one; `all`: to the whole prompt as well.
    pub positions: String,
    /// Share of rollouts that show the behavior without steering.
    pub unsteered: Measured,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerSweep {
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// Length of the behavior's direction.
    pub direction_norm: f64,
    /// Mean length of the residual stream over tokens of responses without the behavior: what α is in units of.
    pub residual_norm: f64,
    /// How well directions separate; none where it could not be measured at all.
    pub separation: Option<Separation>,
    /// Verdict rates under steering, α ascending.
    pub steered: Vec<Steered>,
}

/// Verdict rates under steering with one strength.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Steered {
    /// Length of the added vector, in units of the layer's [`LayerSweep::residual_norm`]; negative = against the direction.
    pub alpha: f64,
    /// Share of rollouts that show the behavior, along the behavior's direction.
    pub rate: Measured,
    /// The same along a random direction.
    pub random: Measured,
}

impl LayerSweep {
    /// The strength whose rate exceeds that of a random direction most, with the excess; the smallest such |α|.
    pub fn strongest(&self) -> Option<(Steered, f64)> {
        let excess = |steered: &Steered| steered.rate.value - steered.random.value;
        let best = self
            .steered
            .iter()
            .copied()
            .max_by(|a, b| excess(a).total_cmp(&excess(b)).then(b.alpha.abs().total_cmp(&a.alpha.abs())));
        best.map(|steered| (steered, excess(&steered)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::interval::{Covers, Interval};

    #[test]
    fn the_strongest_steering_is_that_furthest_above_chance() {
        let rate = |value: f64| {
            let interval = Interval { low: value, high: value, level: 0.95, covers: Covers::PromptsRollouts };
            Measured { value, interval }
        };
        let steered = |alpha, along, random| Steered { alpha, rate: rate(along), random: rate(random) };
        let mut layer = LayerSweep {
            layer: 2,
            direction_norm: 1.0,
            residual_norm: 3.0,
            separation: None,
            steered: vec![steered(0.5, 0.75, 0.25), steered(1.0, 1.0, 0.5), steered(2.0, 1.0, 0.75)],
        };
        let (best, excess) = layer.strongest().unwrap();
        assert_eq!((best.alpha, excess), (0.5, 0.5));
        layer.steered.clear();
        assert_eq!(layer.strongest(), None);
    }
}
