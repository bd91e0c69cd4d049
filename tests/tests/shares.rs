//! Read-only links, over a real socket: what they show, and that they show nothing else and end.

use serde_json::json;
use whence_shared::api::ErrorKind;
use whence_shared::shares::{NewShare, ShareMade, ShareView};
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
    for hidden in [
        "data/texts/0.json",
        "data/vectors/layer-1/00000000.safetensors",
        "data/vectors/manifest.json",
        "data/../data/texts/0.json",
        "data/rows/../texts/0.json",
        "data/behaviors/../../study.toml",
        "data/gather/layer-2",
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
    for path in [texts.as_str(), &first.path, &second.path, "/s/00000000000000000000000000000000/", "/s/x/"] {
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

    assert_eq!(site.post("/api/v1/shares/9/revoke", "{}").refusal().kind, ErrorKind::NotFound);
    for (body, said) in [
        (json!({"behaviors": ["other"]}), "expected obeys"),
        (json!({"layers": [7]}), "layers with vectors: 1, 2"),
        (json!({"no_vectors": true}), "whence index"),
    ] {
        let answer = site.post_json("/api/v1/shares", &body);
        assert_eq!((answer.status, answer.refusal().kind), (400, ErrorKind::Malformed), "{body}");
        assert!(answer.error().contains(said), "{}", answer.error());
    }
}
