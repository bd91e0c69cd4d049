//! The app in Chromium, measured: bytes to download, time until it is seen and answers, and the frames of the map.
//!
//! `bench_app` prints what `cargo xtask bench app` is to show, beside the budgets; over budget it ends with an error. Studies are made
//! up. Needs WHENCE_APP; `cargo xtask bench app` sets it. `bench_app map N_PAIRS` measures the map alone, `bench_app
//! grouping N_PAIRS` k-means alone, `bench_app download` the bytes.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde_json::{Value, json};
use whence_browser_tests::browser::{Browser, Graphics, Screen};
use whence_browser_tests::site::{Site, app_folder};
use whence_browser_tests::static_study::{Plan, StaticStudy};

/// Pairs of the full-size study.
const N_PAIRS: usize = 378_341;
/// Times that the app is opened.
const N_OPENINGS: usize = 5;
/// Frames of each way to move.
const N_FRAMES: usize = 240;

/// Most kilobytes of WebAssembly and JavaScript until the ranking stands, compressed.
const MAX_DOWNLOAD_KB: f64 = 700.0;
/// Most milliseconds until something is seen, and until the page answers with its ranking.
const MAX_SEEN_MS: f64 = 1000.0;
const MAX_ANSWERS_MS: f64 = 1500.0;
/// Most milliseconds for k-means over all pairs of the full-size study.
const MAX_GROUPING_MS: f64 = 3000.0;
/// Groups that it makes.
const N_GROUPS: usize = 64;
/// Longest frame in milliseconds where no graphics processor draws.
const MAX_FRAME_MS: f64 = 33.4;

/// Runs before any script of a page: when the page came into which state.
const STATES: &str = "
    window.states = {};
    addEventListener('DOMContentLoaded', () => {
        const note = () => { window.states[document.body.dataset.state] ??= performance.now(); };
        new MutationObserver(note).observe(document.body, { attributes: true, attributeFilter: ['data-state'] });
    });";

/// Compresses files as most servers would. Arguments: their names. Gives bytes of each as they are and compressed.
const COMPRESS: &str = "
    const [names, done] = arguments;
    const size = async (name) => {
        const bytes = await (await fetch(name)).arrayBuffer();
        const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('gzip'));
        return [bytes.byteLength, (await new Response(stream).arrayBuffer()).byteLength];
    };
    Promise.all(names.map(size)).then(done);";

/// Moves the map a little in every frame. Arguments: how, and how many frames. Gives milliseconds between frames and, of each,
/// those that the page's thread was at work in its frame callbacks.
const FRAMES: &str = "
    const [how, n_frames, done] = arguments;
    const map = document.getElementById('map');
    const { left, top, width, height } = map.getBoundingClientRect();
    const middle = { clientX: left + width / 2, clientY: top + height / 2 };
    const own = window.requestAnimationFrame.bind(window);
    let work = 0;
    window.requestAnimationFrame = (callback) => own((time) => {
        const start = performance.now();
        callback(time);
        work += performance.now() - start;
    });
    const pointer = (type, n) => map.dispatchEvent(new PointerEvent(type, {
        bubbles: true, cancelable: true, pointerId: 1, button: type === 'pointermove' ? -1 : 0, buttons: 1,
        clientX: middle.clientX + 160 * Math.sin(n / 20), clientY: middle.clientY + 90 * Math.sin(n / 27),
    }));
    const wheel = (n) => map.dispatchEvent(new WheelEvent('wheel', {
        bubbles: true, cancelable: true, deltaY: n % 120 < 60 ? -40 : 40, ...middle,
    }));
    const times = [], works = [];
    let last = 0, n = 0;
    if (how === 'pan') pointer('pointerdown', 0);
    const step = (time) => {
        if (n > 0) { times.push(time - last); works.push(work); }
        [last, work] = [time, 0];
        if (n === n_frames) {
            if (how === 'pan') pointer('pointerup', n);
            window.requestAnimationFrame = own;
            return done([times, works]);
        }
        n += 1;
        how === 'pan' ? pointer('pointermove', n) : wheel(n);
        own(step);
    };
    own(step);";

/// What was measured beside what it may be at most.
struct Figures {
    is_over: bool,
}

impl Figures {
    fn print(&mut self, what: &str, value: f64, unit: &str, budget: f64) {
        let is_over = value > budget;
        self.is_over |= is_over;
        let verdict = if is_over { "OVER" } else { "within" };
        println!("  {what:<44} {value:>8.1} {unit}   {verdict} the budget of {budget} {unit}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let n_pairs = |text: &String| text.parse().unwrap_or_else(|_| panic!("expected a number of pairs, got {text:?}"));
    let mut figures = Figures { is_over: false };
    match arguments.as_slice() {
        [] => {
            download(&mut figures).await;
            opening(&mut figures).await;
            map(&mut figures, N_PAIRS).await;
            grouping(&mut figures, N_PAIRS).await;
        }
        [only] if only == "download" => download(&mut figures).await,
        [only, n] if only == "grouping" => grouping(&mut figures, n_pairs(n)).await,
        [only, n] if only == "map" => map(&mut figures, n_pairs(n)).await,
        _ => panic!("expected nothing, `download`, `map N_PAIRS` or `grouping N_PAIRS`, got {arguments:?}"),
    }
    if figures.is_over { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn download(figures: &mut Figures) {
    let entries = std::fs::read_dir(app_folder()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".wasm") || name.ends_with(".js")).collect();
    names.sort();
    let (site, _study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    site.take_asked();
    browser.open(&site.address("?view=ranking"), "ranked").await;
    let first: BTreeSet<String> = site.take_asked().into_iter().map(|asked| asked.path).collect();
    let sizes = browser.page.execute_async(COMPRESS, vec![json!(names)]).await.expect("Chromium compresses");
    let sizes: Vec<[f64; 2]> = serde_json::from_value(sizes.json().clone()).unwrap();
    let packed_bytes = |name: &String| {
        let packed = app_folder().join(format!("{name}.br"));
        std::fs::metadata(&packed).unwrap_or_else(|error| panic!("{}: {error}", packed.display())).len() as f64
    };
    println!("WebAssembly and JavaScript, kB: as they are, by gzip, by brotli as `whence serve` sends them");
    let mut sums = [[0.0; 2]; 2];
    for (name, [whole, gzip]) in names.iter().zip(&sizes) {
        let (is_first, brotli) = (first.contains(name), packed_bytes(name));
        let when = if is_first { "before the ranking stands" } else { "later" };
        println!("  {name:<52} {:>7.1} {:>7.1} {:>7.1}   {when}", whole / 1e3, gzip / 1e3, brotli / 1e3);
        for (sum, bytes) in sums[usize::from(is_first)].iter_mut().zip([gzip, &brotli]) {
            *sum += bytes / 1e3;
        }
    }
    let [[later_gzip, later_brotli], [first_gzip, first_brotli]] = sums;
    println!("  {:<44} {:>8.1} kB", "all, gzip", first_gzip + later_gzip);
    println!("  {:<44} {:>8.1} kB", "all, brotli", first_brotli + later_brotli);
    println!("  {:<44} {first_gzip:>8.1} kB", "before the ranking stands, gzip");
    figures.print("before the ranking stands, brotli", first_brotli, "kB", MAX_DOWNLOAD_KB);
}

async fn opening(figures: &mut Figures) {
    let (site, _study) = Site::with_study(&Plan::small());
    let (mut seen, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..N_OPENINGS {
        let browser = Browser::start(Screen::DESK).await;
        browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": STATES })).await;
        browser.open(&site.address("?view=ranking"), "ranked").await;
        let script = "
            const painted = performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN;
            const busy = window.watched.tasks.map(([start, ms]) => start + ms).filter((end) => end < window.states.ranked + 50);
            return [painted, Math.max(window.states.ranked, ...busy)];";
        let times: Vec<f64> = serde_json::from_value(browser.evaluate(script, vec![]).await).unwrap();
        seen.push(times[0]);
        answers.push(times[1]);
    }
    println!("opening a study of 5,000 pairs over loopback, nothing kept, median of {N_OPENINGS}");
    figures.print("first seen", percentile(&mut seen, 0.5), "ms", MAX_SEEN_MS);
    figures.print("ranked, and the page answers", percentile(&mut answers, 0.5), "ms", MAX_ANSWERS_MS);
}

async fn map(figures: &mut Figures, n_pairs: usize) {
    let folder = tempfile::tempdir().unwrap();
    StaticStudy::make_map_alone(folder.path(), n_pairs);
    let site = Site::beside(folder.path());
    for (graphics, name, n_frames, budget) in [
        (Graphics::None, "no graphics processor", N_FRAMES, MAX_FRAME_MS),
        // For comparison: the app does not choose it by itself, because it is slow.
        (Graphics::Software, "WebGL by the processor", 12, f64::INFINITY),
    ] {
        let browser = Browser::start_with(Screen::DESK, graphics).await;
        let draw = if graphics == Graphics::None { "" } else { "&draw=webgl" };
        browser.open(&site.address(&format!("?view=map&color=cluster:clumps{draw}")), "mapped").await;
        browser.find("#legend button").await;
        let drawn = browser.evaluate("return document.getElementById('map').dataset.drawn", vec![]).await;
        let script = "return window.watched.tasks.map(([, ms]) => ms)";
        let mut opening: Vec<f64> = serde_json::from_value(browser.evaluate(script, vec![]).await).unwrap();
        println!("map of {n_pairs} pairs, {name}, drawn by {}, 1440 × 900", drawn.as_str().unwrap_or("?"));
        println!("  {:<44} {:>8.1} ms", "longest task while opening", percentile(&mut opening, 1.0));
        for how in ["pan", "zoom"] {
            // Once to warm up: wasm is compiled better after a while.
            frames(&browser, how, n_frames / 4).await;
            let [mut times, mut works] = frames(&browser, how, n_frames).await;
            let of = |values: &mut [f64]| [0.5, 0.95, 0.99].map(|share| percentile(values, share));
            let ([t50, t95, t99], [w50, w95, w99]) = (of(&mut times), of(&mut works));
            println!(
                "  {how}: frames  p50 {t50:.1}  p95 {t95:.1}  p99 {t99:.1} ms, of it at work {w50:.1}, {w95:.1}, {w99:.1} ms"
            );
            if budget.is_finite() {
                figures.print(&format!("{how}: longest frame"), percentile(&mut times, 1.0), "ms", budget);
            } else {
                println!("  {:<44} {:>8.1} ms", format!("{how}: longest frame"), percentile(&mut times, 1.0));
            }
        }
    }
}

/// k-means over the first 64 dimensions of all pairs, by the workers of the Map page.
async fn grouping(figures: &mut Figures, n_pairs: usize) {
    let (site, _study) = Site::with_study(&Plan::large(n_pairs, 64).with_index());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=map&color=none"), "mapped").await;
    let script = "
        const [k, done] = arguments;
        const color = document.getElementById('color');
        const start = performance.now();
        const legend = document.getElementById('legend');
        new MutationObserver((_, observer) => {
            const remark = legend.querySelector('.remark');
            if (!remark) return;
            observer.disconnect();
            const [, rounds] = remark.textContent.match(/after (\\d+) rounds?/);
            const [, time, unit] = remark.textContent.match(/([\\d.]+) (m?s) in/);
            done([performance.now() - start, (unit === 's' ? 1000 : 1) * Number(time), Number(rounds)]);
        }).observe(legend, { childList: true, subtree: true });
        const option = [...color.options].find(({ value }) => value.startsWith('groups:'));
        option.value = `groups:${k}`;
        color.value = option.value;
        color.dispatchEvent(new Event('change', { bubbles: true }));";
    let answer = browser.page.execute_async(script, vec![json!(N_GROUPS)]).await.expect("the pairs are grouped");
    let [all_ms, ms, n_rounds]: [f64; 3] = serde_json::from_value(answer.json().clone()).unwrap();
    println!("k-means, k = {N_GROUPS}, over {n_pairs} × 64 by four workers, {n_rounds} rounds");
    println!("  {:<44} {all_ms:>8.1} ms", "from the click, reading 29 MB included");
    figures.print("all rounds", ms, "ms", MAX_GROUPING_MS);
}

async fn frames(browser: &Browser, how: &str, n_frames: usize) -> [Vec<f64>; 2] {
    let answer = browser.page.execute_async(FRAMES, vec![json!(how), json!(n_frames)]).await.expect("frames are drawn");
    let both: Value = answer.json().clone();
    serde_json::from_value(both).expect("times of frames")
}

/// The value below which a share of the values lie; sorts them.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (share * values.len() as f64) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
