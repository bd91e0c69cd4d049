//! Ranking in Chromium, measured: from the click to the first ranking, to a certified one, to an exact one, with 1 and 4
//! workers; the kernels beside plain JavaScript; the page's own thread; the tab's memory.
//!
//! `bench_ranking FOLDER` serves a study in a static folder (study.json, rows, vectors, index, …) over loopback;
//! `bench_ranking http://…` takes one that is served already, by `whence serve` say; `bench_ranking N_PAIRS D_MODEL` makes
//! one (default 100,000 × 256). Each run has a browser of its own, so nothing is kept from the one before. Needs
//! WHENCE_APP; `cargo xtask bench ranking` sets it.

use std::path::Path;

use serde_json::{Value, json};
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{stated, with_workers};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::Plan;

/// Numbers of scoring workers.
const N_WORKERS: [usize; 2] = [1, 4];
/// Pairs that are wanted.
const K: usize = 100;

/// Times the integer kernel: a scorer of its own scores a block that fits no cache. Arguments: width, rows, repeats.
const KERNEL: &str = "
    const [width, n_rows, n_repeats, done] = arguments;
    const worker = startWorker('whence scorer');
    worker.onmessage = ({ data }) => {
        const post = JSON.parse(data[0]);
        if (post === 'Ready') {
            const call = { number: 1, what: { Kernel: { width, n_rows, n_repeats } } };
            worker.postMessage([JSON.stringify(call)]);
        } else if (post.Answer) {
            worker.terminate();
            done(post.Answer.what.Kernel);
        }
    };";

/// The same dot products as anyone would write them. Arguments: width, rows, repeats. Gives milliseconds.
const PLAIN: &str = "
    const [width, n_rows, n_repeats, done] = arguments;
    const source = `onmessage = () => {
        const [width, n_rows, n_repeats] = [${width}, ${n_rows}, ${n_repeats}];
        const query = Float32Array.from({ length: width }, (_, i) => Math.sin(i));
        const rows = Float32Array.from({ length: width * n_rows }, (_, i) => Math.cos(i));
        const out = new Float32Array(n_rows);
        const score = () => {
            for (let row = 0; row < n_rows; row++) {
                let sum = 0;
                for (let i = 0, at = row * width; i < width; i++, at++) sum += query[i] * rows[at];
                out[row] = sum;
            }
        };
        score();
        const start = performance.now();
        for (let i = 0; i < n_repeats; i++) score();
        postMessage(performance.now() - start);
    }`;
    const worker = new Worker(URL.createObjectURL(new Blob([source])));
    worker.onmessage = ({ data }) => { worker.terminate(); done(data); };
    worker.postMessage(0);";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse::<usize>().ok();
    let (site, address) = match arguments.as_slice() {
        [] => made(100_000, 256),
        [address] if address.starts_with("http") => (None, address.clone()),
        [folder] => served(Path::new(folder)),
        [n_pairs, d_model] => match (number(n_pairs), number(d_model)) {
            (Some(n_pairs), Some(d_model)) => made(n_pairs, d_model),
            _ => panic!("expected FOLDER, an address or N_PAIRS D_MODEL, got {arguments:?}"),
        },
        _ => panic!("expected FOLDER, an address or N_PAIRS D_MODEL, got {arguments:?}"),
    };
    for n_workers in N_WORKERS {
        run(&address, n_workers).await;
    }
    kernels(&address).await;
    drop(site);
}

fn made(n_pairs: usize, d_model: usize) -> (Option<Site>, String) {
    let (site, _) = Site::with_study(&Plan::large(n_pairs, d_model).with_index());
    let address = site.address("");
    (Some(site), address)
}

fn served(folder: &Path) -> (Option<Site>, String) {
    let is_static = folder.join("study.json").is_file();
    assert!(is_static, "{}: expected study.json; give the address of a running whence serve instead", folder.display());
    let site = Site::beside(folder);
    let address = site.address("");
    (Some(site), address)
}

async fn run(address: &str, n_workers: usize) {
    let browser = Browser::start(Screen::DESK).await;
    let version = browser.evaluate("return navigator.userAgent.match(/Chrome\\S+/)[0]", vec![]).await;
    println!("{}, {n_workers} scoring workers, top {K}", version.as_str().unwrap_or("Chromium"));
    println!(
        "  {:<28} {:>10} {:>10} {:>10} {:>11} {:>11} {:>8}",
        "", "first", "certified", "exact", "certified", "exact", "of all"
    );
    let separator = if address.contains('?') { '&' } else { '?' };
    browser.open(&format!("{address}{separator}workers={n_workers}&k={K}"), "ranked").await;
    row(&browser, "first behavior, cold").await;
    let names = "return [...document.querySelectorAll('#behavior option')].map((option) => option.value)";
    let names: Vec<String> = serde_json::from_value(browser.evaluate(names, vec![]).await).unwrap_or_default();
    let start_ms = browser.evaluate("return performance.now()", vec![]).await;
    for name in names.iter().skip(1) {
        let option = browser.find(&format!("#behavior option[value='{name}']")).await;
        option.click().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        browser.find(&format!("body[data-state='ranked'][data-ranked^='{name}/']")).await;
        row(&browser, name).await;
    }
    let longest = "return Math.max(0, ...window.watched.tasks.filter((t) => t[0] > arguments[0]).map((t) => t[1]))";
    let all_ms = browser.evaluate(longest, vec![json!(0)]).await.as_f64().unwrap_or_default();
    let later_ms = browser.evaluate(longest, vec![start_ms]).await.as_f64().unwrap_or_default();
    let task = |ms: f64| if ms == 0.0 { "none over 50 ms".to_owned() } else { format!("{ms:.0} ms") };
    println!("  longest main-thread task: {} from opening the page on, {} after that", task(all_ms), task(later_ms));
    match browser.peak_tab_bytes() {
        Some(n_bytes) => println!("  peak memory of the tab, workers included: {:.0} MB", n_bytes as f64 / 1e6),
        None => println!("  peak memory of the tab: not told by this system"),
    }
    let workers = stated(&browser, "nWorkers").await;
    let score_ms = stated(&browser, "scoreMs").await;
    println!(
        "  scoring took {score_ms:.0} ms on {workers} workers together; ordering {:.0} ms",
        stated(&browser, "orderMs").await
    );
}

async fn row(browser: &Browser, name: &str) {
    let ms = async |name: &str| format!("{:.0} ms", stated(browser, name).await);
    let mb = async |name: &str| format!("{:.2} MB", stated(browser, name).await / 1e6);
    let share = stated(browser, "certifiedBytes").await / stated(browser, "nBytesTotal").await;
    let (first, certified, exact) = (ms("firstMs").await, ms("certifiedMs").await, ms("exactMs").await);
    let (certified_mb, exact_mb) = (mb("certifiedBytes").await, mb("exactBytes").await);
    println!(
        "  {name:<28} {first:>10} {certified:>10} {exact:>10} {certified_mb:>11} {exact_mb:>11} {:>6.1} %",
        share * 100.0
    );
    print_steps(browser).await;
}

/// What each step took, as the details say.
async fn print_steps(browser: &Browser) {
    let script = "return [...document.querySelectorAll('#details dt')].filter((dt) => dt.textContent === 'step')
        .map((dt) => dt.nextElementSibling.textContent)";
    let steps: Vec<String> = serde_json::from_value(browser.evaluate(script, vec![]).await).unwrap_or_default();
    steps.iter().for_each(|step| println!("      {step}"));
}

async fn kernels(address: &str) {
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{address}{}workers=1", if address.contains('?') { '&' } else { '?' }), "ranked").await;
    let d_model = browser.evaluate("return Number(document.getElementById('status').dataset.dModel)", vec![]).await;
    let d_model = d_model.as_u64().filter(|d| *d > 0).unwrap_or(256);
    // About 64 MB of codes, 256 MB of floats: beyond every cache.
    let n_rows = (64 << 20) / d_model;
    println!("kernels, one thread, rows of width {d_model}");
    let run = async |script: &str, n_rows: u64, n_repeats: u64| {
        let arguments = vec![json!(d_model), json!(n_rows), json!(n_repeats)];
        browser
            .page
            .execute_async(with_workers(script), arguments)
            .await
            .map_or(Value::Null, |value| value.json().clone())
    };
    let kernel = run(KERNEL, n_rows, 10).await;
    let (ms, n_bytes) = (kernel["ms"].as_f64().unwrap_or(f64::NAN), kernel["n_bytes"].as_f64().unwrap_or(f64::NAN));
    let ours = n_bytes / d_model as f64 / ms * 1e3;
    println!("  int8, WebAssembly SIMD     {:>8.2} GB/s {:>8.2} M rows/s", n_bytes / ms / 1e6, ours / 1e6);
    let in_cache = run(KERNEL, (256 << 10) / d_model, 2000).await;
    let cached = in_cache["n_bytes"].as_f64().unwrap_or(f64::NAN) / in_cache["ms"].as_f64().unwrap_or(f64::NAN);
    println!("  int8, within a cache       {:>8.2} GB/s", cached / 1e6);
    let ms = run(PLAIN, n_rows, 3).await.as_f64().unwrap_or(f64::NAN);
    let plain = 3.0 * n_rows as f64 / ms * 1e3;
    println!(
        "  plain JavaScript, f32      {:>8.2} GB/s {:>8.2} M rows/s",
        plain * d_model as f64 * 4.0 / 1e9,
        plain / 1e6
    );
    println!("  rows per second, ours / plain: {:.1}", ours / plain);
}
