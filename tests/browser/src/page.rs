//! What tests read off the app's page: the ranking it hands out, its errors, its address.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::static_study::NativeRanking;

/// The app's own way of starting a worker, from what its document links.
const START_WORKER: &str = "
    const startWorker = (name) => {
        const address = (link) => document.querySelector(link).href;
        const worker = new Worker('./worker.js', { type: 'module', name });
        worker.postMessage([address('link[rel=modulepreload]'), address(\"link[rel=preload][href$='.wasm']\")]);
        return worker;
    };";

/// A script that may call `startWorker(name)`.
pub fn with_workers(script: &str) -> String {
    format!("{START_WORKER}{script}")
}

/// A ranking as the page hands it out.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownRanking {
    /// Scores by row, and the order.
    pub ranking: NativeRanking,
    /// By row: how far the true score may be.
    pub radii: Vec<f32>,
    /// By row, as written in CSV.
    pub ids: Vec<String>,
}

/// Reads the CSV that the app hands out. Ids may hold commas and quotes, so the fields are cut from both ends.
///
/// # Panics
///
/// Panics when it is not such a CSV.
pub fn parse_csv(csv: &str) -> ShownRanking {
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("rank,row,id,score,radius"));
    let mut order = Vec::new();
    let mut by_row = Vec::new();
    for (i, line) in lines.enumerate() {
        let mut front = line.splitn(3, ',');
        let rank: usize = front.next().unwrap().parse().unwrap();
        assert_eq!(rank, i + 1);
        let row: u32 = front.next().unwrap().parse().unwrap();
        let (rest, radius) = front.next().unwrap().rsplit_once(',').unwrap();
        let (id, score) = rest.rsplit_once(',').unwrap();
        order.push(row);
        by_row.push((row, id.to_owned(), score.parse::<f32>().unwrap(), radius.parse::<f32>().unwrap()));
    }
    by_row.sort_by_key(|(row, ..)| *row);
    let scores = by_row.iter().map(|(_, _, score, _)| *score).collect();
    let radii = by_row.iter().map(|(.., radius)| *radius).collect();
    let ids = by_row.into_iter().map(|(_, id, ..)| id).collect();
    ShownRanking { ranking: NativeRanking { scores, order }, radii, ids }
}

/// The ranking that the page shows, once it is done with it.
///
/// # Panics
///
/// Panics when it does not get there.
pub async fn ranking_of_page(browser: &Browser, behavior: &str, layer: usize) -> ShownRanking {
    browser.find(&format!("body[data-state='ranked'][data-ranked='{behavior}/layer-{layer}']")).await;
    download(browser, behavior, layer).await
}

/// The ranking that the page shows as it is now.
///
/// # Panics
///
/// Panics when it hands out none.
pub async fn download(browser: &Browser, behavior: &str, layer: usize) -> ShownRanking {
    browser.find("#download:enabled").await.click().await.unwrap();
    parse_csv(&browser.downloaded(&format!("{behavior}-layer-{layer}.csv")).await)
}

/// Whether two rankings are the same to the last bit.
///
/// # Panics
///
/// Panics when they are not.
pub fn assert_same(got: &NativeRanking, expected: &NativeRanking, what: &str) {
    assert_eq!(got.order, expected.order, "{what}: order");
    let bits = |scores: &[f32]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&got.scores), bits(&expected.scores), "{what}: score bits");
}

/// Whether the page met no errors.
///
/// # Panics
///
/// Panics when it did.
pub async fn assert_no_errors(browser: &Browser) {
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "the page met errors: {errors:?}");
}

/// A parameter of the address.
pub async fn query(browser: &Browser, key: &str) -> Value {
    browser.evaluate("return new URLSearchParams(location.search).get(arguments[0])", vec![json!(key)]).await
}

/// A data attribute of the status line, as a number; NaN when it is not stated.
pub async fn stated(browser: &Browser, name: &str) -> f64 {
    let script = "return Number(document.getElementById('status').dataset[arguments[0]] || 'NaN')";
    browser.evaluate(script, vec![json!(name)]).await.as_f64().unwrap_or(f64::NAN)
}
