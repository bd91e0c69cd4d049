//! The server, over a real socket: what it answers, what it refuses, and that it goes on.

use std::fs;

use serde_json::from_slice;
use tempfile::tempdir;
use whence_backend::attribute::{QueryOptions, query};
use whence_backend::cluster::{self, ClusterOptions};
use whence_backend::discover::similarity::Sampling;
use whence_backend::discover::{DiscoverOptions, discover};
use whence_backend::files;
use whence_backend::index::{IndexOptions, index};
use whence_backend::map::{self, MapOptions};
use whence_backend::progress::silent;
use whence_backend::server::{ServeOptions, Server};
use whence_backend::study::Study;
use whence_backend::validate::lock::ArmsLock;
use whence_backend::view::app::App;
use whence_shared::api::{EditSetView, ErrorKind};
use whence_shared::cluster::stability;
use whence_shared::clustering::{ClusteringView, Labels};
use whence_shared::columns::RowColumns;
use whence_shared::discovery::words::Words;
use whence_shared::discovery::{Cut, DiscoveryView, Settings, Similarity};
use whence_shared::index::manifest::{FileView, IndexManifest};
use whence_shared::map::PairMap;
use whence_shared::shares::ShareMade;
use whence_shared::study::{NearestPairs, ROWS_PER_TEXT_CHUNK, RowChunk, StudyView, TextChunk};
use whence_shared::validation::{RunStage, RunsView};
use whence_tests::made_study;
use whence_tests::served::{INDEX, N_PAIRS, Site, app, options};

#[test]
fn the_study_and_its_chunks_are_what_the_folder_holds() {
    let site = Site::start();
    let view: StudyView = from_slice(site.get("/data/study.json").json()).unwrap();
    assert_eq!((view.n_pairs, view.name.as_str()), (N_PAIRS, "study"));
    assert_eq!(view.layers.iter().map(|layer| layer.layer).collect::<Vec<_>>(), made_study::LAYERS);
    assert_eq!(view.behaviors[0].layers, made_study::LAYERS);
    assert_eq!(view.sources.iter().map(|source| source.n_pairs).sum::<usize>(), N_PAIRS);

    let mut n_rows = 0;
    for number in 0..2 {
        let rows: RowChunk = from_slice(site.get(&format!("/data/rows/{number}.json")).json()).unwrap();
        assert_eq!(rows.first_row, n_rows);
        for (i, id) in rows.id.iter().enumerate() {
            assert_eq!(*id, format!("p{}", n_rows + i));
            let source = &view.sources[rows.source[i] as usize].name;
            assert_eq!(source, if (n_rows + i) % 3 == 0 { "third" } else { "rest" });
        }
        assert_eq!(rows.chosen_chars[7] as usize, format!("yes {}", n_rows + 7).len());
        n_rows += rows.id.len();
    }
    assert_eq!(n_rows, N_PAIRS);

    let last = (N_PAIRS - 1) / ROWS_PER_TEXT_CHUNK;
    let texts: TextChunk = from_slice(site.get(&format!("/data/texts/{last}.json")).json()).unwrap();
    assert_eq!(texts.first_row, last * ROWS_PER_TEXT_CHUNK);
    assert_eq!(texts.pairs.last().unwrap().chosen[0].content, format!("yes {}", N_PAIRS - 1));
    for path in ["rows/2.json", "texts/132.json", "texts/-1.json", "texts/00.json", "texts/0", "rows/x.json", "nothing"]
    {
        let answer = site.get(&format!("/data/{path}"));
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.error().contains(path), "{}", answer.error());
    }
}

#[test]
fn the_nearest_pairs_are_those_that_a_query_finds() {
    let site = Site::start();
    let found: NearestPairs = from_slice(site.get("/data/nearest/2/7.json").json()).unwrap();
    let options = QueryOptions { layer: 2, expression: "row:7".into(), k: 11, ..QueryOptions::default() };
    let rows = query(&site.study, &options, &silent).unwrap().groups.remove(0).rows;
    assert_eq!((found.layer, found.row, rows[0].row), (2, 7, 7), "itself first");
    let expected: Vec<(u32, f64)> = rows[1..].iter().map(|row| (row.row, row.score)).collect();
    assert_eq!(found.pairs.iter().map(|near| (near.row, near.cosine)).collect::<Vec<_>>(), expected);
    assert_eq!(expected.len(), 10);
    for path in ["nearest/9/7.json", "nearest/x/7.json", "nearest/2/99999.json", "nearest/2/-1.json", "nearest/2/7"] {
        let answer = site.get(&format!("/data/{path}"));
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.error().contains(path), "{}", answer.error());
    }
}

#[test]
fn vector_files_come_whole_in_ranges_or_not_again() {
    let site = Site::start();
    let view: StudyView = from_slice(site.get("/data/study.json").json()).unwrap();
    let shard = &view.layers[1].shards[3];
    let path = format!("/data/{}", shard.path);
    let file = fs::read(site.study.root().join(&shard.path)).unwrap();
    let whole = site.get_with(&path, ("accept-encoding", "gzip"));
    assert_eq!((whole.status, whole.header("content-encoding")), (200, ""));
    assert!(whole.body == file && whole.body.len() as u64 == shard.n_bytes);
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let part = site.get_with(&path, ("range", "bytes=100-299"));
    assert_eq!((part.status, part.header("content-range")), (206, format!("bytes 100-299/{}", file.len()).as_str()));
    assert_eq!(part.body, file[100..300]);
    assert_eq!(site.get_with(&path, ("range", "bytes=99999999-")).status, 416);
    for last in ["999999999", "99999999999999999999999"] {
        let all = site.get_with(&path, ("range", &format!("bytes=-{last}")));
        assert!(all.status == 206 && all.body == file, "{last}: {}", all.status);
    }
    let end = site.get_with(&path, ("range", "bytes=-9"));
    assert_eq!((end.status, end.body.as_slice()), (206, &file[file.len() - 9..]));
    let etag = whole.header("etag").to_owned();
    assert!(!etag.is_empty());
    // A part is added only to a part of the same file.
    for (of, status) in
        [(etag.as_str(), 206), ("\"other\"", 200), (&format!("W/{etag}"), 200), (whole.header("last-modified"), 200)]
    {
        let headers = [("host", "localhost"), ("range", "bytes=100-299"), ("if-range", of)];
        let answer = site.request("GET", &path, &headers);
        let expected = if status == 206 { &file[100..300] } else { &file };
        assert!(answer.status == status && answer.body == expected, "{of}: {}", answer.status);
    }
    let again = site.get_with(&path, ("if-none-match", &etag));
    assert_eq!((again.status, again.body.len()), (304, 0));
    let missing = format!("/data/vectors/layer-{}/99999999.safetensors", view.layers[1].layer);
    assert_eq!((site.get(&missing).status, site.get("/data/vectors/layer-9/manifest.json").status), (404, 404));
    let behavior = site.get(&format!("/data/behaviors/{}/layer-1.safetensors", made_study::BEHAVIOR));
    assert_eq!(behavior.body, fs::read(site.study.behavior_vectors(made_study::BEHAVIOR, 1)).unwrap());
}

#[test]
fn the_columns_that_filters_need_are_those_of_the_table_and_said_to_be_known() {
    let site = Site::start();
    let view: StudyView = from_slice(site.get("/data/study.json").json()).unwrap();
    let served = site.get("/data/columns.safetensors");
    let columns = RowColumns::parse(&served.body, N_PAIRS).unwrap();
    assert_eq!((columns.pairs_sha256.as_str(), columns.n_rows()), (view.pairs_sha256.as_str(), N_PAIRS));
    let chunk: RowChunk = from_slice(site.get("/data/rows/1.json").json()).unwrap();
    let rows = chunk.first_row..chunk.first_row + chunk.id.len();
    assert_eq!(columns.source[rows.clone()], chunk.source);
    assert_eq!(columns.chosen_chars[rows.clone()], chunk.chosen_chars);
    assert_eq!(columns.rejected_chars[rows], chunk.rejected_chars);
    let again = site.get_with("/data/columns.safetensors", ("if-none-match", served.header("etag")));
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[test]
fn the_index_is_shown_where_it_is_of_the_vectors_and_served_in_ranges() {
    let site = Site::start();
    let view = || -> StudyView { from_slice(site.get("/data/study.json").json()).unwrap() };
    assert!(view().gather && view().layers.iter().all(|layer| layer.index.is_none()));
    let layer = made_study::LAYERS[1];
    index(&site.study, &IndexOptions { layers: vec![layer], verify: false }, &silent).unwrap();
    let shown = view();
    assert!(shown.layers[0].index.is_none());
    let index = shown.layers[1].index.as_ref().unwrap();
    let json = site.get(&format!("/data/{}", index.path));
    assert_eq!((json.status, files::sha256(&json.body)), (200, index.sha256.clone()));
    let manifest = IndexManifest::parse(&json.body).unwrap();
    let listed: Vec<&FileView> = manifest.blocks.iter().flat_map(|block| &block.files).collect();
    assert_eq!(listed.iter().map(|file| file.n_bytes).sum::<u64>(), index.n_bytes);
    for file in &listed {
        let whole = site.get_with(&format!("/data/{}", file.path), ("accept-encoding", "gzip"));
        assert_eq!((whole.status, whole.header("content-encoding"), whole.header("accept-ranges")), (200, "", "bytes"));
        assert_eq!((whole.body.len() as u64, files::sha256(&whole.body)), (file.n_bytes, file.sha256.clone()));
        assert_eq!(whole.header("cache-control"), "no-cache");
        let part = site.get_with(&format!("/data/{}", file.path), ("range", "bytes=9-20"));
        assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[9..21]));
        let again = site.get_with(&format!("/data/{}", file.path), ("if-none-match", whole.header("etag")));
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
    let behavior = site.get(&format!("/data/index/layer-{layer}/behaviors/{}.safetensors", made_study::BEHAVIOR));
    assert_eq!((behavior.status, site.get("/data/index/../study.toml").status), (200, 404));
    // The vectors are replaced: the index is of others now.
    let path = site.study.layer_manifest(layer);
    let changed = fs::read_to_string(&path).unwrap().replacen("\"sha256\":\"", "\"sha256\":\"0", 1);
    fs::write(&path, changed).unwrap();
    assert!(view().layers[1].index.is_none());
}

#[test]
fn rows_are_gathered_in_the_order_asked_for() {
    let site = Site::start();
    for (layer, n_bytes) in [(1, 4), (2, 2)] {
        let path = format!("/data/gather/layer-{layer}");
        let whole = whence_tests::vectors::files(&site.study.layer(layer));
        let stored: Vec<u8> = whole
            .values()
            .filter(|file| !file.starts_with(b"{"))
            .flat_map(|file| {
                let header_len = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
                file[8 + header_len..].to_vec()
            })
            .collect();
        let width = made_study::D_MODEL * n_bytes;
        let row = |row: usize| &stored[row * width..(row + 1) * width];
        let rows = [4199, 0, 70, 69, 0, 2000, 4199];
        let answer = site.post(&path, &format!("{{\"rows\": {rows:?}}}"));
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/octet-stream"));
        assert_eq!((answer.header("content-encoding"), answer.header("x-content-type-options")), ("", "nosniff"));
        assert_eq!(answer.body, rows.map(row).concat());
        assert_eq!(site.post(&path, "{\"rows\": []}").body, b"");
    }
    let many = format!("{{\"rows\": [{}0]}}", "0,".repeat(65_535));
    assert_eq!(site.post("/data/gather/layer-1", &many).status, 200);
    let path = "/data/gather/layer-1";
    for (path, body, status, said) in [
        (path, format!("{{\"rows\": [0,{}0]}}", "0,".repeat(65_535)).as_str(), 413, "at most 65536"),
        (path, "{\"rows\": [1, 4200]}", 400, "row 4200: expected a number below 4200"),
        (path, "{\"rows\": [18446744073709551615]}", 400, "row 18446744073709551615"),
        (path, "{\"rows\": [-1]}", 400, "the body is not what is expected here"),
        (path, "{\"rows\": [1.5]}", 400, "1.5"),
        (path, "{}", 400, "rows"),
        (path, "nonsense", 400, "line 1 column 2"),
        (path, "{\"rows\": [1], \"vectors_sha256\": \"of others\"}", 409, "load the study again"),
        ("/data/gather/layer-9", "{\"rows\": [1]}", 404, "expected layer-L with L one of 1, 2"),
        ("/data/gather/layer-x", "{\"rows\": [1]}", 404, "layer-x"),
    ] {
        let answer = site.post(path, body);
        assert_eq!(answer.status, status, "{path}: {}", answer.error());
        assert!(answer.error().contains(said), "{path}: {}", answer.error());
    }
    assert_eq!(site.get(path).status, 405);
    let text = [("host", "localhost"), ("content-type", "text/plain"), ("content-length", "13")];
    assert_eq!(site.send("POST", path, &text, "{\"rows\": [1]}").status, 415, "no page of another site can ask");
    let elsewhere = [("host", "evil.example"), ("content-type", "application/json"), ("content-length", "13")];
    assert_eq!(site.send("POST", path, &elsewhere, "{\"rows\": [1]}").status, 421);

    fs::remove_file(site.study.layer(1).join("00000070.safetensors")).unwrap();
    let broken = site.post(path, "{\"rows\": [71]}");
    assert!(broken.status == 500 && !broken.error().contains("00000070"), "{}", broken.error());
    assert_eq!(site.post(path, "{\"rows\": [1]}").status, 200, "other files still answer");
}

#[test]
fn what_retraining_left_is_served_as_it_grows() {
    let site = Site::start();
    let absent = site.get("/data/report.json");
    assert_eq!(absent.status, 404);
    assert!(absent.error().contains("whence retrain"), "{}", absent.error());
    let runs = |site: &Site| from_slice::<RunsView>(site.get("/data/runs.json").json()).unwrap();
    assert!(runs(&site).runs.is_empty() && runs(&site).is_complete());

    let run = site.study.arms().join("drop-100/seed-3");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("metrics.jsonl"), "{\"step\":1,\"loss\":0.7}\n").unwrap();
    let seen =
        || -> Vec<_> { runs(&site).runs.iter().map(|run| (run.metrics_path(), run.stage, run.n_steps)).collect() };
    let metrics_path = "arms/drop-100/seed-3/metrics.jsonl".to_owned();
    assert_eq!(seen(), [(metrics_path.clone(), RunStage::Stopped, 1)], "nobody trains it");
    fs::write(site.study.queue(), "{\"runs\": [[\"drop-100\", 3]]}").unwrap();
    let lock = ArmsLock::take(&site.study).unwrap();
    assert_eq!(seen(), [(metrics_path.clone(), RunStage::Training, 1)]);
    drop(lock);
    assert_eq!(seen(), [(metrics_path, RunStage::Stopped, 1)]);
    let metrics = site.get("/data/arms/drop-100/seed-3/metrics.jsonl");
    assert_eq!((metrics.status, metrics.header("cache-control")), (200, "no-cache"));
    assert_eq!(metrics.body, fs::read(run.join("metrics.jsonl")).unwrap());
    let tag = metrics.header("etag").to_owned();
    let again = site.get_with("/data/arms/drop-100/seed-3/metrics.jsonl", ("if-none-match", &tag));
    assert_eq!((again.status, again.body.len()), (304, 0));

    fs::write(run.join("run.json"), "{}").unwrap();
    assert!(runs(&site).is_complete());
    fs::write(site.study.report(), "{\"format\": 1}").unwrap();
    let report = site.get("/data/report.json");
    assert_eq!(report.json(), b"{\"format\": 1}");
    let tag = report.header("etag").to_owned();
    assert_eq!(site.get_with("/data/report.json", ("if-none-match", &tag)).status, 304);
    fs::write(site.study.report(), "{\"format\": 2}").unwrap();
    assert_eq!(site.get_with("/data/report.json", ("if-none-match", &tag)).status, 200);
    for path in [
        "/data/arms/drop-100/seed-3/run.json",
        "/data/arms/drop-100/seed-4/metrics.jsonl",
        "/data/arms/drop-100/seed-x/metrics.jsonl",
        "/data/arms/../arms/seed-3/metrics.jsonl",
        "/data/arms/%2e%2e/seed-3/metrics.jsonl",
        "/data/arms/drop-100/%2e%2e%2fdrop-100%2fseed-3/metrics.jsonl",
    ] {
        assert_eq!(site.get(path).status, 404, "{path}");
    }
}

#[test]
fn clusters_and_maps_are_listed_and_served_once_they_are_whole() {
    let site = Site::start();
    let view = || -> StudyView { from_slice(site.get("/data/study.json").json()).unwrap() };
    assert!(view().clusterings.is_empty() && view().maps.is_empty());
    assert_eq!(site.get("/data/clusters/lessons/pairs.json").status, 404);
    let options = ClusterOptions {
        name: "lessons".into(),
        layer: 1,
        method: cluster::Method::Kmeans { k: 4 },
        seed: 1,
        sample: None,
        names: None,
    };
    let made = cluster::cluster(&site.study, &options, &silent).unwrap();
    let settings = Default::default();
    let method = map::Method::Umap { settings, sample: Some(200) };
    map::map(&site.study, &MapOptions { name: "umap-1".into(), layer: 1, method }, &silent).unwrap();
    let StudyView { clusterings, maps, discoveries, .. } = view();
    assert_eq!((clusterings, discoveries), (vec!["lessons".into()], vec![]));
    let [listed] = maps.as_slice() else { panic!("one map, got {maps:?}") };
    assert_eq!((listed.name.as_str(), listed.layer, listed.method.as_str()), ("umap-1", 1, "umap"));
    let served: ClusteringView = from_slice(site.get("/data/clusters/lessons/pairs.json").json()).unwrap();
    let sizes = |view: &ClusteringView| view.clusters.iter().map(|cluster| cluster.size).collect::<Vec<_>>();
    assert_eq!((&served.labels_sha256, sizes(&served)), (&made.labels_sha256, sizes(&made)));
    let labels = site.get("/data/clusters/lessons/labels.safetensors");
    assert_eq!(Labels::parse(&labels.body, made.n_pairs).unwrap().inputs, made.inputs);
    let file = site.get("/data/maps/umap-1.safetensors").body;
    assert_eq!((listed.n_bytes, &listed.sha256), (file.len() as u64, &files::sha256(&file)));
    let drawn = PairMap::parse(&file, made.n_pairs).unwrap();
    assert_eq!((drawn.layer, drawn.inputs), (1, made.inputs));
    assert_eq!(site.get("/data/maps/other.safetensors").status, 404);
}

#[test]
fn a_discovery_is_listed_and_served_once_it_is_whole() {
    let site = Site::start();
    let listed = || -> Vec<String> {
        let view: StudyView = from_slice(site.get("/data/study.json").json()).unwrap();
        view.discoveries
    };
    assert!(listed().is_empty());
    assert_eq!(site.get("/data/clusters/broad/discovery.json").status, 404);
    let options = DiscoverOptions {
        name: "broad".into(),
        behavior: made_study::BEHAVIOR.into(),
        layers: Vec::new(),
        n_pairs: 40,
        sampling: Sampling::Random,
        judged: None,
        settings: Settings {
            prompt_cut: Cut::Stable,
            pair_cut: Cut::Into(3),
            stability: stability::Settings { n_samples: 2, n_null: 2, ..stability::Settings::default() },
            one_way: Default::default(),
        },
        names: None,
    };
    let made = discover(&site.study, &options, &silent).unwrap();
    assert_eq!(listed(), ["broad"]);
    let served: DiscoveryView = from_slice(site.get("/data/clusters/broad/discovery.json").json()).unwrap();
    assert_eq!(served.groups.pairs.clusters.len(), 3);
    let words: Words = from_slice(site.get("/data/clusters/broad/words.json").json()).unwrap();
    assert_eq!(words.fault(made.prompts.len(), 40), None);
    // What a browser makes a discovery of itself.
    assert_eq!(site.get(&format!("/data/behaviors/{}/pairs.jsonl", made_study::BEHAVIOR)).status, 200);
    let matrix = site.get("/data/clusters/broad/similarity.safetensors");
    assert_eq!(matrix.status, 200);
    assert_eq!(Similarity::read(&matrix.body, made.prompts.len(), 40).unwrap().of_pairs.len(), made.prompts.len() * 40);
}

#[test]
fn nothing_outside_the_served_folders_has_an_address() {
    let site = Site::start();
    fs::write(site.folder.path().join("secret.json"), "secret").unwrap();
    fs::write(site.study.vectors().join("notes.txt"), "secret").unwrap();
    for path in [
        "/data/vectors/../../secret.json",
        "/data/vectors/..%2f..%2fsecret.json",
        "/data/vectors/%2e%2e/%2e%2e/secret.json",
        "/data/vectors/layer-1/../../../secret.json",
        "/data/vectors//etc/passwd",
        "/data/vectors/..%5c..%5csecret.json",
        "/data/vectors/notes.txt",
        "/data/vectors/",
        "/data/pairs.parquet",
        "/data/behaviors/%00.json",
        "/../secret.json",
        "/..%2fsecret.json",
        "/%2e%2e/secret.json",
        "//secret.json",
    ] {
        let answer = site.get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret\""), "{path}");
        assert_ne!(answer.body, b"secret", "{path}");
    }
}

#[test]
fn the_app_is_cached_by_hash_and_json_by_etag() {
    let site = Site::start();
    let index = site.get("/?behavior=obeys&layer=2");
    assert_eq!((index.status, index.body.as_slice()), (200, INDEX.as_bytes()));
    assert_eq!(index.header("cache-control"), "no-cache");
    let policy = index.header("content-security-policy");
    assert!(policy.contains("'wasm-unsafe-eval' 'sha256-"), "the page's own script may run: {policy}");
    let wasm = site.get("/app-1f0c29a4e8b53d67_bg.wasm");
    assert_eq!((wasm.status, wasm.header("content-type")), (200, "application/wasm"));
    assert!(wasm.header("cache-control").contains("immutable"));
    let packed = site.get_with("/app-1f0c29a4e8b53d67_bg.wasm", ("accept-encoding", "gzip, br"));
    assert_eq!((packed.header("content-encoding"), packed.body.as_slice()), ("br", b"packed".as_slice()));
    assert_eq!((packed.header("content-type"), packed.header("vary")), ("application/wasm", "accept-encoding"));
    assert_eq!((wasm.header("content-encoding"), wasm.body.len()), ("", 5000), "unpacked for those who do not ask");
    assert_eq!(site.get("/app-1f0c29a4e8b53d67_bg.wasm.br").status, 404, "one file, one address");
    let worker = site.get_with("/worker.js", ("accept-encoding", "gzip"));
    assert_eq!((worker.header("content-encoding"), worker.header("cache-control")), ("gzip", "no-cache"));
    assert!(worker.header("content-type").contains("javascript"));
    assert_eq!(site.get("/none.js").status, 404);

    for path in ["/data/study.json", "/data/rows/0.json", "/data/texts/0.json", "/"] {
        let first = site.get(path);
        let again = site.get_with(path, ("if-none-match", first.header("etag")));
        assert_eq!((first.status, again.status, again.body.len()), (200, 304, 0), "{path}");
    }
    assert_eq!(site.get_with("/data/rows/0.json", ("accept-encoding", "gzip")).header("content-encoding"), "gzip");
}

#[test]
fn every_answer_is_guarded_and_other_hosts_are_refused() {
    let site = Site::start();
    for path in ["/", "/data/study.json", "/data/rows/99.json", "/worker.js", "/data/vectors/manifest.json"] {
        let answer = site.get_with(path, ("origin", "http://evil.example"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert!(answer.header("content-security-policy").contains("default-src 'self'"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
    for host in ["evil.example", "localhost.evil.example", "evil.example:7411", ""] {
        let answer = site.request("GET", "/data/study.json", &[("host", host)]);
        assert!(matches!(answer.status, 400 | 421), "{host}: {}", answer.status);
        assert!(!String::from_utf8_lossy(&answer.body).contains("sources"), "{host}");
        assert_eq!(
            answer.header("x-content-type-options"),
            if answer.status == 421 { "nosniff" } else { "" },
            "{host}"
        );
    }
    assert_eq!(site.request("GET", "/data/study.json", &[("host", "127.0.0.1:1")]).status, 200);
    assert_eq!(site.request("POST", "/data/study.json", &[("host", "localhost")]).status, 405);
}

#[test]
fn a_server_that_is_open_to_the_network_answers_under_no_name_of_others() {
    let site = Site::start_with(|options| {
        options.host = std::net::Ipv4Addr::UNSPECIFIED.into();
        options.allowed_hosts = vec!["study.example".into()];
    });
    let port = site.address().port();
    let site = Site::at(tempdir().unwrap(), site.study.clone(), ([127, 0, 0, 1], port).into());
    let status = |host: &str| site.request("GET", "/data/study.json", &[("host", host)]).status;
    for host in ["10.0.0.7:7411", "[2001:db8::7]", "localhost", "study.example", "Study.Example:80"] {
        assert_eq!(status(host), 200, "{host}");
    }
    // A name of somebody's own that resolves to this machine.
    for host in ["evil.example", "evil.example:7411", "study.example.evil.example", "10.0.0.7.evil.example"] {
        assert_eq!(status(host), 421, "{host}");
        let body = "{\"version\":0}";
        let origin = format!("http://{host}");
        let headers = [
            ("host", host),
            ("origin", origin.as_str()),
            ("content-type", "application/json"),
            ("content-length", "13"),
        ];
        let refused = site.send("POST", "/api/v1/decisions/undo", &headers, body);
        assert_eq!((refused.status, refused.refusal().kind), (421, ErrorKind::Host), "{host}");
        assert!(refused.error().contains("--allow-host"), "{}", refused.error());
    }
}

#[test]
fn addresses_that_are_no_text_are_refused_as_all_others_are() {
    let site = Site::start();
    for path in ["/data/rows/%ff", "/s/%ff/", "/s/%ff", "/api/v1/jobs/%C3", "/data/vectors/%80.json", "/%ff"] {
        let answer = site.get(path);
        assert_eq!((answer.status, answer.refusal().kind), (404, ErrorKind::NotFound), "{path}");
    }
}

#[test]
fn one_file_that_cannot_be_read_takes_nothing_else_with_it() {
    let site = Site::start();
    let view = || -> StudyView { from_slice(site.get("/data/study.json").json()).unwrap() };
    // Edit sets: a whole one, half of one, and one of other pairs.
    let change = serde_json::json!({"version": 0, "decide": [{"row": 7, "id": "p7", "action": "drop"}]});
    assert_eq!(site.post_json("/api/v1/decisions/change", &change).status, 200);
    for name in ["good", "half", "other"] {
        let made = site.post_json("/api/v1/edits", &serde_json::json!({"name": name, "version": 1}));
        assert_eq!(made.status, 200, "{}", made.error());
    }
    let bytes = fs::read(site.study.edit("half")).unwrap();
    fs::write(site.study.edit("half"), &bytes[..bytes.len() / 2]).unwrap();
    let sha256 = view().pairs_sha256;
    let mut bytes = fs::read(site.study.edit("other")).unwrap();
    let at = bytes.windows(64).position(|window| window == sha256.as_bytes()).expect("it names its pairs");
    bytes[at..at + 64].fill(b'0');
    fs::write(site.study.edit("other"), bytes).unwrap();
    let sets: Vec<EditSetView> = site.get("/api/v1/edits").of();
    assert_eq!(sets.iter().map(|set| set.name.as_str()).collect::<Vec<_>>(), ["good"]);

    // Layers and behaviors.
    let manifest = fs::read(site.study.layer_manifest(1)).unwrap();
    fs::write(site.study.layer_manifest(1), &manifest[..manifest.len() / 2]).unwrap();
    let broken = site.study.behavior_view("broken");
    fs::create_dir(broken.parent().unwrap()).unwrap();
    fs::write(&broken, "{\"name\": ").unwrap();
    assert!(site.study.behavior_names().unwrap().contains(&"broken".to_owned()));
    let shown = view();
    assert_eq!(shown.layers.iter().map(|layer| layer.layer).collect::<Vec<_>>(), [2]);
    assert_eq!(
        shown.behaviors.iter().map(|behavior| behavior.name.as_str()).collect::<Vec<_>>(),
        [made_study::BEHAVIOR]
    );

    // Discoveries and clusterings, of which a link shows those of its layers and behaviors.
    for name in ["pairs.json", "discovery.json"] {
        let folder = site.study.discovery(&format!("broken-{}", name.len()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), "{\"layer\": ").unwrap();
    }
    assert_eq!((view().discoveries.len(), view().clusterings.len()), (1, 1));
    let made: ShareMade = site.post("/api/v1/shares", "{}").of();
    let shared: StudyView = site.get(&format!("{}data/study.json", made.path)).of();
    assert_eq!((shared.layers.len(), shared.discoveries.len(), shared.clusterings.len()), (1, 0, 0));
}

#[cfg(unix)]
#[test]
fn a_server_ends_though_somebody_does_not() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let folder = tempdir().unwrap();
    let study = made_study::make(folder.path(), 50);
    let mut command = Command::new(whence_tests::binary::path());
    command.arg("serve").arg("--study").arg(study.root()).arg("--app").arg(app(folder.path())).args(["--port", "0"]);
    for signals in [1, 2] {
        let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
        // The head of a request that never ends.
        let mut open = std::net::TcpStream::connect(address).unwrap();
        write!(open, "GET /data/study.json HTTP/1.1\r\nhost: local").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        for _ in 0..signals {
            let id = server.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
            std::thread::sleep(Duration::from_millis(300));
        }
        while server.try_wait().unwrap().is_none() {
            if start.elapsed() > Duration::from_secs(20) {
                server.kill().unwrap();
                server.wait().unwrap();
                panic!("it goes on after {signals} signals");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let limit = if signals == 1 { 10 } else { 4 };
        assert!(start.elapsed() < Duration::from_secs(limit), "{signals} signals: {:?}", start.elapsed());
        drop(open);
    }
}

#[test]
fn a_study_that_breaks_or_changes_does_not_stop_the_server() {
    let site = Site::start();
    let first = site.get("/data/rows/0.json");
    let pairs = fs::read(site.study.pairs()).unwrap();
    fs::write(site.study.pairs(), &pairs[..pairs.len() / 2]).unwrap();
    let broken = site.get("/data/rows/0.json");
    assert_eq!(broken.status, 500);
    assert!(!broken.error().contains("pairs.parquet"), "paths stay inside: {}", broken.error());
    fs::write(site.study.pairs(), &pairs).unwrap();
    assert_eq!(site.get("/data/rows/0.json").body, first.body);

    // Other pairs: the vectors of the old ones are no longer shown with them.
    let other = tempdir().unwrap();
    let smaller = made_study::make(other.path(), 40);
    fs::copy(smaller.pairs(), site.study.pairs()).unwrap();
    assert_eq!(site.get("/data/study.json").status, 500, "study.toml is still of the old pairs");
    fs::copy(smaller.config(), site.study.config()).unwrap();
    let view: StudyView = from_slice(site.get("/data/study.json").json()).unwrap();
    assert_eq!((view.n_pairs, view.layers.len(), view.model.is_some()), (40, 0, false));
    assert_eq!(site.get("/data/rows/1.json").status, 404);
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let folder = tempdir().unwrap();
    let app = app(folder.path());
    let error = Server::bind(Study::at(folder.path().join("none")), &options(&app)).unwrap_err();
    assert!(error.to_string().contains("whence import"), "{error}");
    let study = made_study::make(folder.path(), 5);
    let error = App::at(folder.path().join("bare")).unwrap_err();
    assert!(error.to_string().contains("cargo xtask build"), "{error}");
    let first = Server::bind(study.clone(), &options(&app)).unwrap();
    let taken = ServeOptions { port: first.address().port(), ..options(&app) };
    let error = Server::bind(study, &taken).unwrap_err();
    assert!(error.to_string().contains("--port"), "{error}");
}
