//! A retraining plan: which arms, which training seeds, how to train, what to measure. One TOML file that a person writes
//! and keeps; first in the flow of `whence retrain`.
//!
//! ```toml
//! model = "model-sft"             # the reference model that training starts from; paths are relative to this file
//! seeds = [1, 2, 3]               # training seeds, the same for every arm
//! checkpoint_steps = 50           # optimizer steps between checkpoints [default: 50]
//!
//! [dpo]                           # settings of crate::train::dpo::DpoConfig, and of crate::train::TrainConfig
//! loss_type = "sigmoid"
//! beta = 0.1
//! learning_rate = 7e-4
//!
//! [[arm]]
//! name = "baseline"               # the pairs as they are
//!
//! [[arm]]
//! name = "drop"                   # an action, optionally followed by what chose the pairs
//! edit = "top"                    # an edit set of the study
//!
//! [[arm]]
//! name = "drop-random"            # as many pairs, drawn anew for every training seed
//! random_like = "top"
//!
//! [[measure]]                     # crate::evaluate::measures says what can be measured; the first is the behavior
//! name = "behavior"
//! prompts = "prompts.jsonl"
//! judge = "judge.toml"
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use whence_shared::statistics::outcomes::BASELINE;

use super::ValidateError;
pub use crate::evaluate::MeasurePlan;
use crate::evaluate::measures::{self, Kind, is_name};
use crate::files;
use crate::train::dpo::DpoConfig;

/// What to train and to measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Folder of the reference model.
    pub model: PathBuf,
    /// Training seeds.
    pub seeds: Vec<u64>,
    /// Optimizer steps between checkpoints.
    #[serde(default = "fifty")]
    pub checkpoint_steps: usize,
    /// How to train. Its seed is replaced by each of `seeds`.
    #[serde(default)]
    pub dpo: DpoConfig,
    /// The arms; one is the baseline.
    #[serde(rename = "arm")]
    pub arms: Vec<ArmPlan>,
    /// What is measured of every trained model; the first is the behavior.
    #[serde(rename = "measure")]
    pub measures: Vec<MeasurePlan>,
}

/// One way to edit the pairs before training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmPlan {
    /// As [`whence_shared::statistics::outcomes::ArmOutcomes::name`] says.
    pub name: String,
    /// An edit set of the study.
    pub edit: Option<String>,
    /// As many pairs as this edit set has, with the same actions, drawn from all pairs for every training seed.
    pub random_like: Option<String>,
}

const fn fifty() -> usize {
    50
}

impl Plan {
    /// Reads a plan and makes its paths absolute or relative to the working folder.
    ///
    /// # Errors
    ///
    /// [`ValidateError::Plan`] names what makes no sense.
    pub fn read(path: &Path) -> Result<Self, ValidateError> {
        let wrong = |reason: String| ValidateError::Plan { path: path.to_owned(), reason };
        let text = String::from_utf8(files::read(path)?).map_err(|_| wrong("not UTF-8".into()))?;
        let mut plan: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        plan.check().map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let resolve = |path: &mut PathBuf| *path = folder.join(&*path);
        resolve(&mut plan.model);
        plan.measures.iter_mut().for_each(|measure| measure.resolve(folder));
        Ok(plan)
    }

    fn check(&self) -> Result<(), String> {
        self.dpo.check().map_err(|error| format!("dpo.{error}"))?;
        if self.checkpoint_steps == 0 {
            return Err("checkpoint_steps: expected at least 1, got 0".into());
        }
        if self.seeds.is_empty() || self.seeds.iter().collect::<BTreeSet<_>>().len() < self.seeds.len() {
            return Err(format!("seeds: expected one or more different numbers, got {:?}", self.seeds));
        }
        for arm in &self.arms {
            let ArmPlan { name, edit, random_like } = arm;
            if !is_name(name) {
                return Err(format!("arm {name:?}: expected a name of letters, digits, - and _"));
            }
            match (name == BASELINE, edit, random_like) {
                (true, None, None) | (false, Some(_), None) | (false, None, Some(_)) => {}
                (true, ..) => {
                    return Err(format!("arm {name:?} is trained on the pairs as they are: it takes no edit"));
                }
                (false, ..) => return Err(format!("arm {name:?}: expected either `edit` or `random_like`")),
            }
        }
        if !self.arms.iter().any(|arm| arm.name == BASELINE) {
            return Err(format!("no arm is named {BASELINE:?}: effects are measured against it"));
        }
        measures::check(&self.measures)?;
        let first = &self.measures[0];
        if first.kind != Kind::Rollouts {
            return Err(format!(
                "measure {:?}: the first is the behavior, which is judged: expected a judge",
                first.name
            ));
        }
        Ok(())
    }

    /// Models to train.
    pub fn n_runs(&self) -> usize {
        self.arms.len() * self.seeds.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "model = 'm'\nseeds = [1, 2]\n[dpo]\nbeta = 0.2\nlearning_rate = 1e-3\n\
        [[arm]]\nname = 'baseline'\n[[arm]]\nname = 'drop'\nedit = 'top'\n[[arm]]\nname = 'drop-random'\nrandom_like = 'top'\n\
        [[measure]]\nname = 'behavior'\nprompts = 'p.jsonl'\njudge = '/j.toml'\n";

    fn read(text: &str) -> Result<Plan, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, text).unwrap();
        Plan::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_relative_to_the_plan_and_settings_have_defaults() {
        let plan = read(WHOLE).unwrap();
        assert!(plan.model.ends_with("m") && plan.model.is_absolute());
        assert_eq!(plan.measures[0].judge.as_deref().unwrap(), Path::new("/j.toml"));
        assert_eq!((plan.dpo.beta, plan.dpo.train.learning_rate, plan.dpo.train.batch_size), (0.2, 1e-3, 32));
        assert_eq!((plan.n_runs(), plan.measures[0].sampling(1).n_samples), (6, 10));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (from, to, named) in [
            ("seeds = [1, 2]", "seeds = [1, 1]", "different numbers"),
            ("beta = 0.2", "beta = -1", "beta"),
            ("beta = 0.2", "betta = 1", "betta"),
            ("name = 'baseline'", "name = 'base'", "either `edit` or `random_like`"),
            ("name = 'drop'\nedit", "name = 'a/b'\nedit", "letters, digits"),
            ("random_like = 'top'", "random_like = 'top'\nedit = 'top'", "either"),
            ("name = 'behavior'", "name = ''", "measure"),
            ("judge = '/j.toml'", "kind = 'multiple-choice'", "the first is the behavior"),
        ] {
            let error = read(&WHOLE.replace(from, to)).unwrap_err();
            assert!(error.contains(named), "{error} should mention {named}");
        }
    }
}
