//! What `whence behavior` and `whence sweep` would have said of a behavior: made-up numbers in the forms that they write.

use whence_shared::stability::{LayerStability, Overlap, Spread, Stability};
use whence_shared::statistics::interval::{Covers, Interval, Measured};
use whence_shared::statistics::separation::Separation;
use whence_shared::sweep::{FORMAT, LayerSweep, Separated, Steered, SteeringView, SweepView};

use super::StaticStudy;

impl StaticStudy {
    /// Says of the first behavior how far halves of its prompts agree, and sweeps it over layers 1 to 4.
    ///
    /// # Panics
    ///
    /// Panics when a file cannot be written.
    pub fn write_sweep(&mut self) -> SweepView {
        let behavior = &mut self.view.behaviors[0];
        behavior.inputs = "made for tests".into();
        behavior.has_sweep = true;
        let layers = behavior.layers.iter().map(|&layer| LayerStability {
            layer,
            cosine: Spread { mean: 0.8 + 0.01 * layer as f64, low: 0.7, high: 0.9 },
            of_whole: Some(0.9),
            overlaps: vec![Overlap { k: 100, share: Spread { mean: 0.62, low: 0.5, high: 0.75 }, chance: 0.02 }],
        });
        behavior.stability = Some(Stability { n_prompts: 4, n_splits: 3, seed: 0, layers: layers.collect() });
        let sweep = SweepView {
            format: FORMAT.into(),
            behavior: behavior.name.clone(),
            inputs: behavior.inputs.clone(),
            model: "no-model".into(),
            separated: Separated {
                n_prompts: 40,
                n_shown: 120,
                n_not_shown: 200,
                n_unreadable: 0,
                is_of_pairs: false,
                n_folds: 5,
                seed: 0,
                undefined: None,
            },
            steering: Some(SteeringView {
                judge: "lists".into(),
                n_prompts: 40,
                n_own_prompts: 12,
                n_samples: 4,
                temperature: 0.7,
                max_new_tokens: 64,
                positions: "response".into(),
                unsteered: rate(0.05),
            }),
            layers: (1..=4).map(layer).collect(),
        };
        let path = format!("behaviors/{}/sweep.json", sweep.behavior);
        self.write(&path, &serde_json::to_vec(&sweep).unwrap());
        self.save_view();
        sweep
    }
}

fn rate(value: f64) -> Measured {
    let interval =
        Interval { low: value / 2.0, high: value.midpoint(1.0), level: 0.95, covers: Covers::PromptsRollouts };
    Measured { value, interval }
}

fn layer(layer: usize) -> LayerSweep {
    let at = layer as f64;
    let steered = |alpha: f64| Steered { alpha, rate: rate(0.15 * at * alpha), random: rate(0.05 * alpha) };
    // One layer at which nothing could be measured.
    let separation = (layer != 2).then_some(Separation {
        auroc: Some(0.6 + 0.08 * at),
        auroc_within_prompts: Some(0.55 + 0.08 * at),
        d_prime: Some(0.5 * at),
    });
    LayerSweep {
        layer,
        direction_norm: at,
        residual_norm: 3.0 * at,
        separation,
        steered: vec![steered(0.5), steered(1.5)],
    }
}
