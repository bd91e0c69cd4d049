//! Read-only links, over a real socket: what they show, and that they show nothing else and end.

use std::time::{Duration, Instant};

use serde_json::json;
use whence_backend::progress::silent;
use whence_backend::report::{ReportOptions, report};
use whence_backend::view::app::App;
use whence_backend::view::choice::Choice;
use whence_shared::api::{ErrorKind, ServerView};
use whence_shared::shares::{BundleMaking, BundleState, NewBundle, NewShare, ShareMade, ShareView};
use whence_shared::study::{RowChunk, StudyView};
use whence_tests::made_study::BEHAVIOR;
use whence_tests::served::{INDEX, Site};

fn open() -> Site {
    Site::start_with(|options| options.shares = true)
}

fn make(site: &Site, share: &NewShare) -> ShareMade {
    site.post_json("/api/v1/shares", share).of()
}

#[test]
fn a_link_shows_the_chosen_part_and_nothing_else() {
    let site = open();
    let choice = NewShare { label: "for a reader".into(), layers: Some(vec![2]), ..NewShare::default() };
    let ShareMade { share, path } = make(&site, &choice);
    let token = path.strip_prefix("/s/").and_then(|path| path.strip_suffix('/')).unwrap();
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{path}");
    assert!(share.is_open && !share.texts && share.layers == Some(vec![2]) && share.behaviors.is_none());
    let stored = std::fs::read(site.study.database()).unwrap();
    let wal = std::fs::read(site.study.root().join("whence.db-wal")).unwrap_or_default();
    let has = |bytes: &[u8]| bytes.windows(32).any(|window| window == token.as_bytes());
    assert!(!has(&stored) && !has(&wal), "the token itself is not kept");

    // Somebody else, under another name.
    let other = |path: &str, headers: &[(&str, &str)]| {
        site.request("GET", path, &[&[("host", "study.example")], headers].concat())
    };
    assert_eq!(other(path.trim_end_matches('/'), &[]).header("location"), path);
    let page = other(&path, &[("accept-encoding", "gzip")]);
    assert_eq!((page.status, page.header("x-robots-tag"), page.header("content-encoding")), (200, "noindex", "gzip"));
    assert_eq!(other(&path, &[]).body, INDEX.as_bytes());
    assert!(page.header("content-security-policy").contains("sha256-"));
    assert_eq!(other(&format!("{path}worker.js"), &[]).status, 200);
    let view: StudyView = other(&format!("{path}data/study.json"), &[]).of();
    assert!(view.texts_withheld && !view.api && !view.gather && view.layers.len() == 1);
    let rows: RowChunk = other(&format!("{path}data/rows/1.json"), &[]).of();
    assert!(rows.first_row == 4096 && rows.snippet.iter().all(String::is_empty));
    let shard = &view.layers[0].shards[3];
    let ranged = [("range", "bytes=100-299"), ("accept-encoding", "gzip")];
    let part = other(&format!("{path}data/{}", shard.path), &ranged);
    let file = std::fs::read(site.study.root().join(&shard.path)).unwrap();
    assert_eq!((part.status, part.header("content-encoding")), (206, ""));
    assert_eq!(part.body, file[100..300]);
    let near = other(&format!("{path}data/nearest/2/7.json"), &[]);
    assert_eq!((near.status, near.body), (200, site.get("/data/nearest/2/7.json").body));
    for hidden in [
        "data/texts/0.json",
        "data/vectors/layer-1/00000000.safetensors",
        "data/vectors/manifest.json",
        "data/../data/texts/0.json",
        "data/rows/../texts/0.json",
        "data/behaviors/../../study.toml",
        "data/gather/layer-2",
        "data/nearest/1/7.json",
        "data/nearest/2/../1/7.json",
        "api/v1/decisions",
        "data/",
        "../",
        "..%2f..%2fapi/v1",
    ] {
        let answer = other(&format!("{path}{hidden}"), &[]);
        assert!(matches!(answer.status, 400 | 404), "{hidden}: {}", answer.status);
    }
    for path in ["/", "/data/study.json", "/data/texts/0.json", "/api/v1", "/api/v1/shares", "/worker.js", "/s", "/sx/"]
    {
        assert_eq!(other(path, &[]).status, 404, "{path}");
    }
    let posted = [("host", "study.example"), ("content-type", "application/json"), ("content-length", "2")];
    assert_eq!(site.send("POST", "/api/v1/shares", &posted, "{}").status, 404);
    assert_eq!(site.send("POST", &path, &posted, "{}").status, 405);
    assert_eq!(site.get("/data/texts/0.json").status, 200, "this machine reads everything");
}

#[test]
fn a_link_ends_when_it_is_revoked_or_expires() {
    let site = open();
    let with_texts = NewShare { texts: true, behaviors: Some(vec![BEHAVIOR.into()]), ..NewShare::default() };
    let first = make(&site, &with_texts);
    let texts = format!("{}data/texts/0.json", first.path);
    assert_eq!(site.get(&texts).body, site.get("/data/texts/0.json").body);
    let second = make(&site, &NewShare { expires_in_seconds: Some(0), ..with_texts.clone() });
    let third = make(&site, &NewShare { expires_in_seconds: Some(u64::MAX), ..with_texts.clone() });
    assert!(!second.share.is_open && third.share.is_open && third.share.expires_unix_ms.is_none());
    let revoked: ShareView = site.post("/api/v1/shares/1/revoke", "{}").of();
    assert!(!revoked.is_open && revoked.revoked_unix_ms >= Some(revoked.created_unix_ms));
    let unlike = ["/s/x/", "/s/x", "/s/%0A", "/s/%0a/", "/s/0000000000000000000000000000000G", "/s/x/data/study.json"];
    let dead = [texts.as_str(), &first.path, &second.path, "/s/00000000000000000000000000000000/"];
    for path in dead.into_iter().chain(unlike) {
        let answer = site.get(path);
        assert_eq!((answer.status, answer.refusal().kind), (404, ErrorKind::NotFound), "{path}");
        assert!(answer.error().contains("has ended or was revoked"), "{}", answer.error());
    }
    assert_eq!(site.get(&third.path).status, 200);
    let again: ShareView = site.post("/api/v1/shares/1/revoke", "{}").of();
    assert_eq!(again.revoked_unix_ms, revoked.revoked_unix_ms);
    let listed: Vec<ShareView> = site.get("/api/v1/shares").of();
    assert_eq!(
        listed.iter().map(|share| (share.id, share.is_open)).collect::<Vec<_>>(),
        [(3, true), (2, false), (1, false)]
    );

    for unknown in ["9", "x", "18446744073709551615", "9223372036854775807"] {
        let answer = site.post(&format!("/api/v1/shares/{unknown}/revoke"), "{}");
        assert_eq!((answer.status, answer.refusal().kind), (404, ErrorKind::NotFound), "{unknown}");
    }
    for (body, said) in [
        (json!({"behaviors": ["other"]}), "expected obeys"),
        (json!({"layers": [7]}), "layers with vectors: 1, 2"),
        (json!({"no_vectors": true}), "whence index"),
        (json!({"layer": [1]}), "unknown field `layer`, expected one of"),
        (json!({"behaviour": ["obeys"]}), "unknown field `behaviour`"),
        (json!({"expires_in": 60}), "unknown field `expires_in`"),
        (json!([]), "expected an object"),
        (json!(["all of it"]), "expected an object"),
        (json!(null), "the body is not what is expected here"),
    ] {
        let answer = site.post_json("/api/v1/shares", &body);
        assert_eq!((answer.status, answer.refusal().kind), (400, ErrorKind::Malformed), "{body}");
        assert!(answer.error().contains(said), "{}", answer.error());
    }
    for (path, body) in [
        ("bundles", json!({"text": false})),
        ("bundles", json!([])),
        ("report", json!({"behaviours": []})),
        ("report", json!([])),
        ("shares/3/revoke", json!({"all": true})),
        ("shares/3/revoke", json!([])),
        ("decisions/undo", json!({"version": 0, "steps": 3})),
        ("decisions/change", json!({"version": 0, "removed": [1]})),
        (
            "decisions/change",
            json!({"version": 0, "decide": [{"row": 1, "id": "p1", "action": "drop", "why": "wrong"}]}),
        ),
        (
            "decisions/rule",
            json!({"version": 0, "behavior": "obeys", "layer": 1, "n": 5, "action": "drop", "bottom": true}),
        ),
        ("edits", json!({"name": "x", "version": 0, "overwrite": true})),
    ] {
        let answer = site.post_json(&format!("/api/v1/{path}"), &body);
        assert_eq!((answer.status, answer.refusal().kind), (400, ErrorKind::Malformed), "{path} {body}");
        let is_named = ["unknown field", "expected an object"].iter().any(|said| answer.error().contains(said));
        assert!(is_named, "{path} {body}: {}", answer.error());
    }
    assert_eq!(site.get(&third.path).status, 200, "nothing of that was done");
    assert_eq!(site.get("/api/v1/bundles").of::<Vec<BundleMaking>>(), []);
}

#[test]
fn what_comes_through_a_proxy_is_not_this_machine() {
    let site = open();
    let path = make(&site, &NewShare::default()).path;
    let proxied =
        |path: &str, header: (&str, &str)| site.request("GET", path, &[("host", "127.0.0.1:7411"), header]).status;
    assert_eq!(proxied("/data/study.json", ("accept", "*/*")), 200);
    for name in ["forwarded", "via", "x-forwarded-for", "X-Forwarded-Host", "x-real-ip"] {
        for hidden in ["/", "/data/study.json", "/api/v1", "/api/v1/shares"] {
            assert_eq!(proxied(hidden, (name, "10.0.0.7")), 404, "{name} {hidden}");
        }
        assert_eq!(proxied(&path, (name, "10.0.0.7")), 200, "{name}: links are for others");
    }
    // A server for this machine alone has no others to tell apart.
    assert_eq!(Site::start().get_with("/data/study.json", ("via", "1.1 proxy")).status, 200);
}

/// What to ask for, and the bytes that `whence report` writes of it.
fn bundle_of_layer_2(site: &Site) -> (NewBundle, Vec<u8>) {
    let out = site.folder.path().join("study.zip");
    let choice = Choice { behaviors: None, layers: Some(vec![2]), texts: false, vectors: true };
    let options = ReportOptions { out: out.clone(), is_zip: true, choice, replace: false };
    report(&site.study, &App::at(site.folder.path().join("app")).unwrap(), &options, &silent).unwrap();
    (NewBundle { layers: Some(vec![2]), ..NewBundle::default() }, std::fs::read(&out).unwrap())
}

#[test]
fn a_bundle_by_request_is_the_one_that_is_reported_and_leaves_nothing_behind() {
    let site = Site::start();
    let (asked, reported) = bundle_of_layer_2(&site);
    let answer = site.post_json("/api/v1/report", &asked);
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.header("cache-control")),
        (200, "application/zip", "no-store")
    );
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"study.zip\"");
    assert!(answer.body.starts_with(b"PK") && answer.body == reported);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    let left = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    // Other processes make bundles, too.
    let ours = format!("whence-report-{}-", std::process::id());
    let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&ours)).collect();
    assert!(left.iter().all(|entry| !entry.path().join("report.zip").exists()), "{left:?}");

    let malformed = site.post_json("/api/v1/report", &json!({"layers": [7]}));
    assert_eq!((malformed.status, malformed.refusal().kind), (400, ErrorKind::Malformed));
    assert!(malformed.error().contains("layers with vectors: 1, 2"), "{}", malformed.error());
    let length = serde_json::to_string(&asked).unwrap().len().to_string();
    let other = [
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("content-length", &length),
        ("origin", "http://evil.example"),
    ];
    let refused = site.send("POST", "/api/v1/report", &other, &serde_json::to_string(&asked).unwrap());
    assert_eq!((refused.status, refused.refusal().kind), (403, ErrorKind::Origin));
    let reading = Site::start_with(|options| options.can_edit = false);
    let refused = reading.post_json("/api/v1/report", &asked);
    assert_eq!((refused.status, refused.refusal().kind), (403, ErrorKind::ReadOnly));
}

#[test]
fn a_server_says_whether_others_reach_its_links() {
    assert!(open().get("/api/v1").of::<ServerView>().others_reach_links);
    assert!(!Site::start().get("/api/v1").of::<ServerView>().others_reach_links);
}

#[test]
fn a_bundle_made_in_the_background_is_followed_downloaded_and_removed() {
    let site = Site::start();
    let (asked, reported) = bundle_of_layer_2(&site);
    assert_eq!(site.get("/api/v1/bundles").of::<Vec<BundleMaking>>(), []);
    let begun = site.post_json("/api/v1/bundles", &asked).of::<BundleMaking>();
    assert_eq!((begun.state, &begun.asked), (BundleState::Making, &asked));
    let address = format!("/api/v1/bundles/{}", begun.id);
    let ready = until(|| {
        let now = site.get(&address).of::<BundleMaking>();
        (now.state != BundleState::Making).then_some(now)
    });
    assert_eq!((ready.state, ready.stage.as_str(), ready.n_done), (BundleState::Ready, "bundle", ready.n_total));
    assert_eq!(site.get("/api/v1/bundles").of::<Vec<BundleMaking>>().first(), Some(&ready));
    let file = site.get(&format!("{address}/file"));
    assert_eq!((file.status, file.header("content-type")), (200, "application/zip"));
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"study.zip\"");
    assert!(file.body == reported, "the bytes that `whence report` writes");
    assert_eq!(ready.n_bytes, Some(file.body.len() as u64));
    let part = site.get_with(&format!("{address}/file"), ("range", "bytes=2-5"));
    assert_eq!((part.status, &part.body[..]), (206, &file.body[2..6]));
    // A server that was started anew makes none of the same number.
    let of_another = Site::start().post_json("/api/v1/bundles", &asked).of::<BundleMaking>();
    assert!(of_another.id != begun.id && of_another.id < 1 << 48, "{} {}", of_another.id, begun.id);

    // Another one takes its place; what is removed is gone.
    let next = site.post_json("/api/v1/bundles", &NewBundle::default()).of::<BundleMaking>();
    let next_address = format!("/api/v1/bundles/{}", next.id);
    assert_eq!((next.id == begun.id, site.get(&address).status), (false, 404));
    let ended = site.post_json(&format!("{next_address}/cancel"), &json!({})).of::<BundleMaking>();
    assert_eq!((ended.state, ended.n_bytes), (BundleState::Canceled, None));
    assert_eq!(site.get(&format!("{next_address}/file")).status, 404);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(site.get(&next_address).of::<BundleMaking>().state, BundleState::Canceled, "for good");

    let malformed = site.post_json("/api/v1/bundles", &json!({"layers": [7]}));
    assert_eq!((malformed.status, malformed.refusal().kind), (400, ErrorKind::Malformed));
    let reading = Site::start_with(|options| options.can_edit = false);
    assert_eq!(reading.post_json("/api/v1/bundles", &asked).refusal().kind, ErrorKind::ReadOnly);
    assert_eq!(reading.get("/api/v1/bundles").refusal().kind, ErrorKind::ReadOnly);
}

/// What comes within ten seconds.
fn until<T>(look: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}
