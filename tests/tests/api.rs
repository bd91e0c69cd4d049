//! `/api/v1` over a real socket: decisions with their history, edit sets, what is refused, and that the document says so.

use std::fs;

use serde_json::{Value, json};
use whence_backend::attribute::table::{self, Labels};
use whence_backend::attribute::{RankOptions, rank};
use whence_backend::edit::{self, pair_sha256};
use whence_backend::progress::silent;
use whence_backend::server::Server;
use whence_backend::study::Study;
use whence_shared::api::{
    Action, AtVersion, ChangeDecisions, Decision, DecisionRule, DecisionStep, Decisions, DecisionsChange, EditSetView,
    ErrorKind, MAX_NOTE_BYTES, MakeEditSet, PutDecisions, RankingEnd, ServerView,
};
use whence_tests::made_study::{self, BEHAVIOR};
use whence_tests::served::{N_PAIRS, Site};

const DECISIONS: &str = "/api/v1/decisions";

fn decision(row: usize, action: Action, note: &str) -> Decision {
    Decision { row, id: format!("p{row}"), action, note: note.into() }
}

fn decide(version: u64, decide: Vec<Decision>) -> ChangeDecisions {
    ChangeDecisions { version, label: String::new(), decide, remove: Vec::new() }
}

fn list(site: &Site) -> Decisions {
    site.get(DECISIONS).of()
}

fn rows(list: &Decisions) -> Vec<usize> {
    list.decisions.iter().map(|decision| decision.row).collect()
}

/// Follows a change as the app does.
fn follow(list: &mut Decisions, change: &DecisionsChange) {
    let is_other =
        |row: usize| !change.removed.contains(&row) && !change.decided.iter().any(|decision| decision.row == row);
    list.decisions.retain(|decision| is_other(decision.row));
    list.decisions.extend(change.decided.iter().cloned());
    (list.version, list.undo, list.redo) = (change.version, change.undo.clone(), change.redo.clone());
}

#[test]
fn decisions_are_kept_undone_and_done_again_across_servers() {
    use Action::{Drop, Keep, Switch};
    let site = Site::start();
    assert_eq!(list(&site), Decisions::default());
    assert!(!site.study.database().exists(), "reading stores nothing");

    let mut seen = Decisions::default();
    let steps = [
        decide(0, vec![decision(7, Drop, "not true"), decision(3, Keep, "")]),
        decide(1, vec![decision(4199, Switch, "é \u{1f30d}")]),
        ChangeDecisions { label: "second look".into(), remove: vec![3], ..decide(2, vec![decision(7, Switch, "")]) },
    ];
    for step in &steps {
        let change: DecisionsChange = site.post_json("/api/v1/decisions/change", step).of();
        assert!(!change.is_reordered);
        follow(&mut seen, &change);
        assert_eq!(list(&site), seen, "the change says what is different");
    }
    assert_eq!((rows(&seen), seen.version, seen.undo.as_deref()), (vec![4199, 7], 3, Some("second look")));

    // Another server of the same study goes on where this one is.
    let server = Server::bind(site.study.clone(), &whence_tests::served::options(&site.folder.path().join("app")));
    let other = site.beside(server.unwrap());
    assert_eq!(list(&other), seen);
    let change: DecisionsChange = other.post_json("/api/v1/decisions/undo", &AtVersion { version: 3 }).of();
    assert_eq!((change.version, change.is_reordered), (4, true), "row 3 is back where it was");
    let undone = list(&site);
    assert_eq!((rows(&undone), undone.redo.as_deref()), (vec![7, 3, 4199], Some("second look")));
    assert_eq!(undone.decisions[0], decision(7, Drop, "not true"));
    let redone: DecisionsChange = site.post_json("/api/v1/decisions/redo", &AtVersion { version: 4 }).of();
    assert_eq!((redone.removed.as_slice(), list(&site).decisions), ([3].as_slice(), seen.decisions.clone()));
    for version in [5, 6, 7] {
        site.post_json("/api/v1/decisions/undo", &AtVersion { version }).of::<DecisionsChange>();
    }
    assert!(list(&site).decisions.is_empty());
    let nothing = site.post_json("/api/v1/decisions/undo", &AtVersion { version: 8 });
    assert_eq!((nothing.status, nothing.refusal().kind), (400, ErrorKind::Malformed));

    // What is decided now is not what was undone.
    site.post_json("/api/v1/decisions/redo", &AtVersion { version: 8 }).of::<DecisionsChange>();
    site.post_json("/api/v1/decisions/change", &decide(9, vec![decision(1, Drop, "")])).of::<DecisionsChange>();
    let history: Vec<DecisionStep> = site.get("/api/v1/decisions/history").of();
    let labels: Vec<&str> = history.iter().map(|step| step.label.as_str()).collect();
    assert_eq!(labels, ["1 pair: drop, 1 pair: keep", "1 pair: drop"]);
    assert!(history.iter().all(|step| !step.is_undone && step.at_unix_ms > 1_700_000_000_000));
    assert_eq!(list(&site).redo, None);
}

#[test]
fn a_whole_list_replaces_another_unless_it_has_changed_meanwhile() {
    use Action::{Drop, Keep, Switch};
    let site = Site::start();
    let put = |version, decisions: &[Decision]| {
        site.put_json(DECISIONS, &PutDecisions { version, label: "from a file".into(), decisions: decisions.to_vec() })
    };
    let first = [decision(9, Drop, ""), decision(2, Switch, "why"), decision(5, Keep, "")];
    assert_eq!(put(0, &first).of::<DecisionsChange>().decided, first);
    let second = [decision(5, Keep, ""), decision(9, Switch, ""), decision(0, Drop, "")];
    let change: DecisionsChange = put(1, &second).of();
    assert_eq!((list(&site).decisions.as_slice(), change.removed.as_slice()), (second.as_slice(), [2].as_slice()));
    let late = put(1, &first);
    assert_eq!((late.status, late.refusal().kind), (409, ErrorKind::Changed));
    assert!(late.error().contains("expected version 2, got 1"), "{}", late.error());
    let same: DecisionsChange = put(2, &second).of();
    assert_eq!((same.version, same.decided.len()), (2, 0), "nothing is different, nothing is a step");
    site.post_json("/api/v1/decisions/undo", &AtVersion { version: 2 }).of::<DecisionsChange>();
    assert_eq!(list(&site).decisions, first);

    for (decisions, said) in [
        (vec![decision(N_PAIRS, Drop, "")], "row 4200: the study has 4200 pairs"),
        (vec![decision(1, Drop, ""), decision(1, Keep, "")], "row 1 is decided twice"),
        (vec![Decision { id: "p8".into(), ..decision(1, Drop, "") }], "row 1 has the id \"p1\", not \"p8\""),
        (vec![decision(1, Drop, &"x".repeat(MAX_NOTE_BYTES + 1))], "4097 bytes"),
    ] {
        let answer = put(3, &decisions);
        assert_eq!(answer.status, 400, "{said}");
        assert!(answer.error().contains(said), "{}", answer.error());
    }
    assert_eq!((list(&site).version, list(&site).decisions.as_slice()), (3, first.as_slice()), "nothing was changed");
}

#[test]
fn rules_decide_about_the_ends_of_a_ranking_and_edit_sets_are_those_of_the_command_line() {
    let site = Site::start();
    let rule = DecisionRule {
        version: 0,
        behavior: BEHAVIOR.into(),
        layer: 2,
        end: RankingEnd::Top,
        n: 50,
        action: Action::Drop,
        note: String::new(),
        keep_decided: false,
    };
    let absent = site.post_json("/api/v1/decisions/rule", &rule);
    assert_eq!((absent.status, absent.refusal().kind), (404, ErrorKind::NotFound));
    assert!(absent.error().contains("whence rank"), "{}", absent.error());
    let options = RankOptions { behavior: BEHAVIOR.into(), layers: vec![2], verify: false };
    let ranking = rank(&site.study, &options, &silent).unwrap().remove(0);
    table::store(&site.study, &ranking, &Labels::read(&site.study).unwrap()).unwrap();

    let top: DecisionsChange = site.post_json("/api/v1/decisions/rule", &rule).of();
    let decided: Vec<u32> = top.decided.iter().map(|decision| decision.row as u32).collect();
    assert_eq!(decided, ranking.order[..50]);
    assert_eq!(top.undo.as_deref(), Some("top 50 of obeys at layer 2: drop"));
    let wider = DecisionRule { version: 1, n: 60, action: Action::Switch, keep_decided: true, ..rule.clone() };
    let more: DecisionsChange = site.post_json("/api/v1/decisions/rule", &wider).of();
    assert_eq!(more.decided.len(), 10, "those that were decided stay as they were");
    let bottom = DecisionRule { version: 2, end: RankingEnd::Bottom, n: 1, action: Action::Keep, ..rule.clone() };
    let last: DecisionsChange = site.post_json("/api/v1/decisions/rule", &bottom).of();
    assert_eq!(last.decided[0].row as u32, *ranking.order.last().unwrap());
    for n in [0, N_PAIRS + 1] {
        let answer = site.post_json("/api/v1/decisions/rule", &DecisionRule { version: 3, n, ..rule.clone() });
        assert!(answer.status == 400 && answer.error().contains("from 1 to 4200"), "{}", answer.error());
    }

    let ask = |name: &str, version, replace| {
        site.post_json("/api/v1/edits", &MakeEditSet { name: name.into(), version, replace })
    };
    assert_eq!(ask("mine", 2, false).refusal().kind, ErrorKind::Changed);
    let made: EditSetView = ask("mine", 3, false).of();
    assert_eq!((made.n_pairs, made.n_dropped, made.n_switched), (N_PAIRS, 50, 10));
    let set = edit::load(&site.study, "mine").unwrap();
    assert_eq!(set.edit_of(ranking.order[0] as usize).unwrap().reason, "top 50 of obeys at layer 2: drop");
    assert_eq!(set.origin.from, "edits/mine.decisions.jsonl");
    let run = whence_tests::binary::whence([
        "edit",
        "--study",
        site.study.root().to_str().unwrap(),
        "--name",
        "again",
        "--decisions",
        site.study.edit_decisions("mine").to_str().unwrap(),
    ]);
    run.succeeds();
    assert_eq!(edit::load(&site.study, "again").unwrap().edits, set.edits, "the command line makes the same set");
    let listed: Vec<EditSetView> = site.get("/api/v1/edits").of();
    assert_eq!(listed.iter().map(|set| set.name.as_str()).collect::<Vec<_>>(), ["again", "mine"]);
    assert_eq!(listed[1], EditSetView { warnings: Vec::new(), ..made });

    let kept = fs::read(site.study.edit_decisions("mine")).unwrap();
    assert_eq!((ask("mine", 3, false).status, ask("mine", 3, false).refusal().kind), (409, ErrorKind::Exists));
    assert_eq!(ask("../x", 3, false).refusal().kind, ErrorKind::Malformed);
    let empty = PutDecisions { version: 3, label: String::new(), decisions: vec![decision(1, Action::Keep, "")] };
    site.put_json(DECISIONS, &empty).of::<DecisionsChange>();
    assert!(ask("mine", 4, true).error().contains("decide about some first"));
    assert_eq!(fs::read(site.study.edit_decisions("mine")).unwrap(), kept);

    // The behavior is another one since.
    fs::copy(site.study.behavior_vectors(BEHAVIOR, 1), site.study.behavior_vectors(BEHAVIOR, 2)).unwrap();
    let stale = site.post_json("/api/v1/decisions/rule", &DecisionRule { version: 4, ..rule });
    assert_eq!(stale.status, 400);
    assert!(stale.error().contains("another direction") && stale.error().contains("whence rank"), "{}", stale.error());
}

#[test]
fn decisions_follow_their_pairs_to_another_import() {
    use Action::{Drop, Keep, Switch};
    let site = Site::start();
    let all = vec![decision(4000, Drop, "far"), decision(30, Switch, ""), decision(2, Keep, "")];
    site.put_json(DECISIONS, &PutDecisions { version: 0, label: String::new(), decisions: all.clone() })
        .of::<DecisionsChange>();
    // A smaller study, in which row 30 is there and row 4000 is not.
    let other = tempfile::tempdir().unwrap();
    let smaller = made_study::make(other.path(), 40);
    let (pairs, config) = (fs::read(site.study.pairs()).unwrap(), fs::read(site.study.config()).unwrap());
    let replace = |study: &Study| {
        fs::copy(study.pairs(), site.study.pairs()).unwrap();
        fs::copy(study.config(), site.study.config()).unwrap();
    };
    replace(&smaller);
    let now = list(&site);
    assert_eq!((now.version, now.decisions.as_slice(), now.lost.as_slice()), (2, &all[1..], &all[..1]));
    assert_eq!((now.undo, now.redo), (None, None), "what was done was done to other pairs");
    let late = site.post_json("/api/v1/decisions/change", &decide(1, vec![decision(5, Drop, "")]));
    assert_eq!(late.refusal().kind, ErrorKind::Changed);
    site.post_json("/api/v1/decisions/change", &decide(2, vec![decision(5, Drop, "")])).of::<DecisionsChange>();
    fs::write(site.study.pairs(), pairs).unwrap();
    fs::write(site.study.config(), config).unwrap();
    assert_eq!((rows(&list(&site)), list(&site).lost.len()), (vec![4000, 30, 2, 5], 0), "what is back counts again");
}

#[test]
fn pages_of_other_sites_servers_that_only_read_and_newer_databases_change_nothing() {
    let site = Site::start();
    let body = serde_json::to_string(&decide(0, vec![decision(1, Action::Drop, "")])).unwrap();
    let length = body.len().to_string();
    let path = "/api/v1/decisions/change";
    let base = [("host", "localhost:80"), ("content-length", length.as_str())];
    let json = ("content-type", "application/json");
    for (headers, status, kind) in [
        (vec![json, ("origin", "http://evil.example")], 403, ErrorKind::Origin),
        (vec![json, ("origin", "null")], 403, ErrorKind::Origin),
        (vec![json, ("sec-fetch-site", "cross-site")], 403, ErrorKind::Origin),
        (vec![json, ("origin", "http://localhost:81")], 403, ErrorKind::Origin),
        (vec![("content-type", "text/plain")], 415, ErrorKind::NotJson),
        (vec![], 415, ErrorKind::NotJson),
    ] {
        let answer = site.send("POST", path, &[&base[..], &headers].concat(), &body);
        assert_eq!((answer.status, answer.refusal().kind), (status, kind), "{headers:?}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(list(&site).version, 0);
    let ours = [&base[..], &[json, ("origin", "http://localhost:80"), ("sec-fetch-site", "same-origin")]].concat();
    assert_eq!(site.send("POST", path, &ours, &body).status, 200);
    let gather = [&base[..], &[json, ("origin", "http://evil.example")]].concat();
    assert_eq!(site.send("POST", "/data/gather/layer-1", &gather, &body).status, 403);

    let reading = Site::start_with(|options| options.can_edit = false);
    assert!(!reading.get("/api/v1").of::<ServerView>().can_edit && site.get("/api/v1").of::<ServerView>().can_edit);
    let answer = reading.post(path, &body);
    assert_eq!((answer.status, answer.refusal().kind), (403, ErrorKind::ReadOnly));
    assert!(answer.error().contains("--allow-edits"), "{}", answer.error());
    assert!(!reading.study.database().exists() && list(&reading).version == 0);

    // 64 bytes into a SQLite file stand the four of its user_version.
    let database = reading.study.database();
    fs::copy(site.study.database(), &database).unwrap();
    let mut bytes = fs::read(&database).unwrap();
    assert!(bytes.starts_with(b"SQLite format 3"));
    bytes[60..64].copy_from_slice(&99u32.to_be_bytes());
    fs::write(&database, &bytes).unwrap();
    let newer = reading.get(DECISIONS);
    assert_eq!((newer.status, newer.refusal().kind), (409, ErrorKind::Newer));
    assert!(newer.error().contains("newer version"), "{}", newer.error());
    fs::write(&database, "no database, but long enough to be looked at as one").unwrap();
    let broken = reading.get(DECISIONS);
    assert_eq!((broken.status, broken.refusal().kind), (500, ErrorKind::Study));
    assert_eq!(reading.get("/data/study.json").status, 200, "the study itself is still read");
}

#[test]
fn every_route_is_described_and_answers_the_methods_that_are_described() {
    let site = Site::start();
    let document: Value = site.get("/api/v1/openapi.json").of();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 20, "{:?}", paths.keys());
    for (path, operations) in paths {
        let plain = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let plain = plain.collect::<Vec<_>>().join("/");
        // No address answers TRACE; the refusal lists what it does answer.
        let refused = site.request("TRACE", &plain, &[("host", "localhost")]);
        assert_eq!((refused.status, refused.refusal().kind), (405, ErrorKind::Method), "{path}");
        let mut allowed: Vec<String> = refused.header("allow").split(',').map(|m| m.trim().to_lowercase()).collect();
        allowed.retain(|method| method != "head");
        allowed.sort();
        let described: Vec<String> = operations.as_object().unwrap().keys().cloned().collect();
        assert_eq!(allowed, described, "{path}");
        for operation in operations.as_object().unwrap().values() {
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{path}");
            assert_eq!(
                operation["responses"]["default"]["content"]["application/json"]["schema"],
                json!({"$ref": "#/components/schemas/ApiError"}),
                "{path}"
            );
        }
    }
    for path in ["/api/v1/nothing", "/api/v2/decisions", "/data/nothing", "/nothing"] {
        let answer = site.get(path);
        assert_eq!((answer.status, answer.refusal().kind), (404, ErrorKind::NotFound), "{path}");
    }
}

#[test]
fn hashes_in_the_file_of_decisions_are_those_of_the_pairs() {
    let site = Site::start();
    let all = vec![decision(6, Action::Drop, "a \"quoted\" word")];
    site.put_json(DECISIONS, &PutDecisions { version: 0, label: String::new(), decisions: all })
        .of::<DecisionsChange>();
    site.post_json("/api/v1/edits", &MakeEditSet { name: "one".into(), version: 1, replace: false })
        .of::<EditSetView>();
    let line = fs::read_to_string(site.study.edit_decisions("one")).unwrap();
    let pairs = whence_backend::data::pairs::PairFile::open(&site.study.pairs()).unwrap();
    let expected = json!({
        "row": 6,
        "id": "p6",
        "action": "drop",
        "reason": "a \"quoted\" word",
        "sha256": pair_sha256(&pairs.read(6..7).unwrap()[0]),
    });
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
}
