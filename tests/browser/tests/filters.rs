//! What is shown of a ranking: filters and orders, in the address, against the ranking computed natively.

use serde_json::{Value, json};
use thirtyfour::Key;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{assert_no_errors, query};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::{Plan, StaticStudy};
use whence_shared::columns::{self, RowColumns};

const PAGE: &str = "?behavior=flattery&layer=2";

/// Ranks of the pairs that the table shows first, as it shows them.
async fn ranks(browser: &Browser, n: usize) -> Vec<usize> {
    let script = "
        const rows = [...document.querySelectorAll('#rows [role=row]')];
        rows.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex);
        return rows.slice(0, arguments[0]).map((row) => row.querySelector('.rank').textContent.replaceAll(',', ''));";
    let ranks: Vec<String> = serde_json::from_value(browser.evaluate(script, vec![json!(n)]).await).unwrap();
    ranks.iter().map(|rank| rank.parse().unwrap()).collect()
}

/// Ranks, from 1, of the pairs that fit, in the order of the ranking.
fn expected(study: &StaticStudy, fits: impl Fn(u32) -> bool) -> Vec<usize> {
    let order = study.native_ranking("flattery", 2).order;
    (1..).zip(order).filter(|(_, row)| fits(*row)).map(|(rank, _)| rank).collect()
}

async fn type_text(browser: &Browser, text: &str) {
    let input = browser.find("#text-filter").await;
    input.clear().await.unwrap();
    input.send_keys(text).await.unwrap();
}

fn columns_of(study: &StaticStudy) -> RowColumns {
    RowColumns::parse(&std::fs::read(study.path(columns::PATH)).unwrap(), 5000).unwrap()
}

#[tokio::test]
async fn text_is_found_in_prompts_and_the_address_keeps_it() {
    let (site, study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(PAGE), "ranked").await;
    browser.wait_for_text("#n-shown", "5,000 pairs").await;
    type_text(&browser, "VIOLIN").await;
    browser.wait_for_text("#n-shown", "625 of 5,000 pairs").await;
    let violins = expected(&study, |row| row % 8 == 7);
    assert_eq!(ranks(&browser, 12).await, violins[..12]);
    // The pair after the third shown is the fourth shown.
    browser.find("#table").await.focus().await.unwrap();
    for _ in 0..3 {
        browser.press(Key::Down).await;
    }
    browser.wait_for_text("#reading .standing", &format!("#{}", violins[2])).await;
    // The address follows after a pause: what is loaded again before that does not know the pair.
    let row = study.native_ranking("flattery", 2).order[violins[2] - 1];
    let keeps = "
        const params = new URLSearchParams(location.search);
        return params.get('q') === 'VIOLIN' && params.get('row') === String(arguments[0]);";
    browser.wait_until(keeps, vec![json!(row)]).await;
    browser.page.refresh().await.unwrap();
    browser.wait_for_state("ranked").await;
    browser.wait_for_text("#n-shown", "625 of 5,000 pairs").await;
    assert_eq!(ranks(&browser, 12).await, violins[..12]);

    browser.find("#regex").await.click().await.unwrap();
    type_text(&browser, "^explain how (a kite|glass)").await;
    browser.wait_for_text("#n-shown", "1,250 of 5,000 pairs").await;
    assert_eq!(ranks(&browser, 12).await, expected(&study, |row| row % 8 == 0 || row % 8 == 6)[..12]);
    type_text(&browser, "(").await;
    browser.wait_for_text(".filter-bar [role=alert]", "The pattern cannot be read").await;
    browser.find("#clear-filters").await.click().await.unwrap();
    browser.wait_for_text("#n-shown", "5,000 pairs").await;
    assert_eq!(query(&browser, "q").await, Value::Null);
    // The selected pair is among those shown again, and the table goes to it.
    let is_there = "
        const ranks = [...document.querySelectorAll('#rows [role=row] .rank')].map((rank) => rank.textContent);
        return ranks.includes(arguments[0].toLocaleString('en'));";
    browser.wait_until(is_there, vec![json!(violins[2])]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn whole_texts_are_searched_for_the_first_pairs_alone_and_it_says_so() {
    let (site, study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(&format!("{PAGE}&k=300&in=texts&q=I+cannot+help")), "ranked").await;
    let first = expected(&study, |row| row % 8 == 3).into_iter().filter(|rank| *rank <= 300).count();
    assert!(first > 100, "the behavior is made of these");
    browser.wait_for_text("#n-shown", &format!("{first} of 5,000 pairs · of the others no text was searched")).await;
    browser.wait_for_text("#text-scope", "in texts of the top 300").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn sources_metadata_lengths_and_scores_narrow_the_table_and_columns_order_it() {
    let (site, study) = Site::with_study(&Plan::small());
    let columns = columns_of(&study);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(PAGE), "ranked").await;
    // The source that the top pairs come from, by pressing its bar; then a value of the pairs' metadata.
    browser.wait_for_text(".sources li", "format-following").await;
    browser.find(".sources li button").await.click().await.unwrap();
    browser.wait_for_text("#n-shown", "625 of 5,000 pairs").await;
    assert_eq!(query(&browser, "source").await, json!("format-following"));
    browser.find("#filter-sheet > summary").await.click().await.unwrap();
    browser.find("#filter-sheet .fields option[value='teacher-1']").await.click().await.unwrap();
    let fits = |row: u32| row % 8 == 3 && row % 3 == 1;
    let both = expected(&study, fits);
    browser.wait_for_text("#n-shown", &format!("{} of 5,000 pairs", both.len())).await;
    assert_eq!(ranks(&browser, 12).await, both[..12]);
    // Longest chosen responses first.
    browser.press(Key::Escape).await;
    browser.find("[role=columnheader].chars button").await.click().await.unwrap();
    browser.find("[role=columnheader].chars[aria-sort='descending']").await;
    let order = study.native_ranking("flattery", 2).order;
    let mut sorted = both.clone();
    sorted.sort_by_key(|rank| std::cmp::Reverse(columns.chosen_chars[order[rank - 1] as usize]));
    assert_eq!(ranks(&browser, 20).await, sorted[..20]);
    assert_eq!(query(&browser, "sort").await, json!("-chosen"));
    // Back undoes the order, and the chips take back what was asked for.
    browser.page.back().await.unwrap();
    browser.wait_until("return !document.querySelector('.chars[aria-sort]')", vec![]).await;
    assert_eq!(ranks(&browser, 12).await, both[..12]);
    for _ in 0..2 {
        browser.find(".filter-chip").await.click().await.unwrap();
    }
    browser.wait_until("return document.getElementById('n-shown').textContent === '5,000 pairs'", vec![]).await;
    // Lengths and scores, as a shared address states them.
    let scores = study.native_ranking("flattery", 2).scores;
    browser.open(&site.address(&format!("{PAGE}&chosen=60..80&score=0.1..0.4")), "ranked").await;
    let fits = expected(&study, |row| {
        let row = row as usize;
        (60..=80).contains(&columns.chosen_chars[row]) && (0.1..=0.4).contains(&scores[row])
    });
    browser.wait_for_text("#n-shown", &format!("{} of 5,000 pairs", fits.len())).await;
    assert!(fits.len() > 5 && ranks(&browser, 5).await == fits[..5], "{fits:?}");
    browser.open(&site.address(&format!("{PAGE}&score=2..3")), "ranked").await;
    browser.wait_for_text(".nothing", "No pair fits").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn dragging_over_a_chart_shows_the_pairs_gone_over() {
    let (site, study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(PAGE), "ranked").await;
    // From 60 % of the plotting area to its right edge: chromedriver drags by steps that a person would make.
    let drag = "
        const canvas = document.querySelector('.chart canvas');
        const box = canvas.getBoundingClientRect();
        const at = (x, y, type) => canvas.dispatchEvent(new PointerEvent(type, {
            clientX: box.left + x * box.width, clientY: box.top + y * box.height, button: 0, pointerId: 1, bubbles: true
        }));
        at(0.6, 0.1, 'pointerdown');
        for (let i = 1; i <= 10; i++) at(0.6 + 0.039 * i, 0.1 + 0.06 * i, 'pointermove');
        at(0.99, 0.7, 'pointerup');";
    browser.evaluate(drag, vec![]).await;
    browser.find(".filter-chip").await;
    browser.wait_until("return new URLSearchParams(location.search).has('score')", vec![]).await;
    let span = query(&browser, "score").await;
    let (low, high) = span.as_str().unwrap().split_once("..").unwrap();
    let (low, high): (f32, f32) = (low.parse().unwrap(), high.parse().unwrap());
    let scores = study.native_ranking("flattery", 2).scores;
    let within = expected(&study, |row| (low..=high).contains(&scores[row as usize]));
    browser.wait_for_text("#n-shown", &format!("{} of 5,000 pairs", within.len())).await;
    assert!((1..5000).contains(&within.len()) && ranks(&browser, 1).await == within[..1]);
    // Scores and lengths: the same drag narrows both.
    browser.find("#clear-filters").await.click().await.unwrap();
    browser.find("#chart-length").await.click().await.unwrap();
    browser.wait_for_text(".scatter .legend", "length of the chosen response").await;
    browser.evaluate(drag, vec![]).await;
    browser.wait_until("return document.querySelectorAll('.filter-chip').length === 2", vec![]).await;
    // The numbers behind the chart are those of all pairs.
    browser.find("#scatter-table > summary").await.click().await.unwrap();
    let sum = "return [...document.querySelectorAll('#scatter-table tbody td:nth-child(2)')]
        .reduce((sum, cell) => sum + Number(cell.textContent.replaceAll(',', '')), 0)";
    browser.wait_until(&format!("{sum} === 5000"), vec![]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn rows_show_what_tells_groups_of_pairs_apart_and_keep_their_height() {
    let (site, study) = Site::with_study(&Plan::small());
    let order = study.native_ranking("flattery", 2).order;
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(PAGE), "ranked").await;
    browser.find("#table.tagged #rows .tag").await;
    browser.wait_until("return document.querySelectorAll('#rows .tags').length >= 10", vec![]).await;
    let tags = "
        const rows = [...document.querySelectorAll('#rows [role=row]')];
        rows.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex);
        return rows.slice(0, 10).map((row) => row.querySelector('.tags').textContent);";
    let expected: Vec<String> = order[..10].iter().map(|row| format!("teacher-{}", row % 3)).collect();
    assert_eq!(browser.evaluate(tags, vec![]).await, json!(expected));
    browser.find("#rows .tag[title^='chosen_model: teacher-']").await;
    let sizes = "
        const row = document.querySelector('#rows [role=row]');
        return [row.getBoundingClientRect().height, row.querySelector('.snippet').clientWidth > 100,
            row.querySelector('.tags').clientWidth > 0];";
    assert_eq!(browser.evaluate(sizes, vec![]).await, json!([28, true, true]));
    browser.resize(Screen::HAND).await;
    browser.wait_until("return document.querySelector('#rows .tags').clientWidth === 0", vec![]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_study_without_a_file_of_columns_is_filtered_by_what_its_table_holds() {
    let (site, study) = Site::with_study(&Plan::small());
    std::fs::remove_file(study.path(columns::PATH)).unwrap();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(&format!("{PAGE}&source=format-following&sort=-chosen")), "ranked").await;
    browser.wait_for_text("#n-shown", "625 of 5,000 pairs").await;
    // One that is of other pairs is not believed.
    let (site, study) = Site::with_study(&Plan::small());
    let other = RowColumns { pairs_sha256: "other".into(), ..columns_of(&study) };
    study.write(columns::PATH, &other.to_bytes());
    browser.open(&site.address(&format!("{PAGE}&source=format-following")), "ranked").await;
    browser.wait_for_text(".filter-bar [role=alert]", "is of other pairs").await;
}
