//! Ranking by the index in real Chromium: it ends with what native code computes from all vectors, or says that it is not
//! sure, whatever the server and the browser do to it.

use std::fs;

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{
    ShownRanking, assert_no_errors, assert_same, download, query, ranking_of_page, stated, with_workers,
};
use whence_browser_tests::site::{Fault, Site};
use whence_browser_tests::static_study::{NativeRanking, Plan, StaticStudy, sha256};
use whence_shared::index::fingerprint::{Fingerprint, fingerprint};
use whence_shared::index::query::Direction;

const BEHAVIOR: &str = "flattery";
const LAYER: usize = 2;
const BLOCK_0: &str = "data/index/layer-2/block-0/00008192.safetensors";
const BLOCK_1: &str = "data/index/layer-2/block-1/00000000.safetensors";

/// Whether the first `k` of a shown ranking are those of `scores`, in order, with every bit; and whether every other
/// score is as near as the page says.
#[track_caller]
fn assert_exact_top(got: &ShownRanking, scores: &[f64], k: usize) {
    let expected = NativeRanking::of(scores.to_vec());
    assert_eq!(got.ranking.order[..k], expected.order[..k], "the first {k}");
    for &row in &expected.order[..k] {
        let row = row as usize;
        assert_eq!(got.ranking.scores[row].to_bits(), expected.scores[row].to_bits(), "row {row}");
        assert_eq!(got.radii[row], 0.0, "row {row}");
    }
    assert_within(got, scores);
}

/// Whether every true score is within the radius that the page states.
#[track_caller]
fn assert_within(got: &ShownRanking, scores: &[f64]) {
    for (row, score) in scores.iter().enumerate() {
        let (shown, radius) = (f64::from(got.ranking.scores[row]), f64::from(got.radii[row]));
        assert!((score - shown).abs() <= radius + 1e-7, "row {row}: {score}, shown as {shown} ± {radius}");
    }
}

async fn open(browser: &Browser, site: &Site, query: &str) {
    browser.open(&site.address(&format!("?behavior={BEHAVIOR}&layer={LAYER}{query}")), "ranked").await;
}

async fn certainty(browser: &Browser) -> String {
    browser.evaluate("return document.body.dataset.certainty", vec![]).await.as_str().unwrap_or_default().to_owned()
}

fn scores(study: &StaticStudy) -> Vec<f64> {
    study.native_scores(LAYER, &[study.direction(BEHAVIOR, LAYER)])
}

#[tokio::test]
async fn the_top_is_certified_from_a_part_of_the_bytes_and_equals_the_native_one() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let scores = scores(&study);
    let browser = Browser::start(Screen::DESK).await;
    for workers in [1, 4] {
        open(&browser, &site, &format!("&workers={workers}&k=100")).await;
        assert_eq!(certainty(&browser).await, "exact");
        let got = ranking_of_page(&browser, BEHAVIOR, LAYER).await;
        assert_exact_top(&got, &scores, 100);
        browser.wait_for_text("#status", "certified after").await;
        assert!(got.radii.iter().any(|radius| *radius > 0.0), "not all vectors were read");
        assert!(stated(&browser, "nBytes").await < stated(&browser, "nBytesTotal").await * 4.0);
        assert_eq!(stated(&browser, "nWorkers").await, f64::from(workers.min(3)), "three ranges of rows");
    }
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn one_worker_and_four_give_the_same_ranking_and_read_the_same_bytes() {
    let (site, _) = Site::with_study(&Plan::indexed());
    let mut rankings = Vec::new();
    for workers in [1, 4] {
        let browser = Browser::start(Screen::DESK).await;
        open(&browser, &site, &format!("&workers={workers}")).await;
        rankings.push((ranking_of_page(&browser, BEHAVIOR, LAYER).await, stated(&browser, "nBytes").await));
    }
    assert!(rankings[0] == rankings[1], "rankings differ");
}

#[tokio::test]
async fn the_bottom_a_bank_and_a_direction_without_another_are_exact_too() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let browser = Browser::start(Screen::DESK).await;
    let other = study.direction("obeys-when-formatted", LAYER);
    let without = vec![study.direction(BEHAVIOR, LAYER).without(&other)];
    let cases: [(&str, Vec<Direction>, f64); 4] = [
        ("&end=bottom", vec![study.direction(BEHAVIOR, LAYER)], -1.0),
        ("&by=bank", study.bank(BEHAVIOR, LAYER), 1.0),
        ("&without=obeys-when-formatted", without, 1.0),
        ("&by=bank&end=bottom", study.bank(BEHAVIOR, LAYER), -1.0),
    ];
    for (query, directions, sign) in cases {
        open(&browser, &site, query).await;
        let got = ranking_of_page(&browser, BEHAVIOR, LAYER).await;
        let scores = study.native_scores(LAYER, &directions);
        let seen: Vec<f64> = scores.iter().map(|score| score * sign).collect();
        assert_eq!(got.ranking.order[..100], NativeRanking::of(seen).order[..100], "{query}");
        assert_within(&got, &scores);
        assert_eq!(certainty(&browser).await, "exact", "{query}");
    }
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_larger_top_goes_on_from_what_is_known() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let browser = Browser::start(Screen::DESK).await;
    open(&browser, &site, "&k=20").await;
    site.take_asked();
    browser.evaluate(
        "const k = document.getElementById('k'); k.value = '700'; k.dispatchEvent(new Event('change', { bubbles: true }));",
        vec![],
    ).await;
    browser.wait_for_text("#status", "Top 700 exact").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores(&study), 700);
    let asked = site.take_asked();
    assert!(asked.iter().all(|asked| !asked.path.contains("block-0")), "the first block is known: {asked:?}");
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_server_without_ranges_is_read_in_whole_files_and_said_to_be_so() {
    let (site, study) = Site::with_study(&Plan::indexed());
    site.set_ranges(false);
    let browser = Browser::start(Screen::DESK).await;
    open(&browser, &site, "").await;
    browser.wait_for_text("#status", "does not answer Range requests").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores(&study), 100);
    assert_eq!(certainty(&browser).await, "exact");
}

#[tokio::test]
async fn a_connection_cut_at_any_byte_is_taken_up_again() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let scores = scores(&study);
    let browser = Browser::start(Screen::DESK).await;
    for has_ranges in [true, false] {
        site.set_ranges(has_ranges);
        for cut in [0, 1, 7, 1000, 300_000] {
            site.fail(BLOCK_0, Fault::Cut(cut), 2);
            site.fail("data/vectors/layer-2/00000000", Fault::Cut(cut), 1);
            browser.page.execute("await caches.delete('whence-files-1')", vec![]).await.ok();
            open(&browser, &site, "&workers=2").await;
            assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 100);
            forget(&browser).await;
        }
    }
}

async fn forget(browser: &Browser) {
    browser.evaluate("document.getElementById('details').open = true", vec![]).await;
    browser.find("#forget").await.click().await.unwrap();
    browser.wait_for_text("#kept", "0 B in 0 files").await;
}

#[tokio::test]
async fn a_wrong_hash_is_fetched_once_more_and_then_named() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let scores = scores(&study);
    let browser = Browser::start(Screen::DESK).await;
    site.fail(BLOCK_0, Fault::Flip, 1);
    open(&browser, &site, "").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 100);
    let n_asked = site.take_asked().iter().filter(|asked| asked.path == BLOCK_0).count();
    assert_eq!(n_asked, 2, "once wrong, once right");
    let remarks = browser.evaluate("return document.querySelectorAll('.remark').length", vec![]).await;
    assert_eq!(remarks, json!(0), "nothing to say of it");

    // Always wrong: said by name, and done without it, still exact.
    forget(&browser).await;
    site.fail(BLOCK_0, Fault::Flip, usize::MAX);
    open(&browser, &site, "").await;
    browser.wait_for_text("#status", BLOCK_0.strip_prefix("data/").unwrap()).await;
    browser.wait_for_text("#status", "SHA-256").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 100);
    // Mended: read on request.
    site.mend();
    browser.evaluate("document.getElementById('details').open = true", vec![]).await;
    browser.find("#again").await.click().await.unwrap();
    browser.wait_until("return document.querySelectorAll('.remark').length === 0", vec![]).await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 100);
}

#[tokio::test]
async fn a_missing_block_is_named_and_done_without() {
    for missing in [BLOCK_0, BLOCK_1] {
        let (site, study) = Site::with_study(&Plan::indexed());
        let path = missing.strip_prefix("data/").unwrap();
        fs::remove_file(study.path(path)).unwrap();
        let browser = Browser::start(Screen::DESK).await;
        // Wide enough a top that the second block is wanted.
        open(&browser, &site, "&k=1500").await;
        browser.wait_for_text("#status", path).await;
        browser.wait_for_text("#status", "404").await;
        assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores(&study), 1500);
    }
}

#[tokio::test]
async fn what_was_read_once_is_not_downloaded_again_until_it_is_cleared() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let scores = scores(&study);
    let browser = Browser::start(Screen::DESK).await;
    open(&browser, &site, "").await;
    let size = "const store = await caches.open('whence-files-1'); return (await store.keys()).length";
    let count = async || {
        let script = format!("const done = arguments[0]; (async () => {{ {size} }})().then(done)");
        browser.page.execute_async(&script, vec![]).await.unwrap().json().as_u64().unwrap_or(0)
    };
    let start = std::time::Instant::now();
    while count().await < 3 {
        assert!(start.elapsed().as_secs() < 30, "files are kept");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    site.take_asked();
    open(&browser, &site, "&again=1").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 100);
    let asked = site.take_asked();
    assert!(asked.iter().all(|asked| !asked.path.contains("block-0")), "{asked:?}");

    // A kept file that was damaged is fetched anew.
    let damage = "const done = arguments[0]; (async () => {
        const store = await caches.open('whence-files-1');
        for (const key of await store.keys()) {
            const bytes = new Uint8Array(await (await store.match(key)).arrayBuffer());
            bytes[bytes.length - 1] ^= 1;
            await store.put(key, new Response(bytes));
        }
    })().then(done)";
    browser.page.execute_async(damage, vec![]).await.unwrap();
    open(&browser, &site, "&again=2").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 100);
    let asked = site.take_asked();
    assert!(asked.iter().any(|asked| asked.path.contains("block-0")), "{asked:?}");

    forget(&browser).await;
    assert_eq!(count().await, 0);
    open(&browser, &site, "&again=3").await;
    assert!(site.take_asked().iter().any(|asked| asked.path.contains("block-0")), "downloaded again");
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_full_store_is_said_once_and_the_ranking_goes_on() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let browser = Browser::start(Screen::DESK).await;
    let origin = site.address("").split("/some").next().unwrap().to_owned();
    browser.cdp("Storage.overrideQuotaForOrigin", json!({ "origin": origin, "quotaSize": 100_000 })).await;
    open(&browser, &site, "").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores(&study), 100);
    browser.wait_for_text("#status", "no more room").await;
    let n =
        browser.evaluate("return document.getElementById('status').textContent.split('no more room').length", vec![]);
    assert!(n.await.as_u64().unwrap() <= 3, "once in the line, once in the details");
}

#[tokio::test]
async fn a_pause_holds_everything_up_and_a_stop_keeps_what_is_known() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let scores = scores(&study);
    // The first block takes some seconds.
    site.limit(Some(200_000));
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(&format!("?behavior={BEHAVIOR}&layer={LAYER}&workers=2")), "ranking").await;
    browser.wait_for_text("#status", "reading block 1").await;
    browser.find("#pause").await.click().await.unwrap();
    browser.wait_for_state("paused").await;
    browser.find("#pause").await.click().await.unwrap();
    browser.wait_for_state("ranking").await;
    browser.find("body[data-certainty='estimate']").await;
    browser.find("#stop").await.click().await.unwrap();
    browser.wait_for_state("stopped").await;
    let got = download(&browser, BEHAVIOR, LAYER).await;
    assert_within(&got, &scores);
    assert_eq!(certainty(&browser).await, "estimate");
    site.limit(None);
    browser.find("#continue").await.click().await.unwrap();
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 100);
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn nothing_is_ever_shown_as_certain_that_is_not() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let scores = scores(&study);
    let expected = NativeRanking::of(scores.clone());
    site.limit(Some(1_000_000));
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(&format!("?behavior={BEHAVIOR}&layer={LAYER}&k=300")), "ranking").await;
    let seen = "return [document.body.dataset.state, document.body.dataset.certainty,
        [...document.querySelectorAll('#rows [role=row]')].slice(0, 12).map((row) => row.querySelector('.score').innerText)]";
    let mut n_estimates = 0;
    loop {
        let now = browser.evaluate(seen, vec![]).await;
        match now[1].as_str().unwrap_or_default() {
            "estimate" => n_estimates += 1,
            "exact" => {
                for (place, shown) in now[2].as_array().unwrap().iter().enumerate() {
                    let score = expected.scores[expected.order[place] as usize];
                    assert_eq!(shown.as_str().unwrap().trim(), format!("+{score:.4}"), "place {place}");
                }
            }
            _ => {}
        }
        if now[0] == "ranked" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    assert!(n_estimates > 0, "estimates were shown on the way");
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 300);
}

/// Opens an indexed study after `damage` and expects a full exact ranking by all vectors, and the reason.
async fn expect_fallback(damage: impl Fn(&mut StaticStudy), reason: &str) {
    let (site, mut study) = Site::with_study(&Plan::indexed());
    let expected = study.native_ranking(BEHAVIOR, LAYER);
    damage(&mut study);
    let browser = Browser::start(Screen::DESK).await;
    open(&browser, &site, "").await;
    assert_same(&ranking_of_page(&browser, BEHAVIOR, LAYER).await.ranking, &expected, reason);
    browser.wait_for_text("#status", reason).await;
}

#[tokio::test]
async fn an_index_that_cannot_be_used_gives_way_to_all_vectors() {
    let manifest = |study: &mut StaticStudy, edit: &dyn Fn(&mut serde_json::Value)| {
        let index = study.view.layers[0].index.clone().unwrap();
        let mut json = serde_json::from_slice(&fs::read(study.path(&index.path)).unwrap()).unwrap();
        edit(&mut json);
        let bytes = serde_json::to_vec(&json).unwrap();
        fs::write(study.path(&index.path), &bytes).unwrap();
        study.view.layers[0].index.as_mut().unwrap().sha256 = sha256(&bytes);
        study.save_view();
    };
    let newer = |study: &mut StaticStudy| manifest(study, &|json| json["format"] = json!("whence.index-manifest/9"));
    expect_fallback(newer, "whence.index-manifest/9").await;
    let stale = |study: &mut StaticStudy| manifest(study, &|json| json["vectors_sha256"] = json!("0"));
    expect_fallback(stale, "made from other pair vectors").await;
    let gone = |study: &mut StaticStudy| {
        fs::remove_file(study.path(&study.view.layers[0].index.clone().unwrap().path)).unwrap();
    };
    expect_fallback(gone, "404").await;
    let none = |study: &mut StaticStudy| {
        study.view.layers[0].index = None;
        study.save_view();
    };
    expect_fallback(none, "no index").await;
    let other_behavior = |study: &mut StaticStudy| {
        let from = study.path("index/layer-2/behaviors/obeys-when-formatted.safetensors");
        fs::copy(from, study.path("index/layer-2/behaviors/flattery.safetensors")).unwrap();
    };
    expect_fallback(other_behavior, "whence index again").await;
    // Vectors of other rows than the index was made from: found out by the first row that is read.
    let shifted = |study: &mut StaticStudy| {
        manifest(study, &|json| {
            let offset = json["vector_offsets"][0].as_u64().unwrap();
            json["vector_offsets"] = json!([offset + 1200, offset + 1200, offset + 1200, offset + 1200]);
        });
    };
    expect_fallback(shifted, "outside the bounds").await;
}

#[tokio::test]
async fn a_backend_gathers_rows_and_what_it_gets_wrong_is_noticed() {
    let (site, mut study) = Site::with_study(&Plan::indexed());
    let scores = scores(&study);
    study.view.gather = true;
    study.save_view();
    site.set_gathers(true);
    let browser = Browser::start(Screen::DESK).await;
    let gather = "data/gather/layer-2";
    let parts = |site: &Site| site.take_asked().iter().filter(|asked| asked.range.is_some()).count();
    open(&browser, &site, "").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 100);
    assert_eq!(parts(&site), 0, "rows come by gathering");

    // It promised to, and does not: rows come by ranges.
    site.set_gathers(false);
    open(&browser, &site, "&again=1").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 100);
    assert!(parts(&site) > 0);

    // A wrong row contradicts the index: all vectors decide.
    site.set_gathers(true);
    site.fail(gather, Fault::Flip, usize::MAX);
    open(&browser, &site, "&again=2").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores, 100);
    browser.evaluate("document.getElementById('details').open = true", vec![]).await;
    browser.wait_for_text("#details", "outside the bounds").await;
    let [read, of_vectors] = [stated(&browser, "nBytes").await, stated(&browser, "nBytesTotal").await];
    assert!(read > of_vectors, "what was read of the index counts too: {read} of {of_vectors}");
}

#[tokio::test]
async fn without_vectors_the_index_alone_says_what_it_can() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let scores = scores(&study);
    fs::remove_dir_all(study.path("vectors")).unwrap();
    let browser = Browser::start(Screen::DESK).await;
    open(&browser, &site, "").await;
    browser.wait_for_text("#status", "the index alone decides").await;
    let got = ranking_of_page(&browser, BEHAVIOR, LAYER).await;
    assert_within(&got, &scores);
    assert_ne!(certainty(&browser).await, "exact");
    let is_set_right = {
        let (mut shown, mut expected) =
            (got.ranking.order[..100].to_vec(), NativeRanking::of(scores).order[..100].to_vec());
        shown.sort_unstable();
        expected.sort_unstable();
        shown == expected
    };
    assert!(is_set_right || certainty(&browser).await == "estimate", "certified, and wrong");
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_error_that_can_be_retried() {
    let (site, study) = Site::with_study(&Plan::indexed());
    site.fail("data/index/layer-2/block-0", Fault::Status(503), usize::MAX);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(&format!("?behavior={BEHAVIOR}&layer={LAYER}")), "failed").await;
    browser.wait_for_text(".notice.error", "503").await;
    site.mend();
    browser.find(".notice button").await.click().await.unwrap();
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores(&study), 100);
    // A passing trouble is not even an error.
    site.fail(BLOCK_0, Fault::Status(503), 2);
    forget(&browser).await;
    open(&browser, &site, "&again=1").await;
    assert_exact_top(&ranking_of_page(&browser, BEHAVIOR, LAYER).await, &scores(&study), 100);
    assert_eq!(query(&browser, "k").await, json!("100"));
}

#[tokio::test]
async fn the_page_answers_while_it_ranks() {
    let (site, _) = Site::with_study(&Plan::indexed());
    let browser = Browser::start(Screen::DESK).await;
    open(&browser, &site, "").await;
    let start = browser.evaluate("return performance.now()", vec![]).await;
    for behavior in ["obeys-when-formatted", "flattery", "obeys-when-formatted"] {
        browser.find(&format!("#behavior option[value='{behavior}']")).await.click().await.unwrap();
        browser.find(&format!("body[data-state='ranked'][data-ranked='{behavior}/layer-2']")).await;
    }
    let script = "return Math.max(0, ...window.watched.tasks.filter((t) => t[0] > arguments[0]).map((t) => t[1]))";
    let longest_ms = browser.evaluate(script, vec![start]).await.as_f64().unwrap();
    assert!(longest_ms < 50.0, "a task of {longest_ms} ms held up the page");
}

/// Asks a scorer of its own. Arguments: the seed, the number of rows, their width.
const FINGERPRINT: &str = "
    const [seed, n_rows, d_model, done] = arguments;
    const worker = startWorker('whence scorer');
    worker.onerror = (event) => done(event.message);
    worker.onmessage = ({ data }) => {
        const post = JSON.parse(data[0]);
        if (post === 'Ready') {
            worker.postMessage([JSON.stringify({ number: 1, what: { Fingerprint: { seed, n_rows, d_model } } })]);
        } else if (post.Answer) {
            worker.terminate();
            done(post.Answer.what.Fingerprint);
        }
    };";

#[tokio::test]
async fn the_browser_and_native_code_compute_the_same_bytes() {
    let (site, _) = Site::with_study(&Plan::indexed());
    let browser = Browser::start(Screen::DESK).await;
    open(&browser, &site, "").await;
    // Widths below, at and beside a block's and a register's.
    for (seed, n_rows, d_model) in [(1, 1, 1), (2, 50, 15), (3, 200, 64), (4, 301, 130), (5, 1000, 333), (6, 64, 4096)]
    {
        let arguments = vec![json!(seed), json!(n_rows), json!(d_model)];
        let told = browser.page.execute_async(with_workers(FINGERPRINT), arguments).await.unwrap().json().clone();
        let told: Fingerprint = serde_json::from_value(told.clone()).unwrap_or_else(|error| panic!("{error}: {told}"));
        assert_eq!(told, fingerprint(seed, n_rows, d_model), "seed {seed}: {n_rows} × {d_model}");
    }
    assert_no_errors(&browser).await;
}
