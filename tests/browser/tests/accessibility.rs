//! What assistive technology is told, on every page in both themes: checked by hand-written rules, and by axe-core where
//! `WHENCE_AXE` names its `axe.min.js` (`cargo xtask setup` fetches it from the npm registry; it is not ours to commit).

use serde_json::json;
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::served::{Served, study};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::{Plan, StaticStudy};

/// What assistive technology needs of a page, checked by hand: every control has a name, every picture a text, ids are unique,
/// references lead somewhere, headings and landmarks are there, and nothing focusable hides from readers.
const CHECKS: &str = "
    const faults = [];
    const shown = (e) => e.checkVisibility ? e.checkVisibility() : e.offsetParent !== null;
    const text = (id) => document.getElementById(id)?.textContent.trim();
    const name = (e) => (e.getAttribute('aria-label') || (e.getAttribute('aria-labelledby') || '').split(' ').map(text).join(' ')
        || [...(e.labels || [])].map((l) => l.textContent).join(' ') || e.textContent || e.title || '').trim();
    const say = (what, e) => faults.push(`${what}: ${e.outerHTML.slice(0, 140)}`);
    for (const e of document.querySelectorAll('button, a[href], input, select, textarea, summary, [role=img], [role=grid], main, dialog[open], section[aria-label], [role=option]'))
        if (shown(e) && !name(e)) say('no name', e);
    const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
    for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) faults.push(`id twice: ${id}`);
    for (const attribute of ['aria-labelledby', 'aria-controls', 'aria-describedby'])
        for (const e of document.querySelectorAll(`[${attribute}]`))
            for (const id of e.getAttribute(attribute).split(' ')) if (!document.getElementById(id)) say(`${attribute} leads nowhere`, e);
    for (const e of document.querySelectorAll('[aria-hidden=true]'))
        if (e.querySelector('button, a[href], input, select') ) say('focusable but hidden from readers', e);
    if ([...document.querySelectorAll('main')].filter(shown).length !== 1) faults.push('not exactly one main');
    if (document.querySelectorAll('h1').length !== 1) faults.push('not exactly one h1');
    if (!document.documentElement.lang) faults.push('no language');
    for (const e of document.querySelectorAll('table')) if (!e.querySelector('th')) { if (!e.caption) say('a table without heads', e); }
    for (const e of document.querySelectorAll('[role=row]'))
        if (!e.closest('[role=grid], table')) say('a row outside a table', e);
    // Contrast of text on the ground it stands on, by WCAG 2: 4.5 for what is small.
    const channels = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (e) => { for (; e; e = e.parentElement) { const c = channels(getComputedStyle(e).backgroundColor); if (c.length && c[3] !== 0) return c; } return [255, 255, 255]; };
    const seen = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const e = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !shown(e) || e.closest('.unseen, :disabled, svg, dialog:not([open]), .outdated, .undone')) continue;
        const style = getComputedStyle(e);
        if (style.visibility === 'hidden') continue;
        const [a, b] = [light(channels(style.color)), light(ground(e))].sort((a, b) => b - a);
        const ratio = (a + 0.05) / (b + 0.05);
        const key = `${style.color} on ${ground(e)}`;
        if (ratio < 4.5 && !seen.has(key)) { seen.add(key); say(`contrast ${ratio.toFixed(2)} (${key})`, e); }
    }
    return faults;";

/// Runs axe-core in the page: what it finds wrong by the rules of WCAG 2.2 A and AA and its own best practices.
const AXE: &str = "axe.run(document, { resultTypes: ['violations'] }).then((results) => results.violations.map((v) =>
    `axe ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((node) => node.html.slice(0, 140)).join(' … ')}`))";

/// Axe's source, where it is at hand.
fn axe() -> Option<String> {
    let path = std::env::var_os("WHENCE_AXE").filter(|path| !path.is_empty());
    let Some(path) = path else {
        println!("WHENCE_AXE is not set: axe-core is left out, the hand-written rules are checked");
        return None;
    };
    Some(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

async fn faults(browser: &Browser, axe: Option<&str>) -> Vec<String> {
    let mut faults: Vec<String> = serde_json::from_value(browser.evaluate(CHECKS, vec![]).await).unwrap();
    if let Some(axe) = axe {
        browser.cdp("Runtime.evaluate", json!({ "expression": axe })).await;
        let ask = json!({ "expression": AXE, "awaitPromise": true, "returnByValue": true });
        let answer = browser.cdp("Runtime.evaluate", ask).await;
        let found: Option<Vec<String>> = serde_json::from_value(answer["result"]["value"].clone()).ok();
        faults.extend(found.unwrap_or_else(|| panic!("axe did not run: {answer}")));
    }
    faults
}

#[tokio::test]
async fn every_page_tells_assistive_technology_what_it_needs_in_both_themes() {
    let axe = axe();
    let (site, mut study) = Site::with_study(&Plan::small());
    study.write_discovery("broad");
    let report = StaticStudy::report(4);
    study.write_report(&report);
    study.write_runs(&report, report.runs.len());
    let browser = Browser::start(Screen::DESK).await;
    let pages = [
        ("?behavior=flattery&layer=2&row=9&source=open-prompts", "ranked"),
        ("", "ready"),
        ("?behavior=flattery&layer=2&chart=length", "ranked"),
        ("?view=discover", "discovered"),
        ("?view=edit&behavior=flattery&layer=2", "ranked"),
        ("?view=validate", "validated"),
        ("?view=jobs", "empty"),
        ("?view=share", "ready"),
    ];
    let mut found = Vec::new();
    let mut note = |what: String, faults: Vec<String>| found.extend(faults.into_iter().map(|f| format!("{what}: {f}")));
    for is_dark in [false, true] {
        let theme = if is_dark { "dark" } else { "light" };
        browser.resize(Screen { is_dark, ..Screen::DESK }).await;
        for (address, state) in pages {
            browser.open(&site.address(address), state).await;
            browser.wait_until("return !document.body.innerText.includes('Reading ')", vec![]).await;
            if address.contains("row=9") && !is_dark {
                // With a decision there is more to see on this page and others.
                browser.press("d").await;
                browser.find("#decide-drop[aria-pressed='true']").await;
            }
            note(format!("{theme} {address:?}"), faults(&browser, axe.as_deref()).await);
        }
        for is_palette in [true, false] {
            match is_palette {
                true => browser.press(Key::Control + "k").await,
                false => browser.press("?").await,
            }
            browser.find("dialog[open]").await;
            note(format!("{theme} dialog"), faults(&browser, axe.as_deref()).await);
            browser.press(Key::Escape).await;
            browser.wait_until("return !document.querySelector('dialog[open]')", vec![]).await;
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Asks the server for something, as the app does.
const ASK: &str = "return await fetch(arguments[0], { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(arguments[1]) }).then((answer) => answer.json())";

#[tokio::test]
async fn pages_over_a_backend_tell_assistive_technology_what_it_needs_in_both_themes() {
    let axe = axe();
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?view=jobs", served.address), "ready").await;
    for behavior in ["lists", "none"] {
        let job = json!({ "verb": "rank", "arguments": ["--behavior", behavior] });
        browser.evaluate(ASK, vec![json!("api/v1/jobs"), job]).await;
    }
    for texts in [true, false] {
        let share = json!({ "label": "for a reader", "texts": texts });
        browser.evaluate(ASK, vec![json!("api/v1/shares"), share]).await;
    }
    browser.evaluate(ASK, vec![json!("api/v1/shares/1/revoke"), json!({})]).await;
    browser.find("#job-2[data-state='failed']").await;
    let mut found = Vec::new();
    for is_dark in [false, true] {
        browser.resize(Screen { is_dark, ..Screen::DESK }).await;
        let mut note = |what: &str, faults: Vec<String>| {
            found.extend(faults.into_iter().map(|fault| format!("{what}, dark {is_dark}: {fault}")));
        };
        browser.open(&format!("{}?view=jobs&job=1&start=cluster", served.address), "ready").await;
        browser.wait_for_text("#log-text", "stored in").await;
        note("jobs", faults(&browser, axe.as_deref()).await);
        browser.open(&format!("{}?view=share", served.address), "ready").await;
        browser.find("#all-layers").await.click().await.unwrap();
        browser.find("#make-link:enabled").await.click().await.unwrap();
        browser.find("#made-link").await;
        browser.find("#link-1[data-state='revoked']").await;
        note("share", faults(&browser, axe.as_deref()).await);
        browser.find("#link-2 .revoke-link").await.click().await.unwrap();
        browser.find("#revoke[open]").await;
        note("revoke", faults(&browser, axe.as_deref()).await);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
