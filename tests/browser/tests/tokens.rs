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
