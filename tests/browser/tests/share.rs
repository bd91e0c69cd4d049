//! The Share page over a real `whence serve`: the address of a view, links that show a part and end when they are revoked, a
//! bundle that is the same as that of `whence report`; and the page without a backend.

use std::fs;

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{assert_no_errors, query};
use whence_browser_tests::served::{BEHAVIOR, Served, run, study};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::Plan;

async fn press(browser: &Browser, selector: &str) {
    browser.find(selector).await.click().await.unwrap();
}

async fn value(browser: &Browser, id: &str) -> String {
    let value = browser.evaluate("return document.getElementById(arguments[0]).value", vec![json!(id)]).await;
    value.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_link_shows_the_chosen_part_at_the_same_view_until_it_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?behavior={BEHAVIOR}&layer=1&k=20", served.address), "ranked").await;
    browser.press("j").await;
    browser.wait_until("return new URLSearchParams(location.search).has('row')", vec![]).await;
    let row = query(&browser, "row").await.as_str().unwrap().to_owned();
    let looked_at = browser.evaluate("return location.href", vec![]).await;
    press(&browser, ".pages a[href*='view=share']").await;
    browser.wait_for_state("ready").await;
    assert_eq!(json!(value(&browser, "view-address").await), looked_at, "the address of what was looked at");
    browser.wait_for_text("#here-alone", "of this machine alone").await;
    browser.wait_for_text("#links-closed", "whence serve --study study --host 0.0.0.0 --shares").await;
    browser.wait_for_text("#no-links", "No link was made yet.").await;

    // Layer 1 alone.
    press(&browser, "#all-layers").await;
    let others =
        "for (const box of document.querySelectorAll('input[name=layers]')) if (box.value !== '1') box.click()";
    browser.find("input[name=layers]").await;
    browser.evaluate(others, vec![]).await;
    browser.find("#link-label").await.send_keys("for a reader").await.unwrap();
    press(&browser, "#make-link:enabled").await;
    browser.wait_for_text("#made-link", "shown now and never again").await;
    let address = value(&browser, "link-address").await;
    let (link, shown) = address.split_once('?').unwrap();
    let token = link.strip_prefix(&format!("{}s/", served.address)).and_then(|rest| rest.strip_suffix('/')).unwrap();
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{address}");
    for part in [format!("behavior={BEHAVIOR}"), "layer=1".to_owned(), format!("row={row}")] {
        assert!(shown.split('&').any(|of| of == part), "{part} in {shown}");
    }
    press(&browser, "#link-opens-here").await;
    browser.wait_until("return !document.getElementById('link-address').value.includes('?')", vec![]).await;
    browser.wait_for_text("#link-1[data-state='open']", "for a reader").await;
    browser.wait_for_text("#link-1", "all behaviors · layer 1 · texts withheld").await;
    browser.wait_for_text("#link-1", "ends ").await;
    press(&browser, "#link-copied").await;
    browser.wait_until("return !document.getElementById('made-link')", vec![]).await;
    let page = browser.evaluate("return document.body.innerText", vec![]).await;
    assert!(!page.as_str().unwrap().contains(token), "the link is not told again");

    // Whoever has it sees the pair, and not what it says.
    browser.open(&address, "ranked").await;
    browser.wait_for_text("#reading", "The texts of pairs are withheld here").await;
    assert_eq!(query(&browser, "row").await, json!(row));
    let layers = "return [...document.querySelectorAll('#layer option')].map((option) => option.value)";
    assert_eq!(browser.evaluate(layers, vec![]).await, json!(["1"]));
    let texts = "return fetch('data/texts/0.json').then((answer) => answer.status)";
    assert_eq!(browser.evaluate(texts, vec![]).await, json!(404));
    let has_jobs = "return !!document.querySelector(\".pages a[href*='view=jobs']\")";
    assert_eq!(browser.evaluate(has_jobs, vec![]).await, json!(false));
    press(&browser, ".pages a[href*='view=share']").await;
    browser.wait_for_text("#publish", "whence report --study study").await;
    browser.wait_until("return !document.getElementById('links')", vec![]).await;

    browser.open(&format!("{}?view=share", served.address), "ready").await;
    press(&browser, "#link-1 .revoke-link").await;
    browser.wait_for_text("#revoke[open]", "Whoever has “for a reader” sees nothing any more").await;
    press(&browser, "#revoke-now").await;
    browser.wait_for_text("#link-1[data-state='revoked']", "revoked").await;
    browser.wait_until("return !document.querySelector('#link-1 .revoke-link')", vec![]).await;
    assert_no_errors(&browser).await;
    browser.page.goto(&address).await.unwrap();
    browser.wait_until("return document.body.innerText.includes('this link does not exist')", vec![]).await;
}

#[tokio::test]
async fn a_bundle_is_the_one_that_whence_report_writes() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?view=share", served.address), "ready").await;
    press(&browser, "#all-layers").await;
    browser.find("input[name=layers]").await;
    let others =
        "for (const box of document.querySelectorAll('input[name=layers]')) if (box.value !== '2') box.click()";
    browser.evaluate(others, vec![]).await;
    press(&browser, "#part-vectors").await;
    let line = "whence report --study study --out study.zip --layers 2 --no-texts --no-vectors";
    browser.wait_for_text("#bundle-command", line).await;
    press(&browser, "#make-bundle:enabled").await;
    press(&browser, "#download-bundle").await;
    let bytes = browser.downloaded_bytes("study.zip").await;
    let out = folder.path().join("study.zip");
    let (from, to) = (study.to_str().unwrap(), out.to_str().unwrap());
    run(&["report", "--study", from, "--out", to, "--layers", "2", "--no-texts", "--no-vectors"]);
    assert!(bytes.starts_with(b"PK") && bytes == fs::read(&out).unwrap(), "the bytes that whence report writes");

    // It is kept until it is removed, also for whoever comes back.
    browser.page.refresh().await.unwrap();
    press(&browser, "#cancel-bundle").await;
    browser.wait_for_text("#bundle-outcome", "nothing of it is left").await;

    // What the study lacks is said.
    press(&browser, "#all-layers").await;
    browser.find("input[name=layers]").await;
    browser.evaluate(others, vec![]).await;
    press(&browser, "input[name=layers][value='2']").await;
    browser.wait_for_text("#part-fault", "Choose at least one layer.").await;
    browser.find("#make-bundle:disabled").await;
    browser.find("#make-link:disabled").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn without_a_backend_the_page_has_the_address_and_says_how_to_publish() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::HAND).await;
    browser.open(&site.address("?view=share&behavior=flattery&layer=2"), "ready").await;
    browser.wait_for_text("#publish", "whence report --study").await;
    browser.find("#view-page option[value='map']").await.click().await.unwrap();
    let address = "const url = new URL(document.getElementById('view-address').value);
        return url.pathname === location.pathname && url.searchParams.get('view') === 'map'
            && url.searchParams.get('behavior') === 'flattery'";
    browser.wait_until(address, vec![]).await;
    for absent in ["links", "bundle", "here-alone"] {
        let is_absent = "return !document.getElementById(arguments[0])";
        assert_eq!(browser.evaluate(is_absent, vec![json!(absent)]).await, json!(true), "{absent}");
    }
    let fits = "return document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(browser.evaluate(fits, vec![]).await, json!(true));
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_server_that_only_reads_says_how_others_are_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start_with(&study, &["--port", "0", "--host", "0.0.0.0"]);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?view=share", served.address), "ready").await;
    browser.wait_for_text("#reads-only", "--shares").await;
    drop(served);
    // Opened so, links are reached by others and the page no longer says otherwise.
    let served = Served::start_with(&study, &["--port", "0", "--host", "0.0.0.0", "--shares"]);
    browser.open(&format!("{}?view=share", served.address), "ready").await;
    browser.find("#make-link:enabled").await;
    browser.wait_until("return !document.getElementById('links-closed')", vec![]).await;
    assert_no_errors(&browser).await;
}
