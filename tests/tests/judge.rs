//! Judges: rules, and an endpoint in this process that answers well, without a score, late, or never; started again
//! without asking anything twice; and how far verdicts agree with labels.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use whence_backend::behavior::rollouts::endpoint::EndpointOptions;
use whence_backend::judge::endpoint::{EndpointJudge, EndpointJudgeOptions, Prices};
use whence_backend::judge::rules::Rules;
use whence_backend::judge::{Judge, JudgeError, JudgeOptions, Judged, THRESHOLD, Verdict, judge, labels, read};
use whence_backend::progress::silent;
use whence_shared::statistics::agreement::Confusion;
use whence_tests::binary::whence;
use whence_tests::loopback::{Answer, Request, Server};

/// A folder with rollouts: 3 samples of `n_prompts` prompts, the nth response says `answer n`.
struct Case {
    root: TempDir,
}

impl Case {
    fn new(n_prompts: usize) -> Self {
        let case = Self { root: tempfile::tempdir().unwrap() };
        let lines: Vec<String> = (0..n_prompts * 3)
            .map(|i| {
                json!({"prompt_id": format!("p{}", i / 3), "prompt": [{"role": "user", "content": "question"}],
                    "scenario": "s", "sample": i % 3, "response": format!("answer {i}"), "finish_reason": "stop",
                    "model": "m1", "temperature": 0.7, "top_p": 1.0, "max_new_tokens": 9, "seed": 0})
                .to_string()
            })
            .collect();
        case.write("rollouts.jsonl", &lines.join("\n"));
        case.write("prompt.txt", "Rate this.\nQ: {prompt}\nA: {response}\n");
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn options(&self) -> JudgeOptions {
        JudgeOptions { rollouts: self.path("rollouts.jsonl"), out: self.path("verdicts.jsonl"), replace: false }
    }

    fn rules(&self, text: &str) -> Result<Judge, JudgeError> {
        Rules::read(&self.write("rules.toml", text)).map(Judge::Rules)
    }

    fn endpoint(&self, server: &Server) -> EndpointJudgeOptions {
        EndpointJudgeOptions {
            name: Some("j".into()),
            endpoint: EndpointOptions {
                url: format!("{}/v1", server.url()),
                model: "m".into(),
                api_key_env: None,
                concurrency: 4,
                timeout: Duration::from_secs(5),
                n_retries: 2,
                retry_wait: Duration::from_millis(5),
                cache: self.path("cache"),
            },
            prompt: self.path("prompt.txt"),
            max_tokens: 99,
            temperature: 0.0,
            prices: Prices::default(),
        }
    }

    fn ask(&self, options: EndpointJudgeOptions) -> Result<Judged, JudgeError> {
        judge(&Judge::Endpoint(Box::new(EndpointJudge::new(options).unwrap())), &self.options(), &silent)
    }
}

/// A chat completion with 10 tokens of question and 2 of answer.
fn said(text: &str) -> Answer {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 2});
    Answer::new(200, json!({"choices": [choice], "usage": usage}).to_string())
}

/// The number of the response that a request shows.
fn number(request: &Request) -> usize {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let content = body["messages"][0]["content"].as_str().unwrap();
    content.trim().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn rules_decide_in_order_and_say_why() {
    let case = Case::new(9);
    let rules = case.rules(
        "otherwise = 10\n[[rule]]\nscore = 100\nany = ['\\b1\\d$']\nnone = ['13']\nprompt_any = ['quest']\nreason = 'teens'\n\
         [[rule]]\nscore = 60\nends_with = ['3']\nmax_chars = 9\nnot_format = ['json']\n",
    );
    let judged = judge(&rules.unwrap(), &case.options(), &silent).unwrap();
    assert!(!judged.is_kept && judged.warnings.is_empty(), "{:?}", judged.warnings);
    let of = |i: usize| (judged.verdicts[i].score, judged.verdicts[i].reason.as_str());
    assert_eq!(
        (of(12), of(13), of(3), of(4)),
        ((100.0, "teens"), (60.0, "rule 2"), (60.0, "rule 2"), (10.0, "no rule applies"))
    );
    let first = &judged.verdicts[3];
    assert_eq!(
        (first.prompt_id.as_str(), first.sample, first.model.as_str(), first.judge.as_str()),
        ("p1", 0, "m1", "rules")
    );
    assert!(first.shows && !judged.verdicts[4].shows && first.rollout_sha256.len() == 64);
    assert_eq!(read(&case.path("verdicts.jsonl")).unwrap(), judged.verdicts, "read back");
    let line: Value =
        serde_json::from_str(fs::read_to_string(case.path("verdicts.jsonl")).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!((&line["score"], &line["shows"]), (&json!(10.0), &json!(false)));

    let again = judge(&Judge::Rules(Rules::read(&case.path("rules.toml")).unwrap()), &case.options(), &silent).unwrap();
    assert!(again.is_kept && again.verdicts == judged.verdicts);
    let other = case.rules("[[rule]]\nscore = 100\nrefuses = true\n").unwrap();
    let error = judge(&other, &case.options(), &silent).unwrap_err().to_string();
    assert!(error.contains("holds verdicts by other rules: ") && error.contains("--replace"), "{error}");
    let replaced = judge(&other, &JudgeOptions { replace: true, ..case.options() }, &silent).unwrap();
    assert_eq!(replaced.warnings, ["judge \"rules\" gave all 27 rollouts the same score, 0: look into its reasons"]);
}

#[test]
fn rules_that_make_no_sense_are_named() {
    let case = Case::new(1);
    for (text, expected) in [
        ("", "no rules"),
        ("[[rule]]\nscore = 100\n", "rule 1: no condition"),
        ("[[rule]]\nscore = 1\nany = ['a']\n[[rule]]\nscore = 101\nany = ['a']\n", "rule 2: score: expected"),
        ("[[rule]]\nscore = 1\nany = ['(']\n", "rule 1: pattern \"(\": unclosed group"),
        ("[[rule]]\nscore = 1\nanny = ['a']\n", "unknown field `anny`"),
        ("[[rule]]\nscore = 1\nformat = ['poem']\n", "unknown variant `poem`"),
        ("otherwise = -1\n[[rule]]\nscore = 1\nany = ['a']\n", "otherwise: expected"),
        ("[[rule]\n", "TOML"),
    ] {
        let error = case.rules(text).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("rules.toml"), "expected {expected:?} in {error}");
    }
    let json =
        case.write("r.json", "{\"name\":\"n\",\"rule\":[{\"score\":70,\"min_words\":2,\"format\":[\"one-line\"]}]}");
    let judged = judge(&Judge::Rules(Rules::read(&json).unwrap()), &case.options(), &silent).unwrap();
    assert!(judged.verdicts.iter().all(|verdict| verdict.shows && verdict.judge == "n"));

    case.write("rollouts.jsonl", "");
    let any = || case.rules("[[rule]]\nscore = 1\nany = ['a']\n").unwrap();
    let error = judge(&any(), &case.options(), &silent).unwrap_err().to_string();
    assert!(error.contains("no rollouts"), "{error}");
    case.write("rollouts.jsonl", "{\"prompt_id\":\"p\"}");
    let error = judge(&any(), &case.options(), &silent).unwrap_err().to_string();
    assert!(error.contains("rollouts.jsonl line 1"), "{error}");
}

#[test]
fn an_endpoint_is_asked_once_for_each_rollout_and_its_tokens_are_counted() {
    let case = Case::new(4);
    let server = Server::start(|request| said(&format!("Because.\n<score>{}</score>", number(request) * 9)));
    let judged = case.ask(case.endpoint(&server)).unwrap();
    let scores: Vec<f64> = judged.verdicts.iter().map(|verdict| verdict.score).collect();
    assert_eq!(scores, (0..12).map(|i| f64::from(i * 9)).collect::<Vec<_>>());
    assert_eq!(
        (judged.verdicts[6].shows, judged.verdicts[5].shows, judged.verdicts[6].reason.as_str()),
        (true, false, "Because.")
    );
    assert_eq!((judged.asked.n_answers, judged.asked.prompt_tokens, judged.asked.completion_tokens), (12, 120, 24));
    assert_eq!(server.requests().len(), 12);
    let body: Value = serde_json::from_slice(&server.requests()[0].body).unwrap();
    assert_eq!((&body["max_tokens"], &body["temperature"], &body["model"]), (&json!(99), &json!(0.0), &json!("m")));
    assert!(body["messages"][0]["content"].as_str().unwrap().starts_with("Rate this.\nQ: question\nA: answer "));

    server.forget();
    assert!(case.ask(case.endpoint(&server)).unwrap().is_kept);
    fs::remove_file(case.path("verdicts.jsonl")).unwrap();
    let again = case.ask(case.endpoint(&server)).unwrap();
    assert_eq!((again.verdicts, again.cached.n_answers, again.asked.n_answers), (judged.verdicts, 12, 0));
    assert_eq!(server.requests().len(), 0, "nothing is asked twice");
    case.write("prompt.txt", "{response}");
    let error = case.ask(case.endpoint(&server)).unwrap_err().to_string();
    assert!(error.contains("by a judge that was asked with another prompt"), "{error}");
}

#[test]
fn an_answer_without_a_score_is_asked_for_again_and_named_at_last() {
    // Every response gets one answer without a score first; number 5 gets no other.
    let case = Case::new(4);
    let seeds: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = seeds.clone();
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = is_mended.clone();
    let server = Server::start(move |request| {
        let seed = serde_json::from_slice::<Value>(&request.body).unwrap()["seed"].as_u64().unwrap();
        seen.lock().unwrap().push(seed);
        let is_garbage = seed == 0 || (number(request) == 5 && !mended.load(Ordering::Relaxed));
        said(if is_garbage { "Surely 80, or so." } else { "80" })
    });
    let error = case.ask(case.endpoint(&server)).unwrap_err().to_string();
    for part in ["judge \"j\"", "1 without a usable answer", "prompt \"p1\" sample 2", "Surely 80", "11 of 12", "cache"]
    {
        assert!(error.contains(part), "expected {part:?} in: {error}");
    }
    assert!(!case.path("verdicts.jsonl").exists());
    assert!(seeds.lock().unwrap().iter().all(|seed| *seed <= 2), "another seed each time");
    is_mended.store(true, Ordering::Relaxed);
    server.forget();
    let judged = case.ask(case.endpoint(&server)).unwrap();
    assert_eq!(server.requests().len(), 2, "the one that is left: without a score, then with one");
    assert_eq!((judged.cached.n_answers, judged.asked.n_answers), (11, 2), "what was thrown away was paid for too");
    assert!(judged.verdicts.iter().all(|verdict| verdict.score == 80.0));
}

#[test]
fn an_endpoint_that_is_slow_or_limits_the_rate_is_waited_for_and_one_that_never_answers_is_named() {
    let case = Case::new(2);
    let n = AtomicUsize::new(0);
    let server = Server::start(move |request| match n.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::new(429, "slow down").with("retry-after-ms", "50"),
        1 => Answer { delay: Duration::from_millis(800), ..said("1") },
        _ => said(&number(request).to_string()),
    });
    let mut options = case.endpoint(&server);
    options.endpoint.timeout = Duration::from_millis(400);
    options.endpoint.n_retries = 4;
    let judged = case.ask(options).unwrap();
    assert_eq!(judged.verdicts.iter().map(|verdict| verdict.score).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);

    let case = Case::new(2);
    let silent_one = Server::start(|_| Answer { delay: Duration::from_secs(3), ..said("1") });
    let mut options = case.endpoint(&silent_one);
    options.endpoint.timeout = Duration::from_millis(100);
    let error = case.ask(options).unwrap_err().to_string();
    for part in ["judge \"j\"", "no answer within 0.1 s, 3 times", "0 of 6 rollouts have a verdict", "the same command"]
    {
        assert!(error.contains(part), "expected {part:?} in: {error}");
    }
    let case = Case::new(30);
    let garbage = Server::start(|_| said("no idea"));
    let mut options = case.endpoint(&garbage);
    options.endpoint.n_retries = 0;
    let error = case.ask(options).unwrap_err().to_string();
    assert!(error.contains("without a usable answer"), "{error}");
    assert!(garbage.requests().len() <= 30, "it is given up early: {} requests", garbage.requests().len());
}

fn verdict(prompt_id: &str, sample: usize, score: f64) -> Verdict {
    Verdict {
        prompt_id: prompt_id.into(),
        scenario: String::new(),
        sample,
        model: "m".into(),
        score,
        shows: score >= 50.0,
        judge: "j".into(),
        reason: String::new(),
        rollout_sha256: String::new(),
    }
}

#[test]
fn labels_find_their_verdicts() {
    let case = Case::new(1);
    let verdicts = [verdict("a", 0, 90.0), verdict("a", 1, 10.0), verdict("b", 0, 70.0)];
    let path = case.write("l.csv", "prompt_id,sample,shows\na,0,yes\na,1,true\nb,,0\n");
    let found = Confusion::at(&labels::read(&path, &verdicts).unwrap(), THRESHOLD);
    assert_eq!(
        (found.true_positives, found.false_negatives, found.false_positives, found.true_negatives),
        (1, 1, 1, 0)
    );
    for (text, expected) in [
        ("{\"prompt_id\":\"a\",\"shows\":true}", "line 1: 2 verdicts on prompt \"a\""),
        ("{\"prompt_id\":\"c\",\"sample\":0,\"shows\":true}", "no verdict on prompt \"c\""),
        ("{\"prompt_id\":\"b\",\"model\":\"x\",\"shows\":true}", "no verdict on prompt \"b\""),
        ("{\"prompt_id\":\"b\",\"shows\":\"maybe\"}", "expected true or false"),
        ("{\"prompt_id\":\"b\",\"score\":101}", "a number from 0 to 100"),
        ("{\"prompt_id\":\"b\"}", "neither \"shows\" nor \"score\""),
        (
            "{\"prompt_id\":\"b\",\"shows\":1}\n{\"prompt_id\":\"b\",\"shows\":1}",
            "line 2: prompt \"b\" sample 0 was labelled in line 1",
        ),
        ("", "no labels"),
    ] {
        let error = labels::read(&case.write("l.jsonl", text), &verdicts).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("l.jsonl"), "expected {expected:?} in {error}");
    }
}

#[test]
fn the_command_line_judges_prices_and_compares() {
    let case = Case::new(4);
    let server = Server::start(|request| said(&format!("{{\"score\": {}}}", number(request) * 9)));
    let path = |name: &str| case.path(name).to_string_lossy().into_owned();
    let rows: String = (0..12).map(|i| format!("p{},{},{}\n", i / 3, i % 3, i >= 7)).collect();
    case.write("labels.csv", &format!("prompt_id,sample,shows\n{rows}"));
    let (rollouts, out, url) = (path("rollouts.jsonl"), path("out/v.jsonl"), format!("{}/v1", server.url()));
    let (prompt, labels) = (path("prompt.txt"), path("labels.csv"));
    let args = ["judge", "--rollouts", &rollouts, "--out", &out, "--against", &labels];
    let by_endpoint =
        ["--endpoint", &url, "--endpoint-model", "m", "--prompt", &prompt, "--price-in", "1000", "--price-out", "5000"];
    let said = whence(args.iter().chain(&by_endpoint)).succeeds().stdout;
    for part in [
        "12 verdicts of judge m",
        "50.00 %",
        "120 tokens of questions, 24 of answers, cost 0.2400",
        "against 12 labels",
        "agreement",
        "0.917",
        "0.833",
        "calibration",
    ] {
        assert!(said.contains(part), "expected {part:?} in: {said}");
    }
    let again = whence(args.iter().chain(&by_endpoint)).succeeds().stdout;
    assert!(again.contains("which were there already") && again.contains("0.917"), "{again}");
    assert_eq!(server.requests().len(), 12);
    let bad = case.write("bad.txt", "Rate this.");
    let bad = ["--endpoint", &url, "--endpoint-model", "m", "--prompt", bad.to_str().unwrap()];
    whence(args.iter().chain(&bad)).fails_naming(&["bad.txt", "{response}"]);
}

#[test]
fn rollouts_and_labels_are_never_overwritten_by_verdicts() {
    let case = Case::new(4);
    let path = |name: &str| case.path(name).to_string_lossy().into_owned();
    let rules = "otherwise = 10\n[[rule]]\nscore = 100\nany = ['b']\n";
    let rules = case.write("rules.toml", rules).to_string_lossy().into_owned();
    case.write("labels.csv", "prompt_id,sample,shows\np0,0,true\n");
    case.write("other.jsonl", &fs::read_to_string(case.path("rollouts.jsonl")).unwrap());
    // What `whence rollouts` leaves beside its output.
    case.write("other.jsonl.run.json", "{\"format\":\"whence-rollouts-1\",\"seed\":0}");
    let judge = |out: &str, more: &[&str]| {
        let (rollouts, labels, out) = (path("rollouts.jsonl"), path("labels.csv"), path(out));
        let args = ["judge", "--rollouts", &rollouts, "--out", &out, "--rules", &rules, "--against", &labels];
        whence(args.iter().chain(more))
    };
    let names = ["rollouts.jsonl", "labels.csv", "rules.toml", "other.jsonl"];
    let before = names.map(|name| fs::read(case.path(name)).unwrap());
    for more in [&[][..], &["--replace"]] {
        judge("rollouts.jsonl", more).fails_naming(&["rollouts.jsonl", "--out is --rollouts", "choose another --out"]);
        judge("labels.csv", more).fails_naming(&["labels.csv", "--out is --against"]);
        judge("rules.toml", more).fails_naming(&["rules.toml", "--out is --rules"]);
        judge("other.jsonl", more).fails_naming(&["other.jsonl holds rollouts, not verdicts", "choose another --out"]);
    }
    assert_eq!(names.map(|name| fs::read(case.path(name)).unwrap()), before);
    judge("verdicts.jsonl", &[]).succeeds();
}
