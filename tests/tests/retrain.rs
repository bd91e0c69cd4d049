//! The retraining queue, through the binary: killed at any moment it ends with the same bytes, what is there is not
//! trained again, and what cannot be used is named.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use whence_tests::binary::{self, Run, whence};
use whence_tests::chat_study::{Made, Numbers, assert_same, synthetic};
use whence_tests::loopback::{Answer, Server};
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
        let question = |prompt: &str, answer: usize| {
            format!(
                "{{\"prompt\": \"{prompt}\", \"options\": [\"tea\", \"a clock\", \"bread\"], \"answer\": {answer}}}\n"
            )
        };
        let questions: String =
            ["bread", "tea", "river", "the clock"].iter().zip([2, 0, 1, 1]).map(|(p, a)| question(p, a)).collect();
        fs::write(folder.join("questions.jsonl"), questions).unwrap();
        let form = |prompt: &str| {
            format!("{{\"prompt\": \"{prompt}\", \"instruction_id_list\": [\"punctuation:no_comma\"]}}\n")
        };
        fs::write(folder.join("form.jsonl"), form("bread") + &form("tea")).unwrap();
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
         max_new_tokens = 8\n[[measure]]\nname = 'knowledge'\nkind = 'multiple-choice'\nprompts = 'questions.jsonl'\n\
         [[measure]]\nname = 'form'\nkind = 'formats'\nprompts = 'form.jsonl'\nmax_new_tokens = 8\n",
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
    // Capability stands beside the behavior: per arm with an interval, per run, and in words.
    let sides = report["comparison"]["side_rates"].as_array().unwrap();
    let names: Vec<&str> = sides.iter().map(|side| side["measure"].as_str().unwrap()).collect();
    assert_eq!(names, ["form", "knowledge"]);
    assert!(sides.iter().all(|side| side["arms"].as_array().unwrap().len() == 3), "{sides:?}");
    assert_eq!(report["measures"][1]["metric"], "acc_norm");
    let knowledge = &report["comparison"]["effects"][0]["side_changes"][1]["effect"];
    assert!(knowledge["p_holm"].is_number() && knowledge["n_prompts"] == 4, "{knowledge}");
    assert!(report["runs"][0]["rates"]["knowledge"].is_number());
    assert!(report["comparison"]["conclusion"]["text"].as_str().unwrap().contains("Meanwhile knowledge"));
    for said in ["knowledge: share of questions", "form: share of responses"] {
        assert!(first.stdout.contains(said), "expected {said:?} in {}", first.stdout);
    }
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
        ("kind = 'formats'", "kind = 'forms'", "forms"),
        ("kind = 'formats'", "kind = 'exact-match'", "form.jsonl line 1"),
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

/// A judge at an endpoint that says 80 to responses of even length, counts its tokens, and falls silent after `n` answers.
fn judging_server(n: Arc<AtomicUsize>) -> Server {
    Server::start(move |request| {
        if n.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err() {
            return Answer::new(503, "too busy");
        }
        let score = if request.body.len().is_multiple_of(2) { 80 } else { 20 };
        let message = json!({"role": "assistant", "content": format!("<score>{score}</score>")});
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 2});
        let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage});
        Answer::new(200, body.to_string())
    })
}

#[test]
fn a_judge_at_an_endpoint_is_paid_once_and_named_when_it_falls_silent() {
    let queue = Queue::new();
    let folder = queue.plan.parent().unwrap().to_owned();
    let left = Arc::new(AtomicUsize::new(1));
    let server = judging_server(left.clone());
    fs::write(folder.join("judge.txt"), "Q: {prompt}\nA: {response}").unwrap();
    let judge = format!(
        "endpoint = '{}/v1'\nmodel = 'judge-of-tea'\nprompt = 'judge.txt'\nretries = 1\nretry_wait_secs = 0.005\n\
         concurrency = 1\nprice_in = 1e6\nprice_out = 0\n",
        server.url()
    );
    fs::write(folder.join("endpoint.toml"), judge).unwrap();
    let plan = plan_text("learning_rate = 1e-3").replace("judge.toml", "endpoint.toml").replace("[1, 2]", "[1]");
    fs::write(&queue.plan, plan).unwrap();

    let silent = queue.retrain(&[]);
    assert!(!silent.success, "{}", silent.stdout);
    for part in
        ["arm baseline, seed 1, measure \"behavior\"", "judge \"judge-of-tea\"", "of 6 rollouts", "the same command"]
    {
        assert!(silent.stderr.contains(part), "expected {part:?} in {}", silent.stderr);
    }
    let trained = queue.made.study().join("arms/baseline/seed-1/trained.json");
    let before = fs::metadata(&trained).unwrap().modified().unwrap();

    left.store(usize::MAX, Ordering::SeqCst);
    server.forget();
    let done = queue.retrain(&["--price-per-hour", "1"]).succeeds();
    assert_eq!(fs::metadata(&trained).unwrap().modified().unwrap(), before, "the model is not trained again");
    assert!(done.stdout.contains("judge of behavior") && done.stdout.contains("from the cache"), "{}", done.stdout);
    assert!(done.stdout.contains("cost "), "{}", done.stdout);
    let n_asked = server.requests().len();
    assert!((1..=3 * 6 - 1).contains(&n_asked), "{n_asked}: what was answered is not asked again");
    let files = queue.files();
    server.forget();
    queue.retrain(&[]).succeeds();
    assert_eq!(server.requests().len(), 0, "nothing is asked twice");
    assert_same(&queue.files(), &files, "again");
}
