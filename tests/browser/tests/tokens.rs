//! What tokens add to a pair's score, in the reading pane of real Chromium: tinted as the file says, beside the marks of what
//! differs, and never in the way where nothing was computed.

use serde_json::json;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::assert_no_errors;
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::Plan;

/// Texts and levels of the tinted tokens of a side.
const TINTED: &str = "
    const tokens = [...document.querySelectorAll(`.side.${arguments[0]} .response .token-part`)];
    return tokens.map((token) => [token.textContent, Number(token.dataset.level)]);";

#[tokio::test]
async fn tokens_are_tinted_by_what_they_add_and_the_choice_stays_from_pair_to_pair() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let view = study.write_tokens();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=1&row=3"), "ranked").await;
    browser.wait_for_text(".sides", "starts small").await;
    browser.wait_until("return document.querySelectorAll('.sides mark').length > 0", vec![]).await;
    browser.find(".tint-choice button:last-child").await.click().await.unwrap();
    browser.wait_for_text("#tint-legend", "raises or lowers the score").await;
    let pair = view.of(3).unwrap();
    browser.wait_for_text("#chosen-sum", &format!("+{:.3}", pair.chosen.sum())).await;
    browser.wait_for_text("#rejected-sum", &format!("−{:.3}", pair.rejected.sum().abs())).await;
    let tinted = browser.evaluate(TINTED, vec![json!("chosen")]).await;
    assert_eq!(
        tinted,
        json!([[pair.chosen.texts[1], 5], [pair.chosen.texts[2], -3]]),
        "the strongest of the pair is 5"
    );
    let tinted = browser.evaluate(TINTED, vec![json!("rejected")]).await;
    assert_eq!(tinted, json!([[pair.rejected.texts[1], -3], [pair.rejected.texts[2], 1]]));
    // They are in the address, and are there again when it is loaded.
    browser.wait_until("return new URLSearchParams(location.search).get('marks') === 'tokens'", vec![]).await;
    browser.page.refresh().await.unwrap();
    browser.wait_for_text("#tint-legend", "raises or lowers the score").await;
    let text = browser.evaluate("return document.querySelector('.side.chosen .response').textContent", vec![]).await;
    assert_eq!(text, json!(pair.chosen.texts.concat()), "all of the response is there");
    browser.find(".parts-table summary").await.click().await.unwrap();
    browser.wait_for_text(".parts-table tbody tr:first-child", "+0.2000").await;

    // Another pair that was read: tinted at once. Its markup is text.
    browser.evaluate("window.dispatchEvent(new KeyboardEvent('keydown', { key: 'j' }))", vec![]).await;
    browser.open(&site.address("?behavior=flattery&layer=1&row=1"), "ranked").await;
    browser.wait_for_text(".sides", "<script>").await;
    browser.find("body").await.send_keys("t").await.unwrap();
    browser.wait_until("return document.querySelectorAll('.sides .token-part').length > 0", vec![]).await;
    // And back to what differs, by the same key.
    browser.find("body").await.send_keys("t").await.unwrap();
    browser.wait_until("return document.querySelectorAll('.sides mark').length > 0", vec![]).await;
    browser.wait_until("return document.querySelectorAll('.sides .token-part').length === 0", vec![]).await;
    browser.wait_until("return !new URLSearchParams(location.search).has('marks')", vec![]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn where_no_tokens_were_read_the_pane_says_how_and_nothing_is_offered() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let mut view = study.write_tokens();
    let browser = Browser::start(Screen::DESK).await;
    // Another layer.
    browser.open(&site.address("?behavior=flattery&layer=2&row=3"), "ranked").await;
    browser.wait_for_text(".reading", "What each token adds to the score").await;
    browser.wait_until("return document.querySelector('.tint-choice') === null", vec![]).await;
    browser.find(".reading details.nearest:last-of-type summary").await.click().await.unwrap();
    browser.wait_for_text(".reading", "whence tokens --study made-for-tests --behavior flattery --layer 2").await;
    // Another pair of the same ranking.
    browser.open(&site.address("?behavior=flattery&layer=1&row=2"), "ranked").await;
    browser.find(".tint-choice button:last-child").await.click().await.unwrap();
    browser.wait_for_text(".tint-choice", "was not read token by token; --rows 2 adds it").await;
    browser.wait_until("return document.querySelectorAll('.sides mark').length > 0", vec![]).await;
    // Another definition, and a file of a newer version.
    view.inputs = "another".into();
    study.write("behaviors/flattery/tokens/layer-1.json", &serde_json::to_vec(&view).unwrap());
    browser.open(&site.address("?behavior=flattery&layer=1&row=3"), "ranked").await;
    browser.find(".tint-choice button:last-child").await.click().await.unwrap();
    browser.wait_for_text(".tint-choice", "defined anew since").await;
    view.format = "whence.tokens/9".into();
    study.write("behaviors/flattery/tokens/layer-1.json", &serde_json::to_vec(&view).unwrap());
    browser.open(&site.address("?behavior=flattery&layer=1&row=3"), "ranked").await;
    browser.find(".tint-choice button:last-child").await.click().await.unwrap();
    browser.wait_for_text(".tint-choice", "whence.tokens/9").await;
    assert_no_errors(&browser).await;
}

/// Of the strongest tint that raises, and the one that lowers: red, green and blue over the page's ground, and the contrast
/// of the text on it.
const TINTS: &str = "
    const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    const drawn = (colors) => {
        for (const color of colors) {
            context.fillStyle = color;
            context.fillRect(0, 0, 1, 1);
        }
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (rgb) => {
        const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = getComputedStyle(document.body).backgroundColor;
    return ['5', '-5'].map((level) => {
        const token = document.querySelector('#tint-legend .token-part');
        token.dataset.level = level;
        const style = getComputedStyle(token);
        const tint = drawn([ground, style.backgroundColor]);
        const [a, b] = [luminance(tint), luminance(drawn([style.color]))];
        return [...tint, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });";

#[tokio::test]
async fn tints_have_the_colors_of_high_and_low_scores_and_can_be_read_on() {
    let (site, mut study) = Site::with_study(&Plan::small());
    study.write_tokens();
    let browser = Browser::start(Screen::DESK).await;
    for is_dark in [false, true] {
        browser.resize(Screen { is_dark, ..Screen::DESK }).await;
        browser.open(&site.address("?behavior=flattery&layer=1&row=3&marks=tokens"), "ranked").await;
        browser.find("#tint-legend .token-part").await;
        let tints: [[f64; 4]; 2] = serde_json::from_value(browser.evaluate(TINTS, vec![]).await).unwrap();
        let [raises, lowers] = tints;
        assert!(raises[2] > raises[0], "what raises is blue, dark {is_dark}: {raises:?}");
        assert!(lowers[0] > lowers[2], "what lowers is red, dark {is_dark}: {lowers:?}");
        assert!(tints.iter().all(|tint| tint[3] >= 4.5), "text on tints, dark {is_dark}: {tints:?}");
    }
    assert_no_errors(&browser).await;
}
