//! A retraining plan: which arms, which training seeds, how to train, what to measure. One TOML file that a person writes
//! and keeps; first in the flow of `whence retrain`.
//!
//! ```toml
//! model = "model-sft"             # the reference model that training starts from; paths are relative to this file
//! seeds = [1, 2, 3]               # training seeds, the same for every arm
//! checkpoint_steps = 50           # optimizer steps between checkpoints [default: 50]
//! tensorboard = true              # event files beside metrics.jsonl [default: false]
//!
//! [dpo]                           # settings of crate::train::dpo::DpoConfig, and of crate::train::TrainConfig
//! loss_type = "sigmoid"
//! beta = 0.1
//! learning_rate = 7e-4
//! weights = "bf16"                # rounded after every step, see crate::train::rounding [default: f32]
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
//! [[arm]]
//! name = "switch"                 # one arm per size, of the first pairs of a ranking; the name's action is taken
//! ranking = "obeys"               # a behavior's name, or a Parquet file
//! layer = 10                      # may be left out where the behavior has one ranking
//! k = [100, 300, 1000]
//! controls = ["random", "bottom"] # arms of the same sizes beside it [default: both]
//!
//! [lora]                          # adapters instead of all weights: settings of crate::model::lora::LoraConfig
//! r = 8
//! lora_alpha = 16
//! target_modules = ["q_proj", "v_proj"]
//!
//! [[measure]]                     # crate::evaluate::measures says what can be measured; the first is the behavior
//! name = "behavior"
//! prompts = "prompts.jsonl"
//! judge = "judge.toml"
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use whence_shared::statistics::outcomes::{BASELINE, BOTTOM, RANDOM};

use super::ValidateError;
use crate::edit::Decision;
pub use crate::evaluate::MeasurePlan;
use crate::evaluate::measures::{self, Kind};
use crate::files;
use crate::model::lora::LoraConfig;
use crate::study::is_plain_name;
use crate::train::dpo::DpoConfig;

/// What to train and to measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The file that it was read from, for errors.
    #[serde(skip)]
    pub path: PathBuf,
    /// Folder of the reference model.
    pub model: PathBuf,
    /// Training seeds.
    pub seeds: Vec<u64>,
    /// Optimizer steps between checkpoints.
    #[serde(default = "fifty")]
    pub checkpoint_steps: usize,
    /// Write a file for TensorBoard beside every run's `metrics.jsonl`.
    #[serde(default)]
    pub tensorboard: bool,
    /// How to train. Its seed is replaced by each of `seeds`.
    #[serde(default)]
    pub dpo: DpoConfig,
    /// Train adapters and leave the weights as they are. Its seed is replaced by each of `seeds`.
    #[serde(default)]
    pub lora: Option<LoraConfig>,
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
    /// A ranking whose first pairs are edited, `k` of them, by the action that the name begins with: an arm per size.
    pub ranking: Option<String>,
    /// Its layer; may be left out where there is one.
    pub layer: Option<usize>,
    /// Sizes.
    #[serde(default)]
    pub k: Vec<usize>,
    /// Arms of the same sizes and action that are made beside it. Default all.
    pub controls: Option<Vec<Control>>,
}

/// What the first pairs of a ranking are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Control {
    /// As many pairs, drawn anew for every training seed.
    Random,
    /// The last pairs of the ranking.
    Bottom,
}

impl Control {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Random, Self::Bottom];
}

const fn fifty() -> usize {
    50
}

impl Plan {
    /// Reads a plan and makes its paths absolute or relative to the working folder. `settings` replace what the file says:
    /// `lora.r=4`, as in TOML; a value that is none in TOML is a text.
    ///
    /// # Errors
    ///
    /// [`ValidateError::Plan`] names what makes no sense.
    pub fn read(path: &Path, settings: &[String]) -> Result<Self, ValidateError> {
        let wrong = |reason: String| ValidateError::Plan { path: path.to_owned(), reason };
        let text = String::from_utf8(files::read(path)?).map_err(|_| wrong("not UTF-8".into()))?;
        let mut plan: Self = match settings {
            [] => toml::from_str(&text).map_err(|error| wrong(error.to_string()))?,
            settings => {
                let mut table: Table = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
                for setting in settings {
                    replace(&mut table, parsed(setting).map_err(wrong)?);
                }
                table.try_into().map_err(|error| wrong(format!("with {}: {error}", settings.join(", "))))?
            }
        };
        plan.check().map_err(wrong)?;
        plan.path = path.to_owned();
        let folder = path.parent().unwrap_or(Path::new("."));
        let resolve = |path: &mut PathBuf| *path = folder.join(&*path);
        resolve(&mut plan.model);
        plan.measures.iter_mut().for_each(|measure| measure.resolve(folder));
        for ranking in plan.arms.iter_mut().filter_map(|arm| arm.ranking.as_mut()) {
            if ranking.ends_with(".parquet") {
                *ranking = folder.join(&*ranking).to_string_lossy().into_owned();
            }
        }
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
        if let Some(lora) = &self.lora {
            lora.check().map_err(|error| error.to_string())?;
        }
        for arm in &self.arms {
            arm.check().map_err(|reason| format!("arm {:?}: {reason}", arm.name))?;
        }
        let mut bottoms = self.arms.iter().filter(|arm| arm.controls().contains(&Control::Bottom));
        while let Some(arm) = bottoms.next() {
            if let Some(other) = bottoms.clone().find(|other| other.action() == arm.action()) {
                return Err(format!(
                    "arms {:?} and {:?} both have bottom controls, and one name for them: give one of them controls = \
                     [\"random\"]",
                    arm.name, other.name
                ));
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
}

impl ArmPlan {
    /// Controls that are made beside it; none where its pairs are not the first of a ranking.
    pub fn controls(&self) -> &[Control] {
        match (&self.ranking, &self.controls) {
            (None, _) => &[],
            (Some(_), None) => &Control::ALL,
            (Some(_), Some(controls)) => controls,
        }
    }

    /// What the name begins with, when it is an action.
    pub fn action(&self) -> Option<Decision> {
        let word = self.name.split('-').next().unwrap_or_default();
        [Decision::Drop, Decision::Switch].into_iter().find(|action| action.name() == word)
    }

    fn check(&self) -> Result<(), String> {
        let Self { name, edit, random_like, ranking, layer, k, controls } = self;
        if !is_plain_name(name) {
            return Err("expected a name of letters, digits, - and _".into());
        }
        let n_ways = [edit, random_like, ranking].into_iter().flatten().count();
        if name == BASELINE && n_ways > 0 {
            return Err("is trained on the pairs as they are: it takes no edit".into());
        }
        if name != BASELINE && n_ways != 1 {
            return Err("expected one of `edit`, `random_like` and `ranking`".into());
        }
        if ranking.is_none() && (layer.is_some() || !k.is_empty() || controls.is_some()) {
            return Err("`layer`, `k` and `controls` go with `ranking`".into());
        }
        if ranking.is_none() {
            return Ok(());
        }
        if self.action().is_none() {
            return Err("expected a name that begins with what is done to the pairs: drop or switch".into());
        }
        if [RANDOM, BOTTOM].iter().any(|control| name.ends_with(&format!("-{control}"))) {
            return Err("is the name of a control: those are made by themselves".into());
        }
        if k.is_empty() || k.contains(&0) || k.iter().collect::<BTreeSet<_>>().len() < k.len() {
            return Err(format!("k: expected one or more different numbers of pairs, got {k:?}"));
        }
        Ok(())
    }
}

/// A `key=value` of the command line.
fn parsed(setting: &str) -> Result<Table, String> {
    let (key, value) =
        setting.split_once('=').ok_or_else(|| format!("{setting:?}: expected KEY=VALUE, such as lora.r=4"))?;
    let as_text = || toml::from_str(&format!("{key} = {:?}", value.trim()));
    toml::from_str(setting).or_else(|_| as_text()).map_err(|error| format!("{setting:?}: {error}"))
}

/// Puts the values of `by` into a table; tables within are merged.
fn replace(table: &mut Table, by: Table) {
    for (key, value) in by {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(there)), Value::Table(value)) => replace(there, value),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dpo::LossType;

    const WHOLE: &str = "model = 'm'\nseeds = [1, 2]\n[dpo]\nbeta = 0.2\nlearning_rate = 1e-3\n\
        [[arm]]\nname = 'baseline'\n[[arm]]\nname = 'drop'\nedit = 'top'\n[[arm]]\nname = 'drop-random'\nrandom_like = 'top'\n\
        [[measure]]\nname = 'behavior'\nprompts = 'p.jsonl'\njudge = '/j.toml'\n";

    const RANKED: &str = "name = 'switch'\nranking = 'obeys'\nk = [5, 20]";

    fn read(text: &str) -> Result<Plan, String> {
        read_with(text, &[])
    }

    fn read_with(text: &str, settings: &[&str]) -> Result<Plan, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, text).unwrap();
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        Plan::read(&path, &settings).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_relative_to_the_plan_and_settings_have_defaults() {
        let plan = read(WHOLE).unwrap();
        assert!(plan.model.ends_with("m") && plan.model.is_absolute());
        assert_eq!(plan.measures[0].judge.as_deref().unwrap(), Path::new("/j.toml"));
        assert_eq!((plan.dpo.beta, plan.dpo.train.learning_rate, plan.dpo.train.batch_size), (0.2, 1e-3, 32));
        assert_eq!((plan.arms.len(), plan.measures[0].sampling(1).n_samples), (3, 10));
    }

    #[test]
    fn settings_of_the_command_line_replace_those_of_the_file() {
        let plan =
            read_with(WHOLE, &["lora.r=4", "dpo.loss_type=ipo", "seeds=[7]", "lora.target_modules=[\"q_proj\"]"])
                .unwrap();
        let lora = plan.lora.unwrap();
        assert_eq!((lora.r, lora.lora_alpha, lora.target_modules), (4, 16.0, vec!["q_proj".to_owned()]));
        assert_eq!((plan.seeds, plan.dpo.beta, plan.dpo.loss_type), (vec![7], 0.2, LossType::Ipo));
        for (setting, named) in
            [("lora.rank=4", "rank"), ("lora", "KEY=VALUE"), ("dpo.beta=-1", "beta"), ("lora.r=0", "lora: r: expected")]
        {
            let error = read_with(WHOLE, &[setting]).unwrap_err();
            assert!(error.contains(named), "{error} should mention {named}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (from, to, named) in [
            ("seeds = [1, 2]", "seeds = [1, 1]", "different numbers"),
            ("beta = 0.2", "beta = -1", "beta"),
            ("beta = 0.2", "betta = 1", "betta"),
            ("name = 'baseline'", "name = 'base'", "`edit`, `random_like` and `ranking`"),
            ("name = 'drop'\nedit", "name = 'a/b'\nedit", "letters, digits"),
            ("random_like = 'top'", "random_like = 'top'\nedit = 'top'", "one of `edit`"),
            ("random_like = 'top'", "random_like = 'top'\nk = [3]", "go with `ranking`"),
            ("name = 'drop'\nedit = 'top'", &RANKED.replace("switch", "remove"), "drop or switch"),
            ("name = 'drop'\nedit = 'top'", &RANKED.replace("switch", "switch-bottom"), "of a control"),
            ("name = 'drop'\nedit = 'top'", &RANKED.replace("5, 20", "5, 5"), "different numbers"),
            ("name = 'drop'\nedit = 'top'", &RANKED.replace("5, 20", "0"), "k: expected"),
            ("name = 'drop'\nedit = 'top'", &format!("{RANKED}\ncontrols = ['middle']"), "middle"),
            (
                "name = 'drop'\nedit = 'top'",
                &format!("{RANKED}\n[[arm]]\n{}", RANKED.replace("switch", "switch-other")),
                "both have bottom controls",
            ),
            ("name = 'behavior'", "name = ''", "measure"),
            ("judge = '/j.toml'", "kind = 'multiple-choice'", "the first is the behavior"),
        ] {
            let error = read(&WHOLE.replace(from, to)).unwrap_err();
            assert!(error.contains(named), "{error} should mention {named}");
        }
    }
}
