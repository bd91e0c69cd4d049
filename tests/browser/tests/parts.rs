//! The app's modules in real Chromium: what is downloaded before the ranking stands, and what happens to pages and workers
//! whose module does not arrive.

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::assert_no_errors;
use whence_browser_tests::site::{Asked, Fault, Site, app_folder};
use whence_browser_tests::static_study::{Plan, StaticStudy};

/// More often than anything is asked for.
const ALWAYS: usize = 1000;

/// The name of the app's file that ends so.
fn file(ending: &str) -> String {
    let names = std::fs::read_dir(app_folder()).unwrap().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.into_iter().find(|name| name.ends_with(ending)).unwrap_or_else(|| panic!("a file …{ending}"))
}

async fn go_to(browser: &Browser, page: &str) {
    let script =
        "[...document.querySelectorAll('nav.pages a')].find((link) => link.textContent === arguments[0]).click()";
    browser.evaluate(script, vec![json!(page)]).await;
}

fn has_asked_for(asked: &[Asked], name: &str) -> bool {
    asked.iter().any(|asked| asked.path == name)
}

#[tokio::test(flavor = "current_thread")]
async fn other_pages_are_loaded_after_the_ranking_stands() {
    let pages = file("_split_pages.wasm");
    let (site, _study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=ranking"), "ranked").await;
    assert!(!has_asked_for(&site.take_asked(), &pages), "the ranking needs no other page");
    let script =
        "return performance.getEntriesByType('resource').some((entry) => entry.name.endsWith('_split_pages.wasm'))";
    browser.wait_until(script, vec![]).await;
    go_to(&browser, "Edit").await;
    browser.find("main#edit").await;
    browser.wait_for_state("ranked").await;
    assert_no_errors(&browser).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_page_that_does_not_arrive_says_so_and_is_asked_for_again() {
    let pages = file("_split_pages.wasm");
    let (site, _study) = Site::with_study(&Plan::small());
    site.fail(&pages, Fault::Status(503), ALWAYS);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=edit"), "failed").await;
    browser.wait_for_text("main [role=alert]", "did not load").await;
    // The others are as usable as ever.
    go_to(&browser, "Ranking").await;
    browser.wait_for_state("ranked").await;
    // Looking at it again asks again, and so does the button.
    go_to(&browser, "Edit").await;
    browser.wait_for_state("failed").await;
    browser.find("#page-again").await.click().await.unwrap();
    browser.wait_for_text("main [role=alert]", "did not load").await;
    site.mend();
    browser.find("#page-again").await.click().await.unwrap();
    browser.find("main#edit #worklist, main#edit section").await;
    browser.wait_for_state("ranked").await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_worker_that_does_not_arrive_is_started_again() {
    let grouping = file("_split_grouping.wasm");
    let folder = tempfile::tempdir().unwrap();
    StaticStudy::make_map_alone(folder.path(), 500);
    let site = Site::beside(folder.path());
    site.fail(&grouping, Fault::Status(503), ALWAYS);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=map"), "failed").await;
    browser.wait_for_text("main", "a part of the app did not arrive").await;
    site.mend();
    browser.find("main button").await;
    let script =
        "[...document.querySelectorAll('main button')].find((button) => button.textContent === 'Try again').click()";
    browser.evaluate(script, vec![]).await;
    browser.wait_for_state("mapped").await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_host_that_does_not_say_what_modules_are_will_do() {
    let folder = tempfile::tempdir().unwrap();
    StaticStudy::make_map_alone(folder.path(), 500);
    let site = Site::beside(folder.path());
    for entry in std::fs::read_dir(app_folder()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".wasm") {
            site.fail(&name, Fault::Untyped, ALWAYS);
        }
    }
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=map"), "mapped").await;
    browser.find("main.map-page").await;
}
