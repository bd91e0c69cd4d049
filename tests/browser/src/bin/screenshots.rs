//! Pictures of the app: `screenshots ADDRESS FOLDER` photographs a running app on a desk and in a hand, light and dark.
//!
//! The address may carry a query string that chooses behavior, layer, k, pair and page. A query string alone, such as
//! `?view=validate`, is of a study made for tests. The Validate and Discover pages are photographed from top to bottom.

use std::path::PathBuf;

use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::{Plan, StaticStudy};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, folder] = arguments.as_slice() else { panic!("expected ADDRESS FOLDER, got {arguments:?}") };
    let address = if address.starts_with('?') {
        let (site, mut study) = Site::with_study(&Plan::small());
        study.write_discovery("broad");
        study.write_map("umap-layer-1");
        study.write_clusters("clumps");
        let report = StaticStudy::report(4);
        study.write_report(&report);
        study.write_runs(&report, report.runs.len() - 3);
        let address = site.address(address);
        // It stays until this program ends.
        std::mem::forget(site);
        address
    } else {
        address.clone()
    };
    let is_validate = address.contains("view=validate");
    let is_discover = address.contains("view=discover");
    let is_map = address.contains("view=map");
    let state = match (is_validate, is_discover, is_map) {
        (true, ..) => "validated",
        (_, true, _) => "discovered",
        (.., true) => "mapped",
        _ => "ranked",
    };
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot create {}: {error}", folder.display()));
    let browser = Browser::start(Screen::DESK).await;
    for (place, screen) in [("desk", Screen::DESK), ("hand", Screen::HAND)] {
        for (scheme, is_dark) in [("light", false), ("dark", true)] {
            browser.resize(Screen { is_dark, ..screen }).await;
            browser.open(&address, state).await;
            // Everything the table and the pane wait for has arrived.
            browser.wait_until("return !document.body.innerText.includes('Reading ')", vec![]).await;
            if is_map {
                browser
                    .wait_until("return document.querySelector('#legend .title, #legend li') !== null", vec![])
                    .await;
                // Drawn once more than it is asked for.
                let frames =
                    "return await new Promise(done => setTimeout(() => requestAnimationFrame(done), 400)), true";
                browser.evaluate(frames, vec![]).await;
            }
            if is_validate {
                browser.wait_for_text("#curves", "steps in all").await;
            }
            if is_validate || is_discover {
                let script = "return document.querySelector('.column').getBoundingClientRect().bottom";
                let height = browser.evaluate(script, vec![]).await.as_f64().unwrap_or_default().ceil() as u32;
                browser.resize(Screen { is_dark, height, ..screen }).await;
            }
            let path = folder.join(format!("{place}-{scheme}.png"));
            browser.screenshot(&path).await;
            println!("{}", path.display());
        }
    }
}
