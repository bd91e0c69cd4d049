//! A bundle that `whence report` wrote, on a bare static host at a sub-path, from another origin and opened from disk: the page
//! shows what it shows beside `whence serve`, and says calmly what was left out.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::packed::packed;
use whence_browser_tests::page::assert_no_errors;
use whence_browser_tests::served::{BEHAVIOR, Served, Shown, run, shown, stored, study};
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
    // That it must let other pages read it, and where it lies: nothing about a server of one's own.
    browser.wait_for_text(".notice", "cannot be reached").await;
    browser.wait_for_text(".notice", "Access-Control-Allow-Origin").await;
    browser.wait_for_text(".notice code", &format!("{}index.html", site.address(""))).await;
    let advises_serving = "return document.querySelector('.notice').textContent.includes('whence serve')";
    assert_eq!(browser.evaluate(advises_serving, vec![]).await, json!(false));
    site.set_shared(true);
    let nowhere = format!("?bundle={}nowhere/", site.address(""));
    browser.open(&elsewhere.address(&nowhere), "failed").await;
    browser.wait_for_text(".notice", "No bundle here").await;
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

/// What the reading pane says is near to the first pair of the ranking: cosines and rows.
async fn near_the_first(browser: &Browser, address: &str) -> Vec<(String, String)> {
    browser.open(address, "ranked").await;
    browser.press("j").await;
    browser.find("#nearest summary").await.click().await.unwrap();
    browser.wait_until("return document.querySelectorAll('#nearest .near-pairs li').length === 10", vec![]).await;
    let script = "return Array.from(document.querySelectorAll('#nearest .near-pairs li'), (item) => [
        item.querySelector('.value').textContent, new URL(item.querySelector('a').href).searchParams.get('row')])";
    serde_json::from_value(browser.evaluate(script, vec![]).await).unwrap()
}

#[tokio::test]
async fn a_bundle_has_the_nearest_pairs_of_those_that_rank_first_and_a_link_those_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let served = Served::start(&study);
    let site = Site::of(&report(&study, "bundle", &[]));
    let browser = Browser::start(Screen::DESK).await;
    let expected = near_the_first(&browser, &format!("{}{}", served.address, query(1, ""))).await;
    assert_eq!(near_the_first(&browser, &site.address(&query(1, ""))).await, expected);
    assert_no_errors(&browser).await;
    // The last one of the ranking is not among them: how to find what is near to it.
    let last = stored(&study, 1).last().unwrap().1;
    browser.open(&site.address(&query(1, &format!("&row={last}"))), "ranked").await;
    browser.find(".reading details.nearest summary").await.click().await.unwrap();
    browser.wait_for_text(".reading details.nearest", &format!("--layer 1 row:{last}")).await;
    assert_no_errors(&browser).await;
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

/// Gives a file to the dialog that opens bundles, from wherever the page is.
async fn open_zip(browser: &Browser, zip: &Path) {
    let is_open = "return document.getElementById('open-bundle').open";
    if browser.evaluate(is_open, vec![]).await != json!(true) {
        browser.find("#open-file").await.click().await.unwrap();
        browser.wait_until(is_open, vec![]).await;
    }
    browser.find("#open-zip").await.send_keys(zip.to_str().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_zip_from_disk_ranks_as_the_folder_does_and_the_page_says_where_it_is_from() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let bundle = report(&study, "bundle", &[]);
    let zip = report(&study, "site.zip", &[]);
    let site = Site::of(&bundle);
    let browser = Browser::start(Screen::DESK).await;
    let mut expected = Vec::new();
    for more in ["", "&index=yes&workers=2"] {
        browser.open(&site.address(&query(2, more)), "ranked").await;
        expected.push(shown(&browser, 2).await);
    }

    // An app that has no study, on another host.
    let elsewhere = Site::empty();
    for (more, zip) in [("", zip.clone()), ("&index=yes&workers=2", zip), ("&index=yes", packed(&bundle, "packed.zip"))]
    {
        browser.open(&elsewhere.address(&query(2, more)), "failed").await;
        browser.wait_for_text(".notice", "No study here").await;
        browser.find("#open-here").await.click().await.unwrap();
        open_zip(&browser, &zip).await;
        browser.wait_for_state("ranked").await;
        let got = shown(&browser, 2).await;
        let first = |shown: &[Shown]| shown.iter().take(100).map(|s| (s.1, s.3)).collect::<Vec<_>>();
        assert_eq!(first(&got), first(&expected[usize::from(!more.is_empty())]), "{more}");
        let name = zip.file_name().unwrap().to_str().unwrap();
        browser.wait_for_text("#opened-name", &format!("from {name}")).await;
    }
    assert_eq!(first_rows(&shown(&browser, 2).await), first_rows(&expected[1]));
    // Texts come out of it too; the pair is in the address, the bundle is not.
    browser.press("j").await;
    browser.wait_for_text(".side.chosen .response", "- one").await;
    browser.wait_until("return location.search.includes('row=')", vec![]).await;
    let address = browser.evaluate("return location.search", vec![]).await;
    assert!(!address.as_str().unwrap().contains("zip"), "{address}");
    assert!(
        elsewhere.take_asked().iter().all(|asked| !asked.path.starts_with("data/") || asked.path == "data/study.json"),
        "nothing but the question whether there is a study"
    );
    // Keys act once, though another page was shown before.
    browser.press("d").await;
    browser.find("#decide-drop[aria-pressed='true']").await;
    // Loaded again, the page says what it no longer has.
    browser.page.refresh().await.unwrap();
    browser.wait_for_text("#was-open", "packed.zip was open here").await;
    open_zip(&browser, &folder.path().join("packed.zip")).await;
    browser.wait_for_state("ranked").await;
    browser.find("#decide-drop[aria-pressed='true']").await;
    // From one bundle to another, without loading the page again.
    open_zip(&browser, &folder.path().join("site.zip")).await;
    browser.wait_for_text("#opened-name", "from site.zip").await;
    browser.wait_for_state("ranked").await;
    assert_eq!(first_rows(&shown(&browser, 2).await), first_rows(&expected[1]));
    let errors = browser.errors().await;
    assert!(errors.iter().all(|error| error.contains("404")), "only the study that is not there: {errors:?}");
}

fn first_rows(shown: &[Shown]) -> Vec<u32> {
    shown.iter().take(100).map(|shown| shown.1).collect()
}

#[tokio::test]
async fn what_is_no_bundle_or_a_broken_one_is_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let bundle = report(&study, "bundle", &["--layers", "2"]);
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = fs::read(report(&study, "site.zip", &["--layers", "2"])).unwrap();
    let elsewhere = Site::empty();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&elsewhere.address(&query(2, "")), "failed").await;
    let complains = async |zip: &Path, parts: &[&str]| {
        open_zip(&browser, zip).await;
        for part in parts {
            browser.wait_for_text("#open-problem", part).await;
        }
    };
    complains(&write("letter.zip", b"Dear reader,"), &["letter.zip cannot be opened: it is no zip archive"]).await;
    complains(&write("cut.zip", &whole[..whole.len() / 2]), &["cut.zip", "its end is missing", "Copy it again"]).await;
    // Another zip.
    fs::create_dir(folder.path().join("notes")).unwrap();
    write("notes/a.txt", b"a");
    let notes = packed(&folder.path().join("notes"), "notes.zip");
    complains(&notes, &["notes.zip is no bundle", "whence report --study"]).await;
    // Without one of its files, and with one that is cut.
    fs::remove_file(bundle.join("data/rows/0.json")).unwrap();
    let texts = bundle.join("data/texts/0.json");
    let text = fs::read(&texts).unwrap();
    fs::write(&texts, &text[..10]).unwrap();
    let lacks = packed(&bundle, "lacks.zip");
    complains(&lacks, &["lacks.zip is incomplete: data/rows/0.json is missing", "data/texts/0.json has 10 bytes"])
        .await;
    // Of a version to come.
    let manifest = fs::read_to_string(bundle.join("manifest.json")).unwrap();
    fs::write(bundle.join("manifest.json"), manifest.replace("whence.bundle/1", "whence.bundle/9")).unwrap();
    let newer = packed(&bundle, "newer.zip");
    complains(&newer, &["newer.zip: manifest.json is of format \"whence.bundle/9\"", "Open it with the app in it"])
        .await;
    // And a whole one after all that.
    open_zip(&browser, &folder.path().join("site.zip")).await;
    browser.wait_for_state("ranked").await;
    assert_eq!(first_rows(&shown(&browser, 2).await), stored(&study, 2)[..100].iter().map(|s| s.1).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_folder_and_a_zip_that_is_dropped_open_too() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path());
    let bundle = report(&study, "bundle", &["--layers", "2"]);
    let zip = report(&study, "site.zip", &["--layers", "2"]);
    let expected: Vec<u32> = stored(&study, 2)[..100].iter().map(|stored| stored.1).collect();
    let elsewhere = Site::empty();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&elsewhere.address(&query(2, "")), "failed").await;
    browser.press(Key::Control + "k").await;
    browser.press("open a bundle").await;
    browser.press(Key::Enter).await;
    browser.find("#open-folder").await.send_keys(bundle.to_str().unwrap()).await.unwrap();
    browser.wait_for_state("ranked").await;
    browser.wait_for_text("#opened-name", "from bundle").await;
    assert_eq!(first_rows(&shown(&browser, 2).await), expected);

    // Dropped on a page that shows something else: a real file, out of a field, as a drop brings it.
    browser.open(&elsewhere.address(&query(2, "")), "failed").await;
    let field = "
        const field = document.body.appendChild(document.createElement('input'));
        Object.assign(field, { type: 'file', id: 'outside' });
        return true";
    browser.evaluate(field, vec![]).await;
    browser.find("#outside").await.send_keys(zip.to_str().unwrap()).await.unwrap();
    let drop = "
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(document.getElementById('outside').files[0]);
        const event = new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true });
        return !document.querySelector('.notice').dispatchEvent(event)";
    assert_eq!(browser.evaluate(drop, vec![]).await, json!(true), "the browser does not leave the page for it");
    browser.wait_for_state("ranked").await;
    browser.wait_for_text("#opened-name", "from site.zip").await;
    assert_eq!(first_rows(&shown(&browser, 2).await), expected);
}
