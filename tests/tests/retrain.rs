//! The retraining queue, through the binary: killed at any moment it ends with the same bytes, what is there is not
//! trained again, and what cannot be used is named.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use whence_tests::binary::whence;
use whence_tests::chat_study::assert_same;
use whence_tests::loopback::{Answer, Server};
use whence_tests::retraining::{ARMS, Queue, plan};

const N_KILLED: usize = 20;

fn plan_text(setting: &str) -> String {
    plan("", setting, ARMS)
}

#[test]
fn killed_at_any_moment_a_plan_ends_with_the_same_bytes() {
    let whole = Queue::new();
    whole.retrain(&[]).succeeds();
    let killed = Queue::new();
    // The plans lie in different folders, which is no input.
    let n_cut_short = killed.kill(N_KILLED, 400, 11);
    assert!(n_cut_short >= N_KILLED / 2, "only {n_cut_short} of {N_KILLED} were still running when killed");
    killed.retrain(&[]).succeeds();
    assert_same(&killed.files(), &whole.files(), "after kills");
}

#[test]
fn what_is_complete_is_not_trained_again_and_other_settings_are_refused() {
    let queue = Queue::new();
    let first = queue.retrain(&["--price-per-hour", "3"]).succeeds();
    for said in ["3 arms × 2 seeds", "6 of 6 runs to train", "a cost of", "drop-random", "The baseline shows"] {
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

    queue.write(&plan_text("learning_rate = 2e-3"));
    let other = queue.retrain(&[]);
    assert!(!other.success && other.stderr.contains("settings differs"), "{}", other.stderr);
    assert!(other.stderr.contains("--replace"), "{}", other.stderr);
    assert!(other.stderr.contains("learning_rate 0.001, now 0.002"), "both values are told: {}", other.stderr);
    assert_same(&queue.files(), &files, "refused");
    // A dry run says what the run would refuse, and refuses nothing.
    let dry = queue.retrain(&["--dry-run"]).succeeds().stdout;
    let told = "6 runs are there, made from something else (settings differs: learning_rate 0.001, now 0.002)";
    assert!(dry.contains(told) && dry.contains("needs --replace"), "{dry}");
    let dry = queue.retrain(&["--dry-run", "--replace"]).succeeds().stdout;
    assert!(dry.contains(told) && dry.contains("--replace trains them again"), "{dry}");
    assert_same(&queue.files(), &files, "only looked at");
    queue.retrain(&["--replace"]).succeeds();
    let validate = || whence(["validate".into(), "--study".into(), queue.made.study().into_os_string()]).succeeds();
    let validated = validate();
    assert!(validated.stdout.contains("each seed") && !validated.stdout.contains("note:"), "{}", validated.stdout);

    // The arm's edit set becomes another, and is gone: its rates are no longer of what the study has.
    queue.whence("edit", &["--name", "few", "--random", "12", "--replace"]).succeeds();
    let note = "note: arm drop-12 was trained on edit set \"few\", which";
    let said = validate().stdout;
    assert!(said.contains(&format!("{note} was replaced since")) && said.matches("note:").count() == 1, "{said}");
    let dry = queue.retrain(&["--dry-run"]).succeeds().stdout;
    assert!(dry.contains("2 runs are there, made from something else (edit differs"), "{dry}");
    fs::remove_file(queue.made.study().join("edits/few.parquet")).unwrap();
    let said = validate().stdout;
    assert!(said.contains(&format!("{note} is gone")), "{said}");
}

#[test]
fn what_cannot_be_used_is_named() {
    let queue = Queue::new();
    let with = |from: &str, to: &str| {
        queue.write(&plan_text("learning_rate = 1e-3").replace(from, to));
        let run = queue.retrain(&[]);
        assert!(!run.success, "{from} → {to} was accepted");
        run.stderr
    };
    for (from, to, named) in [
        ("edit = 'few'", "edit = 'none-such'", "none-such"),
        ("learning_rate = 1e-3", "learning_rate = 1e-3\nbeta = 0", "beta"),
        ("prompts = 'prompts.jsonl'", "prompts = 'absent.jsonl'", "absent.jsonl"),
        ("judge = 'judge.toml'", "judge = 'prompts.jsonl'", "prompts.jsonl"),
        ("judge = 'judge.toml'", "judge = 'nope.toml'", "plan.toml: measure \"behavior\": cannot read"),
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
