//! The probe judge: its regression as scikit-learn computes it, training and judging through the binary, and what it refuses.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use whence_shared::logistic::{Standard, fit};
use whence_tests::binary::{Run, whence};
use whence_tests::chat_study::Numbers;
use whence_tests::fixture;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn the_regression_is_scikit_learns() {
    let path = fixture::folder().join("logistic/expected.json");
    let cases: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let (mut worst, mut n_fits) = (0f64, 0);
    for case in cases.as_array().unwrap() {
        let n_columns = case["n_columns"].as_u64().unwrap() as usize;
        let rows = numbers(&case["rows"]);
        let labels: Vec<bool> = serde_json::from_value(case["labels"].clone()).unwrap();
        let standard = Standard::of(&rows, n_columns);
        let rows: Vec<f64> = rows.chunks_exact(n_columns).flat_map(|row| standard.of_row(row)).collect();
        for expected in case["fits"].as_array().unwrap() {
            let c = expected["strength"].as_f64().unwrap();
            let found = fit(&rows, &labels, n_columns, c, None);
            let coefficients = numbers(&expected["coefficients"]);
            let scale = coefficients.iter().fold(0f64, |max, x| max.max(x.abs()));
            for (a, b) in found.coefficients.iter().zip(&coefficients) {
                worst = worst.max((a - b).abs() / scale);
            }
            worst = worst.max((found.intercept - expected["intercept"].as_f64().unwrap()).abs() / scale.max(1.0));
            // Never above what scikit-learn reached: both minimize the same.
            let loss = found.objective / labels.len() as f64;
            assert!(loss <= expected["loss"].as_f64().unwrap() * (1.0 + 1e-12), "{loss} {expected}");
            n_fits += 1;
        }
    }
    println!("{n_fits} fits, coefficients differ by {worst:.1e}");
    assert!(n_fits == 9 && worst < 1e-5, "{worst}");
}

/// Rollouts of which those that speak of tea show the behavior, and labels that say so.
struct Case {
    root: TempDir,
}

const N_PROMPTS: usize = 16;

impl Case {
    fn new() -> Self {
        let case = Self { root: tempfile::tempdir().unwrap() };
        let mut numbers = Numbers::new(5);
        let (mut rollouts, mut labels) = (String::new(), "prompt_id,sample,shows\n".to_owned());
        for prompt in 0..N_PROMPTS {
            for sample in 0..4 {
                let shows = numbers.below(2) == 0;
                let about = if shows { "green tea, hot tea, tea" } else { "the cold stone river" };
                let response = format!("{about} {}", numbers.text(3));
                let content = format!("question {prompt}");
                let rollout = json!({"prompt_id": format!("p{prompt}"), "prompt": [{"role": "user", "content": content}],
                    "sample": sample, "response": response, "model": "m1"});
                rollouts.push_str(&format!("{rollout}\n"));
                labels.push_str(&format!("p{prompt},{sample},{shows}\n"));
            }
        }
        case.write("rollouts.jsonl", &rollouts);
        case.write("labels.csv", &labels);
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn train(&self, layer: &str, out: &str) -> Run {
        self.train_with(layer, out, &[])
    }

    fn train_with(&self, layer: &str, out: &str, more: &[&str]) -> Run {
        let (rollouts, labels, out) = (self.text("rollouts.jsonl"), self.text("labels.csv"), self.text(out));
        let model = fixture::model("chat").to_string_lossy().into_owned();
        let args = ["--rollouts", &rollouts, "--labels", &labels, "--out", &out, "--model", &model, "--layer", layer];
        whence(["probe", "--device", "cpu"].iter().chain(&args).chain(more))
    }

    fn judge(&self, model: &str, more: &[&str]) -> Run {
        let (rollouts, out, probe) = (self.text("rollouts.jsonl"), self.text("verdicts.jsonl"), self.text("probe"));
        let args = ["--rollouts", &rollouts, "--out", &out, "--probe", &probe, "--model", model, "--device", "cpu"];
        whence(["judge"].iter().chain(&args).chain(more))
    }
}

#[test]
fn a_probe_learns_what_labels_say_and_judges_by_it() {
    let case = Case::new();
    let said = case.train("2", "probe").succeeds().stdout;
    for part in
        ["64 responses to 16 prompts", "chosen", "each prompt judged by a probe that was trained on others", "κ"]
    {
        assert!(said.contains(part), "expected {part:?} in: {said}");
    }
    let record: Value = serde_json::from_slice(&fs::read(case.path("probe/probe.json")).unwrap()).unwrap();
    assert_eq!((&record["layer"], &record["pooling"], &record["name"]), (&json!(2), &json!("mean"), &json!("probe")));
    assert_eq!(record["held_out"]["n"], 64, "every response is held out once");
    assert!(record["held_out"]["agreement"]["value"].as_f64().unwrap() > 0.9, "{record}");
    // The same labels give the same bytes.
    case.train("2", "again").succeeds();
    let bytes = |name: &str| fs::read(case.path(name)).unwrap();
    assert_eq!(bytes("probe/probe.safetensors"), bytes("again/probe.safetensors"));

    let model = fixture::model("chat").to_string_lossy().into_owned();
    let labels = case.text("labels.csv");
    let said = case.judge(&model, &["--against", &labels]).succeeds().stdout;
    assert!(said.contains("64 verdicts of judge probe") && said.contains("against 64 labels"), "{said}");
    assert!(said.contains("warning: the probe was trained on these rollouts"), "{said}");
    let verdicts = fs::read_to_string(case.path("verdicts.jsonl")).unwrap();
    let first: Value = serde_json::from_str(verdicts.lines().next().unwrap()).unwrap();
    assert!((0.0..=100.0).contains(&first["score"].as_f64().unwrap()) && first["judge"] == "probe", "{first}");
    assert!(case.judge(&model, &[]).succeeds().stdout.contains("which were there already"));

    // A measure may name it: the probe's folder, or a file with the model that it reads with.
    case.write("prompts.jsonl", "{\"prompt\":\"tea\"}\n{\"prompt\":\"stone\"}\n");
    case.write("judge.toml", &format!("probe = 'probe'\nmodel = '{model}'\n"));
    let measure = "[[measure]]\nname = 'b'\nprompts = 'prompts.jsonl'\nn_samples = 2\nmax_new_tokens = 4\n";
    let (measures, out) = (case.text("m.toml"), case.text("out"));
    let evaluate = ["evaluate", "--model", &model, "--measures", &measures, "--out", &out, "--device", "cpu"];
    case.write("m.toml", &format!("{measure}judge = 'probe'\n"));
    whence(evaluate).fails_naming(&["probe", "model = FOLDER"]);
    case.write("m.toml", &format!("{measure}judge = 'judge.toml'\n"));
    whence(evaluate).succeeds();
}

#[test]
fn another_model_layer_or_damaged_probe_is_refused_by_name() {
    let case = Case::new();
    case.train("99", "probe").fails_naming(&["99"]);
    case.train("1", "probe").succeeds();
    let copy = case.path("other");
    fixture::copy_folder(&fixture::model("chat"), &copy);
    whence_tests::checkpoint::edit_json(&copy.join("config.json"), |config| {
        config.insert("rms_norm_eps".into(), json!(1e-3));
    });
    let copy = copy.to_string_lossy().into_owned();
    case.judge(&copy, &[]).fails_naming(&["trained on model chat", "but other", "whence probe"]);
    let model = fixture::model("chat").to_string_lossy().into_owned();
    case.judge(&model, &["--template", "none"]).fails_naming(&["trained on template model", "but none"]);
    let weights = case.path("probe/probe.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..100]).unwrap();
    case.judge(&model, &[]).fails_naming(&["probe.safetensors", "not a complete"]);
    fs::write(&weights, &bytes).unwrap();
    let record = fs::read_to_string(case.path("probe/probe.json")).unwrap();
    case.write("probe/probe.json", &record.replace("whence.probe/1", "whence.probe/9"));
    case.judge(&model, &[]).fails_naming(&["probe.json", "whence.probe/9"]);
    fs::remove_file(case.path("probe/probe.json")).unwrap();
    case.judge(&model, &[]).fails_naming(&["probe.json"]);
}

#[test]
fn labels_that_nothing_can_be_learned_from_are_named() {
    let case = Case::new();
    let labels = fs::read_to_string(case.path("labels.csv")).unwrap();
    case.write("labels.csv", &labels.replace("true", "false"));
    case.train("1", "probe").fails_naming(&["labels.csv", "all 64 labels say the same"]);
    case.write("labels.csv", &labels.lines().take(9).collect::<Vec<_>>().join("\n"));
    case.train("1", "probe").fails_naming(&["labels.csv", "at least 4 prompts, got 2"]);
    case.write("labels.csv", "prompt_id,sample,shows\nnone,0,true\n");
    case.train("1", "probe").fails_naming(&["labels.csv line 2", "no rollout on prompt \"none\""]);
    assert!(!case.path("probe").exists());
}

#[test]
fn another_probe_or_a_folder_of_something_else_is_kept() {
    let case = Case::new();
    case.train("2", "probe").succeeds();
    let names = ["probe/probe.json", "probe/probe.safetensors"];
    let read = || names.map(|name| fs::read(case.path(name)).unwrap());
    let before = read();
    case.train("1", "probe").fails_naming(&["probe holds a probe with layer = 2, but now layer = 1", "--replace"]);
    case.train_with("2", "probe", &["--seed", "3"]).fails_naming(&["seed = 0, but now seed = 3"]);
    case.train_with("2", "probe", &["--pooling", "last"]).fails_naming(&["pooling = mean, but now pooling = last"]);
    let labels = fs::read_to_string(case.path("labels.csv")).unwrap();
    case.write("labels.csv", &format!("{labels}\n"));
    case.train("2", "probe").fails_naming(&["labels = file (", "choose another --out"]);
    case.write("labels.csv", &labels);
    assert!(read() == before, "nothing was touched");
    case.train("2", "probe").succeeds();
    assert!(read() == before, "the same again is no conflict");
    case.train_with("1", "probe", &["--replace"]).succeeds();
    assert!(read() != before);

    fs::create_dir(case.path("theirs")).unwrap();
    case.write("theirs/notes.txt", "x");
    case.train("2", "theirs").fails_naming(&["theirs holds \"notes.txt\"", "no probe", "--replace"]);
    assert_eq!(fs::read_dir(case.path("theirs")).unwrap().count(), 1);
    // What a run that was killed leaves is in nobody's way.
    fs::remove_file(case.path("probe/probe.json")).unwrap();
    case.train("2", "probe").succeeds();
}
