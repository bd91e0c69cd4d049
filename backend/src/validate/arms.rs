//! A plan's arms, and which pairs each of them edits: from the plan's words to a decision per pair and training seed.
//! Between [`super::plan`] and [`super::run`].
//!
//! An arm of several sizes becomes one arm per size, with its controls beside it. What a ranking's ends are is decided by
//! [`mod@crate::edit::make`] and kept as an edit set of the study under the name of the arm's folder, `edits/drop-100.parquet`,
//! so that it can be compared, exported and read like any other.

use std::collections::BTreeSet;

use whence_shared::statistics::outcomes::{BASELINE, BOTTOM, RANDOM};

use super::plan::{ArmPlan, Control, Plan};
use super::{ValidateError, arm_folder};
use crate::edit::make::{Chosen, RankingName, choose};
use crate::edit::{self, Decision, EditError, EditSet, MakeOptions, Way, draw};
use crate::files;
use crate::progress::Report;
use crate::study::Study;

/// An arm as the plan means it, one size each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedArm {
    /// Its name.
    pub name: String,
    choice: Choice,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    /// The pairs as they are.
    AsTheyAre,
    /// An edit set of the study.
    Set(String),
    /// As many pairs as an edit set of the study has, drawn.
    RandomLike(String),
    /// So many pairs, drawn.
    Random { k: usize, action: Decision },
    /// An end of a ranking.
    End { way: Way, k: usize, action: Decision },
}

/// An arm and the pairs it edits.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmEdits {
    /// Its name.
    pub name: String,
    /// Pairs edited.
    pub k: u64,
    /// The edit set of the study that says which pairs; none where they are drawn or nothing is edited.
    pub set: Option<String>,
    rows: Rows,
    /// The edit set that was made for it, if it was.
    made: Option<EditSet>,
}

#[derive(Debug, Clone, PartialEq)]
enum Rows {
    /// The same for every training seed.
    Fixed(Vec<Decision>),
    /// As many rows as there are actions, drawn for every training seed.
    Drawn(Vec<Decision>),
}

/// Arms of a plan, one per size, each followed by its controls. Arms of one action and size share their random one.
pub fn planned(plan: &Plan) -> Vec<PlannedArm> {
    let mut arms = Vec::new();
    let mut there = BTreeSet::new();
    for arm in &plan.arms {
        let ArmPlan { name, edit, random_like, ranking, layer, k, .. } = arm;
        let mut put = |name: String, choice: Choice| arms.push(PlannedArm { name, choice });
        match (edit, random_like, ranking, arm.action()) {
            (Some(set), ..) => put(name.clone(), Choice::Set(set.clone())),
            (None, Some(set), ..) => put(name.clone(), Choice::RandomLike(set.clone())),
            (None, None, Some(ranking), Some(action)) => {
                let ranking = RankingName { name: ranking.clone(), layer: *layer };
                for &k in k {
                    let top = Way::Top { ranking: ranking.clone(), k };
                    put(name.clone(), Choice::End { way: top, k, action });
                    for control in arm.controls() {
                        match control {
                            Control::Random if there.insert((action, k)) => {
                                put(format!("{}-{RANDOM}", action.name()), Choice::Random { k, action });
                            }
                            Control::Random => {}
                            Control::Bottom => {
                                let way = Way::Bottom { ranking: ranking.clone(), k };
                                put(format!("{}-{BOTTOM}", action.name()), Choice::End { way, k, action });
                            }
                        }
                    }
                }
            }
            _ => put(BASELINE.to_owned(), Choice::AsTheyAre),
        }
    }
    arms
}

impl PlannedArm {
    /// Looks up or chooses the pairs it edits. Stores nothing.
    ///
    /// # Errors
    ///
    /// When an edit set or a ranking cannot be read, is of other pairs, or has fewer pairs than asked for.
    pub fn edits(&self, study: &Study, n_pairs: usize, report: Report) -> Result<ArmEdits, ValidateError> {
        let named = |name: &str| -> Result<EditSet, EditError> {
            let set = edit::load(study, name)?;
            set.apply(n_pairs)?;
            Ok(set)
        };
        let (rows, made) = match &self.choice {
            Choice::AsTheyAre => (Rows::Fixed(vec![Decision::Keep; n_pairs]), None),
            Choice::Set(name) => (Rows::Fixed(named(name)?.apply(n_pairs)?), None),
            Choice::RandomLike(name) => {
                (Rows::Drawn(named(name)?.edits.iter().map(|edit| edit.action).collect()), None)
            }
            Choice::Random { k, .. } | Choice::End { k, .. } if *k > n_pairs => {
                return Err(ValidateError::TooMany { arm: self.name.clone(), k: *k, n_pairs });
            }
            Choice::Random { k, action } => (Rows::Drawn(vec![*action; *k]), None),
            Choice::End { way, k, action } => {
                let name = arm_folder(&self.name, *k as u64);
                let options = MakeOptions { name, way: way.clone(), action: Some(*action), seed: 0, replace: false };
                let Chosen { set, .. } = choose(study, &options, report)?;
                (Rows::Fixed(set.apply(n_pairs)?), Some(set))
            }
        };
        let k = match &rows {
            Rows::Fixed(decisions) => decisions.iter().filter(|decision| **decision != Decision::Keep).count(),
            Rows::Drawn(actions) => actions.len(),
        };
        let set = match (&self.choice, &made) {
            (Choice::Set(name), _) => Some(name.clone()),
            (_, made) => made.as_ref().map(|set| set.name.clone()),
        };
        Ok(ArmEdits { name: self.name.clone(), k: k as u64, set, rows, made })
    }
}

impl ArmEdits {
    /// Folder of the arm below `arms/`.
    pub fn folder(&self) -> String {
        arm_folder(&self.name, self.k)
    }

    /// What becomes of every pair with a training seed, by row.
    pub fn decisions(&self, n_pairs: usize, seed: u64) -> Vec<Decision> {
        match &self.rows {
            Rows::Fixed(decisions) => decisions.clone(),
            Rows::Drawn(actions) => {
                let mut decisions = vec![Decision::Keep; n_pairs];
                for (row, action) in draw::random(n_pairs, actions.len(), seed).into_iter().zip(actions) {
                    decisions[row as usize] = *action;
                }
                decisions
            }
        }
    }

    /// Name of the edit set that was made for this arm, where the study has another of that name.
    pub fn other_set(&self, study: &Study) -> Option<String> {
        let set = self.made.as_ref().filter(|set| study.edit(&set.name).exists())?;
        let is_same = edit::load(study, &set.name).is_ok_and(|there| there == *set);
        (!is_same).then(|| set.name.clone())
    }

    /// Keeps the edit set that was made for this arm among the study's.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or another set has its name and is not to be replaced.
    pub fn store(&self, study: &Study, replace: bool) -> Result<(), ValidateError> {
        if let Some(set) = &self.made {
            edit::set_file::keep(study, set, replace)?;
        }
        Ok(())
    }
}

/// Hash of what becomes of every pair.
pub fn sha256(decisions: &[Decision]) -> String {
    let actions: Vec<&str> = decisions.iter().map(|decision| decision.name()).collect();
    files::sha256(actions.join("\n").as_bytes())
}
