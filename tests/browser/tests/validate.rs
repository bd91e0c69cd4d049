//! The Validate page in real Chromium: it says what the report says, follows it while models train, and owns up to what
//! is missing or broken.

use serde_json::{Value, json};
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::page::{assert_no_errors, query, ranking_of_page};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::{Plan, StaticStudy};
use whence_shared::statistics::conclusion::{percent, points};

const PAGE: &str = "?view=validate";

async fn text(browser: &Browser, selector: &str) -> String {
    let script = "return document.querySelector(arguments[0])?.textContent ?? ''";
    browser.evaluate(script, vec![json!(selector)]).await.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_page_says_what_the_report_says() {
    let (site, study) = Site::with_study(&Plan::small());
    let report = StaticStudy::report(4);
    study.write_report(&report);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(PAGE), "validated").await;

    assert_eq!(text(&browser, "#conclusion").await, report.comparison.conclusion.text, "word for word");
    for arm in &report.comparison.arms {
        let row = text(&browser, &format!("#arms tr[data-arm='{}'][data-k='{}']", arm.arm, arm.k)).await;
        let interval = arm.rate.interval;
        let range = format!("{} to {}", percent(interval.low), percent(interval.high));
        assert!(row.contains(&percent(arm.rate.value)) && row.contains(&range), "{row}");
        for (seed, rate) in arm.seed_rates.iter().enumerate() {
            assert!(row.contains(&format!("seed {}: {}", seed + 1, percent(*rate))), "{row}");
        }
    }
    for effects in &report.comparison.effects {
        let row = format!("#effects tr[data-arm='{}'][data-k='{}']", effects.arm, effects.k);
        let all = [("baseline", Some(&effects.versus_baseline)), ("random", effects.versus_random.as_ref())];
        for (reference, effect) in all.into_iter().filter_map(|(reference, effect)| Some((reference, effect?))) {
            let cell = text(&browser, &format!("{row} .number.versus-{reference}")).await;
            let interval = effect.difference.interval;
            let range = format!("{} to {}", points(interval.low), points(interval.high));
            assert!(cell.contains(&points(effect.difference.value)) && cell.contains(&range), "{cell}");
        }
    }
    for side in &report.comparison.side_rates {
        for arm in &side.arms {
            let (name, k, measure) = (&arm.arm, arm.k, &side.measure);
            let cell = format!("#arms tr[data-arm='{name}'][data-k='{k}'] [data-measure='{measure}']");
            let said = text(&browser, &cell).await;
            assert!(said.starts_with(&percent(arm.rate.value)), "{measure} of {name} {k}: {said}");
            let effects = report.comparison.effects.iter().find(|of| of.arm == *name && of.k == k);
            let change = effects.map(|of| of.side_changes.iter().find(|of| of.measure == *measure).unwrap());
            let is_bold = "return !!document.querySelector(`${arguments[0]} .clear`)";
            let is_bold = browser.evaluate(is_bold, vec![json!(cell)]).await;
            assert_eq!(is_bold, json!(change.is_some_and(|change| change.effect.is_established())), "{cell}");
        }
    }
    let order = "return [...document.querySelectorAll('#effects tbody tr')].map((row) => row.className)";
    let order: Vec<String> = serde_json::from_value(browser.evaluate(order, vec![]).await).unwrap();
    assert_eq!(order.iter().filter(|class| class.is_empty()).count(), 4, "four edits");
    assert!(order.is_sorted(), "edits come before controls: {order:?}");
    browser.wait_for_text("#doses", "Larger edits have the lower rate").await;
    let numbers = "return [...document.querySelectorAll('#doses details tbody tr')].map((row) => row.textContent)";
    let numbers: Vec<String> = serde_json::from_value(browser.evaluate(numbers, vec![]).await).unwrap();
    let points: Vec<_> = report.comparison.doses.iter().flat_map(|dose| &dose.points).collect();
    assert_eq!(numbers.len(), points.len());
    for (row, point) in numbers.iter().zip(points) {
        let rates = [Some(point.rate), point.random].into_iter().flatten().map(|rate| percent(rate.interval.high));
        assert!(rates.into_iter().all(|high| row.contains(&high)), "{row}");
    }
    browser.wait_for_text("#curves", "120 steps in all").await;
    let script = "return document.querySelectorAll('#curves polyline').length === arguments[0]";
    browser.wait_until(script, vec![json!(report.runs.len())]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn the_smallest_effect_is_computed_again_as_the_design_changes() {
    let (site, study) = Site::with_study(&Plan::small());
    let report = StaticStudy::report(4);
    study.write_report(&report);
    let detectable = report.comparison.detectable.unwrap();
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(PAGE), "validated").await;
    let answer = |absolute: f64| format!("{} points", points(absolute).trim_start_matches('+'));
    browser.wait_for_text("#smallest", &answer(detectable.absolute)).await;
    let design = whence_shared::statistics::power::Design { n_seeds: 9, ..detectable.design };
    let expected = whence_shared::statistics::power::detectable(&design, detectable.aim).unwrap();
    let script = "
        const input = document.getElementById('n-seeds');
        input.value = '9';
        input.dispatchEvent(new Event('input', { bubbles: true }));";
    browser.evaluate(script, vec![]).await;
    browser.wait_for_text("#smallest", &answer(expected.absolute)).await;
    assert_no_errors(&browser).await;
}

/// Types a text into a field of the calculator.
async fn type_into(browser: &Browser, id: &str, text: &str) {
    let script = "
        const input = document.getElementById(arguments[0]);
        input.value = arguments[1];
        input.dispatchEvent(new Event('input', { bubbles: true }));";
    browser.evaluate(script, vec![json!(id), json!(text)]).await;
}

#[tokio::test]
async fn what_cannot_be_calculated_has_no_answer_and_says_what_it_takes() {
    let (site, study) = Site::with_study(&Plan::small());
    let report = StaticStudy::report(4);
    study.write_report(&report);
    let detectable = report.comparison.detectable.unwrap();
    let answer = format!("{} points", points(detectable.absolute).trim_start_matches('+'));
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(PAGE), "validated").await;
    browser.wait_for_text("#smallest", &answer).await;
    for (text, id, range) in [
        ("1", "n-seeds", "2 to 64 seeds"),
        ("2.5", "n-seeds", "2 to 64 seeds"),
        ("", "n-prompts", "2 to 100,000 test prompts"),
    ] {
        type_into(&browser, id, text).await;
        browser.wait_until("return document.getElementById('smallest').textContent === '–'", vec![]).await;
        browser.wait_for_text("#smallest-why", range).await;
        browser.find(&format!("#{id}[aria-invalid='true']")).await;
        let no_seeds =
            "return [...document.querySelectorAll('.by-seeds tbody td.end')].every((cell) => cell.textContent === '–')";
        browser.wait_until(no_seeds, vec![]).await;
        let typed = browser.evaluate("return document.getElementById(arguments[0]).value", vec![json!(id)]).await;
        assert_eq!(typed, json!(text), "what was typed stays");
    }
    // Back to what was measured, exactly.
    let back = "[...document.querySelectorAll('.calculator button')].at(-1).click()";
    browser.evaluate(back, vec![]).await;
    browser.wait_for_text("#smallest", &answer).await;
    let seeds = browser.evaluate("return document.getElementById('n-seeds').value", vec![]).await;
    assert_eq!(seeds, json!(detectable.design.n_seeds.to_string()));
    browser.wait_until("return !document.querySelector(\".calculator [aria-invalid='true']\")", vec![]).await;
    browser.find("#n-seeds[aria-invalid='false']").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn the_pages_are_linked_and_the_address_says_which() {
    let (site, study) = Site::with_study(&Plan::small());
    study.write_report(&StaticStudy::report(2));
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address("?behavior=flattery&layer=1&row=7"), "ranked").await;
    browser.find(".pages a[href*='view=validate']").await.click().await.unwrap();
    browser.wait_for_state("validated").await;
    assert_eq!(query(&browser, "view").await, json!("validate"));
    assert_eq!(query(&browser, "row").await, json!("7"), "what was chosen stays");
    // Keys of the hidden table do nothing here.
    browser.press("j").await;
    assert_eq!(query(&browser, "row").await, json!("7"));
    browser.page.back().await.unwrap();
    browser.wait_for_state("ranked").await;
    assert_eq!(query(&browser, "view").await, Value::Null);
    browser.page.forward().await.unwrap();
    browser.wait_for_state("validated").await;
    browser.page.refresh().await.unwrap();
    browser.wait_for_state("validated").await;

    // Who begins here downloads no vectors before looking at the ranking.
    site.take_asked();
    browser.open(&site.address(PAGE), "validated").await;
    browser.wait_for_text("#curves", "steps in all").await;
    // What the curves show is in the address, too.
    let accuracy = "#curves .segments label:last-child input";
    browser.find("#curves .segments label:last-child").await.click().await.unwrap();
    browser.wait_until("return new URLSearchParams(location.search).get('curve') === 'accuracy'", vec![]).await;
    browser.page.refresh().await.unwrap();
    browser.wait_for_state("validated").await;
    browser.wait_until("return document.querySelector(arguments[0])?.checked === true", vec![json!(accuracy)]).await;
    assert!(site.take_asked().iter().all(|asked| !asked.path.contains("vectors/")), "no vectors");
    browser.find(".pages a[href*='view=ranking']").await.click().await.unwrap();
    ranking_of_page(&browser, "flattery", 2).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_study_without_a_report_says_so_and_one_with_a_broken_report_names_it() {
    let (site, study) = Site::with_study(&Plan::small());
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(PAGE), "empty").await;
    browser.wait_for_text("#validate", "No model was retrained yet").await;
    browser.wait_for_text("#validate", "whence retrain --study made-for-tests").await;

    study.write("report.json", b"{\"format\": \"whence.report/1\", \"beh");
    browser.open(&site.address(PAGE), "failed").await;
    browser.wait_for_text("#validate [role='alert']", "report.json: EOF").await;
    browser.wait_for_text("#validate [role='alert']", "whence validate --study made-for-tests").await;
    browser.find(".pages a[href*='view=ranking']").await.click().await.unwrap();
    browser.wait_for_state("ranked").await;

    let mut report = StaticStudy::report(2);
    report.format = "whence.report/99".into();
    study.write_report(&report);
    browser.open(&site.address(PAGE), "failed").await;
    browser.wait_for_text("#validate [role='alert']", "whence.report/99").await;
    // Mended, and tried again.
    study.write_report(&StaticStudy::report(2));
    browser.find("#validate .notice button").await.click().await.unwrap();
    browser.wait_for_state("validated").await;
    // A curve that is broken is named; the others are drawn.
    study.write("arms/baseline/seed-1/metrics.jsonl", b"{\"step\":1,\"loss\":0.5}\nnonsense\n");
    browser.open(&site.address(PAGE), "validated").await;
    browser.wait_for_text("#curves .problem", "arms/baseline/seed-1/metrics.jsonl: line 2").await;
    browser.wait_for_text("#curves", "drop-1000").await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn the_page_follows_while_models_train() {
    let (site, study) = Site::with_study(&Plan::small());
    let (first, last) = (StaticStudy::report(2), StaticStudy::report(3));
    study.write_runs(&last, 4);
    let browser = Browser::start(Screen::DESK).await;
    browser.open(&site.address(PAGE), "empty").await;
    browser.wait_for_text("#standing", "4 of 30 models trained").await;
    browser.wait_for_text("#validate", "Nothing to compare yet").await;
    study.write_report(&first);
    study.write_runs(&last, 20);
    browser.wait_for_state("validated").await;
    browser.wait_for_text("#standing", "20 of 30 models trained").await;
    browser.wait_for_text("#standing", "step 31").await;
    study.write_stopped_runs(&last, 20);
    browser.wait_for_text("#standing", "Stopped").await;
    browser.wait_for_text("#standing", "goes on from there").await;
    browser.wait_for_text("#verdict", "Preliminary: of 20 models so far").await;
    assert_eq!(text(&browser, "#conclusion").await, first.comparison.conclusion.text);
    // A report that cannot be read for a moment does not take away the one that could.
    study.write("report.json", b"{");
    browser.wait_for_text("#validate [role='alert']", "may be outdated").await;
    assert_eq!(text(&browser, "#conclusion").await, first.comparison.conclusion.text);
    study.write_report(&last);
    study.write_runs(&last, 30);
    let told = &last.comparison.conclusion.text;
    browser
        .wait_until("return document.querySelector('#conclusion')?.textContent === arguments[0]", vec![json!(told)])
        .await;
    browser.wait_until("return !document.getElementById('standing')", vec![]).await;
    assert_no_errors(&browser).await;
}

#[tokio::test]
async fn a_hand_needs_no_sideways_scrolling_of_the_page() {
    let (site, study) = Site::with_study(&Plan::small());
    study.write_report(&StaticStudy::report(4));
    let browser = Browser::start(Screen::HAND).await;
    browser.open(&site.address(PAGE), "validated").await;
    browser.wait_for_text("#curves", "steps in all").await;
    let widths = "return [document.documentElement.scrollWidth, innerWidth]";
    let widths: Vec<u64> = serde_json::from_value(browser.evaluate(widths, vec![]).await).unwrap();
    assert!(widths[0] <= widths[1], "{widths:?}");
    assert_no_errors(&browser).await;
}
