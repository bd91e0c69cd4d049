//! Rollouts: from a model on this machine, from a chat endpoint in this process that misbehaves in every way, and taken
//! in from elsewhere; interrupted, started again, and the same at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use whence_backend::behavior::rollouts::endpoint::{Endpoint, EndpointOptions};
use whence_backend::behavior::rollouts::{
    RolledOut, RolloutError, RolloutOptions, Sampling, Source, prompts, roll_out,
};
use whence_backend::progress::silent;
use whence_tests::loopback::{Answer, Request, Server};
use whence_tests::{binary, fixture};

/// A chat completion that says which prompt and seed it answers.
fn completion(request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let said = format!("{} / {}", body["messages"][0]["content"].as_str().unwrap(), body["seed"]);
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"});
    Answer::new(200, json!({"object": "chat.completion", "choices": [choice]}).to_string())
}

/// A folder with a file of prompts, and an endpoint.
struct Case {
    root: TempDir,
    server: Server,
    n_prompts: usize,
}

impl Case {
    fn new(n_prompts: usize, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let case = Self { root: tempfile::tempdir().unwrap(), server: Server::start(handler), n_prompts };
        let line =
            |i| format!("{{\"id\":\"p{i}\",\"prompt\":\"question {i}\",\"scenario\":\"s{}\",\"tag\":{i}}}\n", i % 2);
        fs::write(case.prompts(), (0..n_prompts).map(line).collect::<String>()).unwrap();
        case
    }

    fn prompts(&self) -> PathBuf {
        self.root.path().join("prompts.jsonl")
    }

    fn out(&self) -> PathBuf {
        self.root.path().join("rollouts.jsonl")
    }

    fn part(&self) -> PathBuf {
        self.root.path().join("rollouts.jsonl.part")
    }

    fn endpoint(&self) -> EndpointOptions {
        EndpointOptions {
            url: format!("{}/v1", self.server.url()),
            model: "m".into(),
            api_key_env: None,
            concurrency: 4,
            timeout: Duration::from_secs(20),
            n_retries: 2,
            retry_wait: Duration::from_millis(5),
            cache: self.root.path().join("cache"),
        }
    }

    fn options(&self) -> RolloutOptions {
        let sampling = Sampling { n_samples: 3, temperature: 0.5, top_p: 1.0, max_new_tokens: 20, seed: 7 };
        RolloutOptions { out: self.out(), sampling, replace: false }
    }

    fn run(&self, endpoint: EndpointOptions) -> Result<RolledOut, RolloutError> {
        let endpoint = Endpoint::new(endpoint).unwrap();
        let prompts = prompts::read(&self.prompts()).unwrap();
        roll_out(&prompts, &Source::Endpoint(&endpoint), &self.options(), &silent)
    }

    fn lines(&self) -> Vec<Value> {
        lines(&self.out())
    }

    /// Fails naming all of `parts`, and whatever was answered is kept.
    fn refused(&self, endpoint: EndpointOptions, n_kept: usize, parts: &[&str]) {
        let error = self.run(endpoint).unwrap_err().to_string();
        let kept = format!("{n_kept} of {} rollouts are kept in", self.n_prompts * 3);
        for part in parts.iter().copied().chain([kept.as_str(), "rollouts.jsonl.part", self.server.url().as_str()]) {
            assert!(error.contains(part), "expected {part:?} in: {error}");
        }
        assert!(!self.out().exists());
        assert_eq!(lines(&self.part()).len(), n_kept + 1, "settings and what was answered");
    }
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_says_everything_about_its_rollout() {
    let case = Case::new(2, completion);
    let done = case.run(case.endpoint()).unwrap();
    assert_eq!((done.n_rollouts, done.n_kept, done.n_cached, done.n_retries), (6, 0, 0, 0));
    assert_eq!(done.finish_reasons, BTreeMap::from([("stop".to_owned(), 6)]));
    let lines = case.lines();
    let expected = json!({
        "prompt_id": "p1",
        "prompt": [{"role": "user", "content": "question 1"}],
        "scenario": "s1",
        "sample": 2,
        "response": "question 1 / 9",
        "finish_reason": "stop",
        "model": "m",
        "temperature": 0.5,
        "top_p": 1.0,
        "max_new_tokens": 20,
        "seed": 7,
        "metadata": {"tag": 1},
    });
    assert_eq!(lines[5], expected);
    let order: Vec<_> = lines.iter().map(|line| (line["prompt_id"].clone(), line["sample"].clone())).collect();
    assert_eq!(
        order[..4],
        [(json!("p0"), json!(0)), (json!("p0"), json!(1)), (json!("p0"), json!(2)), (json!("p1"), json!(0))]
    );
    let request = &case.server.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/chat/completions"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&body["temperature"], &body["max_tokens"], &body["model"]), (&json!(0.5), &json!(20), &json!("m")));
}

#[test]
fn requests_are_under_way_at_the_same_time_and_no_more_than_asked() {
    let case = Case::new(8, |request| Answer { delay: Duration::from_millis(60), ..completion(request) });
    case.run(case.endpoint()).unwrap();
    assert_eq!(case.server.most_at_once(), 4);
    let alone = Case::new(2, |request| Answer { delay: Duration::from_millis(10), ..completion(request) });
    alone.run(EndpointOptions { concurrency: 1, ..alone.endpoint() }).unwrap();
    assert_eq!(alone.server.most_at_once(), 1);
}

#[test]
fn the_file_does_not_depend_on_the_order_of_answers() {
    let files = [1, 7].map(|concurrency| {
        let n = AtomicUsize::new(0);
        let case = Case::new(5, move |request| {
            let delay = Duration::from_millis([0, 20, 3][n.fetch_add(1, Ordering::Relaxed) % 3]);
            Answer { delay, ..completion(request) }
        });
        case.run(EndpointOptions { concurrency, ..case.endpoint() }).unwrap();
        fs::read_to_string(case.out()).unwrap()
    });
    assert_eq!(files[0], files[1]);
}

/// An endpoint that answers each request well only the `n_bad + 1`th time.
fn at_last(
    n_bad: usize,
    bad: impl Fn() -> Answer + Send + Sync + 'static,
) -> impl Fn(&Request) -> Answer + Send + Sync {
    let seen: Mutex<BTreeMap<Vec<u8>, usize>> = Mutex::default();
    move |request| {
        let mut seen = seen.lock().unwrap();
        let n = seen.entry(request.body.clone()).or_default();
        *n += 1;
        if *n > n_bad { completion(request) } else { bad() }
    }
}

#[test]
fn what_passes_is_repeated_until_it_has_passed() {
    let truncated = || Answer { cut_after: Some(9), ..Answer::new(200, "{\"choices\": []}") };
    type MakeAnswer = fn() -> Answer;
    let bad: [(&str, MakeAnswer); 6] = [
        ("overloaded", || Answer::new(503, "busy")),
        ("failing", || Answer::new(500, "{\"error\": {\"message\": \"x\"}}")),
        ("hanging up", Answer::default),
        ("cut", truncated),
        ("not JSON", || Answer::new(200, "<html>")),
        ("without choices", || Answer::new(200, "{\"choices\": []}")),
    ];
    for (what, bad) in bad {
        let case = Case::new(1, at_last(2, bad));
        let done = case.run(case.endpoint()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((done.n_rollouts, done.n_retries), (3, 6), "{what}");
        assert_eq!(case.lines().len(), 3);
    }
}

#[test]
fn an_endpoint_that_says_how_long_to_wait_is_not_asked_before() {
    let case = Case::new(2, at_last(1, || Answer::new(429, "slow down").with("Retry-After", "1")));
    case.run(EndpointOptions { concurrency: 1, ..case.endpoint() }).unwrap();
    let requests = case.server.requests();
    for pair in requests.windows(2).filter(|pair| pair[0].body == pair[1].body) {
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= Duration::from_millis(990) && waited < Duration::from_secs(4), "{waited:?}");
    }
    assert_eq!(requests.len(), 12);
    let case = Case::new(1, |_| Answer::new(429, "tomorrow").with("Retry-After", "86400"));
    let start = Instant::now();
    case.refused(case.endpoint(), 0, &["asks to wait 86400 s"]);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn one_thread_being_told_to_wait_makes_all_wait() {
    let n = AtomicUsize::new(0);
    let case = Case::new(4, move |request| match n.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::new(429, "").with("retry-after-ms", "700"),
        _ => Answer { delay: Duration::from_millis(100), ..completion(request) },
    });
    case.run(EndpointOptions { concurrency: 2, ..case.endpoint() }).unwrap();
    let requests = case.server.requests();
    let after = requests.iter().filter(|request| request.at - requests[0].at > Duration::from_millis(300));
    let first = after.map(|request| request.at - requests[0].at).min().unwrap();
    assert!(first >= Duration::from_millis(690), "nobody asks in between: {first:?}");
}

#[test]
fn a_request_is_never_made_twice() {
    let case = Case::new(3, completion);
    case.run(case.endpoint()).unwrap();
    let first = fs::read_to_string(case.out()).unwrap();
    case.server.forget();
    let done = case.run(case.endpoint()).unwrap();
    assert_eq!((done.n_rollouts, done.n_kept), (9, 9), "the output is complete");
    for name in ["rollouts.jsonl", "rollouts.jsonl.run.json"] {
        fs::remove_file(case.root.path().join(name)).unwrap();
    }
    let done = case.run(case.endpoint()).unwrap();
    assert_eq!((done.n_kept, done.n_cached), (0, 9), "the cache has every response");
    assert_eq!(fs::read_to_string(case.out()).unwrap(), first);
    assert_eq!(case.server.requests().len(), 0);
    let damaged = walk(&case.endpoint().cache).remove(0);
    fs::write(damaged, "{").unwrap();
    fs::remove_file(case.out()).unwrap();
    assert_eq!(case.run(case.endpoint()).unwrap().n_cached, 8, "what is damaged is asked for again");
    assert_eq!(case.server.requests().len(), 1);
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn an_endpoint_that_fails_in_the_middle_leaves_what_it_answered() {
    let n = Arc::new(AtomicUsize::new(0));
    let shared = n.clone();
    let case = Case::new(4, move |request| match shared.fetch_add(1, Ordering::SeqCst) {
        n if (5..100).contains(&n) => Answer::new(503, "gone"),
        _ => completion(request),
    });
    let one_by_one = EndpointOptions { concurrency: 1, ..case.endpoint() };
    case.refused(one_by_one.clone(), 5, &["503 gone, 3 times", "look into the server's log"]);
    n.store(100, Ordering::SeqCst);
    case.server.forget();
    let cache = case.root.path().join("another-cache");
    let done = case.run(EndpointOptions { cache, ..one_by_one }).unwrap();
    assert_eq!((done.n_kept, done.n_cached), (5, 0));
    assert_eq!(case.server.requests().len(), 7, "what is kept is not asked for");
    let whole = Case::new(4, completion);
    whole.run(whole.endpoint()).unwrap();
    assert_eq!(fs::read_to_string(case.out()).unwrap(), fs::read_to_string(whole.out()).unwrap());
    assert!(!case.part().exists());
}

#[test]
fn an_endpoint_that_cannot_answer_is_explained() {
    let refused = |answer: Answer, parts: &[&str]| {
        let case = Case::new(1, move |_| answer.clone());
        case.refused(EndpointOptions { concurrency: 1, ..case.endpoint() }, 0, parts);
        case.server.requests().len()
    };
    let error = |status, message: &str| Answer::new(status, json!({"error": {"message": message}}).to_string());
    assert_eq!(refused(error(401, "bad key"), &["refuses access", "401 bad key", "--api-key-env"]), 1);
    assert_eq!(refused(error(404, "no model m"), &["\"m\"", "404 no model m", "--endpoint-model", "/v1"]), 1);
    assert_eq!(refused(error(429, "too many"), &["429 too many, 3 times", "lower --concurrency"]), 3);
    assert_eq!(refused(Answer::default(), &["3 times", "is the server running?"]), 3);
    let slow = Case::new(1, |_| Answer { delay: Duration::from_secs(2), ..Answer::new(200, "{}") });
    let impatient = EndpointOptions { timeout: Duration::from_millis(200), concurrency: 1, ..slow.endpoint() };
    slow.refused(impatient, 0, &["no answer within 0.2 s, 3 times", "raise --timeout"]);
}

#[test]
fn an_endpoint_that_is_down_is_explained() {
    let case = Case::new(1, completion);
    let down = EndpointOptions { url: "http://127.0.0.1:9/v1".into(), ..case.endpoint() };
    let error = case.run(down).unwrap_err().to_string();
    for part in ["http://127.0.0.1:9/v1/chat/completions", "3 times", "is the server running?", "0 of 3"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn one_prompt_without_an_answer_does_not_stop_the_others() {
    let null = json!({"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}).to_string();
    for (answer, part) in [
        (Answer::new(200, "not json"), "not JSON"),
        (Answer::new(200, "{\"choices\": []}"), "\"choices\" is empty"),
        (Answer::new(200, null), "the content is null, finish_reason \"content_filter\""),
        (Answer::new(400, "{\"error\": \"prompt too long\"}"), "400 prompt too long"),
    ] {
        let is_mended = Arc::new(AtomicUsize::new(0));
        let shared = is_mended.clone();
        let case = Case::new(4, move |request| {
            let is_bad = String::from_utf8_lossy(&request.body).contains("question 1");
            if is_bad && shared.load(Ordering::SeqCst) == 0 { answer.clone() } else { completion(request) }
        });
        case.refused(case.endpoint(), 9, &["3 without a usable answer", "prompt \"p1\" sample", part]);
        is_mended.store(1, Ordering::SeqCst);
        case.server.forget();
        assert_eq!(case.run(case.endpoint()).unwrap().n_kept, 9);
        assert_eq!(case.server.requests().len(), 3);
    }
}

#[test]
fn an_endpoint_that_answers_nothing_of_use_is_not_asked_for_ever() {
    let case = Case::new(50, |_| Answer::new(400, "no"));
    case.refused(EndpointOptions { concurrency: 1, ..case.endpoint() }, 0, &["20 without a usable answer", "400 no"]);
    assert_eq!(case.server.requests().len(), 20);
}

#[test]
fn rollouts_made_in_another_way_are_refused_naming_the_difference() {
    let case = Case::new(2, completion);
    case.run(case.endpoint()).unwrap();
    let prompts = prompts::read(&case.prompts()).unwrap();
    let try_with = |endpoint: EndpointOptions, options: RolloutOptions, prompts: &[prompts::TestPrompt]| {
        let endpoint = Endpoint::new(endpoint).unwrap();
        roll_out(prompts, &Source::Endpoint(&endpoint), &options, &silent)
    };
    let sampled = |change: fn(&mut Sampling)| {
        let mut options = case.options();
        change(&mut options.sampling);
        options
    };
    let before = fs::read(case.out()).unwrap();
    for (endpoint, options, n_prompts, field) in [
        (EndpointOptions { model: "n".into(), ..case.endpoint() }, case.options(), 2, "model = \"m\""),
        (EndpointOptions { url: "http://other/v1".into(), ..case.endpoint() }, case.options(), 2, "endpoint = "),
        (case.endpoint(), sampled(|s| s.temperature = 0.9), 2, "temperature = 0.5, but now temperature = 0.9"),
        (case.endpoint(), sampled(|s| s.n_samples = 2), 2, "samples = 3, but now samples = 2"),
        (case.endpoint(), sampled(|s| s.seed = 8), 2, "seed = 7"),
        (case.endpoint(), sampled(|s| s.top_p = 0.9), 2, "top_p = 1.0"),
        (case.endpoint(), sampled(|s| s.max_new_tokens = 9), 2, "max_new_tokens = 20"),
        (case.endpoint(), case.options(), 1, "holds rollouts of other prompts: "),
    ] {
        let error = try_with(endpoint, options, &prompts[..n_prompts]).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains("--replace") && error.contains("rollouts.jsonl"), "{error}");
    }
    assert_eq!(fs::read(case.out()).unwrap(), before);
    let replaced = RolloutOptions { replace: true, ..sampled(|s| s.n_samples = 4) };
    let done = try_with(case.endpoint(), replaced, &prompts).unwrap();
    assert_eq!((done.n_rollouts, done.n_cached), (8, 6), "equal requests are answered from the cache");
    fs::remove_file(case.root.path().join("rollouts.jsonl.run.json")).unwrap();
    let error = case.run(case.endpoint()).unwrap_err().to_string();
    assert!(error.contains("run.json") && error.contains("--replace"), "{error}");
}

#[test]
fn more_samples_of_an_endpoint_add_to_those_that_are_there() {
    let n_answered = Arc::new(AtomicUsize::new(0));
    let counted = n_answered.clone();
    let case = Case::new(2, move |request| match counted.fetch_add(1, Ordering::SeqCst) {
        8 => Answer::new(401, ""),
        _ => completion(request),
    });
    let prompts = prompts::read(&case.prompts()).unwrap();
    // With a cache of its own, so that nothing but the output keeps what was answered.
    let run = |n_samples: usize, out: PathBuf, cache: &str| {
        let cache = case.root.path().join(cache);
        let endpoint = EndpointOptions { concurrency: 1, cache, ..case.endpoint() };
        let sampling = Sampling { n_samples, ..case.options().sampling };
        let options = RolloutOptions { out, sampling, replace: false };
        roll_out(&prompts, &Source::Endpoint(&Endpoint::new(endpoint).unwrap()), &options, &silent)
    };
    run(3, case.out(), "first").unwrap();
    let before = fs::read(case.out()).unwrap();
    let error = run(5, case.out(), "second").unwrap_err().to_string();
    assert!(error.contains("8 of 10 rollouts are kept"), "{error}");
    assert_eq!(fs::read(case.out()).unwrap(), before, "what was there stays until there is more");
    // What was left half done grows, too.
    let done = run(6, case.out(), "third").unwrap();
    assert_eq!((done.n_rollouts, done.n_kept, done.n_cached), (12, 8, 0));
    run(6, case.root.path().join("whole.jsonl"), "fourth").unwrap();
    assert_eq!(fs::read(case.out()).unwrap(), fs::read(case.root.path().join("whole.jsonl")).unwrap());
    assert_eq!(n_answered.load(Ordering::SeqCst), 6 + 3 + 4 + 12);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let case = Case::new(1, completion);
    let prompts = prompts::read(&case.prompts()).unwrap();
    let endpoint = Endpoint::new(case.endpoint()).unwrap();
    for (change, option) in [
        ((|s| s.n_samples = 0) as fn(&mut Sampling), "--samples"),
        (|s| s.max_new_tokens = 0, "--max-new-tokens"),
        (|s| s.temperature = -1.0, "--temperature"),
        (|s| s.temperature = f64::NAN, "--temperature"),
        (|s| s.top_p = 0.0, "--top-p"),
    ] {
        let mut options = case.options();
        change(&mut options.sampling);
        let error = roll_out(&prompts, &Source::Endpoint(&endpoint), &options, &silent).unwrap_err().to_string();
        assert!(error.contains(option), "{error}");
    }
    for url in ["localhost:8000", "http://", "ftp://host/v1"] {
        let error = Endpoint::new(EndpointOptions { url: url.into(), ..case.endpoint() }).err().unwrap().to_string();
        assert!(error.contains(url) && error.contains("http://HOST:PORT/v1"), "{error}");
    }
}

#[test]
fn a_journal_that_was_cut_or_damaged_is_mended_or_named() {
    let n = AtomicUsize::new(0);
    let case =
        Case::new(
            2,
            move |request| {
                if n.fetch_add(1, Ordering::SeqCst) == 4 { Answer::new(401, "") } else { completion(request) }
            },
        );
    let one_by_one = EndpointOptions { concurrency: 1, ..case.endpoint() };
    case.refused(one_by_one.clone(), 4, &["401"]);
    let whole = fs::read(case.part()).unwrap();
    let mut damaged = whole.clone();
    let middle = whole.iter().position(|byte| *byte == b'\n').unwrap() + 2;
    damaged[middle] = b'\n';
    fs::write(case.part(), damaged).unwrap();
    let error = case.run(one_by_one.clone()).unwrap_err().to_string();
    assert!(error.contains("rollouts.jsonl.part line 2") && error.contains("--replace"), "{error}");
    // Killed while writing the fourth rollout.
    fs::write(case.part(), &whole[..whole.len() - 9]).unwrap();
    assert_eq!(case.run(one_by_one).unwrap().n_kept, 3);
    assert_eq!(case.lines().len(), 6);
}

#[test]
fn replacing_discards_what_was_made_in_another_way_and_continues_what_was_not() {
    let n = Arc::new(AtomicUsize::new(0));
    let shared = n.clone();
    let case = Case::new(2, move |request| match shared.fetch_add(1, Ordering::SeqCst) {
        8 => Answer::new(401, ""),
        _ => completion(request),
    });
    case.run(case.endpoint()).unwrap();
    let prompts = prompts::read(&case.prompts()).unwrap();
    let replace = || {
        let one_by_one = EndpointOptions { concurrency: 1, ..case.endpoint() };
        let mut options = RolloutOptions { replace: true, ..case.options() };
        options.sampling.temperature = 0.9;
        roll_out(&prompts, &Source::Endpoint(&Endpoint::new(one_by_one).unwrap()), &options, &silent)
    };
    let before = fs::read(case.out()).unwrap();
    assert!(replace().unwrap_err().to_string().contains("2 of 6 rollouts are kept"));
    assert_eq!(fs::read(case.out()).unwrap(), before, "what was there stays until its replacement is whole");
    assert_eq!(replace().unwrap().n_kept, 2);
    assert!(case.lines().iter().all(|line| line["temperature"] == 0.9));
    n.store(100, Ordering::SeqCst);
    assert_eq!(replace().unwrap().n_kept, 6);
    assert_eq!(n.load(Ordering::SeqCst), 100, "nothing was asked");
}

#[test]
fn a_mistyped_address_leaves_nothing_in_the_way() {
    let case = Case::new(1, completion);
    let down = EndpointOptions { url: "http://127.0.0.1:9/v1".into(), n_retries: 0, ..case.endpoint() };
    case.run(down).unwrap_err();
    assert_eq!(case.run(case.endpoint()).unwrap().n_rollouts, 3);
}

#[test]
fn two_runs_never_write_the_same_rollouts() {
    let case = Case::new(1, completion);
    let other = fs::File::create(case.part()).unwrap();
    other.lock().unwrap();
    let error = case.run(case.endpoint()).unwrap_err().to_string();
    assert!(error.contains("rollouts.jsonl.part") && error.contains("another process"), "{error}");
    drop(other);
    assert_eq!(case.run(case.endpoint()).unwrap().n_rollouts, 3);
}

fn rollouts(case: &Case, more: &[&str]) -> Command {
    let mut command = Command::new(binary::path());
    command.arg("rollouts").arg("--out").arg(case.out()).args(more);
    command
}

fn with_prompts(case: &Case, more: &[&str]) -> Command {
    let mut command = rollouts(case, more);
    command.arg("--prompts").arg(case.prompts());
    command
}

#[test]
fn the_binary_killed_at_any_moment_ends_with_the_same_file() {
    let case = Case::new(10, |request| Answer { delay: Duration::from_millis(15), ..completion(request) });
    let url = format!("{}/v1", case.server.url());
    let args = [
        "--endpoint",
        &url,
        "--endpoint-model",
        "m",
        "-n",
        "3",
        "--temperature",
        "0.5",
        "--max-new-tokens",
        "20",
        "--seed",
        "7",
        "--concurrency",
        "2",
    ];
    let mut n_killed = 0;
    for wait in [40, 90, 120, 150] {
        let mut child = with_prompts(&case, &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(wait));
        n_killed += usize::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(n_killed >= 2, "it was killed while it worked");
    binary::finish(with_prompts(&case, &args)).succeeds();
    // No request beyond those that were under way when it was killed is made twice.
    let requests = case.server.requests();
    let distinct: BTreeSet<_> = requests.iter().map(|request| &request.body).collect();
    assert_eq!(distinct.len(), 30);
    assert!(requests.len() <= 30 + 2 * n_killed, "{} requests", requests.len());
    let whole = Case::new(10, completion);
    whole.run(whole.endpoint()).unwrap();
    assert_eq!(fs::read_to_string(case.out()).unwrap(), fs::read_to_string(whole.out()).unwrap());
}

#[test]
fn the_key_is_sent_and_stored_nowhere() {
    let case = Case::new(1, completion);
    let url = format!("{}/v1/chat/completions", case.server.url());
    let args = ["--endpoint", &url, "--endpoint-model", "m", "--api-key-env", "WHENCE_TEST_KEY"];
    binary::finish(with_prompts(&case, &args)).fails_naming(&["WHENCE_TEST_KEY", "not set"]);
    let mut command = with_prompts(&case, &args);
    command.env("WHENCE_TEST_KEY", "sk-secret-7");
    binary::finish(command).succeeds();
    assert_eq!(case.server.requests()[0].header("authorization"), "Bearer sk-secret-7");
    for path in walk(case.root.path()) {
        assert!(!fs::read_to_string(&path).unwrap().contains("sk-secret-7"), "{}", path.display());
    }
}

#[test]
fn a_model_on_this_machine_is_sampled_in_its_own_form() {
    let case = Case::new(30, completion);
    let model = fixture::model("chat");
    let args = [
        "--model",
        model.to_str().unwrap(),
        "--device",
        "cpu",
        "-n",
        "5",
        "--max-new-tokens",
        "6",
        "--temperature",
        "1",
    ];
    let run = binary::finish(with_prompts(&case, &args)).succeeds();
    assert!(run.stdout.contains("150 rollouts in"), "{}", run.stdout);
    let first = fs::read_to_string(case.out()).unwrap();
    let lines = case.lines();
    assert_eq!(lines.len(), 150);
    assert!(lines.iter().all(|line| ["stop", "length"].contains(&line["finish_reason"].as_str().unwrap())));
    let samples = |n: usize| lines[n * 5..][..5].iter().map(|line| line["response"].as_str().unwrap());
    let n_varied = (0..30).filter(|&n| samples(n).collect::<BTreeSet<_>>().len() > 1).count();
    assert!(n_varied > 20, "samples of a prompt differ: {n_varied}");
    assert_eq!(case.server.requests().len(), 0);
    // Interrupted in the middle of a chunk: what is there is kept, the rest is the same.
    let settings = fs::read_to_string(case.root.path().join("rollouts.jsonl.run.json")).unwrap();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    let kept: String = first.lines().take(70).map(|line| format!("{line}\n")).collect();
    fs::write(case.part(), format!("{settings}\n{kept}")).unwrap();
    fs::remove_file(case.out()).unwrap();
    let run = binary::finish(with_prompts(&case, &args)).succeeds();
    assert!(run.stdout.contains("70 were there already"), "{}", run.stdout);
    assert_eq!(fs::read_to_string(case.out()).unwrap(), first);
    binary::finish(with_prompts(&case, &[&args[..], &["--template", "none"]].concat())).fails_naming(&[
        "template = \"model\"",
        "template = \"none\"",
        "--replace",
    ]);
}

#[test]
fn a_prompt_that_does_not_fit_the_model_is_named() {
    let case = Case::new(1, completion);
    let line = json!({"id": "long", "prompt": "word ".repeat(5000)});
    fs::write(case.prompts(), line.to_string()).unwrap();
    let model = fixture::model("chat");
    binary::finish(with_prompts(&case, &["--model", model.to_str().unwrap(), "--device", "cpu"])).fails_naming(&[
        "prompt \"long\"",
        "more than the model's 4096",
        "--max-new-tokens",
    ]);
}

#[test]
fn rollouts_made_elsewhere_are_taken_in_once() {
    let case = Case::new(2, completion);
    let theirs = case.root.path().join("theirs.jsonl");
    let rows = [
        json!({"prompt": "question 1", "completion": "b", "temperature": 0.3}),
        json!({"prompt": "question 0", "responses": ["a", "c"]}),
    ];
    fs::write(&theirs, rows.map(|row| format!("{row}\n")).concat()).unwrap();
    let args = ["--import", theirs.to_str().unwrap(), "--endpoint-model", "theirs"];
    binary::finish(with_prompts(&case, &args)).succeeds();
    let lines = case.lines();
    let ids: Vec<_> =
        lines.iter().map(|line| (line["prompt_id"].as_str().unwrap(), line["response"].as_str().unwrap())).collect();
    assert_eq!(ids, [("p0", "a"), ("p0", "c"), ("p1", "b")]);
    assert_eq!(
        (&lines[2]["temperature"], &lines[2]["metadata"], &lines[0]["seed"]),
        (&json!(0.3), &json!({"tag": 1}), &Value::Null)
    );
    let run = binary::finish(with_prompts(&case, &args)).succeeds();
    assert!(run.stdout.contains("3 were there already"), "{}", run.stdout);
    fs::write(&theirs, "{\"prompt\": \"question 1\", \"response\": \"x\"}\n{\"prompt\": \"\"}\n").unwrap();
    binary::finish(with_prompts(&case, &args)).fails_naming(&["imported from other contents", "--replace"]);
    let replaced = [&args[..], &["--replace"]].concat();
    binary::finish(with_prompts(&case, &replaced)).fails_naming(&["theirs.jsonl line 2", "\"prompt\" is empty"]);
    assert_eq!(case.lines(), lines, "what was there stays until something else is whole");
    // What this program wrote, it takes in unchanged.
    let (ours, again) = (case.root.path().join("ours.jsonl"), case.root.path().join("again.jsonl"));
    fs::rename(case.out(), &ours).unwrap();
    let mut command = Command::new(binary::path());
    command.arg("rollouts").arg("--out").arg(&again).arg("--import").arg(&ours);
    binary::finish(command).succeeds();
    assert_eq!(fs::read_to_string(again).unwrap(), fs::read_to_string(ours).unwrap());
}

#[test]
fn prompts_and_sources_that_are_missing_or_wrong_are_named() {
    let case = Case::new(1, completion);
    fs::write(case.prompts(), "{\"prompt\": \"p\", \"id\": \"a\"}\n{\"prompt\": \"q\", \"id\": \"a\"}\n").unwrap();
    binary::finish(with_prompts(&case, &["--model", "x"]))
        .fails_naming(&["prompts.jsonl line 2", "also that of line 1"]);
    let absent = case.root.path().join("absent.jsonl");
    binary::finish(rollouts(&case, &["--model", "x", "--prompts", absent.to_str().unwrap()]))
        .fails_naming(&["absent.jsonl", "cannot read"]);
    for args in [
        &["--endpoint", "http://x/v1"][..],
        &["--model", "x", "--endpoint", "http://x/v1", "--endpoint-model", "m"],
        &[],
    ] {
        let run = binary::finish(with_prompts(&case, args));
        assert!(!run.success && run.stderr.contains("--endpoint"), "{}", run.stderr);
    }
}

#[test]
fn prompts_imports_and_verdicts_are_never_overwritten_by_rollouts() {
    let case = Case::new(2, completion);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let theirs = case.root.path().join("theirs.jsonl");
    fs::write(&theirs, "{\"prompt\": \"question 0\", \"response\": \"a\"}\n").unwrap();
    let verdicts = case.root.path().join("verdicts.jsonl");
    fs::write(&verdicts, "{}\n").unwrap();
    fs::write(case.root.path().join("verdicts.jsonl.run.json"), "{\"format\":\"whence-verdicts-1\"}").unwrap();
    let prompts = case.prompts();
    let read = || [&prompts, &theirs, &verdicts].map(|path| fs::read(path).unwrap());
    let before = read();
    let import = |out: &Path, more: &[&str]| {
        let mut command = Command::new(binary::path());
        command.args(["rollouts", "--prompts", &text(&prompts), "--import", &text(&theirs), "--out", &text(out)]);
        command.args(more);
        binary::finish(command)
    };
    for more in [&[][..], &["--replace"]] {
        import(&prompts, more).fails_naming(&["prompts.jsonl", "--out is --prompts", "choose another --out"]);
        import(&theirs, more).fails_naming(&["theirs.jsonl", "--out is --import"]);
        import(&verdicts, more).fails_naming(&["verdicts.jsonl holds verdicts, not rollouts", "choose another --out"]);
    }
    assert_eq!(read(), before);
    import(&case.out(), &[]).succeeds();
}
