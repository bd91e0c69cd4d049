//! A small study with an edit set, a plan beside it, and `whence retrain` on them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::binary::{self, Run, whence};
use crate::chat_study::{Made, Numbers, synthetic};
use crate::{fixture, vectors};

/// Pairs in the study.
pub const N_PAIRS: usize = 60;
/// Three arms with two seeds each.
pub const ARMS: &str = "[[arm]]\nname = 'baseline'\n[[arm]]\nname = 'drop'\nedit = 'few'\n\
                        [[arm]]\nname = 'drop-random'\nrandom_like = 'few'\n";
/// What the behavior is called that [`Queue::rank`] ranks by.
pub const BEHAVIOR: &str = "calm";

/// A study with the edit set `few`, which drops 12 pairs, and a plan.
#[derive(Debug)]
pub struct Queue {
    /// The study.
    pub made: Made,
    /// The plan's file.
    pub plan: PathBuf,
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue {
    /// With the plan that [`plan`] makes of [`ARMS`].
    ///
    /// # Panics
    ///
    /// Panics when something cannot be written or made.
    pub fn new() -> Self {
        let made = Made::of(&synthetic(N_PAIRS));
        let folder = made.study().parent().expect("a study lies in a folder").to_owned();
        let decisions: String =
            (0..12).map(|row| format!("{{\"row\": {}, \"action\": \"drop\"}}\n", row * 3)).collect();
        fs::write(folder.join("decisions.jsonl"), decisions).unwrap();
        fs::write(
            folder.join("prompts.jsonl"),
            "{\"id\": \"a\", \"prompt\": \"bread and tea\"}\n{\"id\": \"b\", \"prompt\": \"the clock\"}\n",
        )
        .unwrap();
        let question = |(prompt, answer): (&str, usize)| {
            let options = "[\"tea\", \"a clock\", \"bread\"]";
            format!("{{\"prompt\": \"{prompt}\", \"options\": {options}, \"answer\": {answer}}}\n")
        };
        let questions = [("bread", 2), ("tea", 0), ("river", 1), ("the clock", 1)];
        fs::write(folder.join("questions.jsonl"), questions.map(question).concat()).unwrap();
        let form = |prompt: &str| {
            format!("{{\"prompt\": \"{prompt}\", \"instruction_id_list\": [\"punctuation:no_comma\"]}}\n")
        };
        fs::write(folder.join("form.jsonl"), form("bread") + &form("tea")).unwrap();
        fs::write(folder.join("judge.toml"), "otherwise = 0\n[[rule]]\nscore = 100\nany = [\"[a-m]\"]\n").unwrap();
        let queue = Self { plan: folder.join("plan.toml"), made };
        let decisions = folder.join("decisions.jsonl");
        queue.whence("edit", &["--name", "few", "--decisions", &decisions.to_string_lossy()]).succeeds();
        queue.write(&plan("", "", ARMS));
        queue
    }

    /// Runs a verb on the study.
    pub fn whence(&self, verb: &str, more: &[&str]) -> Run {
        let mut args: Vec<OsString> = vec![verb.into(), "--study".into(), self.made.study().into()];
        args.extend(more.iter().map(Into::into));
        whence(args)
    }

    /// Writes the plan.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be written.
    pub fn write(&self, plan: &str) {
        fs::write(&self.plan, plan).unwrap();
    }

    /// Extracts, defines the behavior [`BEHAVIOR`] and ranks by it at layer 2.
    ///
    /// # Panics
    ///
    /// Panics when a step fails.
    pub fn rank(&self) {
        self.made.extract(&["--layers", "2", "--no-index"]);
        let pairs = self.made.study().parent().expect("a study lies in a folder").join("behavior.jsonl");
        let line =
            |prompt: &str| format!("{{\"prompt\": \"{prompt}\", \"r0\": \"the clock\", \"r1\": \"a quiet river\"}}\n");
        fs::write(&pairs, ["bread", "tea and 12,5", "don't"].map(line).concat()).unwrap();
        let model = fixture::model("chat");
        let (pairs, model) = (pairs.to_string_lossy(), model.to_string_lossy());
        let named = ["--name", BEHAVIOR, "--pairs", &pairs, "--model", &model, "--device", "cpu"];
        self.whence("behavior", &named).succeeds();
        self.whence("rank", &["--behavior", BEHAVIOR, "--layer", "2"]).succeeds();
    }

    /// Arguments of `whence retrain`.
    pub fn args(&self, more: &[&str]) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["retrain".into(), "--study".into(), self.made.study().into()];
        args.extend(["--plan".into(), self.plan.clone().into_os_string(), "--device".into(), "cpu".into()]);
        args.extend(more.iter().map(Into::into));
        args
    }

    /// Runs it.
    pub fn retrain(&self, more: &[&str]) -> Run {
        whence(self.args(more))
    }

    /// Starts it and kills it at a moment within `max_ms`, `n` times. Returns how often it was still running.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be started.
    pub fn kill(&self, n: usize, max_ms: usize, seed: u64) -> usize {
        let mut numbers = Numbers::new(seed);
        let mut n_cut_short = 0;
        for _ in 0..n {
            let mut running = Command::new(binary::path())
                .args(self.args(&[]))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            sleep(Duration::from_millis(20 + numbers.below(max_ms) as u64));
            n_cut_short += usize::from(running.try_wait().unwrap().is_none());
            running.kill().unwrap();
            running.wait().unwrap();
        }
        n_cut_short
    }

    /// Everything that a plan leaves, but for the numbers of the clock.
    ///
    /// # Panics
    ///
    /// Panics when something is missing.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = vectors::files(&self.made.study().join("arms"));
        let has_clock = |name: &str| name == "metrics.jsonl" || name.starts_with("events.");
        files.retain(|path, _| !path.file_name().is_some_and(|name| has_clock(&name.to_string_lossy())));
        files.insert("report.json".into(), fs::read(self.made.study().join("report.json")).unwrap());
        files
    }

    /// `report.json`.
    ///
    /// # Panics
    ///
    /// Panics when it is not there.
    pub fn report(&self) -> Value {
        self.json("report.json")
    }

    /// A JSON file of the study.
    ///
    /// # Panics
    ///
    /// Panics when it is not there or no JSON.
    pub fn json(&self, path: &str) -> Value {
        let path = self.made.study().join(path);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// A plan with two seeds and three measures: the behavior, questions, and instructions on form. `top` goes before its tables, `dpo` among the training settings.
pub fn plan(top: &str, dpo: &str, arms: &str) -> String {
    let dpo = if dpo.is_empty() { "learning_rate = 1e-3" } else { dpo };
    format!(
        "model = '{}'\nseeds = [1, 2]\ncheckpoint_steps = 2\n{top}\n[dpo]\nbatch_size = 8\nnum_train_epochs = 2\n{dpo}\n\
         {arms}\
         [[measure]]\nname = 'behavior'\nprompts = 'prompts.jsonl'\njudge = 'judge.toml'\nn_samples = 3\n\
         max_new_tokens = 8\n[[measure]]\nname = 'knowledge'\nkind = 'multiple-choice'\nprompts = 'questions.jsonl'\n\
         [[measure]]\nname = 'form'\nkind = 'formats'\nprompts = 'form.jsonl'\nmax_new_tokens = 8\n",
        fixture::model("chat").display()
    )
}
