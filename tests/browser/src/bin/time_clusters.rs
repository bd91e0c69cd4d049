//! Times clustering in Chromium, in a worker of the app: `time_clusters ROWS.f32 WIDTH REPEATS ward`, or `… kmeans K ITERATIONS`.
//!
//! Prints a JSON line: milliseconds of every repetition, the result of the last (heights of merges, or labels), and the
//! browser's version. `cargo xtask bench cluster` calls it beside scipy and scikit-learn; needs WHENCE_APP.

use std::fs;
use std::path::Path;

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::with_workers;
use whence_browser_tests::site::Site;

/// Arguments: the call. Gives the worker's answer.
const CALL: &str = "
    const [what, done] = arguments;
    const worker = startWorker('whence grouper');
    worker.onerror = ({ message }) => done({ Failed: message });
    worker.onmessage = ({ data }) => {
        const post = JSON.parse(data[0]);
        if (post === 'Ready') {
            worker.postMessage([JSON.stringify({ number: 1, what })]);
        } else if (post.Answer) {
            worker.terminate();
            done(post.Answer.what);
        }
    };";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |text: &String| -> usize { text.parse().unwrap_or_else(|_| panic!("expected a number, got {text:?}")) };
    let (rows, width, n_repeats, method) = match arguments.as_slice() {
        [rows, width, repeats, method] if method == "ward" => (rows, number(width), number(repeats), json!("Ward")),
        [rows, width, repeats, method, k, iterations] if method == "kmeans" => {
            let method = json!({"Kmeans": {"k": number(k), "n_iterations": number(iterations)}});
            (rows, number(width), number(repeats), method)
        }
        _ => panic!("expected ROWS.f32 WIDTH REPEATS ward, or … kmeans K ITERATIONS, got {arguments:?}"),
    };
    let folder = tempfile::tempdir().unwrap();
    fs::copy(Path::new(rows), folder.path().join("rows.f32")).unwrap_or_else(|error| panic!("{rows}: {error}"));
    let site = Site::beside(folder.path());
    let browser = Browser::start(Screen::DESK).await;
    // There is no study here: the page says so, and its worker needs none.
    browser.open(&site.address(""), "failed").await;
    let data = site.address("data/");
    let timed = json!({"data": data, "path": "rows.f32", "width": width, "method": method, "n_repeats": n_repeats});
    let answer =
        browser.page.execute_async(with_workers(CALL), vec![json!({"Time": timed})]).await.expect("the worker answers");
    let answer = answer.json();
    let [times_ms, result] = [0, 1].map(|i| answer["Timed"][i].clone());
    assert!(times_ms.is_array(), "the worker answered {answer}");
    let version = browser.evaluate("return navigator.userAgent.match(/Chrome\\S+/)[0]", vec![]).await;
    println!("{}", json!({"ms": times_ms, "result": result, "version": version}));
}
