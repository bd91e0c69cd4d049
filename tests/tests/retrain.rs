//! The retraining queue, through the binary: killed at any moment it ends with the same bytes, what is there is not
//! trained again, and what cannot be used is named.

use std::fs;

use whence_tests::binary::whence;
use whence_tests::chat_study::assert_same;
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

    queue.write(&plan_text("learning_rate = 2e-3"));
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
