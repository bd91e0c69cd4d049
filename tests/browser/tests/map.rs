//! The Map page in real Chromium, from a static folder: points where the file says, what a lasso encloses, colors that mean what
//! the files say, drawn by WebGL and without it.

use serde_json::{Value, json};
use whence_browser_tests::browser::{Browser, Graphics, MouseEvent, Screen};
use whence_browser_tests::page::{assert_no_errors, query};
use whence_browser_tests::site::{Fault, Site};
use whence_browser_tests::static_study::map::{N_CLUMPS, clump, points};
use whence_browser_tests::static_study::{Plan, StaticStudy};
use whence_shared::cluster::kmeans_parts::{N_PARTS, Part, in_parts, part_of, push_rows};
use whence_shared::columns::{self, RowColumns};
use whence_shared::index::block::Block;
use whence_shared::index::manifest::IndexManifest;
use whence_shared::plane::Frame;
use whence_shared::plane::grid::Grid;
use whence_shared::plane::lasso::Lasso;
use whence_shared::plane::viewport::{Viewport, Window};

/// Where the map is on the page, in CSS pixels: left, top, width, height.
async fn place(browser: &Browser) -> [f64; 4] {
    let script = "
        const { left, top, width, height } = document.getElementById('map').getBoundingClientRect();
        return [left, top, width, height];";
    serde_json::from_value(browser.evaluate(script, vec![]).await).unwrap()
}

/// The map as native code knows it.
struct Native {
    grid: Grid,
    frame: Frame,
    unit: Vec<[f32; 2]>,
}

impl Native {
    fn of(n_pairs: usize) -> Self {
        let points = points(n_pairs);
        let frame = Frame::around(&points);
        let unit: Vec<[f32; 2]> = points.as_chunks::<2>().0.iter().map(|point| frame.unit(*point)).collect();
        Self { grid: Grid::new(unit.as_flattened()), frame, unit }
    }

    /// Where on the page a row is seen when all of the map is.
    async fn on_page(&self, browser: &Browser, row: usize) -> [f64; 2] {
        let [left, top, width, height] = place(browser).await;
        let window = Window { width, height, extent: self.frame.extent };
        let [x, y] = Viewport::default().to_px(window, self.unit[row].map(f64::from));
        [left + x, top + y]
    }

    /// Rows within the lasso that the address holds.
    async fn within_lasso(&self, browser: &Browser) -> Vec<u32> {
        let text = query(browser, "lasso").await;
        let lasso = Lasso::parse(text.as_str().expect("a lasso in the address")).expect("a lasso");
        let inside = (0..self.unit.len()).filter(|&row| lasso.contains(self.unit[row].map(f64::from)));
        let rows: Vec<u32> = inside.map(|row| row as u32).collect();
        assert_eq!(self.grid.rows_within(&lasso), rows);
        rows
    }

    /// A row that no other one is near.
    fn lonely(&self) -> usize {
        let distance = |a: usize, b: usize| {
            let [ax, ay] = self.unit[a];
            let [bx, by] = self.unit[b];
            (ax - bx).hypot(ay - by)
        };
        let rows = (0..self.unit.len()).filter(|&row| clump(row).is_none());
        let is_alone = |&row: &usize| (0..self.unit.len()).all(|other| other == row || distance(row, other) > 0.015);
        // In the middle of the map, where nothing lies over it.
        let is_inner = |&row: &usize| self.unit[row].iter().all(|x| (0.2..0.6).contains(x));
        rows.filter(is_inner).find(is_alone).expect("a point that lies alone")
    }
}

/// How many pairs the table lists, and what it says of them.
async fn wait_for_listed(browser: &Browser, n: usize, what: &str) {
    let script = "
        const title = document.getElementById('n-listed');
        return title?.dataset.n === arguments[0] && title.textContent.includes(arguments[1]);";
    browser.wait_until(script, vec![json!(n.to_string()), json!(what)]).await;
}

async fn drag(browser: &Browser, line: &[[f64; 2]]) {
    browser.mouse(MouseEvent::Move, line[0]).await;
    browser.mouse(MouseEvent::Press, line[0]).await;
    for point in line {
        browser.mouse(MouseEvent::Drag, *point).await;
    }
    browser.mouse(MouseEvent::Release, line[line.len() - 1]).await;
}

/// The canvas that is drawn on, after the next frame, at half its size: opacities, row by row.
async fn picture(browser: &Browser) -> Vec<f64> {
    let script = "
        const done = arguments[0];
        const map = document.getElementById('map');
        const canvas = map.querySelector('canvas:not(.unused)');
        // A change of size to the same size draws again, and what WebGL drew can be read in the same frame only.
        map.dispatchEvent(new WheelEvent('wheel', { deltaY: -30, clientX: 300, clientY: 300, cancelable: true }));
        const read = () => {
            const copy = document.createElement('canvas');
            [copy.width, copy.height] = [canvas.width / 2, canvas.height / 2];
            const context = copy.getContext('2d');
            context.drawImage(canvas, 0, 0, copy.width, copy.height);
            const { data } = context.getImageData(0, 0, copy.width, copy.height);
            done(Array.from({ length: data.length / 4 }, (_, i) => data[4 * i + 3]));
        };
        // The app asks for its frame a few turns after the event.
        (async () => { for (let i = 0; i < 20; i++) await null; requestAnimationFrame(read); })();";
    let answer = browser.page.execute_async(script, vec![]).await.expect("a picture");
    serde_json::from_value(answer.json().clone()).unwrap()
}

fn study() -> (Site, StaticStudy) {
    let (site, mut study) = Site::with_study(&Plan::small());
    study.write_map("umap-layer-1");
    study.write_clusters("clumps");
    (site, study)
}

#[tokio::test]
async fn points_lie_where_the_file_says_and_a_lasso_selects_what_it_encloses() {
    let (site, study) = study();
    let native = Native::of(study.view.n_pairs);
    let ranking = study.native_ranking("flattery", 2);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=map&behavior=flattery&layer=2"), "mapped").await;
    // As `whence map` prints it.
    browser.wait_for_text("#about-map", "5,000 pairs at layer 1, UMAP of 15 neighbors, min-dist 0.1").await;
    browser.wait_for_text("#about-map", "trustworthiness 0.938").await;
    wait_for_listed(&browser, 5000, "in view, by score").await;

    // The pointer at a point: which pair it is, and its place in the ranking. A click reads it.
    let row = native.lonely();
    let at = native.on_page(&browser, row).await;
    browser.mouse(MouseEvent::Move, at).await;
    let rank = ranking.order.iter().position(|&other| other == row as u32).unwrap() + 1;
    browser.wait_for_text("#hover", &format!("row {}", thousands(row))).await;
    browser.wait_for_text("#hover", &format!("#{}", thousands(rank))).await;
    browser.wait_for_text("#hover .snippet", "Explain how").await;
    browser.mouse(MouseEvent::Press, at).await;
    browser.mouse(MouseEvent::Release, at).await;
    browser.wait_until("return location.search.includes(arguments[0])", vec![json!(format!("row={row}"))]).await;
    browser.wait_for_text("#reading", &format!("pair-{row}")).await;

    // Around a clump, by hand.
    let [left, top, width, height] = place(&browser).await;
    let window = Window { width, height, extent: native.frame.extent };
    let middle = |of: usize| {
        let rows = (0..5000).filter(|&row| clump(row) == Some(of));
        let n = rows.clone().count() as f64;
        [0, 1].map(|axis| rows.clone().map(|row| f64::from(native.unit[row][axis])).sum::<f64>() / n)
    };
    let [x, y] = Viewport::default().to_px(window, middle(0));
    let around = |i: u32| {
        let angle = f64::from(i) * std::f64::consts::TAU / 40.0;
        [left + x + 45.0 * angle.cos(), top + y + 45.0 * angle.sin()]
    };
    browser.find("#map").await.focus().await.unwrap();
    browser.press("l").await;
    drag(&browser, &(0..40).map(around).collect::<Vec<_>>()).await;
    browser.wait_until("return location.search.includes('lasso=')", vec![]).await;
    let rows = native.within_lasso(&browser).await;
    let n_of_clump = rows.iter().filter(|&&row| clump(row as usize) == Some(0)).count();
    assert!(n_of_clump > 800, "{n_of_clump} of {}", rows.len());
    wait_for_listed(&browser, rows.len(), "selected, by score").await;
    // Listed in the order of the ranking, with coordinates as in the file.
    let script = "return [...document.querySelectorAll('#pairs .table-body .row')]
        .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).slice(0, 5).map(row => Number(row.dataset.row))";
    let first: Vec<u32> = serde_json::from_value(browser.evaluate(script, vec![]).await).unwrap();
    let expected: Vec<u32> = ranking.order.iter().copied().filter(|row| rows.binary_search(row).is_ok()).collect();
    assert_eq!(first, expected[..5]);
    let x = points(5000)[2 * first[0] as usize];
    browser.wait_for_text("#listed-0", &format!("{x:.3}").replace('-', "−")).await;

    // The address shows the same again.
    browser.press("+").await;
    browser.wait_until("return location.search.includes('at=')", vec![]).await;
    let address = browser.evaluate("return location.href", vec![]).await;
    let zoom = browser.evaluate("return document.getElementById('map').dataset.zoom", vec![]).await;
    browser.open(address.as_str().unwrap(), "mapped").await;
    wait_for_listed(&browser, rows.len(), "selected").await;
    assert_eq!(browser.evaluate("return document.getElementById('map').dataset.zoom", vec![]).await, zoom);
    browser.wait_for_text("#reading", &format!("pair-{row}")).await;
    browser.find("#map").await.focus().await.unwrap();
    browser.press("\u{e00c}").await;
    browser.wait_until("return !location.search.includes('lasso=')", vec![]).await;
    browser.press("0").await;
    wait_for_listed(&browser, 5000, "in view").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_lasso_on_the_map_shows_its_pairs_in_the_ranking_and_a_filter_of_the_ranking_is_seen_on_the_map() {
    let (site, study) = study();
    let native = Native::of(study.view.n_pairs);
    let order = study.native_ranking("flattery", 2).order;
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=map&behavior=flattery&layer=2"), "mapped").await;
    wait_for_listed(&browser, 5000, "in view, by score").await;
    let [left, top, width, height] = place(&browser).await;
    // A rectangle over the middle of the map.
    browser.find("#map").await.focus().await.unwrap();
    browser.press("r").await;
    let (low, high) = ([left + 0.3 * width, top + 0.3 * height], [left + 0.7 * width, top + 0.7 * height]);
    drag(&browser, &[low, [low[0] + 20.0, low[1] + 20.0], high]).await;
    browser.wait_until("return location.search.includes('lasso=')", vec![]).await;
    let rows = native.within_lasso(&browser).await;
    assert!((10..4990).contains(&rows.len()), "{} of 5000", rows.len());
    wait_for_listed(&browser, rows.len(), "selected, by score").await;
    // The address says which map the lasso was drawn on.
    assert_eq!(query(&browser, "map").await, json!("umap-layer-1"));

    browser.find("#show-in-ranking").await.click().await.unwrap();
    let n = thousands(rows.len());
    browser.wait_for_text(".filter-chip", &format!("in the lasso ({n} pairs)")).await;
    browser.wait_for_text("#n-shown", &format!("{n} of 5,000 pairs")).await;
    let is_within = |row: &u32| rows.binary_search(row).is_ok();
    let ranks: Vec<usize> = (1..).zip(&order).filter(|(_, row)| is_within(row)).map(|(rank, _)| rank).collect();
    assert_eq!(shown_ranks(&browser, 8).await, ranks[..8]);
    // The charts are of these pairs, too.
    browser.wait_for_text(".sources h2", &format!("Sources of the {n} pairs in the lasso")).await;
    for (table, column) in [("histogram-table", 3), ("sources-table", 2)] {
        browser.find(&format!("#{table} > summary")).await.click().await.unwrap();
        let sum = format!(
            "return [...document.querySelectorAll('#{table} tbody td:nth-child({column})')]
                .reduce((sum, cell) => sum + Number(cell.textContent.replaceAll(',', '')), 0) === arguments[0]"
        );
        browser.wait_until(&sum, vec![json!(rows.len())]).await;
        browser.press(thirtyfour::Key::Escape).await;
    }
    // Whoever gets the address sees the same, without having seen the map.
    browser.page.refresh().await.unwrap();
    browser.wait_for_state("ranked").await;
    browser.wait_for_text("#n-shown", &format!("{n} of 5,000 pairs")).await;
    assert_eq!(shown_ranks(&browser, 8).await, ranks[..8]);

    // Together with a filter, and one decision about what is left as one step.
    browser.find(".sources li button").await.click().await.unwrap();
    browser.wait_until("return document.querySelectorAll('.filter-chip').length === 2", vec![]).await;
    let source = query(&browser, "source").await;
    let number = study.view.sources.iter().position(|of| json!(of.name) == source).unwrap() as u32;
    let columns = RowColumns::parse(&std::fs::read(study.path(columns::PATH)).unwrap(), 5000).unwrap();
    let both = rows.iter().filter(|row| columns.source[**row as usize] == number).count();
    assert!((1..rows.len()).contains(&both));
    browser.wait_for_text("#n-shown", &format!("{} of 5,000 pairs", thousands(both))).await;
    browser.find(".pages a[href*='view=map']").await.click().await.unwrap();
    wait_for_listed(&browser, both, "selected, by score, filtered").await;
    browser.find("#decide-all > summary").await.click().await.unwrap();
    browser.find("#drop-all").await.click().await.unwrap();
    browser.find(".pages a[href*='view=edit']").await.click().await.unwrap();
    browser.wait_for_text("#decided-counts", &format!("{} dropped", thousands(both))).await;
    browser.wait_for_text("#history", "in the lasso").await;
    browser.find("#undo").await.click().await.unwrap();
    browser.wait_for_text("#decided-counts", "0 dropped").await;
    browser.find(".pages a[href*='view=map']").await.click().await.unwrap();
    browser.find("#clear-filter").await.click().await.unwrap();
    wait_for_listed(&browser, rows.len(), "selected, by score").await;
    // The chip takes the lasso back.
    browser.find("#show-in-ranking").await.click().await.unwrap();
    browser.find(".filter-chip").await.click().await.unwrap();
    browser.wait_until("return document.getElementById('n-shown').textContent === '5,000 pairs'", vec![]).await;
    assert_eq!(query(&browser, "lasso").await, Value::Null);
    assert_no_errors(&browser).await;

    // A map that is not there any more: the ranking says so, and how to see pairs again.
    let lasso = "0.1,0.1,0.5,0000vv00vvvv00vv";
    let lasso = format!("?behavior=flattery&layer=2&map=gone&lasso={lasso}");
    assert!(Lasso::parse("0.1,0.1,0.5,0000vv00vvvv00vv").is_some());
    browser.open(&site.address(&lasso), "ranked").await;
    browser.wait_for_text(".filter-bar [role=alert]", "The map that the lasso was drawn on is not in this study").await;
    browser.wait_for_text(".nothing", "No pair fits").await;
    browser.find("#clear-filters").await.click().await.unwrap();
    browser.wait_until("return document.getElementById('n-shown').textContent === '5,000 pairs'", vec![]).await;
}

/// Ranks of the pairs that the ranking's table shows first.
async fn shown_ranks(browser: &Browser, n: usize) -> Vec<usize> {
    let script = "
        const rows = [...document.querySelectorAll('#rows [role=row]')];
        rows.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex);
        return rows.slice(0, arguments[0]).map((row) => row.querySelector('.rank').textContent.replaceAll(',', ''));";
    let enough = "return document.querySelectorAll('#rows [role=row] .rank').length >= arguments[0]";
    browser.wait_until(enough, vec![json!(n)]).await;
    let ranks: Vec<String> = serde_json::from_value(browser.evaluate(script, vec![json!(n)]).await).unwrap();
    ranks.iter().map(|rank| rank.parse().unwrap()).collect()
}

#[tokio::test]
async fn the_map_colors_pairs_by_what_was_decided_as_one_decides() {
    let (site, study) = study();
    let row = Native::of(study.view.n_pairs).lonely();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(&format!("?view=map&color=decision&row={row}")), "mapped").await;
    browser.wait_for_text("#legend", "undecided").await;
    browser.wait_for_text("#legend", "5,000").await;
    browser.find("#decide-drop").await;
    browser.press("d").await;
    let legend = async |name: &str, n: &str| {
        let script = "return [...document.querySelectorAll('#legend button')].some((button) =>
            button.querySelector('.name').textContent === arguments[0] && button.querySelector('.n').textContent === arguments[1])";
        browser.wait_until(script, vec![json!(name), json!(n)]).await;
    };
    legend("dropped", "1").await;
    legend("undecided", "4,999").await;
    browser.press("s").await;
    legend("switched", "1").await;
    browser.wait_until("return !document.getElementById('legend').textContent.includes('dropped')", vec![]).await;
    // In the color that decisions have everywhere, and alone in the light when asked for.
    let swatch = "
        const style = getComputedStyle(document.querySelector('#legend .swatch'));
        const probe = document.body.appendChild(document.createElement('i'));
        probe.style.background = 'var(--accent)';
        return style.backgroundColor === getComputedStyle(probe).backgroundColor";
    browser.wait_until(swatch, vec![]).await;
    browser.find("#legend [data-category='1']").await.click().await.unwrap();
    browser.wait_until("return location.search.includes('lit=1')", vec![]).await;
    // Undone, nothing is left of it but the light.
    browser.press(thirtyfour::Key::Control + "z").await;
    legend("dropped", "1").await;
    browser.press(thirtyfour::Key::Control + "z").await;
    legend("undecided", "5,000").await;
    // Nothing was ranked for this.
    assert!(site.take_asked().iter().all(|asked| !asked.path.contains("vectors/")));
    assert_no_errors(&browser).await;
}

fn thousands(n: usize) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) }
}

#[tokio::test]
async fn colors_mean_what_the_files_say() {
    let (site, study) = study();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=map&color=cluster:clumps"), "mapped").await;
    for number in 0..N_CLUMPS {
        let n = (0..study.view.n_pairs).filter(|&row| clump(row) == Some(number)).count();
        browser.wait_for_text(&format!("#legend [data-category='{number}'] .n"), &n.to_string()).await;
    }
    browser.wait_for_text("#legend", "1 kites").await;
    browser.wait_for_text("#legend", "between the clusters").await;
    browser.wait_for_text(".overlay", "1 kites").await;
    // Nothing is ranked unless scores are looked at.
    let asked = site.take_asked();
    assert!(asked.iter().all(|asked| !asked.path.contains("vectors/")), "{asked:?}");
    // One category in the light, kept in the address.
    browser.find("#legend [data-category='2']").await.click().await.unwrap();
    browser.wait_until("return location.search.includes('lit=2')", vec![]).await;
    browser.wait_until("return document.querySelectorAll('.overlay .label').length === 1", vec![]).await;
    // Sources come in one small file.
    site.take_asked();
    browser.find("#color option[value='source']").await.click().await.unwrap();
    for source in &study.view.sources {
        let name = if source.name.is_empty() { "(not stated)" } else { &source.name };
        browser.wait_for_text("#legend", name).await;
        browser.wait_for_text("#legend", &thousands(source.n_pairs)).await;
    }
    let asked = site.take_asked();
    assert!(asked.iter().any(|asked| asked.path.ends_with(columns::PATH)), "{asked:?}");
    // Scores when asked for.
    browser.find("#rank-these").await.click().await.unwrap();
    browser.wait_for_text("#legend", "Score with flattery").await;
    wait_for_listed(&browser, 5000, "in view, by score").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn both_ways_to_draw_give_the_same_picture_and_a_lost_context_is_replaced() {
    let (site, _study) = study();
    let mut pictures = Vec::new();
    let browser = Browser::start_with(Screen { width: 1000, height: 700, is_dark: false }, Graphics::Software).await;
    for draw in ["canvas", "webgl"] {
        browser.open(&site.address(&format!("?view=map&color=cluster:clumps&draw={draw}")), "mapped").await;
        browser.find(&format!("#map[data-drawn='{draw}']")).await;
        browser.find("#legend button").await;
        // What stands around the map came after it: drawn again once it has the room that is left.
        let is_settled = "
            const map = document.getElementById('map');
            return Math.abs(map.querySelector('canvas:not(.unused)').height - map.clientHeight) <= 1";
        browser.wait_until(is_settled, vec![]).await;
        pictures.push(picture(&browser).await);
    }
    let [canvas, webgl] = pictures.as_slice() else { unreachable!() };
    assert_eq!(canvas.len(), webgl.len());
    let sum = |picture: &[f64]| picture.iter().sum::<f64>();
    let difference: f64 = canvas.iter().zip(webgl).map(|(a, b)| (a - b).abs()).sum();
    assert!(sum(canvas) > 1e5, "something is drawn: {}", sum(canvas));
    // Discs are drawn at a fourth of a pixel here and at any place there.
    assert!(difference < 0.25 * sum(canvas), "{difference} of {} and {}", sum(canvas), sum(webgl));
    let lose = "
        document.querySelector('#map canvas').getContext('webgl2').getExtension('WEBGL_lose_context').loseContext();
        return true;";
    browser.evaluate(lose, vec![]).await;
    browser.find("#map[data-drawn='canvas']").await;
    let after = picture(&browser).await;
    assert!(sum(&after) > 0.5 * sum(canvas), "{} after {}", sum(&after), sum(canvas));
    // A processor that pretends to be a graphics processor is not taken unless asked for.
    browser.open(&site.address("?view=map&color=none"), "mapped").await;
    browser.find("#map[data-drawn='canvas']").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn two_fingers_zoom_and_one_pans() {
    let (site, _study) = study();
    let browser = Browser::start(Screen::HAND).await;
    browser.open(&site.address("?view=map&color=none"), "mapped").await;
    // The map's own buttons stay in their bar, below the header with its buttons.
    let is_below = "
        const bottom = document.querySelector('.header').getBoundingClientRect().bottom;
        return [...document.querySelectorAll('.toolbar button')].every((button) =>
            button.getBoundingClientRect().top >= bottom)";
    browser.wait_until(is_below, vec![]).await;
    browser.cdp("Emulation.setTouchEmulationEnabled", json!({ "enabled": true })).await;
    browser.evaluate("document.getElementById('map').scrollIntoView({ block: 'center' }); return true", vec![]).await;
    let [left, top, width, height] = place(&browser).await;
    assert!(width <= 390.0 && height >= 300.0, "{width} × {height}");
    let [left, top] = [left + width / 2.0, top + height / 2.0];
    let touch = async |kind: &str, fingers: &[[f64; 2]]| {
        let points: Vec<Value> =
            fingers.iter().zip(0..).map(|([x, y], id)| json!({ "x": x, "y": y, "id": id })).collect();
        browser.cdp("Input.dispatchTouchEvent", json!({ "type": kind, "touchPoints": points })).await;
    };
    touch("touchStart", &[[left, top]]).await;
    touch("touchMove", &[[left + 30.0, top]]).await;
    touch("touchMove", &[[left + 60.0, top]]).await;
    touch("touchEnd", &[]).await;
    browser.wait_until("return location.search.includes('at=')", vec![]).await;
    let at = query(&browser, "at").await;
    let panned = Viewport::parse(at.as_str().unwrap()).unwrap();
    assert!(panned.zoom == 1.0 && panned.center[0] < 0.45, "{panned:?}");
    touch("touchStart", &[[left - 20.0, top], [left + 20.0, top]]).await;
    for apart in [30.0, 50.0, 80.0] {
        touch("touchMove", &[[left - apart, top], [left + apart, top]]).await;
    }
    touch("touchEnd", &[]).await;
    let zoomed = "return Number(document.getElementById('map').dataset.zoom) > 3";
    browser.wait_until(zoomed, vec![]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn the_index_gives_a_map_and_what_is_missing_or_broken_is_named() {
    let (site, _study) = Site::with_study(&Plan::indexed());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=map&color=none"), "mapped").await;
    browser.wait_for_text("#about-map", "18,000 pairs at layer 2, first two dimensions of the index").await;
    wait_for_listed(&browser, 18_000, "in view").await;
    assert_no_errors(&browser).await;
    browser.open(&site.address("?view=map&map=gone"), "empty").await;
    browser.wait_for_text(".notice", "There is no map “gone”").await;

    let (site, _study) = Site::with_study(&Plan::small());
    browser.open(&site.address("?view=map"), "empty").await;
    browser.wait_for_text(".notice", "whence map --study").await;

    let (site, _study) = study();
    site.fail("data/maps/", Fault::Flip, 2);
    browser.open(&site.address("?view=map&color=none"), "failed").await;
    browser.wait_for_text("[role='alert']", "maps/umap-layer-1.safetensors: expected SHA-256").await;
    site.mend();
    browser.find("[role='alert'] button").await.click().await.unwrap();
    browser.wait_for_state("mapped").await;
}

/// Groups as native code makes them of a study's index, `[n_pairs]`, and how many rounds that takes.
fn native_groups(study: &StaticStudy, k: usize) -> (Vec<u32>, usize) {
    let layer = study.view.layers[0].layer;
    let manifest = std::fs::read(study.folder.join(format!("index/layer-{layer}/manifest.json"))).unwrap();
    let block = IndexManifest::parse(&manifest).unwrap().blocks.remove(0);
    let mut rows = vec![Vec::new(); N_PARTS];
    for file in &block.files {
        let bytes = std::fs::read(study.folder.join(&file.path)).unwrap();
        let part = part_of(file.first_row, file.n_rows, study.view.n_pairs);
        push_rows(&mut rows[part], &Block::parse(&bytes).unwrap());
    }
    let mut parts: Vec<Part> = rows.into_iter().map(|rows| Part::new(rows, block.width).unwrap()).collect();
    in_parts(&mut parts, k, 1).unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn groups_made_here_are_those_that_native_code_makes() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let (labels, n_rounds) = native_groups(&study, 5);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=map"), "mapped").await;
    let script = "
        const color = document.getElementById('color');
        color.value = [...color.options].find(({ textContent }) => textContent === 'Groups made here').value;
        color.dispatchEvent(new Event('change', { bubbles: true }));";
    browser.evaluate(script, vec![]).await;
    browser.find("#n-groups").await;
    let script = "
        const number = document.getElementById('n-groups');
        number.value = '5';
        number.dispatchEvent(new Event('change', { bubbles: true }));";
    browser.evaluate(script, vec![]).await;
    let script = "return document.querySelectorAll('#legend li button[data-category]').length === 5";
    browser.wait_until(script, vec![]).await;
    assert_eq!(query(&browser, "color").await, json!("groups:5"));
    let rounds = if n_rounds == 1 { "1 round".to_owned() } else { format!("{n_rounds} rounds") };
    browser.wait_for_text("#legend .remark", &rounds).await;
    let shown: Vec<u64> = serde_json::from_value(
        browser
            .evaluate(
                "return [...document.querySelectorAll('#legend li .n')].map(({ textContent }) => Number(textContent.replace(/\\D/g, '')))",
                vec![],
            )
            .await,
    )
    .unwrap();
    let expected: Vec<u64> =
        (0..5).map(|group| labels.iter().filter(|label| **label == group).count() as u64).collect();
    assert_eq!(shown, expected, "pairs in each group, the largest first");
    // The pair that a group is most like is one of the group's, and opens.
    let exemplar = browser.find("#legend li:nth-child(2) .exemplar").await;
    let row: usize = exemplar.attr("data-row").await.unwrap().unwrap().parse().unwrap();
    assert_eq!(labels[row], 1);
    browser
        .wait_until("return document.querySelector('#legend .exemplar').textContent.trim().length > 3", vec![])
        .await;
    exemplar.click().await.unwrap();
    assert_eq!(query(&browser, "row").await, json!(row.to_string()));
    // The address alone restores it.
    let address = browser.page.current_url().await.unwrap();
    browser.open(address.as_str(), "mapped").await;
    browser.wait_for_text("#legend .remark", &rounds).await;
    assert_no_errors(&browser).await;
}

#[tokio::test(flavor = "current_thread")]
async fn grouping_that_cannot_be_says_why_and_can_be_stopped() {
    let (site, study) = Site::with_study(&Plan::indexed());
    let layer = study.view.layers[0].layer;
    let blocks = format!("data/index/layer-{layer}/block-0/");
    let browser = Browser::start(Screen::DESK).await;
    // The map's own points come from the same files: the first time they are read, then they are lost.
    site.fail(&blocks, Fault::Status(503), 1000);
    browser.open(&site.address("?view=map&color=groups:3"), "failed").await;
    site.mend();
    site.limit(Some(20_000));
    browser.open(&site.address("?view=map&color=groups:3"), "loading").await;
    browser.find("#stop-grouping").await.click().await.unwrap();
    browser.wait_until("return document.getElementById('n-groups') === null", vec![]).await;
    assert_eq!(query(&browser, "color").await, Value::Null);
}

#[tokio::test]
async fn a_category_alone_in_the_light_narrows_the_list_and_goes_to_the_ranking() {
    let (site, study) = study();
    let order = study.native_ranking("flattery", 2).order;
    let n_in = |of: Option<usize>| (0..5000).filter(|&row| clump(row) == of).count();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=map&behavior=flattery&layer=2&color=cluster:clumps"), "mapped").await;
    browser.find("#legend [data-category='2']").await.click().await.unwrap();
    wait_for_listed(&browser, n_in(Some(2)), "in view, cluster 3 locks").await;
    browser.find("#show-in-ranking:enabled").await.click().await.unwrap();
    browser.wait_for_state("ranked").await;
    assert_eq!(query(&browser, "cluster").await, json!("clumps:2"));
    let is_within = |row: &u32| clump(*row as usize) == Some(2);
    let ranks: Vec<usize> = (1..).zip(&order).filter(|(_, row)| is_within(row)).map(|(rank, _)| rank).collect();
    let n = thousands(n_in(Some(2)));
    for _ in 0..2 {
        browser.wait_for_text("#n-shown", &format!("{n} of 5,000 pairs")).await;
        browser.wait_for_text(".filter-chip", "cluster 3 of “clumps”").await;
        assert_eq!(shown_ranks(&browser, 8).await, ranks[..8]);
        // Whoever gets the address sees the same, without having seen the map.
        browser.page.refresh().await.unwrap();
        browser.wait_for_state("ranked").await;
    }
    browser.find(".pages a[href*='view=map']").await.click().await.unwrap();
    wait_for_listed(&browser, n_in(Some(2)), "in view, cluster 3 locks, by score, filtered").await;
    // The light off, the filter stays until it is taken back.
    browser.find("#legend [data-category='2']").await.click().await.unwrap();
    wait_for_listed(&browser, n_in(Some(2)), "in view, by score, filtered").await;
    browser.find("#clear-filter").await.click().await.unwrap();
    wait_for_listed(&browser, 5000, "in view, by score").await;
    // What is in no cluster, decided about as one step.
    browser.find(&format!("#legend [data-category='{N_CLUMPS}']")).await.click().await.unwrap();
    wait_for_listed(&browser, n_in(None), "in view, between the clusters").await;
    browser.find("#decide-all > summary").await.click().await.unwrap();
    browser.find("#drop-all").await.click().await.unwrap();
    browser.find(".pages a[href*='view=edit']").await.click().await.unwrap();
    browser.wait_for_text("#decided-counts", &format!("{} dropped", thousands(n_in(None)))).await;
    browser.wait_for_text("#history", "between the clusters").await;

    // A filter by cluster narrows the list where nothing was ranked, too.
    site.take_asked();
    browser.open(&site.address("?view=map&color=none&cluster=clumps:-1"), "mapped").await;
    wait_for_listed(&browser, n_in(None), "in view, filtered").await;
    assert!(site.take_asked().iter().all(|asked| !asked.path.contains("vectors/")));
    assert_no_errors(&browser).await;
}
