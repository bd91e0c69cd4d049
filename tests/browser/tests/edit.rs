//! Decisions about pairs: by keys beside the pair, by rules on the Edit page, kept by the browser or by `whence serve`, undone and
//! done again.

use serde_json::json;
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{assert_no_errors, query};
use whence_browser_tests::served::{BEHAVIOR, Served, run, study};
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
    browser.press(Key::Shift + "K").await;
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

/// Shows the Edit page, from whatever page is shown.
async fn show_edit(browser: &Browser) {
    browser.find(".pages a[href*='view=edit']").await.click().await.unwrap();
    browser.find("#n-decided").await;
}

/// Shows the ranking again, with the focus where keys decide.
async fn show_ranking(browser: &Browser) {
    browser.find(".pages a:nth-child(2)").await.click().await.unwrap();
    browser.find("#ranking:not([hidden])").await;
    browser.find("#table").await.focus().await.unwrap();
}

async fn wait_for_counts(browser: &Browser, counts: &str) {
    browser.wait_for_text("#decided-counts", counts).await;
}

async fn wait_until_kept(browser: &Browser) {
    let kept = "return document.getElementById('kept-by')?.textContent === 'kept by the backend'";
    browser.wait_until(kept, vec![]).await;
}

fn page_of(served: &Served) -> String {
    format!("{}?behavior={BEHAVIOR}&layer=1&k=20", served.address)
}

#[tokio::test]
async fn the_backend_keeps_decisions_for_every_browser_and_edit_sets_are_made_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let one = Browser::start(Screen::DESK).await;
    one.open(&page_of(&served), "ranked").await;
    one.press("jd").await;
    one.find("#decide-drop[aria-pressed='true']").await;
    one.press("js").await;
    one.find("#decide-switch[aria-pressed='true']").await;
    show_edit(&one).await;
    wait_until_kept(&one).await;
    one.wait_for_text("#history", "switch row").await;
    let stored = "return Object.keys(localStorage).filter((key) => key.startsWith('whence-')).length";
    assert_eq!(one.evaluate(stored, vec![]).await, json!(0), "nothing is left in the browser");

    // Another person's browser, which never saw the page.
    let other = Browser::start(Screen::DESK).await;
    other.open(&format!("{}&view=edit", page_of(&served)), "ranked").await;
    wait_for_counts(&other, "1 dropped · 1 switched · 0 kept").await;
    other.wait_for_text("#history", "drop row").await;
    other.wait_until("return document.getElementById('undo').title.startsWith('Undo: switch row')", vec![]).await;
    other.find("#undo:enabled").await.click().await.unwrap();
    wait_for_counts(&other, "1 dropped · 0 switched").await;
    other.wait_for_text("#history .undone", "switch row").await;
    wait_until_kept(&other).await;

    // The first one decides without having seen that: both count.
    show_ranking(&one).await;
    one.press("j").await;
    one.press(Key::Shift + "K").await;
    one.find("#decide-keep[aria-pressed='true']").await;
    one.wait_for_text("#decisions-notice", "changed elsewhere").await;
    show_edit(&one).await;
    wait_for_counts(&one, "1 dropped · 0 switched · 1 kept").await;
    wait_until_kept(&one).await;
    // Whoever comes back to a page sees what was decided meanwhile.
    other.evaluate("dispatchEvent(new Event('focus')); return true", vec![]).await;
    wait_for_counts(&other, "1 dropped · 0 switched · 1 kept").await;
    one.find("#undo:enabled").await.click().await.unwrap();
    wait_for_counts(&one, "1 dropped · 0 switched · 0 kept").await;
    one.find("#redo:enabled").await.click().await.unwrap();
    wait_for_counts(&one, "1 dropped · 0 switched · 1 kept").await;
    wait_until_kept(&one).await;

    // An edit set of it, as whence reads it.
    one.wait_for_text("#edit-sets", "There is no edit set yet").await;
    let name = one.find("#set-name").await;
    name.send_keys("by hand").await.unwrap();
    one.wait_for_text("#make-set-reason", "Letters, digits").await;
    name.clear().await.unwrap();
    name.send_keys("by-hand").await.unwrap();
    one.find("#make-set:enabled").await.click().await.unwrap();
    one.wait_for_text("#set-made", "“by-hand” was made: 1 dropped, 0 switched of 300 pairs").await;
    one.wait_for_text("#edit-sets [data-set='by-hand']", "by-hand").await;
    one.wait_for_text("#train-on", "whence retrain --study study --plan plan.toml").await;
    assert!(study.join("edits/by-hand.decisions.jsonl").is_file());
    let out = folder.path().join("edited.jsonl");
    let (study_path, out_path) = (study.to_str().unwrap(), out.to_str().unwrap());
    run(&[
        "export", "--study", study_path, "--edit", "by-hand", "--form", "trl", "--format", "jsonl", "--out", out_path,
    ]);
    assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 299, "one pair is dropped");
    // A name that is taken is not taken again without a word.
    one.find("#make-set:enabled").await.click().await.unwrap();
    one.wait_for_text("#set-problem", "There is an edit set “by-hand” already").await;
    one.find("#replace-set").await.click().await.unwrap();
    one.find("#set-made").await;
    assert_no_errors(&other).await;
    // The browser notes that a request was refused: once for the version, once for the name.
    let errors = one.errors().await;
    assert!(errors.iter().all(|error| error.contains("409")), "{errors:?}");
}

#[tokio::test]
async fn decisions_made_while_the_backend_is_away_arrive_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let (port, page) = (served.port(), page_of(&served));
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&page, "ranked").await;
    browser.press("jd").await;
    browser.find("#decide-drop[aria-pressed='true']").await;
    show_edit(&browser).await;
    wait_until_kept(&browser).await;
    show_ranking(&browser).await;

    drop(served);
    browser.press("js").await;
    browser.find("#decide-switch[aria-pressed='true']").await;
    browser
        .wait_for_text("#not-kept", "The backend does not answer: 1 change is kept by this page and this browser")
        .await;
    browser.press("j").await;
    browser.press(Key::Shift + "K").await;
    browser.wait_for_text("#not-kept", "2 changes are kept").await;
    let served = Served::start_at(&study, port);
    browser.wait_until("return !document.getElementById('not-kept')", vec![]).await;
    show_edit(&browser).await;
    wait_until_kept(&browser).await;
    wait_for_counts(&browser, "1 dropped · 1 switched · 1 kept").await;

    // The same when the page is closed meanwhile.
    show_ranking(&browser).await;
    drop(served);
    browser.press("jd").await;
    browser.wait_for_text("#not-kept", "1 change is kept").await;
    browser.page.goto("about:blank").await.unwrap();
    let _served = Served::start_at(&study, port);
    browser.open(&format!("{page}&view=edit"), "ranked").await;
    wait_for_counts(&browser, "2 dropped · 1 switched · 1 kept").await;
    wait_until_kept(&browser).await;
    let fresh = Browser::start(Screen::DESK).await;
    fresh.open(&format!("{page}&view=edit"), "ranked").await;
    wait_for_counts(&fresh, "2 dropped · 1 switched · 1 kept").await;
    assert_no_errors(&fresh).await;
}

#[tokio::test]
async fn decisions_that_the_browser_kept_before_are_offered_once() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&page_of(&served), "ranked").await;
    browser.press("jd").await;
    browser.find("#decide-drop[aria-pressed='true']").await;
    browser.wait_until("return new URLSearchParams(location.search).has('row')", vec![]).await;
    let row: u64 = query(&browser, "row").await.as_str().expect("the row of the selected pair").parse().unwrap();
    // As a version that knew no backend left them: about the same pair, and about two others.
    let others: Vec<u64> = (0..300).filter(|other| *other != row).take(2).collect();
    let rows = format!("{},{},{row}", others[0], others[1]);
    let kept = json!({
        "format": "whence.decisions/1", "decided": [{ "action": "switch", "note": "before", "rows": rows }],
        "changes": [], "n_done": 0,
    });
    let keep = "
        const request = new XMLHttpRequest();
        request.open('GET', 'data/study.json', false);
        request.send();
        const { pairs_sha256 } = JSON.parse(request.responseText);
        localStorage.setItem(`whence-decisions:${pairs_sha256}`, arguments[0]);
        return pairs_sha256.length === 64";
    assert_eq!(browser.evaluate(keep, vec![json!(kept.to_string())]).await, json!(true));
    browser.open(&format!("{}&view=edit", page_of(&served)), "ranked").await;
    browser.wait_for_text("#kept-before", "decisions about 2 pairs that the backend has none about").await;
    browser.wait_for_text("#kept-before", "About 1 more the backend has another decision, which stays").await;
    browser.find("#take-over").await.click().await.unwrap();
    wait_for_counts(&browser, "1 dropped · 2 switched · 0 kept").await;
    wait_until_kept(&browser).await;
    browser.wait_for_text("#history", "taken over from this browser").await;
    browser.page.refresh().await.unwrap();
    browser.wait_for_state("ranked").await;
    wait_for_counts(&browser, "1 dropped · 2 switched · 0 kept").await;
    assert_eq!(
        browser.evaluate("return document.getElementById('kept-before')", vec![]).await,
        serde_json::Value::Null
    );
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn where_the_browser_keeps_nothing_the_app_works_and_says_so() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    let script = "
        for (const name of ['localStorage', 'sessionStorage', 'indexedDB', 'caches']) {
            Object.defineProperty(window, name, { get() { throw new DOMException('No.', 'SecurityError'); } });
        }";
    browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    browser.open(&site.address("?behavior=flattery&layer=1&row=5"), "ranked").await;
    browser.press("d").await;
    browser.wait_for_text("#not-kept", "lets the page keep nothing").await;
    show_edit(&browser).await;
    browser.wait_for_text("#n-decided", "1 decision").await;
    browser.wait_for_text("#kept-by", "not kept").await;
    browser.open(&site.address("?view=map"), "empty").await;
    browser.open(&site.address("?view=share"), "ready").await;
    assert_no_errors(&browser).await;
}
