//! Verdict rates of the steered reference model: one set of rollouts per layer, direction and strength. Second in the flow
//! of `whence sweep`.
//!
//! ```text
//! behaviors/NAME/sweep/unsteered.jsonl                   rollouts without steering, and beside them
//! behaviors/NAME/sweep/unsteered.verdicts.jsonl          their verdicts
//! behaviors/NAME/sweep/layer-L/direction-A.jsonl         the same with α = A along the behavior's direction
//! behaviors/NAME/sweep/layer-L/random-A.jsonl            and along a random direction
//! ```
//!
//! Each knows what it was made with, so that what is there is kept and nothing is sampled twice.

use std::path::{Path, PathBuf};

use whence_shared::statistics::interval::{Estimate, Measured};
use whence_shared::statistics::outcomes::Grid;
use whence_shared::statistics::random::Random;

use super::{SteerOptions, SweepError};
use crate::behavior::rollouts::local::{LoadedModel, LocalModel};
use crate::behavior::rollouts::{RolloutOptions, Source, TestPrompt, roll_out};
use crate::data::template::TemplateChoice;
use crate::device::Device;
use crate::evaluate::measure::counts;
use crate::judge::{JudgeOptions, judge};
use crate::model::steering::Steering;
use crate::model::{CausalLm, DtypeChoice, ModelFolder};
use crate::progress::{Report, Update};

/// Level of the intervals.
const LEVEL: f64 = 0.95;

/// A model to be steered, and how its behavior is measured.
pub(super) struct Steerer<'a> {
    /// The reference model.
    pub folder: &'a ModelFolder,
    /// Its weights.
    pub model: &'a CausalLm,
    /// Where it is.
    pub device: &'a Device,
    /// The text form.
    pub template: &'a TemplateChoice,
    /// The type of its weights.
    pub dtype: DtypeChoice,
    /// What to ask, and how to judge.
    pub options: &'a SteerOptions,
    /// The prompts.
    pub prompts: &'a [TestPrompt],
    /// Where rollouts and verdicts are kept.
    pub parts: PathBuf,
    /// Replace those made in another way.
    pub replace: bool,
    /// Progress.
    pub report: Report<'a>,
}

impl Steerer<'_> {
    /// The rate without steering.
    ///
    /// # Errors
    ///
    /// When rollouts or verdicts cannot be made; those that are there are kept.
    pub fn unsteered(&self) -> Result<Measured, SweepError> {
        self.rate(&self.parts.join("unsteered"), None, "unsteered")
    }

    /// The rate with `vector` added after `layer`; `kind` names its direction, `alpha` its length.
    ///
    /// # Errors
    ///
    /// As [`Steerer::unsteered`].
    pub fn steered(&self, layer: usize, vector: &[f32], (kind, alpha): (&str, f64)) -> Result<Measured, SweepError> {
        let steering = Steering::new(layer, vector, self.options.positions, self.device);
        let stem = self.parts.join(format!("layer-{layer}")).join(format!("{kind}-{alpha}"));
        self.rate(&stem, Some(&steering), &format!("layer {layer}, α {alpha}, {kind}"))
    }

    fn rate(&self, stem: &Path, steering: Option<&Steering>, what: &str) -> Result<Measured, SweepError> {
        let file = |ending: &str| {
            let mut name = stem.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let (rollouts, verdicts) = (file(".jsonl"), file(".verdicts.jsonl"));
        let Self { folder, device, template, dtype, replace, .. } = *self;
        let local = LocalModel { folder, device, template, dtype };
        let source = Source::Loaded(LoadedModel { local, model: self.model, steering });
        let options = RolloutOptions { out: rollouts.clone(), sampling: self.options.sampling.clone(), replace };
        let report = |update: Update| (self.report)(Update { detail: what.to_owned(), ..update });
        roll_out(self.prompts, &source, &options, &report)?;
        let options = JudgeOptions { rollouts, out: verdicts, replace };
        let judged = judge(&self.options.judge, &options, &report).map_err(Box::new)?;
        let counts = counts(judged.verdicts.iter().map(|verdict| (&verdict.prompt_id, verdict.shows)));
        let rates = counts.iter().map(|prompt| prompt.shown / f64::from(prompt.n_rollouts)).collect();
        let grid = Grid::new(counts.len(), rates, counts.iter().map(|prompt| prompt.n_rollouts).collect());
        Ok(Estimate::of_rate(&grid).measured(LEVEL))
    }
}

/// A random direction of length 1, the same for a seed and layer, `[d_model]`.
pub(super) fn random_direction(d_model: usize, layer: usize, seed: u64) -> Vec<f32> {
    // SplitMix64's increment keeps neighbouring seeds apart.
    let mut random = Random::new(seed.wrapping_add((layer as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let direction: Vec<f32> = (0..d_model).map(|_| random.normal() as f32).collect();
    scaled(&direction, 1.0)
}

/// `direction` with the given length; against it when that is negative.
pub(super) fn scaled(direction: &[f32], length: f64) -> Vec<f32> {
    let norm = direction.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    direction.iter().map(|x| (f64::from(*x) / norm * length) as f32).collect()
}
