//! The app in real Chromium, beside a study on a static host without any backend.

use std::fs;

use serde_json::json;
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{ShownRanking, assert_no_errors, assert_same, query, ranking_of_page};
use whence_browser_tests::site::{Fault, Site};
use whence_browser_tests::static_study::{LayerPlan, Plan, StaticStudy, sha256};
use whence_shared::shard::{self, Shard, ShardHeader, StoreDtype};
use whence_shared::study::LayerView;

#[tokio::test]
async fn the_ranking_in_the_browser_is_the_native_one_bit_for_bit() {
    let (site, study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    for behavior in ["flattery", "obeys-when-formatted"] {
        for layer in [1, 2] {
            browser.open(&site.address(&format!("?behavior={behavior}&layer={layer}")), "ranked").await;
            let ShownRanking { ranking: got, ids, radii } = ranking_of_page(&browser, behavior, layer).await;
            assert!(radii.iter().all(|radius| *radius == 0.0), "every score is exact");
            let expected = study.native_ranking(behavior, layer);
            assert_same(&got, &expected, &format!("{behavior}, layer {layer}"));
            assert_eq!(ids[1], "pair-1");
            assert_eq!(ids[2], "\"id, with \"\"quotes\"\"\"");
            // The study holds what rankings stumble over.
            assert!(expected.scores.iter().filter(|score| **score == 0.0).count() > 50, "zero rows");
            assert!(expected.scores.windows(2).any(|pair| pair[0] == pair[1] && pair[0] != 0.0), "ties");
        }
    }
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn another_behavior_is_ranked_without_a_download_and_another_layer_with_one() {
    let (site, study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=1"), "ranked").await;
    browser.wait_for_text("#status", "from all 5,000 vectors").await;
    browser.find("#behavior option[value='obeys-when-formatted']").await.click().await.unwrap();
    let got = ranking_of_page(&browser, "obeys-when-formatted", 1).await;
    assert_same(&got.ranking, &study.native_ranking("obeys-when-formatted", 1), "after the switch");
    browser.wait_for_text("#status", "from memory").await;
    browser.find("#layer option[value='2']").await.click().await.unwrap();
    let got = ranking_of_page(&browser, "obeys-when-formatted", 2).await;
    assert_same(&got.ranking, &study.native_ranking("obeys-when-formatted", 2), "after another layer");
    browser.wait_for_text("#status", "downloaded").await;
    assert_eq!(query(&browser, "behavior").await, json!("obeys-when-formatted"));
    assert_eq!(query(&browser, "layer").await, json!("2"));
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn pickers_name_what_is_ranked_after_back_and_forward() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    let agree = async |behavior: &str, layer: &str| {
        browser.find(&format!("body[data-state='ranked'][data-ranked='{behavior}/layer-{layer}']")).await;
        assert_eq!(query(&browser, "behavior").await, json!(behavior));
        assert_eq!(query(&browser, "layer").await, json!(layer));
        let names = "return ['behavior', 'layer'].map((id) => document.getElementById(id).value).join('/')";
        browser.wait_until(&format!("{names} === arguments[0]"), vec![json!(format!("{behavior}/{layer}"))]).await;
    };
    agree("flattery", "2").await;
    // Each option was picked by hand at least once: what the document says of it no longer counts.
    for behavior in ["obeys-when-formatted", "flattery"] {
        browser.find(&format!("#behavior option[value='{behavior}']")).await.click().await.unwrap();
        agree(behavior, "2").await;
    }
    for layer in ["1", "2"] {
        browser.find(&format!("#layer option[value='{layer}']")).await.click().await.unwrap();
        agree("flattery", layer).await;
    }
    for (behavior, layer) in [("flattery", "1"), ("flattery", "2"), ("obeys-when-formatted", "2"), ("flattery", "2")] {
        browser.page.back().await.unwrap();
        agree(behavior, layer).await;
    }
    browser.page.forward().await.unwrap();
    agree("obeys-when-formatted", "2").await;
    // The same of options that never change.
    for (id, options) in [("by", ["bank", "direction"]), ("end", ["bottom", "top"])] {
        for value in options {
            browser.find(&format!("#{id} option[value='{value}']")).await.click().await.unwrap();
        }
        browser.page.back().await.unwrap();
        let is_first = "return document.getElementById(arguments[0]).value === arguments[1]";
        browser.wait_until(is_first, vec![json!(id), json!(options[0])]).await;
        browser.page.back().await.unwrap();
        browser.wait_until(is_first, vec![json!(id), json!(options[1])]).await;
    }
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn the_number_of_pairs_that_stands_there_is_the_one_in_force() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2&k=20"), "ranked").await;
    for (typed, in_force) in [("99999", "5000"), ("-5", "1"), ("", "1"), ("2.4", "2"), ("e", "2"), ("30", "30")] {
        let input = browser.find("#k").await;
        input.focus().await.unwrap();
        browser.evaluate("document.getElementById('k').select()", vec![]).await;
        browser.press(Key::Backspace).await;
        if !typed.is_empty() {
            browser.press(typed).await;
        }
        browser.press(Key::Tab).await;
        let stands = "return document.getElementById('k').value === arguments[0]";
        browser.wait_until(stands, vec![json!(in_force)]).await;
        let stated = "return new URLSearchParams(location.search).get('k') === arguments[0]";
        browser.wait_until(stated, vec![json!(in_force)]).await;
    }
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn scores_of_another_layer_are_dimmed_and_not_handed_out() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=1&row=9"), "ranked").await;
    browser.find(".pair-header .standing:not(.outdated) .score-value").await;
    browser.find("#download:enabled").await;
    site.limit(Some(2_000));
    browser.find("#layer option[value='2']").await.click().await.unwrap();
    browser.find("#download:disabled").await;
    browser.find(".pair-header .standing.outdated").await;
    let opacity = "return Number(getComputedStyle(document.querySelector('.pair-header .standing')).opacity) < 1";
    assert_eq!(browser.evaluate(opacity, vec![]).await, json!(true));
    // Back at once: what is shown is what is wanted again.
    browser.page.back().await.unwrap();
    browser.find("#download:enabled").await;
    browser.find(".pair-header .standing:not(.outdated)").await;
    site.limit(None);
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn quick_changes_of_mind_end_with_the_last_choice() {
    let (site, study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=1"), "ranked").await;
    let script = "
        const choose = (id, value) => {
            const select = document.getElementById(id);
            select.value = value;
            select.dispatchEvent(new Event('change', { bubbles: true }));
        };
        choose('layer', '2'); choose('behavior', 'obeys-when-formatted'); choose('layer', '1'); choose('layer', '2');";
    browser.evaluate(script, vec![]).await;
    let got = ranking_of_page(&browser, "obeys-when-formatted", 2).await;
    assert_same(&got.ranking, &study.native_ranking("obeys-when-formatted", 2), "the last choice");
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn the_address_restores_the_view_and_back_undoes_a_selection() {
    let (site, study) = Site::with_study(&Plan::small());
    let expected = study.native_ranking("obeys-when-formatted", 1);
    let (place, row) = (3210, expected.order[3210]);
    let browser = Browser::start(Screen::DESK).await;
    let address = format!("?behavior=obeys-when-formatted&layer=1&k=250&row={row}&page=kept");
    browser.open(&site.address(&address), "ranked").await;
    // The selected row is in view although it is far down.
    browser.find(&format!("#rows [role='row'][aria-rowindex='{}'][aria-selected='true']", place + 2)).await;
    browser.wait_for_text("#reading", "#3,211").await;
    browser.wait_for_text("#reading", &format!("pair-{row}")).await;
    assert_eq!(browser.find("#k").await.prop("value").await.unwrap().as_deref(), Some("250"));
    assert_eq!(query(&browser, "page").await, json!("kept"));

    let neighbor = browser.find(&format!("#rows [role='row'][aria-rowindex='{}']", place + 4)).await;
    neighbor.click().await.unwrap();
    let clicked = expected.order[place + 2];
    browser.wait_for_text("#reading", &format!("pair-{clicked}")).await;
    assert_eq!(query(&browser, "row").await, json!(clicked.to_string()));
    browser.page.back().await.unwrap();
    browser.wait_for_text("#reading", &format!("pair-{row}")).await;
    browser.page.forward().await.unwrap();
    browser.wait_for_text("#reading", &format!("pair-{clicked}")).await;
    browser.page.refresh().await.unwrap();
    browser.wait_for_state("ranked").await;
    browser.wait_for_text("#reading", &format!("pair-{clicked}")).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn an_address_that_names_what_is_not_there_is_followed_as_far_as_possible_and_says_so() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=unheard-of&layer=99&k=900000&row=999999"), "ranked").await;
    browser.wait_for_text("#remark", "no behavior “unheard-of”").await;
    browser.wait_for_text("#remark", "no row 999999: it has 5,000 pairs").await;
    assert_eq!(query(&browser, "k").await, json!("5000"));
    browser.open(&site.address("?layer=99"), "ranked").await;
    browser.wait_for_text("#remark", "no vectors at layer 99").await;
    browser.find("#dismiss").await.click().await.unwrap();
    browser.wait_until("return document.getElementById('remark').textContent === ''", vec![]).await;
    browser.wait_until("return document.activeElement.id === 'ranking'", vec![]).await;
    // The same on a page that has no line about the ranking.
    browser.open(&site.address("?view=edit&behavior=unheard-of"), "ranked").await;
    browser.wait_for_text("#remark", "no behavior “unheard-of”").await;
    let is_seen = "return document.getElementById('remark').checkVisibility()";
    browser.wait_until(is_seen, vec![]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn keys_move_the_selection() {
    let (site, study) = Site::with_study(&Plan::small());
    let order = study.native_ranking("flattery", 2).order;
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    let selected = async |place: usize| {
        browser.find(&format!("#rows [aria-rowindex='{}'][aria-selected='true']", place + 2)).await;
        browser.wait_for_text("#reading dd", &study_id(order[place])).await;
    };
    browser.press("j").await;
    selected(0).await;
    browser.press("jjk").await;
    selected(1).await;
    browser.find("#table").await.focus().await.unwrap();
    browser.press(Key::Down).await;
    selected(2).await;
    browser.press(Key::End).await;
    selected(4999).await;
    browser.press(Key::Up).await;
    selected(4998).await;
    browser.press(Key::Home).await;
    selected(0).await;
    browser.press(Key::Up).await;
    selected(0).await;
    // Letters typed into a control are not commands.
    browser.find("#k").await.focus().await.unwrap();
    browser.press("j").await;
    selected(0).await;
    assert_no_errors(&browser).await;
}

fn study_id(row: u32) -> String {
    if row == 2 { "id, with \"quotes\"".into() } else { format!("pair-{row}") }
}

#[tokio::test]
async fn a_hundred_thousand_rows_scroll_with_few_elements() {
    let (site, study) = Site::with_study(&Plan::large(100_000, 16));
    let order = study.native_ranking("flattery", 2).order;
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery"), "ranked").await;
    assert_eq!(browser.find("#table").await.attr("aria-rowcount").await.unwrap().as_deref(), Some("100001"));
    for share in [0.5, 0.123, 0.99999, 0.0] {
        let place = (99_999.0 * share) as usize;
        let script = "document.getElementById('rows').scrollTop = arguments[0] * 28";
        browser.evaluate(script, vec![json!(place)]).await;
        let row = format!("#rows [aria-rowindex='{}']", place + 2);
        browser.find(&row).await;
        let snippet = pair_topic(order[place]);
        browser.wait_for_text(&row, snippet).await;
        let n_rows = browser.evaluate("return document.querySelectorAll('#rows [role=row]').length", vec![]).await;
        assert!(n_rows.as_u64().unwrap() < 80, "{n_rows} rows exist");
    }
    assert_no_errors(&browser).await;
}

fn pair_topic(row: u32) -> &'static str {
    ["a kite", "bread", "the tides", "a lock", "ladybirds", "a compass", "glass", "the violin"][row as usize % 8]
}

#[tokio::test]
async fn texts_are_shown_verbatim_with_their_differing_words_marked() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?row=1"), "ranked").await;
    browser.wait_for_text(".side.chosen .response", "<script>document.title = 'owned'</script><b>").await;
    assert!(!browser.page.title().await.unwrap().contains("owned"));
    browser.open(&site.address("?row=9"), "ranked").await;
    browser.wait_for_text(".side.chosen .response", "This is answer 9.").await;
    let words = "return [...document.querySelectorAll(arguments[0] + ' mark')].map((m) => m.textContent).join('|')";
    let chosen = browser.evaluate(words, vec![json!(".side.chosen")]).await;
    let rejected = browser.evaluate(words, vec![json!(".side.rejected")]).await;
    assert_eq!(chosen, json!("many|agree. This is answer 9."), "words the rejected response lacks");
    assert_eq!(rejected, json!("a few|agree, more or less."), "words the chosen response lacks");
    browser.wait_for_text(".metadata", "teacher-0").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn what_is_missing_says_what_to_do() {
    let browser = Browser::start(Screen::DESK).await;
    let empty = Site::empty();
    browser.open(&empty.address(""), "failed").await;
    browser.wait_for_text(".notice", "No study here").await;
    browser.wait_for_text(".notice", "whence serve --study").await;

    let (site, mut study) = Site::with_study(&Plan { behaviors: vec![], ..Plan::small() });
    browser.open(&site.address("?view=ranking"), "empty").await;
    browser.wait_for_text(".notice", "whence behavior --study made-for-tests").await;
    study.view.layers.clear();
    study.view.model = None;
    study.save_view();
    browser.open(&site.address("?view=ranking"), "empty").await;
    browser.wait_for_text(".notice", "whence extract --study made-for-tests").await;
    study.view.format = "whence.study/99".into();
    study.save_view();
    browser.open(&site.address("?view=ranking"), "failed").await;
    browser.wait_for_text(".notice", "whence.study/99").await;
    fs::write(study.path("study.json"), "{\"format\":").unwrap();
    browser.open(&site.address("?view=ranking"), "failed").await;
    browser.wait_for_text(".notice", "cannot be read").await;

    let (site, mut study) = Site::with_study(&Plan::small());
    for behavior in &mut study.view.behaviors {
        behavior.layers = vec![7];
    }
    study.save_view();
    browser.open(&site.address("?view=ranking"), "empty").await;
    browser.wait_for_text(".notice", "no vectors at any layer").await;
}

/// Opens a small study after `damage` and expects the page to name the parts of the error.
async fn expect_failure(browser: &Browser, damage: impl Fn(&mut StaticStudy), parts: &[&str]) {
    let (site, mut study) = Site::with_study(&Plan::small());
    damage(&mut study);
    browser.open(&site.address("?behavior=flattery&layer=1"), "failed").await;
    for part in parts {
        browser.wait_for_text(".notice.error", part).await;
    }
}

fn layer(study: &mut StaticStudy) -> &mut LayerView {
    &mut study.view.layers[0]
}

#[tokio::test]
async fn a_broken_file_is_named_and_no_ranking_is_shown() {
    let browser = Browser::start(Screen::DESK).await;
    let second = "vectors/layer-1/00001024.safetensors";
    let flip = |study: &mut StaticStudy| {
        let mut bytes = fs::read(study.path(second)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(study.path(second), bytes).unwrap();
    };
    expect_failure(&browser, flip, &[second, "SHA-256"]).await;
    expect_failure(&browser, |study| fs::remove_file(study.path(second)).unwrap(), &[second, "404"]).await;
    let cut = |study: &mut StaticStudy| {
        let bytes = fs::read(study.path(second)).unwrap();
        fs::write(study.path(second), &bytes[..1000]).unwrap();
    };
    expect_failure(&browser, cut, &[second, "bytes, got 1000"]).await;
    // Another valid shard under this name, announced as such: only its contents give it away.
    let swap = |study: &mut StaticStudy| {
        let bytes = fs::read(study.path("vectors/layer-1/00000000.safetensors")).unwrap();
        fs::write(study.path(second), &bytes).unwrap();
        let view = &mut layer(study).shards[1];
        (view.sha256, view.n_bytes) = (sha256(&bytes), bytes.len() as u64);
        study.save_view();
    };
    expect_failure(&browser, swap, &[second, "first row 1024, got 0"]).await;
    let narrow = |study: &mut StaticStudy| {
        layer(study).d_model = 38;
        study.save_view();
    };
    expect_failure(&browser, narrow, &["behaviors/flattery/layer-1.safetensors", "38 wide, got 37"]).await;
    let gap = |study: &mut StaticStudy| {
        layer(study).shards.remove(2);
        study.save_view();
    };
    expect_failure(&browser, gap, &["study.json, layer 1", "row 2048"]).await;
    let foreign = |study: &mut StaticStudy| {
        let path = study.path("behaviors/flattery/layer-1.safetensors");
        let bytes = fs::read(&path).unwrap();
        let shard = Shard::parse(&bytes).unwrap();
        let header = ShardHeader { inputs: "another model".into(), ..shard.header.clone() };
        let direction = shard.direction.as_deref();
        fs::write(path, shard::write(&header, &shard.to_f32(), shard.d_model, shard.dtype, direction).unwrap())
            .unwrap();
    };
    expect_failure(&browser, foreign, &["layer-1/00000000.safetensors", "another model, template or pairs"]).await;
    let not_a_shard = |study: &mut StaticStudy| {
        fs::write(study.path("behaviors/flattery/layer-1.safetensors"), "hello").unwrap();
    };
    expect_failure(&browser, not_a_shard, &["behaviors/flattery/layer-1.safetensors", "whence behavior again"]).await;
}

#[tokio::test]
async fn a_failure_that_was_mended_is_tried_again_on_request() {
    let (site, study) = Site::with_study(&Plan::small());
    let path = study.path("vectors/layer-1/00001024.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=1"), "failed").await;
    fs::write(&path, bytes).unwrap();
    browser.find(".notice button").await.click().await.unwrap();
    let got = ranking_of_page(&browser, "flattery", 1).await;
    assert_same(&got.ranking, &study.native_ranking("flattery", 1), "after mending");
}

#[tokio::test]
async fn a_text_that_did_not_arrive_is_asked_for_again_on_request() {
    let (site, _) = Site::with_study(&Plan::small());
    site.fail("data/texts/0", Fault::Status(404), 1);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=1&row=1"), "ranked").await;
    browser.wait_for_text("#reading [role=alert]", "The text did not arrive: ").await;
    browser.find("#text-again").await.click().await.unwrap();
    browser.wait_for_text(".sides", "<script>").await;
    assert_eq!(browser.evaluate("return document.getElementById('text-again')", vec![]).await, json!(null));
}

#[tokio::test]
async fn one_row_is_a_ranking_too() {
    let layer = LayerPlan { layer: 0, d_model: 1, dtype: StoreDtype::F32, rows_per_shard: 10, is_indexed: false };
    let (site, _) = Site::with_study(&Plan { n_pairs: 1, layers: vec![layer], behaviors: vec!["flattery"] });
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?row=0"), "ranked").await;
    browser.wait_for_text("#status", "Top 1 exact").await;
    browser.wait_for_text("#reading", "pair-0").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_study_without_pairs_says_so_on_every_page() {
    let (site, _) = Site::with_study(&Plan { n_pairs: 0, layers: Vec::new(), behaviors: Vec::new() });
    let browser = Browser::start(Screen::DESK).await;
    for (page, state) in [("overview", "ready"), ("ranking", "empty"), ("map", "empty"), ("edit", "empty")] {
        browser.open(&site.address(&format!("?view={page}")), state).await;
        browser.wait_for_text(".notice", "whence import --study").await;
    }
    for (page, state) in [("discover", "empty"), ("validate", "empty"), ("share", "ready")] {
        browser.open(&site.address(&format!("?view={page}")), state).await;
        browser.wait_for_text("main:not([hidden])", "whence ").await;
    }
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn nothing_is_wider_than_a_narrow_screen() {
    let (site, _) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::HAND).await;
    browser.open(&site.address("?row=11"), "ranked").await;
    browser.wait_for_text("#reading", "pair-11").await;
    let width = browser.evaluate("return document.documentElement.scrollWidth", vec![]).await;
    assert_eq!(width, json!(390), "the page scrolls sideways");
    assert_no_errors(&browser).await;
}
