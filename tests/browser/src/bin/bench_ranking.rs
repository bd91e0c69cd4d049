//! Ranking speed in Chromium beside native code: the same files, the same functions, one thread each.
//!
//! Makes a study of 100,000 pairs with 256 wide f32 vectors (or `N_PAIRS D_MODEL` from the command line), opens it from
//! a static host, ranks it by turns with two behaviors so that no download is timed, and prints medians. Needs
//! WHENCE_APP; `cargo xtask bench ranking` sets it.

use std::fs;
use std::time::Instant;

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::{Plan, StaticStudy};
use whence_shared::rank;
use whence_shared::shard::Shard;

const N_REPEATS: usize = 7;

/// Milliseconds of one ranking.
#[derive(Clone, Copy)]
struct Timing {
    score_ms: f64,
    order_ms: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<usize>());
    let mut next = |default| match numbers.next() {
        None => default,
        Some(Ok(number)) => number,
        Some(Err(error)) => panic!("expected N_PAIRS D_MODEL, got something else: {error}"),
    };
    let (n_pairs, d_model) = (next(100_000), next(256));
    println!("{n_pairs} pairs × {d_model} f32, one thread, median of {N_REPEATS}");
    let (site, study) = Site::with_study(&Plan::large(n_pairs, d_model));
    let n_bytes: u64 = study.view.layers[0].shards.iter().map(|shard| shard.n_bytes).sum();

    let native = native(&study);
    let browser = Browser::start(Screen::DESK).await;
    let version = browser.evaluate("return navigator.userAgent.match(/Chrome\\S+/)[0]", vec![]).await;
    browser.open(&site.address(""), "ranked").await;
    let total_ms = number(&browser, "totalMs").await;
    let version = version.as_str().unwrap_or("Chromium");
    println!("  {version}: first ranking after {total_ms:.0} ms, download and SHA-256 included");
    let start_ms = browser.evaluate("return performance.now()", vec![]).await;
    browser.cdp("Performance.enable", json!({ "timeDomain": "threadTicks" })).await;
    let before_ms = main_thread_ms(&browser).await;
    let in_browser = in_browser(&browser).await;
    let busy_ms = (main_thread_ms(&browser).await - before_ms) / N_REPEATS as f64;
    print("browser", in_browser, n_pairs, n_bytes);
    print("native", native, n_pairs, n_bytes);
    let slowdown = (in_browser.score_ms + in_browser.order_ms) / (native.score_ms + native.order_ms);
    println!("  browser / native time: {slowdown:.2}");
    let script = "return Math.max(0, ...window.watched.tasks.filter((t) => t[0] > arguments[0]).map((t) => t[1]))";
    let longest_ms = browser.evaluate(script, vec![start_ms]).await.as_f64().unwrap_or_default();
    println!(
        "  the page's own thread: {busy_ms:.1} ms of CPU per ranking, the benchmark's clicks and questions included"
    );
    if longest_ms == 0.0 {
        println!("  no main-thread task over 50 ms while ranking");
    } else {
        println!("  longest main-thread task while ranking: {longest_ms:.0} ms of wall time");
    }
}

fn print(what: &str, timing: Timing, n_pairs: usize, n_bytes: u64) {
    let ms = timing.score_ms + timing.order_ms;
    println!(
        "  {what:<8} {:>7.1} ms scores + {:>5.1} ms order = {:>6.2} M rows/s; scores read {:>5.2} GB/s",
        timing.score_ms,
        timing.order_ms,
        n_pairs as f64 / ms / 1e3,
        n_bytes as f64 / timing.score_ms / 1e6
    );
}

fn median(mut timings: Vec<Timing>) -> Timing {
    timings.sort_by(|a, b| (a.score_ms + a.order_ms).total_cmp(&(b.score_ms + b.order_ms)));
    timings[timings.len() / 2]
}

fn native(study: &StaticStudy) -> Timing {
    let layer = &study.view.layers[0];
    let shards: Vec<Vec<u8>> = layer.shards.iter().map(|shard| fs::read(study.path(&shard.path)).unwrap()).collect();
    let behavior = format!("behaviors/{}/layer-{}.safetensors", study.view.behaviors[0].name, layer.layer);
    let file = fs::read(study.path(&behavior)).unwrap();
    let direction = Shard::parse(&file).unwrap().direction.unwrap();
    let once = |_| {
        let start = Instant::now();
        let scores: Vec<f32> =
            shards.iter().flat_map(|bytes| rank::score_shard(&Shard::parse(bytes).unwrap(), &direction)).collect();
        let score_ms = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        let order = rank::order(&scores);
        assert_eq!(order.len(), layer.n_rows);
        Timing { score_ms, order_ms: start.elapsed().as_secs_f64() * 1e3 }
    };
    median((0..N_REPEATS).map(once).collect())
}

async fn in_browser(browser: &Browser) -> Timing {
    let mut timings = Vec::new();
    for repeat in 0..N_REPEATS {
        let behavior = ["obeys-when-formatted", "flattery"][repeat % 2];
        browser.find(&format!("#behavior option[value='{behavior}']")).await.click().await.unwrap();
        browser.find(&format!("body[data-state='ranked'][data-ranked='{behavior}/layer-2']")).await;
        browser.wait_for_text("#status", "from memory").await;
        timings.push(Timing { score_ms: number(browser, "scoreMs").await, order_ms: number(browser, "orderMs").await });
    }
    median(timings)
}

/// CPU time that the page's thread has spent in tasks, in milliseconds.
async fn main_thread_ms(browser: &Browser) -> f64 {
    let metrics = browser.cdp("Performance.getMetrics", json!({})).await;
    let mut all = metrics["metrics"].as_array().into_iter().flatten();
    let found = all.find(|metric| metric["name"] == "TaskDuration").and_then(|metric| metric["value"].as_f64());
    1e3 * found.unwrap_or_else(|| panic!("Chromium states no TaskDuration: {metrics}"))
}

async fn number(browser: &Browser, name: &str) -> f64 {
    let script = "return Number(document.getElementById('status').dataset[arguments[0]])";
    let ms = browser.evaluate(script, vec![json!(name)]).await.as_f64();
    ms.filter(|ms| *ms > 0.0).unwrap_or_else(|| panic!("the status line states no {name}"))
}
