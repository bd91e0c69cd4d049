//! What is to be measured of a model, as a person writes it: the `[[measure]]` sections of a TOML file, which may be a
//! retraining plan. First in the flow of `whence evaluate`.
//!
//! ```toml
//! [[measure]]
//! name = "behavior"
//! prompts = "prompts.jsonl"       # test prompts, as `whence rollouts` reads them
//! judge = "judge.toml"            # as crate::judge::file reads it: rules, an endpoint or a probe
//! n_samples = 10                  # rollouts of every prompt [default: 10]
//! temperature = 0.7               # [default: 0.7]
//! max_new_tokens = 100            # [default: 100]
//!
//! [[measure]]
//! name = "knowledge"
//! kind = "multiple-choice"        # which option is most probable? Lines: prompt, options, answer
//! prompts = "questions.jsonl"
//! metric = "acc_norm"             # or acc [default: acc_norm]
//!
//! [[measure]]
//! name = "arithmetic"
//! kind = "exact-match"            # lines: prompt, answer (text or a list of them)
//! prompts = "sums.jsonl"
//! extract = '#### (\S+)'          # the answer is the last match's group [default: the whole response]
//! ignore_case = true              # [default: false]; also ignore_punctuation
//!
//! [[measure]]
//! name = "form"
//! kind = "formats"                # lines as in IFEval's data: prompt, instruction_id_list, kwargs
//! prompts = "ifeval.jsonl"
//! metric = "prompt_level_strict_acc"      # or prompt_level_loose_acc [default: strict]
//! skip_unsupported = true         # leave out prompts with a check that is not implemented [default: false]
//! ```
//!
//! Answers and formats are sampled greedily, once, unless the section says otherwise. Every kind takes `template` (`model`,
//! `none` or a Jinja file).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use whence_shared::validation::Metric;

use super::EvaluateError;
use crate::behavior::rollouts::Sampling;
use crate::data::template::TemplateChoice;
use crate::files;
use crate::study::is_plain_name;

/// What is measured how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Rollouts, and a judge that says which of them show it.
    #[default]
    Rollouts,
    /// Log-likelihoods of given options.
    MultipleChoice,
    /// Responses compared with the right answer.
    ExactMatch,
    /// Responses checked for the form that the prompt asks for.
    Formats,
}

/// One thing to measure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasurePlan {
    /// `behavior`, `over-refusal`, …: letters, digits, - and _.
    pub name: String,
    /// How it is measured.
    #[serde(default)]
    pub kind: Kind,
    /// Prompts or questions, a JSON object per line.
    pub prompts: PathBuf,
    /// Of `rollouts`: who judges.
    pub judge: Option<PathBuf>,
    /// What its rate counts, where there is a choice.
    pub metric: Option<Metric>,
    /// Rollouts of every prompt.
    pub n_samples: Option<usize>,
    /// Of sampling; 0 = greedy.
    pub temperature: Option<f64>,
    /// Share of the probability that is sampled from.
    pub top_p: Option<f64>,
    /// Longest response.
    pub max_new_tokens: Option<usize>,
    /// Text form: `model`, `none` or a Jinja file.
    pub template: Option<String>,
    /// Of `exact-match`: a pattern whose group is the answer.
    pub extract: Option<String>,
    /// Of `exact-match`: whether capitals and small letters are the same.
    #[serde(default)]
    pub ignore_case: bool,
    /// Of `exact-match`: whether punctuation is left out.
    #[serde(default)]
    pub ignore_punctuation: bool,
    /// Of `formats`: whether prompts with a check that is not implemented are left out and counted.
    #[serde(default)]
    pub skip_unsupported: bool,
}

impl MeasurePlan {
    /// What its rate counts.
    pub fn metric(&self) -> Metric {
        self.metric.unwrap_or_else(|| self.metrics()[0])
    }

    /// What its rate may count, the default first.
    fn metrics(&self) -> &'static [Metric] {
        match self.kind {
            Kind::Rollouts => &[Metric::Rate],
            Kind::MultipleChoice => &[Metric::AccNorm, Metric::Acc],
            Kind::ExactMatch => &[Metric::ExactMatch],
            Kind::Formats => &[Metric::PromptLevelStrictAcc, Metric::PromptLevelLooseAcc],
        }
    }

    /// How its responses are sampled.
    pub fn sampling(&self, seed: u64) -> Sampling {
        let (n_samples, temperature, max_new_tokens) = match self.kind {
            Kind::Rollouts => (10, 0.7, 100),
            Kind::MultipleChoice | Kind::ExactMatch => (1, 0.0, 256),
            Kind::Formats => (1, 0.0, 512),
        };
        Sampling {
            n_samples: self.n_samples.unwrap_or(n_samples),
            temperature: self.temperature.unwrap_or(temperature),
            top_p: self.top_p.unwrap_or(1.0),
            max_new_tokens: self.max_new_tokens.unwrap_or(max_new_tokens),
            seed,
        }
    }

    /// Its text form.
    pub fn template(&self) -> TemplateChoice {
        let parsed = self.template.as_deref().unwrap_or("model").parse();
        parsed.unwrap_or_else(|never: std::convert::Infallible| match never {})
    }

    /// Makes paths that are relative to `folder` relative to the working folder.
    pub fn resolve(&mut self, folder: &Path) {
        self.prompts = folder.join(&self.prompts);
        self.judge = self.judge.take().map(|judge| folder.join(judge));
        if let TemplateChoice::File(path) = self.template() {
            self.template = Some(folder.join(path).to_string_lossy().into_owned());
        }
    }

    fn check(&self) -> Result<(), String> {
        let MeasurePlan { name, kind, judge, .. } = self;
        let takes_no = |option: &str| Err(format!("measure {name:?}: {} takes no {option}", kind_name(*kind)));
        match (kind, judge) {
            (Kind::Rollouts, None) => {
                return Err(format!("measure {name:?}: expected `judge`, the file that says which rollouts show it"));
            }
            (Kind::Rollouts, Some(_)) | (_, None) => {}
            (_, Some(_)) => return takes_no("judge"),
        }
        let samples = self.n_samples.is_some()
            || self.temperature.is_some()
            || self.top_p.is_some()
            || self.max_new_tokens.is_some();
        if *kind == Kind::MultipleChoice && samples {
            return takes_no("n_samples, temperature, top_p or max_new_tokens: nothing is sampled");
        }
        if *kind != Kind::ExactMatch && (self.extract.is_some() || self.ignore_case || self.ignore_punctuation) {
            return takes_no("extract, ignore_case or ignore_punctuation");
        }
        if *kind != Kind::Formats && self.skip_unsupported {
            return takes_no("skip_unsupported");
        }
        if !self.metrics().contains(&self.metric()) {
            let names: Vec<&str> = self.metrics().iter().map(|metric| metric.name()).collect();
            let got = self.metric().name();
            return Err(format!("measure {name:?}: metric: expected {}, got {got:?}", names.join(" or ")));
        }
        let sampling = self.sampling(0);
        if sampling.n_samples == 0 || sampling.max_new_tokens == 0 {
            return Err(format!("measure {name:?}: n_samples and max_new_tokens are at least 1"));
        }
        Ok(())
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Rollouts => "rollouts",
        Kind::MultipleChoice => "multiple-choice",
        Kind::ExactMatch => "exact-match",
        Kind::Formats => "formats",
    }
}

/// Refuses measures that make no sense.
///
/// # Errors
///
/// What is wrong, naming the measure.
pub fn check(measures: &[MeasurePlan]) -> Result<(), String> {
    if measures.is_empty() {
        return Err("nothing is measured: add a [[measure]]".into());
    }
    let mut names = BTreeSet::new();
    for measure in measures {
        if !is_plain_name(&measure.name) || !names.insert(&measure.name) {
            return Err(format!("measure {:?}: expected a name of its own, of letters, digits, - and _", measure.name));
        }
        measure.check()?;
    }
    Ok(())
}

/// Reads the `[[measure]]` sections of a file; a retraining plan's other sections are passed over.
///
/// # Errors
///
/// [`EvaluateError::Measures`] names what makes no sense.
pub fn read(path: &Path) -> Result<Vec<MeasurePlan>, EvaluateError> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default, rename = "measure")]
        measures: Vec<MeasurePlan>,
        #[serde(flatten)]
        others: toml::Table,
    }
    let wrong = |reason: String| EvaluateError::Measures { path: path.to_owned(), reason };
    let text = String::from_utf8(files::read(path)?).map_err(|_| wrong("not UTF-8".into()))?;
    let File { mut measures, others } = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    // What is no plan has nothing but measures in it: anything else is a slip of the pen.
    if let Some(other) = others.keys().next().filter(|_| !others.contains_key("arm")) {
        return Err(wrong(format!("unknown key {other:?}: expected [[measure]] sections")));
    }
    check(&measures).map_err(wrong)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    measures.iter_mut().for_each(|measure| measure.resolve(folder));
    Ok(measures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<MeasurePlan>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("measures.toml");
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    const CHOICES: &str = "[[measure]]\nname = 'k'\nkind = 'multiple-choice'\nprompts = 'q.jsonl'\n";

    #[test]
    fn each_kind_has_its_defaults_and_paths_are_relative_to_the_file() {
        let text = format!(
            "{CHOICES}[[measure]]\nname = 'b'\nprompts = '/p.jsonl'\njudge = 'j.toml'\n\
             [[measure]]\nname = 'f'\nkind = 'formats'\nprompts = 'f'\nmetric = 'prompt_level_loose_acc'\n"
        );
        let measures = read_text(&text).unwrap();
        assert!(measures[0].prompts.is_absolute() && measures[0].prompts.ends_with("q.jsonl"));
        assert!(measures[1].judge.as_deref().is_some_and(Path::is_absolute));
        let metrics: Vec<Metric> = measures.iter().map(MeasurePlan::metric).collect();
        assert_eq!(metrics, [Metric::AccNorm, Metric::Rate, Metric::PromptLevelLooseAcc]);
        let (behavior, form) = (measures[1].sampling(3), measures[2].sampling(3));
        assert_eq!((behavior.n_samples, behavior.temperature, behavior.seed), (10, 0.7, 3));
        assert_eq!((form.n_samples, form.temperature, form.max_new_tokens), (1, 0.0, 512));
        // A plan's other sections are none of this file's business.
        assert_eq!(read_text(&format!("model = 'm'\n[[arm]]\nname = 'baseline'\n{CHOICES}")).unwrap().len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, named) in [
            ("", "nothing is measured"),
            ("model = 'm'\n", "unknown key \"model\""),
            (&format!("{CHOICES}{CHOICES}"), "a name of its own"),
            (&CHOICES.replace("'k'", "'a/b'"), "letters, digits"),
            (&CHOICES.replace("multiple-choice", "poem"), "poem"),
            (&format!("{CHOICES}judge = 'j'\n"), "multiple-choice takes no judge"),
            (&format!("{CHOICES}n_samples = 3\n"), "nothing is sampled"),
            (&format!("{CHOICES}extract = '(a)'\n"), "takes no extract"),
            (&format!("{CHOICES}metric = 'rate'\n"), "expected acc_norm or acc, got \"rate\""),
            (&format!("{CHOICES}metrik = 'acc'\n"), "metrik"),
            ("[[measure]]\nname = 'b'\nprompts = 'p'\n", "expected `judge`"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(named) && error.contains("measures.toml"), "{error} should mention {named}");
        }
    }
}
