//! Tests of [`super`]: whole imports of small files, good and bad.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Fields};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::super::pairs::PairFile;
use super::*;
use crate::progress::silent;

const GOOD: &str = r#"{"prompt":"q","chosen":"yes","rejected":"no"}"#;

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn study(&self) -> Study {
        Study::at(self.folder.path().join("study"))
    }

    fn import(&self, inputs: &[&str]) -> Result<Imported, ImportError> {
        self.import_with(inputs, ImportOptions::default())
    }

    fn import_with(&self, inputs: &[&str], options: ImportOptions) -> Result<Imported, ImportError> {
        let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
        import(&self.study(), &ImportOptions { inputs, ..options }, &silent)
    }

    fn pairs(&self) -> Vec<Pair> {
        PairFile::open(&self.study().pairs()).unwrap().iter().map(Result::unwrap).collect()
    }

    fn rejects(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.study().rejects()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn conversations(rows: &[&[(&str, &str)]]) -> ArrayRef {
    let fields = Fields::from(vec![
        Field::new("content", DataType::Utf8, true),
        Field::new("role", DataType::Utf8, true),
        Field::new("tool_calls", DataType::Utf8, true),
    ]);
    let mut lists = ListBuilder::new(StructBuilder::from_fields(fields, 0));
    for row in rows {
        for (role, content) in *row {
            let message = lists.values();
            message.field_builder::<StringBuilder>(0).unwrap().append_value(content);
            message.field_builder::<StringBuilder>(1).unwrap().append_value(role);
            message.field_builder::<StringBuilder>(2).unwrap().append_null();
            message.append(true);
        }
        lists.append(true);
    }
    Arc::new(lists.finish())
}

#[test]
fn a_file_of_each_kind_gives_the_same_pairs() {
    let bench = Bench::new();
    let row = |id: &str, response: &str| {
        format!(
            r#"{{"id":"{id}","source":"mix","chosen_model":"m","score":0.5,"chosen":[{{"role":"user","content":"q"}},{{"role":"assistant","content":"{response}"}}],"rejected":[{{"role":"user","content":"q"}},{{"role":"assistant","content":"no"}}]}}"#
        )
    };
    let text = format!("{}\n\n{}\n", row("a", "é"), row("b", ""));
    bench.file("plain.jsonl", &text);
    bench.file("marked.json", format!("\u{feff}{}", text.replace('\n', "\r\n")));
    bench.file("packed.jsonl.gz", gzip(&text));
    bench.file("two-members.jsonl.gz", [gzip(&row("a", "é")), gzip(&format!("\n{}", row("b", "")))].concat());
    bench.file("no-ending", gzip(&text));
    let (user, no) = (("user", "q"), ("assistant", "no"));
    write_parquet(
        &bench.folder.path().join("columns.parquet"),
        vec![
            ("id", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
            ("source", Arc::new(StringArray::from(vec!["mix", "mix"]))),
            ("chosen_model", Arc::new(StringArray::from(vec!["m", "m"]))),
            ("score", Arc::new(Float64Array::from(vec![0.5, 0.5]))),
            ("absent", Arc::new(Int64Array::from(vec![None, None]))),
            ("chosen", conversations(&[&[user, ("assistant", "é")], &[user, ("assistant", "")]])),
            ("rejected", conversations(&[&[user, no], &[user, no]])),
        ],
    );
    let mut first = None;
    let names =
        ["plain.jsonl", "marked.json", "packed.jsonl.gz", "two-members.jsonl.gz", "no-ending", "columns.parquet"];
    for name in names {
        let input = bench.folder.path().join(name).to_string_lossy().into_owned();
        let options = ImportOptions { replace: true, ..ImportOptions::default() };
        let imported = bench.import_with(&[&input], options).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(imported.files[0].forms, BTreeMap::from([(Form::PreferenceMix, 2)]), "{name}");
        assert_eq!((imported.health.n_empty_responses, imported.health.n_rejected_rows), (1, 0), "{name}");
        let pairs = bench.pairs();
        assert_eq!(pairs[0].metadata, r#"{"chosen_model":"m","score":0.5}"#, "{name}");
        assert_eq!((pairs[0].id.as_str(), pairs[0].source.as_str()), ("a", "mix"), "{name}");
        assert_eq!(&pairs, first.get_or_insert(pairs.clone()), "{name}");
    }
}

#[test]
fn refused_rows_are_listed_with_their_line_and_the_rest_is_kept() {
    let bench = Bench::new();
    let mut bytes = format!("{GOOD}\n{{oops\n\n[1]\n{{\"chosen\":\"a\"}}\n").into_bytes();
    bytes.extend_from_slice(b"{\"prompt\":\"q\",\"chosen\":\"\xff\",\"rejected\":\"b\"}\n");
    bytes.extend_from_slice(GOOD.as_bytes());
    let input = bench.file("rows.jsonl", bytes);
    let imported = bench.import(&[&input]).unwrap();
    assert_eq!((imported.n_pairs, imported.health.n_rows_read, imported.health.n_rejected_rows), (2, 6, 4));
    let rejects = bench.rejects();
    let rows: Vec<u64> = rejects.iter().map(|reject| reject["row"].as_u64().unwrap()).collect();
    assert_eq!(rows, [2, 4, 5, 6]);
    for (reject, expected) in
        rejects.iter().zip(["not valid JSON", "got a list", "\"rejected\" is missing", "not UTF-8"])
    {
        assert!(reject["reason"].as_str().unwrap().contains(expected), "{reject}");
        assert_eq!(reject["file"].as_str(), Some(input.as_str()));
    }
    assert_eq!(bench.pairs()[1].id, "rows.jsonl:7");
}

#[test]
fn ids_are_kept_while_unique_and_sources_fall_back() {
    let bench = Bench::new();
    let rows = [
        r#"{"id":7,"prompt":"a","chosen":"b","rejected":"c","dataset":"d"}"#,
        r#"{"id":7,"prompt":"a","chosen":"b","rejected":"d","source":""}"#,
        r#"{"prompt_id":"x","prompt":"a","chosen":"b","rejected":"b","source":"s"}"#,
        r#"{"id":"one.jsonl:5","prompt":"a","chosen":"b","rejected":"c"}"#,
        r#"{"prompt":"a","chosen":"b","rejected":"e"}"#,
    ];
    let one = bench.file("one.jsonl", rows.join("\n"));
    let two = bench.file("deep/one.jsonl", GOOD);
    let options = ImportOptions { source: Some("given".into()), ..ImportOptions::default() };
    let imported = bench.import_with(&[&one, &two], options).unwrap();
    let pairs = bench.pairs();
    let ids: Vec<&str> = pairs.iter().map(|pair| pair.id.as_str()).collect();
    let by_path = format!("{two}:1");
    assert_eq!(ids, ["7", "one.jsonl:2", "x", "one.jsonl:5", "one.jsonl:5'", by_path.as_str()]);
    let sources: Vec<&str> = pairs.iter().map(|pair| pair.source.as_str()).collect();
    assert_eq!(sources, ["d", "given", "s", "given", "given", "given"]);
    assert_eq!(pairs[1].metadata, r#"{"id":7,"source":""}"#, "what was not used is kept");
    assert_eq!(imported.ids.by_column, BTreeMap::from([("id", 2), ("prompt_id", 1)]));
    assert_eq!((imported.ids.n_repeated, imported.ids.n_unnamed), (1, 2));
    assert_eq!((imported.health.n_duplicates, imported.health.n_identical), (1, 1));
    assert_eq!(imported.sources.iter().map(|source| source.n_pairs).sum::<usize>(), 6);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let bench = Bench::new();
    let rows: String = (0..3000)
        .map(|i| {
            format!("{{\"z\":{i},\"a\":{{\"y\":1,\"b\":2}},\"prompt\":\"q{i}\",\"chosen\":\"c\",\"rejected\":\"r\"}}\n")
        })
        .collect();
    let input = bench.file("rows.jsonl", rows + "{}\n");
    let read_all = || {
        let study = bench.study();
        [study.pairs(), study.rejects(), study.config()].map(|path| fs::read(path).unwrap())
    };
    bench.import(&[&input]).unwrap();
    let first = read_all();
    assert_eq!(bench.pairs()[5].metadata, r#"{"a":{"b":2,"y":1},"z":5}"#, "keys are sorted");
    bench.import(&[&input]).unwrap();
    assert!(read_all() == first, "importing again changes nothing");
    let config = StudyConfig::read(&bench.study()).unwrap();
    assert_eq!((config.n_pairs, config.inputs[0].path.as_str()), (3000, input.as_str()));
    assert_eq!(config.pairs_sha256, files::sha256(&first[0]));
}

#[test]
fn other_pairs_are_replaced_only_when_asked() {
    let bench = Bench::new();
    let one = bench.file("one.jsonl", GOOD);
    let two = bench.file("two.jsonl", [GOOD, GOOD].join("\n"));
    bench.import(&[&one]).unwrap();
    let error = bench.import(&[&two]).unwrap_err().to_string();
    assert!(error.contains("--replace") && error.contains(&one), "{error}");
    assert_eq!(bench.pairs().len(), 1, "the study is as it was");
    fs::create_dir_all(bench.study().vectors()).unwrap();
    fs::write(bench.study().vectors_manifest(), "{}").unwrap();
    let replace = || ImportOptions { replace: true, ..ImportOptions::default() };
    assert!(!bench.import_with(&[&one], replace()).unwrap().stale_vectors, "the same pairs again");
    assert!(bench.import_with(&[&two], replace()).unwrap().stale_vectors);
    assert_eq!(bench.pairs().len(), 2);
}

#[test]
fn a_folder_around_the_study_can_be_imported_again() {
    let bench = Bench::new();
    bench.file("rows.jsonl", GOOD);
    let folder = bench.folder.path().to_string_lossy().into_owned();
    bench.import(&[&folder]).unwrap();
    assert_eq!(bench.import(&[&folder]).unwrap().n_pairs, 1);
    let own = bench.study().root().to_string_lossy().into_owned();
    let error = bench.import(&[&own]).unwrap_err().to_string();
    assert!(error.contains("holds no data file"), "{error}");
}

#[test]
fn files_that_cannot_be_used_are_named_and_nothing_is_written() {
    let bench = Bench::new();
    let packed = gzip(&[GOOD; 500].join("\n"));
    let good = bench.file("good.jsonl", GOOD);
    write_parquet(
        &bench.folder.path().join("other.parquet"),
        vec![("text", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)],
    );
    let other = bench.folder.path().join("other.parquet");
    let parquet = fs::read(&other).unwrap();
    let cases = [
        (bench.file("cut.jsonl.gz", &packed[..packed.len() - 9]), "truncated or damaged"),
        (bench.file("blank.jsonl", "\n \n"), "no rows"),
        (bench.file("array.json", format!("[{GOOD}]")), "jq -c '.[]'"),
        (
            bench.file("texts.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}"),
            "none of its 2 rows is a preference pair; row 1",
        ),
        (bench.file("cut.parquet", &parquet[..parquet.len() / 2]), "not a complete Parquet file"),
        (bench.file("fake.parquet", "hello, this is no Parquet"), "not a complete Parquet file"),
        (other.to_string_lossy().into_owned(), "expected columns \"chosen\" and \"rejected\""),
    ];
    for (input, expected) in cases {
        let error = bench.import(&[&good, &input]).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(&input), "{input}: {error}");
        assert!(!bench.study().root().exists(), "{input}: not even an empty folder is left");
    }
}
