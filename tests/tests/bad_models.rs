//! Broken, foreign and mismatched model folders: each gives one error that names the file or key, what was expected and
//! what to do, and leaves nothing behind that a later run would trust.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;
use whence_tests::binary::{Run, whence};
use whence_tests::checkpoint::{self, Weights};
use whence_tests::fixture;

/// A study with imported pairs and a model folder that fits, to be broken.
struct Case {
    root: TempDir,
}

impl Case {
    fn new() -> Self {
        let case = Self { root: tempfile::tempdir().unwrap() };
        fixture::copy_folder(&fixture::model("chat"), &case.model());
        let pairs = case.model().join("pairs.jsonl");
        whence(["import".as_ref(), pairs.as_os_str(), "--study".as_ref(), case.study().as_os_str()]).succeeds();
        case
    }

    fn model(&self) -> PathBuf {
        self.root.path().join("model")
    }

    fn study(&self) -> PathBuf {
        self.root.path().join("study")
    }

    fn extract(&self, more: &[&str]) -> Run {
        let (study, model) = (self.study(), self.model());
        let mut args = vec!["extract", "--study", study.to_str().unwrap(), "--model", model.to_str().unwrap()];
        args.extend(["--device", "cpu"]);
        args.extend(more);
        whence(args)
    }

    /// Extraction fails naming all of `parts`, leaves no vectors, and succeeds once the good model is back.
    fn refused(self, parts: &[&str]) {
        self.extract(&[]).fails_naming(parts);
        let vectors: Vec<PathBuf> = walk(self.study().join("vectors"));
        let is_vector = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "safetensors");
        assert_eq!(vectors.iter().find(is_vector), None, "no vectors are left behind");
        fs::remove_dir_all(self.model()).ok();
        fixture::copy_folder(&fixture::model("chat"), &self.model());
        self.extract(&[]).succeeds();
    }

    fn config(self, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Self {
        checkpoint::edit_json(&self.model().join("config.json"), change);
        self
    }

    fn weights(self, change: impl FnOnce(&mut Weights)) -> Self {
        checkpoint::edit(&self.model(), change);
        self
    }
}

fn walk(folder: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files.extend(walk(entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

const UP_PROJ: &str = "model.layers.1.mlp.up_proj.weight";

#[test]
fn a_truncated_weights_file_is_named_wherever_it_was_cut() {
    let n_bytes = fs::metadata(fixture::model("chat").join("model.safetensors")).unwrap().len();
    let case = Case::new();
    let path = case.model().join("model.safetensors");
    for length in [0, 7, 8, 100, n_bytes / 2, n_bytes - 1] {
        fs::copy(fixture::model("chat").join("model.safetensors"), &path).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        case.extract(&[]).fails_naming(&["model.safetensors", "not a complete safetensors file", "download or copy"]);
    }
    case.refused(&["model.safetensors"]);
}

#[test]
fn a_web_page_instead_of_weights_is_named() {
    let case = Case::new();
    fs::write(case.model().join("model.safetensors"), "<!doctype html><title>Not found</title>".repeat(9)).unwrap();
    case.refused(&["model.safetensors", "not a complete safetensors file"]);
}

#[test]
fn missing_files_are_named() {
    for (file, parts) in [
        ("config.json", vec!["no config.json in", "expected a Hugging Face model folder"]),
        ("model.safetensors", vec!["no model.safetensors", "expected a Hugging Face model folder"]),
        ("tokenizer.json", vec!["no tokenizer.json in", "expected a Hugging Face model folder"]),
        ("tokenizer_config.json", vec!["no chat template", "--template"]),
    ] {
        let case = Case::new();
        fs::remove_file(case.model().join(file)).unwrap();
        case.refused(&parts);
    }
}

#[test]
fn a_folder_that_does_not_exist_is_named() {
    let case = Case::new();
    fs::remove_dir_all(case.model()).unwrap();
    let model = case.model();
    case.refused(&[model.to_str().unwrap(), "does not exist"]);
}

#[test]
fn a_shard_named_in_the_index_but_missing_is_named() {
    let case = Case::new();
    let names = checkpoint::shard(&case.model(), 3);
    fs::remove_file(case.model().join(&names[1])).unwrap();
    case.refused(&[&names[1], "index", "incomplete"]);
}

#[test]
fn a_truncated_shard_is_named() {
    let case = Case::new();
    let names = checkpoint::shard(&case.model(), 3);
    fs::OpenOptions::new().write(true).open(case.model().join(&names[2])).unwrap().set_len(1000).unwrap();
    case.refused(&[&names[2], "not a complete safetensors file"]);
}

#[test]
fn a_malformed_index_is_named() {
    for text in
        ["", "{", "[]", "{}", r#"{"weight_map": 3}"#, r#"{"weight_map": {"a": 1}}"#, r#"{"weight_map": {"a": "../b"}}"#]
    {
        let case = Case::new();
        checkpoint::shard(&case.model(), 2);
        fs::write(case.model().join("model.safetensors.index.json"), text).unwrap();
        case.extract(&[]).fails_naming(&["model.safetensors.index.json", "weight_map", "expected"]);
    }
}

#[test]
fn a_missing_weight_is_named() {
    Case::new()
        .weights(|weights| {
            weights.remove(UP_PROJ);
        })
        .refused(&[UP_PROJ, "missing"]);
}

#[test]
fn a_weight_without_a_place_is_named() {
    let extra = "model.layers.3.mlp.up_proj.weight";
    Case::new()
        .weights(|weights| {
            weights.insert(extra.into(), weights[UP_PROJ].clone());
        })
        .refused(&[extra, "no place"]);
}

#[test]
fn a_weight_of_the_wrong_shape_is_named_with_both_shapes() {
    Case::new().weights(|weights| weights.get_mut(UP_PROJ).unwrap().shape.reverse()).refused(&[
        "model.safetensors",
        UP_PROJ,
        "expected shape [40, 32]",
        "got [32, 40]",
        "config.json",
    ]);
}

#[test]
fn a_quantised_weight_is_named() {
    Case::new()
        .weights(|weights| {
            let weight = weights.get_mut(UP_PROJ).unwrap();
            weight.dtype = Dtype::I8;
            weight.bytes.truncate(weight.shape.iter().product());
        })
        .refused(&["model.safetensors", UP_PROJ, "expected F32, BF16 or F16", "I8"]);
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let case = Case::new().weights(|weights| {
            weights.get_mut(UP_PROJ).unwrap().bytes[28..32].copy_from_slice(&value.to_le_bytes());
        });
        case.extract(&[]).fails_naming(&["model.safetensors", UP_PROJ, "element 7", shown]);
    }
}

#[test]
fn a_configuration_that_is_not_supported_is_named_with_its_key() {
    for (key, value, parts) in [
        ("model_type", json!("gpt2"), ["model_type", "olmo2", "gpt2"]),
        ("model_type", json!("olmo"), ["model_type", "olmo2", "olmo"]),
        ("model_type", Value::Null, ["model_type", "expected", "config.json"]),
        ("hidden_act", json!("gelu"), ["hidden_act", "silu", "gelu"]),
        ("attention_bias", json!(true), ["attention_bias", "false", "true"]),
        (
            "rope_parameters",
            json!({"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0}),
            ["rope_parameters.rope_type", "default", "longrope"],
        ),
        (
            "rope_parameters",
            json!({"rope_type": "default", "rope_theta": "big"}),
            ["rope_theta", "a positive number", "big"],
        ),
        ("num_key_value_heads", json!(3), ["num_key_value_heads", "a divisor", "3"]),
        ("head_dim", json!(7), ["head_dim", "even", "7"]),
        ("hidden_size", json!("wide"), ["hidden_size", "expected", "wide"]),
        ("hidden_size", json!(-32), ["hidden_size", "expected", "-32"]),
        ("num_hidden_layers", json!(0), ["num_hidden_layers", "expected", "0"]),
        ("vocab_size", Value::Null, ["vocab_size", "expected", "config.json"]),
        ("rms_norm_eps", json!("small"), ["rms_norm_eps", "expected", "small"]),
    ] {
        let case = Case::new().config(|config| {
            config.insert(key.into(), value);
        });
        case.extract(&[]).fails_naming(&[&parts[..], &["config.json"]].concat());
    }
}

#[test]
fn rope_scaling_in_the_older_spelling_is_named() {
    Case::new()
        .config(|config| {
            config.remove("rope_parameters");
            config.insert("rope_theta".into(), json!(500_000.0));
            config.insert("rope_scaling".into(), json!({"type": "dynamic", "factor": 2.0}));
        })
        .refused(&["config.json", "rope_scaling", "dynamic", "default"]);
}

#[test]
fn a_configuration_of_absurd_size_is_an_error_and_not_an_allocation() {
    for (key, value) in [
        ("intermediate_size", 1u64 << 31),
        ("vocab_size", 1 << 32),
        ("num_hidden_layers", 1 << 31),
        ("num_hidden_layers", 1 << 50),
    ] {
        let case = Case::new().config(|config| {
            config.insert(key.into(), value.into());
        });
        case.extract(&[]).fails_naming(&["model"]);
    }
}

#[test]
fn files_that_are_not_json_are_named() {
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        for text in ["", "{\"model_type\": ", "\u{feff}version https://git-lfs.github.com/spec/v1"] {
            let case = Case::new();
            fs::write(case.model().join(file), text).unwrap();
            case.extract(&[]).fails_naming(&[file, "expected"]);
        }
    }
}

#[test]
fn a_chat_template_that_is_not_jinja_is_named_with_its_line() {
    let case = Case::new();
    fs::write(case.model().join("chat_template.jinja"), "{% for message in messages %}\n{{ message.content }\n")
        .unwrap();
    case.refused(&["chat template", "chat:2"]);
}

#[test]
fn a_tokenizer_with_ids_beyond_the_vocabulary_is_named() {
    let case = Case::new();
    checkpoint::edit_json(&case.model().join("tokenizer.json"), |tokenizer| {
        tokenizer["model"]["vocab"]["zebra"] = 5000.into();
    });
    case.refused(&["tokenizer.json", "zebra", "5000", "vocab_size 448"]);
}

#[test]
fn a_layer_that_does_not_exist_is_named_with_those_that_do() {
    let case = Case::new();
    for layers in ["4", "1,2,99", "2-4"] {
        case.extract(&["--layers", layers]).fails_naming(&[
            "does not exist",
            "3 decoder layers",
            "0 (embeddings) to 3",
        ]);
    }
    case.extract(&["--layers", "0,3"]).succeeds();
}

#[test]
fn options_out_of_range_are_named() {
    let case = Case::new();
    for option in ["--max-tokens", "--rows-per-file", "--batch-tokens"] {
        case.extract(&[option, "0"]).fails_naming(&[option, "expected 1 to"]);
    }
}

#[test]
fn vectors_of_two_models_or_two_readings_are_never_mixed() {
    let case = Case::new();
    case.extract(&[]).succeeds();
    let before = snapshot(&case);
    case.extract(&["--max-tokens", "64"]).fails_naming(&["manifest.json", "--max-tokens", "2048", "64", "--replace"]);
    case.extract(&["--template", "none"]).fails_naming(&["manifest.json", "template", "--replace"]);
    case.extract(&["--store", "f16"]).fails_naming(&["manifest.json", "--store", "f16", "--replace"]);
    // The least change there is: one bit of one weight.
    let case = case.weights(|weights| weights.get_mut(UP_PROJ).unwrap().bytes[0] ^= 1);
    case.extract(&[]).fails_naming(&["manifest.json", "another model", "--replace"]);
    case.extract(&["--layers", "0"]).fails_naming(&["manifest.json", "another model"]);
    assert_eq!(snapshot(&case), before, "a refused run changes nothing");
    case.extract(&["--replace"]).succeeds();
    assert_ne!(snapshot(&case), before);
}

fn snapshot(case: &Case) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> =
        walk(case.study()).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn activations_too_large_for_f16_are_named_by_row_and_f32_stores_them() {
    let case = Case::new().weights(|weights| {
        for value in weights.get_mut("model.embed_tokens.weight").unwrap().bytes.as_chunks_mut::<4>().0 {
            *value = (f32::from_le_bytes(*value) * 1e6).to_le_bytes();
        }
    });
    case.extract(&["--store", "f16"]).fails_naming(&["row 0", "f16", "f32"]);
    case.extract(&["--store", "f32", "--replace"]).succeeds();
}

#[test]
fn a_study_without_pairs_says_how_to_get_them() {
    let case = Case::new();
    fs::remove_dir_all(case.study()).unwrap();
    case.extract(&[]).fails_naming(&["pairs.parquet", "whence import"]);
}

#[test]
fn a_study_that_cannot_do_is_named_before_a_model_is_looked_for() {
    let case = Case::new();
    let study = case.study();
    let pairs = case.root.path().join("b.jsonl");
    fs::write(&pairs, "{\"prompt\":\"p\",\"r0\":\"a\",\"r1\":\"b\"}").unwrap();
    let run = |verb: &str, more: &[&str]| {
        let model = ["--model", "no-such/model", "--study", study.to_str().unwrap()];
        whence([verb].iter().chain(&model).chain(more))
    };
    let tokens = ["--behavior", "b", "--layer", "1"];
    run("tokens", &tokens).fails_naming(&["has no vectors yet", "whence extract"]);
    let behavior = |pairs: &Path| run("behavior", &["--name", "b", "--pairs", pairs.to_str().unwrap()]);
    behavior(&pairs).fails_naming(&["has no vectors yet", "whence extract"]);
    case.extract(&[]).succeeds();
    run("tokens", &tokens).fails_naming(&["no behavior \"b\""]);
    fs::write(&pairs, "{}").unwrap();
    behavior(&pairs).fails_naming(&["b.jsonl", "line 1"]);
    fs::remove_file(study.join("pairs.parquet")).unwrap();
    run("extract", &[]).fails_naming(&["pairs.parquet", "whence import"]);
}

#[test]
fn a_truncated_pairs_file_is_named() {
    let case = Case::new();
    let path = case.study().join("pairs.parquet");
    let bytes = fs::read(&path).unwrap();
    for length in [0, 3, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        case.extract(&[]).fails_naming(&["pairs.parquet", "whence import"]);
    }
}
