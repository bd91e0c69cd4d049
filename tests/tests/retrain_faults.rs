//! What goes wrong while a plan is carried out: a disk that takes no more, a loss that is no number, two at once, a run that
//! was killed. Nothing that was there is lost, and the same command goes on.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use whence_backend::study::Study;
use whence_backend::validate::lock;
use whence_tests::binary::{self, finish, whence};
use whence_tests::chat_study::assert_same;
use whence_tests::retraining::{ARMS, Queue, plan};

/// A disk that takes no file larger than this: the system answers as it does when a disk is full, but for the number.
fn with_limit(queue: &Queue, kilobytes: u64, more: &[&str]) -> binary::Run {
    let mut command = Command::new("bash");
    // An ignored signal stays ignored: writing fails instead of ending the process.
    command.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &kilobytes.to_string()]);
    command.arg(binary::path()).args(queue.args(more));
    finish(command)
}

#[test]
fn a_disk_that_takes_no_more_is_named_and_the_queue_goes_on_when_it_does() {
    let whole = Queue::new();
    whole.retrain(&[]).succeeds();
    let queue = Queue::new();
    // Log-probabilities, a model, a checkpoint: each is the first that does not fit.
    for (kilobytes, checkpoint_steps, file) in
        [(1, 2, "reference-logps"), (100, 100, "model.safetensors"), (100, 2, "checkpoint.safetensors")]
    {
        let steps = format!("checkpoint_steps={checkpoint_steps}");
        with_limit(&queue, kilobytes, &["--set", &steps]).fails_naming(&["cannot write", file, "ulimit -f"]);
    }
    // What is complete by now stays, and is not trained again.
    let first = queue.retrain(&["--set", "seeds=[1]"]).succeeds();
    assert!(first.stdout.contains("3 of 3 runs to train"), "{}", first.stdout);
    let before = fs::read(queue.made.study().join("arms/drop-12/seed-1/run.json")).unwrap();
    with_limit(&queue, 300, &[]).fails_naming(&["checkpoint.safetensors", "run the same command again"]);
    assert_eq!(fs::read(queue.made.study().join("arms/drop-12/seed-1/run.json")).unwrap(), before);
    let rest = queue.retrain(&[]).succeeds();
    assert!(rest.stdout.contains("3 of 6 runs to train"), "{}", rest.stdout);
    assert_same(&queue.files(), &whole.files(), "once there was room");
}

#[test]
fn a_loss_that_is_no_number_keeps_the_last_good_checkpoint_and_other_settings_replace_it() {
    let fresh = Queue::new();
    fresh.retrain(&[]).succeeds();
    let queue = Queue::new();
    let exploding = plan("", "learning_rate = 1e30\nmax_grad_norm = 0", ARMS)
        .replace("checkpoint_steps = 2", "checkpoint_steps = 1");
    queue.write(&exploding);
    let failed = queue.retrain(&[]).fails_naming(&["arm baseline, seed 1", "at step", "pair-", "learning rate"]);
    let checkpoint = queue.made.study().join("arms/baseline/seed-1/checkpoint/checkpoint.safetensors");
    assert!(checkpoint.is_file(), "the step before left it: {}", failed.stderr);
    let bytes = fs::read(&checkpoint).unwrap();
    queue.retrain(&[]).fails_naming(&["at step"]);
    assert_eq!(fs::read(&checkpoint).unwrap(), bytes, "and it stays");

    queue.write(&plan("", "", ARMS));
    queue.retrain(&[]).fails_naming(&["another run", "learning_rate: expected 0.001, got 1e"]);
    assert_eq!(fs::read(&checkpoint).unwrap(), bytes, "refused, not removed");
    queue.retrain(&["--replace"]).succeeds();
    assert_same(&queue.files(), &fresh.files(), "replaced");
}

#[test]
fn a_killed_run_is_stopped_for_whoever_looks_and_a_second_one_is_refused() {
    let queue = Queue::new();
    queue.write(&plan("", "learning_rate = 1e-3", ARMS).replace("num_train_epochs = 2", "num_train_epochs = 2000"));
    let study = Study::at(queue.made.study());
    let mut running =
        Command::new(binary::path()).args(queue.args(&[])).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let stage = || {
        let report = whence(["inspect".into(), queue.made.study().into_os_string(), "--json".into()]).succeeds();
        let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
        report["arms"][0]["runs"][0]["stage"].as_str().unwrap_or_default().to_owned()
    };
    let start = Instant::now();
    while stage() != "training" {
        assert!(start.elapsed() < Duration::from_secs(60) && running.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(20));
    }
    assert_eq!(lock::is_held(&study), Some(true));
    queue.retrain(&[]).fails_naming(&["arms/lock", "already"]);
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!((stage().as_str(), lock::is_held(&study)), ("stopped", Some(false)));
    let said = whence(["inspect".into(), queue.made.study().into_os_string()]).succeeds().stdout;
    for part in ["edit set     few: 12 dropped, 0 switched", "arm          baseline: seed 1 stopped at step", "waits"] {
        assert!(said.contains(part), "expected {part:?} in {said}");
    }
    assert!(said.contains("runs are not complete: run `whence retrain` again"), "{said}");
}
