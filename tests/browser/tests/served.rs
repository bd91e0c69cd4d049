//! The app as `whence serve` serves it out of its own binary, over a study that the real verbs made: the page shows the stored
//! ranking.

use std::fs;

use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::served::{BEHAVIOR, Served, run, shown, stored, study};

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
async fn a_ranking_that_failed_while_the_server_was_away_is_tried_again_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let port = served.port();
    let separator = if served.address.contains('?') { '&' } else { '?' };
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}{separator}behavior={BEHAVIOR}&layer=1", served.address), "ranked").await;
    drop(served);
    browser.find("#layer option[value='2']").await.click().await.unwrap();
    browser.wait_for_state("failed").await;
    let _served = Served::start_at(&study, port);
    browser.find(&format!("body[data-state='ranked'][data-ranked='{BEHAVIOR}/layer-2']")).await;
}

#[tokio::test]
async fn the_page_ranks_as_whence_rank_did_row_for_row() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?view=ranking", served.address), "ranked").await;
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

#[tokio::test]
async fn what_is_decided_in_the_page_is_edited_and_exported_by_whence_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&format!("{}?behavior={BEHAVIOR}&layer=1&k=20", served.address), "ranked").await;
    // The first pair is dropped for a reason; of the first twenty the others are switched by a rule.
    browser.press("jd").await;
    browser.find("#decide-drop[aria-pressed='true']").await;
    let note = browser.find("#note").await;
    note.send_keys("wrong, \"really\"").await.unwrap();
    note.send_keys(Key::Enter).await.unwrap();
    browser.find(".pages a[href*='view=edit']").await.click().await.unwrap();
    browser.find("#apply-ranking:enabled").await.click().await.unwrap();
    browser.wait_for_text("#decided-counts", "1 dropped · 19 switched · 0 kept").await;
    browser.find("#export-decisions").await.click().await.unwrap();
    let csv = browser.downloaded("decisions.csv").await;
    let stored = stored(&study, 1);
    let (_, row, id, score) = &stored[0];
    let first = format!("{row},{id},drop,\"wrong, \"\"really\"\"\",{},1\n", f32::from_bits(*score));
    assert!(csv.contains(&first), "expected {first} in {csv}");
    assert_eq!(csv.lines().count(), 21);

    // Whence reads what the page wrote, row for row.
    let decisions = folder.path().join("decisions.csv");
    fs::write(&decisions, &csv).unwrap();
    let study_path = study.to_str().unwrap();
    run(&["edit", "--study", study_path, "--name", "read", "--decisions", decisions.to_str().unwrap()]);
    for (form, button) in [("trl", "#export-trl"), ("open-instruct", "#export-open-instruct")] {
        browser.find(&format!("{button}:enabled")).await.click().await.unwrap();
        let from_page = browser.downloaded(&format!("study-edited-{form}.jsonl")).await;
        let out = folder.path().join(format!("{form}.jsonl"));
        let format = ["--form", form, "--format", "jsonl", "--out", out.to_str().unwrap()];
        run(&[&["export", "--study", study_path, "--edit", "read"][..], &format].concat());
        let from_whence = fs::read_to_string(&out).unwrap();
        assert_eq!(from_whence.lines().count(), 299);
        assert!(from_page == from_whence, "{form}: the page's file differs from whence export's");
    }
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "{errors:?}");
}
