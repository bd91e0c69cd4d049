//! scratch
use std::path::PathBuf;
use whence_browser_tests::browser::{Browser, Screen};
use whence_browser_tests::site::Site;
use whence_browser_tests::static_study::Plan;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let out = PathBuf::from("/tmp/shots-c");
    std::fs::create_dir_all(&out).unwrap();
    let (site, _) = Site::with_study(&Plan::indexed());
    let browser = Browser::start(Screen::DESK).await;
    for (place, screen) in [("desk", Screen::DESK), ("hand", Screen::HAND)] {
        for (scheme, is_dark) in [("light", false), ("dark", true)] {
            browser.resize(Screen { is_dark, ..screen }).await;
            let shot = async |name: &str| browser.screenshot(&out.join(format!("{place}-{scheme}-{name}.png"))).await;
            site.limit(None);
            browser.open(&site.address("?behavior=flattery&row=11"), "ranked").await;
            browser.wait_until("return !document.body.innerText.includes('Reading ')", vec![]).await;
            shot("done").await;
            browser.evaluate("document.getElementById('details').open = true", vec![]).await;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            shot("details").await;
            if !is_dark || place == "desk" {
                browser.find("#forget").await.click().await.unwrap();
                browser.wait_for_text("#kept", "0 B in 0 files").await;
                site.limit(Some(300_000));
                browser.open(&site.address("?behavior=flattery&workers=2&k=300"), "ranking").await;
                browser.find("body[data-certainty='estimate']").await;
                tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
                shot("working").await;
            }
        }
    }
}
