//! Behaviors through the binary: which model reads which response, in the pooling of the study.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;
use whence_shared::shard::Shard;
use whence_tests::binary::{Run, whence};
use whence_tests::chat_study::{Made, synthetic};
use whence_tests::checkpoint;
use whence_tests::fixture::{self, relative_difference};

/// An extracted study, and response pairs to define a behavior with.
struct Case {
    study: Made,
    folder: TempDir,
}

impl Case {
    fn new(pooling: &str) -> Self {
        let (study, folder) = (Made::of(&synthetic(12)), tempfile::tempdir().unwrap());
        study.extract(&["--layers", "1,3", "--pooling", pooling]);
        let lines: Vec<String> = ["bread", "a quiet river", "the clock"]
            .iter()
            .map(|prompt| {
                json!({"prompt": prompt, "r0": "don't and tea", "r1": format!("the {prompt} 12,5")}).to_string()
            })
            .collect();
        fs::write(folder.path().join("pairs.jsonl"), lines.join("\n")).unwrap();
        Self { study, folder }
    }

    /// A copy of the study's model with one weight changed.
    fn tuned(&self) -> PathBuf {
        let tuned = self.folder.path().join("tuned");
        fixture::copy_folder(&fixture::model("chat"), &tuned);
        checkpoint::edit(&tuned, |weights| {
            let norm = weights.get_mut("model.layers.0.post_attention_layernorm.weight").unwrap();
            assert_eq!(norm.dtype, Dtype::F32);
            norm.bytes.chunks_exact_mut(4).for_each(|x| {
                let doubled = 2.0 * f32::from_le_bytes(x.try_into().unwrap());
                x.copy_from_slice(&doubled.to_le_bytes());
            });
        });
        tuned
    }

    fn define(&self, name: &str, tuned: Option<&Path>) -> Run {
        self.define_with(name, tuned, &[])
    }

    fn define_with(&self, name: &str, tuned: Option<&Path>, more: &[&str]) -> Run {
        let mut args = vec!["behavior".into(), "--name".into(), name.into(), "--device".into(), "cpu".into()];
        args.extend(["--study".into(), self.study.study().into_os_string()]);
        args.extend(["--pairs".into(), self.folder.path().join("pairs.jsonl").into_os_string()]);
        args.extend(["--model".into(), fixture::model("chat").into_os_string()]);
        args.extend(tuned.into_iter().flat_map(|tuned| ["--tuned".into(), tuned.as_os_str().to_owned()]));
        args.extend(more.iter().map(Into::into));
        whence(args)
    }

    fn direction(&self, name: &str, layer: usize) -> Vec<f32> {
        let folder = self.study.study().join("behaviors").join(name);
        let bytes = fs::read(folder.join(format!("layer-{layer}.safetensors"))).unwrap();
        Shard::parse(&bytes).unwrap().direction.expect("a behavior has a direction")
    }

    fn reading(&self, name: &str) -> String {
        let path = self.study.study().join("behaviors").join(name).join("behavior.json");
        let view: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        view["reading"].as_str().unwrap().to_owned()
    }
}

#[test]
fn each_response_can_be_read_through_the_model_that_wrote_it() {
    let case = Case::new("mean");
    case.define("both", None).succeeds();
    case.define("itself", Some(&fixture::model("chat"))).succeeds();
    case.define("tuned", Some(&case.tuned())).succeeds();
    assert_eq!([case.reading("both"), case.reading("itself"), case.reading("tuned")], ["M0/M0", "M1/M0", "M1/M0"]);
    for layer in [1, 3] {
        let both = case.direction("both", layer);
        let difference = |name| relative_difference(&case.direction(name, layer), &both);
        assert!(
            difference("itself") < 1e-5,
            "a model that is its own tuned model reads the same: {}",
            difference("itself")
        );
        assert!(difference("tuned") > 1e-2, "another model reads something else: {}", difference("tuned"));
    }
}

#[test]
fn another_behavior_of_the_name_is_replaced_only_when_asked() {
    let case = Case::new("mean");
    let folder = case.study.study().join("behaviors/b");
    let stored = || {
        ["behavior.json", "pairs.jsonl", "layer-1.safetensors", "layer-3.safetensors"]
            .map(|name| fs::read(folder.join(name)).unwrap())
    };
    case.define("b", None).succeeds();
    let before = stored();
    case.define("b", None).succeeds();
    assert!(stored() == before, "the same again is no conflict");
    let refused = |run: Run, what: &str| {
        run.fails_naming(&["behavior \"b\" is there already, made ", what, "choose another --name", "--replace"]);
        assert!(stored() == before, "{what}: what was there is as it was");
    };
    let pairs = case.folder.path().join("pairs.jsonl");
    let lines = fs::read_to_string(&pairs).unwrap();
    fs::write(&pairs, lines.replace("12,5", "and tea")).unwrap();
    refused(case.define("b", None), "of other response pairs");
    let more = json!({"prompt": "tea", "r0": "don't", "r1": "the clock"});
    fs::write(&pairs, format!("{lines}\n{more}")).unwrap();
    refused(case.define("b", None), "of other response pairs");
    fs::write(&pairs, &lines).unwrap();
    refused(case.define_with("b", None, &["--method", "scenario-mean"]), "with --method mean, not scenario-mean");
    refused(case.define("b", Some(&case.tuned())), "with responses read through M0/M0, not M1/M0");
    refused(case.define_with("b", None, &["--per-prompt"]), "of other response pairs");

    // Another one leaves none of the first one's directions behind.
    case.define_with("b", None, &["--method", "scenario-mean", "--layers", "3", "--replace"]).succeeds();
    assert!(!folder.join("layer-1.safetensors").exists() && folder.join("layer-3.safetensors").is_file());
    // At more layers it is the same one.
    case.define_with("b", None, &["--method", "scenario-mean"]).succeeds();
    assert!(folder.join("layer-1.safetensors").is_file());

    case.define("t", Some(&case.tuned())).succeeds();
    case.define("t", Some(&case.tuned())).succeeds();
    case.define("t", Some(&fixture::model("chat"))).fails_naming(&["made with another tuned model", "--replace"]);
}

#[test]
fn an_edit_set_is_never_made_of_a_ranking_by_an_earlier_direction() {
    let case = Case::new("mean");
    let study = case.study.study();
    let study = study.to_str().unwrap();
    let rank = || whence(["rank", "--study", study, "--behavior", "b", "--layer", "3"]).succeeds();
    let edit = |name: &str| whence(["edit", "--study", study, "--name", name, "--ranking", "b", "--top", "2"]);
    let inspect = || whence(["inspect", study]).succeeds().stdout;
    case.define("b", None).succeeds();
    rank();
    edit("one").succeeds();
    assert!(!inspect().contains("stale"), "{}", inspect());
    let pairs = case.folder.path().join("pairs.jsonl");
    fs::write(&pairs, fs::read_to_string(&pairs).unwrap().replace("12,5", "and tea")).unwrap();
    case.define_with("b", None, &["--replace"]).succeeds();
    let stale = "made from another direction";
    edit("two").fails_naming(&["b/layer-3.parquet", stale, "run `whence rank` again"]);
    assert!(inspect().contains("ranking b/layer-3 is stale: made from another direction; run `whence rank` again"));
    rank();
    edit("two").succeeds();
    assert!(!inspect().contains("stale"), "{}", inspect());
}

#[test]
fn a_behavior_is_pooled_as_its_study_is() {
    let cases = ["mean", "last"].map(Case::new);
    let directions = cases.each_ref().map(|case| {
        case.define("b", None).succeeds();
        case.direction("b", 3)
    });
    assert!(relative_difference(&directions[0], &directions[1]) > 1e-2);
}

#[test]
fn a_tuned_model_of_another_shape_or_with_other_tokens_is_refused() {
    let case = Case::new("mean");
    let other = fixture::folder().join("olmo2/odd");
    let narrow = case.folder.path().join("narrow");
    fixture::copy_folder(&other, &narrow);
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fixture::model("chat").join(file), narrow.join(file)).unwrap();
    }
    checkpoint::edit_json(&narrow.join("config.json"), |config| {
        config.insert("vocab_size".into(), json!(1000));
    });
    case.define("b", Some(&narrow)).fails_naming(&["narrow", "hidden_size", "study's model"]);

    let renamed = case.folder.path().join("renamed");
    fixture::copy_folder(&fixture::model("chat"), &renamed);
    checkpoint::edit_json(&renamed.join("tokenizer.json"), |tokenizer| {
        let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        let (token, id) = vocab.iter().next_back().map(|(token, id)| (token.clone(), id.clone())).unwrap();
        vocab.remove(&token);
        vocab.insert("somethingelse".into(), id);
    });
    case.define("b", Some(&renamed)).fails_naming(&["renamed", "tokenizer", "study's model"]);
    case.define("b", Some(Path::new("/nowhere"))).fails_naming(&["/nowhere", "config.json"]);
    assert!(!case.study.study().join("behaviors/b").exists(), "nothing was written");
}
