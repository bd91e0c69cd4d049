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
    browser.wait_for_text("#remark", "No pair of this study has the id “nobody”").await;
    // What may be an id stands after what can be done: with it Enter goes to the layer.
    open().await;
    browser.press("layer 2").await;
    browser.wait_for_text("#palette-list li:last-child", "Pair with the id “layer 2”").await;
    browser.wait_for_text("#palette-list [aria-selected='true']", "Layer 2").await;
    browser.press(Key::Enter).await;
    browser.find("body[data-state='ranked'][data-ranked='obeys-when-formatted/layer-2']").await;
    // Of no command it is the only thing left.
    open().await;
    browser.press("pair-77").await;
    browser.press(Key::Enter).await;
    browser.wait_for_text("#reading .standing", "row 77").await;
    // A message is seen on whichever page it comes.
    browser.find(".pages a[href*='view=edit']").await.click().await.unwrap();
    browser.find("body[data-page='edit'][data-state='ranked']").await;
    open().await;
    browser.press("id somebody").await;
    browser.press(Key::Enter).await;
    browser.wait_for_text("#remark", "No pair of this study has the id “somebody”").await;
    browser.wait_until("return document.getElementById('remark').checkVisibility()", vec![]).await;
    browser.find("#dismiss").await.click().await.unwrap();
    browser.wait_until("return document.getElementById('remark').textContent === ''", vec![]).await;
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

/// A letter as a keyboard gives it while Caps Lock is on, with or without the shift key.
const WITH_CAPS_LOCK: &str = "
    const [key, shiftKey] = arguments;
    document.body.dispatchEvent(new KeyboardEvent('keydown', { key, shiftKey, bubbles: true, cancelable: true }))";

#[tokio::test]
async fn caps_lock_changes_nothing_of_what_letters_do() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    let press = async |key: &str, is_shifted: bool| {
        browser.evaluate(WITH_CAPS_LOCK, vec![json!(key), json!(is_shifted)]).await;
    };
    let selected = async |line: usize| {
        browser.find(&format!("#rows [aria-rowindex='{line}'][aria-selected='true']")).await;
    };
    press("J", false).await;
    selected(2).await;
    press("J", false).await;
    selected(3).await;
    press("K", false).await;
    selected(2).await;
    assert_eq!(
        browser.evaluate("return document.querySelectorAll('#rows .decision-sign').length", vec![]).await,
        json!(0),
        "nothing was decided"
    );
    // With the shift key Caps Lock gives a small letter.
    press("k", true).await;
    browser.find("#rows [aria-rowindex='2'] .decision-sign.keep").await;
    selected(2).await;
    press("D", false).await;
    browser.find("#rows [aria-rowindex='2'] .decision-sign.drop").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn undo_by_key_works_where_decisions_are_seen_alone() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    browser.press("jd").await;
    browser.find("#rows [aria-rowindex='2'] .decision-sign.drop").await;
    for page in ["overview", "discover", "validate", "share"] {
        browser.find(&format!(".pages a[href*='view={page}']")).await.click().await.unwrap();
        browser.find(&format!("body[data-page='{page}']:not([data-state='loading'])")).await;
        browser.press(Key::Control + "z").await;
    }
    browser.find(".pages a[href*='view=edit']").await.click().await.unwrap();
    browser.wait_for_text("#n-decided", "1 decision").await;
    browser.press(Key::Control + "z").await;
    browser.wait_until("return !document.querySelector('#worklist')", vec![]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn the_focus_goes_on_where_what_had_it_goes() {
    let (site, mut study) = Site::with_study(&Plan::small());
    flag(&mut study);
    let order = study.native_ranking("flattery", 2).order;
    let has_focus = "return document.activeElement.id === arguments[0]";
    let browser = Browser::start(Screen::DESK).await;
    let press = async |selector: &str| {
        browser.find(selector).await.focus().await.unwrap();
        browser.press(Key::Enter).await;
    };
    browser.open(&site.address("?behavior=flattery&layer=2&row=1"), "ranked").await;
    press("#uncover").await;
    browser.wait_until(has_focus, vec![json!("reading")]).await;
    press(".pair-header nav button:last-child").await;
    browser.wait_until(has_focus, vec![json!("table")]).await;

    // At either end the button that goes no further keeps it.
    for (end, button) in [(order[0], 1), (order[order.len() - 1], 2)] {
        browser.open(&site.address(&format!("?behavior=flattery&layer=2&row={end}")), "ranked").await;
        let selector = format!(".pair-header nav button:nth-child({button})[aria-disabled='true']");
        press(&selector).await;
        let is_there = "return document.activeElement === document.querySelector(arguments[0])";
        browser.wait_until(is_there, vec![json!(selector)]).await;
        assert_eq!(query(&browser, "row").await, json!(end.to_string()));
    }

    // A decision that is taken back hands it to the next one, and the last to the heading.
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    browser.press("jdjd").await;
    browser.find("#rows [aria-rowindex='3'] .decision-sign.drop").await;
    browser.find(".pages a[href*='view=edit']").await.click().await.unwrap();
    press("#worklist tbody tr:first-child button").await;
    browser.wait_until("return document.querySelectorAll('#worklist tbody tr').length === 1", vec![]).await;
    browser
        .wait_until("return document.activeElement === document.querySelector('#worklist tbody button')", vec![])
        .await;
    browser.press(Key::Enter).await;
    browser.wait_until(has_focus, vec![json!("worklist-title")]).await;
    assert_no_errors(&browser).await;
}
