//! The Discover page in real Chromium, from a static folder: it says what the file says, draws the matrix, leads to pairs, and
//! owns up to what is missing or broken.

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::assert_no_errors;
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::Plan;

#[tokio::test]
async fn the_page_shows_groups_and_leads_to_pairs() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let view = study.write_discovery("broad");
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=discover"), "discovered").await;
    browser.wait_for_text("#discover", "3 groups of prompts: they come back").await;
    for (side, grouping, one, many) in
        [("prompts", &view.groups.prompts, "prompt", "prompts"), ("pairs", &view.groups.pairs, "pair", "pairs")]
    {
        for (label, cluster) in grouping.clusters.iter().enumerate() {
            let card = format!(".group[data-side='{side}'][data-label='{label}']");
            let unit = if cluster.size == 1 { one } else { many };
            browser.wait_for_text(&card, &format!("{} {unit}", cluster.size)).await;
            browser.wait_for_text(&card, &format!("silhouette {:.2}", cluster.silhouette).replace('-', "−")).await;
            for term in cluster.terms.iter().take(3) {
                browser.wait_for_text(&card, &term.term).await;
            }
        }
    }
    // The matrix is drawn in many colors.
    let colors = "
        const canvas = document.querySelector('#heatmap');
        const { width, height } = canvas;
        const data = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, width, height).data.buffer);
        return new Set(data).size > 20;";
    browser.wait_until(colors, vec![]).await;
    // A cell says which prompt and pair it is; the pair leads to the ranking.
    let press = "
        const canvas = document.querySelector('#heatmap');
        const { left, top, width, height } = canvas.getBoundingClientRect();
        const at = { clientX: left + width * 0.75, clientY: top + height * 0.75, bubbles: true };
        canvas.dispatchEvent(new PointerEvent('pointerdown', at));
        return true;";
    browser.evaluate(press, vec![]).await;
    browser.wait_for_text("#cell", "Pair").await;
    let href = browser.evaluate("return document.querySelector('#cell a').href", vec![]).await;
    let href = href.as_str().unwrap().to_owned();
    let row: u32 = href.split("row=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
    assert!(view.pairs.iter().any(|pair| pair.row == row), "{href}");
    browser.find("#cell a").await.click().await.unwrap();
    browser.wait_until("return document.body.dataset.page === 'ranking'", vec![]).await;
    let address = browser.evaluate("return location.href", vec![]).await;
    assert!(address.as_str().unwrap().contains(&format!("row={row}")), "{address}");
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn an_address_names_one_of_several_and_missing_ones_are_named() {
    let (site, mut study) = Site::with_study(&Plan::small());
    study.write_discovery("first");
    study.write_discovery("second");
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=discover&groups=second"), "discovered").await;
    let chosen = "return document.querySelector('#groups').value === arguments[0]";
    browser.wait_until(chosen, vec![json!("second")]).await;
    browser.find("#groups option[value='first']").await.click().await.unwrap();
    browser.wait_until("return location.search.includes('groups=first')", vec![]).await;
    browser.open(&site.address("?view=discover&groups=third"), "failed").await;
    browser.wait_for_text("[role='alert']", "clusters/third/discovery.json").await;
    browser.wait_for_text("[role='alert']", "whence discover").await;
}

#[tokio::test]
async fn without_groups_the_page_says_how_to_make_them() {
    let (site, _study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::HAND).await;
    browser.open(&site.address("?view=discover"), "empty").await;
    browser.wait_for_text(".notice", "whence discover").await;
    assert_no_errors(&browser).await;
}
