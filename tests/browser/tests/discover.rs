//! The Discover page in real Chromium, from a static folder: it says what the file says, draws the matrix, leads to pairs, and
//! owns up to what is missing or broken.

use serde_json::{Value, json};
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{assert_no_errors, assert_same, query, ranking_of_page};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::discovery::BROAD;
use whence_browser_tests::static_study::{NativeRanking, Plan, StaticStudy};
use whence_shared::discovery::cutting::{SideName, Sides};
use whence_shared::discovery::words::Words;
use whence_shared::discovery::{Cut, DiscoveryView, Grouping, Similarity};
use whence_shared::index::query::Direction;

/// The discovery as native code takes it up for cutting.
fn sides(study: &StaticStudy, view: &DiscoveryView) -> Sides {
    let read = |file: &str| std::fs::read(study.path(&format!("clusters/{}/{file}", view.name))).unwrap();
    let words: Words = serde_json::from_slice(&read("words.json")).unwrap();
    let matrix = Similarity::read(&read("similarity.safetensors"), view.prompts.len(), view.pairs.len()).unwrap();
    let sources = view.pairs.iter().map(|pair| pair.source.clone()).collect();
    Sides::of(matrix, &view.groups, words, sources, view.settings).unwrap()
}

/// Whether the cards of a side are those of a grouping: how many, their sizes, measures and first words.
async fn assert_cards(browser: &Browser, side: &str, grouping: &Grouping) {
    let n = "return document.querySelectorAll(`.group[data-side='${arguments[0]}']`).length === arguments[1]";
    browser.wait_until(n, vec![json!(side), json!(grouping.clusters.len())]).await;
    let one = side.trim_end_matches('s');
    for (label, cluster) in grouping.clusters.iter().enumerate() {
        let card = format!(".group[data-side='{side}'][data-label='{label}']");
        let unit = if cluster.size == 1 { one } else { side };
        browser.wait_for_text(&card, &format!("{} {unit}", cluster.size)).await;
        if let Some(way) = cluster.one_way {
            let counts = format!("{} along, {} against", way.n_along, way.n_against);
            let said = match (way.is_change, way.is_found()) {
                (true, true) => format!("A change: strength {:.2}, {counts}", way.strength),
                (true, false) => format!("A slight change: strength {:.2}, {counts}", way.strength),
                _ => format!("No more than chance: {counts}"),
            };
            browser.wait_for_text(&card, &said).await;
        }
        let measures = format!("silhouette {:.2} · comes back {:.2}", cluster.silhouette, cluster.jaccard);
        browser.wait_for_text(&card, &measures.replace('-', "−")).await;
        for term in cluster.terms.iter().chain(&cluster.chosen_terms).take(3) {
            browser.wait_for_text(&card, &term.term).await;
        }
    }
}

/// Moves a slider as a reader does.
async fn slide(browser: &Browser, id: &str, to: usize) {
    let script = "
        const slider = document.getElementById(arguments[0]);
        slider.value = arguments[1];
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        return true;";
    browser.evaluate(script, vec![json!(id), json!(to)]).await;
}

async fn wait_for_origin(browser: &Browser, origin: &str) {
    let script = "return document.body.dataset.state === 'discovered'
        && document.getElementById('grouped')?.dataset.origin === arguments[0]";
    browser.wait_until(script, vec![json!(origin)]).await;
}

/// Rows of the change scan as listed.
async fn listed(browser: &Browser) -> Vec<u64> {
    let script =
        "return [...document.querySelectorAll('#changes tr[data-prompt]')].map(row => Number(row.dataset.prompt))";
    let rows = browser.evaluate(script, vec![]).await;
    rows.as_array().unwrap().iter().map(|row| row.as_u64().unwrap()).collect()
}

/// Presses the button whose text begins so.
async fn press(browser: &Browser, within: &str, text: &str) {
    let script = "
        const buttons = [...document.querySelectorAll(arguments[0] + ' button')];
        const button = buttons.find(button => button.innerText.trim().startsWith(arguments[1]));
        button?.click();
        return Boolean(button);";
    let found = browser.evaluate(script, vec![json!(within), json!(text)]).await;
    assert_eq!(found, Value::Bool(true), "{within}: a button {text:?}");
}

#[tokio::test]
async fn the_page_shows_groups_and_leads_to_pairs() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let view = study.write_discovery("broad");
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=discover"), "discovered").await;
    browser.wait_for_text("#discover", "3 groups of prompts: they come back").await;
    assert_cards(&browser, "prompts", &view.groups.prompts).await;
    assert_cards(&browser, "pairs", &view.groups.pairs).await;
    wait_for_origin(&browser, "stored").await;
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
async fn the_matrix_is_read_by_keys_alone_and_its_means_as_a_table() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let view = study.write_discovery("broad");
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=discover"), "discovered").await;
    wait_for_origin(&browser, "stored").await;
    let (prompts, pairs) = (&view.groups.prompts, &view.groups.pairs);
    // Reached by Tab from what stands before it.
    let focus = "
        document.getElementById('heatmap').focus();
        const style = getComputedStyle(document.activeElement);
        return document.activeElement.id === 'heatmap' && document.activeElement.tabIndex === 0 && style.outlineStyle !== 'none';";
    browser.press(Key::Tab).await;
    assert_eq!(browser.evaluate(focus, vec![]).await, json!(true), "a focus that is seen");
    browser.wait_for_text("#heatmap-cell", "Row 1, ").await;
    let said = |row: usize, column: usize| {
        let (prompt, pair) = (prompts.leaf_order[row] as usize, pairs.leaf_order[column] as usize);
        let (a, b) = (prompts.labels[prompt] + 1, pairs.labels[pair] + 1);
        [format!("Row {}, prompts {a}: ", row + 1), format!("Column {}, pairs {b}: ", column + 1)]
    };
    for (keys, row, column) in [
        (Key::Down + Key::Right, 1, 1),
        (Key::Shift + Key::Right, 1, 11),
        (Key::End + "", 1, pairs.leaf_order.len() - 1),
        (Key::Home + Key::Left + Key::Up, 0, 0),
        (Key::Up + Key::Down + Key::Right + Key::Right, 1, 2),
    ] {
        browser.press(keys).await;
        for part in said(row, column) {
            browser.wait_for_text("#heatmap-cell", &part).await;
        }
    }
    // The chosen cell is marked where it lies.
    let marked = "
        const [row, column, nRows, nColumns] = arguments;
        const marker = document.querySelector('.chosen-cell').getBoundingClientRect();
        const canvas = document.getElementById('heatmap').getBoundingClientRect();
        const middle = (at, n, from, room) => from + 64 + (at + 0.5) / n * (room - 64);
        return Math.abs(marker.left + marker.width / 2 - middle(column, nColumns, canvas.left, canvas.width)) < 3
            && Math.abs(marker.top + marker.height / 2 - middle(row, nRows, canvas.top, canvas.height)) < 3;";
    let at = vec![json!(1), json!(2), json!(prompts.leaf_order.len()), json!(pairs.leaf_order.len())];
    browser.wait_until(marked, at).await;
    // Means of groups, each with each.
    browser.find("#heatmap-table > summary").await.click().await.unwrap();
    browser.find("#heatmap-table tbody tr").await;
    let cells = "return [...document.querySelectorAll('#heatmap-table tbody tr')].map((row) =>
        [...row.children].map((cell) => Number(cell.textContent.replace('−', '-').replaceAll(',', ''))))";
    let cells: Vec<Vec<f64>> = serde_json::from_value(browser.evaluate(cells, vec![]).await).unwrap();
    assert_eq!(cells.len(), prompts.clusters.len() * pairs.clusters.len());
    for row in &cells {
        let (a, b) = (row[0] as usize - 1, row[2] as usize - 1);
        assert_eq!([row[1], row[3]], [prompts.clusters[a].size, pairs.clusters[b].size].map(|n| n as f64));
        assert!((row[4] - view.groups.means[a][b]).abs() < 1e-3, "{row:?}: {}", view.groups.means[a][b]);
    }
    browser.press(Key::Escape).await;
    // Enter opens the pair.
    browser.evaluate(focus, vec![]).await;
    browser.press(Key::Enter).await;
    browser.wait_until("return document.body.dataset.page === 'ranking'", vec![]).await;
    let row = view.pairs[pairs.leaf_order[2] as usize].row;
    browser
        .wait_until(
            "return new URLSearchParams(location.search).get('row') === arguments[0]",
            vec![json!(row.to_string())],
        )
        .await;
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

#[tokio::test]
async fn a_cut_shows_what_cutting_there_natively_gives_and_stays_in_the_address() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let view = study.write_discovery("broad");
    let sides = sides(&study, &view);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=discover"), "discovered").await;
    wait_for_origin(&browser, "stored").await;
    slide(&browser, "cut-prompts", 5).await;
    wait_for_origin(&browser, "browser").await;
    assert_cards(&browser, "prompts", &sides.cut_prompts(Cut::Into(5)).unwrap()).await;
    assert_cards(&browser, "pairs", &view.groups.pairs).await;
    browser.wait_for_text(".finding", "5 groups of prompts, as asked for; 3 would hold").await;
    browser.wait_until("return location.search.includes('prompts=5')", vec![]).await;
    // Every stop of a slider that is dragged on: the last one counts.
    for k in [7, 6, 2, 4] {
        slide(&browser, "cut-pairs", k).await;
    }
    assert_cards(&browser, "pairs", &sides.cut_pairs(Cut::Into(4)).unwrap()).await;
    press(&browser, ".cut", "Stable").await;
    assert_cards(&browser, "prompts", &view.groups.prompts).await;
    browser.wait_until("return !location.search.includes('prompts=')", vec![]).await;
    // An address brings its cuts along.
    browser.open(&site.address("?view=discover&groups=broad&prompts=4&pairs=6"), "discovered").await;
    wait_for_origin(&browser, "browser").await;
    assert_cards(&browser, "prompts", &sides.cut_prompts(Cut::Into(4)).unwrap()).await;
    assert_cards(&browser, "pairs", &sides.cut_pairs(Cut::Into(6)).unwrap()).await;
    assert_no_errors(&browser).await;
    // What cannot be cut is said, and what is stored is shown.
    browser.open(&site.address("?view=discover&prompts=99"), "discovered").await;
    browser.wait_for_text(".cuts [role='alert']", "expected 1 to 36 clusters").await;
    assert_cards(&browser, "prompts", &view.groups.prompts).await;
}

#[tokio::test]
async fn two_groups_are_contrasted_by_their_words() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let view = study.write_discovery("broad");
    let sides = sides(&study, &view);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=discover"), "discovered").await;
    wait_for_origin(&browser, "stored").await;
    press(&browser, ".group[data-side='prompts'][data-label='2']", "Compare").await;
    browser.wait_for_text(".contrast[data-side='prompts']", "Choose a second group").await;
    press(&browser, ".group[data-side='prompts'][data-label='0']", "Compare").await;
    let expected = sides.contrast(SideName::Prompts, &view.groups.prompts, 0, 2).prompts;
    let (first, second) = (&expected.first[0], &expected.second[0]);
    assert_eq!((first.term.as_str(), second.term.as_str(), first.counts), ("kites", "clocks", [12, 0]));
    browser.wait_for_text(".contrast[data-side='prompts']", "1 beside 3").await;
    let row = "
        const rows = [...document.querySelectorAll('.contrast tbody tr')];
        const cells = rows.map(row => [...row.children].map(cell => cell.innerText).join(' '));
        return [...arguments].every(expected => cells.includes(expected));";
    let cells =
        [first, second].map(|term| json!(format!("{} {:.1} {} {}", term.term, term.z, term.counts[0], term.counts[1])));
    browser.wait_until(row, cells.to_vec()).await;
    // The address brings the comparison along, and one of groups that are not there none.
    browser.wait_until("return location.search.includes('compare-prompts=3%2C1')", vec![]).await;
    browser.open(&site.address("?view=discover&compare-prompts=3,1&compare-pairs=2,99"), "discovered").await;
    browser.wait_until(row, cells.to_vec()).await;
    browser.wait_for_text(".contrast[data-side='pairs']", "Choose a second group").await;
    // Another cut has other groups: the comparison goes.
    slide(&browser, "cut-prompts", 2).await;
    browser.wait_until("return !document.querySelector('.contrast table')", vec![]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn the_change_scan_is_sorted_filtered_read_and_ranked_by() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let view = study.write_discovery("broad");
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=discover&layer=1"), "discovered").await;
    let by_norm: Vec<u64> = view.changes.iter().map(|change| u64::from(change.prompt)).take(12).collect();
    assert_eq!(listed(&browser).await, by_norm);
    press(&browser, "#changes .filters", "refusal → answer 12").await;
    browser.wait_until("return document.querySelectorAll('#changes tr[data-prompt]').length === 12", vec![]).await;
    assert!(listed(&browser).await.iter().all(|row| row % 3 == 0));
    press(&browser, "#changes .filters", "same text 12").await;
    press(&browser, "#changes thead", "Prompt").await;
    let ascending = "return document.querySelector('#changes th.prompt').ariaSort === 'ascending'";
    browser.wait_until(ascending, vec![]).await;
    assert_eq!(listed(&browser).await[..3], [2, 5, 8]);
    press(&browser, "#changes .filters", "all").await;
    press(&browser, "#changes tr[data-prompt='1']", "Say something about rivers").await;
    browser.wait_for_text("#changes tr[data-detail='1']", "down to the sea").await;
    browser.find("#changes tr[data-detail='1'] .side.shows mark").await;
    // All of that is in the address: what is listed, in which order, what is open and what is chosen.
    press(&browser, "#changes .filters", "format appeared 24").await;
    browser.find("#changes tr[data-prompt='4'] input").await.click().await.unwrap();
    let says = "return ['changed=format-appeared', 'order=prompt', 'open=1', 'checked=4'].every((part) => location.search.includes(part))";
    browser.wait_until(says, vec![]).await;
    let shown = listed(&browser).await;
    let address = browser.page.current_url().await.unwrap().to_string();
    browser.open(&address, "discovered").await;
    browser.wait_for_text("#changes tr[data-detail='1']", "down to the sea").await;
    assert_eq!(listed(&browser).await, shown);
    browser.wait_until(ascending, vec![]).await;
    browser.wait_until("return document.querySelector(\"#changes tr[data-prompt='4'] input\").checked", vec![]).await;
    press(&browser, "#changes .filters", "all").await;
    browser.find("#changes tr[data-prompt='4'] input").await.click().await.unwrap();
    // The chosen prompts rank.
    for prompt in [1, 4] {
        browser.find(&format!("#changes tr[data-prompt='{prompt}'] input")).await.click().await.unwrap();
    }
    browser.wait_for_text("#changes .rank-by", "Rank pairs by the 2 prompts chosen").await;
    browser.wait_for_text("#changes .rank-by", "As a behavior of its own").await;
    browser.find("#changes .rank-by summary").await.click().await.unwrap();
    browser.wait_for_text("#changes .rank-by code", "--from-discovery broad --prompts 1,4 --name NEW").await;
    browser.find("#changes .rank-by a").await.click().await.unwrap();
    let shown = ranking_of_page(&browser, BROAD, 1).await;
    let bank = study.bank(BROAD, 1);
    let direction = Direction::weighted_sum(&[(0.5, &bank[1]), (0.5, &bank[4])]);
    assert_same(&shown.ranking, &NativeRanking::of(study.native_scores(1, &[direction])), "by two prompts");
    assert_eq!(query(&browser, "only").await, json!("1,4"));
    browser.wait_for_text("#only", "2 of 36 prompts").await;
    browser.find("#only").await.click().await.unwrap();
    browser.wait_until("return !location.search.includes('only=')", vec![]).await;
    let whole = ranking_of_page(&browser, BROAD, 1).await;
    assert_same(&whole.ranking, &study.native_ranking(BROAD, 1), "by all prompts");
    assert_no_errors(&browser).await;
    // An address of prompts that are no longer there is refused by name.
    browser.open(&site.address("?behavior=broad&layer=1&only=36"), "failed").await;
    browser.wait_for_text("[role='alert']", "expected rows of prompts below 36, got 36").await;
}

#[tokio::test]
async fn what_is_not_stored_is_grouped_in_the_browser() {
    let (site, mut study) = Site::with_study(&Plan::small());
    study.write_broad();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?view=discover&layer=1"), "empty").await;
    browser.wait_for_text(".notice", "36 prompts").await;
    browser.wait_for_text(".notice", "a sample of 320 of 5,000 pairs at layer 1").await;
    browser.find("#make").await.click().await.unwrap();
    wait_for_origin(&browser, "browser").await;
    browser.wait_for_text("#discover .about", "320 pairs in runs of 16").await;
    let sizes = "
        const sizes = [...document.querySelectorAll(`.group[data-side='${arguments[0]}'] h3 .size`)];
        return sizes.reduce((sum, size) => sum + parseInt(size.innerText), 0) === arguments[1];";
    browser.wait_until(sizes, vec![json!("prompts"), json!(36)]).await;
    browser.wait_until(sizes, vec![json!("pairs"), json!(320)]).await;
    slide(&browser, "cut-pairs", 3).await;
    browser.wait_until("return document.querySelectorAll(`.group[data-side='pairs']`).length === 3", vec![]).await;
    browser.wait_until(sizes, vec![json!("pairs"), json!(320)]).await;
    browser.wait_for_text("#changes", "refusal → answer").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn nothing_is_wider_than_a_hand_held_window() {
    let (site, mut study) = Site::with_study(&Plan::small());
    study.write_discovery("broad");
    let browser = Browser::start(Screen::HAND).await;
    browser.open(&site.address("?view=discover&prompts=4"), "discovered").await;
    for label in [0, 1] {
        press(&browser, &format!(".group[data-side='pairs'][data-label='{label}']"), "Compare").await;
    }
    browser.wait_for_text(".contrast[data-side='pairs']", "1 beside 2").await;
    press(&browser, "#changes tr[data-prompt='0']", "Say something").await;
    browser.find("#changes tr[data-detail='0']").await;
    let width = browser.evaluate("return document.documentElement.scrollWidth - innerWidth", vec![]).await;
    assert!(width.as_f64().unwrap() <= 0.0, "{width} pixels too wide");
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_group_of_pairs_is_shown_in_the_ranking_and_decided_about() {
    let (site, mut study) = Site::with_study(&Plan::small());
    let view = study.write_discovery("broad");
    let order = study.native_ranking("flattery", 2).order;
    let rows_of = |labels: &[u32], label: u32| -> Vec<u32> {
        view.pairs.iter().zip(labels).filter(|(_, of)| **of == label).map(|(pair, _)| pair.row).collect()
    };
    let browser = Browser::start(Screen::DESK).await;
    // What was asked for before would hide some of them: the link shows the group and nothing else.
    browser.open(&site.address("?view=discover&behavior=flattery&layer=2&source=safety-refusals"), "discovered").await;
    wait_for_origin(&browser, "stored").await;
    let link = |label: u32, to: &str| format!(".group[data-side='pairs'][data-label='{label}'] a[data-to='{to}']");
    browser.find(&link(1, "ranking")).await.click().await.unwrap();
    browser.wait_for_state("ranked").await;
    assert_eq!(query(&browser, "group").await, json!("broad:1"));
    assert_eq!(query(&browser, "source").await, Value::Null);
    let rows = rows_of(&view.groups.pairs.labels, 1);
    let ranks: Vec<usize> = (1..).zip(&order).filter(|(_, row)| rows.contains(row)).map(|(rank, _)| rank).collect();
    let shown = "
        const rows = [...document.querySelectorAll('#rows [role=row]')];
        rows.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex);
        const ranks = rows.slice(0, 8).map((row) => Number(row.querySelector('.rank').textContent.replaceAll(',', '')));
        return JSON.stringify(ranks) === JSON.stringify(arguments[0]);";
    for _ in 0..2 {
        browser.wait_for_text("#n-shown", &format!("{} of 5,000 pairs", rows.len())).await;
        browser.wait_for_text(".filter-chip", "pairs 2 of “broad”").await;
        browser.wait_until(shown, vec![json!(ranks[..8])]).await;
        // Whoever gets the address sees the same, without having seen the groups.
        browser.page.refresh().await.unwrap();
        browser.wait_for_state("ranked").await;
    }
    browser.find(".pages a[href*='view=edit']").await.click().await.unwrap();
    browser.wait_for_text("#rules", &format!("the {} pairs that the filter shows", rows.len())).await;
    browser.find("#apply-filter:enabled").await.click().await.unwrap();
    browser.wait_for_text("#rule-outcome", &format!("pairs 2 of “broad”: {} pairs to switch", rows.len())).await;
    browser.find("#rules .filter-chip").await.click().await.unwrap();
    browser.wait_until("return !document.getElementById('apply-filter')", vec![]).await;

    // Groups cut elsewhere are found again, too.
    let cut = sides(&study, &view).cut_pairs(Cut::Into(5)).unwrap();
    browser.open(&site.address("?view=discover&behavior=flattery&layer=2&pairs=5"), "discovered").await;
    wait_for_origin(&browser, "browser").await;
    assert_cards(&browser, "pairs", &cut).await;
    browser.find(&link(4, "edit")).await.click().await.unwrap();
    assert_eq!(query(&browser, "group").await, json!("broad:4/5"));
    let n = rows_of(&cut.labels, 4).len();
    let pairs = if n == 1 { "1 pair".to_owned() } else { format!("{n} pairs") };
    browser.wait_for_text("#rules", &format!("the {pairs} that the filter shows")).await;
    browser.wait_for_text("#rules .filter-chip", "pairs 5 of “broad” in 5 groups").await;
    assert_no_errors(&browser).await;

    // Groups that are not there any more: said, with how to see pairs again.
    browser.open(&site.address("?behavior=flattery&layer=2&group=gone:0"), "ranked").await;
    browser.wait_for_text(".filter-bar [role=alert]", "The groups of “gone” cannot be read").await;
    browser.wait_for_text(".nothing", "No pair fits").await;
    browser.find("#clear-filters").await.click().await.unwrap();
    browser.wait_until("return document.getElementById('n-shown').textContent === '5,000 pairs'", vec![]).await;
}
