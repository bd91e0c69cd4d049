//! The app as `whence serve` serves it out of its own binary, over a study that the real verbs made: the page shows the stored
//! ranking.

use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::served::{BEHAVIOR, Served, shown, stored, study};

#[tokio::test]
async fn the_page_ranks_by_the_index_that_whence_made_and_rows_that_the_server_gathers() {
    const K: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    let separator = if served.address.contains('?') { '&' } else { '?' };
    // The last layer there is, and the one before: of the embeddings the differences are zero.
    for layer in [1, 2] {
        let query = format!("{separator}behavior={BEHAVIOR}&layer={layer}&k={K}&index=yes&workers=2");
        browser.open(&format!("{}{query}", served.address), "ranked").await;
        let shown = shown(&browser, layer).await;
        browser.wait_for_text("#status", &format!("Top {K} exact")).await;
        browser.evaluate("document.getElementById('details').open = true", vec![]).await;
        browser.wait_for_text("#details", "by the index").await;
        let stored = stored(&study, layer);
        for (shown, stored) in shown.iter().zip(&stored).take(K) {
            let (rank, row, id, score, radius) = shown.clone();
            assert_eq!((rank, row, id, score), *stored, "layer {layer}");
            assert_eq!(radius, 0.0);
        }
        for (_, row, _, score, radius) in &shown {
            let exact = stored.iter().find(|stored| stored.1 == *row).map(|stored| f32::from_bits(stored.3)).unwrap();
            assert!((f32::from_bits(*score) - exact).abs() <= radius + 1e-6, "layer {layer}, row {row}");
        }
    }
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "{errors:?}");
}

#[tokio::test]
async fn the_page_ranks_as_whence_rank_did_row_for_row() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&served.address, "ranked").await;
    let layers = "return [...document.querySelectorAll('#layer option')].map((option) => Number(option.value))";
    let layers: Vec<usize> = serde_json::from_value(browser.evaluate(layers, vec![]).await).unwrap();
    assert!(layers.len() >= 2, "the fixture has several layers, got {layers:?}");
    for layer in layers {
        browser.find(&format!("#layer option[value='{layer}']")).await.click().await.unwrap();
        let shown: Vec<_> = shown(&browser, layer)
            .await
            .into_iter()
            .map(|(rank, row, id, score, radius)| {
                assert_eq!(radius, 0.0, "a small layer is read whole");
                (rank, row, id, score)
            })
            .collect();
        let stored = stored(&study, layer);
        assert_eq!(stored.len(), 300);
        assert_eq!(shown, stored, "layer {layer}");
    }
    // Texts arrive too, and the page lives with the server's content security policy.
    browser.press("j").await;
    browser.wait_for_text(".side.chosen .response", "- one").await;
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "{errors:?}");
}
