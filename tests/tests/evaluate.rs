//! `whence evaluate`: log-likelihoods of options as transformers computes them, whatever the order of the questions; all kinds
//! of measures through the binary, of one model and of a study's; and what cannot be used is named.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use whence_backend::device::{self, Device, DeviceChoice};
use whence_backend::evaluate::choices::ChoiceItem;
use whence_backend::evaluate::measure::Items;
use whence_backend::evaluate::{Measure, MeasurePlan, Place};
use whence_backend::judge::file::Surroundings;
use whence_backend::model::ModelFolder;
use whence_backend::progress::silent;
use whence_tests::binary::{Run, whence};
use whence_tests::chat_study::{Made, synthetic};
use whence_tests::{fixture, vectors};

/// Of a log-likelihood, relative; f32 on both sides.
const TOLERANCE: f64 = 1e-5;

fn cpu() -> Device {
    device::open(DeviceChoice::Cpu).unwrap().device
}

fn choices(questions: &Path, template: &str) -> Vec<ChoiceItem> {
    let out = tempfile::tempdir().unwrap();
    let plan: MeasurePlan = serde_json::from_value(json!({
        "name": "k", "kind": "multiple-choice", "prompts": questions, "template": template
    }))
    .unwrap();
    let device = cpu();
    let measure = Measure::open(&plan, &Surroundings { cache: out.path(), model: None, device: &device }).unwrap();
    let model = ModelFolder::open(&fixture::model("chat")).unwrap();
    let place = Place { device: &device, folder: out.path(), seed: 0, replace: false };
    let take = || measure.take(&model, &place, &silent).unwrap();
    let taken = take();
    assert_eq!(take(), taken, "what is there is read back as it was");
    match taken.items {
        Items::Choices(items) => items,
        other => panic!("{other:?}"),
    }
}

fn questions() -> PathBuf {
    fixture::folder().join("choices/questions.jsonl")
}

#[test]
fn log_likelihoods_of_options_are_those_of_transformers() {
    let expected: Value =
        serde_json::from_slice(&fs::read(fixture::folder().join("choices/expected.json")).unwrap()).unwrap();
    for template in ["model", "none"] {
        let items = choices(&questions(), template);
        let expected = expected[template].as_array().unwrap();
        assert_eq!(items.len(), expected.len());
        let mut worst = 0f64;
        for (item, expected) in items.iter().zip(expected) {
            assert_eq!(item.id, expected["id"].as_str().unwrap());
            let options = expected["options"].as_array().unwrap();
            assert_eq!(item.options.len(), options.len());
            for (option, expected) in item.options.iter().zip(options) {
                assert_eq!(json!(option.n_tokens), expected["n_tokens"], "{template} {}", item.id);
                let logp = expected["logp"].as_f64().unwrap();
                worst = worst.max((f64::from(option.logp) - logp).abs() / logp.abs());
            }
            assert_eq!(
                (json!(item.acc), json!(item.acc_norm)),
                (expected["acc"].clone(), expected["acc_norm"].clone())
            );
        }
        println!("{template}: log-likelihoods differ by {worst:.1e}");
        assert!(worst <= TOLERANCE, "{template}: {worst}");
    }
}

#[test]
fn the_order_of_questions_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(questions()).unwrap();
    let path = folder.path().join("turned.jsonl");
    fs::write(&path, text.lines().rev().step_by(3).collect::<Vec<_>>().join("\n")).unwrap();
    let all = choices(&questions(), "model");
    let some = choices(&path, "model");
    assert_eq!(some.len(), 14);
    for item in &some {
        let other = all.iter().find(|other| other.id == item.id).unwrap();
        for (a, b) in item.options.iter().zip(&other.options) {
            assert!((a.logp - b.logp).abs() <= 1e-5 * b.logp.abs(), "{}: {} {}", item.id, a.logp, b.logp);
        }
        assert_eq!((item.acc, item.acc_norm), (other.acc, other.acc_norm));
    }
}

/// A folder with a task of every kind and the measures that name them.
struct Tasks {
    root: TempDir,
}

const MEASURES: &str = "[[measure]]\nname = 'behavior'\nprompts = 'prompts.jsonl'\njudge = 'judge.toml'\nn_samples = 3\n\
    max_new_tokens = 8\n[[measure]]\nname = 'knowledge'\nkind = 'multiple-choice'\nprompts = 'questions.jsonl'\n\
    metric = 'acc'\n[[measure]]\nname = 'answers'\nkind = 'exact-match'\nprompts = 'answers.jsonl'\n\
    extract = '(\\w)'\nmax_new_tokens = 8\n[[measure]]\nname = 'form'\nkind = 'formats'\nprompts = 'form.jsonl'\n\
    max_new_tokens = 8\nskip_unsupported = true\n";

impl Tasks {
    fn new() -> Self {
        let tasks = Self { root: tempfile::tempdir().unwrap() };
        tasks.write("prompts.jsonl", "{\"id\":\"a\",\"prompt\":\"bread and tea\"}\n{\"prompt\":\"the clock\"}\n");
        tasks.write("judge.toml", "otherwise = 0\n[[rule]]\nscore = 100\nany = [\"[a-m]\"]\n");
        tasks.write("questions.jsonl", &fs::read_to_string(questions()).unwrap());
        let letters: Vec<String> = ('a'..='z').map(|letter| letter.to_string()).collect();
        let answers = [json!({"prompt": "bread", "answer": letters}), json!({"prompt": "tea", "answer": "never this"})];
        tasks.write("answers.jsonl", &answers.map(|line| line.to_string()).join("\n"));
        let check = |ids: Value, kwargs: Value| json!({"prompt": "tea", "instruction_id_list": ids, "kwargs": kwargs});
        let at_most = json!({"relation": "less than", "num_words": 50});
        let form = [
            check(json!(["length_constraints:number_words"]), json!([at_most])),
            check(json!(["length_constraints:number_words", "detectable_format:title"]), json!([at_most, {}])),
            check(json!(["language:response_language"]), json!([{"language": "de"}])),
        ];
        tasks.write("form.jsonl", &form.map(|line| line.to_string()).join("\n"));
        tasks.write("measures.toml", MEASURES);
        tasks
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn evaluate(&self, more: &[&str]) -> Run {
        let (model, measures, out) = (fixture::model("chat"), self.path("measures.toml"), self.path("out"));
        let mut args = vec!["evaluate".to_owned(), "--device".into(), "cpu".into()];
        for (name, path) in [("--model", &model), ("--measures", &measures), ("--out", &out)] {
            args.extend([name.to_owned(), path.to_string_lossy().into_owned()]);
        }
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        whence(args)
    }

    fn result(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("out/evaluation.json")).unwrap()).unwrap()
    }
}

#[test]
fn every_kind_is_measured_with_intervals_and_single_results() {
    let tasks = Tasks::new();
    let said = tasks.evaluate(&[]).succeeds().stdout;
    for part in [
        "acc_norm",
        "exact_match",
        "prompt_level_strict_acc",
        "inst_level_loose_acc",
        "[",
        "evaluation.json",
        "1 prompts are left out",
    ] {
        assert!(said.contains(part), "expected {part:?} in: {said}");
    }
    let result = tasks.result();
    let measures = result["models"][0]["measures"].as_array().unwrap();
    let names: Vec<&str> = measures.iter().map(|measure| measure["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["behavior", "knowledge", "answers", "form"]);
    let rate = |measure: usize, metric: &str| {
        let summary = measures[measure]["summary"].as_array().unwrap();
        let found = summary.iter().find(|found| found["metric"] == metric).unwrap_or_else(|| panic!("no {metric}"));
        let interval = &found["rate"]["interval"];
        let value = found["rate"]["value"].as_f64().unwrap();
        assert!(interval["low"].as_f64().unwrap() <= value && value <= interval["high"].as_f64().unwrap(), "{found}");
        assert_eq!(interval["covers"], "prompts_rollouts", "one model has no training noise to cover");
        value
    };
    // Each rate is that of the single results.
    let items = |measure: usize| measures[measure]["items"].as_array().unwrap();
    let share = |measure: usize, is: &dyn Fn(&Value) -> bool| {
        items(measure).iter().filter(|item| is(item)).count() as f64 / items(measure).len() as f64
    };
    assert_eq!(items(0).iter().map(|item| item["n_rollouts"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 3]);
    let shown: f64 = items(0).iter().map(|item| item["shown"].as_f64().unwrap() / 3.0).sum();
    assert!((rate(0, "rate") - shown / 2.0).abs() < 1e-12);
    assert!((rate(1, "acc") - share(1, &|item| item["acc"] == true)).abs() < 1e-12);
    assert!((rate(1, "acc_norm") - share(1, &|item| item["acc_norm"] == true)).abs() < 1e-12);
    assert!((rate(2, "exact_match") - share(2, &|item| item["is_right"] == true)).abs() < 1e-12);
    assert_eq!(items(2)[1]["is_right"], false);
    assert_eq!(items(3).len(), 2, "a prompt with a check that is not implemented is left out, when told to");
    assert!(rate(3, "inst_level_strict_acc") >= rate(3, "prompt_level_strict_acc"));
    assert!(rate(3, "prompt_level_loose_acc") >= rate(3, "prompt_level_strict_acc"));

    // Again: the same bytes, and nothing is sampled twice; what lost its last part is completed.
    let before = vectors::files(&tasks.path("out"));
    fs::remove_file(tasks.path("out/evaluation.json")).unwrap();
    fs::remove_file(tasks.path("out/knowledge.items.jsonl.run.json")).unwrap();
    fs::remove_file(tasks.path("out/behavior.verdicts.jsonl")).unwrap();
    tasks.evaluate(&[]).succeeds();
    assert_eq!(vectors::files(&tasks.path("out")), before);
    let json = tasks.evaluate(&["--json"]).succeeds().stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), result);
}

#[test]
fn what_was_measured_of_another_model_or_otherwise_is_replaced_only_when_asked() {
    let tasks = Tasks::new();
    tasks.evaluate(&[]).succeeds();
    let before = vectors::files(&tasks.path("out"));
    let refused = |run: Run, parts: &[&str]| {
        run.fails_naming(&[parts, &["choose another --out", "--replace"]].concat());
        assert!(vectors::files(&tasks.path("out")) == before, "{parts:?}: what was there is as it was");
    };
    // Single results that would be lost, each with the setting that differs.
    refused(tasks.evaluate(&["--seed", "1"]), &["behavior.rollouts.jsonl", "seed = 0, but now seed = 1"]);
    tasks.write("measures.toml", &MEASURES.replace("n_samples = 3", "n_samples = 4"));
    refused(tasks.evaluate(&[]), &["behavior.rollouts.jsonl", "samples = 3, but now samples = 4"]);
    tasks.write("measures.toml", MEASURES);
    let questions = fs::read_to_string(tasks.path("questions.jsonl")).unwrap();
    tasks.write("questions.jsonl", &questions.lines().take(9).collect::<Vec<_>>().join("\n"));
    refused(tasks.evaluate(&[]), &["knowledge.items.jsonl holds answers to other questions"]);
    tasks.write("questions.jsonl", &questions);
    // A summary that would be lost.
    let sections: Vec<&str> = MEASURES.split("[[measure]]").collect();
    tasks.write("measures.toml", &format!("[[measure]]{}", sections[1]));
    refused(tasks.evaluate(&[]), &["evaluation.json", "measure \"knowledge\""]);
    tasks.write("measures.toml", &format!("[[measure]]{}", sections[1].replace("'behavior'", "'other'")));
    refused(tasks.evaluate(&[]), &["evaluation.json", "measure \"behavior\""]);
    tasks.write("measures.toml", MEASURES);
    let other = tasks.path("other");
    fixture::copy_folder(&fixture::model("chat"), &other);
    whence_tests::checkpoint::edit_json(&other.join("config.json"), |config| {
        config.insert("rms_norm_eps".into(), json!(1e-3));
    });
    let (measures, out) = (tasks.path("measures.toml"), tasks.path("out"));
    let of_other = |more: &[&str]| {
        let paths = [other.to_str().unwrap(), measures.to_str().unwrap(), out.to_str().unwrap()];
        let args = ["evaluate", "--device", "cpu", "--model", paths[0], "--measures", paths[1], "--out", paths[2]];
        whence(args.iter().chain(more))
    };
    refused(of_other(&[]), &["evaluation.json", "model chat ("]);

    // More is no loss, nor are other intervals.
    let more = MEASURES.replace("name = 'form'", "name = 'more'").split("[[measure]]").last().unwrap().to_owned();
    tasks.write("measures.toml", &format!("{MEASURES}[[measure]]{more}"));
    tasks.evaluate(&["--level", "0.9"]).succeeds();
    assert_eq!(tasks.result()["models"][0]["measures"].as_array().unwrap().len(), 5);
    of_other(&["--replace"]).succeeds();
    assert_eq!(tasks.result()["models"][0]["name"], "other");
}

#[test]
fn what_cannot_be_used_is_named_with_its_row() {
    let tasks = Tasks::new();
    let good = "{\"prompt\":\"p\",\"options\":[\"a\",\"b\"],\"answer\":0}\n";
    let long = format!("{{\"prompt\":\"{}\",\"options\":[\"a\",\"b\"],\"answer\":0}}\n", "tea ".repeat(5000));
    for (file, text, parts) in [
        ("questions.jsonl", String::new(), vec!["questions.jsonl", "no test prompt"]),
        ("questions.jsonl", good.into(), vec!["questions.jsonl", "at least 2 prompts", "got 1"]),
        ("questions.jsonl", format!("{good}{{\"prompt\":\"p\"}}\n"), vec!["questions.jsonl line 2", "\"options\""]),
        (
            "questions.jsonl",
            format!("{good}\n{}", good.replace(":0", ":2")),
            vec!["questions.jsonl line 3", "\"answer\" is 2", "numbered from 0"],
        ),
        (
            "questions.jsonl",
            format!("{good}{long}"),
            vec!["questions.jsonl line 2", "more than the model's", "shorten"],
        ),
        ("answers.jsonl", "{\"prompt\":\"p\"}\n".into(), vec!["answers.jsonl line 1", "\"answer\" is missing"]),
        ("form.jsonl", "{\"prompt\":\"p\"}\n".into(), vec!["form.jsonl line 1", "instruction_id_list"]),
        ("judge.toml", "[[rule]]\nscore = 1\n".into(), vec!["judge.toml", "no condition"]),
        (
            "measures.toml",
            MEASURES.replace("metric = 'acc'", "metric = 'rate'"),
            vec!["measures.toml", "acc_norm or acc"],
        ),
        (
            "measures.toml",
            MEASURES.replace("skip_unsupported = true", ""),
            vec!["form.jsonl line 3", "no language detection", "skip_unsupported"],
        ),
    ] {
        let whole = fs::read_to_string(tasks.path(file)).unwrap();
        tasks.write(file, &text);
        tasks.evaluate(&[]).fails_naming(&parts);
        tasks.write(file, &whole);
    }
    assert!(!tasks.path("out/evaluation.json").exists());
    let measures = tasks.path("measures.toml");
    let nothing = ["evaluate", "--measures", measures.to_str().unwrap()];
    assert!(whence(nothing).stderr.contains("--model"), "a model or a study is asked for");
}

#[test]
fn every_arm_and_seed_of_a_study_is_measured() {
    let tasks = Tasks::new();
    let made = Made::of(&synthetic(24));
    let study = made.study();
    let plan = format!(
        "model = '{}'\nseeds = [1, 2]\n[dpo]\nbatch_size = 8\n[[arm]]\nname = 'baseline'\n{}",
        fixture::model("chat").display(),
        MEASURES.split("[[measure]]").take(2).collect::<Vec<_>>().join("[[measure]]")
    );
    tasks.write("plan.toml", &plan);
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let (study_arg, plan) = (path(study.clone()), path(tasks.path("plan.toml")));
    let evaluate = |more: &[&str]| {
        let measures = path(tasks.path("measures.toml"));
        let args = ["evaluate", "--study", &study_arg, "--device", "cpu", "--measures", &measures];
        whence(args.iter().chain(more))
    };
    evaluate(&[]).fails_naming(&["no trained model is complete", "whence retrain"]);
    whence(["retrain", "--study", &study_arg, "--plan", &plan, "--device", "cpu"]).succeeds();
    let said = evaluate(&[]).succeeds().stdout;
    assert!(said.contains("baseline seed 2") && said.contains("each seed"), "{said}");
    let result: Value = serde_json::from_slice(&fs::read(study.join("evaluation/evaluation.json")).unwrap()).unwrap();
    let models = result["models"].as_array().unwrap();
    let runs: Vec<_> = models.iter().map(|model| (model["arm"].clone(), model["seed"].clone())).collect();
    assert_eq!(runs, [(json!("baseline"), json!(1)), (json!("baseline"), json!(2))]);
    let knowledge = &result["arms"][0]["measures"][1];
    assert_eq!((&knowledge["name"], &knowledge["metric"]), (&json!("knowledge"), &json!("acc")));
    assert_eq!(knowledge["rate"]["interval"]["covers"], "seeds_prompts_rollouts");
    assert_eq!(knowledge["seed_rates"].as_array().unwrap().len(), 2);
    evaluate(&["--arm", "drop"]).fails_naming(&["of arm \"drop\"", "there are baseline"]);
    evaluate(&["--arm", "baseline"]).succeeds();
}
