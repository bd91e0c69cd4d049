//! The diagnosis in real Chromium, from a static folder: the card says what the file says, Validate quotes it, and nothing
//! is said of a ranking that was not diagnosed or has changed since.

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::assert_no_errors;
use whence_browser_tests::site::{Fault, Site};
use whence_browser_tests::static_study::{Plan, StaticStudy};
use whence_shared::diagnosis::card;
use whence_shared::validation::QuotedDiagnosis;

#[tokio::test]
async fn the_card_says_what_the_file_says_and_goes_with_its_ranking() {
    let (site, study) = Site::with_study(&Plan::small());
    let found = study.write_diagnosis("flattery", 2, 100);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    browser.wait_for_text("#diagnosis", &found.verdict.text).await;
    browser.wait_for_text("#diagnosis", found.verdict.expectation.words()).await;
    for figure in card::figures(&found) {
        browser.wait_for_text("#diagnosis", &figure.name).await;
        browser.wait_for_text("#diagnosis", &figure.value).await;
    }
    // The other layer was not diagnosed.
    browser.open(&site.address("?behavior=flattery&layer=1"), "ranked").await;
    let is_gone = "return document.getElementById('diagnosis') === null";
    browser.wait_until(is_gone, vec![]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_diagnosis_of_other_vectors_is_not_shown() {
    let (site, study) = Site::with_study(&Plan::small());
    let mut found = study.write_diagnosis("flattery", 2, 100);
    found.of.vectors_sha256 = "0".repeat(64);
    study.write("diagnosis/flattery-layer-2.json", &serde_json::to_vec(&found).unwrap());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    browser.wait_for_text(".diagnosis", "is of other vectors").await;
    browser.wait_for_text(".diagnosis", "Run `whence diagnose` again").await;
    browser.wait_until("return document.getElementById('diagnosis') === null", vec![]).await;
}

#[tokio::test]
async fn a_diagnosis_that_did_not_arrive_is_not_said_to_be_at_fault() {
    let (site, study) = Site::with_study(&Plan::small());
    study.write_diagnosis("flattery", 2, 100);
    site.fail("data/diagnosis/", Fault::Status(503), 100);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    browser.wait_for_text(".diagnosis", "Check that the server still runs").await;
    let advises = "return document.querySelector('.diagnosis').textContent.includes('whence diagnose')";
    assert_eq!(browser.evaluate(advises, vec![]).await, json!(false));
}

#[tokio::test]
async fn validate_quotes_what_was_expected() {
    let (site, study) = Site::with_study(&Plan::small());
    let found = study.write_diagnosis("flattery", 2, 100);
    let mut report = StaticStudy::report(3);
    report.comparison.conclusion.expect(&found.of, &found.verdict);
    report.diagnosis = Some(QuotedDiagnosis { of: found.of.clone(), verdict: found.verdict.clone() });
    study.write_report(&report);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=validate"), "validated").await;
    browser.wait_for_text("#expected", found.verdict.expectation.words()).await;
    let text = "return document.querySelector('#conclusion').textContent === arguments[0]";
    browser.wait_until(text, vec![json!(report.comparison.conclusion.text)]).await;
    assert_no_errors(&browser).await;
}
