//! The Jobs page over a real `whence serve`: verbs are started, followed, cancelled and retried, and what they make appears on the
//! other pages; a backend that goes away and comes back; pages without one.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{assert_no_errors, query};
use whence_browser_tests::served::{BEHAVIOR, Served, stored, study};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::Plan;
use whence_shared::jobs::VERBS;

/// Chooses a verb, as a person does.
async fn choose(browser: &Browser, verb: &str) {
    browser.find(&format!("#job-verb option[value='{verb}']")).await.click().await.unwrap();
    browser.wait_for_text("#start", &format!("Start {verb}")).await;
}

/// Types into a field that is empty.
async fn fill(browser: &Browser, selector: &str, text: &str) {
    browser.find(selector).await.send_keys(text).await.unwrap();
}

/// Presses what starts a job and waits until it is in the queue.
async fn start(browser: &Browser, id: u64) {
    browser.find("#start:enabled").await.click().await.unwrap();
    browser.wait_for_text("#start-outcome", &format!("Job {id} is in the queue.")).await;
    browser.find(&format!("#job-{id}")).await;
}

async fn wait_for(browser: &Browser, id: u64, state: &str) {
    browser.find(&format!("#job-{id}[data-state='{state}']")).await;
}

async fn press(browser: &Browser, selector: &str) {
    browser.find(selector).await.click().await.unwrap();
}

async fn text(browser: &Browser, selector: &str) -> String {
    let script = "return document.querySelector(arguments[0])?.textContent ?? ''";
    browser.evaluate(script, vec![json!(selector)]).await.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_verb_is_started_and_followed_and_its_result_appears_without_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?view=map", served.address), "mapped").await;
    browser.evaluate("window.wasNotReloaded = true", vec![]).await;
    let has_clusters = "return !!document.querySelector('#color option[value=\"cluster:clumps\"]')";
    assert_eq!(browser.evaluate(has_clusters, vec![]).await, json!(false));
    press(&browser, ".pages a[href*='view=jobs']").await;
    browser.wait_for_state("ready").await;
    browser.wait_for_text("#no-jobs", "No job was started yet").await;

    let offered = "return [...document.querySelectorAll('#job-verb option')].map((option) => option.value)";
    let mut offered: Vec<String> = serde_json::from_value(browser.evaluate(offered, vec![]).await).unwrap();
    let mut expected: Vec<String> = VERBS.map(str::to_owned).to_vec();
    offered.sort();
    expected.sort();
    assert_eq!(offered, expected, "every verb that can be a job, and no other");

    choose(&browser, "cluster").await;
    fill(&browser, "#job--name", "clumps").await;
    press(&browser, "#job--layer option[value='1']").await;
    fill(&browser, "#job-k", "3").await;
    let line = "whence cluster --study study --name clumps --layer 1 -k 3 --method kmeans";
    browser.wait_for_text("#job-command", line).await;
    start(&browser, 1).await;
    wait_for(&browser, 1, "done").await;
    assert_eq!(query(&browser, "job").await, json!("1"), "its log is opened, and the address says so");
    browser.wait_for_text("#log-text", "stored in").await;
    browser.wait_for_text("#log-end", "That is all it printed.").await;
    let said = text(&browser, "#log-text").await;
    let command = text(&browser, ".command code").await;
    assert!(said.starts_with(&format!("$ {command}\n")), "{said}");
    assert!(command.ends_with("--name clumps --layer 1 -k 3 --method kmeans"), "{command}");
    assert!(study.join("clusters/clumps/pairs.json").is_file());

    press(&browser, ".pages a[href*='view=map']").await;
    browser.find("#color option[value='cluster:clumps']").await.click().await.unwrap();
    browser.wait_until("return document.querySelectorAll('#legend li').length === 3", vec![]).await;
    assert_eq!(browser.evaluate("return window.wasNotReloaded", vec![]).await, json!(true));

    // The address shows the same log to whoever opens it.
    browser.open(&format!("{}?view=jobs&job=1&start=rank", served.address), "ready").await;
    browser.wait_for_text("#log-text", "stored in").await;
    browser.wait_for_text("#start", "Start rank").await;
    browser.wait_for_text("#job-command", &format!("--behavior {BEHAVIOR}")).await;
    press(&browser, "#close-log").await;
    browser.wait_until("return !document.getElementById('log')", vec![]).await;
    assert_eq!(query(&browser, "job").await, Value::Null);
    assert_no_errors(&browser).await;
}

/// A job that runs until [`release`] is called: it reads known culprits from a pipe.
fn pipe(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("culprits.jsonl");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

fn release(pipe: &Path, study: &Path) {
    OpenOptions::new().write(true).open(pipe).unwrap().write_all(culprits(study).as_bytes()).unwrap();
}

/// Known culprits as `whence rank --truth` reads them: of the ranking's first ten pairs it is said.
fn culprits(study: &Path) -> String {
    let line = |(rank, _, id, _): (u32, u32, String, u32)| format!("{}\n", json!({ "id": id, "culprit": rank <= 10 }));
    stored(study, 1).into_iter().map(line).collect()
}

#[tokio::test]
async fn jobs_wait_for_their_device_and_are_cancelled_and_retried() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let pipe = pipe(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?view=jobs&start=rank", served.address), "ready").await;
    press(&browser, "#job--layer option[value='1']").await;
    fill(&browser, "#job-more", &format!("--truth {}", pipe.display())).await;
    start(&browser, 1).await;
    wait_for(&browser, 1, "running").await;
    browser.wait_for_text("#job-counts", "1 running").await;

    choose(&browser, "diagnose").await;
    start(&browser, 2).await;
    wait_for(&browser, 2, "queued").await;
    browser.wait_for_text("#job-2", "Waits for cpu, where job 1 runs.").await;
    press(&browser, "#job-2 .cancel").await;
    wait_for(&browser, 2, "cancelled").await;
    press(&browser, "#job-2 .retry").await;
    wait_for(&browser, 2, "queued").await;

    // The log grows under the reader's eyes.
    press(&browser, "#job-1 .job-title").await;
    browser.wait_for_text("#log-text", "$ whence rank").await;
    browser.wait_for_text("#log-end", "It is read on as it grows.").await;
    release(&pipe, &study);
    browser.wait_for_text("#log-text", "stored in").await;
    wait_for(&browser, 1, "done").await;
    wait_for(&browser, 2, "done").await;
    browser.wait_for_text("#job-counts", "nothing under way").await;

    // One that runs is ended in the middle.
    choose(&browser, "rank").await;
    start(&browser, 3).await;
    wait_for(&browser, 3, "running").await;
    press(&browser, "#job-3 .cancel").await;
    wait_for(&browser, 3, "cancelled").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_failed_job_says_why_and_succeeds_when_it_is_retried_and_refusals_stand_beside_the_form() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let truth = folder.path().join("truth.jsonl");
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?view=jobs&start=rank", served.address), "ready").await;
    fill(&browser, "#job-more", &format!("--truth {}", truth.display())).await;
    start(&browser, 1).await;
    wait_for(&browser, 1, "failed").await;
    browser.wait_for_text("#job-1 .job-error", "truth.jsonl").await;
    fs::write(&truth, culprits(&study)).unwrap();
    press(&browser, "#job-1 .retry").await;
    wait_for(&browser, 1, "done").await;
    browser.wait_for_text("#job-1 .job-when", "try 2").await;
    assert_eq!(text(&browser, "#job-1 .job-error").await, "", "nothing is wrong any more");

    let more = browser.find("#job-more").await;
    more.clear().await.unwrap();
    more.send_keys("'not closed").await.unwrap();
    browser.wait_for_text("#start-outcome", "is not closed").await;
    browser.find("#start:disabled").await;
    more.clear().await.unwrap();
    more.send_keys("--study other").await.unwrap();
    press(&browser, "#start:enabled").await;
    browser.wait_for_text("#start-outcome", "leave it out, jobs run on the study that is served").await;
    assert_eq!(text(&browser, ".job-list").await.matches("rank").count(), 1, "nothing was queued");

    // What must be said is asked for by the browser before anything is sent.
    choose(&browser, "evaluate").await;
    press(&browser, "#start:enabled").await;
    browser.find("#job--measures:invalid").await;
    assert_eq!(text(&browser, "#start-outcome").await, "");
}

#[tokio::test]
async fn a_backend_that_goes_away_is_missed_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let pipe = pipe(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?view=jobs&start=rank", served.address), "ready").await;
    fill(&browser, "#job-more", &format!("--truth {}", pipe.display())).await;
    start(&browser, 1).await;
    wait_for(&browser, 1, "running").await;
    browser.evaluate("window.wasNotReloaded = true", vec![]).await;
    let port = served.port();
    drop(served);
    browser.wait_for_text("#jobs-news", "The backend does not answer").await;
    wait_for(&browser, 1, "running").await;
    press(&browser, "#start:enabled").await;
    browser.wait_for_text("#start-outcome", "does not answer").await;

    let _served = Served::start_at(&study, port);
    wait_for(&browser, 1, "interrupted").await;
    browser.wait_until("return !document.getElementById('jobs-news').textContent.trim()", vec![]).await;
    press(&browser, "#job-1 .retry").await;
    wait_for(&browser, 1, "running").await;
    release(&pipe, &study);
    wait_for(&browser, 1, "done").await;
    assert_eq!(browser.evaluate("return window.wasNotReloaded", vec![]).await, json!(true));
}

#[tokio::test]
async fn without_a_backend_that_runs_jobs_there_is_no_link_and_the_address_says_what_to_do() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::HAND).await;
    let has_link = "return !!document.querySelector(\".pages a[href*='view=jobs']\")";
    browser.open(&site.address("?view=jobs"), "empty").await;
    browser.wait_for_text("#jobs .notice", "whence serve --study").await;
    assert_eq!(browser.evaluate(has_link, vec![]).await, json!(false));
    assert_no_errors(&browser).await;

    // Open to the network, a server runs jobs only when told to.
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start_with(&study, &["--port", "0", "--host", "0.0.0.0"]);
    browser.open(&format!("{}?view=jobs", served.address), "empty").await;
    browser.wait_for_text("#jobs .notice", "--jobs").await;
    assert_eq!(browser.evaluate(has_link, vec![]).await, json!(false));

    // With one, the links of all pages are there, and scroll within the width of a phone.
    drop(served);
    let served = Served::start(&study);
    browser.open(&format!("{}?view=jobs", served.address), "ready").await;
    assert_eq!(browser.evaluate(has_link, vec![]).await, json!(true));
    let fits = "return document.documentElement.scrollWidth <= innerWidth && document.querySelectorAll('.pages a').length === 8";
    assert_eq!(browser.evaluate(fits, vec![]).await, json!(true));
    assert_no_errors(&browser).await;
}
