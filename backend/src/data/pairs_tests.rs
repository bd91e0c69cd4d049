//! Tests of [`super`]: what is written is read back, from any range and any thread; damaged files are refused.

use super::*;

fn pair(i: usize) -> Pair {
    Pair {
        id: format!("p{i}"),
        prompt: vec![Message::new("user", format!("question {i}"))],
        chosen: vec![Message::new("assistant", "é".repeat(i % 7))],
        rejected: vec![Message::new("user", "b"), Message::new("assistant", format!("no {i}"))],
        source: if i.is_multiple_of(2) { "even".into() } else { String::new() },
        metadata: "{}".into(),
    }
}

fn written(folder: &Path, n_rows: usize) -> PathBuf {
    let path = folder.join(format!("{n_rows}.parquet"));
    let mut writer = PairWriter::create(&path).unwrap();
    for i in 0..n_rows {
        writer.push(&pair(i)).unwrap();
    }
    writer.commit().unwrap();
    path
}

#[test]
fn any_range_gives_the_pairs_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = PairFile::open(&written(folder.path(), 2500)).unwrap();
    assert_eq!(file.len(), 2500);
    for rows in [0..0, 0..1, 0..2500, 1000..1024, 1023..1025, 1024..2048, 2047..2500, 2499..2500, 2500..2500] {
        let expected: Vec<Pair> = rows.clone().map(pair).collect();
        assert_eq!(file.read(rows.clone()).unwrap(), expected, "{rows:?}");
    }
    assert!(file.iter().map(Result::unwrap).eq((0..2500).map(pair)));
    assert!(matches!(file.read(2400..2501), Err(PairFileError::Range { n_rows: 2500, .. })));
}

#[test]
fn several_threads_read_one_open_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = PairFile::open(&written(folder.path(), 3000)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let file = &file;
            scope.spawn(move || {
                for step in 0..20 {
                    let first = (thread * 701 + step * 131) % 2900;
                    assert_eq!(file.read(first..first + 100).unwrap()[99], pair(first + 99));
                }
            });
        }
    });
}

#[test]
fn no_pairs_make_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = PairFile::open(&written(folder.path(), 0)).unwrap();
    assert!(file.is_empty() && file.iter().next().is_none());
}

#[test]
fn refuses_truncated_foreign_and_missing_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 10);
    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 4, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let error = PairFile::open(&path).unwrap_err();
        assert!(error.to_string().contains("--replace"), "cut at {cut}: {error}");
    }
    let foreign = folder.path().join("foreign.parquet");
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, false)]));
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let mut writer = ArrowWriter::try_new(File::create(&foreign).unwrap(), schema.clone(), None).unwrap();
    writer.write(&RecordBatch::try_new(schema, vec![ids]).unwrap()).unwrap();
    writer.close().unwrap();
    assert!(matches!(PairFile::open(&foreign), Err(PairFileError::Column { column: "prompt", .. })));
    assert!(matches!(PairFile::open(&folder.path().join("none")), Err(PairFileError::Missing { .. })));
}
