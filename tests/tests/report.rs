//! `whence report`: a bundle holds what the server answers, is the same twice and zipped, appears whole, and replaces nothing
//! that is not a bundle.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use serde_json::json;
use whence_backend::cluster::{self, ClusterOptions};
use whence_backend::discover::similarity::Sampling;
use whence_backend::discover::{DiscoverOptions, discover};
use whence_backend::files;
use whence_backend::index::{IndexOptions, index};
use whence_backend::map::{self, MapOptions};
use whence_backend::progress::silent;
use whence_backend::report::manifest::Manifest;
use whence_backend::report::{ReportError, ReportOptions, Reported, report};
use whence_backend::study::Study;
use whence_backend::view::app::App;
use whence_backend::view::choice::Choice;
use whence_shared::cluster::stability;
use whence_shared::clustering::ClusteringView;
use whence_shared::discovery::{Cut, DiscoveryView, Settings};
use whence_shared::study::{RowChunk, StudyView};
use whence_shared::validation::{RUNS_FORMAT, RunsView};
use whence_tests::made_study::{self, BEHAVIOR};
use whence_tests::served::{self, Site};

/// A study with everything that a bundle may hold.
fn furnish(study: &Study) {
    index(study, &IndexOptions { layers: vec![1, 2], verify: false }, &silent).unwrap();
    let options = ClusterOptions {
        name: "lessons".into(),
        layer: 1,
        method: cluster::Method::Kmeans { k: 3 },
        seed: 1,
        sample: None,
        names: None,
    };
    cluster::cluster(study, &options, &silent).unwrap();
    map::map(study, &MapOptions { name: "pca".into(), layer: 2, method: map::Method::Pca }, &silent).unwrap();
    let settings = Settings {
        prompt_cut: Cut::Stable,
        pair_cut: Cut::Into(3),
        stability: stability::Settings { n_samples: 2, n_null: 2, ..stability::Settings::default() },
        one_way: Default::default(),
    };
    let options = DiscoverOptions {
        name: "broad".into(),
        behavior: BEHAVIOR.into(),
        layers: vec![2],
        n_pairs: 40,
        sampling: Sampling::Random,
        judged: None,
        settings,
        names: None,
    };
    discover(study, &options, &silent).unwrap();
    let run = study.arms().join("drop-100/seed-3");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("metrics.jsonl"), "{\"step\":1,\"loss\":0.7}\n").unwrap();
    fs::write(run.join("run.json"), "{}").unwrap();
    fs::write(study.report(), "{\"format\": 1}").unwrap();
}

fn write(study: &Study, app: &Path, out: &Path, choice: Choice) -> Result<Reported, ReportError> {
    let is_zip = out.extension().is_some();
    let options = ReportOptions { out: out.to_owned(), is_zip, choice, replace: false };
    report(study, &App::at(app.to_owned()).unwrap(), &options, &silent)
}

/// Every file below a folder: its path and contents.
fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = path.strip_prefix(folder).unwrap().to_string_lossy().replace('\\', "/");
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

/// Every file of an archive, found through its directory.
fn unzipped(zip: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let u16_at = |at: usize| u16::from_le_bytes(zip[at..at + 2].try_into().unwrap()) as usize;
    let u32_at = |at: usize| u32::from_le_bytes(zip[at..at + 4].try_into().unwrap()) as usize;
    let end = zip.len() - 22;
    let mut at = u32_at(end + 16);
    let mut found = BTreeMap::new();
    for _ in 0..u16_at(end + 10) {
        let (n_packed, n_name, local) = (u32_at(at + 20), u16_at(at + 28), u32_at(at + 42));
        let name = String::from_utf8(zip[at + 46..at + 46 + n_name].to_vec()).unwrap();
        let start = local + 30 + u16_at(local + 26) + u16_at(local + 28);
        let packed = &zip[start..start + n_packed];
        let mut bytes = Vec::new();
        match u16_at(at + 10) {
            0 => bytes.extend_from_slice(packed),
            _ => drop(DeflateDecoder::new(packed).read_to_end(&mut bytes).unwrap()),
        }
        assert_eq!(bytes.len(), u32_at(at + 24), "{name}");
        found.insert(name, bytes);
        at += 46 + n_name + u16_at(at + 30) + u16_at(at + 32);
    }
    found
}

#[test]
fn a_bundle_holds_what_the_server_answers_the_same_twice_and_zipped() {
    let site = Site::start();
    furnish(&site.study);
    let (app, folder) = (site.folder.path().join("app"), site.folder.path());
    let made = write(&site.study, &app, &folder.join("one"), Choice::default()).unwrap();
    let again = write(&site.study, &app, &folder.join("two"), Choice::default()).unwrap();
    let zipped = write(&site.study, &app, &folder.join("one.zip"), Choice::default()).unwrap();
    write(&site.study, &app, &folder.join("two.zip"), Choice::default()).unwrap();
    let files = files_of(&folder.join("one"));
    assert!(files == files_of(&folder.join("two")), "the same study, the same bytes");
    let zip = fs::read(folder.join("one.zip")).unwrap();
    assert!(zip == fs::read(folder.join("two.zip")).unwrap(), "zipped too");
    assert!(unzipped(&zip) == files, "an archive holds the same files");
    assert_eq!((&made.sha256, &made.sha256), (&again.sha256, &zipped.sha256));

    let manifest: Manifest = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let listed: Vec<&String> = manifest.files.iter().map(|file| &file.path).collect();
    assert_eq!(listed, files.keys().filter(|path| *path != "manifest.json").collect::<Vec<_>>());
    for record in &manifest.files {
        let bytes = &files[&record.path];
        assert_eq!((record.n_bytes, &record.sha256), (bytes.len() as u64, &files::sha256(bytes)), "{}", record.path);
        // The server answers the same at the same address, but for what study.json says of the server itself.
        let answer = site.get(&format!("/{}", record.path));
        assert_eq!(answer.status, 200, "{}", record.path);
        if record.path != "data/study.json" {
            assert!(answer.body == *bytes, "{}", record.path);
        }
    }
    let view: StudyView = serde_json::from_slice(&files["data/study.json"]).unwrap();
    let served: StudyView = site.get("/data/study.json").of();
    // The nearest pairs are there of the first of each ranking, and said to be.
    let mut of_files = StudyView { gather: false, api: false, nearest: false, ..served };
    assert!(view.layers.iter().all(|layer| layer.nearest_rows.len() == 25), "{:?}", view.layers);
    for (layer, shown) in of_files.layers.iter_mut().zip(&view.layers) {
        layer.nearest_rows.clone_from(&shown.nearest_rows);
        let path = |row: &u32| format!("data/nearest/{}/{row}.json", layer.layer);
        assert!(layer.nearest_rows.iter().all(|row| files.contains_key(&path(row))));
    }
    assert_eq!(view, of_files);
    let part = |part: &str| listed.iter().any(|path| path.contains(part));
    for expected in [
        "texts/131.json",
        "rows/1.json",
        "vectors/layer-2/",
        "index/layer-1/block-0/",
        "behaviors/obeys/layer-1",
        "behaviors/obeys/pairs.jsonl",
        "index/layer-2/behaviors/obeys",
        "clusters/broad/words.json",
        "clusters/lessons/labels",
        "maps/pca",
        "arms/drop-100/seed-3/metrics.jsonl",
        "data/report.json",
        "data/runs.json",
        "worker.js",
    ] {
        assert!(part(expected), "{expected} is in {listed:?}");
    }
    assert!(!part("rotation") && !part("run.json"), "nothing that the app does not read");
}

#[test]
fn what_was_not_chosen_is_not_in_it() {
    let site = Site::start();
    furnish(&site.study);
    let (app, folder) = (site.folder.path().join("app"), site.folder.path());
    let choice = Choice { behaviors: None, layers: Some(vec![2]), texts: false, vectors: false };
    write(&site.study, &app, &folder.join("some"), choice.clone()).unwrap();
    let files = files_of(&folder.join("some"));
    let view: StudyView = serde_json::from_slice(&files["data/study.json"]).unwrap();
    assert!(view.texts_withheld && view.layers.len() == 1 && view.layers[0].vectors_withheld);
    assert_eq!((view.behaviors[0].layers.as_slice(), view.maps.len(), view.clusterings.len()), ([2].as_slice(), 1, 0));
    for (path, bytes) in &files {
        for absent in ["/texts/", "/vectors/", "layer-1", "nearest/1/", "lessons", "words.json"] {
            assert!(!path.contains(absent), "{path}");
        }
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("question 7 é") && !text.contains("yes 7\""), "{path} has a pair's text");
    }
    let rows: RowChunk = serde_json::from_slice(&files["data/rows/0.json"]).unwrap();
    assert!(rows.snippet.iter().all(String::is_empty) && rows.id[7] == "p7" && rows.chosen_chars[7] == 5);
    let broad: DiscoveryView = serde_json::from_slice(&files["data/clusters/broad/discovery.json"]).unwrap();
    assert!(!broad.has_words && broad.pairs.iter().all(|pair| pair.snippet.is_empty()));

    let texts = Choice { behaviors: Some(Vec::new()), vectors: true, ..choice.clone() };
    write(&site.study, &app, &folder.join("bare"), Choice { layers: None, ..texts }).unwrap();
    let files = files_of(&folder.join("bare"));
    assert!(files.keys().all(|path| !path.contains("obeys") && !path.contains("broad")), "{:?}", files.keys());
    let lessons: ClusteringView = serde_json::from_slice(&files["data/clusters/lessons/pairs.json"]).unwrap();
    assert!(lessons.pairs.iter().all(|pair| pair.snippet.is_empty()) && !lessons.pairs.is_empty());

    // What retraining found is shown with the behavior that it is of: here none is chosen, and none is said.
    let of_retraining = |files: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
        files.keys().filter(|path| path.contains("/arms/") || path.ends_with("report.json")).cloned().collect()
    };
    assert_eq!(of_retraining(&files), [] as [&str; 0]);
    let runs: RunsView = serde_json::from_slice(&files["data/runs.json"]).unwrap();
    assert_eq!(runs, RunsView { format: RUNS_FORMAT.into(), ..RunsView::default() });
    let of_other = site.study.behavior("other");
    fs::create_dir(&of_other).unwrap();
    for file in ["behavior.json", "pairs.jsonl"] {
        let text = fs::read_to_string(site.study.behavior(BEHAVIOR).join(file)).unwrap();
        fs::write(of_other.join(file), text.replace("\"obeys\"", "\"other\"")).unwrap();
    }
    let quoting = |measure: &str, behavior: &str| {
        json!({"behavior": measure, "diagnosis": {"of": {"behavior": behavior}}}).to_string()
    };
    for (i, (found, is_shown)) in [
        (json!({"behavior": BEHAVIOR}).to_string(), true),
        (quoting("behavior", BEHAVIOR), true),
        (json!({"behavior": "other"}).to_string(), false),
        (quoting(BEHAVIOR, "other"), false),
        (quoting("behavior", "other"), false),
        (json!({"behavior": "behavior"}).to_string(), false),
        ("half of it".into(), false),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(site.study.report(), &found).unwrap();
        let out = folder.join(format!("of-{i}"));
        let of_one = Choice { behaviors: Some(vec![BEHAVIOR.into()]), vectors: true, ..choice.clone() };
        write(&site.study, &app, &out, of_one).unwrap();
        let expected: &[&str] =
            if is_shown { &["data/arms/drop-100/seed-3/metrics.jsonl", "data/report.json"] } else { &[] };
        assert_eq!(of_retraining(&files_of(&out)), expected, "{found}");
    }

    let ask = |choice: Choice| write(&site.study, &app, &folder.join("no"), choice).unwrap_err().to_string();
    let named = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    assert!(ask(Choice { behaviors: named(&["none"]), ..choice.clone() }).contains("--behaviors none: expected obeys"));
    assert!(
        ask(Choice { layers: Some(vec![9]), ..choice.clone() })
            .contains("--layers 9: expected layers with vectors: 1, 2")
    );
    fs::remove_dir_all(site.study.index()).unwrap();
    assert!(ask(choice).contains("whence index"));
    assert!(!folder.join("no").exists());
}

#[test]
fn a_bundle_replaces_only_bundles_and_never_lies_in_the_study() {
    let folder = tempfile::tempdir().unwrap();
    let study = made_study::make(folder.path(), 50);
    let app = served::app(folder.path());
    let out = folder.path().join("out");
    let ask = |out: &Path, replace: bool| {
        let is_zip = out.extension().is_some();
        let options = ReportOptions { out: out.to_owned(), is_zip, choice: Choice::default(), replace };
        report(&study, &App::at(app.clone()).unwrap(), &options, &silent).map_err(|error| error.to_string())
    };
    fs::create_dir(&out).unwrap();
    // No process has this number.
    let left = folder.path().join(".out.4294967295.tmp");
    fs::create_dir(&left).unwrap();
    if !cfg!(target_os = "linux") {
        // Elsewhere only its age tells that nobody works on it.
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(100_000);
        fs::File::open(&left).unwrap().set_modified(long_ago).unwrap();
    }
    ask(&out, false).expect("an empty folder is no loss");
    assert!(!left.exists(), "what a killed run left is cleared away");
    assert!(ask(&out, false).unwrap_err().contains("--replace"));
    fs::write(out.join("data/rows/9.json"), "of an earlier study").unwrap();
    ask(&out, true).unwrap();
    assert!(!out.join("data/rows/9.json").exists());
    fs::remove_file(out.join("manifest.json")).unwrap();
    for replace in [false, true] {
        assert!(ask(&out, replace).unwrap_err().contains("is no bundle"));
    }
    assert!(out.join("index.html").is_file(), "what was there is as it was");
    ask(&folder.path().join("a/b.zip"), false).unwrap();
    assert!(ask(&folder.path().join("a/b.zip"), false).unwrap_err().contains("--replace"));
    ask(&folder.path().join("a/b.zip"), true).unwrap();
    for inside in [study.root().join("x"), study.root().to_owned(), folder.path().to_owned()] {
        for replace in [false, true] {
            assert!(ask(&inside, replace).unwrap_err().contains("in one another"), "{}", inside.display());
        }
    }
    let tar = ReportOptions {
        out: folder.path().join("site.tar.gz"),
        is_zip: false,
        choice: Choice::default(),
        replace: false,
    };
    let error = report(&study, &App::at(app.clone()).unwrap(), &tar, &silent).unwrap_err().to_string();
    assert!(error.contains("a folder, or a file that ends in .zip, got") && error.contains("site.tar.gz"), "{error}");
    assert!(!tar.out.exists());
    // A study that cannot be read leaves nothing behind.
    fs::remove_file(study.layer(1).join("00000000.safetensors")).ok();
    fs::write(study.config(), "nonsense").unwrap();
    assert!(ask(&folder.path().join("broken"), false).is_err());
    let left: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert!(left.iter().all(|name| !name.contains("broken") && !name.ends_with(".tmp")), "{left:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_bundle_clears_away_only_what_killed_runs_left_and_puts_back_what_they_had_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let study = made_study::make(folder.path(), 50);
    let app = served::app(folder.path());
    let out = folder.path().join("site");
    let ask = |replace: bool| {
        let options = ReportOptions { out: out.clone(), is_zip: false, choice: Choice::default(), replace };
        report(&study, &App::at(app.clone()).unwrap(), &options, &silent).map_err(|error| error.to_string())
    };
    // Process 1 lives.
    let kept =
        [".site.mine.tmp", ".site.4294967295.mine.tmp", ".site.1.tmp", ".site.1.old.tmp", ".site..tmp", ".site.+7.tmp"];
    for name in kept {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("precious"), "x").unwrap();
    }
    ask(false).unwrap();
    let aside = folder.path().join(".site.4294967295.old.tmp");
    fs::rename(&out, &aside).unwrap();
    assert!(ask(false).unwrap_err().contains("--replace"), "the earlier bundle is back");
    assert!(out.join("manifest.json").is_file() && !aside.exists());
    fs::rename(&out, &aside).unwrap();
    ask(true).unwrap();
    // The new one was in its place already when that run was killed.
    fs::create_dir(&aside).unwrap();
    ask(true).unwrap();
    assert!(out.join("manifest.json").is_file() && !aside.exists());
    for name in kept {
        assert!(folder.path().join(name).join("precious").is_file(), "{name}");
    }
}
