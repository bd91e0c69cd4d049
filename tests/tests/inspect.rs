//! `whence inspect`: models, studies and vector files say what they are and what they lack, to people and to programs.

use std::fs;
use std::path::Path;

use serde_json::Value;
use whence_backend::study::Study;
use whence_tests::binary::{Run, whence};
use whence_tests::chat_study::{Made, synthetic};
use whence_tests::{checkpoint, fixture, made_study};

fn inspect(path: &Path, more: &[&str]) -> Run {
    let mut args = vec!["inspect".into(), path.as_os_str().to_owned()];
    args.extend(more.iter().map(Into::into));
    whence(args)
}

fn json(path: &Path, more: &[&str]) -> Value {
    let run = inspect(path, &[&["--json"], more].concat()).succeeds();
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
}

#[track_caller]
fn assert_missing(report: &Value, parts: &[&str]) {
    let missing = report["missing"].to_string();
    for part in parts {
        assert!(missing.contains(part), "expected {part:?} in {missing}");
    }
}

#[test]
fn a_whole_model_says_what_it_is() {
    let report = json(&fixture::model("chat"), &[]);
    assert_eq!((report["kind"].as_str(), report["architecture"].as_str()), (Some("model"), Some("olmo2")));
    assert_eq!((report["is_usable"].as_bool(), report["missing"].as_array().map(Vec::len)), (Some(true), Some(0)));
    assert_eq!(report["sizes"]["num_hidden_layers"], 3);
    let weights = checkpoint::read(&fixture::model("chat").join("model.safetensors"));
    let n: usize = weights.values().map(|loose| loose.shape.iter().product::<usize>()).sum();
    assert_eq!(report["n_parameters"], n);
    assert_eq!(report["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(report["template_sha256"].as_str().map(str::len), Some(64));
    let text = inspect(&fixture::model("chat"), &[]).succeeds().stdout;
    for said in ["a model (olmo2)", &format!("parameters   {n}"), "model.safetensors", "missing      nothing"] {
        assert!(text.contains(said), "expected {said:?} in {text}");
    }
}

#[test]
fn a_model_that_lacks_something_says_what() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path();
    fixture::copy_folder(&fixture::model("chat"), model);
    let names = checkpoint::shard(model, 3);
    fs::remove_file(model.join(&names[1])).unwrap();
    assert_missing(&json(model, &[]), &[&format!("{} is not there", names[1]), "are in no file"]);

    fs::write(model.join(&names[1]), b"half a file").unwrap();
    assert_missing(&json(model, &[]), &["is not a complete safetensors file"]);

    let folder = tempfile::tempdir().unwrap();
    let model = folder.path();
    fixture::copy_folder(&fixture::model("chat"), model);
    checkpoint::edit(model, |weights| weights.retain(|key, _| !key.starts_with("model.layers.1.")));
    for file in ["tokenizer_config.json", "chat_template.jinja"] {
        let _ = fs::remove_file(model.join(file));
    }
    let report = json(model, &[]);
    assert_missing(&report, &["no weights of decoder layer 2", "no chat template"]);
    assert_eq!(report["is_usable"], false);

    checkpoint::edit_json(&model.join("config.json"), |config| {
        config.insert("model_type".into(), "mamba".into());
    });
    fs::remove_file(model.join("tokenizer.json")).unwrap();
    let report = json(model, &[]);
    assert_eq!((report["architecture"].as_str(), report["is_usable"].as_bool()), (Some("mamba"), Some(false)));
    assert_missing(&report, &["mamba"]);
}

#[test]
fn a_study_says_what_it_holds_and_lacks_at_every_stage() {
    let made = Made::of(&synthetic(50));
    assert_missing(&json(&made.study(), &[]), &["no vectors yet"]);

    made.extract(&["--rows-per-file", "16", "--layers", "1,2", "--part", "1/2"]);
    let report = json(&made.study(), &[]);
    assert_eq!((report["kind"].as_str(), report["n_pairs"].as_u64()), (Some("study"), Some(50)));
    assert_eq!(report["parts"][0], "1/2");
    assert_eq!(report["series"][1]["missing"][0], serde_json::json!({"first": 32, "last": 49}));
    assert_missing(&report, &["layer 1 lacks rows 32 to 49", "no behavior yet"]);

    made.extract(&["--rows-per-file", "16", "--layers", "1,2"]);
    let report = json(&made.study(), &["--verify"]);
    assert!(report["series"].as_array().unwrap().iter().all(|series| series["is_complete"] == true), "{report}");
    assert_eq!(report["model"]["name"], "chat");

    // Changed, but whole: only reading it to its end shows that.
    let file = made.study().join("vectors/layer-2/00000016.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(json(&made.study(), &[])["series"][1]["is_complete"], true);
    let report = json(&made.study(), &["--verify"]);
    assert_eq!(report["series"][1]["faulty"][0]["path"], "vectors/layer-2/00000016.safetensors");
    // Truncated: seen at once.
    fs::write(&file, &bytes[..bytes.len() - 4]).unwrap();
    let text = inspect(&made.study(), &[]).succeeds().stdout;
    assert!(text.contains("layer 2: incomplete") && text.contains("rows 16 to 31 are missing"), "{text}");
    assert!(text.contains("00000016.safetensors: not a complete safetensors file"), "{text}");
}

#[test]
fn a_damaged_manifest_of_a_layer_is_named_and_extracting_writes_it_anew() {
    let made = Made::of(&synthetic(20));
    made.extract(&["--layers", "1,2", "--logps"]);
    for (series, folder) in ["logps", "layer-1", "layer-2"].iter().enumerate().map(|(i, name)| ((i + 2) % 3, name)) {
        let path = made.study().join("vectors").join(folder).join("manifest.json");
        let whole = fs::read(&path).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        for damaged in [text.replacen('{', "k", 1), text.replacen("\"n_rows\": 20", "\"n_rows\": 21", 1)] {
            assert_ne!(damaged, text);
            fs::write(&path, damaged).unwrap();
            for more in [&[] as &[&str], &["--verify"]] {
                let report = json(&made.study(), more);
                assert_eq!(report["series"][series]["is_complete"], false, "{report}");
                assert_missing(&report, &["its manifest is damaged", "whence extract"]);
            }
            made.extract(&["--layers", "1,2", "--logps"]);
            assert_eq!(fs::read(&path).unwrap(), whole, "extracting is enough");
        }
    }
    assert!(json(&made.study(), &[])["series"].as_array().unwrap().iter().all(|series| series["is_complete"] == true));
}

#[test]
fn behaviors_are_listed_and_their_missing_files_named() {
    let folder = tempfile::tempdir().unwrap();
    let study: Study = made_study::make(folder.path(), 100);
    let report = json(study.root(), &[]);
    assert_eq!(report["behaviors"][0]["name"], made_study::BEHAVIOR);
    fs::remove_file(study.behavior_vectors(made_study::BEHAVIOR, 2)).unwrap();
    assert_missing(&json(study.root(), &[]), &["lacks its file of layer 2"]);
}

#[test]
fn a_vector_file_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let study = made_study::make(folder.path(), 100);
    let report = json(&study.layer(1).join("00000070.safetensors"), &[]);
    assert_eq!((report["kind"].as_str(), report["dtype"].as_str()), (Some("shard"), Some("f32")));
    assert_eq!((&report["layer"], &report["first_row"], &report["n_rows"]), (&1.into(), &70.into(), &30.into()));
    // Rows 77, 88 and 99 are zero.
    assert_eq!(report["n_zero_rows"], 3);
    let behavior = json(&study.behavior_vectors(made_study::BEHAVIOR, 2), &[]);
    assert_eq!(behavior["has_direction"], true);
}

#[test]
fn what_is_nothing_of_ours_is_refused_with_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    inspect(folder.path(), &[]).fails_naming(&["expected a model folder"]);
    inspect(&folder.path().join("nowhere"), &[]).fails_naming(&["does not exist"]);
    let text = folder.path().join("notes.txt");
    fs::write(&text, "notes").unwrap();
    inspect(&text, &[]).fails_naming(&["notes.txt", "expected a model folder"]);
    inspect(&fixture::model("chat").join("model.safetensors"), &[]).fails_naming(&["not a vector shard"]);
    let broken = folder.path().join("x.safetensors");
    fs::write(&broken, "x").unwrap();
    inspect(&broken, &[]).fails_naming(&["x.safetensors", "not a complete safetensors file"]);
}
