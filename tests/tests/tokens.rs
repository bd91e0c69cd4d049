//! What each token adds to a pair's score, through the binary: together they make the score that the stored vectors give, their
//! texts make the response, and what cannot be read is named.

use std::ffi::OsString;
use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use whence_shared::study::BehaviorView;
use whence_shared::tokens::{PairTokens, TokensView};
use whence_tests::binary::{Run, whence};
use whence_tests::chat_study::{Made, row, synthetic};
use whence_tests::{checkpoint, fixture};

const BEHAVIOR: &str = "b";

struct Case {
    rows: Vec<Value>,
    made: Made,
    folder: TempDir,
}

impl Case {
    fn new(pooling: &str) -> Self {
        let mut rows = synthetic(24);
        // Characters of several tokens, and a pair that has nothing to read on one side.
        rows.push(row(24, "tea", "👩🏽‍🚀 Ünder 日本", "don't"));
        rows.push(row(25, "tea", "and", ""));
        let (made, folder) = (Made::of(&rows), tempfile::tempdir().unwrap());
        made.extract(&["--layers", "1,3", "--pooling", pooling]);
        let case = Self { rows, made, folder };
        case.define("the");
        case
    }

    fn define(&self, word: &str) {
        let topics = ["bread", "a quiet river", "the clock"];
        let line = |topic: &&str| {
            format!("{}\n", json!({"prompt": topic, "r0": "don't and tea", "r1": format!("{word} {topic} 12,5")}))
        };
        let path = self.folder.path().join("pairs.jsonl");
        fs::write(&path, topics.iter().map(line).collect::<String>()).unwrap();
        let named = ["--name", BEHAVIOR, "--replace", "--pairs", path.to_str().unwrap()];
        self.whence("behavior", &named).succeeds();
    }

    fn whence(&self, verb: &str, more: &[&str]) -> Run {
        let mut args: Vec<OsString> = vec![verb.into(), "--study".into(), self.made.study().into_os_string()];
        if !more.contains(&"--model") {
            args.extend(["--model".into(), fixture::model("chat").into_os_string()]);
        }
        args.extend(["--device".into(), "cpu".into()]);
        args.extend(more.iter().map(Into::into));
        whence(args)
    }

    fn tokens(&self, more: &[&str]) -> Run {
        self.whence("tokens", &[&["--behavior", BEHAVIOR, "--layer", "3"], more].concat())
    }

    fn stored(&self) -> TokensView {
        let path = self.made.study().join("behaviors").join(BEHAVIOR).join("tokens/layer-3.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Rows and scores of the first or last pairs, by the stored vectors.
    fn scores(&self, more: &[&str]) -> Vec<(u32, f64)> {
        let study = self.made.study();
        let fixed = ["query", "--study", study.to_str().unwrap(), "--layer", "3", "--json", BEHAVIOR];
        let said: Value = serde_json::from_str(&whence(fixed.iter().chain(more)).succeeds().stdout).unwrap();
        let rows = said["groups"][0]["rows"].as_array().unwrap().iter();
        rows.map(|found| (found["row"].as_u64().unwrap() as u32, found["score"].as_f64().unwrap())).collect()
    }

    fn response(&self, row: u32, side: &str) -> &str {
        self.rows[row as usize][side][0]["content"].as_str().unwrap()
    }
}

fn rows_of(view: &TokensView) -> Vec<u32> {
    view.pairs.iter().map(|pair| pair.row).collect()
}

#[test]
fn tokens_add_up_to_the_score_and_spell_the_response() {
    for pooling in ["mean", "last", "trimmed-mean"] {
        let case = Case::new(pooling);
        let said = case.tokens(&["--top", "6", "--bottom", "2", "--rows", "24"]).succeeds();
        assert!(said.stdout.contains("most of it from"), "{}", said.stdout);
        let view = case.stored();
        let scores = [case.scores(&["-k", "6"]), case.scores(&["-k", "2", "--bottom"])].concat();
        let mut expected: Vec<u32> = scores.iter().map(|(row, _)| *row).chain([24]).collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(rows_of(&view), expected, "{pooling}");
        for (row, score) in scores {
            let got = view.of(row).unwrap().score();
            assert!((got - score).abs() < 1e-4, "{pooling}, row {row}: {got} for {score}");
        }
        for pair in &view.pairs {
            for (side, tokens) in [("chosen", &pair.chosen), ("rejected", &pair.rejected)] {
                assert_eq!(tokens.texts.concat(), case.response(pair.row, side), "{pooling}, row {}", pair.row);
                assert_eq!(tokens.texts.len(), tokens.parts.len());
                let moved = tokens.parts.iter().rposition(|part| *part != 0.0).map(|at| at + 1);
                // Of the last token's residual nothing else is part.
                let first = tokens.parts.iter().position(|part| *part != 0.0).map(|at| at + 1);
                assert!(pooling != "last" || (first == moved && moved == Some(tokens.parts.len())), "{tokens:?}");
            }
        }
    }
}

#[test]
fn what_is_read_is_listed_until_the_behavior_is_another() {
    let case = Case::new("mean");
    case.tokens(&["--top", "3"]).succeeds();
    let view = case.stored();
    let defined = || -> BehaviorView {
        let path = case.made.study().join("behaviors").join(BEHAVIOR).join("behavior.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    assert_eq!((view.inputs.clone(), view.layer, view.pairs.len()), (defined().inputs, 3, 3));
    let of = |pair: &PairTokens| (pair.row, pair.id.clone());
    assert_eq!(view.pairs.iter().map(of).collect::<Vec<_>>()[0].1, format!("pair-{}", view.pairs[0].row));
    let json = case.tokens(&["--top", "3", "--json"]).succeeds().stdout;
    assert_eq!(serde_json::from_str::<TokensView>(&json).unwrap(), view, "the same again");
    case.define("a");
    assert_ne!(case.stored().inputs, defined().inputs, "the reader can tell");
}

#[test]
fn what_cannot_be_read_is_named() {
    let case = Case::new("mean");
    // Row 25 has an empty response.
    let said = case.tokens(&["--top", "0", "--rows", "1,25"]).succeeds();
    assert!(said.stdout.contains("1 could not be read"), "{}", said.stdout);
    assert_eq!(rows_of(&case.stored()), [1]);
    let kept = fs::read(case.made.study().join("behaviors/b/tokens/layer-3.json")).unwrap();
    case.tokens(&["--rows", "26"]).fails_naming(&["--rows", "26 pairs", "got 26"]);
    case.tokens(&["--rows", "x"]).fails_naming(&["--rows", "0-4,17"]);
    case.tokens(&["--top", "0"]).fails_naming(&["--top, --bottom or --rows"]);
    case.tokens(&["--layer", "2"]).fails_naming(&["layer"]);
    let study = case.made.study();
    let other = ["--behavior", "c", "--layer", "3"];
    case.whence("tokens", &other).fails_naming(&["\"c\"", "expected one of b"]);
    assert!(study.join("behaviors").join(BEHAVIOR).is_dir());

    // Another model than the vectors are of.
    let tuned = case.folder.path().join("tuned");
    fixture::copy_folder(&fixture::model("chat"), &tuned);
    checkpoint::edit(&tuned, |weights| {
        let norm = weights.get_mut("model.layers.0.post_attention_layernorm.weight").unwrap();
        norm.bytes.fill(0);
    });
    case.tokens(&["--model", tuned.to_str().unwrap()]).fails_naming(&["--model", "same model"]);
    assert_eq!(fs::read(study.join("behaviors/b/tokens/layer-3.json")).unwrap(), kept, "nothing written is lost");
}
