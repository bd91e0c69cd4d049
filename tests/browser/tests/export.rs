//! Charts saved as files in real Chromium: SVG that reads back as XML with its axes and as many marks as it has values, and PNG
//! of the same picture in pixels.

use serde_json::{Value, json};
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::assert_no_errors;
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::{Plan, StaticStudy};

/// The first bytes of every PNG.
const PNG: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];

/// An SVG as the browser's XML parser reads it.
struct Read {
    /// CSS pixels, across and down.
    size: [f64; 2],
    /// All of its text.
    text: String,
    /// How many elements there are of each name.
    elements: Value,
}

impl Read {
    fn n(&self, element: &str) -> u64 {
        self.elements[element].as_u64().unwrap_or(0)
    }
}

/// Chooses a form in a chart's menu.
async fn choose(browser: &Browser, id: &str, form: &str) {
    browser.find(&format!("#{id} > summary")).await.click().await.unwrap();
    browser.find(&format!("#{id} button[data-form='{form}']")).await.click().await.unwrap();
    // What is saved closes the menu.
    browser.wait_until("return !document.getElementById(arguments[0]).open", vec![json!(id)]).await;
}

/// A chart as SVG, read back.
async fn svg_of(browser: &Browser, id: &str, name: &str) -> Read {
    choose(browser, id, "svg").await;
    let svg = browser.downloaded(&format!("{name}.svg")).await;
    let script = "
        const parsed = new DOMParser().parseFromString(arguments[0], 'image/svg+xml');
        const fault = parsed.querySelector('parsererror');
        const root = parsed.documentElement;
        const elements = {};
        for (const element of root.querySelectorAll('*')) elements[element.localName] = (elements[element.localName] || 0) + 1;
        const links = [...root.querySelectorAll('image')].filter((image) => !image.getAttribute('href').startsWith('data:'));
        return {
            fault: fault?.textContent ?? (links.length ? 'a picture lies elsewhere' : null),
            root: root.localName,
            size: [Number(root.getAttribute('width')), Number(root.getAttribute('height'))],
            text: [...root.querySelectorAll('text')].map((text) => text.textContent.trim()).join(' '),
            elements,
        };";
    let read = browser.evaluate(script, vec![json!(svg)]).await;
    assert_eq!((&read["fault"], &read["root"]), (&Value::Null, &json!("svg")), "{name}: {svg}");
    assert!(!svg.contains("var(--"), "{name}: a color is only a name");
    let size = serde_json::from_value(read["size"].clone()).unwrap();
    Read { size, text: read["text"].as_str().unwrap().to_owned(), elements: read["elements"].clone() }
}

/// A chart as PNG: as large as its SVG in the screen's pixels, two for one at least, and not empty.
async fn assert_png(browser: &Browser, id: &str, name: &str, svg: &Read) {
    choose(browser, id, "png").await;
    let png = browser.downloaded_bytes(&format!("{name}.png")).await;
    assert_eq!(png[..8], PNG, "{name}");
    assert_eq!(&png[12..16], b"IHDR", "{name}");
    let ratio = browser.evaluate("return devicePixelRatio", vec![]).await.as_f64().unwrap().max(2.0);
    let side = |at: usize| f64::from(u32::from_be_bytes(png[at..at + 4].try_into().unwrap()));
    assert_eq!([side(16), side(20)], svg.size.map(|px| (px * ratio).round()), "{name}");
    let colors = "
        return createImageBitmap(new Blob([new Uint8Array(arguments[0])], { type: 'image/png' })).then((image) => {
            const canvas = new OffscreenCanvas(image.width, image.height);
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const data = context.getImageData(0, 0, image.width, image.height).data;
            const colors = new Set(new Uint32Array(data.buffer));
            return { n: colors.size, isOpaque: data.every((value, i) => i % 4 !== 3 || value === 255) };
        });";
    let seen = browser.evaluate(colors, vec![json!(png)]).await;
    assert!(seen["n"].as_u64().unwrap() > 3 && seen["isOpaque"] == json!(true), "{name}: {seen}");
}

/// Numbers of a column of the table behind a chart.
async fn column(browser: &Browser, table: &str, column: usize) -> Vec<u64> {
    browser.find(&format!("#{table} > summary")).await.click().await.unwrap();
    let cells = format!("#{table} tbody td:nth-child({column})");
    browser.find(&cells).await;
    let script = "return [...document.querySelectorAll(arguments[0])].map((cell) => Number(cell.textContent.replaceAll(',', '')))";
    let cells = browser.evaluate(script, vec![json!(cells)]).await;
    browser.press(Key::Escape).await;
    serde_json::from_value(cells).unwrap()
}

#[tokio::test]
async fn the_charts_of_a_ranking_are_saved_with_their_axes_and_all_bars() {
    let (site, study) = Site::with_study(&Plan::small());
    let study = &study.view.name;
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=2"), "ranked").await;
    let name = format!("{study}-flattery-layer-2-scores");
    let read = svg_of(&browser, "histogram-export", &name).await;
    let bars = column(&browser, "histogram-table", 3).await;
    let top = column(&browser, "histogram-table", 4).await;
    // A bar for each, one before it for what of it is on top, and the ground.
    let n_bars = bars.len() + top.iter().filter(|n| **n > 0).count();
    assert!(bars.len() > 10 && read.n("rect") == n_bars as u64 + 1, "{bars:?}, {}", read.elements);
    for said in ["Pairs by score: “flattery”, layer 2", "score", "pairs (logarithmic)", "top 100 from", study.as_str()]
    {
        assert!(read.text.contains(said), "{said}: {}", read.text);
    }
    assert_png(&browser, "histogram-export", &name, &read).await;
    // The menu can be used by keys alone.
    browser.evaluate("document.querySelector('#histogram-export summary').focus(); return true", vec![]).await;
    browser.press(Key::Enter).await;
    browser.wait_until("return document.getElementById('histogram-export').open", vec![]).await;
    browser.press(Key::Tab + Key::Tab).await;
    browser.press(Key::Enter).await;
    assert!(browser.downloaded(&format!("{name}.svg")).await.starts_with("<?xml"));
    let focus = "return document.activeElement.matches('#histogram-export summary')";
    browser.wait_until(focus, vec![]).await;

    browser.find("#chart-length").await.click().await.unwrap();
    browser.wait_for_text(".scatter .legend", "length of the chosen response").await;
    let name = format!("{study}-flattery-layer-2-scores-by-length");
    let read = svg_of(&browser, "scatter-export", &name).await;
    assert!(read.n("rect") > 100, "{}", read.elements);
    for said in ["score", "characters of the chosen response", "layer 2"] {
        assert!(read.text.contains(said), "{said}: {}", read.text);
    }
    assert_png(&browser, "scatter-export", &name, &read).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_behavior_by_layer_is_saved_with_every_point() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let sweep = study.write_sweep();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=1"), "ranked").await;
    browser.wait_for_text("#sweep", "120 responses that show the behavior").await;
    let name = format!("{}-flattery-by-layer", study.view.name);
    let read = svg_of(&browser, "sweep-export", &name).await;
    let n_separated = sweep.layers.iter().filter(|layer| layer.separation.is_some_and(|of| of.auroc.is_some())).count();
    let n_steered: usize = sweep.layers.iter().map(|layer| layer.steered.len()).sum();
    assert_eq!(read.n("circle"), (n_separated + 2 * n_steered) as u64, "{}", read.elements);
    for said in ["Separation: AUROC by layer", "Steering: rollouts that show the behavior", "layer"] {
        assert!(read.text.contains(said), "{said}: {}", read.text);
    }
    assert_png(&browser, "sweep-export", &name, &read).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn what_retraining_found_is_saved_with_every_row_size_and_seed() {
    let (site, study) = Site::with_study(&Plan::small());
    let report = StaticStudy::report(4);
    study.write_report(&report);
    let behavior = &report.behavior;
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=validate"), "validated").await;
    let named = |what: &str| format!("{}-{behavior}-{what}", study.view.name);

    let name = named("effects");
    let read = svg_of(&browser, "effects-export", &name).await;
    let effects = &report.comparison.effects;
    let n_marks = effects.len() + effects.iter().filter(|of| of.versus_random.is_some()).count();
    // A square for each, two in the key, and the ground.
    assert_eq!(read.n("rect"), n_marks as u64 + 3, "{}", read.elements);
    for effects in effects {
        assert!(read.text.contains(&effects.arm), "{}: {}", effects.arm, read.text);
    }
    for said in ["What each edit changed", "change of the rate, percentage points", "against the baseline"] {
        assert!(read.text.contains(said), "{said}: {}", read.text);
    }
    assert_png(&browser, "effects-export", &name, &read).await;

    let name = named("rate-by-pairs-edited");
    let read = svg_of(&browser, "doses-export", &name).await;
    let n_points: usize = report.comparison.doses.iter().map(|dose| dose.points.len()).sum();
    assert!(n_points > 0 && read.n("circle") == n_points as u64, "{}", read.elements);
    assert!(read.text.contains("pairs edited (logarithmic)"), "{}", read.text);
    assert_png(&browser, "doses-export", &name, &read).await;

    let lines = "return document.querySelectorAll('#curves .drawing polyline').length";
    browser.wait_until(&format!("{lines} > 0"), vec![]).await;
    let name = named("training-loss");
    let read = svg_of(&browser, "curves-export", &name).await;
    let n_lines = browser.evaluate(lines, vec![]).await.as_u64().unwrap();
    assert!(read.n("polyline") > n_lines, "the grid and {n_lines}: {}", read.elements);
    assert!(read.text.contains("optimizer step") && read.text.contains("loss"), "{}", read.text);
    assert_png(&browser, "curves-export", &name, &read).await;
    assert_no_errors(&browser).await;

    // The same plot on the page that loads nothing of this at first.
    browser.open(&site.address("?view=overview"), "ready").await;
    let read = svg_of(&browser, "effects-export", &named("effects")).await;
    assert_eq!(read.n("rect"), n_marks as u64 + 3, "{}", read.elements);
}

#[tokio::test]
async fn the_matrix_and_the_map_are_saved_with_what_lies_around_them() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let view = study.write_discovery("broad");
    study.write_map("all");
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=discover"), "discovered").await;
    let layers: Vec<String> = view.layers.iter().map(usize::to_string).collect();
    let name = format!("{}-broad-layer-{}-prompts-by-pairs", study.view.name, layers.join("-"));
    let read = svg_of(&browser, "heatmap-export", &name).await;
    assert_eq!(read.n("image"), 1, "{}", read.elements);
    let n_merges = view.groups.prompts.dendrogram.merges.len() + view.groups.pairs.dendrogram.merges.len();
    assert!(read.n("polyline") >= n_merges as u64, "{n_merges}: {}", read.elements);
    for said in ["Prompts by pairs", "down: prompts", "across: pairs", "cosine", study.view.name.as_str()] {
        assert!(read.text.contains(said), "{said}: {}", read.text);
    }
    assert_png(&browser, "heatmap-export", &name, &read).await;
    assert_no_errors(&browser).await;

    browser.open(&site.address("?view=map&map=all&color=source"), "mapped").await;
    let script = "return document.querySelectorAll('#legend li').length";
    browser.wait_until(&format!("{script} > 0"), vec![]).await;
    let n_sources = browser.evaluate(script, vec![]).await.as_u64().unwrap();
    let layer = study.view.maps.iter().find(|map| map.name == "all").unwrap().layer;
    let name = format!("{}-layer-{layer}-map-by-source", study.view.name);
    let read = svg_of(&browser, "map-export", &name).await;
    assert_eq!((read.n("image"), read.n("rect")), (1, n_sources + 1), "{}", read.elements);
    assert!(read.text.contains("Map of all pairs by source"), "{}", read.text);
    assert_png(&browser, "map-export", &name, &read).await;
    assert_no_errors(&browser).await;
}
