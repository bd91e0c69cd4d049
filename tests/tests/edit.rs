//! Edit sets and exports: what each way picks, that controls are matched, that an export imports again to the same pairs,
//! and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::{TempDir, tempdir};
use whence_backend::attribute::table::{self, Labels};
use whence_backend::attribute::{RankOptions, rank};
use whence_backend::data::import::{ImportOptions, import};
use whence_backend::data::pairs::PairFile;
use whence_backend::edit::conversations::{FileFormat, TrainerForm};
use whence_backend::edit::make::RankingName;
use whence_backend::edit::overlap::overlap;
use whence_backend::edit::{
    self, Decision, EditError, ExportOptions, Exported, Made, MakeOptions, Way, edited, export, make, pair_sha256,
};
use whence_backend::extract::VectorsManifest;
use whence_backend::progress::silent;
use whence_backend::study::Study;
use whence_shared::pair::Pair;
use whence_tests::binary::whence;
use whence_tests::made_study::{self, BEHAVIOR};

const N_PAIRS: usize = 300;

/// A study with a ranking at layers 1 and 2.
struct Case {
    root: TempDir,
    study: Study,
}

impl Case {
    fn new() -> Self {
        let root = tempdir().unwrap();
        let study = made_study::make(root.path(), N_PAIRS);
        let labels = Labels::read(&study).unwrap();
        let options = RankOptions { behavior: BEHAVIOR.into(), ..RankOptions::default() };
        for ranking in rank(&study, &options, &silent).unwrap() {
            table::store(&study, &ranking, &labels).unwrap();
        }
        Self { root, study }
    }

    fn make(&self, name: &str, way: Way, action: Option<Decision>) -> Result<Made, EditError> {
        let options = MakeOptions { name: name.into(), way, action, seed: 5, replace: false };
        make(&self.study, &options, &silent)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.root.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn ranked(&self, layer: usize) -> Vec<table::RankedRow> {
        table::read(&self.study.ranking(BEHAVIOR, layer)).unwrap()
    }

    fn export(&self, edit: Option<&str>, out: &Path, form: TrainerForm, format: FileFormat) -> Exported {
        let options = ExportOptions { edit: edit.map(str::to_owned), out: out.into(), form, format, replace: false };
        export(&self.study, &options, &silent).unwrap()
    }
}

fn ranking(layer: usize) -> RankingName {
    RankingName { name: BEHAVIOR.into(), layer: Some(layer) }
}

fn rows(made: &Made) -> BTreeSet<u32> {
    made.set.edits.iter().map(|edit| edit.row).collect()
}

fn pairs(study: &Study) -> Vec<Pair> {
    PairFile::open(&study.pairs()).unwrap().iter().map(Result::unwrap).collect()
}

fn imported(root: &Path, name: &str, input: &Path) -> Vec<Pair> {
    let study = Study::at(root.join(name));
    let inputs = vec![input.to_string_lossy().into_owned()];
    import(&study, &ImportOptions { inputs, ..ImportOptions::default() }, &silent).unwrap();
    pairs(&study)
}

#[test]
fn the_ends_of_a_ranking_are_what_the_ranking_says() {
    let case = Case::new();
    let ranked = case.ranked(2);
    let top = case.make("top", Way::Top { ranking: ranking(2), k: 30 }, None).unwrap();
    assert_eq!(rows(&top), ranked[..30].iter().map(|row| row.row).collect());
    assert_eq!((top.set.n(Decision::Drop), top.set.n(Decision::Keep)), (30, N_PAIRS - 30));
    let all = pairs(&case.study);
    for edit in &top.set.edits {
        let row = ranked.iter().find(|row| row.row == edit.row).unwrap();
        assert_eq!((edit.score, edit.rank, &edit.id), (Some(row.score), Some(row.rank), &row.id));
        assert_eq!(edit.sha256, pair_sha256(&all[edit.row as usize]));
        assert_eq!(edit.reason, "top 30 of rankings/obeys/layer-2.parquet");
    }
    assert!(top.set.edits.windows(2).all(|edits| edits[0].row < edits[1].row), "by row");
    let bottom = case.make("bottom", Way::Bottom { ranking: ranking(2), k: 30 }, Some(Decision::Switch)).unwrap();
    assert_eq!(rows(&bottom), ranked[270..].iter().map(|row| row.row).collect());
    assert_eq!(bottom.set.n(Decision::Switch), 30);
    assert_eq!(bottom.set.edits.iter().filter_map(|edit| edit.rank).max(), Some(300));

    assert_eq!(edit::load(&case.study, "top").unwrap(), top.set, "read back");
    let decisions = top.set.apply(N_PAIRS).unwrap();
    assert_eq!(decisions.iter().filter(|decision| **decision == Decision::Drop).count(), 30);
    assert!(matches!(top.set.apply(N_PAIRS + 1), Err(EditError::Length { .. })));
    let bytes = fs::read(&top.path).unwrap();
    case.make("top", Way::Top { ranking: ranking(2), k: 30 }, None).expect("the same again is no conflict");
    assert_eq!(fs::read(&top.path).unwrap(), bytes);
    assert_eq!(edit::names(&case.study).unwrap(), ["bottom", "top"]);
}

#[test]
fn pairs_without_a_vector_are_never_among_the_ends_of_a_ranking() {
    let case = Case::new();
    let ranked = case.ranked(1);
    let zero: Vec<usize> = ranked.iter().filter(|row| row.score == 0.0).map(|row| row.row as usize).collect();
    assert!(zero.len() > 3, "the made study has vectors that are zero");
    let n_scored = N_PAIRS - zero.len();
    let passed = format!("{} pairs without a vector were passed over", zero.len());
    let said = |made: &Made| made.warnings.iter().any(|warning| warning.contains(&passed));
    let top = |name: &str, k| case.make(name, Way::Top { ranking: ranking(1), k }, None);
    assert!(!said(&top("with", n_scored).unwrap()), "no remark says that they have none");

    let remarks: Vec<_> = zero.iter().map(|&row| (row, "chosen", true)).collect();
    made_study::write_remarks(&case.study, &remarks);
    let n_high = ranked.iter().filter(|row| row.score > 0.0).count();
    assert!(top("high", n_high).unwrap().warnings.iter().all(|warning| !warning.contains("passed over")));
    let all = top("all", n_scored).unwrap();
    assert_eq!(all.set.edits.len(), n_scored);
    assert!(rows(&all).iter().all(|row| !zero.contains(&(*row as usize))));
    // No score of the made study is below 0, so that those without a vector lie at its bottom.
    let bottom = case.make("bottom", Way::Bottom { ranking: ranking(1), k: n_scored }, None).unwrap();
    assert!(said(&bottom) && rows(&bottom) == rows(&all), "{:?}", bottom.warnings);
    let ranks: BTreeSet<u32> = bottom.set.edits.iter().filter_map(|edit| edit.rank).collect();
    assert_eq!(ranks.last(), Some(&(n_scored as u32)), "ranks are those of the stored ranking");
    let error = top("more", n_scored + 1).unwrap_err().to_string();
    for part in ["--top", &format!("from 1 to {n_scored}"), "have no vector", "remarks"] {
        assert!(error.contains(part), "expected {part:?} in: {error}");
    }
}

#[test]
fn sources_are_edited_whole_and_those_emptied_are_named() {
    let case = Case::new();
    let made = case.make("third", Way::Sources { names: vec!["third".into()] }, None).unwrap();
    assert_eq!(rows(&made), (0..N_PAIRS as u32).step_by(3).collect());
    assert_eq!(made.warnings, ["source \"third\" is emptied: all of its 100 pairs are dropped"]);
    let switched = case.make("switched", Way::Sources { names: vec!["third".into()] }, Some(Decision::Switch)).unwrap();
    assert!(switched.warnings.is_empty());

    let in_top = |source: &str| case.ranked(1)[..60].iter().filter(|row| row.source == source).count() as f64;
    let expected = if in_top("third") / 100.0 > in_top("rest") / 200.0 { "third" } else { "rest" };
    let made = case.make("worst", Way::TopSources { ranking: ranking(1), n: 1, k: 60 }, None).unwrap();
    let source = &made.sources[0];
    assert_eq!((made.sources.len(), source.name.as_str(), source.n_dropped), (1, expected, source.n_pairs));
    assert!(made.set.edits.iter().all(|edit| edit.rank.is_some() && edit.reason.contains("in the top 60")));
}

#[test]
fn controls_are_of_the_same_size_and_the_seed_decides() {
    let case = Case::new();
    let lines: String = (0..40)
        .map(|row| format!("{{\"row\":{row},\"action\":\"{}\"}}\n", if row < 10 { "switch" } else { "drop" }))
        .collect();
    let path = case.write("decisions.jsonl", &lines);
    let matched = case.make("matched", Way::Decisions { path }, None).unwrap();
    let random = case.make("random", Way::Random { n: 40 }, None).unwrap();
    let like = case.make("like", Way::RandomLike { set: "matched".into() }, None).unwrap();
    assert_eq!((random.set.edits.len(), like.set.n(Decision::Drop), like.set.n(Decision::Switch)), (40, 30, 10));
    assert_eq!(rows(&random), rows(&like), "the same seed draws the same pairs");
    assert_eq!(like.set.origin.seed, Some(5));

    let stratified = case.make("stratified", Way::StratifiedLike { set: "matched".into() }, None).unwrap();
    assert!(rows(&stratified).is_disjoint(&rows(&matched)));
    let all = pairs(&case.study);
    let strata = |made: &Made| {
        let mut strata: BTreeMap<(String, u32, Decision), usize> = BTreeMap::new();
        for edit in &made.set.edits {
            let pair = &all[edit.row as usize];
            let n_chars = pair.chosen[0].content.chars().count() + pair.rejected[0].content.chars().count();
            *strata.entry((pair.source.clone(), n_chars.ilog2(), edit.action)).or_default() += 1;
        }
        strata
    };
    // Lengths 7 ("yes 0" and "no") are those of ten pairs only, all of which are matched.
    assert_eq!(stratified.warnings.len(), 1, "{:?}", stratified.warnings);
    assert!(stratified.warnings[0].contains("strata ran short"), "{:?}", stratified.warnings);
    let by_source = |made: &Made| {
        let mut counts: BTreeMap<(String, Decision), usize> = BTreeMap::new();
        strata(made).into_iter().for_each(|((source, _, action), n)| *counts.entry((source, action)).or_default() += n);
        counts
    };
    assert_eq!(by_source(&stratified), by_source(&matched), "the source is kept where the length cannot be");

    let twice = overlap(&matched.set, &matched.set);
    assert_eq!((twice.n_both, twice.n_same_action, twice.jaccard), (40, 40, 1.0));
    assert!((twice.expected_both - 40.0 * 40.0 / 300.0).abs() < 1e-9);
    let apart = overlap(&matched.set, &stratified.set);
    assert_eq!((apart.n_both, apart.jaccard), (0, 0.0));
}

/// Pairs of every kind that import accepts, with metadata that must not be lost.
fn odd_rows() -> String {
    [
        r#"{"id":"a","prompt":"q","chosen":"yes","rejected":"no","source":"one","chosen_model":"m1","rejected_model":"m0","chosen_rating":4.1,"n":1.0000000000000002}"#,
        r#"{"id":"b","chosen":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"x"},{"role":"user","content":"more"},{"role":"assistant","content":"1"}],"rejected":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"y"}],"source":"two","score_chosen":0.5,"score_rejected":0.25}"#,
        r#"{"chosen":[{"role":"user","content":"left"},{"role":"assistant","content":"l"}],"rejected":[{"role":"user","content":"right"},{"role":"assistant","content":"r"}],"prompt":"something else","dataset":"two"}"#,
        r#"{"id":"a","prompt":"again","chosen":"","rejected":"é\u0000\n","metadata":{"nested":[1,null]},"source":"one"}"#,
        r#"{"id":"d","prompt":[{"role":"user","content":"u"}],"chosen":"same","rejected":"same","metadata":"{\"not\":\"ours\"}","source":"one"}"#,
        r#"{"chosen":"\n\nHuman: h\n\nAssistant: a","rejected":"\n\nHuman: h\n\nAssistant: b"}"#,
    ]
    .join("\n")
}

#[test]
fn an_export_imports_again_to_the_same_pairs() {
    let root = tempdir().unwrap();
    let input = root.path().join("odd.jsonl");
    fs::write(&input, odd_rows()).unwrap();
    let before = imported(root.path(), "study", &input);
    assert_eq!(before.len(), 6);
    let case = Case { study: Study::at(root.path().join("study")), root };
    let decisions = case.write("d.csv", "id,action,reason\na,switch,\"the model, named\"\nb,switch,\nd,drop,\n");
    case.make("edit", Way::Decisions { path: decisions }, None).unwrap();
    let after: Vec<Pair> = before
        .iter()
        .filter_map(|pair| match pair.id.as_str() {
            "a" | "b" => edited(Decision::Switch, pair.clone()),
            "d" => edited(Decision::Drop, pair.clone()),
            _ => Some(pair.clone()),
        })
        .collect();
    assert_eq!(
        after[0].metadata,
        r#"{"chosen_model":"m0","n":1.0000000000000002,"rejected_model":"m1","rejected_rating":4.1}"#
    );
    for form in [TrainerForm::Trl, TrainerForm::TrlImplicit, TrainerForm::OpenInstruct] {
        for format in [FileFormat::Parquet, FileFormat::Jsonl] {
            let name = format!("{form}-{format}");
            let folder = case.root.path().join(&name);
            let unedited = case.export(None, &folder, form, format);
            assert_eq!(imported(case.root.path(), &format!("{name}-0"), &unedited.data), before, "{name}");
            assert_eq!(fs::read(&unedited.patch).unwrap(), b"");
            let file = case.root.path().join(format!("{name}.{format}"));
            let edited = case.export(Some("edit"), &file, form, format);
            assert_eq!((&edited.data, edited.manifest.n_written), (&file, 5));
            assert_eq!(imported(case.root.path(), &format!("{name}-1"), &file), after, "{name}");
            assert_eq!(imported(case.root.path(), &format!("{name}-2"), &folder), before, "{name}: the folder");
        }
    }
    let own = imported(case.root.path(), "own", &case.study.pairs());
    assert_eq!(own, before, "a study's pairs are such a file themselves");
}

/// What `datasets` makes of the file follows from its schema: `List({'role': string, 'content': string})`.
#[test]
fn an_exported_parquet_file_has_the_columns_and_types_that_trainers_read() {
    let case = Case::new();
    let top = case.make("top", Way::Top { ranking: ranking(1), k: 20 }, None).unwrap();
    let kept: Vec<Pair> =
        pairs(&case.study).into_iter().zip(0..).filter_map(|(p, row)| top.set.edited(row, p).unwrap()).collect();
    let whole = ["id", "prompt", "chosen", "rejected", "source", "metadata"];
    for form in [TrainerForm::Trl, TrainerForm::TrlImplicit, TrainerForm::OpenInstruct] {
        let path = case.root.path().join(format!("{form}.parquet"));
        case.export(Some("top"), &path, form, FileFormat::Parquet);
        let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
        let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let expected = whole.into_iter().filter(|name| *name != "prompt" || form != TrainerForm::TrlImplicit);
        assert_eq!(names, expected.collect::<Vec<_>>(), "{form}");
        let mut read = Vec::new();
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            let ids = batch.column_by_name("id").unwrap().as_string::<i32>().clone();
            let chosen = batch.column_by_name("chosen").unwrap().as_list::<i32>().clone();
            for i in 0..batch.num_rows() {
                let turns = chosen.value(i);
                let text = |name: &str| turns.as_struct().column_by_name(name).unwrap().as_string::<i32>().clone();
                let last = turns.len() - 1;
                read.push((
                    ids.value(i).to_owned(),
                    text("role").value(last).to_owned(),
                    text("content").value(last).to_owned(),
                ));
            }
        }
        let expected = kept.iter().map(|pair| {
            let last = pair.chosen.last().unwrap();
            (pair.id.clone(), last.role.clone(), last.content.clone())
        });
        assert_eq!(read, expected.collect::<Vec<_>>(), "{form}");
    }
}

#[test]
fn a_patch_says_what_was_changed_and_can_be_applied_again() {
    let case = Case::new();
    let top = case.make("top", Way::Top { ranking: ranking(1), k: 20 }, Some(Decision::Switch)).unwrap();
    let exported = case.export(Some("top"), &case.root.path().join("out"), TrainerForm::Trl, FileFormat::Parquet);
    let manifest = &exported.manifest;
    assert_eq!((manifest.n_pairs, manifest.n_written, manifest.n_switched), (300, 300, 20));
    assert_eq!((manifest.edit.as_deref(), &manifest.edit_sha256), (Some("top"), &top.sha256));
    let patch = fs::read_to_string(&exported.patch).unwrap();
    let lines: Vec<Value> = patch.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 20);
    let first = &top.set.edits[0];
    assert_eq!((&lines[0]["row"], &lines[0]["action"]), (&Value::from(first.row), &Value::from("switch")));
    assert_eq!((&lines[0]["sha256"], &lines[0]["rank"]), (&Value::from(&*first.sha256), &Value::from(first.rank)));

    let again = case.make("again", Way::Decisions { path: exported.patch.clone() }, None).unwrap();
    assert_eq!(again.set.edits, top.set.edits);
    let other = case.write("other.jsonl", &patch.replacen(&first.sha256, &"0".repeat(64), 1));
    let error = case.make("other", Way::Decisions { path: other }, None).unwrap_err().to_string();
    assert!(error.contains("other.jsonl line 1") && error.contains("another pair"), "{error}");

    let options = |edit: Option<&str>, replace| ExportOptions {
        edit: edit.map(str::to_owned),
        out: case.root.path().join("out"),
        form: TrainerForm::Trl,
        format: FileFormat::Parquet,
        replace,
    };
    let bytes = fs::read(&exported.data).unwrap();
    export(&case.study, &options(Some("top"), false), &silent).expect("the same again");
    assert_eq!(fs::read(&exported.data).unwrap(), bytes);
    let error = export(&case.study, &options(None, false), &silent).unwrap_err();
    assert!(matches!(error, EditError::OutExists { .. }), "{error}");
    export(&case.study, &options(None, true), &silent).unwrap();
}

#[test]
fn what_cannot_be_edited_is_refused_by_name() {
    let case = Case::new();
    let refused = |name: &str, way: Way, parts: &[&str]| {
        let error = case.make(name, way, None).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "expected {part:?} in: {error}");
        }
    };
    let top = |k| Way::Top { ranking: ranking(1), k };
    refused("x", top(301), &["--top", "from 1 to 300", "got 301"]);
    refused("x", top(0), &["--top", "got 0"]);
    refused("x", top(300), &["drops all 300 pairs"]);
    for name in ["a/b", "../x", ""] {
        refused(name, top(3), &["edit set name", "letters, digits"]);
    }
    let any = RankingName { name: BEHAVIOR.into(), layer: None };
    refused("x", Way::Top { ranking: any, k: 3 }, &["no ranking \"obeys\"", "obeys/layer-1, obeys/layer-2"]);
    let nine = RankingName { name: BEHAVIOR.into(), layer: Some(9) };
    refused("x", Way::Top { ranking: nine, k: 3 }, &["no ranking \"obeys/layer-9\""]);
    refused("x", Way::Sources { names: vec!["none".into()] }, &["--source \"none\"", "rest, third"]);
    refused("x", Way::TopSources { ranking: ranking(1), n: 3, k: 9 }, &["--top-sources", "from 1 to 2"]);
    refused("x", Way::RandomLike { set: "none".into() }, &["no edit set \"none\"", "none yet"]);
    let keep = case.write("keep.jsonl", "{\"row\":1,\"action\":\"keep\"}");
    refused("x", Way::Decisions { path: keep }, &["keep every pair"]);
    let twice = case.write("twice.csv", "row,action\n1,drop\n1,switch\n");
    refused("x", Way::Decisions { path: twice }, &["twice.csv line 3", "decided otherwise in line 2"]);
    assert!(edit::names(&case.study).unwrap().is_empty(), "nothing was stored");

    case.make("taken", top(3), None).unwrap();
    refused("taken", top(4), &["another edit set of this name", "--replace"]);
    case.make("most", top(200), None).unwrap();
    refused("x", Way::StratifiedLike { set: "most".into() }, &["--stratified-like", "at most half"]);

    let bytes = fs::read(case.study.edit("taken")).unwrap();
    fs::write(case.study.edit("taken"), &bytes[..bytes.len() / 2]).unwrap();
    refused("x", Way::RandomLike { set: "taken".into() }, &["taken.parquet", "--replace"]);
    fs::write(case.study.edit("taken"), &bytes).unwrap();

    // Pairs of the same number and names, one text changed.
    let other = tempdir().unwrap();
    let input = fs::read_to_string(case.root.path().join("rows.jsonl")).unwrap().replace("\"yes 7\"", "\"yes, 7\"");
    let path = other.path().join("rows.jsonl");
    fs::write(&path, input).unwrap();
    imported(other.path(), "study", &path);
    fs::copy(other.path().join("study/pairs.parquet"), case.study.pairs()).unwrap();
    refused("x", top(3), &["layer-1.parquet", "other pairs", "whence rank"]);
    refused("x", Way::RandomLike { set: "taken".into() }, &["taken.parquet", "other pairs"]);
}

#[test]
fn a_ranking_by_another_direction_or_of_other_vectors_is_refused() {
    let case = Case::new();
    let top = |ranking| Way::Top { ranking, k: 3 };
    let by_path = |path: &Path| RankingName { name: path.to_str().unwrap().into(), layer: None };
    let elsewhere = case.root.path().join("theirs.parquet");
    fs::copy(case.study.ranking(BEHAVIOR, 1), &elsewhere).unwrap();
    let direction = case.study.behavior_vectors(BEHAVIOR, 1);
    let before = fs::read(&direction).unwrap();
    fs::write(&direction, fs::read(case.study.behavior_vectors(BEHAVIOR, 2)).unwrap()).unwrap();
    for name in [ranking(1), by_path(&case.study.ranking(BEHAVIOR, 1))] {
        let error = case.make("x", top(name), None).unwrap_err().to_string();
        for part in ["layer-1.parquet was made from another direction", "run `whence rank` again"] {
            assert!(error.contains(part), "expected {part:?} in: {error}");
        }
    }
    case.make("other-layer", top(ranking(2)), None).unwrap();
    case.make("theirs", top(by_path(&elsewhere)), None).expect("a file that lies elsewhere speaks for itself");
    // One that does not say which direction it was made from, as earlier versions wrote it.
    fs::write(&direction, before).unwrap();
    let options = RankOptions { behavior: BEHAVIOR.into(), layers: vec![1], verify: false };
    let mut unsaid = rank(&case.study, &options, &silent).unwrap().remove(0);
    unsaid.behavior_sha256 = String::new();
    table::store(&case.study, &unsaid, &Labels::read(&case.study).unwrap()).unwrap();
    fs::write(&direction, b"another").unwrap();
    case.make("unsaid", top(ranking(1)), None).unwrap();
    // Vectors of another model under the same pairs.
    let mut manifest = VectorsManifest::read(&case.study).unwrap().unwrap();
    manifest.inputs = "other".into();
    fs::write(case.study.vectors_manifest(), serde_json::to_vec(&manifest).unwrap()).unwrap();
    let error = case.make("x", top(ranking(2)), None).unwrap_err().to_string();
    assert!(error.contains("layer-2.parquet was made from other vectors than the study has now"), "{error}");
}

#[test]
fn the_command_line_makes_compares_and_exports() {
    let case = Case::new();
    let study = case.study.root().to_str().unwrap();
    let edit = |more: &[&str]| whence(["edit", "--study", study].iter().chain(more));
    let said = edit(&["--name", "top", "--ranking", BEHAVIOR, "--layer", "1", "--top", "30"]).succeeds().stdout;
    assert!(said.contains("top 30 of rankings/obeys/layer-1.parquet, drop"), "{said}");
    assert!(said.contains("30 of 300 pairs: 30 dropped, 0 switched"), "{said}");
    let said = edit(&["--name", "control", "--random-like", "top", "--seed", "3"]).succeeds().stdout;
    assert!(said.contains("control & top") && said.contains("3.0"), "{said}");
    edit(&["--name", "third", "--source", "third", "--action", "switch"]).succeeds();
    let said = edit(&[]).succeeds().stdout;
    assert!(["control & third", "control & top", "third & top"].iter().all(|names| said.contains(names)), "{said}");
    for action in ["remove", "keep"] {
        edit(&["--name", "x", "--random", "3", "--action", action]).fails_naming(&["expected drop or switch", action]);
    }
    edit(&["--name", "x", "--random", "301"]).fails_naming(&["--random", "from 1 to 300"]);
    let out = case.root.path().join("out");
    let export =
        |more: &[&str]| whence(["export", "--study", study, "--out", out.to_str().unwrap()].iter().chain(more));
    let said = export(&["--edit", "top", "--format", "jsonl"]).succeeds().stdout;
    assert!(said.contains("270 of 300 pairs written as trl (30 dropped, 0 switched)"), "{said}");
    assert_eq!(fs::read_to_string(out.join("train.jsonl")).unwrap().lines().count(), 270);
    assert!(["train.jsonl", "patch.jsonl", "manifest.json"].iter().all(|name| said.contains(name)), "{said}");
    let elsewhere = |out: &Path| whence(["export", "--study", study, "--edit", "top", "--out", out.to_str().unwrap()]);
    for name in ["e.csv", "e.jsonl.gz"] {
        let out = case.root.path().join(name);
        elsewhere(&out).fails_naming(&[name, "--out", "a folder, or a file that ends in .parquet or .jsonl"]);
        assert!(!out.exists());
    }
    for out in [case.study.root().to_owned(), case.study.root().join("edited.parquet")] {
        elsewhere(&out).fails_naming(&["--out", "outside of a study's folder"]);
        assert!(["manifest.json", "edited.parquet"].iter().all(|name| !case.study.root().join(name).exists()));
    }
    export(&["--edit", "none"]).fails_naming(&["no edit set \"none\"", "control, third, top"]);
    export(&["--edit", "third"]).fails_naming(&["patch.jsonl", "--replace"]);
}
