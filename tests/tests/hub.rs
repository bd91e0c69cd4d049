//! Models by name, from a hub in this process: what lands in the cache, what is asked for, how a cut download continues,
//! and what is said when it cannot.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use whence_backend::files::sha256;
use whence_backend::model::ModelFolder;
use whence_backend::model::hub::{Hub, HubError, ResolvedModel, Token};
use whence_backend::progress::silent;
use whence_tests::loopback::{Answer, Request, Server};
use whence_tests::{binary, checkpoint, fixture};

const REPO: &str = "org/tiny";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A repository as the hub has it, and how the hub behaves.
#[derive(Clone)]
struct Site {
    commit: String,
    files: BTreeMap<String, Vec<u8>>,
    /// Answers everything under this prefix with this.
    instead: Option<(&'static str, Answer)>,
    /// Cuts the first so many downloads of weights off in the middle.
    n_cuts: usize,
    /// Sends whole files, whatever range was asked for.
    ignores_ranges: bool,
}

impl Site {
    fn new() -> Self {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(fixture::model("chat")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"].contains(&name.as_str())
            {
                files.insert(name, fs::read(path).unwrap());
            }
        }
        files.insert("pytorch_model.bin".into(), b"pickled".to_vec());
        files.insert("README.md".into(), b"# Tiny".to_vec());
        Self { commit: COMMIT.into(), files, instead: None, n_cuts: 0, ignores_ranges: false }
    }

    fn is_large(name: &str) -> bool {
        name.ends_with(".safetensors")
    }

    /// Large files are known by their SHA-256, others by what git calls them.
    fn etag(name: &str, bytes: &[u8]) -> String {
        if Self::is_large(name) { sha256(bytes) } else { sha256(bytes)[..40].to_owned() }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let path = request.target.split('?').next().unwrap();
        if let Some((prefix, answer)) = &self.instead
            && path.starts_with(prefix)
        {
            return answer.clone();
        }
        let not_found = |code: &str| Answer::new(404, "{}").with("X-Error-Code", code);
        if let Some(rest) = path.strip_prefix("/api/models/") {
            let Some(revision) = rest.strip_prefix("org/tiny/revision/") else { return not_found("RepoNotFound") };
            if revision != "main" && revision != self.commit {
                return not_found("RevisionNotFound");
            }
            let sibling = |(name, bytes): (&String, &Vec<u8>)| {
                let mut sibling = json!({"rfilename": name, "size": bytes.len(), "blobId": sha256(bytes)[..40]});
                if Self::is_large(name) {
                    sibling["lfs"] = json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 130});
                }
                sibling
            };
            let siblings: Vec<_> = self.files.iter().map(sibling).collect();
            return Answer::new(200, json!({"id": REPO, "sha": self.commit, "siblings": siblings}).to_string());
        }
        let name = path.rsplit('/').next().unwrap();
        if path.starts_with("/cdn/") {
            let bytes = self.files.values().find(|bytes| sha256(bytes) == name).expect("a known hash").clone();
            let is_probe = request.header("range") == "bytes=0-0";
            let mut answer = self.range(request, &bytes);
            if !is_probe && self.n_cuts > 0 {
                self.n_cuts -= 1;
                answer.cut_after = Some(answer.body.len() / 2);
            }
            return answer;
        }
        let Some(bytes) = self.files.get(name).cloned() else { return not_found("EntryNotFound") };
        let etag = format!("\"{}\"", Self::etag(name, &bytes));
        if Self::is_large(name) {
            // Large files lie with another host, which knows nothing of repositories.
            return Answer::new(302, "")
                .with("x-repo-commit", &self.commit)
                .with("x-linked-etag", etag)
                .with("x-linked-size", bytes.len().to_string())
                .with("location", format!("http://{}/cdn/{}", request.header("host"), sha256(&bytes)));
        }
        if path.starts_with("/org/tiny/resolve/") {
            let location = format!("/api/resolve-cache/models/org/tiny/{}/{name}", self.commit);
            return Answer::new(307, "")
                .with("x-repo-commit", &self.commit)
                .with("etag", etag)
                .with("location", location);
        }
        self.range(request, &bytes).with("x-repo-commit", &self.commit).with("etag", etag)
    }

    fn range(&self, request: &Request, bytes: &[u8]) -> Answer {
        let range = request.header("range").strip_prefix("bytes=").and_then(|range| range.split_once('-'));
        let Some((first, last)) = range.filter(|(_, last)| !self.ignores_ranges || !last.is_empty()) else {
            return Answer::new(200, bytes);
        };
        let first: usize = first.parse().unwrap();
        let last = last.parse().unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
        if first >= bytes.len() {
            return Answer::new(416, "");
        }
        let content_range = format!("bytes {first}-{last}/{}", bytes.len());
        Answer::new(206, &bytes[first..=last]).with("content-range", content_range)
    }
}

/// A hub with one repository, and an empty cache.
struct Case {
    site: Arc<Mutex<Site>>,
    server: Server,
    hub: Hub,
    root: TempDir,
}

impl Case {
    fn new(site: Site) -> Self {
        let site = Arc::new(Mutex::new(site));
        let shared = site.clone();
        let server = Server::start(move |request| shared.lock().unwrap().answer(request));
        let root = tempfile::tempdir().unwrap();
        let hub = Hub {
            cache: root.path().join("hub"),
            endpoint: server.url(),
            token: Some(Token { text: "hf_test".into(), origin: "HF_TOKEN".into() }),
            offline: false,
            n_retries: 2,
            retry_wait: Duration::from_millis(5),
            stall: Duration::from_secs(10),
        };
        Self { site, server, hub, root }
    }

    fn resolve(&self, reference: &str) -> Result<ResolvedModel, HubError> {
        self.hub.resolve(Path::new(reference), &silent)
    }

    fn refused(&self, reference: &str, parts: &[&str]) {
        let error = self.resolve(reference).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "expected {part:?} in: {error}");
        }
    }

    fn repo(&self) -> PathBuf {
        self.hub.cache.join("models--org--tiny")
    }

    fn blob(&self, name: &str) -> PathBuf {
        self.repo().join("blobs").join(Site::etag(name, &self.site.lock().unwrap().files[name]))
    }

    /// Ranges that were asked of the weights' host, without the probes for their size.
    fn ranges(&self) -> Vec<String> {
        let requests = self.server.requests();
        let downloads = requests.iter().filter(|request| request.target.starts_with("/cdn/"));
        downloads.map(|request| request.header("range").to_owned()).filter(|range| range != "bytes=0-0").collect()
    }

    fn is_whole(&self, folder: &Path) {
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
            let expected = &self.site.lock().unwrap().files[name];
            assert!(fs::read(folder.join(name)).unwrap() == *expected, "{name} is what the hub has");
        }
    }
}

#[test]
fn a_named_model_lands_in_the_cache_as_python_lays_it_out() {
    let case = Case::new(Site::new());
    let found = case.resolve(REPO).unwrap();
    assert_eq!(found.folder, case.repo().join("snapshots").join(COMMIT));
    assert_eq!(found.remark, None);
    case.is_whole(&found.folder);
    assert_eq!(fs::read_to_string(case.repo().join("refs/main")).unwrap(), COMMIT);
    assert_eq!(fs::read_dir(case.repo().join("refs")).unwrap().count(), 1, "no ref but the branch's");
    for name in ["config.json", "model.safetensors"] {
        let target = fs::read_link(found.folder.join(name)).unwrap();
        assert_eq!(target, Path::new("../../blobs").join(case.blob(name).file_name().unwrap()), "a relative link");
    }
    let absent = case.repo().join(".no_exist").join(COMMIT);
    assert!(absent.join("generation_config.json").is_file() && !absent.join("tokenizer_config.json").exists());
    let model = ModelFolder::open(&found.folder).unwrap();
    assert_eq!(model.name(), "org/tiny@0123456789ab");
    for request in case.server.requests() {
        assert!(!request.target.contains("pytorch") && !request.target.contains("README"), "{}", request.target);
        assert_eq!(request.header("authorization"), "Bearer hf_test");
    }
}

#[test]
fn a_second_run_asks_only_where_the_branch_is_and_nothing_of_a_commit() {
    let case = Case::new(Site::new());
    let first = case.resolve(REPO).unwrap();
    case.server.forget();
    assert_eq!(case.resolve(REPO).unwrap(), first);
    let asked: Vec<String> = case.server.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(asked, ["/api/models/org/tiny/revision/main?blobs=true"]);
    case.server.forget();
    assert_eq!(case.resolve(&format!("{REPO}@{COMMIT}")).unwrap(), first);
    assert_eq!(case.server.requests().len(), 0);
}

#[test]
fn sharded_weights_are_those_that_the_index_names() {
    let folder = tempfile::tempdir().unwrap();
    fixture::copy_folder(&fixture::model("chat"), folder.path());
    let shards = checkpoint::shard(folder.path(), 3);
    let mut site = Site::new();
    site.files.remove("model.safetensors");
    for name in shards.iter().map(String::as_str).chain(["model.safetensors.index.json"]) {
        site.files.insert(name.to_owned(), fs::read(folder.path().join(name)).unwrap());
    }
    site.files.insert("model-00009-of-00009.safetensors".into(), b"of another export".to_vec());
    let case = Case::new(site);
    let found = case.resolve(REPO).unwrap();
    ModelFolder::open(&found.folder).unwrap();
    assert!(shards.iter().all(|name| found.folder.join(name).is_file()));
    assert!(!found.folder.join("model-00009-of-00009.safetensors").exists());
}

#[test]
fn a_cut_download_continues_from_its_part_in_the_same_run() {
    let mut site = Site::new();
    site.n_cuts = 3;
    let n_bytes = site.files["model.safetensors"].len();
    let case = Case::new(site);
    let found = case.resolve(REPO).unwrap();
    case.is_whole(&found.folder);
    let (half, quarter) = (n_bytes / 2, (n_bytes - n_bytes / 2) / 2);
    let eighth = (n_bytes - half - quarter) / 2;
    let starts = [0, half, half + quarter, half + quarter + eighth].map(|start| format!("bytes={start}-"));
    assert_eq!(case.ranges(), starts);
}

#[test]
fn a_cut_download_continues_from_its_part_in_the_next_run() {
    let mut site = Site::new();
    site.n_cuts = 1;
    let n_bytes = site.files["model.safetensors"].len();
    let mut case = Case::new(site);
    case.hub.n_retries = 0;
    case.refused(REPO, &[REPO, "model.safetensors", "the same command continues"]);
    let part = case.blob("model.safetensors").with_extension("part");
    assert_eq!(fs::metadata(&part).unwrap().len() as usize, n_bytes / 2);
    assert!(!case.repo().join("refs/main").exists(), "no ref before everything is there");
    case.server.forget();
    let found = case.resolve(REPO).unwrap();
    case.is_whole(&found.folder);
    assert_eq!(case.ranges(), [format!("bytes={}-", n_bytes / 2)]);
    let asked = case.server.requests();
    assert!(!asked.iter().any(|request| request.target.contains("config.json")), "what is there is not asked for");
}

#[test]
fn a_part_that_lacks_nothing_is_not_asked_for_again() {
    let case = Case::new(Site::new());
    let blob = case.blob("model.safetensors");
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    let weights = case.site.lock().unwrap().files["model.safetensors"].clone();
    fs::write(blob.with_extension("part"), &weights).unwrap();
    case.is_whole(&case.resolve(REPO).unwrap().folder);
    assert!(case.ranges().is_empty());
}

#[test]
fn a_part_that_is_too_long_or_wrong_is_begun_again() {
    for length_more in [0, 7] {
        let case = Case::new(Site::new());
        let blob = case.blob("model.safetensors");
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        let n_bytes = case.site.lock().unwrap().files["model.safetensors"].len();
        fs::write(blob.with_extension("part"), vec![7u8; n_bytes + length_more]).unwrap();
        case.is_whole(&case.resolve(REPO).unwrap().folder);
        assert_eq!(case.ranges(), ["bytes=0-"]);
    }
}

#[test]
fn what_another_process_is_downloading_is_waited_for() {
    let case = Case::new(Site::new());
    let blob = case.blob("model.safetensors");
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    let lock = fs::File::create(blob.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let weights = case.site.lock().unwrap().files["model.safetensors"].clone();
    let other = thread::spawn(move || {
        thread::sleep(Duration::from_millis(900));
        fs::write(blob, weights).unwrap();
        drop(lock);
    });
    case.is_whole(&case.resolve(REPO).unwrap().folder);
    other.join().unwrap();
    assert!(case.ranges().is_empty(), "the other has downloaded it");
}

#[test]
fn a_branch_that_moved_costs_only_what_changed() {
    let case = Case::new(Site::new());
    case.resolve(REPO).unwrap();
    {
        let mut site = case.site.lock().unwrap();
        site.commit = "f".repeat(40);
        site.files.insert("generation_config.json".into(), b"{}".to_vec());
    }
    case.server.forget();
    let found = case.resolve(REPO).unwrap();
    assert!(found.folder.ends_with("f".repeat(40)) && found.folder.join("generation_config.json").is_file());
    case.is_whole(&found.folder);
    assert!(case.ranges().is_empty(), "the weights are the same");
    assert_eq!(fs::read_to_string(case.repo().join("refs/main")).unwrap(), "f".repeat(40));
}

#[test]
fn what_arrived_damaged_is_removed_and_had_whole_the_next_time() {
    let mut site = Site::new();
    (site.n_cuts, site.ignores_ranges) = (1, true);
    let case = Case::new(site);
    case.refused(REPO, &[REPO, "model.safetensors", "bytes", "run the same command again"]);
    case.is_whole(&case.resolve(REPO).unwrap().folder);
    let case = Case::new(Site::new());
    let blob = case.blob("model.safetensors");
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(blob.with_extension("part"), b"not the beginning of the weights").unwrap();
    case.refused(REPO, &["SHA-256", "run the same command again"]);
    case.is_whole(&case.resolve(REPO).unwrap().folder);
}

#[test]
fn without_the_hub_a_branch_is_what_it_was_the_last_time_and_that_is_said() {
    let mut case = Case::new(Site::new());
    let first = case.resolve(REPO).unwrap();
    case.server = Server::start(|_| Answer::default());
    let again = case.resolve(REPO).unwrap();
    assert_eq!(again.folder, first.folder);
    let remark = again.remark.unwrap();
    assert!(remark.contains("cannot be reached") && remark.contains("org/tiny@0123456789ab"), "{remark}");
    fs::remove_file(first.folder.join("tokenizer.json")).unwrap();
    case.refused(REPO, &[REPO, "check the network"]);
}

#[test]
fn offline_nothing_is_asked() {
    let mut case = Case::new(Site::new());
    case.hub.offline = true;
    case.refused(REPO, &["org/tiny@main", "config.json", "HF_HUB_OFFLINE"]);
    case.hub.offline = false;
    let first = case.resolve(REPO).unwrap();
    case.hub.offline = true;
    case.server.forget();
    assert_eq!(case.resolve(REPO).unwrap(), first);
    fs::remove_file(first.folder.join("model.safetensors")).unwrap();
    case.refused(REPO, &["model.safetensors", "HF_HUB_OFFLINE"]);
    assert_eq!(case.server.requests().len(), 0);
}

#[test]
fn a_folder_opens_no_connection() {
    let case = Case::new(Site::new());
    let nested = case.root.path().join("some/model");
    fs::create_dir_all(&nested).unwrap();
    for path in [nested.to_str().unwrap(), "./no/such", "../x/y", "a/b/c", "plain", "~/x/y"] {
        assert_eq!(case.resolve(path).unwrap().folder, Path::new(path));
    }
    let study = case.root.path().join("study");
    let pairs = fixture::model("chat").join("pairs.jsonl");
    binary::whence(["import".as_ref(), pairs.as_os_str(), "--study".as_ref(), study.as_os_str()]).succeeds();
    extract(&case, fixture::model("chat").to_str().unwrap()).succeeds();
    // A relative path of two parts is a folder where there is one.
    let mut command = command(&case, "some/model");
    command.current_dir(case.root.path());
    binary::finish(command).fails_naming(&["no config.json in some/model"]);
    assert_eq!(case.server.requests().len(), 0);
}

fn command(case: &Case, model: &str) -> Command {
    let mut command = Command::new(binary::path());
    command.arg("extract").arg("--study").arg(case.root.path().join("study"));
    command.args(["--model", model, "--layers", "1", "--device", "cpu"]);
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        command.env_remove(name);
    }
    command.env("HF_HOME", case.root.path()).env("HF_ENDPOINT", case.server.url()).env("HF_TOKEN", "hf_named");
    command
}

fn extract(case: &Case, model: &str) -> binary::Run {
    binary::finish(command(case, model))
}

#[test]
fn the_binary_extracts_with_a_named_model() {
    let case = Case::new(Site::new());
    let study = case.root.path().join("study");
    let pairs = fixture::model("chat").join("pairs.jsonl");
    binary::whence(["import".as_ref(), pairs.as_os_str(), "--study".as_ref(), study.as_os_str()]).succeeds();
    let run = extract(&case, REPO).succeeds();
    assert!(run.stdout.contains("org/tiny@0123456789ab"), "{}", run.stdout);
    assert_eq!(case.server.requests()[0].header("authorization"), "Bearer hf_named");
    extract(&case, "org/other").fails_naming(&["org/other", "no such folder here and no such model", "HF_TOKEN"]);
}

#[test]
fn what_the_hub_refuses_is_explained() {
    let case = Case::new(Site::new());
    case.refused("org/other", &["org/other", "no such folder", &case.server.url(), "HF_TOKEN"]);
    case.refused("org/tiny@no-such-branch", &[REPO, "no-such-branch", "commits/main"]);
    case.refused("org/tiny@", &["org/tiny@", "no branch, tag or commit"]);
    let gated = Answer::new(403, "").with("X-Error-Code", "GatedRepo");
    let unknown = Answer::new(401, "").with("X-Error-Code", "RepoNotFound");
    for (prefix, answer, parts) in [
        ("/api/models/", gated.clone(), ["accept the model's terms", "HF_TOKEN", "from HF_TOKEN"]),
        ("/api/models/", unknown, ["or it is private", "HF_TOKEN", "from HF_TOKEN"]),
        ("/org/tiny/resolve", gated, ["config.json", "accept the model's terms", "from HF_TOKEN"]),
        ("/org/tiny/resolve", Answer::new(404, ""), ["has no config.json", "though it lists it", REPO]),
        (
            "/api/models/",
            Answer::new(503, "").with("x-error-message", "over capacity"),
            ["503", "over capacity", "mirror"],
        ),
        ("/api/models/", Answer::new(200, "<html>"), ["not the hub's answer", "mirror", REPO]),
        ("/cdn/", Answer::new(500, ""), ["model.safetensors", "500", "is kept"]),
    ] {
        case.site.lock().unwrap().instead = Some((prefix, answer));
        case.refused(REPO, &parts);
    }
    case.site.lock().unwrap().instead = None;
    case.is_whole(&case.resolve(REPO).unwrap().folder);
}

#[test]
fn repositories_that_cannot_be_read_are_explained_before_anything_is_downloaded() {
    for (file, parts) in [
        ("model.safetensors", ["model.safetensors", "pickled weights are never loaded"]),
        ("tokenizer.json", ["has no tokenizer.json", "only models with"]),
        ("config.json", ["has no config.json", "only models with"]),
    ] {
        let mut site = Site::new();
        site.files.remove(file);
        let case = Case::new(site);
        case.refused(REPO, &parts);
        assert_eq!(case.server.requests().len(), 1);
    }
    for index in
        ["{}", "{\"weight_map\": {\"a\": \"../../x.safetensors\"}}", "{\"weight_map\": {\"a\": \"x.bin\"}}", "{"]
    {
        let mut site = Site::new();
        site.files.remove("model.safetensors");
        site.files.insert("model.safetensors.index.json".into(), index.into());
        Case::new(site).refused(REPO, &["index.json", "weight_map"]);
    }
}

#[test]
fn a_hub_that_does_not_answer_or_stalls_is_given_up() {
    let mut case = Case::new(Site::new());
    case.hub.endpoint = "http://127.0.0.1:9".into();
    case.refused(REPO, &[REPO, "http://127.0.0.1:9", "check the network"]);
    let mut case = Case::new(Site::new());
    case.hub.stall = Duration::from_millis(1500);
    let slow = Answer { status: 200, delay: Duration::from_secs(5), ..Answer::default() };
    case.site.lock().unwrap().instead = Some(("/cdn/", slow));
    case.refused(REPO, &[REPO, "model.safetensors", "nothing arrived for 1.5 s", "continues"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let case = Case::new(Site::new());
    fs::write(&case.hub.cache, "a file where the cache should be").unwrap();
    case.refused(REPO, &[case.hub.cache.to_str().unwrap()]);
}
