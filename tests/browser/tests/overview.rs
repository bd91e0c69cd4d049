//! The Overview page: what the bare address opens, what it says of a study, and where it leads.

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{assert_no_errors, query};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::{Plan, StaticStudy};
use whence_shared::columns::{self, RowColumns};
use whence_shared::edit::effect::lengths;
use whence_shared::statistics::conclusion::{percent, points};
use whence_shared::statistics::wilson;

#[tokio::test]
async fn the_bare_address_says_what_the_study_is_and_what_was_found() {
    let (site, study) = Site::with_study(&Plan::small());
    let report = StaticStudy::report(4);
    study.write_report(&report);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(""), "ready").await;
    browser.find("body[data-page='overview']").await;
    // The verdict, word for word, and an effect with its interval as the report has them.
    let lead = report.comparison.conclusion.text.split(". ").next().unwrap();
    browser.wait_for_text("#finding", lead).await;
    let interval = report.comparison.effects[0].versus_baseline.difference.interval;
    browser.wait_for_text("#finding .forest", &format!("{} to {}", points(interval.low), points(interval.high))).await;
    // In brief: a sentence for each edit and nothing on the others; the rest is a link away.
    let edits: Vec<_> = report.comparison.effects.iter().filter(|effects| !effects.is_control).collect();
    let sentences = "return document.querySelectorAll('#in-brief .edits li').length";
    assert_eq!(browser.evaluate(sentences, vec![]).await, json!(edits.len()));
    for (n, effects) in (1..).zip(edits) {
        let (effect, sentence) = (&effects.versus_baseline, format!("#in-brief .edits li:nth-child({n})"));
        let interval = effect.difference.interval;
        for part in [
            format!("{} instead of {}", percent(effect.rate), percent(effect.reference_rate)),
            format!("{} points", points(effect.difference.value)),
            format!("interval {} to {}", points(interval.low), points(interval.high)),
        ] {
            browser.wait_for_text(&sentence, &part).await;
        }
    }
    let has_tests = "return /\\bp [<=0]/.test(document.getElementById('in-brief').textContent)";
    assert_eq!(browser.evaluate(has_tests, vec![]).await, json!(false), "tests are on the Validate page");
    browser.find("#finding .in-full a[href*='view=validate']").await;
    // The study.
    for part in ["5,000", "no-model", "olmo2, 4 layers of width 37", "flattery", &study.view.pairs_sha256[..12]] {
        browser.wait_for_text(".about-study", part).await;
    }
    browser.wait_for_text(".health", "Refused rows").await;
    let columns = RowColumns::parse(&std::fs::read(study.path(columns::PATH)).unwrap(), 5000).unwrap();
    let of = lengths(&columns, None);
    let n_differ = of.n_chosen_longer + of.n_rejected_longer;
    let share = wilson::share(of.n_chosen_longer as u64, n_differ as u64, 0.95).unwrap();
    browser.wait_for_text("#length-bias", &format!("{:.0} %", share.value * 100.0)).await;
    // Nothing was ranked for that.
    assert_eq!(browser.evaluate("return document.body.dataset.ranked", vec![]).await, json!(""));
    browser.find(".next a[href*='view=ranking']").await.click().await.unwrap();
    browser.wait_for_state("ranked").await;
    assert_eq!(query(&browser, "behavior").await, json!("flattery"));
    browser.page.back().await.unwrap();
    browser.find("body[data-page='overview']").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_diagnosis_of_another_layer_is_named_and_leads_there_and_a_map_is_worth_a_look() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let has_map = "return !!document.querySelector(\".next a[href*='view=map']\")";
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=overview&behavior=flattery&layer=1"), "ready").await;
    browser.wait_for_text("#finding", "no ranking was diagnosed").await;
    assert_eq!(browser.evaluate(has_map, vec![]).await, json!(false));

    let found = study.write_diagnosis("flattery", 2, 100);
    study.view.behaviors[0].diagnosed_layers = vec![2];
    study.write_map("umap-layer-1");
    browser.open(&site.address("?view=overview&behavior=flattery&layer=1"), "ready").await;
    browser.wait_for_text("#finding", "This ranking (flattery, layer 1) was not diagnosed").await;
    browser.wait_for_text("#finding .diagnosed", "flattery, layer 2").await;
    assert_eq!(browser.evaluate(has_map, vec![]).await, json!(true));
    browser.find("#finding .diagnosed a").await.click().await.unwrap();
    browser.wait_for_text("#finding", "What the ranking says").await;
    browser.wait_for_text("#finding", &found.verdict.text).await;
    assert_eq!(query(&browser, "layer").await, json!("2"));
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn older_addresses_open_the_ranking_and_the_overview_says_what_is_missing() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    for address in ["?row=7", "?k=10", "?layer=1", "?behavior=flattery"] {
        browser.open(&site.address(address), "ranked").await;
        browser.find("body[data-page='ranking']").await;
    }
    // Nothing was concluded of this one.
    browser.open(&site.address("?view=overview"), "ready").await;
    browser.wait_for_text("#finding", "Nothing concluded yet").await;
    study.view.behaviors.clear();
    study.save_view();
    browser.open(&site.address(""), "ready").await;
    browser.wait_for_text(".notice", "whence behavior --study made-for-tests").await;
    browser.open(&Site::empty().address(""), "failed").await;
    browser.wait_for_text(".notice", "whence serve --study").await;
}
