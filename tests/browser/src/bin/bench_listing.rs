//! `bench_listing [N_PAIRS]`: how fast the app's ranking page answers, in real Chromium, over a study made for it (378,341 pairs
//! unless told otherwise): filters, orders and searches, and scrolling the table.

use std::time::Duration;

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::Plan;

/// Times what changes the number of shown pairs: until it is first said anew, and until it stays as it is. Searches that go on
/// say so in the same place.
const TIME: &str = "
    (async () => {
        const said = () => document.getElementById('n-shown').textContent;
        const shown = () => said() + [...document.querySelectorAll('#rows .rank')].map((rank) => rank.textContent);
        const frame = () => new Promise(requestAnimationFrame);
        const before = shown();
        const start = performance.now();
        ACT;
        while (shown() === before && performance.now() - start < 60000) await frame();
        const first = performance.now() - start;
        while (/searched|Reading/.test(said())) await frame();
        return [first, performance.now() - start, Number(document.querySelector('.filter-bar').dataset.tookMs), said()];
    })()";

/// Type something, as one input event.
fn typing(text: &str) -> String {
    let text = json!(text);
    format!(
        "const input = document.getElementById('text-filter'); input.value = {text};
         input.dispatchEvent(new Event('input', {{ bubbles: true }}))"
    )
}

const SCROLL: &str = "
    (async () => {
        const rows = document.getElementById('rows');
        const gaps = [];
        let last = performance.now();
        for (let i = 0; i < 180; i++) {
            rows.scrollTop += 240;
            await new Promise(requestAnimationFrame);
            gaps.push(performance.now() - last);
            last = performance.now();
        }
        gaps.sort((a, b) => a - b);
        return [gaps[90], gaps[171], gaps[179]];
    })()";

async fn evaluate(browser: &Browser, expression: &str) -> serde_json::Value {
    let ask = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
    browser.cdp("Runtime.evaluate", ask).await["result"]["value"].clone()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let n_pairs = std::env::args().nth(1).map_or(378_341, |n| n.parse().expect("a number of pairs"));
    println!("making a study of {n_pairs} pairs…");
    let (site, _) = Site::with_study(&Plan::large(n_pairs, 16));
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery"), "ranked").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let scroll = evaluate(&browser, SCROLL).await;
    println!("scrolling: frame of {:.0} ms (median), {:.0} (95 %), {:.0} (longest)", scroll[0], scroll[1], scroll[2]);
    println!("{:<44} {:>12} {:>12} {:>14}", "", "first answer", "all of it", "of that, list");
    let clear = "document.getElementById('clear-filters').click()".to_owned();
    let header = |class: &str| format!("document.querySelector('[role=columnheader].{class} button').click()");
    let source = "document.querySelector('.sources li button').click()".to_owned();
    let steps: [(&str, String); 12] = [
        ("a source (the columns are fetched first)", source.clone()),
        ("show all", clear.clone()),
        ("a source", source),
        ("the same ordered by length", header("chars")),
        ("all, ordered by length", clear.clone()),
        ("by rank again", header("rank")),
        ("contains, the first time (reads all rows)", typing("violin")),
        ("contains", typing("violins")),
        ("contains", typing("a kite")),
        ("pattern", format!("document.getElementById('regex').click(); {}", typing("^explain how (a kite|glass)"))),
        ("pattern that matches nothing", typing("z{3}$")),
        ("show all", clear),
    ];
    for (name, act) in steps {
        let times = evaluate(&browser, &TIME.replace("ACT", &act)).await;
        let ms = |i: usize| format!("{:.0} ms", times[i].as_f64().unwrap_or(f64::NAN));
        println!("{name:<44} {:>12} {:>12} {:>14}   {}", ms(0), ms(1), ms(2), times[3].as_str().unwrap_or_default());
    }
}
