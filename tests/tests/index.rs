//! The index through the real binary: what it holds, that it is the same however it came about, and what it says when it
//! is not of the vectors that are there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::{TempDir, tempdir};
use whence_backend::files;
use whence_backend::index::Rotation;
use whence_backend::study::Study;
use whence_shared::index::block::{Block, ROWS_PER_FILE, widths};
use whence_shared::index::bounds::RangeScores;
use whence_shared::index::manifest::IndexManifest;
use whence_shared::index::query::{Direction, Query};
use whence_shared::shard::{Shard, StoreDtype};
use whence_tests::binary::{Run, finish, path, whence};
use whence_tests::made_study::{self, Shape, decaying, make_shape};
use whence_tests::vectors;

const N_PAIRS: usize = ROWS_PER_FILE + 1500;
const D_MODEL: usize = 200;
const LAYER: usize = 3;

/// Every thirteenth vector is zero, every seventh that of another row.
fn vector(_layer: usize, row: usize) -> Vec<f32> {
    match row {
        _ if row % 13 == 5 => vec![0.0; D_MODEL],
        _ if row % 7 == 3 => decaying(row as u64 / 100, D_MODEL),
        _ => decaying(row as u64, D_MODEL),
    }
}

fn behavior(_layer: usize) -> Vec<f32> {
    [decaying(4, D_MODEL), decaying(1_000_000, D_MODEL)].concat()
}

fn shape() -> Shape<'static> {
    Shape {
        d_model: D_MODEL,
        rows_per_file: 700,
        layers: &[(LAYER, StoreDtype::F16)],
        vector: &vector,
        behaviors: &[("obeys", &behavior)],
    }
}

fn study() -> (TempDir, Study) {
    let folder = tempdir().unwrap();
    let study = make_shape(folder.path(), N_PAIRS, &shape());
    (folder, study)
}

fn index(study: &Study) -> Run {
    whence(["index".as_ref(), "--study".as_ref(), study.root().as_os_str()])
}

fn manifest(study: &Study) -> IndexManifest {
    serde_json::from_slice(&fs::read(study.index_manifest(LAYER)).unwrap()).unwrap()
}

fn contents(study: &Study) -> BTreeMap<PathBuf, Vec<u8>> {
    vectors::files(&study.index())
}

fn assert_same(expected: &BTreeMap<PathBuf, Vec<u8>>, got: &BTreeMap<PathBuf, Vec<u8>>) {
    assert_eq!(expected.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>());
    for (path, bytes) in expected {
        assert!(got[path] == *bytes, "{} differs", path.display());
    }
}

/// The same pairs, vectors and behaviors, without an index.
fn copy_of(study: &Study, folder: &Path) -> Study {
    let copy = Study::at(folder.join("copy"));
    for (path, bytes) in vectors::files(study.root()) {
        if !path.starts_with("index") {
            files::write(&copy.root().join(path), &bytes).unwrap();
        }
    }
    copy
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms == 0.0 { 0.0 } else { dot(a, b) / norms }
}

#[test]
fn bounds_of_every_row_hold_its_cosine_after_every_block() {
    let (_folder, study) = study();
    let said = index(&study).succeeds();
    for part in ["9692 rows × 200 in 3 blocks", "recall@100", "sampled rows", "behaviors rotated: 1", "peak memory"] {
        assert!(format!("{}{}", said.stdout, said.stderr).contains(part), "{part}: {}", said.stdout);
    }
    let manifest = manifest(&study);
    let rows = vectors::rows(study.root(), LAYER);
    let stored = fs::read(study.index_behavior(LAYER, "obeys")).unwrap();
    let direction = Shard::parse(&stored).unwrap().direction.unwrap();
    let original = fs::read(study.behavior_vectors("obeys", LAYER)).unwrap();
    let original = Shard::parse(&original).unwrap().direction.unwrap();
    let query = Query::new(&Direction::rotated(&direction), &widths(D_MODEL));

    assert_eq!(manifest.blocks.iter().map(|block| block.width).collect::<Vec<_>>(), [64, 64, 72]);
    let mut ranges: Vec<RangeScores> =
        manifest.blocks[0].files.iter().map(|file| RangeScores::new(file.first_row, file.n_rows)).collect();
    for view in &manifest.blocks {
        for (file, scores) in view.files.iter().zip(&mut ranges) {
            let bytes = fs::read(study.root().join(&file.path)).unwrap();
            assert_eq!((bytes.len() as u64, files::sha256(&bytes)), (file.n_bytes, file.sha256.clone()));
            let block = Block::parse(&bytes).unwrap();
            assert_eq!(block.header.inputs, manifest.inputs);
            scores.add(&block, &query).unwrap();
            for (row, score) in scores.scores() {
                let truth = cosine(&original, &rows[row as usize]);
                assert!(score.lower <= truth && truth <= score.upper, "row {row}: {truth} in {score:?}");
            }
        }
    }
    let radius = ranges.iter().flat_map(RangeScores::scores).map(|(_, score)| score.radius()).fold(0.0, f64::max);
    assert!(radius > 0.0 && radius < 0.02, "after all blocks scores are known well: {radius}");

    let energy: Vec<f64> = manifest.blocks.iter().map(|block| block.energy).collect();
    assert!(energy[0] > 0.7 && energy[0] < energy[1] && energy[2] > 0.999_999, "{energy:?}");
    for block in &manifest.blocks {
        assert_eq!(block.recall.iter().map(|r| r.queries.as_str()).collect::<Vec<_>>(), ["sampled rows", "behaviors"]);
        assert!(block.recall[0].n_queries > 50 && block.recall[1].n_queries == 1);
    }
    let last = &manifest.blocks[2].recall[0];
    assert!(last.at_100 > 0.97 && last.at_1000 > 0.97 && manifest.blocks[0].recall[0].at_100 < last.at_100, "{last:?}");
    for (offset, shard) in manifest.vector_offsets.iter().zip(0..) {
        let n_bytes = fs::metadata(study.layer(LAYER).join(format!("{:08}.safetensors", shard * 700))).unwrap().len();
        let n_rows = 700.min(N_PAIRS - shard * 700);
        assert_eq!(n_bytes - offset, (n_rows * D_MODEL * 2) as u64, "vectors are the last thing in their file");
    }
    let rotation = fs::read(study.index_rotation(LAYER)).unwrap();
    assert_eq!(files::sha256(&rotation), manifest.rotation.sha256);
    assert_eq!(Rotation::parse(&rotation).unwrap().0.n_directions(), manifest.rotation.n_directions);
}

#[test]
fn one_thread_or_two_killed_or_not_the_bytes_are_the_same() {
    let (folder, study) = study();
    let run = |study: &Study, n_threads: &str| {
        let mut command = Command::new(path());
        command.args(["index", "--study"]).arg(study.root()).env("RAYON_NUM_THREADS", n_threads);
        command
    };
    finish(run(&study, "1")).succeeds();
    let expected = contents(&study);

    let copy = copy_of(&study, folder.path());
    // Killed as soon as the first block file is there; perhaps a moment too late.
    let mut child = run(&copy, "2").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let first = copy.root().join(&manifest(&study).blocks[0].files[0].path);
    let started = Instant::now();
    while !first.is_file() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    finish(run(&copy, "2")).succeeds();
    assert_same(&expected, &contents(&copy));

    // As if killed in the second range, with half a file under a temporary name; and a cut file, which no kill leaves.
    fs::remove_file(copy.index_manifest(LAYER)).unwrap();
    let of_range = |block: usize, range: usize| copy.root().join(&manifest(&study).blocks[block].files[range].path);
    let whole = fs::read(of_range(1, 1)).unwrap();
    fs::write(of_range(1, 1), &whole[..whole.len() / 2]).unwrap();
    fs::remove_file(of_range(2, 1)).unwrap();
    let kept = fs::metadata(of_range(0, 0)).unwrap().modified().unwrap();
    let said = finish(run(&copy, "1")).succeeds();
    assert!(said.stdout.contains("(files written: 3, 3 were there)"), "{}", said.stdout);
    assert_eq!(fs::metadata(of_range(0, 0)).unwrap().modified().unwrap(), kept, "finished files are kept");
    assert_same(&expected, &contents(&copy));

    let said = index(&copy).succeeds();
    assert!(said.stdout.contains("was complete"), "{}", said.stdout);
    assert_same(&expected, &contents(&copy));
}

#[test]
fn an_index_of_other_vectors_is_made_again_and_says_why() {
    let (_folder, study) = study();
    index(&study).succeeds();
    let before = manifest(&study);
    let inputs = before.vectors_inputs.clone();
    let changed = |layer: usize, row: usize| if row == 77 { decaying(9, D_MODEL) } else { vector(layer, row) };
    let shape = Shape { vector: &changed, ..shape() };
    made_study::write_vectors(&study, &inputs, (LAYER, StoreDtype::F16), N_PAIRS, &shape);
    let said = index(&study).succeeds();
    assert!(said.stdout.contains("made again: the vectors have changed"), "{}", said.stdout);
    let after = manifest(&study);
    assert_ne!(before.inputs, after.inputs);
    assert_ne!(before.vectors_sha256, after.vectors_sha256);

    let file = study.root().join(&after.blocks[1].files[0].path);
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let said = index(&study).succeeds();
    assert!(said.stdout.contains("00000000.safetensors cannot be read"), "{}", said.stdout);
    assert_eq!(fs::read(&file).unwrap(), bytes);

    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&file, &flipped).unwrap();
    assert!(index(&study).succeeds().stdout.contains("was complete"), "sizes alone do not tell");
    let verified = whence(["index".as_ref(), "--verify".as_ref(), "--study".as_ref(), study.root().as_os_str()]);
    assert!(verified.succeeds().stdout.contains("is damaged"));
    assert_eq!(fs::read(&file).unwrap(), bytes);

    let newer =
        fs::read_to_string(study.index_manifest(LAYER)).unwrap().replace("index-manifest/1", "index-manifest/2");
    fs::write(study.index_manifest(LAYER), newer).unwrap();
    let said = index(&study).succeeds();
    assert!(said.stdout.contains("index-manifest/2") && said.stdout.contains("6 were there"), "{}", said.stdout);
    fs::write(study.root().join("index/layer-3/block-0/99999999.safetensors"), "stray").unwrap();
    fs::remove_file(study.index_manifest(LAYER)).unwrap();
    index(&study).succeeds();
    assert!(!study.root().join("index/layer-3/block-0/99999999.safetensors").exists());
    assert_eq!(manifest(&study), after);
}

#[test]
fn behaviors_follow_their_files() {
    let (_folder, study) = study();
    index(&study).succeeds();
    let inputs = manifest(&study).vectors_inputs;
    let read = |name: &str| fs::read(study.index_behavior(LAYER, name)).ok();
    let first = read("obeys").unwrap();
    let other = |_: usize| decaying(5, D_MODEL);
    made_study::write_behavior_vectors(&study, "other", &inputs, &[LAYER], D_MODEL, &other);
    made_study::write_behavior_vectors(&study, "foreign", "another model", &[LAYER], D_MODEL, &other);
    assert!(index(&study).succeeds().stdout.contains("behaviors rotated: 1"));
    assert!(read("obeys").unwrap() == first && read("other").is_some() && read("foreign").is_none());
    // Redefined: rotated again. Gone: removed.
    made_study::write_behavior_vectors(&study, "obeys", &inputs, &[LAYER], D_MODEL, &other);
    fs::remove_dir_all(study.behavior("other")).unwrap();
    assert!(index(&study).succeeds().stdout.contains("behaviors rotated: 1"));
    assert!(read("obeys").unwrap() != first && read("other").is_none());
}

#[test]
fn what_cannot_be_indexed_is_named() {
    let (_folder, study) = study();
    let name = "00000700.safetensors";
    let file = study.layer(LAYER).join(name);
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    index(&study).fails_naming(&[name, "cannot open"]);
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    index(&study).fails_naming(&[name, "size in bytes", "whence extract"]);
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&file, &flipped).unwrap();
    index(&study).fails_naming(&[name, "SHA-256", "whence extract"]);
    assert!(!study.index_manifest(LAYER).exists(), "no index of damaged vectors");
    fs::write(&file, &bytes).unwrap();
    let of_layer = |layer: &str| whence(["index", "--study", study.root().to_str().unwrap(), "--layers", layer]);
    of_layer("7").fails_naming(&["layer 7", "complete: 3", "whence extract"]);
    of_layer("3").succeeds();
    whence(["index", "--study", study.root().parent().unwrap().to_str().unwrap()]).fails_naming(&["whence extract"]);
}

#[test]
fn small_and_narrow_studies_have_an_index_too() {
    for (n_pairs, d_model) in [(1, 1), (3, 64), (90, 20), (40, 129)] {
        let folder = tempdir().unwrap();
        let vector = |_: usize, row: usize| decaying(row as u64, d_model);
        let behavior = |_: usize| decaying(0, d_model);
        let shape = Shape {
            d_model,
            rows_per_file: 16,
            layers: &[(0, StoreDtype::F32)],
            vector: &vector,
            behaviors: &[("b", &behavior)],
        };
        let study = make_shape(folder.path(), n_pairs, &shape);
        index(&study).succeeds();
        let manifest: IndexManifest = serde_json::from_slice(&fs::read(study.index_manifest(0)).unwrap()).unwrap();
        assert_eq!((manifest.n_rows, manifest.blocks.iter().map(|b| b.width).sum::<usize>()), (n_pairs, d_model));
        assert!(manifest.blocks.iter().all(|block| block.files.len() == 1 && block.recall.len() == 2));
    }
}
