//! Pictures of the app: `screenshots ADDRESS FOLDER` photographs a running app on a desk (1440 × 900) and in a hand (390 × 844),
//! light and dark.
//!
//! The address of a whole app, without a query string, or `all` for a study made for tests: every page. With a query string
//! that chooses behavior, layer, k, pair and page: that page. A query string alone, such as `?view=validate`, is of a study
//! made for tests. Pages to read from top to bottom are photographed whole.

use std::path::{Path, PathBuf};

use serde_json::json;
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::{Plan, StaticStudy};

/// Every page: its name, its query string, and the state of a page that is done.
const PAGES: [(&str, &str, &str); 10] = [
    ("overview", "?view=overview", "ready"),
    ("ranking", "?view=ranking&row=FIRST", "ranked"),
    ("ranking-length", "?view=ranking&chart=length", "ranked"),
    ("map", "?view=map", "mapped"),
    ("discover", "?view=discover", "discovered"),
    ("edit", "?view=edit", "ranked"),
    ("validate", "?view=validate", "validated"),
    ("jobs", "?view=jobs", "ready"),
    ("share", "?view=share", "ready"),
    ("palette", "?view=ranking", "ranked"),
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, folder] = arguments.as_slice() else { panic!("expected ADDRESS FOLDER, got {arguments:?}") };
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot create {}: {error}", folder.display()));
    let (base, query) = match address.split_once('?') {
        _ if address == "all" => (made(), None),
        Some(("", query)) => (made(), Some(query)),
        Some((base, query)) => (base.to_owned(), Some(query)),
        None => (address.clone(), None),
    };
    let browser = Browser::start(Screen::DESK).await;
    match query {
        Some(query) => {
            let stated = |view: &str| query.contains(&format!("view={view}"));
            let (page, _, state) = *PAGES.iter().find(|(page, ..)| stated(page)).unwrap_or(&PAGES[1]);
            photograph(&browser, &format!("{base}?{query}"), page, state, &folder, "").await;
        }
        None => {
            let row = prepare(&browser, &base).await;
            for (page, query, state) in PAGES {
                let address = format!("{base}{}", query.replace("FIRST", &row));
                photograph(&browser, &address, page, state, &folder, &format!("{page}-")).await;
            }
        }
    }
}

/// The address of a study made for tests. It is served until this program ends.
fn made() -> String {
    let (site, mut study) = Site::with_study(&Plan::small());
    study.write_discovery("broad");
    study.write_map("umap-layer-1");
    study.write_clusters("clumps");
    let report = StaticStudy::report(4);
    study.write_report(&report);
    study.write_runs(&report, report.runs.len() - 3);
    let address = site.address("");
    std::mem::forget(site);
    address
}

/// Decides about the first pairs, so that the Edit page has something to show; the row of the first pair.
async fn prepare(browser: &Browser, base: &str) -> String {
    browser.open(&format!("{base}?view=ranking"), "ranked").await;
    browser.press("jsjdj").await;
    browser.press(Key::Shift + "K").await;
    browser.press("kk").await;
    browser.find("#decide-switch[aria-pressed='true']").await;
    browser.open(&format!("{base}?view=edit"), "ranked").await;
    browser.find("#apply-ranking:enabled").await.click().await.unwrap();
    browser.wait_for_text("#rule-outcome", "to switch").await;
    browser.open(&format!("{base}?view=ranking"), "ranked").await;
    browser.press("j").await;
    browser.wait_until("return new URLSearchParams(location.search).has('row')", vec![]).await;
    let row = browser.evaluate("return new URLSearchParams(location.search).get('row')", vec![]).await;
    row.as_str().unwrap_or_default().to_owned()
}

/// One page on every screen. What is read from top to bottom is photographed as high as it is.
async fn photograph(browser: &Browser, address: &str, page: &str, state: &str, folder: &Path, name: &str) {
    for (place, screen) in [("desk", Screen::DESK), ("hand", Screen::HAND)] {
        for (scheme, is_dark) in [("light", false), ("dark", true)] {
            browser.resize(Screen { is_dark, ..screen }).await;
            browser.page.goto(address).await.unwrap();
            // A study without discoveries or retrained models has pages that say so.
            let is_there = "return [arguments[0], 'empty'].includes(document.body.dataset.state)";
            browser.wait_until(is_there, vec![json!(state)]).await;
            if page == "palette" {
                browser.evaluate("document.getElementById('open-palette').click()", vec![]).await;
                browser.find("#palette[open] li").await;
            }
            // Everything that the page waits for has arrived.
            browser.wait_until("return !/Reading |reading lengths/.test(document.body.innerText)", vec![]).await;
            if page == "map" {
                let has_legend = "return document.querySelector('#legend .title, #legend li') !== null";
                browser.wait_until(has_legend, vec![]).await;
                // Drawn once more than it is asked for.
                let frames =
                    "return await new Promise(done => setTimeout(() => requestAnimationFrame(done), 400)), true";
                browser.evaluate(frames, vec![]).await;
            }
            let has_curves = browser.evaluate("return !!document.getElementById('curves')", vec![]).await;
            if has_curves == json!(true) {
                browser.wait_for_text("#curves", "steps in all").await;
            }
            let bottom = "return document.querySelector('.column')?.getBoundingClientRect().bottom ?? 0";
            let height = browser.evaluate(bottom, vec![]).await.as_f64().unwrap_or_default().ceil() as u32;
            if height > screen.height {
                browser.resize(Screen { is_dark, height, ..screen }).await;
                // Charts are drawn again for the new size.
                let frames = "await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))";
                let wait = json!({ "expression": format!("(async () => {{ {frames} }})()"), "awaitPromise": true });
                browser.cdp("Runtime.evaluate", wait).await;
            }
            let path = folder.join(format!("{name}{place}-{scheme}.png"));
            browser.screenshot(&path).await;
            println!("{}", path.display());
        }
    }
}
