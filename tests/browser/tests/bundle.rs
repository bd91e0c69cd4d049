//! A bundle that `whence report` wrote, on a bare static host at a sub-path and from another origin: the page shows what it
//! shows beside `whence serve`, and says calmly what was left out.

use std::path::{Path, PathBuf};

use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::assert_no_errors;
use whence_browser_tests::served::{BEHAVIOR, Served, run, shown, stored, study};
use whence_browser_tests::site::Site;

fn report(study: &Path, name: &str, options: &[&str]) -> PathBuf {
    let out = study.with_file_name(name);
    let fixed = ["report", "--study", study.to_str().unwrap(), "--out", out.to_str().unwrap()];
    run(&[&fixed[..], options].concat());
    out
}

fn query(layer: usize, more: &str) -> String {
    format!("?behavior={BEHAVIOR}&layer={layer}{more}")
}

#[tokio::test]
async fn a_bundle_ranks_as_the_server_does_at_a_sub_path_and_from_another_origin() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let site = Site::of(&report(&study, "bundle", &[]));
    let browser = Browser::start(Screen::DESK).await;
    for (layer, more) in [(1, ""), (2, "&index=yes&workers=2")] {
        browser.open(&format!("{}{}", served.address, query(layer, more)), "ranked").await;
        let expected = shown(&browser, layer).await;
        browser.open(&site.address(&query(layer, more)), "ranked").await;
        let got = shown(&browser, layer).await;
        let first = |shown: &[(u32, u32, String, u32, f32)]| {
            shown
                .iter()
                .take(100)
                .map(|(rank, row, id, score, _)| (*rank, *row, id.clone(), *score))
                .collect::<Vec<_>>()
        };
        assert_eq!(first(&got), first(&expected), "layer {layer}{more}");
        assert_eq!(first(&got), stored(&study, layer)[..100], "layer {layer}{more}");
        if more.is_empty() {
            assert_eq!(got, expected, "all 300");
        }
    }
    browser.press("j").await;
    browser.wait_for_text(".side.chosen .response", "- one").await;
    assert_no_errors(&browser).await;
    drop(served);

    // An app elsewhere, which has no study of its own.
    let elsewhere = Site::empty();
    let address = |layer| elsewhere.address(&format!("{}&index=yes&bundle={}", query(layer, ""), site.address("")));
    browser.open(&address(2), "failed").await;
    browser.wait_for_text(".notice", "cannot be reached").await;
    site.set_shared(true);
    browser.open(&address(2), "ranked").await;
    let got: Vec<u32> = shown(&browser, 2).await.iter().take(100).map(|shown| shown.1).collect();
    assert_eq!(got, stored(&study, 2)[..100].iter().map(|stored| stored.1).collect::<Vec<_>>());
    assert!(
        elsewhere.take_asked().iter().all(|asked| !asked.path.starts_with("data/")),
        "nothing of the app's own host"
    );
    browser.press("j").await;
    browser.wait_for_text(".side.chosen .response", "- one").await;
    let address = browser.evaluate("return location.search", vec![]).await;
    assert!(address.as_str().unwrap().contains("bundle=http"), "the address still says where from: {address}");
}

#[tokio::test]
async fn what_was_left_out_is_said_calmly() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let out = report(&study, "little", &["--no-texts", "--no-vectors", "--layers", "2", "--behaviors", BEHAVIOR]);
    assert!(!out.join("data/texts").exists() && !out.join("data/vectors").exists());
    let site = Site::of(&out);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(&query(2, "")), "ranked").await;
    browser.wait_for_text("#status", "the vectors of pairs are withheld here").await;
    let stored = stored(&study, 2);
    for (_, row, _, score, radius) in shown(&browser, 2).await {
        let exact = stored.iter().find(|stored| stored.1 == row).map(|stored| f32::from_bits(stored.3)).unwrap();
        assert!((f32::from_bits(score) - exact).abs() <= radius + 1e-6, "row {row}");
    }
    browser.press("j").await;
    browser.wait_for_text("#reading", "The texts of pairs are withheld here").await;
    browser.wait_for_text("#reading dd", "pairs.jsonl:").await;
    browser.wait_for_text("#rows [aria-selected='true'] .snippet", "pairs.jsonl:").await;
    let asked = site.take_asked();
    assert!(
        asked.iter().all(|asked| !asked.path.contains("/texts/") && !asked.path.contains("/vectors/")),
        "{asked:?}"
    );
    assert_no_errors(&browser).await;
}
