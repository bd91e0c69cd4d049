//! Decisions about pairs: by keys beside the pair, by rules on the Edit page, kept by the browser, undone and done again.

use serde_json::json;
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{assert_no_errors, query};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::Plan;

const PAGE: &str = "?behavior=flattery&layer=2";

#[tokio::test]
async fn keys_decide_and_the_browser_keeps_what_was_decided() {
    let (site, study) = Site::with_study(&Plan::small());
    let order = study.native_ranking("flattery", 2).order;
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(PAGE), "ranked").await;
    // Without a pair there is nothing to decide about.
    browser.press("d").await;
    browser.press("j").await;
    browser.find("#rows [aria-rowindex='2'][aria-selected='true']").await;
    browser.press("d").await;
    browser.find("#decide-drop[aria-pressed='true']").await;
    browser.find("#rows [aria-rowindex='2'] .decision-sign.drop").await;
    browser.press("js").await;
    browser.find("#rows [aria-rowindex='3'] .decision-sign.switch").await;
    browser.press("j").await;
    browser.press("K").await;
    browser.find("#rows [aria-rowindex='4'] .decision-sign.keep").await;
    // A note is typed: its letters are no commands.
    browser.press("n").await;
    browser.wait_until("return document.activeElement.id === 'note'", vec![]).await;
    browser.press("sad but dkn").await;
    browser.press(Key::Enter).await;
    browser.find("#rows [aria-rowindex='4'] .decision-sign.keep.noted").await;
    // The same key again takes a decision back, and undo brings it again.
    browser.press("ks").await;
    browser.wait_until("return !document.querySelector(\"#rows [aria-rowindex='3'] .decision-sign\")", vec![]).await;
    browser.press(Key::Control + "z").await;
    browser.find("#rows [aria-rowindex='3'] .decision-sign.switch").await;
    browser.press(Key::Control + "z").await;
    browser
        .wait_until("return !document.querySelector(\"#rows [aria-rowindex='4'] .decision-sign.noted\")", vec![])
        .await;
    browser.press(Key::Control + Key::Shift + "z").await;
    browser.find("#rows [aria-rowindex='4'] .decision-sign.keep.noted").await;

    browser.page.refresh().await.unwrap();
    browser.wait_for_state("ranked").await;
    browser.find("#rows [aria-rowindex='2'] .decision-sign.drop").await;
    browser.find("#filter-sheet > summary").await.click().await.unwrap();
    let decided = "[...document.querySelectorAll('#filter-sheet .choices.row label')]
        .find((label) => label.textContent.includes('dropped')).click()";
    browser.evaluate(decided, vec![]).await;
    browser.wait_for_text("#n-shown", "1 of 5,000 pairs").await;
    assert_eq!(query(&browser, "decision").await, json!("drop"));
    // Through the undecided: a pair that was decided about goes, and the next key leads to the one in its place.
    browser.open(&site.address(&format!("{PAGE}&decision=none")), "ranked").await;
    browser.wait_for_text("#n-shown", "4,997 of 5,000 pairs").await;
    browser.press("jj").await;
    browser.wait_for_text("#reading .standing", "#5").await;
    browser.press("d").await;
    browser.wait_for_text("#n-shown", "4,996 of 5,000 pairs").await;
    browser.press("j").await;
    browser.wait_for_text("#reading .standing", "#6").await;
    browser.press(Key::Control + "z").await;
    browser.wait_for_text("#n-shown", "4,997 of 5,000 pairs").await;

    browser.open(&site.address("?view=edit"), "ranked").await;
    browser.wait_for_text("#n-decided", "3 decisions").await;
    let rows = "return [...document.querySelectorAll('#worklist tbody tr')]
        .map((line) => `${line.dataset.row} ${line.dataset.action}`)";
    let expected = [(0, "drop"), (1, "switch"), (2, "keep")].map(|(at, action)| format!("{} {action}", order[at]));
    browser.wait_until("return document.querySelectorAll('#worklist tbody tr').length === 3", vec![]).await;
    // This address states no behavior or layer: the first behavior ranks, at the layer that suits it.
    assert_eq!(browser.evaluate(rows, vec![]).await, json!(expected));
    browser.wait_for_text("#history", "note on row").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn rules_decide_about_many_and_their_effect_is_shown() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(&format!("{PAGE}&view=edit&source=format-following")), "ranked").await;
    browser.wait_for_text("#edit", "Nothing was decided yet").await;
    let n = browser.find("#rule-n").await;
    n.clear().await.unwrap();
    n.send_keys("500").await.unwrap();
    browser.find("#apply-ranking:enabled").await.click().await.unwrap();
    browser.wait_for_text("#rule-outcome", "top 500 of flattery, layer 2: 500 pairs to switch").await;
    browser.wait_for_text("#decided-counts", "0 dropped · 500 switched").await;
    // Those that the filter shows and that are not decided yet; the address carried the filter here.
    browser.find("#rule-action option[value='drop']").await.click().await.unwrap();
    browser.wait_for_text(".rule", "of flattery, layer 2").await;
    browser.find("#apply-filter:enabled").await.click().await.unwrap();
    browser.wait_for_text("#rule-outcome", "source format-following").await;
    let effect = "return [...document.querySelectorAll('#effect tbody tr')].map((line) =>
        [...line.children].map((cell) => cell.textContent.trim()).join('|'))";
    browser.wait_for_text("#effect", "format-following").await;
    let lines: Vec<String> = serde_json::from_value(browser.evaluate(effect, vec![]).await).unwrap();
    let cells: Vec<&str> = lines[0].split('|').collect();
    assert_eq!((cells[0], cells[1]), ("format-following", "625"));
    let [dropped, switched]: [usize; 2] = [cells[2].parse().unwrap(), cells[3].parse().unwrap()];
    assert_eq!(dropped + switched, 625, "every pair of the source is decided about");
    let left = format!("4,{:03}", 1000 - dropped);
    browser.wait_for_text("#effect", &left).await;
    // One step back, and the source keeps what the first rule left.
    browser.find("#undo").await.click().await.unwrap();
    browser.wait_for_text("#decided-counts", "0 dropped · 500 switched").await;
    browser.find("#redo").await.click().await.unwrap();
    browser.wait_for_text("#decided-counts", &format!("{dropped} dropped · 500 switched")).await;
    browser.page.refresh().await.unwrap();
    browser.wait_for_state("ranked").await;
    browser.wait_for_text("#decided-counts", &format!("{dropped} dropped · 500 switched")).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn where_nothing_can_be_kept_the_page_says_so_and_goes_on() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    let full = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };";
    browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": full })).await;
    browser.open(&site.address(PAGE), "ranked").await;
    browser.press("jd").await;
    browser.find("#decide-drop[aria-pressed='true']").await;
    browser.wait_for_text("#not-kept", "storage for this page is full").await;
    browser.press("js").await;
    browser.find("#rows [aria-rowindex='3'] .decision-sign.switch").await;
    assert_no_errors(&browser).await;
}
