//! Everything by keyboard: the list of keys, the command palette, the way past the header, covered texts.

use serde_json::json;
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{assert_no_errors, query};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::{Plan, StaticStudy};

const FOCUS: &str = "return document.activeElement.id || document.activeElement.className";

#[tokio::test]
async fn the_palette_goes_anywhere_and_gives_the_focus_back() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    browser.find("#table").await.focus().await.unwrap();
    let open = async || {
        browser.press(Key::Control + "k").await;
        browser.wait_until("return document.activeElement.id === 'palette-input'", vec![]).await;
    };
    open().await;
    browser.press(Key::Escape).await;
    browser.wait_until("return document.activeElement.id === 'table'", vec![]).await;
    open().await;
    browser.press("obeys").await;
    browser.wait_for_text("#palette-list [aria-selected='true']", "obeys-when-formatted").await;
    browser.press(Key::Enter).await;
    browser.find("body[data-state='ranked'][data-ranked='obeys-when-formatted/layer-2']").await;
    open().await;
    browser.press("layer").await;
    browser.press(Key::Enter).await;
    browser.find("body[data-state='ranked'][data-ranked='obeys-when-formatted/layer-1']").await;
    // A pair by its row, and another by its id, quotes and all.
    open().await;
    browser.press("1234").await;
    browser.press(Key::Enter).await;
    browser.wait_for_text("#reading", "pair-1234").await;
    open().await;
    browser.press("id id, with \"quotes\"").await;
    browser.press(Key::Enter).await;
    browser.wait_for_text("#reading .standing", "row 2").await;
    assert_eq!(query(&browser, "row").await, json!("2"));
    open().await;
    browser.press("id nobody").await;
    browser.press(Key::Enter).await;
    browser.wait_for_text("#status", "No pair of this study has the id “nobody”").await;
    open().await;
    browser.press("valid").await;
    browser.press(Key::Enter).await;
    browser.find("body[data-page='validate']").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn keys_are_listed_and_the_header_can_be_skipped() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    browser.press("?").await;
    browser.find("#help[open]").await;
    browser.wait_for_text("#help", "switch chosen and rejected").await;
    // Letters do nothing behind it.
    browser.press("j").await;
    browser.press(Key::Escape).await;
    browser.wait_until("return !document.querySelector('#help[open]')", vec![]).await;
    assert_eq!(query(&browser, "row").await, json!(null));
    browser.press("/").await;
    browser.wait_until("return document.activeElement.id === 'text-filter'", vec![]).await;
    browser.page.refresh().await.unwrap();
    browser.wait_for_state("ranked").await;
    browser.press(Key::Tab).await;
    assert_eq!(browser.evaluate(FOCUS, vec![]).await, json!("skip"), "the first thing that Tab reaches");
    browser.press(Key::Enter).await;
    assert_eq!(browser.evaluate(FOCUS, vec![]).await, json!("ranking"));
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn texts_stay_covered_until_asked_for_and_the_switch_is_remembered() {
    let (site, mut study) = Site::with_study(&Plan::small());
    flag(&mut study);
    let browser = Browser::start(Screen::DESK).await;
    // What the data flag is covered from the first; other pairs are not.
    browser.open(&site.address("?behavior=flattery&layer=2&row=1"), "ranked").await;
    browser.wait_for_text("#cover", "flag this pair as harmful").await;
    browser.find("#uncover").await.click().await.unwrap();
    browser.wait_for_text(".side.chosen", "In short").await;
    browser.open(&site.address("?behavior=flattery&layer=2&row=9"), "ranked").await;
    browser.wait_for_text(".side.chosen", "This is answer 9").await;
    browser.press("c").await;
    browser.find("#cover").await;
    browser.wait_for_text("#rows .snippet", "covered").await;
    let texts =
        "return document.body.innerText.includes('This is answer') || document.body.innerText.includes('Explain how')";
    assert_eq!(browser.evaluate(texts, vec![]).await, json!(false));
    browser.page.refresh().await.unwrap();
    browser.wait_for_state("ranked").await;
    browser.find("#cover").await;
    browser.find("#covers[aria-pressed='true']").await.click().await.unwrap();
    browser.wait_for_text(".side.chosen", "This is answer 9").await;
    assert_no_errors(&browser).await;
}

/// Says of row 1 that it is harmful.
fn flag(study: &mut StaticStudy) {
    let path = study.path("texts/0.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let flagged = text.replace("\\\"row\\\":1}", "\\\"row\\\":1,\\\"toxic\\\":true}");
    assert_ne!(flagged, text);
    std::fs::write(path, flagged).unwrap();
}

#[tokio::test]
async fn what_cannot_be_seen_is_named_and_long_lines_come_in_parts() {
    let (site, study) = Site::with_study(&Plan::small());
    let path = study.path("texts/0.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let long = "x".repeat(200_000);
    let changed =
        text.replace("This is answer 2.", "zero\\u200bwidth \\u202eturned").replace("This is answer 4.", &long);
    assert_ne!(changed, text);
    std::fs::write(path, changed).unwrap();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2&row=2"), "ranked").await;
    browser.find(".side.chosen .invisible[data-name='U+200B zero width space']").await;
    browser.find(".side.chosen .invisible[data-name='U+202E right to left forced']").await;
    // What is copied is what is there.
    browser.wait_for_text(".side.chosen .response", "zero\u{200b}width \u{202e}turned").await;
    browser.open(&site.address("?behavior=flattery&layer=2&row=4"), "ranked").await;
    browser.wait_for_text(".side.chosen .more-text", "more characters").await;
    let tasks =
        "return Math.max(0, ...window.watched.tasks.filter(([start]) => start > arguments[0]).map(([, ms]) => ms))";
    let start = browser.evaluate("return performance.now()", vec![]).await;
    browser.find(".side.chosen .more-text").await.click().await.unwrap();
    browser
        .wait_until("return document.querySelector('.side.chosen .response').textContent.length > 200000", vec![])
        .await;
    let longest = browser.evaluate(tasks, vec![start]).await.as_f64().unwrap();
    assert!(longest < 1000.0, "the page stood still for {longest} ms");
    assert_no_errors(&browser).await;
}
