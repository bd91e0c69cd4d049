//! One measure of one model: from prompts to counts. After [`super::measures`], which says what is measured.

use std::path::{Path, PathBuf};

use serde::Serialize;
use whence_shared::statistics::outcomes::PromptOutcomes;
use whence_shared::validation::Metric;

use super::answers::{AnswerItem, Answers};
use super::choices::{self, Asked, ChoiceItem, Question};
use super::forms::{FormItem, Forms};
use super::measures::Kind;
use super::{EvaluateError, MeasurePlan};
use crate::behavior::rollouts::endpoint::Usage;
use crate::behavior::rollouts::local::LocalModel;
use crate::behavior::rollouts::prompts::{self, TestPrompt};
use crate::behavior::rollouts::{self, RolloutOptions, Source, roll_out};
use crate::data::template::TemplateChoice;
use crate::device::Device;
use crate::files;
use crate::judge::file::Surroundings;
use crate::judge::{self, Judge, JudgeOptions, Verdict};
use crate::model::{DtypeChoice, ModelFolder};
use crate::progress::Report;

/// A measure with its files read.
pub struct Measure {
    /// What is measured how.
    pub plan: MeasurePlan,
    prompts: Vec<TestPrompt>,
    /// Prompts left out because of what is not implemented.
    n_left_out: usize,
    template: TemplateChoice,
    task: Task,
}

enum Task {
    Judged(Judge),
    Choices(Vec<Question>),
    Answers(Answers),
    Forms(Forms),
}

/// Where a model is measured, and where its results go.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Where it is computed.
    pub device: &'a Device,
    /// Folder of the results, `MEASURE.rollouts.jsonl` and so on.
    pub folder: &'a Path,
    /// Decides what is sampled.
    pub seed: u64,
    /// Replace results that were made in another way.
    pub replace: bool,
}

/// What a measure found of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// By prompt or response.
    pub items: Items,
    /// What a reader should know.
    pub warnings: Vec<String>,
    /// What the judge's endpoint was asked for now.
    pub asked: Usage,
    /// What it had answered before.
    pub cached: Usage,
}

/// Single results, in the order of the prompts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Items {
    /// Rollouts that show it, by prompt.
    Rollouts(Vec<PromptOutcomes>),
    /// Multiple choice.
    Choices(Vec<ChoiceItem>),
    /// Exact match.
    Answers(Vec<AnswerItem>),
    /// Formats.
    Forms(Vec<FormItem>),
}

impl Measure {
    /// Reads prompts and judge.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or makes no sense, or fewer than two prompts are left.
    pub fn open(plan: &MeasurePlan, surroundings: &Surroundings) -> Result<Self, EvaluateError> {
        let mut prompts = prompts::read(&plan.prompts)?;
        let n_there = prompts.len();
        let task = match (plan.kind, &plan.judge) {
            (Kind::Rollouts, Some(judge)) => Task::Judged(judge::file::open(judge, surroundings)?),
            (Kind::Rollouts, None) => {
                let reason = format!("measure {:?} has no judge", plan.name);
                return Err(EvaluateError::Measures { path: plan.prompts.clone(), reason });
            }
            (Kind::MultipleChoice, _) => Task::Choices(choices::questions(&plan.prompts, &prompts)?),
            (Kind::ExactMatch, _) => Task::Answers(Answers::of(plan, &prompts)?),
            (Kind::Formats, _) => Task::Forms(Forms::of(plan, &mut prompts)?),
        };
        let n_left_out = n_there - prompts.len();
        if prompts.len() < 2 {
            let left_out = if n_left_out > 0 { format!(", without {n_left_out} left out") } else { String::new() };
            return Err(EvaluateError::Few { path: plan.prompts.clone(), n: prompts.len(), left_out });
        }
        Ok(Self { template: plan.template(), plan: plan.clone(), prompts, n_left_out, task })
    }

    /// Prompts that are measured.
    pub fn n_prompts(&self) -> usize {
        self.prompts.len()
    }

    /// Who judges, where somebody does.
    pub fn judge(&self) -> Option<&Judge> {
        match &self.task {
            Task::Judged(judge) => Some(judge),
            Task::Choices(_) | Task::Answers(_) | Task::Forms(_) => None,
        }
    }

    /// Measures a model. What an earlier call left half done is continued, what it did in another way is replaced where
    /// [`Place::replace`] says so.
    ///
    /// # Errors
    ///
    /// [`EvaluateError`], also for results that were made in another way; what was made by then is kept, and the same call
    /// continues from it.
    pub fn take(&self, model: &ModelFolder, place: &Place, report: Report) -> Result<Taken, EvaluateError> {
        let items = match &self.task {
            Task::Judged(judge) => return self.judged(judge, model, place, report),
            Task::Choices(questions) => {
                let asked = Asked { path: &self.plan.prompts, questions, template: &self.template };
                let out = self.path(place, "items");
                Items::Choices(choices::answer(&asked, model, place, &out, report)?)
            }
            Task::Answers(answers) => {
                let rollouts = rollouts::read(&self.roll_out(model, place, report)?)?;
                let items = answers.compare(&rollouts);
                files::write_jsonl(&self.path(place, "items"), &items)?;
                Items::Answers(items)
            }
            Task::Forms(forms) => {
                let rollouts = rollouts::read(&self.roll_out(model, place, report)?)?;
                let items = forms.check(&rollouts);
                files::write_jsonl(&self.path(place, "items"), &items)?;
                Items::Forms(items)
            }
        };
        let left_out = format!("{} prompts are left out: a check of theirs is not implemented", self.n_left_out);
        let warnings = if self.n_left_out > 0 { vec![left_out] } else { Vec::new() };
        Ok(Taken { items, warnings, asked: Usage::default(), cached: Usage::default() })
    }

    fn judged(
        &self,
        judge: &Judge,
        model: &ModelFolder,
        place: &Place,
        report: Report,
    ) -> Result<Taken, EvaluateError> {
        let rollouts = self.roll_out(model, place, report)?;
        let options = JudgeOptions { rollouts, out: self.path(place, "verdicts"), replace: place.replace };
        let judged = judge::judge(judge, &options, report)?;
        let items =
            Items::Rollouts(counts(judged.verdicts.iter().map(|Verdict { prompt_id, shows, .. }| (prompt_id, *shows))));
        Ok(Taken { items, warnings: judged.warnings, asked: judged.asked, cached: judged.cached })
    }

    /// Samples every prompt and says where the rollouts are.
    fn roll_out(&self, model: &ModelFolder, place: &Place, report: Report) -> Result<PathBuf, EvaluateError> {
        let out = self.path(place, "rollouts");
        let (device, dtype) = (place.device, DtypeChoice::default());
        let source = Source::Model(LocalModel { folder: model, device, template: &self.template, dtype });
        let sampling = self.plan.sampling(place.seed);
        let options = RolloutOptions { out: out.clone(), sampling, replace: place.replace };
        roll_out(&self.prompts, &source, &options, report)?;
        Ok(out)
    }

    fn path(&self, place: &Place, what: &str) -> PathBuf {
        place.folder.join(format!("{}.{what}.jsonl", self.plan.name))
    }
}

/// Counts by prompt, of results in the order of the prompts.
pub(crate) fn counts<'a>(results: impl Iterator<Item = (&'a String, bool)>) -> Vec<PromptOutcomes> {
    let mut prompts: Vec<PromptOutcomes> = Vec::new();
    for (id, is_shown) in results {
        if prompts.last().is_none_or(|last| last.prompt != *id) {
            prompts.push(PromptOutcomes { prompt: id.clone(), n_rollouts: 0, shown: 0.0 });
        }
        let prompt = prompts.last_mut().expect("just pushed");
        prompt.n_rollouts += 1;
        prompt.shown += f64::from(u8::from(is_shown));
    }
    prompts
}

impl Items {
    /// Everything that can be said of them, what a plan may compare first.
    pub fn metrics(&self) -> &'static [Metric] {
        match self {
            Self::Rollouts(_) => &[Metric::Rate],
            Self::Choices(_) => &[Metric::Acc, Metric::AccNorm],
            Self::Answers(_) => &[Metric::ExactMatch],
            Self::Forms(_) => &[
                Metric::PromptLevelStrictAcc,
                Metric::PromptLevelLooseAcc,
                Metric::InstLevelStrictAcc,
                Metric::InstLevelLooseAcc,
            ],
        }
    }

    /// Counts by prompt. For a metric that counts instructions, `n_rollouts` is how many the prompt has.
    ///
    /// # Panics
    ///
    /// Panics when the metric is not one of [`Items::metrics`].
    pub fn outcomes(&self, metric: Metric) -> Vec<PromptOutcomes> {
        match (self, metric) {
            (Self::Rollouts(prompts), Metric::Rate) => prompts.clone(),
            (Self::Choices(items), Metric::Acc) => counts(items.iter().map(|item| (&item.id, item.acc))),
            (Self::Choices(items), Metric::AccNorm) => counts(items.iter().map(|item| (&item.id, item.acc_norm))),
            (Self::Answers(items), Metric::ExactMatch) => counts(items.iter().map(|item| (&item.id, item.is_right))),
            (Self::Forms(items), Metric::PromptLevelStrictAcc) => {
                counts(items.iter().map(|item| (&item.id, item.checks.iter().all(|check| check.strict))))
            }
            (Self::Forms(items), Metric::PromptLevelLooseAcc) => {
                counts(items.iter().map(|item| (&item.id, item.checks.iter().all(|check| check.loose))))
            }
            (Self::Forms(items), Metric::InstLevelStrictAcc) => {
                counts(items.iter().flat_map(|item| item.checks.iter().map(|check| (&item.id, check.strict))))
            }
            (Self::Forms(items), Metric::InstLevelLooseAcc) => {
                counts(items.iter().flat_map(|item| item.checks.iter().map(|check| (&item.id, check.loose))))
            }
            _ => panic!("{metric:?} is not measured here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forms::Followed;
    use super::*;

    #[test]
    fn results_are_counted_by_prompt() {
        let ids = ["a", "a", "b"].map(str::to_owned);
        let found = counts(ids.iter().zip([true, false, true]));
        let found: Vec<_> = found.iter().map(|p| (p.prompt.as_str(), p.n_rollouts, p.shown)).collect();
        assert_eq!(found, [("a", 2, 1.0), ("b", 1, 1.0)]);
    }

    #[test]
    fn a_prompt_is_followed_when_all_its_instructions_are() {
        let item = |id: &str, checks: &[(bool, bool)]| FormItem {
            id: id.into(),
            sample: 0,
            checks: checks.iter().map(|&(strict, loose)| Followed { check: "c".into(), strict, loose }).collect(),
        };
        let items = Items::Forms(vec![item("a", &[(true, true), (false, true)]), item("b", &[(true, true)])]);
        let shares = |metric| {
            let prompts = items.outcomes(metric);
            (prompts.iter().map(|p| p.shown).sum::<f64>(), prompts.iter().map(|p| p.n_rollouts).sum::<u32>())
        };
        assert_eq!(
            items.metrics().iter().map(|metric| shares(*metric)).collect::<Vec<_>>(),
            [(1.0, 2), (2.0, 2), (2.0, 3), (3.0, 3)]
        );
    }
}
