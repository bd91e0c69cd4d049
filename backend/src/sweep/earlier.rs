//! What an earlier sweep of a behavior left: added to where it was made in the same way, refused where it was not. Beside
//! the flow of `whence sweep`.

use std::collections::BTreeMap;

use serde_json::json;
use whence_shared::sweep::{FORMAT, LayerSweep, Separated, SteeringView, SweepView};

use super::{Case, SweepError, read_part};
use crate::behavior::rollouts::settings::{Difference, Settings};
use crate::behavior::rollouts::{Sampling, TestPrompt};
use crate::files;

/// Layers and strengths of two sweeps that were made in the same way; where both have one, the later counts.
pub(super) fn merged(earlier: SweepView, now: SweepView) -> SweepView {
    let mut layers: BTreeMap<usize, LayerSweep> =
        earlier.layers.into_iter().map(|layer| (layer.layer, layer)).collect();
    for mut layer in now.layers {
        let mut steered = layers.remove(&layer.layer).map_or_else(Vec::new, |earlier| earlier.steered);
        steered.retain(|earlier| layer.steered.iter().all(|now| now.alpha != earlier.alpha));
        layer.steered.extend(steered);
        layer.steered.sort_by(|a, b| a.alpha.total_cmp(&b.alpha));
        layers.insert(layer.layer, layer);
    }
    SweepView { steering: now.steering.or(earlier.steering), layers: layers.into_values().collect(), ..now }
}

impl Case<'_> {
    /// The sweep that this one adds to, if there is one of the behavior as it is now.
    ///
    /// # Errors
    ///
    /// [`SweepError::OtherSweep`] when it was made in another way.
    pub(super) fn earlier(&self, prompts: Option<&[TestPrompt]>) -> Result<Option<SweepView>, SweepError> {
        let path = self.study.sweep(&self.options.behavior);
        if self.options.replace || !path.is_file() {
            return Ok(None);
        }
        // One that cannot be read, or is of a behavior that was defined anew since, is of no use to anybody.
        let there = serde_json::from_slice::<SweepView>(&files::read(&path)?).ok();
        let Some(mut there) = there.filter(|there| there.format == FORMAT && there.inputs == self.view.inputs) else {
            return Ok(None);
        };
        let difference = match self.other_responses(&there)? {
            Some(difference) => Some(difference),
            None => self.other_steering(&there, prompts),
        };
        match difference {
            None => {
                // As they were measured: numbers that are read from one JSON into the next lose their last bit.
                for layer in &mut there.layers {
                    if let Some(part) = read_part(&self.part(layer.layer))? {
                        layer.direction_norm = part.direction_norm;
                        layer.residual_norm = part.residual_norm;
                        layer.separation = part.separation;
                    }
                }
                Ok(Some(there))
            }
            Some(difference) => {
                let layers: Vec<usize> = there.layers.iter().map(|layer| layer.layer).collect();
                let there = format!("{} on {}", layers_in_words(&layers), responses_in_words(&there.separated));
                Err(SweepError::OtherSweep { path, there, difference })
            }
        }
    }

    /// In what an earlier sweep separated other responses, or these in another way.
    fn other_responses(&self, there: &SweepView) -> Result<Option<String>, SweepError> {
        let (before, now) = (&there.separated, &self.separated);
        if before.is_of_pairs != now.is_of_pairs {
            let (before, now) = (responses_in_words(before), responses_in_words(now));
            return Ok(Some(format!("it is on {before}, but now on {now}")));
        }
        for (name, before, now) in
            [("seed", before.seed, now.seed), ("folds", before.n_folds as u64, now.n_folds as u64)]
        {
            if before != now {
                return Ok(Some(format!("it has {name} = {before}, but now {name} = {now}")));
            }
        }
        let mut is_other = before != now;
        for layer in &there.layers {
            is_other |= read_part(&self.part(layer.layer))?.is_some_and(|part| part.inputs != self.inputs);
        }
        Ok(is_other.then(|| "it is on other responses than now".to_owned()))
    }

    /// In what an earlier sweep was steered otherwise, where both are.
    fn other_steering(&self, there: &SweepView, prompts: Option<&[TestPrompt]>) -> Option<String> {
        let (before, steer, prompts) = (there.steering.as_ref()?, self.options.steer.as_ref()?, prompts?);
        let settings = |judge: &str, n_prompts: usize, positions: &str, sampling: (usize, f64, usize)| -> Settings {
            let (n_samples, temperature, max_new_tokens) = sampling;
            [
                ("judge", json!(judge)),
                ("prompts", json!(n_prompts)),
                ("positions", json!(positions)),
                ("samples", json!(n_samples)),
                ("temperature", json!(temperature)),
                ("max_new_tokens", json!(max_new_tokens)),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
        };
        let SteeringView { n_samples, temperature, max_new_tokens, .. } = *before;
        let before =
            settings(&before.judge, before.n_prompts, &before.positions, (n_samples, temperature, max_new_tokens));
        let Sampling { n_samples, temperature, max_new_tokens, .. } = steer.sampling;
        let now = settings(
            steer.judge.name(),
            prompts.len(),
            steer.positions.name(),
            (n_samples, temperature, max_new_tokens),
        );
        let Difference { field, there, asked } = Difference::between(&before, &now)?;
        Some(format!("it is steered with {field} = {there}, but now {field} = {asked}"))
    }
}

/// `layer 2`, `layers 1–3` or `layers 0, 2`.
fn layers_in_words(layers: &[usize]) -> String {
    match layers {
        [one] => format!("layer {one}"),
        [first, .., last] if last - first + 1 == layers.len() => format!("layers {first}–{last}"),
        layers => format!("layers {}", layers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn responses_in_words(separated: &Separated) -> &'static str {
    if separated.is_of_pairs { "the behavior's response pairs" } else { "judged rollouts" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_as_a_range_where_they_are_one() {
        assert_eq!([&[2][..], &[1, 2, 3], &[0, 2]].map(layers_in_words), ["layer 2", "layers 1–3", "layers 0, 2"]);
    }
}
