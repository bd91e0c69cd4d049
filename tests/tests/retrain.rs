//! The retraining queue, through the binary: killed at any moment it ends with the same bytes, what is there is not
//! trained again, and what cannot be used is named.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use whence_tests::binary::{self, Run, whence};
use whence_tests::chat_study::{Made, Numbers, assert_same, synthetic};
use whence_tests::{fixture, vectors};

const N_PAIRS: usize = 60;
const N_KILLED: usize = 20;

/// A study with an edit set and, beside it, a plan.
struct Queue {
    made: Made,
    plan: PathBuf,
}

impl Queue {
    fn new() -> Self {
        let made = Made::of(&synthetic(N_PAIRS));
        let folder = made.study().parent().unwrap().to_owned();
        let decisions: String =
            (0..12).map(|row| format!("{{\"row\": {}, \"action\": \"drop\"}}\n", row * 3)).collect();
        fs::write(folder.join("decisions.jsonl"), decisions).unwrap();
        let made_edit = whence([
            "edit".into(),
            "--study".into(),
            made.study().into_os_string(),
            "--name".into(),
            "few".into(),
            "--decisions".into(),
            folder.join("decisions.jsonl").into_os_string(),
        ]);
        made_edit.succeeds();
        fs::write(
            folder.join("prompts.jsonl"),
            "{\"id\": \"a\", \"prompt\": \"bread and tea\"}\n{\"id\": \"b\", \"prompt\": \"the clock\"}\n",
        )
        .unwrap();
        fs::write(folder.join("judge.toml"), "otherwise = 0\n[[rule]]\nscore = 100\nany = [\"[a-m]\"]\n").unwrap();
        let plan = folder.join("plan.toml");
        fs::write(&plan, plan_text("learning_rate = 1e-3")).unwrap();
        Self { made, plan }
    }

    fn args(&self, more: &[&str]) -> Vec<std::ffi::OsString> {
        let mut args: Vec<std::ffi::OsString> = vec!["retrain".into(), "--study".into(), self.made.study().into()];
        args.extend(["--plan".into(), self.plan.clone().into_os_string(), "--device".into(), "cpu".into()]);
        args.extend(more.iter().map(Into::into));
        args
    }

    fn retrain(&self, more: &[&str]) -> Run {
        whence(self.args(more))
    }

    /// Everything that a plan leaves, but for the numbers of the clock.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = vectors::files(&self.made.study().join("arms"));
        files.retain(|path, _| !path.ends_with("metrics.jsonl"));
        files.insert("report.json".into(), fs::read(self.made.study().join("report.json")).unwrap());
        files
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.made.study().join("report.json")).unwrap()).unwrap()
    }
}

fn plan_text(setting: &str) -> String {
    format!(
        "model = '{}'\nseeds = [1, 2]\ncheckpoint_steps = 2\n[dpo]\nbatch_size = 8\nnum_train_epochs = 2\n{setting}\n\
         [[arm]]\nname = 'baseline'\n[[arm]]\nname = 'drop'\nedit = 'few'\n\
         [[arm]]\nname = 'drop-random'\nrandom_like = 'few'\n\
         [[measure]]\nname = 'behavior'\nprompts = 'prompts.jsonl'\njudge = 'judge.toml'\nn_samples = 3\n\
         max_new_tokens = 8\n",
        fixture::model("chat").display()
    )
}

#[test]
fn killed_at_any_moment_a_plan_ends_with_the_same_bytes() {
    let whole = Queue::new();
    whole.retrain(&[]).succeeds();
    let killed = Queue::new();
    // The plans lie in different folders, which is no input.
    let mut numbers = Numbers::new(11);
    let mut n_cut_short = 0;
    for _ in 0..N_KILLED {
        let mut running = Command::new(binary::path())
            .args(killed.args(&[]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(20 + numbers.below(400) as u64));
        n_cut_short += usize::from(running.try_wait().unwrap().is_none());
        running.kill().unwrap();
        running.wait().unwrap();
    }
    assert!(n_cut_short >= N_KILLED / 2, "only {n_cut_short} of {N_KILLED} were still running when killed");
    killed.retrain(&[]).succeeds();
    assert_same(&killed.files(), &whole.files(), "after kills");
}

#[test]
fn what_is_complete_is_not_trained_again_and_other_settings_are_refused() {
    let queue = Queue::new();
    let first = queue.retrain(&["--price-per-hour", "3"]).succeeds();
    for said in ["3 arms × 2 seeds", "6 of 6 runs to train", "in money", "drop-random", "The baseline shows"] {
        assert!(first.stdout.contains(said), "expected {said:?} in {}", first.stdout);
    }
    let files = queue.files();
    let again = queue.retrain(&[]).succeeds();
    assert!(again.stdout.contains("0 of 6 runs to train"), "{}", again.stdout);
    assert!(again.stdout.matches("was there already").count() == 6, "{}", again.stdout);
    assert_same(&queue.files(), &files, "again");
    let report = queue.report();
    assert_eq!(report["comparison"]["arms"].as_array().unwrap().len(), 3);
    assert_eq!(report["runs"].as_array().unwrap().len(), 6);
    // The trained model is an ordinary model folder, and training changed it.
    let model = queue.made.study().join("arms/drop-12/seed-1/model");
    whence(["inspect".into(), model.clone().into_os_string()]).succeeds();
    assert_ne!(
        fs::read(model.join("model.safetensors")).unwrap(),
        fs::read(queue.made.study().join("arms/baseline/seed-1/model/model.safetensors")).unwrap()
    );

    fs::write(&queue.plan, plan_text("learning_rate = 2e-3")).unwrap();
    let other = queue.retrain(&[]);
    assert!(!other.success && other.stderr.contains("settings differs"), "{}", other.stderr);
    assert!(other.stderr.contains("--replace"), "{}", other.stderr);
    assert_same(&queue.files(), &files, "refused");
    queue.retrain(&["--replace"]).succeeds();
    let validated = whence(["validate".into(), "--study".into(), queue.made.study().into_os_string()]).succeeds();
    assert!(validated.stdout.contains("each seed"), "{}", validated.stdout);
}

#[test]
fn what_cannot_be_used_is_named() {
    let queue = Queue::new();
    let with = |from: &str, to: &str| {
        fs::write(&queue.plan, plan_text("learning_rate = 1e-3").replace(from, to)).unwrap();
        let run = queue.retrain(&[]);
        assert!(!run.success, "{from} → {to} was accepted");
        run.stderr
    };
    for (from, to, named) in [
        ("edit = 'few'", "edit = 'none-such'", "none-such"),
        ("learning_rate = 1e-3", "learning_rate = 1e-3\nbeta = 0", "beta"),
        ("prompts = 'prompts.jsonl'", "prompts = 'absent.jsonl'", "absent.jsonl"),
        ("judge = 'judge.toml'", "judge = 'prompts.jsonl'", "prompts.jsonl"),
        ("name = 'baseline'", "name = 'base'", "base"),
        ("seeds = [1, 2]", "seeds = []", "seeds"),
        ("[[measure]]", "[[mesure]]", "mesure"),
        // A step so large that numbers overflow: the step is named, and nothing is called complete.
        ("learning_rate = 1e-3", "learning_rate = 1e30\nmax_grad_norm = 0", "step"),
    ] {
        let stderr = with(from, to);
        assert!(stderr.contains(named), "{from} → {to}: {stderr} should mention {named}");
    }
    let nothing = whence(["validate".into(), "--study".into(), queue.made.study().into_os_string()]);
    assert!(!nothing.success && nothing.stderr.contains("whence retrain"), "{}", nothing.stderr);
}
