//! The room that pages take: at a desk they scroll within the window and no further, in a hand nothing is wider than it, and
//! nothing is printed over something else.

use serde_json::{Value, json};
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::assert_no_errors;
use whence_browser_tests::served::{Served, study};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::{Plan, StaticStudy};

/// Every page of a study that has something for each of them, and the state in which it is done.
const PAGES: [(&str, &str); 9] = [
    ("", "ready"),
    ("?behavior=flattery&layer=2&row=9", "ranked"),
    ("?view=map&color=none&row=9", "mapped"),
    ("?view=map&color=cluster:clumps", "mapped"),
    ("?view=discover", "discovered"),
    ("?view=edit&behavior=flattery&layer=2", "ranked"),
    ("?view=validate", "validated"),
    ("?view=jobs", "empty"),
    ("?view=share", "ready"),
];

fn full_study() -> (Site, StaticStudy) {
    let (site, mut study) = Site::with_study(&Plan::small());
    study.write_map("umap-layer-1");
    study.write_clusters("clumps");
    study.write_discovery("broad");
    let report = StaticStudy::report(4);
    study.write_report(&report);
    study.write_runs(&report, report.runs.len());
    (site, study)
}

/// Decides about two pairs, so that the worklist has lines.
async fn decide(browser: &Browser, site: &Site) {
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    browser.press("jd").await;
    browser.find("#decide-drop[aria-pressed='true']").await;
    browser.press("js").await;
    browser.find("#decide-switch[aria-pressed='true']").await;
}

/// Whether what is asked for later has come: nothing says that it is being read.
async fn wait_until_settled(browser: &Browser) {
    browser.wait_until("return !document.body.innerText.includes('Reading ')", vec![]).await;
    browser.wait_until("return !document.querySelector('main:not([hidden]) .skeleton')", vec![]).await;
}

#[tokio::test]
async fn at_a_desk_no_page_is_longer_than_the_window_that_it_scrolls_in() {
    let (site, _study) = full_study();
    let browser = Browser::start(Screen::DESK).await;
    decide(&browser, &site).await;
    let mut found = Vec::new();
    for (address, state) in PAGES {
        browser.open(&site.address(address), state).await;
        wait_until_settled(&browser).await;
        let heights = browser.evaluate("return [document.documentElement.scrollHeight, innerHeight]", vec![]).await;
        if heights[0] != heights[1] {
            found.push(format!("{address:?}: {heights}"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn in_a_hand_no_page_is_wider_than_the_window() {
    let (site, _study) = full_study();
    let browser = Browser::start(Screen::HAND).await;
    decide(&browser, &site).await;
    let mut found = Vec::new();
    for (address, state) in PAGES {
        browser.open(&site.address(address), state).await;
        wait_until_settled(&browser).await;
        if address.contains("edit") {
            browser.find("#worklist tbody tr").await;
        }
        let width = browser.evaluate("return document.documentElement.scrollWidth", vec![]).await;
        if width.as_u64().is_none_or(|width| width > 390) {
            found.push(format!("{address:?}: {width}"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn in_a_hand_the_list_beside_the_map_ends_where_the_pair_below_begins() {
    let (site, _study) = full_study();
    let browser = Browser::start(Screen::HAND).await;
    browser.open(&site.address("?view=map&color=none&row=9"), "mapped").await;
    browser.find("#pairs .table-body .row").await;
    browser.find("#reading").await;
    let ends = "
        const box = (selector) => document.querySelector(selector).getBoundingClientRect();
        return [box('#pairs .table-body').bottom, box('.map-list').bottom, box('#reading').top];";
    let ends: [f64; 3] = serde_json::from_value(browser.evaluate(ends, vec![]).await).unwrap();
    assert!(ends[0] <= ends[1] + 0.5 && ends[1] <= ends[2] + 0.5, "{ends:?}");
}

#[tokio::test]
async fn labels_of_an_axis_stay_in_their_drawing() {
    let (site, study) = Site::with_study(&Plan::small());
    let mut report = StaticStudy::report(4);
    let interval = &mut report.comparison.effects[0].versus_baseline.difference.interval;
    (interval.low, interval.high) = (-1.0, 1.0);
    study.write_report(&report);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=validate"), "validated").await;
    browser.wait_for_text(".forest .scale", "+100").await;
    let overhang = "
        return Math.max(...[...document.querySelectorAll('.forest tfoot svg.scale')].flatMap((drawing) => {
            const around = drawing.getBoundingClientRect();
            return [...drawing.querySelectorAll('text')].map((label) => {
                const box = label.getBoundingClientRect();
                return Math.max(around.left - box.left, box.right - around.right);
            });
        }));";
    let overhang: Value = browser.evaluate(overhang, vec![]).await;
    assert!(overhang.as_f64().unwrap() <= 0.5, "{overhang} pixels beyond");
}

#[tokio::test]
async fn ended_jobs_do_not_bury_the_form_that_starts_more() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::HAND).await;
    browser.open(&format!("{}?view=jobs&start=rank", served.address), "ready").await;
    let ask = "return await fetch('api/v1/jobs', { method: 'POST', headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ verb: 'rank', arguments: ['--behavior', arguments[0]] }) }).then((answer) => answer.ok)";
    for _ in 0..7 {
        assert_eq!(browser.evaluate(ask, vec![json!("nobody")]).await, json!(true));
    }
    browser.wait_for_text("#job-counts", "7 failed").await;
    browser.wait_until("return document.querySelectorAll('.job-list > li').length === 5", vec![]).await;
    let told = browser.evaluate("return document.querySelector('.job-when').textContent", vec![]).await;
    let told = told.as_str().unwrap();
    assert!(told.starts_with("took ") && told.contains(" on cpu, ended "), "{told}");
    // The form is one press away, however long the queue is.
    browser.find("#to-start").await.click().await.unwrap();
    browser.wait_until("return document.activeElement.id === 'job-verb'", vec![]).await;
    let is_in_view = "
        const { top, bottom } = document.getElementById('job-verb').getBoundingClientRect();
        return top >= 0 && bottom <= innerHeight;";
    browser.wait_until(is_in_view, vec![]).await;
    browser.find("#all-jobs").await.click().await.unwrap();
    browser.wait_until("return document.querySelectorAll('.job-list > li').length === 7", vec![]).await;
}
