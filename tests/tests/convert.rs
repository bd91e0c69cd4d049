//! `whence convert` through the real binary: vectors made elsewhere in, ours out, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use tempfile::{TempDir, tempdir};
use whence_backend::extract::VectorsManifest;
use whence_backend::study::Study;
use whence_shared::rank::exact_cosine;
use whence_shared::shard::StoreDtype;
use whence_shared::study::BehaviorView;
use whence_tests::binary::{Run, whence};
use whence_tests::made_study::{self, Shape, decaying, make_shape};
use whence_tests::vectors;

const D_MODEL: usize = 12;
const N_PAIRS: usize = 30;

/// A study with pairs `p0`, `p1`, … and no vectors.
fn study() -> (TempDir, Study) {
    let folder = tempdir().unwrap();
    let study = made_study::make(folder.path(), N_PAIRS);
    fs::remove_dir_all(study.vectors()).unwrap();
    fs::remove_dir_all(study.behaviors()).unwrap();
    (folder, study)
}

fn vector(row: usize) -> Vec<f32> {
    decaying(row as u64, D_MODEL)
}

fn npy(path: &Path, descr: &str, shape: &str, numbers: &[u8]) {
    let head = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((head.len() as u16).to_le_bytes());
    bytes.extend(head.as_bytes().iter().chain(numbers));
    fs::write(path, bytes).unwrap();
}

fn f32s(rows: impl IntoIterator<Item = Vec<f32>>) -> Vec<u8> {
    rows.into_iter().flatten().flat_map(f32::to_le_bytes).collect()
}

/// An .npy file of the vectors of all pairs, in their order.
fn all(folder: &Path) -> PathBuf {
    let path = folder.join("probes.npy");
    npy(&path, "<f4", &format!("({N_PAIRS}, {D_MODEL})"), &f32s((0..N_PAIRS).map(vector)));
    path
}

fn convert(study: &Study, args: &[&str]) -> Run {
    let fixed = ["convert", "--study", study.root().to_str().unwrap(), "--layer", "5"];
    whence(fixed.iter().chain(args))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn vectors_in_the_order_of_the_pairs_are_stored_ranked_and_exported_again() {
    let (folder, study) = study();
    let file = all(folder.path());
    let said = convert(&study, &["--vectors", text(&file), "--name", "steering"]).succeeds();
    for part in ["vectors of \"steering\"", "30 pairs × 12", "bound by order", "index of layer 5"] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    let expected: Vec<Vec<f32>> = (0..N_PAIRS).map(vector).collect();
    assert_eq!(vectors::rows(study.root(), 5), expected);
    let manifest = VectorsManifest::read(&study).unwrap().unwrap();
    assert_eq!((manifest.model.name.as_str(), manifest.imported[0].file.as_str()), ("steering", "probes.npy"));
    assert_eq!(manifest.imported[0].sha256, whence_backend::files::sha256_of_file(&file).unwrap());

    // A direction of the same kind, then a query and a ranking toward it.
    let direction = folder.path().join("direction.npy");
    npy(
        &direction,
        "<f8",
        &format!("({D_MODEL},)"),
        &vector(99).iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect::<Vec<_>>(),
    );
    let said = convert(&study, &["--direction", text(&direction), "--behavior", "theirs"]).succeeds();
    assert!(said.stdout.contains("behavior theirs: imported, 1 vectors, layers 5"), "{}", said.stdout);
    assert!(study.index_behavior(5, "theirs").is_file(), "the index has it too");
    let wide: Vec<f64> = vector(99).into_iter().map(f64::from).collect();
    let best =
        (0..N_PAIRS).max_by(|a, b| exact_cosine(&wide, &expected[*a]).total_cmp(&exact_cosine(&wide, &expected[*b])));
    let best = format!("p{}", best.unwrap());
    let whole = study.root().to_str().unwrap();
    for args in [
        ["query", "--study", whole, "--layer", "5", "theirs"].as_slice(),
        &["rank", "--study", whole, "--behavior", "theirs", "--top", "3"],
        &["rank", "--study", whole, "--behavior", "theirs"],
    ] {
        let said = whence(args).succeeds();
        let first = said.stdout.lines().find(|line| line.trim_start().starts_with("1 ")).unwrap_or_default();
        assert!(first.split_whitespace().any(|word| word == best), "{best} first: {}", said.stdout);
    }

    // Another file of the name is kept unless it is to be replaced, and so are the ids beside it.
    for (ending, beside) in [("npy", true), ("safetensors", true), ("parquet", false)] {
        let out = folder.path().join(format!("kept.{ending}"));
        fs::write(&out, "another file").unwrap();
        let ids = out.with_extension("ids.jsonl");
        let said = [&format!("kept.{ending}"), "is not this export", "--replace"];
        convert(&study, &["--out", text(&out)]).fails_naming(&said);
        assert!(fs::read(&out).unwrap() == b"another file" && !ids.exists());
        convert(&study, &["--out", text(&out), "--replace"]).succeeds();
        let bytes = fs::read(&out).unwrap();
        convert(&study, &["--out", text(&out)]).succeeds();
        assert!(fs::read(&out).unwrap() == bytes && bytes != b"another file", "the same again is no conflict");
        if beside {
            fs::write(&ids, "other ids").unwrap();
            convert(&study, &["--out", text(&out)]).fails_naming(&["kept.ids.jsonl", "is not this export"]);
            assert!(fs::read(&ids).unwrap() == b"other ids" && fs::read(&out).unwrap() == bytes);
            fs::remove_file(&ids).unwrap();
        }
    }

    // Out in every form, and in again: the same vectors.
    for ending in ["npy", "safetensors", "parquet"] {
        let out = folder.path().join(format!("out.{ending}"));
        let said = convert(&study, &["--out", text(&out)]).succeeds();
        assert!(said.stdout.contains("30 vectors × 12"), "{}", said.stdout);
        let other = tempdir().unwrap();
        let copy = Study::at(other.path().join("copy"));
        fs::create_dir_all(copy.root()).unwrap();
        for file in ["pairs.parquet", "study.toml"] {
            fs::copy(study.root().join(file), copy.root().join(file)).unwrap();
        }
        let ids = out.with_extension("ids.jsonl");
        let mut args = vec!["--vectors", text(&out), "--name", "steering", "--no-index"];
        if ending != "parquet" {
            args.extend(["--ids", text(&ids)]);
        }
        let said = convert(&copy, &args).succeeds();
        assert!(said.stdout.contains("bound by id"), "{}", said.stdout);
        assert_eq!(vectors::rows(copy.root(), 5), expected, "{ending}");
    }
}

#[test]
fn vectors_find_their_pairs_by_id_in_any_order() {
    let (folder, study) = study();
    let order: Vec<usize> = (0..N_PAIRS).map(|i| i * 7 % N_PAIRS).collect();
    let expected: Vec<Vec<f32>> = (0..N_PAIRS).map(vector).collect();
    let file = folder.path().join("shuffled.npy");
    npy(&file, "<f4", &format!("({N_PAIRS}, {D_MODEL})"), &f32s(order.iter().map(|&row| vector(row))));
    let lines = |line: &dyn Fn(usize) -> String| order.iter().map(|&row| line(row) + "\n").collect::<String>();
    for (name, ids) in [
        ("ids.txt", lines(&|row| format!("p{row}"))),
        ("ids.jsonl", lines(&|row| format!("{{\"score\": 1, \"id\": \"p{row}\"}}"))),
        ("texts.jsonl", lines(&|row| format!("\"p{row}\""))),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, ids).unwrap();
        convert(&study, &["--vectors", text(&file), "--ids", text(&path), "--no-index", "--replace"]).succeeds();
        assert_eq!(vectors::rows(study.root(), 5), expected, "{name}");
    }

    let mut lists = ListBuilder::new(Float32Builder::new());
    order.iter().for_each(|&row| lists.append_value(vector(row).into_iter().map(Some)));
    let ids = StringArray::from_iter_values(order.iter().map(|row| format!("p{row}")));
    let columns: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(ids)), ("embedding", Arc::new(lists.finish()))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let path = folder.path().join("table.parquet");
    let mut writer = ArrowWriter::try_new(fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    convert(&study, &["--vectors", text(&path), "--no-index", "--replace"]).succeeds();
    assert_eq!(vectors::rows(study.root(), 5), expected);
    let left =
        fs::read_dir(study.root()).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().ends_with(".tmp"));
    assert_eq!(left.count(), 0, "nothing temporary is left");
}

#[test]
fn half_precision_and_integers_are_stored_as_they_are_or_as_told() {
    let (folder, study) = study();
    let file = folder.path().join("small.npy");
    npy(&file, "|i1", &format!("({N_PAIRS}, 3)"), &(0..N_PAIRS as u8 * 3).collect::<Vec<u8>>());
    let said = convert(&study, &["--vectors", text(&file), "--no-index"]).succeeds();
    assert!(said.stdout.contains("stored as f32"), "{}", said.stdout);
    assert_eq!(vectors::rows(study.root(), 5)[1], [3.0, 4.0, 5.0]);
    let halves: Vec<u8> = (0..N_PAIRS * 3).flat_map(|_| 0x3c00u16.to_le_bytes()).collect();
    npy(&file, "<f2", &format!("({N_PAIRS}, 3)"), &halves);
    let said = convert(&study, &["--vectors", text(&file), "--no-index", "--replace"]).succeeds();
    assert!(said.stdout.contains("stored as f16"), "{}", said.stdout);
    assert_eq!(vectors::rows(study.root(), 5)[29], [1.0; 3]);
    let large = f32s((0..N_PAIRS).map(|row| vec![if row == 7 { 70000.0 } else { 1.0 }; 3]));
    npy(&file, "<f4", &format!("({N_PAIRS}, 3)"), &large);
    let said = convert(&study, &["--vectors", text(&file), "--no-index", "--replace", "--store", "f16"]);
    said.fails_naming(&["row 7, column 0", "--store f32"]);
    assert_eq!(vectors::rows(study.root(), 5)[29], [1.0; 3], "what was there is still there");
}

#[test]
fn gaps_strangers_and_doubles_are_named() {
    let (folder, study) = study();
    let file = folder.path().join("some.npy");
    let ids = folder.path().join("ids.txt");
    let with = |names: &[&str], more: &[&str]| {
        npy(&file, "<f4", &format!("({}, {D_MODEL})", names.len()), &f32s((0..names.len()).map(vector)));
        fs::write(&ids, names.join("\n")).unwrap();
        let mut args = vec!["--vectors", text(&file), "--ids", text(&ids), "--no-index"];
        args.extend(more);
        convert(&study, &args)
    };
    let whole: Vec<String> = (0..N_PAIRS).map(|row| format!("p{row}")).collect();
    let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
    with(&[&whole[..5], &["p3"]].concat(), &[]).fails_naming(&["\"p3\"", "rows 3 and 5"]);
    with(&[&whole[..], &["stranger"]].concat(), &[]).fails_naming(&["1 ids", "\"stranger\"", "--ignore-unknown"]);
    with(&whole[2..], &[]).fails_naming(&["2 of 30 pairs", "\"p0\", \"p1\"", "--allow-missing"]);
    assert!(!study.vectors().exists(), "nothing was stored");
    let said = with(&[&whole[2..], &["stranger"]].concat(), &["--allow-missing", "--ignore-unknown"]).succeeds();
    assert!(said.stdout.contains("1 vectors of no pair") && said.stdout.contains("2 pairs without a vector"));
    let rows = vectors::rows(study.root(), 5);
    assert_eq!((rows[0].clone(), rows[2].clone()), (vec![0.0; D_MODEL], vector(0)));
    fs::write(&ids, "p0\np1").unwrap();
    convert(&study, &["--vectors", text(&file), "--ids", text(&ids)]).fails_naming(&["29 vectors, but 2 ids"]);
    convert(&study, &["--vectors", text(&file)]).fails_naming(&["29 vectors, but 30 pairs", "--ids"]);
}

#[test]
fn bad_files_are_named() {
    let (folder, study) = study();
    let file = folder.path().join("bad.npy");
    let refused = |named: &[&str]| {
        convert(&study, &["--vectors", text(&file)]).fails_naming(&[&["bad.npy"], named].concat());
    };
    let mut rows: Vec<Vec<f32>> = (0..N_PAIRS).map(vector).collect();
    let shape = format!("({N_PAIRS}, {D_MODEL})");
    rows[11][3] = f32::NAN;
    npy(&file, "<f4", &shape, &f32s(rows.clone()));
    refused(&["row 11", "column 3", "NaN"]);
    npy(&file, "<f4", &shape, &f32s(rows[..29].to_vec()));
    refused(&["truncated"]);
    npy(&file, "<i8", &shape, &[0; 8 * N_PAIRS * D_MODEL]);
    refused(&["<i8"]);
    npy(&file, "<f4", "(30, 3, 4)", &f32s(rows.clone()));
    refused(&["[30, 3, 4]"]);
    fs::write(&file, b"\x93NUMPY\x01").unwrap();
    refused(&["cut short"]);
    let odd = folder.path().join("vectors.csv");
    fs::write(&odd, "1,2").unwrap();
    convert(&study, &["--vectors", text(&odd)]).fails_naming(&["vectors.csv", ".npy"]);
    convert(&study, &["--out", text(&odd)]).fails_naming(&["no vectors yet"]);
    assert!(!study.vectors().exists(), "nothing was stored");
    let nowhere = Study::at(folder.path().join("nowhere"));
    convert(&nowhere, &["--vectors", text(&all(folder.path()))]).fails_naming(&["whence import"]);
    assert!(!nowhere.root().exists());
}

#[test]
fn imported_vectors_never_mix_with_others() {
    let (folder, study) = study();
    let file = all(folder.path());
    let into = |layer: &str, more: &[&str]| {
        let fixed =
            ["convert", "--study", text(study.root()), "--no-index", "--vectors", text(&file), "--layer", layer];
        whence(fixed.iter().chain(more))
    };
    into("5", &["--name", "one"]).succeeds();
    into("6", &["--name", "one"]).succeeds();
    assert_eq!(study.complete_layers().unwrap(), [5, 6]);
    into("7", &["--name", "other"]).fails_naming(&["another model", "one", "other", "--replace"]);
    into("5", &["--name", "one"]).succeeds();
    npy(&file, "<f4", &format!("({N_PAIRS}, {D_MODEL})"), &f32s((0..N_PAIRS).map(|row| vector(row + 1))));
    into("5", &["--name", "one"]).fails_naming(&["layer 5 is there already", "probes.npy", "--replace"]);
    into("5", &["--name", "one", "--replace"]).succeeds();
    assert_eq!(vectors::rows(study.root(), 5)[0], vector(1));
    assert_eq!(vectors::rows(study.root(), 6)[0], vector(0), "the other layer stays");
    npy(&file, "<f4", &format!("({N_PAIRS}, 3)"), &f32s((0..N_PAIRS).map(|_| vec![1.0; 3])));
    into("7", &["--name", "one"]).fails_naming(&["vectors of 3 numbers", "have 12"]);

    // Extracted vectors are not overwritten by imported ones.
    let other = tempdir().unwrap();
    let shape = Shape {
        d_model: 3,
        rows_per_file: 8,
        layers: &[(5, StoreDtype::F32)],
        vector: &|_, row| decaying(row as u64, 3),
        behaviors: &[("obeys", &|_| decaying(1, 3))],
    };
    let extracted = make_shape(other.path(), N_PAIRS, &shape);
    let before = vectors::files(&extracted.vectors());
    convert(&extracted, &["--vectors", text(&file)]).fails_naming(&["another model", "--replace"]);
    assert!(vectors::files(&extracted.vectors()) == before);
    // A direction may join them; a behavior of response pairs is not overwritten by one.
    let direction = folder.path().join("direction.npy");
    npy(&direction, "<f4", "(2, 3)", &f32s([vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0]]));
    let args = |name| ["--direction", text(&direction), "--behavior", name];
    convert(&extracted, &args("obeys")).fails_naming(&["\"obeys\"", "response pairs", "--replace"]);
    convert(&extracted, &args("not plain")).fails_naming(&["letters, digits"]);
    convert(&extracted, &args("theirs")).succeeds();
    let view: BehaviorView =
        serde_json::from_slice(&fs::read(extracted.behavior("theirs").join("behavior.json")).unwrap()).unwrap();
    assert_eq!((view.n_pairs, view.reading.as_str(), view.layers.as_slice()), (2, "imported", [5].as_slice()));
    npy(&direction, "<f4", "(2, 4)", &f32s([vec![1.0; 4], vec![2.0; 4]]));
    convert(&extracted, &args("theirs")).fails_naming(&["direction.npy", "4 numbers", "have 3"]);
    npy(&direction, "<f4", "(3,)", &[0; 12]);
    convert(&extracted, &args("theirs")).fails_naming(&["direction is zero"]);
}

#[test]
fn a_study_of_ids_alone_can_be_ranked() {
    let folder = tempdir().unwrap();
    let study = Study::at(folder.path().join("bare"));
    let file = all(folder.path());
    let ids = folder.path().join("ids.txt");
    fs::write(&ids, (0..N_PAIRS).map(|row| format!("doc {row}\n")).collect::<String>()).unwrap();
    convert(&study, &["--vectors", text(&file), "--ids", text(&ids), "--without-texts"]).succeeds();
    let said = whence(["query", "--study", text(study.root()), "--layer", "5", "row:4", "-k", "1"]).succeeds();
    assert!(said.stdout.contains("doc 4"), "{}", said.stdout);
    whence(["inspect", text(study.root())]).succeeds();
    let again = convert(&study, &["--vectors", text(&file), "--ids", text(&ids), "--without-texts"]);
    again.fails_naming(&["has pairs already"]);
}
