//! A behavior by layer in real Chromium, from a static folder: the panel says what the files say, draws it, and owns up to
//! what does not fit.

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::assert_no_errors;
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::Plan;
use whence_shared::statistics::conclusion::percent;

#[tokio::test]
async fn the_summary_shows_stability_separation_and_steering() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let sweep = study.write_sweep();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=1"), "ranked").await;
    browser.wait_for_text("#stability", "layer 1: cosine 0.81 (0.70 to 0.90)").await;
    browser.wait_for_text("#stability", "the first 100 in common: 62 %, 2.0 % by chance").await;
    browser.wait_for_text("#sweep", "120 responses that show the behavior and 200 that do not").await;
    browser.wait_for_text("#sweep", "12 of them made the direction").await;
    browser.find("#sweep summary").await.click().await.unwrap();
    for layer in &sweep.layers {
        let row = format!("#separation tr[data-layer='{}']", layer.layer);
        match layer.separation.and_then(|found| found.auroc) {
            Some(auroc) => browser.wait_for_text(&row, &format!("{auroc:.3}")).await,
            None => browser.wait_for_text(&row, "–").await,
        }
        for steered in &layer.steered {
            let row = format!("#steering tr[data-layer='{}'][data-alpha='{}']", layer.layer, steered.alpha);
            browser.wait_for_text(&row, &percent(steered.rate.value)).await;
            browser.wait_for_text(&row, &percent(steered.random.value)).await;
        }
    }
    // Both charts are drawn, in more than one color.
    let colors = "
        const colors = (canvas) => {
            const { width, height } = canvas;
            const data = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, width, height).data.buffer);
            return new Set(data).size;
        };
        const canvases = [...document.querySelectorAll('#sweep canvas')];
        return canvases.length === 2 && canvases.every((canvas) => colors(canvas) > 3);";
    browser.wait_until(colors, vec![]).await;
    // Another layer changes what is said of it, and leaves the panel open.
    browser.find("#layer option[value='2']").await.click().await.unwrap();
    browser.wait_for_text("#stability", "layer 2: cosine 0.82").await;
    browser.wait_until("return document.querySelector('#sweep details').open", vec![]).await;
    // A behavior that was not swept has no panel.
    browser.find("#behavior option[value='obeys-when-formatted']").await.click().await.unwrap();
    browser.wait_until("return document.querySelector('#sweep') === null", vec![]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_sweep_of_another_definition_or_version_says_so() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let mut sweep = study.write_sweep();
    study.view.behaviors[0].inputs = "defined anew".into();
    study.save_view();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery"), "ranked").await;
    browser.wait_for_text("#sweep", "defined anew since: run whence sweep again").await;
    sweep.format = "whence.sweep/99".into();
    study.write("behaviors/flattery/sweep.json", &serde_json::to_vec(&json!(sweep)).unwrap());
    browser.open(&site.address("?behavior=flattery"), "ranked").await;
    browser.wait_for_text("#sweep", "whence.sweep/99").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn the_panel_is_no_wider_than_a_narrow_screen() {
    let (site, mut study) = Site::with_study(&Plan::small());
    study.write_sweep();
    let browser = Browser::start(Screen::HAND).await;
    browser.open(&site.address("?behavior=flattery"), "ranked").await;
    browser.find("#sweep summary").await.click().await.unwrap();
    browser.wait_for_text("#steering", "along the direction").await;
    let width = browser.evaluate("return document.documentElement.scrollWidth", vec![]).await;
    assert_eq!(width, json!(390), "the page scrolls sideways");
    assert_no_errors(&browser).await;
}
